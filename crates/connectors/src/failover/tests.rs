//! Tests of `failover` alone: the order in which levels are tried, and what senders are answered.

use std::time::Duration;

use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Connector, LossReason, MonotonicTime, Outcome, Payload};
use otelcore_testkit::{ConnectorTest, TestContext, connector, parse_config, payload};

use super::FailoverFactory;
use super::levels::Levels;

const MINUTE: Duration = Duration::from_secs(60);

/// Sends a payload to the first level that accepts it; returns the levels that were tried.
fn send(levels: &mut Levels, now: MonotonicTime, accepts: &[bool]) -> Vec<usize> {
    let mut tried = Vec::new();
    let mut next = levels.begin();
    while let Some(attempt) = next {
        tried.push(attempt.level);
        next = if accepts[attempt.level] {
            levels.handle_success(attempt);
            None
        } else {
            levels.handle_failure(now, attempt)
        };
    }
    tried
}

#[test]
fn level_that_fails_is_left_until_the_interval_is_over() {
    let mut levels = Levels::new(3, MINUTE);
    let start = MonotonicTime::default();
    assert_eq!(send(&mut levels, start, &[true, true, true]), [0]);
    assert_eq!(levels.poll_timeout(), None);
    assert_eq!(send(&mut levels, start, &[false, false, true]), [0, 1, 2]);
    assert_eq!(send(&mut levels, start, &[true, true, true]), [2]);
    assert_eq!(levels.poll_timeout(), Some(start + MINUTE));
    levels.handle_timeout(start + MINUTE);
    assert_eq!(send(&mut levels, start + MINUTE, &[false, true, true]), [0, 1], "the best level that accepts");
    assert_eq!(send(&mut levels, start + MINUTE, &[true, true, true]), [1]);
    levels.handle_timeout(start + MINUTE * 2);
    assert_eq!(send(&mut levels, start, &[true, true, true]), [0]);
    assert_eq!((levels.poll_timeout(), levels.current()), (None, Some(0)));
}

#[test]
fn payload_tries_every_level_once_when_all_have_failed() {
    let mut levels = Levels::new(2, MINUTE);
    let now = MonotonicTime::default();
    assert_eq!(send(&mut levels, now, &[false, false]), [0, 1]);
    assert_eq!(levels.current(), None);
    assert_eq!(send(&mut levels, now, &[false, false]), [0, 1]);
    assert_eq!(send(&mut levels, now, &[false, true]), [0, 1]);
    assert_eq!(levels.current(), Some(1));
}

#[test]
fn payload_never_returns_to_a_level_that_another_one_has_brought_back() {
    let mut levels = Levels::new(2, MINUTE);
    let now = MonotonicTime::default();
    let slow = levels.begin().unwrap();
    let first = levels.begin().unwrap();
    let next = levels.handle_failure(now, first).unwrap();
    assert_eq!(levels.handle_failure(now, next), None);
    let retried = levels.begin().unwrap();
    levels.handle_success(retried);
    assert_eq!(levels.current(), Some(0));
    assert_eq!(levels.handle_failure(now, slow).map(|attempt| attempt.level), Some(1));
    assert_eq!(levels.current(), Some(1));
}

fn failover(yaml: &str) -> ConnectorTest<dyn Connector> {
    let mut context = TestContext::new();
    context.signals = vec![Signal::Logs];
    context.output_pipelines = ["logs/a", "logs/b", "logs/c"].map(|id| id.parse().unwrap()).to_vec();
    let yaml = format!("priority_levels: [[logs/a, logs/b], [logs/c]]\n{yaml}");
    ConnectorTest::new(connector(context.create(&FailoverFactory, "failover", &yaml).unwrap()))
}

fn one_log() -> Payload {
    payload(Signal::Logs, Rope::new(vec![10, 4, 18, 2, 18, 0].into(), 1))
}

fn pipelines(test: &mut ConnectorTest<dyn Connector>) -> Vec<usize> {
    test.take_passed_on().into_iter().filter_map(|(pipeline, ..)| pipeline).collect()
}

const NO_QUEUE: &str = "sending_queue: {enabled: false}";

#[test]
fn sender_gets_the_answer_of_the_level_that_accepts() {
    let mut test = failover(NO_QUEUE);
    let first = test.process(one_log());
    assert_eq!(pipelines(&mut test), [0, 1]);
    test.settle(0, Outcome::retry("full"));
    assert_eq!(pipelines(&mut test), [2]);
    assert!(test.take_outcomes().is_empty());
    test.settle(0, Outcome::Delivered);
    assert_eq!(test.take_outcomes(), [(first, Outcome::Delivered)]);
    test.process(one_log());
    assert_eq!(pipelines(&mut test), [2]);
    test.run_for(MINUTE * 10);
    test.process(one_log());
    assert_eq!(pipelines(&mut test), [0, 1]);
    assert_eq!(test.connector.held_items(), 0, "it is with its level");
}

#[test]
fn refusal_of_all_levels_is_permanent_only_if_each_one_is() {
    for (outcomes, is_permanent) in [
        ([Outcome::permanent("bad"), Outcome::permanent("no")], true),
        ([Outcome::retry("full"), Outcome::permanent("no")], false),
        ([Outcome::permanent("bad"), Outcome::retry("no")], false),
    ] {
        let mut test = failover(NO_QUEUE);
        test.process(one_log());
        outcomes.into_iter().for_each(|outcome| test.settle(0, outcome));
        let expected = "All provided pipelines return errors: no";
        let expected = if is_permanent { Outcome::permanent(expected) } else { Outcome::retry(expected) };
        assert_eq!(test.take_outcomes(), [(0, expected)]);
    }
}

#[test]
fn queue_takes_custody_and_tries_again_what_no_level_accepts() {
    let mut test = failover("");
    let number = test.process(one_log());
    assert_eq!(test.take_outcomes(), [(number, Outcome::Delivered)]);
    assert_eq!(pipelines(&mut test), [0, 1]);
    test.settle(0, Outcome::retry("down"));
    assert_eq!(pipelines(&mut test), [2]);
    test.settle(0, Outcome::retry("down"));
    assert_eq!((pipelines(&mut test), test.connector.held_items()), (vec![], 1));
    test.run_for(MINUTE);
    assert_eq!(pipelines(&mut test), [0, 1]);
    test.settle(1, Outcome::Delivered);
    assert_eq!(test.connector.held_items(), 0);
}

#[test]
fn queue_has_no_more_payloads_with_levels_than_consumers() {
    let mut test = failover("sending_queue: {num_consumers: 2, queue_size: 4}");
    let outcomes: Vec<bool> = (0..5)
        .map(|_| {
            test.process(one_log());
            test.take_outcomes()[0].1 == Outcome::Delivered
        })
        .collect();
    assert_eq!(outcomes, [true, true, true, true, false]);
    assert_eq!((pipelines(&mut test).len(), test.connector.held_items()), (4, 2));
    test.settle(0, Outcome::Delivered);
    assert_eq!((pipelines(&mut test).len(), test.connector.held_items()), (2, 1));
}

#[test]
fn sender_that_waits_for_the_result_of_the_queue_gets_it() {
    let mut test = failover("sending_queue: {wait_for_result: true}");
    test.process(one_log());
    assert!(test.take_outcomes().is_empty());
    test.settle(0, Outcome::retry("down"));
    test.settle(0, Outcome::retry("down"));
    assert_eq!(test.take_outcomes(), [(0, Outcome::retry("All provided pipelines return errors: down"))]);
}

#[test]
fn end_of_the_process_is_the_answer_of_every_sender_that_waits() {
    for (yaml, payloads) in [(NO_QUEUE, 2), ("sending_queue: {wait_for_result: true, num_consumers: 2}", 5)] {
        let mut test = failover(yaml);
        for _ in 0..payloads {
            test.process(one_log());
        }
        assert!(test.take_outcomes().is_empty(), "{yaml}");
        test.connector.abort();
        let expected: Vec<_> = (0..payloads).map(|number| (number, Outcome::Lost(LossReason::Shutdown))).collect();
        let mut outcomes = test.take_outcomes();
        outcomes.sort_by_key(|(number, _)| *number);
        assert_eq!((outcomes, test.connector.held_items()), (expected, 0), "{yaml}");
        // Outcomes of its levels that come later change nothing.
        pipelines(&mut test);
        assert!(test.take_outcomes().is_empty(), "{yaml}");
    }
}

#[test]
fn configuration_mistakes_are_reported_in_the_words_of_the_go_collector() {
    for (yaml, wanted) in [
        ("", "No pipelines are defined in the priority list"),
        ("{priority_levels: [[logs]], retry_interval: 0s}", "Retry interval must be positive"),
    ] {
        let messages = parse_config(&FailoverFactory, "failover", yaml).messages;
        assert!(messages.iter().any(|message| message == wanted), "{messages:?}");
    }
    let messages =
        parse_config(&FailoverFactory, "failover", "{priority_levels: [[logs]], retry_gap: 1s, max_retries: 3}");
    assert_eq!(messages.messages.len(), 2, "{:?}", messages.messages);
    let error = TestContext::new().create(&FailoverFactory, "failover", "priority_levels: [[logs/x]]");
    assert_eq!(error.err().unwrap(), "Error registering consumer: missing consumer: \"logs/x\"");
}
