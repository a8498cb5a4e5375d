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
    Budget, Build, Component, Cx, Detail, Done, Endpoint, Event, Exporter, Factory, Field, Held, JobId, Key, Level,
    Listener, LogSink, Logger, MemorySample, Mono, Outcome, Payload, PeerAddr, ProcessSample, Record, Scope,
    StartError, Stream, Telemetry, TimerId, Wall, World,
};

use super::telemetry;
use crate::DebugFactory;

/// Files by path; one that is missing here cannot be opened.
type Files = Rc<RefCell<BTreeMap<String, Vec<u8>>>>;

struct Small {
    now: Mono,
    files: Files,
    full: Rc<RefCell<bool>>,
    again: Vec<u64>,
}

struct Appender {
    path: String,
    files: Files,
    full: Rc<RefCell<bool>>,
}

impl io::Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.full.borrow() {
            return Err(io::Error::other("no space left on device"));
        }
        self.files.borrow_mut().entry(self.path.clone()).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl World for Small {
    fn now(&self) -> Mono {
        self.now
    }
    fn wall(&self) -> Wall {
        Wall(0)
    }
    fn rand(&mut self) -> u64 {
        4
    }
    fn memory(&mut self) -> MemorySample {
        MemorySample::default()
    }
    fn process(&mut self) -> ProcessSample {
        ProcessSample::default()
    }
    fn listen(&mut self, _: Key, _: &Endpoint) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn arm(&mut self, _: Key, _: Mono) -> TimerId {
        TimerId(0)
    }
    fn cancel(&mut self, _: TimerId) {}
    fn again(&mut self, key: Key) {
        self.again.push(key.local);
    }
    fn output(&mut self, path: &str) -> io::Result<Box<dyn io::Write>> {
        if !self.files.borrow().contains_key(path) {
            return Err(io::Error::other(format!("open {path}: permission denied")));
        }
        let (path, files, full) = (path.to_owned(), self.files.clone(), self.full.clone());
        Ok(Box::new(Appender { path, files, full }))
    }
}

/// Keeps records as `level kind/id/signal message {fields}`.
#[derive(Default)]
struct Pages {
    lines: Mutex<Vec<String>>,
    silent: bool,
}

impl LogSink for Pages {
    fn enabled(&self, level: Level) -> bool {
        !self.silent && level >= Level::Info
    }

    fn log(&self, r: &Record<'_>) {
        let mut line = format!("{} {}/{}/{} {}", r.level.name(), r.scope.kind, r.scope.id, r.scope.signal, r.message);
        for (name, value) in r.fields {
            let _ = match value {
                Field::Str(v) => write!(line, " {name}={v}"),
                Field::Uint(v) => write!(line, " {name}={v}"),
                other => panic!("no such field was expected: {other:?}"),
            };
        }
        self.lines.lock().unwrap().push(line);
    }
}

struct House {
    world: Small,
    exporter: Box<dyn Exporter>,
    pages: Arc<Pages>,
    jobs: u64,
}

impl House {
    fn build(yaml: &str, silent: bool) -> Self {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d);
        let id = "debug/a".parse().unwrap();
        let settings = DebugFactory.parse(&id, Section::new(node.as_ref(), "exporters::debug/a", &d)).unwrap();
        assert!(d.is_empty(), "{}", d.to_text(false));
        let pages = Arc::new(Pages { silent, ..Pages::default() });
        let scope = Scope { kind: "exporter", id: "debug/a".to_owned(), ..Scope::default() };
        let build = Build {
            id: &id,
            signals: &Signal::ALL,
            telemetry: &Telemetry::new(Detail::Normal),
            log: Logger::new(pages.clone()).scoped(scope),
            budget: &Arc::<Budget>::default(),
            auth: &otelcore_pipeline::Authenticators::default(),
        };
        let Ok(Component::Exporter(exporter, _)) = settings.create(&build) else { panic!("no exporter") };
        let files = ["stdout", "stderr"].map(|path| (path.to_owned(), Vec::new()));
        let files = Rc::new(RefCell::new(BTreeMap::from(files)));
        Self { world: Small { now: Mono(1), files, full: Rc::default(), again: Vec::new() }, exporter, pages, jobs: 0 }
    }

    fn started(yaml: &str) -> Self {
        let mut house = Self::build(yaml, false);
        house.start().unwrap();
        house
    }

    fn start(&mut self) -> Result<(), StartError> {
        self.exporter.start(&mut Cx::new(&mut self.world, 0))
    }

    fn send(&mut self, signal: Signal, body: Rope) {
        let mut done = self.offer(signal, body);
        done.extend(self.run());
        let id = JobId { signal: signal as u8, number: self.jobs };
        assert!(matches!(done.as_slice(), [(job, Outcome::Delivered)] if *job == id), "{done:?}");
    }

    fn offer(&mut self, signal: Signal, body: Rope) -> Vec<(JobId, Outcome)> {
        self.jobs += 1;
        let id = JobId { signal: signal as u8, number: self.jobs };
        let payload = Payload { signal, body, meta: None, held: Held::default() };
        let mut done = Done::default();
        self.exporter.send(&mut Cx::new(&mut self.world, 0), id, &payload, Mono::NEVER, &mut done);
        done.take()
    }

    /// Handles events until no job is left.
    fn run(&mut self) -> Vec<(JobId, Outcome)> {
        let mut done = Done::default();
        while let Some(local) = self.world.again.pop() {
            self.exporter.event(&mut Cx::new(&mut self.world, 0), local, Event::Ready, &mut done);
        }
        done.take()
    }

    /// What has been logged since the last call.
    fn logged(&self) -> Vec<String> {
        std::mem::take(&mut self.pages.lines.lock().unwrap())
    }

    fn file(&self, path: &str) -> Vec<u8> {
        self.world.files.borrow().get(path).cloned().unwrap_or_default()
    }
}

#[test]
fn a_summary_of_each_payload_goes_into_the_log_under_its_signal() {
    let mut house = House::started("{}");
    let mut batch = telemetry::traces();
    batch.append(telemetry::traces());
    house.send(Signal::Traces, batch);
    house.send(Signal::Metrics, telemetry::metrics());
    house.send(Signal::Logs, telemetry::logs());
    assert_eq!(
        house.logged(),
        [
            "info exporter/debug/a/traces Traces resource spans=4 spans=6",
            "info exporter/debug/a/metrics Metrics resource metrics=1 metrics=6 data points=7",
            "info exporter/debug/a/logs Logs resource logs=1 log records=2",
        ]
    );
}

#[test]
fn the_dump_is_a_second_entry_without_fields() {
    let mut house = House::started("verbosity: normal");
    house.send(Signal::Logs, telemetry::line(b"four"));
    assert_eq!(
        house.logged(),
        [
            "info exporter/debug/a/logs Logs resource logs=1 log records=1",
            "info exporter/debug/a/logs ResourceLog #0\nScopeLog #0\nfour \n",
        ]
    );
    let mut house = House::started("verbosity: detailed");
    house.send(Signal::Logs, telemetry::line(b"four"));
    let logged = house.logged();
    assert_eq!(logged.len(), 2);
    assert!(logged[1].contains("\nBody: Str(four)\n") && logged[1].ends_with("Flags: 0\n"), "{logged:?}");
}

#[test]
fn the_own_writer_shows_neither_time_nor_level_and_passes_bytes_on() {
    let mut house =
        House::started("{verbosity: normal, use_internal_logger: false, output_paths: [stdout, stderr, stderr]}");
    house.send(Signal::Logs, telemetry::line(b"\xffabc"));
    let once = b"Logs\t{\"resource logs\": 1, \"log records\": 1}\nResourceLog #0\nScopeLog #0\n\xffabc \n\n";
    assert_eq!(house.file("stdout"), once);
    let lines = |path: &str| house.file(path).iter().filter(|b| **b == b'\n').count();
    assert_eq!((lines("stdout"), lines("stderr")), (5, 10), "a path that is written twice is written to twice");
    assert_eq!(house.logged(), [""; 0]);
}

#[test]
fn an_output_that_cannot_be_opened_keeps_the_exporter_from_starting() {
    let mut house = House::build("{use_internal_logger: false, output_paths: [/root/x]}", false);
    let error = house.start().unwrap_err();
    assert_eq!(error.to_string(), "couldn't open sink \"/root/x\": open /root/x: permission denied");
}

#[test]
fn a_full_disk_is_logged_once_and_loses_no_telemetry() {
    let mut house = House::started("use_internal_logger: false");
    *house.world.full.borrow_mut() = true;
    house.send(Signal::Logs, telemetry::logs());
    house.send(Signal::Logs, telemetry::logs());
    let trouble = "error exporter/debug/a/ cannot write debug output path=stdout error=no space left on device";
    assert_eq!(house.logged(), [trouble]);
    *house.world.full.borrow_mut() = false;
    house.send(Signal::Logs, telemetry::logs());
    assert_eq!(house.file("stdout"), b"Logs\t{\"resource logs\": 1, \"log records\": 2}\n");
    *house.world.full.borrow_mut() = true;
    house.send(Signal::Logs, telemetry::logs());
    assert_eq!(house.logged(), [trouble], "it had worked again, so the next failure is news");
}

#[test]
fn equal_messages_are_sampled_each_second_and_signals_apart() {
    let mut house = House::started("{verbosity: normal, sampling_initial: 1, sampling_thereafter: 3}");
    for _ in 0..5 {
        house.send(Signal::Logs, telemetry::line(b"same"));
    }
    // The first and the fourth, each with its dump.
    let summaries = |logged: &[String]| logged.iter().filter(|l| l.contains(" Logs ")).count();
    let logged = house.logged();
    assert_eq!((summaries(&logged), logged.len()), (2, 4));

    house.send(Signal::Logs, telemetry::line(b"else"));
    let logged = house.logged();
    assert_eq!((summaries(&logged), logged.len()), (0, 1), "a new text is a new message, its summary is the sixth");
    house.send(Signal::Traces, telemetry::traces());
    assert_eq!(house.logged().len(), 2, "another signal counts for itself");

    house.world.now = Mono(1 + 1_000_000_000);
    house.send(Signal::Logs, telemetry::line(b"same"));
    assert_eq!(house.logged().len(), 2, "a new second");
}

#[test]
fn a_log_that_wants_nothing_gets_nothing_and_still_everything_is_delivered() {
    let mut house = House::build("verbosity: detailed", true);
    house.start().unwrap();
    house.send(Signal::Traces, telemetry::traces());
    assert_eq!(house.logged(), [""; 0]);
    let mut mute = House::started("{verbosity: detailed, sampling_initial: 0, sampling_thereafter: 0}");
    mute.send(Signal::Traces, telemetry::traces());
    assert_eq!(mute.logged(), [""; 0]);
}

#[test]
fn payload_that_is_large_is_made_by_a_job_and_shown_in_its_turn() {
    let mut house = House::started("verbosity: detailed");
    let large = telemetry::many_spans(2000);
    let small = telemetry::many_spans(1);
    assert!(house.offer(Signal::Traces, large).is_empty() && house.offer(Signal::Traces, small.clone()).is_empty());
    assert!(house.logged().is_empty(), "the small one waits for the large one");
    let done: Vec<u64> = house.run().iter().map(|(job, _)| job.number).collect();
    assert_eq!(done, [1, 2]);
    let lines = house.logged();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].contains("2000") && lines[1].contains("Span #1999") && lines[3].contains("Span #0"));
    assert_eq!(house.offer(Signal::Traces, small).len(), 1, "at once when nothing is before it");
}
