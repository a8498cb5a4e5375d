//! The place where a job on a helper thread leaves its result for the loop.
//!
//! Owns the result until the loop takes it. Never waits.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_pipeline::{FileJob, FileSystem};

/// A job that was given out.
#[derive(Debug)]
pub(crate) struct Slot<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    has_begun: AtomicBool,
    result: Mutex<Option<T>>,
}

/// How far a job is.
pub(crate) enum JobEnd<T> {
    /// It waits or runs.
    Pending,
    /// Its result.
    Done(T),
    /// It was dropped before it ran.
    NotRun,
    /// It has panicked.
    Panicked,
}

impl<T: Send + 'static> Slot<T> {
    pub(crate) fn new(work: impl FnOnce(&mut dyn FileSystem) -> T + Send + 'static) -> (FileJob, Self) {
        let shared = Arc::new(Shared { has_begun: AtomicBool::new(false), result: Mutex::new(None) });
        let slot = Self(shared.clone());
        let job = move |files: &mut dyn FileSystem| {
            shared.has_begun.store(true, Ordering::Relaxed);
            let value = work(files);
            *shared.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        (Box::new(job), slot)
    }

    pub(crate) fn end(&self) -> JobEnd<T> {
        // The job drops its reference at its end. Reading the count first means that nothing comes after it.
        let has_ended = Arc::strong_count(&self.0) == 1;
        fence(Ordering::Acquire);
        if let Some(value) = self.0.result.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return JobEnd::Done(value);
        }
        match (has_ended, self.0.has_begun.load(Ordering::Relaxed)) {
            (false, _) => JobEnd::Pending,
            (true, false) => JobEnd::NotRun,
            (true, true) => JobEnd::Panicked,
        }
    }
}
