//! The whole collector in the simulated world: an hour of ticks under a virtual clock.

use std::sync::Arc;
use std::time::Duration;

use otelcore::pipeline::NoLog;
use otelcore::reactor::Sim;
use otelcore::{Collector, Identity};

const YAML: &str = include_str!("../collector.yaml");

fn count(seed: u64) -> u64 {
    let plan = custom_components::plan(YAML).unwrap();
    let graph = Collector::with_log(plan, Identity::default(), Arc::new(NoLog)).graph().unwrap();
    let mut sim = Sim::new(seed);
    let node = sim.node("collector", graph).unwrap();
    sim.run_for(Duration::from_secs(3600));
    sim.close(node, Duration::from_secs(5));
    assert_eq!(sim.left(node).unwrap().total(), 0);
    let page = String::from_utf8(sim.output(node, "stdout")).unwrap();
    let last = page.lines().last().unwrap().strip_suffix(" log_records").unwrap();
    assert_eq!(page.lines().count().to_string(), last);
    last.parse().unwrap()
}

#[test]
fn half_of_an_hour_of_ticks_is_kept_and_counted() {
    // 18 000 ticks; five standard deviations are 335.
    let kept = count(1);
    assert!((9000 - 335..9000 + 335).contains(&kept), "{kept}");
    assert_eq!(kept, count(1));
    assert_ne!(kept, count(2));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let wrong = YAML.replace("ratio: 0.5", "ratio: 7").replace("interval:", "intervall:");
    let told = custom_components::plan(&wrong).unwrap_err();
    assert!(told.contains("'ratio' must be within [0, 1]") && told.contains("intervall"), "{told}");
}
