//! Spans of known series cost no allocation.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

use otelcore_connector_span_metrics::SpanMetricsFactory;
use otelcore_pdata::{Rope, Signal, build};
use otelcore_pipeline::Connector;
use otelcore_test_support::CountingAllocator;
use otelcore_testkit::{ConnectorTest, TestContext, connector};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Four dimensions, a number among them, and values of the span, of the resource and by default.
const CONFIG: &str = "
dimensions: [{name: http.request.method}, {name: http.status_code}, {name: host.name}, {name: tier, default: free}]
calls_dimensions: [{name: http.route}]
histogram: {exponential: {max_size: 20}}
events: {enabled: true, dimensions: [{name: exception.type}]}
include_instrumentation_scope: [lib]
enable_metrics_sampling_method: true
";

fn body(spans: u32) -> Rope {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_spans();
        entry.resource().attributes().string(b"service.name", b"shop").string(b"host.name", &[b'h'; 100]);
        let mut scope_spans = entry.scope_spans();
        scope_spans.scope().name(b"lib").version(b"1");
        for index in 0..spans {
            let mut span = scope_spans.span();
            span.name(b"GET /a/long/name/of/an/operation/that/is/hashed").kind(2).trace_state(b"ot=th:8");
            span.start_time_unix_nano(1).end_time_unix_nano(1 + u64::from(index % 7) * 1_000_000);
            span.attributes().string(b"http.request.method", b"GET").int(b"http.status_code", 200);
            span.attributes().string(b"http.route", b"/a/{id}").string(b"other", b"x");
            span.event().name(b"e").attributes().string(b"exception.type", b"E");
        }
    }
    body.finish()
}

fn allocations(test: &mut ConnectorTest<dyn Connector>, context: &TestContext, spans: u32) -> u64 {
    let payload = context.payload(Signal::Traces, body(spans));
    let before = ALLOCATOR.count();
    test.process(payload);
    let count = ALLOCATOR.count() - before;
    assert_eq!(test.take_outcomes().len(), 1);
    count
}

#[test]
fn span_of_a_known_series_causes_no_allocation() {
    let context = TestContext { signals: vec![Signal::Traces], ..TestContext::new() };
    let component = context.create(&SpanMetricsFactory, "span_metrics", CONFIG).unwrap();
    let mut test = ConnectorTest::new(connector(component));
    test.start().unwrap();
    for _ in 0..3 {
        allocations(&mut test, &context, 100);
    }
    let (few, many) = (allocations(&mut test, &context, 10), allocations(&mut test, &context, 200));
    assert_eq!(few, many);
    assert!(many < 20, "{many}");
}
