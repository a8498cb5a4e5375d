//! 100 spans as `PostSpans` requests, beside decoding, mapping and encoding by prost. Both write as many bytes.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

#[path = "../../pdata/benches/telemetry/mod.rs"]
mod telemetry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as OtlpKeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use otelcore_exporter_jaeger::encode::encode_messages;
use otelcore_pdata::Signal;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct PostSpansRequest {
    #[prost(message, optional, tag = "1")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<Span>,
    #[prost(message, optional, tag = "2")]
    process: Option<Process>,
}

#[derive(Clone, PartialEq, Message)]
struct Process {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(message, repeated, tag = "2")]
    tags: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    operation_name: String,
    #[prost(message, repeated, tag = "4")]
    references: Vec<SpanRef>,
    #[prost(message, optional, tag = "6")]
    start_time: Option<Time>,
    #[prost(message, optional, tag = "7")]
    duration: Option<Time>,
    #[prost(message, repeated, tag = "8")]
    tags: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SpanRef {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

/// `Timestamp` or `Duration`.
#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(int32, tag = "2")]
    v_type: i32,
    #[prost(string, tag = "3")]
    v_str: String,
}

fn time(nanos: u64) -> Option<Time> {
    Some(Time { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as i32 })
}

fn string_tag(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), v_type: 0, v_str: value.to_owned() }
}

/// The bodies of the benches have strings only.
fn tag(attribute: OtlpKeyValue) -> KeyValue {
    let Some(AnyValue { value: Some(Value::StringValue(text)) }) = attribute.value else { panic!("not a string") };
    KeyValue { key: attribute.key, v_type: 0, v_str: text }
}

fn span(span: OtlpSpan, scope: &[KeyValue]) -> Span {
    let mut tags: Vec<KeyValue> = scope.to_vec();
    tags.extend(span.attributes.into_iter().map(tag));
    tags.push(string_tag("span.kind", "server"));
    tags.push(string_tag("otel.status_code", "OK"));
    let parent = SpanRef { trace_id: span.trace_id.clone(), span_id: span.parent_span_id };
    Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        operation_name: span.name,
        references: vec![parent],
        start_time: time(span.start_time_unix_nano),
        duration: time(span.end_time_unix_nano - span.start_time_unix_nano),
        tags,
    }
}

fn encode_by_prost(body: &[u8]) -> Vec<Vec<u8>> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let requests = request.resource_spans.into_iter().map(|resource| {
        let (names, attributes): (Vec<_>, Vec<_>) = resource
            .resource
            .unwrap_or_default()
            .attributes
            .into_iter()
            .map(tag)
            .partition(|t| t.key == "service.name");
        let service_name = names.into_iter().next().map(|tag| tag.v_str).unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope_spans| {
            let scope = scope_spans.scope.unwrap_or_default();
            let tags = [string_tag("otel.scope.name", &scope.name), string_tag("otel.scope.version", &scope.version)];
            scope_spans.spans.into_iter().map(move |s| span(s, &tags))
        });
        let batch = Batch { spans: spans.collect(), process: Some(Process { service_name, tags: attributes }) };
        PostSpansRequest { batch: Some(batch) }.encode_to_vec()
    });
    requests.collect()
}

fn encodings(criterion: &mut Criterion) {
    let body = telemetry::body(Signal::Traces);
    let bytes = body.to_bytes();
    let ours: Vec<Vec<u8>> = encode_messages(&body).into_iter().map(|m| m.content.concat()).collect();
    let theirs = encode_by_prost(&bytes);
    // The order of tags differs.
    assert_eq!(ours.iter().map(Vec::len).collect::<Vec<_>>(), theirs.iter().map(Vec::len).collect::<Vec<_>>());
    let mut group = criterion.benchmark_group("Jaeger requests of 100 spans");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    group.bench_function("encoder", |bencher| bencher.iter(|| black_box(encode_messages(&body))));
    group.bench_function("prost: decode, map, encode", |bencher| bencher.iter(|| black_box(encode_by_prost(&bytes))));
    group.finish();
}

criterion_group!(benches, encodings);
criterion_main!(benches);
