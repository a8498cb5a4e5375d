//! The exporter and the receiver `kafka` against three brokers, and against one whose disk is full, under load: leaders move, brokers stop
//! and are killed, topics grow. What was accepted is delivered.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/kafka.rs"]
mod broker;
#[path = "support/kafka_load.rs"]
mod load;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use broker::{Kafka, Options};
use load::*;
use support::*;

/// A collector that sends what it receives to a topic, and answers once that is acknowledged.
fn exporter(dir: &Path, brokers: &str, topic: &str) -> (Process, String) {
    let otlp = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
exporters:
  kafka:
    brokers: [{brokers}]
    timeout: 4s
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
    metadata: {{refresh_interval: 2s}}
    producer: {{required_acks: all, linger: 1ms}}
    logs: {{topic: {topic}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [kafka]}}}}
"
    );
    let mut process = collector(dir, "exporter", &config);
    wait_for_listener(&otlp, &mut process);
    (process, otlp)
}

/// A collector that writes the logs of a topic to a file.
fn receiver(dir: &Path, name: &str, brokers: &str, topic: &str) -> (Process, PathBuf) {
    let file = dir.join(format!("{name}.json"));
    let config = format!(
        "receivers:
  kafka:
    brokers: [{brokers}]
    initial_offset: earliest
    session_timeout: 6s
    heartbeat_interval: 500ms
    autocommit: {{interval: 100ms}}
    metadata: {{refresh_interval: 2s}}
    logs: {{topics: [{topic}]}}
processors: {{batch: {{timeout: 50ms}}}}
exporters: {{file: {{path: \"{}\", append: true, flush_interval: 50ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [kafka], processors: [batch], exporters: [file]}}}}
",
        file.display()
    );
    (collector(dir, name, &config), file)
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn three_brokers_that_move_leaders_stop_and_are_killed_lose_nothing() {
    let mut brokers = Kafka::start_cluster("kafka-cluster", 3);
    let dir = brokers[0].dir.parent().unwrap().to_owned();
    let addresses: Vec<String> = brokers.iter().map(|broker| format!("\"{}\"", broker.address())).collect();
    let addresses = addresses.join(", ");
    brokers[0].create_topic_with("moved", 3, 3, &["--config", "min.insync.replicas=2"]);
    let (_exporter, otlp) = exporter(&dir, &addresses, "moved");
    let (_one, file_one) = receiver(&dir, "one", &addresses, "moved");
    let (_two, file_two) = receiver(&dir, "two", &addresses, "moved");
    let load = Load::start(&otlp);
    load.wait_for_more(500);
    // The leaders change places, twice, while everything is up.
    for replicas in [[[2, 3, 1], [3, 1, 2], [1, 2, 3]], [[3, 1, 2], [1, 2, 3], [2, 3, 1]]] {
        brokers[0].reassign("moved", &[&replicas[0], &replicas[1], &replicas[2]]);
        brokers[0].elect_preferred_leaders();
        load.wait_for_more(200);
    }
    println!("leaders moved: {} accepted", load.accepted());
    for (index, signal) in [(0, "TERM"), (1, "KILL"), (2, "KILL"), (1, "TERM")] {
        brokers[index].end(signal);
        load.wait_for_more(200);
        brokers[index].restart();
        brokers[index].elect_preferred_leaders();
        load.wait_for_more(200);
        println!("broker {} {signal}: {} accepted", index + 1, load.accepted());
    }
    brokers[2].grow_topic("moved", 9);
    load.wait_for_more(500);
    // Two of three: the third replica is not enough, nothing is accepted until one is back.
    brokers[0].end("KILL");
    brokers[1].end("KILL");
    std::thread::sleep(Duration::from_secs(2));
    brokers[0].restart();
    load.wait_for_more(200);
    brokers[1].restart();
    // A third member, while the topic has new partitions.
    let (_three, file_three) = receiver(&dir, "three", &addresses, "moved");
    load.wait_for_more(500);
    let (accepted, again) = load.finish();
    let files: [&Path; 3] = [&file_one, &file_two, &file_three];
    let found = wait_for_texts(&files, "message-", accepted);
    let twice = found.values().filter(|count| **count > 1).count();
    println!("{accepted} accepted, {again} requests sent again: none lost, {twice} twice");
    brokers[0].wait_for_no_lag("otel-collector");
    let text = brokers[0].describe_topic("moved");
    assert_eq!(text.matches("Partition: ").count(), 9, "{text}");
    let of_new = brokers[0].describe_group("otel-collector");
    let used = of_new.lines().filter(|line| line.starts_with("otel-collector"));
    let used = used.filter(|line| line.split_whitespace().nth(4).is_some_and(|end| end != "0")).count();
    assert!(used > 3, "the new partitions are used: {of_new}");
}

#[test]
#[ignore = "needs Kafka; run by scripts/kafka"]
fn broker_whose_disk_is_full_loses_nothing_that_was_accepted() {
    const ROOM: usize = 200;
    let dir = empty_test_dir("kafka-full-disk");
    let disk = dir.join("disk");
    std::fs::create_dir_all(&disk).unwrap();
    // A process that keeps a namespace with a small disk, which goes with it.
    let ready = dir.join("ready");
    let script = format!(
        "mount -t tmpfs -o size={ROOM}m tmpfs {disk} && touch {ready} && exec sleep 600",
        disk = disk.display(),
        ready = ready.display()
    );
    let mut holder = Process::start(
        Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]),
        &dir.join("holder.log"),
    );
    while !ready.exists() {
        assert!(holder.child.try_wait().unwrap().is_none(), "{}", holder.log_text());
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = holder.child.id().to_string();
    let enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &pid].map(str::to_owned);
    let options = Options {
        log_dir: Some(disk.join("data")),
        wrapper: enter.to_vec(),
        properties: "log.segment.bytes=4000000\nlog.index.size.max.bytes=100000",
        ..Options::default()
    };
    let mut kafka = Kafka::start_with("kafka-full-disk-broker", &options);
    kafka.create_topic("full", 3);
    let address = format!("\"{}\"", kafka.address());
    let (exporter, otlp) = exporter(&dir, &address, "full");
    let (_receiver, file) = receiver(&dir, "receiver", &address, "full");
    let load = Load::start(&otlp);
    load.wait_for_more(1000);
    for round in 0..2 {
        // The disk is filled but for some kilobytes; the broker stops at the first write for which there is no room.
        let filler = format!("{}/filler", disk.display());
        let mut fill = Command::new(&enter[0]);
        fill.args(&enter[1..]).args(["sh", "-c", &format!("dd if=/dev/zero of={filler} bs=64k; true")]);
        assert!(fill.output().unwrap().status.success());
        let code = kafka.process.wait_for_exit(Duration::from_secs(60));
        let before = load.accepted();
        std::thread::sleep(Duration::from_secs(2));
        assert!(load.accepted() <= before + 10, "nothing is accepted without a disk");
        let mut remove = Command::new(&enter[0]);
        assert!(remove.args(&enter[1..]).args(["rm", &filler]).status().unwrap().success());
        kafka.restart();
        load.wait_for_more(1000);
        println!("round {round}: the broker ended with {code}; {} accepted", load.accepted());
    }
    let (accepted, again) = load.finish();
    let found = wait_for_texts(&[&file], "message-", accepted);
    let twice = found.values().filter(|count| **count > 1).count();
    println!("{accepted} accepted, {again} requests sent again: none lost, {twice} twice");
    kafka.wait_for_no_lag("otel-collector");
    assert!(again > 0, "{}", exporter.log_text());
}
