//! Fetch and ListOffsets: requests to the brokers that have partitions, and what their answers mean.
//!
//! Answers to fetch requests are read by jobs, because records may be compressed and have to be checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otelcore_pipeline::{Cx, JobResult, MonotonicTime};

use super::partitions::Position;
use super::{ANSWER_TIME, ConsumerEvent, ConsumerNotice, GroupConsumer, InitialOffset, PAUSES, PartitionId, Request};
use crate::error_code::{ErrorClass, ErrorCode};
use crate::messages::NO_TOPIC_ID;
use crate::messages::fetch::{self, EARLIEST, FIRST_WITH_IDS, FetchOptions, FetchPartition, FetchedTopic, LATEST};
use crate::record_batch::{FetchedRecords, decode_fetched};
use crate::versions::ApiKey;

/// The most partitions of a request.
const MAX_PARTITIONS: usize = 1000;
/// The records of a partition and of an answer are read up to so many bytes; the rest is fetched again.
const MAX_PLAIN_BYTES: usize = 16 << 20;
/// How long a broker waits for bytes while other partitions of it are not asked for, because the caller has their records.
const SHORT_WAIT: Duration = Duration::from_millis(20);
/// The pause after an error that does not pass by itself.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// What was read of a partition.
struct ReadPartition {
    id: u64,
    asked_offset: i64,
    error: ErrorCode,
    high_watermark: i64,
    preferred_replica: Option<i32>,
    diverging_end: Option<i64>,
    /// `None`: there was no time for it.
    records: Option<Result<FetchedRecords, String>>,
}

struct ReadAnswer {
    throttle_ms: u32,
    error: ErrorCode,
    partitions: Vec<ReadPartition>,
}

/// An answer that a job reads.
pub(super) struct DecodeJob {
    node: i32,
    partitions: Vec<(u64, i64)>,
    result: JobResult<Result<ReadAnswer, String>>,
}

impl GroupConsumer {
    /// Sends a broker what is due for it.
    pub(super) fn send_to_node(&mut self, cx: &mut Cx<'_>, node: i32) {
        let Some(work) = self.by_node.get(&node) else { return };
        let (wants_list, wants_fetch) =
            (!work.list.is_empty() && !work.has_list, !work.fetch.is_empty() && !work.has_fetch && !self.is_paused);
        if !wants_list && !wants_fetch {
            return;
        }
        if !self.fetch_nodes.can_send(node, cx.now()) {
            if !self.fetch_nodes.is_known(node) {
                self.topics.need();
            }
            return self.fetch_nodes.connect(cx, node);
        }
        if wants_list {
            self.send_list_offsets(cx, node);
        }
        if wants_fetch {
            self.send_fetch(cx, node);
        }
    }

    /// The version of a request; without one its partitions wait.
    fn version_or_pause(&mut self, now: MonotonicTime, node: i32, api: ApiKey, ids: &[u64]) -> Option<i16> {
        match self.fetch_nodes.version(node, api)? {
            Ok(version) => Some(version),
            Err(error) => {
                self.notice(ConsumerNotice::Group(error));
                ids.iter().for_each(|id| self.release(now, *id, Some(LONG_PAUSE)));
                None
            }
        }
    }

    fn send_list_offsets(&mut self, cx: &mut Cx<'_>, node: i32) {
        let now = cx.now();
        let ids: Vec<u64> = self.node_work(node).list.iter().take(MAX_PARTITIONS).copied().collect();
        let Some(version) = self.version_or_pause(now, node, ApiKey::ListOffsets, &ids) else { return };
        let uses_epoch = self.config.uses_leader_epoch;
        let asked: Vec<(Arc<str>, (i32, i32))> = ids
            .iter()
            .filter_map(|id| self.partitions.get(id))
            .map(|p| (p.topic.clone(), (p.index, if uses_epoch { p.leader_epoch } else { -1 })))
            .collect();
        let at = match self.config.initial_offset {
            InitialOffset::Earliest => EARLIEST,
            InitialOffset::Latest => LATEST,
        };
        let body = fetch::list_offsets_request(version, at, &fetch::by_topic(&asked));
        ids.iter().for_each(|id| self.take_for_request(*id));
        self.node_work(node).has_list = true;
        let token = self.new_token(Request::ListOffsets { node, partitions: ids });
        let deadline = now + ANSWER_TIME + self.config.max_fetch_wait;
        self.fetch_nodes.send(cx, (node, token), (ApiKey::ListOffsets, version), (body, true), deadline);
    }

    pub(super) fn handle_list_offsets(
        &mut self,
        cx: &mut Cx<'_>,
        (node, version): (i32, i16),
        ids: &[u64],
        body: &[u8],
    ) {
        let now = cx.now();
        self.node_work(node).has_list = false;
        let (throttle_ms, offsets) = match fetch::read_list_offsets(version, body) {
            Ok(read) => read,
            Err(error) => {
                self.notice(ConsumerNotice::Group(format!("the broker's offsets are invalid: {error}")));
                return ids.iter().for_each(|id| self.release(now, *id, Some(LONG_PAUSE)));
            }
        };
        self.fetch_nodes.throttle(node, now, throttle_ms);
        for found in offsets {
            let Some(id) = self.find_requested(ids, &found.topic, found.index) else { continue };
            if !found.error.is_none() || found.offset < 0 {
                self.fetch_failed(now, id, found.error);
                continue;
            }
            if let Some(partition) = self.partitions.get_mut(&id)
                && partition.position == Position::Reset
            {
                partition.position = Position::At(found.offset, -1);
            }
        }
        for id in ids {
            self.release(now, *id, None);
        }
    }

    fn send_fetch(&mut self, cx: &mut Cx<'_>, node: i32) {
        let now = cx.now();
        let work = self.node_work(node);
        let first = work.next_first;
        let ids: Vec<u64> =
            work.fetch.range(first..).chain(work.fetch.range(..first)).take(MAX_PARTITIONS).copied().collect();
        work.next_first = ids.first().map_or(0, |id| id + 1);
        let Some(version) = self.version_or_pause(now, node, ApiKey::Fetch, &ids) else { return };
        let uses_epoch = self.config.uses_leader_epoch;
        let mut asked = Vec::with_capacity(ids.len());
        let mut partitions = Vec::with_capacity(ids.len());
        let mut topic_ids = BTreeMap::new();
        for id in ids {
            let Some(partition) = self.partitions.get(&id) else { continue };
            let Position::At(offset, epoch) = partition.position else { continue };
            partitions.push((id, offset));
            topic_ids.insert(partition.topic.clone(), partition.topic_id);
            let epoch_of = |epoch: i32| if uses_epoch { epoch } else { -1 };
            asked.push((
                partition.topic.clone(),
                FetchPartition {
                    index: partition.index,
                    leader_epoch: epoch_of(partition.leader_epoch),
                    offset,
                    last_epoch: epoch_of(epoch),
                },
            ));
        }
        partitions.iter().for_each(|(id, _)| self.take_for_request(*id));
        let has_held = self.partitions.values().any(|partition| partition.is_held && partition.leader == Some(node));
        let config = self.config.clone();
        let wait = if has_held { config.max_fetch_wait.min(SHORT_WAIT) } else { config.max_fetch_wait };
        let options = FetchOptions {
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: config.min_fetch_bytes,
            max_bytes: config.max_fetch_bytes,
            max_partition_bytes: config.max_partition_bytes,
            rack_id: &config.rack_id,
        };
        // A cluster that was upgraded may have topics without ids.
        let has_all_ids = topic_ids.values().all(|id| *id != NO_TOPIC_ID);
        let version = if has_all_ids { version } else { version.min(FIRST_WITH_IDS - 1) };
        let id_of = |topic: &str| topic_ids.get(topic).copied().unwrap_or(NO_TOPIC_ID);
        let body = fetch::fetch_request(version, options, &fetch::by_topic(&asked), id_of);
        self.node_work(node).has_fetch = true;
        let token = self.new_token(Request::Fetch { node, partitions, sent_at: now });
        let deadline = now + wait + ANSWER_TIME;
        self.fetch_nodes.send(cx, (node, token), (ApiKey::Fetch, version), (body, true), deadline);
    }

    /// Gives an answer to a job.
    pub(super) fn handle_fetch(
        &mut self,
        cx: &mut Cx<'_>,
        (node, version): (i32, i16),
        partitions: Vec<(u64, i64)>,
        sent_at: MonotonicTime,
        body: Bytes,
    ) {
        // Until the job has ended the next request would ask for other partitions only, perhaps for such as have nothing more, and the
        // broker would wait for them.
        self.events.push_back(ConsumerEvent::Answered { node, latency: cx.now().since(sent_at) });
        let mut asked = BTreeMap::new();
        for (id, offset) in &partitions {
            if let Some(partition) = self.partitions.get(id) {
                let topic = match version >= FIRST_WITH_IDS {
                    true => FetchedTopic::Id(partition.topic_id),
                    false => FetchedTopic::Name(partition.topic.to_string()),
                };
                asked.insert((topic, partition.index), (*id, *offset));
            }
        }
        let key = self.next_job_key;
        self.next_job_key = (key + 1).max(super::FIRST_JOB_KEY) % super::FIRST_FETCH_KEY;
        let result = cx.run_job(key, move || read_answer(version, &body, &asked));
        self.jobs.insert(key, DecodeJob { node, partitions, result });
    }

    /// A job has ended.
    pub(super) fn handle_decoded(&mut self, cx: &mut Cx<'_>, key: u64) {
        if !self.jobs.get(&key).is_some_and(|job| job.result.has_ended()) {
            return;
        }
        let Some(job) = self.jobs.remove(&key) else { return };
        let now = cx.now();
        let DecodeJob { node, partitions, result } = job;
        self.node_work(node).has_fetch = false;
        let answer = result.take().unwrap_or_else(|| Err("the answer can't be read".to_owned()));
        let answer = answer.and_then(|answer| match answer.error {
            ErrorCode::NONE => Ok(answer),
            error => Err(error.to_string()),
        });
        match answer {
            Ok(answer) => {
                self.fetch_nodes.throttle(node, now, answer.throttle_ms);
                for read in answer.partitions {
                    self.handle_read_partition(now, node, read);
                }
            }
            Err(error) => {
                self.notice(ConsumerNotice::Group(format!("records can't be fetched: {error}")));
                for (id, _) in &partitions {
                    if let Some(partition) = self.partitions.get_mut(id) {
                        partition.retry_at = now + PAUSES.0;
                    }
                }
            }
        }
        for (id, _) in partitions {
            self.release(now, id, None);
        }
        self.pending_nodes.insert(node);
    }

    fn handle_read_partition(&mut self, now: MonotonicTime, node: i32, read: ReadPartition) {
        let Some(partition) = self.partitions.get_mut(&read.id).filter(|partition| !partition.is_stopped) else {
            return;
        };
        if !matches!(partition.position, Position::At(offset, _) if offset == read.asked_offset) {
            return;
        }
        if let Some(replica) = read.preferred_replica {
            partition.preferred = Some(replica).filter(|replica| Some(*replica) != partition.leader);
        }
        let (topic, index) = (partition.topic.clone(), partition.index);
        if let Some(end) = read.diverging_end {
            // The log was truncated: what was read behind its end is not there any more.
            partition.position = Position::At(end.min(read.asked_offset), -1);
            let offset = read.asked_offset;
            return self.notice(ConsumerNotice::OffsetReset { topic, index, offset });
        }
        if !read.error.is_none() {
            return self.fetch_failed(now, read.id, read.error);
        }
        match read.records {
            Some(Ok(records)) if records.next_offset > read.asked_offset => {
                partition.position = Position::At(records.next_offset, records.leader_epoch);
                partition.is_held = true;
                let (partition, high_watermark) = (PartitionId(read.id), read.high_watermark);
                self.events.push_back(ConsumerEvent::Fetched { partition, records, high_watermark, node });
            }
            Some(Ok(_)) | None => {}
            Some(Err(error)) => {
                partition.retry_at = now + LONG_PAUSE;
                self.notice(ConsumerNotice::Fetch { topic, index, error });
            }
        }
    }

    /// A broker has refused to give an offset or records of a partition.
    fn fetch_failed(&mut self, now: MonotonicTime, id: u64, error: ErrorCode) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (topic, index) = (partition.topic.clone(), partition.index);
        let was_preferred = partition.preferred.take().is_some();
        if error == ErrorCode::OFFSET_OUT_OF_RANGE {
            // A replica may be behind the leader; the leader decides.
            if !was_preferred && let Position::At(offset, _) = partition.position {
                partition.position = Position::Reset;
                self.notice(ConsumerNotice::OffsetReset { topic, index, offset });
            }
            return;
        }
        match error.class() {
            ErrorClass::RefreshMetadata => {
                partition.retry_at = now + PAUSES.0;
                self.topics.need();
            }
            ErrorClass::Retry | ErrorClass::None => partition.retry_at = now + PAUSES.0,
            ErrorClass::Permanent | ErrorClass::TooLarge | ErrorClass::NewProducerId => {
                partition.retry_at = now + LONG_PAUSE;
                self.notice(ConsumerNotice::Fetch { topic, index, error: error.to_string() });
            }
        }
    }
}

/// Reads an answer, for a job. Partitions that were not asked for are ignored.
fn read_answer(
    version: i16,
    body: &Bytes,
    asked: &BTreeMap<(FetchedTopic, i32), (u64, i64)>,
) -> Result<ReadAnswer, String> {
    let response = fetch::read_fetch(version, body).map_err(|error| error.to_string())?;
    let mut answer =
        ReadAnswer { throttle_ms: response.throttle_ms, error: ErrorCode(response.error), partitions: Vec::new() };
    let mut left = MAX_PLAIN_BYTES;
    for fetched in response.partitions {
        let Some((id, offset)) = asked.get(&(fetched.topic, fetched.index)).copied() else { continue };
        let records =
            (left > 0).then(|| decode_fetched(&fetched.records, offset, left).map_err(|error| error.to_string()));
        if let Some(Ok(records)) = &records {
            left = left.saturating_sub(records.plain_bytes);
        }
        answer.partitions.push(ReadPartition {
            id,
            asked_offset: offset,
            error: fetched.error,
            high_watermark: fetched.high_watermark,
            preferred_replica: fetched.preferred_replica,
            diverging_end: fetched.diverging_end,
            records,
        });
    }
    Ok(answer)
}
