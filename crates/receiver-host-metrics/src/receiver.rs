//! When scrapes are made, and what is sent and logged of them.
//!
//! ```text
//! timer -> job: all scrapers -> job: how full file systems are -> job: their metrics -> payload
//! ```
//! One scrape runs at a time; a scrape whose time comes while another runs is left out. Owns the timers and jobs; knows
//! nothing of `/proc`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otelcore_pdata::Signal;
use otelcore_pdata::build::Body;
use otelcore_pipeline::{
    BuildContext, Cx, Event, JobResult, LogField, Logger, MonotonicTime, Outcome, Payload, PeriodicCount,
    PipelineInput, Receiver, ReceiverMetrics, StartError, Telemetry, TimerId,
};
use otelcore_scraped_metrics::{ScrapeLog, ScraperCounters};

use crate::config::HostMetricsConfig;
use crate::entity_event::host_entity_event;
use crate::host::HostPaths;
use crate::mounts::MountUsages;
use crate::scrapers::filesystem::{FilesystemRecorder, PartitionList};
use crate::scrapers::{HostScrapers, ScrapeOutput, ScraperReport};

/// Local keys.
const SCRAPE_TIMER: u64 = 0;
const SCRAPE_JOB: u64 = 1;
const TIMEOUT: u64 = 2;
const ENTITY_TIMER: u64 = 3;
const WRITE_JOB: u64 = 4;
const MOUNTS: u64 = 1 << 32;

/// How long a file system may take to answer where no `timeout` is set.
const MOUNT_TIME_LIMIT: Duration = Duration::from_secs(5);

/// How often scrapes that are left out are logged.
const LOG_PERIOD: Duration = Duration::from_secs(60);

const FILESYSTEM: &str = "filesystem";

/// A job, and what it gives back.
struct RunningScrape {
    result: JobResult<(HostScrapers, ScrapeOutput)>,
    is_cancelled: Arc<AtomicBool>,
}

/// A scrape whose file systems are asked.
struct AskedScrape {
    output: ScrapeOutput,
    /// When it began, in nanoseconds since the epoch.
    now: u64,
    /// When the system was started, in seconds since the epoch.
    boot_time: u64,
    omitted: usize,
}

/// The receiver. See the module.
pub(crate) struct HostMetricsReceiver {
    config: HostMetricsConfig,
    id: String,
    log: Logger,
    telemetry: Telemetry,
    has_metrics: bool,
    has_logs: bool,
    /// `None` while a job has them, and before the first one.
    scrapers: Option<HostScrapers>,
    running: Option<RunningScrape>,
    asked: Option<AskedScrape>,
    writing: Option<JobResult<(FilesystemRecorder, ScrapeOutput)>>,
    /// `None` while a job has it, and without this scraper.
    filesystem: Option<FilesystemRecorder>,
    mounts: MountUsages,
    next_scrape: MonotonicTime,
    /// When the scrape that runs began, in nanoseconds since the epoch.
    scrape_began: u64,
    timeout_timer: Option<TimerId>,
    errors: ScrapeLog,
    left_out: PeriodicCount,
    metrics: ReceiverMetrics,
    scraper_metrics: BTreeMap<&'static str, ScraperCounters>,
    /// Signal and items of the payloads without an outcome.
    sent: BTreeMap<u64, (Signal, u32)>,
    next_request: u64,
    is_closed: bool,
}

impl HostMetricsReceiver {
    pub(crate) fn new(config: &HostMetricsConfig, context: &BuildContext<'_>) -> Self {
        let id = context.id.to_string();
        let limit = if config.timeout.is_zero() { MOUNT_TIME_LIMIT } else { config.timeout };
        Self {
            log: context.log.clone(),
            telemetry: context.telemetry.clone(),
            has_metrics: context.signals.contains(&Signal::Metrics),
            has_logs: context.signals.contains(&Signal::Logs),
            scrapers: None,
            running: None,
            asked: None,
            writing: None,
            filesystem: config.scrapers.filesystem.get().map(FilesystemRecorder::new),
            mounts: MountUsages::new(MOUNTS, limit),
            next_scrape: MonotonicTime::NEVER,
            scrape_began: 0,
            timeout_timer: None,
            errors: ScrapeLog::default(),
            left_out: PeriodicCount::new(LOG_PERIOD),
            metrics: ReceiverMetrics::new(context.telemetry, &id, "", context.signals),
            scraper_metrics: BTreeMap::new(),
            sent: BTreeMap::new(),
            next_request: 0,
            is_closed: false,
            id,
            config: config.clone(),
        }
    }

    fn make_scrapers(&self, cx: &Cx<'_>) -> Result<HostScrapers, StartError> {
        let paths = HostPaths::new(&self.config.root_path, &|name| cx.env_var(name));
        HostScrapers::new(&self.config.scrapers, paths, &self.log).map_err(|e| StartError::Config(e.message))
    }

    /// The time of a scrape has come.
    fn begin_scrape(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.next_scrape = self.next_scrape + self.config.collection_interval;
        if self.next_scrape <= now {
            self.next_scrape = now + self.config.collection_interval;
        }
        cx.set_timer(SCRAPE_TIMER, self.next_scrape);
        if self.running.is_some() || self.asked.is_some() || self.writing.is_some() {
            if let Some(count) = self.left_out.add(now, 1) {
                let fields = [("count", LogField::Uint(count))];
                self.log.warn("a scrape is left out, because the one before has not ended", &fields);
            }
            return;
        }
        let scrapers = match self.scrapers.take() {
            Some(scrapers) => scrapers,
            None => match self.make_scrapers(cx) {
                Ok(scrapers) => scrapers,
                Err(e) => return self.log.error("Error scraping metrics", &[("error", LogField::Str(&e.to_string()))]),
            },
        };
        let (began, is_cancelled) = (cx.wall_time().0, Arc::new(AtomicBool::new(false)));
        let cancelled = is_cancelled.clone();
        let mut scrapers = scrapers;
        let job = cx.run_file_job(SCRAPE_JOB, move |files| {
            let output = scrapers.scrape(files, began, &cancelled);
            (scrapers, output)
        });
        match job {
            Ok(result) => {
                self.running = Some(RunningScrape { result, is_cancelled });
                self.scrape_began = began;
                if !self.config.timeout.is_zero() {
                    self.timeout_timer = Some(cx.set_timer(TIMEOUT, now + self.config.timeout));
                }
            }
            Err(e) => self.log.error("Error scraping metrics", &[("error", LogField::Str(&e.to_string()))]),
        }
    }

    /// The job of the scrapers may have ended.
    fn end_scrape(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let Some(running) = self.running.take_if(|running| running.result.has_ended()) else { return };
        if let Some(timer) = self.timeout_timer.take() {
            cx.cancel_timer(timer);
        }
        let Some((scrapers, mut output)) = running.result.take() else {
            // The scrapers are gone with the job. The next scrape makes new ones.
            return self.log.error("Error scraping metrics", &[("error", LogField::Str("the scrape has failed"))]);
        };
        self.scrapers = Some(scrapers);
        match output.partitions.take() {
            None => self.finish(cx, output, input),
            Some(Err(e)) => {
                let report = ScraperReport { name: FILESYSTEM, metrics: 0, failed_metrics: 2, error: Some(e) };
                output.reports.push(report);
                self.finish(cx, output, input);
            }
            Some(Ok((PartitionList { partitions, omitted }, boot_time))) => {
                self.asked = Some(AskedScrape { output, now: self.scrape_began, boot_time, omitted });
                self.mounts.start(cx, partitions);
                self.end_questions(cx);
            }
        }
    }

    /// The file systems may have answered.
    fn end_questions(&mut self, cx: &mut Cx<'_>) {
        let Some(usages) = self.mounts.take_results() else { return };
        let Some(AskedScrape { mut output, now, boot_time, omitted }) = self.asked.take() else { return };
        let new = || self.config.scrapers.filesystem.get().map(FilesystemRecorder::new);
        let Some(mut recorder) = self.filesystem.take().or_else(new) else { return };
        self.writing = Some(cx.run_job(WRITE_JOB, move || {
            let (metrics, errors) = recorder.write(now, boot_time, &usages, omitted, &mut output.body);
            let (failed_metrics, error) = (errors.failed_metrics, errors.text());
            output.reports.push(ScraperReport { name: FILESYSTEM, metrics, failed_metrics, error });
            (recorder, output)
        }));
    }

    /// The metrics of the file systems may be written.
    fn end_writing(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let Some(job) = self.writing.take_if(|job| job.has_ended()) else { return };
        let Some((recorder, output)) = job.take() else {
            return self.log.error("Error scraping metrics", &[("error", LogField::Str("the scrape has failed"))]);
        };
        self.filesystem = Some(recorder);
        self.finish(cx, output, input);
    }

    fn finish(&mut self, cx: &mut Cx<'_>, output: ScrapeOutput, input: &mut PipelineInput<'_>) {
        let (id, telemetry) = (&self.id, &self.telemetry);
        for report in &output.reports {
            self.errors.report(&self.log, report.name, report.error.as_deref());
            let new = || ScraperCounters::new(telemetry, id, report.name);
            let counters = self.scraper_metrics.entry(report.name).or_insert_with(new);
            counters.add(report.metrics, report.failed_metrics);
        }
        self.send(cx, Signal::Metrics, output.body, input);
    }

    fn send(&mut self, cx: &mut Cx<'_>, signal: Signal, body: Body, input: &mut PipelineInput<'_>) {
        if body.items() == 0 || self.is_closed {
            return;
        }
        let body = body.finish();
        let held = input.budget().hold(body.len() as u64);
        let request = self.next_request;
        self.next_request += 1;
        self.sent.insert(request, (signal, body.items()));
        input.send(cx, request, Payload { signal, body, metadata: None, held });
    }

    fn send_entity_event(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let interval = self.config.metadata_collection_interval;
        self.send(cx, Signal::Logs, host_entity_event(cx.wall_time().0, interval), input);
        if !interval.is_zero() {
            cx.set_timer(ENTITY_TIMER, cx.now() + interval);
        }
    }
}

impl Receiver for HostMetricsReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let root = &self.config.root_path;
        if !root.is_empty()
            && let Err(e) = cx.read_file(root)
            && e.kind() == std::io::ErrorKind::NotFound
        {
            let path = Path::new(root).display();
            return Err(StartError::Config(format!("invalid root_path: stat {path}: no such file or directory")));
        }
        if self.has_metrics {
            self.scrapers = Some(self.make_scrapers(cx)?);
            self.next_scrape = cx.now() + Duration::from_nanos(self.config.initial_delay.nanos_or_zero());
            cx.set_timer(SCRAPE_TIMER, self.next_scrape);
        }
        if self.has_logs {
            cx.set_timer(ENTITY_TIMER, cx.now());
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, input: &mut PipelineInput<'_>) {
        if self.is_closed {
            return;
        }
        match local {
            SCRAPE_TIMER => self.begin_scrape(cx),
            SCRAPE_JOB => self.end_scrape(cx, input),
            TIMEOUT => {
                self.timeout_timer = None;
                if let Some(running) = &self.running {
                    running.is_cancelled.store(true, Ordering::Relaxed);
                }
            }
            ENTITY_TIMER => self.send_entity_event(cx, input),
            WRITE_JOB => self.end_writing(cx, input),
            _ => {
                self.mounts.handle_event(cx, local);
                self.end_questions(cx);
            }
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        if let Some((signal, items)) = self.sent.remove(&request) {
            self.metrics.record_outcome(signal, items, &outcome);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closed = true;
        if let Some(running) = &self.running {
            running.is_cancelled.store(true, Ordering::Relaxed);
        }
        self.mounts.close(cx);
    }

    fn is_closed(&self) -> bool {
        self.is_closed && self.sent.is_empty()
    }
}
