//! `sending_queue::batch`: payloads of the queue are grouped before they are sent.
//!
//! Grouping is concatenation of ropes; what is longer than `max_size` is cut. Everything here has been accepted by the
//! queue and still counts in its size. Whoever waits for a result hears the worst of what became of its pieces.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Dur, Section};
use otelcore_pdata::split_off;
use smallvec::SmallVec;

use super::{Item, Sizer};
use crate::{Ack, Lost, Metadata, Mono, Outcome, Payload};

/// `sending_queue::batch`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchSettings {
    /// How long a group waits for more.
    pub flush_timeout: Duration,
    /// A group of this size goes out at once.
    pub min_size: u64,
    /// What is larger is cut; zero is no limit.
    pub max_size: u64,
    /// The unit of both; [`Sizer::Requests`] is not one of them.
    pub sizer: Sizer,
    /// Headers whose values keep payloads apart.
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
        // Bounds of the Go collector's table of partitions; here one lives exactly as long as something waits in it.
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

/// A sender that waits for what becomes of its payload, wherever the pieces of it go.
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

    /// What became of one piece.
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

/// Waiters of one item: none, one, or those of all that were grouped.
pub(super) type Waiters = SmallVec<[Waiter; 1]>;

#[derive(Debug)]
struct Group {
    item: Item,
    since: Mono,
}

/// Groups that wait for more, and those that go out next.
#[derive(Debug)]
pub(super) struct Batcher {
    settings: BatchSettings,
    groups: BTreeMap<Vec<Vec<String>>, Group>,
    ready: VecDeque<Item>,
}

impl Batcher {
    pub(super) fn new(settings: BatchSettings) -> Self {
        Self { settings, groups: BTreeMap::new(), ready: VecDeque::new() }
    }

    /// Puts an item of the queue into its group.
    pub(super) fn add(&mut self, now: Mono, mut item: Item) {
        let keys = &self.settings.metadata_keys;
        let meta = item.payload.meta.take();
        let values: Vec<Vec<String>> =
            keys.iter().map(|key| meta.as_ref().map_or_else(Vec::new, |m| m.get(key).to_vec())).collect();
        item.payload.meta = (!keys.is_empty()).then(|| Arc::new(kept(keys, &values)));
        let group = match self.groups.get_mut(&values) {
            Some(group) => {
                group.item.payload.body.append(item.payload.body);
                group.item.payload.held.merge(item.payload.held);
                group.item.waiters.extend(item.waiters);
                group.item.size += item.size;
                group
            }
            None => self.groups.entry(values.clone()).or_insert(Group { item, since: now }),
        };
        if size(&self.settings, &group.item.payload) >= self.settings.min_size {
            self.flush(&values, false);
        }
    }

    /// Sends a group on its way: all of it, or so much of it that less than `min_size` stays.
    fn flush(&mut self, values: &Vec<Vec<String>>, whole: bool) {
        let Some(Group { mut item, since }) = self.groups.remove(values) else { return };
        let settings = &self.settings;
        loop {
            let left = size(settings, &item.payload);
            if settings.max_size == 0 || left <= settings.max_size {
                break;
            }
            let Some(piece) = cut(settings, &mut item, left) else { break };
            self.ready.push_back(piece);
        }
        if whole || size(settings, &item.payload) >= settings.min_size {
            item.grouped = true;
            self.ready.push_back(item);
        } else {
            self.groups.insert(values.clone(), Group { item, since });
        }
    }

    /// Sends on what has waited long enough, or everything.
    pub(super) fn handle_timeout(&mut self, now: Mono, all: bool) {
        let timeout = self.settings.flush_timeout;
        let due = |group: &Group| all || group.since + timeout <= now;
        let values: Vec<_> = self.groups.iter().filter(|(_, g)| due(g)).map(|(v, _)| v.clone()).collect();
        values.iter().for_each(|values| self.flush(values, true));
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.groups.values().map(|group| group.since + self.settings.flush_timeout).min()
    }

    pub(super) fn poll_ready(&mut self) -> Option<Item> {
        self.ready.pop_front()
    }

    /// Everything that waits.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.groups.values().map(|group| &group.item).chain(&self.ready)
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Item> {
        let groups = std::mem::take(&mut self.groups).into_values().map(|group| group.item);
        groups.chain(std::mem::take(&mut self.ready))
    }
}

fn kept(keys: &[String], values: &[Vec<String>]) -> Metadata {
    let mut kept = Metadata::default();
    for (key, values) in keys.iter().zip(values) {
        values.iter().for_each(|value| kept.add(key, value));
    }
    kept
}

fn size(settings: &BatchSettings, payload: &Payload) -> u64 {
    match settings.sizer {
        Sizer::Bytes => payload.body.len() as u64,
        Sizer::Items | Sizer::Requests => u64::from(payload.items()),
    }
}

/// Takes about `max_size` off an item that is `left` large. A single span that is larger goes out as it is.
fn cut(settings: &BatchSettings, item: &mut Item, left: u64) -> Option<Item> {
    let items = u64::from(item.payload.items());
    let wanted = match settings.sizer {
        Sizer::Bytes => (items.saturating_mul(settings.max_size) / left.max(1)).max(1),
        Sizer::Items | Sizer::Requests => settings.max_size,
    };
    if wanted >= items {
        return None;
    }
    let body = split_off(item.payload.signal, &mut item.payload.body, u32::try_from(wanted).unwrap_or(u32::MAX));
    // The pieces share the buffers, and so the charge; their place in the queue goes with the last of them.
    let payload =
        Payload { signal: item.payload.signal, body, meta: item.payload.meta.clone(), held: item.payload.held.clone() };
    Some(Item {
        payload,
        waiters: item.waiters.clone(),
        size: 0,
        bytes: 0,
        first: None,
        interval: item.interval,
        grouped: true,
    })
}
