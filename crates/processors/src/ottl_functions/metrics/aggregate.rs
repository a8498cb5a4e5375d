//! Points of a metric that have the same attributes become one.
//!
//! The results are in the order in which the first points of each group were. Points are grouped by a digest of what
//! they must have in common: their attributes as the Go collector prints them, their time, and what histograms must
//! share.

use std::collections::BTreeMap;

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{exponential_point, histogram_point, number_point, summary_point};
use otelcore_pdata::text;
use otelcore_pdata::views::{
    AnyValue, ExponentialHistogramPoint, HistogramPoint, KeyValue, NumberPoint, NumberValue, RepeatedMessages, View,
};
use otelcore_pdata::wire_format::{
    WireValue, encode_zigzag32, put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint, put_varint_field,
    raw_fields, varint_len,
};
use sha2::{Digest, Sha256};

use super::{put_other_fields, put_packed_fixed64, put_plain_fixed64};

/// What becomes of the values of several number points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aggregation {
    Sum,
    Mean,
    Min,
    Max,
    Median,
    Count,
}

impl Aggregation {
    /// By its name in a statement.
    ///
    /// # Errors
    /// The Go collector's sentence.
    pub(crate) fn by_name(name: &str) -> Result<Self, String> {
        Ok(match name {
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "median" => Self::Median,
            "count" => Self::Count,
            _ => {
                return Err(format!(
                    "invalid aggregation function: 'unsupported function: '{name}'', valid options: sum, mean, min, max, median, count"
                ));
            }
        })
    }
}

/// The most buckets that a joined histogram with exponential bounds has. Two points may have offsets that are billions
/// apart.
const MAX_BUCKETS: i64 = 1 << 16;

/// Removes all attributes of points but those with these keys, if there is a list, and joins points.
///
/// # Errors
/// The metric is a summary, or points can't be joined.
pub(crate) fn on_attributes(
    metric: &mut OwnedMetric,
    aggregation: Aggregation,
    keys: Option<&[Vec<u8>]>,
) -> Result<(), String> {
    if metric.kind == MetricKind::Summary {
        return Err("aggregate_on_attributes does not support aggregating Summary metrics".to_owned());
    }
    if let Some(keys) = keys {
        rewrite_attributes(metric, |attribute, number, out| {
            if keys.iter().any(|key| key == attribute.key) {
                put_bytes_field(out, number, attribute.raw);
            }
        });
    }
    join(metric, aggregation)
}

/// Replaces the value of an attribute where it is one of `values`, and joins points.
///
/// # Errors
/// As [`on_attributes`].
pub(crate) fn on_attribute_value(
    metric: &mut OwnedMetric,
    aggregation: Aggregation,
    key: &[u8],
    values: &[Vec<u8>],
    new_value: &[u8],
) -> Result<(), String> {
    if metric.kind == MetricKind::Summary {
        return Err("aggregate_on_attribute_value does not support aggregating Summary metrics".to_owned());
    }
    rewrite_attributes(metric, |attribute, number, out| {
        // In the Go collector the text of what is no string is empty here.
        let found = if let AnyValue::String(found) = attribute.value { found } else { &[] };
        if attribute.key == key && values.iter().any(|value| value == found) {
            let mut changed = Vec::new();
            for (raw, number, _) in raw_fields(attribute.raw) {
                if number != 2 {
                    changed.extend_from_slice(raw);
                }
            }
            let mut value = Vec::new();
            AnyValue::String(new_value).encode(&mut value);
            put_bytes_field(&mut changed, 2, &value);
            put_bytes_field(out, number, &changed);
        } else {
            put_bytes_field(out, number, attribute.raw);
        }
    });
    join(metric, aggregation)
}

fn attributes_number(kind: MetricKind) -> u32 {
    match kind {
        MetricKind::Histogram => histogram_point::ATTRIBUTES,
        MetricKind::ExponentialHistogram => exponential_point::ATTRIBUTES,
        MetricKind::Summary => summary_point::ATTRIBUTES,
        MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => number_point::ATTRIBUTES,
    }
}

/// Writes the attributes of all points anew.
fn rewrite_attributes(metric: &mut OwnedMetric, mut write: impl FnMut(KeyValue<'_>, u32, &mut Vec<u8>)) {
    let attributes = attributes_number(metric.kind);
    let mut points = Vec::with_capacity(metric.points.len());
    let mut changed = Vec::new();
    for point in metric.raw_points() {
        changed.clear();
        for (raw, number, wire) in raw_fields(point) {
            match wire {
                WireValue::Len(content) if number == attributes => {
                    write(KeyValue::parse(content), number, &mut changed);
                }
                _ => changed.extend_from_slice(raw),
            }
        }
        put_bytes_field(&mut points, 1, &changed);
    }
    metric.points = points;
}

/// Joins the points of each group.
fn join(metric: &mut OwnedMetric, aggregation: Aggregation) -> Result<(), String> {
    let is_delta = metric.temporality == 1 && metric.kind != MetricKind::Gauge;
    let mut groups: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    let mut members: Vec<Vec<&[u8]>> = Vec::new();
    let mut key = Vec::new();
    for point in metric.raw_points() {
        key.clear();
        put_group_key(&mut key, metric.kind, point, is_delta);
        let digest = Sha256::digest(&key);
        let digest = digest.first_chunk::<16>().copied().unwrap_or_default();
        let group = *groups.entry(digest).or_insert(members.len());
        match members.get_mut(group) {
            Some(group) => group.push(point),
            None => members.push(vec![point]),
        }
    }
    // The Go collector drops the metadata of the metric.
    let mut joined = metric.with_data(metric.kind, metric.temporality, metric.is_monotonic);
    let mut point = Vec::new();
    for group in &members {
        point.clear();
        match metric.kind {
            MetricKind::Gauge | MetricKind::Sum => put_joined_numbers(&mut point, group, aggregation),
            MetricKind::Histogram => put_joined_histograms(&mut point, group),
            MetricKind::ExponentialHistogram => put_joined_exponential(&mut point, group)?,
            MetricKind::Empty | MetricKind::Summary => {}
        }
        joined.push_point(&point);
    }
    *metric = joined;
    Ok(())
}

/// What the points of a group have in common.
fn put_group_key(key: &mut Vec<u8>, kind: MetricKind, point: &[u8], is_delta: bool) {
    put_attributes(key, point, attributes_number(kind));
    let mut number = |v: u64| key.extend_from_slice(&v.to_le_bytes());
    match kind {
        MetricKind::Histogram => {
            let view = HistogramPoint::parse(point);
            number(view.time_unix_nano);
            number(if is_delta { view.start_time_unix_nano } else { 0 });
            number(u64::from(view.flags) << 2 | u64::from(view.min.is_some()) << 1 | u64::from(view.max.is_some()));
            view.explicit_bounds().for_each(|bound| number(bound.to_bits()));
        }
        MetricKind::ExponentialHistogram => {
            let view = ExponentialHistogramPoint::parse(point);
            number(view.time_unix_nano);
            number(if is_delta { view.start_time_unix_nano } else { 0 });
            number(u64::from(view.flags) << 2 | u64::from(view.min.is_some()) << 1 | u64::from(view.max.is_some()));
            number(i64::from(view.scale.0).cast_unsigned());
        }
        _ => {
            let view = NumberPoint::parse(point);
            number(view.time_unix_nano);
            number(if is_delta { view.start_time_unix_nano } else { 0 });
        }
    }
}

/// The attributes as JSON, sorted by key.
fn put_attributes(key: &mut Vec<u8>, point: &[u8], number: u32) {
    let mut list = Vec::new();
    for attribute in RepeatedMessages::<KeyValue<'_>>::new(point, number) {
        put_bytes_field(&mut list, 1, attribute.raw);
    }
    // Without NaN and infinities, which JSON does not have. With them all such points are in one group in Go; here
    // those are whose attributes are the same bytes.
    let start = key.len();
    if text::put_json(key, AnyValue::Map(&list)).is_err() {
        key.truncate(start);
        key.extend_from_slice(&list);
    }
}

/// The earliest start of the points that have one of the kind of value of the first.
fn first_start(points: impl Iterator<Item = u64>) -> u64 {
    points.min().unwrap_or(0)
}

fn put_joined_numbers(out: &mut Vec<u8>, group: &[&[u8]], aggregation: Aggregation) {
    use number_point::{AS_DOUBLE, AS_INT, START_TIME_UNIX_NANO};
    let Some((first, rest)) = group.split_first() else { return };
    if rest.is_empty() {
        // A mean or median of one is itself.
        return out.extend_from_slice(first);
    }
    let views = || group.iter().map(|point| NumberPoint::parse(point));
    let value = match NumberPoint::parse(first).value.0 {
        NumberValue::Empty => return out.extend_from_slice(first),
        NumberValue::Double(_) => NumberValue::Double(join_doubles(views().map(|view| view.value.0), aggregation)),
        NumberValue::Int(_) => NumberValue::Int(join_ints(views().map(|view| view.value.0), aggregation)),
    };
    put_other_fields(out, first, &[START_TIME_UNIX_NANO, AS_DOUBLE, AS_INT]);
    put_plain_fixed64(out, START_TIME_UNIX_NANO, first_start(views().map(|view| view.start_time_unix_nano)));
    match value {
        NumberValue::Double(v) => put_fixed64_field(out, AS_DOUBLE, v.to_bits()),
        NumberValue::Int(v) => put_fixed64_field(out, AS_INT, v.cast_unsigned()),
        NumberValue::Empty => {}
    }
}

fn join_doubles(values: impl Iterator<Item = NumberValue>, aggregation: Aggregation) -> f64 {
    let mut values: Vec<f64> = values
        .map(|value| match value {
            NumberValue::Double(v) => v,
            NumberValue::Int(v) => v as f64,
            NumberValue::Empty => 0.0,
        })
        .collect();
    let number = values.len() as f64;
    let sum = |values: &[f64]| values.iter().copied().reduce(|a, b| a + b).unwrap_or(0.0);
    match aggregation {
        Aggregation::Sum => sum(&values),
        Aggregation::Mean => sum(&values) / number,
        Aggregation::Count => number,
        Aggregation::Max => {
            values.into_iter().reduce(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }).unwrap_or(0.0)
        }
        Aggregation::Min => {
            values.into_iter().reduce(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }).unwrap_or(0.0)
        }
        Aggregation::Median => {
            // NaN is the smallest, as Go sorts.
            values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
            let middle = values.len() / 2;
            let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
            if values.len() % 2 == 1 { at(middle) } else { (at(middle - 1) + at(middle)) / 2.0 }
        }
    }
}

fn join_ints(values: impl Iterator<Item = NumberValue>, aggregation: Aggregation) -> i64 {
    let is_sum = matches!(aggregation, Aggregation::Sum | Aggregation::Mean);
    let mut values: Vec<i64> = values
        .map(|value| match value {
            NumberValue::Int(v) => v,
            // A double is nothing to a sum of integers, as in Go.
            NumberValue::Double(_) if is_sum => 0,
            NumberValue::Double(v) => otelcore_go_number::truncate(v),
            NumberValue::Empty => 0,
        })
        .collect();
    let number = values.len() as i64;
    let sum = values.iter().fold(0_i64, |a, b| a.wrapping_add(*b));
    match aggregation {
        Aggregation::Sum => sum,
        Aggregation::Mean => sum / number.max(1),
        Aggregation::Count => number,
        Aggregation::Max => values.into_iter().max().unwrap_or(0),
        Aggregation::Min => values.into_iter().min().unwrap_or(0),
        Aggregation::Median => {
            values.sort_unstable();
            let middle = values.len() / 2;
            let at = |index: usize| values.get(index).copied().unwrap_or(0);
            if values.len() % 2 == 1 { at(middle) } else { at(middle - 1).wrapping_add(at(middle)) / 2 }
        }
    }
}

/// What histograms of both kinds have in common, joined.
struct JoinedHistogram {
    start: u64,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

impl JoinedHistogram {
    /// Points without measurements are left out, except the first.
    fn add(&mut self, start: u64, count: u64, sum: Option<f64>, min: Option<f64>, max: Option<f64>) {
        self.start = self.start.min(start);
        self.count = self.count.wrapping_add(count);
        self.sum = Some(self.sum.unwrap_or(0.0) + sum.unwrap_or(0.0));
        if let Some(mine) = &mut self.min {
            *mine = mine.min(min.unwrap_or(0.0));
        }
        if let Some(mine) = &mut self.max {
            *mine = mine.max(max.unwrap_or(0.0));
        }
    }
}

fn put_joined_histograms(out: &mut Vec<u8>, group: &[&[u8]]) {
    use histogram_point::{BUCKET_COUNTS, COUNT, EXEMPLARS, MAX, MIN, START_TIME_UNIX_NANO, SUM};
    let mut views = group.iter().map(|point| HistogramPoint::parse(point));
    let Some(first) = views.next() else { return };
    let (start, count, sum) = (first.start_time_unix_nano, first.count, first.sum);
    let mut joined = JoinedHistogram { start, count, sum, min: first.min, max: first.max };
    let mut counts: Vec<u64> = first.bucket_counts().collect();
    put_other_fields(out, first.raw, &[BUCKET_COUNTS, COUNT, MAX, MIN, START_TIME_UNIX_NANO, SUM]);
    for view in views.filter(|view| view.count > 0) {
        joined.add(view.start_time_unix_nano, view.count, view.sum, view.min, view.max);
        for (index, count) in view.bucket_counts().enumerate() {
            match counts.get_mut(index) {
                Some(found) => *found = found.wrapping_add(count),
                None => counts.push(count),
            }
        }
        view.exemplars().for_each(|exemplar| put_bytes_field(out, EXEMPLARS, exemplar.raw));
    }
    put_plain_fixed64(out, START_TIME_UNIX_NANO, joined.start);
    put_plain_fixed64(out, COUNT, joined.count);
    for (number, value) in [(SUM, joined.sum), (MIN, joined.min), (MAX, joined.max)] {
        if let Some(value) = value {
            put_fixed64_field(out, number, value.to_bits());
        }
    }
    put_packed_fixed64(out, BUCKET_COUNTS, counts.iter().copied());
}

/// Consecutive buckets.
#[derive(Default)]
struct OffsetBuckets {
    offset: i64,
    counts: Vec<u64>,
}

impl OffsetBuckets {
    fn add(&mut self, offset: i32, counts: impl Iterator<Item = u64>) -> Result<(), String> {
        let offset = i64::from(offset);
        for (index, count) in counts.enumerate().filter(|(_, count)| *count > 0) {
            let at = offset + index as i64;
            if self.counts.is_empty() {
                self.offset = at;
            }
            let end = self.offset + self.counts.len() as i64;
            if at.max(end - 1) - at.min(self.offset) >= MAX_BUCKETS {
                return Err(format!(
                    "exponential histograms whose buckets are more than {MAX_BUCKETS} apart can't be aggregated"
                ));
            }
            if at < self.offset {
                let missing = (self.offset - at) as usize;
                self.counts.splice(0..0, std::iter::repeat_n(0, missing));
                self.offset = at;
            }
            let index = (at - self.offset) as usize;
            if index >= self.counts.len() {
                self.counts.resize(index + 1, 0);
            }
            if let Some(found) = self.counts.get_mut(index) {
                *found = found.wrapping_add(count);
            }
        }
        Ok(())
    }

    fn put(&self, out: &mut Vec<u8>, number: u32) {
        let offset = encode_zigzag32(i32::try_from(self.offset).unwrap_or(0));
        let counts_len: usize = self.counts.iter().map(|count| varint_len(*count)).sum();
        let mut content = Vec::with_capacity(counts_len + 16);
        if offset != 0 {
            put_varint_field(&mut content, 1, offset);
        }
        if !self.counts.is_empty() {
            put_tag_and_len(&mut content, 2, counts_len);
            self.counts.iter().for_each(|count| put_varint(&mut content, *count));
        }
        put_bytes_field(out, number, &content);
    }
}

fn put_joined_exponential(out: &mut Vec<u8>, group: &[&[u8]]) -> Result<(), String> {
    use exponential_point::{COUNT, EXEMPLARS, MAX, MIN, NEGATIVE, POSITIVE, START_TIME_UNIX_NANO, SUM, ZERO_COUNT};
    let [first, rest @ ..] = group else { return Ok(()) };
    if rest.is_empty() {
        out.extend_from_slice(first);
        return Ok(());
    }
    let first = ExponentialHistogramPoint::parse(first);
    let (start, count, sum) = (first.start_time_unix_nano, first.count, first.sum);
    let mut joined = JoinedHistogram { start, count, sum, min: first.min, max: first.max };
    let mut zero_count = first.zero_count;
    let (mut positive, mut negative) = (OffsetBuckets::default(), OffsetBuckets::default());
    let rest = rest.iter().map(|point| ExponentialHistogramPoint::parse(point)).filter(|view| view.count > 0);
    let others = [COUNT, MAX, MIN, NEGATIVE, POSITIVE, START_TIME_UNIX_NANO, SUM, ZERO_COUNT];
    put_other_fields(out, first.raw, &others);
    positive.add(first.positive.offset.0, first.positive.bucket_counts())?;
    negative.add(first.negative.offset.0, first.negative.bucket_counts())?;
    for view in rest {
        joined.add(view.start_time_unix_nano, view.count, view.sum, view.min, view.max);
        zero_count = zero_count.wrapping_add(view.zero_count);
        positive.add(view.positive.offset.0, view.positive.bucket_counts())?;
        negative.add(view.negative.offset.0, view.negative.bucket_counts())?;
        view.exemplars().for_each(|exemplar| put_bytes_field(out, EXEMPLARS, exemplar.raw));
    }
    put_plain_fixed64(out, START_TIME_UNIX_NANO, joined.start);
    put_plain_fixed64(out, COUNT, joined.count);
    for (number, value) in [(SUM, joined.sum), (MIN, joined.min), (MAX, joined.max)] {
        if let Some(value) = value {
            put_fixed64_field(out, number, value.to_bits());
        }
    }
    put_plain_fixed64(out, ZERO_COUNT, zero_count);
    positive.put(out, POSITIVE);
    negative.put(out, NEGATIVE);
    Ok(())
}
