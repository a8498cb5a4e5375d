//! The machine between senders, the log on disk and the queue in memory.
//!
//! Owns which payloads wait, which are being written and which are in memory. Performs no IO and reads no clock.

mod events;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Ack, Budget, Cx, Event, Held, JobResult, LossReason, Metadata, MonotonicTime, Outcome, PRIVATE_DIR, Payload, Sizer,
    StorageLocation, StoredItemCounts, StoredQueue, StoredQueueContext, StoredQueueStatus, UsedMetadata,
};
use otelcore_storage::{Log, LogConfig, LogEvent, Record, RecordMeta, Refused};

use self::window::Window;
use crate::context::encode_metadata;
use crate::metrics::StoredQueueMetrics;
use crate::reports::Reports;

/// The local keys beside those of the log's jobs: the regular work, events of the log that came at the end of a turn, and
/// the job that renames a directory.
const TICK_KEY: u64 = 8;
const EVENTS_KEY: u64 = 9;
const RECREATE_KEY: u64 = 10;

/// How often failed operations are tried again, marks are synced and the age is measured.
const TICK: Duration = Duration::from_secs(1);

/// How many bytes of payloads wait while the files are being opened, or for room.
const MAX_WAITING_BYTES: u64 = 64 << 20;

/// How many bytes may wait to be written.
const MAX_PENDING_BYTES: usize = 64 << 20;

/// How much one read takes from the disk.
const READ_BYTES: u64 = 4 << 20;

/// How far the files are.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// They are being opened.
    Opening,
    Open,
    /// They could not be opened, and are tried again; the text is for senders.
    Failed(String),
}

/// A payload that is being written.
#[derive(Debug)]
struct PendingPayload {
    meta: RecordMeta,
    body: Bytes,
    metadata: Option<Arc<Metadata>>,
    held: Held,
    ack: Ack,
}

/// A record that is given up.
#[derive(Debug)]
struct Burial {
    record: Record,
    reason: String,
    /// The log has it.
    is_begun: bool,
}

/// A queue on disk; see the crate.
#[derive(Debug)]
pub struct DiskQueue {
    location: StorageLocation,
    signal: Signal,
    sizer: Sizer,
    capacity: u64,
    block_on_overflow: bool,
    used_metadata: UsedMetadata,
    budget: Arc<Budget>,
    metrics: StoredQueueMetrics,
    reports: Reports,
    /// `None` before the start.
    storage: Option<Log>,
    phase: Phase,
    /// When opening began that has not succeeded.
    opening_since: MonotonicTime,
    /// Another process has the files, and may be about to end.
    waits_for_lock: bool,
    recreation: Option<JobResult<Result<std::path::PathBuf, String>>>,
    /// Payloads that are not written yet, and their bytes.
    waiting: VecDeque<(Payload, Ack)>,
    waiting_bytes: u64,
    waiting_items: u64,
    pending: BTreeMap<u64, PendingPayload>,
    pending_items: u64,
    window: Window,
    burials: BTreeMap<u64, Burial>,
    /// All durable records below this sequence have been seen here.
    durable: u64,
    /// There are durable records on disk only, from `next_read` on.
    is_behind: bool,
    next_read: u64,
    /// Where the next read begins instead, if records were given back during the current one.
    returned_from: Option<u64>,
    has_read_failed: bool,
    /// Items and bytes that are pending or not delivered. Those of a recovery are estimates.
    items: u64,
    bytes: u64,
    /// Items of `burials`.
    burial_items: u64,
    counts: StoredItemCounts,
    late_events: VecDeque<LogEvent>,
    has_tick: bool,
    is_draining: bool,
    /// In a shutdown, a record could not be delivered: no more are given out.
    has_stopped: bool,
    is_closed: bool,
}

impl DiskQueue {
    /// A queue whose files are at `location`. Nothing is opened yet.
    #[must_use]
    pub fn new(location: StorageLocation, context: StoredQueueContext<'_>) -> Self {
        let metrics = StoredQueueMetrics::new(&context);
        Self {
            reports: Reports::new(context.log, &location.directory),
            signal: context.signal,
            sizer: context.config.sizer,
            capacity: context.config.size(),
            block_on_overflow: context.config.block_on_overflow,
            used_metadata: context.used_metadata,
            budget: context.budget.clone(),
            metrics,
            location,
            storage: None,
            phase: Phase::Opening,
            opening_since: MonotonicTime::default(),
            waits_for_lock: false,
            recreation: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_items: 0,
            pending: BTreeMap::new(),
            pending_items: 0,
            window: Window::default(),
            burials: BTreeMap::new(),
            durable: 0,
            is_behind: false,
            next_read: 0,
            returned_from: None,
            has_read_failed: false,
            items: 0,
            bytes: 0,
            burial_items: 0,
            counts: StoredItemCounts::default(),
            late_events: VecDeque::new(),
            has_tick: false,
            is_draining: false,
            has_stopped: false,
            is_closed: false,
        }
    }

    fn log_config(&self) -> LogConfig {
        LogConfig {
            // Delivered records count until their file is removed.
            max_bytes: (self.sizer == Sizer::Bytes)
                .then(|| self.capacity.saturating_add(self.capacity / 4).saturating_add(64 << 20)),
            min_free_bytes: self.location.min_free_bytes,
            max_pending_bytes: MAX_PENDING_BYTES,
            fsync: self.location.fsync,
            create_directory: true,
            directory_mode: self.location.root_mode.unwrap_or(PRIVATE_DIR),
            ..LogConfig::default()
        }
    }

    // ---- what senders offer ------------------------------------------------------------------------------------

    /// How many records are durable and not delivered. Zero before the files are open.
    #[must_use]
    pub fn stored_records(&self) -> u64 {
        self.storage.as_ref().map_or(0, |storage| storage.stats().records)
    }

    /// What counts for the capacity, in units of the sizer.
    fn size(&self) -> u64 {
        match self.sizer {
            Sizer::Requests => self.stored_records().saturating_add(self.pending.len() as u64),
            Sizer::Items => self.items,
            Sizer::Bytes => self.bytes,
        }
    }

    fn has_room(&self, payload: &Payload) -> bool {
        self.size().saturating_add(self.sizer.size_of(payload)) <= self.capacity
    }

    fn refuse(&self, payload: &Payload, ack: Ack, outcome: Outcome) {
        self.metrics.queue.enqueue_failed.add(u64::from(payload.items()));
        ack.settle(outcome);
    }

    fn wait(&mut self, payload: Payload, ack: Ack, refusal: &str) {
        let bytes = self.waiting_bytes.saturating_add(payload.body.len() as u64);
        if bytes > MAX_WAITING_BYTES && !self.waiting.is_empty() {
            return self.refuse(&payload, ack, Outcome::retry(refusal.to_owned()));
        }
        self.waiting_bytes = bytes;
        self.waiting_items = self.waiting_items.saturating_add(u64::from(payload.items()));
        self.waiting.push_back((payload, ack));
    }

    /// Passes a payload to the log.
    fn append(&mut self, cx: &Cx<'_>, payload: Payload, ack: Ack) {
        let Some(storage) = &mut self.storage else { return };
        let (body, held) = whole_body(&payload);
        let metadata = payload.metadata.as_ref().filter(|_| !self.used_metadata.is_empty());
        let metadata = metadata.map(|metadata| Arc::new(metadata.select(&self.used_metadata)));
        let context = encode_metadata(metadata.as_deref());
        let meta = RecordMeta { kind: self.signal as u8, items: payload.items(), time: cx.wall_time(), context };
        match storage.append(meta.clone(), body.clone()) {
            Ok(sequence) => {
                self.items = self.items.saturating_add(u64::from(meta.items));
                self.bytes = self.bytes.saturating_add(body.len() as u64);
                self.pending_items = self.pending_items.saturating_add(u64::from(meta.items));
                self.pending.insert(sequence, PendingPayload { meta, body, metadata, held, ack });
            }
            Err(refused) => {
                let outcome = match &refused {
                    Refused::TooLarge { .. } => Outcome::permanent(refused.to_string()),
                    Refused::Full { .. } => Outcome::retry("sending queue is full"),
                    Refused::Busy(_) | Refused::Trouble(_) | Refused::NotOpen => Outcome::retry(refused.to_string()),
                };
                self.refuse(&payload, ack, outcome);
            }
        }
    }

    /// Writes payloads that wait, as far as there is room.
    fn admit_waiting(&mut self, cx: &Cx<'_>) {
        while self.phase == Phase::Open
            && let Some((payload, _)) = self.waiting.front()
        {
            let has_room = self.has_room(payload);
            if !has_room && self.block_on_overflow {
                return;
            }
            let Some((payload, ack)) = self.waiting.pop_front() else { return };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(payload.body.len() as u64);
            self.waiting_items = self.waiting_items.saturating_sub(u64::from(payload.items()));
            if has_room {
                self.append(cx, payload, ack);
            } else {
                self.refuse(&payload, ack, Outcome::retry("sending queue is full"));
            }
        }
    }

    fn refuse_waiting(&mut self, text: &str) {
        (self.waiting_bytes, self.waiting_items) = (0, 0);
        for (payload, ack) in std::mem::take(&mut self.waiting) {
            self.refuse(&payload, ack, Outcome::retry(text.to_owned()));
        }
    }

    // ---- what is given up --------------------------------------------------------------------------------------

    fn bury(&mut self, now: MonotonicTime, record: Record, reason: String) {
        let sequence = record.sequence;
        self.burial_items = self.burial_items.saturating_add(u64::from(record.meta.items));
        self.burials.insert(sequence, Burial { record, reason, is_begun: false });
        self.begin_burial(now, sequence);
    }

    /// Passes a record that is given up to the log. If the folder is full, the record is dropped.
    fn begin_burial(&mut self, now: MonotonicTime, sequence: u64) {
        let (Some(storage), Some(burial)) = (&mut self.storage, self.burials.get_mut(&sequence)) else { return };
        match storage.bury(burial.record.clone(), &burial.reason) {
            Ok(()) => burial.is_begun = true,
            Err(refused @ (Refused::Full { .. } | Refused::TooLarge { .. })) => {
                storage.mark_delivered(sequence..sequence.saturating_add(1));
                if let Some(burial) = self.burials.remove(&sequence) {
                    let items = u64::from(burial.record.meta.items);
                    self.reports.dead_is_full(now, items, &refused.to_string(), &burial.reason);
                    self.burial_items = self.burial_items.saturating_sub(items);
                    self.release(items, burial.record.body.len() as u64);
                }
            }
            // The next tick tries again.
            Err(Refused::Busy(_) | Refused::Trouble(_) | Refused::NotOpen) => {}
        }
    }

    /// Counts a record less.
    fn release(&mut self, items: u64, bytes: u64) {
        // What a recovery has found is an estimate: it was more, or it was less.
        let missing = items.saturating_sub(self.items);
        self.counts.recovered = self.counts.recovered.saturating_add(missing);
        (self.items, self.bytes) = (self.items.saturating_sub(items), self.bytes.saturating_sub(bytes));
        if self.pending.is_empty() && self.burials.is_empty() && self.stored_records() == 0 {
            self.counts.damaged = self.counts.damaged.saturating_add(self.items);
            (self.items, self.bytes) = (0, 0);
        }
    }

    // ---- what goes to the exporter -----------------------------------------------------------------------------

    /// Begins to read what is on disk only, if there is room in memory for it.
    fn request_read(&mut self) {
        let is_wanted = self.is_behind && !self.is_draining && !self.has_read_failed && self.phase == Phase::Open;
        let limit = self.window_limit();
        if let Some(storage) = self.storage.as_mut().filter(|_| is_wanted && self.window.wants_more(limit))
            && !storage.is_reading()
        {
            let bytes = limit.saturating_sub(self.window.bytes()).min(READ_BYTES);
            storage.read(self.next_read, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    /// How many bytes may be in memory: a part of what the memory limiter allows.
    fn window_limit(&self) -> u64 {
        window::MAX_BYTES.min(self.budget.admission_limit() / 8)
    }

    // ---- time --------------------------------------------------------------------------------------------------

    fn tick(&mut self, cx: &Cx<'_>) {
        let Some(storage) = &mut self.storage else { return };
        if storage.has_unsynced_marks() {
            storage.sync_marks();
        }
        let has_failed = matches!(self.phase, Phase::Failed(_)) && self.recreation.is_none();
        if storage.trouble().is_some() || has_failed || std::mem::take(&mut self.waits_for_lock) {
            storage.retry();
        }
        self.has_read_failed = false;
        let waiting: Vec<u64> =
            self.burials.iter().filter(|(_, burial)| !burial.is_begun).map(|(sequence, _)| *sequence).collect();
        waiting.into_iter().for_each(|sequence| self.begin_burial(cx.now(), sequence));
        let oldest = self.window.oldest().map_or(0, |time| cx.wall_time().0.saturating_sub(time.0) / 1_000_000_000);
        self.metrics.oldest_age.set(oldest);
    }

    fn needs_tick(&self) -> bool {
        let Some(storage) = &self.storage else { return false };
        !self.is_closed
            && (storage.has_unsynced_marks()
                || storage.trouble().is_some()
                || matches!(self.phase, Phase::Failed(_))
                || self.has_read_failed
                || self.waits_for_lock
                || self.burials.values().any(|burial| !burial.is_begun)
                || self.window.oldest().is_some())
    }
}

impl StoredQueue for DiskQueue {
    fn start(&mut self, cx: &mut Cx<'_>) {
        let random = [cx.random(), cx.random()];
        self.storage = Some(Log::new(&self.location.directory, self.log_config(), random));
        self.opening_since = cx.now();
    }

    fn offer(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack) {
        if payload.items() == 0 {
            return ack.settle(Outcome::Delivered);
        }
        self.metrics.queue.record_offer(u64::from(payload.items()), payload.body.len() as u64);
        if self.sizer.size_of(&payload) > self.capacity {
            return self.refuse(&payload, ack, Outcome::permanent("element size too large"));
        }
        match &self.phase {
            Phase::Failed(text) => {
                let text = text.clone();
                self.refuse(&payload, ack, Outcome::retry(text));
            }
            Phase::Opening => self.wait(payload, ack, "the queue on disk is being opened"),
            Phase::Open if self.waiting.is_empty() && self.has_room(&payload) => self.append(cx, payload, ack),
            Phase::Open if self.block_on_overflow && !self.is_draining => {
                self.wait(payload, ack, "sending queue is full");
            }
            Phase::Open => self.refuse(&payload, ack, Outcome::retry("sending queue is full")),
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: &Event<'_>) {
        match local {
            TICK_KEY => {
                self.has_tick = false;
                self.tick(cx);
            }
            RECREATE_KEY => self.recreation_ended(),
            _ => {}
        }
        if let Some(storage) = &mut self.storage {
            storage.handle_job_ends();
        }
        self.handle_log_events(cx);
        self.admit_waiting(cx);
    }

    fn poll_payload(&mut self, _: &mut Cx<'_>) -> Option<(u64, Payload)> {
        if self.has_stopped { None } else { self.window.poll_ready() }
    }

    fn handle_outcome(&mut self, cx: &mut Cx<'_>, record: u64, outcome: Outcome) {
        let Some((meta, body)) = self.window.remove(record) else { return };
        match outcome {
            Outcome::Delivered => {
                if let Some(storage) = &mut self.storage {
                    storage.mark_delivered(record..record.saturating_add(1));
                }
                self.release(u64::from(meta.items), body.len() as u64);
                self.admit_waiting(cx);
            }
            Outcome::Permanent(why) => {
                let reason = why.message.into_owned();
                self.bury(cx.now(), Record { sequence: record, meta, body }, reason);
            }
            Outcome::Retry { .. } | Outcome::Lost(_) if self.is_draining => self.has_stopped = true,
            Outcome::Retry { .. } | Outcome::Lost(_) => self.give_back(record),
        }
    }

    fn flush(&mut self, cx: &mut Cx<'_>) {
        self.request_read();
        let mut is_refused = false;
        if let Some(storage) = &mut self.storage {
            while !is_refused && let Some((kind, job)) = storage.poll_job() {
                // A job that is not accepted is given out again.
                is_refused = cx.run_file_job(kind.number(), job).is_err();
            }
            while let Some(event) = storage.poll_event() {
                self.late_events.push_back(event);
            }
        }
        if !self.late_events.is_empty() {
            cx.request_ready(EVENTS_KEY);
        }
        if (is_refused || self.needs_tick()) && !std::mem::replace(&mut self.has_tick, true) {
            cx.set_timer(TICK_KEY, cx.now() + TICK);
        }
        if self.window.oldest().is_none() {
            self.metrics.oldest_age.set(0);
        }
        self.metrics.queue.size.set(self.size());
        self.metrics.disk_bytes.set(self.storage.as_ref().map_or(0, |storage| storage.stats().bytes));
    }

    fn poll_status(&mut self) -> Option<StoredQueueStatus> {
        self.reports.poll_status()
    }

    fn drain(&mut self, _: &mut Cx<'_>) {
        self.is_draining = true;
        match &self.phase {
            Phase::Opening => {}
            Phase::Open => self.refuse_waiting("sending queue is full"),
            Phase::Failed(text) => {
                let text = text.clone();
                self.refuse_waiting(&text);
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        match &mut self.storage {
            Some(storage) => storage.close(),
            None => self.is_closed = true,
        }
        self.handle_log_events(cx);
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn abort(&mut self) {
        self.items = self.items.saturating_sub(self.pending_items);
        (self.waiting_bytes, self.waiting_items, self.pending_items) = (0, 0, 0);
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, ack)| ack);
        let pending = std::mem::take(&mut self.pending).into_values().map(|pending| pending.ack);
        waiting.chain(pending).for_each(|ack| ack.settle(Outcome::Lost(LossReason::Shutdown)));
    }

    fn waiting_items(&self) -> u64 {
        self.waiting_items.saturating_add(self.pending_items)
    }

    fn stored_items(&self) -> u64 {
        self.items.saturating_sub(self.pending_items)
    }

    fn is_opening(&self) -> bool {
        self.phase == Phase::Opening && !self.is_closed
    }

    fn undelivered_items(&self) -> u64 {
        self.waiting_items.saturating_add(self.items).saturating_sub(self.burial_items)
    }

    fn item_counts(&self) -> StoredItemCounts {
        self.counts
    }
}

/// The body of a payload as one buffer, and the charge for it.
fn whole_body(payload: &Payload) -> (Bytes, Held) {
    match payload.body.parts() {
        [only] => (only.bytes.clone(), payload.held.clone()),
        parts => {
            let mut whole = Vec::with_capacity(payload.body.len());
            parts.iter().for_each(|part| whole.extend_from_slice(&part.bytes));
            (whole.into(), payload.held.hold_derived(payload.body.len() as u64))
        }
    }
}

/// The body of a record as the body of a payload.
fn rope(meta: &RecordMeta, body: Bytes) -> Rope {
    Rope::new(body, meta.items)
}
