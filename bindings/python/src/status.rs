//! Changes of statuses, for Python's threads to take: the collector's thread never calls Python.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otelcore::component_status_json;
use otelcore::pipeline::ComponentStatusEntry;
use pyo3::prelude::*;

use crate::process::{ProcessOwned, duration, wait_in_slices};

/// Changes that wait at most; beyond it the oldest is dropped.
const MAX_CHANGES: usize = 1024;

#[derive(Default)]
struct Waiting {
    changes: VecDeque<ComponentStatusEntry>,
    is_closed: bool,
}

#[derive(Default)]
struct Changes {
    waiting: Mutex<Waiting>,
    has_changed: Condvar,
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes of one collector.
#[pyclass(frozen, module = "otelcore._otelcore")]
pub(crate) struct StatusQueue(ProcessOwned<Arc<Changes>>);

impl StatusQueue {
    /// A queue, and what puts a change into it.
    pub(crate) fn new() -> (Self, impl Fn(&ComponentStatusEntry) + Send + Sync + 'static) {
        let changes = Arc::<Changes>::default();
        let to = changes.clone();
        let put = move |entry: &ComponentStatusEntry| {
            let mut waiting = to.lock();
            if waiting.changes.len() >= MAX_CHANGES {
                waiting.changes.pop_front();
            }
            waiting.changes.push_back(entry.clone());
            drop(waiting);
            to.has_changed.notify_all();
        };
        (Self(ProcessOwned::new(changes)), put)
    }
}

#[pymethods]
impl StatusQueue {
    /// The next change as a JSON object; `None` when the timeout has passed, and after the close.
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<String>> {
        let changes = self.0.get()?;
        let deadline = duration(timeout)?.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        let next = wait_in_slices(py, deadline, |slice: Duration| {
            let waiting = changes.lock();
            let is_idle = |waiting: &mut Waiting| waiting.changes.is_empty() && !waiting.is_closed;
            let waited = changes.has_changed.wait_timeout_while(waiting, slice, is_idle);
            let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
            match waiting.changes.pop_front() {
                Some(entry) => Some(Some(entry)),
                None if waiting.is_closed => Some(None),
                None => None,
            }
        })?;
        Ok(next.flatten().map(|entry| component_status_json(&entry)))
    }

    /// Nothing more will come.
    fn close(&self) -> PyResult<()> {
        let changes = self.0.get()?;
        changes.lock().is_closed = true;
        changes.has_changed.notify_all();
        Ok(())
    }
}
