//! From URIs to one tree: fetch, parse, merge in order, expand.
//!
//! Schemes are `file:`, `env:`, `yaml:`, `http:` and `https:`; what they read comes from the [`ConfigSources`] that the
//! caller passes in. A key of a source that contains `::` becomes nested maps. Every mistake is added to
//! [`Diagnostics`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostics::{DiagnosticKind, Diagnostics};
use crate::expand;
use crate::feature_gates::FeatureGates;
use crate::nested_source::NestedSource;
use crate::node::{ConfigNode, NodeEntry, NodeMap, NodeValue, SourceLocation, SourceText};
use crate::steps;
use crate::suggest::nearest_name;
use crate::yaml::{self, MAX_DEPTH};

/// Where files, environment variables and pages come from.
pub trait ConfigSources {
    /// The bytes of a file, or Go's error message: `open X: no such file or directory`.
    fn read_file(&self, path: &str) -> Result<Vec<u8>, String>;

    /// An environment variable; `None` if it is not set.
    fn env_var(&self, name: &str) -> Option<String>;

    /// The body of a page with status 200, or an error message; `None` if this program cannot fetch pages.
    fn fetch_http(&self, uri: &str) -> Option<Result<Vec<u8>, String>> {
        let _ = uri;
        None
    }

    /// The content of a URI that is part of a source already read, such as a file that a ConfigMap mounts. `None`, the
    /// default, for a URI that must be read.
    fn embedded(&self, scheme: &str, rest: &str) -> Option<EmbeddedSource> {
        let _ = (scheme, rest);
        None
    }
}

/// A source that is part of another one. Its places are those in the outer source.
#[derive(Clone, Debug)]
pub enum EmbeddedSource {
    /// YAML inside a string.
    Text(NestedSource),
    /// A tree that is parsed already.
    Tree(ConfigNode),
}

impl EmbeddedSource {
    /// Where it was written.
    #[must_use]
    pub const fn origin(&self) -> &SourceLocation {
        match self {
            Self::Text(text) => text.origin(),
            Self::Tree(node) => &node.origin,
        }
    }

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

/// Sources without files and variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoConfigSources;

impl ConfigSources for NoConfigSources {
    fn read_file(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("open {path}: no such file or directory"))
    }
    fn env_var(&self, _: &str) -> Option<String> {
        None
    }
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

/// The content of one URI or `${..}`.
pub(crate) struct Retrieved {
    pub(crate) text: String,
    /// Its name in diagnostics.
    pub(crate) name: String,
    /// Its lines must not be shown.
    pub(crate) secret: bool,
    /// The variable that is not set and has no default.
    pub(crate) unset: Option<String>,
}

impl Retrieved {
    pub(crate) fn source(&self) -> Arc<SourceText> {
        Arc::new(SourceText::from_parts(self.name.as_str().into(), self.text.as_str().into(), self.secret))
    }
}

/// `[A-Za-z][A-Za-z0-9+.-]+:` and the rest.
pub(crate) fn split_uri(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let others = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'));
    (first && others && scheme.len() >= 2).then_some((scheme, rest))
}

/// `Ok(None)` if the scheme is not supported.
pub(crate) fn retrieve(scheme: &str, rest: &str, sources: &dyn ConfigSources) -> Result<Option<Retrieved>, String> {
    let uri = format!("{scheme}:{rest}");
    let decoded = |bytes: Vec<u8>| decode_text(bytes).map_err(|why| format!("{uri}: {why}"));
    let (text, name, secret, unset) = match scheme {
        "file" => {
            let path = clean_path(rest);
            let bytes = sources.read_file(&path).map_err(|e| format!("unable to read the file {uri}: {e}"))?;
            (decoded(bytes)?, path, false, None)
        }
        "env" => {
            let (name, default) = rest.split_once(":-").map_or((rest, None), |(n, d)| (n, Some(d)));
            if !is_valid_variable_name(name) {
                let rule = "must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$";
                return Err(format!("environment variable {name:?} has invalid name: {rule}"));
            }
            let value = sources.env_var(name).or_else(|| default.map(str::to_owned));
            let unset = value.is_none().then(|| name.to_owned());
            (value.unwrap_or_default(), format!("env:{name}"), true, unset)
        }
        "yaml" => (rest.to_owned(), "yaml:".to_owned(), false, None),
        "http" | "https" => match sources.fetch_http(&uri) {
            None => return Ok(None),
            Some(body) => (decoded(body?)?, uri.clone(), false, None),
        },
        _ => return Ok(None),
    };
    Ok(Some(Retrieved { text, name, secret, unset }))
}

/// The text of a file: UTF-8, or UTF-16 that begins with a byte order mark, as yaml.v3 reads it.
///
/// # Errors
/// The first invalid byte, or that the byte order mark is missing.
pub fn decode_text(bytes: Vec<u8>) -> Result<String, String> {
    let (body, big_endian) = match bytes.as_slice() {
        [0xff, 0xfe, body @ ..] => (body, false),
        [0xfe, 0xff, body @ ..] => (body, true),
        // In UTF-16 without a byte order mark, every other byte of ASCII characters is zero.
        [0, b' '..=b'~', 0, b' '..=b'~', ..] | [b' '..=b'~', 0, b' '..=b'~', 0, ..] => {
            return Err("UTF-16 without a byte order mark; save it as UTF-8".to_owned());
        }
        _ => {
            let text = String::from_utf8(bytes)
                .map_err(|error| format!("invalid UTF-8 at byte {}", error.utf8_error().valid_up_to()))?;
            return Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text));
        }
    };
    let (units, remainder) = body.as_chunks::<2>();
    if !remainder.is_empty() {
        return Err(format!("incomplete UTF-16 at byte {}", bytes.len() - 1));
    }
    let units = units.iter().map(|unit| if big_endian { u16::from_be_bytes(*unit) } else { u16::from_le_bytes(*unit) });
    let mut at = 2;
    char::decode_utf16(units)
        .map(|c| {
            let place = at;
            at += c.as_ref().map_or(2, |c| c.len_utf16() * 2);
            c.map_err(|_| format!("invalid UTF-16 at byte {place}"))
        })
        .collect()
}

pub(crate) fn is_valid_variable_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Go's `filepath.Clean`: `.`, `..` and double slashes are resolved from the text alone, without reading the file
/// system.
fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
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

/// The schemes that the Go collector registers.
pub(crate) const SCHEMES: [&str; 5] = ["env", "file", "yaml", "http", "https"];

pub(crate) fn warn_unset_variable(d: &Diagnostics, at: Option<&SourceLocation>, path: &str, name: &str) {
    d.warn(at, path, format!("Configuration references unset environment variable {name:?}"))
        .kind(DiagnosticKind::UnsetVariable)
        .help(format!("set {name}, or give it a default: ${{env:{name}:-value}}"));
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

/// Merges `over` into `base`: maps are merged key by key, every other value is replaced, also by null.
///
/// With `append`, the lists that the gate `confmap.enableMergeAppendOption` names are concatenated, without duplicates.
pub(crate) fn merge(base: &mut ConfigNode, over: ConfigNode, path: &mut String, append: bool) {
    match (&mut base.value, over.value) {
        (NodeValue::Map(map), NodeValue::Map(new)) => {
            for entry in new {
                steps::add(1);
                match map.get_mut(&entry.key) {
                    Some(old) => {
                        let length = path.len();
                        path.push_str("::");
                        path.push_str(&entry.key);
                        merge(&mut old.node, entry.node, path, append);
                        path.truncate(length);
                    }
                    None => map.insert(entry),
                }
            }
        }
        (NodeValue::List(items), NodeValue::List(new)) if append && is_appended_list(path) => {
            let name = |item: &ConfigNode| match &item.value {
                NodeValue::Str(text) => Some(text.clone()),
                _ => None,
            };
            let mut existing: BTreeSet<Arc<str>> = items.iter().filter_map(name).collect();
            // Items that are not strings are kept: each of them is refused later.
            items.extend(new.into_iter().filter(|item| name(item).is_none_or(|name| existing.insert(name))));
        }
        (_, value) => *base = ConfigNode { value, ..over },
    }
}

/// `service::extensions`, `service::**::receivers`, `service::**::exporters`.
fn is_appended_list(path: &str) -> bool {
    let inside = path.strip_prefix("::service::");
    inside.is_some_and(|p| p == "extensions" || matches!(p.rsplit("::").next(), Some("receivers" | "exporters")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn file_path_is_cleaned_as_in_go() {
        let table = [
            ("a/../b", "b"),
            ("./x.yaml", "x.yaml"),
            ("/a//b/./c/..", "/a/b"),
            ("../x", "../x"),
            ("/../x", "/x"),
            ("", "."),
            ("../../a", "../../a"),
        ];
        for (path, want) in table {
            assert_eq!(super::clean_path(path), want, "{path}");
        }
    }

    #[test]
    fn file_is_read_as_utf_8_or_as_utf_16_with_a_byte_order_mark() {
        let text = "a: \u{e9}\u{1f600}\n";
        let utf16 = |mark: u16, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(mark).chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(0xfeff, u16::to_le_bytes),
            utf16(0xfeff, u16::to_be_bytes),
        ] {
            assert_eq!(super::decode_text(bytes).as_deref(), Ok(text));
        }
        for (bytes, why) in [
            (&b"a: \xff"[..], "invalid UTF-8 at byte 3"),
            (b"a\0:\0 \0b\0", "UTF-16 without a byte order mark; save it as UTF-8"),
            (b"\0a\0:\0 \0b", "UTF-16 without a byte order mark; save it as UTF-8"),
            (b"\xff\xfea\0\0\xd8b\0", "invalid UTF-16 at byte 4"),
            (b"\xff\xfea\0:", "incomplete UTF-16 at byte 4"),
        ] {
            assert_eq!(super::decode_text(bytes.to_vec()), Err(why.to_owned()));
        }
    }

    #[test]
    fn uri_scheme_below_two_characters_is_refused() {
        assert_eq!(super::split_uri("file:/x"), Some(("file", "/x")));
        assert_eq!(super::split_uri("c:/x"), None);
        assert_eq!(super::split_uri("1a:/x"), None);
        assert_eq!(super::split_uri("a_b:x"), None);
    }
}
