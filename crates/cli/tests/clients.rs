//! Clients from the command line, curl, grpcurl and telemetrygen, against the binary: what they send arrives, and a
//! wrong request is answered with the status, type and body of the Go collector.
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
use sink::Sink;
use support::*;

/// A collector with plain and TLS ports that forwards everything unchanged.
struct Scene {
    collector: Process,
    sink: Sink,
    pki: Pki,
    dir: PathBuf,
    grpc: u16,
    http: u16,
    grpc_tls: u16,
    http_tls: u16,
    grpc_mutual: u16,
    http_mutual: u16,
}

impl Scene {
    fn start(name: &str) -> Self {
        let dir = folder(name);
        let pki = Pki::new(&dir);
        let sink = Sink::start();
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
            wait_for(&format!("127.0.0.1:{port}"), &mut collector);
        }
        Self { collector, sink, pki, dir, grpc, http, grpc_tls, http_tls, grpc_mutual, http_mutual }
    }

    fn file(&self, name: &str) -> String {
        self.pki.path(name).display().to_string()
    }

    fn written(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.dir.join(name), bytes).unwrap();
        self.dir.join(name).display().to_string()
    }

    /// The exported items, as soon as there are `count` of them.
    fn came(&self, count: usize) -> Vec<Value> {
        let end = Instant::now() + Duration::from_secs(20);
        let mut came = self.sink.take();
        while came.len() < count {
            assert!(Instant::now() < end, "{} of {count} came:\n{}", came.len(), self.collector.said());
            std::thread::sleep(Duration::from_millis(5));
            came.extend(self.sink.take());
        }
        assert_eq!(came.len(), count, "{came:#?}");
        came
    }

    /// Exactly one span was exported, and its name is this.
    fn one_came(&self, name: &str) {
        assert_eq!(self.came(1)[0]["name"], name);
    }

    fn end(mut self) {
        self.collector.signal("TERM");
        assert_eq!(self.collector.end(Duration::from_secs(20)), 0, "{}", self.collector.said());
        assert!(self.sink.take().is_empty(), "something came twice");
    }
}

/// The result of a run of curl.
#[derive(Debug)]
struct Answer {
    /// Zero is success.
    exit: i32,
    status: u16,
    version: String,
    content_type: String,
    /// The heads of all responses, interim ones too.
    head: String,
    body: Vec<u8>,
    said: String,
}

impl Scene {
    fn curl(&self, args: &[&str]) -> Answer {
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
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut parts = told.split('|').map(str::to_owned);
        Answer {
            exit: output.status.code().unwrap_or(-1),
            status: parts.next().and_then(|s| s.parse().ok()).unwrap_or(0),
            version: parts.next().unwrap_or_default(),
            content_type: parts.next().unwrap_or_default(),
            head: std::fs::read_to_string(head).unwrap_or_default(),
            body: std::fs::read(body).unwrap_or_default(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// POSTs a file to the plain port.
    fn post(&self, path: &str, headers: &[&str], file: &str) -> Answer {
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
fn span(name: &str) -> Vec<u8> {
    let span = Span { name: name.to_owned(), trace_id: vec![7; 16], span_id: vec![8; 8], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn span_json(name: &str) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"name": name, "traceId": "07".repeat(16), "spanId": "08".repeat(8), "kind": "SPAN_KIND_SERVER"}]}]}]}).to_string()
}

/// `google.rpc.Status`: its code and message, from protobuf.
fn status_of(body: &[u8]) -> (i32, String) {
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
fn a_body_arrives_in_every_coding_and_both_encodings() {
    if !has_curl() {
        return;
    }
    let scene = Scene::start("clients-codings");
    for (encoding, header, good) in
        [("protobuf", PROTOBUF, &b"\x0a\x00"[..]), ("json", JSON, br#"{"partialSuccess":{}}"#)]
    {
        for coding in ["", "gzip", "zlib", "deflate", "zstd", "snappy", "snappy block", "x-snappy-framed", "lz4"] {
            let name = format!("größe {encoding} {coding}");
            let plain = if encoding == "json" { span_json(&name).into_bytes() } else { span(&name) };
            let Some(body) = coded(coding, &plain) else { continue };
            let file = scene.written("body", &body);
            let written = format!("Content-Encoding: {}", coding.split(' ').next().unwrap());
            let headers = if coding.is_empty() { vec![header] } else { vec![header, &written] };
            let answer = scene.post("/v1/traces", &headers, &file);
            let content_type = header.strip_prefix("Content-Type: ").unwrap();
            assert_eq!(
                (answer.status, answer.content_type.as_str(), &answer.body[..]),
                (200, content_type, good),
                "{name}: {answer:?}"
            );
            scene.one_came(&name);
        }
    }
    scene.end();
}

fn coded(coding: &str, plain: &[u8]) -> Option<Vec<u8>> {
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
fn what_is_wrong_with_a_request_is_told_as_the_go_collector_does() {
    if !has_curl() {
        return;
    }
    let scene = Scene::start("clients-wrong");
    let good = scene.written("good", &span("good"));
    let text = |method: &[&str], path: &str, headers: &[&str], status: u16, body: &str| {
        let url = format!("http://127.0.0.1:{}{path}", scene.http);
        let mut args = method.to_vec();
        for header in headers {
            args.extend(["-H", header]);
        }
        args.push(&url);
        let answer = scene.curl(&args);
        let plain = answer.content_type.starts_with("text/plain");
        let said = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
        assert_eq!((answer.status, plain, said.as_str()), (status, true, body), "{args:?}: {answer:?}");
    };
    let data = ["--data-binary", &format!("@{good}")];
    for method in ["GET", "PUT", "DELETE"] {
        text(&["-X", method], "/v1/traces", &[], 405, "405 method not allowed, supported: [POST]");
    }
    let media = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
    for kind in ["Content-Type: text/plain", "Content-Type: application/protobuf", "Content-Type:", "Content-Type: ;"] {
        text(&data, "/v1/traces", &[kind], 415, media);
    }
    for path in ["/", "/v1/trace", "/v1/traces/", "/v1/profiles", "/V1/traces"] {
        text(&data, path, &[PROTOBUF], 404, "404 page not found");
    }

    let broken = scene.written("broken", b"\x0a\x7f");
    let half = coded("gzip", &span("half")).unwrap();
    let half_gzip = scene.written("half", &half[..half.len() / 2]);
    let large = scene.written("large", &vec![0; 20 * 1024 * 1024 + 1]);
    let bomb = scene.written("bomb", &coded("gzip", &vec![b' '; 21 * 1024 * 1024]).unwrap());
    let not_json = scene.written("zzz", b"zzz");
    let half_json = scene.written("half.json", &span_json("half").as_bytes()[..40]);
    let empty = scene.written("empty", b"");
    for (headers, file, message) in [
        (&["Content-Encoding: br"][..], &good, "unsupported Content-Encoding: br"),
        (&["Content-Encoding: GZIP"], &good, "unsupported Content-Encoding: GZIP"),
        (&["Content-Encoding: gzip"], &good, "gzip"),
        (&["Content-Encoding: gzip"], &half_gzip, "unexpected EOF"),
        (&["Content-Encoding: gzip"], &bomb, "http: request body too large"),
        (&[], &large, "http: request body too large"),
        (&[], &broken, "unexpected EOF"),
    ] {
        let answer = scene.post("/v1/traces", &[&[PROTOBUF], headers].concat(), file);
        assert_eq!((answer.status, answer.content_type.as_str()), (400, STATUS), "{headers:?} {file}: {answer:?}");
        let (code, said) = status_of(&answer.body);
        assert!(code == 3 && said.contains(message), "{headers:?} {file}: {code} {said}");
    }
    for (headers, file, message) in [
        (&["Content-Encoding: br"][..], &good, "unsupported Content-Encoding: br"),
        (&[], &not_json, "expected an object, found 'z'"),
        (&[], &half_json, ""),
        (&[], &empty, ""),
        (&["Content-Encoding: gzip"], &bomb, "http: request body too large"),
    ] {
        let answer = scene.post("/v1/traces", &[&[JSON], headers].concat(), file);
        assert_eq!((answer.status, answer.content_type.as_str()), (400, "application/json"), "{file}: {answer:?}");
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(told["code"], 3, "{told}");
        assert!(told["message"].as_str().unwrap().contains(message), "{headers:?} {file}: {told}");
    }
    // After all that it still accepts a correct request, here with a parameter in the content type.
    let json = scene.written("good.json", span_json("after").as_bytes());
    let answer = scene.post("/v1/traces", &["Content-Type: application/json; charset=utf-8"], &json);
    assert_eq!(answer.status, 200, "{answer:?}");
    scene.one_came("after");
    scene.end();
}

#[test]
fn http_1_1_in_all_its_ways_arrives() {
    if !has_curl() {
        return;
    }
    let scene = Scene::start("clients-http1");
    let file = scene.written("body", &span("chunked"));
    let answer = scene.post("/v1/traces", &[PROTOBUF, "Transfer-Encoding: chunked"], &file);
    assert_eq!(answer.status, 200, "{answer:?}");
    scene.one_came("chunked");

    let file = scene.written("body", &span("expected"));
    let answer = scene.post("/v1/traces", &[PROTOBUF, "Expect: 100-continue"], &file);
    assert_eq!((answer.status, answer.head.starts_with("HTTP/1.1 100 Continue\r\n")), (200, true), "{answer:?}");
    scene.one_came("expected");
    // A client that sends `Expect` and a length above the limit is refused before it sends the body.
    let large = scene.written("large", &vec![0; 21 * 1024 * 1024]);
    let answer = scene.post("/v1/traces", &[PROTOBUF, "Expect: 100-continue"], &large);
    assert!(answer.status == 400 && !answer.head.contains("100 Continue"), "{answer:?}");

    // Two requests on one connection.
    let url = format!("http://127.0.0.1:{}/v1/traces", scene.http);
    let data = format!("@{}", scene.written("body", &span("kept")));
    let output = Command::new("curl")
        .args(["-q", "-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{num_connects} ", "-H", PROTOBUF])
        .args(["--data-binary", &data, &url, "-o", "/dev/null", &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 0 ", "{output:?}");
    scene.came(2);

    // Ten at once, before the first answer is read.
    let mut stream = TcpStream::connect(("127.0.0.1", scene.http)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut all = Vec::new();
    for i in 0..10 {
        let body = span(&format!("pipelined {i}"));
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
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 200 OK\r\n").count(), 10);
    let mut names: Vec<_> = scene.came(10).iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 10, "{names:?}");
    scene.end();
}

#[test]
fn a_page_of_an_allowed_origin_may_send_and_another_may_not() {
    if !has_curl() {
        return;
    }
    let scene = Scene::start("clients-cors");
    let url = format!("http://127.0.0.1:{}/v1/traces", scene.http);
    let preflight = |origin: &str, headers: &str| {
        let [origin, headers] = [format!("Origin: {origin}"), format!("Access-Control-Request-Headers: {headers}")];
        let method = "Access-Control-Request-Method: POST";
        let answer = scene.curl(&["-X", "OPTIONS", "-H", &origin, "-H", method, "-H", &headers, &url]);
        assert_eq!(answer.status, 204, "{answer:?}");
        answer.head.to_ascii_lowercase()
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
    let file = scene.written("body", span_json("from a page").as_bytes());
    let answer = scene.post("/v1/traces", &[JSON, "Origin: https://app.example.com"], &file);
    let head = answer.head.to_ascii_lowercase();
    assert!(answer.status == 200 && head.contains("allow-origin: https://app.example.com\r\n"), "{answer:?}");
    scene.one_came("from a page");
    scene.end();
}

#[test]
fn tls_in_its_versions_and_protocols_arrives_and_strangers_do_not() {
    if !has_curl() {
        return;
    }
    let scene = Scene::start("clients-tls");
    let ca = scene.file("ca.pem");
    let data = format!("@{}", scene.written("body", &span("over TLS")));
    let base = ["--data-binary", &data, "-H", PROTOBUF];
    let url = format!("https://localhost:{}/v1/traces", scene.http_tls);
    for (flags, version) in [
        (&["--http2"][..], "2"),
        (&["--http1.1"], "1.1"),
        (&["--no-alpn"], "1.1"),
        (&["--http2", "--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--http2", "--tlsv1.3"], "2"),
    ] {
        let answer = scene.curl(&[&base[..], &["--cacert", &ca], flags, &[&url]].concat());
        assert_eq!((answer.status, answer.version.as_str()), (200, version), "{flags:?}: {answer:?}");
        scene.one_came("over TLS");
    }
    // Over HTTP/2 mistakes are answered as over HTTP/1.1.
    let answer = scene.curl(&["--http2", "--cacert", &ca, &url]);
    assert_eq!((answer.status, answer.version.as_str()), (405, "2"), "{answer:?}");
    assert_eq!(answer.body, b"405 method not allowed, supported: [POST]");
    // TLS 1.1, and an unknown authority.
    for (flags, url) in [
        (&["--cacert", &ca, "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"][..], url.as_str()),
        (&[], &url),
    ] {
        let answer = scene.curl(&[&base[..], flags, &[url]].concat());
        assert!(answer.exit != 0 && answer.status == 0, "{flags:?} {url}: {answer:?}");
    }
    // Plaintext on a TLS port, with a short body and with one that is still being sent when it is refused.
    let plain = format!("http://localhost:{}/v1/traces", scene.http_tls);
    let long = format!("@{}", scene.written("long", &vec![0; 1 << 18]));
    for data in [&data, &long] {
        let answer = scene.curl(&["--data-binary", data, "-H", PROTOBUF, "-H", "Expect:", &plain]);
        assert_eq!((answer.exit, answer.status, answer.version.as_str()), (0, 400, "1"), "{answer:?}");
        assert_eq!(answer.head, "HTTP/1.0 400 Bad Request\r\n\r\n");
        assert_eq!(answer.body, b"Client sent an HTTP request to an HTTPS server.\n");
    }
    // TLS on a plaintext port is refused at once, in plaintext: curl reports a failed handshake and not a timeout.
    let wrong = format!("https://localhost:{}/v1/traces", scene.http);
    let answer = scene.curl(&[&base[..], &["-k", &wrong]].concat());
    assert_eq!((answer.exit, answer.status), (35, 0), "{answer:?}");

    let url = format!("https://localhost:{}/v1/traces", scene.http_mutual);
    let other = folder("clients-tls-other");
    let stranger = Pki::new(&other);
    let [key, cert] = ["client.key", "client.pem"].map(|f| stranger.path(f).display().to_string());
    let own = [scene.file("client.key"), scene.file("client.pem")];
    for version in ["--http1.1", "--http2"] {
        for max in ["1.2", "1.3"] {
            let flags = [version, "--tls-max", max, "--cacert", &ca];
            let with = |key: &str, cert: &str| {
                scene.curl(&[&base[..], &flags, &["--key", key, "--cert", cert, &url]].concat())
            };
            let answer = with(&own[0], &own[1]);
            assert_eq!(answer.status, 200, "{flags:?}: {answer:?}");
            scene.one_came("over TLS");
            let nobody = scene.curl(&[&base[..], &flags, &[&url]].concat());
            let foreign = with(&key, &cert);
            for refused in [nobody, foreign] {
                assert!(refused.exit != 0 && refused.status == 0, "{flags:?}: {refused:?}");
                // With TLS 1.3 the client has finished its handshake before it is refused: its data arrives at a closed
                // connection, and the kernel's reset may arrive before the alert is read.
                let alert = refused.said.contains("alert") || max == "1.3";
                assert!(alert, "the reason is told: {flags:?}: {refused:?}");
            }
        }
    }
    scene.end();
}

/// The common name of the certificate that a port shows.
fn shown(scene: &Scene, port: u16) -> String {
    let answer = scene.curl(&["-v", "--cacert", &scene.file("ca.pem"), &format!("https://localhost:{port}/")]);
    let line = answer.said.lines().find(|l| l.contains("subject: ")).unwrap_or_else(|| panic!("{answer:?}"));
    line.rsplit("CN=").next().unwrap().trim().to_owned()
}

#[test]
fn a_certificate_that_is_replaced_is_shown_without_a_restart() {
    if !has_curl() {
        return;
    }
    let scene = Scene::start("clients-reload");
    let ports = [scene.http_tls, scene.grpc_tls];
    for port in ports {
        assert_eq!(shown(&scene, port), "first");
    }
    // With half a certificate the old one stays in use, and also with a key that does not belong to it.
    let old = std::fs::read(scene.pki.path("server.pem")).unwrap();
    std::fs::write(scene.pki.path("server.pem"), &old[..old.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    for port in ports {
        assert_eq!(shown(&scene, port), "first");
    }
    assert!(scene.collector.said().contains("the old ones stay"), "{}", scene.collector.said());
    scene.pki.issue("server", "second");
    for port in ports {
        until("the second certificate", || (shown(&scene, port) == "second").then(String::new));
    }
    scene.end();
}

#[test]
fn telemetrygen_sends_every_signal_in_every_way() {
    let Some(tool) = tool("telemetrygen") else { return };
    let scene = Scene::start("clients-telemetrygen");
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|f| scene.file(f));
    let plain = vec!["--otlp-insecure"];
    let tls = vec!["--ca-cert", &ca];
    let mutual = vec!["--ca-cert", &ca, "--mtls", "--client-cert", &cert, "--client-key", &key];
    for (port, http, secure) in [
        (scene.grpc, false, &plain),
        (scene.http, true, &plain),
        (scene.grpc_tls, false, &tls),
        (scene.http_tls, true, &tls),
        (scene.grpc_mutual, false, &mutual),
        (scene.http_mutual, true, &mutual),
    ] {
        for (signal, count, items) in [("traces", "--traces", 10), ("metrics", "--metrics", 5), ("logs", "--logs", 5)] {
            let mut command = Command::new(&tool);
            command.args([signal, count, "5", "--rate", "0", "--otlp-endpoint", &format!("localhost:{port}")]);
            command.args(secure);
            if http {
                command.args(["--otlp-http", "--otlp-http-url-path", &format!("/v1/{signal}")]);
            }
            let mut process = Process::start(&mut command, &scene.dir.join("telemetrygen.log"));
            let code = process.end(Duration::from_secs(30));
            assert_eq!(code, 0, "{command:?}:\n{}", process.said());
            scene.came(items);
        }
    }
    scene.end();
}

#[test]
fn grpcurl_sends_a_span_and_is_told_what_is_wrong() {
    let Some(tool) = tool("grpcurl") else { return };
    let scene = Scene::start("clients-grpcurl");
    let proto = root().join("tests/tools/grpcurl");
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
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|f| scene.file(f));
    let ways = [
        (vec!["-plaintext"], scene.grpc),
        (vec!["-cacert", &ca], scene.grpc_tls),
        (vec!["-cacert", &ca, "-cert", &cert, "-key", &key], scene.grpc_mutual),
    ];
    for (flags, port) in &ways {
        let output = call(flags, *port, "Export", &data);
        assert!(output.status.success(), "{flags:?}: {output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer.is_object(), "{answer}");
        let came = scene.came(1);
        let sent = json!({
            "name": "by hand", "trace_id": "000102030405060708090a0b0c0d0e0f", "span_id": "0001020304050607", "kind": 2,
            "start": "1700000000000000000", "end": "0", "attributes": {"n": {"i": "-5"}},
            "resource": {"service.name": {"s": "größe"}},
        });
        assert_eq!(sink::difference(&sent, &came[0]), None, "{came:?}");
    }
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let missing = call(&["-plaintext"], scene.grpc, "Missing", "{}");
    assert!(said(&missing).contains("Code: Unimplemented"), "{missing:?}");
    assert!(said(&missing).contains("unknown method Missing for service"), "{missing:?}");
    // A trace id of three bytes is not valid.
    let bad = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"AAEC"}]}]}]}"#;
    let refused = call(&["-plaintext"], scene.grpc, "Export", bad);
    assert!(
        said(&refused).contains("Code: Internal") && said(&refused).contains("invalid TraceID length"),
        "{refused:?}"
    );
    let nobody = call(&["-cacert", &ca], scene.grpc_mutual, "Export", &data);
    assert!(!nobody.status.success(), "without a client's certificate: {nobody:?}");
    scene.end();
}
