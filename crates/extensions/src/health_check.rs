//! The `health_check` extension: one page that says whether every pipeline runs.

use otelcore_config::{Section, config_struct};
use otelcore_net::config::HttpServerConfig;
use otelcore_net::{ListenError, Page, PageServer, not_found};
use otelcore_pdata::text::{put_json_string, put_rfc3339};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Extension, ListenAddress,
    LogField, Logger, MonotonicTime, ReadFile, ServedProtocol, StartError, WallTime,
};

/// Why the keys of the second version are refused.
const SECOND_VERSION: &str = "the second version of health_check is not supported yet";

config_struct! {
    /// Serves a page that says whether every pipeline runs.
    #[config(check = Self::check)]
    #[config(unsupported("use_v2", SECOND_VERSION))]
    #[config(unsupported("http", SECOND_VERSION))]
    #[config(unsupported("grpc", SECOND_VERSION))]
    #[config(unsupported("component_health", SECOND_VERSION))]
    pub struct HealthCheckConfig {
        /// Its server.
        #[config(flatten)]
        pub server: HttpServerConfig = HttpServerConfig::for_page_server("localhost:13133"),
        /// The page's path. With `/` the page is served on every path, otherwise on this path only.
        pub path: String = "/".to_owned(),
        /// Fixed bodies, in place of the status in JSON.
        #[config(only_if_written = true)]
        pub response_body: Option<ResponseBodyConfig>,
        /// Exporters that fail.
        pub check_collector_pipeline: PipelineCheckConfig,
        /// The form of about collector 0.6, which listened on every address.
        #[config(deprecated = "`endpoint: \"0.0.0.0:PORT\"`")]
        pub port: Option<u16>,
    }
}

config_struct! {
    /// `response_body`.
    pub struct ResponseBodyConfig {
        /// The body when every pipeline runs.
        pub healthy: String,
        /// The body when not.
        pub unhealthy: String,
    }
}

config_struct! {
    /// `check_collector_pipeline`.
    #[config(check = Self::check)]
    pub struct PipelineCheckConfig {
        /// Whether exporters that fail are shown.
        #[config(ignored = "it has none in the Go collector either")]
        pub enabled: bool,
        /// The time in which failures are counted.
        #[config(ignored = "it has none in the Go collector either")]
        pub interval: String = "5m".to_owned(),
        /// The number of failures.
        #[config(ignored = "it has none in the Go collector either")]
        pub exporter_failure_threshold: i64 = 5,
    }
}

impl HealthCheckConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for key in ["auth", "cors"] {
            if s.contains_key(key) {
                s.warn(key, format!("'{key}' has no effect: the page is for probes, and the same in the Go collector"));
            }
        }
        if !self.path.starts_with('/') {
            s.error("path", "path must start with /");
        }
        if let Some(port) = self.port.take() {
            if s.contains_key("endpoint") {
                s.error("port", "'port' and 'endpoint' can not both be set");
            }
            self.server.listen.endpoint = format!(":{port}");
        }
    }
}

impl PipelineCheckConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.enabled {
            s.warn("enabled", "'check_collector_pipeline' has no effect, as in the Go collector");
        }
    }
}

/// The `health_check` extension.
#[derive(Clone, Copy, Debug)]
pub struct HealthCheckFactory;

impl ComponentType for HealthCheckFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "health_check",
        aliases: &[],
        signals: &[],
        stability: "Beta",
    };
    type Config = HealthCheckConfig;

    fn create(&self, config: &HealthCheckConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let pages = PageServer::new(&config.server, None, context.log.clone(), context.telemetry)
            .with_request_metrics(&config.server, context.telemetry);
        let extension =
            HealthCheckExtension { config: config.clone(), pages, log: context.log.clone(), ready_since: None };
        Ok(Component::Extension(Box::new(extension)))
    }

    fn check_files(&self, config: &HealthCheckConfig, read: ReadFile<'_>) -> Result<(), StartError> {
        config.server.check_files(read)
    }

    fn listen_addresses(&self, config: &HealthCheckConfig) -> Vec<ListenAddress> {
        let endpoint = config.server.listen.address().ok();
        let address = |endpoint| ListenAddress {
            endpoint,
            config_key: "endpoint",
            protocol: ServedProtocol::Health,
            path: config.path.clone(),
        };
        endpoint.map(address).into_iter().collect()
    }
}

struct HealthCheckExtension {
    config: HealthCheckConfig,
    pages: PageServer,
    log: Logger,
    /// The time since which every pipeline runs.
    ready_since: Option<(WallTime, MonotonicTime)>,
}

impl Extension for HealthCheckExtension {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let failed = |e: ListenError| {
            let address = &self.config.server.listen.endpoint;
            StartError::from(e).in_context(format_args!("failed to bind to address {address}"))
        };
        self.pages.open(cx, 0).map(|_| ()).map_err(failed)
    }

    fn set_ready(&mut self, cx: &mut Cx<'_>, ready: bool) {
        self.ready_since = ready.then(|| (cx.wall_time(), cx.now()));
        let status = if ready { "ready" } else { "unavailable" };
        self.log.info("Health Check state change", &[("status", LogField::Str(status))]);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let (config, ready_since) = (&self.config, self.ready_since);
        self.pages.handle_event(cx, local, &event, |cx, head| {
            if config.path == "/" || head.path() == config.path {
                health_page(config, ready_since, cx.now())
            } else {
                not_found()
            }
        });
    }
}

fn health_page(config: &HealthCheckConfig, ready_since: Option<(WallTime, MonotonicTime)>, now: MonotonicTime) -> Page {
    let status = if ready_since.is_some() { 200 } else { 503 };
    if let Some(ResponseBodyConfig { healthy, unhealthy }) = &config.response_body {
        let body = if ready_since.is_some() { healthy } else { unhealthy };
        return Page::new(status, "", body.clone());
    }
    let mut body = b"{\"status\":".to_vec();
    let text = if ready_since.is_some() { "Server available" } else { "Server not available" };
    put_json_string(&mut body, text.as_bytes());
    body.extend_from_slice(b",\"upSince\":\"");
    match ready_since {
        Some((ready_at, _)) => put_rfc3339(&mut body, ready_at.0),
        None => body.extend_from_slice(b"0001-01-01T00:00:00Z"),
    }
    body.extend_from_slice(b"\",\"uptime\":\"");
    if let Some((_, started)) = ready_since {
        let uptime = i64::try_from(now.since(started).as_nanos()).unwrap_or(i64::MAX);
        body.extend_from_slice(otelcore_config::duration::format(uptime).as_bytes());
    }
    body.extend_from_slice(b"\"}");
    Page::new(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use otelcore_config::declare::Config;

    use super::*;

    fn parse_config(yaml: &str) -> (HealthCheckConfig, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "extensions::health_check", &d);
        let parsed = HealthCheckConfig::read_section(section, &HealthCheckConfig::default());
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn page_is_the_same_as_in_the_go_collector() {
        let (parsed, _) = parse_config("{}");
        let since = Some((WallTime(1_700_000_000_123_456_789), MonotonicTime(0)));
        let ready = health_page(&parsed, since, MonotonicTime(4_237_249_202));
        let expected = "{\"status\":\"Server available\",\"upSince\":\"2023-11-14T22:13:20.123456789Z\",\"uptime\":\"4.237249202s\"}";
        assert_eq!((ready.status, &ready.body[0][..]), (200, expected.as_bytes()));
        let unready = health_page(&parsed, None, MonotonicTime(5));
        let expected = "{\"status\":\"Server not available\",\"upSince\":\"0001-01-01T00:00:00Z\",\"uptime\":\"\"}";
        assert_eq!((unready.status, &unready.body[0][..]), (503, expected.as_bytes()));
    }

    #[test]
    fn fixed_bodies_and_the_deprecated_port_are_applied() {
        let (parsed, messages) = parse_config("{response_body: {healthy: yes!, unhealthy: no}, port: 8080}");
        assert_eq!(messages, ["'port' is deprecated"]);
        let every_address = otelcore_pipeline::Endpoint::Tcp { host: String::new(), port: 8080 };
        assert_eq!(parsed.server.listen.address().unwrap(), every_address);
        assert_eq!(&health_page(&parsed, Some((WallTime(0), MonotonicTime(0))), MonotonicTime(0)).body[0][..], b"yes!");
    }
}
