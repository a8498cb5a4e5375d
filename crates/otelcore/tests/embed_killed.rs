//! A host program with a queue on disk that is killed at random moments: what `submit` has acknowledged is delivered.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that can't go on has failed"
)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore::inproc::{BatchResult, Output, SubmitError};
use otelcore::pdata::Signal;
use otelcore::{EmbedOptions, EmbeddedCollector};
use prost::Message;

/// Set for the process that is killed: its folder, the port of the destination, and the number of its first span.
const CHILD: &str = "OTELCORE_KILLED_CHILD";

const TEST_NAME: &str = "spans_that_submit_acknowledged_are_delivered_after_kills";

fn config_of_child(dir: &str, port: &str) -> String {
    format!(
        "
receivers: {{inproc: {{wait_for_result: true, result_timeout: 20s}}}}
processors: {{batch: {{timeout: 5ms, send_batch_size: 4}}}}
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{port}
    tls: {{insecure: true}}
    sending_queue: {{storage: file_storage}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
extensions: {{file_storage: {{directory: {dir}/data, create_directory: true}}}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [inproc], processors: [batch], exporters: [otlp_grpc]}}}}
"
    )
}

fn request(number: u64) -> Vec<u8> {
    let span = Span { trace_id: vec![1; 16], span_id: number.to_be_bytes().to_vec(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Submits on four threads until it is killed, and writes the number of each span that is acknowledged to a file.
fn run_child(arguments: &str) {
    let [dir, port, first] = arguments.split(' ').collect::<Vec<_>>()[..] else { panic!("{arguments}") };
    let acknowledged = OpenOptions::new().append(true).create(true).open(Path::new(dir).join("acknowledged")).unwrap();
    let acknowledged = Mutex::new(acknowledged);
    let collector = EmbeddedCollector::new(&config_of_child(dir, port), EmbedOptions::default()).unwrap();
    collector.start().unwrap();
    let input = collector.input("inproc").unwrap();
    let next = AtomicU64::new(first.parse().unwrap());
    // Longer than any test runs.
    let until = Instant::now() + Duration::from_secs(120);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while Instant::now() < until {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match input.submit(Signal::Traces, &request(number)) {
                        Ok(()) => writeln!(acknowledged.lock().unwrap(), "{number}").unwrap(),
                        Err(SubmitError::Overloaded(pause)) => thread::sleep(pause),
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
}

struct KilledAtEnd(Child);

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_child(dir: &Path, port: u16, first: u64) -> KilledAtEnd {
    let log = File::create(dir.join(format!("child-{first}.log"))).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST_NAME, "--nocapture"])
        .env(CHILD, format!("{} {port} {first}", dir.display()))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    KilledAtEnd(child)
}

/// Counts the spans that come in a tenth of a second, by number.
fn take(output: &Output, delivered: &mut BTreeMap<u64, u32>) {
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until
        && let Ok(batch) = output.next(Some(Duration::from_millis(50)))
    {
        let request = ExportTraceServiceRequest::decode(&batch.data()[..]).unwrap();
        for span in request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans) {
            *delivered.entry(u64::from_be_bytes(span.span_id.try_into().unwrap())).or_default() += 1;
        }
        batch.finish(BatchResult::Delivered);
    }
}

fn acknowledged(dir: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(dir.join("acknowledged")).unwrap_or_default();
    // A kill may end a line early.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| line.trim().parse().unwrap()).collect()
}

#[test]
fn spans_that_submit_acknowledged_are_delivered_after_kills() {
    if let Ok(arguments) = std::env::var(CHILD) {
        return run_child(&arguments);
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embed_killed");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let port = otelcore_test_support::free_port();
    let destination = format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters: {{inproc: }}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [inproc]}}}}
"
    );
    let destination = EmbeddedCollector::new(&destination, EmbedOptions::default()).unwrap();
    destination.start().unwrap();
    let output = destination.output("inproc").unwrap();
    let kills: u64 = std::env::var("OTELCORE_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let mut delivered = BTreeMap::new();
    let mut choices = otelcore_test_support::Choices::new(u64::from(std::process::id()), 256);
    for round in 0..kills {
        let before = acknowledged(&dir).len();
        let child = start_child(&dir, port, round << 32);
        // On a slow machine the first acknowledgement takes long; the moment of the kill is counted from there.
        let until = Instant::now() + Duration::from_secs(60);
        while acknowledged(&dir).len() == before && Instant::now() < until {
            take(&output, &mut delivered);
        }
        thread::sleep(Duration::from_millis(choices.below(200) as u64));
        drop(child);
    }
    // The last one sends what is left.
    let child = start_child(&dir, port, kills << 32);
    let acknowledged = {
        let until = Instant::now() + Duration::from_secs(60);
        let all = acknowledged(&dir);
        while Instant::now() < until && !all.iter().all(|number| delivered.contains_key(number)) {
            take(&output, &mut delivered);
        }
        all
    };
    drop(child);
    let missing: Vec<&u64> = acknowledged.iter().filter(|number| !delivered.contains_key(number)).collect();
    assert_eq!(missing, Vec::<&u64>::new(), "of {} that were acknowledged", acknowledged.len());
    assert!(acknowledged.len() as u64 > kills, "{} were acknowledged", acknowledged.len());
    let twice = delivered.values().filter(|times| **times > 1).count();
    println!("{kills} kills: {} acknowledged, {} delivered, {twice} twice", acknowledged.len(), delivered.len());
}

#[test]
fn submit_that_waits_for_its_outcome_says_what_the_pipeline_says() {
    let config = "
receivers: {inproc: {wait_for_result: true, result_timeout: TIMEOUT}}
exporters: {inproc/out: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc], exporters: [inproc/out]}}
";
    let cases = [
        ("60s", Some(BatchResult::Delivered), ""),
        ("60s", Some(BatchResult::Permanent("no".into())), "the collector has refused the data: no"),
        ("60s", Some(BatchResult::Retry(None)), "the collector holds as much as it may"),
        ("50ms", None, "no outcome came within 'result_timeout' of the input"),
    ];
    for (timeout, result, expected) in cases {
        let collector = EmbeddedCollector::new(&config.replace("TIMEOUT", timeout), EmbedOptions::default()).unwrap();
        collector.start().unwrap();
        let (input, output) = (collector.input("inproc").unwrap(), collector.output("inproc/out").unwrap());
        thread::scope(|scope| {
            if let Some(result) = result {
                scope.spawn(move || output.next(Some(Duration::from_secs(60))).unwrap().finish(result));
            }
            let submitted = input.submit(Signal::Traces, &request(1)).map_err(|e| e.to_string());
            let text = submitted.err().unwrap_or_default();
            assert!(text.contains(expected) && text.is_empty() == expected.is_empty(), "{text}");
        });
    }
}
