//! `otlp_http`: one payload, one POST.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{Section, config_enum, config_struct};
use otelcore_net::config::{HttpClientConfig, HttpCompression};
use otelcore_net::{BodyParts, EncodedBody, HttpProtocol, HttpResponse, HttpSender, SentItems, Url};
use otelcore_pdata::response::{self, PartialSuccess};
use otelcore_pdata::{Rope, Signal, json};
use otelcore_pipeline::{
    BuildContext, CallResult, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, Labels,
    LogField, PeriodicCount, QueueConfig, ReadFile, RetryConfig, StartError,
};
use smallvec::smallvec;

use crate::partial_success::result_of_partial_success;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

config_enum! {
    /// How bodies are written.
    #[config(unknown = "'encoding' invalid encoding type: {word}", hint = "write proto or json")]
    pub enum Encoding {
        /// Protobuf, as it was received.
        Proto = "proto",
        /// OTLP/JSON.
        Json = "json",
    }
}

config_struct! {
    /// Sends OTLP over HTTP.
    #[config(check = Self::check)]
    pub struct OtlpHttpExporterConfig {
        /// The URL to which `/v1/traces`, `/v1/metrics` and `/v1/logs` are appended.
        pub endpoint: String,
        /// The URL of traces, in place of that of `endpoint`.
        pub traces_endpoint: String,
        /// The URL of metrics, in place of that of `endpoint`.
        pub metrics_endpoint: String,
        /// The URL of logs, in place of that of `endpoint`.
        pub logs_endpoint: String,
        /// The URL of profiles.
        #[config(ignored = "profiles are not supported")]
        pub profiles_endpoint: String,
        /// How bodies are written.
        pub encoding: Encoding,
        /// The client.
        #[config(flatten)]
        pub client: HttpClientConfig = HttpClientConfig {
            compression: HttpCompression::Gzip,
            timeout: Duration::from_secs(30),
            ..HttpClientConfig::default()
        },
        /// What happens with a payload that can't be sent now.
        pub retry_on_failure: RetryConfig,
        /// The queue.
        pub sending_queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
    }
}

/// The key of each signal's own endpoint, and the path that is appended to the common endpoint.
const SIGNAL_ENDPOINTS: [(&str, &str); 3] =
    [("traces_endpoint", "v1/traces"), ("metrics_endpoint", "v1/metrics"), ("logs_endpoint", "v1/logs")];

/// A key, and why its value is not a URL.
type BadUrl = (&'static str, String);

impl OtlpHttpExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let own = [&self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint, &self.profiles_endpoint];
        if self.endpoint.is_empty() && own.iter().all(|url| url.is_empty()) {
            s.error("endpoint", "at least one endpoint must be specified")
                .help("write `endpoint: \"http://host:4318\"`");
            return;
        }
        let mut last = "";
        for (key, why) in self.urls().into_iter().filter_map(Result::err) {
            // The common endpoint concerns several signals.
            if std::mem::replace(&mut last, key) != key {
                s.start_error(key, format!("{key} must be a valid URL: {why}"))
                    .help("write `http://host:4318` or `https://...`");
            }
        }
    }

    /// The URL of each signal, by `Signal as usize`, where it has one.
    fn urls(&self) -> [Result<Option<Url>, BadUrl>; 3] {
        let own = [&self.traces_endpoint, &self.metrics_endpoint, &self.logs_endpoint];
        let base = self.endpoint.as_str();
        let slash = if base.ends_with('/') { "" } else { "/" };
        std::array::from_fn(|signal| {
            let (key, path) = SIGNAL_ENDPOINTS[signal];
            let parse = |key, text: &str| Url::parse(text).map(Some).map_err(|e| (key, e.to_string()));
            match (own[signal].as_str(), base) {
                ("", "") => Ok(None),
                ("", base) => parse("endpoint", &format!("{base}{slash}{path}")),
                (own, _) => parse(key, own),
            }
        })
    }
}

/// The `otlp_http` exporter.
#[derive(Clone, Copy, Debug)]
pub struct OtlpHttpFactory;

impl ComponentType for OtlpHttpFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "otlp_http",
        aliases: &["otlphttp"],
        signals: &Signal::ALL,
        stability: "Stable",
    };
    type Config = OtlpHttpExporterConfig;

    fn create(&self, config: &OtlpHttpExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let mut urls = [None, None, None];
        for (url, parse_header) in urls.iter_mut().zip(config.urls()) {
            *url = parse_header
                .map_err(|(key, why)| StartError::Config(format!("{key} must be a valid URL: {why}")))?
                .map(Arc::new);
        }
        for signal in context.signals {
            let (key, _) = SIGNAL_ENDPOINTS[*signal as usize];
            if urls[*signal as usize].is_none() {
                return Err(StartError::Config(format!("either endpoint or {key} must be specified")));
            }
        }
        let protocol =
            OtlpHttp { urls, encoding: config.encoding, unexpected_responses: PeriodicCount::new(WARNING_INTERVAL) };
        let exporter = HttpSender::new(protocol, Rc::new(config.client.clone()), context)?;
        let exporter_queue = ExporterQueueConfig {
            queue: config.sending_queue.clone(),
            retry: config.retry_on_failure.clone(),
            timeout: config.client.timeout,
        };
        Ok(Component::Exporter(Box::new(exporter), exporter_queue))
    }

    fn check_files(&self, config: &OtlpHttpExporterConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.client.tls.check_files(read)
    }
}

/// The unchanged rope, or its conversion to JSON, as the body of a POST.
#[derive(Clone)]
struct OtlpHttp {
    urls: [Option<Arc<Url>>; 3],
    encoding: Encoding,
    /// For the warnings about unexpected responses.
    unexpected_responses: PeriodicCount,
}

/// The shortest time between two warnings about an unexpected response.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

impl HttpProtocol for OtlpHttp {
    fn url(&self, signal: Signal) -> Option<Arc<Url>> {
        self.urls[signal as usize].clone()
    }

    /// Host, path and, where it is written, port, as the Go collector counts.
    fn destination_labels(&self, signal: Signal) -> Labels {
        let Some(url) = &self.urls[signal as usize] else { return Labels::new() };
        let mut labels = vec![("server_address", url.host().to_owned())];
        if url.authority().ends_with(&format!(":{}", url.port())) {
            labels.push(("server_port", url.port().to_string()));
        }
        if !url.path().is_empty() {
            labels.push(("url_path", url.path().to_owned()));
        }
        labels
    }

    fn content_type(&self) -> &'static str {
        if self.encoding == Encoding::Json { JSON } else { PROTOBUF }
    }

    fn encode(&self, signal: Signal, items: &Rope) -> EncodedBody {
        let parts: BodyParts = match self.encoding {
            Encoding::Proto => items.parts().iter().map(|part| part.bytes.clone()).collect(),
            Encoding::Json => {
                let mut text = Vec::new();
                json::encode(signal, items, &mut text);
                smallvec![text.into()]
            }
        };
        parts.into()
    }

    fn shares_bytes(&self) -> bool {
        self.encoding == Encoding::Proto
    }

    fn error_message(&self, response: &HttpResponse) -> Option<String> {
        let status = if response.header("content-type") == Some(JSON.as_bytes()) {
            json::decode_status(&response.body).ok()
        } else {
            response::decode_status(&response.body).ok()
        };
        status.map(|status| status.message)
    }

    fn read_response(&mut self, sent: &SentItems<'_>, response: &HttpResponse) -> CallResult {
        self.warn_if_not_otlp(sent, response);
        let partial = partial_success(sent, response).unwrap_or_else(|e| {
            sent.log.warn("The peer took the data; its answer can't be read", &[("error", LogField::Str(&e))]);
            PartialSuccess::default()
        });
        result_of_partial_success(sent.signal, sent.items, &partial, sent.log)
    }
}

impl OtlpHttp {
    fn warn_if_not_otlp(&mut self, sent: &SentItems<'_>, response: &HttpResponse) {
        if is_otlp(response.media_type(), &response.body) || self.unexpected_responses.add(sent.now, 1).is_none() {
            return;
        }
        let (url, content_type, body_start) =
            (sent.url.to_string(), String::from_utf8_lossy(response.media_type()), response.body_start());
        let fields = [
            ("url", LogField::Str(&url)),
            ("status", LogField::Uint(u64::from(response.status))),
            ("content_type", LogField::Str(&content_type)),
            ("body", LogField::Str(&body_start)),
        ];
        sent.log.warn("The peer's answer is not OTLP; the data counts as delivered. Is the URL right?", &fields);
    }
}

/// Whether a 2xx response is empty, protobuf or JSON.
fn is_otlp(content_type: &[u8], body: &[u8]) -> bool {
    let kinds = [PROTOBUF, "application/protobuf", JSON];
    body.trim_ascii_start().is_empty() || kinds.iter().any(|kind| content_type.eq_ignore_ascii_case(kind.as_bytes()))
}

/// The partial success in a 2xx response. If the response can't be decoded, the data still counts as accepted.
fn partial_success(sent: &SentItems<'_>, response: &HttpResponse) -> Result<PartialSuccess, String> {
    match response.media_type() {
        _ if response.body.is_empty() => Ok(PartialSuccess::default()),
        b"application/x-protobuf" | b"application/protobuf" => {
            response::decode_partial_success(&response.body).map_err(|e| e.to_string())
        }
        b"application/json" => json::decode_partial_success(sent.signal, &response.body).map_err(|e| e.to_string()),
        _ => Ok(PartialSuccess::default()),
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;

    use super::*;

    fn parse(yaml: &str) -> (OtlpHttpExporterConfig, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "exporters::otlp_http", &d);
        let parsed = OtlpHttpExporterConfig::read_section(section, &OtlpHttpExporterConfig::default());
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn response_that_is_not_otlp_is_recognised() {
        for (content_type, body, expected) in [
            ("application/x-protobuf", "\n\u{0}", true),
            ("application/json", "{}", true),
            ("", "  ", true),
            ("text/plain", "ok", false),
            ("", "ok", false),
            ("application/xml", "<ok/>", false),
        ] {
            assert_eq!(is_otlp(content_type.as_bytes(), body.as_bytes()), expected, "{content_type} {body}");
        }
    }

    #[test]
    fn url_of_a_signal_is_its_own_or_a_path_below_the_common_one() {
        let (parsed, messages) = parse("{endpoint: 'http://gateway:4318/otlp', logs_endpoint: 'https://logs/x?y=z'}");
        assert_eq!(messages, Vec::<String>::new());
        let urls = parsed.urls().map(|url| url.unwrap().map(|u| u.to_string()).unwrap_or_default());
        assert_eq!(
            urls,
            ["http://gateway:4318/otlp/v1/traces", "http://gateway:4318/otlp/v1/metrics", "https://logs/x?y=z"]
        );
        let (parsed, _) = parse("{traces_endpoint: 'http://t/'}");
        assert_eq!(parsed.urls().map(|url| url.unwrap().is_some()), [true, false, false]);
    }

    #[test]
    fn config_with_errors_is_reported_as_in_the_go_collector() {
        for (yaml, message) in [
            ("{}", "at least one endpoint must be specified"),
            ("{endpoint: 'localhost:4318'}", "endpoint must be a valid URL"),
            ("{endpoint: 'http://a', logs_endpoint: 'x'}", "logs_endpoint must be a valid URL"),
            ("{endpoint: 'http://a', encoding: avro}", "'encoding' invalid encoding type: avro"),
            ("{endpoint: 'http://a', compression: br}", "'compression' unsupported compression type \"br\""),
            (
                "{endpoint: 'http://a', compression: snappy, compression_params: {level: 3}}",
                "unsupported parameters {Level:3} for compression type \"snappy\"",
            ),
        ] {
            let (_, messages) = parse(yaml);
            assert!(messages.len() == 1 && messages[0].starts_with(message), "{yaml}: {messages:?}");
        }
    }
}
