//! Record batches of version 2: writes and reads them; `fetched` reads those of an answer.
//!
//! A batch is a header of 61 bytes and its records, which may be compressed as a whole. The checksum, CRC-32C, covers everything from the
//! attributes on. Never sends anything.

mod fetched;

use std::sync::Arc;

use bytes::Bytes;
use otelcore_http::{Coding, Workspace};

use crate::messages::ProducerId;
use crate::wire::{Reader, WireError, put_varlong};

/// Length of the header of a batch.
pub const HEADER_LEN: usize = 61;
/// The bytes that the length of a batch does not count: the base offset and the length itself.
const LENGTH_END: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

pub use fetched::{BatchCounts, FetchedRecord, FetchedRecords, decode_fetched};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, one block.
    Snappy,
    /// LZ4's frame format.
    Lz4,
    /// Zstandard, from Kafka 2.1 on.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their numbers in a batch.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    fn coding(self) -> Coding {
        match self {
            Self::None => Coding::Identity,
            Self::Gzip => Coding::Gzip,
            Self::Snappy => Coding::Snappy,
            Self::Lz4 => Coding::Lz4,
            Self::Zstd => Coding::Zstd,
        }
    }
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// A record. Cloning shares the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// The headers, in their order.
    pub headers: Arc<[RecordHeader]>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Record {
    /// About how many bytes it takes in a batch that is not compressed.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        // Lengths, the attributes, the time and the offset take at most 10 bytes each.
        let headers: usize = self.headers.iter().map(|header| header.key.len() + header.value.len() + 10).sum();
        self.value.len() + self.key.as_ref().map_or(0, Bytes::len) + headers + MAX_RECORD_OVERHEAD
    }
}

/// More than a record has besides key, value and headers.
const MAX_RECORD_OVERHEAD: usize = 48;
/// More than a batch with one record has besides the key, the value and the headers of that record.
pub const MAX_BATCH_OVERHEAD: usize = HEADER_LEN + MAX_RECORD_OVERHEAD;

thread_local! {
    /// Codec states of the loop and of each helper thread.
    static WORKSPACE: Workspace = Workspace::new();
}

/// The header fields of a batch that its records do not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchOptions {
    pub(crate) compression: Compression,
    pub(crate) level: Option<i32>,
    pub(crate) producer: ProducerId,
    pub(crate) first_sequence: i32,
}

/// Writes a batch.
pub(crate) fn encode(records: &[Record], options: BatchOptions) -> Bytes {
    let base = records.iter().map(|record| record.timestamp_ms).min().unwrap_or(0);
    let latest = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(0);
    let estimate: usize = records.iter().map(Record::encoded_len).sum();
    let mut out = Vec::with_capacity(HEADER_LEN + estimate);
    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&[0; MAGIC_AT]);
    out.push(2);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(options.compression as i16).to_be_bytes());
    out.extend_from_slice(&count.saturating_sub(1).to_be_bytes());
    out.extend_from_slice(&base.to_be_bytes());
    out.extend_from_slice(&latest.to_be_bytes());
    out.extend_from_slice(&options.producer.id.to_be_bytes());
    out.extend_from_slice(&options.producer.epoch.to_be_bytes());
    out.extend_from_slice(&options.first_sequence.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    let mut record_bytes = Vec::with_capacity(if options.compression == Compression::None { 0 } else { estimate });
    let records_out = if options.compression == Compression::None { &mut out } else { &mut record_bytes };
    for (offset, record) in (0_i64..).zip(records) {
        put_record(records_out, record, record.timestamp_ms - base, offset);
    }
    if options.compression != Compression::None {
        let coding = options.compression.coding();
        out.extend_from_slice(&WORKSPACE.with(|w| w.compress_with_level(&coding, options.level, [&record_bytes[..]])));
    }
    // The partition leader's epoch is the broker's to write.
    let len = i32::try_from(out.len().saturating_sub(LENGTH_END)).unwrap_or(i32::MAX);
    put_at(&mut out, 8, &len.to_be_bytes());
    put_at(&mut out, 12, &(-1_i32).to_be_bytes());
    put_checksum(&mut out);
    out.into()
}

/// Writes a batch of a producer without an id, for tests and tools.
#[must_use]
pub fn encode_batch(records: &[Record], compression: Compression) -> Bytes {
    encode(records, BatchOptions { compression, level: None, producer: ProducerId::NONE, first_sequence: -1 })
}

fn put_at(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put_checksum(out: &mut [u8]) {
    let crc = crc32c::crc32c(out.get(ATTRIBUTES_AT..).unwrap_or_default());
    put_at(out, CRC_AT, &crc.to_be_bytes());
}

fn varlong_len(v: i64) -> usize {
    let bits = 64 - ((v << 1) ^ (v >> 63)).leading_zeros().min(63);
    (bits as usize).div_ceil(7)
}

fn len_of(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// The length of a text or bytes with its length in front.
fn prefixed_len(bytes: &[u8]) -> usize {
    varlong_len(len_of(bytes)) + bytes.len()
}

fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varlong(out, len_of(bytes));
    out.extend_from_slice(bytes);
}

fn put_record(out: &mut Vec<u8>, record: &Record, timestamp_delta: i64, offset_delta: i64) {
    let header_count = i64::try_from(record.headers.len()).unwrap_or(0);
    let headers = record.headers.iter();
    let headers: usize = headers.map(|h| prefixed_len(h.key.as_bytes()) + prefixed_len(&h.value)).sum();
    let len = 1
        + varlong_len(timestamp_delta)
        + varlong_len(offset_delta)
        + record.key.as_ref().map_or(1, |key| prefixed_len(key))
        + prefixed_len(&record.value)
        + varlong_len(header_count)
        + headers;
    put_varlong(out, i64::try_from(len).unwrap_or(i64::MAX));
    out.push(0);
    put_varlong(out, timestamp_delta);
    put_varlong(out, offset_delta);
    match &record.key {
        Some(key) => put_prefixed(out, key),
        None => put_varlong(out, -1),
    }
    put_prefixed(out, &record.value);
    put_varlong(out, header_count);
    for header in record.headers.iter() {
        put_prefixed(out, header.key.as_bytes());
        put_prefixed(out, &header.value);
    }
}

/// Why a batch can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A field is wrong.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The version of the batch is another.
    #[error("record batches of version {0} are not supported")]
    Version(i8),
    /// The checksum is that of other bytes.
    #[error("the checksum of a record batch does not match")]
    Checksum,
    /// The records can't be decompressed, or are longer than the limit.
    #[error("the records of a batch can't be read: {0}")]
    Compression(String),
}

/// A batch that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The offset of its first record.
    pub base_offset: i64,
    /// How its records are compressed.
    pub compression: Compression,
    /// The id and the epoch of its producer; -1 without one.
    pub producer: (i64, i16),
    /// The sequence number of its first record.
    pub first_sequence: i32,
    /// Its records.
    pub records: Vec<Record>,
}

/// Reads a batch from the beginning of `bytes`; returns it and what follows. Its records take at most `limit` bytes.
///
/// # Errors
/// See [`BatchError`].
pub fn decode(bytes: &[u8], limit: usize) -> Result<(RecordBatch, &[u8]), BatchError> {
    let (header, content, rest) = BatchHeader::read(bytes)?;
    let (records, _) = header.read_records(content, limit)?;
    let BatchHeader { base_offset, compression, producer, first_sequence, .. } = header;
    let records = records.into_iter().map(|(_, record)| record).collect();
    Ok((RecordBatch { base_offset, compression, producer, first_sequence, records }, rest))
}

/// The header of a batch.
struct BatchHeader {
    base_offset: i64,
    leader_epoch: i32,
    compression: Compression,
    /// Its records are for Kafka itself: markers of transactions.
    is_control: bool,
    /// The broker has set the time of all records to `max_timestamp`.
    has_append_time: bool,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer: (i64, i16),
    first_sequence: i32,
    count: usize,
}

impl BatchHeader {
    /// Reads the header and compares the checksum. Returns it, the content and what follows the batch.
    fn read(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), BatchError> {
        let mut r = Reader::new(bytes, false);
        let base_offset = r.i64()?;
        let len = usize::try_from(r.i32()?).map_err(|_| WireError::BadLength)?;
        let (batch, rest) = r.rest().split_at_checked(len).ok_or(WireError::UnexpectedEnd)?;
        let mut r = Reader::new(batch, false);
        let leader_epoch = r.i32()?;
        match r.i8()? {
            2 => {}
            other => return Err(BatchError::Version(other)),
        }
        if r.u32()? != crc32c::crc32c(r.rest()) {
            return Err(BatchError::Checksum);
        }
        let attributes = r.i16()?.cast_unsigned();
        let number = usize::from(attributes & 7);
        let unknown = || BatchError::Compression(format!("unknown coding {number}"));
        let compression = *Compression::ALL.get(number).ok_or_else(unknown)?;
        let last_offset_delta = r.i32()?;
        let (base_timestamp, max_timestamp) = (r.i64()?, r.i64()?);
        let producer = (r.i64()?, r.i16()?);
        let first_sequence = r.i32()?;
        let count = usize::try_from(r.i32()?).map_err(|_| WireError::BadLength)?;
        let header = Self {
            base_offset,
            leader_epoch,
            compression,
            is_control: attributes & 0x20 != 0,
            has_append_time: attributes & 8 != 0,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer,
            first_sequence,
            count,
        };
        Ok((header, r.rest(), rest))
    }

    /// The records with the differences of their offsets to the first one, and the length of the plain content.
    fn read_records(&self, content: &[u8], limit: usize) -> Result<(Vec<(i32, Record)>, usize), BatchError> {
        let plain = decompress(self.compression, content, limit)?;
        let mut r = Reader::new(&plain, false);
        // A record has seven bytes at least.
        if self.count > plain.len() / 7 {
            return Err(WireError::BadLength.into());
        }
        let records = (0..self.count).map(|_| read_record(&mut r, self.base_timestamp)).collect::<Result<_, _>>()?;
        Ok((records, plain.len()))
    }
}

fn decompress(compression: Compression, bytes: &[u8], limit: usize) -> Result<Bytes, BatchError> {
    if compression == Compression::None {
        let too_long = || BatchError::Compression(format!("{} bytes are more than {limit}", bytes.len()));
        return if bytes.len() <= limit { Ok(Bytes::copy_from_slice(bytes)) } else { Err(too_long()) };
    }
    if compression == Compression::Snappy && bytes.starts_with(b"\x82SNAPPY\0") {
        return unframe_snappy(bytes, limit);
    }
    let body = Bytes::copy_from_slice(bytes);
    let grow = |_| Ok::<(), ()>(());
    WORKSPACE
        .with(|w| w.decompress(&compression.coding(), body, limit as u64, grow))
        .map_err(|e| BatchError::Compression(e.to_string()))
}

/// The form in which the Java client writes snappy: a header of 16 bytes, and blocks with their lengths.
fn unframe_snappy(bytes: &[u8], limit: usize) -> Result<Bytes, BatchError> {
    let mut r = Reader::new(bytes, false);
    r.take(16)?;
    let mut out = Vec::new();
    while !r.rest().is_empty() {
        let len = usize::try_from(r.i32()?).map_err(|_| WireError::BadLength)?;
        let block = Bytes::copy_from_slice(r.take(len)?);
        let left = limit.saturating_sub(out.len()) as u64;
        let plain = WORKSPACE
            .with(|w| w.decompress(&Coding::Snappy, block, left, |_| Ok::<(), ()>(())))
            .map_err(|e| BatchError::Compression(e.to_string()))?;
        out.extend_from_slice(&plain);
    }
    Ok(out.into())
}

fn read_record(r: &mut Reader<'_>, base_timestamp: i64) -> Result<(i32, Record), WireError> {
    let len = usize::try_from(r.varint()?).map_err(|_| WireError::BadLength)?;
    let mut r = Reader::new(r.take(len)?, false);
    r.i8()?;
    let timestamp_ms = base_timestamp.wrapping_add(r.varlong()?);
    let offset_delta = r.varint()?;
    let key = read_prefixed(&mut r)?.map(Bytes::copy_from_slice);
    let value = read_prefixed(&mut r)?.map(Bytes::copy_from_slice).unwrap_or_default();
    let count = usize::try_from(r.varint()?).map_err(|_| WireError::BadLength)?;
    if count > r.rest().len() / 2 {
        return Err(WireError::BadLength);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = read_prefixed(&mut r)?.ok_or(WireError::BadLength)?;
        let key = std::str::from_utf8(key).map_err(|_| WireError::BadText)?.to_owned();
        let value = read_prefixed(&mut r)?.unwrap_or_default().to_vec();
        headers.push(RecordHeader { key, value });
    }
    Ok((offset_delta, Record { key, value, headers: headers.into(), timestamp_ms }))
}

fn read_prefixed<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, WireError> {
    match r.varint()? {
        -1 => Ok(None),
        len => r.take(usize::try_from(len).map_err(|_| WireError::BadLength)?).map(Some),
    }
}

#[cfg(test)]
mod tests;
