//! Certificates as users have them: self-signed ones that are themselves in the files of authorities.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use support::*;

const POST: &str = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";

/// Makes `name.pem` and `name.key` as `openssl req -x509` does: the certificate is an authority.
fn self_signed(dir: &Path, name: &str) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn start_collector(dir: &Path, name: &str, yaml: &str) -> Process {
    let path = dir.join(format!("{name}.yaml"));
    std::fs::write(&path, yaml).unwrap();
    let log = dir.join(format!("{name}.log"));
    Process::start(Command::new(otelcore()).arg(format!("--config={}", path.display())), &log)
}

#[test]
fn self_signed_certificates_in_ca_files_are_accepted_by_server_and_client() {
    let dir = empty_test_dir("self-signed");
    self_signed(&dir, "server");
    self_signed(&dir, "client");
    let at = |file: &str| dir.join(file).display().to_string();
    let (grpc, http_port) = (free_port(), free_port());
    let tls = format!(
        "{{cert_file: {}, key_file: {}, client_ca_file: {}}}",
        at("server.pem"),
        at("server.key"),
        at("client.pem")
    );
    let out = dir.join("spans.txt");
    let mut gateway = start_collector(
        &dir,
        "gateway",
        &format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\", tls: {tls}}}, http: {{endpoint: \"127.0.0.1:{http_port}\", tls: {tls}}}}}}}}}\n\
             exporters: {{debug: {{use_internal_logger: false, output_paths: [{}]}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}\n",
            out.display()
        ),
    );
    wait_for_listener(&format!("127.0.0.1:{http_port}"), &mut gateway);
    let port = free_port();
    let tls =
        format!("{{ca_file: {}, cert_file: {}, key_file: {}}}", at("server.pem"), at("client.pem"), at("client.key"));
    let mut agent = start_collector(
        &dir,
        "agent",
        &format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
             exporters: {{otlp_grpc: {{endpoint: \"localhost:{grpc}\", tls: {tls}}}, otlp_http: {{endpoint: \"https://localhost:{http_port}\", tls: {tls}}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_grpc, otlp_http]}}}}}}\n"
        ),
    );
    let address = format!("127.0.0.1:{port}");
    wait_for_listener(&address, &mut agent);
    assert_eq!(http_request(&address, POST, &span_request("here")).0, 200);
    wait_until("both copies", || {
        let output_text = std::fs::read_to_string(&out).unwrap_or_default();
        (output_text.matches("\"spans\": 1").count() == 2).then_some(output_text)
    });
    for mut process in [agent, gateway] {
        process.signal("TERM");
        assert_eq!(process.wait_for_exit(Duration::from_secs(10)), 0, "{}", process.log_text());
    }
}

#[test]
fn validate_reports_an_unusable_key_and_ignores_a_missing_file() {
    let dir = empty_test_dir("unusable-key");
    let data = project_root().join("crates/net/src/tls/testdata");
    let path = dir.join("config.yaml");
    let validate = |tls: &str| {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{tls: {tls}}}}}}}}}\nexporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        let output = Command::new(otelcore()).args(["validate", &format!("--config={}", path.display())]).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let key_pair = |name: &str| {
        let at = |end: &str| data.join(format!("{name}.{end}")).display().to_string();
        format!("{{cert_file: {}, key_file: {}}}", at("pem"), at("key"))
    };
    for (name, part) in [
        ("rsa1024", "rsa1024.pem: an RSA key of 1024 bits can't be used; those of 2048 to 4096 bits can"),
        ("p521", "p521.pem: an ECDSA key on P-521 can't be used; those on P-256 and P-384 can"),
    ] {
        let (code, output_text) = validate(&key_pair(name));
        assert_eq!(code, Some(1), "{output_text}");
        assert!(
            output_text.starts_with("Error: \"otlp\" receiver: failed to load TLS config:")
                && output_text.contains(part),
            "{output_text}"
        );
    }
    assert_eq!(validate("{cert_file: /elsewhere/tls.crt, key_file: /elsewhere/tls.key}").0, Some(0));
}
