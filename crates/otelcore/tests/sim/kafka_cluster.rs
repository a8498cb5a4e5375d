//! What the brokers of a cluster of Kafka share: the records of topics, which are all replicated, batches that they recognise, and the
//! state of one group. A broker that runs leads the partitions of one that does not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_kafka_client::{Compression, Record, record_batch};
use otelcore_pipeline::MonotonicTime;
use prost::Message;

use crate::kafka_coordinator::Coordinator;

/// Error codes of Kafka.
pub(crate) const UNKNOWN_TOPIC: i16 = 3;
const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(crate) const NOT_LEADER: i16 = 6;
pub(crate) const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
pub(crate) const UNKNOWN_MEMBER: i16 = 25;
pub(crate) const REBALANCE_IN_PROGRESS: i16 = 27;
const OUT_OF_ORDER_SEQUENCE: i16 = 45;

/// How long members have to join again in a rebalance.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(6);

/// A partition.
#[derive(Default)]
pub(crate) struct Log {
    batches: Vec<Batch>,
    pub(crate) end: i64,
    /// The sequence number that follows, and the last batch, by producer.
    sequences: BTreeMap<i64, (i32, usize)>,
}

struct Batch {
    base: i64,
    bytes: Vec<u8>,
    /// The span ids of each record.
    spans: Vec<Vec<u64>>,
}

#[derive(Default)]
pub(crate) struct Member {
    pub(crate) protocols: Vec<(String, Vec<u8>)>,
    pub(crate) session_timeout: Duration,
    pub(crate) heard_at: MonotonicTime,
    pub(crate) has_joined: bool,
    pub(crate) assignment: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum GroupState {
    #[default]
    Stable,
    /// Members join until then.
    Joining(MonotonicTime),
    /// The leader's assignment is awaited.
    Syncing,
}

#[derive(Default)]
pub(crate) struct Group {
    pub(crate) state: GroupState,
    pub(crate) generation: i32,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) leader: String,
    pub(crate) protocol: String,
    pub(crate) next_member: u32,
    pub(crate) committed: BTreeMap<(String, i32), i64>,
}

/// What the brokers share.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) is_running: Vec<bool>,
    pub(crate) topics: BTreeMap<String, Vec<Log>>,
    pub(crate) group: Group,
    /// The members by the consumer protocol, if the brokers have it.
    pub(crate) coordinator: Option<Coordinator>,
    /// The groups that are listed.
    pub(crate) listed_groups: Vec<String>,
    pub(crate) next_producer: i64,
    /// Moves leaders and the coordinator to the brokers that follow.
    pub(crate) shift: usize,
    /// So many answers to batches are lost, and their connections end.
    pub(crate) lost_answers: u32,
    /// So many answers to heartbeats by the consumer protocol are lost in the same way.
    pub(crate) lost_heartbeats: u32,
    pub(crate) throttle_ms: i32,
    pub(crate) duplicates: u64,
    pub(crate) rebalances: u64,
}

pub(crate) type SharedCluster = Rc<RefCell<Cluster>>;

impl Cluster {
    /// A cluster of stopped brokers, with one topic.
    pub(crate) fn new(brokers: usize, topic: &str, partitions: usize) -> SharedCluster {
        let logs = (0..partitions).map(|_| Log::default()).collect();
        let topics = BTreeMap::from([(topic.to_owned(), logs)]);
        Rc::new(RefCell::new(Self { is_running: vec![false; brokers], topics, ..Self::default() }))
    }

    pub(crate) fn set_stopped(&mut self, broker: usize) {
        self.is_running[broker] = false;
    }

    /// The broker for a number: the first that runs from there on.
    pub(crate) fn broker_for(&self, number: usize) -> i32 {
        let count = self.is_running.len();
        let found = (0..count).map(|i| (number + self.shift + i) % count).find(|i| self.is_running[*i]);
        found.map_or(-1, |broker| broker as i32)
    }

    /// The spans of messages whose offsets are committed.
    pub(crate) fn committed_spans(&self) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        for ((topic, partition), offset) in &self.group.committed {
            let batches = &self.topics[topic][*partition as usize].batches;
            let records = batches.iter().flat_map(|batch| (batch.base..).zip(&batch.spans));
            found.extend(records.take_while(|(at, _)| at < offset).flat_map(|(_, spans)| spans));
        }
        found
    }

    /// The messages that are not committed.
    pub(crate) fn lag(&self) -> i64 {
        let logs = self.topics.iter().flat_map(|(topic, logs)| (0..).zip(logs).map(move |(i, log)| (topic, i, log)));
        logs.map(|(topic, i, log)| log.end - self.group.committed.get(&(topic.clone(), i)).copied().unwrap_or(0)).sum()
    }

    /// The state of the group and of each partition that has messages which are not committed.
    pub(crate) fn describe(&self) -> String {
        let group = &self.group;
        let state = match group.state {
            GroupState::Stable => "stable",
            GroupState::Joining(_) => "joining",
            GroupState::Syncing => "syncing",
        };
        let members: Vec<&String> = group.members.keys().collect();
        let epochs = self.coordinator.as_ref().map(Coordinator::epochs);
        let mut text = format!(
            "epochs {epochs:?}, group {state}, generation {}, members {members:?}, brokers {:?}",
            group.generation, self.is_running
        );
        for (topic, logs) in &self.topics {
            for (index, log) in (0..).zip(logs) {
                let committed = group.committed.get(&(topic.clone(), index)).copied();
                if committed.unwrap_or(0) < log.end {
                    text += &format!("; {topic} {index}: {committed:?} of {}", log.end);
                }
            }
        }
        text
    }

    pub(crate) fn append(&mut self, node: i32, topic: &str, index: i32, bytes: &[u8]) -> i16 {
        let leader = self.broker_for(index as usize);
        let Some(log) = self.topics.get_mut(topic).and_then(|logs| logs.get_mut(index as usize)) else {
            return UNKNOWN_TOPIC;
        };
        if leader != node {
            return NOT_LEADER;
        }
        let (batch, rest) = record_batch::decode(bytes, 64 << 20).unwrap();
        assert!(rest.is_empty());
        let spans = batch.records.iter().map(|record| {
            let request = ExportTraceServiceRequest::decode(&*record.value).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            let ids = scopes.flat_map(|scope| scope.spans).map(|span| span.span_id);
            ids.map(|id| u64::from_be_bytes(id.as_slice().try_into().unwrap())).collect()
        });
        let spans: Vec<Vec<u64>> = spans.collect();
        if batch.producer.0 >= 0 {
            let (next, last) = log.sequences.entry(batch.producer.0).or_insert((0, usize::MAX));
            let end = batch.first_sequence + batch.records.len() as i32;
            if end == *next {
                // A broker would not find it out, and what is in the batch would be lost.
                assert_eq!(log.batches[*last].spans, spans, "two batches of a producer have the same sequence numbers");
                self.duplicates += 1;
                return 0;
            }
            if batch.first_sequence != *next {
                return OUT_OF_ORDER_SEQUENCE;
            }
            (*next, *last) = (end, log.batches.len());
        }
        let mut bytes = bytes.to_vec();
        bytes[..8].copy_from_slice(&log.end.to_be_bytes());
        let base = log.end;
        log.end += spans.len() as i64;
        log.batches.push(Batch { base, bytes, spans });
        0
    }

    /// Appends messages of any content to the first partition of a topic, in one batch.
    #[allow(dead_code, reason = "used by the test of steps")]
    pub(crate) fn append_messages(&mut self, topic: &str, records: &[Record], compression: Compression) {
        let log = &mut self.topics.get_mut(topic).unwrap()[0];
        let mut bytes = record_batch::encode_batch(records, compression).to_vec();
        bytes[..8].copy_from_slice(&log.end.to_be_bytes());
        log.batches.push(Batch { base: log.end, bytes, spans: vec![Vec::new(); records.len()] });
        log.end += records.len() as i64;
    }

    /// The end of a partition, and its batches from that with an offset on; at least one if there is one.
    pub(crate) fn read(
        &self,
        node: i32,
        topic: &str,
        index: i32,
        offset: i64,
        max_bytes: usize,
    ) -> Result<(i64, Vec<u8>), i16> {
        let Some(log) = self.topics.get(topic).and_then(|logs| logs.get(index as usize)) else {
            return Err(UNKNOWN_TOPIC);
        };
        if self.broker_for(index as usize) != node {
            return Err(NOT_LEADER);
        }
        if !(0..=log.end).contains(&offset) {
            return Err(OFFSET_OUT_OF_RANGE);
        }
        let mut bytes = Vec::new();
        let first = log.batches.partition_point(|batch| batch.base <= offset).saturating_sub(1);
        for batch in log.batches.iter().skip(first).take_while(|_| offset < log.end) {
            if !bytes.is_empty() && bytes.len() + batch.bytes.len() > max_bytes {
                break;
            }
            bytes.extend_from_slice(&batch.bytes);
        }
        Ok((log.end, bytes))
    }

    /// The error of a request of a member.
    pub(crate) fn member_error(&mut self, node: i32, member: &str, generation: i32, now: MonotonicTime) -> i16 {
        if self.broker_for(0) != node {
            return NOT_COORDINATOR;
        }
        let Some(state) = self.group.members.get_mut(member) else { return UNKNOWN_MEMBER };
        state.heard_at = now;
        if generation == self.group.generation { 0 } else { ILLEGAL_GENERATION }
    }

    pub(crate) fn begin_rebalance(&mut self, now: MonotonicTime) {
        if !matches!(self.group.state, GroupState::Joining(_)) {
            self.rebalances += 1;
            self.group.state = GroupState::Joining(now + REBALANCE_TIMEOUT);
            self.group.members.values_mut().for_each(|member| member.has_joined = false);
        }
    }

    /// Removes members that are silent, and ends the joining when all have joined or its time is over.
    pub(crate) fn advance_group(&mut self, now: MonotonicTime) {
        let before = self.group.members.len();
        self.group.members.retain(|_, member| member.heard_at + member.session_timeout > now);
        if self.group.members.len() < before {
            self.begin_rebalance(now);
        }
        let group = &mut self.group;
        let GroupState::Joining(until) = group.state else { return };
        if until <= now {
            group.members.retain(|_, member| member.has_joined);
        }
        let Some(leader) = group.members.keys().next().cloned() else { return group.state = GroupState::Stable };
        if !group.members.values().all(|member| member.has_joined) {
            return;
        }
        group.generation += 1;
        group.state = GroupState::Syncing;
        let has = |member: &Member, name: &String| member.protocols.iter().any(|(other, _)| other == name);
        let mut names = group.members[&leader].protocols.iter().map(|(name, _)| name);
        let common = names.find(|name| group.members.values().all(|member| has(member, name)));
        group.protocol = common.cloned().unwrap();
        group.leader = leader;
    }
}
