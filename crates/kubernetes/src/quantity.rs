//! Quantities of Kubernetes resources: `2Gi`, `500m`, `1e9`.

use otelcore_config::{ConfigNode, NodeValue};

/// A scalar as Kubernetes would read it into a string or a quantity.
pub(crate) fn scalar_text(node: &ConfigNode) -> Option<String> {
    match &node.value {
        NodeValue::Str(text) => Some(text.to_string()),
        NodeValue::Int(v) => Some(v.to_string()),
        NodeValue::Float(v) => Some(v.to_string()),
        NodeValue::Bool(v) => Some(v.to_string()),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

/// `true`, also one that a tool has written as a string.
pub(crate) fn is_true(node: Option<&ConfigNode>) -> bool {
    node.and_then(scalar_text).is_some_and(|t| t == "true")
}

/// The value in units: bytes for memory, cores for CPU. `None` if it is not a quantity.
pub(crate) fn parse_quantity(node: &ConfigNode) -> Option<f64> {
    let text = scalar_text(node)?;
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return (number.is_finite() && number >= 0.0).then_some(number);
    }
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, suffix) = text.split_at_checked(at)?;
    let factor = match suffix {
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use otelcore_config::{SourceLocation, SourceText};

    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let origin = SourceLocation::new(&SourceText::new("x", ""), 1, 1);
        let parse_value = |value| parse_quantity(&ConfigNode::new(value, origin.clone()));
        assert_eq!(parse_value(NodeValue::Str("2Gi".into())), Some(2_147_483_648.0));
        assert_eq!(parse_value(NodeValue::Str("500m".into())), Some(0.5));
        assert_eq!(parse_value(NodeValue::Str("1e9".into())), Some(1e9));
        assert_eq!(parse_value(NodeValue::Int(134_217_728)), Some(134_217_728.0));
        assert_eq!(parse_value(NodeValue::Str("64MB".into())), None);
        assert_eq!(parse_value(NodeValue::Str("-1".into())), None);
        assert_eq!(parse_value(NodeValue::Null), None);
    }
}
