//! `failover`: which pipelines get a payload while levels fail and return.

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore_connectors::FailoverFactory;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Connector, Outcome};
use otelcore_test_support::{push_frame, split_frames};
use otelcore_testkit::{ConnectorTest, TestContext, connector, payload};

use crate::{Differential, choices};

const FAILOVER: Differential = Differential { name: "failover", cases: 150, input, answer, expected };

/// Of the oracle.
const TICK: Duration = Duration::from_millis(150);

const PIPELINES: [&str; 4] = ["traces/a", "traces/b", "traces/c", "traces/d"];

/// The last level never fails: where all have failed, the Go connector refuses everything for an interval.
fn input(seed: u64) -> Vec<u8> {
    let mut c = choices(seed);
    let levels =
        c.choose(&["[traces/a], [traces/b], [traces/c], [traces/d]", "[traces/a, traces/b], [traces/c], [traces/d]"]);
    let yaml = format!(
        "failover traces\nsending_queue: {{enabled: false}}\nretry_interval: 60ms\npriority_levels: [{levels}]\n"
    );
    let mut steps = Vec::new();
    for _ in 0..4 + c.below(12) {
        steps.push(match c.below(6) {
            0 | 1 => {
                let failing = PIPELINES.iter().take(3).filter(|_| c.below(2) == 0).copied().collect::<Vec<_>>();
                format!("fail {}", failing.join(" "))
            }
            2 => "tick".to_owned(),
            _ => "send".to_owned(),
        });
    }
    let mut input = Vec::new();
    push_frame(&mut input, yaml.as_bytes());
    push_frame(&mut input, PIPELINES.join("\n").as_bytes());
    push_frame(&mut input, steps.join("\n").as_bytes());
    input
}

fn answer(input: &[u8]) -> Result<Vec<String>, String> {
    let frames = split_frames(input);
    let text = |frame: &[u8]| String::from_utf8(frame.to_vec()).unwrap();
    let yaml = text(frames[0]);
    let mut context = TestContext::new();
    context.signals = vec![Signal::Traces];
    context.output_pipelines = PIPELINES.iter().map(|id| id.parse().unwrap()).collect();
    let component = context.create(&FailoverFactory, "failover", yaml.split_once('\n').unwrap().1)?;
    let mut test: ConnectorTest<dyn Connector> = ConnectorTest::new(connector(component));
    test.start().unwrap();
    let mut failing = BTreeSet::new();
    let (mut results, mut sent) = (Vec::new(), 0);
    for step in text(frames[2]).lines() {
        let mut words = step.split_whitespace().map(str::to_owned);
        match words.next().unwrap().as_str() {
            "fail" => failing = words.collect(),
            "tick" => drop(test.run_for(TICK)),
            _ => {
                test.process(payload(Signal::Traces, Rope::new(vec![10, 0].into(), 1)));
                let mut received = Vec::new();
                loop {
                    let passed_on = test.take_passed_on();
                    if passed_on.is_empty() {
                        break;
                    }
                    let names = passed_on.iter().map(|(pipeline, ..)| PIPELINES[pipeline.unwrap()]);
                    let (failed, accepted): (Vec<&str>, Vec<&str>) = names.partition(|name| failing.contains(*name));
                    received.extend(accepted);
                    let outcome = if failed.is_empty() { Outcome::Delivered } else { Outcome::retry("fails") };
                    test.settle(sent, outcome);
                }
                sent += 1;
                assert_eq!(test.take_outcomes().len(), 1);
                results.push(format!("ok: {}", received.join(" ")));
            }
        }
    }
    Ok(results)
}

fn expected(_: &[u8], answer: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(answer).lines().map(str::to_owned).collect()
}

#[test]
fn recorded_payloads_go_to_the_levels_of_the_go_connector() {
    FAILOVER.replay();
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn payloads_of_fixed_and_fresh_seeds_go_to_the_levels_of_the_go_connector() {
    FAILOVER.ask();
}
