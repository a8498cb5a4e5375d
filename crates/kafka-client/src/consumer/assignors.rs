//! Assignors: which member of a group gets which partitions. The leader of a group computes it for all members.
//!
//! `range` and `roundrobin` give the same as the assignors of the Java client. `sticky` and `cooperative-sticky` keep what members have and
//! balance the rest: the numbers of partitions of two members with the same topics differ by one at most.

use std::collections::{BTreeMap, BTreeSet};

use super::protocol::{Assignment, Member};

/// How partitions are divided among the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// A contiguous range of each topic's partitions to each member.
    Range,
    /// The partitions of all topics to the members in turn.
    RoundRobin,
    /// As few as possible change their member; all are given up during a rebalance.
    Sticky,
    /// The same, but only those that change their member are given up.
    CooperativeSticky,
}

impl Assignor {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Its name in the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    pub(crate) fn is_sticky(self) -> bool {
        matches!(self, Self::Sticky | Self::CooperativeSticky)
    }

    pub(crate) fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// What each member gets. `counts` has the number of partitions of each topic.
    pub(crate) fn assign(self, members: &[Member], counts: &BTreeMap<String, i32>) -> BTreeMap<String, Assignment> {
        let mut given: Vec<Assignment> = vec![Assignment::new(); members.len()];
        match self {
            Self::Range => assign_ranges(members, counts, &mut given),
            Self::RoundRobin => assign_in_turn(members, counts, &mut given),
            Self::Sticky | Self::CooperativeSticky => {
                let owners = owners(members, counts);
                assign_sticky(members, counts, &owners, &mut given);
                if self.is_cooperative() {
                    withhold_owned(&owners, &mut given);
                }
            }
        }
        members.iter().map(|member| member.id.clone()).zip(given).collect()
    }
}

/// The members by their names: static ones by those that they were given.
fn in_order(members: &[Member]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|at| {
        members.get(*at).map(|member| match &member.instance {
            Some(instance) => (0, instance.as_str()),
            None => (1, member.id.as_str()),
        })
    });
    order
}

/// The members that subscribe to each topic that exists, in order.
fn subscribers<'a>(members: &[Member], counts: &'a BTreeMap<String, i32>) -> BTreeMap<&'a str, Vec<usize>> {
    let mut by_topic: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for at in in_order(members) {
        let Some(member) = members.get(at) else { continue };
        for topic in &member.subscription.topics {
            if let Some((topic, _)) = counts.get_key_value(topic) {
                by_topic.entry(topic).or_default().push(at);
            }
        }
    }
    by_topic
}

fn give(given: &mut [Assignment], member: usize, topic: &str, index: i32) {
    if let Some(assignment) = given.get_mut(member) {
        match assignment.get_mut(topic) {
            Some(partitions) => partitions.push(index),
            None => {
                assignment.insert(topic.to_owned(), vec![index]);
            }
        }
    }
}

fn assign_ranges(members: &[Member], counts: &BTreeMap<String, i32>, given: &mut [Assignment]) {
    for (topic, subscribers) in subscribers(members, counts) {
        let count = counts.get(topic).copied().unwrap_or(0).max(0);
        let number = i32::try_from(subscribers.len()).unwrap_or(i32::MAX).max(1);
        let (each, more) = (count / number, count % number);
        let mut next = 0;
        for (place, member) in (0..).zip(subscribers) {
            let len = each + i32::from(place < more);
            for index in next..next + len {
                give(given, member, topic, index);
            }
            next += len;
        }
    }
}

fn assign_in_turn(members: &[Member], counts: &BTreeMap<String, i32>, given: &mut [Assignment]) {
    let by_topic = subscribers(members, counts);
    let order = in_order(members);
    let mut place_of = vec![0; members.len()];
    for (place, at) in order.iter().enumerate() {
        if let Some(slot) = place_of.get_mut(*at) {
            *slot = place;
        }
    }
    // The next member in the order of all that subscribes to the topic, as Java's circular iterator gives it.
    let mut next = 0;
    for (topic, subscribers) in &by_topic {
        let places: BTreeSet<usize> = subscribers.iter().filter_map(|at| place_of.get(*at).copied()).collect();
        for index in 0..counts.get(*topic).copied().unwrap_or(0) {
            let place = places.range(next..).next().or_else(|| places.first()).copied();
            let Some(place) = place else { break };
            if let Some(member) = order.get(place) {
                give(given, *member, topic, index);
            }
            next = (place + 1) % order.len().max(1);
        }
    }
}

type Owners<'a> = BTreeMap<(&'a str, i32), usize>;

/// Who had each partition. Of two members that say so the one of the later generation had it; if they are equal, neither.
fn owners<'a>(members: &'a [Member], counts: &'a BTreeMap<String, i32>) -> Owners<'a> {
    let mut owners: BTreeMap<(&str, i32), (i32, Option<usize>)> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        let subscription = &member.subscription;
        for (topic, partitions) in &subscription.owned {
            let Some((topic, count)) = counts.get_key_value(topic) else { continue };
            if subscription.topics.binary_search(topic).is_err() {
                continue;
            }
            for index in partitions.iter().filter(|index| (0..*count).contains(*index)) {
                let owner = owners.entry((topic, *index)).or_insert((i32::MIN, None));
                if subscription.generation > owner.0 {
                    *owner = (subscription.generation, Some(at));
                } else if subscription.generation == owner.0 {
                    owner.1 = None;
                }
            }
        }
    }
    owners.into_iter().filter_map(|(partition, (_, owner))| Some((partition, owner?))).collect()
}

fn assign_sticky<'a>(
    members: &'a [Member],
    counts: &'a BTreeMap<String, i32>,
    owners: &Owners<'a>,
    given: &mut [Assignment],
) {
    let by_topic = subscribers(members, counts);
    // Topics with the same subscribers are balanced together; those with the fewest first.
    let mut classes: BTreeMap<(usize, Vec<usize>), Vec<&str>> = BTreeMap::new();
    for (topic, subscribers) in by_topic {
        classes.entry((subscribers.len(), subscribers)).or_default().push(topic);
    }
    let mut loads = vec![0_usize; members.len()];
    for ((_, subscribers), topics) in &classes {
        assign_class(subscribers, topics, counts, owners, &mut loads, given);
    }
    for assignment in given {
        assignment.values_mut().for_each(|partitions| partitions.sort_unstable());
    }
}

/// Gives the partitions of topics with the same subscribers, to those with the lowest loads. What a member has already it keeps up to the
/// load that all come to.
fn assign_class(
    subscribers: &[usize],
    topics: &[&str],
    counts: &BTreeMap<String, i32>,
    owners: &Owners<'_>,
    loads: &mut [usize],
    given: &mut [Assignment],
) {
    let all: Vec<(&str, i32)> = topics
        .iter()
        .flat_map(|topic| (0..counts.get(*topic).copied().unwrap_or(0)).map(|index| (*topic, index)))
        .collect();
    let mut owned: BTreeMap<usize, usize> = BTreeMap::new();
    for owner in all.iter().filter_map(|partition| owners.get(partition)) {
        *owned.entry(*owner).or_default() += 1;
    }
    let mut left = quotas(subscribers, loads, all.len(), &owned);
    let mut free = Vec::new();
    for (topic, index) in all {
        let owner = owners.get(&(topic, index)).copied();
        match owner.and_then(|owner| left.get_mut(&owner)).filter(|left| **left > 0) {
            Some(room) => {
                *room -= 1;
                if let Some(owner) = owner {
                    give(given, owner, topic, index);
                    add_load(loads, owner);
                }
            }
            None => free.push((topic, index)),
        }
    }
    let mut free = free.into_iter();
    for (member, room) in left {
        for (topic, index) in free.by_ref().take(room) {
            give(given, member, topic, index);
            add_load(loads, member);
        }
    }
}

fn add_load(loads: &mut [usize], member: usize) {
    if let Some(load) = loads.get_mut(member) {
        *load += 1;
    }
}

/// How many of `count` partitions each member gets, so that the highest load is as low as possible. Where some get one more than others,
/// these are members that have more already.
fn quotas(
    subscribers: &[usize],
    loads: &[usize],
    count: usize,
    owned: &BTreeMap<usize, usize>,
) -> BTreeMap<usize, usize> {
    let load = |at: usize| loads.get(at).copied().unwrap_or(0);
    let mut order: Vec<(usize, usize)> = subscribers.iter().map(|at| (load(*at), *at)).collect();
    order.sort_unstable();
    // The level up to which the lowest loads are filled, and what is left above it.
    let (mut level, mut left, mut filled) = (order.first().map_or(0, |(load, _)| *load), count, 0);
    while filled < order.len() {
        filled += 1;
        let next = order.get(filled).map(|(load, _)| *load);
        let step = next.map_or(left / filled, |next| next.saturating_sub(level).min(left / filled));
        level += step;
        left -= step * filled;
        if next.is_none_or(|next| level < next) {
            break;
        }
    }
    let mut quotas: BTreeMap<usize, usize> =
        order.iter().map(|(load, at)| (*at, level.saturating_sub(*load))).collect();
    let mut more: Vec<(bool, usize)> = order
        .iter()
        .take(filled)
        .map(|(_, at)| (owned.get(at).copied().unwrap_or(0) <= quotas.get(at).copied().unwrap_or(0), *at))
        .collect();
    more.sort_unstable();
    for (_, at) in more.into_iter().take(left) {
        *quotas.entry(at).or_default() += 1;
    }
    quotas
}

/// Takes back what another member still has: it is given in the next rebalance, when that member has given it up.
fn withhold_owned(owners: &Owners<'_>, given: &mut [Assignment]) {
    for (at, assignment) in given.iter_mut().enumerate() {
        for (topic, partitions) in assignment.iter_mut() {
            partitions.retain(|index| owners.get(&(topic.as_str(), *index)).is_none_or(|owner| *owner == at));
        }
        assignment.retain(|_, partitions| !partitions.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Subscription;
    use super::*;

    fn member(id: &str, topics: &[&str], owned: &[(&str, &[i32])], generation: i32) -> Member {
        let owned = owned.iter().map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec())).collect();
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let subscription = Subscription { topics, owned, generation, rack_id: String::new() };
        Member { id: id.to_owned(), instance: None, subscription }
    }

    fn counts(all: &[(&str, i32)]) -> BTreeMap<String, i32> {
        all.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
    }

    fn text(assignment: &BTreeMap<String, Assignment>) -> String {
        format!("{assignment:?}").replace('"', "")
    }

    #[test]
    fn ranges_and_turns_are_those_of_java() {
        let members = [member("c0", &["t0", "t1"], &[], -1), member("c1", &["t0", "t1"], &[], -1)];
        let counts = counts(&[("t0", 3), ("t1", 3)]);
        let range = Assignor::Range.assign(&members, &counts);
        assert_eq!(text(&range), "{c0: {t0: [0, 1], t1: [0, 1]}, c1: {t0: [2], t1: [2]}}");
        let turns = Assignor::RoundRobin.assign(&members, &counts);
        assert_eq!(text(&turns), "{c0: {t0: [0, 2], t1: [1]}, c1: {t0: [1], t1: [0, 2]}}");
    }

    #[test]
    fn turns_with_different_topics_are_those_of_java() {
        let members = [
            member("c0", &["t0"], &[], -1),
            member("c1", &["t0", "t1"], &[], -1),
            member("c2", &["t0", "t1", "t2"], &[], -1),
        ];
        let turns = Assignor::RoundRobin.assign(&members, &counts(&[("t0", 1), ("t1", 2), ("t2", 3)]));
        assert_eq!(text(&turns), "{c0: {t0: [0]}, c1: {t1: [0]}, c2: {t1: [1], t2: [0, 1, 2]}}");
    }

    #[test]
    fn sticky_keeps_what_members_have_and_balances_the_rest() {
        let members = [
            member("c0", &["t"], &[("t", &[0, 1, 2])], 4),
            member("c1", &["t"], &[("t", &[3, 4, 5])], 4),
            member("c2", &["t"], &[], -1),
        ];
        let sticky = Assignor::Sticky.assign(&members, &counts(&[("t", 6)]));
        assert_eq!(text(&sticky), "{c0: {t: [0, 1]}, c1: {t: [3, 4]}, c2: {t: [2, 5]}}");
        // The partitions that change their member are given in the next rebalance.
        let first = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 6)]));
        assert_eq!(text(&first), "{c0: {t: [0, 1]}, c1: {t: [3, 4]}, c2: {}}");
        let members = [
            member("c0", &["t"], &[("t", &[0, 1])], 5),
            member("c1", &["t"], &[("t", &[3, 4])], 5),
            member("c2", &["t"], &[], 5),
        ];
        let second = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 6)]));
        assert_eq!(text(&second), "{c0: {t: [0, 1]}, c1: {t: [3, 4]}, c2: {t: [2, 5]}}");
    }

    #[test]
    fn claims_of_older_generations_do_not_count() {
        let members = [member("c0", &["t"], &[("t", &[0, 1])], 4), member("c1", &["t"], &[("t", &[0, 1])], 5)];
        let sticky = Assignor::CooperativeSticky.assign(&members, &counts(&[("t", 2)]));
        assert_eq!(text(&sticky), "{c0: {}, c1: {t: [0]}}");
    }

    #[test]
    fn every_partition_has_one_member_and_loads_are_balanced() {
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..2000 {
            let topics = ["a", "b", "c"];
            let counts = counts(&topics.map(|topic| (topic, i32::try_from(next(9)).unwrap())));
            let count = 1 + next(6);
            let is_uniform = next(2) == 0;
            let mut members: Vec<Member> = (0..count)
                .map(|n| {
                    let wanted: Vec<&str> = topics.into_iter().filter(|_| is_uniform || next(3) > 0).collect();
                    let mut member = member(&format!("m{n}"), &wanted, &[], i32::try_from(next(3)).unwrap() - 1);
                    for topic in topics {
                        let owned: Vec<i32> = (0..8).filter(|_| next(3) == 0).collect();
                        member.subscription.owned.insert(topic.to_owned(), owned);
                    }
                    member
                })
                .collect();
            for assignor in Assignor::ALL {
                let mut result = assignor.assign(&members, &counts);
                if assignor.is_cooperative() {
                    // Members give up what they did not get, and join again.
                    for member in &mut members {
                        member.subscription.owned = result.get(&member.id).cloned().unwrap_or_default();
                        member.subscription.generation = 9;
                    }
                    result = assignor.assign(&members, &counts);
                }
                let mut seen = BTreeSet::new();
                for member in &members {
                    for (topic, partitions) in &result[&member.id] {
                        assert!(member.subscription.topics.contains(topic), "{round}");
                        partitions.iter().for_each(|index| assert!(seen.insert((topic.clone(), *index)), "{round}"));
                    }
                }
                let wanted = |topic: &&String| members.iter().any(|m| m.subscription.topics.contains(topic));
                let expected: i32 = counts.iter().filter(|(topic, _)| wanted(topic)).map(|(_, count)| *count).sum();
                assert_eq!(seen.len(), usize::try_from(expected).unwrap(), "{round} {assignor:?}");
                if is_uniform && assignor.is_sticky() {
                    let loads: Vec<usize> =
                        result.values().map(|assignment| assignment.values().map(Vec::len).sum()).collect();
                    assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{round} {loads:?}");
                }
            }
        }
    }
}
