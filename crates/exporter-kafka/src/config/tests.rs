use otelcore_testkit::parse_config;

use crate::KafkaExporterFactory;

fn messages(yaml: &str) -> Vec<String> {
    parse_config(&KafkaExporterFactory, "kafka", yaml).messages
}

#[test]
fn options_of_the_go_exporter_are_accepted() {
    let yaml = "
brokers: [kafka-0:9092, 'kafka-1']
protocol_version: 2.1.0
client_id: me
conn_idle_timeout: 1m
timeout: 10s
include_metadata_keys: [tenant]
record_headers: {a: b}
topic_from_attribute: topic
partition_traces_by_id: true
partition_metrics_by_resource_attributes: true
partition_logs_by_trace_id: true
record_partitioner: {sticky_key: {hasher: murmur2}}
tls: {insecure: true}
auth: {sasl: {username: u, password: p, mechanism: SCRAM-SHA-512}}
metadata: {refresh_interval: 5m, retry: {backoff: 1s}}
traces: {topic: t, encoding: otlp_json, topic_from_metadata_key: k}
logs: {encoding: raw, message_key_from_metadata_key: ''}
producer: {max_message_bytes: 2000000, required_acks: all, compression: gzip, compression_params: {level: 9},
  flush_max_messages: 5, allow_auto_topic_creation: false, linger: 1ms}
retry_on_failure: {enabled: false}
sending_queue: {enabled: false}
";
    assert_eq!(messages(yaml), Vec::<String>::new());
    assert_eq!(messages("{}"), Vec::<String>::new());
    for acks in ["all", "-1", "0", "1"] {
        assert_eq!(messages(&format!("producer: {{required_acks: {acks}}}")), Vec::<String>::new());
    }
    for partitioner in ["{round_robin: {}}", "{least_backup: {}}", "{round_robin: }", "{sticky_key: }", "{}"] {
        assert_eq!(messages(&format!("record_partitioner: {partitioner}")), Vec::<String>::new(), "{partitioner}");
    }
}

#[test]
fn mistakes_are_reported_with_the_messages_of_go() {
    for (yaml, expected) in [
        ("brokers: []", "brokers must be specified"),
        ("brokers: ['http://kafka']", "\"http://kafka\" is not the address of a broker"),
        ("protocol_version: '9.9'", "invalid protocol version: \"9.9\""),
        ("protocol_version: 0.10.2", "protocol_version 0.10.2 has no record batches of version 2"),
        ("conn_idle_timeout: 0s", "conn_idle_timeout (0s) must be positive"),
        ("timeout: 0s", "produce timeout 0s is less than allowed 100ms"),
        ("timeout: 99ms", "produce timeout 99ms is less than allowed 100ms"),
        ("producer: {required_acks: 3}", "expected 'all' (-1), 0, or 1; configured value is 3"),
        ("producer: {compression: br}", "compression should be one of 'none', 'gzip', 'snappy', 'lz4', or 'zstd'."),
        ("producer: {compression: zstd, compression_params: {level: 4}}", "unsupported parameters {Level:4}"),
        ("producer: {max_message_bytes: -1}", "max_message_bytes (-1) must be non-negative"),
        ("producer: {max_broker_write_bytes: 1}", "max_broker_write_bytes (1) must be at least 104857600"),
        ("producer: {flush_max_messages: 0}", "flush_max_messages (0) must be at least 1"),
        ("auth: {sasl: {mechanism: PLAIN, password: p}}", "username is required"),
        ("auth: {sasl: {mechanism: PLAIN, username: p}}", "password is required"),
        ("auth: {sasl: {mechanism: X}}", "mechanism should be one of 'PLAIN'"),
        ("auth: {sasl: {mechanism: OAUTHBEARER}}", "oauth2authclient extension is required"),
        ("auth: {sasl: {mechanism: AWS_MSK_IAM_OAUTHBEARER}}", "AWS_MSK_IAM_OAUTHBEARER is not supported yet"),
        ("auth: {kerberos: {service_name: kafka}}", "authentication with Kerberos is not supported yet"),
        ("record_partitioner: {round_robin: {}, least_backup: {}}", "at most one record_partitioner strategy"),
        ("record_partitioner: {sticky_key: {hasher: md5}}", "sticky_key: unknown hasher \"md5\""),
        ("record_partitioner: {extension: x}", "partitioners in extensions are not supported"),
        ("traces: {encoding: x}", "unrecognized traces encoding \"x\""),
        ("traces: {encoding: raw}", "unrecognized traces encoding \"raw\""),
        (
            "{partition_logs_by_resource_attributes: true, partition_logs_by_trace_id: true}",
            "partition_logs_by_resource_attributes and partition_logs_by_trace_id cannot both be enabled",
        ),
        (
            "{partition_traces_by_id: true, traces: {message_key_from_metadata_key: k}}",
            "traces::message_key_from_metadata_key cannot be combined with partition_traces_by_id",
        ),
        (
            "{include_metadata_keys: [k], sending_queue: {batch: {}}}",
            "sending_queue::batch::partition::metadata_keys must be configured when include_metadata_keys is set",
        ),
        (
            "{traces: {topic_from_metadata_key: k}, sending_queue: {batch: {}}}",
            "topic_from_metadata_key must be present in sending_queue::batch::partition::metadata_keys",
        ),
        ("auth: {plain_text: {username: u, password: p}}", "'plain_text' is deprecated"),
    ] {
        let found = messages(yaml);
        assert!(found.iter().any(|message| message.contains(expected)), "{yaml}: {found:?}");
    }
}
