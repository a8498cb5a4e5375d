//! Sends payloads for an exporter whose protocol has messages: one attempt becomes one or more calls.
//!
//! ```text
//!  send -> piece -> (encode, on a helper thread if it is long) -> messages -> calls -> results -> outcome
//!            ^                                                                   |
//!            +---- refused for its size: cut; refused for its text: repaired ----+
//! ```
//! The number of calls in flight for a payload, and the bytes of their messages, are limited; the rest is encoded as
//! calls end. In one turn of the loop no more than [`MAX_WORK_PER_TURN`] is encoded. A message that the peer refuses
//! for its size is not sent again as it is: it is cut, the limit is stored, and only a single item that is still too
//! large is given up. A message that is refused permanently and has text that is not UTF-8 is sent once more with the
//! text made valid.
//!
//! The exporter makes messages ([`Encode`]), sends them as calls, and translates the peer's responses into
//! [`CallResult`]s. This module is independent of the protocol.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::{Rope, Signal, repair_utf8};
use slab::Slab;

use crate::pieces::{Piece, Pieces};
use crate::size_limit::SizeLimit;
use crate::{
    AttemptId, Counter, Cx, Error, JobResult, LogField, Logger, Metadata, MetricsLevel, MonotonicTime, Outcomes,
    Payload, PeriodicCount, Telemetry,
};

/// Work of one turn: bytes of OTLP whose encoding takes about 5 ms. A longer piece is encoded on a helper thread.
const MAX_WORK_PER_TURN: usize = 1 << 20;
/// Calls of one payload in flight at once.
const MAX_CALLS_IN_FLIGHT: usize = 100;
/// Bytes of one payload's messages in flight at once. A single message may be longer.
const MAX_BYTES_IN_FLIGHT: usize = 8 << 20;
/// The first of the local keys that belong to deliveries; those of a channel are far below.
const FIRST_KEY: u64 = 1 << 62;
/// Messages up to this size are checked for invalid text at once, longer ones on a helper thread.
const MAX_INLINE_REPAIR: usize = 16 << 10;
/// The shortest time between two warnings of the same kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The limits of one call of [`Encode::encode`].
#[derive(Clone, Copy, Debug)]
pub struct EncodeLimits {
    /// Bytes of a message, as the peer counts them. A single item may be longer.
    pub message_bytes: usize,
    /// Number of messages.
    pub max_messages: usize,
    /// Bytes of all messages: once they are reached, no more messages are begun.
    pub total_bytes: usize,
}

/// Makes messages from OTLP.
pub trait Encode: Clone + Send + 'static {
    /// The message of one call.
    type Message: Send + 'static;

    /// Makes messages from a piece, or from its beginning.
    fn encode(&self, signal: Signal, piece: Piece, limits: EncodeLimits) -> EncodedPiece<Self::Message>;

    /// How much work that is: about the bytes of OTLP that are read, copied or compressed.
    fn estimate_work(&self, piece: &Piece, limit: usize) -> usize {
        let _ = limit;
        // Each part and item has a fixed cost in addition to its bytes.
        let items = piece.body.items() as usize + piece.body.parts().len();
        piece.body.len().saturating_add(items.saturating_mul(64))
    }
}

/// The messages made from a piece.
#[derive(Debug)]
pub struct EncodedPiece<M> {
    /// Messages to send.
    pub messages: Vec<EncodedMessage<M>>,
    /// The part of the piece that the limits left no room for. Items that are in neither have nothing to be sent.
    pub rest: Option<Piece>,
}

/// A message to send.
#[derive(Debug)]
pub struct EncodedMessage<M> {
    /// The message to send.
    pub content: M,
    /// Its size as the peer counts it.
    pub bytes: usize,
    /// The OTLP that it was made from, for another attempt.
    pub body: Rope,
    /// The items of `body` that the message does not contain, because the peer's format can't express them.
    pub left_out: Option<LeftOutItems>,
}

/// Items that can't be expressed in the format of the peer. They count as refused when the others are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOutItems {
    /// How many.
    pub count: u32,
    /// Why the first of them can't be sent.
    pub reason: &'static str,
}

/// A call to make.
#[derive(Debug)]
pub struct NextCall<M> {
    /// Identifies the call for [`Delivery::handle_result`]. No other call has the same, also after this one has ended.
    pub token: u64,
    /// The signal of its items.
    pub signal: Signal,
    /// The message to send.
    pub content: M,
    /// The deadline of the call.
    pub deadline: MonotonicTime,
    /// The metadata of the payload.
    pub metadata: Option<Arc<Metadata>>,
}

/// The meaning of the peer's response to a call.
#[derive(Clone, Debug)]
pub enum CallResult {
    /// The peer accepted the data, except for some items that it reports as dropped.
    Delivered {
        /// Items that it has dropped.
        rejected: u32,
    },
    /// The message is longer than the peer accepts.
    TooLarge {
        /// The limit that the peer names.
        limit: Option<u64>,
        /// The peer's error.
        why: Error,
    },
    /// The same data may be accepted later.
    Retry {
        /// The shortest pause before the next attempt.
        after: Option<Duration>,
        /// Why it was not accepted now.
        why: Error,
    },
    /// The message will never be accepted as it is.
    Refused {
        /// Why.
        why: Error,
        /// The reason may be text that is not UTF-8.
        may_be_invalid_text: bool,
    },
}

struct DeliveryAttempt<M> {
    id: AttemptId,
    signal: Signal,
    metadata: Option<Arc<Metadata>>,
    /// How long a call may take.
    timeout: Option<Duration>,
    pieces: Pieces,
    /// A piece that is being encoded on a helper thread.
    encoding: Option<(JobResult<EncodedPiece<M>>, PieceInfo)>,
    calls_in_flight: usize,
    bytes_in_flight: usize,
}

/// The properties of a piece that is being encoded.
#[derive(Clone, Copy, Debug)]
struct PieceInfo {
    items: u32,
    repaired: bool,
    too_large: bool,
}

/// A message in flight.
#[derive(Debug)]
struct CallInFlight {
    /// Of its token: tells the call from those that had its slot before.
    number: u32,
    attempt: usize,
    body: Rope,
    bytes: usize,
    repaired: bool,
    /// It comes from a piece that can't be cut.
    is_uncuttable: bool,
    left_out: Option<LeftOutItems>,
}

/// A refused message that a helper thread checks for text that is not UTF-8.
#[derive(Debug)]
struct TextRepair {
    attempt: usize,
    items: u32,
    why: Error,
    result: JobResult<Option<(Rope, u64)>>,
}

/// The attempts of one exporter that are in progress.
pub struct Delivery<E: Encode> {
    encoder: E,
    attempts: Slab<DeliveryAttempt<E::Message>>,
    calls: Slab<CallInFlight>,
    next_call: u32,
    repairs: Slab<TextRepair>,
    outgoing: VecDeque<(u64, E::Message)>,
    limits: [SizeLimit; 3],
    /// Attempts that wait for the next turn.
    postponed: BTreeSet<usize>,
    work_left: usize,
    has_requested_ready: bool,
    log: Logger,
    telemetry: Telemetry,
    exporter: String,
    repaired_strings: Option<Counter>,
    /// For the warnings of repairs and of items that were left out.
    repaired_count: PeriodicCount,
    left_out_count: PeriodicCount,
}

impl<E: Encode> std::fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (attempts, calls) = (self.attempts.len(), self.calls.len());
        f.debug_struct("Delivery").field("jobs", &attempts).field("calls", &calls).finish_non_exhaustive()
    }
}

impl<E: Encode> Delivery<E> {
    /// A delivery without attempts, for the exporter called `exporter`.
    #[must_use]
    pub fn new(encoder: E, exporter: &str, telemetry: &Telemetry, log: Logger) -> Self {
        Self {
            encoder,
            attempts: Slab::new(),
            calls: Slab::new(),
            next_call: 0,
            repairs: Slab::new(),
            outgoing: VecDeque::new(),
            limits: std::array::from_fn(|_| SizeLimit::default()),
            postponed: BTreeSet::new(),
            work_left: MAX_WORK_PER_TURN,
            has_requested_ready: false,
            log,
            telemetry: telemetry.clone(),
            exporter: exporter.to_owned(),
            repaired_strings: None,
            repaired_count: PeriodicCount::new(WARNING_INTERVAL),
            left_out_count: PeriodicCount::new(WARNING_INTERVAL),
        }
    }

    /// Begins an attempt. The time until `deadline` is the timeout of each of its calls.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        id: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        let timeout = (deadline != MonotonicTime::NEVER).then(|| deadline.since(cx.now()));
        let pieces = Pieces::new(payload.body.clone());
        let attempt = DeliveryAttempt {
            id,
            signal: payload.signal,
            metadata: payload.metadata.clone(),
            timeout,
            pieces,
            encoding: None,
            calls_in_flight: 0,
            bytes_in_flight: 0,
        };
        let index = self.attempts.insert(attempt);
        self.encode_next(cx, index, outcomes);
    }

    /// The next call to make.
    pub fn poll_call(&mut self, now: MonotonicTime) -> Option<NextCall<E::Message>> {
        let (token, content) = self.outgoing.pop_front()?;
        let attempt = self.attempts.get(self.call(token)?.attempt)?;
        let deadline = attempt.timeout.map_or(MonotonicTime::NEVER, |timeout| now + timeout);
        Some(NextCall { token, signal: attempt.signal, content, deadline, metadata: attempt.metadata.clone() })
    }

    /// The call in flight with this token.
    fn call(&self, token: u64) -> Option<&CallInFlight> {
        self.calls.get(slot_of_token(token)).filter(|call| u64::from(call.number) == token >> 32)
    }

    /// The signal and the number of items of a call in flight.
    #[must_use]
    pub fn call_info(&self, token: u64) -> Option<(Signal, u32)> {
        let call = self.call(token)?;
        Some((self.attempts.get(call.attempt)?.signal, call.body.items()))
    }

    /// Handles the result of a call.
    pub fn handle_result(&mut self, cx: &mut Cx<'_>, token: u64, result: CallResult, outcomes: &mut Outcomes) {
        if self.call(token).is_none() {
            return;
        }
        let Some(call) = self.calls.try_remove(slot_of_token(token)) else { return };
        let Some(attempt) = self.attempts.get_mut(call.attempt) else { return };
        attempt.calls_in_flight -= 1;
        attempt.bytes_in_flight -= call.bytes;
        let items = call.body.items();
        match result {
            CallResult::Delivered { rejected } => {
                let left_out = call.left_out.map_or(0, |left_out| left_out.count);
                attempt.pieces.record_delivered(items, rejected.saturating_add(left_out).min(items));
                if let Some(left_out) = call.left_out {
                    self.warn_of_left_out(cx.now(), left_out);
                }
            }
            CallResult::Retry { after, why } => attempt.pieces.record_failed(call.body, after, why),
            CallResult::TooLarge { limit, why } => {
                self.limits[attempt.signal as usize].record_refusal(cx.now(), call.bytes, limit);
                if items > 1 && !call.is_uncuttable {
                    attempt.pieces.put_back(Piece { body: call.body, repaired: call.repaired, too_large: true });
                } else {
                    let (item, bytes) = (item_name(attempt.signal), call.bytes);
                    let message =
                        format!("one {item} in a request of {bytes} bytes is more than the peer takes: {why}");
                    attempt.pieces.record_refused(items, Error { message: message.into(), ..why });
                }
            }
            CallResult::Refused { why, may_be_invalid_text: true } if !call.repaired => {
                let (signal, index, body) = (attempt.signal, call.attempt, call.body);
                if body.len() <= MAX_INLINE_REPAIR {
                    let repaired = repair_utf8(signal, &body);
                    self.handle_repair(cx.now(), index, body.items(), why, repaired);
                } else {
                    let slot = self.repairs.vacant_key();
                    let result = cx.run_job(FIRST_KEY + 2 + 2 * slot as u64, move || repair_utf8(signal, &body));
                    self.repairs.insert(TextRepair { attempt: index, items, why, result });
                    return;
                }
            }
            CallResult::Refused { why, .. } => attempt.pieces.record_refused(items, why),
        }
        self.encode_next(cx, call.attempt, outcomes);
    }

    /// Handles an event if it is under one of its keys; returns whether it is.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, outcomes: &mut Outcomes) -> bool {
        let Some(number) = local.checked_sub(FIRST_KEY) else { return false };
        let slot = usize::try_from(number.saturating_sub(1) / 2).unwrap_or(usize::MAX);
        if number == 0 {
            (self.work_left, self.has_requested_ready) = (MAX_WORK_PER_TURN, false);
            for index in std::mem::take(&mut self.postponed) {
                self.encode_next(cx, index, outcomes);
            }
        } else if number % 2 == 1 {
            self.handle_encoded(slot);
            self.encode_next(cx, slot, outcomes);
        } else if let Some(repair) = self.repairs.try_remove(slot) {
            let TextRepair { attempt, items, why, result } = repair;
            self.handle_repair(cx.now(), attempt, items, why, result.take().flatten());
            self.encode_next(cx, attempt, outcomes);
        }
        true
    }

    /// Makes messages from what is left of an attempt, within its limits and those of the turn, or ends the attempt.
    fn encode_next(&mut self, cx: &mut Cx<'_>, index: usize, outcomes: &mut Outcomes) {
        loop {
            let Some(attempt) = self.attempts.get_mut(index) else { return };
            if attempt.pieces.is_finished() {
                let attempt = self.attempts.remove(index);
                return attempt.pieces.finish(attempt.id, outcomes);
            }
            if attempt.encoding.is_some()
                || attempt.calls_in_flight > MAX_CALLS_IN_FLIGHT / 2
                || attempt.bytes_in_flight > MAX_BYTES_IN_FLIGHT / 2
            {
                return;
            }
            if self.work_left == 0 {
                self.postponed.insert(index);
                if !std::mem::replace(&mut self.has_requested_ready, true) {
                    cx.request_ready(FIRST_KEY);
                }
                return;
            }
            let Some(piece) = attempt.pieces.take() else { return };
            let signal = attempt.signal;
            let message_bytes = self.limits[signal as usize].bytes(cx.now());
            let limits =
                EncodeLimits { message_bytes, max_messages: MAX_CALLS_IN_FLIGHT, total_bytes: MAX_BYTES_IN_FLIGHT };
            let work = self.encoder.estimate_work(&piece, message_bytes);
            let info = PieceInfo { items: piece.body.items(), repaired: piece.repaired, too_large: piece.too_large };
            if work > MAX_WORK_PER_TURN {
                let encoder = self.encoder.clone();
                let key = FIRST_KEY + 1 + 2 * index as u64;
                attempt.encoding = Some((cx.run_job(key, move || encoder.encode(signal, piece, limits)), info));
                return;
            }
            self.work_left = self.work_left.saturating_sub(work.max(256));
            let encoded = self.encoder.encode(signal, piece, limits);
            self.add_messages(index, encoded, info);
        }
    }

    /// Handles the end of the helper job that encodes a piece.
    fn handle_encoded(&mut self, index: usize) {
        let Some(attempt) = self.attempts.get_mut(index) else { return };
        let Some((result, info)) = attempt.encoding.take() else { return };
        match result.take() {
            Some(encoded) => self.add_messages(index, encoded, info),
            None => attempt.pieces.record_refused(info.items, Error::new("the request could not be encoded")),
        }
    }

    fn add_messages(&mut self, index: usize, encoded: EncodedPiece<E::Message>, info: PieceInfo) {
        let PieceInfo { items, repaired, too_large } = info;
        let Some(attempt) = self.attempts.get_mut(index) else { return };
        let encoded_items = encoded.messages.iter().map(|message| message.body.items()).sum::<u32>();
        // If the fields around the items are long, a cut may leave all items in one message.
        let uncut = too_large && encoded.messages.iter().any(|message| message.body.items() >= items);
        let rest = encoded.rest.map(|rest| Piece { repaired, ..rest });
        let rest_items = rest.as_ref().map_or(0, |rest| rest.body.items());
        attempt.pieces.record_messages(encoded.messages.len(), rest);
        attempt.pieces.add_delivered(items.saturating_sub(encoded_items.saturating_add(rest_items)));
        for EncodedMessage { content, bytes, body, left_out } in encoded.messages {
            if let Some(left_out) = left_out.filter(|left_out| left_out.count >= body.items()) {
                // Nothing is left to be sent.
                attempt.pieces.record_refused(body.items(), Error::new(left_out.reason));
                continue;
            }
            attempt.calls_in_flight += 1;
            attempt.bytes_in_flight += bytes;
            let is_uncuttable = uncut;
            let number = self.next_call;
            self.next_call = number.wrapping_add(1);
            let call = CallInFlight { number, attempt: index, body, bytes, repaired, is_uncuttable, left_out };
            let slot = self.calls.insert(call) as u64;
            self.outgoing.push_back((u64::from(number) << 32 | slot, content));
        }
    }

    fn warn_of_left_out(&mut self, now: MonotonicTime, left_out: LeftOutItems) {
        if let Some(count) = self.left_out_count.add(now, u64::from(left_out.count)) {
            let fields = [("error", LogField::Str(left_out.reason)), ("dropped_items", LogField::Uint(count))];
            self.log.warn("Items that the destination's format can't express were left out.", &fields);
        }
    }

    /// Handles the result of a check for invalid text: the message is sent again if it could be repaired.
    fn handle_repair(
        &mut self,
        now: MonotonicTime,
        attempt: usize,
        items: u32,
        why: Error,
        repaired: Option<(Rope, u64)>,
    ) {
        let Some(attempt) = self.attempts.get_mut(attempt) else { return };
        let Some((body, strings)) = repaired else { return attempt.pieces.record_refused(items, why) };
        attempt.pieces.put_back(Piece { body, repaired: true, too_large: false });
        let counter = self.repaired_strings.get_or_insert_with(|| {
            self.telemetry.counter(
                MetricsLevel::Basic,
                "otelcore_exporter_repaired_strings",
                "Number of strings that were not UTF-8 and were repaired because the destination refused them.",
                vec![("exporter", self.exporter.clone())],
            )
        });
        counter.add(strings);
        if let Some(count) = self.repaired_count.add(now, strings) {
            let fields = [("error", LogField::Str(&why.message)), ("repaired_strings", LogField::Uint(count))];
            self.log
                .warn("The peer refused text that is not UTF-8. It is sent again with U+FFFD in its place.", &fields);
        }
    }
}

/// A token is the number of its call and, in the lower half, its slot.
fn slot_of_token(token: u64) -> usize {
    usize::try_from(token & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}

fn item_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "span",
        Signal::Metrics => "metric",
        Signal::Logs => "log record",
    }
}

#[cfg(test)]
mod tests;
