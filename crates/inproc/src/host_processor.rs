//! The side of a processor that the host program uses: it takes payloads, changes them, and reports what is to be done
//! with them.
//!
//! No lock is held while the host program works. What it makes is checked in its own thread.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use otelcore_pdata::edit::{EditError, Edited, Editor, edit};
use otelcore_pdata::{MalformedBody, Rope, Signal, checked_rope};
use otelcore_pipeline::{Held, Metadata, Notifier, Payload, catch_panic};

use crate::item::{Item, ItemEditor, Visit};
use crate::waiting::{
    HostQueue, NextBatchError, NextEntry, WaitState, WaitedQueue, notify, wait_for_entry, wake_calls,
};
use crate::{OwnerProcess, lock_ignoring_poison};

/// What the loop does with a payload that the host program had.
#[derive(Debug)]
pub(crate) enum PayloadOutcome {
    Pass(Box<Payload>),
    Retry(Option<Duration>),
    Permanent(String),
}

/// A function of the host program, which is called for each payload.
pub(crate) type ProcessCallback = Box<dyn FnMut(&mut HostPayload) -> ProcessResult + Send>;

/// The state that a [`HostProcessor`] shares with the processors of its id.
#[derive(Default)]
pub(crate) struct ProcessorState {
    process: OwnerProcess,
    pub(crate) queue: Mutex<WorkQueue>,
    /// Notified of each new payload, of [`HostProcessor::wake`], and of the end.
    pub(crate) changed: Condvar,
    callback: Mutex<Option<ProcessCallback>>,
}

#[derive(Default)]
pub(crate) struct WorkQueue {
    /// The host program has asked for this processor.
    pub(crate) has_host: bool,
    /// Waiting payloads and those that the host program has.
    pub(crate) bytes: usize,
    /// The bound of `bytes`, once it has started.
    max_bytes: usize,
    next_ticket: u64,
    next_instance: u64,
    /// In the order of their tickets.
    waiting: BTreeMap<u64, (u64, Payload)>,
    instances: BTreeMap<u64, Instance>,
    waits: WaitState,
}

impl HostQueue for ProcessorState {
    type Queue = WorkQueue;

    fn queue(&self) -> &Mutex<WorkQueue> {
        &self.queue
    }

    fn changed(&self) -> &Condvar {
        &self.changed
    }

    fn is_forked(&self) -> bool {
        self.process.is_forked()
    }
}

impl WaitedQueue for WorkQueue {
    /// Its ticket, the number of its instance, and the payload.
    type Entry = (u64, u64, Payload);

    fn pop(&mut self) -> Option<Self::Entry> {
        self.waiting.pop_first().map(|(ticket, (instance, payload))| (ticket, instance, payload))
    }

    fn wait_state(&mut self) -> &mut WaitState {
        &mut self.waits
    }
}

struct Instance {
    notifier: Arc<dyn Notifier>,
    results: VecDeque<(u64, PayloadOutcome)>,
}

impl WorkQueue {
    pub(crate) fn add_instance(&mut self, notifier: Arc<dyn Notifier>, max_bytes: usize) -> u64 {
        self.max_bytes = max_bytes;
        let number = self.next_instance;
        self.next_instance += 1;
        self.instances.insert(number, Instance { notifier, results: VecDeque::new() });
        self.waits.closed = false;
        number
    }

    /// Adds a payload, and returns its ticket.
    pub(crate) fn push(&mut self, instance: u64, payload: Payload) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.bytes += payload.body.len();
        self.waiting.insert(ticket, (instance, payload));
        ticket
    }

    /// Removes a payload if the host program has not taken it.
    pub(crate) fn forget_waiting(&mut self, ticket: u64) {
        if let Some((_, payload)) = self.waiting.remove(&ticket) {
            self.bytes -= payload.body.len();
        }
    }

    pub(crate) fn next_result(&mut self, instance: u64) -> Option<(u64, PayloadOutcome)> {
        self.instances.get_mut(&instance)?.results.pop_front()
    }

    pub(crate) fn has_results(&self, instance: u64) -> bool {
        self.instances.get(&instance).is_some_and(|instance| !instance.results.is_empty())
    }
}

impl ProcessorState {
    /// The bytes that it holds, and their bound.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let queue = lock_ignoring_poison(&self.queue);
        (queue.bytes, queue.max_bytes)
    }

    /// Nothing is given to the host program any more, and all waiting calls return.
    pub(crate) fn close(&self) {
        let mut queue = lock_ignoring_poison(&self.queue);
        queue.waits.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        queue.bytes -= waiting.values().map(|(_, payload)| payload.body.len()).sum::<usize>();
        notify(self, queue, true);
    }

    /// The loop has dropped one of the processors; with the last one, the host program gets nothing more.
    pub(crate) fn remove_instance(&self, number: u64) {
        if self.process.is_forked() {
            return;
        }
        let mut queue = lock_ignoring_poison(&self.queue);
        queue.instances.remove(&number);
        let is_last = queue.instances.is_empty();
        drop(queue);
        if is_last {
            self.close();
        }
    }

    pub(crate) fn take_runner(self: &Arc<Self>) -> Option<CallbackRunner> {
        let callback = lock_ignoring_poison(&self.callback).take()?;
        Some(CallbackRunner { processor: HostProcessor(self.clone()), callback: Some(callback) })
    }
}

/// What is to be done with a payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProcessResult {
    /// It is passed on as it is now. Without any item it is dropped.
    Pass,
    /// It is dropped: its sender takes it as delivered.
    Drop,
    /// It is refused; its sender may send it again, not before the pause is over.
    Retry(Option<Duration>),
    /// It is refused for good, with this reason.
    Permanent(String),
}

/// The host program's side of the `inproc` processors of one id. Any thread may use it; clones are the same processor, and
/// share its payloads.
#[derive(Clone)]
pub struct HostProcessor(Arc<ProcessorState>);

impl std::fmt::Debug for HostProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("HostProcessor");
        if !self.0.process.is_forked() {
            out.field("bytes", &lock_ignoring_poison(&self.0.queue).bytes);
        }
        out.finish_non_exhaustive()
    }
}

impl HostProcessor {
    pub(crate) fn new(state: Arc<ProcessorState>) -> Self {
        if !state.process.is_forked() {
            lock_ignoring_poison(&state.queue).has_host = true;
        }
        Self(state)
    }

    /// Has `callback` called for each payload, one after another, in a thread that the collector starts for this
    /// processor, instead of [`HostProcessor::next`]. It may take as long as the processor's `timeout` says; a payload
    /// whose time is over is refused, and its sender may send it again. A payload at which it panics is refused for good.
    /// In it everything may be called that does not wait for the collector.
    ///
    /// Returns `false` when the collector has been started, or there is a callback already.
    pub fn set_callback(&self, callback: impl FnMut(&mut HostPayload) -> ProcessResult + Send + 'static) -> bool {
        if self.0.process.is_forked() {
            return false;
        }
        let queue = lock_ignoring_poison(&self.0.queue);
        let mut current = lock_ignoring_poison(&self.0.callback);
        if queue.waits.closed || !queue.instances.is_empty() || current.is_some() {
            return false;
        }
        *current = Some(Box::new(callback));
        true
    }

    /// The next payload. Waits for it until `timeout` has passed; without a timeout there is no limit.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn next(&self, timeout: Option<Duration>) -> Result<HostPayload, NextBatchError> {
        if self.0.process.is_forked() {
            return Err(NextBatchError::Forked);
        }
        Ok(HostPayload::new(&self.0, wait_for_entry(&*self.0, timeout)?))
    }

    /// The next payload as a future, for any executor: it is woken in the collector's thread. Dropped, it takes no payload.
    /// There is no timeout; [`HostProcessor::wake`] ends it as it ends calls.
    ///
    /// Resolves to an error with the reason why there is none.
    pub fn next_async(&self) -> impl Future<Output = Result<HostPayload, NextBatchError>> + Send + use<> {
        let state = self.0.clone();
        async move { Ok(HostPayload::new(&state, NextEntry::new(state.clone()).await?)) }
    }

    /// Makes all calls that wait in [`HostProcessor::next`] return; if there are none, the next call that would wait.
    pub fn wake(&self) {
        if !self.0.process.is_forked() {
            wake_calls(&*self.0);
        }
    }
}

/// A payload that the host program processes. One that is dropped unfinished is refused, and its sender may send it again.
pub struct HostPayload {
    state: Arc<ProcessorState>,
    ticket: u64,
    instance: u64,
    /// Its bytes in the count of the queue.
    len: usize,
    payload: Payload,
    is_finished: bool,
}

impl std::fmt::Debug for HostPayload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (signal, items) = (self.signal(), self.items());
        f.debug_struct("HostPayload").field("signal", &signal).field("items", &items).finish_non_exhaustive()
    }
}

impl HostPayload {
    fn new(state: &Arc<ProcessorState>, (ticket, instance, payload): (u64, u64, Payload)) -> Self {
        let len = payload.body.len();
        Self { state: state.clone(), ticket, instance, len, payload, is_finished: false }
    }

    /// The signal of its items.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.payload.signal
    }

    /// Spans, data points or log records.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.payload.items()
    }

    /// The headers of the request that brought it, if the receiver keeps them.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.payload.metadata.as_deref()
    }

    /// The request message: an `Export*ServiceRequest` in protobuf.
    #[must_use]
    pub fn data(&self) -> Bytes {
        self.payload.body.to_bytes()
    }

    /// Replaces the request message.
    ///
    /// # Errors
    /// The bytes are no valid request of this signal: where and why. The payload is then as it was.
    pub fn replace(&mut self, body: Bytes) -> Result<(), MalformedBody> {
        let body = checked_rope(self.payload.signal, body)?;
        let bytes = body.len() as u64 + self.payload.metadata_bytes();
        self.payload.held = self.payload.held.hold_derived(bytes);
        self.payload.body = body;
        Ok(())
    }

    /// Changes it in one pass over its bytes.
    ///
    /// # Errors
    /// The result would be larger than four times the payload and 1 MiB, or the editor has read more than
    /// `edit::MAX_WORK_PER_BYTE` permits. The payload is then as it was.
    pub fn edit<E: Editor + ?Sized>(&mut self, editor: &mut E) -> Result<Edited, EditError> {
        let edited = edit(self.payload.signal, &mut self.payload.body, editor)?;
        if edited.changed_parts > 0 {
            let bytes = self.payload.body.len() as u64;
            if edited.shared_parts == 0 {
                self.payload.held = self.payload.held.hold_derived(bytes + self.payload.metadata_bytes());
            } else {
                let held = self.payload.held.hold_derived(bytes);
                self.payload.held.merge(held);
            }
        }
        Ok(edited)
    }

    /// Calls `visit` for each resource, scope, span, event, link, metric, data point and log record, from the outside to
    /// the inside; it may change them, and says whether they stay.
    ///
    /// # Errors
    /// As [`HostPayload::edit`].
    pub fn visit(&mut self, visit: impl FnMut(&mut Item<'_, '_>) -> Visit) -> Result<Edited, EditError> {
        self.edit(&mut ItemEditor(visit))
    }

    /// Moves the payload out, for a callback that needs to own it. What is left behind counts as finished.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            state: self.state.clone(),
            ticket: self.ticket,
            instance: self.instance,
            len: self.len,
            payload: self.take_payload(),
            is_finished: std::mem::replace(&mut self.is_finished, true),
        }
    }

    fn take_payload(&mut self) -> Payload {
        let empty =
            Payload { signal: self.payload.signal, body: Rope::default(), metadata: None, held: Held::default() };
        std::mem::replace(&mut self.payload, empty)
    }

    /// Reports what is to be done with it.
    pub fn finish(mut self, result: ProcessResult) {
        self.set_result(result);
    }

    fn set_result(&mut self, result: ProcessResult) {
        if std::mem::replace(&mut self.is_finished, true) || self.state.process.is_forked() {
            return;
        }
        let outcome = match result {
            ProcessResult::Retry(after) => PayloadOutcome::Retry(after),
            ProcessResult::Permanent(why) if why.is_empty() => {
                PayloadOutcome::Permanent("the host program refused the data".to_owned())
            }
            ProcessResult::Permanent(why) => PayloadOutcome::Permanent(why),
            ProcessResult::Pass => PayloadOutcome::Pass(Box::new(self.take_payload())),
            ProcessResult::Drop => {
                PayloadOutcome::Pass(Box::new(Payload { body: Rope::default(), ..self.take_payload() }))
            }
        };
        let mut queue = lock_ignoring_poison(&self.state.queue);
        queue.bytes -= self.len;
        if let Some(instance) = queue.instances.get_mut(&self.instance) {
            instance.results.push_back((self.ticket, outcome));
            let notifier = instance.notifier.clone();
            drop(queue);
            notifier.notify();
        }
    }
}

impl Drop for HostPayload {
    fn drop(&mut self) {
        self.set_result(ProcessResult::Retry(None));
    }
}

thread_local! {
    /// This thread is in a callback of a processor.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is in a callback of a processor: it must not wait for the collector then.
#[must_use]
pub fn is_in_process_callback() -> bool {
    IN_CALLBACK.get()
}

/// Calls the callback of a processor. For a thread of its own.
pub struct CallbackRunner {
    processor: HostProcessor,
    callback: Option<ProcessCallback>,
}

impl std::fmt::Debug for CallbackRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackRunner").field("processor", &self.processor).finish_non_exhaustive()
    }
}

impl CallbackRunner {
    /// Calls the callback for each payload, until the collector has ended.
    pub fn run(mut self) {
        let Some(callback) = &mut self.callback else { return };
        loop {
            let mut payload = match self.processor.next(None) {
                Ok(payload) => payload,
                Err(NextBatchError::Woken | NextBatchError::Timeout) => continue,
                Err(NextBatchError::Closed | NextBatchError::Forked) => return,
            };
            IN_CALLBACK.set(true);
            let result = catch_panic(|| callback(&mut payload));
            IN_CALLBACK.set(false);
            payload.finish(result.unwrap_or_else(|text| {
                ProcessResult::Permanent(format!("the callback of the host program panicked: {text}"))
            }));
        }
    }
}

impl Drop for CallbackRunner {
    fn drop(&mut self) {
        if self.processor.0.process.is_forked() {
            // It belongs to the parent.
            std::mem::forget(self.callback.take());
        }
    }
}
