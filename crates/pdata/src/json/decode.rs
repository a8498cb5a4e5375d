//! From OTLP/JSON to OTLP protobuf.
//!
//! The text is read once, guided by the tables of [`super::schema`], and the output is written at the same time. The
//! length of a message is not known before its end: one byte is reserved for it. A longer length moves the content,
//! which costs far less than reading it. This is true only for small content and few levels. Where much text is left,
//! five bytes are therefore reserved for the length of everything that may be long or is deeply nested (see
//! [`Decoder::open`]). Large content is then not moved: its length keeps five bytes, padded with zeros, as protobuf
//! allows. Fields are written in the order of the text; zeros that mean absence are omitted.
//!
//! The output is at most four times as long as the input: `0,` in `bucketCounts` becomes eight bytes.

use super::read::{Outcome, Reader};
use super::schema::{ANY_VALUE, Field, KEY_VALUE, Kind, Rule, Schema, request};
use super::{JsonError, Problem};
use crate::wire::{put_varint, varint_len};
use crate::{MAX_NESTING, Signal};

/// Appends to `out` the protobuf of `body`, an `Export*ServiceRequest` in JSON: at most four times its bytes.
///
/// Text after the outermost object is not read, as in the Go collector.
///
/// # Errors
/// The first fault, with its position; `out` is then unchanged.
pub fn decode(signal: Signal, body: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    // Names and hexadecimal digits make up most of a body.
    out.reserve(body.len() / 2);
    message(request(signal), body, out)
}

/// The same for any message.
pub(super) fn message(schema: &'static Schema, body: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let before = out.len();
    let mut decoder = Decoder { text: Reader::new(body), out, moved: 0 };
    decoder.document(schema).map_err(|failure| {
        out.truncate(before);
        failure.into_error()
    })
}

/// How many bytes are moved within the output for a body.
#[cfg(test)]
pub(super) fn moved_bytes(signal: Signal, body: &[u8]) -> usize {
    let mut decoder = Decoder { text: Reader::new(body), out: &mut Vec::new(), moved: 0 };
    let _ = decoder.document(request(signal));
    decoder.moved
}

struct Decoder<'t, 'o> {
    text: Reader<'t>,
    out: &'o mut Vec<u8>,
    /// Bytes that were written and then moved.
    moved: usize,
}

/// A delimited field whose length is not known yet.
#[derive(Clone, Copy)]
struct Open {
    /// Where the content begins.
    start: usize,
    /// Number of bytes that are reserved before the content for its length.
    width: usize,
    /// Content of this many bytes or more is not moved to make the length shorter.
    keep: usize,
}

/// A length gets [`WIDE`] bytes only if more than this many bytes of text are left: otherwise there is little to move.
const WIDE_TEXT: usize = 1 << 16;

/// Bytes of a length that is wide enough for every body.
const WIDE: usize = 5;

/// From this depth of values on there may be many levels around the same content.
const DEEP: u8 = 2;

/// What is known about a message while it is read.
#[derive(Default)]
struct Frame {
    /// One bit for each field that may have been written, by its index: only then must a zero be written.
    written: u32,
    /// The output range of the current `oneof` alternative, or of the `AnyValue`. No message has both.
    alternative: Option<(usize, usize)>,
    /// The index of the field that most likely comes next.
    next: usize,
}

/// How many of the next fields are compared with a key before its name is read: senders omit few fields and keep the
/// order.
const AHEAD: usize = 4;

const LEN: u64 = 2;

impl Decoder<'_, '_> {
    fn document(&mut self, schema: &'static Schema) -> Outcome<()> {
        if self.text.null()? { Ok(()) } else { self.object(schema, 0, false) }
    }

    /// An object, from its opening brace; `again` if the message may have been written before.
    fn object(&mut self, schema: &'static Schema, depth: u8, again: bool) -> Outcome<()> {
        if !self.text.take(b'{') {
            return Err(self.text.expected("an object"));
        }
        if self.text.take(b'}') {
            return Ok(());
        }
        let mut frame = Frame { written: if again { u32::MAX } else { 0 }, ..Frame::default() };
        loop {
            match self.key(schema, frame.next)? {
                Some((index, field)) => {
                    frame.next = index + 1;
                    self.field(field, 1 << index, &mut frame, depth).map_err(|failure| failure.in_field(field.name))?;
                }
                None => self.text.skip()?,
            }
            if !self.text.another(b'}', "',' or '}'")? {
                return Ok(());
            }
        }
    }

    /// Reads a key and its colon; `None` for a name that is not a field of the message.
    #[inline]
    fn key(&mut self, schema: &'static Schema, next: usize) -> Outcome<Option<(usize, &'static Field)>> {
        if self.text.peek() != Some(b'"') {
            return Err(self.text.expected("a field name"));
        }
        for (index, field) in schema.fields.iter().enumerate().skip(next).take(AHEAD) {
            if self.text.take_key(field.tail.as_bytes()) {
                return Ok(Some((index, field)));
            }
        }
        let index = schema.find(self.text.string()?);
        self.text.colon()?;
        Ok(index.and_then(|index| Some((index, schema.fields.get(index)?))))
    }

    #[inline]
    fn field(&mut self, field: &'static Field, bit: u32, frame: &mut Frame, depth: u8) -> Outcome<()> {
        match field.rule {
            Rule::Many => return self.array(field, depth),
            Rule::Plain => {
                let again = frame.written & bit != 0;
                if let Kind::Message(inner) | Kind::Nested(inner) = field.kind {
                    if self.text.null()? {
                        return Ok(());
                    }
                    if std::ptr::eq(inner, &raw const ANY_VALUE) {
                        self.any_value(field, frame, depth)?;
                    } else {
                        self.value(field, depth, again)?;
                    }
                } else {
                    let start = self.out.len();
                    if !self.value(field, depth, again)? && !again {
                        self.out.truncate(start);
                        return Ok(());
                    }
                }
            }
            Rule::Optional => {
                self.value(field, depth, false)?;
            }
            Rule::Oneof => {
                self.remove(frame);
                let start = self.out.len();
                self.value(field, depth, false)?;
                frame.alternative = Some((start, self.out.len()));
            }
        }
        frame.written |= bit;
        Ok(())
    }

    /// Removes the previous alternative from the output before the new one is written: only the last one is kept, as in
    /// Go. If both were in the output, protobuf would merge a message with an earlier one of the same field number. The
    /// new one has not been written yet, so that only the bytes after the previous one are moved, and only once.
    #[inline]
    fn remove(&mut self, frame: &mut Frame) {
        if let Some((from, to)) = frame.alternative.take() {
            self.moved += self.out.len() - to;
            self.out.drain(from..to);
        }
    }

    /// An `AnyValue` field that is not repeated: the last one replaces those before it, unless it is empty.
    fn any_value(&mut self, field: &'static Field, frame: &mut Frame, depth: u8) -> Outcome<()> {
        let replaces = frame.alternative.is_none() || self.has_field(&ANY_VALUE);
        if replaces {
            self.remove(frame);
        }
        let start = self.out.len();
        self.value(field, depth, false)?;
        if replaces {
            frame.alternative = Some((start, self.out.len()));
        } else {
            self.out.truncate(start);
        }
        Ok(())
    }

    /// Whether the next object has a field of `schema`. Reads no further than the first such field.
    #[cold]
    fn has_field(&mut self, schema: &'static Schema) -> bool {
        let start = self.text.pos();
        // After a fault the caller reads the object again and reports the fault.
        let found = self.find_field(schema).unwrap_or(true);
        self.text.set_pos(start);
        found
    }

    fn find_field(&mut self, schema: &'static Schema) -> Outcome<bool> {
        if !self.text.take(b'{') || self.text.take(b'}') {
            return Ok(false);
        }
        loop {
            if self.key(schema, 0)?.is_some() {
                return Ok(true);
            }
            self.text.skip()?;
            if !self.text.another(b'}', "',' or '}'")? {
                return Ok(false);
            }
        }
    }

    fn array(&mut self, field: &'static Field, depth: u8) -> Outcome<()> {
        if self.text.null()? {
            return Ok(());
        }
        if !self.text.take(b'[') {
            return Err(self.text.expected("an array"));
        }
        if self.text.take(b']') {
            return Ok(());
        }
        let packed = match field.kind {
            Kind::Fixed64 | Kind::Double | Kind::Uint64 => Some(self.open(field.number, depth, true)),
            _ => None,
        };
        let mut index = 0_usize;
        loop {
            let element = match field.kind {
                Kind::Fixed64 => self.unsigned(u64::MAX, UINT64).map(|v| self.out.extend_from_slice(&v.to_le_bytes())),
                Kind::Uint64 => self.unsigned(u64::MAX, UINT64).map(|v| put_varint(self.out, v)),
                Kind::Double => self.double().map(|v| self.out.extend_from_slice(&v.to_le_bytes())),
                _ => self.value(field, depth, false).map(drop),
            };
            element.map_err(|failure| failure.at_index(index))?;
            if !self.text.another(b']', "',' or ']'")? {
                break;
            }
            index += 1;
        }
        if let Some(open) = packed {
            self.close(open);
        }
        Ok(())
    }

    /// Writes a field: its tag and its value. Returns false for the zero of its type. `again` is passed to
    /// [`Self::object`].
    fn value(&mut self, field: &'static Field, depth: u8, again: bool) -> Outcome<bool> {
        let number = field.number;
        Ok(match field.kind {
            Kind::Message(inner) => self.message(number, inner, depth, again)?,
            Kind::Nested(_) if depth >= MAX_NESTING => {
                return Err(self.text.fail(self.text.pos(), Problem::Nesting));
            }
            Kind::Nested(inner) => self.message(number, inner, depth + 1, again)?,
            Kind::Str => {
                let text: &[u8] = if self.text.null()? { b"" } else { self.text.string()? };
                put_varint(self.out, u64::from(number) << 3 | LEN);
                put_varint(self.out, text.len() as u64);
                self.out.extend_from_slice(text);
                !text.is_empty()
            }
            Kind::Bytes => self.bytes(number)?,
            Kind::TraceId => self.id(number, 16)?,
            Kind::SpanId => self.id(number, 8)?,
            Kind::Bool => {
                let v = self.text.boolean()?;
                self.varint(number, u64::from(v))
            }
            Kind::Int32 => {
                let v = self.signed(i32::MIN.into(), i32::MAX.into(), "an int32")?;
                self.varint(number, v.cast_unsigned())
            }
            Kind::Sint32 => {
                let v = self.signed(i32::MIN.into(), i32::MAX.into(), "an int32")?;
                // Zigzag: the sign is stored in the lowest bit.
                self.varint(number, (v << 1 ^ v >> 63).cast_unsigned())
            }
            Kind::Enum(names) => {
                let v = self.enumeration(names)?;
                self.varint(number, v.cast_unsigned())
            }
            Kind::Uint32 => {
                let v = self.unsigned(u32::MAX.into(), "a uint32")?;
                self.varint(number, v)
            }
            Kind::Fixed32 => {
                let v = self.unsigned(u32::MAX.into(), "a uint32")?;
                put_varint(self.out, u64::from(number) << 3 | 5);
                // The bound above is that of the type.
                self.out.extend_from_slice(&(v as u32).to_le_bytes());
                v != 0
            }
            Kind::Int64 => {
                let v = self.signed(i64::MIN, i64::MAX, INT64)?;
                self.varint(number, v.cast_unsigned())
            }
            Kind::Sfixed64 => {
                let v = self.signed(i64::MIN, i64::MAX, INT64)?;
                self.fixed64(number, v.cast_unsigned())
            }
            Kind::Uint64 => {
                let v = self.unsigned(u64::MAX, UINT64)?;
                self.varint(number, v)
            }
            Kind::Fixed64 => {
                let v = self.unsigned(u64::MAX, UINT64)?;
                self.fixed64(number, v)
            }
            Kind::Double => {
                let v = self.double()?;
                self.fixed64(number, v.to_bits());
                v != 0.0
            }
        })
    }

    #[inline]
    fn varint(&mut self, number: u32, v: u64) -> bool {
        put_varint(self.out, u64::from(number) << 3);
        put_varint(self.out, v);
        v != 0
    }

    #[inline]
    fn fixed64(&mut self, number: u32, bits: u64) -> bool {
        put_varint(self.out, u64::from(number) << 3 | 1);
        self.out.extend_from_slice(&bits.to_le_bytes());
        bits != 0
    }

    /// A message as a field; `null` is an empty message. A message is never zero: one that is in the text is written.
    fn message(&mut self, number: u32, schema: &'static Schema, depth: u8, again: bool) -> Outcome<bool> {
        let is_attribute = std::ptr::eq(schema, &raw const KEY_VALUE) || std::ptr::eq(schema, &raw const ANY_VALUE);
        let open = self.open(number, depth, !is_attribute);
        if !self.text.null()? {
            self.object(schema, depth, again)?;
        }
        self.close(open);
        Ok(true)
    }

    /// Writes the tag of a delimited field and reserves room for its length: one byte for attributes and where little
    /// text is left, five bytes for fields that may be long and for values inside values, whose content would otherwise
    /// be moved at each of up to a hundred levels.
    #[inline]
    fn open(&mut self, number: u32, depth: u8, may_be_long: bool) -> Open {
        put_varint(self.out, u64::from(number) << 3 | LEN);
        let is_deep = depth >= DEEP;
        let (width, keep) = if (is_deep || may_be_long) && self.text.left() > WIDE_TEXT {
            (WIDE, if is_deep { 0x80 } else { WIDE_TEXT })
        } else {
            (1, usize::MAX)
        };
        self.out.extend_from_slice(&[0; WIDE][..width]);
        Open { start: self.out.len(), width, keep }
    }

    /// Writes the length before the content, and moves the content if the reserved room does not have the size of the
    /// length.
    #[inline]
    fn close(&mut self, open: Open) {
        let Open { start, width, keep } = open;
        let end = self.out.len();
        let len = end - start;
        let needed = varint_len(len as u64);
        let width = if width > needed && len >= keep {
            width
        } else {
            if needed > width {
                let more = needed - width;
                self.out.resize(end + more, 0);
                self.out.copy_within(start..end, start + more);
                self.moved += len;
            } else if needed < width {
                let less = width - needed;
                self.out.copy_within(start..end, start - less);
                self.out.truncate(end - less);
                self.moved += len;
            }
            needed
        };
        let mut rest = len;
        // The room begins at the position where it was reserved, even if its width has changed.
        for byte in self.out.iter_mut().skip(start - open.width).take(width) {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        if let Some(last) = self.out.get_mut(start - open.width + width - 1) {
            *last &= 0x7f;
        }
    }

    fn id(&mut self, number: u32, len: usize) -> Outcome<bool> {
        self.text.peek();
        let at = self.text.pos();
        let digits = self.text.string()?;
        if !matches!(digits.len(), n if n == 0 || n == 2 * len) {
            let found = digits.len();
            return Err(self.text.fail(at, Problem::IdLength { wanted: 2 * len, found }));
        }
        put_varint(self.out, u64::from(number) << 3 | LEN);
        self.out.push(digits.len() as u8 / 2);
        let mut valid = true;
        for pair in digits.chunks_exact(2) {
            let (high, low) = (hex(pair.first()), hex(pair.get(1)));
            // A digit is below 16; for any other character `hex` returns a value with all bits set.
            valid &= (high | low) < 16;
            self.out.push(high << 4 | low & 15);
        }
        let present = !digits.is_empty();
        if valid { Ok(present) } else { Err(self.text.fail(at, Problem::IdDigit)) }
    }

    fn bytes(&mut self, number: u32) -> Outcome<bool> {
        self.text.peek();
        let at = self.text.pos();
        let digits = self.text.string()?;
        put_varint(self.out, u64::from(number) << 3 | LEN);
        let padding = digits.iter().rev().take(2).take_while(|b| **b == b'=').count();
        let len = (digits.len() / 4 * 3).saturating_sub(padding);
        put_varint(self.out, len as u64);
        if !put_unbase64(self.out, digits) {
            return Err(self.text.fail(at, Problem::Base64));
        }
        Ok(len > 0)
    }

    fn enumeration(&mut self, names: &[&str]) -> Outcome<i64> {
        if self.text.peek() != Some(b'"') {
            return self.signed(i32::MIN.into(), i32::MAX.into(), "an int32");
        }
        let at = self.text.pos();
        let name = self.text.string()?;
        match names.iter().position(|n| n.as_bytes() == name) {
            Some(v) => Ok(v as i64),
            None => Err(self.text.fail(at, Problem::Enum)),
        }
    }

    /// A number, or a string of digits, up to `max`.
    #[inline]
    fn unsigned(&mut self, max: u64, kind: &'static str) -> Outcome<u64> {
        let (at, digits) = self.integer()?;
        match magnitude(digits).filter(|v| *v <= max) {
            Some(v) => Ok(v),
            None => Err(self.text.fail(at, Problem::Number(kind))),
        }
    }

    /// A number, or a string of digits with or without a sign.
    #[inline]
    fn signed(&mut self, min: i64, max: i64, kind: &'static str) -> Outcome<i64> {
        let (at, digits) = self.integer()?;
        let v = match digits {
            [b'-', digits @ ..] => magnitude(digits).and_then(|v| 0_i64.checked_sub_unsigned(v)),
            [b'+', digits @ ..] | digits => magnitude(digits).and_then(|v| i64::try_from(v).ok()),
        };
        match v.filter(|v| (min..=max).contains(v)) {
            Some(v) => Ok(v),
            None => Err(self.text.fail(at, Problem::Number(kind))),
        }
    }

    /// The position and the text of a number, or of the content of a string.
    #[inline]
    fn integer(&mut self) -> Outcome<(usize, &[u8])> {
        let quoted = self.text.peek() == Some(b'"');
        let at = self.text.pos();
        Ok((at, if quoted { self.text.string()? } else { self.text.number()? }))
    }

    fn double(&mut self) -> Outcome<f64> {
        let (at, text) = self.integer()?;
        match real(text) {
            Some(v) => Ok(v),
            None => Err(self.text.fail(at, Problem::Number("a double"))),
        }
    }
}

const INT64: &str = "an int64";
const UINT64: &str = "a uint64";

/// Decimal digits, at least one, and nothing else.
#[inline]
fn magnitude(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    let (plain, rest) = digits.split_at(digits.len().min(19));
    for b in plain {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits fit.
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    for b in rest {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A double, written as a JSON number or as one of the words for values that are not JSON numbers. A number that is too
/// large for a double is rejected.
fn real(text: &[u8]) -> Option<f64> {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if !unsigned.first()?.is_ascii_alphabetic() {
        return std::str::from_utf8(text).ok()?.parse().ok().filter(|v: &f64| v.is_finite());
    }
    // Go accepts these words in upper and lower case, and NaN only without a sign.
    let infinite = ["infinity", "inf"].iter().any(|word| unsigned.eq_ignore_ascii_case(word.as_bytes()));
    if infinite {
        Some(if text.starts_with(b"-") { f64::NEG_INFINITY } else { f64::INFINITY })
    } else if text.eq_ignore_ascii_case(b"nan") {
        Some(f64::NAN)
    } else {
        None
    }
}

/// The value of a hexadecimal digit; all bits set for anything else.
#[inline]
fn hex(digit: Option<&u8>) -> u8 {
    match digit {
        Some(b @ b'0'..=b'9') => b - b'0',
        Some(b @ b'a'..=b'f') => b - b'a' + 10,
        Some(b @ b'A'..=b'F') => b - b'A' + 10,
        _ => u8::MAX,
    }
}

/// Appends the bytes that padded standard base64 encodes; false if `digits` is not valid base64.
fn put_unbase64(out: &mut Vec<u8>, digits: &[u8]) -> bool {
    if !digits.len().is_multiple_of(4) {
        return false;
    }
    let end = digits.iter().rev().take(2).take_while(|b| **b == b'=').count();
    let (body, _) = digits.split_at(digits.len() - end);
    for chunk in body.chunks(4) {
        let mut bits = 0_u32;
        for i in 0..4 {
            let six = match chunk.get(i) {
                Some(b @ b'A'..=b'Z') => b - b'A',
                Some(b @ b'a'..=b'z') => b - b'a' + 26,
                Some(b @ b'0'..=b'9') => b - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return false,
                None => 0,
            };
            bits = bits << 6 | u32::from(six);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(bytes.get(..chunk.len() - 1).unwrap_or_default());
    }
    true
}
