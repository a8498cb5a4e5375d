//! Any manifests are read and checked, or refused: no panic, no endless loop.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]

mod all_operations;

use all_operations::run_all_operations;
use proptest::prelude::*;

const VECTORS: [&str; 6] = [
    include_str!("vectors/good.yaml"),
    include_str!("vectors/tutorial.yaml"),
    include_str!("vectors/resource.yaml"),
    include_str!("vectors/sidecar.yaml"),
    include_str!("vectors/chart.yaml"),
    include_str!("vectors/kafka.yaml"),
];

#[test]
fn truncated_manifest_does_not_panic() {
    for text in VECTORS {
        assert!(run_all_operations(text) > 0);
        for (end, _) in text.char_indices().filter(|(at, _)| at % 7 == 0) {
            run_all_operations(&text[..end]);
        }
    }
}

fn yaml_fragment() -> impl Strategy<Value = String> {
    let pieces = [
        "a: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "|\n",
        ">\n",
        "\"",
        "'",
        "~",
        "null",
        "0",
        "-1",
        "99999999999999999999",
        "1e400",
        "${env:MY_POD_IP}",
        "$(TOKEN)",
        "$$",
        "$(",
        "kind: ",
        "List",
        "items: ",
        "ports: ",
        "name: ",
        "\t",
        "é",
        "\u{feff}",
        "\0",
        "&x ",
        "*x",
        "<<: *x",
        "---\n",
        "::",
        "/",
        "true",
        "NaN",
        ".nan",
        ":",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..6).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_manifest_does_not_panic(which in 0usize..5, at in 0usize..3000, cut in 0usize..30, piece in yaml_fragment()) {
        let mut chars: Vec<char> = VECTORS[which].chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        run_all_operations(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn manifest_with_a_changed_line_does_not_panic(which in 0usize..5, line in 0usize..120, piece in yaml_fragment()) {
        let mut lines: Vec<&str> = VECTORS[which].lines().collect();
        let at = line.min(lines.len() - 1);
        let key = lines[at].split(": ").next().unwrap().to_owned();
        let line = format!("{key}: {piece}");
        lines[at] = &line;
        run_all_operations(&lines.join("\n"));
    }
}
