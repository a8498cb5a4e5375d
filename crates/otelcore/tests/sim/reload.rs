//! A trial start of a configuration while another one runs.

use crate::client::Load;
use crate::scene::{MS, SEC, Scene, collector, jaeger, seeds, yaml};

#[test]
fn trial_that_fails_or_not_disturbs_nothing_that_runs() {
    for seed in seeds().take(5) {
        let batch = "  batch: {timeout: 1s}\n  memory_limiter: {check_interval: 1s, limit_mib: 100}";
        let mut scene = Scene::new(seed, batch, &jaeger(""));
        let load = Load { requests: 500, spans: 5, every: 7 * MS, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(2 * SEC);
        let good = yaml(batch, &jaeger(""));
        let no_file = yaml("", &jaeger("").replace("insecure: true", "ca_file: /nowhere"));
        let twice =
            yaml("", &jaeger("")).replace("protocols: {grpc", "protocols: {http: {endpoint: \"0.0.0.0:4317\"}, grpc");
        for (text, why) in [
            (&good, None),
            (&no_file, Some("open /nowhere: no such file or directory")),
            (&twice, Some("listen tcp 0.0.0.0:4317: bind: address already in use")),
        ] {
            let (graph, _) = collector(text);
            let tried = scene.sim.try_start(scene.collector, graph);
            match (why, tried) {
                (None, Ok(())) => {}
                (Some(why), Err(e)) => assert!(e.to_string().contains(why), "seed {seed}: {e}"),
                (why, tried) => panic!("seed {seed}: {tried:?} instead of {why:?}"),
            }
            scene.sim.run_for(300 * MS);
        }
        scene.sim.run_for(20 * SEC);
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
        assert_eq!((scene.held_items(), scene.held_bytes()), (0, 0), "seed {seed}");
    }
}

#[test]
fn graph_that_fails_at_its_start_leaves_room_for_the_one_before() {
    for seed in seeds().take(5) {
        let mut scene = Scene::new(seed, "", &jaeger(""));
        let (bad, _) = collector(&yaml("", &jaeger("").replace("insecure: true", "ca_file: /nowhere")));
        scene.sim.restart(scene.collector, bad).unwrap_err();
        let (before, _) = collector(&yaml("", &jaeger("")));
        scene.sim.restart(scene.collector, before).unwrap();
        let load = Load { requests: 50, again: true, ..Load::default() };
        scene.client(load.clone());
        scene.sim.run_for(20 * SEC);
        assert_eq!(scene.delivered(), load.all(), "seed {seed}");
    }
}
