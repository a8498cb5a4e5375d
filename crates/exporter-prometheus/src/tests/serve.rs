//! The exporter in a small simulated world with one connection.

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

/// The bytes that the client has sent, and those that it has received.
#[derive(Default)]
struct Wire {
    said: Vec<u8>,
    told: Vec<u8>,
    /// Bytes that can be written before the client has read them; zero means no limit.
    room: usize,
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
        let wire = &mut *self.0.borrow_mut();
        let room = if wire.room == 0 { usize::MAX } else { wire.room - wire.told.len().min(wire.room) };
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = buf.len().min(room);
        wire.told.extend_from_slice(&buf[..n]);
        Ok(n)
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

struct Door(Vec<Rc<RefCell<Wire>>>);

impl Listener for Door {
    fn accept(&mut self, _: u64) -> io::Result<Box<dyn Stream>> {
        let wire = self.0.pop().ok_or(io::ErrorKind::WouldBlock)?;
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
    /// Keys of the next turn.
    again: Vec<u64>,
    /// Connections in addition to the first.
    others: Vec<Rc<RefCell<Wire>>>,
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
        Ok(Box::new(Door(self.others.iter().chain([&self.wire]).cloned().collect())))
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
    fn again(&mut self, key: Key) {
        if !self.again.contains(&key.local) {
            self.again.push(key.local);
        }
    }
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
        Self::with(Vec::new())
    }

    fn with(others: Vec<Rc<RefCell<Wire>>>) -> Self {
        let mut house = Self::new();
        house.world.others = others;
        house.exporter.start(&mut Cx::new(&mut house.world, 0)).unwrap();
        // The only connection is accepted at once.
        house.event(1, Event::Ready);
        house
    }

    fn event(&mut self, local: u64, event: Event<'_>) -> Vec<(JobId, Outcome)> {
        let mut done = Done::default();
        self.exporter.event(&mut Cx::new(&mut self.world, 0), local, event, &mut done);
        done.take()
    }

    /// Runs turns until none is requested; returns the number of turns and the outcomes of jobs.
    fn run(&mut self) -> (usize, Vec<(JobId, Outcome)>) {
        let (mut turns, mut told) = (0, Vec::new());
        while !self.world.again.is_empty() {
            turns += 1;
            for local in std::mem::take(&mut self.world.again) {
                told.extend(self.event(local, Event::Ready));
            }
        }
        (turns, told)
    }

    fn send(&mut self, metrics: Vec<Metric>) {
        let mut told = self.push(metrics);
        told.extend(self.run().1);
        assert!(matches!(told.as_slice(), [(j, Outcome::Delivered)] if *j == JOB), "{told:?}");
    }

    fn push(&mut self, metrics: Vec<Metric>) -> Vec<(JobId, Outcome)> {
        self.push_as(JOB, metrics)
    }

    fn push_as(&mut self, job: JobId, metrics: Vec<Metric>) -> Vec<(JobId, Outcome)> {
        let body = rope(vec![resource(&[], vec![scope("", "", metrics)])]);
        let payload = Payload { signal: Signal::Metrics, body, meta: None, held: Held::default() };
        let mut done = Done::default();
        self.exporter.send(&mut Cx::new(&mut self.world, 0), job, &payload, Mono::NEVER, &mut done);
        done.take()
    }

    fn get(&mut self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.world.wire.borrow_mut().said.extend_from_slice(request.as_bytes());
        self.event(2, Event::Ready);
        self.run();
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
    // The clock is set back; the series has still been removed.
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

/// Enough metrics for reading to take several turns, and for the page to have several pieces.
fn many() -> Vec<Metric> {
    (0..8_000).map(|i| gauge(&format!("metric.{i:05}"), "", vec![point(1, 1.0, &[("a", "some text")])])).collect()
}

fn numbered(number: u64) -> JobId {
    JobId { signal: 1, number }
}

#[test]
fn payloads_that_are_large_are_read_in_several_turns_and_in_order() {
    let mut house = House::started();
    let mut told = house.push_as(numbered(1), many());
    told.extend(house.push_as(numbered(2), vec![gauge("last", "", vec![point(1, 2.0, &[])])]));
    assert!(told.is_empty(), "the first turn was not enough");
    let (turns, told) = house.run();
    let [(first, Outcome::Delivered), (second, Outcome::Delivered)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((*first, *second), (numbered(1), numbered(2)));
    assert!(turns > 5, "{turns}");
    let page = unchunk(&house.get("/metrics", "").1).0;
    assert!(page.starts_with(b"# HELP last \n# TYPE last gauge\nlast 2\n"));
}

/// The content of a chunked body, and how many chunks there were.
fn unchunk(mut body: &[u8]) -> (Vec<u8>, usize) {
    let (mut out, mut chunks) = (Vec::new(), 0);
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        assert!(len <= crate::PIECE + 100, "{len}");
        out.extend_from_slice(&body[end + 2..end + 2 + len]);
        body = &body[end + 4 + len..];
        if len == 0 {
            assert!(body.is_empty());
            return (out, chunks);
        }
        chunks += 1;
    }
}

#[test]
fn page_that_is_large_comes_in_chunks_plain_and_packed() {
    let mut house = House::started();
    house.send(many());
    let kept = house.budget.kept();
    let (head, body) = house.get("/metrics", "");
    assert!(head.contains("transfer-encoding: chunked\r\n") && head.contains("x-own: 1\r\n"), "{head}");
    let (page, chunks) = unchunk(&body);
    assert!(chunks > 5 && page.len() > 1 << 19, "{chunks} {}", page.len());
    assert_eq!(page.split(|b| *b == b'\n').filter(|line| line.starts_with(b"metric_")).count(), 8_000);
    let (head, body) = house.get("/metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut out = Vec::new();
    let packed = unchunk(&body).0;
    otelcore_http::coding::Inflater::new().gunzip(&packed, 1 << 24, &mut out, |_| Ok::<(), ()>(())).unwrap();
    assert!(out == page && packed.len() < page.len() / 4);
    assert_eq!(house.budget.kept(), kept, "what pages held is given back");
}

#[test]
fn scrapers_that_do_not_read_hold_a_piece_each_and_the_rest_is_refused() {
    let wire = || Rc::new(RefCell::new(Wire { room: 1000, ..Wire::default() }));
    let others: Vec<_> = (0..otelcore_net::MAX_OPEN).map(|_| wire()).collect();
    let mut house = House::with(others.clone());
    // The listener accepts 64 connections in a turn.
    house.run();
    house.send(many());
    let series = house.budget.kept();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    others.iter().for_each(|other| other.borrow_mut().said.extend_from_slice(request));
    // The first connection has the first slot; the others were accepted after it.
    for local in 3..3 + others.len() as u64 {
        house.event(local, Event::Ready);
        house.run();
    }
    assert!(others.iter().all(|o| o.borrow().told.len() == 1000), "each has the beginning of a page");
    let held = house.budget.kept() - series;
    assert!(held <= (otelcore_net::MAX_OPEN * 3 * crate::PIECE) as u64, "{held}");
    let (head, body) = house.get("/metrics", "");
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, b"Limit of concurrent requests reached (64), try again later.\n");
    // One of the clients reads, and its response continues where it was; then there is room for another request.
    let mut page = Vec::new();
    others[5].borrow_mut().room = 0;
    for local in 3..3 + others.len() as u64 {
        house.event(local, Event::Ready);
        house.run();
    }
    page.append(&mut others[5].borrow_mut().told);
    let end = page.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(unchunk(&page[end..]).0.split(|b| *b == b'\n').filter(|l| l.starts_with(b"metric_")).count(), 8_000);
    assert!(house.get("/metrics", "").0.starts_with("http/1.1 200"));
}
