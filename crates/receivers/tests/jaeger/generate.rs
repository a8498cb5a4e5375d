//! Batches in every form, made from a seed: most of them valid, with tags that mean something.

use otelcore_test_support::Choices;

use crate::batch::{Batch, Process, Reference, Span, Tags, Value};

const KEYS: &str = "a b c größe span.kind error otel.status_code otel.status_description http.status_code \
    http.status_message w3c.tracestate otel.scope.name otel.scope.version otel.library.name event message \
    service.name hostname host.name jaeger.version opencensus.exporterversion ip";

const TEXTS: &[&str] = &[
    "",
    "x",
    "Größe",
    "true",
    "client",
    "server",
    "producer",
    "consumer",
    "internal",
    "Client",
    "OK",
    "ok",
    "ERROR",
    "Error",
    "UNSET",
    "200",
    "404",
    "500",
    "-7",
    "99999999999999999999",
    "a=1,b=2",
    "1.2.3",
    "started",
];
const INTS: &[i64] = &[0, 1, 99, 100, 200, 398, 399, 400, 404, 499, 500, 1000, -1, i64::MAX, i64::MIN];
const DOUBLES: &[f64] = &[0.0, -0.0, 1.5, f64::MAX, f64::INFINITY, 404.0];
const SERVICES: &[&str] = &["", "shop", "cart", "größe", "OTLPResourceNoServiceName"];
const TIMES: &[i64] =
    &[0, 1, 1_700_000_000_123_456, 1_700_000_000_000_000, 9_223_372_036_854_775, 253_402_300_799_999_999];
const DURATIONS: &[i64] = &[0, 1, 999_999, 1_500_000, 86_400_000_000, -1_500_000];

fn one_of<T: Copy>(c: &mut Choices, options: &[T]) -> T {
    options[c.below(options.len())]
}

fn value(c: &mut Choices, unknown: bool) -> Value {
    match c.below(24) {
        0..12 => Value::Text(one_of(c, TEXTS)),
        12..15 => Value::Bool(c.one_in(2)),
        15..19 => Value::Int(one_of(c, INTS)),
        19..21 => Value::Double(one_of(c, DOUBLES)),
        21 if unknown => Value::Unknown(one_of(c, &[5, 77, -3])),
        _ => Value::Bytes(one_of(c, &[&b""[..], b"\x00\xff", b"bytes"])),
    }
}

fn tags(c: &mut Choices, most: usize, unknown: bool) -> Tags {
    let keys: Vec<&str> = KEYS.split_whitespace().collect();
    (0..c.below(most))
        .map(|_| {
            let key = keys[c.below(keys.len())];
            // Texts and types that mean something, more often than by chance.
            let value = match key {
                "error" if !c.one_in(4) => Value::Bool(!c.one_in(3)),
                "http.status_code" if !c.one_in(4) => Value::Int(one_of(c, INTS)),
                "span.kind" | "otel.status_code" if !c.one_in(4) => Value::Text(TEXTS[4 + c.below(11)]),
                // Go reads the text of a scope's tag whatever its type is.
                "otel.scope.name" | "otel.scope.version" => Value::Text(one_of(c, TEXTS)),
                _ => value(c, unknown),
            };
            (key, value)
        })
        .collect()
}

fn process(c: &mut Choices) -> Process {
    Process { service: one_of(c, SERVICES), tags: tags(c, 6, false) }
}

fn trace_id(c: &mut Choices) -> [u64; 2] {
    [one_of(c, &[0, 0, 7, u64::MAX]), one_of(c, &[1, 2, 0x0102_0304_0506_0708, u64::MAX])]
}

fn reference(c: &mut Choices, of: [u64; 2]) -> Reference {
    let trace_id = if c.one_in(3) { trace_id(c) } else { of };
    Reference { trace_id, span_id: one_of(c, &[0, 1, 2, 3, u64::MAX]), kind: one_of(c, &[0, 0, 1, 1, 2]) }
}

fn span(c: &mut Choices, is_protobuf: bool) -> Span {
    if c.one_in(12) {
        return Span::default();
    }
    let trace_id = trace_id(c);
    let fields = if c.one_in(20) { 30 } else { 5 };
    let most_tags = if c.one_in(10) { 40 } else { 8 };
    Span {
        trace_id,
        id: one_of(c, &[0, 1, 2, u64::MAX]),
        parent_id: one_of(c, &[0, 0, 1, 2]),
        name: one_of(c, &["", "get", "größe"]),
        references: (0..c.below(4)).map(|_| reference(c, trace_id)).collect(),
        flags: one_of(c, &[0, 1, 2]),
        start: (!c.one_in(10)).then(|| one_of(c, TIMES)),
        duration: one_of(c, DURATIONS),
        tags: tags(c, most_tags, true),
        logs: (0..c.below(3)).map(|_| ((!c.one_in(10)).then(|| one_of(c, TIMES)), tags(c, fields, true))).collect(),
        process: (is_protobuf && c.one_in(3)).then(|| process(c)),
    }
}

/// The input for a seed: the form, and a body.
pub fn input(seed: u64) -> Vec<u8> {
    let mut c = Choices::new(seed, 4000);
    let format = (seed % 4) as u8;
    let most_spans = if c.one_in(20) { 20 } else { 5 };
    let batch = Batch {
        process: (!c.one_in(15)).then(|| process(&mut c)),
        spans: (0..c.below(most_spans)).map(|_| span(&mut c, format == 0)).collect(),
        has_process_last: c.one_in(3),
    };
    let mut body = match format {
        0 => batch.to_protobuf(),
        1 => batch.to_thrift(false),
        2 => batch.to_message(false),
        _ => batch.to_message(true),
    };
    if c.one_in(12) {
        let share = c.below(256);
        body.truncate(body.len() * share / 256);
    }
    body.insert(0, format);
    body
}
