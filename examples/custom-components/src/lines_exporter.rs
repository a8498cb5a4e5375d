//! The `lines` exporter: posts the texts of log records to a URL, one line each.
//!
//! An exporter over HTTP is an [`HttpProtocol`]: its URL, its bodies, and what responses mean. [`HttpSender`] is the
//! rest: connections, TLS, compression, splitting above the peer's limit, and which responses are retried. Queue and
//! pauses between attempts are in front of it, as `sending_queue` and `retry_on_failure` say.

use std::rc::Rc;
use std::sync::Arc;

use otelcore::config::declare::Optional;
use otelcore::config::{Section, config_struct};
use otelcore::http::Bytes;
use otelcore::net::config::HttpClientConfig;
use otelcore::net::{BodyParts, EncodedBody, HttpProtocol, HttpSender, Url};
use otelcore::pdata::views::{AnyValue, ResourceLogs, resource_entries};
use otelcore::pdata::{Rope, Signal};
use otelcore::pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, ExporterQueueConfig, QueueConfig,
    RetryConfig, StartError,
};

config_struct! {
    /// Posts the texts of log records to a URL.
    #[config(check = Self::check)]
    pub struct LinesExporterConfig {
        /// The URL.
        pub endpoint: String,
        /// The keys of every HTTP client.
        #[config(flatten)]
        pub client: HttpClientConfig,
        /// Which failures are retried, and when.
        pub retry_on_failure: RetryConfig,
        /// The queue.
        pub sending_queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
    }
}

impl LinesExporterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Err(e) = Url::parse(&self.endpoint) {
            s.error("endpoint", format!("'endpoint' must be a URL: {e}"));
        }
    }
}

/// The `lines` exporter.
#[derive(Clone, Copy, Debug)]
pub struct LinesExporterFactory;

impl ComponentType for LinesExporterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "lines",
        aliases: &[],
        signals: &[Signal::Logs],
        stability: "Development",
    };
    type Config = LinesExporterConfig;

    fn create(&self, config: &LinesExporterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let url = Url::parse(&config.endpoint).map_err(|e| StartError::Config(e.to_string()))?;
        let exporter = HttpSender::new(LinesProtocol { url: Arc::new(url) }, Rc::new(config.client.clone()), context)?;
        let (queue, retry) = (config.sending_queue.clone(), config.retry_on_failure.clone());
        let exporter_queue = ExporterQueueConfig { queue, retry, timeout: config.client.timeout };
        Ok(Component::Exporter(Box::new(exporter), exporter_queue))
    }
}

#[derive(Clone)]
struct LinesProtocol {
    url: Arc<Url>,
}

impl HttpProtocol for LinesProtocol {
    fn url(&self, _: Signal) -> Option<Arc<Url>> {
        Some(self.url.clone())
    }

    fn content_type(&self) -> &'static str {
        "text/plain; charset=utf-8"
    }

    fn encode(&self, _: Signal, items: &Rope) -> EncodedBody {
        let mut lines = Vec::new();
        for resource in resource_entries::<ResourceLogs<'_>>(items) {
            for record in resource.scope_logs().flat_map(|scope| scope.log_records()) {
                if let AnyValue::String(text) = record.body {
                    lines.extend_from_slice(text);
                }
                lines.push(b'\n');
            }
        }
        BodyParts::from_iter([Bytes::from(lines)]).into()
    }
}
