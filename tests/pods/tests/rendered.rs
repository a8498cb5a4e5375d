//! The original files that the charts and the Operator have rendered, if they are next to the project: our files have
//! the same structure, those that name only components that we have run, and for the others every missing component is
//! reported with its line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use otelcore_pods::load::{self, until};
use otelcore_pods::manifest::{self, at, list, text};
use otelcore_pods::{Pod, inside};
use serde_json::Value;
use support::*;

/// Our file, the original file, and the name of their workload.
const PAIRS: [(&str, &str, &str); 8] = [
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

fn collector(spec: &Value) -> &Value {
    let all = list(spec, "initContainers").iter().chain(list(spec, "containers"));
    let ours = |c: &&Value| ["otc-container", "opentelemetry-collector"].contains(&text(c, "name"));
    all.into_iter().find(ours).unwrap()
}

#[test]
fn every_key_of_a_rendered_workload_is_in_ours_too() {
    for (ours, theirs, name) in PAIRS {
        let Some(real) = rendered(theirs) else { continue };
        let (own, real) = (manifest::documents(&vector(ours)), manifest::documents(&real));
        let (own, real) = (workload(&own, name), workload(&real, name));
        assert_eq!(text(own, "kind"), text(real, "kind"));
        let shape = |object: &Value| {
            let free = |path: &String| [".labels.", ".annotations.", ".matchLabels."].iter().any(|f| path.contains(f));
            let status = |path: &String| path.contains(".status");
            let all = manifest::paths(at(object, "spec"));
            all.into_iter().filter(|p| !free(p) && !status(p)).collect::<BTreeSet<_>>()
        };
        let lacking: Vec<String> = shape(real).difference(&shape(own)).cloned().collect();
        assert!(lacking.is_empty(), "{ours} lacks of {theirs}: {lacking:?}");
        // The collector's own inputs are the same: the variables with their sources, in their order, and the flags.
        let (own, real) = (collector(pod_spec(own)), collector(pod_spec(real)));
        let variables = |c: &Value| {
            let of = |v: &Value| (text(v, "name").to_owned(), at(v, "valueFrom").clone());
            list(c, "env").iter().map(of).collect::<Vec<_>>()
        };
        let all_of_ours = variables(own);
        let mut at_hand = all_of_ours.iter();
        for wanted in variables(real) {
            assert!(at_hand.any(|v| *v == wanted), "{ours} has not {wanted:?} in its place, but {all_of_ours:?}");
        }
        for flag in list(real, "args") {
            assert!(list(own, "args").contains(flag), "{ours} has not {flag}");
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(own.get(probe), real.get(probe), "{ours}: {probe}");
        }
        assert_eq!(at(own, "volumeMounts"), at(real, "volumeMounts"), "{ours}");
    }
}

#[test]
fn the_rendered_simplest_serves_as_it_is() {
    let Some(real) = rendered("operator/rendered/simplest.all.yaml") else { return };
    inside("the_rendered_simplest_serves_as_it_is", image, |tree| {
        let cluster = cluster("rendered-simplest", 1, tree);
        cluster.apply(&real);
        cluster.ready(SOON);
        let pod = &cluster.pods("Deployment/default/simplest-collector")[0];
        until("it listens", SOON, || TcpStream::connect(pod.at(4318)).ok());
        let through = cluster.service_at("default", "simplest-collector", 4318);
        assert_eq!(load::post(through, "traces", &load::request("shop", 1)), 200);
        metric_is(pod, "otelcol_exporter_sent_spans", "\"debug\"", 10.0);
        assert_eq!(pod.stop(), [0]);
    });
}

/// The components that the binary itself lists: `receivers/otlp` ...
fn known(tree: &Path) -> BTreeSet<String> {
    let said = Command::new(tree.join("otelcore")).arg("components").output().unwrap();
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in String::from_utf8_lossy(&said.stdout).lines() {
        if let Some(name) = line.trim_start().strip_prefix("- name: ") {
            found.insert(format!("{section}/{name}"));
        } else if let Some(head) = line.strip_suffix(':').filter(|head| !head.starts_with(' ')) {
            section = head.to_owned();
        }
    }
    assert!(found.contains("receivers/otlp"), "{found:?}");
    found
}

/// The collector has ended with an error, and has named every component that the binary does not have, each with its
/// line.
fn names_what_is_missing(pod: &Pod, configuration: &str, known: &BTreeSet<String>) -> usize {
    let container = pod.container_names().into_iter().find(|n| *n != "app").unwrap();
    until("it gives up", SOON, || pod.exits(container).first().copied().filter(|code| *code == 1));
    let said = pod.said(container);
    let mut missing = 0;
    for (section, id, line) in manifest::components(configuration) {
        let kind = id.split('/').next().unwrap_or_default();
        // An old spelling of an existing component is reported as an alias.
        let alias = said.contains(&format!("\"{kind}\" alias is deprecated"));
        if known.contains(&format!("{section}/{kind}")) || alias && section == "exporters" {
            continue;
        }
        missing += 1;
        let named = format!("'{section}' unknown type: \"{kind}\" for id: \"{id}\"");
        let told: Vec<&str> = said.lines().skip_while(|l| !l.contains(&named)).take(2).collect();
        assert!(told.len() == 2, "{id} is not named in\n{said}");
        assert!(told[1].contains(&format!(":{line}:")), "not with line {line}: {told:?}");
    }
    pod.stop();
    missing
}

#[test]
fn rendered_pods_with_components_that_are_not_here_name_each_with_its_line() {
    if rendered("operator/rendered/gateway.all.yaml").is_none() {
        return;
    }
    inside("rendered_pods_with_components_that_are_not_here_name_each_with_its_line", image, |tree| {
        let known = known(&tree);
        let cluster = cluster("rendered-missing", 1, tree);
        let mut cases: Vec<(String, &str, Vec<Value>)> = PAIRS
            .iter()
            .filter(|(_, theirs, _)| !theirs.contains("simplest"))
            .map(|(_, theirs, name)| (theirs.to_string(), *name, manifest::documents(&rendered(theirs).unwrap())))
            .collect();
        // Configurations that came without their pods run in a pod of the same maker.
        for (config, host, name) in [
            ("helm/internalTelemetryViaOTLP.relay.yaml", "helm/default-deployment.all.yaml", PAIRS[5].2),
            ("kube-stack/default.collector.yaml", "operator/rendered/simplest.all.yaml", PAIRS[0].2),
        ] {
            let mut documents = manifest::documents(&rendered(host).unwrap());
            for map in documents.iter_mut().filter(|d| text(d, "kind") == "ConfigMap") {
                let key = map["data"].as_object().unwrap().keys().next().unwrap().clone();
                map["data"][key] = rendered(config).unwrap().into();
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
            let inline = list(collector(pod_spec(object)), "env").iter().find(|v| text(v, "name") == "OTEL_CONFIG");
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
                let missing = names_what_is_missing(pod, &configuration, &known);
                assert!(missing > 0, "{file} names only what is here: it should be in the test of those");
                eprintln!("{file}: {missing} components that are not here, each named");
            }
        }
    });
}
