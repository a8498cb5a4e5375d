//! The receiver over UDP and HTTP, in the world of a test.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, Graph, MonotonicTime, Outcome, SeriesSample, SeriesValue};
use otelcore_receivers::JaegerReceiverFactory;
use otelcore_testkit::{RecordedPayloads, TestContext, TestWorld, receiver_graph};
use prost::Message;

use crate::batch::{Batch, Process, Span, Value, message_head};

const COMPACT: &str = "localhost:6831";
const BINARY: &str = "localhost:6832";

struct Fixture {
    world: TestWorld,
    graph: Graph,
    recorded: RecordedPayloads,
    context: TestContext,
}

impl Fixture {
    fn new(protocols: &str) -> Self {
        let mut context = TestContext::new();
        context.signals = vec![Signal::Traces];
        let yaml = format!("protocols: {{{protocols}}}");
        let Component::Receiver(receiver) = context.create(&JaegerReceiverFactory, "jaeger", &yaml).unwrap() else {
            panic!("no receiver");
        };
        let (mut graph, recorded) = receiver_graph(receiver, &context);
        let mut world = TestWorld::new();
        graph.start(&mut world).unwrap();
        Self { world, graph, recorded, context }
    }

    fn send(&mut self, address: &str, datagram: Vec<u8>) {
        self.world.send_datagram(address, datagram, "192.0.2.1:5000".parse().unwrap());
    }

    fn run(&mut self) {
        self.world.run_graph(&mut self.graph);
    }

    /// The names of the spans that have arrived.
    fn names(&self) -> Vec<String> {
        let payloads = self.recorded.take();
        let requests = payloads.iter().map(|p| ExportTraceServiceRequest::decode(&*p.body.to_bytes()).unwrap());
        let spans = requests.flat_map(|r| r.resource_spans).flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        spans.map(|span| span.name).collect()
    }

    fn dropped(&self, transport: &str, reason: &str) -> f64 {
        let labels = [("transport", transport), ("reason", reason)];
        self.metric("otelcol_receiver_jaeger_dropped_datagrams", &labels)
    }

    fn metric(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let families = self.context.telemetry.collect();
        let family = families.iter().find(|family| family.name == name).unwrap();
        let is_wanted = |labels: &[(&'static str, String)]| {
            wanted.iter().all(|(key, value)| labels.iter().any(|(k, v)| k == key && v == value))
        };
        let value = |sample: &SeriesSample| match sample.value {
            SeriesValue::Number(value) => value,
            SeriesValue::Histogram { .. } => panic!("{name} is a histogram"),
        };
        family.samples.iter().filter(|sample| is_wanted(&sample.labels)).map(value).sum()
    }

    /// Posts a body; returns status and body of the response.
    fn post(&mut self, media_type: &str, body: &[u8]) -> (u16, String) {
        let connecting = self.world.connect_to("localhost:14268");
        self.run();
        let stream = connecting.accepted().unwrap();
        let head = format!(
            "POST /api/traces HTTP/1.1\r\nHost: h\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.send([head.as_bytes(), body].concat());
        self.run();
        let response = String::from_utf8(stream.take_received()).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn batch(names: &[&'static str]) -> Batch {
    let span = |name: &&'static str| Span { trace_id: [1, 2], id: 3, name, start: Some(5), ..Span::default() };
    let tags = vec![("hostname", Value::Text("h"))];
    let process = Some(Process { service: "shop", tags });
    Batch { process, spans: names.iter().map(span).collect(), has_process_last: false }
}

#[test]
fn datagrams_of_both_protocols_become_spans() {
    let mut fixture = Fixture::new("thrift_compact: , thrift_binary: ");
    fixture.send(COMPACT, batch(&["a", "b"]).to_message(true));
    fixture.send(BINARY, batch(&["c"]).to_message(false));
    fixture.run();
    let mut names = fixture.names();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    let accepted = |transport| fixture.metric("otelcol_receiver_accepted_spans", &[("transport", transport)]);
    assert_eq!([accepted("udp_thrift_compact"), accepted("udp_thrift_binary")], [2.0, 1.0]);
    assert_eq!(fixture.context.budget.held(), 0);
}

#[test]
fn datagram_that_is_not_accepted_is_counted_and_each_reason_is_logged_once_an_interval() {
    let mut fixture = Fixture::new("thrift_compact: {max_packet_size: 400}");
    for _ in 0..3 {
        fixture.send(COMPACT, b"GET / HTTP/1.1".to_vec());
        fixture.send(COMPACT, batch(&["binary"]).to_message(false));
        fixture.send(COMPACT, message_head(true, "emitZipkinBatch"));
        fixture.send(COMPACT, vec![0; 401]);
        fixture.send(COMPACT, batch(&["good"]).to_message(true));
    }
    fixture.run();
    assert_eq!(fixture.names(), ["good"; 3]);
    let dropped = |reason| fixture.dropped("udp_thrift_compact", reason);
    assert_eq!([dropped("invalid"), dropped("zipkin"), dropped("too_long"), dropped("refused")], [6.0, 3.0, 3.0, 0.0]);
    let lines = fixture.context.log.take_lines();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("datagrams for the Jaeger agent were dropped"), 3, "{lines:?}");
    assert_eq!(count("emitZipkinBatch is not supported"), 1, "{lines:?}");
}

#[test]
fn refused_payload_is_counted_with_its_spans() {
    let mut fixture = Fixture::new("thrift_compact: ");
    fixture.recorded.push_outcome(Outcome::retry("sending queue is full"));
    fixture.send(COMPACT, batch(&["a", "b"]).to_message(true));
    fixture.run();
    assert_eq!(fixture.metric("otelcol_receiver_refused_spans", &[("transport", "udp_thrift_compact")]), 2.0);
    assert_eq!(fixture.dropped("udp_thrift_compact", "refused"), 1.0);
    let held = fixture.context.budget.held();
    assert!((1..1000).contains(&held), "the payload is charged as long as something has it: {held}");
    drop(fixture.recorded.take());
    assert_eq!(fixture.context.budget.held(), 0);
}

#[test]
fn more_datagrams_than_one_turn_may_read_are_read_in_later_turns() {
    let mut fixture = Fixture::new("thrift_compact: ");
    for _ in 0..1000 {
        fixture.send(COMPACT, batch(&["a"]).to_message(true));
    }
    fixture.run();
    let dropped: f64 = fixture.dropped("udp_thrift_compact", "queue_full");
    assert_eq!(fixture.names().len() as f64 + dropped, 1000.0);
    assert!(dropped < 1.0, "{dropped}");
}

#[test]
fn closed_receiver_reads_nothing_more() {
    let mut fixture = Fixture::new("thrift_compact: , grpc: , thrift_http: ");
    fixture.graph.close(&mut fixture.world, MonotonicTime::NEVER);
    fixture.run();
    assert!(fixture.world.listening().is_empty(), "{:?}", fixture.world.listening());
    assert!(fixture.graph.is_closed());
}

#[test]
fn thrift_over_http_is_accepted_by_its_media_type() {
    let mut fixture = Fixture::new("thrift_http: ");
    let body = batch(&["a"]).to_thrift(false);
    for media_type in ["application/x-thrift", "application/vnd.apache.thrift.binary; charset=x"] {
        assert_eq!(fixture.post(media_type, &body), (202, String::new()));
        assert_eq!(fixture.names(), ["a"]);
    }
    assert_eq!(fixture.metric("otelcol_receiver_accepted_spans", &[("transport", "collector_http")]), 2.0);
    assert_eq!(fixture.post("application/json", &body), (400, "Unsupported content type: application/json\n".into()));
    assert_eq!(fixture.post("", &body), (400, "Cannot parse content type: mime: no media type\n".into()));
    let (status, text) = fixture.post("application/x-thrift", &body[..body.len() / 2]);
    assert_eq!((status, text.starts_with("Unable to process request body: ")), (400, true), "{text}");
    fixture.recorded.push_outcome(Outcome::retry("sending queue is full"));
    assert_eq!(fixture.post("application/x-thrift", &body), (503, "sending queue is full\n".into()));
}
