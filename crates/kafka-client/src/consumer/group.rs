//! The membership in the group, by the classic protocol: coordinator, join, sync, heartbeats, and how partitions are given up.
//!
//! ```text
//!  Unjoined -> Joining -> (Assigning) -> Syncing -> Stable
//!     ^                                               | the group has a rebalance
//!     +--- Revoking: partitions are stopped, finished and committed
//! ```
//! With a cooperative assignor the member joins again with its partitions and gives up those that it does not get again; with the others it
//! gives all of them up before it joins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otelcore_pipeline::{Cx, JobResult, MonotonicTime};

use super::protocol::{self, Assignment, Member, Subscription};
use super::{ANSWER_TIME, ASSIGNMENT_KEY, Assignor, ConsumerNotice, GroupConsumer, PAUSES, Request, pause_after};
use crate::error_code::ErrorCode;
use crate::messages::group::{self, JoinGroupResponse, Membership};
use crate::versions::ApiKey;

/// The most attempts to leave the group.
const MAX_LEAVE_ATTEMPTS: u32 = 2;
/// A cluster may have no coordinator for a while, such as when its first group comes: that is told after so many attempts.
const SILENT_FAILURES: u32 = 8;

/// Assignments by members, encoded.
type Assignments = Vec<(String, Vec<u8>)>;

#[derive(Default)]
enum Phase {
    /// Not a member, or about to join again.
    #[default]
    Unjoined,
    Joining,
    /// This member is the leader: metadata of all topics is awaited, then a job computes the assignment.
    Assigning(Vec<Member>, Option<JobResult<Assignments>>),
    /// The assignments that the leader sends; none of another member.
    Syncing(Assignments, bool),
    Stable,
    /// Partitions are given up until then; afterwards the member joins again, or leaves.
    Revoking(BTreeSet<u64>, MonotonicTime),
    /// The request to leave is sent, or will be.
    Leaving(u32, bool),
    Left,
}

#[derive(Default)]
pub(super) struct Group {
    phase: Phase,
    pub(super) coordinator: Option<i32>,
    is_finding: bool,
    member: String,
    generation: i32,
    assignor: Option<Assignor>,
    is_leader: bool,
    /// The numbers of partitions that the leader has assigned.
    assigned_counts: BTreeMap<String, i32>,
    /// Something has changed, or the group has a rebalance.
    pub(super) must_rejoin: bool,
    /// Partitions that are stopped and not finished.
    pub(super) unfinished: BTreeSet<u64>,
    heartbeat_at: MonotonicTime,
    is_heartbeat_in_flight: bool,
    /// The coordinator removes this member then, if it does not hear from it.
    session_end: MonotonicTime,
    /// Nothing is tried before.
    retry_at: MonotonicTime,
    failures: u32,
    /// The member leaves, and by when.
    closing: Option<MonotonicTime>,
}

impl Group {
    pub(super) fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// The generation is one in which offsets can be committed, and no request blocks the connection.
    pub(super) fn can_commit(&self) -> bool {
        matches!(self.phase, Phase::Stable | Phase::Revoking(..))
    }

    fn is_member(&self) -> bool {
        !self.member.is_empty() && self.generation >= 0
    }
}

impl GroupConsumer {
    pub(super) fn membership(&self) -> Membership<'_> {
        Membership {
            group: &self.config.group_id,
            generation: self.group.generation,
            member: &self.group.member,
            instance: self.config.group_instance_id.as_deref(),
        }
    }

    pub(super) fn begin_leaving(&mut self, deadline: MonotonicTime) {
        self.group.closing = Some(deadline);
        self.group.retry_at = MonotonicTime(0);
        if self.partitions.is_empty() && !matches!(self.group.phase, Phase::Stable | Phase::Revoking(..)) {
            // What is being joined is not taken: the coordinator removes it with the member, or when its session ends.
            self.group.phase = Phase::Leaving(0, false);
        }
    }

    /// When something of the group is due.
    pub(super) fn group_deadline(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        let group = &self.group;
        let of_phase = match &group.phase {
            Phase::Unjoined | Phase::Leaving(..) => Some(group.retry_at),
            Phase::Syncing(_, false) => Some(group.retry_at),
            Phase::Revoking(_, deadline) => Some(*deadline),
            _ => None,
        };
        let beats = group.can_commit() && group.is_member();
        let of_heartbeat = (beats && !group.is_heartbeat_in_flight).then_some(group.heartbeat_at);
        let of_session = (beats).then_some(group.session_end);
        let of_find = group.coordinator.is_none().then_some(group.retry_at);
        let all = [of_phase, of_heartbeat.map(|at| at.max(group.retry_at)), of_session, of_find, group.closing];
        // What is due already waits for something else than time.
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Something failed: a pause, which grows.
    pub(super) fn group_failed(&mut self, now: MonotonicTime, why: String) {
        self.group.retry_at = now + pause_after(self.group.failures);
        self.group.failures = self.group.failures.saturating_add(1);
        self.notice(ConsumerNotice::Group(why));
    }

    pub(super) fn advance_group(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.check_session(now);
        if self.group.closing.is_some_and(|deadline| deadline <= now) {
            self.end_all(true);
            self.group.phase = Phase::Left;
            return;
        }
        let is_closing = self.group.closing.is_some();
        match &self.group.phase {
            Phase::Left => return,
            Phase::Unjoined if is_closing && self.partitions.is_empty() => self.group.phase = Phase::Leaving(0, false),
            Phase::Stable | Phase::Unjoined if is_closing => self.begin_revocation(now, None),
            Phase::Stable if self.group.must_rejoin => self.rejoin(now),
            _ => {}
        }
        self.advance_revocation(now);
        if let Phase::Leaving(attempts, false) = self.group.phase {
            // A static member comes back with its partitions.
            let is_static = self.config.group_instance_id.is_some();
            if is_static || self.group.member.is_empty() || attempts >= MAX_LEAVE_ATTEMPTS {
                self.group.phase = Phase::Left;
            }
        }
        if self.group.coordinator.is_none() && !self.group.has_left() {
            return self.find_coordinator(cx);
        }
        if self.group.can_commit() && self.group.is_member() && !self.group.is_heartbeat_in_flight {
            self.send_heartbeat(cx);
        }
        if self.group.retry_at > now {
            return;
        }
        match &mut self.group.phase {
            Phase::Unjoined => self.send_join(cx),
            Phase::Assigning(members, job @ None) => {
                let wanted = members.iter().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
                if let (Some(counts), Some(assignor)) = (self.topics.counts_for(wanted), self.group.assignor) {
                    self.group.assigned_counts.clone_from(&counts);
                    let members = std::mem::take(members);
                    *job = Some(cx.run_job(ASSIGNMENT_KEY, move || {
                        let encode = |(member, assignment): (String, Assignment)| {
                            (member, protocol::encode_assignment(&assignment))
                        };
                        assignor.assign(&members, &counts).into_iter().map(encode).collect()
                    }));
                }
            }
            Phase::Syncing(_, false) => self.send_sync(cx),
            Phase::Leaving(_, false) => self.send_leave(cx),
            _ => {}
        }
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

    fn find_coordinator(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.group.is_finding || self.group.retry_at > now {
            return;
        }
        let Some(node) = self.group_nodes.any(cx) else { return };
        match self.group_nodes.version(node, ApiKey::FindCoordinator) {
            Some(Ok(version)) => {
                let body = group::find_coordinator_request(version, &self.config.group_id);
                let token = self.new_token(Request::FindCoordinator);
                self.group.is_finding = true;
                let api = (ApiKey::FindCoordinator, version);
                self.group_nodes.send(cx, (node, token), api, (body, true), now + ANSWER_TIME);
            }
            Some(Err(error)) => self.group_failed(now, error),
            None => {}
        }
    }

    fn owned(&self) -> Assignment {
        let mut owned = Assignment::new();
        for partition in self.partitions.values().filter(|partition| !partition.is_stopped) {
            owned.entry(partition.topic.to_string()).or_default().push(partition.index);
        }
        owned.values_mut().for_each(|partitions| partitions.sort_unstable());
        owned
    }

    fn send_join(&mut self, cx: &mut Cx<'_>) {
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

    fn send_sync(&mut self, cx: &mut Cx<'_>) {
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

    fn send_heartbeat(&mut self, cx: &mut Cx<'_>) {
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

    fn send_leave(&mut self, cx: &mut Cx<'_>) {
        let Phase::Leaving(attempts, _) = self.group.phase else { return };
        let is_sent =
            self.send_to_coordinator(cx, ApiKey::LeaveGroup, ANSWER_TIME, Request::LeaveGroup, |it, version| {
                group::leave_group_request(version, it.membership())
            });
        if is_sent {
            self.group.phase = Phase::Leaving(attempts + 1, true);
        }
    }

    pub(super) fn handle_group_answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Request,
        (node, version): (i32, i16),
        body: &[u8],
    ) {
        let now = cx.now();
        let result = match request {
            Request::FindCoordinator => {
                self.group.is_finding = false;
                group::read_find_coordinator(version, body).map(|found| {
                    match found.coordinator.filter(|_| found.error.is_none()) {
                        Some(broker) => {
                            self.group_nodes.add_broker(&broker);
                            self.group.coordinator = Some(broker.id);
                            self.group.retry_at = MonotonicTime(0);
                        }
                        None if found.error.class() == crate::ErrorClass::Retry
                            && self.group.failures < SILENT_FAILURES =>
                        {
                            self.group.retry_at = now + pause_after(self.group.failures);
                            self.group.failures = self.group.failures.saturating_add(1);
                        }
                        None => self.group_failed(now, super::error_text("no coordinator", found.error)),
                    }
                    found.throttle_ms
                })
            }
            Request::JoinGroup => group::read_join_group(version, body).map(|joined| {
                let throttle_ms = joined.throttle_ms;
                self.handle_joined(now, joined);
                throttle_ms
            }),
            Request::SyncGroup => group::read_sync_group(version, body).map(|(throttle_ms, error, assignment)| {
                self.handle_synced(now, error, &assignment);
                throttle_ms
            }),
            Request::Heartbeat => {
                self.group.is_heartbeat_in_flight = false;
                group::read_error(ApiKey::Heartbeat, version, body).map(|(throttle_ms, error)| {
                    self.handle_heartbeat(now, error);
                    throttle_ms
                })
            }
            _ => {
                self.group.phase = Phase::Left;
                return;
            }
        };
        match result {
            Ok(throttle_ms) => self.group_nodes.throttle(node, now, throttle_ms),
            Err(error) => {
                self.group_failed(now, format!("the coordinator's answer is invalid: {error}"));
                self.join_again();
            }
        }
    }

    /// A request of the group has no answer.
    pub(super) fn handle_lost_group_request(&mut self, now: MonotonicTime, request: &Request, error: &str) {
        match request {
            Request::FindCoordinator => self.group.is_finding = false,
            Request::Heartbeat => self.group.is_heartbeat_in_flight = false,
            Request::LeaveGroup => {
                if let Phase::Leaving(_, is_in_flight) = &mut self.group.phase {
                    *is_in_flight = false;
                }
                self.group.retry_at = now + PAUSES.0;
            }
            _ => {
                self.group_failed(now, error.to_owned());
                self.join_again();
            }
        }
    }

    /// The connection to a broker has failed.
    pub(super) fn handle_group_failure(&mut self, cx: &mut Cx<'_>, node: i32, error: &str) {
        if self.group.coordinator == Some(node) {
            self.group.coordinator = None;
        }
        // Nothing is connected: people should know why.
        if self.group.coordinator.is_none() {
            let now = cx.now();
            if self.group.retry_at <= now {
                self.group_failed(now, error.to_owned());
            }
        }
    }

    /// Joins again after a failed attempt, with the partitions that it has.
    fn join_again(&mut self) {
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

    fn handle_joined(&mut self, now: MonotonicTime, joined: JoinGroupResponse) {
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

    fn handle_synced(&mut self, now: MonotonicTime, error: ErrorCode, assignment: &[u8]) {
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

    fn handle_heartbeat(&mut self, now: MonotonicTime, error: ErrorCode) {
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

    /// The group goes on without this member, which joins again: others may have its partitions.
    pub(super) fn membership_lost(&mut self, now: MonotonicTime, error: ErrorCode) {
        if self.group.has_left() {
            return;
        }
        if error != ErrorCode::ILLEGAL_GENERATION {
            self.group.member.clear();
        }
        self.group.generation = -1;
        if !self.partitions.is_empty() {
            self.notice(ConsumerNotice::Group(super::error_text("the group has removed this member", error)));
        }
        self.end_all(true);
        self.group.phase = match self.group.closing {
            Some(_) => Phase::Leaving(MAX_LEAVE_ATTEMPTS, false),
            None => Phase::Unjoined,
        };
        self.group.retry_at = self.group.retry_at.max(now);
    }

    /// The coordinator has not heard from this member for so long that it has removed it.
    fn check_session(&mut self, now: MonotonicTime) {
        if self.group.can_commit() && self.group.is_member() && self.group.session_end <= now {
            self.group.is_heartbeat_in_flight = false;
            self.membership_lost(now, ErrorCode::UNKNOWN_MEMBER_ID);
        }
    }

    fn end_all(&mut self, is_lost: bool) {
        let ids: Vec<u64> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.remove_partition(id, is_lost));
    }

    /// A rebalance: with a cooperative assignor partitions are kept meanwhile.
    fn rejoin(&mut self, now: MonotonicTime) {
        if self.group.assignor.is_some_and(Assignor::is_cooperative) || self.partitions.is_empty() {
            self.group.phase = Phase::Unjoined;
        } else {
            self.begin_revocation(now, None);
        }
    }

    /// Stops these partitions, or all of them.
    fn begin_revocation(&mut self, now: MonotonicTime, ids: Option<BTreeSet<u64>>) {
        let ids = ids.unwrap_or_else(|| self.partitions.keys().copied().collect());
        ids.iter().for_each(|id| self.stop_partition(*id));
        // The group waits for this member for the time of a rebalance; some of it is left for what comes then.
        let end = now + self.config.rebalance_timeout * 2 / 3;
        // Some of the time until the end is left for the commit and for leaving.
        let end = self.group.closing.map_or(end, |closing| (now + closing.since(now) * 3 / 4).min(end));
        self.group.phase = Phase::Revoking(ids, end);
    }

    /// When the partitions are finished and committed they are given up.
    fn advance_revocation(&mut self, now: MonotonicTime) {
        let Phase::Revoking(ids, end) = &self.group.phase else { return };
        let (ids, is_over) = (ids.clone(), *end <= now);
        if self.group.closing.is_some() && ids.len() < self.partitions.len() {
            return self.begin_revocation(now, None);
        }
        if !is_over {
            if ids.iter().any(|id| self.group.unfinished.contains(id)) {
                return;
            }
            if ids.iter().any(|id| self.commits.dirty.contains(id)) || self.commits.is_in_flight {
                return self.commit_now(now);
            }
        }
        ids.into_iter().for_each(|id| self.remove_partition(id, false));
        self.group.phase = match self.group.closing {
            Some(_) => Phase::Leaving(0, false),
            None => Phase::Unjoined,
        };
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
