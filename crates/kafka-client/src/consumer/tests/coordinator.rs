//! The coordinator of a group by the consumer protocol: it assigns partitions, and gives none to a member before another one has
//! given it up. Knows no broker and no records; the played cluster and the brokers of the simulated world include it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otelcore_pipeline::MonotonicTime;

use super::kafka::{Reader, Writer};

const UNKNOWN_MEMBER_ID: i16 = 25;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE_ID: i16 = 111;
const STALE_MEMBER_EPOCH: i16 = 113;

/// How often it wants to hear from members.
const INTERVAL_MS: i32 = 3000;

/// Ids of topics, and indexes.
pub(crate) type Partitions = BTreeSet<([u8; 16], i32)>;

/// A topic of the cluster: its name, its id and the number of its partitions.
pub(crate) type GroupTopic = (String, [u8; 16], i32);

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
    rebalance_timeout: Duration,
    heard_at: MonotonicTime,
}

/// The members of the group and its epoch.
#[derive(Default)]
pub(crate) struct Coordinator {
    epoch: i32,
    members: BTreeMap<String, AssignedMember>,
    /// Members that are told so in the answer to their next heartbeat.
    fenced: BTreeSet<String>,
    /// Partitions go to the members that follow by so many.
    turn: usize,
}

/// What a member says of itself.
struct Heartbeat {
    member: String,
    epoch: i32,
    instance: Option<String>,
    /// With what it has and what it wants: the rebalance timeout, the topics and the partitions.
    state: Option<(Duration, Vec<String>, Partitions)>,
}

impl Heartbeat {
    fn read(r: &mut Reader<'_>) -> Self {
        let (member, epoch) = (r.string().unwrap().to_owned(), r.i32().unwrap());
        let instance = r.nullable_string().unwrap().map(str::to_owned);
        r.nullable_string().unwrap();
        let rebalance_timeout = u64::try_from(r.i32().unwrap()).ok().map(Duration::from_millis);
        let says_topics = !r.rest().starts_with(&[0]);
        let topics: Vec<String> = (0..r.count(1).unwrap()).map(|_| r.string().unwrap().to_owned()).collect();
        assert_eq!(r.nullable_string(), Ok(None));
        r.nullable_string().unwrap();
        let says_owned = !r.rest().starts_with(&[0]);
        assert_eq!((says_topics, says_owned), (rebalance_timeout.is_some(), rebalance_timeout.is_some()));
        let mut owned = Partitions::new();
        for _ in 0..r.count(1).unwrap() {
            let topic = r.topic_id().unwrap();
            for _ in 0..r.count(4).unwrap() {
                assert!(owned.insert((topic, r.i32().unwrap())));
            }
            r.skip_tags().unwrap();
        }
        Self { member, epoch, instance, state: rebalance_timeout.map(|timeout| (timeout, topics, owned)) }
    }
}

impl Coordinator {
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The epochs of the members that are not away.
    pub(crate) fn epochs(&self) -> Vec<i32> {
        self.members.values().map(|member| member.epoch).collect()
    }

    /// Whether a member may commit and read offsets; `None` if there is no member of this protocol at all.
    pub(crate) fn check_epoch(&self, member: &str, epoch: i32) -> Option<Result<(), i16>> {
        if self.epoch == 0 {
            return None;
        }
        Some(match self.members.get(member) {
            None => Err(UNKNOWN_MEMBER_ID),
            Some(member) if member.epoch != epoch => Err(STALE_MEMBER_EPOCH),
            Some(_) => Ok(()),
        })
    }

    /// Whether a member has a partition, or has not given it up yet.
    pub(crate) fn holds(&self, member: &str, partition: ([u8; 16], i32)) -> bool {
        let member = self.members.get(member);
        member.is_some_and(|member| member.assigned.contains(&partition) || member.revoked.contains(&partition))
    }

    /// The group is assigned anew, and partitions move.
    pub(crate) fn rebalance(&mut self) {
        self.turn += 1;
        self.epoch += 1;
    }

    /// A member is not known any more. It learns so by an error that says either that, or that its epoch is over.
    pub(crate) fn remove(&mut self, number: usize, is_fenced: bool) {
        let member = self.members.keys().nth(number % self.members.len().max(1)).cloned();
        if let Some(member) = member {
            self.members.remove(&member);
            self.epoch += 1;
            if is_fenced {
                self.fenced.insert(member);
            }
        }
    }

    /// What each member is to have: partitions in turn.
    fn target_of(&self, member: &str, topics: &[GroupTopic]) -> Partitions {
        let mut target = Partitions::new();
        let mut turn = self.turn;
        for (topic, id, partitions) in topics {
            let members: Vec<&String> =
                self.members.iter().filter(|(_, m)| m.topics.contains(topic)).map(|(id, _)| id).collect();
            for index in 0..*partitions {
                if !members.is_empty() && members[turn % members.len()] == member {
                    target.insert((*id, index));
                }
                turn += 1;
            }
        }
        target
    }

    pub(crate) fn remove_silent_members(&mut self, now: MonotonicTime, session_timeout: Duration) {
        let before = self.members.len();
        self.members.retain(|_, member| {
            let is_late = !member.revoked.is_empty() && member.revoked_by <= now;
            !is_late && member.heard_at + session_timeout > now
        });
        self.epoch += i32::from(self.members.len() < before);
    }

    /// Reads a heartbeat from behind the group, and writes the answer: `error`, or what becomes of it.
    pub(crate) fn answer(
        &mut self,
        (now, error, throttle_ms): (MonotonicTime, i16, i32),
        topics: &[GroupTopic],
        r: &mut Reader<'_>,
        w: &mut Writer,
    ) {
        let heartbeat = Heartbeat::read(r);
        let (member, epoch) = (heartbeat.member.clone(), heartbeat.epoch);
        let result = match error {
            0 if self.fenced.remove(&member) && epoch > 0 => Err(FENCED_MEMBER_EPOCH),
            0 if epoch < 0 => self.leave(&member, epoch),
            0 => self.heartbeat(now, heartbeat, topics),
            error => Err(error),
        };
        w.i32(throttle_ms);
        w.i16(result.err().unwrap_or(0));
        w.null_string();
        w.nullable_string(Some(&member));
        let state = self.members.get(&member);
        w.i32(if epoch < 0 { epoch } else { state.map_or(0, |state| state.epoch) });
        w.i32(INTERVAL_MS);
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
        let state = self.members.get_mut(member).ok_or(UNKNOWN_MEMBER_ID)?;
        if epoch == -2 && state.instance.is_some() {
            state.epoch = -2;
        } else {
            self.members.remove(member);
            self.epoch += 1;
        }
        Ok(false)
    }

    /// A static member that is away gives its place to the one that joins with its instance id.
    fn join(&mut self, member: &str, instance: Option<String>) -> Result<(), i16> {
        let other = self.members.iter().find(|(id, m)| instance.is_some() && m.instance == instance && *id != member);
        if let Some((other, epoch)) = other.map(|(id, state)| (id.clone(), state.epoch)) {
            if epoch != -2 {
                return Err(UNRELEASED_INSTANCE_ID);
            }
            let state = self.members.remove(&other).unwrap();
            self.members.insert(member.to_owned(), state);
        }
        self.epoch += i32::from(!self.members.contains_key(member));
        let state = self.members.entry(member.to_owned()).or_default();
        (state.instance, state.revoked) = (instance, Partitions::new());
        Ok(())
    }

    /// Whether the answer has the assignment.
    fn heartbeat(&mut self, now: MonotonicTime, heartbeat: Heartbeat, topics: &[GroupTopic]) -> Result<bool, i16> {
        let Heartbeat { member, epoch, instance, state: said } = heartbeat;
        if epoch == 0 {
            let has_nothing = said.as_ref().is_some_and(|(_, _, owned)| owned.is_empty());
            assert!(has_nothing, "a member that joins has nothing");
            self.join(&member, instance)?;
        }
        let said_all = said.is_some();
        let state = self.members.get_mut(&member).ok_or(UNKNOWN_MEMBER_ID)?;
        let is_previous = epoch == state.previous_epoch
            && said.as_ref().is_some_and(|(_, _, owned)| owned.is_subset(&state.assigned));
        if epoch != 0 && epoch != state.epoch && !(epoch < state.epoch && is_previous) {
            return Err(FENCED_MEMBER_EPOCH);
        }
        state.heard_at = now;
        if let Some((rebalance_timeout, topics, owned)) = said {
            state.rebalance_timeout = rebalance_timeout;
            if state.topics != topics {
                state.topics = topics;
                self.epoch += 1;
            }
            if owned.is_disjoint(&state.revoked) {
                state.revoked.clear();
            }
        }
        Ok(self.reconcile(now, &member, topics) || said_all)
    }

    /// Takes from a member what it is not to have, and then gives it what is free. Whether its assignment has changed.
    fn reconcile(&mut self, now: MonotonicTime, member: &str, topics: &[GroupTopic]) -> bool {
        let target = self.target_of(member, topics);
        let others = self.members.iter().filter(|(id, _)| *id != member).map(|(_, other)| other);
        let of_others: Partitions = others.flat_map(|m| m.assigned.iter().chain(&m.revoked)).copied().collect();
        let state = self.members.get_mut(member).unwrap();
        let before = state.assigned.clone();
        if state.revoked.is_empty() {
            let revoked: Partitions = state.assigned.difference(&target).copied().collect();
            state.assigned.retain(|partition| target.contains(partition));
            if revoked.is_empty() {
                state.assigned.extend(target.difference(&of_others));
                if state.epoch != self.epoch {
                    (state.previous_epoch, state.epoch) = (state.epoch, self.epoch);
                }
            } else {
                (state.revoked, state.revoked_by) = (revoked, now + state.rebalance_timeout);
            }
        }
        // One that joins has an epoch, also if what it has had before is to be given up.
        if state.epoch <= 0 {
            (state.revoked, state.previous_epoch, state.epoch) = (Partitions::new(), 0, self.epoch);
        }
        before != state.assigned
    }
}
