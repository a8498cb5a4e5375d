//! What a success of the peer means, part of which may be a refusal.

use otelcore_pdata::Signal;
use otelcore_pdata::response::PartialSuccess;
use otelcore_pipeline::{CallResult, LogField, Logger};

/// The result of a call in which the peer accepted `items`, except for those that it reports as dropped.
pub(crate) fn result_of_partial_success(
    signal: Signal,
    items: u32,
    partial: &PartialSuccess,
    log: &Logger,
) -> CallResult {
    if partial.rejected == 0 && partial.message.is_empty() {
        return CallResult::Delivered { rejected: 0 };
    }
    let dropped = match signal {
        Signal::Traces => "dropped_spans",
        Signal::Metrics => "dropped_data_points",
        Signal::Logs => "dropped_log_records",
    };
    log.warn(
        "Partial success response",
        &[("message", LogField::Str(&partial.message)), (dropped, LogField::Int(partial.rejected))],
    );
    // If the number is negative or larger than what was sent, the nearest possible number is used.
    CallResult::Delivered { rejected: u32::try_from(partial.rejected.max(0)).unwrap_or(u32::MAX).min(items) }
}
