use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use prost::Message;

use crate::AttributesFactory;
use crate::testing::{array, attributes, create, map, messages, process_body, request, string};

const ACTION: &str = "actions: [{key: changed, value: true, action: insert}]\n";

/// A span of kind SERVER named `get /a`, of the service `svc` and the scope `lib` of version `1.2`.
fn span_matches(filters: &str) -> bool {
    let span = Span {
        name: "get /a".to_owned(),
        kind: 2,
        attributes: attributes(&[
            ("s", string("value")),
            ("i", Value::IntValue(42)),
            ("d", Value::DoubleValue(2.5)),
            ("b", Value::BoolValue(true)),
            ("m", map(&[("y", Value::IntValue(1)), ("x", array(&[string("z")]))])),
        ]),
        ..Span::default()
    };
    let mut request = request(&[("service.name", string("svc")), ("env", string("prod"))], vec![span]);
    request.resource_spans[0].scope_spans[0].scope =
        Some(InstrumentationScope { name: "lib".to_owned(), version: "1.2".to_owned(), ..Default::default() });
    let body = request.encode_to_vec();
    let edited = process_body(&AttributesFactory, &format!("{ACTION}{filters}"), Signal::Traces, body.clone(), None);
    let is_shared = edited.to_bytes() == body;
    let request = ExportTraceServiceRequest::decode(edited.to_bytes()).unwrap();
    let is_changed =
        request.resource_spans[0].scope_spans[0].spans[0].attributes.iter().any(|attribute| attribute.key == "changed");
    assert_ne!(is_changed, is_shared);
    is_changed
}

#[test]
fn span_is_changed_if_every_list_of_include_matches() {
    let strict = |lists: &str| span_matches(&format!("include: {{match_type: strict, {lists}}}"));
    let regexp = |lists: &str| span_matches(&format!("include: {{match_type: regexp, {lists}}}"));
    assert!(span_matches(""));
    assert!(strict("services: [a, svc]") && !strict("services: [sv]"));
    assert!(regexp("services: ['^s']") && !regexp("services: ['^v']"));
    assert!(strict("span_names: [get /a]") && !strict("span_names: [get]") && regexp("span_names: [x, get]"));
    assert!(strict("span_kinds: [SPAN_KIND_SERVER]") && !strict("span_kinds: [SPAN_KIND_CLIENT]"));
    assert!(regexp("span_kinds: [SERV]") && !regexp("span_kinds: [INTERNAL]"));
    assert!(strict("libraries: [{name: lib}]") && !strict("libraries: [{name: lib}, {name: other}]"));
    assert!(strict("libraries: [{name: lib, version: '1.2'}]") && !strict("libraries: [{name: lib, version: ''}]"));
    assert!(regexp("libraries: [{name: l, version: ''}]"));
    assert!(strict("resources: [{key: env, value: prod}]") && !strict("resources: [{key: env, value: test}]"));
    assert!(strict("resources: [{key: env}, {key: service.name}]") && !strict("resources: [{key: env}, {key: z}]"));
    assert!(strict("span_names: [get /a], services: [svc]") && !strict("span_names: [get /a], services: [other]"));
}

#[test]
fn attribute_value_matches_by_type_or_by_its_text() {
    let strict = |value: &str| span_matches(&format!("include: {{match_type: strict, attributes: [{value}]}}"));
    let regexp = |value: &str| span_matches(&format!("include: {{match_type: regexp, attributes: [{value}]}}"));
    assert!(strict("{key: s, value: value}") && !strict("{key: s, value: val}"));
    assert!(strict("{key: i, value: 42}") && !strict("{key: i, value: '42'}") && !strict("{key: i, value: 42.0}"));
    assert!(strict("{key: d, value: 2.5}") && strict("{key: b, value: true}"));
    assert!(strict("{key: m, value: {x: [z], y: 1}}"), "the order of keys has no meaning");
    assert!(!strict("{key: m, value: {x: [z], y: 2}}") && !strict("{key: m, value: [x]}"));
    assert!(strict("{key: s}") && strict("{key: s, value: null}") && !strict("{key: z}"));
    assert!(regexp("{key: i, value: ^4}") && regexp("{key: d, value: '^2\\.5$'}") && regexp("{key: b, value: tr}"));
    assert!(!regexp("{key: m, value: .*}") && !regexp("{key: s, value: ^a}") && !regexp("{key: z, value: ''}"));
}

#[test]
fn span_that_exclude_matches_is_not_changed() {
    let exclude = |lists: &str| !span_matches(&format!("exclude: {{match_type: strict, {lists}}}"));
    assert!(exclude("services: [svc]") && !exclude("services: [other]"));
    assert!(exclude("libraries: [{name: lib}]") && !exclude("libraries: [{name: other}]"));
    assert!(exclude("services: [svc], span_names: [get /a]") && !exclude("services: [svc], span_names: [other]"));
    assert!(!exclude("services: [other], span_names: [get /a]"));
    let both = "include: {match_type: strict, services: [svc]}\nexclude: {match_type: regexp, span_names: [get]}\n";
    assert!(!span_matches(both));
    assert!(span_matches(&both.replace("[get]", "[put]")));
}

#[test]
fn resource_without_a_service_name_has_the_name_of_the_go_collector() {
    let changes = |services: &str| {
        let filters = format!("{ACTION}include: {{match_type: strict, services: [{services}]}}");
        let body = request(&[], vec![Span::default()]).encode_to_vec();
        process_body(&AttributesFactory, &filters, Signal::Traces, body.clone(), None).to_bytes() != body
    };
    assert!(changes("<nil-service-name>") && !changes("''"));
}

#[test]
fn log_record_matches_by_body_and_severity() {
    let matches = |filters: &str| {
        let record = LogRecord {
            severity_number: 9,
            severity_text: "INFO".to_owned(),
            body: Some(AnyValue { value: Some(map(&[("k", Value::IntValue(1))])) }),
            ..LogRecord::default()
        };
        let undefined = LogRecord::default();
        let scope_logs = vec![ScopeLogs { log_records: vec![record, undefined], ..ScopeLogs::default() }];
        let entry = ResourceLogs { scope_logs, ..ResourceLogs::default() };
        let body = ExportLogsServiceRequest { resource_logs: vec![entry] }.encode_to_vec();
        let yaml = format!("{ACTION}include: {{match_type: strict, {filters}}}");
        let edited = process_body(&AttributesFactory, &yaml, Signal::Logs, body, None);
        let request = ExportLogsServiceRequest::decode(edited.to_bytes()).unwrap();
        let records = &request.resource_logs[0].scope_logs[0].log_records;
        [!records[0].attributes.is_empty(), !records[1].attributes.is_empty()]
    };
    assert_eq!(matches(r#"log_bodies: ['{"k":1}']"#), [true, false]);
    assert_eq!(matches("log_bodies: ['']"), [false, true]);
    assert_eq!(matches("log_severity_texts: [INFO, WARN]"), [true, false]);
    assert_eq!(matches("log_severity_number: {min: 9}"), [true, false]);
    assert_eq!(matches("log_severity_number: {min: 10, match_undefined: true}"), [false, true]);
    assert_eq!(matches("log_severity_number: {}"), [true, false]);
}

#[test]
fn metric_matches_by_name_and_never_by_resource() {
    let matches = |filters: &str| {
        let metric = |name: &str| Metric {
            name: name.to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] })),
            ..Metric::default()
        };
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric("a"), metric("b")], ..ScopeMetrics::default() }];
        let entry =
            ResourceMetrics { resource: Some(Resource::default()), scope_metrics, ..ResourceMetrics::default() };
        let body = ExportMetricsServiceRequest { resource_metrics: vec![entry] }.encode_to_vec();
        let edited = process_body(&AttributesFactory, &format!("{ACTION}{filters}"), Signal::Metrics, body, None);
        let request = ExportMetricsServiceRequest::decode(edited.to_bytes()).unwrap();
        let is_changed = |metric: &Metric| match &metric.data {
            Some(Data::Gauge(gauge)) => !gauge.data_points[0].attributes.is_empty(),
            _ => false,
        };
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        [is_changed(&metrics[0]), is_changed(&metrics[1])]
    };
    assert_eq!(matches(""), [true, true]);
    assert_eq!(matches("include: {match_type: strict, metric_names: [a]}"), [true, false]);
    assert_eq!(matches("exclude: {match_type: regexp, metric_names: [^a]}"), [false, true]);
    assert_eq!(matches("include: {match_type: strict, resources: [{key: z}]}"), [true, true], "as in Go");
    assert_eq!(matches("exclude: {match_type: strict, resources: [{key: z}]}"), [true, true], "as in Go");
}

#[test]
fn list_of_another_signal_is_an_error_when_the_processor_is_created() {
    let error = |lists: &str, signal: Signal| {
        let yaml = format!("{ACTION}include: {{match_type: strict, {lists}}}");
        create(&AttributesFactory, &yaml, &[signal]).err().unwrap_or_default()
    };
    for (lists, signal, expected) in [
        ("log_bodies: [a]", Signal::Traces, "log_bodies should not be specified for trace spans"),
        ("log_severity_texts: [a]", Signal::Traces, "log_severity_texts should not be specified for trace spans"),
        ("log_severity_number: {}", Signal::Traces, "log_severity_number should not be specified for trace spans"),
        ("metric_names: [a]", Signal::Traces, "metric_names should not be specified for trace spans"),
        (
            "services: []",
            Signal::Traces,
            "at least one of \"attributes\", \"libraries\",  or \"resources\" field must be specified",
        ),
        (
            "services: [a]",
            Signal::Logs,
            "services, span_names, span_kinds and metric_names are not valid for log records",
        ),
        (
            "services: []",
            Signal::Logs,
            "at least one of \"attributes\", \"libraries\", \"span_kinds\", \"resources\", \"log_bodies\", \"log_severity_texts\" or \"log_severity_number\" field must be specified",
        ),
        (
            "attributes: [{key: a}]",
            Signal::Metrics,
            "\"span_names\", \"span_kinds\", \"log_bodies\", \"log_severity_texts\", \"log_severity_number\", \"services\", \"attributes\" and \"libraries\" are not valid for metrics",
        ),
        ("services: []", Signal::Metrics, "at least one of \"metric_names\" or \"resources\" field must be specified"),
        ("metric_names: [a]", Signal::Metrics, ""),
        ("services: [a]", Signal::Traces, ""),
        ("log_bodies: [a]", Signal::Logs, ""),
    ] {
        assert_eq!(error(lists, signal), expected, "{lists}");
    }
}

#[test]
fn invalid_list_has_the_message_of_the_go_collector_at_its_key() {
    let bracket = "error parsing regexp: missing closing ]: `[`";
    for (config, key, message) in [
        (
            "match_type: rex, services: [a], span_names: [b]",
            "match_type",
            "error creating service name filters: unrecognized match_type: 'rex', valid types are: [regexp strict]"
                .to_owned(),
        ),
        (
            "match_type: expr, metric_names: [a]",
            "match_type",
            "unrecognized match_type: 'expr', valid types are: [regexp strict]".to_owned(),
        ),
        (
            "match_type: regexp, services: [a, '[']",
            "services[1]",
            format!("error creating service name filters: {bracket}"),
        ),
        ("match_type: regexp, span_names: ['[']", "span_names[0]", format!("error creating span name filters: {bracket}")),
        ("match_type: regexp, span_kinds: ['[']", "span_kinds[0]", format!("error creating span kind filters: {bracket}")),
        (
            "match_type: regexp, log_bodies: ['[']",
            "log_bodies[0]",
            format!("error creating log record body filters: {bracket}"),
        ),
        (
            "match_type: regexp, log_severity_texts: ['[']",
            "log_severity_texts[0]",
            format!("error creating log record severity text filters: {bracket}"),
        ),
        ("match_type: regexp, metric_names: ['[']", "metric_names[0]", bracket.to_owned()),
        (
            "match_type: regexp, libraries: [{name: '['}]",
            "libraries[0]::name",
            format!("error creating library name filters: {bracket}"),
        ),
        (
            "match_type: regexp, libraries: [{name: a, version: '['}]",
            "libraries[0]::version",
            format!("error creating library version filters: {bracket}"),
        ),
        (
            "match_type: regexp, attributes: [{key: a, value: '['}]",
            "attributes[0]::value",
            format!("error creating attribute filters: {bracket}"),
        ),
        (
            "match_type: regexp, resources: [{key: a, value: '['}]",
            "resources[0]::value",
            format!("error creating resource filters: {bracket}"),
        ),
        (
            "match_type: regexp, attributes: [{key: k, value: 1}]",
            "attributes[0]::value",
            "error creating attribute filters: match_type=regexp for \"k\" only supports Str, but found Int".to_owned(),
        ),
        (
            "match_type: strict, attributes: [{value: 1}]",
            "attributes[0]::key",
            "error creating attribute filters: can't have empty key in the list of attributes".to_owned(),
        ),
        (
            "match_type: strict, span_kinds: [server]",
            "span_kinds[0]",
            "span_kinds string must match one of the standard span kinds when match_type=strict: [SPAN_KIND_CLIENT SPAN_KIND_CONSUMER SPAN_KIND_INTERNAL SPAN_KIND_PRODUCER SPAN_KIND_SERVER]"
                .to_owned(),
        ),
    ] {
        let found = messages(&AttributesFactory, &format!("{ACTION}exclude: {{{config}}}"));
        assert_eq!(found, [format!("processors::attributes::exclude::{key}: {message}")], "{config}");
    }
    let found = messages(
        &AttributesFactory,
        &format!("{ACTION}include: {{match_type: regexp, services: [a], regexp: {{cacheenabled: true}}}}"),
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("'cacheenabled' has no effect"), "{found:?}");
    assert_eq!(
        messages(&AttributesFactory, ""),
        ["processors::attributes::actions: missing required field \"actions\""]
    );
}
