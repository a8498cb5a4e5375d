//! `routing`: which items each pipeline gets.

use std::sync::Arc;

use otelcore_connectors::RoutingFactory;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Connector, Metadata, Outcome};
use otelcore_test_support::{Choices, push_frame, split_frames};
use otelcore_testkit::{ConnectorTest, TestContext, connector, payload};

use crate::{Differential, choices, telemetry};

const ROUTING: Differential = Differential { name: "routing", cases: 600, input, answer, expected };

fn signal_of(name: &str) -> Signal {
    Signal::ALL.into_iter().find(|signal| signal.name() == name).unwrap()
}

fn route(c: &mut Choices, signal: Signal, pipelines: &[String]) -> String {
    let contexts: &[&str] = match signal {
        Signal::Traces => &["", "resource", "span", "span", "request", "log"],
        Signal::Metrics => &["", "resource", "metric", "datapoint", "datapoint", "request"],
        Signal::Logs => &["", "resource", "log", "log", "request", "span"],
    };
    let context = c.choose(contexts);
    let value = c.choose(&["a", "b", "c"]);
    let of_any = [
        format!("attributes[\"s\"] == \"{value}\""),
        format!("attributes[\"s\"] != \"{value}\""),
        format!("attributes[\"n\"] > {}", c.below(3)),
        "attributes[\"n\"] == nil".to_owned(),
        "true".to_owned(),
        format!("IsMatch(attributes[\"s\"], \"[{value}z]\")"),
        "Substring(attributes[\"s\"], 0, 1) == \"a\"".to_owned(),
        "attributes[\"n\"] + 1 == 2".to_owned(),
        format!("attributes[\"s\"] == \"{value}\" and not (attributes[\"n\"] == 1)"),
    ];
    let of_context: &[&str] = match context {
        "span" => &["IsRootSpan()", "kind == SPAN_KIND_SERVER", "resource.attributes[\"s\"] == \"a\""],
        "metric" => &["name == \"cpu\"", "type == METRIC_DATA_TYPE_SUM", "resource.attributes[\"s\"] == \"b\""],
        "datapoint" => &["metric.name == \"mem\"", "resource.attributes[\"n\"] == 1", "time_unix_nano > 1"],
        "log" => &["severity_number < SEVERITY_NUMBER_ERROR", "resource.attributes[\"s\"] == \"c\""],
        _ => &[],
    };
    let condition = match context {
        "request" => c
            .choose(&[
                "request[\"X-Tenant\"] == \"acme\"",
                "request[\"x-tenant\"] != \"acme\"",
                "request[\"none\"] == \"\"",
            ])
            .to_owned(),
        // A metric has no attributes.
        "metric" => of_context[c.below(of_context.len())].to_owned(),
        _ if !of_context.is_empty() && c.below(2) == 0 => of_context[c.below(of_context.len())].to_owned(),
        _ => of_any[c.below(of_any.len())].clone(),
    };
    let text = match c.below(6) {
        _ if context == "request" => format!("condition: '{condition}'"),
        0 => format!("statement: 'route() where {condition}'"),
        // On single items the Go connector copies a resource that later items change.
        1 if context != "metric" => {
            let function = c.choose(&["delete_key(attributes, \"n\")", "delete_matching_keys(attributes, \"^[ns]$\")"]);
            format!("statement: '{function} where {condition}'")
        }
        _ => format!("condition: '{condition}'"),
    };
    let mut names = vec![c.choose(&pipelines.iter().map(String::as_str).collect::<Vec<_>>())];
    if c.below(4) == 0 {
        names.push(c.choose(&pipelines.iter().map(String::as_str).collect::<Vec<_>>()));
        names.dedup();
    }
    let action = c.choose(&["", ", action: move", ", action: copy", ""]);
    format!("  - {{context: '{context}', {text}{action}, pipelines: [{}]}}\n", names.join(", "))
}

fn input(seed: u64) -> Vec<u8> {
    let mut c = choices(seed);
    let signal = Signal::ALL[c.below(3)];
    let pipelines: Vec<String> = (0..4).map(|n| format!("{}/{n}", signal.name())).collect();
    let mut yaml = format!("routing {}\n", signal.name());
    yaml.push_str(&format!("error_mode: {}\n", c.choose(&["ignore", "silent", "propagate", "ignore"])));
    if c.below(3) > 0 {
        yaml.push_str(&format!("default_pipelines: [{}/3]\n", signal.name()));
    }
    yaml.push_str("table:\n");
    for _ in 0..1 + c.below(4) {
        let route = route(&mut c, signal, &pipelines);
        yaml.push_str(&route);
    }
    let mut input = Vec::new();
    push_frame(&mut input, yaml.as_bytes());
    push_frame(&mut input, pipelines.join("\n").as_bytes());
    push_frame(&mut input, c.choose(&["", "X-Tenant: acme", "x-tenant: other\nx-tenant: acme"]).as_bytes());
    for _ in 0..1 + c.below(2) {
        push_frame(&mut input, &telemetry::body(&mut c, signal));
    }
    input
}

fn signal_and_yaml(frame: &[u8]) -> (Signal, String) {
    let text = String::from_utf8(frame.to_vec()).unwrap();
    let (head, yaml) = text.split_once('\n').unwrap();
    (signal_of(head.split_once(' ').unwrap().1), yaml.to_owned())
}

fn answer(input: &[u8]) -> Result<Vec<String>, String> {
    let frames = split_frames(input);
    let (signal, yaml) = signal_and_yaml(frames[0]);
    let pipelines = String::from_utf8(frames[1].to_vec()).unwrap();
    let pipelines: Vec<&str> = pipelines.lines().collect();
    let mut metadata = Metadata::default();
    for line in String::from_utf8(frames[2].to_vec()).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        metadata.add(name, value);
    }
    let metadata = Some(Arc::new(metadata));
    let mut context = TestContext::new();
    context.signals = vec![signal];
    context.output_pipelines = pipelines.iter().map(|id| id.parse().unwrap()).collect();
    let component = context.create(&RoutingFactory, "routing", &yaml)?;
    let mut test: ConnectorTest<dyn Connector> = ConnectorTest::new(connector(component));
    test.start().unwrap();
    let mut received = vec![Vec::new(); pipelines.len()];
    for body in &frames[3..] {
        let items = otelcore_pdata::check(signal, body).unwrap().items;
        let mut payload = payload(signal, Rope::new(body.to_vec().into(), items));
        payload.metadata.clone_from(&metadata);
        test.process(payload);
        test.run();
        for (pipeline, payload, ack) in test.take_passed_on() {
            ack.settle(Outcome::Delivered);
            received[pipeline.unwrap()].extend_from_slice(&payload.body.to_bytes());
        }
        let [(_, outcome)] = &test.take_outcomes()[..] else { panic!("each payload has one outcome") };
        if *outcome != Outcome::Delivered {
            return Err(format!("{outcome:?}"));
        }
    }
    let lines = pipelines.iter().zip(received).flat_map(|(pipeline, body)| {
        let lines = telemetry::items(signal, &body).into_iter();
        lines.map(|line| format!("{pipeline}: {line}")).collect::<Vec<_>>()
    });
    Ok(lines.collect())
}

fn expected(input: &[u8], answer: &[u8]) -> Vec<String> {
    let (signal, _) = signal_and_yaml(split_frames(input)[0]);
    let frames = split_frames(answer);
    let lines = frames.chunks(2).flat_map(|pair| {
        let pipeline = String::from_utf8_lossy(pair[0]).into_owned();
        let lines = telemetry::items(signal, pair[1]).into_iter();
        lines.map(|line| format!("{pipeline}: {line}")).collect::<Vec<_>>()
    });
    lines.collect()
}

#[test]
fn recorded_payloads_are_routed_as_by_the_go_connector() {
    ROUTING.replay();
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn payloads_of_fixed_and_fresh_seeds_are_routed_as_by_the_go_connector() {
    ROUTING.ask();
}
