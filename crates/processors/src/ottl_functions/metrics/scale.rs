//! All values of a metric times a number.

use otelcore_ottl::contexts::OwnedMetric;
use otelcore_pdata::edit::MetricKind;
use otelcore_pdata::schema::{exemplar, histogram_point, number_point, summary_point, value_at_quantile};
use otelcore_pdata::wire_format::{WireValue, put_bytes_field, put_fixed64_field, raw_fields};

use super::{put_packed_fixed64, put_plain_fixed64};

/// Scales the values of the points.
///
/// # Errors
/// The metric is of a kind that can't be scaled, with the Go collector's sentence.
pub(crate) fn scale(metric: &mut OwnedMetric, multiplier: f64) -> Result<(), String> {
    let put: fn(&mut Vec<u8>, &[u8], f64) = match metric.kind {
        MetricKind::Gauge | MetricKind::Sum => put_number_point,
        MetricKind::Histogram => put_histogram_point,
        MetricKind::Summary => put_summary_point,
        MetricKind::ExponentialHistogram => {
            return Err("exponential histograms are not supported by the 'scale_metric' function".to_owned());
        }
        MetricKind::Empty => return Err("unsupported metric type: 'Empty'".to_owned()),
    };
    let mut points = Vec::with_capacity(metric.points.len());
    let mut scaled = Vec::new();
    for point in metric.raw_points() {
        scaled.clear();
        put(&mut scaled, point, multiplier);
        put_bytes_field(&mut points, 1, &scaled);
    }
    metric.points = points;
    Ok(())
}

fn scaled(bits: u64, multiplier: f64) -> u64 {
    (f64::from_bits(bits) * multiplier).to_bits()
}

fn put_number_point(out: &mut Vec<u8>, point: &[u8], multiplier: f64) {
    use number_point::{AS_DOUBLE, AS_INT};
    for (raw, number, wire) in raw_fields(point) {
        match (number, wire) {
            (AS_DOUBLE, WireValue::Fixed64(bits)) => put_fixed64_field(out, AS_DOUBLE, scaled(bits, multiplier)),
            (AS_INT, WireValue::Fixed64(bits)) => put_fixed64_field(out, AS_INT, scaled_int(bits, multiplier)),
            _ => out.extend_from_slice(raw),
        }
    }
}

fn scaled_int(bits: u64, multiplier: f64) -> u64 {
    otelcore_go_number::truncate(bits.cast_signed() as f64 * multiplier).cast_unsigned()
}

fn put_histogram_point(out: &mut Vec<u8>, point: &[u8], multiplier: f64) {
    use histogram_point::{EXEMPLARS, EXPLICIT_BOUNDS, MAX, MIN, SUM};
    for (raw, number, wire) in raw_fields(point) {
        match (number, wire) {
            (SUM | MIN | MAX | EXPLICIT_BOUNDS, WireValue::Fixed64(bits)) => {
                put_fixed64_field(out, number, scaled(bits, multiplier));
            }
            (EXPLICIT_BOUNDS, WireValue::Len(packed)) => {
                let bits = packed.as_chunks::<8>().0.iter().map(|bits| scaled(u64::from_le_bytes(*bits), multiplier));
                put_packed_fixed64(out, EXPLICIT_BOUNDS, bits);
            }
            (EXEMPLARS, WireValue::Len(content)) => {
                let mut changed = Vec::with_capacity(content.len());
                put_exemplar(&mut changed, content, multiplier);
                put_bytes_field(out, EXEMPLARS, &changed);
            }
            _ => out.extend_from_slice(raw),
        }
    }
}

fn put_exemplar(out: &mut Vec<u8>, content: &[u8], multiplier: f64) {
    use exemplar::{AS_DOUBLE, AS_INT};
    for (raw, number, wire) in raw_fields(content) {
        match (number, wire) {
            (AS_DOUBLE, WireValue::Fixed64(bits)) => put_fixed64_field(out, AS_DOUBLE, scaled(bits, multiplier)),
            (AS_INT, WireValue::Fixed64(bits)) => put_fixed64_field(out, AS_INT, scaled_int(bits, multiplier)),
            _ => out.extend_from_slice(raw),
        }
    }
}

fn put_summary_point(out: &mut Vec<u8>, point: &[u8], multiplier: f64) {
    use summary_point::{QUANTILE_VALUES, SUM};
    for (raw, number, wire) in raw_fields(point) {
        match (number, wire) {
            (SUM, WireValue::Fixed64(bits)) => put_plain_fixed64(out, SUM, scaled(bits, multiplier)),
            (QUANTILE_VALUES, WireValue::Len(content)) => {
                let mut changed = Vec::with_capacity(content.len());
                for (raw, number, wire) in raw_fields(content) {
                    match (number, wire) {
                        (value_at_quantile::VALUE, WireValue::Fixed64(bits)) => {
                            put_plain_fixed64(&mut changed, number, scaled(bits, multiplier));
                        }
                        _ => changed.extend_from_slice(raw),
                    }
                }
                put_bytes_field(out, QUANTILE_VALUES, &changed);
            }
            _ => out.extend_from_slice(raw),
        }
    }
}
