//! The counters of a scraper.

use otelcore_pipeline::{Counter, MetricsLevel, Telemetry};

/// How many metrics of a scraper were sent, and how many could not be measured.
#[derive(Debug)]
pub struct ScraperCounters {
    scraped: Counter,
    errored: Counter,
}

impl ScraperCounters {
    /// The counters of a scraper of a receiver, with the names of the Go collector.
    #[must_use]
    pub fn new(telemetry: &Telemetry, receiver: &str, scraper: &str) -> Self {
        let labels = || vec![("receiver", receiver.to_owned()), ("scraper", scraper.to_owned())];
        let counter = |name, help| telemetry.counter(MetricsLevel::Basic, name, help, labels());
        Self {
            scraped: counter(
                "otelcol_scraper_scraped_metric_points",
                "Number of metric points successfully scraped. [Alpha]",
            ),
            errored: counter(
                "otelcol_scraper_errored_metric_points",
                "Number of metric points that were unable to be scraped. [Alpha]",
            ),
        }
    }

    /// A scrape has ended.
    pub fn add(&self, scraped: usize, errored: usize) {
        self.scraped.add(scraped as u64);
        self.errored.add(errored as u64);
    }
}
