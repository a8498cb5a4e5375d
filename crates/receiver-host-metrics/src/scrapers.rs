//! What is measured: one module for each scraper, and the scrape of all of them in one job.
//!
//! A scraper reads files through [`Host`] and records points in its [`Recorder`]. Its file systems are the exception:
//! which there are is found here, and how full they are is asked elsewhere, since that may take forever.

mod cpu;
mod disk;
pub(crate) mod filesystem;
mod load;
mod memory;
mod network;
mod paging;
mod process;
mod process_files;
mod processes;
mod system;

use std::sync::atomic::AtomicBool;

use otelcore_pdata::build::Body;
use otelcore_pipeline::{FileSystem, Logger};
use otelcore_scraped_metrics::{MetricSetting, Recorder};

use crate::config::{FilterError, ScrapersConfig};
use crate::host::{Host, HostPaths, TIMED_OUT};

use filesystem::{PartitionFilter, PartitionList};

/// How many errors of one scrape are kept as text.
const MAX_ERRORS: usize = 20;

/// What went wrong in a scraper. Points that were recorded are sent nevertheless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScrapeErrors {
    messages: Vec<String>,
    /// Those that are not in `messages`.
    omitted: usize,
    /// How many metrics are missing.
    pub(crate) failed_metrics: usize,
}

impl ScrapeErrors {
    /// One error, because of which so many metrics are missing.
    pub(crate) fn of(failed_metrics: usize, message: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.add(failed_metrics, message);
        errors
    }

    pub(crate) fn add(&mut self, failed_metrics: usize, message: impl Into<String>) {
        self.failed_metrics += failed_metrics;
        if self.messages.len() < MAX_ERRORS {
            self.messages.push(message.into());
        } else {
            self.omitted += 1;
        }
    }

    /// All errors as one text; `None` if there is none.
    pub(crate) fn text(&self) -> Option<String> {
        if self.messages.is_empty() {
            return None;
        }
        let mut text = self.messages.join("; ");
        if self.omitted > 0 {
            text.push_str(&format!("; and {} more errors", self.omitted));
        }
        Some(text)
    }
}

/// The schema of all these metrics.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.9.0";

/// The scope of a scraper is this, and its name.
const SCOPE_PREFIX: &str =
    "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/hostmetricsreceiver/internal/scraper/";

/// The recorder of the scraper with this name.
fn recorder(scope: &str, settings: Vec<MetricSetting>) -> Recorder {
    Recorder::new(format!("{SCOPE_PREFIX}{scope}"), SCHEMA_URL, settings)
}

/// Measures something.
pub(crate) trait Scraper {
    /// The key below `scrapers`.
    const NAME: &'static str;

    /// Where the points go.
    fn recorder(&mut self) -> &mut Recorder;

    /// Measures once.
    ///
    /// # Errors
    /// Nothing is sent then, not even what was recorded.
    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors>;
}

/// How the scrape of one scraper ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScraperReport {
    pub(crate) name: &'static str,
    /// How many metrics are written.
    pub(crate) metrics: usize,
    pub(crate) failed_metrics: usize,
    pub(crate) error: Option<String>,
}

/// What one scrape has found.
#[derive(Debug)]
pub(crate) struct ScrapeOutput {
    pub(crate) body: Body,
    pub(crate) reports: Vec<ScraperReport>,
    /// The file systems to be asked, and when the system was started; `None` where they are not scraped.
    pub(crate) partitions: Option<Result<(PartitionList, u64), String>>,
}

/// The scrapers of a receiver. They are in a job while a scrape runs.
#[derive(Debug)]
pub(crate) struct HostScrapers {
    paths: HostPaths,
    /// When the system was started, in seconds since the epoch, once it is known.
    boot_time: Option<u64>,
    cpu: Option<cpu::CpuScraper>,
    disk: Option<disk::DiskScraper>,
    partitions: Option<PartitionFilter>,
    load: Option<load::LoadScraper>,
    memory: Option<memory::MemoryScraper>,
    network: Option<network::NetworkScraper>,
    paging: Option<paging::PagingScraper>,
    process: Option<process::ProcessScraper>,
    processes: Option<processes::ProcessesScraper>,
    system: Option<system::SystemScraper>,
}

impl HostScrapers {
    /// # Errors
    /// A filter that can't be made.
    pub(crate) fn new(config: &ScrapersConfig, paths: HostPaths, log: &Logger) -> Result<Self, FilterError> {
        Ok(Self {
            paths,
            boot_time: None,
            cpu: config.cpu.get().map(cpu::CpuScraper::new),
            disk: config.disk.get().map(disk::DiskScraper::new).transpose()?,
            partitions: config.filesystem.get().map(PartitionFilter::new).transpose()?,
            load: config.load.get().map(load::LoadScraper::new),
            memory: config.memory.get().map(memory::MemoryScraper::new),
            network: config.network.get().map(network::NetworkScraper::new).transpose()?,
            paging: config.paging.get().map(paging::PagingScraper::new),
            process: config.process.get().map(|config| process::ProcessScraper::new(config, log)).transpose()?,
            processes: config.processes.get().map(processes::ProcessesScraper::new),
            system: config.system.get().map(system::SystemScraper::new),
        })
    }

    /// Measures everything once. `now` is in nanoseconds since the epoch; when `is_cancelled` becomes true, what is not
    /// measured yet is left out.
    pub(crate) fn scrape(&mut self, files: &mut dyn FileSystem, now: u64, is_cancelled: &AtomicBool) -> ScrapeOutput {
        let mut host = Host::new(files, &self.paths, is_cancelled, now);
        let mut output = ScrapeOutput { body: Body::new(), reports: Vec::new(), partitions: None };
        let boot_time = self.boot_time.map_or_else(|| host.boot_time(), Ok);
        self.boot_time = boot_time.as_ref().ok().copied();
        run(&mut self.cpu, &mut host, &boot_time, &mut output);
        run(&mut self.disk, &mut host, &boot_time, &mut output);
        run(&mut self.load, &mut host, &boot_time, &mut output);
        run(&mut self.memory, &mut host, &boot_time, &mut output);
        run(&mut self.network, &mut host, &boot_time, &mut output);
        run(&mut self.paging, &mut host, &boot_time, &mut output);
        run(&mut self.processes, &mut host, &boot_time, &mut output);
        run(&mut self.system, &mut host, &boot_time, &mut output);
        if let Some(process) = &mut self.process {
            let (metrics, errors) = process.scrape(&mut host, &boot_time, &mut output.body);
            let (failed_metrics, error) = (errors.failed_metrics, errors.text());
            output.reports.push(ScraperReport { name: "process", metrics, failed_metrics, error });
        }
        if let Some(filter) = &self.partitions {
            let found = boot_time.and_then(|boot| Ok((filter.list(&mut host)?, boot)));
            output.partitions = Some(found);
        }
        output
    }
}

/// Runs one scraper, if it is on, and writes its metrics.
fn run<S: Scraper>(
    scraper: &mut Option<S>,
    host: &mut Host<'_>,
    boot_time: &Result<u64, String>,
    output: &mut ScrapeOutput,
) {
    let Some(scraper) = scraper else { return };
    let result = match boot_time {
        _ if host.is_cancelled() => Err(ScrapeErrors::of(0, TIMED_OUT)),
        Ok(_) => scraper.scrape(host),
        Err(e) => Err(ScrapeErrors::of(0, format!("failed to read the time of the system's start: {e}"))),
    };
    let start = boot_time.as_ref().map_or(0, |seconds| seconds.saturating_mul(1_000_000_000));
    let (metrics, errors) = match result {
        Ok(errors) => (scraper.recorder().emit(&mut output.body, start, |_| {}), errors),
        Err(errors) => {
            scraper.recorder().clear();
            (0, errors)
        }
    };
    let (failed_metrics, error) = (errors.failed_metrics, errors.text());
    output.reports.push(ScraperReport { name: S::NAME, metrics, failed_metrics, error });
}
