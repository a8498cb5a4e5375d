//! Metrics.
//!
//! A function that changes the structure of a metric makes it an [`OwnedMetric`]; later statements then read and write
//! that one, and it takes the place of the metric when all are done.

use std::borrow::Cow;

use otelcore_pdata::edit::{AttributesMut, MetricKind, MetricMut, PointMut};
use otelcore_pdata::schema::metric;
use otelcore_pdata::views::{AnyValue, KeyValue, Metric, RepeatedMessages, Temporality, View};
use otelcore_pdata::{Value as Tree, wire_format::put_bytes_field};

use super::access::{
    ChangeMap, boolean, edit_attributes, expects, get_attributes, get_resource, get_scope, int32, no_map,
    set_attributes, set_resource, set_scope, string, text_value,
};
use super::owned_metric::{data_number, data_of};
use super::request::{get_request, read_only};
use super::{
    ContextMut, ContextView, Field, MapMut, MetricAccess, MetricField, OwnedMetric, RequestMetadata, ResourceField,
    ScopeField,
};
use crate::error::EvalError;
use crate::index::Key;
use crate::index::{map_at_mut, set_in_map, to_map};
use crate::value::{MessageKind, TreeMap, Value};

/// A metric under edit.
pub struct MetricContext<'a, 'b> {
    metric: &'a mut MetricMut<'b>,
    request: Option<&'a dyn RequestMetadata>,
    /// What the metric has become, if its structure was changed.
    owned: Option<OwnedMetric>,
    /// Metrics that were added.
    appended: Vec<OwnedMetric>,
}

impl<'a, 'b> MetricContext<'a, 'b> {
    /// A metric and the request with which it came.
    pub fn new(metric: &'a mut MetricMut<'b>, request: Option<&'a dyn RequestMetadata>) -> Self {
        Self { metric, request, owned: None, appended: Vec::new() }
    }

    /// What the metric has become, if its structure was changed, and the metrics that were added. The caller puts them
    /// into the payload.
    #[must_use]
    pub fn finish(self) -> (Option<OwnedMetric>, Vec<OwnedMetric>) {
        (self.owned, self.appended)
    }

    fn owned(&mut self) -> &mut OwnedMetric {
        let metric = &*self.metric;
        self.owned.get_or_insert_with(|| OwnedMetric::copy_of(&metric.view()))
    }
}

impl MetricAccess for MetricContext<'_, '_> {
    fn kind(&self) -> MetricKind {
        self.owned.as_ref().map_or_else(|| self.metric.kind(), |owned| owned.kind)
    }

    fn copy(&self) -> OwnedMetric {
        self.owned.clone().unwrap_or_else(|| OwnedMetric::copy_of(&self.metric.view()))
    }

    fn replace(&mut self, metric: OwnedMetric) -> Result<(), EvalError> {
        self.owned = Some(metric);
        Ok(())
    }

    fn append(&mut self, metric: OwnedMetric) {
        self.appended.push(metric);
    }
}

fn kind_number(kind: MetricKind) -> i64 {
    match kind {
        MetricKind::Empty => 0,
        MetricKind::Gauge => 1,
        MetricKind::Sum => 2,
        MetricKind::Histogram => 3,
        MetricKind::ExponentialHistogram => 4,
        MetricKind::Summary => 5,
    }
}

fn has_temporality(kind: MetricKind) -> bool {
    matches!(kind, MetricKind::Sum | MetricKind::Histogram | MetricKind::ExponentialHistogram)
}

fn temporality_value<'c>(kind: MetricKind, temporality: i64) -> Value<'c> {
    if has_temporality(kind) { Value::Int(temporality) } else { Value::Nil }
}

fn points_value(kind: MetricKind, raw: &[u8]) -> Value<'_> {
    match data_number(kind) {
        0 => Value::Nil,
        number => Value::Messages(MessageKind::DataPoints(number), Cow::Borrowed(raw)),
    }
}

/// Reads a field of a metric in the payload.
fn get_metric<'c>(view: &Metric<'c>, field: MetricField, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    let (kind, points, temporality, is_monotonic) = data_of(view);
    Ok(match field {
        MetricField::Name => text_value(view.name),
        MetricField::Description => text_value(view.description),
        MetricField::Unit => text_value(view.unit),
        MetricField::Type => Value::Int(kind_number(kind)),
        MetricField::AggregationTemporality => {
            let number = match temporality {
                Temporality::Unspecified => 0,
                Temporality::Delta => 1,
                Temporality::Cumulative => 2,
            };
            temporality_value(kind, number)
        }
        MetricField::IsMonotonic if kind == MetricKind::Sum => Value::Bool(is_monotonic),
        MetricField::IsMonotonic => Value::Nil,
        MetricField::DataPoints => points_value(kind, points),
        MetricField::Metadata => {
            let raw = view.raw;
            return get_attributes(keys, metric::METADATA, |key| find(raw, metric::METADATA, key), || raw);
        }
    })
}

/// Reads a field of the metric of a point.
pub(super) fn get_metric_of_point<'c>(
    point: &'c PointMut<'_>,
    field: MetricField,
    keys: &[Key<'_>],
) -> Result<Value<'c>, EvalError> {
    match field {
        MetricField::DataPoints => get_metric(&point.metric(), field, keys),
        MetricField::Metadata => {
            get_attributes(keys, metric::METADATA, |key| point.metric_metadata(key), || point.metric().raw)
        }
        _ => get_metric(&point.metric_fields(), field, keys),
    }
}

fn find<'c>(raw: &'c [u8], number: u32, key: &[u8]) -> Option<AnyValue<'c>> {
    RepeatedMessages::<KeyValue<'c>>::new(raw, number).find(|entry| entry.key == key).map(|entry| entry.value)
}

fn get_owned<'c>(owned: &'c OwnedMetric, field: MetricField, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    Ok(match field {
        MetricField::Name => text_value(&owned.name),
        MetricField::Description => text_value(&owned.description),
        MetricField::Unit => text_value(&owned.unit),
        MetricField::Type => Value::Int(kind_number(owned.kind)),
        MetricField::AggregationTemporality => temporality_value(owned.kind, i64::from(owned.temporality)),
        MetricField::IsMonotonic if owned.kind == MetricKind::Sum => Value::Bool(owned.is_monotonic),
        MetricField::IsMonotonic => Value::Nil,
        MetricField::DataPoints => points_value(owned.kind, &owned.points),
        MetricField::Metadata => {
            let raw = &owned.metadata[..];
            return get_attributes(keys, 1, |key| find(raw, 1, key), || raw);
        }
    })
}

/// Writes a field of a metric in the payload. Its points can't be replaced here.
pub(super) fn set_metric(
    metric: &mut MetricMut<'_>,
    field: MetricField,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    match field {
        MetricField::Name => metric.set_name(string(value)?),
        MetricField::Description => metric.set_description(string(value)?),
        MetricField::Unit => metric.set_unit(string(value)?),
        // As in the Go collector, which has functions for it.
        MetricField::Type => {}
        MetricField::AggregationTemporality => metric.set_temporality(int32(value)?),
        MetricField::IsMonotonic => metric.set_is_monotonic(boolean(value)?),
        MetricField::DataPoints => {
            points(metric.kind(), value)?;
        }
        MetricField::Metadata => return set_attributes(metric.metadata(), keys, value),
    }
    Ok(())
}

/// The points that can be those of a metric of this kind.
fn points<'v>(kind: MetricKind, value: &'v Value<'_>) -> Result<&'v [u8], EvalError> {
    let number = data_number(kind);
    let expected = MessageKind::DataPoints(number).go_type();
    match value {
        Value::Messages(found @ MessageKind::DataPoints(_), raw) if found.go_type() == expected => Ok(raw),
        // A metric without data accepts anything, and changes nothing.
        _ if number == 0 => Ok(&[]),
        _ => Err(expects(expected, value)),
    }
}

fn set_owned(
    owned: &mut OwnedMetric,
    field: MetricField,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    match field {
        MetricField::Name => owned.name = string(value)?.to_vec(),
        MetricField::Description => owned.description = string(value)?.to_vec(),
        MetricField::Unit => owned.unit = string(value)?.to_vec(),
        MetricField::Type => {}
        MetricField::AggregationTemporality => {
            let temporality = int32(value)?;
            if has_temporality(owned.kind) {
                owned.temporality = temporality;
            }
        }
        MetricField::IsMonotonic => {
            let is_monotonic = boolean(value)?;
            if owned.kind == MetricKind::Sum {
                owned.is_monotonic = is_monotonic;
            }
        }
        MetricField::DataPoints => owned.points = points(owned.kind, value)?.to_vec(),
        MetricField::Metadata => {
            return change_metadata(owned, |metadata| {
                if keys.is_empty() {
                    *metadata = to_map(value)?;
                    return Ok(());
                }
                set_in_map(metadata, keys, value)
            });
        }
    }
    Ok(())
}

fn change_metadata(
    owned: &mut OwnedMetric,
    change: impl FnOnce(&mut TreeMap) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let entries = RepeatedMessages::<KeyValue<'_>>::new(&owned.metadata, 1);
    let mut metadata = entries.map(|entry| (entry.key.to_vec(), Tree::decode(entry.value))).collect();
    let result = change(&mut metadata);
    let mut raw = Vec::new();
    Tree::Map(metadata).encode(&mut raw);
    owned.metadata = if let AnyValue::Map(content) = AnyValue::parse(&raw) { content.to_vec() } else { Vec::new() };
    result
}

impl ContextView for MetricContext<'_, '_> {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        match (field, &self.owned) {
            (Field::Metric(field), Some(owned)) => get_owned(owned, field, keys),
            (Field::Metric(field), None) => get_metric(&self.metric.view(), field, keys),
            (Field::Resource(field), _) => get_resource(&*self.metric, field, keys),
            (Field::Scope(field), _) => get_scope(&*self.metric, field, keys),
            (Field::Request(field), _) => get_request(self.request, field, keys),
            _ => Ok(Value::Nil),
        }
    }
}

impl ContextMut for MetricContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        match (field, &mut self.owned) {
            (Field::Metric(field), Some(owned)) => set_owned(owned, field, keys, value),
            (Field::Metric(MetricField::DataPoints), None) => {
                set_owned(self.owned(), MetricField::DataPoints, keys, value)
            }
            (Field::Metric(field), None) => set_metric(self.metric, field, keys, value),
            (Field::Resource(field), _) => set_resource(&mut self.metric.resource_mut(), field, keys, value),
            (Field::Scope(field), _) => set_scope(&mut self.metric.scope_mut(), field, keys, value),
            (Field::Request(field), _) => Err(read_only(field)),
            _ => Ok(()),
        }
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        let attributes: AttributesMut<'_> = match (field, &mut self.owned) {
            (Field::Metric(MetricField::Metadata), Some(owned)) => {
                return change_metadata(owned, |map| change(&mut MapMut::Tree(map_at_mut(map, keys)?)));
            }
            (Field::Metric(MetricField::Metadata), None) => self.metric.metadata(),
            (Field::Resource(ResourceField::Attributes), _) => {
                return edit_attributes(self.metric.resource_mut().attributes(), keys, change);
            }
            (Field::Scope(ScopeField::Attributes), _) => {
                return edit_attributes(self.metric.scope_mut().attributes(), keys, change);
            }
            (Field::Request(field), _) => return Err(read_only(field)),
            (other, _) => return Err(no_map(&self.get(other, keys)?)),
        };
        edit_attributes(attributes, keys, change)
    }

    fn metric_access(&mut self) -> Option<&mut dyn MetricAccess> {
        Some(self)
    }
}

/// Whole fields of one number under another number.
pub(super) fn renumbered(raw: &[u8], from: u32, to: u32) -> Vec<u8> {
    let mut fields = Vec::new();
    for (number, wire) in otelcore_pdata::wire_format::MessageFields::new(raw) {
        if let otelcore_pdata::wire_format::WireValue::Len(content) = wire
            && number == from
        {
            put_bytes_field(&mut fields, to, content);
        }
    }
    fields
}
