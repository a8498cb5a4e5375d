//! Another configuration for a collector that runs in a host program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that can't go on has failed"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use otelcore::inproc::{BatchResult, Output, ProcessResult, SubmitError};
use otelcore::pdata::{Signal, check};
use otelcore::{EmbedError, EmbedOptions, EmbeddedCollector};

const GRACE: Duration = Duration::from_secs(5);

/// A configuration with these keys of the input, the batch and the output.
fn yaml(input: &str, batch: &str, output: &str) -> String {
    format!(
        "receivers: {{inproc/app: {{{input}}}}}\nprocessors: {{batch: {{{batch}}}}}\nexporters: {{inproc/out: {{{output}}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}}}\n"
    )
}

/// A request of `n` spans.
fn spans(n: u8) -> Vec<u8> {
    let scope: Vec<u8> = [0x12, 4 * n].into_iter().chain((0..n).flat_map(|_| [0x12, 2, 0x30, 1])).collect();
    [0x0a, 4 * n + 2].into_iter().chain(scope).collect()
}

fn started(yaml: &str) -> EmbeddedCollector {
    let collector = EmbeddedCollector::new(yaml, EmbedOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    collector.start().unwrap();
    collector
}

/// Takes a batch, and returns its number of items.
fn take(output: &Output) -> u32 {
    let batch = output.next(Some(Duration::from_secs(20))).unwrap();
    let items = check(Signal::Traces, batch.data()).unwrap().items;
    batch.finish(BatchResult::Delivered);
    items
}

#[test]
fn reload_keeps_what_has_not_changed_and_handles_of_what_has() {
    let collector = started(&yaml("", "timeout: 60s", ""));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    input.submit(Signal::Traces, &spans(3)).unwrap();
    let change = collector.reload(&yaml("", "timeout: 60s", "timeout: 9s"), GRACE).unwrap();
    assert_eq!((change.kept, change.started, change.retired), (2, 1, 1));
    input.submit(Signal::Traces, &spans(4)).unwrap();
    // The batch has been kept; the output is that of the new exporter.
    collector.begin_flush().unwrap();
    assert_eq!(take(&output), 7);
    // The receiver and the batch change. What is submitted meanwhile is not lost, and the old batch is sent at once.
    input.submit(Signal::Traces, &spans(5)).unwrap();
    let change = collector.reload(&yaml("max_queue_bytes: 1000000", "timeout: 1ms", "timeout: 9s"), GRACE).unwrap();
    assert_eq!((change.kept, change.started, change.retired), (1, 2, 2));
    assert_eq!(take(&output), 5);
    input.submit(Signal::Traces, &spans(6)).unwrap();
    assert_eq!(take(&output), 6);
    collector.shutdown(GRACE).unwrap();
    assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(SubmitError::Closed));
}

#[test]
fn reload_that_is_refused_says_why_and_leaves_the_collector_running() {
    let collector = started(&yaml("", "timeout: 1ms", ""));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    // The input, the batch and the output are started anew, then the other receiver fails.
    let in_use = yaml("max_queue_bytes: 1000", "timeout: 2ms", "timeout: 1s")
        .replace(
            "receivers: {inproc",
            &format!("receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{port}\"}}}}}}, inproc"),
        )
        .replace("receivers: [inproc/app", "receivers: [inproc/app, otlp");
    let level = yaml("", "timeout: 1ms", "").replace("level: none", "level: basic");
    for (text, expected) in [
        (&yaml("", "timeot: 1ms", ""), "has invalid keys: timeot"),
        (&in_use, "bind: address already in use"),
        (&level, "can't be used without a restart of the collector: service::telemetry::metrics::level"),
    ] {
        let error = collector.reload(text, GRACE).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        input.submit(Signal::Traces, &spans(2)).unwrap();
        assert_eq!(take(&output), 2);
    }
    assert!(matches!(collector.reload(&level, GRACE), Err(EmbedError::NeedsRestart(_))));
    collector.shutdown(GRACE).unwrap();
    assert!(matches!(collector.reload(&yaml("", "", ""), GRACE), Err(EmbedError::State(_))));
}

#[test]
fn inputs_outputs_and_processors_come_and_go() {
    let before = yaml("", "timeout: 1ms", "");
    let collector = started(&before);
    let input = collector.input("inproc/app").unwrap();
    let after = before
        .replace("inproc/app", "inproc/new")
        .replace("processors: {batch: {timeout: 1ms}}", "processors: {inproc/step: {}}")
        .replace("[batch]", "[inproc/step]");
    let error = collector.reload(&after, GRACE).unwrap_err().to_string();
    assert!(error.contains("give it a callback"), "{error}");
    // Now its id is known.
    let seen = Arc::new(AtomicU32::new(0));
    let counted = seen.clone();
    assert!(collector.processor("inproc/step").unwrap().set_callback(move |payload| {
        counted.fetch_add(payload.items(), Ordering::Relaxed);
        ProcessResult::Pass
    }));
    collector.reload(&after, GRACE).unwrap();
    assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(SubmitError::Closed));
    let new = collector.input("inproc/new").unwrap();
    new.submit(Signal::Traces, &spans(3)).unwrap();
    let output = collector.output("inproc/out").unwrap();
    assert_eq!((take(&output), seen.load(Ordering::Relaxed)), (3, 3));
    // Back again: the first input is open again.
    collector.reload(&before, GRACE).unwrap();
    input.submit(Signal::Traces, &spans(4)).unwrap();
    assert_eq!(take(&output), 4);
    collector.shutdown(GRACE).unwrap();
}

#[test]
fn reloads_while_threads_submit_lose_nothing() {
    let collector = started(&yaml("", "timeout: 5ms", ""));
    let (output, is_over) = (collector.output("inproc/out").unwrap(), AtomicBool::new(false));
    let (sent, received) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let input = collector.input("inproc/app").unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    match input.submit(Signal::Traces, &spans(3)) {
                        Ok(()) => drop(sent.fetch_add(3, Ordering::Relaxed)),
                        Err(SubmitError::Overloaded(_)) => {}
                        Err(e) => panic!("{e}"),
                    }
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
        scope.spawn(|| {
            while let Ok(batch) = output.next(None) {
                received.fetch_add(check(Signal::Traces, batch.data()).unwrap().items, Ordering::Relaxed);
                batch.finish(BatchResult::Delivered);
            }
        });
        for i in 0..20 {
            let text = yaml(
                ["", "max_queue_bytes: 1000000"][i % 2],
                ["timeout: 5ms", "timeout: 6ms"][i / 2 % 2],
                ["", "timeout: 20s"][i / 3 % 2],
            );
            collector.reload(&text, Duration::from_secs(20)).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
        is_over.store(true, Ordering::Relaxed);
        // The threads that submit end before what was submitted is delivered.
        thread::sleep(Duration::from_millis(50));
        collector.shutdown(Duration::from_secs(20)).unwrap();
    });
    assert_eq!(received.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
}

#[test]
fn host_loop_takes_the_new_configuration_in_its_next_turn() {
    let collector = EmbeddedCollector::new(&yaml("", "timeout: 60s", ""), EmbedOptions::default()).unwrap();
    let mut driven = collector.start_in_host_loop().unwrap();
    assert!(matches!(collector.reload(&yaml("", "", ""), GRACE), Err(EmbedError::Reentrant)));
    let number = collector.begin_reload(&yaml("", "timeout: 50s", ""), GRACE).unwrap();
    assert!(collector.begin_reload(&yaml("", "timeout: 40s", ""), GRACE).is_err(), "one is under way");
    assert!(collector.reload_result(number).is_none());
    assert!(driven.turn().unwrap());
    assert_eq!(collector.reload_result(number).unwrap().unwrap().started, 1);
    assert!(collector.reload_result(number).is_none(), "it is given once");
    collector.begin_shutdown(GRACE).unwrap();
    let begun = Instant::now();
    while driven.turn().unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
