//! Tests of points, series and pages, with a clock that is an argument.

mod accumulate;
mod build;
mod memory;
mod names_and_labels;
mod properties;
mod serve;
mod sets;
mod steps;

use std::time::Duration;

use build::*;
use otelcore_exposition::Accept;
use otelcore_pipeline::Mono;

use crate::{PageSettings, Reason, Registry, Report};

/// Seconds on the tests' clock.
fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

/// A registry with helpers to push metrics and to read its page.
struct Scene(Registry);

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PageSettings)) -> Self {
        let mut settings = PageSettings::default();
        change(&mut settings);
        Self(Registry::new(&settings, 7, Report::silent()))
    }

    /// Without scope labels, so that lines are short.
    fn plain() -> Self {
        Self::with(|s| s.without_scope_info = true)
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
        let page = self.0.render(at(seconds), &Accept::default()).unwrap_or_else(|e| e.to_string().into_bytes());
        String::from_utf8(page).unwrap()
    }

    /// The page without comments.
    fn samples(&mut self, seconds: u64) -> Vec<String> {
        self.page(seconds).lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.0.report().dropped(reason)
    }
}

const MINUTES_5: Duration = Duration::from_mins(5);
