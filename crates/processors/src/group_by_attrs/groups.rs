//! The groups of one body: resources, their scopes, and in these the items or metrics.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{EditError, MetricKind, OutputLimit};
use otelcore_pdata::schema::{
    exponential_point, histogram_point, log_record, metric, number_point, resource, scope, span, sum, summary_point,
};
use otelcore_pdata::views::{KeyValue, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, put_tag_and_len, raw_fields};
use otelcore_pipeline::{Held, Outcome};

use crate::owned_metric::kind_of_field;
use crate::series::{IdentityHasher, SeriesId};

/// The numbers of the fields that contain others. They are the same in the messages of all signals.
const ENTRY: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPES: u32 = 2;
const SCOPE: u32 = 1;
const ITEMS: u32 = 2;
const POINTS: u32 = 1;

/// What has been done with the items of a body.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) grouped: u64,
    pub(super) not_grouped: u64,
    pub(super) groups: usize,
}

/// A resource of the result.
struct ResourceGroup<'a> {
    /// A `Resource` message.
    resource: Vec<u8>,
    /// The other fields of the first entry.
    rest: Vec<&'a [u8]>,
    scopes: Vec<usize>,
}

/// A scope of the result.
struct ScopeGroup<'a> {
    /// The fields of the first one, but for items.
    head: Vec<&'a [u8]>,
    /// Fields with items.
    items: Vec<u8>,
    metrics: Vec<usize>,
}

/// A metric of the result.
struct MetricGroup<'a> {
    /// The fields of the first one, but for its data.
    head: Vec<&'a [u8]>,
    data_field: u32,
    /// The fields of the data of the first one, but for points.
    data_head: Vec<&'a [u8]>,
    /// Fields with points.
    points: Vec<u8>,
}

/// The entry whose items are grouped.
struct Entry<'a> {
    /// Fields of its resource, pieces joined.
    resource: Vec<&'a [u8]>,
    /// The identity of its attributes: the sum of their hashes.
    id: SeriesId,
    /// Of this sum, by key that is moved: the hashes of the attributes with the key.
    by_key: Vec<SeriesId>,
    rest: Vec<&'a [u8]>,
}

/// An attribute of an item that is moved to the resource.
struct Moved<'a> {
    /// The index of its key.
    key: usize,
    /// A `KeyValue` message.
    raw: &'a [u8],
}

/// The scope whose items are grouped.
#[derive(Clone)]
struct Scope<'a> {
    id: SeriesId,
    head: Vec<&'a [u8]>,
}

pub(super) struct Groups<'a> {
    keys: &'a [Vec<u8>],
    hasher: &'a IdentityHasher,
    signal: Signal,
    resources: Vec<ResourceGroup<'a>>,
    scopes: Vec<ScopeGroup<'a>>,
    metrics: Vec<MetricGroup<'a>>,
    /// Indexes in the three lists by identity.
    by_resource: HashMap<SeriesId, usize, FixedState>,
    by_scope: HashMap<SeriesId, usize, FixedState>,
    by_metric: HashMap<SeriesId, usize, FixedState>,
    counts: Counts,
    items: u32,
    /// Bytes of what has been collected, and its limit.
    len: usize,
    limit: usize,
}

impl<'a> Groups<'a> {
    pub(super) fn new(keys: &'a [Vec<u8>], hasher: &'a IdentityHasher, signal: Signal, body_len: usize) -> Self {
        let by_id = || HashMap::with_hasher(FixedState::with_seed(0));
        Self {
            keys,
            hasher,
            signal,
            resources: Vec::new(),
            scopes: Vec::new(),
            metrics: Vec::new(),
            by_resource: by_id(),
            by_scope: by_id(),
            by_metric: by_id(),
            counts: Counts::default(),
            items: 0,
            len: 0,
            limit: OutputLimit::OF_GROUPS.of(body_len),
        }
    }

    /// Groups the items of a body, and charges what has been collected.
    pub(super) fn add_body(&mut self, body: &'a [u8], output: &mut Held) -> Result<(), Outcome> {
        for (number, wire) in MessageFields::new(body) {
            if let WireValue::Len(raw) = wire
                && number == ENTRY
            {
                self.add_entry(raw, output)?;
            }
        }
        Ok(())
    }

    /// Charges what has been collected, unless it is too much.
    fn charge(&self, output: &mut Held) -> Result<(), Outcome> {
        if self.len > self.limit {
            return Err(Outcome::permanent(EditError::OutputTooLarge { limit: self.limit }.to_string()));
        }
        output.try_grow(self.len as u64).map_err(|no_room| Outcome::retry(no_room.to_string()))
    }

    fn add_entry(&mut self, raw: &'a [u8], output: &mut Held) -> Result<(), Outcome> {
        let by_key = vec![0; self.keys.len()];
        let mut entry = Entry { resource: Vec::new(), id: 0, by_key, rest: Vec::new() };
        for (field, number, wire) in raw_fields(raw) {
            match (number, wire) {
                (RESOURCE, WireValue::Len(raw)) => entry.resource.extend(raw_fields(raw).map(|(field, ..)| field)),
                (SCOPES, _) => {}
                _ => entry.rest.push(field),
            }
        }
        for raw in entry.resource.iter().filter_map(|field| attribute(field, resource::ATTRIBUTES)) {
            let hash = self.hasher.hash(&[raw]);
            entry.id = entry.id.wrapping_add(hash);
            if let Some(sum) = self.key_index(raw).and_then(|index| entry.by_key.get_mut(index)) {
                *sum = sum.wrapping_add(hash);
            }
        }
        for (number, wire) in MessageFields::new(raw) {
            let (SCOPES, WireValue::Len(raw)) = (number, wire) else { continue };
            let mut scope = Scope { id: 0, head: Vec::new() };
            let (mut name, mut version): (&[u8], &[u8]) = (&[], &[]);
            for (field, number, wire) in raw_fields(raw) {
                if let (SCOPE, WireValue::Len(raw)) = (number, wire) {
                    for (number, wire) in MessageFields::new(raw) {
                        match (number, wire) {
                            (scope::NAME, WireValue::Len(v)) => name = v,
                            (scope::VERSION, WireValue::Len(v)) => version = v,
                            _ => {}
                        }
                    }
                }
                if number != ITEMS {
                    scope.head.push(field);
                }
            }
            scope.id = self.hasher.hash(&[name, version]);
            for (number, wire) in MessageFields::new(raw) {
                if let (ITEMS, WireValue::Len(raw)) = (number, wire) {
                    match self.signal {
                        Signal::Traces => self.add_item(&entry, &scope, raw, span::ATTRIBUTES),
                        Signal::Logs => self.add_item(&entry, &scope, raw, log_record::ATTRIBUTES),
                        Signal::Metrics => self.add_metric(&entry, &scope, raw),
                    }
                    self.charge(output)?;
                }
            }
        }
        Ok(())
    }

    fn add_item(&mut self, entry: &Entry<'a>, scope: &Scope<'a>, raw: &'a [u8], attributes_field: u32) {
        let moved = self.moved_attributes(raw, attributes_field);
        let index = self.scope_group(entry, scope, &moved);
        if let Some(group) = self.scopes.get_mut(index) {
            let before = group.items.len();
            put_item(&mut group.items, ITEMS, raw, attributes_field, &moved);
            self.len += group.items.len() - before;
        }
    }

    fn add_metric(&mut self, entry: &Entry<'a>, scope: &Scope<'a>, raw: &'a [u8]) {
        let (mut data_field, mut data): (u32, &[u8]) = (0, &[]);
        let (mut name, mut unit): (&[u8], &[u8]) = (&[], &[]);
        let mut head = Vec::new();
        for (field, number, wire) in raw_fields(raw) {
            match (number, wire) {
                (number, WireValue::Len(v)) if kind_of_field(number) != MetricKind::Empty => {
                    (data_field, data) = (number, v);
                    continue;
                }
                (metric::NAME, WireValue::Len(v)) => name = v,
                (metric::UNIT, WireValue::Len(v)) => unit = v,
                _ => {}
            }
            head.push(field);
        }
        let attributes_field = match kind_of_field(data_field) {
            MetricKind::Empty => return,
            MetricKind::Gauge | MetricKind::Sum => number_point::ATTRIBUTES,
            MetricKind::Histogram => histogram_point::ATTRIBUTES,
            MetricKind::ExponentialHistogram => exponential_point::ATTRIBUTES,
            MetricKind::Summary => summary_point::ATTRIBUTES,
        };
        let (mut temporality, mut is_monotonic) = (0, 0);
        let mut data_head = Vec::new();
        for (field, number, wire) in raw_fields(data) {
            match (number, wire) {
                (POINTS, _) => continue,
                (sum::AGGREGATION_TEMPORALITY, WireValue::Varint(v)) => temporality = v,
                (sum::IS_MONOTONIC, WireValue::Varint(v)) => is_monotonic = v,
                _ => {}
            }
            data_head.push(field);
        }
        let text_id = self.hasher.hash(&[name, unit]);
        for (number, wire) in MessageFields::new(data) {
            let (POINTS, WireValue::Len(point)) = (number, wire) else { continue };
            let moved = self.moved_attributes(point, attributes_field);
            let scope_index = self.scope_group(entry, scope, &moved);
            let numbers = [u64::from(data_field), temporality, is_monotonic, scope_index as u64];
            let id = self.hasher.join(&[text_id], &numbers);
            let index = *self.by_metric.entry(id).or_insert_with(|| {
                self.len += raw.len() - data.len();
                self.metrics.push(MetricGroup {
                    head: head.clone(),
                    data_field,
                    data_head: data_head.clone(),
                    points: Vec::new(),
                });
                if let Some(group) = self.scopes.get_mut(scope_index) {
                    group.metrics.push(self.metrics.len() - 1);
                }
                self.metrics.len() - 1
            });
            if let Some(group) = self.metrics.get_mut(index) {
                let before = group.points.len();
                put_item(&mut group.points, POINTS, point, attributes_field, &moved);
                self.len += group.points.len() - before;
            }
        }
    }

    /// The index of the key of an attribute, if it is one of those that are moved.
    fn key_index(&self, attribute: &[u8]) -> Option<usize> {
        if self.keys.is_empty() {
            return None;
        }
        let key = KeyValue::parse(attribute).key;
        self.keys.iter().position(|moved| *moved == key)
    }

    /// The attributes of an item that are moved, in the order of the keys.
    fn moved_attributes(&mut self, item: &'a [u8], attributes_field: u32) -> Vec<Moved<'a>> {
        self.items = self.items.saturating_add(1);
        let mut moved: Vec<Moved<'a>> = Vec::new();
        if !self.keys.is_empty() {
            for (number, wire) in MessageFields::new(item) {
                let WireValue::Len(raw) = wire else { continue };
                if number == attributes_field
                    && let Some(key) = self.key_index(raw)
                    // The first one counts.
                    && !moved.iter().any(|other| other.key == key)
                {
                    moved.push(Moved { key, raw });
                }
            }
        }
        if moved.is_empty() {
            self.counts.not_grouped += 1;
        } else {
            self.counts.grouped += 1;
        }
        moved.sort_unstable_by_key(|attribute| attribute.key);
        moved
    }

    /// The index of the scope for an item with these moved attributes.
    fn scope_group(&mut self, entry: &Entry<'a>, scope: &Scope<'a>, moved: &[Moved<'a>]) -> usize {
        let mut id = entry.id;
        // The sum of the attributes' hashes, as for a whole resource.
        for Moved { key, raw } in moved {
            id = id.wrapping_sub(entry.by_key.get(*key).copied().unwrap_or_default());
            id = id.wrapping_add(self.hasher.hash(&[raw]));
        }
        let resource_index = *self.by_resource.entry(id).or_insert_with(|| {
            let resource = with_moved(&entry.resource, moved);
            self.len += resource.len() + entry.rest.iter().map(|field| field.len()).sum::<usize>();
            self.resources.push(ResourceGroup { resource, rest: entry.rest.clone(), scopes: Vec::new() });
            self.resources.len() - 1
        });
        let id = self.hasher.join(&[scope.id], &[resource_index as u64]);
        *self.by_scope.entry(id).or_insert_with(|| {
            self.len += scope.head.iter().map(|field| field.len()).sum::<usize>();
            self.scopes.push(ScopeGroup { head: scope.head.clone(), items: Vec::new(), metrics: Vec::new() });
            if let Some(group) = self.resources.get_mut(resource_index) {
                group.scopes.push(self.scopes.len() - 1);
            }
            self.scopes.len() - 1
        })
    }

    /// The body, the number of its items, and what has been done.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32, Counts) {
        let mut body = Vec::with_capacity(self.len + self.len / 8);
        let mut entry = Vec::new();
        for group in &self.resources {
            entry.clear();
            put_bytes_field(&mut entry, RESOURCE, &group.resource);
            for index in &group.scopes {
                let Some(scope) = self.scopes.get_mut(*index) else { continue };
                // Each is written once, so its memory can be given back at once.
                let mut items = std::mem::take(&mut scope.items);
                for index in &scope.metrics {
                    if let Some(metric) = self.metrics.get_mut(*index) {
                        metric.put(&mut items);
                    }
                }
                let head: usize = scope.head.iter().map(|field| field.len()).sum();
                put_tag_and_len(&mut entry, SCOPES, head + items.len());
                scope.head.iter().for_each(|field| entry.extend_from_slice(field));
                entry.extend_from_slice(&items);
            }
            group.rest.iter().for_each(|field| entry.extend_from_slice(field));
            put_bytes_field(&mut body, ENTRY, &entry);
        }
        self.counts.groups = self.resources.len();
        (body, self.items, self.counts)
    }
}

impl MetricGroup<'_> {
    fn put(&mut self, out: &mut Vec<u8>) {
        let mut data = std::mem::take(&mut self.points);
        self.data_head.iter().for_each(|field| data.extend_from_slice(field));
        let mut metric = Vec::with_capacity(data.len() + 64);
        self.head.iter().for_each(|field| metric.extend_from_slice(field));
        put_bytes_field(&mut metric, self.data_field, &data);
        put_bytes_field(out, ITEMS, &metric);
    }
}

/// The `KeyValue` message of a field, if it is an attribute.
fn attribute(field: &[u8], attributes_field: u32) -> Option<&[u8]> {
    match MessageFields::new(field).next()? {
        (number, WireValue::Len(raw)) if number == attributes_field => Some(raw),
        _ => None,
    }
}

/// Whether one of the moved attributes has the key of this one.
fn has_key_of(moved: &[Moved<'_>], attribute: &[u8]) -> bool {
    let key = KeyValue::parse(attribute).key;
    moved.iter().any(|other| KeyValue::parse(other.raw).key == key)
}

/// The fields of a resource with these attributes.
fn with_moved(fields: &[&[u8]], moved: &[Moved<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        if !attribute(field, resource::ATTRIBUTES).is_some_and(|raw| has_key_of(moved, raw)) {
            out.extend_from_slice(field);
        }
    }
    moved.iter().for_each(|attribute| put_bytes_field(&mut out, resource::ATTRIBUTES, attribute.raw));
    out
}

/// Appends an item without the attributes that are moved.
fn put_item(out: &mut Vec<u8>, number: u32, raw: &[u8], attributes_field: u32, moved: &[Moved<'_>]) {
    if moved.is_empty() {
        put_bytes_field(out, number, raw);
        return;
    }
    let is_kept = |field: &[u8]| !attribute(field, attributes_field).is_some_and(|raw| has_key_of(moved, raw));
    let kept = || raw_fields(raw).map(|(field, ..)| field).filter(|field| is_kept(field));
    put_tag_and_len(out, number, kept().map(<[u8]>::len).sum());
    kept().for_each(|field| out.extend_from_slice(field));
}
