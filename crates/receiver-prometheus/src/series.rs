//! One series: its final labels, and the keys that follow from them.
//!
//! Holds no values; those are in the transaction of a scrape.

use std::cell::Cell;

use otelcore_prometheus_discovery::LabelSet;

use crate::key::KeyHasher;

pub(crate) const NAME: &str = "__name__";
pub(crate) const JOB: &str = "job";
pub(crate) const INSTANCE: &str = "instance";
pub(crate) const BUCKET: &str = "le";
pub(crate) const QUANTILE: &str = "quantile";

const SCOPE_PREFIX: &str = "otel_scope_";
const SCOPE_NAME: &str = "otel_scope_name";
const SCOPE_VERSION: &str = "otel_scope_version";
const SCOPE_SCHEMA_URL: &str = "otel_scope_schema_url";

/// Added to the key of a family of native histograms, which may have the name of a family of classic ones.
pub(crate) const NATIVE: u128 = 1 << 127;

/// Which labels are not attributes of a point, apart from those of every class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LabelClass {
    /// No further label.
    Other,
    /// The upper bound of a bucket.
    Histogram,
    /// The quantile.
    Summary,
}

/// Whether a label is an attribute of points.
pub(crate) fn is_attribute(class: LabelClass, name: &str) -> bool {
    match name {
        NAME | INSTANCE | JOB | "__scheme__" | "__metrics_path__" => false,
        BUCKET => class != LabelClass::Histogram,
        QUANTILE => class != LabelClass::Summary,
        _ => !name.starts_with(SCOPE_PREFIX),
    }
}

/// What a series is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SeriesKind {
    /// Its values are points.
    Points,
    /// Its labels are attributes of the resource.
    TargetInfo,
    /// Its labels are attributes of a scope.
    ScopeInfo,
}

/// The scope of a series, as its labels have it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ScopeLabels<'s> {
    pub(crate) name: &'s str,
    pub(crate) version: &'s str,
    pub(crate) schema_url: &'s str,
}

/// A series of a target.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: LabelSet,
    pub(crate) kind: SeriesKind,
    /// The key of all labels.
    pub(crate) identity: u128,
    /// Keys of the resource, of the scope in it, and of the family in that.
    pub(crate) resource: u128,
    pub(crate) scope: u128,
    pub(crate) family: u128,
    /// The key of what the points of one series have in common, for the class that was asked for last.
    group: Cell<Option<(LabelClass, u128)>>,
    /// Its place in the cache of the target, if it is there.
    pub(crate) slot: Cell<Option<u32>>,
    /// How many entries of the page have these labels.
    pub(crate) entries: Cell<u32>,
    /// A point of it was accepted.
    pub(crate) is_known: Cell<bool>,
    /// The last two scrapes in which it was tracked.
    tracked: Cell<(u64, u64)>,
}

impl Series {
    /// The series with these labels. Without a job or an instance, those of the target are used.
    ///
    /// # Errors
    /// The target has none either.
    pub(crate) fn new(labels: LabelSet, target: &LabelSet, hasher: &KeyHasher) -> Result<Self, String> {
        let (job, instance) = job_and_instance(&labels, target);
        if job.is_empty() || instance.is_empty() {
            return Err("job or instance cannot be found from labels".to_owned());
        }
        let kind = match labels.get(NAME) {
            "target_info" => SeriesKind::TargetInfo,
            "otel_scope_info" => SeriesKind::ScopeInfo,
            _ => SeriesKind::Points,
        };
        let resource = hasher.texts([job, instance].into_iter());
        let ScopeLabels { name, version, schema_url } = scope_labels(&labels);
        let fixed = [name, version, schema_url].into_iter();
        // The further labels of `otel_scope_info` are not a part of the identity of the scope.
        let further = (kind == SeriesKind::Points).then(|| scope_attributes(&labels));
        let further = further.into_iter().flatten().flat_map(|(name, value)| [name, value]);
        let scope = hasher.pair(resource, hasher.texts(fixed.chain(further)));
        let family = family_key(hasher, scope, labels.get(NAME));
        let identity = hasher.texts(labels.iter().flat_map(|(name, value)| [name, value]));
        Ok(Self {
            kind,
            identity,
            resource,
            scope,
            family,
            group: Cell::new(None),
            slot: Cell::new(None),
            entries: Cell::new(0),
            is_known: Cell::new(false),
            tracked: Cell::new((0, 0)),
            labels,
        })
    }

    pub(crate) fn name(&self) -> &str {
        self.labels.get(NAME)
    }

    /// The key of the attributes that a point of this series has.
    pub(crate) fn group(&self, class: LabelClass, hasher: &KeyHasher) -> u128 {
        if let Some((known, key)) = self.group.get()
            && known == class
        {
            return key;
        }
        let attributes = self.labels.iter().filter(|(name, _)| is_attribute(class, name));
        let key = hasher.texts(attributes.flat_map(|(name, value)| [name, value]));
        self.group.set(Some((class, key)));
        key
    }

    /// It is on the page of this scrape.
    pub(crate) fn track(&self, scrape: u64) {
        let (last, _) = self.tracked.get();
        if last != scrape {
            self.tracked.set((scrape, last));
        }
    }

    /// Whether it was tracked in `scrape`, and not in a later one except `ignored`.
    pub(crate) fn was_tracked(&self, scrape: u64, ignored: Option<u64>) -> bool {
        let (last, before) = self.tracked.get();
        last == scrape || Some(last) == ignored && before == scrape
    }

    /// About the bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.labels.bytes() as u64 + size_of::<Self>() as u64 + 64
    }
}

/// The key of a family of this name in a scope.
pub(crate) fn family_key(hasher: &KeyHasher, scope: u128, name: &str) -> u128 {
    hasher.pair(scope, hasher.texts([name].into_iter())) & !NATIVE
}

/// Job and instance of a series. Where its labels lack one, it is that of the target.
pub(crate) fn job_and_instance<'l>(labels: &'l LabelSet, target: &'l LabelSet) -> (&'l str, &'l str) {
    let get = |name| match labels.get(name) {
        "" => target.get(name),
        value => value,
    };
    (get(JOB), get(INSTANCE))
}

/// The labels that name the scope.
pub(crate) fn scope_labels(labels: &LabelSet) -> ScopeLabels<'_> {
    ScopeLabels {
        name: labels.get(SCOPE_NAME),
        version: labels.get(SCOPE_VERSION),
        schema_url: labels.get(SCOPE_SCHEMA_URL),
    }
}

/// Attributes of the scope that labels of a series give it.
pub(crate) fn scope_attributes(labels: &LabelSet) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter_map(|(name, value)| {
        let is_fixed = matches!(name, SCOPE_NAME | SCOPE_VERSION | SCOPE_SCHEMA_URL);
        name.strip_prefix(SCOPE_PREFIX).filter(|_| !is_fixed).map(|name| (name, value))
    })
}

/// The labels of a series of information, which become attributes.
pub(crate) fn info_labels(labels: &LabelSet, kind: SeriesKind) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(move |(name, _)| match *name {
        NAME | JOB | INSTANCE => false,
        SCOPE_NAME | SCOPE_VERSION | SCOPE_SCHEMA_URL => kind != SeriesKind::ScopeInfo,
        _ => true,
    })
}
