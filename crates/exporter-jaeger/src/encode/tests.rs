//! The mapping, compared with the bytes that Jaeger's own encoder writes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, InstrumentationScope, KeyValue as Kv, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource as Res;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans as Rs, ScopeSpans, Span as Sp, span};
use prost::Message;

use super::*;

fn attribute(key: &str, value: Value) -> Kv {
    Kv { key: key.into(), value: Some(Any { value: Some(value) }), ..Kv::default() }
}

fn string_attribute(key: &str, value: &str) -> Kv {
    attribute(key, Value::StringValue(value.into()))
}

fn encode_request(resource: Vec<Kv>, spans: Option<Vec<Sp>>) -> Vec<Vec<u8>> {
    let scope_spans = spans.map(|spans| ScopeSpans { spans, ..ScopeSpans::default() }).into_iter().collect();
    let resource = Some(Res { attributes: resource, ..Res::default() });
    let resource_spans = vec![Rs { resource, scope_spans, ..Rs::default() }];
    encode_requests(&ExportTraceServiceRequest { resource_spans }.encode_to_vec())
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    otelcore_pdata::text::put_hex(&mut out, bytes);
    String::from_utf8(out).unwrap()
}

#[test]
fn resource_without_spans_is_a_batch_with_only_a_process() {
    let requests =
        encode_request(vec![string_attribute("service.name", "svc"), attribute("n", Value::IntValue(1))], None);
    assert_eq!(requests.len(), 1);
    assert_eq!(hex(&requests[0]), "0a10120e0a03737663".to_owned() + "12070a016e10022801");
}

#[test]
fn empty_span_has_ids_and_times() {
    let requests = encode_request(vec![string_attribute("service.name", "svc")], Some(vec![Sp::default()]));
    let zeros = |n| "00".repeat(n);
    let expected = format!("0a290a200a10{}1208{}32003a0012050a03737663", zeros(16), zeros(8));
    assert_eq!(hex(&requests[0]), expected);
}

#[test]
fn resource_without_attributes_and_scopes_is_no_batch() {
    assert_eq!(encode_request(vec![], None).len(), 0);
    assert_eq!(encode_request(vec![], Some(vec![])).len(), 1, "a scope without spans still makes one");
}

/// The parts of a `KeyValue` that the tests compare: key, type and value.
fn tags(message: &[u8], number: u32) -> Vec<String> {
    let tag_text = |raw: &[u8]| {
        let (mut key, mut kind, mut value) = (String::new(), 0, String::from("-"));
        for (n, wire) in MessageFields::new(raw) {
            match (n, wire) {
                (1, WireValue::Len(v)) => key = String::from_utf8_lossy(v).into_owned(),
                (2, WireValue::Varint(v)) => kind = v,
                (3, WireValue::Len(v)) => value = String::from_utf8_lossy(v).into_owned(),
                (_, wire) => value = format!("{wire:?}"),
            }
        }
        format!("{key}:{kind}={value}")
    };
    let fields = MessageFields::new(message);
    fields
        .filter_map(
            |(n, wire)| if let (true, WireValue::Len(raw)) = (n == number, wire) { Some(tag_text(raw)) } else { None },
        )
        .collect()
}

fn only_span(requests: &[Vec<u8>]) -> Vec<u8> {
    let Some((1, WireValue::Len(batch))) = MessageFields::new(&requests[0]).next() else { panic!("no batch") };
    let Some((1, WireValue::Len(span))) = MessageFields::new(batch).next() else { panic!("no span") };
    span.to_vec()
}

#[test]
fn tags_of_a_span_are_in_fixed_order() {
    let span = Sp {
        attributes: vec![
            string_attribute("http.status_code", "x"),
            attribute("b", Value::BoolValue(false)),
            attribute("d", Value::DoubleValue(-0.0)),
            attribute("bytes", Value::BytesValue(vec![1])),
            Kv { key: "none".into(), value: None, ..Kv::default() },
        ],
        kind: span::SpanKind::Server as i32,
        status: Some(opentelemetry_proto::tonic::trace::v1::Status { message: "boom".into(), code: 2 }),
        trace_state: "a=b".into(),
        ..Sp::default()
    };
    let scope = Some(InstrumentationScope { name: "lib".into(), version: "1".into(), ..Default::default() });
    let scope_spans = vec![ScopeSpans { scope, spans: vec![span], ..ScopeSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans: vec![Rs { scope_spans, ..Rs::default() }] };
    let span = only_span(&encode_requests(&body.encode_to_vec()));
    assert_eq!(
        tags(&span, 8),
        [
            "otel.scope.name:0=lib",
            "otel.scope.version:0=1",
            "http.response.status_code:0=x",
            "b:1=-",
            "d:3=-",
            "bytes:4=Len([1])",
            "none:0=-",
            "span.kind:0=server",
            "otel.status_code:0=ERROR",
            "error:1=Varint(1)",
            "otel.status_description:0=boom",
            "w3c.tracestate:0=a=b"
        ]
    );
}

#[test]
fn link_to_the_parent_changes_only_the_reference_type() {
    let trace = vec![7; 16];
    let link = |span: u8, attributes| span::Link {
        trace_id: trace.clone(),
        span_id: vec![span; 8],
        attributes,
        ..Default::default()
    };
    let references_of = |links| {
        let span = Sp { trace_id: trace.clone(), parent_span_id: vec![1; 8], links, ..Sp::default() };
        let span = only_span(&encode_request(vec![], Some(vec![span])));
        let references = MessageFields::new(&span).filter(|(n, _)| *n == 4);
        references
            .map(|(_, wire)| {
                let WireValue::Len(raw) = wire else { panic!("no message") };
                let mut reference = (0, 0);
                for field in MessageFields::new(raw) {
                    match field {
                        (2, WireValue::Len(id)) => reference.0 = id[0],
                        (3, WireValue::Varint(kind)) => reference.1 = kind,
                        _ => {}
                    }
                }
                reference
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(references_of(vec![]), [(1, 0)]);
    assert_eq!(references_of(vec![link(2, vec![])]), [(1, 0), (2, 1)]);
    assert_eq!(
        references_of(vec![link(1, vec![]), link(2, vec![string_attribute("opentracing.ref_type", "child_of")])]),
        [(1, 1), (2, 0)]
    );
}

#[test]
fn length_of_every_width_is_encoded_correctly() {
    for size in [0, 1, 60, 100, 127, 128, 300, 16_000, 16_383, 16_384, 70_000, 3_000_000] {
        let span = Sp { name: "x".repeat(size), ..Sp::default() };
        let requests = encode_request(vec![string_attribute("service.name", "s")], Some(vec![span.clone(), span]));
        let Some((1, WireValue::Len(batch))) = MessageFields::new(&requests[0]).next() else { panic!("no batch") };
        let mut fields = MessageFields::new(batch);
        let kinds: Vec<_> = fields.by_ref().map(|(n, _)| n).collect();
        assert_eq!((kinds, fields.rest().len()), (vec![1, 1, 2], 0), "{size}");
    }
}

fn encode(body: &Rope, limits: EncodeLimits) -> (Vec<EncodedMessage<BodyParts>>, Option<Piece>) {
    let encoded = RequestEncoder.encode(Signal::Traces, Piece { body: body.clone(), ..Piece::default() }, limits);
    (encoded.messages, encoded.rest)
}

fn encode_all(body: &Rope, limits: EncodeLimits) -> Vec<EncodedMessage<BodyParts>> {
    let (mut all, mut remaining) = (Vec::new(), Some(body.clone()));
    while let Some(body) = remaining.take() {
        let (messages, rest) = encode(&body, limits);
        all.extend(messages);
        remaining = rest.map(|rest| rest.body);
    }
    all
}

fn checked_rope(body: Vec<u8>) -> Rope {
    let items = otelcore_pdata::check(Signal::Traces, &body).unwrap().items;
    Rope::new(body.into(), items)
}

/// The operation names of a request's spans, and whether it has the process.
fn operation_names(request: &[u8]) -> (Vec<String>, bool) {
    let Some((1, WireValue::Len(batch))) = MessageFields::new(request).next() else { panic!("no batch") };
    let (mut names, mut process) = (Vec::new(), false);
    for (number, wire) in MessageFields::new(batch) {
        match (number, wire) {
            (1, WireValue::Len(span)) => {
                let name = MessageFields::new(span).find_map(|(n, wire)| match (n, wire) {
                    (3, WireValue::Len(name)) => Some(String::from_utf8_lossy(name).into_owned()),
                    _ => None,
                });
                names.push(name.unwrap_or_default());
            }
            (2, _) => process = true,
            _ => {}
        }
    }
    (names, process)
}

fn three_resources() -> Rope {
    let span = |i: usize| Sp { name: format!("span {i:04}"), ..Sp::default() };
    let resource_spans = (0..3).map(|r| Rs {
        resource: Some(Res { attributes: vec![string_attribute("service.name", "svc")], ..Res::default() }),
        scope_spans: (0..2)
            .map(|s| ScopeSpans {
                spans: (0..50).map(|i| span(r * 100 + s * 50 + i)).collect(),
                ..ScopeSpans::default()
            })
            .collect(),
        ..Rs::default()
    });
    checked_rope(ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec())
}

#[test]
fn resource_above_the_limit_becomes_several_requests_with_each_span_once() {
    let body = three_resources();
    for limit in [1, 100, 1000, 3000, 100_000] {
        let limits = EncodeLimits { message_bytes: limit, max_messages: usize::MAX, total_bytes: usize::MAX };
        let messages = encode_all(&body, limits);
        let mut all = Vec::new();
        for message in &messages {
            let (names, process) = operation_names(&message.content[0]);
            assert!(process && message.bytes == message.content[0].len());
            assert!(message.bytes <= limit || names.len() == 1, "{} bytes, limit {limit}", message.bytes);
            assert_eq!(message.body.items() as usize, names.len());
            // The body that is kept for a retry gives the same request.
            let repeated = encode(&message.body, EncodeLimits { message_bytes: usize::MAX, ..limits }).0;
            assert_eq!((repeated.len(), &repeated[0].content[0]), (1, &message.content[0]));
            all.extend(names);
        }
        assert_eq!(all, (0..300).map(|i| format!("span {i:04}")).collect::<Vec<_>>(), "limit {limit}");
        assert!(limit != 100_000 || messages.len() == 3);
    }
}

#[test]
fn body_of_more_requests_than_allowed_is_encoded_in_several_steps() {
    let body = three_resources();
    for limits in [
        EncodeLimits { message_bytes: 500, max_messages: 3, total_bytes: usize::MAX },
        EncodeLimits { message_bytes: 500, max_messages: usize::MAX, total_bytes: 1400 },
        EncodeLimits { message_bytes: usize::MAX, max_messages: 1, total_bytes: usize::MAX },
    ] {
        let (mut remaining, mut all, mut steps) = (Some(body.clone()), Vec::new(), 0);
        while let Some(body) = remaining.take() {
            let (messages, rest) = encode(&body, limits);
            assert!(!messages.is_empty() && messages.len() <= limits.max_messages);
            all.extend(messages.iter().flat_map(|message| operation_names(&message.content[0]).0));
            remaining = rest.map(|rest| rest.body);
            assert_eq!(remaining.as_ref().map_or(0, Rope::items) as usize, 300 - all.len());
            steps += 1;
        }
        assert!(steps > 2);
        assert_eq!(all, (0..300).map(|i| format!("span {i:04}")).collect::<Vec<_>>());
    }
}

#[test]
fn body_of_many_small_resources_makes_at_most_the_requested_messages() {
    // Each resource has one empty span and six bytes.
    let body = checked_rope([0x0a, 4, 0x12, 2, 0x12, 0].repeat(80_000));
    let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: 100, total_bytes: usize::MAX };
    let (messages, rest) = encode(&body, limits);
    assert_eq!((messages.len(), rest.unwrap().body.items()), (100, 79_900));
}

#[test]
fn scope_repeated_with_each_span_makes_no_request_above_the_limit() {
    let scope = InstrumentationScope { name: "n".repeat(10_000), ..InstrumentationScope::default() };
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans: vec![Sp::default(); 1000], ..ScopeSpans::default() }];
    let body = checked_rope(
        ExportTraceServiceRequest { resource_spans: vec![Rs { scope_spans, ..Rs::default() }] }.encode_to_vec(),
    );
    let limits = EncodeLimits { message_bytes: 1 << 20, max_messages: 100, total_bytes: 3 << 20 };
    let (messages, rest) = encode(&body, limits);
    assert!(messages.len() <= 4 && messages.iter().all(|message| message.bytes <= 1 << 20));
    assert!(rest.is_some());
    // Even if the scope is repeated very often, a request has exactly the spans that are kept for it.
    let messages = encode_all(&body, EncodeLimits { message_bytes: 40_000, ..limits });
    assert!(
        messages.iter().all(|message| message.body.items() as usize == operation_names(&message.content[0]).0.len())
    );
    assert_eq!(messages.iter().map(|message| message.body.items()).sum::<u32>(), 1000);
}

#[test]
fn payload_refused_for_its_size_is_encoded_in_halves() {
    let piece = Piece { body: three_resources(), too_large: true, repaired: false };
    let one = checked_rope(request_body(&["a", "b", "c"]));
    let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: 100, total_bytes: usize::MAX };
    let encoded = RequestEncoder.encode(Signal::Traces, Piece { body: one, ..piece.clone() }, limits);
    assert_eq!(encoded.messages.iter().map(|m| m.body.items()).collect::<Vec<_>>(), [1, 1, 1]);
    let encoded = RequestEncoder.encode(Signal::Traces, piece, limits);
    assert_eq!(encoded.messages.iter().map(|m| m.body.items()).collect::<Vec<_>>(), [100, 100, 100]);
}

fn request_body(names: &[&str]) -> Vec<u8> {
    let spans = names.iter().map(|name| Sp { name: (*name).to_owned(), ..Sp::default() }).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![Rs { scope_spans, ..Rs::default() }] }.encode_to_vec()
}
