//! A load that counts: requests of ten unique spans, each sent until it is acknowledged, and the spans that are found
//! in Jaeger.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http;

/// The spans of a request.
pub const SPANS_PER_REQUEST: u64 = 10;

/// An OTLP/JSON request of the service: one trace of [`SPANS_PER_REQUEST`] spans, whose ids follow from the request's
/// number.
pub fn trace_request(service: &str, number: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},"scopeSpans":[{{"spans":["#
    );
    for span in 0..SPANS_PER_REQUEST {
        let comma = if span == 0 { "" } else { "," };
        let id = number * SPANS_PER_REQUEST + span + 1;
        let _ = write!(
            body,
            r#"{comma}{{"traceId":"{:032x}","spanId":"{id:016x}","name":"work","kind":2,"startTimeUnixNano":"{now}","endTimeUnixNano":"{}"}}"#,
            number + 1,
            now + 1_000_000
        );
    }
    body + "]}]}]}"
}

/// An OTLP/JSON request with one gauge point.
pub fn gauge_request(name: &str, value: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeMetrics":[{{"metrics":[{{"name":"{name}","gauge":{{"dataPoints":[{{"asInt":"{value}","timeUnixNano":"{now}"}}]}}}}]}}]}}]}}"#
    )
}

/// An OTLP/JSON request with one log record.
pub fn log_request(body: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{body}"}}}}]}}]}}]}}"#)
}

/// POSTs OTLP/JSON for a signal (`traces`, `metrics`, `logs`); returns the status, or 0 if there was no response.
pub fn post(address: SocketAddr, signal: &str, body: &str) -> u16 {
    let headers = "Content-Type: application/json\r\n";
    let path = format!("/v1/{signal}");
    http::request(address, "POST", &path, headers, body.as_bytes(), Duration::from_secs(10)).map_or(0, |(s, _)| s)
}

/// The result of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadResult {
    /// The number of acknowledged requests: their numbers follow each other from the first on.
    pub acknowledged: u64,
    /// The number of attempts that were not acknowledged.
    pub refused: u64,
}

/// Sends requests number `first`, `first + 1` ... for a while, `pause` apart; each is repeated until it is
/// acknowledged.
///
/// # Panics
/// If one request is not acknowledged within a minute and a half.
pub fn send_until_acknowledged(
    target: &str,
    service: &str,
    first: u64,
    duration: Duration,
    pause: Duration,
) -> LoadResult {
    let deadline = Instant::now() + duration;
    let mut sent = LoadResult::default();
    while Instant::now() < deadline {
        let body = trace_request(service, first + sent.acknowledged);
        let request_deadline = Instant::now() + Duration::from_secs(90);
        loop {
            // Looked up each time: the service's address may have changed.
            let address = target.to_socket_addrs().ok().and_then(|mut all| all.next());
            if address.is_some_and(|a| post(a, "traces", &body) == 200) {
                break;
            }
            sent.refused += 1;
            assert!(Instant::now() < request_deadline, "{target} acknowledges nothing");
            std::thread::sleep(Duration::from_millis(50));
        }
        sent.acknowledged += 1;
        std::thread::sleep(pause);
    }
    sent
}

/// How often each span of a service is in Jaeger, by its id; `None` while Jaeger does not respond.
pub fn spans_in_jaeger(query: SocketAddr, service: &str) -> Option<BTreeMap<u64, u32>> {
    let path = format!("/api/traces?service={service}&limit=1000000&lookback=1h");
    let (status, body) = http::get(query, &path).ok()?;
    let response: serde_json::Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    let mut counts = BTreeMap::new();
    for trace in crate::manifest::list(&response, "data") {
        for span in crate::manifest::list(trace, "spans") {
            let id = u64::from_str_radix(crate::manifest::text(span, "spanID"), 16).ok()?;
            *counts.entry(id).or_default() += 1;
        }
    }
    Some(counts)
}

/// Calls `poll` until it returns a value.
///
/// # Panics
/// If there is no value within the limit.
pub fn wait_until<T>(what: &str, limit: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < end, "never came within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
