//! Lists of target groups in JSON and YAML, as files and HTTP servers have them.
//!
//! Pure. It runs on helper threads, since a list may be long.

use otelcore_config::{ConfigNode, Diagnostics, NodeValue, SourceText, parse_documents};
use serde_json::{Map, Value};

use crate::labels::LabelSet;
use crate::targets::TargetGroup;

/// A group without its source.
type Parsed = Result<Vec<TargetGroup>, String>;

/// The label that a discovery gives to each group.
pub(crate) struct SourceLabel<'s> {
    pub(crate) name: &'static str,
    pub(crate) value: &'s str,
}

const NIL_GROUP: &str = "nil target group item found";

/// A group of these targets. Its source is the value of the label, and its index.
fn group(index: usize, source: &SourceLabel<'_>, targets: Vec<String>, labels: Vec<(String, String)>) -> TargetGroup {
    let target = |address: &String| LabelSet::from_pairs([("__address__", address.as_str())]);
    let of_source = (source.name.to_owned(), source.value.to_owned());
    TargetGroup {
        source: format!("{}:{index}", source.value).into(),
        targets: targets.iter().map(target).collect(),
        labels: LabelSet::from_pairs(labels.into_iter().chain([of_source])),
    }
}

/// Reads a list in JSON.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_json(text: &[u8], source: &SourceLabel<'_>) -> Parsed {
    let items = match serde_json::from_slice(text) {
        Ok(Value::Array(items)) => items,
        Ok(Value::Null) => return Ok(Vec::new()),
        Ok(other) => return Err(format!("a list of target groups is expected, not {}", kind_of(&other))),
        Err(error) => return Err(error.to_string()),
    };
    let groups = items.into_iter().enumerate().map(|(index, item)| match item {
        Value::Null => Err(NIL_GROUP.to_owned()),
        Value::Object(members) => {
            let (targets, labels) = json_group(members).map_err(|error| format!("target group {index}: {error}"))?;
            Ok(group(index, source, targets, labels))
        }
        other => Err(format!("target group {index}: an object is expected, not {}", kind_of(&other))),
    });
    groups.collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

type Members = (Vec<String>, Vec<(String, String)>);

fn json_group(members: Map<String, Value>) -> Result<Members, String> {
    let (mut targets, mut labels) = (Vec::new(), Vec::new());
    let text = |what: &str, value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => Err(format!("{what}: a string is expected, not {}", kind_of(&other))),
    };
    for (key, value) in members {
        // Go's decoder ignores the case of names.
        match (key.to_ascii_lowercase().as_str(), value) {
            ("targets" | "labels", Value::Null) => {}
            ("targets", Value::Array(items)) => {
                targets = items.into_iter().map(|item| text("targets", item)).collect::<Result<_, _>>()?;
            }
            ("labels", Value::Object(map)) => {
                labels = map
                    .into_iter()
                    .map(|(name, value)| Ok((name.clone(), text(&format!("label {name:?}"), value)?)))
                    .collect::<Result<_, String>>()?;
            }
            (known @ ("targets" | "labels"), other) => return Err(format!("{known} is {}", kind_of(&other))),
            _ => return Err(format!("unknown field {key:?}")),
        }
    }
    check_names(&labels)?;
    Ok((targets, labels))
}

fn check_names(labels: &[(String, String)]) -> Result<(), String> {
    match labels.iter().find(|(name, _)| name.is_empty()) {
        Some((name, _)) => Err(format!("{name:?} is not a valid label name")),
        None => Ok(()),
    }
}

/// Reads a list in YAML.
///
/// # Errors
/// What is wrong with it, with its line.
pub(crate) fn parse_yaml(text: &str, source: &SourceLabel<'_>) -> Parsed {
    let diagnostics = Diagnostics::new();
    let root = parse_documents(&SourceText::new(source.value, text), &diagnostics).into_iter().next();
    if let Some(item) = diagnostics.items().into_iter().find(|_| diagnostics.has_errors()) {
        return Err(match item.origin {
            Some(at) => format!("line {}: {}", at.line, item.message),
            None => item.message,
        });
    }
    let Some(root) = root else { return Ok(Vec::new()) };
    let at = |node: &ConfigNode, what: &str| format!("line {}: {what}", node.origin.line);
    let items = match &root.value {
        NodeValue::List(items) => items,
        NodeValue::Null => return Ok(Vec::new()),
        _ => return Err(at(&root, "a list of target groups is expected")),
    };
    let groups = items.iter().enumerate().map(|(index, item)| match &item.value {
        NodeValue::Null => Err(NIL_GROUP.to_owned()),
        NodeValue::Map(_) => {
            let (targets, labels) = yaml_group(item)?;
            Ok(group(index, source, targets, labels))
        }
        _ => Err(at(item, "a target group with `targets` and `labels` is expected")),
    });
    groups.collect()
}

fn yaml_group(item: &ConfigNode) -> Result<Members, String> {
    let (mut targets, mut labels) = (Vec::new(), Vec::new());
    let at = |node: &ConfigNode, what: &str| format!("line {}: {what}", node.origin.line);
    let text = |node: &ConfigNode| match &node.value {
        NodeValue::Null => Ok(String::new()),
        NodeValue::List(_) | NodeValue::Map(_) => Err(at(node, "a string is expected")),
        _ => Ok(node.as_str().or_else(|| node.source_scalar()).unwrap_or_default().to_owned()),
    };
    for entry in item.as_map().into_iter().flat_map(|map| map.iter()) {
        let node = &entry.node;
        match (&*entry.key, &node.value) {
            ("targets" | "labels", NodeValue::Null) => {}
            ("targets", NodeValue::List(items)) => targets = items.iter().map(text).collect::<Result<_, _>>()?,
            ("targets", _) => return Err(at(node, "`targets` is a list")),
            ("labels", NodeValue::Map(map)) => {
                labels = map
                    .iter()
                    .map(|label| Ok((label.key.to_string(), text(&label.node)?)))
                    .collect::<Result<_, String>>()?;
            }
            ("labels", _) => return Err(at(node, "`labels` is a map")),
            (key, _) => return Err(at(node, &format!("field {key} not found: write `targets` and `labels`"))),
        }
    }
    check_names(&labels)?;
    Ok((targets, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SourceLabel<'_> = SourceLabel { name: "__meta_filepath", value: "f" };

    #[test]
    fn groups_have_targets_labels_and_their_source() {
        let json = br#"[{"targets":["a:1","b"],"labels":{"x":"y"}},{"Targets":null}]"#;
        let yaml = "- targets: ['a:1', b]\n  labels: {x: y}\n- targets:\n";
        for groups in [parse_json(json, &SOURCE).unwrap(), parse_yaml(yaml, &SOURCE).unwrap()] {
            assert_eq!(groups.len(), 2);
            assert_eq!((&*groups[0].source, &*groups[1].source), ("f:0", "f:1"));
            assert_eq!(groups[0].targets[1], LabelSet::from_pairs([("__address__", "b")]));
            assert_eq!(groups[0].labels, LabelSet::from_pairs([("__meta_filepath", "f"), ("x", "y")]));
            assert!(groups[1].targets.is_empty());
        }
        assert_eq!(parse_json(b"null", &SOURCE), Ok(Vec::new()));
        assert_eq!(parse_yaml("", &SOURCE), Ok(Vec::new()));
    }

    #[test]
    fn list_that_is_none_is_refused_with_the_place() {
        for (json, expected) in [
            ("[null]", NIL_GROUP),
            ("[{\"targets\":[1]}]", "target group 0: targets: a string is expected, not a number"),
            ("[{\"target\":[]}]", "target group 0: unknown field \"target\""),
            ("[{\"labels\":{\"\":\"a\"}}]", "target group 0: \"\" is not a valid label name"),
            ("{}", "a list of target groups is expected, not an object"),
        ] {
            assert_eq!(parse_json(json.as_bytes(), &SOURCE), Err(expected.to_owned()), "{json}");
        }
        assert!(parse_json(b"[{\"targets\":[\"a\"", &SOURCE).is_err());
        for (yaml, expected) in [
            ("- ~", NIL_GROUP),
            ("- targets: [a]\n  label: {}", "line 2: field label not found: write `targets` and `labels`"),
            ("- targets: a", "line 1: `targets` is a list"),
            ("targets: [a]", "line 1: a list of target groups is expected"),
        ] {
            assert_eq!(parse_yaml(yaml, &SOURCE), Err(expected.to_owned()), "{yaml}");
        }
        assert!(parse_yaml("- targets: [a", &SOURCE).is_err());
    }
}
