use std::collections::BTreeSet;

use super::*;

const MIB: u64 = 1 << 20;
const START: MonotonicTime = MonotonicTime(0);

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
    let mut body = bodies.add(&budget, connection(0), 100, START).unwrap();
    assert_eq!(budget.held(), REQUEST_OVERHEAD + 100);
    body.grow(10, START).unwrap();
    assert_eq!(budget.held(), REQUEST_OVERHEAD + 110);
    body.grow(MIB, START).unwrap();
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
    let mut all: Vec<_> = (0..4).map(|slot| bodies.add(&budget, connection(slot), 0, START).unwrap()).collect();
    for (body, mib) in all.iter_mut().zip([3, 1, 4, 1]) {
        body.grow(mib * MIB, START).unwrap();
    }
    all[2].grow(6 * MIB, START).unwrap();
    let refused = bodies.take_refused();
    assert_eq!(refused, [(connection(1), all[1].number())], "the first of the two smallest made room");
    drop(all.remove(1));
    assert!(budget.held() <= 10 * MIB + 4 * REQUEST_OVERHEAD);
    // The body that requests room is itself the smallest, so it is refused.
    assert_eq!(all[2].grow(5 * MIB, START), Err(NoRoom));
    assert!(bodies.take_refused().is_empty());
}

#[test]
fn bodies_above_the_soft_limit_may_use_half_of_it() {
    let (budget, bodies) = budget_and_bodies(64 * MIB);
    budget.set_limit(50 * MIB);
    let mut all: Vec<_> = (0..4).map(|slot| bodies.add(&budget, connection(slot), 0, START).unwrap()).collect();
    for body in &mut all {
        body.grow(12 * MIB, START).unwrap();
    }
    assert!(bodies.take_refused().is_empty(), "below the soft limit none is refused");
    all[0].grow(15 * MIB, START).unwrap();
    let refused: Vec<u64> = bodies.take_refused().iter().map(|(_, number)| *number).collect();
    assert_eq!(refused, [all[1].number()], "below the soft limit again");
    all.retain(|body| !refused.contains(&body.number()));
    assert!(budget.held() <= 50 * MIB);
    // A single body may take all.
    all.truncate(1);
    all[0].grow(60 * MIB, START).unwrap();
    assert_eq!(all[0].grow(65 * MIB, START), Err(NoRoom));
}

/// Heads without a body, up to the soft limit of 40 MiB.
fn budget_full_of_heads() -> (Arc<Budget>, IncomingBodies, Vec<BodyCharge>) {
    let (budget, bodies) = budget_and_bodies(48 * MIB);
    let head = 16384 - REQUEST_OVERHEAD as usize;
    let heads = (0..40 * 64).map(|slot| bodies.add(&budget, connection(slot), head, START).unwrap()).collect();
    assert_eq!(budget.held(), 40 * MIB);
    budget.set_limit(40 * MIB);
    (budget, bodies, heads)
}

/// Refuses what is selected, until nothing more is; the number of calls.
fn enforce_share(budget: &Budget, bodies: &IncomingBodies, all: &mut Vec<BodyCharge>, now: MonotonicTime) -> u32 {
    let mut calls = 0;
    loop {
        calls += 1;
        bodies.enforce_share(budget, now);
        let refused: BTreeSet<u64> = bodies.take_refused().into_iter().map(|(_, number)| number).collect();
        assert!(refused.len() <= MAX_SELECTED);
        all.retain(|body| !refused.contains(&body.number()));
        if !bodies.has_more_to_select() {
            return calls;
        }
    }
}

#[test]
fn heads_without_a_body_leave_room_below_the_limit() {
    let (budget, bodies, mut heads) = budget_full_of_heads();
    assert_eq!(enforce_share(&budget, &bodies, &mut heads, START), 2);
    assert!(budget.held() < 35 * MIB && budget.held() > 34 * MIB, "data is accepted, and as many heads as fit stay");
    // A longer one finds the limit again.
    let next = bodies.add(&budget, connection(0), 15 * MIB as usize, START).unwrap();
    assert_eq!(bodies.take_refused().len(), MAX_SELECTED);
    assert!(bodies.has_more_to_select());
    drop(next);
}

#[test]
fn heads_while_resident_memory_is_high_leave_half_of_a_quarter_to_others() {
    let (budget, bodies, mut heads) = budget_full_of_heads();
    budget.count_over_hard_limit(true);
    assert!(enforce_share(&budget, &bodies, &mut heads, START) > 6, "a bounded number in one call");
    assert!(budget.held() < 10 * MIB, "{}", budget.held());
}

#[test]
fn heads_beside_kept_state_leave_half_of_the_remainder_to_others() {
    let (budget, bodies, mut heads) = budget_full_of_heads();
    let kept = budget.keep(25 * MIB);
    enforce_share(&budget, &bodies, &mut heads, START);
    assert!(budget.held() < 15 * MIB, "{}", budget.held());
    drop(kept);
}

#[test]
fn request_that_needs_room_causes_refusal_of_slow_ones_that_are_more_advanced() {
    let (budget, bodies) = budget_and_bodies(48 * MIB);
    budget.set_limit(40 * MIB);
    let mut slow: Vec<_> = (0..3).map(|slot| bodies.add(&budget, connection(slot), 0, START).unwrap()).collect();
    for body in &mut slow {
        body.grow(13 * MIB, START).unwrap();
    }
    let later = START + (SLOW_REQUEST - Duration::from_nanos(1));
    assert!(bodies.add(&budget, connection(3), MIB as usize, later).is_err(), "they may still end");
    let small = bodies.add(&budget, connection(3), MIB as usize, START + SLOW_REQUEST).unwrap();
    let expected = [(connection(0), slow[0].number())];
    assert_eq!(bodies.take_refused(), expected, "the oldest");
    drop((small, slow));
    assert_eq!(budget.held(), 0);
}

#[test]
fn single_body_above_the_share_is_refused_only_if_it_is_slow() {
    let (budget, bodies) = budget_and_bodies(48 * MIB);
    budget.set_limit(40 * MIB);
    let mut all = vec![bodies.add(&budget, connection(0), 0, START).unwrap()];
    all[0].grow(45 * MIB, START).unwrap();
    enforce_share(&budget, &bodies, &mut all, START);
    assert_eq!(all.len(), 1);
    enforce_share(&budget, &bodies, &mut all, START + SLOW_REQUEST);
    assert!(all.is_empty() && bodies.is_empty());
}

#[test]
fn incomplete_head_is_no_more_advanced_than_a_request_without_a_body() {
    let (budget, bodies) = budget_and_bodies(2 * MIB);
    let mut head = bodies.add(&budget, connection(0), 0, START).unwrap();
    head.grow_head(MIB, START).unwrap();
    head.grow_head(10, START).unwrap();
    assert_eq!(budget.held(), MIB + REQUEST_OVERHEAD);
    let other = bodies.add(&budget, connection(1), MIB as usize, START).unwrap();
    assert_eq!(bodies.take_refused(), [(connection(0), head.number())]);
    drop((head, other));
    assert!(bodies.is_empty() && budget.held() == 0);
}

#[test]
fn body_without_data_uses_no_room_for_its_declared_length() {
    let (budget, bodies) = budget_and_bodies(MIB);
    let without_data: Vec<_> = (0..100).map(|slot| bodies.add(&budget, connection(slot), 0, START).unwrap()).collect();
    let mut with_data = bodies.add(&budget, connection(100), 0, START).unwrap();
    with_data.grow(MIB / 2, START).unwrap();
    drop((without_data, with_data));
    assert_eq!(budget.held(), 0);
}

#[test]
fn head_above_the_limit_causes_refusal_of_the_oldest_request_without_a_body() {
    let (budget, bodies) = budget_and_bodies(100 * REQUEST_OVERHEAD);
    let open = |slot| bodies.add(&budget, connection(slot), 3 * REQUEST_OVERHEAD as usize, START);
    let mut taken: Vec<_> = (0..25).map(|slot| open(slot).unwrap()).collect();
    taken.push(open(25).unwrap());
    assert_eq!(bodies.take_refused(), [(connection(0), taken[0].number())]);
    taken.remove(0);
    // A head alone is too large for the limit.
    assert!(bodies.add(&budget, connection(0), 101 * REQUEST_OVERHEAD as usize, START).is_err());
}

#[test]
fn connection_without_a_request_is_deferred_while_other_bodies_arrive() {
    let (budget, bodies) = budget_and_bodies(64 * MIB);
    let mut body = bodies.add(&budget, connection(0), 0, START).unwrap();
    assert!(!bodies.should_defer(&budget, connection(1)));
    body.grow(20 * MIB, START).unwrap();
    assert!(bodies.should_defer(&budget, connection(1)));
    assert!(!bodies.should_defer(&budget, connection(1)), "nothing has arrived since");
    assert!(bodies.should_defer(&budget, connection(1)) && bodies.should_defer(&budget, connection(2)));
    body.grow(21 * MIB, START).unwrap();
    assert!(bodies.should_defer(&budget, connection(1)), "it arrives");
    drop(body);
    assert!(!bodies.should_defer(&budget, connection(1)));
    assert!(bodies.0.borrow().deferred.len() < 2);
}
