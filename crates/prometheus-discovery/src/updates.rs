//! What is known of the groups of all discoveries, and which changes their owner has not seen yet.
//!
//! ```text
//!  a discovery sets or removes a group -> changed --(pause)--> released -> the owner takes it
//! ```
//! A group that changes again before it is taken is one change. So what waits is bounded by the groups that exist, and no
//! step depends on how many there are. Performs no IO; time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{Budget, Kept, LogField, Logger, MonotonicTime};

use crate::labels::LabelSet;
use crate::targets::TargetGroup;

/// The shortest pause between two releases, and the factor by which it grows up to the longest: as Prometheus's manager.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The most targets of all discoveries. Groups beyond are left out, with a warning.
pub(crate) const MAX_TARGETS: usize = 1_000_000;
/// A group with more targets is several, so that what follows from a change is done in short steps.
const MAX_GROUP_TARGETS: usize = 1000;
/// Targets of lists that are applied in one turn; a group counts as four more.
const MAX_WORK_PER_TURN: usize = 8000;

/// Identifies a group of a [`crate::Discovery`]. The number of a group that is gone is not used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u64);

/// A group that has changed, for one job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetChange {
    /// The index of the job.
    pub job: usize,
    /// Which group.
    pub group: GroupId,
    /// The group as a whole; `None` if it is gone.
    pub targets: Option<Arc<TargetGroup>>,
}

struct Group {
    provider: usize,
    source: Arc<str>,
    group: Option<Arc<TargetGroup>>,
}

/// The groups of all discoveries.
pub(crate) struct Updates {
    /// The jobs that a discovery finds targets for, by its index.
    jobs: Vec<Vec<usize>>,
    groups: BTreeMap<GroupId, Group>,
    by_source: Vec<BTreeMap<Arc<str>, GroupId>>,
    next_id: u64,
    targets: usize,
    kept: Kept,
    changed: BTreeSet<GroupId>,
    released: BTreeSet<GroupId>,
    /// The group that is being taken, and which of its jobs is next.
    taking: Option<(GroupId, usize)>,
    pause: Duration,
    released_at: Option<MonotonicTime>,
    /// Groups have been left out since this was reported.
    is_full: bool,
    log: Logger,
}

/// The updates of one discovery.
pub(crate) struct Sink<'u> {
    updates: &'u mut Updates,
    provider: usize,
}

impl Sink<'_> {
    /// Sets a group. One without targets is removed, and one with very many is several. False if there was no room for all
    /// of it.
    pub(crate) fn set(&mut self, mut group: TargetGroup) -> bool {
        let source = group.source.clone();
        let mut is_set = true;
        let mut parts = 0;
        while is_set && (parts == 0 || !group.targets.is_empty()) {
            let rest = group.targets.split_off(group.targets.len().min(MAX_GROUP_TARGETS));
            let next = TargetGroup { source: source.clone(), targets: rest, labels: group.labels.clone() };
            group.source = part_of(&source, parts);
            is_set = self.updates.set(self.provider, group);
            group = next;
            parts += 1;
        }
        if is_set {
            self.remove_from(&source, parts);
        }
        is_set
    }

    /// Removes a group.
    pub(crate) fn remove(&mut self, source: &str) {
        self.remove_from(source, 0);
    }

    /// Removes the parts of a group from this one on.
    fn remove_from(&mut self, source: &str, first: usize) {
        (first..).take_while(|part| self.updates.remove(self.provider, &part_of(source, *part))).for_each(drop);
    }
}

/// The source of a part of a group; the first one has that of the group.
fn part_of(source: &str, part: usize) -> Arc<str> {
    if part == 0 { source.into() } else { format!("{source}#{part}").into() }
}

/// Groups that wait to be set, and sources that wait to be removed, so that a long list is applied in several turns.
#[derive(Default)]
pub(crate) struct GroupQueue(VecDeque<GroupStep>);

enum GroupStep {
    Set(TargetGroup),
    /// Removes the sources that are this text, a colon and one of the numbers.
    Remove(String, Range<usize>),
}

impl GroupQueue {
    /// Adds the groups of a list. `before` is how many the list had before; their sources end with their numbers.
    pub(crate) fn push_list(&mut self, source: &str, groups: Vec<TargetGroup>, before: usize) {
        let count = groups.len();
        self.0.extend(groups.into_iter().map(GroupStep::Set));
        if count < before {
            self.0.push_back(GroupStep::Remove(source.to_owned(), count..before));
        }
    }

    /// Applies some of what waits. True if there is more.
    pub(crate) fn apply(&mut self, sink: &mut Sink<'_>) -> bool {
        let mut left = MAX_WORK_PER_TURN;
        while left > 0 {
            match self.0.front_mut() {
                None => return false,
                Some(GroupStep::Remove(source, numbers)) => match numbers.next() {
                    Some(number) => {
                        sink.remove(&format!("{source}:{number}"));
                        left = left.saturating_sub(4);
                        continue;
                    }
                    None => drop(self.0.pop_front()),
                },
                Some(GroupStep::Set(group)) => {
                    let group = std::mem::take(group);
                    left = left.saturating_sub(group.targets.len() + 4);
                    sink.set(group);
                    self.0.pop_front();
                }
            }
        }
        !self.0.is_empty()
    }
}

impl Updates {
    /// For discoveries that find targets for these jobs.
    pub(crate) fn new(jobs: Vec<Vec<usize>>, budget: &Arc<Budget>, log: Logger) -> Self {
        Self {
            by_source: jobs.iter().map(|_| BTreeMap::new()).collect(),
            jobs,
            groups: BTreeMap::new(),
            next_id: 0,
            targets: 0,
            kept: budget.keep(0),
            changed: BTreeSet::new(),
            released: BTreeSet::new(),
            taking: None,
            pause: MIN_PAUSE,
            released_at: None,
            is_full: false,
            log,
        }
    }

    /// The number of targets of all groups.
    pub(crate) fn targets(&self) -> usize {
        self.targets
    }

    pub(crate) fn sink(&mut self, provider: usize) -> Sink<'_> {
        Sink { updates: self, provider }
    }

    /// False if there is no room for it.
    fn set(&mut self, provider: usize, group: TargetGroup) -> bool {
        if group.targets.is_empty() {
            self.remove(provider, &group.source);
            return true;
        }
        let Some(by_source) = self.by_source.get_mut(provider) else { return true };
        let known = by_source.get(&group.source).copied();
        let before = known.and_then(|id| self.groups.get(&id)).and_then(|known| known.group.as_ref());
        if before.is_some_and(|before| **before == group) {
            return true;
        }
        let (old_targets, old_bytes) = before.map_or((0, 0), |before| (before.targets.len(), bytes_of(before)));
        let targets = self.targets - old_targets + group.targets.len();
        let is_larger = group.targets.len() > old_targets;
        if is_larger && (targets > MAX_TARGETS || !self.kept.has_room()) {
            self.leave_out(&group.source);
            return false;
        }
        self.targets = targets;
        self.kept.shrink(old_bytes);
        self.kept.grow(bytes_of(&group));
        let source = group.source.clone();
        let group = Some(Arc::new(group));
        let id = match known {
            Some(id) => id,
            None => {
                let id = GroupId(self.next_id);
                self.next_id += 1;
                by_source.insert(source.clone(), id);
                id
            }
        };
        match self.groups.get_mut(&id) {
            Some(known) => known.group = group,
            None => drop(self.groups.insert(id, Group { provider, source, group })),
        }
        self.mark(id);
        true
    }

    /// False if there is no such group.
    fn remove(&mut self, provider: usize, source: &str) -> bool {
        let id = self.by_source.get(provider).and_then(|by_source| by_source.get(source)).copied();
        let Some(id) = id else { return false };
        let Some(before) = self.groups.get_mut(&id).and_then(|known| known.group.take()) else { return false };
        self.targets -= before.targets.len();
        self.kept.shrink(bytes_of(&before));
        self.mark(id);
        true
    }

    fn mark(&mut self, id: GroupId) {
        if !self.released.contains(&id) {
            self.changed.insert(id);
        }
        // The remaining jobs would get it in another state than those before them.
        if self.taking.is_some_and(|(taking, _)| taking == id) {
            self.taking = Some((id, 0));
        }
    }

    fn leave_out(&mut self, source: &str) {
        if !std::mem::replace(&mut self.is_full, true) {
            let fields = [("group", LogField::Str(source)), ("targets", LogField::Uint(self.targets as u64))];
            self.log.warn("no room for further targets: groups that are found now are left out", &fields);
        }
    }

    /// Releases what has changed, if it is due. Returns when the next release is.
    pub(crate) fn release(&mut self, now: MonotonicTime) -> Option<MonotonicTime> {
        if self.changed.is_empty() {
            return None;
        }
        let due = self.released_at.map_or(now, |at| at + self.pause);
        if due > now {
            return Some(due);
        }
        let is_idle = self.released_at.is_none_or(|at| at + MAX_PAUSE < now);
        self.pause = if is_idle { MIN_PAUSE } else { self.pause.mul_f64(1.5).min(MAX_PAUSE) };
        self.released_at = Some(now);
        self.is_full = false;
        let mut changed = std::mem::take(&mut self.changed);
        if self.released.is_empty() {
            self.released = changed;
        } else {
            self.released.append(&mut changed);
        }
        None
    }

    /// The next change that has been released.
    pub(crate) fn poll_change(&mut self) -> Option<TargetChange> {
        loop {
            let (id, next) = match self.taking {
                Some(taking) => taking,
                None => (self.released.pop_first()?, 0),
            };
            let Some(known) = self.groups.get(&id) else {
                self.taking = None;
                continue;
            };
            let job = self.jobs.get(known.provider).and_then(|jobs| jobs.get(next)).copied();
            let targets = known.group.clone();
            if let Some(job) = job {
                self.taking = Some((id, next + 1));
                return Some(TargetChange { job, group: id, targets });
            }
            self.taking = None;
            if targets.is_none()
                && !self.changed.contains(&id)
                && let Some(gone) = self.groups.remove(&id)
                && let Some(by_source) = self.by_source.get_mut(gone.provider)
            {
                by_source.remove(&gone.source);
            }
        }
    }
}

/// About the memory of a group.
fn bytes_of(group: &TargetGroup) -> u64 {
    let targets: usize = group.targets.iter().map(LabelSet::bytes).sum();
    (targets + group.labels.bytes() + group.source.len() + 128) as u64
}

#[cfg(test)]
mod tests {
    use otelcore_pipeline::LogLevel;
    use otelcore_testkit::TestLog;

    use super::*;

    fn group(source: &str, address: &str) -> TargetGroup {
        let targets = vec![LabelSet::from_pairs([("__address__", address)])];
        TargetGroup { source: source.into(), targets, labels: LabelSet::default() }
    }

    fn updates(jobs: Vec<Vec<usize>>) -> Updates {
        Updates::new(jobs, &Arc::new(Budget::default()), TestLog::new(None).logger())
    }

    fn taken(updates: &mut Updates) -> Vec<(usize, u64, bool)> {
        let changes = std::iter::from_fn(|| updates.poll_change());
        changes.map(|change| (change.job, change.group.0, change.targets.is_some())).collect()
    }

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime(millis * 1_000_000)
    }

    #[test]
    fn group_is_a_change_for_each_job_and_an_equal_group_is_none() {
        let mut updates = updates(vec![vec![0, 2], vec![1]]);
        updates.sink(0).set(group("a", "1"));
        updates.sink(1).set(group("a", "1"));
        assert_eq!(updates.release(at(0)), None);
        assert_eq!(taken(&mut updates), [(0, 0, true), (2, 0, true), (1, 1, true)]);
        updates.sink(0).set(group("a", "1"));
        updates.sink(1).remove("b");
        assert_eq!(updates.release(at(9000)), None);
        assert_eq!(taken(&mut updates), []);
        updates.sink(0).set(TargetGroup { source: "a".into(), ..TargetGroup::default() });
        updates.release(at(20_000));
        assert_eq!(taken(&mut updates), [(0, 0, false), (2, 0, false)]);
        updates.sink(0).set(group("a", "1"));
        updates.release(at(30_000));
        assert_eq!(taken(&mut updates), [(0, 2, true), (2, 2, true)]);
        updates.sink(0).remove("a");
        updates.sink(1).remove("a");
        updates.release(at(40_000));
        taken(&mut updates);
        assert_eq!((updates.targets, updates.kept.bytes(), updates.groups.len()), (0, 0, 0));
    }

    #[test]
    fn changes_wait_longer_while_they_come_often() {
        let mut updates = updates(vec![vec![0]]);
        let mut releases = Vec::new();
        for millis in 0..20_000 {
            updates.sink(0).set(group("a", &millis.to_string()));
            updates.release(at(millis));
            if !taken(&mut updates).is_empty() {
                releases.push(millis);
            }
        }
        let pauses: Vec<u64> = releases.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [100, 150, 225, 338, 507, 760, 1140, 1709, 2563, 3845, 5000]);
        // After a time without changes the first one does not wait.
        updates.sink(0).set(group("a", "x"));
        updates.release(at(60_000));
        assert_eq!(taken(&mut updates).len(), 1);
        updates.sink(0).set(group("a", "y"));
        assert_eq!(updates.release(at(60_001)), Some(at(60_100)));
    }

    #[test]
    fn group_that_is_gone_and_comes_back_before_it_is_taken_is_one_change() {
        let mut updates = updates(vec![vec![0, 1]]);
        updates.sink(0).set(group("a", "1"));
        updates.release(at(0));
        assert_eq!(updates.poll_change().unwrap().job, 0);
        updates.sink(0).remove("a");
        updates.sink(0).set(group("a", "2"));
        // The change that is being taken begins again with the new group.
        assert_eq!(taken(&mut updates), [(0, 0, true), (1, 0, true)]);
        updates.release(at(6000));
        assert_eq!(taken(&mut updates), [(0, 0, true), (1, 0, true)]);
    }

    #[test]
    fn group_with_very_many_targets_is_several_which_go_with_it() {
        let mut updates = updates(vec![vec![0]]);
        let group = |count: usize| TargetGroup {
            source: "a".into(),
            targets: (0..count).map(|n| LabelSet::from_pairs([("__address__", n.to_string())])).collect(),
            labels: LabelSet::from_pairs([("x", "y")]),
        };
        let mut counts = |count: usize, millis: u64| {
            updates.sink(0).set(group(count));
            updates.release(at(millis));
            let changes = std::iter::from_fn(|| updates.poll_change());
            changes.map(|change| change.targets.map_or(0, |group| group.targets.len())).collect::<Vec<_>>()
        };
        assert_eq!(counts(2500, 0), [1000, 1000, 500]);
        assert_eq!(counts(1000, 10_000), [0, 0]);
        assert_eq!(counts(1001, 20_000), [1]);
        assert_eq!(counts(0, 30_000), [0, 0]);
        assert_eq!(updates.targets, 0);
    }

    #[test]
    fn long_list_is_applied_in_several_turns() {
        let mut updates = updates(vec![vec![0]]);
        let mut queue = GroupQueue::default();
        let list = |count: usize| (0..count).map(|n| group(&format!("f:{n}"), "1")).collect::<Vec<_>>();
        let mut turns = |groups: Vec<TargetGroup>, before: usize, updates: &mut Updates| {
            queue.push_list("f", groups, before);
            let mut turns = 1;
            while queue.apply(&mut updates.sink(0)) {
                turns += 1;
            }
            turns
        };
        assert_eq!(turns(list(10_000), 0, &mut updates), 7);
        assert_eq!(updates.targets, 10_000);
        assert_eq!(turns(list(10), 10_000, &mut updates), 6);
        assert_eq!(updates.targets, 10);
    }

    #[test]
    fn group_without_room_is_left_out_with_one_warning() {
        let budget = Arc::new(Budget::default());
        budget.set_limit(1000);
        let log = TestLog::new(Some(LogLevel::Info));
        let mut updates = Updates::new(vec![vec![0]], &budget, log.logger());
        let _full = budget.keep(900);
        updates.sink(0).set(group("a", "1"));
        updates.sink(0).set(group("b", "1"));
        updates.release(at(0));
        assert_eq!(taken(&mut updates), []);
        assert_eq!(log.take_entries().len(), 1);
    }
}
