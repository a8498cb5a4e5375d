//! From URIs to one tree: fetch, parse, merge in order, expand.
//!
//! Schemes are `file:`, `env:`, `yaml:`, `http:` and `https:`; what they read comes from the [`ConfigSources`] that the
//! caller passes in. A key of a source that contains `::` becomes nested maps. Every mistake is added to
//! [`Diagnostics`].

use std::sync::Arc;

use crate::diagnostics::{DiagnosticKind, Diagnostics};
use crate::expand;
use crate::feature_gates::FeatureGates;
use crate::merge::merge;
use crate::node::{ConfigNode, NodeEntry, NodeMap, NodeValue, SourceLocation, SourceText};
use crate::sources::{
    ConfigSources, EmbeddedSource, NoConfigSources, SCHEMES, retrieve, split_uri, warn_unset_variable,
};
use crate::suggest::nearest_name;
use crate::yaml::{self, MAX_DEPTH};

impl EmbeddedSource {
    /// The tree; every mistake is added to `d`.
    #[must_use]
    pub fn parse(&self, d: &Diagnostics) -> Option<ConfigNode> {
        match self {
            Self::Text(nested) => parse_source(nested.text(), &|origin| nested.outer_location(origin), d),
            Self::Tree(node) => into_configuration(node.clone(), &SourceLocation::clone, d),
        }
    }
}

/// Every document of a text, such as a file of manifests, up to the first that is not YAML; mistakes are added to `d`.
pub fn parse_documents(source: &Arc<SourceText>, d: &Diagnostics) -> Vec<ConfigNode> {
    let (documents, error) = yaml::parse_all(source);
    for duplicate in documents.iter().flat_map(|parsed| &parsed.duplicates) {
        report_duplicate_key(duplicate, &SourceLocation::clone, d);
    }
    if let Some(error) = error {
        report_invalid_yaml(&error, &SourceLocation::clone, d);
    }
    documents.into_iter().map(|parsed| parsed.node).collect()
}

/// A configuration from a text alone, for tests and embedded defaults.
pub fn from_yaml(text: &str, d: &Diagnostics) -> Option<ConfigNode> {
    load(&[format!("yaml:{text}")], &[], &NoConfigSources, &FeatureGates::default(), d)
}

/// Reads all sources, merges them left to right with the `--set` values last, and expands every `${..}`.
///
/// `None` if a source could not be read at all. A tree may be returned together with errors: values that could not be
/// expanded are marked as broken, so that the rest can be checked in the same run.
pub fn load(
    uris: &[String],
    sets: &[String],
    sources: &dyn ConfigSources,
    gates: &FeatureGates,
    d: &Diagnostics,
) -> Option<ConfigNode> {
    if uris.is_empty() {
        d.error(None, "", "at least one config flag must be provided")
            .kind(DiagnosticKind::Source)
            .help("write --config=file.yaml");
        return None;
    }
    // All sources are read first, so that one run reports every source that cannot be read.
    let loaded: Vec<Option<ConfigNode>> =
        uris.iter().map(|uri| load_uri(uri, sources, d)).chain(sets.iter().map(|set| load_set(set, d))).collect();
    let append = gates.is_enabled("confmap.enableMergeAppendOption");
    let mut all = loaded.into_iter().collect::<Option<Vec<ConfigNode>>>()?.into_iter();
    let mut tree = all.next()?;
    for node in all {
        merge(&mut tree, node, &mut String::new(), append);
    }
    expand::expand(&mut tree, sources, d);
    Some(tree)
}

fn load_uri(uri: &str, sources: &dyn ConfigSources, d: &Diagnostics) -> Option<ConfigNode> {
    let drive = matches!(uri.as_bytes(), [b'A'..=b'z', b':', ..]);
    let (scheme, rest) = if drive || !uri.contains(':') {
        ("file", uri)
    } else if let Some(parts) = split_uri(uri) {
        parts
    } else {
        d.error(None, "", format!("invalid uri: {uri:?}")).kind(DiagnosticKind::Source);
        return None;
    };
    if let Some(embedded) = sources.embedded(scheme, rest) {
        return embedded.parse(d);
    }
    match retrieve(scheme, rest, sources) {
        Ok(Some(got)) => {
            let source = got.source();
            if let Some(name) = &got.unset {
                warn_unset_variable(d, None, "", name);
            }
            parse_source(&source, &SourceLocation::clone, d)
        }
        Ok(None) => {
            let help = nearest_name(scheme, SCHEMES).map(|s| format!("did you mean `{s}:`?"));
            d.error(None, "", format!("unsupported scheme on URI {uri:?}"))
                .kind(DiagnosticKind::Source)
                .maybe_help(help);
            None
        }
        Err(message) => {
            d.error(None, "", format!("cannot retrieve the configuration: {message}")).kind(DiagnosticKind::Source);
            None
        }
    }
}

/// `--set a.b.c=value` is the source `yaml:a::b::c: value`; positions are reported in the argument as it was typed.
fn load_set(argument: &str, d: &Diagnostics) -> Option<ConfigNode> {
    let Some((key, value)) = argument.split_once('=') else {
        let message = format!("invalid argument {argument:?} for \"--set\" flag: missing equal sign");
        d.error(None, "", message).kind(DiagnosticKind::Source).help("write --set key.subkey=value");
        return None;
    };
    let count = |s: &str| u32::try_from(s.chars().count()).unwrap_or(u32::MAX);
    let mut text = String::new();
    let mut columns: Vec<u32> = Vec::new();
    let mut column = count(key).saturating_sub(count(key.trim_start()));
    for c in key.trim().chars() {
        column += 1;
        if c == '.' {
            text.push_str("::")
        } else {
            text.push(c)
        }
        columns.extend(std::iter::repeat_n(column, if c == '.' { 2 } else { 1 }));
    }
    text.push_str(": ");
    let value_column = count(key) + 1 + count(value).saturating_sub(count(value.trim_start()));
    columns.extend([column, value_column]);
    text.push_str(value.trim());
    columns.extend((1..=count(value.trim())).map(|i| value_column + i));
    let argument_source = SourceText::new(&format!("--set {}", key.trim()), argument);
    let yaml_source = SourceText::new(&argument_source.name, text);
    let place = |origin: &SourceLocation| {
        let mut origin = SourceLocation { text: argument_source.clone(), ..origin.clone() };
        if origin.line == 1 {
            let index = usize::try_from(origin.column).unwrap_or(usize::MAX).saturating_sub(1);
            origin.column = columns.get(index).or_else(|| columns.last()).copied().unwrap_or(origin.column);
        }
        origin
    };
    parse_source(&yaml_source, &place, d)
}

/// The Go collector's message about a source that is not a map.
fn not_a_map_message(ty: &str) -> String {
    format!("retrieved value (type={ty}) cannot be used as a Conf")
}

fn not_yaml_message(rest: &str) -> String {
    format!("{}: assuming string type since contents are not valid YAML: {rest}", not_a_map_message("string"))
}

fn report_invalid_yaml(error: &yaml::YamlError, to_shown: &dyn Fn(&SourceLocation) -> SourceLocation, d: &Diagnostics) {
    let help = error.tab_indent.then(|| "indent with spaces: YAML allows no tabs".to_owned());
    d.error(&to_shown(&error.origin), "", format!("invalid YAML: {}", error.message))
        .kind(DiagnosticKind::InvalidYaml)
        .maybe_help(help)
        .note(not_yaml_message(&format!("yaml: line {}: {}", error.origin.line, error.message)));
}

fn report_duplicate_key(
    duplicate: &yaml::DuplicateKey,
    to_shown: &dyn Fn(&SourceLocation) -> SourceLocation,
    d: &Diagnostics,
) {
    let (first, second) = (to_shown(&duplicate.first), to_shown(&duplicate.second));
    let already = |line: u32| format!("mapping key {:?} already defined at line {line}", &*duplicate.key);
    let note = not_yaml_message(&format!(
        "yaml: unmarshal errors: line {}: {}",
        duplicate.second.line,
        already(duplicate.first.line)
    ));
    d.error(&second, "", already(first.line))
        .kind(DiagnosticKind::DuplicateKey)
        .related(&first, "first defined here")
        .note(note);
}

/// Parses `source`, which must be a map or empty; `to_shown` converts its locations to those that are shown.
fn parse_source(
    source: &Arc<SourceText>,
    to_shown: &dyn Fn(&SourceLocation) -> SourceLocation,
    d: &Diagnostics,
) -> Option<ConfigNode> {
    let parsed = match yaml::parse(source) {
        Ok(parsed) => parsed,
        Err(error) => {
            report_invalid_yaml(&error, to_shown, d);
            return None;
        }
    };
    for duplicate in &parsed.duplicates {
        report_duplicate_key(duplicate, to_shown, d);
    }
    into_configuration(parsed.node, to_shown, d)
}

/// Turns a tree into a configuration: keys that contain `::` become nested maps, and `to_shown` converts the locations.
fn into_configuration(
    mut node: ConfigNode,
    to_shown: &dyn Fn(&SourceLocation) -> SourceLocation,
    d: &Diagnostics,
) -> Option<ConfigNode> {
    match &node.value {
        NodeValue::Map(_) => {}
        NodeValue::Null => node.value = NodeValue::Map(NodeMap::default()),
        other => {
            let help = missing_space_hint(other).map(str::to_owned);
            d.error(&to_shown(&node.origin), "", not_a_map_message(other.go_type()))
                .kind(DiagnosticKind::InvalidYaml)
                .maybe_help(help);
            return None;
        }
    }
    if let Err(origin) = unflatten(&mut node, 1) {
        let message = format!("exceeded max depth of {MAX_DEPTH}");
        d.error(&to_shown(&origin), "", message).kind(DiagnosticKind::Limit);
        return None;
    }
    relocate(&mut node, to_shown);
    Some(node)
}

/// The hint for a string such as `endpoint:0.0.0.0` where a map is expected: a space is missing after the colon.
pub(crate) fn missing_space_hint(value: &NodeValue) -> Option<&'static str> {
    let NodeValue::Str(text) = value else { return None };
    let (key, rest) = text.split_once(':')?;
    let looks_like_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'/');
    (looks_like_key && !rest.starts_with(' ')).then_some("write a space after the colon: `key: value`")
}

fn relocate(node: &mut ConfigNode, to_shown: &dyn Fn(&SourceLocation) -> SourceLocation) {
    node.origin = to_shown(&node.origin);
    match &mut node.value {
        NodeValue::List(items) => items.iter_mut().for_each(|item| relocate(item, to_shown)),
        NodeValue::Map(map) => {
            for entry in map.entries_mut() {
                entry.key_origin = to_shown(&entry.key_origin);
                relocate(&mut entry.node, to_shown);
            }
        }
        _ => {}
    }
}

/// Turns keys such as `a::b` into nested maps. Fails with the place of a key that nests too deeply.
fn unflatten(node: &mut ConfigNode, depth: usize) -> Result<(), SourceLocation> {
    if depth > MAX_DEPTH {
        return Err(node.origin.clone());
    }
    match &mut node.value {
        NodeValue::List(items) => items.iter_mut().try_for_each(|item| unflatten(item, depth + 1)),
        NodeValue::Map(map) => {
            for entry in std::mem::take(map) {
                let (key, origin) = (entry.key, entry.key_origin);
                let separators = key.matches("::").count();
                if depth + separators > MAX_DEPTH {
                    return Err(origin);
                }
                let mut inner = entry.node;
                unflatten(&mut inner, depth + separators + 1)?;
                insert_path(map, &key, &origin, inner);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn insert_path(map: &mut NodeMap, key: &str, origin: &SourceLocation, mut node: ConfigNode) {
    let mut rest = key;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut end = origin.column.saturating_add(number(key.chars().count()));
    while let Some((outer, last)) = rest.rsplit_once("::") {
        let mut place = origin.clone();
        place.width = number(last.chars().count());
        place.column = end.saturating_sub(place.width);
        end = place.column.saturating_sub(2);
        let mut inner = NodeMap::default();
        inner.insert(NodeEntry { key: last.into(), key_origin: place, node });
        node = ConfigNode::new(NodeValue::Map(inner), origin.clone());
        rest = outer;
    }
    let mut place = origin.clone();
    if rest.len() != key.len() {
        place.width = u32::try_from(rest.chars().count()).unwrap_or(1);
    }
    match map.get_mut(rest) {
        Some(old) => merge(&mut old.node, node, &mut String::new(), false),
        None => map.insert(NodeEntry { key: rest.into(), key_origin: place, node }),
    }
}
