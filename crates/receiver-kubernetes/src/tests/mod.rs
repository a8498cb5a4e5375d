//! The receivers in a world of their own, against a server that the test plays.

#[cfg(feature = "k8s_cluster")]
mod cluster;
#[cfg(all(feature = "k8s_cluster", feature = "k8s_events", feature = "k8s_objects"))]
mod differential;
#[cfg(feature = "k8s_events")]
mod events;
#[cfg(feature = "k8s_objects")]
mod objects;
#[cfg(feature = "k8s_objects")]
mod runs;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use otelcore_kubernetes_client::Leadership;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, Factory, Graph, MonotonicTime, OfferedCapabilities, WallTime};
use otelcore_testkit::{PeerStream, RecordedPayloads, TestContext, TestWorld, parse_config, receiver_graph};
use prost::Message;
use serde_json::{Value, json};

const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: \
    [{name: k, cluster: {server: 'http://10.0.0.1:8001'}}], users: [{name: u, user: {token: secret}}]}";

/// The start of the clock.
const START: u64 = 1_709_208_000_000_000_000;

/// What the server answers: bodies by the begin of the target.
type Answers = Rc<RefCell<BTreeMap<String, (u16, String)>>>;

/// A connection, and whether a watch is its response.
struct Connection {
    peer: PeerStream,
    watch: Option<String>,
    received: Vec<u8>,
}

struct Test {
    world: TestWorld,
    graph: Graph,
    context: TestContext,
    payloads: RecordedPayloads,
    answers: Answers,
    connections: Vec<Connection>,
    /// The targets of all requests.
    targets: Vec<String>,
}

fn context_of(signal: Signal) -> TestContext {
    let mut context = TestContext::new();
    context.signals = vec![signal];
    context
}

#[cfg(feature = "k8s_objects")]
fn context() -> TestContext {
    context_of(Signal::Logs)
}

impl Test {
    fn new(factory: &dyn Factory, yaml: &str) -> Self {
        Self::with_context(factory, yaml, context_of(factory.info().signals[0]), TestWorld::new())
    }

    fn with_context(factory: &dyn Factory, yaml: &str, context: TestContext, mut world: TestWorld) -> Self {
        world.set_env("KUBECONFIG", "/config");
        world.disk().write("/config", KUBECONFIG);
        world.set_wall_time(WallTime(START));
        let yaml = yaml.replacen('{', "{auth_type: kubeConfig, ", 1);
        let Component::Receiver(receiver) = context.create(factory, factory.info().type_name, &yaml).unwrap() else {
            unreachable!()
        };
        let (mut graph, payloads) = receiver_graph(receiver, &context);
        graph.start(&mut world).unwrap();
        let answers = Answers::default();
        let (connections, targets) = (Vec::new(), Vec::new());
        let test = Self { world, graph, context, payloads, answers, connections, targets };
        test.answer("/api?", 200, &json!({"kind": "APIVersions", "versions": ["v1"]}).to_string());
        test.answer("/apis?", 200, r#"{"groups":[{"name":"events.k8s.io","versions":[{"version":"v1"}]}]}"#);
        test.answer(
            "/api/v1?",
            200,
            r#"{"resources":[{"name":"pods","kind":"Pod"},{"name":"events","kind":"Event"},{"name":"nodes","kind":"Node"}]}"#,
        );
        test.answer("/apis/events.k8s.io/v1?", 200, r#"{"resources":[{"name":"events","kind":"Event"}]}"#);
        test
    }

    /// Sets the response to requests whose target begins so.
    fn answer(&self, target: &str, status: u16, body: &str) {
        self.answers.borrow_mut().insert(target.to_owned(), (status, body.to_owned()));
    }

    fn list(&self, path: &str, version: u32, items: &[Value]) {
        let list = json!({"kind": "List", "metadata": {"resourceVersion": version.to_string()}, "items": items});
        self.answer(&format!("{path}?limit"), 200, &list.to_string());
    }

    fn run(&mut self) {
        self.run_for(Duration::ZERO);
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.world.cx().now() + time;
        loop {
            self.world.run_graph(&mut self.graph);
            if self.serve() {
                continue;
            }
            let next = self.world.next_timer().unwrap_or(MonotonicTime::NEVER);
            let now = self.world.cx().now();
            if next > end {
                self.world.advance(end.since(now));
                self.world.run_graph(&mut self.graph);
                break;
            }
            self.world.advance(next.since(now));
        }
    }

    /// Answers the requests that have arrived. False if there are none.
    fn serve(&mut self) -> bool {
        let new = self.world.take_connections().into_iter();
        self.connections.extend(new.map(|(_, peer)| Connection { peer, watch: None, received: Vec::new() }));
        self.connections.retain(|connection| !connection.peer.is_closed());
        let mut has_answered = false;
        for connection in &mut self.connections {
            connection.received.extend(connection.peer.take_received());
            while let Some(end) = connection.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = connection.received.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                let mut target = head.split(' ').nth(1).unwrap().to_owned();
                if !target.contains('?') {
                    target.push('?');
                }
                self.targets.push(target.clone());
                has_answered = true;
                if target.contains("watch=true") && !self.answers.borrow().contains_key("watch") {
                    connection.watch = Some(target);
                    connection.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    continue;
                }
                let answers = self.answers.borrow();
                let found = answers.iter().rfind(|(begin, _)| target.starts_with(begin.as_str()));
                let key = if target.contains("watch=true") { answers.get("watch") } else { found.map(|(_, a)| a) };
                let (status, body) = key.cloned().unwrap_or_else(|| (404, "{}".to_owned()));
                let response = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                connection.peer.send(response);
            }
        }
        has_answered
    }

    /// The targets of the requests since the last call.
    fn take_targets(&mut self) -> Vec<String> {
        std::mem::take(&mut self.targets)
    }

    /// Sends an event to the watch of this path.
    fn event(&mut self, path: &str, kind: &str, object: &Value) {
        let event = format!("{}\n", json!({"type": kind, "object": object}));
        let watches = |connection: &&Connection| {
            connection.watch.as_ref().is_some_and(|target| target.starts_with(&format!("{path}?")))
        };
        let connection = self.connections.iter().rfind(watches).unwrap();
        connection.peer.send(format!("{:x}\r\n{event}\r\n", event.len()));
        self.run();
    }

    /// The records since the last call.
    fn records(&self) -> Vec<Record> {
        self.payloads.take().iter().flat_map(|payload| decode_records(&payload.body.to_bytes())).collect()
    }

    fn log_lines(&self) -> String {
        self.context.log.take_lines().join("\n")
    }
}

fn decode_records(body: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    for entry in ExportLogsServiceRequest::decode(body).unwrap().resource_logs {
        let resource = plain_map(&entry.resource.unwrap_or_default().attributes);
        for scope in entry.scope_logs {
            for record in scope.log_records {
                records.push(Record {
                    resource: resource.clone(),
                    scope: scope.scope.clone().unwrap_or_default().name,
                    body: record.body.as_ref().map_or(Value::Null, plain),
                    attributes: plain_map(&record.attributes),
                    time: record.time_unix_nano,
                    observed: record.observed_time_unix_nano,
                    severity: (record.severity_number, record.severity_text),
                });
            }
        }
    }
    records
}

/// A record as it came out.
#[derive(Clone, PartialEq, Debug)]
struct Record {
    resource: Value,
    scope: String,
    body: Value,
    attributes: Value,
    time: u64,
    observed: u64,
    severity: (i32, String),
}

fn plain(value: &AnyValue) -> Value {
    match &value.value {
        None => Value::Null,
        Some(ProtoValue::StringValue(text)) => json!(text),
        Some(ProtoValue::BoolValue(v)) => json!(v),
        Some(ProtoValue::IntValue(v)) => json!(v),
        Some(ProtoValue::DoubleValue(v)) => json!(v),
        Some(ProtoValue::ArrayValue(list)) => list.values.iter().map(plain).collect(),
        Some(ProtoValue::KvlistValue(map)) => plain_map(&map.values),
        Some(other) => json!(format!("{other:?}")),
    }
}

fn plain_map(attributes: &[KeyValue]) -> Value {
    let entry = |attribute: &KeyValue| (attribute.key.clone(), attribute.value.as_ref().map_or(Value::Null, plain));
    Value::Object(attributes.iter().map(entry).collect())
}

fn object(name: &str, namespace: &str, version: u32) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "resourceVersion": version.to_string()}})
}

/// A context with a leader elector of the id `elector`.
fn with_elector(mut context: TestContext) -> (TestContext, Rc<Leadership>) {
    let leadership = Rc::new(Leadership::default());
    let mut offered = OfferedCapabilities::default();
    offered.add::<Leadership>(leadership.clone());
    context.capabilities.add(&"elector".parse().unwrap(), offered);
    (context, leadership)
}

fn messages(factory: &dyn Factory, yaml: &str) -> String {
    parse_config(factory, factory.info().type_name, yaml).messages.join("\n")
}

fn names(records: &[Record]) -> Vec<String> {
    let name = |record: &Record| {
        let object = record.body.get("object").unwrap_or(&record.body);
        object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    };
    records.iter().map(name).collect()
}
