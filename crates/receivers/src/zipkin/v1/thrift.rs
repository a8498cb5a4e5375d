//! Version 1 in Thrift's binary protocol: a list of `zipkincore.Span`.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use otelcore_thrift::{Kind, Protocol, Reader};

use super::{Annotation, BinaryAnnotation, BinaryValue, Endpoint, ZipkinSpan};
use crate::decode_error::{DecodeError, MAX_PER_SPAN};
use crate::span_groups::SpanGroups;
use crate::zipkin::v2::address_of_bytes;

/// Reads a list of spans.
pub(crate) fn read(body: &[u8], groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(Protocol::Binary, body);
    // As in the Go receiver, the elements are spans, whatever the list says of their type.
    let (_, spans) = reader.list()?;
    for _ in 0..spans {
        read_span(&mut reader)?.add_to(groups)?;
    }
    Ok(())
}

fn read_span<'a>(reader: &mut Reader<'a>) -> Result<ZipkinSpan<'a>, DecodeError> {
    let (mut trace_id_high, mut trace_id_low, mut id, mut parent_id) = (0, 0, 0, 0);
    let mut span = ZipkinSpan {
        trace_id: [0; 16],
        id: [0; 8],
        parent_id: [0; 8],
        name: Cow::default(),
        timestamp: None,
        duration: 0,
        annotations: Vec::new(),
        binary_annotations: Vec::new(),
        marks_absent_start: false,
    };
    reader.read_struct(|reader, field, kind| -> Result<(), DecodeError> {
        match (field, kind) {
            (1, Kind::I64) => trace_id_low = reader.i64()?,
            (3, Kind::Binary) => span.name = Cow::Borrowed(reader.binary()?),
            (4, Kind::I64) => id = reader.i64()?,
            (5, Kind::I64) => parent_id = reader.i64()?,
            (6, Kind::List) => read_list(reader, "annotations", &mut span.annotations, read_annotation)?,
            (8, Kind::List) => {
                read_list(reader, "binary annotations", &mut span.binary_annotations, read_binary_annotation)?;
            }
            (10, Kind::I64) => span.timestamp = Some(reader.i64()?),
            (11, Kind::I64) => span.duration = reader.i64()?,
            (12, Kind::I64) => trace_id_high = reader.i64()?,
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    span.trace_id =
        (u128::from(trace_id_high.cast_unsigned()) << 64 | u128::from(trace_id_low.cast_unsigned())).to_be_bytes();
    span.id = id.to_be_bytes();
    span.parent_id = parent_id.to_be_bytes();
    Ok(span)
}

fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    what: &str,
    elements: &mut Vec<T>,
    read: impl Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    let (kind, length) = reader.list()?;
    elements.clear();
    for _ in 0..length {
        if kind != Kind::Struct {
            reader.skip(kind)?;
            continue;
        }
        if elements.len() == MAX_PER_SPAN {
            return Err(DecodeError::too_many(what));
        }
        elements.push(read(reader)?);
    }
    Ok(())
}

fn read_annotation<'a>(reader: &mut Reader<'a>) -> Result<Annotation<'a>, DecodeError> {
    let mut annotation = Annotation { timestamp: 0, value: Cow::default(), endpoint: None };
    reader.read_struct(|reader, field, kind| -> Result<(), DecodeError> {
        match (field, kind) {
            (1, Kind::I64) => annotation.timestamp = reader.i64()?,
            (2, Kind::Binary) => annotation.value = Cow::Borrowed(reader.binary()?),
            (3, Kind::Struct) => annotation.endpoint = Some(read_endpoint(reader)?),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(annotation)
}

fn read_endpoint<'a>(reader: &mut Reader<'a>) -> Result<Endpoint<'a>, DecodeError> {
    let mut endpoint = Endpoint::default();
    reader.read_struct(|reader, field, kind| -> Result<(), DecodeError> {
        match (field, kind) {
            (1, Kind::I32) => {
                let address = reader.i32()?.cast_unsigned();
                if address != 0 {
                    endpoint.ipv4 = Ipv4Addr::from(address).to_string().into_bytes().into();
                }
            }
            (2, Kind::I16) => endpoint.port = reader.i16()?.into(),
            (3, Kind::Binary) => endpoint.service_name = Cow::Borrowed(reader.binary()?),
            (4, Kind::Binary) => {
                endpoint.ipv6 = address_of_bytes(reader.binary()?).unwrap_or_default().into_bytes().into();
            }
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(endpoint)
}

fn read_binary_annotation<'a>(reader: &mut Reader<'a>) -> Result<BinaryAnnotation<'a>, DecodeError> {
    let (mut key, mut raw, mut value_kind) = (&b""[..], &b""[..], 0);
    let mut service_name = None;
    reader.read_struct(|reader, field, kind| -> Result<(), DecodeError> {
        match (field, kind) {
            (1, Kind::Binary) => key = reader.binary()?,
            (2, Kind::Binary) => raw = reader.binary()?,
            (3, Kind::I32) => value_kind = reader.i32()?,
            (4, Kind::Struct) => service_name = Some(read_endpoint(reader)?.service_name),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(BinaryAnnotation {
        key: Cow::Borrowed(key),
        value: binary_value(value_kind, raw),
        raw: Cow::Borrowed(raw),
        service_name,
    })
}

/// A value by its type: `BOOL`, `BYTES`, `I16`, `I32`, `I64`, `DOUBLE` or `STRING`, from 0 on. Integers have no sign
/// below 64 bits, as in the Go translator.
fn binary_value(kind: i32, raw: &[u8]) -> BinaryValue<'_> {
    let number = |found: Option<BinaryValue<'static>>| {
        let message = b"<not enough bytes representing the number>";
        found.unwrap_or(BinaryValue::Text(Cow::Borrowed(&message[..])))
    };
    match kind {
        0 => BinaryValue::Bool(raw == [1]),
        1 => BinaryValue::Text(STANDARD.encode(raw).into_bytes().into()),
        2 => number(raw.first_chunk().map(|v| BinaryValue::Int(u16::from_be_bytes(*v).into()))),
        3 => number(raw.first_chunk().map(|v| BinaryValue::Int(u32::from_be_bytes(*v).into()))),
        4 => number(raw.first_chunk().map(|v| BinaryValue::Int(i64::from_be_bytes(*v)))),
        5 => number(raw.first_chunk().map(|v| BinaryValue::Double(f64::from_be_bytes(*v)))),
        6 => BinaryValue::Text(Cow::Borrowed(raw)),
        _ => {
            let text = format!("<unknown zipkin v1 binary annotation type ({kind})>");
            BinaryValue::Text(text.into_bytes().into())
        }
    }
}
