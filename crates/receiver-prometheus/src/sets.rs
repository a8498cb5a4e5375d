//! The sets of jobs by number, and which of them have something to do.
//!
//! What an event costs depends on its own set, not on how many sets there are. Decides neither which jobs there are nor what
//! becomes of their scrapes.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_pdata::StepBudget;
use otelcore_pipeline::{Cx, Event, MonotonicTime};

use crate::job_set::JobSet;
use crate::target::FinishedScrape;

/// Sets have numbers below this.
const NUMBERS: u64 = 1 << 13;

struct Entry {
    set: JobSet,
    /// As they are counted in [`JobSets::due`] and [`JobSets::targets`].
    due: Option<MonotonicTime>,
    targets: usize,
}

/// The sets. Set `n` has the local keys from `n` times [`JobSet::KEYS`] on.
#[derive(Default)]
pub(crate) struct JobSets {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    /// Those with scrapes that have ended.
    ready: BTreeSet<u64>,
    /// The one that gave a scrape last.
    last_ready: u64,
    /// Those whose targets may have changed.
    changed: BTreeSet<u64>,
    /// When a target that ends is due.
    due: BTreeSet<(MonotonicTime, u64)>,
    /// Those that end.
    ending: BTreeSet<u64>,
    targets: usize,
}

impl JobSets {
    /// A number that no set has; the number of one that is gone is not given again for a long time. `None` if there are
    /// too many sets.
    pub(crate) fn free_number(&mut self) -> Option<u64> {
        let mut numbers = (0..NUMBERS).map(|offset| (self.next + offset) % NUMBERS);
        let free = numbers.find(|number| !self.entries.contains_key(number))?;
        self.next = free + 1;
        Some(free)
    }

    pub(crate) fn insert(&mut self, number: u64, set: JobSet) {
        self.entries.insert(number, Entry { set, due: None, targets: 0 });
        self.changed.insert(number);
        self.refresh(number);
    }

    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let number = local / JobSet::KEYS;
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.set.handle_event(cx, local, event) {
            self.changed.insert(number);
        }
        self.refresh(number);
    }

    /// Makes what discovery has found known to the jobs: so many targets. True if there is more.
    pub(crate) fn apply_changes(&mut self, cx: &mut Cx<'_>, mut targets: usize) -> bool {
        while let Some(number) = self.changed.first().copied() {
            let Some(entry) = self.entries.get_mut(&number) else {
                self.changed.remove(&number);
                continue;
            };
            while targets > 0 && entry.set.apply_change(cx) {
                targets -= 1;
            }
            self.refresh(number);
            if targets == 0 {
                return true;
            }
            self.changed.remove(&number);
        }
        false
    }

    /// Counts a set anew after it has done something.
    fn refresh(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if entry.set.has_ended_scrapes() {
            self.ready.insert(number);
        }
        let (due, targets) = (entry.set.next_due(), entry.set.targets());
        if let Some(before) = std::mem::replace(&mut entry.due, due) {
            self.due.remove(&(before, number));
        }
        self.due.extend(due.map(|due| (due, number)));
        self.targets = self.targets - std::mem::replace(&mut entry.targets, targets) + targets;
    }

    /// How many targets are discovered.
    pub(crate) fn targets(&self) -> usize {
        self.targets
    }

    /// When a target that ends is due next.
    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(crate) fn end_due_targets(&mut self, now: MonotonicTime) {
        let due = self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, number)| *number);
        for number in due.collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.set.end_due_targets(now);
            }
            self.refresh(number);
        }
    }

    pub(crate) fn has_ended_scrapes(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A scrape that has ended, of each set in turn, within the work.
    pub(crate) fn poll_finished(&mut self, work: &mut StepBudget) -> Option<FinishedScrape> {
        while !work.is_spent() {
            let after = self.ready.range(self.last_ready + 1..).next();
            let number = *after.or_else(|| self.ready.first())?;
            self.last_ready = number;
            let entry = self.entries.get_mut(&number);
            let finished = entry.and_then(|entry| entry.set.poll_finished(work));
            if !self.entries.get(&number).is_some_and(|entry| entry.set.has_ended_scrapes()) {
                self.ready.remove(&number);
            }
            if finished.is_some() {
                return finished;
            }
        }
        None
    }

    /// Ends the targets of a set as if discovery found none of them any more.
    pub(crate) fn release(&mut self, cx: &mut Cx<'_>, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.set.release(cx);
            self.changed.insert(number);
            self.ending.insert(number);
            self.refresh(number);
        }
    }

    /// Ends a set at once; its series get no markers.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, number: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.set.close(cx);
            self.ending.insert(number);
            self.refresh(number);
        }
    }

    /// Forgets sets that have ended.
    pub(crate) fn drop_ended(&mut self, cx: &mut Cx<'_>) {
        for number in std::mem::take(&mut self.ending) {
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            if entry.set.has_ended() {
                entry.set.close(cx);
            }
            if entry.set.is_closed() && entry.set.is_idle() {
                // It has neither targets nor a time any more, and is counted as such.
                self.refresh(number);
                self.entries.remove(&number);
                self.ready.remove(&number);
                self.changed.remove(&number);
            } else {
                self.ending.insert(number);
            }
        }
    }

    /// Finds no more targets, and scrapes those that there are once more.
    pub(crate) fn scrape_last(&mut self, cx: &mut Cx<'_>) {
        self.for_each(|set| set.scrape_last(cx));
    }

    /// Ends scrapes in flight; none begins any more.
    pub(crate) fn close_all(&mut self, cx: &mut Cx<'_>) {
        self.for_each(|set| set.close(cx));
    }

    fn for_each(&mut self, mut act: impl FnMut(&mut JobSet)) {
        for number in self.entries.keys().copied().collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&number) {
                act(&mut entry.set);
            }
            self.refresh(number);
        }
    }

    /// No scrape is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.entries.values().all(|entry| entry.set.is_idle())
    }
}
