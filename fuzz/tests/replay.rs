//! The committed corpus and earlier findings, once through every target, on a stable compiler, without libFuzzer.

use std::path::{Path, PathBuf};

#[test]
fn committed_corpus_violates_no_property() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut failures = Vec::new();
    for (name, target) in otelcore_fuzz::TARGETS {
        let corpus = files(&root.join("corpus").join(name));
        assert!(!corpus.is_empty(), "corpus/{name} is empty");
        for file in corpus.iter().chain(&files(&root.join("found").join(name))) {
            let data = std::fs::read(file).unwrap();
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                failures.push(format!("{name} {}", file.display()));
            }
        }
    }
    assert!(failures.is_empty(), "these do not hold:\n{}", failures.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn empty_and_one_byte_inputs_violate_no_property() {
    for (_, target) in otelcore_fuzz::TARGETS {
        target(&[]);
        for byte in 0..=255 {
            target(&[byte]);
        }
    }
}
