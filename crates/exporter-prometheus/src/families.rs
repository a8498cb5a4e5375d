//! Series grouped by final name: which series are shown, in which order, with which type and help.
//!
//! The first type and help of a name are kept for as long as the name is shown, and for `metric_expiration` longer;
//! series of another type are not shown during this time. Where the choice of the Go collector is random, the first one
//! that arrived is used.
//!
//! Everything is kept in order when it changes, so that no step sorts or visits all of it. Names that a change may
//! affect (collisions) are put on a list, which [`Families::settle`] processes in steps.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use otelcore_exposition::{Kind, compare_blocks, put_family, put_underscored};
use otelcore_pipeline::{Kept, Level, Mono};
use smallvec::SmallVec;

use crate::registry::{Series, TARGET_HELP, allocated};
use crate::report::{Reason, Report};
use crate::slots::Slots;
use crate::work::Work;

/// The position of a series in its family: its labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) block: Rc<[u8]>,
    pub(crate) labels: u32,
}

/// The series of one place. If there are several, the oldest one is the first; they differ in data that is not a label.
#[derive(Debug)]
pub(crate) struct Twins {
    first: (u64, usize),
    /// The younger ones, by number.
    others: BTreeMap<u64, usize>,
}

impl Twins {
    /// The slot of the oldest.
    pub(crate) fn first(&self) -> usize {
        self.first.1
    }

    /// The slots of all.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        [self.first.1].into_iter().chain(self.others.values().copied())
    }

    pub(crate) fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Adds a series. Returns the slot that is now a younger one.
    fn add(&mut self, seq: u64, slot: usize) -> usize {
        let new = (seq, slot);
        let (first, younger) = if seq < self.first.0 { (new, self.first) } else { (self.first, new) };
        self.first = first;
        self.others.insert(younger.0, younger.1);
        younger.1
    }

    /// Removes a series. Returns the slot that is now the oldest, if that changed; `Err` when it was the only series.
    fn remove(&mut self, seq: u64) -> Result<Option<usize>, ()> {
        let is_first = self.first.0 == seq;
        if is_first && self.others.is_empty() {
            return Err(());
        }
        let heir = if is_first { self.others.pop_first() } else { None };
        self.others.remove(&seq);
        self.first = heir.unwrap_or(self.first);
        Ok(heir.map(|(_, slot)| slot))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        COMPARED.with(|n| n.set(n.get() + self.block.len().min(other.block.len()) as u64 + 50));
        compare_blocks((&self.block, self.labels as usize), (&other.block, other.labels as usize))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

// Work done so far for comparisons of places.
#[cfg(test)]
thread_local!(pub(crate) static COMPARED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });

/// Bytes of a [`Place`] in a tree, with its share of the nodes. The block is charged by its series.
pub(crate) const PLACE: usize = 2 * (size_of::<Place>() + size_of::<Twins>());

/// Series of one type in a family.
struct Group {
    kind: Kind,
    /// The help of the first series.
    help: Rc<[u8]>,
    /// Number of the first series.
    since: u64,
    members: BTreeMap<Place, Twins>,
}

/// One name on the page.
pub(crate) struct Family {
    pub(crate) name: Rc<[u8]>,
    /// The name as the page escapes it.
    pub(crate) wire: Rc<[u8]>,
    pub(crate) kind: Kind,
    help: Rc<[u8]>,
    /// HELP and TYPE.
    pub(crate) header: Rc<[u8]>,
    pub(crate) seq: u64,
    /// When it was last shown.
    seen: Mono,
    /// Number of streams that have this name.
    streams: u64,
    groups: SmallVec<[Group; 1]>,
    /// Collides with the lines of another family.
    pub(crate) hidden: bool,
    /// The type with which it was on the page at the last check for collisions; none if it was not on the page.
    stands: Option<Kind>,
}

/// All families.
#[derive(Default)]
pub(crate) struct Families {
    /// Pages carry timestamps: series with equal labels are then not duplicates, as their times can differ.
    timed: bool,
    slots: Slots<Family>,
    by_name: BTreeMap<Rc<[u8]>, usize>,
    /// Families without a series that is shown, by the time when they were last shown.
    idle: BTreeSet<(Mono, usize)>,
    /// Families to be checked for collisions, oldest first.
    changed: BTreeSet<(u64, usize)>,
    next: u64,
}

/// A series that joins or leaves a family.
pub(crate) struct Member<'a> {
    pub(crate) slot: usize,
    pub(crate) seq: u64,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) help: &'a Rc<[u8]>,
}

impl Family {
    fn new(name: &[u8], kind: Kind, help: &[u8], seq: u64, now: Mono) -> Self {
        let mut wire = Vec::with_capacity(name.len());
        put_underscored(&mut wire, name);
        let mut family = Self {
            name: name.into(),
            wire: wire.into(),
            kind,
            help: help.into(),
            header: Rc::default(),
            seq,
            seen: now,
            streams: 0,
            groups: SmallVec::new(),
            hidden: false,
            stands: None,
        };
        family.render_header();
        family
    }

    /// Bytes charged for the family; places are charged with their series.
    fn cost(&self) -> u64 {
        let texts = [self.name.len(), self.wire.len(), self.help.len(), self.header.len()];
        // Its entries in the map of names and in the two lists.
        (size_of::<Self>() + 12 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }

    fn render_header(&mut self) {
        let mut header = Vec::with_capacity(self.help.len() + 2 * self.wire.len() + 32);
        put_family(&mut header, &self.wire, &self.help, self.kind);
        self.header = header.into();
    }

    /// The series of its type, in order.
    pub(crate) fn members(&self) -> Option<&BTreeMap<Place, Twins>> {
        self.groups.iter().find(|g| g.kind == self.kind).map(|g| &g.members)
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.members().is_some_and(|m| !m.is_empty())
    }

    /// The reason why a series of this type is not shown here, if any. `twin`: an older series has the same labels.
    #[inline]
    pub(crate) fn fault(&self, kind: Kind, twin: bool) -> Option<Reason> {
        if kind != self.kind {
            Some(Reason::TypeConflict)
        } else if twin {
            Some(Reason::DuplicateSeries)
        } else if self.hidden {
            Some(Reason::NameCollision)
        } else {
            None
        }
    }
}

/// Work of finding a place among `members`. Each comparison reads another part of memory, and reads both blocks as far
/// as they are equal.
fn search(members: usize, block: usize) -> u64 {
    let depth = u64::from(usize::BITS - members.leading_zeros());
    depth * (150 + block as u64 / 4)
}

impl Families {
    /// Creates an empty set of families. `timed` when pages carry timestamps.
    pub(crate) fn new(timed: bool) -> Self {
        Self { timed, ..Self::default() }
    }

    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&Family> {
        self.slots.get(id)
    }

    pub(crate) fn named(&self, name: &[u8]) -> Option<&Family> {
        self.slots.get(*self.by_name.get(name)?)
    }

    /// The family whose name is next after `name`, and its number.
    pub(crate) fn after(&self, name: Option<&[u8]>) -> Option<(usize, &Family)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        let (_, id) = self.by_name.range::<[u8], _>((from, Bound::Unbounded)).next()?;
        Some((*id, self.slots.get(*id)?))
    }

    /// Adds a stream to the family of this name. Type and help are used only if the name is new.
    pub(crate) fn enter(&mut self, name: &[u8], kind: Kind, help: &[u8], now: Mono, kept: &mut Kept) -> usize {
        let id = self.by_name.get(name).copied().unwrap_or_else(|| {
            let family = Family::new(name, kind, help, self.next, now);
            kept.grow(family.cost());
            self.next += 1;
            let name = family.name.clone();
            let id = self.slots.insert(family);
            self.by_name.insert(name, id);
            id
        });
        if let Some(family) = self.slots.get_mut(id) {
            family.streams += 1;
        }
        id
    }

    /// Removes a stream from its family.
    pub(crate) fn leave(&mut self, id: usize) {
        if let Some(family) = self.slots.get_mut(id) {
            family.streams = family.streams.saturating_sub(1);
            if !family.is_shown() {
                self.idle.insert((family.seen, id));
            }
        }
    }

    /// Adds a series. Among series of equal labels the oldest is shown.
    pub(crate) fn attach(
        &mut self,
        id: usize,
        member: Member<'_>,
        series: &mut Slots<Series>,
        report: &mut Report,
        work: &mut Work,
    ) {
        let Member { slot, seq, place, kind, help } = member;
        let Some(family) = self.slots.get_mut(id) else { return };
        let was_shown = family.is_shown();
        if !family.groups.iter().any(|g| g.kind == kind) {
            family.groups.push(Group { kind, help: help.clone(), since: seq, members: BTreeMap::new() });
        }
        let Some(group) = family.groups.iter_mut().find(|g| g.kind == kind) else { return };
        work.spend(search(group.members.len(), place.block.len()));
        let block = place.block.clone();
        let younger = match group.members.entry(place) {
            Entry::Vacant(entry) => {
                entry.insert(Twins { first: (seq, slot), others: BTreeMap::new() });
                None
            }
            Entry::Occupied(mut entry) => Some(entry.get_mut().add(seq, slot)),
        };
        let twin = younger.is_some();
        if let Some(s) = younger.and_then(|slot| series.get_mut(slot)) {
            s.twin = true;
        }
        if twin && kind == family.kind && !self.timed {
            report.say(Reason::DuplicateSeries, Level::Error, &family.name, || {
                let (name, block) = (String::from_utf8_lossy(&family.name), String::from_utf8_lossy(&block));
                format!(
                    "error gathering metrics: collected metric {name:?} {{ {block} }} was collected before with the \
                     same name and label values"
                )
            });
        }
        if kind == family.kind {
            if !was_shown {
                self.idle.remove(&(family.seen, id));
                self.changed.insert((family.seq, id));
            }
            return;
        }
        if !was_shown {
            self.idle.insert((family.seen, id));
        }
        let (existing, dropped) = (family.kind.upper(), kind.upper());
        report.say(Reason::TypeConflict, Level::Warn, &family.name, || {
            let name = String::from_utf8_lossy(&family.name);
            format!(
                "instrument type conflict, using existing type definition. instrument: {name}, existing: {existing}, \
                 dropped: {dropped}"
            )
        });
    }

    /// Removes a series that was removed or that changes its name.
    pub(crate) fn detach(&mut self, id: usize, member: Member<'_>, series: &mut Slots<Series>, work: &mut Work) {
        let Member { seq, place, kind, .. } = member;
        let Some(family) = self.slots.get_mut(id) else { return };
        let Some(at) = family.groups.iter().position(|g| g.kind == kind) else { return };
        let Some(group) = family.groups.get_mut(at) else { return };
        work.spend(search(group.members.len(), place.block.len()));
        let Entry::Occupied(mut twins) = group.members.entry(place) else { return };
        match twins.get_mut().remove(seq) {
            Err(()) => drop(twins.remove()),
            Ok(None) => return,
            Ok(Some(heir)) => {
                if let Some(s) = series.get_mut(heir) {
                    s.twin = false;
                }
                return;
            }
        }
        if group.members.is_empty() {
            family.groups.swap_remove(at);
            if kind == family.kind {
                self.idle.insert((family.seen, id));
                self.changed.insert((family.seq, id));
            }
        }
    }

    /// The set of target_info has become empty, or is no longer empty.
    pub(crate) fn targets_changed(&mut self, name: &[u8]) {
        if let Some(id) = self.by_name.get(name)
            && let Some(family) = self.slots.get(*id)
        {
            self.changed.insert((family.seq, *id));
        }
    }

    /// Records that a scrape shows the family.
    pub(crate) fn seen(&mut self, id: usize, now: Mono) {
        if let Some(family) = self.slots.get_mut(id) {
            family.seen = family.seen.max(now);
        }
    }

    /// Removes names that have not been shown for `expiration`, or reassigns them to series of another type. Then
    /// checks the families that changes may affect for collisions. `targets` is the name of `target_info` when there
    /// are any. False when work is left.
    pub(crate) fn settle(
        &mut self,
        (now, expiration): (Mono, u64),
        targets: Option<&[u8]>,
        report: &mut Report,
        kept: &mut Kept,
        work: &mut Work,
    ) -> bool {
        while let Some((seen, id)) =
            self.idle.first().copied().filter(|(at, _)| now.0.saturating_sub(at.0) > expiration)
        {
            if work.is_spent() {
                return false;
            }
            work.spend(1000);
            self.idle.remove(&(seen, id));
            self.forget(id, now, kept);
        }
        while let Some((seq, id)) = self.changed.first().copied() {
            if work.is_spent() {
                return false;
            }
            self.changed.remove(&(seq, id));
            self.look_at(id, targets, report, work);
        }
        true
    }

    fn forget(&mut self, id: usize, now: Mono, kept: &mut Kept) {
        let Some(family) = self.slots.get_mut(id) else { return };
        if family.is_shown() {
            return;
        }
        if let Some(heir) = family.groups.iter().min_by_key(|g| g.since) {
            // The name is free: the type that arrived first among the others now has it.
            let cost = family.cost();
            (family.kind, family.help) = (heir.kind, heir.help.clone());
            family.seen = now;
            family.render_header();
            kept.grow(family.cost());
            kept.shrink(cost);
            self.changed.insert((family.seq, id));
        } else if family.streams == 0
            && let Some(family) = self.slots.remove(id)
        {
            kept.shrink(family.cost());
            self.by_name.remove(&family.name);
            self.changed.remove(&(family.seq, id));
            if family.stands.is_some() {
                self.younger_changed(&family.name, family.seq);
            }
        }
    }

    /// Checks a family for collisions. Names that differ only in the suffixes of histograms and summaries can't be on
    /// one page; the oldest family is shown. Younger families that are affected are put on the list.
    fn look_at(&mut self, id: usize, targets: Option<&[u8]>, report: &mut Report, work: &mut Work) {
        let Some(family) = self.slots.get(id) else { return };
        let name = family.name.clone();
        work.spend(500 + 4 * name.len() as u64);
        let other = if !family.is_shown() {
            None
        } else if targets == Some(&*name) && !(family.kind == Kind::Gauge && &*family.help == TARGET_HELP) {
            Some(name.to_vec())
        } else {
            self.collision(family)
        };
        let seq = family.seq;
        let stands = (family.is_shown() && other.is_none()).then_some(family.kind);
        if let Some(other) = &other {
            report.say(Reason::NameCollision, Level::Error, &name, || {
                let (name, other) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(other));
                format!(
                    "error gathering metrics: collected metric named {name:?} collides with previously collected \
                     metric named {other:?}"
                )
            });
        }
        let Some(family) = self.slots.get_mut(id) else { return };
        family.hidden = other.is_some();
        if std::mem::replace(&mut family.stands, stands) == stands {
            return;
        }
        self.younger_changed(&name, seq);
    }

    /// Puts the younger families whose names could collide with this one on the list to be checked.
    fn younger_changed(&mut self, name: &[u8], seq: u64) {
        for suffix in [&b"_count"[..], b"_sum", b"_bucket"] {
            let stem = name.strip_suffix(suffix).and_then(|stem| self.by_name.get(stem));
            let added = self.by_name.get([name, suffix].concat().as_slice());
            for id in [stem, added].into_iter().flatten() {
                if let Some(younger) = self.slots.get(*id).filter(|f| f.seq > seq) {
                    self.changed.insert((younger.seq, *id));
                }
            }
        }
    }

    /// The name of the older family that collides with this one, by client_golang's rule.
    fn collision(&self, family: &Family) -> Option<Vec<u8>> {
        let stands = |name: &[u8]| {
            let other = self.named(name)?;
            other.stands.filter(|_| other.seq < family.seq)
        };
        for (suffix, summaries) in [(&b"_count"[..], true), (b"_sum", true), (b"_bucket", false)] {
            if let Some(stem) = family.name.strip_suffix(suffix) {
                match stands(stem) {
                    Some(Kind::Histogram) => return Some(stem.to_vec()),
                    Some(Kind::Summary) if summaries => return Some(stem.to_vec()),
                    _ => {}
                }
            }
            let adds = family.kind == Kind::Histogram || (family.kind == Kind::Summary && summaries);
            let added = [&*family.name, suffix].concat();
            if adds && stands(&added).is_some() {
                return Some(added);
            }
        }
        None
    }
}
