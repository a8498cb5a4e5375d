//! The encoder against the Go translator, byte for byte, on telemetry from fixed seeds.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;
#[path = "../../pdata/tests/oracle/rewrite.rs"]
mod rewrite;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use generate::Choices;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_exporter_jaeger::encode::requests;
use otelcore_pdata::{Signal, check};
use prost::Message;

const BODIES: u64 = 600;

/// A real peer built by scripts/tools. If it is missing, the test fails in CI; on other machines it is skipped with a
/// message.
fn tool(name: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/bin").join(name);
    if !built.is_file() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing; run scripts/tools");
        eprintln!("skipped: {name} is missing; run scripts/tools");
        return None;
    }
    Some(built)
}

/// Pseudorandom bytes from a seed, by SplitMix64.
fn entropy(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Replaced by the same number of bytes that are not UTF-8, which a Rust string can't contain.
const STAND_IN: &str = "not-utf8";
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
    STAND_IN,
    "a.key.so.long.that.its.length.takes.two.bytes.when.it.stands.in.front.of.it.which.it.does.not.before.it.has.\
     one.hundred.and.twenty.eight.bytes",
];

const WORDS: [&str; 8] =
    ["", "child_of", "follows_from", "GET", "200", "svc", STAND_IN, "\u{2028}<&>\"\\\u{7f}\u{8}\n"];

fn pick<'a>(c: &mut Choices<'_>, from: &[&'a str]) -> &'a str {
    from[c.below(from.len())]
}

fn attribute(c: &mut Choices<'_>) -> KeyValue {
    let key = pick(c, &KEYS).to_owned();
    let value = match c.below(3) {
        0 => Some(AnyValue { value: Some(Value::StringValue(pick(c, &WORDS).to_owned())) }),
        1 => c.maybe(generate::value),
        _ => Some(generate::value(c)),
    };
    KeyValue { key, value, key_strindex: 0 }
}

/// Ids from a small set, so that equal ones occur: empty, zeros, and others that differ in one half.
fn id(c: &mut Choices<'_>, len: usize) -> Vec<u8> {
    let mut id = vec![0; len];
    match c.below(5) {
        0 => return Vec::new(),
        1 => {}
        2 => id[0] = 1,
        3 => id[len - 1] = 1,
        _ => id = (1..=len as u8).collect(),
    }
    id
}

fn time(c: &mut Choices<'_>) -> u64 {
    const MOMENTS: [u64; 8] = [
        0,
        1,
        999_999_999,
        1_000_000_000,
        1_700_000_000_123_456_789,
        i64::MAX.cast_unsigned(),
        i64::MAX.cast_unsigned() + 1,
        u64::MAX,
    ];
    if c.coin() { MOMENTS[c.below(MOMENTS.len())] } else { 1_700_000_000_000_000_000 + u64::from(c.byte()) }
}

fn span(c: &mut Choices<'_>) -> Span {
    Span {
        trace_id: id(c, 16),
        span_id: id(c, 8),
        trace_state: pick(c, &["", "", "k=v", STAND_IN]).to_owned(),
        parent_span_id: id(c, 8),
        flags: [0, 1, 0x100, 0x301, u32::MAX][c.below(5)],
        name: pick(c, &WORDS).to_owned(),
        kind: c.below(8) as i32 - 1,
        start_time_unix_nano: time(c),
        end_time_unix_nano: time(c),
        attributes: c.many(attribute),
        dropped_attributes_count: c.u32(),
        events: c.many(|c| Event {
            time_unix_nano: time(c),
            name: pick(c, &WORDS).to_owned(),
            attributes: c.many(attribute),
            dropped_attributes_count: c.u32(),
        }),
        dropped_events_count: c.u32(),
        links: c.many(|c| Link {
            trace_id: id(c, 16),
            span_id: id(c, 8),
            trace_state: c.text(),
            attributes: c.many(|c| {
                let mut attribute = attribute(c);
                if c.coin() {
                    attribute.key = "opentracing.ref_type".to_owned();
                }
                attribute
            }),
            dropped_attributes_count: c.u32(),
            flags: c.u32(),
        }),
        dropped_links_count: c.u32(),
        status: c.maybe(|c| Status { message: pick(c, &WORDS).to_owned(), code: c.below(5) as i32 - 1 }),
    }
}

fn resource_spans(c: &mut Choices<'_>) -> ResourceSpans {
    let scope = |c: &mut Choices<'_>| InstrumentationScope {
        name: pick(c, &WORDS).to_owned(),
        version: pick(c, &WORDS).to_owned(),
        attributes: c.many(attribute),
        dropped_attributes_count: c.u32(),
    };
    ResourceSpans {
        resource: c.maybe(|c| Resource {
            attributes: c.many(attribute),
            dropped_attributes_count: c.u32(),
            entity_refs: vec![],
        }),
        scope_spans: c.many(|c| ScopeSpans { scope: c.maybe(scope), spans: c.many(span), schema_url: c.text() }),
        schema_url: c.text(),
    }
}

/// The body for a seed: with the fields that the mapping uses, or any fields; in the order of encoders, or in another.
fn body(seed: u64) -> Vec<u8> {
    let (content, order) = (entropy(seed, 6000), entropy(seed ^ 0xffff_ffff, 3000));
    let (mut c, mut order) = (Choices(&content), Choices(&order));
    let message = match c.below(4) {
        0 => generate::traces(&mut c),
        _ => ExportTraceServiceRequest { resource_spans: (0..4).map(|_| resource_spans(&mut c)).collect() },
    };
    let mut bytes = message.encode_to_vec();
    if order.coin() {
        bytes = rewrite::rewrite(Signal::Traces, &bytes, &mut order);
    }
    while let Some(at) = bytes.windows(8).position(|w| w == STAND_IN.as_bytes()) {
        bytes[at..at + 8].copy_from_slice(NOT_UTF8);
    }
    bytes
}

/// Takes a little-endian u32 off the front.
fn number(bytes: &mut &[u8]) -> u32 {
    let (first, rest) = bytes.split_first_chunk().expect("the oracle's output has a number here");
    *bytes = rest;
    u32::from_le_bytes(*first)
}

/// What the Go translator makes of each body.
fn ask(oracle: &Path, bodies: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut child = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            for body in bodies {
                stdin.write_all(&u32::try_from(body.len()).unwrap().to_le_bytes()).unwrap();
                stdin.write_all(body).unwrap();
            }
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    let mut rest = output.stdout.as_slice();
    let answers = bodies.iter().map(|_| {
        let count = number(&mut rest);
        assert_ne!(count, u32::MAX, "Go refuses a body");
        let requests = (0..count).map(|_| {
            let len = number(&mut rest) as usize;
            let (request, after) = rest.split_at(len);
            rest = after;
            request.to_vec()
        });
        requests.collect()
    });
    let answers = answers.collect();
    assert!(rest.is_empty());
    answers
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    otelcore_pdata::text::put_hex(&mut out, bytes);
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_are_those_of_the_go_translator_to_the_byte() {
    let Some(oracle) = tool("jaeger-oracle") else { return };
    let bodies: Vec<_> = (0..BODIES).map(body).collect();
    let (mut spans, mut count) = (0, 0);
    for (seed, (body, expected)) in bodies.iter().zip(ask(&oracle, &bodies)).enumerate() {
        spans += check(Signal::Traces, body).unwrap().items;
        let got = requests(body);
        assert_eq!(got.len(), expected.len(), "requests of seed {seed}");
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
            let from = same.saturating_sub(60);
            let part = |bytes: &[u8]| {
                let part = &bytes[from..bytes.len().min(same + 60)];
                format!("{} {:?}", hex(part), String::from_utf8_lossy(part))
            };
            assert!(
                got == expected,
                "request {i} of seed {seed}, {} bytes instead of {}, differs at {same}:\n{}\ninstead of\n{}",
                got.len(),
                expected.len(),
                part(got),
                part(expected),
            );
            count += 1;
        }
    }
    // The bodies of the seeds have enough spans to be a useful test.
    assert!(spans > 1500 && count > 1000, "{spans} spans in {count} requests");
}
