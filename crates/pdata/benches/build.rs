//! 100 spans of ten attributes written by the writers, beside structs filled and encoded by prost.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::build::Body;
use prost::Message;

const KEYS: [&str; 10] =
    ["http.method", "url.path", "url.scheme", "server.address", "client.address", "user_agent", "tier", "id", "k", "z"];
const VALUE: &str = "a value of some thirty characters";

fn write(body: &mut Body) {
    let mut entry = body.resource_spans();
    let mut scope = entry.scope_spans();
    for i in 0..100 {
        let mut span = scope.span();
        span.trace_id(&[7; 16]).span_id(&[8; 8]).name(b"GET /api/v1/products").kind(2);
        span.start_time_unix_nano(i).end_time_unix_nano(i + 1);
        let mut attributes = span.attributes();
        for key in KEYS {
            attributes.string(key.as_bytes(), VALUE.as_bytes());
        }
    }
}

fn structs() -> ExportTraceServiceRequest {
    let attribute = |key: &&str| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(VALUE.to_owned())) }),
        key_strindex: 0,
    };
    let span = |i: u64| Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        name: "GET /api/v1/products".to_owned(),
        kind: 2,
        start_time_unix_nano: i,
        end_time_unix_nano: i + 1,
        attributes: KEYS.iter().map(attribute).collect(),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..100).map(span).collect(), ..ScopeSpans::default() };
    let entry = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }
}

fn builds(criterion: &mut Criterion) {
    let mut body = Body::new();
    write(&mut body);
    assert_eq!(ExportTraceServiceRequest::decode(body.bytes()).unwrap(), structs());
    let mut group = criterion.benchmark_group("write 100 spans");
    group.throughput(Throughput::Elements(100));
    group.bench_function("writers", |bencher| {
        bencher.iter(|| {
            body.clear();
            write(&mut body);
            black_box(body.bytes().len())
        });
    });
    group.bench_function("prost: fill and encode", |bencher| {
        bencher.iter(|| black_box(structs().encode_to_vec()));
    });
    group.finish();
}

criterion_group!(benches, builds);
criterion_main!(benches);
