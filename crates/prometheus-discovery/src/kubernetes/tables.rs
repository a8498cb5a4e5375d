//! What is known of the objects of a cluster, and which groups have to be made anew.
//!
//! ```text
//!  an object changes -> its own key is dirty
//!                    -> what depends on it is searched for, some at a time -> those keys are dirty
//!  dirty keys        -> their groups are made, some at a time
//! ```
//! Performs no IO. A step works for a bounded number of objects, however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use otelcore_kubernetes_client::{ChangeKind, ObjectMeta, ObjectTable, PartialObject, WatchId, parse_object};
use otelcore_pipeline::{Budget, Kept};

use super::config::{KubernetesMetadataConfig, KubernetesRole};
use super::dependencies::{Kind, MainObject, RelatedKey, dependencies_of, owner_dependency, pod_dependencies};
use super::endpoints::{endpoint_slice_group, endpoints_group};
use super::labels::{
    PodInfo, Related, ServiceInfo, attached_namespace_labels, attached_node_labels, ingress_group, key_of, node_group,
    pod_group, service_group,
};
use super::objects::{EndpointSlice, Endpoints, Ingress, Node, Pod, Service, controller_of};
use crate::labels::LabelSet;
use crate::targets::TargetGroup;

/// Objects that are compared with a list in one step.
const MAX_COMPARED: usize = 1000;

/// An entry of a table, with the bytes that it is charged for.
struct Entry<T> {
    value: T,
    bytes: u64,
}

enum Table {
    Main(ObjectTable<Entry<MainObject>>),
    Pods(ObjectTable<Entry<PodInfo>>),
    Services(ObjectTable<Entry<ServiceInfo>>),
    /// Labels of nodes or of namespaces.
    Labels(ObjectTable<Entry<LabelSet>>),
    /// Names of what owns a replica set or a job, if it is a deployment or a cron job.
    Owners(ObjectTable<Entry<String>>),
}

struct Watched {
    kind: Kind,
    table: Table,
    /// A list of it has been read.
    is_synced: bool,
}

/// An object that is gone.
struct Ended {
    key: String,
    bytes: u64,
    dependencies: Vec<RelatedKey>,
}

impl Ended {
    fn main(key: &str, entry: Entry<MainObject>, attach: &KubernetesMetadataConfig) -> Self {
        Self { dependencies: dependencies_of(&entry.value, key, attach), ..Self::other(key, entry) }
    }

    fn pod(key: &str, entry: Entry<PodInfo>) -> Self {
        Self { dependencies: pod_dependencies(&entry.value), ..Self::other(key, entry) }
    }

    fn other<T>(key: &str, entry: Entry<T>) -> Self {
        Self { key: key.to_owned(), bytes: entry.bytes, dependencies: Vec::new() }
    }
}

/// What an object depends on: a kind and a key, and the key of the object.
type Dependency = (Kind, Arc<str>, Arc<str>);

impl Watched {
    /// Whether its table is being compared with a list.
    fn has_unlisted(&self) -> bool {
        match &self.table {
            Table::Main(table) => table.has_unlisted(),
            Table::Pods(table) => table.has_unlisted(),
            Table::Services(table) => table.has_unlisted(),
            Table::Labels(table) => table.has_unlisted(),
            Table::Owners(table) => table.has_unlisted(),
        }
    }
}

/// The tables of a discovery.
pub(crate) struct Tables {
    role: KubernetesRole,
    attach: KubernetesMetadataConfig,
    watched: Vec<Watched>,
    /// The watch of each kind and namespace.
    by_kind: BTreeMap<Kind, BTreeMap<String, usize>>,
    dependencies: BTreeSet<Dependency>,
    /// Objects whose dependents are searched for, with the last one that was found.
    scans: BTreeMap<(Kind, Arc<str>), Option<Arc<str>>>,
    /// Objects whose groups have to be made.
    dirty: BTreeSet<Arc<str>>,
    kept: Kept,
}

/// A group that was made.
pub(crate) enum Made {
    Group(TargetGroup),
    Nothing,
}

impl Tables {
    pub(crate) fn new(role: KubernetesRole, attach: KubernetesMetadataConfig, budget: &Arc<Budget>) -> Self {
        Self {
            role,
            attach,
            watched: Vec::new(),
            by_kind: BTreeMap::new(),
            dependencies: BTreeSet::new(),
            scans: BTreeMap::new(),
            dirty: BTreeSet::new(),
            kept: budget.keep(0),
        }
    }

    /// Adds a table for the objects of a watch, whose namespace is empty for all; watches are added in their order.
    pub(crate) fn add(&mut self, kind: Kind, namespace: &str) {
        let table = match kind {
            Kind::Main => Table::Main(ObjectTable::default()),
            Kind::Pod => Table::Pods(ObjectTable::default()),
            Kind::Service => Table::Services(ObjectTable::default()),
            Kind::Node | Kind::Namespace => Table::Labels(ObjectTable::default()),
            Kind::ReplicaSet | Kind::Job => Table::Owners(ObjectTable::default()),
        };
        self.by_kind.entry(kind).or_default().insert(namespace.to_owned(), self.watched.len());
        self.watched.push(Watched { kind, table, is_synced: false });
    }

    pub(crate) fn begin_list(&mut self, watch: WatchId) {
        match self.watched.get_mut(watch.0).map(|watched| &mut watched.table) {
            Some(Table::Main(table)) => table.begin_list(),
            Some(Table::Pods(table)) => table.begin_list(),
            Some(Table::Services(table)) => table.begin_list(),
            Some(Table::Labels(table)) => table.begin_list(),
            Some(Table::Owners(table)) => table.begin_list(),
            None => {}
        }
    }

    pub(crate) fn end_list(&mut self, watch: WatchId) {
        let Some(watched) = self.watched.get_mut(watch.0) else { return };
        watched.is_synced = true;
        match &mut watched.table {
            Table::Main(table) => table.end_list(),
            Table::Pods(table) => table.end_list(),
            Table::Services(table) => table.end_list(),
            Table::Labels(table) => table.end_list(),
            Table::Owners(table) => table.end_list(),
        }
    }

    /// Applies a change of an object.
    pub(crate) fn apply(&mut self, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        let Some(kind) = self.watched.get(watch.0).map(|watched| watched.kind) else { return Ok(()) };
        if change == ChangeKind::Deleted {
            let object: PartialObject = parse_object(object)?;
            self.remove(watch.0, &object_key(kind, self.role, &object.metadata));
            return Ok(());
        }
        match kind {
            Kind::Main => self.apply_main(watch.0, object),
            Kind::Pod => {
                let pod: Pod = parse_object(object)?;
                let key = key_of(&pod.metadata.namespace, &pod.metadata.name);
                let info = PodInfo::new(&pod, &self.attach, false);
                let (before, after) = (self.pod(&key).map(pod_dependencies), pod_dependencies(&info));
                let bytes = info.bytes();
                self.set_related(watch.0, &key, info, bytes, |table| match table {
                    Table::Pods(table) => Some(table),
                    _ => None,
                })?;
                self.set_dependencies(&key, before.unwrap_or_default(), after);
                Ok(())
            }
            Kind::Service => {
                let service: Service = parse_object(object)?;
                let key = key_of(&service.metadata.namespace, &service.metadata.name);
                let info = ServiceInfo::new(&service);
                let bytes = info.bytes();
                self.set_related(watch.0, &key, info, bytes, |table| match table {
                    Table::Services(table) => Some(table),
                    _ => None,
                })
            }
            Kind::Node | Kind::Namespace => {
                let PartialObject { metadata } = parse_object(object)?;
                let labels = match kind {
                    Kind::Node => attached_node_labels(&metadata),
                    _ => attached_namespace_labels(&metadata),
                };
                let bytes = labels.bytes();
                self.set_related(watch.0, &metadata.name, labels, bytes, |table| match table {
                    Table::Labels(table) => Some(table),
                    _ => None,
                })
            }
            Kind::ReplicaSet | Kind::Job => {
                let PartialObject { metadata } = parse_object(object)?;
                let wanted = if kind == Kind::Job { "CronJob" } else { "Deployment" };
                let owner = controller_of(&metadata).filter(|(kind, _)| *kind == wanted);
                let owner = owner.map(|(_, name)| name.to_owned()).unwrap_or_default();
                let key = key_of(&metadata.namespace, &metadata.name);
                let bytes = owner.len() + 64;
                self.set_related(watch.0, &key, owner, bytes, |table| match table {
                    Table::Owners(table) => Some(table),
                    _ => None,
                })
            }
        }
    }

    fn charge(&mut self, before: Option<u64>, bytes: u64) {
        self.kept.grow(bytes);
        self.kept.shrink(before.unwrap_or_default());
    }

    /// Sets an object on which others depend. If it has changed, they are searched for.
    fn set_related<T: PartialEq>(
        &mut self,
        watch: usize,
        key: &str,
        value: T,
        bytes: usize,
        table: impl Fn(&mut Table) -> Option<&mut ObjectTable<Entry<T>>>,
    ) -> Result<(), String> {
        let has_room = self.kept.has_room();
        let Some(watched) = self.watched.get_mut(watch) else { return Ok(()) };
        let kind = watched.kind;
        let Some(table) = table(&mut watched.table) else { return Ok(()) };
        let before = table.get(key);
        if before.is_none() && !has_room {
            return Err("there is no memory for it".to_owned());
        }
        let is_changed = before.is_none_or(|before| before.value != value);
        let bytes = (bytes + key.len() + 64) as u64;
        let before = table.set(key, Entry { value, bytes });
        self.charge(before.map(|before| before.bytes), bytes);
        if is_changed {
            self.scans.insert((kind, key.into()), None);
        }
        Ok(())
    }

    fn apply_main(&mut self, watch: usize, object: &[u8]) -> Result<(), String> {
        let size = object.len();
        let (metadata, main, bytes) = match self.role {
            KubernetesRole::Pod => {
                let pod: Pod = parse_object(object)?;
                let info = PodInfo::new(&pod, &self.attach, true);
                let bytes = info.bytes();
                (pod.metadata, MainObject::Pod(info), bytes)
            }
            KubernetesRole::Service => {
                let service: Box<Service> = parse_object(object)?;
                (service.metadata.clone(), MainObject::Service(service), size)
            }
            KubernetesRole::Endpoints => {
                let endpoints: Box<Endpoints> = parse_object(object)?;
                (endpoints.metadata.clone(), MainObject::Endpoints(endpoints), size)
            }
            KubernetesRole::EndpointSlice => {
                let slice: Box<EndpointSlice> = parse_object(object)?;
                (slice.metadata.clone(), MainObject::EndpointSlice(slice), size)
            }
            KubernetesRole::Ingress => {
                let ingress: Box<Ingress> = parse_object(object)?;
                (ingress.metadata.clone(), MainObject::Ingress(ingress), size)
            }
            KubernetesRole::Node => {
                let node: Box<Node> = parse_object(object)?;
                (node.metadata.clone(), MainObject::Node(node), size)
            }
            KubernetesRole::Missing => return Ok(()),
        };
        let key = object_key(Kind::Main, self.role, &metadata);
        let after = dependencies_of(&main, &key, &self.attach);
        let has_room = self.kept.has_room();
        let Some(Table::Main(table)) = self.watched.get_mut(watch).map(|watched| &mut watched.table) else {
            return Ok(());
        };
        let before = table.get(&key).map(|entry| dependencies_of(&entry.value, &key, &self.attach));
        if before.is_none() && !has_room {
            return Err("there is no memory for it".to_owned());
        }
        let bytes = (bytes + key.len() + 64) as u64;
        let old = table.set(&key, Entry { value: main, bytes });
        self.charge(old.map(|old| old.bytes), bytes);
        self.set_dependencies(&key, before.unwrap_or_default(), after);
        self.dirty.insert(key.into());
        Ok(())
    }

    /// Replaces what an object depends on.
    fn set_dependencies(&mut self, key: &str, before: Vec<RelatedKey>, after: Vec<RelatedKey>) {
        if before.is_empty() && after.is_empty() {
            return;
        }
        let key: Arc<str> = key.into();
        for (kind, of) in before {
            let bytes = (of.len() + 64) as u64;
            if self.dependencies.remove(&(kind, of.into(), key.clone())) {
                self.kept.shrink(bytes);
            }
        }
        for (kind, of) in after {
            let bytes = (of.len() + 64) as u64;
            if self.dependencies.insert((kind, of.into(), key.clone())) {
                self.kept.grow(bytes);
            }
        }
    }

    fn remove(&mut self, watch: usize, key: &str) {
        let attach = &self.attach;
        let Some(watched) = self.watched.get_mut(watch) else { return };
        let ended = match &mut watched.table {
            Table::Main(table) => table.remove(key).map(|entry| Ended::main(key, entry, attach)),
            Table::Pods(table) => table.remove(key).map(|entry| Ended::pod(key, entry)),
            Table::Services(table) => table.remove(key).map(|entry| Ended::other(key, entry)),
            Table::Labels(table) => table.remove(key).map(|entry| Ended::other(key, entry)),
            Table::Owners(table) => table.remove(key).map(|entry| Ended::other(key, entry)),
        };
        let kind = watched.kind;
        if let Some(ended) = ended {
            self.end(kind, ended);
        }
    }

    fn end(&mut self, kind: Kind, ended: Ended) {
        self.kept.shrink(ended.bytes);
        self.set_dependencies(&ended.key, ended.dependencies, Vec::new());
        match kind {
            Kind::Main => drop(self.dirty.insert(ended.key.into())),
            kind => drop(self.scans.insert((kind, ended.key.into()), None)),
        }
    }

    /// Whether the lists of all watches have been read. Before, groups would lack what follows from other objects.
    pub(crate) fn is_synced(&self) -> bool {
        self.watched.iter().all(|watched| watched.is_synced)
    }

    /// Whether there is something to do.
    pub(crate) fn has_work(&self) -> bool {
        self.watched.iter().any(Watched::has_unlisted)
            || (self.is_synced() && (!self.scans.is_empty() || !self.dirty.is_empty()))
    }

    /// Removes some objects that lists lack.
    pub(crate) fn remove_unlisted(&mut self) {
        fn ended<T>(table: &mut ObjectTable<Entry<T>>, end: impl Fn(&str, Entry<T>) -> Ended) -> Vec<Ended> {
            table.remove_unlisted(MAX_COMPARED).into_iter().map(|(key, entry)| end(&key, entry)).collect()
        }
        for watch in 0..self.watched.len() {
            let attach = &self.attach;
            let Some(watched) = self.watched.get_mut(watch).filter(|watched| watched.has_unlisted()) else { continue };
            let kind = watched.kind;
            let all = match &mut watched.table {
                Table::Main(table) => ended(table, |key, entry| Ended::main(key, entry, attach)),
                Table::Pods(table) => ended(table, Ended::pod),
                Table::Services(table) => ended(table, Ended::other),
                Table::Labels(table) => ended(table, Ended::other),
                Table::Owners(table) => ended(table, Ended::other),
            };
            all.into_iter().for_each(|ended| self.end(kind, ended));
            // One table in a turn.
            return;
        }
    }

    /// Whether all objects that depend on those that have changed have been found.
    pub(crate) fn is_scanned(&self) -> bool {
        self.scans.is_empty()
    }

    /// Searches for some objects that depend on those that have changed.
    pub(crate) fn scan(&mut self, mut max: usize) {
        while max > 0 {
            let Some(((kind, of), last)) = self.scans.pop_first() else { return };
            let begin = match &last {
                None => Bound::Included((kind, of.clone(), "".into())),
                Some(last) => Bound::Excluded((kind, of.clone(), last.clone())),
            };
            let range = self.dependencies.range((begin, Bound::Unbounded));
            let found: Vec<Arc<str>> =
                range.take_while(|(k, o, _)| (*k, o) == (kind, &of)).take(max).map(|(_, _, key)| key.clone()).collect();
            max -= found.len().max(1).min(max);
            let is_of_pods = matches!(kind, Kind::ReplicaSet | Kind::Job) && self.role != KubernetesRole::Pod;
            if max == 0
                && let Some(last) = found.last()
            {
                self.scans.insert((kind, of), Some(last.clone()));
            }
            for key in found {
                if is_of_pods {
                    self.scans.insert((Kind::Pod, key), None);
                } else {
                    self.dirty.insert(key);
                }
            }
        }
    }

    /// The group of an object is made again, later.
    pub(crate) fn make_again(&mut self, source: &str) {
        if let Some((_, key)) = source.split_once('/') {
            self.dirty.insert(key.into());
        }
    }

    /// Makes the next group. `None` if there is nothing left.
    pub(crate) fn make_next(&mut self) -> Option<(String, Made)> {
        let key = self.dirty.pop_first()?;
        let source = source_of(self.role, &key);
        let found = self.find(Kind::Main, &key, |table| match table {
            Table::Main(table) => table.get(&key),
            _ => None,
        });
        let group = match found.map(|entry| &entry.value) {
            None => Some(TargetGroup { source: source.as_str().into(), ..TargetGroup::default() }),
            Some(MainObject::Pod(pod)) => Some(pod_group(&key, pod, self)),
            Some(MainObject::Service(service)) => Some(service_group(service, self)),
            Some(MainObject::Endpoints(endpoints)) => Some(endpoints_group(endpoints, self)),
            Some(MainObject::EndpointSlice(slice)) => Some(endpoint_slice_group(slice, self)),
            Some(MainObject::Ingress(ingress)) => Some(ingress_group(ingress, self)),
            Some(MainObject::Node(node)) => node_group(node),
        };
        Some((source, group.map_or(Made::Nothing, Made::Group)))
    }

    /// Finds an entry by its key in the tables of a kind: that of its namespace, or that of all.
    fn find<'t, T>(&'t self, kind: Kind, key: &str, get: impl Fn(&'t Table) -> Option<&'t T>) -> Option<&'t T> {
        let by_namespace = self.by_kind.get(&kind)?;
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        let watch = by_namespace.get("").or_else(|| by_namespace.get(namespace))?;
        get(&self.watched.get(*watch)?.table)
    }
}

impl Related for Tables {
    fn pod(&self, key: &str) -> Option<&PodInfo> {
        let found = self.find(Kind::Pod, key, |table| match table {
            Table::Pods(table) => table.get(key),
            _ => None,
        });
        found.map(|entry| &entry.value)
    }

    fn service(&self, key: &str) -> Option<&ServiceInfo> {
        let found = self.find(Kind::Service, key, |table| match table {
            Table::Services(table) => table.get(key),
            _ => None,
        });
        found.map(|entry| &entry.value)
    }

    fn node(&self, name: &str) -> Option<&LabelSet> {
        let found = self.find(Kind::Node, name, |table| match table {
            Table::Labels(table) => table.get(name),
            _ => None,
        });
        found.map(|entry| &entry.value)
    }

    fn attaches_nodes(&self) -> bool {
        self.attach.node
    }

    fn namespace(&self, name: &str) -> Option<&LabelSet> {
        let found = self.find(Kind::Namespace, name, |table| match table {
            Table::Labels(table) => table.get(name),
            _ => None,
        });
        found.map(|entry| &entry.value)
    }

    fn owner_label(&self, owner: &(String, String)) -> Option<(&'static str, &str)> {
        let (kind, key) = owner_dependency(owner)?;
        let label = if kind == Kind::Job { "pod_cronjob_name" } else { "pod_deployment_name" };
        let found = self.find(kind, &key, |table| match table {
            Table::Owners(table) => table.get(&key),
            _ => None,
        })?;
        (!found.value.is_empty()).then_some((label, found.value.as_str()))
    }
}

/// The key of an object: `namespace/name`, or its name where it has no namespace.
fn object_key(kind: Kind, role: KubernetesRole, metadata: &ObjectMeta) -> String {
    match (kind, role) {
        (Kind::Node | Kind::Namespace, _) | (Kind::Main, KubernetesRole::Node) => metadata.name.clone(),
        _ => key_of(&metadata.namespace, &metadata.name),
    }
}

/// The source of a group.
fn source_of(role: KubernetesRole, key: &str) -> String {
    let prefix = match role {
        KubernetesRole::Service => "svc",
        role => role.name(),
    };
    format!("{prefix}/{key}")
}
