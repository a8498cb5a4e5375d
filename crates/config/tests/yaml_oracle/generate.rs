//! Generated YAML: a tree of values, written in random styles. Only forms that have the same meaning in YAML 1.1 and
//! 1.2 and in Go.

use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Tree {
    Scalar(String),
    /// Text in a block; literal or folded, and its chomping.
    Block(Vec<String>, &'static str),
    List(Vec<Self>, bool),
    Map(Vec<Self>, bool),
}

/// A text with one document.
pub(crate) fn document() -> impl Strategy<Value = String> {
    tree().prop_map(|tree| {
        let mut out = String::new();
        write(&mut out, &tree, 0, false);
        out.push('\n');
        out
    })
}

fn scalar() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "word",
        "two words",
        "true",
        "False",
        "null",
        "~",
        "0",
        "42",
        "-7",
        "1.5",
        "-2.5e3",
        "0x1f",
        "0o17",
        ".inf",
        "yes",
        "http://a:1/b?c=d",
        "${env:A:-b}",
        "a#b",
        "1:30",
        "é",
        "10s",
        "a,b",
    ])
    .prop_map(str::to_owned);
    let text = "[ -~é]{0,12}";
    let single = text.prop_map(|text: String| format!("'{}'", text.replace('\'', "''")));
    let double = text.prop_map(|text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    let escaped = prop::sample::select(vec!["\"\\n\\t\\u00e9\"", "\"\\x41\\0\"", "\"a\\\\b\""]).prop_map(str::to_owned);
    prop_oneof![4 => plain, 2 => single, 2 => double, 1 => escaped]
}

fn tree() -> impl Strategy<Value = Tree> {
    let block = (
        prop::collection::vec("[a-z]{1,6}( [a-z:#]{1,5})?|", 1..4),
        prop::sample::select(vec!["|", "|-", "|+", ">", ">-"]),
    )
        .prop_map(|(lines, header)| Tree::Block(lines, header));
    let leaf = prop_oneof![6 => scalar().prop_map(Tree::Scalar), 1 => block];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let items = prop::collection::vec(inner, 0..5);
        (items, any::<bool>(), any::<bool>())
            .prop_map(|(items, flow, map)| if map { Tree::Map(items, flow) } else { Tree::List(items, flow) })
    })
}

/// Keys in several forms; the position makes them distinct.
fn key(i: usize) -> String {
    match i % 4 {
        0 => format!("key{i}"),
        1 => format!("'k {i}'"),
        2 => format!("\"k{i}\""),
        _ => format!("a.b/{i}"),
    }
}

/// Writes a value after a dash or a key, or at the start of a line.
fn write(out: &mut String, tree: &Tree, indent: usize, in_flow: bool) {
    match tree {
        Tree::Scalar(text) => out.push_str(&scalar_for(text, in_flow)),
        // A block has no place in a flow collection.
        Tree::Block(lines, _) if in_flow => out.push_str(&format!("'{}'", lines.join(" ").trim())),
        Tree::Block(lines, header) => {
            out.push_str(header);
            // Leading empty lines would leave the indentation open.
            for line in lines.iter().skip_while(|line| line.is_empty()) {
                out.push('\n');
                if !line.is_empty() {
                    out.push_str(&" ".repeat(indent + 2));
                    out.push_str(line);
                }
            }
        }
        Tree::List(items, flow) if *flow || in_flow || items.is_empty() => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(out, item, indent, true);
            }
            out.push(']');
        }
        Tree::Map(items, flow) if *flow || in_flow || items.is_empty() => {
            out.push('{');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                out.push_str(&key(i));
                out.push_str(": ");
                write(out, item, indent, true);
            }
            out.push('}');
        }
        Tree::List(items, _) => {
            for item in items {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                out.push_str("- ");
                write(out, item, indent + 2, false);
            }
        }
        Tree::Map(items, _) => {
            for (i, item) in items.iter().enumerate() {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                out.push_str(&key(i));
                out.push_str(": ");
                write(out, item, indent + 2, false);
            }
        }
    }
}

/// Commas and colons would end a plain scalar in a flow collection.
fn scalar_for(text: &str, in_flow: bool) -> String {
    let plain = !text.starts_with(['\'', '"']);
    if plain && in_flow && text.contains([',', ':', '{', '}', '?']) { format!("'{text}'") } else { text.to_owned() }
}
