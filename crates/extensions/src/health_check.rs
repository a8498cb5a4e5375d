//! The `health_check` extension: one page that says whether every pipeline runs.

use otelcore_config::{ComponentId, Section};
use otelcore_net::settings::{HttpServer, HttpServerDefaults};
use otelcore_net::{Page, PageServer, not_found};
use otelcore_pdata::text::{put_json_string, put_rfc3339};
use otelcore_pipeline::{
    About, Build, Component, Cx, Event, Extension, Factory, Field, Kind, Listens, Logger, Mono, ReadFile, Serves,
    Settings, StartError, Wall,
};

/// Settings of a `health_check`.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// Its server, on port 13133 by default.
    pub server: HttpServer,
    /// The page's path. With `/` the page is served on every path, otherwise on this path only.
    pub path: String,
    /// Fixed bodies: when every pipeline runs, and when not. `None` is the status in JSON.
    pub bodies: Option<[String; 2]>,
}

impl Settings for HealthCheck {
    fn create(&self, build: &Build<'_>) -> Result<Component, StartError> {
        let pages = PageServer::new(&self.server, None, build.log.clone(), build.telemetry);
        let extension = Health { settings: self.clone(), pages, log: build.log.clone(), since: None };
        Ok(Component::Extension(Box::new(extension)))
    }

    fn check_files(&self, read: ReadFile<'_>) -> Result<(), String> {
        self.server.tls.as_ref().map_or(Ok(()), |tls| tls.check_files(read))
    }

    fn listens(&self) -> Vec<Listens> {
        let (at, path) = (self.server.listen.clone(), self.path.clone());
        vec![Listens { at, key: "endpoint", serves: Serves::Health, path }]
    }
}

/// Makes `health_check` extensions.
#[derive(Debug)]
pub struct HealthCheckFactory;

impl Factory for HealthCheckFactory {
    fn about(&self) -> About {
        About { kind: Kind::Extension, type_name: "health_check", aliases: &[], signals: &[], stability: "Beta" }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn Settings>> {
        if s.deprecated("port", "`endpoint: \"0.0.0.0:PORT\"`") {
            // The form of about collector 0.6, which listened on every address.
            let port = s.int::<u16>("port", 13133);
            if s.has("endpoint") {
                s.error("port", "'port' and 'endpoint' can not both be set");
            }
            return Self::rest(s, Some(port));
        }
        Self::rest(s, None)
    }
}

impl HealthCheckFactory {
    fn rest(mut s: Section<'_>, port: Option<u16>) -> Option<Box<dyn Settings>> {
        let server = HttpServer::parse(&mut s, &HttpServerDefaults::pages("localhost:13133"));
        for key in ["auth", "cors"] {
            if s.has(key) {
                s.warn(key, format!("'{key}' has no effect: the page is for probes, and the same in the Go collector"));
            }
        }
        let path = s.str("path", "/");
        if !path.starts_with('/') {
            s.error("path", "path must start with /");
        }
        let bodies = s.has("response_body").then(|| {
            let mut body = s.section("response_body");
            let bodies = [body.str("healthy", ""), body.str("unhealthy", "")];
            body.finish();
            bodies
        });
        let mut check = s.section("check_collector_pipeline");
        if check.bool("enabled", false) {
            check.warn("enabled", "'check_collector_pipeline' has no effect, as in the Go collector");
        }
        let _ = check.str("interval", "5m");
        let _ = check.int::<i64>("exporter_failure_threshold", 5);
        check.finish();
        for key in ["use_v2", "http", "grpc", "component_health"] {
            s.unsupported(key, "the second version of health_check is not supported yet");
        }
        s.finish();
        let mut server = server?;
        if let Some(port) = port {
            server.listen = otelcore_pipeline::Endpoint::Tcp { host: String::new(), port };
        }
        Some(Box::new(HealthCheck { server, path, bodies }))
    }
}

struct Health {
    settings: HealthCheck,
    pages: PageServer,
    log: Logger,
    /// The time since which every pipeline runs.
    since: Option<(Wall, Mono)>,
}

impl Extension for Health {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let failed =
            |e: String| StartError(format!("failed to bind to address {}: {e}", self.settings.server.endpoint));
        self.pages.open(cx, 0).map(|_| ()).map_err(failed)
    }

    fn ready(&mut self, cx: &mut Cx<'_>, ready: bool) {
        self.since = ready.then(|| (cx.wall(), cx.now()));
        let status = if ready { "ready" } else { "unavailable" };
        self.log.info("Health Check state change", &[("status", Field::Str(status))]);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let (settings, since) = (&self.settings, self.since);
        self.pages.event(cx, local, &event, |cx, head| {
            if settings.path == "/" || head.path() == settings.path {
                page(settings, since, cx.now())
            } else {
                not_found()
            }
        });
    }
}

fn page(settings: &HealthCheck, since: Option<(Wall, Mono)>, now: Mono) -> Page {
    let status = if since.is_some() { 200 } else { 503 };
    if let Some([healthy, unhealthy]) = &settings.bodies {
        let body = if since.is_some() { healthy } else { unhealthy };
        return Page::new(status, "", body.clone());
    }
    let mut body = b"{\"status\":".to_vec();
    let text = if since.is_some() { "Server available" } else { "Server not available" };
    put_json_string(&mut body, text.as_bytes());
    body.extend_from_slice(b",\"upSince\":\"");
    match since {
        Some((wall, _)) => put_rfc3339(&mut body, wall.0),
        None => body.extend_from_slice(b"0001-01-01T00:00:00Z"),
    }
    body.extend_from_slice(b"\",\"uptime\":\"");
    if let Some((_, started)) = since {
        let uptime = i64::try_from(now.since(started).as_nanos()).unwrap_or(i64::MAX);
        body.extend_from_slice(otelcore_config::duration::format(uptime).as_bytes());
    }
    body.extend_from_slice(b"\"}");
    Page::new(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> (Option<HealthCheck>, Vec<String>) {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "extensions::health_check", &d);
        let parsed = HealthCheckFactory.parse(&"health_check".parse().unwrap(), section);
        let parsed = parsed.and_then(|s| (s as Box<dyn std::any::Any>).downcast::<HealthCheck>().ok().map(|b| *b));
        (parsed, d.items().into_iter().map(|item| item.message).collect())
    }

    #[test]
    fn the_page_is_the_go_collectors() {
        let (parsed, _) = settings("{}");
        let parsed = parsed.unwrap();
        let up = Some((Wall(1_700_000_000_123_456_789), Mono(0)));
        let ready = page(&parsed, up, Mono(4_237_249_202));
        let expected = "{\"status\":\"Server available\",\"upSince\":\"2023-11-14T22:13:20.123456789Z\",\"uptime\":\"4.237249202s\"}";
        assert_eq!((ready.status, &ready.body[0][..]), (200, expected.as_bytes()));
        let unready = page(&parsed, None, Mono(5));
        let expected = "{\"status\":\"Server not available\",\"upSince\":\"0001-01-01T00:00:00Z\",\"uptime\":\"\"}";
        assert_eq!((unready.status, &unready.body[0][..]), (503, expected.as_bytes()));
    }

    #[test]
    fn fixed_bodies_and_the_old_port_work() {
        let (parsed, said) = settings("{response_body: {healthy: yes!, unhealthy: no}, port: 8080}");
        let parsed = parsed.unwrap();
        assert_eq!(said, ["'port' is deprecated"]);
        let all = otelcore_pipeline::Endpoint::Tcp { host: String::new(), port: 8080 };
        assert_eq!(parsed.server.listen, all);
        assert_eq!(&page(&parsed, Some((Wall(0), Mono(0))), Mono(0)).body[0][..], b"yes!");
    }
}
