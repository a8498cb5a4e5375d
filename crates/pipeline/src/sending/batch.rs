//! `sending_queue::batch`: payloads of the queue are grouped before they are sent.
//!
//! Grouping is concatenation of ropes; a group that is larger than `max_size` is cut, one piece whenever a consumer is
//! free. Every payload here has been accepted by the queue and still counts in its size, until its last piece is
//! released. A sender that waits for a result gets the worst outcome of the pieces that its payload is in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Dur, Section};
use otelcore_pdata::{PieceLimit, Signal, Work};
use smallvec::SmallVec;

use super::{Item, Sizer};
use crate::{Ack, Lost, Metadata, Mono, Outcome, Payload, PayloadSplitter};

/// `sending_queue::batch`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchSettings {
    /// How long a group waits for more payloads.
    pub flush_timeout: Duration,
    /// A group of this size is sent at once.
    pub min_size: u64,
    /// A larger group is cut; zero disables the limit.
    pub max_size: u64,
    /// The unit of both sizes; [`Sizer::Requests`] is not allowed.
    pub sizer: Sizer,
    /// Headers: payloads with different values of them are not grouped together.
    pub metadata_keys: Vec<String>,
}

impl BatchSettings {
    /// Reads the section. `queue` is the sizer and size of the queue, and whether the sizer was written.
    pub(super) fn parse(mut s: Section<'_>, queue: (Sizer, u64, bool)) -> Self {
        let (queue_sizer, queue_size, written) = queue;
        let inherited = if written && !s.is_empty() { queue_sizer } else { Sizer::Items };
        let own = match s.one_of("sizer", &["", "items", "bytes", "requests"], "") {
            "items" => Sizer::Items,
            "bytes" => Sizer::Bytes,
            "requests" => Sizer::Requests,
            _ => inherited,
        };
        if own == Sizer::Requests {
            s.error("sizer", "`batch` supports only `items` or `bytes` sizer, found \"requests\"")
                .hint("write `sizer: items` in `batch`");
        }
        let timeout = s.duration("flush_timeout", Dur::from_millis(200));
        let min = s.int::<i64>("min_size", 8192);
        let max = s.int::<i64>("max_size", 0);
        let mut partition = s.section("partition");
        let mut keys: Vec<String> =
            partition.str_list("metadata_keys", &[]).iter().map(|k| k.to_ascii_lowercase()).collect();
        // Limits of the Go collector's table of partitions; here a partition exists only while a payload waits in it.
        let _ = partition.int::<u64>("cache_size", 10_000);
        let _ = partition.duration("idle_timeout", Dur::from_secs(90));
        partition.finish();
        keys.sort();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
        if let Some(key) = twice {
            s.error("partition", format!("duplicate entry in metadata_keys: {key:?} (case-insensitive)"));
        }
        if timeout.is_zero() || timeout.is_negative() {
            s.error("flush_timeout", "`flush_timeout` must be positive");
        }
        let min_size = u64::try_from(min).unwrap_or_else(|_| {
            s.error("min_size", "`min_size` must be non-negative");
            0
        });
        let max_size = u64::try_from(max).unwrap_or_else(|_| {
            s.error("max_size", "`max_size` must be non-negative");
            0
        });
        if max_size > 0 && max_size < min_size {
            s.error("max_size", format!("`max_size` ({max_size}) must be greater or equal to `min_size` ({min_size})"));
        }
        if own == queue_sizer && min_size > queue_size {
            s.error("min_size", "`min_size` must be less than or equal to `queue_size`");
        }
        s.finish();
        let flush_timeout = Duration::from_nanos(timeout.nanos());
        Self { flush_timeout, min_size, max_size, sizer: own, metadata_keys: keys }
    }
}

/// A sender that waits for the outcome of its payload. One payload may be in several pieces, which share this.
#[derive(Clone, Debug)]
pub(super) struct Waiter(Rc<Waiting>);

#[derive(Debug)]
struct Waiting {
    ack: RefCell<Option<Ack>>,
    worst: RefCell<Option<Outcome>>,
}

impl Waiter {
    pub(super) fn new(ack: Ack) -> Self {
        Self(Rc::new(Waiting { ack: RefCell::new(Some(ack)), worst: RefCell::new(None) }))
    }

    /// Adds the outcome of one piece.
    pub(super) fn settle(self, outcome: &Outcome) {
        let rank = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 0,
            Outcome::Retry { .. } => 1,
            Outcome::Permanent(_) => 2,
            Outcome::Lost(_) => 3,
        };
        let mut worst = self.0.worst.borrow_mut();
        if worst.as_ref().is_none_or(|w| rank(w) < rank(outcome)) {
            *worst = Some(outcome.clone());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ack) = self.ack.take() {
            ack.settle(self.worst.take().unwrap_or(Outcome::Lost(Lost::Dropped)));
        }
    }
}

/// Waiters of one item: none, one, or those of all payloads that were grouped.
pub(super) type Waiters = SmallVec<[Waiter; 1]>;

/// The data of a queued item other than its payload.
#[derive(Debug)]
struct Origin {
    waiters: Waiters,
    size: u64,
    bytes: u64,
}

/// Values of the metadata keys.
type Values = Rc<Vec<Vec<String>>>;

#[derive(Debug)]
struct Group {
    signal: Signal,
    body: PayloadSplitter<Origin>,
    meta: Option<Arc<Metadata>>,
    interval: Duration,
    since: Mono,
    /// All of it is to be sent, even if it is smaller than `min_size`.
    is_due: bool,
    /// It is in `Batcher::ready`.
    is_ready: bool,
}

/// What is sent next.
#[derive(Debug)]
enum Ready {
    /// A group from which pieces are cut; it may grow meanwhile.
    Cut(Values),
    /// A group without a limit, which is sent as it is.
    Whole(Box<Group>),
}

/// Pieces that are cut in one turn at most: exporters may settle each at once, so that the next one is requested in the
/// same turn.
const TURN_PIECES: u32 = 64;

/// Groups that wait for more payloads, and those that are sent next.
#[derive(Debug)]
pub(super) struct Batcher {
    settings: BatchSettings,
    groups: BTreeMap<Values, Group>,
    /// The groups that are not due, by age.
    by_age: BTreeSet<(Mono, Values)>,
    ready: VecDeque<Ready>,
    /// The work and the number of pieces that are left before the next [`Batcher::begin_turn`].
    work: Work,
    pieces: u32,
    /// One of them was used up, and there is more to cut.
    is_spent: bool,
}

impl Batcher {
    pub(super) fn new(settings: BatchSettings) -> Self {
        Self {
            settings,
            groups: BTreeMap::new(),
            by_age: BTreeSet::new(),
            ready: VecDeque::new(),
            work: Work::step(),
            pieces: TURN_PIECES,
            is_spent: false,
        }
    }

    /// Puts an item of the queue into its group.
    pub(super) fn add(&mut self, now: Mono, item: Item) {
        let keys = &self.settings.metadata_keys;
        let Payload { signal, body, meta, held } = item.payload;
        let values: Vec<Vec<String>> =
            keys.iter().map(|key| meta.as_ref().map_or_else(Vec::new, |m| m.get(key).to_vec())).collect();
        let values = Rc::new(values);
        let group = self.groups.entry(values.clone()).or_insert_with(|| {
            self.by_age.insert((now, values.clone()));
            Group {
                signal,
                body: PayloadSplitter::new(signal),
                meta: (!keys.is_empty()).then(|| Arc::new(kept(keys, &values))),
                interval: item.interval,
                since: now,
                is_due: false,
                is_ready: false,
            }
        });
        group.body.push(body, held, Origin { waiters: item.waiters, size: item.size, bytes: item.bytes });
        if size(&self.settings, group) >= self.settings.min_size {
            self.make_ready(values);
        }
    }

    /// Adds a group to those that are sent next.
    fn make_ready(&mut self, values: Values) {
        if self.settings.max_size == 0 {
            // Without a limit a group must not grow while consumers are busy.
            if let Some(group) = self.groups.remove(&values) {
                self.by_age.remove(&(group.since, values));
                self.ready.push_back(Ready::Whole(Box::new(group)));
            }
        } else if let Some(group) = self.groups.get_mut(&values)
            && !std::mem::replace(&mut group.is_ready, true)
        {
            self.ready.push_back(Ready::Cut(values));
        }
    }

    /// Makes the groups ready that have waited long enough, or all groups.
    pub(super) fn handle_timeout(&mut self, now: Mono, all: bool) {
        let timeout = self.settings.flush_timeout;
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
        (self.work, self.pieces, self.is_spent) = (Work::step(), TURN_PIECES, false);
    }

    /// Whether there is more to do in the next turn: [`Batcher::begin_turn`] is to be called in it.
    pub(super) fn wants_turn(&self) -> bool {
        self.is_spent
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.by_age.first().map(|(since, _)| *since + self.settings.flush_timeout)
    }

    /// The next group or piece. `None`: there is none, or enough has been done in this turn.
    pub(super) fn poll_ready(&mut self) -> Option<Item> {
        loop {
            let first = self.ready.front_mut()?;
            if self.pieces == 0 {
                self.is_spent = true;
                return None;
            }
            let (group, limit) = match first {
                Ready::Whole(group) => (&mut **group, PieceLimit::NONE),
                Ready::Cut(values) => match self.groups.get_mut(values) {
                    Some(group) if group.is_due || size(&self.settings, group) >= self.settings.min_size => {
                        (group, limit(&self.settings))
                    }
                    group => {
                        // The remainder of the group waits for more payloads.
                        group.into_iter().for_each(|group| group.is_ready = false);
                        self.ready.pop_front();
                        continue;
                    }
                },
            };
            let Some(piece) = group.take(limit, &mut self.work) else {
                self.is_spent = true;
                return None;
            };
            self.pieces -= 1;
            if group.body.is_empty() {
                self.remove_first();
            }
            return Some(piece);
        }
    }

    /// Removes the first ready group, which is empty.
    fn remove_first(&mut self) {
        if let Some(Ready::Cut(values)) = self.ready.pop_front()
            && let Some(group) = self.groups.remove(&values)
        {
            self.by_age.remove(&(group.since, values));
        }
    }

    /// Gives up everything: returns the number of items of each group, and the senders that wait for them.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = (u64, Waiters)> {
        self.by_age.clear();
        let ready = std::mem::take(&mut self.ready).into_iter();
        let whole = ready.filter_map(|ready| match ready {
            Ready::Whole(group) => Some(*group),
            Ready::Cut(_) => None,
        });
        let groups = std::mem::take(&mut self.groups).into_values().chain(whole);
        groups.map(|group| (group.body.items(), group.body.into_rest().flat_map(|origin| origin.waiters).collect()))
    }
}

impl Group {
    /// Takes a piece. Its size in the queue is the sum of the sizes of the payloads that end in it.
    fn take(&mut self, limit: PieceLimit, work: &mut Work) -> Option<Item> {
        let (mut waiters, mut size, mut bytes) = (Waiters::new(), 0, 0);
        let (body, held) = self.body.take(limit, work, |origin, is_last| {
            if is_last {
                waiters.extend(std::mem::take(&mut origin.waiters));
                size += origin.size;
                bytes += origin.bytes;
            } else {
                waiters.extend(origin.waiters.iter().cloned());
            }
        })?;
        let payload = Payload { signal: self.signal, body, meta: self.meta.clone(), held };
        Some(Item { size, bytes, grouped: true, ..Item::new(payload, waiters, self.interval) })
    }
}

fn kept(keys: &[String], values: &[Vec<String>]) -> Metadata {
    let mut kept = Metadata::default();
    for (key, values) in keys.iter().zip(values) {
        values.iter().for_each(|value| kept.add(key, value));
    }
    kept
}

fn size(settings: &BatchSettings, group: &Group) -> u64 {
    match settings.sizer {
        Sizer::Bytes => group.body.len() as u64,
        Sizer::Items | Sizer::Requests => group.body.items(),
    }
}

/// The largest piece, where `max_size` is set. A single span that is larger is sent as it is.
fn limit(settings: &BatchSettings) -> PieceLimit {
    match settings.sizer {
        Sizer::Bytes => PieceLimit::bytes(usize::try_from(settings.max_size).unwrap_or(usize::MAX)),
        Sizer::Items | Sizer::Requests => PieceLimit::items(u32::try_from(settings.max_size).unwrap_or(u32::MAX)),
    }
}
