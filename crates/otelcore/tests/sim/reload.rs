//! A trial start of a configuration while another one runs.

use crate::client::Load;
use crate::fixture::{Fixture, MS, SEC, collector_graph, config_yaml, jaeger_exporter, seeds};

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
