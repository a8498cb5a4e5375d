//! The receiver in a graph, with a played cluster: what is sent of brokers, topics and groups, and what happens when brokers fail.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Component, Graph};
use otelcore_testkit::{RecordedPayloads, TestContext, TestWorld, receiver_graph};
use prost::Message;

use super::kafka::ApiKey;
use super::played_group::PlayedCluster;
use crate::KafkaMetricsFactory;

const SECOND: Duration = Duration::from_secs(1);

struct Harness {
    world: TestWorld,
    graph: Graph,
    recorded: RecordedPayloads,
    cluster: PlayedCluster,
}

impl Harness {
    fn new(options: &str) -> Self {
        let mut world = TestWorld::new();
        for (host, last) in [("seed", 9), ("kafka-0", 10), ("kafka-1", 11)] {
            world.set_lookup_result(host, Ok(vec![[10, 0, 0, last].into()]));
        }
        let context = TestContext { signals: vec![Signal::Metrics], ..TestContext::new() };
        let yaml = format!("{{brokers: ['seed:9092'], client_id: test, collection_interval: 10s, {options}}}");
        let Ok(Component::Receiver(receiver)) = context.create(&KafkaMetricsFactory, "kafka_metrics", &yaml) else {
            panic!("{yaml}")
        };
        let (mut graph, recorded) = receiver_graph(receiver, &context);
        graph.start(&mut world).unwrap();
        let mut cluster = PlayedCluster::new();
        cluster.create("spans", 2);
        cluster.create("__offsets", 1);
        (0..7).for_each(|n| cluster.append("spans", usize::from(n > 2), "v"));
        cluster.topics.get_mut("spans").unwrap()[1].start = 1;
        cluster.group.committed.insert(("spans".to_owned(), 0), 1);
        cluster.group.committed.insert(("spans".to_owned(), 1), 3);
        cluster.listed_groups = vec![("group".to_owned(), false, 2)];
        Self { world, graph, recorded, cluster }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.world.cx().now() + time;
        loop {
            loop {
                let events = self.world.run_graph(&mut self.graph);
                let now = self.world.cx().now();
                for (peer, stream) in self.world.take_connections() {
                    self.cluster.accept(0, &peer.to_string(), stream);
                }
                if !self.cluster.play(now) && events == 0 {
                    break;
                }
            }
            let now = self.world.cx().now();
            if now >= end {
                return;
            }
            let next = self.world.next_timer().unwrap_or(end).min(now + Duration::from_millis(100)).min(end).max(now);
            self.world.advance(next.since(now).max(Duration::from_millis(1)));
        }
    }

    /// The points that were sent: by metric, attributes and value.
    fn take(&mut self) -> Vec<(String, String, i64)> {
        let mut points = Vec::new();
        for payload in self.recorded.take() {
            let request = ExportMetricsServiceRequest::decode(&payload.body.to_bytes()[..]).unwrap();
            for metric in request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics) {
                let of_metric = match metric.data.as_ref().unwrap() {
                    Data::Gauge(gauge) => &gauge.data_points,
                    Data::Sum(sum) => &sum.data_points,
                    other => panic!("{other:?}"),
                };
                points.extend(of_metric.iter().map(|point| read_point(&metric.name, point)));
            }
        }
        points.sort();
        points
    }
}

fn read_point(name: &str, point: &NumberDataPoint) -> (String, String, i64) {
    let mut attributes = BTreeMap::new();
    for attribute in &point.attributes {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => format!("#{number}"),
            other => panic!("{other:?}"),
        };
        attributes.insert(attribute.key.clone(), value);
    }
    let text: Vec<String> = attributes.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("{point:?}") };
    (name.to_owned(), text.join(" "), value)
}

fn points(expected: &[(&str, &str, i64)]) -> Vec<(String, String, i64)> {
    expected.iter().map(|(name, attributes, value)| ((*name).to_owned(), (*attributes).to_owned(), *value)).collect()
}

const TOPICS: [(&str, &str, i64); 9] = [
    ("kafka.partition.current_offset", "partition=#0 topic=spans", 3),
    ("kafka.partition.current_offset", "partition=#1 topic=spans", 4),
    ("kafka.partition.oldest_offset", "partition=#0 topic=spans", 0),
    ("kafka.partition.oldest_offset", "partition=#1 topic=spans", 1),
    ("kafka.partition.replicas", "partition=#0 topic=spans", 2),
    ("kafka.partition.replicas", "partition=#1 topic=spans", 2),
    ("kafka.partition.replicas_in_sync", "partition=#0 topic=spans", 1),
    ("kafka.partition.replicas_in_sync", "partition=#1 topic=spans", 1),
    ("kafka.topic.partitions", "topic=spans", 2),
];

const GROUPS: [(&str, &str, i64); 7] = [
    ("kafka.consumer_group.lag", "group=group partition=#0 topic=spans", 2),
    ("kafka.consumer_group.lag", "group=group partition=#1 topic=spans", 1),
    ("kafka.consumer_group.lag_sum", "group=group topic=spans", 3),
    ("kafka.consumer_group.members", "group=group", 2),
    ("kafka.consumer_group.offset", "group=group partition=#0 topic=spans", 1),
    ("kafka.consumer_group.offset", "group=group partition=#1 topic=spans", 3),
    ("kafka.consumer_group.offset_sum", "group=group topic=spans", 4),
];

#[test]
fn each_scraper_reports_its_metrics() {
    for is_old in [false, true] {
        for (scrapers, expected) in [
            ("brokers", points(&[("kafka.brokers", "", 2)])),
            ("topics", points(&TOPICS)),
            ("consumers", points(&GROUPS)),
        ] {
            let mut it = Harness::new(&format!("scrapers: [{scrapers}]"));
            it.cluster.is_old = is_old;
            it.run_for(5 * SECOND);
            assert_eq!(it.take(), expected, "{scrapers} {is_old}");
            assert_eq!(it.cluster.counts[&(ApiKey::Metadata as i16)], 1);
            it.run_for(10 * SECOND);
            assert_eq!(it.take(), expected, "{scrapers} {is_old}");
        }
    }
}

#[test]
fn all_scrapers_and_optional_metrics_are_one_payload_with_a_resource_each() {
    let mut it = Harness::new(
        "cluster_alias: prod, resource_attributes: {kafka.cluster.alias: {enabled: true}, kafka.cluster.id: {enabled: true}}, \
         scrapers: [consumers, brokers, topics], metrics: {kafka.broker.log_retention_period: {enabled: true}, \
         kafka.topic.log_retention_period: {enabled: true}, kafka.topic.log_retention_size: {enabled: true}, \
         kafka.topic.min_insync_replicas: {enabled: true}, kafka.topic.replication_factor: {enabled: true}}",
    );
    it.run_for(5 * SECOND);
    let payloads = it.recorded.take();
    assert_eq!(payloads.len(), 1);
    let request = ExportMetricsServiceRequest::decode(&payloads[0].body.to_bytes()[..]).unwrap();
    let resources = request.resource_metrics.iter().map(|entry| {
        let attributes = &entry.resource.as_ref().unwrap().attributes;
        attributes.iter().map(|attribute| attribute.key.as_str()).collect::<Vec<_>>()
    });
    assert_eq!(resources.collect::<Vec<_>>(), vec![["kafka.cluster.alias", "kafka.cluster.id"]; 3]);
    it.run_for(10 * SECOND);
    let mut expected = points(&TOPICS);
    expected.extend(points(&GROUPS));
    expected.extend(points(&[
        ("kafka.brokers", "", 2),
        ("kafka.broker.log_retention_period", "broker=0", 7200),
        ("kafka.broker.log_retention_period", "broker=1", 7200),
        ("kafka.topic.log_retention_period", "topic=spans", 604_800),
        ("kafka.topic.log_retention_size", "topic=spans", -1),
        ("kafka.topic.min_insync_replicas", "topic=spans", 1),
        ("kafka.topic.replication_factor", "topic=spans", 2),
    ]));
    expected.sort();
    assert_eq!(it.take(), expected);
}

#[test]
fn groups_of_the_consumer_protocol_have_members() {
    let mut it = Harness::new("scrapers: [consumers], metrics: {kafka.consumer_group.lag: {attributes: [group]}}");
    it.cluster.listed_groups = vec![("group".to_owned(), true, 3)];
    it.run_for(5 * SECOND);
    let points = it.take();
    assert!(points.contains(&("kafka.consumer_group.members".to_owned(), "group=group".to_owned(), 3)), "{points:?}");
    // The average, as in Go.
    assert!(points.contains(&("kafka.consumer_group.lag".to_owned(), "group=group".to_owned(), 1)), "{points:?}");
}

#[test]
fn topics_and_groups_that_do_not_match_are_left_out() {
    let mut it = Harness::new("scrapers: [topics, consumers], group_match: '^x', topic_match: 'offsets'");
    it.run_for(5 * SECOND);
    assert_eq!(it.take(), []);
    let mut it = Harness::new("scrapers: [consumers], topic_match: '^x'");
    it.run_for(5 * SECOND);
    assert_eq!(it.take(), points(&[("kafka.consumer_group.members", "group=group", 2)]));
}

#[test]
fn what_brokers_refuse_is_missing_and_the_rest_is_sent() {
    for (api, missing) in [
        (ApiKey::ListOffsets, "kafka.partition."),
        (ApiKey::ListGroups, "kafka.consumer_group"),
        (ApiKey::DescribeGroups, "kafka.consumer_group"),
        (ApiKey::OffsetFetch, "kafka.consumer_group.offset"),
    ] {
        let mut it = Harness::new("scrapers: [brokers, topics, consumers]");
        it.cluster.errors.insert(api as i16, VecDeque::from([29; 8]));
        it.run_for(5 * SECOND);
        let points = it.take();
        let names: Vec<&str> = points.iter().map(|(name, _, _)| name.as_str()).collect();
        assert!(names.contains(&"kafka.brokers") && names.contains(&"kafka.topic.partitions"), "{api:?} {names:?}");
        let is_missing = |name: &&str| name.starts_with(missing) && name.contains("offset");
        assert!(!names.iter().any(is_missing), "{api:?} {names:?} {:?}", it.cluster.counts);
    }
}

#[test]
fn broker_that_does_not_answer_ends_the_scrape_at_its_time_limit() {
    for api in [ApiKey::Metadata, ApiKey::ListOffsets, ApiKey::ListGroups] {
        let mut it = Harness::new("scrapers: [brokers, topics, consumers], timeout: 4s");
        it.cluster.silent.insert(api as i16);
        it.run_for(8 * SECOND);
        let has_points = !it.take().is_empty();
        assert_eq!(has_points, api != ApiKey::Metadata, "{api:?}");
        it.cluster.silent.clear();
        it.cluster.close(None);
        it.run_for(20 * SECOND);
        assert!(it.take().len() >= 17, "{api:?}");
    }
}

#[test]
fn connections_that_end_are_made_again_for_the_next_scrape() {
    let mut it = Harness::new("scrapers: [brokers, topics, consumers]");
    it.run_for(5 * SECOND);
    assert_eq!(it.take().len(), 17);
    it.cluster.close(None);
    it.run_for(10 * SECOND);
    assert_eq!(it.take().len(), 17);
    it.cluster.lost.insert(ApiKey::Metadata as i16);
    it.run_for(10 * SECOND);
    assert_eq!(it.take().len(), 17);
}
