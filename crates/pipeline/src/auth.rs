//! Authentication: the capabilities that extensions offer to servers and clients.
//!
//! A server passes the header fields of a request, before it reads the body; a client gets the fields to send with a
//! request. Does not distinguish gRPC from HTTP, and never puts a secret into a message.

use std::borrow::Cow;

use otelcore_config::ComponentId;

use crate::{Capability, Cx, Metadata, StartError, UsedMetadata};

/// Decides whether the sender of a request is permitted.
pub trait ServerAuth {
    /// `header` gives the first value of a request's header field, by its name in lower case.
    ///
    /// Must not take long: a long computation is returned as a [`CredentialCheck`].
    fn authenticate<'h>(&self, cx: &mut Cx<'_>, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Authentication;

    /// What is known of the sender if it is permitted, by name: it is kept with the telemetry of the request
    /// ([`Metadata::auth_attribute`]). Called before a pending check has ended.
    fn attributes<'h>(&self, header: &dyn Fn(&str) -> Option<Cow<'h, [u8]>>) -> Vec<(String, String)> {
        let _ = header;
        Vec::new()
    }
}

/// The sender is at fault: its credentials are absent or wrong, or too many are being checked. The text is for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

/// Our side is at fault: a client has no credentials, or no header fields, for a request now. The text never goes to a
/// sender of telemetry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialsUnavailable(pub String);

/// The decision of a [`ServerAuth`].
pub enum Authentication {
    /// The request is permitted.
    Granted,
    /// The request is refused with UNAUTHENTICATED, or 401.
    Refused(Unauthenticated),
    /// Not known before the check has ended. Until then no data of the request may enter a pipeline.
    Pending(Box<dyn CredentialCheck>),
}

impl From<Result<(), Unauthenticated>> for Authentication {
    fn from(result: Result<(), Unauthenticated>) -> Self {
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
    /// The credentials are not valid.
    fn end(&self, cx: &mut Cx<'_>, is_valid: bool) -> Result<(), Unauthenticated>;
}

/// The next step of a check of credentials.
pub enum CheckStep {
    /// The check has ended.
    Ended(Result<(), Unauthenticated>),
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

/// Sets the header fields by which a client identifies itself.
pub trait ClientAuth {
    /// Sets, changes or removes header fields of the next request. Called once for each request, also for one that is
    /// sent again.
    ///
    /// # Errors
    /// The reason why the request can't be sent now.
    fn apply(&self, cx: &mut Cx<'_>, headers: &mut OutgoingHeaders<'_>) -> Result<(), CredentialsUnavailable>;

    /// What it reads of [`OutgoingHeaders::metadata`]. A queue on disk keeps nothing else.
    fn used_metadata(&self) -> UsedMetadata {
        UsedMetadata::default()
    }

    /// Whether a gRPC client must not send them without TLS.
    fn requires_tls(&self) -> bool {
        true
    }
}

/// The protocol of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestProtocol {
    /// HTTP/1.1 or HTTP/2 without gRPC.
    Http,
    /// gRPC.
    Grpc,
}

/// A header field of a request that is going to be sent: its name and its value.
pub type OutgoingField = (Cow<'static, str>, Cow<'static, str>);

/// The header fields of a request that a [`ClientAuth`] changes. Names are compared without regard to case.
///
/// Over HTTP these are all fields of the request but `Host`. Over gRPC they are empty at first, and are sent in addition
/// to the configured ones, as in grpc-go.
#[derive(Debug)]
pub struct OutgoingHeaders<'a> {
    protocol: RequestProtocol,
    metadata: Option<&'a Metadata>,
    fields: Vec<OutgoingField>,
}

impl<'a> OutgoingHeaders<'a> {
    /// The fields of a request that carries the telemetry of a sender with this `metadata`.
    #[must_use]
    pub fn new(protocol: RequestProtocol, metadata: Option<&'a Metadata>, fields: Vec<OutgoingField>) -> Self {
        Self { protocol, metadata, fields }
    }

    /// The protocol of the request.
    #[must_use]
    pub fn protocol(&self) -> RequestProtocol {
        self.protocol
    }

    /// The metadata of the telemetry in the request, if the receiver and what follows it keep them. A request never has
    /// telemetry of several senders with different metadata.
    #[must_use]
    pub fn metadata(&self) -> Option<&'a Metadata> {
        self.metadata
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Sets a field, and replaces one of the same name.
    pub fn set(&mut self, name: &str, value: String) {
        let value = Cow::Owned(value);
        match self.fields.iter_mut().find(|(field, _)| field.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.fields.push((Cow::Owned(self.field_name(name)), value)),
        }
    }

    /// Adds a field, beside those of the same name.
    pub fn add(&mut self, name: &str, value: String) {
        self.fields.push((Cow::Owned(self.field_name(name)), Cow::Owned(value)));
    }

    fn field_name(&self, name: &str) -> String {
        match self.protocol {
            RequestProtocol::Http => canonical_field_name(name),
            RequestProtocol::Grpc => name.to_ascii_lowercase(),
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(field, _)| !field.eq_ignore_ascii_case(name));
    }

    /// The fields.
    #[must_use]
    pub fn into_fields(self) -> Vec<OutgoingField> {
        self.fields
    }
}

/// `X-Api-Key` for `x-api-key`, as Go writes names.
fn canonical_field_name(name: &str) -> String {
    let mut upper = true;
    let letter = |c: char| {
        let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        upper = c == '-';
        c
    };
    name.chars().map(letter).collect()
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
    StartError::Config(format!(
        "failed to resolve authenticator \"{id}\": authenticator not found; configure it under `extensions:` and name it in `service::extensions`"
    ))
}

fn wrong_side(id: &ComponentId, side: &str) -> StartError {
    StartError::Config(format!("failed to resolve authenticator \"{id}\": requested authenticator is not a {side}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_of_a_request_is_found_by_its_name_in_any_case() {
        let fields = vec![(Cow::Borrowed("Content-Type"), Cow::Borrowed("a/b"))];
        let mut headers = OutgoingHeaders::new(RequestProtocol::Http, None, fields);
        headers.set("content-type", "c/d".to_owned());
        headers.set("x-api-key", "k".to_owned());
        assert_eq!(headers.get("CONTENT-TYPE"), Some("c/d"));
        headers.remove("X-api-KEY");
        headers.set("x-org-id", "1".to_owned());
        let fields: Vec<String> =
            headers.into_fields().iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(fields, ["Content-Type: c/d", "X-Org-Id: 1"]);
        let mut headers = OutgoingHeaders::new(RequestProtocol::Grpc, None, Vec::new());
        headers.set("X-Org-Id", "1".to_owned());
        assert_eq!(headers.into_fields(), [(Cow::Borrowed("x-org-id"), Cow::Borrowed("1"))]);
    }
}
