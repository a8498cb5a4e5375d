//! Long computations on helper threads, so that they do not hold up the loop.
//!
//! The first job starts a thread, and up to [`MAX_THREADS`] are started while others wait. Jobs start in the order in
//! which they came. The threads end when their world is dropped, after the job that they are at. This module does not
//! handle results: a job stores its result itself, and the notifier reports that the job has ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use otelcore_pipeline::{Job, Notifier};

/// How many jobs may run at once: one long job does not hold up the next, and the loop keeps a core of its own on
/// machines that have three.
const MAX_THREADS: usize = 2;

/// Decoders recurse at most a hundred values deep; std's default of 2 MiB would be more than they need.
const STACK_BYTES: usize = 1 << 20;

type QueuedJob = (Job, Arc<dyn Notifier>);

#[derive(Debug)]
pub(crate) struct Jobs {
    sender: Sender<QueuedJob>,
    receiver: Arc<Mutex<Receiver<QueuedJob>>>,
    threads: usize,
    /// Jobs that have not ended.
    unfinished_jobs: Arc<AtomicUsize>,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver: Arc::new(Mutex::new(receiver)), threads: 0, unfinished_jobs: Arc::default() }
    }

    /// Runs `job` on a helper thread and notifies `notifier` afterwards. Where no thread can be started, it runs in the
    /// caller's.
    pub(crate) fn run(&mut self, job: Job, notifier: Arc<dyn Notifier>) {
        let unfinished = self.unfinished_jobs.fetch_add(1, Ordering::Relaxed) + 1;
        if unfinished > self.threads && self.threads < MAX_THREADS && self.spawn().is_ok() {
            self.threads += 1;
        }
        if self.threads == 0 {
            self.unfinished_jobs.fetch_sub(1, Ordering::Relaxed);
            run_and_notify((job, notifier));
        } else {
            // Never fails: this struct has the receiving end too.
            let _ = self.sender.send((job, notifier));
        }
    }

    fn spawn(&self) -> std::io::Result<()> {
        let (receiver, unfinished) = (self.receiver.clone(), self.unfinished_jobs.clone());
        let next_job = move || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let run_jobs = move || {
            while let Ok(job) = next_job() {
                run_and_notify(job);
                unfinished.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let _unsignalled = crate::os::SignalsBlocked::in_this_thread();
        thread::Builder::new().name("otelcore-jobs".to_owned()).stack_size(STACK_BYTES).spawn(run_jobs).map(|_| ())
    }
}

/// Runs a job and notifies. A job that panics has ended too: its component finds no result.
fn run_and_notify((job, notifier): QueuedJob) {
    let _ = catch_unwind(AssertUnwindSafe(job));
    notifier.notify();
}

#[cfg(test)]
mod tests {
    use super::*;
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
