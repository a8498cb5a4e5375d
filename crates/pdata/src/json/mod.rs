//! OTLP/JSON: conversion of a body to protobuf and back, each in one pass and without an intermediate tree.
//!
//! [`decode`] reads what the Go collector's receiver reads and returns OTLP bytes that [`crate::check`] accepts;
//! [`encode`] writes what the Go collector's `otlp_http` exporter writes with `encoding: json`. Nothing here allocates
//! for a span, a point or a label. The mapping is that of
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids in hexadecimal, enums as numbers,
//! lowerCamelCase names.
//!
//! Differences from Go in the reading of JSON text are documented in the tests of unusual documents.

mod decode;
mod encode;
mod reader;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::encode;

use crate::response::{self, PartialSuccess, RpcStatus};
use crate::{MAX_NESTING, Signal};

/// Why a body is not OTLP/JSON. The sender sent it so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JsonError {
    /// Path in the document, such as `resourceSpans[0].scopeSpans[0].spans[3].traceId`; empty for the whole document.
    pub path: String,
    /// Byte offset into the body.
    pub offset: usize,
    /// The kind of the error.
    pub kind: JsonErrorKind,
}

/// The kinds of [`JsonError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonErrorKind {
    /// A byte that the grammar or the field's type does not allow.
    Expected {
        /// What is allowed there.
        wanted: &'static str,
        /// The byte that was found; `None` is the end of the body.
        found: Option<u8>,
    },
    /// An id of the wrong length.
    IdLength {
        /// Number of digits that such an id has.
        wanted: usize,
        /// Number of digits that were found.
        found: usize,
    },
    /// An id with characters that are not hexadecimal digits.
    IdDigit,
    /// A number outside the range of its type, or a string that is not such a number.
    Number(&'static str),
    /// A string that is not the name of a value of the enum.
    Enum,
    /// Not padded standard base64.
    Base64,
    /// A control character that is not escaped.
    ControlCharacter(u8),
    /// A backslash followed by a character that JSON does not define as an escape.
    Escape,
    /// Values nested more than [`MAX_NESTING`] deep.
    Nesting,
}

impl std::fmt::Display for JsonErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Expected { wanted, found: None } => write!(f, "expected {wanted}, found the end of the body"),
            Self::Expected { wanted, found: Some(byte) } => {
                write!(f, "expected {wanted}, found '{}'", byte.escape_ascii())
            }
            Self::IdLength { wanted, found } => write!(f, "expected {wanted} hexadecimal digits, found {found}"),
            Self::IdDigit => f.write_str("expected hexadecimal digits"),
            Self::Number(type_name) => write!(f, "not {type_name}"),
            Self::Enum => f.write_str("unknown name of an enum value"),
            Self::Base64 => f.write_str("not padded standard base64"),
            Self::ControlCharacter(byte) => write!(f, "control character 0x{byte:02x} in a string"),
            Self::Escape => f.write_str("invalid escape in a string"),
            Self::Nesting => write!(f, "values nested more than {MAX_NESTING} deep"),
        }
    }
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} (at byte {})", self.kind, self.offset)
    }
}

impl std::error::Error for JsonError {}

/// Reads an `Export*ServiceResponse`; its absent fields are zero and empty.
///
/// # Errors
/// The first error, with its position.
pub fn decode_partial_success(signal: Signal, body: &[u8]) -> Result<PartialSuccess, JsonError> {
    let mut bytes = Vec::new();
    decode::decode_message(crate::schema::response(signal), body, &mut bytes)?;
    // The bytes were written by `decode::decode_message` and are well-formed.
    Ok(response::decode_partial_success(&bytes).unwrap_or_default())
}

/// Reads a `google.rpc.Status`, the body of an OTLP/HTTP error; its details are omitted.
///
/// # Errors
/// The first error, with its position.
pub fn decode_status(body: &[u8]) -> Result<RpcStatus, JsonError> {
    let mut bytes = Vec::new();
    decode::decode_message(&crate::schema::RPC_STATUS, body, &mut bytes)?;
    Ok(response::decode_status(&bytes).unwrap_or_default())
}
