//! The state of a series, and how the next point changes it.
//!
//! The newest point replaces the stored one; a delta point is added if it begins when the stored one ends. All rules,
//! those for gaps included, are those of the Go exporter's accumulator. Times are compared as in Go, as signed
//! nanoseconds.

use otelcore_pdata::views::{
    HistogramPoint, KeyValue, NumberPoint, NumberValue, RepeatedMessages, SummaryPoint, Temporality, View,
};

use crate::dropped_points::DropReason;

/// The result for a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UpdateResult {
    /// The point changed the series.
    Applied,
    /// The point did not change the series.
    Refused(DropReason),
}

/// The state of one series.
#[derive(Debug)]
pub(crate) struct SeriesState {
    pub(crate) start: i64,
    pub(crate) time: i64,
    pub(crate) value: StoredValue,
}

/// A value by type.
#[derive(Debug)]
pub(crate) enum StoredValue {
    Number(NumberValue),
    Histogram(Box<HistogramValue>),
    Summary(Box<SummaryValue>),
}

/// A histogram as it arrived: bounds in the sender's order.
#[derive(Debug, Default)]
pub(crate) struct HistogramValue {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    bounds: Vec<f64>,
    counts: Vec<u64>,
    /// Bounds are ascending and distinct, as OTLP requires.
    is_ascending: bool,
}

/// Quantiles in ascending order.
#[derive(Debug, Default)]
pub(crate) struct SummaryValue {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) quantiles: Vec<(f64, f64)>,
}

impl StoredValue {
    /// Lines on a page, at most.
    pub(crate) fn max_lines(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Histogram(h) => h.bounds.len() + 3,
            Self::Summary(s) => s.quantiles.len() + 2,
        }
    }
}

impl SeriesState {
    /// Bytes charged for buckets and quantiles; zero for a number.
    pub(crate) fn charged_bytes(&self) -> u64 {
        match &self.value {
            StoredValue::Number(_) => 0,
            StoredValue::Histogram(h) => {
                let cells = h.bounds.capacity() + h.counts.capacity();
                (size_of::<HistogramValue>() + 8 * cells) as u64
            }
            StoredValue::Summary(s) => (size_of::<SummaryValue>() + 16 * s.quantiles.capacity()) as u64,
        }
    }
}

/// Buckets or quantiles of one point, at most: one point is read, sorted and kept in one step.
pub const MAX_BUCKETS: usize = 1 << 16;

/// A point of any type that becomes a series.
pub(crate) trait DataPoint<'a>: View<'a> {
    /// The message's own bytes.
    fn raw(&self) -> &'a [u8];
    /// Bit 0: no recorded value; the series has ended.
    fn flags(&self) -> u32;
    fn attributes(&self) -> RepeatedMessages<'a, KeyValue<'a>>;
    /// Number of buckets or quantiles, counted up to [`MAX_BUCKETS`] plus one.
    fn bucket_count(&self) -> usize {
        0
    }
    /// The minimum of [`SeriesState::charged_bytes`] after this point. Visits all buckets.
    fn charged_bytes(&self) -> u64 {
        0
    }
    /// The state after the first point.
    fn initial_state(&self) -> SeriesState;
    /// The state after a further point.
    fn update(&self, state: &mut SeriesState, temporality: Temporality) -> UpdateResult;
}

impl<'a> DataPoint<'a> for NumberPoint<'a> {
    fn raw(&self) -> &'a [u8] {
        self.raw
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn attributes(&self) -> RepeatedMessages<'a, KeyValue<'a>> {
        self.attributes()
    }

    fn initial_state(&self) -> SeriesState {
        SeriesState {
            start: self.start_time_unix_nano.cast_signed(),
            time: self.time_unix_nano.cast_signed(),
            value: StoredValue::Number(self.value.0),
        }
    }

    fn update(&self, reading: &mut SeriesState, temporality: Temporality) -> UpdateResult {
        let mut new_state = self.initial_state();
        if new_state.time < reading.time {
            return UpdateResult::Refused(DropReason::OlderPoint);
        }
        if temporality == Temporality::Delta && new_state.start == reading.time {
            new_state.start = reading.start;
            if let (StoredValue::Number(old), StoredValue::Number(sum)) = (&reading.value, &mut new_state.value) {
                *sum = add_numbers(*old, *sum);
            }
        }
        *reading = new_state;
        UpdateResult::Applied
    }
}

/// The sum in the type of the new point. A stored value of the other type is ignored, as in Go.
fn add_numbers(old: NumberValue, new: NumberValue) -> NumberValue {
    match (old, new) {
        (NumberValue::Int(a), NumberValue::Int(b)) => NumberValue::Int(a.wrapping_add(b)),
        (NumberValue::Double(a), NumberValue::Double(b)) => NumberValue::Double(a + b),
        (_, new) => new,
    }
}

/// The number as a sample.
pub(crate) fn to_f64(number: NumberValue) -> f64 {
    match number {
        NumberValue::Empty => 0.0,
        NumberValue::Double(v) => v,
        NumberValue::Int(v) => v as f64,
    }
}

impl<'a> DataPoint<'a> for HistogramPoint<'a> {
    fn raw(&self) -> &'a [u8] {
        self.raw
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn attributes(&self) -> RepeatedMessages<'a, KeyValue<'a>> {
        self.attributes()
    }

    fn bucket_count(&self) -> usize {
        self.bucket_counts().take(MAX_BUCKETS + 1).count().max(self.explicit_bounds().take(MAX_BUCKETS + 1).count())
    }

    fn charged_bytes(&self) -> u64 {
        let cells = self.bucket_counts().count() + self.explicit_bounds().count();
        (size_of::<HistogramValue>() + 8 * cells) as u64
    }

    fn initial_state(&self) -> SeriesState {
        let mut value = Box::<HistogramValue>::default();
        value.replace(self);
        SeriesState {
            start: self.start_time_unix_nano.cast_signed(),
            time: self.time_unix_nano.cast_signed(),
            value: StoredValue::Histogram(value),
        }
    }

    fn update(&self, reading: &mut SeriesState, temporality: Temporality) -> UpdateResult {
        let (start, time) = (self.start_time_unix_nano.cast_signed(), self.time_unix_nano.cast_signed());
        let StoredValue::Histogram(value) = &mut reading.value else {
            return UpdateResult::Refused(DropReason::Temporality);
        };
        match temporality {
            Temporality::Unspecified => return UpdateResult::Refused(DropReason::Temporality),
            Temporality::Cumulative if time < reading.time => return UpdateResult::Refused(DropReason::OlderPoint),
            Temporality::Delta if start < reading.time => return UpdateResult::Refused(DropReason::MisalignedDelta),
            Temporality::Delta if start == reading.time => {
                if value.has_bounds_of(self) {
                    value.add(self);
                } else if time >= reading.time {
                    value.replace(self);
                }
                reading.time = reading.time.max(time);
            }
            // A gap in deltas counts as a restart.
            Temporality::Delta | Temporality::Cumulative => {
                value.replace(self);
                (reading.start, reading.time) = (start, time);
            }
        }
        UpdateResult::Applied
    }
}

impl HistogramValue {
    /// Replaces the values. Uses the existing buffers if the number of buckets is the same.
    fn replace(&mut self, point: &HistogramPoint<'_>) {
        self.count = point.count;
        self.sum = point.sum.unwrap_or(0.0);
        self.counts.clear();
        self.counts.extend(point.bucket_counts());
        self.bounds.clear();
        self.bounds.extend(point.explicit_bounds());
        self.is_ascending = self.bounds.is_sorted_by(|a, b| a < b) && !self.bounds.iter().any(|b| b.is_nan());
    }

    fn has_bounds_of(&self, point: &HistogramPoint<'_>) -> bool {
        self.bounds.iter().copied().eq(point.explicit_bounds())
    }

    fn add(&mut self, point: &HistogramPoint<'_>) {
        self.count = self.count.wrapping_add(point.count);
        self.sum += point.sum.unwrap_or(0.0);
        let mut len = 0;
        for (i, added) in point.bucket_counts().enumerate() {
            len = i + 1;
            match self.counts.get_mut(i) {
                Some(count) => *count = count.wrapping_add(added),
                None => self.counts.push(added),
            }
        }
        self.counts.truncate(len);
    }

    /// Upper bounds, ascending and distinct, with cumulative counts. A repeated bound has its first count, a missing
    /// count is zero, and bounds that are NaN are omitted.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut order: Vec<usize> = Vec::new();
        if !self.is_ascending {
            order = (0..self.bounds.len()).filter(|i| self.bounds.get(*i).is_some_and(|b| !b.is_nan())).collect();
            let bound = |i: usize| self.bounds.get(i).copied().unwrap_or(0.0);
            order.sort_by(|a, b| bound(*a).partial_cmp(&bound(*b)).unwrap_or(std::cmp::Ordering::Equal));
            order.dedup_by(|later, first| bound(*later) == bound(*first));
        }
        let len = if self.is_ascending { self.bounds.len() } else { order.len() };
        let mut cumulative = 0_u64;
        (0..len).filter_map(move |at| {
            let at = order.get(at).copied().unwrap_or(at);
            cumulative = cumulative.wrapping_add(self.counts.get(at).copied().unwrap_or(0));
            Some((*self.bounds.get(at)?, cumulative))
        })
    }
}

impl<'a> DataPoint<'a> for SummaryPoint<'a> {
    fn raw(&self) -> &'a [u8] {
        self.raw
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn attributes(&self) -> RepeatedMessages<'a, KeyValue<'a>> {
        self.attributes()
    }

    fn bucket_count(&self) -> usize {
        self.quantile_values().take(MAX_BUCKETS + 1).count()
    }

    fn charged_bytes(&self) -> u64 {
        (size_of::<SummaryValue>() + 16 * self.quantile_values().count()) as u64
    }

    fn initial_state(&self) -> SeriesState {
        let mut value = Box::<SummaryValue>::default();
        value.replace(self);
        SeriesState {
            start: self.start_time_unix_nano.cast_signed(),
            time: self.time_unix_nano.cast_signed(),
            value: StoredValue::Summary(value),
        }
    }

    fn update(&self, reading: &mut SeriesState, _: Temporality) -> UpdateResult {
        let time = self.time_unix_nano.cast_signed();
        if time < reading.time {
            return UpdateResult::Refused(DropReason::OlderPoint);
        }
        if let StoredValue::Summary(value) = &mut reading.value {
            value.replace(self);
            (reading.start, reading.time) = (self.start_time_unix_nano.cast_signed(), time);
        }
        UpdateResult::Applied
    }
}

impl SummaryValue {
    fn replace(&mut self, point: &SummaryPoint<'_>) {
        (self.count, self.sum) = (point.count, point.sum);
        self.quantiles.clear();
        self.quantiles.extend(point.quantile_values().map(|q| (q.quantile, q.value)));
        if !self.quantiles.is_sorted_by(|a, b| a.0 < b.0) {
            // A stable sort, so that the last of equal quantiles is the one that was last in the point.
            self.quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.quantiles.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0 || (later.0.is_nan() && earlier.0.is_nan());
                if same {
                    earlier.1 = later.1;
                }
                same
            });
        }
    }
}
