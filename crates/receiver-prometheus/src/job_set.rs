//! Jobs that begin and end together, and the discovery of their targets.
//!
//! The jobs of the configuration are one set, each job of a target allocator is another. Passes events on to them, and
//! changes of discovered groups to the jobs. Sends nothing.

use otelcore_pdata::StepBudget;
use otelcore_pipeline::{Cx, Event, MonotonicTime, StartError, Telemetry};
use otelcore_prometheus_discovery::{Discovery, TargetChange};

use crate::config::{PromConfig, ScrapeConfig};
use crate::job::{Job, JobContext};
use crate::target::FinishedScrape;

/// Local keys of a job begin at its number plus one, times this.
const JOB_STEP: u64 = 1 << 32;
/// Those of discovery begin here.
const DISCOVERY: u64 = 1 << 49;

/// A change of a group that is being made.
struct PendingChange {
    change: TargetChange,
    /// The target that is next.
    next: usize,
    keys: Vec<u128>,
    /// The targets that the group had before, once the new ones are there.
    before: Option<Vec<u128>>,
}

/// What a set is to do with its targets when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SetState {
    Running,
    /// Its targets end one after another.
    Releasing,
    /// All have ended; the markers of their series are made when they are due.
    Ending,
    /// Nothing begins any more.
    Closed,
}

/// The jobs. They use local keys from a base on, [`JobSet::KEYS`] of them.
pub(crate) struct JobSet {
    base: u64,
    jobs: Vec<Job>,
    discovery: Discovery,
    pending: Option<PendingChange>,
    /// The job that is asked first for a scrape that has ended.
    next_job: usize,
    state: SetState,
}

impl JobSet {
    /// How many local keys a set uses.
    pub(crate) const KEYS: u64 = 1 << 50;

    /// Jobs that scrape nothing yet.
    ///
    /// # Errors
    /// The configuration of one is wrong.
    pub(crate) fn new<'c>(
        configs: impl Iterator<Item = &'c ScrapeConfig>,
        all: &PromConfig,
        context: &JobContext<'_>,
        base: u64,
    ) -> Result<Self, StartError> {
        let (mut jobs, mut discoveries) = (Vec::new(), Vec::new());
        for (config, number) in configs.zip(1..) {
            jobs.push(Job::new(config, all, context, base + number * JOB_STEP)?);
            discoveries.push((config.job_name.0.clone(), config.discovery.clone()));
        }
        let discovery = Discovery::new(&discoveries, context.log.clone(), context.budget, base + DISCOVERY);
        Ok(Self { base, jobs, discovery, pending: None, next_job: 0, state: SetState::Running })
    }

    pub(crate) fn measure(&mut self, telemetry: &Telemetry, receiver: &str) {
        self.discovery.measure(telemetry, receiver);
    }

    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for job in &mut self.jobs {
            job.start(cx)?;
        }
        self.discovery.start(cx);
        Ok(())
    }

    /// How many targets are discovered.
    pub(crate) fn targets(&self) -> usize {
        if self.state == SetState::Running { self.discovery.targets() } else { 0 }
    }

    /// Makes a target's worth of what discovery has found known to the jobs. False if there is nothing.
    pub(crate) fn apply_change(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.pending.is_none() {
            self.pending = self.next_change();
        }
        if self.pending.is_none() && self.state == SetState::Releasing {
            self.state = SetState::Ending;
        }
        self.apply_one(cx)
    }

    fn next_change(&mut self) -> Option<PendingChange> {
        match self.state {
            SetState::Running => {
                let change = self.discovery.poll_change()?;
                Some(PendingChange { change, next: 0, keys: Vec::new(), before: None })
            }
            // Each group becomes empty.
            SetState::Releasing => self.jobs.iter().enumerate().find_map(|(job, found)| {
                let change = TargetChange { job, group: found.first_group()?, targets: None };
                Some(PendingChange { change, next: 0, keys: Vec::new(), before: None })
            }),
            SetState::Ending | SetState::Closed => None,
        }
    }

    /// Adds or releases one target of the pending change, or ends it.
    fn apply_one(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(pending) = &mut self.pending else { return false };
        let Some(job) = self.jobs.get_mut(pending.change.job) else {
            self.pending = None;
            return true;
        };
        if let Some(before) = &mut pending.before {
            match before.pop() {
                Some(key) => job.release(cx, key),
                None => self.pending = None,
            }
            return true;
        }
        match pending.change.targets.as_ref().filter(|group| pending.next < group.targets.len()) {
            Some(group) => {
                pending.keys.extend(job.add_target(cx, group, pending.next));
                pending.next += 1;
            }
            None => {
                let keys = std::mem::take(&mut pending.keys);
                pending.before = Some(job.replace_group(pending.change.group, Some(keys)));
            }
        }
        true
    }

    /// Handles an event under one of its keys. True if the targets may have changed.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) -> bool {
        let offset = local.wrapping_sub(self.base);
        if offset >= DISCOVERY {
            self.discovery.handle_event(cx, local, event);
            return true;
        }
        let job = (offset / JOB_STEP).checked_sub(1).and_then(|job| usize::try_from(job).ok());
        if let Some(job) = job.and_then(|job| self.jobs.get_mut(job)) {
            job.handle_event(cx, local, event);
        }
        false
    }

    /// When a target that is ending is due next.
    pub(crate) fn next_due(&self) -> Option<MonotonicTime> {
        self.jobs.iter().filter_map(Job::next_due).min()
    }

    pub(crate) fn end_due_targets(&mut self, now: MonotonicTime) {
        self.jobs.iter_mut().for_each(|job| job.end_due_targets(now));
    }

    pub(crate) fn has_ended_scrapes(&self) -> bool {
        self.jobs.iter().any(Job::has_ended_scrapes)
    }

    /// Finishes scrapes that have ended, within the work.
    pub(crate) fn poll_finished(&mut self, work: &mut StepBudget) -> Option<FinishedScrape> {
        let count = self.jobs.len();
        for offset in 0..count {
            let at = (self.next_job + offset) % count;
            let Some(job) = self.jobs.get_mut(at).filter(|job| job.has_ended_scrapes()) else { continue };
            let finished = job.poll_finished(work);
            if finished.is_some() {
                self.next_job = at + 1;
                return finished;
            }
        }
        None
    }

    /// Ends the targets, as if discovery found none of them any more: their series get markers.
    pub(crate) fn release(&mut self, cx: &mut Cx<'_>) {
        self.discovery.close(cx);
        self.state = SetState::Releasing;
    }

    /// Finds no more targets, and scrapes those that there are once more.
    pub(crate) fn scrape_last(&mut self, cx: &mut Cx<'_>) {
        self.discovery.close(cx);
        self.jobs.iter_mut().for_each(|job| job.scrape_last(cx));
        self.state = SetState::Closed;
    }

    /// Ends scrapes in flight; none begins any more.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.discovery.close(cx);
        self.jobs.iter_mut().for_each(|job| job.close(cx));
        self.state = SetState::Closed;
    }

    /// Whether all targets of a set that was released have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == SetState::Ending && self.jobs.iter().all(Job::has_no_targets)
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == SetState::Closed
    }

    /// No scrape is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.iter().all(Job::is_idle)
    }
}
