//! Spans by the resource and the scope that they share, encoded one after another.

use std::collections::BTreeMap;

use otelcore_pdata::Rope;
use otelcore_pdata::build::{Body, ResourceWriter, ScopeWriter, SpanWriter};
use otelcore_pdata::schema::{resource_spans, scope_spans};
use otelcore_pdata::wire_format::put_bytes_field;
use otelcore_pipeline::{Held, NoRoom};

/// The field of a request with its entries.
const RESOURCE_SPANS: u32 = 1;

/// New bytes are charged in steps of this many; the first ones double what is charged.
const CHARGE_STEP: usize = 64 << 10;

struct ScopeGroup {
    /// The content of the scope.
    scope: Vec<u8>,
    /// The spans, each with its tag.
    spans: Vec<u8>,
}

struct ResourceGroup {
    /// The content of the resource.
    resource: Vec<u8>,
    scopes: Vec<ScopeGroup>,
    /// Positions in `scopes`.
    by_key: BTreeMap<Vec<u8>, usize>,
}

/// The spans of a body. Their bytes are charged while they grow.
pub(crate) struct SpanGroups<'h> {
    held: &'h mut Held,
    resources: Vec<ResourceGroup>,
    /// Positions in `resources`.
    by_key: BTreeMap<Vec<u8>, usize>,
    /// For one message at a time.
    scratch: Body,
    items: u32,
    written: usize,
    charged: usize,
}

/// What a span is put with: a resource or a scope by its key, and how it is written when it is the first of its group.
pub(crate) struct Shared<'k, W> {
    pub(crate) key: &'k [u8],
    pub(crate) write: W,
}

impl<'h> SpanGroups<'h> {
    pub(crate) fn new(held: &'h mut Held) -> Self {
        Self {
            held,
            resources: Vec::new(),
            by_key: BTreeMap::new(),
            scratch: Body::new(),
            items: 0,
            written: 0,
            charged: 0,
        }
    }

    /// Adds a span.
    pub(crate) fn add(
        &mut self,
        resource: Shared<'_, impl FnOnce(&mut ResourceWriter<'_>)>,
        scope: Shared<'_, impl FnOnce(&mut ScopeWriter<'_>)>,
        write_span: impl FnOnce(&mut SpanWriter<'_>),
    ) -> Result<(), NoRoom> {
        let Self { resources, by_key, scratch, .. } = self;
        let mut added = 0;
        let resource_at = position(by_key, resource.key, resources.len());
        if resource_at == resources.len() {
            scratch.clear();
            (resource.write)(&mut ResourceWriter::content(scratch));
            added += GROUP_BYTES + 2 * resource.key.len() + scratch.bytes().len();
            let resource = scratch.bytes().to_vec();
            resources.push(ResourceGroup { resource, scopes: Vec::new(), by_key: BTreeMap::new() });
        }
        let Some(ResourceGroup { scopes, by_key, .. }) = resources.get_mut(resource_at) else { return Ok(()) };
        let scope_at = position(by_key, scope.key, scopes.len());
        if scope_at == scopes.len() {
            scratch.clear();
            (scope.write)(&mut ScopeWriter::content(scratch));
            added += GROUP_BYTES + 2 * scope.key.len() + scratch.bytes().len();
            scopes.push(ScopeGroup { scope: scratch.bytes().to_vec(), spans: Vec::new() });
        }
        let Some(ScopeGroup { spans, .. }) = scopes.get_mut(scope_at) else { return Ok(()) };
        scratch.clear();
        write_span(&mut SpanWriter::content(scratch));
        let before = spans.len();
        put_bytes_field(spans, scope_spans::SPANS, scratch.bytes());
        added += spans.len() - before;
        self.items = self.items.saturating_add(1);
        self.charge(added)
    }

    fn charge(&mut self, added: usize) -> Result<(), NoRoom> {
        // Twice, because the groups and the body that is made of them are there together.
        self.written += 2 * added;
        if self.written > self.charged {
            let step = (self.written - self.charged).max(self.charged.min(CHARGE_STEP));
            self.held.try_grow(step as u64)?;
            self.charged += step;
        }
        Ok(())
    }

    /// All spans as one body.
    pub(crate) fn finish(self) -> Rope {
        let mut out = Vec::with_capacity(self.written / 2);
        let (mut entry, mut scope_entry) = (Vec::new(), Vec::new());
        for ResourceGroup { resource, scopes, .. } in self.resources {
            entry.clear();
            put_bytes_field(&mut entry, resource_spans::RESOURCE, &resource);
            for ScopeGroup { scope, spans } in scopes {
                scope_entry.clear();
                put_bytes_field(&mut scope_entry, scope_spans::SCOPE, &scope);
                scope_entry.extend_from_slice(&spans);
                put_bytes_field(&mut entry, resource_spans::SCOPE_SPANS, &scope_entry);
            }
            put_bytes_field(&mut out, RESOURCE_SPANS, &entry);
        }
        Rope::new(out.into(), self.items)
    }
}

/// What a group takes beside its content.
const GROUP_BYTES: usize = 256;

/// The position of a key, which is `next` if it is new.
fn position(by_key: &mut BTreeMap<Vec<u8>, usize>, key: &[u8], next: usize) -> usize {
    match by_key.get(key) {
        Some(at) => *at,
        None => {
            by_key.insert(key.to_vec(), next);
            next
        }
    }
}
