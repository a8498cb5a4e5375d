//! Joins points that have equal attributes and times.

use std::collections::BTreeMap;

use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::views::NumberValue;

use crate::owned_metric::{DELTA, Point, PointValue};
use otelcore_go_number as go_number;

/// Buckets that an exponential histogram has at most after a merge.
const MAX_BUCKETS: i64 = 1 << 12;

/// How the values of number points are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AggregationType {
    /// The value of the first point.
    None,
    Sum,
    Mean,
    Min,
    Max,
    Median,
    Count,
}

impl AggregationType {
    pub(super) const NAMES: [&'static str; 6] = ["sum", "mean", "min", "max", "median", "count"];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "mean" => Self::Mean,
            "min" => Self::Min,
            "max" => Self::Max,
            "median" => Self::Median,
            "count" => Self::Count,
            _ => return None,
        })
    }
}

/// Joins points, in the order of the first point of each group. The points of a summary stay as they are, because
/// quantiles can't be joined.
pub(super) fn aggregate<'a>(
    kind: MetricKind,
    temporality: i32,
    points: Vec<Point<'a>>,
    how: AggregationType,
) -> Vec<Point<'a>> {
    if matches!(kind, MetricKind::Summary | MetricKind::Empty) {
        return points;
    }
    let mut groups: Vec<Vec<Point<'a>>> = Vec::new();
    let mut by_key: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for point in points {
        let key = group_key(&point, temporality == DELTA && kind != MetricKind::Gauge);
        let index = *by_key.entry(key).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.push(point),
            None => groups.push(vec![point]),
        }
    }
    groups.into_iter().filter_map(|group| join(group, how)).collect()
}

/// Equal for points that are joined.
fn group_key(point: &Point<'_>, with_start: bool) -> Vec<u8> {
    let mut key = Vec::with_capacity(128);
    key.extend_from_slice(&point.time.to_le_bytes());
    if with_start {
        key.extend_from_slice(&point.start.to_le_bytes());
    }
    match &point.value {
        PointValue::Number(_) | PointValue::Summary => {}
        PointValue::Histogram(value) => {
            key.extend_from_slice(&[u8::from(value.min.is_some()), u8::from(value.max.is_some())]);
            key.extend_from_slice(&point.flags.to_le_bytes());
            key.extend_from_slice(&(value.bounds.len() as u64).to_le_bytes());
            value.bounds.iter().for_each(|bound| key.extend_from_slice(&bound.to_bits().to_le_bytes()));
        }
        PointValue::Exponential(value) => {
            key.extend_from_slice(&[u8::from(value.min.is_some()), u8::from(value.max.is_some())]);
            key.extend_from_slice(&point.flags.to_le_bytes());
            key.extend_from_slice(&value.scale.to_le_bytes());
        }
    }
    point.put_attributes_key(&mut key);
    key
}

fn join<'a>(group: Vec<Point<'a>>, how: AggregationType) -> Option<Point<'a>> {
    let values: Vec<NumberValue> = group
        .iter()
        .filter_map(|point| match point.value {
            PointValue::Number(value) => Some(value),
            _ => None,
        })
        .collect();
    let mut points = group.into_iter();
    let mut first = points.next()?;
    if !values.is_empty() {
        first.start = points.map(|point| point.start).fold(first.start, u64::min);
        first.value = PointValue::Number(join_numbers(&values, how));
        return Some(first);
    }
    for point in points {
        add(&mut first, point);
    }
    Some(first)
}

/// Adds a histogram to one with the same bounds or scale.
fn add<'a>(to: &mut Point<'a>, point: Point<'a>) {
    match (&mut to.value, point.value) {
        (PointValue::Histogram(to), PointValue::Histogram(from)) => {
            if from.count == 0 {
                return;
            }
            to.count = to.count.wrapping_add(from.count);
            to.sum = add_optional(to.sum, from.sum);
            to.min = to.min.map(|min| min.min(from.min.unwrap_or(min)));
            to.max = to.max.map(|max| max.max(from.max.unwrap_or(max)));
            if to.counts.len() < from.counts.len() {
                to.counts.resize(from.counts.len(), 0);
            }
            for (to, from) in to.counts.iter_mut().zip(&from.counts) {
                *to = to.wrapping_add(*from);
            }
        }
        (PointValue::Exponential(to), PointValue::Exponential(from)) => {
            if from.count == 0 {
                return;
            }
            to.sum = add_optional(to.sum, from.sum);
            to.min = to.min.map(|min| min.min(from.min.unwrap_or(min)));
            to.max = to.max.map(|max| max.max(from.max.unwrap_or(max)));
            to.add(from, MAX_BUCKETS);
        }
        _ => return,
    }
    to.exemplars.extend(point.exemplars);
    to.start = to.start.min(point.start);
}

fn add_optional(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// Joins the values of number points. The type of the result is that of the first.
fn join_numbers(values: &[NumberValue], how: AggregationType) -> NumberValue {
    let len = values.len();
    match values.first() {
        Some(NumberValue::Double(first)) => {
            let mut numbers: Vec<f64> = values.iter().map(|value| as_double(*value)).collect();
            NumberValue::Double(match how {
                AggregationType::None => *first,
                AggregationType::Sum => numbers.iter().sum(),
                AggregationType::Mean => numbers.iter().sum::<f64>() / len as f64,
                AggregationType::Min => numbers.iter().copied().fold(*first, go_min),
                AggregationType::Max => numbers.iter().copied().fold(*first, go_max),
                AggregationType::Count => len as f64,
                AggregationType::Median => {
                    numbers.sort_by(f64::total_cmp);
                    median(&numbers, |a, b| (a + b) / 2.0).unwrap_or(*first)
                }
            })
        }
        Some(NumberValue::Int(first)) => {
            let mut numbers: Vec<i64> = values.iter().map(|value| as_int(*value)).collect();
            let sum = numbers.iter().fold(0, |sum: i64, v| sum.wrapping_add(*v));
            NumberValue::Int(match how {
                AggregationType::None => *first,
                AggregationType::Sum => sum,
                AggregationType::Mean => sum.wrapping_div((len as i64).max(1)),
                AggregationType::Min => numbers.iter().copied().min().unwrap_or(*first),
                AggregationType::Max => numbers.iter().copied().max().unwrap_or(*first),
                AggregationType::Count => len as i64,
                AggregationType::Median => {
                    numbers.sort_unstable();
                    median(&numbers, |a, b| a.wrapping_add(b) / 2).unwrap_or(*first)
                }
            })
        }
        _ => NumberValue::Empty,
    }
}

fn median<T: Copy>(sorted: &[T], middle: impl Fn(T, T) -> T) -> Option<T> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(middle(*sorted.get(half.checked_sub(1)?)?, upper))
}

/// As `math.Min`: not a number if one of both is none.
fn go_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn go_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn as_double(value: NumberValue) -> f64 {
    match value {
        NumberValue::Double(v) => v,
        #[expect(clippy::cast_precision_loss, reason = "that is the conversion")]
        NumberValue::Int(v) => v as f64,
        NumberValue::Empty => 0.0,
    }
}

fn as_int(value: NumberValue) -> i64 {
    match value {
        NumberValue::Double(v) => go_number::truncate(v),
        NumberValue::Int(v) => v,
        NumberValue::Empty => 0,
    }
}
