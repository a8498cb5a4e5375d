//! Telemetry from a seed, with what Jaeger's model treats in a way of its own.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_pdata::Signal;
use otelcore_test_support::random_bytes;
use prost::Message;

use super::generate::{self, Choices};
use super::rewrite;

/// Replaced by the same number of bytes that are not UTF-8, which a Rust string can't contain.
const PLACEHOLDER: &str = "not-utf8";
const NOT_UTF8: &[u8; 8] = b"a\xff\xc3(\xe2\x82\xed\xa0";

const KEYS: [&str; 16] = [
    "",
    "a",
    "http.status_code",
    "http.response.status_code",
    "http.route",
    "http.",
    "opentracing.ref_type",
    "event",
    "error",
    "span.kind",
    "service.name",
    "otel.status_code",
    "otel.scope.name",
    "größe",
    PLACEHOLDER,
    "a.key.so.long.that.its.length.takes.two.bytes.when.it.stands.in.front.of.it.which.it.does.not.before.it.has.\
     one.hundred.and.twenty.eight.bytes",
];

const WORDS: [&str; 8] =
    ["", "child_of", "follows_from", "GET", "200", "svc", PLACEHOLDER, "\u{2028}<&>\"\\\u{7f}\u{8}\n"];

fn attribute(c: &mut Choices<'_>) -> KeyValue {
    let key = c.choose(&KEYS).to_owned();
    let value = match c.below(3) {
        0 => Some(AnyValue { value: Some(Value::StringValue(c.choose(&WORDS).to_owned())) }),
        1 => c.option(generate::value),
        _ => Some(generate::value(c)),
    };
    KeyValue { key, value, key_strindex: 0 }
}

fn time(c: &mut Choices<'_>) -> u64 {
    const TIMES: [u64; 8] = [
        0,
        1,
        999_999_999,
        1_000_000_000,
        1_700_000_000_123_456_789,
        i64::MAX.cast_unsigned(),
        i64::MAX.cast_unsigned() + 1,
        u64::MAX,
    ];
    if c.bool() { TIMES[c.below(TIMES.len())] } else { 1_700_000_000_000_000_000 + u64::from(c.byte()) }
}

fn span(c: &mut Choices<'_>) -> Span {
    Span {
        trace_id: c.common_id(16, 5),
        span_id: c.common_id(8, 5),
        trace_state: c.choose(&["", "", "k=v", PLACEHOLDER]).to_owned(),
        parent_span_id: c.common_id(8, 5),
        flags: [0, 1, 0x100, 0x301, u32::MAX][c.below(5)],
        name: c.choose(&WORDS).to_owned(),
        kind: c.below(8) as i32 - 1,
        start_time_unix_nano: time(c),
        end_time_unix_nano: time(c),
        attributes: c.vec(attribute),
        dropped_attributes_count: c.u32(),
        events: c.vec(|c| Event {
            time_unix_nano: time(c),
            name: c.choose(&WORDS).to_owned(),
            attributes: c.vec(attribute),
            dropped_attributes_count: c.u32(),
        }),
        dropped_events_count: c.u32(),
        links: c.vec(|c| Link {
            trace_id: c.common_id(16, 5),
            span_id: c.common_id(8, 5),
            trace_state: c.text(),
            attributes: c.vec(|c| {
                let mut attribute = attribute(c);
                if c.bool() {
                    attribute.key = "opentracing.ref_type".to_owned();
                }
                attribute
            }),
            dropped_attributes_count: c.u32(),
            flags: c.u32(),
        }),
        dropped_links_count: c.u32(),
        status: c.option(|c| Status { message: c.choose(&WORDS).to_owned(), code: c.below(5) as i32 - 1 }),
    }
}

fn resource_spans(c: &mut Choices<'_>) -> ResourceSpans {
    let scope = |c: &mut Choices<'_>| InstrumentationScope {
        name: c.choose(&WORDS).to_owned(),
        version: c.choose(&WORDS).to_owned(),
        attributes: c.vec(attribute),
        dropped_attributes_count: c.u32(),
    };
    ResourceSpans {
        resource: c.option(|c| Resource {
            attributes: c.vec(attribute),
            dropped_attributes_count: c.u32(),
            entity_refs: vec![],
        }),
        scope_spans: c.vec(|c| ScopeSpans { scope: c.option(scope), spans: c.vec(span), schema_url: c.text() }),
        schema_url: c.text(),
    }
}

/// The body for a seed: with the fields that the mapping uses, or any fields; in the order of encoders, or in another.
pub fn body(seed: u64) -> Vec<u8> {
    let (content, order) = (random_bytes(seed, 6000), random_bytes(seed ^ 0xffff_ffff, 3000));
    let (mut c, mut order) = (Choices(&content), Choices(&order));
    let message = match c.below(4) {
        0 => generate::traces(&mut c),
        _ => ExportTraceServiceRequest { resource_spans: (0..4).map(|_| resource_spans(&mut c)).collect() },
    };
    let mut bytes = message.encode_to_vec();
    if order.bool() {
        bytes = rewrite::rewrite(Signal::Traces, &bytes, &mut order);
    }
    while let Some(at) = bytes.windows(8).position(|w| w == PLACEHOLDER.as_bytes()) {
        bytes[at..at + 8].copy_from_slice(NOT_UTF8);
    }
    bytes
}
