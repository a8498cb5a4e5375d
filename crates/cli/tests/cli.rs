//! The binary as a user runs it: its output and its exit codes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use support::*;

fn run(args: &[&str]) -> Output {
    Command::new(otelcore()).args(args).output().unwrap()
}

fn all_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A configuration that listens on free ports, with the given rest of the service.
fn write_config(name: &str, rest: &str) -> (std::path::PathBuf, u16, u16) {
    let (grpc, http) = (free_port(), free_port());
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}}}}}\n{rest}"
    );
    let path = empty_test_dir(name).join("config.yaml");
    std::fs::write(&path, text).unwrap();
    (path, grpc, http)
}

#[test]
fn version_help_components_and_featuregate_print_their_output() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert_eq!(all_output(&version), format!("otelcore version {}\n", env!("CARGO_PKG_VERSION")));
    let components = all_output(&run(&["components"]));
    for name in ["otlp", "nop", "batch", "memory_limiter", "jaeger", "prometheus", "debug", "logging", "health_check"] {
        assert!(components.contains(&format!("- name: {name}\n")), "{name} in {components}");
    }
    assert!(all_output(&run(&["--help"])).contains("--config URI"));
    assert!(all_output(&run(&["featuregate"])).contains("service.profilesSupport"));
    let unknown = run(&["--nope"]);
    assert_eq!((unknown.status.code(), all_output(&unknown)), (Some(1), "Error: unknown flag: --nope\n".to_owned()));
}

#[test]
fn all_config_errors_are_reported_with_their_positions() {
    let path = empty_test_dir("mistakes").join("config.yaml");
    let text = "\
receivers:
  otlp:
    protocols:
      grpc:
        endpont: 0.0.0.0:4317
processors:
  batch:
    timeout: 5x
    send_batch_size: many
  batsch:
exporters:
  jaeger:
    {endpoint: \"jaeger:14250\", tls: {min_version: \"1.0\"}}
  prometheus:
    endpoint: \"0.0.0.0:9092\"
connectors:
  forwad:
service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [jager, prometheus]
";
    std::fs::write(&path, text).unwrap();
    let name = path.display();
    let output = run(&["validate", &format!("--config={name}")]);
    let text = all_output(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for (message, place) in [
        ("'protocols.grpc' has invalid keys: endpont", "5:9"),
        ("'timeout' time: unknown unit", "8:14"),
        ("'send_batch_size' expected type 'uint32', got unconvertible type 'string'", "9:22"),
        ("'processors' unknown type: \"batsch\" for id: \"batsch\"", "10:3"),
        ("TLS 1.0 is not supported", "13:"),
        ("'connectors' unknown type: \"forwad\" for id: \"forwad\" (valid values: [", "17:3"),
        ("service::extensions: references extension \"health_check\" which is not configured", "19:16"),
        ("service::pipelines::traces: references exporter \"jager\" which is not configured", "24:19"),
        ("failed to create \"prometheus\" exporter for data type \"traces\": telemetry type is not supported", "24:26"),
    ] {
        assert!(text.contains(message), "{message}\nin\n{text}");
        assert!(text.contains(&format!("{name}:{place}")), "{place} for {message}\nin\n{text}");
    }
    for help in ["did you mean `endpoint`?", "did you mean `batch`?", "did you mean `jaeger`?"] {
        assert!(text.contains(help), "{help}\nin\n{text}");
    }
}

#[test]
fn config_sources_are_merged_and_set_takes_precedence() {
    let path = empty_test_dir("merge").join("config.yaml");
    let text = "receivers: {nop: }\nexporters: {nop: }\nprocessors: {batch: {timeout: 1s}}\nservice: {pipelines: {traces: {receivers: [nop], processors: [batch], exporters: [nop]}}}\n";
    std::fs::write(&path, text).unwrap();
    let output = Command::new(otelcore())
        .args(["print-config", "--config", &format!("file:{}", path.display()), "--config=env:MORE"])
        .args(["--config", "yaml:processors::batch::send_batch_max_size: 9000", "--set=processors.batch.timeout=2s"])
        .env("MORE", "processors:\n  batch:\n    send_batch_size: ${env:SIZE}\n")
        .env("SIZE", "77")
        .output()
        .unwrap();
    let text = all_output(&output);
    assert!(output.status.success(), "{text}");
    for line in ["send_batch_size: 77", "send_batch_max_size: 9000", "timeout: 2s", "metadata_cardinality_limit: 1000"]
    {
        assert!(text.contains(line), "{line}\nin\n{text}");
    }
}

#[test]
fn port_in_use_is_a_start_error() {
    let (path, grpc, _) = write_config(
        "port",
        "exporters: {nop: }\nservice: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n",
    );
    let taken = TcpListener::bind(("127.0.0.1", grpc)).unwrap();
    let output = run(&[&format!("--config={}", path.display())]);
    drop(taken);
    let sentence = format!(
        "Error: cannot start pipelines: failed to start \"otlp\" receiver: listen tcp 127.0.0.1:{grpc}: bind: address already in use"
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(all_output(&output).contains(&sentence), "{}", all_output(&output));
}

/// One span: resource, scope and a span with a name.
const SPAN: &[u8] = b"\x0a\x09\x12\x07\x12\x05\x2a\x03abc";

#[test]
fn http_responses_equal_those_of_the_go_collector() {
    let rest = "exporters: {nop: }\nservice: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n";
    let (path, _, http_port) = write_config("http", rest);
    let mut collector = Process::start(
        Command::new(otelcore()).arg(format!("--config={}", path.display())),
        &empty_test_dir("http-log").join("log"),
    );
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    let post = |path: &str, headers: &str, body: &[u8]| {
        http_request(&address, &format!("POST {path} HTTP/1.0\r\nHost: x{headers}"), body)
    };
    let protobuf = "\r\nContent-Type: application/x-protobuf";
    assert_eq!(post("/v1/traces", protobuf, SPAN), (200, "\u{a}\0".to_owned()));
    assert_eq!(post("/v1/metrics", protobuf, b"").0, 404, "no pipeline of that signal uses the receiver");
    assert_eq!(http_get(&address, "/v1/traces"), (405, "405 method not allowed, supported: [POST]".to_owned()));
    assert_eq!(post("/v1/traces", "\r\nContent-Type: text/x", SPAN).0, 415);
    let json = "\r\nContent-Type: application/json; charset=utf-8";
    assert_eq!(post("/v1/traces", json, b"{}"), (200, "{\"partialSuccess\":{}}".to_owned()));
    let (status, body) = post("/v1/traces", json, b"{\"resourceSpans\":7}");
    assert!(status == 400 && body.starts_with("{\"code\":3,\"message\":\"resourceSpans: "), "{status} {body}");
    let (status, body) = post("/v1/traces", &format!("{protobuf}\r\nContent-Encoding: br"), SPAN);
    assert!(status == 400 && body.contains("unsupported Content-Encoding: br"), "{status} {body}");
    let (status, body) = post("/v1/traces", protobuf, b"\x0a\x7f");
    assert!(status == 400 && body.contains("unexpected EOF"), "{status} {body}");
    collector.signal("INT");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(10)), 0);
}

#[test]
fn own_metrics_count_accepted_and_sent_spans() {
    let port = free_port();
    let rest = format!(
        "exporters: {{nop: }}\nprocessors: {{batch: {{timeout: 10ms}}}}\nservice: {{telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]}}}}, pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [nop]}}}}}}\n"
    );
    let (path, _, http_port) = write_config("own", &rest);
    let mut collector = Process::start(
        Command::new(otelcore()).arg(format!("--config={}", path.display())),
        &empty_test_dir("own-log").join("log"),
    );
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    for _ in 0..3 {
        http_request(&address, "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf", SPAN);
    }
    let page = wait_until("three spans sent", || {
        let (_, page) = http_get(&format!("127.0.0.1:{port}"), "/metrics");
        page.contains("otelcol_exporter_sent_spans{exporter=\"nop\"} 3\n").then_some(page)
    });
    assert!(page.contains("otelcol_receiver_accepted_spans{receiver=\"otlp\",transport=\"http\"} 3\n"), "{page}");
    for name in [
        "otelcol_process_uptime",
        "otelcol_process_memory_rss",
        "otelcol_processor_batch_batch_send_size_bucket",
        "target_info",
    ] {
        assert!(page.contains(name), "{name} in {page}");
    }
}

#[test]
fn sigterm_delivers_pending_batches() {
    let dir = empty_test_dir("drain");
    let out = dir.join("spans.txt");
    let rest = format!(
        "exporters: {{debug: {{use_internal_logger: false, output_paths: [{}]}}}}\nprocessors: {{batch: {{timeout: 1h}}}}\nservice: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], processors: [batch], exporters: [debug]}}}}}}\n",
        out.display()
    );
    let (path, _, http_port) = write_config("drain-config", &rest);
    let mut collector =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    for _ in 0..5 {
        http_request(&address, "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf", SPAN);
    }
    assert!(!std::fs::read_to_string(&out).unwrap_or_default().contains("Traces"), "the batch waits an hour");
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(10)), 0, "{}", collector.log_text());
    let shown = std::fs::read_to_string(&out).unwrap();
    assert!(shown.contains("\"spans\": 5"), "{shown}");
}

#[test]
fn undelivered_items_are_reported_after_the_shutdown_timeout() {
    let rest = format!(
        "exporters: {{jaeger: {{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}}}}}\nservice: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [jaeger]}}}}}}\n",
        free_port()
    );
    let (path, _, http_port) = write_config("left", &rest);
    let config = format!("--config={}", path.display());
    let mut collector = Process::start(
        Command::new(otelcore()).args([&config, "--shutdown-timeout=300ms"]),
        &empty_test_dir("left-log").join("log"),
    );
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    http_request(&address, "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf", SPAN);
    let stop_requested = Instant::now();
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(10)), 0);
    assert!(stop_requested.elapsed() < Duration::from_secs(5), "the bound was 300 ms");
    let text = collector.log_text();
    assert!(text.contains("Shutdown left data undelivered.") && text.contains("\"undelivered_items\": 1"), "{text}");
}

#[test]
fn reload_with_an_invalid_configuration_keeps_the_running_one() {
    let rest = "exporters: {nop: }\nservice: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n";
    let (path, _, http_port) = write_config("reload", rest);
    let mut collector = Process::start(
        Command::new(otelcore()).arg(format!("--config={}", path.display())),
        &empty_test_dir("reload-log").join("log"),
    );
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "receivers: [").unwrap();
    collector.signal("HUP");
    wait_until("the refusal", || collector.log_text().contains("the running one goes on").then(String::new));
    let post = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";
    assert_eq!(http_request(&address, post, SPAN).0, 200);
    let other = free_port();
    std::fs::write(&path, good.replace(&http_port.to_string(), &other.to_string())).unwrap();
    collector.signal("HUP");
    let address = format!("127.0.0.1:{other}");
    wait_for_listener(&address, &mut collector);
    assert_eq!(http_request(&address, post, SPAN).0, 200);
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(10)), 0, "{}", collector.log_text());
}

#[test]
fn tutorial_custom_resource_is_valid() {
    let (manifest, is_seed) = tutorial_file("simplest.cr.yaml", "simplest.yaml");
    let mut text = std::fs::read_to_string(manifest).unwrap();
    if is_seed {
        text = block_scalar(&text, "config");
    }
    let path = empty_test_dir("resource").join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let output = run(&["validate", &format!("--config={}", path.display())]);
    assert_eq!((output.status.code(), all_output(&output)), (Some(0), String::new()));
}

#[test]
fn descriptor_exhaustion_is_logged_with_the_limit_and_connections_wait() {
    let own = free_port();
    let rest = format!(
        "exporters: {{nop: }}\nservice: {{telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
    );
    let (path, _, http_port) = write_config("descriptors", &rest);
    let script = format!("ulimit -n 40; exec {} --config={}", otelcore().display(), path.display());
    let mut collector =
        Process::start(Command::new("sh").args(["-c", &script]), &empty_test_dir("descriptors-log").join("log"));
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    let idle: Vec<_> = (0..60).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    let text = wait_until("the line", || {
        let text = collector.log_text();
        text.contains("Connections can't be accepted").then_some(text)
    });
    assert!(text.contains("accept4: too many open files; the limit of this process is 40: raise it"), "{text}");
    drop(idle);
    let post = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";
    assert_eq!(http_request(&address, post, SPAN).0, 200);
    wait_until("the end", || collector.log_text().contains("Connections are accepted again.").then(String::new));
    let (_, page) = http_get(&format!("127.0.0.1:{own}"), "/metrics");
    let failures = page.lines().find_map(|line| line.strip_prefix("otelcore_accept_failures ")).unwrap();
    assert!(failures.parse::<u64>().unwrap() > 0, "{failures}");
    assert_eq!(collector.log_text().matches("Connections can't be accepted").count(), 1);
}

#[test]
fn unix_socket_of_a_killed_collector_is_replaced() {
    let dir = empty_test_dir("unix-left");
    let (path, socket) = (dir.join("config.yaml"), dir.join("otlp.sock"));
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{transport: unix, endpoint: \"{}\"}}}}}}}}\nexporters: {{nop: }}\nservice: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n",
        socket.display()
    );
    std::fs::write(&path, text).unwrap();
    let start = |log: &str| {
        let mut collector =
            Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join(log));
        wait_until("the start", || {
            let text = collector.log_text();
            assert!(collector.child.try_wait().unwrap().is_none(), "{text}");
            text.contains("Everything is ready").then(String::new)
        });
        collector
    };
    let first = start("first");
    first.signal("KILL");
    drop(first);
    assert!(socket.exists());
    let mut second = start("second");
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    // While it runs, no other process can bind its socket.
    let output = run(&[&format!("--config={}", path.display())]);
    assert!(all_output(&output).contains("bind: address already in use"), "{}", all_output(&output));
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    second.signal("TERM");
    assert_eq!(second.wait_for_exit(Duration::from_secs(10)), 0);
    assert!(!socket.exists());
}

#[test]
fn http_request_heads_are_parsed_as_by_the_go_collector() {
    let rest = "exporters: {nop: }\nservice: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n";
    let (path, _, http_port) = write_config("heads", rest);
    let mut collector = Process::start(
        Command::new(otelcore()).arg(format!("--config={}", path.display())),
        &empty_test_dir("heads-log").join("log"),
    );
    let address = format!("127.0.0.1:{http_port}");
    wait_for_listener(&address, &mut collector);
    let post = |target: &str, fields: &str| {
        let head = format!("POST {target} HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf{fields}");
        http_request(&address, &head, SPAN).0
    };
    assert_eq!(post("/v1/%74races", ""), 200);
    assert_eq!(post("//v1/traces", ""), 307);
    assert_eq!(post("/v1/nothing", ""), 404);
    let many: String = (0..1000).map(|n| format!("\r\nx-{n}: y")).collect();
    assert_eq!(post("/v1/traces", &many), 200);
    assert_eq!(post("/v1/traces", &format!("\r\nx-long: {}", "y".repeat(40 << 10))), 200);
    // All lines, or some of them, end in a line feed only.
    let raw = |line_end: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /v1/traces HTTP/1.1\nHost: x\nContent-Type: application/x-protobuf{line_end}Connection: close\nContent-Length: {}\n\n",
            SPAN.len()
        );
        std::io::Write::write_all(&mut stream, &[head.as_bytes(), SPAN].concat()).unwrap();
        let mut response = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut response);
        response.split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(raw("\n").as_deref(), Some("200"));
    assert_eq!(raw("\r\n").as_deref(), Some("400"));
}
