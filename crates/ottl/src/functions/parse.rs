//! Converters that make maps and lists of texts: CSV, pairs of keys and values, JSON, URLs.

use otelcore_pdata::Value as Tree;

use super::common::{error, optional, quote, required, take, text};
use super::entries::{Entries, string_tree};
use super::strings::{find, split};
use super::{csv, json, url};
use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Callable, Function, ParameterKind as Kind};
use crate::value::{List, Map, TreeMap, Value};

pub(super) const PARSE_CSV: Function = Function {
    name: "ParseCSV",
    parameters: &[
        required("Target", Kind::String),
        required("Header", Kind::String),
        optional("Delimiter", Kind::LiteralString),
        optional("HeaderDelimiter", Kind::LiteralString),
        optional("Mode", Kind::LiteralString),
    ],
    build: build_parse_csv,
};

fn build_parse_csv(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let one_char = |name: &str, text: Option<String>| match text {
        Some(text) if text.chars().count() != 1 => {
            Err(BuildError::new(format!("invalid arguments: {name} must be a single character")))
        }
        text => Ok(text),
    };
    let delimiter = one_char("delimiter", arguments.literal_string(2)?)?.unwrap_or_else(|| ",".to_owned());
    let header_delimiter = one_char("header_delimiter", arguments.literal_string(3)?)?;
    let header_delimiter = header_delimiter.unwrap_or_else(|| delimiter.clone());
    let mode = arguments.literal_string(4)?.unwrap_or_else(|| "strict".to_owned());
    let is_lazy = match &*mode {
        "strict" => Some(false),
        "lazyQuotes" => Some(true),
        "ignoreQuotes" => None,
        _ => return Err(BuildError::new(format!("unknown mode: {mode}"))),
    };
    Ok(Callable::pure(move |arguments| {
        let (target, header) = (text(arguments, 0), text(arguments, 1));
        if header.is_empty() {
            return Err(error("headers must not be an empty string"));
        }
        let fields = match is_lazy {
            Some(is_lazy) => csv::read_row(target, &delimiter, is_lazy).map_err(error)?,
            None => split(target, delimiter.as_bytes()).map(<[u8]>::to_vec).collect(),
        };
        let headers: Vec<&[u8]> = split(header, header_delimiter.as_bytes()).collect();
        if headers.len() != fields.len() {
            return Err(error(format!(
                "map csv headers: wrong number of fields: expected {}, found {}",
                headers.len(),
                fields.len()
            )));
        }
        let mut entries = Entries::default();
        for (header, field) in headers.into_iter().zip(fields) {
            entries.put(header, Tree::String(field));
        }
        Ok(Value::Map(Map::owned(entries.into_map())))
    }))
}

/// The delimiters of keys and pairs.
struct Delimiters {
    key: String,
    pair: String,
}

impl Delimiters {
    fn new(arguments: &mut Arguments) -> Result<Self, BuildError> {
        let mut delimiter = |index, name: &str, default: &str| match arguments.literal_string(index)? {
            Some(text) if text.is_empty() => Err(BuildError::new(format!("{name} cannot be set to an empty string"))),
            Some(text) => Ok(text),
            None => Ok(default.to_owned()),
        };
        let key = delimiter(1, "delimiter", "=")?;
        let pair = delimiter(2, "pair delimiter", " ")?;
        if key == pair {
            let (pair, key) = (quote(pair.as_bytes()), quote(key.as_bytes()));
            return Err(BuildError::new(format!("pair delimiter {pair} cannot be equal to delimiter {key}")));
        }
        Ok(Self { key, pair })
    }
}

pub(super) const PARSE_KEY_VALUE: Function = Function {
    name: "ParseKeyValue",
    parameters: &[
        required("Target", Kind::String),
        optional("Delimiter", Kind::LiteralString),
        optional("PairDelimiter", Kind::LiteralString),
    ],
    build: |arguments| {
        let delimiters = Delimiters::new(arguments)?;
        Ok(Callable::pure(move |arguments| {
            let target = text(arguments, 0);
            if target.is_empty() {
                return Err(error("cannot parse from empty target"));
            }
            let map = parse_pairs(target, &delimiters)?;
            Ok(Value::Map(Map::owned(map)))
        }))
    },
};

fn parse_pairs(target: &[u8], delimiters: &Delimiters) -> Result<TreeMap, EvalError> {
    let Some(pairs) = split_unquoted(target, delimiters.pair.as_bytes()) else {
        return Err(error(format!(
            "splitting source {} into pairs failed: never reached the end of a quoted value",
            quote(target)
        )));
    };
    let (mut entries, mut failed) = (Entries::default(), Vec::new());
    for pair in pairs {
        let Some(at) = find(&pair, delimiters.key.as_bytes()) else {
            failed.push(format!("cannot split {} into 2 items, got 1 item(s)", quote(&pair)));
            continue;
        };
        let value = pair.get(at + delimiters.key.len()..).unwrap_or_default();
        let key = super::case::trim_space(pair.get(..at).unwrap_or_default());
        entries.put(key, string_tree(super::case::trim_space(value)));
    }
    if failed.is_empty() {
        Ok(entries.into_map())
    } else {
        Err(error(format!("failed to split pairs into key-values: {}", failed.join("; "))))
    }
}

/// The parts between delimiters that are not in quotes; quotes are removed, empty parts are left out. `None` if a
/// quote does not end.
fn split_unquoted(text: &[u8], delimiter: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut parts, mut part, mut quote, mut is_escaped) = (Vec::new(), Vec::new(), None, false);
    let mut rest = text;
    while let Some((b, after)) = rest.split_first() {
        if quote.is_none()
            && let Some(after) = rest.strip_prefix(delimiter)
        {
            if !part.is_empty() {
                parts.push(std::mem::take(&mut part));
            }
            rest = after;
            continue;
        }
        rest = after;
        if is_escaped {
            is_escaped = false;
        } else {
            match quote {
                None if matches!(b, b'"' | b'\'') => {
                    quote = Some(*b);
                    continue;
                }
                Some(open) if open == *b => {
                    quote = None;
                    continue;
                }
                _ => is_escaped = *b == b'\\',
            }
        }
        part.push(*b);
    }
    if quote.is_some() {
        return None;
    }
    if !part.is_empty() {
        parts.push(part);
    }
    Some(parts)
}

pub(super) const TO_KEY_VALUE_STRING: Function = Function {
    name: "ToKeyValueString",
    parameters: &[
        required("Target", Kind::Map),
        optional("Delimiter", Kind::LiteralString),
        optional("PairDelimiter", Kind::LiteralString),
        optional("SortOutput", Kind::LiteralBool),
    ],
    build: |arguments| {
        let delimiters = Delimiters::new(arguments)?;
        let is_sorted = arguments.literal_bool(3)?.unwrap_or(false);
        Ok(Callable::pure(move |arguments| {
            let Some(Value::Map(map)) = arguments.first() else { return Ok(Value::str("")) };
            let mut entries: Vec<(&[u8], Value<'_>)> = map.iter().collect();
            if is_sorted {
                entries.sort_by(|a, b| a.0.cmp(b.0));
            }
            let (mut out, mut scratch) = (Vec::new(), Vec::new());
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(delimiters.pair.as_bytes());
                }
                put_quoted(&mut out, key, &delimiters);
                out.extend_from_slice(delimiters.key.as_bytes());
                scratch.clear();
                super::common::put_text(&mut scratch, value)?;
                put_quoted(&mut out, &scratch, &delimiters);
            }
            Ok(Value::string(out))
        }))
    },
};

/// Appends a key or a value: quotes escaped, and in quotes if it contains a delimiter.
fn put_quoted(out: &mut Vec<u8>, text: &[u8], delimiters: &Delimiters) {
    let start = out.len();
    for b in text {
        if *b == b'"' {
            out.push(b'\\');
        }
        out.push(*b);
    }
    let escaped = out.get(start..).unwrap_or_default();
    if find(escaped, delimiters.pair.as_bytes()).is_some() || find(escaped, delimiters.key.as_bytes()).is_some() {
        out.insert(start, b'"');
        out.push(b'"');
    }
}

pub(super) const PARSE_JSON: Function = Function {
    name: "ParseJSON",
    parameters: &[required("Target", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| match json::parse(text(arguments, 0)).map_err(error)? {
            Tree::Map(entries) => Ok(Value::Map(Map::owned(entries))),
            Tree::Array(elements) => Ok(Value::List(List::owned(elements))),
            other => {
                let found = match other {
                    Tree::Empty => "<nil>",
                    Tree::Bool(_) => "bool",
                    Tree::Double(_) => "float64",
                    _ => "string",
                };
                Err(error(format!("could not convert parsed value of type {found} to JSON object")))
            }
        }))
    },
};

pub(super) const URL: Function = Function {
    name: "URL",
    parameters: &[required("URI", Kind::String)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let target = take(arguments, 0);
            let text = match &target {
                Value::String(text) => &text[..],
                _ => &[],
            };
            if text.is_empty() {
                return Err(error("url cannot be empty"));
            }
            url::parse(text).map(|map| Value::Map(Map::native(map))).map_err(error)
        }))
    },
};
