//! The requests that the load sends.

use bytes::Bytes;
use otelcore_http::Coding;
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, put_fixed64_field, put_varint_field};

fn attribute(out: &mut Vec<u8>, number: u32, key: &str, value: &str) {
    let mut any = Vec::new();
    put_bytes_field(&mut any, 1, value.as_bytes());
    let mut kv = Vec::new();
    put_bytes_field(&mut kv, 1, key.as_bytes());
    put_bytes_field(&mut kv, 2, &any);
    put_bytes_field(out, number, &kv);
}

fn resource() -> Vec<u8> {
    let mut resource = Vec::new();
    for (key, value) in [("service.name", "checkout"), ("service.instance.id", "7f6c"), ("host.name", "node-17")] {
        attribute(&mut resource, 1, key, value);
    }
    resource
}

/// The load of traces with many different spans.
pub(crate) const SERIES: &str = "series";

/// The load of traces whose ids occur in one request only.
pub(crate) const NEW_TRACES: &str = "new-traces";

/// The bodies of a load, one after another.
pub(crate) struct Bodies {
    bodies: Vec<Bytes>,
    /// Of each body, where the trace ids of its spans are, if each request has ids of its own.
    trace_ids: Vec<Vec<usize>>,
    seed: u64,
}

impl Bodies {
    /// The bodies of `signal`; new trace ids differ from those of another seed.
    pub(crate) fn new(signal: &str, items: u32, seed: u64) -> Self {
        let bodies: Vec<Bytes> = bodies(signal, items).into_iter().map(Bytes::from).collect();
        let trace_ids =
            if signal == NEW_TRACES { bodies.iter().map(|body| trace_ids(body)).collect() } else { Vec::new() };
        Self { bodies, trace_ids, seed }
    }

    /// The body of the request with this number, which starts at zero.
    pub(crate) fn get(&self, request: u64) -> Bytes {
        let at = (request % self.bodies.len() as u64) as usize;
        let Some(trace_ids) = self.trace_ids.get(at) else { return self.bodies[at].clone() };
        let difference = Random(self.seed << 32 | request).next().to_be_bytes();
        let mut body = self.bodies[at].to_vec();
        for id in trace_ids {
            for (byte, difference) in body[*id..].iter_mut().zip(difference) {
                *byte ^= difference;
            }
        }
        body.into()
    }
}

/// Where the trace ids of a body's spans begin.
fn trace_ids(body: &[u8]) -> Vec<usize> {
    fn inner(message: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> {
        MessageFields::new(message).filter_map(move |(number, value)| match value {
            WireValue::Len(inner) if number == wanted => Some(inner),
            _ => None,
        })
    }
    let spans = inner(body, 1).flat_map(|entry| inner(entry, 2)).flat_map(|scope| inner(scope, 2));
    spans.flat_map(|span| inner(span, 1)).map(|id| id.as_ptr() as usize - body.as_ptr() as usize).collect()
}

/// Several different bodies of the same kind, so that a coding can't reuse one body for the next.
pub(crate) fn bodies(signal: &str, items: u32) -> Vec<Vec<u8>> {
    match signal {
        "traces" | NEW_TRACES => (0..16).map(|round| traces(items, round)).collect(),
        // With the clients' addresses as a dimension, as many series as there are spans in all bodies.
        SERIES => (0..100).map(|round| traces(items, round)).collect(),
        _ => (0..64).map(|round| metrics(items, round)).collect(),
    }
}

/// The coding of a row; `none` is identity.
pub(crate) fn coding(name: &str) -> Result<Coding, String> {
    let name = if name == "none" { "identity" } else { name };
    Coding::parse(name.as_bytes()).map_err(|e| e.to_string())
}

/// SplitMix64: ids and durations that a coding cannot predict.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn choose<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[(self.next() % from.len() as u64) as usize]
    }
}

const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
const ROUTES: [&str; 5] = [
    "/api/v1/products/{id}/recommendations",
    "/api/v1/products/{id}/reviews/latest",
    "/api/v1/carts/{id}/items/quantities",
    "/api/v1/checkout/{id}/shipping/quotes",
    "/api/v1/customers/{id}/orders/recents",
];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64) Gecko/2010010",
    "python-requests/2.32.3 (linux; cpython 3.12.4) url",
];
const TIERS: [&str; 3] = ["gold", "free", "plus"];

/// One resource with `spans` spans of ten attributes, about 550 bytes each. Ids, durations, addresses and sessions
/// differ from span to span; the rest varies as in the telemetry of a web shop.
pub(crate) fn traces(spans: u32, round: u64) -> Vec<u8> {
    let mut random = Random(round);
    let mut scope = Vec::new();
    put_bytes_field(&mut scope, 1, b"\x0a\x0bshop.tracer\x12\x051.0.0");
    let (mut trace, mut parent) = ([0; 16], 0);
    for i in 0..u64::from(spans) {
        // Traces of eight spans, each the child of the one before.
        if i % 8 == 0 {
            trace[..8].copy_from_slice(&random.next().to_be_bytes());
            trace[8..].copy_from_slice(&random.next().to_be_bytes());
            parent = random.next();
        }
        let id = random.next();
        let (method, route) = (random.choose(&METHODS), random.choose(&ROUTES));
        let start = 1_700_000_000_000_000_000 + (round * 1000 + i) * 1_000_000 + random.next() % 1_000_000;
        let (product, session) = (random.next(), random.next());
        let mut span = Vec::new();
        put_bytes_field(&mut span, 1, &trace);
        put_bytes_field(&mut span, 2, &id.to_be_bytes());
        put_bytes_field(&mut span, 4, &std::mem::replace(&mut parent, id).to_be_bytes());
        put_bytes_field(&mut span, 5, format!("{method} {route}").as_bytes());
        put_varint_field(&mut span, 6, 2);
        put_fixed64_field(&mut span, 7, start);
        put_fixed64_field(&mut span, 8, start + 1_000_000 + random.next() % 20_000_000);
        for (key, value) in [
            ("http.request.method", method),
            ("url.path", &route.replace("{id}", &format!("{:010X}", product >> 24))),
            ("url.scheme", "https"),
            ("server.address", "frontend.shop.svc.cluster.local"),
            ("client.address", &format!("10.42.{}.{}", product % 256, session % 256)),
            ("user_agent.original", random.choose(&AGENTS)),
            ("network.protocol.version", "1.1"),
            ("http.route", route),
            ("app.user.tier", random.choose(&TIERS)),
            ("app.session.id", &format!("{session:016x}-{:016x}", random.next())),
        ] {
            attribute(&mut span, 9, key, value);
        }
        put_bytes_field(&mut span, 15, b"\x18\x01");
        put_bytes_field(&mut scope, 2, &span);
    }
    body(&scope)
}

/// One resource with one sum of `points` points, two labels each: the same series in every request.
fn metrics(points: u32, round: u64) -> Vec<u8> {
    let mut sum = Vec::new();
    for i in 0..points {
        let mut point = Vec::new();
        put_fixed64_field(&mut point, 2, 1_700_000_000_000_000_000);
        put_fixed64_field(&mut point, 3, 1_700_000_001_000_000_000 + round * 1_000_000);
        put_fixed64_field(&mut point, 6, round + u64::from(i));
        attribute(&mut point, 7, "route", &format!("/products/{i}"));
        attribute(&mut point, 7, "method", "GET");
        put_bytes_field(&mut sum, 1, &point);
    }
    put_varint_field(&mut sum, 2, 2);
    put_varint_field(&mut sum, 3, 1);
    let mut metric = Vec::new();
    put_bytes_field(&mut metric, 1, b"http.server.requests");
    put_bytes_field(&mut metric, 2, b"Requests");
    put_bytes_field(&mut metric, 3, b"1");
    put_bytes_field(&mut metric, 7, &sum);
    let mut scope = Vec::new();
    put_bytes_field(&mut scope, 1, b"\x0a\x0ashop.meter\x12\x051.0.0");
    put_bytes_field(&mut scope, 2, &metric);
    body(&scope)
}

fn body(scope: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    put_bytes_field(&mut entry, 1, &resource());
    put_bytes_field(&mut entry, 2, scope);
    let mut body = Vec::new();
    put_bytes_field(&mut body, 1, &entry);
    body
}
