//! A payload costs a bounded number of allocations, however many spans it has.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::Component;
use otelcore_processors::AttributesFactory;
use otelcore_test_support::CountingAllocator;
use otelcore_testkit::{ProcessorTest, TestContext};
use prost::Message;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Every action, every source, and every kind of condition on spans.
const CONFIG: &str = "
include:
  match_type: regexp
  services: ['<nil']
  span_names: ['^GET']
  span_kinds: [SERVER]
  attributes: [{key: http.status_code, value: '^[12]'}]
actions:
  - {key: env, value: prod, action: insert}
  - {key: http.method, value: X, action: update}
  - {key: copy, from_attribute: http.method, action: upsert}
  - {key: tenant, from_context: metadata.x-tenant, default_value: none, action: insert}
  - {key: user, action: hash}
  - {pattern: ^secret, action: delete}
  - {pattern: ^hash, action: hash}
  - {key: http.url, pattern: '^(?P<scheme>[a-z]+)://(?P<host>[^/]+)', action: extract}
  - {key: http.status_code, converted_type: string, action: convert}
  - {key: size, converted_type: double, action: convert}
";

fn body(spans: u32) -> Rope {
    let text = |key: &str, value: &str| (key.to_owned(), Value::StringValue(value.to_owned()));
    let attributes = [
        text("http.method", "GET"),
        ("http.status_code".to_owned(), Value::IntValue(200)),
        text("http.url", "https://example.com/a/b"),
        text("user", "somebody"),
        text("secret.key", "x"),
        text("hash.me", "y"),
        text("size", "12.5"),
    ];
    let attributes = attributes.map(|(key, value)| KeyValue {
        key,
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    });
    let span = Span { name: "GET /a".to_owned(), kind: 2, attributes: attributes.to_vec(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span; spans as usize], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    Rope::new(request.encode_to_vec().into(), spans)
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
    let request = ExportTraceServiceRequest::decode(payload.body.to_bytes()).unwrap();
    assert_ne!(payload.body.to_bytes(), before_bytes);
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].attributes.len(), 11, "every action has its effect");
    count
}

#[test]
fn number_of_allocations_does_not_depend_on_the_number_of_spans() {
    let context = TestContext { signals: vec![Signal::Traces], ..TestContext::new() };
    let Ok(Component::Processor(processor)) = context.create(&AttributesFactory, "attributes", CONFIG) else {
        panic!("a processor");
    };
    let mut test = ProcessorTest::new(processor);
    for _ in 0..3 {
        allocations(&mut test, &context, 100);
    }
    let (few, many) = (allocations(&mut test, &context, 10), allocations(&mut test, &context, 100));
    // The output grows, by doubling.
    assert!(many <= few + 6, "{few} allocations for 10 spans, {many} for 100");
    assert!(many < 50, "{many}");
}
