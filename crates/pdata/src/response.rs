//! The response of a server to an export: the partial success of a successful response, the status of an error.
//!
//! Both are read from protobuf here and from JSON in [`crate::json`]. Text that is not UTF-8 is replaced: it is only
//! logged.

use crate::wire_format::{MessageFields, WireValue};

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
pub struct RpcStatus {
    /// The gRPC code.
    pub code: i32,
    /// Message for developers.
    pub message: String,
}

/// The bytes are not such a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidResponse;

impl std::fmt::Display for InvalidResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the response is not valid protobuf")
    }
}

impl std::error::Error for InvalidResponse {}

/// Reads an `Export*ServiceResponse` of any signal: they have the same fields. An empty response is full success.
///
/// # Errors
/// [`InvalidResponse`] for malformed bytes and fields of another type.
pub fn decode_partial_success(response: &[u8]) -> Result<PartialSuccess, InvalidResponse> {
    let mut partial_success = PartialSuccess::default();
    for_each_field(response, |number, wire| {
        match (number, wire) {
            (1, WireValue::Len(partial)) => for_each_field(partial, |number, wire| {
                match (number, wire) {
                    (1, WireValue::Varint(v)) => partial_success.rejected = v.cast_signed(),
                    (2, WireValue::Len(v)) => partial_success.message = String::from_utf8_lossy(v).into_owned(),
                    (1 | 2, _) => return Err(InvalidResponse),
                    _ => {}
                }
                Ok(())
            })?,
            (1, _) => return Err(InvalidResponse),
            _ => {}
        }
        Ok(())
    })?;
    Ok(partial_success)
}

/// Reads a `google.rpc.Status`.
///
/// # Errors
/// [`InvalidResponse`] for malformed bytes and fields of another type.
pub fn decode_status(body: &[u8]) -> Result<RpcStatus, InvalidResponse> {
    let mut status = RpcStatus::default();
    for_each_field(body, |number, wire| {
        match (number, wire) {
            // An int32 is the low 32 bits of its varint.
            (1, WireValue::Varint(v)) => status.code = v as i32,
            (2, WireValue::Len(v)) => status.message = String::from_utf8_lossy(v).into_owned(),
            (1 | 2, _) => return Err(InvalidResponse),
            _ => {}
        }
        Ok(())
    })?;
    Ok(status)
}

/// Calls `field` for every field of a message, which must be well-formed to its end.
fn for_each_field(
    message: &[u8],
    mut field: impl FnMut(u32, WireValue<'_>) -> Result<(), InvalidResponse>,
) -> Result<(), InvalidResponse> {
    let mut fields = MessageFields::new(message);
    for (number, wire) in fields.by_ref() {
        field(number, wire)?;
    }
    if fields.rest().is_empty() { Ok(()) } else { Err(InvalidResponse) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire_format::{put_bytes_field, put_varint_field};

    #[test]
    fn partial_success_is_decoded_and_an_empty_response_is_full_success() {
        let mut partial = Vec::new();
        put_varint_field(&mut partial, 1, 3);
        put_bytes_field(&mut partial, 2, b"too \xff old");
        put_varint_field(&mut partial, 9, 1);
        let mut response = Vec::new();
        put_bytes_field(&mut response, 1, &partial);
        let message = "too \u{fffd} old".to_owned();
        assert_eq!(decode_partial_success(&response), Ok(PartialSuccess { rejected: 3, message }));
        for full in [&b""[..], b"\x0a\x00", b"\x10\x01"] {
            assert_eq!(decode_partial_success(full), Ok(PartialSuccess::default()));
        }
    }

    #[test]
    fn status_is_decoded_without_its_details() {
        let mut bytes = Vec::new();
        put_varint_field(&mut bytes, 1, 14);
        put_bytes_field(&mut bytes, 2, b"busy");
        put_bytes_field(&mut bytes, 3, b"\x0a\x00");
        assert_eq!(decode_status(&bytes), Ok(RpcStatus { code: 14, message: "busy".to_owned() }));
    }

    #[test]
    fn malformed_responses_are_refused() {
        for bad in [&b"<html>"[..], b"\x0a\x05", b"\x08\x01", b"\x0a\x02\x0a\x00", b"\x0a\x02\x08\x80"] {
            assert_eq!(decode_partial_success(bad), Err(InvalidResponse), "{bad:?}");
        }
        for bad in [&b"\x0a\x00"[..], b"\x10\x01", b"\x08"] {
            assert_eq!(decode_status(bad), Err(InvalidResponse), "{bad:?}");
        }
    }
}
