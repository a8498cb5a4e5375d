//! The coordinator of a group by the consumer protocol: it assigns partitions, and gives none to a member before another one has
//! given it up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otelcore_pipeline::MonotonicTime;

use super::super::kafka::{Reader, Writer};
use super::{GROUP, PlayedCluster, topic_id};

type Partitions = BTreeSet<([u8; 16], i32)>;

#[derive(Default)]
struct AssignedMember {
    instance: Option<String>,
    epoch: i32,
    previous_epoch: i32,
    topics: Vec<String>,
    /// What it may read.
    assigned: Partitions,
    /// What it has to give up before its epoch goes on, and by when.
    revoked: Partitions,
    revoked_by: MonotonicTime,
    heard_at: MonotonicTime,
}

/// The members of the group and its epoch.
#[derive(Default)]
pub(in super::super) struct AssignedMembers {
    epoch: i32,
    members: BTreeMap<String, AssignedMember>,
}

impl AssignedMembers {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The epochs of the members that are not away.
    pub(in super::super) fn epochs(&self) -> Vec<i32> {
        self.members.values().map(|member| member.epoch).collect()
    }

    /// Whether a member may commit and read offsets; `None` if there is no member of this protocol at all.
    pub(super) fn check_epoch(&self, member: &str, epoch: i32) -> Option<Result<(), i16>> {
        if self.epoch == 0 {
            return None;
        }
        Some(match self.members.get(member) {
            None => Err(25),
            Some(member) if member.epoch != epoch => Err(113),
            Some(_) => Ok(()),
        })
    }
}

impl PlayedCluster {
    /// What each member is to have: partitions in turn.
    fn target_of(&self, member: &str) -> Partitions {
        let mut target = Partitions::new();
        let mut turn = 0;
        for (topic, logs) in &self.topics {
            let members: Vec<&String> = self
                .group
                .assigned
                .members
                .iter()
                .filter(|(_, m)| m.topics.contains(topic))
                .map(|(id, _)| id)
                .collect();
            for index in 0..logs.len() as i32 {
                if !members.is_empty() && members[turn % members.len()] == member {
                    target.insert((topic_id(topic, self.creation), index));
                }
                turn += 1;
            }
        }
        target
    }

    pub(super) fn remove_silent_members(&mut self) {
        let (now, timeout) = (self.now, self.session_timeout);
        let group = &mut self.group.assigned;
        let before = group.members.len();
        group.members.retain(|_, member| {
            let is_late = !member.revoked.is_empty() && member.revoked_by <= now;
            !is_late && member.heard_at + timeout > now
        });
        group.epoch += i32::from(group.members.len() < before);
    }

    pub(super) fn put_heartbeat(&mut self, node: i32, r: &mut Reader<'_>, w: &mut Writer, error: i16) {
        assert_eq!(r.string(), Ok(GROUP));
        let (member, epoch) = (r.string().unwrap().to_owned(), r.i32().unwrap());
        let instance = r.nullable_string().unwrap().map(str::to_owned);
        r.nullable_string().unwrap();
        let rebalance_timeout = r.i32().unwrap();
        let says_topics = !r.rest().starts_with(&[0]);
        let topics: Vec<String> = (0..r.count(1).unwrap()).map(|_| r.string().unwrap().to_owned()).collect();
        assert_eq!(r.nullable_string(), Ok(None));
        r.nullable_string().unwrap();
        let says_owned = !r.rest().starts_with(&[0]);
        assert_eq!((says_topics, says_owned), (rebalance_timeout >= 0, rebalance_timeout >= 0));
        let mut owned = Partitions::new();
        for _ in 0..r.count(1).unwrap() {
            let topic = r.topic_id().unwrap();
            for _ in 0..r.count(4).unwrap() {
                assert!(owned.insert((topic, r.i32().unwrap())));
            }
            r.skip_tags().unwrap();
        }
        let result = match error {
            0 if node != self.group.coordinator => Err(16),
            0 if epoch < 0 => self.leave(&member, epoch),
            0 => self.heartbeat(&member, epoch, instance, says_owned.then_some((&owned, topics))),
            error => Err(error),
        };
        w.i32(self.throttle_ms);
        w.i16(result.err().unwrap_or(0));
        w.null_string();
        w.nullable_string(Some(&member));
        let state = self.group.assigned.members.get(&member);
        w.i32(if epoch < 0 { epoch } else { state.map_or(0, |state| state.epoch) });
        w.i32(3000);
        let assigned = state.filter(|_| result == Ok(true)).map(|state| &state.assigned);
        let Some(assigned) = assigned else { return w.i8(-1) };
        w.i8(1);
        let mut by_topic: BTreeMap<[u8; 16], Vec<i32>> = BTreeMap::new();
        assigned.iter().for_each(|(topic, index)| by_topic.entry(*topic).or_default().push(*index));
        w.len(by_topic.len());
        for (topic, partitions) in by_topic {
            w.topic_id(topic);
            w.len(partitions.len());
            partitions.iter().for_each(|index| w.i32(*index));
            w.no_tags();
        }
        w.no_tags();
    }

    fn leave(&mut self, member: &str, epoch: i32) -> Result<bool, i16> {
        let group = &mut self.group.assigned;
        let state = group.members.get_mut(member).ok_or(25_i16)?;
        if epoch == -2 && state.instance.is_some() {
            state.epoch = -2;
        } else {
            group.members.remove(member);
            group.epoch += 1;
        }
        Ok(false)
    }

    /// Whether the answer has the assignment.
    fn heartbeat(
        &mut self,
        member: &str,
        epoch: i32,
        instance: Option<String>,
        said: Option<(&Partitions, Vec<String>)>,
    ) -> Result<bool, i16> {
        let now = self.now;
        let group = &mut self.group.assigned;
        if epoch == 0 {
            assert!(said.as_ref().is_some_and(|(owned, _)| owned.is_empty()), "a member that joins has nothing");
            let other =
                group.members.iter().find(|(id, m)| instance.is_some() && m.instance == instance && *id != member);
            if let Some((other, state)) = other.map(|(id, state)| (id.clone(), state.epoch)) {
                if state != -2 {
                    return Err(111);
                }
                let state = group.members.remove(&other).unwrap();
                group.members.insert(member.to_owned(), state);
            }
            let is_new = !group.members.contains_key(member);
            group.epoch += i32::from(is_new);
            let state = group.members.entry(member.to_owned()).or_default();
            (state.instance, state.revoked) = (instance, Partitions::new());
        }
        let said_all = said.is_some();
        let state = group.members.get_mut(member).ok_or(25_i16)?;
        let is_previous =
            epoch == state.previous_epoch && said.as_ref().is_some_and(|(owned, _)| owned.is_subset(&state.assigned));
        if epoch != 0 && epoch != state.epoch && !(epoch < state.epoch && is_previous) {
            return Err(110);
        }
        state.heard_at = now;
        if let Some((owned, topics)) = said {
            if state.topics != topics {
                state.topics = topics;
                group.epoch += 1;
            }
            if owned.is_disjoint(&state.revoked) {
                state.revoked.clear();
            }
        }
        let target = self.target_of(member);
        let group_epoch = self.group.assigned.epoch;
        let of_others: Partitions = self
            .group
            .assigned
            .members
            .iter()
            .filter(|(id, _)| *id != member)
            .flat_map(|(_, m)| m.assigned.union(&m.revoked).copied().collect::<Vec<_>>())
            .collect();
        let state = self.group.assigned.members.get_mut(member).unwrap();
        let before = state.assigned.clone();
        if state.revoked.is_empty() {
            let revoked: Partitions = state.assigned.difference(&target).copied().collect();
            state.assigned.retain(|partition| target.contains(partition));
            if revoked.is_empty() {
                state.assigned.extend(target.difference(&of_others));
                if state.epoch != group_epoch {
                    (state.previous_epoch, state.epoch) = (state.epoch, group_epoch);
                }
            } else {
                (state.revoked, state.revoked_by) = (revoked, now + Duration::from_secs(60));
            }
        }
        // One that joins has an epoch, also if what it has had before is to be given up.
        if state.epoch <= 0 {
            (state.revoked, state.previous_epoch, state.epoch) = (Partitions::new(), 0, group_epoch);
        }
        Ok(said_all || before != state.assigned)
    }
}
