//! What is known of the cluster: pods by the keys of their associations, and the objects that they belong to.
//!
//! Every record is charged to the budget of kept state for as long as it exists. Deleted pods stay for a while, because
//! their last telemetry arrives after them. Performs no IO, and reads no clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otelcore_kubernetes_client::{ObjectMeta, ObjectTable, OwnerReference};
use otelcore_pipeline::{Budget, Kept, MonotonicTime};

use crate::association::Associations;
use crate::extract::{OwnerKind, PodRecord};
use crate::fields::{Field, Kind};
use crate::rules::Rules;

/// Entries that are compared or removed in one step.
pub(crate) const ENTRIES_PER_STEP: usize = 2000;

/// The error of an object for which there is no room.
const NO_ROOM: &str = "memory usage is above the limit: objects that are not known yet are left out";

/// A pod, with its keys.
#[derive(Debug)]
struct KnownPod {
    record: PodRecord,
    keys: Vec<Box<[u8]>>,
    _kept: Kept,
}

/// What is kept of another object.
#[derive(Debug)]
pub(crate) struct ObjectRecord {
    pub(crate) uid: Box<str>,
    pub(crate) attributes: Vec<(Box<str>, Box<str>)>,
    /// The deployment of a replica set, or the cron job of a job: name and uid; empty for none.
    pub(crate) root: (Box<str>, Box<str>),
    _kept: Kept,
}

/// Objects of one resource, by name or by uid.
#[derive(Default, Debug)]
pub(crate) struct Objects {
    /// The key of each object in `records`.
    known: ObjectTable<Box<str>>,
    records: BTreeMap<Box<str>, ObjectRecord>,
}

/// Whether an object was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Added,
    Updated,
    Deleted,
    None,
}

/// A key that is removed later.
#[derive(Debug)]
struct Removal {
    due: MonotonicTime,
    key: Box<[u8]>,
    uid: Box<str>,
    /// The pod in [`Tables::pods`].
    pod: Box<str>,
}

#[derive(Debug)]
pub(crate) struct Tables {
    budget: Arc<Budget>,
    grace_period: Duration,
    pods: ObjectTable<Arc<KnownPod>>,
    by_key: BTreeMap<Box<[u8]>, Arc<KnownPod>>,
    removals: VecDeque<Removal>,
    pub(crate) namespaces: Objects,
    pub(crate) nodes: Objects,
    pub(crate) replica_sets: Objects,
    pub(crate) deployments: Objects,
    pub(crate) stateful_sets: Objects,
    pub(crate) daemon_sets: Objects,
    pub(crate) jobs: Objects,
    /// Bytes that the longest records can add to a resource.
    max_attribute_bytes: usize,
}

/// The key of an object in a table.
pub(crate) fn object_key(metadata: &ObjectMeta) -> String {
    format!("{}/{}", metadata.namespace, metadata.name)
}

fn attribute_bytes<'a>(attributes: impl Iterator<Item = &'a (Box<str>, Box<str>)>) -> usize {
    attributes.map(|(key, value)| key.len() + value.len() + 32).sum()
}

impl Objects {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&ObjectRecord> {
        self.records.get(std::str::from_utf8(key).ok()?)
    }

    fn set(&mut self, object: &str, key: &str, record: ObjectRecord) -> Change {
        let old = self.known.set(object, key.into());
        if let Some(old) = old.as_ref().filter(|old| ***old != *key) {
            self.records.remove(old);
        }
        self.records.insert(key.into(), record);
        if old.is_some() { Change::Updated } else { Change::Added }
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, object: &str) -> Change {
        let Some(key) = self.known.remove(object) else { return Change::None };
        self.records.remove(&key);
        Change::Deleted
    }

    /// Removes objects that the last list lacks; returns how many, and whether there may be more.
    fn remove_unlisted(&mut self) -> (u64, bool) {
        let removed = self.known.remove_unlisted(ENTRIES_PER_STEP);
        removed.iter().for_each(|(_, key)| drop(self.records.remove(key)));
        (removed.len() as u64, self.known.has_unlisted())
    }
}

impl Tables {
    pub(crate) fn new(budget: Arc<Budget>, grace_period: Duration) -> Self {
        Self {
            budget,
            grace_period,
            pods: ObjectTable::default(),
            by_key: BTreeMap::new(),
            removals: VecDeque::new(),
            namespaces: Objects::default(),
            nodes: Objects::default(),
            replica_sets: Objects::default(),
            deployments: Objects::default(),
            stateful_sets: Objects::default(),
            daemon_sets: Objects::default(),
            jobs: Objects::default(),
            max_attribute_bytes: 0,
        }
    }

    /// Bytes that can be added to a resource.
    pub(crate) fn max_attribute_bytes(&self) -> usize {
        self.max_attribute_bytes
    }

    /// Keys under which pods are found.
    pub(crate) fn key_count(&self) -> usize {
        self.by_key.len()
    }

    // ---- lists --------------------------------------------------------------------------------------------------

    /// A list of these objects begins.
    pub(crate) fn begin_list(&mut self, kind: Kind) {
        match self.objects_mut(kind) {
            Some(objects) => objects.known.begin_list(),
            None => self.pods.begin_list(),
        }
    }

    /// The list has ended.
    pub(crate) fn end_list(&mut self, kind: Kind) {
        match self.objects_mut(kind) {
            Some(objects) => objects.known.end_list(),
            None => self.pods.end_list(),
        }
    }

    /// Removes objects that the last list lacks; returns how many, and whether there may be more.
    pub(crate) fn remove_unlisted(&mut self, now: MonotonicTime, kind: Kind) -> (u64, bool) {
        match self.objects_mut(kind) {
            Some(objects) => objects.remove_unlisted(),
            None => self.remove_unlisted_pods(now),
        }
    }

    // ---- other objects ------------------------------------------------------------------------------------------

    /// The table of these objects; `None` for pods.
    pub(crate) fn objects_mut(&mut self, kind: Kind) -> Option<&mut Objects> {
        Some(match kind {
            Kind::Pod => return None,
            Kind::Namespace => &mut self.namespaces,
            Kind::Node => &mut self.nodes,
            Kind::ReplicaSet => &mut self.replica_sets,
            Kind::Deployment => &mut self.deployments,
            Kind::StatefulSet => &mut self.stateful_sets,
            Kind::DaemonSet => &mut self.daemon_sets,
            Kind::Job => &mut self.jobs,
        })
    }

    /// Adds an object: namespaces and nodes are found by name, others by uid.
    pub(crate) fn set_object(
        &mut self,
        kind: Kind,
        metadata: &ObjectMeta,
        attributes: Vec<(Box<str>, Box<str>)>,
        root: Option<&OwnerReference>,
    ) -> Result<Change, String> {
        let by_name = matches!(kind, Kind::Namespace | Kind::Node);
        let key = if by_name { &metadata.name } else { &metadata.uid };
        if key.is_empty() {
            return Err("it has no name or uid".to_owned());
        }
        let bytes = attribute_bytes(attributes.iter());
        let root = root.map_or(("", ""), |root| (&root.name, &root.uid));
        let texts = key.len() * 2 + metadata.uid.len() + metadata.name.len() + root.0.len() + root.1.len();
        let memory = (size_of::<ObjectRecord>() + bytes + texts + 192) as u64;
        let (budget, object) = (self.budget.clone(), object_key(metadata));
        let max_attribute_bytes = self.max_attribute_bytes.max(bytes * 8);
        let Some(objects) = self.objects_mut(kind) else { return Ok(Change::None) };
        if objects.known.get(&object).is_none() && !budget.has_room() {
            return Err(NO_ROOM.to_owned());
        }
        let record = ObjectRecord {
            uid: metadata.uid.as_str().into(),
            attributes,
            root: (root.0.into(), root.1.into()),
            _kept: budget.keep(memory),
        };
        let change = objects.set(&object, key, record);
        self.max_attribute_bytes = max_attribute_bytes;
        Ok(change)
    }

    // ---- pods ---------------------------------------------------------------------------------------------------

    /// The pod of a key.
    pub(crate) fn pod(&self, key: &[u8]) -> Option<&PodRecord> {
        self.by_key.get(key).map(|pod| &pod.record)
    }

    /// Adds a pod, or what has changed of it.
    pub(crate) fn set_pod(
        &mut self,
        now: MonotonicTime,
        record: PodRecord,
        rules: &Rules,
        associations: &Associations,
    ) -> Result<Change, String> {
        let object = format!("{}/{}", record.namespace, record.name);
        if self.pods.get(&object).is_none() && !self.budget.has_room() {
            return Err(NO_ROOM.to_owned());
        }
        let keys = {
            let derived = self.derive(&record, rules);
            let other = |name: &str| derived.get(name).map(str::to_owned);
            record.keys(associations, &other)
        };
        let key_bytes = keys.iter().map(|key| key.len() * 2 + 128).sum::<usize>();
        let kept = self.budget.keep((record.memory() + key_bytes + object.len() + 128) as u64);
        self.max_attribute_bytes =
            self.max_attribute_bytes.max(attribute_bytes(record.attributes.iter()) * 2 + record.memory());
        let pod = Arc::new(KnownPod { record, keys, _kept: kept });
        for key in &pod.keys {
            // The last event of a pod may come after those of the next one with its address.
            let is_older = self.by_key.get(key).is_some_and(|old| pod.record.is_older_than(&old.record));
            if !is_older {
                self.by_key.insert(key.clone(), pod.clone());
            }
        }
        let old = self.pods.set(&object, pod.clone());
        let Some(old) = old else { return Ok(Change::Added) };
        // Keys that it has no more: an address, the id of a container that was started again.
        let is_same = old.record.uid == pod.record.uid;
        self.remove_later(now, &object, &old, |key| !is_same || !pod.keys.iter().any(|known| **known == *key));
        Ok(Change::Updated)
    }

    /// A pod is gone; it is still found for a while.
    pub(crate) fn remove_pod(&mut self, now: MonotonicTime, object: &str) -> Change {
        let Some(pod) = self.pods.remove(object) else { return Change::None };
        self.remove_later(now, object, &pod, |_| true);
        Change::Deleted
    }

    fn remove_later(&mut self, now: MonotonicTime, object: &str, pod: &KnownPod, is_due: impl Fn(&[u8]) -> bool) {
        let due = now + self.grace_period;
        for key in pod.keys.iter().filter(|key| is_due(key)) {
            let (key, uid, pod) = (key.clone(), pod.record.uid.clone(), object.into());
            self.removals.push_back(Removal { due, key, uid, pod });
        }
    }

    /// See [`Tables::remove_unlisted`].
    fn remove_unlisted_pods(&mut self, now: MonotonicTime) -> (u64, bool) {
        let removed = self.pods.remove_unlisted(ENTRIES_PER_STEP);
        for (object, pod) in &removed {
            self.remove_later(now, object, pod, |_| true);
        }
        (removed.len() as u64, self.pods.has_unlisted())
    }

    /// When the next key is to be removed.
    pub(crate) fn next_removal(&self) -> Option<MonotonicTime> {
        self.removals.front().map(|removal| removal.due)
    }

    /// Removes keys that are due, a number of them.
    pub(crate) fn remove_due(&mut self, now: MonotonicTime) {
        for _ in 0..ENTRIES_PER_STEP {
            if self.next_removal().is_none_or(|due| due > now) {
                return;
            }
            let Some(removal) = self.removals.pop_front() else { return };
            // The key may have come back, or belong to another pod now.
            let is_in_use = self
                .pods
                .get(&removal.pod)
                .is_some_and(|pod| pod.record.uid == removal.uid && pod.keys.contains(&removal.key));
            let is_of_pod = self.by_key.get(&removal.key).is_some_and(|pod| pod.record.uid == removal.uid);
            if is_of_pod && !is_in_use {
                self.by_key.remove(&removal.key);
            }
        }
    }

    // ---- what follows from several objects ----------------------------------------------------------------------

    /// The attributes of a pod that follow from other objects.
    pub(crate) fn derive<'t>(&'t self, pod: &'t PodRecord, rules: &Rules) -> DerivedAttributes<'t> {
        let mut derived = DerivedAttributes { service_name: &pod.service_name, ..DerivedAttributes::default() };
        if rules.has(Field::ClusterUid)
            && let Some(namespace) = self.namespaces.records.get("kube-system")
        {
            derived.cluster_uid = Some(&namespace.uid);
        }
        let has_service_name = !pod.service_name.is_empty();
        for owner in &pod.owners {
            let (objects, name_field, uid_field) = match owner.kind {
                OwnerKind::ReplicaSet => (&self.replica_sets, Field::DeploymentName, Field::DeploymentUid),
                OwnerKind::Job => (&self.jobs, Field::CronJobName, Field::CronJobUid),
                OwnerKind::DaemonSet | OwnerKind::StatefulSet => {
                    if has_service_name {
                        derived.service_name = &owner.name;
                    }
                    continue;
                }
            };
            let known = objects.records.get(&owner.uid);
            let root_name: &str = known.map_or(&owner.root_by_name, |known| &known.root.0);
            if has_service_name {
                derived.service_name = if root_name.is_empty() { &owner.name } else { root_name };
            }
            let root_uid: &str = known.map_or("", |known| &known.root.1);
            let (name, uid) = match owner.kind {
                OwnerKind::ReplicaSet => (&mut derived.deployment_name, &mut derived.deployment_uid),
                _ => (&mut derived.cron_job_name, &mut derived.cron_job_uid),
            };
            if rules.has(name_field) && !root_name.is_empty() {
                *name = root_name;
            }
            if rules.has(uid_field) && !root_uid.is_empty() {
                *uid = root_uid;
            }
        }
        derived
    }

    /// The uid of the deployment of a pod; empty if it is not known.
    pub(crate) fn deployment_uid(&self, pod: &PodRecord) -> &str {
        let owner = pod.owner(OwnerKind::ReplicaSet);
        owner.and_then(|owner| self.replica_sets.records.get(&owner.uid)).map_or("", |known| &known.root.1)
    }

    /// The uid of an owner of a pod, if that is known in the table; empty otherwise.
    pub(crate) fn owner_uid<'t>(pod: &'t PodRecord, kind: OwnerKind, objects: &Objects) -> &'t str {
        let owner = pod.owner(kind).filter(|owner| objects.records.contains_key(&owner.uid));
        owner.map_or("", |owner| &owner.uid)
    }
}

/// Attributes of a pod that follow from other objects; empty for those that are not known or not wanted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct DerivedAttributes<'t> {
    deployment_name: &'t str,
    deployment_uid: &'t str,
    cron_job_name: &'t str,
    cron_job_uid: &'t str,
    service_name: &'t str,
    cluster_uid: Option<&'t str>,
}

impl<'t> DerivedAttributes<'t> {
    /// Keys and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &'t str)> + use<'t> {
        let texts = [
            (Field::DeploymentName, self.deployment_name),
            (Field::DeploymentUid, self.deployment_uid),
            (Field::CronJobName, self.cron_job_name),
            (Field::CronJobUid, self.cron_job_uid),
            (Field::ServiceName, self.service_name),
        ];
        let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
        let cluster = self.cluster_uid.map(|uid| (Field::ClusterUid, uid));
        texts.chain(cluster).map(|(field, value)| (field.name(), value))
    }

    fn get(&self, key: &str) -> Option<&'t str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
}
