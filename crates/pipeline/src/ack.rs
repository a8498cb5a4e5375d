//! Acknowledgement: the outcome of a payload, reported to the component that sent it.
//!
//! Every payload travels with an [`Ack`]. A fan-out branches it; the component that takes custody of the payload,
//! delivers it or refuses it settles the ack. When the last branch is settled, the outcome is added to a queue, which
//! the graph drains first in each turn, so that no component is ever called while it runs. An ack that is dropped
//! unsettled counts as lost.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use otelcore_pdata::Signal;

/// The outcome of a payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Delivered, or in the custody of a queue or batch.
    Delivered,
    /// Not accepted; the same bytes may be accepted later.
    Retry {
        /// The shortest pause before the next attempt, if it is known.
        after: Option<Duration>,
        /// Why it was not accepted.
        why: Error,
    },
    /// Not accepted, and never will be.
    Permanent(Error),
    /// Lost without a response: an error of the collector, or the end of the process.
    Lost(LossReason),
}

impl Outcome {
    /// A refusal that may be repeated.
    #[must_use]
    pub fn retry(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Retry { after: None, why: Error::new(message) }
    }

    /// A refusal that is final.
    #[must_use]
    pub fn permanent(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Permanent(Error::new(message))
    }

    /// In a fan-out, the outcome with the highest rank counts: one branch that accepted the payload means success;
    /// otherwise a retryable outcome takes precedence over a permanent one.
    fn rank(&self) -> u8 {
        match self {
            Self::Delivered => 3,
            Self::Retry { .. } => 2,
            Self::Permanent(_) => 1,
            Self::Lost(_) => 0,
        }
    }
}

/// Why a payload was refused: a text for people and, where a peer gave one, its gRPC code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The gRPC status code of the peer that refused.
    pub code: Option<u32>,
    /// The text for people.
    pub message: Cow<'static, str>,
}

impl Error {
    /// An error of our own, without a peer's code.
    #[must_use]
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: None, message: message.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a payload is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// A component dropped the ack without settling it.
    Dropped,
    /// The collector stopped before it could be delivered.
    Shutdown,
}

/// The component that receives the outcome. Owner numbers are never used again, so that an ack may outlive a change of the
/// graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckTarget {
    /// A receiver, by its owner number, and its request.
    Receiver(u32, u64),
    /// A processor, and the id that it gave the ack.
    Processor(u32, u64),
    /// A connector, and the id that it gave the ack.
    Connector(u32, u64),
    /// A queue on disk, and the record.
    StoredRecord(u32, u64),
    /// No component waits for the outcome.
    Detached,
}

/// What was sent under an ack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SentItems {
    pub(crate) signal: Signal,
    /// Of all payloads together.
    pub(crate) items: u64,
}

impl Default for SentItems {
    fn default() -> Self {
        Self { signal: Signal::Traces, items: 0 }
    }
}

/// Outcomes that have not been reported yet.
#[derive(Debug, Default)]
pub(crate) struct Settlements {
    queue: RefCell<VecDeque<(AckTarget, SentItems, Outcome)>>,
    /// The acks of components' own whose outcomes are not reported yet, by owner number; without zeros.
    own_acks: RefCell<BTreeMap<u32, u64>>,
}

impl Settlements {
    pub(crate) fn pop(&self) -> Option<(AckTarget, Outcome)> {
        self.pop_with_items().map(|(target, _, outcome)| (target, outcome))
    }

    /// The next outcome, with what was sent under its ack.
    pub(crate) fn pop_with_items(&self) -> Option<(AckTarget, SentItems, Outcome)> {
        let settled = self.queue.borrow_mut().pop_front();
        if let Some((AckTarget::Processor(owner, _) | AckTarget::Connector(owner, _), ..)) = settled
            && let Entry::Occupied(mut count) = self.own_acks.borrow_mut().entry(owner)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        settled
    }

    /// An ack of a processor's or a connector's own.
    pub(crate) fn new_own_ack(self: &Rc<Self>, target: AckTarget) -> Ack {
        if let AckTarget::Processor(owner, _) | AckTarget::Connector(owner, _) = target {
            *self.own_acks.borrow_mut().entry(owner).or_default() += 1;
        }
        Ack::new(target, self)
    }

    /// Whether a processor or a connector waits for the outcome of an ack of its own.
    pub(crate) fn has_own_acks(&self, owner: u32) -> bool {
        self.own_acks.borrow().contains_key(&owner)
    }

    fn push(&self, target: AckTarget, sent: SentItems, outcome: Outcome) {
        if target != AckTarget::Detached {
            self.queue.borrow_mut().push_back((target, sent, outcome));
        }
    }
}

/// Where the outcome of all branches goes.
#[derive(Debug)]
enum Report {
    Component(AckTarget, Rc<Settlements>),
    Pieces(Rc<PiecesState>),
}

#[derive(Debug)]
struct AckState {
    report: Report,
    sent: Cell<SentItems>,
    branches: Cell<u32>,
    best: RefCell<Option<Outcome>>,
    /// The outcome of a branch that had to accept the payload and did not; the one that a repetition may help, if there
    /// are several.
    failed: RefCell<Option<Outcome>>,
}

/// The obligation to report the outcome of a payload.
#[derive(Debug)]
#[must_use = "an ack dropped unsettled counts as lost"]
pub struct Ack {
    state: Option<Rc<AckState>>,
    /// This branch must accept the payload: other branches that do are not enough.
    is_required: bool,
}

impl Ack {
    pub(crate) fn new(target: AckTarget, queue: &Rc<Settlements>) -> Self {
        Self::with_report(Report::Component(target, queue.clone()))
    }

    fn with_report(report: Report) -> Self {
        let (best, failed) = (RefCell::new(None), RefCell::new(None));
        let sent = Cell::new(SentItems::default());
        let state = AckState { report, sent, branches: Cell::new(1), best, failed };
        Self { state: Some(Rc::new(state)), is_required: false }
    }

    /// The same ack, for a payload that is sent under it.
    pub(crate) fn for_items(self, sent: SentItems) -> Self {
        if let Some(state) = &self.state {
            state.sent.set(sent);
        }
        self
    }

    /// The component that gets the outcome in the end, where this may be the ack of a piece.
    pub(crate) fn target(&self) -> Option<AckTarget> {
        match &self.state.as_ref()?.report {
            Report::Component(target, _) => Some(*target),
            Report::Pieces(_) => match &self.root()?.report {
                Report::Component(target, _) => Some(*target),
                Report::Pieces(_) => None,
            },
        }
    }

    /// Counts a payload that is sent under this ack or a piece of it, for the component that gets the outcome.
    pub(crate) fn add_sent(&self, signal: Signal, items: u32) {
        if let Some(root) = self.root() {
            let before = root.sent.get().items;
            root.sent.set(SentItems { signal, items: before.saturating_add(u64::from(items)) });
        }
    }

    /// The state of the ack that this is a piece of, or its own.
    fn root(&self) -> Option<Rc<AckState>> {
        let mut state = self.state.clone()?;
        loop {
            let whole = match &state.report {
                Report::Component(..) => None,
                Report::Pieces(pieces) => Some(pieces.whole.borrow().as_ref()?.state.clone()?),
            };
            match whole {
                Some(whole) => state = whole,
                None => return Some(state),
            }
        }
    }

    /// An ack whose outcome is not reported, for tests of single components.
    pub fn detached() -> Self {
        Self::new(AckTarget::Detached, &Rc::default())
    }

    /// One more ack for the same payload: for a copy. The outcome is reported when all are settled, and the best one
    /// counts: one copy that was accepted means success.
    pub fn branch(&self) -> Self {
        if let Some(state) = &self.state {
            state.branches.set(state.branches.get() + 1);
        }
        Self { state: self.state.clone(), is_required: false }
    }

    /// The same branch, which now decides more (`true`) or less: the payload is delivered only if every required branch
    /// accepts it. Those are the branches that lead to a queue on disk, of which nothing may be missing.
    pub(crate) fn required(mut self, is_required: bool) -> Self {
        self.is_required = is_required;
        self
    }

    /// Joins the outcomes of pieces of the payload, of which every one must be accepted: the worst outcome counts.
    #[must_use]
    pub fn into_pieces(self) -> AckPieces {
        AckPieces(Rc::new(PiecesState { whole: RefCell::new(Some(self)), worst: RefCell::new(None) }))
    }

    /// Reports the outcome of the payload.
    pub fn settle(mut self, outcome: Outcome) {
        self.settle_branch(outcome);
    }

    fn settle_branch(&mut self, outcome: Outcome) {
        let Some(state) = self.state.take() else { return };
        if self.is_required && outcome != Outcome::Delivered {
            let mut failed = state.failed.borrow_mut();
            if failed.as_ref().is_none_or(|f| f.rank() < outcome.rank()) {
                *failed = Some(outcome.clone());
            }
        }
        let mut best = state.best.borrow_mut();
        if best.as_ref().is_none_or(|b| b.rank() < outcome.rank()) {
            *best = Some(outcome);
        }
        state.branches.set(state.branches.get() - 1);
        if state.branches.get() == 0
            && let Some(outcome) = state.failed.take().or_else(|| best.take())
        {
            match &state.report {
                Report::Component(target, queue) => queue.push(*target, state.sent.get(), outcome),
                Report::Pieces(pieces) => pieces.add(outcome),
            }
        }
    }
}

/// The ack of a payload that is passed on in pieces. Its outcome is reported when this value has been dropped and every
/// piece is settled: the worst of theirs, `Lost` before `Permanent` before `Retry`. Without any piece, nothing of the
/// payload is passed on, and it counts as delivered.
#[derive(Debug)]
pub struct AckPieces(Rc<PiecesState>);

impl AckPieces {
    /// The ack of one piece.
    pub fn piece(&self) -> Ack {
        Ack::with_report(Report::Pieces(self.0.clone()))
    }
}

#[derive(Debug)]
struct PiecesState {
    whole: RefCell<Option<Ack>>,
    worst: RefCell<Option<Outcome>>,
}

impl PiecesState {
    fn add(&self, outcome: Outcome) {
        let rank = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 0,
            Outcome::Retry { .. } => 1,
            Outcome::Permanent(_) => 2,
            Outcome::Lost(_) => 3,
        };
        let mut worst = self.worst.borrow_mut();
        if worst.as_ref().is_none_or(|w| rank(w) < rank(&outcome)) {
            *worst = Some(outcome);
        }
    }
}

impl Drop for PiecesState {
    fn drop(&mut self) {
        if let Some(whole) = self.whole.take() {
            whole.settle(self.worst.take().unwrap_or(Outcome::Delivered));
        }
    }
}

/// Makes acks and records their outcomes, for tests of single components.
#[derive(Debug, Default)]
pub struct AckRecorder(Rc<Settlements>);

impl AckRecorder {
    pub(crate) fn settlements(&self) -> &Rc<Settlements> {
        &self.0
    }

    /// An ack whose outcome is recorded under `id`.
    pub fn ack(&self, id: u64) -> Ack {
        Ack::new(AckTarget::Receiver(0, id), &self.0)
    }

    /// Takes the outcomes that were recorded since the last call, in their order.
    #[must_use]
    pub fn take(&self) -> Vec<(u64, Outcome)> {
        let number = |target| match target {
            AckTarget::Receiver(_, id)
            | AckTarget::Processor(_, id)
            | AckTarget::Connector(_, id)
            | AckTarget::StoredRecord(_, id) => id,
            AckTarget::Detached => 0,
        };
        std::iter::from_fn(|| self.0.pop()).map(|(target, outcome)| (number(target), outcome)).collect()
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.settle_branch(Outcome::Lost(LossReason::Dropped));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack_and_settlements() -> (Ack, Rc<Settlements>) {
        let queue = Rc::new(Settlements::default());
        (Ack::new(AckTarget::Receiver(0, 7), &queue), queue)
    }

    #[test]
    fn fan_out_with_one_accepting_branch_is_delivered() {
        let (ack, queue) = ack_and_settlements();
        let (a, b) = (ack.branch(), ack.branch());
        ack.settle(Outcome::permanent("no"));
        a.settle(Outcome::Delivered);
        assert_eq!(queue.pop(), None, "one branch is open");
        b.settle(Outcome::retry("full"));
        assert_eq!(queue.pop(), Some((AckTarget::Receiver(0, 7), Outcome::Delivered)));
        assert_eq!(queue.pop(), None);
    }

    /// The outcome of a payload whose pieces have these.
    fn joined(outcomes: &[Outcome]) -> Option<Outcome> {
        let (ack, queue) = ack_and_settlements();
        let pieces = ack.into_pieces();
        let acks: Vec<Ack> = outcomes.iter().map(|_| pieces.piece()).collect();
        assert_eq!(queue.pop(), None);
        drop(pieces);
        for (ack, outcome) in acks.into_iter().zip(outcomes) {
            assert_eq!(queue.pop(), None, "a piece is not settled");
            ack.settle(outcome.clone());
        }
        queue.pop().map(|(_, outcome)| outcome)
    }

    #[test]
    fn pieces_have_the_worst_outcome() {
        let (retry, permanent) = (Outcome::retry("full"), Outcome::permanent("no"));
        assert_eq!(joined(&[]), Some(Outcome::Delivered));
        assert_eq!(joined(&[Outcome::Delivered, Outcome::Delivered]), Some(Outcome::Delivered));
        assert_eq!(joined(&[Outcome::Delivered, retry.clone()]), Some(retry.clone()));
        assert_eq!(joined(&[permanent.clone(), Outcome::Delivered, retry]), Some(permanent));
    }

    #[test]
    fn copies_of_a_piece_have_the_best_outcome_and_dropped_pieces_are_lost() {
        let (ack, queue) = ack_and_settlements();
        let pieces = ack.into_pieces();
        let (first, second) = (pieces.piece(), pieces.piece());
        drop(pieces);
        let copy = first.branch();
        first.settle(Outcome::permanent("no"));
        copy.settle(Outcome::Delivered);
        let nested = second.into_pieces();
        let (third, fourth) = (nested.piece(), nested.piece());
        drop((nested, third));
        assert_eq!(queue.pop(), None);
        fourth.settle(Outcome::Delivered);
        assert_eq!(queue.pop(), Some((AckTarget::Receiver(0, 7), Outcome::Lost(LossReason::Dropped))));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn fan_out_whose_required_branch_refuses_is_refused() {
        let retry = || Outcome::retry("full");
        let cases = [
            ([(true, Outcome::Delivered), (false, retry())], Outcome::Delivered),
            ([(true, retry()), (false, Outcome::Delivered)], retry()),
            ([(true, Outcome::permanent("bad")), (true, retry())], retry()),
            ([(false, Outcome::Delivered), (true, Outcome::permanent("bad"))], Outcome::permanent("bad")),
        ];
        for (branches, expected) in cases {
            let (ack, queue) = ack_and_settlements();
            let acks: Vec<Ack> = branches.iter().map(|(is_required, _)| ack.branch().required(*is_required)).collect();
            ack.settle(Outcome::Lost(LossReason::Dropped));
            for (ack, (_, outcome)) in acks.into_iter().zip(branches) {
                ack.settle(outcome);
            }
            assert_eq!(queue.pop(), Some((AckTarget::Receiver(0, 7), expected)));
        }
    }

    #[test]
    fn items_that_are_sent_in_pieces_are_known_at_the_end() {
        let (ack, queue) = ack_and_settlements();
        let pieces = ack.into_pieces();
        let (first, second) = (pieces.piece(), pieces.piece().into_pieces());
        let nested = second.piece();
        drop((pieces, second));
        assert_eq!(nested.target(), Some(AckTarget::Receiver(0, 7)));
        first.add_sent(Signal::Logs, 3);
        nested.add_sent(Signal::Logs, 4);
        first.settle(Outcome::Delivered);
        nested.settle(Outcome::Delivered);
        let sent = SentItems { signal: Signal::Logs, items: 7 };
        assert_eq!(queue.pop_with_items(), Some((AckTarget::Receiver(0, 7), sent, Outcome::Delivered)));
    }

    #[test]
    fn ack_dropped_unsettled_is_lost() {
        let (ack, queue) = ack_and_settlements();
        drop(ack);
        assert_eq!(queue.pop(), Some((AckTarget::Receiver(0, 7), Outcome::Lost(LossReason::Dropped))));
    }

    #[test]
    fn fan_out_with_retryable_and_permanent_outcomes_is_retryable() {
        let (ack, queue) = ack_and_settlements();
        let b = ack.branch();
        ack.settle(Outcome::retry("full"));
        b.settle(Outcome::permanent("bad"));
        assert_eq!(queue.pop(), Some((AckTarget::Receiver(0, 7), Outcome::retry("full"))));
    }
}
