//! Work on one payload after the other, in their order: at once if it can't take long, else on a helper thread.
//!
//! Payloads that arrive while one is on a helper thread wait behind it with their acks and charges, up to
//! [`MAX_WAITING_BYTES`]. Settles no ack, unless there is no room or the work has panicked.

use std::collections::VecDeque;

use otelcore_pdata::StepBudget;
use otelcore_pipeline::{Ack, ConnectorOutput, Cx, JobResult, LossReason, MonotonicTime, Outcome, Payload, WallTime};

/// What is done with payloads.
pub(crate) trait Work: Send + 'static {
    /// The result for one payload.
    type Output: Send + 'static;

    /// Units of work that a byte of a payload costs at most; see [`StepBudget`].
    fn cost_per_byte(&self) -> u64;

    /// Sets the time of the payload that is worked on next.
    fn set_time(&mut self, now: MonotonicTime, wall_time: WallTime);

    /// Works on a payload, however long that takes.
    fn run(&mut self, payload: &mut Payload) -> Self::Output;
}

/// Bytes of payloads that may wait behind one that is worked on by a helper thread.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// The local key of the event at the end of a job.
pub(crate) const JOB_KEY: u64 = 0;

/// The local key under which the next turn is requested.
pub(crate) const NEXT_TURN_KEY: u64 = 1;

struct RunningJob<W: Work> {
    result: JobResult<(W, Payload, W::Output)>,
    ack: Ack,
    items: u32,
}

/// A payload whose work is done.
pub(crate) struct Finished<W: Work> {
    pub(crate) payload: Payload,
    pub(crate) ack: Ack,
    /// Those that it had before the work.
    pub(crate) items: u32,
    pub(crate) output: W::Output,
}

/// See the module. Its owner passes events under [`JOB_KEY`] and [`NEXT_TURN_KEY`] to it.
pub(crate) struct OrderedWork<W: Work> {
    new_work: Box<dyn Fn(&mut Cx<'_>) -> W>,
    /// `None` before the start, and while a helper thread has it.
    work: Option<W>,
    job: Option<RunningJob<W>>,
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: usize,
    waiting_items: u64,
    is_turn_requested: bool,
}

impl<W: Work> OrderedWork<W> {
    /// `new_work` is called at the start, and after a panic of the work.
    pub(crate) fn new(new_work: impl Fn(&mut Cx<'_>) -> W + 'static) -> Self {
        Self {
            new_work: Box::new(new_work),
            work: None,
            job: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_items: 0,
            is_turn_requested: false,
        }
    }

    /// What works; `None` while a helper thread has it.
    #[cfg(feature = "service-graph")]
    pub(crate) fn work(&mut self, cx: &mut Cx<'_>) -> Option<&mut W> {
        if self.job.is_none() && self.work.is_none() {
            self.work = Some((self.new_work)(cx));
        }
        self.work.as_mut()
    }

    /// Works on a payload, or keeps it until those before it are done.
    pub(crate) fn offer(
        &mut self,
        cx: &mut Cx<'_>,
        payload: Payload,
        ack: Ack,
        output: &mut ConnectorOutput,
    ) -> Option<Finished<W>> {
        if self.job.is_none() && self.waiting.is_empty() {
            return self.begin(cx, payload, ack);
        }
        let bytes = self.waiting_bytes + payload.body.len();
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            output.refuse(ack, payload.items(), Outcome::retry("too much data waits for a connector"));
            return None;
        }
        self.waiting_items += u64::from(payload.items());
        self.waiting_bytes = bytes;
        self.waiting.push_back((payload, ack));
        None
    }

    fn begin(&mut self, cx: &mut Cx<'_>, mut payload: Payload, ack: Ack) -> Option<Finished<W>> {
        let mut work = self.work.take().unwrap_or_else(|| (self.new_work)(cx));
        work.set_time(cx.now(), cx.wall_time());
        let most = (payload.body.len() as u64).saturating_mul(work.cost_per_byte());
        if most <= StepBudget::UNITS_PER_STEP {
            let items = payload.items();
            let output = work.run(&mut payload);
            self.work = Some(work);
            return Some(Finished { payload, ack, items, output });
        }
        let items = payload.items();
        let result = cx.run_job(JOB_KEY, move || {
            let output = work.run(&mut payload);
            (work, payload, output)
        });
        self.job = Some(RunningJob { result, ack, items });
        None
    }

    /// An event under one of the keys: the payload whose job has ended, if one has. [`OrderedWork::go_on`] is to be called
    /// after it.
    pub(crate) fn handle_event(&mut self, local: u64, output: &mut ConnectorOutput) -> Option<Finished<W>> {
        if local == NEXT_TURN_KEY {
            self.is_turn_requested = false;
            return None;
        }
        let RunningJob { result, ack, items } = self.job.take()?;
        let Some((work, payload, done)) = result.take() else {
            // It has panicked.
            output.refuse(ack, items, Outcome::Lost(LossReason::Dropped));
            return None;
        };
        self.work = Some(work);
        Some(Finished { payload, ack, items, output: done })
    }

    /// Works on payloads that wait, until one takes long or the work of this turn is done. `finish` is called for each one.
    pub(crate) fn go_on(&mut self, cx: &mut Cx<'_>, finish: &mut dyn FnMut(Finished<W>)) {
        let mut spent = StepBudget::for_one_step();
        while self.job.is_none()
            && let Some((payload, ack)) = self.waiting.pop_front()
        {
            if spent.is_spent() {
                self.waiting.push_front((payload, ack));
                if !std::mem::replace(&mut self.is_turn_requested, true) {
                    cx.request_ready(NEXT_TURN_KEY);
                }
                return;
            }
            let bytes = payload.body.len();
            self.waiting_bytes -= bytes;
            self.waiting_items -= u64::from(payload.items());
            let cost = self.work.as_ref().map_or(0, |work| work.cost_per_byte());
            // Also what the next components do with it in the same turn.
            spent.charge((bytes as u64).saturating_mul(cost.saturating_add(1)));
            if let Some(finished) = self.begin(cx, payload, ack) {
                finish(finished);
            }
        }
    }

    /// Items of payloads that are here.
    pub(crate) fn held_items(&self) -> u64 {
        self.waiting_items + self.job.as_ref().map_or(0, |job| u64::from(job.items))
    }
}
