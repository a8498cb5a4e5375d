//! Bodies compared with the Go receiver's translation, from fixed seeds: recorded answers in the first tier, the running
//! Go code by `scripts/differential`. And the receiver in a world of its own.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

mod batch;
#[path = "../comparison/mod.rs"]
mod comparison;
mod generate;
mod receiver;

use std::path::Path;
use std::sync::Arc;

use comparison::{Seen, decode_damaged};
use otelcore_pipeline::Budget;
use otelcore_receivers::DecodeError;
use otelcore_receivers::jaeger::{BodyFormat, decode};
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};

const CASES: u64 = 1200;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/jaeger.corpus.zst");

const FORMATS: [BodyFormat; 4] =
    [BodyFormat::Protobuf, BodyFormat::ThriftBatch, BodyFormat::AgentBinary, BodyFormat::AgentCompact];

/// What Go makes of a time that is not there: the nanoseconds of the year 1, without what does not fit in 64 bits.
const YEAR_ONE: u64 = 62_135_596_800_u64.wrapping_mul(1_000_000_000).wrapping_neg();

fn compare(case: &CorpusCase, seen: &mut Seen) {
    let (format, body) = (FORMATS[usize::from(case.input[0])], &case.input[1..]);
    let mut held = Arc::new(Budget::default()).hold(0);
    let result = decode(format, body, &mut held);
    let shown = format!("{format:?} {:?}", String::from_utf8_lossy(body));
    seen.compare(&shown, result, &held, &case.answer, |span| {
        for event in &mut span.events {
            if event.time_unix_nano == YEAR_ONE {
                event.time_unix_nano = 0;
            }
        }
        if span.start_time_unix_nano == YEAR_ONE {
            span.start_time_unix_nano = 0;
            span.end_time_unix_nano = span.end_time_unix_nano.wrapping_sub(YEAR_ONE);
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
        let format = FORMATS[usize::from(case.input[0])];
        decode_damaged(&case.input[1..], |body| {
            let _ = decode(format, body, &mut Arc::new(Budget::default()).hold(0));
        });
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
