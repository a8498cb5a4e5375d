//! Random runs: members come and go, brokers fail, and records are delivered late. Each record is delivered at least once, and no
//! committed offset passes a record that is not delivered.

use std::collections::BTreeSet;

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut it = Harness::new();
    it.cluster.is_old = random.below(2) == 0;
    it.cluster.batch_len = 1 + usize::try_from(random.below(5)).unwrap();
    let members = all_members();
    // As many runs with the consumer protocol as with all assignors of the classic one.
    let chosen = if random.below(2) == 0 { 4 } else { usize::try_from(random.below(4)).unwrap() };
    it.cluster.is_old &= chosen < 4;
    let member = || members[chosen].clone();
    it.add(member());
    it.clients[0].keeps = true;
    for _ in 0..60 {
        match random.below(17) {
            0 if it.clients.iter().filter(|client| !client.is_dead).count() < 4 => {
                let at = it.add(member());
                it.clients[at].keeps = true;
            }
            // The first one stays, because its clock is that of all.
            1 => {
                let at = 1 + usize::try_from(random.below(3)).unwrap();
                if at < it.clients.len() {
                    it.clients[at].is_dead = true;
                    it.cluster.close(Some(at));
                }
            }
            2 => {
                let at = 1 + usize::try_from(random.below(3)).unwrap();
                let end = it.now() + 20 * SECOND;
                if let Some(client) = it.clients.get_mut(at).filter(|client| !client.is_dead) {
                    client.consumer.close(&mut client.world.cx(), end);
                }
            }
            3 => it.cluster.move_leaders(),
            4 => it.cluster.move_coordinator(),
            5 => it.cluster.close(None),
            6 => it.cluster.throttle_ms = i32::try_from(random.below(3) * 500).unwrap(),
            7 => {
                let api = [1_i16, 2, 8, 9, 10, 11, 12, 14, 68, 68][usize::try_from(random.below(10)).unwrap()];
                let error = [5_i16, 7, 14, 15, 16, 22, 25, 27, 110, 113][usize::try_from(random.below(10)).unwrap()];
                it.cluster.errors.entry(api).or_default().push_back(error);
            }
            // A request is handled, and its answer lost.
            8 => {
                let api = [1_i16, 3, 8, 9, 11, 12, 13, 14, 68, 68][usize::try_from(random.below(10)).unwrap()];
                it.cluster.lost.insert(api);
            }
            _ => {
                for _ in 0..random.below(20) {
                    let partition = usize::try_from(random.below(4)).unwrap();
                    it.cluster.append("spans", partition, "v");
                }
            }
        }
        it.run_for(Duration::from_millis(random.below(4000)));
        for at in 0..it.clients.len() {
            if !it.clients[at].is_dead && random.below(3) > 0 {
                let most = usize::try_from(random.below(8)).unwrap();
                let delivered = it.clients[at].deliver(most);
                it.delivered.extend(delivered);
                it.clients[at].take_events();
            }
        }
        check(&it, seed);
    }
    it.cluster.throttle_ms = 0;
    it.cluster.lost.clear();
    for client in &mut it.clients {
        client.keeps = false;
    }
    it.run_for(150 * SECOND);
    check(&it, seed);
    let delivered: BTreeSet<(i32, i64)> = it.delivered.iter().map(|(_, index, offset, _)| (*index, *offset)).collect();
    for (index, log) in it.cluster.topics["spans"].iter().enumerate() {
        let index = i32::try_from(index).unwrap();
        for offset in 0..log.values.len() as i64 {
            assert!(delivered.contains(&(index, offset)), "seed {seed}: {index} {offset}");
        }
        let committed = it.cluster.group.committed.get(&("spans".to_owned(), index)).copied().unwrap_or(0);
        assert_eq!(committed, log.values.len() as i64, "seed {seed}: partition {index}");
    }
}

fn check(it: &Harness, seed: u64) {
    let delivered: BTreeSet<(i32, i64)> = it.delivered.iter().map(|(_, index, offset, _)| (*index, *offset)).collect();
    for ((_, index), committed) in &it.cluster.group.committed {
        for offset in 0..*committed {
            assert!(delivered.contains(&(*index, offset)), "seed {seed}: {index} {offset} is committed");
        }
    }
}

#[test]
fn random_runs_deliver_everything_and_commit_nothing_before_it_is_delivered() {
    (1..=80).for_each(run);
}
