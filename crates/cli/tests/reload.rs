//! SIGHUP: the running collector is changed by the difference of the configurations. One that can't start changes nothing; one that
//! needs a restart and can't start leads to a start of the one before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    config_text_of_level("none", protocols, exporters)
}

/// The same with the level of own metrics, a change of which needs a restart.
fn config_text_of_level(level: &str, protocols: &str, exporters: &str) -> String {
    let names: Vec<&str> = exporters.split(": {").next().into_iter().collect();
    format!(
        "receivers: {{otlp: {{protocols: {{{protocols}}}}}}}\nexporters: {{{exporters}}}\n\
         service: {{telemetry: {{metrics: {{level: {level}, readers: [{{pull: {{exporter: {{prometheus: {{port: 0}}}}}}}}]}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: {names:?}}}}}}}\n"
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
    // The same configuration again changes nothing; another one that can start is used, on the address of this one.
    let changed = "The new configuration is in use.";
    running.reload(&config_text(&http, "nop: {}"), &[changed, "\"started_components\": 0", "\"ended_components\": 0"]);
    let other = config_text(&http.replace("{endpoint", "{include_metadata: true, endpoint"), "nop: {}");
    running.reload(&other, &[changed, "\"started_components\": 1", "\"ended_components\": 1"]);
    running.assert_serves();
    // A restart, after which the address is used again.
    running.reload(&config_text_of_level("basic", &http, "nop: {}"), &["Starting shutdown..."]);
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
        let text = config_text_of_level("basic", &same_port_twice(), "nop: {}");
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
        &config_text_of_level("basic", &same_port_twice(), "nop: {}"),
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
    running.reload(&config_text_of_level("basic", &same_port_twice(), "nop: {}"), &[PREVIOUS_RETRIED_MESSAGE]);
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(5)), 0, "{}", running.process.log_text());
}

#[test]
fn stop_during_a_reload_takes_precedence() {
    let jaeger = format!("jaeger: {{endpoint: \"127.0.0.1:{}\", tls: {{insecure: true}}}}", free_port());
    let mut running = RunningCollector::start("reload-stop", "", &jaeger, &["--shutdown-timeout=2s"]);
    running.assert_serves();
    let config = std::fs::read_to_string(&running.path).unwrap().replace("level: none", "level: basic");
    running.reload(&config, &["Starting shutdown..."]);
    let stop_requested = Instant::now();
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
    assert!(stop_requested.elapsed() < Duration::from_secs(8), "{:?}", stop_requested.elapsed());
    assert_eq!(running.process.log_text().matches("Everything is ready").count(), 1, "{}", running.process.log_text());
}

/// Sends a request on a connection that stays open, and reads the response. False if the collector has closed it before.
fn post_on(connection: &mut TcpStream, name: &str) -> bool {
    let body = span_request(name);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body)).is_err() {
        return false;
    }
    let mut response = Vec::new();
    let mut byte = [0];
    // The response has no body of more than a few bytes; its head ends with an empty line.
    while !response.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte) {
            Ok(1) => response.push(byte[0]),
            _ => return false,
        }
    }
    let head = String::from_utf8_lossy(&response).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut rest = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    connection.read_exact(&mut rest).is_ok() && head.starts_with("http/1.1 200")
}

#[test]
fn reload_under_load_refuses_no_connection_and_keeps_those_of_unchanged_receivers() {
    let mut running = RunningCollector::start("reload-load", "", "debug: {}", &[]);
    let address = running.address.clone();
    let http = format!("http: {{endpoint: \"{address}\"}}");
    let is_over = AtomicBool::new(false);
    let (refused, served) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut kept = TcpStream::connect(&address).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(post_on(&mut kept, "first"));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    match TcpStream::connect(&address) {
                        Ok(mut connection) => {
                            connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                            // Closed before its request is read by a receiver that ends, a connection is opened again.
                            served.fetch_add(u64::from(post_on(&mut connection, "load")), Ordering::Relaxed);
                        }
                        Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                    }
                }
            });
        }
        let in_use = "The new configuration is in use.";
        let mut reloads = 0;
        let mut reload = |text: &str| {
            reloads += 1;
            std::fs::write(&running.path, text).unwrap();
            running.process.signal("HUP");
            wait_until("the change", || {
                (running.process.log_text().matches(in_use).count() >= reloads).then(String::new)
            });
        };
        // The receiver stays, the exporter changes.
        for i in 0..5 {
            reload(&config_text(&http, &format!("debug: {{verbosity: {}}}", ["basic", "normal"][i % 2])));
            assert!(post_on(&mut kept, "kept"), "the connection of a receiver that has not changed was closed");
        }
        // The receiver changes, on the same address.
        for i in 0..5 {
            let http = http.replace("{endpoint", &format!("{{max_request_body_size: {}, endpoint", 1_000_000 + i));
            reload(&config_text(&http, "debug: {}"));
        }
        wait_until("requests", || (served.load(Ordering::Relaxed) > 20).then(String::new));
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(refused.load(Ordering::Relaxed), 0, "{}", running.process.log_text());
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(30)), 0, "{}", running.process.log_text());
}

#[test]
fn reload_to_another_address_of_the_same_port_restarts() {
    let mut running = RunningCollector::start("reload-address", "", "nop: {}", &[]);
    let port = running.address.rsplit(':').next().unwrap().to_owned();
    let text = config_text(&format!("http: {{endpoint: \"0.0.0.0:{port}\"}}"), "nop: {}");
    running.reload(&text, &["Config updated, restart service", "address already in use"]);
    wait_until("the restart", || {
        (running.process.log_text().matches("Everything is ready").count() == 2).then(String::new)
    });
    running.assert_serves();
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
}

#[test]
fn series_of_the_prometheus_page_stay_through_a_reload() {
    let page = format!("127.0.0.1:{}", free_port());
    let exporters = format!("prometheus: {{endpoint: \"{page}\"}}");
    let text = |http: &str, processor: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{{http}}}}}}}\nprocessors: {{{processor}: {{}}}}\nconnectors: {{count: {{}}}}\n\
             exporters: {{{exporters}}}\nservice: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{\
             traces: {{receivers: [otlp], processors: [{processor}], exporters: [count]}}, \
             metrics: {{receivers: [count], exporters: [prometheus]}}}}}}\n"
        )
    };
    let dir = empty_test_dir("reload-series");
    let path = dir.join("config.yaml");
    let address = format!("127.0.0.1:{}", free_port());
    let http = format!("http: {{endpoint: \"{address}\"}}");
    std::fs::write(&path, text(&http, "batch")).unwrap();
    let mut command = Command::new(otelcore());
    let mut process = Process::start(command.arg(format!("--config={}", path.display())), &dir.join("log"));
    wait_for_listener(&address, &mut process);
    let mut running = RunningCollector { process, path, address };
    running.assert_serves();
    let scrape = || http_request(&page, "GET /metrics HTTP/1.0\r\nHost: x", &[]).1;
    let before = wait_until("a series", || {
        let body = scrape();
        body.lines().find(|line| line.starts_with("trace_span_count")).map(str::to_owned)
    });
    running.reload(&text(&http, "batch/other"), &["The new configuration is in use.", "\"kept_components\": 4"]);
    let after = scrape();
    assert!(after.lines().any(|line| line == before), "{before}\n{after}");
    running.process.signal("TERM");
    assert_eq!(running.process.wait_for_exit(Duration::from_secs(10)), 0, "{}", running.process.log_text());
}

#[test]
fn change_of_a_file_and_a_link_that_moves_are_used_with_reload_on_change() {
    // As a ConfigMap is mounted: a link to a link, which is replaced by a rename.
    let dir = empty_test_dir("reload-watch");
    let address = format!("127.0.0.1:{}", free_port());
    let text = |exporter: &str| config_text(&format!("http: {{endpoint: \"{address}\"}}"), exporter);
    let replace = |version: &str, text: &str| {
        std::fs::create_dir(dir.join(version)).unwrap();
        std::fs::write(dir.join(version).join("config.yaml"), text).unwrap();
        let _ = std::fs::remove_file(dir.join("..data_tmp"));
        std::os::unix::fs::symlink(version, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    replace("..1", &text("nop: {}"));
    std::os::unix::fs::symlink("..data/config.yaml", dir.join("config.yaml")).unwrap();
    let config = format!("--config={}", dir.join("config.yaml").display());
    let mut command = Command::new(otelcore());
    let mut process = Process::start(command.args([&config, "--reload-on-change"]), &dir.join("log"));
    wait_for_listener(&address, &mut process);
    let count = |message: &str| process.log_text().matches(message).count();
    let in_use = "The new configuration is in use.";
    replace("..2", &text("debug: {verbosity: normal}"));
    wait_until("the moved link", || (count(in_use) == 1).then(String::new));
    // A configuration that is not valid is reported once.
    replace("..3", "receivers: {");
    let not_valid = "The new configuration is not valid; the running one goes on.";
    wait_until("the report", || (count(not_valid) == 1).then(String::new));
    // A file that is written in place.
    std::fs::write(dir.join("..3/config.yaml"), text("debug: {}")).unwrap();
    wait_until("the written file", || (count(in_use) == 2).then(String::new));
    assert_eq!((count(not_valid), count("\"started_components\": 1")), (1, 2), "{}", process.log_text());
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(10)), 0, "{}", process.log_text());
}
