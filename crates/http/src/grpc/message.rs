//! The length-prefixed message: assembling one from DATA frames, and sending one without copying it.
//!
//! A message is copied once, into a buffer that grows as data arrives. A message in a single frame is not copied,
//! unless it would keep a much larger buffer allocated. Never holds more than four times what was received.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use crate::connection::receive_capacity;

/// A single-frame message of at least this size keeps h2's buffer, whose size is 8 KiB or about that of the frame.
const MIN_SLICE_SIZE: usize = 4096;

/// The five bytes before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessagePrefix {
    pub(crate) compressed_flag: u8,
    pub(crate) len: u32,
}

/// Collects one message.
#[derive(Debug, Default)]
pub(crate) struct MessageBuffer {
    prefix: [u8; 5],
    prefix_len: u8,
    len: usize,
    single_chunk: Option<Bytes>,
    buf: Vec<u8>,
}

impl MessageBuffer {
    /// No byte has arrived yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.prefix_len == 0
    }

    /// Takes prefix bytes from the front of `chunk`; returns the prefix if this chunk completed it.
    pub(crate) fn read_prefix(&mut self, chunk: &mut Bytes) -> Option<MessagePrefix> {
        let prefix_len = usize::from(self.prefix_len);
        if prefix_len >= 5 {
            return None;
        }
        let n = chunk.len().min(5 - prefix_len);
        let mut taken = chunk.split_to(n);
        taken.copy_to_slice(self.prefix.get_mut(prefix_len..prefix_len + n)?);
        self.prefix_len += n as u8; // at most five
        if self.prefix_len < 5 {
            return None;
        }
        let [flag, a, b, c, d] = self.prefix;
        let len = u32::from_be_bytes([a, b, c, d]);
        self.len = usize::try_from(len).unwrap_or(usize::MAX);
        Some(MessagePrefix { compressed_flag: flag, len })
    }

    /// Takes body bytes; what is left in `chunk` does not belong to the message. Call it only after the prefix is
    /// complete.
    pub(crate) fn read_body(&mut self, chunk: &mut Bytes) {
        let received = self.received();
        let n = chunk.len().min(self.len - received);
        if n == 0 {
            return;
        }
        if received == 0 && n == self.len && n >= MIN_SLICE_SIZE {
            self.single_chunk = Some(chunk.split_to(n));
            return;
        }
        if self.buf.capacity() < received + n {
            self.buf.reserve_exact(receive_capacity(self.len, received + n) - received);
        }
        self.buf.extend_from_slice(chunk.get(..n).unwrap_or_default());
        chunk.advance(n);
    }

    /// Memory that the message takes once `chunk` more bytes of it have been taken.
    pub(crate) fn buffered_bytes_with(&self, chunk: usize) -> usize {
        let received = self.received();
        let total = received + chunk.min(self.len - received);
        if received == 0 && total == self.len && total >= MIN_SLICE_SIZE {
            total
        } else if self.buf.capacity() < total {
            receive_capacity(self.len, total)
        } else {
            self.buffered_bytes()
        }
    }

    fn received(&self) -> usize {
        self.single_chunk.as_ref().map_or(self.buf.len(), Bytes::len)
    }

    /// Memory that is used.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.single_chunk.as_ref().map_or_else(|| self.buf.capacity(), Bytes::len)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.prefix_len == 5 && self.received() == self.len
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.prefix[0] == 1
    }

    /// The message, once complete.
    pub(crate) fn take(&mut self) -> Bytes {
        self.single_chunk.take().unwrap_or_else(|| std::mem::take(&mut self.buf).into())
    }
}

/// A message or body that is sent: the prefix and the parts of the body, written with vectored writes.
#[derive(Debug, Default)]
pub(crate) struct SendBuf {
    prefix: [u8; 5],
    prefix_sent: u8,
    parts: BufParts,
    parts_left: usize,
}

/// One part is the common case and needs no list.
#[derive(Debug, Default)]
enum BufParts {
    #[default]
    None,
    One(Bytes),
    Many(VecDeque<Bytes>),
}

impl BufParts {
    fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let mut parts = parts.into_iter().filter(|p| !p.is_empty());
        match (parts.next(), parts.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(one), Some(two)) => Self::Many([one, two].into_iter().chain(parts).collect()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(part) => part.len(),
            Self::Many(parts) => parts.iter().map(Bytes::len).sum(),
        }
    }
}

impl SendBuf {
    /// `None` when the length of the message does not fit into the prefix.
    pub(crate) fn new(compressed: bool, parts: SmallVec<[Bytes; 4]>) -> Option<Self> {
        let total = parts.iter().map(Bytes::len).sum::<usize>();
        let [a, b, c, d] = u32::try_from(total).ok()?.to_be_bytes();
        Some(Self {
            prefix: [u8::from(compressed), a, b, c, d],
            prefix_sent: 0,
            parts: BufParts::new(parts),
            parts_left: total,
        })
    }

    /// A body without a prefix, for responses that are not gRPC.
    pub(crate) fn without_prefix(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts = BufParts::new(parts);
        Self { prefix: [0; 5], prefix_sent: 5, parts_left: parts.len(), parts }
    }

    fn prefix_left(&self) -> &[u8] {
        self.prefix.get(usize::from(self.prefix_sent)..).unwrap_or_default()
    }
}

impl Buf for SendBuf {
    fn remaining(&self) -> usize {
        self.prefix_left().len() + self.parts_left
    }

    fn chunk(&self) -> &[u8] {
        match (self.prefix_left(), &self.parts) {
            ([], BufParts::None) => &[],
            ([], BufParts::One(part)) => part,
            ([], BufParts::Many(parts)) => parts.front().map_or(&[], |p| p),
            (prefix, _) => prefix,
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let many = match &self.parts {
            BufParts::Many(parts) => Some(parts.iter()),
            _ => None,
        };
        let one = match &self.parts {
            BufParts::One(part) => Some(part),
            _ => None,
        };
        let parts = one.into_iter().chain(many.into_iter().flatten()).map(|p| &p[..]);
        let chunks = std::iter::once(self.prefix_left()).chain(parts).filter(|c| !c.is_empty());
        let mut n = 0;
        for (slot, chunk) in dst.iter_mut().zip(chunks) {
            *slot = IoSlice::new(chunk);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut n: usize) {
        let first = n.min(self.prefix_left().len());
        self.prefix_sent += first as u8; // at most five
        n -= first;
        self.parts_left -= n;
        match &mut self.parts {
            BufParts::None => {}
            BufParts::One(part) if n < part.len() => part.advance(n),
            BufParts::One(_) => self.parts = BufParts::None,
            BufParts::Many(parts) => {
                while let Some(front) = parts.front_mut() {
                    if n < front.len() {
                        front.advance(n);
                        break;
                    }
                    n -= front.len();
                    parts.pop_front();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    #[test]
    fn send_buf_read_in_steps_of_any_size_is_prefix_and_parts() {
        let parts: [&'static [u8]; 4] = [b"hello ", b"", b"rope", b"!"];
        for count in 0..=4 {
            let want: Vec<u8> = parts[..count].concat();
            for step in 1..=want.len() + 5 {
                let mut buf =
                    SendBuf::new(false, parts[..count].iter().map(|p| Bytes::from_static(p)).collect()).unwrap();
                let mut got = Vec::new();
                while buf.has_remaining() {
                    let n = step.min(buf.chunk().len());
                    assert!(n > 0);
                    got.extend_from_slice(&buf.chunk()[..n]);
                    buf.advance(n);
                }
                assert_eq!(got[..5], [0, 0, 0, 0, want.len() as u8]);
                assert_eq!(got[5..], want[..], "step {step}");
            }
        }
        let mut buf = SendBuf::new(true, smallvec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]).unwrap();
        buf.advance(6);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(buf.chunks_vectored(&mut slices), 2);
        assert_eq!((&slices[0][..], &slices[1][..]), (&b"b"[..], &b"cd"[..]));
        buf.advance(3);
        assert_eq!(buf.remaining(), 0);
    }

    #[test]
    fn declared_length_without_data_allocates_at_most_64_bytes() {
        let mut a = MessageBuffer::default();
        let mut chunk = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(a.read_prefix(&mut chunk), Some(MessagePrefix { compressed_flag: 0, len: u32::MAX }));
        a.read_body(&mut chunk);
        assert!(a.buffered_bytes() <= 64 && !a.is_complete() && chunk.is_empty());
    }

    #[test]
    fn message_cut_anywhere_is_reassembled_without_extra_capacity() {
        let body: Vec<u8> = (0..20_000_u32).map(|i| i as u8).collect();
        let mut sent = vec![0];
        sent.extend_from_slice(&(body.len() as u32).to_be_bytes());
        sent.extend_from_slice(&body);
        for step in [1, 2, 4, 5, 6, 1000, 16_384, 30_000] {
            let mut a = MessageBuffer::default();
            for part in sent.chunks(step) {
                let mut chunk = Bytes::copy_from_slice(part);
                assert!(!a.is_complete());
                a.read_prefix(&mut chunk);
                a.read_body(&mut chunk);
                assert!(chunk.is_empty());
            }
            assert!(a.is_complete() && a.buffered_bytes() == body.len(), "step {step} holds {}", a.buffered_bytes());
            assert_eq!(a.take(), body);
        }
    }
}
