//! What one scrape becomes: resources, scopes, families and their groups, until the scrape has ended.
//!
//! ```text
//!  page --sample--> series -> resource -> scope -> family -> group --end of the scrape--> `Output`
//! ```
//! Nothing is passed on before the scrape has ended, since a limit or a mistake in the page is found at its end. Looks up
//! series by their keys alone, so that a sample of a known series makes no copy of a text. Never writes OTLP.

use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_exposition::parse::{Exemplar, FamilyType};
use otelcore_prometheus_discovery::LabelSet;

use crate::family::{AddError, Family, Group, OwnedExemplar, Sample};
use crate::key::{KeyHasher, KeyTable};
use crate::metadata::MetadataStore;
use crate::names::{self, CREATED, TOTAL};
use crate::native::{NativeValue, is_stale};
use crate::resource::{Attributes, DiscoveredResource};
use crate::series::{self, NATIVE, Series, SeriesKind};

/// About the bytes of a group with its keys.
const GROUP_BYTES: u64 = size_of::<Group>() as u64 + 64;

/// The target that is scraped, as far as its points have it.
#[derive(Clone, Debug)]
pub(crate) struct TargetInfo {
    /// The labels that its series get.
    pub(crate) labels: LabelSet,
    pub(crate) resource: DiscoveredResource,
}

/// A resource of the scrape: there are several where the page has series of several instances.
#[derive(Debug)]
pub(crate) struct ResourceEntry {
    /// By name, since the page may have any number of them.
    pub(crate) attributes: BTreeMap<Box<str>, Box<str>>,
    pub(crate) scopes: Vec<ScopeEntry>,
}

#[derive(Debug, Default)]
pub(crate) struct ScopeEntry {
    pub(crate) name: Box<str>,
    pub(crate) version: Box<str>,
    pub(crate) schema_url: Box<str>,
    pub(crate) attributes: Attributes,
    /// Neither a name nor anything else: the scope is that of the receiver.
    pub(crate) is_empty: bool,
    pub(crate) families: Vec<Family>,
}

/// Where a family is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FamilyPlace {
    resource: u32,
    scope: u32,
    family: u32,
}

/// What happened to samples that are no points.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FailedPoints {
    pub(crate) count: u64,
    /// The error of the first one, and its metric.
    pub(crate) first: Option<(String, String)>,
}

/// The points of a scrape.
#[derive(Debug)]
pub(crate) struct Transaction {
    hasher: KeyHasher,
    pub(crate) resources: Vec<ResourceEntry>,
    resource_by_key: KeyTable,
    /// The scopes of all resources, each with the number of its resource and its own in there.
    scopes: Vec<(u32, u32)>,
    scope_by_key: KeyTable,
    families: Vec<FamilyPlace>,
    family_by_key: KeyTable,
    /// Families by the names of metrics that are a part of them, while `metadata` has this generation.
    family_by_metric: KeyTable,
    generation: u64,
    group_by_key: KeyTable,
    /// The last group, which the next sample often has too.
    last_group: Option<(u128, u32)>,
    pub(crate) failed: FailedPoints,
    /// About the memory that it takes.
    pub(crate) bytes: u64,
}

impl Transaction {
    pub(crate) fn new(hasher: KeyHasher) -> Self {
        Self {
            hasher,
            resources: Vec::new(),
            resource_by_key: KeyTable::default(),
            scopes: Vec::new(),
            scope_by_key: KeyTable::default(),
            families: Vec::new(),
            family_by_key: KeyTable::default(),
            family_by_metric: KeyTable::default(),
            generation: 0,
            group_by_key: KeyTable::default(),
            last_group: None,
            failed: FailedPoints::default(),
            bytes: 0,
        }
    }

    /// Adds a sample. True: it is a point.
    pub(crate) fn add_sample(
        &mut self,
        series: &Rc<Series>,
        target: &TargetInfo,
        metadata: &MetadataStore,
        timestamp_ms: i64,
        value: f64,
    ) -> bool {
        match series.kind {
            SeriesKind::TargetInfo => {
                self.add_target_info(series, target);
                return false;
            }
            SeriesKind::ScopeInfo => {
                self.add_scope_info(series, target);
                return false;
            }
            SeriesKind::Points => {}
        }
        if is_stale(value) && is_native_histogram(series.name(), metadata) {
            let family = self.family(series, target, metadata, Some(true));
            let at = self.group(family, series, timestamp_ms);
            // A marker that does not fit is left out.
            if let Some(family) = self.family_mut(family) {
                let _ = family.add_native(at, timestamp_ms, NativeValue::stale());
            }
            return false;
        }
        let family = self.family(series, target, metadata, None);
        let at = self.group(family, series, timestamp_ms);
        let sample = Sample { series, name: series.name(), timestamp_ms, value };
        let result = self.family_mut(family).map_or(Ok(0), |family| family.add_sample(at, &sample));
        self.count_result(series, result)
    }

    /// Adds a native histogram. True: it is a point.
    pub(crate) fn add_native(
        &mut self,
        series: &Rc<Series>,
        target: &TargetInfo,
        metadata: &MetadataStore,
        timestamp_ms: i64,
        value: NativeValue,
    ) -> bool {
        let family = self.family(series, target, metadata, Some(true));
        let at = self.group(family, series, timestamp_ms);
        let result = self.family_mut(family).map_or(Ok(0), |family| family.add_native(at, timestamp_ms, value));
        self.count_result(series, result)
    }

    /// Adds an exemplar to the point of the series, if there is one.
    pub(crate) fn add_exemplar(
        &mut self,
        series: &Rc<Series>,
        target: &TargetInfo,
        metadata: &MetadataStore,
        is_native: bool,
        exemplar: &Exemplar<'_>,
        timestamp_ms: i64,
    ) {
        if series.kind != SeriesKind::Points {
            return;
        }
        let family = self.family(series, target, metadata, is_native.then_some(true));
        let key = self.group_key(family, series);
        let Some(at) = self.group_by_key.get(key) else { return };
        let exemplar = OwnedExemplar::new(exemplar, timestamp_ms);
        self.bytes += exemplar.bytes();
        if let Some(group) = self.family_mut(family).and_then(|family| family.groups.get_mut(at as usize)) {
            group.more().exemplars.push(exemplar);
        }
    }

    fn count_result(&mut self, series: &Series, result: Result<u64, AddError>) -> bool {
        match result {
            Ok(bytes) => {
                self.bytes += bytes;
                true
            }
            Err(error) => {
                self.failed.count += 1;
                if self.failed.first.is_none() {
                    self.failed.first = Some((error.text(series.name()), series.name().to_owned()));
                }
                false
            }
        }
    }

    fn family_mut(&mut self, place: FamilyPlace) -> Option<&mut Family> {
        let resource = self.resources.get_mut(place.resource as usize)?;
        resource.scopes.get_mut(place.scope as usize)?.families.get_mut(place.family as usize)
    }

    fn add_target_info(&mut self, series: &Series, target: &TargetInfo) {
        let at = self.resource(series, target);
        let Some(resource) = self.resources.get_mut(at as usize) else { return };
        for (name, value) in series::info_labels(&series.labels, series.kind) {
            resource.attributes.insert(name.into(), value.into());
        }
        self.bytes += series.labels.bytes() as u64;
    }

    fn add_scope_info(&mut self, series: &Series, target: &TargetInfo) {
        let (resource, scope) = self.scope(series, target);
        let resource = self.resources.get_mut(resource as usize);
        let Some(scope) = resource.and_then(|resource| resource.scopes.get_mut(scope as usize)) else { return };
        scope.attributes = series::info_labels(&series.labels, series.kind)
            .map(|(name, value)| (Box::from(name), Box::from(value)))
            .collect();
        self.bytes += series.labels.bytes() as u64;
    }

    fn resource(&mut self, series: &Series, target: &TargetInfo) -> u32 {
        if let Some(at) = self.resource_by_key.get(series.resource) {
            return at;
        }
        let (job, instance) = series::job_and_instance(&series.labels, &target.labels);
        let attributes = target.resource.attributes(job, instance);
        self.bytes += attributes.iter().map(|(name, value)| (name.len() + value.len() + 32) as u64).sum::<u64>() + 128;
        let at = number(self.resources.len());
        let attributes = attributes.into_iter().collect();
        self.resources.push(ResourceEntry { attributes, scopes: Vec::new() });
        self.resource_by_key.set(series.resource, at);
        at
    }

    /// The number of the resource, and that of the scope in it.
    fn scope(&mut self, series: &Series, target: &TargetInfo) -> (u32, u32) {
        if let Some(place) = self.scope_by_key.get(series.scope).and_then(|at| self.scopes.get(at as usize)) {
            return *place;
        }
        let resource = self.resource(series, target);
        let series::ScopeLabels { name, version, schema_url } = series::scope_labels(&series.labels);
        let attributes: Attributes = match series.kind {
            SeriesKind::Points => {
                series::scope_attributes(&series.labels).map(|(name, value)| (name.into(), value.into())).collect()
            }
            _ => Attributes::new(),
        };
        let is_empty = name.is_empty() && version.is_empty() && schema_url.is_empty() && attributes.is_empty();
        let entry = ScopeEntry {
            name: name.into(),
            version: version.into(),
            schema_url: schema_url.into(),
            attributes,
            is_empty,
            families: Vec::new(),
        };
        self.bytes += 256 + series.labels.bytes() as u64;
        let Some(scopes) = self.resources.get_mut(resource as usize).map(|entry| &mut entry.scopes) else {
            return (resource, 0);
        };
        let place = (resource, number(scopes.len()));
        scopes.push(entry);
        self.scope_by_key.set(series.scope, number(self.scopes.len()));
        self.scopes.push(place);
        place
    }

    /// The family of a series. `native`: it is a native histogram, and whether with exponential buckets.
    fn family(
        &mut self,
        series: &Series,
        target: &TargetInfo,
        metadata: &MetadataStore,
        native: Option<bool>,
    ) -> FamilyPlace {
        let flag = if native.is_some() { NATIVE } else { 0 };
        let key = series.family | flag;
        if self.generation != metadata.generation {
            self.generation = metadata.generation;
            self.family_by_metric = KeyTable::default();
        }
        let known = self.family_by_key.get(key).or_else(|| self.family_by_metric.get(key));
        if let Some(place) = known.and_then(|at| self.families.get(at as usize)) {
            return *place;
        }
        let metric = series.name();
        let (resource, scope) = self.scope(series, target);
        let shared = self.shared_family(series, metadata, flag);
        let place_of = |at: u32| self.families.get(at as usize).copied();
        let mut collides = false;
        if let Some((at, place)) = shared.and_then(|at| place_of(at).map(|place| (at, place))) {
            if self.family_mut(place).is_some_and(|family| family.includes(metric)) {
                self.family_by_metric.set(key, at);
                return place;
            }
            collides = true;
        }
        let mut family = Family::new(metric, metadata, native.is_some(), native == Some(true));
        // The name of another family that has points already is not used again.
        if collides && &*family.name != metric {
            family = Family::unknown(metric);
        }
        self.bytes += family.bytes();
        let name_key = series::family_key(&self.hasher, series.scope, &family.name) | flag;
        let resources = &mut self.resources;
        let scopes = resources.get_mut(resource as usize).and_then(|entry| entry.scopes.get_mut(scope as usize));
        let Some(families) = scopes.map(|scope| &mut scope.families) else {
            return FamilyPlace { resource, scope, family: u32::MAX };
        };
        let place = FamilyPlace { resource, scope, family: number(families.len()) };
        families.push(family);
        let at = number(self.families.len());
        self.families.push(place);
        self.family_by_key.set(name_key, at);
        if name_key != key {
            self.family_by_metric.set(key, at);
        }
        place
    }

    /// The family that has the name of the metric without its suffix.
    fn shared_family(&self, series: &Series, metadata: &MetadataStore, flag: u128) -> Option<u32> {
        let metric = series.name();
        if metadata.get(metric).is_some() {
            return None;
        }
        let shorter = names::without_suffix(metric);
        let is_counter = || metadata.get(shorter).is_some_and(|found| found.family_type == FamilyType::Counter);
        let total;
        let name = if metric.ends_with(CREATED) && is_counter() {
            total = format!("{shorter}{TOTAL}");
            &total
        } else {
            shorter
        };
        self.family_by_key.get(series::family_key(&self.hasher, series.scope, name) | flag)
    }

    fn group_key(&mut self, place: FamilyPlace, series: &Series) -> u128 {
        let Some(class) = self.family_mut(place).map(|family| family.kind.class()) else { return 0 };
        let family = u128::from(place.resource) << 64 | u128::from(place.scope) << 32 | u128::from(place.family);
        // Odd multiples of numbers below 2^96 are different.
        series.group(class, &self.hasher) ^ family.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    /// The place of the group of a series in its family.
    fn group(&mut self, place: FamilyPlace, series: &Rc<Series>, timestamp_ms: i64) -> usize {
        let key = self.group_key(place, series);
        if let Some((last, at)) = self.last_group
            && last == key
        {
            return at as usize;
        }
        let at = match self.group_by_key.get(key) {
            Some(at) => at,
            None => {
                let Some(family) = self.family_mut(place) else { return 0 };
                let at = number(family.groups.len());
                family.groups.push(Group::new(series.clone(), timestamp_ms));
                self.group_by_key.set(key, at);
                self.bytes += GROUP_BYTES;
                at
            }
        };
        self.last_group = Some((key, at));
        at as usize
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Whether the series of this name are native histograms: the family of a classic one has no series of its own name.
fn is_native_histogram(name: &str, metadata: &MetadataStore) -> bool {
    metadata.get(name).is_some_and(|found| found.family_type == FamilyType::Histogram)
}
