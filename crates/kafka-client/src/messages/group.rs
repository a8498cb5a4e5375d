//! The requests of a member of a consumer group: its coordinator, its membership by the classic protocol, and offsets.

use super::fetch::{OfTopic, PartitionOffset};
use super::{BrokerAddress, MAX_PARTITIONS, RequestBody, finish, throttle};
use crate::error_code::ErrorCode;
use crate::versions::ApiKey;
use crate::wire::{Reader, WireError, Writer};

/// What the members of these groups have in common.
pub(crate) const PROTOCOL_TYPE: &str = "consumer";
/// The most members of a group that are accepted.
const MAX_MEMBERS: usize = 20_000;

pub(crate) fn find_coordinator_request(version: i16, group: &str) -> RequestBody {
    let mut w = Writer::new(ApiKey::FindCoordinator.is_flexible(version));
    w.string(group);
    if version >= 1 {
        w.i8(0);
    }
    finish(w)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FindCoordinatorResponse {
    pub(crate) throttle_ms: u32,
    pub(crate) error: ErrorCode,
    pub(crate) coordinator: Option<BrokerAddress>,
}

pub(crate) fn read_find_coordinator(version: i16, bytes: &[u8]) -> Result<FindCoordinatorResponse, WireError> {
    let mut r = Reader::new(bytes, ApiKey::FindCoordinator.is_flexible(version));
    let throttle_ms = if version >= 1 { throttle(r.i32()?) } else { 0 };
    let error = ErrorCode(r.i16()?);
    if version >= 1 {
        r.nullable_string()?;
    }
    let (id, host, port) = (r.i32()?, r.string()?, r.i32()?);
    let port = u16::try_from(port).ok().filter(|_| id >= 0);
    let coordinator = port.map(|port| BrokerAddress { id, host: host.to_owned(), port });
    Ok(FindCoordinatorResponse { throttle_ms, error, coordinator })
}

/// Who a member is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership<'a> {
    pub(crate) group: &'a str,
    pub(crate) generation: i32,
    /// Empty before the coordinator has given one.
    pub(crate) member: &'a str,
    pub(crate) instance: Option<&'a str>,
}

pub(crate) fn join_group_request(
    version: i16,
    of: Membership<'_>,
    (session_ms, rebalance_ms): (i32, i32),
    protocols: &[(&str, Vec<u8>)],
) -> RequestBody {
    let mut w = Writer::new(ApiKey::JoinGroup.is_flexible(version));
    w.string(of.group);
    w.i32(session_ms);
    w.i32(rebalance_ms);
    w.string(of.member);
    if version >= 5 {
        w.nullable_string(of.instance);
    }
    w.string(PROTOCOL_TYPE);
    w.len(protocols.len());
    for (name, metadata) in protocols {
        w.string(name);
        w.put_bytes(metadata);
        w.no_tags();
    }
    finish(w)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JoinGroupResponse {
    pub(crate) throttle_ms: u32,
    pub(crate) error: ErrorCode,
    pub(crate) generation: i32,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member: String,
    /// For the leader: each member and its metadata.
    pub(crate) members: Vec<GroupMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupMember {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) metadata: Vec<u8>,
}

pub(crate) fn read_join_group(version: i16, bytes: &[u8]) -> Result<JoinGroupResponse, WireError> {
    let mut r = Reader::new(bytes, ApiKey::JoinGroup.is_flexible(version));
    let throttle_ms = throttle(r.i32()?);
    let (error, generation) = (ErrorCode(r.i16()?), r.i32()?);
    if version >= 7 {
        r.nullable_string()?;
    }
    let protocol = r.nullable_string()?.unwrap_or_default().to_owned();
    let (leader, member) = (r.string()?.to_owned(), r.string()?.to_owned());
    let count = r.count(3)?;
    if count > MAX_MEMBERS {
        return Err(WireError::TooMany);
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let member = r.string()?.to_owned();
        let instance = if version >= 5 { r.nullable_string()?.map(str::to_owned) } else { None };
        members.push(GroupMember { member, instance, metadata: r.bytes()?.to_vec() });
        r.skip_tags()?;
    }
    Ok(JoinGroupResponse { throttle_ms, error, generation, protocol, leader, member, members })
}

pub(crate) fn sync_group_request(
    version: i16,
    of: Membership<'_>,
    protocol: &str,
    assignments: &[(String, Vec<u8>)],
) -> RequestBody {
    let mut w = Writer::new(ApiKey::SyncGroup.is_flexible(version));
    w.string(of.group);
    w.i32(of.generation);
    w.string(of.member);
    if version >= 3 {
        w.nullable_string(of.instance);
    }
    if version >= 5 {
        w.nullable_string(Some(PROTOCOL_TYPE));
        w.nullable_string(Some(protocol));
    }
    w.len(assignments.len());
    for (member, assignment) in assignments {
        w.string(member);
        w.put_bytes(assignment);
        w.no_tags();
    }
    finish(w)
}

/// The throttle time, the error and the assignment.
pub(crate) fn read_sync_group(version: i16, bytes: &[u8]) -> Result<(u32, ErrorCode, Vec<u8>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::SyncGroup.is_flexible(version));
    let (throttle_ms, error) = (throttle(r.i32()?), ErrorCode(r.i16()?));
    if version >= 5 {
        r.nullable_string()?;
        r.nullable_string()?;
    }
    Ok((throttle_ms, error, r.bytes()?.to_vec()))
}

pub(crate) fn heartbeat_request(version: i16, of: Membership<'_>) -> RequestBody {
    let mut w = Writer::new(ApiKey::Heartbeat.is_flexible(version));
    w.string(of.group);
    w.i32(of.generation);
    w.string(of.member);
    if version >= 3 {
        w.nullable_string(of.instance);
    }
    finish(w)
}

/// The throttle time and the error of an answer that has nothing else that is used: Heartbeat and LeaveGroup.
pub(crate) fn read_error(api: ApiKey, version: i16, bytes: &[u8]) -> Result<(u32, ErrorCode), WireError> {
    let mut r = Reader::new(bytes, api.is_flexible(version));
    Ok((throttle(r.i32()?), ErrorCode(r.i16()?)))
}

pub(crate) fn leave_group_request(version: i16, of: Membership<'_>) -> RequestBody {
    let mut w = Writer::new(ApiKey::LeaveGroup.is_flexible(version));
    w.string(of.group);
    if version >= 3 {
        w.len(1);
        w.string(of.member);
        w.nullable_string(of.instance);
        w.no_tags();
    } else {
        w.string(of.member);
    }
    finish(w)
}

/// A partition, the offset of the next record that is to be read, and the epoch of the one before it.
pub(crate) type CommittedOffset = (i32, i64, i32);

pub(crate) fn offset_commit_request(
    version: i16,
    of: Membership<'_>,
    topics: &[OfTopic<'_, CommittedOffset>],
) -> RequestBody {
    let mut w = Writer::new(ApiKey::OffsetCommit.is_flexible(version));
    w.string(of.group);
    w.i32(of.generation);
    w.string(of.member);
    if version >= 7 {
        w.nullable_string(of.instance);
    }
    if version <= 4 {
        // The retention of the broker.
        w.i64(-1);
    }
    w.len(topics.len());
    for topic in topics {
        w.string(topic.topic);
        w.len(topic.partitions.len());
        for (index, offset, leader_epoch) in &topic.partitions {
            w.i32(*index);
            w.i64(*offset);
            if version >= 6 {
                w.i32(*leader_epoch);
            }
            w.nullable_string(Some(""));
            w.no_tags();
        }
        w.no_tags();
    }
    finish(w)
}

/// The topic, the partition, and what became of its offset.
pub(crate) type CommitResult = (String, i32, ErrorCode);

/// The throttle time, and the result of each partition.
pub(crate) fn read_offset_commit(version: i16, bytes: &[u8]) -> Result<(u32, Vec<CommitResult>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::OffsetCommit.is_flexible(version));
    let throttle_ms = if version >= 3 { throttle(r.i32()?) } else { 0 };
    let mut results = Vec::new();
    for _ in 0..r.count(3)? {
        let topic = r.string()?;
        for _ in 0..r.count(6)? {
            let (index, error) = (r.i32()?, ErrorCode(r.i16()?));
            r.skip_tags()?;
            if results.len() >= MAX_PARTITIONS {
                return Err(WireError::TooMany);
            }
            results.push((topic.to_owned(), index, error));
        }
        r.skip_tags()?;
    }
    Ok((throttle_ms, results))
}

/// `member` is the member and its epoch, in the protocol that compares them; without `topics` all that have offsets are asked for.
pub(crate) fn offset_fetch_request(
    version: i16,
    group: &str,
    member: Option<(&str, i32)>,
    topics: Option<&[OfTopic<'_, i32>]>,
) -> RequestBody {
    let mut w = Writer::new(ApiKey::OffsetFetch.is_flexible(version));
    if version >= 8 {
        w.len(1);
    }
    w.string(group);
    if version >= 9 {
        w.nullable_string(member.map(|(member, _)| member));
        w.i32(member.map_or(-1, |(_, epoch)| epoch));
    }
    match topics {
        Some(topics) => w.len(topics.len()),
        None => w.null_array(),
    }
    for topic in topics.unwrap_or_default() {
        w.string(topic.topic);
        w.len(topic.partitions.len());
        topic.partitions.iter().for_each(|index| w.i32(*index));
        w.no_tags();
    }
    if version >= 8 {
        w.no_tags();
    }
    if version >= 7 {
        w.bool(false);
    }
    finish(w)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OffsetFetchResponse {
    pub(crate) throttle_ms: u32,
    pub(crate) error: ErrorCode,
    pub(crate) offsets: Vec<PartitionOffset>,
}

pub(crate) fn read_offset_fetch(version: i16, bytes: &[u8]) -> Result<OffsetFetchResponse, WireError> {
    let mut r = Reader::new(bytes, ApiKey::OffsetFetch.is_flexible(version));
    let throttle_ms = if version >= 3 { throttle(r.i32()?) } else { 0 };
    let (mut offsets, mut error) = (Vec::new(), ErrorCode::NONE);
    if version <= 7 {
        read_committed(version, &mut r, &mut offsets)?;
        error = if version >= 2 { ErrorCode(r.i16()?) } else { ErrorCode::NONE };
        return Ok(OffsetFetchResponse { throttle_ms, error, offsets });
    }
    for _ in 0..r.count(4)? {
        r.string()?;
        read_committed(version, &mut r, &mut offsets)?;
        let of_group = ErrorCode(r.i16()?);
        error = if error.is_none() { of_group } else { error };
        r.skip_tags()?;
    }
    Ok(OffsetFetchResponse { throttle_ms, error, offsets })
}

/// The offsets of one group.
fn read_committed(version: i16, r: &mut Reader<'_>, offsets: &mut Vec<PartitionOffset>) -> Result<(), WireError> {
    for _ in 0..r.count(3)? {
        let topic = r.string()?;
        for _ in 0..r.count(15)? {
            let (index, offset) = (r.i32()?, r.i64()?);
            let leader_epoch = if version >= 5 { r.i32()? } else { -1 };
            r.nullable_string()?;
            let error = ErrorCode(r.i16()?);
            r.skip_tags()?;
            if offsets.len() >= MAX_PARTITIONS {
                return Err(WireError::TooMany);
            }
            offsets.push(PartitionOffset { topic: topic.to_owned(), index, error, offset, leader_epoch });
        }
        r.skip_tags()?;
    }
    Ok(())
}
