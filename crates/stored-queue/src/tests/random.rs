//! Random runs from seeds: whatever fails and whenever the machine stops, what was acknowledged is given out until it is
//! delivered, as it was offered, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otelcore_pipeline::{Outcome, StoredQueue};
use otelcore_reactor::DiskFaults;

use super::{Fixture, body, id_of};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Default)]
struct Model {
    /// The length of each body that was offered.
    offered: BTreeMap<u64, usize>,
    acknowledged: BTreeSet<u64>,
    /// Delivered, or given up with a reason.
    done: BTreeSet<u64>,
}

impl Model {
    fn take_outcomes(&mut self, fixture: &Fixture) {
        for (id, outcome) in fixture.acks.take() {
            if outcome == Outcome::Delivered {
                self.acknowledged.insert(id);
            }
        }
    }

    /// Each payload that was given out is one that was offered.
    fn check_given(&self, fixture: &Fixture, seed: u64) {
        for (_, payload) in &fixture.given {
            let id = id_of(payload);
            let length = self.offered.get(&id).unwrap_or_else(|| panic!("seed {seed}: {id} was not offered"));
            assert_eq!(payload.body.parts()[0].bytes, body(id, *length), "seed {seed}: {id}");
        }
    }
}

fn faults(random: &mut Random) -> DiskFaults {
    let none = DiskFaults::default();
    match random.below(7) {
        0 => DiskFaults { sync_errors: 300, ..none },
        1 => DiskFaults { write_errors: 300, ..none },
        2 => DiskFaults { read_errors: 300, ..none },
        3 => DiskFaults { capacity: Some(random.below(200_000)), ..none },
        4 => DiskFaults { is_read_only: true, ..none },
        _ => none,
    }
}

fn run_seed(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut fixture = Fixture::new("{queue_size: 60}");
    if random.below(2) == 0 {
        fixture.budget.set_limit(200_000);
    }
    let (mut model, mut next_id, mut had_read_errors) = (Model::default(), 0, false);
    for _ in 0..random.below(150) + 20 {
        match random.below(12) {
            0..=4 => {
                for _ in 0..=random.below(4) {
                    let length = usize::try_from(random.below(4000)).unwrap();
                    let bytes = body(next_id, length);
                    model.offered.insert(next_id, length);
                    fixture.offer_body(next_id, 1, bytes, None);
                    next_id += 1;
                }
            }
            5..=7 if !fixture.given.is_empty() => {
                let at = usize::try_from(random.below(fixture.given.len() as u64)).unwrap();
                let (record, payload) = fixture.given.remove(at);
                let (id, outcome) = match random.below(8) {
                    0 => (None, Outcome::retry("down")),
                    1 => (Some(id_of(&payload)), Outcome::permanent("bad")),
                    _ => (Some(id_of(&payload)), Outcome::Delivered),
                };
                drop(payload);
                model.done.extend(id);
                fixture.queue.handle_outcome(&mut fixture.world.cx(), record, outcome);
            }
            8 => fixture.run_for(Duration::from_millis(random.below(3000))),
            9 => {
                let faults = faults(&mut random);
                had_read_errors |= faults.read_errors > 0;
                fixture.set_faults(faults);
            }
            10 if random.below(3) == 0 => {
                model.take_outcomes(&fixture);
                if random.below(2) == 0 {
                    fixture.restart();
                } else {
                    fixture.world.disk().crash_after(random.below(30));
                    fixture.run();
                    model.take_outcomes(&fixture);
                    fixture.crash();
                }
            }
            _ => fixture.run(),
        }
        model.check_given(&fixture, seed);
        model.take_outcomes(&fixture);
    }
    // Everything works again: all that was acknowledged comes out.
    fixture.set_faults(DiskFaults::default());
    model.take_outcomes(&fixture);
    fixture.crash();
    for _ in 0..1000 {
        fixture.run_for(Duration::from_secs(2));
        model.check_given(&fixture, seed);
        let delivered = fixture.deliver_all();
        if delivered.is_empty() && fixture.queue.stored_items() == 0 {
            break;
        }
        model.done.extend(delivered);
    }
    // What can't be read three times in a row is moved to `quarantine`, and counted.
    let missing: Vec<_> = model.acknowledged.difference(&model.done).collect();
    let quarantined = fixture.metric("otelcore_exporter_queue_quarantined_records");
    let permitted = if had_read_errors { quarantined } else { 0.0 };
    let (count, lines) = (model.acknowledged.len(), fixture.log.take_lines().join("\n"));
    assert!(missing.len() as f64 <= permitted, "seed {seed}: {missing:?} of {count} are missing\n{lines}");
    assert_eq!((fixture.queue.stored_items(), fixture.budget.held()), (0, 0), "seed {seed}");
}

#[test]
fn acknowledged_payloads_survive_faults_and_crashes() {
    for seed in 0..60 {
        run_seed(seed);
    }
}
