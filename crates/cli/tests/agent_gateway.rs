//! Runs the configurations of `examples/agent-gateway`: TLS, a token, compression, and the response to a wrong token.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/pki.rs"]
mod pki;
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::*;

/// An example with the addresses and paths of this test.
fn example_config(dir: &Path, name: &str, changes: &[(&str, String)]) -> String {
    let path = project_root().join("examples/agent-gateway").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (what, with) in changes {
        assert!(text.contains(what), "{name} has no {what}");
        text = text.replace(what, with);
    }
    let changed = dir.join(name);
    std::fs::write(&changed, text).unwrap();
    format!("--config={}", changed.display())
}

/// Two collectors on one machine can't both serve their own metrics on the default port.
const NO_OWN_METRICS: &str = "--set=service.telemetry.metrics.level=none";

const POINT: &str = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"orders","gauge":{"dataPoints":[{"asInt":"7"}]}}]}]}]}"#;

#[test]
fn agent_forwards_over_tls_only_with_a_valid_token() {
    let dir = empty_test_dir("agent-gateway");
    let pki = pki::Pki::new(&dir);
    pki.issue("tls", "localhost");
    for (from, to) in [("tls.pem", "tls.crt"), ("ca.pem", "ca.crt")] {
        std::fs::copy(pki.path(from), dir.join(to)).unwrap();
    }
    let at = |port: u16| format!("127.0.0.1:{port}");
    let [otlp, grpc, http_port, health, agent_health, page] = std::array::from_fn(|_| free_port());
    let files = ("/etc/otelcore/tls", dir.display().to_string());
    let gateway = example_config(
        &dir,
        "gateway.yaml",
        &[files.clone(), ("0.0.0.0:4317", at(otlp)), ("0.0.0.0:13133", at(health)), ("0.0.0.0:8889", at(page))],
    );
    let mut gateway = Process::start(
        Command::new(otelcore())
            .args([&gateway, NO_OWN_METRICS])
            .env("GATEWAY_TOKEN", "s3cret")
            .env("JAEGER", "127.0.0.1:1"),
        &dir.join("gateway.log"),
    );
    wait_for_listener(&at(health), &mut gateway);
    let agent = example_config(
        &dir,
        "agent.yaml",
        &[files, ("0.0.0.0:4317", at(grpc)), ("0.0.0.0:4318", at(http_port)), ("0.0.0.0:13133", at(agent_health))],
    );
    for (token, accepted) in [("wrong", false), ("s3cret", true)] {
        let mut agent = Process::start(
            Command::new(otelcore())
                .args([&agent, NO_OWN_METRICS])
                .env("GATEWAY_TOKEN", token)
                .env("GATEWAY", format!("localhost:{otlp}")),
            &dir.join(format!("agent-{token}.log")),
        );
        wait_for_listener(&at(http_port), &mut agent);
        let head = "POST /v1/metrics HTTP/1.0\r\nHost: x\r\nContent-Type: application/json";
        assert_eq!(http_request(&at(http_port), head, POINT.as_bytes()).0, 200);
        if accepted {
            wait_until("the point behind the gateway", || {
                let (_, text) = http_get(&at(page), "/metrics");
                (text.contains("orders{") && text.contains(" 7")).then_some(text)
            });
        } else {
            wait_until("what the gateway says of the token", || {
                agent
                    .log_text()
                    .contains("code = Unauthenticated desc = scheme or token does not match")
                    .then(String::new)
            });
            assert!(!http_get(&at(page), "/metrics").1.contains("orders"));
        }
        agent.signal("TERM");
        assert_eq!(agent.wait_for_exit(Duration::from_secs(30)), 0, "{}", agent.log_text());
        assert!(!agent.log_text().contains("s3cret") && !gateway.log_text().contains("wrong"), "a token is in a log");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait_for_exit(Duration::from_secs(30)), 0, "{}", gateway.log_text());
}
