//! What a job's configuration means for the pages of its targets.

use std::sync::Arc;

use otelcore_exposition::PageFormat;
use otelcore_pipeline::Budget;
use otelcore_prometheus_discovery::{NameValidation, RelabelRules};

/// The settings of a job, as far as pages and samples depend on them.
#[derive(Clone, Debug)]
pub(crate) struct PageSettings {
    pub(crate) honor_labels: bool,
    pub(crate) honor_timestamps: bool,
    pub(crate) tracks_timestamps: bool,
    /// Limits; zero is none.
    pub(crate) sample_limit: u64,
    pub(crate) label_limit: usize,
    pub(crate) label_name_limit: usize,
    pub(crate) label_value_limit: usize,
    pub(crate) bucket_limit: usize,
    /// The highest resolution of native histograms.
    pub(crate) max_schema: i32,
    pub(crate) scrapes_native: bool,
    pub(crate) always_scrapes_classic: bool,
    pub(crate) reports_extra: bool,
    pub(crate) validation: NameValidation,
    pub(crate) rules: RelabelRules,
    /// Labels of every series, which replace those of the same name.
    pub(crate) external_labels: Vec<(String, String)>,
    /// The format of a page whose type is missing or unknown.
    pub(crate) fallback: PageFormat,
    pub(crate) budget: Arc<Budget>,
}

impl PageSettings {
    /// The format of a page with this `Content-Type`.
    pub(crate) fn format(&self, content_type: Option<&[u8]>) -> PageFormat {
        let text = content_type.and_then(|value| str::from_utf8(value).ok()).unwrap_or_default();
        let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
        let has_values = parameters.split(';').all(|parameter| parameter.trim().is_empty() || parameter.contains('='));
        match media.trim().to_ascii_lowercase().as_str() {
            _ if !has_values => self.fallback,
            "application/openmetrics-text" => PageFormat::OpenMetrics1,
            "application/vnd.google.protobuf" => PageFormat::Protobuf,
            "text/plain" => PageFormat::Text,
            _ => self.fallback,
        }
    }
}
