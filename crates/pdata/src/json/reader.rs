//! Reads JSON text from one slice, token by token: RFC 8259, except that UTF-8 is not checked, as in Go.
//!
//! Only the scratch buffer for strings with escapes and an error are allocated here. The reader does not depend on any
//! message type.

use super::{JsonError, JsonErrorKind};
use crate::MAX_NESTING;

/// An error while it is returned through the callers, which add the path from the innermost step outwards.
pub(super) struct ReadError {
    path: Vec<PathStep>,
    offset: usize,
    kind: JsonErrorKind,
}

enum PathStep {
    Field(&'static str),
    Index(usize),
}

/// The error is boxed, so that the success path returns one word only.
pub(super) type ReadResult<T> = Result<T, Box<ReadError>>;

impl ReadError {
    #[cold]
    fn new(offset: usize, kind: JsonErrorKind) -> Box<Self> {
        Box::new(Self { path: Vec::new(), offset, kind })
    }

    #[cold]
    pub(super) fn in_field(mut self: Box<Self>, name: &'static str) -> Box<Self> {
        self.path.push(PathStep::Field(name));
        self
    }

    #[cold]
    pub(super) fn at_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(PathStep::Index(index));
        self
    }

    pub(super) fn into_error(self) -> JsonError {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            match step {
                PathStep::Field(name) if path.is_empty() => path.push_str(name),
                PathStep::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                PathStep::Index(index) => {
                    path.push('[');
                    path.push_str(itoa::Buffer::new().format(*index));
                    path.push(']');
                }
            }
        }
        JsonError { path, offset: self.offset, kind: self.kind }
    }
}

/// A position in a JSON text.
pub(super) struct JsonReader<'a> {
    text: &'a [u8],
    pos: usize,
    /// The last string that had escapes, without them.
    unescaped: Vec<u8>,
}

impl<'a> JsonReader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, pos: 0, unescaped: Vec::new() }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// Continues reading at another position.
    pub(super) fn set_pos(&mut self, pos: usize) {
        self.pos = pos;
    }

    /// Bytes that have not been read.
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.text.len().saturating_sub(self.pos)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.pos..).unwrap_or_default()
    }

    #[cold]
    pub(super) fn error(&self, offset: usize, kind: JsonErrorKind) -> Box<ReadError> {
        ReadError::new(offset, kind)
    }

    /// The error for a byte at the current position that is not what the grammar or the field requires.
    #[cold]
    pub(super) fn expected_error(&self, wanted: &'static str) -> Box<ReadError> {
        ReadError::new(self.pos, JsonErrorKind::Expected { wanted, found: self.text.get(self.pos).copied() })
    }

    /// Skips white space and returns the next byte without consuming it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.pos) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.pos += 1,
                other => return other.copied(),
            }
        }
    }

    /// Skips white space and consumes the next byte if it is `byte`.
    #[inline]
    pub(super) fn take_byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    /// Consumes exactly these bytes, without white space before them, or nothing.
    #[inline]
    pub(super) fn take_text(&mut self, wanted: &[u8]) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.pos += wanted.len();
        }
        found
    }

    /// The current position is at an opening quote: consumes the key if its text after that quote is `tail`.
    #[inline]
    pub(super) fn take_key(&mut self, tail: &[u8]) -> bool {
        let found = self.text.get(self.pos + 1..).is_some_and(|rest| rest.starts_with(tail));
        if found {
            self.pos += 1 + tail.len();
        }
        found
    }

    /// Consumes a `null`, if it is next; false if another value is next.
    #[inline]
    pub(super) fn take_null(&mut self) -> ReadResult<bool> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.take_word(b"null", "null").map(|()| true)
    }

    fn take_word(&mut self, word: &[u8], wanted: &'static str) -> ReadResult<()> {
        if self.take_text(word) { Ok(()) } else { Err(self.expected_error(wanted)) }
    }

    /// After an element: consumes the comma or the closing bracket; true if another element follows.
    #[inline]
    pub(super) fn next_element(&mut self, closing: u8, wanted: &'static str) -> ReadResult<bool> {
        match self.peek() {
            Some(b',') => {
                self.pos += 1;
                Ok(true)
            }
            Some(byte) if byte == closing => {
                self.pos += 1;
                Ok(false)
            }
            _ => Err(self.expected_error(wanted)),
        }
    }

    pub(super) fn read_bool(&mut self) -> ReadResult<bool> {
        match self.peek() {
            Some(b't') => self.take_word(b"true", "true or false").map(|()| true),
            Some(b'f') => self.take_word(b"false", "true or false").map(|()| false),
            _ => Err(self.expected_error("true or false")),
        }
    }

    /// A string without its quotes and escapes.
    #[inline]
    pub(super) fn read_string(&mut self) -> ReadResult<&[u8]> {
        if self.peek() != Some(b'"') {
            return Err(self.expected_error("a string"));
        }
        self.pos += 1;
        let rest = self.rest();
        let len = plain_len(rest);
        if rest.get(len) == Some(&b'"') {
            self.pos += len + 1;
            return Ok(rest.get(..len).unwrap_or_default());
        }
        self.read_escaped_string()
    }

    /// Reads from after the opening quote a string with an escape or an error.
    #[cold]
    fn read_escaped_string(&mut self) -> ReadResult<&[u8]> {
        self.unescaped.clear();
        loop {
            let rest = self.rest();
            let len = plain_len(rest);
            self.unescaped.extend_from_slice(rest.get(..len).unwrap_or_default());
            self.pos += len;
            match rest.get(len) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(&self.unescaped);
                }
                Some(b'\\') => self.read_escape()?,
                Some(control) => return Err(self.error(self.pos, JsonErrorKind::ControlCharacter(*control))),
                None => return Err(self.expected_error("the end of a string")),
            }
        }
    }

    /// One escape, or the two of a surrogate pair.
    fn read_escape(&mut self) -> ReadResult<()> {
        let at = self.pos;
        let Some(escape) = self.text.get(at + 1) else {
            self.pos += 1;
            return Err(self.expected_error("an escape"));
        };
        self.pos += 2;
        let byte = match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.read_unicode_escape(),
            _ => return Err(self.error(at, JsonErrorKind::Escape)),
        };
        self.unescaped.push(byte);
        Ok(())
    }

    /// After `\u`. As in Go, half a surrogate pair becomes U+FFFD, and so does a second half that does not match the
    /// first.
    fn read_unicode_escape(&mut self) -> ReadResult<()> {
        let first = self.read_hex4()?;
        let second =
            if (0xd800..0xe000).contains(&first) && self.take_text(b"\\u") { Some(self.read_hex4()?) } else { None };
        let units = [first, second.unwrap_or_default()];
        for unit in char::decode_utf16(units.into_iter().take(1 + usize::from(second.is_some()))) {
            let unit = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.unescaped.extend_from_slice(unit.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }

    fn read_hex4(&mut self) -> ReadResult<u16> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.text.get(self.pos).and_then(|b| char::from(*b).to_digit(16));
            // Four digits fit into 16 bits.
            value = value << 4 | digit.ok_or_else(|| self.expected_error("a hexadecimal digit"))? as u16;
            self.pos += 1;
        }
        Ok(value)
    }

    /// The text of a number.
    #[inline]
    pub(super) fn read_number(&mut self) -> ReadResult<&'a [u8]> {
        self.peek();
        let rest = self.rest();
        let start = self.pos;
        self.pos += usize::from(rest.first() == Some(&b'-'));
        match self.text.get(self.pos) {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.expected_error("a number")),
        }
        if self.text.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.expect_digits()?;
        }
        if matches!(self.text.get(self.pos), Some(b'e' | b'E')) {
            self.pos += 1;
            self.pos += usize::from(matches!(self.text.get(self.pos), Some(b'+' | b'-')));
            self.expect_digits()?;
        }
        Ok(rest.get(..self.pos - start).unwrap_or_default())
    }

    #[inline]
    fn skip_digits(&mut self) {
        while self.text.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
    }

    fn expect_digits(&mut self) -> ReadResult<()> {
        let start = self.pos;
        self.skip_digits();
        if self.pos > start { Ok(()) } else { Err(self.expected_error("a digit")) }
    }

    /// Skips any value.
    pub(super) fn skip_value(&mut self) -> ReadResult<()> {
        // One bit for each open bracket, the innermost one in the lowest bit: set for an object.
        let (mut open_brackets, mut depth) = (0_u128, 0_u8);
        loop {
            let start = self.peek();
            match start {
                Some(b'"') => {
                    self.read_string()?;
                }
                Some(b't' | b'f') => {
                    self.read_bool()?;
                }
                Some(b'n') => {
                    self.take_null()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.read_number()?;
                }
                Some(bracket @ (b'{' | b'[')) => {
                    if depth >= MAX_NESTING {
                        return Err(self.error(self.pos, JsonErrorKind::Nesting));
                    }
                    self.pos += 1;
                    let is_object = bracket == b'{';
                    if !self.take_byte(if is_object { b'}' } else { b']' }) {
                        open_brackets = open_brackets << 1 | u128::from(is_object);
                        depth += 1;
                        if is_object {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                _ => return Err(self.expected_error("a value")),
            }
            // After a value: close the brackets that end here and continue with the next value.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = open_brackets & 1 == 1;
                let (close, wanted) = if is_object { (b'}', "',' or '}'") } else { (b']', "',' or ']'") };
                if self.next_element(close, wanted)? {
                    if is_object {
                        self.skip_key()?;
                    }
                    break;
                }
                open_brackets >>= 1;
                depth -= 1;
            }
        }
    }

    fn skip_key(&mut self) -> ReadResult<()> {
        if self.peek() != Some(b'"') {
            return Err(self.expected_error("a field name"));
        }
        self.read_string()?;
        self.take_colon()
    }

    #[inline]
    pub(super) fn take_colon(&mut self) -> ReadResult<()> {
        if self.take_byte(b':') { Ok(()) } else { Err(self.expected_error("':'")) }
    }
}

/// The number of bytes before the first quote, backslash or control character.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The mark of the lowest marked byte is correct; only marks above it can be wrong.
    let zero = |v: u64| v.wrapping_sub(ONES) & !v & HIGH;
    let mut len = 0;
    while let Some(chunk) = bytes.get(len..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let marks = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if marks != 0 {
            return len + marks.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let tail = bytes.get(len..).unwrap_or_default();
    len + tail.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(tail.len())
}
