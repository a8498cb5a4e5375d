//! `validate` on Kubernetes manifests: one change to a correct file, and the expected findings.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use otelcore::Registry;
use otelcore::commands::{Terminal, run_command_line as command};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kubernetes/tests/vectors");

fn run(args: &[&str], env: &dyn Fn(&str) -> Option<String>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = Terminal { out: &mut out, err: &mut err, is_terminal: false, env };
    let args = ["otelcore"].iter().chain(args).map(OsString::from);
    let code = command(args, Registry::default(), &mut terminal);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn validate(paths: &[&Path]) -> (u8, String) {
    let configs: Vec<String> = paths.iter().map(|p| format!("--config=k8s:{}", p.display())).collect();
    let args: Vec<&str> = ["validate"].into_iter().chain(configs.iter().map(String::as_str)).collect();
    let (code, _, output) = run(&args, &|_| None);
    (code, output)
}

fn read_vector(name: &str) -> String {
    std::fs::read_to_string(format!("{VECTORS}/{name}")).unwrap()
}

/// A separate file for each test.
fn write_test_file(name: &str, text: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manifests");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Each finding as `error: message` with the text of the line that it points at.
fn findings(output: &str, text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("error: ") && !line.starts_with("warning: ") {
            continue;
        }
        let position = lines.peek().and_then(|l| l.trim_start().strip_prefix("--> ")).unwrap_or_default();
        let number = position.split(' ').next().unwrap_or_default().rsplit(':').nth(1);
        let at = number.and_then(|n| n.parse::<usize>().ok()).and_then(|n| text.lines().nth(n - 1));
        found.push((line.to_owned(), at.unwrap_or_default().trim().to_owned()));
    }
    found
}

/// Changes the good manifests and expects exactly these findings: the beginning of each, and a piece of its line.
#[track_caller]
fn assert_findings(name: &str, changes: &[(&str, &str)], expected: &[(&str, &str)]) -> String {
    let mut text = read_vector("good.yaml");
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in the good manifests");
        text = text.replacen(from, to, 1);
    }
    let (code, output) = validate(&[&write_test_file(&format!("{name}.yaml"), &text)]);
    let actual = findings(&output, &text);
    assert_eq!(actual.len(), expected.len(), "{output}");
    for ((message, line), (wanted, part)) in actual.iter().zip(expected) {
        assert!(message.starts_with(wanted), "{wanted}\nin\n{output}");
        assert!(line.contains(part), "{part} is not in {line:?}\nin\n{output}");
    }
    let errors = expected.iter().any(|(message, _)| message.starts_with("error"));
    assert_eq!(code, u8::from(errors), "{output}");
    output
}

#[test]
fn correct_manifests_give_no_findings() {
    let (code, output) = validate(&[Path::new(&format!("{VECTORS}/good.yaml"))]);
    assert_eq!((code, output.as_str()), (0, ""));
}

#[test]
fn service_port_without_listener_is_an_error_that_suggests_a_port() {
    let output = assert_findings(
        "service",
        &[("port: 8889}", "port: 8889, targetPort: 9092}"), ("{port: 8889, protocol", "{port: 9092, protocol")],
        &[("error: Service gateway, port 8889 (metrics): nothing listens on 9092", "targetPort: 9092")],
    );
    assert!(output.contains("the exporter `prometheus` listens on 8889: write `targetPort: 8889` here"), "{output}");
}

#[test]
fn service_with_unknown_port_name_is_an_error() {
    let output = assert_findings(
        "named",
        &[("targetPort: otlp}", "targetPort: oltp}")],
        &[("error: Service gateway: no container of the pod has a port named \"oltp\"", "targetPort: oltp")],
    );
    assert!(output.contains("did you mean `otlp`?"), "{output}");
}

#[test]
fn service_with_udp_to_a_tcp_listener_is_an_error() {
    assert_findings(
        "udp",
        &[("targetPort: 4318}", "targetPort: 4318, protocol: UDP}")],
        &[("error: Service gateway, port 80 (otlp-http): the receiver `otlp` (HTTP) listens there with TCP", "UDP")],
    );
}

#[test]
fn service_selector_without_matching_pod_is_a_warning() {
    let output = assert_findings(
        "selector",
        &[("selector: {app: gateway, tier: telemetry}", "selector: {app: gateway, tier: telemetri}")],
        &[("warning: Service gateway leads to no pod of these files", "telemetri")],
    );
    assert!(output.contains("has `tier: telemetry`"), "{output}");
}

#[test]
fn container_port_without_listener_is_a_warning_and_host_port_an_error() {
    let change = "{name: metrics, containerPort: 8889}\n            - {name: more, containerPort: 9999";
    let row = |to: &str| [("{name: metrics, containerPort: 8889}", format!("{change}{to}}}"))];
    let [(from, to)] = &row("");
    assert_findings("container", &[(from, to)], &[("warning: container port 9999: nothing listens on 9999", "9999")]);
    let [(from, to)] = &row(", hostPort: 9999");
    assert_findings("node", &[(from, to)], &[("error: container port 9999: nothing listens on 9999", "9999")]);
}

#[test]
fn scrape_annotation_on_a_port_without_a_metrics_page_is_an_error() {
    let output = assert_findings(
        "scrape",
        &[("prometheus.io/port: \"8889\"", "prometheus.io/port: \"9090\"")],
        &[("error: annotation prometheus.io/port: \"9090\": nothing listens on 9090", "9090")],
    );
    assert!(output.contains("write `prometheus.io/port: \"8889\"` here"), "{output}");
    assert_findings(
        "scrape-otlp",
        &[("prometheus.io/port: \"8889\"", "prometheus.io/port: \"4318\"")],
        &[(
            "error: annotation prometheus.io/port: \"4318\": the receiver `otlp` (HTTP) listens there, which is no",
            "4318",
        )],
    );
    assert_findings(
        "scrape-path",
        &[("prometheus.io/path: /metrics", "prometheus.io/path: /stats")],
        &[("error: annotation prometheus.io/path: the exporter `prometheus` has its page at /metrics", "/stats")],
    );
}

#[test]
fn receiver_on_localhost_behind_a_service_is_an_error_at_its_endpoint() {
    let output = assert_findings(
        "localhost",
        &[("grpc: {endpoint: \"${env:MY_POD_IP}:4317\"}", "grpc:")],
        &[("error: the receiver `otlp` (gRPC) listens on localhost:4317", "grpc:")],
    );
    assert!(output.contains("Service gateway, port 4317 (otlp-grpc)"), "{output}");
    assert!(output.contains("write `endpoint: \"0.0.0.0:4317\"`"), "{output}");
    // The address comes from a variable, whose value is in a ConfigMap.
    let output = assert_findings(
        "variable",
        &[
            ("{fieldRef: {fieldPath: status.podIP}}}", "{configMapKeyRef: {name: gateway, key: host}}}"),
            ("data:\n", "data:\n  host: 127.0.0.1\n"),
        ],
        &[
            ("error: the receiver `otlp` (gRPC) listens on 127.0.0.1:4317", "grpc:"),
            ("error: the receiver `otlp` (HTTP) listens on 127.0.0.1:4318", "http:"),
        ],
    );
    assert!(output.contains("Service gateway"), "{output}");
}

#[test]
fn sidecar_receiver_on_localhost_is_accepted() {
    let sidecar = "      containers:\n        - {name: app, image: app, ports: [{containerPort: 8080}]}\n";
    assert_findings(
        "sidecar",
        &[
            ("      containers:\n", sidecar),
            ("http: {endpoint: \"[${env:MY_POD_IP}]:4318\"}", "http: {endpoint: \"localhost:4318\"}"),
            ("    - {name: otlp-http, port: 80, targetPort: 4318}\n", ""),
            ("requests: {cpu: 200m}, ", ""),
        ],
        &[("error: an autoscaler by cpu utilization, and a container that requests no cpu", "Utilization")],
    );
}

#[test]
fn probe_that_can_not_succeed_is_an_error() {
    let output = assert_findings(
        "probe",
        &[("extensions: [health_check]", "extensions: []")],
        &[
            ("error: livenessProbe: nothing listens on 13133", "livenessProbe"),
            ("error: readinessProbe: nothing listens on 13133", "readinessProbe"),
        ],
    );
    assert!(output.contains("`extensions: [health_check]` under `service:`"), "{output}");
    assert_findings(
        "probe-path",
        &[("{endpoint: \"0.0.0.0:13133\"}", "{endpoint: \"0.0.0.0:13133\", path: /ready}")],
        &[("error: livenessProbe: the extension `health_check` answers on /ready alone, not on /", "livenessProbe")],
    );
    assert_findings(
        "probe-localhost",
        &[("health_check: {endpoint: \"0.0.0.0:13133\"}", "health_check:")],
        &[("error: the extension `health_check` listens on localhost:13133", "health_check:")],
    );
    assert_findings(
        "probe-grpc",
        &[("livenessProbe: {httpGet: {path: /, port: 13133}}", "livenessProbe: {grpc: {port: 4317}}")],
        &[("error: livenessProbe: the receiver `otlp` (gRPC) does not answer gRPC health checks", "livenessProbe")],
    );
    assert_findings(
        "probe-name",
        &[("livenessProbe: {httpGet: {path: /, port: 13133}}", "livenessProbe: {httpGet: {path: /, port: health}}")],
        &[("error: livenessProbe: the container has no port named \"health\"", "livenessProbe")],
    );
}

#[test]
fn memory_limit_below_the_limiters_limit_is_an_error() {
    let output = assert_findings(
        "memory",
        &[("memory: 512Mi", "memory: 256Mi")],
        &[("error: limit_mib: 400 of a container that may have 256 MiB", "limit_mib")],
    );
    assert!(output.contains("write `limit_mib: 204`, or a memory limit of 500Mi"), "{output}");
    assert_findings("near", &[("memory: 512Mi", "memory: 410Mi")], &[("warning: limit_mib: 400", "limit_mib")]);
    assert_findings(
        "milli",
        &[("memory: 512Mi", "memory: 512m")],
        &[("error: a memory limit of 512m is 0.512 bytes", "512m")],
    );
}

#[test]
fn grace_period_shorter_than_the_drain_is_a_warning() {
    let output = assert_findings(
        "grace",
        &[("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 20")],
        &[("warning: a grace period of 20 s (preStop takes 5 of them): a stop may take 25 s", "20")],
    );
    assert!(output.contains("write `terminationGracePeriodSeconds: 35`, or `--shutdown-timeout=13s`"), "{output}");
    assert_findings(
        "grace-attempt",
        &[("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 8")],
        &[("error: a grace period of 8 s (preStop takes 5 of them) is shorter than one attempt of the exporter", "8")],
    );
    assert_findings(
        "grace-flag",
        &[
            ("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 20"),
            ("timeout=1s\"", "timeout=1s\", --shutdown-timeout=10s"),
        ],
        &[],
    );
}

#[test]
fn missing_mounts_are_errors() {
    let output = assert_findings(
        "mount",
        &[("mountPath: /conf}", "mountPath: /config}")],
        &[("error: open /conf/collector.yaml: no such file or directory: no volume is mounted there", "args")],
    );
    assert!(output.contains("mounted are /config, /tls"), "{output}");
    let output = assert_findings(
        "key",
        &[(
            "configMap: {name: gateway}}",
            "configMap: {name: gateway, items: [{key: collector.yml, path: collector.yaml}]}}",
        )],
        &[("error: ConfigMap gateway has no key \"collector.yml\"", "items")],
    );
    assert!(output.contains("did you mean `collector.yaml`?"), "{output}");
    assert_findings(
        "file",
        &[("--config=/conf/collector.yaml", "--config=/conf/relay.yaml")],
        &[("error: /conf/relay.yaml: ConfigMap gateway puts no such file there", "args")],
    );
    let output = assert_findings(
        "volume",
        &[("{name: conf, configMap", "{name: conff, configMap")],
        &[("error: volumeMounts: the pod has no volume named \"conf\"", "mountPath: /conf")],
    );
    assert!(output.contains("did you mean `conff`?"), "{output}");
    let output = assert_findings(
        "object",
        &[("configMap: {name: gateway}", "configMap: {name: gatewey}")],
        &[("warning: ConfigMap gatewey is not in these files; the configuration is not checked", "gatewey")],
    );
    assert!(output.contains("did you mean `gateway`?"), "{output}");
    assert_findings(
        "tls",
        &[("            - {name: tls, mountPath: /tls, readOnly: true}\n", "")],
        &[("error: open /tls/ca.crt: no such file or directory", "ca_file")],
    );
}

#[test]
fn container_arguments_are_parsed_as_the_collector_parses_them() {
    assert_findings(
        "flag",
        &[("\"--set=processors.batch.timeout=1s\"", "\n            \"--confg=x\"")],
        &[("error: unknown flag: --confg", "--confg=x")],
    );
    assert_findings(
        "old",
        &[("\"--set=processors.batch.timeout=1s\"", "\n            \"--mem-ballast-size-mib=64\"")],
        &[("warning: flag --mem-ballast-size-mib is deprecated", "--mem-ballast")],
    );
    assert_findings("set", &[("timeout=1s", "timeout=1x")], &[("error: 'timeout' time: unknown unit", "")]);
}

#[test]
fn autoscaler_by_cpu_without_a_cpu_request_is_an_error() {
    assert_findings(
        "autoscaler",
        &[("requests: {cpu: 200m}, ", "")],
        &[("error: an autoscaler by cpu utilization, and a container that requests no cpu", "Utilization")],
    );
}

#[test]
fn network_policy_that_blocks_a_service_port_is_a_warning() {
    assert_findings(
        "policy",
        &[("{port: 4317}, {port: 4318}", "{port: 4318}")],
        &[(
            "warning: Service gateway, port 4317 (otlp-grpc): NetworkPolicy gateway lets nothing in to port 4317",
            "otlp-grpc",
        )],
    );
}

#[test]
fn manifest_that_the_api_server_refuses_is_an_error() {
    assert_findings(
        "string",
        &[("prometheus.io/port: \"8889\"", "prometheus.io/port: 8889")],
        &[("error: prometheus.io/port must be a string", "8889")],
    );
    assert_findings(
        "labels",
        &[("matchLabels: {app: gateway}", "matchLabels: {app: gatewai}")],
        &[("error: Deployment gateway: its selector does not select its own pods", "gatewai")],
    );
    let app = "      containers:\n        - {name: app, image: app, ports: [{containerPort: 4317}], resources: {requests: {cpu: 1}}}\n";
    assert_findings(
        "twice",
        &[("      containers:\n", app)],
        &[("error: two containers of the pod have port 4317", "containerPort: 4317}], resources")],
    );
}

#[test]
fn queue_on_disk_without_a_fitting_volume_is_reported() {
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data:
  c.yaml: |
    receivers: {otlp: {protocols: {grpc: {endpoint: \"0.0.0.0:4317\"}}}}
    exporters:
      otlp_grpc:
        endpoint: backend:4317
        tls: {insecure: true}
        sending_queue: {storage: file_storage, sizer: bytes, queue_size: 4294967296}
    extensions:
      file_storage: {directory: /data, create_directory: true}
    service:
      extensions: [file_storage]
      telemetry: {metrics: {level: none}}
      pipelines: {traces: {receivers: [otlp], exporters: [otlp_grpc]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: durable}
spec:
  serviceName: durable
  selector: {matchLabels: {app: durable}}
  template:
    metadata: {labels: {app: durable}}
    spec:
      containers:
        - name: otelcore
          image: ghcr.io/otelcore/otelcore:0.1.0
          args: [--config=/conf/c.yaml]
          ports: [{containerPort: 4317}]
          volumeMounts:
            - {name: conf, mountPath: /conf}
            - {name: queue, mountPath: /data}
      volumes:
        - {name: conf, configMap: {name: conf}}
  volumeClaimTemplates:
    - metadata: {name: queue}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 8Gi}}}
";
    let mount = "            - {name: queue, mountPath: /data}\n";
    let (container, read_only) =
        ("          args:", "          securityContext: {readOnlyRootFilesystem: true}\n          args:");
    let claims = "  volumeClaimTemplates:\n    - metadata: {name: queue}\n      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 8Gi}}}\n";
    type Changes<'c> = &'c [(&'c str, &'c str)];
    let cases: [(Changes<'_>, Option<&str>); 6] = [
        (&[], None),
        (
            &[("8Gi", "4Gi")],
            Some("warning: the volume has 4Gi and the queues may need 7 GiB: 1 of them, 4 GiB that wait"),
        ),
        (&[(mount, "")], Some("warning: no volume is mounted at /data: what is in the queue on disk is lost")),
        (
            &[(mount, ""), (container, read_only)],
            Some("error: mkdir /data: read-only file system: no volume is mounted there"),
        ),
        (
            &[(mount, "            - {name: queue, mountPath: /data, readOnly: true}\n")],
            Some("error: mkdir /data: read-only file system"),
        ),
        (
            &[(claims, ""), ("      volumes:\n", "      volumes:\n        - {name: queue, emptyDir: {}}\n")],
            Some("warning: /data is an `emptyDir`: what is in the queue on disk is lost with the pod"),
        ),
    ];
    for (number, (changes, expected)) in cases.into_iter().enumerate() {
        let mut text = text.to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let (_, output) = validate(&[&write_test_file(&format!("storage-{number}.yaml"), &text)]);
        let found: Vec<String> = findings(&output, &text).into_iter().map(|(message, _)| message).collect();
        match expected {
            None => assert_eq!(found, Vec::<String>::new(), "{output}"),
            Some(expected) => assert!(found.iter().any(|line| line.starts_with(expected)), "{output}"),
        }
    }
}

#[test]
fn hook_program_missing_in_the_image_is_a_warning() {
    let hook = "lifecycle: {preStop: {exec: {command: [sleep, \"5\"]}}}";
    let output = assert_findings(
        "hook",
        &[("lifecycle: {preStop: {sleep: {seconds: 5}}}", hook)],
        &[("warning: preStop: the images of collectors have no \"sleep\"", "sleep")],
    );
    assert!(output.contains("`preStop: {sleep: {seconds: 5}}`"), "{output}");
}

#[test]
fn output_file_that_is_not_writable_is_reported() {
    let logs = ("      telemetry:\n", "      telemetry:\n        logs: {output_paths: [/var/log/own.log]}\n");
    assert_findings(
        "write",
        &[logs],
        &[("warning: /var/log/own.log is in the image, where the collector may not write", "logs")],
    );
    let read_only = ("          env:\n", "          securityContext: {readOnlyRootFilesystem: true}\n          env:\n");
    assert_findings(
        "read-only",
        &[logs, read_only],
        &[("error: open /var/log/own.log: read-only file system", "logs")],
    );
}

#[test]
fn two_listeners_on_one_port_are_an_error() {
    assert_findings(
        "clash",
        &[
            ("endpoint: \"0.0.0.0:8889\"", "endpoint: \"0.0.0.0:8888\""),
            ("port: 8889}", "port: 8889, targetPort: 8888}"),
            ("prometheus.io/port: \"8889\"", "prometheus.io/port: \"8888\""),
            ("containerPort: 8889", "containerPort: 8888"),
            ("{port: 8889, protocol", "{port: 8888, protocol"),
        ],
        &[(
            "error: the exporter `prometheus` and the page of the collector's own metrics both listen on port 8888",
            "readers",
        )],
    );
}

#[test]
fn configuration_errors_have_their_line_of_the_manifest() {
    let output = assert_findings(
        "nested",
        &[("      batch:\n", "      batch: {timeot: 1s}\n")],
        &[("error: 'processors::batch' has invalid keys: timeot", "batch: {timeot: 1s}")],
    );
    assert!(output.contains("did you mean `timeout`?"), "{output}");
    // A value that is only in a Secret is no mistake.
    assert_findings("secret", &[("check_interval: 1s", "check_interval: \"${env:TOKEN}\"")], &[]);
    let output = assert_findings(
        "value",
        &[
            ("check_interval: 1s", "check_interval: \"${env:EVERY}\""),
            ("          env:\n", "          env:\n            - {name: EVERY, value: 5x}\n"),
        ],
        &[("error: 'check_interval' time: unknown unit", "EVERY")],
    );
    assert!(output.contains("the value of EVERY"), "{output}");
}

/// The vectors, each with the expected output in a file beside it. `UPDATE_VECTORS=1` writes these files anew; review
/// them before they are committed.
#[test]
fn vectors_give_the_expected_output() {
    let mut count = 0;
    for entry in std::fs::read_dir(VECTORS).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let (_, output) = validate(&[&path]);
        let output = output.replace(&format!("{VECTORS}/"), "");
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&expected, &output).unwrap();
        }
        assert_eq!(output, std::fs::read_to_string(&expected).unwrap_or_default(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn manifest_as_configuration_runs_and_names_its_object() {
    let good = format!("{VECTORS}/good.yaml");
    let vars = |name: &str| (name == "TOKEN").then(|| "secret".to_owned());
    let (code, out, err) =
        run(&["print-config", &format!("--config={good}"), "--set=processors.batch.timeout=7s"], &vars);
    assert_eq!(code, 0, "{err}");
    // The pod's address becomes this machine's loopback, and the flags of this command line take precedence.
    assert!(out.contains("endpoint: \"127.0.0.1:4317\"") && out.contains("timeout: 7s"), "{out}");
    assert!(err.contains("this is the configuration of Deployment gateway, container collector"), "{err}");
    let (code, _, err) = run(&["print-config", &format!("--config=k8s:{good}")], &vars);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn fragment_selects_one_of_several_collectors() {
    let path = format!("k8s:{VECTORS}/resource.yaml");
    let (code, _, err) = run(&["print-config", &format!("--config={path}")], &|_| None);
    assert_eq!(code, 1);
    assert!(err.contains("has 2 collectors: OpenTelemetryCollector simplest; OpenTelemetryCollector gateway"), "{err}");
    assert!(err.contains("#gateway"), "{err}");
    let (code, out, err) = run(&["print-config", &format!("--config={path}#simplest")], &|_| None);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("endpoint: \"0.0.0.0:4317\"") && out.contains("host: 0.0.0.0"), "{out}");
    let (_, _, err) = run(&["print-config", &format!("--config={path}#nobody")], &|_| None);
    assert!(err.contains("no collector is called nobody"), "{err}");
}

#[test]
fn several_files_and_folders_are_checked_together() {
    let text = read_vector("good.yaml");
    let (map, rest) = text.split_once("---\n").unwrap();
    let (map, rest) = (write_test_file("split-map.yaml", map), write_test_file("split-rest.yaml", rest));
    assert_eq!(validate(&[&map, &rest]), (0, String::new()));
    let (code, output) = validate(&[&rest]);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("warning: ConfigMap gateway is not in these files"), "{output}");
    let folder = map.with_file_name("folder");
    std::fs::create_dir_all(&folder).unwrap();
    for file in [&map, &rest] {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    assert_eq!(validate(&[&folder]), (0, String::new()));
}

#[test]
fn kustomization_includes_its_resources_and_generated_config_maps() {
    let text = read_vector("good.yaml");
    let (map, rest) = text.split_once("---\n").unwrap();
    // The configuration only, without the block scalar around it.
    let body = map.split_once("collector.yaml: |\n").unwrap().1;
    let config: String = body.lines().map(|l| format!("{}\n", l.strip_prefix("    ").unwrap_or(l))).collect();
    let base = write_test_file("x", "").with_file_name("kustomize").join("base");
    let overlay = base.with_file_name("overlay");
    for folder in [&base, &overlay] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let kustomization =
        "resources: [gateway.yaml]\nconfigMapGenerator: [{name: gateway, files: [collector.yaml=config.txt]}]\n";
    std::fs::write(base.join("kustomization.yaml"), kustomization).unwrap();
    std::fs::write(base.join("gateway.yaml"), rest).unwrap();
    std::fs::write(base.join("config.txt"), &config).unwrap();
    std::fs::write(overlay.join("kustomization.yaml"), "namePrefix: a-\nresources: [../base]\n").unwrap();
    assert_eq!(validate(&[&base]), (0, String::new()));
    let (code, output) = validate(&[&overlay]);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("warning: `namePrefix` is not applied here"), "{output}");
    // A mistake is reported at its place in the file that the ConfigMap is made of.
    let wrong = config.replace("limit_mib: 400", "limit_mob: 400");
    std::fs::write(base.join("config.txt"), &wrong).unwrap();
    let (code, output) = validate(&[&base]);
    let line = wrong.lines().position(|l| l.contains("limit_mob")).unwrap() + 1;
    assert_eq!(code, 1);
    assert!(output.contains("has invalid keys: limit_mob"), "{output}");
    assert!(output.contains(&format!("config.txt:{line}:")), "{output}");
}

#[test]
fn plain_configuration_is_not_treated_as_a_manifest() {
    let text = "receivers: {nop: }\nexporters: {nop: }\nservice: {pipelines: {traces: {receivers: [nop], exporters: [nop]}}}\n";
    let path = write_test_file("ordinary.yaml", text);
    let (code, _, err) = run(&["validate", &format!("--config={}", path.display())], &|_| None);
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, _, err) = run(&["validate", &format!("--config=k8s:{}", path.display())], &|_| None);
    assert_eq!(code, 1);
    assert!(err.contains("no collector and no configuration of one"), "{err}");
}

/// The tutorial's file, where it is beside the repository: exactly the real mistakes, each at its line.
#[test]
fn tutorial_manifest_gives_exactly_its_known_findings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/seed/otel-collector.yaml");
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let (code, output) = validate(&[&path]);
    let found: Vec<_> =
        findings(&output, &text).into_iter().map(|(message, line)| format!("{message} @ {line}")).collect();
    let expected = [
        ("warning: the jaeger exporter has been removed", "@ jaeger:"),
        ("warning: 'insecure' is deprecated", "@ insecure: true"),
        ("warning: the logging exporter has been deprecated", "@ logging:"),
        ("error: Service otel-collector, port 8889 (metrics): nothing listens on 8889", "@ targetPort: 8889"),
        ("error: annotation prometheus.io/port: \"8889\": nothing listens", "@ prometheus.io/port: \"8889\""),
        ("warning: flag --mem-ballast-size-mib is deprecated", "@ - \"--mem-ballast-size-mib=683\""),
        ("warning: container port 8889: nothing listens on 8889", "@ - containerPort: 8889"),
    ];
    assert_eq!((found.len(), code), (expected.len(), 1), "{output}");
    for (found, (message, line)) in found.iter().zip(expected) {
        assert!(found.starts_with(message) && found.ends_with(line), "{found}");
    }
    assert!(output.contains("the exporter `prometheus` listens on 9092: write `targetPort: 9092` here"), "{output}");
}

/// What the Operator and the chart render, where it is beside the repository: the only findings are components that are
/// not built in, and real mistakes.
#[test]
fn rendered_operator_and_chart_manifests_have_no_false_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/k8s");
    for folder in ["helm", "kube-stack", "operator/rendered", "operator/cr"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for path in entries.map(|e| e.unwrap().path()) {
            let text = std::fs::read_to_string(&path).unwrap();
            if !text.contains("kind:") || path.extension().is_none_or(|e| e != "yaml") {
                continue;
            }
            let (_, output) = validate(&[&path]);
            for (message, line) in findings(&output, &text) {
                let known = [
                    "unknown type: ",
                    "no collector and no configuration of one",
                    "alias is deprecated",
                    "is gone and has no effect",
                    // The operator drops a connector whose value is null, and the CR has one.
                    "\"spanmetrics\" which is not configured",
                    // The chart sets MY_POD_IP, the operator does not.
                    "unset environment variable \"MY_POD_IP\"",
                    // The kubelet replaces `$${env:NO}` by `${env:NO}`.
                    "unset environment variable \"NO\"",
                    "container port 8888 stands twice",
                    "with an `otlp` exporter",
                ];
                assert!(known.iter().any(|k| message.contains(k)), "{}: {message}\n{line}", path.display());
            }
        }
    }
}
