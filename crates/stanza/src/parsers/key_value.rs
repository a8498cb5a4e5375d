//! `key_value_parser`.

use otelcore_expr::{Map, Value, View, key};

use super::{Parse, string};
use crate::context::RunContext;
use crate::entry::Entry;
use crate::field::Field;

/// Parses pairs such as `a=b c="d e"` into a map.
pub(crate) struct KeyValueParser {
    pub(crate) delimiter: Vec<u8>,
    pub(crate) pair_delimiter: Vec<u8>,
    /// For its message.
    pub(crate) parse_from: Field,
}

impl Parse for KeyValueParser {
    fn parse(&mut self, value: View<'_>, _: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let text = string(value, |found| format!("type {found} cannot be parsed as key value pairs"))?;
        if text.is_empty() {
            return Err(format!("parse from field {} is empty", self.parse_from));
        }
        let pairs = split_pairs(text, &self.pair_delimiter)
            .map_err(|error| format!("failed to parse pairs from input: {error}"))?;
        let mut map = Map::new();
        let mut failed = None;
        for pair in pairs {
            match split_once(&pair, &self.delimiter) {
                Some((name, value)) => {
                    map.insert(key(&trim(name)), Value::String(trim(value)));
                }
                None => {
                    failed.get_or_insert_with(|| {
                        let shown = otelcore_go_text::quote::quote(&pair);
                        format!("cannot split {shown} into 2 items, got 1 item(s)")
                    });
                }
            }
        }
        failed.map_or(Ok(Value::Map(map)), Err)
    }
}

fn split_once<'t>(text: &'t [u8], delimiter: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let first = delimiter.first()?;
    let starts = |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with(delimiter));
    let at = text.iter().enumerate().filter(|(_, b)| *b == first).map(|(at, _)| at).find(starts)?;
    Some((text.get(..at)?, text.get(at + delimiter.len()..)?))
}

/// Without white space at both ends, as Go's `strings.TrimSpace`.
fn trim(text: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes().to_vec(),
        Err(_) => text.trim_ascii().to_vec(),
    }
}

/// The pairs of a text. In quotes, the delimiter has no meaning; the quotes are left out.
fn split_pairs(text: &[u8], delimiter: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut pairs = Vec::new();
    let mut current = Vec::new();
    let (mut quote, mut is_escaped) = (None, false);
    let mut at = 0;
    while let Some(b) = text.get(at).copied() {
        if quote.is_none() && text.get(at..).is_some_and(|rest| rest.starts_with(delimiter)) {
            if !current.is_empty() {
                pairs.push(std::mem::take(&mut current));
            }
            at += delimiter.len();
            continue;
        }
        at += 1;
        if is_escaped {
            is_escaped = false;
        } else {
            match quote {
                None if matches!(b, b'"' | b'\'') => {
                    quote = Some(b);
                    continue;
                }
                Some(end) if b == end => {
                    quote = None;
                    continue;
                }
                _ => is_escaped = b == b'\\',
            }
        }
        current.push(b);
    }
    if quote.is_some() {
        return Err("never reached the end of a quoted value");
    }
    if !current.is_empty() {
        pairs.push(current);
    }
    Ok(pairs)
}
