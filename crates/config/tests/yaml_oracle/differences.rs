//! Where the tree differs from serde_norway, because Go's yaml.v3 does. Each row is tested against both, so that none
//! stays that is no difference any more.

use serde_norway::{Number, Value};

use super::{documents, expected};

/// A scalar after `a: `, what it is in a configuration, and why serde_norway reads another value.
fn scalars() -> Vec<(&'static str, Value, &'static str)> {
    let int = |v: u64| Value::Number(v.into());
    let float = |v: f64| Value::Number(Number::from(v));
    vec![
        ("0123", int(83), "yaml.v3 keeps the octal numbers of YAML 1.1"),
        ("0777_7", int(4095), "as above, with an underscore"),
        ("1_000", int(1000), "yaml.v3 keeps the underscores of YAML 1.1"),
        ("1_0.5", float(10.5), "as above"),
        ("089", float(89.0), "not an octal number, but a number by yaml.v3's pattern for floats"),
        ("-09", float(-9.0), "as above"),
        ("!!null ''", Value::Null, "yaml.v3 converts an empty text in quotes by its tag; serde_norway refuses it"),
    ]
}

fn only(text: &str, read: fn(&str) -> Option<Vec<Value>>) -> Option<Value> {
    let mut documents = read(text)?;
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).get("a").cloned()
}

#[test]
fn scalar_that_go_reads_in_another_way_is_a_row() {
    for (text, want, why) in scalars() {
        let document = format!("a: {text}\n");
        assert_eq!(only(&document, documents), Some(want.clone()), "{text}: {why}");
        assert_ne!(only(&document, expected), Some(want), "{text} is no difference: {why}");
    }
}

#[test]
fn scalar_that_no_rule_changes_is_equal() {
    let texts = [
        "0",
        "-0",
        "+5",
        "12",
        "-12",
        "0x1f",
        "-0x1F",
        "0o17",
        "0b101",
        "1.5",
        "-1.5",
        ".5",
        "5.",
        "1e3",
        "1E+3",
        "1e-3",
        ".inf",
        "-.INF",
        ".nan",
        "18446744073709551615",
        "-9223372036854775808",
        "1e400",
        "true",
        "True",
        "FALSE",
        "tRUE",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "~",
        "null",
        "NULL",
        "nUll",
        "",
        "0x",
        "0b2",
        "0o8",
        "+",
        "-",
        ".",
        "1:30",
        "2001-01-01",
        "0.0.0.0:4317",
        "a b",
        "12é",
        "_1",
        "1e",
        "NaN",
        "inf",
    ];
    let mut failed = Vec::new();
    for text in texts {
        let document = format!("a: {text}\n");
        let (found, want) = (only(&document, documents), only(&document, expected));
        if found != want {
            failed.push(format!("{text}: {found:?}, serde_norway: {want:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn key_that_is_not_text_becomes_text_and_a_private_tag_is_ignored() {
    let text = "1: a\ntrue: b\n0x10: c\n~: d\ne: !private f\n";
    let Some([Value::Mapping(map)]) = documents(text).as_deref().map(|d| <&[Value; 1]>::try_from(d).unwrap().clone())
    else {
        panic!("{text}")
    };
    let found: Vec<_> = map.iter().map(|(k, v)| (k.as_str().unwrap(), v.as_str().unwrap())).collect();
    assert_eq!(found, [("1", "a"), ("true", "b"), ("16", "c"), ("~", "d"), ("e", "f")]);
    let theirs: Value = serde_norway::from_str(text).unwrap();
    let keys: Vec<_> = theirs.as_mapping().unwrap().keys().map(Value::is_string).collect();
    assert_eq!(keys, [false, false, false, false, true], "keys keep their types there");
    assert!(matches!(theirs.get("e"), Some(Value::Tagged(_))), "and tags are kept");
}
