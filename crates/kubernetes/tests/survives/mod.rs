//! Every operation on manifests, for tests with any input. The fuzz target `manifests` uses it too.
#![allow(unreachable_pub, reason = "two crates include this file")]

use otelcore_config::{Diagnostics, Gates, Origin, SourceText, load};
use otelcore_kubernetes::{Cluster, Facts, Inside, Limiter, Listen, NamedFile, Serves};

/// The facts of a configuration in these manifests.
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

/// Runs every operation on manifests; returns the number of collectors in them.
pub fn survives(text: &str) -> usize {
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
