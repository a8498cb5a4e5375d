//! Mistakes of configurations, apart from those that the comparison with Go has.

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};

use super::PrometheusReceiverConfig;

/// The messages with the paths of their keys.
fn read(yaml: &str) -> Vec<(String, String)> {
    let diagnostics = Diagnostics::new();
    let node = from_yaml(yaml, &diagnostics).unwrap();
    let section = Section::new(Some(&node), "receivers::prometheus", &diagnostics);
    PrometheusReceiverConfig::read_section(section, &PrometheusReceiverConfig::default());
    diagnostics.items().into_iter().map(|item| (item.path, item.message)).collect()
}

#[test]
fn mistake_has_the_path_of_its_key() {
    let job = |keys: &str| format!("config: {{scrape_configs: [{{job_name: a, {keys}}}]}}");
    let table = [
        (
            job("scrape_interval: 5s, scrape_timeout: 6s"),
            "config::scrape_configs[0]::scrape_timeout",
            "scrape timeout greater than scrape interval for scrape config with job name \"a\"",
        ),
        (
            job("convert_classic_histograms_to_nhcb: true"),
            "config::scrape_configs[0]::convert_classic_histograms_to_nhcb",
            "'convert_classic_histograms_to_nhcb' is not supported: classic histograms become histograms of OTLP as they are",
        ),
        (
            "config: {global: {scrape_timeout: 2m}, scrape_configs: [{job_name: a}]}".to_owned(),
            "config::global::scrape_timeout",
            "global scrape timeout greater than scrape interval",
        ),
        (
            "config: {remote_write: [{url: x}], scrape_configs: [{job_name: a}]}".to_owned(),
            "config::remote_write",
            "unsupported features:\n\tremote_write",
        ),
        ("{}".to_owned(), "config", "no Prometheus scrape_configs or target_allocator set"),
    ];
    for (yaml, path, message) in table {
        let found = read(&yaml);
        assert_eq!(found, [(format!("receivers::prometheus::{path}"), message.to_owned())], "{yaml}");
    }
}

#[test]
fn keys_that_are_not_supported_say_what_to_write() {
    let found = read("{api_server: {enabled: true}, config: {scrape_configs: [{job_name: a}]}}");
    assert!(found.len() == 1 && found[0].1.starts_with("'api_server' is not supported: "), "{found:?}");
    assert!(read("{api_server: {enabled: false}, config: {scrape_configs: [{job_name: a}]}}").is_empty());
    let found = read("config: {scrape_config_files: [a.yml], scrape_configs: [{job_name: a}]}");
    assert!(found.len() == 1 && found[0].1.contains("write the jobs in `scrape_configs`"), "{found:?}");
}

#[test]
fn target_allocator_needs_an_endpoint_an_interval_and_a_name() {
    let found = read("{target_allocator: {endpoint: 'a b', collector_id: '$${POD_NAME}'}}");
    let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "interval must be a positive duration, got 0s",
            "TargetAllocator endpoint is not valid: a b",
            "CollectorID is not a valid ID"
        ]
    );
    let valid = "{target_allocator: {endpoint: 'http://a:80', interval: 30s, collector_id: c, timeout: 5s, \
        http_sd_config: {refresh_interval: 60s}, http_scrape_config: {basic_auth: {username: a, password: b}}}}";
    assert_eq!(read(valid), []);
}

#[test]
fn keys_of_old_versions_are_read_with_a_warning() {
    let found = read(
        "{report_extra_scrape_metrics: true, use_start_time_metric: true, config: {scrape_configs: [{job_name: a}]}}",
    );
    let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
    assert_eq!(messages, ["'report_extra_scrape_metrics' is deprecated", "'use_start_time_metric' is deprecated"]);
}
