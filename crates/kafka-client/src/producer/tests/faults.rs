//! Random runs with faults: what is acknowledged is in the log, once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(u8, u8),
    Wait(u16),
    DropAnswer,
    CloseAll,
    MoveLeaders,
    Error(i16),
    Throttle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, 1..20_u8).prop_map(|(topic, count)| Step::Send(topic, count)),
        3 => (0..400_u16).prop_map(Step::Wait),
        1 => Just(Step::DropAnswer),
        1 => Just(Step::CloseAll),
        1 => Just(Step::MoveLeaders),
        2 => prop::sample::select(vec![3, 5, 6, 7, 10, 19, 20, 29, 45, 56, 59, 87]).prop_map(Step::Error),
        1 => Just(Step::Throttle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_are_in_the_log_once_whatever_fails(steps in prop::collection::vec(step(), 1..60), is_old: bool) {
        let mut it = Harness::new(ProducerConfig { compression: Compression::Snappy, ..config() });
        it.cluster.is_old = is_old;
        let mut sent = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(topic, count) => {
                    let values: Vec<String> = (0..count).map(|i| format!("{number}-{i}")).collect();
                    let values_ref: Vec<&str> = values.iter().map(String::as_str).collect();
                    let topic = format!("topic-{topic}");
                    let token = it.send(&topic, &values_ref, 60 * SECOND);
                    sent.insert(token, (topic, values));
                }
                Step::Wait(ms) => it.run_for(Duration::from_millis(ms.into())),
                Step::DropAnswer => it.cluster.drop_answers += 1,
                Step::CloseAll => it.cluster.close_all(),
                Step::MoveLeaders => (0..3).for_each(|n| it.cluster.move_leaders(&format!("topic-{n}"))),
                Step::Error(code) => it.cluster.errors.push_back(code),
                Step::Throttle => it.cluster.throttle_ms = if it.cluster.throttle_ms == 0 { 300 } else { 0 },
            }
        }
        it.run_for(90 * SECOND);
        prop_assert_eq!(it.results.len(), sent.len(), "every call has a result");
        for (token, (topic, values)) in &sent {
            let log = it.cluster.values(topic);
            for value in values {
                let found = log.iter().filter(|other| *other == value).count();
                match it.result(*token) {
                    Some(Ok(())) => prop_assert_eq!(found, 1, "{} of {}", value, topic),
                    Some(Err(SendError::Retry(why))) => prop_assert!(false, "not delivered in a minute: {}", why),
                    _ => prop_assert!(found <= 1),
                }
            }
        }
    }
}
