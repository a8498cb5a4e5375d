//! Version 1 in JSON.

use std::borrow::Cow;

use super::{Annotation, BinaryAnnotation, BinaryValue, Endpoint, ZipkinSpan};
use crate::decode_error::DecodeError;
use crate::span_groups::SpanGroups;
use crate::zipkin::json::{BoundedList, JsonEndpoint, Text, read_list};
use crate::zipkin::text::tag_value;

/// Reads a list of spans.
pub(crate) fn read(body: &[u8], parses_tags: bool, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    read_list(body, |span: JsonSpan<'_>| span.into_span(parses_tags)?.add_to(groups))
}

#[derive(serde::Deserialize, Default, Debug)]
#[serde(default, rename_all = "camelCase")]
struct JsonSpan<'a> {
    #[serde(borrow)]
    trace_id: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    parent_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    timestamp: Option<i64>,
    duration: Option<i64>,
    #[serde(borrow)]
    annotations: BoundedList<Option<JsonAnnotation<'a>>>,
    #[serde(borrow)]
    binary_annotations: BoundedList<Option<JsonBinaryAnnotation<'a>>>,
}

#[derive(serde::Deserialize, Default, Debug)]
#[serde(default)]
struct JsonAnnotation<'a> {
    timestamp: Option<i64>,
    #[serde(borrow)]
    value: Text<'a>,
    #[serde(borrow)]
    endpoint: Option<JsonEndpoint<'a, i32>>,
}

#[derive(serde::Deserialize, Default, Debug)]
#[serde(default)]
struct JsonBinaryAnnotation<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
    #[serde(borrow)]
    endpoint: Option<JsonEndpoint<'a, i32>>,
}

impl<'a> JsonSpan<'a> {
    fn into_span(self, parses_tags: bool) -> Result<ZipkinSpan<'a>, DecodeError> {
        let annotation = |annotation: JsonAnnotation<'a>| Annotation {
            timestamp: annotation.timestamp.unwrap_or(0),
            value: annotation.value.into_bytes(),
            endpoint: annotation.endpoint.map(|endpoint| Endpoint {
                service_name: endpoint.service_name.into_bytes(),
                ipv4: endpoint.ipv4.into_bytes(),
                ipv6: endpoint.ipv6.into_bytes(),
                port: endpoint.port.unwrap_or(0),
            }),
        };
        let binary = |annotation: JsonBinaryAnnotation<'a>| {
            let raw = annotation.value.into_bytes();
            // An endpoint without a name says nothing.
            let name = annotation.endpoint.map(|endpoint| endpoint.service_name.into_bytes());
            BinaryAnnotation {
                key: annotation.key.into_bytes(),
                value: binary_value(&raw, parses_tags),
                raw,
                service_name: name.filter(|name| !name.is_empty()),
            }
        };
        Ok(ZipkinSpan {
            trace_id: parse_trace_id(&self.trace_id.0)?,
            id: parse_id("id", &self.id.0)?,
            parent_id: match &*self.parent_id.0 {
                "" => [0; 8],
                text => parse_id("parentId", text)?,
            },
            name: self.name.into_bytes(),
            timestamp: self.timestamp.filter(|timestamp| *timestamp != 0),
            duration: self.duration.unwrap_or(0),
            annotations: self.annotations.0.into_iter().flatten().map(annotation).collect(),
            binary_annotations: self.binary_annotations.0.into_iter().flatten().map(binary).collect(),
            marks_absent_start: true,
        })
    }
}

fn binary_value<'a>(text: &Cow<'a, [u8]>, parses_tags: bool) -> BinaryValue<'a> {
    use otelcore_pdata::views::AnyValue;
    match tag_value(text, parses_tags) {
        AnyValue::Bool(v) => BinaryValue::Bool(v),
        AnyValue::Int(v) => BinaryValue::Int(v),
        AnyValue::Double(v) => BinaryValue::Double(v),
        _ => BinaryValue::Text(text.clone()),
    }
}

/// The bytes of hexadecimal digits at the end of `N` bytes.
fn parse_digits<const N: usize>(name: &str, text: &str) -> Result<[u8; N], DecodeError> {
    let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    let Some(number) = number else {
        return Err(DecodeError::invalid(format!("zipkinV1 span {name}: {text:?} is not a hexadecimal number")));
    };
    let zero = || DecodeError::invalid(format!("zipkinV1 span {name}: the id is zero"));
    if number == 0 {
        return Err(zero());
    }
    number.to_be_bytes().last_chunk::<N>().copied().ok_or_else(zero)
}

fn parse_trace_id(text: &str) -> Result<[u8; 16], DecodeError> {
    match text.len() {
        16 | 32 => parse_digits("traceId", text),
        _ => Err(DecodeError::invalid("zipkinV1 span traceId: hex traceId span has wrong length (expected 16 or 32)")),
    }
}

fn parse_id(name: &str, text: &str) -> Result<[u8; 8], DecodeError> {
    match text.len() {
        16 => parse_digits(name, text),
        _ => Err(DecodeError::invalid(format!("zipkinV1 span {name}: hex Id has wrong length (expected 16)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_fixed_number_of_digits() {
        assert_eq!(parse_id("id", "00000000000000aB").unwrap(), [0, 0, 0, 0, 0, 0, 0, 0xab]);
        assert_eq!(parse_trace_id("00000000000000ab").unwrap()[15], 0xab);
        assert_eq!(parse_trace_id("ab000000000000000000000000000000").unwrap()[0], 0xab);
        for text in ["", "ab", "000000000000000g", "0000000000000000", "00000000000000ab00"] {
            assert!(parse_id("id", text).is_err() && parse_trace_id(text).is_err(), "{text}");
        }
    }
}
