//! The pages of an example collector, requested over connections in a `World` of tests.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::{ComponentId, Diagnostics, EffectiveValue, FeatureGates, PipelineId, ValueOrigins, from_yaml};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    CollectorDescription, ConnectorDescription, Extension, NoopLogSink, PipelineDescription, RecentLog, StatusTable,
};
use otelcore_testkit::{PeerStream, TestContext, TestWorld, extension};

use super::*;

/// The name of a component may hold any text where a program makes the configuration.
fn ids(ids: &[&str]) -> Vec<ComponentId> {
    let id = |id: &&str| {
        let (ty, name) = id.split_once('/').unwrap_or((id, ""));
        ComponentId { name: name.to_owned(), ..ty.parse().unwrap() }
    };
    ids.iter().map(id).collect()
}

fn pipeline(
    id: &str,
    signal: Signal,
    receivers: &[&str],
    processors: &[&str],
    exporters: &[&str],
) -> PipelineDescription {
    PipelineDescription {
        id: PipelineId {
            name: id.split_once('/').map(|(_, name)| name.to_owned()).unwrap_or_default(),
            ..signal.name().parse().unwrap()
        },
        signal,
        receivers: ids(receivers),
        processors: ids(processors),
        exporters: ids(exporters),
        source_connectors: Vec::new(),
        target_connectors: Vec::new(),
    }
}

/// Traces and metrics with a connector between them. Names of components may hold any text.
pub(super) fn example() -> CollectorDescription {
    let mut traces =
        pipeline("traces/<b>", Signal::Traces, &["otlp"], &["memory_limiter", "batch/\"><script>"], &["debug/a&b"]);
    traces.target_connectors = ids(&["span_metrics"]);
    let mut metrics = pipeline("metrics", Signal::Metrics, &["otlp"], &["memory_limiter"], &["prometheus"]);
    metrics.source_connectors = ids(&["span_metrics"]);
    let connector = ConnectorDescription {
        id: "span_metrics".parse().unwrap(),
        signals: (Signal::Traces, Signal::Metrics),
        sources: vec![0],
        targets: vec![1],
    };
    let root = from_yaml("endpoint: <here>\npassword: hunter2\n", &Diagnostics::new()).unwrap();
    let config = EffectiveValue::Map(
        [
            ("password".to_owned(), EffectiveValue::Opaque("hunter2".to_owned())),
            ("endpoint".to_owned(), EffectiveValue::Str("<here>".to_owned())),
        ]
        .into(),
    );
    CollectorDescription {
        command: "otelcol".to_owned(),
        version: "1.2.3".to_owned(),
        pipelines: vec![traces, metrics],
        connectors: vec![connector],
        extensions: ids(&["zpages", "health_check"]),
        feature_gates: FeatureGates::default(),
        origins: Some(Arc::new(ValueOrigins::of(&root))),
        config: Arc::new(config),
    }
}

/// A collector with this many pipelines, each with a receiver, two processors and an exporter.
pub(super) fn large_example(pipelines: usize) -> CollectorDescription {
    let pipelines = (0..pipelines).map(|i| {
        let signal = Signal::ALL[i % Signal::ALL.len()];
        let (receiver, exporter) = (format!("otlp/{i}"), format!("debug/{i}"));
        let id = format!("{}/{i}", signal.name());
        pipeline(&id, signal, &[&receiver], &["memory_limiter", "batch"], &[&exporter, "otlp/backup"])
    });
    CollectorDescription { pipelines: pipelines.collect(), connectors: Vec::new(), ..example() }
}

/// The extension with its `World`.
pub(super) struct Fixture {
    pub(super) world: TestWorld,
    pub(super) extension: Box<dyn Extension>,
    pub(super) view: CollectorView,
    address: &'static str,
}

impl Fixture {
    pub(super) fn new(yaml: &str, address: &'static str) -> Self {
        let mut context = TestContext::new();
        let statuses = Arc::new(StatusTable::new(&context.telemetry));
        let log = RecentLog::new(Arc::new(NoopLogSink), || 0);
        let view = CollectorView::new(example(), context.telemetry.clone(), context.budget.clone(), statuses, log);
        context.capabilities.add_of_service(Rc::new(view.clone()));
        let mut extension = extension(context.create(&ZPagesFactory, "zpages", yaml).unwrap());
        let mut world = TestWorld::new();
        extension.start(&mut world.cx()).unwrap();
        Self { world, extension, view, address }
    }

    pub(super) fn run(&mut self) {
        let extension = &mut self.extension;
        self.world.run(|cx, local, event| extension.handle_event(cx, local, event));
    }

    /// Opens a connection and sends a request.
    pub(super) fn open(&mut self, request: &str) -> PeerStream {
        let connecting = self.world.connect_to(self.address);
        self.run();
        let stream = connecting.accepted().unwrap();
        stream.send(request);
        self.run();
        stream
    }

    /// Sends a request for a path with this `Host`, and returns the whole response.
    pub(super) fn get_from(&mut self, path: &str, host: &str) -> String {
        let stream = self.open(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        String::from_utf8(stream.take_received()).unwrap()
    }

    pub(super) fn get(&mut self, path: &str) -> String {
        self.get_from(path, "localhost:55679")
    }
}

fn local() -> Fixture {
    Fixture::new("{}", "localhost:55679")
}

#[test]
fn paths_of_the_go_extension_are_served() {
    let mut fixture = local();
    for (path, parts) in [
        ("/debug/servicez", &["Service otelcol", "1.2.3", "StartTimestamp", "href=\"pipelinez\""][..]),
        (
            "/debug/pipelinez",
            &["<td>traces</td><td>true</td>", "<td>metrics</td><td>false</td>", "span_metrics (connector)"],
        ),
        ("/debug/extensionz", &["health_check", "zpages"]),
        ("/debug/featurez", &["service.AllowNoPipelines", "Alpha"]),
        ("/debug/tracez", &["makes no spans of its own"]),
    ] {
        let response = fixture.get(path);
        assert!(
            response.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"),
            "{path} {response}"
        );
        assert!(parts.iter().all(|part| response.contains(part)), "{path} {response}");
    }
    for path in ["/debug/expvarz", "/debug", "/debug/nothing", "/x"] {
        assert!(fixture.get(path).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[test]
fn names_of_components_are_escaped() {
    let mut fixture = local();
    let response = fixture.get("/debug/pipelinez");
    assert!(response.contains("traces/&lt;b&gt;") && response.contains("batch/&quot;&gt;&lt;script&gt;"), "{response}");
    assert!(!response.contains("<script>") && response.contains("debug/a&amp;b"), "{response}");
}

#[test]
fn expvar_is_served_where_it_is_enabled() {
    let mut fixture = Fixture::new("{expvar: {enabled: true}}", "localhost:55679");
    let response = fixture.get("/debug/expvarz");
    assert!(response.contains("application/json") && response.contains("\"cmdline\": [\"otelcol\"]"), "{response}");
}

#[test]
fn host_of_another_site_is_refused_at_a_loopback_address_only() {
    let mut fixture = local();
    for host in ["localhost:55679", "127.0.0.1:1", "[::1]", "app.localhost"] {
        assert!(fixture.get_from("/debug/servicez", host).starts_with("HTTP/1.1 200 "), "{host}");
    }
    for path in ["/", "/debug/servicez", "/nothing"] {
        let response = fixture.get_from(path, "evil.example:55679");
        assert!(
            response.starts_with("HTTP/1.1 403 ") && response.contains("names the host \"evil.example\""),
            "{response}"
        );
    }
    let mut open = Fixture::new("{endpoint: '0.0.0.0:55679'}", "0.0.0.0:55679");
    assert!(open.get_from("/debug/servicez", "collector.example").starts_with("HTTP/1.1 200 "));
}

#[test]
fn reload_changes_what_the_pages_show() {
    let mut fixture = local();
    let next = CollectorDescription { version: "4.5.6".to_owned(), ..example() };
    fixture.view.replace_description(next);
    assert!(fixture.get("/debug/servicez").contains("4.5.6"));
}

#[test]
fn blank_endpoint_is_an_error() {
    let context = TestContext::new();
    let error = context.create(&ZPagesFactory, "zpages", "{endpoint: ''}").unwrap_err();
    assert!(error.contains("\"endpoint\" is required when using the \"zpages\" extension"), "{error}");
}

/// Lines of events that a watcher has got.
fn events(stream: &PeerStream) -> usize {
    String::from_utf8(stream.take_received()).unwrap().matches("data: {").count()
}

impl Fixture {
    fn run_for(&mut self, time: Duration) {
        let extension = &mut self.extension;
        self.world.run_for(time, |cx, local, event| extension.handle_event(cx, local, event));
    }

    fn watch(&mut self) -> PeerStream {
        self.open("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    }
}

#[test]
fn live_page_and_data_interface_are_served() {
    let mut fixture = local();
    for (path, kind, part) in [
        ("/", "text/html; charset=utf-8", "id=\"graph-data\""),
        ("/api/v1/graph", "application/json; charset=utf-8", "\"edges\":[{\"from\":"),
        ("/api/v1/state", "application/json; charset=utf-8", "\"memory\":{"),
        ("/api/v1/log?from=3", "application/json; charset=utf-8", "{\"records\":[]}"),
        ("/api/v1/config", "application/yaml; charset=utf-8", "password: '[REDACTED]'"),
    ] {
        let response = fixture.get(path);
        assert!(response.starts_with(&format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n")), "{path} {response}");
        assert!(response.contains(part) && response.contains("Cache-Control: no-store"), "{path} {response}");
    }
    let page = fixture.get("/");
    let nonce = page.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(nonce.len() == 32 && page.contains(&format!("<script nonce=\"{nonce}\">")), "{nonce}");
}

#[test]
fn log_and_configuration_are_refused_where_other_machines_read_them() {
    let mut open = Fixture::new("{endpoint: '0.0.0.0:55679'}", "0.0.0.0:55679");
    for path in ["/api/v1/log", "/api/v1/config"] {
        assert!(open.get(path).starts_with("HTTP/1.1 403 "), "{path}");
    }
    assert!(open.get("/api/v1/state").starts_with("HTTP/1.1 200 "));
}

#[test]
fn watcher_gets_an_event_each_second_and_nothing_runs_without_one() {
    let mut fixture = local();
    assert!(fixture.world.timers().is_empty(), "there is no watcher");
    let stream = fixture.watch();
    let first = String::from_utf8(stream.take_received()).unwrap();
    assert!(first.contains("Content-Type: text/event-stream\r\n") && first.contains("retry: 1000\n\n"), "{first}");
    assert_eq!(first.matches("data: {").count(), 1, "{first}");
    fixture.run_for(Duration::from_secs(5));
    assert_eq!(events(&stream), 5);
    stream.fail(ErrorKind::ConnectionReset);
    fixture.run_for(Duration::from_secs(5));
    assert!(fixture.world.timers().iter().all(|(_, key)| *key != TICK_KEY), "{:?}", fixture.world.timers());
}

#[test]
fn stream_ends_before_the_limit_of_the_server_and_at_a_shutdown() {
    let mut fixture = local();
    let stream = fixture.watch();
    fixture.run_for(Duration::from_secs(25));
    let text = String::from_utf8(stream.take_received()).unwrap();
    assert!(text.ends_with("0\r\n\r\n") && !stream.is_closed(), "two thirds of 30 s; the browser begins the next one");
    let stream = fixture.watch();
    fixture.extension.set_ready(&mut fixture.world.cx(), false);
    fixture.run();
    assert!(String::from_utf8(stream.take_received()).unwrap().ends_with("0\r\n\r\n"));
    let late = fixture.watch();
    assert!(late.take_received().starts_with(b"HTTP/1.1 503 "));
}

#[test]
fn watchers_are_bounded_and_other_pages_are_served_beside_them() {
    let mut fixture = local();
    let watchers: Vec<PeerStream> = (0..MAX_WATCHERS).map(|_| fixture.watch()).collect();
    let refused = String::from_utf8(fixture.watch().take_received()).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("32 clients watch already"), "{refused}");
    assert!(fixture.get("/api/v1/state").starts_with("HTTP/1.1 200 "));
    watchers.iter().for_each(|stream| drop(stream.take_received()));
    fixture.run_for(Duration::from_secs(1));
    assert!(watchers.iter().all(|stream| events(stream) == 1));
}

#[test]
fn watcher_that_does_not_read_misses_events_and_costs_one() {
    let mut fixture = local();
    let (slow, fast) = (fixture.watch(), fixture.watch());
    slow.take_received();
    fast.take_received();
    slow.set_capacity(Some(0));
    fixture.run_for(Duration::from_secs(10));
    assert_eq!((events(&slow), events(&fast)), (0, 10));
    slow.set_capacity(None);
    fixture.run_for(Duration::from_secs(1));
    assert!(events(&slow) <= 3, "the ones between are not kept");
}

#[test]
fn samples_are_refused_where_other_machines_read_them_and_for_mistakes() {
    let mut open = Fixture::new("{endpoint: '0.0.0.0:55679'}", "0.0.0.0:55679");
    assert!(open.get("/api/v1/samples?edge=0").starts_with("HTTP/1.1 403 "));
    let mut fixture = local();
    for (query, text) in [
        ("", "write edge=NUMBER"),
        ("?edge=99", "there is no edge 99\n0  "),
        ("?edge=a-%3Eb", "there is no edge \"a->b\"\n0  "),
        ("?edge=0&limit=0", "limit \"0\": write a number from 1 to 10000"),
        ("?edge=0&format=xml", "format \"xml\": write text or json"),
        ("?edge=0&what=1", "unknown parameter \"what\""),
        ("?edge=0&where=span.name+%3D%3D", "the condition is not valid: "),
    ] {
        let response = fixture.get(&format!("/api/v1/samples{query}"));
        assert!(response.starts_with("HTTP/1.1 400 ") && response.contains(text), "{query} {response}");
    }
    assert!(fixture.get_from("/api/v1/samples?edge=0", "evil.example").starts_with("HTTP/1.1 403 "));
}

#[test]
fn looks_are_bounded_and_end_with_their_time() {
    let mut fixture = local();
    let request = "GET /api/v1/samples?edge=0 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let streams: Vec<PeerStream> = (0..otelcore_pipeline::MAX_TAPS).map(|_| fixture.open(request)).collect();
    for stream in &streams {
        let head = String::from_utf8(stream.take_received()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: text/plain"), "{head}");
    }
    assert!(fixture.get("/api/v1/samples?edge=0").starts_with("HTTP/1.1 503 "));
    fixture.run_for(Duration::from_secs(25));
    for stream in &streams {
        assert!(String::from_utf8(stream.take_received()).unwrap().ends_with("0\r\n\r\n"));
    }
    let stream = fixture.open(request);
    assert!(stream.take_received().starts_with(b"HTTP/1.1 200 "));
    fixture.extension.set_ready(&mut fixture.world.cx(), false);
    fixture.run();
    assert!(String::from_utf8(stream.take_received()).unwrap().ends_with("0\r\n\r\n"));
}

#[test]
fn edges_are_counted_while_a_client_watches() {
    let mut fixture = local();
    assert!(!fixture.get("/api/v1/state").contains("\"passed\""));
    let stream = fixture.watch();
    let event = String::from_utf8(stream.take_received()).unwrap();
    assert!(event.contains("\"passed\":[{\"items\":0,\"bytes\":0},"), "{event}");
    stream.fail(ErrorKind::ConnectionReset);
    fixture.run_for(Duration::from_secs(3));
    assert!(!fixture.get("/api/v1/state").contains("\"passed\""));
}
