//! `processes`: how many processes there are in each state, and how many there were.

use std::collections::BTreeMap;

use super::{ScrapeErrors, Scraper};
use crate::config::{ProcessesConfig, ProcessesMetric};
use crate::host::{Host, TIMED_OUT, lines};
use crate::numbers::parse_int;
use otelcore_scraped_metrics::Recorder;

const FAILED_METRICS: usize = 2;

#[derive(Debug)]
pub(super) struct ProcessesScraper {
    recorder: Recorder,
}

impl ProcessesScraper {
    pub(super) fn new(config: &ProcessesConfig) -> Self {
        Self { recorder: super::recorder("processesscraper", config.metrics.settings()) }
    }
}

impl Scraper for ProcessesScraper {
    const NAME: &'static str = "processes";

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn scrape(&mut self, host: &mut Host<'_>) -> Result<ScrapeErrors, ScrapeErrors> {
        let failed = |e: String| ScrapeErrors::of(FAILED_METRICS, e);
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        let ids = host.process_ids(&host.paths.proc).map_err(failed)?;
        if self.recorder.is_enabled(ProcessesMetric::Count) {
            for id in &ids {
                if host.is_cancelled() {
                    return Err(failed(TIMED_OUT.to_owned()));
                }
                // A process may have ended meanwhile.
                let Ok(status) = host.text(&host.proc(&format!("{id}/status"))) else { continue };
                *counts.entry(state_of(&status)).or_default() += 1;
            }
        }
        // One file has the counts of all, while the processes come and go.
        let stat = host.text(&host.proc("stat")).map_err(failed)?;
        let number = |key: &str| {
            let value = |line: &str| {
                let mut fields = line.split_whitespace();
                let (name, value, rest) = (fields.next()?, fields.next()?, fields.next());
                (name == key && rest.is_none()).then(|| parse_int(value).ok()).flatten()
            };
            lines(&stat).filter_map(value).last().unwrap_or(0)
        };
        counts.insert("blocked", number("procs_blocked"));
        counts.insert("running", number("procs_running"));
        let known = counts.values().fold(0, |sum: i64, count| sum.wrapping_add(*count));
        let total = ids.len() as i64;
        if total > known {
            counts.insert("unknown", total - known);
        }
        for (state, count) in counts {
            self.recorder.int(ProcessesMetric::Count, host.now, count, &[state]);
        }
        self.recorder.int(ProcessesMetric::Created, host.now, number("processes"), &[]);
        Ok(ScrapeErrors::default())
    }
}

/// The state in `/proc/PID/status`.
fn state_of(status: &str) -> &'static str {
    let state = lines(status).find_map(|line| line.strip_prefix("State:\t")).unwrap_or_default();
    match state.chars().next() {
        Some('A') => "daemon",
        Some('D' | 'U') => "blocked",
        Some('E') => "detached",
        Some('I') => "idle",
        Some('L') => "locked",
        Some('O') => "orphan",
        Some('R') => "running",
        Some('S') => "sleeping",
        Some('T' | 't') => "stopped",
        Some('W') => "paging",
        Some('Y') => "system",
        Some('Z') => "zombies",
        _ => "unknown",
    }
}
