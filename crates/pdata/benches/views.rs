//! Attributes and names read through views, beside decoding by prost.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

mod telemetry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::views::{AnyValue, ResourceSpans, resource_entries};
use otelcore_pdata::{Rope, Signal};
use prost::Message;

/// Bytes of all keys and strings, and the names.
fn read(body: &Rope) -> usize {
    let spans = resource_entries::<ResourceSpans<'_>>(body).flat_map(|r| r.scope_spans()).flat_map(|s| s.spans());
    spans
        .map(|span| {
            let attributes = span.attributes().map(|kv| match kv.value {
                AnyValue::String(v) => kv.key.len() + v.len(),
                _ => kv.key.len(),
            });
            span.name.len() + attributes.sum::<usize>()
        })
        .sum()
}

fn views(criterion: &mut Criterion) {
    let body = telemetry::body(Signal::Traces);
    let bytes = body.to_bytes();
    let mut group = criterion.benchmark_group("read 100 spans");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    group.bench_function("views", |bencher| bencher.iter(|| read(black_box(&body))));
    group.bench_function("prost: decode", |bencher| {
        bencher.iter(|| black_box(ExportTraceServiceRequest::decode(&bytes[..]).unwrap()));
    });
    group.finish();
}

criterion_group!(benches, views);
criterion_main!(benches);
