//! The keys of every component that asks a Kubernetes API server.

use otelcore_config::{Section, config_enum, config_struct};

config_enum! {
    /// How the Kubernetes API server is asked.
    #[config(unknown = "invalid authType for kubernetes: {word}", hint = "write serviceAccount, kubeConfig or none")]
    pub enum KubernetesAuthType {
        /// With the token of the pod's service account.
        ServiceAccount = "serviceAccount",
        /// Without credentials, and without checking its certificate.
        None = "none",
        /// With the credentials of kubectl.
        KubeConfig = "kubeConfig",
        /// With a certificate.
        Tls = "tls",
    }
}

config_struct! {
    /// The Kubernetes API server, and how it is asked.
    #[config(check = Self::check)]
    pub struct KubernetesApiConfig {
        /// How the API server is asked: `serviceAccount` (the pod's token), `kubeConfig` (the file that `KUBECONFIG`
        /// names, or `~/.kube/config`) or `none` (no credentials).
        pub auth_type: KubernetesAuthType,
        /// The context of the kubeconfig; empty for its current one.
        pub context: String,
        /// Requests in a second; zero for 5.
        pub kube_api_qps: f64,
        /// Requests at once; zero for 10.
        #[config(at_least(0, "kube_api_burst must be greater than 0"))]
        pub kube_api_burst: i64,
    }
}

impl KubernetesApiConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.auth_type == KubernetesAuthType::Tls {
            s.error("auth_type", "`auth_type: tls` is not supported")
                .help("write kubeConfig, with a client certificate");
        }
        // The Go collector refuses negative numbers; NaN would disable the limit.
        if self.kube_api_qps < 0.0 || self.kube_api_qps.is_nan() {
            s.error("kube_api_qps", "kube_api_qps must be greater than 0");
            self.kube_api_qps = 0.0;
        }
        if !self.context.is_empty() && self.auth_type != KubernetesAuthType::KubeConfig {
            s.warn("context", "'context' has no effect without `auth_type: kubeConfig`");
        }
    }

    /// Requests in a second.
    pub(crate) fn requests_per_second(&self) -> f64 {
        if self.kube_api_qps > 0.0 { self.kube_api_qps } else { 5.0 }
    }

    /// Requests at once.
    pub(crate) fn burst(&self) -> f64 {
        if self.kube_api_burst > 0 { self.kube_api_burst as f64 } else { 10.0 }
    }
}
