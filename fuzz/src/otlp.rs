//! OTLP bytes. Checks: the check and prost agree except for the known and intended differences; a body that passes can
//! be walked, counted, split, and written as JSON, as text and as Jaeger's batches, with every item in it.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_pdata::views::{self, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue};
use otelcore_pdata::{
    MalformedBodyKind, PieceLimit, Rope, RopePart, Signal, Splitter, StepBudget, check, checked_rope, split_to,
};
use prost::Message;

use crate::json;

#[path = "../../crates/pdata/tests/oracle/rebuild.rs"]
mod rebuild;

/// Entries and items as prost counts them.
fn prost_counts(signal: Signal, body: &[u8]) -> Result<(usize, usize), prost::DecodeError> {
    Ok(match signal {
        Signal::Traces => counts_of_traces(&ExportTraceServiceRequest::decode(body)?),
        Signal::Metrics => counts_of_metrics(&ExportMetricsServiceRequest::decode(body)?),
        Signal::Logs => counts_of_logs(&ExportLogsServiceRequest::decode(body)?),
    })
}

/// The same through the views, which are walked to their full depth.
fn view_counts(signal: Signal, body: &Rope) -> (usize, usize) {
    match signal {
        Signal::Traces => counts_of_traces(&rebuild::traces(body)),
        Signal::Metrics => counts_of_metrics(&rebuild::metrics(body)),
        Signal::Logs => counts_of_logs(&rebuild::logs(body)),
    }
}

fn counts_of_traces(m: &ExportTraceServiceRequest) -> (usize, usize) {
    let scopes = m.resource_spans.iter().flat_map(|r| &r.scope_spans);
    (m.resource_spans.len(), scopes.map(|s| s.spans.len()).sum())
}

fn counts_of_logs(m: &ExportLogsServiceRequest) -> (usize, usize) {
    let scopes = m.resource_logs.iter().flat_map(|r| &r.scope_logs);
    (m.resource_logs.len(), scopes.map(|s| s.log_records.len()).sum())
}

fn counts_of_metrics(m: &ExportMetricsServiceRequest) -> (usize, usize) {
    let metrics = m.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    let points = metrics.map(|metric| match &metric.data {
        None => 0,
        Some(Data::Gauge(d)) => d.data_points.len(),
        Some(Data::Sum(d)) => d.data_points.len(),
        Some(Data::Histogram(d)) => d.data_points.len(),
        Some(Data::ExponentialHistogram(d)) => d.data_points.len(),
        Some(Data::Summary(d)) => d.data_points.len(),
    });
    (m.resource_metrics.len(), points.sum())
}

/// A metric that has its data twice: the check counts all points, the readers see only the last data.
pub fn has_data_twice(signal: Signal, body: &Rope) -> bool {
    signal == Signal::Metrics
        && views::resource_entries::<views::ResourceMetrics<'_>>(body).any(|r| {
            r.scope_metrics().flat_map(|s| s.metrics()).any(|m| {
                let data = |(number, _): &(u32, WireValue<'_>)| matches!(number, 5 | 7 | 9 | 10 | 11);
                MessageFields::new(views::Metric::parse(m.raw).raw).filter(data).count() > 1
            })
        })
}

/// A digest for each item: its bytes and the bytes of all other fields of the messages that contain it.
fn item_digests(signal: Signal, body: &Rope) -> Vec<Vec<u8>> {
    fn walk(path: &[&[u32]], message: &[u8], enclosing: &[u8], items: &mut Vec<Vec<u8>>) {
        let Some((children, deeper)) = path.split_first() else {
            let (a, b) = (crate::input::digest(enclosing), crate::input::digest(message));
            return items.push([a.to_le_bytes(), b.to_le_bytes()].concat());
        };
        let (mut around, mut inner) = (enclosing.to_vec(), Vec::new());
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
            walk(deeper, child, &[&around, &number.to_le_bytes()[..]].concat(), items);
        }
    }
    let path: &[&[u32]] = match signal {
        Signal::Metrics => &[&[2], &[2], &[5, 7, 9, 10, 11], &[1]],
        Signal::Traces | Signal::Logs => &[&[2], &[2]],
    };
    let mut items = Vec::new();
    for part in body.parts() {
        for (number, wire) in MessageFields::new(&part.bytes) {
            if let (1, WireValue::Len(entry)) = (number, wire) {
                walk(path, entry, &[], &mut items);
            }
        }
    }
    items
}

/// Cuts off `max` items at a time.
fn split(signal: Signal, body: &Rope, max: u32) {
    let expected = item_digests(signal, body);
    let (mut rest, mut found, mut pieces) = (body.clone(), Vec::new(), 0);
    while rest.items() > 0 && pieces < 20 {
        let before = rest.items();
        let piece = split_to(signal, &mut rest, max);
        assert_eq!(piece.items(), max.min(before));
        assert_eq!(piece.items() + rest.items(), before);
        for part in piece.parts() {
            assert_eq!(check(signal, &part.bytes).expect("a piece is OTLP").items, part.items);
        }
        found.extend(item_digests(signal, &piece));
        pieces += 1;
    }
    for part in rest.parts() {
        assert_eq!(check(signal, &part.bytes).expect("the rest is OTLP").items, part.items);
    }
    found.extend(item_digests(signal, &rest));
    assert_eq!(found, expected, "every item, with all around it, in order; {max} at a time");
}

/// Pushes the body twice into a splitter, and takes pieces within a limit, in steps of a small budget.
fn split_in_steps(signal: Signal, body: &Rope, limit: PieceLimit) {
    let mut expected = item_digests(signal, body);
    expected.extend(expected.clone());
    let mut splitter = Splitter::new(signal);
    splitter.push(body.clone());
    splitter.push(body.clone());
    let (mut found, mut steps) = (Vec::new(), 0);
    while !splitter.is_empty() {
        steps += 1;
        assert!(steps < 100 * (body.len() + 10), "each step gets further");
        let Some(piece) = splitter.next_piece(limit, &mut StepBudget::new(500)) else { continue };
        assert!(piece.items() <= limit.items);
        assert!(piece.items() <= 1 || piece.len() <= limit.bytes);
        for part in piece.parts() {
            assert_eq!(check(signal, &part.bytes).expect("a piece is OTLP").items, part.items);
        }
        found.extend(item_digests(signal, &piece));
    }
    assert_eq!((splitter.items(), splitter.len()), (0, 0));
    assert_eq!(found, expected, "every item, with all around it, in order; {limit:?}");
}

/// The first byte chooses the signal; the others are the body.
pub fn run(data: &[u8]) {
    let Some((signal, bytes)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(*signal) % 3];
    let body = Bytes::copy_from_slice(bytes);
    let mut whole = Rope::default();
    whole.push(RopePart { bytes: body.clone(), items: 0 });
    let result = check(signal, bytes);
    match (result, prost_counts(signal, bytes)) {
        (Ok(_), Err(e)) => {
            // The check does not validate strings, nor the fields that only profiles have.
            let text = e.to_string();
            let known = ["UTF-8", "recursion limit", "strindex", "StringValueStrindex"];
            assert!(known.iter().any(|k| text.contains(k)), "prost alone refuses: {text}");
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
        (Ok(found), Ok((resources, items))) => {
            assert_eq!(found.resources as usize, resources);
            if !has_data_twice(signal, &whole) {
                assert_eq!(found.items as usize, items);
            }
        }
        (Err(e), Err(_)) => assert!(e.offset <= bytes.len(), "{e:?}"),
    }
    let Ok(found) = result else {
        // A body that does not pass is never walked in the collector; a walk must still not fail, as far as the stack
        // allows.
        if bytes.len() < 1000 {
            view_counts(signal, &whole);
        }
        return;
    };
    let Ok(rope) = checked_rope(signal, body) else {
        assert!(found.has_legacy_scopes, "the check passes what is not admitted");
        return;
    };
    assert!(found.has_legacy_scopes || rope.items() == found.items);
    let twice = has_data_twice(signal, &rope);
    let (_, viewed) = view_counts(signal, &rope);
    if !twice {
        assert_eq!(viewed, rope.items() as usize, "the views show every item");
    }
    let n = rope.items();
    for max in [1, 2, 3, n / 2, n.saturating_sub(1), n, n.saturating_add(1)] {
        if max > 0 {
            split(signal, &rope, max);
        }
    }
    // Bodies so small that their repeated wrappers stay below the splitter's `REPEAT_ALLOWANCE`, so that limits are
    // exact.
    if rope.len() < 2000 {
        for limit in [PieceLimit::items(1), PieceLimit::bytes(64), PieceLimit { items: 3, bytes: 200 }] {
            split_in_steps(signal, &rope, limit);
        }
    }
    let text = json::encode(signal, &rope);
    let reread = json::decode(signal, &text).expect("what was written is read");
    if !twice {
        assert_eq!(reread.items(), n, "JSON has every item");
    }
    let _ = otelcore_exporter_debug::dumps::normal_dump(signal, &rope);
    let _ = otelcore_exporter_debug::dumps::detailed_dump(signal, &rope);
    if signal == Signal::Traces {
        let requests = otelcore_exporter_jaeger::encode::encode_messages(&rope);
        assert_eq!(requests.iter().map(|r| r.body.items()).sum::<u32>(), n, "Jaeger gets every span");
        for request in &requests {
            assert_eq!(
                check(signal, &request.body.to_bytes()).expect("an entry is a body").items,
                request.body.items()
            );
        }
    }
}
