//! Data points.

use std::borrow::Cow;

use otelcore_pdata::edit::{MetricKind, Point, PointMut};
use otelcore_pdata::schema::{exponential_point, histogram_point, number_point, summary_point};
use otelcore_pdata::views::{
    Buckets, Exemplar, ExponentialHistogramPoint, HistogramPoint, NumberPoint, NumberValue, RepeatedMessages,
    RepeatedVarints, SummaryPoint, ValueAtQuantile, View,
};
use otelcore_pdata::{Value as Tree, views::AnyValue};

use super::access::{
    ChangeMap, double, edit_attributes, expects, get_attributes, get_resource, get_scope, int, int32, nanos_value,
    no_map, set_attributes, set_resource, set_scope, time, time_value, uint32, unix_nanos,
};
use super::metric::{get_metric_of_point, renumbered, set_metric};
use super::request::{get_request, read_only};
use super::{
    ContextMut, ContextView, DataPointField, Field, MetricAccess, MetricField, OwnedMetric, RequestMetadata,
    ResourceField, ScopeField,
};
use crate::error::EvalError;
use crate::index::Key;
use crate::value::{List, ListElements, ListKind, MessageKind, Value};

/// A data point under edit.
pub struct DataPointContext<'a, 'b> {
    point: &'a mut PointMut<'b>,
    request: Option<&'a dyn RequestMetadata>,
    /// Metrics that were added.
    appended: Vec<OwnedMetric>,
}

impl<'a, 'b> DataPointContext<'a, 'b> {
    /// A point and the request with which it came.
    pub fn new(point: &'a mut PointMut<'b>, request: Option<&'a dyn RequestMetadata>) -> Self {
        Self { point, request, appended: Vec::new() }
    }

    /// The metrics that were added. The caller puts them into the payload.
    #[must_use]
    pub fn finish(self) -> Vec<OwnedMetric> {
        self.appended
    }
}

impl MetricAccess for DataPointContext<'_, '_> {
    fn kind(&self) -> MetricKind {
        self.point.kind()
    }

    fn copy(&self) -> OwnedMetric {
        OwnedMetric::copy_of(&self.point.metric())
    }

    fn replace(&mut self, _: OwnedMetric) -> Result<(), EvalError> {
        Err(EvalError::new("the metric of a data point can't be changed as a whole"))
    }

    fn append(&mut self, metric: OwnedMetric) {
        self.appended.push(metric);
    }
}

/// The Go type of a point.
fn go_type(point: &Point<'_>) -> &'static str {
    match point {
        Point::Number(_) => "pmetric.NumberDataPoint",
        Point::Histogram(_) => "pmetric.HistogramDataPoint",
        Point::ExponentialHistogram(_) => "pmetric.ExponentialHistogramDataPoint",
        Point::Summary(_) => "pmetric.SummaryDataPoint",
    }
}

/// A point is of another kind than the field belongs to.
#[cold]
fn wrong_kind(point: &PointMut<'_>, expected: &'static str) -> EvalError {
    EvalError::Expects { expected, found: go_type(&point.view()) }
}

#[cold]
fn unsupported(point: &PointMut<'_>) -> EvalError {
    EvalError::new(format!("unsupported data point type: {}", go_type(&point.view())))
}

fn number_point<'c>(point: &'c PointMut<'_>) -> Option<NumberPoint<'c>> {
    if let Point::Number(point) = point.view() { Some(point) } else { None }
}

fn histogram<'c>(point: &'c PointMut<'_>) -> Option<HistogramPoint<'c>> {
    if let Point::Histogram(point) = point.view() { Some(point) } else { None }
}

fn exponential<'c>(point: &'c PointMut<'_>) -> Option<ExponentialHistogramPoint<'c>> {
    if let Point::ExponentialHistogram(point) = point.view() { Some(point) } else { None }
}

fn summary<'c>(point: &'c PointMut<'_>) -> Option<SummaryPoint<'c>> {
    if let Point::Summary(point) = point.view() { Some(point) } else { None }
}

const NUMBER: &str = "pmetric.NumberDataPoint";
const HISTOGRAM: &str = "pmetric.HistogramDataPoint";
const EXPONENTIAL: &str = "pmetric.ExponentialHistogramDataPoint";
const SUMMARY: &str = "pmetric.SummaryDataPoint";

/// What every kind of point has: start, time and flags.
fn common(point: &Point<'_>) -> (u64, u64, u32) {
    match point {
        Point::Number(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags),
        Point::Histogram(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags),
        Point::ExponentialHistogram(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags),
        Point::Summary(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags),
    }
}

fn attributes_of<'c>(point: &Point<'c>) -> (u32, &'c [u8]) {
    match point {
        Point::Number(p) => (number_point::ATTRIBUTES, p.raw),
        Point::Histogram(p) => (histogram_point::ATTRIBUTES, p.raw),
        Point::ExponentialHistogram(p) => (exponential_point::ATTRIBUTES, p.raw),
        Point::Summary(p) => (summary_point::ATTRIBUTES, p.raw),
    }
}

/// The exemplars under the number that those of a number point have.
fn exemplars_value<'c>(point: &Point<'c>) -> Value<'c> {
    let (raw, number) = match point {
        Point::Number(p) => return Value::Messages(MessageKind::Exemplars, Cow::Borrowed(p.raw)),
        Point::Histogram(p) => (p.raw, histogram_point::EXEMPLARS),
        Point::ExponentialHistogram(p) => (p.raw, exponential_point::EXEMPLARS),
        Point::Summary(_) => return Value::Nil,
    };
    Value::Messages(MessageKind::Exemplars, Cow::Owned(renumbered(raw, number, number_point::EXEMPLARS)))
}

fn counts_value<'c>(counts: impl Iterator<Item = u64>) -> Value<'c> {
    Value::List(List::values(ListKind::Uints, counts.map(|count| Value::Int(count.cast_signed())).collect()))
}

fn buckets_value<'c>(buckets: Option<Buckets<'c>>, field: BucketsField) -> Value<'c> {
    let Some(buckets) = buckets else { return Value::Nil };
    match field {
        BucketsField::Whole => Value::Messages(MessageKind::Buckets, Cow::Borrowed(buckets.raw)),
        BucketsField::Offset => Value::Int(i64::from(buckets.offset.0)),
        BucketsField::Counts => counts_value(buckets.bucket_counts()),
    }
}

/// A part of the positive or negative buckets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BucketsField {
    Whole,
    Offset,
    Counts,
}

/// Which buckets a field is of, true for positive ones, and which part of them.
fn buckets_field(field: DataPointField) -> Option<(bool, BucketsField)> {
    Some(match field {
        DataPointField::Positive => (true, BucketsField::Whole),
        DataPointField::PositiveOffset => (true, BucketsField::Offset),
        DataPointField::PositiveBucketCounts => (true, BucketsField::Counts),
        DataPointField::Negative => (false, BucketsField::Whole),
        DataPointField::NegativeOffset => (false, BucketsField::Offset),
        DataPointField::NegativeBucketCounts => (false, BucketsField::Counts),
        _ => return None,
    })
}

fn buckets_of<'c>(point: &ExponentialHistogramPoint<'c>, is_positive: bool) -> Buckets<'c> {
    if is_positive { point.positive } else { point.negative }
}

fn get_point<'c>(point: &'c PointMut<'_>, field: DataPointField, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    if let Some((is_positive, part)) = buckets_field(field) {
        return Ok(buckets_value(exponential(point).map(|point| buckets_of(&point, is_positive)), part));
    }
    Ok(match field {
        DataPointField::Attributes => {
            let (number, raw) = match keys {
                // Not needed for a key.
                [_, ..] => (0, &[][..]),
                [] => attributes_of(&point.view()),
            };
            return get_attributes(keys, number, |key| point.attribute(key), || raw);
        }
        DataPointField::StartTimeUnixNano => nanos_value(common(&point.view()).0),
        DataPointField::TimeUnixNano => nanos_value(common(&point.view()).1),
        DataPointField::StartTime => time_value(common(&point.view()).0),
        DataPointField::Time => time_value(common(&point.view()).1),
        DataPointField::Flags => Value::Int(i64::from(common(&point.view()).2)),
        DataPointField::ValueDouble => number_point(point).map_or(Value::Nil, |point| match point.value.0 {
            NumberValue::Double(v) => Value::Double(v),
            _ => Value::Double(0.0),
        }),
        DataPointField::ValueInt => number_point(point).map_or(Value::Nil, |point| match point.value.0 {
            NumberValue::Int(v) => Value::Int(v),
            _ => Value::Int(0),
        }),
        DataPointField::Exemplars => exemplars_value(&point.view()),
        DataPointField::Count => match point.view() {
            Point::Number(_) => Value::Nil,
            Point::Histogram(p) => Value::Int(p.count.cast_signed()),
            Point::ExponentialHistogram(p) => Value::Int(p.count.cast_signed()),
            Point::Summary(p) => Value::Int(p.count.cast_signed()),
        },
        DataPointField::Sum => match point.view() {
            Point::Number(_) => Value::Nil,
            Point::Histogram(p) => Value::Double(p.sum.unwrap_or(0.0)),
            Point::ExponentialHistogram(p) => Value::Double(p.sum.unwrap_or(0.0)),
            Point::Summary(p) => Value::Double(p.sum),
        },
        DataPointField::BucketCounts => {
            histogram(point).map_or(Value::Nil, |point| counts_value(point.bucket_counts()))
        }
        DataPointField::ExplicitBounds => histogram(point).map_or(Value::Nil, |point| {
            Value::List(List::values(ListKind::Doubles, point.explicit_bounds().map(Value::Double).collect()))
        }),
        DataPointField::Scale => exponential(point).map_or(Value::Nil, |point| Value::Int(i64::from(point.scale.0))),
        DataPointField::ZeroCount => {
            exponential(point).map_or(Value::Nil, |point| Value::Int(point.zero_count.cast_signed()))
        }
        DataPointField::QuantileValues => summary(point)
            .map_or(Value::Nil, |point| Value::Messages(MessageKind::QuantileValues, Cow::Borrowed(point.raw))),
        _ => Value::Nil,
    })
}

/// The elements of a list of one type, which `element` reads.
fn elements<T>(
    value: &Value<'_>,
    go_name: &str,
    kind: ListKind,
    element: impl Fn(&Value<'_>) -> Option<T>,
) -> Result<Vec<T>, EvalError> {
    let Value::List(list) = value else {
        let found = value.go_type();
        return Err(EvalError::new(if kind == ListKind::Uints {
            format!("cannot set a slice of {found} from a value type: {go_name}")
        } else {
            format!("invalid type provided for setting a slice of {found}: {go_name}")
        }));
    };
    let read = |value: &Value<'_>| {
        element(value).ok_or_else(|| {
            let found = value.go_type();
            EvalError::new(format!("invalid value type provided for a slice of {go_name}: {found}"))
        })
    };
    match &list.elements {
        ListElements::Raw(raw) => AnyValue::array_elements(raw).map(|value| read(&Value::from_any(value))).collect(),
        ListElements::Tree(trees) => trees.iter().map(|tree: &Tree| read(&Value::from_tree(tree))).collect(),
        ListElements::Values(values) => values.iter().map(read).collect(),
        ListElements::Literal(values) => values.iter().map(read).collect(),
    }
}

fn counts(value: &Value<'_>) -> Result<Vec<u64>, EvalError> {
    elements(
        value,
        "uint64",
        ListKind::Uints,
        |value| {
            if let Value::Int(v) = value { Some(v.cast_unsigned()) } else { None }
        },
    )
}

fn set_buckets(
    point: &mut PointMut<'_>,
    is_positive: bool,
    part: BucketsField,
    value: &Value<'_>,
) -> Result<(), EvalError> {
    let found = exponential(point).map(|point| buckets_of(&point, is_positive));
    let old = |buckets: Buckets<'_>| (buckets.offset.0, buckets.bucket_counts().collect::<Vec<u64>>());
    let old = found.map(old);
    let wrong_kind = || wrong_kind(point, EXPONENTIAL);
    let (offset, new_counts) = match part {
        BucketsField::Whole => {
            let Value::Messages(MessageKind::Buckets, raw) = value else {
                return Err(expects(MessageKind::Buckets.go_type(), value));
            };
            old.ok_or_else(wrong_kind)?;
            let buckets = Buckets::parse(raw);
            let new_counts: RepeatedVarints<'_> = buckets.bucket_counts();
            (buckets.offset.0, new_counts.collect())
        }
        BucketsField::Offset => {
            let offset = int32(value)?;
            (offset, old.ok_or_else(wrong_kind)?.1)
        }
        BucketsField::Counts => {
            let (offset, _) = old.ok_or_else(wrong_kind)?;
            (offset, counts(value)?)
        }
    };
    if is_positive {
        point.set_positive(offset, &new_counts);
    } else {
        point.set_negative(offset, &new_counts);
    }
    Ok(())
}

fn set_exemplars(point: &mut PointMut<'_>, value: &Value<'_>) -> Result<(), EvalError> {
    let Value::Messages(MessageKind::Exemplars, raw) = value else {
        return Err(expects(MessageKind::Exemplars.go_type(), value));
    };
    let (number, old) = match point.view() {
        Point::Number(p) => (number_point::EXEMPLARS, p.raw),
        Point::Histogram(p) => (histogram_point::EXEMPLARS, p.raw),
        Point::ExponentialHistogram(p) => (exponential_point::EXEMPLARS, p.raw),
        Point::Summary(_) => return Err(unsupported(point)),
    };
    let mut new = Vec::with_capacity(old.len() + raw.len());
    for (field, found, _) in otelcore_pdata::wire_format::raw_fields(old) {
        if found != number {
            new.extend_from_slice(field);
        }
    }
    for exemplar in RepeatedMessages::<Exemplar<'_>>::new(raw, number_point::EXEMPLARS) {
        otelcore_pdata::wire_format::put_bytes_field(&mut new, number, exemplar.raw);
    }
    point.replace(&new);
    Ok(())
}

fn set_point(
    point: &mut PointMut<'_>,
    field: DataPointField,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    if let Some((is_positive, part)) = buckets_field(field) {
        return set_buckets(point, is_positive, part, value);
    }
    let kind = point.kind();
    let is_number = matches!(kind, MetricKind::Gauge | MetricKind::Sum);
    match field {
        DataPointField::Attributes => return set_attributes(point.attributes(), keys, value),
        DataPointField::StartTimeUnixNano => point.set_start_time_unix_nano(unix_nanos(value)?),
        DataPointField::TimeUnixNano => point.set_time_unix_nano(unix_nanos(value)?),
        DataPointField::StartTime => point.set_start_time_unix_nano(time(value)?),
        DataPointField::Time => point.set_time_unix_nano(time(value)?),
        DataPointField::Flags => point.set_flags(uint32(value)?),
        DataPointField::ValueDouble => match double(value)? {
            v if is_number => point.set_value(NumberValue::Double(v)),
            _ => return Err(wrong_kind(point, NUMBER)),
        },
        DataPointField::ValueInt => match int(value)? {
            v if is_number => point.set_value(NumberValue::Int(v)),
            _ => return Err(wrong_kind(point, NUMBER)),
        },
        DataPointField::Exemplars => return set_exemplars(point, value),
        DataPointField::Count => match int(value)? {
            _ if is_number => return Err(unsupported(point)),
            v => point.set_count(v.cast_unsigned()),
        },
        DataPointField::Sum => match double(value)? {
            _ if is_number => return Err(unsupported(point)),
            v => point.set_sum(Some(v)),
        },
        DataPointField::BucketCounts => match kind {
            MetricKind::Histogram => point.set_bucket_counts(&counts(value)?),
            _ => return Err(wrong_kind(point, HISTOGRAM)),
        },
        DataPointField::ExplicitBounds => match kind {
            MetricKind::Histogram => {
                let bound = |value: &Value<'_>| if let Value::Double(v) = value { Some(*v) } else { None };
                point.set_explicit_bounds(&elements(value, "float64", ListKind::Doubles, bound)?);
            }
            _ => return Err(wrong_kind(point, HISTOGRAM)),
        },
        DataPointField::Scale => match int32(value)? {
            v if kind == MetricKind::ExponentialHistogram => point.set_scale(v),
            _ => return Err(wrong_kind(point, EXPONENTIAL)),
        },
        DataPointField::ZeroCount => match int(value)? {
            v if kind == MetricKind::ExponentialHistogram => point.set_zero_count(v.cast_unsigned()),
            _ => return Err(wrong_kind(point, EXPONENTIAL)),
        },
        DataPointField::QuantileValues => {
            let Value::Messages(MessageKind::QuantileValues, raw) = value else {
                return Err(expects(MessageKind::QuantileValues.go_type(), value));
            };
            if kind != MetricKind::Summary {
                return Err(wrong_kind(point, SUMMARY));
            }
            let values = RepeatedMessages::<ValueAtQuantile<'_>>::new(raw, summary_point::QUANTILE_VALUES);
            let values: Vec<(f64, f64)> = values.map(|found| (found.quantile, found.value)).collect();
            point.set_quantile_values(&values);
        }
        _ => {}
    }
    Ok(())
}

impl ContextView for DataPointContext<'_, '_> {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        let point = &*self.point;
        match field {
            Field::DataPoint(field) => get_point(point, field, keys),
            Field::Metric(field) => get_metric_of_point(point, field, keys),
            Field::Resource(field) => get_resource(point, field, keys),
            Field::Scope(field) => get_scope(point, field, keys),
            Field::Request(field) => get_request(self.request, field, keys),
            _ => Ok(Value::Nil),
        }
    }
}

impl ContextMut for DataPointContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        let point = &mut *self.point;
        match field {
            Field::DataPoint(field) => set_point(point, field, keys, value),
            Field::Metric(field) => set_metric(&mut point.metric_mut(), field, keys, value),
            Field::Resource(field) => set_resource(&mut point.resource_mut(), field, keys, value),
            Field::Scope(field) => set_scope(&mut point.scope_mut(), field, keys, value),
            Field::Request(field) => Err(read_only(field)),
            _ => Ok(()),
        }
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        let point = &mut *self.point;
        match field {
            Field::DataPoint(DataPointField::Attributes) => edit_attributes(point.attributes(), keys, change),
            Field::Metric(MetricField::Metadata) => edit_attributes(point.metric_mut().metadata(), keys, change),
            Field::Resource(ResourceField::Attributes) => {
                edit_attributes(point.resource_mut().attributes(), keys, change)
            }
            Field::Scope(ScopeField::Attributes) => edit_attributes(point.scope_mut().attributes(), keys, change),
            Field::Request(field) => Err(read_only(field)),
            other => Err(no_map(&self.get(other, keys)?)),
        }
    }

    fn metric_access(&mut self) -> Option<&mut dyn MetricAccess> {
        Some(self)
    }
}
