//! A load that counts: requests of ten unique spans, each sent until it is acknowledged, and the spans that are found
//! in Jaeger.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::http;

/// The spans of a request.
pub const SPANS: u64 = 10;

/// An OTLP/JSON request of the service: one trace of [`SPANS`] spans, whose ids follow from the request's number.
pub fn request(service: &str, number: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},"scopeSpans":[{{"spans":["#
    );
    for span in 0..SPANS {
        let comma = if span == 0 { "" } else { "," };
        let id = number * SPANS + span + 1;
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
pub fn point(name: &str, value: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeMetrics":[{{"metrics":[{{"name":"{name}","gauge":{{"dataPoints":[{{"asInt":"{value}","timeUnixNano":"{now}"}}]}}}}]}}]}}]}}"#
    )
}

/// An OTLP/JSON request with one log record.
pub fn log(body: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{body}"}}}}]}}]}}]}}"#)
}

/// POSTs OTLP/JSON for a signal (`traces`, `metrics`, `logs`); returns the status, or 0 if there was no answer.
pub fn post(address: SocketAddr, signal: &str, body: &str) -> u16 {
    let headers = "Content-Type: application/json\r\n";
    let path = format!("/v1/{signal}");
    http::request(address, "POST", &path, headers, body.as_bytes(), Duration::from_secs(10)).map_or(0, |(s, _)| s)
}

/// The result of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
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
pub fn send(to: &str, service: &str, first: u64, lasting: Duration, pause: Duration) -> Sent {
    let ends = Instant::now() + lasting;
    let mut sent = Sent::default();
    while Instant::now() < ends {
        let body = request(service, first + sent.acknowledged);
        let gives_up = Instant::now() + Duration::from_secs(90);
        loop {
            // Looked up each time: the service's address may have changed.
            let address = to.to_socket_addrs().ok().and_then(|mut all| all.next());
            if address.is_some_and(|a| post(a, "traces", &body) == 200) {
                break;
            }
            sent.refused += 1;
            assert!(Instant::now() < gives_up, "{to} acknowledges nothing");
            std::thread::sleep(Duration::from_millis(50));
        }
        sent.acknowledged += 1;
        std::thread::sleep(pause);
    }
    sent
}

/// How often each span of a service is in Jaeger, by its id; `None` while Jaeger does not answer.
pub fn in_jaeger(query: SocketAddr, service: &str) -> Option<BTreeMap<u64, u32>> {
    let path = format!("/api/traces?service={service}&limit=1000000&lookback=1h");
    let (status, body) = http::get(query, &path).ok()?;
    let answer: serde_json::Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
    let mut seen = BTreeMap::new();
    for trace in crate::manifest::list(&answer, "data") {
        for span in crate::manifest::list(trace, "spans") {
            let id = u64::from_str_radix(crate::manifest::text(span, "spanID"), 16).ok()?;
            *seen.entry(id).or_default() += 1;
        }
    }
    Some(seen)
}

/// Calls `ask` until it returns a value.
///
/// # Panics
/// If there is no value within the limit.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "never came within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
