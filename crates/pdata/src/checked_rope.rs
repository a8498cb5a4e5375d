//! From a received buffer to a rope: the check, and the conversion of the only old format that is supported.
//!
//! Before OTLP 0.15 a resource's scopes were its field 1000, with the same type as field 2 today. As in the Go
//! collector they replace field 2 where that is empty; every other body is forwarded unchanged.

use bytes::Bytes;

use crate::schema::LEGACY_SCOPES;
use crate::wire_format::{MessageFields, WireValue, put_bytes_field, raw_fields};
use crate::{MalformedBody, Rope, Signal, check};

/// Checks a received body and makes a rope of it.
///
/// # Errors
/// See [`check`].
pub fn checked_rope(signal: Signal, body: Bytes) -> Result<Rope, MalformedBody> {
    let summary = check(signal, &body)?;
    if !summary.has_legacy_scopes {
        return Ok(Rope::new(body, summary.items));
    }
    let body = Bytes::from(renumber_legacy_scopes(&body));
    let summary = check(signal, &body)?;
    Ok(Rope::new(body, summary.items))
}

/// Renumbers field 1000 to field 2 in every entry that has no field 2.
fn renumber_legacy_scopes(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for (raw, number, wire) in raw_fields(body) {
        match wire {
            WireValue::Len(entry) if number == 1 && !MessageFields::new(entry).any(|(number, _)| number == 2) => {
                let mut renumbered = Vec::with_capacity(entry.len());
                for (raw, number, wire) in raw_fields(entry) {
                    match wire {
                        WireValue::Len(scope) if number == LEGACY_SCOPES => put_bytes_field(&mut renumbered, 2, scope),
                        _ => renumbered.extend_from_slice(raw),
                    }
                }
                put_bytes_field(&mut out, 1, &renumbered);
            }
            _ => out.extend_from_slice(raw),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry with a resource, and a scope with one empty span under the given number.
    fn entry(numbers: &[u32]) -> Bytes {
        let mut entry = Vec::new();
        put_bytes_field(&mut entry, 1, b"");
        for number in numbers {
            put_bytes_field(&mut entry, *number, b"\x12\x00");
        }
        let mut body = Vec::new();
        put_bytes_field(&mut body, 1, &entry);
        body.into()
    }

    #[test]
    fn legacy_scopes_replace_missing_scopes() {
        let rope = checked_rope(Signal::Traces, entry(&[LEGACY_SCOPES, LEGACY_SCOPES])).unwrap();
        assert_eq!(rope.items(), 2);
        assert_eq!(rope.to_bytes(), entry(&[2, 2]));
    }

    #[test]
    fn present_scopes_take_precedence_over_legacy_scopes_and_the_body_is_unchanged() {
        let both = entry(&[2, LEGACY_SCOPES]);
        let rope = checked_rope(Signal::Logs, both.clone()).unwrap();
        assert_eq!((rope.items(), rope.to_bytes()), (1, both));
        let present = entry(&[2]);
        let rope = checked_rope(Signal::Metrics, present.clone()).unwrap();
        assert_eq!(rope.to_bytes().as_ptr(), present.as_ptr(), "the buffer itself");
    }

    #[test]
    fn malformed_legacy_scopes_are_refused() {
        let mut entry = Vec::new();
        put_bytes_field(&mut entry, LEGACY_SCOPES, b"\x12\x02\x0a\x05");
        let mut body = Vec::new();
        put_bytes_field(&mut body, 1, &entry);
        assert!(checked_rope(Signal::Traces, body.into()).is_err());
    }
}
