//! Tests that send payloads through an exporter, in a simulated world with only time and files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    AttemptId, Budget, BuildContext, Component, Cx, Endpoint, Event, Exporter, Factory, Held, Key, Listener, LogEntry,
    LogField, LogLevel, LogScope, LogSink, Logger, MemorySample, MetricsLevel, MonotonicTime, Outcome, Outcomes,
    Payload, PeerAddr, ProcessSample, StartError, Stream, Telemetry, TimerId, WallTime, World,
};

use super::telemetry;
use crate::DebugFactory;

/// Files by path; one that is missing here cannot be opened.
type Files = Rc<RefCell<BTreeMap<String, Vec<u8>>>>;

struct FileWorld {
    now: MonotonicTime,
    files: Files,
    is_disk_full: Rc<RefCell<bool>>,
    ready_keys: Vec<u64>,
}

struct MemoryFile {
    path: String,
    files: Files,
    is_disk_full: Rc<RefCell<bool>>,
}

impl io::Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.is_disk_full.borrow() {
            return Err(io::Error::other("no space left on device"));
        }
        self.files.borrow_mut().entry(self.path.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl World for FileWorld {
    fn bind_udp(&mut self, _: Key, _: &str, _: u16) -> io::Result<Box<dyn otelcore_pipeline::DatagramSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn run_file_job(
        &mut self,
        _: Key,
        _: otelcore_pipeline::FileJob,
    ) -> Result<(), otelcore_pipeline::TooManyFileJobs> {
        Err(otelcore_pipeline::TooManyFileJobs)
    }
    fn now(&self) -> MonotonicTime {
        self.now
    }
    fn wall_time(&self) -> WallTime {
        WallTime(0)
    }
    fn random(&mut self) -> u64 {
        4
    }
    fn sample_memory(&mut self) -> MemorySample {
        MemorySample::default()
    }
    fn sample_process(&mut self) -> ProcessSample {
        ProcessSample::default()
    }
    fn listen(&mut self, _: Key, _: &Endpoint) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn set_timer(&mut self, _: Key, _: MonotonicTime) -> TimerId {
        TimerId(0)
    }
    fn cancel_timer(&mut self, _: TimerId) {}
    fn request_ready(&mut self, key: Key) {
        self.ready_keys.push(key.local);
    }
    fn open_output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        if !self.files.borrow().contains_key(path) {
            return Err(io::Error::other(format!("open {path}: permission denied")));
        }
        let (path, files, full) = (path.to_owned(), self.files.clone(), self.is_disk_full.clone());
        Ok(Box::new(MemoryFile { path, files, is_disk_full: full }))
    }
}

/// Stores records as `level kind/id/signal message {fields}`.
#[derive(Default)]
struct RecordedLog {
    lines: Mutex<Vec<String>>,
    is_disabled: bool,
}

impl LogSink for RecordedLog {
    fn enabled(&self, level: LogLevel) -> bool {
        !self.is_disabled && level >= LogLevel::Info
    }

    fn log(&self, r: &LogEntry<'_>) {
        let mut line = format!("{} {}/{}/{} {}", r.level.name(), r.scope.kind, r.scope.id, r.scope.signal, r.message);
        for (name, value) in r.fields {
            let _ = match value {
                LogField::Str(v) => write!(line, " {name}={v}"),
                LogField::Uint(v) => write!(line, " {name}={v}"),
                other => panic!("no such field was expected: {other:?}"),
            };
        }
        self.lines.lock().unwrap().push(line);
    }
}

struct Fixture {
    world: FileWorld,
    exporter: Box<dyn Exporter>,
    log: Arc<RecordedLog>,
    attempts: u64,
}

impl Fixture {
    fn new(yaml: &str, is_log_disabled: bool) -> Self {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d);
        let id = "debug/a".parse().unwrap();
        let config = DebugFactory.parse(&id, Section::new(node.as_ref(), "exporters::debug/a", &d)).unwrap();
        assert!(d.is_empty(), "{}", d.render_to_string(false));
        let log = Arc::new(RecordedLog { is_disabled: is_log_disabled, ..RecordedLog::default() });
        let scope = LogScope { kind: "exporter", id: "debug/a".to_owned(), ..LogScope::default() };
        let context = BuildContext {
            id: &id,
            signals: &Signal::ALL,
            telemetry: &Telemetry::new(MetricsLevel::Normal),
            log: Logger::new(log.clone()).with_scope(scope),
            budget: &Arc::<Budget>::default(),
            auth: &otelcore_pipeline::Authenticators::default(),
        };
        let Ok(Component::Exporter(exporter, _)) = config.create(&context) else { panic!("no exporter") };
        let files = ["stdout", "stderr"].map(|path| (path.to_owned(), Vec::new()));
        let files = Rc::new(RefCell::new(BTreeMap::from(files)));
        Self {
            world: FileWorld { now: MonotonicTime(1), files, is_disk_full: Rc::default(), ready_keys: Vec::new() },
            exporter,
            log,
            attempts: 0,
        }
    }

    fn new_started(yaml: &str) -> Self {
        let mut fixture = Self::new(yaml, false);
        fixture.start().unwrap();
        fixture
    }

    fn start(&mut self) -> Result<(), StartError> {
        self.exporter.start(&mut Cx::new(&mut self.world, 0))
    }

    fn send_and_assert_delivered(&mut self, signal: Signal, body: Rope) {
        let mut outcomes = self.start_attempt(signal, body);
        outcomes.extend(self.run_until_idle());
        let id = AttemptId { signal: signal as u8, number: self.attempts };
        assert!(matches!(outcomes.as_slice(), [(job, Outcome::Delivered)] if *job == id), "{outcomes:?}");
    }

    fn start_attempt(&mut self, signal: Signal, body: Rope) -> Vec<(AttemptId, Outcome)> {
        self.attempts += 1;
        let id = AttemptId { signal: signal as u8, number: self.attempts };
        let payload = Payload { signal, body, metadata: None, held: Held::default() };
        let mut outcomes = Outcomes::default();
        self.exporter.send(&mut Cx::new(&mut self.world, 0), id, &payload, MonotonicTime::NEVER, &mut outcomes);
        outcomes.take()
    }

    /// Handles events until no helper job is left.
    fn run_until_idle(&mut self) -> Vec<(AttemptId, Outcome)> {
        let mut outcomes = Outcomes::default();
        while let Some(local) = self.world.ready_keys.pop() {
            self.exporter.handle_event(&mut Cx::new(&mut self.world, 0), local, Event::Ready, &mut outcomes);
        }
        outcomes.take()
    }

    /// What has been logged since the last call.
    fn take_logged(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lines.lock().unwrap())
    }

    fn file(&self, path: &str) -> Vec<u8> {
        self.world.files.borrow().get(path).cloned().unwrap_or_default()
    }
}

#[test]
fn summary_of_each_payload_is_logged_under_its_signal() {
    let mut fixture = Fixture::new_started("{}");
    let mut batch = telemetry::traces();
    batch.append(telemetry::traces());
    fixture.send_and_assert_delivered(Signal::Traces, batch);
    fixture.send_and_assert_delivered(Signal::Metrics, telemetry::metrics());
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    assert_eq!(
        fixture.take_logged(),
        [
            "info exporter/debug/a/traces Traces resource spans=4 spans=6",
            "info exporter/debug/a/metrics Metrics resource metrics=1 metrics=6 data points=7",
            "info exporter/debug/a/logs Logs resource logs=1 log records=2",
        ]
    );
}

#[test]
fn dump_is_logged_as_a_second_entry_without_fields() {
    let mut fixture = Fixture::new_started("verbosity: normal");
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"four"));
    assert_eq!(
        fixture.take_logged(),
        [
            "info exporter/debug/a/logs Logs resource logs=1 log records=1",
            "info exporter/debug/a/logs ResourceLog #0\nScopeLog #0\nfour \n",
        ]
    );
    let mut fixture = Fixture::new_started("verbosity: detailed");
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"four"));
    let logged = fixture.take_logged();
    assert_eq!(logged.len(), 2);
    assert!(logged[1].contains("\nBody: Str(four)\n") && logged[1].ends_with("Flags: 0\n"), "{logged:?}");
}

#[test]
fn output_to_files_has_no_time_or_level_and_keeps_the_bytes() {
    let mut fixture =
        Fixture::new_started("{verbosity: normal, use_internal_logger: false, output_paths: [stdout, stderr, stderr]}");
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"\xffabc"));
    let once = b"Logs\t{\"resource logs\": 1, \"log records\": 1}\nResourceLog #0\nScopeLog #0\n\xffabc \n\n";
    assert_eq!(fixture.file("stdout"), once);
    let lines = |path: &str| fixture.file(path).iter().filter(|b| **b == b'\n').count();
    assert_eq!((lines("stdout"), lines("stderr")), (5, 10), "a path that is written twice is written to twice");
    assert_eq!(fixture.take_logged(), [""; 0]);
}

#[test]
fn output_that_cannot_be_opened_is_a_start_error() {
    let mut fixture = Fixture::new("{use_internal_logger: false, output_paths: [/root/x]}", false);
    let error = fixture.start().unwrap_err();
    assert_eq!(error.to_string(), "couldn't open sink \"/root/x\": open /root/x: permission denied");
}

#[test]
fn full_disk_is_logged_once_and_payloads_are_delivered() {
    let mut fixture = Fixture::new_started("use_internal_logger: false");
    *fixture.world.is_disk_full.borrow_mut() = true;
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    let write_error = "error exporter/debug/a/ cannot write debug output path=stdout error=no space left on device";
    assert_eq!(fixture.take_logged(), [write_error]);
    *fixture.world.is_disk_full.borrow_mut() = false;
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    assert_eq!(fixture.file("stdout"), b"Logs\t{\"resource logs\": 1, \"log records\": 2}\n");
    *fixture.world.is_disk_full.borrow_mut() = true;
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    assert_eq!(fixture.take_logged(), [write_error], "it had worked again, so the next failure is news");
}

#[test]
fn equal_messages_are_sampled_each_second_and_for_each_signal() {
    let mut fixture = Fixture::new_started("{verbosity: normal, sampling_initial: 1, sampling_thereafter: 3}");
    for _ in 0..5 {
        fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"same"));
    }
    // The first and the fourth, each with its dump.
    let summaries = |logged: &[String]| logged.iter().filter(|l| l.contains(" Logs ")).count();
    let logged = fixture.take_logged();
    assert_eq!((summaries(&logged), logged.len()), (2, 4));

    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"else"));
    let logged = fixture.take_logged();
    assert_eq!((summaries(&logged), logged.len()), (0, 1), "a new text is a new message, its summary is the sixth");
    fixture.send_and_assert_delivered(Signal::Traces, telemetry::traces());
    assert_eq!(fixture.take_logged().len(), 2, "another signal counts for itself");

    fixture.world.now = MonotonicTime(1 + 1_000_000_000);
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"same"));
    assert_eq!(fixture.take_logged().len(), 2, "a new second");
}

#[test]
fn payload_with_a_disabled_log_is_delivered_without_output() {
    let mut fixture = Fixture::new("verbosity: detailed", true);
    fixture.start().unwrap();
    fixture.send_and_assert_delivered(Signal::Traces, telemetry::traces());
    assert_eq!(fixture.take_logged(), [""; 0]);
    let mut without_samples =
        Fixture::new_started("{verbosity: detailed, sampling_initial: 0, sampling_thereafter: 0}");
    without_samples.send_and_assert_delivered(Signal::Traces, telemetry::traces());
    assert_eq!(without_samples.take_logged(), [""; 0]);
}

#[test]
fn large_payload_is_rendered_on_a_helper_thread_and_written_in_order() {
    let mut fixture = Fixture::new_started("verbosity: detailed");
    let large = telemetry::many_spans(2000);
    let small = telemetry::many_spans(1);
    assert!(
        fixture.start_attempt(Signal::Traces, large).is_empty()
            && fixture.start_attempt(Signal::Traces, small.clone()).is_empty()
    );
    assert!(fixture.take_logged().is_empty(), "the small one waits for the large one");
    let attempts: Vec<u64> = fixture.run_until_idle().iter().map(|(job, _)| job.number).collect();
    assert_eq!(attempts, [1, 2]);
    let lines = fixture.take_logged();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].contains("2000") && lines[1].contains("Span #1999") && lines[3].contains("Span #0"));
    assert_eq!(fixture.start_attempt(Signal::Traces, small).len(), 1, "at once when nothing is before it");
}
