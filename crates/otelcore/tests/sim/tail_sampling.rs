//! `tail_sampling` under late spans, restarts, its bound of bytes and clocks that are set.

use std::collections::BTreeSet;

use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, collector_graph, config_yaml, new_sim, otlp_exporter, seeds};

/// Samples traces that have a span with this attribute, as the clients below with padding send.
const PADDED: &str = "[{name: padded, type: string_attribute, string_attribute: {key: padding, values: [xxx]}}]";
const EVERYTHING: &str = "[{name: all, type: always_sample}]";

/// The processor, with further keys.
fn processor(policies: &str, keys: &[&str]) -> String {
    let keys: String = keys.iter().map(|key| format!("\n    {key}")).collect();
    format!("  tail_sampling:\n    policies: {policies}{keys}")
}

/// Spans of so many traces, from the first on, a request every 20 ms.
fn load(client: u64, traces: u64, padding: usize) -> Load {
    Load { client, requests: 40, spans: 5, traces, padding, interval: 20 * MS, ..Load::default() }
}

fn joined<const N: usize>(sets: [BTreeSet<u64>; N]) -> BTreeSet<u64> {
    sets.into_iter().flatten().collect()
}

#[test]
fn late_spans_follow_the_decision_of_their_trace() {
    let cache = "decision_cache: {sampled_cache_size: 1000, non_sampled_cache_size: 1000}";
    for keys in [&["decision_wait: 5s"][..], &["decision_wait: 5s", cache]] {
        for seed in seeds().take(3) {
            let mut fixture = Fixture::new(seed, &processor(PADDED, keys), &otlp_exporter(""));
            // Half of the traces have a span that decides; the two clients send at the same time.
            let (padded, others) = (load(1, 50, 3), load(2, 100, 0));
            let late = Load { start_after: 30 * SEC, ..load(3, 100, 0) };
            [&padded, &others, &late].into_iter().for_each(|load| drop(fixture.start_client(load.clone())));
            fixture.sim.run_for(25 * SEC);
            let in_time = joined([padded.span_ids(), others.span_ids_of_traces(0..50)]);
            assert_eq!(fixture.delivered(), in_time, "seed {seed}");
            fixture.sim.run_for(30 * SEC);
            let all = joined([padded.span_ids(), others.span_ids(), late.span_ids()]);
            let sampled = joined([in_time, late.span_ids_of_traces(0..50)]);
            assert_eq!((fixture.acknowledged(), fixture.delivered()), (all, sampled), "seed {seed}");
            assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
            assert!(fixture.log.drops().is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn shutdown_decides_what_waits_and_the_next_process_begins_anew() {
    let yaml = config_yaml(&processor(PADDED, &["decision_wait: 30s"]), &otlp_exporter(""));
    for seed in seeds().take(5) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml);
        let (padded, others) = (load(1, 50, 3), load(2, 100, 0));
        [&padded, &others].into_iter().for_each(|load| drop(fixture.start_client(load.clone())));
        fixture.sim.run_for(5 * SEC);
        assert_eq!((fixture.delivered().len(), fixture.held_items()), (0, 400), "seed {seed}");
        fixture.sim.close(fixture.collector, 20 * SEC);
        fixture.sim.run_for(25 * SEC);
        let before = joined([padded.span_ids(), others.span_ids_of_traces(0..50)]);
        assert_eq!(fixture.delivered(), before, "seed {seed}");
        // No decision is remembered: the traces are decided again, by what comes now.
        fixture.sim.restart(fixture.collector, collector_graph(&yaml).0).unwrap();
        let (late, again) = (load(3, 100, 0), load(4, 20, 3));
        [&late, &again].into_iter().for_each(|load| drop(fixture.start_client(load.clone())));
        fixture.sim.run_for(60 * SEC);
        let after = joined([before, again.span_ids(), late.span_ids_of_traces(0..20)]);
        assert_eq!(fixture.delivered(), after, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn reload_under_load_decides_what_waits_and_loses_nothing() {
    let yaml = config_yaml(&processor(EVERYTHING, &["decision_wait: 5s"]), &otlp_exporter(""));
    for seed in seeds().take(5) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml);
        for client in 1..=3 {
            let load = Load { requests: 400, interval: 17 * MS, retry: true, ..load(client, 30, 0) };
            fixture.start_client(load);
        }
        fixture.sim.run_for(3 * SEC);
        assert!(fixture.held_items() > 0, "seed {seed}");
        // As on SIGHUP: the running graph drains, then the new one starts.
        fixture.sim.close(fixture.collector, 20 * SEC);
        while fixture.sim.graph(fixture.collector).is_some() {
            fixture.sim.run_for(10 * MS);
        }
        let at_reload = fixture.delivered();
        assert!(at_reload.is_superset(&fixture.acknowledged()), "seed {seed}");
        fixture.sim.restart(fixture.collector, collector_graph(&yaml).0).unwrap();
        fixture.sim.run_for(60 * SEC);
        assert!(fixture.missing().is_empty(), "seed {seed}");
        assert!(fixture.delivered().len() > at_reload.len(), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn killed_process_loses_what_waits_and_nothing_else() {
    let yaml = config_yaml(&processor(PADDED, &["decision_wait: 30s"]), &otlp_exporter(""));
    for seed in seeds().take(5) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml);
        // Each span of the second client is a trace.
        let (decided, waiting) = (load(1, 50, 3), Load { start_after: 50 * SEC, ..load(2, 0, 3) });
        [&decided, &waiting].into_iter().for_each(|load| drop(fixture.start_client(load.clone())));
        fixture.sim.run_for(45 * SEC);
        assert_eq!(fixture.delivered(), decided.span_ids(), "seed {seed}");
        fixture.sim.run_for(10 * SEC);
        // They are acknowledged, and wait for their decision.
        assert_eq!(fixture.acknowledged(), joined([decided.span_ids(), waiting.span_ids()]), "seed {seed}");
        fixture.sim.kill(fixture.collector);
        fixture.sim.restart(fixture.collector, collector_graph(&yaml).0).unwrap();
        let next = load(3, 50, 3);
        fixture.start_client(next.clone());
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.missing(), waiting.span_ids(), "seed {seed}");
        assert_eq!(fixture.delivered(), joined([decided.span_ids(), next.span_ids()]), "seed {seed}");
    }
}

#[test]
fn oldest_traces_are_decided_early_at_the_bound_of_bytes() {
    const MAX_BYTES: u64 = 100_000;
    let keys = ["decision_wait: 1h", "num_traces: 2000", "max_bytes: 100000"];
    for seed in seeds().take(5) {
        let mut fixture = Fixture::new(seed, &processor(EVERYTHING, &keys), &otlp_exporter(""));
        // Each span is a trace and has more than 200 bytes: more than ten times the bound.
        let load = Load { requests: 500, spans: 10, padding: 200, retry: true, ..Load::default() };
        fixture.start_client(load.clone());
        let mut most = 0;
        for _ in 0..200 {
            fixture.sim.run_for(100 * MS);
            most = most.max(fixture.held_items());
        }
        // What is above the bound by a quarter is refused, and one payload of ten spans can be above that.
        assert!(most * 200 <= MAX_BYTES / 4 * 5 + 64 * 200, "seed {seed}: {most} spans");
        assert!(most * 400 >= MAX_BYTES, "seed {seed}: the bound is used: {most} spans");
        assert_eq!(fixture.acknowledged(), load.span_ids(), "seed {seed}");
        let graph = fixture.sim.graph(fixture.collector).unwrap();
        assert!(graph.budget().kept() < 1 << 20, "seed {seed}: {} bytes", graph.budget().kept());
        fixture.sim.close(fixture.collector, 20 * SEC);
        fixture.sim.run_for(25 * SEC);
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}: nothing is dropped");
    }
}

#[test]
fn decisions_keep_their_time_when_the_wall_clock_is_set() {
    const YEAR: i64 = 365 * 24 * 3600;
    let policies = "[{name: rate, type: rate_limiting, rate_limiting: {spans_per_second: 30}}]";
    for seed in seeds().take(5) {
        let config = processor(policies, &["decision_wait: 5s"]);
        let mut fixture = Fixture::with_exact_latency(seed, &config, &otlp_exporter(""));
        // Ten traces of one span a second, a third of the rate.
        let load = Load { requests: 200, interval: 100 * MS, ..Load::default() };
        fixture.start_client(load.clone());
        for seconds in [10 * YEAR, -20 * YEAR, 3600, -1, -1, -1, 1, 5 * YEAR] {
            fixture.sim.run_for(3 * SEC);
            fixture.sim.adjust_wall_clock(fixture.collector, seconds);
        }
        fixture.sim.run_for(10 * SEC);
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (load.span_ids(), load.span_ids()), "seed {seed}");
        for received in &fixture.backend.borrow().requests {
            for id in &received.ids {
                let sent = load.start_after + load.interval * u32::try_from(id >> 16 & 0xffff_ffff).unwrap();
                let waited = received.at.since(fixture.time_at(sent));
                assert!((5 * SEC..8 * SEC).contains(&waited), "seed {seed}: {waited:?}");
            }
        }
    }
}
