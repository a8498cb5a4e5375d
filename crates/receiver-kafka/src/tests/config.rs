use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_kafka_client::GroupProtocol;
use otelcore_testkit::parse_config;

use crate::KafkaReceiverFactory;
use crate::config::KafkaReceiverConfig;

fn messages(yaml: &str) -> Vec<String> {
    parse_config(&KafkaReceiverFactory, "kafka", yaml).messages
}

#[test]
fn options_of_the_go_receiver_are_accepted() {
    let yaml = "
brokers: [kafka-0:9092, 'kafka-1']
protocol_version: 2.1.0
client_id: me
rack_id: a
use_leader_epoch: false
conn_idle_timeout: 1m
tls: {insecure: true}
auth: {sasl: {username: u, password: p, mechanism: SCRAM-SHA-512}}
metadata: {refresh_interval: 5m, retry: {backoff: 1s}}
group_id: g
group_instance_id: i
session_timeout: 20s
heartbeat_interval: 5s
initial_offset: earliest
group_rebalance_strategies: [range, cooperative-sticky]
min_fetch_size: 10
max_fetch_size: 2000000
max_fetch_wait: 1s
max_partition_fetch_size: 1000000
autocommit: {enable: false, interval: 5s}
message_marking: {after: true, on_error: true, on_permanent_error: false}
header_extraction: {extract_headers: true, headers: [a, b]}
error_backoff: {enabled: true, initial_interval: 1s, max_interval: 10s, multiplier: 2, max_elapsed_time: 1m}
telemetry: {metrics: {kafka_receiver_records_delay: {enabled: true}}}
logs: {topics: ['^a', b], exclude_topics: ['^ab'], encoding: text_shift_jis}
traces: {topics: [t], encoding: zipkin_thrift}
metrics: {topics: [m], encoding: otlp_json}
";
    assert_eq!(messages(yaml), Vec::<String>::new());
    assert_eq!(messages("{}"), Vec::<String>::new());
}

#[test]
fn mistakes_are_reported_with_the_messages_of_go() {
    for (yaml, expected) in [
        ("brokers: []", "brokers must be specified"),
        ("initial_offset: middle", "initial_offset should be one of 'latest' or 'earliest'. configured value middle"),
        ("logs: {exclude_topics: [a]}", "logs.exclude_topics is configured but none of the configured logs.topics use"),
        ("logs: {topics: ['^a'], exclude_topics: ['']}", "logs.exclude_topics contains empty string"),
        ("logs: {topics: ['^a'], exclude_topics: ['(']}", "logs.exclude_topic contains invalid regex pattern"),
        ("logs: {topics: ['^(']}", "invalid regex pattern \"^(\""),
        ("max_fetch_size: 0", "max_fetch_size (0) cannot be less than min_fetch_size (1)"),
        ("min_fetch_size: -1", "min_fetch_size (-1) must be non-negative"),
        ("max_partition_fetch_size: -1", "max_partition_fetch_size (-1) must be non-negative"),
        ("group_rebalance_strategies: ['']", "group_rebalance_strategies entries cannot be empty"),
        ("group_rebalance_strategies: [mine]", "group rebalance strategy \"mine\" is not supported"),
        (
            "{group_rebalance_strategies: [range], group_rebalance_strategy: range}",
            "group_rebalance_strategy and group_rebalance_strategies are mutually exclusive",
        ),
        ("group_protocol: next", "group_protocol should be one of 'classic' or 'consumer'. configured value next"),
        (
            "{group_protocol: consumer, group_rebalance_strategies: [roundrobin]}",
            "brokers have no assignor like roundrobin, which group_protocol: consumer would need",
        ),
        (
            "{group_protocol: consumer, group_rebalance_strategies: [range, sticky]}",
            "only the first strategy has an effect with group_protocol: consumer",
        ),
        (
            "{group_protocol: consumer, session_timeout: 20s}",
            "session_timeout has no effect with group_protocol: consumer: the broker decides it",
        ),
        ("heartbeat_interval: 10s", "heartbeat_interval must be positive and shorter than session_timeout"),
        ("traces: {encoding: x}", "unrecognized traces encoding \"x\""),
        ("traces: {encoding: raw}", "unrecognized traces encoding \"raw\""),
        ("logs: {encoding: azure_resource_logs}", "the encoding azure_resource_logs is not supported"),
        ("logs: {encoding: text_x}", "invalid text encoding"),
        ("metrics: {encoding: json}", "unrecognized metrics encoding \"json\""),
    ] {
        let messages = messages(yaml);
        assert!(messages.iter().any(|message| message.contains(expected)), "{yaml}: {messages:?}");
    }
}

#[test]
fn protocol_of_the_group_is_as_configured() {
    let protocol = |yaml: &str| {
        let diagnostics = Diagnostics::new();
        let node = from_yaml(yaml, &diagnostics);
        let section = Section::new(node.as_ref(), "receivers::kafka", &diagnostics);
        KafkaReceiverConfig::read_section(section, &KafkaReceiverConfig::default()).protocol()
    };
    let consumer = |name: Option<&str>| GroupProtocol::Consumer(name.map(str::to_owned));
    assert_eq!(protocol("{}"), GroupProtocol::Classic);
    assert_eq!(protocol("group_rebalance_strategies: [range]"), GroupProtocol::Classic);
    assert_eq!(protocol("group_protocol: consumer"), consumer(None));
    assert_eq!(protocol("{group_protocol: consumer, group_rebalance_strategies: [range]}"), consumer(Some("range")));
    for name in ["sticky", "cooperative-sticky"] {
        let yaml = format!("{{group_protocol: consumer, group_rebalance_strategies: [{name}]}}");
        assert_eq!(protocol(&yaml), consumer(Some("uniform")));
    }
    assert_eq!(messages("{group_protocol: consumer, group_rebalance_strategies: [sticky]}"), Vec::<String>::new());
}
