//! OTLP spans to `PostSpansRequest` bytes.
//!
//! One pass over the spans, one buffer for each request. Keys and strings are copied with their tags and lengths;
//! nothing is decoded into structs. Field presence and order are those of Jaeger's Go encoder, so the requests are
//! byte-identical. The mapping is that of the Go translator of collector 0.165.
//!
//! Schema (`jaeger.api_v2`): PostSpansRequest{1 batch}; Batch{1 spans, 2 process}; Process{1 service_name, 2 tags};
//! Span{1 trace_id, 2 span_id, 3 operation_name, 4 references, 5 flags, 6 start_time, 7 duration, 8 tags, 9 logs};
//! SpanRef{1 trace_id, 2 span_id, 3 ref_type}; KeyValue{1 key, 2 v_type, 3 v_str, 4 v_bool, 5 v_int64, 6 v_float64,
//! 7 v_binary}; Log{1 timestamp, 2 fields}.

mod span;
mod value;

use bytes::Bytes;
use otelcore_pdata::views::{AnyValue, KeyValue, Resource, ResourceSpans, ScopeSpans, View};
use otelcore_pdata::wire::{Fields, Wire, put_bytes, put_len, varint_len};
use otelcore_pdata::{Part, PieceLimit, Rope, Signal, Splitter, Work};
use otelcore_pipeline::{Bounds, Encode, Encoded, Message, Piece};
use value::{Names, put_tag};

/// Bytes reserved in front of a request for the header of PostSpansRequest.batch: a tag and a length.
const HEAD: usize = 12;
/// The longest request in bytes, even if the peer takes longer ones: the tags of a scope are written with each of its
/// spans, so that the requests for a body can be much longer than the body. A single span may be longer.
const LONGEST: usize = 32 << 20;

/// The largest number of consecutive cuts of one entry. If the bytes around the spans would be repeated more often than
/// this, a splitter makes larger pieces than requested; but a request must have exactly the spans that are kept for it.
const MOST_CUTS: u32 = 15;

/// Makes requests of `ResourceSpans`: one for each that is not empty, or several if one would be too long.
#[derive(Clone, Copy, Debug)]
pub struct Requests;

impl Encode for Requests {
    type Message = Bytes;

    fn encode(&self, _: Signal, piece: Piece, bounds: Bounds) -> Encoded<Bytes> {
        let max_items = piece.max_items();
        let limit = bounds.message.min(LONGEST);
        let mut made = Made { messages: Vec::new(), bytes: 0, bounds };
        let mut body = piece.body;
        let mut parts = body.take_parts().into_iter();
        for part in parts.by_ref() {
            let rest = made.part(&part, limit, max_items);
            if !rest.is_empty() {
                body.append(rest);
                break;
            }
        }
        parts.for_each(|part| body.push(part));
        let rest = (!body.is_empty()).then_some(Piece { body, ..Piece::default() });
        Encoded { messages: made.messages, rest }
    }
}

/// The requests that were made.
struct Made {
    messages: Vec<Message<Bytes>>,
    bytes: usize,
    bounds: Bounds,
}

impl Made {
    fn is_full(&self) -> bool {
        self.messages.len() >= self.bounds.messages || self.bytes >= self.bounds.bytes
    }

    /// Makes the requests for a part of a rope; returns the rest when the bounds are reached.
    fn part(&mut self, part: &Part, limit: usize, max_items: u32) -> Rope {
        let mut fields = Fields::new(&part.bytes);
        let mut items_left = part.items;
        loop {
            let start = part.bytes.len() - fields.rest().len();
            let Some((number, wire)) = fields.next() else { return Rope::default() };
            let (1, Wire::Len(raw)) = (number, wire) else { continue };
            let end = part.bytes.len() - fields.rest().len();
            if self.is_full() {
                return Rope::new(part.bytes.slice(start..), items_left);
            }
            let resource = ResourceSpans::parse(raw);
            let no_attributes = resource.resource.attributes().next().is_none();
            if no_attributes && resource.scope_spans().next().is_none() {
                continue;
            }
            let items = count(&resource);
            items_left = items_left.saturating_sub(items);
            let entry = Rope::new(part.bytes.slice(start..end), items);
            let mut rest = self.resource(&resource, raw.len(), entry, limit, max_items);
            if !rest.is_empty() {
                rest.push(Part { bytes: part.bytes.slice(end..), items: items_left });
                return rest;
            }
        }
    }

    /// Makes the requests for one resource; returns the rest when the bounds are reached.
    fn resource(
        &mut self,
        resource: &ResourceSpans<'_>,
        size: usize,
        entry: Rope,
        limit: usize,
        max_items: u32,
    ) -> Rope {
        let mut entry = Cut::Whole(entry);
        let mut process = Vec::new();
        put_process(&mut process, &resource.resource);
        // Jaeger's form is a little longer than OTLP's: kinds and statuses become tags.
        let mut out = Vec::with_capacity((HEAD + size + size / 4 + 256).min(limit.saturating_add(HEAD)));
        out.resize(HEAD, 0);
        let (mut items, mut cuts) = (0, 0);
        for scope in resource.scope_spans() {
            let prefix = span::scope_tags(&scope.scope);
            for (number, wire) in Fields::new(scope.raw) {
                let (2, Wire::Len(raw)) = (number, wire) else { continue };
                let before = out.len();
                span::put(&mut out, raw, &prefix);
                if items > 0 && (items >= max_items || out.len() + process.len() > limit) {
                    let last = out.split_off(before);
                    let body = entry.take(items);
                    self.push(out, &process, body);
                    cuts += 1;
                    if self.is_full() || cuts >= MOST_CUTS {
                        return entry.rest();
                    }
                    out = Vec::with_capacity(last.len() + HEAD);
                    out.resize(HEAD, 0);
                    out.extend_from_slice(&last);
                    items = 0;
                }
                items += 1;
            }
        }
        self.push(out, &process, entry.rest());
        Rope::default()
    }

    /// Puts the header in front of the spans of a request, and the process after them.
    fn push(&mut self, mut out: Vec<u8>, process: &[u8], body: Rope) {
        out.extend_from_slice(process);
        // The lengths are known now: the header of PostSpansRequest.batch is written directly before the batch.
        let batch = out.len() - HEAD;
        let start = HEAD - 1 - varint_len(batch as u64);
        let mut head = Vec::with_capacity(HEAD);
        put_len(&mut head, 1, batch);
        if let Some(room) = out.get_mut(start..HEAD) {
            room.copy_from_slice(&head);
        }
        let content = Bytes::from(out).slice(start..);
        self.bytes += content.len();
        self.messages.push(Message { bytes: content.len(), content, body });
    }
}

/// An entry, which is cut only if necessary.
enum Cut {
    Whole(Rope),
    Pieces(Box<Splitter>),
}

impl Cut {
    fn take(&mut self, items: u32) -> Rope {
        if let Self::Whole(entry) = self {
            let mut splitter = Splitter::new(Signal::Traces);
            splitter.push(std::mem::take(entry));
            *self = Self::Pieces(Box::new(splitter));
        }
        self.next(PieceLimit::items(items))
    }

    fn rest(mut self) -> Rope {
        self.next(PieceLimit::NONE)
    }

    fn next(&mut self, limit: PieceLimit) -> Rope {
        match self {
            Self::Whole(entry) => std::mem::take(entry),
            // With an unlimited budget every call returns a piece.
            Self::Pieces(splitter) => splitter.take(limit, &mut Work::unlimited()).unwrap_or_default(),
        }
    }
}

/// The spans of a resource.
fn count(resource: &ResourceSpans<'_>) -> u32 {
    let is_span = |(number, wire): &(u32, Wire<'_>)| matches!((number, wire), (2, Wire::Len(_)));
    let spans = |scope: ScopeSpans<'_>| Fields::new(scope.raw).filter(is_span).count();
    u32::try_from(resource.scope_spans().map(spans).sum::<usize>()).unwrap_or(u32::MAX)
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

/// Appends a length-delimited field whose content `fill` writes. Two bytes are reserved for the length; content below
/// 128 bytes or above 16 KiB is moved by a byte or two once its length is known.
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
        // The low seven bits, and the flag that more follow.
        *slot = (rest & 0x7f) as u8 | if rest > 0x7f { 0x80 } else { 0 };
        rest >>= 7;
    }
}

/// All requests for a body.
#[doc(hidden)]
#[must_use]
pub fn messages(body: &Rope) -> Vec<Message<Bytes>> {
    let bounds = Bounds { message: usize::MAX, messages: usize::MAX, bytes: usize::MAX };
    Requests.encode(Signal::Traces, Piece { body: body.clone(), ..Piece::default() }, bounds).messages
}

/// The requests for a body, for comparison with other encoders.
#[doc(hidden)]
#[must_use]
pub fn requests(body: &[u8]) -> Vec<Vec<u8>> {
    let mut rope = Rope::default();
    rope.push(Part { bytes: body.to_vec().into(), items: 0 });
    messages(&rope).into_iter().map(|message| message.content.to_vec()).collect()
}

#[cfg(test)]
mod tests;
