//! The whole collector in the simulated world: an hour of ticks under a virtual clock.

use std::sync::Arc;
use std::time::Duration;

use otelcore::pipeline::NoopLogSink;
use otelcore::reactor::Sim;
use otelcore::{BuildInfo, Collector};

const YAML: &str = include_str!("../collector.yaml");

fn kept_records(seed: u64) -> u64 {
    let plan = custom_components::plan(YAML).unwrap();
    let graph = Collector::with_log(plan, BuildInfo::default(), Arc::new(NoopLogSink)).build_graph().unwrap();
    let mut sim = Sim::new(seed);
    let node = sim.add_node("collector", graph).unwrap();
    sim.run_for(Duration::from_secs(3600));
    sim.close(node, Duration::from_secs(5));
    assert_eq!(sim.undelivered(node).unwrap().total(), 0);
    let page = String::from_utf8(sim.written_output(node, "stdout")).unwrap();
    let last = page.lines().last().unwrap().strip_suffix(" log_records").unwrap();
    assert_eq!(page.lines().count().to_string(), last);
    last.parse().unwrap()
}

#[test]
fn one_hour_of_ticks_is_reduced_by_the_ratio() {
    // 18 000 ticks; five standard deviations are 335.
    let kept = kept_records(1);
    assert!((9000 - 335..9000 + 335).contains(&kept), "{kept}");
    assert_eq!(kept, kept_records(1));
    assert_ne!(kept, kept_records(2));
}

#[test]
fn config_errors_have_their_position() {
    let invalid = YAML.replace("ratio: 0.5", "ratio: 7").replace("interval:", "intervall:");
    let errors = custom_components::plan(&invalid).unwrap_err();
    assert!(errors.contains("'ratio' must be within [0, 1]") && errors.contains("intervall"), "{errors}");
}
