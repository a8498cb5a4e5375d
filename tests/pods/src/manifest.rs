//! Manifests: YAML documents as JSON trees, and ways into them. It knows no kind of object.

use otelcore_config::{Diagnostics, Node, Value as Yaml, from_yaml};
use serde_json::{Map, Number, Value};

/// The documents of a manifest, in order; empty ones are left out.
///
/// # Panics
/// Where the text is not YAML: with what the reader says.
pub fn documents(text: &str) -> Vec<Value> {
    let mut pieces = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            pieces.push(String::new());
        } else if let Some(piece) = pieces.last_mut() {
            piece.push_str(line);
            piece.push('\n');
        }
    }
    let empty = |piece: &String| piece.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
    pieces.iter().filter(|piece| !empty(piece)).map(|piece| yaml(piece)).collect()
}

/// One document. A `$` means nothing in a manifest, so that it is hidden from the reader of configurations.
///
/// # Panics
/// Where the text is not YAML.
pub fn yaml(text: &str) -> Value {
    let said = Diagnostics::new();
    let node = from_yaml(&text.replace('$', "$$"), &said);
    assert!(!said.has_errors(), "{}\nin\n{text}", said.to_text(false));
    json(&node.unwrap())
}

fn json(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => Value::Bool(*b),
        Yaml::Int(i) => i64::try_from(*i).map_or(Value::Null, Value::from),
        Yaml::Float(f) => Number::from_f64(*f).map_or(Value::Null, Value::Number),
        Yaml::Str(s) => Value::String(s.to_string()),
        Yaml::List(items) => items.iter().map(json).collect(),
        Yaml::Map(map) => Value::Object(map.iter().map(|e| (e.key.to_string(), json(&e.node))).collect::<Map<_, _>>()),
    }
}

/// Follows a path such as `spec.template.spec`; `Null` where it ends.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// The string at a path, or `""`.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The number at a path, or what to take instead.
pub fn number(value: &Value, path: &str, or: u64) -> u64 {
    at(value, path).as_u64().unwrap_or(or)
}

/// The list at a path, or nothing.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The entries of the map at a path, values as strings.
pub fn entries(value: &Value, path: &str) -> Vec<(String, String)> {
    let word = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    at(value, path).as_object().map_or_else(Vec::new, |map| map.iter().map(|(k, v)| (k.clone(), word(v))).collect())
}

/// Every path of keys below a value, lists as `[]`: the shape of it.
pub fn paths(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let path = format!("{at}.{key}");
                    found.push(path.clone());
                    walk(value, &path, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, &format!("{at}[]"), found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_of_a_manifest_stay_as_they_are() {
        let docs = documents("a: ${env:X}\nb: $$literal $${env:NO} $(Y)\n---\n# nothing\n---\nc: [1, 1.5, 'x']\n");
        assert_eq!(text(&docs[0], "a"), "${env:X}");
        assert_eq!(text(&docs[0], "b"), "$$literal $${env:NO} $(Y)");
        assert_eq!(docs.len(), 2);
        assert_eq!(docs[1].to_string(), r#"{"c":[1,1.5,"x"]}"#);
    }

    #[test]
    fn a_shape_is_the_paths_of_the_keys() {
        assert_eq!(paths(&yaml("a: {b: [{c: 1}, {d: 2}]}")), [".a", ".a.b", ".a.b[].c", ".a.b[].d"]);
    }
}
