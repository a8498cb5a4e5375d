//! Payloads that are collected and cut: each piece has the charges of the bodies that it came from, and of no others.
//!
//! What is pushed stays charged while any piece of it is held, since pieces share its buffer; bytes that a cut had to
//! copy are charged in addition.

use std::collections::VecDeque;

use otelcore_pdata::{PieceLimit, Rope, Signal, Splitter, StepBudget};

use crate::Held;

/// The capacity that stays allocated when nothing is left.
const MIN_KEPT_CAPACITY: usize = 256;

/// A [`Splitter`] of payloads, with a value of type `T` for each.
#[derive(Debug)]
pub struct PayloadSplitter<T = ()> {
    body: Splitter,
    sources: VecDeque<Source<T>>,
    /// The first part of the first source, counted as the splitter counts.
    first_part: u64,
}

#[derive(Debug)]
struct Source<T> {
    /// The number of parts that had been pushed into the splitter after this payload.
    end: u64,
    held: Held,
    value: T,
}

impl<T> PayloadSplitter<T> {
    /// A splitter for bodies of this signal.
    #[must_use]
    pub fn new(signal: Signal) -> Self {
        Self { body: Splitter::new(signal), sources: VecDeque::new(), first_part: 0 }
    }

    /// Adds a body at the end.
    pub fn push(&mut self, body: Rope, mut held: Held, value: T) {
        held.bundle();
        self.body.push(body);
        self.sources.push_back(Source { end: self.body.pushed_parts(), held, value });
    }

    /// Items that have not been taken.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.body.items()
    }

    /// Bytes that have not been taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// True when nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The next piece and its charges; see [`Splitter::next_piece`]. `for_each_source` is called for each payload of
    /// it, with the value that was pushed with the payload, and whether nothing of the payload is left.
    pub fn take(
        &mut self,
        limit: PieceLimit,
        work: &mut StepBudget,
        mut for_each_source: impl FnMut(&mut T, bool),
    ) -> Option<(Rope, Held)> {
        let body = self.body.next_piece(limit, work)?;
        let (taken, begun) = (self.body.finished_parts(), self.body.started_parts());
        let mut held = Held::default();
        while let Some(source) = self.sources.front_mut() {
            let is_last = source.end <= taken;
            if !is_last && self.first_part >= begun {
                break;
            }
            for_each_source(&mut source.value, is_last);
            if !is_last {
                held.merge(source.held.clone());
                break;
            }
            held.merge(std::mem::take(&mut source.held));
            self.first_part = source.end;
            self.sources.pop_front();
        }
        if self.sources.is_empty() && self.sources.capacity() > MIN_KEPT_CAPACITY {
            self.sources = VecDeque::new();
        }
        held.charge_copy(self.body.copied_bytes() as u64);
        held.bundle();
        Some((body, held))
    }

    /// The values that were pushed with the payloads that are not completely taken.
    pub fn into_remaining(self) -> impl Iterator<Item = T> {
        self.sources.into_iter().map(|source| source.value)
    }
}
