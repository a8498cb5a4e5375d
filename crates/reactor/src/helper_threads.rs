//! A bounded set of threads for work that would block the loop: look-ups, long computations, files.
//!
//! The first piece of work starts a thread, and up to a limit are started while work waits. Work begins in the order in
//! which it came. The threads end when this value is dropped and no work is left. This module does not handle results.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use otelcore_pipeline::Job;

/// Threads that run jobs. See the module.
#[derive(Debug)]
pub(crate) struct HelperThreads {
    name: &'static str,
    limit: usize,
    stack_bytes: usize,
    sender: Sender<Job>,
    receiver: Arc<Mutex<Receiver<Job>>>,
    threads: usize,
    /// Jobs that have not ended.
    unfinished: Arc<AtomicUsize>,
}

impl HelperThreads {
    /// Up to `limit` threads of this name. Starts none.
    pub(crate) fn new(name: &'static str, limit: usize, stack_bytes: usize) -> Self {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        Self { name, limit, stack_bytes, sender, receiver, threads: 0, unfinished: Arc::default() }
    }

    /// Runs `job` on one of the threads. A panic in it ends the job only.
    ///
    /// # Errors
    /// There is no thread and the system refuses to start one; the job comes back.
    pub(crate) fn run(&mut self, job: Job) -> Result<(), (Job, std::io::Error)> {
        let unfinished = self.unfinished.fetch_add(1, Ordering::Relaxed) + 1;
        if unfinished > self.threads && self.threads < self.limit {
            match self.start_thread() {
                Ok(()) => self.threads += 1,
                Err(e) if self.threads == 0 => {
                    self.unfinished.fetch_sub(1, Ordering::Relaxed);
                    return Err((job, e));
                }
                // The running threads will take this job later.
                Err(_) => {}
            }
        }
        // Never fails: this struct has the receiving end too.
        let _ = self.sender.send(job);
        Ok(())
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let (receiver, unfinished) = (self.receiver.clone(), self.unfinished.clone());
        let next_job = move || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        spawn(self.name, self.stack_bytes, move || {
            while let Ok(job) = next_job() {
                let _ = catch_unwind(AssertUnwindSafe(job));
                unfinished.fetch_sub(1, Ordering::Relaxed);
            }
        })
    }
}

/// Starts a helper thread. It handles no signal of the process.
///
/// # Errors
/// Those of the system.
pub(crate) fn spawn(name: &str, stack_bytes: usize, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let _blocked = crate::os::SignalsBlocked::in_this_thread();
    thread::Builder::new().name(name.to_owned()).stack_size(stack_bytes).spawn(run).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn jobs_more_than_threads_all_run_and_a_panic_ends_its_job_only() {
        let mut threads = HelperThreads::new("test", 2, 256 << 10);
        let (done, results) = channel();
        for n in 0..20 {
            let done = done.clone();
            let job = move || {
                if n % 5 == 0 {
                    std::panic::resume_unwind(Box::new("an error in a job"));
                }
                done.send(n).unwrap();
            };
            assert!(threads.run(Box::new(job)).is_ok());
        }
        let mut results: Vec<i32> = (0..16).map(|_| results.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        results.sort_unstable();
        assert_eq!(results, (0..20).filter(|n| n % 5 != 0).collect::<Vec<_>>());
        assert!(threads.threads <= 2);
    }
}
