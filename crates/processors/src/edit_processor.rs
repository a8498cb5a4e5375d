//! The processor around an editor: edits each payload and passes it on, in their order.
//!
//! An edit that would take longer than a part of a turn may take is done by a job on a helper thread; payloads that
//! arrive in the meantime wait behind it, with their acks and charges, up to [`MAX_WAITING_BYTES`]. The new bytes are
//! charged as they grow. Takes custody of nothing: the outcome of a payload is that of the next component.

use std::collections::VecDeque;

use otelcore_pdata::edit::{EditPass, Edited, Editor, OutputLimit};
use otelcore_pdata::{Rope, StepBudget};
use otelcore_pipeline::{Ack, Cx, Downstream, Event, Held, JobResult, LossReason, Outcome, Payload, Processor};

/// An editor that is used for one payload after another.
pub(crate) trait PayloadEditor: Editor + Send + 'static {
    /// Begins a payload.
    fn begin(&mut self, payload: &Payload);

    /// The longest output for the payload.
    fn output_limit(&self, payload: &Payload) -> OutputLimit;

    /// Units of work that a byte of the payload costs at most; see [`StepBudget`]. One callback is not divided, and a
    /// payload may be one item, so this decides which payloads are edited on a helper thread.
    fn cost_per_byte(&self) -> u64;
}

/// Bytes of payloads that may wait behind one that is edited on a helper thread.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// The local key of the event at the end of a job.
const JOB_KEY: u64 = 0;

/// The local key under which the processor requests the next turn.
const NEXT_TURN_KEY: u64 = 1;

/// A pass over one payload, with what it needs.
struct EditTask<E> {
    pass: EditPass,
    editor: E,
    /// The charge for the new bytes.
    output: Held,
}

/// The end of a pass: the new body and its charge, or the outcome of a payload that could not be edited.
type EditResult = Result<(Rope, Edited, Held), Outcome>;

impl<E: PayloadEditor> EditTask<E> {
    /// Goes on until the end (true) or the end of the step.
    fn step(&mut self, work: &mut StepBudget) -> Result<bool, Outcome> {
        let is_done = self.pass.step(&mut self.editor, work).map_err(|error| Outcome::permanent(error.to_string()))?;
        if !is_done {
            let written = self.pass.written() as u64;
            self.output.try_grow(written).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
        }
        Ok(is_done)
    }

    fn end(self, result: Result<bool, Outcome>) -> (E, EditResult) {
        let Self { pass, editor, output } = self;
        let result = result.map(|_| {
            let (rope, edited) = pass.finish();
            (rope, edited, output)
        });
        (editor, result)
    }

    /// Goes on until the end, however long that takes. For a helper thread.
    fn run(mut self) -> (E, EditResult) {
        let result = loop {
            match self.step(&mut StepBudget::for_one_step()) {
                Ok(false) => {}
                ended => break ended,
            }
        };
        self.end(result)
    }
}

/// A payload that is edited on a helper thread.
struct RunningJob<E> {
    result: JobResult<(E, EditResult)>,
    /// Without its body.
    payload: Payload,
    ack: Ack,
    items: u32,
}

/// One instance, of one pipeline.
pub(crate) struct EditProcessor<E> {
    new_editor: Box<dyn Fn() -> E>,
    /// `None` while it is in use.
    editor: Option<E>,
    job: Option<RunningJob<E>>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    is_turn_requested: bool,
}

impl<E: PayloadEditor> EditProcessor<E> {
    pub(crate) fn new(new_editor: impl Fn() -> E + 'static) -> Self {
        Self {
            new_editor: Box::new(new_editor),
            editor: None,
            job: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_turn_requested: false,
        }
    }

    /// Edits a payload and passes it on, or gives it to a helper thread.
    fn edit(
        &mut self,
        cx: &mut Cx<'_>,
        mut payload: Payload,
        ack: Ack,
        work: &mut StepBudget,
        downstream: &mut Downstream,
    ) {
        let mut editor = self.editor.take().unwrap_or_else(&*self.new_editor);
        editor.begin(&payload);
        let limit = editor.output_limit(&payload);
        let most_work = (payload.body.len() as u64).saturating_mul(editor.cost_per_byte());
        let body = std::mem::take(&mut payload.body);
        let items = body.items();
        let output = payload.held.hold_derived(0);
        let mut task = EditTask { pass: EditPass::new(payload.signal, body, limit), editor, output };
        if most_work <= StepBudget::UNITS_PER_STEP {
            match task.step(work) {
                Ok(false) => {}
                ended => {
                    let (editor, result) = task.end(ended);
                    self.editor = Some(editor);
                    return pass_on(payload, ack, result, downstream);
                }
            }
        }
        let result = cx.run_job(JOB_KEY, move || task.run());
        self.job = Some(RunningJob { result, payload, ack, items });
    }

    /// Edits payloads that wait, until one takes longer or the work of this turn is done.
    fn edit_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let mut work = StepBudget::for_one_step();
        while self.job.is_none()
            && let Some((payload, ack)) = self.waiting.pop_front()
        {
            if work.is_spent() {
                self.waiting.push_front((payload, ack));
                if !std::mem::replace(&mut self.is_turn_requested, true) {
                    cx.request_ready(NEXT_TURN_KEY);
                }
                return;
            }
            self.waiting_bytes -= payload.body.len();
            let mut step = StepBudget::for_one_step();
            // What the next components do with it in the same turn.
            work.charge(payload.body.len() as u64);
            self.edit(cx, payload, ack, &mut step, downstream);
            work.charge(step.spent());
        }
    }
}

fn pass_on(mut payload: Payload, ack: Ack, result: EditResult, downstream: &mut Downstream) {
    let (rope, edited, mut output) = match result {
        Ok(ended) => ended,
        Err(outcome) => return ack.settle(outcome),
    };
    if edited.changed_parts > 0 {
        output.grow(rope.len() as u64);
        if edited.shared_parts == 0 {
            payload.held = output;
        } else {
            payload.held.merge(output);
        }
    }
    payload.body = rope;
    if payload.items() == 0 {
        return ack.settle(Outcome::Delivered);
    }
    downstream.send(payload, ack);
}

impl<E: PayloadEditor> Processor for EditProcessor<E> {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        if self.job.is_none() && self.waiting.is_empty() {
            return self.edit(cx, payload, ack, &mut StepBudget::for_one_step(), downstream);
        }
        let bytes = self.waiting_bytes + payload.body.len();
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return ack.settle(Outcome::retry("too much data waits for a processor"));
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back((payload, ack));
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, downstream: &mut Downstream) {
        if local == NEXT_TURN_KEY {
            self.is_turn_requested = false;
        } else if let Some(RunningJob { result, payload, ack, .. }) = self.job.take() {
            match result.take() {
                Some((editor, result)) => {
                    self.editor = Some(editor);
                    pass_on(payload, ack, result, downstream);
                }
                // It has panicked.
                None => ack.settle(Outcome::Lost(LossReason::Dropped)),
            }
        }
        self.edit_waiting(cx, downstream);
    }

    fn held_items(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(payload, _)| u64::from(payload.items()));
        waiting.sum::<u64>() + self.job.as_ref().map_or(0, |job| u64::from(job.items))
    }
}

#[cfg(test)]
mod tests;
