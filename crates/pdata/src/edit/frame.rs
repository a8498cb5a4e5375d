//! The output of one part, and the messages that are open in it.
//!
//! Nothing is copied before something changes. Then everything up to that place is copied at once, and the messages
//! around it become *open*: their lengths are reserved and corrected when they end.

use std::ops::Range;

use smallvec::SmallVec;

use super::message::splice;
use crate::schema::resource_spans;
use crate::wire_format::{put_varint, varint_len};

/// The resource of an entry, and the scope of its items: the same fields for every signal.
pub(super) const OWN: u32 = resource_spans::RESOURCE;
/// The scopes of an entry, and the items of a scope.
pub(super) const CHILDREN: u32 = resource_spans::SCOPE_SPANS;
/// The schema URL of an entry or scope.
pub(super) const SCHEMA_URL: u32 = resource_spans::SCHEMA_URL;

/// Messages that contain others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    Entry,
    Scope,
    Metric,
    Data,
    Span,
}

/// What is being done with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Its own fields are looked for, before its callback.
    Scan,
    /// The fields of a metric's data that are not points are looked for.
    ScanData,
    /// Its children are visited.
    Visit,
    /// Its children are copied.
    Keep,
    /// It is gone; its items are counted as dropped.
    Drop,
    /// It is gone; its items are counted as replaced.
    Replace,
}

/// Where the resource of an entry, or the scope of its spans, is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Own {
    /// Not passed yet, or absent.
    Ahead,
    /// Passed, not in the output yet: its field in the source.
    Source(usize, usize),
    /// Its field in the output.
    Output(usize, usize),
}

/// A message that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) level: Level,
    pub(super) mode: Mode,
    /// The field's number in the message around it.
    number: u32,
    /// Where the field, its content, and what is read next begin in the source, and where it ends.
    pub(super) start: usize,
    pub(super) content: usize,
    pub(super) at: usize,
    pub(super) end: usize,
    /// The source is the copy of a span that changed, not the part.
    pub(super) in_span: bool,
    pub(super) own: Own,
    /// How often the field of `own` occurs.
    pub(super) own_count: u32,
    /// The message's number of writes when it was written to the output; likewise for the schema URL.
    pub(super) own_writes: u32,
    pub(super) schema_writes: u32,
    /// A metric's or span's own fields have been written before its children.
    pub(super) has_shell: bool,
    pub(super) temporality: Option<i32>,
    pub(super) is_monotonic: Option<bool>,
    /// How many children remain, and whether any was dropped.
    pub(super) kept: usize,
    pub(super) dropped: bool,
    /// Once it is open: where the field, its length and its content begin in the output.
    out: usize,
    length: usize,
    pub(super) out_content: usize,
}

impl Frame {
    pub(super) fn new(level: Level, mode: Mode, number: u32, field: Range<usize>, content: usize) -> Self {
        Self {
            level,
            mode,
            number,
            start: field.start,
            content,
            at: content,
            end: field.end,
            in_span: false,
            own: Own::Ahead,
            own_count: 0,
            own_writes: 0,
            schema_writes: 0,
            has_shell: false,
            temporality: None,
            is_monotonic: None,
            kept: 0,
            dropped: false,
            out: 0,
            length: 0,
            out_content: 0,
        }
    }
}

/// Content of this length or more is not moved to make its length shorter, and its length is reserved as wide as it
/// may become: protobuf allows numbers that are padded with zeros.
const LONG: usize = 1 << 18;

/// The output of a part.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) frames: SmallVec<[Frame; 4]>,
    /// How many of `frames` are open.
    opened: usize,
    pub(super) out: Vec<u8>,
    /// How much of the part is in the output or was dropped.
    pub(super) copied: usize,
    /// The same for the copy of a span.
    pub(super) span_copied: usize,
    /// The longest output.
    pub(super) limit: usize,
    /// Bytes that were moved.
    moved: usize,
}

impl Output {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether the output differs from the part.
    pub(super) fn is_changed(&self) -> bool {
        self.copied > 0
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened == self.frames.len()
    }

    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved) as u64
    }

    /// Copies what has not been copied, up to `to` in the source of the innermost message.
    #[inline]
    pub(super) fn flush(&mut self, source: &[u8], to: usize) {
        self.flush_at(source, to, self.frames.len());
    }

    /// The same for the first `depth` messages, the others being dropped.
    #[inline]
    pub(super) fn flush_at(&mut self, source: &[u8], to: usize, depth: usize) {
        if depth.checked_sub(1).and_then(|last| self.frames.get(last)).is_some_and(|frame| frame.in_span) {
            self.out.extend_from_slice(source.get(self.span_copied..to).unwrap_or_default());
            self.span_copied = to;
            return;
        }
        if self.opened < depth {
            self.open(source, depth);
        }
        self.out.extend_from_slice(source.get(self.copied..to).unwrap_or_default());
        self.copied = to;
    }

    /// What is before `next` in the source of the innermost message has been copied, written otherwise, or dropped.
    #[inline]
    pub(super) fn pass(&mut self, next: usize) {
        if self.frames.last().is_some_and(|frame| frame.in_span) {
            self.span_copied = next;
        } else {
            self.copied = next;
        }
    }

    #[cold]
    fn open(&mut self, part: &[u8], depth: usize) {
        if self.out.capacity() == 0 {
            self.out.reserve_exact((part.len() + part.len() / 8 + 256).min(self.limit));
        }
        while let Some(frame) = self.frames.get_mut(self.opened).filter(|_| self.opened < depth) {
            self.out.extend_from_slice(part.get(self.copied..frame.start).unwrap_or_default());
            let len = frame.end - frame.content;
            frame.begin(&mut self.out, len);
            if let Own::Source(start, end) = frame.own {
                let moved = frame.out_content + start - frame.content;
                frame.own = Own::Output(moved, moved + end - start);
            }
            self.copied = frame.content;
            self.opened += 1;
        }
    }

    /// Opens the innermost message, whose source is the copy of a span.
    pub(super) fn open_span(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            let len = frame.end;
            frame.in_span = true;
            frame.begin(&mut self.out, len);
            self.span_copied = 0;
            self.opened = self.frames.len();
        }
    }

    /// Ends the innermost message: corrects its length if it is open.
    pub(super) fn close(&mut self, source: &[u8]) {
        if self.is_open()
            && let Some(frame) = self.frames.last()
        {
            self.flush(source, frame.end);
            self.correct_length();
        }
        self.pop();
    }

    /// Drops the innermost message. What was written of it is removed.
    pub(super) fn discard(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        if self.is_open() {
            self.out.truncate(frame.out);
        }
        // In a span there is no message that is dropped.
        self.copied = frame.end;
        self.pop();
        if let Some(outer) = self.frames.last_mut() {
            outer.dropped = true;
        }
    }

    fn pop(&mut self) {
        self.frames.pop();
        self.opened = self.opened.min(self.frames.len());
    }

    fn correct_length(&mut self) {
        let Some(frame) = self.frames.last() else { return };
        let (length, content) = (frame.length, frame.out_content);
        let len = self.out.len() - content;
        let (width, needed) = (content - length, varint_len(len as u64));
        let width = if needed > width || needed < width && len < LONG {
            self.moved += len;
            splice(&mut self.out, length..content, [0; 10].get(..needed).unwrap_or_default());
            needed
        } else {
            width
        };
        let mut rest = len;
        let mut bytes = self.out.iter_mut().skip(length).take(width).peekable();
        while let Some(byte) = bytes.next() {
            *byte = rest as u8 & 0x7f | if bytes.peek().is_some() { 0x80 } else { 0 };
            rest >>= 7;
        }
    }

    /// Replaces a range of the output that is within the innermost message.
    pub(super) fn replace(&mut self, at: Range<usize>, new: &[u8]) {
        self.moved += self.out.len() - at.end;
        splice(&mut self.out, at, new);
    }

    /// Counts a child that stays.
    #[inline]
    pub(super) fn keep(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.kept += 1;
        }
    }
}

impl Frame {
    fn begin(&mut self, out: &mut Vec<u8>, len: usize) {
        self.out = out.len();
        put_varint(out, u64::from(self.number) << 3 | 2);
        self.length = out.len();
        let most = if len < LONG { len } else { len.saturating_mul(4).saturating_add(1 << 20) };
        out.extend_from_slice([0; 10].get(..varint_len(most as u64)).unwrap_or_default());
        self.out_content = out.len();
    }
}
