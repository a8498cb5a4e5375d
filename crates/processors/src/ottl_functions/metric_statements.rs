//! Functions of OTTL that change the structure of metrics: their parameters, and where their results go.

use otelcore_ottl::contexts::{ContextMut, DataPointField, Field, MetricAccess, OwnedMetric};
use otelcore_ottl::{
    Arguments, BuildError, Callable, Editor, EvalError, Execution, Expression, Function, List, ListKind, Parameter,
    ParameterKind, Value,
};
use otelcore_pdata::edit::MetricKind;

use super::metrics::convert::SummaryValue;
use super::metrics::explicit_buckets::Distribution;
use super::metrics::extract::Extracted;
use super::metrics::{aggregate, convert, explicit_buckets, extract, histogram_buckets, percentile, scale};

const LITERAL_STRING: ParameterKind = ParameterKind::LiteralString;
const LITERAL_BOOL: ParameterKind = ParameterKind::LiteralBool;

type MakeMetric = dyn Fn(&OwnedMetric) -> Result<Option<OwnedMetric>, String> + Send + Sync;
/// Returns whether the metric is changed.
type ChangeMetric = dyn Fn(&mut OwnedMetric, &Execution<'_>) -> Result<bool, String> + Send + Sync;

/// Adds a metric that is made of the metric.
struct AddMetric {
    kinds: Kinds,
    make: Box<MakeMetric>,
}

/// Changes the metric.
struct Change {
    kinds: Kinds,
    change: Box<ChangeMetric>,
}

/// The kinds of metrics with which a function does something. Metrics of other kinds are not copied for it, which matters
/// in the context of data points, where the copy would be made once a point.
type Kinds = &'static [MetricKind];

/// For functions that fail on metrics of a kind that they don't support.
const ALL: Kinds = &[
    MetricKind::Empty,
    MetricKind::Gauge,
    MetricKind::Sum,
    MetricKind::Histogram,
    MetricKind::ExponentialHistogram,
    MetricKind::Summary,
];

const HISTOGRAMS: Kinds = &[MetricKind::Histogram, MetricKind::ExponentialHistogram];

fn add(
    kinds: Kinds,
    make: impl Fn(&OwnedMetric) -> Result<Option<OwnedMetric>, String> + Send + Sync + 'static,
) -> Callable {
    Callable::editor(AddMetric { kinds, make: Box::new(make) })
}

fn change(
    kinds: Kinds,
    change: impl Fn(&mut OwnedMetric, &Execution<'_>) -> Result<bool, String> + Send + Sync + 'static,
) -> Callable {
    Callable::editor(Change { kinds, change: Box::new(change) })
}

/// No other context declares these functions.
fn access<'a>(context: &'a mut (dyn ContextMut + '_)) -> Result<&'a mut dyn MetricAccess, EvalError> {
    context.metric_access().ok_or_else(|| EvalError::new("there is no metric in this context"))
}

impl Editor for AddMetric {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let metric = access(execution.context_mut())?;
        if self.kinds.contains(&metric.kind())
            && let Some(made) = (self.make)(&metric.copy()).map_err(EvalError::new)?
        {
            metric.append(made);
        }
        Ok(())
    }
}

impl Editor for Change {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let metric = access(execution.context_mut())?;
        if !self.kinds.contains(&metric.kind()) {
            return Ok(());
        }
        let mut metric = metric.copy();
        if !(self.change)(&mut metric, execution).map_err(EvalError::new)? {
            return Ok(());
        }
        access(execution.context_mut())?.replace(metric)
    }
}

fn suffix(arguments: &mut Arguments, index: usize, default: &str) -> Result<Vec<u8>, BuildError> {
    Ok(arguments.literal_string(index)?.unwrap_or_else(|| default.to_owned()).into_bytes())
}

fn is_monotonic(arguments: &mut Arguments, index: usize) -> Result<bool, BuildError> {
    Ok(arguments.literal_bool(index)?.unwrap_or(false))
}

fn double(arguments: &mut Arguments, index: usize) -> Result<f64, BuildError> {
    Ok(arguments.literal_float(index)?.unwrap_or(0.0))
}

fn temporality(arguments: &mut Arguments, index: usize) -> Result<i32, BuildError> {
    let name = arguments.literal_string(index)?.unwrap_or_default();
    match name.as_str() {
        "delta" => Ok(1),
        "cumulative" => Ok(2),
        _ => Err(BuildError::new(format!("unknown aggregation temporality: {name}"))),
    }
}

const EXTRACT_PARAMETERS: &[Parameter] =
    &[Parameter::new("Monotonic", LITERAL_BOOL), Parameter::optional("Suffix", LITERAL_STRING)];

fn build_extract(arguments: &mut Arguments, what: Extracted, default: &str) -> Result<Callable, BuildError> {
    let (is_monotonic, suffix) = (is_monotonic(arguments, 0)?, suffix(arguments, 1, default)?);
    Ok(add(ALL, move |metric| extract::extract(metric, what, is_monotonic, &suffix)))
}

/// The sums of histograms and summaries as a metric.
pub(super) const EXTRACT_SUM_METRIC: Function = Function {
    name: "extract_sum_metric",
    parameters: EXTRACT_PARAMETERS,
    build: |arguments| build_extract(arguments, Extracted::Sum, "_sum"),
};

/// The counts of histograms and summaries as a metric.
pub(super) const EXTRACT_COUNT_METRIC: Function = Function {
    name: "extract_count_metric",
    parameters: EXTRACT_PARAMETERS,
    build: |arguments| build_extract(arguments, Extracted::Count, "_count"),
};

/// A percentile of histograms as a metric.
pub(super) const EXTRACT_PERCENTILE_METRIC: Function = Function {
    name: "extract_percentile_metric",
    parameters: &[
        Parameter::new("Percentile", ParameterKind::LiteralFloat),
        Parameter::optional("Suffix", LITERAL_STRING),
    ],
    build: |arguments| {
        let wanted = double(arguments, 0)?;
        if wanted <= 0.0 || wanted >= 100.0 {
            return Err(BuildError::new(format!(
                "percentile must be greater than 0 and less than 100, got {wanted:.6}"
            )));
        }
        let suffix = arguments.literal_string(1)?.filter(|suffix| !suffix.is_empty());
        let suffix = suffix.unwrap_or_else(|| format!("_{}", percentile::percentile_name(wanted)));
        Ok(add(HISTOGRAMS, move |metric| percentile::extract_percentile(metric, wanted, suffix.as_bytes())))
    },
};

/// A gauge becomes a sum.
pub(super) const CONVERT_GAUGE_TO_SUM: Function = Function {
    name: "convert_gauge_to_sum",
    parameters: &[Parameter::new("StringAggTemp", LITERAL_STRING), Parameter::new("Monotonic", LITERAL_BOOL)],
    build: |arguments| {
        let (temporality, is_monotonic) = (temporality(arguments, 0)?, is_monotonic(arguments, 1)?);
        Ok(change(&[MetricKind::Gauge], move |metric, _| Ok(convert::gauge_to_sum(metric, temporality, is_monotonic))))
    },
};

/// A sum becomes a gauge.
pub(super) const CONVERT_SUM_TO_GAUGE: Function = Function {
    name: "convert_sum_to_gauge",
    parameters: &[],
    build: |_| Ok(change(&[MetricKind::Sum], |metric, _| Ok(convert::sum_to_gauge(metric)))),
};

/// A second metric that differs in its name, description or unit.
pub(super) const COPY_METRIC: Function = Function {
    name: "copy_metric",
    parameters: &[
        Parameter::optional("Name", ParameterKind::String),
        Parameter::optional("Description", ParameterKind::String),
        Parameter::optional("Unit", ParameterKind::String),
    ],
    build: |arguments| {
        Ok(Callable::editor(CopyMetric {
            name: arguments.optional_expression(0)?,
            description: arguments.optional_expression(1)?,
            unit: arguments.optional_expression(2)?,
        }))
    },
};

struct CopyMetric {
    name: Option<Expression>,
    description: Option<Expression>,
    unit: Option<Expression>,
}

impl Editor for CopyMetric {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let mut copy = access(execution.context_mut())?.copy();
        let fields =
            [(&self.name, &mut copy.name), (&self.description, &mut copy.description), (&self.unit, &mut copy.unit)];
        let mut result = Ok(());
        for (expression, field) in fields {
            if let Some(expression) = expression {
                match expression.string(&execution.view()) {
                    Ok(text) => *field = text.into_owned(),
                    Err(error) => {
                        // The Go collector has added the copy by then.
                        result = Err(error);
                        break;
                    }
                }
            }
        }
        access(execution.context_mut())?.append(copy);
        result
    }
}

/// All values times a number.
pub(super) const SCALE_METRIC: Function = Function {
    name: "scale_metric",
    parameters: &[
        Parameter::new("Multiplier", ParameterKind::LiteralFloat),
        Parameter::optional("Unit", ParameterKind::String),
    ],
    build: |arguments| {
        let (multiplier, unit) = (double(arguments, 0)?, arguments.optional_expression(1)?);
        Ok(change(ALL, move |metric, execution| {
            let unit = match &unit {
                None => None,
                Some(unit) => match unit.string(&execution.view()) {
                    Ok(unit) => Some(unit.into_owned()),
                    Err(error) => return Err(format!("could not get unit from ScaleArguments: {error}")),
                },
            };
            scale::scale(metric, multiplier)?;
            if let Some(unit) = unit {
                metric.unit = unit;
            }
            Ok(true)
        }))
    },
};

fn aggregation(arguments: &mut Arguments) -> Result<aggregate::Aggregation, BuildError> {
    aggregate::Aggregation::by_name(&arguments.literal_string(0)?.unwrap_or_default()).map_err(BuildError::new)
}

fn bytes(texts: Vec<String>) -> Vec<Vec<u8>> {
    texts.into_iter().map(String::into_bytes).collect()
}

/// Joins points that have the same values of some attributes.
pub(super) const AGGREGATE_ON_ATTRIBUTES: Function = Function {
    name: "aggregate_on_attributes",
    parameters: &[
        Parameter::new("AggregationFunction", LITERAL_STRING),
        Parameter::optional("Attributes", ParameterKind::ListOf(&LITERAL_STRING)),
    ],
    build: |arguments| {
        let (aggregation, keys) = (aggregation(arguments)?, arguments.literal_strings(1)?.map(bytes));
        Ok(change(ALL, move |metric, _| aggregate::on_attributes(metric, aggregation, keys.as_deref()).map(|()| true)))
    },
};

/// Replaces values of an attribute by one, and joins points.
pub(super) const AGGREGATE_ON_ATTRIBUTE_VALUE: Function = Function {
    name: "aggregate_on_attribute_value",
    parameters: &[
        Parameter::new("AggregationFunction", LITERAL_STRING),
        Parameter::new("Attribute", LITERAL_STRING),
        Parameter::new("Values", ParameterKind::ListOf(&LITERAL_STRING)),
        Parameter::new("NewValue", LITERAL_STRING),
    ],
    build: |arguments| {
        let aggregation = aggregation(arguments)?;
        let key = arguments.literal_string(1)?.unwrap_or_default();
        let values = bytes(arguments.literal_strings(2)?.unwrap_or_default());
        let new_value = arguments.literal_string(3)?.unwrap_or_default();
        Ok(change(ALL, move |metric, _| {
            aggregate::on_attribute_value(metric, aggregation, key.as_bytes(), &values, new_value.as_bytes())
                .map(|()| true)
        }))
    },
};

/// A histogram with exponential bounds gets explicit ones.
pub(super) const CONVERT_EXPONENTIAL_HISTOGRAM_TO_HISTOGRAM: Function = Function {
    name: "convert_exponential_histogram_to_histogram",
    parameters: &[
        Parameter::new("DistributionFn", LITERAL_STRING),
        Parameter::new("ExplicitBounds", ParameterKind::ListOf(&ParameterKind::LiteralFloat)),
    ],
    build: |arguments| {
        let name = arguments.literal_string(0)?.filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "random".to_owned());
        let Some(distribution) = Distribution::by_name(&name) else {
            return Err(BuildError::new(format!(
                "invalid conversion function: {name}, must be one of [upper, midpoint, random, uniform]"
            )));
        };
        let bounds = arguments.literal_floats(1)?.unwrap_or_default();
        if bounds.is_empty() {
            return Err(BuildError::new("explicit bounds cannot be empty: []"));
        }
        Ok(change(&[MetricKind::ExponentialHistogram], move |metric, execution| {
            let environment = execution.view().environment();
            let mut random = || environment.random();
            Ok(explicit_buckets::to_explicit_buckets(metric, distribution, &bounds, &mut random))
        }))
    },
};

/// The quantiles of a summary as a gauge.
pub(super) const CONVERT_SUMMARY_QUANTILE_VAL_TO_GAUGE: Function = Function {
    name: "convert_summary_quantile_val_to_gauge",
    parameters: &[Parameter::optional("AttributeKey", LITERAL_STRING), Parameter::optional("Suffix", LITERAL_STRING)],
    build: |arguments| {
        let (attribute, suffix) = (suffix(arguments, 0, "quantile")?, suffix(arguments, 1, ".quantiles")?);
        Ok(add(&[MetricKind::Summary], move |metric| {
            Ok(convert::summary_quantiles_to_gauge(metric, &attribute, &suffix))
        }))
    },
};

const SUMMARY_PARAMETERS: &[Parameter] = &[
    Parameter::new("StringAggTemp", LITERAL_STRING),
    Parameter::new("Monotonic", LITERAL_BOOL),
    Parameter::optional("Suffix", LITERAL_STRING),
];

fn build_summary(arguments: &mut Arguments, value: SummaryValue, default: &str) -> Result<Callable, BuildError> {
    let (temporality, is_monotonic) = (temporality(arguments, 0)?, is_monotonic(arguments, 1)?);
    let suffix = suffix(arguments, 2, default)?;
    Ok(add(&[MetricKind::Summary], move |metric| {
        Ok(convert::summary_to_sum(metric, value, temporality, is_monotonic, &suffix))
    }))
}

/// The sums of a summary as a metric.
pub(super) const CONVERT_SUMMARY_SUM_VAL_TO_SUM: Function = Function {
    name: "convert_summary_sum_val_to_sum",
    parameters: SUMMARY_PARAMETERS,
    build: |arguments| build_summary(arguments, SummaryValue::Sum, "_sum"),
};

/// The counts of a summary as a metric.
pub(super) const CONVERT_SUMMARY_COUNT_VAL_TO_SUM: Function = Function {
    name: "convert_summary_count_val_to_sum",
    parameters: SUMMARY_PARAMETERS,
    build: |arguments| build_summary(arguments, SummaryValue::Count, "_count"),
};

/// Fewer buckets in a histogram point.
pub(super) const MERGE_HISTOGRAM_BUCKETS: Function = Function {
    name: "merge_histogram_buckets",
    parameters: &[
        Parameter::new("TargetValue", ParameterKind::FloatLike),
        Parameter::optional("Method", LITERAL_STRING),
    ],
    build: build_merge_buckets,
};

fn build_merge_buckets(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let target = arguments.expression(0)?;
    let method = arguments.literal_string(1)?.unwrap_or_else(|| "remove_explicit_bound".to_owned());
    let is_limit = match method.as_str() {
        "remove_explicit_bound" => false,
        "limit_buckets" => true,
        _ => {
            return Err(BuildError::new(format!(
                "unsupported method {method:?}, expected \"remove_explicit_bound\" or \"limit_buckets\""
            )));
        }
    };
    let literal = match target.literal() {
        Some(Value::Nil) => return Err(BuildError::new("target_value must not be nil")),
        Some(Value::Double(v)) => Some(*v),
        Some(Value::Int(v)) => Some(*v as f64),
        _ => None,
    };
    if let Some(literal) = literal.filter(|_| is_limit) {
        histogram_buckets::max_buckets(literal).map_err(BuildError::new)?;
    }
    Ok(Callable::editor(MergeBuckets { target, is_limit }))
}

struct MergeBuckets {
    target: Expression,
    is_limit: bool,
}

const BOUNDS: Field = Field::DataPoint(DataPointField::ExplicitBounds);
const COUNTS: Field = Field::DataPoint(DataPointField::BucketCounts);

impl Editor for MergeBuckets {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let view = execution.view();
        let (Value::List(bounds), Value::List(counts)) =
            (view.context().get(BOUNDS, &[])?, view.context().get(COUNTS, &[])?)
        else {
            return Ok(());
        };
        let double = |value: Value<'_>| if let Value::Double(v) = value { v } else { 0.0 };
        let count = |value: Value<'_>| if let Value::Int(v) = value { v.cast_unsigned() } else { 0 };
        let bounds: Vec<f64> = bounds.iter().map(double).collect();
        let counts: Vec<u64> = counts.iter().map(count).collect();
        let Some(target) = self.target.float_like(&view)? else {
            return Err(EvalError::new("target_value must not be nil"));
        };
        let merged = if self.is_limit {
            let most = histogram_buckets::max_buckets(target).map_err(EvalError::new)?;
            histogram_buckets::limit_buckets(&bounds, &counts, most)
        } else {
            histogram_buckets::remove_bound(&bounds, &counts, target)
        };
        let Some((bounds, counts)) = merged else { return Ok(()) };
        let bounds = List::values(ListKind::Doubles, bounds.into_iter().map(Value::Double).collect());
        let counts =
            List::values(ListKind::Uints, counts.into_iter().map(|count| Value::Int(count.cast_signed())).collect());
        let context = execution.context_mut();
        context.set(BOUNDS, &[], &Value::List(bounds))?;
        context.set(COUNTS, &[], &Value::List(counts))
    }
}
