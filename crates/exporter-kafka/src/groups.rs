//! Which items go into a message together: all of them, those of a resource, or those of a trace within a scope.
//!
//! Nothing is decoded: entries are shared, and the spans of a trace are copied with their tags. Bodies are made one after another, because
//! each of them repeats the resource: what there is no room for is returned as one body.

use std::hash::BuildHasher;

use bytes::Bytes;
use hashbrown::HashTable;
use otelcore_pdata::views::{LogRecord, Resource, Span, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_tag_and_len, raw_fields};
use otelcore_pdata::{Rope, RopePart, Signal, check};

use crate::resource_hash::hash_attributes;

/// What the items of a message have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// Nothing.
    None,
    /// The resource.
    Resource,
    /// The resource; a hash of its attributes is the key.
    ResourceHash,
    /// The resource, the scope and the trace, whose id is the key.
    Trace,
}

/// The items of a message.
#[derive(Debug)]
pub(crate) struct Group {
    /// The key of the message.
    pub(crate) key: Option<Bytes>,
    /// The value of the resource's attribute that names the topic.
    pub(crate) topic: Option<String>,
    pub(crate) body: Rope,
}

/// Forms groups.
#[derive(Clone, Debug)]
pub(crate) struct Grouper<'a> {
    pub(crate) signal: Signal,
    pub(crate) grouping: Grouping,
    /// The resource attribute whose value is the topic; if it is empty, there is none.
    pub(crate) topic_attribute: &'a str,
}

impl Grouper<'_> {
    /// Passes the groups of a body to `take` until it returns false; returns the rest.
    pub(crate) fn for_each(&self, mut body: Rope, mut take: impl FnMut(Group) -> bool) -> Rope {
        if self.grouping == Grouping::None {
            take(Group { key: None, topic: None, body });
            return Rope::default();
        }
        let mut rest = Rope::default();
        let mut goes_on = true;
        for part in body.take_parts() {
            if !goes_on {
                rest.push(part);
                continue;
            }
            let mut fields = MessageFields::new(&part.bytes);
            let mut items_left = part.items;
            while goes_on {
                let start = part.bytes.len() - fields.rest().len();
                let Some((number, wire)) = fields.next() else { break };
                let (1, WireValue::Len(raw)) = (number, wire) else { continue };
                let end = part.bytes.len() - fields.rest().len();
                let is_whole = start == 0 && end == part.bytes.len();
                let entry = part.bytes.slice(start..end);
                let items = if is_whole { part.items } else { self.count(&entry) };
                items_left = items_left.saturating_sub(items);
                let entry_rest;
                (goes_on, entry_rest) = self.groups_of_entry(raw, RopePart { bytes: entry, items }, &mut take);
                rest.append(entry_rest);
                if !goes_on && end < part.bytes.len() {
                    rest.push(RopePart { bytes: part.bytes.slice(end..), items: items_left });
                }
            }
        }
        rest
    }

    fn count(&self, entry: &[u8]) -> u32 {
        check(self.signal, entry).map_or(0, |summary| summary.items)
    }

    /// Returns whether more groups are taken, and what is left of the entry.
    fn groups_of_entry(&self, raw: &[u8], entry: RopePart, take: &mut impl FnMut(Group) -> bool) -> (bool, Rope) {
        let resource = MessageFields::new(raw).find_map(|(number, wire)| match (number, wire) {
            (1, WireValue::Len(resource)) => Some(Resource::parse(resource)),
            _ => None,
        });
        let resource = resource.unwrap_or_default();
        let topic = self.topic(&resource);
        let key = match self.grouping {
            Grouping::Trace => return self.groups_by_trace(raw, topic.as_deref(), take),
            Grouping::ResourceHash => Some(Bytes::copy_from_slice(&hash_attributes(resource.attributes()))),
            Grouping::Resource | Grouping::None => None,
        };
        let mut body = Rope::default();
        body.push(entry);
        (take(Group { key, topic, body }), Rope::default())
    }

    fn topic(&self, resource: &Resource<'_>) -> Option<String> {
        if self.topic_attribute.is_empty() {
            return None;
        }
        let named = resource.attributes().find(|entry| entry.key == self.topic_attribute.as_bytes())?;
        let otelcore_pdata::views::AnyValue::String(value) = named.value else { return None };
        (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
    }

    fn groups_by_trace(&self, raw: &[u8], topic: Option<&str>, take: &mut impl FnMut(Group) -> bool) -> (bool, Rope) {
        let is_scope = |number: u32, wire: WireValue<'_>| number == 2 && matches!(wire, WireValue::Len(_));
        let header: Vec<u8> =
            raw_fields(raw).filter(|(_, n, wire)| !is_scope(*n, *wire)).flat_map(|(raw, _, _)| raw).copied().collect();
        let mut scopes = raw_fields(raw).filter(|(_, n, wire)| is_scope(*n, *wire));
        while let Some((_, _, wire)) = scopes.next() {
            let WireValue::Len(scope) = wire else { continue };
            let scope_header: Vec<u8> = raw_fields(scope)
                .filter(|(_, n, wire)| !is_scope(*n, *wire))
                .flat_map(|(raw, _, _)| raw)
                .copied()
                .collect();
            let mut traces = self.traces(scope).into_iter();
            while let Some((id, items)) = traces.next() {
                let key = self.key_of(id);
                let body = entry_of(&header, &scope_header, items.iter().copied(), &[], items.len());
                if take(Group { key, topic: topic.map(str::to_owned), body }) {
                    continue;
                }
                let items: Vec<&[u8]> = traces.flat_map(|(_, items)| items).collect();
                let more: Vec<&[u8]> = scopes.map(|(raw, _, _)| raw).collect();
                if items.is_empty() && more.is_empty() {
                    return (false, Rope::default());
                }
                let mut rest = entry_of(&header, &scope_header, items.into_iter(), &more, 0).take_parts();
                for part in &mut rest {
                    part.items = self.count(&part.bytes);
                }
                let mut body = Rope::default();
                rest.into_iter().for_each(|part| body.push(part));
                return (false, body);
            }
        }
        (true, Rope::default())
    }

    /// The items of a scope by their trace ids, in the order in which the traces begin.
    fn traces<'b>(&self, scope: &'b [u8]) -> Vec<(&'b [u8], Vec<&'b [u8]>)> {
        let hasher = foldhash::fast::RandomState::default();
        let mut positions: HashTable<usize> = HashTable::new();
        let mut traces: Vec<(&[u8], Vec<&[u8]>)> = Vec::new();
        for (raw, number, wire) in raw_fields(scope) {
            let (2, WireValue::Len(item)) = (number, wire) else { continue };
            let id = match self.signal {
                Signal::Logs => LogRecord::parse(item).trace_id,
                _ => Span::parse(item).trace_id,
            };
            let id = if id.iter().all(|byte| *byte == 0) { &[][..] } else { id };
            let hash = hasher.hash_one(id);
            let same = positions.find(hash, |at| traces.get(*at).is_some_and(|(other, _)| *other == id)).copied();
            if let Some((_, items)) = same.and_then(|at| traces.get_mut(at)) {
                items.push(raw);
                continue;
            }
            positions.insert_unique(hash, traces.len(), |at| {
                hasher.hash_one(traces.get(*at).map_or(&[][..], |(other, _)| *other))
            });
            traces.push((id, vec![raw]));
        }
        traces
    }

    /// The key of a trace: its id in hexadecimal digits. Spans without one have an empty key, log records none.
    fn key_of(&self, id: &[u8]) -> Option<Bytes> {
        if id.is_empty() && self.signal == Signal::Logs {
            return None;
        }
        let mut key = Vec::with_capacity(32);
        otelcore_pdata::text::put_hex(&mut key, id);
        Some(key.into())
    }
}

/// A body with one resource: a scope with `items`, and `more` scopes.
fn entry_of<'a>(
    header: &[u8],
    scope_header: &[u8],
    items: impl Iterator<Item = &'a [u8]> + Clone,
    more: &[&[u8]],
    count: usize,
) -> Rope {
    let scope_len = scope_header.len() + items.clone().map(<[u8]>::len).sum::<usize>();
    let mut scope_tag = Vec::with_capacity(12);
    put_tag_and_len(&mut scope_tag, 2, scope_len);
    let len = header.len() + scope_tag.len() + scope_len + more.iter().map(|raw| raw.len()).sum::<usize>();
    let mut out = Vec::with_capacity(len + 12);
    put_tag_and_len(&mut out, 1, len);
    out.extend_from_slice(header);
    out.extend_from_slice(&scope_tag);
    out.extend_from_slice(scope_header);
    items.for_each(|item| out.extend_from_slice(item));
    more.iter().for_each(|raw| out.extend_from_slice(raw));
    Rope::new(out.into(), u32::try_from(count).unwrap_or(u32::MAX))
}
