//! The bytes of headers and records.
//!
//! Owns the format and its checksums. Performs no IO. All numbers are little-endian.
//!
//! ```text
//! header of a file, 128 bytes           record, a multiple of 8 bytes
//!  0 magic          8                    0 magic            4
//!  8 version        4                    4 header checksum  4  position, bytes 8 to 48
//! 12 checksum       4  all other bytes   8 sequence         8
//! 16 log            16                  16 context length   4
//! 32 number         8                   20 body length      4
//! 40 first sequence 8                   24 items            4
//! 48 previous end   8                   28 kind             1
//! 56 previous used  4                   29 flags            1
//! 60 previous items 4                   30 zero             2
//! 64 previous number 8                  32 payload checksum 4  position, context, body
//! 72 previous torn  8                   36 index in group   4
//! 80 zero           48                  40 time             8
//! mark, 32 bytes                        48 context, body, zeros
//!  0 magic          4
//!  4 checksum       4  position, bytes 8 to 32
//!  8 start          8
//! 16 end            8
//! 24 zero           8
//! ```
//!
//! The checksum is CRC-32C. That of a record or a mark begins with its position: identity of the log, number of the file,
//! offset. So bytes that a disk has written to another place, or that an earlier file has left, are no record.

use bytes::Bytes;
use otelcore_pipeline::WallTime;

use crate::faults::{Fault, is_planted};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const HEADER_BYTES: usize = 128;
pub(crate) const RECORD_HEADER_BYTES: usize = 48;
pub(crate) const MARK_BYTES: usize = 32;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"otelseg\0";
pub(crate) const IDENTITY_MAGIC: [u8; 8] = *b"otellog\0";
pub(crate) const MARKS_MAGIC: [u8; 8] = *b"otelmrk\0";
const RECORD_MAGIC: [u8; 4] = *b"oRec";
const MARK_MAGIC: [u8; 4] = *b"oMrk";

/// The record is in `dead/`, and its context begins with a reason.
pub(crate) const FLAG_DEAD: u8 = 1;

/// What a record says about its body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordMeta {
    /// Which message the body is; the caller's number.
    pub kind: u8,
    /// How many items are in it.
    pub items: u32,
    /// When it was received.
    pub time: WallTime,
    /// What else the caller needs to know about it.
    pub context: Bytes,
}

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its number. Later records have larger ones; not every number has a record.
    pub sequence: u64,
    /// What was said about it.
    pub meta: RecordMeta,
    /// Its body.
    pub body: Bytes,
}

/// The header of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FileHeader {
    pub(crate) log: [u8; 16],
    pub(crate) number: u64,
    /// The sequence of the first record.
    pub(crate) first: u64,
    /// The sequence after the last durable record of the segment before.
    pub(crate) previous_end: u64,
    /// How many bytes of the segment before are durable.
    pub(crate) previous_used: u32,
    /// How many items are in them.
    pub(crate) previous_items: u32,
    /// The number of that segment. Those between hold nothing that is durable.
    pub(crate) previous_number: u64,
    /// The sequence from which its records may be what a crash has left; zero for none.
    pub(crate) previous_torn_from: u64,
}

#[cfg(test)]
pub(crate) fn set_version(bytes: &mut [u8], version: u32) {
    put(bytes, 8, &version.to_le_bytes());
    let checksum = bytes.first_chunk().map_or(0, file_checksum);
    put(bytes, 12, &checksum.to_le_bytes());
}

/// What the first bytes of a file are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FoundHeader {
    Valid(FileHeader),
    OtherVersion(u32),
    Zeros,
    Bad,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn file_checksum(bytes: &[u8; HEADER_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

impl FileHeader {
    pub(crate) fn encode(&self, magic: [u8; 8]) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, 0, &magic);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.log);
        put(&mut bytes, 32, &self.number.to_le_bytes());
        put(&mut bytes, 40, &self.first.to_le_bytes());
        put(&mut bytes, 48, &self.previous_end.to_le_bytes());
        put(&mut bytes, 56, &self.previous_used.to_le_bytes());
        put(&mut bytes, 60, &self.previous_items.to_le_bytes());
        put(&mut bytes, 64, &self.previous_number.to_le_bytes());
        put(&mut bytes, 72, &self.previous_torn_from.to_le_bytes());
        let checksum = file_checksum(&bytes);
        put(&mut bytes, 12, &checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], magic: [u8; 8]) -> FoundHeader {
        if bytes.iter().take(HEADER_BYTES).all(|b| *b == 0) {
            return FoundHeader::Zeros;
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return FoundHeader::Bad };
        if bytes[..8] != magic {
            return FoundHeader::Bad;
        }
        // The begin of the header and its checksum are the same in every version, so that a torn header is not taken
        // for one of another version.
        if u32_at(bytes, 12) != file_checksum(bytes) && !is_planted(Fault::TrustTornHeader) {
            return FoundHeader::Bad;
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return FoundHeader::OtherVersion(version);
        }
        let mut log = [0; 16];
        log.copy_from_slice(&bytes[16..32]);
        FoundHeader::Valid(Self {
            log,
            number: u64_at(bytes, 32),
            first: u64_at(bytes, 40),
            previous_end: u64_at(bytes, 48),
            previous_used: u32_at(bytes, 56),
            previous_items: u32_at(bytes, 60),
            previous_number: u64_at(bytes, 64),
            previous_torn_from: u64_at(bytes, 72),
        })
    }
}

/// Which file of which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileKey {
    pub(crate) log: [u8; 16],
    pub(crate) number: u64,
}

/// Added to the numbers of segments in `dead/`, so that their records are not valid elsewhere.
pub(crate) const DEAD_NUMBERS: u64 = 1 << 62;

/// Added to the numbers of `delivered.log`.
pub(crate) const MARKS_NUMBERS: u64 = 1 << 63;

impl FileKey {
    fn position_checksum(&self, offset: u64) -> u32 {
        if is_planted(Fault::ChecksumWithoutPosition) {
            return 0;
        }
        let checksum = crc32c::crc32c(&self.log);
        let checksum = crc32c::crc32c_append(checksum, &self.number.to_le_bytes());
        crc32c::crc32c_append(checksum, &offset.to_le_bytes())
    }

    fn payload_checksum(&self, offset: u64, parts: &[&[u8]]) -> u32 {
        parts.iter().fold(self.position_checksum(offset), |checksum, part| crc32c::crc32c_append(checksum, part))
    }
}

/// The header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RecordHeader {
    pub(crate) sequence: u64,
    pub(crate) context_length: u32,
    pub(crate) body_length: u32,
    pub(crate) items: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) payload_checksum: u32,
    /// How many records of its group are before it.
    pub(crate) index_in_group: u32,
    pub(crate) time: u64,
}

/// How many bytes a record takes in a segment.
pub(crate) fn record_length(context: usize, body: usize) -> u64 {
    (RECORD_HEADER_BYTES as u64 + context as u64 + body as u64).next_multiple_of(8)
}

impl RecordHeader {
    pub(crate) fn length(&self) -> u64 {
        record_length(self.context_length as usize, self.body_length as usize)
    }

    /// Where context and body end, from the begin of the record.
    pub(crate) fn payload_end(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.context_length) + u64::from(self.body_length)
    }

    /// The bytes of the header of a record with this content at `offset`. The lengths and the checksum are set.
    pub(crate) fn encode(
        mut self,
        key: &FileKey,
        offset: u64,
        context: &[u8],
        body: &[u8],
    ) -> [u8; RECORD_HEADER_BYTES] {
        self.context_length = u32::try_from(context.len()).unwrap_or(u32::MAX);
        self.body_length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.payload_checksum = key.payload_checksum(offset, &[context, body]);
        let mut bytes = [0; RECORD_HEADER_BYTES];
        put(&mut bytes, 0, &RECORD_MAGIC);
        put(&mut bytes, 8, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.context_length.to_le_bytes());
        put(&mut bytes, 20, &self.body_length.to_le_bytes());
        put(&mut bytes, 24, &self.items.to_le_bytes());
        put(&mut bytes, 28, &[self.kind, self.flags]);
        put(&mut bytes, 32, &self.payload_checksum.to_le_bytes());
        put(&mut bytes, 36, &self.index_in_group.to_le_bytes());
        put(&mut bytes, 40, &self.time.to_le_bytes());
        let checksum = crc32c::crc32c_append(key.position_checksum(offset), &bytes[8..]);
        put(&mut bytes, 4, &checksum.to_le_bytes());
        bytes
    }

    /// The header at `offset`, if there is one. Constant time.
    pub(crate) fn decode(bytes: &[u8], key: &FileKey, offset: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<RECORD_HEADER_BYTES>()?;
        if bytes[..4] != RECORD_MAGIC {
            return None;
        }
        let checksum = crc32c::crc32c_append(key.position_checksum(offset), &bytes[8..]);
        if u32_at(bytes, 4) != checksum {
            return None;
        }
        Some(Self {
            sequence: u64_at(bytes, 8),
            context_length: u32_at(bytes, 16),
            body_length: u32_at(bytes, 20),
            items: u32_at(bytes, 24),
            kind: bytes[28],
            flags: bytes[29],
            payload_checksum: u32_at(bytes, 32),
            index_in_group: u32_at(bytes, 36),
            time: u64_at(bytes, 40),
        })
    }

    /// Whether these are the bytes of context and body.
    pub(crate) fn has_payload(&self, key: &FileKey, offset: u64, payload: &[u8]) -> bool {
        is_planted(Fault::IgnorePayloadChecksum) || key.payload_checksum(offset, &[payload]) == self.payload_checksum
    }
}

/// The bytes of a mark at `offset`: the sequences from `start` to below `end` are delivered.
pub(crate) fn encode_mark(key: &FileKey, offset: u64, start: u64, end: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    put(&mut bytes, 0, &MARK_MAGIC);
    put(&mut bytes, 8, &start.to_le_bytes());
    put(&mut bytes, 16, &end.to_le_bytes());
    let checksum = crc32c::crc32c_append(key.position_checksum(offset), &bytes[8..]);
    put(&mut bytes, 4, &checksum.to_le_bytes());
    bytes
}

/// The mark at `offset`, if there is one.
pub(crate) fn decode_mark(bytes: &[u8], key: &FileKey, offset: u64) -> Option<(u64, u64)> {
    let bytes = bytes.first_chunk::<MARK_BYTES>()?;
    let checksum = crc32c::crc32c_append(key.position_checksum(offset), &bytes[8..]);
    let is_valid = bytes[..4] == MARK_MAGIC && u32_at(bytes, 4) == checksum;
    (is_valid || is_planted(Fault::IgnoreMarkChecksum)).then(|| (u64_at(bytes, 8), u64_at(bytes, 16)))
}
