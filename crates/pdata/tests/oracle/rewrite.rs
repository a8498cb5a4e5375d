//! Encodes the same message in other bytes: fields in another order at every level, with unknown fields between them,
//! and repeated scalars packed, unpacked or in several pieces.

use std::collections::{BTreeMap, VecDeque};

use otelcore_pdata::Signal;
use otelcore_pdata::wire_format::{
    MessageFields, WireValue, put_bytes_field, put_fixed64_field, put_varint, put_varint_field, read_varint,
};

use super::generate::Choices;

/// The types of messages that are rewritten.
#[derive(Clone, Copy)]
enum MessageKind {
    Body(Signal),
    Resource(Signal),
    Scope(Signal),
    Metric,
    /// Gauge, sum and so on, by the number in the metric.
    Points(u32),
    Span,
    Record,
    Number,
    Histogram,
    Exponential,
    Summary,
    Buckets,
    Exemplar,
    Event,
    Link,
    ResourceOf,
    ScopeOf,
    KeyValue,
    Any,
    Array,
    Map,
    Leaf,
}

enum FieldContent {
    Message(MessageKind),
    Fixed64s,
    Varints,
    Opaque,
}

fn field_content(kind: MessageKind, number: u32) -> FieldContent {
    use MessageKind::{
        Any, Array, Body, Buckets, Event, Exemplar, Exponential, Histogram, KeyValue, Leaf, Link, Map, Metric, Number,
        Points, Record, Resource, ResourceOf, Scope, ScopeOf, Span, Summary,
    };
    FieldContent::Message(match (kind, number) {
        (Body(signal), 1) => Resource(signal),
        (Resource(_), 1) => ResourceOf,
        (Resource(signal), 2) => Scope(signal),
        (Scope(_), 1) => ScopeOf,
        (Scope(Signal::Traces), 2) => Span,
        (Scope(Signal::Metrics), 2) => Metric,
        (Scope(Signal::Logs), 2) => Record,
        (Metric, 5 | 7 | 9 | 10 | 11) => Points(number),
        (Points(5 | 7), 1) => Number,
        (Points(9), 1) => Histogram,
        (Points(10), 1) => Exponential,
        (Points(_), 1) => Summary,
        (Histogram, 6 | 7) => return FieldContent::Fixed64s,
        (Buckets, 2) => return FieldContent::Varints,
        (Exponential, 8 | 9) => Buckets,
        (Number, 5) | (Histogram, 8) | (Exponential, 11) => Exemplar,
        (Span, 11) => Event,
        (Span, 13) => Link,
        (Span, 15) | (Summary, 6) | (ResourceOf, 3) => Leaf,
        (Metric, 12)
        | (Span | Histogram, 9)
        | (Record, 6)
        | (Number | Summary | Exemplar, 7)
        | (Exponential | ResourceOf | Map, 1)
        | (Event | ScopeOf, 3)
        | (Link, 4) => KeyValue,
        (Record, 5) | (KeyValue, 2) | (Array, 1) => Any,
        (Any, 5) => Array,
        (Any, 6) => Map,
        _ => return FieldContent::Opaque,
    })
}

/// Rewrites a body.
pub fn rewrite(signal: Signal, body: &[u8], c: &mut Choices<'_>) -> Vec<u8> {
    rewrite_message(MessageKind::Body(signal), body, c)
}

fn rewrite_message(kind: MessageKind, raw: &[u8], c: &mut Choices<'_>) -> Vec<u8> {
    // Occurrences of one field keep their order.
    let mut fields: BTreeMap<u32, VecDeque<Vec<u8>>> = BTreeMap::new();
    let mut order = Vec::new();
    for (number, wire) in MessageFields::new(raw) {
        for bytes in rewrite_field(kind, number, wire, c) {
            fields.entry(number).or_default().push_back(bytes);
            order.push(number);
        }
    }
    for i in (1..order.len()).rev() {
        order.swap(i, c.below(i + 1));
    }
    let mut out = Vec::new();
    for number in order {
        put_unknown_field(&mut out, c);
        out.extend(fields.get_mut(&number).and_then(VecDeque::pop_front).unwrap_or_default());
    }
    put_unknown_field(&mut out, c);
    out
}

/// One field, rewritten, as one or more.
fn rewrite_field(kind: MessageKind, number: u32, wire: WireValue<'_>, c: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    match (wire, field_content(kind, number)) {
        (WireValue::Varint(v), _) => put_varint_field(&mut out, number, v),
        (WireValue::Fixed64(v), _) => put_fixed64_field(&mut out, number, v),
        (WireValue::Fixed32(v), _) => put_fixed32(&mut out, number, v),
        (WireValue::Len(raw), FieldContent::Opaque) => put_bytes_field(&mut out, number, raw),
        (WireValue::Len(raw), FieldContent::Message(below)) => {
            put_bytes_field(&mut out, number, &rewrite_message(below, raw, c))
        }
        (WireValue::Len(raw), FieldContent::Fixed64s) => {
            let values = raw.chunks_exact(8).map(|v| u64::from_le_bytes(v.try_into().unwrap())).collect::<Vec<_>>();
            return rewrite_scalars(number, &values, c, put_fixed64_field, |out, v| {
                out.extend_from_slice(&v.to_le_bytes())
            });
        }
        (WireValue::Len(mut raw), FieldContent::Varints) => {
            let mut values = Vec::new();
            while let Some((v, rest)) = read_varint(raw) {
                values.push(v);
                raw = rest;
            }
            return rewrite_scalars(number, &values, c, put_varint_field, put_varint);
        }
    }
    vec![out]
}

/// A packed field as runs of values, each a packed field or values by themselves.
fn rewrite_scalars(
    number: u32,
    mut values: &[u64],
    c: &mut Choices<'_>,
    single: fn(&mut Vec<u8>, u32, u64),
    packed: fn(&mut Vec<u8>, u64),
) -> Vec<Vec<u8>> {
    let mut runs = Vec::new();
    while !values.is_empty() {
        let (run, rest) = values.split_at(1 + c.below(values.len()));
        values = rest;
        if c.below(2) == 0 {
            let (mut content, mut out) = (Vec::new(), Vec::new());
            run.iter().for_each(|v| packed(&mut content, *v));
            put_bytes_field(&mut out, number, &content);
            runs.push(out);
        } else {
            runs.extend(run.iter().map(|v| {
                let mut out = Vec::new();
                single(&mut out, number, *v);
                out
            }));
        }
    }
    runs
}

fn put_fixed32(out: &mut Vec<u8>, number: u32, v: u32) {
    put_varint(out, u64::from(number) << 3 | 5);
    out.extend_from_slice(&v.to_le_bytes());
}

/// Sometimes adds a field that no message has or had (the Go collector still reads an old field 1000).
fn put_unknown_field(out: &mut Vec<u8>, c: &mut Choices<'_>) {
    let number = [17, 31, 1001, (1 << 29) - 1][c.below(4)];
    match c.below(8) {
        0 => put_varint_field(out, number, c.u64()),
        1 => put_fixed64_field(out, number, c.u64()),
        2 => put_bytes_field(out, number, &[0xff, 0x0a, c.byte()]),
        3 => put_fixed32(out, number, c.u64() as u32),
        _ => {}
    }
}
