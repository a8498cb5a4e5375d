//! Series grouped by final name: which series are shown, in which order, with which type and help.
//!
//! The first type and help of a name are kept for as long as the name is shown, and for `metric_expiration` longer;
//! series of another type are not shown during this time. Where the choice of the Go collector is random, the first one
//! that arrived is used.
//!
//! Families are kept in order when they change, and new series are sorted in steps before a page shows them, so that no
//! step sorts or visits all of it. Names that a change may
//! affect (collisions, see `name_collisions`) are put on a list, which [`Families::process_changes`] processes in steps.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use otelcore_exposition::{MetricType, NameEscaping, escape_name, is_legacy_name, sorted_escaped_block};
use otelcore_pipeline::{Kept, LogLevel, MonotonicTime};
use smallvec::SmallVec;

use crate::dropped_points::{DropReason, DroppedPoints};
use crate::label_sets::{EqualLabelSeries, LabelSetKey};
use crate::partitioned::PartitionedSlab;
use crate::series::allocated;
use crate::series_store::SeriesStore;
use crate::sorted_series::{Removal, SortedSeries};
use crate::step_budget::StepBudget;

/// Series of one type in a family.
struct TypeGroup {
    kind: MetricType,
    /// The help of the first series.
    help: Rc<[u8]>,
    /// Number of the first series.
    first_seq: u64,
    members: SortedSeries,
    /// Series whose names of labels are escaped for some pages, by the hash of their labels there.
    escaped: BTreeMap<u64, EqualLabelSeries>,
}

/// One name on the page.
pub(crate) struct Family {
    pub(crate) name: Rc<[u8]>,
    /// The name on pages without UTF-8 names, if it is another one there.
    pub(crate) escaped_name: Option<Rc<[u8]>>,
    pub(crate) kind: MetricType,
    pub(crate) help: Rc<[u8]>,
    pub(crate) seq: u64,
    /// When it was last shown.
    last_shown: MonotonicTime,
    /// Number of streams that have this name.
    stream_count: u64,
    groups: SmallVec<[TypeGroup; 1]>,
    /// Collides with the lines of another family.
    pub(crate) hidden: bool,
    /// The type with which it was on the page at the last check for collisions; none if it was not on the page.
    pub(crate) checked_kind: Option<MetricType>,
}

/// All families.
#[derive(Default)]
pub(crate) struct Families {
    /// Pages carry timestamps: series with equal labels are then not duplicates, as their times can differ.
    with_timestamps: bool,
    pub(crate) families: PartitionedSlab<Family>,
    pub(crate) by_name: BTreeMap<Rc<[u8]>, usize>,
    /// Families whose name is escaped for some pages, by their name there.
    pub(crate) by_escaped_name: BTreeMap<Rc<[u8]>, BTreeSet<usize>>,
    /// Families without a series that is shown, by the time when they were last shown.
    idle: BTreeSet<(MonotonicTime, usize)>,
    /// Families to be checked for collisions, oldest first.
    pub(crate) to_check: BTreeSet<(u64, usize)>,
    next: u64,
}

/// A series that joins or leaves a family.
pub(crate) struct Member<'a> {
    pub(crate) slot: usize,
    pub(crate) seq: u64,
    pub(crate) kind: MetricType,
    pub(crate) help: &'a Rc<[u8]>,
}

impl Family {
    fn new(name: &[u8], kind: MetricType, help: &[u8], seq: u64, now: MonotonicTime) -> Self {
        let is_escaped = !is_legacy_name(name);
        Self {
            name: name.into(),
            escaped_name: is_escaped.then(|| escape_name(name, NameEscaping::Underscores.into()).as_ref().into()),
            kind,
            help: valid_text(help),
            seq,
            last_shown: now,
            stream_count: 0,
            groups: SmallVec::new(),
            hidden: false,
            checked_kind: None,
        }
    }

    /// Bytes charged for the family; places are charged with their series.
    fn charged_bytes(&self) -> u64 {
        let escaped = self.escaped_name.as_ref().map_or(0, |name| name.len() + size_of::<[usize; 8]>());
        let texts = [self.name.len(), escaped, self.help.len()];
        // Its entries in the map of names and in the two lists.
        (size_of::<Self>() + 12 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }

    /// The series of its type, in order.
    pub(crate) fn members(&self) -> Option<&SortedSeries> {
        self.groups.iter().find(|g| g.kind == self.kind).map(|g| &g.members)
    }

    /// Whether a series with these labels is the one that a page without UTF-8 names shows for what it has there: no
    /// older one has the same labels there, and none has them as they are.
    pub(crate) fn is_shown_when_escaped(
        &self,
        (slot, hash): (usize, u64),
        escaped: &LabelSetKey,
        store: &SeriesStore,
    ) -> bool {
        let Some(group) = self.groups.iter().find(|g| g.kind == self.kind) else { return false };
        group.escaped.get(&hash).is_none_or(|same| same.oldest() == slot) && !group.members.contains(escaped, store)
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.members().is_some_and(|m| !m.is_empty())
    }

    /// Series of its type that must be sorted before a page can show them.
    pub(crate) fn unsorted_len(&self) -> usize {
        self.members().map_or(0, SortedSeries::unsorted_len)
    }

    /// Why a series of this type is not shown here, if it is not. `is_duplicate`: an older series has the same labels.
    #[inline]
    pub(crate) fn drop_reason(&self, kind: MetricType, is_duplicate: bool) -> Option<DropReason> {
        if kind != self.kind {
            Some(DropReason::TypeConflict)
        } else if is_duplicate {
            Some(DropReason::DuplicateSeries)
        } else if self.hidden {
            Some(DropReason::NameCollision)
        } else {
            None
        }
    }
}

/// A help text that scrapers accept: what is not UTF-8 is replaced.
fn valid_text(text: &[u8]) -> Rc<[u8]> {
    String::from_utf8_lossy(text).as_bytes().into()
}

/// The hash of the labels of a series as pages without UTF-8 names have them. None if they are the same on all pages.
fn escaped_hash(slot: usize, store: &SeriesStore, budget: &mut StepBudget) -> Option<u64> {
    let series = store.get(slot).filter(|series| store.has_quoted_names(series))?;
    let mut block = Vec::new();
    store.write_labels(series, &mut block);
    budget.charge(500 + 4 * block.len() as u64);
    Some(store.hash_of_escaped(&sorted_escaped_block(&block).0))
}

impl Families {
    /// Creates an empty set of families. `with_timestamps` when pages carry timestamps.
    pub(crate) fn new(timed: bool) -> Self {
        Self { with_timestamps: timed, ..Self::default() }
    }

    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&Family> {
        self.families.get(id)
    }

    pub(crate) fn find_by_name(&self, name: &[u8]) -> Option<&Family> {
        self.families.get(*self.by_name.get(name)?)
    }

    /// The family whose name is next after `name`, and its number.
    pub(crate) fn next_after(&self, name: Option<&[u8]>) -> Option<(usize, &Family)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let (_, id) = self.by_name.range::<[u8], _>((from, Bound::Unbounded)).next()?;
        Some((*id, self.families.get(*id)?))
    }

    /// Adds a stream to the family of this name. Type and help are used only if the name is new.
    pub(crate) fn add_stream(
        &mut self,
        name: &[u8],
        kind: MetricType,
        help: &[u8],
        now: MonotonicTime,
        kept: &mut Kept,
    ) -> usize {
        let id = self.by_name.get(name).copied().unwrap_or_else(|| {
            let family = Family::new(name, kind, help, self.next, now);
            kept.grow(family.charged_bytes());
            self.next += 1;
            let (name, escaped_name) = (family.name.clone(), family.escaped_name.clone());
            let id = self.families.insert(family);
            if let Some(escaped_name) = escaped_name {
                self.by_escaped_name.entry(escaped_name).or_default().insert(id);
            }
            self.by_name.insert(name, id);
            id
        });
        if let Some(family) = self.families.get_mut(id) {
            family.stream_count += 1;
        }
        id
    }

    /// Removes a stream from its family.
    pub(crate) fn remove_stream(&mut self, id: usize) {
        if let Some(family) = self.families.get_mut(id) {
            family.stream_count = family.stream_count.saturating_sub(1);
            if !family.is_shown() {
                self.idle.insert((family.last_shown, id));
            }
        }
    }

    /// Adds a series, which is shown after it is sorted.
    pub(crate) fn add_series(
        &mut self,
        id: usize,
        member: Member<'_>,
        store: &mut SeriesStore,
        dropped: &mut DroppedPoints,
    ) {
        let Member { slot, seq, kind, help } = member;
        let Some(family) = self.families.get_mut(id) else { return };
        let was_shown = family.is_shown();
        if !family.groups.iter().any(|g| g.kind == kind) {
            family.groups.push(TypeGroup {
                kind,
                help: help.clone(),
                first_seq: seq,
                members: SortedSeries::default(),
                escaped: BTreeMap::new(),
            });
        }
        let Some(group) = family.groups.iter_mut().find(|g| g.kind == kind) else { return };
        group.members.add_unsorted(slot, store);
        if kind == family.kind {
            if !was_shown {
                self.idle.remove(&(family.last_shown, id));
                self.to_check.insert((family.seq, id));
            }
            return;
        }
        if !was_shown {
            self.idle.insert((family.last_shown, id));
        }
        let (existing, refused) = (family.kind.protobuf_name(), kind.protobuf_name());
        dropped.log_once(DropReason::TypeConflict, LogLevel::Warn, &family.name, || {
            let name = String::from_utf8_lossy(&family.name);
            format!(
                "instrument type conflict, using existing type definition. instrument: {name}, existing: {existing}, \
                 dropped: {refused}"
            )
        });
    }

    /// Sorts series of a family, at most `most`, of which those that are sorted are subtracted. True when as many are
    /// sorted. Among series of equal labels the oldest is shown.
    pub(crate) fn sort_step(
        &mut self,
        id: usize,
        most: &mut usize,
        store: &mut SeriesStore,
        dropped: &mut DroppedPoints,
        budget: &mut StepBudget,
    ) -> bool {
        let Some(family) = self.families.get_mut(id) else { return true };
        let Some(group) = family.groups.iter_mut().find(|g| g.kind == family.kind) else { return true };
        while *most > 0 {
            if budget.is_spent() {
                return false;
            }
            let Some(slot) = group.members.pop_unsorted(store) else { return true };
            *most -= 1;
            let hash = escaped_hash(slot, store, budget);
            if let (Some(hash), Some(series)) = (hash, store.get(slot)) {
                add_equal(group.escaped.entry(hash), series.seq, slot);
            }
            let Some(younger) = group.members.insert(slot, store, budget) else { continue };
            if let Some(series) = store.get_mut(younger) {
                series.is_duplicate = true;
            }
            if self.with_timestamps {
                continue;
            }
            // Its last point; earlier ones would not be on a page anyway.
            dropped.add(DropReason::DuplicateSeries, 1);
            dropped.log_once(DropReason::DuplicateSeries, LogLevel::Error, &family.name, || {
                let mut block = Vec::new();
                if let Some(series) = store.get(slot) {
                    store.write_labels(series, &mut block);
                }
                let (name, block) = (String::from_utf8_lossy(&family.name), String::from_utf8_lossy(&block));
                format!(
                    "error gathering metrics: collected metric {name:?} {{ {block} }} was collected before with the \
                     same name and label values"
                )
            });
        }
        true
    }

    /// Removes a series that was removed or that changes its name.
    pub(crate) fn remove_series(
        &mut self,
        id: usize,
        member: Member<'_>,
        store: &mut SeriesStore,
        budget: &mut StepBudget,
    ) {
        let Member { slot, seq, kind, .. } = member;
        let Some(family) = self.families.get_mut(id) else { return };
        let Some(at) = family.groups.iter().position(|g| g.kind == kind) else { return };
        let Some(group) = family.groups.get_mut(at) else { return };
        let is_sorted = store.get(slot).is_some_and(|series| series.unsorted_at.option().is_none());
        if is_sorted
            && let Some(hash) = escaped_hash(slot, store, budget)
            && let Entry::Occupied(mut same) = group.escaped.entry(hash)
            && same.get_mut().remove(seq).is_err()
        {
            same.remove();
        }
        match group.members.remove(slot, store, budget) {
            Removal::Place => {}
            Removal::Younger => return,
            Removal::Successor(successor) => {
                if let Some(series) = store.get_mut(successor) {
                    series.is_duplicate = false;
                }
                return;
            }
        }
        if group.members.is_empty() {
            family.groups.swap_remove(at);
            if kind == family.kind {
                self.idle.insert((family.last_shown, id));
                self.to_check.insert((family.seq, id));
            }
        }
    }

    /// The set of target_info has become empty, or is no longer empty.
    pub(crate) fn check_target_info_name(&mut self, name: &[u8]) {
        if let Some(id) = self.by_name.get(name)
            && let Some(family) = self.families.get(*id)
        {
            self.to_check.insert((family.seq, *id));
        }
    }

    /// Records that a scrape shows the family.
    pub(crate) fn mark_shown(&mut self, id: usize, now: MonotonicTime) {
        if let Some(family) = self.families.get_mut(id) {
            family.last_shown = family.last_shown.max(now);
        }
    }

    /// Removes names that have not been shown for `expiration`, or reassigns them to series of another type. Then
    /// checks the families that changes may affect for collisions. `targets` is the name of `target_info` when there
    /// are any. False when work is left.
    pub(crate) fn process_changes(
        &mut self,
        (now, expiration): (MonotonicTime, u64),
        targets: Option<&[u8]>,
        dropped: &mut DroppedPoints,
        kept: &mut Kept,
        budget: &mut StepBudget,
    ) -> bool {
        while let Some((seen, id)) =
            self.idle.first().copied().filter(|(at, _)| now.0.saturating_sub(at.0) > expiration)
        {
            if budget.is_spent() {
                return false;
            }
            budget.charge(1000);
            self.idle.remove(&(seen, id));
            self.release_name(id, now, kept);
        }
        while let Some((seq, id)) = self.to_check.first().copied() {
            if budget.is_spent() {
                return false;
            }
            self.to_check.remove(&(seq, id));
            self.check_collisions(id, targets, dropped, budget);
        }
        true
    }

    fn release_name(&mut self, id: usize, now: MonotonicTime, kept: &mut Kept) {
        let Some(family) = self.families.get_mut(id) else { return };
        if family.is_shown() {
            return;
        }
        if let Some(successor) = family.groups.iter().min_by_key(|g| g.first_seq) {
            // The name is free: the type that arrived first among the others now has it.
            let cost = family.charged_bytes();
            (family.kind, family.help) = (successor.kind, valid_text(&successor.help));
            family.last_shown = now;
            kept.grow(family.charged_bytes());
            kept.shrink(cost);
            self.to_check.insert((family.seq, id));
        } else if family.stream_count == 0
            && let Some(family) = self.families.remove(id)
        {
            kept.shrink(family.charged_bytes());
            self.by_name.remove(&family.name);
            if let Some(escaped) = &family.escaped_name
                && let Some(same) = self.by_escaped_name.get_mut(escaped)
            {
                same.remove(&id);
                if same.is_empty() {
                    self.by_escaped_name.remove(escaped);
                }
            }
            self.to_check.remove(&(family.seq, id));
            if family.checked_kind.is_some() {
                self.recheck_younger(&family.name, family.seq);
            }
        }
    }

    /// Whether a metric has the name of `target_info` on pages without UTF-8 names.
    pub(crate) fn has_shown_family(&self, name: &[u8]) -> bool {
        self.find_by_name(name).is_some_and(|family| family.is_shown() && !family.hidden)
    }
}

/// Adds a series to those of equal labels. Returns the slot that is a younger one now, if there are several.
fn add_equal<K: Ord>(entry: Entry<'_, K, EqualLabelSeries>, seq: u64, slot: usize) -> Option<usize> {
    match entry {
        Entry::Vacant(entry) => {
            entry.insert(EqualLabelSeries::new(seq, slot));
            None
        }
        Entry::Occupied(mut entry) => Some(entry.get_mut().add(seq, slot)),
    }
}
