//! Histograms with exponential bounds into histograms with explicit bounds.

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{exponential_point, histogram_point};
use otelcore_pdata::views::ExponentialHistogramPoint;
use otelcore_pdata::wire_format::put_fixed64_field;

use super::percentile::ldexp;
use super::{put_packed_fixed64, put_plain_fixed64, put_renumbered};

/// How the count of a bucket is spread over buckets with other bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Distribution {
    /// To the bucket of its upper bound.
    Upper,
    /// To the bucket of its middle.
    Midpoint,
    /// In proportion to the overlap, in part by chance.
    Random,
    /// Evenly over the buckets that it overlaps.
    Uniform,
}

impl Distribution {
    /// By its name in a statement.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "upper" => Self::Upper,
            "midpoint" => Self::Midpoint,
            "random" => Self::Random,
            "uniform" => Self::Uniform,
            _ => return None,
        })
    }
}

/// Changes a histogram with exponential bounds; nothing happens to other kinds. Returns whether it was one. There is at
/// least one bound. `random` returns random numbers.
pub(crate) fn to_explicit_buckets(
    metric: &mut OwnedMetric,
    distribution: Distribution,
    bounds: &[f64],
    random: &mut dyn FnMut() -> u64,
) -> bool {
    if metric.kind != MetricKind::ExponentialHistogram {
        return false;
    }
    let mut made = metric.with_data(MetricKind::Histogram, metric.temporality, false);
    let mut out = Vec::new();
    for point in metric.exponential_points() {
        out.clear();
        put_renumbered(&mut out, point.raw, exponential_point::ATTRIBUTES, histogram_point::ATTRIBUTES);
        put_plain_fixed64(&mut out, histogram_point::START_TIME_UNIX_NANO, point.start_time_unix_nano);
        put_plain_fixed64(&mut out, histogram_point::TIME_UNIX_NANO, point.time_unix_nano);
        put_plain_fixed64(&mut out, histogram_point::COUNT, point.count);
        for (number, value) in
            [(histogram_point::SUM, point.sum), (histogram_point::MIN, point.min), (histogram_point::MAX, point.max)]
        {
            put_fixed64_field(&mut out, number, value.unwrap_or(0.0).to_bits());
        }
        put_renumbered(&mut out, point.raw, exponential_point::EXEMPLARS, histogram_point::EXEMPLARS);
        put_packed_fixed64(&mut out, histogram_point::EXPLICIT_BOUNDS, bounds.iter().map(|bound| bound.to_bits()));
        let counts = bucket_counts(&point, distribution, bounds, random);
        put_packed_fixed64(&mut out, histogram_point::BUCKET_COUNTS, counts.iter().copied());
        made.push_point(&out);
    }
    *metric = made;
    true
}

/// As many counts as there are bounds, as in the Go collector.
fn bucket_counts(
    point: &ExponentialHistogramPoint<'_>,
    distribution: Distribution,
    bounds: &[f64],
    random: &mut dyn FnMut() -> u64,
) -> Vec<u64> {
    let mut counts = vec![0_u64; bounds.len()];
    let factor = ldexp(std::f64::consts::LN_2, -i64::from(point.scale.0));
    if point.zero_count > 0 && bounds.first() == Some(&0.0) {
        add(&mut counts, 0, point.zero_count);
    }
    for (position, count) in point.positive.bucket_counts().enumerate() {
        let index = point.positive.offset.0.wrapping_add(position as i32);
        let upper = (f64::from(index.wrapping_add(1)) * factor).exp();
        let lower = (f64::from(index) * factor).exp();
        let last = bounds.len() - 1;
        if bounds.last().is_some_and(|bound| lower > *bound) {
            add(&mut counts, last, count);
            continue;
        }
        let contains = |pair: &[f64]| matches!(pair, [below, above] if lower > *below && upper <= *above);
        if let Some(within) = bounds.windows(2).position(contains) {
            add(&mut counts, within, count);
            continue;
        }
        match distribution {
            Distribution::Upper => {
                add(&mut counts, bounds.iter().position(|bound| upper <= *bound).unwrap_or(last), count);
            }
            Distribution::Midpoint => {
                let middle = f64::midpoint(upper, lower);
                let found = bounds.iter().position(|bound| middle <= *bound);
                add(&mut counts, found.map_or(last, |found| found.saturating_sub(1)), count);
            }
            Distribution::Uniform => {
                let (start, end) = overlapped(bounds, lower, upper);
                spread_evenly(&mut counts, start, end, count);
            }
            Distribution::Random => spread_by_overlap(&mut counts, bounds, (lower, upper), count, random),
        }
    }
    counts
}

fn add(counts: &mut [u64], index: usize, count: u64) {
    if let Some(found) = counts.get_mut(index) {
        *found = found.wrapping_add(count);
    }
}

/// The first and the last of the buckets that a range overlaps.
fn overlapped(bounds: &[f64], lower: f64, upper: f64) -> (usize, usize) {
    let last = bounds.len() - 1;
    let start = bounds.iter().position(|bound| lower <= *bound).unwrap_or(last);
    let end = bounds.iter().skip(start).position(|bound| upper <= *bound).map_or(last, |found| start + found);
    (start, end)
}

fn spread_evenly(counts: &mut [u64], start: usize, end: usize, count: u64) {
    let buckets = (end - start + 1) as u64;
    let (each, rest) = (count / buckets, count % buckets);
    for (nth, index) in (start..=end).enumerate() {
        add(counts, index, each + u64::from((nth as u64) < rest));
    }
}

fn spread_by_overlap(
    counts: &mut [u64],
    bounds: &[f64],
    (lower, upper): (f64, f64),
    count: u64,
    random: &mut dyn FnMut() -> u64,
) {
    let (start, end) = overlapped(bounds, lower, upper);
    if start == end {
        return add(counts, start, count);
    }
    let mut left = count;
    for index in start..=end {
        let below = index.checked_sub(1).and_then(|index| bounds.get(index)).copied().unwrap_or(lower);
        let above = bounds.get(index).copied().unwrap_or(upper);
        let overlap = above.min(upper) - below.max(lower);
        let share = (count as f64 * (overlap / (upper - lower))) as u64;
        let fraction = (random() >> 11) as f64 / (1_u64 << 53) as f64;
        let taken = ((fraction * share as f64) as u64).min(left);
        add(counts, index, taken);
        left -= taken;
    }
    // What is left is spread evenly, and its remainder from a random bucket on.
    let buckets = (end - start + 1) as u64;
    spread_evenly(counts, start, end, left - left % buckets);
    let first = random() % buckets;
    for nth in 0..left % buckets {
        add(counts, start + ((first + nth) % buckets) as usize, 1);
    }
}
