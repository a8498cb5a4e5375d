//! SIGHUP with configurations that can't start: the running collector continues, or is started again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use support::*;

const POST: &str = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";

/// A collector whose OTLP over HTTP has its own port, and its configuration file.
struct RunningCollector {
    process: Process,
    path: PathBuf,
    address: String,
}

/// A configuration with these protocols and exporters.
fn config_text(protocols: &str, exporters: &str) -> String {
    let names: Vec<&str> = exporters.split(": {").next().into_iter().collect();
    format!(
        "receivers: {{otlp: {{protocols: {{{protocols}}}}}}}\nexporters: {{{exporters}}}\n\
         service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: {names:?}}}}}}}\n"
    )
}

impl RunningCollector {
    fn start(name: &str, extra_protocols: &str, exporters: &str, args: &[&str]) -> Self {
        let dir = empty_test_dir(name);
        let path = dir.join("config.yaml");
        let address = format!("127.0.0.1:{}", free_port());
        std::fs::write(&path, config_text(&format!("http: {{endpoint: \"{address}\"}}{extra_protocols}"), exporters))
            .unwrap();
        let mut command = Command::new(otelcore());
        let config = format!("--config={}", path.display());
        let mut process = Process::start(command.arg(config).args(args), &dir.join("log"));
        wait_for_listener(&address, &mut process);
        Self { process, path, address }
    }

    /// Replaces the configuration, and waits for a line that has all of these words.
    fn reload(&self, text: &str, words: &[&str]) -> String {
        std::fs::write(&self.path, text).unwrap();
        self.process.signal("HUP");
        wait_until(&format!("{words:?}"), || {
            let log = self.process.log_text();
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
    }

    fn assert_serves(&mut self) {
        // A connection that the previous collector has accepted may still be reset.
        wait_until("an answer", || {
            wait_for_listener(&self.address, &mut self.process);
            let response = std::panic::catch_unwind(|| http_request(&self.address, POST, &span_request("here")));
            response.is_ok_and(|(status, _)| status == 200).then(String::new)
        });
    }
}

#[test]
fn reload_that_can_not_start_keeps_the_running_collector() {
    let mut running = RunningCollector::start("reload-trial", "", "nop: {}", &[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = running.address.clone();
    let http = format!("http: {{endpoint: \"{address}\"}}");
    let refused = "The new configuration can't start; the running one goes on.";
    let missing = "open /nowhere/file: no such file or directory";
    for (protocols, exporters, expected_error) in [
        (
            format!("{http}, grpc: {{endpoint: \"127.0.0.1:{port}\"}}"),
            "nop: {}",
            format!("listen tcp 127.0.0.1:{port}: bind: address already in use"),
        ),
        (
            format!(
                "{http}, grpc: {{endpoint: \"127.0.0.1:0\", tls: {{cert_file: /nowhere/file, key_file: /nowhere/file}}}}"
            ),
            "nop: {}",
            missing.to_owned(),
        ),
        (http.clone(), "otlp_grpc: {endpoint: \"localhost:1\", tls: {ca_file: /nowhere/file}}", missing.to_owned()),
        (
            http.clone(),
            "debug: {use_internal_logger: false, output_paths: [/nowhere/file]}",
            "couldn't open sink".to_owned(),
        ),
        (
            format!("{http}, grpc: {{transport: unix, endpoint: /nowhere/socket}}"),
            "nop: {}",
            "listen unix /nowhere/socket: bind: no such file or directory".to_owned(),
        ),
    ] {
        running.reload(&config_text(&protocols, exporters), &[refused, &expected_error]);
        running.assert_serves();
    }
    let log = running.process.log_text();
    assert!(!log.contains("Starting shutdown..."), "{log}");
    // A configuration that can start replaces the previous one, on an address that this one used.
    running.reload(&config_text(&http, "nop: {}"), &["Starting shutdown..."]);
    running.assert_serves();
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
}

/// Protocols that pass the trial start and fail at the start: the same address under two names.
fn same_port_twice() -> String {
    let port = free_port();
    format!("grpc: {{endpoint: \"localhost:{port}\"}}, http: {{endpoint: \"127.0.0.1:{port}\"}}")
}

const PREVIOUS_STARTED_MESSAGE: &str = "The new configuration can't start; the one before it is started again.";

#[test]
fn reload_that_fails_at_the_start_restarts_the_previous_configuration() {
    let mut running = RunningCollector::start("reload-back", "", "nop: {}", &[]);
    for _ in 0..2 {
        let text = config_text(&same_port_twice(), "nop: {}");
        let port = text.split("localhost:").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        running.reload(&text, &[PREVIOUS_STARTED_MESSAGE, &format!("127.0.0.1:{port}: bind: address already in use")]);
        running.assert_serves();
    }
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
}

/// A collector with a certificate file that can be removed.
fn start_with_certificate(name: &str) -> (RunningCollector, PathBuf, String) {
    let dir = empty_test_dir(&format!("{name}-certificate"));
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let (cert_file, key_file) = (dir.join("tls.crt"), dir.join("tls.key"));
    std::fs::write(&cert_file, &cert).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let more = format!(
        ", grpc: {{endpoint: \"127.0.0.1:{}\", tls: {{cert_file: {}, key_file: {}}}}}",
        free_port(),
        cert_file.display(),
        key_file.display()
    );
    (RunningCollector::start(name, &more, "nop: {}", &[]), cert_file, cert)
}

const PREVIOUS_RETRIED_MESSAGE: &str = "The configuration that ran before can't start either; it is tried again.";

#[test]
fn reload_without_a_startable_configuration_is_retried() {
    let (mut running, cert_file, cert) = start_with_certificate("reload-tried");
    std::fs::remove_file(&cert_file).unwrap();
    running.reload(
        &config_text(&same_port_twice(), "nop: {}"),
        &[PREVIOUS_RETRIED_MESSAGE, "no such file or directory", "\"attempts_left\": 29"],
    );
    std::fs::write(&cert_file, cert).unwrap();
    running.assert_serves();
    // The configuration that can't start is still in the file. One that can start is used while attempts continue.
    std::fs::remove_file(&cert_file).unwrap();
    let before = running.process.log_text().matches(PREVIOUS_RETRIED_MESSAGE).count();
    running.process.signal("HUP");
    wait_until("the second time", || {
        (running.process.log_text().matches(PREVIOUS_RETRIED_MESSAGE).count() > before).then(String::new)
    });
    let http = format!("http: {{endpoint: \"{}\"}}", running.address);
    std::fs::write(&running.path, config_text(&http, "nop: {}")).unwrap();
    running.process.signal("HUP");
    running.assert_serves();
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
}

#[test]
fn stop_during_start_retries_ends_at_once() {
    let (mut running, cert_file, _) = start_with_certificate("reload-stopped");
    std::fs::remove_file(cert_file).unwrap();
    running.reload(&config_text(&same_port_twice(), "nop: {}"), &[PREVIOUS_RETRIED_MESSAGE]);
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(5)), 0, "{}", running.process.log_text());
}

#[test]
fn stop_during_a_reload_takes_precedence() {
    let jaeger = format!("jaeger: {{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}}}", free_port());
    let mut running = RunningCollector::start("reload-stop", "", &jaeger, &["--shutdown-timeout=2s"]);
    running.assert_serves();
    let config = std::fs::read_to_string(&running.path).unwrap();
    running.reload(&config, &["Starting shutdown..."]);
    let stop_requested = Instant::now();
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
    assert!(stop_requested.elapsed() < Duration::from_secs(8), "{:?}", stop_requested.elapsed());
    assert_eq!(running.process.log_text().matches("Everything is ready").count(), 1, "{}", running.process.log_text());
}
