//! Tests of the consumer on a simulated disk, and of the receiver in a world of its own.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod restarts;

use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, FileSystem, Graph, Outcome, Payload};
use otelcore_testkit::{RecordedPayloads, TestContext, TestWorld, receiver_graph};
use prost::Message;

use crate::{FileLogConfig, FileLogFactory};

fn config(yaml: &str) -> (FileLogConfig, Vec<String>) {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    let section = Section::new(Some(&node), "receivers::file_log", &d);
    let config = FileLogConfig::read_section(section, &FileLogConfig::default());
    let messages = d.items().into_iter().map(|item| format!("{}: {}", item.path, item.message)).collect();
    (config, messages)
}

fn bodies(payloads: &[Payload]) -> Vec<String> {
    let mut bodies = Vec::new();
    for payload in payloads {
        let request = ExportLogsServiceRequest::decode(&payload.body.to_bytes()[..]).unwrap();
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        for record in scopes.flat_map(|scope| scope.log_records) {
            match record.body.and_then(|body| body.value) {
                Some(ProtoValue::StringValue(text)) => bodies.push(text),
                other => bodies.push(format!("{other:?}")),
            }
        }
    }
    bodies
}

/// A receiver in a world, and what it sends.
struct Rig {
    world: TestWorld,
    graph: Graph,
    recorded: RecordedPayloads,
    context: TestContext,
}

impl Rig {
    fn new(yaml: &str, prepare: impl FnOnce(&mut TestWorld)) -> Self {
        let mut context = TestContext::new();
        context.signals = vec![Signal::Logs];
        let Component::Receiver(receiver) = context.create(&FileLogFactory, "file_log", yaml).unwrap() else {
            panic!("it is a receiver")
        };
        let (mut graph, recorded) = receiver_graph(receiver, &context);
        let mut world = TestWorld::new();
        prepare(&mut world);
        graph.start(&mut world).unwrap();
        Self { world, graph, recorded, context }
    }

    fn append(&mut self, path: &str, text: &str) {
        let disk = self.world.disk();
        if disk.metadata(Path::new(path)).is_err() {
            disk.create_file(Path::new(path), 0o644).unwrap();
        }
        disk.append(Path::new(path), &[text.as_bytes()]).unwrap();
    }

    fn run_for(&mut self, millis: u64) {
        for _ in 0..millis / 100 {
            self.world.advance(Duration::from_millis(100));
            self.world.run_graph(&mut self.graph);
        }
    }

    fn bodies(&mut self) -> Vec<String> {
        bodies(&self.recorded.take())
    }
}

fn make_dir(world: &mut TestWorld) {
    world.disk().create_dir(Path::new("/logs"), 0o755).unwrap();
}

#[test]
fn lines_that_are_added_are_sent_with_each_poll() {
    let mut rig = Rig::new("include: [/logs/*.log]", |world| {
        make_dir(world);
        world.disk().write("/logs/a.log", "old\n");
    });
    rig.run_for(400);
    assert_eq!(rig.bodies(), Vec::<String>::new(), "reading begins at the end");
    rig.append("/logs/a.log", "one\ntwo\nthr");
    rig.append("/logs/b.log", "of a new file\n");
    rig.run_for(300);
    assert_eq!(rig.bodies(), ["one", "two", "of a new file"]);
    rig.append("/logs/a.log", "ee\n");
    rig.run_for(300);
    assert_eq!(rig.bodies(), ["three"]);
}

#[test]
fn refused_request_is_sent_again_and_nothing_is_read_meanwhile() {
    let mut rig = Rig::new("{include: [/logs/*.log], start_at: beginning}", make_dir);
    rig.recorded.push_outcome(Outcome::retry("full"));
    rig.recorded.push_outcome(Outcome::retry("still full"));
    rig.append("/logs/a.log", "one\n");
    rig.run_for(300);
    assert_eq!(rig.bodies(), ["one"]);
    rig.append("/logs/a.log", "two\n");
    rig.run_for(500);
    assert_eq!(rig.bodies(), Vec::<String>::new());
    // The pauses are one second, and one and a half.
    rig.run_for(4000);
    assert_eq!(rig.bodies(), ["one", "one", "two"]);
}

#[test]
fn request_that_is_refused_for_too_long_is_given_up_where_a_limit_is_set() {
    let yaml = "{include: [/logs/*.log], start_at: beginning, retry_on_failure: {enabled: true, max_elapsed_time: 2s}}";
    let mut rig = Rig::new(yaml, make_dir);
    for _ in 0..4 {
        rig.recorded.push_outcome(Outcome::retry("full"));
    }
    rig.append("/logs/a.log", "one\n");
    rig.run_for(10_000);
    let attempts = rig.bodies();
    assert!(attempts.iter().all(|body| body == "one") && attempts.len() < 5, "{attempts:?}");
    let lines = rig.context.log.take_lines();
    assert!(lines.iter().any(|line| line.contains("Max elapsed time expired")), "{lines:#?}");
    rig.append("/logs/a.log", "two\n");
    rig.run_for(1000);
    assert!(rig.bodies().contains(&"two".to_owned()));
}

#[test]
fn large_file_is_read_in_steps_whose_requests_are_bounded() {
    let line = "x".repeat(99);
    let text = format!("{line}\n").repeat(100_000);
    let mut rig = Rig::new("{include: [/logs/*.log], start_at: beginning}", |world| {
        make_dir(world);
        world.disk().write("/logs/a.log", text);
    });
    rig.run_for(1000);
    let payloads = rig.recorded.take();
    assert!(payloads.len() >= 10, "{}", payloads.len());
    assert!(payloads.iter().all(|payload| payload.body.len() < 4 << 20));
    assert_eq!(payloads.iter().map(|payload| payload.items()).sum::<u32>(), 100_000);
}

#[test]
fn file_that_is_rotated_out_of_the_pattern_is_read_to_its_end() {
    let mut rig = Rig::new("{include: [/logs/a.log], start_at: beginning}", make_dir);
    rig.append("/logs/a.log", "first line of the first file\n");
    rig.run_for(300);
    rig.append("/logs/a.log", "last line of the first file\n");
    rig.world.disk().rename(Path::new("/logs/a.log"), Path::new("/logs/a.log.1")).unwrap();
    rig.append("/logs/a.log", "first line of the second file\n");
    rig.run_for(300);
    let mut bodies = rig.bodies();
    bodies.sort();
    assert_eq!(
        bodies,
        ["first line of the first file", "first line of the second file", "last line of the first file"]
    );
}

#[test]
fn mistakes_of_the_configuration_are_reported_at_their_keys() {
    for (yaml, expected) in [
        ("{}", "receivers::file_log::include: 'include' must be specified"),
        ("include: ['/a[']", "receivers::file_log::include: include: parse glob: syntax error in pattern"),
        ("{include: [/a], start_at: middle}", "receivers::file_log::start_at: invalid start_at location 'middle'"),
        ("{include: [/a], max_log_size: 1 apple}", "receivers::file_log::max_log_size: invalid byte size '1 apple'"),
        ("{include: [/a], encoding: utf-99}", "receivers::file_log::encoding: unsupported encoding 'utf-99'"),
        (
            "{include: [/a], operators: [{type: move, from: body}]}",
            "receivers::file_log::operators[0]::to: copy: missing to field",
        ),
        (
            "{include: [/a], operators: [{type: nope}]}",
            "receivers::file_log::operators[0]::type: unsupported type 'nope'",
        ),
        (
            "{include: [/a], operators: [{type: noop, if: 'a =='}]}",
            "receivers::file_log::operators[0]::if: failed to compile expression 'a ==': the expression ends too early",
        ),
        (
            "{include: [/a], operators: [{type: noop, regex: x}]}",
            "receivers::file_log::operators[0]::regex: 'regex' has no effect on an operator of type noop",
        ),
        (
            "{include: [/a], operators: [{type: noop, id: a, output: a}]}",
            "receivers::file_log::operators[0]::output: pipeline has a circular dependency",
        ),
        (
            "{include: [/a], operators: [{type: stdout}]}",
            "receivers::file_log::operators[0]::type: an operator that prints entries is not supported; write them with the exporter `debug`",
        ),
    ] {
        let (_, messages) = config(yaml);
        assert!(messages.iter().any(|message| message == expected), "{yaml}\n{messages:#?}");
    }
}
