//! Senders whose credentials take long to check. A job takes as long as the link of the collector to itself.

use std::time::Duration;

use otelcore::reactor::Sim;
use otelcore_http::Code;

use crate::client::Load;
use crate::scene::{JAEGER, MS, SEC, Scene, seeds};

/// `user` with the password `pass`, by bcrypt of the least cost.
const USER: &str = "user:$$2b$$04$$abcdefghijklmnopqrstuufznL8bkzdtHwLhca4To/v9Lo9bA7fR6";
/// user:pass
const RIGHT: &str = "Basic dXNlcjpwYXNz";
/// user:guess, user:guess2
const WRONG: [&str; 2] = ["Basic dXNlcjpndWVzcw==", "Basic dXNlcjpndWVzczI="];

fn scene(seed: u64, check: Duration) -> Scene {
    let mut sim = Sim::new(seed);
    sim.set_latency(MS, 2 * MS);
    let yaml = format!(
        "extensions:\n  basicauth: {{htpasswd: {{inline: \"{USER}\"}}}}\nreceivers:\n  otlp:\n    protocols: {{grpc: \
         {{endpoint: \"0.0.0.0:4317\", auth: {{authenticator: basicauth}}}}}}\nexporters:\n{JAEGER}\nservice:\n  \
         extensions: [basicauth]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces: {{receivers: \
         [otlp], exporters: [jaeger]}}\n"
    );
    let mut scene = Scene::of(sim, seed, &yaml);
    let collector = scene.collector;
    scene.sim.set_link(collector, collector, check, check);
    scene
}

fn load(client: u64, authorization: &'static str) -> Load {
    Load { client, authorization: Some(authorization), ..Load::default() }
}

#[test]
fn requests_of_a_checked_sender_are_taken_and_others_never_reach_a_pipeline() {
    for seed in seeds().take(5) {
        let mut scene = scene(seed, 200 * MS);
        // Long bodies arrive in pieces, so that some checks end before their bodies.
        scene.sim.set_window(2000);
        let right: Vec<_> = (1..6)
            .map(|client| Load {
                requests: 20,
                padding: 1000 * client as usize * client as usize,
                ..load(client, RIGHT)
            })
            .collect();
        let wrong: Vec<_> = (6..10)
            .map(|client| Load {
                requests: 20,
                padding: 2000 * (client as usize - 6) * (client as usize - 5),
                ..load(client, WRONG[client as usize % 2])
            })
            .collect();
        right.iter().for_each(|load| drop(scene.client(load.clone())));
        let refused: Vec<_> = wrong.iter().map(|load| scene.client(load.clone())).collect();
        scene.sim.run_for(15 * SEC);
        let all = right.iter().flat_map(Load::all).collect();
        assert_eq!((scene.acknowledged(), scene.delivered()), (all, scene.acknowledged()), "seed {seed}");
        for heard in refused {
            let heard = heard.borrow();
            assert_eq!(heard.refusals().count(), 20, "seed {seed}");
            for (_, status) in heard.refusals() {
                assert_eq!(
                    (status.code, &*status.message),
                    (Code::Unauthenticated, "invalid credentials"),
                    "seed {seed}"
                );
            }
        }
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn request_waits_for_its_check_and_known_senders_do_not() {
    for seed in seeds().take(5) {
        let mut scene = scene(seed, 500 * MS);
        let first = scene.client(load(1, RIGHT));
        scene.client(Load { from: 2 * SEC, requests: 50, ..load(2, WRONG[0]) });
        let known = scene.client(Load { from: 2 * SEC, requests: 50, ..load(3, RIGHT) });
        scene.sim.run_until(scene.at(SEC + 450 * MS));
        assert!(first.borrow().answers.is_empty(), "seed {seed}");
        assert!(scene.held_bytes() > 0, "seed {seed}: the body has arrived");
        scene.sim.run_until(scene.at(2 * SEC));
        assert_eq!(first.borrow().acknowledged.len(), 1, "seed {seed}");
        scene.sim.run_for(5 * SEC);
        let (known, from) = (known.borrow(), scene.at(2 * SEC));
        assert_eq!(known.acknowledged.len(), 50, "seed {seed}");
        for (at, request, _) in &known.answers {
            let sent = from + 10 * MS * u32::try_from(*request).unwrap();
            assert!(at.since(sent) < 100 * MS, "seed {seed}: request {request} waited for another's check");
        }
    }
}

#[test]
fn connection_that_is_gone_before_its_check_ends_leaves_nothing() {
    for seed in seeds() {
        let mut scene = scene(seed, 500 * MS);
        // One request is there, the other's body is on its way.
        scene.sim.set_window(2000);
        scene.client(load(1, RIGHT));
        scene.client(Load { padding: 2_000_000, ..load(2, RIGHT) });
        scene.sim.run_until(scene.at(SEC + 300 * MS));
        assert!(scene.held_bytes() > 0, "seed {seed}");
        let clients: Vec<_> = scene.clients.iter().map(|(node, ..)| *node).collect();
        clients.into_iter().for_each(|node| scene.sim.stop(node));
        scene.sim.run_for(5 * SEC);
        assert!(scene.delivered().is_empty(), "seed {seed}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
        let later = load(3, RIGHT);
        scene.client(later.clone());
        scene.sim.run_for(5 * SEC);
        assert_eq!(scene.delivered(), later.all(), "seed {seed}");
    }
}

#[test]
fn shutdown_waits_for_requests_whose_sender_is_being_checked() {
    for seed in seeds() {
        let mut scene = scene(seed, 500 * MS);
        let (right, wrong) = (load(1, RIGHT), load(2, WRONG[0]));
        scene.client(right.clone());
        let refused = scene.client(wrong);
        scene.sim.run_until(scene.at(SEC + 300 * MS));
        let collector = scene.collector;
        scene.sim.close(collector, 20 * SEC);
        scene.sim.run_for(3 * SEC);
        assert_eq!(scene.sim.left(collector).map(|left| left.total()), Some(0), "seed {seed}");
        assert_eq!((scene.acknowledged(), scene.delivered()), (right.all(), right.all()), "seed {seed}");
        let codes: Vec<_> = refused.borrow().refusals().map(|(_, status)| status.code).collect();
        assert_eq!(codes, [Code::Unauthenticated], "seed {seed}");
    }
}

#[test]
fn guesses_are_refused_while_data_flows() {
    for seed in seeds().take(2) {
        let mut scene = scene(seed, 300 * MS);
        let known = Load { every: 5 * MS, requests: 2000, ..load(1, RIGHT) };
        let heard = scene.client(known.clone());
        for client in 2..20 {
            // Different credentials each: user:aa, user:ab, ...
            let guess = format!("Basic dXNlcjph{}", ["YQ==", "Yg==", "Yw==", "ZA=="][client as usize % 4]).leak();
            scene.client(Load { from: 2 * SEC, every: 20 * MS, requests: 400, ..load(client, guess) });
        }
        scene.sim.run_for(15 * SEC);
        assert_eq!(scene.delivered(), known.all(), "seed {seed}");
        let heard = heard.borrow();
        for (at, request, _) in heard.answers.iter().filter(|(_, request, _)| *request > 200) {
            let sent = scene.at(SEC) + 5 * MS * u32::try_from(*request).unwrap();
            assert!(at.since(sent) < 100 * MS, "seed {seed}: request {request}");
        }
        assert_eq!(scene.held_bytes(), 0, "seed {seed}");
    }
}
