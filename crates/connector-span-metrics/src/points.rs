//! How points are written.

use otelcore_pdata::build::MetricWriter;

use crate::histogram::Histogram;
use crate::settings::HistogramKind;
use crate::store::Exemplar;

/// What a point has beside its values.
pub(crate) struct PointParts<'a> {
    pub(crate) start: u64,
    pub(crate) time: u64,
    /// The entries of a map.
    pub(crate) attributes: &'a [u8],
    pub(crate) exemplars: &'a [Exemplar],
}

/// Writes attributes and exemplars of a point.
macro_rules! put_parts {
    ($point:ident, $parts:ident) => {{
        $point.start_time_unix_nano($parts.start).time_unix_nano($parts.time);
        for exemplar in $parts.exemplars {
            let mut writer = $point.exemplar();
            writer.time_unix_nano($parts.time).double(exemplar.value).trace_id(&exemplar.trace_id);
            if exemplar.span_id != [0; 8] {
                writer.span_id(&exemplar.span_id);
            }
        }
        let mut attributes = $point.attributes();
        for entry in otelcore_pdata::views::AnyValue::map_entries($parts.attributes) {
            attributes.push(entry.key, entry.value);
        }
    }};
}
pub(crate) use put_parts;

/// Begins the data of a histogram, and writes its points: `points` calls what it is given once for each.
pub(crate) fn write_histogram(
    metric: &mut MetricWriter<'_>,
    kind: &HistogramKind,
    temporality: i32,
    points: impl FnOnce(&mut dyn FnMut(&Histogram, &PointParts<'_>)),
) {
    match kind {
        HistogramKind::Explicit(_) => {
            let mut data = metric.histogram();
            data.aggregation_temporality(temporality);
            points(&mut |histogram, parts| {
                let Histogram::Explicit { bounds, counts, count, sum } = histogram else { return };
                let mut point = data.point();
                point.count(*count).sum(*sum).bucket_counts(counts).explicit_bounds(bounds);
                put_parts!(point, parts);
            });
        }
        HistogramKind::Exponential(_) => {
            let mut data = metric.exponential_histogram();
            data.aggregation_temporality(temporality);
            points(&mut |histogram, parts| {
                let Histogram::Exponential(histogram) = histogram else { return };
                let mut point = data.point();
                histogram.write(&mut point);
                put_parts!(point, parts);
            });
        }
    }
}
