//! The head of a call, as the server receives it.

use std::time::Duration;

use http::{HeaderMap, Uri};

use crate::admission::Head;
use crate::coding::Coding;
use crate::status::Status;

/// What is known about a call before its message.
#[derive(Clone, Debug)]
pub struct CallHead {
    /// What [`crate::Admission::route`] returned.
    pub method: u32,
    /// `:path` and `:authority`.
    pub uri: Uri,
    /// Request metadata; empty after admission unless the configuration keeps it.
    pub metadata: HeaderMap,
    /// `grpc-timeout`.
    pub timeout: Option<Duration>,
    /// `grpc-encoding`.
    pub encoding: Coding,
}

impl CallHead {
    /// `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// `:authority`. If the client sent the path of a unix socket, each byte that is not allowed in an authority is
    /// replaced by `-`.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.uri.authority().map(http::uri::Authority::as_str)
    }

    /// About how many bytes of memory the metadata takes: twice its length.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        2 * self.metadata.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
    }

    /// `user-agent`, if the metadata is available.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.metadata.get(http::header::USER_AGENT)?.to_str().ok()
    }
}

impl Head for CallHead {
    type Refusal = Status;

    fn too_large(&self, length: Option<u64>, limit: u64) -> Status {
        let length = length.unwrap_or(u64::MAX);
        Status::resource_exhausted(format!("grpc: received message larger than max ({length} vs. {limit})"))
    }
}

/// grpc-go's status for a path whose service is not served.
#[must_use]
pub fn unknown_service(path: &str) -> Status {
    match split_path(path) {
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

/// grpc-go's status for a path whose service is served but not this method.
#[must_use]
pub fn unknown_method(path: &str) -> Status {
    match split_path(path) {
        Some((service, method)) => Status::unimplemented(format!("unknown method {method} for service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/').unwrap_or(path).rsplit_once('/')
}
