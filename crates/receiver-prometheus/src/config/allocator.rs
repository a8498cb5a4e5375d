//! `target_allocator`: a server that gives jobs and targets to the collectors of a set.
//!
//! Reads no file and opens nothing.

use std::time::Duration;

use otelcore_config::{Section, config_struct};
use otelcore_net::config::HttpClientConfig;
use otelcore_net::{Url, query_escape};
use otelcore_prometheus_discovery::{
    DiscoveryConfigs, HttpSdConfig, PrometheusDuration, PrometheusHttpConfig, PrometheusTlsConfig, PrometheusTlsVersion,
};

config_struct! {
    /// `target_allocator`: where the jobs of this collector, and their targets, are asked for.
    #[config(check = Self::check)]
    pub struct TargetAllocatorConfig {
        /// The URL of the server, before `/scrape_configs` and `/jobs`.
        pub endpoint: String,
        /// How often the jobs are asked for.
        pub interval: Duration,
        /// The name of this collector: the server gives each collector other targets.
        pub collector_id: String,
        /// How the targets of a job are asked for.
        pub http_sd_config: Option<AllocatorHttpSdConfig>,
        /// The client that scrapes, in place of those of the jobs.
        pub http_scrape_config: Option<PrometheusHttpConfig>,
        /// The client that asks for the jobs.
        #[config(flatten)]
        pub client: HttpClientConfig,
    }
}

config_struct! {
    /// `target_allocator::http_sd_config`: how the targets of a job are asked for.
    pub struct AllocatorHttpSdConfig {
        /// How often; also the time limit of a request.
        pub refresh_interval: PrometheusDuration = PrometheusDuration(Duration::from_secs(60)),
        /// The client. TLS and the proxy are those of `target_allocator`.
        #[config(flatten)]
        pub client: PrometheusHttpConfig,
        /// The URL.
        #[config(ignored = "the URL follows from the endpoint of `target_allocator`")]
        pub url: String,
    }
}

/// How often targets are asked for without `http_sd_config`.
const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

impl TargetAllocatorConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if Url::parse(&self.endpoint).is_err() {
            s.error("endpoint", format!("TargetAllocator endpoint is not valid: {}", self.endpoint))
                .help("write the URL of the server, such as `http://collector-targetallocator:80`");
        }
        if self.collector_id.is_empty() || self.collector_id.contains("${") {
            s.error("collector_id", "CollectorID is not a valid ID")
                .help("write the name of this collector, such as `${env:POD_NAME}`");
        }
        if self.interval.is_zero() {
            s.error("interval", "interval must be a positive duration, got 0s").help("write `interval: 30s`");
        }
        if self.http_sd_config.as_ref().is_some_and(|sd| sd.refresh_interval.0.is_zero()) {
            s.error("http_sd_config::refresh_interval", "'refresh_interval' must be positive");
        }
    }

    /// The endpoint without a slash at its end.
    fn base_url(&self) -> &str {
        self.endpoint.trim_end_matches('/')
    }

    /// Where the jobs are.
    pub(crate) fn jobs_url(&self) -> String {
        format!("{}/scrape_configs", self.base_url())
    }

    /// Where the targets of a job are.
    pub(crate) fn discovery(&self, job: &str) -> DiscoveryConfigs {
        let (job, collector) = (query_escape(job), query_escape(&self.collector_id));
        let written = self.http_sd_config.clone();
        let (refresh_interval, mut client) = match written {
            Some(sd) => (sd.refresh_interval, sd.client),
            None => (PrometheusDuration(DEFAULT_REFRESH_INTERVAL), PrometheusHttpConfig::default()),
        };
        client.follow_redirects = false;
        client.tls_config = self.tls();
        if !self.client.proxy_url.is_empty() {
            client.proxy_url.clone_from(&self.client.proxy_url);
            client.proxy_from_environment = false;
        }
        let url = format!("{}/jobs/{job}/targets?collector_id={collector}", self.base_url());
        let sd = HttpSdConfig { url, refresh_interval, client };
        DiscoveryConfigs { http_sd_configs: vec![sd], ..DiscoveryConfigs::default() }
    }

    fn tls(&self) -> PrometheusTlsConfig {
        let (tls, file) = (&self.client.tls, |path: &Option<String>| path.clone().unwrap_or_default());
        PrometheusTlsConfig {
            ca: tls.common.ca_pem.clone(),
            ca_file: file(&tls.common.ca_file),
            cert: tls.common.cert_pem.clone(),
            cert_file: file(&tls.common.cert_file),
            key: tls.common.key_pem.clone(),
            key_file: file(&tls.common.key_file),
            server_name: tls.server_name_override.clone(),
            insecure_skip_verify: tls.insecure_skip_verify,
            min_version: PrometheusTlsVersion(tls.common.min_version),
            max_version: PrometheusTlsVersion(tls.common.max_version),
        }
    }
}
