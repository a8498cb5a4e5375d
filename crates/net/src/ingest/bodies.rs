//! The requests that are being read: their charges, and which one is refused when memory is short.
//!
//! A body is charged for the memory that it takes while it arrives, never for the length that its sender claims. So is
//! the head that waits for its body, and a long head of HTTP/1.1 that is not complete. When a body would grow beyond the
//! hard memory limit, the one of which least has arrived is refused, so that those that are nearly complete can end.
//!
//! While the limiter refuses data ([`Budget::admission_limit`]), incomplete requests together take at most half of what
//! may be held then: otherwise clients that begin requests and never end them would keep the limiter in that state, and
//! no other client would be served. The least advanced are refused first. If none is less advanced than the one that
//! needs room, the oldest is refused that began more than ten seconds ago, so that a client has to send again what it
//! holds. Before that, connections without a request in progress wait while the bodies of others arrive. Never uses a
//! connection itself: it lists the requests to refuse, and [`super::Ingest`] refuses them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{Budget, Held, MonotonicTime, NoRoom};

/// Bytes that a request takes in addition to its header fields and its body: its stream, and its entries in tables.
const REQUEST_OVERHEAD: u64 = 512;

/// While memory is short, a request that began this long ago may be refused to make room for one that is less advanced.
const SLOW_REQUEST: Duration = Duration::from_secs(10);

/// Requests that are selected to be refused at one time at most: what is still needed is selected later.
const MAX_SELECTED: usize = 256;

/// The protocol of a server of a receiver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum ServerProtocol {
    Grpc,
    Http,
}

/// One connection of a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ConnectionId {
    /// The server that accepted it.
    pub(super) server: ServerProtocol,
    /// Slot of the acceptor.
    pub(super) slot: usize,
    /// Serial number of the connection in that slot.
    pub(super) serial: u64,
}

/// A body to refuse: its connection, and the number of its charge.
pub(super) type RefusedBody = (ConnectionId, u64);

#[derive(Debug)]
struct IncomingBody {
    connection: ConnectionId,
    /// Bytes of the head and of what has arrived.
    charged: u64,
    began_at: MonotonicTime,
}

#[derive(Debug, Default)]
struct BodyTable {
    next_number: u64,
    /// The bodies that are not to be refused yet, by the number of their received bytes and by number: those with the
    /// fewest received bytes come first, and of those the oldest.
    by_arrived_bytes: BTreeMap<(u64, u64), IncomingBody>,
    /// The number of received bytes of the same bodies, by number: the oldest comes first.
    by_age: BTreeMap<u64, u64>,
    /// Charged bytes of all bodies in `by_arrived_bytes`.
    total: u64,
    /// Incremented whenever more of a body arrives, or a body is complete.
    progress_count: u64,
    refused: Vec<RefusedBody>,
    /// [`MAX_SELECTED`] were selected, and more are needed.
    has_more_to_select: bool,
    /// Charged bytes of the bodies in `refused`, which have not been released yet.
    bytes_to_release: u64,
    /// Deferred connections, with the progress at the time when each was deferred last.
    deferred: BTreeMap<ConnectionId, u64>,
}

/// The bodies of one receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct IncomingBodies(Rc<RefCell<BodyTable>>);

/// One body that is being read, and its charge.
#[derive(Debug)]
pub(super) struct BodyCharge {
    held: Held,
    /// Unique among all bodies of its receiver.
    number: u64,
    arrived: u64,
    incoming_bodies: IncomingBodies,
}

impl IncomingBodies {
    /// Charges a request whose head has arrived. `head` is the size of the head in bytes.
    pub(super) fn add(
        &self,
        budget: &Arc<Budget>,
        connection: ConnectionId,
        head: usize,
        now: MonotonicTime,
    ) -> Result<BodyCharge, NoRoom> {
        let charged = REQUEST_OVERHEAD + head as u64;
        let mut table = self.0.borrow_mut();
        let number = table.next_number;
        table.next_number += 1;
        table.make_room(budget, charged, (0, number), now)?;
        // Without a limit, no body is refused to make room for another.
        if budget.held_limit() != u64::MAX {
            table.insert((0, number), IncomingBody { connection, charged, began_at: now });
        }
        Ok(BodyCharge { held: budget.hold(charged), number, arrived: 0, incoming_bodies: self.clone() })
    }

    /// Whether no request is being read that could be refused.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().by_arrived_bytes.is_empty()
    }

    /// Whether more are to be refused than are selected at one time: [`IncomingBodies::enforce_share`] must be called.
    pub(super) fn has_more_to_select(&self) -> bool {
        self.0.borrow().has_more_to_select
    }

    /// Selects the requests to refuse so that they keep to their share, without a request that needs room.
    pub(super) fn enforce_share(&self, budget: &Budget, now: MonotonicTime) {
        let table = &mut *self.0.borrow_mut();
        let was_interrupted = std::mem::take(&mut table.has_more_to_select);
        let mut limit = if was_interrupted { lowered_limit(budget) } else { budget.admission_limit() };
        for _ in 0..MAX_SELECTED {
            if table.held_with(budget, 0) < limit || table.total <= share(budget) {
                return;
            }
            limit = lowered_limit(budget);
            let is_last = table.by_arrived_bytes.len() == 1;
            let key = match table.by_arrived_bytes.keys().next() {
                Some(key) if !is_last => *key,
                // A single body may take more than the share, if it does not take long.
                _ => match table.oldest_slow(None, now) {
                    Some(key) => key,
                    None => return,
                },
            };
            table.select(key);
        }
        table.has_more_to_select = true;
    }

    /// Whether a connection without a request in progress should not begin one now: bodies that are being read take
    /// more than a quarter of the hard limit or half of their share, and more of them has arrived since this connection was deferred last. So
    /// they end sooner, and fewer are refused.
    pub(super) fn should_defer(&self, budget: &Budget, connection: ConnectionId) -> bool {
        let table = &mut *self.0.borrow_mut();
        let progress = table.progress_count;
        let many = (budget.held_limit() / 4).min(share(budget) / 2);
        let should_defer =
            table.total > many && table.deferred.get(&connection).is_none_or(|before| *before != progress);
        if should_defer {
            table.deferred.insert(connection, progress);
        } else {
            table.deferred.remove(&connection);
        }
        should_defer
    }

    /// Takes the list of the bodies to refuse, to make room for others.
    pub(super) fn take_refused(&self) -> Vec<RefusedBody> {
        let mut table = self.0.borrow_mut();
        table.bytes_to_release = 0;
        std::mem::take(&mut table.refused)
    }
}

impl BodyCharge {
    /// The number by which [`IncomingBodies::take_refused`] identifies it.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Raises the charge: the body takes `bytes` from now on, its head not counted.
    pub(super) fn grow(&mut self, bytes: u64, now: MonotonicTime) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.arrived);
        self.raise(more, self.arrived + more, now)?;
        self.incoming_bodies.0.borrow_mut().progress_count += 1;
        Ok(())
    }

    /// Raises the charge of a head that is not complete: it takes `bytes` from now on. However long it is, it is no
    /// more advanced than a request without a body.
    pub(super) fn grow_head(&mut self, bytes: u64, now: MonotonicTime) -> Result<(), NoRoom> {
        let more = (REQUEST_OVERHEAD + bytes).saturating_sub(self.held.bytes());
        self.raise(more, self.arrived, now)
    }

    fn raise(&mut self, more: u64, arrived: u64, now: MonotonicTime) -> Result<(), NoRoom> {
        let old_key = (self.arrived, self.number);
        let mut table = self.incoming_bodies.0.borrow_mut();
        if let Some(budget) = self.held.budget() {
            table.make_room(budget, more, old_key, now)?;
        }
        self.held.grow(self.held.bytes() + more);
        self.arrived = arrived;
        if let Some(mut body) = table.remove(old_key) {
            body.charged += more;
            table.insert((arrived, self.number), body);
        }
        Ok(())
    }

    /// The body is complete: returns its charge.
    pub(super) fn complete(mut self) -> Held {
        self.incoming_bodies.0.borrow_mut().progress_count += 1;
        std::mem::take(&mut self.held)
    }
}

impl Drop for BodyCharge {
    fn drop(&mut self) {
        self.incoming_bodies.0.borrow_mut().remove((self.arrived, self.number));
    }
}

/// Bytes that incomplete requests may take together while the limiter refuses data.
fn share(budget: &Budget) -> u64 {
    budget.admission_limit() / 2
}

/// Down to how many held bytes requests are refused once data is refused: an eighth less than the limit, so that the
/// next request of another client finds room.
fn lowered_limit(budget: &Budget) -> u64 {
    budget.admission_limit() / 8 * 7
}

impl BodyTable {
    fn insert(&mut self, key: (u64, u64), body: IncomingBody) {
        self.total += body.charged;
        self.by_age.insert(key.1, key.0);
        self.by_arrived_bytes.insert(key, body);
    }

    fn remove(&mut self, key: (u64, u64)) -> Option<IncomingBody> {
        let body = self.by_arrived_bytes.remove(&key)?;
        self.by_age.remove(&key.1);
        self.total -= body.charged;
        Some(body)
    }

    /// Selects a body to refuse.
    fn select(&mut self, key: (u64, u64)) {
        if let Some(body) = self.remove(key) {
            self.refused.push((body.connection, key.1));
            self.bytes_to_release += body.charged;
        }
    }

    /// Bytes that will be held when `more` are held and what is selected is released.
    fn held_with(&self, budget: &Budget, more: u64) -> u64 {
        budget.held().saturating_add(more).saturating_sub(self.bytes_to_release)
    }

    /// The oldest body other than this number, if it takes longer than [`SLOW_REQUEST`].
    fn oldest_slow(&self, except: Option<u64>, now: MonotonicTime) -> Option<(u64, u64)> {
        let (number, arrived) = self.by_age.iter().find(|(number, _)| Some(**number) != except)?;
        let key = (*arrived, *number);
        let body = self.by_arrived_bytes.get(&key)?;
        (now.since(body.began_at) >= SLOW_REQUEST).then_some(key)
    }

    /// Makes room for `more` bytes of a body. `requester` is its key: its number of received bytes, and its number.
    /// Selects other bodies to refuse until there is room: those of which no more has arrived than of this one, then
    /// slow ones.
    fn make_room(
        &mut self,
        budget: &Budget,
        more: u64,
        requester: (u64, u64),
        now: MonotonicTime,
    ) -> Result<(), NoRoom> {
        let hard = budget.held_limit();
        let mut limit = budget.admission_limit();
        for _ in 0..MAX_SELECTED {
            let held = self.held_with(budget, more);
            let has_others = self.by_arrived_bytes.len() > usize::from(self.by_arrived_bytes.contains_key(&requester));
            let is_above_share = held >= limit && has_others && self.total + more > share(budget);
            if held <= hard && !is_above_share {
                return Ok(());
            }
            if is_above_share {
                limit = lowered_limit(budget);
            }
            let mut others = self.by_arrived_bytes.keys().filter(|(_, number)| *number != requester.1);
            let least = others.next().filter(|(arrived, _)| *arrived <= requester.0).copied();
            let key = least.or_else(|| self.oldest_slow(Some(requester.1), now)).ok_or(NoRoom)?;
            self.select(key);
        }
        self.has_more_to_select = true;
        if self.held_with(budget, more) <= hard { Ok(()) } else { Err(NoRoom) }
    }
}

#[cfg(test)]
mod tests;
