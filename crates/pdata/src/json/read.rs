//! Reads JSON text from one slice, token by token: RFC 8259, except that UTF-8 is not checked, as in Go.
//!
//! Only the scratch buffer for strings with escapes and an error are allocated here. The reader does not depend on any
//! message type.

use super::{JsonError, Problem};
use crate::MAX_NESTING;

/// An error while it is returned through the callers, which add the path from the innermost step outwards.
pub(super) struct Failure {
    path: Vec<Step>,
    offset: usize,
    what: Problem,
}

enum Step {
    Field(&'static str),
    Index(usize),
}

/// The error is boxed, so that the success path returns one word only.
pub(super) type Outcome<T> = Result<T, Box<Failure>>;

impl Failure {
    #[cold]
    fn new(offset: usize, what: Problem) -> Box<Self> {
        Box::new(Self { path: Vec::new(), offset, what })
    }

    #[cold]
    pub(super) fn in_field(mut self: Box<Self>, name: &'static str) -> Box<Self> {
        self.path.push(Step::Field(name));
        self
    }

    #[cold]
    pub(super) fn at_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.path.push(Step::Index(index));
        self
    }

    pub(super) fn into_error(self) -> JsonError {
        let mut path = String::new();
        for step in self.path.iter().rev() {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Index(index) => {
                    path.push('[');
                    path.push_str(itoa::Buffer::new().format(*index));
                    path.push(']');
                }
            }
        }
        JsonError { path, offset: self.offset, what: self.what }
    }
}

/// A position in a JSON text.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    pos: usize,
    /// The last string that had escapes, without them.
    unescaped: Vec<u8>,
}

impl<'a> Reader<'a> {
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
    pub(super) fn left(&self) -> usize {
        self.text.len().saturating_sub(self.pos)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.pos..).unwrap_or_default()
    }

    #[cold]
    pub(super) fn fail(&self, offset: usize, what: Problem) -> Box<Failure> {
        Failure::new(offset, what)
    }

    /// The error for a byte at the current position that is not what the grammar or the field requires.
    #[cold]
    pub(super) fn expected(&self, wanted: &'static str) -> Box<Failure> {
        Failure::new(self.pos, Problem::Expected { wanted, found: self.text.get(self.pos).copied() })
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
    pub(super) fn take(&mut self, byte: u8) -> bool {
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
    pub(super) fn null(&mut self) -> Outcome<bool> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.word(b"null", "null").map(|()| true)
    }

    fn word(&mut self, word: &[u8], wanted: &'static str) -> Outcome<()> {
        if self.take_text(word) { Ok(()) } else { Err(self.expected(wanted)) }
    }

    /// After an element: consumes the comma or the closing bracket; true if another element follows.
    #[inline]
    pub(super) fn another(&mut self, close: u8, wanted: &'static str) -> Outcome<bool> {
        match self.peek() {
            Some(b',') => {
                self.pos += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.pos += 1;
                Ok(false)
            }
            _ => Err(self.expected(wanted)),
        }
    }

    pub(super) fn boolean(&mut self) -> Outcome<bool> {
        match self.peek() {
            Some(b't') => self.word(b"true", "true or false").map(|()| true),
            Some(b'f') => self.word(b"false", "true or false").map(|()| false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A string without its quotes and escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Outcome<&[u8]> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.pos += 1;
        let rest = self.rest();
        let len = plain_len(rest);
        if rest.get(len) == Some(&b'"') {
            self.pos += len + 1;
            return Ok(rest.get(..len).unwrap_or_default());
        }
        self.escaped()
    }

    /// Reads from after the opening quote a string with an escape or a fault.
    #[cold]
    fn escaped(&mut self) -> Outcome<&[u8]> {
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
                Some(b'\\') => self.escape()?,
                Some(control) => return Err(self.fail(self.pos, Problem::Control(*control))),
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    /// One escape, or the two of a surrogate pair.
    fn escape(&mut self) -> Outcome<()> {
        let at = self.pos;
        let Some(escape) = self.text.get(at + 1) else {
            self.pos += 1;
            return Err(self.expected("an escape"));
        };
        self.pos += 2;
        let byte = match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(),
            _ => return Err(self.fail(at, Problem::Escape)),
        };
        self.unescaped.push(byte);
        Ok(())
    }

    /// After `\u`. As in Go, half a surrogate pair becomes U+FFFD, and so does a second half that does not match the
    /// first.
    fn unicode(&mut self) -> Outcome<()> {
        let first = self.hex4()?;
        let second =
            if (0xd800..0xe000).contains(&first) && self.take_text(b"\\u") { Some(self.hex4()?) } else { None };
        let units = [first, second.unwrap_or_default()];
        for unit in char::decode_utf16(units.into_iter().take(1 + usize::from(second.is_some()))) {
            let unit = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.unescaped.extend_from_slice(unit.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(())
    }

    fn hex4(&mut self) -> Outcome<u16> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.text.get(self.pos).and_then(|b| char::from(*b).to_digit(16));
            // Four digits fit into 16 bits.
            value = value << 4 | digit.ok_or_else(|| self.expected("a hexadecimal digit"))? as u16;
            self.pos += 1;
        }
        Ok(value)
    }

    /// The text of a number.
    #[inline]
    pub(super) fn number(&mut self) -> Outcome<&'a [u8]> {
        self.peek();
        let rest = self.rest();
        let start = self.pos;
        self.pos += usize::from(rest.first() == Some(&b'-'));
        match self.text.get(self.pos) {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.expected("a number")),
        }
        if self.text.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.some_digits()?;
        }
        if matches!(self.text.get(self.pos), Some(b'e' | b'E')) {
            self.pos += 1;
            self.pos += usize::from(matches!(self.text.get(self.pos), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(rest.get(..self.pos - start).unwrap_or_default())
    }

    #[inline]
    fn digits(&mut self) {
        while self.text.get(self.pos).is_some_and(u8::is_ascii_digit) {
            self.pos += 1;
        }
    }

    fn some_digits(&mut self) -> Outcome<()> {
        let start = self.pos;
        self.digits();
        if self.pos > start { Ok(()) } else { Err(self.expected("a digit")) }
    }

    /// Skips any value.
    pub(super) fn skip(&mut self) -> Outcome<()> {
        // One bit for each open bracket, the innermost one in the lowest bit: set for an object.
        let (mut open, mut depth) = (0_u128, 0_u8);
        loop {
            let start = self.peek();
            match start {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't' | b'f') => {
                    self.boolean()?;
                }
                Some(b'n') => {
                    self.null()?;
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(bracket @ (b'{' | b'[')) => {
                    if depth >= MAX_NESTING {
                        return Err(self.fail(self.pos, Problem::Nesting));
                    }
                    self.pos += 1;
                    let object = bracket == b'{';
                    if !self.take(if object { b'}' } else { b']' }) {
                        open = open << 1 | u128::from(object);
                        depth += 1;
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => return Err(self.expected("a value")),
            }
            // After a value: close the brackets that end here and continue with the next value.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = open & 1 == 1;
                let (close, wanted) = if object { (b'}', "',' or '}'") } else { (b']', "',' or ']'") };
                if self.another(close, wanted)? {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                open >>= 1;
                depth -= 1;
            }
        }
    }

    fn key(&mut self) -> Outcome<()> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a field name"));
        }
        self.string()?;
        self.colon()
    }

    #[inline]
    pub(super) fn colon(&mut self) -> Outcome<()> {
        if self.take(b':') { Ok(()) } else { Err(self.expected("':'")) }
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
