//! Asks file systems how full they are.
//!
//! A network file system whose server is gone does not answer, and the thread that asks waits until it does. So the
//! question is a job of its own, whose progress is seen from outside: where a file system has not answered within the
//! time limit, it is not asked again before it does, and another job asks those behind it. At most [`MAX_STUCK`] threads
//! wait that way; then the rest is left out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otelcore_pipeline::{Cx, DiskUsage, FileSystem, JobResult, TimerId};

use crate::host::disk_usage;
use crate::scrapers::filesystem::Partition;

/// How many threads may wait for file systems that do not answer. The collector has four for all its files.
const MAX_STUCK: usize = 2;

/// The use of a file system, or why it is not known.
pub(crate) type UsageResult = Result<DiskUsage, String>;

/// What a job and its owner share.
#[derive(Debug, Default)]
struct Progress {
    /// The results until now.
    results: Vec<UsageResult>,
    /// The job ends after the file system that it waits for.
    is_abandoned: bool,
}

#[derive(Debug)]
struct UsageJob {
    progress: Arc<Mutex<Progress>>,
    result: JobResult<()>,
    /// How many results there were when the time was taken last.
    seen: usize,
}

impl UsageJob {
    fn take_results(&self) -> Vec<UsageResult> {
        std::mem::take(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner).results)
    }
}

/// A file system that has not answered, and the job that waits for it.
#[derive(Debug)]
struct StuckMount {
    path: String,
    job: JobResult<()>,
}

/// The questions of one scrape.
#[derive(Debug)]
struct Run {
    /// Those that are not asked yet; the first ones are those of the job.
    waiting: VecDeque<Partition>,
    answered: Vec<(Partition, UsageResult)>,
    job: Option<UsageJob>,
    timer: Option<TimerId>,
}

impl Run {
    fn leave_rest_out(&mut self, why: &str) {
        self.answered.extend(self.waiting.drain(..).map(|partition| (partition, Err(why.to_owned()))));
    }
}

/// See the module. Uses the local keys from `base` on: the first for its timer, the others for jobs.
#[derive(Debug)]
pub(crate) struct MountUsages {
    base: u64,
    next_key: u64,
    time_limit: Duration,
    stuck: Vec<StuckMount>,
    run: Option<Run>,
}

impl MountUsages {
    pub(crate) fn new(base: u64, time_limit: Duration) -> Self {
        Self { base, next_key: base + 1, time_limit, stuck: Vec::new(), run: None }
    }

    /// Begins to ask.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>, partitions: Vec<Partition>) {
        self.forget_answered();
        let mut run = Run { waiting: VecDeque::new(), answered: Vec::new(), job: None, timer: None };
        for partition in partitions {
            if self.stuck.iter().any(|stuck| stuck.path == partition.path) {
                run.answered.push((partition, Err("the file system still does not answer".to_owned())));
            } else {
                run.waiting.push_back(partition);
            }
        }
        self.run = Some(run);
        self.ask_rest(cx);
    }

    /// Handles an event under one of its keys.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64) {
        self.forget_answered();
        let time_limit = self.time_limit;
        let Some(run) = &mut self.run else { return };
        let Some(job) = &mut run.job else { return };
        let has_ended = job.result.has_ended();
        if !has_ended && local != self.base {
            return;
        }
        let mut progress = job.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if !has_ended && progress.results.len() > job.seen {
            // It is slow, but it goes on.
            job.seen = progress.results.len();
            run.timer = Some(cx.set_timer(self.base, cx.now() + time_limit));
            return;
        }
        progress.is_abandoned = true;
        drop(progress);
        let Some(job) = run.job.take() else { return };
        if let Some(timer) = run.timer.take() {
            cx.cancel_timer(timer);
        }
        for result in job.take_results() {
            run.answered.extend(run.waiting.pop_front().map(|partition| (partition, result)));
        }
        if let Some(partition) = run.waiting.pop_front() {
            if has_ended {
                run.answered.push((partition, Err("the question has failed".to_owned())));
            } else {
                self.stuck.push(StuckMount { path: partition.path.clone(), job: job.result });
                let error = format!("the file system does not answer within {time_limit:?}");
                run.answered.push((partition, Err(error)));
            }
        }
        self.ask_rest(cx);
    }

    /// The results, once all file systems have answered or are left out; returned once.
    pub(crate) fn take_results(&mut self) -> Option<Vec<(Partition, UsageResult)>> {
        let is_done = self.run.as_ref().is_some_and(|run| run.job.is_none() && run.waiting.is_empty());
        self.run.take_if(|_| is_done).map(|run| run.answered)
    }

    /// Ends: no further file system is asked.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = self.run.take() else { return };
        if let Some(job) = run.job {
            job.progress.lock().unwrap_or_else(PoisonError::into_inner).is_abandoned = true;
        }
        if let Some(timer) = run.timer {
            cx.cancel_timer(timer);
        }
    }

    fn forget_answered(&mut self) {
        self.stuck.retain(|stuck| !stuck.job.has_ended());
    }

    /// Asks the file systems that wait, or leaves them out.
    fn ask_rest(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = &mut self.run else { return };
        if run.waiting.is_empty() {
            return;
        }
        if self.stuck.len() >= MAX_STUCK {
            return run.leave_rest_out("not asked, because other file systems do not answer");
        }
        let paths: Vec<String> = run.waiting.iter().map(|partition| partition.path.clone()).collect();
        let progress = Arc::new(Mutex::new(Progress::default()));
        let shared = progress.clone();
        let key = self.next_key;
        self.next_key += 1;
        match cx.run_file_job(key, move |files| ask(files, &paths, &shared)) {
            Ok(result) => {
                run.job = Some(UsageJob { progress, result, seen: 0 });
                run.timer = Some(cx.set_timer(self.base, cx.now() + self.time_limit));
            }
            Err(e) => run.leave_rest_out(&e.to_string()),
        }
    }
}

/// Asks one file system after another, in a job.
fn ask(files: &mut dyn FileSystem, paths: &[String], progress: &Mutex<Progress>) {
    for path in paths {
        if progress.lock().unwrap_or_else(PoisonError::into_inner).is_abandoned {
            return;
        }
        let result = disk_usage(files, path);
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.is_abandoned {
            return;
        }
        progress.results.push(result);
    }
}
