//! Spans of Jaeger's model, each in a record of its own, with its process and its trace id as the key. Reads OTLP only.

use bytes::Bytes;
use otelcore_jaeger_translation::{put_process, put_span, put_span_json, scope_tags};
use otelcore_pdata::Rope;
use otelcore_pdata::text::put_hex;
use otelcore_pdata::views::{ResourceSpans, Span, View, resource_entries};
use otelcore_pdata::wire_format::{MessageFields, WireValue};

use super::{EncodedRecords, KeyAndValue};

/// The field of a span that has its process.
const PROCESS_FIELD: u32 = 10;

/// The records of the first spans, and how many they are: at least one, and no more once they have `max_bytes`. Each of them repeats the
/// resource.
pub(super) fn encode_spans(body: &Rope, is_json: bool, max_bytes: usize) -> (EncodedRecords, u32) {
    let mut encoded = EncodedRecords { records: Vec::new(), is_one_record: false, left_out: None };
    let (mut bytes, mut count) = (0_usize, 0_u32);
    let mut span_field = Vec::new();
    for entry in resource_entries::<ResourceSpans<'_>>(body) {
        let mut process = Vec::new();
        put_process(&mut process, PROCESS_FIELD, &entry.resource);
        for scope in entry.scope_spans() {
            let tags = scope_tags(&scope.scope);
            for (number, wire) in MessageFields::new(scope.raw) {
                let (2, WireValue::Len(raw)) = (number, wire) else { continue };
                if count > 0 && bytes >= max_bytes {
                    return (encoded, count);
                }
                span_field.clear();
                put_span(&mut span_field, 1, raw, &tags);
                let Some((_, WireValue::Len(span))) = MessageFields::new(&span_field).next() else { continue };
                let mut value = [span, &process[..]].concat();
                if is_json {
                    let mut json = Vec::with_capacity(value.len().saturating_mul(2));
                    put_span_json(&mut json, &value);
                    value = json;
                }
                let value = Bytes::from(value);
                bytes += value.len();
                count = count.saturating_add(1);
                encoded.records.push(KeyAndValue { key: Some(key_of(Span::parse(raw).trace_id)), value });
            }
        }
    }
    (encoded, count)
}

/// The id as Jaeger writes it: its lower half only if the upper one is zero.
fn key_of(trace_id: &[u8]) -> Bytes {
    let mut id = [0; 16];
    id.iter_mut().zip(trace_id).for_each(|(to, from)| *to = *from);
    let (high, low) = id.split_at(8);
    let mut key = Vec::with_capacity(32);
    if high.iter().any(|byte| *byte != 0) {
        put_hex(&mut key, high);
    }
    put_hex(&mut key, low);
    key.into()
}
