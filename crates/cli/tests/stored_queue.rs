//! The collector of `examples/durable` is killed under load, at random moments and while it starts, with a backend that
//! comes and goes: what it has acknowledged arrives.
//!
//! `OTELCORE_KILLS` sets how often it is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/sink.rs"]
mod sink;
#[path = "support/stored.rs"]
mod stored;
mod support;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sink::OtlpHttpBackend;
use stored::*;
use support::*;

/// What clients have sent, and what of it was acknowledged.
#[derive(Default)]
struct Results {
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

fn start_client(
    client: usize,
    address: &str,
    results: &Arc<Mutex<Results>>,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    let (address, results, stop) = (address.to_owned(), results.clone(), stop.clone());
    std::thread::spawn(move || {
        for number in 0.. {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let name = format!("span-{client}-{number}-{}", "x".repeat(number % 500));
            let body = span_request(&name);
            results.lock().unwrap().sent.insert(name.clone());
            match send(&address, &body) {
                Some(200) => drop(results.lock().unwrap().acknowledged.insert(name)),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    })
}

#[test]
fn acknowledged_spans_arrive_though_the_collector_is_killed_again_and_again() {
    let kills: u64 = std::env::var("OTELCORE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5);
    let dir = empty_test_dir("stored-queue-kills");
    let (storage, otlp) = (dir.join("storage"), format!("127.0.0.1:{}", free_port()));
    let (backend, is_up) = start_backend();
    let start =
        |number: u64| Process::start(&mut command(&storage, &otlp, backend.port), &dir.join(format!("log-{number}")));
    let (results, stop) = (Arc::new(Mutex::new(Results::default())), Arc::new(AtomicBool::new(false)));
    let mut collector = start(0);
    wait_for_listener(&otlp, &mut collector);
    let clients: Vec<_> = (0..4).map(|client| start_client(client, &otlp, &results, &stop)).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 1..=kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        is_up.store(kill % 2 == 0, Ordering::SeqCst);
        // Each third time while it starts.
        let wait = if kill % 3 == 0 { random >> 40 & 0x3f } else { 200 + (random >> 40 & 0x1ff) };
        std::thread::sleep(Duration::from_millis(wait));
        collector.signal("KILL");
        collector.wait_for_exit(Duration::from_secs(10));
        collector = start(kill);
        if kill % 3 != 2 {
            wait_for_listener(&otlp, &mut collector);
        }
    }
    is_up.store(true, Ordering::SeqCst);
    wait_for_listener(&otlp, &mut collector);
    let before = results.lock().unwrap().acknowledged.len();
    let end = Instant::now() + Duration::from_secs(60);
    while results.lock().unwrap().acknowledged.len() < before + 10 {
        assert!(Instant::now() < end, "nothing is acknowledged any more:\n{}", collector.log_text());
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let results = results.lock().unwrap();
    wait_for_all(&backend, &results.acknowledged, &collector);
    let arrived = backend.span_names();
    let delivered: BTreeSet<String> = arrived.iter().cloned().collect();
    let unknown: Vec<_> = delivered.difference(&results.sent).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    eprintln!(
        "{} acknowledged, none lost, {} delivered again",
        results.acknowledged.len(),
        arrived.len() - delivered.len()
    );
    assert!(results.acknowledged.len() > 20, "{}", results.acknowledged.len());
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(30)), 0);
}

#[test]
fn second_process_on_the_directory_is_refused_by_name() {
    let dir = empty_test_dir("stored-queue-second");
    let (storage, backend) = (dir.join("storage"), OtlpHttpBackend::start());
    let addresses = [format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port())];
    let mut processes = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let log: PathBuf = dir.join(format!("log-{number}"));
        let mut process = Process::start(&mut command(&storage, address, backend.port), &log);
        wait_for_listener(address, &mut process);
        processes.push(process);
        if number == 0 {
            wait_until("an acknowledgement", || (send(address, &span_request("first")) == Some(200)).then(String::new));
        }
    }
    let line = wait_until("the error", || {
        let log = processes[1].log_text();
        log.lines().find(|line| line.contains("The queue on disk can't be opened")).map(str::to_owned)
    });
    let directory = storage.join("exporter_otlp_http__traces.queue");
    assert!(line.contains("another collector uses this directory"), "{line}");
    wait_until("the name of the directory", || {
        processes[1].log_text().contains(&directory.display().to_string()).then(String::new)
    });
    assert_eq!(send(&addresses[1], &span_request("second")), Some(503));
    // When the first ends, the second goes on.
    processes[0].signal("TERM");
    assert_eq!(processes[0].wait_for_exit(Duration::from_secs(30)), 0);
    wait_until("an acknowledgement", || (send(&addresses[1], &span_request("third")) == Some(200)).then(String::new));
}
