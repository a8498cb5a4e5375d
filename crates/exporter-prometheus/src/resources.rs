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
use otelcore_pipeline::{Kept, Level};

use crate::config::PageSettings;
use crate::families::{PLACE, Place};
use crate::identity::{Sorted, put, sort};
use crate::labels::target_block;
use crate::registry::allocated;
use crate::report::{Reason, Report};
use crate::slots::{Index, Slots};

/// A resource that has series, or is being read.
pub(crate) struct Resource {
    raw: Box<[u8]>,
    hash: u64,
    seq: u64,
    pub(crate) job: Option<Rc<[u8]>>,
    pub(crate) instance: Option<Rc<[u8]>>,
    /// Attributes that are copied onto its points, sorted, as identity bytes.
    pub(crate) copied: Box<[u8]>,
    /// There are more attributes, or larger ones, than labels can be made of.
    pub(crate) too_large: bool,
    series: u64,
    pinned: bool,
    target: Target,
}

/// The state of a resource with regard to `target_info`.
enum Target {
    /// Another resource of its job and instance is shown, or none.
    None,
    /// Its labels are shown.
    Shown(Place),
    /// It would be shown, but an attribute is not a valid label.
    Left,
    /// It would be shown, but an attribute has no label name; no `target_info` at all is then shown.
    Spoils,
}

/// Job and instance, neither of them empty.
type JobInstance = (Rc<[u8]>, Rc<[u8]>);

/// All resources.
pub(crate) struct Resources {
    slots: Slots<Resource>,
    pub(crate) index: Index,
    hasher: FixedState,
    next: u64,
    /// Resources with series, for each job and instance, oldest first.
    by_target: BTreeMap<JobInstance, BTreeSet<(u64, usize)>>,
    shown: BTreeSet<Place>,
    spoiling: usize,
}

const SERVICE: [&[u8]; 3] = [b"service.name", b"service.namespace", b"service.instance.id"];

impl Resources {
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self {
            slots: Slots::default(),
            index: Index::default(),
            hasher,
            next: 0,
            by_target: BTreeMap::new(),
            shown: BTreeSet::new(),
            spoiling: 0,
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&Resource> {
        self.slots.get(id)
    }

    /// Finds or adds a resource by its bytes, and keeps it until [`Resources::unpin`]. True when it is new.
    pub(crate) fn pin(&mut self, raw: &[u8], settings: &PageSettings, kept: &mut Kept) -> (usize, bool) {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(raw);
        let hash = hasher.finish();
        let slots = &self.slots;
        let found = self.index.find(hash, |id| slots.get(*id).is_some_and(|r| *r.raw == *raw));
        let id = found.unwrap_or_else(|| {
            let resource = Resource::read(raw, hash, self.next, settings);
            self.next += 1;
            kept.grow(resource.cost());
            let id = self.slots.insert(resource);
            let slots = &self.slots;
            self.index.insert(hash, id, |id| slots.get(id).map_or(0, |r| r.hash));
            id
        });
        if let Some(resource) = self.slots.get_mut(id) {
            resource.pinned = true;
        }
        (id, found.is_none())
    }

    pub(crate) fn unpin(&mut self, id: usize, kept: &mut Kept) {
        if let Some(resource) = self.slots.get_mut(id) {
            resource.pinned = false;
            self.drop_unused(id, kept);
        }
    }

    /// Adds a series to this resource.
    pub(crate) fn enter(&mut self, id: usize, settings: &PageSettings, report: &mut Report) {
        let Some(resource) = self.slots.get_mut(id) else { return };
        resource.series += 1;
        if resource.series > 1 {
            return;
        }
        let (Some(job), Some(instance)) = (resource.job.clone(), resource.instance.clone()) else { return };
        if job.is_empty() || instance.is_empty() {
            return;
        }
        let seq = resource.seq;
        let live = self.by_target.entry((job, instance)).or_default();
        let first = live.first().copied();
        live.insert((seq, id));
        match first {
            Some((older, _)) if older < seq => {}
            first => {
                if let Some((_, displaced)) = first {
                    self.hide(displaced);
                }
                self.show(id, settings, report);
            }
        }
    }

    /// Removes a series from this resource: the series was removed, or now comes from another resource.
    pub(crate) fn leave(&mut self, id: usize, settings: &PageSettings, report: &mut Report, kept: &mut Kept) {
        let Some(resource) = self.slots.get_mut(id) else { return };
        resource.series = resource.series.saturating_sub(1);
        if resource.series > 0 {
            return;
        }
        if let (Some(job), Some(instance)) = (resource.job.clone(), resource.instance.clone()) {
            let (key, seq) = ((job, instance), resource.seq);
            let live = self.by_target.get_mut(&key);
            let was_first = live.as_ref().is_some_and(|l| l.first() == Some(&(seq, id)));
            let next = live.and_then(|live| {
                live.remove(&(seq, id));
                live.first().copied()
            });
            if next.is_none() {
                self.by_target.remove(&key);
            }
            if was_first {
                self.hide(id);
                if let Some((_, heir)) = next {
                    self.show(heir, settings, report);
                }
            }
        }
        self.drop_unused(id, kept);
    }

    fn drop_unused(&mut self, id: usize, kept: &mut Kept) {
        let Some(unused) = self.slots.get(id).filter(|r| r.series == 0 && !r.pinned) else { return };
        kept.shrink(unused.cost());
        self.index.remove(unused.hash, id);
        self.slots.remove(id);
    }

    fn hide(&mut self, id: usize) {
        let Some(resource) = self.slots.get_mut(id) else { return };
        match std::mem::replace(&mut resource.target, Target::None) {
            Target::Shown(place) => drop(self.shown.remove(&place)),
            Target::Spoils => self.spoiling -= 1,
            Target::None | Target::Left => {}
        }
    }

    fn show(&mut self, id: usize, settings: &PageSettings, report: &mut Report) {
        let Some(resource) = self.slots.get_mut(id) else { return };
        resource.target = resource.make_target(settings, report);
        match &resource.target {
            Target::Shown(place) => drop(self.shown.insert(place.clone())),
            Target::Spoils => self.spoiling += 1,
            Target::None | Target::Left => {}
        }
    }

    /// Whether a page has `target_info`.
    pub(crate) fn has_targets(&self) -> bool {
        self.spoiling == 0 && !self.shown.is_empty()
    }

    /// The labels of the next line of `target_info`.
    pub(crate) fn target_after(&self, place: Option<&Place>) -> Option<&Place> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        if self.has_targets() { self.shown.range((from, Bound::Unbounded)).next() } else { None }
    }
}

impl Resource {
    /// Bytes charged for the resource. A block of `target_info` may be made of all its attributes, in about the same
    /// number of bytes.
    fn cost(&self) -> u64 {
        let len = |text: &Option<Rc<[u8]>>| text.as_deref().map_or(0, <[u8]>::len);
        let texts = [2 * self.raw.len(), len(&self.job), len(&self.instance), self.copied.len()];
        let places = 2 * PLACE + size_of::<[usize; 8]>();
        (size_of::<Self>() + places) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }

    fn read(raw: &[u8], hash: u64, seq: u64, settings: &PageSettings) -> Self {
        let view = View::parse(raw);
        let mut sorted = Sorted::new();
        let too_large = sort(&mut sorted, view.attributes()).is_err();
        let mut resource = Self {
            raw: raw.into(),
            hash,
            seq,
            job: None,
            instance: None,
            copied: Box::default(),
            too_large,
            series: 0,
            pinned: false,
            target: Target::None,
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
        if !settings.resource_labels.is_empty() {
            let mut wanted: Vec<_> = view.attributes().filter(|kv| settings.resource_labels.wants(kv.key)).collect();
            // A key that occurs twice has its last value, as after an upsert.
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
        resource.copied = copied.into();
        resource
    }

    fn make_target(&self, settings: &PageSettings, report: &mut Report) -> Target {
        let (Some(job), Some(instance)) = (self.job.as_deref(), self.instance.as_deref()) else { return Target::None };
        let mut attributes: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for kv in View::parse(&self.raw).attributes().filter(|kv| !SERVICE.contains(&kv.key)) {
            let mut value = Vec::new();
            put_value(&mut value, kv.value);
            attributes.push((kv.key, value));
        }
        let attributes = attributes.iter().map(|(k, v)| (*k, v.as_slice()));
        match target_block(attributes, job, instance, settings.strategy.keeps_utf8()) {
            Ok(block) => Target::Shown(Place { block: block.bytes, labels: block.labels }),
            Err(None) => {
                report.say(Reason::Label, Level::Error, b"target_info", || {
                    "failed to convert metric target_info: a resource attribute is no valid label".to_owned()
                });
                Target::Left
            }
            Err(Some((_, why))) => {
                // As in the Go collector, where this error ends the creation of all `target_info`.
                report.say(Reason::Label, Level::Error, b"target_info", || {
                    format!("failed to create target info metrics: {why}")
                });
                Target::Spoils
            }
        }
    }
}
