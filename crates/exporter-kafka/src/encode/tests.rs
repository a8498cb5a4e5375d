use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue as ProtoValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs as ProtoResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::checked_rope;
use prost::Message;

use super::*;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(ProtoValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("topic", name)], ..Resource::default() })
}

fn span(trace: u8, name: &str) -> Span {
    let trace_id = if trace == 0 { Vec::new() } else { vec![trace; 16] };
    Span { trace_id, span_id: vec![1; 8], name: name.to_owned(), ..Span::default() }
}

fn spans(name: &str, scopes: &[&[Span]]) -> ResourceSpans {
    let scope = |spans: &&[Span]| ScopeSpans {
        scope: Some(InstrumentationScope { name: "scope".to_owned(), ..InstrumentationScope::default() }),
        spans: spans.to_vec(),
        ..ScopeSpans::default()
    };
    ResourceSpans {
        resource: resource(name),
        scope_spans: scopes.iter().map(scope).collect(),
        ..ResourceSpans::default()
    }
}

fn body(resource_spans: Vec<ResourceSpans>) -> Rope {
    checked_rope(Signal::Traces, ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()).unwrap()
}

fn encoder(encoding: Encoding, grouping: Grouping, topic_attribute: &str, max: usize) -> KafkaEncoder {
    KafkaEncoder {
        signals: [SignalEncoding { encoding, grouping }; 3],
        topic_attribute: topic_attribute.into(),
        max_value_bytes: max,
    }
}

const LIMITS: EncodeLimits = EncodeLimits { message_bytes: usize::MAX, max_messages: 100, total_bytes: 8 << 20 };

/// Encodes a body to its end, and checks that its items are in messages.
fn encode_all(encoder: &KafkaEncoder, signal: Signal, body: Rope, limits: EncodeLimits) -> Vec<KafkaMessage> {
    let items = body.items();
    let mut found = 0;
    let mut messages = Vec::new();
    let mut piece = Some(Piece { body, ..Piece::default() });
    while let Some(next) = piece.take() {
        let encoded = encoder.encode(signal, next, limits);
        for message in encoded.messages {
            found += message.body.items();
            messages.push(message.content);
        }
        piece = encoded.rest;
    }
    assert_eq!(found, items);
    messages
}

/// The names of the spans of each record, behind its key.
fn names(messages: &[KafkaMessage]) -> Vec<String> {
    let of_record = |record: &KeyAndValue| {
        let request = ExportTraceServiceRequest::decode(&record.value[..]).unwrap();
        assert!(request.resource_spans.iter().all(|entry| entry.resource.is_some()));
        let spans = request.resource_spans.iter().flat_map(|entry| &entry.scope_spans).flat_map(|scope| &scope.spans);
        let names: Vec<&str> = spans.map(|span| span.name.as_str()).collect();
        let key = record.key.as_ref().map_or("-", |key| std::str::from_utf8(key).unwrap());
        format!("{key}:{}", names.join(","))
    };
    messages.iter().flat_map(|message| &message.records).map(of_record).collect()
}

#[test]
fn spans_are_grouped_by_resource_scope_and_trace_as_in_go() {
    let entries = vec![
        spans("x", &[&[span(1, "a"), span(2, "b"), span(1, "c")], &[span(1, "d")]]),
        spans("y", &[&[span(1, "e"), span(0, "f")]]),
    ];
    let encoder = encoder(Encoding::OtlpProto, Grouping::Trace, "", 1 << 20);
    let messages = encode_all(&encoder, Signal::Traces, body(entries.clone()), LIMITS);
    let (one, two) = ("01".repeat(16), "02".repeat(16));
    let expected = [format!("{one}:a,c"), format!("{two}:b"), format!("{one}:d"), format!("{one}:e"), ":f".to_owned()];
    assert_eq!(names(&messages), expected);
    // The same with room for little at once: what is left goes on in order.
    let few = EncodeLimits { total_bytes: 1, ..LIMITS };
    let messages = encode_all(&encoder, Signal::Traces, body(entries), few);
    assert_eq!(names(&messages), expected);
}

#[test]
fn attribute_of_the_resource_names_the_topic() {
    let entries = vec![spans("x", &[&[span(1, "a")]]), spans("", &[&[span(2, "b")]]), spans("y", &[&[span(3, "c")]])];
    let encoder = encoder(Encoding::OtlpProto, Grouping::Resource, "topic", 1 << 20);
    let messages = encode_all(&encoder, Signal::Traces, body(entries), LIMITS);
    let topics: Vec<_> = messages.iter().map(|message| message.topic.as_deref()).collect();
    assert_eq!(topics, [Some("x"), None, Some("y")]);
    assert_eq!(names(&messages), ["-:a", "-:b", "-:c"]);
}

#[test]
fn record_that_would_be_too_long_is_cut() {
    let all: Vec<Span> = (0..100_u8).map(|n| span(n % 3 + 1, &format!("span {n}"))).collect();
    for (encoding, grouping) in [
        (Encoding::OtlpProto, Grouping::None),
        (Encoding::OtlpJson, Grouping::None),
        (Encoding::OtlpProto, Grouping::Trace),
    ] {
        let encoder = encoder(encoding, grouping, "", 500);
        let messages = encode_all(&encoder, Signal::Traces, body(vec![spans("x", &[&all])]), LIMITS);
        let records: Vec<_> = messages.iter().flat_map(|message| &message.records).collect();
        assert!(records.len() > 5 && records.iter().all(|record| record.value.len() <= 500), "{encoding:?}");
        if encoding == Encoding::OtlpProto {
            let mut found: Vec<String> = names(&messages);
            found.iter_mut().for_each(|line| *line = line.split_once(':').unwrap().1.to_owned());
            assert_eq!(found.join(",").split(',').count(), 100);
        }
    }
}

#[test]
fn many_small_records_are_few_calls() {
    let all: Vec<Span> = (1..=200_u8).map(|n| span(n, "span")).collect();
    let encoder = encoder(Encoding::OtlpProto, Grouping::Trace, "", 1 << 20);
    let messages = encode_all(&encoder, Signal::Traces, body(vec![spans("x", &[&all])]), LIMITS);
    assert_eq!((messages.len(), messages[0].records.len()), (1, 200));
}

#[test]
fn spans_of_jaeger_are_json_if_that_is_configured() {
    let encoder = encoder(Encoding::JaegerJson, Grouping::None, "", 1 << 20);
    let entries = vec![spans("x", &[&[span(1, "a")]])];
    let messages = encode_all(&encoder, Signal::Traces, body(entries), LIMITS);
    let record = &messages[0].records[0];
    let text = String::from_utf8(record.value.to_vec()).unwrap();
    assert!(text.starts_with("{\"traceId\":\"AQEBAQEBAQEBAQEBAQEBAQ==\",\"spanId\":"), "{text}");
    assert!(
        text.contains("\"operationName\":\"a\"")
            && text.ends_with("\"process\":{\"tags\":[{\"key\":\"topic\",\"vStr\":\"x\"}]}}"),
        "{text}"
    );
    assert_eq!(record.key.as_deref(), Some(&b"01".repeat(16)[..]));
}

#[test]
fn spans_of_jaeger_have_their_process_and_their_trace_id_as_the_key() {
    let mut short = span(1, "b");
    short.trace_id = [&[0; 8][..], &[7; 8]].concat();
    let entries = vec![spans("x", &[&[span(1, "a"), short]]), spans("y", &[&[span(0, "c")]])];
    let encoder = encoder(Encoding::JaegerProto, Grouping::None, "", 1 << 20);
    for limits in [LIMITS, EncodeLimits { total_bytes: 1, ..LIMITS }] {
        let messages = encode_all(&encoder, Signal::Traces, body(entries.clone()), limits);
        let records: Vec<_> = messages.iter().flat_map(|message| &message.records).collect();
        let keys: Vec<&str> =
            records.iter().map(|record| std::str::from_utf8(record.key.as_ref().unwrap()).unwrap()).collect();
        assert_eq!(keys, ["01".repeat(16), "07".repeat(8), "00".repeat(8)]);
        for record in records {
            let fields = otelcore_pdata::wire_format::MessageFields::new(&record.value);
            let numbers: Vec<u32> = fields.map(|(number, _)| number).collect();
            assert!(numbers.is_sorted() && numbers.last() == Some(&10), "{numbers:?}");
        }
    }
}

#[test]
fn spans_of_zipkin_are_one_list() {
    let mut invalid = span(1, "x");
    invalid.span_id = Vec::new();
    for encoding in [Encoding::ZipkinJson, Encoding::ZipkinProto] {
        let encoder = encoder(encoding, Grouping::None, "", 1 << 20);
        let piece = Piece { body: body(vec![spans("x", &[&[span(1, "a"), invalid.clone()]])]), ..Piece::default() };
        let encoded = encoder.encode(Signal::Traces, piece, LIMITS);
        let message = &encoded.messages[0];
        assert_eq!((message.left_out.unwrap().count, message.content.records.len()), (1, 1));
        let is_json = message.content.records[0].value.starts_with(b"[{\"");
        assert_eq!(is_json, encoding == Encoding::ZipkinJson);
    }
}

#[test]
fn raw_bodies_are_bytes_or_json_and_empty_ones_are_left_out() {
    let value = |value| LogRecord { body: Some(ProtoValue { value: Some(value) }), ..LogRecord::default() };
    let log_records = vec![
        value(Value::StringValue("a \"b\"".to_owned())),
        value(Value::BytesValue(vec![0, 1])),
        value(Value::IntValue(7)),
        LogRecord::default(),
        value(Value::BytesValue(Vec::new())),
        value(Value::DoubleValue(f64::NAN)),
        value(Value::StringValue("<a> & b".to_owned())),
    ];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ProtoResourceLogs { scope_logs, ..ProtoResourceLogs::default() }],
    };
    let body = checked_rope(Signal::Logs, request.encode_to_vec().into()).unwrap();
    let encoder = encoder(Encoding::Raw, Grouping::None, "", 1 << 20);
    let encoded = encoder.encode(Signal::Logs, Piece { body, ..Piece::default() }, LIMITS);
    let values: Vec<&[u8]> = encoded.messages[0].content.records.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, [&b"\"a \\\"b\\\"\""[..], &[0, 1], b"7", b"\"\\u003ca\\u003e \\u0026 b\""]);
    assert_eq!(encoded.messages[0].left_out.unwrap().count, 1);
}

#[test]
fn hash_of_attributes_is_that_of_go_in_any_order() {
    let hash = |attributes: Vec<KeyValue>| {
        let bytes = Resource { attributes, ..Resource::default() }.encode_to_vec();
        let resource = <otelcore_pdata::views::Resource<'_> as otelcore_pdata::views::View<'_>>::parse(&bytes);
        let hash = crate::resource_hash::hash_attributes(resource.attributes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(hash(Vec::new()), "0".repeat(32));
    // Computed by the Go collector 0.155.
    assert_eq!(hash(vec![attribute("service.name", "shop")]), "447192a5374af81ba8c2f432fbb1f6ca");
    let value = |value: Value| ProtoValue { value: Some(value) };
    let of = |key: &str, v: Option<Value>| KeyValue { key: key.to_owned(), value: v.map(value), ..KeyValue::default() };
    let values = vec![value(Value::StringValue("x".to_owned())), value(Value::IntValue(1))];
    let mut attributes = vec![
        attribute("service.name", "shop"),
        of("a", Some(Value::IntValue(-7))),
        of("d", Some(Value::DoubleValue(1.5))),
        of("t", Some(Value::BoolValue(true))),
        of("f", Some(Value::BoolValue(false))),
        of("e", None),
        of("b", Some(Value::BytesValue(vec![0, 255]))),
        of("s", Some(Value::ArrayValue(ArrayValue { values }))),
        of("m", Some(Value::KvlistValue(KeyValueList { values: vec![attribute("z", "1"), attribute("y", "2")] }))),
    ];
    assert_eq!(hash(attributes.clone()), "d7928f306a1a40583501c34e144011aa");
    attributes.reverse();
    assert_eq!(hash(attributes), "d7928f306a1a40583501c34e144011aa");
}
