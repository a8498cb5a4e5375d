//! One request never costs more than n log n steps, and never blocks the loop for long.
//!
//! A collector in the simulated world gets generated worst-case requests, one component or page after another, while
//! its steps are counted (see `counter`). Growth is judged by three sizes, the longest turn at the largest size that is
//! permitted. `scripts/steps` runs this with the count; in other builds each request is sent at a small size and must
//! be taken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod counter;
mod kafka;
#[path = "../sim/kafka_admin.rs"]
mod kafka_admin;
#[path = "../sim/kafka_broker.rs"]
mod kafka_broker;
#[path = "../sim/kafka_cluster.rs"]
#[allow(dead_code, reason = "shared with the tests of the simulated world")]
mod kafka_cluster;
#[path = "../sim/kafka_coordinator.rs"]
#[allow(dead_code, reason = "shared with the tests of the simulated world")]
mod kafka_coordinator;
mod peers;
#[path = "../../../../benches/harness/src/worst.rs"]
mod worst;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore::config::{Diagnostics, FeatureGates, from_yaml};
use otelcore::pdata::Signal;
use otelcore::pipeline::{Graph, NoopLogSink};
use otelcore::reactor::{ComputedUnits, Sim};
use otelcore::{BuildInfo, Collector, Plan, Registry};
use otelcore_http::{Bytes, Coding, Workspace};

use peers::{GRPC_BACKEND, HTTP_BACKEND, HttpRequest, SharedResult};
use worst::{Random, Shape, shapes};

const COUNTING: bool = cfg!(count_steps);

/// Steps that take about 20 ms on a slow core: a release build takes 0.25 to 0.4 ns for one of these steps, which are
/// counted in a build of less optimisation, on the machine of the benches.
const LONGEST_TURN: u64 = 30_000_000;

/// The number of steps of one request at which a run is ended, so that a failing test ends too.
const STEPS_LIMIT: u64 = 20_000_000_000;

/// How steps may grow when the size doubles, twice in a row: n log n grows by 2.2 at most, n to the power of 1.5 by
/// 2.8.
const MAX_GROWTH: f64 = 2.4;

/// How requests are sent.
#[derive(Clone, Copy)]
enum RequestEncoding {
    Grpc(&'static str),
    Http(&'static str),
    Json,
}

/// A configuration with one pipeline, and the pages that are read afterwards.
#[derive(Clone, Copy)]
struct Scenario {
    encoding: RequestEncoding,
    extensions: &'static str,
    processors: &'static str,
    /// A connector between the pipeline and two others of the same signal, `out` and `other`, which are `SIGNAL/out` in
    /// its configuration; with `to_metrics`, one of metrics.
    connector: &'static str,
    to_metrics: bool,
    exporter: &'static str,
    /// Pages that are read after the request, at these ports.
    pages: &'static [u16],
}

const NOP: Scenario = Scenario {
    encoding: RequestEncoding::Grpc("none"),
    extensions: "",
    processors: "",
    connector: "",
    to_metrics: false,
    exporter: "nop: {}",
    pages: &[],
};

const OTLP_GRPC: Scenario =
    Scenario { exporter: "otlp_grpc: {endpoint: \"grpc:14250\", tls: {insecure: true}, compression: none}", ..NOP };
const OTLP_HTTP: Scenario =
    Scenario { exporter: "otlp_http: {endpoint: \"http://http:14318\", compression: none}", ..NOP };
const JAEGER: Scenario = Scenario { exporter: "jaeger: {endpoint: \"grpc:14250\", tls: {insecure: true}}", ..NOP };
const PROMETHEUS: Scenario = Scenario { exporter: "prometheus: {endpoint: \"0.0.0.0:9464\"}", pages: &[9464], ..NOP };

/// An API server of Kubernetes that has no pods: the backend, whose answers are no lists.
const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: [{name: k, \
    cluster: {server: 'http://http:14318'}}], users: [{name: u, user: {}}]}";

/// The result of a run.
struct RunResult {
    work: ComputedUnits,
    result: Result<usize, String>,
}

impl Scenario {
    fn yaml(&self, signal: Signal) -> String {
        let signal = match signal {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        };
        let names = |section: &str| {
            let names = section.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
            names.collect::<Vec<_>>().join(", ")
        };
        let section = |name: &str, body: &str| match body {
            "" => String::new(),
            body => body.lines().fold(format!("{name}:\n"), |all, line| format!("{all}  {}\n", line.trim())),
        };
        let exporters = names(self.exporter);
        let (last, pipelines) = if self.connector.is_empty() {
            (exporters.clone(), String::new())
        } else {
            let connector = names(self.connector);
            let outputs: &[&str] = if self.to_metrics { &["metrics/out"] } else { &["SIGNAL/out", "SIGNAL/other"] };
            let output = |id: &&str| format!("    {id}: {{receivers: [{connector}], exporters: [{exporters}]}}\n");
            let pipelines = outputs.iter().map(output).collect::<String>().replace("SIGNAL", signal);
            (connector, pipelines)
        };
        let auth = if self.extensions.is_empty() { "" } else { ", auth: {authenticator: basicauth}" };
        format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: \"0.0.0.0:4317\"{auth}}}\n      http: {{endpoint: \
             \"0.0.0.0:4318\"{auth}}}\n{}{}{}{}service:\n  extensions: [{}]\n  telemetry:\n    metrics: {{readers: [{{pull: \
             {{exporter: {{prometheus: {{host: 0.0.0.0, port: 8888}}}}}}}}]}}\n  pipelines:\n    {signal}: {{receivers: \
             [otlp], processors: [{}], exporters: [{last}]}}\n{pipelines}",
            section("extensions", self.extensions),
            section("processors", self.processors),
            section("connectors", &self.connector.replace("SIGNAL", signal)),
            section("exporters", self.exporter),
            names(self.extensions),
            names(self.processors),
        )
    }

    /// The bytes on the wire and the header fields of a request of a shape, `bytes` long as protobuf.
    fn encode(&self, shape: &Shape, bytes: usize) -> (Bytes, Vec<(&'static str, &'static str)>) {
        let body = shape.body(bytes);
        assert!(!body.is_empty(), "{}: {bytes} bytes are too few", shape.name);
        let mut headers = Vec::new();
        if !self.extensions.is_empty() {
            headers.push(("Authorization", "Basic dXNlcjpwYXNz"));
        }
        match self.encoding {
            RequestEncoding::Grpc(_) => (body.into(), headers),
            RequestEncoding::Http(coding) => {
                headers.push(("Content-Type", "application/x-protobuf"));
                if coding == "none" {
                    return (body.into(), headers);
                }
                headers.push(("Content-Encoding", coding));
                let coding = Coding::parse(coding.as_bytes()).unwrap();
                (Workspace::new().compress(&coding, [&body[..]]), headers)
            }
            RequestEncoding::Json => {
                headers.push(("Content-Type", "application/json"));
                (shape.json(bytes, 20 << 20).into(), headers)
            }
        }
    }

    /// The largest body that is permitted.
    fn max_body(&self) -> usize {
        match self.encoding {
            RequestEncoding::Grpc(_) => 4 << 20,
            RequestEncoding::Http(_) | RequestEncoding::Json => 20 << 20,
        }
    }

    /// One request of a shape, delivered, and the pages read.
    fn run(&self, shape: &Shape, bytes: usize) -> RunResult {
        let (body, headers) = self.encode(shape, bytes);
        let mut sim = Sim::new(1);
        sim.set_meter(counter::steps);
        sim.set_window(1 << 20);
        let requests = Rc::default();
        sim.add_node("grpc", peers::backend_graph(GRPC_BACKEND, &requests)).unwrap();
        sim.add_node("http", peers::backend_graph(HTTP_BACKEND, &requests)).unwrap();
        let node = sim.add_machine("collector");
        if self.processors.contains("kubeConfig") {
            sim.set_env(node, "KUBECONFIG", "/config");
            sim.disk(node).write("/config", KUBECONFIG);
        }
        sim.restart(node, collector(&self.yaml(shape.signal))).unwrap();
        let collector = node;
        sim.run_for(Duration::from_secs(2));
        sim.take_computed_units(collector);
        let at = |port| SocketAddr::new(sim.address(collector), port);
        let result = SharedResult::default();
        let client = match self.encoding {
            RequestEncoding::Grpc(coding) => peers::grpc_request(at(4317), coding, shape.signal, body, &result),
            RequestEncoding::Http(_) | RequestEncoding::Json => {
                let target = match shape.signal {
                    Signal::Traces => "/v1/traces",
                    Signal::Metrics => "/v1/metrics",
                    Signal::Logs => "/v1/logs",
                };
                peers::http_request(at(4318), HttpRequest { method: "POST", target, headers, body }, &result)
            }
        };
        let pages: Vec<_> = self.pages.iter().map(|port| at(*port)).collect();
        sim.add_node("client", client).unwrap();
        let budget = sim.graph(collector).unwrap().budget().clone();
        let begin = counter::steps();
        let is_running = |result: &SharedResult| counter::steps() - begin < STEPS_LIMIT && result.borrow().is_none();
        sim.run_while(sim.now() + Duration::from_secs(600), || is_running(&result));
        sim.run_while(sim.now() + Duration::from_secs(600), || {
            counter::steps() - begin < STEPS_LIMIT && budget.held() > 0
        });
        let mut result = result.take().unwrap_or_else(|| Err("no answer".to_owned()));
        if result.is_ok() && budget.held() > 0 {
            result = Err(format!("{} bytes were not delivered", budget.held()));
        }
        for (number, page) in pages.into_iter().enumerate() {
            let request = HttpRequest { method: "GET", target: "/metrics", headers: Vec::new(), body: Bytes::new() };
            let page_result = SharedResult::default();
            sim.add_node(&format!("scraper-{number}"), peers::http_request(page, request, &page_result)).unwrap();
            sim.run_while(sim.now() + Duration::from_secs(600), || is_running(&page_result));
            result = result.and_then(|_| page_result.take().unwrap_or_else(|| Err("no page".to_owned())));
        }
        // Work after the response belongs to the request too, such as the decisions of `tail_sampling`.
        sim.run_for(Duration::from_secs(4));
        RunResult { work: sim.take_computed_units(collector), result }
    }
}

fn collector(yaml: &str) -> Graph {
    let d = Diagnostics::new();
    let registry = Registry::default();
    let (gates, _) = FeatureGates::parse::<&str>(&[]);
    let plan = from_yaml(yaml, &d).and_then(|root| Plan::parse(&root, &registry, &gates, &d));
    let plan = plan.unwrap_or_else(|| panic!("{}\n{yaml}", d.render_to_string(false)));
    Collector::with_log(plan, BuildInfo::default(), Arc::new(NoopLogSink)).build_graph().unwrap()
}

/// Which limit a shape exceeds in a row, if any. Adds a line to the report of the row.
fn exceeded_limit(row: &Scenario, shape: &Shape, report: &mut String) -> Option<String> {
    let exceeded = exceeded_by_sizes(shape.name, row.max_body(), &|bytes| row.run(shape, bytes), report);
    exceeded.map(|why| format!("{shape:?}: {why}"))
}

/// Which limit the runs of growing sizes exceed, if any. Adds a line to the report.
fn exceeded_by_sizes(
    name: &str,
    max_bytes: usize,
    run: &dyn Fn(usize) -> RunResult,
    report: &mut String,
) -> Option<String> {
    if !COUNTING {
        let RunResult { result, .. } = run(4 << 10);
        return result.err();
    }
    let mut violations = Vec::new();
    // Doubled from 16 KiB to 1 MiB. It ends early where growth is bad: larger sizes would take hours.
    let (mut totals, mut growth, mut last) = (Vec::new(), Vec::new(), ComputedUnits::default());
    for bytes in (14..=20).map(|bits| 1 << bits) {
        let RunResult { work, result } = run(bytes);
        if let Err(why) = result {
            violations.push(format!("{bytes} bytes are not taken: {why}"));
            break;
        }
        if let Some(before) = totals.last() {
            growth.push(work.total as f64 / before);
        }
        totals.push(work.total as f64);
        last = work;
        if let [.., a, b] = growth[..]
            && a.min(b) > MAX_GROWTH
        {
            violations.push(format!("steps grow by {a:.2} and {b:.2} for twice the size, up to {bytes} bytes"));
            break;
        }
    }
    let mut whole = None;
    if violations.is_empty() {
        let RunResult { work, result } = run(max_bytes);
        if let Err(why) = result {
            violations.push(format!("{max_bytes} bytes are not taken: {why}"));
        }
        if work.longest_turn > LONGEST_TURN {
            violations.push(format!("a turn takes {} million steps", work.longest_turn / 1_000_000));
        }
        whole = Some(work);
    }
    let million = |n: u64| n as f64 / 1e6;
    let (total, turn, turns) =
        whole.map_or((f64::NAN, f64::NAN, 0), |work| (million(work.total), million(work.longest_turn), work.turns));
    *report += &format!(
        "  {:<26} {:>8.1} {:>5.2} {turn:>9.2} {total:>9.1} {turns:>7}{}\n",
        name,
        million(last.total),
        growth.last().unwrap_or(&f64::NAN),
        if violations.is_empty() { "" } else { "  <--" },
    );
    (!violations.is_empty()).then(|| violations.join("; "))
}

/// Checks runs of growing sizes.
fn check_sizes(name: &str, max_bytes: usize, run: &dyn Fn(usize) -> RunResult) {
    let mut report = String::new();
    let exceeded = exceeded_by_sizes(name, max_bytes, run, &mut report);
    if COUNTING {
        eprint!("{report}");
    }
    assert!(exceeded.is_none(), "{name}: {}", exceeded.unwrap_or_default());
}

/// Checks every shape of the signals, and the shape that a search from each signal's slowest shape finds.
fn check_shapes(name: &str, row: &Scenario, signals: &[Signal]) {
    let mut violations = Vec::new();
    let mut report =
        format!("{name}: M steps of 1 MiB, growth; of the most: M steps in the longest turn, in all, turns\n");
    for signal in signals {
        let shapes = shapes(*signal);
        violations.extend(shapes.iter().filter_map(|shape| exceeded_limit(row, shape, &mut report)));
        if COUNTING && violations.is_empty() {
            violations.extend(exceeded_limit(row, &find_slowest_shape(row, &shapes), &mut report));
        }
    }
    if COUNTING {
        // At once, because other rows are checked at the same time.
        eprint!("{report}");
    }
    assert!(violations.is_empty(), "{name}:\n{}", violations.join("\n"));
}

/// The shape with the most steps in 32 KiB that 20 changes find, each kept if it makes more steps.
fn find_slowest_shape(row: &Scenario, shapes: &[Shape]) -> Shape {
    let cost = |shape: &Shape| {
        let run = row.run(shape, 1 << 15);
        if run.result.is_ok() { run.work.total } else { 0 }
    };
    let mut best = shapes.iter().map(|shape| (cost(shape), *shape)).max_by_key(|(cost, _)| *cost).unwrap();
    let mut random = Random(7);
    for _ in 0..20 {
        let next = best.1.changed(&mut random).changed(&mut random);
        if next.body(1 << 15).is_empty() {
            continue;
        }
        let cost = cost(&next);
        if cost > best.0 {
            best = (cost, next);
        }
    }
    best.1
}

const TRACES: &[Signal] = &[Signal::Traces];
const METRICS: &[Signal] = &[Signal::Metrics];

#[test]
fn otlp_receiver_grpc_request_is_bounded() {
    check_shapes("otlp over gRPC", &NOP, &Signal::ALL);
}

#[test]
fn otlp_receiver_http_request_is_bounded() {
    check_shapes("otlp over HTTP", &Scenario { encoding: RequestEncoding::Http("none"), ..NOP }, &Signal::ALL);
}

#[test]
fn otlp_receiver_json_request_is_bounded() {
    check_shapes("otlp over HTTP, JSON", &Scenario { encoding: RequestEncoding::Json, ..NOP }, &Signal::ALL);
}

#[test]
fn otlp_receiver_compressed_request_is_bounded() {
    check_shapes("otlp over gRPC, gzip", &Scenario { encoding: RequestEncoding::Grpc("gzip"), ..NOP }, TRACES);
    check_shapes("otlp over gRPC, snappy", &Scenario { encoding: RequestEncoding::Grpc("snappy"), ..NOP }, TRACES);
    check_shapes("otlp over HTTP, zstd", &Scenario { encoding: RequestEncoding::Http("zstd"), ..NOP }, TRACES);
    check_shapes("otlp over HTTP, gzip", &Scenario { encoding: RequestEncoding::Http("gzip"), ..NOP }, TRACES);
}

#[test]
fn authenticated_request_is_bounded() {
    let extensions = "basicauth: {htpasswd: {inline: \"user:pass\"}}";
    check_shapes("basicauth", &Scenario { extensions, encoding: RequestEncoding::Http("none"), ..NOP }, TRACES);
    // `pass` by bcrypt. Its check is a job; without the count a build without optimisation runs it.
    let extensions = if COUNTING {
        "basicauth: {htpasswd: {inline: \"user:$$2b$$10$$abcdefghijklmnopqrstuurOb.9fHu1HSgO8eKr.BJVKtmsPD3vs2\"}}"
    } else {
        "basicauth: {htpasswd: {inline: \"user:$$2b$$04$$abcdefghijklmnopqrstuufznL8bkzdtHwLhca4To/v9Lo9bA7fR6\"}}"
    };
    check_shapes("basicauth, bcrypt", &Scenario { extensions, encoding: RequestEncoding::Http("none"), ..NOP }, TRACES);
}

#[test]
fn memory_limiter_request_is_bounded() {
    let processors = "memory_limiter: {check_interval: 1s, limit_mib: 500}";
    check_shapes("memory_limiter", &Scenario { processors, ..NOP }, TRACES);
}

#[test]
fn batch_processor_pieces_are_bounded() {
    let processors = "batch: {send_batch_size: 100, send_batch_max_size: 100, timeout: 100ms}";
    check_shapes("batch, pieces of 100", &Scenario { processors, ..NOP }, &Signal::ALL);
}

#[test]
fn batch_processor_without_maximum_is_bounded() {
    let processors = "batch: {timeout: 100ms}";
    check_shapes("batch", &Scenario { processors, ..NOP }, &Signal::ALL);
}

#[test]
fn transform_processor_statements_are_bounded() {
    // Without a condition, tiny items would become larger by more than the output may.
    let attributes = r#"'set(span.attributes["n"], "v") where Len(span.attributes) > 1', 'replace_all_patterns(span.attributes, "value", "a+b*", "c")', 'delete_matching_keys(span.attributes, "^aa.*z$$")', 'limit(span.attributes, 100, [])'"#;
    let events = r#"'delete_key(spanevent.attributes, "n") where not IsMatch(spanevent.name, "^x.*y$$")'"#;
    let points = r#"'set(datapoint.attributes["n"], "v") where Len(datapoint.attributes) > 1', 'truncate_all(datapoint.attributes, 10)'"#;
    let metrics = r#"'convert_sum_to_gauge() where metric.name != "x"', 'set(metric.unit, ToUpperCase(metric.name))'"#;
    let logs = r#"'merge_maps(log.attributes, {"n": "v"}, "upsert") where Len(log.attributes) > 1', 'flatten(log.attributes)', 'keep_matching_keys(log.attributes, "a$$")'"#;
    for (name, signal, statements) in [
        ("transform, spans", Signal::Traces, format!("trace_statements: [{attributes}]")),
        ("transform, events", Signal::Traces, format!("trace_statements: [{events}]")),
        ("transform, points", Signal::Metrics, format!("metric_statements: [{points}]")),
        ("transform, metrics", Signal::Metrics, format!("metric_statements: [{metrics}]")),
        ("transform, logs", Signal::Logs, format!("log_statements: [{logs}]")),
    ] {
        let processors = format!("transform: {{error_mode: ignore, {statements}}}").leak();
        check_shapes(name, &Scenario { processors, ..NOP }, &[signal]);
    }
}

#[test]
fn filter_processor_conditions_are_bounded() {
    let processors = r#"filter: {error_mode: ignore, trace_conditions: ['IsMatch(span.name, "^x.*y$$")', 'span.attributes["n"] == "v"', 'IsMatch(spanevent.name, "^x.*y$$")'], metric_conditions: ['IsMatch(metric.name, "^x.*y$$")', 'datapoint.attributes["n"] == "v"'], log_conditions: ['IsMatch(log.body, "^x.*y$$")', 'log.attributes["n"] == "v"']}"#;
    check_shapes("filter", &Scenario { processors, ..NOP }, &Signal::ALL);
}

/// Items read what they have in common. The shape "many resource attributes" has a resource that is as long as all of
/// its items.
#[test]
fn processors_that_read_what_items_share_are_bounded() {
    let shared = r#"resource.attributes["n"] == "v" or scope.attributes["n"] == "v" or scope.name == "n""#;
    let statement = format!(r#"set(span.attributes["n"], "v") where {shared}"#);
    let processors = format!("transform: {{error_mode: ignore, trace_statements: ['{statement}']}}").leak();
    check_shapes("transform, shared by spans", &Scenario { processors, ..NOP }, TRACES);
    // With a path of the span, so that the condition is one of spans.
    let condition = format!(r#"{shared} or span.attributes["n"] == "v""#);
    let processors = format!("filter: {{error_mode: ignore, trace_conditions: ['{condition}']}}").leak();
    check_shapes("filter, shared by spans", &Scenario { processors, ..NOP }, TRACES);
}

#[test]
fn tail_sampling_processor_decisions_are_bounded() {
    let processors = r#"tail_sampling: {decision_wait: 1s, policies: [{name: slow, type: latency, latency: {threshold_ms: 1000}}, {name: text, type: string_attribute, string_attribute: {key: n, values: ['^x.*y$$'], enabled_regex_matching: true}}, {name: failed, type: status_code, status_code: {status_codes: [ERROR]}}, {name: condition, type: ottl_condition, ottl_condition: {error_mode: ignore, span: ['IsMatch(span.name, "^x.*y$$")']}}, {name: all, type: always_sample}]}"#;
    check_shapes("tail_sampling", &Scenario { processors, ..NOP }, TRACES);
}

#[test]
fn redaction_processor_request_is_bounded() {
    let processors = "redaction: {allow_all_keys: true, blocked_key_patterns: ['^aa.*z$$'], blocked_values: ['ab+c', '4[0-9]{12}'], redact_all_types: true, summary: debug}";
    check_shapes("redaction", &Scenario { processors, ..NOP }, &Signal::ALL);
}

#[test]
fn metrics_transform_processor_request_is_bounded() {
    let update = "{include: '^(.*)$$', match_type: regexp, action: update, operations: [{action: add_label, new_label: n, new_value: v}, {action: update_label, label: n, new_label: m}, {action: aggregate_labels, label_set: [m], aggregation_type: sum}]}";
    let combine =
        "{include: '^(?P<kind>.*)$$', match_type: regexp, action: combine, new_name: all, aggregation_type: sum}";
    for (name, transform) in [("metrics_transform, update", update), ("metrics_transform, combine", combine)] {
        let processors = format!("metrics_transform: {{transforms: [{transform}]}}").leak();
        check_shapes(name, &Scenario { processors, ..NOP }, METRICS);
    }
}

#[test]
fn group_by_attrs_processor_request_is_bounded() {
    // The keys of the shapes.
    let processors = "groupbyattrs: {keys: [aaa, aaaaaa, aaaaaaaa, aaaaaaaaaaaa]}";
    check_shapes("groupbyattrs", &Scenario { processors, ..NOP }, &Signal::ALL);
}

#[test]
fn k8s_attributes_processor_request_is_bounded() {
    let processors = "k8s_attributes: {auth_type: kubeConfig, extract: {metadata: [k8s.pod.name, k8s.node.name], labels: [{tag_name: l, key: l}]}, pod_association: [{sources: [{from: resource_attribute, name: aaaaaaaa}]}, {sources: [{from: connection}]}]}";
    check_shapes("k8s_attributes", &Scenario { processors, ..NOP }, &Signal::ALL);
    let processors = "k8s_attributes: {passthrough: true}";
    check_shapes("k8s_attributes, passthrough", &Scenario { processors, ..NOP }, TRACES);
}

#[test]
fn connectors_to_pipelines_of_the_same_signal_are_bounded() {
    let failover = "failover: {priority_levels: [[SIGNAL/out], [SIGNAL/other]]}";
    let routing = r#"routing: {default_pipelines: [SIGNAL/other], error_mode: ignore, table: [{context: resource, condition: 'resource.attributes["n"] == "v"', pipelines: [SIGNAL/out]}]}"#;
    for (name, connector) in [("round_robin", "round_robin: {}"), ("failover", failover), ("routing", routing)] {
        check_shapes(name, &Scenario { connector, ..NOP }, &Signal::ALL);
    }
    let span = r#"IsMatch(span.name, "^a.*z$$") or resource.attributes["n"] == "v""#;
    let connector = format!(
        "routing: {{default_pipelines: [SIGNAL/other], error_mode: ignore, table: [{{context: span, condition: '{span}', pipelines: [SIGNAL/out]}}]}}"
    );
    check_shapes("routing, spans", &Scenario { connector: connector.leak(), ..NOP }, TRACES);
}

#[test]
fn connectors_that_make_metrics_are_bounded() {
    let count = "count: {spans: {c: {attributes: [{key: aaaaaa}]}}, spanevents: {e: {}}, metrics: {m: {}}, datapoints: {d: {attributes: [{key: aaaa}]}}, logs: {l: {attributes: [{key: aaaaaa}]}}}";
    let sum = "sum: {spans: {s: {source_attribute: aaaaaa, attributes: [{key: aaaaaaaa}]}}}";
    let span_metrics = "span_metrics: {metrics_flush_interval: 1s, exclude_dimensions: [collector.instance.id], dimensions: [{name: aaaaaa}, {name: aaaaaaaaaaaa}], histogram: {explicit: {buckets: [1ms, 10ms]}}}";
    let service_graph = "service_graph: {metrics_flush_interval: 1s, dimensions: [aaaaaa]}";
    for (name, connector, signals) in [
        ("count", count, &Signal::ALL[..]),
        ("sum", sum, TRACES),
        ("span_metrics", span_metrics, TRACES),
        ("service_graph", service_graph, TRACES),
    ] {
        check_shapes(name, &Scenario { connector, to_metrics: true, ..NOP }, signals);
    }
}

#[test]
fn otlp_grpc_exporter_request_is_bounded() {
    check_shapes("otlp_grpc", &OTLP_GRPC, &Signal::ALL);
    let exporter = "otlp_grpc: {endpoint: \"grpc:14250\", tls: {insecure: true}, compression: gzip}";
    check_shapes("otlp_grpc, gzip", &Scenario { exporter, ..NOP }, TRACES);
}

#[test]
fn otlp_grpc_exporter_queue_batches_are_bounded() {
    let exporter = "otlp_grpc: {endpoint: \"grpc:14250\", tls: {insecure: true}, compression: none, sending_queue: {batch: {min_size: 100, max_size: 100, flush_timeout: 100ms}}}";
    check_shapes("otlp_grpc, queue's batches of 100", &Scenario { exporter, ..NOP }, TRACES);
}

#[test]
fn otlp_http_exporter_request_is_bounded() {
    check_shapes("otlp_http", &OTLP_HTTP, &Signal::ALL);
    let exporter = "otlp_http: {endpoint: \"http://http:14318\", compression: zstd}";
    check_shapes("otlp_http, zstd", &Scenario { exporter, ..NOP }, TRACES);
    let exporter = "otlp_http: {endpoint: \"http://http:14318\", compression: none, encoding: json}";
    check_shapes("otlp_http, JSON", &Scenario { exporter, ..NOP }, &Signal::ALL);
}

#[test]
fn load_balancing_exporter_request_is_bounded() {
    for (key, signals) in [
        ("traceID", &[Signal::Traces, Signal::Logs][..]),
        ("service", &[Signal::Traces, Signal::Metrics][..]),
        ("streamID", METRICS),
        ("attributes, routing_attributes: [aaaaaa]", &[Signal::Traces, Signal::Metrics][..]),
    ] {
        let exporter = format!(
            "load_balancing: {{routing_key: {key}, protocol: {{otlp: {{tls: {{insecure: true}}, compression: none}}}}, resolver: \
             {{static: {{hostnames: [\"grpc:14250\"]}}}}}}"
        );
        check_shapes(&format!("load_balancing, {key}"), &Scenario { exporter: exporter.leak(), ..NOP }, signals);
    }
}

#[test]
fn jaeger_exporter_request_is_bounded() {
    check_shapes("jaeger", &JAEGER, TRACES);
}

#[test]
fn prometheus_exporter_request_and_page_are_bounded() {
    check_shapes("prometheus", &PROMETHEUS, METRICS);
}

#[test]
fn own_metrics_page_is_bounded() {
    check_shapes("own page", &Scenario { pages: &[8888], ..NOP }, TRACES);
}

#[test]
fn debug_exporter_request_is_bounded() {
    for verbosity in ["basic", "normal", "detailed"] {
        let exporter = format!("debug: {{verbosity: {verbosity}}}");
        check_shapes(&format!("debug, {verbosity}"), &Scenario { exporter: exporter.leak(), ..NOP }, &Signal::ALL);
    }
}
