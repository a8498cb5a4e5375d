//! Objects of Kubernetes as structs, with the members that targets are made of. Others are skipped; null is absence.

use std::collections::BTreeMap;

use otelcore_kubernetes_client::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// Null is the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Declares structs of members that may be absent or null.
macro_rules! objects {
    ($($(#[doc = $doc:literal])* struct $name:ident { $($(#[serde($($option:tt)*)])? $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(crate) struct $name {
            $($(#[serde($($option)*)])? #[serde(deserialize_with = "or_default")] pub(crate) $field: $ty,)*
        }
    )*};
}

objects! {
    struct Pod { metadata: ObjectMeta, spec: PodSpec, status: PodStatus }
    struct PodSpec { node_name: String, containers: Vec<Container>, init_containers: Vec<Container> }
    struct Container { name: String, image: String, ports: Vec<ContainerPort> }
    struct ContainerPort { name: String, container_port: i64, protocol: String }
    struct PodStatus {
        phase: String,
        #[serde(rename = "podIP")]
        pod_ip: String,
        #[serde(rename = "hostIP")]
        host_ip: String,
        conditions: Vec<Condition>,
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
    }
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
    }
    struct ContainerStatus {
        name: String,
        #[serde(rename = "containerID")]
        container_id: String,
    }

    struct Service { metadata: ObjectMeta, spec: ServiceSpec }
    struct ServiceSpec {
        #[serde(rename = "type")]
        kind: String,
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        #[serde(rename = "loadBalancerIP")]
        load_balancer_ip: String,
        external_name: String,
        ports: Vec<ServicePort>,
        ip_family_policy: Option<String>,
        ip_families: Vec<String>,
    }
    struct ServicePort { name: String, port: i64, protocol: String }

    struct Endpoints { metadata: ObjectMeta, subsets: Vec<EndpointSubset> }
    struct EndpointSubset {
        addresses: Vec<EndpointAddress>,
        not_ready_addresses: Vec<EndpointAddress>,
        ports: Vec<ServicePort>,
    }
    struct EndpointAddress { ip: String, hostname: String, node_name: Option<String>, target_ref: Option<TargetRef> }
    struct TargetRef { kind: String, namespace: String, name: String }

    struct EndpointSlice {
        metadata: ObjectMeta,
        address_type: String,
        endpoints: Vec<SliceEndpoint>,
        ports: Vec<SlicePort>,
    }
    struct SliceEndpoint {
        addresses: Vec<String>,
        conditions: SliceConditions,
        hostname: Option<String>,
        target_ref: Option<TargetRef>,
        node_name: Option<String>,
        zone: Option<String>,
        deprecated_topology: BTreeMap<String, String>,
    }
    struct SliceConditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool> }
    struct SlicePort { name: Option<String>, port: Option<i64>, protocol: Option<String>, app_protocol: Option<String> }

    struct Node { metadata: ObjectMeta, spec: NodeSpec, status: NodeStatus }
    struct NodeSpec {
        #[serde(rename = "providerID")]
        provider_id: String,
    }
    struct NodeStatus { conditions: Vec<Condition>, addresses: Vec<NodeAddress>, daemon_endpoints: DaemonEndpoints }
    struct NodeAddress {
        #[serde(rename = "type")]
        kind: String,
        address: String,
    }
    struct DaemonEndpoints { kubelet_endpoint: DaemonEndpoint }
    struct DaemonEndpoint {
        #[serde(rename = "Port")]
        port: i64,
    }

    struct Ingress { metadata: ObjectMeta, spec: IngressSpec }
    struct IngressSpec { ingress_class_name: Option<String>, tls: Vec<IngressTls>, rules: Vec<IngressRule> }
    struct IngressTls { hosts: Vec<String> }
    struct IngressRule { host: String, http: Option<IngressPaths> }
    struct IngressPaths { paths: Vec<IngressPath> }
    struct IngressPath { path: String }
}

/// The owner that manages an object: its kind and its name.
pub(crate) fn controller_of(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    let owner = metadata.owner_references.iter().find(|owner| owner.controller)?;
    Some((&owner.kind, &owner.name))
}
