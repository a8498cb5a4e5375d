//! From waiting records to batches: which partition is sent when, and what is in its batch.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use otelcore_pipeline::{Cx, MonotonicTime};

use super::topics::{Batch, Partition, Phase, Queued, Slot, SlotKey};
use super::{Producer, SendError};
use crate::messages::ProducerId;
use crate::record_batch::{self, BatchOptions, Compression, MAX_BATCH_OVERHEAD, Record};

/// A batch up to this size is encoded at once, a longer one on a helper thread. Compression takes up to 30 ms for a mebibyte.
const MAX_INLINE: usize = 1 << 20;
const MAX_INLINE_COMPRESSED: usize = 32 << 10;
/// The shortest and the longest pause before a batch is sent again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

impl Producer {
    pub(super) fn partition_mut(&mut self, (topic, index): SlotKey) -> Option<&mut Partition> {
        self.topics.get_mut(&topic)?.slot_mut(index)?.partition.as_deref_mut()
    }

    /// Gives the records of a topic that wait for its metadata to its partitions.
    pub(super) fn assign_waiting(&mut self, cx: &mut Cx<'_>, id: u32) {
        let partitioner = self.config.partitioner;
        let max_records = self.config.max_request_records;
        let max_bytes = self.config.max_batch_bytes;
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let mut touched = Vec::new();
        while let Some(queued) = topic.waiting.pop_front() {
            let Some(position) = topic.choose(partitioner, &queued.record, cx.random()) else {
                topic.waiting.push_front(queued);
                self.metadata.is_needed = true;
                break;
            };
            let Some(slot) = topic.slots.get_mut(position) else { break };
            let index = slot.index;
            let partition = slot.partition.get_or_insert_default();
            if partition.queue.is_empty()
                || partition.queue.len() % max_records == 0
                || partition.queued_bytes >= max_bytes
            {
                touched.push(index);
            }
            partition.queued_bytes += queued.record.encoded_len();
            partition.queue.push_back(queued);
            if partition.queue.len() >= max_records || partition.queued_bytes >= max_bytes {
                topic.end_batch(position);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for index in touched {
            self.schedule(cx.now(), (id, index));
        }
    }

    /// Puts a partition where it belongs among those with something to send.
    pub(super) fn schedule(&mut self, now: MonotonicTime, key: SlotKey) {
        let (linger, max_records, max_bytes) =
            (self.config.linger, self.config.max_request_records, self.config.max_batch_bytes);
        let Some(slot) = self.topics.get_mut(&key.0).and_then(|topic| topic.slot_mut(key.1)) else { return };
        let leader = slot.leader;
        let Some(partition) = slot.partition.as_deref_mut() else { return };
        let at = match (&partition.phase, &partition.batch, partition.queue.front()) {
            (Phase::Idle, Some(_), _) => Some(partition.retry_at),
            (Phase::Idle, None, Some(first)) => {
                let is_full = partition.queue.len() >= max_records || partition.queued_bytes >= max_bytes;
                let at = if is_full || first.is_alone { MonotonicTime(0) } else { first.at + linger };
                Some(at.max(partition.retry_at))
            }
            _ => None,
        };
        let wanted = leader.zip(at);
        let is_leaderless = at.is_some() && leader.is_none();
        if partition.scheduled != wanted {
            if let Some((node, at)) = std::mem::replace(&mut partition.scheduled, wanted) {
                self.set_due(node, |due| due.remove(&(at, key)));
            }
            if let Some((node, at)) = wanted {
                self.set_due(node, |due| due.insert((at, key)));
                if at <= now {
                    self.pending_nodes.insert(node);
                }
            }
        }
        if is_leaderless {
            self.metadata.is_needed = true;
        }
    }

    fn set_due(&mut self, node: i32, change: impl FnOnce(&mut BTreeSet<(MonotonicTime, SlotKey)>) -> bool) {
        let due = self.due.entry(node).or_default();
        let before = due.first().map(|(at, _)| *at);
        change(due);
        let after = due.first().map(|(at, _)| *at);
        if due.is_empty() {
            self.due.remove(&node);
        }
        if before != after {
            before.map(|at| self.due_nodes.remove(&(at, node)));
        }
        after.map(|at| self.due_nodes.insert((at, node)));
    }

    /// The next partition of a broker that is due, which is not scheduled any more.
    pub(super) fn pop_due(&mut self, node: i32, now: MonotonicTime) -> Option<SlotKey> {
        let (at, key) = *self.due.get(&node)?.first().filter(|(at, _)| *at <= now)?;
        self.set_due(node, |due| due.remove(&(at, key)));
        if let Some(partition) = self.partition_mut(key) {
            partition.scheduled = None;
        }
        Some(key)
    }

    /// Whether a broker has partitions that are due.
    pub(super) fn has_due(&self, node: i32, now: MonotonicTime) -> bool {
        self.due.get(&node).and_then(|due| due.first()).is_some_and(|(at, _)| *at <= now)
    }

    /// The batch of a partition, made of its records if there is none. `None` while it is being encoded, and if nothing is left to send.
    pub(super) fn take_batch(&mut self, cx: &mut Cx<'_>, key: SlotKey) -> Option<Bytes> {
        let calls = &self.calls;
        let partition = self.topics.get_mut(&key.0)?.slot_mut(key.1)?.partition.as_deref_mut()?;
        if !matches!(partition.phase, Phase::Idle) {
            return None;
        }
        if let Some(batch) = &partition.batch {
            if batch.records.iter().any(|record| calls.contains_key(&record.call)) {
                return Some(batch.bytes.clone());
            }
            self.drop_batch(key);
        }
        let producer = if self.config.is_idempotent() { self.producer_id? } else { ProducerId::NONE };
        let records = self.take_records(key);
        if records.is_empty() {
            return None;
        }
        let (compression, level) = (self.config.compression, self.config.compression_level);
        let partition = self.partition_mut(key)?;
        if partition.producer != producer {
            (partition.producer, partition.next_sequence) = (producer, 0);
        }
        let first_sequence = if producer == ProducerId::NONE { -1 } else { partition.next_sequence };
        if producer != ProducerId::NONE {
            let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
            partition.next_sequence = partition.next_sequence.wrapping_add(count) & i32::MAX;
        }
        let options = BatchOptions { compression, level, producer, first_sequence };
        let size: usize = records.iter().map(|queued| queued.record.encoded_len()).sum();
        let plain: Vec<Record> = records.iter().map(|queued| queued.record.clone()).collect();
        if size > if compression == Compression::None { MAX_INLINE } else { MAX_INLINE_COMPRESSED } {
            let job_key = self.next_job_key;
            self.next_job_key += 1;
            let job = cx.run_job(job_key, move || record_batch::encode(&plain, options));
            self.jobs.insert(job_key, key);
            self.partition_mut(key)?.phase = Phase::Encoding(job, producer, first_sequence, records);
            return None;
        }
        let bytes = record_batch::encode(&plain, options);
        let batch = Batch { bytes: bytes.clone(), records, producer, first_sequence, may_be_written: false };
        self.partition_mut(key)?.batch = Some(batch);
        Some(bytes)
    }

    /// The records of the next batch of a partition, without those whose calls have ended.
    fn take_records(&mut self, (topic, index): SlotKey) -> Vec<Queued> {
        let max_bytes = self.config.max_batch_bytes.saturating_sub(MAX_BATCH_OVERHEAD);
        let max_records = self.config.max_request_records;
        let mut records = Vec::new();
        let mut bytes = 0;
        let Some(topic) = self.topics.get_mut(&topic) else { return records };
        let Ok(position) = topic.slots.binary_search_by_key(&index, |slot| slot.index) else { return records };
        let partition = topic.slots.get_mut(position).and_then(|slot| slot.partition.as_deref_mut());
        let Some(partition) = partition else { return records };
        while let Some(first) = partition.queue.front() {
            let len = first.record.encoded_len();
            let is_alive = self.calls.contains_key(&first.call);
            let is_first = records.is_empty();
            if is_alive && !is_first && (first.is_alone || bytes + len > max_bytes || records.len() >= max_records) {
                break;
            }
            let is_alone = first.is_alone;
            let Some(queued) = partition.queue.pop_front() else { break };
            partition.queued_bytes = partition.queued_bytes.saturating_sub(len);
            self.queued_bytes = self.queued_bytes.saturating_sub(len);
            if !is_alive {
                self.dead_bytes = self.dead_bytes.saturating_sub(len);
                continue;
            }
            bytes += len;
            records.push(queued);
            if is_alone {
                break;
            }
        }
        topic.end_batch(position);
        records
    }

    /// A helper thread has encoded a batch.
    pub(super) fn handle_encoded(&mut self, cx: &mut Cx<'_>, job_key: u64) {
        let Some(key) = self.jobs.remove(&job_key) else { return };
        let Some(partition) = self.partition_mut(key) else { return };
        match std::mem::replace(&mut partition.phase, Phase::Idle) {
            Phase::Encoding(job, producer, first_sequence, records) => match job.take() {
                Some(bytes) => {
                    partition.batch = Some(Batch { bytes, records, producer, first_sequence, may_be_written: false });
                }
                None => {
                    if producer == partition.producer {
                        partition.next_sequence = first_sequence;
                    }
                    let error = SendError::Refused("the batch could not be encoded".to_owned());
                    records.iter().for_each(|queued| self.finish_record(queued.call, Err(error.clone())));
                }
            },
            // The job is of a partition that was removed and has come back.
            other => partition.phase = other,
        }
        self.schedule(cx.now(), key);
    }

    /// Gives a batch up whose calls have all ended.
    fn drop_batch(&mut self, key: SlotKey) {
        let Some(partition) = self.partition_mut(key) else { return };
        let Some(batch) = partition.batch.take() else { return };
        if batch.producer != partition.producer || batch.producer == ProducerId::NONE {
            return;
        }
        if batch.may_be_written {
            // Which sequence number the broker expects is not known.
            self.forget_producer_id(batch.producer);
        } else {
            partition.next_sequence = batch.first_sequence;
        }
    }

    /// The records of a batch wait again, in front of the others.
    pub(super) fn put_back(&mut self, key: SlotKey, is_alone: bool) {
        let Some(partition) = self.partition_mut(key) else { return };
        let Some(batch) = partition.batch.take() else { return };
        if batch.producer == partition.producer && batch.producer != ProducerId::NONE {
            partition.next_sequence = batch.first_sequence;
        }
        let mut bytes = 0;
        for mut queued in batch.records.into_iter().rev() {
            bytes += queued.record.encoded_len();
            queued.is_alone |= is_alone;
            partition.queue.push_front(queued);
        }
        partition.queued_bytes += bytes;
        self.queued_bytes += bytes;
    }

    /// Ends the batch of a partition with one result for all its records.
    pub(super) fn finish_batch(&mut self, key: SlotKey, result: Result<(), SendError>) {
        let Some(partition) = self.partition_mut(key) else { return };
        let Some(batch) = partition.batch.take() else { return };
        partition.failures = 0;
        partition.retry_at = MonotonicTime(0);
        if result.is_err() && batch.producer == partition.producer && batch.producer != ProducerId::NONE {
            partition.next_sequence = batch.first_sequence;
            if batch.may_be_written {
                // Another batch with its numbers would be taken for this one.
                self.forget_producer_id(batch.producer);
            }
        }
        for queued in batch.records {
            self.finish_record(queued.call, result.clone());
        }
    }

    /// A partition is sent again after a pause.
    pub(super) fn pause(&mut self, now: MonotonicTime, key: SlotKey) {
        let Some(partition) = self.partition_mut(key) else { return };
        let (least, most) = PAUSES;
        partition.retry_at = now + (least * (1 << partition.failures.min(8))).min(most);
        partition.failures = partition.failures.saturating_add(1);
    }

    /// Removes the records whose calls have ended from all queues.
    pub(super) fn sweep(&mut self) {
        let calls = &self.calls;
        let mut left = 0;
        let mut keep = |queue: &mut VecDeque<Queued>| {
            queue.retain(|queued| calls.contains_key(&queued.call));
            let bytes: usize = queue.iter().map(|queued| queued.record.encoded_len()).sum();
            left += bytes;
            bytes
        };
        for topic in self.topics.values_mut() {
            keep(&mut topic.waiting);
            for partition in topic.slots.iter_mut().filter_map(|slot| slot.partition.as_deref_mut()) {
                partition.queued_bytes = keep(&mut partition.queue);
            }
        }
        (self.queued_bytes, self.dead_bytes) = (left, 0);
    }

    /// The records of partitions that do not exist any more fail.
    pub(super) fn fail_gone(&mut self, topic: &str, gone: Vec<Slot>) {
        let text = format!("error exporting to topic {topic:?}: a partition does not exist any more");
        for partition in gone.into_iter().filter_map(|slot| slot.partition) {
            let of_phase = if let Phase::Encoding(_, _, _, records) = partition.phase { records } else { Vec::new() };
            let of_batch = partition.batch.map(|batch| batch.records).unwrap_or_default();
            self.queued_bytes = self.queued_bytes.saturating_sub(partition.queued_bytes);
            for queued in partition.queue.into_iter().chain(of_phase).chain(of_batch) {
                self.finish_record(queued.call, Err(SendError::Retry(text.clone())));
            }
        }
    }
}
