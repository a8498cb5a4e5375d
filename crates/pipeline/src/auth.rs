//! Authentication: the capabilities that extensions offer to servers and clients.
//!
//! A server passes the header fields of a request, before it reads the body; a client gets the fields to send with a
//! request. Does not distinguish gRPC from HTTP, and never puts a secret into a message.

use std::borrow::Cow;

use otelcore_config::ComponentId;

use crate::{Capability, Cx, StartError};

/// Decides whether the sender of a request is permitted.
pub trait ServerAuth {
    /// `header` gives the first value of a request's header field, by its name in lower case.
    ///
    /// Must not take long: a long computation is returned as a [`CredentialCheck`].
    fn authenticate<'h>(&self, cx: &mut Cx<'_>, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Authentication;
}

/// The decision of a [`ServerAuth`].
pub enum Authentication {
    /// The request is permitted.
    Granted,
    /// The request is refused with UNAUTHENTICATED, or 401. The text is for the client.
    Refused(String),
    /// Not known before the check has ended. Until then no data of the request may enter a pipeline.
    Pending(Box<dyn CredentialCheck>),
}

impl From<Result<(), String>> for Authentication {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Refused, |()| Self::Granted)
    }
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Granted => "Granted",
            Self::Refused(_) => "Refused",
            Self::Pending(_) => "Pending",
        })
    }
}

/// A check of credentials that takes longer than a turn of the loop may take.
pub trait CredentialCheck {
    /// A digest of the credentials under a random key: one check decides for all requests with the same digest.
    fn credentials(&self) -> [u8; 32];

    /// Begins the check. In the meantime another check may have decided about these credentials.
    fn begin(&self, cx: &mut Cx<'_>) -> CheckStep;

    /// The computation has ended: `is_valid` is its result, false if it panicked. Records it for later requests.
    ///
    /// # Errors
    /// The text for the client.
    fn end(&self, cx: &mut Cx<'_>, is_valid: bool) -> Result<(), String>;
}

/// The next step of a check of credentials.
pub enum CheckStep {
    /// The check has ended: success, or the text for the client.
    Ended(Result<(), String>),
    /// A computation for a helper thread: whether the credentials are valid. [`CredentialCheck::end`] follows.
    Compute(Box<dyn FnOnce() -> bool + Send>),
}

impl std::fmt::Debug for CheckStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ended(_) => "Ended",
            Self::Compute(_) => "Compute",
        })
    }
}

/// Makes the credentials that a client sends.
pub trait ClientAuth {
    /// The header fields of the next request, names in lower case.
    ///
    /// # Errors
    /// The reason why there are none now.
    fn headers(&self, cx: &mut Cx<'_>) -> Result<Vec<(String, String)>, String>;
}

impl Capability for dyn ServerAuth {
    const NAME: &'static str = "server authenticator";

    fn extension_not_found(id: &ComponentId) -> StartError {
        authenticator_not_found(id)
    }

    fn not_offered(id: &ComponentId) -> StartError {
        wrong_side(id, Self::NAME)
    }
}

impl Capability for dyn ClientAuth {
    const NAME: &'static str = "client authenticator";

    fn extension_not_found(id: &ComponentId) -> StartError {
        authenticator_not_found(id)
    }

    fn not_offered(id: &ComponentId) -> StartError {
        wrong_side(id, Self::NAME)
    }
}

fn authenticator_not_found(id: &ComponentId) -> StartError {
    StartError(format!(
        "failed to resolve authenticator \"{id}\": authenticator not found; configure it under `extensions:` and name it in `service::extensions`"
    ))
}

fn wrong_side(id: &ComponentId, side: &str) -> StartError {
    StartError(format!("failed to resolve authenticator \"{id}\": requested authenticator is not a {side}"))
}
