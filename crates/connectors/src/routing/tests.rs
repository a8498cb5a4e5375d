//! Tests of `routing` alone; which items go where is compared with the Go connector in `tests/oracle`.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Connector, Metadata, Outcome, Payload};
use otelcore_testkit::{ConnectorTest, TestContext, connector, parse_config};
use prost::Message;
use std::sync::Arc;

use super::RoutingFactory;
use super::request::RequestCondition;

fn context(pipelines: &[&str]) -> TestContext {
    let mut context = TestContext::new();
    context.signals = vec![Signal::Logs];
    context.output_pipelines = pipelines.iter().map(|id| id.parse().unwrap()).collect();
    context
}

fn routing(context: &TestContext, yaml: &str) -> ConnectorTest<dyn Connector> {
    ConnectorTest::new(connector(context.create(&RoutingFactory, "routing", yaml).unwrap()))
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

/// One resource for each element: its `env`, and the texts of its records.
fn logs(resources: &[(&str, &[&str])]) -> ExportLogsServiceRequest {
    let record = |text: &&str| LogRecord { severity_text: (*text).to_owned(), ..LogRecord::default() };
    let resource_logs = resources.iter().map(|(env, records)| ResourceLogs {
        resource: Some(Resource { attributes: vec![attribute("env", env)], ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records: records.iter().map(record).collect(), ..ScopeLogs::default() }],
        schema_url: String::new(),
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

fn payload(context: &TestContext, request: &ExportLogsServiceRequest) -> Payload {
    let body = request.encode_to_vec();
    let items = check(Signal::Logs, &body).unwrap().items;
    context.payload(Signal::Logs, Rope::new(body.into(), items))
}

/// What was passed on: the pipeline, and the texts of the records.
fn take(test: &mut ConnectorTest<dyn Connector>, outcome: &Outcome) -> Vec<(usize, Vec<String>)> {
    let passed_on = test.take_passed_on().into_iter().map(|(pipeline, payload, ack)| {
        ack.settle(outcome.clone());
        let request = ExportLogsServiceRequest::decode(payload.body.to_bytes()).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|entry| entry.scope_logs);
        let texts: Vec<String> =
            scopes.flat_map(|scope| scope.log_records).map(|record| record.severity_text).collect();
        assert_eq!(texts.len(), payload.items() as usize);
        (pipeline.unwrap(), texts)
    });
    passed_on.collect()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

const TABLE: &str = "
default_pipelines: [logs/rest]
table:
  - {context: log, condition: 'severity_text == \"x\"', pipelines: [logs/x]}
  - {condition: 'attributes[\"env\"] == \"prod\"', pipelines: [logs/prod, logs/x]}
";

#[test]
fn payload_is_divided_by_the_first_route_that_matches() {
    let context = context(&["logs/prod", "logs/rest", "logs/x"]);
    let mut test = routing(&context, TABLE);
    let request = logs(&[("prod", &["a", "x", "b"]), ("dev", &["c", "x"]), ("prod", &["x"])]);
    let number = test.process(payload(&context, &request));
    assert_eq!(
        take(&mut test, &Outcome::Delivered),
        [(2, texts(&["x", "x", "x"])), (0, texts(&["a", "b"])), (2, texts(&["a", "b"])), (1, texts(&["c"]))]
    );
    assert_eq!(test.take_outcomes(), [(number, Outcome::Delivered)]);
    assert_eq!((context.budget.held(), test.connector.held_items()), (0, 0));
}

#[test]
fn payload_of_one_route_is_the_same_buffer() {
    let context = context(&["logs/prod", "logs/rest", "logs/x"]);
    let mut test = routing(&context, TABLE);
    for (request, pipelines) in [(logs(&[("prod", &["a"]), ("prod", &["b"])]), 2), (logs(&[("dev", &["a"])]), 1)] {
        let payload = payload(&context, &request);
        let buffer = payload.body.parts()[0].bytes.as_ptr();
        test.process(payload);
        let passed_on = test.take_passed_on();
        assert_eq!(passed_on.len(), pipelines);
        assert!(passed_on.iter().all(|(_, payload, _)| payload.body.parts()[0].bytes.as_ptr() == buffer));
    }
}

#[test]
fn outcome_is_the_worst_of_the_parts_and_the_best_of_copies() {
    let context = context(&["logs/prod", "logs/rest", "logs/x"]);
    let mut test = routing(&context, TABLE);
    let request = logs(&[("prod", &["a"]), ("dev", &["c"])]);
    for (refused, expected) in [(0, Outcome::Delivered), (1, Outcome::retry("full")), (2, Outcome::Delivered)] {
        let number = test.process(payload(&context, &request));
        for (pipeline, _, ack) in test.take_passed_on() {
            ack.settle(if pipeline == Some(refused) { Outcome::retry("full") } else { Outcome::Delivered });
        }
        assert_eq!(test.take_outcomes(), [(number, expected)]);
    }
}

#[test]
fn what_no_route_matches_is_dropped_without_default_pipelines() {
    let context = context(&["logs/x"]);
    let mut test =
        routing(&context, "table: [{context: log, condition: 'severity_text == \"x\"', pipelines: [logs/x]}]");
    let number = test.process(payload(&context, &logs(&[("dev", &["a"])])));
    assert!(test.take_passed_on().is_empty());
    assert_eq!(test.take_outcomes(), [(number, Outcome::Delivered)]);
}

#[test]
fn long_payload_is_divided_by_a_helper_thread_in_order() {
    let context = context(&["logs/prod", "logs/rest", "logs/x"]);
    let mut test = routing(&context, TABLE);
    let long = vec!["a"; 100_000];
    let first = test.process(payload(&context, &logs(&[("prod", &long)])));
    let second = test.process(payload(&context, &logs(&[("dev", &["b"])])));
    assert!(test.take_passed_on().is_empty() && test.connector.held_items() == 100_001);
    test.run();
    let passed_on = take(&mut test, &Outcome::Delivered);
    assert_eq!(passed_on.iter().map(|(pipeline, _)| *pipeline).collect::<Vec<_>>(), [0, 2, 1]);
    assert_eq!(test.take_outcomes(), [(first, Outcome::Delivered), (second, Outcome::Delivered)]);
}

#[test]
fn request_is_matched_by_its_headers() {
    let context = context(&["logs/acme", "logs/rest"]);
    let yaml = "
default_pipelines: [logs/rest]
table: [{context: request, condition: 'request[\"X-Tenant\"] == \"acme\"', pipelines: [logs/acme]}]";
    let mut test = routing(&context, yaml);
    for (tenants, pipeline) in [(&[][..], 1), (&["acme"], 0), (&["other", "acme"], 0), (&["Acme"], 1)] {
        let mut metadata = Metadata::default();
        tenants.iter().for_each(|tenant| metadata.add("x-tenant", tenant));
        let mut payload = payload(&context, &logs(&[("dev", &["a"])]));
        payload.metadata = Some(Arc::new(metadata));
        test.process(payload);
        assert_eq!(take(&mut test, &Outcome::Delivered), [(pipeline, texts(&["a"]))], "{tenants:?}");
    }
}

#[test]
fn condition_that_fails_refuses_the_payload_or_does_not_match() {
    let table = "table: [{context: log, condition: 'Int(body) + 1 > 0 and Substring(severity_text, 0, 5) == \"x\"', pipelines: [logs/x]}]";
    let context = context(&["logs/x", "logs/rest"]);
    let request = logs(&[("dev", &["a", "b"])]);
    let mut test = routing(&context, &format!("default_pipelines: [logs/rest]\n{table}"));
    test.process(payload(&context, &request));
    let [(_, Outcome::Permanent(error))] = &test.take_outcomes()[..] else { unreachable!("it is refused") };
    assert!(error.message.starts_with("failed to route by `Int(body)"), "{error}");
    for (mode, logged) in [("ignore", 1), ("silent", 0)] {
        let yaml = format!("error_mode: {mode}\ndefault_pipelines: [logs/rest]\n{table}");
        let mut test = routing(&context, &yaml);
        for _ in 0..2 {
            test.process(payload(&context, &request));
            assert_eq!(take(&mut test, &Outcome::Delivered), [(1, texts(&["a", "b"]))]);
        }
        assert_eq!(context.log.take_lines().len(), logged, "{mode}");
    }
}

#[test]
fn configuration_mistakes_are_reported_in_the_words_of_the_go_collector() {
    let route = |keys: &str| format!("table: [{{{keys}}}]");
    for (yaml, wanted) in [
        (String::new(), "invalid routing table: the routing table is empty"),
        (route("pipelines: [logs/x]"), "invalid route: no condition or statement provided"),
        (
            route("condition: 'true', statement: route(), pipelines: [logs]"),
            "invalid route: both condition and statement provided",
        ),
        (route("condition: 'true'"), "invalid route: no pipelines defined"),
        (route("condition: 'true', context: scope, pipelines: [logs]"), "invalid context: scope"),
        (route("condition: 'true', action: mov, pipelines: [logs]"), "invalid Action string: mov"),
        (
            route("statement: route(), context: request, pipelines: [logs]"),
            "\"request\" context requires a 'condition'",
        ),
        (
            route("condition: 'request == \"x\"', context: request, pipelines: [logs]"),
            "condition must have format 'request[\"<name>\"] <comparator> <value>'",
        ),
        (route("condition: 'x', context: request, pipelines: [logs]"), "condition does not contain a valid comparator"),
        (route("condition: 'true', pipelines: [logs]") + "\nerror_mode: loud", "unknown error mode loud"),
        (
            route("condition: 'true', pipelines: [logs]") + "\nmatch_once: false",
            "'match_once: false' is not supported, nor by the Go collector since version 0.120",
        ),
    ] {
        let parsed = parse_config(&RoutingFactory, "routing", &yaml);
        assert!(parsed.messages.iter().any(|message| message == wanted), "{yaml}: {:?}", parsed.messages);
    }
    let parsed = parse_config(&RoutingFactory, "routing", &route("condition: 'attributes[', pipelines: [logs]"));
    assert_eq!(parsed.messages.len(), 1, "{:?}", parsed.messages);
    let context = context(&["logs/x"]);
    let error = context.create(&RoutingFactory, "routing", &route("condition: 'true', pipelines: [logs/y]"));
    assert_eq!(error.err().unwrap(), "pipeline not found: missing consumer: \"logs/y\"");
}

#[test]
fn route_that_is_there_twice_is_ignored_with_a_warning() {
    let context = context(&["logs/a", "logs/b"]);
    let yaml =
        "table: [{condition: 'true', pipelines: [logs/a]}, {statement: route() where true, pipelines: [logs/b]}]";
    let mut test = routing(&context, yaml);
    assert!(context.log.take_lines()[0].contains("a route that is in the table before is ignored"));
    test.process(payload(&context, &logs(&[("dev", &["a"])])));
    assert_eq!(take(&mut test, &Outcome::Delivered), [(0, texts(&["a"]))]);
}

#[test]
fn request_condition_is_read_by_the_rules_of_the_go_collector() {
    assert_eq!(RequestCondition::parse(""), Err("condition is empty"));
    assert_eq!(RequestCondition::parse("a != b == c"), Err("condition contains multiple comparators"));
    assert!(RequestCondition::parse("request[\"a\"] == b").is_err());
    let mut metadata = Metadata::default();
    metadata.add("a", "b");
    metadata.add("a", "c");
    let holds = |text: &str| RequestCondition::parse(text).unwrap().holds(Some(&metadata));
    assert!(holds("request[\"A\"]==\"b\"") && !holds("request[\"a\"] == \"d\""));
    assert!(holds("request[\"a\"] != \"b\"") && !holds("request[\"none\"] != \"b\""));
}
