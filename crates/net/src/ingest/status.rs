//! Outcomes and lack of memory as statuses, and statuses as HTTP responses.

use std::time::Duration;

use otelcore_http::h1::Response;
use otelcore_http::status::http_status;
use otelcore_http::{Bytes, Code, Status};
use otelcore_pipeline::{Error, NoRoom, Outcome};

use crate::TooManyChecks;

/// The shortest pause that a client is asked to make before it retries.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The status of an outcome, for the client; none for success.
///
/// An outcome that carries a peer's gRPC code keeps it; others are UNAVAILABLE when the same data may be accepted
/// later, INTERNAL when not.
pub(super) fn outcome_status(outcome: Outcome) -> Option<Status> {
    let status_of = |why: Error, default_code: Code| {
        let code = why.code.map_or(default_code, |code| Code::from_number(i64::from(code)));
        Status::new(code, why.message)
    };
    match outcome {
        Outcome::Delivered => None,
        Outcome::Retry { after, why } => {
            let status = status_of(why, Code::Unavailable);
            Some(match after {
                // A RetryInfo of zero would make every client retry at once.
                Some(after) => status.with_retry_after(after.max(MIN_RETRY_PAUSE)),
                None => status,
            })
        }
        Outcome::Permanent(why) => Some(status_of(why, Code::Internal)),
        Outcome::Lost(_) => Some(Status::unavailable("the collector is shutting down")),
    }
}

/// The status for a body for which there is no room.
#[must_use]
pub fn no_room_status(no_room: NoRoom) -> Status {
    Status::unavailable(no_room.to_string()).with_retry_after(Duration::from_secs(1))
}

/// The status for an HTTP body that exceeds its limit.
pub(super) fn too_large() -> Status {
    Status::invalid_argument("http: request body too large")
}

/// The status when too many different credentials wait for their check.
pub(super) fn too_many_checks_status(e: TooManyChecks) -> Status {
    Status::unavailable(e.to_string()).with_retry_after(Duration::from_secs(1))
}

/// An HTTP response for a status: its code as HTTP, and `Retry-After` if the status has a pause and it is used with
/// this code.
pub fn status_response(status: &Status, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let response = Response::new(http_status(status), content_type, body);
    match (response.status, status.retry_after) {
        (429 | 503, Some(after)) => response.header("Retry-After", whole_seconds(after).to_string()),
        _ => response,
    }
}

/// Rounded up, at least one: zero would make every client retry at once.
fn whole_seconds(after: Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_below_one_second_is_rounded_up_to_one() {
        for (millis, seconds) in [(0, 1), (1, 1), (50, 1), (999, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        let retry_status = |millis| {
            let why = Error { code: None, message: "sending queue is full".into() };
            outcome_status(Outcome::Retry { after: Some(Duration::from_millis(millis)), why }).unwrap()
        };
        assert_eq!(retry_status(0).retry_after, Some(MIN_RETRY_PAUSE));
        let response = status_response(&retry_status(50), "text/plain", "");
        let field = response.headers.iter().find(|(name, _)| name == "Retry-After");
        assert_eq!((response.status, field.map(|(_, value)| value.as_str())), (503, Some("1")));
    }
}
