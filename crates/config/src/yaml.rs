//! YAML text to a tree with positions, with the semantics of Go's yaml.v3 on a YAML 1.2 event parser.
//!
//! Anchors, aliases and merge keys are resolved here. Depth, size and the number of nodes from aliases are bounded.
//! Duplicate keys are all reported, and their values merged so that the rest of the configuration can still be checked.
//! A configuration is the first document of a stream; manifests are all of them. Nothing here depends on the collector.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::load::merge;
use crate::node::{Entry, Map, Node, Origin, SourceText, Value};
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
const MAX_REPAIR: usize = 16 << 20;

/// A parsed document.
pub(crate) struct Parsed {
    pub(crate) node: Node,
    /// Keys that occur twice in one map.
    pub(crate) duplicates: Vec<Duplicate>,
    /// How many nodes the tree has.
    pub(crate) weight: usize,
}

/// A key that occurs twice in one map.
pub(crate) struct Duplicate {
    pub(crate) key: Arc<str>,
    pub(crate) first: Origin,
    pub(crate) again: Origin,
}

/// Why a text is not YAML.
pub(crate) struct YamlError {
    pub(crate) message: String,
    pub(crate) origin: Origin,
    /// The place is a line that is indented with a tab.
    pub(crate) tab: bool,
    /// A tab between a key and its value, which yaml.v3 allows and the parser does not: its index in characters.
    repair: Option<usize>,
}

const EXCESSIVE: &str = "document contains excessive aliasing";

/// Documents beyond this number are not read.
const MAX_DOCUMENTS: usize = 10_000;

/// Reads the first document. A text without a document is null.
pub(crate) fn parse(source: &Arc<SourceText>) -> Result<Parsed, YamlError> {
    let nothing =
        || Parsed { node: Node::new(Value::Null, Origin::new(source, 1, 1)), duplicates: Vec::new(), weight: 1 };
    let (mut documents, error) = repaired(source, 1);
    match error {
        Some(error) => Err(error),
        None => Ok(documents.pop().unwrap_or_else(nothing)),
    }
}

/// Reads every document up to the first mistake.
pub(crate) fn parse_all(source: &Arc<SourceText>) -> (Vec<Parsed>, Option<YamlError>) {
    repaired(source, MAX_DOCUMENTS)
}

fn repaired(source: &Arc<SourceText>, most: usize) -> (Vec<Parsed>, Option<YamlError>) {
    let start = Origin::new(source, 1, 1);
    if source.text.len() > MAX_BYTES {
        let message = format!("the text is larger than {MAX_BYTES} bytes");
        return (Vec::new(), Some(YamlError { message, origin: start, tab: false, repair: None }));
    }
    steps::add(source.text.len());
    if let Some((at, _)) = source.text.char_indices().find(|(_, c)| !allowed(*c)) {
        let before = source.text.get(..at).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let breaks = before.bytes().filter(|b| *b == b'\n').count();
        let origin =
            Origin::new(source, number(breaks).saturating_add(1), number(line.chars().count()).saturating_add(1));
        let message = "control characters are not allowed".to_owned();
        return (Vec::new(), Some(YamlError { message, origin, tab: false, repair: None }));
    }
    let mut text = Cow::Borrowed(&*source.text);
    let mut work = MAX_REPAIR;
    loop {
        let (documents, error) = read(source, &text, most);
        let Some(error) = error else { return (documents, None) };
        // A space in place of the tab does not change any position.
        let at = error.repair.and_then(|index| text.char_indices().nth(index)).filter(|(_, c)| *c == '\t');
        match (at, work.checked_sub(text.len())) {
            (Some((at, _)), Some(left)) => {
                text.to_mut().replace_range(at..=at, " ");
                work = left;
            }
            _ => return (documents, Some(error)),
        }
    }
}

/// The characters that yaml.v3 reads: no control characters except tab and line breaks. In double quotes, escapes can
/// be used for the others.
const fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

fn read(source: &Arc<SourceText>, text: &str, most: usize) -> (Vec<Parsed>, Option<YamlError>) {
    let mut documents = Vec::new();
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        source,
        anchors: BTreeMap::new(),
        open: BTreeSet::new(),
        aliased: 0,
        anchored: 0,
        nodes: 0,
        duplicates: Vec::new(),
    };
    loop {
        match builder.document() {
            Ok(Some(parsed)) => documents.push(parsed),
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
        if documents.len() == most {
            return (documents, None);
        }
    }
}

#[derive(Clone)]
struct Built {
    node: Node,
    weight: usize,
    height: usize,
}

struct Builder<'s> {
    parser: Parser<'s, StrInput<'s>>,
    source: &'s Arc<SourceText>,
    anchors: BTreeMap<usize, Built>,
    /// Anchors whose node is still being read: an alias to one of them would contain itself.
    open: BTreeSet<usize>,
    aliased: usize,
    anchored: usize,
    /// Of all documents.
    nodes: usize,
    duplicates: Vec<Duplicate>,
}

impl<'s> Builder<'s> {
    /// The next document; `None` at the end of the stream.
    fn document(&mut self) -> Result<Option<Parsed>, YamlError> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(_), _) => {
                    (self.anchors, self.open, self.anchored) = (BTreeMap::new(), BTreeSet::new(), 0);
                    let (event, span) = self.next()?;
                    let built = self.node(event, span, 1, None)?;
                    // The document must end here: if it does not, the parser returns an error for the next event.
                    self.next()?;
                    let duplicates = std::mem::take(&mut self.duplicates);
                    return Ok(Some(Parsed { node: built.node, duplicates, weight: built.weight }));
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'s>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let marker = *error.marker();
                Err(self.error_at(&Span::empty(marker), error.info()))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn origin(&self, span: &Span) -> Origin {
        let number = |v: usize| u32::try_from(v).unwrap_or(u32::MAX);
        let mut origin =
            Origin::new(self.source, number(span.start.line().max(1)), number(span.start.col().saturating_add(1)));
        origin.width = if span.start.line() == span.end.line() {
            number(span.end.col().saturating_sub(span.start.col()).max(1))
        } else {
            u32::MAX
        };
        origin
    }

    fn error_at(&self, span: &Span, message: &str) -> YamlError {
        let mut origin = self.origin(span);
        let length = |line: &str| u32::try_from(line.chars().count()).unwrap_or(u32::MAX);
        // An error at the end of the input is reported at the end of the last line that is not blank.
        if self.source.line(origin.line).is_none_or(|l| l.trim().is_empty()) {
            let rest = self.source.from_line(origin.line).unwrap_or_default();
            let before = self.source.text.get(..self.source.text.len() - rest.len()).unwrap_or_default().trim_end();
            steps::add(before.len());
            let last = before.rsplit('\n').next().unwrap_or_default();
            let breaks = u32::try_from(before.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX);
            (origin.line, origin.column) = (breaks.saturating_add(1), length(last).saturating_add(1));
        }
        // The parser reports a tab at the start of its scalar; the line that the tab indents is the better place.
        let mut tab = false;
        if message.contains("tab") {
            let indent = |number: u32| {
                let line = self.source.line(number)?;
                let blank = line.get(..line.len() - line.trim_start().len())?;
                blank.find('\t').map(|at| (number, length(blank.get(..at).unwrap_or("")).saturating_add(1)))
            };
            if let Some(place) = indent(origin.line).or_else(|| indent(origin.line.saturating_add(1))) {
                (origin.line, origin.column, origin.width, tab) = (place.0, place.1, 1, true);
            }
        }
        let after_colon = message.starts_with("':' must be followed by");
        let repair = after_colon.then(|| span.start.index().saturating_sub(1));
        YamlError { message: message.to_owned(), origin, tab, repair }
    }

    /// `at` is the key, which is the better place for a value that is absent.
    fn node(&mut self, event: Event<'s>, span: Span, depth: usize, at: Option<&Origin>) -> Result<Built, YamlError> {
        if depth > MAX_DEPTH {
            return Err(self.error_at(&span, &format!("exceeded max depth of {MAX_DEPTH}")));
        }
        steps::add(1);
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error_at(&span, &format!("the text has more than {MAX_NODES} values")));
        }
        match event {
            Event::Alias(id) => self.alias(id, &span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &span)?;
                let absent = text.is_empty() && style == ScalarStyle::Plain;
                let origin = at.filter(|_| absent).cloned().unwrap_or_else(|| self.origin(&span));
                self.keep(anchor, &span, Built { node: Node::new(value, origin), weight: 1, height: 0 })
            }
            Event::SequenceStart(anchor, _) => {
                self.open.insert(anchor);
                let built = self.sequence(&span, depth)?;
                self.keep(anchor, &span, built)
            }
            Event::MappingStart(anchor, _) => {
                self.open.insert(anchor);
                let built = self.mapping(&span, depth)?;
                self.keep(anchor, &span, built)
            }
            _ => Err(self.error_at(&span, "did not find expected node content")),
        }
    }

    /// Anchor 0 means that there is none.
    fn keep(&mut self, anchor: usize, span: &Span, built: Built) -> Result<Built, YamlError> {
        self.open.remove(&anchor);
        if anchor != 0 {
            self.anchored = self.anchored.saturating_add(built.weight);
            if self.anchored > MAX_ANCHORED {
                return Err(self.error_at(span, EXCESSIVE));
            }
            steps::add(built.weight);
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn alias(&mut self, id: usize, span: &Span, depth: usize) -> Result<Built, YamlError> {
        if self.open.contains(&id) {
            return Err(self.error_at(span, "anchor value contains itself"));
        }
        let Some(built) = self.anchors.get(&id) else {
            return Err(self.error_at(span, "unknown anchor"));
        };
        if depth + built.height > MAX_DEPTH {
            return Err(self.error_at(span, &format!("exceeded max depth of {MAX_DEPTH}")));
        }
        self.aliased = self.aliased.saturating_add(built.weight);
        if self.aliased > MAX_ALIASED {
            return Err(self.error_at(span, EXCESSIVE));
        }
        steps::add(built.weight);
        Ok(built.clone())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, YamlError> {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() => {
                scalar::resolve_tagged(&tag.suffix, text).map_err(|message| self.error_at(span, &message))
            }
            // The tag `!` alone makes a string; other private tags are ignored, as in Go.
            Some(tag) if tag.suffix.is_empty() => Ok(Value::Str(text.into())),
            _ if style == ScalarStyle::Plain => Ok(scalar::resolve(text)),
            _ => Ok(Value::Str(text.into())),
        }
    }

    fn sequence(&mut self, span: &Span, depth: usize) -> Result<Built, YamlError> {
        let (mut items, mut weight, mut height) = (Vec::new(), 1_usize, 0);
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let node = Node::new(Value::List(items), self.origin(span));
                return Ok(Built { node, weight, height });
            }
            let item = self.node(event, at, depth + 1, None)?;
            weight = weight.saturating_add(item.weight);
            height = height.max(item.height + 1);
            items.push(item.node);
        }
    }

    fn mapping(&mut self, span: &Span, depth: usize) -> Result<Built, YamlError> {
        let (mut map, mut merges, mut weight, mut height) = (Map::default(), Vec::new(), 1_usize, 0);
        let mut first_merge: Option<Origin> = None;
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key_origin = self.origin(&at);
            let (key, is_merge) = self.key(event, at)?;
            let (event, at) = self.next()?;
            let value_span = at;
            let value = self.node(event, at, depth + 1, Some(&key_origin))?;
            weight = weight.saturating_add(value.weight);
            height = height.max(value.height + 1);
            if is_merge {
                if let Some(first) = &first_merge {
                    self.duplicates.push(Duplicate {
                        key: key.clone(),
                        first: first.clone(),
                        again: key_origin.clone(),
                    });
                }
                first_merge.get_or_insert(key_origin);
                self.collect_merge(value.node, &value_span, &mut merges)?;
            } else if let Some(old) = map.get_mut(&key) {
                self.duplicates.push(Duplicate { key, first: old.key_origin.clone(), again: key_origin });
                merge(&mut old.node, value.node, &mut String::new(), false);
            } else {
                map.insert(Entry { key, key_origin, node: value.node });
            }
        }
        // Keys written in the map take precedence over merged ones, and earlier merged maps over later ones.
        for entry in merges.into_iter().flatten() {
            if map.get(&entry.key).is_none() {
                map.insert(entry);
            }
        }
        Ok(Built { node: Node::new(Value::Map(map), self.origin(span)), weight, height })
    }

    /// Keys are text: `1: x` has the key `1`, and `0x10: x` the key `16`.
    fn key(&mut self, event: Event<'s>, span: Span) -> Result<(Arc<str>, bool), YamlError> {
        if matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return Err(self.error_at(&span, "invalid map key"));
        }
        let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
        let written: Option<Arc<str>> = match &event {
            Event::Scalar(text, ..) => Some(text.as_ref().into()),
            _ => None,
        };
        let value = self.node(event, span, MAX_DEPTH, None)?.node.value;
        let key = match value {
            Value::Str(text) => text,
            Value::Int(v) => v.to_string().into(),
            Value::Bool(v) => v.to_string().into(),
            Value::Null | Value::Float(_) => written.unwrap_or_else(|| "null".into()),
            Value::List(_) | Value::Map(_) => return Err(self.error_at(&span, "invalid map key")),
        };
        Ok((key, is_merge))
    }

    fn collect_merge(&self, node: Node, span: &Span, merges: &mut Vec<Map>) -> Result<(), YamlError> {
        let wrong = || self.error_at(span, "map merge requires map or sequence of maps as the value");
        match node.value {
            Value::Map(map) => merges.push(map),
            Value::List(items) => {
                for item in items {
                    let Value::Map(map) = item.value else { return Err(wrong()) };
                    merges.push(map);
                }
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}
