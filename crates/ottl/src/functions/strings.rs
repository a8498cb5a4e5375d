//! Converters of strings.

use super::case::{to_camel, to_lower, to_snake, to_upper};
use super::common::{elements, error, int, optional, optional_text, required, take, text};
use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Callable, Function, ParameterKind as Kind};
use crate::value::{List, ListKind, Value};

pub(super) const CONCAT: Function = Function {
    name: "Concat",
    parameters: &[required("Vals", Kind::ListOf(&Kind::StringLike)), required("Delimiter", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let mut out = Vec::new();
            for (index, value) in elements(arguments, 0).enumerate() {
                if index > 0 {
                    out.extend_from_slice(text(arguments, 1));
                }
                match &value {
                    Value::String(text) => out.extend_from_slice(text),
                    _ => out.extend_from_slice(b"<nil>"),
                }
            }
            Ok(Value::string(out))
        }))
    },
};

pub(super) const HAS_PREFIX: Function = Function {
    name: "HasPrefix",
    parameters: &[required("Target", Kind::String), required("Prefix", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| Ok(Value::Bool(text(arguments, 0).starts_with(text(arguments, 1)))))),
};

pub(super) const HAS_SUFFIX: Function = Function {
    name: "HasSuffix",
    parameters: &[required("Target", Kind::String), required("Suffix", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| Ok(Value::Bool(text(arguments, 0).ends_with(text(arguments, 1)))))),
};

pub(super) const TRIM: Function = Function {
    name: "Trim",
    parameters: &[required("Target", Kind::String), optional("Replacement", Kind::LiteralString)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let range = trimmed_range(text(arguments, 0), optional_text(arguments, 1).unwrap_or(b" "));
            Ok(part(take(arguments, 0), range))
        }))
    },
};

pub(super) const TRIM_PREFIX: Function = Function {
    name: "TrimPrefix",
    parameters: &[required("Target", Kind::String), required("Prefix", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let (target, prefix) = (text(arguments, 0), text(arguments, 1));
            let start = if target.starts_with(prefix) { prefix.len() } else { 0 };
            let range = start..target.len();
            Ok(part(take(arguments, 0), range))
        }))
    },
};

pub(super) const TRIM_SUFFIX: Function = Function {
    name: "TrimSuffix",
    parameters: &[required("Target", Kind::String), required("Suffix", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let (target, suffix) = (text(arguments, 0), text(arguments, 1));
            let range = 0..target.strip_suffix(suffix).unwrap_or(target).len();
            Ok(part(take(arguments, 0), range))
        }))
    },
};

/// A part of a string, without a copy where the string is borrowed.
fn part(value: Value<'_>, range: std::ops::Range<usize>) -> Value<'_> {
    match value {
        Value::String(std::borrow::Cow::Borrowed(text)) => Value::str(text.get(range).unwrap_or_default()),
        Value::String(std::borrow::Cow::Owned(text)) => Value::string(text.get(range).unwrap_or_default()),
        other => other,
    }
}

/// The first character of a text and its length. A byte that is not UTF-8 is U+FFFD, as in Go.
fn first_char(text: &[u8]) -> Option<(char, usize)> {
    let len = match text.first()? {
        0..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let valid = text.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.chars().next());
    Some(valid.map_or(('\u{fffd}', 1), |c| (c, len)))
}

/// The last character of a text and its length.
fn last_char(text: &[u8]) -> Option<(char, usize)> {
    text.last()?;
    for len in 1..=4.min(text.len()) {
        let bytes = text.get(text.len() - len..).unwrap_or_default();
        if let Some((c, found)) = first_char(bytes)
            && found == len
            && (c != '\u{fffd}' || len == 3)
        {
            return Some((c, len));
        }
    }
    Some(('\u{fffd}', 1))
}

/// What is left without the characters of `cutset` at both ends.
fn trimmed_range(text: &[u8], cutset: &[u8]) -> std::ops::Range<usize> {
    let cutset = String::from_utf8_lossy(cutset);
    let (mut start, mut end) = (0, text.len());
    while let Some((c, len)) = text.get(start..end).and_then(first_char) {
        if !cutset.contains(c) {
            break;
        }
        start += len;
    }
    while let Some((c, len)) = text.get(start..end).and_then(last_char) {
        if !cutset.contains(c) {
            break;
        }
        end -= len;
    }
    start..end
}

pub(super) const SPLIT: Function = Function {
    name: "Split",
    parameters: &[required("Target", Kind::String), required("Delimiter", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let delimiter = text(arguments, 1).to_vec();
            let parts = match take(arguments, 0) {
                Value::String(std::borrow::Cow::Borrowed(target)) => {
                    split(target, &delimiter).map(Value::str).collect::<Vec<_>>()
                }
                Value::String(target) => split(&target, &delimiter).map(Value::string).collect(),
                _ => Vec::new(),
            };
            Ok(Value::List(List::values(ListKind::Strings, parts)))
        }))
    },
};

/// The parts between delimiters; the characters if the delimiter is empty.
pub(super) fn split<'t, 'd>(text: &'t [u8], delimiter: &'d [u8]) -> impl Iterator<Item = &'t [u8]> + use<'t, 'd> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        if delimiter.is_empty() {
            let (_, len) = first_char(current)?;
            let (part, after) = current.split_at_checked(len)?;
            rest = Some(after);
            return Some(part);
        }
        match find(current, delimiter) {
            Some(at) => {
                rest = current.get(at + delimiter.len()..);
                current.get(..at)
            }
            None => rest.take(),
        }
    })
}

/// The position of the first occurrence of `needle`. Takes time linear in the text.
pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, needle)
}

pub(super) const SUBSTRING: Function = Function {
    name: "Substring",
    parameters: &[
        required("Target", Kind::String),
        required("Start", Kind::Int),
        required("Length", Kind::Int),
        optional("Utf8Safe", Kind::LiteralBool),
    ],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let is_safe = matches!(arguments.get(3), Some(Value::Bool(true)));
            let range = substring(text(arguments, 0), int(arguments, 1), int(arguments, 2), is_safe)?;
            Ok(part(take(arguments, 0), range))
        }))
    },
};

fn substring(text: &[u8], start: i64, length: i64, is_safe: bool) -> Result<std::ops::Range<usize>, EvalError> {
    if start < 0 {
        return Err(error(format!("invalid start for substring function, {start} cannot be negative")));
    }
    if length <= 0 {
        return Err(error(format!("invalid length for substring function, {length} cannot be negative or zero")));
    }
    let (from, count) = (usize::try_from(start), usize::try_from(length));
    let end = from.ok().zip(count.ok()).and_then(|(from, count)| from.checked_add(count).map(|end| (from, end)));
    let Some((mut from, mut end)) = end.filter(|(_, end)| *end <= text.len()) else {
        return Err(error(format!(
            "invalid range for substring function, start({start})+length({length}) cannot be greater than the length of target string({})",
            text.len()
        )));
    };
    if is_safe {
        let is_inside = |at: usize| text.get(at).is_some_and(|b| b & 0xc0 == 0x80);
        while is_inside(from) {
            from += 1;
        }
        while from < end && is_inside(end) {
            end -= 1;
        }
        end = end.max(from);
    }
    Ok(from..end)
}

pub(super) const TO_LOWER_CASE: Function = Function {
    name: "ToLowerCase",
    parameters: &[required("Target", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| Ok(Value::string(to_lower(text(arguments, 0)))))),
};

pub(super) const TO_UPPER_CASE: Function = Function {
    name: "ToUpperCase",
    parameters: &[required("Target", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| Ok(Value::string(to_upper(text(arguments, 0)))))),
};

pub(super) const TO_SNAKE_CASE: Function = Function {
    name: "ToSnakeCase",
    parameters: &[required("Target", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| Ok(Value::string(to_snake(text(arguments, 0)))))),
};

pub(super) const TO_CAMEL_CASE: Function = Function {
    name: "ToCamelCase",
    parameters: &[required("Target", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| Ok(Value::string(to_camel(text(arguments, 0)))))),
};

pub(super) const CONVERT_CASE: Function = Function {
    name: "ConvertCase",
    parameters: &[required("Target", Kind::String), required("ToCase", Kind::LiteralString)],
    build: build_convert_case,
};

fn build_convert_case(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let case = arguments.literal_string(1)?.unwrap_or_default();
    let convert: fn(&[u8]) -> Vec<u8> = match &*case {
        "lower" => to_lower,
        "upper" => to_upper,
        "snake" => to_snake,
        "camel" => to_camel,
        _ => {
            return Err(BuildError::new(format!(
                "invalid case: {case}, allowed cases are: lower, upper, snake, camel"
            )));
        }
    };
    Ok(Callable::pure(move |arguments| Ok(Value::string(convert(text(arguments, 0))))))
}
