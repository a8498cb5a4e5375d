//! `Format`: Go's `fmt.Sprintf`.

use otelcore_pdata::text::put_hex;

use super::common::{MAX_RESULT_BYTES, elements, put_text, quote, required, text, too_large, type_verb};
use crate::function::{Callable, Function, ParameterKind as Kind};
use crate::go_time::{format_duration, layout};
use crate::value::{List, ListKind, Value};

pub(super) const FORMAT: Function = Function {
    name: "Format",
    parameters: &[required("Format", Kind::LiteralString), required("Vals", Kind::ListOf(&Kind::Any))],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let values: Vec<Value<'_>> = elements(arguments, 1).collect();
            let text = sprintf(text(arguments, 0), &values);
            if text.len() > MAX_RESULT_BYTES { Err(too_large("Format")) } else { Ok(Value::string(text)) }
        }))
    },
};

/// The value as `%v` writes it.
pub(super) fn show(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    Verb::of(b'v').put(&mut out, value, MAX_DEPTH);
    String::from_utf8_lossy(&out).into_owned()
}

/// A double as `%v` writes it.
pub(super) fn format_double(v: f64) -> String {
    double(v, b'g', None, false)
}

/// The largest width or precision. Go has a million. `std::fmt` panics above [`MAX_STD_PRECISION`].
const MAX_WIDTH: usize = 65_000;

/// The largest width or precision of `std::fmt`.
const MAX_STD_PRECISION: usize = u16::MAX as usize;

/// Levels of lists inside lists that are written.
const MAX_DEPTH: u8 = 100;

/// A directive such as `%-8.3f`.
#[derive(Clone, Debug, Default)]
struct Verb {
    letter: Vec<u8>,
    width: Option<usize>,
    precision: Option<usize>,
    is_left: bool,
    has_plus: bool,
    has_sharp: bool,
    has_space: bool,
    has_zeros: bool,
}

/// Formats by the rules of Go's `fmt.Sprintf`. Ends early once the text is longer than [`MAX_RESULT_BYTES`].
pub(super) fn sprintf(format: &[u8], values: &[Value<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut rest, mut index, mut is_reordered) = (format, 0, false);
    while let Some(at) = memchr::memchr(b'%', rest).filter(|_| out.len() <= MAX_RESULT_BYTES) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        let mut reader =
            Reader { rest: rest.get(at + 1..).unwrap_or_default(), values, index, is_reordered, is_good: true };
        let verb = reader.verb(&mut out);
        (rest, index) = (reader.rest, reader.index);
        is_reordered |= reader.is_reordered;
        let (is_good, verb_reordered) = (reader.is_good, reader.is_reordered);
        let Some(verb) = verb else {
            out.extend_from_slice(b"%!(NOVERB)");
            break;
        };
        let bad = |out: &mut Vec<u8>, reason: &[u8]| {
            out.extend_from_slice(b"%!");
            out.extend_from_slice(&verb.letter);
            out.extend_from_slice(reason);
        };
        if verb.letter == b"%" {
            out.push(b'%');
        } else if !is_good {
            bad(&mut out, b"(BADINDEX)");
        } else if let Some(value) = values.get(index) {
            verb.put(&mut out, value, MAX_DEPTH);
            index += 1;
        } else {
            bad(&mut out, if verb_reordered && index > values.len() { b"(BADINDEX)" } else { b"(MISSING)" });
        }
    }
    out.extend_from_slice(rest);
    if !is_reordered && index < values.len() {
        out.extend_from_slice(b"%!(EXTRA ");
        for (at, value) in values.iter().enumerate().skip(index) {
            if out.len() > MAX_RESULT_BYTES {
                break;
            }
            if at > index {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(type_verb(value).as_bytes());
            if !value.is_nil() {
                out.push(b'=');
                Verb::of(b'v').put(&mut out, value, MAX_DEPTH);
            }
        }
        out.push(b')');
    }
    out
}

/// Reads the directive behind a `%`.
struct Reader<'r> {
    rest: &'r [u8],
    values: &'r [Value<'r>],
    index: usize,
    is_reordered: bool,
    is_good: bool,
}

impl Reader<'_> {
    fn next_if(&mut self, b: u8) -> bool {
        let rest = self.rest.strip_prefix(&[b]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn verb(&mut self, out: &mut Vec<u8>) -> Option<Verb> {
        let mut verb = Verb::default();
        loop {
            match self.rest.first() {
                Some(b'#') => verb.has_sharp = true,
                Some(b'0') => verb.has_zeros = true,
                Some(b'+') => verb.has_plus = true,
                Some(b'-') => verb.is_left = true,
                Some(b' ') => verb.has_space = true,
                _ => break,
            }
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        let mut has_index = self.argument_index();
        if self.next_if(b'*') {
            match self.int_argument() {
                Some(width) => {
                    verb.is_left |= width < 0;
                    verb.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => out.extend_from_slice(b"%!(BADWIDTH)"),
            }
            has_index = false;
        } else {
            verb.width = self.number();
            // `%[3]2d`
            if has_index && verb.width.is_some() {
                self.is_good = false;
            }
        }
        if self.next_if(b'.') {
            if has_index {
                self.is_good = false;
            }
            has_index = self.argument_index();
            if self.next_if(b'*') {
                match self.int_argument() {
                    Some(precision) if precision >= 0 => verb.precision = usize::try_from(precision).ok(),
                    Some(_) | None => out.extend_from_slice(b"%!(BADPREC)"),
                }
                has_index = false;
            } else {
                verb.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !has_index {
            self.argument_index();
        }
        if verb.is_left {
            verb.has_zeros = false;
        }
        let letter_len =
            self.rest.utf8_chunks().next().and_then(|c| c.valid().chars().next()).map_or(1, char::len_utf8);
        let (letter, rest) = self.rest.split_at_checked(letter_len)?;
        verb.letter = letter.to_vec();
        self.rest = rest;
        Some(verb)
    }

    fn number(&mut self) -> Option<usize> {
        let len = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(len)?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        self.rest = rest;
        (number <= MAX_WIDTH).then_some(number)
    }

    /// The value of a `*`.
    fn int_argument(&mut self) -> Option<i64> {
        let value = self.values.get(self.index);
        if value.is_some() {
            self.index += 1;
        }
        let limit = i64::try_from(MAX_WIDTH).unwrap_or(0);
        match value {
            Some(Value::Int(v)) if (-limit..=limit).contains(v) => Some(*v),
            _ => None,
        }
    }

    /// `[3]`: the position of the next value.
    fn argument_index(&mut self) -> bool {
        let Some(inside) = self.rest.strip_prefix(b"[") else { return false };
        self.is_reordered = true;
        let Some(end) = memchr::memchr(b']', inside) else {
            self.is_good = false;
            self.rest = inside;
            return false;
        };
        let number = inside.get(..end).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        self.rest = inside.get(end + 1..).unwrap_or_default();
        match number {
            Some(number) if (1..=self.values.len()).contains(&number) => {
                self.index = number - 1;
                true
            }
            _ => {
                self.is_good = false;
                true
            }
        }
    }
}

impl Verb {
    fn of(letter: u8) -> Self {
        Self { letter: vec![letter], ..Self::default() }
    }

    fn letter(&self) -> u8 {
        match self.letter[..] {
            [letter] => letter,
            _ => 0,
        }
    }

    /// Pads a text to the width.
    fn pad(&self, out: &mut Vec<u8>, text: &[u8]) {
        let chars = text.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len()).sum();
        let missing = self.width.unwrap_or(0).saturating_sub(chars);
        if !self.is_left {
            out.extend(std::iter::repeat_n(if self.has_zeros { b'0' } else { b' ' }, missing));
        }
        out.extend_from_slice(text);
        if self.is_left {
            out.extend(std::iter::repeat_n(b' ', missing));
        }
    }

    /// `%!d(string=x)`: the value by `%v`, with the same width and flags.
    fn put_bad(&self, out: &mut Vec<u8>, value: &Value<'_>, depth: u8) {
        out.extend_from_slice(b"%!");
        out.extend_from_slice(&self.letter);
        out.push(b'(');
        out.extend_from_slice(type_verb(value).as_bytes());
        if !value.is_nil() {
            out.push(b'=');
            let plain = Self { letter: b"v".to_vec(), ..self.clone() };
            match value {
                // Without its unit.
                Value::Duration(v) => plain.put_int(out, *v, value, depth),
                _ => plain.put(out, value, depth),
            }
        }
        out.push(b')');
    }

    fn put(&self, out: &mut Vec<u8>, value: &Value<'_>, depth: u8) {
        match self.letter() {
            b'T' => return Self { letter: b"s".to_vec(), ..self.clone() }.pad(out, type_verb(value).as_bytes()),
            b'p' => return self.put_bad(out, value, depth),
            _ => {}
        }
        match value {
            Value::Nil if self.letter() == b'v' => self.pad(out, b"<nil>"),
            Value::Nil => self.put_bad(out, value, depth),
            Value::Bool(v) => match self.letter() {
                b't' | b'v' => self.pad(out, if *v { b"true" } else { b"false" }),
                _ => self.put_bad(out, value, depth),
            },
            Value::Int(v) => self.put_int(out, *v, value, depth),
            Value::Double(v) => self.put_double(out, *v, value, depth),
            Value::String(text) => self.put_string(out, text, value, depth),
            Value::Bytes(bytes) => self.put_bytes(out, bytes, value, depth),
            Value::List(list) => self.put_list(out, list, depth),
            Value::Duration(v) if !self.is_for_text() => self.put_int(out, *v, value, depth),
            _ => self.put_other(out, value, depth),
        }
    }

    /// Whether the verb calls a value's `String` method.
    fn is_for_text(&self) -> bool {
        matches!(self.letter(), b'v' | b's' | b'x' | b'X' | b'q')
    }

    /// Values with a `String` method, and those that have no text of their own in Go.
    fn put_other(&self, out: &mut Vec<u8>, value: &Value<'_>, depth: u8) {
        let mut shown = Vec::new();
        match value {
            Value::TraceId(id) | Value::ProfileId(id) => put_hex(&mut shown, id),
            Value::SpanId(id) => put_hex(&mut shown, id),
            Value::Duration(v) => shown.extend_from_slice(format_duration(*v).as_bytes()),
            Value::Time(time) => layout::format("2006-01-02 15:04:05.999999999 -0700 MST", time, &mut shown),
            _ => {
                if put_text(&mut shown, value).is_err() {
                    shown.extend_from_slice(type_verb(value).as_bytes());
                }
            }
        }
        if self.is_for_text() {
            self.put_string(out, &shown, value, depth);
        } else {
            out.extend_from_slice(b"%!");
            out.extend_from_slice(&self.letter);
            out.push(b'(');
            out.extend_from_slice(type_verb(value).as_bytes());
            out.push(b'=');
            out.extend_from_slice(&shown);
            out.push(b')');
        }
    }

    fn put_list(&self, out: &mut Vec<u8>, list: &List<'_>, depth: u8) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let is_go_syntax = self.has_sharp && self.letter() == b'v';
        if is_go_syntax {
            out.extend_from_slice(list.kind.go_type().as_bytes());
            out.push(b'{');
        } else {
            out.push(b'[');
        }
        for (index, element) in list.iter().enumerate() {
            if out.len() > MAX_RESULT_BYTES {
                return;
            }
            if index > 0 {
                out.extend_from_slice(if is_go_syntax { b", " } else { b" " });
            }
            if list.kind == ListKind::Pdata && element.is_nil() {
                self.pad(out, b"<nil>");
            } else {
                self.put(out, &element, depth);
            }
        }
        out.push(if is_go_syntax { b'}' } else { b']' });
    }

    fn put_int(&self, out: &mut Vec<u8>, v: i64, value: &Value<'_>, depth: u8) {
        let (radix, is_upper) = match self.letter() {
            b'v' | b'd' => (10, false),
            b'b' => (2, false),
            b'o' | b'O' => (8, false),
            b'x' => (16, false),
            b'X' => (16, true),
            b'c' | b'q' | b'U' => return self.put_char(out, v),
            _ => return self.put_bad(out, value, depth),
        };
        let mut digits = in_radix(v.unsigned_abs(), radix, is_upper);
        if self.precision == Some(0) && v == 0 {
            let spaces = Self { has_zeros: false, ..self.clone() };
            return spaces.pad(out, b"");
        }
        let sign = if v < 0 {
            "-"
        } else if self.has_plus {
            "+"
        } else if self.has_space {
            " "
        } else {
            ""
        };
        let width = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            // The sign counts in the width.
            (None, Some(width)) if self.has_zeros => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let zeros = width.saturating_sub(digits.len());
        digits.insert_str(0, &"0".repeat(zeros));
        let prefix = match (self.letter(), self.has_sharp) {
            (b'O', _) => "0o",
            (b'b', true) => "0b",
            (b'x', true) => "0x",
            (b'X', true) => "0X",
            (b'o', true) if !digits.starts_with('0') => "0",
            _ => "",
        };
        let spaces = Self { has_zeros: false, ..self.clone() };
        spaces.pad(out, format!("{sign}{prefix}{digits}").as_bytes());
    }

    /// A number as a character.
    fn put_char(&self, out: &mut Vec<u8>, v: i64) {
        let c = u32::try_from(v).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        let text = match self.letter() {
            b'c' => c.to_string(),
            b'U' => {
                let digits = format!("{:0width$X}", v.cast_unsigned(), width = self.precision.unwrap_or(4).max(4));
                let shown = self.has_sharp && super::common::is_printable(c);
                if shown { format!("U+{digits} '{c}'") } else { format!("U+{digits}") }
            }
            _ => {
                let quoted = quote(c.to_string().as_bytes());
                let inner = quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or(&quoted);
                match c {
                    '\'' => "'\\''".to_owned(),
                    '"' => "'\"'".to_owned(),
                    _ => format!("'{inner}'"),
                }
            }
        };
        self.pad(out, text.as_bytes());
    }

    fn put_double(&self, out: &mut Vec<u8>, v: f64, value: &Value<'_>, depth: u8) {
        let (letter, precision) = match self.letter() {
            b'v' => (b'g', self.precision),
            letter @ (b'g' | b'G') => (letter, self.precision),
            letter @ (b'e' | b'E' | b'f' | b'F') => (letter, Some(self.precision.unwrap_or(6))),
            letter @ (b'x' | b'X') if self.precision.is_none() && !self.has_sharp => (letter, None),
            _ => return self.put_bad(out, value, depth),
        };
        let digits = double(v.abs(), letter, precision, self.has_sharp && self.letter() != b'v');
        let sign = if v.is_sign_negative() && !v.is_nan() {
            "-"
        } else if self.has_plus || v.is_infinite() && !self.has_space {
            "+"
        } else if self.has_space {
            " "
        } else {
            ""
        };
        let digits = digits.trim_start_matches('+');
        if self.has_zeros && v.is_finite() {
            let missing = self.width.unwrap_or(0).saturating_sub(sign.len() + digits.len());
            out.extend_from_slice(sign.as_bytes());
            out.extend(std::iter::repeat_n(b'0', missing));
            return out.extend_from_slice(digits.as_bytes());
        }
        let spaces = Self { has_zeros: false, ..self.clone() };
        spaces.pad(out, format!("{sign}{digits}").as_bytes());
    }

    fn put_string(&self, out: &mut Vec<u8>, text: &[u8], value: &Value<'_>, depth: u8) {
        let truncated = match self.precision {
            Some(precision) if !matches!(self.letter(), b'x' | b'X') => truncate_chars(text, precision),
            _ => text,
        };
        match self.letter() {
            b'v' if self.has_sharp => self.pad(out, quote(truncated).as_bytes()),
            b'v' | b's' => self.pad(out, truncated),
            b'x' | b'X' => self.put_hex_text(out, text),
            b'q' => {
                let is_plain = |c: char| c != '`' && c != '\u{feff}' && (c == '\t' || !c.is_control());
                let plain = std::str::from_utf8(truncated).ok().filter(|t| self.has_sharp && t.chars().all(is_plain));
                match plain {
                    Some(text) => self.pad(out, format!("`{text}`").as_bytes()),
                    None => self.pad(out, quote(truncated).as_bytes()),
                }
            }
            _ => self.put_bad(out, value, depth),
        }
    }

    fn put_bytes(&self, out: &mut Vec<u8>, bytes: &[u8], value: &Value<'_>, depth: u8) {
        match self.letter() {
            b'v' | b'd' => {
                let (open, close, separator) =
                    if self.has_sharp && self.letter() == b'v' { ("[]byte{", "}", ", ") } else { ("[", "]", " ") };
                out.extend_from_slice(open.as_bytes());
                for (index, b) in bytes.iter().enumerate() {
                    if out.len() > MAX_RESULT_BYTES {
                        return;
                    }
                    if index > 0 {
                        out.extend_from_slice(separator.as_bytes());
                    }
                    if open.len() > 1 {
                        out.extend_from_slice(format!("0x{b:x}").as_bytes());
                    } else {
                        self.put_int(out, i64::from(*b), value, depth);
                    }
                }
                out.extend_from_slice(close.as_bytes());
            }
            b's' | b'x' | b'X' | b'q' => self.put_string(out, bytes, value, depth),
            // Byte for byte.
            _ => {
                out.push(b'[');
                for (index, b) in bytes.iter().enumerate() {
                    if out.len() > MAX_RESULT_BYTES {
                        return;
                    }
                    if index > 0 {
                        out.push(b' ');
                    }
                    match self.letter() {
                        b'b' | b'o' | b'O' | b'c' | b'U' => self.put_int(out, i64::from(*b), value, depth),
                        _ => {
                            out.extend_from_slice(b"%!");
                            out.extend_from_slice(&self.letter);
                            out.extend_from_slice(b"(uint8=");
                            let plain = Self { letter: b"v".to_vec(), ..self.clone() };
                            plain.put_int(out, i64::from(*b), value, depth);
                            out.push(b')');
                        }
                    }
                }
                out.push(b']');
            }
        }
    }

    fn put_hex_text(&self, out: &mut Vec<u8>, text: &[u8]) {
        let text = text.get(..self.precision.unwrap_or(text.len()).min(text.len())).unwrap_or_default();
        let mut digits = String::new();
        let prefix = if self.letter() == b'X' { "0X" } else { "0x" };
        for (index, b) in text.iter().enumerate() {
            if self.has_space && index > 0 {
                digits.push(' ');
            }
            if self.has_sharp && (index == 0 || self.has_space) {
                digits.push_str(prefix);
            }
            digits.push_str(&if self.letter() == b'X' { format!("{b:02X}") } else { format!("{b:02x}") });
        }
        self.pad(out, digits.as_bytes());
    }
}

/// The first characters of a text.
fn truncate_chars(text: &[u8], count: usize) -> &[u8] {
    let (mut len, mut left) = (0, count);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars().map(char::len_utf8).chain(chunk.invalid().iter().map(|_| 1)) {
            if left == 0 {
                return text.get(..len).unwrap_or_default();
            }
            left -= 1;
            len += c;
        }
    }
    text
}

fn in_radix(mut v: u64, radix: u64, is_upper: bool) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(v % radix).ok().and_then(|digit| char::from_digit(digit, 16)).unwrap_or('0');
        digits.push(if is_upper { digit.to_ascii_uppercase() } else { digit });
        v /= radix;
        if v == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// A double as Go's `strconv.FormatFloat` writes it with `e`, `f` or `g`; without a precision with the shortest digits.
fn double(v: f64, letter: u8, precision: Option<usize>, has_sharp: bool) -> String {
    if v.is_nan() {
        return "NaN".to_owned();
    }
    if v.is_infinite() {
        return if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = match letter.to_ascii_lowercase() {
        b'f' => match precision {
            Some(precision) => format!("{v:.precision$}"),
            None => format!("{v}"),
        },
        b'e' => with_go_exponent(&scientific(v, precision)),
        b'x' => hexadecimal(v),
        _ => general(v, precision, has_sharp),
    };
    if letter.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

/// `0x1.8p+01`: the bits of the mantissa, and a power of two.
fn hexadecimal(v: f64) -> String {
    let bits = v.abs().to_bits();
    let (mut mantissa, mut exponent) = (bits & ((1 << 52) - 1), i64::try_from(bits >> 52).unwrap_or(0) - 1023);
    if v == 0.0 {
        exponent = 0;
    } else if exponent == -1023 {
        // Below the smallest normal number, the first bit is moved to the front.
        let shift = mantissa.leading_zeros() - 11;
        mantissa = (mantissa << shift) & ((1 << 52) - 1);
        exponent = -1022 - i64::from(shift);
    }
    let first = u8::from(v != 0.0);
    let digits = format!("{mantissa:013x}");
    let digits = digits.trim_end_matches('0');
    let dot = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{first}{dot}{digits}p{sign}{:02}", exponent.abs())
}

/// `1.5e3`, with as many digits behind the dot as the precision has.
fn scientific(v: f64, precision: Option<usize>) -> String {
    match precision {
        Some(precision) => format!("{v:.precision$e}"),
        None => format!("{v:e}"),
    }
}

/// `1.5e3` with the exponent of Go: a sign, and two digits at least.
fn with_go_exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// With an exponent if that is below -4 or not below the precision.
fn general(v: f64, precision: Option<usize>, has_sharp: bool) -> String {
    // A precision of zero is one digit.
    let digits = precision.map(|precision| precision.max(1));
    let text = scientific(v, digits.map(|digits| digits - 1));
    let exponent: i32 = text.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let significant =
        text.split_once('e').map_or("", |(mantissa, _)| mantissa).bytes().filter(u8::is_ascii_digit).count();
    let limit = match digits {
        None => 6,
        Some(digits) => i32::try_from(digits).unwrap_or(i32::MAX),
    };
    let has_exponent = exponent < -4 || exponent >= limit;
    let mut text = if has_exponent {
        with_go_exponent(&text)
    } else {
        let behind_dot = |significant: usize| {
            usize::try_from(i32::try_from(significant).unwrap_or(i32::MAX).saturating_sub(1).saturating_sub(exponent))
                .unwrap_or(0)
        };
        // Up to four more than the precision.
        let places = behind_dot(digits.unwrap_or(significant)).min(MAX_STD_PRECISION);
        format!("{v:.places$}")
    };
    if has_sharp {
        return text;
    }
    // Zeros at the end of a fraction are left out.
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa.to_owned(), format!("e{exponent}")),
        None => (std::mem::take(&mut text), String::new()),
    };
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { &mantissa };
    format!("{mantissa}{exponent}")
}
