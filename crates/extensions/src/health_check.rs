//! The `health_check` extension: one page that says whether every pipeline runs.

use otelcore_config::{ComponentId, Section};
use otelcore_net::config::{HttpServerConfig, HttpServerDefaults};
use otelcore_net::{ListenError, Page, PageServer, not_found};
use otelcore_pdata::text::{put_json_string, put_rfc3339};
use otelcore_pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Event, Extension, Factory,
    ListenAddress, LogField, Logger, MonotonicTime, ReadFile, ServedProtocol, StartError, WallTime,
};

/// Configuration of a `health_check`.
#[derive(Clone, Debug)]
pub struct HealthCheckConfig {
    /// Its server, on port 13133 by default.
    pub server: HttpServerConfig,
    /// The page's path. With `/` the page is served on every path, otherwise on this path only.
    pub path: String,
    /// Fixed bodies: when every pipeline runs, and when not. `None` is the status in JSON.
    pub response_bodies: Option<[String; 2]>,
}

impl ComponentConfig for HealthCheckConfig {
    fn create(&self, build: &BuildContext<'_>) -> Result<Component, StartError> {
        let pages = PageServer::new(&self.server, None, build.log.clone(), build.telemetry);
        let extension = HealthCheckExtension { config: self.clone(), pages, log: build.log.clone(), ready_since: None };
        Ok(Component::Extension(Box::new(extension)))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.server.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read))
    }

    fn listen_addresses(&self) -> Vec<ListenAddress> {
        let (endpoint, path) = (self.server.listen.clone(), self.path.clone());
        vec![ListenAddress { endpoint, config_key: "endpoint", protocol: ServedProtocol::Health, path }]
    }
}

/// Makes `health_check` extensions.
#[derive(Debug)]
pub struct HealthCheckFactory;

impl Factory for HealthCheckFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Extension,
            type_name: "health_check",
            aliases: &[],
            signals: &[],
            stability: "Beta",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        if s.warn_deprecated("port", "`endpoint: \"0.0.0.0:PORT\"`") {
            // The form of about collector 0.6, which listened on every address.
            let port = s.int::<u16>("port", 13133);
            if s.contains_key("endpoint") {
                s.error("port", "'port' and 'endpoint' can not both be set");
            }
            return Self::parse_section(s, Some(port));
        }
        Self::parse_section(s, None)
    }
}

impl HealthCheckFactory {
    fn parse_section(mut s: Section<'_>, port: Option<u16>) -> Option<Box<dyn ComponentConfig>> {
        let server = HttpServerConfig::parse(&mut s, &HttpServerDefaults::for_page_server("localhost:13133"));
        for key in ["auth", "cors"] {
            if s.contains_key(key) {
                s.warn(key, format!("'{key}' has no effect: the page is for probes, and the same in the Go collector"));
            }
        }
        let path = s.str("path", "/");
        if !path.starts_with('/') {
            s.error("path", "path must start with /");
        }
        let response_bodies = s.contains_key("response_body").then(|| {
            let mut body = s.section("response_body");
            let texts = [body.str("healthy", ""), body.str("unhealthy", "")];
            body.finish();
            texts
        });
        let mut pipeline_check = s.section("check_collector_pipeline");
        if pipeline_check.bool("enabled", false) {
            pipeline_check.warn("enabled", "'check_collector_pipeline' has no effect, as in the Go collector");
        }
        let _ = pipeline_check.str("interval", "5m");
        let _ = pipeline_check.int::<i64>("exporter_failure_threshold", 5);
        pipeline_check.finish();
        for key in ["use_v2", "http", "grpc", "component_health"] {
            s.refuse_unsupported(key, "the second version of health_check is not supported yet");
        }
        s.finish();
        let mut server = server?;
        if let Some(port) = port {
            server.listen = otelcore_pipeline::Endpoint::Tcp { host: String::new(), port };
        }
        Some(Box::new(HealthCheckConfig { server, path, response_bodies }))
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
        let failed =
            |e: ListenError| StartError(format!("failed to bind to address {}: {e}", self.config.server.endpoint));
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
    if let Some([healthy, unhealthy]) = &config.response_bodies {
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
    use super::*;

    fn parse_config(yaml: &str) -> (Option<HealthCheckConfig>, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "extensions::health_check", &d);
        let parsed = HealthCheckFactory.parse(&"health_check".parse().unwrap(), section);
        let parsed = parsed
            .and_then(|s| (s as Box<dyn std::any::Any>).downcast::<HealthCheckConfig>().ok().map(|config| *config));
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn page_is_the_same_as_in_the_go_collector() {
        let (parsed, _) = parse_config("{}");
        let parsed = parsed.unwrap();
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
        let parsed = parsed.unwrap();
        assert_eq!(messages, ["'port' is deprecated"]);
        let every_address = otelcore_pipeline::Endpoint::Tcp { host: String::new(), port: 8080 };
        assert_eq!(parsed.server.listen, every_address);
        assert_eq!(&health_page(&parsed, Some((WallTime(0), MonotonicTime(0))), MonotonicTime(0)).body[0][..], b"yes!");
    }
}
