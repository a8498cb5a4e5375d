//! `disk`: `/proc/diskstats`.

use super::{ScrapeErrors, Scraper};
use crate::config::{DiskConfig, DiskMetric, FilterError, NameFilter};
use crate::host::{Host, lines};
use crate::numbers::{parse_uint, seconds_of_millis};
use otelcore_scraped_metrics::Recorder;

const FAILED_METRICS: usize = 7;

/// Bytes of a sector in `/proc/diskstats`, whatever the disk's sectors have.
const SECTOR: u64 = 512;

/// The numbers of a disk, from the fourth column on.
type Counters = [u64; 11];

#[derive(Debug)]
pub(super) struct DiskScraper {
    recorder: Recorder,
    filter: NameFilter,
}

impl DiskScraper {
    pub(super) fn new(config: &DiskConfig) -> Result<Self, FilterError> {
        Ok(Self { recorder: super::recorder("diskscraper", config.metrics.settings()), filter: config.filter()? })
    }

    fn record(&mut self, now: u64, disk: &str, counters: &Counters) {
        let [
            reads,
            merged_reads,
            sectors_read,
            read_millis,
            writes,
            merged_writes,
            sectors_written,
            write_millis,
            pending,
            io_millis,
            weighted_millis,
        ] = *counters;
        let recorder = &mut self.recorder;
        let both = |recorder: &mut Recorder, metric: DiskMetric, read: u64, written: u64| {
            recorder.uint(metric, now, read, &[disk, "read"]);
            recorder.uint(metric, now, written, &[disk, "write"]);
        };
        both(recorder, DiskMetric::Io, sectors_read.wrapping_mul(SECTOR), sectors_written.wrapping_mul(SECTOR));
        both(recorder, DiskMetric::Operations, reads, writes);
        both(recorder, DiskMetric::Merged, merged_reads, merged_writes);
        recorder.double(DiskMetric::IoTime, now, seconds_of_millis(io_millis), &[disk]);
        recorder.double(DiskMetric::OperationTime, now, seconds_of_millis(read_millis), &[disk, "read"]);
        recorder.double(DiskMetric::OperationTime, now, seconds_of_millis(write_millis), &[disk, "write"]);
        recorder.uint(DiskMetric::PendingOperations, now, pending, &[disk]);
        recorder.double(DiskMetric::WeightedIoTime, now, seconds_of_millis(weighted_millis), &[disk]);
    }
}

impl Scraper for DiskScraper {
    const NAME: &'static str = "disk";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let failed = |e: String| ScrapeErrors::of(FAILED_METRICS, e);
        let text = host.text(&host.proc("diskstats")).map_err(failed)?;
        let mut disks: Vec<(String, Counters)> = Vec::new();
        for line in lines(&text) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.len() < 14 {
                continue;
            }
            let mut counters = Counters::default();
            for (counter, field) in counters.iter_mut().zip(fields.iter().skip(3)) {
                *counter = parse_uint(field).map_err(failed)?;
            }
            // Disks that were never used, such as loop devices.
            if counters != Counters::default() {
                disks.extend(fields.get(2).map(|name| ((*name).to_owned(), counters)));
            }
        }
        // Of a name that is there twice, the last line is the one that counts.
        disks.reverse();
        disks.sort_by(|a, b| a.0.cmp(&b.0));
        disks.dedup_by(|later, first| later.0 == first.0);
        for (disk, counters) in &disks {
            if self.filter.includes(disk) {
                self.record(host.now, disk, counters);
            }
        }
        Ok(ScrapeErrors::default())
    }
}
