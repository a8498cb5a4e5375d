//! Manifests: YAML documents as JSON trees, and access to them by path. This module has no code for specific kinds of
//! object.

use std::path::Path;

use otelcore_config::{ConfigNode, Diagnostics, NodeValue as Yaml, from_yaml};
use serde_json::{Map, Number, Value};

/// The documents of a manifest, in order; empty ones are left out.
///
/// # Panics
/// If the text is not YAML: with the reader's message.
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

/// Reads one document. A `$` has no special meaning in a manifest, so it is escaped for the reader of configurations.
///
/// # Panics
/// If the text is not YAML.
pub fn yaml(text: &str) -> Value {
    let diagnostics = Diagnostics::new();
    let node = from_yaml(&text.replace('$', "$$"), &diagnostics);
    assert!(!diagnostics.has_errors(), "{}\nin\n{text}", diagnostics.render_to_string(false));
    json(&node.unwrap())
}

fn json(node: &ConfigNode) -> Value {
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

/// The documents of a folder's `kustomization.yaml`: its resources, in files and other folders, moved to its
/// `namespace` and changed by its JSON `patches`. `images` is ignored; any other key of kustomize is refused.
///
/// # Panics
/// If a file is missing, or has another key.
pub fn kustomization(folder: &Path) -> Vec<Value> {
    let file = folder.join("kustomization.yaml");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let document = yaml(&read(&file));
    for key in document.as_object().unwrap().keys() {
        let known = ["apiVersion", "kind", "resources", "images", "namespace", "patches"].contains(&key.as_str());
        assert!(known, "{}: {key} is not read here", file.display());
    }
    let load_resource = |resource: &Value| {
        let path = folder.join(resource.as_str().unwrap_or_default());
        if path.is_dir() { kustomization(&path) } else { documents(&read(&path)) }
    };
    let mut all: Vec<Value> = list(&document, "resources").iter().flat_map(load_resource).collect();
    if let Some(namespace) = document.get("namespace") {
        all.iter_mut()
            .filter(|d| text(d, "kind") != "Namespace")
            .for_each(|d| d["metadata"]["namespace"] = namespace.clone());
    }
    for entry in list(&document, "patches") {
        let (kind, name) = (text(entry, "target.kind"), text(entry, "target.name"));
        let mut targets = all.iter_mut().filter(|d| text(d, "kind") == kind && text(d, "metadata.name") == name);
        let target = targets.next().unwrap_or_else(|| panic!("{}: there is no {kind} {name}", file.display()));
        let source = text(entry, "path");
        let changes =
            if source.is_empty() { yaml_list(text(entry, "patch")) } else { yaml_list(&read(&folder.join(source))) };
        changes.iter().for_each(|change| apply_patch(target, change));
    }
    all
}

/// Reads a document that is a list: the reader of configurations needs a map.
fn yaml_list(text: &str) -> Vec<Value> {
    let inner: String = text.lines().map(|line| format!("  {line}\n")).collect();
    list(&yaml(&format!("list:\n{inner}")), "list").to_vec()
}

/// Applies one change of RFC 6902: `add`, `replace` or `remove`.
fn apply_patch(target: &mut Value, change: &Value) {
    let (path, value) = (text(change, "path"), at(change, "value").clone());
    let (parent, key) = path.rsplit_once('/').unwrap_or_else(|| panic!("{change}"));
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = target.pointer_mut(parent).unwrap_or_else(|| panic!("nothing is at {path}"));
    match (text(change, "op"), parent) {
        ("add" | "replace", Value::Object(map)) => drop(map.insert(key, value)),
        ("remove", Value::Object(map)) => assert!(map.remove(&key).is_some(), "nothing is at {path}"),
        ("add", Value::Array(items)) => items.insert(key.parse().unwrap_or(items.len()), value),
        ("replace", Value::Array(items)) => items[key.parse::<usize>().unwrap()] = value,
        ("remove", Value::Array(items)) => drop(items.remove(key.parse().unwrap())),
        _ => panic!("a patch that is not read here: {change}"),
    }
}

/// The components of a collector's configuration: section, id, and the line of the id.
///
/// # Panics
/// If the text is not YAML.
pub fn components(configuration: &str) -> Vec<(String, String, u32)> {
    let diagnostics = Diagnostics::new();
    let node = from_yaml(&configuration.replace('$', "$$"), &diagnostics).unwrap();
    let mut found = Vec::new();
    for section in ["receivers", "processors", "exporters", "connectors", "extensions"] {
        if let Some(map) = node.get_path(section).and_then(ConfigNode::as_map) {
            found.extend(map.iter().map(|e| (section.to_owned(), e.key.to_string(), e.key_origin.line)));
        }
    }
    found
}

/// Follows a path such as `spec.template.spec`; `Null` if a part of it is missing.
pub fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// The string at a path, or `""`.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The number at a path, or the given default.
pub fn number(value: &Value, path: &str, default: u64) -> u64 {
    at(value, path).as_u64().unwrap_or(default)
}

/// The list at a path, or an empty one.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The entries of the map at a path, values as strings.
pub fn entries(value: &Value, path: &str) -> Vec<(String, String)> {
    let as_text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    at(value, path).as_object().map_or_else(Vec::new, |map| map.iter().map(|(k, v)| (k.clone(), as_text(v))).collect())
}

/// Every path of keys below a value, lists as `[]`: the structure of the value.
pub fn key_paths(value: &Value) -> Vec<String> {
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
    fn dollar_signs_of_a_manifest_are_unchanged() {
        let docs = documents("a: ${env:X}\nb: $$literal $${env:NO} $(Y)\n---\n# nothing\n---\nc: [1, 1.5, 'x']\n");
        assert_eq!(text(&docs[0], "a"), "${env:X}");
        assert_eq!(text(&docs[0], "b"), "$$literal $${env:NO} $(Y)");
        assert_eq!(docs.len(), 2);
        assert_eq!(docs[1].to_string(), r#"{"c":[1,1.5,"x"]}"#);
    }

    #[test]
    fn patch_changes_only_its_target() {
        let mut target = yaml("{a: {b: [1, 2], 'c/d': 3}, e: 4}");
        let changes = "- {op: add, path: /a/b/1, value: 9}\n- {op: remove, path: /e}\n- {op: replace, path: /a/c~1d, value: {}}\n";
        yaml_list(changes).iter().for_each(|change| apply_patch(&mut target, change));
        assert_eq!(target, yaml("{a: {b: [1, 9, 2], 'c/d': {}}}"));
    }

    #[test]
    fn key_paths_include_nested_lists_and_maps() {
        assert_eq!(key_paths(&yaml("a: {b: [{c: 1}, {d: 2}]}")), [".a", ".a.b", ".a.b[].c", ".a.b[].d"]);
    }
}
