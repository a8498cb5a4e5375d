//! Clusters: the objects of a case.

use otelcore_test_support::Choices;
use serde_json::{Value, json};

use super::cases::some_of;

fn metadata(c: &mut Choices, namespace: &str, name: &str) -> Value {
    let texts = |c: &mut Choices, keys: &[&str]| -> Value {
        let keys = some_of(c, keys, 2);
        let pairs = keys.into_iter().map(|key| (key.to_owned(), json!(c.choose(&["x", "", "true", "a b"]))));
        pairs.collect::<serde_json::Map<_, _>>().into()
    };
    let mut metadata = json!({"name": name, "uid": format!("uid-{name}"), "resourceVersion": "3",
        "labels": texts(c, &["app", "app.kubernetes.io/name", "x-y", "Tier"]),
        "annotations": texts(c, &["prometheus.io/scrape", "prometheus.io/port", "note"])});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn owner(c: &mut Choices, metadata: &mut Value, kinds: &[(&str, &str)]) {
    if c.one_in(3) {
        return;
    }
    let (kind, name) = kinds[c.below(kinds.len())];
    metadata["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u1"},
        {"apiVersion": "v1", "kind": kind, "name": name, "uid": "u2", "controller": !c.one_in(5)},
    ]);
}

fn pod(c: &mut Choices, namespace: &str, name: &str) -> Value {
    let mut metadata = metadata(c, namespace, name);
    owner(
        c,
        &mut metadata,
        &[("ReplicaSet", "web-abc"), ("Job", "backup-1"), ("StatefulSet", "db"), ("ReplicaSet", "gone")],
    );
    let (mut lists, mut statuses) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for (index, container) in ["main", "side", "init"].into_iter().enumerate() {
        if c.one_in(3) {
            continue;
        }
        let mut ports = Vec::new();
        for port in [8080, 9090, 9100] {
            if c.one_in(2) {
                ports.push(json!({"name": c.choose(&["http", "metrics", ""]), "containerPort": port,
                    "protocol": c.choose(&["TCP", "UDP"])}));
            }
        }
        let list = usize::from(index == 2);
        lists[list].push(json!({"name": container, "image": c.choose(&["nginx:1", "a/b"]), "ports": ports}));
        if !c.one_in(3) {
            statuses[list].push(json!({"name": container, "containerID": format!("containerd://{name}-{container}"),
                "image": "x", "imageID": "y", "ready": true, "restartCount": 0}));
        }
    }
    let conditions = match c.below(3) {
        0 => json!([]),
        _ => {
            json!([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": c.choose(&["True", "False"])}])
        }
    };
    let [containers, init_containers] = lists;
    let [container_statuses, init_statuses] = statuses;
    json!({"metadata": metadata,
        "spec": {"nodeName": c.choose(&["n1", "n2", "n3", ""]), "containers": containers, "initContainers": init_containers},
        "status": {"podIP": c.choose(&["10.0.0.1", "10.0.0.2", "fd00::1", ""]), "hostIP": c.choose(&["1.2.3.4", ""]),
            "phase": c.choose(&["Running", "Pending", "Succeeded"]), "conditions": conditions,
            "containerStatuses": container_statuses, "initContainerStatuses": init_statuses}})
}

fn service(c: &mut Choices, name: &str) -> Value {
    let port = |c: &mut Choices, number: u32| json!({"name": c.choose(&["http", "metrics", ""]), "port": number, "protocol": c.choose(&["TCP", "UDP"])});
    let mut spec = json!({"type": c.choose(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
        "clusterIP": c.choose(&["10.96.0.1", "None", ""]), "loadBalancerIP": "5.6.7.8", "externalName": "ext.example",
        "ports": (0..c.below(3)).map(|n| port(c, 80 + n as u32)).collect::<Vec<_>>()});
    if c.one_in(3) {
        spec["ipFamilyPolicy"] = json!(c.choose(&["SingleStack", "PreferDualStack", "RequireDualStack"]));
        spec["ipFamilies"] = json!(["IPv4", "IPv6"]);
    }
    json!({"metadata": metadata(c, "shop", name), "spec": spec})
}

fn target_ref(c: &mut Choices) -> Value {
    match c.below(5) {
        0 => Value::Null,
        1 => json!({"kind": "Node", "name": c.choose(&["n1", "n9"])}),
        _ => json!({"kind": "Pod", "namespace": "shop", "name": c.choose(&["web-1", "web-2", "gone"])}),
    }
}

fn endpoints(c: &mut Choices, name: &str) -> Value {
    let address = |c: &mut Choices| {
        let mut address = json!({"ip": c.choose(&["10.0.0.1", "10.0.0.2", "fd00::1"])});
        match target_ref(c) {
            Value::Null => {}
            target => address["targetRef"] = target,
        }
        if c.one_in(2) {
            address["nodeName"] = json!(c.choose(&["n1", "n2", "n9"]));
        }
        if c.one_in(3) {
            address["hostname"] = json!("h-1");
        }
        address
    };
    let subset = |c: &mut Choices| {
        let ports: Vec<Value> = [8080, 9090, 7070]
            .into_iter()
            .filter(|_| c.one_in(2))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|port| json!({"name": c.choose(&["http", ""]), "port": port, "protocol": "TCP"}))
            .collect();
        let addresses: Vec<Value> = (0..c.below(3)).map(|_| address(c)).collect();
        let not_ready: Vec<Value> = (0..c.below(2)).map(|_| address(c)).collect();
        json!({"addresses": addresses, "notReadyAddresses": not_ready, "ports": ports})
    };
    let subsets: Vec<Value> = (0..c.below(3)).map(|_| subset(c)).collect();
    json!({"metadata": metadata(c, "shop", name), "subsets": subsets})
}

fn endpoint_slice(c: &mut Choices, name: &str) -> Value {
    let endpoint = |c: &mut Choices| {
        let mut endpoint = json!({"addresses": [c.choose(&["10.0.0.1", "10.0.0.2", "fd00::1"])], "conditions": {}});
        for condition in ["ready", "serving", "terminating"] {
            if c.one_in(2) {
                endpoint["conditions"][condition] = json!(c.one_in(2));
            }
        }
        match target_ref(c) {
            Value::Null => {}
            target => endpoint["targetRef"] = target,
        }
        for (key, value) in [("nodeName", "n1"), ("zone", "z-1"), ("hostname", "h-1")] {
            if c.one_in(2) {
                endpoint[key] = json!(value);
            }
        }
        if c.one_in(4) {
            endpoint["deprecatedTopology"] = json!({"kubernetes.io/hostname": "n1"});
        }
        endpoint
    };
    let port = |c: &mut Choices| {
        let mut port = json!({});
        for (key, value) in [
            ("name", json!("http")),
            ("port", json!(8080 + 1010 * c.below(2))),
            ("protocol", json!("TCP")),
            ("appProtocol", json!("h2c")),
        ] {
            if !c.one_in(3) {
                port[key] = value;
            }
        }
        port
    };
    let mut metadata = metadata(c, "shop", name);
    if !c.one_in(4) {
        metadata["labels"]["kubernetes.io/service-name"] = json!(c.choose(&["web", "db", "gone"]));
    }
    let endpoints: Vec<Value> = (0..c.below(4)).map(|_| endpoint(c)).collect();
    let ports: Vec<Value> = (0..c.below(3)).map(|_| port(c)).collect();
    json!({"metadata": metadata, "addressType": c.choose(&["IPv4", "IPv6"]), "endpoints": endpoints, "ports": ports})
}

fn node(c: &mut Choices, name: &str) -> Value {
    let mut addresses = Vec::new();
    for (kind, address) in [
        ("Hostname", "host-1"),
        ("InternalIP", "192.168.0.1"),
        ("InternalIP", "fd00::9"),
        ("ExternalIP", "1.2.3.4"),
        ("InternalDNS", "n.internal"),
        ("ExternalDNS", "n.example"),
        ("LegacyHostIP", "9.9.9.9"),
    ] {
        if c.one_in(2) {
            addresses.push(json!({"type": kind, "address": address}));
        }
    }
    json!({"metadata": metadata(c, "", name), "spec": {"providerID": c.choose(&["aws://x", ""])},
        "status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "conditions": [{"type": "Ready", "status": c.choose(&["True", "Unknown"])}, {"type": "Disk/Full", "status": "False"}]}})
}

fn ingress(c: &mut Choices, name: &str) -> Value {
    let rule = |c: &mut Choices| {
        let mut rule = json!({});
        if !c.one_in(4) {
            rule["host"] = json!(c.choose(&["a.example", "x.a.example", "b.example", "single"]));
        }
        if !c.one_in(4) {
            let paths = (0..c.below(3)).map(|_| {
                json!({"path": c.choose(&["/", "", "/x"]), "pathType": "Prefix",
                "backend": {"service": {"name": "s", "port": {"number": 80}}}})
            });
            rule["http"] = json!({"paths": paths.collect::<Vec<_>>()});
        }
        rule
    };
    let hosts = some_of(c, &["a.example", "*.a.example", "*.example", "*", "other"], 4);
    let mut spec = json!({"rules": (0..c.below(4)).map(|_| rule(c)).collect::<Vec<_>>(), "tls": [{"hosts": hosts}]});
    if c.one_in(2) {
        spec["ingressClassName"] = json!("nginx");
    }
    json!({"metadata": metadata(c, "shop", name), "spec": spec})
}

fn list(c: &mut Choices, names: &[&str], object: impl Fn(&mut Choices, &str) -> Value) -> Value {
    let names: Vec<&str> = names.iter().copied().filter(|_| !c.one_in(4)).collect();
    names.into_iter().map(|name| object(c, name)).collect()
}

pub(super) fn kubernetes(c: &mut Choices) -> Value {
    let role = c.choose(&[
        "pod",
        "pod",
        "node",
        "service",
        "endpoints",
        "endpoints",
        "endpointslice",
        "endpointslice",
        "ingress",
    ]);
    let mut attach = json!({});
    for key in ["node", "namespace", "job"] {
        if c.one_in(3) {
            attach[key] = json!(true);
        }
    }
    // With endpoints Prometheus does not wait for the lists of these.
    for key in ["deployment", "cronjob"] {
        if c.one_in(3) && role == "pod" {
            attach[key] = json!(true);
        }
    }
    let config = json!({"role": role, "attach_metadata": attach});
    let is_of_endpoints = role.starts_with("endpoint");
    let mut objects = json!({});
    if role == "pod" || is_of_endpoints {
        objects["pods"] = list(c, &["web-1", "web-2", "job-1"], |c, name| pod(c, "shop", name));
        objects["nodes"] = list(c, &["n1", "n2"], node);
        let owned = |c: &mut Choices, name: &str, kinds: &[(&str, &str)]| {
            let mut metadata = metadata(c, "shop", name);
            owner(c, &mut metadata, kinds);
            json!({"metadata": metadata})
        };
        objects["replicasets"] =
            list(c, &["web-abc"], |c, name| owned(c, name, &[("Deployment", "web"), ("Other", "x")]));
        objects["jobs"] = list(c, &["backup-1"], |c, name| owned(c, name, &[("CronJob", "backup"), ("Other", "x")]));
    }
    match role {
        "node" => objects["nodes"] = list(c, &["n1", "n2", "n3"], node),
        "ingress" => objects["ingresses"] = list(c, &["i1", "i2"], ingress),
        "endpoints" => objects["endpoints"] = list(c, &["web", "db"], endpoints),
        "endpointslice" => objects["endpointslices"] = list(c, &["web-a", "web-b", "db-c"], endpoint_slice),
        _ => {}
    }
    if role == "service" || is_of_endpoints {
        objects["services"] = list(c, &["web", "db"], service);
    }
    objects["namespaces"] = list(c, &["shop", "other"], |c, name| json!({"metadata": metadata(c, "", name)}));
    json!({"kind": "kubernetes", "yaml": config.to_string(), "objects": objects})
}
