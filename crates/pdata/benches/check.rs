//! The check of a body, beside decoding by prost.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

mod telemetry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otelcore_pdata::{Signal, check};
use prost::Message;

fn checks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check 100 items");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    for signal in Signal::ALL {
        let body = telemetry::body(signal).to_bytes();
        group.bench_function(signal.name(), |bencher| bencher.iter(|| check(signal, black_box(&body)).unwrap()));
        group.bench_function(format!("prost: decode {signal}"), |bencher| {
            bencher.iter(|| match signal {
                Signal::Traces => drop(black_box(ExportTraceServiceRequest::decode(&body[..]).unwrap())),
                Signal::Metrics => drop(black_box(ExportMetricsServiceRequest::decode(&body[..]).unwrap())),
                Signal::Logs => drop(black_box(ExportLogsServiceRequest::decode(&body[..]).unwrap())),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, checks);
criterion_main!(benches);
