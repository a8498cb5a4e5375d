//! `sending_queue::batch`: payloads of the queue are grouped before they are sent.
//!
//! Grouping is concatenation of ropes; a group that is larger than `max_size` is cut, one piece whenever a consumer is
//! free. Every payload here has been accepted by the queue and still counts in its size, until its last piece is
//! released. A sender that waits for a result gets the worst outcome of the pieces that its payload is in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::{PieceLimit, Signal, StepBudget};
use smallvec::SmallVec;

use super::{BatchSizer, QueueBatchConfig, QueueItem};
use crate::queue_status::HeldTime;
use crate::{Ack, AckPieces, Metadata, MonotonicTime, Payload, PayloadSplitter};

/// The acks of the senders that wait for the outcome of an item: none, one, or those of all payloads that were grouped.
pub(super) type Waiters = SmallVec<[Ack; 1]>;

/// The ack of a payload in a group. The payload may be cut: each piece has an ack, and the worst outcome counts.
#[derive(Debug)]
struct GroupedAck {
    pieces: AckPieces,
    /// That of the piece in which the payload ends.
    last: Ack,
}

impl GroupedAck {
    fn new(ack: Ack) -> Self {
        let pieces = ack.into_pieces();
        Self { last: pieces.piece(), pieces }
    }
}

/// What a queued item contributes to a group, other than its body.
#[derive(Debug)]
struct QueuedSource {
    waiters: SmallVec<[GroupedAck; 1]>,
    size: u64,
    bytes: u64,
    held_times: SmallVec<[HeldTime; 1]>,
}

/// Values of the metadata keys.
type MetadataValues = Rc<Vec<Vec<String>>>;

#[derive(Debug)]
struct PayloadGroup {
    signal: Signal,
    body: PayloadSplitter<QueuedSource>,
    meta: Option<Arc<Metadata>>,
    interval: Duration,
    created_at: MonotonicTime,
    /// All of it is to be sent, even if it is smaller than `min_size`.
    is_due: bool,
    /// It is in `Batcher::ready`.
    is_ready: bool,
}

/// What is sent next.
#[derive(Debug)]
enum ReadyGroup {
    /// A group from which pieces are cut; it may grow meanwhile.
    Cut(MetadataValues),
    /// A group without a limit, which is sent as it is.
    Whole(Box<PayloadGroup>),
}

/// Pieces that are cut in one turn at most: exporters may settle each at once, so that the next one is requested in the
/// same turn.
const MAX_PIECES_PER_TURN: u32 = 64;

/// Groups that wait for more payloads, and those that are sent next.
#[derive(Debug)]
pub(super) struct Batcher {
    config: QueueBatchConfig,
    groups: BTreeMap<MetadataValues, PayloadGroup>,
    /// The groups that are not due, by age.
    by_age: BTreeSet<(MonotonicTime, MetadataValues)>,
    ready: VecDeque<ReadyGroup>,
    /// The work and the number of pieces that are left before the next [`Batcher::begin_turn`].
    work_left: StepBudget,
    pieces_left: u32,
    /// One of these limits was reached, and there is more to cut.
    is_limit_reached: bool,
}

impl Batcher {
    pub(super) fn new(config: QueueBatchConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            by_age: BTreeSet::new(),
            ready: VecDeque::new(),
            work_left: StepBudget::for_one_step(),
            pieces_left: MAX_PIECES_PER_TURN,
            is_limit_reached: false,
        }
    }

    /// Puts an item of the queue into its group.
    pub(super) fn add(&mut self, now: MonotonicTime, item: QueueItem) {
        let keys = &self.config.partition.metadata_keys;
        let Payload { signal, body, metadata: meta, held } = item.payload;
        let values: Vec<Vec<String>> =
            keys.iter().map(|key| meta.as_ref().map_or_else(Vec::new, |m| m.get(key).to_vec())).collect();
        let values = Rc::new(values);
        let group = self.groups.entry(values.clone()).or_insert_with(|| {
            self.by_age.insert((now, values.clone()));
            PayloadGroup {
                signal,
                body: PayloadSplitter::new(signal),
                meta: (!keys.is_empty()).then(|| Arc::new(selected_metadata(keys, &values))),
                interval: item.interval,
                created_at: now,
                is_due: false,
                is_ready: false,
            }
        });
        let waiters = item.waiters.into_iter().map(GroupedAck::new).collect();
        let QueueItem { size, bytes, held_times, .. } = item;
        group.body.push(body, held, QueuedSource { waiters, size, bytes, held_times });
        if group_size(&self.config, group) >= self.config.min() {
            self.make_ready(values);
        }
    }

    /// Adds a group to those that are sent next.
    fn make_ready(&mut self, values: MetadataValues) {
        if self.config.max_size == 0 {
            // Without a limit a group must not grow while consumers are busy.
            if let Some(group) = self.groups.remove(&values) {
                self.by_age.remove(&(group.created_at, values));
                self.ready.push_back(ReadyGroup::Whole(Box::new(group)));
            }
        } else if let Some(group) = self.groups.get_mut(&values)
            && !std::mem::replace(&mut group.is_ready, true)
        {
            self.ready.push_back(ReadyGroup::Cut(values));
        }
    }

    /// Makes the groups ready that have waited long enough, or all groups.
    pub(super) fn handle_timeout(&mut self, now: MonotonicTime, all: bool) {
        let timeout = self.config.flush_timeout;
        while let Some((since, _)) = self.by_age.first()
            && (all || *since + timeout <= now)
            && let Some((_, values)) = self.by_age.pop_first()
        {
            if let Some(group) = self.groups.get_mut(&values) {
                group.is_due = true;
            }
            self.make_ready(values);
        }
    }

    /// Begins a new turn of the loop, with new limits of work and pieces.
    pub(super) fn begin_turn(&mut self) {
        (self.work_left, self.pieces_left, self.is_limit_reached) =
            (StepBudget::for_one_step(), MAX_PIECES_PER_TURN, false);
    }

    /// Whether there is more to do in the next turn: [`Batcher::begin_turn`] is to be called in it.
    pub(super) fn needs_turn(&self) -> bool {
        self.is_limit_reached
    }

    pub(super) fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.by_age.first().map(|(since, _)| *since + self.config.flush_timeout)
    }

    /// The next group or piece. `None`: there is none, or enough has been done in this turn.
    pub(super) fn poll_ready(&mut self) -> Option<QueueItem> {
        loop {
            let first = self.ready.front_mut()?;
            if self.pieces_left == 0 {
                self.is_limit_reached = true;
                return None;
            }
            let (group, limit) = match first {
                ReadyGroup::Whole(group) => (&mut **group, PieceLimit::NONE),
                ReadyGroup::Cut(values) => match self.groups.get_mut(values) {
                    Some(group) if group.is_due || group_size(&self.config, group) >= self.config.min() => {
                        (group, piece_limit(&self.config))
                    }
                    group => {
                        // The remainder of the group waits for more payloads.
                        group.into_iter().for_each(|group| group.is_ready = false);
                        self.ready.pop_front();
                        continue;
                    }
                },
            };
            let Some(piece) = group.take(limit, &mut self.work_left) else {
                self.is_limit_reached = true;
                return None;
            };
            self.pieces_left -= 1;
            if group.body.is_empty() {
                self.remove_first();
            }
            return Some(piece);
        }
    }

    /// Removes the first ready group, which is empty.
    fn remove_first(&mut self) {
        if let Some(ReadyGroup::Cut(values)) = self.ready.pop_front()
            && let Some(group) = self.groups.remove(&values)
        {
            self.by_age.remove(&(group.created_at, values));
        }
    }

    /// Ends everything now: returns the number of items of each group, and the senders that wait for them.
    pub(super) fn abort(&mut self) -> impl Iterator<Item = (u64, Waiters)> {
        self.abort_groups().map(|(_, _, items, waiters)| (items, waiters))
    }

    /// The same with the size of each group in the queue and in bytes.
    pub(super) fn abort_groups(&mut self) -> impl Iterator<Item = (u64, u64, u64, Waiters)> + use<> {
        self.by_age.clear();
        let ready = std::mem::take(&mut self.ready).into_iter();
        let whole = ready.filter_map(|ready| match ready {
            ReadyGroup::Whole(group) => Some(*group),
            ReadyGroup::Cut(_) => None,
        });
        let groups = std::mem::take(&mut self.groups).into_values().chain(whole);
        groups.map(|group| {
            let items = group.body.items();
            let sources = group.body.into_remaining();
            sources.fold((0, 0, items, Waiters::new()), |(size, bytes, items, mut waiters), source| {
                waiters.extend(source.waiters.into_iter().map(|waiter| waiter.last));
                (size + source.size, bytes + source.bytes, items, waiters)
            })
        })
    }
}

impl PayloadGroup {
    /// Takes a piece. Its size in the queue is the sum of the sizes of the payloads that end in it.
    fn take(&mut self, limit: PieceLimit, work: &mut StepBudget) -> Option<QueueItem> {
        let (mut waiters, mut size, mut bytes, mut held_times) = (Waiters::new(), 0, 0, SmallVec::new());
        let (body, held) = self.body.take(limit, work, |source, is_last| {
            if is_last {
                waiters.extend(source.waiters.drain(..).map(|waiter| waiter.last));
                size += source.size;
                bytes += source.bytes;
                held_times.append(&mut source.held_times);
            } else {
                waiters.extend(source.waiters.iter().map(|waiter| waiter.pieces.piece()));
            }
        })?;
        let payload = Payload { signal: self.signal, body, metadata: self.meta.clone(), held };
        let item = QueueItem::new(payload, waiters, self.interval);
        Some(QueueItem { size, bytes, held_times, is_grouped: true, ..item })
    }
}

fn selected_metadata(keys: &[String], values: &[Vec<String>]) -> Metadata {
    let mut metadata = Metadata::default();
    for (key, values) in keys.iter().zip(values) {
        values.iter().for_each(|value| metadata.add(key, value));
    }
    metadata
}

fn group_size(config: &QueueBatchConfig, group: &PayloadGroup) -> u64 {
    match config.sizer {
        BatchSizer::Bytes => group.body.len() as u64,
        _ => group.body.items(),
    }
}

/// The largest piece, where `max_size` is set. A single span that is larger is sent as it is.
fn piece_limit(config: &QueueBatchConfig) -> PieceLimit {
    match config.sizer {
        BatchSizer::Bytes => PieceLimit::bytes(usize::try_from(config.max()).unwrap_or(usize::MAX)),
        _ => PieceLimit::items(u32::try_from(config.max()).unwrap_or(u32::MAX)),
    }
}
