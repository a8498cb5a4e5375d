//! Tests of the configuration, and of what groups of statements do; the comparison with the Go processor is in
//! `tests/ottl`.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::{Signal, build};
use otelcore_pipeline::{Metadata, Outcome};
use otelcore_testkit::ProcessorTest;
use prost::Message;

use super::*;
use crate::testing::{attributes, create, edit_span, messages, outcome_of, process_body, request, string};

#[test]
fn statements_in_all_three_forms_change_spans() {
    for yaml in [
        r#"trace_statements: ['set(span.attributes["a"], "1")', 'set(span.attributes["b"], span.attributes["a"])']"#,
        r#"trace_statements: [{context: span, statements: ['set(attributes["a"], "1")', 'set(attributes["b"], attributes["a"])']}]"#,
        r#"trace_statements: [{statements: ['set(span.attributes["a"], "1")']}, {statements: ['set(span.attributes["b"], "1")']}]"#,
    ] {
        let found = edit_span(&TransformFactory, yaml, &[("x", string("y"))], Metadata::default());
        assert_eq!(found, ["x=\"y\"", "a=\"1\"", "b=\"1\""], "{yaml}");
    }
}

#[test]
fn conditions_of_a_group_decide_for_which_items_its_statements_run() {
    let yaml = r#"
trace_statements:
  - conditions: ['span.attributes["x"] == "y"', 'span.name == "n"']
    statements: ['set(span.attributes["a"], 1)']
  - context: span
    conditions: ['name == "other"']
    statements: ['set(attributes["b"], 1)']
"#;
    let edit = |value: &str| edit_span(&TransformFactory, yaml, &[("x", string(value))], Metadata::default());
    assert_eq!(edit("y"), ["x=\"y\"", "a=1"]);
    assert_eq!(edit("z"), ["x=\"z\""]);
}

#[test]
fn mistakes_are_reported_with_their_place_and_the_sentence_of_go() {
    for (yaml, message) in [
        (
            "trace_statements: [{context: spam, statements: []}]",
            "processors::transform::trace_statements[0]::context: unknown context spam",
        ),
        (
            "trace_statements: [{context: log, statements: ['set(body, 1)']}]",
            "processors::transform::trace_statements[0]::context: unknown context \"log\" for statements: [set(body, 1)]",
        ),
        ("error_mode: loud", "processors::transform::error_mode: unknown error mode loud"),
        (
            "trace_statements: ['set(span.name, 1)', {statements: []}]",
            "processors::transform::trace_statements[1]: configuring multiple configuration styles is not supported, \
             please use only Basic configuration or only Advanced configuration",
        ),
        ("trace_statements: [null]", "processors::transform::trace_statements[0]: empty list items are not supported"),
    ] {
        assert_eq!(messages(&TransformFactory, yaml), [message], "{yaml}");
    }
    let found = messages(&TransformFactory, "trace_statements: [{context: span, statements: ['set(nam, 1)']}]");
    assert!(found[0].starts_with("processors::transform::trace_statements[0]::statements[0]: "), "{found:?}");
    assert!(found[0].contains("segment \"nam\""), "{found:?}");
    let refused = messages(&TransformFactory, "profile_statements: ['set(profile.x, 1)']\nflatten_data: true");
    assert!(
        refused[0].contains("'profile_statements' is not supported: there is no signal of profiles yet"),
        "{refused:?}"
    );
    assert!(refused[1].contains("'transform.flatten.logs' feature gate"), "{refused:?}");
}

#[test]
fn mistake_in_a_statement_is_placed_in_the_file() {
    for (yaml, line, column) in [
        ("trace_statements:\n  - context: span\n    statements:\n      - set(nam, 1)\n", 4, 13),
        ("trace_statements:\n  - context: span\n    statements:\n      - 'set(nam, 1)'\n", 4, 14),
        ("trace_statements:\n  - context: span\n    statements:\n      - |\n        set(\n          nam, 1)\n", 6, 11),
    ] {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "processors::transform", &d);
        let factory: &dyn otelcore_pipeline::Factory = &TransformFactory;
        factory.parse(&"transform".parse().unwrap(), section);
        let items = d.items();
        let origin = items[0].origin.clone().unwrap();
        assert_eq!((origin.line, origin.column), (line, column), "{yaml}{items:?}");
    }
}

#[test]
fn error_mode_decides_what_happens_to_a_payload_when_a_statement_fails() {
    let yaml = |mode: &str| {
        format!(
            "error_mode: {mode}\ntrace_statements: ['set(span.name, span.attributes[\"x\"][\"y\"])', \
             'set(span.attributes[\"a\"], 1)']"
        )
    };
    for mode in ["ignore", "silent", "IGNORE"] {
        let found = edit_span(&TransformFactory, &yaml(mode), &[("x", string("y"))], Metadata::default());
        assert_eq!(found, ["x=\"y\"", "a=1"], "{mode}");
    }
    let mut test = ProcessorTest::new(create(&TransformFactory, &yaml("propagate"), &[Signal::Traces]).unwrap());
    let span = Span { attributes: attributes(&[("x", string("y"))]), ..Span::default() };
    let body = request(&[], vec![span]).encode_to_vec();
    let outcome =
        outcome_of(&mut test, otelcore_testkit::payload(Signal::Traces, otelcore_pdata::Rope::new(body.into(), 1)));
    let Some(Outcome::Permanent(status)) = outcome else { panic!("{outcome:?}") };
    assert!(format!("{status:?}").contains("failed to execute statement: set(span.name,"), "{status:?}");
}

#[test]
fn failures_are_counted_by_statement_and_logged_once() {
    let yaml = "trace_statements: [{context: span, conditions: ['attributes[\"x\"][\"y\"] == 1', 'name == \"\"'], \
                statements: ['set(name, attributes[\"x\"][\"y\"])']}]";
    let context =
        otelcore_testkit::TestContext { signals: vec![Signal::Traces], ..otelcore_testkit::TestContext::new() };
    let Component::Processor(processor) = context.create(&TransformFactory, "transform", yaml).unwrap() else {
        panic!("a processor")
    };
    let mut test = ProcessorTest::new(processor);
    for _ in 0..2 {
        let span = || Span { attributes: attributes(&[("x", string("y"))]), ..Span::default() };
        let body = request(&[], vec![span(), span()]).encode_to_vec();
        test.process(context.payload(Signal::Traces, otelcore_pdata::Rope::new(body.into(), 2)));
        test.run();
    }
    let families = context.telemetry.collect();
    let family = families.iter().find(|family| family.name == "otelcol_processor_ottl_errors").unwrap();
    let shown: Vec<String> = family.samples.iter().map(|sample| format!("{:?}", sample.value)).collect();
    assert_eq!(shown.len(), 3);
    assert_eq!(shown.iter().filter(|value| value.contains("(4.0)")).count(), 2, "{shown:?}");
}

/// A body of one summary and one histogram, each with two points.
fn metrics() -> Vec<u8> {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_metrics();
        entry.resource().attributes().string(b"r", b"1");
        let mut scope_metrics = entry.scope_metrics();
        {
            let mut metric = scope_metrics.metric();
            metric.name(b"summary");
            let mut summary = metric.summary();
            summary.point().count(3).sum(1.5).quantile_value().quantile(0.5).value(2.0);
            summary.point().count(4).sum(2.5);
        }
        let mut metric = scope_metrics.metric();
        metric.name(b"histogram");
        let mut histogram = metric.histogram();
        histogram.aggregation_temporality(1);
        histogram.point().count(3).sum(1.5).bucket_counts(&[1, 2]).explicit_bounds(&[1.0]);
    }
    body.finish().to_bytes().to_vec()
}

fn names(yaml: &str) -> Vec<String> {
    let edited = process_body(&TransformFactory, yaml, Signal::Metrics, metrics(), None);
    let request = ExportMetricsServiceRequest::decode(edited.to_bytes()).unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    metrics.iter().map(|metric| metric.name.clone()).collect()
}

#[test]
fn metric_that_is_added_is_transformed_as_well() {
    let yaml = r#"
metric_statements:
  - context: metric
    statements:
      - extract_count_metric(true, ".n") where name == "histogram"
      - set(name, "histogram.nx") where name == "histogram.n"
      - set(resource.attributes["r"], "2") where name == "histogram.nx"
"#;
    assert_eq!(names(yaml), ["summary", "histogram", "histogram.nx"]);
    let edited = process_body(&TransformFactory, yaml, Signal::Metrics, metrics(), None);
    let request = ExportMetricsServiceRequest::decode(edited.to_bytes()).unwrap();
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes.iter().map(crate::testing::show).collect::<Vec<_>>(), ["r=\"2\""]);
}

#[test]
fn metrics_added_by_points_are_transformed_point_by_point() {
    let yaml = r#"
metric_statements:
  - context: datapoint
    statements:
      - convert_summary_count_val_to_sum("delta", true) where metric.name == "summary"
      - set(attributes["seen"], true) where metric.name == "summary_count"
"#;
    // One for each point of the summary, as in the Go collector.
    assert_eq!(names(yaml), ["summary", "summary_count", "summary_count", "histogram"]);
    let edited = process_body(&TransformFactory, yaml, Signal::Metrics, metrics(), None);
    let shown = format!("{:?}", ExportMetricsServiceRequest::decode(edited.to_bytes()).unwrap());
    assert_eq!(shown.matches("\"seen\"").count(), 4);
}

#[test]
fn metrics_added_without_end_refuse_the_payload() {
    let mut test = ProcessorTest::new(
        create(
            &TransformFactory,
            "metric_statements: ['copy_metric(name=\"c\") where metric.name != \"\"']",
            &[Signal::Metrics],
        )
        .unwrap(),
    );
    let body = metrics();
    let items = otelcore_pdata::check(Signal::Metrics, &body).unwrap().items;
    let rope = otelcore_pdata::Rope::new(body.into(), items);
    let outcome = outcome_of(&mut test, otelcore_testkit::payload(Signal::Metrics, rope));
    let Some(Outcome::Permanent(status)) = outcome else { panic!("{outcome:?}") };
    assert!(format!("{status:?}").contains("add metrics without end"), "{status:?}");
}

#[test]
fn headers_of_the_request_are_read_as_paths() {
    let mut metadata = Metadata::default();
    metadata.add("X-Tenant", "t1");
    metadata.add("X-Tenant", "t2");
    let yaml = r#"trace_statements: [{context: span, statements: ['set(attributes["a"], otelcol.client.metadata["x-tenant"][1])']}]"#;
    let found = edit_span(&TransformFactory, yaml, &[], metadata);
    assert_eq!(found, ["a=\"t2\""]);
}

#[test]
fn semconv_name_is_that_of_the_kind_and_its_attributes() {
    let name = |kind: i32, entries: &[(&str, &str)]| {
        let entries: Vec<_> = entries.iter().map(|(key, value)| (*key, string(value))).collect();
        let span = Span { kind, name: "old".to_owned(), attributes: attributes(&entries), ..Span::default() };
        let yaml = r#"trace_statements: ['set_semconv_span_name("1.37.0", "original") where span.name != ""']"#;
        let body = request(&[], vec![span]).encode_to_vec();
        let edited = process_body(&TransformFactory, yaml, Signal::Traces, body, None);
        let request = ExportTraceServiceRequest::decode(edited.to_bytes()).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        (span.name.clone(), span.attributes.iter().any(|attribute| attribute.key == "original"))
    };
    assert_eq!(name(2, &[("http.request.method", "GET"), ("http.route", "/a")]), ("GET /a".to_owned(), true));
    assert_eq!(name(3, &[("db.system", "mysql"), ("db.namespace", "n")]), ("n".to_owned(), true));
    assert_eq!(name(3, &[("rpc.system", "grpc"), ("rpc.service", "s"), ("rpc.method", "m")]).0, "s/m");
    assert_eq!(name(5, &[("messaging.system", "kafka"), ("messaging.destination.name", "q")]).0, "q");
    assert_eq!(name(1, &[("http.method", "GET")]), ("old".to_owned(), false));
}
