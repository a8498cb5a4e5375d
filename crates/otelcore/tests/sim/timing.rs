//! The times of events, to the millisecond.

use std::time::Duration;

use otelcore_http::{Code, Status};
use otelcore_pipeline::Mono;

use crate::backend::Answer;
use crate::client::Load;
use crate::scene::{MS, SEC, Scene, jaeger, seeds};

/// From a client to the collector, and from there to the backend.
const HOPS: Duration = Duration::from_millis(2);

#[test]
fn a_batch_goes_out_when_its_time_is_up_and_not_a_millisecond_later() {
    for seed in seeds() {
        let mut scene = Scene::exact(seed, "  batch: {timeout: 200ms}", &jaeger(""));
        scene.client(Load { requests: 3, spans: 2, every: 50 * MS, ..Load::default() });
        scene.sim.run_for(5 * SEC);
        let told = scene.told.borrow();
        let posts: Vec<_> = told.posts.iter().map(|p| (p.at, p.ids.len())).collect();
        // One request for each ResourceSpans, all at the time of the first one's timeout.
        let at = scene.at(SEC + 200 * MS + HOPS);
        assert_eq!(posts, [(at, 2), (at, 2), (at, 2)], "seed {seed}");
    }
}

#[test]
fn a_batch_goes_out_at_once_when_it_is_large_enough() {
    for seed in seeds() {
        let mut scene = Scene::exact(seed, "  batch: {timeout: 10s, send_batch_size: 10}", &jaeger(""));
        scene.client(Load { requests: 4, spans: 4, every: 100 * MS, ..Load::default() });
        scene.sim.run_for(30 * SEC);
        let told = scene.told.borrow();
        let posts: Vec<_> = told.posts.iter().map(|p| (p.at, p.ids.len())).collect();
        let full = scene.at(SEC + 200 * MS + HOPS);
        let rest = scene.at(SEC + 300 * MS + 10 * SEC + HOPS);
        assert_eq!(posts, [(full, 4), (full, 4), (full, 4), (rest, 4)], "seed {seed}");
    }
}

#[test]
fn a_batch_of_at_most_so_many_spans_is_cut_to_the_span() {
    for seed in seeds() {
        let settings = "  batch: {timeout: 1s, send_batch_size: 10, send_batch_max_size: 10}";
        let mut scene = Scene::exact(seed, settings, &jaeger(""));
        scene.client(Load { requests: 1, spans: 25, ..Load::default() });
        scene.sim.run_for(30 * SEC);
        let told = scene.told.borrow();
        let posts: Vec<_> = told.posts.iter().map(|p| (p.at, p.ids.len())).collect();
        let first = scene.at(SEC + HOPS);
        assert_eq!(posts, [(first, 10), (first, 10), (first + SEC, 5)], "seed {seed}");
        assert_eq!(told.delivered(), scene.clients[0].1.all(), "seed {seed}");
    }
}

/// The pauses between attempts, without the time that the answer took.
fn pauses(scene: &Scene) -> Vec<Duration> {
    let told = scene.told.borrow();
    let at: Vec<Mono> = told.posts.iter().map(|p| p.at).collect();
    at.windows(2).map(|w| w[1].since(w[0]) - HOPS).collect()
}

#[test]
fn refused_spans_come_again_after_growing_pauses_until_their_time_is_up() {
    for seed in seeds() {
        let mut scene = Scene::exact(seed, "", &jaeger("retry_on_failure: {max_elapsed_time: 300s}"));
        scene.told.borrow_mut().usual = Answer::refuse(Status::unavailable("not now"));
        scene.client(Load { spans: 7, ..Load::default() });
        scene.sim.run_for(400 * SEC);
        let mut interval = 5.0_f64;
        let pauses = pauses(&scene);
        assert!(pauses.len() >= 8, "seed {seed}: {pauses:?}");
        for pause in &pauses {
            let pause = pause.as_secs_f64();
            assert!((0.5 * interval..=1.5 * interval).contains(&pause), "seed {seed}: {pause} around {interval}");
            interval = (interval * 1.5).min(30.0);
        }
        let whole: Duration = pauses.iter().sum();
        assert!(whole <= 300 * SEC && whole >= 255 * SEC, "seed {seed}: {whole:?}");
        let drops = scene.lines.drops();
        assert!(drops.len() == 1 && drops[0].1 == 7 && drops[0].0.contains("no more retries left"), "{drops:?}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_backend_that_says_when_is_not_asked_sooner() {
    for seed in seeds() {
        let mut scene = Scene::exact(seed, "", &jaeger(""));
        let status = Status::new(Code::ResourceExhausted, "full").with_retry_after(20 * SEC);
        scene.told.borrow_mut().next = [Answer::refuse(status.clone()), Answer::refuse(status)].into();
        scene.client(Load { spans: 3, ..Load::default() });
        scene.sim.run_for(100 * SEC);
        assert_eq!(pauses(&scene), [20 * SEC, 20 * SEC], "seed {seed}");
        assert!(scene.missing().is_empty() && scene.delivered().len() == 3, "seed {seed}");
    }
}

#[test]
fn what_a_backend_will_never_take_is_sent_once_and_dropped_aloud() {
    for seed in seeds() {
        let mut scene = Scene::exact(seed, "", &jaeger(""));
        let status = Status::invalid_argument("no such tenant");
        scene.told.borrow_mut().next = [Answer::refuse(status)].into();
        scene.client(Load { requests: 2, spans: 3, every: SEC, ..Load::default() });
        scene.sim.run_for(100 * SEC);
        assert_eq!(scene.told.borrow().posts.len(), 2, "seed {seed}");
        assert_eq!(scene.missing().len(), 3, "seed {seed}");
        let drops = scene.lines.drops();
        assert!(drops.len() == 1 && drops[0].1 == 3 && drops[0].0.contains("no such tenant"), "seed {seed}: {drops:?}");
    }
}
