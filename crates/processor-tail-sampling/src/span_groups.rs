//! The spans of a payload by trace: each group as `ResourceSpans` entries of its own.

use otelcore_pdata::Rope;
use otelcore_pdata::edit::OutputTooLarge;
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, put_tag_and_len};

use crate::traces::TraceId;

/// The groups of a payload may together be so many times longer, and so many bytes in addition, because each of them
/// repeats its resource and scopes.
const MAX_GROWTH: usize = 16;
const MAX_ADDED: usize = 16 << 20;

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

/// A group for each trace of each resource of a payload.
///
/// # Errors
/// They are too long.
pub(crate) fn groups_of(body: &Rope) -> Result<Vec<SpanGroup>, OutputTooLarge> {
    let limit = body.len().saturating_mul(MAX_GROWTH).saturating_add(MAX_ADDED);
    let (mut groups, mut left) = (Vec::new(), limit);
    for part in body.parts() {
        for field in MessageFields::new(&part.bytes) {
            if let (1, WireValue::Len(raw)) = field {
                group_entry(raw, &mut left, &mut groups).ok_or(OutputTooLarge { limit })?;
            }
        }
    }
    Ok(groups)
}

/// Appends the groups of a resource. `None` if they have more bytes than are left.
fn group_entry(entry: &[u8], left: &mut usize, groups: &mut Vec<SpanGroup>) -> Option<()> {
    // What is around the spans, with tags and lengths: of the resource once, of each scope once.
    let mut around = Vec::new();
    let mut scopes: Vec<Vec<u8>> = Vec::new();
    let mut spans: Vec<ScopeSpan<'_>> = Vec::new();
    let mut fields = MessageFields::new(entry);
    loop {
        let before = fields.rest();
        let Some((number, wire)) = fields.next() else { break };
        let raw_field = before.get(..before.len() - fields.rest().len()).unwrap_or_default();
        match (number, wire) {
            (2, WireValue::Len(raw)) => {
                scopes.push(Vec::new());
                read_scope(raw, scopes.len() - 1, &mut scopes, &mut spans);
            }
            _ => around.extend_from_slice(raw_field),
        }
    }
    // A stable sort: spans of a trace keep their order.
    spans.sort_by_key(|span| span.trace_id);
    for group in spans.chunk_by(|a, b| a.trace_id == b.trace_id) {
        let Some(first) = group.first() else { continue };
        *left = left.checked_sub(around.len())?;
        let mut content = around.clone();
        for scope_spans in group.chunk_by(|a, b| a.scope == b.scope) {
            let around_scope = scope_spans.first().and_then(|span| scopes.get(span.scope));
            let around_scope = around_scope.map_or(&[][..], Vec::as_slice);
            let spans_len = scope_spans.iter().map(|span| span.raw.len()).sum::<usize>();
            *left = left.checked_sub(around_scope.len() + spans_len)?;
            let mut scope = around_scope.to_vec();
            scope_spans.iter().for_each(|span| put_bytes_field(&mut scope, 2, span.raw));
            put_bytes_field(&mut content, 2, &scope);
        }
        let mut framed = Vec::with_capacity(content.len() + 8);
        put_tag_and_len(&mut framed, 1, content.len());
        framed.extend_from_slice(&content);
        groups.push(SpanGroup {
            trace_id: first.trace_id,
            entry: framed,
            spans: u32::try_from(group.len()).unwrap_or(u32::MAX),
            has_root: group.iter().any(|span| span.is_root),
        });
    }
    Some(())
}

fn read_scope<'a>(raw: &'a [u8], index: usize, scopes: &mut [Vec<u8>], spans: &mut Vec<ScopeSpan<'a>>) {
    let mut fields = MessageFields::new(raw);
    loop {
        let before = fields.rest();
        let Some((number, wire)) = fields.next() else { return };
        match (number, wire) {
            (2, WireValue::Len(span)) => {
                let (trace_id, is_root) = read_ids(span);
                spans.push(ScopeSpan { trace_id, scope: index, raw: span, is_root });
            }
            _ => {
                let raw_field = before.get(..before.len() - fields.rest().len()).unwrap_or_default();
                if let Some(scope) = scopes.get_mut(index) {
                    scope.extend_from_slice(raw_field);
                }
            }
        }
    }
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
