//! The components over HTTP in the simulated world, and the processor and the connector by themselves.

use std::sync::Arc;
use std::time::Duration;

use otelcore::pdata::views::{ResourceLogs, resource_entries};
use otelcore::pdata::{Signal, build};
use otelcore::pipeline::{Ack, Component, ConnectorOutput, NoopLogSink};
use otelcore::reactor::{NodeId, Sim};
use otelcore::{BuildInfo, Collector};
use otelcore_testkit::{ProcessorTest, TestContext, TestWorld, payload, processor};

/// Posts a line each second, with this key.
const EDGE: &str = "
receivers: {ticker: {text: tick}}
processors: {set_attribute: {key: from, value: edge}}
exporters:
  lines:
    endpoint: http://gateway:8091/lines
    headers: {x-api-key: KEY}
    retry_on_failure: {initial_interval: 1s}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {logs: {receivers: [ticker], processors: [set_attribute], exporters: [lines]}}
";

/// Counts the lines of clients that have the key.
const GATEWAY: &str = "
extensions: {api_key_auth: {key: secret}}
receivers: {lines: {endpoint: '0.0.0.0:8091', auth: {authenticator: api_key_auth}}}
exporters: {count_to_stdout: }
service:
  extensions: [api_key_auth]
  telemetry: {metrics: {level: none}}
  pipelines: {logs: {receivers: [lines], exporters: [count_to_stdout]}}
";

fn add_node(sim: &mut Sim, name: &str, yaml: &str) -> NodeId {
    let plan = custom_components::plan(yaml).unwrap();
    let graph = Collector::with_log(plan, BuildInfo::default(), Arc::new(NoopLogSink)).build_graph().unwrap();
    sim.add_node(name, graph).unwrap()
}

/// The last line that the gateway has written.
fn counted(sim: &Sim, gateway: NodeId) -> String {
    let output = String::from_utf8(sim.written_output(gateway, "stdout")).unwrap();
    output.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn lines_reach_a_gateway_that_starts_later() {
    let mut sim = Sim::new(1);
    let edge = add_node(&mut sim, "edge", &EDGE.replace("KEY", "secret"));
    sim.run_for(Duration::from_millis(10_500));
    let gateway = add_node(&mut sim, "gateway", GATEWAY);
    sim.run_for(Duration::from_secs(60));
    sim.close(edge, Duration::from_secs(5));
    assert_eq!((sim.undelivered(edge).unwrap().total(), counted(&sim, gateway).as_str()), (0, "70 log_records"));
}

#[test]
fn lines_without_the_key_are_refused() {
    let mut sim = Sim::new(1);
    let gateway = add_node(&mut sim, "gateway", GATEWAY);
    let edge = add_node(&mut sim, "edge", &EDGE.replace("KEY", "wrong"));
    sim.run_for(Duration::from_secs(10));
    sim.close(edge, Duration::from_secs(5));
    assert_eq!(counted(&sim, gateway), "");
}

#[test]
fn attribute_is_set_on_every_record() {
    let mut logs = build::Body::new();
    {
        let mut resource = logs.resource_logs();
        let mut scope = resource.scope_logs();
        scope.log_record().attributes().string(b"color", b"red");
        scope.log_record();
    }
    let factory = custom_components::set_attribute::SetAttributeFactory;
    let component = TestContext::new().create(&factory, "set_attribute", "{key: color, value: blue}").unwrap();
    let mut test = ProcessorTest::new(processor(component));
    test.process(payload(Signal::Logs, logs.finish()));
    let (changed, _ack) = test.take_passed_on().remove(0);
    let mut colors = Vec::new();
    for resource in resource_entries::<ResourceLogs<'_>>(&changed.body) {
        for record in resource.scope_logs().flat_map(|scope| scope.log_records()) {
            colors.extend(record.attributes().map(|attribute| format!("{:?}", attribute.value)));
        }
    }
    assert_eq!(colors, [r#"String([98, 108, 117, 101])"#; 2]);
}

#[test]
fn span_with_an_error_becomes_a_log_record() {
    let mut traces = build::Body::new();
    {
        let mut resource = traces.resource_spans();
        let mut scope = resource.scope_spans();
        scope.span().name(b"GET /").status().code(2);
        scope.span().name(b"GET /ok");
    }
    let factory = custom_components::error_logs::ErrorLogsFactory;
    let component = TestContext::new().create(&factory, "error_logs", "").unwrap();
    let Component::Connector(mut connector) = component else { panic!("{component:?} is not a connector") };
    let (mut world, mut output) = (TestWorld::new(), ConnectorOutput::default());
    connector.process(&mut world.cx(), payload(Signal::Traces, traces.finish()), Ack::detached(), &mut output);
    let (_, logs, _ack) = output.take().remove(0);
    assert_eq!((logs.signal, logs.items()), (Signal::Logs, 1));
    let resource = resource_entries::<ResourceLogs<'_>>(&logs.body).next().unwrap();
    let record = resource.scope_logs().flat_map(|scope| scope.log_records()).next().unwrap();
    assert_eq!(record.severity_number, 17);
}

#[test]
fn connector_joins_pipelines_of_different_signals() {
    let yaml = "
receivers: {nop: }
connectors: {error_logs: {prefix: 'failed '}}
exporters: {count_to_stdout: }
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [nop], exporters: [error_logs]}
    logs: {receivers: [error_logs], exporters: [count_to_stdout]}
";
    add_node(&mut Sim::new(1), "collector", yaml);
    let swapped = yaml
        .replace("traces:", "x:")
        .replace("logs: {receivers: [error", "traces: {receivers: [error")
        .replace("x:", "logs:");
    assert!(custom_components::plan(&swapped).is_err());
}
