//! The `zipkin` section, and the protocol: one POST for each body.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{Section, config_struct};
use otelcore_net::config::HttpClientConfig;
use otelcore_net::{EncodedBody, HttpProtocol, HttpResponse, HttpSender, Url};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, QueueConfig, ReadFile,
    RetryConfig, StartError,
};

use otelcore_zipkin_translation::Format;

use crate::encode::encode_spans;

/// The name that means: as the Go exporter names a service without a name.
const DEFAULT_SERVICE_NAME: &str = "<missing service name>";

config_struct! {
    /// Sends traces to a Zipkin server.
    #[config(check = Self::check)]
    pub struct ZipkinExporterConfig {
        /// The URL of Zipkin's API for spans: `http://host:9411/api/v2/spans`.
        pub endpoint: String,
        /// The format of bodies.
        pub format: Format,
        /// The name of services whose resource has none.
        pub default_service_name: String = DEFAULT_SERVICE_NAME.to_owned(),
        /// The client.
        #[config(flatten)]
        pub client: HttpClientConfig =
            HttpClientConfig { timeout: Duration::from_secs(5), ..HttpClientConfig::default() },
        /// What happens with a payload that can't be sent now.
        pub retry_on_failure: RetryConfig,
        /// The queue.
        pub sending_queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
    }
}

impl ZipkinExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.endpoint.is_empty() {
            s.error("endpoint", "endpoint required").help("write `endpoint: \"http://host:9411/api/v2/spans\"`");
        } else if let Err(e) = Url::parse(&self.endpoint) {
            s.start_error("endpoint", format!("endpoint must be a valid URL: {e}"))
                .help("write `http://host:9411/api/v2/spans` or `https://...`");
        }
    }
}

/// The `zipkin` exporter.
#[derive(Clone, Copy, Debug)]
pub struct ZipkinExporterFactory;

impl ComponentType for ZipkinExporterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "zipkin",
        aliases: &[],
        signals: &[Signal::Traces],
        stability: "Beta",
    };
    type Config = ZipkinExporterConfig;

    fn create(&self, config: &ZipkinExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let url = Url::parse(&config.endpoint)
            .map_err(|e| StartError::Config(format!("endpoint must be a valid URL: {e}")))?;
        let default_name = match config.default_service_name.as_str() {
            DEFAULT_SERVICE_NAME => otelcore_zipkin_translation::NO_SERVICE_NAME,
            name => name,
        };
        let protocol = ZipkinProtocol { url: Arc::new(url), format: config.format, default_name: default_name.into() };
        let exporter = HttpSender::new(protocol, Rc::new(config.client.clone()), context)?;
        let exporter_queue = ExporterQueueConfig {
            queue: config.sending_queue.clone(),
            retry: config.retry_on_failure.clone(),
            timeout: config.client.timeout,
        };
        Ok(Component::Exporter(Box::new(exporter), exporter_queue))
    }

    fn check_files(&self, config: &ZipkinExporterConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.client.tls.check_files(read)
    }
}

#[derive(Clone)]
struct ZipkinProtocol {
    url: Arc<Url>,
    format: Format,
    /// The name of services that have none.
    default_name: Arc<str>,
}

impl HttpProtocol for ZipkinProtocol {
    fn url(&self, _: Signal) -> Option<Arc<Url>> {
        Some(self.url.clone())
    }

    fn content_type(&self) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::Proto => "application/x-protobuf",
        }
    }

    fn encode(&self, _: Signal, items: &Rope) -> EncodedBody {
        encode_spans(items, self.format, &self.default_name)
    }

    /// Zipkin returns 500 when its storage fails, and 4xx for bodies that it will never accept.
    fn is_retryable(&self, response: &HttpResponse) -> bool {
        matches!(response.status, 408 | 429 | 500..600)
    }

    fn error_message(&self, response: &HttpResponse) -> Option<String> {
        Some(response.body_start())
    }
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;

    use super::*;

    fn parse(yaml: &str) -> (ZipkinExporterConfig, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "exporters::zipkin", &d);
        let parsed = ZipkinExporterConfig::read_section(section, &ZipkinExporterConfig::default());
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn config_without_an_endpoint_or_with_a_bad_format_is_reported() {
        let (parsed, messages) = parse("{endpoint: 'http://zipkin:9411/api/v2/spans', format: proto}");
        assert_eq!((parsed.format, messages), (Format::Proto, Vec::new()));
        for (yaml, message) in [
            ("{}", "endpoint required"),
            ("{endpoint: 'zipkin:9411'}", "endpoint must be a valid URL"),
            ("{endpoint: 'http://z/', format: thrift}", "thrift is not one of json or proto"),
        ] {
            let (_, messages) = parse(yaml);
            assert!(messages.len() == 1 && messages[0].starts_with(message), "{yaml}: {messages:?}");
        }
    }
}
