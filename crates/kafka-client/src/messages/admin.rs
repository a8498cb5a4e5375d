//! Requests that read the state of a cluster: its groups, their members, and the configuration of topics and brokers.

use super::{MAX_PARTITIONS, RequestBody, finish, throttle};
use crate::error_code::ErrorCode;
use crate::versions::ApiKey;
use crate::wire::{Reader, WireError, Writer};

/// The most groups of a broker that are accepted.
const MAX_GROUPS: usize = 100_000;
/// The type of groups of the consumer protocol.
pub(crate) const CONSUMER_TYPE: &str = "consumer";
/// The resources whose configuration can be read.
pub(crate) const TOPIC_RESOURCE: i8 = 2;
pub(crate) const BROKER_RESOURCE: i8 = 4;

pub(crate) fn list_groups_request(version: i16) -> RequestBody {
    let mut w = Writer::new(ApiKey::ListGroups.is_flexible(version));
    if version >= 4 {
        w.len(0);
    }
    if version >= 5 {
        // Not those that share records, which have no offsets.
        w.len(2);
        w.string("classic");
        w.string(CONSUMER_TYPE);
    }
    finish(w)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListedGroup {
    pub(crate) group: String,
    /// Whether its protocol is that of KIP-848.
    pub(crate) has_consumer_protocol: bool,
}

/// The throttle time, and the groups that the broker coordinates.
pub(crate) fn read_list_groups(version: i16, bytes: &[u8]) -> Result<(u32, ErrorCode, Vec<ListedGroup>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::ListGroups.is_flexible(version));
    let throttle_ms = if version >= 1 { throttle(r.i32()?) } else { 0 };
    let error = ErrorCode(r.i16()?);
    let count = r.count(2)?;
    if count > MAX_GROUPS {
        return Err(WireError::TooMany);
    }
    let mut groups = Vec::with_capacity(count);
    for _ in 0..count {
        let group = r.string()?.to_owned();
        r.string()?;
        if version >= 4 {
            r.string()?;
        }
        let kind = if version >= 5 { r.string()? } else { "" };
        r.skip_tags()?;
        groups.push(ListedGroup { group, has_consumer_protocol: kind.eq_ignore_ascii_case(CONSUMER_TYPE) });
    }
    Ok((throttle_ms, error, groups))
}

/// Groups of the classic protocol.
pub(crate) fn describe_groups_request(version: i16, groups: &[String]) -> RequestBody {
    let mut w = Writer::new(ApiKey::DescribeGroups.is_flexible(version));
    w.len(groups.len());
    groups.iter().for_each(|group| w.string(group));
    if version >= 3 {
        w.bool(false);
    }
    finish(w)
}

/// Groups of the consumer protocol.
pub(crate) fn consumer_group_describe_request(groups: &[String]) -> RequestBody {
    let mut w = Writer::new(true);
    w.len(groups.len());
    groups.iter().for_each(|group| w.string(group));
    w.bool(false);
    finish(w)
}

/// A group, and how many members it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DescribedGroup {
    pub(crate) group: String,
    pub(crate) error: ErrorCode,
    pub(crate) members: usize,
}

/// The throttle time, and the groups.
pub(crate) fn read_describe_groups(version: i16, bytes: &[u8]) -> Result<(u32, Vec<DescribedGroup>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::DescribeGroups.is_flexible(version));
    let throttle_ms = if version >= 1 { throttle(r.i32()?) } else { 0 };
    let mut groups = Vec::new();
    for _ in 0..r.count(9)? {
        let error = ErrorCode(r.i16()?);
        if version >= 6 {
            r.nullable_string()?;
        }
        let group = r.string()?.to_owned();
        // State, type of the protocol, protocol.
        for _ in 0..3 {
            r.string()?;
        }
        let members = r.count(6)?;
        for _ in 0..members {
            r.string()?;
            if version >= 4 {
                r.nullable_string()?;
            }
            r.string()?;
            r.string()?;
            r.bytes()?;
            r.bytes()?;
            r.skip_tags()?;
        }
        if version >= 3 {
            r.i32()?;
        }
        r.skip_tags()?;
        groups.push(DescribedGroup { group, error, members });
    }
    Ok((throttle_ms, groups))
}

/// The throttle time, and the groups.
pub(crate) fn read_consumer_group_describe(
    version: i16,
    bytes: &[u8],
) -> Result<(u32, Vec<DescribedGroup>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::ConsumerGroupDescribe.is_flexible(version));
    let throttle_ms = throttle(r.i32()?);
    let mut groups = Vec::new();
    for _ in 0..r.count(19)? {
        let error = ErrorCode(r.i16()?);
        r.nullable_string()?;
        let group = r.string()?.to_owned();
        r.string()?;
        r.i32()?;
        r.i32()?;
        r.string()?;
        let members = r.count(16)?;
        for _ in 0..members {
            skip_member(version, &mut r)?;
        }
        r.i32()?;
        r.skip_tags()?;
        groups.push(DescribedGroup { group, error, members });
    }
    Ok((throttle_ms, groups))
}

fn skip_member(version: i16, r: &mut Reader<'_>) -> Result<(), WireError> {
    r.string()?;
    r.nullable_string()?;
    r.nullable_string()?;
    r.i32()?;
    r.string()?;
    r.string()?;
    for _ in 0..r.count(1)? {
        r.string()?;
    }
    r.nullable_string()?;
    // What it has, and what it is to have.
    for _ in 0..2 {
        for _ in 0..r.count(19)? {
            r.topic_id()?;
            r.string()?;
            r.skip_i32s()?;
            r.skip_tags()?;
        }
        r.skip_tags()?;
    }
    if version >= 1 {
        r.i8()?;
    }
    r.skip_tags()
}

/// These keys of the configuration of resources.
pub(crate) fn describe_configs_request(version: i16, kind: i8, names: &[String], keys: &[&str]) -> RequestBody {
    let mut w = Writer::new(ApiKey::DescribeConfigs.is_flexible(version));
    w.len(names.len());
    for name in names {
        w.i8(kind);
        w.string(name);
        w.len(keys.len());
        keys.iter().for_each(|key| w.string(key));
        w.no_tags();
    }
    w.bool(false);
    if version >= 3 {
        w.bool(false);
    }
    finish(w)
}

/// A topic or a broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DescribedConfig {
    pub(crate) name: String,
    pub(crate) error: ErrorCode,
    /// Keys and values.
    pub(crate) values: Vec<(String, String)>,
}

/// The throttle time, and the resources.
pub(crate) fn read_describe_configs(version: i16, bytes: &[u8]) -> Result<(u32, Vec<DescribedConfig>), WireError> {
    let mut r = Reader::new(bytes, ApiKey::DescribeConfigs.is_flexible(version));
    let throttle_ms = throttle(r.i32()?);
    let mut resources = Vec::new();
    for _ in 0..r.count(6)? {
        let error = ErrorCode(r.i16()?);
        r.nullable_string()?;
        r.i8()?;
        let name = r.string()?.to_owned();
        let mut values = Vec::new();
        for _ in 0..r.count(5)? {
            let (key, value) = (r.string()?, r.nullable_string()?.unwrap_or_default());
            values.push((key.to_owned(), value.to_owned()));
            // Whether it can be written, where it comes from, whether it is secret.
            r.take(3)?;
            for _ in 0..r.count(3)? {
                r.string()?;
                r.nullable_string()?;
                r.i8()?;
                r.skip_tags()?;
            }
            if version >= 3 {
                r.i8()?;
                r.nullable_string()?;
            }
            r.skip_tags()?;
        }
        r.skip_tags()?;
        if resources.len() >= MAX_PARTITIONS {
            return Err(WireError::TooMany);
        }
        resources.push(DescribedConfig { name, error, values });
    }
    Ok((throttle_ms, resources))
}
