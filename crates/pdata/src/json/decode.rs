//! From OTLP/JSON to OTLP protobuf.
//!
//! The text is read once, guided by the tables of [`crate::schema`], and the output is written at the same time. The
//! length of a message is not known before its end: one byte is reserved for it. A longer length moves the content,
//! which costs far less than reading it. This is true only for small content and few levels. Where much text is left,
//! five bytes are therefore reserved for the length of everything that may be long or is deeply nested (see
//! [`Decoder::open_field`]). Large content is then not moved: its length keeps five padded bytes, as protobuf
//! allows. Fields are written in the order of the text; zeros that mean absence are omitted.
//!
//! The output is at most four times as long as the input: `0,` in `bucketCounts` becomes eight bytes.

use super::reader::{JsonReader, ReadResult};
use super::{JsonError, JsonErrorKind};
use crate::schema::{self, ANY_VALUE, FieldRule, FieldSchema, FieldType, KEY_VALUE, MessageSchema};
use crate::wire_format::{put_varint, varint_len};
use crate::{MAX_NESTING, Signal};
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use base64::{Engine as _, alphabet};

/// Appends to `out` the protobuf of `body`, an `Export*ServiceRequest` in JSON: at most four times its bytes.
///
/// Text after the outermost object is not read, as in the Go collector.
///
/// # Errors
/// The first error, with its position; `out` is then unchanged.
pub fn decode(signal: Signal, body: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    // Names and hexadecimal digits make up most of a body.
    out.reserve(body.len() / 2);
    decode_message(schema::request(signal), body, out)
}

/// The same for any message.
pub(super) fn decode_message(schema: &'static MessageSchema, body: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let before = out.len();
    let mut decoder = Decoder { reader: JsonReader::new(body), out, moved: 0 };
    decoder.read_document(schema).map_err(|error| {
        out.truncate(before);
        error.into_error()
    })
}

/// How many bytes are moved within the output for a body.
#[cfg(test)]
pub(super) fn moved_bytes(signal: Signal, body: &[u8]) -> usize {
    let mut decoder = Decoder { reader: JsonReader::new(body), out: &mut Vec::new(), moved: 0 };
    let _ = decoder.read_document(schema::request(signal));
    decoder.moved
}

struct Decoder<'t, 'o> {
    reader: JsonReader<'t>,
    out: &'o mut Vec<u8>,
    /// Bytes that were written and then moved.
    moved: usize,
}

/// A delimited field whose length is not known yet.
#[derive(Clone, Copy)]
struct OpenField {
    /// Where the content begins.
    start: usize,
    /// Number of bytes that are reserved before the content for its length.
    width: usize,
    /// Content of this many bytes or more is not moved to make the length shorter.
    min_padded_len: usize,
}

/// A length gets [`WIDE_LEN_BYTES`] bytes only if more bytes of text than this are left: else there is little to move.
const WIDE_LEN_MIN_TEXT: usize = 1 << 16;

/// Bytes of a length that is wide enough for every body.
const WIDE_LEN_BYTES: usize = 5;

/// From this depth of values on there may be many levels around the same content.
const DEEP_NESTING: u8 = 2;

/// What is known about a message while it is read.
#[derive(Default)]
struct MessageState {
    /// One bit for each field that may have been written, by its index: only then must a zero be written.
    written: u32,
    /// The output range of the current `oneof` alternative, or of the `AnyValue`. No message has both.
    oneof_range: Option<(usize, usize)>,
    /// The index of the field that most likely comes next.
    next_field: usize,
}

/// How many of the next fields are compared with a key before its name is read: senders omit few fields and keep the
/// order.
const LOOKAHEAD_FIELDS: usize = 4;

const WIRE_TYPE_LEN: u64 = 2;

impl Decoder<'_, '_> {
    fn read_document(&mut self, schema: &'static MessageSchema) -> ReadResult<()> {
        if self.reader.take_null()? { Ok(()) } else { self.read_object(schema, 0, false) }
    }

    /// An object, from its opening brace; `may_repeat` if the message may have been written before.
    fn read_object(&mut self, schema: &'static MessageSchema, depth: u8, may_repeat: bool) -> ReadResult<()> {
        if !self.reader.take_byte(b'{') {
            return Err(self.reader.expected_error("an object"));
        }
        if self.reader.take_byte(b'}') {
            return Ok(());
        }
        let mut state = MessageState { written: if may_repeat { u32::MAX } else { 0 }, ..MessageState::default() };
        loop {
            match self.read_key(schema, state.next_field)? {
                Some((index, field)) => {
                    state.next_field = index + 1;
                    self.read_field(field, 1 << index, &mut state, depth)
                        .map_err(|error| error.in_field(field.name))?;
                }
                None => self.reader.skip_value()?,
            }
            if !self.reader.next_element(b'}', "',' or '}'")? {
                return Ok(());
            }
        }
    }

    /// Reads a key and its colon; `None` for a name that is not a field of the message.
    #[inline]
    fn read_key(
        &mut self,
        schema: &'static MessageSchema,
        next_field: usize,
    ) -> ReadResult<Option<(usize, &'static FieldSchema)>> {
        if self.reader.peek() != Some(b'"') {
            return Err(self.reader.expected_error("a field name"));
        }
        for (index, field) in schema.fields.iter().enumerate().skip(next_field).take(LOOKAHEAD_FIELDS) {
            if self.reader.take_key(field.key_tail.as_bytes()) {
                return Ok(Some((index, field)));
            }
        }
        let index = schema.index_of_name(self.reader.read_string()?);
        self.reader.take_colon()?;
        Ok(index.and_then(|index| Some((index, schema.fields.get(index)?))))
    }

    #[inline]
    fn read_field(
        &mut self,
        field: &'static FieldSchema,
        bit: u32,
        state: &mut MessageState,
        depth: u8,
    ) -> ReadResult<()> {
        match field.rule {
            FieldRule::Repeated => return self.read_array(field, depth),
            FieldRule::Plain => {
                let may_repeat = state.written & bit != 0;
                if let Some(inner) = field.kind.message() {
                    if self.reader.take_null()? {
                        return Ok(());
                    }
                    if std::ptr::eq(inner, &raw const ANY_VALUE) {
                        self.read_any_value(field, state, depth)?;
                    } else {
                        self.read_value(field, depth, may_repeat)?;
                    }
                } else {
                    let start = self.out.len();
                    if !self.read_value(field, depth, may_repeat)? && !may_repeat {
                        self.out.truncate(start);
                        return Ok(());
                    }
                }
            }
            FieldRule::Optional => {
                self.read_value(field, depth, false)?;
            }
            FieldRule::Oneof => {
                self.remove_alternative(state);
                let start = self.out.len();
                self.read_value(field, depth, false)?;
                state.oneof_range = Some((start, self.out.len()));
            }
        }
        state.written |= bit;
        Ok(())
    }

    /// Removes the previous alternative from the output before the new one is written: only the last one is kept, as in
    /// Go. If both were in the output, protobuf would merge a message with an earlier one of the same field number. The
    /// new one has not been written yet, so that only the bytes after the previous one are moved, and only once.
    #[inline]
    fn remove_alternative(&mut self, state: &mut MessageState) {
        if let Some((from, to)) = state.oneof_range.take() {
            self.moved += self.out.len() - to;
            self.out.drain(from..to);
        }
    }

    /// An `AnyValue` field that is not repeated: the last one replaces those before it, unless it is empty.
    fn read_any_value(&mut self, field: &'static FieldSchema, state: &mut MessageState, depth: u8) -> ReadResult<()> {
        let replaces = state.oneof_range.is_none() || self.has_field(&ANY_VALUE);
        if replaces {
            self.remove_alternative(state);
        }
        let start = self.out.len();
        self.read_value(field, depth, false)?;
        if replaces {
            state.oneof_range = Some((start, self.out.len()));
        } else {
            self.out.truncate(start);
        }
        Ok(())
    }

    /// Whether the next object has a field of `schema`. Reads no further than the first such field.
    #[cold]
    fn has_field(&mut self, schema: &'static MessageSchema) -> bool {
        let start = self.reader.pos();
        // After an error the caller reads the object again and reports the error.
        let found = self.find_field(schema).unwrap_or(true);
        self.reader.set_pos(start);
        found
    }

    fn find_field(&mut self, schema: &'static MessageSchema) -> ReadResult<bool> {
        if !self.reader.take_byte(b'{') || self.reader.take_byte(b'}') {
            return Ok(false);
        }
        loop {
            if self.read_key(schema, 0)?.is_some() {
                return Ok(true);
            }
            self.reader.skip_value()?;
            if !self.reader.next_element(b'}', "',' or '}'")? {
                return Ok(false);
            }
        }
    }

    fn read_array(&mut self, field: &'static FieldSchema, depth: u8) -> ReadResult<()> {
        if self.reader.take_null()? {
            return Ok(());
        }
        if !self.reader.take_byte(b'[') {
            return Err(self.reader.expected_error("an array"));
        }
        if self.reader.take_byte(b']') {
            return Ok(());
        }
        let packed_field = match field.kind {
            FieldType::Fixed64 | FieldType::Double | FieldType::Uint64 => {
                Some(self.open_field(field.number, depth, true))
            }
            _ => None,
        };
        let mut index = 0_usize;
        loop {
            let element = match field.kind {
                FieldType::Fixed64 => {
                    self.read_unsigned(u64::MAX, UINT64).map(|v| self.out.extend_from_slice(&v.to_le_bytes()))
                }
                FieldType::Uint64 => self.read_unsigned(u64::MAX, UINT64).map(|v| put_varint(self.out, v)),
                FieldType::Double => self.read_double().map(|v| self.out.extend_from_slice(&v.to_le_bytes())),
                _ => self.read_value(field, depth, false).map(drop),
            };
            element.map_err(|error| error.at_index(index))?;
            if !self.reader.next_element(b']', "',' or ']'")? {
                break;
            }
            index += 1;
        }
        if let Some(packed_field) = packed_field {
            self.close_field(packed_field);
        }
        Ok(())
    }

    /// Writes a field: its tag and its value. Returns false for the zero of its type. `may_repeat` is passed to
    /// [`Self::read_object`].
    fn read_value(&mut self, field: &'static FieldSchema, depth: u8, may_repeat: bool) -> ReadResult<bool> {
        let number = field.number;
        Ok(match field.kind {
            FieldType::Message(inner)
            | FieldType::Wrapper(inner)
            | FieldType::Item(inner)
            | FieldType::Entry(inner) => self.read_message(number, inner, depth, may_repeat)?,
            FieldType::KeyValue => self.read_message(number, &KEY_VALUE, depth, may_repeat)?,
            FieldType::Nested(_) if depth >= MAX_NESTING => {
                return Err(self.reader.error(self.reader.pos(), JsonErrorKind::Nesting));
            }
            FieldType::Nested(inner) => self.read_message(number, inner, depth + 1, may_repeat)?,
            FieldType::String => {
                let text: &[u8] = if self.reader.take_null()? { b"" } else { self.reader.read_string()? };
                put_varint(self.out, u64::from(number) << 3 | WIRE_TYPE_LEN);
                put_varint(self.out, text.len() as u64);
                self.out.extend_from_slice(text);
                !text.is_empty()
            }
            FieldType::Bytes => self.read_bytes(number)?,
            FieldType::TraceId => self.read_id(number, 16)?,
            FieldType::SpanId => self.read_id(number, 8)?,
            FieldType::Bool => {
                let v = self.reader.read_bool()?;
                self.put_varint_field(number, u64::from(v))
            }
            FieldType::Int32 => {
                let v = self.read_signed(i32::MIN.into(), i32::MAX.into(), "an int32")?;
                self.put_varint_field(number, v.cast_unsigned())
            }
            FieldType::Sint32 => {
                let v = self.read_signed(i32::MIN.into(), i32::MAX.into(), "an int32")?;
                // Zigzag: the sign is stored in the lowest bit.
                self.put_varint_field(number, (v << 1 ^ v >> 63).cast_unsigned())
            }
            FieldType::Enum(names) => {
                let v = self.read_enum(names)?;
                self.put_varint_field(number, v.cast_unsigned())
            }
            FieldType::Uint32 => {
                let v = self.read_unsigned(u32::MAX.into(), "a uint32")?;
                self.put_varint_field(number, v)
            }
            FieldType::Fixed32 => {
                let v = self.read_unsigned(u32::MAX.into(), "a uint32")?;
                put_varint(self.out, u64::from(number) << 3 | 5);
                // The bound above is that of the type.
                self.out.extend_from_slice(&(v as u32).to_le_bytes());
                v != 0
            }
            FieldType::Int64 => {
                let v = self.read_signed(i64::MIN, i64::MAX, INT64)?;
                self.put_varint_field(number, v.cast_unsigned())
            }
            FieldType::Sfixed64 => {
                let v = self.read_signed(i64::MIN, i64::MAX, INT64)?;
                self.put_fixed64_field(number, v.cast_unsigned())
            }
            FieldType::Uint64 => {
                let v = self.read_unsigned(u64::MAX, UINT64)?;
                self.put_varint_field(number, v)
            }
            FieldType::Fixed64 => {
                let v = self.read_unsigned(u64::MAX, UINT64)?;
                self.put_fixed64_field(number, v)
            }
            FieldType::Double => {
                let v = self.read_double()?;
                self.put_fixed64_field(number, v.to_bits());
                v != 0.0
            }
        })
    }

    #[inline]
    fn put_varint_field(&mut self, number: u32, v: u64) -> bool {
        put_varint(self.out, u64::from(number) << 3);
        put_varint(self.out, v);
        v != 0
    }

    #[inline]
    fn put_fixed64_field(&mut self, number: u32, bits: u64) -> bool {
        put_varint(self.out, u64::from(number) << 3 | 1);
        self.out.extend_from_slice(&bits.to_le_bytes());
        bits != 0
    }

    /// A message as a field; `null` is an empty message. A message is never zero: one that is in the text is written.
    fn read_message(
        &mut self,
        number: u32,
        schema: &'static MessageSchema,
        depth: u8,
        may_repeat: bool,
    ) -> ReadResult<bool> {
        let is_attribute = std::ptr::eq(schema, &raw const KEY_VALUE) || std::ptr::eq(schema, &raw const ANY_VALUE);
        let field = self.open_field(number, depth, !is_attribute);
        if !self.reader.take_null()? {
            self.read_object(schema, depth, may_repeat)?;
        }
        self.close_field(field);
        Ok(true)
    }

    /// Writes the tag of a delimited field and reserves room for its length: one byte for attributes and where little
    /// text is left, five bytes for fields that may be long and for values inside values, whose content would otherwise
    /// be moved at each of up to a hundred levels.
    #[inline]
    fn open_field(&mut self, number: u32, depth: u8, may_be_long: bool) -> OpenField {
        put_varint(self.out, u64::from(number) << 3 | WIRE_TYPE_LEN);
        let is_deep = depth >= DEEP_NESTING;
        let (width, keep) = if (is_deep || may_be_long) && self.reader.remaining() > WIDE_LEN_MIN_TEXT {
            (WIDE_LEN_BYTES, if is_deep { 0x80 } else { WIDE_LEN_MIN_TEXT })
        } else {
            (1, usize::MAX)
        };
        self.out.extend_from_slice(&[0; WIDE_LEN_BYTES][..width]);
        OpenField { start: self.out.len(), width, min_padded_len: keep }
    }

    /// Writes the length before the content, and moves the content if the reserved room does not have the size of the
    /// length.
    #[inline]
    fn close_field(&mut self, field: OpenField) {
        let OpenField { start, width, min_padded_len: keep } = field;
        let end = self.out.len();
        let len = end - start;
        let needed = varint_len(len as u64);
        let width = if width > needed && len >= keep {
            width
        } else {
            if needed > width {
                let growth = needed - width;
                self.out.resize(end + growth, 0);
                self.out.copy_within(start..end, start + growth);
                self.moved += len;
            } else if needed < width {
                let shrink = width - needed;
                self.out.copy_within(start..end, start - shrink);
                self.out.truncate(end - shrink);
                self.moved += len;
            }
            needed
        };
        let mut rest = len;
        // The room begins at the position where it was reserved, even if its width has changed.
        for byte in self.out.iter_mut().skip(start - field.width).take(width) {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        if let Some(last) = self.out.get_mut(start - field.width + width - 1) {
            *last &= 0x7f;
        }
    }

    fn read_id(&mut self, number: u32, len: usize) -> ReadResult<bool> {
        self.reader.peek();
        let at = self.reader.pos();
        let digits = self.reader.read_string()?;
        if !matches!(digits.len(), n if n == 0 || n == 2 * len) {
            let found = digits.len();
            return Err(self.reader.error(at, JsonErrorKind::IdLength { wanted: 2 * len, found }));
        }
        put_varint(self.out, u64::from(number) << 3 | WIRE_TYPE_LEN);
        self.out.push(digits.len() as u8 / 2);
        let mut valid = true;
        for pair in digits.chunks_exact(2) {
            let (high, low) = (hex_digit(pair.first()), hex_digit(pair.get(1)));
            // A digit is below 16; for any other character `hex_digit` returns a value with all bits set.
            valid &= (high | low) < 16;
            self.out.push(high << 4 | low & 15);
        }
        let present = !digits.is_empty();
        if valid { Ok(present) } else { Err(self.reader.error(at, JsonErrorKind::IdDigit)) }
    }

    fn read_bytes(&mut self, number: u32) -> ReadResult<bool> {
        self.reader.peek();
        let at = self.reader.pos();
        let digits = self.reader.read_string()?;
        put_varint(self.out, u64::from(number) << 3 | WIRE_TYPE_LEN);
        let padding = digits.iter().rev().take(2).take_while(|b| **b == b'=').count();
        let len = (digits.len() / 4 * 3).saturating_sub(padding);
        put_varint(self.out, len as u64);
        if !put_decoded_base64(self.out, digits) {
            return Err(self.reader.error(at, JsonErrorKind::Base64));
        }
        Ok(len > 0)
    }

    fn read_enum(&mut self, names: &[&str]) -> ReadResult<i64> {
        if self.reader.peek() != Some(b'"') {
            return self.read_signed(i32::MIN.into(), i32::MAX.into(), "an int32");
        }
        let at = self.reader.pos();
        let name = self.reader.read_string()?;
        match names.iter().position(|n| n.as_bytes() == name) {
            Some(v) => Ok(v as i64),
            None => Err(self.reader.error(at, JsonErrorKind::Enum)),
        }
    }

    /// A number, or a string of digits, up to `max`.
    #[inline]
    fn read_unsigned(&mut self, max: u64, type_name: &'static str) -> ReadResult<u64> {
        let (at, digits) = self.read_number_text()?;
        match parse_digits(digits).filter(|v| *v <= max) {
            Some(v) => Ok(v),
            None => Err(self.reader.error(at, JsonErrorKind::Number(type_name))),
        }
    }

    /// A number, or a string of digits with or without a sign.
    #[inline]
    fn read_signed(&mut self, min: i64, max: i64, type_name: &'static str) -> ReadResult<i64> {
        let (at, digits) = self.read_number_text()?;
        let v = match digits {
            [b'-', digits @ ..] => parse_digits(digits).and_then(|v| 0_i64.checked_sub_unsigned(v)),
            [b'+', digits @ ..] | digits => parse_digits(digits).and_then(|v| i64::try_from(v).ok()),
        };
        match v.filter(|v| (min..=max).contains(v)) {
            Some(v) => Ok(v),
            None => Err(self.reader.error(at, JsonErrorKind::Number(type_name))),
        }
    }

    /// The position and the text of a number, or of the content of a string.
    #[inline]
    fn read_number_text(&mut self) -> ReadResult<(usize, &[u8])> {
        let quoted = self.reader.peek() == Some(b'"');
        let at = self.reader.pos();
        Ok((at, if quoted { self.reader.read_string()? } else { self.reader.read_number()? }))
    }

    fn read_double(&mut self) -> ReadResult<f64> {
        let (at, text) = self.read_number_text()?;
        match parse_double(text) {
            Some(v) => Ok(v),
            None => Err(self.reader.error(at, JsonErrorKind::Number("a double"))),
        }
    }
}

const INT64: &str = "an int64";
const UINT64: &str = "a uint64";

/// Decimal digits, at least one, and nothing else.
#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
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
fn parse_double(text: &[u8]) -> Option<f64> {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if !unsigned.first()?.is_ascii_alphabetic() {
        return std::str::from_utf8(text).ok()?.parse().ok().filter(|v: &f64| v.is_finite());
    }
    // Go accepts these words in upper and lower case, and NaN only without a sign.
    let is_infinite = ["infinity", "inf"].iter().any(|word| unsigned.eq_ignore_ascii_case(word.as_bytes()));
    if is_infinite {
        Some(if text.starts_with(b"-") { f64::NEG_INFINITY } else { f64::INFINITY })
    } else if text.eq_ignore_ascii_case(b"nan") {
        Some(f64::NAN)
    } else {
        None
    }
}

/// The value of a hexadecimal digit; all bits set for anything else.
#[inline]
fn hex_digit(digit: Option<&u8>) -> u8 {
    match digit {
        Some(b @ b'0'..=b'9') => b - b'0',
        Some(b @ b'a'..=b'f') => b - b'a' + 10,
        Some(b @ b'A'..=b'F') => b - b'A' + 10,
        _ => u8::MAX,
    }
}

/// Appends the bytes that padded standard base64 encodes; false if `digits` is not valid base64.
fn put_decoded_base64(out: &mut Vec<u8>, digits: &[u8]) -> bool {
    /// Bits behind the last byte may have any value, as Go reads them.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));
    LENIENT.decode_vec(digits, out).is_ok()
}
