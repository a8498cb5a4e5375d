//! A percentile of histograms as a gauge, interpolated within the bucket in which it is.

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{exponential_point, histogram_point, number_point};
use otelcore_pdata::views::{ExponentialHistogramPoint, HistogramPoint};
use otelcore_pdata::wire_format::put_fixed64_field;

use super::extract::source;

/// The percentile of a histogram of either kind; `None` of other kinds, and if no point has one.
///
/// # Errors
/// The counts of a point do not agree, with the Go collector's sentence.
pub(crate) fn extract_percentile(
    metric: &OwnedMetric,
    percentile: f64,
    suffix: &[u8],
) -> Result<Option<OwnedMetric>, String> {
    if !matches!(metric.kind, MetricKind::Histogram | MetricKind::ExponentialHistogram) {
        return Ok(None);
    }
    let mut made = metric.with_data(MetricKind::Gauge, 0, false);
    made.name.extend_from_slice(suffix);
    let name = percentile_name(percentile);
    if made.description.is_empty() {
        made.description = name.into_bytes();
    } else {
        made.description.extend_from_slice(format!(" ({name})").as_bytes());
    }
    let mut point = Vec::new();
    let mut add = |source: super::extract::SourcePoint<'_>, value: Option<f64>| {
        if let Some(value) = value {
            source.begin_number_point(&mut point);
            put_fixed64_field(&mut point, number_point::AS_DOUBLE, value.to_bits());
            made.push_point(&point);
        }
    };
    if metric.kind == MetricKind::Histogram {
        for p in metric.histogram_points() {
            let source = source(p.raw, histogram_point::ATTRIBUTES, p.start_time_unix_nano, p.time_unix_nano);
            add(source, of_histogram(&p, percentile)?);
        }
    } else {
        for p in metric.exponential_points() {
            let source = source(p.raw, exponential_point::ATTRIBUTES, p.start_time_unix_nano, p.time_unix_nano);
            add(source, of_exponential(&p, percentile)?);
        }
    }
    Ok(Some(made).filter(|made| !made.points.is_empty()))
}

/// `p99.9`, as Go's `%g` writes the number.
pub(crate) fn percentile_name(percentile: f64) -> String {
    if percentile >= 1e-4 {
        return format!("p{percentile}");
    }
    let text = format!("{percentile:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("p{digits}e-{exponent:0>2}"),
        None => format!("p{text}"),
    }
}

fn target_count(count: u64, percentile: f64) -> u64 {
    (count as f64 * (percentile / 100.0)).ceil() as u64
}

fn malformed(target: u64, total: u64) -> String {
    format!(
        "cumulative count doesn't reach target count corresponding to percentile. targetCount={target}, total count={total}"
    )
}

fn of_histogram(point: &HistogramPoint<'_>, percentile: f64) -> Result<Option<f64>, String> {
    let counts = point.bucket_counts();
    let buckets = counts.count();
    if point.count == 0 || buckets == 0 {
        return Ok(None);
    }
    let target = target_count(point.count, percentile);
    let bounds = point.explicit_bounds().count();
    if buckets != bounds + 1 {
        return Err(format!(
            "calculating histogram percentile: malformed data: bucketCounts length ({buckets}) != explicitBounds length ({bounds}) + 1"
        ));
    }
    if buckets == 1 {
        // From minus to plus infinity: there is something to interpolate only between the extremes.
        let (Some(min), Some(max)) = (point.min, point.max) else { return Ok(None) };
        let count = counts.last().unwrap_or(0);
        return linear(min, max, target as f64 / count as f64).map(Some);
    }
    let mut total = 0_u64;
    let mut lower = None;
    let mut bounds = point.explicit_bounds();
    for count in point.bucket_counts() {
        let before = total;
        total = total.wrapping_add(count);
        let upper = bounds.next();
        if total < target {
            lower = upper;
            continue;
        }
        let (lower, upper) = match (lower, upper) {
            (None, Some(upper)) => match point.min {
                Some(min) if min < upper => (min, upper),
                // Nothing to interpolate with.
                _ if 0.0 > upper => return Ok(Some(upper)),
                _ => (0.0, upper),
            },
            (Some(lower), Some(upper)) => (lower, upper),
            (Some(lower), None) => match point.max {
                Some(max) if max > lower => (lower, max),
                _ => return Ok(Some(lower)),
            },
            (None, None) => return Ok(None),
        };
        return linear(lower, upper, target.wrapping_sub(before) as f64 / count as f64).map(Some);
    }
    Err(format!("calculating histogram percentile: malformed data: {}", malformed(target, total)))
}

fn of_exponential(point: &ExponentialHistogramPoint<'_>, percentile: f64) -> Result<Option<f64>, String> {
    let (negative, positive) = (point.negative.bucket_counts(), point.positive.bucket_counts());
    let (has_negative, has_positive) = (negative.clone().next().is_some(), positive.clone().next().is_some());
    if point.count == 0 || !has_negative && !has_positive && point.zero_count == 0 {
        return Ok(None);
    }
    let target = target_count(point.count, percentile);
    let scale = point.scale.0;
    let mut total = 0_u64;
    let buckets: Vec<u64> = negative.collect();
    for (index, count) in buckets.iter().enumerate().rev() {
        let before = total;
        total = total.wrapping_add(*count);
        if total >= target {
            return in_negative(point, index, *count, target.wrapping_sub(before), scale).map(Some);
        }
    }
    let before_zero = total;
    total = total.wrapping_add(point.zero_count);
    if total >= target {
        let threshold = point.zero_threshold;
        let lower = if !has_negative && has_positive { 0.0 } else { -threshold };
        let upper = if !has_positive && has_negative { 0.0 } else { threshold };
        return linear(lower, upper, target.wrapping_sub(before_zero) as f64 / point.zero_count as f64).map(Some);
    }
    for (index, count) in positive.enumerate() {
        let before = total;
        total = total.wrapping_add(count);
        if total >= target {
            let index = i64::from(point.positive.offset.0) + index as i64;
            let ratio = target.wrapping_sub(before) as f64 / count as f64;
            return logarithmic(bound(index, scale), bound(index + 1, scale), ratio).map(Some);
        }
    }
    Err(format!("calculating exponential histogram percentile: malformed data: {}", malformed(target, total)))
}

fn in_negative(
    point: &ExponentialHistogramPoint<'_>,
    index: usize,
    count: u64,
    rank: u64,
    scale: i32,
) -> Result<f64, String> {
    let index = i64::from(point.negative.offset.0) + index as i64;
    let (lower, upper) = (bound(index, scale), bound(index + 1, scale));
    if lower >= upper {
        return Err(format!(
            "calculating exponential histogram percentile: malformed negative bucket bounds: absLowerBound ({lower:.6}) >= absUpperBound ({upper:.6}) at histogramIndex={index}, scale={scale}"
        ));
    }
    // The rank counts from the end that is farther from zero.
    Ok(-logarithmic(lower, upper, 1.0 - rank as f64 / count as f64)?)
}

/// The values in a bucket are taken to be spread evenly.
fn linear(lower: f64, upper: f64, ratio: f64) -> Result<f64, String> {
    if !(0.0..=1.0).contains(&ratio) && !ratio.is_nan() {
        return Err(format!("linear interpolation: invalid ratio {ratio:.6}, must be between 0 and 1"));
    }
    Ok(lower + ratio * (upper - lower))
}

fn logarithmic(lower: f64, upper: f64, ratio: f64) -> Result<f64, String> {
    if !(0.0..=1.0).contains(&ratio) && !ratio.is_nan() {
        return Err(format!("logarithmic interpolation: invalid ratio {ratio:.6}, must be between 0 and 1"));
    }
    if lower <= 0.0 || upper <= 0.0 {
        return Err(format!(
            "logarithmic interpolation: bounds must be positive, got lowerBound={lower:.6}, upperBound={upper:.6}"
        ));
    }
    let (lower, upper) = (lower.log2(), upper.log2());
    Ok((lower + (upper - lower) * ratio).exp2())
}

/// The lower bound of a bucket of a histogram with exponential bounds.
fn bound(index: i64, scale: i32) -> f64 {
    if scale <= 0 {
        let shift = scale.unsigned_abs();
        let exponent = if shift < 64 { index << shift } else { 0 };
        return power_of_two(exponent);
    }
    (index as f64 * ldexp(std::f64::consts::LN_2, i64::from(-scale))).exp()
}

fn power_of_two(exponent: i64) -> f64 {
    ldexp(1.0, exponent)
}

/// `v` times two to the power of `exponent`.
pub(super) fn ldexp(v: f64, exponent: i64) -> f64 {
    // In two steps, each within the range of a double's exponent.
    let exponent = exponent.clamp(-2200, 2200) as i32;
    let half = exponent / 2;
    let (quarter, rest) = (half / 2, exponent - half);
    let other = rest / 2;
    let power = |e: i32| 2_f64.powi(e);
    v * power(quarter) * power(half - quarter) * power(other) * power(rest - other)
}
