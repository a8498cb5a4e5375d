//! What the groups of objects depend on.

use super::config::KubernetesMetadataConfig;
use super::labels::{PodInfo, SERVICE_NAME, key_of};
use super::objects::{EndpointSlice, Endpoints, Ingress, Node, Service, TargetRef};

/// What an object is to the discovery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// It gives targets.
    Main,
    Pod,
    Service,
    Node,
    Namespace,
    ReplicaSet,
    Job,
}

/// An object that gives targets.
pub(super) enum MainObject {
    Pod(PodInfo),
    Service(Box<Service>),
    Endpoints(Box<Endpoints>),
    EndpointSlice(Box<EndpointSlice>),
    Ingress(Box<Ingress>),
    Node(Box<Node>),
}

/// The kind and the key of an object.
pub(super) type RelatedKey = (Kind, String);

/// What a pod's labels depend on.
pub(super) fn pod_dependencies(pod: &PodInfo) -> Vec<RelatedKey> {
    pod.owner.as_ref().and_then(owner_dependency).into_iter().collect()
}

/// What a group depends on, as far as it is attached.
pub(super) fn dependencies_of(main: &MainObject, key: &str, attach: &KubernetesMetadataConfig) -> Vec<RelatedKey> {
    let mut found = Vec::new();
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    if attach.namespace && !namespace.is_empty() {
        found.push((Kind::Namespace, namespace.to_owned()));
    }
    let mut add_address = |target: Option<&TargetRef>, node: Option<&String>| {
        match target.map(|target| (target.kind.as_str(), target)) {
            Some(("Pod", target)) => found.push((Kind::Pod, key_of(&target.namespace, &target.name))),
            Some(("Node", target)) if attach.node => found.push((Kind::Node, target.name.clone())),
            _ => {}
        }
        found.extend(node.filter(|_| attach.node).map(|node| (Kind::Node, node.clone())));
    };
    match main {
        MainObject::Endpoints(endpoints) => {
            for subset in &endpoints.subsets {
                for address in subset.addresses.iter().chain(&subset.not_ready_addresses) {
                    add_address(address.target_ref.as_ref(), address.node_name.as_ref());
                }
            }
            found.push((Kind::Service, key.to_owned()));
        }
        MainObject::EndpointSlice(slice) => {
            for endpoint in &slice.endpoints {
                add_address(endpoint.target_ref.as_ref(), endpoint.node_name.as_ref());
            }
            let service = slice.metadata.labels.get(SERVICE_NAME);
            found.extend(service.map(|name| (Kind::Service, key_of(namespace, name))));
        }
        MainObject::Pod(pod) => {
            found.extend(pod_dependencies(pod));
            found.extend(Some((Kind::Node, pod.node.clone())).filter(|_| attach.node));
        }
        MainObject::Service(_) | MainObject::Ingress(_) | MainObject::Node(_) => {}
    }
    found
}

/// The object that an owner of a pod is.
pub(super) fn owner_dependency((kind, key): &(String, String)) -> Option<(Kind, String)> {
    match kind.as_str() {
        "ReplicaSet" => Some((Kind::ReplicaSet, key.clone())),
        "Job" => Some((Kind::Job, key.clone())),
        _ => None,
    }
}
