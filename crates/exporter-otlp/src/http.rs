//! `otlp_http`: one payload, one POST.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore_net::config::{HttpClientConfig, HttpClientDefaults};
use otelcore_net::{BodyParts, HttpProtocol, HttpResponse, HttpSender, SentItems, Url};
use otelcore_pdata::response::{self, PartialSuccess};
use otelcore_pdata::{Rope, Signal, json};
use otelcore_pipeline::{
    BuildContext, CallResult, Component, ComponentConfig, ComponentInfo, ComponentKind, ExporterQueueConfig, Factory,
    LogField, MonotonicTime, QueueConfig, ReadFile, RetryConfig, StartError,
};
use smallvec::smallvec;

use crate::partial_success::result_of_partial_success;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How bodies are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// Protobuf, as it was received.
    Proto,
    /// OTLP/JSON.
    Json,
}

/// Configuration of an `otlp_http` exporter.
#[derive(Clone, Debug)]
pub struct OtlpHttpExporterConfig {
    /// The client.
    pub client: HttpClientConfig,
    /// The URL of each signal, by `Signal as usize`; at least one is `Some`.
    pub urls: [Option<Url>; 3],
    /// How bodies are written.
    pub encoding: Encoding,
    /// Queue, retry, and the timeout of one attempt.
    pub exporter_queue: ExporterQueueConfig,
}

/// Makes `otlp_http` exporters.
#[derive(Debug)]
pub struct OtlpHttpFactory;

const CLIENT_DEFAULTS: HttpClientDefaults =
    HttpClientDefaults { compression: "gzip", timeout: GoDuration::from_secs(30) };

/// The key of each signal's own endpoint, and the path that is appended to the common endpoint.
const SIGNAL_ENDPOINTS: [(&str, &str); 3] =
    [("traces_endpoint", "v1/traces"), ("metrics_endpoint", "v1/metrics"), ("logs_endpoint", "v1/logs")];

impl Factory for OtlpHttpFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "otlp_http",
            aliases: &["otlphttp"],
            signals: &Signal::ALL,
            stability: "Stable",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let signal_urls = parse_urls(&mut s);
        let encoding = match s.str("encoding", "proto").as_str() {
            "proto" => Encoding::Proto,
            "json" => Encoding::Json,
            other => {
                s.error("encoding", format!("'encoding' invalid encoding type: {other}")).help("write proto or json");
                Encoding::Proto
            }
        };
        let client = HttpClientConfig::parse(&mut s, &CLIENT_DEFAULTS);
        let retry = RetryConfig::parse(s.section("retry_on_failure"));
        let queue = QueueConfig::parse(s.optional_section("sending_queue", OptionalFlavor::Some));
        s.finish();
        let sending = ExporterQueueConfig { queue, retry, timeout: client.timeout };
        Some(Box::new(OtlpHttpExporterConfig { client, urls: signal_urls, encoding, exporter_queue: sending }))
    }
}

/// Reads the endpoints. Errors are added to the section's diagnostics.
fn parse_urls(s: &mut Section<'_>) -> [Option<Url>; 3] {
    let base = s.str("endpoint", "");
    let signal_endpoints = SIGNAL_ENDPOINTS.map(|(key, _)| s.str(key, ""));
    let profiles = s.str("profiles_endpoint", "");
    if base.is_empty() && profiles.is_empty() && signal_endpoints.iter().all(String::is_empty) {
        s.error("endpoint", "at least one endpoint must be specified").help("write `endpoint: \"http://host:4318\"`");
        return [None, None, None];
    }
    let parse = |key: &str, text: &str| {
        let parsed = Url::parse(text);
        if let Err(e) = &parsed {
            s.start_error(key, format!("{key} must be a valid URL: {e}"))
                .help("write `http://host:4318` or `https://...`");
        }
        parsed.ok()
    };
    if !base.is_empty() && parse("endpoint", &base).is_none() {
        return [None, None, None];
    }
    let separator = if base.ends_with('/') { "" } else { "/" };
    std::array::from_fn(|signal| {
        let (key, path) = SIGNAL_ENDPOINTS[signal];
        match (signal_endpoints[signal].as_str(), base.as_str()) {
            ("", "") => None,
            ("", base) => parse("endpoint", &format!("{base}{separator}{path}")),
            (own, _) => parse(key, own),
        }
    })
}

impl ComponentConfig for OtlpHttpExporterConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        for signal in context.signals {
            let (key, _) = SIGNAL_ENDPOINTS[*signal as usize];
            if self.urls[*signal as usize].is_none() {
                return Err(StartError(format!("either endpoint or {key} must be specified")));
            }
        }
        let protocol = OtlpHttp {
            urls: self.urls.clone().map(|url| url.map(Arc::new)),
            encoding: self.encoding,
            last_warning: None,
        };
        let exporter = HttpSender::new(protocol, Rc::new(self.client.clone()), context)?;
        Ok(Component::Exporter(Box::new(exporter), self.exporter_queue.clone()))
    }

    fn check_files(&self, read_file: ReadFile<'_>) -> Result<(), String> {
        self.client.tls.check_files(read_file)
    }
}

/// The unchanged rope, or its conversion to JSON, as the body of a POST.
#[derive(Clone)]
struct OtlpHttp {
    urls: [Option<Arc<Url>>; 3],
    encoding: Encoding,
    /// When the last warning about an unexpected response was logged.
    last_warning: Option<MonotonicTime>,
}

/// The shortest time between two warnings about an unexpected response.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

impl HttpProtocol for OtlpHttp {
    fn url(&self, signal: Signal) -> Option<Arc<Url>> {
        self.urls[signal as usize].clone()
    }

    fn content_type(&self) -> &'static str {
        if self.encoding == Encoding::Json { JSON } else { PROTOBUF }
    }

    fn encode(&self, signal: Signal, items: &Rope) -> BodyParts {
        match self.encoding {
            Encoding::Proto => items.parts().iter().map(|part| part.bytes.clone()).collect(),
            Encoding::Json => {
                let mut text = Vec::new();
                json::encode(signal, items, &mut text);
                smallvec![text.into()]
            }
        }
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
        let is_recent = self.last_warning.is_some_and(|at| sent.now.since(at) < WARNING_INTERVAL);
        if is_recent || is_otlp(response.media_type(), &response.body) {
            return;
        }
        self.last_warning = Some(sent.now);
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
    use super::*;

    fn parse(yaml: &str) -> (Option<OtlpHttpExporterConfig>, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "exporters::otlp_http", &d);
        let parsed = OtlpHttpFactory.parse(&"otlp_http".parse().unwrap(), section);
        let parsed =
            parsed.and_then(|s| (s as Box<dyn std::any::Any>).downcast::<OtlpHttpExporterConfig>().ok().map(|b| *b));
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
        let urls = parsed.unwrap().urls.map(|url| url.map(|u| u.to_string()).unwrap_or_default());
        assert_eq!(
            urls,
            ["http://gateway:4318/otlp/v1/traces", "http://gateway:4318/otlp/v1/metrics", "https://logs/x?y=z"]
        );
        let (parsed, _) = parse("{traces_endpoint: 'http://t/'}");
        assert_eq!(parsed.unwrap().urls.map(|u| u.is_some()), [true, false, false]);
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
