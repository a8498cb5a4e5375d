//! Points of known series and the page, beside prometheus-client. Its counters are incremented with labels that exist
//! as strings; ours read an OTLP body, so that decoding by prost is a neighbour as well.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

#[path = "../../pdata/benches/telemetry/mod.rs"]
mod telemetry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use otelcore_exporter_prometheus::{DroppedPoints, PageConfig, SeriesRegistry};
use otelcore_exposition::NegotiatedFormat;
use otelcore_pdata::Signal;
use otelcore_pipeline::MonotonicTime;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use prost::Message;

type Labels = Vec<(String, String)>;

fn labels() -> Vec<Labels> {
    let label = |name: &str, value: String| (name.to_owned(), value);
    let of_series = |i| {
        vec![
            label("route", format!("/products/{i}")),
            label("method", "GET".to_owned()),
            label("job", "checkout".to_owned()),
            label("instance", "7f6c".to_owned()),
        ]
    };
    (0..telemetry::ITEMS).map(of_series).collect()
}

fn series(criterion: &mut Criterion) {
    let body = telemetry::body(Signal::Metrics);
    let bytes = body.to_bytes();
    let mut registry = SeriesRegistry::new(&PageConfig::default(), 1, DroppedPoints::without_log());
    registry.push_body(&body, MonotonicTime(0));
    assert_eq!(registry.len(), telemetry::ITEMS);

    let labels = labels();
    let mut theirs = Registry::default();
    let family = Family::<Labels, Counter>::default();
    theirs.register("http_server_requests", "Requests", family.clone());

    let mut group = criterion.benchmark_group("100 points of known series");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    group.bench_function("registry", |bencher| {
        bencher.iter(|| registry.push_body(black_box(&body), MonotonicTime(1)));
    });
    group.bench_function("prometheus-client: look-up and increment", |bencher| {
        bencher.iter(|| {
            for labels in black_box(&labels) {
                family.get_or_create(labels).inc();
            }
        });
    });
    group.bench_function("prost: decode", |bencher| {
        bencher.iter(|| black_box(ExportMetricsServiceRequest::decode(&bytes[..]).unwrap()));
    });
    group.finish();

    let mut group = criterion.benchmark_group("page of 100 series");
    group.throughput(Throughput::Elements(telemetry::ITEMS as u64));
    group.bench_function("registry", |bencher| {
        bencher.iter(|| black_box(registry.render(MonotonicTime(1), &NegotiatedFormat::default()).unwrap()));
    });
    group.bench_function("prometheus-client: encode", |bencher| {
        bencher.iter(|| {
            let mut page = String::new();
            encode(&mut page, &theirs).unwrap();
            black_box(page)
        });
    });
    group.finish();
}

criterion_group!(benches, series);
criterion_main!(benches);
