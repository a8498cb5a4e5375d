//! Splits a body by the backends that its items belong to, without decoding it.
//!
//! The keys are those of the Go collector: spans are routed by trace and scope together, with the attributes of their first
//! span; metrics by resource, name, series or attributes; log records by their trace. Knows nothing of connections.

use std::collections::BTreeMap;

use crc32fast::Hasher;
use otelcore_pdata::edit::{EditError, OutputLimit};
use otelcore_pdata::schema::{resource_spans, scope_metrics, scope_spans, traces};
use otelcore_pdata::views::{AnyValue, KeyValue, Metric, RepeatedMessages, Resource, Scope, Span, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, raw_fields};
use otelcore_pdata::{Rope, Signal};

use super::identity::Identity;
use super::ring::Ring;
use super::rule::Rule;

// The numbers of fields that are the same for all signals.
const ENTRY: u32 = traces::RESOURCE_SPANS;
const RESOURCE: u32 = resource_spans::RESOURCE;
const SCOPES: u32 = resource_spans::SCOPE_SPANS;
const SCOPE: u32 = scope_spans::SCOPE;
const ITEMS: u32 = scope_spans::SPANS;
/// The points in the data of a metric, whatever its kind.
const POINTS: u32 = 1;

/// The field of trace ids.
const SPAN_TRACE_ID: u32 = 1;
const LOG_TRACE_ID: u32 = 9;

/// The number of the data of a metric, with the field of the attributes of its points.
fn attributes_of_points(data: u32) -> Option<u32> {
    match data {
        // Gauge, sum, summary.
        5 | 7 | 11 => Some(7),
        // Histogram.
        9 => Some(9),
        // Exponential histogram.
        10 => Some(1),
        _ => None,
    }
}

/// A body by backends.
#[derive(Debug, Default)]
pub(super) struct SplitBody {
    /// The index of an endpoint of the ring, and what belongs to it.
    pub(super) pieces: Vec<(usize, Rope)>,
    /// Items that have no key, and are refused.
    pub(super) without_key: u32,
    /// Bytes of the pieces that are not shared with the body.
    pub(super) copied_bytes: usize,
}

/// Splits a body. `random` decides where log records without a trace go.
///
/// # Errors
/// What is around the items would be repeated so often that the pieces are longer than [`OutputLimit::OF_GROUPS`] permits.
pub(super) fn split(
    signal: Signal,
    body: &Rope,
    rule: &Rule,
    ring: &Ring,
    random: u64,
) -> Result<SplitBody, EditError> {
    if let [_] = ring.endpoints()
        && *rule != Rule::Service
    {
        return Ok(SplitBody { pieces: vec![(0, body.clone())], ..SplitBody::default() });
    }
    let limit = OutputLimit::OF_GROUPS.of(body.len());
    let mut splitter = BodySplitter { signal, rule, ring, random, output: Output::new(limit), without_key: 0 };
    for part in body.parts() {
        for (number, wire) in MessageFields::new(&part.bytes) {
            if let (ENTRY, WireValue::Len(entry)) = (number, wire) {
                splitter.add_entry(entry)?;
            }
        }
    }
    let BodySplitter { output, without_key, .. } = splitter;
    let pieces = output.finish();
    if let [(only, piece)] = pieces.as_slice()
        && piece.items() == body.items()
    {
        // Nothing has been taken apart.
        return Ok(SplitBody { pieces: vec![(*only, body.clone())], ..SplitBody::default() });
    }
    let copied_bytes = pieces.iter().map(|(_, piece)| piece.len()).sum();
    Ok(SplitBody { pieces, without_key, copied_bytes })
}

/// What is around the fields under a number: all other fields.
fn around(message: &[u8], except: impl Fn(u32) -> bool) -> Vec<u8> {
    raw_fields(message).filter(|(_, number, _)| !except(*number)).flat_map(|(field, ..)| field).copied().collect()
}

/// The messages under a field number.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    MessageFields::new(message).filter_map(move |(field, wire)| match wire {
        WireValue::Len(raw) if field == number => Some(raw),
        _ => None,
    })
}

/// The last message under a field number, or an empty one.
fn last_message(message: &[u8], number: u32) -> &[u8] {
    messages(message, number).last().unwrap_or_default()
}

/// The text of the first attribute with this key: empty for another type.
fn text_of<'a>(mut attributes: impl Iterator<Item = KeyValue<'a>>, key: &[u8]) -> Option<&'a [u8]> {
    let found = attributes.find(|attribute| attribute.key == key)?;
    Some(if let AnyValue::String(text) = found.value { text } else { &[] })
}

/// A part of a composite key: known for all items of a scope, or the attribute that has it. Of what is known the hash is
/// kept, since it may be long and is a part of the key of each item.
enum KeyPart<'a> {
    Known(Hasher),
    OfItem(&'a [u8]),
}

/// What the keys of an entry's items have in common.
struct ResourceKey<'e> {
    /// The texts of the attributes that are routed by, where the resource has them.
    texts: Vec<Option<&'e [u8]>>,
    /// That of the resource, where series are routed by their identities.
    identity: Option<Identity>,
}

fn hasher_of(text: &[u8]) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(text);
    hasher
}

struct BodySplitter<'s> {
    signal: Signal,
    rule: &'s Rule,
    ring: &'s Ring,
    random: u64,
    output: Output,
    without_key: u32,
}

impl BodySplitter<'_> {
    // A body is split only where there are endpoints.
    fn backend(&self, key: &[u8]) -> usize {
        self.ring.find(key).unwrap_or_default()
    }

    fn backend_of_hash(&self, hasher: Hasher) -> usize {
        self.ring.find_hash(hasher.finalize()).unwrap_or_default()
    }

    fn add_entry(&mut self, entry: &[u8]) -> Result<(), EditError> {
        let resource = Resource::parse(last_message(entry, RESOURCE));
        let mut common = ResourceKey { texts: Vec::new(), identity: None };
        let of_resource = match self.rule {
            Rule::Service => match text_of(resource.attributes(), b"service.name") {
                Some(name) => Some(self.backend(name)),
                None => {
                    self.without_key = self.without_key.saturating_add(count_items(self.signal, entry));
                    return Ok(());
                }
            },
            Rule::Resource => {
                Some(self.backend(Identity::of_resource(resource.attributes()).key("resource").as_bytes()))
            }
            Rule::Attributes(names) => {
                common.texts = names.iter().map(|name| text_of(resource.attributes(), name)).collect();
                let known: Option<Vec<&[u8]>> = common.texts.iter().copied().collect();
                known.map(|parts| self.backend(&parts.concat()))
            }
            Rule::StreamId => {
                common.identity = Some(Identity::of_resource(resource.attributes()));
                None
            }
            Rule::TraceId | Rule::MetricName => None,
        };
        if let Some(backend) = of_resource {
            self.output.add_entry(backend, entry, count_items(self.signal, entry));
            return Ok(());
        }
        self.output.begin_entry(around(entry, |number| number == SCOPES));
        for scope in messages(entry, SCOPES) {
            self.add_scope(&common, scope)?;
        }
        Ok(())
    }

    fn add_scope(&mut self, common: &ResourceKey<'_>, scope: &[u8]) -> Result<(), EditError> {
        self.output.begin_scope(around(scope, |number| number == ITEMS));
        let head = Scope::parse(last_message(scope, SCOPE));
        match (self.signal, self.rule) {
            (Signal::Metrics, Rule::StreamId) => {
                let Some(identity) = common.identity.map(|resource| resource.of_scope(&head)) else { return Ok(()) };
                for raw in messages(scope, ITEMS) {
                    let of_metric = identity.of_metric(&Metric::parse(raw));
                    self.add_points(raw, |this, attributes| {
                        this.backend(of_metric.of_series(attributes).key("stream").as_bytes())
                    })?;
                }
                Ok(())
            }
            (Signal::Metrics, Rule::Attributes(names)) => self.add_scope_by_attributes(common, &head, scope, names),
            (Signal::Metrics, _) => {
                for raw in messages(scope, ITEMS) {
                    let backend = self.backend(Metric::parse(raw).name);
                    self.output.add_item(backend, raw, count_points(raw))?;
                }
                Ok(())
            }
            (_, Rule::Attributes(names)) => self.add_spans_by_attributes(common, &head, scope, names),
            (signal, _) => {
                let field = if signal == Signal::Logs { LOG_TRACE_ID } else { SPAN_TRACE_ID };
                let mut last: Option<([u8; 16], usize)> = None;
                for raw in messages(scope, ITEMS) {
                    let id = trace_id(raw, field);
                    let backend = match last {
                        Some((known, backend)) if known == id => backend,
                        _ if signal == Signal::Logs && id == [0; 16] => self.backend(&self.random.to_le_bytes()),
                        _ => self.backend(&id),
                    };
                    last = Some((id, backend));
                    self.output.add_item(backend, raw, 1)?;
                }
                Ok(())
            }
        }
    }

    /// Metrics by attributes: those of the resource first in the key, then those of the scope, then those of the point.
    fn add_scope_by_attributes(
        &mut self,
        common: &ResourceKey<'_>,
        head: &Scope<'_>,
        scope: &[u8],
        names: &[Vec<u8>],
    ) -> Result<(), EditError> {
        let (mut key, mut pending) = (Hasher::new(), Vec::new());
        common.texts.iter().flatten().for_each(|text| key.update(text));
        for (name, _) in names.iter().zip(&common.texts).filter(|(_, text)| text.is_none()) {
            match text_of(head.attributes(), name) {
                Some(text) => key.update(text),
                None => pending.push(name.as_slice()),
            }
        }
        if pending.is_empty() {
            let backend = self.backend_of_hash(key);
            let items = messages(scope, ITEMS).map(count_points).fold(0, u32::saturating_add);
            return self.output.add_scope(backend, scope, items);
        }
        for raw in messages(scope, ITEMS) {
            self.add_points(raw, |this, attributes| {
                let mut key = key.clone();
                for name in &pending {
                    key.update(text_of(attributes, name).unwrap_or_default());
                }
                this.backend_of_hash(key)
            })?;
        }
        Ok(())
    }

    /// Divides a metric by the backends of its points.
    fn add_points<'m>(
        &mut self,
        metric: &'m [u8],
        backend_of: impl Fn(&Self, RepeatedMessages<'m, KeyValue<'m>>) -> usize,
    ) -> Result<(), EditError> {
        // Points by backend, each with the index of the data field that it is in: there may be several.
        let mut by_backend: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        let mut fields: Vec<(u32, Vec<u8>)> = Vec::new();
        for (number, wire) in MessageFields::new(metric) {
            let (WireValue::Len(data), Some(attributes)) = (wire, attributes_of_points(number)) else { continue };
            for point in messages(data, POINTS) {
                let backend = backend_of(self, RepeatedMessages::new(point, attributes));
                by_backend.entry(backend).or_default().push((fields.len(), point));
            }
            fields.push((number, around(data, |number| number == POINTS)));
        }
        let head = around(metric, |number| attributes_of_points(number).is_some());
        for (backend, points) in by_backend {
            self.output.reserve(head.len())?;
            let mut content = head.clone();
            for of_field in points.chunk_by(|a, b| a.0 == b.0) {
                let Some((number, data)) = of_field.first().and_then(|(field, _)| fields.get(*field)) else { continue };
                self.output.reserve(data.len())?;
                let mut data = data.clone();
                of_field.iter().for_each(|(_, point)| put_bytes_field(&mut data, POINTS, point));
                put_bytes_field(&mut content, *number, &data);
            }
            self.output.add_item(backend, &content, u32::try_from(points.len()).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    /// Spans by attributes: those of a trace in a scope stay together, and its first span decides.
    fn add_spans_by_attributes(
        &mut self,
        common: &ResourceKey<'_>,
        head: &Scope<'_>,
        scope: &[u8],
        names: &[Vec<u8>],
    ) -> Result<(), EditError> {
        let parts: Vec<KeyPart<'_>> = names
            .iter()
            .zip(&common.texts)
            .map(|(name, text)| match text.or_else(|| text_of(head.attributes(), name)) {
                Some(text) => KeyPart::Known(hasher_of(text)),
                None => KeyPart::OfItem(name),
            })
            .collect();
        let mut of_traces: BTreeMap<[u8; 16], usize> = BTreeMap::new();
        for raw in messages(scope, ITEMS) {
            let id = trace_id(raw, SPAN_TRACE_ID);
            let backend = match of_traces.get(&id) {
                Some(backend) => *backend,
                None => {
                    let backend = self.backend_of_hash(hash_of_span(&parts, &Span::parse(raw)));
                    of_traces.insert(id, backend);
                    backend
                }
            };
            self.output.add_item(backend, raw, 1)?;
        }
        Ok(())
    }
}

fn hash_of_span(parts: &[KeyPart<'_>], span: &Span<'_>) -> Hasher {
    let mut key = Hasher::new();
    for part in parts {
        match part {
            KeyPart::Known(hasher) => key.combine(hasher),
            KeyPart::OfItem(b"span.kind") => key.update(kind_name(span.kind)),
            KeyPart::OfItem(b"span.name") => key.update(span.name),
            KeyPart::OfItem(name) => key.update(text_of(span.attributes(), name).unwrap_or_default()),
        }
    }
    key
}

/// The name that the Go collector has for a kind.
fn kind_name(kind: i32) -> &'static [u8] {
    match kind {
        0 => b"Unspecified",
        1 => b"Internal",
        2 => b"Server",
        3 => b"Client",
        4 => b"Producer",
        5 => b"Consumer",
        _ => b"",
    }
}

fn trace_id(item: &[u8], field: u32) -> [u8; 16] {
    last_message(item, field).try_into().unwrap_or_default()
}

fn count_points(metric: &[u8]) -> u32 {
    let points = MessageFields::new(metric).map(|(number, wire)| match wire {
        WireValue::Len(data) if attributes_of_points(number).is_some() => messages(data, POINTS).count(),
        _ => 0,
    });
    u32::try_from(points.sum::<usize>()).unwrap_or(u32::MAX)
}

/// The items of an entry.
fn count_items(signal: Signal, entry: &[u8]) -> u32 {
    let of_scope = |scope| -> u32 {
        match signal {
            Signal::Metrics => messages(scope, scope_metrics::METRICS).map(count_points).fold(0, u32::saturating_add),
            Signal::Traces | Signal::Logs => u32::try_from(messages(scope, ITEMS).count()).unwrap_or(u32::MAX),
        }
    };
    messages(entry, SCOPES).map(of_scope).fold(0, u32::saturating_add)
}

/// The bodies that are written, by backend.
struct Output {
    bodies: BTreeMap<usize, BackendBody>,
    /// What is around the items of the current entry and scope, with their numbers.
    entry: (u64, Vec<u8>),
    scope: (u64, Vec<u8>),
    /// Bytes that may still be repeated.
    room: usize,
    limit: usize,
}

/// A body that is written. The numbers say what its open entry and scope are, zero for none.
#[derive(Default)]
struct BackendBody {
    body: Vec<u8>,
    items: u32,
    entry: (u64, Vec<u8>),
    scope: (u64, Vec<u8>),
}

impl BackendBody {
    fn end_scope(&mut self) {
        if std::mem::take(&mut self.scope.0) > 0 {
            put_bytes_field(&mut self.entry.1, SCOPES, &self.scope.1);
        }
    }

    fn end_entry(&mut self) {
        self.end_scope();
        if std::mem::take(&mut self.entry.0) > 0 {
            put_bytes_field(&mut self.body, ENTRY, &self.entry.1);
        }
    }
}

impl Output {
    fn new(limit: usize) -> Self {
        Self { bodies: BTreeMap::new(), entry: (0, Vec::new()), scope: (0, Vec::new()), room: limit, limit }
    }

    /// Counts bytes that are repeated.
    fn reserve(&mut self, bytes: usize) -> Result<(), EditError> {
        self.room = self.room.checked_sub(bytes).ok_or(EditError::OutputTooLarge { limit: self.limit })?;
        Ok(())
    }

    fn begin_entry(&mut self, around: Vec<u8>) {
        self.entry = (self.entry.0 + 1, around);
    }

    fn begin_scope(&mut self, around: Vec<u8>) {
        self.scope = (self.scope.0 + 1, around);
    }

    /// Adds an entry as it is.
    fn add_entry(&mut self, backend: usize, entry: &[u8], items: u32) {
        let body = self.bodies.entry(backend).or_default();
        body.end_entry();
        put_bytes_field(&mut body.body, ENTRY, entry);
        body.items = body.items.saturating_add(items);
    }

    /// The body of a backend, with the current entry open.
    fn open_entry(&mut self, backend: usize) -> Result<&mut BackendBody, EditError> {
        let (number, around) = &self.entry;
        let body = self.bodies.entry(backend).or_default();
        if body.entry.0 != *number {
            self.room = self.room.checked_sub(around.len()).ok_or(EditError::OutputTooLarge { limit: self.limit })?;
            body.end_entry();
            body.entry.0 = *number;
            body.entry.1.clone_from(around);
        }
        Ok(body)
    }

    /// Adds a scope of the current entry as it is.
    fn add_scope(&mut self, backend: usize, scope: &[u8], items: u32) -> Result<(), EditError> {
        let body = self.open_entry(backend)?;
        body.end_scope();
        put_bytes_field(&mut body.entry.1, SCOPES, scope);
        body.items = body.items.saturating_add(items);
        Ok(())
    }

    /// Adds an item of the current scope.
    fn add_item(&mut self, backend: usize, item: &[u8], items: u32) -> Result<(), EditError> {
        let (number, head) = (self.scope.0, self.scope.1.len());
        let body = self.open_entry(backend)?;
        if body.scope.0 == number {
            put_bytes_field(&mut body.scope.1, ITEMS, item);
            body.items = body.items.saturating_add(items);
            return Ok(());
        }
        body.end_scope();
        self.reserve(head)?;
        let around = &self.scope.1;
        if let Some(body) = self.bodies.get_mut(&backend) {
            body.scope.0 = number;
            body.scope.1.clone_from(around);
            put_bytes_field(&mut body.scope.1, ITEMS, item);
            body.items = body.items.saturating_add(items);
        }
        Ok(())
    }

    /// The bodies that have items.
    fn finish(self) -> Vec<(usize, Rope)> {
        let finish = |(backend, mut body): (usize, BackendBody)| {
            body.end_entry();
            (body.items > 0).then(|| (backend, Rope::new(body.body.into(), body.items)))
        };
        self.bodies.into_iter().filter_map(finish).collect()
    }
}
