//! The membership in the group: its coordinator, how partitions are given up, and how the member leaves.
//!
//! ```text
//!  classic:   Unjoined -> Joining -> (Assigning) -> Syncing -> Stable
//!                ^                                               | the group has a rebalance
//!                +--- Revoking: partitions are stopped, finished and committed
//!
//!  consumer:  Unjoined -> Joining -> Stable <-> Revoking
//! ```
//! What is sent and what answers mean is in the modules of the two protocols.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_pipeline::{Cx, JobResult, MonotonicTime};

use super::assigned::AssignedByCoordinator;
use super::protocol::Member;
use super::{ANSWER_TIME, Assignor, ConsumerNotice, GroupConsumer, GroupProtocol, PAUSES, Request, pause_after};
use crate::error_code::ErrorCode;
use crate::messages::consumer_group;
use crate::messages::group::{self, Membership};
use crate::versions::ApiKey;

/// The most attempts to leave the group.
const MAX_LEAVE_ATTEMPTS: u32 = 2;
/// A cluster may have no coordinator for a while, such as when its first group comes: that is told after so many attempts.
const SILENT_FAILURES: u32 = 8;

/// Assignments by members, encoded.
pub(super) type Assignments = Vec<(String, Vec<u8>)>;

#[derive(Default)]
pub(super) enum Phase {
    /// Not a member, or about to join again.
    #[default]
    Unjoined,
    Joining,
    /// This member is the leader: metadata of all topics is awaited, then a job computes the assignment.
    Assigning(Vec<Member>, Option<JobResult<Assignments>>),
    /// The assignments that the leader sends; none of another member.
    Syncing(Assignments, bool),
    Stable,
    /// Partitions are given up until then; afterwards the member joins again, tells the coordinator, or leaves.
    Revoking(BTreeSet<u64>, MonotonicTime),
    /// The request to leave is sent, or will be.
    Leaving(u32, bool),
    Left,
}

#[derive(Default)]
pub(super) struct Group {
    pub(super) phase: Phase,
    pub(super) coordinator: Option<i32>,
    is_finding: bool,
    pub(super) member: String,
    /// The generation of the group, or the epoch of the member in the consumer protocol; -1 if it is not a member.
    pub(super) generation: i32,
    pub(super) assignor: Option<Assignor>,
    pub(super) is_leader: bool,
    /// The numbers of partitions that the leader has assigned.
    pub(super) assigned_counts: BTreeMap<String, i32>,
    /// The state of the consumer protocol.
    pub(super) assigned: AssignedByCoordinator,
    /// Something has changed, or the group has a rebalance.
    pub(super) must_rejoin: bool,
    /// Partitions that are stopped and not finished.
    pub(super) unfinished: BTreeSet<u64>,
    pub(super) heartbeat_at: MonotonicTime,
    pub(super) is_heartbeat_in_flight: bool,
    /// The coordinator removes this member then, if it does not hear from it. Only in the classic protocol: in the other one the
    /// coordinator does not say how long it waits, and refuses what a member that it has removed commits.
    pub(super) session_end: MonotonicTime,
    /// Nothing is tried before.
    pub(super) retry_at: MonotonicTime,
    pub(super) failures: u32,
    /// The member leaves, and by when.
    pub(super) closing: Option<MonotonicTime>,
}

impl Group {
    pub(super) fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left)
    }

    /// The generation is one in which offsets can be committed, and no request blocks the connection.
    pub(super) fn can_commit(&self) -> bool {
        matches!(self.phase, Phase::Stable | Phase::Revoking(..))
    }

    pub(super) fn is_member(&self) -> bool {
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

    pub(super) fn is_classic(&self) -> bool {
        self.config.protocol == GroupProtocol::Classic
    }

    /// The member and its epoch, in the protocol in which requests for committed offsets have them.
    pub(super) fn member_epoch(&self) -> Option<(&str, i32)> {
        (!self.is_classic()).then_some((&self.group.member, self.group.generation))
    }

    /// The next heartbeat is not waited for.
    pub(super) fn heartbeat_now(&mut self, now: MonotonicTime) {
        self.group.heartbeat_at = self.group.heartbeat_at.min(now);
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
        let of_session = (beats && self.is_classic()).then_some(group.session_end);
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
            Phase::Stable if self.group.must_rejoin && self.is_classic() => self.rejoin(now),
            _ => {}
        }
        self.advance_revocation(now);
        if let Phase::Leaving(attempts, false) = self.group.phase {
            // A static member comes back with its partitions. By the classic protocol it does not say that it goes.
            let just_goes = self.is_classic() && self.config.group_instance_id.is_some();
            if just_goes || self.group.member.is_empty() || attempts >= MAX_LEAVE_ATTEMPTS {
                self.group.phase = Phase::Left;
            }
        }
        if self.group.coordinator.is_none() && !self.group.has_left() {
            return self.find_coordinator(cx);
        }
        if self.group.can_commit() && self.group.is_member() && !self.group.is_heartbeat_in_flight {
            if self.is_classic() { self.send_heartbeat(cx) } else { self.send_member_heartbeat(cx) }
        }
        if self.group.retry_at > now {
            return;
        }
        match &self.group.phase {
            Phase::Unjoined if self.is_classic() => self.send_join(cx),
            Phase::Unjoined => self.send_first_heartbeat(cx),
            Phase::Assigning(_, None) => self.start_assigning(cx),
            Phase::Syncing(_, false) => self.send_sync(cx),
            Phase::Leaving(_, false) => self.send_leave(cx),
            _ => {}
        }
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

    fn send_leave(&mut self, cx: &mut Cx<'_>) {
        let Phase::Leaving(attempts, _) = self.group.phase else { return };
        let is_sent = if self.is_classic() {
            self.send_to_coordinator(cx, ApiKey::LeaveGroup, ANSWER_TIME, Request::LeaveGroup, |it, version| {
                group::leave_group_request(version, it.membership())
            })
        } else {
            self.send_last_heartbeat(cx)
        };
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
            Request::ConsumerGroupHeartbeat => {
                self.group.is_heartbeat_in_flight = false;
                consumer_group::read_consumer_group_heartbeat(version, body).map(|answer| {
                    let throttle_ms = answer.throttle_ms;
                    self.handle_member_heartbeat(now, answer);
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
            Request::ConsumerGroupHeartbeat => self.handle_lost_heartbeat(now, error),
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

    /// The group goes on without this member, which joins again: others may have its partitions.
    pub(super) fn membership_lost(&mut self, now: MonotonicTime, error: ErrorCode) {
        if self.group.has_left() {
            return;
        }
        // By the consumer protocol a member keeps its id as long as it runs.
        if error != ErrorCode::ILLEGAL_GENERATION && self.is_classic() {
            self.group.member.clear();
        }
        self.group.generation = -1;
        if !self.partitions.is_empty() {
            self.notice(ConsumerNotice::Group(super::error_text("the group has removed this member", error)));
        }
        self.end_all(true);
        self.group.assigned.clear();
        self.group.phase = match self.group.closing {
            Some(_) => Phase::Leaving(MAX_LEAVE_ATTEMPTS, false),
            None => Phase::Unjoined,
        };
        self.group.retry_at = self.group.retry_at.max(now);
    }

    fn end_all(&mut self, is_lost: bool) {
        let ids: Vec<u64> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.remove_partition(id, is_lost));
    }

    /// Stops these partitions, or all of them.
    pub(super) fn begin_revocation(&mut self, now: MonotonicTime, ids: Option<BTreeSet<u64>>) {
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
            None if self.is_classic() => Phase::Unjoined,
            None => Phase::Stable,
        };
        self.report_revocation(now);
    }
}
