//! Relabelling a series costs no allocation once the memory of the builder has grown.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use otelcore_prometheus_discovery::{
    LabelBuilder, NameValidation, RelabelAction, RelabelConfig, RelabelRules, SourceLabels,
};
use otelcore_test_support::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn rule(
    action: RelabelAction,
    sources: &[&str],
    regex: Option<&str>,
    target: &str,
    replacement: &str,
) -> RelabelConfig {
    let sources: Vec<String> = sources.iter().map(|name| (*name).to_owned()).collect();
    RelabelConfig {
        action,
        source_labels: SourceLabels(Some(sources).filter(|sources| !sources.is_empty())),
        regex: regex.map(Into::into).unwrap_or_default(),
        target_label: target.into(),
        replacement: replacement.into(),
        ..RelabelConfig::default()
    }
}

fn relabelled(rules: &RelabelRules, builder: &mut LabelBuilder) -> (bool, usize) {
    builder.clear();
    for (name, value) in [
        ("__name__", "http_requests_total"),
        ("code", "200"),
        ("handler", "/api/v1/query"),
        ("instance", "10.0.0.1:9090"),
    ] {
        builder.add_base(name, value);
    }
    let is_kept = rules.apply(builder);
    (is_kept, builder.sorted().map(|(name, value)| name.len() + value.len()).sum())
}

#[test]
fn rules_without_groups_allocate_nothing() {
    let configs = [
        rule(RelabelAction::Drop, &["__name__", "code"], Some("go_.*;.*|.*_total;5.."), "", "$1"),
        rule(RelabelAction::Keep, &["__name__"], Some("http_.*"), "", "$1"),
        rule(RelabelAction::Replace, &["instance"], None, "node", "$1"),
        rule(RelabelAction::Replace, &["handler"], Some("/api/.*"), "kind", "api"),
        rule(RelabelAction::LabelDrop, &[], Some("hand.*"), "", "$1"),
        rule(RelabelAction::DropEqual, &["code"], None, "kind", "$1"),
    ];
    let rules = RelabelRules::compile(&configs, NameValidation::Utf8).unwrap();
    let mut builder = LabelBuilder::new();
    let expected = relabelled(&rules, &mut builder);
    assert!(expected.0 && builder.get("node") == "10.0.0.1:9090" && builder.get("kind") == "api");
    // Other threads of the test allocate as well, at times.
    let counts = (0..100).map(|_| {
        let before = ALLOCATOR.count();
        assert_eq!(relabelled(&rules, &mut builder), expected);
        ALLOCATOR.count() - before
    });
    assert_eq!(counts.min(), Some(0));
}
