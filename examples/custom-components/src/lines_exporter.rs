//! The `lines` exporter: posts the texts of log records to a URL, one line each.
//!
//! An exporter over HTTP is an [`HttpProtocol`]: its URL, its bodies, and what responses mean. [`HttpSender`] is the
//! rest: connections, TLS, compression, splitting above the peer's limit, and which responses are retried. Queue and
//! pauses between attempts are in front of it, as `sending_queue` and `retry_on_failure` say.

use std::rc::Rc;
use std::sync::Arc;

use otelcore::config::{ComponentId, GoDuration, OptionalFlavor, Section};
use otelcore::http::Bytes;
use otelcore::net::config::{HttpClientConfig, HttpClientDefaults};
use otelcore::net::{BodyParts, HttpProtocol, HttpSender, Url};
use otelcore::pdata::views::{AnyValue, ResourceLogs, resource_entries};
use otelcore::pdata::{Rope, Signal};
use otelcore::pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, ExporterQueueConfig, Factory, QueueConfig,
    RetryConfig, StartError,
};

/// The section of a `lines` exporter: `endpoint`, and the keys of every HTTP client, queue and retry.
#[derive(Clone, Debug)]
pub struct LinesExporterConfig {
    url: Arc<Url>,
    client: HttpClientConfig,
    exporter_queue: ExporterQueueConfig,
}

/// Makes `lines` exporters.
#[derive(Clone, Copy, Debug)]
pub struct LinesExporterFactory;

impl Factory for LinesExporterFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "lines",
            aliases: &[],
            signals: &[Signal::Logs],
            stability: "Development",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let url = Url::parse(&s.str("endpoint", ""));
        if let Err(e) = &url {
            s.error("endpoint", format!("'endpoint' must be a URL: {e}"));
        }
        let defaults = HttpClientDefaults { compression: "gzip", timeout: GoDuration::from_secs(30) };
        let client = HttpClientConfig::parse(&mut s, &defaults);
        let retry = RetryConfig::parse(s.section("retry_on_failure"));
        let queue = QueueConfig::parse(s.optional_section("sending_queue", OptionalFlavor::Some));
        s.finish();
        let exporter_queue = ExporterQueueConfig { queue, retry, timeout: client.timeout };
        Some(Box::new(LinesExporterConfig { url: Arc::new(url.ok()?), client, exporter_queue }))
    }
}

impl ComponentConfig for LinesExporterConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let protocol = LinesProtocol { url: self.url.clone() };
        let exporter = HttpSender::new(protocol, Rc::new(self.client.clone()), context)?;
        Ok(Component::Exporter(Box::new(exporter), self.exporter_queue.clone()))
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

    fn encode(&self, _: Signal, items: &Rope) -> BodyParts {
        let mut lines = Vec::new();
        for resource in resource_entries::<ResourceLogs<'_>>(items) {
            for record in resource.scope_logs().flat_map(|scope| scope.log_records()) {
                if let AnyValue::String(text) = record.body {
                    lines.extend_from_slice(text);
                }
                lines.push(b'\n');
            }
        }
        [Bytes::from(lines)].into_iter().collect()
    }
}
