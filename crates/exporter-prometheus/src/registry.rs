//! The series and what they belong to: look-up, creation, update and removal of one series.
//!
//! A known stream costs one look-up for each metric, a known series one for each point. This module uses no sockets and no
//! clock: the time of arrival is an argument; expiry compares nothing else. Bodies are read in `body_reader`, pages are
//! rendered in `page`, streams are in `streams`; nothing here visits all series at once.

use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::FixedState;
use otelcore_exposition::{NameEscaping, escape_name};
use otelcore_pdata::views::Temporality;
use otelcore_pipeline::{Budget, Kept, LogLevel, MonotonicTime};
use otelcore_prometheus_translation::{
    LabelTemplate, OtlpMetricKind, ScopeLabels, SeriesLabels, check_values, label_name, series_template,
};

use crate::config::PageConfig;
use crate::dropped_points::{DropReason, DroppedPoints};
use crate::families::{Families, Member};
use crate::identity::{AttributeBytes, IdentityPrefix, Texts};
use crate::key_sets::KeySet;
use crate::partitioned::{CompactId, PartitionedIndex, PartitionedSlab};
use crate::resources::Resources;
use crate::series::Series;
use crate::series_state::{DataPoint, SeriesState, UpdateResult};
use crate::series_store::SeriesStore;
use crate::step_budget::StepBudget;
use crate::stream::Stream;

/// The number for "no series" or "no stream".
pub(crate) const NO_ID: usize = usize::MAX;

/// A metric while its points are read.
pub(crate) struct CurrentMetric<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) unit: &'a [u8],
    pub(crate) help: &'a [u8],
    pub(crate) metric_kind: OtlpMetricKind,
    pub(crate) temporality: Temporality,
    pub(crate) resource: usize,
    pub(crate) now: MonotonicTime,
    pub(crate) stream: Option<usize>,
    /// The set of keys of its last point that was looked up.
    pub(crate) key_set: Option<usize>,
}

impl CurrentMetric<'_> {
    /// The label that samples of its type have themselves.
    fn reserved_label(&self) -> Option<&'static [u8]> {
        match self.metric_kind {
            OtlpMetricKind::Histogram => Some(b"le"),
            OtlpMetricKind::Summary => Some(b"quantile"),
            OtlpMetricKind::Gauge | OtlpMetricKind::Counter | OtlpMetricKind::UpDownCounter => None,
        }
    }

    /// Whether pages show exemplars of its type.
    pub(crate) fn keeps_exemplars(&self) -> bool {
        matches!(self.metric_kind, OtlpMetricKind::Counter | OtlpMetricKind::Histogram)
    }
}

/// The bytes that identify a series.
#[derive(Clone, Copy)]
pub(crate) struct SeriesIdentity<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) attributes: &'a AttributeBytes,
}

/// All series of one exporter.
pub struct SeriesRegistry {
    pub(crate) config: PageConfig,
    pub(crate) expiration: u64,
    pub(crate) hasher: FixedState,
    pub(crate) series: SeriesStore,
    pub(crate) stream_index: PartitionedIndex,
    pub(crate) streams: PartitionedSlab<Stream>,
    pub(crate) resources: Resources,
    pub(crate) families: Families,
    pub(crate) target_name: Rc<[u8]>,
    /// The same on pages without UTF-8 names.
    pub(crate) escaped_target_name: Rc<[u8]>,
    pub(crate) dropped: DroppedPoints,
    /// Reused buffers for identities.
    pub(crate) spare_buffers: (Vec<u8>, AttributeBytes),
    next_seq: u64,
    /// The charge for everything that is kept here.
    pub(crate) kept: Kept,
    /// Points that were refused for lack of memory since [`SeriesRegistry::take_refused`].
    pub(crate) refused: u64,
    /// No stored point arrived before this.
    pub(crate) oldest: MonotonicTime,
    /// The search for expired series, while it runs.
    pub(crate) sweep: Option<Sweep>,
    /// Series whose labels would have to be merged are not shown, as in the Go collector: for comparisons with it.
    refuses_merged_labels: bool,
}

/// A search for expired series.
pub(crate) struct Sweep {
    pub(crate) part: usize,
    pub(crate) oldest: MonotonicTime,
}

impl std::fmt::Debug for SeriesRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("series", &self.series.len()).finish_non_exhaustive()
    }
}

impl SeriesRegistry {
    /// An empty registry. `seed` prevents senders from choosing attributes whose hashes collide.
    #[must_use]
    pub fn new(config: &PageConfig, seed: u64, mut dropped: DroppedPoints) -> Self {
        let hasher = FixedState::with_seed(seed);
        let mut target_name = Vec::new();
        if !config.namespace.is_empty() {
            // By the rule for labels, unlike the names of metrics, as in the Go collector.
            match label_name(config.namespace.as_bytes(), config.strategy.keeps_utf8()) {
                Ok(namespace) => {
                    target_name = namespace;
                    target_name.push(b'_');
                }
                Err(why) => dropped.log_once(DropReason::Label, LogLevel::Error, b"namespace", || {
                    format!("the namespace is left out of target_info: {why}")
                }),
            }
        }
        target_name.extend_from_slice(b"target_info");
        Self {
            config: config.clone(),
            expiration: u64::try_from(config.metric_expiration.as_nanos()).unwrap_or(u64::MAX),
            hasher: hasher.clone(),
            series: SeriesStore::new(hasher.clone()),
            stream_index: PartitionedIndex::default(),
            streams: PartitionedSlab::default(),
            resources: Resources::new(hasher),
            families: Families::new(config.send_timestamps),
            escaped_target_name: escape_name(&target_name, NameEscaping::Underscores.into()).as_ref().into(),
            target_name: target_name.into(),
            dropped,
            spare_buffers: Default::default(),
            next_seq: 0,
            kept: Arc::<Budget>::default().keep(0),
            refused: 0,
            oldest: MonotonicTime::NEVER,
            sweep: None,
            refuses_merged_labels: false,
        }
    }

    /// Charges the kept state to `budget`. When [`Budget::has_room`] is false, points of new series are refused.
    #[must_use]
    pub fn with_budget(mut self, budget: &Arc<Budget>) -> Self {
        self.kept = budget.keep(self.kept.bytes());
        self
    }

    /// Does not show series of which labels would be merged, as the Go collector: for comparisons with it.
    pub(crate) fn with_merged_labels_refused(mut self) -> Self {
        self.refuses_merged_labels = true;
        self
    }

    /// Bytes charged for the kept state.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept.bytes()
    }

    /// Points that were refused for lack of memory since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Series that are kept, shown or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// True when there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.len() == 0
    }

    /// The counts of points that are not shown.
    #[must_use]
    pub fn dropped(&self) -> &DroppedPoints {
        &self.dropped
    }

    /// Logs why points of a metric are dropped.
    pub(crate) fn log_dropped(&mut self, reason: DropReason, metric: &[u8]) {
        let why = match reason {
            DropReason::ExponentialScale => "Prometheus has no buckets of a scale below -4",
            DropReason::BucketCounts => "the counts of its buckets do not add up to its count",
            DropReason::Temporality => "its temporality is neither delta nor cumulative",
            DropReason::DeltaUpDown => "a delta sum that is not monotonic can't be accumulated",
            DropReason::MisalignedDelta => "delta histogram points overlap",
            DropReason::TooLarge => "more attributes or buckets, or longer ones, than one series can have",
            // Late points are normal, and are only counted.
            _ => return,
        };
        self.dropped.log_once(reason, LogLevel::Warn, metric, || {
            format!("points of metric {:?} are dropped: {why}", String::from_utf8_lossy(metric))
        });
    }

    /// Stores that series `slot` came after `previous`, or was the first of its stream.
    pub(crate) fn set_expected_next(&mut self, previous: Option<usize>, current: &CurrentMetric<'_>, slot: usize) {
        if let Some(series) = previous.and_then(|slot| self.series.get_mut(slot)) {
            series.expected_next = slot.into();
        } else if let Some(stream) = current.stream.and_then(|id| self.streams.get_mut(id)) {
            stream.expected_first = slot;
        }
    }

    /// The series of a point of this metric, if it is known.
    pub(crate) fn find(&self, current: &mut CurrentMetric<'_>, attributes: &AttributeBytes) -> Option<usize> {
        let stream = current.stream?;
        let is_last = |id: &usize| self.series.key_set(*id).is_some_and(|set| *set.keys == *attributes.keys);
        current.key_set =
            current.key_set.filter(is_last).or_else(|| self.series.find_key_set(stream, &attributes.keys));
        self.series.find(current.key_set?, &attributes.values)
    }

    pub(crate) fn update<'a>(
        &mut self,
        slot: usize,
        current: &CurrentMetric<'_>,
        point: &impl DataPoint<'a>,
        budget: &mut StepBudget,
    ) {
        let Some(series) = self.series.get_mut(slot) else { return };
        let bytes_before = series.state.charged_bytes();
        // Only a point with more buckets than before needs more memory.
        if bytes_before > 0 && !self.kept.has_room() && point.charged_bytes() > bytes_before {
            self.refused += 1;
            return self.dropped.add(DropReason::Memory, 1);
        }
        if let UpdateResult::Refused(reason) =
            point.update(&mut series.state, current.temporality, current.keeps_exemplars())
        {
            self.dropped.add(reason, 1);
            return self.log_dropped(reason, current.name);
        }
        let bytes_after = series.state.charged_bytes();
        if current.temporality == Temporality::Delta {
            // All buckets may have moved, whatever the size of the point.
            budget.charge((bytes_before + bytes_after) / 4);
        }
        if bytes_before != bytes_after {
            self.kept.grow(bytes_after);
            self.kept.shrink(bytes_before);
        }
        series.arrived_at = current.now;
        let previous_resource = std::mem::replace(&mut series.resource, current.resource.into()).get();
        let (key_set, family) = (series.key_set.get(), series.family.option());
        let (shape, drop_reason) = (series.metric_kind, series.drop_reason);
        if let Some(reason) = self.drop_reason(slot) {
            self.dropped.add(reason, 1);
        }
        if previous_resource != current.resource {
            self.add_to_resource(current.resource);
            self.remove_from_resource(previous_resource);
        }
        let stream = self.series.key_set(key_set).and_then(|set| self.streams.get(set.stream));
        let Some(stream) = stream else { return };
        let has_moved = family != stream.family || shape != stream.metric_kind;
        if has_moved && drop_reason != Some(DropReason::Label) {
            self.detach_from_family(slot, budget);
            self.attach_to_family(slot);
        }
    }

    /// The reason why a series is not shown, if any.
    #[inline]
    fn drop_reason(&self, slot: usize) -> Option<DropReason> {
        let series = self.series.get(slot)?;
        let family_reason = || {
            let family = self.families.get(series.family.option()?)?;
            family.drop_reason(series.prometheus_type(), series.is_duplicate && !self.config.send_timestamps)
        };
        series.drop_reason.or_else(family_reason)
    }

    fn add_to_resource(&mut self, resource: usize) {
        let had = self.resources.has_targets();
        self.resources.add_series(resource, &self.config, &mut self.dropped);
        self.check_target_info_name(had);
    }

    fn remove_from_resource(&mut self, resource: usize) {
        let had = self.resources.has_targets();
        self.resources.remove_series(resource, &self.config, &mut self.dropped, &mut self.kept);
        self.check_target_info_name(had);
    }

    fn check_target_info_name(&mut self, had: bool) {
        if had != self.resources.has_targets() {
            self.families.check_target_info_name(&self.target_name);
        }
    }

    fn detach_from_family(&mut self, slot: usize, budget: &mut StepBudget) {
        let Some(series) = self.series.get_mut(slot) else { return };
        if let Some(family) = std::mem::replace(&mut series.family, CompactId::NONE).option() {
            let member = Member { slot, seq: series.seq, kind: series.prometheus_type(), help: &Rc::default() };
            self.families.remove_series(family, member, &mut self.series, budget);
        }
    }

    /// Adds a series to the family of its stream.
    fn attach_to_family(&mut self, slot: usize) {
        let Some(id) = self.series.get(slot).and_then(|series| self.series.stream_of(series)) else { return };
        let (Some(stream), Some(series)) = (self.streams.get(id), self.series.get_mut(slot)) else { return };
        series.metric_kind = stream.metric_kind;
        series.family = stream.family.into();
        series.drop_reason = if stream.family.is_none() { Some(DropReason::Name) } else { None };
        series.is_duplicate = false;
        if let Some(family) = stream.family {
            let member = Member { slot, seq: series.seq, kind: series.prometheus_type(), help: &stream.help };
            self.families.add_series(family, member, &mut self.series, &mut self.dropped);
        }
    }

    /// Adds a series with a new identity. Returns its slot.
    pub(crate) fn add_series(
        &mut self,
        current: &mut CurrentMetric<'_>,
        reading: SeriesState,
        identity: SeriesIdentity<'_>,
        budget: &mut StepBudget,
    ) -> usize {
        let AttributeBytes { keys, values } = identity.attributes;
        budget.charge(1500 + 4 * (keys.len() + values.len()) as u64);
        let stream = match current.stream {
            Some(stream) => stream,
            None => *current.stream.insert(self.add_stream(current, identity.prefix, budget)),
        };
        let key_set = match current.key_set {
            Some(key_set) => key_set,
            None => *current.key_set.insert(self.add_key_set(current, stream, identity, budget)),
        };
        let template = self.series.key_set(key_set).and_then(|set| set.template.as_ref());
        let is_merged = template.is_some_and(LabelTemplate::is_merged);
        let mut fault = template.is_none().then_some(DropReason::Label);
        // A length of a text is at most a byte that is not ASCII, in which case the texts are checked one by one.
        if fault.is_none() && !values.is_ascii() {
            let keeps_utf8 = self.config.strategy.keeps_utf8();
            if let Err(why) = check_values(identity.attributes.pairs(), current.reserved_label(), keeps_utf8) {
                self.log_invalid_label(current, &why.to_string());
                fault = Some(DropReason::Label);
            }
        }
        if is_merged && fault.is_none() {
            self.dropped.add_merged_labels(current.name);
        }
        // A series with an invalid label is kept nevertheless: its resource stays in target_info, and its next point does
        // not create it again.
        let slot = self.series.insert(Series {
            seq: self.next_seq,
            key_set: key_set.into(),
            metric_kind: current.metric_kind,
            resource: current.resource.into(),
            family: CompactId::NONE,
            drop_reason: fault,
            is_duplicate: false,
            unsorted_at: CompactId::NONE,
            arrived_at: current.now,
            values: values.as_slice().into(),
            expected_next: CompactId::NONE,
            state: reading,
        });
        self.next_seq += 1;
        if let Some(series) = self.series.get(slot) {
            self.kept.grow(series.charged_bytes() + series.state.charged_bytes());
        }
        self.oldest = self.oldest.min(current.now);
        budget.charge(20 * self.series.take_moved());
        self.add_to_stream(stream);
        self.add_to_resource(current.resource);
        if fault.is_none() {
            self.attach_to_family(slot);
        }
        if let Some(reason) = self.drop_reason(slot) {
            self.dropped.add(reason, 1);
        }
        slot
    }

    /// Adds a set of keys of a stream.
    fn add_key_set(
        &mut self,
        current: &CurrentMetric<'_>,
        stream: usize,
        identity: SeriesIdentity<'_>,
        budget: &mut StepBudget,
    ) -> usize {
        let keys = &identity.attributes.keys;
        budget.charge(2500 + 8 * (identity.prefix.len() + keys.len()) as u64);
        let template = match self.label_template(identity, current) {
            Ok(template) => Some(template),
            Err(why) => {
                self.log_invalid_label(current, &why);
                None
            }
        };
        let key_set = KeySet::new(stream, keys, template);
        self.kept.grow(key_set.charged_bytes());
        self.series.add_key_set(key_set)
    }

    fn log_invalid_label(&mut self, current: &CurrentMetric<'_>, why: &str) {
        self.dropped.log_once(DropReason::Label, LogLevel::Error, current.name, || {
            format!("failed to convert metric {}: {why}", String::from_utf8_lossy(current.name))
        });
    }

    /// The labels of series with these keys; a text where they have none.
    fn label_template(
        &self,
        identity: SeriesIdentity<'_>,
        current: &CurrentMetric<'_>,
    ) -> Result<LabelTemplate, String> {
        let prefix = IdentityPrefix::parse(identity.prefix).ok_or("identity too large")?;
        let scope = (!self.config.without_scope_info).then_some(ScopeLabels {
            name: prefix.scope.name,
            version: prefix.scope.version,
            schema_url: prefix.scope.schema_url,
            attributes: prefix.scope.attributes,
        });
        let labels = SeriesLabels {
            attribute_keys: Texts(&identity.attributes.keys),
            scope,
            job: prefix.job,
            instance: prefix.instance,
            constant: &self.config.const_labels,
        };
        let template = series_template(labels, current.reserved_label(), self.config.strategy.keeps_utf8())
            .map_err(|e| e.to_string())?;
        if template.is_merged() && self.refuses_merged_labels {
            return Err("duplicate label names".to_owned());
        }
        Ok(template)
    }

    /// Counts a point of a new series above `max_series`.
    pub(crate) fn refuse_above_limit(&mut self, metric: &[u8]) {
        let most = self.config.max_series.unwrap_or_default();
        self.dropped.add_above_limit(metric, most);
    }

    pub(crate) fn remove(&mut self, slot: usize, budget: &mut StepBudget) {
        budget.charge(2000);
        self.detach_from_family(slot, budget);
        let Some(id) = self.series.get(slot).and_then(|series| self.series.stream_of(series)) else { return };
        let Some((series, unused_keys)) = self.series.remove(slot) else { return };
        self.kept.shrink(series.charged_bytes() + series.state.charged_bytes());
        if let Some(keys) = unused_keys {
            self.kept.shrink(keys.charged_bytes());
        }
        self.remove_from_resource(series.resource.get());
        self.remove_from_stream(id);
    }
}
