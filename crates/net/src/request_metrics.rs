//! Own metrics of requests at the level `detailed`: `http_server_*`, `http_client_*`, `rpc_server_*`, `rpc_client_*`, as the Go libraries
//! otelhttp and otelgrpc count them.
//!
//! Owns the labels and the bound of the series: a peer chooses some labels. Below that level nothing is kept, measured or looked up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_http::Code;
use otelcore_http::h1::{RequestHead, Response};
use otelcore_pipeline::{Cx, Histogram, Labels, MetricsLevel, MonotonicTime, Telemetry};

use crate::Url;

/// The most series of each family that one component makes; what is beyond them is counted under [`OVERFLOW`].
const MAX_SERIES: usize = 500;

/// The label of what is counted without its own labels, as in the SDK of OpenTelemetry.
const OVERFLOW: (&str, &str) = ("otel_metric_overflow", "true");

/// The longest host of a request that becomes a label, in bytes: that of a name in the DNS, and a port.
const MAX_HOST: usize = 260;

const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const BYTES: &[f64] =
    &[0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0];

/// Name, help and bounds of a family.
type Family = (&'static str, &'static str, &'static [f64]);

const HTTP_SERVER: [Family; 3] = [
    ("http_server_request_duration", "Duration of HTTP server requests.", SECONDS),
    ("http_server_request_body_size", "Size of HTTP server request bodies.", BYTES),
    ("http_server_response_body_size", "Size of HTTP server response bodies.", BYTES),
];
const HTTP_CLIENT: [Family; 2] = [
    ("http_client_request_duration", "Duration of HTTP client requests.", SECONDS),
    ("http_client_request_body_size", "Size of HTTP client request bodies.", BYTES),
];
const RPC_SERVER: [Family; 1] =
    [("rpc_server_call_duration", "Measures the duration of an incoming Remote Procedure Call (RPC).", SECONDS)];
const RPC_CLIENT: [Family; 1] =
    [("rpc_client_call_duration", "Measures the duration of an outgoing Remote Procedure Call (RPC).", SECONDS)];

/// Series with the same labels in each of some families.
struct SeriesTable<const N: usize> {
    telemetry: Telemetry,
    families: &'static [Family; N],
    series: BTreeMap<Labels, [Histogram; N]>,
}

impl<const N: usize> SeriesTable<N> {
    fn new(telemetry: &Telemetry, families: &'static [Family; N]) -> Option<Rc<RefCell<Self>>> {
        let table = || Self { telemetry: telemetry.clone(), families, series: BTreeMap::new() };
        (telemetry.level() >= MetricsLevel::Detailed).then(|| Rc::new(RefCell::new(table())))
    }

    fn observe(&mut self, labels: Labels, values: [f64; N]) {
        let has_room = self.series.len() < MAX_SERIES || self.series.contains_key(&labels);
        let labels = if has_room { labels } else { vec![(OVERFLOW.0, OVERFLOW.1.to_owned())] };
        let (telemetry, families) = (&self.telemetry, self.families);
        let series = self.series.entry(labels).or_insert_with_key(|labels| {
            families.map(|(name, help, bounds)| {
                telemetry.histogram(MetricsLevel::Detailed, name, help, labels.clone(), bounds)
            })
        });
        series.iter().zip(values).for_each(|(histogram, value)| histogram.observe(value));
    }
}

impl<const N: usize> std::fmt::Debug for SeriesTable<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesTable").field("series", &self.series.len()).finish_non_exhaustive()
    }
}

type SharedTable<const N: usize> = Option<Rc<RefCell<SeriesTable<N>>>>;

/// Host and port of a text as in Go's `SplitHostPort`: a text that is neither has no host.
fn split_host(text: &str) -> (&str, Option<u16>) {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => return ("", None),
        },
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    (host, port.and_then(|port| port.parse().ok()).filter(|port| *port > 0))
}

/// The labels that requests of servers and clients have in common, sorted by name as a table expects them.
fn http_labels(
    method: &str,
    (host, port): (&str, Option<u16>),
    is_encrypted: bool,
    version: &'static str,
    status: Option<u16>,
    route: Option<&str>,
) -> Labels {
    const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    let upper = method.to_ascii_uppercase();
    let method = METHODS.into_iter().find(|known| *known == upper).unwrap_or("_OTHER");
    let mut labels = vec![("http_request_method", method.to_owned())];
    labels.extend(status.map(|status| ("http_response_status_code", status.to_string())));
    labels.extend(route.map(|route| ("http_route", route.to_owned())));
    labels.push(("network_protocol_name", "http".to_owned()));
    labels.push(("network_protocol_version", version.to_owned()));
    labels.push(("server_address", host.to_owned()));
    let default_port = if is_encrypted { 443 } else { 80 };
    labels.extend(port.filter(|port| *port != default_port).map(|port| ("server_port", port.to_string())));
    labels.push(("url_scheme", if is_encrypted { "https" } else { "http" }.to_owned()));
    labels
}

/// The name of a code in the specification of gRPC: `INVALID_ARGUMENT`.
fn canonical_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        // The name of grpc-go has one L.
        Code::Canceled => "CANCELLED".to_owned(),
        code => code.name().char_indices().fold(String::new(), |mut name, (at, c)| {
            if at > 0 && c.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
            name
        }),
    }
}

/// The metrics of an HTTP server.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpServerMetrics {
    table: SharedTable<3>,
    is_encrypted: bool,
}

/// What is noted of a request until its response is known. `None` below the level.
pub(crate) type HttpServerRequest = Option<Box<NotedRequest>>;

/// See [`HttpServerRequest`].
#[derive(Clone, Debug)]
pub(crate) struct NotedRequest {
    started: MonotonicTime,
    method: String,
    host: String,
    version: &'static str,
    route: Option<String>,
    /// Bytes of its body as received.
    pub(crate) body: usize,
}

impl HttpServerMetrics {
    pub(crate) fn new(telemetry: &Telemetry, is_encrypted: bool) -> Self {
        Self { table: SeriesTable::new(telemetry, &HTTP_SERVER), is_encrypted }
    }

    /// Notes a request whose head has arrived.
    pub(crate) fn begin(&self, cx: &Cx<'_>, head: &RequestHead) -> HttpServerRequest {
        self.table.as_ref()?;
        let host = head.get("host").or_else(|| head.get(":authority")).unwrap_or_default();
        let host = String::from_utf8_lossy(host.get(..MAX_HOST).unwrap_or(host)).into_owned();
        let version = match head.version() {
            0 => "1.0",
            1 => "1.1",
            _ => "2.0",
        };
        let method = head.method().chars().take(16).collect();
        Some(Box::new(NotedRequest { started: cx.now(), method, host, version, route: None, body: 0 }))
    }

    /// Counts a request with its response.
    pub(crate) fn end(&self, cx: &Cx<'_>, request: &HttpServerRequest, response: &Response) {
        if let Some(request) = request {
            self.record(request, cx.now(), response.status, response.body.iter().map(|part| part.len()).sum());
        }
    }

    /// The same for a response that is made piece by piece, of which the bytes are known at its end.
    pub(crate) fn record(&self, request: &NotedRequest, now: MonotonicTime, status: u16, response_bytes: usize) {
        let Some(table) = &self.table else { return };
        let host = split_host(&request.host);
        let route = request.route.as_deref();
        let labels = http_labels(&request.method, host, self.is_encrypted, request.version, Some(status), route);
        let seconds = now.since(request.started).as_secs_f64();
        table.borrow_mut().observe(labels, [seconds, request.body as f64, response_bytes as f64]);
    }
}

impl NotedRequest {
    /// Notes the path under which it is served.
    pub(crate) fn set_route(&mut self, route: &str) {
        self.route = Some(route.to_owned());
    }
}

/// The metrics of an HTTP client.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpClientMetrics(SharedTable<2>);

impl HttpClientMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self(SeriesTable::new(telemetry, &HTTP_CLIENT))
    }

    /// When a request begins. `None` below the level.
    pub(crate) fn begin(&self, cx: &Cx<'_>) -> Option<MonotonicTime> {
        self.0.as_ref().map(|_| cx.now())
    }

    /// Counts a POST that has ended: with the status of its response, or without one.
    pub(crate) fn end(&self, cx: &Cx<'_>, started: MonotonicTime, url: &Url, status: Option<u16>, bytes: usize) {
        let Some(table) = &self.0 else { return };
        let labels = http_labels("POST", (url.host(), Some(url.port())), url.is_https(), "1.1", status, None);
        table.borrow_mut().observe(labels, [cx.now().since(started).as_secs_f64(), bytes as f64]);
    }
}

/// The metrics of calls over gRPC.
#[derive(Clone, Debug, Default)]
pub(crate) struct RpcMetrics(SharedTable<1>);

impl RpcMetrics {
    pub(crate) fn of_server(telemetry: &Telemetry) -> Self {
        Self(SeriesTable::new(telemetry, &RPC_SERVER))
    }

    pub(crate) fn of_client(telemetry: &Telemetry) -> Self {
        Self(SeriesTable::new(telemetry, &RPC_CLIENT))
    }

    /// When a call begins. `None` below the level.
    pub(crate) fn begin(&self, cx: &Cx<'_>) -> Option<MonotonicTime> {
        self.0.as_ref().map(|_| cx.now())
    }

    /// Counts a call of a method (`/package.Service/Method`) that has ended.
    pub(crate) fn end(&self, cx: &Cx<'_>, started: Option<MonotonicTime>, method: &str, code: Code) {
        let (Some(table), Some(started)) = (&self.0, started) else { return };
        let method = method.strip_prefix('/').unwrap_or(method);
        let labels = vec![
            ("rpc_method", method.to_owned()),
            ("rpc_response_status_code", canonical_name(code)),
            ("rpc_system_name", "grpc".to_owned()),
        ];
        table.borrow_mut().observe(labels, [cx.now().since(started).as_secs_f64()]);
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pipeline::SeriesValue;

    use super::*;

    fn labels_of(telemetry: &Telemetry, family: &str) -> Vec<String> {
        let families = telemetry.collect();
        let found = families.into_iter().filter(|one| one.name == family).flat_map(|one| one.samples);
        let text = |labels: &Labels| labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        found.map(|sample| text(&sample.labels).join(",")).collect()
    }

    #[test]
    fn host_and_port_are_those_of_go() {
        for (text, expected) in [
            ("a:4318", ("a", Some(4318))),
            ("a", ("a", None)),
            ("[::1]:80", ("::1", Some(80))),
            ("[::1]", ("::1", None)),
            ("[::1", ("", None)),
            ("a:http", ("a", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split_host(text), expected, "{text}");
        }
    }

    #[test]
    fn codes_have_the_names_of_the_specification() {
        let names = [Code::Ok, Code::Canceled, Code::InvalidArgument, Code::Unavailable].map(canonical_name);
        assert_eq!(names, ["OK", "CANCELLED", "INVALID_ARGUMENT", "UNAVAILABLE"]);
    }

    #[test]
    fn nothing_is_kept_below_the_level() {
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        assert!(
            HttpServerMetrics::new(&telemetry, false).table.is_none() && RpcMetrics::of_server(&telemetry).0.is_none()
        );
        assert!(HttpClientMetrics::new(&telemetry).0.is_none() && telemetry.collect().is_empty());
    }

    #[test]
    fn series_are_bounded_whatever_hosts_clients_name() {
        let telemetry = Telemetry::new(MetricsLevel::Detailed);
        let metrics = HttpServerMetrics::new(&telemetry, true);
        for i in 0..MAX_SERIES * 2 {
            let request = NotedRequest {
                started: MonotonicTime(0),
                method: "brew".to_owned(),
                host: format!("h{i}:443"),
                version: "2.0",
                route: None,
                body: 12,
            };
            metrics.record(&request, MonotonicTime(2_000_000_000), 404, 7);
        }
        let labels = labels_of(&telemetry, "http_server_request_duration");
        assert_eq!(labels.len(), MAX_SERIES + 1);
        assert!(labels.contains(&"otel_metric_overflow=true".to_owned()));
        let one = "http_request_method=_OTHER,http_response_status_code=404,network_protocol_name=http,\
                   network_protocol_version=2.0,server_address=h0,url_scheme=https";
        assert!(labels.contains(&one.to_owned()), "{}", labels[0]);
        let families = telemetry.collect();
        let size = families.iter().find(|family| family.name == "http_server_request_body_size").unwrap();
        let SeriesValue::Histogram { counts, sum, .. } = &size.samples[0].value else { panic!("{size:?}") };
        assert_eq!((counts[3], *sum), (1, 12.0));
    }
}
