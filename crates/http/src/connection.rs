//! What every connection of this crate reports, whatever its protocol and side.

/// The state of a connection after `poll` or `flush`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PollResult {
    /// The read budget is used up and there may be more to read: call `poll` again without waiting for readiness.
    pub poll_again: bool,
    /// Nothing more will be sent: shut down the stream for writing. (A full close with unread input would reset it and
    /// lose what the peer has not read yet.) The connection stays until `closed`.
    pub shutdown_write: bool,
    /// The connection has ended; drop it and its stream.
    pub closed: bool,
    /// Why it ended, once `closed` or `shutdown_write`.
    pub close_reason: Option<CloseReason>,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed its side without an error.
    #[error("closed by the peer")]
    Peer,
    /// The transport failed.
    #[error("transport: {0}")]
    Io(std::io::ErrorKind),
    /// The peer broke the protocol; the text says how.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer speaks another protocol: `TLS` or `HTTP/1`.
    #[error("protocol error: the peer speaks {0}, not HTTP/2")]
    OtherProtocol(&'static str),
    /// An HTTP/2 connection preface arrived on an HTTP/1.1 port.
    #[error("HTTP/2 connection preface on an HTTP/1.1 port")]
    Http2Preface,
    /// A time limit passed; the text names it.
    #[error("timeout: {0}")]
    Timeout(&'static str),
    /// The peer sent more keepalive pings than the policy allows.
    #[error("too_many_pings")]
    TooManyPings,
    /// Closed by this side: drained, too old, idle, or closed by the caller.
    #[error("closed: {0}")]
    Local(&'static str),
}

/// The earlier of two moments, where `None` means never.
pub(crate) fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The buffer size for a message of `declared` bytes of which `received` have arrived: four times `received`, so that a
/// false length never reserves more than four times the bytes that were sent, and never more than `declared`.
pub(crate) fn receive_capacity(declared: usize, received: usize) -> usize {
    declared.min(received.saturating_mul(4))
}
