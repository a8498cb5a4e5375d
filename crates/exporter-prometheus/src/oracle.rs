//! A page from OTLP bytes, for comparison with the Go collector, and a check that a scraper can read a page. Not part of the
//! public interface.

use std::collections::BTreeSet;

use bytes::Bytes;
use otelcore_exposition::parse::{Event, Labels, PageParser, ParserLimits};
use otelcore_exposition::{NameEscaping, NegotiatedFormat, is_legacy_label_name, is_legacy_name};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::MonotonicTime;

use crate::config::PageConfig;
use crate::dropped_points::DroppedPoints;
use crate::registry::SeriesRegistry;

/// The page after the payloads arrived in order, all at the same time, or the text of the error. A payload that is not
/// well-formed is ignored. With `refuses_merged_labels`, series of which labels have equal names are not shown, as in Go.
#[must_use]
pub fn render_page(
    config: &PageConfig,
    format: NegotiatedFormat,
    refuses_merged_labels: bool,
    payloads: &[&[u8]],
) -> Vec<u8> {
    let mut registry = SeriesRegistry::new(config, 1, DroppedPoints::without_log());
    if refuses_merged_labels {
        registry = registry.with_merged_labels_refused();
    }
    let now = MonotonicTime(1_000_000_000_000);
    for payload in payloads {
        if let Ok(summary) = check(Signal::Metrics, payload) {
            registry.push_body(&Rope::new(Bytes::copy_from_slice(payload), summary.items), now);
        }
    }
    registry.render(now, &format).unwrap_or_else(|e| e.to_string().into_bytes())
}

/// Reads a page as a scraper does. Returns the number of its samples.
///
/// # Errors
/// It is not a page of the format, two labels of a sample have one name, two samples are of one series, or a name is not
/// escaped.
pub fn check_page(format: NegotiatedFormat, page: &[u8]) -> Result<usize, String> {
    let limits = ParserLimits { max_entry_bytes: 16 << 20, max_family_bytes: 64 << 20, max_native_buckets: 1 << 20 };
    let mut parser = PageParser::new(format.format, limits);
    parser.handle_data(page);
    parser.handle_end();
    let mut seen = BTreeSet::new();
    let mut check = |name: &str, labels: Labels<'_>, timestamp_ms: Option<i64>| {
        let mut sorted: Vec<(String, String)> = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        sorted.sort();
        if !sorted.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(format!("two labels of one name: {name} {sorted:?}"));
        }
        let is_escaped = format.escaping != NameEscaping::AllowUtf8;
        let is_bad = |label: &str| !is_legacy_label_name(label.as_bytes());
        if is_escaped && (!is_legacy_name(name.as_bytes()) || sorted.iter().any(|(label, _)| is_bad(label))) {
            return Err(format!("a name is not escaped: {name} {sorted:?}"));
        }
        let key = (name.to_owned(), sorted, timestamp_ms);
        if seen.contains(&key) {
            return Err(format!("twice: {key:?}"));
        }
        seen.insert(key);
        Ok(())
    };
    while let Some(event) = parser.poll_event() {
        match event.map_err(|e| e.to_string())? {
            Event::Sample(sample) => check(sample.name, sample.labels, sample.timestamp_ms)?,
            Event::NativeHistogram(native) => check(native.name, native.labels, native.timestamp_ms)?,
            Event::Help { .. } | Event::Type { .. } | Event::Unit { .. } => {}
        }
    }
    Ok(seen.len())
}
