//! The counts and sums of histograms and summaries as sums of their own.

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{exponential_point, histogram_point, number_point, summary_point};
use otelcore_pdata::wire_format::put_fixed64_field;

use super::{put_plain_fixed64, put_renumbered};
use crate::owned_metric::kind_name;

/// What becomes a metric of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extracted {
    Count,
    Sum,
}

/// What the functions read of a point, of any of the three kinds.
pub(super) struct SourcePoint<'a> {
    pub(super) raw: &'a [u8],
    /// The field number of its attributes.
    pub(super) attributes: u32,
    pub(super) start_time_unix_nano: u64,
    pub(super) time_unix_nano: u64,
}

impl SourcePoint<'_> {
    /// Writes attributes and times of a number point, in place of what is there.
    pub(super) fn begin_number_point(&self, out: &mut Vec<u8>) {
        out.clear();
        put_renumbered(out, self.raw, self.attributes, number_point::ATTRIBUTES);
        put_plain_fixed64(out, number_point::START_TIME_UNIX_NANO, self.start_time_unix_nano);
        put_plain_fixed64(out, number_point::TIME_UNIX_NANO, self.time_unix_nano);
    }
}

/// The counts or sums of a metric; `None` if there are none.
///
/// # Errors
/// The metric is not of a kind that has them, with the Go collector's sentence.
pub(crate) fn extract(
    metric: &OwnedMetric,
    what: Extracted,
    is_monotonic: bool,
    suffix: &[u8],
) -> Result<Option<OwnedMetric>, String> {
    let temporality = match metric.kind {
        MetricKind::Histogram | MetricKind::ExponentialHistogram => metric.temporality,
        // Summaries have no temporality; OpenMetrics has them cumulative.
        MetricKind::Summary => 2,
        MetricKind::Empty | MetricKind::Gauge | MetricKind::Sum => 0,
    };
    if temporality == 0 {
        let function = if what == Extracted::Count { "extract_count_metric" } else { "extract_sum_metric" };
        let found = kind_name(metric.kind);
        return Err(format!(
            "{function} requires an input metric of type Histogram, ExponentialHistogram or Summary, got {found}"
        ));
    }
    let mut made = metric.with_data(MetricKind::Sum, temporality, is_monotonic);
    made.name.extend_from_slice(suffix);
    if what == Extracted::Count {
        // The unit of the measurements is not that of their number.
        made.unit = b"1".to_vec();
    }
    let mut point = Vec::new();
    let mut add = |source: &SourcePoint<'_>, count: u64, sum: Option<f64>| {
        source.begin_number_point(&mut point);
        match (what, sum) {
            (Extracted::Count, _) => put_fixed64_field(&mut point, number_point::AS_INT, count),
            (Extracted::Sum, Some(sum)) => put_fixed64_field(&mut point, number_point::AS_DOUBLE, sum.to_bits()),
            (Extracted::Sum, None) => return,
        }
        made.push_point(&point);
    };
    match metric.kind {
        MetricKind::Histogram => {
            for p in metric.histogram_points() {
                add(
                    &source(p.raw, histogram_point::ATTRIBUTES, p.start_time_unix_nano, p.time_unix_nano),
                    p.count,
                    p.sum,
                );
            }
        }
        MetricKind::ExponentialHistogram => {
            for p in metric.exponential_points() {
                let source = source(p.raw, exponential_point::ATTRIBUTES, p.start_time_unix_nano, p.time_unix_nano);
                add(&source, p.count, p.sum);
            }
        }
        _ => {
            for p in metric.summary_points() {
                let source = source(p.raw, summary_point::ATTRIBUTES, p.start_time_unix_nano, p.time_unix_nano);
                add(&source, p.count, Some(p.sum));
            }
        }
    }
    Ok(Some(made).filter(|made| !made.points.is_empty()))
}

pub(super) fn source(raw: &[u8], attributes: u32, start_time_unix_nano: u64, time_unix_nano: u64) -> SourcePoint<'_> {
    SourcePoint { raw, attributes, start_time_unix_nano, time_unix_nano }
}
