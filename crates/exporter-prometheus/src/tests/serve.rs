//! The exporter in a small world with one connection.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Budget, Build, Component, Cx, Detail, Done, Endpoint, Event, Exporter, Factory, Held, JobId, Key, Listener, Logger,
    MemorySample, NoLog, Outcome, Payload, PeerAddr, ProcessSample, Stream, Telemetry, TimerId, Wall, World,
};

use super::*;
use crate::PrometheusFactory;

/// What the client has said, and what it has been told.
#[derive(Default)]
struct Wire {
    said: Vec<u8>,
    told: Vec<u8>,
}

struct Pipe(Rc<RefCell<Wire>>);

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let said = &mut self.0.borrow_mut().said;
        if said.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = said.len().min(buf.len());
        buf[..n].copy_from_slice(&said[..n]);
        said.drain(..n);
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().told.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Pipe {
    fn peer(&self) -> String {
        "client".to_owned()
    }

    fn shut_write(&mut self) {}
}

struct Door(Option<Rc<RefCell<Wire>>>);

impl Listener for Door {
    fn accept(&mut self, _: u64) -> io::Result<Box<dyn Stream>> {
        let wire = self.0.take().ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Box::new(Pipe(wire)))
    }

    fn local(&self) -> String {
        "127.0.0.1:8889".to_owned()
    }
}

#[derive(Default)]
struct Small {
    now: Mono,
    wire: Rc<RefCell<Wire>>,
    timers: Vec<(Mono, u64)>,
    taken: bool,
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
    fn listen(&mut self, _: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        assert_eq!(*at, Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 8889 });
        if self.taken {
            return Err(io::Error::other("listen tcp 127.0.0.1:8889: bind: address already in use"));
        }
        Ok(Box::new(Door(Some(self.wire.clone()))))
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn arm(&mut self, key: Key, at: Mono) -> TimerId {
        self.timers.push((at, key.local));
        TimerId(self.timers.len() as u64)
    }
    fn cancel(&mut self, _: TimerId) {}
    fn again(&mut self, _: Key) {}
    fn output(&mut self, _: &str) -> io::Result<Box<dyn Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

const JOB: JobId = JobId { signal: 1, number: 9 };

struct House {
    world: Small,
    exporter: Box<dyn Exporter>,
    telemetry: Telemetry,
    budget: Arc<Budget>,
}

impl House {
    fn new() -> Self {
        let d = Diagnostics::new();
        let yaml = "endpoint: 127.0.0.1:8889\nwithout_scope_info: true\nresponse_headers: {X-Own: '1'}";
        let node = from_yaml(yaml, &d);
        let id = "prometheus/a".parse().unwrap();
        let settings = PrometheusFactory.parse(&id, Section::new(node.as_ref(), "exporters::prometheus/a", &d));
        let telemetry = Telemetry::new(Detail::Normal);
        let budget = Arc::<Budget>::default();
        let build = Build {
            id: &id,
            signals: &[Signal::Metrics],
            telemetry: &telemetry,
            log: Logger::new(Arc::new(NoLog)),
            budget: &budget,
            auth: &otelcore_pipeline::Authenticators::default(),
        };
        let made = settings.unwrap_or_else(|| panic!("{}", d.to_text(false))).create(&build);
        let Ok(Component::Exporter(exporter, sending)) = made else { panic!("no exporter") };
        assert!(!sending.queue.enabled && !sending.retry.enabled);
        Self { world: Small::default(), exporter, telemetry, budget }
    }

    fn started() -> Self {
        let mut house = Self::new();
        house.exporter.start(&mut Cx::new(&mut house.world, 0)).unwrap();
        // The only connection comes at once.
        house.event(1, Event::Ready);
        house
    }

    fn event(&mut self, local: u64, event: Event<'_>) {
        self.exporter.event(&mut Cx::new(&mut self.world, 0), local, event, &mut Done::default());
    }

    fn send(&mut self, metrics: Vec<Metric>) {
        let told = self.push(metrics);
        assert!(matches!(told.as_slice(), [(j, Outcome::Delivered)] if *j == JOB), "{told:?}");
    }

    fn push(&mut self, metrics: Vec<Metric>) -> Vec<(JobId, Outcome)> {
        let body = rope(vec![resource(&[], vec![scope("", "", metrics)])]);
        let payload = Payload { signal: Signal::Metrics, body, meta: None, held: Held::default() };
        let mut done = Done::default();
        self.exporter.send(&mut Cx::new(&mut self.world, 0), JOB, &payload, Mono::NEVER, &mut done);
        done.take()
    }

    fn get(&mut self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.world.wire.borrow_mut().said.extend_from_slice(request.as_bytes());
        self.event(2, Event::Ready);
        let told = std::mem::take(&mut self.world.wire.borrow_mut().told);
        let end = told.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8(told[..end].to_vec()).unwrap().to_ascii_lowercase(), told[end..].to_vec())
    }
}

#[test]
fn a_scraper_gets_the_page_and_other_paths_are_not_found() {
    let mut house = House::started();
    let (head, body) = house.get("/metrics", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, b"");
    house.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    let (head, body) = house.get("/metrics?x=y", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n"),
        "{head}"
    );
    assert!(head.contains("x-own: 1\r\n"), "{head}");
    assert_eq!(body, b"# HELP g \n# TYPE g gauge\ng 1\n");
    for path in ["/", "/metrics/", "/Metrics"] {
        let (head, body) = house.get(path, "");
        assert!(head.starts_with("http/1.1 404"), "{head}");
        assert_eq!(body, b"404 page not found\n");
    }
}

#[test]
fn a_page_is_packed_when_that_is_wanted() {
    let mut house = House::started();
    house.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    let (head, body) = house.get("/metrics", "Accept-Encoding: deflate\r\nAccept-Encoding: gzip;q=0.5\r\n");
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut out = Vec::new();
    let mut inflater = otelcore_http::coding::Inflater::new();
    inflater.gunzip(&body, 1 << 20, &mut out, |_| Ok::<(), ()>(())).unwrap();
    assert_eq!(out, b"# HELP g \n# TYPE g gauge\ng 1\n");
}

#[test]
fn an_error_alone_is_a_page_of_status_500() {
    let mut house = House::started();
    house.send(vec![summary("s", 1, &[], &[("quantile", "x")])]);
    let (head, body) = house.get("/metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.starts_with("http/1.1 500") && head.contains("content-type: text/plain; charset=utf-8\r\n"), "{head}");
    assert!(body.starts_with(b"An error has occurred while serving metrics:\n\n"));
}

#[test]
fn a_timer_sweeps_what_nobody_scrapes() {
    let mut house = House::started();
    assert_eq!(house.world.timers.first(), Some(&(at(300), 0)));
    house.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    house.world.now = at(301);
    house.event(0, Event::Timer);
    assert_eq!(house.world.timers.last(), Some(&(at(601), 0)));
    house.world.now = at(10);
    // The clock is back, the series is not.
    assert_eq!(house.get("/metrics", "").1, b"");
}

#[test]
fn what_is_dropped_is_counted_under_a_name() {
    let mut house = House::started();
    house.send(vec![exponential("e"), exponential("f")]);
    let families = house.telemetry.read();
    let family = families.iter().find(|f| f.name == "otelcol_exporter_prometheus_dropped_points").unwrap();
    let labels = vec![("exporter", "prometheus/a".to_owned()), ("reason", "exponential_histogram".to_owned())];
    assert_eq!(family.samples[0].labels, labels);
    assert_eq!(family.samples[0].value, otelcore_pipeline::Value::Number(2.0));
}

#[test]
fn a_port_in_use_is_said_in_the_words_of_go() {
    let mut house = House::new();
    house.world.taken = true;
    let error = house.exporter.start(&mut Cx::new(&mut house.world, 0)).unwrap_err();
    assert_eq!(error.to_string(), "listen tcp 127.0.0.1:8889: bind: address already in use");
}

#[test]
fn a_payload_above_the_memory_limit_is_refused_as_far_as_it_is_new() {
    let mut house = House::started();
    house.push(vec![gauge("known", "", vec![point(1, 1.0, &[])])]);
    house.budget.set_limit(100);
    let refused = house.push(vec![gauge("new", "", vec![point(1, 1.0, &[])])]);
    let [(_, Outcome::Retry { after: None, why })] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(why.message, "data refused due to high memory usage");
    let updated = house.push(vec![gauge("known", "", vec![point(2, 7.0, &[])])]);
    assert!(matches!(updated.as_slice(), [(_, Outcome::Delivered)]));
    assert!(house.get("/metrics", "").1.ends_with(b"known 7\n"));
}
