//! Version 2 in JSON.

use std::fmt;
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{Annotation, Endpoint, Kind, Tag, ZipkinSpan, address_text};
use crate::decode_error::{DecodeError, MAX_PER_SPAN};
use crate::span_groups::SpanGroups;
use crate::zipkin::json::{BoundedList, JsonEndpoint, Text, read_list};

/// Reads a list of spans.
pub(crate) fn read(body: &[u8], parses_tags: bool, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    read_list(body, |span: JsonSpan<'_>| span.into_span()?.add_to(parses_tags, groups))
}

/// The tags of a span, in their order. Null is none.
#[derive(Default, Debug)]
struct TagList<'a>(Vec<Tag<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for TagList<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TagsVisitor;
        impl<'de> Visitor<'de> for TagsVisitor {
            type Value = TagList<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with strings")
            }

            fn visit_unit<E>(self) -> Result<TagList<'de>, E> {
                Ok(TagList::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TagList<'de>, A::Error> {
                let mut tags = Vec::new();
                while let Some((key, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    if tags.len() == MAX_PER_SPAN {
                        return Err(A::Error::custom(format_args!("a span has more than {MAX_PER_SPAN} tags")));
                    }
                    tags.push((key.into_bytes(), value.into_bytes()));
                }
                Ok(TagList(tags))
            }
        }
        deserializer.deserialize_any(TagsVisitor)
    }
}

#[derive(serde::Deserialize, Default, Debug)]
#[serde(default, rename_all = "camelCase")]
struct JsonSpan<'a> {
    #[serde(borrow)]
    trace_id: Option<Text<'a>>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    parent_id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    timestamp: Option<u64>,
    duration: Option<u64>,
    #[serde(borrow)]
    local_endpoint: Option<JsonEndpoint<'a, u16>>,
    #[serde(borrow)]
    remote_endpoint: Option<JsonEndpoint<'a, u16>>,
    #[serde(borrow)]
    annotations: BoundedList<JsonAnnotation<'a>>,
    #[serde(borrow)]
    tags: TagList<'a>,
}

#[derive(serde::Deserialize, Default, Debug)]
#[serde(default)]
struct JsonAnnotation<'a> {
    timestamp: Option<u64>,
    #[serde(borrow)]
    value: Text<'a>,
}

impl<'a> JsonSpan<'a> {
    fn into_span(self) -> Result<ZipkinSpan<'a>, DecodeError> {
        let id = parse_id("id", &self.id.0)?;
        if id == 0 {
            return Err(DecodeError::invalid("valid span id required"));
        }
        let annotation = |annotation: JsonAnnotation<'a>| match annotation.timestamp {
            Some(timestamp) if timestamp > 0 => Ok(Annotation { timestamp, value: annotation.value.into_bytes() }),
            _ => Err(DecodeError::invalid("valid annotation timestamp required")),
        };
        Ok(ZipkinSpan {
            trace_id: match self.trace_id {
                Some(text) => parse_trace_id(&text.0)?,
                None => [0; 16],
            },
            id,
            parent_id: parse_id("parentId", &self.parent_id.0)?,
            kind: match &*self.kind.0 {
                "CLIENT" => Some(Kind::Client),
                "SERVER" => Some(Kind::Server),
                "PRODUCER" => Some(Kind::Producer),
                "CONSUMER" => Some(Kind::Consumer),
                _ => None,
            },
            name: self.name.into_bytes(),
            timestamp: self.timestamp.filter(|timestamp| *timestamp > 0),
            duration: self.duration.unwrap_or(0),
            local_endpoint: endpoint(self.local_endpoint)?,
            remote_endpoint: endpoint(self.remote_endpoint)?,
            annotations: self.annotations.0.into_iter().map(annotation).collect::<Result<_, _>>()?,
            tags: self.tags.0,
        })
    }
}

fn endpoint<'a>(endpoint: Option<JsonEndpoint<'a, u16>>) -> Result<Endpoint<'a>, DecodeError> {
    let Some(JsonEndpoint { service_name, ipv4, ipv6, port }) = endpoint else { return Ok(Endpoint::default()) };
    let address = |text: Text<'a>| match &*text.0 {
        "" => Ok(None),
        text => match text.parse::<IpAddr>() {
            Ok(address) => Ok(Some(address_text(address))),
            Err(_) => Err(DecodeError::invalid(format!("invalid IP address: {text}"))),
        },
    };
    Ok(Endpoint {
        service_name: service_name.into_bytes(),
        ipv4: address(ipv4)?,
        ipv6: address(ipv6)?,
        port: port.unwrap_or(0),
    })
}

/// Up to 16 hexadecimal digits; nothing is zero.
fn parse_id(name: &str, text: &str) -> Result<u64, DecodeError> {
    if text.is_empty() {
        return Ok(0);
    }
    let is_hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    let value = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    value.ok_or_else(|| DecodeError::invalid(format!("{name} {text:?} is not a hexadecimal number of 64 bits")))
}

/// Up to 32 hexadecimal digits.
fn parse_trace_id(text: &str) -> Result<[u8; 16], DecodeError> {
    if text.is_empty() {
        return Err(DecodeError::invalid("valid traceId required"));
    }
    let at = text.len().saturating_sub(16);
    // A text with other characters is refused by the digits of its parts.
    let (high, low) = text.split_at_checked(at).unwrap_or((text, ""));
    let id = u128::from(parse_id("traceId", high)?) << 64 | u128::from(parse_id("traceId", low)?);
    Ok(id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_numbers() {
        assert_eq!(parse_id("id", "00ff").unwrap(), 255);
        assert_eq!(parse_id("id", "").unwrap(), 0);
        for text in ["g", "+1", "0x1", "10000000000000000", "é"] {
            assert!(parse_id("id", text).is_err(), "{text}");
        }
        assert_eq!(u128::from_be_bytes(parse_trace_id("1000000000000000f").unwrap()), (1 << 64) | 15);
        assert_eq!(u128::from_be_bytes(parse_trace_id("f").unwrap()), 15);
        for text in ["", "éééééééééééé", "1000000000000000010000000000000000"] {
            assert!(parse_trace_id(text).is_err(), "{text}");
        }
    }
}
