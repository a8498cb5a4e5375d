//! The times of events, to the millisecond.

use std::time::Duration;

use otelcore_http::{Code, Status};
use otelcore_pipeline::MonotonicTime;

use crate::backend::PlannedResponse;
use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, jaeger_exporter, seeds};

/// From a client to the collector, and from there to the backend.
const NETWORK_LATENCY: Duration = Duration::from_millis(2);

#[test]
fn batch_is_sent_exactly_at_its_timeout() {
    for seed in seeds() {
        let mut fixture = Fixture::with_exact_latency(seed, "  batch: {timeout: 200ms}", &jaeger_exporter(""));
        fixture.start_client(Load { requests: 3, spans: 2, interval: 50 * MS, ..Load::default() });
        fixture.sim.run_for(5 * SEC);
        let backend = fixture.backend.borrow();
        let requests: Vec<_> = backend.requests.iter().map(|p| (p.at, p.ids.len())).collect();
        // One request for each ResourceSpans, all at the time of the first one's timeout.
        let at = fixture.time_at(SEC + 200 * MS + NETWORK_LATENCY);
        assert_eq!(requests, [(at, 2), (at, 2), (at, 2)], "seed {seed}");
    }
}

#[test]
fn batch_is_sent_at_once_at_its_size() {
    for seed in seeds() {
        let mut fixture =
            Fixture::with_exact_latency(seed, "  batch: {timeout: 10s, send_batch_size: 10}", &jaeger_exporter(""));
        fixture.start_client(Load { requests: 4, spans: 4, interval: 100 * MS, ..Load::default() });
        fixture.sim.run_for(30 * SEC);
        let backend = fixture.backend.borrow();
        let requests: Vec<_> = backend.requests.iter().map(|p| (p.at, p.ids.len())).collect();
        let full = fixture.time_at(SEC + 200 * MS + NETWORK_LATENCY);
        let rest = fixture.time_at(SEC + 300 * MS + 10 * SEC + NETWORK_LATENCY);
        assert_eq!(requests, [(full, 4), (full, 4), (full, 4), (rest, 4)], "seed {seed}");
    }
}

#[test]
fn batch_above_its_maximum_size_is_split() {
    for seed in seeds() {
        let config = "  batch: {timeout: 1s, send_batch_size: 10, send_batch_max_size: 10}";
        let mut fixture = Fixture::with_exact_latency(seed, config, &jaeger_exporter(""));
        fixture.start_client(Load { requests: 1, spans: 25, ..Load::default() });
        fixture.sim.run_for(30 * SEC);
        let backend = fixture.backend.borrow();
        let requests: Vec<_> = backend.requests.iter().map(|p| (p.at, p.ids.len())).collect();
        let first = fixture.time_at(SEC + NETWORK_LATENCY);
        assert_eq!(requests, [(first, 10), (first, 10), (first + SEC, 5)], "seed {seed}");
        assert_eq!(backend.delivered(), fixture.clients[0].1.span_ids(), "seed {seed}");
    }
}

/// The delays between attempts, without the time that the response took.
fn retry_delays(fixture: &Fixture) -> Vec<Duration> {
    let backend = fixture.backend.borrow();
    let at: Vec<MonotonicTime> = backend.requests.iter().map(|p| p.at).collect();
    at.windows(2).map(|w| w[1].since(w[0]) - NETWORK_LATENCY).collect()
}

#[test]
fn refused_spans_are_retried_with_growing_delays_until_the_maximum_time() {
    for seed in seeds() {
        let mut fixture =
            Fixture::with_exact_latency(seed, "", &jaeger_exporter("retry_on_failure: {max_elapsed_time: 300s}"));
        fixture.backend.borrow_mut().default_response = PlannedResponse::error(Status::unavailable("not now"));
        fixture.start_client(Load { spans: 7, ..Load::default() });
        fixture.sim.run_for(400 * SEC);
        let mut interval = 5.0_f64;
        let delays = retry_delays(&fixture);
        assert!(delays.len() >= 8, "seed {seed}: {delays:?}");
        for pause in &delays {
            let pause = pause.as_secs_f64();
            assert!((0.5 * interval..=1.5 * interval).contains(&pause), "seed {seed}: {pause} around {interval}");
            interval = (interval * 1.5).min(30.0);
        }
        let total: Duration = delays.iter().sum();
        assert!(total <= 300 * SEC && total >= 255 * SEC, "seed {seed}: {total:?}");
        let drops = fixture.log.drops();
        assert!(drops.len() == 1 && drops[0].1 == 7 && drops[0].0.contains("no more retries left"), "{drops:?}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn backend_with_retry_after_gets_no_earlier_request() {
    for seed in seeds() {
        let mut fixture = Fixture::with_exact_latency(seed, "", &jaeger_exporter(""));
        let status = Status::new(Code::ResourceExhausted, "full").with_retry_after(20 * SEC);
        fixture.backend.borrow_mut().next_responses =
            [PlannedResponse::error(status.clone()), PlannedResponse::error(status)].into();
        fixture.start_client(Load { spans: 3, ..Load::default() });
        fixture.sim.run_for(100 * SEC);
        assert_eq!(retry_delays(&fixture), [20 * SEC, 20 * SEC], "seed {seed}");
        assert!(fixture.missing().is_empty() && fixture.delivered().len() == 3, "seed {seed}");
    }
}

#[test]
fn permanent_refusal_is_sent_once_dropped_and_logged() {
    for seed in seeds() {
        let mut fixture = Fixture::with_exact_latency(seed, "", &jaeger_exporter(""));
        let status = Status::invalid_argument("no such tenant");
        fixture.backend.borrow_mut().next_responses = [PlannedResponse::error(status)].into();
        fixture.start_client(Load { requests: 2, spans: 3, interval: SEC, ..Load::default() });
        fixture.sim.run_for(100 * SEC);
        assert_eq!(fixture.backend.borrow().requests.len(), 2, "seed {seed}");
        assert_eq!(fixture.missing().len(), 3, "seed {seed}");
        let drops = fixture.log.drops();
        assert!(drops.len() == 1 && drops[0].1 == 3 && drops[0].0.contains("no such tenant"), "seed {seed}: {drops:?}");
    }
}
