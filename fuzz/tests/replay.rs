//! The committed corpus, and what was found before, once through every target, on a stable compiler and without libFuzzer.

use std::path::{Path, PathBuf};

#[test]
fn what_held_of_the_corpus_holds_still() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for (name, target) in otelcore_fuzz::TARGETS {
        let corpus = files(&root.join("corpus").join(name));
        assert!(!corpus.is_empty(), "corpus/{name} is empty");
        for file in corpus.iter().chain(&files(&root.join("found").join(name))) {
            let data = std::fs::read(file).unwrap();
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                faults.push(format!("{name} {}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "these do not hold:\n{}", faults.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_one_byte_and_none_holds() {
    for (_, target) in otelcore_fuzz::TARGETS {
        target(&[]);
        for byte in 0..=255 {
            target(&[byte]);
        }
    }
}
