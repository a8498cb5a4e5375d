//! One request never costs more than n log n steps, and never blocks the loop for long.
//!
//! A collector in the simulated world gets generated worst-case requests, one component or page after another, while
//! its steps are counted (see `counter`). Growth is judged by three sizes, the longest turn at the largest size that is
//! permitted. `scripts/steps` runs this with the count; in other builds each request is sent at a small size and must
//! be taken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod counter;
mod peers;
#[path = "../../../../benches/harness/src/worst.rs"]
mod worst;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore::config::{Diagnostics, Gates, from_yaml};
use otelcore::pdata::Signal;
use otelcore::pipeline::{Graph, NoLog};
use otelcore::reactor::{Sim, Work};
use otelcore::{Collector, Identity, Plan, Registry};
use otelcore_http::{Bytes, Coding, Workspace};

use peers::{Answer, GRPC_BACKEND, HTTP_BACKEND, HttpRequest};
use worst::{Random, Shape, shapes};

const COUNTING: bool = cfg!(count_steps);

/// Steps that take about 20 ms on a slow core: a release build takes 0.25 to 0.4 ns for one of these steps, which are
/// counted in a build of less optimisation, on the machine of the benches.
const LONGEST_TURN: u64 = 30_000_000;

/// The number of steps of one request at which a run is ended, so that a failing test ends too.
const GIVE_UP: u64 = 20_000_000_000;

/// How steps may grow when the size doubles, twice in a row: n log n grows by 2.2 at most, n to the power of 1.5 by
/// 2.8.
const GROWTH: f64 = 2.4;

/// How requests are sent.
#[derive(Clone, Copy)]
enum Wire {
    Grpc(&'static str),
    Http(&'static str),
    Json,
}

/// A configuration with one pipeline, and the pages that are read afterwards.
#[derive(Clone, Copy)]
struct Row {
    wire: Wire,
    extensions: &'static str,
    processors: &'static str,
    exporter: &'static str,
    /// Pages that are read after the request, at these ports.
    pages: &'static [u16],
}

const NOP: Row = Row { wire: Wire::Grpc("none"), extensions: "", processors: "", exporter: "nop: {}", pages: &[] };

const OTLP_GRPC: Row =
    Row { exporter: "otlp_grpc: {endpoint: \"grpc:14250\", tls: {insecure: true}, compression: none}", ..NOP };
const OTLP_HTTP: Row = Row { exporter: "otlp_http: {endpoint: \"http://http:14318\", compression: none}", ..NOP };
const JAEGER: Row = Row { exporter: "jaeger: {endpoint: \"grpc:14250\", tls: {insecure: true}}", ..NOP };
const PROMETHEUS: Row = Row { exporter: "prometheus: {endpoint: \"0.0.0.0:9464\"}", pages: &[9464], ..NOP };

/// The result of a run.
struct Run {
    work: Work,
    answer: Result<usize, String>,
}

impl Row {
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
        let auth = if self.extensions.is_empty() { "" } else { ", auth: {authenticator: basicauth}" };
        format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: \"0.0.0.0:4317\"{auth}}}\n      http: {{endpoint: \
             \"0.0.0.0:4318\"{auth}}}\n{}{}{}service:\n  extensions: [{}]\n  telemetry:\n    metrics: {{readers: [{{pull: \
             {{exporter: {{prometheus: {{host: 0.0.0.0, port: 8888}}}}}}}}]}}\n  pipelines:\n    {signal}: {{receivers: \
             [otlp], processors: [{}], exporters: [{}]}}\n",
            section("extensions", self.extensions),
            section("processors", self.processors),
            section("exporters", self.exporter),
            names(self.extensions),
            names(self.processors),
            names(self.exporter),
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
        match self.wire {
            Wire::Grpc(_) => (body.into(), headers),
            Wire::Http(coding) => {
                headers.push(("Content-Type", "application/x-protobuf"));
                if coding == "none" {
                    return (body.into(), headers);
                }
                headers.push(("Content-Encoding", coding));
                let coding = Coding::parse(coding.as_bytes()).unwrap();
                (Workspace::new().compress(&coding, [&body[..]]), headers)
            }
            Wire::Json => {
                headers.push(("Content-Type", "application/json"));
                (shape.json(bytes, 20 << 20).into(), headers)
            }
        }
    }

    /// The largest body that is permitted.
    fn most(&self) -> usize {
        match self.wire {
            Wire::Grpc(_) => 4 << 20,
            Wire::Http(_) | Wire::Json => 20 << 20,
        }
    }

    /// One request of a shape, delivered, and the pages read.
    fn run(&self, shape: &Shape, bytes: usize) -> Run {
        let (body, headers) = self.encode(shape, bytes);
        let mut sim = Sim::new(1);
        sim.set_meter(counter::steps);
        sim.set_window(1 << 20);
        let requests = Rc::default();
        sim.node("grpc", peers::backend(GRPC_BACKEND, &requests)).unwrap();
        sim.node("http", peers::backend(HTTP_BACKEND, &requests)).unwrap();
        let collector = sim.node("collector", collector(&self.yaml(shape.signal))).unwrap();
        sim.run_for(Duration::from_secs(2));
        sim.take_work(collector);
        let at = |port| SocketAddr::new(sim.address(collector), port);
        let answer = Answer::default();
        let client = match self.wire {
            Wire::Grpc(coding) => peers::grpc_request(at(4317), coding, shape.signal, body, &answer),
            Wire::Http(_) | Wire::Json => {
                let target = match shape.signal {
                    Signal::Traces => "/v1/traces",
                    Signal::Metrics => "/v1/metrics",
                    Signal::Logs => "/v1/logs",
                };
                peers::http_request(at(4318), HttpRequest { method: "POST", target, headers, body }, &answer)
            }
        };
        let pages: Vec<_> = self.pages.iter().map(|port| at(*port)).collect();
        sim.node("client", client).unwrap();
        let budget = sim.graph(collector).unwrap().budget().clone();
        let begin = counter::steps();
        let going = |answer: &Answer| counter::steps() - begin < GIVE_UP && answer.borrow().is_none();
        sim.run_while(sim.now() + Duration::from_secs(600), || going(&answer));
        sim.run_while(sim.now() + Duration::from_secs(600), || counter::steps() - begin < GIVE_UP && budget.held() > 0);
        let mut answer = answer.take().unwrap_or_else(|| Err("no answer".to_owned()));
        if answer.is_ok() && budget.held() > 0 {
            answer = Err(format!("{} bytes were not delivered", budget.held()));
        }
        for (number, page) in pages.into_iter().enumerate() {
            let request = HttpRequest { method: "GET", target: "/metrics", headers: Vec::new(), body: Bytes::new() };
            let read = Answer::default();
            sim.node(&format!("scraper-{number}"), peers::http_request(page, request, &read)).unwrap();
            sim.run_while(sim.now() + Duration::from_secs(600), || going(&read));
            answer = answer.and_then(|_| read.take().unwrap_or_else(|| Err("no page".to_owned())));
        }
        // Work after the answer belongs to the request too.
        sim.run_for(Duration::from_secs(1));
        Run { work: sim.take_work(collector), answer }
    }
}

fn collector(yaml: &str) -> Graph {
    let d = Diagnostics::new();
    let registry = Registry::default();
    let (gates, _) = Gates::parse::<&str>(&[]);
    let plan = from_yaml(yaml, &d).and_then(|root| Plan::parse(&root, &registry, &gates, &d));
    let plan = plan.unwrap_or_else(|| panic!("{}\n{yaml}", d.to_text(false)));
    Collector::with_log(plan, Identity::default(), Arc::new(NoLog)).graph().unwrap()
}

/// Which limit a shape exceeds in a row, if any.
fn judge(row: &Row, shape: &Shape) -> Option<String> {
    if !COUNTING {
        let Run { answer, .. } = row.run(shape, 4 << 10);
        return answer.err().map(|why| format!("{}: {why}", shape.name));
    }
    let mut wrong = Vec::new();
    // Doubled from 16 KiB to 1 MiB. It ends early where growth is bad: larger sizes would take hours.
    let (mut totals, mut growth, mut last) = (Vec::new(), Vec::new(), Work::default());
    for bytes in (14..=20).map(|bits| 1 << bits) {
        let Run { work, answer } = row.run(shape, bytes);
        if let Err(why) = answer {
            wrong.push(format!("{bytes} bytes are not taken: {why}"));
            break;
        }
        if let Some(before) = totals.last() {
            growth.push(work.total as f64 / before);
        }
        totals.push(work.total as f64);
        last = work;
        if let [.., a, b] = growth[..]
            && a.min(b) > GROWTH
        {
            wrong.push(format!("steps grow by {a:.2} and {b:.2} for twice the size, up to {bytes} bytes"));
            break;
        }
    }
    let mut whole = None;
    if wrong.is_empty() {
        let Run { work, answer } = row.run(shape, row.most());
        if let Err(why) = answer {
            wrong.push(format!("{} bytes are not taken: {why}", row.most()));
        }
        if work.longest_turn > LONGEST_TURN {
            wrong.push(format!("a turn takes {} million steps", work.longest_turn / 1_000_000));
        }
        whole = Some(work);
    }
    let million = |n: u64| n as f64 / 1e6;
    let (total, turn, turns) =
        whole.map_or((f64::NAN, f64::NAN, 0), |work| (million(work.total), million(work.longest_turn), work.turns));
    eprintln!(
        "  {:<26} {:>8.1} {:>5.2} {turn:>9.2} {total:>9.1} {turns:>7}{}",
        shape.name,
        million(last.total),
        growth.last().unwrap_or(&f64::NAN),
        if wrong.is_empty() { "" } else { "  <--" },
    );
    (!wrong.is_empty()).then(|| format!("{shape:?}: {}", wrong.join("; ")))
}

/// Every shape of the signals, and what a search from each signal's slowest shape finds.
fn check(name: &str, row: &Row, signals: &[Signal]) {
    if COUNTING {
        eprintln!("{name}: M steps of 1 MiB, growth; of the most: M steps in the longest turn, in all, turns");
    }
    let mut wrong = Vec::new();
    for signal in signals {
        let shapes = shapes(*signal);
        wrong.extend(shapes.iter().filter_map(|shape| judge(row, shape)));
        if COUNTING && wrong.is_empty() {
            wrong.extend(judge(row, &search(row, &shapes)));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

/// The shape with the most steps in 32 KiB that 20 changes find, each kept if it makes more steps.
fn search(row: &Row, shapes: &[Shape]) -> Shape {
    let cost = |shape: &Shape| {
        let run = row.run(shape, 1 << 15);
        if run.answer.is_ok() { run.work.total } else { 0 }
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
    check("otlp over gRPC", &NOP, &Signal::ALL);
}

#[test]
fn otlp_receiver_http_request_is_bounded() {
    check("otlp over HTTP", &Row { wire: Wire::Http("none"), ..NOP }, &Signal::ALL);
}

#[test]
fn otlp_receiver_json_request_is_bounded() {
    check("otlp over HTTP, JSON", &Row { wire: Wire::Json, ..NOP }, &Signal::ALL);
}

#[test]
fn otlp_receiver_compressed_request_is_bounded() {
    check("otlp over gRPC, gzip", &Row { wire: Wire::Grpc("gzip"), ..NOP }, TRACES);
    check("otlp over gRPC, snappy", &Row { wire: Wire::Grpc("snappy"), ..NOP }, TRACES);
    check("otlp over HTTP, zstd", &Row { wire: Wire::Http("zstd"), ..NOP }, TRACES);
    check("otlp over HTTP, gzip", &Row { wire: Wire::Http("gzip"), ..NOP }, TRACES);
}

#[test]
fn authenticated_request_is_bounded() {
    let extensions = "basicauth: {htpasswd: {inline: \"user:pass\"}}";
    check("basicauth", &Row { extensions, wire: Wire::Http("none"), ..NOP }, TRACES);
    // `pass` by bcrypt. Its check is a job; without the count a build without optimisation runs it.
    let extensions = if COUNTING {
        "basicauth: {htpasswd: {inline: \"user:$$2b$$10$$abcdefghijklmnopqrstuurOb.9fHu1HSgO8eKr.BJVKtmsPD3vs2\"}}"
    } else {
        "basicauth: {htpasswd: {inline: \"user:$$2b$$04$$abcdefghijklmnopqrstuufznL8bkzdtHwLhca4To/v9Lo9bA7fR6\"}}"
    };
    check("basicauth, bcrypt", &Row { extensions, wire: Wire::Http("none"), ..NOP }, TRACES);
}

#[test]
fn memory_limiter_request_is_bounded() {
    let processors = "memory_limiter: {check_interval: 1s, limit_mib: 500}";
    check("memory_limiter", &Row { processors, ..NOP }, TRACES);
}

#[test]
fn batch_processor_pieces_are_bounded() {
    let processors = "batch: {send_batch_size: 100, send_batch_max_size: 100, timeout: 100ms}";
    check("batch, pieces of 100", &Row { processors, ..NOP }, &Signal::ALL);
}

#[test]
fn batch_processor_without_maximum_is_bounded() {
    let processors = "batch: {timeout: 100ms}";
    check("batch", &Row { processors, ..NOP }, &Signal::ALL);
}

#[test]
fn otlp_grpc_exporter_request_is_bounded() {
    check("otlp_grpc", &OTLP_GRPC, &Signal::ALL);
    let exporter = "otlp_grpc: {endpoint: \"grpc:14250\", tls: {insecure: true}, compression: gzip}";
    check("otlp_grpc, gzip", &Row { exporter, ..NOP }, TRACES);
}

#[test]
fn otlp_grpc_exporter_queue_batches_are_bounded() {
    let exporter = "otlp_grpc: {endpoint: \"grpc:14250\", tls: {insecure: true}, compression: none, sending_queue: {batch: {min_size: 100, max_size: 100, flush_timeout: 100ms}}}";
    check("otlp_grpc, queue's batches of 100", &Row { exporter, ..NOP }, TRACES);
}

#[test]
fn otlp_http_exporter_request_is_bounded() {
    check("otlp_http", &OTLP_HTTP, &Signal::ALL);
    let exporter = "otlp_http: {endpoint: \"http://http:14318\", compression: zstd}";
    check("otlp_http, zstd", &Row { exporter, ..NOP }, TRACES);
    let exporter = "otlp_http: {endpoint: \"http://http:14318\", compression: none, encoding: json}";
    check("otlp_http, JSON", &Row { exporter, ..NOP }, &Signal::ALL);
}

#[test]
fn jaeger_exporter_request_is_bounded() {
    check("jaeger", &JAEGER, TRACES);
}

#[test]
fn prometheus_exporter_request_and_page_are_bounded() {
    check("prometheus", &PROMETHEUS, METRICS);
}

#[test]
fn own_page_is_bounded() {
    check("own page", &Row { pages: &[8888], ..NOP }, TRACES);
}

#[test]
fn debug_exporter_request_is_bounded() {
    for verbosity in ["basic", "normal", "detailed"] {
        let exporter = format!("debug: {{verbosity: {verbosity}}}");
        check(&format!("debug, {verbosity}"), &Row { exporter: exporter.leak(), ..NOP }, &Signal::ALL);
    }
}
