//! Payloads that a processor edits one after another, in their order: those that wait, and the one that is edited by a job.
//!
//! An edit that would take longer than a part of a turn may take is done by a job on a helper thread; payloads that
//! arrive in the meantime wait behind it, with their acks and charges, up to [`MAX_WAITING_BYTES`]. The new bytes are
//! charged as they grow. Takes custody of nothing: the outcome of a payload is that of the next component.

use std::collections::VecDeque;

use otelcore_pdata::edit::{EditPass, Edited, Editor, OutputLimit};
use otelcore_pdata::{Rope, Signal, StepBudget};

use crate::{Ack, Cx, Downstream, Held, JobResult, LossReason, Outcome, Payload};

/// Bytes of payloads that may wait behind one that is edited on a helper thread.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// The work on the body of one payload.
pub trait BodyEdit: Send + 'static {
    /// What edits. The processor lends it to the edit.
    type Editor: Send + 'static;

    /// Goes on until the end (true) or the end of the step. New bytes are charged to `output`.
    ///
    /// # Errors
    /// The outcome of a payload that can't be edited.
    fn step(&mut self, output: &mut Held, work: &mut StepBudget) -> Result<bool, Outcome>;

    /// The editor, and the body after the last step with what was done to it.
    fn finish(self) -> (Self::Editor, Rope, Edited);
}

/// A [`BodyEdit`] that is one pass.
#[derive(Debug)]
pub struct SinglePass<E> {
    pass: EditPass,
    editor: E,
}

impl<E: Editor + Send + 'static> SinglePass<E> {
    /// A pass of `editor` over a checked body.
    pub fn new(signal: Signal, body: Rope, limit: OutputLimit, editor: E) -> Self {
        Self { pass: EditPass::new(signal, body, limit), editor }
    }
}

impl<E: Editor + Send + 'static> BodyEdit for SinglePass<E> {
    type Editor = E;

    fn step(&mut self, output: &mut Held, work: &mut StepBudget) -> Result<bool, Outcome> {
        let is_done = self.pass.step(&mut self.editor, work).map_err(|error| Outcome::permanent(error.to_string()))?;
        if !is_done {
            let written = self.pass.written() as u64;
            output.try_grow(written).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
        }
        Ok(is_done)
    }

    fn finish(self) -> (E, Rope, Edited) {
        let (rope, edited) = self.pass.finish();
        (self.editor, rope, edited)
    }
}

/// The end of an edit: the new body and its charge, or the outcome of a payload that could not be edited.
type EditResult = Result<(Rope, Edited, Held), Outcome>;

fn end_edit<B: BodyEdit>(edit: B, output: Held, result: Result<bool, Outcome>) -> (B::Editor, EditResult) {
    let (editor, rope, edited) = edit.finish();
    (editor, result.map(|_| (rope, edited, output)))
}

/// Goes on until the end, however long that takes. For a helper thread.
fn run_edit<B: BodyEdit>(mut edit: B, mut output: Held) -> (B::Editor, EditResult) {
    let result = loop {
        match edit.step(&mut output, &mut StepBudget::for_one_step()) {
            Ok(false) => {}
            ended => break ended,
        }
    };
    end_edit(edit, output, result)
}

/// A payload whose edit has ended.
#[derive(Debug)]
#[must_use]
pub struct EditedPayload {
    /// Without its body.
    payload: Payload,
    ack: Ack,
    /// Those that it had.
    items: u32,
    result: EditResult,
}

impl EditedPayload {
    /// Its signal.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.payload.signal
    }

    /// What was done to it; `None` if it could not be edited.
    #[must_use]
    pub fn edited(&self) -> Option<&Edited> {
        self.result.as_ref().ok().map(|(_, edited, _)| edited)
    }

    /// Passes it on with its new body and the charge for it. One that could not be edited is refused, and one without items
    /// is delivered. `reason` says why items of it are gone.
    pub fn pass_on(self, downstream: &mut Downstream, reason: &'static str) {
        let Self { mut payload, ack, items, result } = self;
        let (rope, edited, mut output) = match result {
            Ok(ended) => ended,
            Err(outcome) => return downstream.refuse(ack, items, outcome),
        };
        if edited.changed_parts > 0 {
            if edited.shared_parts == 0 {
                output.grow(rope.len() as u64 + payload.metadata_bytes());
                payload.held = output;
            } else {
                output.grow(rope.len() as u64);
                payload.held.merge(output);
            }
        }
        payload.body = rope;
        let (left, kept) = (u64::from(items).saturating_sub(edited.dropped), u64::from(payload.items()));
        let dropped = edited.dropped.min(u64::from(items));
        downstream.record_dropped(reason, dropped.saturating_add(left.saturating_sub(kept)));
        downstream.record_created("edited", kept.saturating_sub(left));
        if kept == 0 { ack.settle(Outcome::Delivered) } else { downstream.send(payload, ack) }
    }
}

/// The job of an edit has panicked. Its payload is settled as lost, and its editor is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EditPanicked;

/// A payload that is edited on a helper thread.
#[derive(Debug)]
struct RunningEdit<E> {
    result: JobResult<(E, EditResult)>,
    /// Without its body.
    payload: Payload,
    ack: Ack,
    items: u32,
}

/// The payloads of a processor whose editor is an `E`. Its events come under [`EditQueue::JOB_KEY`] and
/// [`EditQueue::NEXT_TURN_KEY`].
#[derive(Debug)]
pub struct EditQueue<E> {
    running: Option<RunningEdit<E>>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    waiting_items: u64,
    is_turn_requested: bool,
}

impl<E> Default for EditQueue<E> {
    fn default() -> Self {
        Self { running: None, waiting: VecDeque::new(), waiting_bytes: 0, waiting_items: 0, is_turn_requested: false }
    }
}

/// Bytes that a payload takes while it waits.
fn waiting_bytes(payload: &Payload) -> usize {
    payload.body.len().saturating_add(usize::try_from(payload.metadata_bytes()).unwrap_or(usize::MAX))
}

impl<E> EditQueue<E> {
    /// The local key of the event at the end of a job: [`EditQueue::end_job`] follows it.
    pub const JOB_KEY: u64 = 0;

    /// The local key under which the next turn is requested: [`EditQueue::begin_turn`] follows it.
    pub const NEXT_TURN_KEY: u64 = 1;

    /// Whether nothing is edited, and nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// Items of all payloads.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.waiting_items + self.running.as_ref().map_or(0, |edit| u64::from(edit.items))
    }

    /// Has a payload wait. It is refused if too much waits already.
    pub fn push(&mut self, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        let bytes = self.waiting_bytes + waiting_bytes(&payload);
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return downstream.refuse(ack, payload.items(), Outcome::retry("too much data waits for a processor"));
        }
        self.waiting_bytes = bytes;
        self.waiting_items += u64::from(payload.items());
        self.waiting.push_back((payload, ack));
    }

    /// The next payload that waits, unless one is being edited or the work of this turn is done: then the next turn is
    /// requested.
    pub fn next_waiting(&mut self, cx: &mut Cx<'_>, turn: &mut StepBudget) -> Option<(Payload, Ack)> {
        if self.running.is_some() || self.waiting.is_empty() {
            return None;
        }
        if turn.is_spent() {
            self.request_turn(cx);
            return None;
        }
        let (payload, ack) = self.waiting.pop_front()?;
        self.waiting_bytes -= waiting_bytes(&payload);
        self.waiting_items -= u64::from(payload.items());
        // What the next components do with it in the same turn.
        turn.charge(payload.body.len() as u64);
        Some((payload, ack))
    }

    /// Takes all payloads that wait.
    pub fn take_waiting(&mut self) -> VecDeque<(Payload, Ack)> {
        (self.waiting_bytes, self.waiting_items) = (0, 0);
        std::mem::take(&mut self.waiting)
    }

    /// Requests the next turn, once.
    pub fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(Self::NEXT_TURN_KEY);
        }
    }

    /// The turn that was requested has begun.
    pub fn begin_turn(&mut self) {
        self.is_turn_requested = false;
    }
}

impl<E: Send + 'static> EditQueue<E> {
    /// Edits a payload. `most_work` is what that may take, in units of a [`StepBudget`]; above a step, and if the step
    /// does not see the end, a job does it, and `None` is returned: nothing else may be edited before the end of the job.
    pub fn edit<B: BodyEdit<Editor = E>>(
        &mut self,
        cx: &mut Cx<'_>,
        (mut payload, ack): (Payload, Ack),
        most_work: u64,
        step: &mut StepBudget,
        begin: impl FnOnce(Signal, Rope) -> B,
    ) -> Option<(E, EditedPayload)> {
        let body = std::mem::take(&mut payload.body);
        let items = body.items();
        let mut output = payload.held.hold_derived(0);
        let mut edit = begin(payload.signal, body);
        if most_work <= StepBudget::UNITS_PER_STEP {
            match edit.step(&mut output, step) {
                Ok(false) => {}
                ended => {
                    let (editor, result) = end_edit(edit, output, ended);
                    return Some((editor, EditedPayload { payload, ack, items, result }));
                }
            }
        }
        let result = cx.run_job(Self::JOB_KEY, move || run_edit(edit, output));
        self.running = Some(RunningEdit { result, payload, ack, items });
        None
    }

    /// The end of the job; `None` if there is none.
    pub fn end_job(&mut self, downstream: &mut Downstream) -> Option<Result<(E, EditedPayload), EditPanicked>> {
        let RunningEdit { result, payload, ack, items } = self.running.take()?;
        Some(match result.take() {
            Some((editor, result)) => Ok((editor, EditedPayload { payload, ack, items, result })),
            None => {
                downstream.refuse(ack, items, Outcome::Lost(LossReason::Dropped));
                Err(EditPanicked)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{AckRecorder, Budget};

    #[test]
    fn waiting_data_above_the_bound_is_refused() {
        let (acks, budget) = (AckRecorder::default(), Arc::new(Budget::default()));
        let mut queue: EditQueue<()> = EditQueue { waiting_bytes: MAX_WAITING_BYTES, ..EditQueue::default() };
        let mut push = |number: u64| {
            let body = Rope::new(vec![0; 4].into(), 1);
            let held = budget.hold(4);
            let mut downstream = Downstream::default();
            queue.push(Payload { signal: Signal::Logs, body, metadata: None, held }, acks.ack(number), &mut downstream);
            queue.waiting.len()
        };
        assert_eq!(push(1), 1, "one may always wait");
        assert_eq!(push(2), 1);
        let refusal = Outcome::retry("too much data waits for a processor");
        assert_eq!(acks.take(), [(2, refusal)]);
    }

    #[test]
    fn charge_for_a_changed_body_is_for_the_metadata_as_well() {
        let (acks, budget) = (AckRecorder::default(), Arc::new(Budget::default()));
        let mut metadata = crate::Metadata::default();
        metadata.add("tenant", "1234");
        let metadata = Some(Arc::new(metadata));
        let payload = Payload { signal: Signal::Logs, body: Rope::default(), metadata, held: budget.hold(100) };
        let output = payload.held.hold_derived(0);
        let rope = Rope::new(vec![0; 7].into(), 1);
        let edited = Edited { changed_parts: 1, ..Edited::default() };
        let edited = EditedPayload { payload, ack: acks.ack(1), items: 1, result: Ok((rope, edited, output)) };
        let mut downstream = Downstream::default();
        edited.pass_on(&mut downstream, "filtered");
        let (payload, ack) = downstream.take().remove(0);
        assert_eq!((payload.held.bytes(), budget.held()), (7 + 20, 27));
        ack.settle(Outcome::Delivered);
    }
}
