//! Generates kubelets from seeds: their answers, the objects of an API server, and a configuration for them.

use serde_json::{Map, Value, json};

use crate::config::{KubeletAttributesConfig, KubeletMetricsConfig};

/// A sequence of numbers.
pub(super) struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn count(&mut self) -> u64 {
        match self.below(60) {
            0 => u64::MAX,
            1 => 1 << 63,
            _ => {
                let digits = self.below(14);
                self.below(10_u64.pow(u32::try_from(digits).unwrap()))
            }
        }
    }
}

/// The case of a seed, as JSON.
pub(super) fn kubelet(seed: u64) -> String {
    let n = &mut Numbers(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let (mut config, needs_node) = config(n);
    let pods: Vec<Pod> = (0..n.below(4)).map(|number| pod(n, number)).collect();
    let mut objects = Map::new();
    let mut listed = Vec::new();
    for pod in &pods {
        if n.is(88) {
            listed.push(listed_pod(n, pod, &mut objects));
        }
    }
    let stats: Vec<Value> = pods.iter().map(|pod| pod.stats.clone()).collect();
    let mut summary = json!({"node": node(n), "pods": stats}).to_string();
    let mut pods = json!({"kind": "PodList", "items": listed}).to_string();
    match n.below(40) {
        0 => summary = summary.replacen("Bytes\":", "Bytes\":-", 1),
        1 => drop(summary.pop()),
        2 => drop(pods.pop()),
        3 => pods = pods.replacen("\"100m\"", "\"100mm\"", 1),
        4 => summary = summary.replacen("\"usageNanoCores\":", "\"usageNanoCores\":1.5,\"x\":", 1),
        _ => {}
    }
    config["initial_delay"] = json!(if needs_node { "400ms" } else { "1ms" });
    config["collection_interval"] = json!("1h");
    let capacity = [("4", "16Gi"), ("3920m", "32564740Ki"), ("0", "1e9")][n.below(3) as usize];
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n1", "resourceVersion": "1"},
        "status": {"capacity": {"cpu": capacity.0, "memory": capacity.1, "pods": "110"}}});
    json!({"config": config, "summary": summary, "pods": pods, "objects": objects, "node": node.to_string()})
        .to_string()
}

/// The configuration, and whether the object of the node is needed.
fn config(n: &mut Numbers) -> (Value, bool) {
    let (mut metrics, mut attributes) = (Map::new(), Map::new());
    let all = KubeletMetricsConfig::default().settings();
    let percent = [5, 30, 90][n.below(3) as usize];
    let mut needs_node = false;
    for setting in &all {
        let name = setting.spec.name;
        if !n.is(percent) {
            continue;
        }
        let is_of_node = name.ends_with(".node.utilization");
        // These cost time: the Go receiver reads the node in another thread.
        let is_enabled = n.is(75) && (!is_of_node || n.is(10));
        needs_node |= is_of_node && is_enabled;
        let mut metric = json!({"enabled": is_enabled});
        if !setting.spec.attributes.is_empty() && n.is(50) {
            let kept: Vec<&str> = setting.spec.attributes.iter().copied().filter(|_| n.is(50)).collect();
            metric["attributes"] = json!(kept);
            metric["aggregation_strategy"] = json!(n.pick(&["sum", "avg", "min", "max"]));
        }
        metrics.insert(name.to_owned(), metric);
    }
    for setting in KubeletAttributesConfig::default().settings() {
        if !n.is(30) {
            continue;
        }
        let mut attribute = json!({"enabled": n.is(70)});
        if n.is(12) {
            attribute["metrics_include"] =
                json!([{"strict": n.pick(&["p1", "n1", "c0"])}, {"regexp": n.pick(&["[a-z]", "^u", "0$"])}]);
        }
        if n.is(12) {
            attribute["metrics_exclude"] = json!([{"regexp": n.pick(&["1$", "^c1", "^v"])}]);
        }
        attributes.insert(setting.key.to_owned(), attribute);
    }
    let mut config = json!({"metrics": metrics, "resource_attributes": attributes});
    if n.is(70) {
        let groups: Vec<&str> = ["container", "pod", "node", "volume"].into_iter().filter(|_| n.is(75)).collect();
        config["metric_groups"] = json!(groups);
    }
    if n.is(60) {
        let labels: Vec<&str> = ["container.id", "k8s.volume.type"].into_iter().filter(|_| n.is(60)).collect();
        config["extra_metadata_labels"] = json!(labels);
    }
    if n.is(50) {
        config["collect_all_network_interfaces"] = json!({"pod": n.is(50), "node": n.is(50)});
    }
    if needs_node || n.is(50) {
        config["k8s_api_config"] = json!({"auth_type": "kubeConfig"});
        config["node"] = json!("n1");
    }
    (config, needs_node)
}

/// Some of these members, each of which is sometimes null.
fn counts(n: &mut Numbers, members: &[&str]) -> Value {
    let mut map = Map::new();
    for member in members {
        match n.below(20) {
            0 => drop(map.insert((*member).to_owned(), Value::Null)),
            1 | 2 => {}
            _ => drop(map.insert((*member).to_owned(), json!(n.count()))),
        }
    }
    map.insert("time".to_owned(), json!("2024-05-06T07:08:09Z"));
    Value::Object(map)
}

/// Sets a member, mostly.
fn maybe(n: &mut Numbers, object: &mut Value, member: &str, make: impl FnOnce(&mut Numbers) -> Value) {
    match n.below(12) {
        0 => {}
        1 => object[member] = Value::Null,
        _ => object[member] = make(n),
    }
}

fn start_time(n: &mut Numbers) -> Value {
    let time = n.pick(&[
        "2024-01-02T03:04:05Z",
        "2023-12-31T23:59:59+01:00",
        "2024-01-02T03:04:05.25Z",
        "1999-01-02T03:04:05-08:30",
        "0001-01-01T00:00:00Z",
    ]);
    json!(time)
}

fn cpu(n: &mut Numbers) -> Value {
    counts(n, &["usageNanoCores", "usageCoreNanoSeconds"])
}

fn memory(n: &mut Numbers) -> Value {
    let members = ["availableBytes", "usageBytes", "workingSetBytes", "rssBytes", "pageFaults", "majorPageFaults"];
    counts(n, &members)
}

fn filesystem(n: &mut Numbers) -> Value {
    counts(n, &["availableBytes", "capacityBytes", "usedBytes", "inodes"])
}

fn network(n: &mut Numbers) -> Value {
    let members = ["rxBytes", "rxErrors", "txBytes", "txErrors"];
    let mut network = counts(n, &members);
    network["name"] = json!("eth0");
    let mut interfaces = Vec::new();
    for name in ["eth0", "eth1", "eth0", "lo"].iter().take(n.below(5) as usize) {
        let mut interface = counts(n, &members);
        interface["name"] = json!(name);
        interfaces.push(interface);
    }
    network["interfaces"] = json!(interfaces);
    network
}

fn node(n: &mut Numbers) -> Value {
    let mut node = json!({"nodeName": "n1", "rlimit": {"maxpid": 1}});
    maybe(n, &mut node, "startTime", start_time);
    maybe(n, &mut node, "cpu", cpu);
    maybe(n, &mut node, "memory", memory);
    maybe(n, &mut node, "fs", filesystem);
    maybe(n, &mut node, "network", network);
    maybe(n, &mut node, "systemContainers", |n| {
        let names = ["kubelet", "runtime", "pods"];
        let mut all = Vec::new();
        for name in names.iter().take(n.below(4) as usize) {
            all.push(container(n, name));
        }
        json!(all)
    });
    node
}

fn container(n: &mut Numbers, name: &str) -> Value {
    let mut container = json!({"name": name, "userDefinedMetrics": null});
    maybe(n, &mut container, "startTime", start_time);
    maybe(n, &mut container, "cpu", cpu);
    maybe(n, &mut container, "memory", memory);
    maybe(n, &mut container, "rootfs", filesystem);
    maybe(n, &mut container, "logs", filesystem);
    container
}

struct Pod {
    uid: String,
    containers: Vec<String>,
    volumes: Vec<String>,
    stats: Value,
}

fn pod(n: &mut Numbers, number: u64) -> Pod {
    let uid = if n.is(92) { format!("u{number}") } else { "u0".to_owned() };
    let containers: Vec<String> = (0..n.below(4)).map(|c| format!("c{c}")).collect();
    let volumes: Vec<String> = (0..n.below(4)).map(|v| format!("v{v}")).collect();
    let mut stats = json!({"podRef": {"name": format!("p{number}"), "namespace": "shop", "uid": uid}});
    maybe(n, &mut stats, "startTime", start_time);
    maybe(n, &mut stats, "cpu", cpu);
    maybe(n, &mut stats, "memory", memory);
    maybe(n, &mut stats, "network", network);
    maybe(n, &mut stats, "ephemeral-storage", filesystem);
    let all: Vec<Value> = containers.iter().map(|name| container(n, name)).collect();
    maybe(n, &mut stats, "containers", |_| json!(all));
    let members = ["availableBytes", "capacityBytes", "usedBytes", "inodesFree", "inodes", "inodesUsed"];
    let all: Vec<Value> = volumes
        .iter()
        .map(|name| {
            let mut volume = counts(n, &members);
            volume["name"] = json!(name);
            volume
        })
        .collect();
    maybe(n, &mut stats, "volume", |_| json!(all));
    Pod { uid, containers, volumes, stats }
}

fn resources(n: &mut Numbers) -> Value {
    let mut list = json!({});
    if n.is(85) {
        list["cpu"] = json!(n.pick(&["100m", "1", "0.5", "1500m", "2e-1", "0", "250000u"]));
    }
    if n.is(85) {
        list["memory"] =
            json!(n.pick(&["128Mi", "1Gi", "64M", "1.5Gi", "1000", "1e6", "0", "123456789m", "128974848"]));
    }
    if n.is(10) {
        list["memory"] = json!(1024);
    }
    list
}

/// The pod as `/pods` has it. What is behind its claims goes to `objects`.
fn listed_pod(n: &mut Numbers, pod: &Pod, objects: &mut Map<String, Value>) -> Value {
    let mut containers = Vec::new();
    for name in &pod.containers {
        if n.is(95) {
            let mut container = json!({"name": name, "image": "i"});
            maybe(n, &mut container, "resources", |n| json!({"requests": resources(n), "limits": resources(n)}));
            containers.push(container);
        }
    }
    let (mut statuses, mut init) = (Vec::new(), Vec::new());
    for name in &pod.containers {
        let id = n.pick(&["containerd://abc", "docker://d1", "plain", "", " ", "cri-o://x://y", "no scheme://z"]);
        if n.is(95) {
            let list = if n.is(85) { &mut statuses } else { &mut init };
            list.push(json!({"name": name, "containerID": id, "ready": true}));
        }
    }
    let mut volumes = Vec::new();
    for name in &pod.volumes {
        if n.is(93) {
            let mut volume = source(n, &pod.uid, objects);
            volume["name"] = json!(name);
            volumes.push(volume);
        }
    }
    json!({"metadata": {"name": "p", "namespace": "shop", "uid": pod.uid},
        "spec": {"containers": containers, "volumes": volumes},
        "status": {"containerStatuses": statuses, "initContainerStatuses": init}})
}

fn cloud_source(n: &mut Numbers) -> Value {
    match n.below(3) {
        0 => json!({"awsElasticBlockStore": {"volumeID": "vol-1", "fsType": "ext4", "partition": n.below(3)}}),
        1 => json!({"gcePersistentDisk": {"pdName": "disk", "fsType": "xfs"}}),
        _ => json!({"glusterfs": {"endpoints": "gl", "path": "/data"}}),
    }
}

fn source(n: &mut Numbers, uid: &str, objects: &mut Map<String, Value>) -> Value {
    match n.below(10) {
        0 => json!({"configMap": {"name": "x"}}),
        1 => json!({"downwardAPI": {}}),
        2 => json!({"emptyDir": {}}),
        3 => json!({"secret": {"secretName": "x"}}),
        4 => json!({"hostPath": {"path": "/"}}),
        5 => json!({"projected": {}}),
        6 => cloud_source(n),
        _ => {
            let name = format!("claim-{uid}-{}", n.below(3));
            let volume = if n.is(90) { format!("pv-{}", n.below(4)) } else { String::new() };
            if n.is(85) {
                let claim = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": name},
                    "spec": {"volumeName": volume}});
                let path = format!("/api/v1/namespaces/shop/persistentvolumeclaims/{name}");
                objects.insert(path, json!(claim.to_string()));
            }
            if n.is(85) && !volume.is_empty() {
                let spec = match n.below(4) {
                    0 => json!({"local": {"path": "/x"}}),
                    1 => json!({"csi": {"driver": "d", "volumeHandle": "h"}}),
                    _ => cloud_source(n),
                };
                let object =
                    json!({"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": volume}, "spec": spec});
                objects.insert(format!("/api/v1/persistentvolumes/{volume}"), json!(object.to_string()));
            }
            json!({"persistentVolumeClaim": {"claimName": name}})
        }
    }
}
