//! Attributes of a pod, by the rules of the configuration.
//!
//! What follows from another object is not among them: the owners of a pod are kept, and `tables` looks up what they are
//! owned by. Performs no IO.

use otelcore_kubernetes_client::{ObjectMeta, Pod, parse_time};
use otelcore_pdata::Value;

use crate::association::{Associations, PodValue, Source, push_value};
use crate::fields::{Field, Origin};
use crate::rules::{Rules, Tags};
use otelcore_kubernetes_client::ImageParser;

/// A pod with this annotation is left out.
const IGNORE_ANNOTATION: &str = "opentelemetry.io/k8s-processor/ignore";
/// The label of pods whose value ends the name of a deployment's replica set.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// A job's suffix is the minute at which it was created, and its pod's creation is at most this far from that.
const MAX_JOB_MINUTES: i64 = 24 * 60;

/// What owns a pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OwnerKind {
    ReplicaSet,
    DaemonSet,
    StatefulSet,
    Job,
}

/// An owner of a pod.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) kind: OwnerKind,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
    /// The deployment or cron job, by the owner's name; empty if that does not say.
    pub(crate) root_by_name: Box<str>,
}

/// A container of a pod.
#[derive(Default, Debug)]
pub(crate) struct ContainerRecord {
    pub(crate) name: String,
    pub(crate) image_name: String,
    pub(crate) image_tag: String,
    pub(crate) service_instance_id: String,
    pub(crate) service_version: String,
    /// By restart count, in ascending order.
    pub(crate) runs: Vec<(i64, ContainerRun)>,
    /// Its name in the pod, by which it is found.
    pub(crate) key: String,
    /// Its ids without the prefix of the runtime.
    pub(crate) ids: Vec<String>,
}

/// One start of a container.
#[derive(Default, Debug)]
pub(crate) struct ContainerRun {
    pub(crate) id: String,
    /// A list with the digest, encoded as a value; empty for none.
    pub(crate) repo_digests: Vec<u8>,
}

/// What is kept of a pod.
#[derive(Default, Debug)]
pub(crate) struct PodRecord {
    pub(crate) uid: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) namespace: Box<str>,
    /// Empty unless an attribute of the node is wanted.
    pub(crate) node_name: Box<str>,
    address: Box<str>,
    start_time: Option<i64>,
    is_on_host_network: bool,
    pub(crate) is_ignored: bool,
    /// Attributes that need no other object.
    pub(crate) attributes: Vec<(Box<str>, Box<str>)>,
    /// `service.name`, where neither a label nor an annotation says it, and no owner.
    pub(crate) service_name: Box<str>,
    pub(crate) owners: Vec<Owner>,
    pub(crate) containers: Vec<ContainerRecord>,
}

fn boxed(text: &str) -> Box<str> {
    text.into()
}

/// The name of the deployment of a replica set: what is before the hash. Empty if it does not end so.
fn deployment_of(replica_set: &str, hash: &str) -> Box<str> {
    let name = replica_set.strip_suffix(hash).filter(|_| !hash.is_empty());
    boxed(name.and_then(|name| name.strip_suffix('-')).unwrap_or_default())
}

/// The name of the cron job of a job: what is before the minute of its creation. Empty if it does not end so.
fn cron_job_of(job: &str, pod_created: Option<i64>) -> Box<str> {
    let found = job.rsplit_once('-').filter(|(_, minutes)| {
        let is_time = minutes.len() == 8 && minutes.bytes().all(|b| b.is_ascii_digit());
        let minutes = minutes.parse::<i64>().ok().filter(|_| is_time);
        // A time that can't be read is Go's zero time, far from every job.
        let pod_minutes = pod_created.map(|seconds| seconds.div_euclid(60));
        matches!((minutes, pod_minutes), (Some(a), Some(b)) if (a - b).abs() <= MAX_JOB_MINUTES)
    });
    boxed(found.map(|(name, _)| name).unwrap_or_default())
}

impl PodRecord {
    /// Makes the record of a pod.
    pub(crate) fn new(pod: &Pod, rules: &Rules, images: &ImageParser) -> Self {
        let Pod { metadata, spec, status } = pod;
        let mut record = Self {
            uid: boxed(&metadata.uid),
            name: boxed(&metadata.name),
            namespace: boxed(&metadata.namespace),
            node_name: boxed(if rules.needs_node_name() { &spec.node_name } else { "" }),
            address: boxed(&status.pod_ip),
            start_time: parse_time(&status.start_time),
            is_on_host_network: spec.host_network,
            is_ignored: is_ignored(metadata, rules),
            ..Self::default()
        };
        if rules.needs_owners() {
            record.owners = owners(metadata);
        }
        if record.is_ignored {
            return record;
        }
        let mut tags = Tags::new();
        record.add_fields(pod, rules, &mut tags);
        let between = |tags: &mut Tags| add_labels(metadata, rules, tags);
        rules.apply(Origin::Pod, &metadata.labels, &metadata.annotations, &mut tags, between);
        if rules.has(Field::ServiceName) && !tags.contains_key(Field::ServiceName.name()) {
            record.service_name = record.name.clone();
        }
        record.attributes = tags.into_iter().map(|(key, value)| (boxed(&key), value.into_boxed_str())).collect();
        if rules.needs_containers() {
            record.containers = containers(pod, rules, images);
        }
        record
    }

    /// Attributes of the pod itself, and the names and ids of its owners.
    fn add_fields(&self, pod: &Pod, rules: &Rules, tags: &mut Tags) {
        let Pod { metadata, spec, status } = pod;
        for (field, value) in [
            (Field::PodName, metadata.name.as_str()),
            (Field::PodHostname, &spec.hostname),
            (Field::PodIp, &status.pod_ip),
            (Field::NamespaceName, &metadata.namespace),
            (Field::ServiceNamespace, &metadata.namespace),
            (Field::PodUid, &metadata.uid),
            (Field::NodeName, &spec.node_name),
        ] {
            if rules.has(field) {
                tags.insert(field.name().into(), value.to_owned());
            }
        }
        if rules.has(Field::PodStartTime) && !metadata.creation_timestamp.is_empty() {
            tags.insert(Field::PodStartTime.name().into(), metadata.creation_timestamp.clone());
        }
        for owner in &self.owners {
            let (name, uid) = match owner.kind {
                OwnerKind::ReplicaSet => (Field::ReplicaSetName, Field::ReplicaSetUid),
                OwnerKind::DaemonSet => (Field::DaemonSetName, Field::DaemonSetUid),
                OwnerKind::StatefulSet => (Field::StatefulSetName, Field::StatefulSetUid),
                OwnerKind::Job => (Field::JobName, Field::JobUid),
            };
            for (field, value) in [(name, &owner.name), (uid, &owner.uid)] {
                if rules.has(field) {
                    tags.insert(field.name().into(), value.to_string());
                }
            }
        }
    }

    /// The value of an attribute that needs no other object.
    pub(crate) fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| &**known == key).map(|(_, value)| &**value)
    }

    /// The first owner of a kind.
    pub(crate) fn owner(&self, kind: OwnerKind) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.kind == kind)
    }

    /// The keys under which the pod is found. `other` is the value of an attribute that needs another object.
    pub(crate) fn keys(&self, associations: &Associations, other: &dyn Fn(&str) -> Option<String>) -> Vec<Box<[u8]>> {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        for association in associations.of_pods() {
            self.add_keys(&association.sources, Vec::new(), other, &mut keys);
        }
        keys
    }

    /// Adds the keys that begin with `key` and go on with these sources: several where a container's id is one.
    fn add_keys(
        &self,
        sources: &[Source],
        key: Vec<u8>,
        other: &dyn Fn(&str) -> Option<String>,
        keys: &mut Vec<Box<[u8]>>,
    ) {
        let Some((source, rest)) = sources.split_first() else {
            let key = key.into_boxed_slice();
            if !keys.contains(&key) {
                keys.push(key);
            }
            return;
        };
        let mut add = |value: &str| {
            if !value.is_empty() {
                let mut key = key.clone();
                push_value(&mut key, source, value.as_bytes());
                self.add_keys(rest, key, other, keys);
            }
        };
        match source {
            // Pods on the network of their node have its address.
            Source::Connection if self.is_on_host_network => {}
            Source::Connection => add(&self.address),
            Source::Attribute { of_pod, .. } => match of_pod {
                PodValue::Namespace => add(&self.namespace),
                PodValue::Name => add(&self.name),
                PodValue::Uid => add(&self.uid),
                PodValue::Address => add(&self.address),
                PodValue::ContainerId => self.containers.iter().flat_map(|c| &c.ids).for_each(|id| add(id)),
                PodValue::Attribute(name) => match self.attribute(name) {
                    Some(value) => add(value),
                    None => add(&other(name).unwrap_or_default()),
                },
            },
        }
    }

    /// Whether it was started before the other one.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        matches!((self.start_time, other.start_time), (Some(a), Some(b)) if a < b)
    }

    /// Bytes of memory, about.
    pub(crate) fn memory(&self) -> usize {
        let attributes = self.attributes.iter().map(|(key, value)| key.len() + value.len() + 48);
        let owners = self.owners.iter().map(|owner| owner.name.len() + owner.uid.len() + 96);
        let containers = self.containers.iter().map(ContainerRecord::memory);
        size_of::<Self>()
            + self.name.len() * 2
            + self.namespace.len()
            + self.node_name.len()
            + self.uid.len()
            + attributes.sum::<usize>()
            + owners.sum::<usize>()
            + containers.sum::<usize>()
            + 128
    }
}

impl ContainerRecord {
    fn memory(&self) -> usize {
        let texts = [
            &self.name,
            &self.image_name,
            &self.image_tag,
            &self.service_instance_id,
            &self.service_version,
            &self.key,
        ];
        let runs = self.runs.iter().map(|(_, run)| run.id.len() + run.repo_digests.len() + 96);
        size_of::<Self>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + runs.sum::<usize>()
            + self.ids.iter().map(|id| id.len() + 48).sum::<usize>()
    }
}

fn is_ignored(metadata: &ObjectMeta, rules: &Rules) -> bool {
    let annotation = metadata.annotations.get(IGNORE_ANNOTATION);
    annotation.is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) || rules.excludes(&metadata.name)
}

fn owners(metadata: &ObjectMeta) -> Vec<Owner> {
    let hash = metadata.labels.get(TEMPLATE_HASH).map_or("", String::as_str);
    let created = parse_time(&metadata.creation_timestamp);
    let owner = |reference: &otelcore_kubernetes_client::OwnerReference| {
        let (kind, root_by_name) = match reference.kind.as_str() {
            "ReplicaSet" => (OwnerKind::ReplicaSet, deployment_of(&reference.name, hash)),
            "DaemonSet" => (OwnerKind::DaemonSet, boxed("")),
            "StatefulSet" => (OwnerKind::StatefulSet, boxed("")),
            "Job" => (OwnerKind::Job, cron_job_of(&reference.name, created)),
            _ => return None,
        };
        Some(Owner { kind, name: boxed(&reference.name), uid: boxed(&reference.uid), root_by_name })
    };
    metadata.owner_references.iter().filter_map(owner).collect()
}

/// Labels that have a meaning for services. They come after the rules for labels, and before those for annotations.
fn add_labels(metadata: &ObjectMeta, rules: &Rules, tags: &mut Tags) {
    for (field, label) in [
        (Field::ServiceName, "app.kubernetes.io/name"),
        (Field::ServiceName, "app.kubernetes.io/instance"),
        (Field::ServiceVersion, "app.kubernetes.io/version"),
    ] {
        if let Some(value) = metadata.labels.get(label).filter(|_| rules.has(field)) {
            tags.insert(field.name().into(), value.clone());
        }
    }
}

fn containers(pod: &Pod, rules: &Rules, images: &ImageParser) -> Vec<ContainerRecord> {
    let mut found: Vec<ContainerRecord> = Vec::new();
    let of_images = [
        Field::ContainerImageName,
        Field::ContainerImageTag,
        Field::ContainerImageTags,
        Field::ServiceVersion,
        Field::ServiceInstanceId,
    ];
    if rules.has_any(&of_images) {
        for spec in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
            let mut container = ContainerRecord { key: spec.name.clone(), ..ContainerRecord::default() };
            if let Some(image) = images.parse(&spec.image) {
                if rules.has(Field::ContainerImageName) {
                    image.repository.clone_into(&mut container.image_name);
                }
                if rules.has(Field::ContainerImageTag) {
                    let tag = if image.tag.is_empty() { "latest" } else { image.tag };
                    tag.clone_into(&mut container.image_tag);
                }
                if rules.has(Field::ServiceVersion) {
                    container.service_version = image.version();
                }
            }
            match found.iter_mut().find(|known| known.key == spec.name) {
                Some(known) => *known = container,
                None => found.push(container),
            }
        }
    }
    for status in pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses) {
        let index = found.iter().position(|known| known.key == status.name).unwrap_or_else(|| {
            found.push(ContainerRecord { key: status.name.clone(), ..ContainerRecord::default() });
            found.len() - 1
        });
        let Some(container) = found.get_mut(index) else { continue };
        if rules.has(Field::ContainerName) {
            status.name.clone_into(&mut container.name);
        }
        if rules.has(Field::ServiceInstanceId) {
            let ObjectMeta { name, namespace, .. } = &pod.metadata;
            container.service_instance_id = format!("{namespace}.{name}.{}", status.name);
        }
        // `containerd://0123..`
        let id = match status.container_id.split_once("://") {
            Some((_, id)) if !id.contains("://") => id,
            _ => &status.container_id,
        };
        container.ids.push(id.to_owned());
        if rules.has_any(&[Field::ContainerId, Field::ContainerImageRepoDigests]) {
            let mut run = ContainerRun::default();
            if rules.has(Field::ContainerId) {
                id.clone_into(&mut run.id);
            }
            if rules.has(Field::ContainerImageRepoDigests)
                && let Some(digest) = images.canonical(&status.image_id)
            {
                Value::Array(vec![Value::String(digest.into_bytes())]).encode(&mut run.repo_digests);
            }
            container.runs.retain(|(count, _)| *count != status.restart_count);
            container.runs.push((status.restart_count, run));
            container.runs.sort_by_key(|(count, _)| *count);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_owners_give_deployment_and_cron_job() {
        assert_eq!(&*deployment_of("web-6c45f8d6f6", "6c45f8d6f6"), "web");
        assert_eq!(&*deployment_of("web-6c45f8d6f6", "other"), "");
        assert_eq!(&*deployment_of("web6c45f8d6f6", "6c45f8d6f6"), "");
        assert_eq!(&*deployment_of("web", ""), "");
        // 28,486,800 minutes after 1970.
        let created = parse_time("2024-02-29T12:00:00Z");
        assert_eq!(&*cron_job_of("backup-28486799", created), "backup");
        assert_eq!(&*cron_job_of("a-b-28486800", created), "a-b");
        assert_eq!(&*cron_job_of("report-20240229", created), "", "a date, not a minute");
        assert_eq!(&*cron_job_of("backup-28486799", None), "");
        assert_eq!(&*cron_job_of("backup-284867990", created), "");
        assert_eq!(&*cron_job_of("backup", created), "");
    }
}
