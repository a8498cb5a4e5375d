//! The bodies that the benches read and change: requests of a web shop, spans of about 550 bytes with ten attributes, as
//! the collector's benches send them.

#![allow(dead_code, reason = "each bench uses a part")]

use otelcore_pdata::build::Body;
use otelcore_pdata::{Rope, Signal, check};

/// Items in a request.
pub const ITEMS: usize = 100;

/// SplitMix64: ids and durations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// One request of [`ITEMS`] items.
pub fn body(signal: Signal) -> Rope {
    match signal {
        Signal::Traces => traces(),
        Signal::Metrics => metrics(),
        Signal::Logs => logs(),
    }
}

fn resource(mut resource: otelcore_pdata::build::ResourceWriter<'_>) {
    let mut attributes = resource.attributes();
    attributes.string(b"service.name", b"checkout").string(b"service.instance.id", b"7f6c");
    attributes.string(b"host.name", b"node-17");
}

fn traces() -> Rope {
    let mut random = Random(1);
    let mut body = Body::new();
    let mut entry = body.resource_spans();
    resource(entry.resource());
    let mut scope = entry.scope_spans();
    scope.scope().name(b"shop.tracer").version(b"1.0.0");
    for i in 0..ITEMS as u64 {
        let start = 1_700_000_000_000_000_000 + i * 1_000_000;
        let mut span = scope.span();
        let (a, b) = (random.next().to_le_bytes(), random.next().to_le_bytes());
        span.trace_id(&std::array::from_fn(|i| if i < 8 { a[i] } else { b[i - 8] }));
        span.span_id(&random.next().to_le_bytes()).parent_span_id(&random.next().to_le_bytes());
        span.name(b"GET /api/v1/products/{id}/recommendations").kind(2);
        span.start_time_unix_nano(start).end_time_unix_nano(start + 7_000_000);
        let path = format!("/api/v1/products/{:010X}/recommendations", random.next() >> 24);
        let client = format!("10.42.{}.{}", random.next() % 256, random.next() % 256);
        let session = format!("{:016x}-{:016x}", random.next(), random.next());
        let mut attributes = span.attributes();
        attributes.string(b"http.request.method", b"GET").string(b"url.path", path.as_bytes());
        attributes.string(b"url.scheme", b"https").string(b"server.address", b"frontend.shop.svc.cluster.local");
        attributes.string(b"client.address", client.as_bytes());
        attributes.string(b"user_agent.original", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
        attributes.string(b"network.protocol.version", b"1.1");
        attributes.string(b"http.route", b"/api/v1/products/{id}/recommendations");
        attributes.string(b"app.user.tier", b"gold").string(b"app.session.id", session.as_bytes());
        span.status().code(1);
    }
    drop(scope);
    drop(entry);
    body.finish()
}

fn metrics() -> Rope {
    let mut body = Body::new();
    let mut entry = body.resource_metrics();
    resource(entry.resource());
    let mut scope = entry.scope_metrics();
    scope.scope().name(b"shop.meter").version(b"1.0.0");
    let mut metric = scope.metric();
    metric.name(b"http.server.requests").description(b"Requests").unit(b"1");
    let mut sum = metric.sum();
    for i in 0..ITEMS as i64 {
        let mut point = sum.point();
        point.start_time_unix_nano(1_700_000_000_000_000_000).time_unix_nano(1_700_000_001_000_000_000).int(i);
        point.attributes().string(b"route", format!("/products/{i}").as_bytes()).string(b"method", b"GET");
    }
    sum.aggregation_temporality(2).is_monotonic(true);
    drop(sum);
    drop(metric);
    drop(scope);
    drop(entry);
    body.finish()
}

fn logs() -> Rope {
    let mut body = Body::new();
    let mut entry = body.resource_logs();
    resource(entry.resource());
    let mut scope = entry.scope_logs();
    for i in 0..ITEMS as u64 {
        let mut record = scope.log_record();
        record.time_unix_nano(1_700_000_000_000_000_000 + i).severity_number(9).severity_text(b"INFO");
        record.body_map(|map| {
            map.string(b"message", b"order placed").int(b"items", 3).double(b"total", 41.5);
        });
        record.attributes().string(b"log.file.name", b"shop.log").int(b"thread.id", 17);
    }
    drop(scope);
    drop(entry);
    body.finish()
}

/// Asserts that a body is valid and has [`ITEMS`] items.
pub fn assert_items(signal: Signal, body: &Rope) {
    assert_eq!(check(signal, &body.to_bytes()).map(|found| found.items), Ok(ITEMS as u32));
}
