//! Tests of the runner itself: it enforces what it says it enforces.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::time::Instant;

use otelcore_pods::load::wait_until;
use otelcore_pods::{http, run_in_namespaces};
use support::*;

/// A pod of one container on the machine's own root.
fn pod(name: &str, pod_fields: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  {pod_fields}\n  containers:\n  - name: c\n    image: machine\n    {container}\n---\n"
    )
}

#[test]
fn container_is_pid_1_with_its_user_and_no_capabilities() {
    run_in_namespaces("container_is_pid_1_with_its_user_and_no_capabilities", image, |tree| {
        let cluster = cluster("nobody", 1, tree);
        cluster.apply(&read_vector("chart-deployment.yaml").replace(
            "          securityContext:\n            {}\n",
            "          securityContext: {runAsUser: 10002, runAsGroup: 10003, readOnlyRootFilesystem: true}\n",
        ));
        cluster.wait_until_ready(TIME_LIMIT);
        let pod = cluster.pods(&cluster.workloads()[0])[0].clone();
        let status = pod.process("opentelemetry-collector").unwrap();
        let status_values = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(status_values("Uid"), ["10002"; 4]);
        assert_eq!(status_values("Gid"), ["10003"; 4]);
        assert_eq!(status_values("Groups"), ["10003"]);
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
            assert_eq!(status_values(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(status_values("NoNewPrivs"), ["1"]);
        assert_eq!(status_values("NSpid").last().map(String::as_str), Some("1"));
        pod.stop();
    });
}

#[test]
fn read_only_root_refuses_files_and_empty_dir_accepts_them() {
    run_in_namespaces("read_only_root_refuses_files_and_empty_dir_accepts_them", image, |tree| {
        let cluster = cluster("read-only", 1, tree);
        let pod_with_output = |name: &str, path: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  securityContext: {{runAsUser: 0}}\n  containers:\n  - name: c\n    image: ours\n    args: ['--config=yaml:{{receivers: {{otlp: {{protocols: {{http: }}}}}}, exporters: {{debug: {{use_internal_logger: false, output_paths: [{path}]}}}}, service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}}}']\n    securityContext: {{readOnlyRootFilesystem: true}}\n    volumeMounts: [{{name: v, mountPath: /scratch}}]\n  volumes: [{{name: v, emptyDir: {{}}}}]\n"
            )
        };
        cluster.apply(&pod_with_output("refused", "/file"));
        cluster.apply(&pod_with_output("taken", "/scratch/file"));
        let refused = cluster.pod("refused");
        wait_until("it gives up", TIME_LIMIT, || refused.exits("c").first().copied().filter(|code| *code == 1));
        assert!(refused.all_output().contains("ead-only file system"), "{}", refused.all_output());
        let taken = cluster.pod("taken");
        wait_until("it runs", TIME_LIMIT, || taken.all_output().contains("Everything is ready").then_some(()));
        assert_eq!(taken.stop(), [0]);
    });
}

#[test]
fn memory_limit_and_grace_period_are_enforced() {
    run_in_namespaces("memory_limit_and_grace_period_are_enforced", image, |tree| {
        let cluster = cluster("limits", 1, tree);
        let pods_binary = env!("CARGO_BIN_EXE_pods");
        cluster.apply(&format!(
            "{}{}{}",
            pod(
                "greedy",
                "",
                &format!("command: [{pods_binary}, hold, '200']\n    resources: {{limits: {{memory: 64Mi}}}}")
            ),
            pod(
                "stubborn",
                "terminationGracePeriodSeconds: 1",
                "command: [sh, -c, 'trap \"\" TERM; echo trapped; sleep 60']"
            ),
            pod(
                "polite",
                "terminationGracePeriodSeconds: 5",
                "command: [sh, -c, 'trap \"exit 3\" TERM; echo trapped; while :; do sleep 0.05; done']\n    lifecycle: {preStop: {sleep: {seconds: 1}}}"
            ),
        ));
        let greedy = cluster.pod("greedy");
        if otelcore_pods::enforces_memory() {
            wait_until("it is killed and starts again", TIME_LIMIT, || (greedy.exits("c").len() > 1).then_some(()));
            assert!(greedy.exits("c").iter().all(|code| *code == 137), "{:?}", greedy.exits("c"));
        } else {
            eprintln!("skipped: no memory group can be made here");
        }
        for (name, code, least, most) in [("stubborn", 137, 1.0, 10.0), ("polite", 3, 1.0, 4.5)] {
            let pod = cluster.pod(name);
            wait_until("it has set its trap", TIME_LIMIT, || pod.output("c").contains("trapped").then_some(()));
            let start = Instant::now();
            assert_eq!(pod.stop(), [code], "{name}");
            let elapsed = start.elapsed().as_secs_f64();
            assert!((least..most).contains(&elapsed), "{name} took {elapsed} s");
        }
    });
}

#[test]
fn failed_liveness_probe_restarts_and_services_use_ready_pods() {
    run_in_namespaces("failed_liveness_probe_restarts_and_services_use_ready_pods", image, |tree| {
        let cluster = cluster("liveness", 2, tree);
        let pods = env!("CARGO_BIN_EXE_pods");
        let relay = |listen: &str, probe: &str| {
            format!(
                "command: [{pods}, relay, '{listen}', '172.30.0.1:9']\n    ports: [{{name: web, containerPort: 8080}}]\n    {probe}"
            )
        };
        cluster.apply(&format!(
            "{}{}{}apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: web}}]}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: bare}}\nspec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 80}}]}}\n---\n",
            pod("web", "terminationGracePeriodSeconds: 1", &relay("0.0.0.0:8080", "readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1}")),
            pod("never", "", &relay("0.0.0.0:8081", "readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1}"))
                .replace("app: never", "app: web"),
            pod(
                "sick",
                "",
                "command: [sh, -c, 'trap \"exit 7\" TERM; while :; do sleep 0.05; done']\n    livenessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 2}"
            ),
        ));
        let (web, never, sick) = (cluster.pod("web"), cluster.pod("never"), cluster.pod("sick"));
        wait_until("the one is ready", TIME_LIMIT, || web.is_ready().then_some(()));
        wait_until("the sick one was restarted", TIME_LIMIT, || (sick.exits("c").len() > 1).then_some(()));
        assert_eq!(sick.exits("c")[0], 7);
        assert!(!never.is_ready());
        // Names as a pod resolves them: the search list, a ClusterIP, a headless service of ready pods, and an unknown
        // name.
        let lookup_pod = pod(
            "asks",
            "restartPolicy: Never",
            "command: [sh, -c, 'getent ahostsv4 web; getent ahostsv4 bare.default; getent ahostsv4 nobody || echo none; cat /etc/resolv.conf']",
        );
        cluster.apply(&lookup_pod);
        let lookup = cluster.pod("asks");
        wait_until("it has asked", TIME_LIMIT, || lookup.exits("c").first().copied());
        let output = lookup.output("c");
        let service = cluster.service_address("default", "web", 80);
        assert!(output.contains(&service.ip().to_string()), "{output}");
        assert!(
            output.contains(&web.address(0).ip().to_string()) && !output.contains(&never.address(0).ip().to_string()),
            "{output}"
        );
        assert!(output.contains("none") && output.contains("options ndots:5"), "{output}");
        // The service's port is not the pod's: the relay accepts the connection, and has no target for it.
        assert!(http::get(service, "/").is_err());
        web.stop();
        assert!(!cluster.pods("").iter().any(|p| p.name() == "web"));
    });
}
