//! One message under edit: its source bytes until the first write, a copy of its own afterwards.
//!
//! Fields are replaced, added and removed in the copy, so that reads see own writes, and fields that are not written
//! keep their bytes and order. The copy's buffer is reused from one message to the next.

use std::cell::Cell;
use std::ops::Range;

use super::read_index::{self, Found, ReadIndex};
use crate::views::{AnyValue, KeyValue, View};
use crate::wire_format::{
    MessageFields, WireValue, put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint, put_varint_field,
    raw_fields,
};

/// The state of a message that is kept from step to step. Its source bytes are handed in with each call.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Where the message is in its source.
    source: Range<usize>,
    /// The message's bytes once it is edited.
    pub(super) buf: Vec<u8>,
    scratch: Vec<u8>,
    /// Scratch space of the attributes, and of a message inside it.
    pub(super) value: Vec<u8>,
    inner_scratch: Vec<u8>,
    /// Whether `buf` is in use. It may still be equal to the source.
    edited: bool,
    /// Number of writes; zero if the message is unchanged.
    pub(super) writes: u32,
    /// Fields that are not part of the copy, because they are children that are read and copied by themselves.
    strip: &'static [u32],
    /// Most bytes that `buf` may have.
    room: usize,
    /// A write did not fit into `room` and was not done.
    pub(super) overflow: bool,
    /// Bytes read and written since the last [`Message::take_cost`].
    cost: Cell<u64>,
    /// What reads have found since the last write.
    index: ReadIndex,
}

impl Message {
    /// Begins a message that is unchanged.
    #[inline]
    pub(super) fn reset(&mut self, source: Range<usize>, strip: &'static [u32], room: usize) {
        self.source = source;
        self.edited = false;
        self.writes = 0;
        self.strip = strip;
        self.room = room;
        self.index.clear();
    }

    /// Begins a message that is in several pieces, which are joined.
    #[cold]
    pub(super) fn reset_joined<'p>(&mut self, pieces: impl Iterator<Item = &'p [u8]>, room: usize) {
        self.reset(0..0, &[], room);
        self.buf.clear();
        for piece in pieces {
            self.charge(piece.len());
            self.buf.extend_from_slice(piece);
        }
        self.edited = true;
        self.writes = 1;
    }

    #[inline]
    fn count_write(&mut self) {
        self.writes = self.writes.wrapping_add(1);
        self.index.clear();
    }

    #[inline]
    pub(super) fn take_cost(&mut self) -> u64 {
        self.cost.take()
    }

    #[inline]
    fn charge(&self, bytes: usize) {
        self.cost.set(self.cost.get() + bytes as u64);
    }
}

/// A message and its source bytes: what the public types for changing messages stand on.
#[derive(Debug)]
pub(super) struct MessageMut<'a> {
    pub(super) source: &'a [u8],
    pub(super) message: &'a mut Message,
}

impl MessageMut<'_> {
    /// The message as it is now.
    #[inline]
    pub(super) fn raw(&self) -> &[u8] {
        self.message.raw(self.source)
    }

    /// The first attribute with a key in field `number`.
    #[inline]
    pub(super) fn find(&self, number: u32, key: &[u8]) -> Option<Found> {
        self.message.find(self.source, number, key)
    }

    /// Its value.
    #[inline]
    pub(super) fn attribute(&self, number: u32, key: &[u8]) -> Option<AnyValue<'_>> {
        self.message.attribute(self.source, number, key)
    }

    /// The copy, made now if it is not there yet.
    #[inline]
    fn copy(&mut self) -> &mut Vec<u8> {
        let message = &mut *self.message;
        if !message.edited {
            let source = self.source.get(message.source.clone()).unwrap_or_default();
            message.charge(source.len());
            message.buf.clear();
            if message.strip.is_empty() {
                message.buf.extend_from_slice(source);
            } else {
                for (raw, number, _) in raw_fields(source) {
                    if !message.strip.contains(&number) {
                        message.buf.extend_from_slice(raw);
                    }
                }
            }
            message.edited = true;
        }
        message.count_write();
        &mut message.buf
    }

    /// Replaces the whole message.
    pub(super) fn replace(&mut self, raw: &[u8]) {
        if raw.len() > self.message.room {
            self.message.overflow = true;
            return;
        }
        let message = &mut *self.message;
        message.charge(raw.len());
        message.edited = true;
        message.count_write();
        message.buf.clear();
        message.buf.extend_from_slice(raw);
    }

    /// Puts a field that `encode` writes in place of the bytes `at`; at the end, if that is `None`. Does nothing if the
    /// bytes are the same. False: no room.
    #[inline]
    pub(super) fn put(&mut self, at: Option<Range<usize>>, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.begin();
        let mut field = std::mem::take(&mut self.message.scratch);
        field.clear();
        encode(&mut field);
        let raw = self.raw();
        let len = raw.len();
        let old = at.clone().and_then(|at| raw.get(at));
        let is_same = old.unwrap_or_default() == field.as_slice();
        let fits = (len + field.len()).saturating_sub(old.map_or(0, <[u8]>::len)) <= self.message.room;
        if fits && !is_same {
            let at = at.unwrap_or(len..len);
            self.message.charge(field.len() + len.saturating_sub(at.start));
            if self.message.edited {
                splice(self.copy(), at, &field);
            } else {
                // Not stripped: such messages are copied before offsets are taken, see `begin`.
                let message = &mut *self.message;
                let source = self.source.get(message.source.clone()).unwrap_or_default();
                message.charge(at.start);
                message.buf.clear();
                message.buf.reserve(len + field.len());
                message.buf.extend_from_slice(source.get(..at.start).unwrap_or_default());
                message.buf.extend_from_slice(&field);
                message.buf.extend_from_slice(source.get(at.end..).unwrap_or_default());
                message.edited = true;
                message.count_write();
            }
        }
        self.message.overflow |= !fits;
        self.message.scratch = field;
        fits
    }

    /// Removes the bytes `at`.
    pub(super) fn remove_range(&mut self, at: Range<usize>) {
        self.message.charge(self.raw().len().saturating_sub(at.end));
        splice(self.copy(), at, &[]);
    }

    /// Makes offsets into [`MessageMut::raw`] valid for writing: a message with stripped fields is copied.
    #[inline]
    pub(super) fn begin(&mut self) {
        if !self.message.edited && !self.message.strip.is_empty() {
            let writes = self.message.writes;
            self.copy();
            // Nothing has changed yet, but the copy is in use.
            self.message.writes = writes;
        }
    }

    /// The last occurrence of a field, and how many there are.
    fn last(&self, number: u32) -> (Option<Range<usize>>, u32) {
        let raw = self.raw();
        self.message.charge(raw.len());
        let (mut last, mut count) = (None, 0);
        let mut fields = MessageFields::new(raw);
        loop {
            let start = raw.len() - fields.rest().len();
            let Some((found, _)) = fields.next() else { return (last, count) };
            if found == number {
                last = Some(start..raw.len() - fields.rest().len());
                count += 1;
            }
        }
    }

    /// Sets a scalar field; `encode` writes it, nothing if it is absent. All other occurrences are removed, also those
    /// of `others`, the alternatives of a oneof.
    pub(super) fn set(&mut self, number: u32, others: &[u32], encode: impl FnOnce(&mut Vec<u8>)) {
        self.begin();
        let (mut last, count) = self.last(number);
        if count > 1 || others.iter().any(|other| self.last(*other).1 > 0) {
            // The new value goes to the end: what remains has a different length.
            self.retain(|found, _| found != number && !others.contains(&found));
            last = None;
        }
        self.put(last, encode);
    }

    /// Removes fields in one pass; `keep` is called once for each.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u32, WireValue<'_>) -> bool) {
        self.begin();
        let mut kept = std::mem::take(&mut self.message.scratch);
        kept.clear();
        let raw = self.raw();
        let mut fields = raw_fields(raw);
        // Before the first field that goes, nothing is written.
        let mut first = 0;
        let is_same = loop {
            let Some((bytes, number, wire)) = fields.next() else { break true };
            if !keep(number, wire) {
                break false;
            }
            first += bytes.len();
        };
        fields.filter(|(_, number, wire)| keep(*number, *wire)).for_each(|(bytes, ..)| kept.extend_from_slice(bytes));
        self.message.charge(raw.len() + kept.len());
        if !is_same {
            let buf = self.copy();
            buf.truncate(first);
            buf.extend_from_slice(&kept);
        }
        self.message.scratch = kept;
    }

    /// Writes the message anew from its fields: `write` gets each field and the output.
    pub(super) fn rewrite(&mut self, mut write: impl FnMut(&[u8], u32, WireValue<'_>, &mut Vec<u8>)) {
        self.begin();
        let mut written = std::mem::take(&mut self.message.scratch);
        written.clear();
        let room = self.message.room;
        let raw = self.raw();
        for (bytes, number, wire) in raw_fields(raw) {
            write(bytes, number, wire, &mut written);
            if written.len() > room {
                break;
            }
        }
        let (fits, is_same) = (written.len() <= room, written == raw);
        let message = &mut *self.message;
        message.charge(written.len() * 2);
        if fits && !is_same {
            message.edited = true;
            message.count_write();
            std::mem::swap(&mut message.buf, &mut written);
        }
        message.overflow |= !fits;
        message.scratch = written;
    }

    pub(super) fn text(&mut self, number: u32, v: &[u8]) {
        self.set(number, &[], |out| {
            if !v.is_empty() {
                put_bytes_field(out, number, v);
            }
        });
    }

    pub(super) fn uint(&mut self, number: u32, v: u64) {
        self.set(number, &[], |out| {
            if v != 0 {
                put_varint_field(out, number, v);
            }
        });
    }

    pub(super) fn fixed64(&mut self, number: u32, v: u64) {
        self.set(number, &[], |out| {
            if v != 0 {
                put_fixed64_field(out, number, v);
            }
        });
    }

    pub(super) fn fixed32(&mut self, number: u32, v: u32) {
        self.set(number, &[], |out| {
            if v != 0 {
                put_varint(out, u64::from(number) << 3 | 5);
                out.extend_from_slice(&v.to_le_bytes());
            }
        });
    }

    /// A `double` without presence.
    pub(super) fn double(&mut self, number: u32, v: f64) {
        self.fixed64(number, v.to_bits());
    }

    /// An `optional double`.
    pub(super) fn optional_double(&mut self, number: u32, v: Option<f64>) {
        self.set(number, &[], |out| {
            if let Some(v) = v {
                put_fixed64_field(out, number, v.to_bits());
            }
        });
    }

    /// Sets a field of a message that is itself a field; pieces of that message are joined.
    pub(super) fn nested(&mut self, number: u32, change: impl FnOnce(&mut MessageMut<'_>)) {
        self.begin();
        let (buf, scratch) = (std::mem::take(&mut self.message.value), std::mem::take(&mut self.message.inner_scratch));
        let mut inner = Message { buf, scratch, ..Message::default() };
        let raw = self.raw();
        let pieces = MessageFields::new(raw).filter_map(|(found, wire)| match wire {
            WireValue::Len(piece) if found == number => Some(piece),
            _ => None,
        });
        inner.reset_joined(pieces, self.message.room);
        inner.writes = 0;
        change(&mut MessageMut { source: &[], message: &mut inner });
        self.message.overflow |= inner.overflow;
        if inner.writes > 0 {
            self.message.charge(inner.buf.len());
            self.set(number, &[], |out| put_bytes_field(out, number, &inner.buf));
        }
        (self.message.value, self.message.inner_scratch) = (inner.buf, inner.scratch);
    }

    /// Sets a message field to what `encode` writes, `len` bytes.
    pub(super) fn message_field(&mut self, number: u32, len: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.set(number, &[], |out| {
            put_tag_and_len(out, number, len);
            encode(out);
        });
    }
}

impl Message {
    #[inline]
    pub(super) fn raw<'r>(&'r self, source: &'r [u8]) -> &'r [u8] {
        if self.edited { &self.buf } else { source.get(self.source.clone()).unwrap_or_default() }
    }

    /// The message as it is now, to be parsed as a whole.
    #[inline]
    pub(super) fn read<'r>(&'r self, source: &'r [u8]) -> &'r [u8] {
        let raw = self.raw(source);
        self.charge(raw.len());
        raw
    }

    /// Fields of the message as it is now, to be read item for item: at least the last occurrence of each field of
    /// `keep`, whose numbers are below 32.
    #[inline]
    pub(super) fn fields<'r>(&'r self, source: &'r [u8], keep: &[u32]) -> &'r [u8] {
        let raw = self.raw(source);
        let (fields, cost) = if ReadIndex::is_for(raw) { self.index.fields(raw, keep) } else { (raw, raw.len()) };
        self.charge(cost);
        fields
    }

    /// The first attribute with a key in field `number`.
    #[inline]
    fn find(&self, source: &[u8], number: u32, key: &[u8]) -> Option<Found> {
        let raw = self.raw(source);
        if ReadIndex::is_for(raw) {
            let (found, cost) = self.index.find(raw, number, key);
            self.charge(cost);
            return found;
        }
        self.charge(raw.len());
        read_index::find(raw, number, key)
    }

    /// Its value.
    #[inline]
    pub(super) fn attribute<'r>(&'r self, source: &'r [u8], number: u32, key: &[u8]) -> Option<AnyValue<'r>> {
        let found = self.find(source, number, key)?;
        Some(KeyValue::parse(self.raw(source).get(found.content)?).value)
    }
}

/// Replaces a range, which is within the buffer.
#[inline]
pub(super) fn splice(buf: &mut Vec<u8>, at: Range<usize>, new: &[u8]) {
    let Range { start, end } = at;
    let len = buf.len();
    if start > end || end > len {
        return;
    }
    let new_end = start + new.len();
    if new_end > end {
        buf.resize(len + (new_end - end), 0);
    }
    buf.copy_within(end..len, new_end);
    buf.truncate(len - (end - start) + new.len());
    if let Some(gap) = buf.get_mut(start..new_end) {
        gap.copy_from_slice(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splice_with_shorter_equal_and_longer_content_moves_the_rest() {
        for new in [&b""[..], b"x", b"xy", b"xyz", b"wxyz"] {
            let mut buf = b"ab__cd".to_vec();
            splice(&mut buf, 2..4, new);
            assert_eq!(buf, [b"ab", new, b"cd"].concat());
        }
        let mut buf = b"ab".to_vec();
        splice(&mut buf, 1..9, b"x");
        assert_eq!(buf, b"ab");
    }
}
