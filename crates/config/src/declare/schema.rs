//! JSON Schema (draft 2020-12) of declared types.
//!
//! A schema accepts what the reader accepts: null for every key, `${..}` in place of every value, and old keys.

use std::collections::BTreeMap;

use super::field::{Comparison, Rule};
use super::{Field, Shape, Status};
use crate::{EffectiveValue, OptionalFlavor};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A text with a `${..}` in it, whose value is not known before the configuration is read.
const EXPANSION: &str = r"\$\{";
/// Durations of Go that are not negative.
const DURATION: &str = r"(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)";

fn text(text: impl Into<String>) -> EffectiveValue {
    EffectiveValue::Str(text.into())
}

fn map<const N: usize>(entries: [(&str, EffectiveValue); N]) -> BTreeMap<String, EffectiveValue> {
    let mut map = BTreeMap::new();
    map.extend(entries.into_iter().map(|(key, value)| (key.to_owned(), value)));
    map
}

fn types(names: &[&str]) -> EffectiveValue {
    EffectiveValue::List(names.iter().map(|name| text(*name)).collect())
}

/// The schema of a component or of the whole configuration, as a document of its own. `properties` are those of
/// [`object`].
#[must_use]
pub fn schema(title: &str, description: &str, object: EffectiveValue) -> EffectiveValue {
    let mut document = map([("$schema", text(DRAFT)), ("title", text(title)), ("description", text(description))]);
    if let EffectiveValue::Map(object) = object {
        document.extend(object);
    }
    EffectiveValue::Map(document)
}

/// An object with these keys. `others` is the schema of further keys; without it there are none.
#[must_use]
pub fn object(fields: &[Field], others: Option<EffectiveValue>) -> EffectiveValue {
    let properties = fields.iter().flat_map(|field| {
        let own = described(field);
        let old = field.old_key.map(|(old, instead)| (old, outdated(own.clone(), instead)));
        [(field.key, own)].into_iter().chain(old)
    });
    let properties = properties.map(|(key, schema)| (key.to_owned(), schema)).collect();
    EffectiveValue::Map(map([
        ("type", text("object")),
        ("properties", EffectiveValue::Map(properties)),
        ("additionalProperties", others.unwrap_or(EffectiveValue::Bool(false))),
    ]))
}

/// Lets a value also be null or a `${..}`, as every value of a configuration can.
#[must_use]
pub fn expandable(schema: EffectiveValue) -> EffectiveValue {
    let EffectiveValue::Map(mut schema) = schema else { return schema };
    let mut names = match schema.remove("type") {
        Some(EffectiveValue::List(names)) => names,
        Some(name) => vec![name],
        None => return EffectiveValue::Map(schema),
    };
    let string = text("string");
    if !names.contains(&string) {
        names.push(string);
        schema.insert("pattern".to_owned(), text(EXPANSION));
    }
    names.push(text("null"));
    schema.insert("type".to_owned(), EffectiveValue::List(names));
    EffectiveValue::Map(schema)
}

fn outdated(schema: EffectiveValue, instead: &str) -> EffectiveValue {
    let EffectiveValue::Map(mut schema) = schema else { return schema };
    schema.insert("deprecated".to_owned(), EffectiveValue::Bool(true));
    schema.insert("description".to_owned(), text(format!("Deprecated: write {instead}.")));
    schema.remove("default");
    EffectiveValue::Map(schema)
}

/// The schema of the value of one key.
#[must_use]
pub fn described(field: &Field) -> EffectiveValue {
    let mut schema = match value(&field.shape, &field.rules) {
        EffectiveValue::Map(schema) => schema,
        _ => BTreeMap::new(),
    };
    let mut description = super::reference::plain(&field.doc);
    let mut add = |sentence: String| {
        if !description.is_empty() {
            description.push(' ');
        }
        description.push_str(&sentence);
    };
    if let Some(unit) = field.unit {
        add(format!("Unit: {unit}."));
    }
    match field.status {
        Status::Used => {}
        Status::Deprecated(instead) => {
            add(format!("Deprecated: write {instead}."));
            schema.insert("deprecated".to_owned(), EffectiveValue::Bool(true));
        }
        Status::NoEffect(reason, _) => add(format!("No effect: {reason}.")),
        Status::Unsupported(sentence) => {
            add(format!("Not supported: {sentence}."));
            schema = nothing();
        }
    }
    schema.insert("description".to_owned(), text(description));
    match (&field.default, &field.shape) {
        (_, Shape::Section { .. } | Shape::Optional { .. } | Shape::Map(_) | Shape::Headers) => {}
        (EffectiveValue::Null | EffectiveValue::Opaque(_), _) => {}
        (EffectiveValue::Duration(default), _) => drop(schema.insert("default".to_owned(), text(default.to_string()))),
        (default, _) => drop(schema.insert("default".to_owned(), default.clone())),
    }
    EffectiveValue::Map(schema)
}

/// What a key that is not supported can be: values that turn nothing on.
fn nothing() -> BTreeMap<String, EffectiveValue> {
    let empty = [
        EffectiveValue::Null,
        EffectiveValue::Bool(false),
        EffectiveValue::List(Vec::new()),
        EffectiveValue::Map(BTreeMap::new()),
    ];
    let off = map([("enabled", EffectiveValue::Map(map([("const", EffectiveValue::Bool(false))])))]);
    let disabled = map([
        ("type", text("object")),
        ("properties", EffectiveValue::Map(off)),
        ("required", EffectiveValue::List(vec![text("enabled")])),
    ]);
    let either =
        [EffectiveValue::Map(map([("enum", EffectiveValue::List(empty.to_vec()))])), EffectiveValue::Map(disabled)];
    map([("anyOf", EffectiveValue::List(either.to_vec()))])
}

fn value(shape: &Shape, rules: &[Rule]) -> EffectiveValue {
    EffectiveValue::Map(match shape {
        Shape::Any => BTreeMap::new(),
        Shape::Str | Shape::Secret => map([("type", types(&["string", "null"]))]),
        Shape::Duration => duration(rules),
        Shape::OneOf(words) => {
            let words = words.iter().map(|word| text(*word)).chain([EffectiveValue::Null]).collect();
            let expansion = map([("type", text("string")), ("pattern", text(EXPANSION))]);
            let either =
                [EffectiveValue::Map(map([("enum", EffectiveValue::List(words))])), EffectiveValue::Map(expansion)];
            map([("anyOf", EffectiveValue::List(either.to_vec()))])
        }
        Shape::Words => map([
            ("type", types(&["array", "string", "null"])),
            ("items", EffectiveValue::Map(map([("type", types(&["string", "null"]))]))),
        ]),
        Shape::Headers => map([
            ("type", types(&["object", "array", "null"])),
            ("additionalProperties", EffectiveValue::Map(map([("type", types(&["string", "null"]))]))),
            ("items", object(&["name", "value"].map(|key| Field::described(key, &[], &String::new())), None)),
        ]),
        other => return expandable(EffectiveValue::Map(strict(other, rules))),
    })
}

/// The schema of a value that is no text.
fn strict(shape: &Shape, rules: &[Rule]) -> BTreeMap<String, EffectiveValue> {
    let mut schema = match shape {
        Shape::Bool => map([("type", text("boolean"))]),
        Shape::Int { min, max } => {
            let mut schema = map([("type", text("integer"))]);
            if *min > i64::MIN.into() {
                schema.insert("minimum".to_owned(), EffectiveValue::Int(*min));
            }
            if *max < i64::MAX.into() {
                schema.insert("maximum".to_owned(), EffectiveValue::Int(*max));
            }
            schema
        }
        Shape::Float => map([("type", text("number"))]),
        Shape::List(inner) => map([("type", text("array")), ("items", value(inner, &[]))]),
        Shape::TextsOrList(inner) => {
            let either = vec![value(&Shape::Str, &[]), value(inner, &[])];
            let items = EffectiveValue::Map(map([("anyOf", EffectiveValue::List(either))]));
            map([("type", text("array")), ("items", items)])
        }
        Shape::Map(inner) => map([("type", text("object")), ("additionalProperties", value(inner, &[]))]),
        Shape::Section { fields, others } => {
            let others = others.as_deref().map(|others| value(others, &[]));
            return into_map(object(fields, others));
        }
        Shape::Optional { fields, flavor } => return optional(fields, *flavor),
        _ => BTreeMap::new(),
    };
    for rule in rules {
        let name = match rule.comparison {
            Comparison::AtLeast => "minimum",
            Comparison::Above => "exclusiveMinimum",
            Comparison::AtMost => "maximum",
        };
        schema.insert(name.to_owned(), rule.bound.value());
    }
    schema
}

fn into_map(value: EffectiveValue) -> BTreeMap<String, EffectiveValue> {
    if let EffectiveValue::Map(map) = value { map } else { BTreeMap::new() }
}

/// An object with its keys and `enabled`.
fn optional(fields: &[Field], flavor: OptionalFlavor) -> BTreeMap<String, EffectiveValue> {
    let mut schema = into_map(object(fields, None));
    if let Some(EffectiveValue::Map(properties)) = schema.get_mut("properties") {
        properties.entry("enabled".to_owned()).or_insert_with(|| {
            let state = match flavor {
                OptionalFlavor::Some => "The section is on unless this is false.",
                OptionalFlavor::Default => {
                    "The section is off when it is absent. False turns it off where it is written."
                }
                OptionalFlavor::None => {
                    "The section is off when it is absent or null. False turns it off where it is written."
                }
            };
            let switch =
                map([("type", text("boolean")), ("default", EffectiveValue::Bool(true)), ("description", text(state))]);
            EffectiveValue::Map(switch)
        });
    }
    schema
}

fn duration(rules: &[Rule]) -> BTreeMap<String, EffectiveValue> {
    let mut schema = map([("type", types(&["string", "integer", "null"]))]);
    let is_signed = !rules.iter().any(|rule| rule.comparison != Comparison::AtMost);
    for rule in rules.iter().filter(|rule| rule.comparison != Comparison::AtMost) {
        let name = if rule.comparison == Comparison::Above { "exclusiveMinimum" } else { "minimum" };
        schema.insert(name.to_owned(), rule.bound.value());
    }
    let sign = if is_signed { "[-+]?" } else { "[+]?" };
    schema.insert("pattern".to_owned(), text(format!(r"^{sign}{DURATION}$|{EXPANSION}")));
    schema
}
