//! Divides a body of spans by their traces.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use otelcore_pdata::Rope;
use otelcore_pdata::edit::{EditError, OutputLimit};
use otelcore_pdata::schema::{resource_spans, scope_spans, span, traces};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, put_tag_and_len, raw_fields};

use crate::series::{IdentityHasher, SeriesId};

/// The spans of one trace in one body: entries of a request.
#[derive(Debug, Default)]
pub(super) struct TracePart {
    pub(super) id: SeriesId,
    pub(super) entries: Vec<u8>,
    pub(super) spans: u32,
}

/// The parts of a body, in the order of their first spans.
///
/// # Errors
/// They are too long.
pub(super) fn split(body: &Rope, hasher: &IdentityHasher) -> Result<Vec<TracePart>, EditError> {
    let limit = OutputLimit::OF_GROUPS.of(body.len());
    let mut parts: Vec<TracePart> = Vec::new();
    let mut by_id: HashMap<SeriesId, usize, FixedState> = HashMap::with_hasher(FixedState::with_seed(0));
    let mut len = 0;
    for part in body.parts() {
        for (number, wire) in MessageFields::new(&part.bytes) {
            let (traces::RESOURCE_SPANS, WireValue::Len(entry)) = (number, wire) else { continue };
            let around = |message, except: u32| -> Vec<u8> {
                raw_fields(message)
                    .filter(|(_, number, _)| *number != except)
                    .flat_map(|(field, ..)| field)
                    .copied()
                    .collect()
            };
            let resource = around(entry, resource_spans::SCOPE_SPANS);
            for (number, wire) in MessageFields::new(entry) {
                let (resource_spans::SCOPE_SPANS, WireValue::Len(scope)) = (number, wire) else { continue };
                let head = around(scope, scope_spans::SPANS);
                // The spans of this scope by trace: indexes in `parts`, and fields.
                let mut spans: Vec<(usize, Vec<u8>)> = Vec::new();
                let mut in_scope: HashMap<usize, usize, FixedState> = HashMap::with_hasher(FixedState::with_seed(0));
                for (number, wire) in MessageFields::new(scope) {
                    let (scope_spans::SPANS, WireValue::Len(raw)) = (number, wire) else { continue };
                    let id = hasher.hash(&[trace_id(raw)]);
                    let index = *by_id.entry(id).or_insert_with(|| {
                        parts.push(TracePart { id, ..TracePart::default() });
                        parts.len() - 1
                    });
                    let at = *in_scope.entry(index).or_insert_with(|| {
                        spans.push((index, Vec::new()));
                        len += resource.len() + head.len();
                        spans.len() - 1
                    });
                    if let (Some((_, fields)), Some(part)) = (spans.get_mut(at), parts.get_mut(index)) {
                        put_bytes_field(fields, scope_spans::SPANS, raw);
                        part.spans += 1;
                        len += raw.len();
                    }
                    if len > limit {
                        return Err(EditError::OutputTooLarge { limit });
                    }
                }
                for (index, fields) in spans {
                    let Some(part) = parts.get_mut(index) else { continue };
                    let mut scope = Vec::with_capacity(head.len() + fields.len());
                    scope.extend_from_slice(&head);
                    scope.extend_from_slice(&fields);
                    let mut entry = Vec::with_capacity(scope.len() + 8);
                    put_bytes_field(&mut entry, resource_spans::SCOPE_SPANS, &scope);
                    put_tag_and_len(&mut part.entries, traces::RESOURCE_SPANS, resource.len() + entry.len());
                    part.entries.extend_from_slice(&resource);
                    part.entries.extend_from_slice(&entry);
                }
            }
        }
    }
    Ok(parts)
}

fn trace_id(span: &[u8]) -> &[u8] {
    let mut id: &[u8] = &[];
    for (number, wire) in MessageFields::new(span) {
        if let (span::TRACE_ID, WireValue::Len(v)) = (number, wire) {
            id = v;
        }
    }
    id
}
