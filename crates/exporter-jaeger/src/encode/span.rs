//! One span.

use otelcore_pdata::views::{AnyValue, Event, Link, Scope, Span};
use otelcore_pdata::wire::{put_bytes, put_len, put_uint, varint_len};

use super::open;
use super::value::{Names, put_string, put_tag};

const TAGS: u32 = 8;
const FOLLOWS_FROM: u64 = 1;
const CHILD_OF: u64 = 0;

/// The tags that every span of a scope begins with, ready to be copied.
pub(super) fn scope_tags(scope: &Scope<'_>) -> Vec<u8> {
    let mut tags = Vec::new();
    if !scope.name.is_empty() {
        put_string(&mut tags, TAGS, b"otel.scope.name", scope.name);
    }
    if !scope.version.is_empty() {
        put_string(&mut tags, TAGS, b"otel.scope.version", scope.version);
    }
    tags
}

/// Appends Batch.spans: one span.
pub(super) fn put(out: &mut Vec<u8>, span: &Span<'_>, scope_tags: &[u8]) {
    open(out, 1, |out| {
        put_id::<16>(out, 1, span.trace_id);
        put_id::<8>(out, 2, span.span_id);
        if !span.name.is_empty() {
            put_bytes(out, 3, span.name);
        }
        put_references(out, span);
        // Only the W3C sampled bit has a counterpart.
        if span.flags & 1 == 1 {
            put_uint(out, 5, 1);
        }
        let (start, end) = (span.start_time_unix_nano.cast_signed(), span.end_time_unix_nano.cast_signed());
        put_time(out, 6, start);
        put_duration(out, 7, end.saturating_sub(start));
        out.extend_from_slice(scope_tags);
        put_tags(out, span);
        for event in span.events() {
            put_log(out, &event);
        }
    });
}

fn put_tags(out: &mut Vec<u8>, span: &Span<'_>) {
    for tag in span.attributes() {
        put_tag(out, TAGS, &tag, Names::HttpConventions);
    }
    let kind: &[u8] = match span.kind {
        1 => b"internal",
        2 => b"server",
        3 => b"client",
        4 => b"producer",
        5 => b"consumer",
        _ => b"",
    };
    if !kind.is_empty() {
        put_string(out, TAGS, b"span.kind", kind);
    }
    match span.status.code {
        1 => put_string(out, TAGS, b"otel.status_code", b"OK"),
        2 => {
            put_string(out, TAGS, b"otel.status_code", b"ERROR");
            // KeyValue{key: "error", v_type: BOOL, v_bool: true}
            put_bytes(out, TAGS, b"\x0a\x05error\x10\x01\x20\x01");
        }
        _ => {}
    }
    if !span.status.message.is_empty() {
        put_string(out, TAGS, b"otel.status_description", span.status.message);
    }
    if !span.trace_state.is_empty() {
        put_string(out, TAGS, b"w3c.tracestate", span.trace_state);
    }
}

/// Appends an id of `N` bytes; one that is not there is all zeros.
fn put_id<const N: usize>(out: &mut Vec<u8>, number: u32, id: &[u8]) {
    put_len(out, number, N);
    out.extend_from_slice(if id.len() == N { id } else { &[0; N] });
}

/// The parent first, then the links. A link to the parent is not added: it changes the parent's type.
fn put_references(out: &mut Vec<u8>, span: &Span<'_>) {
    let has_parent = span.parent_span_id.iter().any(|b| *b != 0);
    let is_parent =
        |link: &Link<'_>| has_parent && same_id(link.trace_id, span.trace_id) && link.span_id == span.parent_span_id;
    if has_parent {
        let kind = span.links().filter(&is_parent).last().map_or(CHILD_OF, |link| reference_type(&link));
        put_reference(out, span.trace_id, span.parent_span_id, kind);
    }
    for link in span.links().filter(|link| !is_parent(link)) {
        put_reference(out, link.trace_id, link.span_id, reference_type(&link));
    }
}

/// An empty id and one of zeros are the same.
fn same_id(a: &[u8], b: &[u8]) -> bool {
    let is_zero = |id: &[u8]| id.iter().all(|b| *b == 0);
    a == b || is_zero(a) && is_zero(b)
}

fn reference_type(link: &Link<'_>) -> u64 {
    let said = link.attributes().find(|kv| kv.key == b"opentracing.ref_type").map(|kv| kv.value);
    if matches!(said, Some(AnyValue::String(b"child_of"))) { CHILD_OF } else { FOLLOWS_FROM }
}

fn put_reference(out: &mut Vec<u8>, trace_id: &[u8], span_id: &[u8], kind: u64) {
    let len = 18 + 10 + if kind == CHILD_OF { 0 } else { 2 };
    put_len(out, 4, len);
    put_id::<16>(out, 1, trace_id);
    put_id::<8>(out, 2, span_id);
    if kind != CHILD_OF {
        put_uint(out, 3, kind);
    }
}

const SECOND: i64 = 1_000_000_000;

/// Appends a `Timestamp`: whole seconds rounded down, nanoseconds from 0.
fn put_time(out: &mut Vec<u8>, number: u32, nanos: i64) {
    put_pair(out, number, nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND));
}

/// Appends a `Duration`: seconds and nanoseconds of the same sign.
fn put_duration(out: &mut Vec<u8>, number: u32, nanos: i64) {
    put_pair(out, number, nanos / SECOND, nanos % SECOND);
}

/// Appends a message {1 seconds, 2 nanos}; zeros are left out of it, but never the message.
fn put_pair(out: &mut Vec<u8>, number: u32, seconds: i64, nanos: i64) {
    let (seconds, nanos) = (seconds.cast_unsigned(), nanos.cast_unsigned());
    let len = |v: u64| if v == 0 { 0 } else { 1 + varint_len(v) };
    put_len(out, number, len(seconds) + len(nanos));
    if seconds != 0 {
        put_uint(out, 1, seconds);
    }
    if nanos != 0 {
        put_uint(out, 2, nanos);
    }
}

/// An event: its name as the field `event`, unless it has an attribute of that name, then its attributes.
fn put_log(out: &mut Vec<u8>, event: &Event<'_>) {
    open(out, 9, |out| {
        put_time(out, 1, event.time_unix_nano.cast_signed());
        if !event.name.is_empty() && event.attributes().all(|kv| kv.key != b"event") {
            put_string(out, 2, b"event", event.name);
        }
        for field in event.attributes() {
            put_tag(out, 2, &field, Names::HttpConventions);
        }
    });
}
