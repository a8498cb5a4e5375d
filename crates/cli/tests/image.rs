//! The image: its Dockerfile matches its tree, and its static binary runs in that tree as in a pod: PID 1, uid 10001, a
//! read-only root, names from the hosts file and a DNS server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "image/pod.rs"]
mod pod;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use otelcore_test_support::{DnsAnswer, DnsServer};
use pod::{Pod, enter_namespaces};
use support::*;

const NAMES: [&str; 5] = ["otelcol", "otelcol-contrib", "otelcol-k8s", "otelcol-otlp", "otelcore"];

/// A stage's name, and its instructions, including those of the stage that it is built on.
fn stages(dockerfile: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut stages: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in dockerfile.replace("\\\n", " ").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "FROM" {
            let mut words = rest.split_whitespace().filter(|w| !w.starts_with("--"));
            let base = words.next().unwrap();
            let inherited = stages.iter().find(|(name, _)| name == base).map(|(_, lines)| lines.clone());
            let name = words.nth(1).unwrap_or_default().to_owned();
            stages.push((name, inherited.unwrap_or_else(|| vec![("FROM".to_owned(), base.to_owned())])));
        } else {
            let words = rest.split_whitespace().collect::<Vec<_>>().join(" ");
            stages.last_mut().unwrap().1.push((word.to_owned(), words));
        }
    }
    stages
}

#[test]
fn dockerfile_copies_the_tree_of_the_script_and_starts_its_binaries() {
    let text = std::fs::read_to_string(project_root().join("deploy/image/Dockerfile")).unwrap();
    let stages = stages(&text);
    let find_stage =
        |name: &str| &stages.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no stage {name}")).1;
    let instructions = |lines: &[(String, String)], word: &str| {
        lines.iter().filter(|(w, _)| w == word).map(|(_, rest)| rest.clone()).collect::<Vec<_>>()
    };
    // The tree is what the script puts into the folder that is copied, and no instruction adds to it.
    let made = instructions(find_stage("build"), "RUN").pop().unwrap();
    assert!(made.ends_with("scripts/image --target \"$TARGETARCH\" /image"), "{made}");
    assert_eq!(stages.last().unwrap().0, "otelcore", "the default is the last one");
    let tree = image();
    for name in NAMES {
        let stage = find_stage(name);
        assert_eq!(instructions(stage, "FROM"), ["scratch"], "{name}");
        assert_eq!(instructions(stage, "COPY"), ["--from=build /image/ /"], "{name}");
        assert_eq!(instructions(stage, "USER"), ["10001:10001"], "{name}");
        assert_eq!(instructions(stage, "EXPOSE"), ["4317 4318 8888 13133 55679"], "{name}");
        assert_eq!(instructions(stage, "ENTRYPOINT"), [format!("[\"/{name}\"]")]);
        assert_eq!(instructions(stage, "CMD"), [format!("[\"--config=/etc/{name}/config.yaml\"]")]);
        for word in ["ADD", "RUN", "ENV", "VOLUME", "WORKDIR", "SHELL"] {
            assert!(instructions(stage, word).is_empty(), "{name}: {word}");
        }
    }
    let Some(tree) = tree else { return };
    let mut wanted: BTreeSet<String> = ["otelcore", "etc/ssl/certs/ca-certificates.crt"].map(str::to_owned).into();
    wanted.extend(NAMES.iter().flat_map(|name| [(*name).to_owned(), format!("etc/{name}/config.yaml")]));
    assert_eq!(files(&tree, &tree), wanted);
    for name in NAMES {
        assert_eq!(tree.join(name).canonicalize().unwrap(), tree.join("otelcore").canonicalize().unwrap(), "{name}");
    }
    let bundle = std::fs::read_to_string(tree.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(bundle.matches("BEGIN CERTIFICATE").count() > 50);
}

fn files(dir: &Path, tree: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let inside = |path: std::path::PathBuf| {
        let real = path.is_dir() && !path.is_symlink();
        if real { files(&path, tree) } else { [path.strip_prefix(tree).unwrap().display().to_string()].into() }
    };
    entries.flat_map(inside).collect()
}

#[test]
fn every_command_name_starts_as_pid_1_with_and_without_its_argument() {
    let Some(tree) = enter_namespaces("every_command_name_starts_as_pid_1_with_and_without_its_argument") else {
        return;
    };
    for name in NAMES {
        let argument = format!("--config=/etc/{name}/config.yaml");
        let old = argument.replace("--config=", "-config=");
        for args in [&[argument.as_str()][..], &[&old], &[]] {
            if args.is_empty() && name == "otelcore" {
                continue; // has a default of its own
            }
            let pod = Pod::new(&tree, "", "");
            let mut running = pod.start(name, args, &[("GOMEMLIMIT", "134217728"), ("GOMAXPROCS", "a few")]);
            let (status, page) = wait_until("the health check", || {
                running.assert_running();
                std::net::TcpStream::connect("127.0.0.1:13133")
                    .ok()
                    .map(|_| http_get("127.0.0.1:13133", "/"))
                    .map(|(status, page)| format!("{status} {page}"))
            })
            .split_once(' ')
            .map(|(status, page)| (status.to_owned(), page.to_owned()))
            .unwrap();
            assert_eq!(status, "200", "{page}");
            assert!(http_get("127.0.0.1:8888", "/metrics").1.contains("otelcol_process_uptime"), "{name}");
            let body = include_bytes!("image/span.json");
            let head = "POST /v1/traces HTTP/1.0\r\nHost: pod\r\nContent-Type: application/json";
            assert_eq!(http_request("127.0.0.1:4318", head, body).0, 200);
            let status = running.status();
            for line in
                ["Uid:\t10001\t10001\t10001\t10001", "Gid:\t10001", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
            {
                assert!(status.contains(line), "{line} in {status}");
            }
            let nspid = status.lines().find(|l| l.starts_with("NSpid:")).unwrap();
            assert!(nspid.ends_with("\t1"), "PID 1: {nspid}");
            let written = std::fs::write(pod.root.join("x"), b"x").unwrap_err();
            assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{written}");
            running.terminate();
            let output = running.wait_for_exit_code(0);
            for line in [
                "\"GOMEMLIMIT\": 134217728",
                "Received signal from OS",
                "Name           : an order",
                "Shutdown complete.",
            ] {
                assert!(output.contains(line), "{line} in {output}");
            }
            assert!(output.contains(&format!("Starting {name}...")), "{output}");
        }
    }
}

#[test]
fn gomemlimit_without_a_cgroup_limit_is_the_base_of_percentages() {
    let name = "gomemlimit_without_a_cgroup_limit_is_the_base_of_percentages";
    let Some(tree) = enter_namespaces(name) else { return };
    let config = "
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:4318'}}}}
processors: {memory_limiter: {check_interval: 1s, limit_percentage: 50, spike_limit_percentage: 25}}
exporters: {debug: }
service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], processors: [memory_limiter], exporters: [debug]}}}
";
    for (given, lines) in [
        ("204MiB", &["\"GOMEMLIMIT\": 213909504", "\"total_memory_mib\": 204"][..]),
        ("134217728", &["\"total_memory_mib\": 128"]),
        ("204MB", &["GOMEMLIMIT is not used", "malformed GOMEMLIMIT \\\"204MB\\\""]),
    ] {
        let pod = Pod::new(&tree, "", "");
        let mut running =
            pod.start("otelcol", &["--config=env:OTEL_CONFIG"], &[("OTEL_CONFIG", config), ("GOMEMLIMIT", given)]);
        running.wait_for_log("Everything is ready");
        running.terminate();
        let output = running.wait_for_exit_code(0);
        for line in lines {
            assert!(output.contains(line), "{given}: {line} in {output}");
        }
    }
}

/// An exporter for each kind of name, each with its own port.
const CONFIG: &str = "
extensions: {health_check: {endpoint: '127.0.0.1:13133'}}
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:4318'}}}}
exporters:
  otlp_grpc/a_silent: {endpoint: 'dns:///silent.example.com:5000', tls: {insecure: true}}
  otlp_grpc/hosts: {endpoint: 'dns:///api.hosts.example:5001', tls: {insecure: true}}
  otlp_grpc/headless: {endpoint: 'dns:///gateway-headless:5002', tls: {insecure: true}, balancer_name: round_robin}
  otlp_grpc/service: {endpoint: 'gateway.observability.svc:5003', tls: {insecure: true}}
  otlp_grpc/six: {endpoint: 'dns:///six.other:5004', tls: {insecure: true}}
  otlp_grpc/many: {endpoint: 'dns:///many:5005', tls: {insecure: true}, balancer_name: round_robin}
  otlp_grpc/nobody: {endpoint: 'dns:///nobody.other:5006', tls: {insecure: true}}
  otlp_http/outside: {endpoint: 'http://collector.example.com:5007'}
  otlp_grpc/v4only: {endpoint: 'dns:///v4only.example.com:5008', tls: {insecure: true}}
  otlp_grpc/failing: {endpoint: 'dns:///outside.example.com:5009', tls: {insecure: true}}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp_grpc/a_silent, otlp_grpc/hosts, otlp_grpc/headless, otlp_grpc/service, otlp_grpc/six, otlp_grpc/many, otlp_grpc/nobody, otlp_http/outside, otlp_grpc/v4only, otlp_grpc/failing]
";

#[test]
fn names_resolve_as_in_a_pod_and_a_silent_server_blocks_no_other_lookup() {
    let Some(tree) = enter_namespaces("names_resolve_as_in_a_pod_and_a_silent_server_blocks_no_other_lookup") else {
        return;
    };
    let four = |net: u8, hosts: std::ops::RangeInclusive<u8>| {
        hosts.map(|h| IpAddr::from([127, 0, net, h])).collect::<Vec<_>>()
    };
    let wanted = BTreeMap::from([
        (5001, four(2, 1..=1)),
        (5002, four(3, 1..=3)),
        (5003, four(4, 1..=1)),
        (5004, vec!["::1".parse().unwrap()]),
        (5005, four(1, 1..=100)),
        (5007, four(5, 1..=1)),
        (5008, four(6, 1..=1)),
        (5009, four(7, 1..=1)),
    ]);
    let names: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::from(
        [
            ("gateway-headless.default.svc.cluster.local", 5002),
            ("gateway.observability.svc.cluster.local", 5003),
            ("six.other.svc.cluster.local", 5004),
            ("many.default.svc.cluster.local", 5005),
            ("collector.example.com", 5007),
            ("v4only.example.com", 5008),
            ("outside.example.com", 5009),
        ]
        .map(|(name, port)| (name, wanted[&port].clone())),
    );
    let server = DnsServer::start("127.0.0.53:53".parse().unwrap(), move |name, record_type| match names.get(name) {
        _ if name == "silent.example.com" => DnsAnswer::Silence,
        _ if name.starts_with("v4only.") && record_type == 28 => DnsAnswer::ServerFailure,
        _ if name.starts_with("outside.") && name.ends_with(".cluster.local") => DnsAnswer::ServerFailure,
        Some(addresses) => DnsAnswer::Addresses(addresses.clone()),
        None => DnsAnswer::NoSuchName,
    });
    let accepted: BTreeMap<u16, SeenAddresses> = (5000..5010).map(|port| (port, listen(port))).collect();
    let pod = Pod::new(
        &tree,
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.53\noptions ndots:5\n",
        "127.0.0.1 localhost\n127.0.2.1 api.hosts.example\n",
    );
    let start = Instant::now();
    let mut running = pod.start("otelcol", &["--config=env:OTEL_CONFIG"], &[("OTEL_CONFIG", CONFIG)]);
    running.wait_for_log("Everything is ready");
    let head = "POST /v1/traces HTTP/1.0\r\nHost: pod\r\nContent-Type: application/json";
    assert_eq!(http_request("127.0.0.1:4318", head, include_bytes!("image/span.json")).0, 200);
    let wait_for_connections = |ports: std::ops::Range<u16>| {
        for (port, addresses) in wanted.range(ports) {
            let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
            let all = || accepted[port].lock().unwrap().clone();
            let end = Instant::now() + Duration::from_secs(40);
            while all() != addresses {
                let queries = server.queries();
                assert!(Instant::now() < end, "{port}: {:?} of {addresses:?}\n{queries}", all());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    wait_for_connections(5000..5008);
    let others_resolved = start.elapsed();
    let mut slowest = Duration::ZERO;
    running.wait_for_log_while("lookup silent.example.com: temporary failure in name resolution", || {
        let start = Instant::now();
        assert_eq!(http_get("127.0.0.1:13133", "/").0, 200);
        slowest = slowest.max(start.elapsed());
    });
    let lookup_failed = start.elapsed();
    assert!(slowest < Duration::from_secs(2), "the loop waited {slowest:?} for a name");
    assert!(
        others_resolved < lookup_failed,
        "all other names waited {others_resolved:?} for the silent one, which took {lookup_failed:?}"
    );
    running.wait_for_log("lookup nobody.other: no such host");
    // A server that fails for a part of the queries: the C library fails after some seconds, and then the rest is
    // queried.
    wait_for_connections(5008..5010);
    let queries = server.queries();
    assert!(queries.contains("TCP many.default.svc.cluster.local"), "{queries}");
    assert!(!queries.contains("api.hosts.example"), "the hosts file comes first: {queries}");
    running.terminate();
    running.terminate();
}

type SeenAddresses = Arc<Mutex<BTreeSet<IpAddr>>>;

/// Accepts connections on a port, and records the local address of each.
fn listen(port: u16) -> SeenAddresses {
    let seen = SeenAddresses::default();
    for host in ["0.0.0.0", "[::1]"] {
        let (listener, seen) = (TcpListener::bind(format!("{host}:{port}")).unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                seen.lock().unwrap().insert(stream.local_addr().unwrap().ip());
                held.push(stream);
            }
        });
    }
    seen
}
