//! Calls as the application sees them.

use bytes::Bytes;

use crate::coding::Coding;
use crate::grpc::call_head::CallHead;
use crate::grpc::header::CallId;

/// A call for the application. The application must call `respond` or `respond_error`, unless `poll_cancelled` returns
/// its id.
#[derive(Debug)]
pub struct IncomingCall<P> {
    /// Identifies the call in `respond` and `respond_error`.
    pub id: CallId,
    /// Head and, if kept, metadata.
    pub head: CallHead,
    /// The message, compressed with `coding`.
    pub message: Bytes,
    /// How the message is still compressed: identity, unless its content is longer than
    /// [`super::GrpcServerConnConfig::inline_decompress`].
    pub coding: Coding,
    /// Size of the message on the wire.
    pub wire_len: u32,
    /// What [`crate::Admission::admit_head`] returned.
    pub permit: P,
    /// The deadline of the client; when it passes, the connection responds with DEADLINE_EXCEEDED by itself.
    pub deadline: Option<u64>,
}
