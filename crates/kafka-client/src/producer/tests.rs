mod faults;
mod played_cluster;

use std::net::SocketAddr;

use bytes::Bytes;
use otelcore_testkit::{TestLog, TestWorld};
use played_cluster::PlayedCluster;

use super::*;
use crate::test_client;

/// A producer, its world and a cluster of two brokers.
struct Harness {
    world: TestWorld,
    producer: Producer,
    cluster: PlayedCluster,
    results: Vec<(u64, Result<(), SendError>)>,
    next_token: u64,
}

fn config() -> ProducerConfig {
    ProducerConfig {
        required_acks: -1,
        timeout: Duration::from_secs(5),
        compression: Compression::None,
        compression_level: None,
        linger: Duration::from_millis(10),
        max_batch_bytes: 1_000_000,
        max_request_bytes: 100 << 20,
        max_request_records: 10_000,
        partitioner: Partitioner::default(),
        may_create_topics: true,
    }
}

impl Harness {
    fn new(config: ProducerConfig) -> Self {
        let world = test_client::world();
        let producer = Producer::new(test_client::client_config(), config, TestLog::new(None).logger());
        let cluster = PlayedCluster::new();
        Self { world, producer, cluster, results: Vec::new(), next_token: 0 }
    }

    fn send(&mut self, topic: &str, values: &[&str], timeout: Duration) -> u64 {
        let record = |value: &&str| Record { value: Bytes::copy_from_slice(value.as_bytes()), ..Record::default() };
        self.send_records(topic, values.iter().map(record).collect(), timeout)
    }

    fn send_records(&mut self, topic: &str, records: Vec<Record>, timeout: Duration) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.send_as(token, topic, records, timeout)
    }

    fn send_as(&mut self, token: u64, topic: &str, records: Vec<Record>, timeout: Duration) -> u64 {
        let deadline = self.world.cx().now() + timeout;
        self.producer.send(&mut self.world.cx(), token, topic, records, deadline);
        token
    }

    /// Delivers events and plays the brokers until nothing happens at this time.
    fn run(&mut self) {
        loop {
            let producer = &mut self.producer;
            let events = self.world.run(|cx, local, event| producer.handle_event(cx, local, &event));
            while let Some(result) = self.producer.poll_result() {
                self.results.push(result);
            }
            for (peer, stream) in self.world.take_connections() {
                self.cluster.accept(&peer.to_string(), stream);
            }
            if !self.cluster.play() && events == 0 {
                return;
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.world.cx().now() + time;
        self.run();
        while let Some(at) = self.world.next_timer().filter(|at| *at <= end) {
            let step = at.since(self.world.cx().now());
            self.world.advance(step);
            self.run();
        }
        let left = end.since(self.world.cx().now());
        self.world.advance(left);
        self.run();
    }

    fn result(&self, token: u64) -> Option<&Result<(), SendError>> {
        self.results.iter().find(|(other, _)| *other == token).map(|(_, result)| result)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn records_are_in_the_log_of_the_leader_with_any_version_and_coding() {
    for (is_old, compression) in Compression::ALL.into_iter().flat_map(|c| [(false, c), (true, c)]) {
        let mut it = Harness::new(ProducerConfig { compression, ..config() });
        it.cluster.is_old = is_old;
        let long = "x".repeat(100_000);
        let calls = [it.send("spans", &["a", "b", &long], 5 * SECOND), it.send("logs", &["c"], 5 * SECOND)];
        it.run_for(SECOND);
        assert!(calls.iter().all(|call| it.result(*call) == Some(&Ok(()))), "{:?}", it.results);
        assert_eq!(it.cluster.values("spans"), ["a", "b", &long]);
        assert_eq!(it.cluster.values("logs"), ["c"]);
    }
}

#[test]
fn records_wait_for_others_until_they_have_lingered() {
    let mut it = Harness::new(ProducerConfig { linger: Duration::from_millis(100), ..config() });
    it.send("spans", &["0"], 5 * SECOND);
    it.run_for(SECOND);
    let requests = it.cluster.produce_requests;
    it.send("spans", &["1"], 5 * SECOND);
    it.run_for(Duration::from_millis(60));
    it.send("spans", &["2"], 5 * SECOND);
    it.run_for(Duration::from_millis(30));
    assert_eq!(it.cluster.produce_requests, requests);
    it.run_for(Duration::from_millis(20));
    assert_eq!((it.cluster.produce_requests, it.results.len()), (requests + 1, 3));
}

#[test]
fn records_follow_the_leader_of_their_partition() {
    let mut it = Harness::new(config());
    it.send("spans", &["a"], 5 * SECOND);
    it.run_for(SECOND);
    it.cluster.move_leaders("spans");
    let call = it.send("spans", &["b", "c"], 5 * SECOND);
    it.run_for(2 * SECOND);
    assert_eq!(it.result(call), Some(&Ok(())));
    assert_eq!(it.cluster.values("spans"), ["a", "b", "c"]);
}

#[test]
fn batch_whose_answer_is_lost_is_written_once() {
    let mut it = Harness::new(config());
    it.send("spans", &["a"], 5 * SECOND);
    it.run_for(SECOND);
    it.cluster.drop_answers = 1;
    let call = it.send("spans", &["b"], 5 * SECOND);
    it.run_for(2 * SECOND);
    assert_eq!(it.result(call), Some(&Ok(())));
    assert_eq!(it.cluster.values("spans"), ["a", "b"]);
    assert!(it.cluster.duplicates > 0, "the batch was sent again");
}

#[test]
fn batch_that_is_too_large_is_sent_record_by_record() {
    let mut it = Harness::new(config());
    it.cluster.max_batch_bytes = 150;
    let long = "x".repeat(200);
    let short = it.send("spans", &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], 5 * SECOND);
    let too_long = it.send("logs", &[&long], 5 * SECOND);
    it.run_for(2 * SECOND);
    assert_eq!(it.result(short), Some(&Ok(())));
    assert_eq!(it.cluster.values("spans").len(), 10);
    assert!(matches!(it.result(too_long), Some(Err(SendError::TooLarge(text))) if text.contains("MESSAGE_TOO_LARGE")));
}

#[test]
fn broker_without_state_of_the_producer_gets_a_new_id() {
    let mut it = Harness::new(config());
    it.send("spans", &["a"], 5 * SECOND);
    it.run_for(SECOND);
    it.cluster.errors.push_back(45);
    let call = it.send("spans", &["b"], 5 * SECOND);
    it.run_for(2 * SECOND);
    assert_eq!((it.result(call), it.cluster.next_producer), (Some(&Ok(())), 2));
    assert_eq!(it.cluster.values("spans"), ["a", "b"]);
}

#[test]
fn errors_end_a_call_only_if_they_do_not_pass() {
    for (code, is_delivered) in
        [(5, true), (7, true), (19, true), (56, true), (29, false), (87, false), (-1, false), (999, false)]
    {
        let mut it = Harness::new(config());
        it.cluster.errors.push_back(code);
        let call = it.send("spans", &["a"], 5 * SECOND);
        it.run_for(3 * SECOND);
        match it.result(call) {
            Some(Ok(())) => assert!(is_delivered, "{code}"),
            Some(Err(SendError::Refused(text))) => {
                assert!(!is_delivered && text.contains("topic \"spans\""), "{code} {text}")
            }
            other => panic!("{code}: {other:?}"),
        }
        let next = it.send("spans", &["b"], 5 * SECOND);
        it.run_for(3 * SECOND);
        assert_eq!(it.result(next), Some(&Ok(())), "{code}");
    }
}

#[test]
fn broker_that_throttles_is_not_sent_anything_meanwhile() {
    let mut it = Harness::new(config());
    let record = Record { key: Some(Bytes::from_static(b"a")), ..Record::default() };
    it.send_records("spans", vec![record.clone()], 10 * SECOND);
    it.run_for(SECOND);
    it.cluster.throttle_ms = 3000;
    it.send_records("spans", vec![record.clone()], 10 * SECOND);
    it.run_for(SECOND);
    let before = it.cluster.produce_requests;
    let call = it.send_records("spans", vec![record], 10 * SECOND);
    it.run_for(SECOND);
    assert_eq!((it.results.len(), it.cluster.produce_requests), (2, before));
    it.run_for(2 * SECOND);
    assert_eq!(it.result(call), Some(&Ok(())));
}

#[test]
fn topic_that_does_not_exist_is_named_when_the_time_is_over() {
    let mut it = Harness::new(ProducerConfig { may_create_topics: false, ..config() });
    let call = it.send("unknown", &["a"], 5 * SECOND);
    it.run_for(6 * SECOND);
    let Some(Err(SendError::Retry(text))) = it.result(call) else { panic!("{:?}", it.results) };
    assert_eq!(text, "error exporting to topic \"unknown\": context deadline exceeded: UNKNOWN_TOPIC_OR_PARTITION");
    assert!(it.cluster.metadata_requests < 25, "{}", it.cluster.metadata_requests);
}

#[test]
fn unreachable_brokers_end_calls_at_their_deadline_and_are_connected_to_later() {
    let mut it = Harness::new(config());
    it.cluster.is_down = true;
    let call = it.send("spans", &["a"], 5 * SECOND);
    it.run_for(6 * SECOND);
    assert!(
        matches!(it.result(call), Some(Err(SendError::Retry(text))) if text.contains("broker seed:9092")),
        "{:?}",
        it.results
    );
    it.cluster.is_down = false;
    let call = it.send("spans", &["b"], 20 * SECOND);
    it.run_for(12 * SECOND);
    assert_eq!(it.result(call), Some(&Ok(())));
}

#[test]
fn call_with_the_token_of_one_that_has_ended_is_not_delivered_by_its_records() {
    // All in one partition, so that the second waits for the batch of the first.
    let record = |value: &str| {
        let (key, value) = (Some(Bytes::from_static(b"key")), Bytes::copy_from_slice(value.as_bytes()));
        vec![Record { key, value, ..Record::default() }]
    };
    let mut it = Harness::new(config());
    let first = it.send_records("spans", record("warm"), 5 * SECOND);
    it.run_for(SECOND);
    assert_eq!(it.result(first), Some(&Ok(())));
    // Its batch is in flight when the brokers go, and is sent again when they are back.
    it.cluster.drop_answers = 1;
    it.send_as(7, "spans", record("a"), SECOND);
    it.run_for(Duration::from_millis(100));
    it.cluster.is_down = true;
    it.cluster.close_all();
    it.run_for(2 * SECOND);
    assert!(matches!(it.results.pop(), Some((7, Err(SendError::Retry(_))))));
    // The queue sends both again, and gives the token to the other one.
    it.send_as(7, "spans", record("b"), 20 * SECOND);
    it.send_as(8, "spans", record("a"), 20 * SECOND);
    it.cluster.is_down = false;
    it.run_for(12 * SECOND);
    assert_eq!((it.result(7), it.result(8)), (Some(&Ok(())), Some(&Ok(()))));
    let log = it.cluster.values("spans");
    assert!(["warm", "a", "b"].iter().all(|value| log.iter().any(|other| other == value)), "{log:?}");
}

#[test]
fn records_without_an_answer_are_delivered_when_they_are_written() {
    let mut it = Harness::new(ProducerConfig { required_acks: 0, ..config() });
    let call = it.send("spans", &["a"], 5 * SECOND);
    it.run_for(SECOND);
    assert_eq!((it.result(call), it.cluster.values("spans")), (Some(&Ok(())), vec!["a".to_owned()]));
}

#[test]
fn answers_that_are_not_of_the_protocol_end_the_connection_only() {
    let hostile: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 4, 0, 0, 0, 77],
        &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
    ];
    for bytes in hostile {
        let mut it = Harness::new(config());
        it.cluster.hostile = Some(bytes.to_vec());
        let call = it.send("spans", &["a"], 5 * SECOND);
        it.run_for(6 * SECOND);
        assert!(matches!(it.result(call), Some(Err(SendError::Retry(_)))), "{:?}", it.results);
    }
}

#[test]
fn records_of_calls_that_have_ended_do_not_stay_in_memory() {
    let mut it = Harness::new(config());
    it.cluster.is_down = true;
    let record = Record { value: Bytes::from(vec![0; 1 << 20]), ..Record::default() };
    for _ in 0..100 {
        it.send_records("spans", vec![record.clone()], SECOND);
        it.run_for(SECOND);
    }
    it.run_for(2 * SECOND);
    assert_eq!(it.results.len(), 100);
    assert!(it.producer.queued_bytes <= 2 * MIN_SWEPT_BYTES, "{}", it.producer.queued_bytes);
}

#[test]
fn topics_are_forgotten_when_there_are_too_many() {
    let mut it = Harness::new(config());
    for n in 0..MAX_TOPICS + 200 {
        it.send(&format!("topic-{n}"), &["a"], 5 * SECOND);
        if n % 100 == 99 {
            it.run_for(SECOND);
        }
    }
    it.run_for(5 * SECOND);
    let delivered = it.results.iter().filter(|(_, result)| result.is_ok()).count();
    assert_eq!((delivered, it.producer.topics.len()), (MAX_TOPICS + 200, MAX_TOPICS));
}

#[test]
fn keys_choose_the_partition_and_round_robin_takes_each_in_turn() {
    let mut it = Harness::new(config());
    let record = |key: &str| Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..Record::default() };
    it.send_records("spans", vec![record("a"), record("foobar"), record("zz9")], 5 * SECOND);
    it.run_for(SECOND);
    // Three partitions: see the table in `partitioner`.
    assert_eq!(it.cluster.counts("spans"), [2, 1, 0]);
    let mut it = Harness::new(ProducerConfig { partitioner: Partitioner::RoundRobin, ..config() });
    it.send("spans", &["1", "2", "3", "4", "5", "6", "7"], 5 * SECOND);
    it.run_for(SECOND);
    assert_eq!(it.cluster.counts("spans"), [3, 2, 2]);
}

#[test]
fn topic_that_can_not_exist_is_refused_without_asking() {
    let mut it = Harness::new(config());
    for name in ["", "a b", "a/b", "\u{e4}", &"x".repeat(250)] {
        let call = it.send(name, &["a"], 5 * SECOND);
        it.run_for(SECOND);
        assert!(matches!(it.result(call), Some(Err(SendError::Refused(text))) if text.contains("INVALID_TOPIC")));
    }
    assert_eq!(it.cluster.metadata_requests, 0);
}

#[test]
fn bytes_of_many_partitions_are_sent_in_several_turns() {
    let mut it = Harness::new(config());
    for n in 0..40 {
        let value = Bytes::from(vec![b'x'; 900_000]);
        let record = Record { key: Some(Bytes::from(format!("key {n}"))), value, ..Record::default() };
        it.send_records(&format!("topic-{}", n % 13), vec![record], 20 * SECOND);
    }
    it.run_for(10 * SECOND);
    assert_eq!(it.results.iter().filter(|(_, result)| result.is_ok()).count(), 40);
}

/// The address that a broker listens on.
fn address(node: i32) -> String {
    let last = if node < 0 { 9 } else { 10 + u8::try_from(node).unwrap() };
    SocketAddr::from(([10, 0, 0, last], 9092)).to_string()
}
