//! Gauges, sums and summaries into each other.

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{key_value, number_point, summary_point};
use otelcore_pdata::views::{AnyValue, SummaryPoint};
use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field};

use super::{put_plain_fixed64, put_renumbered};

/// A sum becomes a gauge; nothing happens to other kinds. Returns whether it was one.
pub(crate) fn sum_to_gauge(metric: &mut OwnedMetric) -> bool {
    let is_sum = metric.kind == MetricKind::Sum;
    if is_sum {
        metric.kind = MetricKind::Gauge;
        metric.temporality = 0;
        metric.is_monotonic = false;
    }
    is_sum
}

/// A gauge becomes a sum; nothing happens to other kinds. Returns whether it was one.
pub(crate) fn gauge_to_sum(metric: &mut OwnedMetric, temporality: i32, is_monotonic: bool) -> bool {
    let is_gauge = metric.kind == MetricKind::Gauge;
    if is_gauge {
        metric.kind = MetricKind::Sum;
        metric.temporality = temporality;
        metric.is_monotonic = is_monotonic;
    }
    is_gauge
}

/// Which value of a summary becomes a sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SummaryValue {
    Count,
    Sum,
}

/// The sum of the counts, or sums, of a summary; `None` of other kinds.
pub(crate) fn summary_to_sum(
    metric: &OwnedMetric,
    value: SummaryValue,
    temporality: i32,
    is_monotonic: bool,
    suffix: &[u8],
) -> Option<OwnedMetric> {
    if metric.kind != MetricKind::Summary {
        return None;
    }
    let mut made = metric.with_data(MetricKind::Sum, temporality, is_monotonic);
    made.name.extend_from_slice(suffix);
    let mut point = Vec::new();
    for summary in metric.summary_points() {
        begin_number_point(&mut point, &summary);
        match value {
            SummaryValue::Count => put_fixed64_field(&mut point, number_point::AS_INT, summary.count),
            SummaryValue::Sum => put_fixed64_field(&mut point, number_point::AS_DOUBLE, summary.sum.to_bits()),
        }
        made.push_point(&point);
    }
    Some(made)
}

/// A gauge of the quantiles of a summary, with the quantile as an attribute; `None` of other kinds.
pub(crate) fn summary_quantiles_to_gauge(metric: &OwnedMetric, attribute: &[u8], suffix: &[u8]) -> Option<OwnedMetric> {
    if metric.kind != MetricKind::Summary {
        return None;
    }
    let mut made = metric.with_data(MetricKind::Gauge, 0, false);
    made.name.extend_from_slice(suffix);
    let mut point = Vec::new();
    for summary in metric.summary_points() {
        for quantile in summary.quantile_values() {
            point.clear();
            let mut is_written = false;
            let value = AnyValue::Double(quantile.quantile);
            for found in summary.attributes() {
                // The first attribute with the key is replaced in its place.
                if found.key == attribute && !is_written {
                    put_attribute(&mut point, attribute, value);
                    is_written = true;
                } else {
                    put_bytes_field(&mut point, number_point::ATTRIBUTES, found.raw);
                }
            }
            if !is_written {
                put_attribute(&mut point, attribute, value);
            }
            put_times(&mut point, &summary);
            put_fixed64_field(&mut point, number_point::AS_DOUBLE, quantile.value.to_bits());
            made.push_point(&point);
        }
    }
    Some(made)
}

fn begin_number_point(out: &mut Vec<u8>, summary: &SummaryPoint<'_>) {
    out.clear();
    put_renumbered(out, summary.raw, summary_point::ATTRIBUTES, number_point::ATTRIBUTES);
    put_times(out, summary);
}

fn put_times(out: &mut Vec<u8>, summary: &SummaryPoint<'_>) {
    put_plain_fixed64(out, number_point::START_TIME_UNIX_NANO, summary.start_time_unix_nano);
    put_plain_fixed64(out, number_point::TIME_UNIX_NANO, summary.time_unix_nano);
}

fn put_attribute(out: &mut Vec<u8>, key: &[u8], value: AnyValue<'_>) {
    let mut content = Vec::new();
    if !key.is_empty() {
        put_bytes_field(&mut content, key_value::KEY, key);
    }
    let mut raw = Vec::new();
    value.encode(&mut raw);
    put_bytes_field(&mut content, key_value::VALUE, &raw);
    put_bytes_field(out, number_point::ATTRIBUTES, &content);
}
