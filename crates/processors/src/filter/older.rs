//! `include` and `exclude`, compiled.

use otelcore_pdata::edit::ResourceMut;
use otelcore_pdata::views::{Metric, MetricData};

use super::expression::{Expression, Point};
use crate::matching::{Matcher, MetricNames};

/// The older form of a signal.
#[derive(Debug)]
pub(super) enum OlderFilter {
    /// Of spans or log records: those that the matcher matches are kept.
    Items(Box<Matcher>),
    /// Of metrics.
    Metrics { include: Option<Box<MetricFilter>>, exclude: Option<Box<MetricFilter>> },
}

/// One of `include` and `exclude` of metrics.
#[derive(Debug)]
pub(super) struct MetricFilter {
    /// `None` without attributes.
    pub(super) resources: Option<Matcher>,
    /// `None` without names and expressions.
    pub(super) metrics: Option<MetricSelection>,
    /// Units of work that a byte costs at most.
    pub(super) cost_per_byte: u64,
}

/// Which metrics are meant.
#[derive(Debug)]
pub(super) enum MetricSelection {
    Names(MetricNames),
    /// Those with a point for which one of these holds.
    Expressions(Vec<Expression>),
}

impl MetricFilter {
    /// Whether the resource matches; `None` if no attributes are given.
    pub(super) fn matches_resource(&self, resource: &ResourceMut<'_>, buffer: &mut Vec<u8>) -> Option<bool> {
        self.resources.as_ref().map(|matcher| matcher.matches_resource(resource, buffer))
    }

    /// Whether a metric matches; `None` if neither names nor expressions are given.
    pub(super) fn matches_metric(&self, metric: &Metric<'_>) -> Option<bool> {
        self.metrics.as_ref().map(|selection| match selection {
            MetricSelection::Names(names) => names.matches(metric.name),
            MetricSelection::Expressions(expressions) => has_matching_point(expressions, metric),
        })
    }
}

fn has_matching_point(expressions: &[Expression], metric: &Metric<'_>) -> bool {
    macro_rules! any {
        ($points:expr, $metric_type:literal) => {
            $points.any(|point| {
                let attributes = || point.attributes();
                let point = Point { metric_name: metric.name, metric_type: $metric_type, attributes };
                expressions.iter().any(|expression| expression.holds(&point))
            })
        };
    }
    match metric.data {
        MetricData::Empty => false,
        MetricData::Gauge(data) => any!(data.points(), "Gauge"),
        MetricData::Sum(data) => any!(data.points(), "Sum"),
        MetricData::Histogram(data) => any!(data.points(), "Histogram"),
        MetricData::ExponentialHistogram(data) => any!(data.exponential_points(), "ExponentialHistogram"),
        MetricData::Summary(data) => any!(data.points(), "Summary"),
    }
}
