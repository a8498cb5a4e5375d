//! What is extracted, in the form in which it is used: names of attributes, patterns, and which resources must be watched.
//!
//! Compiled from the configuration once. Knows no objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use otelcore_go_regexp::{GoRegexp, PatternError, Template};

use crate::config::{FieldExtractConfig, FieldFilterConfig, K8sAttributesConfig, default_excludes};
use crate::fields::{Field, Origin, key_pattern};

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
        assert_eq!(
            selectors(&labels, &fields, "n1"),
            (
                "app=web,tier!=cache,a,!b".to_owned(),
                "metadata.name=a\\,b\\=c\\\\,status.phase!=Failed,spec.nodeName=n1".to_owned()
            )
        );
        assert_eq!(selectors(&[], &[], ""), (String::new(), String::new()));
    }
}
