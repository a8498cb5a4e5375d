//! Twenty times `kill -9`, over the exporter, the broker and the receiver in turn, under load: what was accepted is delivered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
#[path = "support/kafka_load.rs"]
mod load;
mod support;

use std::time::Duration;

use broker::Kafka;
use load::*;
use support::*;

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn twenty_kills_of_exporter_broker_and_receiver_lose_nothing() {
    let mut kafka = Kafka::start("kafka-twenty-kills");
    let dir = kafka.dir.clone();
    kafka.create_topic("killed", 3);
    let [otlp, target] = [format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port())];
    let file = dir.join("delivered.json");
    let _destination = destination(&dir, &target, &file);
    let brokers = kafka.address();
    let storage = dir.join("storage");
    let of_exporter = format!(
        "extensions: {{file_storage: {{directory: \"{storage}\", create_directory: true, fsync: true}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
exporters:
  kafka:
    brokers: [\"{brokers}\"]
    timeout: 4s
    sending_queue: {{storage: file_storage, queue_size: 100000}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 1s, max_elapsed_time: 0}}
    producer: {{required_acks: all}}
    logs: {{topic: killed}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [kafka]}}}}
",
        storage = storage.display(),
    );
    let of_receiver = format!(
        "receivers:
  kafka:
    brokers: [\"{brokers}\"]
    initial_offset: earliest
    session_timeout: 6s
    heartbeat_interval: 500ms
    autocommit: {{interval: 50ms}}
    logs: {{topics: [killed]}}
processors: {{batch: {{send_batch_size: 500, timeout: 100ms}}}}
exporters: {{otlp_http: {{endpoint: \"http://{target}\"}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [kafka], processors: [batch], exporters: [otlp_http]}}}}
"
    );
    let mut exporter = collector(&dir, "exporter", &of_exporter);
    wait_for_listener(&otlp, &mut exporter);
    let mut receiver = collector(&dir, "receiver", &of_receiver);
    let load = Load::start(&otlp);
    load.wait_for_more(500);
    for kill in 0..20 {
        let name = ["exporter", "broker", "receiver"][kill % 3];
        match name {
            "exporter" => {
                exporter.signal("KILL");
                exporter.wait_for_exit(Duration::from_secs(10));
                exporter = collector(&dir, "exporter", &of_exporter);
            }
            "broker" => {
                kafka.end("KILL");
                std::thread::sleep(Duration::from_millis(300));
                kafka.restart();
            }
            _ => {
                receiver.signal("KILL");
                receiver.wait_for_exit(Duration::from_secs(10));
                receiver = collector(&dir, "receiver", &of_receiver);
            }
        }
        load.wait_for_more(300);
        // A member that was killed is in the group until its session ends.
        std::thread::sleep(Duration::from_millis(if name == "receiver" { 7500 } else { 50 * kill as u64 }));
        println!("{name} killed: {} accepted, {} delivered", load.accepted(), texts(&[&file], "message-").len());
    }
    let (accepted, again) = load.finish();
    let found = wait_for_texts(&[&file], "message-", accepted);
    let twice = found.values().filter(|count| **count > 1).count();
    println!("20 kills, {accepted} accepted, {again} requests sent again: none lost, {twice} twice");
    kafka.wait_for_no_lag("otel-collector");
}
