//! `HasAttrOnDatapoint` and `HasAttrKeyOnDatapoint`: attributes of the points of a metric, in conditions on the metric.

use crate::contexts::{Field, MetricField};
use crate::{
    Arguments, BuildError, Callable, Converter, EvalError, Evaluation, Function, MessageKind, Parameter, ParameterKind,
    Value,
};
use otelcore_pdata::schema::{exponential_point, gauge, histogram_point, metric, number_point};
use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages};
use otelcore_pdata::wire_format::{MessageFields, WireValue};

/// Whether the first point that has the attribute has it with this value.
pub(super) const HAS_ATTR_ON_DATAPOINT: Function = Function {
    name: "HasAttrOnDatapoint",
    parameters: &[
        Parameter::new("Key", ParameterKind::LiteralString),
        Parameter::new("ExpectedVal", ParameterKind::LiteralString),
    ],
    build: |arguments| build(arguments, true),
};

/// Whether a point has the attribute.
pub(super) const HAS_ATTR_KEY_ON_DATAPOINT: Function = Function {
    name: "HasAttrKeyOnDatapoint",
    parameters: &[Parameter::new("Key", ParameterKind::LiteralString)],
    build: |arguments| build(arguments, false),
};

fn build(arguments: &mut Arguments, has_value: bool) -> Result<Callable, BuildError> {
    let key = arguments.literal_string(0)?.unwrap_or_default();
    let value = if has_value { arguments.literal_string(1)? } else { None };
    Ok(Callable::converter(HasAttribute { key, value }))
}

struct HasAttribute {
    key: String,
    value: Option<String>,
}

impl Converter for HasAttribute {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let points = evaluation.context().get(Field::Metric(MetricField::DataPoints), &[])?;
        let Value::Messages(MessageKind::DataPoints(kind), raw) = points else {
            return Err(EvalError::new("unknown metric type"));
        };
        let attributes = match kind {
            metric::HISTOGRAM => histogram_point::ATTRIBUTES,
            metric::EXPONENTIAL_HISTOGRAM => exponential_point::ATTRIBUTES,
            // Summaries have the number of number points.
            _ => number_point::ATTRIBUTES,
        };
        for (number, wire) in MessageFields::new(&raw) {
            let (gauge::DATA_POINTS, WireValue::Len(point)) = (number, wire) else { continue };
            let mut found = RepeatedMessages::<KeyValue<'_>>::new(point, attributes);
            if let Some(attribute) = found.find(|attribute| attribute.key == self.key.as_bytes()) {
                // The text of a value that is no string is empty, as in the Go collector.
                let text = if let AnyValue::String(text) = attribute.value { text } else { &[] };
                return Ok(Value::Bool(self.value.as_ref().is_none_or(|expected| expected.as_bytes() == text)));
            }
        }
        Ok(Value::Bool(false))
    }
}
