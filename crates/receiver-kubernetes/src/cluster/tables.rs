//! What is known of the cluster, by kind and namespace, and how it becomes payloads of metrics.
//!
//! Owns the entries and what they are charged. A pass over all of them is a job: its time grows with the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_kubernetes_client::{ChangeKind, ObjectTable, PartialObject, parse_object};
use otelcore_pdata::build::{Body, ResourceWriter};
use otelcore_pipeline::{Budget, Kept};
use otelcore_scraped_metrics::{PointValue, Recorder, ResourceAttributes};

use super::entry::{EndpointCount, Entry, EntryResource, NodeMetric};
use super::kinds::ClusterKind;
use super::metrics::{ClusterAttribute, ClusterMetric};
use super::record::EntryMaker;

const SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/k8sclusterreceiver";
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.18.0";

/// A payload that is longer is followed by another one.
const MAX_PAYLOAD: usize = 1 << 20;

/// Entries that are compared with a new list at once.
const MAX_COMPARED: usize = 1000;

const NO_ROOM: &str = "the limit of memory is reached, so that objects that are not known yet are left out";

struct KeptEntry {
    entry: Entry,
    _kept: Kept,
}

/// The objects of a watch.
struct KindTable {
    kind: ClusterKind,
    objects: ObjectTable<KeptEntry>,
    is_listed: bool,
}

/// The tables. See the module.
pub(super) struct ClusterTables {
    tables: Vec<KindTable>,
    maker: EntryMaker,
    recorder: Recorder,
    resource: ResourceAttributes,
    budget: Arc<Budget>,
    /// When the receiver was started, in nanoseconds since the epoch.
    start: u64,
}

impl ClusterTables {
    pub(super) fn new(
        maker: EntryMaker,
        recorder: Recorder,
        resource: ResourceAttributes,
        budget: Arc<Budget>,
        start: u64,
    ) -> Self {
        Self { tables: Vec::new(), maker, recorder, resource, budget, start }
    }

    /// A recorder with the scope and the schema of these metrics.
    pub(super) fn recorder(settings: Vec<otelcore_scraped_metrics::MetricSetting>) -> Recorder {
        Recorder::new(SCOPE, SCHEMA_URL, settings)
    }

    /// Forgets everything, and has a table for each of these watches.
    pub(super) fn reset(&mut self, kinds: impl Iterator<Item = ClusterKind>) {
        let table = |kind| KindTable { kind, objects: ObjectTable::default(), is_listed: false };
        self.tables = kinds.map(table).collect();
    }

    /// Whether all objects have been listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.tables.iter().all(|table| table.is_listed)
    }

    pub(super) fn begin_list(&mut self, watch: usize) {
        if let Some(table) = self.tables.get_mut(watch) {
            table.objects.begin_list();
        }
    }

    pub(super) fn end_list(&mut self, watch: usize) {
        if let Some(table) = self.tables.get_mut(watch) {
            table.objects.end_list();
            table.is_listed = true;
        }
    }

    /// Removes some of the objects that the last lists lack. False when there are none left.
    pub(super) fn remove_unlisted(&mut self) -> bool {
        match self.tables.iter_mut().find(|table| table.objects.has_unlisted()) {
            Some(table) => {
                drop(table.objects.remove_unlisted(MAX_COMPARED));
                true
            }
            None => false,
        }
    }

    pub(super) fn apply(&mut self, watch: usize, change: ChangeKind, json: &[u8]) -> Result<(), String> {
        let Some(table) = self.tables.get_mut(watch) else { return Ok(()) };
        let PartialObject { metadata } = parse_object(json)?;
        let key = format!("{}/{}", metadata.namespace, metadata.name);
        if change == ChangeKind::Deleted {
            table.objects.remove(&key);
            return Ok(());
        }
        if table.objects.get(&key).is_none() && !self.budget.has_room() {
            return Err(NO_ROOM.to_owned());
        }
        let entry = self.maker.entry(table.kind, json)?;
        let kept = self.budget.keep((entry.memory() + key.len()) as u64);
        table.objects.set(&key, KeptEntry { entry, _kept: kept });
        Ok(())
    }

    /// The metrics of all objects, in payloads. `now` is in nanoseconds since the epoch.
    pub(super) fn write(&mut self, now: u64) -> Vec<Body> {
        let endpoints = self.endpoints();
        let mut bodies = Vec::new();
        let mut body = Body::new();
        let Self { tables, recorder, resource, start, .. } = self;
        let mut writer = Writer { recorder, resource, start: *start, now };
        for table in tables {
            let is_service = table.kind == ClusterKind::Service;
            for entry in table.objects.values().map(|kept| &kept.entry) {
                if let Some((attributes, metrics)) = &entry.node {
                    writer.write_node(&mut body, attributes, metrics);
                }
                let counts = endpoints.get(&*entry.service).filter(|_| is_service).map_or(&[][..], Vec::as_slice);
                for resource in &entry.resources {
                    writer.write_resource(&mut body, resource, counts);
                }
                if body.bytes().len() >= MAX_PAYLOAD {
                    bodies.push(std::mem::take(&mut body));
                }
            }
        }
        if body.items() > 0 {
            bodies.push(body);
        }
        bodies
    }

    /// The endpoints of services, from all their slices.
    fn endpoints(&self) -> BTreeMap<String, Vec<EndpointCount>> {
        let mut services: BTreeMap<String, BTreeMap<(String, String), EndpointCount>> = BTreeMap::new();
        let slices = self.tables.iter().filter(|table| table.kind == ClusterKind::EndpointSlice);
        for entry in slices.flat_map(|table| table.objects.values()).map(|kept| &kept.entry) {
            for count in &entry.endpoints {
                let counts = services.entry(entry.service.to_string()).or_default();
                match counts.entry((count.address_type.to_string(), count.zone.to_string())) {
                    std::collections::btree_map::Entry::Vacant(vacant) => drop(vacant.insert(count.clone())),
                    std::collections::btree_map::Entry::Occupied(mut known) => {
                        let known = known.get_mut();
                        known.ready += count.ready;
                        known.serving += count.serving;
                        known.terminating += count.terminating;
                    }
                }
            }
        }
        services.into_iter().map(|(service, counts)| (service, counts.into_values().collect())).collect()
    }
}

struct Writer<'a> {
    recorder: &'a mut Recorder,
    resource: &'a mut ResourceAttributes,
    start: u64,
    now: u64,
}

impl Writer<'_> {
    fn write_resource(&mut self, body: &mut Body, entry: &EntryResource, endpoints: &[EndpointCount]) {
        for point in &entry.points {
            let attributes: Vec<&str> = point.attributes.iter().map(|value| &**value).collect();
            self.recorder.record(point.metric, self.now, point.value, &attributes);
        }
        for count in endpoints {
            for (condition, value) in
                [("ready", count.ready), ("serving", count.serving), ("terminating", count.terminating)]
            {
                let attributes = [&*count.address_type, condition, &count.zone];
                self.recorder.int(ClusterMetric::ServiceEndpointCount, self.now, value, &attributes);
            }
        }
        self.resource.clear();
        for (attribute, value) in &entry.attributes {
            self.resource.set(*attribute, value);
        }
        if !self.resource.is_sent() {
            return self.recorder.clear();
        }
        let resource = &*self.resource;
        self.recorder.emit_resource(body, self.start, |writer| write_resource(writer, resource, entry));
    }

    fn write_node(
        &mut self,
        body: &mut Body,
        attributes: &[(ClusterAttribute, std::borrow::Cow<'static, str>)],
        metrics: &[NodeMetric],
    ) {
        let mut entry = body.resource_metrics();
        entry.schema_url(SCHEMA_URL.as_bytes());
        self.resource.clear();
        attributes.iter().for_each(|(attribute, value)| self.resource.set(*attribute, value));
        self.resource.write(&mut entry.resource().attributes());
        let mut scope = entry.scope_metrics();
        scope.scope().name(SCOPE.as_bytes()).version(env!("CARGO_PKG_VERSION").as_bytes());
        for metric in metrics {
            let mut writer = scope.metric();
            writer.name(metric.name.as_bytes()).description(metric.description.as_bytes());
            writer.unit(metric.unit.as_bytes());
            let mut gauge = writer.gauge();
            let mut point = gauge.point();
            point.time_unix_nano(self.now);
            match metric.value {
                PointValue::Int(value) => point.int(value),
                PointValue::Double(value) => point.double(value),
            };
        }
    }
}

/// Writes the attributes, and which of them are an entity.
fn write_resource(writer: &mut ResourceWriter<'_>, resource: &ResourceAttributes, entry: &EntryResource) {
    {
        let mut attributes = writer.attributes();
        for (attribute, value) in resource.values() {
            let key = resource.key(attribute).as_bytes();
            if attribute == usize::from(ClusterAttribute::ServicePublishNotReadyAddresses) {
                attributes.bool(key, value == "true");
            } else {
                attributes.string(key, value.as_bytes());
            }
        }
    }
    if let Some(entity) = entry.entity.filter(|entity| resource.is_enabled(entity.id)) {
        let mut reference = writer.entity_ref();
        reference.entity_type(entity.entity_type.as_bytes()).id_key(resource.key(entity.id).as_bytes());
        for attribute in entity.description.iter().filter(|attribute| resource.is_enabled(**attribute)) {
            reference.description_key(resource.key(*attribute).as_bytes());
        }
    }
}
