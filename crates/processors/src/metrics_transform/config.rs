//! The configuration of `metrics_transform`, and its rules.

use otelcore_config::{Section, config_struct};
use otelcore_go_regexp::{GoRegexp, Template};

use super::aggregate::AggregationType;
use super::operations::{Operation, OperationKind};
use super::{Action, Filter, SubmatchCase, Transform};

config_struct! {
    /// Renames, copies, combines and aggregates metrics.
    pub struct MetricsTransformConfig {
        /// What is done, in this order.
        pub transforms: Vec<TransformConfig>,
    }
}

config_struct! {
    /// Metrics, and what is done with them.
    #[config(check = Self::check)]
    pub struct TransformConfig {
        /// The name of the metrics, or a pattern.
        pub include: String,
        /// `strict` (the default) for a name, `regexp` for a pattern that matches anywhere in a name.
        pub match_type: String,
        /// Attributes of points: only points match whose attributes have these values. A key that a point does not have
        /// has the empty value. With `regexp` the values are patterns.
        pub experimental_match_labels: Vec<(String, String)>,
        /// `update` (changes the metrics), `insert` (changes a copy of each), `combine` (joins them to one metric) or
        /// `group` (moves them to a resource of their own).
        pub action: String,
        /// The new name. With `regexp` it can refer to groups: `$1`, `$${name}`. Required by `insert` and `combine`.
        pub new_name: String,
        /// Attributes that `group` adds to the resource.
        pub group_resource_labels: Vec<(String, String)>,
        /// How `combine` joins points with equal attributes and times: `sum`, `mean`, `min`, `max`, `median` or `count`.
        pub aggregation_type: String,
        /// The case of the values that `combine` makes of groups: `lower` or `upper`; as they are without it.
        pub submatch_case: String,
        /// What is done with the metrics that result from the action, in this order.
        pub operations: Vec<OperationConfig>,
    }
}

config_struct! {
    /// One change of a metric.
    #[config(check = Self::check)]
    pub struct OperationConfig {
        /// `add_label`, `update_label`, `delete_label_value`, `toggle_scalar_data_type`, `experimental_scale_value`,
        /// `aggregate_labels` or `aggregate_label_values`.
        pub action: String,
        /// The key of the attribute that is changed.
        pub label: String,
        /// The new key of the attribute, or the key of the added one.
        pub new_label: String,
        /// The keys that `aggregate_labels` keeps.
        pub label_set: Vec<String>,
        /// How points that have equal attributes afterwards are joined: `sum`, `mean`, `min`, `max`, `median` or
        /// `count`.
        pub aggregation_type: String,
        /// The values that `aggregate_label_values` replaces by `new_value`.
        pub aggregated_values: Vec<String>,
        /// The new value. `{{version}}` is the version of the collector.
        pub new_value: String,
        /// Values that `update_label` replaces.
        pub value_actions: Vec<ValueActionConfig>,
        /// The factor of `experimental_scale_value`.
        pub experimental_scale: f64 = 0.0,
        /// The value whose points `delete_label_value` drops.
        pub label_value: String,
    }
}

config_struct! {
    /// A value, and what replaces it.
    pub struct ValueActionConfig {
        /// The value that is replaced.
        pub value: String,
        /// The new value. `{{version}}` is the version of the collector.
        pub new_value: String,
    }
}

const ACTIONS: [&str; 4] = ["insert", "update", "combine", "group"];
const OPERATIONS: [&str; 7] = [
    "add_label",
    "update_label",
    "delete_label_value",
    "toggle_scalar_data_type",
    "experimental_scale_value",
    "aggregate_labels",
    "aggregate_label_values",
];

/// A mistake: the key and the message of the Go collector.
pub(super) struct TransformError {
    key: String,
    pub(super) message: String,
    hint: Option<String>,
}

fn error(key: &str, message: String) -> TransformError {
    TransformError { key: key.to_owned(), message, hint: None }
}

fn not_one_of(key: &str, allowed: &[&str]) -> TransformError {
    let allowed = allowed.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
    error(key, format!("{key:?} must be in [{allowed}]"))
}

fn missing(key: &str, action: &str) -> TransformError {
    error(key, format!("missing required field {key:?} while \"action\" is {action}"))
}

fn pattern(key: &str, text: &str) -> Result<GoRegexp, TransformError> {
    GoRegexp::compile(text).map_err(|e| TransformError { hint: Some(e.hint()), ..error(key, format!("{key:?}, {e}")) })
}

fn aggregation(text: &str) -> Result<Option<AggregationType>, TransformError> {
    if text.is_empty() {
        return Ok(None);
    }
    AggregationType::parse(text).map(Some).ok_or_else(|| not_one_of("aggregation_type", &AggregationType::NAMES))
}

/// A text with the version of the collector in the place of its placeholder.
fn with_version(text: &str) -> Vec<u8> {
    text.replace("{{version}}", env!("CARGO_PKG_VERSION")).into_bytes()
}

impl TransformConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let has_labels = s.contains_key("group_resource_labels");
        if let Err(error) = self.compile(has_labels) {
            s.start_error(&error.key, error.message).maybe_help(error.hint);
        }
    }

    /// Checks the transform, by the rules and with the messages of the Go collector, and compiles it. Mistakes in its
    /// operations are those of [`OperationConfig::compile`].
    pub(super) fn compile(&self, has_group_resource_labels: bool) -> Result<Transform, TransformError> {
        if self.include.is_empty() {
            return Err(error("include", "missing required field \"include\"".to_owned()));
        }
        let is_regexp = match self.match_type.as_str() {
            "" | "strict" => false,
            "regexp" => true,
            _ => return Err(not_one_of("match_type", &["strict", "regexp"])),
        };
        let regexp = is_regexp.then(|| pattern("include", &self.include)).transpose()?;
        let aggregation_type = aggregation(&self.aggregation_type);
        let action = match self.action.as_str() {
            "insert" if self.new_name.is_empty() => return Err(missing("new_name", "insert")),
            "insert" => Action::Insert,
            "update" => Action::Update,
            "combine" if self.new_name.is_empty() => return Err(missing("new_name", "combine")),
            "combine" if self.aggregation_type.is_empty() => return Err(missing("aggregation_type", "combine")),
            "combine" => Action::Combine,
            "group" if !has_group_resource_labels => return Err(missing("group_resource_labels", "group")),
            "group" => Action::Group,
            _ => return Err(not_one_of("action", &ACTIONS)),
        };
        let submatch_case = match self.submatch_case.as_str() {
            "" => None,
            "lower" => Some(SubmatchCase::Lower),
            "upper" => Some(SubmatchCase::Upper),
            _ => {
                aggregation_type?;
                return Err(not_one_of("submatch_case", &["lower", "upper"]));
            }
        };
        let aggregation_type = aggregation_type?;
        let label = |(key, value): &(String, String)| {
            let matcher = if is_regexp {
                super::LabelMatcher::Regexp(GoRegexp::compile(value).map_err(|e| TransformError {
                    hint: Some(e.hint()),
                    ..error("experimental_match_labels", e.to_string())
                })?)
            } else {
                super::LabelMatcher::Strict(value.as_bytes().to_vec())
            };
            Ok((key.as_bytes().to_vec(), matcher))
        };
        let labels = self.experimental_match_labels.iter().map(label).collect::<Result<_, _>>()?;
        let operations = self.operations.iter().enumerate();
        let operations = operations.map(|(index, operation)| operation.compile(index)).collect::<Result<_, _>>()?;
        let bytes = |(key, value): &(String, String)| (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        Ok(Transform {
            filter: Filter { include: self.include.as_bytes().to_vec(), regexp, labels },
            action,
            new_name: self.new_name.as_bytes().to_vec(),
            new_name_template: Template::parse(&self.new_name),
            group_resource_labels: self.group_resource_labels.iter().map(bytes).collect(),
            aggregation_type: aggregation_type.unwrap_or(AggregationType::None),
            submatch_case,
            operations,
        })
    }
}

impl OperationConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let index = s.path().rsplit_once('[').and_then(|(_, index)| index.strip_suffix(']')?.parse().ok());
        match self.compile(index.unwrap_or(0)) {
            Err(error) => {
                s.start_error(&error.key, error.message).maybe_help(error.hint);
            }
            Ok(_) if self.action == "experimental_scale_value" && self.experimental_scale < 0.0 => {
                s.warn("experimental_scale", "a negative scale is not applied to histograms");
            }
            Ok(_) => {}
        }
    }

    fn compile(&self, index: usize) -> Result<Operation, TransformError> {
        let n = index + 1;
        let place = |e: TransformError| TransformError { message: format!("operation {n}: {}", e.message), ..e };
        let label = self.label.as_bytes().to_vec();
        let new_label = self.new_label.as_bytes().to_vec();
        let aggregation_type = aggregation(&self.aggregation_type);
        let kind = match self.action.as_str() {
            "add_label" if self.new_label.is_empty() => return Err(place(missing("new_label", "add_label"))),
            "add_label" if self.new_value.is_empty() => return Err(place(missing("new_value", "add_label"))),
            "add_label" => OperationKind::AddLabel { key: new_label, value: with_version(&self.new_value) },
            "update_label" if self.label.is_empty() => return Err(place(missing("label", "update_label"))),
            "update_label" => OperationKind::UpdateLabel {
                key: label,
                new_key: new_label,
                // Of several actions for a value the last counts.
                values: self
                    .value_actions
                    .iter()
                    .map(|action| (action.value.as_bytes().to_vec(), with_version(&action.new_value)))
                    .collect(),
            },
            "delete_label_value" => {
                OperationKind::DeleteLabelValue { key: label, value: self.label_value.as_bytes().to_vec() }
            }
            "toggle_scalar_data_type" => OperationKind::ToggleScalarDataType,
            "experimental_scale_value" if self.experimental_scale == 0.0 => {
                return Err(place(missing("experimental_scale", "experimental_scale_value")));
            }
            "experimental_scale_value" => OperationKind::ScaleValue(self.experimental_scale),
            "aggregate_labels" => OperationKind::AggregateLabels {
                keys: self.label_set.iter().map(|key| key.as_bytes().to_vec()).collect(),
            },
            "aggregate_label_values" => OperationKind::AggregateLabelValues {
                key: label,
                values: self.aggregated_values.iter().map(|value| value.as_bytes().to_vec()).collect(),
                new_value: with_version(&self.new_value),
            },
            _ => return Err(place(not_one_of("action", &OPERATIONS))),
        };
        Ok(Operation { kind, aggregation_type: aggregation_type.map_err(place)?.unwrap_or(AggregationType::None) })
    }
}
