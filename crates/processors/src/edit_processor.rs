//! The processor around an editor: edits each payload and passes it on, in their order.
//!
//! An edit that would take longer than a part of a turn may take is done by a job on a helper thread; payloads that
//! arrive in the meantime wait behind it, with their acks and charges, up to [`MAX_WAITING_BYTES`]. The new bytes are
//! charged as they grow. Takes custody of nothing: the outcome of a payload is that of the next component.

use std::collections::VecDeque;
use std::time::Duration;

use otelcore_pdata::edit::{EditPass, Edited, Editor, OutputLimit};
use otelcore_pdata::{Rope, Signal, StepBudget};
use otelcore_pipeline::{
    Ack, Cx, Downstream, Event, Held, JobResult, LossReason, Outcome, Payload, Processor, StartError, WallTime,
};

/// An editor that is used for one payload after another.
pub(crate) trait PayloadEditor: Editor + Send + 'static {
    /// Begins a payload.
    fn begin(&mut self, payload: &Payload);

    /// The longest output for the payload.
    fn output_limit(&self, payload: &Payload) -> OutputLimit;

    /// Units of work that a byte of the payload costs at most; see [`StepBudget`]. One callback is not divided, and a
    /// payload may be one item, so this decides which payloads are edited on a helper thread.
    fn cost_per_byte(&self) -> u64;

    /// Whether [`PayloadEditor::rebuild`] takes the place of a pass.
    const REBUILDS: bool = false;

    /// Makes the body anew, for processors that move or join items. `None`: the body stays as it is. What is written is
    /// charged to `output` as it grows. It is not divided.
    ///
    /// # Errors
    /// The outcome of a payload for whose output there is no room.
    fn rebuild(&mut self, body: &Rope, output: &mut Held) -> Result<Option<Rope>, Outcome> {
        let _ = (body, output);
        Ok(None)
    }

    /// The time at which the next payload begins; called before [`PayloadEditor::begin`].
    fn set_time(&mut self, now: WallTime) {
        let _ = now;
    }

    /// At the end of a pass: whether there is another one, over the result.
    fn begin_next_pass(&mut self) -> bool {
        false
    }

    /// The outcome of a payload that can't be edited.
    fn take_failure(&mut self) -> Option<Outcome> {
        None
    }

    /// The end of a payload, always on the thread of the loop: the place to write metrics, which have one writer.
    /// `edited` is `None` if it could not be edited.
    fn end(&mut self, edited: Option<&Edited>) {
        let _ = edited;
    }

    /// How often [`PayloadEditor::expire`] is called. `None`: the editor keeps no state.
    fn expiry_interval(&self) -> Option<Duration> {
        None
    }

    /// Removes state that has become old, some milliseconds of it. True: all of it has been checked.
    fn expire(&mut self, now: WallTime) -> bool {
        let _ = now;
        true
    }
}

/// Bytes of payloads that may wait behind one that is edited on a helper thread.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// The local key of the event at the end of a job.
const JOB_KEY: u64 = 0;

/// The local key under which the processor requests the next turn.
const NEXT_TURN_KEY: u64 = 1;

/// The local key of the timer at which old state is removed.
const EXPIRY_KEY: u64 = 2;

/// The body while it is edited or made anew.
enum TaskBody {
    /// One pass or several.
    Passes {
        signal: Signal,
        limit: OutputLimit,
        pass: EditPass,
        /// What the passes before this one did.
        before: Option<Edited>,
    },
    Rebuild {
        body: Rope,
        rebuilt: Option<Rope>,
    },
}

/// The work on one payload, with what it needs.
struct EditTask<E> {
    body: TaskBody,
    editor: E,
    /// The charge for the new bytes.
    output: Held,
}

/// The end of a pass: the new body and its charge, or the outcome of a payload that could not be edited.
type EditResult = Result<(Rope, Edited, Held), Outcome>;

impl<E: PayloadEditor> EditTask<E> {
    /// Goes on until the end (true) or the end of the step.
    fn step(&mut self, work: &mut StepBudget) -> Result<bool, Outcome> {
        match &mut self.body {
            TaskBody::Passes { signal, limit, pass, before } => loop {
                let is_done =
                    pass.step(&mut self.editor, work).map_err(|error| Outcome::permanent(error.to_string()))?;
                if let Some(failure) = self.editor.take_failure() {
                    return Err(failure);
                }
                if is_done && !self.editor.begin_next_pass() {
                    return Ok(true);
                }
                let written = pass.written() as u64;
                self.output.try_grow(written).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
                if !is_done {
                    return Ok(false);
                }
                let empty = EditPass::new(*signal, Rope::default(), *limit);
                let (rope, edited) = std::mem::replace(pass, empty).finish();
                *before = Some(joined(*before, edited));
                *pass = EditPass::new(*signal, rope, *limit);
            },
            TaskBody::Rebuild { body, rebuilt } => {
                work.charge((body.len() as u64).saturating_mul(self.editor.cost_per_byte()));
                *rebuilt = self.editor.rebuild(body, &mut self.output)?;
                Ok(true)
            }
        }
    }

    fn end(self, result: Result<bool, Outcome>) -> (E, EditResult) {
        let Self { body, editor, output } = self;
        let result = result.map(|_| {
            let (rope, edited) = match body {
                TaskBody::Passes { pass, before, .. } => {
                    let (rope, edited) = pass.finish();
                    (rope, joined(before, edited))
                }
                TaskBody::Rebuild { rebuilt: Some(rope), .. } => {
                    (rope, Edited { changed_parts: 1, ..Edited::default() })
                }
                TaskBody::Rebuild { body, rebuilt: None } => (body, Edited { shared_parts: 1, ..Edited::default() }),
            };
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

/// What two passes did together. A part of the original is still there only if every pass has left parts as they were.
fn joined(before: Option<Edited>, edited: Edited) -> Edited {
    let Some(before) = before else { return edited };
    Edited {
        dropped: before.dropped + edited.dropped,
        changed_parts: before.changed_parts.max(edited.changed_parts),
        shared_parts: before.shared_parts.min(edited.shared_parts),
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
    /// Makes an editor of the time and a random number.
    new_editor: Box<dyn Fn(WallTime, u64) -> E>,
    /// `None` while it is in use.
    editor: Option<E>,
    job: Option<RunningJob<E>>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    is_turn_requested: bool,
    /// Old state is to be removed when the editor is free again.
    is_expiry_due: bool,
    expiry_interval: Option<Duration>,
}

impl<E: PayloadEditor> EditProcessor<E> {
    pub(crate) fn new(new_editor: impl Fn(WallTime, u64) -> E + 'static) -> Self {
        Self {
            new_editor: Box::new(new_editor),
            editor: None,
            job: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_turn_requested: false,
            is_expiry_due: false,
            expiry_interval: None,
        }
    }

    fn make_editor(&self, cx: &mut Cx<'_>) -> E {
        (self.new_editor)(cx.wall_time(), cx.random())
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
        let mut editor = self.editor.take().unwrap_or_else(|| self.make_editor(cx));
        editor.set_time(cx.wall_time());
        editor.begin(&payload);
        let limit = editor.output_limit(&payload);
        let most_work = (payload.body.len() as u64).saturating_mul(editor.cost_per_byte());
        let body = std::mem::take(&mut payload.body);
        let items = body.items();
        let output = payload.held.hold_derived(0);
        let body = if E::REBUILDS {
            TaskBody::Rebuild { body, rebuilt: None }
        } else {
            let signal = payload.signal;
            TaskBody::Passes { signal, limit, pass: EditPass::new(signal, body, limit), before: None }
        };
        let mut task = EditTask { body, editor, output };
        if most_work <= StepBudget::UNITS_PER_STEP {
            match task.step(work) {
                Ok(false) => {}
                ended => {
                    let (mut editor, result) = task.end(ended);
                    editor.end(result.as_ref().ok().map(|(_, edited, _)| edited));
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

impl<E: PayloadEditor> EditProcessor<E> {
    /// Has the editor remove old state, a part in each turn.
    fn expire(&mut self, cx: &mut Cx<'_>) {
        let (Some(editor), Some(interval)) = (&mut self.editor, self.expiry_interval) else { return };
        self.is_expiry_due = !editor.expire(cx.wall_time());
        if self.is_expiry_due {
            cx.request_ready(EXPIRY_KEY);
        } else {
            editor.end(None);
            cx.set_timer(EXPIRY_KEY, cx.now() + interval);
        }
    }
}

impl<E: PayloadEditor> Processor for EditProcessor<E> {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let editor = self.make_editor(cx);
        self.expiry_interval = editor.expiry_interval();
        if let Some(interval) = self.expiry_interval {
            cx.set_timer(EXPIRY_KEY, cx.now() + interval);
        }
        self.editor = Some(editor);
        Ok(())
    }

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
        if local == EXPIRY_KEY {
            // While the editor is in use, the end of the job does it.
            self.is_expiry_due = true;
            return self.expire(cx);
        }
        if local == NEXT_TURN_KEY {
            self.is_turn_requested = false;
        } else if let Some(RunningJob { result, payload, ack, .. }) = self.job.take() {
            match result.take() {
                Some((mut editor, result)) => {
                    editor.end(result.as_ref().ok().map(|(_, edited, _)| edited));
                    self.editor = Some(editor);
                    pass_on(payload, ack, result, downstream);
                }
                // It has panicked.
                None => {
                    ack.settle(Outcome::Lost(LossReason::Dropped));
                    self.editor = Some(self.make_editor(cx));
                }
            }
            if self.is_expiry_due {
                self.expire(cx);
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
