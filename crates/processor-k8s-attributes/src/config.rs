//! The configuration, with the keys and messages of the Go collector.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_kubernetes_client::KubernetesApiConfig;

use crate::fields::{Field, MAX_SOURCES, Origin, is_label_value, is_qualified_name, key_pattern};

config_struct! {
    /// A label or an annotation that becomes an attribute.
    #[config(check = Self::check)]
    pub struct FieldExtractConfig {
        /// The key of the attribute. With `key_regex` it may have references to groups, `$$1`, and has no effect without a
        /// group in the expression. If empty, the attribute is `k8s.pod.labels.KEY`, `k8s.namespace.annotations.KEY`,
        /// `k8s.deployment.label.KEY` and so on.
        pub tag_name: String,
        /// The key of the label or annotation.
        pub key: String,
        /// A regular expression: labels or annotations whose whole key it matches.
        pub key_regex: String,
        /// Whose labels or annotations: `pod` (also if empty), `namespace`, `node`, `deployment`, `statefulset`,
        /// `daemonset` or `job`.
        pub from: String,
    }
}

impl FieldExtractConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if !self.key.is_empty() && !self.key_regex.is_empty() {
            let message = format!(
                "Out of Key or KeyRegex only one option is expected to be configured at a time, currently Key:{} and \
                 KeyRegex:{}",
                self.key, self.key_regex
            );
            s.error("key_regex", message).help("leave `key` or `key_regex` out");
        }
        if Origin::parse(&self.from).is_none() {
            let message = format!(
                "{} is not a valid choice for From. Must be one of: pod, namespace, deployment, statefulset, daemonset, \
                 job, node",
                self.from
            );
            s.error("from", message);
        }
        if !self.key_regex.is_empty()
            && let Err(error) = GoRegexp::compile(&key_pattern(&self.key_regex))
        {
            s.error("key_regex", error.to_string()).help(error.hint());
        }
    }
}

config_struct! {
    /// `extract`.
    #[config(check = Self::check)]
    pub struct ExtractConfig {
        /// The attributes that are added, by their names: `k8s.pod.name`, `k8s.node.name`, `container.image.name`,
        /// `service.name` and others.
        pub metadata: Vec<String> = Field::DEFAULT.iter().map(|field| field.name().to_owned()).collect(),
        /// Annotations that become attributes.
        pub annotations: Vec<FieldExtractConfig>,
        /// Labels that become attributes.
        pub labels: Vec<FieldExtractConfig>,
        /// Adds the annotations of pods that begin with `resource.opentelemetry.io/`, without that.
        pub otel_annotations: bool,
        /// Makes the name of a deployment from that of the replica set. Otherwise replica sets are watched.
        pub deployment_name_from_replicaset: bool = true,
    }
}

impl ExtractConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for name in &self.metadata {
            match Field::parse(name) {
                None => drop(s.error("metadata", format!("\"{name}\" is not a supported metadata field"))),
                Some(Field::ContainerImageTags) => drop(
                    s.warn("metadata", "`container.image.tags` is not added: it belongs to a feature gate that is off")
                        .help("write container.image.tag"),
                ),
                Some(_) => {}
            }
        }
        if !self.deployment_name_from_replicaset {
            let message =
                "`deployment_name_from_replicaset: false` is deprecated and will be removed in future releases";
            s.warn("deployment_name_from_replicaset", message);
        }
    }
}

config_struct! {
    /// A condition on a label or field of pods.
    pub struct FieldFilterConfig {
        /// The label or field.
        pub key: String,
        /// The value that it is compared with.
        pub value: String,
        /// `equals` (also if empty), `not-equals`; for labels also `exists` and `does-not-exist`.
        pub op: String,
    }
}

config_struct! {
    /// `filter`: which pods are watched.
    #[config(check = Self::check)]
    pub struct FilterConfig {
        /// Only pods of this node.
        pub node: String,
        /// The variable with the name of that node.
        pub node_from_env_var: String,
        /// Only pods of this namespace.
        pub namespace: String,
        /// Only pods whose fields are so: `metadata.name`, `status.phase`.
        pub fields: Vec<FieldFilterConfig>,
        /// Only pods whose labels are so.
        pub labels: Vec<FieldFilterConfig>,
    }
}

impl FilterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let error = |filter: &FieldFilterConfig| {
            format!(
                "'{}' is not a valid label filter operation for key={}, value={}",
                filter.op, filter.key, filter.value
            )
        };
        for filter in &self.labels {
            let compares = match filter.op.as_str() {
                "" | "equals" | "not-equals" => true,
                "exists" | "does-not-exist" => false,
                _ => {
                    s.error("labels", error(filter));
                    continue;
                }
            };
            if !is_qualified_name(&filter.key) {
                s.start_error("labels", format!("{:?} is not the key of a label", filter.key));
            } else if compares && !is_label_value(&filter.value) {
                s.start_error("labels", format!("{:?} is not the value of a label", filter.value));
            }
        }
        for filter in &self.fields {
            if !matches!(filter.op.as_str(), "" | "equals" | "not-equals") {
                s.error("fields", error(filter));
            }
        }
    }
}

config_struct! {
    /// What is compared.
    #[config(check = Self::check)]
    pub struct PodAssociationSourceConfig {
        /// `connection` (the address of the client that has sent the telemetry) or `resource_attribute`.
        pub from: String,
        /// The key of the attribute.
        pub name: String,
    }
}

impl PodAssociationSourceConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if !matches!(self.from.as_str(), "connection" | "resource_attribute") {
            let message = format!("a source of {:?} finds no pod", self.from);
            s.warn("from", message).help("write connection or resource_attribute");
        }
    }
}

config_struct! {
    /// A rule by which the pod of a resource is found.
    #[config(check = Self::check)]
    pub struct PodAssociationConfig {
        /// All of these must be known of the resource, and equal those of the pod.
        pub sources: Vec<PodAssociationSourceConfig>,
        /// In old versions: the only source.
        #[config(deprecated = "`sources:` with `from:` in it")]
        pub from: String,
        /// In old versions: the attribute of the only source.
        #[config(deprecated = "`sources:` with `name:` in it")]
        pub name: String,
    }
}

impl PodAssociationConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if !self.from.is_empty() && self.sources.is_empty() {
            let (from, name) = (std::mem::take(&mut self.from), std::mem::take(&mut self.name));
            self.sources.push(PodAssociationSourceConfig { from, name });
        }
        if self.sources.len() > MAX_SOURCES {
            s.error("sources", format!("too many association sources. limit is {MAX_SOURCES}"));
        }
    }
}

config_struct! {
    /// Pods that are left out.
    #[config(check = Self::check)]
    pub struct ExcludePodConfig {
        /// A regular expression that matches a part of the pod's name.
        pub name: String,
    }
}

impl ExcludePodConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if let Err(error) = GoRegexp::compile(&self.name) {
            s.start_error("name", error.to_string()).help(error.hint());
        }
    }
}

config_struct! {
    /// `exclude`.
    pub struct ExcludeConfig {
        /// Pods that are left out. An empty list is the default.
        pub pods: Vec<ExcludePodConfig> = default_excludes(),
    }
}

pub(crate) fn default_excludes() -> Vec<ExcludePodConfig> {
    ["jaeger-agent", "jaeger-collector"].map(|name| ExcludePodConfig { name: name.to_owned() }).to_vec()
}

config_struct! {
    /// Adds metadata of pods, and of what they belong to, to resources.
    pub struct K8sAttributesConfig {
        /// The API server.
        #[config(flatten)]
        pub api: KubernetesApiConfig,
        /// Only adds `k8s.pod.ip`, and asks no API server.
        pub passthrough: bool,
        /// What is added.
        pub extract: ExtractConfig,
        /// Which pods are watched.
        pub filter: FilterConfig,
        /// How the pod of a resource is found: by the first rule of which the resource has all sources. Without rules:
        /// by the attributes `k8s.pod.ip` and `ip`, the address of the client, and an address in `host.name`.
        pub pod_association: Vec<PodAssociationConfig>,
        /// Which pods are left out.
        pub exclude: ExcludeConfig,
        /// Holds telemetry back until all objects have been listed once.
        pub wait_for_metadata: bool,
        /// How long. After that, telemetry is refused until they have been listed.
        pub wait_for_metadata_timeout: Duration = Duration::from_secs(10),
        /// How often the Go collector processes all objects again.
        #[config(at_least(GoDuration::ZERO, "watch_sync_period must be greater than or equal to 0"))]
        #[config(ignored = "what depends on two objects is looked up when it is used")]
        pub watch_sync_period: Duration = Duration::from_secs(300),
        /// How long telemetry of a deleted pod still gets its attributes.
        #[config(at_least(GoDuration::ZERO, "pod_delete_grace_period must be greater than or equal to 0"))]
        pub pod_delete_grace_period: Duration = Duration::from_secs(120),
    }
}
