//! Messages of `jaeger_json` compared with those of the Go exporter, byte for byte, from fixed seeds: recorded answers in the first tier, the
//! running Go code by `scripts/differential`.

#[path = "../../../exporter-jaeger/tests/oracle/bodies.rs"]
mod bodies;
#[path = "../../../pdata/tests/oracle/generate.rs"]
mod generate;
#[path = "../../../pdata/tests/oracle/rewrite.rs"]
mod rewrite;

use std::path::Path;

use otelcore_pdata::checked_rope;
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus, split_frames};

use super::*;

const CASES: u64 = 150;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/jaeger_json.corpus.zst");

fn input(seed: u64) -> Vec<u8> {
    let mut input = vec![0];
    input.extend(bodies::body(seed));
    input
}

/// A message without the deliberate differences: the attribute that has another name, and the flag.
fn without_differences(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value).replace("\"http.response.status_code\"", "\"http.status_code\"");
    value.replace("\"flags\":1,", "")
}

/// Compares the messages of a case, and returns how many they are.
fn compare(case: &CorpusCase) -> usize {
    let body = checked_rope(Signal::Traces, Bytes::copy_from_slice(&case.input[1..])).unwrap();
    let records = jaeger::encode_spans(&body, true, usize::MAX).0.records;
    let answers = split_frames(&case.answer);
    let expected: Vec<(&[u8], &[u8])> = answers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(records.len(), expected.len());
    for (record, (key, value)) in records.iter().zip(&expected) {
        assert_eq!(record.key.as_deref(), Some(*key));
        let [got, expected] = [&record.value[..], value].map(without_differences);
        assert_eq!(got, expected);
    }
    records.len()
}

#[test]
fn recorded_spans_are_written_as_by_the_go_exporter() {
    let count: usize = read_corpus(Path::new(CORPUS)).iter().map(compare).sum();
    assert!(count > 500, "{count} spans");
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn spans_of_fixed_and_fresh_seeds_are_written_as_by_the_go_exporter() {
    let Some(cases) = ask_about_seeds("kafka-oracle", Path::new(CORPUS), CASES, input) else { return };
    let count: usize = cases.iter().map(compare).sum();
    assert!(count > 1000, "{count} spans");
}
