//! What was acknowledged arrives, and what can't be kept is refused at the receiver.

use std::time::Duration;

use otelcore::pipeline::MemorySample;
use otelcore_http::Code;

use crate::backend::{Answer, Told, backend};
use crate::client::Load;
use crate::scene::{MS, SEC, Scene, jaeger, seeds};

const BATCH: &str = "  batch: {timeout: 200ms, send_batch_size: 50}";

#[test]
fn a_backend_that_dies_and_returns_gets_everything_that_was_acknowledged() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, BATCH, &jaeger(""));
        let load = Load { requests: 600, spans: 5, every: 20 * MS, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(4 * SEC);
        scene.sim.stop(scene.jaeger);
        scene.sim.run_for(4 * SEC);
        let before = scene.sim.attempts(scene.collector).len();
        scene.start_backend();
        let back = scene.sim.now();
        scene.sim.run_for(60 * SEC);
        assert_eq!(scene.acknowledged(), load.all(), "seed {seed}");
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        // After about four seconds of failures the pause is at most 1.6^3 s, a fifth more or less.
        let again = scene.sim.attempts(scene.collector)[before];
        assert!(again.since(back) <= Duration::from_millis(4916), "seed {seed}: {:?}", again.since(back));
        assert_eq!(scene.sim.attempts(scene.collector).len(), before + 1, "seed {seed}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
        assert!(scene.lines.drops().is_empty(), "seed {seed}");
    }
}

#[test]
fn a_backend_that_moved_is_found_under_its_name() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, BATCH, &jaeger(""));
        let load = Load { requests: 300, spans: 5, every: 20 * MS, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(3 * SEC);
        scene.sim.stop(scene.jaeger);
        scene.sim.set_name("jaeger", Err("server misbehaving".to_owned()));
        scene.sim.run_for(3 * SEC);
        let elsewhere = scene.sim.node("jaeger-2", backend(&scene.told)).unwrap();
        scene.sim.set_name("jaeger", Ok(vec![scene.sim.address(elsewhere)]));
        scene.sim.run_for(60 * SEC);
        assert_eq!(scene.acknowledged(), load.all(), "seed {seed}");
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        assert_eq!(scene.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn above_the_soft_limit_clients_are_told_to_come_again_and_nothing_is_lost() {
    for seed in seeds().take(5) {
        let processors = format!("  memory_limiter: {{check_interval: 1s, limit_mib: 2, spike_limit_mib: 1}}\n{BATCH}");
        let mut scene = Scene::new(seed, &processors, &jaeger(""));
        // Resident memory is far below the limit: the held bytes cause the refusals.
        scene.sim.set_memory(scene.collector, MemorySample { resident: 1 << 20, total: None });
        scene.sim.run_for(2 * SEC);
        scene.sim.stop(scene.jaeger);
        // Two and a half times what the limiter accepts.
        let load = Load { requests: 50, spans: 50, padding: 1024, every: 20 * MS, again: true, ..Load::default() };
        let heard = scene.client(load.clone());
        scene.sim.run_for(5 * SEC);
        assert!(heard.borrow().refusals().count() > 10, "seed {seed}");
        for (_, status) in heard.borrow().refusals() {
            assert_eq!((status.code, status.retry_after), (Code::Unavailable, Some(SEC)), "seed {seed}");
            assert_eq!(status.message, "data refused due to high memory usage", "seed {seed}");
        }
        // The refusals are logged once, not for each request.
        assert_eq!(scene.lines.with(&["Memory usage is above soft limit. Refusing data."]), 1, "seed {seed}");
        // Refused bodies were charged while they were read: what is held may be below the limit by the size of one
        // body.
        assert!((900 << 10..2 << 20).contains(&scene.held_bytes()), "seed {seed}: {}", scene.held_bytes());
        assert_ne!(scene.acknowledged(), load.all(), "seed {seed}");
        scene.start_backend();
        scene.sim.run_for(120 * SEC);
        assert_eq!(scene.acknowledged(), load.all(), "seed {seed}");
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        assert_eq!(scene.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn a_full_queue_behind_a_batch_closes_the_door_and_loses_nothing() {
    for seed in seeds().take(5) {
        let exporter =
            jaeger("sending_queue: {queue_size: 3, num_consumers: 1}\nretry_on_failure: {max_elapsed_time: 0s}");
        let mut scene = Scene::new(seed, BATCH, &exporter);
        scene.sim.stop(scene.jaeger);
        let load = Load { requests: 200, spans: 5, every: 10 * MS, again: true, ..Load::default() };
        let heard = scene.client(load.clone());
        scene.sim.run_for(20 * SEC);
        assert!(heard.borrow().refusals().count() > 10, "seed {seed}");
        for (_, status) in heard.borrow().refusals() {
            assert_eq!((status.code, &*status.message), (Code::Unavailable, "sending queue is full"), "seed {seed}");
        }
        // Three batches are in the queue, and the processor holds as many as it accepts before it refuses.
        let held = scene.held_items();
        assert_eq!(held, scene.acknowledged().len() as u64, "seed {seed}");
        assert!(held <= 3 * 50 + 2 * 50 + 50, "seed {seed}: {held}");
        scene.start_backend();
        scene.sim.run_for(120 * SEC);
        assert_eq!(scene.acknowledged(), load.all(), "seed {seed}");
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
        assert!(scene.lines.drops().is_empty(), "seed {seed}");
    }
}

#[test]
fn an_exporter_that_is_down_does_not_hold_up_the_other() {
    for seed in seeds() {
        let exporters = format!(
            "{}\n{}",
            jaeger(""),
            jaeger("").replace("jaeger:\n", "jaeger/b:\n").replace("jaeger:1", "other:1")
        );
        let mut scene = Scene::exact(seed, "  batch: {timeout: 100ms}", &exporters);
        let other = Told::default();
        let node = scene.sim.node("other", backend(&other)).unwrap();
        scene.sim.run_for(100 * MS);
        scene.sim.stop(scene.jaeger);
        let load = Load { requests: 100, spans: 5, every: 20 * MS, ..Load::default() };
        let begun = scene.sim.now();
        scene.client(load.clone());
        scene.sim.run_for(10 * SEC);
        assert_eq!(other.borrow().delivered(), load.all(), "seed {seed}");
        for post in &other.borrow().posts {
            for id in &post.ids {
                let sent = begun + SEC + 20 * MS * (u32::try_from(id >> 16 & 0xffff).unwrap());
                assert!(post.at.since(sent) <= 103 * MS, "seed {seed}: {:?}", post.at.since(sent));
            }
        }
        assert_eq!((scene.acknowledged(), scene.delivered().len()), (load.all(), 0), "seed {seed}");
        scene.start_backend();
        scene.sim.stop(node);
        scene.sim.run_for(60 * SEC);
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        assert_eq!(scene.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn a_slow_backend_delays_and_a_timeout_sends_again() {
    for seed in seeds() {
        let mut scene = Scene::new(seed, "", &jaeger("timeout: 2s"));
        // The first answer comes too late: the backend has the spans, and gets them again.
        scene.told.borrow_mut().next = [Answer { after: 3 * SEC, ..Answer::default() }].into();
        let load = Load { spans: 4, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(30 * SEC);
        let told = scene.told.borrow();
        assert_eq!(told.posts.len(), 2, "seed {seed}");
        let pause = told.posts[1].at.since(told.posts[0].at);
        assert!(pause >= 4 * SEC && pause <= 10 * SEC, "seed {seed}: {pause:?}");
        assert_eq!(told.delivered(), load.all(), "seed {seed}");
    }
}

#[test]
fn accept_failure_is_logged_once_and_connections_are_taken_afterwards() {
    for seed in seeds().take(5) {
        let mut scene = Scene::new(seed, "", &jaeger(""));
        let error = "accept tcp 0.0.0.0:4317: accept4: too many open files";
        scene.sim.set_accept_failure(scene.collector, Some(error));
        let load = Load { requests: 10, spans: 1, again: true, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(9 * SEC);
        assert_eq!(scene.lines.with(&["Connections can't be accepted", error]), 1, "seed {seed}");
        assert!(scene.acknowledged().is_empty(), "seed {seed}");
        scene.sim.set_accept_failure(scene.collector, None);
        scene.sim.run_for(60 * SEC);
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        assert_eq!(scene.lines.with(&["Connections can't be accepted"]), 1, "seed {seed}");
    }
}
