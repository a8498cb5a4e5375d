//! The keys of `kubernetes_sd_configs`, and Prometheus's checks of them.

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section, config_struct};
use otelcore_net::Url;

use crate::http_config::PrometheusHttpConfig;

/// What targets are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum KubernetesRole {
    /// None is written.
    #[default]
    Missing,
    /// Pods, a target for each port of a container.
    Pod,
    /// Services, a target for each port.
    Service,
    /// Addresses of `Endpoints`, and other ports of their pods.
    Endpoints,
    /// Addresses of `EndpointSlice`s, and other ports of their pods.
    EndpointSlice,
    /// Nodes, with the port of the kubelet.
    Node,
    /// Ingresses, a target for each path.
    Ingress,
}

const ROLES: [(&str, KubernetesRole); 6] = [
    ("pod", KubernetesRole::Pod),
    ("service", KubernetesRole::Service),
    ("endpoints", KubernetesRole::Endpoints),
    ("endpointslice", KubernetesRole::EndpointSlice),
    ("node", KubernetesRole::Node),
    ("ingress", KubernetesRole::Ingress),
];

impl KubernetesRole {
    /// The word for it, which is also a part of names of labels.
    pub(crate) fn name(self) -> &'static str {
        ROLES.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| *name)
    }

    /// The roles that may have selectors.
    fn selector_roles(self) -> &'static [Self] {
        match self {
            Self::Missing => &[],
            Self::Pod => &[Self::Pod, Self::Node],
            Self::Service => &[Self::Service],
            Self::Endpoints => &[Self::Pod, Self::Service, Self::Endpoints],
            Self::EndpointSlice => &[Self::Pod, Self::Service, Self::EndpointSlice],
            Self::Node => &[Self::Node],
            Self::Ingress => &[Self::Ingress],
        }
    }
}

impl ConfigValue for KubernetesRole {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let word = s.str(key, "");
        if word.is_empty() && !s.contains_key(key) {
            return *default;
        }
        if let Some((_, role)) = ROLES.iter().find(|(name, _)| *name == word) {
            return *role;
        }
        s.error(key, format!("unknown Kubernetes SD role {word:?}"))
            .help("write pod, service, endpoints, endpointslice, node or ingress");
        // Any other one, so that there is no second error.
        Self::Pod
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(ROLES.iter().map(|(name, _)| *name).collect())
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

config_struct! {
    /// The namespaces whose objects are read.
    #[derive(PartialEq, Eq)]
    pub struct KubernetesNamespaceConfig {
        /// The namespace of the collector's own pod.
        pub own_namespace: bool,
        /// The names of namespaces. Without any of them all namespaces are read.
        pub names: Vec<String>,
    }
}

config_struct! {
    /// Which objects are read.
    #[derive(PartialEq, Eq)]
    pub struct KubernetesSelectorConfig {
        /// The objects that are selected: `pod`, `node`, `service`, ..
        pub role: KubernetesRole,
        /// Labels of the objects, such as `app=web`.
        pub label: String,
        /// Fields of the objects, such as `spec.nodeName=n1`.
        pub field: String,
    }
}

config_struct! {
    /// Labels of other objects that targets get.
    #[derive(PartialEq, Eq)]
    pub struct KubernetesMetadataConfig {
        /// Labels and annotations of the node.
        pub node: bool,
        /// Labels and annotations of the namespace.
        pub namespace: bool,
        /// The name of the deployment of a pod.
        pub deployment: bool,
        /// The name of the job of a pod.
        pub job: bool,
        /// The name of the cron job of a pod.
        pub cronjob: bool,
    }
}

config_struct! {
    /// Targets in a Kubernetes cluster.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct KubernetesSdConfig {
        /// The URL of the API server. Without it, and without `kubeconfig_file`, the collector runs in the cluster.
        pub api_server: String,
        /// What targets are made of: `pod`, `service`, `endpoints`, `endpointslice`, `node` or `ingress`.
        pub role: KubernetesRole,
        /// The path of a file of kubectl that says where the API server is.
        pub kubeconfig_file: String,
        /// The client for `api_server`.
        #[config(flatten)]
        pub client: PrometheusHttpConfig,
        /// The namespaces whose objects are read.
        pub namespaces: KubernetesNamespaceConfig,
        /// Which objects are read.
        pub selectors: Vec<KubernetesSelectorConfig>,
        /// Labels of other objects that targets get.
        pub attach_metadata: KubernetesMetadataConfig,
    }
}

impl KubernetesSdConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Some((key, message)) = self.mistake() {
            s.error(key, message);
        } else if !self.api_server.is_empty()
            && let Err(error) = Url::parse(&self.api_server)
        {
            s.error("api_server", error.to_string());
        }
        for (index, selector) in self.selectors.iter().enumerate() {
            if let Some(message) = self.mistake_of_selector(index, selector) {
                s.error(&format!("selectors[{index}]"), message);
            }
        }
    }

    fn mistake(&self) -> Option<(&'static str, String)> {
        let (has_server, has_file) = (!self.api_server.is_empty(), !self.kubeconfig_file.is_empty());
        let (is_plain, has_own) = (self.client.is_default(), self.namespaces.own_namespace);
        let mistake = |key: &'static str, message: &str| Some((key, message.to_owned()));
        if self.role == KubernetesRole::Missing {
            mistake("role", "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)")
        } else if has_server && has_file {
            mistake("kubeconfig_file", "cannot use 'kubeconfig_file' and 'api_server' simultaneously")
        } else if has_file && !is_plain {
            let message = "cannot use a custom HTTP client configuration together with 'kubeconfig_file'";
            mistake("kubeconfig_file", message)
        } else if !has_server && !is_plain {
            let message = "to use custom HTTP client configuration please provide the 'api_server' URL explicitly";
            mistake("api_server", message)
        } else if has_server && has_own {
            let message = "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously";
            mistake("namespaces::own_namespace", message)
        } else if has_file && has_own {
            let message = "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously";
            mistake("namespaces::own_namespace", message)
        } else {
            None
        }
    }

    fn mistake_of_selector(&self, index: usize, selector: &KubernetesSelectorConfig) -> Option<String> {
        let (role, allowed) = (selector.role, self.role.selector_roles());
        if self.selectors.iter().take(index).any(|other| other.role == role) {
            return Some(format!("duplicated selector role: {}", role.name()));
        }
        if self.role != KubernetesRole::Missing && !allowed.contains(&role) {
            let names: Vec<&str> = allowed.iter().map(|role| role.name()).collect();
            return Some(format!("{} role supports only {} selectors", self.role.name(), names.join(", ")));
        }
        let term = selector.field.split(',').find(|term| !term.is_empty() && !term.contains('='))?;
        Some(format!("invalid selector: '{}'; can't understand '{term}'", selector.field))
    }

    /// The selectors of labels and of fields for the objects of a role.
    pub(crate) fn selectors_of(&self, role: KubernetesRole) -> (&str, &str) {
        let found = self.selectors.iter().find(|selector| selector.role == role);
        found.map_or(("", ""), |selector| (&selector.label, &selector.field))
    }
}
