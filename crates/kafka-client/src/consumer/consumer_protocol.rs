//! The consumer protocol of a group (KIP-848): the coordinator assigns the partitions in its answers to heartbeats.
//!
//! The member says what it has, by the ids of topics. What it is assigned can be read at once, because the coordinator waits until the
//! member that had it before has given it up: it has stopped, has finished and committed, and has said so by a heartbeat. A member
//! that the coordinator does not know any more, or not with its epoch, has lost its partitions and joins again under the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otelcore_pipeline::{Cx, MonotonicTime};

use super::group::Phase;
use super::{ANSWER_TIME, GroupConsumer, GroupProtocol, PAUSES, Request, error_text, pause_after};
use crate::error_code::{ErrorClass, ErrorCode};
use crate::messages::TopicId;
use crate::messages::consumer_group::{
    self, ConsumerGroupHeartbeatResponse, HeartbeatOf, JOINS, LEAVES, LEAVES_FOR_A_TIME, MemberState, PartitionsById,
};
use crate::versions::ApiKey;

/// The shortest and the longest interval of heartbeats that is accepted of a coordinator.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

impl GroupConsumer {
    /// Partitions by the ids of their topics. Those that are being given up are still owned.
    fn owned_by_id(&self) -> PartitionsById {
        let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for partition in self.partitions.values() {
            owned.entry(partition.topic_id).or_default().push(partition.index);
        }
        owned.into_iter().collect()
    }

    fn send_epoch(&mut self, cx: &mut Cx<'_>, epoch: i32, request: Request, says_all: bool) -> bool {
        let ms = i32::try_from(self.config.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
        self.send_to_coordinator(cx, ApiKey::ConsumerGroupHeartbeat, ANSWER_TIME, request, |it, _| {
            let owned = it.owned_by_id();
            let rack_id = it.config.rack_id.as_str();
            let state = MemberState {
                rack_id: (!rack_id.is_empty()).then_some(rack_id),
                rebalance_timeout_ms: ms,
                topics: &it.topics.wanted,
                assignor: match &it.config.protocol {
                    GroupProtocol::Consumer(assignor) => assignor.as_deref(),
                    GroupProtocol::Classic => None,
                },
                owned: &owned,
            };
            let of = HeartbeatOf {
                group: &it.config.group_id,
                member: &it.group.member,
                epoch,
                instance: it.config.group_instance_id.as_deref(),
            };
            consumer_group::consumer_group_heartbeat_request(of, says_all.then_some(&state))
        })
    }

    /// Joins.
    pub(super) fn send_first_heartbeat(&mut self, cx: &mut Cx<'_>) {
        if !self.topics.is_read {
            return self.topics.need();
        }
        if self.group.member.is_empty() {
            self.group.member = format!("{:016x}{:016x}", cx.random(), cx.random());
        }
        if self.send_epoch(cx, JOINS, Request::ConsumerGroupHeartbeat, true) {
            self.group.phase = Phase::Joining;
            self.group.is_heartbeat_in_flight = true;
            self.group.must_rejoin = false;
            self.group.assigned.clear();
            self.group.assigned.must_report = false;
        }
    }

    pub(super) fn send_member_heartbeat(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if std::mem::take(&mut self.group.must_rejoin) {
            // The topics have changed.
            self.group.assigned.must_report = true;
            self.heartbeat_now(now);
        }
        if self.group.heartbeat_at.max(self.group.retry_at) > now {
            return;
        }
        let (epoch, says_all) = (self.group.generation, self.group.assigned.must_report);
        if self.send_epoch(cx, epoch, Request::ConsumerGroupHeartbeat, says_all) {
            self.group.is_heartbeat_in_flight = true;
            self.group.assigned.must_report = false;
            self.group.heartbeat_at = now + self.group.assigned.interval;
        } else {
            self.group.heartbeat_at = now + PAUSES.0;
        }
    }

    /// Leaves. Returns whether that was sent.
    pub(super) fn send_last_heartbeat(&mut self, cx: &mut Cx<'_>) -> bool {
        let epoch = if self.config.group_instance_id.is_some() { LEAVES_FOR_A_TIME } else { LEAVES };
        self.send_epoch(cx, epoch, Request::LeaveGroup, false)
    }

    /// A heartbeat has no answer: the coordinator may have handled it.
    pub(super) fn handle_lost_heartbeat(&mut self, now: MonotonicTime, error: &str) {
        self.group.is_heartbeat_in_flight = false;
        self.group.assigned.must_report = true;
        self.group.heartbeat_at = now + PAUSES.0;
        if matches!(self.group.phase, Phase::Joining) {
            self.group_failed(now, error.to_owned());
            self.join_again();
        }
    }

    pub(super) fn handle_member_heartbeat(&mut self, now: MonotonicTime, answer: ConsumerGroupHeartbeatResponse) {
        if !matches!(self.group.phase, Phase::Joining | Phase::Stable | Phase::Revoking(..)) {
            return;
        }
        if !answer.error.is_none() || answer.epoch <= 0 {
            return self.handle_heartbeat_error(now, answer.error, answer.error_message.as_deref());
        }
        self.group.failures = 0;
        self.group.generation = answer.epoch;
        let interval = Duration::from_millis(answer.interval_ms.into()).clamp(INTERVALS.0, INTERVALS.1);
        self.group.assigned.interval = interval;
        self.group.heartbeat_at = now + interval;
        if matches!(self.group.phase, Phase::Joining) {
            self.group.retry_at = MonotonicTime(0);
            self.group.phase = Phase::Stable;
        }
        if let Some(assignment) = answer.assignment {
            self.group.assigned.target.clear();
            for (topic, partitions) in assignment {
                self.group.assigned.target.entry(topic).or_default().extend(partitions);
            }
            self.reconcile(now);
        }
    }

    fn handle_heartbeat_error(&mut self, now: MonotonicTime, error: ErrorCode, message: Option<&str>) {
        let is_joining = matches!(self.group.phase, Phase::Joining);
        self.group.assigned.must_report = true;
        self.group.heartbeat_at = now + PAUSES.0;
        match error {
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                self.group.coordinator = None;
                self.group.retry_at = now + PAUSES.0;
                self.join_again();
            }
            // Of an answer without an error only the epoch can be wrong.
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::STALE_MEMBER_EPOCH
            | ErrorCode::NONE => {
                if is_joining {
                    self.group.retry_at = now + pause_after(self.group.failures);
                    self.group.failures = self.group.failures.saturating_add(1);
                }
                self.membership_lost(now, error);
            }
            error if error.class() == ErrorClass::Retry => {
                self.group.retry_at = now + PAUSES.0;
                self.join_again();
            }
            error => {
                if !is_joining {
                    self.membership_lost(now, error);
                }
                let text = self.explain(error, message);
                self.group_failed(now, text);
                self.join_again();
            }
        }
    }

    /// What people can do about an error of the coordinator.
    fn explain(&self, error: ErrorCode, message: Option<&str>) -> String {
        let group = &self.config.group_id;
        let said = message.filter(|text| !text.is_empty()).map_or(String::new(), |text| format!(" ({text})"));
        match error {
            ErrorCode::UNRELEASED_INSTANCE_ID => {
                let instance = self.config.group_instance_id.as_deref().unwrap_or_default();
                format!(
                    "another member of the group {group:?} has the instance id {instance:?}; each member needs its own{said}"
                )
            }
            ErrorCode::UNSUPPORTED_ASSIGNOR => {
                format!("the broker does not have the assignor that is configured for the group {group:?}{said}")
            }
            ErrorCode::UNSUPPORTED_VERSION => format!(
                "the broker does not have the consumer protocol (KIP-848): add consumer to its \
                 group.coordinator.rebalance.protocols, or use the classic protocol{said}"
            ),
            ErrorCode::GROUP_ID_NOT_FOUND => format!(
                "the group {group:?} has members of the classic protocol, and the broker does not let it change: stop them, or \
                 set group.consumer.migration.policy{said}"
            ),
            error => format!("{}{said}", error_text("the group can't be joined", error)),
        }
    }

    /// Begins to read what is assigned, and to give up what is not any more.
    pub(super) fn reconcile(&mut self, now: MonotonicTime) {
        let is_member = matches!(self.group.phase, Phase::Stable | Phase::Revoking(..)) && !self.is_classic();
        if !is_member || self.group.closing.is_some() {
            return;
        }
        let mut new = Vec::new();
        for (id, partitions) in &self.group.assigned.target {
            // The metadata of a new topic may come later than its assignment.
            let Some(topic) = self.topics.name(*id) else {
                self.topics.need();
                continue;
            };
            // A partition that is being given up is assigned again after that.
            let is_new = |index: &&i32| **index >= 0 && !self.by_name.contains_key(&(topic.clone(), **index));
            new.extend(partitions.iter().filter(is_new).map(|index| (topic.clone(), *index)));
        }
        let target = &self.group.assigned.target;
        let is_gone = |partition: &super::Partition| {
            !partition.is_stopped
                && target.get(&partition.topic_id).is_none_or(|indexes| !indexes.contains(&partition.index))
        };
        let gone: BTreeSet<u64> = self.partitions.iter().filter(|(_, p)| is_gone(p)).map(|(id, _)| *id).collect();
        if !new.is_empty() {
            self.group.assigned.must_report = true;
        }
        new.into_iter().for_each(|(topic, index)| self.add_partition(now, &topic, index));
        if gone.is_empty() {
            return;
        }
        match &mut self.group.phase {
            Phase::Revoking(ids, _) => {
                ids.extend(&gone);
                gone.into_iter().for_each(|id| self.stop_partition(id));
            }
            _ => self.begin_revocation(now, Some(gone)),
        }
    }

    /// Partitions have been given up: the coordinator can give them to others.
    pub(super) fn report_revocation(&mut self, now: MonotonicTime) {
        if !self.is_classic() && self.group.closing.is_none() {
            self.group.assigned.must_report = true;
            self.heartbeat_now(now);
            self.reconcile(now);
        }
    }
}
