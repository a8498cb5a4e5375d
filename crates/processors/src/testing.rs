//! What the tests share: processors made from YAML, and telemetry.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Component, Factory, Metadata, Outcome, Processor};
use otelcore_testkit::{ProcessorTest, TestContext};
use prost::Message;

/// The messages about a section, each with the path of its key.
pub(crate) fn messages(factory: &dyn Factory, yaml: &str) -> Vec<String> {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    let name = factory.info().type_name;
    factory.parse(&name.parse().unwrap(), Section::new(Some(&node), &format!("processors::{name}"), &d));
    let line = |item: otelcore_config::Diagnostic| format!("{}: {}", item.path, item.message);
    d.items().into_iter().map(line).collect()
}

/// Makes a processor for these signals, or returns the error of its creation.
pub(crate) fn create(factory: &dyn Factory, yaml: &str, signals: &[Signal]) -> Result<Box<dyn Processor>, String> {
    let context = TestContext { signals: signals.to_vec(), ..TestContext::new() };
    match context.create(factory, factory.info().type_name, yaml)? {
        Component::Processor(processor) => Ok(processor),
        other => panic!("{other:?}"),
    }
}

/// Edits one body.
pub(crate) fn process_body(
    factory: &dyn Factory,
    yaml: &str,
    signal: Signal,
    body: impl Into<Bytes>,
    metadata: Option<Metadata>,
) -> Rope {
    let mut test = ProcessorTest::new(create(factory, yaml, &[signal]).unwrap());
    let body = body.into();
    let items = check(signal, &body).unwrap().items;
    let mut payload = otelcore_testkit::payload(signal, Rope::new(body, items));
    payload.metadata = metadata.map(Arc::new);
    test.process(payload);
    test.run();
    let (payload, ack) = test.take_passed_on().pop().unwrap();
    ack.settle(Outcome::Delivered);
    assert_eq!(check(signal, &payload.body.to_bytes()).unwrap().items, payload.items());
    payload.body
}

/// The outcome of a payload that the processor does not pass on.
#[cfg(any(feature = "filter", feature = "transform"))]
pub(crate) fn outcome_of(test: &mut ProcessorTest, payload: otelcore_pipeline::Payload) -> Option<Outcome> {
    test.process(payload);
    test.run();
    test.take_outcomes().pop().map(|(_, outcome)| outcome)
}

pub(crate) fn string(v: &str) -> Value {
    Value::StringValue(v.to_owned())
}

pub(crate) fn map(entries: &[(&str, Value)]) -> Value {
    Value::KvlistValue(KeyValueList { values: attributes(entries) })
}

pub(crate) fn array(values: &[Value]) -> Value {
    let values = values.iter().map(|value| AnyValue { value: Some(value.clone()) }).collect();
    Value::ArrayValue(ArrayValue { values })
}

pub(crate) fn attributes(entries: &[(&str, Value)]) -> Vec<KeyValue> {
    let one = |(key, value): &(&str, Value)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(value.clone()) }),
        ..KeyValue::default()
    };
    entries.iter().map(one).collect()
}

pub(crate) fn request(resource: &[(&str, Value)], spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: attributes(resource), ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let entry = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![entry] }
}

/// Edits a span with these attributes, and returns its attributes afterwards as `key=value`.
pub(crate) fn edit_span(
    factory: &dyn Factory,
    yaml: &str,
    entries: &[(&str, Value)],
    metadata: Metadata,
) -> Vec<String> {
    let span = Span { attributes: attributes(entries), ..Span::default() };
    let body = request(&[], vec![span]).encode_to_vec();
    let edited = process_body(factory, yaml, Signal::Traces, body, Some(metadata));
    let request = ExportTraceServiceRequest::decode(edited.to_bytes()).unwrap();
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    span.attributes.iter().map(show).collect()
}

pub(crate) fn show(attribute: &KeyValue) -> String {
    fn value(v: Option<&AnyValue>) -> String {
        match v.and_then(|v| v.value.as_ref()) {
            None => "empty".to_owned(),
            Some(Value::StringValue(v)) => format!("{v:?}"),
            Some(Value::BoolValue(v)) => v.to_string(),
            Some(Value::IntValue(v)) => v.to_string(),
            Some(Value::DoubleValue(v)) => format!("{v:?}"),
            Some(Value::BytesValue(v)) => format!("{v:?}"),
            Some(Value::ArrayValue(v)) => {
                format!("[{}]", v.values.iter().map(|v| value(Some(v))).collect::<Vec<_>>().join(","))
            }
            Some(Value::KvlistValue(v)) => {
                format!("{{{}}}", v.values.iter().map(show).collect::<Vec<_>>().join(","))
            }
            Some(other) => format!("{other:?}"),
        }
    }
    format!("{}={}", attribute.key, value(attribute.value.as_ref()))
}

/// A processor that has started, in its own world and context.
pub(crate) struct Started {
    pub(crate) test: ProcessorTest,
    pub(crate) context: TestContext,
    signal: Signal,
}

impl Started {
    pub(crate) fn new(factory: &dyn Factory, yaml: &str, signal: Signal) -> Self {
        let context = TestContext { signals: vec![signal], ..TestContext::new() };
        let Component::Processor(processor) = context.create(factory, factory.info().type_name, yaml).unwrap() else {
            panic!("a processor");
        };
        let mut test = ProcessorTest::new(processor);
        test.start().unwrap();
        Self { test, context, signal }
    }

    /// Processes a body, and returns what is passed on.
    pub(crate) fn process(&mut self, body: Vec<u8>) -> Vec<Bytes> {
        let items = check(self.signal, &body).unwrap().items;
        self.test.process(self.context.payload(self.signal, Rope::new(body.into(), items)));
        self.test.run();
        self.take()
    }

    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        let passed_on = self.test.take_passed_on().into_iter();
        passed_on
            .map(|(payload, ack)| {
                ack.settle(Outcome::Delivered);
                assert_eq!(check(self.signal, &payload.body.to_bytes()).unwrap().items, payload.items());
                payload.body.to_bytes()
            })
            .collect()
    }

    /// The value of an own metric; of all series with these labels together.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.context.telemetry.collect();
        let samples = families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples);
        samples
            .filter(|sample| labels.iter().all(|label| sample.labels.iter().any(|(k, v)| (*k, v.as_str()) == *label)))
            .map(|sample| match sample.value {
                otelcore_pipeline::SeriesValue::Number(v) => v,
                otelcore_pipeline::SeriesValue::Histogram { ref counts, .. } => counts.iter().sum::<u64>() as f64,
            })
            .sum()
    }
}

/// A body with one metric, which `write` writes.
pub(crate) fn metric_body(write: impl FnOnce(&mut otelcore_pdata::build::MetricWriter<'_>)) -> Vec<u8> {
    let mut body = otelcore_pdata::build::Body::new();
    write(&mut body.resource_metrics().scope_metrics().metric());
    body.bytes().to_vec()
}
