//! The `prometheus` section of receivers: the configuration of Prometheus, as far as it scrapes.
//!
//! Reads no file and opens nothing.

mod allocator;
mod resolve;
mod values;

use std::time::Duration;

use otelcore_config::{ConfigNode, NodeValue, Section, config_struct};
use otelcore_prometheus_discovery::{
    DiscoveryConfigs, PrometheusDuration, PrometheusHttpConfig, RelabelConfig, RelabelRules, YamlLabels, YamlString,
};

pub use allocator::{AllocatorHttpSdConfig, TargetAllocatorConfig};
pub(crate) use resolve::{Mistake, resolve, resolve_global};
pub use values::{ByteSize, QueryParameters};

config_struct! {
    /// Scrapes targets as Prometheus does, and receives their metrics.
    #[config(check = Self::check)]
    #[config(unsupported("api_server", "the extension `zpages` and the log show targets"))]
    pub struct PrometheusReceiverConfig {
        /// The configuration of Prometheus.
        pub config: PromConfig,
        /// A server that gives further jobs, and their targets, to the collectors of a set.
        pub target_allocator: Option<TargetAllocatorConfig>,
        /// Removes the suffixes of type and unit from names of metrics.
        pub trim_metric_suffixes: bool,
        /// Scrapes all targets once more before a shutdown.
        pub scrape_on_shutdown: bool,
        /// Discovers targets at the start, and not only after the first interval.
        #[config(ignored = "targets are always discovered at the start")]
        pub discovery_reload_on_startup: bool,
        /// The first scrape of each target is later by this time.
        pub initial_scrape_offset: Duration,
        /// Before collector 0.150: the series of `extra_scrape_metrics`.
        #[config(deprecated = "`extra_scrape_metrics: true` in `config::global`")]
        pub report_extra_scrape_metrics: Option<bool>,
        /// Before collector 0.150: start times from a metric of the target.
        #[config(deprecated = "nothing: start times are those that the target gives with its series")]
        pub use_start_time_metric: Option<bool>,
        /// Before collector 0.150: which metric that is.
        #[config(deprecated = "nothing: start times are those that the target gives with its series")]
        pub start_time_metric_regex: Option<String>,
    }
}

const NOT_SCRAPING: &str = "it is of a Prometheus server, and has no effect on scrapes";

config_struct! {
    /// `config`: the configuration of Prometheus.
    #[config(check = Self::check)]
    #[config(unsupported("scrape_config_files", "write the jobs in `scrape_configs`"))]
    pub struct PromConfig {
        /// What applies to all jobs.
        pub global: GlobalConfig,
        /// The jobs.
        pub scrape_configs: Vec<ScrapeConfig>,
        /// Runtime of the server.
        #[config(no_effect = NOT_SCRAPING)]
        pub runtime: Option<ConfigNode>,
        /// Storage of the server.
        #[config(no_effect = NOT_SCRAPING)]
        pub storage: Option<ConfigNode>,
        /// Traces of the server.
        #[config(no_effect = NOT_SCRAPING)]
        pub tracing: Option<ConfigNode>,
        /// What the server does with OTLP.
        #[config(no_effect = NOT_SCRAPING)]
        pub otlp: Option<ConfigNode>,
        /// Alerts: refused, as in the Go collector.
        pub alerting: Option<ConfigNode>,
        /// Rules: refused, as in the Go collector.
        pub rule_files: Option<ConfigNode>,
        /// Remote write: refused, as in the Go collector.
        pub remote_write: Option<ConfigNode>,
        /// Remote read: refused, as in the Go collector.
        pub remote_read: Option<ConfigNode>,
        /// Series for `extra_scrape_metrics` where neither a job nor `global` says it.
        #[config(skip)]
        pub reports_extra: bool,
    }
}

config_struct! {
    /// `config::global`.
    pub struct GlobalConfig {
        /// The time between two scrapes of a target; zero for the default.
        pub scrape_interval: PrometheusDuration = PrometheusDuration(Duration::from_mins(1)),
        /// The longest time of a scrape; zero for the default: 10s, or the interval if that is shorter.
        pub scrape_timeout: PrometheusDuration,
        /// Formats of pages, most wanted first.
        pub scrape_protocols: Option<Vec<String>>,
        /// How often rules are evaluated.
        #[config(ignored = "there are no rules")]
        pub evaluation_interval: PrometheusDuration = PrometheusDuration(Duration::from_mins(1)),
        /// The offset of rules.
        #[config(ignored = "there are no rules")]
        pub rule_query_offset: PrometheusDuration,
        /// Where queries are logged.
        #[config(no_effect = "there are no queries")]
        pub query_log_file: String,
        /// Where failed scrapes are logged.
        #[config(no_effect = "failed scrapes are in the log of the collector")]
        pub scrape_failure_log_file: String,
        /// Labels of every series.
        pub external_labels: YamlLabels,
        /// A page of this many bytes, decompressed, or more is refused; zero disables the limit.
        pub body_size_limit: ByteSize,
        /// The most samples of a page after relabelling; zero disables the limit.
        pub sample_limit: u64,
        /// The most targets of a job; zero disables the limit.
        pub target_limit: u64,
        /// The most labels of a series; zero disables the limit.
        pub label_limit: u64,
        /// The longest name of a label, in bytes; zero disables the limit.
        pub label_name_length_limit: u64,
        /// The longest value of a label, in bytes; zero disables the limit.
        pub label_value_length_limit: u64,
        /// How many targets that relabelling drops are shown.
        #[config(ignored = "dropped targets are not shown")]
        pub keep_dropped_targets: u64,
        /// Which names are valid: `utf8` or `legacy`.
        pub metric_name_validation_scheme: String,
        /// How names that are not legacy ones are asked for: `allow-utf-8`, `underscores`, `dots` or `values`.
        pub metric_name_escaping_scheme: String,
        /// Reads native histograms.
        pub scrape_native_histograms: Option<bool>,
        /// Makes native histograms of classic ones: not supported.
        pub convert_classic_histograms_to_nhcb: bool,
        /// Reads classic histograms also where there is a native one.
        pub always_scrape_classic_histograms: bool,
        /// Adds `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes`.
        pub extra_scrape_metrics: Option<bool>,
    }
}

config_struct! {
    /// A job: targets that are scraped in the same way.
    #[config(check = Self::check)]
    pub struct ScrapeConfig {
        /// The label `job` of its series.
        pub job_name: YamlString,
        /// Labels of the page stay as they are where they are those of the target too.
        pub honor_labels: bool,
        /// Uses the times of the page.
        pub honor_timestamps: bool = true,
        /// Marks the end of series whose samples have times on the page.
        pub track_timestamps_staleness: bool,
        /// Parameters of the query.
        pub params: QueryParameters,
        /// The time between two scrapes of a target; zero for that of `global`.
        pub scrape_interval: PrometheusDuration,
        /// The longest time of a scrape; zero for that of `global`.
        pub scrape_timeout: PrometheusDuration,
        /// Formats of pages, most wanted first.
        pub scrape_protocols: Option<Vec<String>>,
        /// The format of a page whose `Content-Type` is missing or unknown; text if it is empty.
        pub fallback_scrape_protocol: String,
        /// Reads native histograms.
        pub scrape_native_histograms: Option<bool>,
        /// Reads classic histograms also where there is a native one.
        pub always_scrape_classic_histograms: Option<bool>,
        /// Makes native histograms of classic ones: not supported.
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        /// Where failed scrapes are logged.
        #[config(no_effect = "failed scrapes are in the log of the collector")]
        pub scrape_failure_log_file: String,
        /// The path of the page.
        pub metrics_path: YamlString = "/metrics".into(),
        /// `http` or `https`.
        pub scheme: YamlString = "http".into(),
        /// Asks for compressed pages.
        pub enable_compression: bool = true,
        /// A page of this many bytes, decompressed, or more is refused; zero for the limit of `global`.
        pub body_size_limit: ByteSize,
        /// The most samples of a page after relabelling; zero for the limit of `global`.
        pub sample_limit: u64,
        /// The most targets; zero for the limit of `global`.
        pub target_limit: u64,
        /// The most labels of a series; zero for the limit of `global`.
        pub label_limit: u64,
        /// The longest name of a label, in bytes; zero for the limit of `global`.
        pub label_name_length_limit: u64,
        /// The longest value of a label, in bytes; zero for the limit of `global`.
        pub label_value_length_limit: u64,
        /// The most buckets of a native histogram; zero disables the limit.
        pub native_histogram_bucket_limit: u64,
        /// The smallest factor between the bounds of two buckets of a native histogram; zero disables the limit.
        pub native_histogram_min_bucket_factor: f64 = 0.0,
        /// How many targets that relabelling drops are shown.
        #[config(ignored = "dropped targets are not shown")]
        pub keep_dropped_targets: u64,
        /// Which names are valid: `utf8` or `legacy`; if it is empty, as in `global`.
        pub metric_name_validation_scheme: String,
        /// How names that are not legacy ones are asked for; if it is empty, as in `global`.
        pub metric_name_escaping_scheme: String,
        /// Adds `scrape_timeout_seconds`, `scrape_sample_limit` and `scrape_body_size_bytes`.
        pub extra_scrape_metrics: Option<bool>,
        /// The HTTP client.
        #[config(flatten)]
        pub http: PrometheusHttpConfig,
        /// Where the targets come from.
        #[config(flatten)]
        pub discovery: DiscoveryConfigs,
        /// Changes labels of targets, and drops targets.
        pub relabel_configs: Vec<RelabelConfig>,
        /// Changes labels of series, and drops series.
        pub metric_relabel_configs: Vec<RelabelConfig>,
    }
}

impl PrometheusReceiverConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        self.config.reports_extra = self.report_extra_scrape_metrics.unwrap_or(false);
        if self.config.scrape_configs.is_empty() && self.target_allocator.is_none() {
            s.error("config", "no Prometheus scrape_configs or target_allocator set").help(
                "write `config: {scrape_configs: [{job_name: .., static_configs: [{targets: [\"host:port\"]}]}]}`",
            );
        }
    }
}

/// Whether a value says something.
fn is_written(node: Option<&ConfigNode>) -> bool {
    node.is_some_and(|node| match &node.value {
        NodeValue::Null => false,
        NodeValue::List(items) => !items.is_empty(),
        NodeValue::Map(map) => !map.is_empty(),
        _ => true,
    })
}

impl PromConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let refused = [
            ("alerting", &self.alerting, "alert_config.alertmanagers"),
            ("remote_read", &self.remote_read, "remote_read"),
            ("remote_write", &self.remote_write, "remote_write"),
            ("rule_files", &self.rule_files, "rule_files"),
        ];
        for (key, node, name) in refused {
            if is_written(node.as_ref()) {
                s.error(key, format!("unsupported features:\n\t{name}"))
                    .help("this is of a Prometheus server: a collector has exporters instead");
            }
        }
        if let Err(Mistake { key, message }) = resolve_global(&self.global) {
            s.error(&format!("global::{key}"), message);
            return;
        }
        let mut names: Vec<&str> = Vec::new();
        for (index, job) in self.scrape_configs.iter().enumerate() {
            let path = format!("scrape_configs[{index}]");
            match resolve(job, self) {
                Err(Mistake { key, message }) => {
                    s.error(&format!("{path}::{key}"), message);
                }
                Ok(resolved) => {
                    let scheme = resolved.validation;
                    RelabelRules::check(&job.relabel_configs, scheme, s, &format!("{path}::relabel_configs"));
                    let metric_key = format!("{path}::metric_relabel_configs");
                    RelabelRules::check(&job.metric_relabel_configs, scheme, s, &metric_key);
                }
            }
            if names.contains(&&*job.job_name) && !job.job_name.is_empty() {
                let message = format!("found multiple scrape configs with job name {:?}", &*job.job_name);
                s.error(&format!("{path}::job_name"), message).help("give each job a name of its own");
            }
            names.push(&job.job_name);
        }
    }
}

impl ScrapeConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.job_name.is_empty() {
            s.error("job_name", "job_name is empty").help("write `job_name:` with a name of the targets");
        }
        if self.relabel_configs.is_empty() {
            self.discovery.check_static_targets(s);
        }
        if self.metric_relabel_configs.iter().any(|rule| &*rule.target_label == "__name__") {
            s.warn(
                "metric_relabel_configs",
                "metric renaming using metric_relabel_configs will result in unknown-typed metrics without a unit or description",
            );
        }
    }
}

#[cfg(test)]
mod tests;
