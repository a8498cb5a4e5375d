//! The `kubelet_stats` section of receivers, with the keys and messages of the Go collector.

mod metrics;

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_kubernetes_client::{KubernetesApiConfig, KubernetesAuthType};
use otelcore_net::Url;
use otelcore_net::tls::TlsCommonConfig;

pub(crate) use metrics::{KubeletAttribute, KubeletMetric};
pub use metrics::{KubeletAttributesConfig, KubeletMetricsConfig};

/// The URL that an endpoint means, without a slash at its end.
pub(crate) fn kubelet_url(auth: KubernetesAuthType, endpoint: &str) -> String {
    let has_scheme = endpoint.starts_with("http://") || endpoint.starts_with("https://");
    let scheme = match auth {
        _ if has_scheme => "",
        KubernetesAuthType::None => "http://",
        _ => "https://",
    };
    format!("{scheme}{}", endpoint.trim_end_matches('/'))
}

config_struct! {
    /// `dialer` of the endpoint.
    pub struct KubeletDialerConfig {
        /// Time limit of a connection attempt.
        #[config(no_effect = "`timeout` is the limit of a scrape, with its connections")]
        pub timeout: GoDuration,
    }
}

config_struct! {
    /// Which network interfaces are reported.
    pub struct NetworkInterfacesConfig {
        /// All interfaces of pods, and not only the default one.
        pub pod: bool,
        /// All interfaces of the node, and not only the default one.
        pub node: bool,
    }
}

/// What metrics are of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum MetricGroup {
    Container,
    Pod,
    Node,
    Volume,
}

impl MetricGroup {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "container" => Self::Container,
            "pod" => Self::Pod,
            "node" => Self::Node,
            "volume" => Self::Volume,
            _ => return None,
        })
    }
}

/// The label from which the identifiers of containers come.
const CONTAINER_ID: &str = "container.id";
/// The label from which the types of volumes come.
const VOLUME_TYPE: &str = "k8s.volume.type";

config_struct! {
    /// Metrics of a node, its pods, their containers and volumes, as the node's kubelet knows them.
    #[config(check = Self::check)]
    pub struct KubeletStatsConfig {
        /// How often the kubelet is asked.
        #[config(above(GoDuration::ZERO, "\"collection_interval\": requires positive value"))]
        pub collection_interval: Duration = Duration::from_secs(10),
        /// How long after the start it is asked first.
        pub initial_delay: GoDuration = GoDuration(1_000_000_000),
        /// Time limit of all requests of one scrape; zero for 30 seconds.
        #[config(at_least(GoDuration::ZERO, "\"timeout\": requires positive value"))]
        pub timeout: Duration,
        /// How the kubelet is asked: `tls` (with a certificate of the client), `serviceAccount` (with the pod's token),
        /// `kubeConfig` (through the API server that the kubeconfig names) or `none` (the port that needs no credentials).
        pub auth_type: KubernetesAuthType = KubernetesAuthType::Tls,
        /// The context of the kubeconfig; empty for its current one.
        pub context: String,
        /// Requests in a second.
        #[config(ignored = "a scrape is one or two requests")]
        pub kube_api_qps: f64,
        /// Requests at once.
        #[config(ignored = "a scrape is one or two requests")]
        #[config(at_least(0, "kube_api_burst must be greater than 0"))]
        pub kube_api_burst: i64,
        /// The authorities of the kubelet, and the certificate with which it is asked.
        #[config(flatten)]
        pub tls: TlsCommonConfig,
        /// Accepts any certificate of the kubelet.
        pub insecure_skip_verify: bool,
        /// The kubelet: `host:port` or a URL; with `auth_type: kubeConfig` the name of the node. If empty, it is the name of
        /// this machine, with port 10250, or 10255 with `auth_type: none`.
        pub endpoint: String,
        /// How the endpoint is connected to.
        pub dialer: KubeletDialerConfig,
        /// Attributes that need a request for the pods: `container.id`, `k8s.volume.type`.
        pub extra_metadata_labels: Vec<String>,
        /// What is reported: `container`, `pod`, `node`, `volume`.
        pub metric_groups: Vec<String> = ["container", "pod", "node"].map(str::to_owned).to_vec(),
        /// The Kubernetes API server, which knows what is behind the claims of volumes, and how large the node is.
        pub k8s_api_config: Option<KubernetesApiConfig>,
        /// The name of the node, for metrics that are a part of what it has.
        pub node: String,
        /// Which network interfaces are reported.
        pub collect_all_network_interfaces: NetworkInterfacesConfig,
        /// Which metrics are sent.
        pub metrics: KubeletMetricsConfig,
        /// Which attributes resources have.
        pub resource_attributes: KubeletAttributesConfig,
    }
}

impl KubeletStatsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        // The Go collector refuses negative numbers.
        if self.kube_api_qps < 0.0 || self.kube_api_qps.is_nan() {
            s.error("kube_api_qps", "kube_api_qps must be greater than 0");
        }
        self.check_credentials(s);
        self.check_endpoint(s);
        self.check_labels(s);
        if self.metric_groups.iter().any(|name| MetricGroup::parse(name).is_none()) {
            s.start_error("metric_groups", "invalid entry in metric_groups")
                .help("write `container`, `pod`, `node` or `volume`");
        }
        if let Some(name) = self.node_metric() {
            if self.node.is_empty() {
                let message =
                    format!("for {name} node setting is required. Check the readme on how to set the required setting");
                s.error("node", message).help("write `node: ${env:K8S_NODE_NAME}`, and set the variable in the pod");
            }
            if self.k8s_api_config.is_none() {
                let message = format!("for {name} the size of the node is asked of the Kubernetes API server");
                s.start_error("k8s_api_config", message).help("write `k8s_api_config: {auth_type: serviceAccount}`");
            }
        }
    }

    fn check_credentials(&mut self, s: &mut Section<'_>) {
        let is_set = |file: &Option<String>| file.as_ref().is_some_and(|file| !file.is_empty());
        let tls = &self.tls;
        let has_certificate = is_set(&tls.cert_file) || !tls.cert_pem.0.is_empty();
        let has_key = is_set(&tls.key_file) || !tls.key_pem.0.is_empty();
        let is_unknown = s.contains_key("auth_type")
            && s.raw_node("auth_type").is_some_and(|node| node.as_str().is_some_and(|word| word != "tls"));
        match self.auth_type {
            // An unknown word is reported already.
            KubernetesAuthType::Tls if is_unknown => {}
            KubernetesAuthType::Tls => {
                let missing = [
                    ("ca_file", is_set(&tls.ca_file) || !tls.ca_pem.0.is_empty()),
                    ("cert_file", has_certificate),
                    ("key_file", has_key),
                ];
                if let Some((key, _)) = missing.iter().find(|(_, is_there)| !is_there) {
                    s.start_error(key, format!("`auth_type: tls` needs \"{key}\""))
                        .help("write `ca_file`, `cert_file` and `key_file`, or `auth_type: serviceAccount`");
                }
            }
            KubernetesAuthType::ServiceAccount | KubernetesAuthType::KubeConfig | KubernetesAuthType::None => {
                let has_other_credentials = [("cert_file", has_certificate), ("key_file", has_key)];
                for (key, _) in has_other_credentials.iter().filter(|(_, is_there)| *is_there) {
                    s.warn(key, format!("'{key}' has no effect without `auth_type: tls`")).help("leave it out");
                }
                let kubeconfig = self.auth_type == KubernetesAuthType::KubeConfig;
                if kubeconfig && (is_set(&tls.ca_file) || !tls.ca_pem.0.is_empty()) {
                    s.warn("ca_file", "'ca_file' has no effect with `auth_type: kubeConfig`")
                        .help("the authorities are those of the kubeconfig");
                }
            }
        }
        if !self.context.is_empty() && self.auth_type != KubernetesAuthType::KubeConfig {
            s.warn("context", "'context' has no effect without `auth_type: kubeConfig`");
        }
    }

    fn check_endpoint(&self, s: &Section<'_>) {
        if self.auth_type == KubernetesAuthType::KubeConfig {
            if self.endpoint.is_empty() || self.endpoint.contains(['/', ':', '?', '#']) {
                let message = "with `auth_type: kubeConfig` the endpoint is the name of a node";
                s.start_error("endpoint", message).help("write `endpoint: ${env:K8S_NODE_NAME}`");
            }
            return;
        }
        if !self.endpoint.is_empty()
            && let Err(error) = Url::parse(&kubelet_url(self.auth_type, &self.endpoint))
        {
            s.start_error("endpoint", error.to_string()).help("write `endpoint: ${env:K8S_NODE_NAME}:10250`");
        }
    }

    fn check_labels(&self, s: &Section<'_>) {
        let mut known = BTreeSet::new();
        for label in &self.extra_metadata_labels {
            if ![CONTAINER_ID, VOLUME_TYPE].contains(&label.as_str()) {
                s.start_error("extra_metadata_labels", format!("label \"{label}\" is not supported"))
                    .help("write `container.id` or `k8s.volume.type`");
            } else if !known.insert(label) {
                s.start_error("extra_metadata_labels", format!("duplicate metadata label: \"{label}\""));
            }
        }
    }

    /// Whether the metrics of a group are sent.
    pub(crate) fn has_group(&self, group: MetricGroup) -> bool {
        self.metric_groups.iter().any(|name| MetricGroup::parse(name) == Some(group))
    }

    /// Whether containers have identifiers.
    pub(crate) fn has_container_ids(&self) -> bool {
        self.extra_metadata_labels.iter().any(|label| label == CONTAINER_ID)
    }

    /// Whether volumes have types.
    pub(crate) fn has_volume_types(&self) -> bool {
        self.extra_metadata_labels.iter().any(|label| label == VOLUME_TYPE)
    }

    /// Whether the pods are asked for.
    pub(crate) fn needs_pods(&self) -> bool {
        let m = &self.metrics;
        let utilization = [
            &m.pod_cpu_limit_utilization,
            &m.pod_cpu_request_utilization,
            &m.k8s_container_cpu_limit_utilization,
            &m.k8s_container_cpu_request_utilization,
            &m.pod_memory_limit_utilization,
            &m.pod_memory_request_utilization,
            &m.k8s_container_memory_limit_utilization,
            &m.k8s_container_memory_request_utilization,
        ];
        !self.extra_metadata_labels.is_empty() || utilization.iter().any(|metric| metric.enabled)
    }

    /// The first metric that is a part of what the node has.
    pub(crate) fn node_metric(&self) -> Option<&'static str> {
        let m = &self.metrics;
        let metrics = [
            (&m.k8s_container_cpu_node_utilization, "k8s.container.cpu.node.utilization"),
            (&m.pod_cpu_node_utilization, "k8s.pod.cpu.node.utilization"),
            (&m.k8s_container_memory_node_utilization, "k8s.container.memory.node.utilization"),
            (&m.pod_memory_node_utilization, "k8s.pod.memory.node.utilization"),
        ];
        metrics.iter().find(|(metric, _)| metric.enabled).map(|(_, name)| *name)
    }
}
