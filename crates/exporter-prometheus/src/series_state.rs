//! The state of a series, and how the next point changes it.
//!
//! The newest point replaces the stored one; a delta point is added if it begins when the stored one ends. All rules,
//! those for gaps included, are those of the Go exporter's accumulator. Times are compared as in Go, as signed
//! nanoseconds. Exponential histograms are in `native_histogram`.

mod native_histogram;

use otelcore_exposition::TraceExemplar;
use otelcore_exposition::protobuf::Created;
use otelcore_pdata::views::{
    Exemplar, HistogramPoint, KeyValue, NumberPoint, NumberValue, RepeatedMessages, SummaryPoint, Temporality, View,
};

use self::native_histogram::NativeValue;
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
    exemplars: Option<Box<ExemplarList>>,
}

/// The exemplars of the last point.
#[derive(Debug, Default)]
struct ExemplarList {
    list: Vec<TraceExemplar>,
}

/// Exemplars of one series, at most: the last ones of its last point are kept.
pub const MAX_EXEMPLARS: usize = 64;

/// A value by type.
#[derive(Debug)]
pub(crate) enum StoredValue {
    Number(NumberValue),
    Histogram(Box<HistogramValue>),
    Summary(Box<SummaryValue>),
    Native(Box<NativeValue>),
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
            Self::Native(_) => 3,
        }
    }
}

impl StoredValue {
    /// Buckets or quantiles.
    pub(crate) fn cell_count(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Histogram(h) => h.bounds.len(),
            Self::Summary(s) => s.quantiles.len(),
            Self::Native(native) => native.bucket_count(),
        }
    }
}

impl SeriesState {
    pub(crate) fn new(start: u64, time: u64, value: StoredValue) -> Self {
        Self { start: start.cast_signed(), time: time.cast_signed(), value, exemplars: None }
    }

    /// The exemplars of the last point, the newest last.
    pub(crate) fn exemplars(&self) -> &[TraceExemplar] {
        self.exemplars.as_ref().map_or(&[], |exemplars| &exemplars.list)
    }

    /// Replaces the exemplars by those of a point, at most `most` of them.
    pub(crate) fn set_exemplars<'a>(&mut self, exemplars: impl Iterator<Item = Exemplar<'a>>, most: usize) {
        if let Some(kept) = &mut self.exemplars {
            kept.list.clear();
        }
        // When the list is full, the oldest is replaced.
        let mut oldest = 0;
        for exemplar in exemplars {
            let list = &mut self.exemplars.get_or_insert_default().list;
            if list.len() < most {
                list.push(stored_exemplar(&exemplar));
            } else if let Some(replaced) = list.get_mut(oldest) {
                *replaced = stored_exemplar(&exemplar);
                oldest = (oldest + 1) % most;
            }
        }
        if let Some(kept) = self.exemplars.as_mut().filter(|_| oldest > 0) {
            kept.list.rotate_left(oldest);
        }
    }

    /// When the series began, as protobuf pages have it: times before the first second after the epoch are unknown.
    pub(crate) fn created(&self) -> Created {
        const SECOND: i64 = 1_000_000_000;
        match (self.start.div_euclid(SECOND), &self.value) {
            (seconds @ 1.., _) => Created::At(seconds, self.start.rem_euclid(SECOND) as u32),
            // Go writes its zero time, the beginning of the year 1.
            (_, StoredValue::Native(_)) => Created::At(-62_135_596_800, 0),
            _ => Created::Unset,
        }
    }

    /// Bytes charged for buckets, quantiles and exemplars; zero for a number without them.
    pub(crate) fn charged_bytes(&self) -> u64 {
        let exemplars = self.exemplars.as_ref().map_or(0, |exemplars| {
            (size_of::<ExemplarList>() + exemplars.list.capacity() * size_of::<TraceExemplar>() + 32) as u64
        });
        exemplars + self.value_bytes()
    }

    fn value_bytes(&self) -> u64 {
        match &self.value {
            StoredValue::Number(_) => 0,
            StoredValue::Histogram(h) => {
                let cells = h.bounds.capacity() + h.counts.capacity();
                (size_of::<HistogramValue>() + 8 * cells) as u64
            }
            StoredValue::Summary(s) => (size_of::<SummaryValue>() + 16 * s.quantiles.capacity()) as u64,
            StoredValue::Native(native) => native.charged_bytes(),
        }
    }
}

fn stored_exemplar(exemplar: &Exemplar<'_>) -> TraceExemplar {
    TraceExemplar {
        trace_id: exemplar.trace_id.try_into().unwrap_or_default(),
        span_id: exemplar.span_id.try_into().unwrap_or_default(),
        value: to_f64(exemplar.value.0),
        time_unix_nano: exemplar.time_unix_nano.cast_signed(),
    }
}

/// Buckets or quantiles of one point, at most: one point is read, sorted and kept in one step.
pub const MAX_BUCKETS: usize = 1 << 16;

/// A point of any type that becomes a series.
pub(crate) trait DataPoint<'a>: View<'a> {
    /// Units of work for each byte of the message.
    const UNITS_PER_BYTE: u64 = 1;
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
    /// Why a series can't have such a point, if it can't.
    fn drop_reason(&self) -> Option<DropReason> {
        None
    }
    /// The state after the first point. `keeps_exemplars` if pages show exemplars of the type.
    fn initial_state(&self, keeps_exemplars: bool) -> SeriesState;
    /// The state after a further point.
    fn update(&self, state: &mut SeriesState, temporality: Temporality, keeps_exemplars: bool) -> UpdateResult;
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

    fn initial_state(&self, keeps_exemplars: bool) -> SeriesState {
        let mut state =
            SeriesState::new(self.start_time_unix_nano, self.time_unix_nano, StoredValue::Number(self.value.0));
        if keeps_exemplars {
            state.set_exemplars(self.exemplars(), 1);
        }
        state
    }

    fn update(&self, reading: &mut SeriesState, temporality: Temporality, keeps_exemplars: bool) -> UpdateResult {
        let (start, time) = (self.start_time_unix_nano.cast_signed(), self.time_unix_nano.cast_signed());
        if time < reading.time {
            return UpdateResult::Refused(DropReason::OlderPoint);
        }
        let mut number = self.value.0;
        if temporality == Temporality::Delta && start == reading.time {
            if let StoredValue::Number(old) = reading.value {
                number = add_numbers(old, number);
            }
        } else {
            reading.start = start;
        }
        reading.time = time;
        reading.value = StoredValue::Number(number);
        if keeps_exemplars {
            reading.set_exemplars(self.exemplars(), 1);
        }
        UpdateResult::Applied
    }
}

/// The sum in the type of the new point. A stored value of the other type counts as zero, as in Go.
fn add_numbers(old: NumberValue, new: NumberValue) -> NumberValue {
    match (old, new) {
        (NumberValue::Int(a), NumberValue::Int(b)) => NumberValue::Int(a.wrapping_add(b)),
        (NumberValue::Double(a), NumberValue::Double(b)) => NumberValue::Double(a + b),
        // Which makes a negative zero positive.
        (_, NumberValue::Double(b)) => NumberValue::Double(0.0 + b),
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

    fn initial_state(&self, keeps_exemplars: bool) -> SeriesState {
        let mut value = Box::<HistogramValue>::default();
        value.replace(self);
        let mut state = SeriesState::new(self.start_time_unix_nano, self.time_unix_nano, StoredValue::Histogram(value));
        if keeps_exemplars {
            state.set_exemplars(self.exemplars(), MAX_EXEMPLARS);
        }
        state
    }

    fn update(&self, reading: &mut SeriesState, temporality: Temporality, keeps_exemplars: bool) -> UpdateResult {
        let (start, time) = (self.start_time_unix_nano.cast_signed(), self.time_unix_nano.cast_signed());
        let StoredValue::Histogram(value) = &mut reading.value else {
            return UpdateResult::Refused(DropReason::Temporality);
        };
        match histogram_update(temporality, (start, time), reading.time) {
            HistogramUpdate::Refuse(reason) => return UpdateResult::Refused(reason),
            HistogramUpdate::Add => {
                if value.has_bounds_of(self) {
                    value.add(self);
                } else if time >= reading.time {
                    value.replace(self);
                }
                reading.time = reading.time.max(time);
                reading.set_exemplars(std::iter::empty(), 0);
            }
            HistogramUpdate::Replace => {
                value.replace(self);
                (reading.start, reading.time) = (start, time);
                if keeps_exemplars {
                    reading.set_exemplars(self.exemplars(), MAX_EXEMPLARS);
                }
            }
        }
        UpdateResult::Applied
    }
}

/// What a further point of a histogram does.
pub(crate) enum HistogramUpdate {
    Refuse(DropReason),
    /// It is added to the stored one.
    Add,
    /// It replaces the stored one: it is cumulative, or a gap in deltas counts as a restart.
    Replace,
}

pub(crate) fn histogram_update(
    temporality: Temporality,
    (start, time): (i64, i64),
    stored_time: i64,
) -> HistogramUpdate {
    match temporality {
        Temporality::Unspecified => HistogramUpdate::Refuse(DropReason::Temporality),
        Temporality::Cumulative if time < stored_time => HistogramUpdate::Refuse(DropReason::OlderPoint),
        Temporality::Delta if start < stored_time => HistogramUpdate::Refuse(DropReason::MisalignedDelta),
        Temporality::Delta if start == stored_time => HistogramUpdate::Add,
        Temporality::Delta | Temporality::Cumulative => HistogramUpdate::Replace,
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

impl SeriesState {
    /// The buckets of a histogram with the last exemplar of each. An exemplar above all bounds adds a bucket of `+Inf`.
    pub(crate) fn buckets_with_exemplars(&self, histogram: &HistogramValue) -> Vec<(f64, u64, Option<TraceExemplar>)> {
        let mut buckets: Vec<_> = histogram.buckets().map(|(bound, count)| (bound, count, None)).collect();
        for exemplar in self.exemplars() {
            let at = buckets.partition_point(|(bound, ..)| *bound < exemplar.value);
            match buckets.get_mut(at) {
                Some((_, _, shown)) => *shown = Some(*exemplar),
                None => buckets.push((f64::INFINITY, histogram.count, Some(*exemplar))),
            }
        }
        buckets
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

    fn initial_state(&self, _: bool) -> SeriesState {
        let mut value = Box::<SummaryValue>::default();
        value.replace(self);
        SeriesState::new(self.start_time_unix_nano, self.time_unix_nano, StoredValue::Summary(value))
    }

    fn update(&self, reading: &mut SeriesState, _: Temporality, _: bool) -> UpdateResult {
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
