//! Exemplars.
//!
//! Schema of version 1: Exemplar{1 labels, 2 value, 3 timestamp}, its labels as those of a series. Of version 2: the
//! labels are numbers of symbols, sorted by name.

use otelcore_pdata::text::{put_hex, put_value};
use otelcore_pdata::views::{AnyValue, Exemplar, NumberValue};
use otelcore_pdata::wire_format::{put_bytes_field, put_tag_and_len, put_varint, varint_len};
use smallvec::SmallVec;

use crate::series::{put_double_field, put_integer_field};
use crate::symbols::Symbols;

/// Characters of all labels of an exemplar, at most, by OpenMetrics. Attributes that exceed them are left out.
const MAX_CHARACTERS: usize = 128;
/// Attributes of an exemplar that are read, at most: with more, the limit of characters is exceeded.
const MAX_ATTRIBUTES: usize = MAX_CHARACTERS + 1;
/// Bytes of an attribute that is read, at most.
const MAX_ATTRIBUTE_BYTES: usize = 4 * MAX_CHARACTERS + 64;

/// Encodes exemplars. Its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct ExemplarEncoder {
    /// Values that are not strings.
    text: Vec<u8>,
    labels: Vec<u8>,
    /// The encoded message.
    pub(crate) message: Vec<u8>,
    /// Its time, milliseconds since the epoch.
    pub(crate) timestamp: i64,
    pub(crate) value: f64,
}

/// A value: of the exemplar itself, or a range of the encoder's text.
#[derive(Clone, Copy)]
enum Value<'a> {
    Own(&'a [u8]),
    Text(usize, usize),
}

impl<'a> Value<'a> {
    fn of(self, text: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Text(start, end) => text.get(start..end).unwrap_or_default(),
        }
    }
}

type Labels<'a> = SmallVec<[(&'a [u8], Value<'a>); 8]>;

fn characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

impl ExemplarEncoder {
    /// Encodes an exemplar into `message`; with symbols for version 2.
    pub(crate) fn encode(&mut self, exemplar: &Exemplar<'_>, symbols: Option<&mut Symbols>) {
        let millis = exemplar.time_unix_nano.cast_signed().div_euclid(1_000_000);
        (self.value, self.timestamp) = match exemplar.value.0 {
            // As in Go, such an exemplar has no time either.
            NumberValue::Empty => (0.0, 0),
            NumberValue::Double(value) => (value, millis),
            NumberValue::Int(value) => (value as f64, millis),
        };
        let mut labels = self.collect(exemplar);
        let Self { text, labels: block, message, .. } = self;
        message.clear();
        match symbols {
            Some(symbols) => {
                labels.sort_by(|a, b| a.0.cmp(b.0));
                block.clear();
                for (name, value) in labels {
                    put_varint(block, symbols.number_of(name).into());
                    put_varint(block, symbols.number_of(value.of(text)).into());
                }
                if !block.is_empty() {
                    put_bytes_field(message, 1, block);
                }
            }
            None => {
                for (name, value) in labels {
                    let value = value.of(text);
                    let lengths = [name.len(), value.len()].map(|len| 1 + varint_len(len as u64) + len);
                    put_tag_and_len(message, 1, lengths.iter().sum());
                    put_bytes_field(message, 1, name);
                    put_bytes_field(message, 2, value);
                }
            }
        }
        put_double_field(message, 2, self.value);
        put_integer_field(message, 3, self.timestamp);
    }

    /// The ids, and the attributes if they are short enough.
    fn collect<'a>(&mut self, exemplar: &Exemplar<'a>) -> Labels<'a> {
        self.text.clear();
        let mut labels = Labels::new();
        let mut total = 0;
        let ids = [(&b"trace_id"[..], exemplar.trace_id), (&b"span_id"[..], exemplar.span_id)];
        for (name, id) in ids {
            if id.iter().any(|b| *b != 0) {
                let start = self.text.len();
                put_hex(&mut self.text, id);
                total += name.len() + 2 * id.len();
                labels.push((name, Value::Text(start, self.text.len())));
            }
        }
        let of_ids = labels.len();
        for (count, kv) in exemplar.filtered_attributes().enumerate() {
            if count == MAX_ATTRIBUTES || kv.raw.len() > MAX_ATTRIBUTE_BYTES {
                labels.truncate(of_ids);
                break;
            }
            if ids.iter().any(|(name, id)| *name == kv.key && id.iter().any(|b| *b != 0)) {
                continue;
            }
            let value = match kv.value {
                AnyValue::String(text) => {
                    total += characters(text);
                    Value::Own(text)
                }
                other => {
                    let start = self.text.len();
                    put_value(&mut self.text, other);
                    total += characters(self.text.get(start..).unwrap_or_default());
                    Value::Text(start, self.text.len())
                }
            };
            total += characters(kv.key);
            labels.push((kv.key, value));
            if total > MAX_CHARACTERS {
                labels.truncate(of_ids);
                break;
            }
        }
        labels
    }
}
