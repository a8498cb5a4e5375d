//! The bodies that are being read: their charges, and which one is refused when memory is short.
//!
//! A body is charged for the memory that it takes while it arrives, never for the length that its sender claims. When a
//! body would grow beyond the hard memory limit, the one of which least has arrived is refused, so that those that are
//! nearly complete can end. Above the soft limit, from which on whole requests are refused, bodies together take at
//! most half of the hard limit, so that bodies that begin and never end leave room for others. Before that, connections
//! without a request in progress wait while the bodies of others arrive. Never uses a connection itself: it lists the
//! bodies to refuse, and [`super::Ingest`] refuses them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_pipeline::{Budget, Held, NoRoom};

/// Bytes that a request takes in addition to its header fields and its body: its stream, and its entries in tables.
const REQUEST_OVERHEAD: u64 = 512;

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
}

#[derive(Debug, Default)]
struct BodyTable {
    next_number: u64,
    /// The bodies that are not to be refused yet, by the number of their received bytes and by number: those with the
    /// fewest received bytes come first, and of those the oldest.
    by_arrived_bytes: BTreeMap<(u64, u64), IncomingBody>,
    /// Charged bytes of all bodies in `by_arrived_bytes`.
    total: u64,
    /// Incremented whenever more of a body arrives, or a body is complete.
    progress_count: u64,
    refused: Vec<RefusedBody>,
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
    ) -> Result<BodyCharge, NoRoom> {
        let charged = REQUEST_OVERHEAD + head as u64;
        let mut table = self.0.borrow_mut();
        let number = table.next_number;
        table.next_number += 1;
        table.make_room(budget, charged, (0, number))?;
        // Without a limit, no body is refused to make room for another.
        if budget.held_limit() != u64::MAX {
            table.by_arrived_bytes.insert((0, number), IncomingBody { connection, charged });
            table.total += charged;
        }
        Ok(BodyCharge { held: budget.hold(charged), number, arrived: 0, incoming_bodies: self.clone() })
    }

    /// Whether a connection without a request in progress should not begin one now: bodies that are being read take
    /// more than a quarter of the hard limit, and more of them has arrived since this connection was deferred last. So
    /// they end sooner, and fewer are refused.
    pub(super) fn should_defer(&self, budget: &Budget, connection: ConnectionId) -> bool {
        let table = &mut *self.0.borrow_mut();
        let progress = table.progress_count;
        let is_above_share = table.total > budget.held_limit() / 4;
        let should_defer = is_above_share && table.deferred.get(&connection).is_none_or(|before| *before != progress);
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
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.arrived);
        let old_key = (self.arrived, self.number);
        let mut table = self.incoming_bodies.0.borrow_mut();
        if let Some(budget) = self.held.budget() {
            table.make_room(budget, more, old_key)?;
        }
        table.progress_count += 1;
        self.held.grow(self.held.bytes() + more);
        self.arrived += more;
        if let Some(mut body) = table.by_arrived_bytes.remove(&old_key) {
            body.charged += more;
            table.by_arrived_bytes.insert((self.arrived, self.number), body);
            table.total += more;
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
        let mut table = self.incoming_bodies.0.borrow_mut();
        if let Some(body) = table.by_arrived_bytes.remove(&(self.arrived, self.number)) {
            table.total -= body.charged;
        }
    }
}

impl BodyTable {
    /// Makes room for `more` bytes of a body. `requester` is its key: its number of received bytes, and its number.
    /// Selects other bodies to refuse until there is room, only bodies of which no more has arrived than of this one.
    fn make_room(&mut self, budget: &Budget, more: u64, requester: (u64, u64)) -> Result<(), NoRoom> {
        let hard = budget.held_limit();
        loop {
            let held = budget.held().saturating_add(more).saturating_sub(self.bytes_to_release);
            let has_others = self.by_arrived_bytes.len() > usize::from(self.by_arrived_bytes.contains_key(&requester));
            let is_above_share = held > budget.limit() && has_others && self.total + more > hard / 2;
            if held <= hard && !is_above_share {
                return Ok(());
            }
            let mut candidates = self.by_arrived_bytes.keys().filter(|(_, number)| *number != requester.1);
            let key = *candidates.next().filter(|(arrived, _)| *arrived <= requester.0).ok_or(NoRoom)?;
            if let Some(body) = self.by_arrived_bytes.remove(&key) {
                self.refused.push((body.connection, key.1));
                self.bytes_to_release += body.charged;
                self.total -= body.charged;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget_and_bodies(hard: u64) -> (Arc<Budget>, IncomingBodies) {
        let budget = Arc::new(Budget::default());
        budget.set_hard_limit(hard);
        (budget, IncomingBodies::default())
    }

    fn connection(slot: usize) -> ConnectionId {
        ConnectionId { server: ServerProtocol::Http, slot, serial: 7 }
    }

    #[test]
    fn body_charge_grows_with_the_received_bytes_and_ends_with_the_last_clone() {
        let (budget, bodies) = budget_and_bodies(u64::MAX);
        let mut body = bodies.add(&budget, connection(0), 100).unwrap();
        assert_eq!(budget.held(), REQUEST_OVERHEAD + 100);
        body.grow(10).unwrap();
        assert_eq!(budget.held(), REQUEST_OVERHEAD + 110);
        body.grow(MIB).unwrap();
        let charged = REQUEST_OVERHEAD + 100 + MIB;
        assert_eq!(budget.held(), charged);
        let held = body.complete();
        assert_eq!((budget.held(), held.bytes()), (charged, charged));
        drop(held);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn body_that_grows_above_the_limit_causes_refusal_of_the_shortest() {
        let (budget, bodies) = budget_and_bodies(10 * MIB + 4 * REQUEST_OVERHEAD);
        let mut all: Vec<_> = (0..4).map(|slot| bodies.add(&budget, connection(slot), 0).unwrap()).collect();
        for (body, mib) in all.iter_mut().zip([3, 1, 4, 1]) {
            body.grow(mib * MIB).unwrap();
        }
        all[2].grow(6 * MIB).unwrap();
        let refused = bodies.take_refused();
        assert_eq!(refused, [(connection(1), all[1].number())], "the first of the two smallest made room");
        drop(all.remove(1));
        assert!(budget.held() <= 10 * MIB + 4 * REQUEST_OVERHEAD);
        // The body that requests room is itself the smallest, so it is refused.
        assert_eq!(all[2].grow(5 * MIB), Err(NoRoom));
        assert!(bodies.take_refused().is_empty());
    }

    #[test]
    fn bodies_above_the_soft_limit_may_use_half_of_the_hard_limit() {
        let (budget, bodies) = budget_and_bodies(64 * MIB);
        budget.set_limit(50 * MIB);
        let mut all: Vec<_> = (0..4).map(|slot| bodies.add(&budget, connection(slot), 0).unwrap()).collect();
        for body in &mut all {
            body.grow(12 * MIB).unwrap();
        }
        assert!(bodies.take_refused().is_empty(), "below the soft limit nobody is refused");
        all[0].grow(15 * MIB).unwrap();
        let refused: Vec<u64> = bodies.take_refused().iter().map(|(_, number)| *number).collect();
        assert_eq!(refused, [all[1].number()], "below the soft limit again");
        all.retain(|body| !refused.contains(&body.number()));
        assert!(budget.held() <= 50 * MIB);
        // A single body may take all.
        all.truncate(1);
        all[0].grow(60 * MIB).unwrap();
        assert_eq!(all[0].grow(65 * MIB), Err(NoRoom));
    }

    #[test]
    fn body_without_data_uses_no_room_for_its_declared_length() {
        let (budget, bodies) = budget_and_bodies(MIB);
        let without_data: Vec<_> = (0..100).map(|slot| bodies.add(&budget, connection(slot), 0).unwrap()).collect();
        let mut with_data = bodies.add(&budget, connection(100), 0).unwrap();
        with_data.grow(MIB / 2).unwrap();
        drop((without_data, with_data));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn head_above_the_limit_causes_refusal_of_the_oldest_request_without_a_body() {
        let (budget, bodies) = budget_and_bodies(100 * REQUEST_OVERHEAD);
        let open = |slot| bodies.add(&budget, connection(slot), 3 * REQUEST_OVERHEAD as usize);
        let mut taken: Vec<_> = (0..25).map(|slot| open(slot).unwrap()).collect();
        taken.push(open(25).unwrap());
        assert_eq!(bodies.take_refused(), [(connection(0), taken[0].number())]);
        taken.remove(0);
        // A head alone is too large for the limit.
        assert!(bodies.add(&budget, connection(0), 101 * REQUEST_OVERHEAD as usize).is_err());
    }

    #[test]
    fn connection_without_a_request_is_deferred_while_other_bodies_arrive() {
        let (budget, bodies) = budget_and_bodies(64 * MIB);
        let mut body = bodies.add(&budget, connection(0), 0).unwrap();
        assert!(!bodies.should_defer(&budget, connection(1)));
        body.grow(20 * MIB).unwrap();
        assert!(bodies.should_defer(&budget, connection(1)));
        assert!(!bodies.should_defer(&budget, connection(1)), "nothing has arrived since");
        assert!(bodies.should_defer(&budget, connection(1)) && bodies.should_defer(&budget, connection(2)));
        body.grow(21 * MIB).unwrap();
        assert!(bodies.should_defer(&budget, connection(1)), "it arrives");
        drop(body);
        assert!(!bodies.should_defer(&budget, connection(1)));
        assert!(bodies.0.borrow().deferred.len() < 2);
    }
}
