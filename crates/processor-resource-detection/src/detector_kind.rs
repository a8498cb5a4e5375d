//! The names of detectors: those that are built, and those of the Go collector that are not.

/// Detectors of the Go collector that are not built yet.
pub(crate) const NOT_BUILT: &[&str] = &[
    "akamai",
    "alibaba_ecs",
    "digitalocean",
    "dynatrace",
    "elastic_beanstalk",
    "hetzner",
    "ibmcloud_classic",
    "ibmcloud_vpc",
    "kubeadm",
    "nova",
    "oraclecloud",
    "scaleway",
    "tencent_cvm",
    "upcloud",
    "vultr",
];

/// A detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DetectorKind {
    Env,
    System,
    Ec2,
    Docker,
    Gcp,
    Ecs,
    Eks,
    Azure,
    Aks,
    Heroku,
    Lambda,
    Consul,
    OpenShift,
    K8sApi,
    K8sNode,
}

impl DetectorKind {
    /// Every detector with its name.
    pub(crate) const ALL: &'static [(&'static str, Self)] = &[
        ("env", Self::Env),
        ("system", Self::System),
        ("ec2", Self::Ec2),
        ("docker", Self::Docker),
        ("gcp", Self::Gcp),
        ("ecs", Self::Ecs),
        ("eks", Self::Eks),
        ("azure", Self::Azure),
        ("aks", Self::Aks),
        ("heroku", Self::Heroku),
        ("lambda", Self::Lambda),
        ("consul", Self::Consul),
        ("openshift", Self::OpenShift),
        ("k8s_api", Self::K8sApi),
        ("k8snode", Self::K8sNode),
    ];

    /// The detector of this name. `gce` and `gke` are older names of parts of `gcp`.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let name = if matches!(name, "gce" | "gke") { "gcp" } else { name };
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }

    /// Whether it asks the Kubernetes API server.
    pub(crate) fn uses_kubernetes(self) -> bool {
        matches!(self, Self::Eks | Self::K8sApi | Self::K8sNode)
    }
}
