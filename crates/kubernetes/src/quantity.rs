//! Quantities of Kubernetes resources: `2Gi`, `500m`, `1e9`.

use otelcore_config::{Node, Value};

/// A scalar as Kubernetes would read it into a string or a quantity.
pub(crate) fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Str(text) => Some(text.to_string()),
        Value::Int(v) => Some(v.to_string()),
        Value::Float(v) => Some(v.to_string()),
        Value::Bool(v) => Some(v.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// `true`, also one that a tool has written as a string.
pub(crate) fn is_true(node: Option<&Node>) -> bool {
    node.and_then(text).is_some_and(|t| t == "true")
}

/// The value in units: bytes for memory, cores for CPU. `None` if it is not a quantity.
pub(crate) fn parse(node: &Node) -> Option<f64> {
    let text = text(node)?;
    let text = text.trim();
    if let Ok(plain) = text.parse::<f64>() {
        return (plain.is_finite() && plain >= 0.0).then_some(plain);
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
    use otelcore_config::{Origin, SourceText};

    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let origin = Origin::new(&SourceText::new("x", ""), 1, 1);
        let of = |value| parse(&Node::new(value, origin.clone()));
        assert_eq!(of(Value::Str("2Gi".into())), Some(2_147_483_648.0));
        assert_eq!(of(Value::Str("500m".into())), Some(0.5));
        assert_eq!(of(Value::Str("1e9".into())), Some(1e9));
        assert_eq!(of(Value::Int(134_217_728)), Some(134_217_728.0));
        assert_eq!(of(Value::Str("64MB".into())), None);
        assert_eq!(of(Value::Str("-1".into())), None);
        assert_eq!(of(Value::Null), None);
    }
}
