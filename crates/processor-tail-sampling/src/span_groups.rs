//! The spans of a payload by trace: each group as `ResourceSpans` entries of its own.

use otelcore_pdata::Rope;
use otelcore_pdata::edit::{EditError, OutputLimit};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, raw_fields};

use crate::traces::TraceId;

/// The spans of one trace in one resource.
#[derive(Debug)]
pub(crate) struct SpanGroup {
    pub(crate) trace_id: TraceId,
    /// A field `resource_spans` of a request: tag, length, content.
    pub(crate) entry: Vec<u8>,
    pub(crate) spans: u32,
    /// Whether one of them has no parent.
    pub(crate) has_root: bool,
}

/// A span, and the scope that it is in.
struct ScopeSpan<'a> {
    trace_id: TraceId,
    scope: usize,
    raw: &'a [u8],
    is_root: bool,
}

/// The spans of a payload by trace and resource.
///
/// # Errors
/// Resources and scopes would be repeated so often that the groups are longer than [`OutputLimit::OF_GROUPS`] permits.
pub(crate) fn groups_of(body: &Rope) -> Result<Vec<SpanGroup>, EditError> {
    let limit = OutputLimit::OF_GROUPS.of(body.len());
    let mut output = Output { groups: Vec::new(), room: limit, limit };
    for part in body.parts() {
        for field in MessageFields::new(&part.bytes) {
            if let (1, WireValue::Len(raw)) = field {
                output.group_entry(raw)?;
            }
        }
    }
    Ok(output.groups)
}

/// The groups, and the bytes that may still be added.
struct Output {
    groups: Vec<SpanGroup>,
    room: usize,
    limit: usize,
}

impl Output {
    fn group_entry(&mut self, entry: &[u8]) -> Result<(), EditError> {
        // What is around the spans, with tags and lengths: of the resource once, of each scope once.
        let mut around = Vec::new();
        let mut scopes: Vec<Vec<u8>> = Vec::new();
        let mut spans: Vec<ScopeSpan<'_>> = Vec::new();
        for (raw_field, number, wire) in raw_fields(entry) {
            match (number, wire) {
                (2, WireValue::Len(raw)) => scopes.push(read_scope(raw, scopes.len(), &mut spans)),
                _ => around.extend_from_slice(raw_field),
            }
        }
        // A stable sort: spans of a trace keep their order.
        spans.sort_by_key(|span| span.trace_id);
        for group in spans.chunk_by(|a, b| a.trace_id == b.trace_id) {
            let Some(first) = group.first() else { continue };
            let mut content = self.reserve(&around)?;
            for scope_spans in group.chunk_by(|a, b| a.scope == b.scope) {
                let around_scope = scope_spans.first().and_then(|span| scopes.get(span.scope));
                let mut scope = self.reserve(around_scope.map_or(&[], Vec::as_slice))?;
                scope_spans.iter().for_each(|span| put_bytes_field(&mut scope, 2, span.raw));
                put_bytes_field(&mut content, 2, &scope);
            }
            let mut framed = Vec::with_capacity(content.len() + 8);
            put_bytes_field(&mut framed, 1, &content);
            self.groups.push(SpanGroup {
                trace_id: first.trace_id,
                entry: framed,
                spans: u32::try_from(group.len()).unwrap_or(u32::MAX),
                has_root: group.iter().any(|span| span.is_root),
            });
        }
        Ok(())
    }

    /// A copy of bytes that are repeated.
    fn reserve(&mut self, bytes: &[u8]) -> Result<Vec<u8>, EditError> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(EditError::OutputTooLarge { limit: self.limit })?;
        Ok(bytes.to_vec())
    }
}

/// Collects the spans of a scope; returns what is around them.
fn read_scope<'a>(raw: &'a [u8], index: usize, spans: &mut Vec<ScopeSpan<'a>>) -> Vec<u8> {
    let mut around = Vec::new();
    for (raw_field, number, wire) in raw_fields(raw) {
        match (number, wire) {
            (2, WireValue::Len(span)) => {
                let (trace_id, is_root) = read_ids(span);
                spans.push(ScopeSpan { trace_id, scope: index, raw: span, is_root });
            }
            _ => around.extend_from_slice(raw_field),
        }
    }
    around
}

/// The trace id of a span, and whether it has no parent.
fn read_ids(span: &[u8]) -> (TraceId, bool) {
    let (mut trace_id, mut is_root) = (TraceId::default(), true);
    for field in MessageFields::new(span) {
        match field {
            (1, WireValue::Len(id)) => trace_id = id.try_into().unwrap_or_default(),
            (4, WireValue::Len(id)) => is_root = id.iter().all(|b| *b == 0),
            _ => {}
        }
    }
    (trace_id, is_root)
}
