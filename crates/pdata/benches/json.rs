//! OTLP/JSON from protobuf and back. opentelemetry-proto's own JSON needs a feature that pulls in the SDK, so that the
//! neighbour is decoding and encoding of protobuf by prost.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

mod telemetry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::{Signal, json};
use prost::Message;

fn texts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("JSON of 100 items");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    for signal in Signal::ALL {
        let body = telemetry::body(signal);
        let mut text = Vec::new();
        json::encode(signal, &body, &mut text);
        let (mut json, mut protobuf) = (Vec::new(), Vec::new());
        group.bench_function(format!("encode {signal}"), |bencher| {
            bencher.iter(|| {
                json.clear();
                json::encode(signal, &body, &mut json);
                black_box(json.len())
            });
        });
        group.bench_function(format!("decode {signal}"), |bencher| {
            bencher.iter(|| {
                protobuf.clear();
                json::decode(signal, &text, &mut protobuf).unwrap();
                black_box(protobuf.len())
            });
        });
    }
    let bytes = telemetry::body(Signal::Traces).to_bytes();
    group.bench_function("prost: decode and encode protobuf of traces", |bencher| {
        bencher.iter(|| black_box(ExportTraceServiceRequest::decode(&bytes[..]).unwrap().encode_to_vec()));
    });
    group.finish();
}

criterion_group!(benches, texts);
criterion_main!(benches);
