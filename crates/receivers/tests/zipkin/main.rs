//! Bodies compared with the Go receiver's translation, from fixed seeds: recorded answers in the first tier, the running
//! Go code by `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

#[path = "../comparison/mod.rs"]
mod comparison;
mod generate;

use std::path::Path;
use std::sync::Arc;

use comparison::{Seen, decode_damaged};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use otelcore_pipeline::Budget;
use otelcore_receivers::zipkin::{BodyFormat, decode};
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};

const CASES: u64 = 1200;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/zipkin.corpus.zst");

const FORMATS: [BodyFormat; 4] = [BodyFormat::V1Json, BodyFormat::V1Thrift, BodyFormat::V2Json, BodyFormat::V2Protobuf];

/// The attribute that says that a span came without the time of its start.
const START_TIME_ABSENT: &str = "otel.zipkin.absentField.startTime";

fn compare(case: &CorpusCase, seen: &mut Seen) {
    let format = FORMATS[usize::from(case.input[0]) - 2];
    let (parses_tags, body) = (case.input[1] == 1, &case.input[2..]);
    let mut held = Arc::new(Budget::default()).hold(0);
    let result = decode(format, body, parses_tags, &mut held);
    let shown = format!("{format:?} {parses_tags} {:?}", String::from_utf8_lossy(body));
    seen.compare(&shown, result, &held, &case.answer, |span| {
        // Go takes the present time where version 1 has none.
        let absent = KeyValue {
            key: START_TIME_ABSENT.to_owned(),
            value: Some(AnyValue { value: Some(Value::BoolValue(true)) }),
            key_strindex: 0,
        };
        if format == BodyFormat::V1Json && span.attributes.contains(&absent) {
            (span.start_time_unix_nano, span.end_time_unix_nano) = (0, 0);
        }
    });
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
        for parses_tags in [true, false] {
            decode_damaged(&case.input[2..], |body| {
                let _ = decode(format, body, parses_tags, &mut Arc::new(Budget::default()).hold(0));
            });
        }
    }
}
