//! Features of the crate: each is a part of `all`, and a build has the component types of its features and no others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

use std::collections::BTreeSet;

use otelcore::Registry;
use otelcore::pipeline::ComponentKind;

/// Each feature and what it enables, as Cargo.toml has them.
fn features() -> Vec<(String, Vec<String>)> {
    let manifest = include_str!("../Cargo.toml");
    let section = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let text: String = section.lines().filter(|line| !line.starts_with('#')).collect();
    let mut found = Vec::new();
    for feature in text.split(']').filter(|feature| !feature.trim().is_empty()) {
        let (name, parts) = feature.split_once("= [").unwrap();
        let parts = parts.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        found.push((name.trim().to_owned(), parts));
    }
    found
}

#[test]
fn every_feature_is_in_all_or_minimal() {
    let features = features();
    let parts = |name: &str| features.iter().find(|(n, _)| n == name).unwrap().1.clone();
    let listed: BTreeSet<String> = [parts("all"), parts("minimal")].concat().into_iter().collect();
    let mut defined: BTreeSet<String> = features.iter().map(|(name, _)| name.clone()).collect();
    for name in ["default", "all"] {
        assert!(defined.remove(name));
    }
    assert_eq!(listed, defined);
}

fn types(kind: ComponentKind) -> Vec<&'static str> {
    Registry::default().all_of_kind(kind).iter().map(|factory| factory.info().type_name).collect()
}

#[test]
#[cfg(feature = "all")]
fn build_with_every_feature_has_every_type_of_the_reference() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for (kind, section) in [
        (ComponentKind::Receiver, "receivers"),
        (ComponentKind::Processor, "processors"),
        (ComponentKind::Exporter, "exporters"),
        (ComponentKind::Connector, "connectors"),
        (ComponentKind::Extension, "extensions"),
    ] {
        #[allow(clippy::disallowed_methods, reason = "a folder of the repository")]
        let entries = std::fs::read_dir(folder.join(section)).unwrap();
        let pages: BTreeSet<String> =
            entries.map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(types(kind).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), pages);
    }
}

/// `cargo test -p otelcore --no-default-features --features minimal --test features` runs these.
#[cfg(not(feature = "all"))]
mod minimal {
    use otelcore::config::{Diagnostics, FeatureGates, from_yaml};
    use otelcore::{EmbedOptions, EmbeddedCollector, Plan};

    use super::*;

    #[test]
    fn minimal_build_has_otlp_and_what_it_needs_only() {
        assert_eq!(types(ComponentKind::Receiver), ["nop", "otlp"]);
        assert_eq!(types(ComponentKind::Processor), ["batch", "memory_limiter"]);
        assert_eq!(types(ComponentKind::Exporter), ["debug", "logging", "nop", "otlp_grpc", "otlp_http"]);
        assert!(types(ComponentKind::Connector).is_empty() && types(ComponentKind::Extension).is_empty());
    }

    #[test]
    fn type_of_a_disabled_feature_is_an_error_that_names_the_feature() {
        let text = "
receivers: {otlp: {protocols: {grpc: }}}
processors: {resourcedetection: , metricstransform: }
exporters: {prometheus: {endpoint: ':1'}, debug: }
extensions: {health_check: }
service: {extensions: [health_check], pipelines: {metrics: {receivers: [otlp], exporters: [prometheus, debug]}}}
";
        let diagnostics = Diagnostics::new();
        let root = from_yaml(text, &diagnostics).unwrap();
        let (gates, _) = FeatureGates::parse::<&str>(&[]);
        assert!(Plan::parse(&root, &Registry::default(), &gates, &diagnostics).is_none());
        let report = diagnostics.render_to_string(false);
        assert!(report.contains("feature `exporter-prometheus`"), "{report}");
        assert!(report.contains("feature `extension-health-check`"), "{report}");
        // Ids without underscores are the same types.
        assert!(report.contains("feature `processor-resource-detection`"), "{report}");
        assert!(report.contains("feature `processor-metrics-transform`"), "{report}");
    }

    #[test]
    fn minimal_build_runs_a_collector() {
        let text = "
receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}, inproc: }
processors: {memory_limiter: {check_interval: 1s, limit_mib: 100}, batch: }
exporters: {debug: , nop: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp, inproc], processors: [memory_limiter, batch], exporters: [debug, nop]}}
";
        let collector = EmbeddedCollector::new(text, EmbedOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        collector.start().unwrap_or_else(|e| panic!("{e}"));
        collector.shutdown(std::time::Duration::from_secs(30)).unwrap_or_else(|e| panic!("{e}"));
    }
}
