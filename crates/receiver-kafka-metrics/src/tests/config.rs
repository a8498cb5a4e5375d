use otelcore_testkit::parse_config;

use crate::KafkaMetricsFactory;

fn messages(yaml: &str) -> Vec<String> {
    parse_config(&KafkaMetricsFactory, "kafka_metrics", yaml).messages
}

#[test]
fn options_of_the_go_receiver_are_accepted() {
    let yaml = "
collection_interval: 10s
initial_delay: 2s
timeout: 5s
brokers: [kafka-0:9092, kafka-1]
protocol_version: 3.9.0
client_id: me
cluster_alias: prod
topic_match: '^a'
group_match: '^b'
scrapers: [brokers, topics, consumers]
tls: {insecure: true}
auth: {sasl: {username: u, password: p, mechanism: PLAIN}}
metrics:
  kafka.brokers: {enabled: false}
  kafka.topic.min_insync_replicas: {enabled: true}
  kafka.consumer_group.lag: {attributes: [group, topic], aggregation_strategy: sum}
resource_attributes: {kafka.cluster.alias: {enabled: true}, kafka.cluster.id: {enabled: true}}
";
    assert_eq!(messages(yaml), Vec::<String>::new());
}

#[test]
fn mistakes_are_reported_with_the_messages_of_go() {
    for (yaml, expected) in [
        ("scrapers: [partitions]", "no scraper found for key: partitions"),
        ("{scrapers: [topics], topic_match: '('}", "failed to compile topic filter: "),
        ("{scrapers: [topics], group_match: '('}", "failed to compile group_match: "),
        ("{scrapers: [topics], brokers: []}", "brokers must be specified"),
        ("{scrapers: [topics], collection_interval: 0s}", "\"collection_interval\": requires positive value"),
        (
            "{scrapers: [topics], metadata: {refresh_interval: 1m}}",
            "metadata::refresh_interval has no effect: metadata is read",
        ),
        (
            "{scrapers: [topics], metadata: {retry: {backoff: 1s}}}",
            "metadata::retry::backoff has no effect: what fails",
        ),
        ("{}", "nothing is reported without scrapers"),
        (
            "{scrapers: [topics], resource_attributes: {kafka.cluster.alias: {enabled: true}}}",
            "kafka.cluster.alias is enabled and has no value",
        ),
        (
            "{scrapers: [topics], metrics: {kafka.topic.partitions: {attributes: [partition]}}}",
            "metric kafka.topic.partitions doesn't have an attribute partition",
        ),
    ] {
        let messages = messages(yaml);
        assert!(messages.iter().any(|message| message.contains(expected)), "{yaml}: {messages:?}");
    }
}
