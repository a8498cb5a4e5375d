//! `otelcore queue` on directories that a collector has written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/sink.rs"]
mod sink;
mod support;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sink::OtlpHttpBackend;
use support::*;

/// The answers of a backend, the last one again and again.
type Statuses = Arc<Mutex<VecDeque<u16>>>;

/// A backend that answers with these statuses, and keeps what it accepts.
fn start_backend(statuses: &[u16]) -> (OtlpHttpBackend, Statuses) {
    let statuses: Statuses = Arc::new(Mutex::new(statuses.iter().copied().collect()));
    let asked = statuses.clone();
    let backend = OtlpHttpBackend::start_with(move || {
        let mut statuses = asked.lock().unwrap();
        if statuses.len() > 1 { statuses.pop_front() } else { statuses.front().copied() }
    });
    (backend, statuses)
}

fn sorted_names(backend: &OtlpHttpBackend) -> Vec<String> {
    let mut names = backend.span_names();
    names.sort();
    names
}

/// A collector with a queue on disk.
fn start_collector(dir: &Path, backend: &str) -> (Process, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "extensions: {{file_storage: {{directory: {}, create_directory: true}}}}
receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{address}\"}}}}}}}}
exporters: {{otlp_http/a: {{endpoint: \"{backend}\", compression: none, sending_queue: {{storage: file_storage}}}}}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http/a]}}}}
",
        dir.join("storage").display()
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(otelcore());
    let mut collector = Process::start(command.arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&address, &mut collector);
    (collector, address)
}

fn send(address: &str, name: &str) {
    let request = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";
    let (status, answer) = http_request(address, request, &span_request(name));
    assert_eq!(status, 200, "{answer}");
}

fn stop(mut collector: Process) {
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(60)), 0, "{}", collector.log_text());
}

fn queue(action: &str, directory: &Path, flags: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(otelcore()).args(["queue", action]).arg(directory).args(flags).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap(), text(&stdout), text(&stderr))
}

/// The cells of the only queue in the table.
fn row(table: &str) -> Vec<&str> {
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("EXPORTER"), "{table}");
    lines[1].split_whitespace().collect()
}

fn exported_names(lines: &str) -> Vec<String> {
    let name = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"].as_str().unwrap().to_owned()
    };
    lines.lines().map(name).collect()
}

/// The files of a queue with their content, without the lock.
fn files_of(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry)
            } else {
                files.push((entry.clone(), std::fs::read(entry).unwrap()))
            }
        }
    }
    files.sort();
    files
}

const NAME: &str = "exporter_otlp_http_a_traces.queue";

#[test]
fn queue_that_a_collector_has_left_is_listed_checked_exported_and_sent() {
    let dir = empty_test_dir("queue-commands");
    let storage = dir.join("storage");
    let (collector, address) = start_collector(&dir, &start_backend(&[503]).0.endpoint());
    let names = ["one", "two", "three"];
    names.iter().for_each(|name| send(&address, name));

    // While the collector runs, only `ls` works; all name the directory.
    let (code, out, err) = queue("ls", &storage, &[]);
    assert_eq!((code, &row(&out)[..4]), (0, &["otlp_http/a", "traces", "3", "3"][..]), "{out}{err}");
    let path = storage.join(NAME);
    let in_use = format!("{}: a collector uses this queue", path.display());
    assert!(err.contains(&in_use), "{err}");
    for (action, flags) in [("verify", &[][..]), ("export", &[]), ("replay", &["--endpoint=http://127.0.0.1:9"])] {
        let (code, out, err) = queue(action, &storage, flags);
        assert!(code == 1 && out.is_empty() && err.contains(&in_use), "{action}: {code} {out}{err}");
    }
    stop(collector);

    let before = files_of(&storage);
    let (code, out, err) = queue("ls", &path, &[]);
    let cells = row(&out);
    assert_eq!((code, &cells[..4], cells[9]), (0, &["otlp_http/a", "traces", "3", "3"][..], NAME), "{out}{err}");
    assert!(cells[4].parse::<u64>().unwrap() > 100 && cells[6].parse::<u64>().unwrap() > 100, "{out}");
    assert_eq!((cells[7], cells[8]), ("0", "0"), "{out}");
    let (code, out, err) = queue("verify", &storage, &[]);
    assert!(code == 0 && out.contains("intact: 3 requests, 3 items") && out.contains("dead: 0"), "{out}{err}");
    let (code, out, err) = queue("export", &storage, &[]);
    assert_eq!((code, exported_names(&out)), (0, names.map(str::to_owned).to_vec()), "{err}");
    assert!(files_of(&storage) == before, "nothing is changed");

    // An endpoint that refuses everything for good takes nothing out of the queue.
    let (wrong, _) = start_backend(&[404]);
    let (code, _, err) = queue("replay", &storage, &["--endpoint", &wrong.endpoint()]);
    assert!(code == 1 && err.contains("refuses a request for good") && err.contains("404"), "{err}");
    let (_, out, _) = queue("verify", &storage, &[]);
    assert!(out.contains("intact: 3 requests, 3 items") && out.contains("delivered: 0 requests; dead: 0"), "{out}");

    let no_queue = ["--endpoint=http://127.0.0.1:9", "--set=sending_queue.enabled=false"];
    let (code, _, err) = queue("replay", &storage, &no_queue);
    assert!(code == 1 && err.contains("leave out --set=sending_queue.enabled"), "{err}");
    let (code, _, err) = queue("replay", &storage, &["--endpoint=http://127.0.0.1:9", "--set=tls.insecur=true"]);
    assert!(code == 1 && err.contains("insecur"), "{err}");

    // One that is busy at first has everything in the end.
    let (backend, _) = start_backend(&[503, 503, 200]);
    let flags =
        ["--endpoint", &backend.endpoint(), "--set=retry_on_failure.initial_interval=50ms", "--set=compression=none"];
    let (code, out, err) = queue("replay", &storage, &flags);
    assert_eq!(
        (code, out.as_str(), sorted_names(&backend)),
        (0, "", vec!["one".into(), "three".into(), "two".into()]),
        "{err}"
    );
    assert!(err.contains("3 requests are delivered and removed, 0 are left"), "{err}");
    let (code, out, err) = queue("ls", &storage, &[]);
    assert_eq!((code, &row(&out)[..6]), (0, &["otlp_http/a", "traces", "0", "0", "0", "-"][..]), "{err}");
    assert_eq!(queue("export", &storage, &[]).1, "");
    let (code, _, err) = queue("replay", &storage, &flags);
    assert!(code == 0 && err.contains("nothing to send"), "{err}");
}

#[test]
fn replay_that_is_killed_leaves_what_was_not_delivered_and_is_named_meanwhile() {
    let dir = empty_test_dir("queue-replay-killed");
    let storage = dir.join("storage");
    let (collector, address) = start_collector(&dir, &start_backend(&[503]).0.endpoint());
    ["one", "two"].iter().for_each(|name| send(&address, name));
    stop(collector);
    let (backend, statuses) = start_backend(&[503]);
    let start = |number: u32| {
        let mut command = Command::new(otelcore());
        command.args(["queue", "replay", "--set=retry_on_failure.initial_interval=50ms", "--set=compression=none"]);
        command.arg(format!("--endpoint={}", backend.endpoint())).arg(&storage);
        Process::start(&mut command, &dir.join(format!("replay-{number}")))
    };
    let mut replay = start(1);
    wait_until("the error is shown", || Some(replay.log_text()).filter(|log| log.contains("2 requests are left: ")));
    let (code, _, err) = queue("verify", &storage, &[]);
    let in_use = format!("{}: a collector uses this queue", storage.join(NAME).display());
    assert!(code == 1 && err.contains(&in_use), "{err}");
    replay.signal("KILL");
    replay.wait_for_exit(Duration::from_secs(10));
    let (code, out, err) = queue("verify", &storage, &[]);
    assert!(code == 0 && out.contains("intact: 2 requests") && out.contains("delivered: 0 requests"), "{out}{err}");
    let mut replay = start(2);
    *statuses.lock().unwrap() = VecDeque::from([200]);
    assert_eq!(replay.wait_for_exit(Duration::from_secs(60)), 0, "{}", replay.log_text());
    assert_eq!(sorted_names(&backend), ["one", "two"], "{}", replay.log_text());
}

#[test]
fn damaged_queue_is_reported_with_its_place_and_the_rest_is_exported_and_sent_over_grpc() {
    let dir = empty_test_dir("queue-damaged");
    let storage = dir.join("storage");
    let (collector, address) = start_collector(&dir, &start_backend(&[503]).0.endpoint());
    ["first", "second-span", "third"].iter().for_each(|name| send(&address, name));
    stop(collector);
    let has_span = |bytes: &[u8]| bytes.windows(11).position(|part| part == b"second-span");
    let (segment, mut bytes) = files_of(&storage).into_iter().find(|(_, bytes)| has_span(bytes).is_some()).unwrap();
    let at = has_span(&bytes).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let (code, out, err) = queue("verify", &storage, &[]);
    let place = format!("bytes in {}: 1 requests are lost", segment.display());
    assert!(code == 1 && out.contains(&place) && out.contains("intact: 2 requests"), "{out}{err}");
    let (code, out, err) = queue("export", &storage, &[]);
    assert_eq!((code, exported_names(&out)), (1, vec!["first".to_owned(), "third".to_owned()]), "{err}");
    assert!(err.contains(&place), "{err}");

    let address = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"{address}\"}}}}}}}}, exporters: {{debug: {{verbosity: detailed}}}}, service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}}}"
    );
    let mut command = Command::new(otelcore());
    let mut peer = Process::start(command.arg(format!("--config={config}")), &dir.join("peer-log"));
    wait_for_listener(&address, &mut peer);
    let (code, _, err) = queue("replay", &storage, &["--endpoint", &address, "--set=tls.insecure=true"]);
    assert!(code == 0 && err.contains("2 requests are delivered and removed, 0 are left"), "{code} {err}");
    let log = wait_until("the spans are printed", || {
        Some(peer.log_text()).filter(|log| log.contains("first") && log.contains("third"))
    });
    assert!(!log.contains("econd-span"), "{log}");
    stop(peer);
    let (_, out, _) = queue("ls", &storage, &[]);
    assert!(row(&out)[7].parse::<u64>().unwrap() > 0, "quarantined: {out}");
}

#[test]
fn requests_that_were_given_up_are_exported_with_their_reasons() {
    let dir = empty_test_dir("queue-dead");
    let storage = dir.join("storage");
    let (backend, _) = start_backend(&[400]);
    let (collector, address) = start_collector(&dir, &backend.endpoint());
    ["poison-1", "poison-2"].iter().for_each(|name| send(&address, name));
    wait_until("both are given up", || {
        let (_, out, _) = queue("ls", &storage, &[]);
        (out.lines().count() == 2 && row(&out)[2] == "0" && row(&out)[8] != "0").then_some(out)
    });
    stop(collector);
    let (code, out, err) = queue("verify", &storage, &[]);
    assert!(code == 0 && out.contains("dead: 2 requests"), "{out}{err}");
    assert_eq!(queue("export", &storage, &[]).1, "");
    let (code, out, err) = queue("export", &storage, &["--dead"]);
    let mut names = exported_names(&out);
    names.sort();
    assert_eq!((code, names), (0, vec!["poison-1".to_owned(), "poison-2".to_owned()]), "{err}");
    assert_eq!(err.lines().filter(|line| line.contains("400")).count(), 2, "{err}");
}

#[test]
fn directory_without_a_queue_and_wrong_arguments_are_reported_by_name() {
    let dir = empty_test_dir("queue-none");
    let (code, out, err) = queue("ls", &dir, &[]);
    let missing = dir.join("missing");
    assert!(code == 1 && out.is_empty() && err.contains(&format!("{}: no queue is in", dir.display())), "{err}");
    let (code, _, err) = queue("verify", &missing, &[]);
    assert!(code == 1 && err.contains(&format!("open {}: no such file or directory", missing.display())), "{err}");
    let (code, _, err) = queue("replay", &dir, &[]);
    assert!(code == 1 && err.contains("needs --endpoint"), "{err}");
    let (code, _, err) = queue("remove", &dir, &[]);
    assert!(code == 1 && err.contains("unknown action of queue"), "{err}");
}
