//! The scraper in a simulated network, with targets that are slow, endless, torn or not there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};

use otelcore_http::coding::Deflater;
use otelcore_pipeline::{Endpoint, Graph, Listener, MonotonicTime, Outcome, PipelineInput, Receiver, Stream};
use otelcore_reactor::Sim;

use super::*;
use crate::http_client::tests::{graph, log, parse_config};

// ---- targets --------------------------------------------------------------------------------------------------------

/// A server that sends the same bytes for each request, `step` of them every `pause`.
#[derive(Clone)]
struct TestTarget {
    port: u16,
    response: Vec<u8>,
    /// The response is repeated without an end.
    is_endless: bool,
    /// The connection is closed after the response.
    closes: bool,
    step: usize,
    pause: Duration,
}

impl TestTarget {
    fn new(head: &str, page: &[u8]) -> Self {
        let length = page.len();
        let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{head}\r\n").into_bytes();
        response.extend_from_slice(page);
        Self { port: 80, response, is_endless: false, closes: false, step: usize::MAX, pause: Duration::ZERO }
    }
}

struct TargetConn {
    io: Box<dyn Stream>,
    unsent: Vec<u8>,
    is_answering: bool,
}

#[derive(Default)]
struct TargetRecord {
    requests: Vec<(MonotonicTime, String)>,
    /// Bytes that the network accepted.
    sent: usize,
    open: usize,
    max_open: usize,
}

type SharedTargetRecord = Rc<RefCell<TargetRecord>>;

struct TargetServer {
    target: TestTarget,
    listener: Option<Box<dyn Listener>>,
    conns: BTreeMap<u64, TargetConn>,
    accepted: u64,
    record: SharedTargetRecord,
}

fn serve(target: TestTarget) -> (Graph, SharedTargetRecord) {
    let record = SharedTargetRecord::default();
    let server = TargetServer { target, listener: None, conns: BTreeMap::new(), accepted: 0, record: record.clone() };
    (graph(server), record)
}

impl TargetServer {
    fn serve_conn(&mut self, cx: &mut Cx<'_>, number: u64, is_timer: bool) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let mut buf = [0; 4096];
        let is_closed = loop {
            match conn.io.read(&mut buf) {
                Ok(0) => break true,
                Ok(n) => {
                    let text = String::from_utf8_lossy(&buf[..n]).into_owned();
                    self.record.borrow_mut().requests.push((cx.now(), text));
                    conn.unsent.extend_from_slice(&self.target.response);
                    conn.is_answering = true;
                    if !self.target.pause.is_zero() {
                        cx.set_timer(number, cx.now() + self.target.pause);
                    }
                }
                Err(e) => break e.kind() != ErrorKind::WouldBlock,
            }
        };
        let mut left = if self.target.pause.is_zero() || is_timer { self.target.step } else { 0 };
        while conn.is_answering && left > 0 {
            if conn.unsent.is_empty() && self.target.is_endless {
                conn.unsent.extend_from_slice(&self.target.response);
            }
            let length = conn.unsent.len().min(left);
            let Ok(n @ 1..) = conn.io.write(&conn.unsent[..length]) else { break };
            conn.unsent.drain(..n);
            left -= n;
            self.record.borrow_mut().sent += n;
        }
        let _ = conn.io.flush();
        let is_done = conn.is_answering && conn.unsent.is_empty() && !self.target.is_endless;
        if is_timer && !is_done {
            cx.set_timer(number, cx.now() + self.target.pause);
        }
        if is_closed || is_done && self.target.closes {
            conn.io.shutdown_write();
            self.conns.remove(&number);
            self.record.borrow_mut().open -= 1;
        } else if is_done {
            conn.is_answering = false;
        }
    }
}

impl Receiver for TargetServer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: self.target.port };
        self.listener = Some(cx.listen(0, &at)?);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        if local > 0 {
            return self.serve_conn(cx, local, matches!(event, Event::Timer));
        }
        while let Some(Ok(io)) = self.listener.as_mut().map(|l| l.accept(self.accepted + 1)) {
            self.accepted += 1;
            let mut record = self.record.borrow_mut();
            record.open += 1;
            record.max_open = record.max_open.max(record.open);
            drop(record);
            self.conns.insert(self.accepted, TargetConn { io, unsent: Vec::new(), is_answering: false });
            self.serve_conn(cx, self.accepted, false);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

// ---- the scraper ----------------------------------------------------------------------------------------------------

/// What a consumer was given.
#[derive(Default)]
struct RecordedScrapes {
    /// The pages that are being read.
    open: BTreeMap<TargetId, Vec<u8>>,
    longest_part: usize,
    /// The target, when it ended, the report, and the page.
    ended: Vec<(TargetId, MonotonicTime, ScrapeReport, Vec<u8>)>,
    /// Refuse pages that contain this byte.
    refused_byte: Option<u8>,
    /// Each part is worked off with the empty part after it.
    works_slowly: bool,
    unfinished: Vec<u8>,
}

impl RecordedScrapes {
    /// Keeps a part, or takes the one that was kept.
    fn rest(&mut self, target: TargetId, part: &[u8], is_done: bool) -> Pushed {
        let before = std::mem::replace(&mut self.unfinished, part.to_vec());
        assert!(part.is_empty() || before.is_empty(), "nothing else comes before a part is worked off");
        self.open.get_mut(&target).unwrap().extend(before);
        Pushed { work: 1000, is_done }
    }
}

impl ScrapeConsumer for RecordedScrapes {
    fn begin(
        &mut self,
        _: &mut Cx<'_>,
        target: TargetId,
        _: WallTime,
        response: &HttpResponse,
    ) -> Result<(), ScrapeError> {
        assert_eq!(response.status, 200);
        assert!(self.open.insert(target, Vec::new()).is_none(), "one scrape at once");
        Ok(())
    }

    fn push(&mut self, _: &mut Cx<'_>, target: TargetId, part: &[u8]) -> Result<Pushed, ScrapeError> {
        if self.works_slowly && !part.is_empty() {
            return Ok(self.rest(target, part, false));
        }
        self.longest_part = self.longest_part.max(part.len());
        self.open.get_mut(&target).unwrap().extend_from_slice(part);
        let is_refused = self.refused_byte.is_some_and(|byte| part.contains(&byte));
        if is_refused { Err(ScrapeError::Page("invalid page".to_owned())) } else { Ok(self.rest(target, &[], true)) }
    }

    fn end(&mut self, cx: &mut Cx<'_>, target: TargetId, report: &ScrapeReport) {
        let page = self.open.remove(&target).unwrap_or_default();
        assert!(report.result.is_err() || report.page_bytes == page.len() as u64);
        self.ended.push((target, cx.now(), report.clone(), page));
    }
}

type SharedScrapes = Rc<RefCell<RecordedScrapes>>;

struct ScrapingReceiver {
    scraper: Scraper,
    urls: Vec<String>,
    schedule: ScrapeSchedule,
    /// When the first target is removed, in seconds.
    remove_at: Option<u64>,
    record: SharedScrapes,
}

const BASE: u64 = 10;

impl Receiver for ScrapingReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.scraper.start(cx, &[])?;
        for url in &self.urls {
            self.scraper.add_target(cx, Arc::new(Url::parse(url).unwrap()), hash_target(url), self.schedule);
        }
        if let Some(seconds) = self.remove_at {
            cx.set_timer(0, MonotonicTime::default() + Duration::from_secs(seconds));
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        let mut record = self.record.borrow_mut();
        match local {
            0 => self.scraper.remove_target(cx, TargetId(0), &mut *record),
            _ => self.scraper.handle_event(cx, local, &event, &mut *record),
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.scraper.close(cx, &mut *self.record.borrow_mut());
    }

    fn is_closed(&self) -> bool {
        true
    }
}

fn scraper_graph(config: ScraperConfig, urls: &[String], remove_at: Option<u64>) -> (Graph, SharedScrapes) {
    let schedule = ScrapeSchedule { interval: Duration::from_secs(15), ..ScrapeSchedule::default() };
    scheduled_graph(config, schedule, urls, remove_at)
}

fn scheduled_graph(
    config: ScraperConfig,
    schedule: ScrapeSchedule,
    urls: &[String],
    remove_at: Option<u64>,
) -> (Graph, SharedScrapes) {
    let record = SharedScrapes::default();
    let scraper = Scraper::new(config, Rc::new(parse_config("")), None, log(), BASE);
    (graph(ScrapingReceiver { scraper, urls: urls.to_vec(), schedule, remove_at, record: record.clone() }), record)
}

fn config() -> ScraperConfig {
    ScraperConfig { accept: "text/plain".to_owned(), ..ScraperConfig::default() }
}

/// Scrapes one target for a time; the interval is 15 s and the timeout 10 s.
fn scrape_for(time: Duration, target: TestTarget, config: ScraperConfig) -> (SharedScrapes, SharedTargetRecord) {
    let mut sim = Sim::new(11);
    let (server, target_record) = serve(target);
    sim.add_node("h", server).unwrap();
    let (graph, record) = scraper_graph(config, &["http://h/metrics".to_owned()], None);
    sim.add_node("scraper", graph).unwrap();
    sim.run_for(time);
    (record, target_record)
}

fn texts_of_errors(record: &SharedScrapes) -> Vec<String> {
    record
        .borrow()
        .ended
        .iter()
        .filter_map(|(_, _, report, _)| report.result.clone().err())
        .map(|e| e.to_string())
        .collect()
}

fn page(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| b'a' + (i.wrapping_mul(31) % 23) as u8).collect()
}

#[test]
fn page_is_read_in_bounded_parts_at_each_interval() {
    let page = page(1_000_000);
    let (record, target) = scrape_for(Duration::from_secs(60), TestTarget::new("", &page), config());
    let record = record.borrow();
    assert_eq!(record.ended.len(), 4);
    assert!(record.ended.iter().all(|(_, _, report, got)| report.result.is_ok() && *got == page));
    assert!(record.longest_part <= MAX_PART);
    let target = target.borrow();
    let times: Vec<u64> = target.requests.iter().map(|(at, _)| at.0 / 1_000_000_000).collect();
    assert!(times.windows(2).all(|pair| (14..=16).contains(&(pair[1] - pair[0]))), "{times:?}");
    for part in ["GET /metrics HTTP/1.1\r\n", "Accept: text/plain\r\n", "Accept-Encoding: gzip\r\n"] {
        assert!(target.requests[0].1.contains(part), "{}", target.requests[0].1);
    }
    assert!(target.requests[0].1.contains("X-Prometheus-Scrape-Timeout-Seconds: 10\r\n"));
    assert_eq!(target.max_open, 1, "the connection is kept");
}

#[test]
fn part_that_is_not_worked_off_is_continued_before_the_next_one() {
    let page = page(300_000);
    for packed in [false, true] {
        let target = match packed {
            true => TestTarget::new("Content-Encoding: gzip\r\n", &Deflater::new().gzip([&page[..]], 6)),
            false => TestTarget::new("", &page),
        };
        let (graph, record) = scraper_graph(config(), &["http://h/metrics".to_owned()], None);
        record.borrow_mut().works_slowly = true;
        let mut sim = Sim::new(11);
        sim.add_node("h", serve(target).0).unwrap();
        sim.add_node("scraper", graph).unwrap();
        sim.run_for(Duration::from_secs(15));
        let record = record.borrow();
        assert_eq!(record.ended.len(), 1);
        assert!(record.ended[0].2.result.is_ok() && record.ended[0].3 == page);
    }
}

#[test]
fn page_that_is_compressed_is_decompressed_as_it_arrives() {
    for plain in [page(300_000), vec![b'0'; 20 << 20], Vec::new()] {
        let packed = Deflater::new().gzip([&plain[..]], 6);
        let target = TestTarget::new("Content-Encoding: gzip\r\n", &packed);
        let (record, _) = scrape_for(Duration::from_secs(15), target, config());
        let record = record.borrow();
        assert_eq!(record.ended.len(), 1);
        assert!(record.ended[0].2.result.is_ok() && record.ended[0].3 == plain, "{:?}", record.ended[0].2);
        assert!(record.longest_part <= MAX_PART);
    }
    let target = TestTarget::new("Content-Encoding: gzip\r\n", b"plain text");
    let (record, _) = scrape_for(Duration::from_secs(15), target, config());
    assert_eq!(texts_of_errors(&record), ["gzip: invalid header"]);
}

#[test]
fn slow_target_ends_at_the_timeout_and_the_next_interval_is_on_time() {
    let target = TestTarget { step: 10, pause: Duration::from_millis(500), ..TestTarget::new("", &page(10_000)) };
    let (record, target) = scrape_for(Duration::from_secs(60), target, config());
    assert_eq!(target.borrow().requests.len(), 4);
    let errors = texts_of_errors(&record);
    assert!(errors.len() >= 3 && errors.iter().all(|e| e.contains("context deadline exceeded")), "{errors:?}");
    assert!(record.borrow().ended.iter().all(|(_, _, report, _)| report.duration <= Duration::from_secs(11)));
}

#[test]
fn endless_target_is_ended_at_the_limit_of_the_page() {
    let endless = TestTarget {
        response: b"HTTP/1.1 200 OK\r\n\r\n".iter().copied().chain(page(100_000)).collect(),
        is_endless: true,
        ..TestTarget::new("", b"")
    };
    let limited = ScraperConfig { max_page: 5_000_000, ..config() };
    let (record, target) = scrape_for(Duration::from_secs(15), endless, limited);
    assert_eq!(texts_of_errors(&record), ["body size limit exceeded"]);
    let record = record.borrow();
    assert!(record.ended[0].2.page_bytes <= 5_000_000 + MAX_PART as u64);
    assert!(target.borrow().sent < 8_000_000, "{}", target.borrow().sent);
}

#[test]
fn torn_page_is_an_error() {
    let mut torn = TestTarget { closes: true, ..TestTarget::new("", &page(200_000)) };
    torn.response.truncate(150_000);
    let (record, _) = scrape_for(Duration::from_secs(15), torn, config());
    let errors = texts_of_errors(&record);
    assert!(errors.len() == 1 && errors[0].contains("EOF"), "{errors:?}");
    assert!(record.borrow().ended[0].3.len() > 100_000);
}

#[test]
fn target_that_refuses_or_responds_with_another_status_is_an_error() {
    let (graph, record) = scraper_graph(config(), &["http://h:99/metrics".to_owned()], None);
    let mut sim = Sim::new(11);
    sim.add_node("h", serve(TestTarget::new("", b"x")).0).unwrap();
    sim.add_node("scraper", graph).unwrap();
    sim.run_for(Duration::from_secs(15));
    let errors = texts_of_errors(&record);
    assert!(errors.len() == 1 && errors[0].starts_with("Get \"http://h:99/metrics\": dial tcp"), "{errors:?}");

    let mut unavailable = TestTarget::new("", b"");
    unavailable.response = b"HTTP/1.1 503 Later\r\nContent-Length: 2\r\n\r\nno".to_vec();
    let (record, _) = scrape_for(Duration::from_secs(15), unavailable, config());
    assert_eq!(texts_of_errors(&record), ["server returned HTTP status 503 Service Unavailable"]);
}

#[test]
fn page_that_the_consumer_refuses_is_not_read_further() {
    let (graph, record) = scraper_graph(config(), &["http://h/metrics".to_owned()], None);
    record.borrow_mut().refused_byte = Some(b'a');
    let mut sim = Sim::new(11);
    let (server, target) = serve(TestTarget::new("", &page(30_000_000)));
    sim.add_node("h", server).unwrap();
    sim.add_node("scraper", graph).unwrap();
    sim.run_for(Duration::from_secs(15));
    assert_eq!(texts_of_errors(&record), ["invalid page"]);
    assert!(target.borrow().sent < 10_000_000, "{}", target.borrow().sent);
}

#[test]
fn targets_are_scraped_each_once_an_interval_with_bounded_connections() {
    let mut sim = Sim::new(5);
    let slow = TestTarget { step: 1000, pause: Duration::from_secs(1), ..TestTarget::new("", b"up 1\n") };
    let (server, target) = serve(slow);
    sim.add_node("h", server).unwrap();
    let urls: Vec<String> = (0..500).map(|i| format!("http://h/metrics?target={i}")).collect();
    let limited = ScraperConfig { max_concurrent: 50, ..config() };
    let (graph, record) = scraper_graph(limited, &urls, None);
    sim.add_node("scraper", graph).unwrap();
    sim.run_for(Duration::from_secs(32));
    let mut per_target = BTreeMap::<TargetId, usize>::new();
    for (target, _, report, _) in &record.borrow().ended {
        assert!(report.result.is_ok(), "{report:?}");
        *per_target.entry(*target).or_default() += 1;
    }
    assert_eq!(per_target.len(), 500);
    assert!(per_target.values().all(|count| (1..=3).contains(count)), "{per_target:?}");
    assert!(target.borrow().max_open <= 52, "{}", target.borrow().max_open);
}

#[test]
fn removed_target_is_cancelled_and_not_scraped_again() {
    let mut sim = Sim::new(5);
    let slow = TestTarget { step: 1, pause: Duration::from_secs(1), ..TestTarget::new("", &page(1000)) };
    let (server, target) = serve(slow);
    sim.add_node("h", server).unwrap();
    let every_second = ScrapeSchedule { interval: Duration::from_secs(1), ..ScrapeSchedule::default() };
    let (graph, record) = scheduled_graph(config(), every_second, &["http://h/metrics".to_owned()], Some(3));
    sim.add_node("scraper", graph).unwrap();
    sim.run_for(Duration::from_secs(60));
    assert_eq!(texts_of_errors(&record), ["the scrape was cancelled"]);
    assert_eq!((target.borrow().requests.len(), target.borrow().open), (1, 0));
}
