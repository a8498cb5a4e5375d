//! A configuration that replaces another one while it runs, and a trial start of one.

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore::pipeline::GraphChange;

use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, collector_graph, config_yaml, jaeger_exporter, new_sim, otlp_exporter, seeds};

#[test]
fn trial_start_does_not_disturb_the_running_collector() {
    for seed in seeds().take(5) {
        let batch = "  batch: {timeout: 1s}\n  memory_limiter: {check_interval: 1s, limit_mib: 100}";
        let mut fixture = Fixture::new(seed, batch, &jaeger_exporter(""));
        let load = Load { requests: 500, spans: 5, interval: 7 * MS, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(2 * SEC);
        let good = config_yaml(batch, &jaeger_exporter(""));
        let missing_file = config_yaml("", &jaeger_exporter("").replace("insecure: true", "ca_file: /nowhere"));
        let same_port_twice = config_yaml("", &jaeger_exporter(""))
            .replace("protocols: {grpc", "protocols: {http: {endpoint: \"0.0.0.0:4317\"}, grpc");
        for (text, expected_error) in [
            (&good, None),
            (&missing_file, Some("open /nowhere: no such file or directory")),
            (&same_port_twice, Some("listen tcp 0.0.0.0:4317: bind: address already in use")),
        ] {
            let (graph, _) = collector_graph(text);
            let result = fixture.sim.try_start(fixture.collector, graph);
            match (expected_error, result) {
                (None, Ok(())) => {}
                (Some(why), Err(e)) => assert!(e.to_string().contains(why), "seed {seed}: {e}"),
                (why, tried) => panic!("seed {seed}: {tried:?} instead of {why:?}"),
            }
            fixture.sim.run_for(300 * MS);
        }
        fixture.sim.run_for(20 * SEC);
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn previous_graph_starts_after_a_failed_start() {
    for seed in seeds().take(5) {
        let mut fixture = Fixture::new(seed, "", &jaeger_exporter(""));
        let (bad, _) =
            collector_graph(&config_yaml("", &jaeger_exporter("").replace("insecure: true", "ca_file: /nowhere")));
        fixture.sim.restart(fixture.collector, bad).unwrap_err();
        let (previous, _) = collector_graph(&config_yaml("", &jaeger_exporter("")));
        fixture.sim.restart(fixture.collector, previous).unwrap();
        let load = Load { requests: 50, retry: true, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(20 * SEC);
        assert_eq!(fixture.delivered(), load.span_ids(), "seed {seed}");
    }
}

/// One pipeline from OTLP to the backend with these processors, keys of the receiver and of the exporter.
fn yaml_with(processors: &str, receiver_keys: &str, exporter_keys: &str) -> String {
    let receiver = format!("grpc: {{endpoint: \"0.0.0.0:4317\", {receiver_keys}}}");
    config_yaml(processors, &otlp_exporter(exporter_keys)).replace("grpc: {endpoint: \"0.0.0.0:4317\"}", &receiver)
}

fn change_of(kept: usize, started: usize, retired: usize) -> GraphChange {
    let mut change = GraphChange::default();
    // The page of own metrics is kept as well.
    (change.kept, change.started, change.retired) = (kept + 1, started, retired);
    change
}

#[test]
fn reload_of_the_same_configuration_changes_nothing() {
    let mut fixture = Fixture::new(1, "  batch: {timeout: 60s}", &otlp_exporter(""));
    let load = Load { requests: 300, ..Load::default() };
    fixture.start_client(load.clone());
    fixture.sim.run_for(2 * SEC);
    let held = fixture.held_items();
    assert!(held > 0);
    let yaml = format!("# A comment.\n{}", config_yaml("  batch: {timeout: 60s}", &otlp_exporter("")));
    assert_eq!(fixture.reload(&yaml, 5 * SEC), Ok(change_of(3, 0, 0)));
    assert_eq!(fixture.held_items(), held, "the batch goes on");
    fixture.sim.run_for(5 * SEC);
    assert_eq!((fixture.acknowledged(), fixture.delivered()), (load.span_ids(), Default::default()));
    let (client, ..) = fixture.clients[0];
    assert_eq!(fixture.sim.connect_times(client).len(), 1);
    fixture.sim.flush(fixture.collector);
    fixture.sim.run_for(5 * SEC);
    assert_eq!(fixture.delivered(), load.span_ids());
}

#[test]
fn reload_that_changes_an_exporter_keeps_batches_and_sends_what_the_old_queue_holds() {
    for seed in seeds().take(5) {
        let batch = "  batch: {timeout: 2s}";
        let mut fixture = Fixture::new(seed, batch, &otlp_exporter(""));
        fixture.sim.kill(fixture.backend_node);
        let load = Load { requests: 500, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(4500 * MS);
        let held = fixture.held_items();
        assert!(held > 300, "seed {seed}: {held}");
        let yaml = config_yaml(batch, &otlp_exporter("timeout: 3s"));
        assert_eq!(fixture.reload(&yaml, 20 * SEC), Ok(change_of(2, 1, 1)), "seed {seed}");
        assert_eq!(fixture.held_items(), held, "seed {seed}");
        fixture.sim.run_for(3 * SEC);
        fixture.start_backend();
        fixture.sim.run_for(15 * SEC);
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (load.span_ids(), load.span_ids()), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        let (client, ..) = fixture.clients[0];
        assert_eq!(fixture.sim.connect_times(client).len(), 1, "seed {seed}: the listener has not changed");
        assert!(fixture.log.drops().is_empty(), "seed {seed}");
    }
}

#[test]
fn queue_that_is_not_empty_at_the_end_of_the_grace_period_is_reported() {
    let mut fixture = Fixture::new(1, "", &otlp_exporter(""));
    fixture.sim.kill(fixture.backend_node);
    fixture.start_client(Load { requests: 10, ..Load::default() });
    fixture.sim.run_for(3 * SEC);
    assert_eq!(fixture.reload(&config_yaml("", &otlp_exporter("timeout: 3s")), 5 * SEC), Ok(change_of(1, 1, 1)));
    fixture.sim.run_for(4 * SEC);
    assert_eq!(fixture.held_items(), 10);
    fixture.sim.run_for(2 * SEC);
    assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0));
    let message = "A component that the new configuration does not have left data undelivered.";
    assert_eq!(fixture.log.count_with(&[message, "exporter otlp_grpc"]), 1);
}

#[test]
fn reload_that_changes_a_processor_passes_what_it_holds_to_what_comes_after_it() {
    for seed in seeds().take(5) {
        let before = "  batch: {timeout: 60s}\n  batch/2: {timeout: 50s}";
        let mut fixture = Fixture::new(seed, before, &otlp_exporter(""));
        let load = Load { requests: 100, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(4 * SEC);
        assert_eq!(fixture.held_items(), 100, "seed {seed}");
        // The first one is made again: what it held is in the second one, which is kept.
        let yaml = config_yaml("  batch: {timeout: 30s}\n  batch/2: {timeout: 50s}", &otlp_exporter(""));
        assert_eq!(fixture.reload(&yaml, 5 * SEC), Ok(change_of(3, 1, 1)), "seed {seed}");
        fixture.sim.run_for(4 * SEC);
        assert_eq!((fixture.held_items(), fixture.delivered().len()), (100, 0), "seed {seed}");
        // Both are taken out: what they held goes to the exporter.
        assert_eq!(
            fixture.reload(&config_yaml("", &otlp_exporter("")), 5 * SEC),
            Ok(change_of(2, 0, 2)),
            "seed {seed}"
        );
        fixture.sim.run_for(SEC);
        assert_eq!((fixture.held_items(), fixture.delivered()), (0, load.span_ids()), "seed {seed}");
    }
}

#[test]
fn reload_that_fails_half_way_leaves_everything_as_it_was() {
    for seed in seeds().take(5) {
        let mut fixture = Fixture::new(seed, "  batch: {timeout: 1s}", &otlp_exporter(""));
        let load = Load { requests: 500, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(2 * SEC);
        // The exporter, the processor and the receiver are new; the second server of the receiver can't have the port of the first.
        let yaml = yaml_with("  batch: {timeout: 2s}", "max_recv_msg_size_mib: 5", "timeout: 3s")
            .replace("protocols: {grpc", "protocols: {http: {endpoint: \"0.0.0.0:4317\"}, grpc");
        for _ in 0..3 {
            let error = fixture.reload(&yaml, 5 * SEC).unwrap_err();
            assert!(error.to_string().contains("0.0.0.0:4317: bind: address already in use"), "seed {seed}: {error}");
            fixture.sim.run_for(100 * MS);
        }
        let other = Load { client: 2, ..load.clone() };
        fixture.start_client(other.clone());
        fixture.sim.run_for(20 * SEC);
        let all = &load.span_ids() | &other.span_ids();
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (all.clone(), all), "seed {seed}");
        let (client, ..) = fixture.clients[0];
        assert_eq!(fixture.sim.connect_times(client).len(), 1, "seed {seed}");
    }
}

#[test]
fn tail_sampling_decides_when_it_would_without_a_reload() {
    let policies = "  tail_sampling:\n    decision_wait: 5s\n    policies: [{name: all, type: always_sample}]";
    let mut fixture = Fixture::new(1, policies, &otlp_exporter(""));
    let load = Load { requests: 100, traces: 20, ..Load::default() };
    fixture.start_client(load.clone());
    for i in 0..4 {
        fixture.sim.run_for(SEC);
        let yaml = config_yaml(policies, &otlp_exporter(&format!("timeout: {}s", i + 3)));
        fixture.reload(&yaml, 5 * SEC).unwrap();
    }
    assert_eq!((fixture.held_items(), fixture.delivered().len()), (100, 0));
    fixture.sim.run_for(5 * SEC);
    assert_eq!((fixture.held_items(), fixture.delivered()), (0, load.span_ids()));
}

/// A part of a configuration, by chance.
fn pick<'a>(fixture: &mut Fixture, choices: &[&'a str]) -> &'a str {
    let random = fixture.sim.random() as usize;
    choices[random % choices.len()]
}

#[test]
fn many_reloads_under_load_lose_nothing_and_refuse_no_connection() {
    let processors = [
        "",
        "  batch: {timeout: 1s}",
        "  batch: {timeout: 2s}",
        "  memory_limiter: {check_interval: 1s, limit_mib: 100}\n  batch: {timeout: 1s}",
        "  memory_limiter: {check_interval: 1s, limit_mib: 200}",
        "  batch: {timeout: 1s}\n  tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}",
        "  tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}\n  batch: {timeout: 1s}",
    ];
    let receivers = ["", "max_recv_msg_size_mib: 5", "max_recv_msg_size_mib: 6"];
    let exporters = ["", "timeout: 3s", "sending_queue: {num_consumers: 2}", "sending_queue: {enabled: false}"];
    for seed in seeds().take(4) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml_with("", "", ""));
        for client in 1..=3 {
            let load = Load { client, requests: 300, spans: 3, interval: 30 * MS, retry: true, ..Load::default() };
            fixture.start_client(load);
        }
        fixture.sim.run_for(SEC);
        for _ in 0..30 {
            let yaml = yaml_with(
                pick(&mut fixture, &processors),
                pick(&mut fixture, &receivers),
                pick(&mut fixture, &exporters),
            );
            fixture.reload(&yaml, 20 * SEC).unwrap();
            let pause = fixture.sim.random() % 600;
            fixture.sim.run_for(Duration::from_millis(pause));
        }
        fixture.sim.run_for(40 * SEC);
        let sent: BTreeSet<u64> = fixture.clients.iter().flat_map(|(_, load, _)| load.span_ids()).collect();
        assert_eq!(fixture.acknowledged(), sent, "seed {seed}");
        assert_eq!(fixture.delivered(), sent, "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
        assert!(fixture.log.drops().is_empty(), "seed {seed}: {:?}", fixture.log.drops());
        for (_, _, results) in &fixture.clients {
            for (_, status) in results.borrow().errors() {
                assert!(!status.message.contains("refused"), "seed {seed}: {status:?}");
            }
        }
        let graph = fixture.sim.graph(fixture.collector).unwrap();
        let names: Vec<String> = graph.statuses().entries().into_iter().map(|entry| entry.id).collect();
        assert!(names.len() <= 5, "seed {seed}: {names:?}");
    }
}

#[test]
fn stored_queue_of_a_changed_exporter_is_taken_over() {
    let yaml = |keys: &str| {
        let keys = format!("sending_queue: {{storage: file_storage}}\n{keys}");
        yaml_with("", "", &keys).replace(
            "service:\n",
            "extensions:\n  file_storage: {directory: /data, create_directory: true}\nservice:\n  extensions: [file_storage]\n",
        )
    };
    for seed in seeds().take(5) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, &yaml(""));
        let load = Load { requests: 300, spans: 3, interval: 20 * MS, retry: true, ..Load::default() };
        fixture.start_client(load.clone());
        for number in 1..=5 {
            let pause = fixture.sim.random() % 1500;
            fixture.sim.run_for(Duration::from_millis(pause));
            if number % 2 == 0 {
                fixture.start_backend();
            } else {
                fixture.sim.kill(fixture.backend_node);
            }
            let change = fixture.reload(&yaml(&format!("timeout: {number}s")), 20 * SEC).unwrap();
            assert_eq!(change, change_of(2, 1, 1), "seed {seed}");
        }
        fixture.start_backend();
        fixture.sim.run_for(60 * SEC);
        assert_eq!((fixture.acknowledged(), fixture.delivered()), (load.span_ids(), load.span_ids()), "seed {seed}");
        let graph = fixture.sim.graph(fixture.collector).unwrap();
        assert_eq!((graph.undelivered().items, graph.undelivered().stored), (vec![], vec![]), "seed {seed}");
        assert_eq!(fixture.held_bytes(), 0, "seed {seed}");
    }
}

#[test]
fn pipeline_that_is_removed_delivers_what_it_holds_through_what_follows_it() {
    // Two pipelines joined by a connector; the first has a batch, the second a batch and the exporter.
    let joined = "receivers:\n  otlp:\n    protocols: {grpc: {endpoint: \"0.0.0.0:4317\"}}\n\
         processors: {batch: {timeout: 60s}, batch/2: {timeout: 60s}}\nconnectors: {forward: {}}\n\
         exporters:\n  otlp_grpc: {endpoint: \"jaeger:14250\", tls: {insecure: true}}\n\
         service:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n    \
         traces/in: {receivers: [otlp], processors: [batch], exporters: [forward]}\n    \
         traces/out: {receivers: [forward], processors: [batch/2], exporters: [otlp_grpc]}\n";
    let direct = "receivers:\n  otlp:\n    protocols: {grpc: {endpoint: \"0.0.0.0:4317\"}}\nexporters: {nop: {}}\n\
         service:\n  telemetry: {metrics: {level: none}}\n  pipelines:\n    traces: {receivers: [otlp], exporters: [nop]}\n";
    for seed in seeds().take(5) {
        let mut fixture = Fixture::with_yaml(new_sim(seed), seed, joined);
        let load = Load { requests: 100, ..Load::default() };
        fixture.start_client(load.clone());
        fixture.sim.run_for(4 * SEC);
        assert_eq!((fixture.held_items(), fixture.delivered().len()), (100, 0), "seed {seed}");
        assert_eq!(fixture.reload(direct, 5 * SEC), Ok(change_of(1, 1, 4)), "seed {seed}");
        fixture.sim.run_for(SEC);
        assert_eq!((fixture.held_items(), fixture.delivered()), (0, load.span_ids()), "seed {seed}");
        // And back, with new instances.
        assert_eq!(fixture.reload(joined, 5 * SEC), Ok(change_of(1, 4, 1)), "seed {seed}");
        let other = Load { client: 2, start_after: SEC, ..load.clone() };
        fixture.start_client(other.clone());
        fixture.sim.run_for(4 * SEC);
        assert_eq!(fixture.held_items(), 100, "seed {seed}");
        fixture.sim.flush(fixture.collector);
        fixture.sim.run_for(SEC);
        assert_eq!(fixture.delivered(), &load.span_ids() | &other.span_ids(), "seed {seed}");
        assert_eq!((fixture.held_items(), fixture.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn shutdown_while_components_of_the_previous_configuration_end_delivers_everything() {
    for seed in seeds().take(5) {
        let batch = "  batch: {timeout: 2s}";
        let mut fixture = Fixture::new(seed, batch, &otlp_exporter(""));
        fixture.sim.kill(fixture.backend_node);
        fixture.start_client(Load { requests: 300, ..Load::default() });
        fixture.sim.run_for(3 * SEC);
        let yaml = yaml_with("  batch: {timeout: 1s}", "max_recv_msg_size_mib: 5", "timeout: 3s");
        assert_eq!(fixture.reload(&yaml, 20 * SEC), Ok(change_of(0, 3, 3)), "seed {seed}");
        fixture.sim.run_for(500 * MS);
        assert!(fixture.held_items() > 100, "seed {seed}");
        fixture.sim.close(fixture.collector, 20 * SEC);
        fixture.sim.run_for(SEC);
        fixture.start_backend();
        fixture.sim.run_for(20 * SEC);
        assert_eq!(fixture.sim.undelivered(fixture.collector).map(|left| left.total()), Some(0), "seed {seed}");
        assert!(fixture.missing().is_empty(), "seed {seed}");
    }
}

#[test]
fn limits_of_a_memory_limiter_that_has_changed_are_those_of_the_new_one() {
    let limiter = |mib: u64| format!("  memory_limiter: {{check_interval: 1s, limit_mib: {mib}, spike_limit_mib: 1}}");
    let mut fixture = Fixture::new(1, &limiter(10), &otlp_exporter(""));
    let limit = |fixture: &Fixture| fixture.sim.graph(fixture.collector).unwrap().budget().limit() >> 20;
    assert_eq!(limit(&fixture), 9);
    for mib in [20, 5] {
        fixture.reload(&config_yaml(&limiter(mib), &otlp_exporter("")), 5 * SEC).unwrap();
        assert_eq!(limit(&fixture), mib - 1);
    }
    fixture.reload(&config_yaml("", &otlp_exporter("")), 5 * SEC).unwrap();
    assert_eq!(limit(&fixture), u64::MAX >> 20);
}
