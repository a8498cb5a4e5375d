//! Tests of the runner itself: it enforces what it says it enforces.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::time::Instant;

use otelcore_pods::load::until;
use otelcore_pods::{http, inside};
use support::*;

/// A pod of one container on the machine's own root.
fn pod(name: &str, more: &str, container: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  {more}\n  containers:\n  - name: c\n    image: machine\n    {container}\n---\n"
    )
}

#[test]
fn a_container_is_a_first_process_of_nobody_in_particular() {
    inside("a_container_is_a_first_process_of_nobody_in_particular", image, |tree| {
        let cluster = cluster("nobody", 1, tree);
        cluster.apply(&vector("chart-deployment.yaml").replace(
            "          securityContext:\n            {}\n",
            "          securityContext: {runAsUser: 10002, runAsGroup: 10003, readOnlyRootFilesystem: true}\n",
        ));
        cluster.ready(SOON);
        let pod = cluster.pods(&cluster.workloads()[0])[0].clone();
        let status = pod.process("opentelemetry-collector").unwrap();
        let is = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(is("Uid"), ["10002"; 4]);
        assert_eq!(is("Gid"), ["10003"; 4]);
        assert_eq!(is("Groups"), ["10003"]);
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
            assert_eq!(is(set), ["0000000000000000"], "{set}");
        }
        assert_eq!(is("NoNewPrivs"), ["1"]);
        assert_eq!(is("NSpid").last().map(String::as_str), Some("1"));
        pod.stop();
    });
}

#[test]
fn a_root_that_is_read_only_takes_no_file_and_an_empty_dir_does() {
    inside("a_root_that_is_read_only_takes_no_file_and_an_empty_dir_does", image, |tree| {
        let cluster = cluster("read-only", 1, tree);
        let with = |name: &str, path: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  securityContext: {{runAsUser: 0}}\n  containers:\n  - name: c\n    image: ours\n    args: ['--config=yaml:{{receivers: {{otlp: {{protocols: {{http: }}}}}}, exporters: {{debug: {{use_internal_logger: false, output_paths: [{path}]}}}}, service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}}}']\n    securityContext: {{readOnlyRootFilesystem: true}}\n    volumeMounts: [{{name: v, mountPath: /scratch}}]\n  volumes: [{{name: v, emptyDir: {{}}}}]\n"
            )
        };
        cluster.apply(&with("refused", "/file"));
        cluster.apply(&with("taken", "/scratch/file"));
        let refused = cluster.pod("refused");
        until("it gives up", SOON, || refused.exits("c").first().copied().filter(|code| *code == 1));
        assert!(refused.all_said().contains("ead-only file system"), "{}", refused.all_said());
        let taken = cluster.pod("taken");
        until("it runs", SOON, || taken.all_said().contains("Everything is ready").then_some(()));
        assert_eq!(taken.stop(), [0]);
    });
}

#[test]
fn limits_and_grace_have_their_consequences() {
    inside("limits_and_grace_have_their_consequences", image, |tree| {
        let cluster = cluster("limits", 1, tree);
        let hold = env!("CARGO_BIN_EXE_pods");
        cluster.apply(&format!(
            "{}{}{}",
            pod(
                "greedy",
                "",
                &format!("command: [{hold}, hold, '200']\n    resources: {{limits: {{memory: 64Mi}}}}")
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
            until("it is killed and starts again", SOON, || (greedy.exits("c").len() > 1).then_some(()));
            assert!(greedy.exits("c").iter().all(|code| *code == 137), "{:?}", greedy.exits("c"));
        } else {
            eprintln!("skipped: no memory group can be made here");
        }
        for (name, code, least, most) in [("stubborn", 137, 1.0, 10.0), ("polite", 3, 1.0, 4.5)] {
            let pod = cluster.pod(name);
            until("it has set its trap", SOON, || pod.said("c").contains("trapped").then_some(()));
            let begun = Instant::now();
            assert_eq!(pod.stop(), [code], "{name}");
            let took = begun.elapsed().as_secs_f64();
            assert!((least..most).contains(&took), "{name} took {took} s");
        }
    });
}

#[test]
fn a_liveness_probe_that_fails_restarts_and_readiness_is_what_services_see() {
    inside("a_liveness_probe_that_fails_restarts_and_readiness_is_what_services_see", image, |tree| {
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
        until("the one is ready", SOON, || web.is_ready().then_some(()));
        until("the sick one was restarted", SOON, || (sick.exits("c").len() > 1).then_some(()));
        assert_eq!(sick.exits("c")[0], 7);
        assert!(!never.is_ready());
        // Names as a pod resolves them: the search list, a ClusterIP, a headless service of ready pods, and an unknown
        // name.
        let ask = pod(
            "asks",
            "restartPolicy: Never",
            "command: [sh, -c, 'getent ahostsv4 web; getent ahostsv4 bare.default; getent ahostsv4 nobody || echo none; cat /etc/resolv.conf']",
        );
        cluster.apply(&ask);
        let asks = cluster.pod("asks");
        until("it has asked", SOON, || asks.exits("c").first().copied());
        let said = asks.said("c");
        let service = cluster.service_at("default", "web", 80);
        assert!(said.contains(&service.ip().to_string()), "{said}");
        assert!(said.contains(&web.at(0).ip().to_string()) && !said.contains(&never.at(0).ip().to_string()), "{said}");
        assert!(said.contains("none") && said.contains("options ndots:5"), "{said}");
        // The service's port is not the pod's: the relay accepts the connection, and has no target for it.
        assert!(http::get(service, "/").is_err());
        web.stop();
        assert!(!cluster.pods("").iter().any(|p| p.name() == "web"));
    });
}
