//! What statements change.

use otelcore_pdata::Value as Tree;

use crate::State;
use crate::testing::{Item, execute};

/// The value of an attribute after a statement.
fn after(statement: &str, key: &str) -> Option<Tree> {
    let mut item = Item::new();
    assert_eq!(execute(&mut item, &mut State::default(), statement), Ok(true), "{statement}");
    item.attributes.into_iter().find(|(found, _)| found == key.as_bytes()).map(|(_, value)| value)
}

fn text(v: &str) -> Tree {
    Tree::String(v.as_bytes().to_vec())
}

#[test]
fn set_writes_the_value_of_an_expression() {
    for (statement, key, value) in [
        ("set(attributes[\"new\"], \"x\")", "new", text("x")),
        ("set(attributes[\"int\"], attributes[\"int\"] + 1)", "int", Tree::Int(6)),
        ("set(attributes[\"string\"], name)", "string", text("GET /")),
        ("set(attributes[\"new\"], attributes[\"ints\"])", "new", Tree::Array(vec![Tree::Int(1), Tree::Int(2)])),
        ("set(attributes[\"new\"], [1, nil, [true]])", "new", {
            Tree::Array(vec![Tree::Int(1), Tree::Empty, Tree::Array(vec![Tree::Bool(true)])])
        }),
        ("set(attributes[\"new\"], {\"a\": name, \"a\": 0x01})", "new", {
            Tree::Map(vec![(b"a".to_vec(), Tree::Bytes(vec![1]))])
        }),
        ("set(attributes[\"new\"], Split())", "new", Tree::Array(vec![text("x"), text("y")])),
        ("set(attributes[\"new\"], KIND_TWO)", "new", Tree::Int(2)),
        ("set(value=2, target=attributes[\"new\"])", "new", Tree::Int(2)),
    ] {
        assert_eq!(after(statement, key), Some(value), "{statement}");
    }
}

#[test]
fn set_to_nil_changes_nothing() {
    assert_eq!(after("set(attributes[\"string\"], nil)", "string"), Some(text("a")));
    assert_eq!(after("set(attributes[\"string\"], attributes[\"missing\"])", "string"), Some(text("a")));
    assert_eq!(after("set(attributes[\"new\"], nil)", "new"), None);
}

#[test]
fn keys_that_are_missing_on_the_way_are_added() {
    let map = |key: &str, value| Tree::Map(vec![(key.as_bytes().to_vec(), value)]);
    assert_eq!(after("set(attributes[\"a\"][\"b\"][\"c\"], 1)", "a"), Some(map("b", map("c", Tree::Int(1)))));
    let list = Tree::Array(vec![Tree::Empty, Tree::Empty, map("b", Tree::Int(1))]);
    assert_eq!(after("set(attributes[\"a\"][2][\"b\"], 1)", "a"), Some(list));
    let ints = Tree::Array(vec![Tree::Int(1), Tree::Int(9)]);
    assert_eq!(after("set(attributes[\"ints\"][1], 9)", "ints"), Some(ints));
    assert_eq!(after("set(attributes[name][status.code], 1)", "GET /").map(|value| value.depth()), Some(2));
}

#[test]
fn set_that_is_refused_says_why() {
    for (statement, message) in [
        ("set(attributes[\"ints\"][2], 1)", "index 2 out of bounds"),
        ("set(attributes[\"int\"][\"a\"], 1)", "type Int does not support string indexing"),
        ("set(attributes[\"a\"][100000], 1)", "index 100000 is above 65536, the largest in a list that is new"),
        ("set(attributes[\"a\"], start_time)", "unsupported type time.Time for set operation"),
        ("set(attributes, 1)", "unsupported type provided for setting a pcommon.Map: int64"),
        ("set(cache, \"a\")", "unsupported type provided for setting a pcommon.Map: string"),
        ("clear(attributes[\"int\"])", "expected pcommon.Map but got int64"),
        ("clear(attributes[\"missing\"])", "expected pcommon.Map but got nil"),
    ] {
        let error = execute(&mut Item::new(), &mut State::default(), statement).expect_err(statement);
        assert_eq!(error.to_string(), message, "{statement}");
    }
}

#[test]
fn value_nested_above_the_limit_is_refused() {
    let mut item = Item::new();
    let mut state = State::default();
    for _ in 0..98 {
        assert_eq!(execute(&mut item, &mut state, "set(attributes[\"map\"], {\"a\": attributes[\"map\"]})"), Ok(true));
    }
    let mut last = Ok(true);
    for _ in 0..4 {
        last = execute(&mut item, &mut state, "set(attributes[\"map\"], {\"a\": attributes[\"map\"]})");
    }
    assert_eq!(last.expect_err("too deep").to_string(), "the value is nested more than 100 deep");
}

#[test]
fn map_is_changed_in_place() {
    assert_eq!(after("clear(attributes[\"map\"])", "map"), Some(Tree::Map(Vec::new())));
    assert_eq!(after("clear(attributes)", "string"), None);
}

#[test]
fn cache_is_kept_from_statement_to_statement() {
    let (mut item, mut state) = (Item::new(), State::default());
    for statement in [
        "set(cache[\"a\"][\"b\"], name)",
        "set(cache[\"n\"], 1) where cache[\"a\"][\"b\"] == \"GET /\"",
        "set(attributes[\"out\"], cache[\"n\"] + 1)",
        "set(span.cache[\"copy\"], cache)",
    ] {
        assert_eq!(execute(&mut item, &mut state, statement), Ok(true), "{statement}");
    }
    assert_eq!(item.attributes.last().map(|(_, value)| value), Some(&Tree::Int(2)));
    assert_eq!(state.cache.len(), 3);
    assert_eq!(execute(&mut item, &mut state, "clear(cache)"), Ok(true));
    assert!(state.cache.is_empty());
    assert_eq!(execute(&mut item, &mut state, "set(cache, attributes)"), Ok(true));
    assert_eq!(state.cache.len(), item.attributes.len());
    state.clear_cache();
    assert_eq!(execute(&mut item, &mut state, "set(name, \"x\") where cache[\"int\"] != nil"), Ok(false));
}
