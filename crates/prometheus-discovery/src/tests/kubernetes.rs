//! Discovery in a cluster, whose API server the test plays.

use super::*;

/// The API server: the objects of each resource, and the connections of its watches.
#[derive(Default)]
struct Server {
    objects: BTreeMap<&'static str, Vec<String>>,
    watches: BTreeMap<String, PeerStream>,
    targets: Vec<String>,
    /// The next watch is refused, because its version is too old.
    forgets: bool,
}

impl Server {
    fn respond(&mut self, test: &mut Test) -> bool {
        let requests = test.requests();
        for (peer, request) in &requests {
            let target = request.split(' ').nth(1).unwrap().to_owned();
            let (path, query) = target.split_once('?').unwrap();
            let resource = path.rsplit('/').next().unwrap();
            if query.contains("watch=true") && std::mem::take(&mut self.forgets) {
                peer.send("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n");
            } else if query.contains("watch=true") {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                self.watches.insert(resource.to_owned(), peer.clone());
            } else {
                let items = self.objects.get(resource).map(|items| items.join(",")).unwrap_or_default();
                let body = format!(r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{items}]}}"#);
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
            }
            self.targets.push(target.clone());
        }
        !requests.is_empty()
    }
}

struct Cluster {
    test: Test,
    server: Server,
}

impl Cluster {
    fn new(yaml: &[&str], objects: &[(&'static str, Vec<String>)]) -> Self {
        let mut server = Server::default();
        server.objects.extend(objects.iter().cloned());
        let mut cluster = Self { test: Test::new(yaml).start(), server };
        cluster.run_for(Duration::ZERO);
        cluster
    }

    fn run_for(&mut self, time: Duration) {
        self.test.run_for(time);
        while self.server.respond(&mut self.test) {
            self.test.run();
        }
    }

    fn event(&mut self, resource: &str, kind: &str, object: &str) {
        let event = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.server.watches[resource].send(format!("{:x}\r\n{event}\r\n", event.len()));
        self.run_for(Duration::from_secs(6));
    }
}

fn pod(name: &str, ip: &str, port: u16, labels: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","resourceVersion":"7","labels":{{{labels}}}}},
        "spec":{{"nodeName":"n1","containers":[{{"name":"c","image":"i","ports":[{{"containerPort":{port}}}]}}]}},
        "status":{{"podIP":"{ip}","phase":"Running"}}}}"#
    )
}

fn with_role(role: &str) -> String {
    format!("kubernetes_sd_configs: [{{role: {role}, api_server: 'http://10.0.0.1:8001'}}]")
}

#[test]
fn pods_are_targets_of_all_jobs_with_the_same_discovery_and_follow_their_changes() {
    let yaml = with_role("pod");
    let pods = vec![pod("a", "10.1.0.1", 80, ""), pod("b", "10.1.0.2", 81, ""), pod("c", "", 82, "")];
    let mut cluster = Cluster::new(&[&yaml, &yaml], &[("pods", pods)]);
    let expected =
        "pod/shop/a: 10.1.0.1:80; 0 pod/shop/b: 10.1.0.2:81; 1 pod/shop/a: 10.1.0.1:80; 1 pod/shop/b: 10.1.0.2:81";
    assert_eq!(cluster.test.shown(), format!("0 {expected}"));
    assert_eq!(cluster.server.targets.len(), 2, "{:?}", cluster.server.targets);
    cluster.event("pods", "MODIFIED", &pod("c", "10.1.0.3", 82, ""));
    cluster.event("pods", "DELETED", &pod("a", "10.1.0.1", 80, ""));
    assert_eq!(cluster.test.found.len(), 4);
    assert_eq!(cluster.test.found["1 pod/shop/c"], ["10.1.0.3:82"]);
    // What a group does not show is no change.
    let changes = cluster.test.changes;
    cluster.event("pods", "MODIFIED", &pod("c", "10.1.0.3", 82, ""));
    assert_eq!(cluster.test.changes, changes);
}

#[test]
fn server_that_restarts_or_forgets_versions_costs_no_targets() {
    let yaml = with_role("pod");
    let pods = vec![pod("a", "10.1.0.1", 80, ""), pod("b", "10.1.0.2", 81, "")];
    let mut cluster = Cluster::new(&[&yaml], &[("pods", pods)]);
    // The server restarts: connections end, and new ones are refused for a while.
    cluster.server.watches["pods"].fail(std::io::ErrorKind::ConnectionReset);
    cluster.test.run_for(Duration::from_secs(5));
    assert_eq!(cluster.test.found.len(), 2);
    for (peer, _) in cluster.test.requests() {
        peer.fail(std::io::ErrorKind::ConnectionReset);
    }
    cluster.run_for(Duration::from_secs(20));
    cluster.run_for(Duration::from_secs(20));
    assert_eq!(cluster.test.found.len(), 2);
    // It has forgotten the version, and a pod is gone meanwhile.
    cluster.server.objects.insert("pods", vec![pod("b", "10.1.0.2", 81, ""), pod("d", "10.1.0.4", 83, "")]);
    cluster.event("pods", "ERROR", r#"{"code":410,"message":"too old resource version"}"#);
    cluster.run_for(Duration::from_secs(30));
    cluster.run_for(Duration::from_secs(10));
    assert_eq!(cluster.test.shown(), "0 pod/shop/b: 10.1.0.2:81; 0 pod/shop/d: 10.1.0.4:83");
    assert!(cluster.test.budget.kept() > 0);
}

#[test]
fn endpoints_have_the_labels_of_their_service_and_pods_when_these_change() {
    let yaml = with_role("endpoints");
    let endpoints = r#"{"metadata":{"name":"web","namespace":"shop"},"subsets":[{"addresses":[{"ip":"10.1.0.1",
        "targetRef":{"kind":"Pod","namespace":"shop","name":"a"}}],"ports":[{"name":"http","port":80}]}]}"#;
    let service = |team: &str| {
        format!(
            r#"{{"metadata":{{"name":"web","namespace":"shop","resourceVersion":"8","labels":{{"team":"{team}"}}}}}}"#
        )
    };
    let objects = [
        ("endpoints", vec![endpoints.to_owned()]),
        ("services", vec![service("red")]),
        ("pods", vec![pod("a", "10.1.0.1", 9090, "")]),
    ];
    let mut cluster = Cluster::new(&[&yaml], &objects);
    // The pod has another port, which is a target too.
    assert_eq!(cluster.test.shown(), "0 endpoints/shop/web: 10.1.0.1:80 10.1.0.1:9090");
    let team = |cluster: &Cluster| {
        cluster.test.labels["0 endpoints/shop/web"].get("__meta_kubernetes_service_label_team").to_owned()
    };
    assert_eq!(team(&cluster), "red");
    cluster.event("services", "MODIFIED", &service("blue"));
    assert_eq!(team(&cluster), "blue");
    cluster.event("pods", "MODIFIED", &pod("a", "10.1.0.1", 80, ""));
    assert_eq!(cluster.test.shown(), "0 endpoints/shop/web: 10.1.0.1:80");
    cluster.event("endpoints", "DELETED", r#"{"metadata":{"name":"web","namespace":"shop","resourceVersion":"9"}}"#);
    assert_eq!(cluster.test.shown(), "");
    let charged = cluster.test.budget.kept();
    cluster.event("pods", "DELETED", &pod("a", "10.1.0.1", 80, ""));
    assert!(cluster.test.budget.kept() < charged);
    cluster.event("services", "DELETED", &service("blue"));
    assert_eq!(cluster.test.budget.kept(), 0, "what is gone is not charged");
}

#[test]
fn selectors_and_namespaces_are_in_the_requests() {
    let yaml = "kubernetes_sd_configs: [{role: pod, api_server: 'http://10.0.0.1:8001/prefix/', bearer_token: t,
        namespaces: {names: [b, a, a]}, selectors: [{role: pod, label: 'app=web', field: 'spec.nodeName=n'}],
        attach_metadata: {node: true, deployment: true}}]";
    let cluster = Cluster::new(&[yaml], &[]);
    let lists: Vec<&str> =
        cluster.server.targets.iter().map(String::as_str).filter(|target| !target.contains("watch=")).collect();
    let selected = "&labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3Dn";
    for expected in [
        format!("/prefix/api/v1/namespaces/a/pods?limit=500&resourceVersion=0{selected}"),
        format!("/prefix/api/v1/namespaces/b/pods?limit=500&resourceVersion=0{selected}"),
        "/prefix/apis/apps/v1/namespaces/a/replicasets?limit=500&resourceVersion=0".to_owned(),
        "/prefix/apis/apps/v1/namespaces/b/replicasets?limit=500&resourceVersion=0".to_owned(),
        "/prefix/api/v1/nodes?limit=500&resourceVersion=0".to_owned(),
    ] {
        assert!(lists.contains(&expected.as_str()), "{expected}: {lists:?}");
    }
    assert_eq!(lists.len(), 5);
}

#[test]
fn server_of_a_kubeconfig_file_is_asked_with_its_token() {
    let yaml = "kubernetes_sd_configs: [{role: node, kubeconfig_file: /k/config}]";
    let mut test = Test::new(&[yaml]);
    let kubeconfig = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], \
                      clusters: [{name: k, cluster: {server: 'http://10.0.0.1:8001'}}], users: [{name: u, user: {token: t}}]}";
    test.world.disk().write("/k/config", kubeconfig);
    let mut test = test.start();
    let node = r#"{"metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"10.9.0.1"}],
        "daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}"#;
    let list = format!(r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{node}]}}"#);
    let request = test.respond("200 OK", "application/json", &list);
    assert!(request.starts_with("GET /api/v1/nodes?limit=500&resourceVersion=0 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer t\r\n"), "{request}");
    assert_eq!(test.shown(), "0 node/n1: 10.9.0.1:10250");
}

#[test]
fn discovery_that_can_not_begin_is_logged_and_the_others_work() {
    let yaml = "{kubernetes_sd_configs: [{role: pod}], static_configs: [{targets: [a]}]}";
    let test = Test::new(&[yaml]).start();
    assert_eq!(test.shown(), "0 0: a");
    let lines = test.log_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("Cannot create service discovery") && lines[0].contains("in-cluster"), "{lines:?}");
}

/// Numbers that a seed determines.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn targets_are_those_of_the_pods_after_any_faults_of_the_server() {
    for seed in 1..13u64 {
        let random = &mut Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let yaml = with_role("pod");
        let mut pods: BTreeMap<String, u16> = (0..4).map(|n| (format!("p{n}"), 80)).collect();
        let shown = |pods: &BTreeMap<String, u16>| -> Vec<String> {
            pods.iter().map(|(name, port)| pod(name, "10.1.0.1", *port, "")).collect()
        };
        let mut cluster = Cluster::new(&[&yaml], &[("pods", shown(&pods))]);
        for _ in 0..40 {
            let name = format!("p{}", random.below(6));
            let watch = cluster.server.watches.get("pods").filter(|peer| !peer.is_closed()).cloned();
            let (kind, port) = match (random.below(3), pods.get(&name)) {
                (0, Some(port)) => ("DELETED", *port),
                (_, known) => (if known.is_some() { "MODIFIED" } else { "ADDED" }, 80 + random.below(5) as u16),
            };
            if kind == "DELETED" {
                pods.remove(&name);
            } else {
                pods.insert(name.clone(), port);
            }
            cluster.server.objects.insert("pods", shown(&pods));
            let Some(watch) = watch else {
                cluster.run_for(Duration::from_secs(random.below(20)));
                continue;
            };
            let object = pod(&name, "10.1.0.1", port, "");
            let event = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
            match random.below(8) {
                // The event is lost with the connection, and the server forgets it.
                0 => {
                    watch.fail(std::io::ErrorKind::ConnectionReset);
                    cluster.server.forgets = true;
                }
                1 => {
                    let event = "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n";
                    watch.send(format!("{:x}\r\n{event}\r\n", event.len()));
                }
                // A part of it arrives.
                2 => {
                    watch.send(format!("{:x}\r\n{}", event.len(), &event[..event.len() / 2]));
                    watch.fail(std::io::ErrorKind::ConnectionReset);
                    cluster.server.forgets = true;
                }
                _ => watch.send(format!("{:x}\r\n{event}\r\n", event.len())),
            }
            cluster.run_for(Duration::from_secs(random.below(20)));
        }
        cluster.server.forgets = false;
        for _ in 0..20 {
            cluster.run_for(Duration::from_secs(10));
        }
        let expected: Vec<String> =
            pods.iter().map(|(name, port)| format!("0 pod/shop/{name}: 10.1.0.1:{port}")).collect();
        assert_eq!(cluster.test.shown(), expected.join("; "), "seed {seed}");
    }
}
