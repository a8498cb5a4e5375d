//! From the body of a request to its telemetry: decompression, and the decoding by the protocol.
//!
//! A body that takes long is decoded by a job on a helper thread, all others at once. Does not use any data about the
//! sender.

use std::sync::Arc;

use otelcore_http::coding::DecompressError;
use otelcore_http::grpc::server::decompress_status;
use otelcore_http::{Bytes, Coding, Status, Workspace};
use otelcore_pipeline::{Held, NoRoom};

use super::bodies::ServerProtocol;
use super::protocol::{DecodedBody, IngestProtocol};
use super::status::{no_room_status, too_large};

/// A compressed body whose content is longer is decompressed by a job. One MiB takes about a millisecond.
pub(super) const MAX_INLINE_DECOMPRESSED: u64 = 512 << 10;

thread_local! {
    /// The codec states of a helper thread.
    static WORKSPACE: Workspace = Workspace::new();
}

/// A whole body as it was received.
pub(super) struct RequestBody<P: IngestProtocol> {
    pub(super) protocol: Arc<P>,
    pub(super) route: u32,
    pub(super) format: P::Format,
    pub(super) bytes: Bytes,
    pub(super) coding: Coding,
    /// The limit of the content's length, in bytes.
    pub(super) limit: u64,
    pub(super) held: Held,
    /// Whose messages and codes are used for an error of the coding.
    pub(super) server: ServerProtocol,
}

/// The result of decoding a body.
pub(super) type DecodeResult = Result<(DecodedBody, Held), Status>;

impl<P: IngestProtocol> RequestBody<P> {
    /// Decodes the body, unless that takes longer than a part of a turn may take; returns the body in that case.
    pub(super) fn decode_if_short(mut self, workspace: &Workspace) -> Result<DecodeResult, Self> {
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
    pub(super) fn decode(mut self) -> DecodeResult {
        if !self.coding.is_identity()
            && let Err(e) = WORKSPACE.with(|workspace| self.decompress(workspace, self.limit))
        {
            return Err(self.decompress_error(&e));
        }
        self.decode_uncompressed()
    }

    fn is_long(&self) -> bool {
        // The length of a compressed content is not known; a compressed body is seldom longer than its content.
        let max_inline = match self.coding.is_identity() {
            true => self.protocol.max_inline_decoded(&self.format),
            false => MAX_INLINE_DECOMPRESSED as usize,
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
        match (e, self.server) {
            (DecompressError::Refused(no_room), _) => no_room_status(*no_room),
            (e, ServerProtocol::Grpc) => decompress_status(e),
            (DecompressError::TooLarge(_), ServerProtocol::Http) => too_large(),
            (e, ServerProtocol::Http) => Status::invalid_argument(e.to_string()),
        }
    }

    fn decode_uncompressed(self) -> DecodeResult {
        let Self { protocol, route, format, bytes, mut held, .. } = self;
        let decoded = protocol.decode(route, &format, bytes, &mut held)?;
        Ok((decoded, held))
    }
}
