//! Whatever the manifests, they are read and checked or refused: no panic, no endless loop.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]

use otelcore_config::{Diagnostics, Gates, Origin, SourceText, load};
use otelcore_kubernetes::{Cluster, Facts, Inside, Limiter, Listen, NamedFile, Serves};
use proptest::prelude::*;

const VECTORS: [&str; 5] = [
    include_str!("vectors/good.yaml"),
    include_str!("vectors/tutorial.yaml"),
    include_str!("vectors/resource.yaml"),
    include_str!("vectors/sidecar.yaml"),
    include_str!("vectors/chart.yaml"),
];

/// What a configuration of these files does.
fn facts(origin: &Origin) -> Facts {
    let listen = |host: &str, port, serves| Listen {
        what: "it".to_owned(),
        host: host.to_owned(),
        port,
        udp: port == 6831,
        serves,
        path: "/metrics".to_owned(),
        origin: origin.clone(),
        key: "k".to_owned(),
    };
    let file = |path: &str| vec![NamedFile { path: path.to_owned(), origin: origin.clone(), key: "k".to_owned() }];
    Facts {
        listens: vec![
            listen("0.0.0.0", 4317, Serves::Grpc),
            listen("localhost", 4318, Serves::Http),
            listen("127.0.0.1", 8889, Serves::Metrics),
            listen("", 13133, Serves::Health),
            listen("::", 6831, Serves::Other),
        ],
        limiters: vec![Limiter { mib: Some(400), percentage: 0, origin: origin.clone(), key: "k".to_owned() }],
        shutdown: 25_000_000_000,
        attempt: Some((5_000_000_000, "otlp".to_owned())),
        reads: file("/tls/ca.crt"),
        writes: file("/var/log/x"),
    }
}

/// Everything that is ever done with manifests.
fn survives(text: &str) -> usize {
    let source = SourceText::new("m.yaml", text);
    let d = Diagnostics::new();
    let _ = Cluster::recognises(&source);
    let mut cluster = Cluster::default();
    cluster.add(&source, &d);
    let facts = facts(&Origin::new(&source, 1, 1));
    let collectors = cluster.collectors();
    for collector in &collectors {
        collector.check_manifests(&d);
        let _ = collector.check_sources(&d);
        collector.check(&facts, &d);
        let uris: Vec<String> = collector.uris().into_iter().map(|word| word.text).collect();
        let inside = Inside::check(collector);
        let _ = load(&uris, &[], &inside, &Gates::default(), &d);
        for item in d.items() {
            let _ = collector.explain(item, &inside.unknown());
        }
    }
    let _ = d.to_text(true);
    collectors.len()
}

#[test]
fn every_truncation_of_a_manifest_is_survived() {
    for text in VECTORS {
        assert!(survives(text) > 0);
        for (end, _) in text.char_indices().filter(|(at, _)| at % 7 == 0) {
            survives(&text[..end]);
        }
    }
}

fn piece() -> impl Strategy<Value = String> {
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
    fn a_changed_manifest_is_survived(which in 0usize..5, at in 0usize..3000, cut in 0usize..30, piece in piece()) {
        let mut chars: Vec<char> = VECTORS[which].chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        survives(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn a_changed_line_is_survived(which in 0usize..5, line in 0usize..120, piece in piece()) {
        let mut lines: Vec<&str> = VECTORS[which].lines().collect();
        let at = line.min(lines.len() - 1);
        let key = lines[at].split(": ").next().unwrap().to_owned();
        let line = format!("{key}: {piece}");
        lines[at] = &line;
        survives(&lines.join("\n"));
    }
}
