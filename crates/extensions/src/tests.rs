//! Authenticators in a `World` with files and a clock only.

mod basic;
mod bearer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otelcore_config::{Diagnostics, EffectiveValue, Section, from_yaml};
use otelcore_pipeline::{
    Authentication, Authenticators, Budget, BuildContext, CheckStep, Component, Cx, Endpoint, Extension, Factory, Key,
    Listener, LogEntry, LogField, LogLevel, LogSink, Logger, MemorySample, MetricsLevel, MonotonicTime, PeerAddr,
    ProcessSample, Stream, Telemetry, TimerId, WallTime, World,
};

#[derive(Default)]
struct TestWorld {
    now: MonotonicTime,
    files: BTreeMap<String, String>,
    reads: usize,
    random: u64,
}

impl World for TestWorld {
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
        self.random += 1;
        self.random
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
    fn request_ready(&mut self, _: Key) {}
    fn open_output(&mut self, _: &str) -> io::Result<Box<dyn io::Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.reads += 1;
        let missing = || io::Error::other(format!("open {path}: no such file or directory"));
        self.files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(missing)
    }
}

#[derive(Default)]
struct RecordedLog(Mutex<Vec<String>>);

impl LogSink for RecordedLog {
    fn enabled(&self, level: LogLevel) -> bool {
        level > LogLevel::Debug
    }

    fn log(&self, record: &LogEntry<'_>) {
        let mut line = format!("{}: {}", record.level.name(), record.message);
        for (name, value) in record.fields {
            match value {
                LogField::Str(text) => line += &format!(" {name}={text}"),
                other => line += &format!(" {name}={other:?}"),
            }
        }
        self.0.lock().unwrap().push(line);
    }
}

/// The configuration parsed from YAML, and the messages of its diagnostics.
struct Parsed {
    config: Option<Box<dyn otelcore_pipeline::ComponentConfig>>,
    messages: Vec<String>,
    effective: EffectiveValue,
}

fn parse(factory: &dyn Factory, yaml: &str) -> Parsed {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d);
    let id = factory.info().type_name.parse().unwrap();
    let section = Section::new(node.as_ref(), "extensions::it", &d);
    let recorder = section.recorder();
    let config = factory.parse(&id, section);
    let messages = d.items().into_iter().map(|item| item.message).collect();
    Parsed { config, messages, effective: recorder.snapshot() }
}

/// An extension, its `World` and its log.
struct Fixture {
    world: TestWorld,
    extension: Box<dyn Extension>,
    log: Arc<RecordedLog>,
}

impl Fixture {
    fn new(factory: &dyn Factory, yaml: &str) -> Self {
        let parsed = parse(factory, yaml);
        let id = factory.info().type_name.parse().unwrap();
        let log = Arc::new(RecordedLog::default());
        let build = BuildContext {
            id: &id,
            signals: &[],
            telemetry: &Telemetry::new(MetricsLevel::Normal),
            log: Logger::new(log.clone()),
            budget: &Arc::<Budget>::default(),
            auth: &Authenticators::default(),
        };
        let component = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.messages)).create(&build);
        let Ok(Component::Extension(extension)) = component else { panic!("no extension") };
        Self { world: TestWorld::default(), extension, log }
    }

    fn with_file(mut self, path: &str, text: &str) -> Self {
        self.write_file(path, text);
        self
    }

    fn write_file(&mut self, path: &str, text: &str) {
        self.world.files.insert(path.to_owned(), text.to_owned());
    }

    fn start(&mut self) -> Result<(), String> {
        self.extension.start(&mut Cx::new(&mut self.world, 0)).map_err(|e| e.0)
    }

    fn started(mut self) -> Self {
        self.start().unwrap();
        self
    }

    fn advance(&mut self, time: Duration) {
        self.world.now = self.world.now + time;
    }

    /// Authenticates a request with the given header fields, names in lower case. A check runs immediately.
    fn authenticate(&mut self, fields: &[(&str, &[u8])]) -> Result<(), String> {
        let auth = self.extension.server_auth().unwrap();
        let header = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| Cow::Borrowed(*v));
        let cx = &mut Cx::new(&mut self.world, 0);
        let check = match auth.authenticate(cx, &header) {
            Authentication::Granted => return Ok(()),
            Authentication::Refused(why) => return Err(why),
            Authentication::Pending(check) => check,
        };
        match check.begin(cx) {
            CheckStep::Ended(result) => result,
            CheckStep::Compute(compute) => check.end(cx, compute()),
        }
    }

    fn authorize(&mut self, value: &str) -> Result<(), String> {
        self.authenticate(&[("authorization", value.as_bytes())])
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, String> {
        let auth: Rc<_> = self.extension.client_auth().unwrap();
        auth.headers(&mut Cx::new(&mut self.world, 0))
    }

    /// The only header that a client sends.
    fn sent_header(&mut self) -> String {
        let [(name, value)] = &self.headers().unwrap()[..] else { panic!("more than one header") };
        format!("{name}: {value}")
    }

    fn take_log_lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.0.lock().unwrap())
    }
}
