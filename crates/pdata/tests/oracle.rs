//! Compares the reading of OTLP with prost: the check, every view, and the cutting and joining of batches, on generated
//! messages with every field, in any order, with unknown fields between.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

#[path = "oracle/generate.rs"]
mod generate;
#[path = "oracle/rebuild.rs"]
mod rebuild;
#[path = "oracle/rewrite.rs"]
mod rewrite;

use bytes::Bytes;
use generate::Choices;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_pdata::wire_format::{
    MessageFields, WireValue, put_bytes_field, put_fixed64_field, put_varint, put_varint_field,
};
use otelcore_pdata::{
    MAX_NESTING, MalformedBodyKind, PieceLimit, Rope, RopePart, Signal, Splitter, StepBudget, check, split_to,
};
use proptest::prelude::*;
use prost::Message;

/// A message of any signal.
#[derive(Clone, Debug)]
enum DecodedBody {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

impl DecodedBody {
    fn generate(signal: Signal, c: &mut Choices<'_>) -> Self {
        match signal {
            Signal::Traces => Self::Traces(generate::traces(c)),
            Signal::Metrics => Self::Metrics(generate::metrics(c)),
            Signal::Logs => Self::Logs(generate::logs(c)),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Traces(m) => m.encode_to_vec(),
            Self::Metrics(m) => m.encode_to_vec(),
            Self::Logs(m) => m.encode_to_vec(),
        }
    }

    fn decode(signal: Signal, body: &[u8]) -> Result<Self, prost::DecodeError> {
        Ok(match signal {
            Signal::Traces => Self::Traces(ExportTraceServiceRequest::decode(body)?),
            Signal::Metrics => Self::Metrics(ExportMetricsServiceRequest::decode(body)?),
            Signal::Logs => Self::Logs(ExportLogsServiceRequest::decode(body)?),
        })
    }

    /// From the views.
    fn rebuild(signal: Signal, body: &Rope) -> Self {
        match signal {
            Signal::Traces => Self::Traces(rebuild::traces(body)),
            Signal::Metrics => Self::Metrics(rebuild::metrics(body)),
            Signal::Logs => Self::Logs(rebuild::logs(body)),
        }
    }

    /// The message as text: as text, NaN equals NaN, and zeros of different sign differ.
    fn text(&self) -> String {
        format!("{self:#?}")
    }

    fn resources(&self) -> usize {
        match self {
            Self::Traces(m) => m.resource_spans.len(),
            Self::Metrics(m) => m.resource_metrics.len(),
            Self::Logs(m) => m.resource_logs.len(),
        }
    }

    /// Each item with all messages that contain it.
    fn items(&self) -> Vec<String> {
        let mut items = Vec::new();
        match self {
            Self::Traces(m) => {
                for r in &m.resource_spans {
                    for s in &r.scope_spans {
                        let around = format!("{:?} {} {:?} {}", r.resource, r.schema_url, s.scope, s.schema_url);
                        items.extend(s.spans.iter().map(|i| format!("{around} {i:?}")));
                    }
                }
            }
            Self::Logs(m) => {
                for r in &m.resource_logs {
                    for s in &r.scope_logs {
                        let around = format!("{:?} {} {:?} {}", r.resource, r.schema_url, s.scope, s.schema_url);
                        items.extend(s.log_records.iter().map(|i| format!("{around} {i:?}")));
                    }
                }
            }
            Self::Metrics(m) => {
                for r in &m.resource_metrics {
                    for s in &r.scope_metrics {
                        for metric in &s.metrics {
                            let mut wrapper = metric.clone();
                            let points = take_point_texts(&mut wrapper.data);
                            let around = format!("{:?} {} {:?} {}", r.resource, r.schema_url, s.scope, s.schema_url);
                            items.extend(points.iter().map(|i| format!("{around} {wrapper:?} {i}")));
                        }
                    }
                }
            }
        }
        items
    }
}

fn take_point_texts(data: &mut Option<Data>) -> Vec<String> {
    fn take<T: std::fmt::Debug>(points: &mut Vec<T>) -> Vec<String> {
        points.drain(..).map(|p| format!("{p:?}")).collect()
    }
    match data {
        None => Vec::new(),
        Some(Data::Gauge(d)) => take(&mut d.data_points),
        Some(Data::Sum(d)) => take(&mut d.data_points),
        Some(Data::Histogram(d)) => take(&mut d.data_points),
        Some(Data::ExponentialHistogram(d)) => take(&mut d.data_points),
        Some(Data::Summary(d)) => take(&mut d.data_points),
    }
}

/// Each item's bytes, with the bytes of all other fields of the messages that contain it, known or not.
fn raw_items(signal: Signal, body: &[u8]) -> Vec<Vec<u8>> {
    fn walk(path: &[&[u32]], message: &[u8], around: &[u8], items: &mut Vec<Vec<u8>>) {
        let Some((children, below)) = path.split_first() else {
            return items.push([around, b"|", message].concat());
        };
        let (mut around, mut inner) = (around.to_vec(), Vec::new());
        let mut fields = MessageFields::new(message);
        loop {
            let start = message.len() - fields.rest().len();
            let Some((number, wire)) = fields.next() else { break };
            match wire {
                WireValue::Len(child) if children.contains(&number) => inner.push((number, child)),
                _ => around.extend_from_slice(&message[start..message.len() - fields.rest().len()]),
            }
        }
        for (number, child) in inner {
            let around = [around.as_slice(), format!("|{number}|").as_bytes()].concat();
            walk(below, child, &around, items);
        }
    }
    let path: &[&[u32]] = match signal {
        Signal::Metrics => &[&[2], &[2], &[5, 7, 9, 10, 11], &[1]],
        Signal::Traces | Signal::Logs => &[&[2], &[2]],
    };
    let mut items = Vec::new();
    // Unknown fields beside the entries belong to no item.
    for (number, wire) in MessageFields::new(body) {
        if let (1, WireValue::Len(entry)) = (number, wire) {
            walk(path, entry, &[], &mut items);
        }
    }
    items
}

fn signals() -> impl Strategy<Value = Signal> {
    prop::sample::select(Signal::ALL.to_vec())
}

fn entropy() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1500)
}

/// A message and the bytes of a rewritten form of it.
fn body(signal: Signal, message: &[u8], order: &[u8]) -> (DecodedBody, Vec<u8>) {
    let message = DecodedBody::generate(signal, &mut Choices(message));
    let bytes = rewrite::rewrite(signal, &message.encode(), &mut Choices(order));
    (message, bytes)
}

fn rope_of(signal: Signal, parts: &[Vec<u8>]) -> Rope {
    let mut rope = Rope::default();
    for part in parts {
        let items = check(signal, part).unwrap().items;
        rope.push(RopePart { bytes: Bytes::copy_from_slice(part), items });
    }
    rope
}

/// Asserts that the check and prost agree, except for known and intended differences.
fn assert_check_agrees_with_prost(signal: Signal, bytes: &[u8]) {
    match (check(signal, bytes), DecodedBody::decode(signal, bytes)) {
        (Ok(_), Err(e)) => {
            // The check does not read the content of strings, nor the fields that only profiles have.
            let message = e.to_string();
            let known = ["UTF-8", "recursion limit", "strindex", "StringValueStrindex"];
            assert!(known.iter().any(|k| message.contains(k)), "prost alone refuses: {message}");
        }
        (Err(e), Ok(_)) => {
            let known = matches!(
                e.kind,
                MalformedBodyKind::TraceIdLength
                    | MalformedBodyKind::SpanIdLength
                    | MalformedBodyKind::Nesting
                    | MalformedBodyKind::WireType { found: 3 | 4, .. }
            );
            assert!(known, "the check alone refuses: {e}");
        }
        (Ok(summary), Ok(message)) => {
            assert_eq!(summary.items as usize, message.items().len());
            assert_eq!(summary.resources as usize, message.resources());
        }
        (Err(e), Err(_)) => assert!(e.offset <= bytes.len(), "{e:?}"),
    }
    // The views of a body must not panic, for accepted and for rejected bytes.
    let mut rope = Rope::default();
    rope.push(RopePart { bytes: Bytes::copy_from_slice(bytes), items: 0 });
    let _ = DecodedBody::rebuild(signal, &rope);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn views_have_the_fields_that_prost_decodes(signal in signals(), message in entropy(), order in entropy()) {
        let (message, bytes) = body(signal, &message, &order);
        let summary = check(signal, &bytes).unwrap();
        let decoded = DecodedBody::decode(signal, &bytes).unwrap();
        prop_assert_eq!(decoded.encode(), message.encode(), "the rewritten bytes mean the same");
        prop_assert_eq!(summary.items as usize, decoded.items().len());
        prop_assert_eq!(summary.resources as usize, decoded.resources());
        let rebuilt = DecodedBody::rebuild(signal, &rope_of(signal, &[bytes]));
        prop_assert_eq!(rebuilt.text(), decoded.text());
    }

    #[test]
    fn truncated_body_is_refused_as_in_prost(
        signal in signals(),
        message in entropy(),
        order in entropy(),
        at in any::<prop::sample::Index>(),
    ) {
        let (_, bytes) = body(signal, &message, &order);
        assert_check_agrees_with_prost(signal, &bytes[..at.index(bytes.len() + 1)]);
    }

    #[test]
    fn damaged_body_is_refused_as_in_prost(
        signal in signals(),
        message in entropy(),
        order in entropy(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let (_, mut bytes) = body(signal, &message, &order);
        for (at, byte, how) in damage {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
            assert_check_agrees_with_prost(signal, &bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_are_checked_and_viewed_without_panic(signal in signals(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_check_agrees_with_prost(signal, &bytes);
        // The same bytes inside an entry: more code reads them.
        let mut wrapped = Vec::new();
        put_bytes_field(&mut wrapped, 2, &bytes);
        let mut entry = Vec::new();
        put_bytes_field(&mut entry, 1, &wrapped);
        assert_check_agrees_with_prost(signal, &entry);
    }

    #[test]
    fn split_keeps_every_item_with_its_enclosing_fields(
        signal in signals(),
        messages in prop::collection::vec((entropy(), entropy()), 1..4),
        max in 0..40_u32,
    ) {
        let parts: Vec<_> = messages.iter().map(|(message, order)| body(signal, message, order).1).collect();
        let whole = rope_of(signal, &parts);
        let expected = DecodedBody::decode(signal, &whole.to_bytes()).unwrap().items();
        let mut right = whole.clone();
        let left = split_to(signal, &mut right, max);
        prop_assert_eq!(left.items(), max.min(whole.items()));
        prop_assert_eq!(left.items() + right.items(), whole.items());

        let (mut items, mut raw) = (Vec::new(), Vec::new());
        for half in [&left, &right] {
            prop_assert_eq!(half.len(), half.to_bytes().len());
            for part in half.parts() {
                prop_assert_eq!(check(signal, &part.bytes).unwrap().items, part.items);
            }
            let bytes = half.to_bytes();
            prop_assert_eq!(check(signal, &bytes).unwrap().items, half.items());
            items.extend(DecodedBody::decode(signal, &bytes).unwrap().items());
            raw.extend(raw_items(signal, &bytes));
        }
        prop_assert_eq!(items, expected);
        prop_assert_eq!(raw, raw_items(signal, &whole.to_bytes()), "unknown fields go with every item");
    }

    #[test]
    fn body_split_into_equal_pieces_has_all_items(
        signal in signals(),
        message in entropy(),
        order in entropy(),
        max in 1..5_u32,
    ) {
        let (_, bytes) = body(signal, &message, &order);
        let mut rest = rope_of(signal, std::slice::from_ref(&bytes));
        let (n, mut raw, mut pieces) = (rest.items(), Vec::new(), 0);
        while rest.items() > 0 {
            let piece = split_to(signal, &mut rest, max);
            raw.extend(raw_items(signal, &piece.to_bytes()));
            pieces += 1;
        }
        prop_assert_eq!(pieces, n.div_ceil(max));
        prop_assert_eq!(raw, raw_items(signal, &bytes));
    }

    #[test]
    fn pieces_of_a_splitter_have_every_item_with_its_enclosing_fields(
        signal in signals(),
        messages in prop::collection::vec((entropy(), entropy()), 1..4),
        max in 1..12_u32,
        bytes in prop::option::of(10..3000_usize),
        budget in 1..2000_u64,
    ) {
        let parts: Vec<_> = messages.iter().map(|(message, order)| body(signal, message, order).1).collect();
        let whole = rope_of(signal, &parts);
        let bytes = bytes.unwrap_or(usize::MAX);
        let mut splitter = Splitter::new(signal);
        // Some parts are pushed while others are being cut.
        let (first, later) = parts.split_at(parts.len().div_ceil(2));
        splitter.push(rope_of(signal, first));
        let mut later = Some(rope_of(signal, later));
        let (mut items, mut raw, mut pieces) = (Vec::new(), Vec::new(), 0);
        loop {
            let before = splitter.items();
            let piece = loop {
                prop_assert_eq!(splitter.items(), before, "a piece in the making is still held");
                match splitter.next_piece(PieceLimit { items: max, bytes }, &mut StepBudget::new(budget)) {
                    Some(piece) => break piece,
                    None => prop_assert!(!splitter.is_empty()),
                }
            };
            prop_assert!(splitter.copied_bytes() <= piece.len());
            prop_assert_eq!(splitter.items() + u64::from(piece.items()), before);
            prop_assert!(piece.items() <= max);
            prop_assert!(piece.items() <= 1 || piece.len() <= bytes, "{} of {} bytes", piece.len(), bytes);
            pieces += u32::from(piece.items() > 0);
            for part in piece.parts() {
                prop_assert_eq!(check(signal, &part.bytes).unwrap().items, part.items);
            }
            let joined = piece.to_bytes();
            items.extend(DecodedBody::decode(signal, &joined).unwrap().items());
            raw.extend(raw_items(signal, &joined));
            if splitter.is_empty() {
                let Some(later) = later.take() else { break };
                splitter.push(later);
            } else if let Some(later) = later.take() {
                splitter.push(later);
            }
        }
        prop_assert_eq!((splitter.items(), splitter.len()), (0, 0));
        prop_assert_eq!(splitter.finished_parts(), splitter.pushed_parts());
        if bytes == usize::MAX {
            prop_assert!(pieces <= whole.items().div_ceil(max) + 1, "one more where the rest came late");
        }
        prop_assert_eq!(items, DecodedBody::decode(signal, &whole.to_bytes()).unwrap().items());
        prop_assert_eq!(raw, raw_items(signal, &whole.to_bytes()), "unknown fields go with every item");
    }

    #[test]
    fn appended_ropes_are_the_concatenated_bodies(
        signal in signals(),
        messages in prop::collection::vec((entropy(), entropy()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let parts: Vec<_> = messages.iter().map(|(message, order)| body(signal, message, order).1).collect();
        let (first, second) = parts.split_at(cut.index(parts.len() + 1));
        let mut joined = rope_of(signal, first);
        joined.append(rope_of(signal, second));
        let bytes = parts.concat();
        prop_assert_eq!(&joined.to_bytes()[..], &bytes[..]);
        prop_assert_eq!(joined.len(), bytes.len());
        prop_assert_eq!(joined.items(), check(signal, &bytes).unwrap().items);
        let decoded = DecodedBody::decode(signal, &bytes).unwrap();
        prop_assert_eq!(DecodedBody::rebuild(signal, &joined).text(), decoded.text());
    }
}

/// `n` nested values, each the only element of the outer one.
fn nested_values(n: u8) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 1..n {
        let (mut array, mut outer) = (Vec::new(), Vec::new());
        put_bytes_field(&mut array, 1, &value);
        put_bytes_field(&mut outer, 5, &array);
        value = outer;
    }
    value
}

/// `content` inside nested fields of these numbers, the last one innermost.
fn wrap_in_fields(numbers: &[u32], content: Vec<u8>) -> Vec<u8> {
    numbers.iter().rev().fold(content, |content, number| {
        let mut out = Vec::new();
        put_bytes_field(&mut out, *number, &content);
        out
    })
}

#[test]
fn attributes_nested_above_a_hundred_levels_are_refused() {
    let places: [(Signal, &[u32]); 5] = [
        (Signal::Traces, &[1, 1, 1, 2]),
        (Signal::Traces, &[1, 2, 2, 9, 2]),
        (Signal::Logs, &[1, 2, 1, 3, 2]),
        (Signal::Metrics, &[1, 2, 2, 12, 2]),
        (Signal::Metrics, &[1, 2, 2, 5, 1, 5, 7, 2]),
    ];
    for (signal, place) in places {
        check(signal, &wrap_in_fields(place, nested_values(MAX_NESTING))).unwrap();
        let refused = check(signal, &wrap_in_fields(place, nested_values(MAX_NESTING + 1))).unwrap_err();
        assert_eq!(refused.kind, MalformedBodyKind::Nesting, "{signal} {place:?}");
    }
    // The body of a log record is the outermost value and not inside any.
    check(Signal::Logs, &wrap_in_fields(&[1, 2, 2, 5], nested_values(MAX_NESTING + 1))).unwrap();
    let refused = check(Signal::Logs, &wrap_in_fields(&[1, 2, 2, 5], nested_values(MAX_NESTING + 2))).unwrap_err();
    assert_eq!(refused.kind, MalformedBodyKind::Nesting);
}

#[test]
fn wire_type_of_every_field_is_checked_as_in_prost() {
    let places: [(Signal, &[u32]); 29] = [
        (Signal::Traces, &[]),
        (Signal::Traces, &[1]),
        (Signal::Traces, &[1, 1]),
        (Signal::Traces, &[1, 1, 3]),
        (Signal::Traces, &[1, 2]),
        (Signal::Traces, &[1, 2, 1]),
        (Signal::Traces, &[1, 2, 2]),
        (Signal::Traces, &[1, 2, 2, 9]),
        (Signal::Traces, &[1, 2, 2, 11]),
        (Signal::Traces, &[1, 2, 2, 13]),
        (Signal::Traces, &[1, 2, 2, 15]),
        (Signal::Metrics, &[]),
        (Signal::Metrics, &[1]),
        (Signal::Metrics, &[1, 2]),
        (Signal::Metrics, &[1, 2, 2]),
        (Signal::Metrics, &[1, 2, 2, 5]),
        (Signal::Metrics, &[1, 2, 2, 5, 1]),
        (Signal::Metrics, &[1, 2, 2, 7]),
        (Signal::Metrics, &[1, 2, 2, 7, 1, 5]),
        (Signal::Metrics, &[1, 2, 2, 9]),
        (Signal::Metrics, &[1, 2, 2, 9, 1]),
        (Signal::Metrics, &[1, 2, 2, 10]),
        (Signal::Metrics, &[1, 2, 2, 10, 1]),
        (Signal::Metrics, &[1, 2, 2, 10, 1, 8]),
        (Signal::Metrics, &[1, 2, 2, 11, 1]),
        (Signal::Metrics, &[1, 2, 2, 11, 1, 6]),
        (Signal::Logs, &[1]),
        (Signal::Logs, &[1, 2]),
        (Signal::Logs, &[1, 2, 2]),
    ];
    // The messages inside values, through the attributes of a resource.
    let values: [&[u32]; 4] = [&[1, 1, 1], &[1, 1, 1, 2], &[1, 1, 1, 2, 5], &[1, 1, 1, 2, 6]];
    for (signal, place) in places.into_iter().chain(values.map(|v| (Signal::Logs, v))) {
        for number in 1..20 {
            // Field 3 of an attribute and 8 of a value are for profiles; the check accepts any type for them.
            if matches!((place, number), ([1, 1, 1] | [1, 2, 2, 9], 3) | ([1, 1, 1, 2], 8)) {
                continue;
            }
            let mut forms = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
            put_varint_field(&mut forms[0], number, 1);
            put_fixed64_field(&mut forms[1], number, 1);
            put_bytes_field(&mut forms[2], number, &[]);
            put_varint(&mut forms[3], u64::from(number) << 3 | 5);
            forms[3].extend_from_slice(&[0; 4]);
            for form in forms {
                let bytes = wrap_in_fields(place, form);
                let (ours, prosts) = (check(signal, &bytes), DecodedBody::decode(signal, &bytes));
                assert_eq!(ours.is_ok(), prosts.is_ok(), "{signal} {place:?} field {number}: {ours:?}, {prosts:?}");
                assert_check_agrees_with_prost(signal, &bytes);
            }
        }
    }
}

#[test]
fn packed_numbers_with_an_incomplete_element_are_refused() {
    // Bounds, counts and exponential counts.
    for place in [[1, 2, 2, 9, 1, 7].as_slice(), &[1, 2, 2, 9, 1, 6], &[1, 2, 2, 10, 1, 8, 2]] {
        for content in [&[1; 8][..], &[1; 9], &[1; 7], &[1, 0x80], &[0x80; 16], &[0xff; 24]] {
            let bytes = wrap_in_fields(place, content.to_vec());
            let (ours, prosts) = (check(Signal::Metrics, &bytes), DecodedBody::decode(Signal::Metrics, &bytes));
            assert_eq!(ours.is_ok(), prosts.is_ok(), "{place:?} {content:?}: {ours:?}, {prosts:?}");
        }
    }
}

#[test]
fn unknown_temporality_is_unspecified() {
    for number in [3, 200, u64::MAX] {
        let mut sum = Vec::new();
        put_varint_field(&mut sum, 2, number);
        let bytes = wrap_in_fields(&[1, 2, 2, 7], sum);
        let DecodedBody::Metrics(message) = DecodedBody::rebuild(Signal::Metrics, &rope_of(Signal::Metrics, &[bytes]))
        else {
            panic!("metrics are metrics");
        };
        let Some(Data::Sum(sum)) = &message.resource_metrics[0].scope_metrics[0].metrics[0].data else {
            panic!("a sum is a sum");
        };
        assert_eq!(sum.aggregation_temporality, 0);
    }
}

#[test]
fn ids_of_another_length_are_refused() {
    let places: [(Signal, &[u32], usize); 5] = [
        (Signal::Traces, &[1, 2, 2, 1], 16),
        (Signal::Traces, &[1, 2, 2, 4], 8),
        (Signal::Traces, &[1, 2, 2, 13, 2], 8),
        (Signal::Logs, &[1, 2, 2, 9], 16),
        (Signal::Metrics, &[1, 2, 2, 7, 1, 5, 4], 8),
    ];
    for (signal, place, len) in places {
        for size in 0..20 {
            let verdict = check(signal, &wrap_in_fields(place, vec![7; size]));
            assert_eq!(verdict.is_ok(), size == 0 || size == len, "{signal} {place:?} of {size} bytes");
        }
    }
}
