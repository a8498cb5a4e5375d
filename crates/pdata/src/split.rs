//! Cuts bodies into pieces of a number of items, of bytes, or both.
//!
//! Parts and entries that fit are shared, not copied. An entry that does not fit is cut at its resource, scope, metric
//! and item boundaries: its items are copied once, and the fields around them (the *wrapper* of each message) are in
//! every piece. Every item, and every byte that is not an item, is in the pieces; wrappers may be repeated. In an entry
//! that was cut, the fields of a wrapper that are not children are before the children; they keep their relative order.
//!
//! The work is linear in the bytes and pieces, and is done in steps ([`StepBudget`]). A step exceeds its budget
//! by no more than a count of [`MAX_COUNTED_FIELDS`] fields and the tags of one item.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::rope::RopePart;
use crate::schema::{ChildSchema, MessageSchema, RESOURCE_LOGS, RESOURCE_METRICS, RESOURCE_SPANS};
use crate::wire_format::{MessageFields, WireValue, put_tag_and_len, varint_len};
use crate::{Rope, Signal, StepBudget};

/// Removes the first `max` items from `rope` and returns them; the other items stay in it. Returns all of it when it
/// has no more than `max` items.
///
/// For a single cut. To make several pieces of a body, use a [`Splitter`].
#[must_use]
pub fn split_to(signal: Signal, rope: &mut Rope, max: u32) -> Rope {
    if rope.items() <= max {
        return std::mem::take(rope);
    }
    if max == 0 {
        return Rope::default();
    }
    let mut splitter = Splitter::new(signal);
    splitter.push(std::mem::take(rope));
    let mut budget = StepBudget::unlimited();
    // With a budget that is never spent, each call returns a piece.
    let first = splitter.next_piece(PieceLimit::items(max), &mut budget).unwrap_or_default();
    *rope = splitter.next_piece(PieceLimit::NONE, &mut budget).unwrap_or_default();
    first
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
const MAX_COUNTED_FIELDS: u32 = 1 << 16;

/// The limit for the bytes of repeated wrappers of one part: this factor times its length, plus [`REPEAT_ALLOWANCE`].
/// Without a limit, a resource of 2 MB with a million spans, in pieces of a hundred, would be repeated ten thousand
/// times.
const REPEAT_FACTOR: usize = 16;

/// See [`REPEAT_FACTOR`].
const REPEAT_ALLOWANCE: usize = 1 << 20;

/// Units of work for taking a part, whole or to be cut.
const PART_UNITS: u64 = 20;

/// Units of work for each piece, in addition to its content.
const PIECE_UNITS: u64 = 400;

/// Largest capacity of the queue of parts that stays allocated when nothing is left.
const MAX_SPARE_CAPACITY: usize = 256;

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
    parts: VecDeque<RopePart>,
    /// Items and bytes of `parts`.
    parts_items: u64,
    parts_len: usize,
    open_part: Option<Box<OpenPart>>,
    piece: PieceInProgress,
    /// The content of the piece is decided, but its buffer may not be written yet.
    piece_decided: bool,
    items: u64,
    len: usize,
    pushed_parts: u64,
    finished_parts: u64,
    copied_bytes: usize,
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
            open_part: None,
            piece: PieceInProgress::default(),
            piece_decided: false,
            items: 0,
            len: 0,
            pushed_parts: 0,
            finished_parts: 0,
            copied_bytes: 0,
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
        self.parts.is_empty() && self.open_part.is_none() && self.piece.body.is_empty()
    }

    /// Parts pushed since the splitter was made.
    #[must_use]
    pub fn pushed_parts(&self) -> u64 {
        self.pushed_parts
    }

    /// Parts of which nothing is left. Numbered as in [`Splitter::pushed_parts`]: a piece is made from the parts from
    /// this number, read before the piece is begun, to [`Splitter::started_parts`], read after the piece has been
    /// returned.
    #[must_use]
    pub fn finished_parts(&self) -> u64 {
        self.finished_parts
    }

    /// Parts that have been begun or taken whole.
    #[must_use]
    pub fn started_parts(&self) -> u64 {
        self.finished_parts + u64::from(self.open_part.is_some())
    }

    /// Bytes of the last piece that were copied and are not shared with the bodies that were pushed.
    #[must_use]
    pub fn copied_bytes(&self) -> usize {
        self.copied_bytes
    }

    /// The next piece; an empty one when nothing is left. `None`: the budget of this step is spent. Call again with a
    /// new budget, and with the same limit.
    ///
    /// When no items are left after a piece, the other bytes that are left are part of it, unless they do not fit.
    pub fn next_piece(&mut self, limit: PieceLimit, budget: &mut StepBudget) -> Option<Rope> {
        let limit = PieceLimit { items: limit.items.max(1), ..limit };
        loop {
            if budget.is_spent() {
                return None;
            }
            if let Some(open) = &mut self.open_part
                && open.buffer.is_complete
            {
                if open.buffer.write(&open.part.bytes, budget) {
                    open.buffer.finish(&mut self.piece);
                }
                continue;
            }
            if self.piece_decided {
                break;
            }
            let step = match &mut self.open_part {
                None => self.next_part(limit, budget),
                Some(open) if open.open_messages.is_empty() => open.read_body(&mut self.piece, limit, budget),
                Some(open) => open.read_entry(&mut self.piece, limit, budget),
            };
            match step {
                Step::Continue => {}
                Step::PartEnd => {
                    self.open_part = None;
                    self.finished_parts += 1;
                }
                Step::PieceEnd => {
                    self.piece_decided = true;
                    if let Some(open) = &mut self.open_part {
                        open.complete_buffer();
                    }
                }
            }
        }
        budget.charge(PIECE_UNITS);
        if self.parts.is_empty() && self.parts.capacity() > MAX_SPARE_CAPACITY {
            self.parts = VecDeque::new();
        }
        self.piece_decided = false;
        let piece = std::mem::take(&mut self.piece);
        self.copied_bytes = piece.copied_bytes;
        self.items = self.parts_items + self.open_part.as_ref().map_or(0, |open| u64::from(open.remaining_items()));
        self.len = self.parts_len + self.open_part.as_ref().map_or(0, |open| open.remaining_len());
        Some(piece.body)
    }

    /// Takes the next part whole, or opens it to be cut.
    fn next_part(&mut self, limit: PieceLimit, budget: &mut StepBudget) -> Step {
        let Some(part) = self.parts.front() else { return Step::PieceEnd };
        let room_items = self.piece.remaining_items(limit);
        if room_items == 0 && self.parts_items > 0 {
            return Step::PieceEnd;
        }
        let fits = self.piece.body.len().saturating_add(part.bytes.len()) <= limit.bytes;
        let takes_whole = if fits { part.items <= room_items } else { part.items <= 1 };
        if takes_whole && !fits && !self.piece.body.is_empty() {
            return Step::PieceEnd;
        }
        let Some(part) = self.parts.pop_front() else { return Step::PieceEnd };
        budget.charge(PART_UNITS);
        self.parts_items = self.parts_items.saturating_sub(u64::from(part.items));
        self.parts_len -= part.bytes.len();
        if takes_whole {
            self.finished_parts += 1;
            self.piece.items += part.items;
            self.piece.body.push(part);
        } else {
            self.open_part = Some(Box::new(OpenPart::new(self.signal, part)));
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
struct PieceInProgress {
    body: Rope,
    /// Items of `body`, and those recorded in the buffer of the open part.
    items: u32,
    /// Bytes recorded in that buffer since the piece was begun: of the children that were copied, and of their
    /// wrappers.
    item_bytes: usize,
    wrapper_bytes: usize,
    copied_bytes: usize,
}

impl PieceInProgress {
    fn remaining_items(&self, limit: PieceLimit) -> u32 {
        limit.items.saturating_sub(self.items)
    }
}

/// The field number of entries in a body.
const ENTRY: u32 = 1;

/// The number of items in a message; `None` if there are more than `max_items` items or more than `max_fields` fields.
fn count_items(schema: &MessageSchema, message: &[u8], max_items: u32, max_fields: &mut u32) -> Option<u32> {
    let mut items = 0_u32;
    for (number, value) in MessageFields::new(message) {
        *max_fields = max_fields.checked_sub(1)?;
        if let WireValue::Len(content) = value
            && let Some(child) = schema.child(number)
        {
            items += match child {
                ChildSchema::Wrapper(below) => count_items(below, content, max_items - items, max_fields)?,
                ChildSchema::Item if items < max_items => 1,
                ChildSchema::Item => return None,
            };
        }
    }
    Some(items)
}

/// The items in fields of a message, however many there are.
pub(crate) fn count_all_items(schema: &MessageSchema, fields: &[u8]) -> u32 {
    count_items(schema, fields, u32::MAX, &mut u32::MAX.clone()).unwrap_or(u32::MAX)
}

fn count_items_charged(schema: &MessageSchema, message: &[u8], max_items: u32, budget: &mut StepBudget) -> Option<u32> {
    let mut fields = MAX_COUNTED_FIELDS;
    let items = count_items(schema, message, max_items, &mut fields);
    budget.charge(u64::from(MAX_COUNTED_FIELDS - fields) * StepBudget::UNITS_PER_FIELD);
    items
}

/// Bytes of a length-delimited field with content of this length.
fn field_len(number: u32, content_len: usize) -> usize {
    varint_len(u64::from(number) << 3) + varint_len(content_len as u64) + content_len
}

/// A part that is being cut.
#[derive(Debug)]
struct OpenPart {
    part: RopePart,
    entry: &'static MessageSchema,
    /// The body's next unread field.
    position: usize,
    /// Whole entries that are taken and not yet in the piece: from here to `position`, with `slice_items` items.
    slice_start: usize,
    slice_items: u32,
    /// Items that have been taken.
    taken_items: u32,
    /// The entry that is being cut, and the messages in it down to the one that is read.
    open_messages: SmallVec<[OpenMessage; 4]>,
    /// Bytes of wrappers that were repeated.
    repeated_bytes: usize,
    buffer: Buffer,
}

/// A message that is being cut.
#[derive(Debug)]
struct OpenMessage {
    schema: &'static MessageSchema,
    /// Its field number in the outer message.
    number: u32,
    /// The next unread field, and the end of the message, as positions in the part.
    position: usize,
    end: usize,
    /// The next field that the scan for `wrapper` reads.
    scan_position: usize,
    /// The fields that are not children: complete when the scan has reached the end.
    wrapper: Wrapper,
    /// Whether the wrapper has been in a piece.
    is_emitted: bool,
    /// The index of its opening segment in the buffer, while it is open there.
    open_segment: Option<usize>,
    /// Bytes of its content in the buffer, without those of a child that is open.
    content_len: usize,
}

/// Ranges of a part, joined.
#[derive(Debug)]
enum Wrapper {
    Range(Range<usize>),
    Joined(Vec<u8>),
    Complete(Bytes),
}

impl OpenPart {
    fn new(signal: Signal, part: RopePart) -> Self {
        Self {
            part,
            entry: match signal {
                Signal::Traces => &RESOURCE_SPANS,
                Signal::Metrics => &RESOURCE_METRICS,
                Signal::Logs => &RESOURCE_LOGS,
            },
            position: 0,
            slice_start: 0,
            slice_items: 0,
            taken_items: 0,
            open_messages: SmallVec::new(),
            repeated_bytes: 0,
            buffer: Buffer::default(),
        }
    }

    /// Bytes that have not been read.
    fn remaining_len(&self) -> usize {
        let inner = self.open_messages.iter().map(|frame| frame.end - frame.position).sum::<usize>();
        self.part.bytes.len() - self.position + inner
    }

    fn remaining_items(&self) -> u32 {
        self.part.items.saturating_sub(self.taken_items)
    }

    /// Moves whole entries into the piece.
    fn push_slice(&mut self, piece: &mut PieceInProgress) {
        let items = std::mem::take(&mut self.slice_items);
        piece.body.push(RopePart { bytes: self.part.bytes.slice(self.slice_start..self.position), items });
        self.slice_start = self.position;
    }

    /// Takes whole entries up to the first that does not fit, and begins to cut that one.
    fn read_body(&mut self, piece: &mut PieceInProgress, limit: PieceLimit, budget: &mut StepBudget) -> Step {
        let bytes = self.part.bytes.clone();
        let fits = |piece: &PieceInProgress, slice: usize, end: usize| {
            piece.body.len().saturating_add(end.saturating_sub(slice)) <= limit.bytes
        };
        let end = bytes.len();
        if self.remaining_items() <= piece.remaining_items(limit) && fits(piece, self.slice_start, end) {
            let items = self.remaining_items();
            self.position = end;
            self.slice_items += items;
            self.taken_items = self.taken_items.saturating_add(items);
            piece.items = piece.items.saturating_add(items);
            self.push_slice(piece);
            return Step::PartEnd;
        }
        let mut fields = MessageFields::new(bytes.get(self.position..).unwrap_or_default());
        while !budget.is_spent() {
            budget.charge(StepBudget::UNITS_PER_FIELD);
            let Some((number, value)) = fields.next() else {
                // The end. If the bytes have not passed the check, the unreadable rest is also added to the piece.
                self.position = bytes.len();
                self.push_slice(piece);
                return Step::PartEnd;
            };
            let end = bytes.len() - fields.rest().len();
            let entry = if let WireValue::Len(entry) = value
                && number == ENTRY
            {
                entry
            } else {
                &[]
            };
            let room_items = piece.remaining_items(limit);
            let items = count_items_charged(self.entry, entry, room_items, budget);
            let fits = fits(piece, self.slice_start, end);
            let is_first = piece.body.is_empty() && self.slice_start == self.position;
            match items {
                Some(items) if fits || items <= 1 && is_first => {
                    self.position = end;
                    self.slice_items += items;
                    self.taken_items = self.taken_items.saturating_add(items);
                    piece.items = piece.items.saturating_add(items);
                }
                _ => {
                    self.push_slice(piece);
                    if room_items == 0 || items.is_some_and(|items| items <= 1) {
                        return Step::PieceEnd;
                    }
                    self.position = end;
                    self.slice_start = end;
                    self.push_message(self.entry, number, end - entry.len()..end);
                    return Step::Continue;
                }
            }
        }
        Step::Continue
    }

    fn push_message(&mut self, schema: &'static MessageSchema, number: u32, content: Range<usize>) {
        let Range { start, end } = content;
        let wrapper = Wrapper::Range(start..start);
        let message = OpenMessage {
            schema,
            number,
            position: start,
            end,
            scan_position: start,
            wrapper,
            is_emitted: false,
            open_segment: None,
            content_len: 0,
        };
        self.open_messages.push(message);
    }

    /// Continues reading the innermost message of the entry that is being cut.
    fn read_entry(&mut self, piece: &mut PieceInProgress, limit: PieceLimit, budget: &mut StepBudget) -> Step {
        let bytes = self.part.bytes.clone();
        let Some(frame) = self.open_messages.last_mut() else { return Step::Continue };
        if !frame.scan_wrapper(&bytes, budget) {
            return Step::Continue;
        }
        let (schema, end) = (frame.schema, frame.end);
        let mut fields = MessageFields::new(bytes.get(frame.position..end).unwrap_or_default());
        while !budget.is_spent() {
            budget.charge(StepBudget::UNITS_PER_FIELD);
            let start = end - fields.rest().len();
            let Some((number, value)) = fields.next() else { return self.finish_message(piece, limit, budget) };
            let next = end - fields.rest().len();
            let (WireValue::Len(content), Some(child)) = (value, schema.child(number)) else {
                self.set_position(next);
                continue;
            };
            let room_items = piece.remaining_items(limit);
            // Above the limit of repeated bytes, a piece must have at least as many bytes of items as of wrappers.
            let is_forced = self.repeated_bytes
                > self.part.bytes.len().saturating_mul(REPEAT_FACTOR).saturating_add(REPEAT_ALLOWANCE)
                && piece.item_bytes < piece.wrapper_bytes;
            let items = match child {
                ChildSchema::Wrapper(below) => count_items_charged(below, content, room_items, budget),
                ChildSchema::Item if room_items > 0 || is_forced => Some(1),
                ChildSchema::Item => None,
            };
            if items.is_none() && room_items == 0 && !is_forced {
                return Step::PieceEnd;
            }
            let raw = start..next;
            let fits = items.is_some() && self.fits(piece, limit, raw.len());
            let Some(items) = items.filter(|items| fits || *items <= 1) else {
                if let ChildSchema::Wrapper(below) = child {
                    self.set_position(next);
                    self.push_message(below, number, next - content.len()..next);
                }
                return Step::Continue;
            };
            if !fits && !is_forced && !self.is_first(piece) {
                return Step::PieceEnd;
            }
            self.set_position(next);
            self.open_messages_in_buffer(piece, budget);
            self.buffer.record(&bytes, raw.clone(), budget);
            self.buffer.items += items;
            self.taken_items = self.taken_items.saturating_add(items);
            piece.items = piece.items.saturating_add(items);
            piece.item_bytes += raw.len();
            if let Some(frame) = self.open_messages.last_mut() {
                frame.content_len += raw.len();
            }
        }
        Step::Continue
    }

    fn set_position(&mut self, position: usize) {
        if let Some(frame) = self.open_messages.last_mut() {
            frame.position = position;
        }
    }

    fn is_first(&self, piece: &PieceInProgress) -> bool {
        piece.body.is_empty() && self.buffer.segments.is_empty()
    }

    /// Whether the piece stays within its limit with `additional` more bytes in the innermost message.
    fn fits(&self, piece: &PieceInProgress, limit: PieceLimit, additional: usize) -> bool {
        if limit.bytes == usize::MAX {
            return true;
        }
        let mut inner = additional;
        for frame in self.open_messages.iter().rev() {
            let opening = if frame.open_segment.is_none() { frame.wrapper.len() } else { 0 };
            inner = field_len(frame.number, frame.content_len + opening + inner);
        }
        piece.body.len().saturating_add(inner) <= limit.bytes
    }

    /// Opens every message in the buffer, from the entry to the innermost.
    fn open_messages_in_buffer(&mut self, piece: &mut PieceInProgress, budget: &mut StepBudget) {
        for frame in &mut self.open_messages {
            if frame.open_segment.is_some() {
                continue;
            }
            budget.charge(StepBudget::UNITS_PER_FIELD);
            frame.open_segment = Some(self.buffer.segments.len());
            self.buffer.segments.push(Segment::TagAndLen { number: frame.number, len: 0 });
            if let Wrapper::Complete(wrapper) = &frame.wrapper
                && !wrapper.is_empty()
            {
                self.buffer.segments.push(Segment::Bytes(wrapper.clone()));
            }
            frame.content_len = frame.wrapper.len();
            let bytes = field_len(frame.number, frame.content_len);
            piece.wrapper_bytes += bytes;
            if std::mem::replace(&mut frame.is_emitted, true) {
                self.repeated_bytes += bytes;
            }
        }
    }

    /// Ends the innermost message, which has been read.
    fn finish_message(&mut self, piece: &mut PieceInProgress, limit: PieceLimit, budget: &mut StepBudget) -> Step {
        let Some(frame) = self.open_messages.last() else { return Step::Continue };
        if !frame.is_emitted {
            // No child was taken separately, and no piece has the wrapper yet.
            if !self.is_first(piece) && !self.fits(piece, limit, 0) {
                return Step::PieceEnd;
            }
            self.open_messages_in_buffer(piece, budget);
        }
        let Some(frame) = self.open_messages.pop() else { return Step::Continue };
        self.buffer.close_message(&frame, self.open_messages.last_mut());
        if self.open_messages.is_empty() {
            self.buffer.is_complete = !self.buffer.segments.is_empty();
        }
        Step::Continue
    }

    /// The piece ends here: closes the messages that are open in the buffer. The next piece opens them again.
    fn complete_buffer(&mut self) {
        let mut frames = self.open_messages.as_mut_slice();
        while let Some((frame, outer)) = frames.split_last_mut() {
            self.buffer.close_message(frame, outer.last_mut());
            frame.open_segment = None;
            frame.content_len = 0;
            frames = outer;
        }
        self.buffer.is_complete = !self.buffer.segments.is_empty();
    }
}

impl OpenMessage {
    /// Finds the fields that are not children; true when that is done.
    fn scan_wrapper(&mut self, part: &Bytes, budget: &mut StepBudget) -> bool {
        if matches!(self.wrapper, Wrapper::Complete(_)) {
            return true;
        }
        let mut fields = MessageFields::new(part.get(self.scan_position..self.end).unwrap_or_default());
        while !budget.is_spent() {
            budget.charge(StepBudget::UNITS_PER_FIELD);
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
            self.scan_position = self.end - fields.rest().len();
            if matches!(value, WireValue::Len(_)) && self.schema.child(number).is_some() {
                continue;
            }
            let range = start..self.scan_position;
            match &mut self.wrapper {
                Wrapper::Range(first) if first.start == first.end => *first = range,
                Wrapper::Range(first) if first.end == range.start => first.end = range.end,
                Wrapper::Range(first) => {
                    budget.charge((first.len() + range.len()) as u64);
                    let ranges = [part.get(first.clone()), part.get(range)];
                    self.wrapper = Wrapper::Joined(ranges.map(Option::unwrap_or_default).concat());
                }
                Wrapper::Joined(bytes) => {
                    budget.charge(range.len() as u64);
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
    next_segment: usize,
    segment_offset: usize,
}

#[derive(Debug)]
enum Segment {
    /// Tag and length of a message.
    TagAndLen { number: u32, len: usize },
    /// A range of the part.
    Range(Range<usize>),
    /// Small ranges of the part, copied.
    Copied(Vec<u8>),
    /// A wrapper.
    Bytes(Bytes),
}

impl Buffer {
    /// Records a child that is copied unchanged.
    fn record(&mut self, part: &Bytes, range: Range<usize>, budget: &mut StepBudget) {
        let is_small = range.len() < SMALL_RANGE;
        match self.segments.last_mut() {
            Some(Segment::Range(last)) if last.end == range.start => last.end = range.end,
            Some(Segment::Range(last)) if is_small && last.len() < SMALL_RANGE => {
                budget.charge((last.len() + range.len()) as u64);
                let ranges = [part.get(last.clone()), part.get(range)];
                let joined = ranges.map(Option::unwrap_or_default).concat();
                self.segments.pop();
                self.segments.push(Segment::Copied(joined));
            }
            Some(Segment::Copied(bytes)) if is_small => {
                budget.charge(range.len() as u64);
                bytes.extend_from_slice(part.get(range).unwrap_or_default());
            }
            _ => self.segments.push(Segment::Range(range)),
        }
    }

    /// Closes a message, if it is open.
    fn close_message(&mut self, frame: &OpenMessage, outer: Option<&mut OpenMessage>) {
        let Some(segment) = frame.open_segment.and_then(|index| self.segments.get_mut(index)) else { return };
        *segment = Segment::TagAndLen { number: frame.number, len: frame.content_len };
        let len = field_len(frame.number, frame.content_len);
        match outer {
            Some(outer) => outer.content_len += len,
            None => self.len = len,
        }
    }

    /// Writes the segments; true when all are written.
    fn write(&mut self, part: &Bytes, budget: &mut StepBudget) -> bool {
        self.out.reserve_exact(self.len.saturating_sub(self.out.len()));
        while let Some(segment) = self.segments.get(self.next_segment) {
            if budget.is_spent() {
                return false;
            }
            let bytes = match segment {
                Segment::TagAndLen { number, len } => {
                    budget.charge(StepBudget::UNITS_PER_FIELD);
                    put_tag_and_len(&mut self.out, *number, *len);
                    self.next_segment += 1;
                    continue;
                }
                Segment::Range(range) => part.get(range.clone()).unwrap_or_default(),
                Segment::Copied(bytes) => bytes,
                Segment::Bytes(bytes) => bytes,
            };
            let left = bytes.get(self.segment_offset..).unwrap_or_default();
            let (written, unwritten) =
                left.split_at(left.len().min(usize::try_from(budget.remaining()).unwrap_or(usize::MAX)));
            budget.charge(written.len() as u64);
            self.out.extend_from_slice(written);
            self.segment_offset += written.len();
            if unwritten.is_empty() {
                self.next_segment += 1;
                self.segment_offset = 0;
            }
        }
        true
    }

    /// Moves the written bytes into the piece.
    fn finish(&mut self, piece: &mut PieceInProgress) {
        piece.copied_bytes += self.out.len();
        let bytes = std::mem::take(&mut self.out).into();
        piece.body.push(RopePart { bytes, items: self.items });
        self.segments.clear();
        *self = Self { segments: std::mem::take(&mut self.segments), ..Self::default() };
    }
}
