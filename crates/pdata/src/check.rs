//! The only validation of a body, to full depth.
//!
//! Checks tags, wire types, lengths, id sizes and nesting, and counts items. It does not check UTF-8: the Go collector
//! forwards invalid UTF-8. A body that is accepted here is never rejected later. Unknown fields are legal and kept.
//! What fields there are is defined in [`crate::schema`].

use crate::schema::{ANY_VALUE, FieldCheck, KEY_VALUE, LEGACY_SCOPES, MessageSchema, ShortForm};
use crate::{Signal, schema, wire_format};

/// The result of the check of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckSummary {
    /// Spans, data points or log records.
    pub items: u32,
    /// `Resource*` entries.
    pub resources: u32,
    /// Whether there is a field 1000: the scopes in OTLP before 0.15, see [`crate::checked_rope`].
    pub has_legacy_scopes: bool,
}

/// Why a body is not OTLP. The sender sent it so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedBody {
    /// Byte offset into the body.
    pub offset: usize,
    /// The message type that was being read.
    pub message: &'static str,
    /// The kind of the error; its text is that of the Go codec where the Go codec has one.
    pub kind: MalformedBodyKind,
}

/// The kinds of [`MalformedBody`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MalformedBodyKind {
    /// The bytes end inside a field.
    UnexpectedEof,
    /// A varint of more than ten bytes.
    Overflow,
    /// Field number zero or above 2^29-1.
    IllegalTag,
    /// A known field with another wire type, or a group.
    WireType {
        /// The field's number.
        field: u32,
        /// The wire type in the tag.
        found: u8,
    },
    /// A trace id that is neither empty nor 16 bytes.
    TraceIdLength,
    /// A span id that is neither empty nor 8 bytes.
    SpanIdLength,
    /// Values nested more than [`MAX_NESTING`] deep.
    Nesting,
}

impl std::fmt::Display for MalformedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            MalformedBodyKind::UnexpectedEof => write!(f, "unexpected EOF")?,
            MalformedBodyKind::Overflow => write!(f, "proto: integer overflow")?,
            MalformedBodyKind::IllegalTag => write!(f, "proto: illegal tag 0")?,
            MalformedBodyKind::WireType { field, found } => {
                write!(f, "proto: wrong wireType = {found} for field {field}")?
            }
            MalformedBodyKind::TraceIdLength => write!(f, "unmarshal: invalid TraceID length")?,
            MalformedBodyKind::SpanIdLength => write!(f, "unmarshal: invalid SpanID length")?,
            MalformedBodyKind::Nesting => write!(f, "proto: values nested more than {MAX_NESTING} deep")?,
        }
        write!(f, " (in {} at byte {})", self.message, self.offset)
    }
}

impl std::error::Error for MalformedBody {}

/// How deep `AnyValue`s may nest; the Go collector's limit.
pub const MAX_NESTING: u8 = 100;

/// Checks `body`, an `Export*ServiceRequest` of `signal`.
///
/// # Errors
/// The first error, with its position.
pub fn check(signal: Signal, body: &[u8]) -> Result<CheckSummary, MalformedBody> {
    let mut checker = BodyChecker::new(NoReport);
    if checker.check_message(schema::request(signal), body, body.len(), 0).is_err() {
        // The same again, for the position of the error.
        let mut reporter = BodyChecker::new(ReportPosition { body_address: body.as_ptr() as usize });
        reporter.check_message(schema::request(signal), body, body.len(), 0)?;
    }
    Ok(checker.summary)
}

/// Makes the error of a field, or nothing: nearly all bodies are valid, and need no positions.
trait Report {
    type Error;

    fn error(&self, message: &'static MessageSchema, at: &[u8], kind: MalformedBodyKind) -> Self::Error;
}

struct NoReport;

impl Report for NoReport {
    type Error = ();

    #[inline]
    fn error(&self, _: &'static MessageSchema, _: &[u8], _: MalformedBodyKind) {}
}

struct ReportPosition {
    /// Address of the body's first byte.
    body_address: usize,
}

impl Report for ReportPosition {
    type Error = MalformedBody;

    fn error(&self, message: &'static MessageSchema, at: &[u8], kind: MalformedBodyKind) -> MalformedBody {
        MalformedBody { offset: (at.as_ptr() as usize).wrapping_sub(self.body_address), message: message.name, kind }
    }
}

struct BodyChecker<R> {
    report: R,
    summary: CheckSummary,
}

impl<R: Report> BodyChecker<R> {
    fn new(report: R) -> Self {
        Self { report, summary: CheckSummary::default() }
    }

    /// Checks a message: the first `len` bytes of `tail`, which goes on to the end of the body.
    fn check_message(
        &mut self,
        message: &'static MessageSchema,
        mut tail: &[u8],
        len: usize,
        depth: u8,
    ) -> Result<(), R::Error> {
        let mut left = len;
        while left > 0 {
            if let Some((item, start, len)) = short_item(message, tail, left) {
                self.summary.items = self.summary.items.saturating_add(1);
                self.check_message(item, tail.get(start..).unwrap_or_default(), len, depth)?;
                left -= start + len;
                tail = tail.get(start + len..).unwrap_or_default();
                continue;
            }
            let skipped = short_fields_len(message, tail, left, depth < MAX_NESTING);
            if skipped > 0 {
                left -= skipped;
                tail = tail.get(skipped..).unwrap_or_default();
                continue;
            }
            let field_len = self.check_field(message, tail, left, depth)?;
            left -= field_len;
            tail = tail.get(field_len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Checks one field of any form, and returns how many of the first `left` bytes of `tail` it has.
    #[inline(never)]
    fn check_field(
        &mut self,
        message: &'static MessageSchema,
        tail: &[u8],
        left: usize,
        depth: u8,
    ) -> Result<usize, R::Error> {
        let at = tail.get(..left).unwrap_or_default();
        let length_until = |after: &[u8]| at.len() - after.len();
        let error = |kind| self.report.error(message, at, kind);
        let (tag, after) = wire_format::read_varint(at).ok_or_else(|| error(varint_error_kind(at)))?;
        let found = (tag & 7) as u8;
        let Some(number) = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n)) else {
            return Err(error(MalformedBodyKind::IllegalTag));
        };
        let check = message.check_of(number);
        let wrong_wire_type = || error(MalformedBodyKind::WireType { field: number, found });
        match found {
            0 => {
                if !matches!(check, FieldCheck::Varint | FieldCheck::RepeatedVarint | FieldCheck::Unknown) {
                    return Err(wrong_wire_type());
                }
                let (_, after) = wire_format::read_varint(after).ok_or_else(|| error(varint_error_kind(after)))?;
                Ok(length_until(after))
            }
            1 => {
                if !matches!(check, FieldCheck::Fixed64 | FieldCheck::RepeatedFixed64 | FieldCheck::Unknown) {
                    return Err(wrong_wire_type());
                }
                let after = after.get(8..).ok_or_else(|| error(MalformedBodyKind::UnexpectedEof))?;
                Ok(length_until(after))
            }
            2 => {
                let (len, after) = wire_format::read_length(after).ok_or_else(|| error(varint_error_kind(after)))?;
                let len = usize::try_from(len).ok().filter(|len| *len <= after.len());
                let len = len.ok_or_else(|| error(MalformedBodyKind::UnexpectedEof))?;
                let start = length_until(after);
                self.check_delimited(message, number, check, tail.get(start..).unwrap_or_default(), len, depth)?;
                Ok(start + len)
            }
            5 => {
                if !matches!(check, FieldCheck::Fixed32 | FieldCheck::Unknown) {
                    return Err(wrong_wire_type());
                }
                let after = after.get(4..).ok_or_else(|| error(MalformedBodyKind::UnexpectedEof))?;
                Ok(length_until(after))
            }
            _ => Err(wrong_wire_type()),
        }
    }

    #[inline]
    fn check_delimited(
        &mut self,
        message: &'static MessageSchema,
        field: u32,
        check: FieldCheck,
        tail: &[u8],
        len: usize,
        depth: u8,
    ) -> Result<(), R::Error> {
        let content = tail.get(..len).unwrap_or_default();
        match check {
            FieldCheck::Bytes => Ok(()),
            FieldCheck::Unknown => {
                self.summary.has_legacy_scopes |= field == LEGACY_SCOPES;
                Ok(())
            }
            // Near the end of the body.
            FieldCheck::KeyValue if depth < MAX_NESTING && wire_format::short_string_attribute(content).is_some() => {
                Ok(())
            }
            FieldCheck::KeyValue => self.check_message(&KEY_VALUE, tail, len, depth),
            FieldCheck::Message(inner) | FieldCheck::Wrapper(inner) => self.check_message(inner, tail, len, depth),
            FieldCheck::Nested(_) if depth >= MAX_NESTING => {
                Err(self.report.error(message, content, MalformedBodyKind::Nesting))
            }
            FieldCheck::Nested(inner) => self.check_message(inner, tail, len, depth + 1),
            FieldCheck::Item(inner) => {
                self.summary.items = self.summary.items.saturating_add(1);
                self.check_message(inner, tail, len, depth)
            }
            FieldCheck::Entry(inner) => {
                self.summary.resources = self.summary.resources.saturating_add(1);
                self.check_message(inner, tail, len, depth)
            }
            FieldCheck::TraceId if matches!(len, 0 | 16) => Ok(()),
            FieldCheck::TraceId => Err(self.report.error(message, content, MalformedBodyKind::TraceIdLength)),
            FieldCheck::SpanId if matches!(len, 0 | 8) => Ok(()),
            FieldCheck::SpanId => Err(self.report.error(message, content, MalformedBodyKind::SpanIdLength)),
            FieldCheck::RepeatedFixed64 if len.is_multiple_of(8) => Ok(()),
            FieldCheck::RepeatedFixed64 => Err(self.report.error(message, content, MalformedBodyKind::UnexpectedEof)),
            FieldCheck::RepeatedVarint => {
                let mut rest = content;
                while !rest.is_empty() {
                    rest = wire_format::read_varint(rest)
                        .ok_or_else(|| self.report.error(message, rest, varint_error_kind(rest)))?
                        .1;
                }
                Ok(())
            }
            FieldCheck::Varint | FieldCheck::Fixed64 | FieldCheck::Fixed32 => {
                Err(self.report.error(message, content, MalformedBodyKind::WireType { field, found: 2 }))
            }
        }
    }
}

/// As many bytes as are read of an attribute before all of its lengths are known to be right: two lengths of one byte
/// with their tags, twice, and the key between them.
const WINDOW: usize = 4 + 0xff + 4;

/// An item at the beginning whose length has one or two bytes: its schema, and where its content begins and how long it
/// is.
#[inline]
fn short_item(
    message: &'static MessageSchema,
    tail: &[u8],
    left: usize,
) -> Option<(&'static MessageSchema, usize, usize)> {
    let [tag, first, second, ..] = *tail else { return None };
    if message.short_form(tag) != ShortForm::Item {
        return None;
    }
    let FieldCheck::Item(item) = message.check_of(u32::from(tag >> 3)) else { return None };
    let (start, len) = match (first, second) {
        (..0x80, _) => (2, usize::from(first)),
        (_, ..0x80) => (3, usize::from(first & 0x7f) | usize::from(second) << 7),
        _ => return None,
    };
    (start + len <= left).then_some((item, start, len))
}

/// A tag, a length, a tag and a length in a window.
#[inline(always)]
fn word(window: &[u8; WINDOW], at: usize) -> u32 {
    window.get(at..).and_then(|word| word.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}

/// The bits of such a word that are its tags and the highest ones of its lengths: lengths of one byte are below 0x80.
const TAGS: u32 = 0x80ff_80ff;

/// The tags of a value, and of a string in it.
const STRING_VALUE: u32 = 0x000a_0012;

/// How many of the first `left` bytes of `tail` are fields that are valid and have a short form. Stops at any other
/// field, and near the end of the body.
fn short_fields_len(message: &'static MessageSchema, tail: &[u8], left: usize, with_attributes: bool) -> usize {
    let (mut rest, mut remaining) = (tail, left);
    while let Some(window) = rest.first_chunk::<WINDOW>() {
        let [tag, second, ..] = *window;
        let len = match message.short_form(tag) {
            ShortForm::KeyValue if with_attributes => {
                let skipped = string_attributes_len(rest, remaining, tag);
                if skipped > 0 { skipped } else { scalar_attribute_len(window) }
            }
            ShortForm::Message if usize::from(second) < remaining => {
                short_message_len(message, rest, second, with_attributes)
            }
            ShortForm::KeyValue | ShortForm::Message => 0,
            form => form.scalar_len(second),
        };
        let Some(next) = rest.get(len..).filter(|_| len > 0 && len <= remaining) else { break };
        remaining -= len;
        rest = next;
    }
    left - remaining
}

/// How many bytes at the beginning are attributes of the most common form: `tag`, a key and a string, with lengths of one
/// byte and nothing else.
#[inline]
fn string_attributes_len(attributes: &[u8], left: usize, tag: u8) -> usize {
    let (mut rest, mut remaining) = (attributes, left);
    while let Some(window) = rest.first_chunk::<WINDOW>() {
        if word(window, 0) & TAGS != 0x000a_0000 | u32::from(tag) {
            break;
        }
        let (len, key_len) = (usize::from(window[1]), usize::from(window[3]));
        let value = word(window, 4 + key_len);
        if value & TAGS != STRING_VALUE {
            break;
        }
        let (value_len, string_len) = ((value >> 8 & 0xff) as usize, (value >> 24) as usize);
        if value_len != string_len + 2 || len != key_len + string_len + 6 || len + 2 > remaining {
            break;
        }
        let Some(next) = rest.get(len + 2..) else { break };
        remaining -= len + 2;
        rest = next;
    }
    left - remaining
}

/// The length of an attribute of a key and a value that is any scalar, tag included, with lengths of one byte and nothing
/// else. Zero for any other form. What the window shows may go beyond the attribute's message.
#[inline(never)]
fn scalar_attribute_len(window: &[u8; WINDOW]) -> usize {
    if word(window, 0) & 0x80ff_8000 != 0x000a_0000 {
        return 0;
    }
    let (len, key_end) = (usize::from(window[1]), 4 + usize::from(window[3]));
    let value = word(window, key_end);
    let (value_len, second) = ((value >> 8 & 0xff) as usize, (value >> 24) as u8);
    let content_len = ANY_VALUE.short_form((value >> 16) as u8).scalar_len(second);
    let is_short = value & 0x80ff == 0x12 && content_len > 0 && content_len == value_len;
    if is_short && len == key_end + value_len { len + 2 } else { 0 }
}

/// The length of a message field, tag included, whose content has less than 128 bytes and is nothing but short fields.
/// Zero for any other.
#[inline(never)]
fn short_message_len(message: &'static MessageSchema, field: &[u8], len: u8, with_attributes: bool) -> usize {
    let [tag, _, content @ ..] = field else { return 0 };
    let FieldCheck::Message(inner) = message.check_of(u32::from(tag >> 3)) else { return 0 };
    let is_short =
        len < 0x80 && short_fields_len(inner, content, usize::from(len), with_attributes) == usize::from(len);
    if is_short { 2 + usize::from(len) } else { 0 }
}

/// Why a varint is unreadable: it is truncated, or it is too long.
#[cold]
fn varint_error_kind(buf: &[u8]) -> MalformedBodyKind {
    if buf.iter().take(10).all(|b| *b >= 0x80) && buf.len() < 10 {
        MalformedBodyKind::UnexpectedEof
    } else {
        MalformedBodyKind::Overflow
    }
}
