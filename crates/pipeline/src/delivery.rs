//! Sends payloads for an exporter whose protocol has messages: one job becomes one or more calls.
//!
//! ```text
//!  send -> piece -> (encode, on a helper thread if it is long) -> messages -> calls -> results -> outcome
//!            ^                                                                   |
//!            +---- refused for its size: cut; refused for its text: repaired ----+
//! ```
//! The number of calls in flight for a payload, and the bytes of their messages, are limited; the rest is encoded as
//! calls end. In one turn of the loop no more than [`WORK_A_TURN`] is encoded. A message that the peer refuses for its
//! size is not sent again as it is: it is cut, the limit is stored, and only a single item that is still too large is
//! given up. A message that is refused permanently and has text that is not UTF-8 is sent once more with the text made
//! valid.
//!
//! The exporter makes messages ([`Encode`]), sends them as calls, and translates the peer's responses into
//! [`CallResult`]s. This module is independent of the protocol.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use otelcore_pdata::{Rope, Signal, repair_utf8};
use slab::Slab;

use crate::pieces::{Piece, Pieces};
use crate::size_limit::SizeLimit;
use crate::{Counter, Cx, Detail, Done, Error, Field, JobId, JobResult, Logger, Mono, Payload, Telemetry};

/// Work of one turn: bytes of OTLP whose encoding takes about 5 ms. A longer piece is encoded on a helper thread.
const WORK_A_TURN: usize = 1 << 20;
/// Calls of one payload in flight at once.
const CALLS: usize = 100;
/// Bytes of one payload's messages in flight at once. A single message may be longer.
const BYTES: usize = 8 << 20;
/// The first of the local keys that belong to deliveries; those of a channel are far below.
const KEYS: u64 = 1 << 62;
/// Messages up to this size are checked for invalid text at once, longer ones by a job.
const REPAIR_HERE: usize = 16 << 10;
/// The shortest time between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The limits of one call of [`Encode::encode`].
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a message, as the peer counts them. A single item may be longer.
    pub message: usize,
    /// Number of messages.
    pub messages: usize,
    /// Bytes of all messages: once they are reached, no more messages are begun.
    pub bytes: usize,
}

/// Makes messages from OTLP.
pub trait Encode: Clone + Send + 'static {
    /// The message of one call.
    type Message: Send + 'static;

    /// Makes messages from a piece, or from its beginning.
    fn encode(&self, signal: Signal, piece: Piece, bounds: Bounds) -> Encoded<Self::Message>;

    /// How much work that is: about the bytes of OTLP that are read, copied or compressed.
    fn work(&self, piece: &Piece, limit: usize) -> usize {
        let _ = limit;
        // Each part and item has a fixed cost in addition to its bytes.
        let items = piece.body.items() as usize + piece.body.parts().len();
        piece.body.len().saturating_add(items.saturating_mul(64))
    }
}

/// The messages made from a piece.
#[derive(Debug)]
pub struct Encoded<M> {
    /// Messages to send.
    pub messages: Vec<Message<M>>,
    /// The part of the piece that the bounds left no room for. Items that are in neither have nothing to be sent.
    pub rest: Option<Piece>,
}

/// A message to send.
#[derive(Debug)]
pub struct Message<M> {
    /// The message to send.
    pub content: M,
    /// Its size as the peer counts it.
    pub bytes: usize,
    /// The OTLP that it was made from, for another attempt.
    pub body: Rope,
}

/// A call to make.
#[derive(Debug)]
pub struct NextCall<M> {
    /// Identifies the call for [`Delivery::handle_result`].
    pub token: u64,
    /// The signal of its items.
    pub signal: Signal,
    /// The message to send.
    pub content: M,
    /// The deadline of the call.
    pub by: Mono,
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
        for_text: bool,
    },
}

struct Job<M> {
    id: JobId,
    signal: Signal,
    /// How long a call may take.
    timeout: Option<Duration>,
    pieces: Pieces,
    /// A piece that is being encoded on a helper thread.
    encoding: Option<(JobResult<Encoded<M>>, Origin)>,
    calls: usize,
    bytes: usize,
}

/// The properties of a piece that is being encoded.
#[derive(Clone, Copy, Debug)]
struct Origin {
    items: u32,
    repaired: bool,
    too_large: bool,
}

/// A message in flight.
#[derive(Debug)]
struct Call {
    job: usize,
    body: Rope,
    bytes: usize,
    repaired: bool,
    /// It comes from a piece that could not be cut.
    uncut: bool,
}

/// A refused message that a job checks for text that is not UTF-8.
#[derive(Debug)]
struct Repair {
    job: usize,
    items: u32,
    why: Error,
    result: JobResult<Option<(Rope, u64)>>,
}

/// The jobs of one exporter.
pub struct Delivery<E: Encode> {
    encoder: E,
    jobs: Slab<Job<E::Message>>,
    calls: Slab<Call>,
    repairs: Slab<Repair>,
    outgoing: VecDeque<(u64, E::Message)>,
    limits: [SizeLimit; 3],
    /// Jobs that wait for the next turn.
    postponed: BTreeSet<usize>,
    work_left: usize,
    asked_again: bool,
    log: Logger,
    telemetry: Telemetry,
    exporter: String,
    repaired: Option<Counter>,
    /// When the last warning of a repair was written, and the strings repaired since then.
    warned: Option<Mono>,
    unmentioned: u64,
}

impl<E: Encode> std::fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (jobs, calls) = (self.jobs.len(), self.calls.len());
        f.debug_struct("Delivery").field("jobs", &jobs).field("calls", &calls).finish_non_exhaustive()
    }
}

impl<E: Encode> Delivery<E> {
    /// A delivery without jobs, for the exporter called `exporter`.
    #[must_use]
    pub fn new(encoder: E, exporter: &str, telemetry: &Telemetry, log: Logger) -> Self {
        Self {
            encoder,
            jobs: Slab::new(),
            calls: Slab::new(),
            repairs: Slab::new(),
            outgoing: VecDeque::new(),
            limits: std::array::from_fn(|_| SizeLimit::default()),
            postponed: BTreeSet::new(),
            work_left: WORK_A_TURN,
            asked_again: false,
            log,
            telemetry: telemetry.clone(),
            exporter: exporter.to_owned(),
            repaired: None,
            warned: None,
            unmentioned: 0,
        }
    }

    /// Begins a job. The time until `by` is the timeout of each of its calls.
    pub fn send(&mut self, cx: &mut Cx<'_>, id: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        let timeout = (by != Mono::NEVER).then(|| by.since(cx.now()));
        let pieces = Pieces::new(payload.body.clone());
        let job = Job { id, signal: payload.signal, timeout, pieces, encoding: None, calls: 0, bytes: 0 };
        let index = self.jobs.insert(job);
        self.serve(cx, index, done);
    }

    /// The next call to make.
    pub fn poll_call(&mut self, now: Mono) -> Option<NextCall<E::Message>> {
        let (token, content) = self.outgoing.pop_front()?;
        let call = usize::try_from(token).ok().and_then(|token| self.calls.get(token));
        let job = call.and_then(|call| self.jobs.get(call.job))?;
        let by = job.timeout.map_or(Mono::NEVER, |timeout| now + timeout);
        Some(NextCall { token, signal: job.signal, content, by })
    }

    /// The signal and the number of items of a call in flight.
    #[must_use]
    pub fn call(&self, token: u64) -> Option<(Signal, u32)> {
        let call = self.calls.get(usize::try_from(token).ok()?)?;
        Some((self.jobs.get(call.job)?.signal, call.body.items()))
    }

    /// Handles the result of a call.
    pub fn handle_result(&mut self, cx: &mut Cx<'_>, token: u64, result: CallResult, done: &mut Done) {
        let Some(call) = usize::try_from(token).ok().and_then(|token| self.calls.try_remove(token)) else { return };
        let Some(job) = self.jobs.get_mut(call.job) else { return };
        job.calls -= 1;
        job.bytes -= call.bytes;
        let items = call.body.items();
        match result {
            CallResult::Delivered { rejected } => job.pieces.delivered(items, rejected.min(items)),
            CallResult::Retry { after, why } => job.pieces.failed(call.body, after, why),
            CallResult::TooLarge { limit, why } => {
                self.limits[job.signal as usize].refused(cx.now(), call.bytes, limit);
                if items > 1 && !call.uncut {
                    job.pieces.put_back(Piece { body: call.body, repaired: call.repaired, too_large: true });
                } else {
                    let (what, bytes) = (item_name(job.signal), call.bytes);
                    let message =
                        format!("one {what} in a request of {bytes} bytes is more than the peer takes: {why}");
                    job.pieces.refused(items, Error { message: message.into(), ..why });
                }
            }
            CallResult::Refused { why, for_text: true } if !call.repaired => {
                let (signal, index, body) = (job.signal, call.job, call.body);
                if body.len() <= REPAIR_HERE {
                    let repaired = repair_utf8(signal, &body);
                    self.looked_through(cx.now(), index, body.items(), why, repaired);
                } else {
                    let slot = self.repairs.vacant_key();
                    let result = cx.run_job(KEYS + 2 + 2 * slot as u64, move || repair_utf8(signal, &body));
                    self.repairs.insert(Repair { job: index, items, why, result });
                    return;
                }
            }
            CallResult::Refused { why, .. } => job.pieces.refused(items, why),
        }
        self.serve(cx, call.job, done);
    }

    /// Handles an event if it is under one of its keys; returns whether it is.
    pub fn event(&mut self, cx: &mut Cx<'_>, local: u64, done: &mut Done) -> bool {
        let Some(number) = local.checked_sub(KEYS) else { return false };
        let slot = usize::try_from(number.saturating_sub(1) / 2).unwrap_or(usize::MAX);
        if number == 0 {
            (self.work_left, self.asked_again) = (WORK_A_TURN, false);
            for index in std::mem::take(&mut self.postponed) {
                self.serve(cx, index, done);
            }
        } else if number % 2 == 1 {
            self.encoded(slot);
            self.serve(cx, slot, done);
        } else if let Some(repair) = self.repairs.try_remove(slot) {
            let Repair { job, items, why, result } = repair;
            self.looked_through(cx.now(), job, items, why, result.take().flatten());
            self.serve(cx, job, done);
        }
        true
    }

    /// Makes messages from what is left of a job, within its limits and those of the turn, or ends the job.
    fn serve(&mut self, cx: &mut Cx<'_>, index: usize, done: &mut Done) {
        loop {
            let Some(job) = self.jobs.get_mut(index) else { return };
            if job.pieces.is_over() {
                let job = self.jobs.remove(index);
                return job.pieces.conclude(job.id, done);
            }
            if job.encoding.is_some() || job.calls > CALLS / 2 || job.bytes > BYTES / 2 {
                return;
            }
            if self.work_left == 0 {
                self.postponed.insert(index);
                if !std::mem::replace(&mut self.asked_again, true) {
                    cx.again(KEYS);
                }
                return;
            }
            let Some(piece) = job.pieces.take() else { return };
            let signal = job.signal;
            let message = self.limits[signal as usize].bytes(cx.now());
            let bounds = Bounds { message, messages: CALLS, bytes: BYTES };
            let work = self.encoder.work(&piece, message);
            let origin = Origin { items: piece.body.items(), repaired: piece.repaired, too_large: piece.too_large };
            if work > WORK_A_TURN {
                let encoder = self.encoder.clone();
                let key = KEYS + 1 + 2 * index as u64;
                job.encoding = Some((cx.run_job(key, move || encoder.encode(signal, piece, bounds)), origin));
                return;
            }
            self.work_left = self.work_left.saturating_sub(work.max(256));
            let encoded = self.encoder.encode(signal, piece, bounds);
            self.take(index, encoded, origin);
        }
    }

    /// Handles the end of the job that encodes a piece.
    fn encoded(&mut self, index: usize) {
        let Some(job) = self.jobs.get_mut(index) else { return };
        let Some((result, origin)) = job.encoding.take() else { return };
        match result.take() {
            Some(encoded) => self.take(index, encoded, origin),
            None => job.pieces.refused(origin.items, Error::new("the request could not be encoded")),
        }
    }

    fn take(&mut self, index: usize, encoded: Encoded<E::Message>, origin: Origin) {
        let Origin { items, repaired, too_large } = origin;
        let Some(job) = self.jobs.get_mut(index) else { return };
        let made = encoded.messages.iter().map(|message| message.body.items()).sum::<u32>();
        // If the fields around the items are long, a cut may leave all items in one message.
        let uncut = too_large && encoded.messages.iter().any(|message| message.body.items() >= items);
        let rest = encoded.rest.map(|rest| Piece { repaired, ..rest });
        let left = rest.as_ref().map_or(0, |rest| rest.body.items());
        job.pieces.became(encoded.messages.len(), rest);
        job.pieces.add_delivered(items.saturating_sub(made.saturating_add(left)));
        for Message { content, bytes, body } in encoded.messages {
            job.calls += 1;
            job.bytes += bytes;
            let token = self.calls.insert(Call { job: index, body, bytes, repaired, uncut });
            self.outgoing.push_back((token as u64, content));
        }
    }

    /// Handles the result of a check for invalid text: the message is sent again if it could be repaired.
    fn looked_through(&mut self, now: Mono, job: usize, items: u32, why: Error, repaired: Option<(Rope, u64)>) {
        let Some(job) = self.jobs.get_mut(job) else { return };
        let Some((body, strings)) = repaired else { return job.pieces.refused(items, why) };
        job.pieces.put_back(Piece { body, repaired: true, too_large: false });
        let counter = self.repaired.get_or_insert_with(|| {
            self.telemetry.counter(
                Detail::Basic,
                "otelcore_exporter_repaired_strings",
                "Number of strings that were not UTF-8 and were repaired because the destination refused them.",
                vec![("exporter", self.exporter.clone())],
            )
        });
        counter.add(strings);
        self.unmentioned = self.unmentioned.saturating_add(strings);
        if self.warned.is_none_or(|at| now.since(at) >= WARN_EVERY) {
            self.warned = Some(now);
            let fields = [
                ("error", Field::Str(&why.message)),
                ("repaired_strings", Field::Uint(std::mem::take(&mut self.unmentioned))),
            ];
            self.log
                .warn("The peer refused text that is not UTF-8. It is sent again with U+FFFD in its place.", &fields);
        }
    }
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
