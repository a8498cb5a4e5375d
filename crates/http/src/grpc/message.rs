//! The length-prefixed message: assembling one from DATA frames, and sending one without copying it.
//!
//! A message is copied once, into a buffer that grows as data arrives. A message in a single frame is not copied,
//! unless it would keep a much larger buffer alive. Never holds more than four times what was received.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use crate::room;

/// A single-frame message of at least this size keeps h2's buffer, whose size is 8 KiB or about that of the frame.
const SLICE_FROM: usize = 4096;

/// The five bytes before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) flag: u8,
    pub(crate) len: u32,
}

/// Collects one message.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    prefix: [u8; 5],
    have: u8,
    len: usize,
    whole: Option<Bytes>,
    buf: Vec<u8>,
}

impl Assembly {
    /// No byte has arrived yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Takes prefix bytes from the front of `chunk`; returns the prefix if this chunk completed it.
    pub(crate) fn prefix(&mut self, chunk: &mut Bytes) -> Option<Prefix> {
        let have = usize::from(self.have);
        if have >= 5 {
            return None;
        }
        let n = chunk.len().min(5 - have);
        let mut taken = chunk.split_to(n);
        taken.copy_to_slice(self.prefix.get_mut(have..have + n)?);
        self.have += n as u8; // at most five
        if self.have < 5 {
            return None;
        }
        let [flag, a, b, c, d] = self.prefix;
        let len = u32::from_be_bytes([a, b, c, d]);
        self.len = usize::try_from(len).unwrap_or(usize::MAX);
        Some(Prefix { flag, len })
    }

    /// Takes body bytes; what is left in `chunk` does not belong to the message. Call it only after the prefix is
    /// complete.
    pub(crate) fn body(&mut self, chunk: &mut Bytes) {
        let got = self.received();
        let n = chunk.len().min(self.len - got);
        if n == 0 {
            return;
        }
        if got == 0 && n == self.len && n >= SLICE_FROM {
            self.whole = Some(chunk.split_to(n));
            return;
        }
        if self.buf.capacity() < got + n {
            self.buf.reserve_exact(room(self.len, got + n) - got);
        }
        self.buf.extend_from_slice(chunk.get(..n).unwrap_or_default());
        chunk.advance(n);
    }

    /// Memory that the message takes once `chunk` more bytes of it have been taken.
    pub(crate) fn held_with(&self, chunk: usize) -> usize {
        let got = self.received();
        let total = got + chunk.min(self.len - got);
        if got == 0 && total == self.len && total >= SLICE_FROM {
            total
        } else if self.buf.capacity() < total {
            room(self.len, total)
        } else {
            self.held()
        }
    }

    fn received(&self) -> usize {
        self.whole.as_ref().map_or(self.buf.len(), Bytes::len)
    }

    /// Memory held.
    pub(crate) fn held(&self) -> usize {
        self.whole.as_ref().map_or_else(|| self.buf.capacity(), Bytes::len)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.have == 5 && self.received() == self.len
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.prefix[0] == 1
    }

    /// The message, once complete.
    pub(crate) fn take(&mut self) -> Bytes {
        self.whole.take().unwrap_or_else(|| std::mem::take(&mut self.buf).into())
    }
}

/// An outgoing message: the prefix and the parts of a rope, written with vectored writes.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    prefix: [u8; 5],
    at: u8,
    parts: Parts,
    left: usize,
}

/// One part is the common case and needs no list.
#[derive(Debug, Default)]
enum Parts {
    #[default]
    None,
    One(Bytes),
    Many(VecDeque<Bytes>),
}

impl Parts {
    fn of(parts: impl IntoIterator<Item = Bytes>) -> Self {
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

impl Rope {
    /// `None` when the length of the message does not fit into the prefix.
    pub(crate) fn new(compressed: bool, parts: SmallVec<[Bytes; 4]>) -> Option<Self> {
        let total = parts.iter().map(Bytes::len).sum::<usize>();
        let [a, b, c, d] = u32::try_from(total).ok()?.to_be_bytes();
        Some(Self { prefix: [u8::from(compressed), a, b, c, d], at: 0, parts: Parts::of(parts), left: total })
    }

    /// A body without a prefix, for answers that are not gRPC.
    pub(crate) fn plain(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts = Parts::of(parts);
        Self { prefix: [0; 5], at: 5, left: parts.len(), parts }
    }

    fn prefix(&self) -> &[u8] {
        self.prefix.get(usize::from(self.at)..).unwrap_or_default()
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.prefix().len() + self.left
    }

    fn chunk(&self) -> &[u8] {
        match (self.prefix(), &self.parts) {
            ([], Parts::None) => &[],
            ([], Parts::One(part)) => part,
            ([], Parts::Many(parts)) => parts.front().map_or(&[], |p| p),
            (prefix, _) => prefix,
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let many = match &self.parts {
            Parts::Many(parts) => Some(parts.iter()),
            _ => None,
        };
        let one = match &self.parts {
            Parts::One(part) => Some(part),
            _ => None,
        };
        let parts = one.into_iter().chain(many.into_iter().flatten()).map(|p| &p[..]);
        let chunks = std::iter::once(self.prefix()).chain(parts).filter(|c| !c.is_empty());
        let mut n = 0;
        for (slot, chunk) in dst.iter_mut().zip(chunks) {
            *slot = IoSlice::new(chunk);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut n: usize) {
        let first = n.min(self.prefix().len());
        self.at += first as u8; // at most five
        n -= first;
        self.left -= n;
        match &mut self.parts {
            Parts::None => {}
            Parts::One(part) if n < part.len() => part.advance(n),
            Parts::One(_) => self.parts = Parts::None,
            Parts::Many(parts) => {
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
    fn a_rope_reads_as_prefix_and_parts_at_every_step_width() {
        let parts: [&'static [u8]; 4] = [b"hello ", b"", b"rope", b"!"];
        for count in 0..=4 {
            let want: Vec<u8> = parts[..count].concat();
            for step in 1..=want.len() + 5 {
                let mut rope =
                    Rope::new(false, parts[..count].iter().map(|p| Bytes::from_static(p)).collect()).unwrap();
                let mut got = Vec::new();
                while rope.has_remaining() {
                    let n = step.min(rope.chunk().len());
                    assert!(n > 0);
                    got.extend_from_slice(&rope.chunk()[..n]);
                    rope.advance(n);
                }
                assert_eq!(got[..5], [0, 0, 0, 0, want.len() as u8]);
                assert_eq!(got[5..], want[..], "step {step}");
            }
        }
        let mut rope = Rope::new(true, smallvec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]).unwrap();
        rope.advance(6);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(rope.chunks_vectored(&mut slices), 2);
        assert_eq!((&slices[0][..], &slices[1][..]), (&b"b"[..], &b"cd"[..]));
        rope.advance(3);
        assert_eq!(rope.remaining(), 0);
    }

    #[test]
    fn a_false_length_allocates_next_to_nothing() {
        let mut a = Assembly::default();
        let mut chunk = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
        assert_eq!(a.prefix(&mut chunk), Some(Prefix { flag: 0, len: u32::MAX }));
        a.body(&mut chunk);
        assert!(a.held() <= 64 && !a.is_complete() && chunk.is_empty());
    }

    #[test]
    fn a_message_is_the_same_however_it_is_cut_and_has_the_right_size() {
        let body: Vec<u8> = (0..20_000_u32).map(|i| i as u8).collect();
        let mut sent = vec![0];
        sent.extend_from_slice(&(body.len() as u32).to_be_bytes());
        sent.extend_from_slice(&body);
        for step in [1, 2, 4, 5, 6, 1000, 16_384, 30_000] {
            let mut a = Assembly::default();
            for part in sent.chunks(step) {
                let mut chunk = Bytes::copy_from_slice(part);
                assert!(!a.is_complete());
                a.prefix(&mut chunk);
                a.body(&mut chunk);
                assert!(chunk.is_empty());
            }
            assert!(a.is_complete() && a.held() == body.len(), "step {step} holds {}", a.held());
            assert_eq!(a.take(), body);
        }
    }
}
