//! Series grouped by final name: who is shown, in which order, under which type and help.
//!
//! The first type and help of a name are remembered for as long as the name is shown, and for `metric_expiration`
//! longer; series of another type wait unseen. Where the Go collector leaves the choice to chance, the first comer wins.
//! Sorting happens only when the set of series has changed.

use std::collections::BTreeMap;

use otelcore_exposition::{Kind, compare_blocks, put_family, put_underscored};
use otelcore_pipeline::{Kept, Level, Mono};
use slab::Slab;

use crate::registry::{Series, TARGET_HELP, allocated};
use crate::report::{Reason, Report};

/// One name on the page.
pub(crate) struct Family {
    name: Box<[u8]>,
    /// The name as the page escapes it.
    pub(crate) wire: Box<[u8]>,
    pub(crate) kind: Kind,
    help: Box<[u8]>,
    /// HELP and TYPE.
    pub(crate) header: Vec<u8>,
    seq: u64,
    /// When it was shown last.
    seen: Mono,
    /// Streams that have this name.
    streams: u64,
    /// Series that are attached.
    live: usize,
    /// Attached series by slot and number, and some that have left since.
    members: Vec<(usize, u64)>,
    /// Series to show, in order.
    pub(crate) order: Vec<Shown>,
    dirty: bool,
    /// Collides with the lines of another family.
    pub(crate) hidden: bool,
}

/// A series in its family.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) slot: usize,
    /// Has the same labels as the one before.
    pub(crate) twin: bool,
}

/// All families.
#[derive(Default)]
pub(crate) struct Families {
    /// Equal labels at different times are no repetition, as the times are on the page.
    timed: bool,
    slab: Slab<Family>,
    by_name: BTreeMap<Box<[u8]>, usize>,
    /// Which names are shown may have changed.
    dirty: bool,
    next: u64,
}

impl Family {
    /// Bytes charged for it; the series pay for their places.
    fn cost(&self) -> u64 {
        // The name stands in the map too; HELP and TYPE are at most twice as long as what they are made of.
        let texts = [2 * self.name.len(), self.wire.len(), self.help.len(), 2 * (self.help.len() + self.name.len())];
        (size_of::<Self>() + 6 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }

    fn render_header(&mut self) {
        self.header.clear();
        put_family(&mut self.header, &self.wire, &self.help, self.kind);
    }

    fn is_shown(&self) -> bool {
        !self.order.is_empty()
    }
}

impl Families {
    /// No families. `timed` when pages carry timestamps.
    pub(crate) fn new(timed: bool) -> Self {
        Self { timed, ..Self::default() }
    }

    pub(crate) fn get(&self, id: usize) -> Option<&Family> {
        self.slab.get(id)
    }

    /// In order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Family)> {
        self.by_name.iter().filter_map(|(name, id)| Some((&**name, self.slab.get(*id)?)))
    }

    /// A stream takes this name. Type and help count if the name is new.
    pub(crate) fn enter(&mut self, name: &[u8], kind: Kind, help: &[u8], now: Mono, kept: &mut Kept) -> usize {
        let id = self.by_name.get(name).copied().unwrap_or_else(|| {
            let mut wire = Vec::with_capacity(name.len());
            put_underscored(&mut wire, name);
            let mut family = Family {
                name: name.into(),
                wire: wire.into(),
                kind,
                help: help.into(),
                header: Vec::new(),
                seq: self.next,
                seen: now,
                streams: 0,
                live: 0,
                members: Vec::new(),
                order: Vec::new(),
                dirty: false,
                hidden: false,
            };
            family.render_header();
            kept.grow(family.cost());
            self.next += 1;
            let id = self.slab.insert(family);
            self.by_name.insert(name.into(), id);
            id
        });
        if let Some(family) = self.slab.get_mut(id) {
            family.streams += 1;
        }
        id
    }

    /// A stream gives the name up.
    pub(crate) fn leave(&mut self, id: usize) {
        if let Some(family) = self.slab.get_mut(id) {
            family.streams = family.streams.saturating_sub(1);
        }
    }

    /// A series joins; the answer is what keeps it from being shown, as far as can be told now.
    pub(crate) fn attach(
        &mut self,
        id: usize,
        slot: usize,
        series: &Slab<Series>,
        (seq, kind): (u64, Kind),
    ) -> Option<Reason> {
        let family = self.slab.get_mut(id)?;
        family.members.push((slot, seq));
        family.live += 1;
        family.dirty = true;
        // Members that have left are otherwise cleared away at the next scrape, which may never come.
        if family.members.len() > 2 * family.live + 64 {
            family.clear_away(id, series);
        }
        (kind != family.kind).then_some(Reason::TypeConflict)
    }

    /// A series has gone or changed its name.
    pub(crate) fn detach(&mut self, id: usize) {
        if let Some(family) = self.slab.get_mut(id) {
            family.live = family.live.saturating_sub(1);
            family.dirty = true;
        }
    }

    /// Brings groups and order up to date. `targets` is the name of `target_info` when there are any.
    pub(crate) fn refresh(
        &mut self,
        series: &mut Slab<Series>,
        (now, expiration): (Mono, u64),
        (targets, changed): (Option<&[u8]>, bool),
        report: &mut Report,
        kept: &mut Kept,
    ) {
        self.dirty |= changed;
        let mut gone = Vec::new();
        for (id, family) in &mut self.slab {
            let forgotten = !family.is_shown() && now.0.saturating_sub(family.seen.0) > expiration;
            if family.dirty || forgotten && family.live > 0 {
                let cost = family.cost();
                family.regroup(id, series, (now, expiration), self.timed, report);
                kept.grow(family.cost());
                kept.shrink(cost);
                self.dirty = true;
            }
            if !family.is_shown() && family.streams == 0 && now.0.saturating_sub(family.seen.0) > expiration {
                gone.push(id);
            }
        }
        for id in gone {
            if let Some(family) = self.slab.try_remove(id) {
                kept.shrink(family.cost());
                self.by_name.remove(&family.name);
            }
        }
        if std::mem::take(&mut self.dirty) {
            self.hide_collisions(series, targets, report);
        }
    }

    /// Marks every family that a scrape shows.
    pub(crate) fn seen(&mut self, now: Mono) {
        for (_, family) in &mut self.slab {
            if family.is_shown() {
                family.seen = now;
            }
        }
    }

    /// Names that differ only in what histograms and summaries add can't stand on one page; the first comer stays.
    fn hide_collisions(&mut self, series: &mut Slab<Series>, targets: Option<&[u8]>, report: &mut Report) {
        let mut ids: Vec<(u64, usize)> =
            self.slab.iter().filter(|(_, f)| f.is_shown()).map(|(id, f)| (f.seq, id)).collect();
        ids.sort_unstable();
        // `false` until its turn has come and it stands on the page.
        let mut stands: BTreeMap<&[u8], Kind> = BTreeMap::new();
        let mut hidden: Vec<(usize, Option<Vec<u8>>)> = Vec::with_capacity(ids.len());
        for (_, id) in ids {
            let Some(family) = self.slab.get(id) else { continue };
            let name = &*family.name;
            let target = targets == Some(name) && !(family.kind == Kind::Gauge && &*family.help == TARGET_HELP);
            let other = if target { Some(name.to_vec()) } else { collision(name, family.kind, &stands) };
            if other.is_none() {
                stands.insert(name, family.kind);
            }
            hidden.push((id, other));
        }
        for (id, other) in hidden {
            let Some(family) = self.slab.get_mut(id) else { continue };
            let was = std::mem::replace(&mut family.hidden, other.is_some());
            if let Some(other) = other {
                report.say(Reason::NameCollision, Level::Error, &family.name, || {
                    let (name, other) = (String::from_utf8_lossy(&family.name), String::from_utf8_lossy(&other));
                    format!(
                        "error gathering metrics: collected metric named {name:?} collides with previously collected \
                         metric named {other:?}"
                    )
                });
            }
            if was != family.hidden {
                for shown in &family.order {
                    if let Some(s) = series.get_mut(shown.slot).filter(|_| !shown.twin) {
                        s.fault = family.hidden.then_some(Reason::NameCollision);
                    }
                }
            }
        }
    }
}

/// The family that already has lines of this one's name, by client_golang's rule.
fn collision(name: &[u8], kind: Kind, stands: &BTreeMap<&[u8], Kind>) -> Option<Vec<u8>> {
    for (suffix, summaries) in [(&b"_count"[..], true), (b"_sum", true), (b"_bucket", false)] {
        if let Some(stem) = name.strip_suffix(suffix) {
            match stands.get(stem) {
                Some(Kind::Histogram) => return Some(stem.to_vec()),
                Some(Kind::Summary) if summaries => return Some(stem.to_vec()),
                _ => {}
            }
        }
        let adds = kind == Kind::Histogram || (kind == Kind::Summary && summaries);
        let added = [name, suffix].concat();
        if adds && stands.contains_key(added.as_slice()) {
            return Some(added);
        }
    }
    None
}

impl Family {
    fn clear_away(&mut self, id: usize, series: &Slab<Series>) {
        self.members.retain(|(slot, seq)| series.get(*slot).is_some_and(|s| s.seq == *seq && s.family == Some(id)));
        // A series that left and came back stands here twice.
        self.members.sort_unstable_by_key(|(slot, seq)| (*seq, *slot));
        self.members.dedup();
    }

    fn of_kind(&self, series: &Slab<Series>) -> Vec<(usize, u64)> {
        let same = |m: &&(usize, u64)| series.get(m.0).is_some_and(|s| s.kind() == self.kind);
        self.members.iter().filter(same).copied().collect()
    }

    fn regroup(
        &mut self,
        id: usize,
        series: &mut Slab<Series>,
        (now, expiration): (Mono, u64),
        timed: bool,
        report: &mut Report,
    ) {
        self.dirty = false;
        self.clear_away(id, series);
        let known = now.0.saturating_sub(self.seen.0) <= expiration;
        let mut order = self.of_kind(series);
        if order.is_empty()
            && !known
            && let Some(heir) = self.members.first().and_then(|(slot, _)| series.get(*slot))
        {
            // The name is free: the first of those that waited has it now.
            (self.kind, self.help) = (heir.kind(), (*heir.help).into());
            self.seen = now;
            self.render_header();
            order = self.of_kind(series);
        }
        let compare = |a: &Series, b: &Series| compare_blocks((&a.block, a.labels), (&b.block, b.labels));
        order.sort_by(|a, b| match (series.get(a.0), series.get(b.0)) {
            (Some(x), Some(y)) => compare(x, y).then(a.1.cmp(&b.1)),
            _ => a.1.cmp(&b.1),
        });
        self.order.clear();
        for (slot, _) in &order {
            let twin = match (self.order.last(), series.get(*slot)) {
                (Some(last), Some(s)) => series.get(last.slot).is_some_and(|l| l.block == s.block),
                _ => false,
            };
            self.order.push(Shown { slot: *slot, twin });
        }
        // Hidden families mark their series anew.
        self.hidden = false;
        for (slot, _) in &self.members {
            let Some(s) = series.get_mut(*slot) else { continue };
            s.fault = (s.kind() != self.kind).then_some(Reason::TypeConflict);
            if s.fault.is_some() {
                let (name, existing, dropped) = (&self.name, self.kind.upper(), s.kind().upper());
                report.say(Reason::TypeConflict, Level::Warn, name, || {
                    format!(
                        "instrument type conflict, using existing type definition. instrument: {}, existing: \
                         {existing}, dropped: {dropped}",
                        String::from_utf8_lossy(name)
                    )
                });
            }
        }
        for shown in self.order.iter().filter(|s| s.twin && !timed) {
            let Some(s) = series.get_mut(shown.slot) else { continue };
            s.fault = Some(Reason::DuplicateSeries);
            report.say(Reason::DuplicateSeries, Level::Error, &self.name, || {
                format!(
                    "error gathering metrics: collected metric {:?} {{ {} }} was collected before with the same name \
                     and label values",
                    String::from_utf8_lossy(&self.name),
                    String::from_utf8_lossy(&s.block)
                )
            });
        }
    }
}
