//! A collector inside a host program: its thread or the host's loop, inputs and outputs, flush and shutdown.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a story that can't go on has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use otelcore::inproc::{Finish, NoBatch, Refused};
use otelcore::pdata::{Signal, check};
use otelcore::pipeline::{Level, LogSink, Record};
use otelcore::{EmbedError, Embedded, Options, State};

const THROUGH: &str = "
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

fn embedded(yaml: &str) -> Embedded {
    Embedded::new(yaml, Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn items(body: &[u8]) -> u32 {
    check(Signal::Traces, body).unwrap().items
}

#[test]
fn what_is_submitted_comes_out_and_a_flush_does_not_wait_for_the_batch() {
    let collector = embedded(THROUGH);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    assert_eq!(input.submit(Signal::Traces, &spans(3)), Err(Refused::NotStarted));
    assert_eq!(collector.state(), State::Created);
    collector.start().unwrap();
    assert_eq!(collector.state(), State::Running);
    input.submit(Signal::Traces, &spans(3)).unwrap();
    input.submit(Signal::Traces, &spans(4)).unwrap();
    assert_eq!(input.submit(Signal::Logs, b""), Err(Refused::Signal(Signal::Logs)));
    assert!(matches!(input.submit(Signal::Traces, b"\x0a\xff"), Err(Refused::Invalid(_))));
    assert_eq!(output.next(Some(Duration::from_millis(50))).unwrap_err(), NoBatch::Timeout);
    // The batch would wait for ten seconds; the flush ends when the host has finished it.
    let taker = thread::spawn(move || {
        let batch = output.next(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(items(batch.data()), 7);
        thread::sleep(Duration::from_millis(30));
        batch.finish(Finish::Delivered);
        output
    });
    let begun = Instant::now();
    collector.flush(Duration::from_secs(8)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30) && begun.elapsed() < Duration::from_secs(5));
    let output = taker.join().unwrap();
    collector.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(collector.state(), State::Stopped);
    assert_eq!(output.next(None).unwrap_err(), NoBatch::Closed);
    assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(Refused::Closed));
    assert!(matches!(collector.start(), Err(EmbedError::State(State::Stopped))));
    assert!(collector.shutdown(Duration::ZERO).is_ok(), "an end that has come is no error");
}

#[test]
fn a_batch_that_is_not_wanted_now_comes_again_and_one_that_is_dropped_too() {
    let yaml = THROUGH
        .replace("inproc/out: }", "inproc/out: {retry_on_failure: {initial_interval: 10ms}}}")
        .replace("10s", "1ms");
    let collector = embedded(&yaml);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    collector.start().unwrap();
    input.submit(Signal::Traces, &spans(5)).unwrap();
    let next = || output.next(Some(Duration::from_secs(10))).unwrap();
    next().finish(Finish::Retry(Some(Duration::from_millis(20))));
    drop(next());
    next().finish(Finish::Delivered);
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn memory_limiter_in_a_large_host_counts_what_the_collector_holds() {
    let yaml = THROUGH
        .replace(
            "{batch: {timeout: 10s}}",
            "{memory_limiter: {check_interval: 10ms, limit_mib: 2, spike_limit_mib: 1}}",
        )
        .replace("[batch]", "[memory_limiter]");
    // Far more than the limit, and touched, so that it is resident.
    let hosts_own = std::hint::black_box(vec![1_u8; 64 << 20]);
    let collector = embedded(&yaml);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    collector.start().unwrap();
    for _ in 0..200 {
        input.submit(Signal::Traces, &spans(30)).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
    assert!(collector.state() == State::Running && hosts_own.len() > 2 << 20);
    // Batches that the host does not take are held; from the soft limit on, further ones are refused.
    let named = [&[0x0a, 0xfe, 0xff, 0x03, 0x1a, 0xfa, 0xff, 0x03][..], &vec![b'a'; 65_530]].concat();
    let body = [named, spans(1)].concat();
    let refused = (0..10_000).find_map(|sent| {
        thread::sleep(Duration::from_millis(1));
        input.submit(Signal::Traces, &body).err().map(|why| (sent, why))
    });
    let (sent, why) = refused.unwrap();
    assert!(matches!(why, Refused::Overloaded(_)) && (8..64).contains(&sent), "{why:?} after {sent} of 64 KiB");
    assert!(collector.health().contains("\"held_bytes\":1"), "{}", collector.health());
    // Once batches are taken, data is accepted again.
    let taker = thread::spawn(move || while output.next(None).map(|batch| batch.finish(Finish::Delivered)).is_ok() {});
    assert!((0..1000).any(|_| {
        thread::sleep(Duration::from_millis(5));
        input.submit(Signal::Traces, &spans(1)).is_ok()
    }));
    collector.shutdown(Duration::from_secs(5)).unwrap();
    taker.join().unwrap();
}

#[test]
fn what_nobody_takes_is_reported_by_the_shutdown() {
    let collector = embedded(THROUGH);
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
fn what_was_refused_for_good_before_a_shutdown_is_not_left_by_it() {
    let yaml = THROUGH.replace("processors: [batch], ", "");
    for _ in 0..300 {
        let collector = embedded(&yaml);
        let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
        collector.start().unwrap();
        input.submit(Signal::Traces, &spans(1)).unwrap();
        output.next(Some(Duration::from_secs(10))).unwrap().finish(Finish::Permanent("not this one".into()));
        collector.shutdown(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn a_callback_runs_in_the_loop_and_must_not_wait_for_it() {
    let collector = Arc::new(embedded(&THROUGH.replace("10s", "1ms")));
    let (seen, inside) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
    let output = collector.output("inproc/out").unwrap();
    let (handle, count, said) = (collector.clone(), seen.clone(), inside.clone());
    let set = output.set_callback(move |_, body| {
        count.fetch_add(items(body) as usize, Ordering::SeqCst);
        *said.lock().unwrap() = handle.flush(Duration::from_secs(1)).unwrap_err().to_string();
        Finish::Delivered
    });
    assert!(set);
    collector.start().unwrap();
    assert!(!output.set_callback(|_, _| Finish::Delivered), "too late");
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
    assert_eq!(*inside.lock().unwrap(), "the collector's own thread can't wait for the collector");
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_host_with_a_loop_of_its_own_turns_the_collector() {
    let collector = embedded(&THROUGH.replace("10s", "20ms"));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let mut driven = collector.drive().unwrap();
    assert!(driven.descriptor().is_some());
    assert!(matches!(collector.flush(Duration::from_secs(1)), Err(EmbedError::Reentrant)));
    input.submit(Signal::Traces, &spans(2)).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let batch = loop {
        assert!(driven.turn().unwrap() && Instant::now() < until);
        match output.next(Some(Duration::ZERO)) {
            Ok(batch) => break batch,
            Err(NoBatch::Timeout) => thread::sleep(driven.deadline().unwrap_or_default().min(Duration::from_millis(5))),
            Err(e) => panic!("{e}"),
        }
    };
    let mark = collector.begin_flush().unwrap();
    assert!(!collector.is_flushed(mark));
    batch.finish(Finish::Delivered);
    while !collector.is_flushed(mark) {
        assert!(driven.turn().unwrap() && Instant::now() < until);
    }
    collector.begin_shutdown(Duration::from_secs(1)).unwrap();
    while driven.turn().unwrap() {
        assert!(Instant::now() < until);
    }
    assert_eq!(collector.state(), State::Stopped);
    assert_eq!(driven.descriptor(), None);
}

#[test]
fn mistakes_are_told_with_their_places_and_an_overfull_input_says_so() {
    let wrong = Embedded::new("receivers: {inproc: {max_queue: 1}}\n", Options::default()).unwrap_err().to_string();
    assert!(wrong.contains("config.yaml:1:22") && wrong.contains("max_queue_bytes"), "{wrong}");
    let collector = embedded(
        &THROUGH
            .replace("inproc/app: }", "inproc/app: {max_queue_bytes: 100}}")
            .replace("processors: {batch: {timeout: 10s}}", "")
            .replace("processors: [batch], ", "")
            .replace("inproc/out: }", "inproc/out: {sending_queue: {queue_size: 1}}}"),
    );
    collector.start().unwrap();
    let input = collector.input("inproc/app").unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let mut taken = 0;
    let refused = loop {
        match input.submit(Signal::Traces, &spans(9)) {
            Ok(()) => taken += 9,
            Err(refused) => break refused,
        }
        assert!(Instant::now() < until);
    };
    assert!(matches!(refused, Refused::Overloaded(_)), "{refused}");
    // Nothing that was accepted is lost when there is room again.
    let output = collector.output("inproc/out").unwrap();
    let mut came = 0;
    while came < taken {
        let batch = output.next(Some(Duration::from_secs(10))).unwrap();
        came += items(batch.data());
        batch.finish(Finish::Delivered);
    }
    collector.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_host_that_stops_turning_hangs_nobody_and_one_that_drops_the_loop_closes_the_ends() {
    let collector = Arc::new(embedded(THROUGH));
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let driven = collector.drive().unwrap();
    input.submit(Signal::Traces, &spans(2)).unwrap();
    let other = collector.clone();
    let waiting = thread::spawn(move || other.shutdown(Duration::from_millis(100)));
    assert!(matches!(waiting.join().unwrap(), Err(EmbedError::Timeout(_))));
    let taker = thread::spawn({
        let output = output.clone();
        move || output.next(None).map(drop)
    });
    drop(driven);
    assert_eq!(taker.join().unwrap(), Err(NoBatch::Closed));
    assert_eq!(input.submit(Signal::Traces, &spans(2)), Err(Refused::Closed));
    assert_eq!(collector.state(), State::Failed);
    assert!(collector.shutdown(Duration::ZERO).unwrap_err().to_string().contains("dropped before its end"));
}

#[test]
fn whoever_waits_for_a_collector_that_is_given_up_is_told() {
    // Never started, then shut down, or dropped.
    for shut_down in [true, false] {
        let collector = embedded(THROUGH);
        let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
        let waiter = thread::spawn(move || output.next(None).map(drop));
        if shut_down {
            collector.shutdown(Duration::ZERO).unwrap();
        } else {
            drop(collector);
        }
        assert_eq!(waiter.join().unwrap(), Err(NoBatch::Closed));
        assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(Refused::Closed));
    }
    // A loop in the host's thread that will not be turned again.
    let collector = embedded(THROUGH);
    let (input, output) = (collector.input("inproc/app").unwrap(), collector.output("inproc/out").unwrap());
    let driven = collector.drive().unwrap();
    let waiter = thread::spawn(move || output.next(None).map(drop));
    let collector = thread::spawn(move || {
        collector.abandon("nobody turns it");
        collector
    });
    let collector = collector.join().unwrap();
    assert_eq!(waiter.join().unwrap(), Err(NoBatch::Closed));
    assert_eq!(input.submit(Signal::Traces, &spans(1)), Err(Refused::Closed));
    assert!(collector.shutdown(Duration::ZERO).unwrap_err().to_string().contains("nobody turns it"));
    drop(driven);
}

#[test]
fn own_metrics_are_there_without_a_port() {
    // The port is in use: by this listener, or by another process where this bind fails.
    let _taken = std::net::TcpListener::bind(("localhost", 8888));
    let quiet = THROUGH.replace("  telemetry: {metrics: {level: none}}\n", "");
    let two = [embedded(&quiet), embedded(&quiet)];
    for (collector, n) in two.iter().zip(1..) {
        collector.start().unwrap();
        collector.input("inproc/app").unwrap().submit(Signal::Traces, &spans(n)).unwrap();
        let output = collector.output("inproc/out").unwrap();
        let taker =
            thread::spawn(move || output.next(Some(Duration::from_secs(10))).unwrap().finish(Finish::Delivered));
        collector.flush(Duration::from_secs(10)).unwrap();
        taker.join().unwrap();
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
    let none = embedded(THROUGH);
    assert!(!String::from_utf8(none.metrics()).unwrap().contains("otelcol_"), "the level is none");

    // The program's default page, and a page that the configuration names, are opened.
    let options = || Options { default_metrics_page: true, ..Options::default() };
    let program = Embedded::new(&quiet, options()).unwrap();
    assert!(program.start().unwrap_err().to_string().contains("localhost:8888"));
    let named = "  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {port: 8888}}}}]}}\n";
    let named = embedded(&THROUGH.replace("  telemetry: {metrics: {level: none}}\n", named));
    assert!(named.start().unwrap_err().to_string().contains("localhost:8888"));
}

/// The records that a host's sink has got: level, message, fields.
#[derive(Default)]
struct Taken(Mutex<Vec<(Level, String, String)>>);

impl LogSink for Taken {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push((record.level, record.message.to_owned(), format!("{:?}", record.fields)));
    }
}

fn logged(logs: &str) -> Vec<(Level, String, String)> {
    let taken = Arc::new(Taken::default());
    let yaml = THROUGH.replace("  telemetry: {", &format!("  telemetry: {{logs: {{{logs}}}, "));
    let collector = Embedded::new(&yaml, Options { log: taken.clone(), ..Options::default() });
    let collector = collector.unwrap_or_else(|e| panic!("{e}"));
    collector.start().unwrap();
    collector.shutdown(Duration::from_secs(5)).unwrap();
    drop(collector);
    std::mem::take(&mut taken.0.lock().unwrap())
}

#[test]
fn log_settings_of_an_embedded_collector_hold_for_the_hosts_sink() {
    let all = logged("");
    assert!(all.iter().any(|(level, message, _)| *level == Level::Info && message.contains("Everything is ready")));
    assert!(logged("level: warn").iter().all(|(level, ..)| *level >= Level::Warn));
    let named = logged("initial_fields: {team: shop, cell: 7, none: }");
    assert!(
        named.iter().all(|(.., fields)| fields.starts_with("[(\"team\", Str(\"shop\")), (\"cell\", Int(7))")),
        "{named:?}"
    );
    let encoded = logged("encoding: json");
    let warning = encoded.iter().find(|(level, ..)| *level == Level::Warn).unwrap();
    assert!(warning.1.contains("'encoding' has no effect") && warning.2.contains("service::telemetry::logs::encoding"));
}

#[test]
fn sampling_holds_for_the_hosts_log_only_where_it_is_written() {
    for (logs, expected) in [("", 300), ("sampling: {initial: 2, thereafter: 100}", 2 + 2)] {
        let taken = Arc::new(Taken::default());
        let yaml = THROUGH.replace("  telemetry: {", &format!("  telemetry: {{logs: {{{logs}}}, "));
        let collector = Embedded::new(&yaml, Options { log: taken.clone(), ..Options::default() });
        let collector = collector.unwrap_or_else(|e| panic!("{e}"));
        (0..300).for_each(|_| collector.log().warn("the same again", &[]));
        let count = taken.0.lock().unwrap().iter().filter(|(_, message, _)| message == "the same again").count();
        assert_eq!(count, expected, "{logs}");
    }
}

#[test]
fn output_paths_of_an_embedded_collector_get_lines_beside_the_hosts_sink() {
    let file = std::env::temp_dir().join(format!("otelcore-embedded-{}.log", std::process::id()));
    let taken = logged(&format!("output_paths: ['{}'], encoding: json, level: info", file.display()));
    let lines = std::fs::read_to_string(&file);
    std::fs::remove_file(&file).unwrap();
    let lines = lines.unwrap();
    assert!(taken.iter().all(|(level, ..)| *level < Level::Warn), "{taken:?}");
    assert!(taken.iter().any(|(_, message, _)| message.contains("Everything is ready")));
    assert!(lines.lines().count() >= 2 && lines.lines().all(|line| line.starts_with("{\"level\":\"info\"")), "{lines}");
}

#[test]
fn start_on_a_port_in_use_fails_with_the_systems_number() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = taken.local_addr().unwrap();
    let yaml = THROUGH
        .replace(
            "{inproc/app: }",
            &format!("{{inproc/app: , otlp: {{protocols: {{grpc: {{endpoint: '{endpoint}'}}}}}}}}"),
        )
        .replace("[inproc/app]", "[inproc/app, otlp]");
    for driven in [false, true] {
        let collector = embedded(&yaml);
        let failed = if driven { collector.drive().map(drop) } else { collector.start() };
        match failed {
            // The number of EADDRINUSE on Linux.
            Err(EmbedError::Listen(text, 98)) => assert!(text.contains("address already in use"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}
