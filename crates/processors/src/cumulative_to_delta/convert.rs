//! The last point of a series, and the difference of the next one to it.

use otelcore_pdata::edit::{Point, PointMut};
use otelcore_pdata::views::NumberValue;

use crate::owned_metric::{Buckets, ExponentialHistogram, Histogram};
use crate::series::SeriesState;

/// Why a point is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DropReason {
    Initial,
    Reset,
    BucketMismatch,
    /// There is no room for a new series.
    Memory,
}

impl DropReason {
    pub(super) const ALL: [Self; 4] = [Self::Initial, Self::Reset, Self::BucketMismatch, Self::Memory];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Reset => "reset",
            Self::BucketMismatch => "bucket_mismatch",
            Self::Memory => "memory_limit",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Double(f64),
    Histogram(Box<Histogram>),
    Exponential(Box<ExponentialHistogram>),
}

/// The last point of a series.
#[derive(Clone, Debug)]
pub(super) struct LastPoint {
    /// Nanoseconds since the epoch.
    pub(super) time: u64,
    pub(super) value: Value,
}

/// What becomes of a point.
#[derive(Debug)]
pub(super) enum Conversion {
    Delta {
        /// The time of the point before.
        start: u64,
        value: Value,
    },
    Drop(DropReason),
}

impl SeriesState for LastPoint {
    fn heap_bytes(&self) -> usize {
        let buckets = |buckets: &Buckets| buckets.counts.capacity() * size_of::<u64>();
        match &self.value {
            Value::Int(_) | Value::Double(_) => 0,
            Value::Histogram(value) => {
                size_of::<Histogram>() + (value.bounds.capacity() + value.counts.capacity()) * size_of::<u64>()
            }
            Value::Exponential(value) => {
                size_of::<ExponentialHistogram>() + buckets(&value.positive) + buckets(&value.negative)
            }
        }
    }
}

impl LastPoint {
    /// Reads a point, and a number for the type of its value. `None`: its value is not a number, so that it can't be
    /// converted.
    pub(super) fn read(time: u64, point: &PointMut<'_>) -> Option<(Self, u64)> {
        let (value, value_type) = match point.view() {
            Point::Number(view) => match view.value.0 {
                NumberValue::Double(v) if v.is_nan() => return None,
                NumberValue::Double(v) => (Value::Double(v), 2),
                NumberValue::Int(v) => (Value::Int(v), 1),
                NumberValue::Empty => (Value::Int(0), 0),
            },
            Point::Histogram(view) => {
                let value = Histogram {
                    count: view.count,
                    sum: view.sum,
                    min: None,
                    max: None,
                    bounds: view.explicit_bounds().collect(),
                    counts: view.bucket_counts().collect(),
                };
                (Value::Histogram(Box::new(value)), 1)
            }
            Point::ExponentialHistogram(view) => {
                let buckets = |buckets: otelcore_pdata::views::Buckets<'_>| Buckets {
                    offset: buckets.offset.0,
                    counts: buckets.bucket_counts().collect(),
                };
                let value = ExponentialHistogram {
                    count: view.count,
                    sum: view.sum,
                    min: None,
                    max: None,
                    scale: view.scale.0,
                    zero_count: view.zero_count,
                    zero_threshold: view.zero_threshold,
                    positive: buckets(view.positive),
                    negative: buckets(view.negative),
                };
                (Value::Exponential(Box::new(value)), 1)
            }
            Point::Summary(_) => return None,
        };
        Some((Self { time, value }, value_type))
    }

    /// Takes the next point in the place of this one, and returns what becomes of it.
    pub(super) fn convert(&mut self, next: &mut Option<Self>) -> Conversion {
        let Some(mut next) = next.take() else { return Conversion::Drop(DropReason::Reset) };
        let start = self.time;
        let delta = match (&mut self.value, &mut next.value) {
            (Value::Int(previous), Value::Int(v)) if *v >= *previous => Ok(Value::Int(v.wrapping_sub(*previous))),
            (Value::Double(previous), Value::Double(v)) if *v >= *previous => Ok(Value::Double(*v - *previous)),
            (Value::Histogram(previous), Value::Histogram(v)) => {
                histogram_delta(previous, v).map(|delta| Value::Histogram(Box::new(delta)))
            }
            (Value::Exponential(previous), Value::Exponential(v)) => {
                exponential_delta(previous, v).map(|delta| Value::Exponential(Box::new(delta)))
            }
            _ => Err(DropReason::Reset),
        };
        *self = next;
        match delta {
            Ok(value) => Conversion::Delta { start, value },
            Err(reason) => Conversion::Drop(reason),
        }
    }
}

fn is_nan(v: Option<f64>) -> bool {
    v.is_some_and(f64::is_nan)
}

/// The sum of a delta. One that is not a number stays in the point; the series goes on with the one before.
fn sum_delta(previous: Option<f64>, next: &mut Option<f64>) -> Option<f64> {
    if is_nan(*next) {
        *next = previous;
        return Some(f64::NAN);
    }
    next.map(|v| v - previous.unwrap_or(0.0))
}

fn histogram_delta(previous: &Histogram, next: &mut Histogram) -> Result<Histogram, DropReason> {
    let sum = next.sum;
    let sum_delta = sum_delta(previous.sum, &mut next.sum);
    let is_same = |(a, b): (&f64, &f64)| a == b;
    if next.counts.len() != previous.counts.len()
        || next.bounds.len() != previous.bounds.len()
        || !next.bounds.iter().zip(&previous.bounds).all(is_same)
    {
        return Err(DropReason::BucketMismatch);
    }
    let mut delta = Histogram { sum, ..next.clone() };
    // After a reset, what has been counted since then is the whole value.
    if next.count >= previous.count {
        delta.count -= previous.count;
        delta.sum = sum_delta;
        for (count, before) in delta.counts.iter_mut().zip(&previous.counts) {
            *count = count.wrapping_sub(*before);
        }
    }
    Ok(delta)
}

/// Changes `previous` to the scale and the zero bucket of `next`.
fn exponential_delta(
    previous: &mut ExponentialHistogram,
    next: &mut ExponentialHistogram,
) -> Result<ExponentialHistogram, DropReason> {
    let sum = sum_delta(previous.sum, &mut next.sum);
    // The count and the width of the zero bucket only grow, and the scale only falls.
    if next.count < previous.count || next.zero_threshold < previous.zero_threshold || next.scale > previous.scale {
        return Err(DropReason::Reset);
    }
    if next.zero_threshold > previous.zero_threshold {
        let index = ExponentialHistogram::index_of(previous.scale, next.zero_threshold);
        let moved = previous.positive.remove_through(index).wrapping_add(previous.negative.remove_through(index));
        previous.zero_count = previous.zero_count.wrapping_add(moved);
    }
    let coarser = previous.scale.abs_diff(next.scale);
    previous.positive.coarsen(coarser);
    previous.negative.coarsen(coarser);
    Ok(ExponentialHistogram {
        count: next.count - previous.count,
        sum,
        zero_count: next.zero_count.wrapping_sub(previous.zero_count),
        positive: next.positive.since(&previous.positive),
        negative: next.negative.since(&previous.negative),
        ..*next
    })
}

impl Value {
    /// Writes the value to a point of its kind. The smallest and the largest measurement of a delta are not known.
    pub(super) fn write(&self, point: &mut PointMut<'_>) {
        match self {
            Self::Int(v) => point.set_value(NumberValue::Int(*v)),
            Self::Double(v) => point.set_value(NumberValue::Double(*v)),
            Self::Histogram(value) => {
                point.set_count(value.count);
                if value.sum.is_some() && !is_nan(value.sum) {
                    point.set_sum(value.sum);
                }
                point.set_bucket_counts(&value.counts);
                point.set_min(None);
                point.set_max(None);
            }
            Self::Exponential(value) => {
                point.set_count(value.count);
                if value.sum.is_some() && !is_nan(value.sum) {
                    point.set_sum(value.sum);
                }
                point.set_zero_count(value.zero_count);
                point.set_positive(value.positive.offset, &value.positive.counts);
                point.set_negative(value.negative.offset, &value.negative.counts);
                point.set_min(None);
                point.set_max(None);
            }
        }
    }
}
