//! An agent and a gateway, each in its own network namespace: the gateway is ended by SIGTERM and started again under
//! load, and nothing that the agent acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::*;

/// Set for the test process that runs inside the namespaces.
const INSIDE: &str = "OTELCORE_GATEWAY_INSIDE";
/// The gateway's address, where there are two namespaces.
const GATEWAY: &str = "10.77.0.2";

#[test]
fn gateway_restarts_under_load_lose_nothing() {
    if std::env::var_os(INSIDE).is_some() {
        run_script("ip link set lo up
            mount -t tmpfs none /run/netns 2>/dev/null || { mkdir -p /run/netns; mount -t tmpfs none /run/netns; }
            ip netns add gateway
            ip link add agent0 type veth peer name gateway0 netns gateway
            ip addr add 10.77.0.1/24 dev agent0 && ip link set agent0 up
            ip netns exec gateway sh -ec 'ip link set lo up; ip addr add 10.77.0.2/24 dev gateway0; ip link set gateway0 up'");
        return run_scenario(GATEWAY, &["ip", "netns", "exec", "gateway"]);
    }
    let unshare = ["--net", "--mount", "--pid", "--fork", "--kill-child"];
    let can = Command::new("unshare").args(unshare).arg("true").output().is_ok_and(|o| o.status.success());
    if !can || tool("ip").is_none() {
        eprintln!("no namespaces here: both run on loopback");
        return run_scenario("127.0.0.1", &[]);
    }
    let status = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "gateway_restarts_under_load_lose_nothing", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "failed inside its namespace: {status}");
}

fn run_script(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(done.success(), "{script}: {done}");
}

const AGENT_CONFIG: &str = "
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:14318'}}}}
processors: {batch: {timeout: 50ms}}
exporters:
  otlp_grpc:
    endpoint: GATEWAY:14317
    tls: {insecure: true}
    retry_on_failure: {initial_interval: 100ms, max_interval: 500ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [otlp_grpc]}}
";

/// Each process of the gateway writes what it has accepted to a separate file.
const GATEWAY_CONFIG: &str = "
receivers: {otlp: {protocols: {grpc: {endpoint: 'GATEWAY:14317'}}}}
processors: {batch: {timeout: 300ms}}
exporters: {debug: {verbosity: normal, use_internal_logger: false, output_paths: ['OUT']}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [debug]}}
";

fn start_gateway(dir: &Path, host: &str, command_prefix: &[&str], run: usize) -> Process {
    let (config, out) = (dir.join(format!("gateway-{run}.yaml")), dir.join(format!("out-{run}")));
    let text = GATEWAY_CONFIG.replace("GATEWAY", host).replace("OUT", &out.display().to_string());
    std::fs::write(&config, text).unwrap();
    let mut words = command_prefix.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    words.push(otelcore().display().to_string());
    words.push(format!("--config={}", config.display()));
    let mut process =
        Process::start(Command::new(&words[0]).args(&words[1..]), &dir.join(format!("gateway-{run}.log")));
    wait_for_listener(&format!("{host}:14317"), &mut process);
    process
}

/// A request of ten spans; no other request has the same spans.
fn request(number: u32) -> String {
    let mut body = String::from(r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#);
    for span in number * 10..number * 10 + 10 {
        let comma = if span % 10 == 0 { "" } else { "," };
        let _ = write!(
            body,
            r#"{comma}{{"traceId":"{:032x}","spanId":"{:016x}","name":"span-{span}"}}"#,
            span + 1,
            span + 1
        );
    }
    body + "]}]}]}"
}

fn run_scenario(host: &str, command_prefix: &[&str]) {
    let dir = empty_test_dir("gateway");
    let mut gateway_process = start_gateway(&dir, host, command_prefix, 0);
    let config = dir.join("agent.yaml");
    std::fs::write(&config, AGENT_CONFIG.replace("GATEWAY", host)).unwrap();
    let mut agent =
        Process::start(Command::new(otelcore()).arg(format!("--config={}", config.display())), &dir.join("agent.log"));
    wait_for_listener("127.0.0.1:14318", &mut agent);

    // Two clients send for five seconds, and record what was acknowledged.
    let end = Instant::now() + Duration::from_secs(5);
    let clients: Vec<_> = (0..2_u32)
        .map(|client| {
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                let head = "POST /v1/traces HTTP/1.0\r\nHost: agent\r\nContent-Type: application/json";
                for round in 0..100_000_u32 {
                    if Instant::now() > end {
                        break;
                    }
                    let number = round * 2 + client;
                    if http_request("127.0.0.1:14318", head, request(number).as_bytes()).0 == 200 {
                        acknowledged.push(number);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                acknowledged
            })
        })
        .collect();
    for run in 1..3 {
        thread::sleep(Duration::from_millis(1200));
        gateway_process.signal("TERM");
        assert_eq!(gateway_process.wait_for_exit(Duration::from_secs(30)), 0, "{}", gateway_process.log_text());
        thread::sleep(Duration::from_millis(300));
        gateway_process = start_gateway(&dir, host, command_prefix, run);
    }
    let acknowledged: Vec<u32> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
    agent.signal("TERM");
    assert_eq!(agent.wait_for_exit(Duration::from_secs(30)), 0, "{}", agent.log_text());
    assert!(agent.log_text().contains("\"undelivered_items\": 0"), "{}", agent.log_text());
    gateway_process.signal("TERM");
    assert_eq!(gateway_process.wait_for_exit(Duration::from_secs(30)), 0, "{}", gateway_process.log_text());

    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    for run in 0..3 {
        let text = std::fs::read_to_string(dir.join(format!("out-{run}"))).unwrap();
        let mut count = 0;
        for name in text.lines().filter_map(|line| line.strip_prefix("span-")) {
            let number = name.split(' ').next().and_then(|n| n.parse().ok()).unwrap();
            *seen.entry(number).or_default() += 1;
            count += 1;
        }
        assert!(count > 0, "life {run} of the gateway took nothing");
    }
    assert!(acknowledged.len() > 200, "only {} requests were acknowledged", acknowledged.len());
    let sent = acknowledged.iter().flat_map(|request| request * 10..request * 10 + 10);
    let lost: Vec<u32> = sent.filter(|span| !seen.contains_key(span)).collect();
    let twice = seen.values().filter(|n| **n > 1).count();
    eprintln!("{} spans acknowledged, {} arrived, {twice} of them more than once", acknowledged.len() * 10, seen.len());
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len() * 10);
}
