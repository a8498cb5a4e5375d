//! The receiver in a graph, with a played cluster: outcomes decide what is committed, and items add up after every event.

use std::time::Duration;

use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, Graph, MonotonicTime, Outcome};
use otelcore_testkit::{RecordedPayloads, TestContext, TestWorld, receiver_graph};

use super::played_group::PlayedCluster;
use crate::KafkaReceiverFactory;

const SECOND: Duration = Duration::from_secs(1);

struct Harness {
    world: TestWorld,
    context: TestContext,
    graph: Graph,
    recorded: RecordedPayloads,
    cluster: PlayedCluster,
    received: Vec<String>,
}

impl Harness {
    fn new(options: &str) -> Self {
        let mut world = TestWorld::new();
        for (host, last) in [("seed", 9), ("kafka-0", 10), ("kafka-1", 11)] {
            world.set_lookup_result(host, Ok(vec![[10, 0, 0, last].into()]));
        }
        let context = TestContext { signals: vec![Signal::Logs], ..TestContext::new() };
        let yaml = format!(
            "{{brokers: ['seed:9092'], client_id: test, group_id: group, initial_offset: earliest, logs: {{topics: [lines], \
             encoding: json}}, {options}}}"
        );
        let Ok(Component::Receiver(receiver)) = context.create(&KafkaReceiverFactory, "kafka", &yaml) else {
            panic!("{yaml}")
        };
        let (mut graph, recorded) = receiver_graph(receiver, &context);
        graph.start(&mut world).unwrap();
        let mut cluster = PlayedCluster::new();
        cluster.create("lines", 1);
        Self { world, context, graph, recorded, cluster, received: Vec::new() }
    }

    fn append(&mut self, bodies: &[&str]) {
        bodies.iter().for_each(|body| self.cluster.append("lines", 0, body));
    }

    fn run(&mut self) {
        loop {
            let events = self.world.run_graph(&mut self.graph);
            for payload in self.recorded.take() {
                assert!(payload.metadata.is_some_and(|m| m.get("kafka.topic") == ["lines"]));
                let text = String::from_utf8_lossy(&payload.body.to_bytes()).into_owned();
                self.received.push(text.chars().filter(char::is_ascii_digit).collect());
            }
            let now = self.world.cx().now();
            for (peer, stream) in self.world.take_connections() {
                self.cluster.accept(0, &peer.to_string(), stream);
            }
            if !self.cluster.play(now) && events == 0 {
                return;
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.world.cx().now() + time;
        self.run();
        while self.world.cx().now() < end {
            let now = self.world.cx().now();
            let next = self.world.next_timer().unwrap_or(end).min(now + Duration::from_millis(100)).min(end).max(now);
            self.world.advance(next.since(now).max(Duration::from_millis(1)));
            self.run();
        }
    }

    fn committed(&self) -> Option<i64> {
        self.cluster.group.committed.get(&("lines".to_owned(), 0)).copied()
    }

    fn metric(&self, name: &str) -> u64 {
        let families = self.context.telemetry.collect();
        let family = families.into_iter().find(|family| family.name == name).expect("a family");
        match &family.samples[0].value {
            otelcore_pipeline::SeriesValue::Number(value) => *value as u64,
            other => panic!("{other:?}"),
        }
    }
}

const THREE: [&str; 3] = ["{\"n\": \"1\"}", "{\"n\": \"2\"}", "{\"n\": \"3\"}"];

#[test]
fn messages_are_received_and_committed() {
    let mut it = Harness::new("");
    it.append(&THREE);
    it.run_for(3 * SECOND);
    assert_eq!((it.received.len(), it.committed()), (3, Some(3)));
    assert_eq!(it.metric("otelcol_kafka_receiver_offset_lag"), 0);
    assert_eq!(it.metric("otelcol_kafka_receiver_current_offset"), 2);
    assert_eq!(it.metric("otelcol_receiver_accepted_log_records"), 3);
    assert_eq!(it.metric("otelcol_kafka_receiver_records"), 3);
}

#[test]
fn message_that_is_refused_for_now_is_sent_again_and_nothing_passes_it() {
    for options in
        ["", "message_marking: {after: true}", "error_backoff: {enabled: true, initial_interval: 1s, max_interval: 2s}"]
    {
        let mut it = Harness::new(options);
        it.append(&THREE);
        (0..4).for_each(|_| it.recorded.push_outcome(Outcome::retry("full")));
        it.run_for(Duration::from_millis(1100));
        assert_eq!(it.committed(), None, "{options}");
        it.run_for(20 * SECOND);
        assert_eq!((it.received.len(), it.committed()), (7, Some(3)), "{options}");
    }
}

#[test]
fn message_that_is_refused_for_now_is_skipped_if_that_is_configured() {
    for (options, attempts) in [
        ("message_marking: {after: true, on_error: true}", 1),
        (
            "error_backoff: {enabled: true, initial_interval: 1s, multiplier: 1, max_interval: 1s, max_elapsed_time: 2500ms}",
            4,
        ),
    ] {
        let mut it = Harness::new(options);
        it.append(&THREE[..1]);
        (0..20).for_each(|_| it.recorded.push_outcome(Outcome::retry("full")));
        it.run_for(20 * SECOND);
        assert_eq!((it.received.len(), it.committed()), (attempts, Some(1)), "{options}");
        assert_eq!(it.metric("otelcol_receiver_refused_log_records"), 1);
    }
}

#[test]
fn message_that_can_not_be_read_or_is_refused_for_good_is_skipped_or_stops_its_partition() {
    for (options, is_skipped) in [
        ("", true),
        ("message_marking: {after: true}", false),
        ("message_marking: {after: true, on_error: true}", true),
        ("message_marking: {after: true, on_error: true, on_permanent_error: false}", false),
    ] {
        for is_invalid in [true, false] {
            let mut it = Harness::new(options);
            it.append(&[THREE[0], if is_invalid { "no json" } else { THREE[1] }, THREE[2]]);
            it.recorded.push_outcome(Outcome::Delivered);
            it.recorded.push_outcome(if is_invalid { Outcome::Delivered } else { Outcome::permanent("bad") });
            it.run_for(20 * SECOND);
            let committed = if is_skipped { 3 } else { 1 };
            assert_eq!(it.committed(), Some(committed), "{options} {is_invalid}");
            let failed = it.metric("otelcol_kafka_receiver_unmarshal_failed_log_records");
            assert_eq!(failed, u64::from(is_invalid), "{options}");
        }
    }
}

#[test]
fn shutdown_commits_what_is_delivered_and_leaves_the_group() {
    let mut it = Harness::new("autocommit: {interval: 1h}");
    it.append(&THREE);
    it.run_for(3 * SECOND);
    assert_eq!((it.received.len(), it.committed()), (3, None));
    let end: MonotonicTime = it.world.cx().now() + 10 * SECOND;
    it.graph.close(&mut it.world, end);
    it.run_for(3 * SECOND);
    assert_eq!((it.committed(), it.cluster.member_count()), (Some(3), 0));
}

#[test]
fn offsets_are_committed_at_once_without_autocommit() {
    let mut it = Harness::new("autocommit: {enable: false}");
    it.run_for(2 * SECOND);
    it.append(&THREE);
    it.run_for(Duration::from_millis(400));
    assert_eq!(it.committed(), Some(3));
}
