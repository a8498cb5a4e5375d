//! The resource of a target: `service.*`, `server.*`, `url.scheme`, and what Kubernetes discovery knows.
//!
//! Reads no series; attributes of `target_info` are added by the transaction.

use std::net::IpAddr;

/// Names and values, each name once.
pub(crate) type Attributes = Vec<(Box<str>, Box<str>)>;

/// Sets an attribute, at its place if it is there.
pub(crate) fn set_attribute(attributes: &mut Attributes, name: &str, value: &str) {
    match attributes.iter_mut().find(|(known, _)| **known == *name) {
        Some((_, old)) => *old = value.into(),
        None => attributes.push((name.into(), value.into())),
    }
}

/// Labels of Kubernetes discovery, and the attributes that they become. Only one of the names of a node is there.
const KUBERNETES: [(&str, &str); 7] = [
    ("__meta_kubernetes_pod_name", "k8s.pod.name"),
    ("__meta_kubernetes_pod_uid", "k8s.pod.uid"),
    ("__meta_kubernetes_pod_container_name", "k8s.container.name"),
    ("__meta_kubernetes_namespace", "k8s.namespace.name"),
    ("__meta_kubernetes_pod_node_name", "k8s.node.name"),
    ("__meta_kubernetes_node_name", "k8s.node.name"),
    ("__meta_kubernetes_endpoint_node_name", "k8s.node.name"),
];

/// What a target's labels say before relabelling about its resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscoveredResource {
    /// `__scheme__`.
    scheme: Box<str>,
    /// Attributes that follow from the labels of Kubernetes.
    attributes: Attributes,
}

impl DiscoveredResource {
    /// From the labels that were discovered: `get` is an empty text for one that is not there.
    pub(crate) fn new<'l>(scheme: &str, get: impl Fn(&str) -> &'l str) -> Self {
        let mut attributes = Attributes::new();
        for (label, attribute) in KUBERNETES {
            let value = get(label);
            if !value.is_empty() {
                set_attribute(&mut attributes, attribute, value);
            }
        }
        let controller = get("__meta_kubernetes_pod_controller_name");
        let attribute = match get("__meta_kubernetes_pod_controller_kind") {
            "ReplicaSet" => "k8s.replicaset.name",
            "DaemonSet" => "k8s.daemonset.name",
            "StatefulSet" => "k8s.statefulset.name",
            "Job" => "k8s.job.name",
            "CronJob" => "k8s.cronjob.name",
            _ => "",
        };
        if !attribute.is_empty() && !controller.is_empty() {
            set_attribute(&mut attributes, attribute, controller);
        }
        Self { scheme: scheme.into(), attributes }
    }

    /// The attributes of the resource of series with this job and instance.
    pub(crate) fn attributes(&self, job: &str, instance: &str) -> Attributes {
        let (host, port) = split_host_port(instance).unwrap_or((instance, ""));
        let mut attributes = Attributes::new();
        set_attribute(&mut attributes, "service.name", job);
        if is_discernible(host) {
            set_attribute(&mut attributes, "server.address", host);
        }
        set_attribute(&mut attributes, "service.instance.id", instance);
        set_attribute(&mut attributes, "server.port", port);
        set_attribute(&mut attributes, "url.scheme", &self.scheme);
        for (name, value) in &self.attributes {
            set_attribute(&mut attributes, name, value);
        }
        attributes
    }
}

/// Whether a host says which machine it is: addresses of the machine itself do not.
fn is_discernible(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            !address.is_loopback() && !address.is_unspecified()
        }
        Err(_) => host != "localhost",
    }
}

/// As Go's `net.SplitHostPort`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let port = text.get(colon + 1..)?;
    let host = text.get(..colon)?;
    let inner = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!inner.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((inner, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split_as_in_go() {
        let table = [
            ("a:80", Some(("a", "80"))),
            ("a", None),
            ("[::1]:80", Some(("::1", "80"))),
            ("::1", None),
            ("[::1]", None),
            ("a:", Some(("a", ""))),
            ("[a]b:1", None),
            (":80", Some(("", "80"))),
        ];
        for (text, expected) in table {
            assert_eq!(split_host_port(text), expected, "{text}");
        }
    }

    #[test]
    fn host_that_is_this_machine_is_no_address() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"] {
            assert!(!is_discernible(host), "{host}");
        }
        for host in ["a", "10.0.0.1", "fe80::1"] {
            assert!(is_discernible(host), "{host}");
        }
    }

    #[test]
    fn labels_of_kubernetes_are_attributes() {
        let labels = [
            ("__meta_kubernetes_namespace", "shop"),
            ("__meta_kubernetes_pod_node_name", "n1"),
            ("__meta_kubernetes_pod_controller_kind", "DaemonSet"),
            ("__meta_kubernetes_pod_controller_name", "agent"),
        ];
        let get = |name: &str| labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| *value);
        let attributes = DiscoveredResource::new("https", get).attributes("j", "10.0.0.1:9100");
        let shown: Vec<_> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "service.name=j",
            "server.address=10.0.0.1",
            "service.instance.id=10.0.0.1:9100",
            "server.port=9100",
            "url.scheme=https",
            "k8s.namespace.name=shop",
            "k8s.node.name=n1",
            "k8s.daemonset.name=agent",
        ];
        assert_eq!(shown, expected);
    }
}
