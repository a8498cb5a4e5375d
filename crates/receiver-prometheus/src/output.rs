//! Writes the points of a scrape as OTLP, in payloads of bounded size.
//!
//! A machine that stops after a counted amount of work. Families have the order of the page. Adds and changes no point.

use std::rc::Rc;

use otelcore_pdata::build::{
    AttributesWriter, Body, ExponentialHistogramPointWriter, HistogramPointWriter, MetricWriter, NumberPointWriter,
    ScopeMetricsWriter, SummaryPointWriter,
};
use otelcore_pdata::{Rope, StepBudget};

use crate::family::{Family, FamilyKind, Group, OwnedExemplar};
use crate::names;
use crate::native::{self, NativeValue, count_of, dense};
use crate::series::{LabelClass, Series, is_attribute};
use crate::transaction::{ResourceEntry, ScopeEntry, Transaction};

/// A payload ends at the first of these bounds.
const MAX_BYTES: usize = 1 << 20;
const MAX_POINTS: usize = 8192;

/// Units of work for a point, for a group that is looked at, and for a family.
const WORK_PER_POINT: u64 = 400;
const WORK_PER_GROUP: u64 = 4;
const WORK_PER_FAMILY: u64 = 40;

/// The scope of series that name none.
const SCOPE_NAME: &[u8] = b"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver";

const CUMULATIVE: i32 = 2;
/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`.
const NO_RECORDED_VALUE: u32 = 1;

/// What is the same for all scrapes of a receiver.
#[derive(Clone, Debug)]
pub(crate) struct OutputSettings {
    pub(crate) trims_suffixes: bool,
    /// The version of the scope of series that name none.
    pub(crate) version: &'static str,
}

/// A position among the groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Place {
    resource: usize,
    scope: usize,
    family: usize,
    group: usize,
}

/// Groups of one family that are in a payload.
#[derive(Clone, Copy, Debug)]
struct Part {
    at: Place,
    /// The end of the groups.
    end: usize,
}

/// The end of a step.
#[derive(Debug)]
pub(crate) enum OutputStep {
    Payload(Rope),
    /// The work is spent.
    Pause,
    Done,
}

/// The points of a scrape that are being written.
#[derive(Debug)]
pub(crate) struct Output {
    settings: Rc<OutputSettings>,
    resources: Vec<ResourceEntry>,
    next: Place,
    /// What the next payload has, with about its bytes and its points.
    parts: Vec<Part>,
    bytes: usize,
    points: usize,
}

impl Output {
    pub(crate) fn new(transaction: Transaction, settings: Rc<OutputSettings>) -> Self {
        let resources = transaction.resources;
        Self { settings, resources, next: Place::default(), parts: Vec::new(), bytes: 0, points: 0 }
    }

    /// Writes the next payload, within the work.
    pub(crate) fn step(&mut self, work: &mut StepBudget) -> OutputStep {
        while self.bytes < MAX_BYTES && self.points < MAX_POINTS {
            if work.is_spent() {
                return OutputStep::Pause;
            }
            if !self.select(work) {
                break;
            }
        }
        if self.parts.is_empty() {
            return OutputStep::Done;
        }
        let mut body = Body::with_capacity(self.bytes + 1024);
        self.write(&mut body);
        self.parts.clear();
        (self.bytes, self.points) = (0, 0);
        OutputStep::Payload(body.finish())
    }

    /// Selects the next groups. False: there are none.
    fn select(&mut self, work: &mut StepBudget) -> bool {
        work.charge(WORK_PER_FAMILY);
        let Place { resource, scope, family, group } = self.next;
        let Some(entry) = self.resources.get(resource) else { return false };
        let Some(scope_entry) = entry.scopes.get(scope) else {
            self.next = Place { resource: resource + 1, ..Place::default() };
            return true;
        };
        let Some(found) = scope_entry.families.get(family) else {
            self.next = Place { resource, scope: scope + 1, ..Place::default() };
            return true;
        };
        let (mut end, mut written) = (group, 0);
        let header = 256 + found.help.len();
        let mut bytes = header;
        for candidate in found.written_or_not(group) {
            if self.bytes + bytes >= MAX_BYTES && written > 0 || self.points + written >= MAX_POINTS {
                break;
            }
            end += 1;
            work.charge(WORK_PER_GROUP);
            if let Some(group) = candidate {
                written += 1;
                let size = group.written_bytes();
                bytes += size;
                work.charge(WORK_PER_POINT + size as u64);
            }
        }
        if written > 0 {
            self.parts.push(Part { at: self.next, end });
            self.bytes += bytes;
            self.points += written;
        }
        self.next = if end >= found.groups.len() {
            Place { resource, scope, family: family + 1, group: 0 }
        } else {
            Place { group: end, ..self.next }
        };
        true
    }

    fn write(&self, body: &mut Body) {
        let mut parts = self.parts.as_slice();
        while let Some(first) = parts.first() {
            let same_resource = |part: &&Part| part.at.resource == first.at.resource;
            let count = parts.iter().take_while(same_resource).count();
            let (mine, rest) = parts.split_at(count);
            parts = rest;
            if let Some(resource) = self.resources.get(first.at.resource) {
                self.write_resource(body, resource, mine);
            }
        }
    }

    fn write_resource(&self, body: &mut Body, resource: &ResourceEntry, mut parts: &[Part]) {
        let mut entry = body.resource_metrics();
        write_attributes(&mut entry.resource().attributes(), resource.attributes.iter());
        while let Some(first) = parts.first() {
            let count = parts.iter().take_while(|part| part.at.scope == first.at.scope).count();
            let (mine, rest) = parts.split_at(count);
            parts = rest;
            let Some(scope) = resource.scopes.get(first.at.scope) else { continue };
            let mut metrics = entry.scope_metrics();
            self.write_scope(&mut metrics, scope);
            for part in mine {
                if let Some(family) = scope.families.get(part.at.family) {
                    self.write_family(&mut metrics.metric(), family, part.at.group, part.end);
                }
            }
        }
    }

    fn write_scope(&self, metrics: &mut ScopeMetricsWriter<'_>, scope: &ScopeEntry) {
        if scope.is_empty {
            metrics.scope().name(SCOPE_NAME).version(self.settings.version.as_bytes());
            return;
        }
        metrics.schema_url(scope.schema_url.as_bytes());
        let mut writer = metrics.scope();
        writer.name(scope.name.as_bytes()).version(scope.version.as_bytes());
        write_attributes(&mut writer.attributes(), scope.attributes.iter().map(|(name, value)| (name, value)));
    }

    fn write_family(&self, metric: &mut MetricWriter<'_>, family: &Family, from: usize, to: usize) {
        let is_sum = matches!(family.kind, FamilyKind::Sum { .. });
        let name = match self.settings.trims_suffixes {
            true => names::trimmed(&family.name, is_sum, &family.unit),
            false => &family.name,
        };
        metric.name(name.as_bytes()).description(family.help.as_bytes());
        metric.unit(names::ucum_unit(&family.unit).as_bytes());
        metric.metadata().string(b"prometheus.type", family.type_word.as_bytes());
        let class = family.kind.attribute_class();
        match family.kind {
            FamilyKind::Sum { is_monotonic } => {
                let mut sum = metric.sum();
                sum.aggregation_temporality(CUMULATIVE).is_monotonic(is_monotonic);
                family.written(from, to).for_each(|group| write_number(&mut sum.point(), group, class, true));
            }
            FamilyKind::Gauge | FamilyKind::GaugeHistogram => {
                let mut gauge = metric.gauge();
                family.written(from, to).for_each(|group| write_number(&mut gauge.point(), group, class, false));
            }
            FamilyKind::Histogram => {
                let mut histogram = metric.histogram();
                histogram.aggregation_temporality(CUMULATIVE);
                family.written(from, to).for_each(|group| write_histogram(&mut histogram.point(), group, class));
            }
            FamilyKind::ExponentialHistogram => {
                let mut histogram = metric.exponential_histogram();
                histogram.aggregation_temporality(CUMULATIVE);
                family.written(from, to).for_each(|group| write_exponential(&mut histogram.point(), group, class));
            }
            FamilyKind::Summary => {
                let mut summary = metric.summary();
                family.written(from, to).for_each(|group| write_summary(&mut summary.point(), group, class));
            }
        }
    }
}

fn write_attributes<'a>(
    writer: &mut AttributesWriter<'_>,
    attributes: impl Iterator<Item = (&'a Box<str>, &'a Box<str>)>,
) {
    for (name, value) in attributes {
        writer.string(name.as_bytes(), value.as_bytes());
    }
}

fn write_labels(writer: &mut AttributesWriter<'_>, series: &Series, class: LabelClass) {
    for (name, value) in series.labels.iter() {
        if is_attribute(class, name) && !value.is_empty() {
            writer.string(name.as_bytes(), value.as_bytes());
        }
    }
}

/// Milliseconds as nanoseconds. OTLP has no time before 1970.
fn nanos(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000)
}

/// Seconds as nanoseconds, computed as the Go receiver does.
fn nanos_of_seconds(seconds: f64) -> u64 {
    let whole = seconds as i64;
    let fraction = (seconds - whole as f64) * 1e9;
    u64::try_from(whole.saturating_mul(1_000_000_000).saturating_add(fraction as i64)).unwrap_or(0)
}

/// Writes what points of all kinds have.
macro_rules! write_common {
    ($point:ident, $group:ident, $class:ident, $has_start:expr) => {
        if $has_start && $group.created_seconds != 0.0 && !native::is_stale($group.created_seconds) {
            $point.start_time_unix_nano(nanos_of_seconds($group.created_seconds));
        }
        $point.time_unix_nano(nanos($group.timestamp_ms));
        if $group.is_stale() {
            $point.flags(NO_RECORDED_VALUE);
        }
        write_labels(&mut $point.attributes(), &$group.series, $class);
    };
}

macro_rules! write_exemplars {
    ($point:ident, $group:ident) => {
        for exemplar in $group.parts().map(|parts| parts.exemplars.as_slice()).unwrap_or_default() {
            let mut writer = $point.exemplar();
            writer.time_unix_nano(nanos(exemplar.timestamp_ms)).double(exemplar.value);
            let ids = ExemplarIds::new(exemplar);
            if let Some(id) = ids.trace_id {
                writer.trace_id(&id);
            }
            if let Some(id) = ids.span_id {
                writer.span_id(&id);
            }
            let mut attributes = writer.filtered_attributes();
            for (name, value) in &exemplar.labels {
                if !ids.has(name, value) {
                    attributes.string(name.as_bytes(), value.as_bytes());
                }
            }
        }
    };
}

fn write_number(point: &mut NumberPointWriter<'_>, group: &Group, class: LabelClass, has_start: bool) {
    write_common!(point, group, class, has_start);
    if let Some(value) = group.value.filter(|_| !group.is_stale()) {
        point.double(value);
    }
    write_exemplars!(point, group);
}

fn write_histogram(point: &mut HistogramPointWriter<'_>, group: &Group, class: LabelClass) {
    write_common!(point, group, class, true);
    let is_stale = group.is_stale();
    let count = group.value.unwrap_or(0.0);
    if !is_stale {
        point.count(count_of(count));
        if let Some(sum) = group.sum {
            point.sum(sum);
        }
    }
    let mut points = group.parts().map(|parts| sorted(&parts.points)).unwrap_or_default();
    // A bucket that has ended is not a part of a histogram that goes on.
    points.retain(|(_, value)| is_stale || !native::is_stale(*value));
    // The last bucket has no bound in OTLP.
    let finite = match points.split_last() {
        Some(((bound, _), rest)) if *bound == f64::INFINITY => rest,
        _ => &points,
    };
    let mut counts = Vec::with_capacity(finite.len() + 1);
    let mut before = 0.0;
    for value in finite.iter().map(|(_, value)| *value).chain([count]) {
        counts.push(if is_stale { 0 } else { count_of(value - before) });
        before = value;
    }
    let bounds: Vec<f64> = finite.iter().map(|(bound, _)| *bound).collect();
    point.explicit_bounds(&bounds).bucket_counts(&counts);
    write_exemplars!(point, group);
}

fn write_exponential(point: &mut ExponentialHistogramPointWriter<'_>, group: &Group, class: LabelClass) {
    write_common!(point, group, class, true);
    let native = group.parts().and_then(|parts| parts.native.as_ref());
    if let Some(native) = native.filter(|_| !group.is_stale()) {
        let NativeValue { schema, int_count, sum, zero_threshold, zero_count, .. } = *native;
        point.scale(schema).count(int_count).sum(sum).zero_threshold(zero_threshold).zero_count(zero_count);
        if let Some((offset, counts)) = dense(&native.positive) {
            point.positive().offset(offset).bucket_counts(&counts);
        }
        if let Some((offset, counts)) = dense(&native.negative) {
            point.negative().offset(offset).bucket_counts(&counts);
        }
    }
    write_exemplars!(point, group);
}

fn write_summary(point: &mut SummaryPointWriter<'_>, group: &Group, class: LabelClass) {
    write_common!(point, group, class, true);
    let is_stale = group.is_stale();
    if !is_stale {
        point.count(count_of(group.value.unwrap_or(0.0)));
        if let Some(sum) = group.sum {
            point.sum(sum);
        }
    }
    for (quantile, value) in group.parts().map(|parts| sorted(&parts.points)).unwrap_or_default() {
        if !is_stale && native::is_stale(value) {
            continue;
        }
        let mut writer = point.quantile_value();
        writer.quantile(quantile);
        if !is_stale {
            writer.value(value);
        }
    }
}

/// By bound.
fn sorted(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points = points.to_vec();
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points
}

/// The ids among the labels of an exemplar.
struct ExemplarIds {
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

impl ExemplarIds {
    fn new(exemplar: &OwnedExemplar) -> Self {
        let mut ids = Self { trace_id: None, span_id: None };
        for (name, value) in &exemplar.labels {
            if name.eq_ignore_ascii_case("trace_id") {
                ids.trace_id = hex_id(value).or(ids.trace_id);
            } else if name.eq_ignore_ascii_case("span_id") {
                ids.span_id = hex_id(value).or(ids.span_id);
            }
        }
        ids
    }

    /// Whether a label is an id, and so no attribute.
    fn has(&self, name: &str, value: &str) -> bool {
        name.eq_ignore_ascii_case("trace_id") && hex_id::<16>(value).is_some()
            || name.eq_ignore_ascii_case("span_id") && hex_id::<8>(value).is_some()
    }
}

/// An id in hexadecimal digits. A longer one is cut at its end, a shorter one filled with zeros at its beginning.
fn hex_id<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let digits = digits.get(..2 * N).unwrap_or(digits);
    if digits.len() % 2 != 0 {
        return None;
    }
    let mut id = [0; N];
    let skip = N.checked_sub(digits.len() / 2)?;
    for (byte, pair) in id.iter_mut().skip(skip).zip(digits.chunks_exact(2)) {
        let digit = |at: usize| pair.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_or_filled_as_in_go() {
        assert_eq!(hex_id::<2>("0a0B"), Some([0x0a, 0x0b]));
        assert_eq!(hex_id::<2>("0a0B0c"), Some([0x0a, 0x0b]));
        assert_eq!(hex_id::<2>("0a"), Some([0, 0x0a]));
        assert_eq!(hex_id::<2>(""), Some([0, 0]));
        assert_eq!((hex_id::<2>("0a0"), hex_id::<2>("xx")), (None, None));
    }

    #[test]
    fn start_times_are_those_of_go_and_never_before_1970() {
        assert_eq!(nanos_of_seconds(1.5), 1_500_000_000);
        assert_eq!([nanos_of_seconds(-1.0), nanos_of_seconds(f64::NAN)], [0, 0]);
        assert_eq!([nanos(-5), nanos(5), nanos(i64::MAX)], [0, 5_000_000, u64::MAX]);
    }
}
