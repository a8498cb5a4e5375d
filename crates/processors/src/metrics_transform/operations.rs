//! Changes of one metric.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use otelcore_pdata::schema::exemplar;
use otelcore_pdata::views::NumberValue;
use otelcore_pdata::wire_format::{WireValue, put_fixed64_field, raw_fields};

use super::aggregate::{AggregationType, aggregate};
use super::{Action, Filter, Transform};
use crate::owned_metric::{Attribute, AttributeValue, OwnedMetric, PointValue};
use otelcore_go_number as go_number;

#[derive(Debug)]
pub(super) enum OperationKind {
    AddLabel {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// An empty `new_key`: the key stays.
    UpdateLabel {
        key: Vec<u8>,
        new_key: Vec<u8>,
        values: BTreeMap<Vec<u8>, Vec<u8>>,
    },
    DeleteLabelValue {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    ToggleScalarDataType,
    ScaleValue(f64),
    AggregateLabels {
        keys: BTreeSet<Vec<u8>>,
    },
    AggregateLabelValues {
        key: Vec<u8>,
        values: BTreeSet<Vec<u8>>,
        new_value: Vec<u8>,
    },
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: OperationKind,
    pub(super) aggregation_type: AggregationType,
}

impl Transform {
    /// Changes the metric. False: it has lost its last point.
    pub(super) fn apply<'a>(&'a self, metric: &mut OwnedMetric<'a>) -> bool {
        let was_empty = metric.points.is_empty();
        let is_whole = self.action != Action::Update || self.filter.matches_all_points(metric);
        if !self.new_name.is_empty() && is_whole {
            metric.name = self.new_name(&metric.name);
        }
        for operation in &self.operations {
            operation.apply(metric, &self.filter, is_whole);
        }
        was_empty || !metric.points.is_empty()
    }
}

impl Operation {
    /// Some operations change a metric only if all of its points match (`is_whole`), others each point that matches.
    fn apply<'a>(&'a self, metric: &mut OwnedMetric<'a>, filter: &Filter, is_whole: bool) {
        match &self.kind {
            OperationKind::AddLabel { key, value } if is_whole => {
                for point in &mut metric.points {
                    if point.attribute(key).is_none() {
                        let value = AttributeValue::Text(Cow::Borrowed(value));
                        point.attributes.push(Attribute { key: Cow::Borrowed(key), value });
                    }
                }
            }
            OperationKind::UpdateLabel { key, new_key, values } => {
                update_label(metric, filter, (key, new_key), values);
            }
            OperationKind::DeleteLabelValue { key, value } if is_whole => {
                metric.points.retain(|point| point.attribute(key).is_none_or(|found| found.text() != value));
            }
            OperationKind::ToggleScalarDataType => {
                for point in metric.points.iter_mut().filter(|point| filter.matches_point(point)) {
                    if let PointValue::Number(value) = &mut point.value {
                        *value = match *value {
                            #[expect(clippy::cast_precision_loss, reason = "that is the conversion")]
                            NumberValue::Int(v) => NumberValue::Double(v as f64),
                            NumberValue::Double(v) => NumberValue::Int(go_number::truncate(v)),
                            NumberValue::Empty => NumberValue::Empty,
                        };
                    }
                }
            }
            OperationKind::ScaleValue(scale) => {
                for point in metric.points.iter_mut().filter(|point| filter.matches_point(point)) {
                    let is_scaled = scale_value(&mut point.value, *scale);
                    if is_scaled && !matches!(point.value, PointValue::Number(_)) {
                        for exemplar in &mut point.exemplars {
                            *exemplar = Cow::Owned(scale_exemplar(exemplar, *scale));
                        }
                    }
                }
            }
            OperationKind::AggregateLabels { keys } if is_whole => {
                for point in &mut metric.points {
                    point.attributes.retain(|attribute| keys.contains(&*attribute.key));
                }
                self.aggregate(metric);
            }
            OperationKind::AggregateLabelValues { key, values, new_value } if is_whole => {
                for attribute in metric.points.iter_mut().flat_map(|point| &mut point.attributes) {
                    if *attribute.key == **key && values.contains(attribute.value.text()) {
                        attribute.value = AttributeValue::Text(Cow::Borrowed(new_value));
                    }
                }
                self.aggregate(metric);
            }
            _ => {}
        }
    }

    fn aggregate(&self, metric: &mut OwnedMetric<'_>) {
        let points = std::mem::take(&mut metric.points);
        metric.points = aggregate(metric.kind, metric.temporality, points, self.aggregation_type);
    }
}

fn update_label<'a>(
    metric: &mut OwnedMetric<'a>,
    filter: &Filter,
    (key, new_key): (&'a [u8], &'a [u8]),
    values: &'a BTreeMap<Vec<u8>, Vec<u8>>,
) {
    for point in &mut metric.points {
        if !filter.matches_point(point) {
            continue;
        }
        let Some(value) = point.attribute(key).cloned() else { continue };
        let new_value = values.get(value.text());
        let value = new_value.map_or(value, |new| AttributeValue::Text(Cow::Borrowed(new)));
        if new_key.is_empty() || new_key == key {
            point.set_attribute(Cow::Borrowed(key), value);
        } else {
            point.set_attribute(Cow::Borrowed(new_key), value);
            point.attributes.retain(|attribute| *attribute.key != *key);
        }
    }
}

/// False: the value is not scaled.
fn scale_value(value: &mut PointValue, scale: f64) -> bool {
    let times = |v: &mut Option<f64>| {
        if let Some(v) = v {
            *v *= scale;
        }
    };
    match value {
        PointValue::Number(value) => *value = scale_number(*value, scale),
        // The measurements would change their order.
        PointValue::Histogram(_) | PointValue::Exponential(_) if scale < 0.0 => return false,
        PointValue::Histogram(value) => {
            [&mut value.sum, &mut value.min, &mut value.max].into_iter().for_each(times);
            value.bounds.iter_mut().for_each(|bound| *bound *= scale);
        }
        PointValue::Exponential(value) => {
            [&mut value.sum, &mut value.min, &mut value.max].into_iter().for_each(times);
            value.zero_threshold *= scale;
            if !value.positive.counts.is_empty() {
                value.positive.offset = scaled_offset(value.scale, value.positive.offset, scale);
            }
            if !value.negative.counts.is_empty() {
                value.negative.offset = scaled_offset(value.scale, value.negative.offset, scale);
            }
        }
        PointValue::Summary => return false,
    }
    true
}

fn scale_number(value: NumberValue, scale: f64) -> NumberValue {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as the Go collector")]
        NumberValue::Int(v) => NumberValue::Int(go_number::truncate(v as f64 * scale)),
        NumberValue::Double(v) => NumberValue::Double(v * scale),
        NumberValue::Empty => NumberValue::Empty,
    }
}

/// The index of the bucket with the scaled middle of the first bucket. The counts and the scale stay as they are.
fn scaled_offset(scale: i32, offset: i32, factor: f64) -> i32 {
    // The logarithms of the bounds, so that no index is too large for a double.
    let step = 2_f64.powi(scale.saturating_neg());
    let base = 2_f64.powf(step);
    let half_way = if base.is_finite() { f64::midpoint(1.0, base).log2() } else { step - 1.0 };
    let middle = f64::from(offset) * step + half_way + factor.log2();
    let index = (middle / step).ceil() - 1.0;
    // Saturates.
    index as i32
}

fn scale_exemplar(raw: &[u8], scale: f64) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    for (field, number, wire) in raw_fields(raw) {
        let value = match (number, wire) {
            (exemplar::AS_DOUBLE, WireValue::Fixed64(v)) => NumberValue::Double(f64::from_bits(v)),
            (exemplar::AS_INT, WireValue::Fixed64(v)) => NumberValue::Int(v.cast_signed()),
            _ => NumberValue::Empty,
        };
        match scale_number(value, scale) {
            NumberValue::Double(v) => put_fixed64_field(&mut out, number, v.to_bits()),
            NumberValue::Int(v) => put_fixed64_field(&mut out, number, v.cast_unsigned()),
            NumberValue::Empty => out.extend_from_slice(field),
        }
    }
    out
}
