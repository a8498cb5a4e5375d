//! The words of the configuration: attributes, origins, and the forms of names.

/// Sources of one association, at most.
pub(crate) const MAX_SOURCES: usize = 4;

macro_rules! fields {
    ($($variant:ident = $name:literal,)*) => {
        /// An attribute of `extract::metadata`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Field { $($variant,)* }

        impl Field {
            /// All keys.
            #[cfg(test)]
            pub(crate) const NAMES: &'static [&'static str] = &[$($name,)*];
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $name),)*];

            /// The key of the attribute.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

fields! {
    NamespaceName = "k8s.namespace.name",
    PodName = "k8s.pod.name",
    PodUid = "k8s.pod.uid",
    PodHostname = "k8s.pod.hostname",
    PodStartTime = "k8s.pod.start_time",
    PodIp = "k8s.pod.ip",
    DeploymentName = "k8s.deployment.name",
    DeploymentUid = "k8s.deployment.uid",
    ReplicaSetName = "k8s.replicaset.name",
    ReplicaSetUid = "k8s.replicaset.uid",
    DaemonSetName = "k8s.daemonset.name",
    DaemonSetUid = "k8s.daemonset.uid",
    StatefulSetName = "k8s.statefulset.name",
    StatefulSetUid = "k8s.statefulset.uid",
    JobName = "k8s.job.name",
    JobUid = "k8s.job.uid",
    CronJobName = "k8s.cronjob.name",
    CronJobUid = "k8s.cronjob.uid",
    NodeName = "k8s.node.name",
    NodeUid = "k8s.node.uid",
    ContainerName = "k8s.container.name",
    ContainerId = "container.id",
    ContainerImageName = "container.image.name",
    ContainerImageTag = "container.image.tag",
    ContainerImageTags = "container.image.tags",
    ContainerImageRepoDigests = "container.image.repo_digests",
    ServiceNamespace = "service.namespace",
    ServiceName = "service.name",
    ServiceVersion = "service.version",
    ServiceInstanceId = "service.instance.id",
    ClusterUid = "k8s.cluster.uid",
}

impl Field {
    /// Those that are added without a list.
    pub(crate) const DEFAULT: [Self; 8] = [
        Self::ContainerImageName,
        Self::ContainerImageTag,
        Self::DeploymentName,
        Self::NamespaceName,
        Self::NodeName,
        Self::PodName,
        Self::PodStartTime,
        Self::PodUid,
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(field, _)| *field)
    }
}

/// Whose labels and annotations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    Pod,
    Namespace,
    Node,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

impl Origin {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "" | "pod" => Self::Pod,
            "namespace" => Self::Namespace,
            "node" => Self::Node,
            "deployment" => Self::Deployment,
            "statefulset" => Self::StatefulSet,
            "daemonset" => Self::DaemonSet,
            "job" => Self::Job,
            _ => return None,
        })
    }

    /// How attributes without a name of their own begin: of labels, and of annotations. Those of workloads have the names of
    /// the semantic conventions, the others older ones.
    pub(crate) fn prefixes(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("k8s.pod.labels.", "k8s.pod.annotations."),
            Self::Namespace => ("k8s.namespace.labels.", "k8s.namespace.annotations."),
            Self::Node => ("k8s.node.labels.", "k8s.node.annotations."),
            Self::Deployment => ("k8s.deployment.label.", "k8s.deployment.annotation."),
            Self::StatefulSet => ("k8s.statefulset.label.", "k8s.statefulset.annotation."),
            Self::DaemonSet => ("k8s.daemonset.label.", "k8s.daemonset.annotation."),
            Self::Job => ("k8s.job.label.", "k8s.job.annotation."),
        }
    }
}

/// The resources that may be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Pod,
    Namespace,
    Node,
    ReplicaSet,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

/// The pattern that a whole key must match.
pub(crate) fn key_pattern(key_regex: &str) -> String {
    format!("^(?:{key_regex})$")
}

/// The form of names in Kubernetes: letters, digits, and `-`, `_`, `.` between them.
fn is_name(text: &str, max: usize) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= max && text.bytes().all(is_inner) && ends.iter().all(|b| b.is_some_and(|b| b.is_ascii_alphanumeric()))
}

/// Whether a text can be the key of a label.
pub(crate) fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_name(prefix, 253) && is_name(name, 63),
        None => is_name(key, 63),
    }
}

/// Whether a text can be the value of a label.
pub(crate) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name(value, 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_of_labels_are_checked() {
        for key in ["app", "app.kubernetes.io/name", "A_b-c.9"] {
            assert!(is_qualified_name(key), "{key}");
        }
        for key in ["", "a b", "-a", "a/b/c", "/a", "a,b=c"] {
            assert!(!is_qualified_name(key), "{key}");
        }
        assert!(is_label_value("") && is_label_value("v1.2_x") && !is_label_value("a=b"));
    }
}
