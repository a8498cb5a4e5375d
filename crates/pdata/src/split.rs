//! Cuts bodies into pieces of a number of items, of bytes, or both.
//!
//! Parts and entries that fit are shared, not copied. An entry that does not fit is cut at its resource, scope, metric
//! and item boundaries: its items are copied once, and the fields around them (the *wrapper* of each message) are in
//! every piece. Every item, and every byte that is not an item, is in the pieces; wrappers may be repeated. In an entry
//! that was cut, the fields of a wrapper that are not children are before the children; they keep their relative order.
//!
//! The work is linear in the bytes and pieces, and is done in steps of a budget ([`Work`]). A step exceeds its budget
//! by no more than a count of [`COUNT_FIELDS`] fields and the tags of one item.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::rope::Part;
use crate::wire::{Fields, Wire, put_len, varint_len};
use crate::{Rope, Signal, Work};

/// Removes the first `max` items from `rope` and returns them; the other items stay in it. Returns all of it when it
/// has no more than `max` items.
///
/// For a single cut. To make several pieces of a body, use a [`Splitter`].
#[must_use]
pub fn split_off(signal: Signal, rope: &mut Rope, max: u32) -> Rope {
    if rope.items() <= max {
        return std::mem::take(rope);
    }
    if max == 0 {
        return Rope::default();
    }
    let mut splitter = Splitter::new(signal);
    splitter.push(std::mem::take(rope));
    let mut work = Work::unlimited();
    // With a budget that is never spent, each call returns a piece.
    let taken = splitter.take(PieceLimit::items(max), &mut work).unwrap_or_default();
    *rope = splitter.take(PieceLimit::NONE, &mut work).unwrap_or_default();
    taken
}

/// The largest piece wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PieceLimit {
    /// Spans, data points or log records. Zero counts as one.
    pub items: u32,
    /// Bytes of the whole piece. A piece with a single item may be longer.
    pub bytes: usize,
}

impl PieceLimit {
    /// No limit: the piece contains everything.
    pub const NONE: Self = Self { items: u32::MAX, bytes: usize::MAX };

    /// A limit of items only.
    #[must_use]
    pub fn items(items: u32) -> Self {
        Self { items, ..Self::NONE }
    }

    /// A limit of bytes only.
    #[must_use]
    pub fn bytes(bytes: usize) -> Self {
        Self { bytes, ..Self::NONE }
    }
}

/// Fields that are read at most to find out whether an entry fits as a whole. An entry with more fields is cut.
const COUNT_FIELDS: u32 = 1 << 16;

/// The limit for the bytes of repeated wrappers of one part: this factor times its length, plus [`REPEAT_FREE`].
/// Without a limit, a resource of 2 MB with a million spans, in pieces of a hundred, would be repeated ten thousand
/// times.
const REPEAT_FACTOR: usize = 16;

/// See [`REPEAT_FACTOR`].
const REPEAT_FREE: usize = 1 << 20;

/// Units of work for taking a part, whole or to be cut.
const PART_UNITS: u64 = 20;

/// Units of work for each piece, in addition to its content.
const PIECE_UNITS: u64 = 400;

/// Largest capacity of the queue of parts that stays allocated when nothing is left.
const SPARE: usize = 256;

/// Ranges of items that are shorter than this and not adjacent are copied into a buffer, so that a piece of many small
/// ranges does not need a list that is larger than the ranges themselves.
const SMALL_RANGE: usize = 4096;

/// Cuts the bodies that are pushed into pieces, in order.
///
/// The limit is exact, with one exception: when the wrappers around the items would be repeated too often (more than 16
/// times the part's length plus 1 MiB), pieces get larger, until a piece has as many bytes of items as of wrappers.
#[derive(Debug)]
pub struct Splitter {
    signal: Signal,
    parts: VecDeque<Part>,
    /// Items and bytes of `parts`.
    parts_items: u64,
    parts_len: usize,
    open: Option<Box<OpenPart>>,
    piece: Piece,
    /// The content of the piece is decided, but its buffer may not be written yet.
    ending: bool,
    items: u64,
    len: usize,
    pushed_parts: u64,
    taken_parts: u64,
    copied: usize,
}

impl Splitter {
    /// A splitter for bodies of this signal.
    #[must_use]
    pub fn new(signal: Signal) -> Self {
        Self {
            signal,
            parts: VecDeque::new(),
            parts_items: 0,
            parts_len: 0,
            open: None,
            piece: Piece::default(),
            ending: false,
            items: 0,
            len: 0,
            pushed_parts: 0,
            taken_parts: 0,
            copied: 0,
        }
    }

    /// Adds a body at the end.
    pub fn push(&mut self, mut rope: Rope) {
        for part in rope.take_parts() {
            self.items = self.items.saturating_add(u64::from(part.items));
            self.parts_items = self.parts_items.saturating_add(u64::from(part.items));
            self.len += part.bytes.len();
            self.parts_len += part.bytes.len();
            self.pushed_parts += 1;
            self.parts.push_back(part);
        }
    }

    /// Items that have not been returned in a piece, those of an unfinished piece included.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Bytes of the bodies that were pushed, without those that have been returned in pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.open.is_none() && self.piece.body.is_empty()
    }

    /// Parts pushed since the splitter was made.
    #[must_use]
    pub fn pushed_parts(&self) -> u64 {
        self.pushed_parts
    }

    /// Parts of which nothing is left. Numbered as in [`Splitter::pushed_parts`]: a piece is made from the parts from
    /// this number, read before the piece is begun, to [`Splitter::begun_parts`], read after the piece has been
    /// returned.
    #[must_use]
    pub fn taken_parts(&self) -> u64 {
        self.taken_parts
    }

    /// Parts that have been begun or taken whole.
    #[must_use]
    pub fn begun_parts(&self) -> u64 {
        self.taken_parts + u64::from(self.open.is_some())
    }

    /// Bytes of the last piece that were copied and are not shared with the bodies that were pushed.
    #[must_use]
    pub fn copied(&self) -> usize {
        self.copied
    }

    /// The next piece; an empty one when nothing is left. `None`: the budget of this step is spent. Call again with a
    /// new budget, and with the same limit.
    ///
    /// When no items are left after a piece, the other bytes that are left are part of it, unless they do not fit.
    pub fn take(&mut self, limit: PieceLimit, work: &mut Work) -> Option<Rope> {
        let limit = PieceLimit { items: limit.items.max(1), ..limit };
        loop {
            if work.is_spent() {
                return None;
            }
            if let Some(open) = &mut self.open
                && open.buffer.is_complete
            {
                if open.buffer.write(&open.part.bytes, work) {
                    open.buffer.finish(&mut self.piece);
                }
                continue;
            }
            if self.ending {
                break;
            }
            let step = match &mut self.open {
                None => self.next_part(limit, work),
                Some(open) if open.frames.is_empty() => open.read_body(&mut self.piece, limit, work),
                Some(open) => open.read_entry(&mut self.piece, limit, work),
            };
            match step {
                Step::Continue => {}
                Step::PartEnd => {
                    self.open = None;
                    self.taken_parts += 1;
                }
                Step::PieceEnd => {
                    self.ending = true;
                    if let Some(open) = &mut self.open {
                        open.complete_buffer();
                    }
                }
            }
        }
        work.charge(PIECE_UNITS);
        if self.parts.is_empty() && self.parts.capacity() > SPARE {
            self.parts = VecDeque::new();
        }
        self.ending = false;
        let piece = std::mem::take(&mut self.piece);
        self.copied = piece.copied;
        self.items = self.parts_items + self.open.as_ref().map_or(0, |open| u64::from(open.items_left()));
        self.len = self.parts_len + self.open.as_ref().map_or(0, |open| open.left());
        Some(piece.body)
    }

    /// Takes the next part whole, or opens it to be cut.
    fn next_part(&mut self, limit: PieceLimit, work: &mut Work) -> Step {
        let Some(part) = self.parts.front() else { return Step::PieceEnd };
        let room = self.piece.room(limit);
        if room == 0 && self.parts_items > 0 {
            return Step::PieceEnd;
        }
        let fits = self.piece.body.len().saturating_add(part.bytes.len()) <= limit.bytes;
        let whole = if fits { part.items <= room } else { part.items <= 1 };
        if whole && !fits && !self.piece.body.is_empty() {
            return Step::PieceEnd;
        }
        let Some(part) = self.parts.pop_front() else { return Step::PieceEnd };
        work.charge(PART_UNITS);
        self.parts_items = self.parts_items.saturating_sub(u64::from(part.items));
        self.parts_len -= part.bytes.len();
        if whole {
            self.taken_parts += 1;
            self.piece.items += part.items;
            self.piece.body.push(part);
        } else {
            self.open = Some(Box::new(OpenPart::new(self.signal, part)));
        }
        Step::Continue
    }
}

/// What to do after one of the reading functions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Continue,
    PartEnd,
    PieceEnd,
}

/// The piece that is being made.
#[derive(Debug, Default)]
struct Piece {
    body: Rope,
    /// Items of `body`, and those recorded in the buffer of the open part.
    items: u32,
    /// Bytes recorded in that buffer since the piece was begun: of the children that were copied, and of their
    /// wrappers.
    item_bytes: usize,
    wrapper_bytes: usize,
    copied: usize,
}

impl Piece {
    fn room(&self, limit: PieceLimit) -> u32 {
        limit.items.saturating_sub(self.items)
    }
}

/// One level of nesting: which fields are its children, and what those are.
#[derive(Debug)]
struct Level {
    /// Field numbers of the children.
    children: &'static [u32],
    /// `None`: each child is an item.
    below: Option<&'static Self>,
}

static RESOURCE: Level = Level { children: &[2], below: Some(&SCOPE) };
static SCOPE: Level = Level { children: &[2], below: None };

static METRIC_RESOURCE: Level = Level { children: &[2], below: Some(&METRIC_SCOPE) };
static METRIC_SCOPE: Level = Level { children: &[2], below: Some(&METRIC) };
static METRIC: Level = Level { children: &[5, 7, 9, 10, 11], below: Some(&POINTS) };
static POINTS: Level = Level { children: &[1], below: None };

/// The field number of entries in a body.
const ENTRY: u32 = 1;

/// The number of items in a message; `None` when there are more than `room` items or more than `fields` fields.
fn count(level: &Level, message: &[u8], room: u32, fields: &mut u32) -> Option<u32> {
    let mut items = 0_u32;
    for (number, value) in Fields::new(message) {
        *fields = fields.checked_sub(1)?;
        if let Wire::Len(child) = value
            && level.children.contains(&number)
        {
            items += match level.below {
                Some(below) => count(below, child, room - items, fields)?,
                None if items < room => 1,
                None => return None,
            };
        }
    }
    Some(items)
}

/// The items in fields `number` of a body (1, entries) or of a metric's scope (2, metrics), however many there are.
pub(crate) fn count_items(signal: Signal, number: u32, fields: &[u8]) -> u32 {
    let level = match (signal, number) {
        (Signal::Metrics, 2) => &METRIC,
        (Signal::Metrics, _) => &METRIC_RESOURCE,
        _ => &RESOURCE,
    };
    let mut items = 0_u32;
    for (found, value) in Fields::new(fields) {
        if let Wire::Len(message) = value
            && found == number
        {
            items = items.saturating_add(count(level, message, u32::MAX, &mut u32::MAX.clone()).unwrap_or(0));
        }
    }
    items
}

fn count_ahead(level: &Level, message: &[u8], room: u32, work: &mut Work) -> Option<u32> {
    let mut fields = COUNT_FIELDS;
    let items = count(level, message, room, &mut fields);
    work.charge(u64::from(COUNT_FIELDS - fields) * Work::FIELD);
    items
}

/// Bytes of a length-delimited field with content of this length.
fn field_len(number: u32, content: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(content as u64) + content
}

/// A part that is being cut.
#[derive(Debug)]
struct OpenPart {
    part: Part,
    entry: &'static Level,
    /// The body's next unread field.
    at: usize,
    /// Whole entries that have been taken and are not in the piece yet: from here to `at`, with `slice_items` items.
    slice: usize,
    slice_items: u32,
    /// Items that have been taken.
    given: u32,
    /// The entry that is being cut, and the messages in it down to the one that is read.
    frames: SmallVec<[Frame; 4]>,
    /// Bytes of wrappers that were repeated.
    repeated: usize,
    buffer: Buffer,
}

/// A message that is being cut.
#[derive(Debug)]
struct Frame {
    level: &'static Level,
    /// Its field number in the outer message.
    number: u32,
    /// The next unread field, and the end of the message, as positions in the part.
    at: usize,
    end: usize,
    /// The next field that the scan for `wrapper` reads.
    scan: usize,
    /// The fields that are not children: complete when the scan has reached the end.
    wrapper: Wrapper,
    /// Whether the wrapper has been in a piece.
    is_given: bool,
    /// The index of its opening segment in the buffer, while it is open there.
    open: Option<usize>,
    /// Bytes of its content in the buffer, without those of a child that is open.
    content: usize,
}

/// Ranges of a part, joined.
#[derive(Debug)]
enum Wrapper {
    Range(Range<usize>),
    Joined(Vec<u8>),
    Complete(Bytes),
}

impl OpenPart {
    fn new(signal: Signal, part: Part) -> Self {
        Self {
            part,
            entry: if signal == Signal::Metrics { &METRIC_RESOURCE } else { &RESOURCE },
            at: 0,
            slice: 0,
            slice_items: 0,
            given: 0,
            frames: SmallVec::new(),
            repeated: 0,
            buffer: Buffer::default(),
        }
    }

    /// Bytes that have not been read.
    fn left(&self) -> usize {
        let inner = self.frames.iter().map(|frame| frame.end - frame.at).sum::<usize>();
        self.part.bytes.len() - self.at + inner
    }

    fn items_left(&self) -> u32 {
        self.part.items.saturating_sub(self.given)
    }

    /// Moves whole entries into the piece.
    fn push_slice(&mut self, piece: &mut Piece) {
        let items = std::mem::take(&mut self.slice_items);
        piece.body.push(Part { bytes: self.part.bytes.slice(self.slice..self.at), items });
        self.slice = self.at;
    }

    /// Takes whole entries up to the first that does not fit, and begins to cut that one.
    fn read_body(&mut self, piece: &mut Piece, limit: PieceLimit, work: &mut Work) -> Step {
        let bytes = self.part.bytes.clone();
        let fits = |piece: &Piece, slice: usize, end: usize| {
            piece.body.len().saturating_add(end.saturating_sub(slice)) <= limit.bytes
        };
        let end = bytes.len();
        if self.items_left() <= piece.room(limit) && fits(piece, self.slice, end) {
            let items = self.items_left();
            self.at = end;
            self.slice_items += items;
            self.given = self.given.saturating_add(items);
            piece.items = piece.items.saturating_add(items);
            self.push_slice(piece);
            return Step::PartEnd;
        }
        let mut fields = Fields::new(bytes.get(self.at..).unwrap_or_default());
        while !work.is_spent() {
            work.charge(Work::FIELD);
            let Some((number, value)) = fields.next() else {
                // The end. If the bytes have not passed the check, the unreadable rest is also added to the piece.
                self.at = bytes.len();
                self.push_slice(piece);
                return Step::PartEnd;
            };
            let end = bytes.len() - fields.rest().len();
            let entry = if let Wire::Len(entry) = value
                && number == ENTRY
            {
                entry
            } else {
                &[]
            };
            let room = piece.room(limit);
            let items = count_ahead(self.entry, entry, room, work);
            let fits = fits(piece, self.slice, end);
            let is_first = piece.body.is_empty() && self.slice == self.at;
            match items {
                Some(items) if fits || items <= 1 && is_first => {
                    self.at = end;
                    self.slice_items += items;
                    self.given = self.given.saturating_add(items);
                    piece.items = piece.items.saturating_add(items);
                }
                _ => {
                    self.push_slice(piece);
                    if room == 0 || items.is_some_and(|items| items <= 1) {
                        return Step::PieceEnd;
                    }
                    self.at = end;
                    self.slice = end;
                    self.enter(self.entry, number, end - entry.len()..end);
                    return Step::Continue;
                }
            }
        }
        Step::Continue
    }

    fn enter(&mut self, level: &'static Level, number: u32, content: Range<usize>) {
        let Range { start, end } = content;
        let wrapper = Wrapper::Range(start..start);
        let frame =
            Frame { level, number, at: start, end, scan: start, wrapper, is_given: false, open: None, content: 0 };
        self.frames.push(frame);
    }

    /// Continues reading the innermost message of the entry that is being cut.
    fn read_entry(&mut self, piece: &mut Piece, limit: PieceLimit, work: &mut Work) -> Step {
        let bytes = self.part.bytes.clone();
        let Some(frame) = self.frames.last_mut() else { return Step::Continue };
        if !frame.scan(&bytes, work) {
            return Step::Continue;
        }
        let (level, end) = (frame.level, frame.end);
        let mut fields = Fields::new(bytes.get(frame.at..end).unwrap_or_default());
        while !work.is_spent() {
            work.charge(Work::FIELD);
            let start = end - fields.rest().len();
            let Some((number, value)) = fields.next() else { return self.leave(piece, limit, work) };
            let next = end - fields.rest().len();
            let child = match value {
                Wire::Len(child) if level.children.contains(&number) => child,
                _ => {
                    self.set_position(next);
                    continue;
                }
            };
            let room = piece.room(limit);
            // Above the limit of repeated bytes, a piece must have at least as many bytes of items as of wrappers.
            let is_forced = self.repeated
                > self.part.bytes.len().saturating_mul(REPEAT_FACTOR).saturating_add(REPEAT_FREE)
                && piece.item_bytes < piece.wrapper_bytes;
            let items = match level.below {
                Some(below) => count_ahead(below, child, room, work),
                None if room > 0 || is_forced => Some(1),
                None => None,
            };
            if items.is_none() && room == 0 && !is_forced {
                return Step::PieceEnd;
            }
            let raw = start..next;
            let fits = items.is_some() && self.fits(piece, limit, raw.len());
            let Some(items) = items.filter(|items| fits || *items <= 1) else {
                if let Some(below) = level.below {
                    self.set_position(next);
                    self.enter(below, number, next - child.len()..next);
                }
                return Step::Continue;
            };
            if !fits && !is_forced && !self.is_first(piece) {
                return Step::PieceEnd;
            }
            self.set_position(next);
            self.open_frames(piece, work);
            self.buffer.record(&bytes, raw.clone(), work);
            self.buffer.items += items;
            self.given = self.given.saturating_add(items);
            piece.items = piece.items.saturating_add(items);
            piece.item_bytes += raw.len();
            if let Some(frame) = self.frames.last_mut() {
                frame.content += raw.len();
            }
        }
        Step::Continue
    }

    fn set_position(&mut self, at: usize) {
        if let Some(frame) = self.frames.last_mut() {
            frame.at = at;
        }
    }

    fn is_first(&self, piece: &Piece) -> bool {
        piece.body.is_empty() && self.buffer.segments.is_empty()
    }

    /// Whether the piece stays within its limit with `more` additional bytes in the innermost message.
    fn fits(&self, piece: &Piece, limit: PieceLimit, more: usize) -> bool {
        if limit.bytes == usize::MAX {
            return true;
        }
        let mut inner = more;
        for frame in self.frames.iter().rev() {
            let opening = if frame.open.is_none() { frame.wrapper.len() } else { 0 };
            inner = field_len(frame.number, frame.content + opening + inner);
        }
        piece.body.len().saturating_add(inner) <= limit.bytes
    }

    /// Opens every message in the buffer, from the entry to the innermost.
    fn open_frames(&mut self, piece: &mut Piece, work: &mut Work) {
        for frame in &mut self.frames {
            if frame.open.is_some() {
                continue;
            }
            work.charge(Work::FIELD);
            frame.open = Some(self.buffer.segments.len());
            self.buffer.segments.push(Segment::Open { number: frame.number, len: 0 });
            if let Wrapper::Complete(wrapper) = &frame.wrapper
                && !wrapper.is_empty()
            {
                self.buffer.segments.push(Segment::Bytes(wrapper.clone()));
            }
            frame.content = frame.wrapper.len();
            let bytes = field_len(frame.number, frame.content);
            piece.wrapper_bytes += bytes;
            if std::mem::replace(&mut frame.is_given, true) {
                self.repeated += bytes;
            }
        }
    }

    /// Ends the innermost message, which has been read.
    fn leave(&mut self, piece: &mut Piece, limit: PieceLimit, work: &mut Work) -> Step {
        let Some(frame) = self.frames.last() else { return Step::Continue };
        if !frame.is_given {
            // No child was taken separately, and no piece has the wrapper yet.
            if !self.is_first(piece) && !self.fits(piece, limit, 0) {
                return Step::PieceEnd;
            }
            self.open_frames(piece, work);
        }
        let Some(frame) = self.frames.pop() else { return Step::Continue };
        self.buffer.close(&frame, self.frames.last_mut());
        if self.frames.is_empty() {
            self.buffer.is_complete = !self.buffer.segments.is_empty();
        }
        Step::Continue
    }

    /// The piece ends here: closes the messages that are open in the buffer. The next piece opens them again.
    fn complete_buffer(&mut self) {
        let mut frames = self.frames.as_mut_slice();
        while let Some((frame, outer)) = frames.split_last_mut() {
            self.buffer.close(frame, outer.last_mut());
            frame.open = None;
            frame.content = 0;
            frames = outer;
        }
        self.buffer.is_complete = !self.buffer.segments.is_empty();
    }
}

impl Frame {
    /// Finds the fields that are not children; true when that is done.
    fn scan(&mut self, part: &Bytes, work: &mut Work) -> bool {
        if matches!(self.wrapper, Wrapper::Complete(_)) {
            return true;
        }
        let mut fields = Fields::new(part.get(self.scan..self.end).unwrap_or_default());
        while !work.is_spent() {
            work.charge(Work::FIELD);
            let start = self.end - fields.rest().len();
            let Some((number, value)) = fields.next() else {
                let wrapper = std::mem::replace(&mut self.wrapper, Wrapper::Range(0..0));
                self.wrapper = Wrapper::Complete(match wrapper {
                    Wrapper::Range(range) => part.slice(range),
                    Wrapper::Joined(bytes) => bytes.into(),
                    Wrapper::Complete(bytes) => bytes,
                });
                return true;
            };
            self.scan = self.end - fields.rest().len();
            if matches!(value, Wire::Len(_)) && self.level.children.contains(&number) {
                continue;
            }
            let range = start..self.scan;
            match &mut self.wrapper {
                Wrapper::Range(first) if first.start == first.end => *first = range,
                Wrapper::Range(first) if first.end == range.start => first.end = range.end,
                Wrapper::Range(first) => {
                    work.charge((first.len() + range.len()) as u64);
                    let ranges = [part.get(first.clone()), part.get(range)];
                    self.wrapper = Wrapper::Joined(ranges.map(Option::unwrap_or_default).concat());
                }
                Wrapper::Joined(bytes) => {
                    work.charge(range.len() as u64);
                    bytes.extend_from_slice(part.get(range).unwrap_or_default());
                }
                Wrapper::Complete(_) => {}
            }
        }
        false
    }
}

impl Wrapper {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Joined(bytes) => bytes.len(),
            Self::Complete(bytes) => bytes.len(),
        }
    }
}

/// The content of a piece from the entry that is being cut: recorded first, so that every length is known, then
/// written.
#[derive(Debug, Default)]
struct Buffer {
    segments: Vec<Segment>,
    items: u32,
    /// Bytes of all segments, once it is complete.
    len: usize,
    /// All messages are closed, and the buffer is being written.
    is_complete: bool,
    out: Vec<u8>,
    /// The segment that is written next, and how many of its bytes have been written.
    next: usize,
    within: usize,
}

#[derive(Debug)]
enum Segment {
    /// Tag and length of a message.
    Open { number: u32, len: usize },
    /// A range of the part.
    Range(Range<usize>),
    /// Small ranges of the part, copied.
    Small(Vec<u8>),
    /// A wrapper.
    Bytes(Bytes),
}

impl Buffer {
    /// Records a child that is copied unchanged.
    fn record(&mut self, part: &Bytes, range: Range<usize>, work: &mut Work) {
        let is_small = range.len() < SMALL_RANGE;
        match self.segments.last_mut() {
            Some(Segment::Range(last)) if last.end == range.start => last.end = range.end,
            Some(Segment::Range(last)) if is_small && last.len() < SMALL_RANGE => {
                work.charge((last.len() + range.len()) as u64);
                let ranges = [part.get(last.clone()), part.get(range)];
                let joined = ranges.map(Option::unwrap_or_default).concat();
                self.segments.pop();
                self.segments.push(Segment::Small(joined));
            }
            Some(Segment::Small(bytes)) if is_small => {
                work.charge(range.len() as u64);
                bytes.extend_from_slice(part.get(range).unwrap_or_default());
            }
            _ => self.segments.push(Segment::Range(range)),
        }
    }

    /// Closes a message, if it is open.
    fn close(&mut self, frame: &Frame, outer: Option<&mut Frame>) {
        let Some(segment) = frame.open.and_then(|index| self.segments.get_mut(index)) else { return };
        *segment = Segment::Open { number: frame.number, len: frame.content };
        let len = field_len(frame.number, frame.content);
        match outer {
            Some(outer) => outer.content += len,
            None => self.len = len,
        }
    }

    /// Writes the segments; true when all are written.
    fn write(&mut self, part: &Bytes, work: &mut Work) -> bool {
        self.out.reserve_exact(self.len.saturating_sub(self.out.len()));
        while let Some(segment) = self.segments.get(self.next) {
            if work.is_spent() {
                return false;
            }
            let bytes = match segment {
                Segment::Open { number, len } => {
                    work.charge(Work::FIELD);
                    put_len(&mut self.out, *number, *len);
                    self.next += 1;
                    continue;
                }
                Segment::Range(range) => part.get(range.clone()).unwrap_or_default(),
                Segment::Small(bytes) => bytes,
                Segment::Bytes(bytes) => bytes,
            };
            let left = bytes.get(self.within..).unwrap_or_default();
            let (now, later) = left.split_at(left.len().min(usize::try_from(work.left()).unwrap_or(usize::MAX)));
            work.charge(now.len() as u64);
            self.out.extend_from_slice(now);
            self.within += now.len();
            if later.is_empty() {
                self.next += 1;
                self.within = 0;
            }
        }
        true
    }

    /// Moves the written bytes into the piece.
    fn finish(&mut self, piece: &mut Piece) {
        piece.copied += self.out.len();
        let bytes = std::mem::take(&mut self.out).into();
        piece.body.push(Part { bytes, items: self.items });
        self.segments.clear();
        *self = Self { segments: std::mem::take(&mut self.segments), ..Self::default() };
    }
}
