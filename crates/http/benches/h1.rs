//! Ten requests of telemetry's size on one HTTP/1.1 connection, beside httparse, which reads their heads alone.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

mod exchange;
#[path = "../../pdata/benches/telemetry/mod.rs"]
mod telemetry;

use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exchange::{REQUESTS, h1_head, h1_requests, serve_h1};
use otelcore_http::h1::HttpServerConnConfig;
use otelcore_pdata::Signal;

fn requests(criterion: &mut Criterion) {
    let body = telemetry::body(Signal::Traces).to_bytes();
    let (requests, head_length) = (h1_requests(&body), h1_head(body.len()).len());
    let config = Rc::new(HttpServerConnConfig::default());
    assert_eq!(serve_h1(&requests, &config), REQUESTS * body.len());
    let mut group = criterion.benchmark_group("10 HTTP requests");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("server connection", |bencher| bencher.iter(|| serve_h1(black_box(&requests), &config)));
    group.bench_function("httparse: heads, and a copy of each body", |bencher| {
        bencher.iter(|| {
            let mut rest = &black_box(&requests)[..];
            while !rest.is_empty() {
                let mut fields = [httparse::EMPTY_HEADER; 32];
                let mut request = httparse::Request::new(&mut fields);
                assert!(request.parse(rest).unwrap() == httparse::Status::Complete(head_length));
                let (body, after) = rest[head_length..].split_at(body.len());
                black_box((request.headers.len(), body.to_vec()));
                rest = after;
            }
        });
    });
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
