//! YAML text to a tree with positions, with the semantics of Go's yaml.v3 on a YAML 1.2 event parser.
//!
//! Anchors, aliases and merge keys are resolved here. Depth, size and the number of nodes from aliases are bounded.
//! Duplicate keys are all reported, and their values merged so that the rest of the configuration can still be checked.
//! A configuration is the first document of a stream; manifests are all of them. Nothing here depends on the collector.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::merge::merge;
use crate::node::{ConfigNode, NodeEntry, NodeMap, NodeValue, SourceLocation, SourceText};
use crate::{scalar, steps};

/// Deeper nesting than this is refused.
pub(crate) const MAX_DEPTH: usize = 100;
/// Sources with more bytes than this are refused.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// More values than this are refused. Each takes a few hundred bytes of memory, however few bytes it has in the text.
const MAX_NODES: usize = 1_000_000;
/// How many nodes aliases may add to one document.
const MAX_ALIASED: usize = 100_000;
/// How many nodes anchors may keep for later aliases. An anchor inside an anchor is kept in both.
const MAX_ANCHORED: usize = 1_000_000;

/// How many bytes may be read again because of tabs after colons.
const MAX_REPAIR_BYTES: usize = 16 << 20;

/// A parsed document.
pub(crate) struct ParsedDocument {
    pub(crate) node: ConfigNode,
    /// Keys that occur twice in one map.
    pub(crate) duplicates: Vec<DuplicateKey>,
    /// How many nodes the tree has.
    pub(crate) node_count: usize,
}

/// A key that occurs twice in one map.
pub(crate) struct DuplicateKey {
    pub(crate) key: Arc<str>,
    pub(crate) first: SourceLocation,
    pub(crate) second: SourceLocation,
}

/// Why a text is not YAML.
pub(crate) struct YamlError {
    pub(crate) message: String,
    pub(crate) origin: SourceLocation,
    /// The place is a line that is indented with a tab.
    pub(crate) tab_indent: bool,
    /// A tab between a key and its value, which yaml.v3 allows and the parser does not: its index in characters.
    tab_index: Option<usize>,
}

const EXCESSIVE_ALIASING: &str = "document contains excessive aliasing";

/// Documents beyond this number are not read.
const MAX_DOCUMENTS: usize = 10_000;

/// Reads the first document. A text without a document is null.
pub(crate) fn parse(source: &Arc<SourceText>) -> Result<ParsedDocument, YamlError> {
    let empty = || ParsedDocument {
        node: ConfigNode::new(NodeValue::Null, SourceLocation::new(source, 1, 1)),
        duplicates: Vec::new(),
        node_count: 1,
    };
    let (mut documents, error) = parse_repaired(source, 1);
    match error {
        Some(error) => Err(error),
        None => Ok(documents.pop().unwrap_or_else(empty)),
    }
}

/// Reads every document up to the first mistake.
pub(crate) fn parse_all(source: &Arc<SourceText>) -> (Vec<ParsedDocument>, Option<YamlError>) {
    parse_repaired(source, MAX_DOCUMENTS)
}

fn parse_repaired(source: &Arc<SourceText>, max_documents: usize) -> (Vec<ParsedDocument>, Option<YamlError>) {
    let start = SourceLocation::new(source, 1, 1);
    if source.text.len() > MAX_BYTES {
        let message = format!("the text is larger than {MAX_BYTES} bytes");
        return (Vec::new(), Some(YamlError { message, origin: start, tab_indent: false, tab_index: None }));
    }
    steps::add(source.text.len());
    if let Some((at, _)) = source.text.char_indices().find(|(_, c)| !is_allowed(*c)) {
        let before = source.text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let breaks = before.bytes().filter(|b| *b == b'\n').count();
        let origin = SourceLocation::new(
            source,
            number(breaks).saturating_add(1),
            number(line.chars().count()).saturating_add(1),
        );
        let message = "control characters are not allowed".to_owned();
        return (Vec::new(), Some(YamlError { message, origin, tab_indent: false, tab_index: None }));
    }
    let mut text = Cow::Borrowed(&*source.text);
    let mut remaining = MAX_REPAIR_BYTES;
    loop {
        let (documents, error) = parse_text(source, &text, max_documents);
        let Some(error) = error else { return (documents, None) };
        // A space in place of the tab does not change any position.
        let at = error.tab_index.and_then(|index| text.char_indices().nth(index)).filter(|(_, c)| *c == '\t');
        match (at, remaining.checked_sub(text.len())) {
            (Some((at, _)), Some(left)) => {
                text.to_mut().replace_range(at..=at, " ");
                remaining = left;
            }
            _ => return (documents, Some(error)),
        }
    }
}

/// The characters that yaml.v3 reads: no control characters except tab and line breaks. In double quotes, escapes can
/// be used for the others.
const fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn parse_text(source: &Arc<SourceText>, text: &str, max_documents: usize) -> (Vec<ParsedDocument>, Option<YamlError>) {
    let mut documents = Vec::new();
    let mut builder = NodeBuilder {
        parser: Parser::new_from_str(text),
        source,
        anchors: BTreeMap::new(),
        open_anchors: BTreeSet::new(),
        aliased_nodes: 0,
        anchored_nodes: 0,
        nodes: 0,
        duplicates: Vec::new(),
    };
    loop {
        match builder.next_document() {
            Ok(Some(parsed)) => documents.push(parsed),
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
        if documents.len() == max_documents {
            return (documents, None);
        }
    }
}

#[derive(Clone)]
struct BuiltNode {
    node: ConfigNode,
    node_count: usize,
    height: usize,
}

struct NodeBuilder<'s> {
    parser: Parser<'s, StrInput<'s>>,
    source: &'s Arc<SourceText>,
    anchors: BTreeMap<usize, BuiltNode>,
    /// Anchors whose node is still being read: an alias to one of them would contain itself.
    open_anchors: BTreeSet<usize>,
    aliased_nodes: usize,
    anchored_nodes: usize,
    /// Of all documents.
    nodes: usize,
    duplicates: Vec<DuplicateKey>,
}

impl<'s> NodeBuilder<'s> {
    /// The next document; `None` at the end of the stream.
    fn next_document(&mut self) -> Result<Option<ParsedDocument>, YamlError> {
        loop {
            match self.next_event()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(_), _) => {
                    (self.anchors, self.open_anchors, self.anchored_nodes) = (BTreeMap::new(), BTreeSet::new(), 0);
                    let (event, span) = self.next_event()?;
                    let built = self.build_node(event, span, 1, None)?;
                    // The document must end here: if it does not, the parser returns an error for the next event.
                    self.next_event()?;
                    let duplicates = std::mem::take(&mut self.duplicates);
                    return Ok(Some(ParsedDocument { node: built.node, duplicates, node_count: built.node_count }));
                }
                _ => {}
            }
        }
    }

    fn next_event(&mut self) -> Result<(Event<'s>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = *error.marker();
                Err(self.error_at(&Span::empty(marker), error.info()))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn location(&self, span: &Span) -> SourceLocation {
        let number = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
        let mut origin = SourceLocation::new(
            self.source,
            number(span.start.line().max(1)),
            number(span.start.col().saturating_add(1)),
        );
        origin.width = if span.start.line() == span.end.line() {
            number(span.end.col().saturating_sub(span.start.col()).max(1))
        } else {
            u32::MAX
        };
        origin
    }

    fn error_at(&self, span: &Span, message: &str) -> YamlError {
        let mut origin = self.location(span);
        let length = |line: &str| u32::try_from(line.chars().count()).unwrap_or(u32::MAX);
        // An error at the end of the input is reported at the end of the last line that is not blank.
        if self.source.line(origin.line).is_none_or(|l| l.trim().is_empty()) {
            let rest = self.source.text_from_line(origin.line).unwrap_or_default();
            let before = self.source.text.get(..self.source.text.len() - rest.len()).unwrap_or_default().trim_end();
            steps::add(before.len());
            let last = before.rsplit('\n').next().unwrap_or_default();
            let breaks = u32::try_from(before.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX);
            (origin.line, origin.column) = (breaks.saturating_add(1), length(last).saturating_add(1));
        }
        // The parser reports a tab at the start of its scalar; the line that the tab indents is the better place.
        let mut tab_indent = false;
        if message.contains("tab") {
            let indent = |number: u32| {
                let line = self.source.line(number)?;
                let blank = line.get(..line.len() - line.trim_start().len())?;
                blank.find('\t').map(|at| (number, length(blank.get(..at).unwrap_or("")).saturating_add(1)))
            };
            if let Some(place) = indent(origin.line).or_else(|| indent(origin.line.saturating_add(1))) {
                (origin.line, origin.column, origin.width, tab_indent) = (place.0, place.1, 1, true);
            }
        }
        let after_colon = message.starts_with("':' must be followed by");
        let tab_index = after_colon.then(|| span.start.index().saturating_sub(1));
        YamlError { message: message.to_owned(), origin, tab_indent, tab_index }
    }

    /// `at` is the key, which is the better place for a value that is absent.
    fn build_node(
        &mut self,
        event: Event<'s>,
        span: Span,
        depth: usize,
        at: Option<&SourceLocation>,
    ) -> Result<BuiltNode, YamlError> {
        if depth > MAX_DEPTH {
            return Err(self.error_at(&span, &format!("exceeded max depth of {MAX_DEPTH}")));
        }
        steps::add(1);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error_at(&span, &format!("the text has more than {MAX_NODES} values")));
        }
        match event {
            Event::Alias(id) => self.resolve_alias(id, &span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.resolve_scalar(&text, style, tag.as_deref(), &span)?;
                let absent = text.is_empty() && style == ScalarStyle::Plain;
                let origin = at.filter(|_| absent).cloned().unwrap_or_else(|| self.location(&span));
                self.store_anchor(
                    anchor,
                    &span,
                    BuiltNode { node: ConfigNode::new(value, origin), node_count: 1, height: 0 },
                )
            }
            Event::SequenceStart(anchor, _) => {
                self.open_anchors.insert(anchor);
                let built = self.build_sequence(&span, depth)?;
                self.store_anchor(anchor, &span, built)
            }
            Event::MappingStart(anchor, _) => {
                self.open_anchors.insert(anchor);
                let built = self.build_mapping(&span, depth)?;
                self.store_anchor(anchor, &span, built)
            }
            _ => Err(self.error_at(&span, "did not find expected node content")),
        }
    }

    /// Anchor 0 means that there is none.
    fn store_anchor(&mut self, anchor: usize, span: &Span, built: BuiltNode) -> Result<BuiltNode, YamlError> {
        self.open_anchors.remove(&anchor);
        if anchor != 0 {
            self.anchored_nodes = self.anchored_nodes.saturating_add(built.node_count);
            if self.anchored_nodes > MAX_ANCHORED {
                return Err(self.error_at(span, EXCESSIVE_ALIASING));
            }
            steps::add(built.node_count);
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn resolve_alias(&mut self, id: usize, span: &Span, depth: usize) -> Result<BuiltNode, YamlError> {
        if self.open_anchors.contains(&id) {
            return Err(self.error_at(span, "anchor value contains itself"));
        }
        let Some(built) = self.anchors.get(&id) else {
            return Err(self.error_at(span, "unknown anchor"));
        };
        if depth + built.height > MAX_DEPTH {
            return Err(self.error_at(span, &format!("exceeded max depth of {MAX_DEPTH}")));
        }
        self.aliased_nodes = self.aliased_nodes.saturating_add(built.node_count);
        if self.aliased_nodes > MAX_ALIASED {
            return Err(self.error_at(span, EXCESSIVE_ALIASING));
        }
        steps::add(built.node_count);
        Ok(built.clone())
    }

    fn resolve_scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Span,
    ) -> Result<NodeValue, YamlError> {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() => {
                scalar::resolve_tagged(&tag.suffix, text).map_err(|message| self.error_at(span, &message))
            }
            // The tag `!` alone makes a string; other private tags are ignored, as in Go.
            Some(tag) if tag.suffix.is_empty() => Ok(NodeValue::Str(text.into())),
            _ if style == ScalarStyle::Plain => Ok(scalar::resolve(text)),
            _ => Ok(NodeValue::Str(text.into())),
        }
    }

    fn build_sequence(&mut self, span: &Span, depth: usize) -> Result<BuiltNode, YamlError> {
        let (mut items, mut node_count, mut height) = (Vec::new(), 1_usize, 0);
        loop {
            let (event, at) = self.next_event()?;
            if matches!(event, Event::SequenceEnd) {
                let node = ConfigNode::new(NodeValue::List(items), self.location(span));
                return Ok(BuiltNode { node, node_count, height });
            }
            let item = self.build_node(event, at, depth + 1, None)?;
            node_count = node_count.saturating_add(item.node_count);
            height = height.max(item.height + 1);
            items.push(item.node);
        }
    }

    fn build_mapping(&mut self, span: &Span, depth: usize) -> Result<BuiltNode, YamlError> {
        let (mut map, mut merges, mut node_count, mut height) = (NodeMap::default(), Vec::new(), 1_usize, 0);
        let mut first_merge: Option<SourceLocation> = None;
        loop {
            let (event, at) = self.next_event()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key_origin = self.location(&at);
            let (key, is_merge) = self.map_key(event, at)?;
            let (event, at) = self.next_event()?;
            let value_span = at;
            let value = self.build_node(event, at, depth + 1, Some(&key_origin))?;
            node_count = node_count.saturating_add(value.node_count);
            height = height.max(value.height + 1);
            if is_merge {
                if let Some(first) = &first_merge {
                    self.duplicates.push(DuplicateKey {
                        key: key.clone(),
                        first: first.clone(),
                        second: key_origin.clone(),
                    });
                }
                first_merge.get_or_insert(key_origin);
                self.collect_merge(value.node, &value_span, &mut merges)?;
            } else if let Some(old) = map.get_mut(&key) {
                self.duplicates.push(DuplicateKey { key, first: old.key_origin.clone(), second: key_origin });
                merge(&mut old.node, value.node, &mut String::new(), false);
            } else {
                map.insert(NodeEntry { key, key_origin, node: value.node });
            }
        }
        // Keys written in the map take precedence over merged ones, and earlier merged maps over later ones.
        for entry in merges.into_iter().flatten() {
            if map.get(&entry.key).is_none() {
                map.insert(entry);
            }
        }
        Ok(BuiltNode { node: ConfigNode::new(NodeValue::Map(map), self.location(span)), node_count, height })
    }

    /// Keys are text: `1: x` has the key `1`, and `0x10: x` the key `16`.
    fn map_key(&mut self, event: Event<'s>, span: Span) -> Result<(Arc<str>, bool), YamlError> {
        if matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return Err(self.error_at(&span, "invalid map key"));
        }
        let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
        let written: Option<Arc<str>> = match &event {
            Event::Scalar(text, ..) => Some(text.as_ref().into()),
            _ => None,
        };
        let value = self.build_node(event, span, MAX_DEPTH, None)?.node.value;
        let key = match value {
            NodeValue::Str(text) => text,
            NodeValue::Int(v) => v.to_string().into(),
            NodeValue::Bool(v) => v.to_string().into(),
            NodeValue::Null | NodeValue::Float(_) => written.unwrap_or_else(|| "null".into()),
            NodeValue::List(_) | NodeValue::Map(_) => return Err(self.error_at(&span, "invalid map key")),
        };
        Ok((key, is_merge))
    }

    fn collect_merge(&self, node: ConfigNode, span: &Span, merges: &mut Vec<NodeMap>) -> Result<(), YamlError> {
        let error = || self.error_at(span, "map merge requires map or sequence of maps as the value");
        match node.value {
            NodeValue::Map(map) => merges.push(map),
            NodeValue::List(items) => {
                for item in items {
                    let NodeValue::Map(map) = item.value else { return Err(error()) };
                    merges.push(map);
                }
            }
            _ => return Err(error()),
        }
        Ok(())
    }
}
