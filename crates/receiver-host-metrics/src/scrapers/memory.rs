//! `memory`: `/proc/meminfo`.

use std::collections::BTreeMap;

use super::{ScrapeErrors, Scraper};
use crate::config::{MemoryConfig, MemoryMetric};
use crate::host::{Host, lines};
use crate::numbers::{parse_uint, ratio};
use otelcore_scraped_metrics::Recorder;

const FAILED_METRICS: usize = 2;

/// The lines of `/proc/meminfo` that are used, and whether their unit is 1024 bytes.
const USED_LINES: [(&str, bool); 15] = [
    ("MemTotal", true),
    ("MemFree", true),
    ("MemAvailable", true),
    ("Buffers", true),
    ("Cached", true),
    ("Active(file)", true),
    ("Inactive(file)", true),
    ("Dirty", true),
    ("Shmem", true),
    ("SReclaimable", true),
    ("SUnreclaim", true),
    ("HugePages_Total", false),
    ("HugePages_Free", false),
    ("HugePages_Rsvd", false),
    ("HugePages_Surp", false),
];

/// `/proc/meminfo`, in bytes and pages.
#[derive(Debug, Default)]
pub(super) struct MemoryInfo(BTreeMap<&'static str, u64>);

impl MemoryInfo {
    /// # Errors
    /// A value that is no number.
    fn parse(text: &str) -> Result<Self, String> {
        let mut found = BTreeMap::new();
        for line in lines(text) {
            let mut parts = line.split(':');
            let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else { continue };
            let key = key.trim();
            let used = USED_LINES.iter().chain(&[("Hugepagesize", true)]).find(|(name, _)| *name == key);
            let Some((name, is_kilobytes)) = used else { continue };
            let value = parse_uint(&value.trim().replace(" kB", ""))?;
            found.insert(*name, if *is_kilobytes { value.wrapping_mul(1024) } else { value });
        }
        Ok(Self(found))
    }

    /// Zero where it is not there.
    fn get(&self, key: &str) -> u64 {
        self.0.get(key).copied().unwrap_or(0)
    }

    /// The page cache, with what can be reclaimed of the kernel's own.
    fn cached(&self) -> u64 {
        self.get("Cached").wrapping_add(self.get("SReclaimable"))
    }

    /// An estimate of what programs can get. Kernels before 3.14 do not give it.
    fn available(&self, host: &mut Host<'_>) -> u64 {
        if let Some(available) = self.0.get("MemAvailable") {
            return *available;
        }
        let (free, reclaimable) = (self.get("MemFree"), self.get("SReclaimable"));
        let is_known = ["Active(file)", "Inactive(file)", "SReclaimable"].iter().all(|key| self.0.contains_key(key));
        let zones = if is_known { host.text(&host.proc("zoneinfo")).ok() } else { None };
        let Some(zones) = zones else { return free.wrapping_add(self.cached()) };
        let low = |line: &str| {
            let mut fields = line.split_whitespace();
            let is_low = fields.next().is_some_and(|first| first.starts_with("low"));
            fields.next().filter(|_| is_low).and_then(|value| parse_uint(value).ok())
        };
        let low_pages = lines(&zones).filter_map(low).fold(0, u64::wrapping_add);
        let low_watermark = low_pages.wrapping_mul(host.page_size());
        let files = self.get("Active(file)").wrapping_add(self.get("Inactive(file)"));
        let kept = |bytes: u64| bytes.wrapping_sub((bytes / 2).min(low_watermark));
        free.wrapping_sub(low_watermark).wrapping_add(kept(files)).wrapping_add(kept(reclaimable))
    }

    /// Bytes of memory that the machine has.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn total(host: &mut Host<'_>) -> Result<u64, String> {
        Ok(Self::read(host)?.get("MemTotal"))
    }

    fn read(host: &mut Host<'_>) -> Result<Self, String> {
        let path = host.proc("meminfo");
        Self::parse(&host.text(&path).map_err(|e| format!("couldn't read {path}: {e}"))?)
    }
}

#[derive(Debug)]
pub(super) struct MemoryScraper {
    recorder: Recorder,
}

impl MemoryScraper {
    pub(super) fn new(config: &MemoryConfig) -> Self {
        Self { recorder: super::recorder("memoryscraper", config.metrics.settings()) }
    }

    fn record_hugepages(&mut self, now: u64, info: &MemoryInfo) {
        let recorder = &mut self.recorder;
        let (total, free) = (info.get("HugePages_Total"), info.get("HugePages_Free"));
        let used = total.wrapping_sub(free);
        recorder.uint(MemoryMetric::HugepagesPageSize, now, info.get("Hugepagesize"), &[]);
        recorder.uint(MemoryMetric::HugepagesLimit, now, total, &[]);
        recorder.uint(MemoryMetric::HugepagesUsage, now, free, &["free"]);
        recorder.uint(MemoryMetric::HugepagesUsage, now, used, &["used"]);
        recorder.uint(MemoryMetric::HugepagesReserved, now, info.get("HugePages_Rsvd"), &[]);
        recorder.uint(MemoryMetric::HugepagesSurplus, now, info.get("HugePages_Surp"), &[]);
        if total != 0 {
            recorder.double(MemoryMetric::HugepagesUtilization, now, ratio(free, total), &["free"]);
            recorder.double(MemoryMetric::HugepagesUtilization, now, ratio(used, total), &["used"]);
        }
    }
}

impl Scraper for MemoryScraper {
    const NAME: &'static str = "memory";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let failed = |e: String| ScrapeErrors::of(FAILED_METRICS, e);
        let info = MemoryInfo::read(host).map_err(failed)?;
        let (total, available, now) = (info.get("MemTotal"), info.available(host), host.now);
        if total == 0 {
            return Err(failed("invalid total memory: 0".to_owned()));
        }
        let states = [
            ("used", total.wrapping_sub(available)),
            ("free", info.get("MemFree")),
            ("buffered", info.get("Buffers")),
            ("cached", info.cached()),
            ("slab_reclaimable", info.get("SReclaimable")),
            ("slab_unreclaimable", info.get("SUnreclaim")),
        ];
        for (state, bytes) in states {
            self.recorder.uint(MemoryMetric::Usage, now, bytes, &[state]);
            self.recorder.double(MemoryMetric::Utilization, now, ratio(bytes, total), &[state]);
        }
        self.recorder.uint(MemoryMetric::Limit, now, total, &[]);
        self.recorder.uint(MemoryMetric::Available, now, available, &[]);
        self.recorder.uint(MemoryMetric::Dirty, now, info.get("Dirty"), &[]);
        self.recorder.uint(MemoryMetric::Shared, now, info.get("Shmem"), &[]);
        self.record_hugepages(now, &info);
        if self.recorder.is_enabled(MemoryMetric::PageSize) {
            self.recorder.uint(MemoryMetric::PageSize, now, host.page_size(), &[]);
        }
        Ok(ScrapeErrors::default())
    }
}
