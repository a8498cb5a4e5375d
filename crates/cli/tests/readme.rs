//! Runs what the README describes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::process::Command;
use std::time::Duration;

use support::*;

#[test]
fn default_start_prints_the_endpoints_and_received_spans() {
    let mut collector = Process::start(&mut Command::new(otelcore()), &empty_test_dir("default").join("log"));
    wait_for_listener("127.0.0.1:4318", &mut collector);
    wait_for_listener("127.0.0.1:4317", &mut collector);
    // One span of the service "cart".
    let span = b"\x0a\x2b\x0a\x18\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04cart\x12\x0f\x12\x0d\x2a\x0bGET /basket";
    let (status, response) = http_request(
        "127.0.0.1:4318",
        "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf",
        span,
    );
    assert_eq!(status, 200, "{response}");
    assert_eq!(http_get("127.0.0.1:9464", "/metrics").0, 200);
    let (status, page) = http_get("127.0.0.1:55679", "/");
    assert!(status == 200 && page.contains("otlp") && page.contains("summary"), "{page}");
    assert!(http_get("127.0.0.1:55679", "/api/v1/state").1.contains("\"edges\":[1,1,"), "the span is counted");
    collector.signal("INT");
    assert_eq!(collector.wait_for_exit(Duration::from_secs(10)), 0);
    let log = collector.log_text();
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines.len() >= 4, "{log}");
    assert!(lines[0].contains("127.0.0.1:4317") && lines[0].contains("127.0.0.1:4318"), "{log}");
    assert!(lines[1].contains("http://127.0.0.1:9464/metrics"), "{log}");
    assert!(lines[1].contains("http://127.0.0.1:55679 for a live page"), "{log}");
    assert!(lines[3].starts_with("received 1 spans"), "{log}");
}

#[test]
fn readme_commands_and_files_exist() {
    let readme = std::fs::read_to_string(project_root().join("README.md")).unwrap();
    for file in [
        "scripts/test",
        "ARCHITECTURE.md",
        "DIFFERENCES.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "benches/README.md",
    ] {
        assert!(readme.contains(file), "{file} is not named");
        assert!(project_root().join(file).is_file(), "{file} is not there");
    }
    for line in readme.lines().filter(|l| l.starts_with("otelcore ")) {
        let args: Vec<&str> = line.split(' ').skip(1).filter(|a| *a != "validate").collect();
        let output = Command::new(otelcore()).arg("validate").args(&args).current_dir(project_root()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn readme_manifest_error_equals_the_real_output() {
    let readme = std::fs::read_to_string(project_root().join("README.md")).unwrap();
    let expected = readme.split("```text\n").find(|block| block.starts_with("error: Service")).unwrap();
    let expected = expected.split("```").next().unwrap();
    let dir = empty_test_dir("readme-manifest");
    let manifest = project_root().join("crates/kubernetes/tests/vectors/tutorial.yaml");
    std::fs::copy(manifest, dir.join("otel-collector.yaml")).unwrap();
    let validate = ["validate", "--config=k8s:otel-collector.yaml"];
    let output = Command::new(otelcore()).args(validate).current_dir(dir).output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output_text}");
    assert!(output_text.contains(expected), "{expected}\nis not in\n{output_text}");
}

#[test]
fn readme_folders_exist() {
    let readme = std::fs::read_to_string(project_root().join("README.md")).unwrap();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.contains("://")) {
        assert!(project_root().join(link).exists(), "{link} is not there");
    }
    let applied = readme.lines().filter_map(|line| line.strip_prefix("kubectl apply -k "));
    for folder in applied {
        assert!(project_root().join(folder).join("kustomization.yaml").is_file(), "{folder}");
    }
}
