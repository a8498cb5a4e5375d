//! Writes attributes to resources: the editor of the processor.
//!
//! An attribute that a resource has already, and that is not empty, stays. What is written is borrowed from the tables, so
//! that a resource causes no allocation.

use std::sync::Arc;

use otelcore_pdata::edit::{AttributesMut, Descend, Editor, ResourceMut};
use otelcore_pdata::views::{AnyValue, View};
use otelcore_pipeline::{Metadata, Payload};

use crate::association::{Associations, text_attribute};
use crate::extract::{ContainerRecord, OwnerKind, PodRecord};
use crate::fields::Field;
use crate::rules::Rules;
use crate::tables::{ObjectRecord, Objects, Tables};

const RESTART_COUNT: &str = "k8s.container.restart_count";

/// What has been counted since the last time that it was taken. Metrics have one writer, which is the loop.
#[derive(Clone, Default, Debug)]
pub(crate) struct Counts {
    /// By association, and one more for none: resources without and with a pod.
    pub(crate) resources: Vec<[u64; 2]>,
    /// Keys that were not found.
    pub(crate) misses: u64,
}

/// The tables, and what is done with them. It is on a helper thread while a long payload is edited.
#[derive(Debug)]
pub(crate) struct Enricher {
    pub(crate) rules: Arc<Rules>,
    pub(crate) associations: Arc<Associations>,
    pub(crate) tables: Tables,
    pub(crate) counts: Counts,
    is_passthrough: bool,
    /// The address of the client, as text; empty if it is not known.
    connection: Vec<u8>,
    /// Used again for each resource.
    key: Vec<u8>,
    address: Vec<u8>,
    text: Vec<u8>,
}

impl Enricher {
    pub(crate) fn new(
        rules: Arc<Rules>,
        associations: Arc<Associations>,
        tables: Tables,
        is_passthrough: bool,
    ) -> Self {
        let counts = Counts { resources: vec![[0; 2]; associations.list().len() + 1], misses: 0 };
        Self {
            rules,
            associations,
            tables,
            counts,
            is_passthrough,
            connection: Vec::new(),
            key: Vec::new(),
            address: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Begins a payload.
    pub(crate) fn begin(&mut self, payload: &Payload) {
        use std::io::Write as _;
        self.connection.clear();
        if let Some(address) = payload.metadata.as_deref().and_then(Metadata::client_address) {
            // Writing to memory does not fail.
            let _ = write!(self.connection, "{address}");
        }
    }

    /// The most bytes that are added to a payload, which has at most one resource more than items.
    pub(crate) fn max_added(&self, payload: &Payload) -> usize {
        (self.tables.max_attribute_bytes() + 256).saturating_mul(payload.items() as usize + 1)
    }
}

/// Sets an attribute, unless it is there and not empty.
fn set(attributes: &mut AttributesMut<'_>, key: &str, value: &[u8]) {
    let is_empty = match attributes.get(key.as_bytes()) {
        None => {
            attributes.push(key.as_bytes(), AnyValue::String(value));
            return;
        }
        Some(found) => matches!(found, AnyValue::Empty | AnyValue::String(b"") | AnyValue::Bytes(b"")),
    };
    if is_empty {
        attributes.update(key.as_bytes(), AnyValue::String(value));
    }
}

fn set_all(attributes: &mut AttributesMut<'_>, record: Option<&ObjectRecord>) {
    for (key, value) in record.into_iter().flat_map(|record| &record.attributes) {
        set(attributes, key, value.as_bytes());
    }
}

/// The value of the pod, or else that of an attribute, which is copied to `text`. Empty without either.
fn value_or_attribute<'v>(of_pod: &'v str, resource: &ResourceMut<'_>, key: &str, text: &'v mut Vec<u8>) -> &'v [u8] {
    if !of_pod.is_empty() {
        return of_pod.as_bytes();
    }
    text.clear();
    text.extend_from_slice(text_attribute(resource, key).unwrap_or_default());
    text
}

/// The object of which the pod, or else an attribute, has the key.
fn find_object<'o>(
    objects: &'o Objects,
    of_pod: &str,
    resource: &ResourceMut<'_>,
    attribute: &str,
    text: &mut Vec<u8>,
) -> Option<&'o ObjectRecord> {
    // Most kinds are not watched, and then their attribute is not looked for.
    if objects.is_empty() { None } else { objects.get(value_or_attribute(of_pod, resource, attribute, text)) }
}

impl Editor for Box<Enricher> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        let Enricher { rules, associations, tables, counts, is_passthrough, connection, key, address, text } =
            &mut **self;
        let identified = associations.identify(resource, connection, key, address);
        if !address.is_empty() && (*is_passthrough || rules.has(Field::PodIp)) {
            set(&mut resource.attributes(), Field::PodIp.name(), address);
        }
        if *is_passthrough {
            return Descend::Skip;
        }
        let found = identified.has_key.then(|| tables.pod(key)).flatten();
        counts.misses += u64::from(identified.has_key && found.is_none());
        let pod = found.filter(|pod| !pod.is_ignored);
        if let Some(count) = counts.resources.get_mut(identified.association) {
            let [without, with] = count;
            *(if pod.is_some() { with } else { without }) += 1;
        }
        if let Some(pod) = pod {
            add_pod(resource, pod, tables, rules);
        }
        let of_pod = |value: fn(&PodRecord) -> &str| pod.map_or("", value);

        let namespace = value_or_attribute(of_pod(|pod| &pod.namespace), resource, "k8s.namespace.name", text);
        if !namespace.is_empty() {
            let mut attributes = resource.attributes();
            set_all(&mut attributes, tables.namespaces.get(namespace));
            if rules.has(Field::ServiceNamespace) {
                set(&mut attributes, Field::ServiceNamespace.name(), namespace);
            }
        }
        let node = of_pod(|pod| &pod.node_name);
        if let Some(node) = find_object(&tables.nodes, node, resource, "k8s.node.name", text) {
            let mut attributes = resource.attributes();
            set_all(&mut attributes, Some(node));
            if !node.uid.is_empty() {
                set(&mut attributes, Field::NodeUid.name(), node.uid.as_bytes());
            }
        }
        let uid = pod.map_or("", |pod| tables.deployment_uid(pod));
        let deployment = find_object(&tables.deployments, uid, resource, "k8s.deployment.uid", text);
        set_all(&mut resource.attributes(), deployment);
        for (kind, objects, attribute) in [
            (OwnerKind::StatefulSet, &tables.stateful_sets, "k8s.statefulset.uid"),
            (OwnerKind::DaemonSet, &tables.daemon_sets, "k8s.daemonset.uid"),
            (OwnerKind::Job, &tables.jobs, "k8s.job.uid"),
        ] {
            let uid = pod.map_or("", |pod| Tables::owner_uid(pod, kind, objects));
            let object = find_object(objects, uid, resource, attribute, text);
            set_all(&mut resource.attributes(), object);
        }
        Descend::Skip
    }
}

/// Adds what is known of a pod and its containers.
fn add_pod(resource: &mut ResourceMut<'_>, pod: &PodRecord, tables: &Tables, rules: &Rules) {
    let mut attributes = resource.attributes();
    for (key, value) in &pod.attributes {
        set(&mut attributes, key, value.as_bytes());
    }
    for (key, value) in tables.derive(pod, rules).iter() {
        set(&mut attributes, key, value.as_bytes());
    }
    if !pod.containers.is_empty()
        && let Some(container) = find_container(resource, &pod.containers)
    {
        add_container(resource, container);
    }
}

/// The container of a resource: by its name, by its id, or the only one.
fn find_container<'c>(resource: &ResourceMut<'_>, containers: &'c [ContainerRecord]) -> Option<&'c ContainerRecord> {
    if let Some(name) = text_attribute(resource, Field::ContainerName.name()) {
        return containers.iter().find(|container| container.key.as_bytes() == name);
    }
    if let Some(id) = text_attribute(resource, Field::ContainerId.name()) {
        return containers.iter().rfind(|container| container.ids.iter().any(|known| known.as_bytes() == id));
    }
    let mut ids = containers.iter().flat_map(|container| container.ids.iter().map(move |id| (id, container)));
    if let Some((first, container)) = ids.next() {
        let others_are_the_same = ids.clone().all(|(id, _)| id == first);
        if others_are_the_same {
            return Some(ids.last().map_or(container, |(_, last)| last));
        }
    }
    match containers {
        [container] => Some(container),
        _ => None,
    }
}

fn add_container(resource: &mut ResourceMut<'_>, container: &ContainerRecord) {
    let mut attributes = resource.attributes();
    for (field, value) in [
        (Field::ContainerName, &container.name),
        (Field::ContainerImageName, &container.image_name),
        (Field::ContainerImageTag, &container.image_tag),
        (Field::ServiceInstanceId, &container.service_instance_id),
        (Field::ServiceVersion, &container.service_version),
    ] {
        if !value.is_empty() {
            set(&mut attributes, field.name(), value.as_bytes());
        }
    }
    // The run with this restart count, or the last one.
    let run = match attributes.get(RESTART_COUNT.as_bytes()) {
        None => container.runs.last(),
        Some(AnyValue::Int(count)) => container.runs.iter().find(|(known, _)| *known == count),
        Some(AnyValue::String(count)) => {
            let count = std::str::from_utf8(count).ok().and_then(|count| count.parse::<i64>().ok());
            container.runs.iter().find(|(known, _)| Some(*known) == count)
        }
        Some(_) => None,
    };
    let Some((_, run)) = run else { return };
    if !run.id.is_empty() {
        attributes.insert(Field::ContainerId.name().as_bytes(), AnyValue::String(run.id.as_bytes()));
    }
    if !run.repo_digests.is_empty() {
        let digests = AnyValue::parse(&run.repo_digests);
        attributes.insert(Field::ContainerImageRepoDigests.name().as_bytes(), digests);
    }
}
