//! `load`: `/proc/loadavg`.

use super::{ScrapeErrors, Scraper};
use crate::config::{LoadConfig, LoadMetric};
use crate::host::Host;
use crate::numbers::parse_float;
use otelcore_scraped_metrics::Recorder;

const FAILED_METRICS: usize = 3;

#[derive(Debug)]
pub(super) struct LoadScraper {
    recorder: Recorder,
    is_average: bool,
}

impl LoadScraper {
    pub(super) fn new(config: &LoadConfig) -> Self {
        Self { recorder: super::recorder("loadscraper", config.metrics.settings()), is_average: config.cpu_average }
    }
}

impl Scraper for LoadScraper {
    const NAME: &'static str = "load";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let failed = |e: String| ScrapeErrors::of(FAILED_METRICS, e);
        let path = host.proc("loadavg");
        let text = host.text(&path).map_err(failed)?;
        let divisor = if self.is_average { f64::from(host.usable_cpus()) } else { 1.0 };
        let mut fields = text.split_whitespace();
        for metric in [LoadMetric::Load1, LoadMetric::Load5, LoadMetric::Load15] {
            let field = fields.next().ok_or_else(|| failed(format!("fewer than three numbers in {path}")))?;
            let load = parse_float(field).map_err(failed)?;
            self.recorder.double(metric, host.now, load / divisor, &[]);
        }
        Ok(ScrapeErrors::default())
    }
}
