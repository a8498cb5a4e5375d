//! The messages of one signal: from the records of the client to payloads, and from outcomes to marks.
//!
//! Records of a partition wait in their order and are decoded by jobs, some at a time. What is on its way is limited; beyond that nothing is
//! fetched. A message that is refused for now is sent again; the offsets before it are all that is committed meanwhile.

mod notices;
mod outcomes;
mod partition;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_kafka_client::{ConsumerEvent, FetchedRecord, FetchedRecords, GroupConsumer, PartitionId};
use otelcore_pdata::Rope;
use otelcore_pipeline::{
    BuildContext, Cx, Event, Held, JobResult, Logger, Metadata, MonotonicTime, Payload, PeriodicCount, PipelineInput,
    ReceiverMetrics, StartError,
};

use crate::config::KafkaReceiverConfig;
use crate::decode::{MessageDecoder, MessageError};
use crate::metrics::KafkaMetrics;
use partition::PartitionState;

/// The local key under which the next turn goes on.
const WORK: u64 = 1 << 62;
/// The local key of the timer of messages that are sent again.
const RETRY: u64 = WORK + 1;
/// The local key of the timer after a refusal of a limiter.
const REFUSAL: u64 = WORK + 2;
/// The local keys of jobs.
const FIRST_JOB: u64 = WORK + 16;

/// Messages on their way and their bytes: nothing more is decoded above.
const MAX_IN_FLIGHT: usize = 20_000;
const MAX_IN_FLIGHT_BYTES: u64 = 64 << 20;
/// Bytes of records that wait: nothing more is fetched above.
const MAX_BUFFERED_BYTES: u64 = 64 << 20;
/// Messages and bytes that a job decodes.
const MAX_JOB_MESSAGES: usize = 128;
const MAX_JOB_BYTES: usize = 256 << 10;
/// The pauses between attempts, where `error_backoff` says nothing.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// The pause after a refusal of a limiter.
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);
/// How often each kind of notice is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A message of which the outcome is not known.
struct InFlight {
    partition: PartitionId,
    offset: i64,
    body: Rope,
    metadata: Arc<Metadata>,
    held: Held,
    first_sent: MonotonicTime,
    attempts: u32,
    /// When it is sent again; `None` while it is on its way.
    retry_at: Option<MonotonicTime>,
}

/// A message that a job has decoded.
struct Decoded {
    record: FetchedRecord,
    held: Held,
    result: Result<Rope, MessageError>,
}

/// See the module.
pub(crate) struct SignalConsumer {
    part: u32,
    consumer: GroupConsumer,
    decoder: Arc<MessageDecoder>,
    config: Rc<KafkaReceiverConfig>,
    partitions: BTreeMap<PartitionId, PartitionState>,
    /// Partitions with records that can be decoded.
    ready: BTreeSet<PartitionId>,
    /// The partition of each job, and the bytes that it has.
    jobs: BTreeMap<u64, (PartitionId, u64, JobResult<Vec<Decoded>>)>,
    next_job: u64,
    in_flight: BTreeMap<u64, InFlight>,
    in_flight_bytes: u64,
    buffered_bytes: u64,
    next_request: u64,
    retries: BTreeSet<(MonotonicTime, u64)>,
    /// Nothing is decoded before, because a limiter refuses.
    refused_until: MonotonicTime,
    is_closing: bool,
    receiver_metrics: ReceiverMetrics,
    metrics: KafkaMetrics,
    log: Logger,
    group_notices: PeriodicCount,
    message_notices: PeriodicCount,
}

impl std::fmt::Debug for SignalConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignalConsumer").field("signal", &self.decoder.signal).finish_non_exhaustive()
    }
}

impl SignalConsumer {
    /// `part` is its number among the parts of the receiver.
    pub(crate) fn new(
        part: u32,
        consumer: GroupConsumer,
        decoder: MessageDecoder,
        config: Rc<KafkaReceiverConfig>,
        context: &BuildContext<'_>,
    ) -> Self {
        let measures_delay = config.telemetry.metrics.kafka_receiver_records_delay.enabled;
        let signals = [decoder.signal];
        Self {
            part,
            consumer,
            receiver_metrics: ReceiverMetrics::new(context.telemetry, &context.id.to_string(), "kafka", &signals),
            decoder: Arc::new(decoder),
            config,
            partitions: BTreeMap::new(),
            ready: BTreeSet::new(),
            jobs: BTreeMap::new(),
            next_job: FIRST_JOB,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            buffered_bytes: 0,
            next_request: 0,
            retries: BTreeSet::new(),
            refused_until: MonotonicTime(0),
            is_closing: false,
            metrics: KafkaMetrics::new(context.telemetry, measures_delay),
            log: context.log.clone(),
            group_notices: PeriodicCount::new(LOG_INTERVAL),
            message_notices: PeriodicCount::new(LOG_INTERVAL),
        }
    }

    pub(crate) fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.consumer.start(cx)?;
        cx.request_ready(WORK);
        Ok(())
    }

    pub(crate) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        input: &mut PipelineInput<'_>,
    ) {
        match local {
            RETRY => self.send_again(cx, input),
            WORK.. if local < FIRST_JOB => {}
            FIRST_JOB.. => self.handle_decoded(cx, local, input),
            _ => self.consumer.handle_event(cx, local, event),
        }
        self.advance(cx, input);
    }

    /// Does what can be done now.
    fn advance(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        loop {
            while let Some(event) = self.consumer.poll_event() {
                self.handle_consumer_event(cx, event, input);
            }
            self.start_jobs(cx, input);
            let is_full = self.buffered_bytes >= MAX_BUFFERED_BYTES || self.in_flight_bytes >= MAX_IN_FLIGHT_BYTES;
            self.consumer.set_paused(cx, is_full || self.refused_until > cx.now());
            match self.consumer.poll_event() {
                Some(event) => self.handle_consumer_event(cx, event, input),
                None => break,
            }
        }
    }

    fn handle_consumer_event(&mut self, cx: &mut Cx<'_>, event: ConsumerEvent, input: &PipelineInput<'_>) {
        match event {
            ConsumerEvent::Assigned { partition, topic, index } => {
                self.metrics.partitions_started.add(1);
                let metrics = self.metrics.partition(self.decoder.signal, &topic, index);
                self.partitions.insert(partition, PartitionState::new(topic, index, metrics));
            }
            ConsumerEvent::Fetched { partition, records, high_watermark, node } => {
                self.handle_fetched(cx, partition, records, (high_watermark, node), input);
            }
            ConsumerEvent::Revoking { partition } => {
                if let Some(state) = self.partitions.get_mut(&partition) {
                    state.is_stopped = true;
                    self.buffered_bytes = self.buffered_bytes.saturating_sub(state.clear());
                    self.ready.remove(&partition);
                }
                self.finish_if_idle(cx, partition);
            }
            ConsumerEvent::Ended { partition, .. } => {
                self.metrics.partitions_closed.add(1);
                self.ready.remove(&partition);
                if let Some(mut state) = self.partitions.remove(&partition) {
                    self.buffered_bytes = self.buffered_bytes.saturating_sub(state.clear());
                }
            }
            ConsumerEvent::Answered { node, latency } => self.metrics.record_latency(node, latency.as_secs_f64()),
            ConsumerEvent::Notice(notice) => self.log_notice(cx.now(), &notice),
        }
    }

    fn handle_fetched(
        &mut self,
        cx: &mut Cx<'_>,
        id: PartitionId,
        records: FetchedRecords,
        (high_watermark, node): (i64, i32),
        input: &PipelineInput<'_>,
    ) {
        let Some(state) = self.partitions.get_mut(&id) else { return };
        let now_ms = i64::try_from(cx.wall_time().0 / 1_000_000).unwrap_or(i64::MAX);
        state.metrics.record_fetched(node, &records, now_ms);
        state.high_watermark = high_watermark;
        let held = input.budget().hold(records.plain_bytes as u64);
        self.buffered_bytes += state.fill(records, held);
        self.ready.insert(id);
    }

    /// A record is done with.
    fn finish(&mut self, cx: &mut Cx<'_>, id: PartitionId, offset: i64) {
        let Some(state) = self.partitions.get_mut(&id) else { return };
        if let Some((next_offset, epoch)) = state.window.finish(offset) {
            state.metrics.offset_lag.set((state.high_watermark - next_offset).max(0).unsigned_abs());
            self.consumer.mark(cx, id, next_offset, epoch);
        }
    }

    /// A partition that is given up, and of which nothing is on its way, is given back.
    fn finish_if_idle(&mut self, cx: &mut Cx<'_>, id: PartitionId) {
        if self.partitions.get(&id).is_some_and(|state| state.is_stopped && state.is_idle()) {
            self.consumer.finish_partition(cx, id);
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT && self.in_flight_bytes < MAX_IN_FLIGHT_BYTES
    }

    /// Gives records of partitions to jobs.
    fn start_jobs(&mut self, cx: &mut Cx<'_>, input: &PipelineInput<'_>) {
        let now = cx.now();
        while self.has_room()
            && self.refused_until <= now
            && let Some(id) = self.ready.pop_first()
        {
            let Some(state) = self.partitions.get_mut(&id) else { continue };
            if state.is_decoding || state.is_stopped || state.is_blocked {
                continue;
            }
            if state.waiting.is_empty() {
                if let Some(offset) = state.take_tail() {
                    self.finish(cx, id, offset);
                }
                self.consumer.request_more(cx, id);
                continue;
            }
            if input.refusal(self.decoder.signal).is_some() {
                self.ready.insert(id);
                return self.pause(cx);
            }
            let (chunk, of_chunk) = state.take(MAX_JOB_MESSAGES, MAX_JOB_BYTES);
            state.is_decoding = true;
            self.buffered_bytes = self.buffered_bytes.saturating_sub(of_chunk);
            self.in_flight_bytes += of_chunk;
            let (decoder, wall_time) = (self.decoder.clone(), cx.wall_time().0);
            let budget = input.budget().clone();
            let key = self.next_job;
            self.next_job = if key >= FIRST_JOB + (1 << 31) { FIRST_JOB } else { key + 1 };
            let job = cx.run_job(key, move || {
                let decode = |record: FetchedRecord| {
                    let mut held = budget.hold(record.record.value.len() as u64);
                    let (value, headers) = (&record.record.value, &record.record.headers);
                    let result = decoder.decode(value, headers, wall_time, &mut held);
                    Decoded { record, held, result }
                };
                chunk.into_iter().map(decode).collect()
            });
            self.jobs.insert(key, (id, of_chunk, job));
        }
    }

    /// Nothing is decoded or fetched for a while, because there is no room.
    fn pause(&mut self, cx: &mut Cx<'_>) {
        self.refused_until = cx.now() + REFUSAL_PAUSE;
        cx.set_timer(REFUSAL, self.refused_until);
    }

    /// A job has ended.
    fn handle_decoded(&mut self, cx: &mut Cx<'_>, key: u64, input: &mut PipelineInput<'_>) {
        if !self.jobs.get(&key).is_some_and(|(_, _, job)| job.has_ended()) {
            return;
        }
        let Some((id, of_chunk, job)) = self.jobs.remove(&key) else { return };
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(of_chunk);
        let Some(state) = self.partitions.get_mut(&id) else { return };
        state.is_decoding = false;
        let Some(decoded) = job.take() else {
            // What it had is missing: nothing behind it is committed.
            state.is_blocked = true;
            self.log.error("decoding messages has ended by an error of the collector", &[]);
            return self.finish_if_idle(cx, id);
        };
        let mut decoded = decoded.into_iter();
        while let Some(Decoded { record, held, result }) = decoded.next() {
            let Some(state) = self.partitions.get_mut(&id) else { return };
            if state.is_stopped || state.is_blocked {
                break;
            }
            match result {
                Ok(rope) => self.send(cx, id, &record, held, rope, input),
                Err(MessageError::Invalid(why)) => self.handle_invalid(cx, id, record.offset, &why),
                Err(MessageError::NoRoom) => {
                    // It is decoded again, with those behind it, when there is room.
                    let again: Vec<FetchedRecord> =
                        std::iter::once(record).chain(decoded.by_ref().map(|decoded| decoded.record)).collect();
                    let bytes: usize = again.iter().map(|again| again.record.encoded_len()).sum();
                    self.buffered_bytes += bytes as u64;
                    state.put_back(again, bytes as u64);
                    self.pause(cx);
                }
            }
        }
        self.ready.insert(id);
        self.finish_if_idle(cx, id);
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        id: PartitionId,
        record: &FetchedRecord,
        held: Held,
        body: Rope,
        input: &mut PipelineInput<'_>,
    ) {
        let Some(state) = self.partitions.get_mut(&id) else { return };
        state.metrics.current_offset.set(record.offset.max(0).unsigned_abs());
        state.on_their_way += 1;
        let metadata = Arc::new(state.metadata(record));
        let number = self.next_request;
        self.next_request = (number + 1) & u64::from(u32::MAX);
        let entry = InFlight {
            partition: id,
            offset: record.offset,
            body,
            metadata,
            held,
            first_sent: cx.now(),
            attempts: 0,
            retry_at: None,
        };
        self.in_flight_bytes += bytes_of(&entry);
        let payload = self.payload(&entry);
        self.in_flight.insert(number, entry);
        input.send(cx, self.request(number), payload);
    }

    /// The number of a request of all parts.
    fn request(&self, number: u64) -> u64 {
        (u64::from(self.part) << 32) | number
    }

    fn payload(&self, entry: &InFlight) -> Payload {
        Payload {
            signal: self.decoder.signal,
            body: entry.body.clone(),
            metadata: Some(entry.metadata.clone()),
            held: entry.held.clone(),
        }
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.is_closing = true;
        self.consumer.close(cx, deadline);
        cx.request_ready(WORK);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.consumer.is_closed() && self.in_flight.is_empty()
    }

    /// Items of messages that are on their way.
    pub(crate) fn held_items(&self) -> u64 {
        self.in_flight.values().map(|entry| u64::from(entry.body.items())).sum()
    }
}

/// What a message on its way counts.
fn bytes_of(entry: &InFlight) -> u64 {
    entry.body.len() as u64 + entry.metadata.memory_size()
}
