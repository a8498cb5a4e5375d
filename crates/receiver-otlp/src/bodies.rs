//! The bodies that are being read: what they are charged, and which one is given up when memory is short.
//!
//! A body is charged for the memory that it takes while it arrives, never for the length that its sender claims. When a
//! body would grow beyond the hard memory limit, the one of which least has arrived is refused, so that those that are
//! nearly complete come to their end. Above the soft limit, which refuses whole requests, bodies together take half of
//! the hard limit at most, so that bodies that are begun and never ended leave room for others. Never touches a
//! connection: it names the bodies to refuse, and the receiver does it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_pipeline::{Budget, Held, NoRoom, Outcome};

/// What a request takes beside its header fields and its body: its stream, and its place in tables.
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
    /// Whose it is.
    pub(crate) server: Server,
    /// Slot of the acceptor.
    pub(crate) slot: usize,
    /// Serial number of the connection in that slot.
    pub(crate) serial: u64,
}

/// A body to refuse: its connection, and the number of its charge.
pub(crate) type Refused = (Connection, u64);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// The bodies that are not to be refused yet, by charged bytes and number.
    by_size: BTreeMap<(u64, u64), Connection>,
    /// Bytes of all bodies in `by_size`.
    total: u64,
    refused: Vec<Refused>,
    /// Bytes of the bodies in `refused`, which are still charged.
    releasing: u64,
}

/// The bodies of one receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bodies(Rc<RefCell<Table>>);

/// One body that is being read, and its charge.
#[derive(Debug)]
pub(crate) struct BodyCharge {
    held: Held,
    /// Never used again while its receiver lives.
    number: u64,
    bytes: u64,
    bodies: Bodies,
}

impl Bodies {
    /// Charges a request of which the head is here, of so many bytes.
    pub(crate) fn open(&self, budget: &Arc<Budget>, connection: Connection, head: usize) -> Result<BodyCharge, NoRoom> {
        let mut held = budget.hold(0);
        let bytes = REQUEST + head as u64;
        held.try_grow(bytes)?;
        let mut table = self.0.borrow_mut();
        let number = table.next;
        table.next += 1;
        // Without a limit no body is ever refused for another.
        if budget.held_limit() != u64::MAX {
            table.by_size.insert((bytes, number), connection);
            table.total += bytes;
        }
        Ok(BodyCharge { held, number, bytes, bodies: self.clone() })
    }

    /// The bodies that make room for others.
    pub(crate) fn take_refused(&self) -> Vec<Refused> {
        let mut table = self.0.borrow_mut();
        table.releasing = 0;
        std::mem::take(&mut table.refused)
    }
}

impl BodyCharge {
    /// The number that [`Bodies::take_refused`] names it by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The body takes `bytes` from now on, its head not counted.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        // What the head took covers the first bytes of the body.
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut table = self.bodies.0.borrow_mut();
        if let Some(budget) = self.held.budget() {
            let hard = budget.held_limit();
            loop {
                let held = budget.held().saturating_add(more).saturating_sub(table.releasing);
                let crowded = held > budget.limit() && table.by_size.len() > 1 && table.total + more > hard / 2;
                if held <= hard && !crowded {
                    break;
                }
                table.refuse_smallest(self.number, self.bytes)?;
            }
        }
        self.held.grow(bytes);
        if let Some(connection) = table.by_size.remove(&(self.bytes, self.number)) {
            table.by_size.insert((bytes, self.number), connection);
            table.total += more;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The body is complete: its charge goes on without it.
    pub(crate) fn complete(mut self) -> Held {
        std::mem::take(&mut self.held)
    }
}

impl Drop for BodyCharge {
    fn drop(&mut self) {
        let mut table = self.bodies.0.borrow_mut();
        if table.by_size.remove(&(self.bytes, self.number)).is_some() {
            table.total -= self.bytes;
        }
    }
}

impl Table {
    /// Names the body to refuse of which least has arrived, unless that is the one that asks, of `bytes`.
    fn refuse_smallest(&mut self, asks: u64, bytes: u64) -> Result<(), NoRoom> {
        let mut others = self.by_size.iter().filter(|((_, number), _)| *number != asks);
        let (key, connection) = others.next().filter(|(key, _)| key.0 <= bytes).ok_or(NoRoom)?;
        let (key, connection) = (*key, *connection);
        self.by_size.remove(&key);
        self.refused.push((connection, key.1));
        self.releasing += key.0;
        self.total -= key.0;
        Ok(())
    }
}

/// The outcome of a body for which there is no room.
pub(crate) fn refusal(NoRoom: NoRoom) -> Outcome {
    let why = otelcore_pipeline::Error::new("data refused due to high memory usage");
    Outcome::Retry { after: Some(std::time::Duration::from_secs(1)), why }
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
        assert_eq!(budget.held(), REQUEST + 100, "the head's charge covers it");
        body.grow(MIB).unwrap();
        assert_eq!(budget.held(), MIB);
        let held = body.complete();
        assert_eq!((budget.held(), held.bytes()), (MIB, MIB));
        drop(held);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn body_grows_beyond_limit_refuses_least_advanced() {
        let (budget, bodies) = limited(10 * MIB);
        let mut all: Vec<_> = (0..4).map(|slot| bodies.open(&budget, connection(slot), 0).unwrap()).collect();
        for (body, mib) in all.iter_mut().zip([3, 1, 4, 1]) {
            body.grow(mib * MIB).unwrap();
        }
        all[2].grow(6 * MIB).unwrap();
        let refused = bodies.take_refused();
        assert_eq!(refused, [(connection(1), all[1].number())], "the first of the two smallest made room");
        drop(all.remove(1));
        assert!(budget.held() <= 10 * MIB);
        // The smallest of all is refused itself.
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
    fn head_beyond_limit_is_refused() {
        let (budget, bodies) = limited(100 * REQUEST);
        let open = |_| bodies.open(&budget, connection(0), 3 * REQUEST as usize).ok();
        let taken: Vec<_> = (0..100).filter_map(open).collect();
        assert_eq!(taken.len(), 25);
    }
}
