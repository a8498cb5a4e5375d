//! Mistakes of the first hour, made against the real binary: each is one line of the log, once, with what to write.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use support::*;

const POST: &str = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";

/// A server that answers the first bytes of each connection with these, and closes it. It ends with the test's process.
fn server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream: TcpStream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // What is unread at the close would reset the connection before its answer is read.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    port
}

struct Collector {
    process: Process,
    grpc: u16,
    http: u16,
}

fn collector(name: &str, exporter: &str, keys: &str) -> Collector {
    let (grpc, http) = (free_port(), free_port());
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}}}}}\n\
         exporters: {{{exporter}: {keys}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [{exporter}]}}}}}}\n"
    );
    let folder = empty_test_dir(name);
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &folder.join("log"));
    wait_for_listener(&format!("127.0.0.1:{http}"), &mut process);
    Collector { process, grpc, http }
}

impl Collector {
    fn lines_with(&self, code: &str) -> usize {
        self.process.log_text().lines().filter(|line| line.contains(&format!("\"{code}\""))).count()
    }

    /// The lines with the code, and those of any code of exporters, once a name could be looked up.
    fn wait_for_name_error(&self) -> bool {
        let mut is_looked_up = true;
        wait_until("a name that is not found", || {
            // Without a name server nothing is known of the name.
            is_looked_up = !self.process.log_text().contains("server misbehaving");
            (self.lines_with("OC709") > 0 || !is_looked_up).then(String::new)
        });
        is_looked_up
    }

    fn wait_for(&self, code: &str) {
        wait_until(code, || (self.lines_with(code) > 0).then(String::new));
    }
}

#[test]
fn error_of_an_exporter_is_followed_by_what_to_write_once() {
    // At an address of this machine where no other test listens.
    let closed = free_port();
    let plain = server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    // An alert of TLS 1.2: handshake failure.
    let tls = server(b"\x15\x03\x03\x00\x02\x02\x28");
    let tls_of_go = server(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    let settings = server(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    let page = server(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n<html><p>Login</html>");
    let not_found = server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let coding = server(b"HTTP/1.1 415 Unsupported Media Type\r\nContent-Length: 0\r\n\r\n");
    let forbidden = server(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let of_1994 = server(b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n");
    let plaintext = "tls: {insecure: true}";
    for (code, exporter, keys) in [
        ("OC701", "otlp_grpc", format!("{{endpoint: \"127.0.0.1:{plain}\"}}")),
        ("OC702", "otlp_grpc", format!("{{endpoint: \"127.0.0.1:{tls}\", {plaintext}}}")),
        ("OC702", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{tls_of_go}\"}}")),
        ("OC704", "otlp_grpc", format!("{{endpoint: \"127.0.0.1:{plain}\", {plaintext}}}")),
        ("OC705", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{settings}\"}}")),
        ("OC706", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{not_found}\"}}")),
        ("OC707", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{page}\"}}")),
        ("OC708", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{coding}\"}}")),
        ("OC710", "otlp_grpc", format!("{{endpoint: \"127.0.0.73:{closed}\", {plaintext}}}")),
        ("OC711", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{forbidden}\"}}")),
        ("OC712", "otlp_http", format!("{{endpoint: \"http://127.0.0.1:{of_1994}\"}}")),
    ] {
        let collector = collector(&format!("mistake-{code}-{exporter}"), exporter, &keys);
        let address = format!("127.0.0.1:{}", collector.http);
        for _ in 0..3 {
            http_request(&address, POST, &span_request("a"));
        }
        collector.wait_for(code);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(collector.lines_with(code), 1, "{}", collector.process.log_text());
        assert_eq!(collector.process.log_text().matches("\"OC7").count(), 1, "{}", collector.process.log_text());
    }
}

#[test]
fn name_of_a_destination_that_is_not_found_is_named_once() {
    let keys = "{endpoint: \"http://otelcore-test.invalid:4318\", retry_on_failure: {initial_interval: 50ms, max_interval: 50ms}}";
    let collector = collector("mistake-name", "otlp_http", keys);
    let address = format!("127.0.0.1:{}", collector.http);
    for _ in 0..3 {
        http_request(&address, POST, &span_request("a"));
    }
    if !collector.wait_for_name_error() {
        return eprintln!("there is no name server; a name that is not found is not tried");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(collector.lines_with("OC709"), 1, "{}", collector.process.log_text());
}

/// A request of OTLP/JSON with a metric `work` of a service.
fn metric(service: &str, data: &str) -> Vec<u8> {
    format!(
        "{{\"resourceMetrics\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\"{service}\"}}}}]}},\
         \"scopeMetrics\":[{{\"metrics\":[{{\"name\":\"work\",{data}}}]}}]}}]}}"
    )
    .into_bytes()
}

#[test]
fn metric_that_is_refused_for_its_type_is_named_once() {
    let (http, page) = (free_port(), free_port());
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{http}\"}}}}}}}}\n\
         exporters: {{prometheus: {{endpoint: \"127.0.0.1:{page}\"}}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{metrics: {{receivers: [otlp], exporters: [prometheus]}}}}}}\n"
    );
    let folder = empty_test_dir("mistake-type");
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &folder.join("log"));
    wait_for_listener(&format!("127.0.0.1:{http}"), &mut process);
    let collector = Collector { process, grpc: 0, http };
    let head = "POST /v1/metrics HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let gauge = format!("\"gauge\":{{\"dataPoints\":[{{\"timeUnixNano\":\"{now}\",\"asDouble\":1}}]}}");
    let histogram = format!(
        "\"histogram\":{{\"aggregationTemporality\":2,\"dataPoints\":[{{\"timeUnixNano\":\"{now}\",\"count\":\"1\",\"sum\":1,\"bucketCounts\":[\"1\"]}}]}}"
    );
    for _ in 0..3 {
        for (service, data) in [("cart", &gauge), ("shop", &histogram)] {
            assert_eq!(http_request(&format!("127.0.0.1:{http}"), head, &metric(service, data)).0, 200);
        }
        let (_, shown) = http_get(&format!("127.0.0.1:{page}"), "/metrics");
        assert!(shown.contains("work{") && !shown.contains("work_bucket"), "{shown}");
    }
    collector.wait_for("OC603");
    assert_eq!(collector.lines_with("OC603"), 1, "{}", collector.process.log_text());
    let explained = Command::new(otelcore()).args(["explain", "OC603"]).output().unwrap();
    assert!(String::from_utf8_lossy(&explained.stdout).contains("What to do"), "{explained:?}");
}

#[test]
fn pipeline_that_nothing_reaches_for_a_minute_is_named_once() {
    let (port, page) = (free_port(), free_port());
    let text = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
         exporters: {{nop: }}\n\
         service: {{telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]}}}}, \
         pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}, logs: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
    );
    let folder = empty_test_dir("mistake-idle");
    let path = folder.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &folder.join("log"));
    let address = format!("127.0.0.1:{port}");
    wait_for_listener(&address, &mut process);
    assert_eq!(http_request(&address, POST, &span_request("a")).0, 200);
    let started = std::time::Instant::now();
    let lines = || {
        let log = process.log_text();
        log.lines()
            .filter(|line| line.contains("Nothing has reached this pipeline"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    while lines().is_empty() && started.elapsed() < Duration::from_mins(3) {
        std::thread::sleep(Duration::from_millis(200));
    }
    let lines = lines();
    assert!(lines.len() == 1 && lines[0].contains("\"pipeline\": \"logs\""), "{lines:?}: {}", process.log_text());
}

#[test]
fn client_of_another_protocol_is_named_once() {
    let collector = collector("mistake-client", "nop", "{}");
    let send = |port: u16, bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(bytes).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    };
    for _ in 0..3 {
        send(collector.grpc, b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n\r\n");
        send(
            collector.grpc,
            b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        );
        send(collector.http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    }
    wait_until("all three", || (collector.lines_with("OC721") >= 3).then(String::new));
    let text = collector.process.log_text();
    for part in ["speaks HTTP/1 to this port of gRPC", "speaks TLS to this port", "speaks gRPC to this port of HTTP"] {
        assert_eq!(text.matches(part).count(), 1, "{text}");
    }
}

#[test]
fn time_in_the_future_is_named_once() {
    let collector = collector("mistake-future", "nop", "{}");
    let address = format!("127.0.0.1:{}", collector.http);
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // One span of the service "cart" with this end.
    let span = |end: u64| {
        let mut body = b"\x0a\x27\x0a\x18\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04cart\x12\x0b\x12\x09\x41".to_vec();
        body.extend((end * 1_000_000_000).to_le_bytes());
        body
    };
    assert_eq!(http_request(&address, POST, &span(seconds - 86_400)).0, 200, "an old span");
    assert_eq!(collector.lines_with("OC712"), 0, "{}", collector.process.log_text());
    let collector = self::collector("mistake-future-2", "nop", "{}");
    let address = format!("127.0.0.1:{}", collector.http);
    for _ in 0..3 {
        assert_eq!(http_request(&address, POST, &span(seconds + 7200)).0, 200);
    }
    collector.wait_for("OC712");
    let log = collector.process.log_text();
    assert_eq!(collector.lines_with("OC712"), 1, "{log}");
    assert!(log.contains("\"service\": \"cart\"") || log.contains("\"service\":\"cart\""), "{log}");
}

#[test]
fn client_with_tls_at_a_plaintext_port_is_named_at_the_receiver() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = collector(&format!("mistake-tls-client-{}", protocol.len()), "nop", "{}");
        let port = if protocol == "grpc" { collector.grpc } else { collector.http };
        for _ in 0..2 {
            let endpoint = format!("--endpoint=https://127.0.0.1:{port}");
            let mut command = Command::new(otelcore());
            let output =
                command.args(["send", "traces", &format!("--protocol={protocol}"), &endpoint]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("Hint: The exporter speaks TLS, and what answers does not"), "{protocol}: {text}");
        }
        collector.wait_for("OC721");
        let log = collector.process.log_text();
        assert_eq!(log.matches("A client speaks TLS to this port, which does not").count(), 1, "{protocol}: {log}");
    }
}

#[test]
fn plaintext_client_of_a_port_with_tls_is_named_once_on_both_sides() {
    let folder = empty_test_dir("mistake-tls-port");
    let pki = pki::Pki::new(&folder);
    for (server, protocol) in [("http", "http/protobuf"), ("grpc", "grpc")] {
        check_plaintext_client(&folder, &pki, server, protocol);
    }
}

fn check_plaintext_client(folder: &std::path::Path, pki: &pki::Pki, server: &str, protocol: &str) {
    let port = free_port();
    let text = format!(
        "receivers: {{otlp: {{protocols: {{{server}: {{endpoint: \"127.0.0.1:{port}\", tls: {}}}}}}}}}\n\
         exporters: {{nop: }}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n",
        pki.server(false)
    );
    let path = folder.join(format!("{server}.yaml"));
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(otelcore());
    let log = folder.join(format!("{server}.log"));
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &log);
    wait_for_listener(&format!("127.0.0.1:{port}"), &mut process);
    for _ in 0..2 {
        let endpoint = format!("--endpoint=http://127.0.0.1:{port}");
        let mut command = Command::new(otelcore());
        let output = command.args(["send", "traces", &format!("--protocol={protocol}"), &endpoint]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("Hint: The exporter does not speak TLS, and what answers does"), "{protocol}: {text}");
    }
    let log = process.log_text();
    assert_eq!(log.matches("A client does not speak TLS to this port").count(), 1, "{log}");
}

#[test]
fn mistakes_that_the_configuration_shows_are_errors_with_what_to_write() {
    let validate = |receiver: &str, exporter: &str| {
        let config = format!(
            "--config=yaml:{{receivers: {{otlp: {receiver}}}, exporters: {{otlp_http: {exporter}}}, service: {{pipelines: {{traces: \
             {{receivers: [otlp], exporters: [otlp_http]}}}}}}}}"
        );
        let output = Command::new(otelcore()).args(["validate", &config]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (receiver, exporter) = ("{protocols: {grpc: }}", "{endpoint: 'http://localhost:4318'}");
    assert_eq!(validate(receiver, exporter), "");
    for (receiver, exporter, help) in [
        ("", exporter, "write `protocols:` with `grpc:` or `http:` in it"),
        ("{protocols: {grpc: {endpoint: 'http://0.0.0.0:4317'}}}", exporter, "write `endpoint: \"host:port\"`"),
        (receiver, "{endpoint: 'localhost:4318'}", "write `http://host:4318` or `https://...`"),
        (
            receiver,
            "{endpoint: 'http://a:1', headers: {authorization: \"a\\nb\"}}",
            "has characters that a header can't have",
        ),
    ] {
        let text = validate(receiver, exporter);
        assert!(text.contains(help), "{text}");
    }
}

#[test]
fn send_says_what_its_errors_point_to() {
    let port = server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let endpoint = format!("--endpoint=http://127.0.0.1:{port}");
    let mut command = Command::new(otelcore());
    let output = command.args(["send", "logs", "--protocol=http/protobuf", &endpoint]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(1) && text.contains("Hint: The destination does not know the path"), "{text}");
}
