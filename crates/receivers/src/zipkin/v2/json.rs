//! Version 2 in JSON.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Annotation, Endpoint, Kind, Tag, ZipkinSpan, address_text};
use crate::decode_error::{DecodeError, MAX_PER_SPAN};
use crate::span_groups::SpanGroups;

/// Reads a list of spans.
pub(crate) fn read(body: &[u8], parses_tags: bool, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
    read_list(body, |span: JsonSpan<'_>| span.into_span()?.add_to(parses_tags, groups))
}

/// Calls `add` with each element of a list. Null is an empty list, and nothing as an element.
pub(crate) fn read_list<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    add: impl FnMut(T) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let visitor = ListVisitor { add, failure: &mut failure, element: PhantomData };
    let result = deserializer.deserialize_any(visitor).and_then(|()| deserializer.end());
    match (failure, result) {
        (Some(failure), _) => Err(failure),
        (None, Err(e)) => Err(DecodeError::invalid(e)),
        (None, Ok(())) => Ok(()),
    }
}

struct ListVisitor<'f, T, F> {
    add: F,
    failure: &'f mut Option<DecodeError>,
    element: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), DecodeError>> Visitor<'de> for ListVisitor<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<Option<T>>()? {
            if let Some(element) = element
                && let Err(failure) = (self.add)(element)
            {
                *self.failure = Some(failure);
                return Err(A::Error::custom("a span is not accepted"));
            }
        }
        Ok(())
    }
}

/// A string, without a copy where it has no escapes. Null is an empty one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'a> Text<'a> {
    pub(crate) fn into_bytes(self) -> Cow<'a, [u8]> {
        match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// At most [`MAX_PER_SPAN`] elements. Null is none of them.
#[derive(Debug)]
pub(crate) struct BoundedList<T>(pub(crate) Vec<T>);

impl<T> Default for BoundedList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for BoundedList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundedVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
            type Value = BoundedList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<BoundedList<T>, E> {
                Ok(BoundedList::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<BoundedList<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX_PER_SPAN {
                        return Err(A::Error::custom(format_args!("a span has more than {MAX_PER_SPAN} annotations")));
                    }
                    elements.push(element);
                }
                Ok(BoundedList(elements))
            }
        }
        deserializer.deserialize_any(BoundedVisitor(PhantomData))
    }
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
    local_endpoint: Option<JsonEndpoint<'a>>,
    #[serde(borrow)]
    remote_endpoint: Option<JsonEndpoint<'a>>,
    #[serde(borrow)]
    annotations: BoundedList<JsonAnnotation<'a>>,
    #[serde(borrow)]
    tags: TagList<'a>,
}

#[derive(serde::Deserialize, Default, Debug)]
#[serde(default, rename_all = "camelCase")]
struct JsonEndpoint<'a> {
    #[serde(borrow)]
    service_name: Text<'a>,
    #[serde(borrow)]
    ipv4: Text<'a>,
    #[serde(borrow)]
    ipv6: Text<'a>,
    port: Option<u16>,
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

fn endpoint<'a>(endpoint: Option<JsonEndpoint<'a>>) -> Result<Endpoint<'a>, DecodeError> {
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
