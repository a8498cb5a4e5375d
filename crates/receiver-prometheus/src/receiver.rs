//! The receiver: passes events to its jobs, and sends what their scrapes become.
//!
//! ```text
//!  target allocator --jobs--> sets of jobs --scrapes that have ended--> outputs --payloads--> pipelines
//! ```
//! Each arrow is a bounded amount of work in a turn of the loop. Never waits for the outcome of a payload.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::hash_target;
use otelcore_pdata::{Signal, StepBudget};
use otelcore_pipeline::{
    Budget, BuildContext, ClientAuth, Cx, Event, Gauge, Held, LogField, Logger, MetricsLevel, MonotonicTime, Outcome,
    Payload, PeriodicCount, PipelineInput, Receiver, ReceiverMetrics, StartError, Telemetry, TimerId,
};

use crate::allocator::{AllocatedJob, TargetAllocator};
use crate::config::{PrometheusReceiverConfig, ScrapeConfig};
use crate::job::JobContext;
use crate::job_set::JobSet;
use crate::key::KeyHasher;
use crate::output::{Output, OutputSettings, OutputStep};
use crate::sets::JobSets;

/// Local keys: for the work of a turn, for discovery's changes, for targets that end, and for the deadline of a shutdown.
const WORK: u64 = 0;
const CHANGES: u64 = 1;
const ENDING: u64 = 2;
const DEADLINE: u64 = 3;
/// Those of the target allocator begin here. Set `n` of jobs has those from `n` times [`JobSet::KEYS`] on, in which set 0
/// leaves these free.
const ALLOCATOR: u64 = 1 << 48;
const ALLOCATOR_END: u64 = ALLOCATOR + (1 << 32);

/// Targets that are populated or released in one turn.
const MAX_TARGETS_PER_TURN: usize = 256;

/// Jobs of a target allocator that begin or end in one turn.
const MAX_JOBS_PER_TURN: usize = 8;

/// How often payloads that the pipeline refuses are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A job of the target allocator that runs.
struct RunningJob {
    /// What the allocator says of it.
    text: String,
    set: u64,
}

/// The receiver.
pub(crate) struct PrometheusReceiver {
    config: PrometheusReceiverConfig,
    id: String,
    telemetry: Telemetry,
    budget: Arc<Budget>,
    log: Logger,
    metrics: ReceiverMetrics,
    targets: Gauge,
    output_settings: Rc<OutputSettings>,
    hasher: Option<KeyHasher>,
    external_labels: Vec<(String, String)>,
    offset_seed: u64,
    allocator_auth: Option<Rc<dyn ClientAuth>>,
    allocator: Option<TargetAllocator>,
    /// What the allocator answered, as far as it is not applied, and the names that it has not.
    allocated: VecDeque<AllocatedJob>,
    obsolete: Vec<String>,
    running: BTreeMap<String, RunningJob>,
    sets: JobSets,
    outputs: VecDeque<(Output, Held)>,
    in_flight: u64,
    refused: PeriodicCount,
    is_work_requested: bool,
    ending_timer: Option<(MonotonicTime, TimerId)>,
    is_closing: bool,
}

impl PrometheusReceiver {
    /// # Errors
    /// The authenticator of the target allocator can't be used.
    pub(crate) fn new(config: &PrometheusReceiverConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let id = context.id.to_string();
        let authenticator = config.target_allocator.as_ref().and_then(|allocator| allocator.client.authenticator());
        let help = "Number of targets that are discovered.";
        let name = "otelcore_prometheus_discovered_targets";
        Ok(Self {
            config: config.clone(),
            telemetry: context.telemetry.clone(),
            budget: context.budget.clone(),
            log: context.log.clone(),
            metrics: ReceiverMetrics::new(context.telemetry, &id, "http", context.signals),
            targets: context.telemetry.gauge(MetricsLevel::Basic, name, help, vec![("receiver", id.clone())]),
            id,
            output_settings: Rc::new(OutputSettings {
                trims_suffixes: config.trim_metric_suffixes,
                version: env!("CARGO_PKG_VERSION"),
            }),
            hasher: None,
            external_labels: Vec::new(),
            offset_seed: 0,
            allocator_auth: authenticator.map(|id| context.capabilities.get::<dyn ClientAuth>(&id)).transpose()?,
            allocator: None,
            allocated: VecDeque::new(),
            obsolete: Vec::new(),
            running: BTreeMap::new(),
            sets: JobSets::default(),
            outputs: VecDeque::new(),
            in_flight: 0,
            refused: PeriodicCount::new(LOG_INTERVAL),
            is_work_requested: false,
            ending_timer: None,
            is_closing: false,
        })
    }

    /// Makes what discovery has found known to the jobs, as much as a turn may.
    fn apply_changes(&mut self, cx: &mut Cx<'_>) {
        if self.is_closing {
            return;
        }
        let is_more = self.sets.apply_changes(cx, MAX_TARGETS_PER_TURN);
        self.targets.set(self.sets.targets() as u64);
        if is_more {
            cx.request_ready(CHANGES);
        }
    }

    /// Remembers what the target allocator has answered; [`Self::apply_allocated`] makes it so.
    fn take_answer(&mut self, jobs: Vec<AllocatedJob>) {
        let names: BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        self.obsolete = self.running.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        self.allocated = jobs.into();
    }

    /// Ends and begins jobs of the target allocator, as many as a turn may.
    fn apply_allocated(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..MAX_JOBS_PER_TURN {
            if let Some(name) = self.obsolete.pop() {
                let Some(job) = self.running.remove(&name) else { continue };
                self.log.info("Scrape job removed", &[("jobName", LogField::Str(&name))]);
                self.sets.release(cx, job.set);
            } else if let Some(job) = self.allocated.pop_front() {
                self.apply_job(cx, job);
            } else {
                break;
            }
        }
        if !self.obsolete.is_empty() || !self.allocated.is_empty() {
            cx.request_ready(CHANGES);
        }
    }

    fn apply_job(&mut self, cx: &mut Cx<'_>, job: AllocatedJob) {
        let AllocatedJob { name, text, config } = job;
        if self.running.get(&name).is_some_and(|running| running.text == text) {
            return;
        }
        let begun = config.and_then(|config| self.begin_job(cx, &name, *config));
        let fields = [("jobName", LogField::Str(&name))];
        match begun {
            Ok(set) => {
                self.log.info("Scrape job added", &fields);
                // The new job goes on with the series of the old one, which therefore get no markers.
                if let Some(before) = self.running.insert(name, RunningJob { text, set }) {
                    self.sets.close(cx, before.set);
                }
            }
            // A job that runs goes on as it was.
            Err(error) => {
                let fields = [("jobName", LogField::Str(&name)), ("err", LogField::Str(&error))];
                self.log.error("Failed to apply new scrape configuration", &fields);
            }
        }
    }

    fn begin_job(&mut self, cx: &mut Cx<'_>, name: &str, mut job: ScrapeConfig) -> Result<u64, String> {
        let Some(allocator) = &self.config.target_allocator else { return Err("there is no allocator".to_owned()) };
        job.discovery = allocator.discovery(name);
        if let Some(http) = &allocator.http_scrape_config {
            job.http = http.clone();
        }
        let is_static = |own: &ScrapeConfig| own.job_name == job.job_name;
        if self.config.config.scrape_configs.iter().any(is_static) {
            return Err(format!("found multiple scrape configs with job name {:?}", &*job.job_name));
        }
        self.begin_set(cx, &[job]).map_err(|error| error.to_string())
    }

    /// Begins jobs as a set, and returns its number.
    fn begin_set(&mut self, cx: &mut Cx<'_>, jobs: &[ScrapeConfig]) -> Result<u64, StartError> {
        let number = self.sets.free_number().ok_or_else(|| StartError::Config("there are too many jobs".to_owned()))?;
        let hasher = self.hasher.get_or_insert_with(|| KeyHasher::new(cx.random())).clone();
        let context = JobContext {
            log: self.log.clone(),
            hasher,
            budget: &self.budget,
            external_labels: &self.external_labels,
            offset_seed: self.offset_seed,
            first_delay: self.config.initial_scrape_offset,
        };
        let mut set = JobSet::new(jobs.iter(), &self.config.config, &context, number * JobSet::KEYS)?;
        set.measure(&self.telemetry, &self.id);
        set.start(cx)?;
        self.sets.insert(number, set);
        Ok(number)
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
            match self.sets.poll_finished(&mut work) {
                Some(finished) => {
                    let settings = self.output_settings.clone();
                    let output = finished.transaction.map(|transaction| Output::new(transaction, settings));
                    self.outputs.extend(output.map(|output| (output, finished.held)));
                }
                None if self.sets.has_ended_scrapes() => return self.request_work(cx),
                None => return,
            }
        }
    }

    fn request_work(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_work_requested, true) {
            cx.request_ready(WORK);
        }
    }

    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        let due = self.sets.next_due();
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
        self.external_labels = self.external_labels(cx);
        let host = cx.env_var("HOSTNAME").unwrap_or_default();
        self.offset_seed = hash_target(&format!("{host}{:?}", self.external_labels));
        let jobs = self.config.config.scrape_configs.clone();
        self.begin_set(cx, &jobs)?;
        if let Some(config) = &self.config.target_allocator {
            let allocator = TargetAllocator::new(config, self.allocator_auth.clone(), self.log.clone(), ALLOCATOR)?;
            self.allocator.insert(allocator).start(cx)?;
        }
        self.apply_changes(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        match local {
            WORK => self.is_work_requested = false,
            CHANGES => {}
            ENDING => {
                self.ending_timer = None;
                self.sets.end_due_targets(cx.now());
            }
            DEADLINE => self.sets.close_all(cx),
            ALLOCATOR..ALLOCATOR_END => {
                let jobs = self.allocator.as_mut().and_then(|allocator| allocator.handle_event(cx, local, &event));
                if let Some(jobs) = jobs.filter(|_| !self.is_closing) {
                    self.take_answer(jobs);
                    self.apply_allocated(cx);
                }
            }
            _ => self.sets.handle_event(cx, local, &event),
        }
        if local == CHANGES && !self.is_closing {
            self.apply_allocated(cx);
        }
        self.apply_changes(cx);
        if !self.is_closing {
            self.sets.drop_ended(cx);
        }
        self.update_timer(cx);
        // A turn has one share of this work, also where several events have more of it.
        if local == WORK {
            self.work(cx, input);
        } else if !self.outputs.is_empty() || self.sets.has_ended_scrapes() {
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
        if let Some(allocator) = &mut self.allocator {
            allocator.close(cx);
        }
        if self.config.scrape_on_shutdown {
            self.sets.scrape_last(cx);
            cx.set_timer(DEADLINE, deadline);
        } else {
            self.sets.close_all(cx);
        }
        self.request_work(cx);
    }

    fn is_closed(&self) -> bool {
        self.is_closing && self.in_flight == 0 && self.outputs.is_empty() && self.sets.is_idle()
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
