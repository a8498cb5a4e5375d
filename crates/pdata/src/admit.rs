//! From a received buffer to a rope: the check, and the conversion of the only old format that is supported.
//!
//! Before OTLP 0.15 a resource's scopes were its field 1000, with the same type as field 2 today. As in the Go
//! collector they replace field 2 where that is empty; every other body is forwarded unchanged.

use bytes::Bytes;

use crate::check::LEGACY_SCOPES;
use crate::wire::{Fields, Wire, put_bytes, raw_fields};
use crate::{Malformed, Rope, Signal, check};

/// Checks a received body and makes a rope of it.
///
/// # Errors
/// See [`check`].
pub fn admit(signal: Signal, body: Bytes) -> Result<Rope, Malformed> {
    let found = check(signal, &body)?;
    if !found.legacy {
        return Ok(Rope::new(body, found.items));
    }
    let body = Bytes::from(upgrade(&body));
    let found = check(signal, &body)?;
    Ok(Rope::new(body, found.items))
}

/// Renumbers field 1000 to field 2 in every entry that has no field 2.
fn upgrade(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for (raw, number, wire) in raw_fields(body) {
        match wire {
            Wire::Len(entry) if number == 1 && !Fields::new(entry).any(|(number, _)| number == 2) => {
                let mut renewed = Vec::with_capacity(entry.len());
                for (raw, number, wire) in raw_fields(entry) {
                    match wire {
                        Wire::Len(scope) if number == LEGACY_SCOPES => put_bytes(&mut renewed, 2, scope),
                        _ => renewed.extend_from_slice(raw),
                    }
                }
                put_bytes(&mut out, 1, &renewed);
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
        put_bytes(&mut entry, 1, b"");
        for number in numbers {
            put_bytes(&mut entry, *number, b"\x12\x00");
        }
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &entry);
        body.into()
    }

    #[test]
    fn old_scopes_take_the_place_of_missing_ones() {
        let rope = admit(Signal::Traces, entry(&[LEGACY_SCOPES, LEGACY_SCOPES])).unwrap();
        assert_eq!(rope.items(), 2);
        assert_eq!(rope.to_bytes(), entry(&[2, 2]));
    }

    #[test]
    fn present_scopes_go_before_old_ones_and_everything_else_stays_as_it_came() {
        let both = entry(&[2, LEGACY_SCOPES]);
        let rope = admit(Signal::Logs, both.clone()).unwrap();
        assert_eq!((rope.items(), rope.to_bytes()), (1, both));
        let present = entry(&[2]);
        let rope = admit(Signal::Metrics, present.clone()).unwrap();
        assert_eq!(rope.to_bytes().as_ptr(), present.as_ptr(), "the buffer itself");
    }

    #[test]
    fn what_the_old_scopes_hold_is_checked_too() {
        let mut entry = Vec::new();
        put_bytes(&mut entry, LEGACY_SCOPES, b"\x12\x02\x0a\x05");
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &entry);
        assert!(admit(Signal::Traces, body.into()).is_err());
    }
}
