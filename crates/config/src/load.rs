//! From URIs to one tree: fetch, parse, merge in order, expand.
//!
//! Schemes are `file:`, `env:`, `yaml:`, `http:` and `https:`; what they read comes from the [`Sources`] that the
//! caller passes in. A key of a source that contains `::` becomes nested maps. Every mistake is added to
//! [`Diagnostics`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diag::{Diagnostics, Kind};
use crate::expand;
use crate::gates::Gates;
use crate::nested::Nested;
use crate::node::{Entry, Map, Node, Origin, SourceText, Value};
use crate::steps;
use crate::suggest::nearest;
use crate::yaml::{self, MAX_DEPTH};

/// Where files, environment variables and pages come from.
pub trait Sources {
    /// The bytes of a file, or Go's error message: `open X: no such file or directory`.
    fn file(&self, path: &str) -> Result<Vec<u8>, String>;

    /// An environment variable; `None` if it is not set.
    fn env(&self, name: &str) -> Option<String>;

    /// The body of a page with status 200, or an error message; `None` if this program cannot fetch pages.
    fn http(&self, uri: &str) -> Option<Result<Vec<u8>, String>> {
        let _ = uri;
        None
    }

    /// The content of a URI that is part of a source already read, such as a file that a ConfigMap mounts. `None`, the
    /// default, for a URI that must be read.
    fn embedded(&self, scheme: &str, rest: &str) -> Option<Embedded> {
        let _ = (scheme, rest);
        None
    }
}

/// A source that is part of another one. Its places are those in the outer source.
#[derive(Clone, Debug)]
pub enum Embedded {
    /// YAML inside a string.
    Text(Nested),
    /// A tree that is parsed already.
    Tree(Node),
}

impl Embedded {
    /// Where it was written.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        match self {
            Self::Text(text) => text.origin(),
            Self::Tree(node) => &node.origin,
        }
    }

    /// The tree; every mistake is added to `d`.
    #[must_use]
    pub fn parse(&self, d: &Diagnostics) -> Option<Node> {
        match self {
            Self::Text(nested) => parse_source(nested.text(), &|origin| nested.place(origin), d),
            Self::Tree(node) => open_source(node.clone(), &Origin::clone, d),
        }
    }
}

/// Every document of a text, such as a file of manifests, up to the first that is not YAML; mistakes are added to `d`.
pub fn documents(source: &Arc<SourceText>, d: &Diagnostics) -> Vec<Node> {
    let (documents, error) = yaml::parse_all(source);
    for twice in documents.iter().flat_map(|parsed| &parsed.duplicates) {
        duplicate(twice, &Origin::clone, d);
    }
    if let Some(error) = error {
        invalid(&error, &Origin::clone, d);
    }
    documents.into_iter().map(|parsed| parsed.node).collect()
}

/// Sources without files and variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSources;

impl Sources for NoSources {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("open {path}: no such file or directory"))
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

/// A configuration from a text alone, for tests and embedded defaults.
pub fn from_yaml(text: &str, d: &Diagnostics) -> Option<Node> {
    load(&[format!("yaml:{text}")], &[], &NoSources, &Gates::default(), d)
}

/// Reads all sources, merges them left to right with the `--set` values last, and expands every `${..}`.
///
/// `None` if a source could not be read at all. A tree may be returned together with errors: values that could not be
/// expanded are marked as broken, so that the rest can be checked in the same run.
pub fn load(uris: &[String], sets: &[String], sources: &dyn Sources, gates: &Gates, d: &Diagnostics) -> Option<Node> {
    if uris.is_empty() {
        d.error(None, "", "at least one config flag must be provided")
            .kind(Kind::Source)
            .hint("write --config=file.yaml");
        return None;
    }
    // All sources are read first, so that one run reports every source that cannot be read.
    let loaded: Vec<Option<Node>> =
        uris.iter().map(|uri| load_uri(uri, sources, d)).chain(sets.iter().map(|set| load_set(set, d))).collect();
    let append = gates.enabled("confmap.enableMergeAppendOption");
    let mut all = loaded.into_iter().collect::<Option<Vec<Node>>>()?.into_iter();
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
        Arc::new(SourceText::with(self.name.as_str().into(), self.text.as_str().into(), self.secret))
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
pub(crate) fn retrieve(scheme: &str, rest: &str, sources: &dyn Sources) -> Result<Option<Retrieved>, String> {
    let uri = format!("{scheme}:{rest}");
    let decoded = |bytes: Vec<u8>| text_of(bytes).map_err(|why| format!("{uri}: {why}"));
    let (text, name, secret, unset) = match scheme {
        "file" => {
            let path = clean(rest);
            let bytes = sources.file(&path).map_err(|e| format!("unable to read the file {uri}: {e}"))?;
            (decoded(bytes)?, path, false, None)
        }
        "env" => {
            let (name, default) = rest.split_once(":-").map_or((rest, None), |(n, d)| (n, Some(d)));
            if !valid_variable(name) {
                let rule = "must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$";
                return Err(format!("environment variable {name:?} has invalid name: {rule}"));
            }
            let value = sources.env(name).or_else(|| default.map(str::to_owned));
            let unset = value.is_none().then(|| name.to_owned());
            (value.unwrap_or_default(), format!("env:{name}"), true, unset)
        }
        "yaml" => (rest.to_owned(), "yaml:".to_owned(), false, None),
        "http" | "https" => match sources.http(&uri) {
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
pub fn text_of(bytes: Vec<u8>) -> Result<String, String> {
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
    let (units, odd) = body.as_chunks::<2>();
    if !odd.is_empty() {
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

pub(crate) fn valid_variable(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Go's `filepath.Clean`: `.`, `..` and double slashes are resolved from the text alone, without reading the file
/// system.
fn clean(path: &str) -> String {
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

fn load_uri(uri: &str, sources: &dyn Sources, d: &Diagnostics) -> Option<Node> {
    let drive = matches!(uri.as_bytes(), [b'A'..=b'z', b':', ..]);
    let (scheme, rest) = if drive || !uri.contains(':') {
        ("file", uri)
    } else if let Some(parts) = split_uri(uri) {
        parts
    } else {
        d.error(None, "", format!("invalid uri: {uri:?}")).kind(Kind::Source);
        return None;
    };
    if let Some(embedded) = sources.embedded(scheme, rest) {
        return embedded.parse(d);
    }
    match retrieve(scheme, rest, sources) {
        Ok(Some(got)) => {
            let source = got.source();
            if let Some(name) = &got.unset {
                unset_variable(d, None, "", name);
            }
            parse_source(&source, &Origin::clone, d)
        }
        Ok(None) => {
            let help = nearest(scheme, SCHEMES).map(|s| format!("did you mean `{s}:`?"));
            d.error(None, "", format!("unsupported scheme on URI {uri:?}")).kind(Kind::Source).maybe_hint(help);
            None
        }
        Err(message) => {
            d.error(None, "", format!("cannot retrieve the configuration: {message}")).kind(Kind::Source);
            None
        }
    }
}

/// The schemes that the Go collector registers.
pub(crate) const SCHEMES: [&str; 5] = ["env", "file", "yaml", "http", "https"];

pub(crate) fn unset_variable(d: &Diagnostics, at: Option<&Origin>, path: &str, name: &str) {
    d.warn(at, path, format!("Configuration references unset environment variable {name:?}"))
        .kind(Kind::UnsetVariable)
        .hint(format!("set {name}, or give it a default: ${{env:{name}:-value}}"));
}

/// `--set a.b.c=value` is the source `yaml:a::b::c: value`; positions are reported in the argument as it was typed.
fn load_set(argument: &str, d: &Diagnostics) -> Option<Node> {
    let Some((key, value)) = argument.split_once('=') else {
        let message = format!("invalid argument {argument:?} for \"--set\" flag: missing equal sign");
        d.error(None, "", message).kind(Kind::Source).hint("write --set key.subkey=value");
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
    let typed = SourceText::new(&format!("--set {}", key.trim()), argument);
    let read = SourceText::new(&typed.name, text);
    let place = |origin: &Origin| {
        let mut origin = Origin { text: typed.clone(), ..origin.clone() };
        if origin.line == 1 {
            let index = usize::try_from(origin.column).unwrap_or(usize::MAX).saturating_sub(1);
            origin.column = columns.get(index).or_else(|| columns.last()).copied().unwrap_or(origin.column);
        }
        origin
    };
    parse_source(&read, &place, d)
}

/// The Go collector's message about a source that is not a map.
fn no_conf(ty: &str) -> String {
    format!("retrieved value (type={ty}) cannot be used as a Conf")
}

fn not_yaml(rest: &str) -> String {
    format!("{}: assuming string type since contents are not valid YAML: {rest}", no_conf("string"))
}

fn invalid(error: &yaml::YamlError, place: &dyn Fn(&Origin) -> Origin, d: &Diagnostics) {
    let tabs = error.tab.then(|| "indent with spaces: YAML allows no tabs".to_owned());
    d.error(&place(&error.origin), "", format!("invalid YAML: {}", error.message))
        .kind(Kind::InvalidYaml)
        .maybe_hint(tabs)
        .note(not_yaml(&format!("yaml: line {}: {}", error.origin.line, error.message)));
}

fn duplicate(twice: &yaml::Duplicate, place: &dyn Fn(&Origin) -> Origin, d: &Diagnostics) {
    let (first, again) = (place(&twice.first), place(&twice.again));
    let already = |line: u32| format!("mapping key {:?} already defined at line {line}", &*twice.key);
    let note = not_yaml(&format!("yaml: unmarshal errors: line {}: {}", twice.again.line, already(twice.first.line)));
    d.error(&again, "", already(first.line)).kind(Kind::DuplicateKey).related(&first, "first defined here").note(note);
}

/// Parses `read`, which must be a map or empty; `place` converts its places to those that are shown.
fn parse_source(read: &Arc<SourceText>, place: &dyn Fn(&Origin) -> Origin, d: &Diagnostics) -> Option<Node> {
    let parsed = match yaml::parse(read) {
        Ok(parsed) => parsed,
        Err(error) => {
            invalid(&error, place, d);
            return None;
        }
    };
    for twice in &parsed.duplicates {
        duplicate(twice, place, d);
    }
    open_source(parsed.node, place, d)
}

/// Turns a tree into a configuration: keys that contain `::` become nested maps, and `place` converts the places.
fn open_source(mut node: Node, place: &dyn Fn(&Origin) -> Origin, d: &Diagnostics) -> Option<Node> {
    match &node.value {
        Value::Map(_) => {}
        Value::Null => node.value = Value::Map(Map::default()),
        other => {
            let colon = missing_space(other).map(str::to_owned);
            d.error(&place(&node.origin), "", no_conf(other.go_type())).kind(Kind::InvalidYaml).maybe_hint(colon);
            return None;
        }
    }
    if let Err(origin) = unflatten(&mut node, 1) {
        let message = format!("exceeded max depth of {MAX_DEPTH}");
        d.error(&place(&origin), "", message).kind(Kind::Limit);
        return None;
    }
    relocate(&mut node, place);
    Some(node)
}

/// The hint for a string such as `endpoint:0.0.0.0` where a map is expected: a space is missing after the colon.
pub(crate) fn missing_space(value: &Value) -> Option<&'static str> {
    let Value::Str(text) = value else { return None };
    let (key, rest) = text.split_once(':')?;
    let looks_like_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'/');
    (looks_like_key && !rest.starts_with(' ')).then_some("write a space after the colon: `key: value`")
}

fn relocate(node: &mut Node, place: &dyn Fn(&Origin) -> Origin) {
    node.origin = place(&node.origin);
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| relocate(item, place)),
        Value::Map(map) => {
            for entry in map.entries_mut() {
                entry.key_origin = place(&entry.key_origin);
                relocate(&mut entry.node, place);
            }
        }
        _ => {}
    }
}

/// Turns keys such as `a::b` into nested maps. Fails with the place of a key that nests too deeply.
fn unflatten(node: &mut Node, depth: usize) -> Result<(), Origin> {
    if depth > MAX_DEPTH {
        return Err(node.origin.clone());
    }
    match &mut node.value {
        Value::List(items) => items.iter_mut().try_for_each(|item| unflatten(item, depth + 1)),
        Value::Map(map) => {
            for entry in std::mem::take(map) {
                let (key, origin) = (entry.key, entry.key_origin);
                let deeper = key.matches("::").count();
                if depth + deeper > MAX_DEPTH {
                    return Err(origin);
                }
                let mut inner = entry.node;
                unflatten(&mut inner, depth + deeper + 1)?;
                insert_path(map, &key, &origin, inner);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn insert_path(map: &mut Map, key: &str, origin: &Origin, mut node: Node) {
    let mut rest = key;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut end = origin.column.saturating_add(number(key.chars().count()));
    while let Some((outer, last)) = rest.rsplit_once("::") {
        let mut place = origin.clone();
        place.width = number(last.chars().count());
        place.column = end.saturating_sub(place.width);
        end = place.column.saturating_sub(2);
        let mut inner = Map::default();
        inner.insert(Entry { key: last.into(), key_origin: place, node });
        node = Node::new(Value::Map(inner), origin.clone());
        rest = outer;
    }
    let mut place = origin.clone();
    if rest.len() != key.len() {
        place.width = u32::try_from(rest.chars().count()).unwrap_or(1);
    }
    match map.get_mut(rest) {
        Some(old) => merge(&mut old.node, node, &mut String::new(), false),
        None => map.insert(Entry { key: rest.into(), key_origin: place, node }),
    }
}

/// Merges `over` into `base`: maps are merged key by key, every other value is replaced, also by null.
///
/// With `append`, the lists that the gate `confmap.enableMergeAppendOption` names are concatenated, without duplicates.
pub(crate) fn merge(base: &mut Node, over: Node, path: &mut String, append: bool) {
    match (&mut base.value, over.value) {
        (Value::Map(map), Value::Map(new)) => {
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
        (Value::List(items), Value::List(new)) if append && appends(path) => {
            let name = |item: &Node| match &item.value {
                Value::Str(text) => Some(text.clone()),
                _ => None,
            };
            let mut there: BTreeSet<Arc<str>> = items.iter().filter_map(name).collect();
            // Items that are not strings are kept: each of them is refused later.
            items.extend(new.into_iter().filter(|item| name(item).is_none_or(|name| there.insert(name))));
        }
        (_, value) => *base = Node { value, ..over },
    }
}

/// `service::extensions`, `service::**::receivers`, `service::**::exporters`.
fn appends(path: &str) -> bool {
    let inside = path.strip_prefix("::service::");
    inside.is_some_and(|p| p == "extensions" || matches!(p.rsplit("::").next(), Some("receivers" | "exporters")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_are_cleaned_as_go_does() {
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
            assert_eq!(super::clean(path), want, "{path}");
        }
    }

    #[test]
    fn a_file_is_utf_8_or_utf_16_with_its_mark() {
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
            assert_eq!(super::text_of(bytes).as_deref(), Ok(text));
        }
        for (bytes, why) in [
            (&b"a: \xff"[..], "invalid UTF-8 at byte 3"),
            (b"a\0:\0 \0b\0", "UTF-16 without a byte order mark; save it as UTF-8"),
            (b"\0a\0:\0 \0b", "UTF-16 without a byte order mark; save it as UTF-8"),
            (b"\xff\xfea\0\0\xd8b\0", "invalid UTF-16 at byte 4"),
            (b"\xff\xfea\0:", "incomplete UTF-16 at byte 4"),
        ] {
            assert_eq!(super::text_of(bytes.to_vec()), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_scheme_has_two_characters_or_more() {
        assert_eq!(super::split_uri("file:/x"), Some(("file", "/x")));
        assert_eq!(super::split_uri("c:/x"), None);
        assert_eq!(super::split_uri("1a:/x"), None);
        assert_eq!(super::split_uri("a_b:x"), None);
    }
}
