//! Families of one scrape, and the groups in them: a point with all its parts.
//!
//! Finds no families and writes nothing.

use std::rc::Rc;

use otelcore_exposition::parse::{Exemplar, FamilyType};

use crate::metadata::{self, Metadata, MetadataStore};
use crate::names::{self, CREATED, TOTAL};
use crate::native::{NativeError, NativeValue, is_stale};
use crate::series::{BUCKET, LabelClass, QUANTILE, Series};

/// What a family becomes in OTLP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FamilyKind {
    Sum {
        is_monotonic: bool,
    },
    Gauge,
    Histogram,
    ExponentialHistogram,
    Summary,
    /// A gauge histogram. OTLP has none, so each of its samples is a gauge.
    GaugeHistogram,
}

impl FamilyKind {
    fn new(family_type: FamilyType) -> Self {
        match family_type {
            FamilyType::Counter => Self::Sum { is_monotonic: true },
            FamilyType::Gauge | FamilyType::Unknown => Self::Gauge,
            FamilyType::Histogram => Self::Histogram,
            FamilyType::Summary => Self::Summary,
            FamilyType::Info | FamilyType::StateSet => Self::Sum { is_monotonic: false },
            FamilyType::GaugeHistogram => Self::GaugeHistogram,
        }
    }

    /// Which labels tell its groups apart.
    pub(crate) fn class(self) -> LabelClass {
        match self {
            Self::Histogram => LabelClass::Histogram,
            Self::Summary => LabelClass::Summary,
            _ => LabelClass::Other,
        }
    }

    /// Which labels are attributes of its points.
    pub(crate) fn attribute_class(self) -> LabelClass {
        if self == Self::ExponentialHistogram { LabelClass::Histogram } else { self.class() }
    }
}

/// A family of one scrape.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: FamilyKind,
    /// The name of the metric.
    pub(crate) name: Rc<str>,
    /// The name that its metadata have.
    metadata_name: Rc<str>,
    pub(crate) type_word: &'static str,
    pub(crate) help: Rc<str>,
    pub(crate) unit: Rc<str>,
    /// In the order in which they were first seen.
    pub(crate) groups: Vec<Group>,
}

impl Family {
    /// The family of a metric that has none yet.
    pub(crate) fn new(metric: &str, metadata: &MetadataStore, is_native: bool, is_exponential: bool) -> Self {
        let (found, name) = find_metadata(metric, metadata);
        let family_type = if is_native { FamilyType::Histogram } else { found.family_type };
        let kind = match FamilyKind::new(family_type) {
            FamilyKind::Histogram if is_exponential => FamilyKind::ExponentialHistogram,
            kind => kind,
        };
        Self {
            kind,
            name,
            metadata_name: found.family,
            type_word: family_type.name(),
            help: found.help,
            unit: found.unit,
            groups: Vec::new(),
        }
    }

    /// A family that has nothing but the name of its metric.
    pub(crate) fn unknown(metric: &str) -> Self {
        let Metadata { family, help, unit, .. } = unknown_metadata(metric);
        Self {
            kind: FamilyKind::Gauge,
            name: family.clone(),
            metadata_name: family,
            type_word: FamilyType::Unknown.name(),
            help,
            unit,
            groups: Vec::new(),
        }
    }

    /// Whether a metric is a part of it.
    pub(crate) fn includes(&self, metric: &str) -> bool {
        match self.kind {
            FamilyKind::Sum { .. } => names::without_suffix(metric) == &*self.metadata_name,
            FamilyKind::Gauge => metric == &*self.name,
            _ => names::without_suffix(metric) == &*self.name,
        }
    }

    fn is_created(&self, metric: &str) -> bool {
        metric.strip_suffix(CREATED) == Some(&*self.metadata_name)
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of::<Self>() as u64 + 64
    }

    /// Adds a sample to one of its groups. What it takes more is returned.
    pub(crate) fn add_sample(&mut self, at: usize, metric: &Sample<'_>) -> Result<u64, AddError> {
        let is_created = self.is_created(metric.name);
        let (kind, group) = (self.kind, self.groups.get_mut(at));
        let Some(group) = group else { return Ok(0) };
        if group.timestamp_ms != metric.timestamp_ms {
            return Err(AddError::Timestamps);
        }
        match kind {
            FamilyKind::Histogram | FamilyKind::Summary => {
                if metric.name.ends_with("_sum") {
                    group.sum = Some(metric.value);
                } else if metric.name.ends_with("_count") {
                    group.value = Some(metric.value);
                } else if is_created {
                    group.created_seconds = metric.value;
                } else {
                    let bound = bound(kind, metric.series)?;
                    group.more().points.push((bound, metric.value));
                    return Ok(16);
                }
            }
            FamilyKind::ExponentialHistogram => {
                if is_created {
                    group.created_seconds = metric.value;
                }
            }
            FamilyKind::Sum { .. } if is_created => group.created_seconds = metric.value,
            _ => group.value = Some(metric.value),
        }
        Ok(0)
    }

    /// Adds a native histogram to one of its groups.
    pub(crate) fn add_native(&mut self, at: usize, timestamp_ms: i64, value: NativeValue) -> Result<u64, AddError> {
        let kind = self.kind;
        let Some(group) = self.groups.get_mut(at) else { return Ok(0) };
        if group.timestamp_ms != timestamp_ms {
            return Err(AddError::Timestamps);
        }
        if kind != FamilyKind::ExponentialHistogram {
            return Err(AddError::NotNative);
        }
        value.check().map_err(AddError::Native)?;
        group.value = Some(value.count);
        group.sum = Some(value.sum);
        let bytes = value.bytes();
        group.more().native = Some(value);
        Ok(bytes)
    }

    /// Its groups from one on, `None` in the place of those that are no points.
    pub(crate) fn written_or_not(&self, from: usize) -> impl Iterator<Item = Option<&Group>> {
        let kind = self.kind;
        self.groups.iter().skip(from).map(move |group| group.is_written(kind).then_some(group))
    }

    /// The points among its groups from one to another.
    pub(crate) fn written(&self, from: usize, to: usize) -> impl Iterator<Item = &Group> {
        let kind = self.kind;
        self.groups.get(from..to).unwrap_or_default().iter().filter(move |group| group.is_written(kind))
    }
}

/// A sample that is added.
pub(crate) struct Sample<'s> {
    pub(crate) series: &'s Series,
    pub(crate) name: &'s str,
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
}

/// Why a sample is no point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AddError {
    Timestamps,
    Bound(&'static str),
    Number(String),
    NotNative,
    Native(NativeError),
}

impl AddError {
    /// The text of the log, for a metric.
    pub(crate) fn text(&self, metric: &str) -> String {
        match self {
            Self::Timestamps => format!("inconsistent timestamps on metric points for metric {metric}"),
            Self::Bound(text) => (*text).to_owned(),
            Self::Number(text) => format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"),
            Self::NotNative => format!("metric type mismatch for exponential histogram metric {metric}"),
            Self::Native(_) => format!("the buckets of exponential histogram metric {metric} are too far apart"),
        }
    }
}

fn bound(kind: FamilyKind, series: &Series) -> Result<f64, AddError> {
    let (label, error) = if kind == FamilyKind::Summary {
        (QUANTILE, "'quantile' label on summary metric is missing or empty")
    } else {
        (BUCKET, "'le' label on histogram metric is missing or empty")
    };
    match series.labels.get(label) {
        "" => Err(AddError::Bound(error)),
        text => otelcore_go_number::parse_float(text.as_bytes()).ok_or_else(|| AddError::Number(text.to_owned())),
    }
}

/// A point and its parts.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) series: Rc<Series>,
    pub(crate) timestamp_ms: i64,
    /// When the series began; zero if that is not known.
    pub(crate) created_seconds: f64,
    /// The value; of a histogram or summary, the count.
    pub(crate) value: Option<f64>,
    pub(crate) sum: Option<f64>,
    more: Option<Box<GroupParts>>,
}

/// What few groups have.
#[derive(Debug, Default)]
pub(crate) struct GroupParts {
    /// Bound and value.
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) native: Option<NativeValue>,
    pub(crate) exemplars: Vec<OwnedExemplar>,
}

/// An exemplar that outlives the page.
#[derive(Debug)]
pub(crate) struct OwnedExemplar {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: f64,
    pub(crate) labels: Vec<(Box<str>, Box<str>)>,
}

impl OwnedExemplar {
    pub(crate) fn new(exemplar: &Exemplar<'_>, timestamp_ms: i64) -> Self {
        let labels = exemplar.labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { timestamp_ms, value: exemplar.value, labels }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let texts: usize = self.labels.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        (size_of::<Self>() + texts) as u64
    }
}

impl Group {
    pub(crate) fn new(series: Rc<Series>, timestamp_ms: i64) -> Self {
        Self { series, timestamp_ms, created_seconds: 0.0, value: None, sum: None, more: None }
    }

    pub(crate) fn more(&mut self) -> &mut GroupParts {
        self.more.get_or_insert_default()
    }

    pub(crate) fn parts(&self) -> Option<&GroupParts> {
        self.more.as_deref()
    }

    /// The series has ended.
    pub(crate) fn is_stale(&self) -> bool {
        self.value.is_some_and(is_stale) || self.sum.is_some_and(is_stale)
    }

    fn is_written(&self, kind: FamilyKind) -> bool {
        let has_native = || self.parts().is_some_and(|parts| parts.native.is_some());
        self.value.is_some() && (kind != FamilyKind::ExponentialHistogram || has_native())
    }

    /// About the bytes of the point in OTLP.
    pub(crate) fn written_bytes(&self) -> usize {
        let parts = self.parts().map_or(0, |parts| {
            let native = parts.native.as_ref().map_or(0, |native| native.bytes() as usize);
            native + 20 * parts.points.len() + parts.exemplars.iter().map(|e| e.bytes() as usize).sum::<usize>()
        });
        64 + self.series.labels.bytes() + parts
    }
}

fn unknown_metadata(metric: &str) -> Metadata {
    let empty: Rc<str> = "".into();
    Metadata { family: metric.into(), family_type: FamilyType::Unknown, help: empty.clone(), unit: empty }
}

/// The metadata of a metric, and the name of its family.
fn find_metadata(metric: &str, store: &MetadataStore) -> (Metadata, Rc<str>) {
    let name: Rc<str> = metric.into();
    if let Some((help, unit)) = metadata::of_report(metric) {
        let family_type = FamilyType::Gauge;
        return (Metadata { family: name.clone(), family_type, help: help.into(), unit: unit.into() }, name);
    }
    if let Some(found) = store.get(metric) {
        return (found.clone(), name);
    }
    let shorter = names::without_suffix(metric);
    let Some(found) = store.get(shorter) else { return (unknown_metadata(metric), name) };
    if found.family_type != FamilyType::Counter {
        return (found.clone(), shorter.into());
    }
    // OpenMetrics has the metadata of a counter under its name without `_total`.
    let name = if metric.ends_with(CREATED) { format!("{shorter}{TOTAL}").into() } else { name };
    (found.clone(), name)
}
