//! The tree that YAML becomes, compared with serde_norway (the maintained fork of `serde_yaml`, on libyaml): values of
//! generated texts and of every YAML file of the project are equal. Where Go's YAML has another meaning, the difference
//! is a row in [`differences`], so that each is tested.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, missing_docs, reason = "a test")]

mod differences;
mod generate;

use std::fs;
use std::path::{Path, PathBuf};

use otelcore_config::{ConfigNode, Diagnostics, NodeValue, SourceText, parse_documents};
use proptest::prelude::*;
use serde::Deserialize;
use serde_norway::{Mapping, Number, Value};

/// The documents of a text as this crate reads them; `None` for a text that is refused.
fn documents(text: &str) -> Option<Vec<Value>> {
    let d = Diagnostics::new();
    let documents = parse_documents(&SourceText::new("test", text), &d);
    (!d.has_errors()).then(|| documents.iter().map(value).collect())
}

fn value(node: &ConfigNode) -> Value {
    match &node.value {
        NodeValue::Null => Value::Null,
        NodeValue::Bool(v) => Value::Bool(*v),
        NodeValue::Int(v) => {
            Value::Number(i64::try_from(*v).map(Number::from).or_else(|_| u64::try_from(*v).map(Number::from)).unwrap())
        }
        NodeValue::Float(v) => Value::Number(Number::from(*v)),
        NodeValue::Str(v) => Value::String(v.to_string()),
        NodeValue::List(items) => Value::Sequence(items.iter().map(value).collect()),
        NodeValue::Map(map) => {
            Value::Mapping(map.iter().map(|e| (Value::String(e.key.to_string()), value(&e.node))).collect())
        }
    }
}

/// The documents of a text as serde_norway reads them, with merge keys applied; `None` for a text that it refuses.
fn expected(text: &str) -> Option<Vec<Value>> {
    let read = |document| {
        let mut value = Value::deserialize(document).ok()?;
        value.apply_merge().ok()?;
        Some(with_text_keys(value))
    };
    serde_norway::Deserializer::from_str(text).map(read).collect()
}

/// What every document differs in, see `differences`: keys are text, and private tags are ignored.
fn with_text_keys(value: Value) -> Value {
    let key = |key| match key {
        Value::Bool(v) => Value::String(v.to_string()),
        Value::Number(v) => Value::String(v.to_string()),
        Value::Null => Value::String("null".to_owned()),
        other => other,
    };
    match value {
        Value::Sequence(items) => Value::Sequence(items.into_iter().map(with_text_keys).collect()),
        Value::Mapping(map) => {
            Value::Mapping(map.into_iter().map(|(k, v)| (key(k), with_text_keys(v))).collect::<Mapping>())
        }
        Value::Tagged(tagged) => with_text_keys(tagged.value),
        other => other,
    }
}

#[track_caller]
fn assert_equal(text: &str) {
    assert_eq!(documents(text), expected(text), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn generated_text_has_the_same_values(text in generate::document()) {
        let found = documents(&text);
        prop_assert!(found.is_some(), "refused:\n{text}");
        prop_assert_eq!(found, expected(&text), "{}", text);
    }
}

#[test]
fn anchor_alias_and_merge_key_have_the_same_values() {
    for text in [
        "a: &x {b: 1, c: [1, 2]}\nd: *x\ne: {<<: *x, b: 2}\n",
        "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y], f: 4}\n",
        "a: &x {b: 1}\nc:\n  b: 5\n  <<: *x\n",
        "- &a text\n- *a\n- {k: *a}\n",
    ] {
        assert_equal(text);
    }
}

#[test]
fn scalar_style_and_layout_have_the_same_values() {
    for text in [
        "a: |\n  one\n   two\n\n  three\nb: 1\n",
        "a: |-\n  one\n\nb: >+\n  one\n  two\n\n",
        "a: >\n  one\n  two\n\n    more\n  three\n",
        "a: |2\n   one\n",
        "a: 'it''s'\nb: \"\\u00e9\\n\\x41\\\n  joined\"\n",
        "a: one\n  two\n\n  three\n",
        "a: [1, 'b', {c: d}, [e]] # comment\nb: {c: , d: null}\n",
        "- - a\n  - b\n-\n  - c\n- d: e\n  f:\n  - g\n",
        "? a\n: b\n? c\n: - d\n",
        "a:\n- b\n- c\n",
        "--- a\n---\nb: c\n...\n---\n- d\n",
        "\u{feff}a: b\n",
        "a: b\r\nc:\r\n  - d\r\n",
        "a: http://host:4317/path#fragment\nb: a #comment\n",
        "\"quoted key\": 1\n'another': 2\n",
        "a: !!str 12\nb: !!float 1.5\nc: !!int \"12\"\n",
    ] {
        assert_equal(text);
    }
}

#[test]
fn text_that_is_not_yaml_is_refused_by_both() {
    for text in
        ["a: [1", "a: 'b", "a: b: c", "*x", "a: *x", "{a: b", "- a\nb: c", "a: @b", "a: \"\\q\"", "a: 1\na: 2\n"]
    {
        assert_eq!((documents(text), expected(text)), (None, None), "{text}");
    }
}

/// Files below a folder with a YAML name; not below `target` and what package managers install.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            found.push(path);
        }
    }
}

#[test]
fn yaml_file_of_the_project_has_the_same_values() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in [
        "benches/collectors",
        "crates/kubernetes/tests",
        "crates/otelcore/src",
        "deploy",
        "examples",
        "tests/pods/vectors",
    ] {
        yaml_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 40, "{} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(documents(&text), expected(&text), "{}", file.display());
    }
}
