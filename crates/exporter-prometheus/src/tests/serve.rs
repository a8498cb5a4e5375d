//! The exporter in a small simulated world with one connection.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, Budget, BuildContext, Component, Cx, Endpoint, Event, Exporter, Factory, Held, Key, Listener, Logger,
    MemorySample, MetricsLevel, NoopLogSink, Outcome, Outcomes, Payload, PeerAddr, ProcessSample, Stream, Telemetry,
    TimerId, WallTime, World,
};

use super::*;
use crate::PrometheusFactory;

/// The bytes that the client has sent, and those that it has received.
#[derive(Default)]
struct TestConnection {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Bytes that can be written before the client has read them; zero means no limit.
    write_capacity: usize,
}

struct TestStream(Rc<RefCell<TestConnection>>);

impl Read for TestStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let sent = &mut self.0.borrow_mut().sent;
        if sent.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = sent.len().min(buf.len());
        buf[..n].copy_from_slice(&sent[..n]);
        sent.drain(..n);
        Ok(n)
    }
}

impl Write for TestStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        let room = if wire.write_capacity == 0 {
            usize::MAX
        } else {
            wire.write_capacity - wire.received.len().min(wire.write_capacity)
        };
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = buf.len().min(room);
        wire.received.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for TestStream {
    fn peer_addr(&self) -> String {
        "client".to_owned()
    }

    fn shutdown_write(&mut self) {}
}

struct TestListener(Vec<Rc<RefCell<TestConnection>>>);

impl Listener for TestListener {
    fn accept(&mut self, _: u64) -> io::Result<Box<dyn Stream>> {
        let wire = self.0.pop().ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Box::new(TestStream(wire)))
    }

    fn local_addr(&self) -> String {
        "127.0.0.1:8889".to_owned()
    }
}

#[derive(Default)]
struct TestWorld {
    now: MonotonicTime,
    wire: Rc<RefCell<TestConnection>>,
    timers: Vec<(MonotonicTime, u64)>,
    taken: bool,
    /// Keys of the next turn.
    ready_keys: Vec<u64>,
    /// Connections in addition to the first.
    others: Vec<Rc<RefCell<TestConnection>>>,
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
        4
    }
    fn sample_memory(&mut self) -> MemorySample {
        MemorySample::default()
    }
    fn sample_process(&mut self) -> ProcessSample {
        ProcessSample::default()
    }
    fn listen(&mut self, _: Key, at: &Endpoint) -> io::Result<Box<dyn Listener>> {
        assert_eq!(*at, Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 8889 });
        if self.taken {
            return Err(io::Error::other("listen tcp 127.0.0.1:8889: bind: address already in use"));
        }
        Ok(Box::new(TestListener(self.others.iter().chain([&self.wire]).cloned().collect())))
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn set_timer(&mut self, key: Key, at: MonotonicTime) -> TimerId {
        self.timers.push((at, key.local));
        TimerId(self.timers.len() as u64)
    }
    fn cancel_timer(&mut self, _: TimerId) {}
    fn request_ready(&mut self, key: Key) {
        if !self.ready_keys.contains(&key.local) {
            self.ready_keys.push(key.local);
        }
    }
    fn open_output(&mut self, _: &str) -> io::Result<Box<dyn Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

const ATTEMPT: AttemptId = AttemptId { signal: 1, number: 9 };

struct ExporterFixture {
    world: TestWorld,
    exporter: Box<dyn Exporter>,
    telemetry: Telemetry,
    budget: Arc<Budget>,
}

impl ExporterFixture {
    fn new() -> Self {
        let d = Diagnostics::new();
        let yaml = "endpoint: 127.0.0.1:8889\nwithout_scope_info: true\nresponse_headers: {X-Own: '1'}";
        let node = from_yaml(yaml, &d);
        let id = "prometheus/a".parse().unwrap();
        let settings = PrometheusFactory.parse(&id, Section::new(node.as_ref(), "exporters::prometheus/a", &d));
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        let budget = Arc::<Budget>::default();
        let build = BuildContext {
            id: &id,
            signals: &[Signal::Metrics],
            telemetry: &telemetry,
            log: Logger::new(Arc::new(NoopLogSink)),
            budget: &budget,
            auth: &otelcore_pipeline::Authenticators::default(),
        };
        let made = settings.unwrap_or_else(|| panic!("{}", d.render_to_string(false))).create(&build);
        let Ok(Component::Exporter(exporter, sending)) = made else { panic!("no exporter") };
        assert!(!sending.queue.enabled && !sending.retry.enabled);
        Self { world: TestWorld::default(), exporter, telemetry, budget }
    }

    fn started() -> Self {
        Self::with(Vec::new())
    }

    fn with(others: Vec<Rc<RefCell<TestConnection>>>) -> Self {
        let mut fixture = Self::new();
        fixture.world.others = others;
        fixture.exporter.start(&mut Cx::new(&mut fixture.world, 0)).unwrap();
        // The only connection is accepted at once.
        fixture.event(1, Event::Ready);
        fixture
    }

    fn event(&mut self, local: u64, event: Event<'_>) -> Vec<(AttemptId, Outcome)> {
        let mut done = Outcomes::default();
        self.exporter.handle_event(&mut Cx::new(&mut self.world, 0), local, event, &mut done);
        done.take()
    }

    /// Runs turns until none is requested; returns the number of turns and the outcomes of attempts.
    fn run(&mut self) -> (usize, Vec<(AttemptId, Outcome)>) {
        let (mut turns, mut outcomes) = (0, Vec::new());
        while !self.world.ready_keys.is_empty() {
            turns += 1;
            for local in std::mem::take(&mut self.world.ready_keys) {
                outcomes.extend(self.event(local, Event::Ready));
            }
        }
        (turns, outcomes)
    }

    fn send(&mut self, metrics: Vec<Metric>) {
        let mut outcomes = self.push(metrics);
        outcomes.extend(self.run().1);
        assert!(matches!(outcomes.as_slice(), [(j, Outcome::Delivered)] if *j == ATTEMPT), "{outcomes:?}");
    }

    fn push(&mut self, metrics: Vec<Metric>) -> Vec<(AttemptId, Outcome)> {
        self.push_as(ATTEMPT, metrics)
    }

    fn push_as(&mut self, attempt: AttemptId, metrics: Vec<Metric>) -> Vec<(AttemptId, Outcome)> {
        let body = rope(vec![resource(&[], vec![scope("", "", metrics)])]);
        let payload = Payload { signal: Signal::Metrics, body, metadata: None, held: Held::default() };
        let mut done = Outcomes::default();
        self.exporter.send(&mut Cx::new(&mut self.world, 0), attempt, &payload, MonotonicTime::NEVER, &mut done);
        done.take()
    }

    fn get(&mut self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.world.wire.borrow_mut().sent.extend_from_slice(request.as_bytes());
        self.event(2, Event::Ready);
        self.run();
        let response = std::mem::take(&mut self.world.wire.borrow_mut().received);
        let end = response.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        (String::from_utf8(response[..end].to_vec()).unwrap().to_ascii_lowercase(), response[end..].to_vec())
    }
}

#[test]
fn metrics_path_returns_the_page_and_other_paths_are_not_found() {
    let mut fixture = ExporterFixture::started();
    let (head, body) = fixture.get("/metrics", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, b"");
    fixture.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    let (head, body) = fixture.get("/metrics?x=y", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores\r\n"),
        "{head}"
    );
    assert!(head.contains("x-own: 1\r\n"), "{head}");
    assert_eq!(body, b"# HELP g \n# TYPE g gauge\ng 1\n");
    for path in ["/", "/metrics/", "/Metrics"] {
        let (head, body) = fixture.get(path, "");
        assert!(head.starts_with("http/1.1 404"), "{head}");
        assert_eq!(body, b"404 page not found\n");
    }
}

#[test]
fn page_is_compressed_when_gzip_is_accepted() {
    let mut fixture = ExporterFixture::started();
    fixture.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    let (head, body) = fixture.get("/metrics", "Accept-Encoding: deflate\r\nAccept-Encoding: gzip;q=0.5\r\n");
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut out = Vec::new();
    let mut inflater = otelcore_http::coding::Inflater::new();
    inflater.gunzip(&body, 1 << 20, &mut out, |_| Ok::<(), ()>(())).unwrap();
    assert_eq!(out, b"# HELP g \n# TYPE g gauge\ng 1\n");
}

#[test]
fn gather_error_without_series_is_a_page_of_status_500() {
    let mut fixture = ExporterFixture::started();
    fixture.send(vec![summary("s", 1, &[], &[("quantile", "x")])]);
    let (head, body) = fixture.get("/metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.starts_with("http/1.1 500") && head.contains("content-type: text/plain; charset=utf-8\r\n"), "{head}");
    assert!(body.starts_with(b"An error has occurred while serving metrics:\n\n"));
}

#[test]
fn expired_series_are_removed_by_the_timer_without_a_scrape() {
    let mut fixture = ExporterFixture::started();
    assert_eq!(fixture.world.timers.first(), Some(&(at(300), 0)));
    fixture.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    fixture.world.now = at(301);
    fixture.event(0, Event::Timer);
    assert_eq!(fixture.world.timers.last(), Some(&(at(601), 0)));
    fixture.world.now = at(10);
    // The clock is set back; the series has still been removed.
    assert_eq!(fixture.get("/metrics", "").1, b"");
}

#[test]
fn dropped_points_are_counted_by_reason() {
    let mut fixture = ExporterFixture::started();
    fixture.send(vec![exponential("e"), exponential("f")]);
    let families = fixture.telemetry.collect();
    let family = families.iter().find(|f| f.name == "otelcol_exporter_prometheus_dropped_points").unwrap();
    let labels = vec![("exporter", "prometheus/a".to_owned()), ("reason", "exponential_histogram".to_owned())];
    assert_eq!(family.samples[0].labels, labels);
    assert_eq!(family.samples[0].value, otelcore_pipeline::SeriesValue::Number(2.0));
}

#[test]
fn port_in_use_is_reported_with_the_message_of_go() {
    let mut fixture = ExporterFixture::new();
    fixture.world.taken = true;
    let error = fixture.exporter.start(&mut Cx::new(&mut fixture.world, 0)).unwrap_err();
    assert_eq!(error.to_string(), "listen tcp 127.0.0.1:8889: bind: address already in use");
}

#[test]
fn new_series_of_a_payload_above_the_memory_limit_are_refused() {
    let mut fixture = ExporterFixture::started();
    fixture.push(vec![gauge("known", "", vec![point(1, 1.0, &[])])]);
    fixture.budget.set_limit(100);
    let refused = fixture.push(vec![gauge("new", "", vec![point(1, 1.0, &[])])]);
    let [(_, Outcome::Retry { after: None, why })] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(why.message, "data refused due to high memory usage");
    let updated = fixture.push(vec![gauge("known", "", vec![point(2, 7.0, &[])])]);
    assert!(matches!(updated.as_slice(), [(_, Outcome::Delivered)]));
    assert!(fixture.get("/metrics", "").1.ends_with(b"known 7\n"));
}

/// Enough metrics for reading to take several turns, and for the page to have several pieces.
fn many_metrics() -> Vec<Metric> {
    (0..8_000).map(|i| gauge(&format!("metric.{i:05}"), "", vec![point(1, 1.0, &[("a", "some text")])])).collect()
}

fn attempt_id(number: u64) -> AttemptId {
    AttemptId { signal: 1, number }
}

#[test]
fn large_payloads_are_read_in_several_turns_and_in_order() {
    let mut fixture = ExporterFixture::started();
    let mut outcomes = fixture.push_as(attempt_id(1), many_metrics());
    outcomes.extend(fixture.push_as(attempt_id(2), vec![gauge("last", "", vec![point(1, 2.0, &[])])]));
    assert!(outcomes.is_empty(), "the first turn was not enough");
    let (turns, outcomes) = fixture.run();
    let [(first, Outcome::Delivered), (second, Outcome::Delivered)] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!((*first, *second), (attempt_id(1), attempt_id(2)));
    assert!(turns > 5, "{turns}");
    let page = unchunk(&fixture.get("/metrics", "").1).0;
    assert!(page.starts_with(b"# HELP last \n# TYPE last gauge\nlast 2\n"));
}

/// The content of a chunked body, and how many chunks there were.
fn unchunk(mut body: &[u8]) -> (Vec<u8>, usize) {
    let (mut out, mut chunks) = (Vec::new(), 0);
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        assert!(len <= crate::PIECE_SIZE + 100, "{len}");
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
fn large_page_is_sent_in_chunks_plain_and_compressed() {
    let mut fixture = ExporterFixture::started();
    fixture.send(many_metrics());
    let kept = fixture.budget.kept();
    let (head, body) = fixture.get("/metrics", "");
    assert!(head.contains("transfer-encoding: chunked\r\n") && head.contains("x-own: 1\r\n"), "{head}");
    let (page, chunks) = unchunk(&body);
    assert!(chunks > 5 && page.len() > 1 << 19, "{chunks} {}", page.len());
    assert_eq!(page.split(|b| *b == b'\n').filter(|line| line.starts_with(b"metric_")).count(), 8_000);
    let (head, body) = fixture.get("/metrics", "Accept-Encoding: gzip\r\n");
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut out = Vec::new();
    let packed = unchunk(&body).0;
    otelcore_http::coding::Inflater::new().gunzip(&packed, 1 << 24, &mut out, |_| Ok::<(), ()>(())).unwrap();
    assert!(out == page && packed.len() < page.len() / 4);
    assert_eq!(fixture.budget.kept(), kept, "what pages held is given back");
}

#[test]
fn scrapers_that_do_not_read_keep_one_piece_each_and_further_ones_are_refused() {
    let wire = || Rc::new(RefCell::new(TestConnection { write_capacity: 1000, ..TestConnection::default() }));
    let others: Vec<_> = (0..otelcore_net::MAX_CONCURRENT_REQUESTS).map(|_| wire()).collect();
    let mut fixture = ExporterFixture::with(others.clone());
    // The listener accepts 64 connections in a turn.
    fixture.run();
    fixture.send(many_metrics());
    let series = fixture.budget.kept();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    others.iter().for_each(|other| other.borrow_mut().sent.extend_from_slice(request));
    // The first connection has the first slot; the others were accepted after it.
    for local in 3..3 + others.len() as u64 {
        fixture.event(local, Event::Ready);
        fixture.run();
    }
    assert!(others.iter().all(|o| o.borrow().received.len() == 1000), "each has the beginning of a page");
    let held = fixture.budget.kept() - series;
    assert!(held <= (otelcore_net::MAX_CONCURRENT_REQUESTS * 3 * crate::PIECE_SIZE) as u64, "{held}");
    let (head, body) = fixture.get("/metrics", "");
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, b"Limit of concurrent requests reached (64), try again later.\n");
    // One of the clients reads, and its response continues where it was; then there is room for another request.
    let mut page = Vec::new();
    others[5].borrow_mut().write_capacity = 0;
    for local in 3..3 + others.len() as u64 {
        fixture.event(local, Event::Ready);
        fixture.run();
    }
    page.append(&mut others[5].borrow_mut().received);
    let end = page.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(unchunk(&page[end..]).0.split(|b| *b == b'\n').filter(|l| l.starts_with(b"metric_")).count(), 8_000);
    assert!(fixture.get("/metrics", "").0.starts_with("http/1.1 200"));
}
