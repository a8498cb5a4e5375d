//! Tests of the configuration, and of what is dropped; the comparison with the Go processor is in `tests/ottl`.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use otelcore_pdata::{Rope, build};
use otelcore_pipeline::Outcome;
use otelcore_testkit::{ProcessorTest, TestContext, payload};
use prost::Message;

use super::*;
use crate::testing::{attributes, create, messages, outcome_of, process_body, request, string};

fn spans() -> Vec<u8> {
    let span = |name: &str, value: &str| {
        let event = |name: &str| Event { name: name.to_owned(), ..Event::default() };
        let attributes = attributes(&[("x", string(value))]);
        let events = vec![event("e1"), event("e2")];
        Span { name: name.to_owned(), attributes, events, ..Span::default() }
    };
    request(&[("r", string("1"))], vec![span("a", "1"), span("b", "2"), span("c", "1")]).encode_to_vec()
}

fn names(yaml: &str) -> Vec<String> {
    let edited = process_body(&FilterFactory, yaml, Signal::Traces, spans(), None);
    let request = ExportTraceServiceRequest::decode(edited.to_bytes()).unwrap();
    let spans = request.resource_spans.iter().flat_map(|entry| &entry.scope_spans).flat_map(|scope| &scope.spans);
    spans.map(|span| format!("{}{}", span.name, span.events.len())).collect()
}

#[test]
fn spans_and_events_are_dropped_in_every_form_of_conditions() {
    for yaml in [
        r#"traces: {span: ['attributes["x"] == "1"']}"#,
        r#"traces: {span: ['name == "a"', 'name == "c"']}"#,
        r#"trace_conditions: ['span.attributes["x"] == "1"']"#,
        r#"trace_conditions: [{context: span, conditions: ['attributes["x"] == "1"']}]"#,
        r#"trace_conditions: [{conditions: ['span.name == "a"']}, {conditions: ['span.name == "c"']}]"#,
        r#"spans: {include: {match_type: strict, span_names: [b]}}"#,
        r#"spans: {exclude: {match_type: regexp, attributes: [{key: x, value: "^1$"}]}}"#,
    ] {
        assert_eq!(names(yaml), ["b2"], "{yaml}");
    }
    for yaml in [
        r#"traces: {spanevent: ['name == "e1"']}"#,
        r#"trace_conditions: ['spanevent.name == "e1"']"#,
        r#"trace_conditions: [{context: spanevent, conditions: ['event_index == 0']}]"#,
    ] {
        assert_eq!(names(yaml), ["a1", "b1", "c1"], "{yaml}");
    }
    for yaml in [
        r#"trace_conditions: ['resource.attributes["r"] == "2"', 'scope.name == "s"', 'span.name == "z"']"#,
        "{}",
        "traces: {span: []}",
    ] {
        assert_eq!(names(yaml), ["a2", "b2", "c2"], "{yaml}");
    }
}

/// What becomes of a payload of which nothing is left.
#[test]
fn payload_of_which_everything_is_dropped_is_delivered_and_counted() {
    let context = TestContext { signals: vec![Signal::Traces], ..TestContext::new() };
    let yaml = r#"traces: {resource: ['attributes["r"] == "1"']}"#;
    let Component::Processor(processor) = context.create(&FilterFactory, "filter", yaml).unwrap() else {
        panic!("a processor")
    };
    let mut test = ProcessorTest::new(processor);
    let outcome = outcome_of(&mut test, context.payload(Signal::Traces, Rope::new(spans().into(), 3)));
    assert!(matches!(outcome, Some(Outcome::Delivered)), "{outcome:?}");
    let families = context.telemetry.collect();
    let family = families.iter().find(|family| family.name == "otelcol_processor_filter_spans_filtered").unwrap();
    assert_eq!(format!("{:?}", family.samples[0].labels), "[(\"filter\", \"filter\")]");
    assert!(format!("{:?}", family.samples[0].value).contains("3.0"), "{:?}", family.samples);
}

fn metrics() -> Vec<u8> {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_metrics();
        entry.resource().attributes().string(b"r", b"1");
        let mut scope_metrics = entry.scope_metrics();
        for name in [&b"a"[..], b"b"] {
            let mut metric = scope_metrics.metric();
            metric.name(name);
            let mut gauge = metric.gauge();
            for value in [1, 2] {
                gauge.point().int(value).attributes().int(b"n", value).bytes(b"name", name);
            }
        }
        scope_metrics.metric().name(b"empty").gauge();
        scope_metrics.metric().name(b"z").gauge().point().int(7);
    }
    body.finish().to_bytes().to_vec()
}

fn metric_names(yaml: &str) -> Vec<String> {
    let edited = process_body(&FilterFactory, yaml, Signal::Metrics, metrics(), None);
    let entries = otelcore_pdata::views::resource_entries::<otelcore_pdata::views::ResourceMetrics<'_>>(&edited);
    let mut found = Vec::new();
    for metric in entries.flat_map(|entry| entry.scope_metrics()).flat_map(|scope| scope.metrics()) {
        let otelcore_pdata::views::MetricData::Gauge(gauge) = metric.data else { panic!("a gauge") };
        found.push(format!("{}{}", String::from_utf8_lossy(metric.name), gauge.points().count()));
    }
    found
}

#[test]
fn metrics_and_points_are_dropped_in_every_form() {
    for (yaml, expected) in [
        (r#"metrics: {metric: ['name == "a"']}"#, &["b2", "empty0", "z1"][..]),
        (r#"metrics: {metric: ['HasAttrKeyOnDatapoint("n")']}"#, &["empty0", "z1"]),
        (r#"metrics: {metric: ['HasAttrOnDatapoint("n", "1")']}"#, &["a2", "b2", "empty0", "z1"]),
        (r#"metrics: {datapoint: ['metric.name == "a" and attributes["n"] == 1']}"#, &["a1", "b2", "z1"]),
        (r#"metric_conditions: ['datapoint.value_int == 2', 'metric.name == "b"']"#, &["a1", "z1"]),
        (r#"metrics: {include: {match_type: strict, metric_names: [a]}}"#, &["a2"]),
        (r#"metrics: {exclude: {match_type: regexp, metric_names: ["^[ab]$"]}}"#, &["empty0", "z1"]),
        (
            r#"metrics: {include: {match_type: strict, resource_attributes: [{key: r, value: "1"}]}}"#,
            &["a2", "b2", "empty0", "z1"],
        ),
        (
            r#"metrics: {exclude: {match_type: strict, metric_names: [a], resource_attributes: [{key: r, value: "2"}]}}"#,
            &["b2", "empty0", "z1"],
        ),
    ] {
        assert_eq!(metric_names(yaml), expected, "{yaml}");
    }
}

#[test]
fn log_records_are_dropped_in_every_form() {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_logs();
        let mut scope_logs = entry.scope_logs();
        for (severity, text) in [(5, "debug"), (9, "info"), (0, "none")] {
            scope_logs.log_record().severity_number(severity).severity_text(text.as_bytes());
        }
    }
    let body = body.finish().to_bytes();
    for (yaml, expected) in [
        ("logs: {log_record: ['severity_number < SEVERITY_NUMBER_INFO']}", 1),
        ("log_conditions: ['log.severity_text == \"debug\"']", 2),
        ("logs: {include: {severity_number: {min: INFO}}}", 1),
        ("logs: {include: {severity_number: {min: debug, match_undefined: true}}}", 3),
        ("logs: {exclude: {match_type: strict, severity_texts: [info]}}", 2),
        ("logs: {include: {match_type: strict}}", 3),
    ] {
        let edited = process_body(&FilterFactory, yaml, Signal::Logs, body.clone(), None);
        assert_eq!(edited.items(), expected, "{yaml}");
    }
}

#[test]
fn mistakes_are_reported_with_their_key_and_the_sentence_of_go() {
    for (yaml, message) in [
        (
            "traces: {span: ['true']}\nspans: {include: {match_type: strict, span_names: [a]}}",
            r#"processors::filter::spans: cannot use "traces.resource", "traces.span", "traces.spanevent" and the span settings "spans.include", "spans.exclude" at the same time"#,
        ),
        (
            "metric_conditions: []\nmetrics: {metric: []}",
            r#"processors::filter::metric_conditions: cannot use context inferred metric conditions "metric_conditions" and the settings "metrics.resource", "metrics.metric", "metrics.datapoint", "metrics.include", "metrics.exclude" at the same time"#,
        ),
        (
            "logs: {include: {severity_number: {min: loud}}}",
            "processors::filter::logs::include::severity_number::min: 'loud' is not a valid severity: not a valid severity",
        ),
        (
            "metrics: {include: {match_type: expr, expressions: ['true', 'lower(MetricName) == \"a\"']}}",
            "processors::filter::metrics::include: expressions[1]: `lower` at character 1 is not supported: write it as a \
             condition of OTTL in `metrics::metric`, where `MetricName` is `metric.name`, `HasLabel(\"k\")` is \
             `HasAttrKeyOnDatapoint(\"k\")` and `Label(\"k\") == \"v\"` is `HasAttrOnDatapoint(\"k\", \"v\")`",
        ),
        (
            "profiles: {profile: ['true']}",
            "processors::filter::profiles: 'profiles' is not supported: there is no signal of profiles yet: remove the conditions on \
             them",
        ),
        (
            "trace_conditions: [{context: metric, conditions: ['name == \"\"']}]",
            "processors::filter::trace_conditions[0]::context: unknown context \"metric\" for conditions: [name == \"\"]",
        ),
    ] {
        assert_eq!(messages(&FilterFactory, yaml), [message], "{yaml}");
    }
    let found = messages(&FilterFactory, "traces: {span: ['set(name, \"x\")', 'name = 1']}");
    assert!(found.len() == 2 && found[0].starts_with("processors::filter::traces::span[0]: "), "{found:?}");
}

#[test]
fn error_of_a_condition_with_propagate_refuses_the_payload() {
    let yaml = "error_mode: propagate\ntraces: {span: ['attributes[\"x\"][\"y\"] == 1']}";
    let mut test = ProcessorTest::new(create(&FilterFactory, yaml, &[Signal::Traces]).unwrap());
    let outcome = outcome_of(&mut test, payload(Signal::Traces, Rope::new(spans().into(), 3)));
    let Some(Outcome::Permanent(status)) = outcome else { panic!("{outcome:?}") };
    assert!(format!("{status:?}").contains("failed to eval condition: attributes"), "{status:?}");
    let ignored = "traces: {span: ['attributes[\"x\"][\"y\"] == 1', 'name == \"a\"']}";
    assert_eq!(names(ignored), ["b2", "c2"]);
}
