//! The pages of `tests/pages`, beside what Prometheus's parser says: `go run . ../../../crates/exposition/tests/pages` in
//! `tests/tools/page-oracle` writes the files `*.expected`.

use std::path::{Path, PathBuf};

use otelcore_exposition::PageFormat;

use crate::dump::dump;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages")
}

#[test]
fn page_is_read_as_prometheus_reads_it() {
    let mut pages = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let format = match path.extension().and_then(|e| e.to_str()) {
            Some("txt") => PageFormat::Text,
            Some("om") => PageFormat::OpenMetrics1,
            Some("pb") => PageFormat::Protobuf,
            _ => continue,
        };
        pages += 1;
        let mut expected = path.clone().into_os_string();
        expected.push(".expected");
        let expected = std::fs::read_to_string(&expected).unwrap();
        let mut expected: Vec<_> = expected.lines().map(str::to_owned).collect();
        let page = std::fs::read(&path).unwrap();
        let mut lines = dump(format, &page);
        for line in &mut lines {
            // The texts of errors are ours.
            if line.starts_with("error") {
                *line = "error".to_owned();
            }
        }
        // Prometheus returns count and sum before buckets.
        if format == PageFormat::Protobuf {
            expected.sort();
            lines.sort();
        }
        assert_eq!(lines, expected, "{}", path.display());
    }
    assert!(pages >= 10, "{pages} pages");
}
