//! A partition that this receiver reads: its records in order, and what of them is on its way.

use std::collections::VecDeque;
use std::sync::Arc;

use otelcore_kafka_client::Record;
use otelcore_pipeline::{Held, Metadata};

use crate::metrics::PartitionMetrics;
use crate::window::Window;

/// A record that waits to be decoded.
pub(super) struct BufferedRecord {
    pub(super) offset: i64,
    pub(super) record: Record,
    /// The charge for it, until it is dropped.
    pub(super) _held: Held,
    pub(super) bytes: u64,
}

pub(super) struct PartitionState {
    pub(super) topic: Arc<str>,
    pub(super) index: i32,
    pub(super) waiting: VecDeque<BufferedRecord>,
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
            window: Window::default(),
            high_watermark: 0,
            is_decoding: false,
            is_stopped: false,
            is_blocked: false,
            on_their_way: 0,
            metrics,
        }
    }

    /// Drops the records that wait; returns their bytes.
    pub(super) fn clear(&mut self) -> u64 {
        std::mem::take(&mut self.waiting).iter().map(|buffered| buffered.bytes).sum()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.on_their_way == 0 && !self.is_decoding
    }

    /// The metadata of a message: where it was, and its headers.
    pub(super) fn metadata(&self, record: &BufferedRecord) -> Metadata {
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
