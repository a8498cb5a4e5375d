//! Compares what the receiver sends and logs of generated machines with the Go receiver.
//!
//! The machines and Go's answers are recorded in `tests/data/host_metrics.corpus.zst`, and replayed here. The test that is
//! ignored asks the Go receiver (`tests/tools/host-metrics-oracle`) and compares fresh machines too; see
//! `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a test")]

mod answers;
mod machines;

use std::path::{Path, PathBuf};

use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};

use answers::{compared, ours};
use machines::machine;

const SEEDS: u64 = 200;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/host_metrics.corpus.zst")
}

fn check(cases: &[CorpusCase]) {
    let (mut compared_machines, mut differences) = (0, Vec::new());
    for case in cases {
        let input = std::str::from_utf8(&case.input).expect("JSON");
        let answer: serde_json::Value = serde_json::from_slice(&case.answer).expect("JSON");
        let cpus = answer["cpus"].as_u64().unwrap_or(1);
        let ours = ours(input, cpus);
        // The Go receiver crashes on some files.
        if answer["error"].as_str().is_some_and(|error| error.starts_with("crash")) {
            continue;
        }
        let theirs = compared(&answer);
        compared_machines += 1;
        if ours != theirs {
            let only = |lines: &[String], others: &[String]| {
                lines.iter().filter(|line| !others.contains(line)).take(3).cloned().collect::<Vec<_>>()
            };
            let (ours, theirs) = (only(&ours, &theirs), only(&theirs, &ours));
            differences.push(format!("only ours: {ours:#?}\nonly Go's: {theirs:#?}\nof the machine {input}"));
        }
    }
    let count = differences.len();
    differences.truncate(12);
    assert_eq!(count, 0, "{}", differences.join("\n\n"));
    assert!(compared_machines * 10 >= cases.len() * 9, "Go has answered {compared_machines} of {}", cases.len());
}

#[test]
fn metrics_of_recorded_machines_are_those_of_the_go_receiver() {
    check(&read_corpus(&corpus()));
}

#[test]
#[ignore = "asks the Go receiver: run by scripts/differential"]
fn metrics_of_generated_machines_are_those_of_the_go_receiver() {
    let Some(cases) = ask_about_seeds("host-metrics-oracle", &corpus(), SEEDS, |seed| machine(seed).into_bytes())
    else {
        return;
    };
    check(&cases);
}
