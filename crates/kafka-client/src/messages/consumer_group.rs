//! The heartbeat of a member of a consumer group by the protocol of KIP-848, with which it joins, is assigned partitions and leaves.

use super::{MAX_PARTITIONS, RequestBody, TopicId, finish, throttle};
use crate::error_code::ErrorCode;
use crate::versions::ApiKey;
use crate::wire::{Reader, WireError, Writer};

/// The epoch of a member that joins.
pub(crate) const JOINS: i32 = 0;
/// The epoch of a member that leaves.
pub(crate) const LEAVES: i32 = -1;
/// The epoch of a static member that leaves and will come back.
pub(crate) const LEAVES_FOR_A_TIME: i32 = -2;

/// Partitions by the ids of their topics.
pub(crate) type PartitionsById = Vec<(TopicId, Vec<i32>)>;

/// What a member says of itself. In a heartbeat without it nothing has changed.
#[derive(Debug)]
pub(crate) struct MemberState<'a> {
    pub(crate) rack_id: Option<&'a str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) topics: &'a [String],
    /// The assignor of the coordinator; `None` is its default.
    pub(crate) assignor: Option<&'a str>,
    pub(crate) owned: &'a PartitionsById,
}

/// Group, member and epoch of a heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeartbeatOf<'a> {
    pub(crate) group: &'a str,
    pub(crate) member: &'a str,
    pub(crate) epoch: i32,
    pub(crate) instance: Option<&'a str>,
}

/// Version 1, the first with ids that members choose, is the only one.
pub(crate) fn consumer_group_heartbeat_request(of: HeartbeatOf<'_>, state: Option<&MemberState<'_>>) -> RequestBody {
    let mut w = Writer::new(true);
    w.string(of.group);
    w.string(of.member);
    w.i32(of.epoch);
    w.nullable_string(of.instance);
    w.nullable_string(state.and_then(|state| state.rack_id));
    w.i32(state.map_or(-1, |state| state.rebalance_timeout_ms));
    match state {
        Some(state) => {
            w.len(state.topics.len());
            state.topics.iter().for_each(|topic| w.string(topic));
        }
        None => w.null_array(),
    }
    // Patterns are compared here, so that they mean what they mean in the classic protocol.
    w.null_string();
    w.nullable_string(state.and_then(|state| state.assignor));
    match state {
        Some(state) => {
            w.len(state.owned.len());
            for (topic, partitions) in state.owned {
                w.topic_id(*topic);
                w.len(partitions.len());
                partitions.iter().for_each(|index| w.i32(*index));
                w.no_tags();
            }
        }
        None => w.null_array(),
    }
    finish(w)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ConsumerGroupHeartbeatResponse {
    pub(crate) throttle_ms: u32,
    pub(crate) error: ErrorCode,
    pub(crate) error_message: Option<String>,
    pub(crate) epoch: i32,
    pub(crate) interval_ms: u32,
    /// `None`: it has not changed.
    pub(crate) assignment: Option<PartitionsById>,
}

pub(crate) fn read_consumer_group_heartbeat(
    version: i16,
    bytes: &[u8],
) -> Result<ConsumerGroupHeartbeatResponse, WireError> {
    let mut r = Reader::new(bytes, ApiKey::ConsumerGroupHeartbeat.is_flexible(version));
    let (throttle_ms, error) = (throttle(r.i32()?), ErrorCode(r.i16()?));
    let error_message = r.nullable_string()?.map(str::to_owned);
    r.nullable_string()?;
    let (epoch, interval) = (r.i32()?, r.i32()?);
    let interval_ms = u32::try_from(interval).unwrap_or(0);
    let assignment = if r.i8()? < 0 { None } else { Some(read_partitions(&mut r)?) };
    Ok(ConsumerGroupHeartbeatResponse { throttle_ms, error, error_message, epoch, interval_ms, assignment })
}

fn read_partitions(r: &mut Reader<'_>) -> Result<PartitionsById, WireError> {
    let count = r.count(18)?;
    let mut left = MAX_PARTITIONS.checked_sub(count).ok_or(WireError::TooMany)?;
    let mut topics = PartitionsById::with_capacity(count);
    for _ in 0..count {
        let topic = r.topic_id()?;
        let count = r.count(4)?;
        left = left.checked_sub(count).ok_or(WireError::TooMany)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(r.i32()?);
        }
        r.skip_tags()?;
        topics.push((topic, partitions));
    }
    Ok(topics)
}
