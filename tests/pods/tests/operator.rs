//! The resources of `deploy/operator`, in the pods that the Operator would make from them: an agent on each node, a
//! gateway, a StatefulSet, a sidecar in an annotated application, all of them sending to one Jaeger.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::time::Duration;

use otelcore_pods::load::{self, SPANS_PER_REQUEST, spans_in_jaeger, wait_until};
use otelcore_pods::manifest::{self, at, text};
use otelcore_pods::{Cluster, run_in_namespaces};
use serde_json::{Value, json};
use support::*;

/// The Operator's changes to a configuration: addresses of used components that have none, null bodies as maps, and the
/// reader of the collector's own metrics.
fn operator_config(cr: &Value) -> Value {
    let given = at(cr, "spec.config");
    let mut config = given.as_str().map_or_else(|| given.clone(), manifest::yaml);
    for (path, address) in [
        ("/receivers/otlp/protocols/grpc", "0.0.0.0:4317"),
        ("/receivers/otlp/protocols/http", "0.0.0.0:4318"),
        ("/extensions/health_check", "0.0.0.0:13133"),
    ] {
        let Some(body) = config.pointer_mut(path) else { continue };
        if body.is_null() {
            *body = json!({});
        }
        if body.get("endpoint").is_none() {
            body["endpoint"] = address.into();
        }
        if path.ends_with("health_check") {
            body["path"] = "/".into();
        }
    }
    let metrics = &config["service"]["telemetry"]["metrics"];
    if metrics.get("readers").is_none() && metrics.get("address").is_none() {
        config["service"]["telemetry"]["metrics"]["readers"] =
            json!([{"pull": {"exporter": {"prometheus": {"host": "0.0.0.0", "port": 8888}}}}]);
    }
    config
}

/// The container, as the Operator renders it.
fn operator_container(cr: &Value, config: &Value, sidecar: bool) -> Value {
    let of_resource =
        |name: &str| json!({"resourceFieldRef": {"containerName": "otc-container", "divisor": "0", "resource": name}});
    let mut env = manifest::list(cr, "spec.env").to_vec();
    env.push(
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}),
    );
    env.push(json!({"name": "GOMEMLIMIT", "valueFrom": of_resource("limits.memory")}));
    env.push(json!({"name": "GOMAXPROCS", "valueFrom": of_resource("limits.cpu")}));
    let mut args = vec![json!("--config=/conf/collector.yaml")];
    if sidecar {
        args = vec![json!("--config=env:OTEL_CONFIG")];
        env.push(json!({"name": "OTEL_CONFIG", "value": config.to_string()}));
    }
    args.extend(manifest::entries(cr, "spec.args").iter().map(|(key, value)| json!(format!("--{key}={value}"))));
    let mut container = json!({"name": "otc-container", "image": at(cr, "spec.image"), "args": args, "env": env});
    for (key, path) in
        [("resources", "spec.resources"), ("securityContext", "spec.securityContext"), ("lifecycle", "spec.lifecycle")]
    {
        if !at(cr, path).is_null() {
            container[key] = at(cr, path).clone();
        }
    }
    if manifest::list(config, "service.extensions").contains(&json!("health_check")) {
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            container[probe] = json!({"httpGet": {"path": "/", "port": 13133}});
        }
    }
    if !sidecar {
        container["volumeMounts"] = json!([{"name": "otc-internal", "mountPath": "/conf"}]);
    }
    container
}

/// Every object that is made from one resource, except for a sidecar.
fn rendered_objects(cr: &Value) -> Vec<Value> {
    let config = operator_config(cr);
    let (name, namespace) = (text(cr, "metadata.name"), text(cr, "metadata.namespace"));
    let labels = json!({"app.kubernetes.io/instance": format!("{namespace}.{name}")});
    let metadata = |name: String| json!({"name": name, "namespace": namespace});
    let kind = match text(cr, "spec.mode") {
        "daemonset" => "DaemonSet",
        "statefulset" => "StatefulSet",
        _ => "Deployment",
    };
    let replicas = at(cr, "spec.replicas").as_u64().or_else(|| at(cr, "spec.autoscaler.minReplicas").as_u64());
    let mut pod = json!({
        "containers": [operator_container(cr, &config, false)],
        "terminationGracePeriodSeconds": manifest::number(cr, "spec.terminationGracePeriodSeconds", 30),
        "volumes": [{"name": "otc-internal", "configMap": {"name": format!("{name}-collector-0a1b2c3d"),
            "items": [{"key": "collector.yaml", "path": "collector.yaml"}]}}],
    });
    if !at(cr, "spec.podSecurityContext").is_null() {
        pod["securityContext"] = at(cr, "spec.podSecurityContext").clone();
    }
    let ports = json!([{"name": "otlp-grpc", "port": 4317}, {"name": "otlp-http", "port": 4318}]);
    vec![
        json!({"kind": "ConfigMap", "metadata": metadata(format!("{name}-collector-0a1b2c3d")), "data": {"collector.yaml": config.to_string()}}),
        json!({"kind": "Service", "metadata": metadata(format!("{name}-collector")), "spec": {"selector": labels, "ports": ports}}),
        json!({"kind": "Service", "metadata": metadata(format!("{name}-collector-headless")), "spec": {"clusterIP": "None", "selector": labels, "ports": ports}}),
        json!({"kind": kind, "metadata": metadata(format!("{name}-collector")), "spec": {"replicas": replicas.unwrap_or(1),
            "template": {"metadata": {"labels": labels}, "spec": pod}}}),
    ]
}

/// The resources of one version's folder, and the other objects in it.
fn read_resources(version: &str) -> Vec<Value> {
    let folder = otelcore_pods::project_root().join("deploy/operator").join(version);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml") && !f.ends_with("kustomization.yaml"));
    files.sort();
    assert!(files.len() >= 4, "one for each mode: {files:?}");
    files.iter().flat_map(|f| manifest::documents(&std::fs::read_to_string(f).unwrap())).collect()
}

/// Applies the folder, the gateway first; returns the names of the workloads.
fn apply_version(cluster: &Cluster, version: &str) -> Vec<String> {
    let all = read_resources(version);
    let (crs, others): (Vec<&Value>, Vec<&Value>) =
        all.iter().partition(|d| text(d, "kind") == "OpenTelemetryCollector");
    let (sidecars, collectors): (Vec<&Value>, Vec<&Value>) =
        crs.iter().partition(|cr| text(cr, "spec.mode") == "sidecar");
    for cr in collectors {
        assert!(cluster.apply_all(&rendered_objects(cr)).is_empty());
    }
    let annotated = others.iter().find(|d| text(d, "kind") == "Deployment");
    for cr in sidecars {
        let mut injected = operator_container(cr, &operator_config(cr), true);
        injected["restartPolicy"] = "Always".into();
        // If a version has no application of its own, any application is used.
        let mut app = annotated.map_or_else(
            || json!({"kind": "Deployment", "metadata": {"name": "app", "namespace": text(cr, "metadata.namespace")}, "spec": {"template": {"spec": {}}}}),
            |d| (*d).clone(),
        );
        app["spec"]["template"]["spec"]["initContainers"] = json!([injected]);
        app["spec"]["template"]["spec"]["containers"] = json!([{"name": "app", "image": "application"}]);
        cluster.apply_all(&[app]);
    }
    cluster.workloads()
}

fn check_every_mode(version: &str, test: &str) {
    run_in_namespaces(test, image, |tree| {
        let cluster = cluster(&format!("operator-{version}"), 2, tree);
        if !start_jaeger(&cluster, "observability") {
            return;
        }
        let gateway = read_resources("v1beta1").into_iter().find(|cr| text(cr, "metadata.name") == "gateway").unwrap();
        if version != "v1beta1" {
            // The agents of every version send to the one gateway.
            cluster.apply_all(&rendered_objects(&gateway));
        }
        let workloads = apply_version(&cluster, version);
        cluster.wait_until_ready(Duration::from_secs(60));
        let (mut sent, mut modes) = (0, 0);
        for workload in &workloads {
            modes += 1;
            for pod in cluster.pods(workload) {
                // The collector of the tutorial prints its data and sends nothing on.
                let (service, number) = if workload.contains("simplest") { ("shown", 0) } else { ("resources", sent) };
                let status = load::post(pod.address(4318), "traces", &load::trace_request(service, number));
                assert_eq!(status, 200, "{}", pod.last_output());
                if service == "shown" {
                    wait_for_metric(&pod, "otelcol_exporter_sent_spans", "\"debug\"", 10.0);
                } else {
                    sent += 1;
                }
            }
        }
        // Two gateways, two agents, two pods of the StatefulSet, one sidecar.
        assert_eq!((sent, modes >= 4), (7, true), "{workloads:?}");
        let query = cluster.pod("jaeger").address(16686);
        let expected = usize::try_from(sent * SPANS_PER_REQUEST).unwrap();
        wait_until("all spans in Jaeger", TIME_LIMIT, || {
            spans_in_jaeger(query, "resources").filter(|seen| seen.len() == expected)
        });
        for pod in workloads.iter().flat_map(|w| cluster.pods(w)) {
            assert!(pod.exits("otc-container").is_empty(), "restarted: {}", pod.last_output());
            wait_for_metric(&pod, "otelcol_receiver_refused_spans", "", 0.0);
        }
    });
}

#[test]
fn every_mode_of_v1alpha1_delivers() {
    check_every_mode("v1alpha1", "every_mode_of_v1alpha1_delivers");
}

#[test]
fn every_mode_of_v1beta1_delivers() {
    check_every_mode("v1beta1", "every_mode_of_v1beta1_delivers");
}
