//! `inproc`: the receiver, the processor and the exporter through which a host program sends data into pipelines, changes it
//! there, and takes data out.
//!
//! ```text
//!  any thread                         the loop
//!  Input::submit --> queue, notify --> receiver --> pipelines --> exporter --> queue --> Output::next
//!                                                                    ^                        |
//!                                                                    +---- notify, result <---+ Batch::finish
//! ```
//! A processor has both directions: its payloads go to [`HostProcessor::next`], or to a callback in a thread of its own, and
//! come back by [`HostPayload::finish`].
//!
//! A [`HostIo`] has the inputs, processors and outputs that a configuration names. The host program and the loop share queues
//! behind a lock that is held for a push or a take, never during a check, a copy or a callback. Data that
//! [`Input::submit`] has accepted is in the collector's custody: it is delivered, or reported as lost.
#![forbid(unsafe_code)]

mod exporter;
mod host_processor;
mod input;
mod item;
mod output;
mod processor;
mod receiver;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore_config::ComponentId;
use otelcore_pipeline::ComponentKind;

pub use exporter::InprocExporterFactory;
pub use host_processor::{CallbackRunner, HostPayload, HostProcessor, ProcessResult, is_in_process_callback};
pub use input::{Input, SubmitError};
pub use item::{Item, ItemKind, Visit};
pub use output::{Batch, BatchResult, Output};
pub use processor::{InprocProcessorConfig, InprocProcessorFactory};
pub use receiver::InprocReceiverFactory;
pub use waiting::NextBatchError;

/// The process in which a value was made. A forked child of it must not wait for a lock, since the lock's holder may be
/// a thread that the child does not have.
#[derive(Debug)]
pub(crate) struct OwnerProcess(u32);

impl Default for OwnerProcess {
    fn default() -> Self {
        Self(std::process::id())
    }
}

impl OwnerProcess {
    pub(crate) fn is_forked(&self) -> bool {
        self.0 != std::process::id()
    }
}

/// Locks, also if a previous holder panicked: the shared data is consistent after each statement.
fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an input or a processor holds at a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostQueueStatus {
    /// A receiver or a processor.
    pub kind: ComponentKind,
    /// Its id.
    pub id: String,
    /// Bytes of the payloads that wait, and of those whose outcome is not known.
    pub bytes: usize,
    /// `max_queue_bytes` of its configuration; 0 where it has not started.
    pub max_bytes: usize,
}

#[derive(Default)]
struct HostIoState {
    inputs: BTreeMap<ComponentId, Arc<input::InputState>>,
    outputs: BTreeMap<ComponentId, Arc<output::OutputState>>,
    processors: BTreeMap<ComponentId, Arc<host_processor::ProcessorState>>,
}

/// The inputs, processors and outputs of one collector, by the ids of their components. Clones share them.
#[derive(Clone, Default)]
pub struct HostIo(Arc<Mutex<HostIoState>>);

impl std::fmt::Debug for HostIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock_ignoring_poison(&self.0);
        f.debug_struct("HostIo")
            .field("inputs", &state.inputs.keys())
            .field("outputs", &state.outputs.keys())
            .field("processors", &state.processors.keys())
            .finish_non_exhaustive()
    }
}

impl HostIo {
    /// A hub that is empty until a configuration is read with its factories.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The input of the `inproc` receiver of that id.
    #[must_use]
    pub fn input(&self, id: &ComponentId) -> Option<Input> {
        lock_ignoring_poison(&self.0).inputs.get(id).cloned().map(Input::new)
    }

    /// The output of the `inproc` exporter of that id.
    #[must_use]
    pub fn output(&self, id: &ComponentId) -> Option<Output> {
        lock_ignoring_poison(&self.0).outputs.get(id).cloned().map(Output::new)
    }

    /// The host program's side of the `inproc` processors of that id. Who asks for it has to process what it gets.
    #[must_use]
    pub fn processor(&self, id: &ComponentId) -> Option<HostProcessor> {
        lock_ignoring_poison(&self.0).processors.get(id).cloned().map(HostProcessor::new)
    }

    /// Names of all processors, for messages.
    #[must_use]
    pub fn processor_ids(&self) -> Vec<String> {
        lock_ignoring_poison(&self.0).processors.keys().map(ToString::to_string).collect()
    }

    /// What runs the callbacks of processors, each once: for threads that begin before the loop.
    #[must_use]
    pub fn take_callback_runners(&self) -> Vec<CallbackRunner> {
        lock_ignoring_poison(&self.0).processors.values().filter_map(|processor| processor.take_runner()).collect()
    }

    /// Names of all inputs and outputs, for messages.
    #[must_use]
    pub fn ids(&self) -> (Vec<String>, Vec<String>) {
        let state = lock_ignoring_poison(&self.0);
        (
            state.inputs.keys().map(ToString::to_string).collect(),
            state.outputs.keys().map(ToString::to_string).collect(),
        )
    }

    /// The queues of all inputs and processors, from the start on.
    #[must_use]
    pub fn queues(&self) -> Vec<HostQueueStatus> {
        let state = lock_ignoring_poison(&self.0);
        let inputs = state.inputs.iter().map(|(id, input)| (ComponentKind::Receiver, id, input.bytes()));
        let processors =
            state.processors.iter().map(|(id, processor)| (ComponentKind::Processor, id, processor.bytes()));
        inputs
            .chain(processors)
            .map(|(kind, id, (bytes, max_bytes))| HostQueueStatus { kind, id: id.to_string(), bytes, max_bytes })
            .collect()
    }

    /// Closes all inputs, processors and outputs, for a loop that has failed: nothing is accepted any more, and all waiting calls
    /// return. Returns the number of items that inputs had accepted and not passed on.
    pub fn close(&self) -> u64 {
        let state = lock_ignoring_poison(&self.0);
        state.outputs.values().for_each(|output| output.close());
        state.processors.values().for_each(|processor| processor.close());
        state.inputs.values().map(|input| input.close()).sum()
    }

    fn input_state(&self, id: &ComponentId) -> Arc<input::InputState> {
        lock_ignoring_poison(&self.0).inputs.entry(id.clone()).or_default().clone()
    }

    fn processor_state(&self, id: &ComponentId) -> Arc<host_processor::ProcessorState> {
        lock_ignoring_poison(&self.0).processors.entry(id.clone()).or_default().clone()
    }

    fn output_state(&self, id: &ComponentId) -> Arc<output::OutputState> {
        lock_ignoring_poison(&self.0).outputs.entry(id.clone()).or_default().clone()
    }
}
