//! Attempts to send a payload, and how an exporter reports their outcomes.
//!
//! Decides nothing: the queue of the exporter starts attempts and acts on what is reported.

use std::time::Duration;

use otelcore_pdata::Rope;

use crate::{Error, Outcome};

/// Identifies one attempt to send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId {
    /// The signal, as an index into [`otelcore_pdata::Signal::ALL`].
    pub signal: u8,
    /// Counts up by exporter and signal.
    pub number: u64,
}

/// The outcome of an attempt whose payload was sent in pieces.
#[derive(Clone, Debug, Default)]
pub struct PartialOutcome {
    /// Items that arrived.
    pub delivered: u32,
    /// Items that the peer dropped from a request that it accepted. The exporter has logged them.
    pub rejected: u32,
    /// Items that were refused permanently, and why.
    pub refused: Option<(u32, Error)>,
    /// The pieces to send again, the shortest pause before that, and why they failed.
    pub retry: Option<(Rope, Option<Duration>, Error)>,
}

/// Collects the outcomes of attempts.
#[derive(Debug, Default)]
pub struct Outcomes {
    attempts: Vec<(AttemptId, AttemptOutcome)>,
}

/// The outcome of an attempt: one for the whole payload, or one by pieces.
#[derive(Debug)]
pub enum AttemptOutcome {
    /// That of the whole payload.
    Whole(Outcome),
    /// What became of its pieces.
    Pieces(PartialOutcome),
}

impl Outcomes {
    /// Reports the outcome of an attempt.
    pub fn push(&mut self, attempt: AttemptId, outcome: Outcome) {
        self.attempts.push((attempt, AttemptOutcome::Whole(outcome)));
    }

    /// Reports the outcome of the pieces of an attempt.
    pub fn push_partial(&mut self, attempt: AttemptId, outcome: PartialOutcome) {
        self.attempts.push((attempt, AttemptOutcome::Pieces(outcome)));
    }

    /// Takes what has been reported: for exporters that send through others.
    pub fn drain(&mut self) -> Vec<(AttemptId, AttemptOutcome)> {
        std::mem::take(&mut self.attempts)
    }

    /// The reported outcomes of whole payloads, for tests of single exporters. Those by pieces are dropped.
    pub fn take(&mut self) -> Vec<(AttemptId, Outcome)> {
        let whole = |(attempt, attempt_outcome)| match attempt_outcome {
            AttemptOutcome::Whole(outcome) => Some((attempt, outcome)),
            AttemptOutcome::Pieces(_) => None,
        };
        self.drain().into_iter().filter_map(whole).collect()
    }
}
