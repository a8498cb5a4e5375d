//! A page from OTLP bytes, for comparison with the Go collector. Not part of the public interface.

use bytes::Bytes;
use otelcore_exposition::Accept;
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::Mono;

use crate::config::PageSettings;
use crate::registry::Registry;
use crate::report::Report;

/// The page after the payloads arrived in order, all at the same time, or the text of the error. A payload that is not
/// well-formed is ignored.
#[must_use]
pub fn page_of(settings: &PageSettings, payloads: &[&[u8]]) -> Vec<u8> {
    let mut registry = Registry::new(settings, 1, Report::silent());
    let now = Mono(1_000_000_000_000);
    for payload in payloads {
        if let Ok(summary) = check(Signal::Metrics, payload) {
            registry.push_body(&Rope::new(Bytes::copy_from_slice(payload), summary.items), now);
        }
    }
    registry.render(now, &Accept::default()).unwrap_or_else(|e| e.to_string().into_bytes())
}
