//! The partitions of this member: what each needs next, and where it waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::MonotonicTime;

use super::{ConsumerEvent, GroupConsumer, PartitionId};
use crate::messages::TopicId;

/// Where the next record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// The committed offset is not known yet.
    Unknown,
    /// There is no offset: the first or the last one is asked for.
    Reset,
    /// The next offset, and the epoch of the record before it.
    At(i64, i32),
}

/// Where a partition waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unlocated,
    Leaderless,
    Waiting(MonotonicTime),
    List(i32),
    Fetch(i32),
}

pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    /// `NO_TOPIC_ID` while it is not known, or the cluster has none.
    pub(super) topic_id: TopicId,
    pub(super) index: i32,
    pub(super) position: Position,
    pub(super) leader: Option<i32>,
    pub(super) leader_epoch: i32,
    /// The replica that the leader has named to read from.
    pub(super) preferred: Option<i32>,
    /// A request for it has no answer, or its answer is being read.
    pub(super) is_busy: bool,
    /// The caller has records of it, and has not requested more.
    pub(super) is_held: bool,
    /// It is given up.
    pub(super) is_stopped: bool,
    pub(super) retry_at: MonotonicTime,
    /// What the caller has marked, and the epoch of the record before it.
    pub(super) marked: Option<(i64, i32)>,
    pub(super) committed: Option<i64>,
    place: Option<Place>,
}

/// The partitions that a broker is asked for next.
#[derive(Default)]
pub(super) struct NodeWork {
    pub(super) list: BTreeSet<u64>,
    pub(super) fetch: BTreeSet<u64>,
    pub(super) has_list: bool,
    pub(super) has_fetch: bool,
    /// The partition that is the first one in the next request, so that none is always behind others.
    pub(super) next_first: u64,
}

impl GroupConsumer {
    pub(super) fn node_work(&mut self, node: i32) -> &mut NodeWork {
        self.by_node.entry(node).or_default()
    }

    /// The number of a partition that was asked for: one of `ids`, which are sorted.
    pub(super) fn find_requested(&self, ids: &[u64], topic: &str, index: i32) -> Option<u64> {
        self.by_name.get(&(topic.into(), index)).copied().filter(|id| ids.binary_search(id).is_ok())
    }

    /// A partition that the group has given to this member.
    pub(super) fn add_partition(&mut self, now: MonotonicTime, topic: &str, index: i32) {
        let topic: Arc<str> = topic.into();
        let id = self.next_partition;
        self.next_partition += 1;
        let (leader, leader_epoch) = self.topics.leader(&topic, index);
        let partition = Partition {
            topic: topic.clone(),
            topic_id: self.topics.id(&topic),
            index,
            position: Position::Unknown,
            leader,
            leader_epoch,
            preferred: None,
            is_busy: false,
            is_held: false,
            is_stopped: false,
            retry_at: MonotonicTime(0),
            marked: None,
            committed: None,
            place: None,
        };
        self.partitions.insert(id, partition);
        self.by_name.insert((topic.clone(), index), id);
        self.events.push_back(ConsumerEvent::Assigned { partition: PartitionId(id), topic, index });
        self.schedule(now, id);
    }

    /// The partition is not this member's any more.
    pub(super) fn remove_partition(&mut self, id: u64, is_lost: bool) {
        self.leave_place(id);
        if let Some(partition) = self.partitions.remove(&id) {
            self.by_name.remove(&(partition.topic, partition.index));
            self.commits.dirty.remove(&id);
            self.group.unfinished.remove(&id);
            self.events.push_back(ConsumerEvent::Ended { partition: PartitionId(id), is_lost });
        }
    }

    /// Nothing more of a partition is fetched.
    pub(super) fn stop_partition(&mut self, id: u64) {
        self.leave_place(id);
        if let Some(partition) = self.partitions.get_mut(&id)
            && !std::mem::replace(&mut partition.is_stopped, true)
        {
            self.group.unfinished.insert(id);
            self.events.push_back(ConsumerEvent::Revoking { partition: PartitionId(id) });
        }
    }

    fn leave_place(&mut self, id: u64) {
        let Some(place) = self.partitions.get_mut(&id).and_then(|partition| partition.place.take()) else { return };
        match place {
            Place::Unlocated => {
                self.unlocated.remove(&id);
            }
            Place::Leaderless => {
                self.leaderless.remove(&id);
            }
            Place::Waiting(at) => {
                self.waiting.remove(&(at, id));
            }
            Place::List(node) => {
                self.node_work(node).list.remove(&id);
            }
            Place::Fetch(node) => {
                self.node_work(node).fetch.remove(&id);
            }
        }
    }

    /// Puts a partition where it waits for what it needs next.
    pub(super) fn schedule(&mut self, now: MonotonicTime, id: u64) {
        self.leave_place(id);
        let Some(partition) = self.partitions.get(&id) else { return };
        if partition.is_busy || partition.is_held || partition.is_stopped {
            return;
        }
        let place = if partition.retry_at > now {
            Place::Waiting(partition.retry_at)
        } else {
            match (partition.position, partition.preferred, partition.leader) {
                (Position::Unknown, ..) => Place::Unlocated,
                (Position::At(..), Some(node), _) => Place::Fetch(node),
                (_, _, None) => Place::Leaderless,
                (Position::Reset, _, Some(node)) => Place::List(node),
                (Position::At(..), _, Some(node)) => Place::Fetch(node),
            }
        };
        match place {
            Place::Unlocated => {
                self.unlocated.insert(id);
            }
            Place::Leaderless => {
                self.leaderless.insert(id);
                self.topics.need();
            }
            Place::Waiting(at) => {
                self.waiting.insert((at, id));
            }
            Place::List(node) => {
                self.node_work(node).list.insert(id);
                self.pending_nodes.insert(node);
            }
            Place::Fetch(node) => {
                self.node_work(node).fetch.insert(id);
                self.pending_nodes.insert(node);
            }
        }
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.place = Some(place);
        }
    }

    /// Takes a partition from its place for a request.
    pub(super) fn take_for_request(&mut self, id: u64) {
        self.leave_place(id);
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.is_busy = true;
        }
    }

    /// The request for a partition has ended; it goes on after a pause.
    pub(super) fn release(&mut self, now: MonotonicTime, id: u64, pause: Option<Duration>) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.is_busy = false;
        if let Some(pause) = pause {
            partition.retry_at = now + pause;
        }
        self.schedule(now, id);
    }

    /// Partitions whose pause is over go on.
    pub(super) fn advance_waiting(&mut self, now: MonotonicTime) {
        while let Some((at, id)) = self.waiting.first().copied()
            && at <= now
        {
            self.schedule(now, id);
        }
    }
}
