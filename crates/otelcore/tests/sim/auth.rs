//! Senders whose credentials take long to check. A check takes as long as the link of the collector to itself.

use std::time::Duration;

use otelcore_http::Code;

use crate::client::Load;
use crate::fixture::{Fixture, JAEGER_EXPORTER, MS, SEC, new_sim, seeds};

/// `user` with the password `pass`, by bcrypt of the least cost.
const USER: &str = "user:$$2b$$04$$abcdefghijklmnopqrstuufznL8bkzdtHwLhca4To/v9Lo9bA7fR6";
/// user:pass
const VALID_CREDENTIALS: &str = "Basic dXNlcjpwYXNz";
/// user:guess, user:guess2
const INVALID_CREDENTIALS: [&str; 2] = ["Basic dXNlcjpndWVzcw==", "Basic dXNlcjpndWVzczI="];

fn fixture_with_auth(seed: u64, check_duration: Duration) -> Fixture {
    let mut sim = new_sim(seed);
    sim.set_latency(MS, 2 * MS);
    let yaml = format!(
        "extensions:\n  basicauth: {{htpasswd: {{inline: \"{USER}\"}}}}\nreceivers:\n  otlp:\n    protocols: {{grpc: \
         {{endpoint: \"0.0.0.0:4317\", auth: {{authenticator: basicauth}}}}}}\nexporters:\n{JAEGER_EXPORTER}\nservice:\n  \
         extensions: [basicauth]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces: {{receivers: \
         [otlp], exporters: [jaeger]}}\n"
    );
    let mut fixture = Fixture::with_yaml(sim, seed, &yaml);
    let collector = fixture.collector;
    fixture.sim.set_link_latency(collector, collector, check_duration, check_duration);
    fixture
}

fn load_with_credentials(client: u64, authorization: &'static str) -> Load {
    Load { client, authorization: Some(authorization), ..Load::default() }
}

#[test]
fn requests_with_valid_credentials_are_delivered_and_others_are_refused() {
    for seed in seeds().take(5) {
        let mut fixture = fixture_with_auth(seed, 200 * MS);
        // Long bodies arrive in pieces, so that some checks end before their bodies.
        fixture.sim.set_window(2000);
        let valid: Vec<_> = (1..6)
            .map(|client| Load {
                requests: 20,
                padding: 1000 * client as usize * client as usize,
                ..load_with_credentials(client, VALID_CREDENTIALS)
            })
            .collect();
        let invalid: Vec<_> = (6..10)
            .map(|client| Load {
                requests: 20,
                padding: 2000 * (client as usize - 6) * (client as usize - 5),
                ..load_with_credentials(client, INVALID_CREDENTIALS[client as usize % 2])
            })
            .collect();
        valid.iter().for_each(|load| drop(fixture.start_client(load.clone())));
        let refused: Vec<_> = invalid.iter().map(|load| fixture.start_client(load.clone())).collect();
        fixture.sim.run_for(15 * SEC);
        let all = valid.iter().flat_map(Load::span_ids).collect();
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (all, fixture.acknowledged()), "seed {seed}");
        for results in refused {
            let results = results.borrow();
            assert_eq!(results.errors().count(), 20, "seed {seed}");
            for (_, status) in results.errors() {
                assert_eq!(
                    (status.code, &*status.message),
                    (Code::Unauthenticated, "invalid credentials"),
                    "seed {seed}"
                );
            }
        }
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn request_waits_for_its_credential_check_and_checked_senders_do_not() {
    for seed in seeds().take(5) {
        let mut fixture = fixture_with_auth(seed, 500 * MS);
        let first = fixture.start_client(load_with_credentials(1, VALID_CREDENTIALS));
        fixture.start_client(Load {
            start_after: 2 * SEC,
            requests: 50,
            ..load_with_credentials(2, INVALID_CREDENTIALS[0])
        });
        let known = fixture.start_client(Load {
            start_after: 2 * SEC,
            requests: 50,
            ..load_with_credentials(3, VALID_CREDENTIALS)
        });
        fixture.sim.run_until(fixture.time_at(SEC + 450 * MS));
        assert!(first.borrow().responses.is_empty(), "seed {seed}");
        assert!(fixture.held_bytes() > 0, "seed {seed}: the body has arrived");
        fixture.sim.run_until(fixture.time_at(2 * SEC));
        assert_eq!(first.borrow().acknowledged.len(), 1, "seed {seed}");
        fixture.sim.run_for(5 * SEC);
        let (known, from) = (known.borrow(), fixture.time_at(2 * SEC));
        assert_eq!(known.acknowledged.len(), 50, "seed {seed}");
        for (at, request, _) in &known.responses {
            let sent = from + 10 * MS * u32::try_from(*request).unwrap();
            assert!(at.since(sent) < 100 * MS, "seed {seed}: request {request} waited for another's check");
        }
    }
}

#[test]
fn connection_closed_before_its_check_ends_holds_nothing() {
    for seed in seeds() {
        let mut fixture = fixture_with_auth(seed, 500 * MS);
        // One request is there, the other's body is on its way.
        fixture.sim.set_window(2000);
        fixture.start_client(load_with_credentials(1, VALID_CREDENTIALS));
        fixture.start_client(Load { padding: 2_000_000, ..load_with_credentials(2, VALID_CREDENTIALS) });
        fixture.sim.run_until(fixture.time_at(SEC + 300 * MS));
        assert!(fixture.held_bytes() > 0, "seed {seed}");
        let clients: Vec<_> = fixture.clients.iter().map(|(node, ..)| *node).collect();
        clients.into_iter().for_each(|node| fixture.sim.kill(node));
        fixture.sim.run_for(5 * SEC);
        assert!(fixture.delivered().is_empty(), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        let later = load_with_credentials(3, VALID_CREDENTIALS);
        fixture.start_client(later.clone());
        fixture.sim.run_for(5 * SEC);
        assert_eq!(fixture.delivered(), later.span_ids(), "seed {seed}");
    }
}

#[test]
fn shutdown_waits_for_pending_credential_checks() {
    for seed in seeds() {
        let mut fixture = fixture_with_auth(seed, 500 * MS);
        let (valid, invalid) =
            (load_with_credentials(1, VALID_CREDENTIALS), load_with_credentials(2, INVALID_CREDENTIALS[0]));
        fixture.start_client(valid.clone());
        let refused = fixture.start_client(invalid);
        fixture.sim.run_until(fixture.time_at(SEC + 300 * MS));
        let collector = fixture.collector;
        fixture.sim.close(collector, 20 * SEC);
        fixture.sim.run_for(3 * SEC);
        assert_eq!(fixture.sim.undelivered(collector).map(|left| left.total()), Some(0), "seed {seed}");
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (valid.span_ids(), valid.span_ids()), "seed {seed}");
        let codes: Vec<_> = refused.borrow().errors().map(|(_, status)| status.code).collect();
        assert_eq!(codes, [Code::Unauthenticated], "seed {seed}");
    }
}

#[test]
fn invalid_credentials_do_not_delay_valid_requests() {
    for seed in seeds().take(2) {
        let mut fixture = fixture_with_auth(seed, 300 * MS);
        let known = Load { interval: 5 * MS, requests: 2000, ..load_with_credentials(1, VALID_CREDENTIALS) };
        let results = fixture.start_client(known.clone());
        for client in 2..20 {
            // Different credentials each: user:aa, user:ab, ...
            let guess = format!("Basic dXNlcjph{}", ["YQ==", "Yg==", "Yw==", "ZA=="][client as usize % 4]).leak();
            fixture.start_client(Load {
                start_after: 2 * SEC,
                interval: 20 * MS,
                requests: 400,
                ..load_with_credentials(client, guess)
            });
        }
        fixture.sim.run_for(15 * SEC);
        assert_eq!(fixture.delivered(), known.span_ids(), "seed {seed}");
        let results = results.borrow();
        for (at, request, _) in results.responses.iter().filter(|(_, request, _)| *request > 200) {
            let sent = fixture.time_at(SEC) + 5 * MS * u32::try_from(*request).unwrap();
            assert!(at.since(sent) < 100 * MS, "seed {seed}: request {request}");
        }
        assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    }
}
