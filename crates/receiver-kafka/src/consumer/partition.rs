//! A partition that this receiver reads: its records in order, and what of them is on its way.

use std::collections::VecDeque;
use std::sync::Arc;

use otelcore_kafka_client::{FetchedRecord, FetchedRecords};
use otelcore_pipeline::{Held, Metadata};

use crate::metrics::PartitionMetrics;
use crate::window::Window;

pub(super) struct PartitionState {
    pub(super) topic: Arc<str>,
    pub(super) index: i32,
    pub(super) waiting: VecDeque<FetchedRecord>,
    /// About how many bytes `waiting` has, and the charge for them.
    waiting_bytes: u64,
    held: Held,
    /// The last offset of what was fetched, which is not of a record, and its epoch: it is done with after the records.
    tail: Option<(i64, i32)>,
    pub(super) window: Window,
    pub(super) high_watermark: i64,
    /// A job decodes records of it.
    pub(super) is_decoding: bool,
    /// It is given up: nothing more is sent.
    pub(super) is_stopped: bool,
    /// A message can't be processed, and is not to be skipped.
    pub(super) is_blocked: bool,
    pub(super) on_their_way: usize,
    pub(super) metrics: PartitionMetrics,
}

impl PartitionState {
    pub(super) fn new(topic: Arc<str>, index: i32, metrics: PartitionMetrics) -> Self {
        Self {
            topic,
            index,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: Held::default(),
            tail: None,
            window: Window::default(),
            high_watermark: 0,
            is_decoding: false,
            is_stopped: false,
            is_blocked: false,
            on_their_way: 0,
            metrics,
        }
    }

    /// Takes over what was fetched; returns about how many bytes it has. Nothing waits before.
    pub(super) fn fill(&mut self, fetched: FetchedRecords, held: Held) -> u64 {
        let last = fetched.records.last().map(|last| last.offset);
        // What is behind the last record is not for members.
        let has_tail = last.is_none_or(|last| last.saturating_add(1) < fetched.next_offset);
        self.tail = has_tail.then_some((fetched.next_offset.saturating_sub(1), fetched.leader_epoch));
        self.waiting = fetched.records.into();
        self.waiting_bytes = fetched.plain_bytes as u64;
        self.held = held;
        self.waiting_bytes
    }

    /// Takes some of the records that wait for a job; returns them and about how many bytes they have.
    pub(super) fn take(&mut self, most: usize, most_bytes: usize) -> (Vec<FetchedRecord>, u64) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front()
            && taken.len() < most
            && (taken.is_empty() || bytes + next.record.value.len() <= most_bytes)
        {
            bytes += next.record.encoded_len();
            self.window.begin(next.offset, next.leader_epoch);
            taken.extend(self.waiting.pop_front());
        }
        let bytes = if self.waiting.is_empty() { self.waiting_bytes } else { self.waiting_bytes.min(bytes as u64) };
        self.waiting_bytes -= bytes;
        if self.waiting.is_empty() {
            self.held = Held::default();
        }
        (taken, bytes)
    }

    /// Puts records back in front of those that wait.
    pub(super) fn put_back(&mut self, records: Vec<FetchedRecord>, bytes: u64) {
        records.into_iter().rev().for_each(|record| self.waiting.push_front(record));
        self.waiting_bytes += bytes;
    }

    /// What is done with after the last record that waited.
    pub(super) fn take_tail(&mut self) -> Option<i64> {
        let (offset, epoch) = self.tail.take()?;
        self.window.begin(offset, epoch);
        Some(offset)
    }

    /// Drops the records that wait; returns their bytes.
    pub(super) fn clear(&mut self) -> u64 {
        (self.waiting, self.tail, self.held) = (VecDeque::new(), None, Held::default());
        std::mem::take(&mut self.waiting_bytes)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.on_their_way == 0 && !self.is_decoding
    }

    /// The metadata of a message: where it was, and its headers.
    pub(super) fn metadata(&self, record: &FetchedRecord) -> Metadata {
        let mut metadata = Metadata::of_client(None);
        metadata.add("kafka.topic", &self.topic);
        metadata.add("kafka.partition", &self.index.to_string());
        metadata.add("kafka.offset", &record.offset.to_string());
        for header in record.record.headers.iter() {
            metadata.add(&header.key, &String::from_utf8_lossy(&header.value));
        }
        metadata
    }
}
