//! A payload that is sent in pieces: what is left to send, what is in flight, and the outcome of the rest.
//!
//! After the first retryable failure no more pieces are begun: they are left for the next attempt. Never sends anything
//! and never reads a message of a peer.

use std::collections::VecDeque;
use std::time::Duration;

use otelcore_pdata::{PieceLimit, Rope, Signal, Splitter, StepBudget};

use crate::{AttemptId, Error, Outcome, Outcomes, PartialOutcome};

/// A part of a payload's items, as a body of its own.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// OTLP.
    pub body: Rope,
    /// Its text has been made valid UTF-8.
    pub repaired: bool,
    /// A peer has refused it for its size: it is sent in smaller pieces, whatever the known limit is.
    pub too_large: bool,
}

impl Piece {
    /// How many items of it one message may contain.
    #[must_use]
    pub fn max_items(&self) -> u32 {
        if self.too_large { (self.body.items() / 2).max(1) } else { u32::MAX }
    }

    /// Whether it can be sent without being cut.
    #[must_use]
    pub fn is_within(&self, limit: usize) -> bool {
        self.body.len() <= limit && self.body.items() <= self.max_items()
    }

    /// What it costs to share its bytes in messages of at most `limit` bytes, for
    /// [`Encode::estimate_work`](crate::Encode::estimate_work): by its parts, and by its bytes if it must be cut.
    #[must_use]
    pub fn sharing_work(&self, limit: usize) -> usize {
        let parts = self.body.parts().len().saturating_mul(64);
        if self.is_within(limit) { parts } else { parts.saturating_add(self.body.len()) }
    }

    /// Cuts it into bodies of at most `limit` bytes, and of no more items than it allows; a single item may be longer.
    /// At most `count` of them; the rest is returned as a piece.
    #[must_use]
    pub fn cut(mut self, signal: Signal, limit: usize, count: usize) -> (Vec<Rope>, Option<Self>) {
        let max_items = self.max_items();
        if self.is_within(limit) {
            return (vec![self.body], None);
        }
        let mut splitter = Splitter::new(signal);
        splitter.push(std::mem::take(&mut self.body));
        let bounds = PieceLimit { items: max_items, bytes: limit };
        // With an unlimited budget every call returns a piece.
        let mut work = StepBudget::unlimited();
        let mut bodies = Vec::new();
        while bodies.len() < count && !splitter.is_empty() {
            bodies.extend(splitter.next_piece(bounds, &mut work));
        }
        self.body = splitter.next_piece(PieceLimit::NONE, &mut work).unwrap_or_default();
        let rest = (!self.body.is_empty()).then_some(Self { too_large: false, ..self });
        (bodies, rest)
    }
}

/// The pieces of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pending: VecDeque<Piece>,
    in_flight: usize,
    delivered: u32,
    rejected: u32,
    refused: Option<(u32, Error)>,
    retry_body: Rope,
    failed: Option<(Option<Duration>, Error)>,
}

impl Pieces {
    /// The pieces of a payload of which nothing has been sent.
    pub(crate) fn new(body: Rope) -> Self {
        let first = Piece { body, ..Piece::default() };
        Self { pending: VecDeque::from([first]), ..Self::default() }
    }

    /// Takes the next piece as it is. It is in flight until its outcome is reported here, or it is put back.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        if self.is_stopped() {
            return None;
        }
        let piece = self.pending.pop_front()?;
        self.in_flight += 1;
        Some(piece)
    }

    /// Reports that the piece that was taken became `count` messages, each of which is in flight, and a rest that is
    /// not.
    pub(crate) fn record_messages(&mut self, count: usize, rest: Option<Piece>) {
        self.in_flight = (self.in_flight + count).saturating_sub(1);
        self.pending.extend(rest);
    }

    /// Puts back a piece that is in flight, to be taken again before all others.
    pub(crate) fn put_back(&mut self, piece: Piece) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.pending.push_front(piece);
    }

    /// Reports that the peer accepted a piece, except for `rejected` items that it dropped.
    pub(crate) fn record_delivered(&mut self, items: u32, rejected: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.add_delivered(items.saturating_sub(rejected));
        self.rejected = self.rejected.saturating_add(rejected);
    }

    /// Counts items as delivered for which nothing has to be sent.
    pub(crate) fn add_delivered(&mut self, items: u32) {
        self.delivered = self.delivered.saturating_add(items);
    }

    /// Reports that a piece is refused permanently.
    pub(crate) fn record_refused(&mut self, items: u32, why: Error) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (all, _) = self.refused.get_or_insert((0, why));
        *all = all.saturating_add(items);
    }

    /// Reports that a piece is to be sent again, after at least the pause `after`. No more pieces are begun.
    pub(crate) fn record_failed(&mut self, body: Rope, after: Option<Duration>, why: Error) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.retry_body.append(body);
        let (longest, _) = self.failed.get_or_insert((after, why));
        *longest = (*longest).max(after);
    }

    /// Whether no more pieces are begun.
    pub(crate) fn is_stopped(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether nothing is in flight, and nothing will be.
    pub(crate) fn is_finished(&self) -> bool {
        self.in_flight == 0 && (self.pending.is_empty() || self.is_stopped())
    }

    /// Reports the outcome of the whole attempt.
    pub(crate) fn finish(mut self, attempt: AttemptId, outcomes: &mut Outcomes) {
        let nothing_accepted = self.delivered == 0 && self.rejected == 0;
        match (self.failed, self.refused) {
            // The payload itself is tried again.
            (Some((after, why)), None) if nothing_accepted => outcomes.push(attempt, Outcome::Retry { after, why }),
            (None, Some((_, why))) if nothing_accepted => outcomes.push(attempt, Outcome::Permanent(why)),
            (failed, refused) => {
                let rest = failed.map(|(after, why)| {
                    self.pending.drain(..).for_each(|piece| self.retry_body.append(piece.body));
                    (self.retry_body, after, why)
                });
                outcomes.push_partial(
                    attempt,
                    PartialOutcome { delivered: self.delivered, rejected: self.rejected, refused, retry: rest },
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::wire_format::put_bytes_field;

    use super::*;

    /// A body of one resource whose spans have names of these lengths.
    pub(crate) fn body(names: &[usize]) -> Rope {
        let mut scope = Vec::new();
        for len in names {
            let mut span = Vec::new();
            put_bytes_field(&mut span, 5, &vec![b'n'; *len]);
            put_bytes_field(&mut scope, 2, &span);
        }
        let (mut resource, mut body) = (Vec::new(), Vec::new());
        put_bytes_field(&mut resource, 2, &scope);
        put_bytes_field(&mut body, 1, &resource);
        let items = otelcore_pdata::check(Signal::Traces, &body).unwrap().items;
        Rope::new(body.into(), items)
    }

    fn attempt_and_outcomes() -> (AttemptId, Outcomes) {
        (AttemptId { signal: 0, number: 7 }, Outcomes::default())
    }

    fn piece(body: Rope) -> Piece {
        Piece { body, ..Piece::default() }
    }

    /// All bodies that a piece is cut into, `count` at a time.
    fn cut_all(first: Piece, limit: usize, count: usize) -> Vec<Rope> {
        let (mut all, mut next) = (Vec::new(), Some(first));
        while let Some(piece) = next {
            let (bodies, rest) = piece.cut(Signal::Traces, limit, count);
            assert!(!bodies.is_empty() && bodies.len() <= count);
            all.extend(bodies);
            next = rest;
        }
        all
    }

    #[test]
    fn piece_above_the_limit_is_cut_into_bodies_within_it() {
        let mut names = vec![100; 50];
        names.extend([3000, 10, 10, 2000, 2000]);
        let mut rope = body(&names);
        rope.append(body(&[5; 30]));
        (0..40).for_each(|_| rope.append(body(&[7])));
        for count in [1, 3, 100] {
            let bodies = cut_all(piece(rope.clone()), 1000, count);
            assert!(bodies.iter().all(|body| body.len() <= 1000 || body.items() == 1));
            assert_eq!(bodies.iter().filter(|body| body.len() > 1000).count(), 3);
            assert_eq!(bodies.iter().map(Rope::items).sum::<u32>(), 55 + 30 + 40);
            assert!(bodies.len() < 45, "{}", bodies.len());
        }
        assert_eq!(cut_all(piece(rope.clone()), rope.len(), 1).len(), 1);
    }

    #[test]
    fn piece_that_was_refused_for_its_size_is_cut_whatever_the_limit() {
        for names in [vec![10; 64], vec![10; 2], vec![10; 3]] {
            let refused = Piece { too_large: true, ..piece(body(&names)) };
            let bodies = cut_all(refused, usize::MAX, 100);
            assert!(bodies.iter().all(|body| body.items() as usize <= names.len() / 2), "{}", names.len());
            assert_eq!(bodies.iter().map(Rope::items).sum::<u32>() as usize, names.len());
        }
        let single = Piece { too_large: true, ..piece(body(&[10])) };
        assert_eq!(cut_all(single, 5, 1).len(), 1);
    }

    #[test]
    fn pieces_after_a_failure_are_kept_for_the_next_attempt() {
        let mut pieces = Pieces::new(body(&[10; 30]));
        let (bodies, rest) = pieces.take().unwrap().cut(Signal::Traces, 100, 2);
        pieces.record_messages(bodies.len(), rest);
        pieces.record_delivered(bodies[0].items(), 1);
        pieces.record_failed(bodies[1].clone(), Some(Duration::from_secs(3)), Error::new("busy"));
        assert!(pieces.take().is_none() && pieces.is_finished());
        let (id, mut outcomes) = attempt_and_outcomes();
        pieces.finish(id, &mut outcomes);
        let crate::attempt::AttemptOutcome::Pieces(partial) = outcomes.drain().remove(0).1 else { panic!() };
        let (rest, after, _) = partial.retry.unwrap();
        assert_eq!((partial.delivered + 1, partial.rejected), (bodies[0].items(), 1));
        assert_eq!((rest.items(), after), (30 - bodies[0].items(), Some(Duration::from_secs(3))));
    }

    #[test]
    fn payload_that_fails_completely_is_one_outcome() {
        let mut pieces = Pieces::new(body(&[10; 3]));
        let piece = pieces.take().unwrap();
        pieces.record_failed(piece.body, None, Error::new("down"));
        let (id, mut outcomes) = attempt_and_outcomes();
        pieces.finish(id, &mut outcomes);
        assert_eq!(outcomes.take(), [(id, Outcome::retry("down"))]);
    }
}
