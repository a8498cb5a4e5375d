//! OTLP spans to `PostSpansRequest` bytes.
//!
//! One pass over the spans, one buffer for each resource. Keys and strings are copied with their tags and lengths;
//! nothing is decoded into structs. Field presence and order are those of Jaeger's Go encoder, so requests are
//! byte-identical to its. The mapping is that of the Go translator of collector 0.165.
//!
//! Schema (`jaeger.api_v2`): PostSpansRequest{1 batch}; Batch{1 spans, 2 process}; Process{1 service_name, 2 tags};
//! Span{1 trace_id, 2 span_id, 3 operation_name, 4 references, 5 flags, 6 start_time, 7 duration, 8 tags, 9 logs};
//! SpanRef{1 trace_id, 2 span_id, 3 ref_type}; KeyValue{1 key, 2 v_type, 3 v_str, 4 v_bool, 5 v_int64, 6 v_float64,
//! 7 v_binary}; Log{1 timestamp, 2 fields}.

mod span;
mod value;

use bytes::Bytes;
use otelcore_pdata::views::{AnyValue, KeyValue, Resource, ResourceSpans, View};
use otelcore_pdata::wire::{Fields, Wire, put_bytes, put_len, varint_len};
use otelcore_pdata::{Part, Rope};
use value::{Names, put_tag};

/// One `PostSpans` call.
#[derive(Debug)]
pub struct Batch {
    /// The request message.
    pub request: Bytes,
    /// The OTLP entry that it was made from, to send it again.
    pub entry: Rope,
}

/// Room in front of a request for its two headers: two tags and two lengths.
const HEAD: usize = 12;

/// The batches of a body, one for each `ResourceSpans` that has anything to say.
#[must_use]
pub fn batches(body: &Rope) -> Vec<Batch> {
    let mut batches = Vec::new();
    for part in body.parts() {
        let mut fields = Fields::new(&part.bytes);
        loop {
            let start = part.bytes.len() - fields.rest().len();
            let Some((number, wire)) = fields.next() else { break };
            let (1, Wire::Len(raw)) = (number, wire) else { continue };
            let end = part.bytes.len() - fields.rest().len();
            let resource = ResourceSpans::parse(raw);
            let no_attributes = resource.resource.attributes().next().is_none();
            if no_attributes && resource.scope_spans().next().is_none() {
                continue;
            }
            let (request, items) = batch(&resource, raw.len());
            batches.push(Batch { request, entry: Rope::new(part.bytes.slice(start..end), items) });
        }
    }
    batches
}

/// The request for one resource, and the number of its spans.
fn batch(resource: &ResourceSpans<'_>, size: usize) -> (Bytes, u32) {
    // Jaeger's form is a little longer than OTLP's: kinds and statuses become tags.
    let mut out = Vec::with_capacity(HEAD + size + size / 4 + 256);
    out.resize(HEAD, 0);
    let mut items = 0;
    for scope in resource.scope_spans() {
        let prefix = span::scope_tags(&scope.scope);
        for (number, wire) in Fields::new(scope.raw) {
            if let (2, Wire::Len(raw)) = (number, wire) {
                items += 1;
                span::put(&mut out, raw, &prefix);
            }
        }
    }
    put_process(&mut out, &resource.resource);
    // Now that the lengths are known: PostSpansRequest.batch and the batch's own bytes behind it.
    let batch = out.len() - HEAD;
    let start = HEAD - 1 - varint_len(batch as u64);
    let mut head = Vec::with_capacity(HEAD);
    put_len(&mut head, 1, batch);
    if let Some(room) = out.get_mut(start..HEAD) {
        room.copy_from_slice(&head);
    }
    (Bytes::from(out).slice(start..), items)
}

/// Batch.process: the service's name and the resource's other attributes.
fn put_process(out: &mut Vec<u8>, resource: &Resource<'_>) {
    open(out, 2, |out| {
        let mut attributes = resource.attributes().peekable();
        if attributes.peek().is_none() {
            put_bytes(out, 1, b"OTLPResourceNoServiceName");
            return;
        }
        let is_name = |kv: &KeyValue<'_>| kv.key == b"service.name";
        if let Some(AnyValue::String(name)) = resource.attributes().find(is_name).map(|kv| kv.value)
            && !name.is_empty()
        {
            put_bytes(out, 1, name);
        }
        for tag in attributes.filter(|kv| !is_name(kv)) {
            put_tag(out, 2, &tag, Names::AsTheyAre);
        }
    });
}

/// Appends a length-delimited field whose content `fill` writes. Content below 128 bytes and above 16 KiB is moved by a
/// byte or two once its length is known; most is in between.
fn open(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    const GUESS: usize = 2;
    otelcore_pdata::wire::put_varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    out.extend_from_slice(&[0; GUESS]);
    fill(out);
    let len = out.len() - start - GUESS;
    let width = varint_len(len as u64);
    if width < GUESS {
        out.remove(start);
    } else {
        for _ in GUESS..width {
            out.insert(start, 0);
        }
    }
    let mut rest = len as u64;
    for slot in out.iter_mut().skip(start).take(width) {
        // The low seven bits, and whether more follow.
        *slot = (rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 };
        rest >>= 7;
    }
}

/// The requests for a body, for comparison with other encoders.
#[doc(hidden)]
#[must_use]
pub fn requests(body: &[u8]) -> Vec<Vec<u8>> {
    let mut rope = Rope::default();
    rope.push(Part { bytes: body.to_vec().into(), items: 0 });
    batches(&rope).into_iter().map(|b| b.request.to_vec()).collect()
}

#[cfg(test)]
mod tests;
