//! Logs the errors of scrapers: each change of an error once, and not at each scrape.

use std::collections::BTreeMap;

use otelcore_pipeline::{LogField, Logger};

/// The last error of a scraper.
#[derive(Debug)]
struct LastError {
    text: String,
    /// How many scrapes have had it since it was logged.
    repeated: u64,
}

/// The errors of all scrapers.
#[derive(Debug, Default)]
pub struct ScrapeLog {
    last: BTreeMap<&'static str, LastError>,
}

impl ScrapeLog {
    /// A scraper has ended with this error, or without one.
    pub fn report(&mut self, log: &Logger, scraper: &'static str, error: Option<&str>) {
        let name = ("scraper", LogField::Str(scraper));
        let last = self.last.get_mut(scraper);
        match (last, error) {
            (None, None) => {}
            (Some(last), Some(error)) if last.text == error => last.repeated += 1,
            (last, Some(error)) => {
                let repeated = last.map_or(0, |last| last.repeated);
                let fields = [name, ("error", LogField::Str(error)), ("repeated_before", LogField::Uint(repeated))];
                log.error("Error scraping metrics", if repeated == 0 { &fields[..2] } else { &fields });
                self.last.insert(scraper, LastError { text: error.to_owned(), repeated: 0 });
            }
            (Some(last), None) => {
                let repeated = last.repeated;
                log.info("metrics are scraped again", &[name, ("repeated_before", LogField::Uint(repeated))]);
                self.last.remove(scraper);
            }
        }
    }
}
