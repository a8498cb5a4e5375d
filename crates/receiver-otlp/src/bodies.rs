//! The bodies that are being read: their charges, and which one is refused when memory is short.
//!
//! A body is charged for the memory that it takes while it arrives, never for the length that its sender claims. When a
//! body would grow beyond the hard memory limit, the one of which least has arrived is refused, so that those that are
//! nearly complete can end. Above the soft limit, from which on whole requests are refused, bodies together take at
//! most half of the hard limit, so that bodies that begin and never end leave room for others. Before that, connections
//! without a request in progress wait while the bodies of others arrive. Never uses a connection itself: it lists the
//! bodies to refuse, and the receiver refuses them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_pipeline::{Budget, Held, NoRoom};

/// Bytes that a request takes in addition to its header fields and its body: its stream, and its entries in tables.
const REQUEST: u64 = 512;

/// The servers of a receiver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Server {
    Grpc,
    Http,
}

/// One connection of a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Connection {
    /// The server that accepted it.
    pub(crate) server: Server,
    /// Slot of the acceptor.
    pub(crate) slot: usize,
    /// Serial number of the connection in that slot.
    pub(crate) serial: u64,
}

/// A body to refuse: its connection, and the number of its charge.
pub(crate) type Refused = (Connection, u64);

#[derive(Debug)]
struct Reading {
    connection: Connection,
    /// Bytes of the head and of what has arrived.
    charged: u64,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// The bodies that are not to be refused yet, by the bytes that have arrived of them, and by number: those of which
    /// least has arrived come first, and of those the oldest.
    by_advance: BTreeMap<(u64, u64), Reading>,
    /// Charged bytes of all bodies in `by_advance`.
    total: u64,
    /// Incremented whenever more of a body arrives, or a body is complete.
    progress: u64,
    refused: Vec<Refused>,
    /// Charged bytes of the bodies in `refused`, which have not been released yet.
    releasing: u64,
    /// Deferred connections, with the progress at the time when each was deferred last.
    deferred: BTreeMap<Connection, u64>,
}

/// The bodies of one receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bodies(Rc<RefCell<Table>>);

/// One body that is being read, and its charge.
#[derive(Debug)]
pub(crate) struct BodyCharge {
    held: Held,
    /// Unique among all bodies of its receiver.
    number: u64,
    arrived: u64,
    bodies: Bodies,
}

impl Bodies {
    /// Charges a request whose head has arrived. `head` is the size of the head in bytes.
    pub(crate) fn open(&self, budget: &Arc<Budget>, connection: Connection, head: usize) -> Result<BodyCharge, NoRoom> {
        let charged = REQUEST + head as u64;
        let mut table = self.0.borrow_mut();
        let number = table.next;
        table.next += 1;
        table.make_room(budget, charged, (0, number))?;
        // Without a limit, no body is refused to make room for another.
        if budget.held_limit() != u64::MAX {
            table.by_advance.insert((0, number), Reading { connection, charged });
            table.total += charged;
        }
        Ok(BodyCharge { held: budget.hold(charged), number, arrived: 0, bodies: self.clone() })
    }

    /// Whether a connection without a request in progress should not begin one now: bodies that are being read take
    /// more than a quarter of the hard limit, and more of them has arrived since this connection was deferred last. So
    /// they end sooner, and fewer are refused.
    pub(crate) fn defers(&self, budget: &Budget, connection: Connection) -> bool {
        let table = &mut *self.0.borrow_mut();
        let progress = table.progress;
        let crowded = table.total > budget.held_limit() / 4;
        let defers = crowded && table.deferred.get(&connection).is_none_or(|before| *before != progress);
        if defers {
            table.deferred.insert(connection, progress);
        } else {
            table.deferred.remove(&connection);
        }
        defers
    }

    /// Takes the list of the bodies to refuse, to make room for others.
    pub(crate) fn take_refused(&self) -> Vec<Refused> {
        let mut table = self.0.borrow_mut();
        table.releasing = 0;
        std::mem::take(&mut table.refused)
    }
}

impl BodyCharge {
    /// The number by which [`Bodies::take_refused`] identifies it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Raises the charge: the body takes `bytes` from now on, its head not counted.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.arrived);
        let before = (self.arrived, self.number);
        let mut table = self.bodies.0.borrow_mut();
        if let Some(budget) = self.held.budget() {
            table.make_room(budget, more, before)?;
        }
        table.progress += 1;
        self.held.grow(self.held.bytes() + more);
        self.arrived += more;
        if let Some(mut reading) = table.by_advance.remove(&before) {
            reading.charged += more;
            table.by_advance.insert((self.arrived, self.number), reading);
            table.total += more;
        }
        Ok(())
    }

    /// The body is complete: returns its charge.
    pub(crate) fn complete(mut self) -> Held {
        self.bodies.0.borrow_mut().progress += 1;
        std::mem::take(&mut self.held)
    }
}

impl Drop for BodyCharge {
    fn drop(&mut self) {
        let mut table = self.bodies.0.borrow_mut();
        if let Some(reading) = table.by_advance.remove(&(self.arrived, self.number)) {
            table.total -= reading.charged;
        }
    }
}

impl Table {
    /// Makes room for `more` bytes of a body. `asks` is its key: the bytes that have arrived of it, and its number.
    /// Selects other bodies to refuse until there is room, only bodies of which no more has arrived than of this one.
    fn make_room(&mut self, budget: &Budget, more: u64, asks: (u64, u64)) -> Result<(), NoRoom> {
        let hard = budget.held_limit();
        loop {
            let held = budget.held().saturating_add(more).saturating_sub(self.releasing);
            let others = self.by_advance.len() > usize::from(self.by_advance.contains_key(&asks));
            let crowded = held > budget.limit() && others && self.total + more > hard / 2;
            if held <= hard && !crowded {
                return Ok(());
            }
            let mut least = self.by_advance.keys().filter(|(_, number)| *number != asks.1);
            let key = *least.next().filter(|(arrived, _)| *arrived <= asks.0).ok_or(NoRoom)?;
            if let Some(reading) = self.by_advance.remove(&key) {
                self.refused.push((reading.connection, key.1));
                self.releasing += reading.charged;
                self.total -= reading.charged;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limited(hard: u64) -> (Arc<Budget>, Bodies) {
        let budget = Arc::new(Budget::default());
        budget.set_hard_limit(hard);
        (budget, Bodies::default())
    }

    fn connection(slot: usize) -> Connection {
        Connection { server: Server::Http, slot, serial: 7 }
    }

    #[test]
    fn body_charge_follows_what_arrived_and_ends_with_the_last_holder() {
        let (budget, bodies) = limited(u64::MAX);
        let mut body = bodies.open(&budget, connection(0), 100).unwrap();
        assert_eq!(budget.held(), REQUEST + 100);
        body.grow(10).unwrap();
        assert_eq!(budget.held(), REQUEST + 110);
        body.grow(MIB).unwrap();
        let charged = REQUEST + 100 + MIB;
        assert_eq!(budget.held(), charged);
        let held = body.complete();
        assert_eq!((budget.held(), held.bytes()), (charged, charged));
        drop(held);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn body_grows_beyond_limit_refuses_least_advanced() {
        let (budget, bodies) = limited(10 * MIB + 4 * REQUEST);
        let mut all: Vec<_> = (0..4).map(|slot| bodies.open(&budget, connection(slot), 0).unwrap()).collect();
        for (body, mib) in all.iter_mut().zip([3, 1, 4, 1]) {
            body.grow(mib * MIB).unwrap();
        }
        all[2].grow(6 * MIB).unwrap();
        let refused = bodies.take_refused();
        assert_eq!(refused, [(connection(1), all[1].number())], "the first of the two smallest made room");
        drop(all.remove(1));
        assert!(budget.held() <= 10 * MIB + 4 * REQUEST);
        // The body that asks is itself the smallest, so it is refused.
        assert_eq!(all[2].grow(5 * MIB), Err(NoRoom));
        assert!(bodies.take_refused().is_empty());
    }

    #[test]
    fn bodies_above_the_soft_limit_take_half_of_the_hard_one() {
        let (budget, bodies) = limited(64 * MIB);
        budget.set_limit(50 * MIB);
        let mut all: Vec<_> = (0..4).map(|slot| bodies.open(&budget, connection(slot), 0).unwrap()).collect();
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
    fn claimed_lengths_take_no_room_from_others() {
        let (budget, bodies) = limited(MIB);
        let silent: Vec<_> = (0..100).map(|slot| bodies.open(&budget, connection(slot), 0).unwrap()).collect();
        let mut honest = bodies.open(&budget, connection(100), 0).unwrap();
        honest.grow(MIB / 2).unwrap();
        drop((silent, honest));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn heads_beyond_limit_make_the_oldest_without_a_body_give_way() {
        let (budget, bodies) = limited(100 * REQUEST);
        let open = |slot| bodies.open(&budget, connection(slot), 3 * REQUEST as usize);
        let mut taken: Vec<_> = (0..25).map(|slot| open(slot).unwrap()).collect();
        taken.push(open(25).unwrap());
        assert_eq!(bodies.take_refused(), [(connection(0), taken[0].number())]);
        taken.remove(0);
        // A head alone is too large for the limit.
        assert!(bodies.open(&budget, connection(0), 101 * REQUEST as usize).is_err());
    }

    #[test]
    fn connections_without_requests_wait_while_bodies_of_others_arrive() {
        let (budget, bodies) = limited(64 * MIB);
        let mut body = bodies.open(&budget, connection(0), 0).unwrap();
        assert!(!bodies.defers(&budget, connection(1)));
        body.grow(20 * MIB).unwrap();
        assert!(bodies.defers(&budget, connection(1)));
        assert!(!bodies.defers(&budget, connection(1)), "nothing has arrived since");
        assert!(bodies.defers(&budget, connection(1)) && bodies.defers(&budget, connection(2)));
        body.grow(21 * MIB).unwrap();
        assert!(bodies.defers(&budget, connection(1)), "it arrives");
        drop(body);
        assert!(!bodies.defers(&budget, connection(1)));
        assert!(bodies.0.borrow().deferred.len() < 2);
    }
}
