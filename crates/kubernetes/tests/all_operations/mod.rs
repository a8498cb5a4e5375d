//! Every operation on manifests, for tests with any input. The fuzz target `manifests` uses it too.
#![allow(unreachable_pub, reason = "two crates include this file")]

use otelcore_config::{Diagnostics, FeatureGates, SourceLocation, SourceText, load};
use otelcore_kubernetes::{
    Cluster, ConfigEffects, ConfigFile, ContainerSources, ListenSocket, MemoryLimiterLimit, ReadTopics, ServedProtocol,
    StorageDirectory, WrittenTopic, check_keys_of_topics,
};

/// The facts of a configuration in these manifests.
fn effects(origin: &SourceLocation) -> ConfigEffects {
    let listen = |host: &str, port, protocol| ListenSocket {
        component: "it".to_owned(),
        host: host.to_owned(),
        port,
        udp: port == 6831,
        protocol,
        path: "/metrics".to_owned(),
        origin: origin.clone(),
        config_path: "k".to_owned(),
    };
    let file =
        |path: &str| vec![ConfigFile { path: path.to_owned(), origin: origin.clone(), config_path: "k".to_owned() }];
    ConfigEffects {
        listens: vec![
            listen("0.0.0.0", 4317, ServedProtocol::Grpc),
            listen("localhost", 4318, ServedProtocol::Http),
            listen("127.0.0.1", 8889, ServedProtocol::Metrics),
            listen("", 13133, ServedProtocol::Health),
            listen("::", 6831, ServedProtocol::Other),
        ],
        memory_limiters: vec![MemoryLimiterLimit {
            mib: Some(400),
            percentage: 0,
            origin: origin.clone(),
            config_path: "k".to_owned(),
        }],
        shutdown_nanos: 25_000_000_000,
        longest_attempt: Some((5_000_000_000, "otlp".to_owned())),
        files_read: file("/tls/ca.crt"),
        files_written: file("/var/log/x"),
        storage: file("/var/lib/otelcol/x")
            .into_iter()
            .map(|file| StorageDirectory { file, queues: vec![1 << 30, u64::MAX] })
            .collect(),
        topics_written: vec![WrittenTopic {
            topic: "spans".to_owned(),
            max_message_bytes: 1_000_000,
            max_message_origin: (origin.clone(), "k".to_owned()),
            not_by_trace: Some((origin.clone(), "k".to_owned())),
        }],
        topics_read: vec![ReadTopics {
            topics: vec!["spans".to_owned(), "logs".to_owned()],
            origin: origin.clone(),
            whole_traces_for: Some("tail_sampling".to_owned()),
        }],
    }
}

/// Runs every operation on manifests; returns the number of collectors in them.
pub fn run_all_operations(text: &str) -> usize {
    let source = SourceText::new("m.yaml", text);
    let d = Diagnostics::new();
    let _ = Cluster::is_manifests(&source);
    let mut cluster = Cluster::default();
    cluster.add(&source, &d);
    let facts = effects(&SourceLocation::new(&source, 1, 1));
    let collectors = cluster.collectors();
    for collector in &collectors {
        collector.check_manifests(&d);
        let _ = collector.check_sources(&d);
        collector.check(&facts, &d);
        let uris: Vec<String> = collector.uris().into_iter().map(|word| word.text).collect();
        let inside = ContainerSources::for_check(collector);
        let _ = load(&uris, &[], &inside, &FeatureGates::default(), &d);
        for item in d.items() {
            let _ = collector.explain(item, &inside.unknown());
        }
    }
    check_keys_of_topics([&facts, &facts].into_iter(), &d);
    let _ = d.render_to_string(true);
    collectors.len()
}
