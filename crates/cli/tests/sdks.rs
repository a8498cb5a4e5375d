//! Programs with the real SDKs of four languages, each with its standard exporter, against the binary: what they report
//! as sent is what the collector exports, field by field.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/pki.rs"]
mod pki;
#[path = "support/sink.rs"]
mod sink;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pki::Pki;
use serde_json::Value;
use sink::OtlpHttpBackend;
use support::*;

/// How a run connects to the collector.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Transport {
    Plain,
    Tls,
    /// TLS in which the client has a certificate too.
    Mutual,
    Unix,
}

/// A language's program.
struct SdkProgram {
    language: &'static str,
    command: Vec<PathBuf>,
    /// Protocols of the SDK in addition to `grpc` and `http/protobuf`.
    extra_protocols: &'static [&'static str],
    unix: bool,
}

/// Where something is missing, CI fails; on other machines the test is skipped with a message.
fn report_missing(language: &str, what: &Path) {
    assert!(std::env::var_os("CI").is_none(), "{} is missing; run scripts/tools", what.display());
    eprintln!("skipped: the {language} SDK: {} is missing; run scripts/tools", what.display());
}

fn find_program(language: &'static str) -> Option<SdkProgram> {
    let sdks = project_root().join("tests/sdks");
    let (command, more, unix): (Vec<PathBuf>, &'static [&'static str], bool) = match language {
        "go" => (vec![tool("go-sdk")?], &[], true),
        "python" => (vec![sdks.join("python/.venv/bin/python"), sdks.join("python/main.py")], &[], true),
        "node" => {
            let modules = sdks.join("node/node_modules/.package-lock.json");
            if !modules.is_file() {
                report_missing(language, &modules);
                return None;
            }
            (vec![tool("node")?, sdks.join("node/main.js")], &["http/json"], false)
        }
        _ => {
            let java = tool("java")?;
            let classes = sdks.join("java/target/.done");
            if !classes.is_file() {
                report_missing(language, &classes);
                return None;
            }
            let path = format!("{0}/classes:{0}/dependency/*", sdks.join("java/target").display());
            let quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp", &path, "Main"];
            let mut command = vec![java];
            command.extend(quick.map(PathBuf::from));
            (command, &[], true)
        }
    };
    if let Some(gone) = command.first().filter(|c| !c.is_file()) {
        report_missing(language, gone);
        return None;
    }
    Some(SdkProgram { language, command, extra_protocols: more, unix })
}

impl SdkProgram {
    /// Runs it until it ends; returns the lines that it has printed.
    fn run(&self, dir: &Path, settings: &[(&str, String)]) -> Vec<Value> {
        let (first, rest) = self.command.split_first().unwrap();
        let (out, err) = (dir.join("sent.jsonl"), dir.join("sdk.log"));
        let mut command = Command::new(first);
        command.args(rest).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", dir).env("LANG", "C.UTF-8").env("OTEL_LOG_LEVEL", "warn");
        command.envs(settings.iter().map(|(k, v)| (k, v.as_str())));
        command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&err).unwrap());
        let mut child = Process { child: command.spawn().unwrap(), log: err };
        let code = child.wait_for_exit(Duration::from_secs(60));
        assert_eq!(code, 0, "{} with {settings:?}:\n{}", self.language, child.log_text());
        let lines = std::fs::read_to_string(&out).unwrap();
        lines.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }
}

/// Waits until as many items have arrived as were sent, and a moment longer for items that should not arrive.
fn wait_for_items(sink: &OtlpHttpBackend, count: usize, collector: &mut Process) -> Vec<Value> {
    let end = Instant::now() + Duration::from_secs(20);
    let mut received = sink.take();
    while received.len() < count && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
        assert!(collector.child.try_wait().unwrap().is_none(), "the collector ended:\n{}", collector.log_text());
        received.extend(sink.take());
    }
    received
}

/// Checks that a program has sent every kind of item, so that a comparison of two empty lists does not pass.
fn assert_every_item_kind(sent: &[Value]) {
    let count = |signal: &str| sent.iter().filter(|v| v["signal"] == signal).count();
    let [spans, points, logs] = ["span", "metric", "log"].map(count);
    assert!(spans >= 10 && points >= 8 && logs >= 6, "{spans} spans, {points} points, {logs} logs");
    for kind in 1..=5 {
        assert!(sent.iter().any(|v| v["signal"] == "span" && v["kind"] == kind), "no span of kind {kind}");
    }
    for code in 0..=2 {
        assert!(sent.iter().any(|v| v["status"]["code"] == code), "no span with status {code}");
    }
    for kind in ["sum", "gauge", "histogram", "exponential"] {
        assert!(sent.iter().any(|v| v["kind"] == kind), "no {kind}");
    }
    assert!(sent.iter().any(|v| v["links"].as_array().is_some_and(|l| !l.is_empty())), "no link");
}

/// The program against a server that is not a collector: a difference here is an error of the program or comparison.
fn check_without_collector(program: &SdkProgram, dir: &Path) {
    let sink = OtlpHttpBackend::start();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", sink.port)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
    ];
    let sent = program.run(dir, &settings);
    assert_every_item_kind(&sent);
    sink::assert_same_items("without a collector", &sent, &sink.take());
}

struct CollectorPorts {
    plain: [u16; 2],
    tls: [u16; 2],
    mutual: [u16; 2],
    unix: PathBuf,
}

/// The environment of the standard exporters, with the address of the collector.
fn exporter_environment(
    pki: &Pki,
    ports: &CollectorPorts,
    protocol: &str,
    transport: Transport,
    gzip: bool,
) -> Vec<(&'static str, String)> {
    let port = |[grpc, http]: [u16; 2]| if protocol == "grpc" { grpc } else { http };
    let file = |name: &str| pki.path(name).display().to_string();
    let endpoint = match transport {
        Transport::Plain => format!("http://127.0.0.1:{}", port(ports.plain)),
        Transport::Tls => format!("https://localhost:{}", port(ports.tls)),
        Transport::Mutual => format!("https://localhost:{}", port(ports.mutual)),
        Transport::Unix => format!("unix:{}", ports.unix.display()),
    };
    let mut settings = vec![("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned())];
    match transport {
        Transport::Unix => settings.push(("SDK_UNIX", ports.unix.display().to_string())),
        _ => settings.push(("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)),
    }
    if gzip {
        settings.push(("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()));
    }
    if matches!(transport, Transport::Tls | Transport::Mutual) {
        settings.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", file("ca.pem")));
    }
    if transport == Transport::Mutual {
        settings.push(("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file("client.pem")));
        settings.push(("OTEL_EXPORTER_OTLP_CLIENT_KEY", file("client.key")));
    }
    settings
}

/// A collector that forwards everything unchanged.
fn start_collector(dir: &Path, pki: &Pki, sink: &OtlpHttpBackend) -> (Process, CollectorPorts) {
    let pair = || [free_port(), free_port()];
    let ports = CollectorPorts { plain: pair(), tls: pair(), mutual: pair(), unix: socket_path(dir) };
    let receiver = |name: &str, [grpc, http]: [u16; 2], tls: &str| {
        format!(
            "  otlp/{name}: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"{tls}}}, http: {{endpoint: \"127.0.0.1:{http}\"{tls}}}}}}}\n"
        )
    };
    let tls = |mutual| format!(", tls: {}", pki.server(mutual));
    let text = format!(
        "receivers:\n{}{}{}  otlp/unix: {{protocols: {{grpc: {{endpoint: {}, transport: unix}}}}}}
exporters:
  otlp_http: {{endpoint: \"http://127.0.0.1:{}\", compression: none, encoding: proto}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp/plain, otlp/tls, otlp/mutual, otlp/unix], exporters: [otlp_http]}}
    metrics: {{receivers: [otlp/plain, otlp/tls, otlp/mutual, otlp/unix], exporters: [otlp_http]}}
    logs: {{receivers: [otlp/plain, otlp/tls, otlp/mutual, otlp/unix], exporters: [otlp_http]}}
",
        receiver("plain", ports.plain, ""),
        receiver("tls", ports.tls, &tls(false)),
        receiver("mutual", ports.mutual, &tls(true)),
        ports.unix.display(),
        sink.port,
    );
    let path = dir.join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let mut process =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&format!("127.0.0.1:{}", ports.plain[0]), &mut process);
    wait_until("the start", || process.log_text().contains("Everything is ready").then(String::new));
    (process, ports)
}

/// The socket's path, which is short because the length of socket paths is limited.
fn socket_path(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap().to_string_lossy();
    let path = std::env::temp_dir().join(format!("otelcore-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// All transports of one language, one after the other, through one collector.
fn check_all_transports(language: &'static str) {
    let Some(program) = find_program(language) else { return };
    let dir = empty_test_dir(&format!("sdk-{language}"));
    check_without_collector(&program, &dir);
    let pki = Pki::new(&dir);
    let sink = OtlpHttpBackend::start();
    let (mut collector, ports) = start_collector(&dir, &pki, &sink);
    let mut runs = Vec::new();
    for protocol in ["grpc", "http/protobuf"].iter().chain(program.extra_protocols) {
        for transport in [Transport::Plain, Transport::Tls] {
            runs.extend([(*protocol, transport, false), (*protocol, transport, true)]);
        }
        runs.push((protocol, Transport::Mutual, false));
    }
    if program.unix {
        runs.push(("grpc", Transport::Unix, false));
    }
    for (protocol, transport, gzip) in runs {
        let what = format!("{language}, {protocol}, {transport:?}, gzip {gzip}");
        let started = Instant::now();
        let sent = program.run(&dir, &exporter_environment(&pki, &ports, protocol, transport, gzip));
        assert_every_item_kind(&sent);
        let received = wait_for_items(&sink, sent.len(), &mut collector);
        sink::assert_same_items(&what, &sent, &received);
        eprintln!("{what}: {} items in {:?}", sent.len(), started.elapsed());
    }
    collector.signal("TERM");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(20)), 0, "{}", collector.log_text());
    assert!(sink.take().is_empty(), "something came twice");
    assert!(!ports.unix.exists(), "the socket's file stays behind");
}

#[test]
fn go_sdk_items_arrive_unchanged() {
    check_all_transports("go");
}

#[test]
fn python_sdk_items_arrive_unchanged() {
    check_all_transports("python");
}

#[test]
fn node_sdk_items_arrive_unchanged() {
    check_all_transports("node");
}

#[test]
fn java_sdk_items_arrive_unchanged() {
    check_all_transports("java");
}

#[test]
fn comparison_finds_every_difference() {
    use serde_json::json;
    let sent =
        json!({"name": "a", "attributes": {"n": {"d": "1e-7"}, "l": {"a": [{"i": "1"}, {"s": "x"}]}}, "time": "5"});
    let same = json!({"name": "a", "attributes": {"n": {"d": "0.0000001"}, "l": {"a": [{"i": "1"}, {"s": "x"}]}}, "time": "5", "more": 1});
    assert_eq!(sink::first_difference(&sent, &same), None);
    for (pointer, value) in [
        ("/name", json!("b")),
        ("/time", json!("6")),
        ("/attributes/n", json!({"d": "1.1e-7"})),
        ("/attributes/n", json!({"i": "1"})),
        ("/attributes/l/a", json!([{"i": "1"}])),
        ("/attributes/l/a/1", json!({"s": "y"})),
        ("/attributes/l/a/0", json!({"i": "2"})),
    ] {
        let mut other = same.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        assert!(sink::first_difference(&sent, &other).is_some(), "{pointer}");
    }
    let mut more = same.clone();
    more["attributes"]["new"] = json!({"b": true});
    assert!(sink::first_difference(&sent, &more).is_some(), "an attribute that was not sent");
}
