//! The end of a collector: everything is delivered, or counted.

use otelcore_http::Status;

use crate::backend::Answer;
use crate::client::Load;
use crate::scene::{MS, SEC, Scene, jaeger, seeds};

const BATCH: &str = "  batch: {timeout: 5s, send_batch_size: 1000}";

fn busy(client: u64) -> Load {
    Load { client, requests: 1000, spans: 5, every: 7 * MS, ..Load::default() }
}

#[test]
fn a_shutdown_under_load_delivers_all_that_was_acknowledged() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, BATCH, &jaeger(""));
        scene.client(busy(1));
        scene.client(busy(2));
        scene.sim.run_for(3 * SEC + MS * u32::try_from(seed).unwrap());
        let begun = scene.sim.now();
        scene.sim.close(scene.collector, 25 * SEC);
        let collector = scene.collector;
        while scene.sim.left(collector).is_none() && scene.sim.now() < begun + 30 * SEC {
            scene.sim.run_for(MS);
        }
        assert_eq!(scene.sim.left(collector).unwrap().total(), 0, "seed {seed}");
        assert!(scene.sim.now().since(begun) < 3 * SEC, "seed {seed}: {:?}", scene.sim.now().since(begun));
        scene.sim.run_for(5 * SEC);
        assert!(scene.acknowledged().len() > 1000, "seed {seed}");
        assert!(scene.missing().is_empty(), "seed {seed}: {}", scene.missing().len());
    }
}

#[test]
fn with_a_dead_backend_the_deadline_ends_it_and_every_span_is_counted() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, BATCH, &jaeger(""));
        scene.client(busy(1));
        scene.sim.run_for(2 * SEC);
        scene.sim.stop(scene.jaeger);
        scene.sim.run_for(3 * SEC);
        scene.sim.close(scene.collector, 4 * SEC);
        scene.sim.run_for(4 * SEC - MS);
        assert!(scene.sim.left(scene.collector).is_none(), "seed {seed}");
        scene.sim.run_for(MS);
        let left = scene.sim.left(scene.collector).unwrap().total();
        scene.sim.run_for(SEC);
        assert_eq!(left, scene.missing().len() as u64, "seed {seed}");
        assert!(left > 100, "seed {seed}");
    }
}

#[test]
fn a_client_that_fell_silent_in_the_middle_of_a_request_does_not_keep_the_rest_from_arriving() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, "  batch: {timeout: 60s, send_batch_size: 100000}", &jaeger(""));
        scene.sim.set_window(2000);
        scene.client(busy(1));
        // Ten round trips for each request, so that there is always a request of which a part has arrived.
        scene.client(Load { client: 2, spans: 100, padding: 200, requests: 100, ..Load::default() });
        scene.sim.run_for(1500 * MS);
        let silent = scene.clients[1].0;
        scene.sim.partition(silent, scene.collector);
        scene.sim.run_for(SEC);
        scene.sim.close(scene.collector, 6 * SEC);
        scene.sim.run_for(6 * SEC);
        assert_eq!(scene.sim.left(scene.collector).unwrap().total(), 0, "seed {seed}");
        assert!(!scene.acknowledged().is_empty() && scene.missing().is_empty(), "seed {seed}");
    }
}

#[test]
fn what_a_backend_refuses_for_good_during_a_shutdown_is_counted() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, BATCH, &jaeger(""));
        scene.client(Load { requests: 10, spans: 3, ..Load::default() });
        scene.sim.run_for(3 * SEC);
        scene.told.borrow_mut().usual = Answer::refuse(Status::invalid_argument("closed for today"));
        scene.sim.close(scene.collector, 10 * SEC);
        scene.sim.run_for(10 * SEC);
        assert_eq!(scene.acknowledged().len(), 30, "seed {seed}");
        assert_eq!(scene.sim.left(scene.collector).unwrap().total(), 30, "seed {seed}");
    }
}

#[test]
fn a_refusal_that_may_pass_is_tried_again_within_the_grace() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, BATCH, &jaeger(""));
        scene.client(Load { requests: 10, spans: 3, ..Load::default() });
        scene.sim.run_for(3 * SEC);
        scene.told.borrow_mut().next = vec![Answer::refuse(Status::unavailable("busy")); 12].into();
        scene.sim.close(scene.collector, 10 * SEC);
        scene.sim.run_for(10 * SEC);
        assert_eq!(scene.sim.left(scene.collector).unwrap().total(), 0, "seed {seed}");
        assert!(scene.missing().is_empty(), "seed {seed}");
    }
}

#[test]
fn output_without_room_delays_no_request_and_no_end() {
    for seed in seeds() {
        let debug = "  debug: {verbosity: detailed, use_internal_logger: false}";
        let mut scene = Scene::new(seed, BATCH, &format!("{}\n{debug}", jaeger("")));
        scene.sim.set_output_room(scene.collector, "stdout", Some(2000));
        scene.client(busy(1));
        scene.sim.run_for(3 * SEC);
        assert!(scene.sim.output(scene.collector, "stdout").len() <= 2000, "seed {seed}");
        scene.sim.close(scene.collector, 25 * SEC);
        scene.sim.run_for(3 * SEC);
        assert_eq!(scene.sim.left(scene.collector).unwrap().total(), 0, "seed {seed}");
        assert!(scene.acknowledged().len() > 1000 && scene.missing().is_empty(), "seed {seed}");
    }
}
