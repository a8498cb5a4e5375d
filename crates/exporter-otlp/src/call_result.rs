//! What a peer's response means for a payload: the rules of the OTLP specification, with the Go collector's messages.

use std::time::Duration;

use otelcore_http::{Code, Status, date};
use otelcore_net::{may_be_caused_by_content, mentions_invalid_utf8, parse_too_large};
use otelcore_pdata::Signal;
use otelcore_pdata::response::PartialSuccess;
use otelcore_pipeline::{CallResult, Error, LogField, Logger};

/// The result of a call that ended with the error `status`.
pub(crate) fn from_status(status: Status) -> CallResult {
    let text = format!("rpc error: code = {} desc = {}", status.code.name(), status.message);
    let why = Error { code: Some(u32::from(status.code.number())), message: text.into() };
    if let Some(limit) = parse_too_large(&status.message) {
        CallResult::TooLarge { limit, why }
    } else if is_retryable(&status) && !mentions_invalid_utf8(&status.message) {
        CallResult::Retry { after: status.retry_after, why }
    } else {
        CallResult::Refused { why, may_be_invalid_text: may_be_caused_by_content(status.code) }
    }
}

/// RESOURCE_EXHAUSTED may be retried only if the peer says when.
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

/// The result of a call in which the peer accepted `items`, except for those that it reports as dropped.
pub(crate) fn from_partial_success(signal: Signal, items: u32, partial: &PartialSuccess, log: &Logger) -> CallResult {
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

/// `Retry-After`: whole seconds. A date is converted with the current time `wall_nanos`, in nanoseconds since 1970.
pub(crate) fn retry_after(value: &[u8], wall_nanos: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    let at = date::parse_http_date(text)?;
    Some(Duration::from_secs(at.saturating_sub(wall_nanos / 1_000_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_seconds_or_as_a_date_is_read() {
        assert_eq!(retry_after(b"7", 0), Some(Duration::from_secs(7)));
        let wall_nanos = 784_111_770 * 1_000_000_000;
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", wall_nanos), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 2 * wall_nanos), Some(Duration::ZERO));
        for bad in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 25:49:37 GMT"] {
            assert_eq!(retry_after(bad.as_bytes(), 0), None, "{bad}");
        }
    }

    #[test]
    fn status_is_retryable_as_in_the_specification() {
        let retryable = |status: Status| matches!(from_status(status), CallResult::Retry { .. });
        for number in 1..17 {
            let code = Code::from_number(number);
            let expected = matches!(number, 1 | 4 | 10 | 11 | 14 | 15);
            assert_eq!(retryable(Status::new(code, "")), expected, "{number}");
        }
        let busy = || Status::new(Code::ResourceExhausted, "busy");
        assert!(retryable(busy().with_retry_after(Duration::ZERO)));
        let CallResult::Refused { why, .. } = from_status(busy()) else { panic!() };
        assert_eq!((why.code, &*why.message), (Some(8), "rpc error: code = ResourceExhausted desc = busy"));
    }

    #[test]
    fn refusal_for_size_or_text_is_neither_retryable_nor_final() {
        let large = Status::new(Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 8)");
        assert!(matches!(from_status(large), CallResult::TooLarge { limit: Some(8), .. }));
        let text = Status::new(Code::Unavailable, "string field contains invalid UTF-8");
        assert!(matches!(from_status(text), CallResult::Refused { may_be_invalid_text: true, .. }));
        let unauthenticated = Status::new(Code::Unauthenticated, "no");
        assert!(matches!(from_status(unauthenticated), CallResult::Refused { may_be_invalid_text: false, .. }));
    }
}
