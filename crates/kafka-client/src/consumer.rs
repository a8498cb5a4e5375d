//! A member of a consumer group: reads the records of the partitions that the group gives it, and commits offsets.
//!
//! ```text
//!  classic protocol:  coordinator -> join -> (leader: assign) -> sync -> heartbeats ..
//!  consumer protocol: coordinator -> heartbeats, whose answers have the assignment
//!  partition: committed offset -> (first or last offset) -> fetch -> records -> request_more -> fetch ..
//! ```
//! A partition is not fetched again before its records have been taken and more are requested, so that the caller limits what is buffered. A
//! partition that is to be given up is stopped first: the caller marks what it has done with, which is committed, and only then the
//! member joins again. Requests of the group have connections of their own, because an answer to a fetch request may take long. Never
//! decides which offsets are marked.

mod assigned;
mod assignors;
mod classic_protocol;
mod config;
mod consumer_protocol;
mod events;
mod fetching;
mod group;
mod offsets;
mod partitions;
mod protocol;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use assignors::Assignor;
pub use config::{GroupConsumerConfig, GroupProtocol, InitialOffset, TopicSelection};
pub use events::{ConsumerEvent, ConsumerNotice, PartitionId};
use otelcore_pipeline::{Cx, Event, Logger, MonotonicTime, StartError, TimerId};

use crate::client_config::ClientConfig;
use crate::error_code::ErrorCode;
use crate::nodes::{NodeEvent, Nodes};
use crate::versions::ApiKey;
use fetching::DecodeJob;
use group::Group;
use offsets::Commits;
use partitions::{NodeWork, Partition};
use protocol::Member;
pub(crate) use protocol::decode_assignment as read_assignment;
use topics::Topics;

/// The local key of the timer.
const TIMER_KEY: u64 = 0;
/// The local key of the job that computes an assignment.
const ASSIGNMENT_KEY: u64 = 1;
/// The local keys of jobs that read answers.
const FIRST_JOB_KEY: u64 = 2;
/// The local keys of connections for fetch requests and metadata.
const FIRST_FETCH_KEY: u64 = 1 << 30;
/// The local keys of connections for the group.
const FIRST_GROUP_KEY: u64 = 1 << 31;
/// How long a broker may take to answer, in addition to the time that a request lets it wait.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The shortest and the longest pause after an error.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What a request is for.
enum Request {
    Metadata,
    /// The partitions, each with the offset that was asked for, and when it was sent.
    Fetch {
        node: i32,
        partitions: Vec<(u64, i64)>,
        sent_at: MonotonicTime,
    },
    ListOffsets {
        node: i32,
        partitions: Vec<u64>,
    },
    FindCoordinator,
    JoinGroup,
    SyncGroup,
    Heartbeat,
    LeaveGroup,
    /// The heartbeat of the consumer protocol.
    ConsumerGroupHeartbeat,
    OffsetCommit(Vec<(u64, i64)>),
    OffsetFetch(Vec<u64>),
}

/// See the module.
pub struct GroupConsumer {
    config: Rc<GroupConsumerConfig>,
    client: Rc<ClientConfig>,
    fetch_nodes: Nodes,
    group_nodes: Nodes,
    requests: BTreeMap<u64, Request>,
    next_token: u64,
    topics: Topics,
    group: Group,
    commits: Commits,
    partitions: BTreeMap<u64, Partition>,
    by_name: BTreeMap<(Arc<str>, i32), u64>,
    next_partition: u64,
    /// Partitions whose committed offset is not known.
    unlocated: BTreeSet<u64>,
    /// Partitions without a leader.
    leaderless: BTreeSet<u64>,
    /// Partitions that nothing is done for until a time.
    waiting: BTreeSet<(MonotonicTime, u64)>,
    by_node: BTreeMap<i32, NodeWork>,
    /// Brokers that may take requests.
    pending_nodes: BTreeSet<i32>,
    jobs: BTreeMap<u64, DecodeJob>,
    next_job_key: u64,
    /// Nothing is fetched.
    is_paused: bool,
    events: VecDeque<ConsumerEvent>,
    timer: Option<(MonotonicTime, TimerId)>,
}

impl std::fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConsumer").field("partitions", &self.partitions.len()).finish_non_exhaustive()
    }
}

impl GroupConsumer {
    /// A consumer that joins its group when it is started. It uses local keys below 2^32.
    #[must_use]
    pub fn new(client: Rc<ClientConfig>, config: GroupConsumerConfig, log: Logger) -> Self {
        let mut fetch_nodes = Nodes::new(client.clone(), log.clone(), FIRST_FETCH_KEY);
        // A single batch may be longer than is asked for.
        let max_bytes = config.max_fetch_bytes.max(config.max_partition_bytes);
        fetch_nodes.accept_records((64 << 20) + usize::try_from(max_bytes).unwrap_or(0));
        Self {
            fetch_nodes,
            group_nodes: Nodes::new(client.clone(), log, FIRST_GROUP_KEY),
            topics: Topics::new(&config.topics),
            config: Rc::new(config),
            client,
            requests: BTreeMap::new(),
            next_token: 0,
            group: Group::default(),
            commits: Commits::default(),
            partitions: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next_partition: 0,
            unlocated: BTreeSet::new(),
            leaderless: BTreeSet::new(),
            waiting: BTreeSet::new(),
            by_node: BTreeMap::new(),
            pending_nodes: BTreeSet::new(),
            jobs: BTreeMap::new(),
            next_job_key: FIRST_JOB_KEY,
            is_paused: false,
            events: VecDeque::new(),
            timer: None,
        }
    }

    /// Reads the files of TLS, and begins.
    ///
    /// # Errors
    /// What can't be read or used.
    pub fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.fetch_nodes.start(cx)?;
        self.group_nodes.start(cx)?;
        self.advance(cx);
        Ok(())
    }

    /// Handles an event if it is under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        match local {
            TIMER_KEY => self.timer = None,
            ASSIGNMENT_KEY => self.handle_assigned(),
            FIRST_GROUP_KEY.. => self.group_nodes.handle_event(cx, local, event),
            FIRST_FETCH_KEY.. => self.fetch_nodes.handle_event(cx, local, event),
            _ => self.handle_decoded(cx, local),
        }
        self.advance(cx);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ConsumerEvent> {
        self.events.pop_front()
    }

    /// Fetches more records of a partition, after those of the last event.
    pub fn request_more(&mut self, cx: &mut Cx<'_>, partition: PartitionId) {
        if let Some(state) = self.partitions.get_mut(&partition.0)
            && std::mem::take(&mut state.is_held)
        {
            self.schedule(cx.now(), partition.0);
            self.advance(cx);
        }
    }

    /// Whether nothing is fetched: the caller has no room for records. Requests that are sent already are answered.
    pub fn set_paused(&mut self, cx: &mut Cx<'_>, is_paused: bool) {
        if std::mem::replace(&mut self.is_paused, is_paused) && !is_paused {
            self.pending_nodes.extend(self.by_node.keys());
            self.advance(cx);
        }
    }

    /// The records of a partition before `next_offset` are done with; the offset is committed. `leader_epoch` is that of the last one.
    pub fn mark(&mut self, cx: &mut Cx<'_>, partition: PartitionId, next_offset: i64, leader_epoch: i32) {
        self.mark_offset(cx.now(), partition.0, next_offset, leader_epoch);
        self.update_timer(cx);
    }

    /// Nothing of a partition that is given up is being done any more.
    pub fn finish_partition(&mut self, cx: &mut Cx<'_>, partition: PartitionId) {
        self.group.unfinished.remove(&partition.0);
        self.advance(cx);
    }

    /// Gives all partitions up: they end as in a rebalance, by `deadline`, and the member leaves the group.
    pub fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.begin_leaving(deadline);
        self.advance(cx);
    }

    /// Whether it has left its group, or need not.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.group.has_left()
    }

    fn notice(&mut self, notice: ConsumerNotice) {
        self.events.push_back(ConsumerEvent::Notice(notice));
    }

    fn new_token(&mut self, request: Request) -> u64 {
        self.next_token += 1;
        self.requests.insert(self.next_token, request);
        self.next_token
    }

    /// Does everything that is due, and sets the timer.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        self.fetch_nodes.handle_timeout(cx);
        self.group_nodes.handle_timeout(cx);
        loop {
            while let Some(event) = self.fetch_nodes.poll_event() {
                self.handle_node_event(cx, event, true);
            }
            while let Some(event) = self.group_nodes.poll_event() {
                self.handle_node_event(cx, event, false);
            }
            self.advance_group(cx);
            if self.group.has_left() {
                self.fetch_nodes.close();
                self.group_nodes.close();
                break;
            }
            self.advance_metadata(cx);
            self.advance_offsets(cx);
            self.advance_waiting(cx.now());
            while let Some(node) = self.pending_nodes.pop_first() {
                self.send_to_node(cx, node);
            }
            if !self.fetch_nodes.has_events() && !self.group_nodes.has_events() {
                break;
            }
        }
        self.update_timer(cx);
    }

    fn handle_node_event(&mut self, cx: &mut Cx<'_>, event: NodeEvent, is_fetch: bool) {
        match event {
            NodeEvent::Changed(node) | NodeEvent::Written { node, .. } => {
                if is_fetch {
                    self.pending_nodes.insert(node);
                }
            }
            NodeEvent::Answer { node, token, version, body } => {
                if is_fetch {
                    self.pending_nodes.insert(node);
                }
                let Some(request) = self.requests.remove(&token) else { return };
                match request {
                    Request::Metadata => self.handle_metadata(cx, node, version, &body),
                    Request::Fetch { partitions, sent_at, .. } => {
                        self.handle_fetch(cx, (node, version), partitions, sent_at, body);
                    }
                    Request::ListOffsets { partitions, .. } => {
                        self.handle_list_offsets(cx, (node, version), &partitions, &body);
                    }
                    Request::OffsetCommit(sent) => self.handle_commit(cx, (node, version), &sent, &body),
                    Request::OffsetFetch(partitions) => {
                        self.handle_offset_fetch(cx, (node, version), &partitions, &body);
                    }
                    request => self.handle_group_answer(cx, &request, (node, version), &body),
                }
            }
            NodeEvent::Failed { node, tokens, error } => {
                if is_fetch {
                    self.pending_nodes.insert(node);
                    self.topics.need();
                }
                for token in tokens {
                    match self.requests.remove(&token) {
                        Some(request) => self.handle_lost_request(cx, request, &error),
                        None => continue,
                    }
                }
                if !is_fetch {
                    self.handle_group_failure(cx, node, &error);
                }
            }
        }
    }

    /// A request has no answer, because its connection has ended.
    fn handle_lost_request(&mut self, cx: &mut Cx<'_>, request: Request, error: &str) {
        let now = cx.now();
        match request {
            Request::Metadata => self.topics.is_in_flight = false,
            Request::Fetch { node, partitions, .. } => {
                self.node_work(node).has_fetch = false;
                for (id, _) in partitions {
                    self.release(now, id, Some(PAUSES.0));
                }
            }
            Request::ListOffsets { node, partitions } => {
                self.node_work(node).has_list = false;
                partitions.into_iter().for_each(|id| self.release(now, id, Some(PAUSES.0)));
            }
            Request::OffsetCommit(_) => self.commits.is_in_flight = false,
            Request::OffsetFetch(partitions) => {
                self.commits.is_fetching = false;
                partitions.into_iter().for_each(|id| self.release(now, id, Some(PAUSES.0)));
            }
            request => self.handle_lost_group_request(now, &request, error),
        }
    }

    /// Sends a request to the coordinator of the group. Returns whether it was sent.
    fn send_to_coordinator(
        &mut self,
        cx: &mut Cx<'_>,
        api: ApiKey,
        timeout: Duration,
        request: Request,
        body: impl FnOnce(&Self, i16) -> crate::messages::RequestBody,
    ) -> bool {
        let now = cx.now();
        let Some(node) = self.group.coordinator else { return false };
        if !self.group_nodes.can_send(node, now) {
            self.group_nodes.connect(cx, node);
            return false;
        }
        let version = match self.group_nodes.version(node, api) {
            Some(Ok(version)) => version,
            Some(Err(error)) => {
                let is_missing = api == ApiKey::ConsumerGroupHeartbeat;
                let needs = if is_missing { "the consumer protocol (KIP-848) needs Kafka 4.0 or later: " } else { "" };
                self.group_failed(now, format!("{needs}{error}"));
                return false;
            }
            None => return false,
        };
        let body = body(self, version);
        let token = self.new_token(request);
        self.group_nodes.send(cx, (node, token), (api, version), (body, true), now + timeout);
        true
    }

    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let of_waiting = self.waiting.first().map(|(at, _)| *at);
        let all = [
            of_waiting,
            self.fetch_nodes.next_deadline(),
            self.group_nodes.next_deadline(),
            self.topics.next_deadline(now),
            self.group_deadline(now),
            // What is due already waits for a connection.
            self.commit_deadline().filter(|at| *at > now),
        ];
        let at = all.into_iter().flatten().filter(|at| *at != MonotonicTime::NEVER).min();
        let at = at.filter(|_| !self.group.has_left());
        if at != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = at.map(|at| (at, cx.set_timer(TIMER_KEY, at)));
        }
    }
}

/// The pause after so many failures one after another.
fn pause_after(failures: u32) -> Duration {
    (PAUSES.0 * (1 << failures.min(8))).min(PAUSES.1)
}

/// The text of an error code, with what it is about.
fn error_text(what: &str, error: ErrorCode) -> String {
    format!("{what}: {error}")
}

/// What a member tells the leader of its group.
pub(crate) fn read_member(member: crate::messages::group::GroupMember) -> Member {
    Member::of(member)
}
