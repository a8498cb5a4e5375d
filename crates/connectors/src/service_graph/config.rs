//! The configuration of `service_graph`.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};

config_struct! {
    /// Pairs the spans of requests between services, and makes metrics of each pair of services.
    #[config(check = Self::check)]
    pub struct ServiceGraphConfig {
        /// Upper bounds of the buckets of the latency histograms. An empty list is the default.
        pub latency_histogram_buckets: Vec<GoDuration> = default_buckets(),
        /// The largest number of buckets of exponential histograms, which are made instead if it is not zero.
        pub exponential_histogram_max_size: i32 = 0,
        /// Attributes that become attributes of the metrics, with `client_` and `server_` in front.
        pub dimensions: Vec<String>,
        /// Spans that wait for the other span of their request.
        pub store: StoreConfig,
        /// How often series without requests for 15 minutes are removed.
        pub cache_loop: GoDuration = GoDuration::from_secs(60),
        /// How often spans that have waited too long are removed.
        pub store_expiration_loop: GoDuration = GoDuration::from_secs(2),
        /// Attributes of a span that name the other service where its span does not come, the first that is there. An empty
        /// list turns off services without spans of their own.
        pub virtual_node_peer_attributes: Vec<String> = names(&["peer.service", "db.name", "db.system"]),
        /// Adds `virtual_node`, which says which of the services has no span: `client`, `server`, or nothing.
        pub virtual_node_extra_label: bool,
        /// How often metrics are passed on; zero: with each payload.
        pub metrics_flush_interval: GoDuration = GoDuration::from_secs(60),
        /// Attributes that name the database of a request, the first that is there.
        pub database_name_attributes: Vec<String> = names(&["db.name"]),
        /// Is subtracted from the times of metrics.
        pub metrics_timestamp_offset: GoDuration = GoDuration::ZERO,
    }
}

config_struct! {
    /// `store`.
    pub struct StoreConfig {
        /// How many spans wait at most. Spans above it are not used.
        pub max_items: i64 = 1000,
        /// How long a span waits.
        pub ttl: GoDuration = GoDuration::from_secs(2),
    }
}

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn default_buckets() -> Vec<GoDuration> {
    [2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10_000, 15_000]
        .map(GoDuration::from_millis)
        .to_vec()
}

impl ServiceGraphConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let has_buckets = s.contains_key("latency_histogram_buckets");
        if !has_buckets && self.exponential_histogram_max_size < 0 {
            s.error("exponential_histogram_max_size", "`exponential_histogram_max_size` can not be negative");
        } else if has_buckets && self.exponential_histogram_max_size > 0 {
            let message = "use either `latency_histogram_buckets` or `exponential_histogram_max_size`";
            s.error("exponential_histogram_max_size", message);
        }
        if self.latency_histogram_buckets.is_empty() {
            self.latency_histogram_buckets = default_buckets();
        }
        if self.database_name_attributes.is_empty() {
            self.database_name_attributes = names(&["db.name"]);
        }
    }

    /// The bounds of explicit histograms in seconds; `None` for exponential ones.
    pub(super) fn bounds(&self) -> Option<Vec<f64>> {
        // The quotient of the integer is the double that is nearest to the decimal.
        let seconds = |duration: &GoDuration| duration.0 as f64 / 1e9;
        (self.exponential_histogram_max_size <= 0).then(|| self.latency_histogram_buckets.iter().map(seconds).collect())
    }
}

/// An interval of the configuration; `default` for zero and less, as in the Go collector.
pub(super) fn interval(configured: GoDuration, default: Duration) -> Duration {
    match configured.nanos_or_zero() {
        0 => default,
        nanos => Duration::from_nanos(nanos),
    }
}
