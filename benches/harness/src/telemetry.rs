//! The requests that the load sends.

use otelcore_pdata::wire::{put_bytes, put_fixed64, put_uint};

fn attribute(out: &mut Vec<u8>, number: u32, key: &str, value: &str) {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, value.as_bytes());
    let mut kv = Vec::new();
    put_bytes(&mut kv, 1, key.as_bytes());
    put_bytes(&mut kv, 2, &any);
    put_bytes(out, number, &kv);
}

fn resource() -> Vec<u8> {
    let mut resource = Vec::new();
    for (key, value) in [("service.name", "checkout"), ("service.instance.id", "7f6c"), ("host.name", "node-17")] {
        attribute(&mut resource, 1, key, value);
    }
    resource
}

/// One resource with `spans` spans of ten attributes, about 650 bytes each.
pub(crate) fn traces(spans: u32) -> Vec<u8> {
    let keys = [
        ("http.request.method", "GET"),
        ("url.path", "/api/v1/products/0PUK6V6EV0/recommendations"),
        ("url.scheme", "https"),
        ("server.address", "frontend.shop.svc.cluster.local"),
        ("client.address", "10.42.17.203"),
        ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("network.protocol.version", "1.1"),
        ("http.route", "/api/v1/products/{id}/recommendations"),
        ("app.user.tier", "gold"),
        ("app.session.id", "3f1c54e2-09a7-4a6b-8f0e-5d1f7f2e8c11"),
    ];
    let mut scope = Vec::new();
    put_bytes(&mut scope, 1, b"\x0a\x0bshop.tracer\x12\x051.0.0");
    for i in 0..u64::from(spans) {
        let mut span = Vec::new();
        put_bytes(&mut span, 1, &[&i.to_be_bytes()[..], &[7; 8]].concat());
        put_bytes(&mut span, 2, &(i + 1).to_be_bytes());
        put_bytes(&mut span, 4, &[9; 8]);
        put_bytes(&mut span, 5, b"GET /api/v1/products/{id}/recommendations");
        put_uint(&mut span, 6, 2);
        put_fixed64(&mut span, 7, 1_700_000_000_000_000_000 + i * 1000);
        put_fixed64(&mut span, 8, 1_700_000_000_012_345_678 + i * 1000);
        for (key, value) in keys {
            attribute(&mut span, 9, key, value);
        }
        put_bytes(&mut span, 15, b"\x18\x01");
        put_bytes(&mut scope, 2, &span);
    }
    body(&scope)
}

/// One resource with one sum of `points` points, two labels each: the same series in every request.
pub(crate) fn metrics(points: u32, round: u64) -> Vec<u8> {
    let mut sum = Vec::new();
    for i in 0..points {
        let mut point = Vec::new();
        put_fixed64(&mut point, 2, 1_700_000_000_000_000_000);
        put_fixed64(&mut point, 3, 1_700_000_001_000_000_000 + round * 1_000_000);
        put_fixed64(&mut point, 6, round + u64::from(i));
        attribute(&mut point, 7, "route", &format!("/products/{i}"));
        attribute(&mut point, 7, "method", "GET");
        put_bytes(&mut sum, 1, &point);
    }
    put_uint(&mut sum, 2, 2);
    put_uint(&mut sum, 3, 1);
    let mut metric = Vec::new();
    put_bytes(&mut metric, 1, b"http.server.requests");
    put_bytes(&mut metric, 2, b"Requests");
    put_bytes(&mut metric, 3, b"1");
    put_bytes(&mut metric, 7, &sum);
    let mut scope = Vec::new();
    put_bytes(&mut scope, 1, b"\x0a\x0ashop.meter\x12\x051.0.0");
    put_bytes(&mut scope, 2, &metric);
    body(&scope)
}

fn body(scope: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, &resource());
    put_bytes(&mut entry, 2, scope);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &entry);
    body
}
