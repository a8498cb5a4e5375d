//! A collector inside a host program: its thread or the host's loop, inputs and outputs, flush and shutdown.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that can't go on has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use otelcore::inproc::{BatchResult, NextBatchError, SubmitError};
use otelcore::pdata::{Signal, check};
use otelcore::pipeline::{LogEntry, LogLevel, LogSink};
use otelcore::{CollectorState, ConfigDocument, EmbedError, EmbedOptions, EmbeddedCollector};

const FORWARDING_CONFIG: &str = "
receivers: {inproc/app: }
processors: {batch: {timeout: 10s}}
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}
";

/// A request of `n` spans.
fn spans(n: u8) -> Vec<u8> {
    let scope: Vec<u8> = [0x12, 4 * n].into_iter().chain((0..n).flat_map(|_| [0x12, 2, 0x30, 1])).collect();
    [0x0a, 4 * n + 2].into_iter().chain(scope).collect()
}

fn embedded(yaml: &str) -> EmbeddedCollector {
    EmbeddedCollector::new(yaml, EmbedOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn items(body: &[u8]) -> u32 {
    check(Signal::Traces, body).unwrap().items
}

#[test]
fn flush_delivers_submitted_spans_before_the_batch_timeout() {
    let collector = embedded(FORWARDING_CONFIG);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    assert_eq!(input.submit(Signal::Traces, &spans(3)), Err(SubmitError::NotStarted));
    assert_eq!(collector.state(), CollectorState::Created);
    collector.start().unwrap();
    assert_eq!(collector.state(), CollectorState::Running);
    input.submit(Signal::Traces, &spans(3)).unwrap();
    input.submit(Signal::Traces, &spans(4)).unwrap();
    assert_eq!(input.submit(Signal::Logs, b""), Err(SubmitError::Signal(Signal::Logs)));
    assert!(matches!(input.submit(Signal::Traces, b"\x0a\xff"), Err(SubmitError::Invalid(_))));
    assert_eq!(output.next(Some(Duration::from_millis(50))).unwrap_err(), NextBatchError::Timeout);
    // The batch would wait for ten seconds; the flush ends when the host has finished it.
    let consumer = thread::spawn(move || {
        let batch = output.next(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(items(batch.data()), 7);
        thread::sleep(Duration::from_millis(30));
        batch.finish(BatchResult::Delivered);
        output
    });
    let begun = Instant::now();
    collector.flush(Duration::from_secs(8)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30) && begun.elapsed() < Duration::from_secs(5));
    let output = consumer.join().unwrap();
    collector.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(collector.state(), CollectorState::Stopped);
    assert_eq!(output.next(None).unwrap_err(), NextBatchError::Closed);
    assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(SubmitError::Closed));
    assert!(matches!(collector.start(), Err(EmbedError::State(CollectorState::Stopped))));
    assert!(collector.shutdown(Duration::ZERO).is_ok(), "an end that has come is no error");
}

/// Polls a future until it is done, as the simplest executor does: its waker unparks this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return value;
        }
        thread::park_timeout(Duration::from_secs(10));
    }
}

#[test]
fn future_of_the_next_batch_is_woken_by_a_batch_a_wake_and_the_end() {
    let collector = embedded(&FORWARDING_CONFIG.replace("10s", "1ms"));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    collector.start().unwrap();
    let submitter = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        input.submit(Signal::Traces, &spans(3)).unwrap();
    });
    // One that is dropped while it waits takes nothing.
    let mut dropped = Box::pin(output.next_async());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    drop(dropped);
    let batch = block_on(output.next_async()).unwrap();
    assert_eq!(items(batch.data()), 3);
    batch.finish(BatchResult::Delivered);
    submitter.join().unwrap();
    let (one, other) = (output.next_async(), output.clone());
    let waker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        other.wake();
    });
    assert_eq!(block_on(one).unwrap_err(), NextBatchError::Woken);
    waker.join().unwrap();
    let last = output.next_async();
    let waiting = thread::spawn(move || block_on(last).unwrap_err());
    thread::sleep(Duration::from_millis(30));
    collector.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(waiting.join().unwrap(), NextBatchError::Closed);
}

#[test]
fn json_is_submitted_as_the_same_request() {
    let collector = embedded(FORWARDING_CONFIG);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let json = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}"#;
    assert_eq!(input.submit_json(Signal::Traces, json), Err(SubmitError::NotStarted));
    collector.start().unwrap();
    input.submit_json(Signal::Traces, json).unwrap();
    let invalid = input.submit_json(Signal::Traces, br#"{"resourceSpans":[{"scopeSpans":7}]}"#);
    assert!(matches!(&invalid, Err(SubmitError::Invalid(why)) if why.contains("scopeSpans")), "{invalid:?}");
    collector.begin_flush().unwrap();
    let batch = output.next(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(items(batch.data()), 2);
    batch.finish(BatchResult::Delivered);
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn documents_are_merged_and_mistakes_have_the_name_of_theirs() {
    let over =
        |text| [ConfigDocument { name: "base.yaml", text: FORWARDING_CONFIG }, ConfigDocument { name: "data", text }];
    let merged = |text| EmbeddedCollector::new_merged(&over(text), EmbedOptions::default());
    let collector = merged(r#"{"processors": {"batch": {"timeout": "1ms"}}}"#).unwrap();
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    collector.start().unwrap();
    input.submit(Signal::Traces, &spans(2)).unwrap();
    output.next(Some(Duration::from_secs(5))).unwrap().finish(BatchResult::Delivered);
    collector.reload_merged(&over(r#"{"processors": {"batch": {"timeout": "2ms"}}}"#), Duration::from_secs(1)).unwrap();
    collector.shutdown(Duration::from_secs(5)).unwrap();
    let mistake =
        merged("{\n  \"processors\": {\n    \"batch\": {\"tmeout\": \"1ms\"}\n  }\n}").unwrap_err().to_string();
    assert!(mistake.contains("data:3:15  (processors::batch::tmeout)"), "{mistake}");
    let twice = [ConfigDocument { name: "a", text: "" }, ConfigDocument { name: "a", text: "" }];
    let error = EmbeddedCollector::new_merged(&twice, EmbedOptions::default()).unwrap_err().to_string();
    assert!(error.contains("the name \"a\""), "{error}");
}

#[test]
fn snapshot_has_statuses_queues_memory_and_metrics_as_values() {
    let yaml = FORWARDING_CONFIG
        .replace("10s", "1ms")
        .replace("inproc/out: }", "inproc/out: {sending_queue: {queue_size: 7}}}");
    let collector = embedded(&yaml);
    let changes = Arc::<Mutex<Vec<(String, &str)>>>::default();
    let to = changes.clone();
    collector.on_status_change(move |entry| {
        to.lock().unwrap().push((entry.id.clone(), entry.status.name()));
        assert!(entry.id != "batch", "a panic of the host's function is not the collector's");
    });
    assert_eq!(collector.snapshot().queues.iter().filter(|queue| queue.kind == "exporter").count(), 0);
    collector.start().unwrap();
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    input.submit(Signal::Traces, &spans(3)).unwrap();
    input.submit(Signal::Traces, &spans(3)).unwrap();
    let batch = output.next(Some(Duration::from_secs(10))).unwrap();
    thread::sleep(Duration::from_millis(20));
    let snapshot = collector.snapshot();
    assert_eq!((snapshot.state, &snapshot.failure), (CollectorState::Running, &None));
    let queue = snapshot.queues.iter().find(|queue| queue.kind == "exporter").unwrap();
    assert_eq!((queue.id.as_str(), queue.signal, queue.capacity), ("inproc/out", Some(Signal::Traces), 7));
    let age = queue.oldest_age.unwrap();
    assert!(queue.size >= 1 && age >= Duration::from_millis(20) && age < Duration::from_secs(60), "{queue:?}");
    let own = snapshot.queues.iter().find(|queue| queue.kind == "receiver").unwrap();
    assert_eq!((own.id.as_str(), own.unit.name(), own.capacity), ("inproc/app", "bytes", 64 << 20));
    assert!(snapshot.memory.held_bytes > 0 && snapshot.memory.resident_bytes > 1 << 20, "{:?}", snapshot.memory);
    assert!(snapshot.components.iter().any(|entry| entry.id == "inproc/out" && entry.status.name() == "ok"));
    let json = snapshot.to_json();
    assert!(
        json.contains(r#""queues":[{"kind":"exporter","id":"inproc/out","signal":"traces","unit":"requests","size":"#),
        "{json}"
    );
    batch.finish(BatchResult::Delivered);
    while let Ok(batch) = output.next(Some(Duration::from_millis(50))) {
        batch.finish(BatchResult::Delivered);
    }
    collector.flush(Duration::from_secs(5)).unwrap();
    let queue = collector.snapshot().queues.remove(0);
    assert_eq!((queue.size, queue.oldest_age), (0, None));
    collector.shutdown(Duration::from_secs(5)).unwrap();
    let changes = changes.lock().unwrap();
    let of_output: Vec<_> = changes.iter().filter(|(id, _)| id == "inproc/out").map(|(_, status)| *status).collect();
    assert_eq!(of_output.first(), Some(&"starting"), "{of_output:?}");
    assert_eq!(of_output.last(), Some(&"stopped"), "{of_output:?}");
}

#[test]
fn retried_and_dropped_batches_are_delivered_again() {
    let yaml = FORWARDING_CONFIG
        .replace("inproc/out: }", "inproc/out: {retry_on_failure: {initial_interval: 10ms}}}")
        .replace("10s", "1ms");
    let collector = embedded(&yaml);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    collector.start().unwrap();
    input.submit(Signal::Traces, &spans(5)).unwrap();
    let next = || output.next(Some(Duration::from_secs(10))).unwrap();
    next().finish(BatchResult::Retry(Some(Duration::from_millis(20))));
    drop(next());
    next().finish(BatchResult::Delivered);
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn memory_limiter_in_a_large_host_counts_what_the_collector_holds() {
    let yaml = FORWARDING_CONFIG
        .replace(
            "{batch: {timeout: 10s}}",
            "{memory_limiter: {check_interval: 10ms, limit_mib: 2, spike_limit_mib: 1}}",
        )
        .replace("[batch]", "[memory_limiter]");
    // Far more than the limit, and touched, so that it is resident.
    let host_memory = std::hint::black_box(vec![1_u8; 64 << 20]);
    let collector = embedded(&yaml);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    collector.start().unwrap();
    for _ in 0..200 {
        input.submit(Signal::Traces, &spans(30)).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
    assert!(collector.state() == CollectorState::Running && host_memory.len() > 2 << 20);
    // Batches that the host does not take are held; from the soft limit on, further ones are refused.
    let named = [&[0x0a, 0xfe, 0xff, 0x03, 0x1a, 0xfa, 0xff, 0x03][..], &vec![b'a'; 65_530]].concat();
    let body = [named, spans(1)].concat();
    let refused = (0..10_000).find_map(|sent| {
        thread::sleep(Duration::from_millis(1));
        input.submit(Signal::Traces, &body).err().map(|why| (sent, why))
    });
    let (sent, why) = refused.unwrap();
    assert!(matches!(why, SubmitError::Overloaded(_)) && (8..64).contains(&sent), "{why:?} after {sent} of 64 KiB");
    assert!(collector.health().contains("\"held_bytes\":1"), "{}", collector.health());
    // Once batches are taken, data is accepted again.
    let consumer =
        thread::spawn(move || while output.next(None).map(|batch| batch.finish(BatchResult::Delivered)).is_ok() {});
    assert!((0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        input.submit(Signal::Traces, &spans(1)).is_ok()
    }));
    collector.shutdown(Duration::from_secs(5)).unwrap();
    consumer.join().unwrap();
}

#[test]
fn undelivered_items_are_reported_by_the_shutdown() {
    let collector = embedded(FORWARDING_CONFIG);
    collector.start().unwrap();
    collector.input("inproc/app").unwrap().submit(Signal::Traces, &spans(6)).unwrap();
    match collector.shutdown(Duration::from_millis(200)) {
        Err(EmbedError::Timeout(left)) => {
            assert_eq!(left.items, [("exporter inproc/out".to_owned(), 6)]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn permanently_refused_items_are_not_reported_by_the_shutdown() {
    let yaml = FORWARDING_CONFIG.replace("processors: [batch], ", "");
    for _ in 0..300 {
        let collector = embedded(&yaml);
        let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
        collector.start().unwrap();
        input.submit(Signal::Traces, &spans(1)).unwrap();
        output.next(Some(Duration::from_secs(10))).unwrap().finish(BatchResult::Permanent("not this one".into()));
        collector.shutdown(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn callback_that_flushes_gets_an_error() {
    let collector = Arc::new(embedded(&FORWARDING_CONFIG.replace("10s", "1ms")));
    let (seen, flush_error) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
    let output = collector.output("inproc/out").unwrap();
    let (handle, count, error_text) = (collector.clone(), seen.clone(), flush_error.clone());
    let set = output.set_callback(move |_, body| {
        count.fetch_add(items(body) as usize, Ordering::SeqCst);
        *error_text.lock().unwrap() = handle.flush(Duration::from_secs(1)).unwrap_err().to_string();
        BatchResult::Delivered
    });
    assert!(set);
    collector.start().unwrap();
    assert!(!output.set_callback(|_, _| BatchResult::Delivered), "too late");
    let input = collector.input("inproc/app").unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let input = input.clone();
            thread::spawn(move || (0..250).for_each(|_| input.submit(Signal::Traces, &spans(2)).unwrap()))
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    collector.flush(Duration::from_secs(10)).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 2000);
    assert_eq!(*flush_error.lock().unwrap(), "the collector's own thread can't wait for the collector");
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn host_loop_drives_the_collector() {
    let collector = embedded(&FORWARDING_CONFIG.replace("10s", "20ms"));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let mut driven = collector.start_in_host_loop().unwrap();
    assert!(driven.descriptor().is_some());
    assert!(matches!(collector.flush(Duration::from_secs(1)), Err(EmbedError::Reentrant)));
    input.submit(Signal::Traces, &spans(2)).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let batch = loop {
        assert!(driven.turn().unwrap() && Instant::now() < until);
        match output.next(Some(Duration::ZERO)) {
            Ok(batch) => break batch,
            Err(NextBatchError::Timeout) => {
                thread::sleep(driven.deadline().unwrap_or_default().min(Duration::from_millis(5)))
            }
            Err(e) => panic!("{e}"),
        }
    };
    let mark = collector.begin_flush().unwrap();
    assert!(!collector.is_flushed(mark));
    batch.finish(BatchResult::Delivered);
    while !collector.is_flushed(mark) {
        assert!(driven.turn().unwrap() && Instant::now() < until);
    }
    collector.begin_shutdown(Duration::from_secs(1)).unwrap();
    while driven.turn().unwrap() {
        assert!(Instant::now() < until);
    }
    assert_eq!(collector.state(), CollectorState::Stopped);
    assert_eq!(driven.descriptor(), None);
}

#[test]
fn config_errors_have_positions_and_a_full_input_refuses() {
    let wrong = EmbeddedCollector::new("receivers: {inproc: {max_queue: 1}}\n", EmbedOptions::default())
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("config.yaml:1:22") && wrong.contains("max_queue_bytes"), "{wrong}");
    let collector = embedded(
        &FORWARDING_CONFIG
            .replace("inproc/app: }", "inproc/app: {max_queue_bytes: 100}}")
            .replace("processors: {batch: {timeout: 10s}}", "")
            .replace("processors: [batch], ", "")
            .replace("inproc/out: }", "inproc/out: {sending_queue: {queue_size: 1}}}"),
    );
    collector.start().unwrap();
    let input = collector.input("inproc/app").unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let mut accepted = 0;
    let refused = loop {
        match input.submit(Signal::Traces, &spans(9)) {
            Ok(()) => accepted += 9,
            Err(refused) => break refused,
        }
        assert!(Instant::now() < until);
    };
    assert!(matches!(refused, SubmitError::Overloaded(_)), "{refused}");
    // Nothing that was accepted is lost when there is room again.
    let output = collector.output("inproc/out").unwrap();
    let mut received = 0;
    while received < accepted {
        let batch = output.next(Some(Duration::from_secs(10))).unwrap();
        received += items(batch.data());
        batch.finish(BatchResult::Delivered);
    }
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn shutdown_with_a_stopped_host_loop_times_out_and_a_dropped_loop_closes_inputs_and_outputs() {
    let collector = Arc::new(embedded(FORWARDING_CONFIG));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let driven = collector.start_in_host_loop().unwrap();
    input.submit(Signal::Traces, &spans(2)).unwrap();
    let other = collector.clone();
    let waiting = thread::spawn(move || other.shutdown(Duration::from_millis(100)));
    assert!(matches!(waiting.join().unwrap(), Err(EmbedError::Timeout(_))));
    let consumer = thread::spawn({
        let output = output.clone();
        move || output.next(None).map(drop)
    });
    drop(driven);
    assert_eq!(consumer.join().unwrap(), Err(NextBatchError::Closed));
    assert_eq!(input.submit(Signal::Traces, &spans(2)), Err(SubmitError::Closed));
    assert_eq!(collector.state(), CollectorState::Failed);
    assert!(collector.shutdown(Duration::ZERO).unwrap_err().to_string().contains("dropped before its end"));
}

#[test]
fn output_that_waits_on_an_abandoned_collector_is_closed() {
    // Never started, then shut down, or dropped.
    for shut_down in [true, false] {
        let collector = embedded(FORWARDING_CONFIG);
        let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
        let waiter = thread::spawn(move || output.next(None).map(drop));
        if shut_down {
            collector.shutdown(Duration::ZERO).unwrap();
        } else {
            drop(collector);
        }
        assert_eq!(waiter.join().unwrap(), Err(NextBatchError::Closed));
        assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(SubmitError::Closed));
    }
    // A loop in the host's thread that will not be turned again.
    let collector = embedded(FORWARDING_CONFIG);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let driven = collector.start_in_host_loop().unwrap();
    let waiter = thread::spawn(move || output.next(None).map(drop));
    let collector = thread::spawn(move || {
        collector.abandon("it is not turned");
        collector
    });
    let collector = collector.join().unwrap();
    assert_eq!(waiter.join().unwrap(), Err(NextBatchError::Closed));
    assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(SubmitError::Closed));
    assert!(collector.shutdown(Duration::ZERO).unwrap_err().to_string().contains("it is not turned"));
    drop(driven);
}

#[test]
fn own_metrics_are_available_without_a_port() {
    // The port is in use: by this listener, or by another process where this bind fails.
    let _taken = std::net::TcpListener::bind(("localhost", 8888));
    let quiet = FORWARDING_CONFIG.replace("  telemetry: {metrics: {level: none}}\n", "");
    let two = [embedded(&quiet), embedded(&quiet)];
    for (collector, n) in two.iter().zip(1..) {
        collector.start().unwrap();
        collector.input("inproc/app").unwrap().submit(Signal::Traces, &spans(n)).unwrap();
        let output = collector.output("inproc/out").unwrap();
        let consumer =
            thread::spawn(move || output.next(Some(Duration::from_secs(10))).unwrap().finish(BatchResult::Delivered));
        collector.flush(Duration::from_secs(10)).unwrap();
        consumer.join().unwrap();
    }
    let value = |page: &str, name: &str| -> f64 {
        let mut lines = page.lines().filter(|line| line.starts_with(name));
        let line = lines.next().unwrap_or_else(|| panic!("no {name} in {page}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    for (collector, n) in two.iter().zip(1_u8..) {
        let page = String::from_utf8(collector.metrics()).unwrap();
        assert_eq!(value(&page, "otelcol_receiver_accepted_spans{"), f64::from(n));
        assert_eq!(value(&page, "otelcol_exporter_sent_spans{"), f64::from(n));
        for name in ["otelcol_process_uptime", "otelcol_process_memory_rss", "otelcol_process_cpu_seconds"] {
            assert!(value(&page, name) >= 0.0 && page.contains("target_info"));
        }
        assert!(value(&page, "otelcol_process_uptime") > 0.0 && value(&page, "otelcol_process_memory_rss") > 1e5);
        collector.shutdown(Duration::from_secs(5)).unwrap();
    }
    let none = embedded(FORWARDING_CONFIG);
    assert!(!String::from_utf8(none.metrics()).unwrap().contains("otelcol_"), "the level is none");

    // The program's default page, and a page that the configuration names, are opened.
    let options = || EmbedOptions { default_metrics_page: true, ..EmbedOptions::default() };
    let program = EmbeddedCollector::new(&quiet, options()).unwrap();
    assert!(program.start().unwrap_err().to_string().contains("localhost:8888"));
    let named = "  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {port: 8888}}}}]}}\n";
    let named = embedded(&FORWARDING_CONFIG.replace("  telemetry: {metrics: {level: none}}\n", named));
    assert!(named.start().unwrap_err().to_string().contains("localhost:8888"));
}

/// The records that a host's sink has got: level, message, fields.
#[derive(Default)]
struct RecordedLog(Mutex<Vec<(LogLevel, String, String)>>);

impl LogSink for RecordedLog {
    fn enabled(&self, _: LogLevel) -> bool {
        true
    }

    fn log(&self, record: &LogEntry<'_>) {
        self.0.lock().unwrap().push((record.level, record.message.to_owned(), format!("{:?}", record.fields)));
    }
}

fn records_logged_with(logs: &str) -> Vec<(LogLevel, String, String)> {
    let recorded = Arc::new(RecordedLog::default());
    let yaml = FORWARDING_CONFIG.replace("  telemetry: {", &format!("  telemetry: {{logs: {{{logs}}}, "));
    let collector = EmbeddedCollector::new(&yaml, EmbedOptions { log: recorded.clone(), ..EmbedOptions::default() });
    let collector = collector.unwrap_or_else(|e| panic!("{e}"));
    collector.start().unwrap();
    collector.shutdown(Duration::from_secs(5)).unwrap();
    drop(collector);
    std::mem::take(&mut recorded.0.lock().unwrap())
}

#[test]
fn log_config_of_an_embedded_collector_applies_to_the_hosts_log() {
    let all = records_logged_with("");
    assert!(all.iter().any(|(level, message, _)| *level == LogLevel::Info && message.contains("Everything is ready")));
    assert!(records_logged_with("level: warn").iter().all(|(level, ..)| *level >= LogLevel::Warn));
    let named = records_logged_with("initial_fields: {team: shop, cell: 7, none: }");
    assert!(
        named.iter().all(|(.., fields)| fields.starts_with("[(\"team\", Str(\"shop\")), (\"cell\", Int(7))")),
        "{named:?}"
    );
    let encoded = records_logged_with("encoding: json");
    let warning = encoded.iter().find(|(level, ..)| *level == LogLevel::Warn).unwrap();
    assert!(warning.1.contains("'encoding' has no effect") && warning.2.contains("service::telemetry::logs::encoding"));
}

#[test]
fn sampling_applies_to_the_hosts_log_only_if_configured() {
    for (logs, expected) in [("", 300), ("sampling: {initial: 2, thereafter: 100}", 2 + 2)] {
        let recorded = Arc::new(RecordedLog::default());
        let yaml = FORWARDING_CONFIG.replace("  telemetry: {", &format!("  telemetry: {{logs: {{{logs}}}, "));
        let collector =
            EmbeddedCollector::new(&yaml, EmbedOptions { log: recorded.clone(), ..EmbedOptions::default() });
        let collector = collector.unwrap_or_else(|e| panic!("{e}"));
        (0..300).for_each(|_| collector.log().warn("the same again", &[]));
        let count = recorded.0.lock().unwrap().iter().filter(|(_, message, _)| message == "the same again").count();
        assert_eq!(count, expected, "{logs}");
    }
}

#[test]
fn output_paths_of_an_embedded_collector_get_the_lines_too() {
    let file = std::env::temp_dir().join(format!("otelcore-embedded-{}.log", std::process::id()));
    let taken = records_logged_with(&format!("output_paths: ['{}'], encoding: json, level: info", file.display()));
    let lines = std::fs::read_to_string(&file);
    std::fs::remove_file(&file).unwrap();
    let lines = lines.unwrap();
    assert!(taken.iter().all(|(level, ..)| *level < LogLevel::Warn), "{taken:?}");
    assert!(taken.iter().any(|(_, message, _)| message.contains("Everything is ready")));
    assert!(lines.lines().count() >= 2 && lines.lines().all(|line| line.starts_with("{\"level\":\"info\"")), "{lines}");
}

#[test]
fn component_statuses_have_the_port_that_a_receiver_got() {
    let collector = embedded(
        "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}\nexporters: {inproc: }\nservice:\n  telemetry: \
         {metrics: {level: none}}\n  pipelines: {traces: {receivers: [otlp], exporters: [inproc]}}\n",
    );
    collector.start().unwrap();
    let receiver = collector.component_statuses().into_iter().find(|status| status.kind == "receiver").unwrap();
    let [address] = receiver.addresses.as_slice() else { panic!("{receiver:?}") };
    assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
    std::net::TcpStream::connect(address).unwrap();
    assert!(collector.component_statuses_json().contains(&format!("\"addresses\":[\"{address}\"]")));
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn start_on_a_port_in_use_fails_with_the_system_error_number() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = taken.local_addr().unwrap();
    let yaml = FORWARDING_CONFIG
        .replace(
            "{inproc/app: }",
            &format!("{{inproc/app: , otlp: {{protocols: {{grpc: {{endpoint: '{endpoint}'}}}}}}}}"),
        )
        .replace("[inproc/app]", "[inproc/app, otlp]");
    for driven in [false, true] {
        let collector = embedded(&yaml);
        let failed = if driven { collector.start_in_host_loop().map(drop) } else { collector.start() };
        match failed {
            // The number of EADDRINUSE on Linux.
            Err(EmbedError::Start(e)) => {
                assert_eq!(e.os_error(), Some(98));
                assert!(e.to_string().contains("address already in use"), "{e}");
            }
            other => panic!("{other:?}"),
        }
    }
}
