//! Values of a configuration as attribute values.

use otelcore_config::{ConfigNode, NodeValue};
use otelcore_pdata::{MAX_NESTING, Value};

/// The attribute value of any value of a configuration.
///
/// # Errors
/// It is nested too deeply.
pub(crate) fn from_config(node: &ConfigNode) -> Result<Value, String> {
    let value = convert(node, MAX_NESTING);
    if value.depth() > MAX_NESTING {
        return Err(format!("a value must not be nested more than {MAX_NESTING} deep"));
    }
    Ok(value)
}

/// What is below the last level is left out; the value is then too deep by one level.
fn convert(node: &ConfigNode, levels_left: u8) -> Value {
    let inner = |node: &ConfigNode| levels_left.checked_sub(1).map_or(Value::Empty, |left| convert(node, left));
    match &node.value {
        NodeValue::Null => Value::Empty,
        NodeValue::Bool(v) => Value::Bool(*v),
        // An unsigned integer above the largest signed one wraps, as in Go.
        #[expect(clippy::cast_possible_truncation, reason = "within 64 bits by the type's contract")]
        NodeValue::Int(v) => Value::Int(*v as i64),
        NodeValue::Float(v) if v.is_nan() => Value::Double(otelcore_go_number::NAN),
        NodeValue::Float(v) => Value::Double(*v),
        NodeValue::Str(v) => Value::String(v.as_bytes().to_vec()),
        NodeValue::List(nodes) => Value::Array(nodes.iter().map(inner).collect()),
        NodeValue::Map(map) => {
            Value::Map(map.iter().map(|entry| (entry.key.as_bytes().to_vec(), inner(&entry.node))).collect())
        }
    }
}

/// The name of the value's type in Go's messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Empty => "Empty",
        Value::String(_) => "Str",
        Value::Bool(_) => "Bool",
        Value::Int(_) => "Int",
        Value::Double(_) => "Double",
        Value::Array(_) => "Slice",
        Value::Map(_) => "Map",
        Value::Bytes(_) => "Bytes",
    }
}
