//! Version 2 in protobuf: a `zipkin.proto3.ListOfSpans`.

use std::borrow::Cow;

use otelcore_pdata::wire_format::WireValue;

use super::{Annotation, Endpoint, Kind, Tag, ZipkinSpan, address_of_bytes};
use crate::decode_error::{DecodeError, MAX_PER_SPAN};
use crate::protobuf_fields::for_each_field;
use crate::span_groups::SpanGroups;

/// Reads a list of spans.
pub(crate) fn read(body: &[u8], parses_tags: bool, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    for_each_field(body, |number, value| match (number, value) {
        (1, WireValue::Len(span)) => read_span(span)?.add_to(parses_tags, groups),
        _ => Ok(()),
    })
}

fn text(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(Cow::Borrowed(bytes)),
        Err(_) => Err(DecodeError::invalid("proto: a string field contains invalid UTF-8")),
    }
}

/// An id of eight bytes; `None` for nothing.
fn id(name: &str, bytes: &[u8]) -> Result<Option<u64>, DecodeError> {
    match <[u8; 8]>::try_from(bytes) {
        Ok(id) => Ok(Some(u64::from_be_bytes(id))),
        Err(_) if bytes.is_empty() => Ok(None),
        Err(_) => Err(DecodeError::invalid(format!("invalid {name}: has length {} yet wanted length 8", bytes.len()))),
    }
}

fn read_span(message: &[u8]) -> Result<ZipkinSpan<'_>, DecodeError> {
    // Unlike in JSON, a time of zero is one.
    let mut span = ZipkinSpan { timestamp: Some(0), ..ZipkinSpan::default() };
    let (mut trace_id, mut parent_id, mut span_id) = (&b""[..], &b""[..], &b""[..]);
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(bytes)) => trace_id = bytes,
            (2, WireValue::Len(bytes)) => parent_id = bytes,
            (3, WireValue::Len(bytes)) => span_id = bytes,
            (4, WireValue::Varint(kind)) => {
                span.kind = match kind {
                    1 => Some(Kind::Client),
                    2 => Some(Kind::Server),
                    3 => Some(Kind::Producer),
                    4 => Some(Kind::Consumer),
                    _ => None,
                }
            }
            (5, WireValue::Len(name)) => span.name = text(name)?,
            (6, WireValue::Fixed64(micros)) => span.timestamp = Some(micros),
            (7, WireValue::Varint(micros)) => span.duration = micros,
            (8, WireValue::Len(endpoint)) => read_endpoint(endpoint, &mut span.local_endpoint)?,
            (9, WireValue::Len(endpoint)) => read_endpoint(endpoint, &mut span.remote_endpoint)?,
            (10, WireValue::Len(_)) if span.annotations.len() == MAX_PER_SPAN => {
                return Err(DecodeError::too_many("annotations"));
            }
            (10, WireValue::Len(annotation)) => span.annotations.push(read_annotation(annotation)?),
            (11, WireValue::Len(_)) if span.tags.len() == MAX_PER_SPAN => return Err(DecodeError::too_many("tags")),
            (11, WireValue::Len(entry)) => span.tags.push(read_tag(entry)?),
            _ => {}
        }
        Ok(())
    })?;
    span.trace_id = trace_id.try_into().map_err(|_| {
        DecodeError::invalid(format!("invalid TraceID: has length {} yet wanted length 16", trace_id.len()))
    })?;
    span.parent_id = id("ParentID", parent_id)?.unwrap_or(0);
    span.id = id("SpanID", span_id)?.ok_or_else(|| DecodeError::invalid("expected a non-nil SpanID"))?;
    Ok(span)
}

fn read_endpoint<'a>(message: &'a [u8], endpoint: &mut Endpoint<'a>) -> Result<(), DecodeError> {
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(name)) => endpoint.service_name = text(name)?,
            (2, WireValue::Len(address)) => endpoint.ipv4 = address_of_bytes(address),
            (3, WireValue::Len(address)) => endpoint.ipv6 = address_of_bytes(address),
            // As in Go, the lower 16 bits of the number.
            (4, WireValue::Varint(port)) => endpoint.port = port as u16,
            _ => {}
        }
        Ok(())
    })
}

fn read_annotation(message: &[u8]) -> Result<Annotation<'_>, DecodeError> {
    let mut annotation = Annotation { timestamp: 0, value: Cow::Borrowed(b"") };
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Fixed64(micros)) => annotation.timestamp = micros,
            (2, WireValue::Len(value)) => annotation.value = text(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn read_tag(message: &[u8]) -> Result<Tag<'_>, DecodeError> {
    let (mut key, mut tag) = (Cow::Borrowed(&b""[..]), Cow::Borrowed(&b""[..]));
    for_each_field(message, |number, value| {
        match (number, value) {
            (1, WireValue::Len(bytes)) => key = text(bytes)?,
            (2, WireValue::Len(bytes)) => tag = text(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, tag))
}
