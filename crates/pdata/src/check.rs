//! The only validation of a body, to full depth.
//!
//! Checks tags, wire types, lengths, id sizes and nesting, and counts items. It does not check UTF-8: the Go collector
//! forwards invalid UTF-8. A body that is accepted here is never rejected later. Unknown fields are legal and kept.
//! What fields there are is defined in [`crate::schema`].

mod short_fields;

use short_fields::{item_schema, short_item, skip_fields, skip_short_fields};

use crate::schema::{FieldCheck, KEY_VALUE, LEGACY_SCOPES, MessageSchema};
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
    if checker.check_message(schema::request(signal), body, 0, 0).is_ok() {
        return Ok(checker.summary);
    }
    // The same again, for the position of the error.
    check_by_fields(signal, body)
}

/// Checks the bytes of an `AnyValue` that is to be the value of an attribute, by the rules of [`check`].
///
/// # Errors
/// The first error, with its position in these bytes.
pub fn check_value(value: &[u8]) -> Result<(), MalformedBody> {
    let mut checker = BodyChecker::new(ReportPosition { body_address: value.as_ptr() as usize });
    // The value of an attribute is the first level of nesting.
    checker.check_message(&schema::ANY_VALUE, value, 0, 1)
}

/// The check by the general loop alone, which reads field by field.
fn check_by_fields(signal: Signal, body: &[u8]) -> Result<CheckSummary, MalformedBody> {
    let mut checker = BodyChecker::new(ReportPosition { body_address: body.as_ptr() as usize });
    checker.check_message(schema::request(signal), body, 0, 0)?;
    Ok(checker.summary)
}

/// Makes the error of a field, or nothing: nearly all bodies are valid, and need no positions.
trait Report {
    type Error;

    /// Whether fields of short form are recognized before the general loop.
    const SKIPS_SHORT_FIELDS: bool;

    fn error(&self, message: &'static MessageSchema, at: &[u8], kind: MalformedBodyKind) -> Self::Error;
}

struct NoReport;

impl Report for NoReport {
    type Error = ();

    const SKIPS_SHORT_FIELDS: bool = true;

    #[inline]
    fn error(&self, _: &'static MessageSchema, _: &[u8], _: MalformedBodyKind) {}
}

struct ReportPosition {
    /// Address of the body's first byte.
    body_address: usize,
}

impl Report for ReportPosition {
    type Error = MalformedBody;

    const SKIPS_SHORT_FIELDS: bool = false;

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

    /// Checks a message: the bytes of `tail`, which goes on to the end of the body, without the last `stop`.
    fn check_message(
        &mut self,
        message: &'static MessageSchema,
        mut tail: &[u8],
        stop: usize,
        depth: u8,
    ) -> Result<(), R::Error> {
        let with_attributes = depth < MAX_NESTING;
        let mut has_short_fields = R::SKIPS_SHORT_FIELDS;
        while tail.len() > stop {
            if R::SKIPS_SHORT_FIELDS
                && let Some(tag) = tail.first()
                && let Some(item) = item_schema(message, *tag)
                && let rest = self.check_items(item, *tag, tail, stop, depth)?
                && rest.len() < tail.len()
            {
                tail = rest;
                continue;
            }
            if has_short_fields {
                match skip_short_fields(message, tail, stop, with_attributes) {
                    Some(rest) if rest.len() < tail.len() => {
                        tail = rest;
                        continue;
                    }
                    Some(_) => {}
                    // Of a malformed message they are not read again at every field.
                    None => has_short_fields = false,
                }
            }
            let field_len = self.check_field(message, tail, stop, depth)?;
            tail = tail.get(field_len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Checks items at the beginning whose lengths have one or two bytes, and returns what follows them.
    fn check_items<'a>(
        &mut self,
        message: &'static MessageSchema,
        tag: u8,
        mut tail: &'a [u8],
        stop: usize,
        depth: u8,
    ) -> Result<&'a [u8], R::Error> {
        while tail.len() > stop
            && let Some(item) = short_item(tag, tail, stop)
        {
            self.summary.items = self.summary.items.saturating_add(1);
            // From its length alone, so that the processor can go on with the next item before this one is checked.
            tail = item.content.get(item.content.len() - item.stop..).unwrap_or_default();
            let rest = skip_fields(message, item.content, item.stop, depth < MAX_NESTING);
            if rest.is_none_or(|rest| rest.len() > item.stop) {
                self.check_message(message, rest.unwrap_or(item.content), item.stop, depth)?;
            }
        }
        Ok(tail)
    }

    /// Checks one field of any form, and returns how many bytes it has.
    #[inline(never)]
    fn check_field(
        &mut self,
        message: &'static MessageSchema,
        tail: &[u8],
        stop: usize,
        depth: u8,
    ) -> Result<usize, R::Error> {
        let at = tail.get(..tail.len().saturating_sub(stop)).unwrap_or_default();
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
        let stop = tail.len().saturating_sub(len);
        match check {
            FieldCheck::Bytes => Ok(()),
            FieldCheck::Unknown => {
                self.summary.has_legacy_scopes |= field == LEGACY_SCOPES;
                Ok(())
            }
            // Near the end of the body.
            FieldCheck::KeyValue
                if R::SKIPS_SHORT_FIELDS
                    && depth < MAX_NESTING
                    && wire_format::short_string_attribute(content).is_some() =>
            {
                Ok(())
            }
            FieldCheck::KeyValue => self.check_message(&KEY_VALUE, tail, stop, depth),
            FieldCheck::Message(inner) | FieldCheck::Wrapper(inner) => self.check_message(inner, tail, stop, depth),
            FieldCheck::Nested(_) if depth >= MAX_NESTING => {
                Err(self.report.error(message, content, MalformedBodyKind::Nesting))
            }
            FieldCheck::Nested(inner) => self.check_message(inner, tail, stop, depth + 1),
            FieldCheck::Item(inner) => {
                self.summary.items = self.summary.items.saturating_add(1);
                self.check_message(inner, tail, stop, depth)
            }
            FieldCheck::Entry(inner) => {
                self.summary.resources = self.summary.resources.saturating_add(1);
                self.check_message(inner, tail, stop, depth)
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

/// Why a varint is unreadable: it is truncated, or it is too long.
#[cold]
fn varint_error_kind(buf: &[u8]) -> MalformedBodyKind {
    if buf.iter().take(10).all(|b| *b >= 0x80) && buf.len() < 10 {
        MalformedBodyKind::UnexpectedEof
    } else {
        MalformedBodyKind::Overflow
    }
}

#[cfg(test)]
mod tests;
