//! The sum of the deltas of a series.

use otelcore_pdata::edit::{Point, PointMut};
use otelcore_pdata::views::{self, NumberValue};

use crate::owned_metric::{Buckets, ExponentialHistogram, Histogram};
use crate::series::SeriesState;

/// Buckets of an exponential histogram at which its scale is lowered.
pub(super) const MAX_BUCKETS: i64 = 160;

/// Why a point is not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It is added.
    None,
    /// It belongs to an older series.
    OlderStart,
    /// It is not later than the last one.
    OutOfOrder,
    /// There are too many series.
    Limit,
}

impl Refusal {
    /// The label `error`, by refusal: the names of Go's types.
    pub(super) const NAMES: [&str; 4] = ["", "delta.ErrOlderStart", "delta.ErrOutOfOrder", "limit"];
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(NumberValue),
    Histogram(Box<Histogram>),
    Exponential(Box<ExponentialHistogram>),
}

/// The sum of the points of a series.
#[derive(Clone, Debug)]
pub(super) struct Total {
    /// Nanoseconds since the epoch: the start of the first point, and the time of the last.
    pub(super) start: u64,
    time: u64,
    /// When a point was added.
    pub(super) seen: u64,
    value: Value,
}

impl SeriesState for Total {
    fn heap_bytes(&self) -> usize {
        let buckets = |buckets: &Buckets| buckets.counts.capacity() * size_of::<u64>();
        match &self.value {
            Value::Number(_) => 0,
            Value::Histogram(value) => {
                size_of::<Histogram>() + (value.bounds.capacity() + value.counts.capacity()) * size_of::<u64>()
            }
            Value::Exponential(value) => {
                size_of::<ExponentialHistogram>() + buckets(&value.positive) + buckets(&value.negative)
            }
        }
    }
}

impl Total {
    /// Reads a point; `None` for one of a summary.
    pub(super) fn read(start: u64, time: u64, seen: u64, point: &PointMut<'_>) -> Option<Self> {
        let value = match point.view() {
            Point::Number(view) => Value::Number(view.value.0),
            Point::Histogram(view) => Value::Histogram(Box::new(Histogram {
                count: view.count,
                sum: view.sum,
                min: view.min,
                max: view.max,
                bounds: view.explicit_bounds().collect(),
                counts: view.bucket_counts().collect(),
            })),
            Point::ExponentialHistogram(view) => {
                let buckets = |buckets: views::Buckets<'_>| Buckets {
                    offset: buckets.offset.0,
                    counts: buckets.bucket_counts().collect(),
                };
                Value::Exponential(Box::new(ExponentialHistogram {
                    count: view.count,
                    sum: view.sum,
                    min: view.min,
                    max: view.max,
                    scale: view.scale.0,
                    zero_count: view.zero_count,
                    zero_threshold: view.zero_threshold,
                    positive: buckets(view.positive),
                    negative: buckets(view.negative),
                }))
            }
            Point::Summary(_) => return None,
        };
        Some(Self { start, time, seen, value })
    }

    /// Adds the next point.
    pub(super) fn add(&mut self, next: Self) -> Result<(), Refusal> {
        self.seen = next.seen;
        if self.time == 0 {
            // A first point without a time.
            *self = next;
            return Ok(());
        }
        if next.start < self.start {
            return Err(Refusal::OlderStart);
        }
        if next.time <= self.time {
            return Err(Refusal::OutOfOrder);
        }
        let Self { start, time, value, .. } = next;
        match (&mut self.value, value) {
            (Value::Number(total), Value::Number(next)) => *total = add_numbers(*total, next),
            (Value::Histogram(total), Value::Histogram(next)) => {
                if total.bounds != next.bounds {
                    // There is no way to add them: the series begins again.
                    *total = next;
                    (self.start, self.time) = (start, time);
                    return Ok(());
                }
                add_histograms(total, &next);
            }
            (Value::Exponential(total), Value::Exponential(next)) => {
                total.sum = both(total.sum, next.sum, |a, b| a + b);
                total.min = both(total.min, next.min, f64::min);
                total.max = both(total.max, next.max, f64::max);
                total.add(*next, MAX_BUCKETS);
            }
            // The kind is a part of the identity.
            _ => {}
        }
        self.time = time;
        Ok(())
    }

    /// Writes the sum to the last point.
    pub(super) fn write(&self, point: &mut PointMut<'_>) {
        match &self.value {
            Value::Number(value) => point.set_value(*value),
            Value::Histogram(value) => {
                point.set_count(value.count);
                point.set_sum(value.sum);
                point.set_min(value.min);
                point.set_max(value.max);
                point.set_bucket_counts(&value.counts);
            }
            Value::Exponential(value) => {
                point.set_count(value.count);
                point.set_sum(value.sum);
                point.set_min(value.min);
                point.set_max(value.max);
                point.set_scale(value.scale);
                point.set_zero_count(value.zero_count);
                point.set_zero_threshold(value.zero_threshold);
                point.set_positive(value.positive.offset, &value.positive.counts);
                point.set_negative(value.negative.offset, &value.negative.counts);
            }
        }
    }
}

/// A value that is known if it is known of both.
fn both(a: Option<f64>, b: Option<f64>, join: impl Fn(f64, f64) -> f64) -> Option<f64> {
    a.zip(b).map(|(a, b)| join(a, b))
}

fn add_numbers(total: NumberValue, next: NumberValue) -> NumberValue {
    #[expect(clippy::cast_precision_loss, reason = "a series whose values are doubles now")]
    match (total, next) {
        (NumberValue::Int(a), NumberValue::Int(b)) => NumberValue::Int(a.wrapping_add(b)),
        (NumberValue::Double(a), NumberValue::Double(b)) => NumberValue::Double(a + b),
        (NumberValue::Int(a), NumberValue::Double(b)) => NumberValue::Double(a as f64 + b),
        (NumberValue::Double(a), NumberValue::Int(b)) => NumberValue::Double(a + b as f64),
        (NumberValue::Empty, value) | (value, NumberValue::Empty) => value,
    }
}

fn add_histograms(total: &mut Histogram, next: &Histogram) {
    for (total, count) in total.counts.iter_mut().zip(&next.counts) {
        *total = total.wrapping_add(*count);
    }
    total.count = total.count.wrapping_add(next.count);
    total.sum = both(total.sum, next.sum, |a, b| a + b);
    total.min = both(total.min, next.min, f64::min);
    total.max = both(total.max, next.max, f64::max);
}
