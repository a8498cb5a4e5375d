//! Lines of logfmt, as go-logfmt reads and writes them.

use otelcore_pdata::text::{put_json_string_with, put_value};
use otelcore_pdata::views::{AnyValue, KeyValue};

/// A line that is read, at most; go-logfmt reads no longer one.
const MAX_READ_LINE: usize = 64 << 10;
/// Bytes of the pairs of a line, at most: keys of nested values repeat those of the values around them.
const MAX_LINE_BYTES: usize = 16 << 20;

const TOO_LONG: &str = "a line of logfmt is longer than 16 MiB";
const NO_KEY: &str = "a key has no character that logfmt allows";

/// The pairs of one line, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    text: Vec<u8>,
    pairs: Vec<Pair>,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    key: (usize, usize),
    value: (usize, usize),
    /// The text `null` is quoted, so that it is no null.
    is_text: bool,
    /// Its key was made here and not read.
    is_replaceable: bool,
}

impl Pairs {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    fn at(&self, range: (usize, usize)) -> &[u8] {
        self.text.get(range.0..range.1).unwrap_or_default()
    }

    fn put(&mut self, text: &[u8]) -> (usize, usize) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        (start, self.text.len())
    }

    fn push(&mut self, key: &[u8], value: &[u8], is_text: bool) -> Result<(), &'static str> {
        let pair = Pair { key: self.put(key), value: self.put(value), is_text, is_replaceable: true };
        self.pairs.push(pair);
        if self.text.len() > MAX_LINE_BYTES { Err(TOO_LONG) } else { Ok(()) }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// The line is too long.
    pub(crate) fn push_text(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        self.push(key, value, true)
    }

    /// Sets the value of a pair that is there, or adds one.
    ///
    /// # Errors
    /// The line is too long.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match self.pairs.iter().position(|pair| pair.is_replaceable && self.at(pair.key) == key) {
            Some(at) => {
                let range = self.put(value);
                if let Some(pair) = self.pairs.get_mut(at) {
                    (pair.value, pair.is_text) = (range, true);
                }
                Ok(())
            }
            None => self.push_text(key, value),
        }
    }

    /// Adds an attribute with something in front of its key; nested values become pairs with longer keys.
    ///
    /// # Errors
    /// The line is too long.
    pub(crate) fn push_attribute(&mut self, prefix: &[u8], kv: &KeyValue<'_>) -> Result<(), &'static str> {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(kv.key);
        let pushed = self.push_value(&mut key, kv.value);
        self.key = key;
        pushed
    }

    /// Adds the pairs of a body.
    ///
    /// # Errors
    /// The line is too long.
    pub(crate) fn push_body(&mut self, body: AnyValue<'_>) -> Result<(), &'static str> {
        match body {
            AnyValue::Empty => Ok(()),
            AnyValue::String(text) => {
                if self.read(text).is_none() {
                    self.clear();
                    self.push_text(b"msg", text)?;
                }
                Ok(())
            }
            AnyValue::Map(_) => self.push_value(&mut Vec::new(), body),
            AnyValue::Array(_) => self.push_value(&mut b"body".to_vec(), body),
            other => self.push_value(&mut b"msg".to_vec(), other),
        }
    }

    fn push_value(&mut self, key: &mut Vec<u8>, value: AnyValue<'_>) -> Result<(), &'static str> {
        let len = key.len();
        let join = |key: &mut Vec<u8>| {
            key.truncate(len);
            if len > 0 {
                key.push(b'_');
            }
        };
        match value {
            AnyValue::Empty => return Ok(()),
            AnyValue::String(text) => return self.push(key, text, true),
            AnyValue::Bytes(bytes) => return self.push(key, bytes, false),
            AnyValue::Bool(_) | AnyValue::Int(_) | AnyValue::Double(_) => {
                let key = self.put(key);
                let start = self.text.len();
                match value {
                    AnyValue::Double(v) => otelcore_go_number::put_general(&mut self.text, v),
                    other => put_value(&mut self.text, other),
                }
                let value = (start, self.text.len());
                self.pairs.push(Pair { key, value, is_text: true, is_replaceable: true });
            }
            AnyValue::Map(raw) => {
                for kv in AnyValue::map_entries(raw) {
                    join(key);
                    key.extend_from_slice(kv.key);
                    self.push_value(key, kv.value)?;
                }
            }
            AnyValue::Array(raw) => {
                for (at, element) in AnyValue::array_elements(raw).enumerate() {
                    join(key);
                    key.extend_from_slice(at.to_string().as_bytes());
                    self.push_value(key, element)?;
                }
            }
        }
        key.truncate(len);
        if self.text.len() > MAX_LINE_BYTES { Err(TOO_LONG) } else { Ok(()) }
    }

    /// Reads a line of logfmt. `None` for other text, and for text of several lines.
    fn read(&mut self, text: &[u8]) -> Option<()> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() >= MAX_READ_LINE || line.contains(&b'\n') {
            return None;
        }
        let mut rest = line;
        loop {
            rest = rest.get(rest.iter().position(|b| *b > b' ').unwrap_or(rest.len())..)?;
            if rest.is_empty() {
                return Some(());
            }
            let end = rest.iter().position(|b| *b <= b' ' || matches!(b, b'=' | b'"')).unwrap_or(rest.len());
            let (key, after) = rest.split_at_checked(end)?;
            if key.is_empty() || std::str::from_utf8(key).map_or(true, |key| key.contains('\u{fffd}')) {
                return None;
            }
            let key = self.put(key);
            let start = self.text.len();
            rest = match after {
                [b'"', ..] => return None,
                [b'=', b'"', quoted @ ..] => unquote(&mut self.text, quoted)?,
                [b'=', value @ ..] => {
                    let end = value.iter().position(|b| *b <= b' ' || matches!(b, b'=' | b'"')).unwrap_or(value.len());
                    let (value, after) = value.split_at_checked(end)?;
                    if after.first().is_some_and(|b| *b > b' ') {
                        return None;
                    }
                    self.text.extend_from_slice(value);
                    after
                }
                other => other,
            };
            let value = (start, self.text.len());
            self.pairs.push(Pair { key, value, is_text: false, is_replaceable: false });
        }
    }

    /// Appends the line.
    ///
    /// # Errors
    /// A key has no characters that are allowed.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        for (at, pair) in self.pairs.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            let start = out.len();
            for chunk in self.at(pair.key).utf8_chunks() {
                for c in chunk.valid().chars().filter(|c| *c > ' ' && !matches!(c, '=' | '"' | '\u{fffd}')) {
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            if out.len() == start {
                return Err(NO_KEY);
            }
            out.push(b'=');
            let value = self.at(pair.value);
            let is_null = pair.is_text && value == b"null";
            let needs_quotes = |c: char| c <= ' ' || matches!(c, '=' | '"' | '\u{fffd}');
            if is_null || std::str::from_utf8(value).map_or(true, |value| value.contains(needs_quotes)) {
                put_quoted(out, value);
            } else {
                out.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

fn put_quoted(out: &mut Vec<u8>, text: &[u8]) {
    put_json_string_with(out, text, |c| (c == char::REPLACEMENT_CHARACTER).then_some("\\ufffd"));
}

/// Appends the text of a quoted value, without the quote at its begin, and returns what follows. `None` if it is not valid.
fn unquote<'a>(out: &mut Vec<u8>, quoted: &'a [u8]) -> Option<&'a [u8]> {
    // Without an escape, control characters are allowed.
    let plain = quoted.iter().position(|b| matches!(b, b'"' | b'\\'))?;
    if quoted.get(plain) == Some(&b'"') {
        out.extend_from_slice(quoted.get(..plain)?);
        return quoted.get(plain + 1..);
    }
    let mut escaped = false;
    let end = quoted.iter().position(|b| {
        let is_end = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        is_end
    })?;
    let mut rest = quoted.get(..end)?;
    if rest.iter().any(|b| *b < b' ') {
        return None;
    }
    while let Some(at) = rest.iter().position(|b| *b == b'\\') {
        put_valid(out, rest.get(..at)?);
        let (escape, after) = rest.get(at + 1..)?.split_first()?;
        rest = after;
        match escape {
            b'"' | b'\\' | b'/' | b'\'' => out.push(*escape),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (first, after) = hex4(rest)?;
                rest = after;
                let second = rest.strip_prefix(b"\\u").and_then(hex4);
                let mut pair = [0; 2];
                let units = match second {
                    Some((second, after))
                        if (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second) =>
                    {
                        rest = after;
                        pair = [first, second];
                        &pair[..]
                    }
                    _ => {
                        pair[0] = first;
                        &pair[..1]
                    }
                };
                for c in char::decode_utf16(units.iter().copied()) {
                    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            _ => return None,
        }
    }
    put_valid(out, rest);
    quoted.get(end + 1..)
}

/// Appends text with U+FFFD in place of each byte that is not UTF-8.
fn put_valid(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        chunk.invalid().iter().for_each(|_| out.extend_from_slice("\u{fffd}".as_bytes()));
    }
}

fn hex4(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    Some((u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, rest))
}
