//! One span.

use otelcore_pdata::views::{AnyValue, Event, Link, Scope, Span, Status, View};
use otelcore_pdata::wire_format::{
    MessageFields, WireValue, put_bytes_field, put_tag_and_len, put_varint_field, varint_len,
};
use smallvec::SmallVec;

use crate::put_len_delimited;
use crate::value::{HttpAttributeNames, put_attribute, put_string, put_tag};

const TAGS_FIELD: u32 = 8;
const FOLLOWS_FROM: u64 = 1;
const CHILD_OF: u64 = 0;

/// The encoded tags that every span of a scope begins with.
#[must_use]
pub fn scope_tags(scope: &Scope<'_>) -> Vec<u8> {
    let mut tags = Vec::new();
    if !scope.name.is_empty() {
        put_string(&mut tags, TAGS_FIELD, b"otel.scope.name", scope.name);
    }
    if !scope.version.is_empty() {
        put_string(&mut tags, TAGS_FIELD, b"otel.scope.version", scope.version);
    }
    tags
}

/// A span's repeated fields, collected in the same pass as its scalars.
#[derive(Default)]
struct RepeatedFields<'a> {
    attributes: SmallVec<[&'a [u8]; 32]>,
    events: SmallVec<[&'a [u8]; 8]>,
    links: SmallVec<[&'a [u8]; 8]>,
}

/// Reads a span in one pass. With the view alone, attributes, events and links would need further passes.
fn read_span<'a>(raw: &'a [u8]) -> (Span<'a>, RepeatedFields<'a>) {
    let (mut span, mut repeated) = (Span { raw, ..Span::default() }, RepeatedFields::default());
    for (number, wire) in MessageFields::new(raw) {
        match (number, wire) {
            (9, WireValue::Len(v)) => repeated.attributes.push(v),
            (1, WireValue::Len(v)) => span.trace_id = v,
            (2, WireValue::Len(v)) => span.span_id = v,
            (3, WireValue::Len(v)) => span.trace_state = v,
            (4, WireValue::Len(v)) => span.parent_span_id = v,
            (5, WireValue::Len(v)) => span.name = v,
            // The low 32 bits, as for every enum.
            (6, WireValue::Varint(v)) => span.kind = v as i32,
            (7, WireValue::Fixed64(v)) => span.start_time_unix_nano = v,
            (8, WireValue::Fixed64(v)) => span.end_time_unix_nano = v,
            (11, WireValue::Len(v)) => repeated.events.push(v),
            (13, WireValue::Len(v)) => repeated.links.push(v),
            (15, WireValue::Len(v)) => span.status = Status::parse(v),
            (16, WireValue::Fixed32(v)) => span.flags = v,
            _ => {}
        }
    }
    (span, repeated)
}

/// A span, given by its bytes, as field `number` of a message.
pub fn put_span(out: &mut Vec<u8>, number: u32, raw: &[u8], scope_tags: &[u8]) {
    let (span, repeated) = read_span(raw);
    put_len_delimited(out, number, |out| {
        put_id::<16>(out, 1, span.trace_id);
        put_id::<8>(out, 2, span.span_id);
        if !span.name.is_empty() {
            put_bytes_field(out, 3, span.name);
        }
        put_references(out, &span, &repeated.links);
        // Only the W3C sampled flag has an equivalent in Jaeger.
        if span.flags & 1 == 1 {
            put_varint_field(out, 5, 1);
        }
        let (start, end) = (span.start_time_unix_nano.cast_signed(), span.end_time_unix_nano.cast_signed());
        put_timestamp(out, 6, start);
        put_duration(out, 7, end.saturating_sub(start));
        out.extend_from_slice(scope_tags);
        for tag in &repeated.attributes {
            put_attribute(out, TAGS_FIELD, tag, HttpAttributeNames::Current);
        }
        put_derived_tags(out, &span);
        for event in &repeated.events {
            put_log(out, &Event::parse(event));
        }
    });
}

/// The tags that are made from a span's other fields.
fn put_derived_tags(out: &mut Vec<u8>, span: &Span<'_>) {
    // KeyValue{key: "span.kind", v_str}, as a whole.
    let kind: &[u8] = match span.kind {
        1 => b"\x0a\x09span.kind\x1a\x08internal",
        2 => b"\x0a\x09span.kind\x1a\x06server",
        3 => b"\x0a\x09span.kind\x1a\x06client",
        4 => b"\x0a\x09span.kind\x1a\x08producer",
        5 => b"\x0a\x09span.kind\x1a\x08consumer",
        _ => b"",
    };
    if !kind.is_empty() {
        put_bytes_field(out, TAGS_FIELD, kind);
    }
    match span.status.code {
        1 => put_string(out, TAGS_FIELD, b"otel.status_code", b"OK"),
        2 => {
            put_string(out, TAGS_FIELD, b"otel.status_code", b"ERROR");
            // KeyValue{key: "error", v_type: BOOL, v_bool: true}
            put_bytes_field(out, TAGS_FIELD, b"\x0a\x05error\x10\x01\x20\x01");
        }
        _ => {}
    }
    if !span.status.message.is_empty() {
        put_string(out, TAGS_FIELD, b"otel.status_description", span.status.message);
    }
    if !span.trace_state.is_empty() {
        put_string(out, TAGS_FIELD, b"w3c.tracestate", span.trace_state);
    }
}

/// Appends an id of `N` bytes; zeros if it has another length.
fn put_id<const N: usize>(out: &mut Vec<u8>, number: u32, id: &[u8]) {
    put_tag_and_len(out, number, N);
    out.extend_from_slice(if id.len() == N { id } else { &[0; N] });
}

/// The parent first, then the links. A link to the parent is not added: it changes the parent's type.
fn put_references(out: &mut Vec<u8>, span: &Span<'_>, links: &[&[u8]]) {
    let has_parent = span.parent_span_id.iter().any(|b| *b != 0);
    let is_parent =
        |link: &Link<'_>| has_parent && same_id(link.trace_id, span.trace_id) && link.span_id == span.parent_span_id;
    let links = || links.iter().map(|raw| Link::parse(raw));
    if has_parent {
        let ref_type = links().rev().find(&is_parent).map_or(CHILD_OF, |link| reference_type(&link));
        put_reference(out, span.trace_id, span.parent_span_id, ref_type);
    }
    for link in links().filter(|link| !is_parent(link)) {
        put_reference(out, link.trace_id, link.span_id, reference_type(&link));
    }
}

/// An empty id equals one of zeros.
fn same_id(a: &[u8], b: &[u8]) -> bool {
    let is_zero = |id: &[u8]| id.iter().all(|b| *b == 0);
    a == b || is_zero(a) && is_zero(b)
}

fn reference_type(link: &Link<'_>) -> u64 {
    let ref_type = link.attributes().find(|kv| kv.key == b"opentracing.ref_type").map(|kv| kv.value);
    if matches!(ref_type, Some(AnyValue::String(b"child_of"))) { CHILD_OF } else { FOLLOWS_FROM }
}

fn put_reference(out: &mut Vec<u8>, trace_id: &[u8], span_id: &[u8], ref_type: u64) {
    let len = 18 + 10 + if ref_type == CHILD_OF { 0 } else { 2 };
    put_tag_and_len(out, 4, len);
    put_id::<16>(out, 1, trace_id);
    put_id::<8>(out, 2, span_id);
    if ref_type != CHILD_OF {
        put_varint_field(out, 3, ref_type);
    }
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Appends a `Timestamp`: whole seconds rounded down, nanoseconds from 0.
fn put_timestamp(out: &mut Vec<u8>, number: u32, nanos: i64) {
    put_seconds_and_nanos(out, number, nanos.div_euclid(NANOS_PER_SECOND), nanos.rem_euclid(NANOS_PER_SECOND));
}

/// Appends a `Duration`: seconds and nanoseconds of the same sign.
fn put_duration(out: &mut Vec<u8>, number: u32, nanos: i64) {
    put_seconds_and_nanos(out, number, nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
}

/// Appends a message {1 seconds, 2 nanos}; zero fields are left out, but the message itself is always written.
fn put_seconds_and_nanos(out: &mut Vec<u8>, number: u32, seconds: i64, nanos: i64) {
    let (seconds, nanos) = (seconds.cast_unsigned(), nanos.cast_unsigned());
    let len = |v: u64| if v == 0 { 0 } else { 1 + varint_len(v) };
    put_tag_and_len(out, number, len(seconds) + len(nanos));
    if seconds != 0 {
        put_varint_field(out, 1, seconds);
    }
    if nanos != 0 {
        put_varint_field(out, 2, nanos);
    }
}

/// An event: its name as the field `event`, unless it has an attribute of that name, then its attributes.
fn put_log(out: &mut Vec<u8>, event: &Event<'_>) {
    put_len_delimited(out, 9, |out| {
        put_timestamp(out, 1, event.time_unix_nano.cast_signed());
        if !event.name.is_empty() && event.attributes().all(|kv| kv.key != b"event") {
            put_string(out, 2, b"event", event.name);
        }
        for field in event.attributes() {
            put_tag(out, 2, &field, HttpAttributeNames::Current);
        }
    });
}
