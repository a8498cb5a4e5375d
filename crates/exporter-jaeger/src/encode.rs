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

use bytes::Bytes;
use otelcore_jaeger_translation::{put_process, put_span, scope_tags};
use otelcore_net::BodyParts;
use otelcore_pdata::views::{ResourceSpans, ScopeSpans, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_tag_and_len, varint_len};
use otelcore_pdata::{PieceLimit, Rope, RopePart, Signal, Splitter, StepBudget};
use otelcore_pipeline::{Encode, EncodeLimits, EncodedMessage, EncodedPiece, Piece};
use smallvec::smallvec;

/// The fields of a batch.
const SPANS_FIELD: u32 = 1;
const PROCESS_FIELD: u32 = 2;
/// Bytes reserved in front of a request for the header of PostSpansRequest.batch: a tag and a length.
const HEADER_ROOM: usize = 12;
/// The longest request in bytes, even if the peer accepts longer ones: the tags of a scope are written with each of its
/// spans, so that the requests for a body can be much longer than the body. A single span may be longer.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// The largest number of consecutive cuts of one entry. If the bytes around the spans would be repeated more often than
/// this, a splitter makes larger pieces than requested; but a request must have exactly the spans that are kept for it.
const MAX_CUTS: u32 = 15;

/// Makes requests of `ResourceSpans`: one for each that is not empty, or several if one would be too long.
#[derive(Clone, Copy, Debug)]
pub struct RequestEncoder;

impl Encode for RequestEncoder {
    type Message = BodyParts;

    fn encode(&self, _: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<BodyParts> {
        let max_items = piece.max_items();
        let limit = limits.message_bytes.min(MAX_REQUEST_BYTES);
        let mut builder = RequestBuilder { messages: Vec::new(), bytes: 0, limits };
        let mut body = piece.body;
        let mut parts = body.take_parts().into_iter();
        for part in parts.by_ref() {
            let rest = builder.add_part(&part, limit, max_items);
            if !rest.is_empty() {
                body.append(rest);
                break;
            }
        }
        parts.for_each(|part| body.push(part));
        let rest = (!body.is_empty()).then_some(Piece { body, ..Piece::default() });
        EncodedPiece { messages: builder.messages, rest }
    }
}

/// The requests that were made.
struct RequestBuilder {
    messages: Vec<EncodedMessage<BodyParts>>,
    bytes: usize,
    limits: EncodeLimits,
}

impl RequestBuilder {
    fn is_full(&self) -> bool {
        self.messages.len() >= self.limits.max_messages || self.bytes >= self.limits.total_bytes
    }

    /// Makes the requests for a part of a rope; returns the rest when the limits are reached.
    fn add_part(&mut self, part: &RopePart, limit: usize, max_items: u32) -> Rope {
        let mut fields = MessageFields::new(&part.bytes);
        let mut items_left = part.items;
        loop {
            let start = part.bytes.len() - fields.rest().len();
            let Some((number, wire)) = fields.next() else { return Rope::default() };
            let (1, WireValue::Len(raw)) = (number, wire) else { continue };
            let end = part.bytes.len() - fields.rest().len();
            if self.is_full() {
                return Rope::new(part.bytes.slice(start..), items_left);
            }
            let resource = ResourceSpans::parse(raw);
            let no_attributes = resource.resource.attributes().next().is_none();
            if no_attributes && resource.scope_spans().next().is_none() {
                continue;
            }
            let items = count_spans(&resource);
            items_left = items_left.saturating_sub(items);
            let entry = Rope::new(part.bytes.slice(start..end), items);
            let mut rest = self.add_resource(&resource, raw.len(), entry, limit, max_items);
            if !rest.is_empty() {
                rest.push(RopePart { bytes: part.bytes.slice(end..), items: items_left });
                return rest;
            }
        }
    }

    /// Makes the requests for one resource; returns the rest when the limits are reached.
    fn add_resource(
        &mut self,
        resource: &ResourceSpans<'_>,
        size: usize,
        entry: Rope,
        limit: usize,
        max_items: u32,
    ) -> Rope {
        let mut entry = SplittableEntry::Whole(entry);
        let mut process = Vec::new();
        put_process(&mut process, PROCESS_FIELD, &resource.resource);
        // Jaeger's form is a little longer than OTLP's: kinds and statuses become tags.
        let mut out = Vec::with_capacity((HEADER_ROOM + size + size / 4 + 256).min(limit.saturating_add(HEADER_ROOM)));
        out.resize(HEADER_ROOM, 0);
        let (mut items, mut cuts) = (0, 0);
        for scope in resource.scope_spans() {
            let scope_tags = scope_tags(&scope.scope);
            for (number, wire) in MessageFields::new(scope.raw) {
                let (2, WireValue::Len(raw)) = (number, wire) else { continue };
                let span_start = out.len();
                put_span(&mut out, SPANS_FIELD, raw, &scope_tags);
                if items > 0 && (items >= max_items || out.len() + process.len() > limit) {
                    let last_span = out.split_off(span_start);
                    let body = entry.take(items);
                    self.finish_request(out, &process, body);
                    cuts += 1;
                    if self.is_full() || cuts >= MAX_CUTS {
                        return entry.take_rest();
                    }
                    out = Vec::with_capacity(last_span.len() + HEADER_ROOM);
                    out.resize(HEADER_ROOM, 0);
                    out.extend_from_slice(&last_span);
                    items = 0;
                }
                items += 1;
            }
        }
        self.finish_request(out, &process, entry.take_rest());
        Rope::default()
    }

    /// Puts the header in front of the spans of a request, and the process after them.
    fn finish_request(&mut self, mut out: Vec<u8>, process: &[u8], body: Rope) {
        out.extend_from_slice(process);
        // The lengths are known now: the header of PostSpansRequest.batch is written directly before the batch.
        let batch_len = out.len() - HEADER_ROOM;
        let start = HEADER_ROOM - 1 - varint_len(batch_len as u64);
        let mut header = Vec::with_capacity(HEADER_ROOM);
        put_tag_and_len(&mut header, 1, batch_len);
        if let Some(room) = out.get_mut(start..HEADER_ROOM) {
            room.copy_from_slice(&header);
        }
        let content = Bytes::from(out).slice(start..);
        self.bytes += content.len();
        self.messages.push(EncodedMessage { bytes: content.len(), content: smallvec![content], body, left_out: None });
    }
}

/// An entry, which is cut only if necessary.
enum SplittableEntry {
    Whole(Rope),
    Pieces(Box<Splitter>),
}

impl SplittableEntry {
    fn take(&mut self, items: u32) -> Rope {
        if let Self::Whole(entry) = self {
            let mut splitter = Splitter::new(Signal::Traces);
            splitter.push(std::mem::take(entry));
            *self = Self::Pieces(Box::new(splitter));
        }
        self.next(PieceLimit::items(items))
    }

    fn take_rest(mut self) -> Rope {
        self.next(PieceLimit::NONE)
    }

    fn next(&mut self, limit: PieceLimit) -> Rope {
        match self {
            Self::Whole(entry) => std::mem::take(entry),
            // With an unlimited budget every call returns a piece.
            Self::Pieces(splitter) => splitter.next_piece(limit, &mut StepBudget::unlimited()).unwrap_or_default(),
        }
    }
}

/// The spans of a resource.
fn count_spans(resource: &ResourceSpans<'_>) -> u32 {
    let is_span = |(number, wire): &(u32, WireValue<'_>)| matches!((number, wire), (2, WireValue::Len(_)));
    let spans = |scope: ScopeSpans<'_>| MessageFields::new(scope.raw).filter(is_span).count();
    u32::try_from(resource.scope_spans().map(spans).sum::<usize>()).unwrap_or(u32::MAX)
}

/// All requests for a body.
#[doc(hidden)]
#[must_use]
pub fn encode_messages(body: &Rope) -> Vec<EncodedMessage<BodyParts>> {
    let limits = EncodeLimits { message_bytes: usize::MAX, max_messages: usize::MAX, total_bytes: usize::MAX };
    RequestEncoder.encode(Signal::Traces, Piece { body: body.clone(), ..Piece::default() }, limits).messages
}

/// The requests for a body, for comparison with other encoders.
#[doc(hidden)]
#[must_use]
pub fn encode_requests(body: &[u8]) -> Vec<Vec<u8>> {
    let mut rope = Rope::default();
    rope.push(RopePart { bytes: body.to_vec().into(), items: 0 });
    encode_messages(&rope).into_iter().map(|message| message.content.concat()).collect()
}

#[cfg(test)]
mod tests;
