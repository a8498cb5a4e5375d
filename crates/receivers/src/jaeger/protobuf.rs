//! `jaeger.api_v2.PostSpansRequest`: one batch of spans.
//!
//! Checks messages as gogo's decoder does, and keeps views into the body only.

use otelcore_pdata::build::{ResourceWriter, ScopeWriter};
use otelcore_pdata::wire_format::WireValue;

use super::attributes::{Tag, TagValue};
use super::model::{Log, Process, Reference, Span};
use crate::decode_error::{DecodeError, MAX_LOG_FIELDS, MAX_PER_SPAN, push_limited};
use crate::protobuf_fields::for_each_field;
use crate::span_groups::{Shared, SpanGroups};

/// The name of a service that has no name; then the process has no attributes.
const NO_SERVICE_NAME: &[u8] = b"OTLPResourceNoServiceName";
const SCOPE_NAME: &[u8] = b"otel.scope.name";
const SCOPE_VERSION: &[u8] = b"otel.scope.version";

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// The year 1, and the year 10,000, in seconds since the epoch.
const FIRST_SECOND: i64 = -62_135_596_800;
const SECONDS_END: i64 = 253_402_300_800;
/// 10,000 years.
const MAX_DURATION_SECONDS: i64 = 315_576_000_000;

fn wrong_type(message: &str) -> DecodeError {
    DecodeError::invalid(format!("proto: wrong wire type of a field of {message}"))
}

/// Reads a request.
pub(crate) fn read(body: &[u8], groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    // The process of the batch may be behind its spans. A message that is there in pieces is their concatenation.
    let mut batch_process = Vec::new();
    for_each_batch_field(body, |number, value| match (number, value) {
        (2, WireValue::Len(piece)) => {
            batch_process.extend_from_slice(piece);
            Ok(())
        }
        (1 | 2, value) if !matches!(value, WireValue::Len(_)) => Err(wrong_type("Batch")),
        _ => Ok(()),
    })?;
    let process = read_process(&batch_process)?;
    let (mut own_process, mut own_key, mut scope_key) = (Vec::new(), Vec::new(), Vec::new());
    let mut span = Span::default();
    for_each_batch_field(body, |number, value| {
        let (1, WireValue::Len(message)) = (number, value) else { return Ok(()) };
        own_process.clear();
        let has_own_process = read_span(message, &mut span, &mut own_process)?;
        if !span.has_content {
            return Ok(());
        }
        let scope = take_scope(&mut span);
        scope_key.clear();
        scope_key.extend_from_slice(&scope.0.len().to_le_bytes());
        scope_key.extend_from_slice(scope.0);
        scope_key.extend_from_slice(scope.1);
        let scope = Shared {
            key: &scope_key,
            write: |writer: &mut ScopeWriter<'_>| {
                writer.name(scope.0).version(scope.1);
            },
        };
        own_key.clear();
        let read_own_process;
        // Spans of equal processes are written together. The key of the batch's process is empty, because it is compared
        // for each span.
        let process = if has_own_process && own_process != batch_process {
            own_key.push(1);
            own_key.extend_from_slice(&own_process);
            read_own_process = read_process(&own_process)?;
            &read_own_process
        } else {
            &process
        };
        let resource = Shared { key: &own_key, write: |resource: &mut ResourceWriter<'_>| process.write(resource) };
        groups.add(resource, scope, |writer| span.write(writer))?;
        Ok(())
    })
}

/// Calls `read` with each field of the batch.
fn for_each_batch_field<'a>(
    body: &'a [u8],
    mut read: impl FnMut(u32, WireValue<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for_each_field(body, |number, value| match (number, value) {
        (1, WireValue::Len(batch)) => for_each_field(batch, &mut read),
        (1, _) => Err(wrong_type("PostSpansRequest")),
        _ => Ok(()),
    })
}

fn read_process(message: &[u8]) -> Result<Process<'_>, DecodeError> {
    let mut process = Process::default();
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(name)) => process.service_name = name,
            (2, WireValue::Len(tag)) => {
                push_limited(&mut process.tags, MAX_PER_SPAN, "tags of its process", read_tag(tag)?)?
            }
            (1 | 2, _) => return Err(wrong_type("Process")),
            _ => {}
        }
        Ok(())
    })?;
    Ok(if process.service_name == NO_SERVICE_NAME { Process::default() } else { process })
}

/// Reads a span, and appends what is in it of its own process. True if it has one.
fn read_span<'a>(message: &'a [u8], span: &mut Span<'a>, process: &mut Vec<u8>) -> Result<bool, DecodeError> {
    span.clear();
    span.has_trace_state = true;
    let (mut duration, mut has_process) = (0_i64, false);
    for_each_field(message, |number, value| {
        let is_default = matches!(value, WireValue::Varint(0) | WireValue::Len([]));
        match (number, value) {
            (1, WireValue::Len(id)) => span.trace_id = trace_id(id)?,
            (2, WireValue::Len(id)) => span.id = span_id(id)?,
            (3, WireValue::Len(name)) => span.name = name,
            (4, WireValue::Len(reference)) => {
                push_limited(&mut span.references, MAX_PER_SPAN, "references", read_reference(reference)?)?;
            }
            (6, WireValue::Len(time)) => span.start = read_timestamp(time)?,
            (7, WireValue::Len(time)) => duration = read_duration(time)?,
            (8, WireValue::Len(tag)) => push_limited(&mut span.tags, MAX_PER_SPAN, "tags", read_tag(tag)?)?,
            (9, WireValue::Len(log)) => read_log(log, span)?,
            (10, WireValue::Len(piece)) => {
                process.extend_from_slice(piece);
                has_process = true;
            }
            // Flags, the id of a process that is not here, warnings.
            (5, WireValue::Varint(_)) | (11 | 12, WireValue::Len(_)) => {}
            (1..=12, _) => return Err(wrong_type("Span")),
            _ => {}
        }
        span.has_content |= match number {
            1 => span.trace_id != 0,
            2 => span.id != 0,
            7 => duration != 0,
            3 | 5 | 11 => !is_default,
            _ => true,
        };
        Ok(())
    })?;
    span.end = span.start.wrapping_add(duration.cast_unsigned());
    Ok(has_process)
}

fn trace_id(bytes: &[u8]) -> Result<u128, DecodeError> {
    if let Ok(bytes) = <[u8; 16]>::try_from(bytes) {
        return Ok(u128::from_be_bytes(bytes));
    }
    let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| DecodeError::invalid("invalid length for TraceID"))?;
    Ok(u64::from_be_bytes(bytes).into())
}

fn span_id(bytes: &[u8]) -> Result<u64, DecodeError> {
    let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| DecodeError::invalid("invalid length for SpanID"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A number of 32 bits, as gogo reads it: without what is above.
fn int32(varint: u64) -> i32 {
    (varint as u32).cast_signed()
}

fn read_reference(message: &[u8]) -> Result<Reference, DecodeError> {
    let mut reference = Reference { trace_id: 0, span_id: 0, kind: 0 };
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(id)) => reference.trace_id = trace_id(id)?,
            (2, WireValue::Len(id)) => reference.span_id = span_id(id)?,
            (3, WireValue::Varint(kind)) => reference.kind = int32(kind),
            (1..=3, _) => return Err(wrong_type("SpanRef")),
            _ => {}
        }
        Ok(())
    })?;
    Ok(reference)
}

fn read_tag(message: &[u8]) -> Result<Tag<'_>, DecodeError> {
    let (mut key, mut text, mut bytes) = (&b""[..], &b""[..], &b""[..]);
    let (mut kind, mut boolean, mut int, mut double) = (0, false, 0_i64, 0_f64);
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(v)) => key = v,
            (2, WireValue::Varint(v)) => kind = int32(v),
            (3, WireValue::Len(v)) => text = v,
            (4, WireValue::Varint(v)) => boolean = v != 0,
            (5, WireValue::Varint(v)) => int = v.cast_signed(),
            (6, WireValue::Fixed64(v)) => double = f64::from_bits(v),
            (7, WireValue::Len(v)) => bytes = v,
            (1..=7, _) => return Err(wrong_type("KeyValue")),
            _ => {}
        }
        Ok(())
    })?;
    let value = match kind {
        0 => TagValue::Text(text),
        1 => TagValue::Bool(boolean),
        2 => TagValue::Int(int),
        3 => TagValue::Double(double),
        4 => TagValue::Bytes(bytes),
        unknown => TagValue::UnknownType(unknown),
    };
    Ok(Tag { key, value })
}

fn read_log<'a>(message: &'a [u8], span: &mut Span<'a>) -> Result<(), DecodeError> {
    let (mut time, first_field) = (0, span.log_fields.len());
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(timestamp)) => time = read_timestamp(timestamp)?,
            (2, WireValue::Len(field)) => {
                push_limited(&mut span.log_fields, MAX_LOG_FIELDS, "fields of logs", read_tag(field)?)?;
            }
            (1 | 2, _) => return Err(wrong_type("Log")),
            _ => {}
        }
        Ok(())
    })?;
    let log = Log { time, fields: first_field..span.log_fields.len() };
    push_limited(&mut span.logs, MAX_PER_SPAN, "logs", log)
}

/// Seconds and nanoseconds of a `Timestamp` or a `Duration`.
fn read_seconds(message: &[u8]) -> Result<(i64, i32), DecodeError> {
    let (mut seconds, mut nanos) = (0_i64, 0);
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Varint(v)) => seconds = v.cast_signed(),
            (2, WireValue::Varint(v)) => nanos = int32(v),
            (1 | 2, _) => return Err(wrong_type("a time")),
            _ => {}
        }
        Ok(())
    })?;
    Ok((seconds, nanos))
}

/// Nanoseconds since the epoch.
fn read_timestamp(message: &[u8]) -> Result<u64, DecodeError> {
    let (seconds, nanos) = read_seconds(message)?;
    if !(FIRST_SECOND..SECONDS_END).contains(&seconds) || !(0..NANOS_PER_SECOND).contains(&i64::from(nanos)) {
        return Err(DecodeError::invalid(format!("timestamp of {seconds} s and {nanos} ns is out of range")));
    }
    Ok(seconds.wrapping_mul(NANOS_PER_SECOND).wrapping_add(nanos.into()).cast_unsigned())
}

/// Nanoseconds.
fn read_duration(message: &[u8]) -> Result<i64, DecodeError> {
    let (seconds, nanos) = read_seconds(message)?;
    let are_valid = (-MAX_DURATION_SECONDS..=MAX_DURATION_SECONDS).contains(&seconds)
        && i64::from(nanos).abs() < NANOS_PER_SECOND
        && seconds.signum() * i64::from(nanos).signum() >= 0;
    let duration = seconds.checked_mul(NANOS_PER_SECOND).and_then(|whole| whole.checked_add(nanos.into()));
    duration
        .filter(|_| are_valid)
        .ok_or_else(|| DecodeError::invalid(format!("duration of {seconds} s and {nanos} ns is out of range")))
}

/// Takes the name and the version of the scope from the tags: the first tag of each. Without a name there is no version.
fn take_scope<'a>(span: &mut Span<'a>) -> (&'a [u8], &'a [u8]) {
    let mut take = |key: &[u8]| {
        let at = span.tags.iter().position(|tag| tag.key == key)?;
        Some(match span.tags.remove(at).value {
            TagValue::Text(text) => text,
            _ => b"",
        })
    };
    match take(SCOPE_NAME) {
        Some(name) => (name, take(SCOPE_VERSION).unwrap_or_default()),
        None => (b"", b""),
    }
}
