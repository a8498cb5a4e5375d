//! Which sockets a world has open, for people who look at a collector.
//!
//! Owns the description. A world makes it when it is asked, from what it and the system know of its sockets anyway.

use std::time::Duration;

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum SocketRole {
    /// It accepts connections, or receives datagrams.
    Listener,
    /// Connections to one address.
    Destination,
}

impl SocketRole {
    /// `listener`, `destination`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Destination => "destination",
        }
    }
}

/// One connection at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenConnection {
    /// The address of the other side; empty where it has none.
    pub peer: String,
    /// The protocol that it carries, as far as it is known: `gRPC`, `HTTP/1.1`; otherwise empty.
    pub protocol: &'static str,
    /// Whether it is encrypted by TLS.
    pub is_encrypted: bool,
    /// How long it exists.
    pub age: Duration,
    /// Bytes that were received on the wire. `None` where the system does not count them.
    pub received: Option<u64>,
    /// Bytes that were sent on the wire and acknowledged.
    pub sent: Option<u64>,
}

/// The connections of a component that were accepted at one address, or that lead to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionGroup {
    /// The number of the component in its graph.
    pub owner: u32,
    /// What they are for.
    pub role: SocketRole,
    /// `tcp`, `udp` or `unix`.
    pub network: &'static str,
    /// Where the component listens, or what it is connected to.
    pub address: String,
    /// How many there are.
    pub count: usize,
    /// The oldest ones, as many as were asked for.
    pub connections: Vec<OpenConnection>,
}

/// Groups at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenConnections {
    /// Listeners and destinations by component, as many as were asked for.
    pub groups: Vec<ConnectionGroup>,
    /// Groups that were left out.
    pub omitted: usize,
}

/// How much of the connections is described.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// Groups.
    pub groups: usize,
    /// Connections of each group.
    pub connections: usize,
}
