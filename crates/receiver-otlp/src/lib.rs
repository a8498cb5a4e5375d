//! The `otlp` receiver.
//!
//! Bodies are admitted by their head and length, read once into a buffer that is charged to the budget as it grows,
//! checked once, and sent on as they are. A client gets its response when its data is delivered or in custody. A body
//! that takes long to decode is decoded on a helper thread, so that no other connection waits for it. Credentials whose
//! check takes long are checked on a helper thread too: meanwhile the body is read, but not decoded or sent on.
#![forbid(unsafe_code)]

mod config;
mod decode;
mod grpc;
mod http;
mod incoming_bodies;
mod receiver;

pub use config::{OtlpFactory, OtlpHttpConfig, OtlpReceiverConfig};

use std::time::Duration;

use otelcore_http::{Code, Status};
use otelcore_pipeline::{Error, Outcome};

/// The response message of every Export method: an empty partial_success, always written, as the Go collector does.
const SUCCESS_RESPONSE: &[u8] = &[0x0a, 0x00];

/// The shortest pause that a client is asked to make before it retries.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The status of an outcome, for the client; none for success.
///
/// An outcome that carries a peer's gRPC code keeps it; others are UNAVAILABLE when the same data may be accepted
/// later, INTERNAL when not.
fn outcome_status(outcome: Outcome) -> Option<Status> {
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
