//! The resources of the stored series, and `target_info`.
//!
//! A resource is identified by its bytes, so that a known resource costs one hash. It is removed with its last series.
//! For each job and instance, `target_info` shows the oldest resource that still has series.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;
use std::rc::Rc;

use foldhash::fast::FixedState;
use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{Resource as View, View as _};
use otelcore_pipeline::{Kept, LogLevel};
use otelcore_prometheus_translation::{TargetInfoError, target_block};

use crate::config::PageConfig;
use crate::dropped_points::{DropReason, DroppedPoints};
use crate::identity::{SortedAttributes, put_bytes, sort_attributes};
use crate::label_sets::{LABEL_SET_KEY_BYTES, LabelSetKey};
use crate::partitioned::{PartitionedIndex, PartitionedSlab};
use crate::series::allocated;

/// A resource that has series, or is being read.
pub(crate) struct Resource {
    raw: Box<[u8]>,
    hash: u64,
    seq: u64,
    pub(crate) job: Option<Rc<[u8]>>,
    pub(crate) instance: Option<Rc<[u8]>>,
    /// Attributes that are copied onto its points, sorted, as identity bytes.
    pub(crate) copied_attributes: Box<[u8]>,
    /// There are more attributes, or larger ones, than labels can be made of.
    pub(crate) too_large: bool,
    series_count: u64,
    is_pinned: bool,
    target: TargetInfoState,
}

/// The state of a resource with regard to `target_info`.
enum TargetInfoState {
    /// Another resource of its job and instance is shown, or none.
    NotShown,
    /// Its labels are shown.
    Shown(LabelSetKey),
    /// It would be shown, but an attribute is not a valid label.
    InvalidLabel,
    /// It would be shown, but an attribute has no label name; no `target_info` at all is then shown.
    DisablesAll,
}

/// Job and instance, neither of them empty.
type JobAndInstance = (Rc<[u8]>, Rc<[u8]>);

/// All resources.
pub(crate) struct Resources {
    resources: PartitionedSlab<Resource>,
    pub(crate) index: PartitionedIndex,
    hasher: FixedState,
    next_seq: u64,
    /// Resources with series, for each job and instance, oldest first.
    by_target: BTreeMap<JobAndInstance, BTreeSet<(u64, usize)>>,
    shown: BTreeSet<LabelSetKey>,
    disabling: usize,
}

const SERVICE_ATTRIBUTES: [&[u8]; 3] = [b"service.name", b"service.namespace", b"service.instance.id"];

impl Resources {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            resources: PartitionedSlab::default(),
            index: PartitionedIndex::default(),
            hasher,
            next_seq: 0,
            by_target: BTreeMap::new(),
            shown: BTreeSet::new(),
            disabling: 0,
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&Resource> {
        self.resources.get(id)
    }

    /// Finds or adds a resource by its bytes, and keeps it until [`Resources::unpin`]. True when it is new.
    pub(crate) fn pin(&mut self, raw: &[u8], config: &PageConfig, kept: &mut Kept) -> (usize, bool) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(raw);
        let hash = hasher.finish();
        let slots = &self.resources;
        let found = self.index.find(hash, |id| slots.get(id).is_some_and(|r| *r.raw == *raw));
        let id = found.unwrap_or_else(|| {
            let resource = Resource::parse(raw, hash, self.next_seq, config);
            self.next_seq += 1;
            kept.grow(resource.charged_bytes());
            let id = self.resources.insert(resource);
            self.index.insert(hash, id);
            id
        });
        if let Some(resource) = self.resources.get_mut(id) {
            resource.is_pinned = true;
        }
        (id, found.is_none())
    }

    pub(crate) fn unpin(&mut self, id: usize, kept: &mut Kept) {
        if let Some(resource) = self.resources.get_mut(id) {
            resource.is_pinned = false;
            self.remove_unused(id, kept);
        }
    }

    /// Adds a series to this resource.
    pub(crate) fn add_series(&mut self, id: usize, config: &PageConfig, dropped: &mut DroppedPoints) {
        let Some(resource) = self.resources.get_mut(id) else { return };
        resource.series_count += 1;
        if resource.series_count > 1 {
            return;
        }
        let (Some(job), Some(instance)) = (resource.job.clone(), resource.instance.clone()) else { return };
        if job.is_empty() || instance.is_empty() {
            return;
        }
        let seq = resource.seq;
        let resources = self.by_target.entry((job, instance)).or_default();
        let first = resources.first().copied();
        resources.insert((seq, id));
        match first {
            Some((older, _)) if older < seq => {}
            first => {
                if let Some((_, displaced)) = first {
                    self.hide_target(displaced);
                }
                self.show_target(id, config, dropped);
            }
        }
    }

    /// Removes a series from this resource: the series was removed, or now comes from another resource.
    pub(crate) fn remove_series(
        &mut self,
        id: usize,
        config: &PageConfig,
        dropped: &mut DroppedPoints,
        kept: &mut Kept,
    ) {
        let Some(resource) = self.resources.get_mut(id) else { return };
        resource.series_count = resource.series_count.saturating_sub(1);
        if resource.series_count > 0 {
            return;
        }
        if let (Some(job), Some(instance)) = (resource.job.clone(), resource.instance.clone()) {
            let (key, seq) = ((job, instance), resource.seq);
            let resources = self.by_target.get_mut(&key);
            let was_first = resources.as_ref().is_some_and(|l| l.first() == Some(&(seq, id)));
            let next = resources.and_then(|live| {
                live.remove(&(seq, id));
                live.first().copied()
            });
            if next.is_none() {
                self.by_target.remove(&key);
            }
            if was_first {
                self.hide_target(id);
                if let Some((_, successor)) = next {
                    self.show_target(successor, config, dropped);
                }
            }
        }
        self.remove_unused(id, kept);
    }

    fn remove_unused(&mut self, id: usize, kept: &mut Kept) {
        let Some(unused) = self.resources.get(id).filter(|r| r.series_count == 0 && !r.is_pinned) else { return };
        kept.shrink(unused.charged_bytes());
        self.index.remove(unused.hash, id);
        self.resources.remove(id);
    }

    fn hide_target(&mut self, id: usize) {
        let Some(resource) = self.resources.get_mut(id) else { return };
        match std::mem::replace(&mut resource.target, TargetInfoState::NotShown) {
            TargetInfoState::Shown(place) => drop(self.shown.remove(&place)),
            TargetInfoState::DisablesAll => self.disabling -= 1,
            TargetInfoState::NotShown | TargetInfoState::InvalidLabel => {}
        }
    }

    fn show_target(&mut self, id: usize, config: &PageConfig, dropped: &mut DroppedPoints) {
        let Some(resource) = self.resources.get_mut(id) else { return };
        resource.target = resource.make_target(config, dropped);
        match &resource.target {
            TargetInfoState::Shown(place) => drop(self.shown.insert(place.clone())),
            TargetInfoState::DisablesAll => self.disabling += 1,
            TargetInfoState::NotShown | TargetInfoState::InvalidLabel => {}
        }
    }

    /// Whether a page has `target_info`.
    pub(crate) fn has_targets(&self) -> bool {
        self.disabling == 0 && !self.shown.is_empty()
    }

    /// The labels of the next line of `target_info`.
    pub(crate) fn target_after(&self, place: Option<&LabelSetKey>) -> Option<&LabelSetKey> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        if self.has_targets() { self.shown.range((from, Bound::Unbounded)).next() } else { None }
    }
}

impl Resource {
    /// Bytes charged for the resource. A block of `target_info` may be made of all its attributes, in about the same
    /// number of bytes.
    fn charged_bytes(&self) -> u64 {
        let len = |text: &Option<Rc<[u8]>>| text.as_deref().map_or(0, <[u8]>::len);
        let texts = [2 * self.raw.len(), len(&self.job), len(&self.instance), self.copied_attributes.len()];
        let places = 4 * LABEL_SET_KEY_BYTES + size_of::<[usize; 8]>();
        (size_of::<Self>() + places) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }

    fn parse(raw: &[u8], hash: u64, seq: u64, config: &PageConfig) -> Self {
        let view = View::parse(raw);
        let mut sorted = SortedAttributes::new();
        let too_large = sort_attributes(&mut sorted, view.attributes()).is_err();
        let mut resource = Self {
            raw: raw.into(),
            hash,
            seq,
            job: None,
            instance: None,
            copied_attributes: Box::default(),
            too_large,
            series_count: 0,
            is_pinned: false,
            target: TargetInfoState::NotShown,
        };
        if too_large {
            return resource;
        }
        let text = |wanted: &[u8]| {
            let kv = view.attributes().find(|kv| kv.key == wanted)?;
            let mut text = Vec::new();
            put_value(&mut text, kv.value);
            Some(text)
        };
        resource.job = text(b"service.name").map(|name| match text(b"service.namespace") {
            Some(namespace) => [namespace, name].join(&b'/').into(),
            None => name.into(),
        });
        resource.instance = text(b"service.instance.id").map(Into::into);
        let mut copied = Vec::new();
        if !config.resource_labels.is_empty() {
            let mut wanted: Vec<_> = view.attributes().filter(|kv| config.resource_labels.includes(kv.key)).collect();
            // A key that occurs twice has its last value, as after an upsert.
            wanted.sort_by_key(|kv| kv.key);
            for (i, kv) in wanted.iter().enumerate() {
                if wanted.get(i + 1).is_none_or(|next| next.key != kv.key) {
                    let mut value = Vec::new();
                    put_value(&mut value, kv.value);
                    put_bytes(&mut copied, kv.key);
                    put_bytes(&mut copied, &value);
                }
            }
        }
        resource.copied_attributes = copied.into();
        resource
    }

    fn make_target(&self, config: &PageConfig, dropped: &mut DroppedPoints) -> TargetInfoState {
        let (Some(job), Some(instance)) = (self.job.as_deref(), self.instance.as_deref()) else {
            return TargetInfoState::NotShown;
        };
        let mut attributes: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for kv in View::parse(&self.raw).attributes().filter(|kv| !SERVICE_ATTRIBUTES.contains(&kv.key)) {
            let mut value = Vec::new();
            put_value(&mut value, kv.value);
            attributes.push((kv.key, value));
        }
        let attributes = attributes.iter().map(|(k, v)| (*k, v.as_slice()));
        match target_block(attributes, job, instance, config.strategy.keeps_utf8()) {
            Ok(block) => TargetInfoState::Shown(LabelSetKey::of(block)),
            Err(TargetInfoError::Label(_)) => {
                dropped.log_once(DropReason::Label, LogLevel::Error, b"target_info", || {
                    "failed to convert metric target_info: a resource attribute is no valid label".to_owned()
                });
                TargetInfoState::InvalidLabel
            }
            Err(TargetInfoError::Name(why)) => {
                // As in the Go collector, where this error ends the creation of all `target_info`.
                dropped.log_once(DropReason::Label, LogLevel::Error, b"target_info", || {
                    format!("failed to create target info metrics: {why}")
                });
                TargetInfoState::DisablesAll
            }
        }
    }
}
