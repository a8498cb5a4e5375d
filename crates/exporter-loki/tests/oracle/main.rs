//! The requests compared with those of the Go exporter's translator, stream by stream, on log records from fixed seeds:
//! recorded answers in the first tier, the running Go code by `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../../pdata/tests/oracle/generate.rs"]
mod generate;
mod proto;

use std::collections::BTreeMap;
use std::path::Path;

use generate::Choices;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_exporter_loki::{DefaultLabels, encode_logs};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{EncodeLimits, Piece};
use otelcore_test_support::{CorpusCase, ask_about_seeds, random_bytes, read_corpus, split_frames};
use prost::Message;
use proto::{PushRequest, Timestamp};

const CASES: u64 = 500;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/loki.corpus.zst");

const KEYS: &str =
    "a b a.b level job exporter host.name service.name service.namespace service.instance.id nested tenant _x 1a";
const WORDS: [&str; 12] = [
    "",
    "x",
    "Größe",
    "a b",
    "a=b c=\"d e\"",
    "<&>\"\\",
    "null",
    "3",
    "x\u{7}y\tz",
    "k=\"q\\u00e9\\n\" v",
    "=x",
    "é=\u{2028}",
];
const HINTS: [&str; 9] =
    ["a", "a,b", " a , level", "a.b", "nested.k", "nested.n.k,host.name", "service.name,_x,1a", "x", ""];

fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 }
}

fn word(c: &mut Choices<'_>) -> AnyValue {
    string(WORDS[c.below(WORDS.len())])
}

/// No number that JSON can't express, and no bytes: Go writes these in other ways.
fn is_plain(value: &AnyValue) -> bool {
    match &value.value {
        Some(Value::DoubleValue(v)) => v.is_finite(),
        Some(Value::ArrayValue(array)) => array.values.iter().all(is_plain),
        Some(Value::KvlistValue(map)) => map.values.iter().all(|kv| kv.value.as_ref().is_none_or(is_plain)),
        _ => true,
    }
}

/// A value whose maps have no key twice.
fn value(c: &mut Choices<'_>) -> AnyValue {
    match c.below(7) {
        0 => AnyValue { value: Some(Value::IntValue(i64::from(c.byte()) - 7)) },
        1 => AnyValue { value: Some(Value::DoubleValue([0.5, 1e6, -0.0, 1e21, 3.0][c.below(5)])) },
        2 => AnyValue { value: Some(Value::BoolValue(c.bool())) },
        3 => {
            let inner = vec![attribute("k", word(c)), attribute("m", word(c))];
            let inner = AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: inner })) };
            let values = vec![attribute("n", inner), attribute("k", word(c))];
            AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) }
        }
        4 => {
            let values = vec![word(c), AnyValue { value: Some(Value::IntValue(5)) }];
            AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }
        }
        5 => generate::value(c),
        _ => word(c),
    }
}

fn attributes(c: &mut Choices<'_>) -> Vec<KeyValue> {
    let keys: Vec<_> = KEYS.split_whitespace().collect();
    let mut seen = std::collections::BTreeSet::new();
    let mut all = Vec::new();
    for _ in 0..c.below(6) {
        let key = keys[c.below(keys.len())];
        let value = Some(value(c)).filter(is_plain).unwrap_or_default();
        if seen.insert(key) {
            all.push(attribute(key, value));
        }
    }
    for hint in ["loki.attribute.labels", "loki.resource.labels"] {
        match c.below(5) {
            0 | 1 => all.push(attribute(hint, string(HINTS[c.below(HINTS.len())]))),
            2 => {
                let values = vec![string("a"), string(HINTS[c.below(HINTS.len())])];
                all.push(attribute(hint, AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) }));
            }
            _ => {}
        }
    }
    if c.below(6) == 0 {
        all.push(attribute("loki.tenant", string(["tenant", "a", "absent"][c.below(3)])));
    }
    match c.below(9) {
        0..4 => {}
        4 => all.push(attribute("loki.format", string("json"))),
        5 => all.push(attribute("loki.format", string("other"))),
        6 => all.push(attribute("loki.format", string("raw"))),
        _ => all.push(attribute("loki.format", string("logfmt"))),
    }
    all
}

fn record(c: &mut Choices<'_>) -> LogRecord {
    LogRecord {
        time_unix_nano: if c.below(4) == 0 { 0 } else { 1_700_000_000_000_000_000 + u64::from(c.byte()) },
        observed_time_unix_nano: 1_600_000_000_000_000_001,
        severity_number: c.below(26) as i32,
        severity_text: ["", "", "Info", "a b"][c.below(4)].to_owned(),
        body: c.option(value).filter(is_plain),
        attributes: attributes(c),
        dropped_attributes_count: 0,
        flags: [0, 0, 1][c.below(3)],
        trace_id: if c.bool() { c.id(16) } else { Vec::new() },
        span_id: if c.bool() { c.id(8) } else { Vec::new() },
        event_name: String::new(),
    }
}

/// The default labels that are off, and a request.
fn input(seed: u64) -> Vec<u8> {
    let content = random_bytes(seed, 3000);
    let mut c = Choices(&content);
    let scope = |c: &mut Choices<'_>| InstrumentationScope {
        name: ["", "lib", "a b"][c.below(3)].to_owned(),
        version: ["", "1"][c.below(2)].to_owned(),
        attributes: if c.bool() {
            vec![attribute("s", value(c))].into_iter().filter(|kv| kv.value.as_ref().is_some_and(is_plain)).collect()
        } else {
            Vec::new()
        },
        dropped_attributes_count: 0,
    };
    let scope_logs = |c: &mut Choices<'_>| ScopeLogs {
        scope: c.option(scope),
        log_records: (0..=c.below(4)).map(|_| record(c)).collect(),
        schema_url: String::new(),
    };
    let resource =
        |c: &mut Choices<'_>| Resource { attributes: attributes(c), dropped_attributes_count: 0, entity_refs: vec![] };
    let entry = |c: &mut Choices<'_>| ResourceLogs {
        resource: c.option(resource),
        scope_logs: (0..=c.below(2)).map(|_| scope_logs(c)).collect(),
        schema_url: String::new(),
    };
    let mut input = vec![if c.bool() { 0 } else { c.byte() & 15 }];
    let request = ExportLogsServiceRequest { resource_logs: (0..=c.below(2)).map(|_| entry(&mut c)).collect() };
    request.encode(&mut input).unwrap();
    input
}

/// Lines with their times, by tenant and labels.
type Content = BTreeMap<(String, BTreeMap<String, String>), Vec<(Option<Timestamp>, String)>>;

/// Names and values of `{a="x", b="y"}`, whose escapes are those of Go.
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut rest = text.strip_prefix('{').unwrap();
    let mut labels = BTreeMap::new();
    while rest != "}" {
        let (name, after) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at + 1,
                (_, '\\') => {
                    let digits = |count: usize, chars: &mut std::str::CharIndices<'_>| {
                        let digits: String = chars.take(count).map(|(_, c)| c).collect();
                        char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
                    };
                    value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'v' => '\u{b}',
                        'x' => digits(2, &mut chars),
                        'u' => digits(4, &mut chars),
                        'U' => digits(8, &mut chars),
                        c => c,
                    });
                }
                (_, c) => value.push(c),
            }
        };
        labels.insert(name.trim_start_matches(", ").to_owned(), value);
        rest = &after[end..];
    }
    labels
}

fn add(content: &mut Content, tenant: &str, body: &[u8]) {
    for stream in PushRequest::decode(body).unwrap().streams {
        let entries = stream.entries.into_iter().map(|entry| (entry.timestamp, entry.line));
        content.entry((tenant.to_owned(), labels(&stream.labels))).or_default().extend(entries);
    }
}

fn body_of(bytes: &[u8]) -> Rope {
    let items = check(Signal::Logs, bytes).unwrap().items;
    Rope::new(bytes.to_vec().into(), items)
}

/// The content of all requests, and how many records are in none.
fn encode(off: u8, body: Rope, message_bytes: usize) -> (Content, u32) {
    let on = |bit: u8| off >> bit & 1 == 0;
    let defaults = DefaultLabels { exporter: on(0), job: on(1), instance: on(2), level: on(3) };
    let limits = EncodeLimits { message_bytes, max_messages: 1000, total_bytes: usize::MAX };
    let (mut content, mut dropped) = (Content::new(), 0);
    let encoded = encode_logs(defaults, 1, Piece { body, ..Piece::default() }, limits);
    assert!(encoded.rest.is_none());
    for message in encoded.messages {
        dropped += message.left_out.map_or(0, |left_out| left_out.count);
        let tenant = message.content.headers.first().map(|(_, value)| value.clone().into_owned());
        add(&mut content, &tenant.unwrap_or_default(), &message.content.parts.concat());
    }
    (content, dropped)
}

fn compare(case: &CorpusCase, seen: &mut usize) {
    let (off, body) = case.input.split_first().unwrap();
    let (mut expected, mut expected_dropped) = (Content::new(), 0);
    for frames in split_frames(&case.answer).chunks(3) {
        let [tenant, dropped, request] = frames else { panic!() };
        expected_dropped += std::str::from_utf8(dropped).unwrap().parse::<u32>().unwrap();
        add(&mut expected, std::str::from_utf8(tenant).unwrap(), request);
    }
    let request = || ExportLogsServiceRequest::decode(body).unwrap();
    let (got, dropped) = encode(*off, body_of(body), usize::MAX);
    for (stream, lines) in &expected {
        *seen += lines.len();
        assert_eq!(got.get(stream).unwrap_or(&Vec::new()), lines, "{stream:?} of {:#?}", request());
    }
    assert_eq!(got.len(), expected.len(), "{:#?}", request());
    assert_eq!(dropped, expected_dropped, "{:#?}", request());
    // In requests of one record the same.
    let (single, _) = encode(*off, body_of(body), 1);
    assert_eq!(single, got);
}

#[test]
fn recorded_log_records_are_translated_as_by_the_go_exporter() {
    let mut seen = 0;
    read_corpus(Path::new(CORPUS)).iter().for_each(|case| compare(case, &mut seen));
    assert!(seen > 2000, "{seen} lines were compared");
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn log_records_of_fixed_and_fresh_seeds_are_translated_as_by_the_go_exporter() {
    let Some(cases) = ask_about_seeds("loki-oracle", Path::new(CORPUS), CASES, input) else { return };
    let mut seen = 0;
    cases.iter().for_each(|case| compare(case, &mut seen));
    assert!(seen > 4000, "{seen} lines were compared");
}
