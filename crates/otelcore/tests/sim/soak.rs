//! Random errors drawn from the seed, and one guarantee that must be kept with any of them.

use std::collections::VecDeque;
use std::time::Duration;

use otelcore::pipeline::MemorySample;
use otelcore_http::Status;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, jaeger_exporter, seeds};

/// Failures are logged once in ten seconds, or at the end of the pause before the next attempt if that is later.
const LONGEST_LOG_DELAY: Duration = Duration::from_secs(13);

/// Acknowledged spans that are neither delivered nor held: they have been dropped.
fn dropped_spans(fixture: &Fixture) -> u64 {
    let left = fixture.sim.undelivered(fixture.collector).map_or_else(|| fixture.held_items(), |left| left.total());
    (fixture.missing().len() as u64).saturating_sub(left)
}

/// Spans of which the log says that they were dropped.
fn reported_spans(fixture: &Fixture) -> u64 {
    fixture.log.drops().iter().map(|(_, n)| n).sum()
}

/// Every acknowledged span is delivered, held, or reported as lost.
fn check_delivery_guarantee(fixture: &Fixture, when: &str) {
    let (dropped, reported) = (dropped_spans(fixture), reported_spans(fixture));
    assert!(dropped <= reported, "seed {} {when}: {dropped} > {reported}", fixture.seed);
}

fn inject_fault(fixture: &mut Fixture) {
    let ms = |n: u64| Duration::from_millis(n);
    let random = fixture.sim.random();
    let (collector, jaeger) = (fixture.collector, fixture.backend_node);
    let client = fixture.clients[usize::try_from(random >> 8 & 1).unwrap()].0;
    match random % 10 {
        0 => fixture.sim.kill(jaeger),
        1 | 2 => fixture.start_backend(),
        3 => fixture.sim.reset(if random >> 9 & 1 == 0 { jaeger } else { client }),
        4 => fixture.sim.partition(collector, if random >> 9 & 1 == 0 { jaeger } else { client }),
        5 | 6 => {
            fixture.sim.heal(collector, jaeger);
            fixture
                .clients
                .iter()
                .map(|c| c.0)
                .collect::<Vec<_>>()
                .iter()
                .for_each(|c| fixture.sim.heal(collector, *c));
        }
        7 => fixture.sim.set_link_latency(collector, jaeger, ms(random >> 16 & 0xff), ms(256 + (random >> 24 & 0xff))),
        8 => {
            let after = ms(random >> 32 & 0x1fff);
            fixture.backend.borrow_mut().default_response =
                PlannedResponse { delay: after, ..PlannedResponse::default() };
        }
        _ => {
            let refusals = [Status::unavailable("busy"), Status::resource_exhausted("full").with_retry_after(SEC)];
            let next = (random >> 16 & 7) as usize;
            let response = |i: usize| PlannedResponse::error(refusals[i % 2].clone());
            fixture.backend.borrow_mut().next_responses = (0..next).map(response).collect();
        }
    }
}

fn run_with_faults(seed: u64) -> u64 {
    let processors = "  memory_limiter: {check_interval: 1s, limit_mib: 4, spike_limit_mib: 2}\n  \
                      batch: {timeout: 200ms, send_batch_size: 40, send_batch_max_size: 64}";
    let exporter = jaeger_exporter(
        "timeout: 2s\nsending_queue: {queue_size: 20, num_consumers: 3}\n\
         retry_on_failure: {initial_interval: 200ms, max_interval: 2s, max_elapsed_time: 20s}",
    );
    let mut fixture = Fixture::new(seed, processors, &exporter);
    fixture.sim.set_memory(fixture.collector, MemorySample { resident: 1 << 20, total: None });
    fixture.sim.set_window(if seed.is_multiple_of(2) { 1500 } else { 64 << 10 });
    for client in 1..3 {
        let every = 40 * MS;
        fixture.start_client(Load {
            client,
            requests: 300,
            spans: 9,
            padding: 100,
            interval: every,
            retry: true,
            ..Load::default()
        });
    }
    // What was dropped at a step must be reported soon after it.
    let mut unchecked = VecDeque::new();
    for step in 0..60 {
        let delay = fixture.sim.random() % 700;
        fixture.sim.run_for(Duration::from_millis(delay));
        let now = fixture.sim.now();
        unchecked.push_back((now + LONGEST_LOG_DELAY, step, dropped_spans(&fixture)));
        while unchecked.front().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, step, dropped)) = unchecked.pop_front() else { break };
            let reported = reported_spans(&fixture);
            assert!(dropped <= reported, "seed {seed} at step {step}: {dropped} > {reported}");
        }
        inject_fault(&mut fixture);
    }
    // All errors end: everything that is still held arrives.
    fixture.sim.heal(fixture.collector, fixture.backend_node);
    for client in fixture.clients.iter().map(|c| c.0).collect::<Vec<_>>() {
        fixture.sim.heal(fixture.collector, client);
    }
    fixture.sim.set_link_latency(fixture.collector, fixture.backend_node, MS, 2 * MS);
    fixture.backend.borrow_mut().accept_all_requests();
    fixture.start_backend();
    if seed.is_multiple_of(3) {
        fixture.sim.close(fixture.collector, 5 * SEC);
        fixture.sim.run_for(5 * SEC);
        assert!(fixture.sim.undelivered(fixture.collector).is_some(), "seed {seed}");
        check_delivery_guarantee(&fixture, "after a shutdown");
    } else {
        fixture.sim.run_for(300 * SEC);
        check_delivery_guarantee(&fixture, "in the end");
        let all: usize = fixture.clients.iter().map(|c| c.1.span_ids().len()).sum();
        assert_eq!(fixture.acknowledged().len(), all, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
    fixture.sim.event_hash()
}

#[test]
fn acknowledged_spans_survive_random_faults_or_are_reported() {
    for seed in seeds().take(10) {
        run_with_faults(seed);
    }
}

#[test]
fn run_with_the_same_seed_repeats() {
    assert_eq!(run_with_faults(7), run_with_faults(7));
    assert_ne!(run_with_faults(7), run_with_faults(8));
}
