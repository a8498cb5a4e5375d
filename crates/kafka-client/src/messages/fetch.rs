//! Fetch and ListOffsets: what a consumer reads of partitions.
//!
//! The records of an answer are slices of it and are not read here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{MAX_PARTITIONS, RequestBody, TopicId, finish, throttle};
use crate::error_code::ErrorCode;
use crate::versions::ApiKey;
use crate::wire::{Reader, WireError, Writer};

/// What a fetch request asks of every partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchOptions<'a> {
    pub(crate) max_wait_ms: i32,
    pub(crate) min_bytes: i32,
    pub(crate) max_bytes: i32,
    pub(crate) max_partition_bytes: i32,
    pub(crate) rack_id: &'a str,
}

/// A partition of a fetch request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchPartition {
    pub(crate) index: i32,
    /// The epoch of the leader that the client knows; -1 if it does not matter.
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    /// The epoch of the last record that was read; -1 if it is not known.
    pub(crate) last_epoch: i32,
}

/// The partitions of one topic in a request.
#[derive(Debug)]
pub(crate) struct OfTopic<'a, P> {
    pub(crate) topic: &'a str,
    pub(crate) partitions: Vec<P>,
}

/// Partitions by their topics.
pub(crate) fn by_topic<P: Copy>(partitions: &[(Arc<str>, P)]) -> Vec<OfTopic<'_, P>> {
    let mut topics: BTreeMap<&str, Vec<P>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics.into_iter().map(|(topic, partitions)| OfTopic { topic, partitions }).collect()
}

/// The first version of a fetch request with ids of topics instead of names.
pub(crate) const FIRST_WITH_IDS: i16 = 13;

/// `id_of` gives the ids of topics, in versions that have them.
pub(crate) fn fetch_request(
    version: i16,
    options: FetchOptions<'_>,
    topics: &[OfTopic<'_, FetchPartition>],
    id_of: impl Fn(&str) -> TopicId,
) -> RequestBody {
    let mut w = Writer::new(ApiKey::Fetch.is_flexible(version));
    if version <= 14 {
        w.i32(-1);
    }
    w.i32(options.max_wait_ms);
    w.i32(options.min_bytes);
    w.i32(options.max_bytes);
    // Records of transactions that are not committed are read too.
    w.i8(0);
    if version >= 7 {
        // Without a fetch session.
        w.i32(0);
        w.i32(-1);
    }
    w.len(topics.len());
    for topic in topics {
        if version >= FIRST_WITH_IDS {
            w.topic_id(id_of(topic.topic));
        } else {
            w.string(topic.topic);
        }
        w.len(topic.partitions.len());
        for partition in &topic.partitions {
            w.i32(partition.index);
            if version >= 9 {
                w.i32(partition.leader_epoch);
            }
            w.i64(partition.offset);
            if version >= 12 {
                w.i32(partition.last_epoch);
            }
            if version >= 5 {
                w.i64(-1);
            }
            w.i32(options.max_partition_bytes);
            w.no_tags();
        }
        w.no_tags();
    }
    if version >= 7 {
        w.len(0);
    }
    if version >= 11 {
        w.string(options.rack_id);
    }
    finish(w)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FetchResponse {
    pub(crate) throttle_ms: u32,
    pub(crate) error: i16,
    pub(crate) partitions: Vec<FetchedPartition>,
}

/// A topic in an answer to a fetch request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FetchedTopic {
    Name(String),
    Id(TopicId),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FetchedPartition {
    pub(crate) topic: FetchedTopic,
    pub(crate) index: i32,
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: i64,
    /// The replica that is to be read from instead.
    pub(crate) preferred_replica: Option<i32>,
    /// The log of the leader ends here for the epoch that was asked for: what the client has read behind it is gone.
    pub(crate) diverging_end: Option<i64>,
    pub(crate) records: Bytes,
}

pub(crate) fn read_fetch(version: i16, body: &Bytes) -> Result<FetchResponse, WireError> {
    let mut r = Reader::new(body, ApiKey::Fetch.is_flexible(version));
    let mut response = FetchResponse { throttle_ms: throttle(r.i32()?), ..FetchResponse::default() };
    if version >= 7 {
        response.error = r.i16()?;
        r.i32()?;
    }
    for _ in 0..r.count(3)? {
        let topic = match version >= FIRST_WITH_IDS {
            true => FetchedTopic::Id(r.topic_id()?),
            false => FetchedTopic::Name(r.string()?.to_owned()),
        };
        for _ in 0..r.count(26)? {
            let (index, error, high_watermark) = (r.i32()?, ErrorCode(r.i16()?), r.i64()?);
            r.i64()?;
            if version >= 5 {
                r.i64()?;
            }
            for _ in 0..r.count(16)? {
                r.take(16)?;
                r.skip_tags()?;
            }
            let preferred = if version >= 11 { r.i32()? } else { -1 };
            let records = body.slice_ref(r.bytes()?);
            let mut diverging_end = None;
            r.tags(|tag, value| {
                // Of two tagged fields only that of the diverging epoch is used.
                if tag == 0 {
                    let mut value = Reader::new(value, true);
                    let (epoch, end) = (value.i32()?, value.i64()?);
                    diverging_end = (epoch >= 0 && end >= 0).then_some(end);
                }
                Ok(())
            })?;
            if response.partitions.len() >= MAX_PARTITIONS {
                return Err(WireError::TooMany);
            }
            response.partitions.push(FetchedPartition {
                topic: topic.clone(),
                index,
                error,
                high_watermark,
                preferred_replica: (preferred >= 0).then_some(preferred),
                diverging_end,
                records,
            });
        }
        r.skip_tags()?;
    }
    Ok(response)
}

/// The first offset of a partition, as a time.
pub(crate) const EARLIEST: i64 = -2;
/// The offset behind the last record of a partition, as a time.
pub(crate) const LATEST: i64 = -1;

/// A partition with the epoch of its leader, or -1.
pub(crate) fn list_offsets_request(version: i16, at: i64, topics: &[OfTopic<'_, (i32, i32)>]) -> RequestBody {
    let mut w = Writer::new(ApiKey::ListOffsets.is_flexible(version));
    w.i32(-1);
    if version >= 2 {
        w.i8(0);
    }
    w.len(topics.len());
    for topic in topics {
        w.string(topic.topic);
        w.len(topic.partitions.len());
        for (index, leader_epoch) in &topic.partitions {
            w.i32(*index);
            if version >= 4 {
                w.i32(*leader_epoch);
            }
            w.i64(at);
            w.no_tags();
        }
        w.no_tags();
    }
    finish(w)
}

/// An offset of a partition, in an answer to ListOffsets or OffsetFetch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PartitionOffset {
    pub(crate) topic: String,
    pub(crate) index: i32,
    pub(crate) error: ErrorCode,
    /// -1 if there is none.
    pub(crate) offset: i64,
    /// The epoch of the record before it; -1 if it is not known.
    pub(crate) leader_epoch: i32,
}

/// The throttle time, and the offsets.
pub(crate) fn read_list_offsets(version: i16, bytes: &[u8]) -> Result<(u32, Vec<PartitionOffset>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::ListOffsets.is_flexible(version));
    let throttle_ms = if version >= 2 { throttle(r.i32()?) } else { 0 };
    let mut offsets = Vec::new();
    for _ in 0..r.count(3)? {
        let topic = r.string()?;
        for _ in 0..r.count(22)? {
            let (index, error) = (r.i32()?, ErrorCode(r.i16()?));
            r.i64()?;
            let offset = r.i64()?;
            let leader_epoch = if version >= 4 { r.i32()? } else { -1 };
            r.skip_tags()?;
            if offsets.len() >= MAX_PARTITIONS {
                return Err(WireError::TooMany);
            }
            offsets.push(PartitionOffset { topic: topic.to_owned(), index, error, offset, leader_epoch });
        }
        r.skip_tags()?;
    }
    Ok((throttle_ms, offsets))
}
