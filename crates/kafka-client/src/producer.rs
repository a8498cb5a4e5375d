//! The producer: takes records for topics, sends them in batches to the leaders of their partitions, and says what became of them.
//!
//! ```text
//!  send -> topic (waits for its metadata) -> partition (lingers) -> batch -> produce request -> answer -> result
//! ```
//! A batch of a partition is sent when the one before it has its answer. What fails for a reason that passes is sent again until the
//! deadline of its call; with an idempotent producer the broker then recognises what it has already written. The caller limits how much
//! it sends at once. Never reads telemetry.

mod metadata;
mod partitions;
mod requests;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{Cx, Event, Logger, MonotonicTime, StartError, TimerId};

use crate::messages::ProducerId;
use crate::nodes::{ClientConfig, NodeEvent, Nodes};
use crate::partitioner::Partitioner;
use crate::record_batch::{Compression, Record};
use metadata::MetadataState;
use requests::RequestKind;
use topics::{Queued, SlotKey, Topic};

/// The local key of the timer.
const TIMER_KEY: u64 = 0;
/// The local key under which the next turn goes on with what this one had no time for.
const READY_KEY: u64 = 1;
/// The local keys of jobs that encode batches.
const FIRST_JOB_KEY: u64 = 2;
/// Bytes of batches that are made in one turn.
const MAX_BYTES_PER_TURN: usize = 4 << 20;
/// The longest name of a topic.
const MAX_TOPIC_NAME: usize = 249;
/// The local keys of connections.
const FIRST_NODE_KEY: u64 = 1 << 40;
/// The most topics that are known at once. Names of topics can come from telemetry.
const MAX_TOPICS: usize = 1024;
/// Records of calls that have ended are removed from the queues once they have this many bytes, and are half of everything.
const MIN_SWEPT_BYTES: usize = 8 << 20;

/// How records are sent.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Which replicas must have written a batch: all of them that are in sync (-1), the leader (1), or none (0), which means that
    /// nothing is answered.
    pub required_acks: i16,
    /// How long a broker may wait for its replicas.
    pub timeout: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// The level; `None` is the coding's default.
    pub compression_level: Option<i32>,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// The longest batch before compression. A single record may be longer.
    pub max_batch_bytes: usize,
    /// The longest request.
    pub max_request_bytes: usize,
    /// The most records in one request.
    pub max_request_records: usize,
    /// How partitions are chosen.
    pub partitioner: Partitioner,
    /// Whether the broker may create topics that do not exist.
    pub may_create_topics: bool,
}

impl ProducerConfig {
    /// The broker recognises batches that it has already written.
    fn is_idempotent(&self) -> bool {
        self.required_acks == -1
    }
}

/// Why records were not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// They may be sent again later.
    Retry(String),
    /// A record is longer than the broker accepts.
    TooLarge(String),
    /// They are refused for good.
    Refused(String),
}

impl SendError {
    /// How much it says: an error that has to be sent again outweighs others.
    fn weight(&self) -> u8 {
        match self {
            Self::Refused(_) => 0,
            Self::TooLarge(_) => 1,
            Self::Retry(_) => 2,
        }
    }
}

/// Records that are sent together and have one result.
struct Call {
    /// What the caller knows it by. It may be that of a call that has ended.
    token: u64,
    topic: u32,
    records_left: usize,
    bytes: usize,
    deadline: MonotonicTime,
    error: Option<SendError>,
}

/// See the module.
pub struct Producer {
    config: ProducerConfig,
    client: Rc<ClientConfig>,
    nodes: Nodes,
    /// By a number that no other call has or had: records of a call that has ended may still be in a batch.
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    deadlines: BTreeSet<(MonotonicTime, u64)>,
    results: VecDeque<(u64, Result<(), SendError>)>,
    topics: BTreeMap<u32, Topic>,
    topic_ids: BTreeMap<Arc<str>, u32>,
    next_topic: u32,
    /// Partitions with something to send, by the broker that leads them and by the time from which they may be sent.
    due: BTreeMap<i32, BTreeSet<(MonotonicTime, SlotKey)>>,
    /// When the first partition of each broker is due.
    due_nodes: BTreeSet<(MonotonicTime, i32)>,
    /// Brokers that may take requests.
    pending_nodes: BTreeSet<i32>,
    /// Brokers that are sent more in the next turn.
    postponed_nodes: BTreeSet<i32>,
    turn_bytes: usize,
    /// Batches that are being encoded on helper threads.
    jobs: BTreeMap<u64, SlotKey>,
    next_job_key: u64,
    requests: BTreeMap<u64, RequestKind>,
    next_token: u64,
    metadata: MetadataState,
    producer_id: Option<ProducerId>,
    is_producer_id_requested: bool,
    producer_id_retry_at: MonotonicTime,
    queued_bytes: usize,
    /// Bytes of records in the queues whose calls have ended, or more.
    dead_bytes: usize,
    /// Why nothing is delivered at present.
    last_error: Option<Rc<str>>,
    timer: Option<(MonotonicTime, TimerId)>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (calls, topics) = (self.calls.len(), self.topics.len());
        f.debug_struct("Producer").field("calls", &calls).field("topics", &topics).finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer that connects when there is something to send. It uses local keys below 2^62.
    #[must_use]
    pub fn new(client: Rc<ClientConfig>, config: ProducerConfig, log: Logger) -> Self {
        Self {
            config,
            nodes: Nodes::new(client.clone(), log, FIRST_NODE_KEY),
            client,
            calls: BTreeMap::new(),
            next_call: 0,
            deadlines: BTreeSet::new(),
            results: VecDeque::new(),
            topics: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            next_topic: 0,
            due: BTreeMap::new(),
            due_nodes: BTreeSet::new(),
            pending_nodes: BTreeSet::new(),
            postponed_nodes: BTreeSet::new(),
            turn_bytes: 0,
            jobs: BTreeMap::new(),
            next_job_key: FIRST_JOB_KEY,
            requests: BTreeMap::new(),
            next_token: 0,
            metadata: MetadataState::default(),
            producer_id: None,
            is_producer_id_requested: false,
            producer_id_retry_at: MonotonicTime(0),
            queued_bytes: 0,
            dead_bytes: 0,
            last_error: None,
            timer: None,
        }
    }

    /// Reads the files of TLS.
    ///
    /// # Errors
    /// What can't be read or used.
    pub fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.nodes.start(cx)
    }

    /// Sends records to a topic. [`Producer::poll_result`] then has `token`, which must differ from those of calls without a result. What
    /// is not sent by `deadline` fails.
    pub fn send(&mut self, cx: &mut Cx<'_>, token: u64, topic: &str, records: Vec<Record>, deadline: MonotonicTime) {
        if records.is_empty() {
            return self.results.push_back((token, Ok(())));
        }
        let topic = match self.topic_id(topic, cx.now()) {
            Ok(topic) => topic,
            Err(error) => return self.results.push_back((token, Err(error))),
        };
        let bytes = records.iter().map(Record::encoded_len).sum();
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, Call { token, topic, records_left: records.len(), bytes, deadline, error: None });
        if deadline != MonotonicTime::NEVER {
            self.deadlines.insert((deadline, call));
        }
        self.queued_bytes += bytes;
        let at = cx.now();
        if let Some(topic) = self.topics.get_mut(&topic) {
            topic.waiting.extend(records.into_iter().map(|record| Queued { record, call, is_alone: false, at }));
        }
        self.assign_waiting(cx, topic);
        self.advance(cx);
    }

    /// The topic of a name, which is new if it is not known.
    fn topic_id(&mut self, name: &str, now: MonotonicTime) -> Result<u32, SendError> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > MAX_TOPIC_NAME || !name.bytes().all(is_legal) {
            let start = name.get(..name.floor_char_boundary(MAX_TOPIC_NAME)).unwrap_or_default();
            return Err(SendError::Refused(format!("error exporting to topic {start:?}: INVALID_TOPIC_EXCEPTION")));
        }
        if let Some(id) = self.topic_ids.get(name).copied() {
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.last_used = now;
            }
            return Ok(id);
        }
        if self.topics.len() >= MAX_TOPICS {
            let idle = self.topics.iter().filter(|(_, topic)| topic.is_idle()).min_by_key(|(_, topic)| topic.last_used);
            let Some(id) = idle.map(|(id, _)| *id) else {
                return Err(SendError::Retry(format!(
                    "error exporting to topic {name:?}: more than {MAX_TOPICS} topics at once"
                )));
            };
            if let Some(topic) = self.topics.remove(&id) {
                self.topic_ids.remove(&topic.name);
            }
        }
        let id = self.next_topic;
        self.next_topic = id.wrapping_add(1);
        let name: Arc<str> = name.into();
        self.topic_ids.insert(name.clone(), id);
        self.topics.insert(id, Topic::new(name, now));
        Ok(id)
    }

    /// Handles an event if it is under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        if local == TIMER_KEY {
            self.timer = None;
        } else if local == READY_KEY {
            self.turn_bytes = 0;
            self.pending_nodes.append(&mut self.postponed_nodes);
        } else if local < FIRST_NODE_KEY {
            self.handle_encoded(cx, local);
        } else {
            self.nodes.handle_event(cx, local, event);
        }
        self.advance(cx);
    }

    /// The next call that has ended.
    pub fn poll_result(&mut self) -> Option<(u64, Result<(), SendError>)> {
        self.results.pop_front()
    }

    /// Closes the connections. What has no result by now has none.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.nodes.close();
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    /// Does everything that is due, and sets the timer.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        self.nodes.handle_timeout(cx);
        self.expire_calls(cx.now());
        loop {
            while let Some(event) = self.nodes.poll_event() {
                self.handle_node_event(cx, event);
            }
            self.advance_metadata(cx);
            self.advance_producer_id(cx);
            while let Some((at, node)) = self.due_nodes.first().copied()
                && at <= cx.now()
            {
                self.due_nodes.remove(&(at, node));
                self.pending_nodes.insert(node);
            }
            let Some(node) = self.pending_nodes.pop_first() else { break };
            self.send_batches(cx, node);
        }
        self.update_timer(cx);
    }

    fn handle_node_event(&mut self, cx: &mut Cx<'_>, event: NodeEvent) {
        match event {
            NodeEvent::Changed(node) => {
                self.pending_nodes.insert(node);
            }
            NodeEvent::Written { node, token } => {
                self.pending_nodes.insert(node);
                self.handle_written(cx, token);
            }
            NodeEvent::Answer { node, token, version, body } => {
                self.pending_nodes.insert(node);
                self.handle_answer(cx, (node, token), version, &body);
            }
            NodeEvent::Failed { node, tokens, error } => {
                self.pending_nodes.insert(node);
                self.last_error = Some(error.clone());
                self.metadata.is_needed = true;
                for token in tokens {
                    self.handle_lost(cx, token, &error);
                }
            }
        }
    }

    /// Ends the calls whose deadline has passed.
    fn expire_calls(&mut self, now: MonotonicTime) {
        while let Some((deadline, number)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.remove(&(deadline, number));
            let Some(call) = self.calls.remove(&number) else { continue };
            let topic = self.topics.get(&call.topic);
            let name = topic.map_or("", |topic| &topic.name);
            let of_topic = topic.and_then(|topic| topic.error).map(|error| error.to_string());
            let why = of_topic.or_else(|| self.last_error.as_deref().map(str::to_owned));
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            let text = format!("error exporting to topic {name:?}: context deadline exceeded{why}");
            self.results.push_back((call.token, Err(SendError::Retry(text))));
            self.dead_bytes = self.dead_bytes.saturating_add(call.bytes);
        }
        if self.dead_bytes > MIN_SWEPT_BYTES && self.dead_bytes > self.queued_bytes / 2 {
            self.sweep();
        }
    }

    /// Reports what became of a record of a call.
    fn finish_record(&mut self, number: u64, result: Result<(), SendError>) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.records_left = call.records_left.saturating_sub(1);
        if let Err(error) = result
            && call.error.as_ref().is_none_or(|before| before.weight() < error.weight())
        {
            call.error = Some(error);
        }
        if call.records_left == 0
            && let Some(call) = self.calls.remove(&number)
        {
            self.deadlines.remove(&(call.deadline, number));
            self.results.push_back((call.token, call.error.map_or(Ok(()), Err)));
        }
    }

    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let of_due = self.due_nodes.first().map(|(at, _)| *at);
        let of_calls = self.deadlines.first().map(|(at, _)| *at);
        let waits_for_id = self.config.is_idempotent() && self.producer_id.is_none() && !self.is_producer_id_requested;
        let of_id = (waits_for_id && self.producer_id_retry_at > now).then_some(self.producer_id_retry_at);
        let all = [of_due, of_calls, of_id, self.nodes.next_deadline(), self.metadata_deadline(now)];
        let at = all.into_iter().flatten().filter(|at| *at != MonotonicTime::NEVER).min();
        if at != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = at.map(|at| (at, cx.set_timer(TIMER_KEY, at)));
        }
    }
}
