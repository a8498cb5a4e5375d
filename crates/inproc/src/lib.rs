//! `inproc`: the receiver and the exporter through which a host program sends data into pipelines and takes data out.
//!
//! ```text
//!  any thread                         the loop
//!  Input::submit --> queue, notify --> receiver --> pipelines --> exporter --> queue --> Output::next
//!                                                                    ^                        |
//!                                                                    +---- notify, result <---+ Batch::finish
//! ```
//! A [`HostIo`] has the inputs and outputs that a configuration names. The host program and the loop share queues
//! behind a lock that is held for a push or a take, never during a check, a copy or a callback. Data that
//! [`Input::submit`] has accepted is in the collector's custody: it is delivered, or reported as lost.
#![forbid(unsafe_code)]

mod exporter;
mod input;
mod output;
mod receiver;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use otelcore_config::ComponentId;

pub use exporter::InprocExporterFactory;
pub use input::{Input, SubmitError};
pub use output::{Batch, BatchResult, NextBatchError, Output};
pub use receiver::InprocReceiverFactory;

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

#[derive(Default)]
struct HostIoState {
    inputs: BTreeMap<ComponentId, Arc<input::InputState>>,
    outputs: BTreeMap<ComponentId, Arc<output::OutputState>>,
}

/// The inputs and outputs of one collector, by the ids of their components. Clones share them.
#[derive(Clone, Default)]
pub struct HostIo(Arc<Mutex<HostIoState>>);

impl std::fmt::Debug for HostIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = lock_ignoring_poison(&self.0);
        f.debug_struct("HostIo")
            .field("inputs", &state.inputs.keys())
            .field("outputs", &state.outputs.keys())
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

    /// Names of all inputs and outputs, for messages.
    #[must_use]
    pub fn ids(&self) -> (Vec<String>, Vec<String>) {
        let state = lock_ignoring_poison(&self.0);
        (
            state.inputs.keys().map(ToString::to_string).collect(),
            state.outputs.keys().map(ToString::to_string).collect(),
        )
    }

    /// Closes all inputs and outputs, for a loop that has failed: nothing is accepted any more, and all waiting calls
    /// return. Returns the number of items that inputs had accepted and not passed on.
    pub fn close(&self) -> u64 {
        let state = lock_ignoring_poison(&self.0);
        state.outputs.values().for_each(|output| output.close());
        state.inputs.values().map(|input| input.close()).sum()
    }

    fn input_state(&self, id: &ComponentId) -> Arc<input::InputState> {
        lock_ignoring_poison(&self.0).inputs.entry(id.clone()).or_default().clone()
    }

    fn output_state(&self, id: &ComponentId) -> Arc<output::OutputState> {
        lock_ignoring_poison(&self.0).outputs.entry(id.clone()).or_default().clone()
    }
}
