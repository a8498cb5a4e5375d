//! The exporter with connections of a test.

use std::io::ErrorKind;
use std::sync::Arc;

use otelcore_pdata::Signal;
use otelcore_pipeline::{AttemptId, Budget, Component, Event, Exporter, Outcome, Outcomes, Telemetry};
use otelcore_testkit::{ExporterTest, PeerStream, TestContext, payload};

use super::*;
use crate::PrometheusFactory;

const ADDRESS: &str = "127.0.0.1:8889";

const ATTEMPT: AttemptId = AttemptId { signal: 1, number: 9 };

struct ExporterFixture {
    test: ExporterTest<dyn Exporter>,
    /// The first connection, and the others.
    clients: Vec<PeerStream>,
    telemetry: Telemetry,
    budget: Arc<Budget>,
}

impl ExporterFixture {
    fn new() -> Self {
        Self::with_yaml("")
    }

    fn with_yaml(more: &str) -> Self {
        let context = TestContext { signals: vec![Signal::Metrics], ..TestContext::new() };
        let yaml =
            format!("endpoint: 127.0.0.1:8889\nwithout_scope_info: true\nresponse_headers: {{X-Own: '1'}}\n{more}");
        let component = context.create(&PrometheusFactory, "prometheus/a", &yaml);
        let Ok(Component::Exporter(exporter, queue)) = component else { panic!("no exporter: {component:?}") };
        assert!(!queue.queue.is_on() && !queue.retry.enabled);
        let TestContext { telemetry, budget, .. } = context;
        Self { test: ExporterTest::new(exporter), clients: Vec::new(), telemetry, budget }
    }

    fn started() -> Self {
        Self::with_clients(1)
    }

    fn with_clients(count: usize) -> Self {
        Self::new().start(count)
    }

    fn start(self, count: usize) -> Self {
        let mut fixture = self;
        fixture.test.start().unwrap();
        let connecting: Vec<_> = (0..count).map(|_| fixture.test.world.connect_to(ADDRESS)).collect();
        fixture.run();
        fixture.clients = connecting.iter().map(|client| client.accepted().unwrap()).collect();
        fixture
    }

    /// Runs turns until none is requested; returns the number of turns and the outcomes of attempts.
    fn run(&mut self) -> (usize, Vec<(AttemptId, Outcome)>) {
        let (mut turns, mut outcomes) = (0, Vec::new());
        loop {
            while self.test.world.run_job().is_some() {}
            let ready = self.test.world.take_ready();
            if ready.is_empty() {
                return (turns, outcomes);
            }
            turns += 1;
            for local in ready {
                outcomes.extend(self.test.handle_event(local, Event::Ready));
            }
        }
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
        let payload = payload(Signal::Metrics, body);
        let mut outcomes = Outcomes::default();
        let ExporterTest { world, exporter, .. } = &mut self.test;
        exporter.send(&mut world.cx(), attempt, &payload, MonotonicTime::NEVER, &mut outcomes);
        outcomes.take()
    }

    fn get(&mut self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.clients[0].send(request);
        self.run();
        let response = self.clients[0].take_received();
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
fn expired_series_are_removed_by_the_timer_without_a_scrape() {
    let mut fixture = ExporterFixture::started();
    let due = |fixture: &ExporterFixture| {
        let timers = fixture.test.world.timers();
        timers.iter().find(|(_, local)| *local == 0).map(|(due, _)| *due)
    };
    assert_eq!(due(&fixture), Some(at(300)));
    let kept = fixture.budget.kept();
    fixture.send(vec![gauge("g", "", vec![point(1, 1.0, &[])])]);
    assert!(fixture.budget.kept() > kept);
    fixture.test.run_for(Duration::from_secs(601));
    assert_eq!(due(&fixture), Some(at(900)));
    assert_eq!(fixture.budget.kept(), kept);
}

#[test]
fn dropped_points_are_counted_by_reason() {
    let mut fixture = ExporterFixture::started();
    fixture.send(vec![sum("e", "", DELTA, false, vec![point(1, 1.0, &[]), point(2, 1.0, &[])])]);
    let families = fixture.telemetry.collect();
    let family = families.iter().find(|f| f.name == "otelcol_exporter_prometheus_dropped_points").unwrap();
    let labels = vec![("exporter", "prometheus/a".to_owned()), ("reason", "delta_non_monotonic".to_owned())];
    assert_eq!(family.samples[0].labels, labels);
    assert_eq!(family.samples[0].value, otelcore_pipeline::SeriesValue::Number(2.0));
}

#[test]
fn port_in_use_is_reported_with_the_message_of_go() {
    let mut fixture = ExporterFixture::new();
    let text = "listen tcp 127.0.0.1:8889: bind: address already in use";
    fixture.test.world.set_listen_error(Some((ErrorKind::AddrInUse, text)));
    let error = fixture.test.start().unwrap_err();
    assert_eq!(error.to_string(), text);
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
    let mut fixture = ExporterFixture::with_clients(1 + otelcore_net::MAX_CONCURRENT_REQUESTS);
    let others = fixture.clients[1..].to_vec();
    others.iter().for_each(|other| other.set_capacity(Some(1000)));
    fixture.send(many_metrics());
    let series = fixture.budget.kept();
    others.iter().for_each(|other| other.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
    fixture.run();
    assert!(others.iter().all(|other| other.received_len() == 1000), "each has the beginning of a page");
    let held = fixture.budget.kept() - series;
    assert!(held <= (otelcore_net::MAX_CONCURRENT_REQUESTS * 3 * crate::PIECE_SIZE) as u64, "{held}");
    let (head, body) = fixture.get("/metrics", "");
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, b"Limit of concurrent requests reached (64), try again later.\n");
    // One of the clients reads, and its response continues where it was; then there is room for another request.
    others[5].set_capacity(None);
    let mut page = others[5].take_received();
    fixture.run();
    page.append(&mut others[5].take_received());
    let end = page.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(unchunk(&page[end..]).0.split(|b| *b == b'\n').filter(|l| l.starts_with(b"metric_")).count(), 8_000);
    assert!(fixture.get("/metrics", "").0.starts_with("http/1.1 200"));
}

#[test]
fn format_is_negotiated_and_head_has_no_body() {
    let mut fixture = ExporterFixture::with_yaml("enable_open_metrics: true").start(1);
    fixture.send(vec![counter("g", vec![point(1, 1.0, &[])])]);
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
    let accept = "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;q=0.3\r\n";
    let (head, body) = fixture.get("/metrics", accept);
    assert!(head.contains(&format!("content-type: {open_metrics}\r\n")), "{head}");
    assert_eq!(String::from_utf8(body).unwrap(), "# HELP g \n# TYPE g counter\ng_total 1.0\n# EOF\n");
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let (head, body) = fixture.get("/metrics", &format!("Accept: {protobuf}\r\n"));
    assert!(head.contains("encoding=delimited; escaping=underscores\r\n"), "{head}");
    assert!(body[1..].starts_with(b"\x0a\x07g_total"), "{body:?}");
    fixture.clients[0].send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    fixture.run();
    let response = String::from_utf8(fixture.clients[0].take_received()).unwrap();
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("\r\n\r\n"), "{response}");
}

#[test]
fn page_is_compressed_with_zstd_when_only_that_is_accepted() {
    let mut fixture = ExporterFixture::started();
    fixture.send(many_metrics());
    let (head, body) = fixture.get("/metrics", "Accept-Encoding: zstd\r\n");
    assert!(head.contains("content-encoding: zstd\r\n"), "{head}");
    let packed = bytes::Bytes::from(unchunk(&body).0);
    let workspace = otelcore_http::coding::Workspace::new();
    let out = workspace.decompress(&otelcore_http::Coding::Zstd, packed, 1 << 24, |_| Ok::<(), ()>(())).unwrap();
    assert_eq!(out, unchunk(&fixture.get("/metrics", "").1).0);
}

#[test]
fn page_of_a_scraper_that_has_given_up_is_ended() {
    let mut fixture = ExporterFixture::started();
    fixture.send(many_metrics());
    let client = fixture.clients[0].clone();
    client.set_capacity(Some(1000));
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 2.5\r\n\r\n");
    fixture.run();
    fixture.test.run_for(Duration::from_secs(3));
    client.set_capacity(None);
    fixture.run();
    let received = client.take_received();
    assert!(!received.ends_with(b"0\r\n\r\n"), "the page must not look complete");
    assert!(received.len() < 1 << 19, "{}", received.len());
}
