//! `exporter` of `periodic` readers and of `processors`: where own telemetry is pushed.
//!
//! The keys are those of the Go library otelconf at 0.3.0, in which times are whole milliseconds. Opens nothing.

use std::time::Duration;

use otelcore_config::{DiagnosticKind, Section, config_enum, config_struct};
use otelcore_http::{HeaderName, HeaderValue};
use otelcore_net::config::{Headers, RequestHeaders};

use super::duration_or;

config_struct! {
    /// A peer that takes OTLP.
    #[config(check = Self::check)]
    pub(crate) struct OtlpPushConfig {
        /// `grpc` or `http/protobuf`.
        pub(crate) protocol: String,
        /// `http://host:port` or `https://...`. Over HTTP a path replaces `/v1/metrics`, `/v1/logs` and
        /// `/v1/traces`. Without a scheme it is
        /// `https`, with `insecure` it is `http`.
        pub(crate) endpoint: String,
        /// Path of the authorities that sign the peer's certificate, in PEM.
        pub(crate) certificate: Option<String>,
        /// Path of the certificate of the collector, in PEM.
        pub(crate) client_certificate: Option<String>,
        /// Path of the key of that certificate, in PEM.
        pub(crate) client_key: Option<String>,
        /// `gzip` or `none`.
        pub(crate) compression: PushCompression,
        /// Header fields of every request.
        pub(crate) headers: RequestHeaders,
        /// The same as one text: `name=value,name2=value2`, values percent-encoded. `headers` takes precedence.
        pub(crate) headers_list: Option<String>,
        /// An `endpoint` without a scheme is plaintext.
        pub(crate) insecure: bool,
        /// Time limit of one request; 10 seconds if it is not above zero.
        #[config(unit = "ms")]
        pub(crate) timeout: i64 = 10_000,
    }
}

config_enum! {
    /// How requests are compressed.
    #[config(unknown = "unsupported compression \"{word}\"", hint = "write gzip or none")]
    pub(crate) enum PushCompression {
        /// Not at all.
        None = "none" | "",
        /// gzip.
        Gzip = "gzip",
    }
}

/// The protocols of OTLP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PushProtocol {
    Grpc,
    HttpProtobuf,
}

impl OtlpPushConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.push_protocol().is_none() {
            let message = match self.protocol.as_str() {
                "" => "no valid exporter: it has no 'protocol'".to_owned(),
                other => format!("unsupported protocol \"{other}\""),
            };
            s.error_for_keys(&["protocol"], &message)
                .kind(DiagnosticKind::Invalid)
                .help("write `protocol: grpc` or `protocol: http/protobuf`");
        }
        if self.endpoint.is_empty() {
            s.error_for_keys(&["endpoint"], "requires a non-empty \"endpoint\"")
                .kind(DiagnosticKind::Invalid)
                .help("write `endpoint: \"http://host:4317\"`");
        } else if let Err(e) = otelcore_net::Url::parse(&self.url()) {
            s.error("endpoint", format!("endpoint must be a valid URL: {e}"))
                .help("write `http://host:4317` or `https://...`");
        }
        match (&self.client_certificate, &self.client_key) {
            (Some(_), None) => {
                s.error("client_certificate", "client certificate was provided but no client key was provided")
                    .help("write `client_key:` with its path");
            }
            (None, Some(_)) => {
                s.error("client_key", "client key was provided but no client certificate was provided")
                    .help("write `client_certificate:` with its path");
            }
            _ => {}
        }
        if let Some(list) = self.headers_list.take() {
            match parse_headers_list(&list) {
                Ok(listed) => {
                    let written = std::mem::take(&mut self.headers.0);
                    let is_new = |name: &HeaderName| written.iter().all(|(known, _)| known != name);
                    self.headers.0 = listed.into_iter().filter(|(name, _)| is_new(name)).collect();
                    self.headers.0.extend(written);
                }
                Err(e) => {
                    s.error("headers_list", format!("invalid headers list: {e}"))
                        .help("write `name=value,name2=value2`");
                }
            }
        }
    }

    /// The protocol; `None` only where an error was reported.
    pub(crate) fn push_protocol(&self) -> Option<PushProtocol> {
        match self.protocol.as_str() {
            "grpc" => Some(PushProtocol::Grpc),
            "http/protobuf" => Some(PushProtocol::HttpProtobuf),
            _ => None,
        }
    }

    /// The endpoint with its scheme.
    pub(crate) fn url(&self) -> String {
        let endpoint = &self.endpoint;
        if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
            return endpoint.clone();
        }
        let scheme = if self.insecure { "http" } else { "https" };
        format!("{scheme}://{endpoint}")
    }

    /// Time limit of one request.
    pub(crate) fn request_timeout(&self) -> Duration {
        duration_or(self.timeout, 10_000)
    }
}

/// Reads `name=value` pairs. The values are hidden where headers are printed.
fn parse_headers_list(list: &str) -> Result<Headers, String> {
    let pairs = list.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| "an entry has no '='".to_owned())?;
        // What follows a semicolon are properties of the entry, which a header does not have.
        let value = value.split_once(';').map_or(value, |(value, _)| value).trim();
        let name = name.trim();
        let field = HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| format!("invalid key \"{name}\""))?;
        let decoded = otelcore_http::status::percent_decode_bytes(value.as_bytes());
        let mut value =
            HeaderValue::from_bytes(&decoded).map_err(|_| format!("the value of \"{name}\" can't be in a header"))?;
        value.set_sensitive(true);
        Ok((field, value))
    };
    pairs.map(header).collect()
}

config_struct! {
    /// `exporter` of a `periodic` reader.
    #[config(check = Self::check)]
    #[config(unsupported("console", "own metrics are not printed; write `otlp:`, or a `pull` reader"))]
    pub(crate) struct MetricExporterConfig {
        /// OTLP.
        pub(crate) otlp: Option<OtlpMetricPushConfig>,
    }
}

impl MetricExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        check_exporter(s, self.otlp.is_some(), "no valid metric exporter");
    }
}

/// Reports an `exporter` without any. One that is not supported is reported already.
pub(super) fn check_exporter(s: &mut Section<'_>, has_otlp: bool, message: &str) {
    if !has_otlp && !s.contains_key("console") {
        s.error_for_keys(&["otlp"], message)
            .kind(DiagnosticKind::Invalid)
            .help("write `otlp: {protocol: grpc, endpoint: \"http://host:4317\"}`");
    }
}

config_struct! {
    /// A peer that takes OTLP, and what metrics it gets.
    #[config(check = Self::check)]
    pub(crate) struct OtlpMetricPushConfig {
        /// The peer.
        #[config(flatten)]
        pub(crate) peer: OtlpPushConfig,
        /// Whether counters and histograms start at zero with each push.
        pub(crate) temporality_preference: TemporalityPreference,
        /// The form of histograms: `explicit_bucket_histogram`, or, without effect as in the Go collector,
        /// `base2_exponential_bucket_histogram`.
        pub(crate) default_histogram_aggregation: HistogramAggregation,
    }
}

config_enum! {
    /// Whether counters and histograms start at zero with each push.
    #[config(unknown = "unsupported temporality preference \"{word}\"", hint = "write cumulative, delta or lowmemory")]
    pub(crate) enum TemporalityPreference {
        /// They go on.
        Cumulative = "cumulative" | "",
        /// They start at zero; sums that go up and down go on.
        Delta = "delta",
        /// They start at zero; what is read from the system goes on.
        LowMemory = "lowmemory",
    }
}

config_enum! {
    /// The form of histograms.
    #[config(
        unknown = "invalid value (expected explicit_bucket_histogram or base2_exponential_bucket_histogram): \"{word}\"",
        hint = "write explicit_bucket_histogram"
    )]
    pub(crate) enum HistogramAggregation {
        /// Buckets with given bounds.
        Explicit = "explicit_bucket_histogram" | "",
        /// Exponential buckets.
        Exponential = "base2_exponential_bucket_histogram",
    }
}

impl OtlpMetricPushConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.default_histogram_aggregation == HistogramAggregation::Exponential {
            s.warn(
                "default_histogram_aggregation",
                "'default_histogram_aggregation' has no effect, as in the Go collector: histograms have explicit bounds",
            );
        }
    }
}

config_struct! {
    /// `periodic`: pushes metrics at an interval.
    pub(crate) struct PeriodicReaderConfig {
        /// The time between two pushes; a minute if it is not above zero.
        #[config(unit = "ms")]
        pub(crate) interval: i64 = 60_000,
        /// Time limit of one push with its further attempts; 30 seconds if it is not above zero.
        #[config(unit = "ms")]
        pub(crate) timeout: i64 = 30_000,
        /// Where to.
        pub(crate) exporter: MetricExporterConfig,
    }
}

config_struct! {
    /// `exporter` of a processor of own logs.
    #[config(check = Self::check)]
    #[config(unsupported("console", "own logs are written to `output_paths`; write `otlp:`"))]
    pub(crate) struct LogExporterConfig {
        /// OTLP.
        pub(crate) otlp: Option<OtlpPushConfig>,
    }
}

impl LogExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        check_exporter(s, self.otlp.is_some(), "no valid log exporter");
    }
}

config_struct! {
    /// `batch`: pushes records together.
    #[config(check = Self::check)]
    pub(crate) struct BatchLogProcessorConfig {
        /// Where to.
        pub(crate) exporter: LogExporterConfig,
        /// Time limit of one push with its further attempts; 30 seconds for zero.
        #[config(unit = "ms")]
        pub(crate) export_timeout: i64 = 30_000,
        /// The largest number of records in one push; 512 for zero.
        pub(crate) max_export_batch_size: i64 = 512,
        /// The largest number of records that wait; beyond it the oldest is dropped. 2048 for zero.
        pub(crate) max_queue_size: i64 = 2048,
        /// How long records wait for more; a second for zero.
        #[config(unit = "ms")]
        pub(crate) schedule_delay: i64 = 1000,
    }
}

impl BatchLogProcessorConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        check_batch(s, self.export_timeout, self.max_export_batch_size, self.max_queue_size, self.schedule_delay);
    }
}

config_struct! {
    /// `simple`: pushes records at once.
    pub(crate) struct SimpleLogProcessorConfig {
        /// Where to.
        pub(crate) exporter: LogExporterConfig,
    }
}

config_struct! {
    /// One of `processors` of own logs.
    #[config(check = Self::check)]
    pub(crate) struct LogProcessorConfig {
        /// Pushes records together.
        pub(crate) batch: Option<BatchLogProcessorConfig>,
        /// Pushes records at once.
        pub(crate) simple: Option<SimpleLogProcessorConfig>,
    }
}

impl LogProcessorConfig {
    /// The peer, unless there is none, which is an error of the configuration.
    pub(crate) fn otlp(&self) -> Option<&OtlpPushConfig> {
        let exporter = self.batch.as_ref().map(|batch| &batch.exporter);
        exporter.or_else(|| Some(&self.simple.as_ref()?.exporter))?.otlp.as_ref()
    }

    fn check(&mut self, s: &mut Section<'_>) {
        check_processor(s, "log", self.batch.is_some(), self.simple.is_some());
    }
}

/// An error for each value of a `batch` processor that is below zero.
pub(super) fn check_batch(
    s: &mut Section<'_>,
    export_timeout: i64,
    max_export_batch_size: i64,
    max_queue_size: i64,
    schedule_delay: i64,
) {
    for (key, value, what) in [
        ("export_timeout", export_timeout, "export timeout"),
        ("max_export_batch_size", max_export_batch_size, "batch size"),
        ("max_queue_size", max_queue_size, "queue size"),
        ("schedule_delay", schedule_delay, "schedule delay"),
    ] {
        if value < 0 {
            s.error(key, format!("invalid {what} {value}")).help("write a number above zero");
        }
    }
}

/// An error unless a processor of `log` or `span` has one of its two types.
pub(super) fn check_processor(s: &mut Section<'_>, kind: &str, has_batch: bool, has_simple: bool) {
    let message = match (has_batch, has_simple) {
        (true, true) => format!("must not specify multiple {kind} processor type"),
        (false, false) => format!("unsupported {kind} processor type, must be one of simple or batch"),
        _ => return,
    };
    s.error_for_keys(&["batch"], message)
        .kind(DiagnosticKind::Invalid)
        .help("write `batch: {exporter: {otlp: {protocol: grpc, endpoint: \"http://host:4317\"}}}`");
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;
    use otelcore_config::{Diagnostics, from_yaml};

    use super::*;

    fn parse<C: Config + Default>(yaml: &str) -> (C, Vec<String>) {
        let d = Diagnostics::new();
        let node = from_yaml(yaml, &d).unwrap();
        let config = C::read_section(Section::new(Some(&node), "x", &d), &C::default());
        (config, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn endpoint_without_a_scheme_is_https_unless_it_is_insecure() {
        for (yaml, url) in [
            ("{protocol: grpc, endpoint: 'a:4317'}", "https://a:4317"),
            ("{protocol: grpc, endpoint: 'a:4317', insecure: true}", "http://a:4317"),
            ("{protocol: grpc, endpoint: 'https://a:4317', insecure: true}", "https://a:4317"),
            ("{protocol: http/protobuf, endpoint: 'http://a/x'}", "http://a/x"),
        ] {
            let (config, messages) = parse::<OtlpPushConfig>(yaml);
            assert_eq!((config.url().as_str(), messages), (url, vec![]), "{yaml}");
        }
    }

    #[test]
    fn mistakes_have_the_messages_of_the_go_collector() {
        for (yaml, message) in [
            ("{protocol: grpcx, endpoint: 'http://a'}", "unsupported protocol \"grpcx\""),
            ("{endpoint: 'http://a'}", "no valid exporter: it has no 'protocol'"),
            ("{protocol: grpc}", "requires a non-empty \"endpoint\""),
            ("{protocol: grpc, endpoint: 'http://a', compression: br}", "unsupported compression \"br\""),
            (
                "{protocol: grpc, endpoint: a, client_key: k}",
                "client key was provided but no client certificate was provided",
            ),
            ("{protocol: grpc, endpoint: a, headers_list: x}", "invalid headers list: an entry has no '='"),
        ] {
            assert_eq!(parse::<OtlpPushConfig>(yaml).1, [message], "{yaml}");
        }
        let with = |yaml: &str| parse::<LogProcessorConfig>(yaml).1;
        assert_eq!(with("{}"), ["unsupported log processor type, must be one of simple or batch"]);
        let otlp = "exporter: {otlp: {protocol: grpc, endpoint: a}}";
        assert_eq!(with(&format!("{{batch: {{{otlp}, schedule_delay: -1}}}}")), ["invalid schedule delay -1"]);
        assert_eq!(
            with(&format!("{{batch: {{{otlp}}}, simple: {{{otlp}}}}}")),
            ["must not specify multiple log processor type"]
        );
        assert_eq!(with("{simple: {exporter: {}}}"), ["no valid log exporter"]);
        let metrics = parse::<PeriodicReaderConfig>("exporter: {}").1;
        assert_eq!(metrics, ["no valid metric exporter"]);
    }

    #[test]
    fn headers_of_the_list_are_decoded_and_yield_to_headers() {
        let yaml =
            "{protocol: grpc, endpoint: a, headers_list: 'x=1, api-key=a%20b;p=1', headers: [{name: X, value: two}]}";
        let (config, messages) = parse::<OtlpPushConfig>(yaml);
        assert_eq!(messages, Vec::<String>::new());
        let fields: Vec<_> =
            config.headers.0.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("api-key", "a b"), ("x", "two")]);
        let (map, _) = parse::<OtlpPushConfig>("{protocol: grpc, endpoint: a, headers: {x: y}}");
        assert_eq!(map.headers.0.len(), 1);
    }
}
