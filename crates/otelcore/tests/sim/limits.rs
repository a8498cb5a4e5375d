//! A backend that accepts messages up to a certain length, and batches and resources that are longer.

use std::time::Duration;

use crate::client::Load;
use crate::scene::{SEC, Scene, jaeger, otlp, seeds};

const BATCH: &str = "  batch:\n    timeout: 3s\n    send_batch_size: 100000";

fn exporters() -> [String; 3] {
    [jaeger(""), otlp("compression: none"), otlp("compression: gzip")]
}

#[test]
fn batch_above_the_peers_limit_is_delivered_in_pieces() {
    for (seed, exporter) in seeds().zip(exporters()) {
        let mut scene = Scene::new(seed, BATCH, &exporter);
        scene.sim.set_window(1 << 20);
        scene.told.borrow_mut().max_message = Some(1 << 20);
        scene.start_backend();
        // Each request is one resource of 2 MB.
        let load = Load { requests: 3, spans: 2000, padding: 1000, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(20 * SEC);
        assert_eq!((scene.acknowledged(), scene.delivered()), (load.all(), load.all()), "seed {seed}: {exporter}");
        assert!(scene.lines.drops().is_empty(), "seed {seed}: {exporter}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}: {exporter}");
        let most = scene.told.borrow().posts.iter().map(|post| post.ids.len()).max();
        assert!(most.is_some_and(|most| most > 500), "pieces are not much smaller than they have to be: {most:?}");
    }
}

#[test]
fn span_above_the_peers_limit_is_dropped_and_reported_and_no_other() {
    for (seed, exporter) in seeds().zip(exporters()) {
        let mut scene = Scene::new(seed, BATCH, &exporter);
        scene.told.borrow_mut().max_message = Some(20_000);
        scene.start_backend();
        let small = Load { requests: 30, spans: 3, padding: 500, ..Load::default() };
        let large = Load { client: 2, requests: 2, spans: 1, padding: 30_000, ..Load::default() };
        scene.client(small.clone());
        scene.client(large.clone());
        scene.sim.run_for(60 * SEC);
        assert_eq!(scene.delivered(), small.all(), "seed {seed}: {exporter}");
        let drops = scene.lines.drops();
        assert_eq!(drops.iter().map(|(_, items)| items).sum::<u64>(), 2, "seed {seed}: {drops:?}");
        assert!(drops.iter().all(|(line, _)| line.contains("more than the peer takes")), "seed {seed}: {drops:?}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}: {exporter}");
    }
}

#[test]
fn drain_of_requests_that_the_peer_wants_later_waits_as_long() {
    use crate::backend::Answer;
    use otelcore_http::Status;
    for seed in seeds().take(5) {
        let mut scene = Scene::exact(seed, "", &otlp(""));
        let busy = Status::resource_exhausted("busy").with_retry_after(Duration::from_secs(7));
        scene.told.borrow_mut().next = [Answer::refuse(busy)].into();
        let load = Load { spans: 4, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(2 * SEC);
        let collector = scene.collector;
        scene.sim.close(collector, 20 * SEC);
        scene.sim.run_for(20 * SEC);
        let posts = &scene.told.borrow().posts;
        assert_eq!(posts.len(), 2, "seed {seed}");
        assert!(posts[1].at.since(posts[0].at) >= Duration::from_secs(7), "seed {seed}");
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
    }
}
