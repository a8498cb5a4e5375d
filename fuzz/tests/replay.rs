//! The committed corpus, once through every target, on a stable compiler and without libFuzzer.

use std::path::Path;

#[test]
fn what_held_of_the_corpus_holds_still() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut faults = Vec::new();
    for (name, target) in otelcore_fuzz::TARGETS {
        let mut files: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|e| panic!("corpus/{name}: {e}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "corpus/{name} is empty");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                faults.push(format!("{name} {}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "these do not hold:\n{}", faults.join("\n"));
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
