//! The classic protocol of a group: join, sync, heartbeats. The leader of the group assigns the partitions.
//!
//! With a cooperative assignor the member joins again with its partitions and gives up those that it does not get again; with the others it
//! gives all of them up before it joins.

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore_pipeline::{Cx, JobResult, MonotonicTime};

use super::group::Phase;
use super::protocol::{self, Assignment, Member, Subscription};
use super::{ANSWER_TIME, ASSIGNMENT_KEY, Assignor, GroupConsumer, PAUSES, Request, pause_after};
use crate::error_code::ErrorCode;
use crate::messages::group::{self, JoinGroupResponse};
use crate::versions::ApiKey;

impl GroupConsumer {
    /// Begins to compute the assignment, when the metadata of all topics is there.
    pub(super) fn start_assigning(&mut self, cx: &mut Cx<'_>) {
        let Phase::Assigning(members, job @ None) = &mut self.group.phase else { return };
        let wanted = members.iter().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
        let (Some(counts), Some(assignor)) = (self.topics.counts_for(wanted), self.group.assignor) else { return };
        self.group.assigned_counts.clone_from(&counts);
        let members = std::mem::take(members);
        *job = Some(cx.run_job(ASSIGNMENT_KEY, move || {
            let encode =
                |(member, assignment): (String, Assignment)| (member, protocol::encode_assignment(&assignment));
            assignor.assign(&members, &counts).into_iter().map(encode).collect()
        }));
    }

    /// The job that computes the assignment has ended.
    pub(super) fn handle_assigned(&mut self) {
        let Phase::Assigning(_, job) = &mut self.group.phase else { return };
        if !job.as_ref().is_some_and(JobResult::has_ended) {
            return;
        }
        let assignments = job.take().and_then(|job| job.take()).unwrap_or_default();
        self.group.phase = Phase::Syncing(assignments, false);
    }

    fn owned(&self) -> Assignment {
        let mut owned = Assignment::new();
        for partition in self.partitions.values().filter(|partition| !partition.is_stopped) {
            owned.entry(partition.topic.to_string()).or_default().push(partition.index);
        }
        owned.values_mut().for_each(|partitions| partitions.sort_unstable());
        owned
    }

    pub(super) fn send_join(&mut self, cx: &mut Cx<'_>) {
        if !self.topics.is_read {
            return self.topics.need();
        }
        let subscription = Subscription {
            topics: self.topics.wanted.clone(),
            owned: self.owned(),
            generation: if self.group.is_member() { self.group.generation } else { -1 },
            rack_id: self.config.rack_id.clone(),
        };
        let protocol = |assignor: &Assignor| {
            (assignor.name(), subscription.encode(assignor.is_sticky(), assignor.is_cooperative()))
        };
        let protocols: Vec<(&str, Vec<u8>)> = self.config.assignors.iter().map(protocol).collect();
        let ms = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        let times = (ms(self.config.session_timeout), ms(self.config.rebalance_timeout));
        let timeout = self.config.rebalance_timeout + ANSWER_TIME;
        let is_sent = self.send_to_coordinator(cx, ApiKey::JoinGroup, timeout, Request::JoinGroup, |it, version| {
            group::join_group_request(version, it.membership(), times, &protocols)
        });
        if is_sent {
            self.group.phase = Phase::Joining;
            self.group.must_rejoin = false;
        }
    }

    pub(super) fn send_sync(&mut self, cx: &mut Cx<'_>) {
        let Phase::Syncing(assignments, _) = &self.group.phase else { return };
        let assignments = assignments.clone();
        let name = self.group.assignor.map_or("", Assignor::name);
        let timeout = self.config.rebalance_timeout + ANSWER_TIME;
        let is_sent = self.send_to_coordinator(cx, ApiKey::SyncGroup, timeout, Request::SyncGroup, |it, version| {
            group::sync_group_request(version, it.membership(), name, &assignments)
        });
        if is_sent && let Phase::Syncing(_, is_in_flight) = &mut self.group.phase {
            *is_in_flight = true;
        }
    }

    pub(super) fn send_heartbeat(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.group.heartbeat_at > now {
            return;
        }
        let timeout = self.config.session_timeout;
        let is_sent = self.send_to_coordinator(cx, ApiKey::Heartbeat, timeout, Request::Heartbeat, |it, version| {
            group::heartbeat_request(version, it.membership())
        });
        if is_sent {
            self.group.is_heartbeat_in_flight = true;
            self.group.heartbeat_at = now + self.config.heartbeat_interval;
        } else {
            self.group.heartbeat_at = now + self.config.heartbeat_interval.min(PAUSES.0);
        }
    }

    /// Joins again after a failed attempt, with the partitions that it has.
    pub(super) fn join_again(&mut self) {
        if matches!(self.group.phase, Phase::Joining | Phase::Assigning(..) | Phase::Syncing(..)) {
            self.group.phase = Phase::Unjoined;
        }
    }

    /// An error of a request that joins: the next attempt is as it says.
    fn handle_join_error(&mut self, now: MonotonicTime, error: ErrorCode) {
        self.join_again();
        // The first error may be that of a rebalance that has begun meanwhile; a pause comes with the next ones.
        let pause = self.group.failures.checked_sub(1).map_or(Duration::ZERO, pause_after);
        self.group.retry_at = now + pause;
        self.group.failures = self.group.failures.saturating_add(1);
        match error {
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                self.group.coordinator = None;
                self.group.retry_at = now + PAUSES.0;
            }
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => self.group.retry_at = now + PAUSES.0,
            ErrorCode::REBALANCE_IN_PROGRESS => {}
            ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID => self.membership_lost(now, error),
            error => {
                self.membership_lost(now, error);
                self.group_failed(now, super::error_text("the group can't be joined", error));
            }
        }
    }

    pub(super) fn handle_joined(&mut self, now: MonotonicTime, joined: JoinGroupResponse) {
        if !matches!(self.group.phase, Phase::Joining) {
            return;
        }
        if joined.error == ErrorCode::MEMBER_ID_REQUIRED {
            self.group.member = joined.member;
            self.group.phase = Phase::Unjoined;
            return;
        }
        if !joined.error.is_none() {
            return self.handle_join_error(now, joined.error);
        }
        let Some(assignor) = self.config.assignors.iter().copied().find(|a| a.name() == joined.protocol) else {
            let text = format!("the coordinator has chosen the assignor {:?}", joined.protocol);
            self.join_again();
            return self.group_failed(now, text);
        };
        self.group.member = joined.member;
        self.group.generation = joined.generation;
        self.group.assignor = Some(assignor);
        self.group.is_leader = joined.leader == self.group.member;
        self.group.session_end = now + self.config.session_timeout;
        self.group.phase = if self.group.is_leader {
            Phase::Assigning(joined.members.into_iter().map(Member::of).collect(), None)
        } else {
            Phase::Syncing(Vec::new(), false)
        };
    }

    pub(super) fn handle_synced(&mut self, now: MonotonicTime, error: ErrorCode, assignment: &[u8]) {
        if !matches!(self.group.phase, Phase::Syncing(..)) {
            return;
        }
        if !error.is_none() {
            return self.handle_join_error(now, error);
        }
        let assignment = match protocol::decode_assignment(assignment) {
            Ok(assignment) => assignment,
            Err(error) => {
                self.join_again();
                return self.group_failed(now, format!("the assignment is invalid: {error}"));
            }
        };
        self.group.failures = 0;
        self.group.retry_at = MonotonicTime(0);
        self.group.phase = Phase::Stable;
        self.group.session_end = now + self.config.session_timeout;
        self.group.heartbeat_at = now + self.config.heartbeat_interval;
        let mut kept: BTreeSet<u64> = BTreeSet::new();
        for (topic, partitions) in assignment {
            for index in partitions {
                let key = (topic.as_str().into(), index);
                match self.by_name.get(&key).copied() {
                    Some(id) => {
                        kept.insert(id);
                    }
                    None if index >= 0 => {
                        self.add_partition(now, &topic, index);
                        kept.extend(self.by_name.get(&key).copied());
                    }
                    None => {}
                }
            }
        }
        let gone: BTreeSet<u64> = self.partitions.keys().copied().filter(|id| !kept.contains(id)).collect();
        if !gone.is_empty() {
            self.begin_revocation(now, Some(gone));
        }
    }

    pub(super) fn handle_heartbeat(&mut self, now: MonotonicTime, error: ErrorCode) {
        match error {
            ErrorCode::NONE => self.group.session_end = now + self.config.session_timeout,
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.group.session_end = now + self.config.session_timeout;
                self.group.must_rejoin = true;
            }
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                self.group.coordinator = None;
                self.group.retry_at = now + PAUSES.0;
            }
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {}
            error => {
                self.membership_lost(now, error);
                if !matches!(error, ErrorCode::ILLEGAL_GENERATION | ErrorCode::UNKNOWN_MEMBER_ID) {
                    self.group_failed(now, super::error_text("the group has removed this member", error));
                }
            }
        }
    }

    /// The coordinator has not heard from this member for so long that it has removed it.
    pub(super) fn check_session(&mut self, now: MonotonicTime) {
        let is_over = self.is_classic() && self.group.session_end <= now;
        if is_over && self.group.can_commit() && self.group.is_member() {
            self.group.is_heartbeat_in_flight = false;
            self.membership_lost(now, ErrorCode::UNKNOWN_MEMBER_ID);
        }
    }

    /// A rebalance: with a cooperative assignor partitions are kept meanwhile.
    pub(super) fn rejoin(&mut self, now: MonotonicTime) {
        if self.group.assignor.is_some_and(Assignor::is_cooperative) || self.partitions.is_empty() {
            self.group.phase = Phase::Unjoined;
        } else {
            self.begin_revocation(now, None);
        }
    }

    /// The numbers of partitions have changed since this member, as the leader, has assigned them.
    pub(super) fn check_counts(&mut self) {
        if self.group.is_leader && matches!(self.group.phase, Phase::Stable) {
            let counts = self.topics.counts();
            if counts != self.group.assigned_counts {
                self.group.must_rejoin = true;
            }
        }
    }
}
