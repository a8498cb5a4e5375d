//! The records of one partition in the answer to a fetch request.
//!
//! An answer has whole batches, the first of which may begin before the offset that was asked for, and at its end a part of one. What is
//! read takes a bounded number of bytes: the rest is fetched again.

use super::{BatchError, BatchHeader, Compression, Record};
use crate::wire::WireError;

/// The most bytes of the records of one batch.
const MAX_BATCH_BYTES: usize = 64 << 20;
/// The most records that are returned at once: what the caller does for each of them is a part of one turn.
const MAX_RECORDS: usize = 32_768;

/// A record and its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// The epoch of the leader that wrote it; -1 if it is not known.
    pub leader_epoch: i32,
    /// The record.
    pub record: Record,
}

/// Records and bytes of the batches of one coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchCounts {
    /// How they are compressed.
    pub compression: Compression,
    /// Records, also those before the offset that was asked for.
    pub records: u64,
    /// Bytes as they were fetched.
    pub compressed_bytes: u64,
    /// Bytes without compression.
    pub plain_bytes: u64,
}

/// What was read of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedRecords {
    /// In the order of their offsets, which grow.
    pub records: Vec<FetchedRecord>,
    /// What is fetched next.
    pub next_offset: i64,
    /// The epoch of the last batch; -1 if it is not known.
    pub leader_epoch: i32,
    /// By coding.
    pub counts: Vec<BatchCounts>,
    /// Bytes of all records without compression.
    pub plain_bytes: usize,
}

/// Reads records from the offset `from` on, until they have `limit` bytes or more, and not more than 32,768 of them. Where a batch can't be read, what is before it counts.
///
/// # Errors
/// The batch at `next_offset` can't be read, and nothing is before it.
pub fn decode_fetched(bytes: &[u8], from: i64, limit: usize) -> Result<FetchedRecords, BatchError> {
    let mut out = FetchedRecords { next_offset: from, leader_epoch: -1, ..FetchedRecords::default() };
    let mut rest = bytes;
    while !rest.is_empty() && out.plain_bytes < limit && out.records.len() < MAX_RECORDS {
        match add_batch(rest, from, &mut out) {
            Ok(after) => rest = after,
            // The end of the answer.
            Err(BatchError::Wire(WireError::UnexpectedEnd)) if out.next_offset > from => break,
            Err(error) if out.next_offset == from => return Err(error),
            Err(_) => break,
        }
    }
    // The batch of the first one that is too many is fetched again.
    if let Some(first) = out.records.get(MAX_RECORDS) {
        out.next_offset = first.offset;
        out.records.truncate(MAX_RECORDS);
        out.leader_epoch = out.records.last().map_or(-1, |last| last.leader_epoch);
    }
    Ok(out)
}

/// Adds the batch at the beginning of `bytes`; returns what is behind it.
fn add_batch<'a>(bytes: &'a [u8], from: i64, out: &mut FetchedRecords) -> Result<&'a [u8], BatchError> {
    let (header, content, rest) = BatchHeader::read(bytes)?;
    let end = header.base_offset.checked_add(i64::from(header.last_offset_delta)).and_then(|last| last.checked_add(1));
    let end = end.filter(|_| header.base_offset >= 0 && header.last_offset_delta >= 0).ok_or(WireError::BadLength)?;
    if !header.is_control && end > out.next_offset {
        let (records, plain_bytes) = header.read_records(content, MAX_BATCH_BYTES)?;
        let count = records.len() as u64;
        let (first, mut last) = (out.records.len(), -1);
        for (delta, mut record) in records {
            if delta <= last || delta > header.last_offset_delta {
                out.records.truncate(first);
                return Err(WireError::BadLength.into());
            }
            last = delta;
            let offset = header.base_offset + i64::from(delta);
            if header.has_append_time {
                record.timestamp_ms = header.max_timestamp;
            }
            if offset >= from.max(out.next_offset) {
                out.records.push(FetchedRecord { offset, leader_epoch: header.leader_epoch, record });
            }
        }
        out.plain_bytes += plain_bytes;
        add_counts(out, header.compression, count, bytes.len() - rest.len(), plain_bytes);
    }
    if end > out.next_offset {
        out.next_offset = end;
        out.leader_epoch = header.leader_epoch;
    }
    Ok(rest)
}

fn add_counts(out: &mut FetchedRecords, compression: Compression, records: u64, compressed: usize, plain: usize) {
    let at = out.counts.iter().position(|counts| counts.compression == compression).unwrap_or(out.counts.len());
    if at == out.counts.len() {
        out.counts.push(BatchCounts { compression, records: 0, compressed_bytes: 0, plain_bytes: 0 });
    }
    if let Some(counts) = out.counts.get_mut(at) {
        counts.records += records;
        counts.compressed_bytes += compressed as u64;
        counts.plain_bytes += plain as u64;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{BatchOptions, encode};
    use super::*;
    use crate::messages::ProducerId;

    /// A batch with these values from an offset on.
    fn batch(base_offset: i64, values: &[&str], compression: Compression) -> Vec<u8> {
        let record = |value: &&str| Record { value: Bytes::copy_from_slice(value.as_bytes()), ..Record::default() };
        let records: Vec<Record> = values.iter().map(record).collect();
        let options = BatchOptions { compression, level: None, producer: ProducerId::NONE, first_sequence: -1 };
        let mut bytes = encode(&records, options).to_vec();
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    /// Marks a batch as one of Kafka itself.
    fn control(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[22] |= 0x20;
        let checksum = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn offsets(fetched: &FetchedRecords) -> Vec<i64> {
        fetched.records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn records_before_the_offset_and_those_of_kafka_itself_are_left_out() {
        for compression in Compression::ALL {
            let mut bytes = batch(10, &["a", "b", "c"], compression);
            bytes.extend(control(batch(13, &["marker"], Compression::None)));
            bytes.extend(batch(20, &["d"], compression));
            let fetched = decode_fetched(&bytes, 11, 1 << 20).unwrap();
            assert_eq!((offsets(&fetched), fetched.next_offset), (vec![11, 12, 20], 21));
            assert_eq!((fetched.counts.len(), fetched.counts[0].records), (1, 4));
        }
    }

    #[test]
    fn part_of_a_batch_at_the_end_is_left_for_the_next_answer() {
        let mut bytes = batch(0, &["a", "b"], Compression::None);
        bytes.extend(&batch(2, &["c"], Compression::None)[..30]);
        let fetched = decode_fetched(&bytes, 0, 1 << 20).unwrap();
        assert_eq!((offsets(&fetched), fetched.next_offset), (vec![0, 1], 2));
        assert!(decode_fetched(&bytes[..30], 0, 1 << 20).is_err());
    }

    #[test]
    fn reading_ends_behind_the_batch_that_reaches_the_limit() {
        let long = "x".repeat(1000);
        let bytes: Vec<u8> = (0..5).flat_map(|n| batch(n, &[&long], Compression::Zstd)).collect();
        let fetched = decode_fetched(&bytes, 0, 1500).unwrap();
        assert_eq!((offsets(&fetched), fetched.next_offset), (vec![0, 1], 2));
    }

    #[test]
    fn batch_that_can_not_be_read_does_not_hide_those_before_it() {
        let mut bad = batch(2, &["c"], Compression::None);
        *bad.last_mut().unwrap() ^= 1;
        let mut bytes = batch(0, &["a", "b"], Compression::None);
        bytes.extend(&bad);
        assert_eq!(decode_fetched(&bytes, 0, 1 << 20).unwrap().next_offset, 2);
        assert_eq!(decode_fetched(&bad, 2, 1 << 20), Err(BatchError::Checksum));
    }

    #[test]
    fn batch_with_very_many_records_is_returned_in_pieces() {
        let values = vec!["x"; MAX_RECORDS + 10];
        let bytes = batch(0, &values, Compression::Lz4);
        let first = decode_fetched(&bytes, 0, 64 << 20).unwrap();
        assert_eq!((first.records.len(), first.next_offset), (MAX_RECORDS, MAX_RECORDS as i64));
        let second = decode_fetched(&bytes, first.next_offset, 64 << 20).unwrap();
        assert_eq!((second.records.len(), second.next_offset), (10, MAX_RECORDS as i64 + 10));
    }

    #[test]
    fn offsets_that_do_not_grow_are_refused() {
        for (at, value) in [(0..8, &(-5_i64).to_be_bytes()[..]), (0..8, &i64::MAX.to_be_bytes()[..])] {
            let mut bytes = batch(0, &["a", "b"], Compression::None);
            bytes[at].copy_from_slice(value);
            assert!(decode_fetched(&bytes, 0, 1 << 20).is_err());
        }
        // The last offset is before that of the second record.
        let mut bytes = batch(0, &["a", "b"], Compression::None);
        bytes[23..27].copy_from_slice(&0_i32.to_be_bytes());
        let checksum = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        assert!(decode_fetched(&bytes, 0, 1 << 20).is_err());
    }
}
