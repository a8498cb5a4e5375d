//! Thrift: a `Batch`, and the messages that clients send to the agent.
//!
//! Checks required fields as the code does that Thrift generates for Go, and keeps views into the body only.

use otelcore_pdata::build::{ResourceWriter, ScopeWriter};
use otelcore_thrift::{Kind, Protocol, Reader};

use super::attributes::{Tag, TagValue};
use super::model::{Log, Process, Reference, Span};
use crate::decode_error::{DecodeError, MAX_LOG_FIELDS, MAX_PER_SPAN, push_limited};
use crate::span_groups::{Shared, SpanGroups};

/// Nanoseconds of microseconds. They overflow as in Go.
fn nanos(micros: i64) -> u64 {
    micros.cast_unsigned().wrapping_mul(1000)
}

/// What a message calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AgentMethod {
    /// `emitBatch`; its arguments are read by [`read_arguments`].
    EmitBatch,
    /// `emitZipkinBatch`, which is not served.
    EmitZipkinBatch,
}

/// Reads the beginning of a message.
pub(crate) fn read_method(reader: &mut Reader<'_>) -> Result<AgentMethod, DecodeError> {
    let head = reader.message()?;
    match head.name {
        b"emitBatch" => Ok(AgentMethod::EmitBatch),
        b"emitZipkinBatch" => Ok(AgentMethod::EmitZipkinBatch),
        other => {
            let name = String::from_utf8_lossy(other.get(..64).unwrap_or(other));
            Err(DecodeError::invalid(format!("unknown function {name:?} of the agent")))
        }
    }
}

/// Reads the arguments of `emitBatch`. Without a batch there are no spans.
pub(crate) fn read_arguments(reader: &mut Reader<'_>, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    reader.read_struct(|reader, field, kind| match (field, kind) {
        (1, Kind::Struct) => read_batch(reader, groups),
        _ => Ok(reader.skip(kind)?),
    })
}

/// Reads a message.
pub(crate) fn read_message(protocol: Protocol, body: &[u8], groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(protocol, body);
    match read_method(&mut reader)? {
        AgentMethod::EmitBatch => read_arguments(&mut reader, groups),
        AgentMethod::EmitZipkinBatch => Err(DecodeError::invalid("emitZipkinBatch is not supported")),
    }
}

/// The fields of a struct that have been read, as bits by their numbers.
fn require(read: u32, of: &str, fields: &[(u32, &str)]) -> Result<(), DecodeError> {
    match fields.iter().find(|(number, _)| read & 1 << number == 0) {
        Some((_, name)) => Err(DecodeError::invalid(format!("a {of} is without the required field {name}"))),
        None => Ok(()),
    }
}

/// Calls `read` with the number and the type of each field of a struct. It returns whether it has read the value; other
/// fields are skipped. Returns the fields that were read, as bits by their numbers, which are below 32.
fn read_fields<'a>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>, i16, Kind) -> Result<bool, DecodeError>,
) -> Result<u32, DecodeError> {
    let mut found = 0_u32;
    reader.read_struct(|reader, field, kind| -> Result<(), DecodeError> {
        match read(reader, field, kind)? {
            true => found |= 1_u32.checked_shl(field.unsigned_abs().into()).unwrap_or(0),
            false => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads a list of structs.
fn read_list<'a>(
    reader: &mut Reader<'a>,
    what: &str,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let (kind, length) = reader.list()?;
    if length > 0 && kind != Kind::Struct {
        return Err(DecodeError::invalid(format!("the list of {what} has elements that are no structs")));
    }
    for _ in 0..length {
        read(reader)?;
    }
    Ok(())
}

/// Reads a batch. Its process may be behind its spans: these are skipped first and read when it is known.
pub(crate) fn read_batch(reader: &mut Reader<'_>, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    let mut process = Process::default();
    let mut spans = None;
    let found = read_fields(reader, |reader, field, kind| {
        match (field, kind) {
            (1, Kind::Struct) => process = read_process(reader)?,
            (2, Kind::List) => {
                spans = Some(reader.clone());
                reader.skip(kind)?;
            }
            (4, Kind::Struct) => read_client_stats(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require(found, "batch", &[(1, "process"), (2, "spans")])?;
    let Some(mut spans) = spans else { return Ok(()) };
    let mut span = Span::default();
    read_list(&mut spans, "spans", |reader| {
        read_span(reader, &mut span)?;
        if span.has_content {
            let resource = Shared { key: &b""[..], write: |resource: &mut ResourceWriter<'_>| process.write(resource) };
            let scope = Shared { key: &b""[..], write: |_: &mut ScopeWriter<'_>| {} };
            groups.add(resource, scope, |writer| span.write(writer))?;
        }
        Ok(())
    })
}

fn read_process<'a>(reader: &mut Reader<'a>) -> Result<Process<'a>, DecodeError> {
    let mut process = Process::default();
    let found = read_fields(reader, |reader, field, kind| {
        match (field, kind) {
            (1, Kind::Binary) => process.service_name = reader.binary()?,
            (2, Kind::List) => read_tags(reader, MAX_PER_SPAN, "tags of its process", &mut process.tags)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require(found, "process", &[(1, "serviceName")])?;
    Ok(process)
}

/// Counts of the sender, which have no use here.
fn read_client_stats(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let found = read_fields(reader, |reader, field, kind| match (field, kind) {
        (1..=3, Kind::I64) => Ok(reader.i64().map(|_| true)?),
        _ => Ok(false),
    })?;
    let required = [(1, "fullQueueDroppedSpans"), (2, "tooLargeDroppedSpans"), (3, "failedToEmitSpans")];
    require(found, "client's statistics", &required)
}

/// Appends the tags of a list.
fn read_tags<'a>(
    reader: &mut Reader<'a>,
    limit: usize,
    what: &str,
    tags: &mut Vec<Tag<'a>>,
) -> Result<(), DecodeError> {
    read_list(reader, what, |reader| push_limited(tags, limit, what, read_tag(reader)?))
}

fn read_tag<'a>(reader: &mut Reader<'a>) -> Result<Tag<'a>, DecodeError> {
    let (mut key, mut text, mut bytes) = (&b""[..], &b""[..], &b""[..]);
    let (mut tag_type, mut boolean, mut int, mut double) = (0, false, 0, 0.0);
    let found = read_fields(reader, |reader, field, kind| {
        match (field, kind) {
            (1, Kind::Binary) => key = reader.binary()?,
            (2, Kind::I32) => tag_type = reader.i32()?,
            (3, Kind::Binary) => text = reader.binary()?,
            (4, Kind::Double) => double = reader.double()?,
            (5, Kind::Bool) => boolean = reader.bool()?,
            (6, Kind::I64) => int = reader.i64()?,
            (7, Kind::Binary) => bytes = reader.binary()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require(found, "tag", &[(1, "key"), (2, "vType")])?;
    let value = match tag_type {
        0 => TagValue::Text(text),
        1 => TagValue::Double(double),
        2 => TagValue::Bool(boolean),
        3 => TagValue::Int(int),
        4 => TagValue::Bytes(bytes),
        _ => TagValue::UnsetType,
    };
    Ok(Tag { key, value })
}

fn read_span<'a>(reader: &mut Reader<'a>, span: &mut Span<'a>) -> Result<(), DecodeError> {
    span.clear();
    let (mut low, mut high, mut id, mut parent_id) = (0_i64, 0_i64, 0_i64, 0_i64);
    let (mut flags, mut start, mut duration, mut has_list) = (0, 0_i64, 0_i64, false);
    let found = read_fields(reader, |reader, field, kind| {
        match (field, kind) {
            (1, Kind::I64) => low = reader.i64()?,
            (2, Kind::I64) => high = reader.i64()?,
            (3, Kind::I64) => id = reader.i64()?,
            (4, Kind::I64) => parent_id = reader.i64()?,
            (5, Kind::Binary) => span.name = reader.binary()?,
            (6, Kind::List) => {
                span.references.clear();
                let references = &mut span.references;
                read_list(reader, "references", |reader| {
                    push_limited(references, MAX_PER_SPAN, "references", read_reference(reader)?)
                })?;
            }
            (7, Kind::I32) => flags = reader.i32()?,
            (8, Kind::I64) => start = reader.i64()?,
            (9, Kind::I64) => duration = reader.i64()?,
            (10, Kind::List) => {
                span.tags.clear();
                read_tags(reader, MAX_PER_SPAN, "tags", &mut span.tags)?;
            }
            (11, Kind::List) => {
                span.logs.clear();
                span.log_fields.clear();
                read_list(reader, "logs", |reader| read_log(reader, span))?;
            }
            _ => return Ok(false),
        }
        has_list |= kind == Kind::List;
        Ok(true)
    })?;
    let required = [
        (1, "traceIdLow"),
        (2, "traceIdHigh"),
        (3, "spanId"),
        (4, "parentSpanId"),
        (5, "operationName"),
        (7, "flags"),
        (8, "startTime"),
        (9, "duration"),
    ];
    require(found, "span", &required)?;
    span.has_content =
        has_list || !span.name.is_empty() || flags != 0 || [low, high, id, parent_id, start, duration] != [0; 6];
    span.trace_id = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
    span.id = id.cast_unsigned();
    span.parent_id = parent_id.cast_unsigned();
    (span.start, span.end) = (nanos(start), nanos(start.wrapping_add(duration)));
    Ok(())
}

fn read_reference(reader: &mut Reader<'_>) -> Result<Reference, DecodeError> {
    let (mut reference_kind, mut low, mut high, mut id) = (0, 0_i64, 0_i64, 0_i64);
    let found = read_fields(reader, |reader, field, kind| {
        match (field, kind) {
            (1, Kind::I32) => reference_kind = reader.i32()?,
            (2, Kind::I64) => low = reader.i64()?,
            (3, Kind::I64) => high = reader.i64()?,
            (4, Kind::I64) => id = reader.i64()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require(found, "reference", &[(1, "refType"), (2, "traceIdLow"), (3, "traceIdHigh"), (4, "spanId")])?;
    let trace_id = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
    Ok(Reference { trace_id, span_id: id.cast_unsigned(), kind: reference_kind })
}

fn read_log<'a>(reader: &mut Reader<'a>, span: &mut Span<'a>) -> Result<(), DecodeError> {
    let (mut timestamp, first_field) = (0, span.log_fields.len());
    let log_fields = &mut span.log_fields;
    let found = read_fields(reader, |reader, field, kind| {
        match (field, kind) {
            (1, Kind::I64) => timestamp = reader.i64()?,
            (2, Kind::List) => {
                log_fields.truncate(first_field);
                read_tags(reader, MAX_LOG_FIELDS, "fields of logs", log_fields)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    require(found, "log", &[(1, "timestamp"), (2, "fields")])?;
    let log = Log { time: nanos(timestamp), fields: first_field..span.log_fields.len() };
    push_limited(&mut span.logs, MAX_PER_SPAN, "logs", log)
}
