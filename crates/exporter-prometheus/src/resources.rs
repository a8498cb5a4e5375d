//! The resources that live series come from, and `target_info`.
//!
//! A resource is known by its bytes, so that one that has been seen costs a hash. It goes with its last series. For each
//! job and instance the resource that came first and still lives is the one that `target_info` shows.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use otelcore_exposition::compare_blocks;
use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{Resource as View, View as _};
use otelcore_pipeline::{Kept, Level};
use slab::Slab;

use crate::config::PageSettings;
use crate::identity::put;
use crate::labels::{Block, target_block};
use crate::registry::allocated;
use crate::report::{Reason, Report};

/// A resource that has series, or is being read.
pub(crate) struct Resource {
    raw: Box<[u8]>,
    hash: u64,
    seq: u64,
    pub(crate) job: Option<Box<[u8]>>,
    pub(crate) instance: Option<Box<[u8]>>,
    /// Attributes that go onto its points, sorted, as identity bytes.
    pub(crate) copied: Box<[u8]>,
    series: u64,
    pinned: bool,
}

/// All of them.
pub(crate) struct Resources {
    slab: Slab<Resource>,
    index: HashTable<usize>,
    hasher: FixedState,
    next: u64,
    /// The set changed since the targets were made.
    pub(crate) dirty: bool,
    targets: Vec<Block>,
}

const SERVICE: [&[u8]; 3] = [b"service.name", b"service.namespace", b"service.instance.id"];

impl Resources {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { slab: Slab::new(), index: HashTable::new(), hasher, next: 0, dirty: false, targets: Vec::new() }
    }

    pub(crate) fn get(&self, id: usize) -> Option<&Resource> {
        self.slab.get(id)
    }

    /// Finds or adds a resource by its bytes, and keeps it until [`Resources::unpin`].
    pub(crate) fn pin(&mut self, raw: &[u8], settings: &PageSettings, kept: &mut Kept) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(raw);
        let hash = hasher.finish();
        let slab = &self.slab;
        let found = self.index.find(hash, |id| slab.get(*id).is_some_and(|r| *r.raw == *raw)).copied();
        let id = found.unwrap_or_else(|| {
            let resource = Resource::read(raw, hash, self.next, settings);
            self.next += 1;
            kept.grow(resource.cost());
            let id = self.slab.insert(resource);
            let slab = &self.slab;
            self.index.insert_unique(hash, id, |id| slab.get(*id).map_or(0, |r| r.hash));
            id
        });
        if let Some(resource) = self.slab.get_mut(id) {
            resource.pinned = true;
        }
        id
    }

    pub(crate) fn unpin(&mut self, id: usize, kept: &mut Kept) {
        if let Some(resource) = self.slab.get_mut(id) {
            resource.pinned = false;
            self.drop_unused(id, kept);
        }
    }

    /// A series comes from this resource from now on.
    pub(crate) fn enter(&mut self, id: usize) {
        if let Some(resource) = self.slab.get_mut(id) {
            self.dirty |= resource.series == 0;
            resource.series += 1;
        }
    }

    /// A series has gone, or comes from another one.
    pub(crate) fn leave(&mut self, id: usize, kept: &mut Kept) {
        if let Some(resource) = self.slab.get_mut(id) {
            resource.series = resource.series.saturating_sub(1);
            self.dirty |= resource.series == 0;
            self.drop_unused(id, kept);
        }
    }

    fn drop_unused(&mut self, id: usize, kept: &mut Kept) {
        let Some(unused) = self.slab.get(id).filter(|r| r.series == 0 && !r.pinned) else { return };
        kept.shrink(unused.cost());
        if let Ok(entry) = self.index.find_entry(unused.hash, |at| *at == id) {
            entry.remove();
        }
        self.slab.remove(id);
    }

    /// The blocks of `target_info`, in order.
    pub(crate) fn targets(&self) -> &[Block] {
        &self.targets
    }

    /// Makes the blocks anew if the set has changed, and says whether it had.
    pub(crate) fn refresh(&mut self, settings: &PageSettings, report: &mut Report) -> bool {
        if !std::mem::take(&mut self.dirty) {
            return false;
        }
        self.targets.clear();
        let mut live: Vec<&Resource> = self.slab.iter().map(|(_, r)| r).filter(|r| r.series > 0).collect();
        live.sort_unstable_by_key(|r| r.seq);
        let mut seen = BTreeSet::new();
        for resource in live {
            let (Some(job), Some(instance)) = (resource.job.as_deref(), resource.instance.as_deref()) else { continue };
            if job.is_empty() || instance.is_empty() || !seen.insert((job, instance)) {
                continue;
            }
            let mut attributes: Vec<(&[u8], Vec<u8>)> = Vec::new();
            for kv in View::parse(&resource.raw).attributes().filter(|kv| !SERVICE.contains(&kv.key)) {
                let mut value = Vec::new();
                put_value(&mut value, kv.value);
                attributes.push((kv.key, value));
            }
            let attributes = attributes.iter().map(|(k, v)| (*k, v.as_slice()));
            match target_block(attributes, job, instance, settings.strategy.keeps_utf8()) {
                Ok(block) => self.targets.push(block),
                Err(None) => report.say(Reason::Label, Level::Error, b"target_info", || {
                    "failed to convert metric target_info: a resource attribute is no valid label".to_owned()
                }),
                Err(Some((_, why))) => {
                    // As in the Go collector, where it ends the making of all of them.
                    self.targets.clear();
                    report.say(Reason::Label, Level::Error, b"target_info", || {
                        format!("failed to create target info metrics: {why}")
                    });
                    return true;
                }
            }
        }
        self.targets.sort_by(|a, b| compare_blocks((&a.bytes, a.labels), (&b.bytes, b.labels)));
        self.targets.dedup_by(|a, b| a.bytes == b.bytes);
        true
    }
}

impl Resource {
    /// Bytes charged for it. A block of `target_info` may be made of all its attributes, in about as many bytes.
    fn cost(&self) -> u64 {
        let len = |text: &Option<Box<[u8]>>| text.as_deref().map_or(0, <[u8]>::len);
        let texts = [2 * self.raw.len(), len(&self.job), len(&self.instance), self.copied.len()];
        (size_of::<Self>() + 4 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }

    fn read(raw: &[u8], hash: u64, seq: u64, settings: &PageSettings) -> Self {
        let view = View::parse(raw);
        let text = |wanted: &[u8]| {
            let kv = view.attributes().find(|kv| kv.key == wanted)?;
            let mut text = Vec::new();
            put_value(&mut text, kv.value);
            Some(text)
        };
        let job = text(b"service.name").map(|name| match text(b"service.namespace") {
            Some(namespace) => [namespace, name].join(&b'/').into_boxed_slice(),
            None => name.into_boxed_slice(),
        });
        let instance = text(b"service.instance.id").map(Vec::into_boxed_slice);
        let mut copied = Vec::new();
        if !settings.resource_labels.is_empty() {
            let mut wanted: Vec<_> = view.attributes().filter(|kv| settings.resource_labels.wants(kv.key)).collect();
            // A key that occurs twice has its last value, as upserting gives it.
            wanted.sort_by_key(|kv| kv.key);
            for (i, kv) in wanted.iter().enumerate() {
                if wanted.get(i + 1).is_none_or(|next| next.key != kv.key) {
                    let mut value = Vec::new();
                    put_value(&mut value, kv.value);
                    put(&mut copied, kv.key);
                    put(&mut copied, &value);
                }
            }
        }
        Self { raw: raw.into(), hash, seq, job, instance, copied: copied.into(), series: 0, pinned: false }
    }
}
