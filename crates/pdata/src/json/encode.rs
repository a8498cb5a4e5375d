//! From OTLP protobuf to OTLP/JSON, as the Go collector writes it.
//!
//! Each message is read once to find the positions of its fields, which are then written in the order of
//! [`super::schema`]. The input has passed [`crate::check`]. Fields in any order, fields that occur several times and
//! packed fields in several pieces are written as if they had been in canonical form. Unknown fields are omitted.

use super::read::plain_len;
use super::schema::{ANY_VALUE, FIELDS, Field, KEY_VALUE, Kind, Rule, Schema, request};
use crate::text::{put_base64, put_double, put_hex};
use crate::wire::{Fields, Wire, plain_attribute, zigzag32};
use crate::{Rope, Signal};

/// Appends `body`, an `Export*ServiceRequest`, as JSON.
///
/// In strings that are not UTF-8, each invalid byte is replaced by U+FFFD, so that the text is valid JSON.
pub fn encode(signal: Signal, body: &Rope, out: &mut Vec<u8>) {
    // Names and quotes take more room than the values.
    out.reserve(body.len().saturating_mul(3));
    out.push(b'{');
    let mut first = true;
    if let [field] = request(signal).fields {
        for part in body.parts() {
            for (number, wire) in Fields::new(&part.bytes) {
                if let (1, Wire::Len(entry)) = (number, wire) {
                    start_element(field, &mut first, out);
                    any_message(field.kind, entry, out);
                }
            }
        }
    }
    out.extend_from_slice(if first { b"}" } else { b"]}" });
}

/// Where a field is in its message.
#[derive(Clone, Copy)]
struct Found<'a> {
    /// The message from the first occurrence on.
    from: Fields<'a>,
    /// The last occurrence.
    last: Wire<'a>,
    count: usize,
}

fn any_message(kind: Kind, raw: &[u8], out: &mut Vec<u8>) {
    let (Kind::Message(schema) | Kind::Nested(schema)) = kind else { return };
    if std::ptr::eq(schema, &raw const KEY_VALUE) {
        key_value(raw, out);
    } else if std::ptr::eq(schema, &raw const ANY_VALUE) {
        any_value(member(raw), out);
    } else {
        message(schema, raw, out);
    }
}

fn message(schema: &'static Schema, raw: &[u8], out: &mut Vec<u8>) {
    let mut found: [Option<Found<'_>>; FIELDS] = [None; FIELDS];
    let mut alternative = None;
    let mut fields = Fields::new(raw);
    loop {
        let from = fields;
        let Some((number, last)) = fields.next() else { break };
        let Some(index) = schema.index(number) else { continue };
        if schema.fields.get(index).is_some_and(|field| field.rule == Rule::Oneof) {
            alternative = Some(index);
        }
        match found.get_mut(index) {
            Some(Some(found)) => {
                found.last = last;
                found.count += 1;
            }
            Some(slot) => *slot = Some(Found { from, last, count: 1 }),
            None => {}
        }
    }
    out.push(b'{');
    for (index, (field, found)) in schema.fields.iter().zip(found).enumerate() {
        match (field.rule, found) {
            (Rule::Many, Some(found)) => array(field, found, out),
            (Rule::Plain, found) => plain(field, found, out),
            (Rule::Oneof, _) if alternative != Some(index) => {}
            (Rule::Oneof | Rule::Optional, Some(found)) => {
                key(field, out);
                value(field.kind, found.last, out);
            }
            (Rule::Oneof | Rule::Optional | Rule::Many, None) => {}
        }
    }
    out.push(b'}');
}

/// A field that is written if it is not zero, or if it is a message.
fn plain(field: &Field, found: Option<Found<'_>>, out: &mut Vec<u8>) {
    let nested = matches!(field.kind, Kind::Message(_) | Kind::Nested(_));
    match found {
        None if !nested => {}
        None => {
            key(field, out);
            out.extend_from_slice(b"{}");
        }
        Some(found) if nested => {
            key(field, out);
            if found.count == 1 {
                let Wire::Len(raw) = found.last else { return };
                any_message(field.kind, raw, out);
            } else {
                // The pieces of a message, one after another, are the merged message.
                any_message(field.kind, &pieces(field, found), out);
            }
        }
        Some(found) if !is_zero(field.kind, found.last) => {
            key(field, out);
            value(field.kind, found.last, out);
        }
        Some(_) => {}
    }
}

#[cold]
fn pieces(field: &Field, found: Found<'_>) -> Vec<u8> {
    let mut whole = Vec::new();
    for (number, wire) in found.from {
        if let Wire::Len(piece) = wire
            && number == field.number
        {
            whole.extend_from_slice(piece);
        }
    }
    whole
}

fn array(field: &Field, found: Found<'_>, out: &mut Vec<u8>) {
    let mut first = true;
    let occurrences = found.from.filter(|(number, _)| *number == field.number).take(found.count);
    for (_, wire) in occurrences {
        match (field.kind, wire) {
            (kind @ (Kind::Message(_) | Kind::Nested(_)), Wire::Len(raw)) => {
                start_element(field, &mut first, out);
                any_message(kind, raw, out);
            }
            (Kind::Fixed64 | Kind::Double, Wire::Len(packed)) => {
                for bits in packed.chunks_exact(8) {
                    let bits = bits.first_chunk().map_or(0, |bits| u64::from_le_bytes(*bits));
                    start_element(field, &mut first, out);
                    value(field.kind, Wire::Fixed64(bits), out);
                }
            }
            (Kind::Uint64, Wire::Len(mut packed)) => {
                while let Some((v, rest)) = crate::wire::varint(packed) {
                    packed = rest;
                    start_element(field, &mut first, out);
                    value(field.kind, Wire::Varint(v), out);
                }
            }
            (kind, wire) => {
                start_element(field, &mut first, out);
                value(kind, wire, out);
            }
        }
    }
    if !first {
        out.push(b']');
    }
}

/// Writes the comma between elements, or the name and the bracket before the first element.
#[inline]
fn start_element(field: &Field, first: &mut bool, out: &mut Vec<u8>) {
    if std::mem::take(first) {
        key(field, out);
        out.push(b'[');
    } else {
        out.push(b',');
    }
}

/// Writes a name, with a comma before it if the object has members already.
#[inline]
fn key(field: &Field, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(field.tail.as_bytes());
}

fn is_zero(kind: Kind, wire: Wire<'_>) -> bool {
    match (kind, wire) {
        (Kind::TraceId | Kind::SpanId, Wire::Len(id)) => id.iter().all(|b| *b == 0),
        // Minus zero is zero, too.
        (Kind::Double, Wire::Fixed64(bits)) => f64::from_bits(bits) == 0.0,
        (Kind::Int32 | Kind::Sint32 | Kind::Uint32 | Kind::Enum(_), Wire::Varint(v)) => v as u32 == 0,
        (_, Wire::Len(v)) => v.is_empty(),
        (_, Wire::Varint(v) | Wire::Fixed64(v)) => v == 0,
        (_, Wire::Fixed32(v)) => v == 0,
    }
}

fn value(kind: Kind, wire: Wire<'_>, out: &mut Vec<u8>) {
    let quoted = |digits: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(digits.as_bytes());
        out.push(b'"');
    };
    let mut digits = itoa::Buffer::new();
    match (kind, wire) {
        (Kind::Message(_) | Kind::Nested(_), Wire::Len(raw)) => any_message(kind, raw, out),
        (Kind::Str, Wire::Len(v)) => put_string(v, out),
        (Kind::Bytes, Wire::Len(v)) => {
            out.push(b'"');
            put_base64(out, v);
            out.push(b'"');
        }
        (Kind::TraceId | Kind::SpanId, Wire::Len(v)) => {
            out.push(b'"');
            put_hex(out, v);
            out.push(b'"');
        }
        (Kind::Bool, Wire::Varint(v)) => out.extend_from_slice(if v == 0 { b"false" } else { b"true" }),
        // 32-bit numbers are the low half of their varint.
        (Kind::Int32 | Kind::Enum(_), Wire::Varint(v)) => {
            out.extend_from_slice(digits.format((v as u32).cast_signed()).as_bytes());
        }
        (Kind::Sint32, Wire::Varint(v)) => out.extend_from_slice(digits.format(zigzag32(v)).as_bytes()),
        (Kind::Uint32, Wire::Varint(v)) => out.extend_from_slice(digits.format(v as u32).as_bytes()),
        (Kind::Fixed32, Wire::Fixed32(v)) => out.extend_from_slice(digits.format(v).as_bytes()),
        (Kind::Int64, Wire::Varint(v)) | (Kind::Sfixed64, Wire::Fixed64(v)) => {
            quoted(digits.format(v.cast_signed()), out);
        }
        (Kind::Uint64, Wire::Varint(v)) | (Kind::Fixed64, Wire::Fixed64(v)) => quoted(digits.format(v), out),
        (Kind::Double, Wire::Fixed64(bits)) => put_number(f64::from_bits(bits), out),
        // Only possible for a body that was not checked: the output is valid JSON nevertheless.
        _ => out.extend_from_slice(b"null"),
    }
}

fn key_value(raw: &[u8], out: &mut Vec<u8>) {
    let (mut name, mut inner, mut strindex) = (&b""[..], None, 0_i32);
    if let Some((key_end, text)) = plain_attribute(raw) {
        name = raw.get(2..key_end).unwrap_or_default();
        inner = text.get(1..).map(|text| (0, Wire::Len(text)));
    } else {
        for (number, wire) in Fields::new(raw) {
            match (number, wire) {
                (1, Wire::Len(v)) => name = v,
                // A later value replaces an earlier one, unless the later one is empty.
                (2, Wire::Len(v)) => inner = member(v).or(inner),
                (3, Wire::Varint(v)) => strindex = (v as u32).cast_signed(),
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
    any_value(inner, out);
    if strindex != 0 {
        out.extend_from_slice(b",\"keyStrindex\":");
        out.extend_from_slice(itoa::Buffer::new().format(strindex).as_bytes());
    }
    out.push(b'}');
}

/// The last alternative in an `AnyValue`, with its index; `None` for an empty value.
#[inline]
fn member(raw: &[u8]) -> Option<(usize, Wire<'_>)> {
    let mut found = None;
    for (number, wire) in Fields::new(raw) {
        let fits = match number {
            1 | 5 | 6 | 7 => matches!(wire, Wire::Len(_)),
            2 | 3 | 8 => matches!(wire, Wire::Varint(_)),
            4 => matches!(wire, Wire::Fixed64(_)),
            _ => false,
        };
        if fits {
            found = ANY_VALUE.index(number).map(|index| (index, wire));
        }
    }
    found
}

fn any_value(member: Option<(usize, Wire<'_>)>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some((index, wire)) = member
        && let Some(field) = ANY_VALUE.fields.get(index)
    {
        out.push(b'"');
        out.extend_from_slice(field.tail.as_bytes());
        value(field.kind, wire, out);
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
        let (plain, rest) = v.split_at(plain_len(v));
        out.extend_from_slice(plain);
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
