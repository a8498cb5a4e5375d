//! What `count` and `sum` have in common in their configurations: metrics by name, with conditions and attributes.

use otelcore_config::{ConfigNode, NodeValue, Section, config_struct};
use otelcore_ottl::{Compiler, ConditionSequence, ErrorMode, LogicOperation, PathPrefix};
use otelcore_pdata::Value;

use super::level::Level;

config_struct! {
    /// An attribute of the points.
    pub struct ItemAttributeConfig {
        /// Its key.
        pub key: String,
        /// The value for items without it; without a default they are left out.
        pub default_value: Option<ConfigNode>,
    }
}

config_struct! {
    /// A metric that is made.
    pub struct ItemMetricConfig {
        /// Its description.
        pub description: String,
        /// Conditions of OTTL, of which one must hold; without any all items are taken.
        pub conditions: Vec<String>,
        /// Attributes by which points are divided.
        pub attributes: Vec<ItemAttributeConfig>,
    }
}

/// An attribute of the points, compiled.
#[derive(Clone, Debug)]
pub(crate) struct PointAttribute {
    pub(crate) key: Vec<u8>,
    pub(crate) default: Option<Value>,
}

/// A metric of one level, compiled.
#[derive(Debug)]
pub(crate) struct MetricDefinition {
    pub(crate) name: String,
    pub(crate) description: String,
    /// `None` without conditions.
    pub(crate) conditions: Option<ConditionSequence>,
    pub(crate) attributes: Vec<PointAttribute>,
    /// The attribute that is added up; empty for `count`.
    pub(crate) source: Vec<u8>,
}

impl MetricDefinition {
    /// The metric that is made where none is configured.
    pub(crate) fn by_default(name: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            conditions: None,
            attributes: Vec::new(),
            source: Vec::new(),
        }
    }

    /// Compiles a metric whose configuration has been checked.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn compile(level: Level, name: &str, config: &ItemMetricConfig, source: &str) -> Result<Self, String> {
        let compile = |text: &String| level_compiler(level).condition(text).map_err(|error| error.to_string());
        let conditions = config.conditions.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        let sequence = || ConditionSequence::new(conditions, LogicOperation::Or, ErrorMode::Propagate);
        let attribute = |attribute: &ItemAttributeConfig| PointAttribute {
            key: attribute.key.as_bytes().to_vec(),
            default: attribute.default_value.as_ref().and_then(value_of),
        };
        Ok(Self {
            name: name.to_owned(),
            description: config.description.clone(),
            attributes: config.attributes.iter().map(attribute).collect(),
            conditions: (!config.conditions.is_empty()).then(sequence),
            source: source.as_bytes().to_vec(),
        })
    }
}

fn level_compiler(level: Level) -> Compiler<'static> {
    Compiler { context: level.context_type(), functions: level.functions(), prefix: PathPrefix::Implied }
}

/// Reports the mistakes of a metric under `LEVEL::NAME`.
pub(crate) fn check(s: &mut Section<'_>, level: Level, name: &str, config: &ItemMetricConfig) {
    let key = level.key();
    if name.is_empty() {
        s.error(key, format!("{key}: metric name missing"));
    }
    for (index, text) in config.conditions.iter().enumerate() {
        let Err(error) = level_compiler(level).condition(text) else { continue };
        let metric = s.raw_node(key).and_then(|node| entry(node, name));
        let conditions = metric.and_then(|node| entry(node, "conditions"));
        let origin = conditions.and_then(|node| node.items().get(index)).map(|node| &node.origin);
        let (line, column) = error.line_and_column(text);
        let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or("").trim();
        let path = format!("{}::{key}::{name}::conditions[{index}]", s.path());
        s.diagnostics()
            .error(origin, &path, format!("{key} condition: metric {name:?}: {}", error.message))
            .maybe_help(error.hint.clone())
            .note(format!("at {line}:{column} of `{shown}`"));
    }
    if level == Level::Metric {
        if !config.attributes.is_empty() {
            s.error(key, format!("metrics attributes not supported: metric {name:?}"));
        }
        return;
    }
    for (index, attribute) in config.attributes.iter().enumerate() {
        let before = config.attributes.get(..index).unwrap_or_default();
        if attribute.key.is_empty() {
            s.error(key, format!("{key} attributes: metric {name:?}: attribute key missing"));
        } else if before.iter().any(|other| other.key == attribute.key) {
            s.error(key, format!("{key} attributes: metric {name:?}: attribute {} is there twice", attribute.key));
        }
    }
}

fn entry<'a>(node: &'a ConfigNode, key: &str) -> Option<&'a ConfigNode> {
    match &node.value {
        NodeValue::Map(map) => map.get(key).map(|entry| &entry.node),
        _ => None,
    }
}

/// A default value; `None` for null.
fn value_of(node: &ConfigNode) -> Option<Value> {
    Some(match &node.value {
        NodeValue::Null => return None,
        NodeValue::Bool(value) => Value::Bool(*value),
        NodeValue::Int(value) => i64::try_from(*value).map_or(Value::Double(*value as f64), Value::Int),
        NodeValue::Float(value) => Value::Double(*value),
        NodeValue::Str(text) => Value::String(text.as_bytes().to_vec()),
        NodeValue::List(items) => Value::Array(items.iter().map(|item| value_of(item).unwrap_or_default()).collect()),
        NodeValue::Map(map) => {
            let pair = |(key, node): (String, &ConfigNode)| (key.into_bytes(), value_of(node).unwrap_or_default());
            Value::Map(map.iter().map(|entry| pair((entry.key.to_string(), &entry.node))).collect())
        }
    })
}
