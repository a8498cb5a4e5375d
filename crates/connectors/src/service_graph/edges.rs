//! Edges: requests between two services, of which one span has come and the other one has not.
//!
//! Bounded in number and charged by [`Kept`]. Reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_pipeline::{Kept, MonotonicTime};

/// The trace, and the span of the client: the parent of the server's span.
pub(super) type EdgeKey = ([u8; 16], [u8; 8]);

/// What kind of request an edge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum ConnectionType {
    #[default]
    Unknown,
    MessagingSystem,
    Database,
    VirtualNode,
}

impl ConnectionType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::MessagingSystem => "messaging_system",
            Self::Database => "database",
            Self::VirtualNode => "virtual_node",
        }
    }
}

/// A request. A service without a name is one whose span has not come.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    pub(super) connection_type: ConnectionType,
    pub(super) client: Vec<u8>,
    pub(super) server: Vec<u8>,
    pub(super) client_seconds: f64,
    pub(super) server_seconds: f64,
    pub(super) failed: bool,
    /// By dimension: that of the client, and that of the server.
    pub(super) dimensions: Vec<[Option<Vec<u8>>; 2]>,
    /// The peer attribute that the client's span has: its place in the list, and its value.
    pub(super) peer: Option<(usize, Vec<u8>)>,
    /// Which of the services has no span.
    pub(super) virtual_node: &'static str,
}

impl Edge {
    fn is_complete(&self) -> bool {
        !self.client.is_empty() && !self.server.is_empty()
    }

    fn bytes(&self) -> u64 {
        let dimensions = self.dimensions.iter().flatten().flatten().map(Vec::len).sum::<usize>();
        let texts =
            self.client.len() + self.server.len() + self.peer.as_ref().map_or(0, |(_, peer)| peer.len()) + dimensions;
        (texts + 320 + 48 * self.dimensions.len()) as u64
    }
}

struct WaitingEdge {
    edge: Edge,
    expires_at: MonotonicTime,
    /// In the order in which edges have come.
    serial: u64,
    bytes: u64,
}

/// What became of a span.
#[derive(Debug)]
pub(super) enum Upserted {
    /// The edge has both spans.
    Complete { edge: Edge, is_new: bool },
    /// It waits for the other span.
    Waiting { is_new: bool },
    /// There is no room for another edge.
    NoRoom,
}

/// The edges that wait.
pub(super) struct Edges {
    waiting: BTreeMap<EdgeKey, WaitingEdge>,
    /// Keys by serial number: edges expire in this order.
    order: BTreeMap<u64, EdgeKey>,
    next_serial: u64,
    max_items: usize,
    ttl: Duration,
    kept: Kept,
}

impl Edges {
    pub(super) fn new(max_items: usize, ttl: Duration, kept: Kept) -> Self {
        Self { waiting: BTreeMap::new(), order: BTreeMap::new(), next_serial: 0, max_items, ttl, kept }
    }

    /// Changes an edge, or makes it.
    pub(super) fn upsert(&mut self, now: MonotonicTime, key: EdgeKey, update: impl FnOnce(&mut Edge)) -> Upserted {
        if let Some(waiting) = self.waiting.get_mut(&key) {
            update(&mut waiting.edge);
            if waiting.edge.is_complete() {
                return match self.remove(&key) {
                    Some(edge) => Upserted::Complete { edge, is_new: false },
                    None => Upserted::NoRoom,
                };
            }
            let bytes = waiting.edge.bytes();
            self.kept.shrink(waiting.bytes);
            self.kept.grow(bytes);
            waiting.bytes = bytes;
            return Upserted::Waiting { is_new: false };
        }
        let mut edge = Edge::default();
        update(&mut edge);
        if edge.is_complete() {
            return Upserted::Complete { edge, is_new: true };
        }
        if self.waiting.len() >= self.max_items || !self.kept.has_room() {
            return Upserted::NoRoom;
        }
        let (serial, bytes) = (self.next_serial, edge.bytes());
        self.next_serial += 1;
        self.kept.grow(bytes);
        self.order.insert(serial, key);
        self.waiting.insert(key, WaitingEdge { edge, expires_at: now + self.ttl, serial, bytes });
        Upserted::Waiting { is_new: true }
    }

    fn remove(&mut self, key: &EdgeKey) -> Option<Edge> {
        let waiting = self.waiting.remove(key)?;
        self.order.remove(&waiting.serial);
        self.kept.shrink(waiting.bytes);
        Some(waiting.edge)
    }

    /// Takes the oldest edge, if its time is over.
    pub(super) fn pop_expired(&mut self, now: MonotonicTime) -> Option<(EdgeKey, Edge)> {
        let key = *self.order.first_key_value()?.1;
        if self.waiting.get(&key).is_some_and(|waiting| waiting.expires_at >= now) {
            return None;
        }
        self.remove(&key).map(|edge| (key, edge))
    }
}
