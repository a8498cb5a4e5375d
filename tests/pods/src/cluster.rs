//! The cluster: the objects that have been applied, their pods, and the names and addresses that clients can reach. It
//! does the work of API server, controllers, kube-proxy and DNS as far as the tests need it; a test acts as `kubectl`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use otelcore_test_support::{DnsAnswer, DnsServer};
use serde_json::{Value, json};

use crate::container::Mount;
use crate::load::wait_until;
use crate::manifest::{at, documents, entries, list, number, text};
use crate::network::{self, Network};
use crate::pod::Pod;
use crate::relay;
use crate::spec::{Container, Image, Objects, PodFacts, port};

/// The settings of a cluster.
#[derive(Debug)]
pub struct ClusterConfig {
    /// The number of nodes: `node-0`, `node-1` ...
    pub nodes: u8,
    /// A folder for volumes and logs.
    pub dir: PathBuf,
    /// The binary `pods` of this crate, which relays hostPorts.
    pub relay_binary: PathBuf,
    /// The image for every image name that `images` does not have.
    pub image: Image,
    /// Other images, by the name that manifests use.
    pub images: Vec<(String, Image)>,
}

/// A cluster. Its processes end with the namespace in which it was made.
#[derive(Clone)]
pub struct Cluster(Arc<ClusterInner>);

struct ClusterInner {
    config: ClusterConfig,
    network: Network,
    state: Mutex<ClusterState>,
    uids: AtomicUsize,
}

#[derive(Default)]
struct ClusterState {
    objects: Objects,
    services: Vec<Service>,
    workloads: BTreeMap<String, Value>,
    pods: Vec<Arc<Pod>>,
}

#[derive(Clone)]
struct Service {
    namespace: String,
    name: String,
    raw: Value,
    /// `None` for a headless service.
    address: Option<Ipv4Addr>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.pods(""))
    }
}

impl Cluster {
    /// Makes nodes, their network and the name server, in the namespaces of the caller (see
    /// [`crate::run_in_namespaces`]).
    pub fn start(config: ClusterConfig) -> Self {
        let network = Network::new(config.nodes);
        let cluster =
            Self(Arc::new(ClusterInner { config, network, state: Mutex::default(), uids: AtomicUsize::new(1) }));
        let lookup = cluster.clone();
        DnsServer::start((network::DNS_ADDRESS, 53).into(), move |name, _| match lookup.lookup(name) {
            Some(addresses) => DnsAnswer::Addresses(addresses.into_iter().map(IpAddr::V4).collect()),
            None => DnsAnswer::NoSuchName,
        });
        cluster
    }

    /// Applies a manifest: configuration first, then services, then workloads and pods. The objects that have no effect
    /// here (policies, accounts, autoscalers) are returned as `Kind/name`.
    pub fn apply(&self, manifest: &str) -> Vec<String> {
        self.apply_all(&documents(manifest))
    }

    /// The same for documents that have already been parsed.
    pub fn apply_all(&self, all: &[Value]) -> Vec<String> {
        let mut ignored = Vec::new();
        let order = |kind: &str| match kind {
            "ConfigMap" | "Secret" => 0,
            "Service" => 1,
            // An autoscaler is applied after its workload exists.
            "HorizontalPodAutoscaler" => 3,
            _ => 2,
        };
        let mut sorted: Vec<&Value> = all.iter().collect();
        sorted.sort_by_key(|object| order(text(object, "kind")));
        for object in sorted {
            let (kind, name) = (text(object, "kind"), text(object, "metadata.name"));
            match kind {
                "ConfigMap" | "Secret" => {
                    let mut data = entries(object, "data");
                    assert!(kind == "ConfigMap" || data.is_empty(), "{name}: write the Secret with stringData");
                    data.extend(entries(object, "stringData"));
                    let key = format!("{kind}/{}/{name}", namespace(object));
                    self.0.state.lock().unwrap().objects.insert(key, data.into_iter().collect());
                }
                "Service" => self.add_service(object),
                "Deployment" | "DaemonSet" | "StatefulSet" => {
                    let key = format!("{kind}/{}/{name}", namespace(object));
                    self.0.state.lock().unwrap().workloads.insert(key.clone(), object.clone());
                    self.start_missing_pods(&key);
                }
                "Pod" => drop(self.add_pod(object, name, "", 0)),
                // An autoscaler whose target is a custom resource has nothing to scale here.
                "HorizontalPodAutoscaler" if text(object, "spec.scaleTargetRef.apiVersion") == "apps/v1" => {
                    self.apply_autoscaler(object);
                }
                _ => ignored.push(format!("{kind}/{name}")),
            }
        }
        ignored
    }

    /// Starts the missing pods of a workload.
    fn start_missing_pods(&self, key: &str) {
        let object = self.workload(key);
        let template = at(&object, "spec.template");
        let name = text(&object, "metadata.name");
        let nodes = self.0.network.nodes.len();
        let count = usize::try_from(number(&object, "spec.replicas", 1)).unwrap_or(1);
        let existing = self.pods(key);
        if key.starts_with("DaemonSet/") {
            for node in (0..nodes).filter(|n| existing.iter().all(|p| p.node != *n)) {
                self.add_pod_in(template, &object, &format!("{name}-{}", self.unique()), key, node);
            }
        } else if key.starts_with("StatefulSet/") {
            for ordinal in 0..count {
                let pod = format!("{name}-{ordinal}");
                if existing.iter().all(|p| p.name() != pod) {
                    self.add_pod_in(template, &object, &pod, key, ordinal % nodes);
                }
            }
        } else {
            for n in existing.len()..count {
                self.add_pod_in(template, &object, &format!("{name}-{}", self.unique()), key, n % nodes);
            }
        }
    }

    /// An autoscaler here only raises a workload to its minimum number of pods.
    fn apply_autoscaler(&self, object: &Value) {
        let target = at(object, "spec.scaleTargetRef");
        let key = format!("{}/{}/{}", text(target, "kind"), namespace(object), text(target, "name"));
        let mut workload = self.workload(&key);
        let minimum = number(object, "spec.minReplicas", 1).max(number(&workload, "spec.replicas", 1));
        workload["spec"]["replicas"] = minimum.into();
        self.0.state.lock().unwrap().workloads.insert(key.clone(), workload);
        self.start_missing_pods(&key);
    }

    fn unique(&self) -> String {
        format!("{:05x}", self.0.uids.fetch_add(1, Ordering::Relaxed) + 0xa0)
    }

    fn workload(&self, key: &str) -> Value {
        let state = self.0.state.lock().unwrap();
        state.workloads.get(key).unwrap_or_else(|| panic!("{key} has not been applied")).clone()
    }

    /// Makes a pod from a workload's template, with a claim's volume for each claim template.
    fn add_pod_in(&self, template: &Value, owner: &Value, name: &str, key: &str, node: usize) -> Arc<Pod> {
        let mut object = template.clone();
        object["metadata"]["namespace"] = namespace(owner).into();
        for claim in list(owner, "spec.volumeClaimTemplates") {
            let volume = text(claim, "metadata.name");
            let volume = json!({"name": volume, "persistentVolumeClaim": {"claimName": format!("{volume}-{name}")}});
            match object["spec"]["volumes"].as_array_mut() {
                Some(volumes) => volumes.push(volume),
                None => object["spec"]["volumes"] = json!([volume]),
            }
        }
        self.add_pod(&object, name, key, node)
    }

    fn add_pod(&self, object: &Value, name: &str, owner: &str, node: usize) -> Arc<Pod> {
        let spec = at(object, "spec").clone();
        let pinned = self.0.network.nodes.iter().position(|n| n.name == text(&spec, "nodeName"));
        let node = pinned.unwrap_or(node);
        let pod_network = self.0.network.create_pod_network(node, at(&spec, "hostNetwork") == &Value::Bool(true));
        let node_info = &self.0.network.nodes[node];
        let mut metadata = at(object, "metadata").clone();
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.0.uids.fetch_add(1, Ordering::Relaxed));
        metadata["name"] = name.into();
        metadata["namespace"] = namespace(object).into();
        metadata["uid"] = uid.as_str().into();
        let account = text(&spec, "serviceAccountName");
        let facts = PodFacts {
            metadata,
            node: node_info.name.clone(),
            pod_ip: pod_network.address.to_string(),
            host_ip: node_info.address.to_string(),
            service_account: if account.is_empty() { "default" } else { account }.to_owned(),
        };
        let dir = self.0.config.dir.join(format!("{name}-{}", &uid[32..]));
        std::fs::create_dir_all(&dir).unwrap();
        let containers = Container::all(&spec);
        let images = containers.iter().map(|c| self.image(&c.image)).collect();
        let objects = self.0.state.lock().unwrap().objects.clone();
        let mut pod = Pod::new(facts, spec, node, pod_network, owner.to_owned(), dir, images, objects);
        pod.mounts = self.container_mounts(&pod, &containers);
        let pod = Arc::new(pod);
        for (host_port, target) in containers.iter().flat_map(Container::host_ports) {
            let helper = self.start_relay(&node_info.name, host_port, pod.address(target));
            pod.helpers.lock().unwrap().push(helper);
        }
        self.0.state.lock().unwrap().pods.push(pod.clone());
        pod.start();
        pod
    }

    /// A port of a node that is relayed to another address.
    fn start_relay(&self, node: &str, port: u16, target: SocketAddr) -> Child {
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{node}"))
            .arg(&self.0.config.relay_binary)
            .args(["relay", &format!("0.0.0.0:{port}"), &target.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn image(&self, name: &str) -> Image {
        let named = self.0.config.images.iter().find(|(n, _)| n == name);
        named.map_or_else(|| self.0.config.image.clone(), |(_, image)| image.clone())
    }

    /// The files that every pod has, and the volumes of each container.
    fn container_mounts(&self, pod: &Pod, containers: &[Container]) -> Vec<Vec<Mount>> {
        let dir = &pod.dir;
        let ns = text(&pod.facts.metadata, "namespace");
        let resolv = format!(
            "search {ns}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
            network::DNS_ADDRESS
        );
        let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{}\t{}\n", pod.facts.pod_ip, pod.name());
        let mut common = Vec::new();
        for (name, content) in [("resolv.conf", resolv), ("hosts", hosts), ("hostname", format!("{}\n", pod.name()))] {
            let from = dir.join(name);
            std::fs::write(&from, content).unwrap();
            common.push(Mount { from, to: format!("/etc/{name}"), read_only: true });
        }
        let volumes: BTreeMap<&str, PathBuf> = list(&pod.spec, "volumes")
            .iter()
            .map(|volume| {
                (text(volume, "name"), self.volume(volume, pod, &dir.join("volumes").join(text(volume, "name"))))
            })
            .collect();
        let mounts_of = |container: &Container| {
            let mut mounts = common.clone();
            for mount in list(&container.raw, "volumeMounts") {
                let name = text(mount, "name");
                let from = volumes.get(name).unwrap_or_else(|| panic!("{}: there is no volume {name}", pod.name()));
                let sub = text(mount, "subPath");
                let from = if sub.is_empty() { from.clone() } else { from.join(sub) };
                let read_only = at(mount, "readOnly") == &Value::Bool(true);
                mounts.push(Mount { from, to: text(mount, "mountPath").trim_end_matches('/').to_owned(), read_only });
            }
            mounts
        };
        containers.iter().map(mounts_of).collect()
    }

    fn volume(&self, volume: &Value, pod: &Pod, dir: &Path) -> PathBuf {
        let ns = text(&pod.facts.metadata, "namespace");
        for (kind, key, name) in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")] {
            if let Some(source) = volume.get(key) {
                let object = format!("{kind}/{ns}/{}", text(source, name));
                let data = pod.objects.get(&object).unwrap_or_else(|| panic!("{}: {object} not found", pod.name()));
                write_projected_volume(dir, data, list(source, "items"));
                return dir.to_owned();
            }
        }
        let source = |key: &str| volume.get(key);
        if let Some(host) = source("hostPath") {
            // A folder of the node, not of the machine that runs the tests.
            let path = text(host, "path").trim_start_matches('/').to_owned();
            let on_node = self.0.config.dir.join("nodes").join(&pod.facts.node).join(path);
            std::fs::create_dir_all(&on_node).unwrap();
            return on_node;
        }
        let dir = match source("persistentVolumeClaim") {
            Some(claim) => self.0.config.dir.join("claims").join(text(claim, "claimName")),
            None if source("emptyDir").is_some() => dir.to_owned(),
            None => panic!("{}: a volume that this runner does not know: {volume}", pod.name()),
        };
        std::fs::create_dir_all(&dir).unwrap();
        // Every user may write an `emptyDir`; a claim belongs to root, and to the group that the pod asks for.
        let group = at(&pod.spec, "securityContext.fsGroup").as_u64();
        let open = if source("emptyDir").is_some() { "0777" } else { "0755" };
        run(Command::new("chmod").arg(if group.is_some() { "2775" } else { open }).arg(&dir));
        if let Some(group) = group {
            run(Command::new("chgrp").arg(group.to_string()).arg(&dir));
        }
        dir
    }

    // ---- services and names

    fn add_service(&self, object: &Value) {
        let headless = text(object, "spec.clusterIP") == "None";
        let address = (!headless).then(|| self.0.network.cluster_ip());
        let service = Service {
            namespace: namespace(object).to_owned(),
            name: text(object, "metadata.name").to_owned(),
            raw: object.clone(),
            address,
        };
        self.0.state.lock().unwrap().services.push(service.clone());
        let Some(address) = address else { return };
        for entry in list(object, "spec.ports").iter().filter(|p| text(p, "protocol") != "UDP") {
            let listener = TcpListener::bind((address, port(at(entry, "port")).unwrap())).unwrap();
            if let Some(node_port) = entry.get("nodePort").and_then(port) {
                let target = listener.local_addr().unwrap();
                for node in &self.0.network.nodes {
                    // The relay ends with the namespace.
                    drop(self.start_relay(&node.name, node_port, target));
                }
            }
            let (cluster, service, entry) = (self.clone(), service.clone(), entry.clone());
            let next_target = AtomicUsize::new(0);
            thread::spawn(move || {
                relay::serve(&listener, move |from| {
                    let mut all = cluster.endpoints(&service, &entry, from);
                    let n = next_target.fetch_add(1, Ordering::Relaxed);
                    if !all.is_empty() {
                        let first = n % all.len();
                        all.rotate_left(first);
                    }
                    all
                });
            });
        }
    }

    /// The possible targets of a connection from an address. With a local policy only those on the client's own node.
    fn endpoints(&self, service: &Service, entry: &Value, client: SocketAddr) -> Vec<SocketAddr> {
        let local = text(&service.raw, "spec.internalTrafficPolicy") == "Local";
        let node = match client.ip() {
            IpAddr::V4(ip) => self.0.network.node_of(ip),
            IpAddr::V6(_) => None,
        };
        let target = entry.get("targetPort").or_else(|| entry.get("port")).unwrap_or(&Value::Null);
        let address_of = |pod: &Arc<Pod>| {
            let named = || {
                let containers = Container::all(&pod.spec);
                let ports = containers.iter().flat_map(|c| list(&c.raw, "ports"));
                let named = ports.into_iter().find(|p| text(p, "name") == target.as_str().unwrap_or_default());
                named.and_then(|p| port(at(p, "containerPort")))
            };
            Some(pod.address(port(target).or_else(named)?))
        };
        let pods = self.service_pods(service);
        pods.iter().filter(|p| !local || node.is_none_or(|n| n == p.node)).filter_map(address_of).collect()
    }

    fn service_pods(&self, service: &Service) -> Vec<Arc<Pod>> {
        let selector = entries(&service.raw, "spec.selector");
        let unready = at(&service.raw, "spec.publishNotReadyAddresses") == &Value::Bool(true);
        let state = self.0.state.lock().unwrap();
        let is_selected = |pod: &&Arc<Pod>| {
            let labels = entries(&pod.facts.metadata, "labels");
            !selector.is_empty()
                && text(&pod.facts.metadata, "namespace") == service.namespace
                && selector.iter().all(|wanted| labels.contains(wanted))
        };
        let pods: Vec<Arc<Pod>> = state.pods.iter().filter(is_selected).cloned().collect();
        drop(state);
        pods.into_iter().filter(|p| p.is_ready() || (unready && !p.is_stopping())).collect()
    }

    fn lookup(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let parts: Vec<&str> = name.strip_suffix(".svc.cluster.local")?.split('.').collect();
        let (pod, service, ns) = match *parts.as_slice() {
            [service, ns] => (None, service, ns),
            [pod, service, ns] => (Some(pod), service, ns),
            _ => return None,
        };
        let found = self.service(ns, service)?;
        if let Some(address) = found.address {
            return pod.is_none().then(|| vec![address]);
        }
        let pods = self.service_pods(&found);
        match pod {
            None => Some(pods.iter().map(|p| p.network.address).collect()),
            Some(name) => pods.iter().find(|p| p.name() == name).map(|p| vec![p.network.address]),
        }
    }

    fn service(&self, ns: &str, name: &str) -> Option<Service> {
        let state = self.0.state.lock().unwrap();
        state.services.iter().find(|s| s.namespace == ns && s.name == name).cloned()
    }

    // ---- queries and operations of a test

    /// The pods of a workload (`DaemonSet/default/agent`), or all; pods that are stopping are not included.
    pub fn pods(&self, workload: &str) -> Vec<Arc<Pod>> {
        let state = self.0.state.lock().unwrap();
        let is_included = |p: &&Arc<Pod>| !p.is_stopping() && (workload.is_empty() || p.owner == workload);
        state.pods.iter().filter(is_included).cloned().collect()
    }

    /// The pod with that name.
    pub fn pod(&self, name: &str) -> Arc<Pod> {
        let state = self.0.state.lock().unwrap();
        state.pods.iter().rfind(|p| p.name() == name).unwrap_or_else(|| panic!("there is no pod {name}")).clone()
    }

    /// The workloads that have been applied.
    pub fn workloads(&self) -> Vec<String> {
        self.0.state.lock().unwrap().workloads.keys().cloned().collect()
    }

    /// Waits until all pods are ready, and reports the output of those that are not.
    pub fn wait_until_ready(&self, limit: Duration) {
        let waiting = || -> Vec<Arc<Pod>> { self.pods("").into_iter().filter(|p| !p.is_ready()).collect() };
        let deadline = std::time::Instant::now() + limit;
        while !waiting().is_empty() {
            let outputs = || waiting().iter().map(|p| p.last_output()).collect::<String>();
            assert!(std::time::Instant::now() < deadline, "not ready after {limit:?}:\n{}", outputs());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address of a service that has one, with one of its ports.
    pub fn service_address(&self, ns: &str, name: &str, port: u16) -> SocketAddr {
        let service = self.service(ns, name).unwrap_or_else(|| panic!("there is no service {ns}/{name}"));
        let address = service.address.unwrap_or_else(|| panic!("{ns}/{name} is headless"));
        SocketAddr::new(IpAddr::V4(address), port)
    }

    /// The address of a node, as `status.hostIP` gives it.
    pub fn node_address(&self, node: usize, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.0.network.nodes[node].address), port)
    }

    /// `kubectl rollout restart`: one pod after the other. A Deployment's new pod is ready before an old one stops, as
    /// is that of a DaemonSet with `maxSurge`; otherwise the old one stops first. Returns the exit codes of the old
    /// pods.
    pub fn restart(&self, workload: &str) -> Vec<Vec<i32>> {
        let mut exits = Vec::new();
        let object = self.workload(workload);
        let mut old = self.pods(workload);
        old.reverse();
        let surge = at(&object, "spec.updateStrategy.rollingUpdate.maxSurge");
        let surges = workload.starts_with("DaemonSet/") && !surge.is_null() && surge.as_u64() != Some(0);
        for pod in old {
            if workload.starts_with("Deployment/") || surges {
                let name = format!("{}-{}", text(&object, "metadata.name"), self.unique());
                let new = self.add_pod_in(at(&object, "spec.template"), &object, &name, workload, pod.node);
                Self::wait_until_pod_ready(&new, Duration::from_secs(30));
                exits.push(pod.stop());
            } else {
                exits.push(pod.stop());
                self.start_missing_pods(workload);
                self.pods(workload).iter().for_each(|p| Self::wait_until_pod_ready(p, Duration::from_secs(30)));
            }
        }
        exits
    }

    fn wait_until_pod_ready(pod: &Arc<Pod>, limit: Duration) {
        wait_until(&format!("{} is ready", pod.name()), limit, || {
            assert!(!pod.is_stopping());
            pod.is_ready().then_some(())
        });
    }
}

/// Writes keys as files, as the kubelet does: in a dated folder that `..data` links to, and a link for each.
fn write_projected_volume(dir: &Path, data: &BTreeMap<String, String>, items: &[Value]) {
    let dated = dir.join("..2026_01_02_03_04_05.1");
    std::fs::create_dir_all(&dated).unwrap();
    std::os::unix::fs::symlink("..2026_01_02_03_04_05.1", dir.join("..data")).unwrap();
    let selected: Vec<(&str, &str)> = if items.is_empty() {
        data.keys().map(|k| (k.as_str(), k.as_str())).collect()
    } else {
        items.iter().map(|i| (text(i, "key"), text(i, "path"))).collect()
    };
    for (key, path) in selected {
        let value = data.get(key).unwrap_or_else(|| panic!("a volume asks for the key {key}, which is not there"));
        std::fs::write(dated.join(path), value).unwrap();
        std::os::unix::fs::symlink(Path::new("..data").join(path), dir.join(path)).unwrap();
    }
}

fn namespace(object: &Value) -> &str {
    let named = text(object, "metadata.namespace");
    if named.is_empty() { "default" } else { named }
}

fn run(command: &mut Command) {
    let done = command.status().unwrap();
    assert!(done.success(), "{command:?}: {done}");
}
