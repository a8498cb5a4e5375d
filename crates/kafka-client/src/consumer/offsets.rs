//! Offsets of the group: reads those that are committed, and commits those that are marked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otelcore_pipeline::{Cx, MonotonicTime};

use super::partitions::Position;
use super::{ANSWER_TIME, ConsumerNotice, GroupConsumer, PAUSES, Request};
use crate::error_code::ErrorCode;
use crate::messages::fetch::by_topic;
use crate::messages::group::{self, CommittedOffset};
use crate::versions::ApiKey;

/// The most partitions of a request.
const MAX_PARTITIONS: usize = 1000;

#[derive(Default)]
pub(super) struct Commits {
    /// Partitions whose mark is not committed.
    pub(super) dirty: BTreeSet<u64>,
    pub(super) is_in_flight: bool,
    /// A request for committed offsets has no answer.
    pub(super) is_fetching: bool,
    /// When marks are committed next.
    at: MonotonicTime,
}

impl GroupConsumer {
    /// A mark never goes back.
    pub(super) fn mark_offset(&mut self, now: MonotonicTime, id: u64, next_offset: i64, leader_epoch: i32) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        if partition.marked.is_some_and(|(marked, _)| marked >= next_offset) {
            return;
        }
        partition.marked = Some((next_offset, leader_epoch));
        if self.commits.dirty.is_empty() {
            self.commits.at = self.commits.at.max(now + self.config.commit_interval.unwrap_or_default());
        }
        self.commits.dirty.insert(id);
    }

    pub(super) fn commit_deadline(&self) -> Option<MonotonicTime> {
        let can_commit = self.group.can_commit() && !self.commits.is_in_flight && !self.commits.dirty.is_empty();
        can_commit.then_some(self.commits.at)
    }

    /// Marks are committed without waiting for the interval.
    pub(super) fn commit_now(&mut self, now: MonotonicTime) {
        self.commits.at = self.commits.at.min(now);
    }

    pub(super) fn advance_offsets(&mut self, cx: &mut Cx<'_>) {
        if !self.group.can_commit() {
            return;
        }
        self.send_offset_fetch(cx);
        if self.commit_deadline().is_some_and(|at| at <= cx.now()) {
            self.send_commit(cx);
        }
    }

    fn send_commit(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let mut sent = Vec::new();
        let mut marked: Vec<(Arc<str>, CommittedOffset)> = Vec::new();
        let uses_epoch = self.config.uses_leader_epoch;
        for id in self.commits.dirty.iter().take(MAX_PARTITIONS) {
            let Some(partition) = self.partitions.get(id) else { continue };
            let Some((offset, epoch)) = partition.marked else { continue };
            sent.push((*id, offset));
            let epoch = if uses_epoch { epoch } else { -1 };
            marked.push((partition.topic.clone(), (partition.index, offset, epoch)));
        }
        let request = Request::OffsetCommit(sent);
        let is_sent = self.send_to_coordinator(cx, ApiKey::OffsetCommit, ANSWER_TIME, request, |it, version| {
            group::offset_commit_request(version, it.membership(), &by_topic(&marked))
        });
        if is_sent {
            self.commits.is_in_flight = true;
            self.commits.at = now + self.config.commit_interval.unwrap_or_default();
        }
    }

    pub(super) fn handle_commit(
        &mut self,
        cx: &mut Cx<'_>,
        (node, version): (i32, i16),
        sent: &[(u64, i64)],
        body: &[u8],
    ) {
        let now = cx.now();
        self.commits.is_in_flight = false;
        let (throttle_ms, results) = match group::read_offset_commit(version, body) {
            Ok(read) => read,
            Err(error) => {
                self.commits.at = now + PAUSES.1;
                return self.notice(ConsumerNotice::Commit(format!("the broker's answer is invalid: {error}")));
            }
        };
        self.group_nodes.throttle(node, now, throttle_ms);
        let sent: BTreeMap<u64, i64> = sent.iter().copied().collect();
        let mut failed = None;
        for (topic, index, error) in results {
            let key = (Arc::from(topic.as_str()), index);
            let Some(id) = self.by_name.get(&key).copied() else { continue };
            let Some(offset) = sent.get(&id).copied() else { continue };
            if !error.is_none() {
                failed = Some(error);
                continue;
            }
            if let Some(partition) = self.partitions.get_mut(&id) {
                partition.committed = Some(offset);
                if partition.marked.is_some_and(|(marked, _)| marked <= offset) {
                    self.commits.dirty.remove(&id);
                }
            }
        }
        let Some(error) = failed else { return };
        // They stay marked, and are committed again.
        self.commits.at = now + self.config.commit_interval.unwrap_or_default().clamp(PAUSES.0, PAUSES.1);
        if !self.handle_membership_error(now, error) {
            self.notice(ConsumerNotice::Commit(error.to_string()));
            self.commits.at = now + PAUSES.1;
        }
    }

    fn send_offset_fetch(&mut self, cx: &mut Cx<'_>) {
        if self.commits.is_fetching || self.unlocated.is_empty() {
            return;
        }
        let ids: Vec<u64> = self.unlocated.iter().take(MAX_PARTITIONS).copied().collect();
        let partitions = ids.iter().filter_map(|id| self.partitions.get(id));
        let asked: Vec<(Arc<str>, i32)> =
            partitions.map(|partition| (partition.topic.clone(), partition.index)).collect();
        let request = Request::OffsetFetch(ids.clone());
        let is_sent = self.send_to_coordinator(cx, ApiKey::OffsetFetch, ANSWER_TIME, request, |it, version| {
            group::offset_fetch_request(version, &it.config.group_id, it.member_epoch(), Some(&by_topic(&asked)))
        });
        if is_sent {
            self.commits.is_fetching = true;
            ids.into_iter().for_each(|id| self.take_for_request(id));
        }
    }

    pub(super) fn handle_offset_fetch(
        &mut self,
        cx: &mut Cx<'_>,
        (node, version): (i32, i16),
        ids: &[u64],
        body: &[u8],
    ) {
        let now = cx.now();
        self.commits.is_fetching = false;
        match group::read_offset_fetch(version, body) {
            Ok(read) => {
                self.group_nodes.throttle(node, now, read.throttle_ms);
                let mut failed = Some(read.error).filter(|error| !error.is_none());
                for found in read.offsets {
                    let id = self.find_requested(ids, &found.topic, found.index);
                    let Some(partition) = id.and_then(|id| self.partitions.get_mut(&id)) else { continue };
                    if !found.error.is_none() {
                        failed = Some(found.error);
                    } else if failed.is_none() && partition.position == Position::Unknown {
                        partition.position = if found.offset < 0 {
                            Position::Reset
                        } else {
                            Position::At(found.offset, found.leader_epoch)
                        };
                        partition.committed = Some(found.offset).filter(|offset| *offset >= 0);
                    }
                }
                if let Some(error) = failed
                    && !self.handle_membership_error(now, error)
                {
                    self.notice(ConsumerNotice::Group(format!("committed offsets can't be read: {error}")));
                }
            }
            Err(error) => {
                self.notice(ConsumerNotice::Group(format!("the broker's committed offsets are invalid: {error}")));
            }
        }
        for id in ids {
            let is_known = self.partitions.get(id).is_some_and(|p| p.position != Position::Unknown);
            self.release(now, *id, (!is_known).then_some(PAUSES.0));
        }
    }

    /// The error of a commit or of a request for committed offsets, if it is one of the membership or passes.
    fn handle_membership_error(&mut self, now: MonotonicTime, error: ErrorCode) -> bool {
        match error {
            ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => self.group.coordinator = None,
            ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::FENCED_MEMBER_EPOCH => self.membership_lost(now, error),
            // The answer to a heartbeat has the new epoch.
            ErrorCode::STALE_MEMBER_EPOCH => self.heartbeat_now(now),
            ErrorCode::REBALANCE_IN_PROGRESS => self.group.must_rejoin = true,
            // The coordinator loads, or a transaction is not complete.
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode(7 | 88) => {}
            _ => return false,
        }
        true
    }
}
