//! Processors of a host program: callbacks and payloads that it takes, changes, misuse, and the end of the collector.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that can't go on has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use otelcore::inproc::{BatchResult, Item, ItemKind, NextBatchError, ProcessResult, SubmitError, Visit};
use otelcore::pdata::views::AnyValue;
use otelcore::pdata::{Signal, check};
use otelcore::{CollectorState, EmbedError, EmbedOptions, EmbeddedCollector};

const CONFIG: &str = "
receivers: {inproc/app: }
processors: {inproc/change: {SETTINGS}}
exporters: {inproc/out: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc/app], processors: [inproc/change], exporters: [inproc/out]}}
";

const LONG: Duration = Duration::from_secs(20);

/// A request of `n` spans.
fn spans(n: u8) -> Vec<u8> {
    let scope: Vec<u8> = [0x12, 4 * n].into_iter().chain((0..n).flat_map(|_| [0x12, 2, 0x30, 1])).collect();
    [0x0a, 4 * n + 2].into_iter().chain(scope).collect()
}

fn embedded(settings: &str) -> Arc<EmbeddedCollector> {
    let yaml = CONFIG.replace("SETTINGS", settings);
    Arc::new(EmbeddedCollector::new(&yaml, EmbedOptions::default()).unwrap_or_else(|e| panic!("{e}")))
}

/// The numbers of spans of the batches that come out.
fn outputs(collector: &EmbeddedCollector) -> Receiver<(u32, Vec<u8>)> {
    let (sender, receiver) = channel();
    let output = collector.output("inproc/out").unwrap();
    let is_set = output.set_callback(move |_, body| {
        let _ = sender.send((check(Signal::Traces, body).unwrap().items, body.to_vec()));
        BatchResult::Delivered
    });
    assert!(is_set);
    receiver
}

#[test]
fn callback_changes_and_drops_items_off_the_loop() {
    let collector = embedded("");
    let outputs = outputs(&collector);
    let loop_thread = Arc::new(Mutex::new(None));
    let thread_of_callback = loop_thread.clone();
    let mut seen = 0;
    let is_set = collector.processor("inproc/change").unwrap().set_callback(move |payload| {
        *thread_of_callback.lock().unwrap() = thread::current().name().map(str::to_owned);
        let mut kinds = Vec::new();
        let edited = payload.visit(|item| {
            kinds.push(item.kind());
            if !matches!(item, Item::Span(_)) {
                return Visit::Keep;
            }
            seen += 1;
            if seen % 2 == 0 {
                return Visit::Drop;
            }
            item.attributes().unwrap().upsert(b"seen", AnyValue::Int(seen));
            assert!(item.set_name(b"renamed") && matches!(item.attribute(b"seen"), Some(AnyValue::Int(_))));
            Visit::Keep
        });
        assert_eq!(edited.unwrap().dropped, 2);
        assert_eq!(kinds[..3], [ItemKind::Resource, ItemKind::Scope, ItemKind::Span]);
        ProcessResult::Pass
    });
    assert!(is_set);
    collector.start().unwrap();
    let input = collector.input("inproc/app").unwrap();
    input.submit(Signal::Traces, &spans(4)).unwrap();
    let (items, body) = outputs.recv_timeout(LONG).unwrap();
    assert_eq!(items, 2);
    assert_eq!(body.windows(7).filter(|window| window == b"renamed").count(), 2);
    collector.shutdown(LONG).unwrap();
    assert_eq!(loop_thread.lock().unwrap().as_deref(), Some("otelcore-proc"));
}

#[test]
fn every_result_has_its_outcome() {
    let collector = embedded("");
    let outputs = outputs(&collector);
    let calls = AtomicUsize::new(0);
    let processor = collector.processor("inproc/change").unwrap();
    let is_set = processor.set_callback(move |payload| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => ProcessResult::Retry(Some(Duration::from_millis(1))),
        // The first payload again.
        1 => {
            assert_eq!(payload.items(), 1);
            assert!(payload.replace(b"\x0a\xff".as_slice().into()).is_err() && payload.items() == 1);
            payload.replace(spans(9).into()).unwrap();
            ProcessResult::Pass
        }
        2 => ProcessResult::Drop,
        3 => ProcessResult::Permanent("not this one".to_owned()),
        4 => panic!("on request"),
        _ => ProcessResult::Pass,
    });
    assert!(is_set && !processor.set_callback(|_| ProcessResult::Pass));
    collector.start().unwrap();
    let input = collector.input("inproc/app").unwrap();
    input.submit(Signal::Traces, &spans(1)).unwrap();
    assert_eq!(outputs.recv_timeout(LONG).unwrap().0, 9);
    (2..=5).for_each(|n| input.submit(Signal::Traces, &spans(n)).unwrap());
    assert_eq!(outputs.recv_timeout(LONG).unwrap().0, 5, "the others are dropped or refused for good");
    collector.flush(LONG).unwrap();
    collector.shutdown(LONG).unwrap();
}

#[test]
fn callback_that_does_not_return_in_time_leads_to_retries_and_does_not_stop_the_loop() {
    let collector = embedded("timeout: 100ms");
    let outputs = outputs(&collector);
    let (release, blocked) = channel::<()>();
    let mut is_first = true;
    let is_set = collector.processor("inproc/change").unwrap().set_callback(move |_| {
        if std::mem::take(&mut is_first) {
            let _ = blocked.recv_timeout(LONG);
            // Too late: this is ignored.
            return ProcessResult::Drop;
        }
        ProcessResult::Pass
    });
    assert!(is_set);
    collector.start().unwrap();
    let input = collector.input("inproc/app").unwrap();
    let begun = Instant::now();
    input.submit(Signal::Traces, &spans(3)).unwrap();
    // The loop works: the payload is refused, and waits for the next attempt of its sender.
    while begun.elapsed() < Duration::from_millis(300) {
        assert!(!collector.metrics().is_empty() || collector.state() == CollectorState::Running);
        thread::sleep(Duration::from_millis(10));
    }
    assert!(outputs.try_recv().is_err());
    release.send(()).unwrap();
    assert_eq!(outputs.recv_timeout(LONG).unwrap().0, 3);
    collector.shutdown(LONG).unwrap();
}

#[test]
fn shutdown_does_not_wait_for_a_callback_that_never_returns() {
    let collector = embedded("timeout: 0");
    let (release, blocked) = channel::<()>();
    let (entered, is_in) = channel();
    let is_set = collector.processor("inproc/change").unwrap().set_callback(move |_| {
        let _ = entered.send(());
        let _ = blocked.recv_timeout(LONG);
        ProcessResult::Pass
    });
    assert!(is_set);
    collector.start().unwrap();
    collector.input("inproc/app").unwrap().submit(Signal::Traces, &spans(3)).unwrap();
    is_in.recv_timeout(LONG).unwrap();
    match collector.shutdown(Duration::from_millis(50)) {
        Err(EmbedError::Timeout(left)) => assert_eq!(left.total(), 3),
        other => panic!("{other:?}"),
    }
    assert_eq!(collector.state(), CollectorState::Stopped);
    drop(release);
}

#[test]
fn calls_from_inside_a_callback_are_refused_if_they_wait() {
    let collector = embedded("");
    let outputs = outputs(&collector);
    let weak = Arc::downgrade(&collector);
    let input = collector.input("inproc/app").unwrap();
    let again = input.clone();
    let is_set = collector.processor("inproc/change").unwrap().set_callback(move |payload| {
        let collector = weak.upgrade().unwrap();
        assert!(matches!(collector.flush(LONG), Err(EmbedError::Reentrant)));
        assert!(matches!(collector.shutdown(LONG), Err(EmbedError::Reentrant)));
        if payload.items() == 1 {
            again.submit(Signal::Traces, &spans(2)).unwrap();
        }
        collector.begin_flush().unwrap();
        ProcessResult::Pass
    });
    assert!(is_set);
    collector.start().unwrap();
    input.submit(Signal::Traces, &spans(1)).unwrap();
    assert_eq!([outputs.recv_timeout(LONG).unwrap().0, outputs.recv_timeout(LONG).unwrap().0], [1, 2]);
    collector.shutdown(LONG).unwrap();
}

#[test]
fn payloads_are_taken_by_threads_of_the_host() {
    let collector = embedded("");
    let outputs = outputs(&collector);
    let processor = collector.processor("inproc/change").unwrap();
    collector.start().unwrap();
    assert!(!processor.set_callback(|_| ProcessResult::Pass), "too late");
    assert_eq!(processor.next(Some(Duration::ZERO)).unwrap_err(), NextBatchError::Timeout);
    processor.wake();
    assert_eq!(processor.next(None).unwrap_err(), NextBatchError::Woken);
    let input = collector.input("inproc/app").unwrap();
    input.submit(Signal::Traces, &spans(3)).unwrap();
    let payload = processor.next(Some(LONG)).unwrap();
    assert_eq!((payload.signal(), payload.items(), payload.data().len()), (Signal::Traces, 3, spans(3).len()));
    // One that is dropped is given again, since its sender sends it again.
    drop(payload);
    processor.next(Some(LONG)).unwrap().finish(ProcessResult::Pass);
    assert_eq!(outputs.recv_timeout(LONG).unwrap().0, 3);
    collector.shutdown(LONG).unwrap();
    assert_eq!(processor.next(None).unwrap_err(), NextBatchError::Closed);
}

#[test]
fn processor_that_nobody_asked_for_is_an_error_of_the_start() {
    let error = embedded("").start().unwrap_err().to_string();
    assert!(error.contains("inproc/change") && error.contains("give it a callback"), "{error}");
    assert!(embedded("").processor("inproc/other").is_none());
    assert_eq!(embedded("").processor_ids(), ["inproc/change"]);
    let yaml = CONFIG.replace("SETTINGS", "timeout: -1s, max_queue_bytes: 0");
    let error = EmbeddedCollector::new(&yaml, EmbedOptions::default()).unwrap_err().to_string();
    assert!(error.contains("'timeout' must be non-negative") && error.contains("'max_queue_bytes'"), "{error}");
}

#[test]
fn more_than_the_queue_may_hold_is_refused() {
    let body = spans(10);
    let collector = embedded(&format!("timeout: 0, max_queue_bytes: {}", body.len() + 1));
    let outputs = outputs(&collector);
    let processor = collector.processor("inproc/change").unwrap();
    collector.start().unwrap();
    let input = collector.input("inproc/app").unwrap();
    input.submit(Signal::Traces, &body).unwrap();
    input.submit(Signal::Traces, &body).unwrap();
    let first = processor.next(Some(LONG)).unwrap();
    assert_eq!(processor.next(Some(Duration::from_millis(100))).unwrap_err(), NextBatchError::Timeout);
    first.finish(ProcessResult::Pass);
    // The input keeps what was refused and sends it again.
    processor.next(Some(LONG)).unwrap().finish(ProcessResult::Pass);
    assert_eq!([outputs.recv_timeout(LONG).unwrap().0, outputs.recv_timeout(LONG).unwrap().0], [10, 10]);
    collector.shutdown(LONG).unwrap();
    assert_eq!(input.submit(Signal::Traces, &body), Err(SubmitError::Closed));
}
