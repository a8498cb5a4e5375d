//! A body of 100 spans cut into pieces of ten, beside decoding, cutting and encoding by prost.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

mod telemetry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::{PieceLimit, Signal, Splitter, StepBudget};
use prost::Message;

fn splits(criterion: &mut Criterion) {
    let body = telemetry::body(Signal::Traces);
    let bytes = body.to_bytes();
    let mut group = criterion.benchmark_group("split 100 spans into pieces of 10");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    group.bench_function("splitter", |bencher| {
        bencher.iter(|| {
            let mut splitter = Splitter::new(Signal::Traces);
            splitter.push(body.clone());
            let mut budget = StepBudget::unlimited();
            while !splitter.is_empty() {
                black_box(splitter.next_piece(PieceLimit::items(10), &mut budget));
            }
        });
    });
    group.bench_function("prost: decode, split, encode", |bencher| {
        bencher.iter(|| {
            let mut request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            let mut spans = std::mem::take(&mut request.resource_spans[0].scope_spans[0].spans);
            while !spans.is_empty() {
                let rest = spans.split_off(10);
                request.resource_spans[0].scope_spans[0].spans = std::mem::replace(&mut spans, rest);
                black_box(request.encode_to_vec());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, splits);
criterion_main!(benches);
