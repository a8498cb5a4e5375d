//! What is compared of a scrape: metrics and errors as sorted lines.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, DiskUsage, LogLevel, WallTime};
use otelcore_receiver_host_metrics::HostMetricsFactory;
use otelcore_testkit::{TestContext, TestWorld, receiver_graph};
use prost::Message;
use serde_json::Value;

/// Metrics whose values are those of the machine that asks.
const LIVE: [&str; 5] = [
    "system.filesystem.usage",
    "system.filesystem.inodes.usage",
    "system.filesystem.utilization",
    "system.uptime",
    "process.uptime",
];

/// What the Go receiver reads of the machine that asks, wherever the root is.
const NOT_COMPARED: [&str; 2] = ["system.paging.usage", "system.paging.utilization"];

/// The result of our receiver for a machine with so many CPUs.
pub(crate) fn ours(machine: &str, cpus: u64) -> Vec<String> {
    let machine: Value = serde_json::from_str(machine).expect("JSON");
    let mut config = machine["config"].clone();
    config["root_path"] = Value::String("/hostfs".to_owned());
    let context = TestContext { signals: vec![Signal::Metrics], ..TestContext::new() };
    let receiver = match context.create(&HostMetricsFactory, "host_metrics", &config.to_string()) {
        Ok(Component::Receiver(receiver)) => receiver,
        other => panic!("{other:?}"),
    };
    let mut world = TestWorld::new();
    world.set_wall_time(WallTime(1_800_000_000_000_000_000));
    fill(&mut world, &machine, cpus);
    let (mut graph, sent) = receiver_graph(receiver, &context);
    graph.start(&mut world).expect("it starts");
    world.run_graph(&mut graph);
    world.advance(Duration::from_secs(1));
    world.run_graph(&mut graph);
    let mut lines = Vec::new();
    for payload in sent.take() {
        lines.extend(metric_lines(&payload.body.to_bytes()));
    }
    for entry in context.log.take_entries() {
        if entry.level >= LogLevel::Error {
            let field = |name: &str| entry.fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
            let text = format!("{}: {}: {}", entry.message, field("scraper"), field("error"));
            lines.extend(error_lines(&text));
        }
    }
    lines.sort_unstable();
    lines
}

fn fill(world: &mut TestWorld, machine: &Value, cpus: u64) {
    let disk = world.disk();
    let texts = |key: &str| {
        let entries = machine[key].as_object().into_iter().flatten();
        entries.map(|(path, text)| (path.clone(), text.as_str().unwrap_or_default().to_owned())).collect::<Vec<_>>()
    };
    for dir in machine["dirs"].as_array().into_iter().flatten() {
        disk.make_dir(format!("/hostfs/{}", dir.as_str().unwrap_or_default()));
    }
    for (path, text) in texts("files") {
        disk.write(format!("/hostfs/{path}"), text.into_bytes());
    }
    for (path, target) in texts("links") {
        disk.set_link(format!("/hostfs/{path}"), target);
    }
    let mask = format!("{:x}", (1_u64 << cpus.min(63)) - 1);
    disk.write("/proc/self/status", format!("Name:\tx\nCpus_allowed:\t{mask}\n").into_bytes());
    disk.write("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n".to_vec());
    let usage = DiskUsage { block_size: 1, blocks: 9, free_blocks: 5, available_blocks: 3, inodes: 7, free_inodes: 1 };
    for path in ["/", "/data/x", "/boot", "/boot/efi", "/lvm", "/plain", "/with space", "/run", "/run/netns", "/proc"] {
        disk.set_disk_usage(format!("/hostfs{}", path.trim_end_matches('/')), usage);
    }
}

/// The answer of the Go receiver.
pub(crate) fn compared(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(error) = answer["error"].as_str() {
        lines.push(format!("refused: {error}"));
    }
    let body = answer["body"].as_str().unwrap_or_default();
    let byte = |at: usize| u8::from_str_radix(&body[at..at + 2], 16).expect("hexadecimal digits");
    lines.extend(metric_lines(&(0..body.len()).step_by(2).map(byte).collect::<Vec<_>>()));
    for error in answer["errors"].as_array().into_iter().flatten() {
        lines.extend(error_lines(error.as_str().unwrap_or_default()));
    }
    lines.sort_unstable();
    lines
}

/// The errors in a log entry, of which one has several.
fn error_lines(text: &str) -> Vec<String> {
    let (head, errors) = text.split_at(text.match_indices(": ").nth(1).map_or(text.len(), |(at, _)| at + 2));
    // The second: Go reads control groups that are not sent.
    let not_compared = ["failed to read page file stats", "error reading process cgroup"];
    let is_compared = |error: &&str| !not_compared.iter().any(|begin| error.starts_with(begin));
    errors.split("; ").filter(is_compared).map(|error| format!("{head}{error}")).collect()
}

fn metric_lines(body: &[u8]) -> Vec<String> {
    let request = ExportMetricsServiceRequest::decode(body).expect("OTLP");
    let mut lines = Vec::new();
    for entry in &request.resource_metrics {
        let resource = entry.resource.as_ref().map(|resource| attributes(&resource.attributes));
        let schema = &entry.schema_url;
        for scope in &entry.scope_metrics {
            let name = scope.scope.as_ref().map(|scope| scope.name.as_str()).unwrap_or_default();
            let metrics = scope.metrics.iter().filter(|metric| !NOT_COMPARED.contains(&metric.name.as_str()));
            let order: Vec<&str> = metrics.clone().map(|metric| metric.name.as_str()).collect();
            lines.push(format!("{schema} {resource:?} {name} {order:?}"));
            for metric in metrics {
                let (kind, points) = match &metric.data {
                    Some(Data::Gauge(gauge)) => ("gauge".to_owned(), &gauge.data_points),
                    Some(Data::Sum(sum)) => {
                        (format!("sum {} {}", sum.aggregation_temporality, sum.is_monotonic), &sum.data_points)
                    }
                    other => panic!("{other:?}"),
                };
                let head = format!("{resource:?} {} {:?} {} {kind}", metric.name, metric.description, metric.unit);
                let is_live = LIVE.contains(&metric.name.as_str());
                lines.extend(points.iter().map(|point| format!("{head} {}", point_text(point, is_live))));
            }
        }
    }
    lines
}

fn point_text(point: &NumberDataPoint, is_live: bool) -> String {
    let value = match point.value {
        _ if is_live => String::new(),
        // Go adds points that become one in a random order.
        Some(number_data_point::Value::AsDouble(v)) => format!("{v:.10e}"),
        Some(number_data_point::Value::AsInt(v)) => format!("{v}"),
        None => "none".to_owned(),
    };
    let kind = point.value.map(|value| matches!(value, number_data_point::Value::AsInt(_)));
    format!("{} {} {kind:?} {value}", attributes(&point.attributes), point.start_time_unix_nano)
}

fn attributes(all: &[KeyValue]) -> String {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        match value {
            Some(any_value::Value::StringValue(v)) => format!("{}={v:?}", attribute.key),
            Some(any_value::Value::IntValue(v)) => format!("{}={v}", attribute.key),
            other => format!("{}={other:?}", attribute.key),
        }
    };
    all.iter().map(text).collect::<Vec<_>>().join(",")
}
