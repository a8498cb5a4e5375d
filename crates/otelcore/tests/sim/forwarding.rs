//! OTLP to another collector: what is sent again and when, and what is not.

use std::time::Duration;

use otelcore_http::{Bytes, Code, Status};

use crate::backend::Answer;
use crate::client::Load;
use crate::scene::{SEC, Scene, collector, otlp, seeds, yaml};

/// One request of four spans; the first answers to it are `answers`.
fn told(seed: u64, exporter: &str, answers: impl IntoIterator<Item = Answer>) -> (Scene, Load) {
    let mut scene = Scene::new(seed, "", exporter);
    scene.told.borrow_mut().next = answers.into_iter().collect();
    let load = Load { spans: 4, ..Load::default() };
    scene.client(load.clone());
    scene.sim.run_for(60 * SEC);
    (scene, load)
}

#[test]
fn what_may_be_tried_again_is_and_no_sooner_than_the_peer_says() {
    for seed in seeds() {
        let busy = Status::resource_exhausted("busy").with_retry_after(11 * SEC);
        let (scene, load) = told(seed, &otlp(""), [Answer::refuse(busy)]);
        let posts = &scene.told.borrow().posts;
        assert_eq!(posts.len(), 2, "seed {seed}");
        assert!(posts[1].at.since(posts[0].at) >= 11 * SEC, "seed {seed}");
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        for code in [Code::Canceled, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss] {
            let (scene, load) = told(seed, &otlp(""), [Answer::refuse(Status::new(code, "not now"))]);
            assert_eq!(scene.delivered(), load.all(), "seed {seed}: {code:?}");
            assert!(scene.lines.drops().is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn what_can_never_be_taken_is_dropped_at_once_and_said_to_be() {
    for seed in seeds().take(3) {
        for code in
            [Code::ResourceExhausted, Code::InvalidArgument, Code::Unauthenticated, Code::Internal, Code::Unknown]
        {
            let (scene, load) = told(seed, &otlp(""), [Answer::refuse(Status::new(code, "never"))]);
            assert_eq!((scene.told.borrow().posts.len(), scene.acknowledged()), (1, load.all()), "seed {seed}");
            let drops = scene.lines.drops();
            assert!(drops.len() == 1 && drops[0].1 == 4, "seed {seed}: {drops:?}");
            assert!(drops[0].0.contains(&format!("code = {} desc = never", code.name())), "{drops:?}");
            assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
        }
    }
}

#[test]
fn partial_success_is_success_and_is_told() {
    for seed in seeds().take(3) {
        // ExportTracePartialSuccess{rejected_spans: 3, error_message: "too old"}
        let reply = Bytes::from_static(b"\x0a\x0b\x08\x03\x12\x07too old");
        let (scene, load) = told(seed, &otlp(""), [Answer { reply, ..Answer::default() }]);
        assert_eq!((scene.told.borrow().posts.len(), scene.delivered()), (1, load.all()), "seed {seed}");
        assert_eq!(scene.lines.with(&["Partial success response", "too old"]), 1, "seed {seed}");
        assert!(scene.lines.drops().is_empty(), "seed {seed}");
        assert_eq!(scene.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn groups_of_the_queue_arrive_whole_through_every_coding() {
    for (seed, coding) in seeds().zip(["none", "gzip", "zstd", "snappy"].into_iter().cycle()).take(8) {
        let more = format!(
            "compression: {coding}\nsending_queue: {{batch: {{min_size: 40, max_size: 50, flush_timeout: 300ms}}}}"
        );
        let mut scene = Scene::new(seed, "", &otlp(&more));
        let load = Load { requests: 100, spans: 7, every: Duration::from_millis(20), ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(30 * SEC);
        assert_eq!((scene.acknowledged(), scene.delivered()), (load.all(), load.all()), "seed {seed} {coding}");
        let sizes: Vec<usize> = scene.told.borrow().posts.iter().map(|post| post.ids.len()).collect();
        assert!(sizes.iter().all(|size| *size <= 50) && sizes.len() < 20, "seed {seed} {coding}: {sizes:?}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed} {coding}");
    }
}

#[test]
fn an_agent_keeps_what_a_gateway_that_is_away_can_not_take() {
    for seed in seeds().take(8) {
        // The gateway is a collector too; what it has acknowledged is at the backend before it stops.
        let mut scene = Scene::new(seed, "", &otlp("").replace("jaeger:14250", "gateway:4317"));
        let (graph, _) = collector(&yaml("", &otlp("")));
        let gateway = scene.sim.node("gateway", graph).unwrap();
        let load = Load { requests: 400, spans: 3, every: Duration::from_millis(20), ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(3 * SEC);
        scene.sim.close(gateway, 10 * SEC);
        scene.sim.run_for(4 * SEC);
        let (graph, _) = collector(&yaml("", &otlp("")));
        scene.sim.restart(gateway, graph).unwrap();
        scene.sim.run_for(90 * SEC);
        assert_eq!((scene.acknowledged(), scene.missing()), (load.all(), Default::default()), "seed {seed}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
        assert!(scene.lines.drops().is_empty(), "seed {seed}");
    }
}
