//! `system`: `/proc/uptime`.

use super::{ScrapeErrors, Scraper};
use crate::config::{SystemConfig, SystemMetric};
use crate::host::Host;
use otelcore_scraped_metrics::Recorder;

#[derive(Debug)]
pub(super) struct SystemScraper {
    recorder: Recorder,
}

impl SystemScraper {
    pub(super) fn new(config: &SystemConfig) -> Self {
        Self { recorder: super::recorder("systemscraper", config.metrics.settings()) }
    }
}

impl Scraper for SystemScraper {
    const NAME: &'static str = "system";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let uptime = host.uptime().map_err(|e| ScrapeErrors::of(0, e))?;
        // The system call that Go uses counts a second that has begun.
        self.recorder.double(SystemMetric::Uptime, host.now, uptime.ceil(), &[]);
        Ok(ScrapeErrors::default())
    }
}
