//! Authenticators in a `World` with files and a clock only.

mod basic;
mod bearer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use otelcore_config::{Diagnostics, Effective, Section, from_yaml};
use otelcore_pipeline::{
    Authentication, Authenticators, Budget, Build, CheckStep, Component, Cx, Detail, Endpoint, Extension, Factory,
    Field, Key, Level, Listener, LogSink, Logger, MemorySample, Mono, PeerAddr, ProcessSample, Record, Stream,
    Telemetry, TimerId, Wall, World,
};

#[derive(Default)]
struct Small {
    now: Mono,
    files: BTreeMap<String, String>,
    reads: usize,
    random: u64,
}

impl World for Small {
    fn now(&self) -> Mono {
        self.now
    }
    fn wall(&self) -> Wall {
        Wall(0)
    }
    fn rand(&mut self) -> u64 {
        self.random += 1;
        self.random
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
    fn again(&mut self, _: Key) {}
    fn output(&mut self, _: &str) -> io::Result<Box<dyn io::Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.reads += 1;
        let missing = || io::Error::other(format!("open {path}: no such file or directory"));
        self.files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(missing)
    }
}

#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl LogSink for Said {
    fn enabled(&self, level: Level) -> bool {
        level > Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = format!("{}: {}", record.level.name(), record.message);
        for (name, value) in record.fields {
            match value {
                Field::Str(text) => line += &format!(" {name}={text}"),
                other => line += &format!(" {name}={other:?}"),
            }
        }
        self.0.lock().unwrap().push(line);
    }
}

/// The settings parsed from YAML, and their diagnostics.
struct Parsed {
    settings: Option<Box<dyn otelcore_pipeline::Settings>>,
    said: Vec<String>,
    effective: Effective,
}

fn parse(factory: &dyn Factory, yaml: &str) -> Parsed {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d);
    let id = factory.about().type_name.parse().unwrap();
    let section = Section::new(node.as_ref(), "extensions::it", &d);
    let shown = section.recorder();
    let settings = factory.parse(&id, section);
    let said = d.items().into_iter().map(|item| item.message).collect();
    Parsed { settings, said, effective: shown.snapshot() }
}

/// An extension, its `World` and its log.
struct House {
    world: Small,
    extension: Box<dyn Extension>,
    log: Arc<Said>,
}

impl House {
    fn new(factory: &dyn Factory, yaml: &str) -> Self {
        let parsed = parse(factory, yaml);
        let id = factory.about().type_name.parse().unwrap();
        let log = Arc::new(Said::default());
        let build = Build {
            id: &id,
            signals: &[],
            telemetry: &Telemetry::new(Detail::Normal),
            log: Logger::new(log.clone()),
            budget: &Arc::<Budget>::default(),
            auth: &Authenticators::default(),
        };
        let made = parsed.settings.unwrap_or_else(|| panic!("{:?}", parsed.said)).create(&build);
        let Ok(Component::Extension(extension)) = made else { panic!("no extension") };
        Self { world: Small::default(), extension, log }
    }

    fn with(mut self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    fn write(&mut self, path: &str, text: &str) {
        self.world.files.insert(path.to_owned(), text.to_owned());
    }

    fn start(&mut self) -> Result<(), String> {
        self.extension.start(&mut Cx::new(&mut self.world, 0)).map_err(|e| e.0)
    }

    fn started(mut self) -> Self {
        self.start().unwrap();
        self
    }

    fn wait(&mut self, time: Duration) {
        self.world.now = self.world.now + time;
    }

    /// Authenticates a request with the given header fields, names in lower case. A check runs immediately.
    fn ask(&mut self, fields: &[(&str, &[u8])]) -> Result<(), String> {
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
        self.ask(&[("authorization", value.as_bytes())])
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, String> {
        let auth: Rc<_> = self.extension.client_auth().unwrap();
        auth.headers(&mut Cx::new(&mut self.world, 0))
    }

    /// The only header that a client sends.
    fn sends(&mut self) -> String {
        let [(name, value)] = &self.headers().unwrap()[..] else { panic!("more than one header") };
        format!("{name}: {value}")
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.0.lock().unwrap())
    }
}
