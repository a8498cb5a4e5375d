//! The labels and targets that objects give. Pure functions; the names of labels are those of Prometheus.

use std::collections::BTreeMap;

use otelcore_kubernetes_client::ObjectMeta;

use super::config::{KubernetesMetadataConfig, KubernetesRole};
use super::objects::{Ingress, IngressRule, Node, Pod, Service, ServicePort, controller_of};
use crate::labels::LabelSet;
use crate::targets::TargetGroup;

/// The most targets of one object; others are left out.
pub(super) const MAX_TARGETS: usize = 5000;

pub(super) const ADDRESS: &str = "__address__";
const PREFIX: &str = "__meta_kubernetes_";

/// Names without the prefix, and values; of equal names the last one counts.
#[derive(Clone, Default)]
pub(crate) struct Labels(Vec<(String, String)>);

impl Labels {
    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((format!("{PREFIX}{name}"), value.into()));
    }

    pub(super) fn add_plain(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub(super) fn add_optional(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    pub(crate) fn extend(&mut self, set: &LabelSet) {
        self.0.extend(set.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    pub(crate) fn into_set(self) -> LabelSet {
        LabelSet::from_pairs(self.0)
    }

    /// Labels and annotations of an object.
    fn add_metadata(&mut self, metadata: &ObjectMeta, resource: &str) {
        for (kind, texts) in [("label", &metadata.labels), ("annotation", &metadata.annotations)] {
            for (key, value) in texts {
                let key = sanitized(key);
                self.add(&format!("{resource}_{kind}_{key}"), value.clone());
                self.add(&format!("{resource}_{kind}present_{key}"), "true");
            }
        }
    }

    pub(super) fn add_object(&mut self, metadata: &ObjectMeta, role: KubernetesRole) {
        self.add(&format!("{}_name", role.name()), metadata.name.clone());
        self.add_metadata(metadata, role.name());
    }
}

/// A key with an underscore for each character that a name can't have.
pub(super) fn sanitized(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// `host:port`, with brackets around an address of IPv6.
pub(super) fn join_host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains([':', '%']) { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `namespace/name`.
pub(crate) fn key_of(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The labels of a node that other objects get.
pub(crate) fn attached_node_labels(metadata: &ObjectMeta) -> LabelSet {
    let mut labels = Labels::default();
    labels.add_object(metadata, KubernetesRole::Node);
    labels.into_set()
}

/// The labels of a namespace that objects in it get.
pub(crate) fn attached_namespace_labels(metadata: &ObjectMeta) -> LabelSet {
    let mut labels = Labels::default();
    labels.add_metadata(metadata, "namespace");
    labels.into_set()
}

/// What is kept of a port of a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PodPort {
    pub(super) container: String,
    pub(super) image: String,
    pub(super) name: String,
    pub(super) number: i64,
    pub(super) protocol: String,
    pub(super) is_init: bool,
}

/// What is kept of a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PodInfo {
    pub(crate) ip: String,
    pub(crate) node: String,
    /// Kind and `namespace/name` of the owner that manages it.
    pub(crate) owner: Option<(String, String)>,
    /// Without what follows from other objects.
    labels: LabelSet,
    pub(super) ports: Vec<PodPort>,
    /// Its own targets, with the role `pod`.
    targets: Vec<LabelSet>,
}

impl PodInfo {
    /// `with_targets` says whether the pod's own targets are needed, or its ports.
    pub(crate) fn new(pod: &Pod, attach: &KubernetesMetadataConfig, with_targets: bool) -> Self {
        let owner = controller_of(&pod.metadata);
        let namespace = &pod.metadata.namespace;
        Self {
            ip: pod.status.pod_ip.clone(),
            node: pod.spec.node_name.clone(),
            owner: owner.map(|(kind, name)| (kind.to_owned(), key_of(namespace, name))),
            labels: pod_labels(pod, attach),
            ports: if with_targets { Vec::new() } else { pod_ports(pod) },
            targets: if with_targets && !pod.status.pod_ip.is_empty() { pod_targets(pod) } else { Vec::new() },
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let targets: usize = self.targets.iter().map(LabelSet::bytes).sum();
        targets + self.labels.bytes() + self.ports.len() * 160 + 256
    }
}

fn pod_labels(pod: &Pod, attach: &KubernetesMetadataConfig) -> LabelSet {
    let mut labels = Labels::default();
    let ready = pod.status.conditions.iter().find(|condition| condition.kind == "Ready");
    labels.add("pod_ip", pod.status.pod_ip.clone());
    labels.add("pod_ready", ready.map_or_else(|| "unknown".to_owned(), |ready| ready.status.to_lowercase()));
    labels.add("pod_phase", pod.status.phase.clone());
    labels.add("pod_node_name", pod.spec.node_name.clone());
    labels.add("pod_host_ip", pod.status.host_ip.clone());
    labels.add("pod_uid", pod.metadata.uid.clone());
    labels.add_object(&pod.metadata, KubernetesRole::Pod);
    if let Some((kind, name)) = controller_of(&pod.metadata) {
        labels.add_optional("pod_controller_kind", Some(kind).filter(|kind| !kind.is_empty()));
        labels.add_optional("pod_controller_name", Some(name).filter(|name| !name.is_empty()));
        if kind == "Job" && attach.job {
            labels.add("pod_job_name", name);
        }
    }
    labels.into_set()
}

fn pod_ports(pod: &Pod) -> Vec<PodPort> {
    let containers = pod.spec.containers.iter().map(|container| (container, false));
    let all = containers.chain(pod.spec.init_containers.iter().map(|container| (container, true)));
    let ports = all.flat_map(|(container, is_init)| container.ports.iter().map(move |port| (container, port, is_init)));
    ports
        .map(|(container, port, is_init)| PodPort {
            container: container.name.clone(),
            image: container.image.clone(),
            name: port.name.clone(),
            number: port.container_port,
            protocol: port.protocol.clone(),
            is_init,
        })
        .collect()
}

fn pod_targets(pod: &Pod) -> Vec<LabelSet> {
    let mut targets = Vec::new();
    let (spec, status) = (&pod.spec, &pod.status);
    let parts = [
        (&spec.containers, &status.container_statuses, "false"),
        (&spec.init_containers, &status.init_container_statuses, "true"),
    ];
    for (containers, statuses, is_init) in parts {
        let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
        for status in statuses {
            ids.entry(&status.name).or_insert(&status.container_id);
        }
        for container in containers {
            let mut labels = Labels::default();
            labels.add("pod_container_name", container.name.clone());
            labels.add("pod_container_id", ids.get(container.name.as_str()).copied().unwrap_or_default());
            labels.add("pod_container_image", container.image.clone());
            labels.add("pod_container_init", is_init);
            if container.ports.is_empty() {
                labels.add_plain(ADDRESS, status.pod_ip.clone());
                targets.push(labels.into_set());
                continue;
            }
            for port in container.ports.iter().take(MAX_TARGETS.saturating_sub(targets.len())) {
                let mut labels = labels.clone();
                labels.add_plain(ADDRESS, join_host_port(&status.pod_ip, port.container_port));
                labels.add("pod_container_port_number", port.container_port.to_string());
                labels.add("pod_container_port_name", port.name.clone());
                labels.add("pod_container_port_protocol", port.protocol.clone());
                targets.push(labels.into_set());
            }
        }
    }
    targets
}

/// What is known of other objects.
pub(crate) trait Related {
    /// A pod by `namespace/name`.
    fn pod(&self, key: &str) -> Option<&PodInfo>;
    /// The labels of a service by `namespace/name`.
    fn service(&self, key: &str) -> Option<&ServiceInfo>;
    /// The labels of a node. `None` if they are not attached, or if it is not known.
    fn node(&self, name: &str) -> Option<&LabelSet>;
    /// Whether targets on nodes that are not known are left out.
    fn attaches_nodes(&self) -> bool;
    /// The labels of a namespace.
    fn namespace(&self, name: &str) -> Option<&LabelSet>;
    /// The deployment of a replica set, or the cron job of a job: the label and its value.
    fn owner_label(&self, owner: &(String, String)) -> Option<(&'static str, &str)>;
}

/// The labels of a pod, with those that follow from other objects.
pub(super) fn full_pod_labels(pod: &PodInfo, related: &dyn Related, labels: &mut Labels) {
    labels.extend(&pod.labels);
    if let Some((name, value)) = pod.owner.as_ref().and_then(|owner| related.owner_label(owner)) {
        labels.add(name, value);
    }
}

pub(super) fn add_namespace(labels: &mut Labels, related: &dyn Related, namespace: &str) {
    if let Some(set) = related.namespace(namespace) {
        labels.extend(set);
    }
}

/// The group of a pod.
pub(crate) fn pod_group(key: &str, pod: &PodInfo, related: &dyn Related) -> TargetGroup {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let mut group = TargetGroup { source: format!("pod/{key}").into(), ..TargetGroup::default() };
    if pod.targets.is_empty() || (related.attaches_nodes() && related.node(&pod.node).is_none()) {
        return group;
    }
    let mut labels = Labels::default();
    full_pod_labels(pod, related, &mut labels);
    labels.add("namespace", namespace);
    if let Some(set) = related.node(&pod.node) {
        labels.extend(set);
    }
    add_namespace(&mut labels, related, namespace);
    group.labels = labels.into_set();
    group.targets.clone_from(&pod.targets);
    group
}

/// What is kept of a service for its endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServiceInfo {
    pub(super) labels: LabelSet,
    /// The first family of addresses of a service that has two.
    pub(super) primary_family: Option<String>,
}

impl ServiceInfo {
    pub(crate) fn new(service: &Service) -> Self {
        let spec = &service.spec;
        let policy = spec.ip_family_policy.as_deref();
        let is_dual = matches!(policy, Some("PreferDualStack" | "RequireDualStack"));
        Self {
            labels: service_labels(service).into_set(),
            primary_family: spec.ip_families.first().filter(|_| is_dual).cloned(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.labels.bytes() + 64
    }
}

fn service_labels(service: &Service) -> Labels {
    let mut labels = Labels::default();
    labels.add("namespace", service.metadata.namespace.clone());
    labels.add_object(&service.metadata, KubernetesRole::Service);
    labels
}

/// The group of a service.
pub(crate) fn service_group(service: &Service, related: &dyn Related) -> TargetGroup {
    let (metadata, spec) = (&service.metadata, &service.spec);
    let mut labels = service_labels(service);
    add_namespace(&mut labels, related, &metadata.namespace);
    let target = |port: &ServicePort| {
        let mut labels = Labels::default();
        let host = format!("{}.{}.svc", metadata.name, metadata.namespace);
        labels.add_plain(ADDRESS, join_host_port(&host, port.port));
        labels.add("service_port_name", port.name.clone());
        labels.add("service_port_number", port.port.to_string());
        labels.add("service_port_protocol", port.protocol.clone());
        labels.add("service_type", spec.kind.clone());
        match spec.kind.as_str() {
            "ExternalName" => labels.add("service_external_name", spec.external_name.clone()),
            _ => labels.add("service_cluster_ip", spec.cluster_ip.clone()),
        }
        if spec.kind == "LoadBalancer" {
            labels.add("service_loadbalancer_ip", spec.load_balancer_ip.clone());
        }
        labels.into_set()
    };
    TargetGroup {
        source: format!("svc/{}", key_of(&metadata.namespace, &metadata.name)).into(),
        targets: spec.ports.iter().take(MAX_TARGETS).map(target).collect(),
        labels: labels.into_set(),
    }
}

/// The label of a slice that names its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The group of a node; `None` if it has no address.
pub(crate) fn node_group(node: &Node) -> Option<TargetGroup> {
    let mut labels = Labels::default();
    labels.add("node_provider_id", node.spec.provider_id.clone());
    for condition in &node.status.conditions {
        let name = format!("node_condition_{}", sanitized(&condition.kind.to_lowercase()));
        labels.add(&name, condition.status.to_lowercase());
    }
    labels.add_object(&node.metadata, KubernetesRole::Node);
    let addresses = &node.status.addresses;
    let first_of = |kind: &str| addresses.iter().find(|address| address.kind == kind);
    let kinds = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];
    let address = kinds.iter().find_map(|kind| first_of(kind))?;
    let mut target = Labels::default();
    // Of the addresses of a kind the first one counts.
    for address in addresses.iter().rev() {
        target.add(&format!("node_address_{}", sanitized(&address.kind)), address.address.clone());
    }
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    target.add_plain(ADDRESS, join_host_port(&address.address, port));
    target.add_plain("instance", node.metadata.name.clone());
    Some(TargetGroup {
        source: format!("node/{}", node.metadata.name).into(),
        targets: vec![target.into_set()],
        labels: labels.into_set(),
    })
}

/// The group of an ingress.
pub(crate) fn ingress_group(ingress: &Ingress, related: &dyn Related) -> TargetGroup {
    let metadata = &ingress.metadata;
    let mut labels = Labels::default();
    labels.add("namespace", metadata.namespace.clone());
    labels.add_optional("ingress_class_name", ingress.spec.ingress_class_name.clone());
    labels.add_object(metadata, KubernetesRole::Ingress);
    add_namespace(&mut labels, related, &metadata.namespace);
    let patterns: Vec<&str> = ingress.spec.tls.iter().flat_map(|tls| &tls.hosts).map(String::as_str).collect();
    let exact: std::collections::BTreeSet<&str> = patterns.iter().copied().collect();
    let mut targets = Vec::new();
    for rule in &ingress.spec.rules {
        // A host matches itself, or a pattern with `*` for its first label.
        let host = rule.host.as_str();
        let wildcard = host.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        let is_tls = exact.contains(host)
            || wildcard.as_deref().map_or_else(|| exact.contains("*"), |wildcard| exact.contains(wildcard));
        let scheme = if is_tls { "https" } else { "http" };
        for path in paths_of(rule) {
            let mut labels = Labels::default();
            labels.add_plain(ADDRESS, host);
            labels.add("ingress_scheme", scheme);
            labels.add("ingress_host", host);
            labels.add("ingress_path", path);
            targets.push(labels.into_set());
        }
    }
    targets.truncate(MAX_TARGETS);
    TargetGroup {
        source: format!("ingress/{}", key_of(&metadata.namespace, &metadata.name)).into(),
        targets,
        labels: labels.into_set(),
    }
}

fn paths_of(rule: &IngressRule) -> Vec<&str> {
    match &rule.http {
        None => vec!["/"],
        Some(http) => http.paths.iter().map(|path| if path.path.is_empty() { "/" } else { &path.path }).collect(),
    }
}
