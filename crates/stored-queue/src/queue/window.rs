//! The records that are in memory: given to the exporter, or ready to be.
//!
//! Owns them and their sizes. Knows nothing of the disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use otelcore_pipeline::{Held, Payload, WallTime};
use otelcore_storage::RecordMeta;

/// How many bytes are in memory at most, together with [`RECORD_OVERHEAD`] for each record. One record may be larger.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// How many records are in memory at most: a shutdown may end all of them in one turn.
const MAX_RECORDS: usize = 16_384;

/// What a record takes in memory besides its body, roughly.
const RECORD_OVERHEAD: u64 = 512;

#[derive(Debug)]
struct WindowRecord {
    meta: RecordMeta,
    body: Bytes,
    /// The charge for the body, which the exporter may release earlier.
    _held: Held,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    records: BTreeMap<u64, WindowRecord>,
    bytes: u64,
    /// Those that are not given out.
    ready: VecDeque<(u64, Payload)>,
}

fn size_of(body: &Bytes) -> u64 {
    (body.len() as u64).saturating_add(RECORD_OVERHEAD)
}

impl Window {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.records.contains_key(&sequence)
    }

    /// Whether a record with this body fits.
    pub(super) fn has_room(&self, body: &Bytes, limit: u64) -> bool {
        self.records.is_empty()
            || (self.records.len() < MAX_RECORDS && self.bytes.saturating_add(size_of(body)) <= limit)
    }

    /// Whether more is to be read: a read is worth it when half of the window is free.
    pub(super) fn wants_more(&self, limit: u64) -> bool {
        self.records.is_empty() || (self.records.len() < MAX_RECORDS / 2 && self.bytes <= limit / 2)
    }

    pub(super) fn insert(&mut self, sequence: u64, meta: RecordMeta, body: Bytes, payload: Payload) {
        self.bytes = self.bytes.saturating_add(size_of(&body));
        self.records.insert(sequence, WindowRecord { meta, body, _held: payload.held.clone() });
        self.ready.push_back((sequence, payload));
    }

    pub(super) fn poll_ready(&mut self) -> Option<(u64, Payload)> {
        self.ready.pop_front()
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<(RecordMeta, Bytes)> {
        let WindowRecord { meta, body, .. } = self.records.remove(&sequence)?;
        self.bytes = self.bytes.saturating_sub(size_of(&body));
        Some((meta, body))
    }

    /// When the oldest record was received.
    pub(super) fn oldest(&self) -> Option<WallTime> {
        self.records.first_key_value().map(|(_, record)| record.meta.time)
    }
}
