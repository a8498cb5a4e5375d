//! The exporter on the loop: collects requests, and gives them to one job at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    AttemptId, Cx, Error, Event, Exporter, JobResult, LogField, Logger, MonotonicTime, Outcome, Outcomes,
    PartialOutcome, Payload, PeriodicCount, StartError,
};

use crate::writer::{FileWriter, WriteResult, WriterSettings};

/// Bytes of OTLP that one job writes. A single request may be longer.
const MAX_JOB_BYTES: usize = 8 << 20;

/// The shortest time between two log lines of the same kind.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The local key of the event at the end of a job.
const JOB_KEY: u64 = 0;

struct Request {
    attempt: AttemptId,
    signal: Signal,
    body: Rope,
}

/// What a job returns.
struct JobEnd {
    writer: FileWriter,
    opened: io::Result<()>,
    results: Vec<WriteResult>,
}

struct RunningJob {
    result: JobResult<JobEnd>,
    requests: Vec<AttemptId>,
}

/// The exporter.
pub(crate) struct FileExporter {
    settings: Arc<WriterSettings>,
    /// `None` while a job has it.
    writer: Option<FileWriter>,
    is_opened: bool,
    job: Option<RunningJob>,
    waiting: VecDeque<Request>,
    log: Logger,
    error_count: PeriodicCount,
    dropped_count: PeriodicCount,
}

impl FileExporter {
    pub(crate) fn new(settings: Arc<WriterSettings>, log: Logger) -> Self {
        Self {
            writer: Some(FileWriter::new(settings.clone())),
            settings,
            is_opened: false,
            job: None,
            waiting: VecDeque::new(),
            log,
            error_count: PeriodicCount::new(LOG_INTERVAL),
            dropped_count: PeriodicCount::new(LOG_INTERVAL),
        }
    }

    /// Begins a job if none is running and there is something to do.
    fn start_job(&mut self, cx: &mut Cx<'_>) {
        if self.job.is_some() || self.is_opened && self.waiting.is_empty() {
            return;
        }
        let Some(mut writer) = self.writer.take() else { return };
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_JOB_BYTES
            && let Some(request) = self.waiting.pop_front()
        {
            bytes += request.body.len();
            requests.push(request);
        }
        let attempts = requests.iter().map(|request| request.attempt).collect();
        let (now, is_opened) = (cx.wall_time(), self.is_opened);
        let job = cx.run_file_job(JOB_KEY, move |files| {
            let opened = if is_opened { Ok(()) } else { writer.start(files, now) };
            let write = |request: &Request| writer.write(files, now, request.signal, &request.body);
            let results = requests.iter().map(write).collect();
            JobEnd { writer, opened, results }
        });
        // One job at a time is always accepted.
        if let Ok(result) = job {
            self.job = Some(RunningJob { result, requests: attempts });
        }
    }

    fn end_job(&mut self, now: MonotonicTime, outcomes: &mut Outcomes) {
        let Some(RunningJob { result, requests }) = self.job.take() else { return };
        let Some(JobEnd { writer, opened, results }) = result.take() else {
            self.writer = Some(FileWriter::new(self.settings.clone()));
            let why = "the request could not be written";
            return requests.into_iter().for_each(|attempt| outcomes.push(attempt, Outcome::permanent(why)));
        };
        self.writer = Some(writer);
        match opened {
            Ok(()) => self.is_opened = true,
            Err(e) => self.log_error(now, &e),
        }
        for (attempt, result) in requests.into_iter().zip(results) {
            self.report(now, attempt, result, outcomes);
        }
    }

    fn report(&mut self, now: MonotonicTime, attempt: AttemptId, result: WriteResult, outcomes: &mut Outcomes) {
        let WriteResult { written, without_attribute, failed } = result;
        if without_attribute > 0 {
            self.warn_of_dropped(now, without_attribute);
        }
        let mut outcome =
            PartialOutcome { delivered: written, rejected: without_attribute, ..PartialOutcome::default() };
        let Some((body, error)) = failed else {
            return match without_attribute {
                0 => outcomes.push(attempt, Outcome::Delivered),
                _ => outcomes.push_partial(attempt, outcome),
            };
        };
        self.log_error(now, &error);
        let why = Error::new(error.to_string());
        // Names that no file can have are never accepted; anything else may be mended.
        let is_permanent = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename);
        match (is_permanent, written == 0 && without_attribute == 0) {
            (true, true) => return outcomes.push(attempt, Outcome::Permanent(why)),
            (false, true) => return outcomes.push(attempt, Outcome::Retry { after: None, why }),
            (true, false) => outcome.refused = Some((body.items(), why)),
            (false, false) => outcome.retry = Some((body, None, why)),
        }
        outcomes.push_partial(attempt, outcome);
    }

    fn log_error(&mut self, now: MonotonicTime, error: &io::Error) {
        if self.error_count.add(now, 1).is_some() {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "Does the directory exist? `create_directory: true` makes it.",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "The process must be able to write there; in a container, mount a volume."
                }
                _ => "It is tried again with the next request.",
            };
            let text = error.to_string();
            self.log
                .error("The file can't be written.", &[("error", LogField::Str(&text)), ("hint", LogField::Str(hint))]);
        }
    }

    fn warn_of_dropped(&mut self, now: MonotonicTime, items: u32) {
        if let Some(count) = self.dropped_count.add(now, u64::from(items)) {
            let key = String::from_utf8_lossy(&self.settings.attribute);
            let fields = [("resource_attribute", LogField::Str(&key)), ("dropped_items", LogField::Uint(count))];
            self.log.warn("Resources without the attribute of `group_by` were dropped.", &fields);
        }
    }
}

impl Exporter for FileExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.start_job(cx);
        Ok(())
    }

    fn send(&mut self, cx: &mut Cx<'_>, attempt: AttemptId, payload: &Payload, _: MonotonicTime, _: &mut Outcomes) {
        self.waiting.push_back(Request { attempt, signal: payload.signal, body: payload.body.clone() });
        self.start_job(cx);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, outcomes: &mut Outcomes) {
        if local == JOB_KEY {
            self.end_job(cx.now(), outcomes);
            if !self.waiting.is_empty() {
                self.start_job(cx);
            }
        }
    }
}
