//! Replaces invalid text, for a peer that rejects a body because a string in it is not UTF-8.
//!
//! OTLP's strings must be UTF-8, but [`crate::check`] does not verify this: a peer that accepts invalid strings
//! receives them unchanged. Fields that are not strings (ids, `bytes_value`) and unknown fields are not changed. Reads
//! bodies that [`crate::check`] has accepted.

use crate::rope::RopePart;
use crate::schema::{FieldType, MessageSchema, request};
use crate::wire_format::{WireValue, put_bytes_field, put_varint, raw_fields, varint_len};
use crate::{Rope, Signal};

/// Replaces each invalid sequence in the strings of a body by U+FFFD. `None` when there is none; otherwise the body,
/// and the number of strings that were changed. Takes time that grows with the body: work for a helper thread.
#[must_use]
pub fn repair_utf8(signal: Signal, body: &Rope) -> Option<(Rope, u64)> {
    let (mut repaired, mut replaced_strings) = (Rope::default(), 0);
    for part in body.parts() {
        let mut out = Vec::with_capacity(part.bytes.len() + 64);
        let before = replaced_strings;
        copy_repaired(request(signal), &part.bytes, &mut out, &mut replaced_strings);
        let bytes = if replaced_strings > before { out.into() } else { part.bytes.clone() };
        repaired.push(RopePart { bytes, items: part.items });
    }
    (replaced_strings > 0).then_some((repaired, replaced_strings))
}

fn copy_repaired(message: &'static MessageSchema, raw: &[u8], out: &mut Vec<u8>, replaced_strings: &mut u64) {
    for (field, number, wire) in raw_fields(raw) {
        let WireValue::Len(content) = wire else {
            out.extend_from_slice(field);
            continue;
        };
        let kind = message.field(number).map(|field| field.kind);
        if let Some(inner) = kind.and_then(FieldType::message) {
            put_varint(out, u64::from(number) << 3 | 2);
            let at = out.len();
            let width = varint_len(content.len() as u64);
            out.resize(at + width, 0);
            copy_repaired(inner, content, out, replaced_strings);
            set_length(out, at, width);
        } else if matches!(kind, Some(FieldType::String)) && std::str::from_utf8(content).is_err() {
            *replaced_strings += 1;
            put_bytes_field(out, number, String::from_utf8_lossy(content).as_bytes());
        } else {
            out.extend_from_slice(field);
        }
    }
}

/// Writes the length of the content that follows the `width` bytes reserved for it at `at`. Replacements make a message
/// longer, so that the reserved bytes can be too few.
fn set_length(out: &mut Vec<u8>, at: usize, width: usize) {
    let mut length = (out.len() - at - width) as u64;
    let needed = varint_len(length);
    if needed > width {
        out.splice(at..at, std::iter::repeat_n(0, needed - width));
    }
    for slot in out.iter_mut().skip(at).take(needed.max(width)) {
        *slot = (length & 0x7f) as u8 | if length > 0x7f { 0x80 } else { 0 };
        length >>= 7;
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    use super::*;
    use crate::check;
    use crate::wire_format::put_varint_field;

    fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        fields.iter().for_each(|(number, content)| put_bytes_field(&mut out, *number, content));
        out
    }

    /// A value nested `depth` deep, with a string as the innermost value.
    fn nested(depth: usize, text: &[u8]) -> Vec<u8> {
        (0..depth).fold(message(&[(1, text)]), |value, _| message(&[(5, &message(&[(1, &value)]))]))
    }

    fn traces(name: &[u8], value: &[u8]) -> Rope {
        let mut span =
            message(&[(1, &[0xff; 16]), (2, &[0xfe; 8]), (5, name), (9, &message(&[(1, b"k"), (2, value)]))]);
        put_varint_field(&mut span, 6, 2);
        let neighbour = message(&[(5, "n\u{e9}ighbour".as_bytes())]);
        let scope = message(&[(2, &span), (2, &neighbour), (77, b"\xff unknown")]);
        let body = message(&[(
            1,
            &message(&[(1, &message(&[(1, &message(&[(1, b"r"), (2, &message(&[(1, name)]))]))])), (2, &scope)]),
        )]);
        let items = check(Signal::Traces, &body).unwrap().items;
        Rope::new(body.into(), items)
    }

    #[test]
    fn body_of_valid_text_needs_no_repair() {
        let bytes_value = message(&[(7, b"\xff\xfe")]);
        assert!(repair_utf8(Signal::Traces, &traces(b"name", &bytes_value)).is_none());
        assert!(repair_utf8(Signal::Traces, &Rope::default()).is_none());
    }

    #[test]
    fn invalid_text_is_replaced_and_all_else_stays() {
        // Lengths around those at which the encoded length needs one byte more.
        for len in [1, 41, 42, 43, 61, 62, 63, 64, 125, 126, 127, 128, 5460, 5461, 5462, 16_383, 16_384] {
            for depth in [0, 1, 3, 99] {
                let text = vec![0xff; len];
                let body = traces(&text, &nested(depth, &text));
                assert!(ExportTraceServiceRequest::decode(&*body.to_bytes()).is_err());
                let (repaired, strings) = repair_utf8(Signal::Traces, &body).unwrap();
                assert_eq!((strings, repaired.items()), (3, 2));
                let bytes = repaired.to_bytes();
                assert_eq!(
                    check(Signal::Traces, &bytes).map(|summary| summary.items),
                    Ok(2),
                    "{len} bytes, {depth} deep"
                );
                let replaced = "\u{fffd}".repeat(len);
                let expected = traces(replaced.as_bytes(), &nested(depth, replaced.as_bytes()));
                assert_eq!(bytes, expected.to_bytes(), "{len} bytes, {depth} deep");
                assert!(repair_utf8(Signal::Traces, &repaired).is_none());
            }
        }
    }

    #[test]
    fn invalid_text_in_one_part_leaves_the_buffers_of_the_others() {
        let mut body = traces(b"fine", &nested(0, b"v"));
        body.append(traces(b"bad \xc3", &nested(0, b"v")));
        let (repaired, strings) = repair_utf8(Signal::Traces, &body).unwrap();
        assert_eq!(strings, 2);
        assert_eq!(repaired.parts()[0].bytes.as_ptr(), body.parts()[0].bytes.as_ptr());
        assert_eq!(repaired.items(), 4);
    }

    #[test]
    fn invalid_text_in_metrics_and_logs_is_replaced() {
        let point = message(&[(7, &message(&[(1, b"\xff")]))]);
        let metric = message(&[(1, b"m\xff"), (3, b"\xffs"), (5, &message(&[(1, &point)]))]);
        let metrics = message(&[(1, &message(&[(2, &message(&[(2, &metric)])), (3, b"url\xff")]))]);
        let record = message(&[(3, b"WARN\xff"), (5, &message(&[(1, b"\xff")])), (12, b"\xff")]);
        let logs = message(&[(1, &message(&[(2, &message(&[(2, &record)]))]))]);
        for (signal, body, changed) in [(Signal::Metrics, metrics, 4), (Signal::Logs, logs, 3)] {
            let items = check(signal, &body).unwrap().items;
            let (repaired, strings) = repair_utf8(signal, &Rope::new(body.into(), items)).unwrap();
            assert_eq!(strings, changed, "{signal:?}");
            assert!(check(signal, &repaired.to_bytes()).is_ok());
        }
    }
}
