//! What the receivers make of generated objects beside what the Go receivers make of them. Go's answers are recorded; the
//! live comparison asks the program `k8s-receivers-oracle`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use otelcore_pipeline::Factory;
use otelcore_test_support::{ask_oracle, read_corpus, tool_path, write_corpus};
use serde_json::{Map, Value, json};

use super::cluster::{decode_metrics, metrics_of};
use super::{Record, Test, decode_records};
use crate::{K8sClusterFactory, K8sEventsFactory, K8sObjectsFactory};

const SEEDS: u64 = 40;

/// The start of the clock of `k8s_events` in the tests; events are later for both.
const EVENT_TIME: &str = "2099-01-02T03:04:05Z";

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next() as i64),
            3 => json!(self.below(1000) as f64 / 8.0),
            4 => json!(self.pick(&["", "a", "ä€\u{1f600}", "a\"b\\c\n", "2024-01-01T00:00:00Z"])),
            5 => json!(self.below(100)),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => self.map(depth - 1),
        }
    }

    fn map(&mut self, depth: u32) -> Value {
        let count = self.below(4);
        Value::Object((0..count).map(|n| (format!("k{n}"), self.value(depth))).collect())
    }

    fn quantities(&mut self) -> Value {
        let mut map = Map::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage", "pods", "example.com/gpu", "limits.cpu"] {
            if self.below(2) == 0 {
                let amount = self.pick(&["100m", "1", "1500m", "2Gi", "0.5", "1e3", "123456k", "1.5Gi", "0", "7"]);
                map.insert(name.to_owned(), json!(amount));
            }
        }
        Value::Object(map)
    }
}

fn documents() -> Map<String, Value> {
    let list = |group_version: &str, resources: &[(&str, &str)]| {
        let resource = |(name, kind): &(&str, &str)| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list", "watch"]});
        let resources: Vec<Value> = resources.iter().map(resource).collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
    };
    let group = |name: &str, version: &str| {
        let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    let groups = [
        group("apps", "v1"),
        group("batch", "v1"),
        group("autoscaling", "v2"),
        group("discovery.k8s.io", "v1"),
        group("events.k8s.io", "v1"),
        group("example.com", "v1alpha1"),
    ];
    let core = [
        ("pods", "Pod"),
        ("pods/log", "Pod"),
        ("nodes", "Node"),
        ("namespaces", "Namespace"),
        ("events", "Event"),
        ("replicationcontrollers", "ReplicationController"),
        ("resourcequotas", "ResourceQuota"),
        ("services", "Service"),
        ("persistentvolumes", "PersistentVolume"),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
    ];
    let apps = [
        ("deployments", "Deployment"),
        ("replicasets", "ReplicaSet"),
        ("daemonsets", "DaemonSet"),
        ("statefulsets", "StatefulSet"),
    ];
    let documents = [
        ("/api", json!({"kind": "APIVersions", "versions": ["v1"]})),
        ("/apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})),
        ("/api/v1", list("v1", &core)),
        ("/apis/apps/v1", list("apps/v1", &apps)),
        ("/apis/batch/v1", list("batch/v1", &[("jobs", "Job"), ("cronjobs", "CronJob")])),
        ("/apis/autoscaling/v2", list("autoscaling/v2", &[("horizontalpodautoscalers", "HorizontalPodAutoscaler")])),
        ("/apis/discovery.k8s.io/v1", list("discovery.k8s.io/v1", &[("endpointslices", "EndpointSlice")])),
        ("/apis/events.k8s.io/v1", list("events.k8s.io/v1", &[("events", "Event")])),
        ("/apis/example.com/v1alpha1", list("example.com/v1alpha1", &[("widgets", "Widget"), ("pods", "OtherPod")])),
    ];
    documents.into_iter().map(|(path, document)| (path.to_owned(), document)).collect()
}

fn list_of(api_version: &str, kind: &str, items: &[Value]) -> Value {
    json!({"kind": format!("{kind}List"), "apiVersion": api_version, "metadata": {"resourceVersion": "70"}, "items": items})
}

/// A case of `k8s_objects`.
fn objects_case(random: &mut Random) -> Value {
    let mut documents = documents();
    let (path, api_version, kind, name) = match random.below(3) {
        0 => ("/api/v1/pods", "v1", "Pod", "pods"),
        1 => ("/apis/events.k8s.io/v1/events", "events.k8s.io/v1", "Event", "events"),
        _ => ("/apis/example.com/v1alpha1/widgets", "example.com/v1alpha1", "Widget", "widgets"),
    };
    let object = |random: &mut Random, version: u64| {
        let mut object = random.map(3);
        let mut metadata =
            json!({"name": format!("o{version}"), "resourceVersion": version.to_string(), "labels": {"a": "b"}});
        if random.below(3) > 0 {
            metadata["namespace"] = json!(random.pick(&["a", "b", "kube-system"]));
        }
        object["metadata"] = metadata;
        if random.below(2) == 0 {
            object["kind"] = json!("Own");
            object["apiVersion"] = json!("own/v1");
        }
        object
    };
    let items: Vec<Value> = (0..random.below(6)).map(|n| object(random, 10 + n)).collect();
    documents.insert(path.to_owned(), list_of(api_version, kind, &items));
    let is_pull = random.below(2) == 0;
    let group = if name == "events" { "events.k8s.io" } else { "" };
    let mut config = json!({"name": name, "group": group, "mode": if is_pull { "pull" } else { "watch" }});
    let (mut events, mut count, mut initial) = (Vec::new(), items.len(), false);
    if !is_pull {
        initial = random.below(2) == 0;
        let excluded = random.pick(&["", "DELETED", "MODIFIED"]);
        if !excluded.is_empty() {
            config["exclude_watch_type"] = json!([excluded]);
        }
        count = if initial { items.len() } else { 0 };
        for n in 0..random.below(6) {
            let kind = random.pick(&["ADDED", "MODIFIED", "DELETED"]);
            let mut object = object(random, 80 + n);
            // Objects of a watch have their kind.
            if object.get("kind").is_none() {
                object["kind"] = json!("Own");
                object["apiVersion"] = json!("own/v1");
            }
            events.push(json!({"type": kind, "object": object}));
            count += usize::from(kind != excluded);
        }
    }
    let config = json!({"auth_type": "kubeConfig", "objects": [config], "include_initial_state": initial});
    json!({"component": "k8s_objects", "config": config, "documents": documents, "events": {path: events}, "records": count})
}

/// A case of `k8s_events`.
fn events_case(random: &mut Random) -> Value {
    let mut documents = documents();
    let path = "/api/v1/namespaces/shop/events";
    documents.insert(path.to_owned(), list_of("v1", "Event", &[]));
    let mut events = Vec::new();
    for n in 0..1 + random.below(5) {
        let mut event = json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": format!("e{n}"), "namespace": "shop",
            "uid": format!("u{n}"), "resourceVersion": (80 + n).to_string()}, "involvedObject": {}, "source": {}});
        for key in ["eventTime", "lastTimestamp", "firstTimestamp"] {
            if random.below(2) == 0 || key == "firstTimestamp" {
                event[key] = if key == "eventTime" { json!("2099-01-02T03:04:05.123456Z") } else { json!(EVENT_TIME) };
            }
        }
        for key in ["reason", "message", "type", "action", "reportingComponent", "reportingInstance"] {
            if random.below(3) > 0 {
                event[key] = json!(random.pick(&["Normal", "warning", "Error", "CRITICAL", "x", "ä"]));
            }
        }
        for key in ["kind", "name", "uid", "namespace", "apiVersion", "fieldPath", "resourceVersion"] {
            if random.below(3) > 0 {
                event["involvedObject"][key] = json!(random.pick(&["a", "b/c", "spec.containers{web}"]));
            }
        }
        if random.below(2) == 0 {
            event["source"]["host"] = json!("node-1");
            event["count"] = json!(random.below(3));
        }
        if random.below(2) == 0 {
            event["metadata"]["creationTimestamp"] = json!("2024-02-29T12:00:05Z");
        }
        events.push(json!({"type": random.pick(&["ADDED", "MODIFIED"]), "object": event}));
    }
    let config = json!({"auth_type": "kubeConfig", "namespaces": ["shop"]});
    let records = events.len();
    json!({"component": "k8s_events", "config": config, "documents": documents, "events": {path: events}, "records": records})
}

fn state(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({"running": {"startedAt": EVENT_TIME}}),
        1 => json!({"terminated": {"exitCode": 1, "reason": random.pick(&["OOMKilled", "Error", "x"])}}),
        2 => json!({"waiting": {"reason": random.pick(&["CrashLoopBackOff", "ErrImagePull", ""])}}),
        _ => json!({}),
    }
}

fn pod(random: &mut Random) -> Value {
    let containers: Vec<Value> = (0..random.below(3))
        .map(|n| {
            let resources = json!({"requests": random.quantities(), "limits": random.quantities()});
            json!({"name": format!("c{n}"), "resources": resources})
        })
        .collect();
    let statuses: Vec<Value> = (0..random.below(3))
        .map(|n| {
            let id = random.pick(&["containerd://abc", "", "docker-x://1://2", "abc"]);
            let image = random.pick(&["nginx", "example.com:5000/a/b:1.2", "Bad:Image", ""]);
            json!({"name": format!("c{n}"), "containerID": id, "image": image, "imageID": "",
                "restartCount": random.below(5), "ready": random.below(2) == 0, "state": state(random), "lastState": state(random)})
        })
        .collect();
    let phase = random.pick(&["Pending", "Running", "Succeeded", "Failed", "Unknown", "", "x"]);
    let reason = random.pick(&["Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError", "", "x"]);
    json!({"spec": {"nodeName": random.pick(&["", "n1"]), "containers": containers},
        "status": {"phase": phase, "reason": reason, "qosClass": random.pick(&["", "BestEffort"]), "containerStatuses": statuses}})
}

fn node(random: &mut Random) -> Value {
    let conditions: Vec<Value> = ["Ready", "MemoryPressure", "PIDPressure", "Custom9Thing"]
        .iter()
        .filter(|_| random.below(6) > 0)
        .map(|kind| json!({"type": kind, "status": if *kind == "Ready" { "True" } else { "Unknown" }}))
        .collect();
    let runtime = random.pick(&["containerd://1.7", "x", "", "a://b://c"]);
    json!({"status": {"allocatable": random.quantities(), "conditions": conditions, "nodeInfo": {"kubeletVersion": "v1.30",
        "containerRuntimeVersion": runtime, "osImage": "Debian", "operatingSystem": "linux"}}})
}

fn workload(random: &mut Random, always_has_replicas: bool) -> Value {
    let mut spec = Map::new();
    for key in ["replicas", "completions", "parallelism"] {
        if random.below(2) == 0 || (always_has_replicas && key == "replicas") {
            spec.insert(key.to_owned(), json!(random.below(9)));
        }
    }
    let mut status = Map::new();
    for key in [
        "availableReplicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "currentNumberScheduled",
        "desiredNumberScheduled",
        "numberMisscheduled",
        "numberReady",
        "active",
        "succeeded",
        "failed",
    ] {
        if random.below(2) == 0 {
            status.insert(key.to_owned(), json!(random.below(9)));
        }
    }
    json!({"spec": spec, "status": status})
}

fn volume(random: &mut Random) -> Value {
    let phase = random.pick(&["Pending", "Available", "Bound", "Released", "Failed", "Lost", ""]);
    json!({"spec": {"capacity": random.quantities(), "storageClassName": random.pick(&["", "fast"]),
        "persistentVolumeReclaimPolicy": random.pick(&["", "Delete"]), "resources": {"requests": random.quantities()}},
        "status": {"phase": phase, "capacity": random.quantities()}})
}

fn slice(random: &mut Random) -> Value {
    let endpoints: Vec<Value> = (0..random.below(4))
        .map(|_| {
            let mut conditions = Map::new();
            for key in ["ready", "serving", "terminating"] {
                if random.below(2) == 0 {
                    conditions.insert(key.to_owned(), json!(random.below(2) == 0));
                }
            }
            let mut endpoint = json!({"addresses": ["10.0.0.1"], "conditions": conditions});
            if random.below(2) == 0 {
                endpoint["zone"] = json!(random.pick(&["z1", "z2"]));
            }
            endpoint
        })
        .collect();
    json!({"addressType": random.pick(&["IPv4", "IPv6", "FQDN"]), "endpoints": endpoints})
}

/// A case of `k8s_cluster`.
fn cluster_case(random: &mut Random) -> Value {
    let mut documents = documents();
    let mut uid = 0;
    for (path, api_version, kind) in [
        ("/api/v1/pods", "v1", "Pod"),
        ("/api/v1/nodes", "v1", "Node"),
        ("/api/v1/namespaces", "v1", "Namespace"),
        ("/api/v1/replicationcontrollers", "v1", "ReplicationController"),
        ("/api/v1/resourcequotas", "v1", "ResourceQuota"),
        ("/api/v1/services", "v1", "Service"),
        ("/api/v1/persistentvolumes", "v1", "PersistentVolume"),
        ("/api/v1/persistentvolumeclaims", "v1", "PersistentVolumeClaim"),
        ("/apis/apps/v1/deployments", "apps/v1", "Deployment"),
        ("/apis/apps/v1/replicasets", "apps/v1", "ReplicaSet"),
        ("/apis/apps/v1/daemonsets", "apps/v1", "DaemonSet"),
        ("/apis/apps/v1/statefulsets", "apps/v1", "StatefulSet"),
        ("/apis/batch/v1/jobs", "batch/v1", "Job"),
        ("/apis/batch/v1/cronjobs", "batch/v1", "CronJob"),
        ("/apis/autoscaling/v2/horizontalpodautoscalers", "autoscaling/v2", "HorizontalPodAutoscaler"),
        ("/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1", "EndpointSlice"),
    ] {
        let items: Vec<Value> = (0..random.below(4))
            .map(|n| {
                let mut object = match kind {
                    "Pod" => pod(random),
                    "Node" => node(random),
                    "Namespace" => json!({"status": {"phase": random.pick(&["Active", "Terminating", ""])}}),
                    "ResourceQuota" => json!({"status": {"hard": random.quantities(), "used": random.quantities()}}),
                    "Service" => json!({"spec": {"type": random.pick(&["ClusterIP", "LoadBalancer"]),
                        "publishNotReadyAddresses": random.below(2) == 0},
                        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
                    "PersistentVolume" | "PersistentVolumeClaim" => volume(random),
                    "CronJob" => json!({"status": {"active": [{"name": "a"}, {"name": "b"}]}}),
                    "HorizontalPodAutoscaler" => json!({"spec": {"minReplicas": random.below(5), "maxReplicas": 9,
                        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
                        "status": {"currentReplicas": random.below(5), "desiredReplicas": random.below(5)}}),
                    "EndpointSlice" => slice(random),
                    kind => workload(random, kind == "Deployment"),
                };
                uid += 1;
                let service = random.pick(&["o0", "o1", "absent"]);
                object["metadata"] = json!({"name": format!("o{n}"), "uid": format!("uid-{uid}"), "resourceVersion": "5",
                    "labels": {"kubernetes.io/service-name": service}});
                if !["Node", "Namespace", "PersistentVolume"].contains(&kind) {
                    object["metadata"]["namespace"] = json!("shop");
                }
                object
            })
            .collect();
        documents.insert(path.to_owned(), list_of(api_version, kind, &items));
    }
    let is_on = random.below(2) == 0;
    let mut metrics = Map::new();
    for name in [
        "k8s.container.status.reason",
        "k8s.container.status.state",
        "k8s.node.condition",
        "k8s.pod.status_reason",
        "k8s.persistentvolume.status.phase",
        "k8s.persistentvolume.storage.capacity",
        "k8s.persistentvolumeclaim.status.phase",
        "k8s.persistentvolumeclaim.storage.capacity",
        "k8s.persistentvolumeclaim.storage.request",
        "k8s.service.load_balancer.ingress.count",
        "k8s.service.endpoint.count",
    ] {
        metrics.insert(name.to_owned(), json!({"enabled": is_on}));
    }
    let mut attributes = Map::new();
    for name in [
        "container.runtime",
        "container.runtime.version",
        "k8s.container.status.last_terminated_reason",
        "k8s.hpa.scaletargetref.name",
        "k8s.kubelet.version",
        "k8s.persistentvolume.reclaim_policy",
        "k8s.pod.qos_class",
        "k8s.pod.uid",
        "k8s.service.publish_not_ready_addresses",
        "os.type",
        "os.description",
    ] {
        attributes.insert(name.to_owned(), json!({"enabled": random.below(2) == 0}));
    }
    let config = json!({"auth_type": "kubeConfig", "collection_interval": "100ms", "metrics": metrics,
        "resource_attributes": attributes, "node_conditions_to_report": ["Ready", "PIDPressure", "Absent"],
        "allocatable_types_to_report": ["cpu", "memory", "pods", "ephemeral-storage", "example.com/gpu"]});
    json!({"component": "k8s_cluster", "config": config, "documents": documents, "events": {}, "records": 0})
}

fn cases(seed: u64) -> [Value; 3] {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.next();
    [objects_case(&mut random), events_case(&mut random), cluster_case(&mut random)]
}

fn sorted_records(records: Vec<Record>) -> Vec<String> {
    let text = |record: Record| {
        format!(
            "{} {} {} {} {} {:?}",
            record.resource, record.scope, record.body, record.attributes, record.time, record.severity
        )
    };
    let mut all: Vec<String> = records.into_iter().map(text).collect();
    all.sort();
    all
}

/// What comes out here.
fn own_result(case: &Value) -> Vec<String> {
    let factory: &dyn Factory = match case["component"].as_str().unwrap() {
        "k8s_objects" => &K8sObjectsFactory,
        "k8s_events" => &K8sEventsFactory,
        _ => &K8sClusterFactory,
    };
    let mut config = case["config"].clone();
    config.as_object_mut().unwrap().remove("auth_type");
    let mut test = Test::new(factory, &config.to_string());
    for (path, document) in case["documents"].as_object().unwrap() {
        test.answer(&format!("{path}?"), 200, &document.to_string());
    }
    test.run_for(Duration::from_secs(10));
    for (path, events) in case["events"].as_object().unwrap() {
        for event in events.as_array().unwrap() {
            test.event(path, event["type"].as_str().unwrap(), &event["object"]);
        }
    }
    if case["component"] == "k8s_cluster" {
        return metrics_of(&mut test);
    }
    sorted_records(test.records())
}

fn go_result(case: &Value, answer: &[u8]) -> Vec<String> {
    let (kind, body) = answer.split_first().unwrap();
    assert_eq!(*kind, 0, "{}", String::from_utf8_lossy(body));
    if case["component"] == "k8s_cluster" { decode_metrics(body) } else { sorted_records(decode_records(body)) }
}

fn compare(input: &[u8], answer: &[u8]) {
    let case: Value = serde_json::from_slice(input).unwrap();
    let (own, go) = (own_result(&case), go_result(&case, answer));
    let missing: Vec<&String> = go.iter().filter(|line| !own.contains(line)).collect();
    let added: Vec<&String> = own.iter().filter(|line| !go.contains(line)).collect();
    assert!(missing.is_empty() && added.is_empty(), "{case}\nonly Go: {missing:#?}\nonly here: {added:#?}");
    assert_eq!(own.len(), go.len(), "{case}");
}

fn corpus_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/k8s-receivers.corpus.zst")
}

#[test]
fn telemetry_is_that_of_the_recorded_go_receivers() {
    let corpus = read_corpus(&corpus_path());
    assert!(corpus.len() >= 100);
    for case in corpus {
        compare(&case.input, &case.answer);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a variable says whether the answers are recorded")]
#[ignore = "builds on Go modules: run by scripts/differential"]
fn telemetry_is_that_of_the_running_go_receivers() {
    let Some(oracle) = tool_path("k8s-receivers-oracle") else { return };
    let records = std::env::var("OTELCORE_CORPUS").is_ok_and(|mode| mode == "write");
    let first = if records { 1 } else { std::process::id().into() };
    let inputs = (first..first + SEEDS).flat_map(cases).map(|case| case.to_string().into_bytes()).collect();
    let answered = ask_oracle(&oracle, &[], inputs);
    if records {
        write_corpus(&corpus_path(), &answered);
    }
    for case in answered {
        compare(&case.input, &case.answer);
    }
}
