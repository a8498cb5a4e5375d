//! The processor around an editor: edits each payload and passes it on, in their order.
//!
//! Takes custody of nothing: the outcome of a payload is that of the next component.

use std::time::Duration;

use otelcore_pdata::edit::{EditPass, Edited, Editor, OutputLimit};
use otelcore_pdata::{Rope, Signal, StepBudget};
use otelcore_pipeline::{
    Ack, BodyEdit, Cx, Downstream, EditQueue, EditedPayload, Event, Held, Outcome, Payload, Processor, StartError,
    WallTime,
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

    /// Why items that it drops are gone, for the metrics.
    const DROP_REASON: &'static str = "removed";

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

/// The local key of the timer at which old state is removed, beside those of [`EditQueue`].
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
}

impl<E: PayloadEditor> BodyEdit for EditTask<E> {
    type Editor = E;

    fn step(&mut self, output: &mut Held, work: &mut StepBudget) -> Result<bool, Outcome> {
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
                output.try_grow(written).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
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
                *rebuilt = self.editor.rebuild(body, output)?;
                Ok(true)
            }
        }
    }

    fn finish(self) -> (E, Rope, Edited) {
        let (rope, edited) = match self.body {
            TaskBody::Passes { pass, before, .. } => {
                let (rope, edited) = pass.finish();
                (rope, joined(before, edited))
            }
            TaskBody::Rebuild { rebuilt: Some(rope), .. } => (rope, Edited { changed_parts: 1, ..Edited::default() }),
            TaskBody::Rebuild { body, rebuilt: None } => (body, Edited { shared_parts: 1, ..Edited::default() }),
        };
        (self.editor, rope, edited)
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

/// One instance, of one pipeline.
pub(crate) struct EditProcessor<E> {
    /// Makes an editor of the time and a random number.
    new_editor: Box<dyn Fn(WallTime, u64) -> E>,
    /// `None` while it is in use.
    editor: Option<E>,
    edits: EditQueue<E>,
    /// Old state is to be removed when the editor is free again.
    is_expiry_due: bool,
    expiry_interval: Option<Duration>,
}

impl<E: PayloadEditor> EditProcessor<E> {
    pub(crate) fn new(new_editor: impl Fn(WallTime, u64) -> E + 'static) -> Self {
        Self {
            new_editor: Box::new(new_editor),
            editor: None,
            edits: EditQueue::default(),
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
        (payload, ack): (Payload, Ack),
        step: &mut StepBudget,
        downstream: &mut Downstream,
    ) {
        let mut editor = self.editor.take().unwrap_or_else(|| self.make_editor(cx));
        editor.set_time(cx.wall_time());
        editor.begin(&payload);
        let limit = editor.output_limit(&payload);
        let most_work = (payload.body.len() as u64).saturating_mul(editor.cost_per_byte());
        let begin = |signal, body| {
            let body = if E::REBUILDS {
                TaskBody::Rebuild { body, rebuilt: None }
            } else {
                TaskBody::Passes { signal, limit, pass: EditPass::new(signal, body, limit), before: None }
            };
            EditTask { body, editor }
        };
        if let Some((editor, edited)) = self.edits.edit(cx, (payload, ack), most_work, step, begin) {
            self.end_edit(editor, edited, downstream);
        }
    }

    fn end_edit(&mut self, mut editor: E, edited: EditedPayload, downstream: &mut Downstream) {
        editor.end(edited.edited());
        self.editor = Some(editor);
        edited.pass_on(downstream, E::DROP_REASON);
    }

    /// Edits payloads that wait, until one takes longer or the work of this turn is done.
    fn edit_waiting(&mut self, cx: &mut Cx<'_>, downstream: &mut Downstream) {
        let mut turn = StepBudget::for_one_step();
        while let Some(waiting) = self.edits.next_waiting(cx, &mut turn) {
            let mut step = StepBudget::for_one_step();
            self.edit(cx, waiting, &mut step, downstream);
            turn.charge(step.spent());
        }
    }
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
        if self.edits.is_empty() {
            return self.edit(cx, (payload, ack), &mut StepBudget::for_one_step(), downstream);
        }
        self.edits.push(payload, ack, downstream);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, downstream: &mut Downstream) {
        if local == EXPIRY_KEY {
            // While the editor is in use, the end of the job does it.
            self.is_expiry_due = true;
            return self.expire(cx);
        }
        if local == EditQueue::<E>::NEXT_TURN_KEY {
            self.edits.begin_turn();
        } else if let Some(ended) = self.edits.end_job(downstream) {
            match ended {
                Ok((editor, edited)) => self.end_edit(editor, edited, downstream),
                Err(_) => self.editor = Some(self.make_editor(cx)),
            }
            if self.is_expiry_due {
                self.expire(cx);
            }
        }
        self.edit_waiting(cx, downstream);
    }

    fn held_items(&self) -> u64 {
        self.edits.items()
    }
}

#[cfg(test)]
mod tests;
