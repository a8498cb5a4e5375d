//! Long computations on helper threads, so that they do not hold up the loop.
//!
//! This module does not handle results: a job stores its result itself, and the notifier reports that the job has
//! ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use otelcore_pipeline::{Job, Notifier};

use crate::helper_threads::HelperThreads;

/// How many jobs may run at once: one long job does not hold up the next, and the loop keeps a core of its own on
/// machines that have three.
const MAX_THREADS: usize = 2;

/// Decoders recurse at most a hundred values deep; std's default of 2 MiB would be more than they need.
const STACK_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Jobs(HelperThreads);

impl Jobs {
    pub(crate) fn new() -> Self {
        Self(HelperThreads::new("otelcore-jobs", MAX_THREADS, STACK_BYTES))
    }

    /// Runs `job` on a helper thread and notifies `notifier` afterwards. Where no thread can be started, it runs in the
    /// caller's.
    pub(crate) fn run(&mut self, job: Job, notifier: Arc<dyn Notifier>) {
        // A job that panics has ended too: its component finds no result.
        let run_and_notify = move || {
            let _ = catch_unwind(AssertUnwindSafe(job));
            notifier.notify();
        };
        if let Err((run_here, _)) = self.0.run(Box::new(run_and_notify)) {
            run_here();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    struct ChannelNotifier(Sender<()>);

    impl Notifier for ChannelNotifier {
        fn notify(&self) {
            self.0.send(()).unwrap();
        }
    }

    fn channel_notifier() -> (Arc<dyn Notifier>, Receiver<()>) {
        let (sender, notified) = channel();
        (Arc::new(ChannelNotifier(sender)), notified)
    }

    #[test]
    fn job_that_ends_notifies_once() {
        let mut jobs = Jobs::new();
        let (notifier, notified) = channel_notifier();
        let (done, result) = channel();
        for n in 0..5 {
            let done = done.clone();
            jobs.run(Box::new(move || done.send(n).unwrap()), notifier.clone());
        }
        let mut results: Vec<i32> = (0..5).map(|_| result.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        results.sort_unstable();
        assert_eq!(results, [0, 1, 2, 3, 4]);
        for _ in 0..5 {
            notified.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        assert!(notified.try_recv().is_err());
    }

    #[test]
    fn job_that_panics_notifies_and_its_thread_runs_the_next_job() {
        let mut jobs = Jobs::new();
        let (notifier, notified) = channel_notifier();
        for _ in 0..4 {
            jobs.run(Box::new(|| std::panic::resume_unwind(Box::new("a fault in a job"))), notifier.clone());
        }
        jobs.run(Box::new(|| ()), notifier);
        for _ in 0..5 {
            notified.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
}
