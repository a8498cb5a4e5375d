//! Bodies compared with the Go receiver's translation, from fixed seeds: recorded answers in the first tier, the running
//! Go code by `scripts/differential`. And the receiver in a world of its own.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

mod batch;
mod generate;
mod receiver;

use std::path::Path;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pipeline::Budget;
use otelcore_receivers::DecodeError;
use otelcore_receivers::jaeger::{BodyFormat, decode};
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};
use prost::Message;

const CASES: u64 = 1200;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/jaeger.corpus.zst");

const FORMATS: [BodyFormat; 4] =
    [BodyFormat::Protobuf, BodyFormat::ThriftBatch, BodyFormat::AgentBinary, BodyFormat::AgentCompact];

/// What Go makes of a time that is not there: the nanoseconds of the year 1, without what does not fit in 64 bits.
const YEAR_ONE: u64 = 62_135_596_800_u64.wrapping_mul(1_000_000_000).wrapping_neg();

/// How many cases had spans, and how many were refused.
#[derive(Default)]
struct Seen {
    translated: usize,
    refused: usize,
}

fn sorted_attributes(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Spans with their resource and scope, without the order that Go gives them, which it does not promise.
fn comparable(request: ExportTraceServiceRequest) -> Vec<String> {
    let mut found = Vec::new();
    for ResourceSpans { resource, scope_spans, .. } in request.resource_spans {
        let mut resource = resource.unwrap_or_default();
        sorted_attributes(&mut resource.attributes);
        for ScopeSpans { scope, spans, .. } in scope_spans {
            let shared = format!("{resource:?} {:?}", scope.unwrap_or_default());
            found.extend(spans.into_iter().map(|span| format!("{shared} {:?}", comparable_span(span))));
        }
    }
    found.sort();
    found
}

fn comparable_span(mut span: Span) -> Span {
    sorted_attributes(&mut span.attributes);
    for event in &mut span.events {
        sorted_attributes(&mut event.attributes);
        if event.time_unix_nano == YEAR_ONE {
            event.time_unix_nano = 0;
        }
    }
    if span.start_time_unix_nano == YEAR_ONE {
        span.start_time_unix_nano = 0;
        span.end_time_unix_nano = span.end_time_unix_nano.wrapping_sub(YEAR_ONE);
    }
    span.status.get_or_insert_default();
    span
}

fn compare(case: &CorpusCase, seen: &mut Seen) {
    let (format, body) = (FORMATS[usize::from(case.input[0])], &case.input[1..]);
    let mut held = Arc::new(Budget::default()).hold(0);
    let result = decode(format, body, &mut held);
    let shown = format!("{:?}", String::from_utf8_lossy(body));
    match (result, case.answer.split_first().unwrap()) {
        (Ok(rope), (1, expected)) => {
            let bytes = rope.to_bytes();
            assert!(held.bytes() >= bytes.len() as u64, "what is made is charged");
            let [got, expected] = [&bytes[..], expected].map(|bytes| ExportTraceServiceRequest::decode(bytes).unwrap());
            let (mut got, mut expected) = (comparable(got), comparable(expected));
            if got != expected {
                let same: Vec<_> = got.iter().filter(|span| expected.contains(span)).cloned().collect();
                got.retain(|span| !same.contains(span));
                expected.retain(|span| !same.contains(span));
                panic!("{format:?} {shown}:\n{got:#?}\ninstead of\n{expected:#?}");
            }
            seen.translated += 1;
        }
        (Err(DecodeError::Invalid(_)), (0, _)) => seen.refused += 1,
        (got, (_, expected)) => {
            panic!("{format:?} {shown}: {got:?} instead of {}", String::from_utf8_lossy(expected));
        }
    }
}

#[test]
fn recorded_bodies_are_translated_as_by_the_go_receiver() {
    let mut seen = Seen::default();
    read_corpus(Path::new(CORPUS)).iter().for_each(|case| compare(case, &mut seen));
    assert!(seen.translated > 800 && seen.refused > 50, "{} and {}", seen.translated, seen.refused);
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn bodies_of_fixed_and_fresh_seeds_are_translated_as_by_the_go_receiver() {
    let Some(cases) = ask_about_seeds("jaeger-receiver-oracle", Path::new(CORPUS), CASES, generate::input) else {
        return;
    };
    let mut seen = Seen::default();
    cases.iter().for_each(|case| compare(case, &mut seen));
    assert!(seen.translated > 1600, "{}", seen.translated);
}

#[test]
fn changed_bytes_never_panic() {
    for case in read_corpus(Path::new(CORPUS)).iter().take(200) {
        let (format, body) = (FORMATS[usize::from(case.input[0])], &case.input[1..]);
        let step = (body.len() / 40).max(1);
        for at in (0..body.len()).step_by(step) {
            for change in [1, 0x20, 0x7f, 0x80, 0xff] {
                let mut body = body.to_vec();
                body[at] ^= change;
                let _ = decode(format, &body, &mut Arc::new(Budget::default()).hold(0));
            }
            let _ = decode(format, &body[..at], &mut Arc::new(Budget::default()).hold(0));
        }
    }
}

#[test]
fn more_of_something_than_a_span_may_have_is_refused() {
    use batch::{Batch, Process, Reference, Span, Value};
    let process = Some(Process { service: "s", ..Process::default() });
    let with = |span: Span| Batch { process: process.clone(), spans: vec![span], has_process_last: false };
    let tags = |count: usize| vec![("k", Value::Bool(true)); count];
    let reference = Reference { trace_id: [0, 1], span_id: 1, kind: 0 };
    let base = Span { name: "n", ..Span::default() };
    for (span, what) in [
        (Span { tags: tags(16_385), ..base.clone() }, "16384 tags"),
        (Span { logs: vec![(None, Vec::new()); 16_385], ..base.clone() }, "16384 logs"),
        (Span { logs: vec![(None, tags(40_000)); 2], ..base.clone() }, "65536 fields of logs"),
        (Span { references: vec![reference; 16_385], ..base }, "16384 references"),
    ] {
        let batch = with(span);
        let bodies = [batch.to_protobuf(), batch.to_thrift(false), batch.to_message(false), batch.to_message(true)];
        for (format, body) in FORMATS.into_iter().zip(bodies) {
            let result = decode(format, &body, &mut Arc::new(Budget::default()).hold(0));
            let Err(DecodeError::Invalid(why)) = result else { panic!("{format:?} {what}: {result:?}") };
            assert_eq!(why, format!("a span has more than {what}"), "{format:?}");
        }
    }
}
