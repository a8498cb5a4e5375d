//! Another configuration for a running collector in a host program.
//!
//! The configuration is read in the caller's thread; the loop changes to it between two turns, and leaves the result for the
//! caller. Decides nothing about components; that is [`Collector::take_over`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use otelcore_pipeline::{GraphChange, StartError, UndeliveredItems};
use otelcore_reactor::EventLoop;

use super::{CollectorState, ConfigDocument, EmbedError, EmbeddedCollector, SharedState};
use crate::plan::Plan;
use crate::service::ReloadError;

/// How long [`EmbeddedCollector::reload`] waits for a loop that does not turn.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Reloads that were asked for, and their results.
#[derive(Default)]
pub(super) struct Reloads {
    /// There is a request. Read in each turn without the lock.
    is_requested: AtomicBool,
    state: Mutex<ReloadState>,
}

#[derive(Default)]
struct ReloadState {
    last_number: u64,
    request: Option<(u64, Plan, Duration)>,
    result: Option<(u64, Result<GraphChange, EmbedError>)>,
}

impl Reloads {
    fn lock(&self) -> MutexGuard<'_, ReloadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmbeddedCollector {
    /// Changes the running collector to another configuration. Components whose configuration is the same go on with their state,
    /// inputs and outputs of theirs stay valid; those that end get `grace` for what they hold, while the new ones run. Callbacks of
    /// new outputs and processors can be set before: after a reload that has failed for the lack of one, their ids are known.
    ///
    /// # Errors
    /// Every mistake in the configuration, or why it can't start; the collector then goes on as before. Also when it does not run,
    /// or when called in the collector's own thread.
    pub fn reload(&self, yaml: &str, grace: Duration) -> Result<GraphChange, EmbedError> {
        self.reload_merged(&[self.config_document(yaml)], grace)
    }

    /// The same for several documents, which are merged in their order ([`EmbeddedCollector::new_merged`]).
    ///
    /// # Errors
    /// As [`EmbeddedCollector::reload`].
    #[expect(clippy::disallowed_methods, reason = "it is the host's thread that waits, outside of any world")]
    pub fn reload_merged(&self, documents: &[ConfigDocument<'_>], grace: Duration) -> Result<GraphChange, EmbedError> {
        self.check_process()?;
        if self.is_own_thread() {
            return Err(EmbedError::Reentrant);
        }
        let number = self.begin_reload_merged(documents, grace)?;
        let deadline = Instant::now().checked_add(MAX_WAIT);
        let shared = &self.shared;
        let has_result = || shared.reloads.lock().result.as_ref().is_some_and(|(of, _)| *of == number);
        shared.wait(deadline, |_, state| has_result() || state >= CollectorState::Stopped);
        match self.reload_result(number) {
            Some(result) => result,
            None if self.state() >= CollectorState::Stopped => Err(EmbedError::State(self.state())),
            None => {
                // The loop did not take it: it will not.
                shared.reloads.lock().request = None;
                Err(EmbedError::Timeout(UndeliveredItems::default()))
            }
        }
    }

    /// Begins a reload: reads and checks the configuration, and leaves it to the loop, which changes to it in its next turn.
    /// [`EmbeddedCollector::reload_result`] gives the result under the number that this returns.
    ///
    /// # Errors
    /// As [`EmbeddedCollector::reload`]; also while another reload waits for the loop.
    pub fn begin_reload(&self, yaml: &str, grace: Duration) -> Result<u64, EmbedError> {
        self.begin_reload_merged(&[self.config_document(yaml)], grace)
    }

    fn config_document<'a>(&'a self, yaml: &'a str) -> ConfigDocument<'a> {
        ConfigDocument { name: &self.shared.reader.config_name, text: yaml }
    }

    /// The same for several documents, which are merged in their order ([`EmbeddedCollector::new_merged`]).
    ///
    /// # Errors
    /// As [`EmbeddedCollector::reload`]; also while another reload waits for the loop.
    pub fn begin_reload_merged(&self, documents: &[ConfigDocument<'_>], grace: Duration) -> Result<u64, EmbedError> {
        let loop_handle = self.loop_handle()?;
        if self.state() != CollectorState::Running {
            return Err(EmbedError::State(self.state()));
        }
        let (plan, warnings) = self.shared.reader.read(documents)?;
        warnings.report(self.log());
        self.start_processor_threads()?;
        let mut state = self.shared.reloads.lock();
        if state.request.is_some() {
            return Err(EmbedError::Start(StartError::Config("another reload is under way".to_owned())));
        }
        state.last_number += 1;
        let number = state.last_number;
        (state.request, state.result) = (Some((number, plan, grace)), None);
        drop(state);
        self.shared.reloads.is_requested.store(true, Ordering::Release);
        loop_handle.wake();
        Ok(number)
    }

    /// The result of a reload, once: what was changed, or why it was not. `None` while the loop has not come to it.
    pub fn reload_result(&self, number: u64) -> Option<Result<GraphChange, EmbedError>> {
        self.check_process().ok()?;
        self.shared.reloads.lock().result.take_if(|(of, _)| *of == number).map(|(_, result)| result)
    }
}

impl SharedState {
    /// Changes the loop to the configuration that waits, if there is one.
    pub(super) fn apply_reload(&self, event_loop: &mut EventLoop) {
        if !self.reloads.is_requested.swap(false, Ordering::Acquire) {
            return;
        }
        let Some((number, plan, grace)) = self.reloads.lock().request.take() else { return };
        let running = self.collector();
        let changed = running.successor(plan).and_then(|next| {
            let change = next.take_over(event_loop, grace)?;
            Ok((next, change))
        });
        let result = changed.map(|(next, change)| {
            self.set_collector(Arc::new(next));
            change
        });
        self.reloads.lock().result = Some((number, result.map_err(EmbedError::from)));
        // A caller that has looked for the result and found none has the lock until it waits.
        drop(self.inner());
        self.changed.notify_all();
    }
}

impl From<ReloadError> for EmbedError {
    fn from(e: ReloadError) -> Self {
        match e {
            ReloadError::Start(e) => Self::Start(e),
            ReloadError::NeedsRestart(why) => Self::NeedsRestart(why),
        }
    }
}
