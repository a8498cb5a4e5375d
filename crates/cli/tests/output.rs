//! Standard streams without a reader: the collector continues, and ends when it is asked to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use support::*;

const POST: &str = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";

/// The value of a series without labels.
fn series_value(page: &str, name: &str) -> u64 {
    let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Fills the pipes of stdout, of stderr or of both, then checks that everything else continues.
fn run_with_unread_output(name: &str, exporters: &str, names: &str) {
    let (port, health, own) = (free_port(), free_port(), free_port());
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
         exporters: {exporters}\n\
         extensions: {{health_check: {{endpoint: \"127.0.0.1:{health}\"}}}}\n\
         service: {{extensions: [health_check], telemetry: {{logs: {{level: debug}}, metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]}}}}, \
         pipelines: {{traces: {{receivers: [otlp], exporters: {names}}}}}}}\n"
    );
    let path = empty_test_dir(name).join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let (mut collector, mut out, mut err) = Process::start_unread(command.arg(format!("--config={}", path.display())));
    let address = format!("127.0.0.1:{port}");
    wait_for_listener(&address, &mut collector);
    let large = span_request(&"x".repeat(1 << 20));
    for _ in 0..8 {
        assert_eq!(http_request(&address, POST, &large).0, 200);
    }
    assert_eq!(http_get(&format!("127.0.0.1:{health}"), "/").0, 200);
    let (_, page) = http_get(&format!("127.0.0.1:{own}"), "/metrics");
    assert!(series_value(&page, "otelcore_output_dropped_records") > 0, "{page}");
    let start = Instant::now();
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(15)), 0);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let mut leftover = Vec::new();
    out.read_to_end(&mut leftover).unwrap();
    err.read_to_end(&mut leftover).unwrap();
    assert!(!leftover.is_empty());
}

#[test]
fn collector_with_unread_stderr_continues_and_ends() {
    run_with_unread_output("unread-err", "{debug: {verbosity: detailed}}", "[debug]");
}

#[test]
fn debug_exporter_with_unread_stdout_continues_and_ends() {
    run_with_unread_output("unread-out", "{debug: {verbosity: detailed, use_internal_logger: false}}", "[debug]");
}

#[test]
fn collector_with_both_outputs_unread_continues_and_ends() {
    let both = "{debug: {verbosity: detailed, use_internal_logger: false}, debug/2: {verbosity: detailed}}";
    run_with_unread_output("unread-both", both, "[debug, debug/2]");
}

#[test]
fn output_that_is_read_again_reports_dropped_records() {
    let port = free_port();
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
         exporters: {{debug: {{verbosity: detailed}}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}\n"
    );
    let path = empty_test_dir("read-again").join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let (mut collector, _out, mut err) = Process::start_unread(command.arg(format!("--config={}", path.display())));
    let address = format!("127.0.0.1:{port}");
    wait_for_listener(&address, &mut collector);
    let large = span_request(&"x".repeat(1 << 20));
    for _ in 0..8 {
        assert_eq!(http_request(&address, POST, &large).0, 200);
    }
    // Reads on a thread that ends with the process.
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(&mut err));
        while let Some(Ok(line)) = lines.next() {
            let _ = send.send(line);
        }
    });
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let line = lines.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap();
        if line.contains("Output was dropped") {
            assert!(line.contains("\"output\": \"stderr\", \"dropped_records\": "), "{line}");
            break;
        }
    }
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(15)), 0);
}
