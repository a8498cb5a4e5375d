//! What the brokers answer to members by the consumer protocol (KIP-848). It has ids of topics, and epochs in the requests for offsets, so
//! that these requests have other versions than the rest.

#[path = "../../../kafka-client/src/consumer/tests/coordinator.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod coordinator;

use std::time::Duration;

use otelcore_kafka_client as kafka;
use otelcore_kafka_client::{ApiKey, Reader, Writer};
use otelcore_pipeline::MonotonicTime;

pub(crate) use coordinator::{Coordinator, GroupTopic};

use crate::kafka_cluster::{Cluster, NOT_COORDINATOR, UNKNOWN_MEMBER, UNKNOWN_TOPIC};

const SESSION_TIMEOUT: Duration = Duration::from_secs(8);

/// The version of a request that needs another one than the lowest.
pub(crate) fn version(api: ApiKey) -> Option<i16> {
    match api {
        ApiKey::Metadata => Some(12),
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => Some(9),
        ApiKey::ConsumerGroupHeartbeat => Some(1),
        _ => None,
    }
}

fn topic_id(name: &str) -> [u8; 16] {
    let mut id = [1; 16];
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    id
}

impl Cluster {
    pub(crate) fn advance_coordinator(&mut self, now: MonotonicTime) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.remove_silent_members(now, SESSION_TIMEOUT);
        }
    }

    /// Moves partitions, forgets or fences a member, or loses the answer to a heartbeat.
    pub(crate) fn disturb_members(&mut self, random: u64) {
        let Some(coordinator) = &mut self.coordinator else { return };
        let number = (random >> 8) as usize & 7;
        match random & 7 {
            0 | 1 => coordinator.rebalance(),
            2 => coordinator.remove(number, false),
            3 => coordinator.remove(number, true),
            4 | 5 => self.lost_heartbeats += 1,
            _ => {}
        }
    }

    /// The answer to a heartbeat, and whether it is lost.
    pub(crate) fn group_heartbeat(
        &mut self,
        node: i32,
        now: MonotonicTime,
        r: &mut Reader<'_>,
        w: &mut Writer,
    ) -> bool {
        r.string().unwrap();
        let error = if self.broker_for(0) == node { 0 } else { NOT_COORDINATOR };
        let topic = |(name, logs): (&String, &Vec<_>)| (name.clone(), topic_id(name), logs.len() as i32);
        let topics: Vec<GroupTopic> = self.topics.iter().map(topic).collect();
        let throttle_ms = self.throttle_ms;
        self.coordinator.as_mut().unwrap().answer((now, error, throttle_ms), &topics, r, w);
        let is_lost = self.lost_heartbeats > 0;
        self.lost_heartbeats -= u32::from(is_lost);
        is_lost
    }

    fn epoch_error(&self, node: i32, member: &str, epoch: i32) -> i16 {
        if self.broker_for(0) != node {
            return NOT_COORDINATOR;
        }
        let result = self.coordinator.as_ref().and_then(|coordinator| coordinator.check_epoch(member, epoch));
        result.map_or(UNKNOWN_MEMBER, |result| result.err().unwrap_or(0))
    }

    /// Commits offsets of partitions that the member has; a commit never goes back.
    pub(crate) fn commit_of_member(&mut self, node: i32, r: &mut Reader<'_>, w: &mut Writer) {
        r.string().unwrap();
        let (epoch, member) = (r.i32().unwrap(), r.string().unwrap());
        r.nullable_string().unwrap();
        let error = self.epoch_error(node, member, epoch);
        w.i32(self.throttle_ms);
        for_each_partition(r, w, |r, w, topic| {
            let (index, offset) = (r.i32().unwrap(), r.i64().unwrap());
            r.i32().unwrap();
            r.nullable_string().unwrap();
            r.skip_tags().unwrap();
            if error == 0 {
                let holds = self.coordinator.as_ref().unwrap().holds(member, (topic_id(topic), index));
                assert!(holds, "{member} commits {topic} {index}, which it has given up");
                let before = self.group.committed.insert((topic.to_owned(), index), offset);
                assert!(before.is_none_or(|before| before <= offset), "{topic} {index}: {offset} behind {before:?}");
            }
            w.i32(index);
            w.i16(error);
        });
        w.no_tags();
    }

    pub(crate) fn committed_of_group(&self, node: i32, r: &mut Reader<'_>, w: &mut Writer) {
        assert_eq!(r.count(1), Ok(1));
        let group = r.string().unwrap();
        let member = r.nullable_string().unwrap().unwrap_or_default();
        let error = self.epoch_error(node, member, r.i32().unwrap());
        w.i32(0);
        w.len(1);
        w.string(group);
        for_each_partition(r, w, |r, w, topic| {
            let index = r.i32().unwrap();
            let committed = self.group.committed.get(&(topic.to_owned(), index)).copied();
            w.i32(index);
            w.i64(committed.filter(|_| error == 0).unwrap_or(-1));
            w.i32(-1);
            w.string("");
            w.i16(0);
        });
        w.i16(error);
        w.no_tags();
        w.no_tags();
    }

    pub(crate) fn put_metadata_with_ids(&self, r: &mut Reader<'_>, w: &mut Writer) {
        let mut names = Vec::new();
        for _ in 0..r.count(1).unwrap() {
            r.take(16).unwrap();
            names.push(r.string().unwrap());
            r.skip_tags().unwrap();
        }
        w.i32(0);
        let running: Vec<usize> = (0..self.is_running.len()).filter(|i| self.is_running[*i]).collect();
        w.len(running.len());
        for node in running {
            w.i32(node as i32);
            w.string(&format!("kafka-{node}"));
            w.i32(9092);
            w.null_string();
            w.no_tags();
        }
        w.null_string();
        w.i32(0);
        w.len(names.len());
        for name in names {
            let logs = self.topics.get(name).map_or(0, Vec::len);
            w.i16(if logs == 0 { UNKNOWN_TOPIC } else { 0 });
            w.string(name);
            w.topic_id(topic_id(name));
            w.bool(false);
            w.len(logs);
            for index in 0..logs {
                w.i16(0);
                w.i32(index as i32);
                w.i32(self.broker_for(index));
                w.i32(0);
                (0..3).for_each(|_| w.len(0));
                w.no_tags();
            }
            w.i32(0);
            w.no_tags();
        }
        w.no_tags();
    }
}

/// Reads an array of topics with partitions, and writes one with what `each` writes for each partition.
fn for_each_partition(r: &mut Reader<'_>, w: &mut Writer, mut each: impl FnMut(&mut Reader<'_>, &mut Writer, &str)) {
    let topics = r.count(1).unwrap();
    w.len(topics);
    for _ in 0..topics {
        let topic = r.string().unwrap();
        w.string(topic);
        let partitions = r.count(1).unwrap();
        w.len(partitions);
        for _ in 0..partitions {
            each(r, w, topic);
            w.no_tags();
        }
        r.skip_tags().unwrap();
        w.no_tags();
    }
}
