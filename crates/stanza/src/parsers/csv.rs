//! `csv_parser`.

use otelcore_expr::{Key, Value, View, key};
use otelcore_go_text::csv;

use super::Parse;
use crate::context::RunContext;
use crate::entry::Entry;

/// Parses a row of CSV into a map.
pub(crate) struct CsvParser {
    pub(crate) header: Header,
    pub(crate) delimiter: char,
    pub(crate) is_lazy: bool,
    pub(crate) ignores_quotes: bool,
}

/// Where the keys are.
pub(crate) enum Header {
    Keys(Vec<Key>),
    /// In an attribute of the entry, with this character between them.
    Attribute(Vec<u8>, char),
}

/// The keys of a header.
pub(crate) fn header_keys(header: &str, delimiter: char) -> Vec<Key> {
    header.split(delimiter).map(|name| key(name.as_bytes())).collect()
}

impl Parse for CsvParser {
    fn parse(&mut self, value: View<'_>, entry: &Entry, _: &RunContext<'_>) -> Result<Value, String> {
        let of_attribute;
        let keys = match &self.header {
            Header::Keys(keys) => keys,
            Header::Attribute(name, delimiter) => {
                let shown = || String::from_utf8_lossy(name);
                let header = match entry.attributes.get(&name[..]) {
                    Some(Value::String(header)) => String::from_utf8_lossy(header),
                    Some(other) => {
                        return Err(format!("header is expected to be a string but is {}", other.go_type()));
                    }
                    None => return Err(format!("failed to read dynamic header attribute {}", shown())),
                };
                of_attribute = header_keys(&header, *delimiter);
                &of_attribute
            }
        };
        let row = match value {
            View::String(text) | View::Bytes(text) => text,
            other => return Err(format!("type '{}' cannot be parsed as csv", other.go_type())),
        };
        let mut buffer = [0; 4];
        let delimiter = self.delimiter.encode_utf8(&mut buffer);
        let fields = if self.ignores_quotes {
            split(row, delimiter.as_bytes())
        } else {
            csv::read_row(row, delimiter, self.is_lazy)?
        };
        if fields.len() != keys.len() {
            return Err(format!("wrong number of fields: expected {}, found {}", keys.len(), fields.len()));
        }
        Ok(Value::Map(keys.iter().cloned().zip(fields.into_iter().map(Value::String)).collect()))
    }
}

fn split(row: &[u8], delimiter: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    let mut start = 0;
    for (at, _) in row.iter().enumerate().filter(|(_, b)| Some(*b) == delimiter.first()) {
        if at >= start && row.get(at..).is_some_and(|rest| rest.starts_with(delimiter)) {
            fields.push(row.get(start..at).unwrap_or_default().to_vec());
            start = at + delimiter.len();
        }
    }
    fields.push(row.get(start..).unwrap_or_default().to_vec());
    fields
}
