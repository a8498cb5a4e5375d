//! The original files that the charts and the Operator have rendered, if they are next to the project: our files have
//! the same structure, those that name only components that we have run, and for the others every missing component is
//! reported with its line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use otelcore_pods::load::{self, wait_until};
use otelcore_pods::manifest::{self, at, list, text};
use otelcore_pods::{Pod, run_in_namespaces};
use serde_json::Value;
use support::*;

/// Our file, the original file, and the name of their workload.
const FILE_PAIRS: [(&str, &str, &str); 8] = [
    ("operator-simplest.yaml", "operator/rendered/simplest.all.yaml", "simplest-collector"),
    ("operator-gateway.yaml", "operator/rendered/gateway.all.yaml", "gateway-collector"),
    ("operator-agent.yaml", "operator/rendered/agent.all.yaml", "agent-collector"),
    ("operator-statefulset.yaml", "operator/rendered/prom.all.yaml", "prom-collector"),
    ("operator-sidecar.yaml", "operator/rendered/pod-app.yaml", "app"),
    ("chart-deployment.yaml", "helm/default-deployment.all.yaml", "my-otelcol-opentelemetry-collector"),
    ("chart-daemonset.yaml", "helm/default-daemonset.all.yaml", "my-otelcol-opentelemetry-collector-agent"),
    ("chart-statefulset.yaml", "helm/default-statefulset.all.yaml", "my-otelcol-opentelemetry-collector"),
];

/// The object with that name that has pods.
fn workload<'a>(documents: &'a [Value], name: &str) -> &'a Value {
    let has_pods = |d: &&Value| ["Deployment", "DaemonSet", "StatefulSet", "Pod"].contains(&text(d, "kind"));
    documents.iter().find(|d| has_pods(d) && text(d, "metadata.name") == name).unwrap_or_else(|| panic!("no {name}"))
}

fn pod_spec(object: &Value) -> &Value {
    if text(object, "kind") == "Pod" { at(object, "spec") } else { at(object, "spec.template.spec") }
}

fn collector_container(spec: &Value) -> &Value {
    let all = list(spec, "initContainers").iter().chain(list(spec, "containers"));
    let ours = |c: &&Value| ["otc-container", "opentelemetry-collector"].contains(&text(c, "name"));
    all.into_iter().find(ours).unwrap()
}

#[test]
fn our_workloads_have_every_key_of_the_rendered_ones() {
    for (ours, original, name) in FILE_PAIRS {
        let Some(real) = read_rendered(original) else { continue };
        let (our_documents, original_documents) = (manifest::documents(&read_vector(ours)), manifest::documents(&real));
        let (our_workload, original_workload) = (workload(&our_documents, name), workload(&original_documents, name));
        assert_eq!(text(our_workload, "kind"), text(original_workload, "kind"));
        let keys = |object: &Value| {
            let is_free_form =
                |path: &String| [".labels.", ".annotations.", ".matchLabels."].iter().any(|f| path.contains(f));
            let is_status = |path: &String| path.contains(".status");
            let all = manifest::key_paths(at(object, "spec"));
            all.into_iter().filter(|p| !is_free_form(p) && !is_status(p)).collect::<BTreeSet<_>>()
        };
        let missing: Vec<String> = keys(original_workload).difference(&keys(our_workload)).cloned().collect();
        assert!(missing.is_empty(), "{ours} lacks of {original}: {missing:?}");
        // The collector's own inputs are the same: the variables with their sources, in their order, and the flags.
        let (our_container, original_container) =
            (collector_container(pod_spec(our_workload)), collector_container(pod_spec(original_workload)));
        let variables = |c: &Value| {
            let name_and_source = |v: &Value| (text(v, "name").to_owned(), at(v, "valueFrom").clone());
            list(c, "env").iter().map(name_and_source).collect::<Vec<_>>()
        };
        let all_of_ours = variables(our_container);
        let mut remaining = all_of_ours.iter();
        for wanted in variables(original_container) {
            assert!(remaining.any(|v| *v == wanted), "{ours} has not {wanted:?} in its place, but {all_of_ours:?}");
        }
        for flag in list(original_container, "args") {
            assert!(list(our_container, "args").contains(flag), "{ours} has not {flag}");
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(our_container.get(probe), original_container.get(probe), "{ours}: {probe}");
        }
        assert_eq!(at(our_container, "volumeMounts"), at(original_container, "volumeMounts"), "{ours}");
    }
}

#[test]
fn rendered_simplest_deployment_serves_unchanged() {
    let Some(real) = read_rendered("operator/rendered/simplest.all.yaml") else { return };
    run_in_namespaces("rendered_simplest_deployment_serves_unchanged", image, |tree| {
        let cluster = cluster("rendered-simplest", 1, tree);
        cluster.apply(&real);
        cluster.wait_until_ready(TIME_LIMIT);
        let pod = &cluster.pods("Deployment/default/simplest-collector")[0];
        wait_until("it listens", TIME_LIMIT, || TcpStream::connect(pod.address(4318)).ok());
        let service = cluster.service_address("default", "simplest-collector", 4318);
        assert_eq!(load::post(service, "traces", &load::trace_request("shop", 1)), 200);
        wait_for_metric(pod, "otelcol_exporter_sent_spans", "\"debug\"", 10.0);
        assert_eq!(pod.stop(), [0]);
    });
}

/// The components that the binary itself lists: `receivers/otlp` ...
fn known_components(tree: &Path) -> BTreeSet<String> {
    let output = Command::new(tree.join("otelcore")).arg("components").output().unwrap();
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(name) = line.trim_start().strip_prefix("- name: ") {
            found.insert(format!("{section}/{name}"));
        } else if let Some(head) = line.strip_suffix(':').filter(|head| !head.starts_with(' ')) {
            section = head.to_owned();
        }
    }
    assert!(found.contains("receivers/otlp"), "{found:?}");
    found
}

/// The number of components that the binary does not have. If there are some, the collector has ended with an error and
/// has named each with its line; if there are none, it has started, or has ended with the settings that it does not
/// support and their lines, or because these pods have no API server, and not the variables of the pods that the
/// configuration is for.
fn count_reported_missing(pod: &Pod, configuration: &str, known: &BTreeSet<String>) -> usize {
    let container = pod.container_names().into_iter().find(|n| *n != "app").unwrap();
    let is_ready = wait_until("it starts or gives up", TIME_LIMIT, || {
        let is_ready = pod.output(container).contains("Everything is ready");
        (is_ready || pod.exits(container).first() == Some(&1)).then_some(is_ready)
    });
    let log = pod.output(container);
    let mut missing = 0;
    for (section, id, line) in manifest::components(configuration) {
        let kind = id.split('/').next().unwrap_or_default();
        // An old spelling of an existing component is reported as an alias.
        let alias = log.contains(&format!("\"{kind}\" alias is deprecated"));
        let name = format!("{section}/{kind}");
        if known.contains(&name) || alias && section == "exporters" {
            continue;
        }
        // Old ids are written without underscores. Where the start fails, no line says that they are aliases.
        if known.iter().any(|known| known.replace('_', "") == name) {
            continue;
        }
        missing += 1;
        let named = format!("'{section}' unknown type: \"{kind}\" for id: \"{id}\"");
        let report: Vec<&str> = log.lines().skip_while(|l| !l.contains(&named)).take(2).collect();
        assert!(report.len() == 2, "{id} is not named in\n{log}");
        assert!(report[1].contains(&format!(":{line}:")), "not with line {line}: {report:?}");
    }
    let refused = unsupported_settings(&log);
    for (key, line) in &refused {
        let written = configuration.lines().nth(line - 1).unwrap_or_default();
        assert!(written.trim_start_matches([' ', '-']).starts_with(key), "line {line} has no {key}\n{log}");
    }
    let lacks_api_server = log.contains("unable to load k8s config");
    let lacks_variable =
        log.contains("error: http: no Host in request URL") && log.contains("unset environment variable");
    assert_eq!(is_ready, missing == 0 && refused.is_empty() && !lacks_api_server && !lacks_variable, "{log}");
    pod.stop();
    missing
}

/// The keys that a start has refused as not supported, each with its line.
fn unsupported_settings(log: &str) -> Vec<(String, usize)> {
    let mut refused = Vec::new();
    let mut lines = log.lines();
    while let Some(line) = lines.next() {
        let Some(key) = line.strip_prefix("error: '").and_then(|rest| rest.split_once("' is not supported")) else {
            continue;
        };
        let place = lines.next().and_then(|place| place.split(':').nth(1)?.parse().ok());
        refused.push((key.0.to_owned(), place.unwrap_or_else(|| panic!("no place after {line}"))));
    }
    refused
}

#[test]
fn rendered_pods_start_or_report_each_unknown_component_with_its_line() {
    if read_rendered("operator/rendered/gateway.all.yaml").is_none() {
        return;
    }
    run_in_namespaces("rendered_pods_start_or_report_each_unknown_component_with_its_line", image, |tree| {
        let known = known_components(&tree);
        let cluster = cluster("rendered-missing", 1, tree);
        let mut cases: Vec<(String, &str, Vec<Value>)> = FILE_PAIRS
            .iter()
            .filter(|(_, theirs, _)| !theirs.contains("simplest"))
            .map(|(_, theirs, name)| (theirs.to_string(), *name, manifest::documents(&read_rendered(theirs).unwrap())))
            .collect();
        // Configurations that came without their pods run in a pod of the same maker.
        for (config, host, name) in [
            ("helm/internalTelemetryViaOTLP.relay.yaml", "helm/default-deployment.all.yaml", FILE_PAIRS[5].2),
            ("kube-stack/default.collector.yaml", "operator/rendered/simplest.all.yaml", FILE_PAIRS[0].2),
        ] {
            let mut documents = manifest::documents(&read_rendered(host).unwrap());
            for map in documents.iter_mut().filter(|d| text(d, "kind") == "ConfigMap") {
                let key = map["data"].as_object().unwrap().keys().next().unwrap().clone();
                map["data"][key] = read_rendered(config).unwrap().into();
            }
            cases.push((config.to_owned(), name, documents));
        }
        for (n, (file, name, documents)) in cases.into_iter().enumerate() {
            // Each in a separate namespace: several makers use one name.
            let mut documents: Vec<Value> = documents;
            documents.retain(|d| {
                text(d, "kind") == "ConfigMap" || (text(d, "metadata.name") == name && d.get("spec").is_some())
            });
            documents.retain(|d| text(d, "kind") != "Service");
            documents.iter_mut().for_each(|d| d["metadata"]["namespace"] = format!("case-{n}").into());
            let object = workload(&documents, name);
            let inline =
                list(collector_container(pod_spec(object)), "env").iter().find(|v| text(v, "name") == "OTEL_CONFIG");
            let configuration = match inline {
                // The kubelet's expansion keeps the lines.
                Some(variable) => text(variable, "value").to_owned(),
                None => {
                    let map = list(pod_spec(object), "volumes")[0].clone();
                    let named = |d: &&Value| {
                        text(d, "metadata.name") == text(&map, "configMap.name") && d.get("data").is_some()
                    };
                    let data = documents.iter().find(named).unwrap()["data"].as_object().unwrap().clone();
                    data.values().next().unwrap().as_str().unwrap().to_owned()
                }
            };
            cluster.apply_all(&documents);
            let pods = cluster.pods("");
            assert!(!pods.is_empty(), "{file} has no pods");
            for pod in &pods {
                let missing = count_reported_missing(pod, &configuration, &known);
                assert!(missing == 0 || !file.starts_with("helm/default-"), "the chart's default values start whole");
                eprintln!("{file}: {missing} components that are not here, each named");
            }
        }
    });
}
