//! The response of a server to an export: the partial success of a successful response, the status of an error.
//!
//! Both are read from protobuf here and from JSON in [`crate::json`]. Text that is not UTF-8 is replaced: it is only
//! logged.

use crate::wire::{Fields, Wire};

/// `Export*PartialSuccess`. Zero and empty fields are full success.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartialSuccess {
    /// Spans, data points or log records that the server rejected.
    pub rejected: i64,
    /// The reason, or a warning if nothing was rejected.
    pub message: String,
}

/// `google.rpc.Status` without its details.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The gRPC code.
    pub code: i32,
    /// Message for developers.
    pub message: String,
}

/// The bytes are not such a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAResponse;

impl std::fmt::Display for NotAResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response is not valid protobuf")
    }
}

impl std::error::Error for NotAResponse {}

/// Reads an `Export*ServiceResponse` of any signal: they have the same fields. An empty response is full success.
///
/// # Errors
/// [`NotAResponse`] for malformed bytes and fields of another type.
pub fn partial_success(response: &[u8]) -> Result<PartialSuccess, NotAResponse> {
    let mut found = PartialSuccess::default();
    each(response, |number, wire| {
        match (number, wire) {
            (1, Wire::Len(partial)) => each(partial, |number, wire| {
                match (number, wire) {
                    (1, Wire::Varint(v)) => found.rejected = v.cast_signed(),
                    (2, Wire::Len(v)) => found.message = String::from_utf8_lossy(v).into_owned(),
                    (1 | 2, _) => return Err(NotAResponse),
                    _ => {}
                }
                Ok(())
            })?,
            (1, _) => return Err(NotAResponse),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Reads a `google.rpc.Status`.
///
/// # Errors
/// [`NotAResponse`] for malformed bytes and fields of another type.
pub fn status(status: &[u8]) -> Result<Status, NotAResponse> {
    let mut found = Status::default();
    each(status, |number, wire| {
        match (number, wire) {
            // An int32 is the low 32 bits of its varint.
            (1, Wire::Varint(v)) => found.code = v as i32,
            (2, Wire::Len(v)) => found.message = String::from_utf8_lossy(v).into_owned(),
            (1 | 2, _) => return Err(NotAResponse),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Calls `field` for every field of a message, which must be well-formed to its end.
fn each(message: &[u8], mut field: impl FnMut(u32, Wire<'_>) -> Result<(), NotAResponse>) -> Result<(), NotAResponse> {
    let mut fields = Fields::new(message);
    for (number, wire) in fields.by_ref() {
        field(number, wire)?;
    }
    if fields.rest().is_empty() { Ok(()) } else { Err(NotAResponse) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_uint};

    #[test]
    fn a_partial_success_is_read_and_an_empty_answer_is_full_success() {
        let mut partial = Vec::new();
        put_uint(&mut partial, 1, 3);
        put_bytes(&mut partial, 2, b"too \xff old");
        put_uint(&mut partial, 9, 1);
        let mut response = Vec::new();
        put_bytes(&mut response, 1, &partial);
        let message = "too \u{fffd} old".to_owned();
        assert_eq!(partial_success(&response), Ok(PartialSuccess { rejected: 3, message }));
        for full in [&b""[..], b"\x0a\x00", b"\x10\x01"] {
            assert_eq!(partial_success(full), Ok(PartialSuccess::default()));
        }
    }

    #[test]
    fn a_status_is_read_without_its_details() {
        let mut bytes = Vec::new();
        put_uint(&mut bytes, 1, 14);
        put_bytes(&mut bytes, 2, b"busy");
        put_bytes(&mut bytes, 3, b"\x0a\x00");
        assert_eq!(status(&bytes), Ok(Status { code: 14, message: "busy".to_owned() }));
    }

    #[test]
    fn other_bytes_are_refused() {
        for bad in [&b"<html>"[..], b"\x0a\x05", b"\x08\x01", b"\x0a\x02\x0a\x00", b"\x0a\x02\x08\x80"] {
            assert_eq!(partial_success(bad), Err(NotAResponse), "{bad:?}");
        }
        for bad in [&b"\x0a\x00"[..], b"\x10\x01", b"\x08"] {
            assert_eq!(status(bad), Err(NotAResponse), "{bad:?}");
        }
    }
}
