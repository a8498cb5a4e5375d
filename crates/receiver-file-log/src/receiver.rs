//! The receiver: runs the steps of a [`FileConsumer`] as jobs on files, and sends what they return.
//!
//! Owns the requests that have no outcome yet. A request that was refused is sent again; nothing is read meanwhile, so that
//! what is not accepted stays in the files.

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_config::ComponentId;
use otelcore_go_text::time::Location;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Error, Event, FileSystem, Held,
    JobResult, LogField, Logger, MonotonicTime, Outcome, Payload, PeriodicCount, PipelineInput, Receiver,
    ReceiverMetrics, StartError, Storage, StorageUser, ValueStore,
};
use otelcore_stanza::{Origins, TextTemplate};

use crate::config::{FileLogConfig, RetryOnFailureConfig};
use crate::consumer::{FileConsumer, Notice, StepOutput, StepTime};

/// The local key of jobs, and of [`Cx::request_ready`].
const WORK: u64 = 0;
/// The timer of the next poll, and of the next attempt to read.
const POLL: u64 = 1;
/// The timer of the next attempt to send.
const RETRY: u64 = 2;

/// The most requests without an outcome, and their bytes: nothing is read above.
const MAX_IN_FLIGHT: usize = 8;
const MAX_IN_FLIGHT_BYTES: u64 = 8 << 20;
/// The pause after a refusal before anything was read.
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);
/// How often each kind of notice is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The pause between attempts during a shutdown.
const CLOSING_PAUSE: Duration = Duration::from_millis(100);

/// The `file_log` receiver.
#[derive(Clone, Copy, Debug)]
pub struct FileLogFactory;

impl ComponentType for FileLogFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "file_log",
        aliases: &["filelog"],
        signals: &[Signal::Logs],
        stability: "Beta",
    };
    type Config = FileLogConfig;

    fn create(&self, config: &FileLogConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let store = match config.storage_id() {
            None => None,
            Some(id) => {
                // Both names of the type have the same positions.
                let own_id = ComponentId { ty: Self::INFO.type_name.to_owned(), name: context.id.name.clone() };
                let user =
                    StorageUser { kind: ComponentKind::Receiver, id: &own_id, signal: None, purpose: "positions" };
                Some(context.capabilities.get::<dyn Storage>(&id)?.open_values(&user))
            }
        };
        Ok(Component::Receiver(Box::new(FileLogReceiver::new(config, store, context))))
    }
}

/// A request without an outcome.
struct InFlight {
    body: Rope,
    held: Held,
    /// Released with the outcome.
    origins: Origins,
    sent_at: MonotonicTime,
    /// The next pause.
    pause: Duration,
    /// When it is sent again; `None` while it is on its way.
    retry_at: Option<MonotonicTime>,
    was_refused: bool,
}

impl InFlight {
    fn payload(&self) -> Payload {
        Payload { signal: Signal::Logs, body: self.body.clone(), metadata: None, held: self.held.clone() }
    }
}

/// What a job returns: the consumer comes back.
type Job = JobResult<(Box<FileConsumer>, StepOutput)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    /// What operators keep is sent, and outcomes are awaited.
    Closing,
    Closed,
}

struct FileLogReceiver {
    config: FileLogConfig,
    /// Not there before the start, and while a job has it.
    consumer: Option<Box<FileConsumer>>,
    job: Option<Job>,
    state: State,
    /// What operators keep has been sent.
    is_drained: bool,
    /// The last positions have been stored.
    is_saved: bool,
    /// Until the start.
    store: Option<Box<dyn ValueStore>>,
    /// A poll is going on, or is due.
    is_due: bool,
    poll_begun: MonotonicTime,
    in_flight: BTreeMap<u64, InFlight>,
    next_request: u64,
    metrics: ReceiverMetrics,
    log: Logger,
    notices: Notices,
}

impl FileLogReceiver {
    fn new(config: &FileLogConfig, store: Option<Box<dyn ValueStore>>, context: &BuildContext<'_>) -> Self {
        Self {
            config: config.clone(),
            consumer: None,
            job: None,
            state: State::Running,
            is_drained: false,
            is_saved: store.is_none(),
            store,
            is_due: true,
            poll_begun: MonotonicTime::default(),
            in_flight: BTreeMap::new(),
            next_request: 0,
            metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "", context.signals),
            log: context.log.clone(),
            notices: Notices::default(),
        }
    }

    fn in_flight_bytes(&self) -> u64 {
        self.in_flight.values().map(|request| request.body.len() as u64).sum()
    }

    /// Does what can be done now.
    fn advance(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        self.take_result(cx, input);
        self.send_again(cx, input);
        if self.state == State::Closing {
            self.advance_closing(cx);
            return;
        }
        let is_refused = self.in_flight.values().any(|request| request.was_refused);
        let is_full = self.in_flight.len() >= MAX_IN_FLIGHT || self.in_flight_bytes() >= MAX_IN_FLIGHT_BYTES;
        if !self.is_due || is_refused || is_full || self.job.is_some() || self.state != State::Running {
            return;
        }
        if input.refusal(Signal::Logs).is_some() {
            cx.set_timer(POLL, cx.now() + REFUSAL_PAUSE);
            return;
        }
        self.start_job(cx, FileConsumer::step);
    }

    fn start_job(
        &mut self,
        cx: &mut Cx<'_>,
        step: impl FnOnce(&mut FileConsumer, &mut dyn FileSystem, StepTime) -> StepOutput + Send + 'static,
    ) {
        let Some(mut consumer) = self.consumer.take() else { return };
        let time = StepTime { wall_nanos: cx.wall_time().0, seed: cx.random() };
        let work = move |files: &mut dyn FileSystem| {
            let output = step(&mut consumer, files, time);
            (consumer, output)
        };
        // There is never a second job.
        self.job = cx.run_file_job(WORK, work).ok();
    }

    /// Takes the result of a job that has ended, and sends it.
    fn take_result(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        if !self.job.as_ref().is_some_and(JobResult::has_ended) {
            return;
        }
        let Some((consumer, output)) = self.job.take().and_then(|job| job.take()) else {
            self.log.error("reading files has ended by an error of the collector", &[]);
            self.state = State::Closed;
            return;
        };
        self.consumer = Some(consumer);
        for notice in &output.notices {
            self.notices.write(&self.log, cx.now(), notice);
        }
        if let Some(logs) = output.logs {
            let held = input.budget().hold(logs.body.len() as u64);
            let request = self.next_request;
            self.next_request += 1;
            let (sent_at, pause) = (cx.now(), self.config.retry_on_failure.initial_interval);
            let entry = InFlight {
                body: logs.body,
                held,
                origins: logs.origins,
                sent_at,
                pause,
                retry_at: None,
                was_refused: false,
            };
            input.send(cx, request, entry.payload());
            self.in_flight.insert(request, entry);
        }
        if output.has_ended && self.state == State::Running {
            self.is_due = false;
            let interval = Duration::from_nanos(self.config.poll_interval.nanos_or_zero());
            cx.set_timer(POLL, (self.poll_begun + interval).max(cx.now()));
        }
    }

    fn send_again(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let now = cx.now();
        let due: Vec<u64> = self
            .in_flight
            .iter()
            .filter(|(_, request)| request.retry_at.is_some_and(|at| at <= now))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            if let Some(mut request) = self.in_flight.remove(&number) {
                request.retry_at = None;
                self.metrics.record_resent(Signal::Logs, request.body.items());
                input.resend(cx, number, request.payload());
                self.in_flight.insert(number, request);
            }
        }
    }

    fn advance_closing(&mut self, cx: &mut Cx<'_>) {
        if self.job.is_some() {
            return;
        }
        if !self.is_drained {
            self.is_drained = true;
            self.start_job(cx, |consumer, _, time| consumer.drain(time));
        } else if !self.in_flight.is_empty() {
            // Their outcomes decide what is stored.
        } else if !self.is_saved {
            self.is_saved = true;
            self.start_job(cx, FileConsumer::save);
        } else {
            self.state = State::Closed;
        }
    }

    /// Keeps a request to send it again, or gives it up.
    fn refused(&mut self, cx: &mut Cx<'_>, number: u64, mut request: InFlight, after: Option<Duration>, why: Error) {
        let RetryOnFailureConfig { enabled, initial_interval, max_interval, max_elapsed_time } =
            self.config.retry_on_failure;
        let now = cx.now();
        if enabled && !max_elapsed_time.is_zero() && now.since(request.sent_at) > max_elapsed_time {
            let items = request.body.items();
            let fields = [("error", LogField::Str(&why.message)), ("dropped_items", LogField::Uint(u64::from(items)))];
            self.log.error("Max elapsed time expired. Dropping data.", &fields);
            self.metrics.record_outcome(Signal::Logs, items, &Outcome::Retry { after, why });
            cx.request_ready(WORK);
            return;
        }
        let mut pause = request.pause.max(after.unwrap_or_default());
        if self.state == State::Closing {
            pause = pause.min(CLOSING_PAUSE);
        }
        request.pause = request.pause.max(initial_interval).mul_f64(1.5).min(max_interval);
        let at = now + pause;
        request.retry_at = Some(at);
        request.was_refused = true;
        self.metrics.record_kept(Signal::Logs, request.body.items());
        self.in_flight.insert(number, request);
        cx.set_timer(RETRY, at);
    }
}

impl Receiver for FileLogReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let templates = self.config.attributes.iter().chain(&self.config.resource);
        let names = templates.filter_map(|(_, text)| TextTemplate::parse(text).ok()).flat_map(|t| t.env_names());
        let names: Vec<String> = names.chain(otelcore_stanza::env_names(&self.config.operators)).collect();
        let env = names.into_iter().filter_map(|name| Some((name.clone(), cx.env_var(&name)?))).collect();
        let consumer = FileConsumer::new(&self.config, env, local_zone(cx)).map_err(StartError::Config)?;
        let consumer = match self.store.take() {
            Some(store) => consumer.with_store(store, self.config.polls_to_archive),
            None => consumer,
        };
        self.consumer = Some(Box::new(consumer));
        self.poll_begun = cx.now();
        let interval = Duration::from_nanos(self.config.poll_interval.nanos_or_zero());
        self.is_due = false;
        cx.set_timer(POLL, cx.now() + interval);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, input: &mut PipelineInput<'_>) {
        if local == POLL && !self.is_due {
            self.is_due = true;
            self.poll_begun = cx.now();
        }
        self.advance(cx, input);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let Some(entry) = self.in_flight.remove(&request) else { return };
        if let Outcome::Retry { after, why } = outcome {
            return self.refused(cx, request, entry, after, why);
        }
        self.metrics.record_outcome(Signal::Logs, entry.body.items(), &outcome);
        match outcome {
            Outcome::Delivered => drop(entry.origins),
            Outcome::Permanent(why) => {
                let fields = [
                    ("error", LogField::Str(why.message.as_ref())),
                    ("dropped_items", LogField::Uint(entry.body.items().into())),
                ];
                self.log.error("ConsumeLogs() failed. The error is not retryable. Dropping data.", &fields);
            }
            // The process ends, or an error of the collector: the entries are read again after a start.
            Outcome::Lost(_) | Outcome::Retry { .. } => {}
        }
        cx.request_ready(WORK);
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        if self.state == State::Running {
            self.state = if self.consumer.is_some() || self.job.is_some() { State::Closing } else { State::Closed };
            cx.request_ready(WORK);
        }
    }

    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn held_items(&self) -> u64 {
        let kept = self.consumer.as_ref().map_or(0, |consumer| consumer.held_entries());
        self.in_flight.values().map(|request| u64::from(request.body.items())).sum::<u64>() + kept
    }
}

/// The zone of the machine: that of the variable `TZ`, else of `/etc/localtime`; UTC without both.
fn local_zone(cx: &mut Cx<'_>) -> Location {
    match cx.env_var("TZ") {
        Some(name) => Location::load(name.strip_prefix(':').unwrap_or(&name)).unwrap_or_default(),
        None => cx.read_file("/etc/localtime").ok().and_then(|data| Location::parse(&data)).unwrap_or_default(),
    }
}

/// Logs notices, each kind not too often.
struct Notices {
    files: PeriodicCount,
    search: PeriodicCount,
    operators: PeriodicCount,
    storage: PeriodicCount,
}

impl Default for Notices {
    fn default() -> Self {
        let count = || PeriodicCount::new(LOG_INTERVAL);
        Self { files: count(), search: count(), operators: count(), storage: count() }
    }
}

impl Notices {
    fn write(&mut self, log: &Logger, now: MonotonicTime, notice: &Notice) {
        match notice {
            Notice::Started(path) => {
                log.info("Started watching file", &[("path", LogField::Str(&path.display().to_string()))]);
            }
            Notice::FileFailed(path, error) => {
                if let Some(count) = self.files.add(now, 1) {
                    let path = path.display().to_string();
                    let fields = [
                        ("path", LogField::Str(&path)),
                        ("error", LogField::Str(error)),
                        ("count", LogField::Uint(count)),
                    ];
                    log.error("Failed to read a file", &fields);
                }
            }
            Notice::Resumed => {
                let message = "Resuming from previously known offset(s). 'start_at' setting is not applicable.";
                log.info(message, &[]);
            }
            Notice::StorageFailed(error) => {
                if let Some(count) = self.storage.add(now, 1) {
                    let fields = [("error", LogField::Str(error)), ("count", LogField::Uint(count))];
                    log.error("Positions in files can't be stored", &fields);
                }
            }
            Notice::SearchFailed(error) => {
                if self.search.add(now, 1).is_some() {
                    log.warn("finding files", &[("error", LogField::Str(error))]);
                }
            }
            Notice::Operator(failure) => {
                if let Some(count) = self.operators.add(now, failure.count) {
                    let fields = [
                        ("operator_id", LogField::Str(&failure.operator_id)),
                        ("operator_type", LogField::Str(failure.operator_type)),
                        ("error", LogField::Str(&failure.error)),
                        ("action", LogField::Str(failure.action)),
                        ("count", LogField::Uint(count)),
                    ];
                    log.error("Failed to process entry", &fields);
                }
            }
        }
    }
}
