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

use otelcore_pipeline::{Bell, Job};

/// How many jobs may run at once: one long job does not hold up the next, and the loop keeps a core of its own on
/// machines that have three.
const MAX_THREADS: usize = 2;

/// Decoders recurse at most a hundred values deep; std's default of 2 MiB would be more than they need.
const STACK: usize = 1 << 20;

type Queued = (Job, Arc<dyn Bell>);

#[derive(Debug)]
pub(crate) struct Jobs {
    queue: Sender<Queued>,
    queued: Arc<Mutex<Receiver<Queued>>>,
    threads: usize,
    /// Jobs that have not ended.
    unfinished: Arc<AtomicUsize>,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        let (queue, queued) = channel();
        Self { queue, queued: Arc::new(Mutex::new(queued)), threads: 0, unfinished: Arc::default() }
    }

    /// Runs `job` on a helper thread and notifies `ended` afterwards. Where no thread can be started, it runs in the
    /// caller's.
    pub(crate) fn run(&mut self, job: Job, ended: Arc<dyn Bell>) {
        let unfinished = self.unfinished.fetch_add(1, Ordering::Relaxed) + 1;
        if unfinished > self.threads && self.threads < MAX_THREADS && self.spawn().is_ok() {
            self.threads += 1;
        }
        if self.threads == 0 {
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
            run((job, ended));
        } else {
            // Never fails: this struct has the receiving end too.
            let _ = self.queue.send((job, ended));
        }
    }

    fn spawn(&self) -> std::io::Result<()> {
        let (queued, unfinished) = (self.queued.clone(), self.unfinished.clone());
        let next = move || queued.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let work = move || {
            while let Ok(job) = next() {
                run(job);
                unfinished.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let _unsignalled = crate::os::Unsignalled::here();
        thread::Builder::new().name("otelcore-jobs".to_owned()).stack_size(STACK).spawn(work).map(|_| ())
    }
}

/// Runs a job and notifies. A job that panics has ended too: its component finds no result.
fn run((job, ended): Queued) {
    let _ = catch_unwind(AssertUnwindSafe(job));
    ended.ring();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Count(Sender<()>);

    impl Bell for Count {
        fn ring(&self) {
            self.0.send(()).unwrap();
        }
    }

    fn bell() -> (Arc<dyn Bell>, Receiver<()>) {
        let (rung, heard) = channel();
        (Arc::new(Count(rung)), heard)
    }

    #[test]
    fn job_ends_notifies_once() {
        let mut jobs = Jobs::new();
        let (bell, heard) = bell();
        let (done, result) = channel();
        for n in 0..5 {
            let done = done.clone();
            jobs.run(Box::new(move || done.send(n).unwrap()), bell.clone());
        }
        let mut results: Vec<i32> = (0..5).map(|_| result.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        results.sort_unstable();
        assert_eq!(results, [0, 1, 2, 3, 4]);
        for _ in 0..5 {
            heard.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn job_panics_notifies_and_thread_goes_on() {
        let mut jobs = Jobs::new();
        let (bell, heard) = bell();
        for _ in 0..4 {
            jobs.run(Box::new(|| std::panic::resume_unwind(Box::new("a fault in a job"))), bell.clone());
        }
        jobs.run(Box::new(|| ()), bell);
        for _ in 0..5 {
            heard.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
}
