//! What is extracted, in the form in which it is used: names of attributes, patterns, and which resources must be watched.
//!
//! Compiled from the configuration once. Knows no objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use otelcore_go_regexp::{GoRegexp, PatternError, Template};

use crate::config::{FieldExtractConfig, FieldFilterConfig, K8sAttributesConfig, default_excludes};

/// Sources of one association, at most.
pub(crate) const MAX_SOURCES: usize = 4;

macro_rules! fields {
    ($($variant:ident = $name:literal,)*) => {
        /// An attribute of `extract::metadata`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Field { $($variant,)* }

        impl Field {
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
    fn prefixes(self) -> (&'static str, &'static str) {
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

/// The pattern that a whole key must match.
pub(crate) fn key_pattern(key_regex: &str) -> String {
    format!("^(?:{key_regex})$")
}

#[derive(Debug)]
enum KeyRule {
    Key(String),
    Pattern { pattern: GoRegexp, name: Option<Template> },
}

/// Makes attributes of labels or annotations.
#[derive(Debug)]
pub(crate) struct FieldRule {
    origin: Origin,
    key: KeyRule,
    /// The name of the attribute of [`KeyRule::Key`]; empty for the default.
    name: String,
    /// How the default name begins.
    prefix: &'static str,
}

/// Attributes of one object, by key.
pub(crate) type Tags = BTreeMap<Cow<'static, str>, String>;

impl FieldRule {
    fn compile(config: &FieldExtractConfig, is_label: bool) -> Result<Self, PatternError> {
        let origin = Origin::parse(&config.from).unwrap_or(Origin::Pod);
        let (of_labels, of_annotations) = origin.prefixes();
        let prefix = if is_label { of_labels } else { of_annotations };
        let key = if config.key_regex.is_empty() {
            KeyRule::Key(config.key.clone())
        } else {
            let pattern = GoRegexp::compile(&key_pattern(&config.key_regex))?;
            let has_name = !pattern.group_names().is_empty() && !config.tag_name.is_empty();
            KeyRule::Pattern { name: has_name.then(|| Template::parse(&config.tag_name)), pattern }
        };
        Ok(Self { origin, key, name: config.tag_name.clone(), prefix })
    }

    fn apply(&self, found: &BTreeMap<String, String>, tags: &mut Tags) {
        match &self.key {
            KeyRule::Key(key) => {
                if let Some(value) = found.get(key) {
                    let name = if self.name.is_empty() { format!("{}{key}", self.prefix) } else { self.name.clone() };
                    tags.insert(name.into(), value.clone());
                }
            }
            KeyRule::Pattern { pattern, name } => {
                for (key, value) in found.iter().filter(|(_, value)| !value.is_empty()) {
                    let Some(groups) = pattern.find(key.as_bytes()) else { continue };
                    let name = match name {
                        None => format!("{}{key}", self.prefix),
                        Some(template) => {
                            let mut name = Vec::new();
                            pattern.expand(template, key.as_bytes(), &groups, &mut name);
                            String::from_utf8_lossy(&name).into_owned()
                        }
                    };
                    tags.insert(name.into(), value.clone());
                }
            }
        }
    }
}

/// Everything that is extracted.
#[derive(Debug)]
pub(crate) struct Rules {
    /// A bit for each [`Field`].
    fields: u64,
    labels: Vec<FieldRule>,
    annotations: Vec<FieldRule>,
    excluded: Vec<GoRegexp>,
    deployment_name_from_replica_set: bool,
}

impl Rules {
    /// # Errors
    /// A pattern that is not valid, which the check of the configuration has reported.
    pub(crate) fn compile(config: &K8sAttributesConfig) -> Result<Self, PatternError> {
        let extract = &config.extract;
        let fields = extract.metadata.iter().filter_map(|name| Field::parse(name));
        let fields = fields.fold(0, |bits, field| bits | 1 << field as u64);
        let rules = |list: &[FieldExtractConfig], is_label: bool| -> Result<Vec<FieldRule>, PatternError> {
            list.iter().map(|config| FieldRule::compile(config, is_label)).collect()
        };
        let mut annotations = rules(&extract.annotations, false)?;
        if extract.otel_annotations {
            let config = FieldExtractConfig {
                tag_name: "$1".to_owned(),
                key_regex: r"resource\.opentelemetry\.io/(.+)".to_owned(),
                ..FieldExtractConfig::default()
            };
            annotations.push(FieldRule::compile(&config, false)?);
        }
        let excluded = match config.exclude.pods.is_empty() {
            true => default_excludes(),
            false => config.exclude.pods.clone(),
        };
        Ok(Self {
            fields,
            labels: rules(&extract.labels, true)?,
            annotations,
            excluded: excluded.iter().map(|pod| GoRegexp::compile(&pod.name)).collect::<Result<_, _>>()?,
            deployment_name_from_replica_set: extract.deployment_name_from_replicaset,
        })
    }

    pub(crate) fn has(&self, field: Field) -> bool {
        self.fields & (1 << field as u64) != 0
    }

    pub(crate) fn has_any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|field| self.has(*field))
    }

    fn has_fields_of(&self, origin: Origin) -> bool {
        self.labels.iter().chain(&self.annotations).any(|rule| rule.origin == origin)
    }

    /// Attributes of containers are wanted.
    pub(crate) fn needs_containers(&self) -> bool {
        self.has_any(&[
            Field::ContainerImageName,
            Field::ContainerName,
            Field::ContainerImageTag,
            Field::ContainerImageTags,
            Field::ContainerImageRepoDigests,
            Field::ContainerId,
            Field::ServiceVersion,
            Field::ServiceInstanceId,
        ])
    }

    /// Attributes of what owns a pod are wanted.
    pub(crate) fn needs_owners(&self) -> bool {
        self.has_any(&[
            Field::CronJobName,
            Field::CronJobUid,
            Field::DeploymentName,
            Field::DeploymentUid,
            Field::DaemonSetUid,
            Field::DaemonSetName,
            Field::JobName,
            Field::JobUid,
            Field::ReplicaSetUid,
            Field::ReplicaSetName,
            Field::StatefulSetUid,
            Field::StatefulSetName,
            Field::ServiceName,
        ])
    }

    /// Pods keep the name of their node.
    pub(crate) fn needs_node_name(&self) -> bool {
        self.has_any(&[Field::NodeName, Field::NodeUid])
    }

    pub(crate) fn watches_replica_sets(&self) -> bool {
        self.has(Field::DeploymentName) && !self.deployment_name_from_replica_set
            || self.has(Field::DeploymentUid)
            || self.watches(Origin::Deployment)
    }

    /// Whether objects of this kind must be watched.
    pub(crate) fn watches(&self, origin: Origin) -> bool {
        self.has_fields_of(origin)
            || match origin {
                Origin::Pod => true,
                Origin::Node => self.has(Field::NodeUid),
                Origin::Job => self.has(Field::CronJobUid),
                _ => false,
            }
    }

    /// Makes attributes of the labels and annotations of an object. `between` runs between the two.
    pub(crate) fn apply(
        &self,
        origin: Origin,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
        tags: &mut Tags,
        between: impl FnOnce(&mut Tags),
    ) {
        self.labels.iter().filter(|rule| rule.origin == origin).for_each(|rule| rule.apply(labels, tags));
        between(tags);
        self.annotations.iter().filter(|rule| rule.origin == origin).for_each(|rule| rule.apply(annotations, tags));
    }

    /// Whether a pod of this name is left out.
    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.excluded.iter().any(|pattern| pattern.is_match(name.as_bytes()))
    }
}

/// The selectors of the API for `filter`: of labels and of fields.
pub(crate) fn selectors(labels: &[FieldFilterConfig], fields: &[FieldFilterConfig], node: &str) -> (String, String) {
    let label = |filter: &FieldFilterConfig| match filter.op.as_str() {
        "not-equals" => format!("{}!={}", filter.key, filter.value),
        "exists" => filter.key.clone(),
        "does-not-exist" => format!("!{}", filter.key),
        _ => format!("{}={}", filter.key, filter.value),
    };
    let escaped = |value: &str| value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    let field = |filter: &FieldFilterConfig| {
        let operator = if filter.op == "not-equals" { "!=" } else { "=" };
        format!("{}{operator}{}", filter.key, escaped(&filter.value))
    };
    let mut fields: Vec<String> = fields.iter().map(field).collect();
    if !node.is_empty() {
        fields.push(format!("spec.nodeName={}", escaped(node)));
    }
    (labels.iter().map(label).collect::<Vec<_>>().join(","), fields.join(","))
}

/// The form of names in Kubernetes: letters, digits, and `-`, `_`, `.` between them.
fn is_name(text: &str, max: usize) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= max
        && text.bytes().all(is_inner)
        && ends.iter().all(|b| b.is_some_and(|b| b.is_ascii_alphanumeric()))
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
    fn selectors_have_the_form_of_the_api() {
        let filter = |key: &str, op: &str, value: &str| FieldFilterConfig {
            key: key.to_owned(),
            op: op.to_owned(),
            value: value.to_owned(),
        };
        let labels = [
            filter("app", "", "web"),
            filter("tier", "not-equals", "cache"),
            filter("a", "exists", ""),
            filter("b", "does-not-exist", ""),
        ];
        let fields = [filter("metadata.name", "", "a,b=c\\"), filter("status.phase", "not-equals", "Failed")];
        assert_eq!(selectors(&labels, &fields, "n1"), (
            "app=web,tier!=cache,a,!b".to_owned(),
            "metadata.name=a\\,b\\=c\\\\,status.phase!=Failed,spec.nodeName=n1".to_owned()
        ));
        assert_eq!(selectors(&[], &[], ""), (String::new(), String::new()));
    }

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
