//! From OTLP protobuf to OTLP/JSON, as the Go collector writes it.
//!
//! Each message is read once to find the positions of its fields, which are then written in the order of
//! [`crate::schema`]. The input has passed [`crate::check`]. Fields in any order, fields that occur several times and
//! packed fields in several pieces are written as if they had been in canonical form. Unknown fields are omitted.

use super::reader::plain_len;
use crate::schema::{self, ANY_VALUE, FieldRule, FieldSchema, FieldType, KEY_VALUE, MAX_FIELDS, MessageSchema};
use crate::text::{put_base64, put_double, put_hex};
use crate::wire_format::{MessageFields, WireValue, decode_zigzag32, short_string_attribute};
use crate::{Rope, Signal};

/// Appends `body`, an `Export*ServiceRequest`, as JSON.
///
/// In strings that are not UTF-8, each invalid byte is replaced by U+FFFD, so that the text is valid JSON.
pub fn encode(signal: Signal, body: &Rope, out: &mut Vec<u8>) {
    // Names and quotes take more room than the values.
    out.reserve(body.len().saturating_mul(3));
    out.push(b'{');
    let mut first = true;
    if let [field] = schema::request(signal).fields {
        for part in body.parts() {
            for (number, wire) in MessageFields::new(&part.bytes) {
                if let (1, WireValue::Len(entry)) = (number, wire) {
                    start_element(field, &mut first, out);
                    put_any_message(field.kind, entry, out);
                }
            }
        }
    }
    out.extend_from_slice(if first { b"}" } else { b"]}" });
}

/// Where a field is in its message.
#[derive(Clone, Copy)]
struct FieldOccurrences<'a> {
    /// The message from the first occurrence on.
    first: MessageFields<'a>,
    /// The last occurrence.
    last: WireValue<'a>,
    count: usize,
}

fn put_any_message(kind: FieldType, raw: &[u8], out: &mut Vec<u8>) {
    let Some(schema) = kind.message() else { return };
    if std::ptr::eq(schema, &raw const KEY_VALUE) {
        put_key_value(raw, out);
    } else if std::ptr::eq(schema, &raw const ANY_VALUE) {
        put_any_value(any_value_member(raw), out);
    } else {
        put_message(schema, raw, out);
    }
}

fn put_message(schema: &'static MessageSchema, raw: &[u8], out: &mut Vec<u8>) {
    let mut found: [Option<FieldOccurrences<'_>>; MAX_FIELDS] = [None; MAX_FIELDS];
    let mut oneof_index = None;
    let mut fields = MessageFields::new(raw);
    loop {
        let from = fields;
        let Some((number, last)) = fields.next() else { break };
        let Some(index) = schema.index_of_number(number) else { continue };
        if schema.fields.get(index).is_some_and(|field| field.rule == FieldRule::Oneof) {
            oneof_index = Some(index);
        }
        match found.get_mut(index) {
            Some(Some(found)) => {
                found.last = last;
                found.count += 1;
            }
            Some(slot) => *slot = Some(FieldOccurrences { first: from, last, count: 1 }),
            None => {}
        }
    }
    out.push(b'{');
    for (index, (field, found)) in schema.fields.iter().zip(found).enumerate() {
        match (field.rule, found) {
            (FieldRule::Repeated, Some(found)) => put_array(field, found, out),
            (FieldRule::Plain, found) => put_plain_field(field, found, out),
            (FieldRule::Oneof, _) if oneof_index != Some(index) => {}
            (FieldRule::Oneof | FieldRule::Optional, Some(found)) => {
                put_key(field, out);
                put_value(field.kind, found.last, out);
            }
            (FieldRule::Oneof | FieldRule::Optional | FieldRule::Repeated, None) => {}
        }
    }
    out.push(b'}');
}

/// A field that is written if it is not zero, or if it is a message.
fn put_plain_field(field: &FieldSchema, found: Option<FieldOccurrences<'_>>, out: &mut Vec<u8>) {
    let is_message = field.kind.message().is_some();
    match found {
        None if !is_message => {}
        None => {
            put_key(field, out);
            out.extend_from_slice(b"{}");
        }
        Some(found) if is_message => {
            put_key(field, out);
            if found.count == 1 {
                let WireValue::Len(raw) = found.last else { return };
                put_any_message(field.kind, raw, out);
            } else {
                // The pieces of a message, one after another, are the merged message.
                put_any_message(field.kind, &concat_occurrences(field, found), out);
            }
        }
        Some(found) if !is_zero(field.kind, found.last) => {
            put_key(field, out);
            put_value(field.kind, found.last, out);
        }
        Some(_) => {}
    }
}

#[cold]
fn concat_occurrences(field: &FieldSchema, found: FieldOccurrences<'_>) -> Vec<u8> {
    let mut merged = Vec::new();
    for (number, wire) in found.first {
        if let WireValue::Len(piece) = wire
            && number == field.number
        {
            merged.extend_from_slice(piece);
        }
    }
    merged
}

fn put_array(field: &FieldSchema, found: FieldOccurrences<'_>, out: &mut Vec<u8>) {
    let mut first = true;
    let occurrences = found.first.filter(|(number, _)| *number == field.number).take(found.count);
    for (_, wire) in occurrences {
        match (field.kind, wire) {
            (kind, WireValue::Len(raw)) if kind.message().is_some() => {
                start_element(field, &mut first, out);
                put_any_message(kind, raw, out);
            }
            (FieldType::Fixed64 | FieldType::Double, WireValue::Len(packed)) => {
                for bits in packed.chunks_exact(8) {
                    let bits = bits.first_chunk().map_or(0, |bits| u64::from_le_bytes(*bits));
                    start_element(field, &mut first, out);
                    put_value(field.kind, WireValue::Fixed64(bits), out);
                }
            }
            (FieldType::Uint64, WireValue::Len(mut packed)) => {
                while let Some((v, rest)) = crate::wire_format::read_varint(packed) {
                    packed = rest;
                    start_element(field, &mut first, out);
                    put_value(field.kind, WireValue::Varint(v), out);
                }
            }
            (kind, wire) => {
                start_element(field, &mut first, out);
                put_value(kind, wire, out);
            }
        }
    }
    if !first {
        out.push(b']');
    }
}

/// Writes the comma between elements, or the name and the bracket before the first element.
#[inline]
fn start_element(field: &FieldSchema, first: &mut bool, out: &mut Vec<u8>) {
    if std::mem::take(first) {
        put_key(field, out);
        out.push(b'[');
    } else {
        out.push(b',');
    }
}

/// Writes a name, with a comma before it if the object has members already.
#[inline]
fn put_key(field: &FieldSchema, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(field.key_tail.as_bytes());
}

fn is_zero(kind: FieldType, wire: WireValue<'_>) -> bool {
    match (kind, wire) {
        (FieldType::TraceId | FieldType::SpanId, WireValue::Len(id)) => id.iter().all(|b| *b == 0),
        // Minus zero is zero, too.
        (FieldType::Double, WireValue::Fixed64(bits)) => f64::from_bits(bits) == 0.0,
        (FieldType::Int32 | FieldType::Sint32 | FieldType::Uint32 | FieldType::Enum(_), WireValue::Varint(v)) => {
            v as u32 == 0
        }
        (_, WireValue::Len(v)) => v.is_empty(),
        (_, WireValue::Varint(v) | WireValue::Fixed64(v)) => v == 0,
        (_, WireValue::Fixed32(v)) => v == 0,
    }
}

fn put_value(kind: FieldType, wire: WireValue<'_>, out: &mut Vec<u8>) {
    let quoted = |digits: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(digits.as_bytes());
        out.push(b'"');
    };
    let mut digits = itoa::Buffer::new();
    match (kind, wire) {
        (kind, WireValue::Len(raw)) if kind.message().is_some() => put_any_message(kind, raw, out),
        (FieldType::String, WireValue::Len(v)) => put_string(v, out),
        (FieldType::Bytes, WireValue::Len(v)) => {
            out.push(b'"');
            put_base64(out, v);
            out.push(b'"');
        }
        (FieldType::TraceId | FieldType::SpanId, WireValue::Len(v)) => {
            out.push(b'"');
            put_hex(out, v);
            out.push(b'"');
        }
        (FieldType::Bool, WireValue::Varint(v)) => out.extend_from_slice(if v == 0 { b"false" } else { b"true" }),
        // 32-bit numbers are the low half of their varint.
        (FieldType::Int32 | FieldType::Enum(_), WireValue::Varint(v)) => {
            out.extend_from_slice(digits.format((v as u32).cast_signed()).as_bytes());
        }
        (FieldType::Sint32, WireValue::Varint(v)) => {
            out.extend_from_slice(digits.format(decode_zigzag32(v)).as_bytes())
        }
        (FieldType::Uint32, WireValue::Varint(v)) => out.extend_from_slice(digits.format(v as u32).as_bytes()),
        (FieldType::Fixed32, WireValue::Fixed32(v)) => out.extend_from_slice(digits.format(v).as_bytes()),
        (FieldType::Int64, WireValue::Varint(v)) | (FieldType::Sfixed64, WireValue::Fixed64(v)) => {
            quoted(digits.format(v.cast_signed()), out);
        }
        (FieldType::Uint64, WireValue::Varint(v)) | (FieldType::Fixed64, WireValue::Fixed64(v)) => {
            quoted(digits.format(v), out)
        }
        (FieldType::Double, WireValue::Fixed64(bits)) => put_number(f64::from_bits(bits), out),
        // Only possible for a body that was not checked: the output is valid JSON nevertheless.
        _ => out.extend_from_slice(b"null"),
    }
}

fn put_key_value(raw: &[u8], out: &mut Vec<u8>) {
    let (mut name, mut member, mut strindex) = (&b""[..], None, 0_i32);
    if let Some((key_end, text)) = short_string_attribute(raw) {
        name = raw.get(2..key_end).unwrap_or_default();
        member = text.get(1..).map(|text| (0, WireValue::Len(text)));
    } else {
        for (number, wire) in MessageFields::new(raw) {
            match (number, wire) {
                (1, WireValue::Len(v)) => name = v,
                // A later value replaces an earlier one, unless the later one is empty.
                (2, WireValue::Len(v)) => member = any_value_member(v).or(member),
                (3, WireValue::Varint(v)) => strindex = (v as u32).cast_signed(),
                _ => {}
            }
        }
    }
    out.push(b'{');
    if !name.is_empty() {
        out.extend_from_slice(b"\"key\":");
        put_string(name, out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"value\":");
    put_any_value(member, out);
    if strindex != 0 {
        out.extend_from_slice(b",\"keyStrindex\":");
        out.extend_from_slice(itoa::Buffer::new().format(strindex).as_bytes());
    }
    out.push(b'}');
}

/// The last alternative in an `AnyValue`, with its index; `None` for an empty value.
#[inline]
fn any_value_member(raw: &[u8]) -> Option<(usize, WireValue<'_>)> {
    let mut found = None;
    for (number, wire) in MessageFields::new(raw) {
        let fits = match number {
            1 | 5 | 6 | 7 => matches!(wire, WireValue::Len(_)),
            2 | 3 | 8 => matches!(wire, WireValue::Varint(_)),
            4 => matches!(wire, WireValue::Fixed64(_)),
            _ => false,
        };
        if fits {
            found = ANY_VALUE.index_of_number(number).map(|index| (index, wire));
        }
    }
    found
}

fn put_any_value(member: Option<(usize, WireValue<'_>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some((index, wire)) = member
        && let Some(field) = ANY_VALUE.fields.get(index)
    {
        out.push(b'"');
        out.extend_from_slice(field.key_tail.as_bytes());
        put_value(field.kind, wire, out);
    }
    out.push(b'}');
}

/// A string as Go's encoder writes it here: without HTML escapes, and with other escapes only where JSON requires them.
fn put_string(v: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if let Ok(_utf8) = std::str::from_utf8(v) {
        put_escaped(v, out);
    } else {
        for chunk in v.utf8_chunks() {
            put_escaped(chunk.valid().as_bytes(), out);
            for _ in chunk.invalid() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
    out.push(b'"');
}

fn put_escaped(mut v: &[u8], out: &mut Vec<u8>) {
    loop {
        let (unescaped, rest) = v.split_at(plain_len(v));
        out.extend_from_slice(unescaped);
        let Some((byte, rest)) = rest.split_first() else { return };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                out.extend_from_slice(b"\\u00");
                put_hex(out, &[*byte]);
            }
        }
        v = rest;
    }
}

/// A number, or a string for a value that is not a JSON number. Go writes exponents with at least two digits.
fn put_number(v: f64, out: &mut Vec<u8>) {
    if !v.is_finite() {
        out.push(b'"');
        put_double(out, v);
        out.push(b'"');
        return;
    }
    put_double(out, v);
    if let [.., b'e', b'-' | b'+', digit] = *out.as_slice() {
        out.pop();
        out.extend_from_slice(&[b'0', digit]);
    }
}
