//! The `metrics_transform` processor: renames, copies, combines, groups and aggregates metrics.
//!
//! Only metrics that a transform matches are decoded, and only where the transform reads their points. A payload in which
//! none matches stays the same buffer. Never merges metrics of different resources or scopes.

mod aggregate;
mod config;
mod operations;
mod rebuild;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use aggregate::AggregationType;
pub use config::{MetricsTransformConfig, OperationConfig, TransformConfig, ValueActionConfig};
use operations::Operation;
use otelcore_go_regexp::{GoRegexp, Template};
use otelcore_pdata::edit::{Editor, OutputLimit};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Held, Logger, Outcome, Payload, StartError,
};

use crate::edit_processor::{EditProcessor, PayloadEditor};
use crate::owned_metric::{OwnedMetric, Point};

/// Makes `metrics_transform` processors.
#[derive(Clone, Copy, Debug)]
pub struct MetricsTransformFactory;

impl ComponentType for MetricsTransformFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "metrics_transform",
        aliases: &["metricstransform"],
        signals: &[Signal::Metrics],
        stability: "Beta",
    };
    type Config = MetricsTransformConfig;

    fn create(&self, config: &MetricsTransformConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        // That the labels of `group` are written has been checked.
        let transforms = config.transforms.iter().map(|transform| transform.compile(true));
        let transforms: Vec<_> =
            transforms.collect::<Result<_, _>>().map_err(|error| StartError::Config(error.message))?;
        let transforms = Arc::new(transforms);
        let log = context.log.clone();
        let new_editor = move |_, _| MetricsTransformEditor {
            is_reported: vec![false; transforms.len()],
            transforms: transforms.clone(),
            log: log.clone(),
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Insert,
    Update,
    Combine,
    Group,
}

#[derive(Clone, Copy, Debug)]
enum SubmatchCase {
    Lower,
    Upper,
}

#[derive(Debug)]
enum LabelMatcher {
    Strict(Vec<u8>),
    Regexp(GoRegexp),
}

impl LabelMatcher {
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Strict(value) => value == text,
            Self::Regexp(pattern) => pattern.is_match(text),
        }
    }
}

/// Which metrics and points match.
#[derive(Debug)]
struct Filter {
    include: Vec<u8>,
    /// `include` as a pattern.
    regexp: Option<GoRegexp>,
    labels: Vec<(Vec<u8>, LabelMatcher)>,
}

impl Filter {
    fn matches_name(&self, name: &[u8]) -> bool {
        match &self.regexp {
            Some(pattern) => pattern.is_match(name),
            None => self.include == name,
        }
    }

    fn matches_point(&self, point: &Point<'_>) -> bool {
        self.labels.iter().all(|(key, matcher)| {
            let text: &[u8] = point.attribute(key).map_or(&[], |value| value.text());
            matcher.matches(text)
        })
    }

    /// Whether the metric has no points, or one that matches.
    fn matches_any_point(&self, metric: &OwnedMetric<'_>) -> bool {
        metric.points.is_empty() || metric.points.iter().any(|point| self.matches_point(point))
    }

    fn matches_all_points(&self, metric: &OwnedMetric<'_>) -> bool {
        metric.points.iter().all(|point| self.matches_point(point))
    }
}

/// A compiled transform.
#[derive(Debug)]
struct Transform {
    filter: Filter,
    action: Action,
    /// Empty: the name stays.
    new_name: Vec<u8>,
    new_name_template: Template,
    group_resource_labels: Vec<(Vec<u8>, Vec<u8>)>,
    aggregation_type: AggregationType,
    submatch_case: Option<SubmatchCase>,
    operations: Vec<Operation>,
}

impl Transform {
    /// The new name for a metric of this name.
    fn new_name(&self, name: &[u8]) -> Cow<'_, [u8]> {
        if let Some(pattern) = &self.filter.regexp
            && let Some(groups) = pattern.find(name)
        {
            let mut expanded = Vec::new();
            pattern.expand(&self.new_name_template, name, &groups, &mut expanded);
            if !expanded.is_empty() {
                return Cow::Owned(expanded);
            }
        }
        Cow::Borrowed(&self.new_name)
    }

    /// Whether only the name changes, and does not depend on points.
    fn only_renames(&self) -> bool {
        self.operations.is_empty() && self.filter.labels.is_empty()
    }
}

struct MetricsTransformEditor {
    transforms: Arc<Vec<Transform>>,
    log: Logger,
    /// By transform: that it can't combine metrics has been logged.
    is_reported: Vec<bool>,
}

impl Editor for MetricsTransformEditor {}

impl PayloadEditor for MetricsTransformEditor {
    const DROP_REASON: &'static str = "aggregated";

    const REBUILDS: bool = true;

    fn begin(&mut self, _: &Payload) {}

    fn output_limit(&self, _: &Payload) -> OutputLimit {
        OutputLimit::default()
    }

    fn cost_per_byte(&self) -> u64 {
        let of = |transform: &Transform| {
            let patterns = usize::from(transform.filter.regexp.is_some()) + transform.filter.labels.len();
            4 + 8 * patterns + 4 * transform.operations.len()
        };
        30 + self.transforms.iter().map(of).sum::<usize>() as u64
    }

    fn rebuild(&mut self, body: &Rope, output: &mut Held) -> Result<Option<Rope>, Outcome> {
        rebuild::rebuild(self, body, output)
    }
}
