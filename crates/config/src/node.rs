//! The tree between YAML and the typed configuration: every value and key has the place where it was written.
//!
//! Contains no rule about the configuration; parsing is in `yaml`, merging in `load`, reading of typed values in
//! `section`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::steps;

/// The text of one source, kept so that a diagnostic can show the line.
#[derive(Debug)]
pub struct SourceText {
    /// File path, `yaml:`, `env:NAME` or `--set a.b=c`.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
    /// The text must not be shown: environment variables can hold passwords.
    pub secret: bool,
    /// Built when a location is first looked up.
    line_index: OnceLock<Vec<LineIndexEntry>>,
}

impl PartialEq for SourceText {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.text, self.secret) == (&other.name, &other.text, other.secret)
    }
}

impl Eq for SourceText {}

/// A position in the text: one at its start, and one about every [`LINE_INDEX_INTERVAL`] bytes.
#[derive(Clone, Copy, Debug)]
struct LineIndexEntry {
    byte: usize,
    /// 1-based.
    line: u32,
    /// Characters of the line before this place.
    column: u32,
}

const LINE_INDEX_INTERVAL: usize = 1024;

impl SourceText {
    /// A source whose lines may be shown.
    pub fn new(name: &str, text: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self::from_parts(name.into(), text.into(), false))
    }

    pub(crate) const fn from_parts(name: Arc<str>, text: Arc<str>, secret: bool) -> Self {
        Self { name, text, secret, line_index: OnceLock::new() }
    }

    /// The same text with its lines hidden.
    pub(crate) fn to_secret(&self) -> Arc<Self> {
        Arc::new(Self::from_parts(self.name.clone(), self.text.clone(), true))
    }

    /// The line with this 1-based number, without its line break.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.text_from_line(number)?.lines().next()
    }

    /// The text from the start of a line to the end of the source. `None` where there is no such line.
    pub fn text_from_line(&self, number: u32) -> Option<&str> {
        let rest = self.text.get(self.byte_offset(number, 0)?..)?;
        (!rest.is_empty()).then_some(rest)
    }

    /// The rest of a line from a place on, at most `max_bytes` bytes of it.
    pub fn rest_of_line(&self, line: u32, column: u32, max_bytes: usize) -> Option<&str> {
        let rest = self.text.get(self.byte_offset(line, column.saturating_sub(1))?..)?;
        let mut end = max_bytes.min(rest.len());
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let rest = rest.get(..end)?;
        steps::add(rest.len());
        let end = rest.find('\n').unwrap_or(rest.len());
        rest.get(..end).map(|line| line.trim_end_matches('\r'))
    }

    /// The byte index of the character that has `column` others before it in its line; the end of a line that has
    /// fewer.
    fn byte_offset(&self, line: u32, column: u32) -> Option<usize> {
        if line == 0 {
            return None;
        }
        let marks = self.line_index.get_or_init(|| build_line_index(&self.text));
        let before = marks.partition_point(|mark| (mark.line, mark.column) <= (line, column));
        let mark = *marks.get(before.checked_sub(1)?)?;
        let (mut at, mut left) = ((mark.line, mark.column), mark.byte);
        for c in self.text.get(mark.byte..)?.chars() {
            if at >= (line, column) || (at.0 == line && c == '\n') {
                return Some(left);
            }
            steps::add(1);
            left += c.len_utf8();
            at = if c == '\n' { (at.0.saturating_add(1), 0) } else { (at.0, at.1.saturating_add(1)) };
        }
        (at.0 == line).then_some(left)
    }
}

fn build_line_index(text: &str) -> Vec<LineIndexEntry> {
    steps::add(text.len());
    let (mut marks, mut next) = (Vec::with_capacity(text.len() / LINE_INDEX_INTERVAL + 1), 0);
    let (mut line, mut column) = (1_u32, 0_u32);
    for (byte, c) in text.char_indices() {
        if byte >= next {
            marks.push(LineIndexEntry { byte, line, column });
            next = byte.saturating_add(LINE_INDEX_INTERVAL);
        }
        (line, column) = if c == '\n' { (line.saturating_add(1), 0) } else { (line, column.saturating_add(1)) };
    }
    if marks.is_empty() {
        marks.push(LineIndexEntry { byte: 0, line: 1, column: 0 });
    }
    marks
}

/// Where a key or a value was written.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceLocation {
    /// File path, `yaml:`, `env:NAME` or `--set a.b=c`.
    pub source: Arc<str>,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// Characters to underline; cut at the end of the line when shown.
    pub width: u32,
    /// For showing the line.
    pub text: Arc<SourceText>,
}

impl SourceLocation {
    /// A place of one character.
    pub fn new(text: &Arc<SourceText>, line: u32, column: u32) -> Self {
        Self { source: text.name.clone(), line, column, width: 1, text: text.clone() }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

impl fmt::Debug for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One value of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigNode {
    /// What it is.
    pub value: NodeValue,
    /// Where it was written; for an expanded value, where the `${..}` is written.
    pub origin: SourceLocation,
    /// The text that a `${..}` expanded to, if it was the whole value and its parsed value is not a string: a string
    /// field takes this text.
    pub raw: Option<Arc<str>>,
    /// A mistake in this value is reported already: a `Section` treats it as absent and reports nothing more.
    pub broken: bool,
}

impl ConfigNode {
    /// A node without raw text.
    pub const fn new(value: NodeValue, origin: SourceLocation) -> Self {
        Self { value, origin, raw: None, broken: false }
    }

    /// The map, if the value is one.
    pub const fn as_map(&self) -> Option<&NodeMap> {
        match &self.value {
            NodeValue::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Follows keys separated by `::` through maps.
    pub fn get_path(&self, path: &str) -> Option<&Self> {
        steps::add(1);
        path.split("::").try_fold(self, |node, key| node.as_map()?.get(key).map(|e| &e.node))
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a sequence; empty for any other value.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            NodeValue::List(items) => items,
            _ => &[],
        }
    }

    /// The place of the deepest part of a path that is written: of its key if the value is a map, a list or null, else
    /// of the value.
    pub fn nearest_origin(&self, path: &str) -> &SourceLocation {
        let (mut node, mut origin) = (self, &self.origin);
        for key in path.split("::") {
            let Some(entry) = node.as_map().and_then(|map| map.get(key)) else { break };
            let leaf = !matches!(entry.node.value, NodeValue::Map(_) | NodeValue::List(_) | NodeValue::Null);
            origin = if leaf { &entry.node.origin } else { &entry.key_origin };
            node = &entry.node;
        }
        origin
    }
}

/// The types that YAML scalars and collections resolve to.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    /// `~`, `null` or an absent value.
    Null,
    /// `true` or `false`; never `yes` or `no`.
    Bool(bool),
    /// Within the range of Go's int64 or uint64.
    Int(i128),
    /// IEEE double.
    Float(f64),
    /// Everything else that is scalar.
    Str(Arc<str>),
    /// A sequence.
    List(Vec<ConfigNode>),
    /// A mapping.
    Map(NodeMap),
}

impl NodeValue {
    /// The name of the type as Go prints it.
    pub fn go_type(&self) -> &'static str {
        match self {
            Self::Null => "nil",
            Self::Bool(_) => "bool",
            Self::Int(v) if i64::try_from(*v).is_err() => "uint64",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// The kind of the type as Go's reflection names it.
    pub fn go_kind(&self) -> &'static str {
        match self {
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            other => other.go_type(),
        }
    }
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeEntry {
    /// The key as written, without quotes.
    pub key: Arc<str>,
    /// Where the key is written.
    pub key_origin: SourceLocation,
    /// Its value.
    pub node: ConfigNode,
}

/// A mapping that keeps the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeMap {
    entries: Vec<NodeEntry>,
    index: BTreeMap<Arc<str>, usize>,
}

impl NodeMap {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&NodeEntry> {
        self.index.get(key).and_then(|i| self.entries.get(*i))
    }

    /// The entry of a key, to change its value.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut NodeEntry> {
        self.index.get(key).and_then(|i| self.entries.get_mut(*i))
    }

    /// Adds an entry at the end, or replaces the one with the same key in its place.
    pub fn insert(&mut self, entry: NodeEntry) {
        if let Some(old) = self.get_mut(&entry.key) {
            *old = entry;
            return;
        }
        self.index.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
    }

    /// Entries in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, NodeEntry> {
        self.entries.iter()
    }

    /// Values to change, with their keys, in the order of the file.
    pub fn values_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut ConfigNode)> {
        self.entries.iter_mut().map(|e| (&e.key, &mut e.node))
    }

    /// Entries to change in place. A key that is changed here is no longer found under its name, so this is for the
    /// crate itself only.
    pub(crate) fn entries_mut(&mut self) -> std::slice::IterMut<'_, NodeEntry> {
        self.entries.iter_mut()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl IntoIterator for NodeMap {
    type Item = NodeEntry;
    type IntoIter = std::vec::IntoIter<NodeEntry>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a NodeMap {
    type Item = &'a NodeEntry;
    type IntoIter = std::slice::Iter<'a, NodeEntry>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A typed value together with the place where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: SourceLocation,
}

impl<T> Deref for Located<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
