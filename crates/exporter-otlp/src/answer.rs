//! What a peer's answer means for a payload: the rules of the OTLP specification, in the Go collector's words.

use std::time::Duration;

use otelcore_http::{Code, Status, date};
use otelcore_pdata::Signal;
use otelcore_pdata::response::PartialSuccess;
use otelcore_pipeline::{Error, Fate, Field, Logger, Outcome};

/// What became of a payload whose call ended with `status`.
pub(crate) fn outcome(status: Status) -> Outcome {
    let text = format!("rpc error: code = {} desc = {}", status.code.name(), status.message);
    let why = Error { code: Some(u32::from(status.code.number())), message: text.into() };
    if is_retryable(&status) { Outcome::Retry { after: status.retry_after, why } } else { Outcome::Permanent(why) }
}

/// RESOURCE_EXHAUSTED may be retried only where the peer says when.
fn is_retryable(status: &Status) -> bool {
    match status.code {
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => status.retry_after.is_some(),
        _ => false,
    }
}

/// What became of `items` that the peer took, except for those that it says it has dropped.
pub(crate) fn taken(signal: Signal, items: u32, said: &PartialSuccess, log: &Logger) -> Fate {
    if said.rejected == 0 && said.message.is_empty() {
        return Fate { delivered: items, ..Fate::default() };
    }
    let dropped = match signal {
        Signal::Traces => "dropped_spans",
        Signal::Metrics => "dropped_data_points",
        Signal::Logs => "dropped_log_records",
    };
    log.warn(
        "Partial success response",
        &[("message", Field::Str(&said.message)), (dropped, Field::Int(said.rejected))],
    );
    // A peer that drops more than it was sent, or less than nothing, is believed as far as that can be.
    let rejected = u32::try_from(said.rejected.max(0)).unwrap_or(u32::MAX).min(items);
    Fate { delivered: items - rejected, rejected, ..Fate::default() }
}

/// `Retry-After`: whole seconds. Dates are read against `wall` nanoseconds since 1970.
pub(crate) fn retry_after(value: &[u8], wall: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    let at = date::strict(text)?;
    Some(Duration::from_secs(at.saturating_sub(wall / 1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_in_seconds_or_as_a_date() {
        assert_eq!(retry_after(b"7", 0), Some(Duration::from_secs(7)));
        let wall = 784_111_770 * 1_000_000_000;
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", wall), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 2 * wall), Some(Duration::ZERO));
        for bad in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(retry_after(bad.as_bytes(), 0), None, "{bad}");
        }
    }

    #[test]
    fn what_may_be_retried_is_what_the_specification_says() {
        let retryable = |status: Status| matches!(outcome(status), Outcome::Retry { .. });
        for number in 1..17 {
            let code = Code::from_number(number);
            let expected = matches!(number, 1 | 4 | 10 | 11 | 14 | 15);
            assert_eq!(retryable(Status::new(code, "")), expected, "{number}");
        }
        let busy = || Status::new(Code::ResourceExhausted, "busy");
        assert!(retryable(busy().with_retry_after(Duration::ZERO)));
        let said = outcome(busy());
        assert_eq!(
            said,
            Outcome::Permanent(Error {
                code: Some(8),
                message: "rpc error: code = ResourceExhausted desc = busy".into()
            })
        );
    }
}
