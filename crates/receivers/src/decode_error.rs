//! Why a body is not accepted, and the limit of what is held for one span.

use otelcore_http::Status;
use otelcore_net::ingest::no_room_status;
use otelcore_pipeline::NoRoom;
use otelcore_thrift::ThriftError;

/// The most tags, annotations, logs or references of one span: what is held beside the body while it is read.
pub(crate) const MAX_PER_SPAN: usize = 16_384;
/// The most fields of all logs of a span.
#[cfg(feature = "jaeger")]
pub(crate) const MAX_LOG_FIELDS: usize = 4 * MAX_PER_SPAN;

/// Why a body is not accepted.
#[derive(Debug)]
pub enum DecodeError {
    /// It is wrong: for the client.
    Invalid(String),
    /// There is no room for it now.
    NoRoom(NoRoom),
}

impl From<NoRoom> for DecodeError {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

impl From<ThriftError> for DecodeError {
    fn from(e: ThriftError) -> Self {
        Self::Invalid(e.to_string())
    }
}

impl From<DecodeError> for Status {
    fn from(e: DecodeError) -> Self {
        match e {
            DecodeError::Invalid(message) => Self::invalid_argument(message),
            DecodeError::NoRoom(no_room) => no_room_status(no_room),
        }
    }
}

impl DecodeError {
    pub(crate) fn invalid(what: impl std::fmt::Display) -> Self {
        Self::Invalid(what.to_string())
    }

    /// A span has more of something than [`MAX_PER_SPAN`].
    #[cfg(feature = "zipkin")]
    pub(crate) fn too_many(what: &str) -> Self {
        Self::Invalid(format!("a span has more than {MAX_PER_SPAN} {what}"))
    }
}

/// Appends an element to those of a span, if there are not `limit` of them.
#[cfg(feature = "jaeger")]
pub(crate) fn push_limited<T>(elements: &mut Vec<T>, limit: usize, what: &str, element: T) -> Result<(), DecodeError> {
    if elements.len() >= limit {
        return Err(DecodeError::Invalid(format!("a span has more than {limit} {what}")));
    }
    elements.push(element);
    Ok(())
}
