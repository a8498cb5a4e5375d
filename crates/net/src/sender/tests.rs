//! An exporter over HTTP, with queue and retry, against a server with scripted responses in a simulated network.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_http::Bytes;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Budget, BuildContext, CallResult, Capabilities, Cx, EncodeLimits, EncodedMessage, EncodedPiece, Event,
    ExporterQueueConfig, Graph, GraphBuilder, Held, MetricsLevel, MonotonicTime, Outcome, Payload, Piece,
    PipelineInput, QueueConfig, Receiver, RetryConfig, SeriesValue, StartError, Telemetry,
};
use otelcore_reactor::Sim;

use super::{EncodedBody, HttpProtocol, HttpSender, SentItems};
use crate::http_client::tests::{ScriptedResponse, SharedRecord, log, ok_response, parse_config, test_server};
use crate::{BodyParts, HttpResponse, Url};

/// Sends the number of items as text. The peer's response is the number of items that it dropped.
#[derive(Clone)]
struct CountProtocol(Arc<Url>);

impl HttpProtocol for CountProtocol {
    fn url(&self, _: Signal) -> Option<Arc<Url>> {
        Some(self.0.clone())
    }

    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn encode(&self, signal: Signal, items: &Rope) -> EncodedBody {
        BodyParts::from_iter([Bytes::from(format!("{} {}", items.items(), signal.name()))]).into()
    }

    fn read_response(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> CallResult {
        let text = String::from_utf8_lossy(&response.body);
        CallResult::Delivered { rejected: text.parse().unwrap_or(0).min(sent.items) }
    }
}

/// Sends payloads with these numbers of spans.
struct TestSource(Vec<u32>);

/// A body of one resource with `count` spans.
fn body(count: u32) -> Rope {
    let mut bytes = vec![0x0a, 0, 0x12, 0];
    (0..count).for_each(|_| bytes.extend([0x12, 0]));
    (bytes[1], bytes[3]) = (u8::try_from(2 + 2 * count).unwrap(), u8::try_from(2 * count).unwrap());
    Rope::new(bytes.into(), count)
}

impl Receiver for TestSource {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.request_ready(0);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, _: Event<'_>, input: &mut PipelineInput<'_>) {
        for count in self.0.drain(..) {
            let payload = Payload { signal: Signal::Traces, body: body(count), metadata: None, held: Held::default() };
            input.send(cx, 0, payload);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// Sends each item by itself, two at a time, with a field and a number of units.
#[derive(Clone)]
struct SingleItemProtocol(CountProtocol);

impl HttpProtocol for SingleItemProtocol {
    fn url(&self, signal: Signal) -> Option<Arc<Url>> {
        self.0.url(signal)
    }

    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn encode(&self, signal: Signal, items: &Rope) -> EncodedBody {
        EncodedBody { headers: vec![("X-Item".into(), "one".into())], units: 7, ..self.0.encode(signal, items) }
    }

    fn encode_piece(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<EncodedBody> {
        let (bodies, rest) = piece.cut(signal, 1, limits.max_messages);
        let message = |body: Rope| {
            let content = self.encode(signal, &body);
            EncodedMessage { content, bytes: body.len(), body, left_out: None }
        };
        EncodedPiece { messages: bodies.into_iter().map(message).collect(), rest }
    }

    fn max_requests(&self) -> usize {
        2
    }

    fn read_error(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> Option<CallResult> {
        assert_eq!(sent.units, 7);
        (response.status == 409).then_some(CallResult::Delivered { rejected: sent.items })
    }
}

fn sender_graph(client: &str, counts: &[u32], telemetry: &Telemetry) -> Graph {
    graph_of(CountProtocol(Arc::new(Url::parse("http://h/count").unwrap())), client, counts, telemetry)
}

fn graph_of(protocol: impl HttpProtocol, client: &str, counts: &[u32], telemetry: &Telemetry) -> Graph {
    let budget = Arc::new(Budget::default());
    let id = "count".parse().unwrap();
    let context = BuildContext {
        id: &id,
        signals: &[Signal::Traces],
        telemetry,
        log: log(),
        budget: &budget,
        capabilities: &Capabilities::default(),
        output_pipelines: &[],
        forwards_outcomes: false,
    };
    let sender = HttpSender::new(protocol, Rc::new(parse_config(client)), &context).unwrap();
    let config = ExporterQueueConfig {
        queue: QueueConfig::default().into(),
        retry: RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() },
        timeout: Duration::from_secs(5),
    };
    let mut builder = GraphBuilder::new(budget.clone(), log());
    let exporter = builder.add_exporter(id.clone(), Box::new(sender), &config, &[Signal::Traces], telemetry, &log());
    let receiver = builder.add_receiver("source".parse().unwrap(), Box::new(TestSource(counts.to_vec())));
    builder.add_pipeline("traces".parse().unwrap(), Signal::Traces, &[receiver], Vec::new(), &[exporter]);
    builder.build()
}

/// Sends payloads with these numbers of spans for a minute.
fn send(client: &str, responses: Vec<ScriptedResponse>, counts: &[u32]) -> (SharedRecord, Telemetry) {
    let telemetry = Telemetry::new(MetricsLevel::Detailed);
    let record = run(sender_graph(client, counts, &telemetry), responses);
    (record, telemetry)
}

fn run(sender: Graph, responses: Vec<ScriptedResponse>) -> SharedRecord {
    let mut sim = Sim::new(3);
    let (graph, record) = test_server(80);
    record.borrow_mut().scripted = responses.into();
    sim.add_node("h", graph).unwrap();
    sim.add_node("sender", sender).unwrap();
    sim.run_for(Duration::from_mins(1));
    record
}

fn bodies(record: &SharedRecord) -> Vec<String> {
    let body_of = |(_, request): &(usize, String)| request.split("\r\n\r\n").nth(1).unwrap().to_owned();
    record.borrow().requests.iter().map(body_of).collect()
}

fn response(head: &str) -> ScriptedResponse {
    ScriptedResponse::Send(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"))
}

/// The sum of a counter of the exporter.
fn counter(telemetry: &Telemetry, name: &str) -> u64 {
    let families = telemetry.collect();
    let series = families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples);
    series.map(|series| if let SeriesValue::Number(value) = series.value { value as u64 } else { 0 }).sum()
}

#[test]
fn payload_is_posted_once_when_the_peer_accepts_it() {
    let (record, telemetry) = send("headers: {x-key: k}", vec![ok_response("1")], &[3]);
    assert_eq!(bodies(&record), ["3 traces"]);
    let request = record.borrow().requests[0].1.clone();
    for part in ["POST /count HTTP/1.1\r\n", "Content-Type: text/plain\r\n", "X-Key: k\r\n"] {
        assert!(request.contains(part), "{request}");
    }
    assert_eq!((counter(&telemetry, "otelcol_exporter_sent_spans"), counter(&telemetry, FAILED)), (2, 1));
}

const FAILED: &str = "otelcol_exporter_send_failed_spans";

#[test]
fn retryable_response_is_retried_after_the_time_that_the_peer_names() {
    let (record, telemetry) = send("", vec![response("503 Busy\r\nRetry-After: 20")], &[3]);
    assert_eq!(bodies(&record), ["3 traces", "3 traces"]);
    assert_eq!(counter(&telemetry, "otelcol_exporter_sent_spans"), 3);
    let (record, _) = send("", vec![response("503 Busy\r\nRetry-After: 70")], &[3]);
    assert_eq!(bodies(&record).len(), 1);
}

#[test]
fn response_for_size_splits_the_payload_and_other_errors_are_final() {
    let (record, telemetry) = send("", vec![response("413 Content Too Large")], &[8]);
    assert_eq!(bodies(&record), ["8 traces", "4 traces", "4 traces"]);
    assert_eq!(counter(&telemetry, "otelcol_exporter_sent_spans"), 8);
    let (record, telemetry) = send("", vec![response("400 Bad Request")], &[8]);
    assert_eq!(bodies(&record), ["8 traces"]);
    assert_eq!((counter(&telemetry, "otelcol_exporter_sent_spans"), counter(&telemetry, FAILED)), (0, 8));
}

#[test]
fn html_page_is_not_a_success() {
    let page = ScriptedResponse::Send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_owned());
    let (record, _) = send("", vec![page], &[1]);
    assert_eq!(bodies(&record).len(), 2);
}

#[test]
fn requests_of_one_payload_are_limited_and_have_the_fields_of_the_protocol() {
    let telemetry = Telemetry::new(MetricsLevel::Detailed);
    let protocol = SingleItemProtocol(CountProtocol(Arc::new(Url::parse("http://h/count").unwrap())));
    let record = run(graph_of(protocol, "", &[9], &telemetry), vec![ok_response(""), response("409 Conflict")]);
    let requests = record.borrow().requests.clone();
    assert_eq!(requests.len(), 9);
    assert!(requests.iter().all(|(_, request)| request.contains("X-Item: one\r\n")), "{requests:?}");
    let connections: std::collections::BTreeSet<_> = requests.iter().map(|(connection, _)| connection).collect();
    assert_eq!(connections.len(), 2);
    assert_eq!((counter(&telemetry, "otelcol_exporter_sent_spans"), counter(&telemetry, FAILED)), (8, 1));
}
