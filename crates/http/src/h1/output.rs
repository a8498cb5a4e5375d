//! What a connection has to write, for both sides. Knows no framing.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Write};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

/// Bytes that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    parts: VecDeque<Bytes>,
    len: usize,
    /// The stream accepted all parts but still buffers some of them: records that a TLS stream could not write.
    in_stream: bool,
}

impl Output {
    pub(super) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.len += part.len();
            self.parts.push_back(part);
        }
    }

    /// Bytes that the stream has not accepted yet.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Everything is written, and the stream buffers nothing.
    pub(super) fn is_flushed(&self) -> bool {
        self.parts.is_empty() && !self.in_stream
    }

    /// Drops what the stream has not accepted.
    pub(super) fn discard_unwritten(&mut self) {
        self.parts.clear();
        self.len = 0;
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes what the stream accepts, and flushes it. True when everything is written.
    pub(super) fn write(&mut self, io: &mut impl Write) -> Result<bool, ErrorKind> {
        while !self.parts.is_empty() {
            let written = {
                let slices: SmallVec<[IoSlice<'_>; 16]> = self.parts.iter().take(64).map(|b| IoSlice::new(b)).collect();
                io.write_vectored(&slices)
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero),
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e.kind()),
            }
        }
        loop {
            match io.flush() {
                Ok(()) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.in_stream = true;
                    return Ok(false);
                }
                Err(e) => return Err(e.kind()),
            }
        }
        self.in_stream = false;
        Ok(true)
    }

    fn advance(&mut self, mut n: usize) {
        self.len = self.len.saturating_sub(n);
        while let Some(front) = self.parts.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.parts.pop_front();
        }
    }
}
