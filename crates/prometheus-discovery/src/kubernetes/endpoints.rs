//! The groups of `Endpoints` and `EndpointSlice`s. Pure functions.

use std::collections::BTreeMap;

use super::config::KubernetesRole;
use super::labels::{
    ADDRESS, Labels, MAX_TARGETS, PodPort, Related, SERVICE_NAME, add_namespace, full_pod_labels, join_host_port,
    key_of, sanitized,
};
use super::objects::{EndpointAddress, EndpointSlice, Endpoints, ServicePort, SliceEndpoint, SlicePort, TargetRef};
use crate::labels::LabelSet;
use crate::targets::TargetGroup;

/// Targets of addresses, and then of the other ports of their pods.
struct AddressTargets<'r> {
    related: &'r dyn Related,
    targets: Vec<LabelSet>,
    /// Ports that the targets of a pod have, by `namespace/name`.
    seen: BTreeMap<String, Vec<i64>>,
}

impl AddressTargets<'_> {
    /// Adds a target whose address may be a pod. `protocol` replaces that of the container's port.
    fn add(&mut self, mut labels: Labels, target: Option<&TargetRef>, port: Option<i64>, protocol: Option<&str>) {
        if self.targets.len() >= MAX_TARGETS {
            return;
        }
        let key = target.filter(|target| target.kind == "Pod").map(|target| key_of(&target.namespace, &target.name));
        if let Some(key) = key
            && let Some(pod) = self.related.pod(&key)
        {
            let seen = self.seen.entry(key).or_default();
            seen.extend(port);
            full_pod_labels(pod, self.related, &mut labels);
            let matching = |of_pod: &&PodPort| port == Some(of_pod.number);
            // Of a container the first port counts, and of containers the last one.
            let mut found: Option<&PodPort> = None;
            for of_pod in pod.ports.iter().filter(matching) {
                let is_same = |found: &PodPort| found.container == of_pod.container && found.is_init == of_pod.is_init;
                if !found.is_some_and(is_same) {
                    found = Some(of_pod);
                }
            }
            if let Some(found) = found {
                add_port(&mut labels, found, protocol.unwrap_or(&found.protocol));
            }
        }
        self.targets.push(labels.into_set());
    }

    /// Adds the ports of the pods that no address has.
    fn finish(mut self) -> Vec<LabelSet> {
        for (key, mut seen) in std::mem::take(&mut self.seen) {
            let Some(pod) = self.related.pod(&key).filter(|pod| !pod.ip.is_empty()) else { continue };
            seen.sort_unstable();
            let room = MAX_TARGETS.saturating_sub(self.targets.len());
            for port in pod.ports.iter().filter(|port| seen.binary_search(&port.number).is_err()).take(room) {
                let mut labels = Labels::default();
                labels.add_plain(ADDRESS, join_host_port(&pod.ip, port.number));
                add_port(&mut labels, port, &port.protocol);
                full_pod_labels(pod, self.related, &mut labels);
                self.targets.push(labels.into_set());
            }
        }
        self.targets
    }
}

fn add_port(labels: &mut Labels, port: &PodPort, protocol: &str) {
    labels.add("pod_container_name", port.container.clone());
    labels.add("pod_container_image", port.image.clone());
    labels.add("pod_container_port_name", port.name.clone());
    labels.add("pod_container_port_number", port.number.to_string());
    labels.add("pod_container_port_protocol", protocol);
    labels.add("pod_container_init", if port.is_init { "true" } else { "false" });
}

fn add_node(labels: &mut Labels, related: &dyn Related, node: Option<&str>) {
    if let Some(set) = node.and_then(|node| related.node(node)) {
        labels.extend(set);
    }
}

/// The group of an `Endpoints`.
pub(crate) fn endpoints_group(endpoints: &Endpoints, related: &dyn Related) -> TargetGroup {
    let metadata = &endpoints.metadata;
    let key = key_of(&metadata.namespace, &metadata.name);
    let mut labels = Labels::default();
    labels.add("namespace", metadata.namespace.clone());
    if let Some(service) = related.service(&key) {
        labels.extend(&service.labels);
    }
    labels.add_object(metadata, KubernetesRole::Endpoints);
    add_namespace(&mut labels, related, &metadata.namespace);
    let mut targets = AddressTargets { related, targets: Vec::new(), seen: BTreeMap::new() };
    for subset in &endpoints.subsets {
        for port in &subset.ports {
            for (addresses, ready) in [(&subset.addresses, "true"), (&subset.not_ready_addresses, "false")] {
                let room = MAX_TARGETS.saturating_sub(targets.targets.len());
                for address in addresses.iter().take(room) {
                    let labels = endpoint_labels(address, port, ready, related);
                    targets.add(labels, address.target_ref.as_ref(), Some(port.port), Some(&port.protocol));
                }
            }
        }
    }
    TargetGroup { source: format!("endpoints/{key}").into(), targets: targets.finish(), labels: labels.into_set() }
}

fn endpoint_labels(address: &EndpointAddress, port: &ServicePort, ready: &str, related: &dyn Related) -> Labels {
    let mut labels = Labels::default();
    labels.add_plain(ADDRESS, join_host_port(&address.ip, port.port));
    labels.add("endpoint_port_name", port.name.clone());
    labels.add("endpoint_port_protocol", port.protocol.clone());
    labels.add("endpoint_ready", ready);
    let target = address.target_ref.as_ref();
    labels.add_optional("endpoint_address_target_kind", target.map(|target| target.kind.clone()));
    labels.add_optional("endpoint_address_target_name", target.map(|target| target.name.clone()));
    labels.add_optional("endpoint_node_name", address.node_name.clone());
    labels.add_optional("endpoint_hostname", Some(address.hostname.clone()).filter(|name| !name.is_empty()));
    let of_target = || target.filter(|target| target.kind == "Node").map(|target| target.name.as_str());
    add_node(&mut labels, related, address.node_name.as_deref().or_else(of_target));
    labels
}

/// The group of an `EndpointSlice`.
pub(crate) fn endpoint_slice_group(slice: &EndpointSlice, related: &dyn Related) -> TargetGroup {
    let metadata = &slice.metadata;
    let mut labels = Labels::default();
    labels.add("namespace", metadata.namespace.clone());
    labels.add("endpointslice_address_type", slice.address_type.clone());
    labels.add_object(metadata, KubernetesRole::EndpointSlice);
    let service = metadata.labels.get(SERVICE_NAME).map(|name| key_of(&metadata.namespace, name));
    let service = service.and_then(|key| related.service(&key));
    if let Some(service) = service {
        labels.extend(&service.labels);
    }
    add_namespace(&mut labels, related, &metadata.namespace);
    let mut targets = AddressTargets { related, targets: Vec::new(), seen: BTreeMap::new() };
    let family = service.and_then(|service| service.primary_family.as_deref());
    // The slice of a service's second family would give its targets twice.
    if family.is_none_or(|family| family == slice.address_type) {
        for endpoint in &slice.endpoints {
            for port in &slice.ports {
                let room = MAX_TARGETS.saturating_sub(targets.targets.len());
                for address in endpoint.addresses.iter().take(room) {
                    let labels = slice_labels(address, endpoint, port, related);
                    targets.add(labels, endpoint.target_ref.as_ref(), port.port, None);
                }
            }
        }
    }
    let source = format!("endpointslice/{}", key_of(&metadata.namespace, &metadata.name));
    TargetGroup { source: source.into(), targets: targets.finish(), labels: labels.into_set() }
}

fn slice_labels(address: &str, endpoint: &SliceEndpoint, port: &SlicePort, related: &dyn Related) -> Labels {
    let mut labels = Labels::default();
    let joined = port.port.map_or_else(|| address.to_owned(), |number| join_host_port(address, number));
    labels.add_plain(ADDRESS, joined);
    let word = |value: Option<bool>| value.map(|value| value.to_string());
    let (conditions, target) = (&endpoint.conditions, endpoint.target_ref.as_ref());
    for (name, value) in [
        ("port_name", port.name.clone()),
        ("port_protocol", port.protocol.clone()),
        ("port", port.port.map(|number| number.to_string())),
        ("port_app_protocol", port.app_protocol.clone()),
        ("endpoint_conditions_ready", word(conditions.ready)),
        ("endpoint_conditions_serving", word(conditions.serving)),
        ("endpoint_conditions_terminating", word(conditions.terminating)),
        ("endpoint_hostname", endpoint.hostname.clone()),
        ("address_target_kind", target.map(|target| target.kind.clone())),
        ("address_target_name", target.map(|target| target.name.clone())),
        ("endpoint_node_name", endpoint.node_name.clone()),
        ("endpoint_zone", endpoint.zone.clone()),
    ] {
        labels.add_optional(&format!("endpointslice_{name}"), value);
    }
    for (key, value) in &endpoint.deprecated_topology {
        let key = sanitized(key);
        labels.add(&format!("endpointslice_endpoint_topology_{key}"), value.clone());
        labels.add(&format!("endpointslice_endpoint_topology_present_{key}"), "true");
    }
    let of_target = target.filter(|target| target.kind == "Node").map(|target| target.name.as_str());
    add_node(&mut labels, related, of_target.or(endpoint.node_name.as_deref()));
    labels
}
