//! Statements and conditions cost a bounded number of allocations for a payload, however many spans it has.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

use otelcore_pdata::{Rope, Signal, build};
use otelcore_pipeline::{Component, Factory};
use otelcore_processors::{FilterFactory, TransformFactory};
use otelcore_test_support::CountingAllocator;
use otelcore_testkit::{ProcessorTest, TestContext};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const TRANSFORM: &str = r#"
trace_statements:
  - context: span
    conditions: ['attributes["http.method"] == "GET"', 'name == "other"']
    statements:
      - set(attributes["env"], "prod") where name == "GET /a" and kind == SPAN_KIND_SERVER
      - set(attributes["copy"], attributes["http.method"])
      - set(attributes["service"], resource.attributes["service.name"])
      - set(name, "changed") where attributes["http.status_code"] >= 200
      - set(status.code, STATUS_CODE_OK) where parent_span_id == span_id or start_time_unix_nano > 5
"#;

const FILTER: &str = r#"
traces:
  span:
    - attributes["http.method"] == "POST"
    - name == "nothing" and resource.attributes["service.name"] != nil
"#;

fn body(spans: u32) -> Rope {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_spans();
        entry.resource().attributes().string(b"service.name", b"shop");
        let mut scope_spans = entry.scope_spans();
        for index in 0..spans {
            let mut span = scope_spans.span();
            span.name(b"GET /a").kind(2);
            let method: &[u8] = if index % 4 == 3 { b"POST" } else { b"GET" };
            span.attributes().string(b"http.method", method).int(b"http.status_code", 200);
        }
    }
    body.finish()
}

/// The allocations for one payload, the buffers being warm.
fn allocations(test: &mut ProcessorTest, context: &TestContext, spans: u32) -> u64 {
    let body = body(spans);
    let before_bytes = body.to_bytes();
    let payload = context.payload(Signal::Traces, body);
    let before = ALLOCATOR.count();
    test.process(payload);
    let count = ALLOCATOR.count() - before;
    let (payload, _ack) = test.take_passed_on().pop().unwrap();
    assert_ne!(payload.body.to_bytes(), before_bytes);
    count
}

#[test]
fn number_of_allocations_does_not_depend_on_the_number_of_spans() {
    let factories: [(&dyn Factory, &str, &str); 2] =
        [(&TransformFactory, "transform", TRANSFORM), (&FilterFactory, "filter", FILTER)];
    for (factory, name, yaml) in factories {
        let context = TestContext { signals: vec![Signal::Traces], ..TestContext::new() };
        let Ok(Component::Processor(processor)) = context.create(factory, name, yaml) else { panic!("a processor") };
        let mut test = ProcessorTest::new(processor);
        for _ in 0..3 {
            allocations(&mut test, &context, 100);
        }
        let (few, many) = (allocations(&mut test, &context, 10), allocations(&mut test, &context, 100));
        // The output grows, by doubling.
        assert!(many <= few + 6, "{name}: {few} allocations for 10 spans, {many} for 100");
        assert!(many < 50, "{name}: {many}");
    }
}
