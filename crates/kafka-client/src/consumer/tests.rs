mod consumer_protocol;
mod played_group;
mod random;

use std::collections::BTreeMap;

use otelcore_testkit::{TestLog, TestWorld};
use played_group::{GROUP, PlayedCluster};

use super::*;
use crate as kafka;
use crate::record_batch::Compression;
use crate::test_client;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> GroupConsumerConfig {
    GroupConsumerConfig {
        group_id: GROUP.to_owned(),
        group_instance_id: None,
        topics: TopicSelection::Names(vec!["spans".to_owned()]),
        protocol: GroupProtocol::Classic,
        assignors: vec![Assignor::CooperativeSticky],
        session_timeout: 10 * SECOND,
        rebalance_timeout: 60 * SECOND,
        heartbeat_interval: 3 * SECOND,
        initial_offset: InitialOffset::Earliest,
        commit_interval: Some(SECOND),
        min_fetch_bytes: 1,
        max_fetch_bytes: 1 << 20,
        max_partition_bytes: 1 << 20,
        max_fetch_wait: Duration::from_millis(250),
        rack_id: String::new(),
        uses_leader_epoch: true,
    }
}

/// A member of the consumer protocol.
fn consumer_config() -> GroupConsumerConfig {
    GroupConsumerConfig { protocol: GroupProtocol::Consumer(None), ..config() }
}

/// A member of each protocol, with each assignor.
fn all_members() -> Vec<GroupConsumerConfig> {
    let classic = Assignor::ALL.map(|assignor| GroupConsumerConfig { assignors: vec![assignor], ..config() });
    classic.into_iter().chain([consumer_config()]).collect()
}

/// What a caller does with the records of a partition.
struct Taken {
    topic: Arc<str>,
    index: i32,
    /// Records that are not delivered yet.
    open: VecDeque<(i64, String)>,
    is_revoking: bool,
}

/// A consumer, its world and a caller.
struct Client {
    world: TestWorld,
    consumer: GroupConsumer,
    partitions: BTreeMap<PartitionId, Taken>,
    notices: Vec<ConsumerNotice>,
    ended: Vec<bool>,
    /// Records are kept, and not delivered.
    keeps: bool,
    is_dead: bool,
}

impl Client {
    fn new(config: GroupConsumerConfig, seed: u64) -> Self {
        let mut world = test_client::world();
        (0..seed).for_each(|_| _ = world.cx().random());
        let consumer = GroupConsumer::new(test_client::client_config(), config, TestLog::new(None).logger());
        let (partitions, notices) = (BTreeMap::new(), Vec::new());
        Self { world, consumer, partitions, notices, ended: Vec::new(), keeps: false, is_dead: false }
    }

    /// Delivers the oldest records, marks them and requests more; returns what was delivered.
    fn deliver(&mut self, most: usize) -> Vec<(String, i32, i64, String)> {
        let mut delivered = Vec::new();
        for (id, taken) in &mut self.partitions {
            let mut cx = self.world.cx();
            let mut last = None;
            for _ in 0..most {
                let Some((offset, value)) = taken.open.pop_front() else { break };
                last = Some(offset);
                delivered.push((taken.topic.to_string(), taken.index, offset, value));
            }
            if let Some(offset) = last {
                self.consumer.mark(&mut cx, *id, offset + 1, 0);
            }
            if taken.open.is_empty() {
                if taken.is_revoking {
                    self.consumer.finish_partition(&mut cx, *id);
                } else {
                    self.consumer.request_more(&mut cx, *id);
                }
            }
        }
        delivered
    }

    fn take_events(&mut self) {
        while let Some(event) = self.consumer.poll_event() {
            match event {
                ConsumerEvent::Assigned { partition, topic, index } => {
                    let taken = Taken { topic, index, open: VecDeque::new(), is_revoking: false };
                    assert!(self.partitions.insert(partition, taken).is_none());
                }
                ConsumerEvent::Fetched { partition, records, .. } => {
                    let taken = self.partitions.get_mut(&partition).expect("an assigned partition");
                    assert!(!taken.is_revoking && taken.open.is_empty());
                    let value = |r: &crate::FetchedRecord| String::from_utf8(r.record.value.to_vec()).unwrap();
                    taken.open.extend(records.records.iter().map(|r| (r.offset, value(r))));
                }
                ConsumerEvent::Revoking { partition } => {
                    self.partitions.get_mut(&partition).expect("an assigned partition").is_revoking = true;
                }
                ConsumerEvent::Ended { partition, is_lost } => {
                    self.partitions.remove(&partition).expect("an assigned partition");
                    self.ended.push(is_lost);
                }
                ConsumerEvent::Answered { .. } => {}
                ConsumerEvent::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    fn assigned(&self) -> Vec<(String, i32)> {
        let mut all: Vec<_> = self.partitions.values().map(|taken| (taken.topic.to_string(), taken.index)).collect();
        all.sort_unstable();
        all
    }
}

/// Clients and the cluster that they share.
struct Harness {
    cluster: PlayedCluster,
    clients: Vec<Client>,
    delivered: Vec<(String, i32, i64, String)>,
}

impl Harness {
    fn new() -> Self {
        let mut cluster = PlayedCluster::new();
        cluster.create("spans", 4);
        Self { cluster, clients: Vec::new(), delivered: Vec::new() }
    }

    fn add(&mut self, config: GroupConsumerConfig) -> usize {
        let mut client = Client::new(config, self.clients.len() as u64);
        let time = self.now().since(client.world.cx().now());
        client.world.advance(time);
        client.consumer.start(&mut client.world.cx()).unwrap();
        self.clients.push(client);
        self.clients.len() - 1
    }

    fn now(&mut self) -> MonotonicTime {
        self.clients.first_mut().map_or(MonotonicTime(0), |client| client.world.cx().now())
    }

    fn run(&mut self) {
        let now = self.now();
        for _ in 0..10_000 {
            let mut has_run = false;
            for (number, client) in self.clients.iter_mut().enumerate() {
                if client.is_dead {
                    continue;
                }
                let consumer = &mut client.consumer;
                has_run |= client.world.run(|cx, local, event| consumer.handle_event(cx, local, &event)) > 0;
                client.take_events();
                if !client.keeps {
                    let delivered = client.deliver(usize::MAX);
                    has_run |= !delivered.is_empty();
                    self.delivered.extend(delivered);
                    client.take_events();
                }
                for (peer, stream) in client.world.take_connections() {
                    has_run = true;
                    self.cluster.accept(number, &peer.to_string(), stream);
                }
            }
            if !self.cluster.play(now) && !has_run {
                return;
            }
        }
        panic!(
            "it never comes to rest: {:?} {:?}",
            self.cluster.counts,
            self.clients.iter().map(|c| (&c.notices, c.world.next_timer(), c.partitions.len())).collect::<Vec<_>>()
        );
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now() + time;
        self.run();
        // A broker waits for bytes: each step is one of its waits.
        while self.now() < end {
            let now = self.now();
            let next = self.clients.iter().filter(|client| !client.is_dead).filter_map(|c| c.world.next_timer()).min();
            let next = next.unwrap_or(end).min(now + Duration::from_millis(100)).min(end).max(now);
            let step = next.since(now).max(Duration::from_millis(1));
            self.clients.iter_mut().for_each(|client| client.world.advance(step));
            self.run();
        }
    }

    fn append(&mut self, count: usize) {
        for n in 0..count {
            self.cluster.append("spans", n % 4, &format!("v{n}"));
        }
    }

    fn assigned_count(&self) -> Vec<usize> {
        self.clients.iter().map(|client| client.partitions.len()).collect()
    }
}

#[test]
fn records_are_read_and_committed_with_any_version_and_coding() {
    for (is_old, compression) in Compression::ALL.into_iter().flat_map(|c| [(false, c), (true, c)]) {
        for member in all_members() {
            if is_old && member.protocol != GroupProtocol::Classic {
                continue;
            }
            let mut it = Harness::new();
            (it.cluster.is_old, it.cluster.compression) = (is_old, compression);
            it.append(100);
            it.add(member);
            it.run_for(5 * SECOND);
            assert_eq!(it.delivered.len(), 100, "{:?}", it.clients[0].notices);
            assert_eq!(it.cluster.group.committed.values().sum::<i64>(), 100);
            it.append(10);
            it.run_for(2 * SECOND);
            assert_eq!(it.delivered.len(), 110);
            assert_eq!(it.clients[0].notices, []);
        }
    }
}

#[test]
fn partitions_without_a_committed_offset_are_read_as_configured() {
    let mut it = Harness::new();
    it.append(40);
    it.cluster.group.committed.insert(("spans".to_owned(), 1), 4);
    it.add(GroupConsumerConfig { initial_offset: InitialOffset::Latest, ..config() });
    it.run_for(2 * SECOND);
    assert_eq!(it.delivered.len(), 6, "those of the partition with a committed offset");
    it.append(4);
    it.run_for(2 * SECOND);
    assert_eq!(it.delivered.len(), 10);
}

#[test]
fn partition_is_not_fetched_again_before_more_is_requested() {
    let mut it = Harness::new();
    it.append(400);
    it.add(config());
    it.clients[0].keeps = true;
    it.run_for(10 * SECOND);
    let open: Vec<usize> = it.clients[0].partitions.values().map(|taken| taken.open.len()).collect();
    assert_eq!(open, [3, 3, 3, 3], "one batch each");
    assert_eq!(it.cluster.group.committed.len(), 0);
    it.clients[0].keeps = false;
    it.run_for(10 * SECOND);
    assert_eq!(it.delivered.len(), 400);
}

#[test]
fn members_share_partitions_and_nothing_is_read_twice_in_a_rebalance() {
    for config in all_members() {
        let mut it = Harness::new();
        it.append(40);
        let (assignor, member) = (format!("{:?} {:?}", config.protocol, config.assignors), || config.clone());
        it.add(member());
        it.run_for(3 * SECOND);
        it.add(member());
        for _ in 0..20 {
            it.append(8);
            it.run_for(SECOND);
        }
        assert_eq!(it.assigned_count(), [2, 2], "{assignor:?}");
        it.add(member());
        for _ in 0..20 {
            it.append(8);
            it.run_for(SECOND);
        }
        let mut counts = it.assigned_count();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 2], "{assignor:?}");
        let end = it.now() + 10 * SECOND;
        let client = &mut it.clients[0];
        client.consumer.close(&mut client.world.cx(), end);
        it.run_for(8 * SECOND);
        assert!(it.clients[0].consumer.is_closed());
        assert_eq!(it.assigned_count(), [0, 2, 2], "{assignor:?}");
        assert_eq!(it.delivered.len(), 40 + 40 * 8, "{assignor:?}");
        assert!(it.clients.iter().all(|client| client.ended.iter().all(|is_lost| !is_lost)));
    }
}

#[test]
fn partitions_of_a_member_that_is_gone_go_to_the_others() {
    let mut it = Harness::new();
    it.add(config());
    it.add(config());
    it.run_for(10 * SECOND);
    assert_eq!(it.assigned_count(), [2, 2]);
    it.append(40);
    it.clients[1].keeps = true;
    it.run_for(SECOND);
    it.clients[1].is_dead = true;
    it.cluster.close(Some(1));
    it.run_for(20 * SECOND);
    assert_eq!(it.clients[0].partitions.len(), 4);
    assert_eq!(it.delivered.len(), 40);
}

#[test]
fn what_a_member_has_is_finished_and_committed_before_it_is_given_up() {
    let mut it = Harness::new();
    it.append(12);
    it.add(config());
    it.clients[0].keeps = true;
    it.run_for(3 * SECOND);
    it.add(config());
    it.run_for(8 * SECOND);
    let revoking = it.clients[0].partitions.values().filter(|taken| taken.is_revoking).count();
    assert_eq!((revoking, it.clients[1].partitions.len()), (2, 0), "{:?}", it.clients[0].assigned());
    it.clients[0].keeps = false;
    it.run_for(8 * SECOND);
    assert_eq!(it.assigned_count(), [2, 2]);
    assert_eq!(it.delivered.len(), 12, "nothing twice");
}

#[test]
fn partition_that_is_not_finished_in_time_is_given_up() {
    let mut it = Harness::new();
    it.append(12);
    it.add(config());
    it.clients[0].keeps = true;
    it.run_for(3 * SECOND);
    it.add(config());
    it.run_for(60 * SECOND);
    assert_eq!(it.assigned_count(), [2, 2]);
    assert_eq!(it.delivered.len(), 6, "those that were not delivered by the first");
}

#[test]
fn leader_and_coordinator_are_followed() {
    let mut it = Harness::new();
    it.add(config());
    it.run_for(3 * SECOND);
    for round in 1..=6 {
        it.append(40);
        it.cluster.move_leaders();
        if round % 2 == 0 {
            it.cluster.move_coordinator();
        }
        it.run_for(12 * SECOND);
        assert_eq!(it.delivered.len(), round * 40);
        assert_eq!(it.cluster.group.committed.values().sum::<i64>(), round as i64 * 40);
    }
    assert_eq!(it.clients[0].ended, [] as [bool; 0], "{:?}", it.clients[0].notices);
}

#[test]
fn coordinator_that_stays_away_is_told_and_one_that_comes_soon_is_not() {
    for (answers, is_told) in [(6, false), (20, true)] {
        let mut it = Harness::new();
        it.append(4);
        it.cluster.errors.insert(ApiKey::FindCoordinator as i16, VecDeque::from(vec![15; answers]));
        it.add(config());
        it.run_for(120 * SECOND);
        assert_eq!(it.delivered.len(), 4);
        let tells =
            |notice: &ConsumerNotice| matches!(notice, ConsumerNotice::Group(why) if why.contains("no coordinator"));
        assert_eq!(it.clients[0].notices.iter().any(tells), is_told, "{:?}", it.clients[0].notices);
    }
}

#[test]
fn offset_that_is_gone_is_reset_with_a_notice() {
    let mut it = Harness::new();
    it.append(40);
    it.cluster.topics.get_mut("spans").unwrap()[2].start = 5;
    it.cluster.group.committed.insert(("spans".to_owned(), 2), 3);
    it.add(config());
    it.run_for(3 * SECOND);
    assert_eq!(it.delivered.len(), 35);
    let notice = ConsumerNotice::OffsetReset { topic: "spans".into(), index: 2, offset: 3 };
    assert_eq!(it.clients[0].notices, [notice]);
}

#[test]
fn topics_that_match_are_read_also_those_that_come_later_and_partitions_that_are_added() {
    let mut it = Harness::new();
    let matches = |name: &str| name.starts_with("sp") || name.starts_with("__");
    let config = GroupConsumerConfig { topics: TopicSelection::Matching(Rc::new(matches)), ..config() };
    it.cluster.create("__offsets", 1);
    it.cluster.create("other", 1);
    it.add(config);
    it.run_for(3 * SECOND);
    assert_eq!(it.assigned_count(), [4]);
    it.cluster.create("special", 2);
    it.cluster.create("spans", 5);
    it.cluster.append("special", 1, "a");
    it.run_for(610 * SECOND);
    assert_eq!(it.assigned_count(), [7]);
    assert_eq!(it.delivered.len(), 1);
}

#[test]
fn topic_that_does_not_exist_yet_is_read_when_it_does() {
    let mut it = Harness::new();
    let topics = TopicSelection::Names(vec!["later".to_owned()]);
    it.add(GroupConsumerConfig { topics, ..config() });
    it.run_for(20 * SECOND);
    assert_eq!(it.assigned_count(), [0]);
    assert!(it.cluster.counts[&3] < 10, "{:?}", it.cluster.counts);
    it.cluster.create("later", 1);
    it.cluster.append("later", 0, "a");
    it.run_for(12 * SECOND);
    assert_eq!(it.delivered.len(), 1);
}

#[test]
fn static_member_that_comes_back_has_its_partitions_without_a_rebalance_of_others() {
    let mut it = Harness::new();
    let named = |name: &str| GroupConsumerConfig { group_instance_id: Some(name.to_owned()), ..config() };
    it.add(named("a"));
    it.add(named("b"));
    it.run_for(10 * SECOND);
    let before = it.clients[1].assigned();
    let end = it.now() + 5 * SECOND;
    let client = &mut it.clients[1];
    client.consumer.close(&mut client.world.cx(), end);
    it.run_for(SECOND);
    assert_eq!((it.clients[1].consumer.is_closed(), it.cluster.member_count()), (true, 2));
    it.add(named("b"));
    it.run_for(8 * SECOND);
    assert_eq!(it.clients[2].assigned(), before);
    assert_eq!(it.cluster.member_count(), 2);
}

#[test]
fn errors_of_each_request_are_survived() {
    for api in [
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::Heartbeat,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
    ] {
        for error in [-1, 3, 5, 7, 14, 15, 16, 22, 25, 27, 29, 30, 82, 88, 999] {
            let mut it = Harness::new();
            it.append(40);
            it.cluster.errors.insert(api as i16, VecDeque::from([error, error]));
            it.add(config());
            it.run_for(30 * SECOND);
            it.append(8);
            it.run_for(30 * SECOND);
            let values: BTreeSet<_> = it.delivered.iter().collect();
            assert_eq!(values.len(), 48, "{api:?} {error} {:?}", it.clients[0].notices);
            assert_eq!(it.cluster.group.committed.values().sum::<i64>(), 48, "{api:?} {error}");
        }
    }
}

#[test]
fn requests_without_an_answer_end_the_connection() {
    for api in [
        ApiKey::Fetch,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::Heartbeat,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::Metadata,
    ] {
        let mut it = Harness::new();
        it.append(40);
        it.cluster.silent.insert(api as i16);
        it.add(config());
        it.run_for(20 * SECOND);
        it.cluster.silent.clear();
        it.run_for(100 * SECOND);
        let values: BTreeSet<_> = it.delivered.iter().collect();
        assert_eq!(values.len(), 40, "{api:?} {:?}", it.clients[0].notices);
        assert_eq!(it.cluster.group.committed.values().sum::<i64>(), 40, "{api:?}");
    }
}

#[test]
fn requests_are_few_while_nothing_happens() {
    let mut it = Harness::new();
    it.append(4);
    it.add(config());
    it.run_for(60 * SECOND);
    let total: usize = it.cluster.counts.values().sum();
    // Two brokers, each played without a wait for bytes.
    assert!(it.cluster.counts[&(ApiKey::Heartbeat as i16)] <= 21, "{:?}", it.cluster.counts);
    let others = total - it.cluster.counts[&(ApiKey::Fetch as i16)];
    assert!(others < 45, "{:?}", it.cluster.counts);
}
