//! The receiver: discovers targets, passes events to its jobs, and sends what their scrapes become.
//!
//! ```text
//!  discovery --changes of groups--> jobs --scrapes that have ended--> outputs --payloads--> pipelines
//! ```
//! Each arrow is a bounded amount of work in a turn of the loop. Never waits for the outcome of a payload.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::hash_target;
use otelcore_pdata::{Signal, StepBudget};
use otelcore_pipeline::{
    BuildContext, Cx, Event, Held, LogField, Logger, MonotonicTime, Outcome, Payload, PeriodicCount, PipelineInput,
    Receiver, ReceiverMetrics, StartError, TimerId,
};
use otelcore_prometheus_discovery::{Discovery, TargetChange};

use crate::config::PrometheusReceiverConfig;
use crate::job::{Job, JobContext};
use crate::key::KeyHasher;
use crate::output::{Output, OutputSettings, OutputStep};

/// Local keys: for the work of a turn, for discovery's changes, for targets that end, and for the deadline of a shutdown.
const WORK: u64 = 0;
const CHANGES: u64 = 1;
const ENDING: u64 = 2;
const DEADLINE: u64 = 3;
/// Those of a job begin at its number plus one, times this.
const JOB_STEP: u64 = 1 << 32;
/// Those of discovery begin here.
const DISCOVERY: u64 = 1 << 56;

/// Targets that are populated or released in one turn.
const MAX_TARGETS_PER_TURN: usize = 256;

/// How often payloads that the pipeline refuses are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A change of a group that is being made.
struct PendingChange {
    change: TargetChange,
    /// The target that is next.
    next: usize,
    keys: Vec<u128>,
    /// The targets that the group had before, once the new ones are there.
    before: Option<Vec<u128>>,
}

/// The receiver.
pub(crate) struct PrometheusReceiver {
    config: PrometheusReceiverConfig,
    budget: Arc<otelcore_pipeline::Budget>,
    log: Logger,
    metrics: ReceiverMetrics,
    output_settings: Rc<OutputSettings>,
    discovery: Option<Discovery>,
    jobs: Vec<Job>,
    pending: Option<PendingChange>,
    outputs: VecDeque<(Output, Held)>,
    /// The job that is asked first for a scrape that has ended.
    next_job: usize,
    in_flight: u64,
    refused: PeriodicCount,
    is_work_requested: bool,
    ending_timer: Option<(MonotonicTime, TimerId)>,
    is_closing: bool,
}

impl PrometheusReceiver {
    pub(crate) fn new(config: &PrometheusReceiverConfig, context: &BuildContext<'_>) -> Self {
        Self {
            config: config.clone(),
            budget: context.budget.clone(),
            log: context.log.clone(),
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "http", context.signals),
            output_settings: Rc::new(OutputSettings {
                trims_suffixes: config.trim_metric_suffixes,
                version: env!("CARGO_PKG_VERSION"),
            }),
            discovery: None,
            jobs: Vec::new(),
            pending: None,
            outputs: VecDeque::new(),
            next_job: 0,
            in_flight: 0,
            refused: PeriodicCount::new(LOG_INTERVAL),
            is_work_requested: false,
            ending_timer: None,
            is_closing: false,
        }
    }

    /// Makes what discovery has found known to the jobs, as much as a turn may.
    fn apply_changes(&mut self, cx: &mut Cx<'_>) {
        if self.is_closing {
            return;
        }
        for _ in 0..MAX_TARGETS_PER_TURN {
            if self.pending.is_none() {
                let change = self.discovery.as_mut().and_then(Discovery::poll_change);
                let Some(change) = change else { return };
                self.pending = Some(PendingChange { change, next: 0, keys: Vec::new(), before: None });
            }
            self.apply_one(cx);
        }
        cx.request_ready(CHANGES);
    }

    /// Adds or releases one target of the pending change, or ends it.
    fn apply_one(&mut self, cx: &mut Cx<'_>) {
        let Some(pending) = &mut self.pending else { return };
        let Some(job) = self.jobs.get_mut(pending.change.job) else {
            self.pending = None;
            return;
        };
        if let Some(before) = &mut pending.before {
            match before.pop() {
                Some(key) => job.release(cx, key),
                None => self.pending = None,
            }
            return;
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
    }

    /// Finishes scrapes and sends their points, as much as a turn may.
    fn work(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let mut work = StepBudget::for_one_step();
        loop {
            if work.is_spent() {
                return self.request_work(cx);
            }
            if let Some((output, _held)) = self.outputs.front_mut() {
                match output.step(&mut work) {
                    OutputStep::Payload(body) => {
                        self.in_flight += 1;
                        let items = body.items();
                        let held = input.budget().hold(body.len() as u64);
                        let payload = Payload { signal: Signal::Metrics, body, metadata: None, held };
                        input.send(cx, u64::from(items), payload);
                    }
                    OutputStep::Pause => {}
                    OutputStep::Done => drop(self.outputs.pop_front()),
                }
                continue;
            }
            let finished = self.poll_finished(&mut work);
            match finished {
                Some(finished) => {
                    let settings = self.output_settings.clone();
                    let output = finished.transaction.map(|transaction| Output::new(transaction, settings));
                    self.outputs.extend(output.map(|output| (output, finished.held)));
                }
                None if self.jobs.iter().any(Job::has_ended_scrapes) => return self.request_work(cx),
                None => return,
            }
        }
    }

    fn poll_finished(&mut self, work: &mut StepBudget) -> Option<crate::target::FinishedScrape> {
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

    fn request_work(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_work_requested, true) {
            cx.request_ready(WORK);
        }
    }

    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        let due = self.jobs.iter().filter_map(Job::next_due).min();
        if due == self.ending_timer.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.ending_timer.take() {
            cx.cancel_timer(timer);
        }
        self.ending_timer = due.map(|at| (at, cx.set_timer(ENDING, at)));
    }

    /// External labels, in whose values Prometheus replaces `$NAME` and `${NAME}` by variables of the environment.
    fn external_labels(&self, cx: &Cx<'_>) -> Vec<(String, String)> {
        let labels = self.config.config.global.external_labels.0.iter();
        let labels = labels.map(|(name, value)| (name.clone(), expand(value, |name| cx.env_var(name))));
        labels.filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl Receiver for PrometheusReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let external_labels = self.external_labels(cx);
        let host = cx.env_var("HOSTNAME").unwrap_or_default();
        let context = JobContext {
            log: self.log.clone(),
            hasher: KeyHasher::new(cx.random()),
            budget: &self.budget,
            external_labels: &external_labels,
            offset_seed: hash_target(&format!("{host}{external_labels:?}")),
            first_delay: self.config.initial_scrape_offset,
        };
        let config = &self.config.config;
        let mut discoveries = Vec::new();
        for (job, number) in config.scrape_configs.iter().zip(1..) {
            let mut made = Job::new(job, config, &context, number * JOB_STEP)?;
            made.start(cx)?;
            self.jobs.push(made);
            discoveries.push((job.job_name.0.clone(), job.discovery.clone()));
        }
        let mut discovery = Discovery::new(&discoveries, self.log.clone(), &self.budget, DISCOVERY);
        discovery.start(cx);
        self.discovery = Some(discovery);
        self.apply_changes(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        match local {
            WORK => self.is_work_requested = false,
            CHANGES => self.apply_changes(cx),
            ENDING => {
                self.ending_timer = None;
                let now = cx.now();
                self.jobs.iter_mut().for_each(|job| job.end_due_targets(now));
            }
            DEADLINE => self.jobs.iter_mut().for_each(|job| job.close(cx)),
            DISCOVERY.. => {
                if let Some(discovery) = &mut self.discovery {
                    discovery.handle_event(cx, local, &event);
                }
                self.apply_changes(cx);
            }
            _ => {
                let job = (local / JOB_STEP).checked_sub(1).and_then(|job| usize::try_from(job).ok());
                if let Some(job) = job.and_then(|job| self.jobs.get_mut(job)) {
                    job.handle_event(cx, local, &event);
                }
            }
        }
        self.update_timer(cx);
        // A turn has one share of this work, also where several events have more of it.
        if local == WORK {
            self.work(cx, input);
        } else if !self.outputs.is_empty() || self.jobs.iter().any(Job::has_ended_scrapes) {
            self.request_work(cx);
        }
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let items = u32::try_from(request).unwrap_or(u32::MAX);
        self.metrics.record_outcome(Signal::Metrics, items, &outcome);
        let why = match &outcome {
            Outcome::Delivered => return,
            Outcome::Retry { why, .. } | Outcome::Permanent(why) => why.message.as_ref(),
            Outcome::Lost(_) => "the points were lost in the pipeline",
        };
        if let Some(count) = self.refused.add(cx.now(), u64::from(items)) {
            let fields = [("err", LogField::Str(why)), ("count", LogField::Uint(count))];
            self.log.error("Scrape commit failed", &fields);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.is_closing = true;
        if let Some(discovery) = &mut self.discovery {
            discovery.close(cx);
        }
        for job in &mut self.jobs {
            if self.config.scrape_on_shutdown {
                job.scrape_last(cx);
            } else {
                job.close(cx);
            }
        }
        if self.config.scrape_on_shutdown {
            cx.set_timer(DEADLINE, deadline);
        }
        self.request_work(cx);
    }

    fn is_closed(&self) -> bool {
        self.is_closing && self.in_flight == 0 && self.outputs.is_empty() && self.jobs.iter().all(Job::is_idle)
    }
}

/// As Go's `os.Expand`.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, behind) = rest.split_at(at);
        expanded.push_str(before);
        let behind = behind.get(1..).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, next) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(found) => found,
            None if behind.starts_with('$') => behind.split_at(1),
            None => behind.split_at(behind.find(|c| !is_name(c)).unwrap_or(behind.len())),
        };
        match name {
            "$" => expanded.push('$'),
            "" => expanded.push_str(if behind.is_empty() { "$" } else { "" }),
            name => expanded.push_str(&variable(name).unwrap_or_default()),
        }
        rest = next;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn variables_are_expanded_in_external_labels() {
        let variable = |name: &str| (name == "A").then(|| "x".to_owned());
        for (text, expected) in
            [("$A-${A}", "x-x"), ("$$A", "$A"), ("${B}c", "c"), ("a$", "a$"), ("$A_b", ""), ("plain", "plain")]
        {
            assert_eq!(expand(text, variable), expected, "{text}");
        }
    }
}
