//! The requests and responses of this client: their fields in each version.
//!
//! Responses are checked while they are read: the number of brokers, topics and partitions is limited. Knows no connection.

pub(crate) mod admin;
pub(crate) mod consumer_group;
pub(crate) mod fetch;
pub(crate) mod group;

use std::sync::Arc;

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::versions::{ApiKey, BrokerVersions, VersionRange};
use crate::wire::{Reader, WireError, Writer};

/// The most brokers of a cluster that are accepted.
const MAX_BROKERS: usize = 10_000;
/// The most partitions in one answer to a metadata request that are accepted. Kafka itself holds some hundred thousand in a cluster.
const MAX_PARTITIONS: usize = 200_000;

/// The id of a topic: a topic that is deleted and created again has another one.
pub(crate) type TopicId = [u8; 16];

/// The id of a topic in a cluster that has no ids.
pub(crate) const NO_TOPIC_ID: TopicId = [0; 16];

/// A request without its header. The parts are sent one after another.
pub(crate) type RequestBody = Vec<Bytes>;

fn finish(mut w: Writer) -> RequestBody {
    w.no_tags();
    vec![w.bytes.into()]
}

pub(crate) fn api_versions_request(version: i16) -> RequestBody {
    let mut w = Writer::new(ApiKey::ApiVersions.is_flexible(version));
    if version >= 3 {
        w.string("otelcore");
        w.string(env!("CARGO_PKG_VERSION"));
    }
    finish(w)
}

/// What a broker has. An answer of version 0 comes to any version that it does not have.
pub(crate) fn read_api_versions(version: i16, bytes: &[u8]) -> Result<(ErrorCode, BrokerVersions), WireError> {
    let mut versions = BrokerVersions::default();
    let is_error = bytes.get(..2) == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
    let mut r = Reader::new(bytes, version >= 3 && !is_error);
    let error = ErrorCode(r.i16()?);
    for _ in 0..r.count(6)? {
        let (key, min, max) = (r.i16()?, r.i16()?, r.i16()?);
        r.skip_tags()?;
        versions.set(key, VersionRange { min, max });
    }
    Ok((error, versions))
}

pub(crate) fn sasl_handshake_request(mechanism: &str) -> RequestBody {
    let mut w = Writer::new(false);
    w.string(mechanism);
    finish(w)
}

/// The error, and the mechanisms that the broker has.
pub(crate) fn read_sasl_handshake(bytes: &[u8]) -> Result<(ErrorCode, Vec<String>), WireError> {
    let mut r = Reader::new(bytes, false);
    let error = ErrorCode(r.i16()?);
    let count = r.count(2)?;
    let mechanisms = (0..count.min(32)).map(|_| r.string().map(str::to_owned)).collect::<Result<_, _>>()?;
    Ok((error, mechanisms))
}

pub(crate) fn sasl_authenticate_request(version: i16, message: &[u8]) -> RequestBody {
    let mut w = Writer::new(ApiKey::SaslAuthenticate.is_flexible(version));
    w.put_bytes(message);
    finish(w)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SaslAuthenticateResponse {
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
    pub(crate) message: Vec<u8>,
    /// How long the session is valid; zero is no limit.
    pub(crate) session_lifetime_ms: u64,
}

pub(crate) fn read_sasl_authenticate(version: i16, bytes: &[u8]) -> Result<SaslAuthenticateResponse, WireError> {
    let mut r = Reader::new(bytes, ApiKey::SaslAuthenticate.is_flexible(version));
    let error = ErrorCode(r.i16()?);
    let error_message = r.nullable_string()?.map(str::to_owned);
    let message = r.bytes()?.to_vec();
    let lifetime = if version >= 1 { r.i64()? } else { 0 };
    Ok(SaslAuthenticateResponse {
        error,
        error_message,
        message,
        session_lifetime_ms: u64::try_from(lifetime).unwrap_or(0),
    })
}

/// Asks for these topics, or for all there are.
pub(crate) fn metadata_request<'a>(
    version: i16,
    topics: Option<impl ExactSizeIterator<Item = &'a str>>,
    may_create: bool,
) -> RequestBody {
    let mut w = Writer::new(ApiKey::Metadata.is_flexible(version));
    match &topics {
        Some(topics) => w.len(topics.len()),
        None => w.null_array(),
    }
    for topic in topics.into_iter().flatten() {
        if version >= 10 {
            w.topic_id(NO_TOPIC_ID);
        }
        w.string(topic);
        w.no_tags();
    }
    w.bool(may_create);
    if (8..=10).contains(&version) {
        w.bool(false);
    }
    if version >= 8 {
        w.bool(false);
    }
    finish(w)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) throttle_ms: u32,
    pub(crate) brokers: Vec<BrokerAddress>,
    /// `None` if the broker does not say it.
    pub(crate) cluster_id: Option<String>,
    pub(crate) topics: Vec<TopicMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAddress {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    pub(crate) error: ErrorCode,
    pub(crate) name: String,
    /// [`NO_TOPIC_ID`] if the cluster has none.
    pub(crate) id: TopicId,
    /// A topic of Kafka itself.
    pub(crate) is_internal: bool,
    /// Sorted by their numbers.
    pub(crate) partitions: Vec<PartitionMetadata>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionMetadata {
    pub(crate) index: i32,
    /// `None` while there is none.
    pub(crate) leader: Option<i32>,
    /// -1 if it is not known.
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: usize,
    /// Replicas that have all records.
    pub(crate) in_sync: usize,
}

fn throttle(ms: i32) -> u32 {
    u32::try_from(ms).unwrap_or(0)
}

pub(crate) fn read_metadata(version: i16, bytes: &[u8]) -> Result<Metadata, WireError> {
    let mut r = Reader::new(bytes, ApiKey::Metadata.is_flexible(version));
    let mut metadata = Metadata { throttle_ms: throttle(r.i32()?), ..Metadata::default() };
    let count = r.count(10)?;
    if count > MAX_BROKERS {
        return Err(WireError::TooMany);
    }
    for _ in 0..count {
        let (id, host, port) = (r.i32()?, r.string()?, r.i32()?);
        r.nullable_string()?;
        r.skip_tags()?;
        if let Ok(port) = u16::try_from(port)
            && id >= 0
        {
            metadata.brokers.push(BrokerAddress { id, host: host.to_owned(), port });
        }
    }
    metadata.cluster_id = r.nullable_string()?.map(str::to_owned);
    r.i32()?;
    let mut partitions_left = MAX_PARTITIONS;
    for _ in 0..r.count(5)? {
        let topic = read_topic(version, &mut r, &mut partitions_left)?;
        metadata.topics.extend(topic);
    }
    Ok(metadata)
}

/// One topic of the answer; `None` for one without a name.
fn read_topic(
    version: i16,
    r: &mut Reader<'_>,
    partitions_left: &mut usize,
) -> Result<Option<TopicMetadata>, WireError> {
    let error = ErrorCode(r.i16()?);
    let name = r.nullable_string()?.map(str::to_owned);
    let id = if version >= 10 { r.topic_id()? } else { NO_TOPIC_ID };
    let is_internal = r.i8()? != 0;
    let count = r.count(16)?;
    *partitions_left = partitions_left.checked_sub(count).ok_or(WireError::TooMany)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let (error, index, leader) = (ErrorCode(r.i16()?), r.i32()?, r.i32()?);
        let leader_epoch = if version >= 7 { r.i32()? } else { -1 };
        let (replicas, in_sync) = (r.skip_i32s()?, r.skip_i32s()?);
        if version >= 5 {
            r.skip_i32s()?;
        }
        r.skip_tags()?;
        // A replica that is not available is no reason not to write to the leader.
        let is_usable = error.is_none() || error == ErrorCode(9);
        partitions.push(PartitionMetadata {
            index,
            leader: (is_usable && leader >= 0).then_some(leader),
            leader_epoch,
            replicas,
            in_sync,
        });
    }
    if (8..=12).contains(&version) {
        r.i32()?;
    }
    r.skip_tags()?;
    partitions.sort_unstable_by_key(|partition| partition.index);
    partitions.dedup_by_key(|partition| partition.index);
    Ok(name.map(|name| TopicMetadata { error, name, id, is_internal, partitions }))
}

pub(crate) fn init_producer_id_request(version: i16) -> RequestBody {
    let mut w = Writer::new(ApiKey::InitProducerId.is_flexible(version));
    // Without a transactional id; its timeout has no meaning then.
    w.null_string();
    w.i32(i32::MAX);
    if version >= 3 {
        w.i64(-1);
        w.i16(-1);
    }
    finish(w)
}

/// The id of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerId {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl ProducerId {
    /// That of a producer that is not idempotent.
    pub(crate) const NONE: Self = Self { id: -1, epoch: -1 };
}

pub(crate) fn read_init_producer_id(version: i16, bytes: &[u8]) -> Result<(ErrorCode, ProducerId), WireError> {
    let mut r = Reader::new(bytes, ApiKey::InitProducerId.is_flexible(version));
    r.i32()?;
    let error = ErrorCode(r.i16()?);
    Ok((error, ProducerId { id: r.i64()?, epoch: r.i16()? }))
}

/// The batches of one topic in a produce request, by partition.
pub(crate) struct TopicBatches<'a> {
    pub(crate) topic: &'a str,
    pub(crate) batches: Vec<(i32, Bytes)>,
}

pub(crate) fn produce_request(version: i16, acks: i16, timeout_ms: i32, topics: &[TopicBatches<'_>]) -> RequestBody {
    let mut body = RequestBody::new();
    let flexible = ApiKey::Produce.is_flexible(version);
    let mut w = Writer::new(flexible);
    w.null_string();
    w.i16(acks);
    w.i32(timeout_ms);
    w.len(topics.len());
    for topic in topics {
        w.string(topic.topic);
        w.len(topic.batches.len());
        for (partition, batch) in &topic.batches {
            w.i32(*partition);
            w.len(batch.len());
            body.push(std::mem::replace(&mut w, Writer::new(flexible)).bytes.into());
            body.push(batch.clone());
            w.no_tags();
        }
        w.no_tags();
    }
    w.no_tags();
    body.push(w.bytes.into());
    body
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProduceResponse {
    pub(crate) throttle_ms: u32,
    pub(crate) partitions: Vec<ProducedPartition>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProducedPartition {
    /// Shared by the partitions of a topic.
    pub(crate) topic: Arc<str>,
    pub(crate) index: i32,
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
}

pub(crate) fn read_produce(version: i16, bytes: &[u8]) -> Result<ProduceResponse, WireError> {
    let mut r = Reader::new(bytes, ApiKey::Produce.is_flexible(version));
    let mut response = ProduceResponse::default();
    for _ in 0..r.count(3)? {
        let topic: Arc<str> = r.string()?.into();
        for _ in 0..r.count(22)? {
            let (index, error) = (r.i32()?, ErrorCode(r.i16()?));
            r.i64()?;
            r.i64()?;
            if version >= 5 {
                r.i64()?;
            }
            let mut error_message = None;
            if version >= 8 {
                for _ in 0..r.count(5)? {
                    r.i32()?;
                    let text = r.nullable_string()?;
                    error_message = error_message.or_else(|| text.map(str::to_owned));
                    r.skip_tags()?;
                }
                error_message = r.nullable_string()?.map(str::to_owned).or(error_message);
            }
            r.skip_tags()?;
            if response.partitions.len() >= MAX_PARTITIONS {
                return Err(WireError::TooMany);
            }
            response.partitions.push(ProducedPartition { topic: topic.clone(), index, error, error_message });
        }
        r.skip_tags()?;
    }
    response.throttle_ms = throttle(r.i32()?);
    Ok(response)
}

#[cfg(test)]
mod tests;
