//! A page from OTLP bytes, for comparison with the Go collector. Not part of the public interface.

use bytes::Bytes;
use otelcore_exposition::NegotiatedFormat;
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::MonotonicTime;

use crate::config::PageConfig;
use crate::dropped_points::DroppedPoints;
use crate::registry::SeriesRegistry;

/// The page after the payloads arrived in order, all at the same time, or the text of the error. A payload that is not
/// well-formed is ignored.
#[must_use]
pub fn render_page(config: &PageConfig, payloads: &[&[u8]]) -> Vec<u8> {
    let mut registry = SeriesRegistry::new(config, 1, DroppedPoints::without_log());
    let now = MonotonicTime(1_000_000_000_000);
    for payload in payloads {
        if let Ok(summary) = check(Signal::Metrics, payload) {
            registry.push_body(&Rope::new(Bytes::copy_from_slice(payload), summary.items), now);
        }
    }
    registry.render(now, &NegotiatedFormat::default()).unwrap_or_else(|e| e.to_string().into_bytes())
}
