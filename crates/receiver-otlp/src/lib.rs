//! The `otlp` receiver.
//!
//! Bodies are admitted by their head and length, read once into a buffer that is charged to the budget as it grows,
//! checked once, and sent on as they are. A client has its answer when its data is delivered or in custody. What takes
//! long to decode is decoded on a helper thread, so that no other connection waits for it. The same holds for credentials
//! whose check takes long: meanwhile the body is read, and nothing of it is decoded or sent on.
#![forbid(unsafe_code)]

mod bodies;
mod config;
mod decode;
mod grpc;
mod http;
mod receiver;

pub use config::{Otlp, OtlpFactory, OtlpHttp};

use std::time::Duration;

use otelcore_http::{Code, Status};
use otelcore_pipeline::{Error, Outcome};

/// The response message of every Export method: an empty partial_success, always written, as the Go collector does.
const SUCCESS: &[u8] = &[0x0a, 0x00];

/// The shortest pause that a client is asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// The status that tells a client of an outcome; none for success.
///
/// A refusal that carries a peer's gRPC code keeps it; others are UNAVAILABLE when the same data may be taken later,
/// INTERNAL when not.
fn status(outcome: Outcome) -> Option<Status> {
    let with = |why: Error, otherwise: Code| {
        let code = why.code.map_or(otherwise, |code| Code::from_number(i64::from(code)));
        Status::new(code, why.message)
    };
    match outcome {
        Outcome::Delivered => None,
        Outcome::Retry { after, why } => {
            let status = with(why, Code::Unavailable);
            Some(match after {
                // A RetryInfo of zero would have every client come again at once.
                Some(after) => status.with_retry_after(after.max(LEAST_PAUSE)),
                None => status,
            })
        }
        Outcome::Permanent(why) => Some(with(why, Code::Internal)),
        Outcome::Lost(_) => Some(Status::unavailable("the collector is shutting down")),
    }
}
