//! Links and events, which Zipkin has not: they are texts with parts between `|`, and attributes as JSON among them.
//!
//! A JSON object with a key that is there twice gives two attributes; the Go translator keeps the last one. Values that
//! are lists, objects or null are left out, as there.

use std::fmt;

use otelcore_pdata::build::{AttributesWriter, EventWriter, SpanWriter};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::decode_error::DecodeError;
use crate::zipkin::json::Text;

/// The most links of a span; tags of higher numbers stay tags.
const MAX_LINKS: u32 = 128;

/// The number in `otlp.link.7`, as it is written by the exporter.
pub(super) fn link_number(key: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(key.strip_prefix(b"otlp.link.")?).ok()?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Writes the links that are tags, from number 0 on to the first that is missing. Returns how many tags they were.
pub(super) fn write_links<'t>(
    get: impl Fn(&[u8]) -> Option<&'t [u8]>,
    span: &mut SpanWriter<'_>,
) -> Result<u32, DecodeError> {
    for number in 0..MAX_LINKS {
        let Some(text) = get(format!("otlp.link.{number}").as_bytes()) else { return Ok(number) };
        let mut parts = text.splitn(4, |b| *b == b'|');
        let (Some(trace_id), Some(span_id), Some(state), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let Some((attributes, dropped)) = split_last(rest) else { continue };
        let mut link = span.link();
        let trace_id: [u8; 16] = parse_id(trace_id)?;
        if trace_id != [0; 16] {
            link.trace_id(&trace_id);
        }
        let span_id: [u8; 8] = parse_id(span_id)?;
        if span_id != [0; 8] {
            link.span_id(&span_id);
        }
        link.trace_state(state).dropped_attributes_count(parse_dropped(dropped)?);
        write_attributes(attributes, link.attributes())?;
    }
    Ok(MAX_LINKS)
}

/// An annotation that is a name, or a name, attributes and their number that were dropped.
pub(super) fn write_event(text: &[u8], event: &mut EventWriter<'_>) -> Result<(), DecodeError> {
    let mut parts = text.splitn(2, |b| *b == b'|');
    event.name(parts.next().unwrap_or_default());
    if let Some((attributes, dropped)) = parts.next().and_then(split_last) {
        event.dropped_attributes_count(parse_dropped(dropped)?);
        write_attributes(attributes, event.attributes())?;
    }
    Ok(())
}

fn split_last(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|b| *b == b'|')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Hexadecimal digits, perhaps in quotes. Nothing is zeros.
fn parse_id<const N: usize>(text: &[u8]) -> Result<[u8; N], DecodeError> {
    let digits = match text {
        [b'"', digits @ .., b'"'] => digits,
        digits => digits,
    };
    let mut id = [0; N];
    if digits.is_empty() {
        return Ok(id);
    }
    if digits.len() / 2 != N {
        return Err(DecodeError::invalid("invalid length for ID"));
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
        let value = match pair {
            [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        *byte = value.and_then(|value| u8::try_from(value).ok()).ok_or_else(|| {
            let text = String::from_utf8_lossy(digits);
            DecodeError::invalid(format!("cannot unmarshal ID from string '{text}'"))
        })?;
    }
    if digits.len() % 2 == 1 {
        let text = String::from_utf8_lossy(digits);
        return Err(DecodeError::invalid(format!("cannot unmarshal ID from string '{text}'")));
    }
    Ok(id)
}

fn parse_dropped(text: &[u8]) -> Result<u32, DecodeError> {
    let is_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| is_digits).and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        DecodeError::invalid(format!("the number of dropped attributes is no number: {text:?}"))
    })
}

/// Writes the attributes of a JSON object.
fn write_attributes(json: &[u8], mut writer: AttributesWriter<'_>) -> Result<(), DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    AttributesSeed(&mut writer)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|e| DecodeError::invalid(format!("attributes of a link or event are no JSON object: {e}")))
}

/// Writes the members of an object.
struct AttributesSeed<'w, 'b>(&'w mut AttributesWriter<'b>);

impl<'de> DeserializeSeed<'de> for AttributesSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AttributesSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            map.next_value_seed(ValueSeed { key: key.as_bytes(), writer: self.0 })?;
        }
        Ok(())
    }
}

/// Writes the value of one key.
struct ValueSeed<'k, 'w, 'b> {
    key: &'k [u8],
    writer: &'w mut AttributesWriter<'b>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.writer.string(self.key, text.as_bytes());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.writer.bool(self.key, value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    /// All numbers are doubles in Go; whole ones become integers.
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        if value % 1.0 == 0.0 {
            self.writer.int(self.key, value as i64);
        } else {
            self.writer.double(self.key, value);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_numbers_are_those_that_the_exporter_writes() {
        assert_eq!(link_number(b"otlp.link.0"), Some(0));
        assert_eq!(link_number(b"otlp.link.12"), Some(12));
        for key in [&b"otlp.link."[..], b"otlp.link.01", b"otlp.link.+1", b"otlp.link.x", b"link.0"] {
            assert_eq!(link_number(key), None);
        }
    }

    #[test]
    fn malformed_ids_and_numbers_are_errors() {
        assert_eq!(parse_id::<2>(b"\"0aFF\"").unwrap(), [10, 255]);
        assert_eq!(parse_id::<2>(b"").unwrap(), [0, 0]);
        for text in [&b"0a"[..], b"0a0b0", b"0a0g", b"0a0b0c"] {
            assert!(parse_id::<2>(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_dropped(b"7").unwrap(), 7);
        for text in [&b""[..], b"+1", b"-1", b"4294967296", b"x"] {
            assert!(parse_dropped(text).is_err(), "{text:?}");
        }
    }
}
