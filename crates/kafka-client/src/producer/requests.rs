//! Requests to brokers and what their answers mean: batches, and the id of an idempotent producer.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otelcore_pipeline::{Cx, MonotonicTime};

use super::topics::{Phase, SlotKey};
use super::{MAX_BYTES_PER_TURN, Producer, READY_KEY, SendError};
use crate::error_code::{ErrorClass, ErrorCode};
use crate::messages::{self, ProducerId, TopicBatches};
use crate::record_batch::Compression;
use crate::versions::ApiKey;

/// Requests with batches on one connection that have no answer.
const MAX_REQUESTS: usize = 5;
/// How long an answer may take, in addition to the time that the broker may wait for its replicas.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The pause after a failed request for a producer id.
const PRODUCER_ID_PAUSE: Duration = Duration::from_millis(500);
/// The first version of the produce request with batches compressed with zstd.
const FIRST_ZSTD_VERSION: i16 = 7;

/// What a request is for.
pub(super) enum RequestKind {
    Metadata,
    ProducerId,
    Produce(Vec<SlotKey>),
}

impl Producer {
    pub(super) fn new_token(&mut self, kind: RequestKind) -> u64 {
        self.next_token += 1;
        self.requests.insert(self.next_token, kind);
        self.next_token
    }

    fn answer_deadline(&self, now: MonotonicTime) -> MonotonicTime {
        now + self.config.timeout + ANSWER_TIME
    }

    /// Sends to a broker what is due for it.
    pub(super) fn send_batches(&mut self, cx: &mut Cx<'_>, node: i32) {
        while self.has_due(node, cx.now()) {
            if !self.nodes.can_send(node, cx.now()) {
                self.metadata.is_needed |= !self.nodes.is_known(node);
                return self.nodes.connect(cx, node);
            }
            if self.nodes.requests_in_flight(node) >= MAX_REQUESTS {
                return;
            }
            if self.turn_bytes >= MAX_BYTES_PER_TURN {
                if self.postponed_nodes.is_empty() {
                    cx.request_ready(READY_KEY);
                }
                self.postponed_nodes.insert(node);
                return;
            }
            if self.config.is_idempotent() && self.producer_id.is_none() {
                // Goes on when the id has come.
                return;
            }
            let version = match self.nodes.version(node, ApiKey::Produce) {
                Some(Ok(version)) => version,
                Some(Err(error)) => return self.fail_due(cx, node, &error),
                None => return,
            };
            if self.config.compression == Compression::Zstd && version < FIRST_ZSTD_VERSION {
                return self.fail_due(cx, node, "the broker has no batches that are compressed with zstd");
            }
            self.send_request(cx, node, version);
        }
    }

    /// Sends one request with the batches that are due.
    fn send_request(&mut self, cx: &mut Cx<'_>, node: i32, version: i16) {
        let mut slots = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        let mut by_topic: BTreeMap<u32, Vec<(i32, Bytes)>> = BTreeMap::new();
        while bytes < self.config.max_request_bytes.min(MAX_BYTES_PER_TURN) && records < self.config.max_request_records
        {
            if self.config.is_idempotent() && self.producer_id.is_none() {
                break;
            }
            let Some(key) = self.pop_due(node, cx.now()) else { break };
            let Some(batch) = self.take_batch(cx, key) else {
                self.schedule(cx.now(), key);
                continue;
            };
            let count = self.partition_mut(key).and_then(|p| p.batch.as_ref()).map_or(0, |batch| batch.records.len());
            let is_too_much = bytes + batch.len() > self.config.max_request_bytes
                || records + count > self.config.max_request_records;
            if !slots.is_empty() && is_too_much {
                self.schedule(cx.now(), key);
                break;
            }
            (bytes, records) = (bytes + batch.len(), records + count);
            self.turn_bytes += batch.len();
            by_topic.entry(key.0).or_default().push((key.1, batch));
            slots.push(key);
            if let Some(partition) = self.partition_mut(key) {
                partition.phase = Phase::InFlight;
            }
        }
        if slots.is_empty() {
            return;
        }
        let topics: Vec<TopicBatches<'_>> = by_topic
            .into_iter()
            .filter_map(|(topic, batches)| Some(TopicBatches { topic: &self.topics.get(&topic)?.name, batches }))
            .collect();
        let timeout = i32::try_from(self.config.timeout.as_millis()).unwrap_or(i32::MAX);
        let acks = self.config.required_acks;
        let request = messages::produce_request(version, acks, timeout, &topics);
        let token = self.new_token(RequestKind::Produce(slots));
        let deadline = self.answer_deadline(cx.now());
        self.nodes.send(cx, (node, token), (ApiKey::Produce, version), (request, acks != 0), deadline);
    }

    /// What is due for a broker can't be sent to it.
    fn fail_due(&mut self, cx: &mut Cx<'_>, node: i32, error: &str) {
        self.last_error = Some(error.into());
        while let Some(key) = self.pop_due(node, cx.now()) {
            self.pause(cx.now(), key);
            self.schedule(cx.now(), key);
        }
    }

    /// A request without an answer was written.
    pub(super) fn handle_written(&mut self, cx: &mut Cx<'_>, token: u64) {
        let Some(RequestKind::Produce(slots)) = self.requests.remove(&token) else { return };
        for key in slots {
            self.end_flight(key);
            self.finish_batch(key, Ok(()));
            self.schedule(cx.now(), key);
        }
    }

    fn end_flight(&mut self, key: SlotKey) {
        if let Some(partition) = self.partition_mut(key)
            && matches!(partition.phase, Phase::InFlight)
        {
            partition.phase = Phase::Idle;
        }
    }

    /// Handles an answer.
    pub(super) fn handle_answer(&mut self, cx: &mut Cx<'_>, (node, token): (i32, u64), version: i16, body: &[u8]) {
        match self.requests.remove(&token) {
            Some(RequestKind::Metadata) => self.handle_metadata(cx, node, version, body),
            Some(RequestKind::ProducerId) => {
                self.is_producer_id_requested = false;
                let answer = messages::read_init_producer_id(version, body);
                match answer {
                    Ok((error, id)) if error.is_none() && id.id >= 0 => self.set_producer_id(id),
                    Ok((error, _)) => {
                        self.fail_producer_id(cx.now(), format!("the broker gives no producer id: {error}"))
                    }
                    Err(e) => self.fail_producer_id(cx.now(), format!("the broker's answer is invalid: {e}")),
                }
            }
            Some(RequestKind::Produce(slots)) => match messages::read_produce(version, body) {
                Ok(response) => {
                    self.nodes.throttle(node, cx.now(), response.throttle_ms);
                    let partitions = response.partitions.into_iter();
                    let mut results: BTreeMap<(Arc<str>, i32), (ErrorCode, Option<String>)> =
                        partitions.map(|p| ((p.topic, p.index), (p.error, p.error_message))).collect();
                    for key in slots {
                        let name = self.topics.get(&key.0).map(|topic| topic.name.clone());
                        let result = name.and_then(|name| results.remove(&(name, key.1)));
                        self.handle_batch_result(cx, key, result);
                    }
                }
                Err(e) => {
                    let error = format!("the broker's answer is invalid: {e}");
                    slots.into_iter().for_each(|key| self.handle_batch_lost(cx, key, &error));
                }
            },
            None => {}
        }
    }

    /// Handles what the broker says of one batch; `None` if it says nothing of it.
    fn handle_batch_result(&mut self, cx: &mut Cx<'_>, key: SlotKey, result: Option<(ErrorCode, Option<String>)>) {
        let Some((error, message)) = result else {
            return self.handle_batch_lost(cx, key, "the broker's answer does not have the partition");
        };
        self.end_flight(key);
        let text = |name: &str| {
            let message = message.as_deref().map_or_else(String::new, |message| format!(": {message}"));
            format!("error exporting to topic {name:?}: {error}{message}")
        };
        let text = self.topics.get(&key.0).map_or_else(String::new, |topic| text(&topic.name));
        let batch = self.partition_mut(key).and_then(|partition| partition.batch.as_mut());
        let Some(batch) = batch else { return self.schedule(cx.now(), key) };
        match error.class() {
            ErrorClass::None => {
                self.last_error = None;
                self.finish_batch(key, Ok(()));
            }
            class @ (ErrorClass::Retry | ErrorClass::RefreshMetadata) => {
                // After a timeout the batch may be in the log of the leader.
                batch.may_be_written |= matches!(error, ErrorCode(7 | 20));
                self.metadata.is_needed |= class == ErrorClass::RefreshMetadata;
                self.last_error = Some(error.to_string().into());
                self.pause(cx.now(), key);
            }
            ErrorClass::TooLarge if batch.records.len() > 1 => self.put_back(key, true),
            ErrorClass::TooLarge => self.finish_batch(key, Err(SendError::TooLarge(text))),
            ErrorClass::NewProducerId => {
                let producer = batch.producer;
                self.last_error = Some(error.to_string().into());
                self.forget_producer_id(producer);
                self.put_back(key, false);
                self.pause(cx.now(), key);
            }
            ErrorClass::Permanent => self.finish_batch(key, Err(SendError::Refused(text))),
        }
        self.schedule(cx.now(), key);
    }

    /// The connection has ended without an answer to a request.
    pub(super) fn handle_lost(&mut self, cx: &mut Cx<'_>, token: u64, error: &Rc<str>) {
        match self.requests.remove(&token) {
            Some(RequestKind::Metadata) => self.metadata.is_in_flight = false,
            Some(RequestKind::ProducerId) => self.is_producer_id_requested = false,
            Some(RequestKind::Produce(slots)) => {
                slots.into_iter().for_each(|key| self.handle_batch_lost(cx, key, error));
            }
            None => {}
        }
    }

    /// Whether a batch was written is not known: it is sent again as it is.
    fn handle_batch_lost(&mut self, cx: &mut Cx<'_>, key: SlotKey, error: &str) {
        self.end_flight(key);
        self.last_error = Some(error.into());
        self.metadata.is_needed = true;
        if let Some(batch) = self.partition_mut(key).and_then(|partition| partition.batch.as_mut()) {
            batch.may_be_written = true;
        }
        self.pause(cx.now(), key);
        self.schedule(cx.now(), key);
    }

    /// Requests an id, if batches need one and there is none.
    pub(super) fn advance_producer_id(&mut self, cx: &mut Cx<'_>) {
        let is_needed = self.config.is_idempotent() && self.producer_id.is_none() && !self.calls.is_empty();
        if !is_needed || self.is_producer_id_requested || self.producer_id_retry_at > cx.now() {
            return;
        }
        let Some(node) = self.nodes.any(cx) else { return };
        match self.nodes.version(node, ApiKey::InitProducerId) {
            Some(Ok(version)) => {
                let token = self.new_token(RequestKind::ProducerId);
                self.is_producer_id_requested = true;
                let request = messages::init_producer_id_request(version);
                let deadline = self.answer_deadline(cx.now());
                self.nodes.send(cx, (node, token), (ApiKey::InitProducerId, version), (request, true), deadline);
            }
            Some(Err(error)) => self.fail_producer_id(cx.now(), error),
            None => {}
        }
    }

    fn set_producer_id(&mut self, id: ProducerId) {
        self.producer_id = Some(id);
        self.pending_nodes.extend(self.due.keys());
    }

    fn fail_producer_id(&mut self, now: MonotonicTime, error: String) {
        self.producer_id_retry_at = now + PRODUCER_ID_PAUSE;
        self.last_error = Some(error.into());
    }

    /// The broker's state of the producer is not known any more: new batches have a new id.
    pub(super) fn forget_producer_id(&mut self, id: ProducerId) {
        if self.producer_id == Some(id) {
            self.producer_id = None;
        }
    }
}
