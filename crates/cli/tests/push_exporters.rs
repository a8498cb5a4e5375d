//! The exporters `prometheus_remote_write` and `loki` in the binary, against a receiver with scripted responses: requests
//! that are refused for now, requests of which a part is written, and requests of tenants.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use support::*;

/// The head of a request, and its body, decompressed.
type Request = (String, Vec<u8>);

/// A receiver that answers with these responses, the last one again and again.
fn start_receiver(responses: &'static [&'static str]) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let received = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let received = received.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Some(request) = read_request(&mut reader) {
                    let at = {
                        let mut all = received.lock().unwrap();
                        all.push(request);
                        all.len() - 1
                    };
                    let response = responses.get(at).or_else(|| responses.last()).unwrap();
                    if stream.write_all(response.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, requests)
}

fn read_request(reader: &mut BufReader<std::net::TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head, snap::raw::Decoder::new().decompress_vec(&body).unwrap()))
}

/// A collector that pushes the metrics it gets to `address`.
fn start_collector(name: &str, address: &str, options: &str) -> (Process, String) {
    let exporter = format!("prometheus_remote_write: {{endpoint: \"http://{address}/api/v1/write\", {options}}}");
    start_with(name, "metrics", &exporter)
}

fn start_with(name: &str, signal: &str, exporter: &str) -> (Process, String) {
    let dir = empty_test_dir(name);
    let otlp = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "receivers:
  otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}
exporters:
  {exporter}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    {signal}: {{receivers: [otlp], exporters: [{id}]}}
",
        id = exporter.split(':').next().unwrap()
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, config).unwrap();
    let mut process =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&otlp, &mut process);
    (process, otlp)
}

/// Sends a gauge with two points.
fn send(otlp: &str, name: &str, time: u64) {
    let point = |key: &str| {
        format!(
            r#"{{"timeUnixNano":"{time}000000000","asDouble":1,"attributes":[{{"key":"k","value":{{"stringValue":"{key}"}}}}]}}"#
        )
    };
    let (a, b) = (point("a"), point("b"));
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"{name}","gauge":{{"dataPoints":[{a},{b}]}}}}]}}]}}]}}"#
    );
    let head = "POST /v1/metrics HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
    assert_eq!(http_request(otlp, head, body.as_bytes()).0, 200);
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
const SLOW_DOWN: &str = "HTTP/1.1 429 Slow Down\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
const WRITTEN: &str = "HTTP/1.1 204 OK\r\nX-Prometheus-Remote-Write-Samples-Written: 2\r\n\r\n";
const PARTLY: &str = "HTTP/1.1 400 Bad\r\nX-Prometheus-Remote-Write-Samples-Written: 1\r\nContent-Length: 20\r\n\r\nout of order samples";

#[test]
fn payloads_arrive_in_order_when_the_first_is_refused_for_now() {
    let (address, requests) = start_receiver(&[BUSY, SLOW_DOWN, BUSY, WRITTEN]);
    let (process, otlp) = start_collector("remote-write-order", &address, "");
    send(&otlp, "first", 1);
    send(&otlp, "second", 2);
    wait_until("all requests", || {
        let requests = requests.lock().unwrap();
        (requests.len() >= 5).then(String::new).or_else(|| process.log_text().contains("panicked").then(String::new))
    });
    let requests = requests.lock().unwrap();
    let contains = |body: &[u8], name: &str| body.windows(name.len()).any(|window| window == name.as_bytes());
    let names: Vec<_> = requests.iter().map(|(_, body)| contains(body, "first")).collect();
    assert_eq!(names, [true, true, true, true, false]);
    let head = requests[0].0.to_ascii_lowercase();
    for field in [
        "content-encoding: snappy\r\n",
        "content-type: application/x-protobuf\r\n",
        "x-prometheus-remote-write-version: 0.1.0\r\n",
    ] {
        assert!(head.contains(field), "{head}");
    }
}

#[test]
fn request_of_version_2_that_is_written_in_part_is_not_sent_again() {
    let (address, requests) = start_receiver(&[PARTLY, WRITTEN]);
    let options = "protobuf_message: io.prometheus.write.v2.Request";
    let (process, otlp) = start_collector("remote-write-part", &address, options);
    send(&otlp, "first", 1);
    wait_until("the warning", || {
        let log = process.log_text();
        log.contains("The remote write endpoint has written only a part of a request.").then_some(log)
    });
    send(&otlp, "second", 2);
    wait_until("the second request", || (requests.lock().unwrap().len() >= 2).then(String::new));
    let requests = requests.lock().unwrap();
    let head = requests[1].0.to_ascii_lowercase();
    for field in [
        "content-type: application/x-protobuf;proto=io.prometheus.write.v2.request\r\n",
        "x-prometheus-remote-write-version: 2.0.0\r\n",
    ] {
        assert!(head.contains(field), "{head}");
    }
    assert!(requests[1].1.windows(6).any(|window| window == b"second"));
    assert!(process.log_text().contains("out of order samples"));
}

#[test]
fn response_of_version_2_without_its_headers_is_reported() {
    let (address, _) = start_receiver(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
    let options = "protobuf_message: io.prometheus.write.v2.Request";
    let (process, otlp) = start_collector("remote-write-version-1", &address, options);
    send(&otlp, "first", 1);
    wait_until("the warning", || {
        let log = process.log_text();
        log.contains("suggesting that the endpoint doesn't support RW2").then_some(log)
    });
}

#[test]
fn log_records_of_two_tenants_arrive_as_streams_of_loki() {
    let (address, requests) = start_receiver(&[BUSY, "HTTP/1.1 204 No Content\r\n\r\n"]);
    let exporter = format!(
        "loki: {{endpoint: \"http://{address}/loki/api/v1/push\", retry_on_failure: {{initial_interval: 10ms}}}}"
    );
    let (process, otlp) = start_with("loki-tenants", "logs", &exporter);
    let record = |tenant: &str| {
        format!(
            r#"{{"severityNumber":9,"body":{{"stringValue":"hello"}},"attributes":[{{"key":"loki.tenant","value":{{"stringValue":"t"}}}},
            {{"key":"t","value":{{"stringValue":"{tenant}"}}}}]}}"#
        )
    };
    let (a, b) = (record("tenant-a"), record("tenant-b"));
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{a},{b}]}}]}}]}}"#);
    let head = "POST /v1/logs HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
    assert_eq!(http_request(&otlp, head, body.as_bytes()).0, 200);
    wait_until("both tenants", || (requests.lock().unwrap().len() >= 3).then(String::new));
    let requests = requests.lock().unwrap();
    let of_tenant = |tenant: &str| {
        let field = format!("x-scope-orgid: {tenant}\r\n");
        requests.iter().filter(|(head, _)| head.to_ascii_lowercase().contains(&field)).count()
    };
    assert_eq!(
        (of_tenant("tenant-a") + of_tenant("tenant-b"), of_tenant("tenant-a").min(of_tenant("tenant-b"))),
        (3, 1)
    );
    let labels = br#"{exporter="OTLP", level="INFO"}"#;
    assert!(requests.iter().all(|(_, body)| body.windows(labels.len()).any(|window| window == labels)));
    assert!(process.log_text().contains("Loki accepts OTLP since version 3"));
}
