//! A collector under load and faults for a long time: memory and descriptors stay flat, what it has acknowledged arrives, and the
//! items of each component add up.
//!
//! Clients send traces, metrics and logs, on connections that stay and on new ones. Traces and logs go through a queue on disk
//! to a backend that is up, down, failing or slow in turn; metrics, whose series come and go, to the page of `prometheus`, which is
//! read. Each minute the configuration changes. `scripts/soak` runs it; `OTELCORE_SOAK_MINUTES` sets for how long.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/sink.rs"]
mod sink;
mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use sink::OtlpHttpBackend;
use support::*;

/// What the backend does, and for how many seconds: the round of faults.
const ROUND: [(Backend, u64); 5] =
    [(Backend::Up, 50), (Backend::Down, 20), (Backend::Failing, 10), (Backend::Up, 20), (Backend::Slow, 20)];
/// How many requests a client sends in a second, at most.
const REQUESTS_PER_SECOND: u32 = 25;
/// Items of a request. The first has the number of the request in it.
const ITEMS: usize = 20;
/// What memory and the number of descriptors may differ by from one quarter of the run to another: a share, and a constant.
const MEMORY_TOLERANCE: (f64, f64) = (1.05, 4.0 * 1024.0);
const DESCRIPTOR_TOLERANCE: (f64, f64) = (1.0, 2.0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Up,
    /// It closes connections without a response.
    Down,
    /// It answers with 503.
    Failing,
    /// It answers after 300 ms.
    Slow,
}

fn config(dir: &Path, [http, page, prometheus, backend]: [u16; 4], variant: u64) -> String {
    let dir = dir.display();
    let min_size = 200 + variant % 2 * 200;
    format!(
        "
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 400}}
  attributes: {{actions: [{{key: variant, value: v{variant}, action: upsert}}]}}
  tail_sampling: {{decision_wait: 2s, num_traces: 5000, policies: [{{name: all, type: always_sample}}]}}
  batch: {{timeout: 100ms}}
connectors:
  span_metrics: {{metrics_flush_interval: 5s}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{backend}
    compression: none
    sending_queue: {{storage: file_storage, sizer: bytes, queue_size: 1073741824, batch: {{sizer: items, min_size: {min_size}, flush_timeout: 200ms}}}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 2s}}
  prometheus: {{endpoint: '127.0.0.1:{prometheus}', metric_expiration: 30s}}
  debug: {{use_internal_logger: false, output_paths: [/dev/null]}}
extensions:
  file_storage: {{directory: '{dir}/data', create_directory: true}}
  zpages: {{endpoint: '127.0.0.1:0'}}
service:
  extensions: [file_storage, zpages]
  telemetry: {{metrics: {{level: detailed, readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter, attributes], exporters: [otlp_http, span_metrics]}}
    traces/sampled: {{receivers: [otlp], processors: [tail_sampling, batch], exporters: [debug]}}
    metrics: {{receivers: [otlp, span_metrics], processors: [memory_limiter], exporters: [prometheus]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, attributes], exporters: [otlp_http]}}
"
    )
}

fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    }
}

fn now_nanos() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap()
}

fn name_of_item(number: u64, item: usize) -> String {
    if item == 0 { format!("request-{number}") } else { format!("item-{item}") }
}

fn traces(number: u64) -> Vec<u8> {
    let span = |item| Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (item as u64 + 1).to_be_bytes().to_vec(),
        name: name_of_item(number, item),
        start_time_unix_nano: now_nanos(),
        end_time_unix_nano: now_nanos() + 1_000_000,
        attributes: (0..8).map(|i| attribute(&format!("attribute.{i}"), "x".repeat(24))).collect(),
        ..Span::default()
    };
    // Other names of spans would be series of `span_metrics` without an end.
    let mut spans: Vec<Span> = (0..ITEMS).map(span).collect();
    let mark = attribute("mark", std::mem::replace(&mut spans[0].name, "first".to_owned()));
    spans[0].attributes.push(mark);
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

fn logs(number: u64) -> Vec<u8> {
    let record = |item| LogRecord {
        time_unix_nano: now_nanos(),
        body: Some(AnyValue { value: Some(Value::StringValue(name_of_item(number, item))) }),
        attributes: vec![attribute("attribute", "x".repeat(200))],
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: (0..ITEMS).map(record).collect(), ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
}

/// Half of the series stay, the others belong to ten seconds.
fn metrics(number: u64) -> Vec<u8> {
    let time_unix_nano = now_nanos();
    let point = |item: usize| {
        let part = if item.is_multiple_of(2) { 0 } else { time_unix_nano / 10_000_000_000 };
        NumberDataPoint {
            attributes: vec![attribute("label", format!("{part}-{item}"))],
            time_unix_nano,
            value: Some(number_data_point::Value::AsInt(i64::try_from(number).unwrap())),
            ..NumberDataPoint::default()
        }
    };
    let sum = Sum { data_points: (0..ITEMS).map(point).collect(), aggregation_temporality: 2, is_monotonic: true };
    let metric = Metric { name: "soak".to_owned(), data: Some(Data::Sum(sum)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}

/// Sends a request and reads the response, whose status it returns. The connection is used again where `keep` says so.
fn send(connection: &mut Option<TcpStream>, address: &str, signal: &str, body: &[u8], keep: bool) -> Option<u16> {
    let mut stream = connection.take().or_else(|| TcpStream::connect(address).ok())?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let close = if keep { "" } else { "Connection: close\r\n" };
    let head = format!(
        "POST /v1/{signal} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n{close}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    let end = loop {
        let read = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        answer.extend_from_slice(&chunk[..read]);
        if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    while answer.len() < end + length {
        let read = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        answer.extend_from_slice(&chunk[..read]);
    }
    if keep {
        *connection = Some(stream);
    }
    head.split(' ').nth(1)?.parse().ok()
}

/// The numbers of the requests that were acknowledged, of traces and logs, and how many requests were not.
#[derive(Default)]
struct Sent {
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    refused: AtomicU64,
}

fn start_client(client: u64, address: String, sent: Arc<Sent>, is_over: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut connection = None;
        while !is_over.load(Ordering::Relaxed) {
            let number = sent.next.fetch_add(1, Ordering::Relaxed);
            let (signal, body) = match number % 3 {
                0 => ("traces", traces(number)),
                1 => ("logs", logs(number)),
                _ => ("metrics", metrics(number)),
            };
            // Of four clients one makes a connection for each request, and the others for each hundredth.
            let keep = client > 0 && !number.is_multiple_of(100);
            match send(&mut connection, &address, signal, &body, keep) {
                Some(200) if number % 3 < 2 => drop(sent.acknowledged.lock().unwrap().insert(number)),
                Some(200) => {}
                _ => drop(sent.refused.fetch_add(1, Ordering::Relaxed)),
            }
            thread::sleep(Duration::from_secs(1) / REQUESTS_PER_SECOND);
        }
    })
}

/// The numbers of the requests in what has arrived.
fn numbers_in(signal: &str, body: &[u8]) -> Vec<u64> {
    let number = |name: &str| name.strip_prefix("request-").map(|number| number.parse().unwrap());
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => number(text),
        _ => None,
    };
    if signal == "traces" {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let attributes = scopes.flat_map(|scope| &scope.spans).flat_map(|span| &span.attributes);
        attributes.filter(|attribute| attribute.key == "mark").filter_map(|attribute| text(&attribute.value)).collect()
    } else {
        let request = ExportLogsServiceRequest::decode(body).unwrap();
        let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        scopes.flat_map(|scope| &scope.log_records).filter_map(|record| text(&record.body)).collect()
    }
}

/// Memory in KiB and descriptors of a process.
fn usage_of(process: &Process) -> (f64, f64) {
    let pid = process.child.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (memory.trim().trim_end_matches("kB").trim().parse().unwrap(), f64::from(u32::try_from(descriptors).unwrap()))
}

/// Fails where a figure's median in the last quarter of the run is above the one in the second quarter: a single value depends on how
/// busy the machine is.
fn check_flat(what: &str, samples: &[f64], (share, constant): (f64, f64)) -> (f64, f64) {
    let quarter = |n: usize| {
        let mut values = samples[samples.len() * (n - 1) / 4..samples.len() * n / 4].to_vec();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (early, late) = (quarter(2), quarter(4));
    assert!(late <= early * share + constant, "{what} grew from {early} to {late}: {samples:?}");
    (early, late)
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map_while(Result::ok);
    entries
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() { bytes_in(&path) } else { entry.metadata().map_or(0, |found| found.len()) }
        })
        .sum()
}

#[test]
#[ignore = "takes minutes: scripts/soak"]
fn collector_under_load_and_faults_for_a_long_time_stays_flat_and_loses_nothing() {
    let minutes: u64 = std::env::var("OTELCORE_SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    assert!(minutes >= 8, "each quarter needs a round of faults, which takes two minutes");
    let dir = empty_test_dir("soak");
    let state = Arc::new(AtomicUsize::new(0));
    let asked = state.clone();
    let backend = OtlpHttpBackend::start_with(move || match ROUND[asked.load(Ordering::Relaxed)].0 {
        Backend::Up => Some(200),
        Backend::Down => None,
        Backend::Failing => Some(503),
        Backend::Slow => {
            thread::sleep(Duration::from_millis(300));
            Some(200)
        }
    });
    let ports = [free_port(), free_port(), free_port(), backend.port];
    let [http, page, prometheus] = [0, 1, 2].map(|i| format!("127.0.0.1:{}", ports[i]));
    let file = dir.join("config.yaml");
    std::fs::write(&file, config(&dir, ports, 0)).unwrap();
    let program = std::env::var_os("OTELCORE_SOAK_PROGRAM").map_or_else(otelcore, Into::into);
    let mut process =
        Process::start(Command::new(program).arg(format!("--config={}", file.display())), &dir.join("collector.log"));
    wait_for_listener(&http, &mut process);

    let (sent, is_over) = (Arc::new(Sent::default()), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4).map(|n| start_client(n, http.clone(), sent.clone(), is_over.clone())).collect();
    let (mut delivered, mut twice) = (BTreeSet::new(), 0_u64);
    let mut take = |delivered: &mut BTreeSet<u64>| {
        for (signal, body) in backend.take_requests() {
            for number in numbers_in(&signal, &body) {
                twice += u64::from(!delivered.insert(number));
            }
        }
    };
    let (mut memory, mut descriptors) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    let round: u64 = ROUND.iter().map(|(_, seconds)| seconds).sum();
    let mut reloads = 0;
    while begin.elapsed() < Duration::from_secs(minutes * 60) {
        thread::sleep(Duration::from_secs(1));
        let second = begin.elapsed().as_secs();
        let mut rest = second % round;
        let at = ROUND.iter().position(|(_, seconds)| rest.checked_sub(*seconds).map(|left| rest = left).is_none());
        state.store(at.unwrap_or(0), Ordering::Relaxed);
        take(&mut delivered);
        let (kib, count) = usage_of(&process);
        memory.push(kib);
        descriptors.push(count);
        if second.is_multiple_of(5) {
            assert_eq!(http_get(&prometheus, "/metrics").0, 200);
            let (status, text) = http_get(&page, "/metrics");
            assert_eq!(status, 200);
            assert_eq!(sums_of(&text).check().map_err(|e| e.to_string()), Ok(()));
        }
        if second / 60 > reloads {
            reloads = second / 60;
            std::fs::write(&file, config(&dir, ports, reloads)).unwrap();
            process.signal("HUP");
            let acknowledged = sent.acknowledged.lock().unwrap().len();
            eprintln!(
                "minute {reloads}: {acknowledged} requests acknowledged, {} delivered, {kib} KiB, {count} descriptors",
                delivered.len()
            );
        }
    }
    state.store(0, Ordering::Relaxed);
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let acknowledged = std::mem::take(&mut *sent.acknowledged.lock().unwrap());
    let end = Instant::now() + Duration::from_secs(120);
    while acknowledged.difference(&delivered).next().is_some() {
        let missing = acknowledged.difference(&delivered).count();
        assert!(Instant::now() < end, "{missing} are missing:\n{}", process.log_text());
        thread::sleep(Duration::from_millis(200));
        take(&mut delivered);
    }
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(60)), 0, "{}", process.log_text());
    let log = process.log_text();
    assert!(!log.contains("do not add up") && !log.contains("panicked"), "{log}");
    let (memory, descriptors) = (
        check_flat("memory in KiB", &memory, MEMORY_TOLERANCE),
        check_flat("descriptors", &descriptors, DESCRIPTOR_TOLERANCE),
    );
    let disk = bytes_in(&dir.join("data"));
    assert!(disk < 64 << 20, "{disk} bytes are left on disk");
    let refused = sent.refused.load(Ordering::Relaxed);
    eprintln!(
        "{minutes} minutes, {} requests of {ITEMS} items: {refused} refused, {} of traces and logs acknowledged, none lost, {twice} \
         delivered again; {reloads} reloads; median of memory in the second quarter {:.0} KiB, in the last {:.0}; descriptors {} and {}; \
         {} KiB left on disk",
        sent.next.load(Ordering::Relaxed),
        acknowledged.len(),
        memory.0,
        memory.1,
        descriptors.0,
        descriptors.1,
        disk >> 10,
    );
}
