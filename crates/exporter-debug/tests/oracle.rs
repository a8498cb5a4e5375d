//! Compares dumps with those of the Go collector's exporter, line for line.
//!
//! An input has a byte for the signal, one for the verbosity, and a body. The corpus has the answers of Go to the inputs of
//! the first seeds; `scripts/differential` records it, and compares fresh seeds.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use generate::Choices;
use otelcore_exporter_debug::dumps::{detailed_dump, normal_dump};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_test_support::{CorpusCase, ask_about_seeds, random_bytes, read_corpus};
use prost::Message;

/// Inputs in the corpus.
const CASES: u64 = 900;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

fn input(seed: u64) -> Vec<u8> {
    let (signal, verbosity) = ((seed % 3) as u8, (seed / 3 % 2) as u8);
    let content = random_bytes(seed, 40 + (seed % 300) as usize * 4);
    let c = &mut Choices(&content);
    let body = match signal {
        0 => generate::traces(c).encode_to_vec(),
        1 => generate::metrics(c).encode_to_vec(),
        _ => generate::logs(c).encode_to_vec(),
    };
    [&[signal, verbosity][..], &body].concat()
}

fn own_dump(input: &[u8]) -> String {
    let (signal, body) = (SIGNALS[usize::from(input[0])], &input[2..]);
    let summary = check(signal, body).unwrap();
    let rope = Rope::new(Bytes::copy_from_slice(body), summary.items);
    let dump = if input[1] == 0 { normal_dump(signal, &rope) } else { detailed_dump(signal, &rope) };
    String::from_utf8_lossy(&dump).into_owned()
}

fn compare(cases: &[CorpusCase]) {
    let mut different = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let (ours, theirs) = (own_dump(&case.input), String::from_utf8_lossy(&case.answer).into_owned());
        if ours != theirs {
            let line = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
            different.push(format!(
                "{i} ({:?}): {line:?}, {} and {} bytes",
                &case.input[..2],
                ours.len(),
                theirs.len()
            ));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {}:\n{}",
        different.len(),
        cases.len(),
        different[..different.len().min(12)].join("\n")
    );
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/debug.corpus.zst")
}

#[test]
fn dumps_are_those_that_the_go_exporter_recorded() {
    let cases = read_corpus(&corpus());
    assert_eq!(cases.len() as u64, CASES);
    compare(&cases);
}

/// Run by `scripts/differential`.
#[test]
#[ignore = "needs the Go program"]
fn dumps_are_those_of_the_running_go_exporter() {
    compare(&ask_about_seeds("debug-oracle", &corpus(), CASES, input).expect("the Go program is built"));
}
