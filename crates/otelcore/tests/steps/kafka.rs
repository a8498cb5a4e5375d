//! What brokers of Kafka give to the receivers `kafka` and `kafka_metrics`, of growing size. The brokers are those of the simulated world.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore::pdata::Signal;
use otelcore::reactor::Sim;
use otelcore_http::Bytes;
use otelcore_kafka_client::{Compression, Record};

use crate::kafka_broker::broker_graph;
use crate::kafka_cluster::{Cluster, Log};
use crate::worst::shapes;
use crate::{RunResult, STEPS_LIMIT, check_sizes, collector, counter, peers};

const TOPIC: &str = "topic";

/// Fills a cluster with so many of something.
type Fill<'a> = &'a dyn Fn(&mut Cluster, usize);

/// A configuration whose receiver reads one broker, and whose exporter sends to a backend.
fn yaml(receiver: &str, signal: &str) -> String {
    format!(
        "receivers:\n  {receiver}\nexporters:\n  otlp_http: {{endpoint: \"http://http:14318\", compression: none}}\nservice:\n  telemetry: \
         {{metrics: {{level: none}}}}\n  pipelines:\n    {signal}: {{receivers: [{}], exporters: [otlp_http]}}\n",
        receiver.split(':').next().unwrap()
    )
}

/// Fills a cluster after a second, and runs until everything is delivered.
fn run(yaml: &str, fill: impl FnOnce(&mut Cluster)) -> RunResult {
    let mut sim = Sim::new(1);
    sim.set_meter(counter::steps);
    sim.set_window(1 << 20);
    let requests = Rc::default();
    sim.add_node("http", peers::backend_graph(peers::HTTP_BACKEND, &requests)).unwrap();
    let cluster = Cluster::new(1, TOPIC, 1);
    sim.add_node("kafka-0", broker_graph(&cluster, 0)).unwrap();
    let node = sim.add_machine("collector");
    sim.restart(node, collector(yaml)).unwrap();
    sim.run_for(Duration::from_secs(2));
    sim.take_computed_units(node);
    fill(&mut cluster.borrow_mut());
    let budget = sim.graph(node).unwrap().budget().clone();
    let begin = counter::steps();
    sim.run_while(sim.now() + Duration::from_secs(600), || {
        counter::steps() - begin < STEPS_LIMIT && (requests.get() == 0 || budget.held() > 0)
    });
    sim.run_for(Duration::from_secs(10));
    let result = match (requests.get(), budget.held()) {
        (0, _) => Err("nothing was sent".to_owned()),
        (_, 0) => Ok(0),
        (_, held) => Err(format!("{held} bytes were not delivered")),
    };
    RunResult { work: sim.take_computed_units(node), result }
}

fn record(value: impl Into<Bytes>) -> Record {
    Record { key: None, value: value.into(), headers: Arc::new([]), timestamp_ms: 0 }
}

/// Checks messages that `make` makes of a size.
fn check_messages(
    name: &str,
    (signal, encoding): (&str, &str),
    max_bytes: usize,
    compression: Compression,
    make: &dyn Fn(usize) -> Vec<Record>,
) {
    let receiver = format!(
        "kafka: {{brokers: ['kafka-0:9092'], initial_offset: earliest, {signal}: {{topics: [{TOPIC}], encoding: {encoding}}}}}"
    );
    let yaml = yaml(&receiver, signal);
    let run = |bytes| run(&yaml, |cluster| cluster.append_messages(TOPIC, &make(bytes), compression));
    check_sizes(&format!("kafka receiver, {encoding}, {name}"), max_bytes, &run);
}

#[test]
fn kafka_receiver_messages_are_bounded() {
    for (signal, name) in [(Signal::Traces, "traces"), (Signal::Metrics, "metrics"), (Signal::Logs, "logs")] {
        for shape in shapes(signal) {
            for encoding in ["otlp_proto", "otlp_json"] {
                let make = |bytes| {
                    let body = if encoding == "otlp_proto" { shape.body(bytes) } else { shape.json(bytes, 4 << 20) };
                    vec![record(body)]
                };
                check_messages(shape.name, (name, encoding), 4 << 20, Compression::None, &make);
            }
        }
    }
}

#[test]
fn kafka_receiver_batches_of_many_messages_are_bounded() {
    let one = shapes(Signal::Traces)[0].body(64);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let make = |bytes: usize| vec![record(one.clone()); bytes / 64];
        check_messages(
            &format!("many messages, {compression:?}"),
            ("traces", "otlp_proto"),
            1 << 20,
            compression,
            &make,
        );
    }
    let make = |bytes: usize| vec![record(Bytes::from_static(b"a")); bytes / 64];
    check_messages("many messages", ("logs", "text"), 1 << 20, Compression::None, &make);
}

/// A span of Jaeger's model in JSON with so many of a part.
fn span_json(part: &str, item: &str, bytes: usize) -> Vec<u8> {
    let items = vec![item; (bytes / (item.len() + 1)).max(1)].join(",");
    format!("{{\"spanId\":\"AQIDBAUGBwg=\",\"startTime\":\"2017-01-26T21:46:31Z\",\"{part}\":[{items}]}}").into_bytes()
}

#[test]
fn kafka_receiver_spans_of_jaeger_in_json_are_bounded() {
    // More than 16384 of one part are refused.
    let long = format!("{{\"key\":\"k\",\"vStr\":\"{}\"}}", "\\u00e9".repeat(2000));
    for (part, item, max_bytes) in [
        (
            "tags",
            "{\"key\":\"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\",\"vType\":2,\"vInt64\":\"7\"}",
            1 << 20,
        ),
        ("tags", long.as_str(), 4 << 20),
        ("logs", "{\"timestamp\":\"2017-01-26T21:46:31Z\",\"fields\":[{\"key\":\"event\",\"vStr\":\"e\"}]}", 1 << 20),
        ("warnings", "\"a\"", 4 << 20),
    ] {
        let make = |bytes| vec![record(span_json(part, item, bytes))];
        check_messages(part, ("traces", "jaeger_json"), max_bytes, Compression::None, &make);
    }
    let tree = |bytes: usize| vec![record(format!("{{\"a\":[{}]}}", vec!["{\"b\":1}"; bytes / 8].join(",")))];
    check_messages("objects", ("logs", "json"), 4 << 20, Compression::None, &tree);
}

#[test]
fn kafka_metrics_receiver_scrape_is_bounded() {
    let receiver = "kafka_metrics: {brokers: ['kafka-0:9092'], initial_delay: 3s, scrapers: [brokers, topics, consumers], metrics: \
        {kafka.topic.log_retention_period: {enabled: true}}}";
    let yaml = yaml(receiver, "metrics");
    let logs = |count| -> Vec<Log> { (0..count).map(|_| Log::default()).collect() };
    let fills: [(&str, Fill<'_>); 3] = [
        ("partitions", &|cluster, count| {
            cluster.topics.insert(TOPIC.to_owned(), logs(count));
            cluster.listed_groups.push("group".to_owned());
        }),
        ("topics", &|cluster, count| {
            cluster.topics = (0..count).map(|n| (format!("topic-{n:08}"), logs(1))).collect();
            cluster.listed_groups.push("group".to_owned());
        }),
        ("groups", &|cluster, count| cluster.listed_groups = (0..count).map(|n| format!("group-{n:08}")).collect()),
    ];
    for (name, fill) in fills {
        // One of them for each 512 bytes.
        let run = |bytes: usize| run(&yaml, |cluster| fill(cluster, bytes / 512));
        check_sizes(&format!("kafka_metrics, {name}"), 8 << 20, &run);
    }
}
