//! A protocol whose bodies have one letter an item: `s` for spans, `l` for log records.

use std::io::ErrorKind;
use std::time::Duration;

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_http::h1::{RequestHead, Response};
use otelcore_http::{Bytes, Status};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{BuildContext, Event, Graph, Held, MetricsLevel, Outcome};
use otelcore_testkit::{PeerStream, RecordedPayloads, TestContext, TestWorld, receiver_graph};

use super::{DecodedBody, HttpRoute, Ingest, IngestProtocol, status_response};
use crate::config::HttpServerConfig;

struct LetterProtocol;

impl IngestProtocol for LetterProtocol {
    type Format = ();

    fn read_format(&self, _: &RequestHead) {}

    fn max_inline_decoded(&self, (): &()) -> usize {
        8
    }

    fn decode(&self, _: u32, (): &(), body: Bytes, _: &mut Held) -> Result<DecodedBody, Status> {
        if let Some(other) = body.iter().find(|b| !b"sl".contains(b)) {
            return Err(Status::invalid_argument(format!("unknown letter {:?}", char::from(*other))));
        }
        let count = |letter: u8| body.iter().filter(|b| **b == letter).count() as u32;
        let mut decoded = DecodedBody::default();
        for (signal, items) in [(Signal::Traces, count(b's')), (Signal::Logs, count(b'l'))] {
            if items > 0 {
                // An item is an empty resource.
                decoded = decoded.with(signal, Rope::new([0x0a, 0].repeat(items as usize).into(), items));
            }
        }
        Ok(decoded)
    }

    fn respond(&self, route: Option<u32>, (): &(), result: Result<(), &Status>) -> Response {
        match result {
            Ok(()) => Response::text(202, format!("route {}", route.unwrap_or(u32::MAX))),
            Err(status) => status_response(status, "text/plain", status.message.clone().into_owned()),
        }
    }
}

struct Fixture {
    world: TestWorld,
    graph: Graph,
    recorded: RecordedPayloads,
    context: TestContext,
}

impl Fixture {
    fn new(yaml: &str) -> Self {
        let diagnostics = Diagnostics::new();
        let node = from_yaml(yaml, &diagnostics).unwrap();
        let section = Section::new(Some(&node), "receivers::letters", &diagnostics);
        let config = HttpServerConfig::read_section(section, &HttpServerConfig::for_page_server("localhost:8080"));
        let context = TestContext::new();
        let id = "letters".parse().unwrap();
        let build = BuildContext {
            id: &id,
            signals: &context.signals,
            telemetry: &context.telemetry,
            log: context.log.logger(),
            budget: &context.budget,
            capabilities: &context.capabilities,
            output_pipelines: &[],
            forwards_outcomes: false,
        };
        let route = |method, path: &str, route| HttpRoute {
            method,
            path: path.to_owned(),
            route,
            signals: vec![Signal::Traces, Signal::Logs],
        };
        let routes = vec![route("POST", "/in", 3), route("PUT", "/in", 4), route("POST", "/other", 5)];
        let ingest = Ingest::new(LetterProtocol, &build).with_http(&config, routes, &build).unwrap();
        let (mut graph, recorded) = receiver_graph(Box::new(ingest), &context);
        let mut world = TestWorld::new();
        graph.start(&mut world).unwrap();
        Self { world, graph, recorded, context }
    }

    /// Sends a request on a connection of its own; returns status and body of the response.
    fn request(&mut self, line: &str, body: &str) -> (u16, String) {
        let connecting = self.world.connect_to("localhost:8080");
        self.world.run_graph(&mut self.graph);
        let stream = connecting.accepted().unwrap();
        stream.send(format!("{line} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        self.world.run_graph(&mut self.graph);
        let response = String::from_utf8(stream.take_received()).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn received(&self) -> Vec<(Signal, u32)> {
        self.recorded.take().iter().map(|payload| (payload.signal, payload.items())).collect()
    }
}

#[test]
fn body_with_two_signals_becomes_two_payloads_and_one_response() {
    let mut fixture = Fixture::new("{}");
    assert_eq!(fixture.request("POST /in", "slls"), (202, "route 3".to_owned()));
    let mut received = fixture.received();
    received.sort_unstable();
    assert_eq!(received, [(Signal::Traces, 2), (Signal::Logs, 2)]);
    assert_eq!(fixture.request("PUT /in", "l"), (202, "route 4".to_owned()));
    assert_eq!(fixture.request("POST /other", ""), (202, "route 5".to_owned()), "no items");
    assert_eq!(fixture.received(), [(Signal::Logs, 1)]);
    assert_eq!(fixture.context.budget.held(), 0);
}

#[test]
fn long_body_is_decoded_by_a_job_with_the_same_result() {
    let mut fixture = Fixture::new("{}");
    assert_eq!(fixture.request("POST /in", "lllllllll"), (202, "route 3".to_owned()));
    assert_eq!(fixture.received(), [(Signal::Logs, 9)]);
    assert_eq!(fixture.request("POST /in", "llllllllx"), (400, "unknown letter 'x'".to_owned()));
    assert_eq!(fixture.context.budget.held(), 0);
}

#[test]
fn outcome_that_may_be_retried_counts_more_than_one_that_is_final() {
    for (first, second, status) in [
        (Outcome::Delivered, Outcome::permanent("no"), 500),
        (Outcome::permanent("no"), Outcome::Delivered, 500),
        (Outcome::retry("later"), Outcome::permanent("no"), 503),
        (Outcome::permanent("no"), Outcome::retry("later"), 503),
        (Outcome::Delivered, Outcome::Delivered, 202),
    ] {
        let mut fixture = Fixture::new("{}");
        fixture.recorded.push_outcome(first.clone());
        fixture.recorded.push_outcome(second.clone());
        assert_eq!(fixture.request("POST /in", "sl").0, status, "{first:?} {second:?}");
    }
}

#[test]
fn request_that_is_not_served_is_refused_by_its_head() {
    let mut fixture = Fixture::new("{response_headers: {x-by: us}, max_request_body_size: 10}");
    assert_eq!(fixture.request("POST /nothing", "l").0, 404);
    assert_eq!(fixture.request("GET /in", ""), (405, "405 method not allowed, supported: [POST PUT]".to_owned()));
    assert_eq!(fixture.request("POST /in", "lllllllllll"), (400, "http: request body too large".to_owned()));
    assert_eq!(fixture.received(), []);
}

#[test]
fn payload_has_the_address_of_its_client_with_and_without_headers() {
    for (yaml, has_headers) in [("{}", false), ("{include_metadata: true}", true)] {
        let mut fixture = Fixture::new(yaml);
        fixture.request("POST /in", "l");
        let payload = fixture.recorded.take().pop().unwrap();
        let metadata = payload.metadata.unwrap();
        assert_eq!(metadata.client_address(), "192.0.2.1".parse().ok());
        assert_eq!(metadata.get("host") == ["h"], has_headers, "{yaml}");
    }
}

/// Sends a request of one item on a connection; returns whether the connection ends with its response.
fn request_on(fixture: &mut Fixture, stream: &PeerStream) -> bool {
    stream.send("POST /in HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nl");
    fixture.world.run_graph(&mut fixture.graph);
    let response = String::from_utf8(stream.take_received()).unwrap();
    assert!(response.starts_with("HTTP/1.1 202"), "{response}");
    response.contains("Connection: close")
}

/// Eight connections, of which the first two make most of the requests, for this number of seconds. Returns those that
/// have ended; their clients do not come back.
fn run_skewed_load(fixture: &mut Fixture, seconds: u64) -> Vec<usize> {
    let mut streams = Vec::new();
    for number in 0..8 {
        let connecting = fixture.world.connect_to("localhost:8080");
        fixture.world.run_graph(&mut fixture.graph);
        streams.push((number, connecting.accepted().unwrap()));
    }
    let mut ended = Vec::new();
    for _ in 0..seconds {
        streams.retain(|(number, stream)| {
            let requests = [12, 10, 1, 1, 1, 1, 1, 1][*number];
            let is_ended = (0..requests).any(|_| request_on(fixture, stream));
            ended.extend(Some(*number).filter(|_| is_ended));
            !is_ended
        });
        fixture.world.advance(Duration::from_secs(1));
    }
    ended
}

#[test]
fn connection_with_much_load_ends_with_its_next_response_and_is_counted() {
    let mut fixture = Fixture::new("{load_skew: {interval: 10s}}");
    let ended = run_skewed_load(&mut fixture, 45);
    assert_eq!(ended, [0], "without it the other one has most of the load, and stays");
    let name = "otelcore_load_skew_ended_connections";
    let counter = fixture.context.telemetry.counter(MetricsLevel::Basic, name, "", Vec::new());
    assert_eq!(counter.get(), 1);
    let lines = fixture.context.log.take_lines();
    assert_eq!(lines.iter().filter(|line| line.contains("load_skew")).count(), 1, "{lines:?}");
}

#[test]
fn connections_stay_without_load_skew() {
    let mut fixture = Fixture::new("{}");
    assert_eq!(run_skewed_load(&mut fixture, 25), []);
    let families = fixture.context.telemetry.collect();
    assert!(families.iter().all(|family| !family.name.contains("load_skew")));
}

#[test]
fn charge_of_a_head_that_is_not_complete_ends_with_a_connection_that_a_response_ends() {
    let mut fixture = Fixture::new("{}");
    let connecting = fixture.world.connect_to("localhost:8080");
    fixture.world.run_graph(&mut fixture.graph);
    let stream = connecting.accepted().unwrap();
    // A body that is decoded by a job, and the beginning of the next request.
    stream.send("POST /in HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nlllllllll");
    stream.send(format!("POST /in HTTP/1.1\r\nHost: h\r\nX-Long: {}", "x".repeat(9000)));
    let deliver = |fixture: &mut Fixture| {
        for local in fixture.world.take_ready() {
            // One of these is the receiver.
            (1..8).for_each(|owner| fixture.graph.handle_event(&mut fixture.world, owner, local, Event::Ready));
        }
    };
    deliver(&mut fixture);
    assert_eq!(fixture.world.job_count(), 1);
    assert!(fixture.context.budget.held() > 9000);
    // The response can't be written; that is known before the connection has an event.
    stream.fail(ErrorKind::BrokenPipe);
    fixture.world.take_ready();
    fixture.world.run_job();
    deliver(&mut fixture);
    assert!(stream.is_closed());
    drop(fixture.recorded.take());
    assert_eq!(fixture.context.budget.held(), 0);
}
