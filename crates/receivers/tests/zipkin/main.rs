//! Bodies compared with the Go receiver's translation, from fixed seeds: recorded answers in the first tier, the running
//! Go code by `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

mod generate;

use std::path::Path;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pipeline::Budget;
use otelcore_receivers::DecodeError;
use otelcore_receivers::zipkin::{BodyFormat, decode};
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};
use prost::Message;

const CASES: u64 = 1200;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/zipkin.corpus.zst");

const FORMATS: [BodyFormat; 4] = [BodyFormat::V1Json, BodyFormat::V1Thrift, BodyFormat::V2Json, BodyFormat::V2Protobuf];

/// The attribute that says that a span came without the time of its start.
const START_TIME_ABSENT: &str = "otel.zipkin.absentField.startTime";

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
fn comparable(request: ExportTraceServiceRequest, format: BodyFormat) -> Vec<String> {
    let mut found = Vec::new();
    for ResourceSpans { resource, scope_spans, .. } in request.resource_spans {
        let mut resource = resource.unwrap_or_default();
        sorted_attributes(&mut resource.attributes);
        for ScopeSpans { scope, spans, .. } in scope_spans {
            let shared = format!("{resource:?} {:?}", scope.unwrap_or_default());
            found.extend(spans.into_iter().map(|span| format!("{shared} {:?}", comparable_span(span, format))));
        }
    }
    found.sort();
    found
}

fn comparable_span(mut span: Span, format: BodyFormat) -> Span {
    sorted_attributes(&mut span.attributes);
    span.events.iter_mut().for_each(|event| sorted_attributes(&mut event.attributes));
    span.links.iter_mut().for_each(|link| sorted_attributes(&mut link.attributes));
    span.status.get_or_insert_default();
    // Go takes the present time where version 1 has none.
    let absent = KeyValue {
        key: START_TIME_ABSENT.to_owned(),
        value: Some(AnyValue { value: Some(Value::BoolValue(true)) }),
        key_strindex: 0,
    };
    if format == BodyFormat::V1Json && span.attributes.contains(&absent) {
        (span.start_time_unix_nano, span.end_time_unix_nano) = (0, 0);
    }
    span
}

fn compare(case: &CorpusCase, seen: &mut Seen) {
    let format = FORMATS[usize::from(case.input[0]) - 2];
    let (parses_tags, body) = (case.input[1] == 1, &case.input[2..]);
    let mut held = Arc::new(Budget::default()).hold(0);
    let result = decode(format, body, parses_tags, &mut held);
    let shown = format!("{:?}", String::from_utf8_lossy(body));
    match (result, case.answer.split_first().unwrap()) {
        (Ok(rope), (1, expected)) => {
            let bytes = rope.to_bytes();
            assert!(held.bytes() >= bytes.len() as u64, "what is made is charged");
            let [got, expected] = [&bytes[..], expected].map(|bytes| ExportTraceServiceRequest::decode(bytes).unwrap());
            let (mut got, mut expected) = (comparable(got, format), comparable(expected, format));
            if got != expected {
                let same: Vec<_> = got.iter().filter(|span| expected.contains(span)).cloned().collect();
                got.retain(|span| !same.contains(span));
                expected.retain(|span| !same.contains(span));
                panic!("{format:?} {parses_tags} {shown}:\n{got:#?}\ninstead of\n{expected:#?}");
            }
            seen.translated += 1;
        }
        (Err(DecodeError::Invalid(_)), (0, _)) => seen.refused += 1,
        (got, (_, expected)) => {
            panic!("{format:?} {parses_tags} {shown}: {got:?} instead of {}", String::from_utf8_lossy(expected));
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
    let Some(cases) = ask_about_seeds("zipkin-oracle", Path::new(CORPUS), CASES, generate::input) else { return };
    let mut seen = Seen::default();
    cases.iter().for_each(|case| compare(case, &mut seen));
    assert!(seen.translated > 1600, "{}", seen.translated);
}

#[test]
fn changed_bytes_never_panic() {
    for case in read_corpus(Path::new(CORPUS)).iter().take(200) {
        let format = FORMATS[usize::from(case.input[0]) - 2];
        let body = &case.input[2..];
        let step = (body.len() / 40).max(1);
        for at in (0..body.len()).step_by(step) {
            for change in [1, 0x20, 0x7f, 0x80, 0xff] {
                let mut body = body.to_vec();
                body[at] ^= change;
                let _ = decode(format, &body, true, &mut Arc::new(Budget::default()).hold(0));
            }
            let _ = decode(format, &body[..at], false, &mut Arc::new(Budget::default()).hold(0));
        }
    }
}
