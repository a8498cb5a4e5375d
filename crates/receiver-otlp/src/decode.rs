//! From the body of a request to a checked rope: decompression, JSON, the check.
//!
//! A body that takes long is decoded by a job on a helper thread, all others at once ([`RequestBody::is_long`]). Does
//! not use any data about the sender.

use std::time::Duration;

use otelcore_http::coding::DecompressError;
use otelcore_http::grpc::server::decompress_status;
use otelcore_http::{Bytes, Coding, Status, Workspace};
use otelcore_pdata::{Rope, Signal, checked_rope, json};
use otelcore_pipeline::{Held, NoRoom};

/// A compressed body whose content is longer is decompressed by a job. One MiB takes about a millisecond.
pub(crate) const MAX_INLINE_DECOMPRESSED: u64 = 512 << 10;
/// A longer protobuf body is checked by a job: in the worst case, fields of two bytes, one MiB takes three
/// milliseconds.
const MAX_INLINE_CHECKED: usize = 512 << 10;
/// A longer JSON body is decoded by a job.
const MAX_INLINE_JSON: usize = 128 << 10;

thread_local! {
    /// The codec states of a helper thread.
    static WORKSPACE: Workspace = Workspace::new();
}

/// The protocol whose messages and codes are used for an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// A whole body as it was received.
#[derive(Debug)]
pub(crate) struct RequestBody {
    pub(crate) signal: Signal,
    pub(crate) bytes: Bytes,
    pub(crate) coding: Coding,
    pub(crate) is_json: bool,
    /// The limit of the content's length, in bytes.
    pub(crate) limit: u64,
    pub(crate) held: Held,
    pub(crate) protocol: Protocol,
}

/// The result of decoding a body.
pub(crate) type DecodeResult = Result<(Rope, Held), Status>;

impl RequestBody {
    /// Decodes the body, unless that takes longer than a part of a turn may take; returns the body in that case.
    pub(crate) fn decode_if_short(mut self, workspace: &Workspace) -> Result<DecodeResult, Self> {
        if self.is_long() {
            return Err(self);
        }
        if !self.coding.is_identity() {
            match self.decompress(workspace, self.limit.min(MAX_INLINE_DECOMPRESSED)) {
                Ok(()) => {}
                Err(DecompressError::TooLarge(_) | DecompressError::BlockTooLarge(_))
                    if self.limit > MAX_INLINE_DECOMPRESSED =>
                {
                    return Err(self);
                }
                Err(e) => return Ok(Err(self.decompress_error(&e))),
            }
            if self.is_long() {
                return Err(self);
            }
        }
        Ok(self.decode_uncompressed())
    }

    /// Decodes the body, however long that takes. To be called on a helper thread.
    pub(crate) fn decode(mut self) -> DecodeResult {
        if !self.coding.is_identity()
            && let Err(e) = WORKSPACE.with(|workspace| self.decompress(workspace, self.limit))
        {
            return Err(self.decompress_error(&e));
        }
        self.decode_uncompressed()
    }

    fn is_long(&self) -> bool {
        let max_inline = match (self.coding.is_identity(), self.is_json) {
            // The length of the content is not known yet; a compressed body is seldom longer than its content.
            (false, _) => MAX_INLINE_DECOMPRESSED as usize,
            (true, true) => MAX_INLINE_JSON,
            (true, false) => MAX_INLINE_CHECKED,
        };
        self.bytes.len() > max_inline
    }

    fn decompress(&mut self, workspace: &Workspace, limit: u64) -> Result<(), DecompressError<NoRoom>> {
        let (compressed_len, held) = (self.bytes.len() as u64, &mut self.held);
        // Both forms are in memory until the content is complete.
        let grow = |to: u64| held.try_grow(compressed_len.saturating_add(to));
        self.bytes = workspace.decompress(&self.coding, self.bytes.clone(), limit, grow)?;
        self.coding = Coding::Identity;
        Ok(())
    }

    fn decompress_error(&self, e: &DecompressError<NoRoom>) -> Status {
        match (e, self.protocol) {
            (DecompressError::Refused(no_room), _) => no_room_status(*no_room),
            (e, Protocol::Grpc) => decompress_status(e),
            (DecompressError::TooLarge(_), Protocol::Http) => too_large(),
            (e, Protocol::Http) => Status::invalid_argument(e.to_string()),
        }
    }

    /// Decodes JSON, and checks the body. It must not be compressed any more.
    fn decode_uncompressed(self) -> DecodeResult {
        let Self { signal, mut bytes, is_json, mut held, protocol, .. } = self;
        if is_json {
            let mut out = Vec::new();
            // Charged before there is any output: the text and the protobuf, which is not longer than the text, except
            // for the numbers of an array. Those take at most eight bytes each.
            let numbers = bytes.windows(2).filter(|pair| pair[0] == b',' && pair[1].is_ascii_digit()).count() as u64;
            held.try_grow(2 * bytes.len() as u64 + 6 * numbers).map_err(no_room_status)?;
            json::decode(signal, &bytes, &mut out).map_err(|e| Status::invalid_argument(e.to_string()))?;
            out.shrink_to_fit();
            bytes = out.into();
            held.try_grow(bytes.len() as u64).map_err(no_room_status)?;
        }
        let body = checked_rope(signal, bytes).map_err(|e| match protocol {
            Protocol::Grpc => Status::internal(format!("grpc: error unmarshalling request: {e}")),
            Protocol::Http => Status::invalid_argument(e.to_string()),
        })?;
        Ok((body, held))
    }
}

/// The status for a body for which there is no room.
pub(crate) fn no_room_status(no_room: NoRoom) -> Status {
    Status::unavailable(no_room.to_string()).with_retry_after(Duration::from_secs(1))
}

/// The status for an HTTP body that exceeds its limit.
pub(crate) fn too_large() -> Status {
    Status::invalid_argument("http: request body too large")
}
