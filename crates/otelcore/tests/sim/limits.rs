//! A backend that accepts messages up to a certain length, and batches and resources that are longer.

use std::time::Duration;

use crate::client::Load;
use crate::fixture::{Fixture, SEC, jaeger_exporter, otlp_exporter, seeds};

const BATCH: &str = "  batch:\n    timeout: 3s\n    send_batch_size: 100000";

fn exporters() -> [String; 3] {
    [jaeger_exporter(""), otlp_exporter("compression: none"), otlp_exporter("compression: gzip")]
}

#[test]
fn batch_above_the_peers_limit_is_delivered_in_pieces() {
    for (seed, exporter) in seeds().zip(exporters()) {
        let mut fixture = Fixture::new(seed, BATCH, &exporter);
        fixture.sim.set_window(1 << 20);
        fixture.backend.borrow_mut().max_message = Some(1 << 20);
        fixture.start_backend();
        // Each request is one resource of 2 MB.
        let load = Load { requests: 3, spans: 2000, padding: 1000, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(20 * SEC);
        assert_eq!(
            (fixture.acknowledged(), fixture.delivered()),
            (load.span_ids(), load.span_ids()),
            "seed {seed}: {exporter}"
        );
        assert!(fixture.log.drops().is_empty(), "seed {seed}: {exporter}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}: {exporter}");
        let largest = fixture.backend.borrow().requests.iter().map(|post| post.ids.len()).max();
        assert!(
            largest.is_some_and(|most| most > 500),
            "pieces are not much smaller than they have to be: {largest:?}"
        );
    }
}

#[test]
fn span_above_the_peers_limit_is_dropped_and_others_are_delivered() {
    for (seed, exporter) in seeds().zip(exporters()) {
        let mut fixture = Fixture::new(seed, BATCH, &exporter);
        fixture.backend.borrow_mut().max_message = Some(20_000);
        fixture.start_backend();
        let small = Load { requests: 30, spans: 3, padding: 500, ..Load::default() };
        let large = Load { client: 2, requests: 2, spans: 1, padding: 30_000, ..Load::default() };
        fixture.start_client(small.clone());
        fixture.start_client(large.clone());
        fixture.sim.run_for(60 * SEC);
        assert_eq!(fixture.delivered(), small.span_ids(), "seed {seed}: {exporter}");
        let drops = fixture.log.drops();
        assert_eq!(drops.iter().map(|(_, items)| items).sum::<u64>(), 2, "seed {seed}: {drops:?}");
        assert!(drops.iter().all(|(line, _)| line.contains("more than the peer takes")), "seed {seed}: {drops:?}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}: {exporter}");
    }
}

#[test]
fn drain_waits_for_the_delay_that_the_peer_requested() {
    use crate::backend::PlannedResponse;
    use otelcore_http::Status;
    for seed in seeds().take(5) {
        let mut fixture = Fixture::with_exact_latency(seed, "", &otlp_exporter(""));
        let busy = Status::resource_exhausted("busy").with_retry_after(Duration::from_secs(7));
        fixture.backend.borrow_mut().next_responses = [PlannedResponse::error(busy)].into();
        let load = Load { spans: 4, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(2 * SEC);
        let collector = fixture.collector;
        fixture.sim.close(collector, 20 * SEC);
        fixture.sim.run_for(20 * SEC);
        let requests = &fixture.backend.borrow().requests;
        assert_eq!(requests.len(), 2, "seed {seed}");
        assert!(requests[1].at.since(requests[0].at) >= Duration::from_secs(7), "seed {seed}");
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
    }
}
