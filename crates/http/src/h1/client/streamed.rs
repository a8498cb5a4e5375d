//! A response whose body is passed on as it arrives, with bounded memory.
//!
//! While [`MAX_CHUNK`] bytes wait to be taken, the connection reads nothing, so that the peer has to wait.

use bytes::Bytes;

use super::RequestError;

/// The longest part of a body that waits to be taken, in bytes.
pub const MAX_CHUNK: usize = 64 << 10;

/// What has arrived of a streamed body.
#[derive(Clone, Debug)]
pub enum BodyChunk {
    /// The next bytes, at most [`MAX_CHUNK`]. The connection may have stopped reading because of them: poll it again.
    Data(Bytes),
    /// The body is complete.
    End,
    /// The body ended early, and the connection with it.
    Failed(RequestError),
}

/// The part of a body that has arrived and is not taken yet.
#[derive(Debug, Default)]
pub(super) struct StreamedBody {
    buffer: Vec<u8>,
    /// The head was passed on: a later failure is one of the body.
    pub(super) has_head: bool,
    /// The body has ended, or failed.
    pub(super) end: Option<Result<(), RequestError>>,
}

impl StreamedBody {
    /// How many bytes may still be read.
    pub(super) fn room(&self) -> usize {
        MAX_CHUNK.saturating_sub(self.buffer.len())
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What has arrived since the last call. After [`BodyChunk::End`] and [`BodyChunk::Failed`] nothing follows.
    pub(super) fn take(&mut self) -> Option<BodyChunk> {
        if !self.buffer.is_empty() {
            return Some(BodyChunk::Data(std::mem::take(&mut self.buffer).into()));
        }
        Some(match self.end.take()? {
            Ok(()) => BodyChunk::End,
            Err(e) => BodyChunk::Failed(e),
        })
    }

    /// Whether [`StreamedBody::take`] returns something.
    pub(super) fn is_readable(&self) -> bool {
        !self.buffer.is_empty() || self.end.is_some()
    }
}
