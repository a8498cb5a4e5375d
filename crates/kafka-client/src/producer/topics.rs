//! Topics and their partitions: queues, and the choice of a partition for each record. Sends nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use otelcore_pipeline::{JobResult, MonotonicTime};

use crate::error_code::ErrorCode;
use crate::messages::{PartitionMetadata, ProducerId};
use crate::partitioner::Partitioner;
use crate::record_batch::Record;

/// A partition: the topic, and the number of the partition.
pub(super) type SlotKey = (u32, i32);

/// A record that waits to be sent.
pub(super) struct Queued {
    pub(super) record: Record,
    /// The call that it belongs to.
    pub(super) call: u64,
    /// It is sent in a batch of its own, because a batch with it was too large.
    pub(super) is_alone: bool,
    pub(super) at: MonotonicTime,
}

/// A batch that is sent, or has to be sent again.
pub(super) struct Batch {
    pub(super) bytes: Bytes,
    pub(super) records: Vec<Queued>,
    pub(super) producer: ProducerId,
    pub(super) first_sequence: i32,
    /// A broker may have written it without an answer.
    pub(super) may_be_written: bool,
}

/// What a partition does at present.
pub(super) enum Phase {
    /// Nothing: it may have records, or a batch to be sent again.
    Idle,
    /// A helper thread encodes a batch of these records.
    Encoding(JobResult<Bytes>, ProducerId, i32, Vec<Queued>),
    /// Its batch waits for an answer.
    InFlight,
}

pub(super) struct Partition {
    pub(super) queue: VecDeque<Queued>,
    pub(super) queued_bytes: usize,
    pub(super) batch: Option<Batch>,
    pub(super) phase: Phase,
    pub(super) failures: u32,
    /// Nothing is sent before.
    pub(super) retry_at: MonotonicTime,
    /// Where it is among the partitions with something to send.
    pub(super) scheduled: Option<(i32, MonotonicTime)>,
    pub(super) producer: ProducerId,
    pub(super) next_sequence: i32,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            batch: None,
            phase: Phase::Idle,
            failures: 0,
            retry_at: MonotonicTime(0),
            scheduled: None,
            producer: ProducerId::NONE,
            next_sequence: 0,
        }
    }
}

impl Partition {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.batch.is_none() && matches!(self.phase, Phase::Idle)
    }

    fn record_count(&self) -> usize {
        let of_phase = if let Phase::Encoding(_, _, _, records) = &self.phase { records.len() } else { 0 };
        self.queue.len() + self.batch.as_ref().map_or(0, |batch| batch.records.len()) + of_phase
    }
}

/// One partition of a topic. Its state is made when a record goes to it.
pub(super) struct Slot {
    pub(super) index: i32,
    pub(super) leader: Option<i32>,
    pub(super) partition: Option<Box<Partition>>,
}

pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Records without a partition.
    pub(super) waiting: VecDeque<Queued>,
    /// In the order of their numbers; empty before the metadata is known.
    pub(super) slots: Vec<Slot>,
    /// The positions of those that have a leader.
    usable: Vec<usize>,
    /// Why the metadata has nothing of it.
    pub(super) error: Option<ErrorCode>,
    pub(super) last_used: MonotonicTime,
    sticky: Option<usize>,
    next: usize,
}

impl Topic {
    pub(super) fn new(name: Arc<str>, now: MonotonicTime) -> Self {
        Self {
            name,
            waiting: VecDeque::new(),
            slots: Vec::new(),
            usable: Vec::new(),
            error: None,
            last_used: now,
            sticky: None,
            next: 0,
        }
    }

    /// Nothing waits or is in flight.
    pub(super) fn is_idle(&self) -> bool {
        let mut partitions = self.slots.iter().filter_map(|slot| slot.partition.as_deref());
        self.waiting.is_empty() && partitions.all(Partition::is_idle)
    }

    /// The partition of this number.
    pub(super) fn slot_mut(&mut self, index: i32) -> Option<&mut Slot> {
        let at = self.slots.binary_search_by_key(&index, |slot| slot.index).ok()?;
        self.slots.get_mut(at)
    }

    /// Takes over what the metadata says; returns the partitions that are gone.
    pub(super) fn update(&mut self, partitions: &[PartitionMetadata]) -> Vec<Slot> {
        let mut before = std::mem::take(&mut self.slots).into_iter().peekable();
        let mut gone = Vec::new();
        for new in partitions {
            while let Some(old) = before.next_if(|old| old.index < new.index) {
                gone.push(old);
            }
            let partition = before.next_if(|old| old.index == new.index).and_then(|old| old.partition);
            self.slots.push(Slot { index: new.index, leader: new.leader, partition });
        }
        gone.extend(before);
        self.usable = self.slots.iter().enumerate().filter(|(_, slot)| slot.leader.is_some()).map(|(i, _)| i).collect();
        self.sticky = self.sticky.filter(|i| self.slots.get(*i).is_some_and(|slot| slot.leader.is_some()));
        gone.retain(|slot| slot.partition.is_some());
        gone
    }

    /// The position of the partition of a record; `None` while there is none.
    pub(super) fn choose(&mut self, partitioner: Partitioner, record: &Record, random: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        if let Some(key) = &record.key
            && let Some(index) = partitioner.of_key(key, self.slots.len())
        {
            return Some(index);
        }
        let count = self.usable.len();
        if count == 0 {
            return None;
        }
        match partitioner {
            Partitioner::RoundRobin => {
                let chosen = self.usable.get(self.next % count).copied();
                self.next = (self.next + 1) % count;
                chosen
            }
            _ if self.sticky.is_some() => self.sticky,
            Partitioner::LeastBackup => {
                // From a random one on, so that partitions that are equal are equally likely to be chosen.
                let start = usize::try_from(random % count as u64).unwrap_or(0);
                let (head, tail) = self.usable.split_at(start);
                let waiting = |i: &&usize| {
                    self.slots.get(**i).and_then(|s| s.partition.as_deref()).map_or(0, Partition::record_count)
                };
                self.sticky = tail.iter().chain(head).min_by_key(waiting).copied();
                self.sticky
            }
            Partitioner::StickySaramaCompatible | Partitioner::StickyMurmur2 => {
                self.sticky = self.usable.get(usize::try_from(random % count as u64).unwrap_or(0)).copied();
                self.sticky
            }
        }
    }

    /// A batch of this partition is complete: records without a key go to another one.
    pub(super) fn end_batch(&mut self, slot: usize) {
        if self.sticky == Some(slot) {
            self.sticky = None;
        }
    }
}
