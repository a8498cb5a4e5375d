//! Connectors compared with those of the Go collector: recorded answers in the first tier, the running Go code by
//! `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a test")]

mod failover;
mod routing;
mod service_graph;
mod telemetry;

use std::path::{Path, PathBuf};

use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, read_corpus, split_frames};

/// Numbers of a case.
fn choices(seed: u64) -> Choices {
    Choices::new(seed, 4000)
}

/// The cases of one connector.
pub(crate) struct Differential {
    pub(crate) name: &'static str,
    pub(crate) cases: u64,
    pub(crate) input: fn(u64) -> Vec<u8>,
    /// The answer of our connector in the form in which `expected` is given.
    pub(crate) answer: fn(&[u8]) -> Result<Vec<String>, String>,
    /// The answer of the Go connector, as lines.
    pub(crate) expected: fn(&[u8], &[u8]) -> Vec<String>,
}

impl Differential {
    fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{}.corpus.zst", self.name))
    }

    fn compare(&self, case: &CorpusCase) {
        let (status, answer) = case.answer.split_first().unwrap();
        let shown = String::from_utf8_lossy(split_frames(&case.input)[0]).into_owned();
        match (status, (self.answer)(&case.input)) {
            (0, Ok(ours)) => assert_eq!(ours, (self.expected)(&case.input, answer), "{shown}"),
            (0, Err(why)) => panic!("Go takes it: {why}\n{shown}"),
            (_, Ok(_)) => panic!("Go says: {}\n{shown}", String::from_utf8_lossy(answer)),
            (_, Err(_)) => {}
        }
    }

    pub(crate) fn replay(&self) {
        let cases = read_corpus(&self.corpus());
        assert_eq!(cases.len() as u64, self.cases);
        cases.iter().for_each(|case| self.compare(case));
    }

    pub(crate) fn ask(&self) {
        let cases = ask_about_seeds("routing-oracle", &self.corpus(), self.cases, self.input);
        cases.into_iter().flatten().for_each(|case| self.compare(&case));
    }
}
