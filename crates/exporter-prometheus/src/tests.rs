//! Tests of points, series and pages, with a clock that is an argument.

mod accumulate;
mod build;
mod formats;
mod memory;
mod names_and_labels;
mod page_sets;
mod properties;
mod serve;
mod steps;

use std::time::Duration;

use build::*;
use otelcore_exposition::NegotiatedFormat;
use otelcore_pipeline::MonotonicTime;

use crate::oracle::check_page;
use crate::{DropReason, DroppedPoints, PageConfig, SeriesRegistry};

/// Seconds on the tests' clock.
fn at(seconds: u64) -> MonotonicTime {
    MonotonicTime(seconds * 1_000_000_000)
}

/// A registry with helpers to push metrics and to read its page.
struct Fixture(SeriesRegistry);

impl Fixture {
    fn new() -> Self {
        Self::with_config(|_| {})
    }

    fn with_config(change: impl FnOnce(&mut PageConfig)) -> Self {
        let mut settings = PageConfig::default();
        change(&mut settings);
        Self(SeriesRegistry::new(&settings, 7, DroppedPoints::without_log()))
    }

    /// Without scope labels, so that lines are short.
    fn without_scope_info() -> Self {
        Self::with_config(|s| s.without_scope_info = true)
    }

    fn push(&mut self, seconds: u64, resources: Vec<ResourceMetrics>) -> &mut Self {
        self.0.push_body(&rope(resources), at(seconds));
        self
    }

    /// Metrics of a resource without attributes.
    fn metrics(&mut self, seconds: u64, metrics: Vec<Metric>) -> &mut Self {
        self.push(seconds, vec![resource(&[], vec![scope("", "", metrics)])])
    }

    fn page(&mut self, seconds: u64) -> String {
        String::from_utf8(self.page_in(seconds, NegotiatedFormat::default())).unwrap()
    }

    /// The page in a format. A scraper must be able to read it.
    fn page_in(&mut self, seconds: u64, format: NegotiatedFormat) -> Vec<u8> {
        let page = self.0.render(at(seconds), &format).unwrap();
        if let Err(why) = check_page(format, &page) {
            panic!("{why}\n{}", String::from_utf8_lossy(&page));
        }
        page
    }

    /// The page without comments.
    fn samples(&mut self, seconds: u64) -> Vec<String> {
        self.page(seconds).lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.0.dropped().count_of(reason)
    }
}

const FIVE_MINUTES: Duration = Duration::from_mins(5);
