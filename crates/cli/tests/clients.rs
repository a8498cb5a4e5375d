//! Clients from the command line, curl, grpcurl and telemetrygen, against the binary: what they send arrives, and a
//! wrong request gets a response with the status, type and body of the Go collector.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/pki.rs"]
mod pki;
#[path = "support/sink.rs"]
mod sink;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use pki::Pki;
use prost::Message;
use serde_json::{Value, json};
use sink::OtlpHttpBackend;
use support::*;

/// A collector with plain and TLS ports that forwards everything unchanged.
struct TestCollector {
    process: Process,
    sink: OtlpHttpBackend,
    pki: Pki,
    dir: PathBuf,
    grpc: u16,
    http: u16,
    grpc_tls: u16,
    http_tls: u16,
    grpc_mutual: u16,
    http_mutual: u16,
}

impl TestCollector {
    fn start(name: &str) -> Self {
        let dir = empty_test_dir(name);
        let pki = Pki::new(&dir);
        let sink = OtlpHttpBackend::start();
        let [grpc, http, grpc_tls, http_tls, grpc_mutual, http_mutual] = std::array::from_fn(|_| free_port());
        let cors = "cors: {allowed_origins: [\"https://*.example.com\"], allowed_headers: [x-team], max_age: 600}";
        let receiver = |name: &str, grpc: u16, http: u16, more: &str| {
            format!(
                "  otlp/{name}: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"{more}}}, http: {{endpoint: \"127.0.0.1:{http}\", {cors}{more}}}}}}}\n"
            )
        };
        let pipeline = "{receivers: [otlp/plain, otlp/tls, otlp/mutual], exporters: [otlp_http]}";
        let text = format!(
            "receivers:\n{}{}{}exporters:
  otlp_http: {{endpoint: \"http://127.0.0.1:{}\", compression: none}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {pipeline}, metrics: {pipeline}, logs: {pipeline}}}
",
            receiver("plain", grpc, http, ""),
            receiver("tls", grpc_tls, http_tls, &format!(", tls: {}", pki.server(false))),
            receiver("mutual", grpc_mutual, http_mutual, &format!(", tls: {}", pki.server(true))),
            sink.port,
        );
        let path = dir.join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let mut collector =
            Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
        for port in [grpc, http, grpc_tls, http_tls, grpc_mutual, http_mutual] {
            wait_for_listener(&format!("127.0.0.1:{port}"), &mut collector);
        }
        Self { process: collector, sink, pki, dir, grpc, http, grpc_tls, http_tls, grpc_mutual, http_mutual }
    }

    fn file(&self, name: &str) -> String {
        self.pki.path(name).display().to_string()
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.dir.join(name), bytes).unwrap();
        self.dir.join(name).display().to_string()
    }

    /// The exported items, as soon as there are `count` of them.
    fn wait_for_items(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut items = self.sink.take();
        while items.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} came:\n{}", items.len(), self.process.log_text());
            std::thread::sleep(Duration::from_millis(5));
            items.extend(self.sink.take());
        }
        assert_eq!(items.len(), count, "{items:#?}");
        items
    }

    /// Exactly one span was exported, and its name is this.
    fn expect_one_span(&self, name: &str) {
        assert_eq!(self.wait_for_items(1)[0]["name"], name);
    }

    fn end(mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.wait_for_exit(Duration::from_secs(20)), 0, "{}", self.process.log_text());
        assert!(self.sink.take().is_empty(), "something came twice");
    }
}

/// The result of a run of curl.
#[derive(Debug)]
struct CurlResult {
    /// Zero is success.
    exit: i32,
    status: u16,
    version: String,
    content_type: String,
    /// The heads of all responses, interim ones too.
    head: String,
    body: Vec<u8>,
    text: String,
}

impl TestCollector {
    fn curl(&self, args: &[&str]) -> CurlResult {
        let [body, head] = ["curl.body", "curl.head"].map(|name| self.dir.join(name));
        for path in [&body, &head] {
            let _ = std::fs::remove_file(path);
        }
        let output = Command::new("curl")
            .args([
                "-q",
                "-sS",
                "--max-time",
                "30",
                "--noproxy",
                "*",
                "-w",
                "%{http_code}|%{http_version}|%{content_type}",
            ])
            .arg("-o")
            .arg(&body)
            .arg("-D")
            .arg(&head)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let written_out = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut parts = written_out.split('|').map(str::to_owned);
        CurlResult {
            exit: output.status.code().unwrap_or(-1),
            status: parts.next().and_then(|s| s.parse().ok()).unwrap_or(0),
            version: parts.next().unwrap_or_default(),
            content_type: parts.next().unwrap_or_default(),
            head: std::fs::read_to_string(head).unwrap_or_default(),
            body: std::fs::read(body).unwrap_or_default(),
            text: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// POSTs a file to the plain port.
    fn post(&self, path: &str, headers: &[&str], file: &str) -> CurlResult {
        let (url, data) = (format!("http://127.0.0.1:{}{path}", self.http), format!("@{file}"));
        let mut args = vec!["--data-binary", &data];
        for header in headers {
            args.extend(["-H", header]);
        }
        args.push(&url);
        self.curl(&args)
    }
}

const PROTOBUF: &str = "Content-Type: application/x-protobuf";
const JSON: &str = "Content-Type: application/json";
const STATUS: &str = "application/x-protobuf";

/// A request with one span.
fn span_request(name: &str) -> Vec<u8> {
    let span = Span { name: name.to_owned(), trace_id: vec![7; 16], span_id: vec![8; 8], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn span_request_json(name: &str) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": name, "traceId": "07".repeat(16), "spanId": "08".repeat(8), "kind": "SPAN_KIND_SERVER"}]}]}]}).to_string()
}

/// `google.rpc.Status`: its code and message, from protobuf.
fn decode_status(body: &[u8]) -> (i32, String) {
    #[derive(Clone, PartialEq, Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    let status = Status::decode(body).unwrap();
    (status.code, status.message)
}

fn has_curl() -> bool {
    tool("curl").is_some()
}

#[test]
fn request_arrives_with_every_compression_in_both_encodings() {
    if !has_curl() {
        return;
    }
    let collector = TestCollector::start("clients-codings");
    for (encoding, header, good) in
        [("protobuf", PROTOBUF, &b"\x0a\x00"[..]), ("json", JSON, br#"{"partialSuccess":{}}"#)]
    {
        for coding in ["", "gzip", "zlib", "deflate", "zstd", "snappy", "snappy block", "x-snappy-framed", "lz4"] {
            let name = format!("größe {encoding} {coding}");
            let plain = if encoding == "json" { span_request_json(&name).into_bytes() } else { span_request(&name) };
            let Some(body) = compress(coding, &plain) else { continue };
            let file = collector.write_file("body", &body);
            let written = format!("Content-Encoding: {}", coding.split(' ').next().unwrap());
            let headers = if coding.is_empty() { vec![header] } else { vec![header, &written] };
            let response = collector.post("/v1/traces", &headers, &file);
            let content_type = header.strip_prefix("Content-Type: ").unwrap();
            assert_eq!(
                (response.status, response.content_type.as_str(), &response.body[..]),
                (200, content_type, good),
                "{name}: {response:?}"
            );
            collector.expect_one_span(&name);
        }
    }
    collector.end();
}

fn compress(coding: &str, plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match coding {
        "" => out.extend(plain),
        "gzip" => {
            flate2::read::GzEncoder::new(plain, flate2::Compression::default()).read_to_end(&mut out).unwrap();
        }
        "zlib" | "deflate" => {
            flate2::read::ZlibEncoder::new(plain, flate2::Compression::default()).read_to_end(&mut out).unwrap();
        }
        "zstd" => {
            out.resize(zstd_safe::compress_bound(plain.len()), 0);
            let length = zstd_safe::compress(&mut out[..], plain, 3).unwrap();
            out.truncate(length);
        }
        "snappy block" => out = snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        "snappy" | "x-snappy-framed" => {
            snap::read::FrameEncoder::new(plain).read_to_end(&mut out).unwrap();
        }
        _ => {
            let Ok(mut lz4) =
                Command::new("lz4").args(["-c", "-q"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
            else {
                eprintln!("skipped: lz4 as a coding: there is no lz4 to make it");
                return None;
            };
            lz4.stdin.take().unwrap().write_all(plain).unwrap();
            out = lz4.wait_with_output().unwrap().stdout;
        }
    }
    Some(out)
}

#[test]
fn wrong_http_request_gets_the_response_of_the_go_collector() {
    if !has_curl() {
        return;
    }
    let collector = TestCollector::start("clients-wrong");
    let good = collector.write_file("good", &span_request("good"));
    let expect_text_response = |method: &[&str], path: &str, headers: &[&str], status: u16, body: &str| {
        let url = format!("http://127.0.0.1:{}{path}", collector.http);
        let mut args = method.to_vec();
        for header in headers {
            args.extend(["-H", header]);
        }
        args.push(&url);
        let response = collector.curl(&args);
        let plain = response.content_type.starts_with("text/plain");
        let text = String::from_utf8_lossy(&response.body).trim_end().to_owned();
        assert_eq!((response.status, plain, text.as_str()), (status, true, body), "{args:?}: {response:?}");
    };
    let data = ["--data-binary", &format!("@{good}")];
    for method in ["GET", "PUT", "DELETE"] {
        expect_text_response(&["-X", method], "/v1/traces", &[], 405, "405 method not allowed, supported: [POST]");
    }
    let media = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
    for kind in ["Content-Type: text/plain", "Content-Type: application/protobuf", "Content-Type:", "Content-Type: ;"] {
        expect_text_response(&data, "/v1/traces", &[kind], 415, media);
    }
    for path in ["/", "/v1/trace", "/v1/traces/", "/v1/profiles", "/V1/traces"] {
        expect_text_response(&data, path, &[PROTOBUF], 404, "404 page not found");
    }

    let broken = collector.write_file("broken", b"\x0a\x7f");
    let half = compress("gzip", &span_request("half")).unwrap();
    let half_gzip = collector.write_file("half", &half[..half.len() / 2]);
    let large = collector.write_file("large", &vec![0; 20 * 1024 * 1024 + 1]);
    let bomb = collector.write_file("bomb", &compress("gzip", &vec![b' '; 21 * 1024 * 1024]).unwrap());
    let not_json = collector.write_file("zzz", b"zzz");
    let half_json = collector.write_file("half.json", &span_request_json("half").as_bytes()[..40]);
    let empty = collector.write_file("empty", b"");
    for (headers, file, message) in [
        (&["Content-Encoding: br"][..], &good, "unsupported Content-Encoding: br"),
        (&["Content-Encoding: GZIP"], &good, "unsupported Content-Encoding: GZIP"),
        (&["Content-Encoding: gzip"], &good, "gzip"),
        (&["Content-Encoding: gzip"], &half_gzip, "unexpected EOF"),
        (&["Content-Encoding: gzip"], &bomb, "http: request body too large"),
        (&[], &large, "http: request body too large"),
        (&[], &broken, "unexpected EOF"),
    ] {
        let response = collector.post("/v1/traces", &[&[PROTOBUF], headers].concat(), file);
        assert_eq!(
            (response.status, response.content_type.as_str()),
            (400, STATUS),
            "{headers:?} {file}: {response:?}"
        );
        let (code, text) = decode_status(&response.body);
        assert!(code == 3 && text.contains(message), "{headers:?} {file}: {code} {text}");
    }
    for (headers, file, message) in [
        (&["Content-Encoding: br"][..], &good, "unsupported Content-Encoding: br"),
        (&[], &not_json, "expected an object, found 'z'"),
        (&[], &half_json, ""),
        (&[], &empty, ""),
        (&["Content-Encoding: gzip"], &bomb, "http: request body too large"),
    ] {
        let response = collector.post("/v1/traces", &[&[JSON], headers].concat(), file);
        assert_eq!(
            (response.status, response.content_type.as_str()),
            (400, "application/json"),
            "{file}: {response:?}"
        );
        let status: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(status["code"], 3, "{status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{headers:?} {file}: {status}");
    }
    // After all that it still accepts a correct request, here with a parameter in the content type.
    let json = collector.write_file("good.json", span_request_json("after").as_bytes());
    let response = collector.post("/v1/traces", &["Content-Type: application/json; charset=utf-8"], &json);
    assert_eq!(response.status, 200, "{response:?}");
    collector.expect_one_span("after");
    collector.end();
}

#[test]
fn http_1_1_chunked_expect_keep_alive_and_pipelined_requests_arrive() {
    if !has_curl() {
        return;
    }
    let collector = TestCollector::start("clients-http1");
    let file = collector.write_file("body", &span_request("chunked"));
    let response = collector.post("/v1/traces", &[PROTOBUF, "Transfer-Encoding: chunked"], &file);
    assert_eq!(response.status, 200, "{response:?}");
    collector.expect_one_span("chunked");

    let file = collector.write_file("body", &span_request("expected"));
    let response = collector.post("/v1/traces", &[PROTOBUF, "Expect: 100-continue"], &file);
    assert_eq!((response.status, response.head.starts_with("HTTP/1.1 100 Continue\r\n")), (200, true), "{response:?}");
    collector.expect_one_span("expected");
    // A client that sends `Expect` and a length above the limit is refused before it sends the body.
    let large = collector.write_file("large", &vec![0; 21 * 1024 * 1024]);
    let response = collector.post("/v1/traces", &[PROTOBUF, "Expect: 100-continue"], &large);
    assert!(response.status == 400 && !response.head.contains("100 Continue"), "{response:?}");

    // Two requests on one connection.
    let url = format!("http://127.0.0.1:{}/v1/traces", collector.http);
    let data = format!("@{}", collector.write_file("body", &span_request("kept")));
    let output = Command::new("curl")
        .args(["-q", "-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{num_connects} ", "-H", PROTOBUF])
        .args(["--data-binary", &data, &url, "-o", "/dev/null", &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 0 ", "{output:?}");
    collector.wait_for_items(2);

    // Ten at once, before the first response is read.
    let mut stream = TcpStream::connect(("127.0.0.1", collector.http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut all = Vec::new();
    for i in 0..10 {
        let body = span_request(&format!("pipelined {i}"));
        let close = if i == 9 { "Connection: close\r\n" } else { "" };
        write!(
            all,
            "POST /v1/traces HTTP/1.1\r\nHost: x\r\n{PROTOBUF}\r\n{close}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        all.extend(body);
    }
    stream.write_all(&all).unwrap();
    let mut responses = Vec::new();
    stream.read_to_end(&mut responses).unwrap();
    assert_eq!(String::from_utf8_lossy(&responses).matches("HTTP/1.1 200 OK\r\n").count(), 10);
    let mut names: Vec<_> =
        collector.wait_for_items(10).iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 10, "{names:?}");
    collector.end();
}

#[test]
fn cors_allows_only_configured_origins() {
    if !has_curl() {
        return;
    }
    let collector = TestCollector::start("clients-cors");
    let url = format!("http://127.0.0.1:{}/v1/traces", collector.http);
    let preflight = |origin: &str, headers: &str| {
        let [origin, headers] = [format!("Origin: {origin}"), format!("Access-Control-Request-Headers: {headers}")];
        let method = "Access-Control-Request-Method: POST";
        let response = collector.curl(&["-X", "OPTIONS", "-H", &origin, "-H", method, "-H", &headers, &url]);
        assert_eq!(response.status, 204, "{response:?}");
        response.head.to_ascii_lowercase()
    };
    let head = preflight("https://app.example.com", "x-team");
    for line in [
        "access-control-allow-origin: https://app.example.com\r\n",
        "access-control-allow-methods: post\r\n",
        "access-control-allow-headers: x-team\r\n",
        "access-control-allow-credentials: true\r\n",
        "access-control-max-age: 600\r\n",
        "vary: origin",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    for (origin, headers) in [("https://example.org", "x-team"), ("https://app.example.com", "x-other")] {
        assert!(!preflight(origin, headers).contains("access-control-allow-"), "{origin} {headers}");
    }
    let file = collector.write_file("body", span_request_json("from a page").as_bytes());
    let response = collector.post("/v1/traces", &[JSON, "Origin: https://app.example.com"], &file);
    let head = response.head.to_ascii_lowercase();
    assert!(response.status == 200 && head.contains("allow-origin: https://app.example.com\r\n"), "{response:?}");
    collector.expect_one_span("from a page");
    collector.end();
}

#[test]
fn tls_versions_and_alpn_protocols_are_accepted_and_unknown_clients_refused() {
    if !has_curl() {
        return;
    }
    let collector = TestCollector::start("clients-tls");
    let ca = collector.file("ca.pem");
    let data = format!("@{}", collector.write_file("body", &span_request("over TLS")));
    let base = ["--data-binary", &data, "-H", PROTOBUF];
    let url = format!("https://localhost:{}/v1/traces", collector.http_tls);
    for (flags, version) in [
        (&["--http2"][..], "2"),
        (&["--http1.1"], "1.1"),
        (&["--no-alpn"], "1.1"),
        (&["--http2", "--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--http2", "--tlsv1.3"], "2"),
    ] {
        let response = collector.curl(&[&base[..], &["--cacert", &ca], flags, &[&url]].concat());
        assert_eq!((response.status, response.version.as_str()), (200, version), "{flags:?}: {response:?}");
        collector.expect_one_span("over TLS");
    }
    // Over HTTP/2 errors are reported as over HTTP/1.1.
    let response = collector.curl(&["--http2", "--cacert", &ca, &url]);
    assert_eq!((response.status, response.version.as_str()), (405, "2"), "{response:?}");
    assert_eq!(response.body, b"405 method not allowed, supported: [POST]");
    // TLS 1.1, and an unknown authority.
    for (flags, url) in [
        (&["--cacert", &ca, "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"][..], url.as_str()),
        (&[], &url),
    ] {
        let response = collector.curl(&[&base[..], flags, &[url]].concat());
        assert!(response.exit != 0 && response.status == 0, "{flags:?} {url}: {response:?}");
    }
    // Plaintext on a TLS port, with a short body and with one that is still being sent when it is refused.
    let plain = format!("http://localhost:{}/v1/traces", collector.http_tls);
    let long = format!("@{}", collector.write_file("long", &vec![0; 1 << 18]));
    for data in [&data, &long] {
        let response = collector.curl(&["--data-binary", data, "-H", PROTOBUF, "-H", "Expect:", &plain]);
        assert_eq!((response.exit, response.status, response.version.as_str()), (0, 400, "1"), "{response:?}");
        assert_eq!(response.head, "HTTP/1.0 400 Bad Request\r\n\r\n");
        assert_eq!(response.body, b"Client sent an HTTP request to an HTTPS server.\n");
    }
    // TLS on a plaintext port is refused at once, in plaintext: curl reports a failed handshake and not a timeout.
    let wrong = format!("https://localhost:{}/v1/traces", collector.http);
    let response = collector.curl(&[&base[..], &["-k", &wrong]].concat());
    assert_eq!((response.exit, response.status), (35, 0), "{response:?}");

    let url = format!("https://localhost:{}/v1/traces", collector.http_mutual);
    let other = empty_test_dir("clients-tls-other");
    let other_pki = Pki::new(&other);
    let [key, cert] = ["client.key", "client.pem"].map(|f| other_pki.path(f).display().to_string());
    let own = [collector.file("client.key"), collector.file("client.pem")];
    for version in ["--http1.1", "--http2"] {
        for max in ["1.2", "1.3"] {
            let flags = [version, "--tls-max", max, "--cacert", &ca];
            let with = |key: &str, cert: &str| {
                collector.curl(&[&base[..], &flags, &["--key", key, "--cert", cert, &url]].concat())
            };
            let response = with(&own[0], &own[1]);
            assert_eq!(response.status, 200, "{flags:?}: {response:?}");
            collector.expect_one_span("over TLS");
            let without_certificate = collector.curl(&[&base[..], &flags, &[&url]].concat());
            let with_other_certificate = with(&key, &cert);
            for refused in [without_certificate, with_other_certificate] {
                assert!(refused.exit != 0 && refused.status == 0, "{flags:?}: {refused:?}");
                // With TLS 1.3 the client has finished its handshake before it is refused: its data arrives at a closed
                // connection, and the kernel's reset may arrive before the alert is read.
                let alert = refused.text.contains("alert") || max == "1.3";
                assert!(alert, "the reason is in the response: {flags:?}: {refused:?}");
            }
        }
    }
    collector.end();
}

/// The common name of the certificate that a port shows.
fn server_common_name(collector: &TestCollector, port: u16) -> String {
    let response =
        collector.curl(&["-v", "--cacert", &collector.file("ca.pem"), &format!("https://localhost:{port}/")]);
    let line = response.text.lines().find(|l| l.contains("subject: ")).unwrap_or_else(|| panic!("{response:?}"));
    line.rsplit("CN=").next().unwrap().trim().to_owned()
}

#[test]
fn replaced_certificate_is_served_without_a_restart() {
    if !has_curl() {
        return;
    }
    let collector = TestCollector::start("clients-reload");
    let ports = [collector.http_tls, collector.grpc_tls];
    for port in ports {
        assert_eq!(server_common_name(&collector, port), "first");
    }
    // With half a certificate the old one stays in use, and also with a key that does not belong to it.
    let old = std::fs::read(collector.pki.path("server.pem")).unwrap();
    std::fs::write(collector.pki.path("server.pem"), &old[..old.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    for port in ports {
        assert_eq!(server_common_name(&collector, port), "first");
    }
    assert!(collector.process.log_text().contains("the old ones stay"), "{}", collector.process.log_text());
    collector.pki.issue("server", "second");
    for port in ports {
        wait_until("the second certificate", || (server_common_name(&collector, port) == "second").then(String::new));
    }
    collector.end();
}

#[test]
fn telemetrygen_sends_every_signal_over_every_transport() {
    let Some(tool) = tool("telemetrygen") else { return };
    let collector = TestCollector::start("clients-telemetrygen");
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|f| collector.file(f));
    let plain = vec!["--otlp-insecure"];
    let tls = vec!["--ca-cert", &ca];
    let mutual = vec!["--ca-cert", &ca, "--mtls", "--client-cert", &cert, "--client-key", &key];
    for (port, http, secure) in [
        (collector.grpc, false, &plain),
        (collector.http, true, &plain),
        (collector.grpc_tls, false, &tls),
        (collector.http_tls, true, &tls),
        (collector.grpc_mutual, false, &mutual),
        (collector.http_mutual, true, &mutual),
    ] {
        for (signal, count, items) in [("traces", "--traces", 10), ("metrics", "--metrics", 5), ("logs", "--logs", 5)] {
            let mut command = Command::new(&tool);
            command.args([signal, count, "5", "--rate", "0", "--otlp-endpoint", &format!("localhost:{port}")]);
            command.args(secure);
            if http {
                command.args(["--otlp-http", "--otlp-http-url-path", &format!("/v1/{signal}")]);
            }
            let mut process = Process::start(&mut command, &collector.dir.join("telemetrygen.log"));
            let code = process.wait_for_exit(Duration::from_secs(30));
            assert_eq!(code, 0, "{command:?}:\n{}", process.log_text());
            collector.wait_for_items(items);
        }
    }
    collector.end();
}

#[test]
fn grpcurl_sends_a_span_and_gets_error_statuses() {
    let Some(tool) = tool("grpcurl") else { return };
    let collector = TestCollector::start("clients-grpcurl");
    let proto = project_root().join("tests/tools/grpcurl");
    let service = "opentelemetry.proto.collector.trace.v1.TraceService";
    let data = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "größe"}}]},
        "scopeSpans": [{"spans": [{
            "name": "by hand", "traceId": "AAECAwQFBgcICQoLDA0ODw==", "spanId": "AAECAwQFBgc=", "kind": 2,
            "startTimeUnixNano": "1700000000000000000", "attributes": [{"key": "n", "value": {"intValue": "-5"}}],
        }]}],
    }]})
    .to_string();
    let call = |flags: &[&str], port: u16, method: &str, data: &str| -> Output {
        let mut command = Command::new(&tool);
        command.args(["-max-time", "20", "-import-path"]).arg(&proto).args(["-proto", "otlp.proto"]).args(flags);
        command.args(["-d", data, &format!("localhost:{port}"), &format!("{service}/{method}")]);
        command.output().unwrap()
    };
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|f| collector.file(f));
    let transports = [
        (vec!["-plaintext"], collector.grpc),
        (vec!["-cacert", &ca], collector.grpc_tls),
        (vec!["-cacert", &ca, "-cert", &cert, "-key", &key], collector.grpc_mutual),
    ];
    for (flags, port) in &transports {
        let output = call(flags, *port, "Export", &data);
        assert!(output.status.success(), "{flags:?}: {output:?}");
        let response: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(response.is_object(), "{response}");
        let received = collector.wait_for_items(1);
        let sent = json!({
            "name": "by hand", "trace_id": "000102030405060708090a0b0c0d0e0f", "span_id": "0001020304050607", "kind": 2,
            "start": "1700000000000000000", "end": "0", "attributes": {"n": {"i": "-5"}},
            "resource": {"service.name": {"s": "größe"}},
        });
        assert_eq!(sink::first_difference(&sent, &received[0]), None, "{received:?}");
    }
    let stderr_of = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let missing = call(&["-plaintext"], collector.grpc, "Missing", "{}");
    assert!(stderr_of(&missing).contains("Code: Unimplemented"), "{missing:?}");
    assert!(stderr_of(&missing).contains("unknown method Missing for service"), "{missing:?}");
    // A trace id of three bytes is not valid.
    let bad = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"AAEC"}]}]}]}"#;
    let refused = call(&["-plaintext"], collector.grpc, "Export", bad);
    assert!(
        stderr_of(&refused).contains("Code: Internal") && stderr_of(&refused).contains("invalid TraceID length"),
        "{refused:?}"
    );
    let without_certificate = call(&["-cacert", &ca], collector.grpc_mutual, "Export", &data);
    assert!(!without_certificate.status.success(), "without a client's certificate: {without_certificate:?}");
    collector.end();
}
