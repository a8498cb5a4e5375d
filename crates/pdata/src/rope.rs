//! A body in parts: batching means concatenation.
//!
//! An `Export*ServiceRequest` is `repeated Resource* = 1`, so the bytes of several bodies, one after another, are
//! also a body. Each part of a rope is a whole body; no entry continues in the next part.

use bytes::Bytes;
use smallvec::SmallVec;

/// One whole body and the number of items in it.
#[derive(Clone, Debug)]
pub struct RopePart {
    /// OTLP protobuf of an `Export*ServiceRequest`.
    pub bytes: Bytes,
    /// Spans, data points or log records in it.
    pub items: u32,
}

/// Bodies that together form one body. Cloning shares the buffers.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    parts: SmallVec<[RopePart; 1]>,
    len: usize,
    items: u32,
}

impl Rope {
    /// A rope of one checked body, with the item count that [`crate::check`] returned.
    #[must_use]
    pub fn new(bytes: Bytes, items: u32) -> Self {
        let mut rope = Self::default();
        rope.push(RopePart { bytes, items });
        rope
    }

    /// Adds a body at the end. Empty bodies are ignored.
    pub fn push(&mut self, part: RopePart) {
        if part.bytes.is_empty() {
            return;
        }
        self.len += part.bytes.len();
        self.items = self.items.saturating_add(part.items);
        self.parts.push(part);
    }

    /// Adds all parts of `other` at the end.
    pub fn append(&mut self, other: Self) {
        for part in other.parts {
            self.push(part);
        }
    }

    /// Bytes of the whole body.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a body without any entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Spans, data points or log records.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// The bodies, in order.
    #[must_use]
    pub fn parts(&self) -> &[RopePart] {
        &self.parts
    }

    /// Takes the parts out, leaving an empty rope.
    pub fn take_parts(&mut self) -> SmallVec<[RopePart; 1]> {
        self.len = 0;
        self.items = 0;
        std::mem::take(&mut self.parts)
    }

    /// The body in one buffer: shared when there is one part, copied otherwise.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.bytes.clone();
        }
        let mut all = Vec::with_capacity(self.len);
        for part in &self.parts {
            all.extend_from_slice(&part.bytes);
        }
        all.into()
    }
}
