//! Tests of the processor in a world without a machine.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Component, Outcome};
use otelcore_testkit::{ProcessorTest, TestContext, parse_config, payload};
use prost::Message;

use crate::ResourceDetectionFactory;
use crate::detected::SCHEMA_URL;

const ID: &str = "resource_detection";

fn messages(yaml: &str) -> Vec<String> {
    parse_config(&ResourceDetectionFactory, ID, yaml).messages
}

fn test(yaml: &str) -> ProcessorTest {
    match TestContext::new().create(&ResourceDetectionFactory, ID, yaml).unwrap() {
        Component::Processor(processor) => ProcessorTest::new(processor),
        other => panic!("{other:?}"),
    }
}

/// Sends a span of a resource with `a=old`.
fn process(test: &mut ProcessorTest) -> u64 {
    let value = Some(AnyValue { value: Some(Value::StringValue("old".to_owned())) });
    let attributes = vec![KeyValue { key: "a".to_owned(), value, ..KeyValue::default() }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() }];
    let entry = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![entry] }.encode_to_vec();
    let items = check(Signal::Traces, &body).unwrap().items;
    test.process(payload(Signal::Traces, Rope::new(body.into(), items)))
}

/// The attributes and the schema URL of the payload that was passed on.
fn passed_on(test: &mut ProcessorTest) -> Option<(String, String)> {
    let (payload, ack) = test.take_passed_on().pop()?;
    ack.settle(Outcome::Delivered);
    let request = ExportTraceServiceRequest::decode(payload.body.to_bytes()).unwrap();
    let entry = request.resource_spans.into_iter().next().unwrap();
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(value)) => format!("{}={value}", attribute.key),
        other => format!("{}={other:?}", attribute.key),
    };
    let attributes = entry.resource.unwrap().attributes.iter().map(text).collect::<Vec<_>>().join(" ");
    Some((attributes, entry.schema_url))
}

#[test]
fn detected_attributes_override_those_of_the_resource() {
    for (yaml, expected) in [("{}", "a=new b=x"), ("override: false", "a=old b=x"), ("attributes: [b]", "a=old b=x")] {
        let mut test = test(yaml);
        test.world.set_env("OTEL_RESOURCE_ATTRIBUTES", "a=new,b=x");
        test.start().unwrap();
        process(&mut test);
        assert_eq!(passed_on(&mut test).unwrap().0, expected, "{yaml}");
    }
}

#[test]
fn payload_waits_until_the_first_detection_has_ended() {
    let mut test = test("detectors: [system]\nsystem: {hostname_sources: [os]}\n");
    test.world.disk().write("/proc/sys/kernel/hostname", "web-1\n");
    test.start().unwrap();
    process(&mut test);
    assert!(test.take_passed_on().is_empty());
    assert_eq!(test.processor.held_items(), 1);
    test.run();
    let (attributes, schema_url) = passed_on(&mut test).unwrap();
    assert!(attributes.starts_with("a=old host.name=web-1 os.type="), "{attributes}");
    assert_eq!(schema_url, SCHEMA_URL);
    assert_eq!(test.processor.held_items(), 0);
}

#[test]
fn detector_that_never_succeeds_holds_payloads_until_the_time_limit_only() {
    let mut test = test("detectors: [docker, env]\ntimeout: 3s\n");
    test.world.set_env("OTEL_RESOURCE_ATTRIBUTES", "b=x");
    test.start().unwrap();
    process(&mut test);
    test.run_for(Duration::from_millis(2900));
    assert!(test.take_passed_on().is_empty());
    test.run_for(Duration::from_millis(200));
    assert_eq!(passed_on(&mut test).unwrap().0, "a=old b=x");
}

#[test]
fn payload_without_detectors_is_passed_on_unchanged() {
    let mut test = test("detectors: []");
    test.start().unwrap();
    process(&mut test);
    assert_eq!(passed_on(&mut test).unwrap().0, "a=old");
    assert_eq!(test.processor.held_items(), 0);
}

#[test]
fn refresh_adds_what_has_changed() {
    let mut test = test("refresh_interval: 1m");
    test.world.set_env("OTEL_RESOURCE_ATTRIBUTES", "b=1");
    test.start().unwrap();
    test.world.set_env("OTEL_RESOURCE_ATTRIBUTES", "b=2");
    process(&mut test);
    assert_eq!(passed_on(&mut test).unwrap().0, "a=old b=1");
    test.run_for(Duration::from_secs(61));
    process(&mut test);
    assert_eq!(passed_on(&mut test).unwrap().0, "a=old b=2");
}

#[test]
fn invalid_variable_is_an_error_of_the_start() {
    let mut test = test("{}");
    test.world.set_env("OTEL_RESOURCE_ATTRIBUTES", "nothing");
    let error = test.start().unwrap_err().to_string();
    assert_eq!(error, "detector env: invalid resource format: \"nothing\"");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    assert_eq!(messages("detectors: [env, system, ec2, gcp, k8s_api]"), Vec::<String>::new());
    assert_eq!(messages("detectors: [vultr]"), ["detector \"vultr\" is not supported yet"]);
    assert_eq!(messages("consul: {address: 'unix:///a'}"), ["sockets in the file system are not supported yet"]);
    assert_eq!(messages("consul: {meta: [a]}"), ["expected a map"]);
    assert_eq!(
        messages("consul: {address: 'ftp://a'}"),
        ["failed creating consul client: Unknown protocol scheme: ftp"]
    );
    assert_eq!(messages("detectors: [moon]"), ["invalid detector key: moon"]);
    assert_eq!(messages("detectors: [gke]"), ["detector \"gke\" is now a part of \"gcp\""]);
    assert_eq!(messages("system: {hostname_sources: [x]}"), ["hostname_sources contains invalid value: \"x\""]);
    assert_eq!(messages("ec2: {tags: [a]}"), ["tags from the EC2 API (DescribeTags) are not supported yet"]);
    assert_eq!(messages("k8s_api: {auth_type: kubeConfig}"), ["`auth_type: kubeConfig` is not supported yet"]);
}
