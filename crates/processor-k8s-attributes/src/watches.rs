//! What is watched, and how the objects that arrive come into the tables.

use std::sync::Arc;

use otelcore_kubernetes_client::{
    ChangeKind, ObjectConsumer, ObjectMeta, OwnerReference, PartialObject, Pod, WatchId, WatchSpec, parse_object,
};
use otelcore_pipeline::Cx;

use crate::association::Associations;
use crate::config::K8sAttributesConfig;
use crate::enrich::Enricher;
use crate::extract::PodRecord;
use crate::fields::{Field, Kind, Origin};
use crate::metrics::Metrics;
use crate::rules::{Rules, Tags, selectors};
use crate::tables::{Change, object_key};
use otelcore_kubernetes_client::ImageParser;

/// What must be watched for a configuration. `node` is the node of `filter`.
pub(crate) fn watch_specs(config: &K8sAttributesConfig, rules: &Rules, node: &str) -> Vec<(Kind, WatchSpec)> {
    let filter = &config.filter;
    let in_namespace = |group: &str, resource: &str| WatchSpec {
        metadata_only: true,
        ..WatchSpec::new(group, "v1", resource, &filter.namespace)
    };
    let by_name = |resource: &str, name: &str| {
        let field_selector = if name.is_empty() { String::new() } else { format!("metadata.name={name}") };
        WatchSpec { metadata_only: true, field_selector, ..WatchSpec::new("", "v1", resource, "") }
    };
    let mut specs = Vec::new();
    if rules.watches_replica_sets() {
        specs.push((Kind::ReplicaSet, in_namespace("apps", "replicasets")));
    }
    if rules.watches(Origin::Namespace) {
        specs.push((Kind::Namespace, by_name("namespaces", "")));
    } else if rules.has(Field::ClusterUid) {
        specs.push((Kind::Namespace, by_name("namespaces", "kube-system")));
    }
    if rules.watches(Origin::Node) {
        specs.push((Kind::Node, by_name("nodes", node)));
    }
    for (origin, kind, group, resource) in [
        (Origin::Deployment, Kind::Deployment, "apps", "deployments"),
        (Origin::StatefulSet, Kind::StatefulSet, "apps", "statefulsets"),
        (Origin::DaemonSet, Kind::DaemonSet, "apps", "daemonsets"),
        (Origin::Job, Kind::Job, "batch", "jobs"),
    ] {
        if rules.watches(origin) {
            specs.push((kind, in_namespace(group, resource)));
        }
    }
    let (label_selector, field_selector) = selectors(&filter.labels, &filter.fields, node);
    let pods = WatchSpec { label_selector, field_selector, ..WatchSpec::new("", "v1", "pods", &filter.namespace) };
    specs.push((Kind::Pod, pods));
    specs
}

impl Kind {
    /// Whose rules apply; replica sets have none.
    fn origin(self) -> Option<Origin> {
        Some(match self {
            Self::Pod => Origin::Pod,
            Self::Namespace => Origin::Namespace,
            Self::Node => Origin::Node,
            Self::ReplicaSet => return None,
            Self::Deployment => Origin::Deployment,
            Self::StatefulSet => Origin::StatefulSet,
            Self::DaemonSet => Origin::DaemonSet,
            Self::Job => Origin::Job,
        })
    }

    /// The kind of owner that is looked up through these objects.
    fn root_kind(self) -> Option<&'static str> {
        match self {
            Self::ReplicaSet => Some("Deployment"),
            Self::Job => Some("CronJob"),
            _ => None,
        }
    }
}

/// Writes what arrives to the tables.
pub(crate) struct TableWriter<'a> {
    pub(crate) enricher: &'a mut Enricher,
    pub(crate) images: &'a ImageParser,
    /// The kind of each watch.
    pub(crate) kinds: &'a [Kind],
    /// The watches that have been listed once.
    pub(crate) synced: &'a mut Vec<bool>,
    pub(crate) metrics: &'a Metrics,
}

impl TableWriter<'_> {
    fn kind(&self, watch: WatchId) -> Option<Kind> {
        self.kinds.get(watch.0).copied()
    }

    fn apply_pod(&mut self, cx: &Cx<'_>, change: ChangeKind, object: &[u8]) -> Result<Change, String> {
        if change == ChangeKind::Deleted {
            let pod: PartialObject = parse_object(object)?;
            return Ok(self.enricher.tables.remove_pod(cx.now(), &object_key(&pod.metadata)));
        }
        let pod: Pod = parse_object(object)?;
        let (rules, associations): (Arc<Rules>, Arc<Associations>) =
            (self.enricher.rules.clone(), self.enricher.associations.clone());
        let record = PodRecord::new(&pod, &rules, self.images);
        self.enricher.tables.set_pod(cx.now(), record, &rules, &associations)
    }

    fn apply_object(&mut self, kind: Kind, change: ChangeKind, object: &[u8]) -> Result<Change, String> {
        let PartialObject { metadata } = parse_object(object)?;
        let Enricher { tables, rules, .. } = &mut *self.enricher;
        if change == ChangeKind::Deleted {
            return Ok(tables.objects_mut(kind).map_or(Change::None, |objects| objects.remove(&object_key(&metadata))));
        }
        let ObjectMeta { labels, annotations, owner_references, .. } = &metadata;
        let mut tags = Tags::new();
        if let Some(origin) = kind.origin() {
            rules.apply(origin, labels, annotations, &mut tags, |_| {});
        }
        let attributes = tags.into_iter().map(|(key, value)| (Box::from(&*key), value.into_boxed_str())).collect();
        let is_root = |owner: &&OwnerReference| Some(owner.kind.as_str()) == kind.root_kind() && owner.controller;
        let root = owner_references.iter().find(is_root);
        tables.set_object(kind, &metadata, attributes, root)
    }
}

impl ObjectConsumer for TableWriter<'_> {
    fn begin_list(&mut self, watch: WatchId) {
        if let Some(kind) = self.kind(watch) {
            self.enricher.tables.begin_list(kind);
        }
    }

    fn apply(&mut self, cx: &mut Cx<'_>, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        let Some(kind) = self.kind(watch) else { return Ok(()) };
        let change = match kind {
            Kind::Pod => self.apply_pod(cx, change, object)?,
            _ => self.apply_object(kind, change, object)?,
        };
        self.metrics.count(kind, change, 1);
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, watch: WatchId) {
        if let Some(kind) = self.kind(watch) {
            self.enricher.tables.end_list(kind);
        }
        if let Some(synced) = self.synced.get_mut(watch.0) {
            *synced = true;
        }
    }
}

/// Removes what the last lists lack, a number of objects of each; true if there may be more.
pub(crate) fn remove_unlisted(cx: &Cx<'_>, enricher: &mut Enricher, kinds: &[Kind], metrics: &Metrics) -> bool {
    let mut has_more = false;
    for kind in kinds {
        let (removed, more) = enricher.tables.remove_unlisted(cx.now(), *kind);
        metrics.count(*kind, Change::Deleted, removed);
        has_more |= more;
    }
    has_more
}
