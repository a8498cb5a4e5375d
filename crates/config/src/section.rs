//! Reading of typed values: a component reads its keys, and a key that it does not read is a mistake.
//!
//! Every getter takes the key and the default. It reports a value that does not convert, at the place of the value, and
//! then uses the default, so that one run finds all mistakes. Every key that is read is recorded with its effective
//! value. Null is the default for sections, lists and maps, and the zero value for scalars, as in the Go collector.
//!
//! One mistake gives one message: an error of a component about a key whose value was refused already, or whose name is
//! misspelt, is left out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use crate::convert::{self, ConversionError, Integer};
use crate::diagnostics::{DiagnosticDraft, DiagnosticKind, Diagnostics};
use crate::duration::GoDuration;
use crate::id::{ComponentId, IdError, PipelineId};
use crate::nested_source::location_in_text;
use crate::node::{ConfigNode, Located, NodeMap, NodeValue, SourceLocation};
use crate::print::EffectiveValue;
use crate::suggest::{nearest_name, nearest_within_budget};
use crate::{Diagnostic, Severity, steps};

/// The state of an optional section when its key is absent, as in Go's `configoptional`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionalFlavor {
    /// Off; null leaves it off, a map turns it on.
    None,
    /// Off; null and a map turn it on.
    Default,
    /// On.
    Some,
}

/// The effective values below one section; clones share them, so one can be kept when the section is passed on.
#[derive(Clone, Debug, Default)]
pub struct EffectiveRecorder(Rc<RefCell<BTreeMap<String, RecordedValue>>>);

#[derive(Clone, Debug)]
enum RecordedValue {
    Leaf(EffectiveValue),
    Section(EffectiveRecorder),
    List(Vec<EffectiveRecorder>),
}

impl EffectiveRecorder {
    /// The values as they are now.
    pub fn snapshot(&self) -> EffectiveValue {
        let slots = self.0.borrow();
        let value = |slot: &RecordedValue| match slot {
            RecordedValue::Leaf(value) => value.clone(),
            RecordedValue::Section(inner) => inner.snapshot(),
            RecordedValue::List(items) => EffectiveValue::List(items.iter().map(Self::snapshot).collect()),
        };
        EffectiveValue::map(slots.iter().map(|(key, slot)| (key.clone(), value(slot))))
    }

    fn insert(&self, key: &str, value: RecordedValue) {
        self.0.borrow_mut().insert(key.to_owned(), value);
    }
}

/// A map of the configuration, from which a component reads its values.
#[must_use = "finish() reports the keys that were not read"]
#[derive(Debug)]
pub struct Section<'a> {
    map: Option<&'a NodeMap>,
    origin: Option<&'a SourceLocation>,
    path: String,
    /// How many bytes of `path` are before the component's own keys.
    component_start: usize,
    read_keys: BTreeSet<String>,
    recorder: EffectiveRecorder,
    invalid_keys: Rc<InvalidKeys>,
    /// Mistakes about absent keys, each with a key of a similar name that has not been read. If that key turns out to
    /// be unknown, it is a misspelling of the absent one, and the mistake is left out.
    deferred: RefCell<Vec<(Arc<str>, Diagnostic)>>,
    /// Nothing uses the component: a mistake that the Go collector finds only when it starts the component is a
    /// warning.
    unused: bool,
    diagnostics: Diagnostics,
}

/// The keys of a section whose values have mistakes that are reported already.
#[derive(Debug, Default)]
struct InvalidKeys {
    /// `endpoint`, `headers::name`: the mistake is in the value itself.
    values: RefCell<BTreeSet<String>>,
    /// `headers`: the mistake is in the value or somewhere below it.
    ancestors: RefCell<BTreeSet<String>>,
    /// The section that contains this one, and the key of this one in it.
    parent: Option<(Rc<Self>, String)>,
}

impl InvalidKeys {
    fn add(&self, key: &str) {
        self.values.borrow_mut().insert(key.to_owned());
        self.ancestors.borrow_mut().insert(first_part(key).to_owned());
        if let Some((parent, own)) = &self.parent {
            parent.add(&format!("{own}::{key}"));
        }
    }

    fn contains(&self, key: &str) -> bool {
        let (first, values) = (first_part(key), self.values.borrow());
        values.contains(first) || values.contains(key) || (first == key && self.ancestors.borrow().contains(key))
    }

    fn is_empty(&self) -> bool {
        self.ancestors.borrow().is_empty()
    }
}

/// `headers` of `headers[0]::value`.
fn first_part(key: &str) -> &str {
    let key = key.split("::").next().unwrap_or(key);
    key.split('[').next().unwrap_or(key)
}

/// A header of [`Section::headers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderEntry {
    /// As written.
    pub name: String,
    /// Without the line breaks at its end, which a value from a file or variable often has.
    pub value: String,
    /// The key of the value, for [`Section::error`] and [`Section::warn`].
    pub key: String,
}

impl<'a> Section<'a> {
    /// The section of one component, or of the whole configuration with an empty path. `None` and null are empty
    /// sections.
    pub fn new(node: Option<&'a ConfigNode>, path: &str, d: &Diagnostics) -> Self {
        let mut section = Self::empty(node.map(|n| &n.origin), path.to_owned(), path.len(), d);
        section.set_map(node, path.rsplit("::").next().unwrap_or(path));
        section
    }

    fn empty(at: Option<&'a SourceLocation>, path: String, root: usize, d: &Diagnostics) -> Self {
        Self {
            map: None,
            origin: at,
            path,
            component_start: root,
            read_keys: BTreeSet::new(),
            recorder: EffectiveRecorder::default(),
            invalid_keys: Rc::default(),
            deferred: RefCell::default(),
            unused: false,
            diagnostics: d.clone(),
        }
    }

    fn set_map(&mut self, node: Option<&'a ConfigNode>, name: &str) {
        match node.filter(|n| !n.broken).map(|n| (n, convert::map(n))) {
            Some((_, Ok(map))) => self.map = map,
            Some((node, Err(refusal))) => {
                if let Some((parent, key)) = &self.invalid_keys.parent {
                    parent.add(key);
                }
                report_refusal(&self.diagnostics, node, &self.path, name, refusal);
            }
            None => {}
        }
    }

    fn child(&self, node: Option<&'a ConfigNode>, at: Option<&'a SourceLocation>, key: &str) -> Self {
        let mut section = Self::empty(at.or(self.origin), self.key_path(key), self.component_start, &self.diagnostics);
        section.invalid_keys = Rc::new(InvalidKeys {
            parent: Some((self.invalid_keys.clone(), key.to_owned())),
            ..InvalidKeys::default()
        });
        section.unused = self.unused;
        section.set_map(node, key);
        section
    }

    // ---- place and keys -------------------------------------------------------------------------------------------

    /// `receivers::otlp::protocols::grpc`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where this section was written; if it is absent, where the section that would contain it was written.
    pub const fn origin(&self) -> Option<&'a SourceLocation> {
        self.origin
    }

    /// The list that this section reports to.
    pub const fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// Whether the key is written, also as null. Does not mark it as read.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get_node(key).is_some()
    }

    /// Whether no key is written at all.
    pub fn is_empty(&self) -> bool {
        self.map.is_none_or(NodeMap::is_empty)
    }

    /// The keys that are written, in the order of the file. Does not mark them as read.
    pub fn child_keys(&self) -> Vec<Located<String>> {
        let entries = self.map.into_iter().flat_map(NodeMap::iter);
        entries.map(|e| Located { value: e.key.to_string(), origin: e.key_origin.clone() }).collect()
    }

    /// The effective values of this section, which are added as keys are read, here and in the sections below.
    pub fn recorder(&self) -> EffectiveRecorder {
        self.recorder.clone()
    }

    /// The effective values so far.
    pub fn effective(&self) -> EffectiveValue {
        self.recorder.snapshot()
    }

    /// The effective value of a key that has been read, other than that of a section.
    pub(crate) fn recorded(&self, key: &str) -> Option<EffectiveValue> {
        match self.recorder.0.borrow().get(key) {
            Some(RecordedValue::Leaf(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// Sets what `print-config` shows for a key.
    pub fn record(&mut self, key: &str, value: EffectiveValue) {
        self.recorder.insert(key, RecordedValue::Leaf(value));
    }

    /// Where the value of the key is written; for an absent key, where the section is written. A key such as
    /// `headers::name` or `headers[0]::value` names a value further down.
    pub fn origin_of(&self, key: &str) -> Option<&'a SourceLocation> {
        let value = self.get_node(key).or_else(|| self.descendant(key)).map(|n| &n.origin);
        value.or_else(|| self.section_of(key)).or(self.origin)
    }

    /// Where the innermost section that would contain the value of the key is written.
    fn section_of(&self, key: &str) -> Option<&'a SourceLocation> {
        let mut map = self.map?;
        let mut found = None;
        for part in key.split("::") {
            let Some(entry) = map.get(part) else { break };
            found = Some(&entry.key_origin);
            let Some(below) = entry.node.as_map() else { break };
            map = below;
        }
        found
    }

    fn descendant(&self, key: &str) -> Option<&'a ConfigNode> {
        let mut parts = key.split("::");
        let child_of = |map: &'a NodeMap, part: &str| -> Option<&'a ConfigNode> {
            if let Some(entry) = map.get(part) {
                return Some(&entry.node);
            }
            let (list, index) = part.strip_suffix(']')?.rsplit_once('[')?;
            map.get(list)?.node.items().get(index.parse::<usize>().ok()?)
        };
        let first = child_of(self.map?, parts.next()?)?;
        parts.try_fold(first, |node, part| child_of(node.as_map()?, part))
    }

    /// Records that no pipeline uses the component, and that the service does not start it: see
    /// [`Section::start_error`].
    pub const fn mark_unused(&mut self) {
        self.unused = true;
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}::{key}", self.path) }
    }

    /// The name that Go prints for this section: dotted below the component, else the whole path.
    fn go_name(&self) -> String {
        let below = self.path.get(self.component_start..).unwrap_or("").trim_start_matches("::");
        match (below.is_empty(), self.path.is_empty()) {
            (false, _) => below.replace("::", "."),
            (true, false) => self.path.clone(),
            (true, true) => "otelcol.configSettings".to_owned(),
        }
    }

    fn get_node(&self, key: &str) -> Option<&'a ConfigNode> {
        self.map?.get(key).map(|e| &e.node)
    }

    /// Marks the key as known. `None` if it is absent or reported already.
    fn take(&mut self, key: &str) -> Option<&'a ConfigNode> {
        self.read_keys.insert(key.to_owned());
        let node = self.get_node(key)?;
        if node.broken {
            self.invalid_keys.add(key);
        }
        (!node.broken).then_some(node)
    }

    fn refuse_value(&self, node: &ConfigNode, key: &str, refusal: ConversionError) {
        self.invalid_keys.add(key);
        report_refusal(&self.diagnostics, node, &self.key_path(key), key, refusal);
    }

    fn convert<T>(&mut self, key: &str, convert: impl Fn(&ConfigNode) -> Result<T, ConversionError>) -> Option<T> {
        let node = self.take(key)?;
        convert(node).map_err(|refusal| self.refuse_value(node, key, refusal)).ok()
    }

    fn scalar<T: Clone>(
        &mut self,
        key: &str,
        default: T,
        convert: impl Fn(&ConfigNode) -> Result<T, ConversionError>,
        effective: impl Fn(T) -> EffectiveValue,
    ) -> T {
        let value = self.convert(key, convert).unwrap_or(default);
        self.record(key, effective(value.clone()));
        value
    }

    /// For Go's pointers and scalar optionals: null is `None`.
    fn optional_scalar<T: Clone>(
        &mut self,
        key: &str,
        convert: impl Fn(&ConfigNode) -> Result<T, ConversionError>,
        effective: impl Fn(T) -> EffectiveValue,
    ) -> Option<T> {
        let null = |n: &ConfigNode| n.value == NodeValue::Null && n.raw.as_ref().is_none_or(|r| r.is_empty());
        let value = if self.take(key).is_some_and(null) { None } else { self.convert(key, convert) };
        self.record(key, value.clone().map_or(EffectiveValue::Null, effective));
        value
    }

    // ---- scalars --------------------------------------------------------------------------------------------------

    /// A string. Numbers and bools are refused, unless the whole value is a `${..}`: then its raw text is taken.
    pub fn str(&mut self, key: &str, default: &str) -> String {
        self.scalar(key, default.to_owned(), convert::string, EffectiveValue::Str)
    }

    /// A string that may be unset.
    pub fn opt_str(&mut self, key: &str) -> Option<String> {
        self.optional_scalar(key, convert::string, EffectiveValue::Str)
    }

    /// A string that `print-config` redacts.
    pub fn opaque(&mut self, key: &str, default: &str) -> String {
        self.scalar(key, default.to_owned(), convert::secret_string, EffectiveValue::Opaque)
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &str, default: bool) -> bool {
        self.scalar(key, default, convert::boolean, EffectiveValue::Bool)
    }

    /// A bool that may be unset.
    pub fn opt_bool(&mut self, key: &str) -> Option<bool> {
        self.optional_scalar(key, convert::boolean, EffectiveValue::Bool)
    }

    /// An integer; floats are truncated, a value out of range is refused.
    pub fn int<T: Integer>(&mut self, key: &str, default: T) -> T {
        self.scalar(key, default, convert::integer::<T>, |v| EffectiveValue::Int(v.to_i128()))
    }

    /// An integer that may be unset.
    pub fn opt_int<T: Integer>(&mut self, key: &str) -> Option<T> {
        self.optional_scalar(key, convert::integer::<T>, |v| EffectiveValue::Int(v.to_i128()))
    }

    /// A number.
    pub fn float(&mut self, key: &str, default: f64) -> f64 {
        self.scalar(key, default, convert::float, EffectiveValue::Float)
    }

    /// A duration: Go syntax, or an integer of nanoseconds.
    pub fn duration(&mut self, key: &str, default: GoDuration) -> GoDuration {
        self.scalar(key, default, |n| convert::duration_nanos(n).map(GoDuration), EffectiveValue::Duration)
    }

    /// A duration that may be unset.
    pub fn opt_duration(&mut self, key: &str) -> Option<GoDuration> {
        self.optional_scalar(key, |n| convert::duration_nanos(n).map(GoDuration), EffectiveValue::Duration)
    }

    /// One of the allowed words. Null is the first of them, which must therefore be the zero value of the enum.
    pub fn one_of_strings<'k>(&mut self, key: &str, allowed: &[&'k str], default: &'k str) -> &'k str {
        let mut chosen = default;
        if let Some(node) = self.take(key) {
            match convert::string(node) {
                Ok(text) if text.is_empty() => chosen = allowed.first().copied().unwrap_or(default),
                Ok(text) => match allowed.iter().find(|a| **a == text) {
                    Some(found) => chosen = found,
                    None => {
                        let message = format!("unsupported value {text:?} (valid values: [{}])", allowed.join(" "));
                        let help = nearest_name(&text, allowed.iter().copied()).map(|n| format!("did you mean `{n}`?"));
                        self.refuse_value(node, key, ConversionError { kind: DiagnosticKind::BadValue, message, help });
                    }
                },
                Err(refusal) => self.refuse_value(node, key, refusal),
            }
        }
        self.record(key, EffectiveValue::Str(chosen.to_owned()));
        chosen
    }

    // ---- lists and maps -------------------------------------------------------------------------------------------

    fn elements<T>(
        &self,
        key: &str,
        items: &[ConfigNode],
        convert: impl Fn(&ConfigNode) -> Result<T, ConversionError>,
    ) -> Vec<Located<T>> {
        let mut taken = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if item.broken {
                self.invalid_keys.add(&format!("{key}[{index}]"));
                continue;
            }
            match convert(item) {
                Ok(value) => taken.push(Located { value, origin: item.origin.clone() }),
                Err(refusal) => self.refuse_value(item, &format!("{key}[{index}]"), refusal),
            }
        }
        taken
    }

    /// A list of strings; one string is split at its commas. Null keeps the default, `[]` is empty.
    pub fn str_list(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let value = self.take(key).and_then(|node| match &node.value {
            NodeValue::Str(text) if text.is_empty() => Some(Vec::new()),
            NodeValue::Str(text) => Some(text.split(',').map(str::to_owned).collect()),
            _ => match convert::list(node) {
                Ok(items) => {
                    items.map(|i| self.elements(key, i, convert::string).into_iter().map(|l| l.value).collect())
                }
                Err(refusal) => {
                    self.refuse_value(node, key, refusal);
                    None
                }
            },
        });
        let value: Vec<String> = value.unwrap_or_else(|| default.iter().map(|s| (*s).to_owned()).collect());
        self.record(key, EffectiveValue::List(value.iter().cloned().map(EffectiveValue::Str).collect()));
        value
    }

    /// A list of integers.
    pub fn int_list<T: Integer>(&mut self, key: &str, default: &[T]) -> Vec<T> {
        let items = self.convert(key, |n| convert::list(n).map(|i| i.map(<[ConfigNode]>::to_vec))).flatten();
        let taken = items.map(|i| self.elements(key, &i, convert::integer::<T>).into_iter().map(|l| l.value).collect());
        let value: Vec<T> = taken.unwrap_or_else(|| default.to_vec());
        self.record(key, EffectiveValue::List(value.iter().map(|v| EffectiveValue::Int(v.to_i128())).collect()));
        value
    }

    /// A list of numbers, such as bucket bounds.
    pub fn float_list(&mut self, key: &str, default: &[f64]) -> Vec<f64> {
        let items = self.convert(key, |n| convert::list(n).map(|i| i.map(<[ConfigNode]>::to_vec))).flatten();
        let taken = items.map(|i| self.elements(key, &i, convert::float).into_iter().map(|l| l.value).collect());
        let value: Vec<f64> = taken.unwrap_or_else(|| default.to_vec());
        self.record(key, EffectiveValue::List(value.iter().copied().map(EffectiveValue::Float).collect()));
        value
    }

    /// A list of durations.
    pub fn duration_list(&mut self, key: &str, default: &[GoDuration]) -> Vec<GoDuration> {
        let items = self.convert(key, |n| convert::list(n).map(|i| i.map(<[ConfigNode]>::to_vec))).flatten();
        let duration = |node: &ConfigNode| convert::duration_nanos(node).map(GoDuration);
        let taken = items.map(|i| self.elements(key, &i, duration).into_iter().map(|l| l.value).collect());
        let value: Vec<GoDuration> = taken.unwrap_or_else(|| default.to_vec());
        self.record(key, EffectiveValue::List(value.iter().copied().map(EffectiveValue::Duration).collect()));
        value
    }

    fn string_pairs(&self, key: &str, map: &NodeMap) -> Vec<(String, String)> {
        let mut pairs = Vec::with_capacity(map.len());
        for entry in map.iter() {
            if entry.node.broken {
                self.invalid_keys.add(&format!("{key}::{}", entry.key));
                continue;
            }
            match convert::string(&entry.node) {
                Ok(value) => pairs.push((entry.key.to_string(), value)),
                Err(refusal) => {
                    self.invalid_keys.add(&format!("{key}::{}", entry.key));
                    let path = format!("{}::{}", self.key_path(key), entry.key);
                    report_refusal(&self.diagnostics, &entry.node, &path, &format!("{key}[{}]", entry.key), refusal);
                }
            }
        }
        pairs
    }

    /// A map of strings, in the order of the file.
    pub fn str_map(&mut self, key: &str) -> Vec<(String, String)> {
        let map = self.convert(key, |n| convert::map(n).map(|m| m.cloned())).flatten();
        let pairs = map.map(|m| self.string_pairs(key, &m)).unwrap_or_default();
        self.record(key, EffectiveValue::map(pairs.iter().map(|(k, v)| (k.clone(), EffectiveValue::Str(v.clone())))));
        pairs
    }

    /// Headers: a map, or a list of `{name, value}` without duplicate names. `print-config` redacts the values.
    pub fn headers(&mut self, key: &str) -> Vec<HeaderEntry> {
        let mut headers = match self.take(key) {
            Some(node) if matches!(node.value, NodeValue::List(_)) => self.header_list(key, node),
            Some(node) => match convert::map(node) {
                Ok(map) => {
                    let pairs = map.map(|m| self.string_pairs(key, m)).unwrap_or_default();
                    let header = |(name, value): (String, String)| {
                        let key = format!("{key}::{name}");
                        HeaderEntry { name, value, key }
                    };
                    pairs.into_iter().map(header).collect()
                }
                Err(refusal) => {
                    self.refuse_value(node, key, refusal);
                    Vec::new()
                }
            },
            None => Vec::new(),
        };
        for HeaderEntry { value, .. } in &mut headers {
            value.truncate(value.trim_end_matches(['\r', '\n']).len());
        }
        let pair = |HeaderEntry { name, value, .. }: &HeaderEntry| {
            EffectiveValue::map([
                ("name", EffectiveValue::Str(name.clone())),
                ("value", EffectiveValue::Opaque(value.clone())),
            ])
        };
        self.record(key, EffectiveValue::List(headers.iter().map(pair).collect()));
        headers
    }

    fn header_list(&self, key: &str, node: &'a ConfigNode) -> Vec<HeaderEntry> {
        let mut headers: Vec<HeaderEntry> = Vec::new();
        let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        for (index, item) in node.items().iter().enumerate() {
            let item_key = format!("{key}[{index}]");
            let errors_before = self.diagnostics.count(Severity::Error);
            let mut section = self.child(Some(item), Some(&item.origin), &item_key);
            let (name, value) = (section.str("name", ""), section.str("value", ""));
            let valid = !item.broken && section.invalid_keys.is_empty();
            section.finish();
            if !valid || self.diagnostics.count(Severity::Error) > errors_before {
                self.invalid_keys.add(&item_key);
                continue;
            }
            if !seen.insert(name.clone()) {
                repeated.insert(name.clone());
            }
            headers.push(HeaderEntry { name, value, key: format!("{item_key}::value") });
        }
        if !repeated.is_empty() {
            let names = repeated.into_iter().collect::<Vec<_>>().join(" ");
            let message = format!("duplicate keys in map-style list: [{names}]");
            self.diagnostics.error(&node.origin, &self.key_path(key), message).kind(DiagnosticKind::DuplicateKey);
        }
        headers
    }

    /// A list of component ids, each with its place. A single string is refused, as in the Go collector.
    pub fn component_ids(&mut self, key: &str) -> Vec<Located<ComponentId>> {
        let items = self
            .convert(key, |n| convert::list(n).map(|i| i.map(<[ConfigNode]>::to_vec)))
            .flatten()
            .unwrap_or_default();
        let ids = self.elements(key, &items, |node| {
            let text = convert::string(node)?;
            text.parse::<ComponentId>().map_err(|e| ConversionError {
                kind: DiagnosticKind::BadId,
                message: e.to_string(),
                help: None,
            })
        });
        self.record(key, EffectiveValue::List(ids.iter().map(|id| EffectiveValue::Str(id.to_string())).collect()));
        ids
    }

    /// A list of pipeline ids.
    pub fn pipeline_ids(&mut self, key: &str) -> Vec<PipelineId> {
        let items = self.list_items(key);
        let ids: Vec<PipelineId> = self.elements(key, &items, pipeline_id).into_iter().map(|id| id.value).collect();
        self.record(key, EffectiveValue::List(ids.iter().map(|id| EffectiveValue::Str(id.to_string())).collect()));
        ids
    }

    /// A list of lists of pipeline ids.
    pub fn pipeline_id_lists(&mut self, key: &str) -> Vec<Vec<PipelineId>> {
        let lists = self.list_items(key);
        let lists = self.elements(key, &lists, |node| Ok(convert::list(node)?.map(<[ConfigNode]>::to_vec)));
        let mut all = Vec::new();
        for (index, list) in lists.into_iter().enumerate() {
            let items = list.value.unwrap_or_default();
            let ids = self.elements(&format!("{key}[{index}]"), &items, pipeline_id);
            all.push(ids.into_iter().map(|id| id.value).collect::<Vec<_>>());
        }
        let texts = |ids: &Vec<PipelineId>| ids.iter().map(|id| EffectiveValue::Str(id.to_string())).collect();
        self.record(key, EffectiveValue::List(all.iter().map(|ids| EffectiveValue::List(texts(ids))).collect()));
        all
    }

    fn list_items(&mut self, key: &str) -> Vec<ConfigNode> {
        self.convert(key, |n| convert::list(n).map(|i| i.map(<[ConfigNode]>::to_vec))).flatten().unwrap_or_default()
    }

    // ---- nodes and sections ---------------------------------------------------------------------------------------

    /// The raw node. `print-config` shows it as it is: use [`Section::recorder`] if it may hold secrets.
    pub fn raw_node(&mut self, key: &str) -> Option<&'a ConfigNode> {
        let node = self.take(key);
        self.record(key, node.map_or(EffectiveValue::Null, EffectiveValue::from));
        node
    }

    /// A section below this one; it is empty if the key is absent or null.
    pub fn section(&mut self, key: &str) -> Self {
        let node = self.take(key);
        let at = self.map.and_then(|m| m.get(key)).map(|e| &e.key_origin);
        let section = self.child(node, at, key);
        self.recorder.insert(key, RecordedValue::Section(section.recorder()));
        section
    }

    /// A section below this one; `None` if the key is absent or null.
    pub fn written_section(&mut self, key: &str) -> Option<Self> {
        if self.take(key).is_none_or(|node| node.value == NodeValue::Null) {
            self.record(key, EffectiveValue::Null);
            return None;
        }
        Some(self.section(key))
    }

    /// An optional section: `None` if it is off. A map is on unless it contains `enabled: false`.
    pub fn optional_section(&mut self, key: &str, flavor: OptionalFlavor) -> Option<Self> {
        let node = self.take(key);
        let enabled = match node.map(|n| &n.value) {
            None => flavor == OptionalFlavor::Some,
            Some(NodeValue::Null) => flavor != OptionalFlavor::None,
            Some(_) => true,
        };
        if !enabled {
            self.record(key, EffectiveValue::Null);
            return None;
        }
        let mut section = self.section(key);
        section.read_keys.insert("enabled".to_owned());
        if let Some(enabled_node) = section.get_node("enabled").filter(|n| !n.broken) {
            match &enabled_node.value {
                NodeValue::Bool(true) => {}
                NodeValue::Bool(false) => {
                    self.record(key, EffectiveValue::Null);
                    return None;
                }
                other => {
                    let got = match other {
                        NodeValue::Str(text) => text.to_string(),
                        NodeValue::Int(v) => v.to_string(),
                        NodeValue::Null => "<nil>".to_owned(),
                        _ => "...".to_owned(),
                    };
                    let ty = if *other == NodeValue::Null { "<nil>" } else { other.go_type() };
                    let message =
                        format!("unexpected type {ty} for 'enabled': got '{got}' value expected 'true' or 'false'");
                    self.diagnostics
                        .error(&enabled_node.origin, &section.key_path("enabled"), message)
                        .kind(DiagnosticKind::WrongType);
                }
            }
        }
        Some(section)
    }

    /// A list of sections.
    pub fn sections(&mut self, key: &str) -> Vec<Self> {
        let node = self.take(key);
        let items = match node.map(|n| (n, convert::list(n))) {
            Some((_, Ok(items))) => items.unwrap_or_default(),
            Some((node, Err(refusal))) => {
                self.refuse_value(node, key, refusal);
                &[]
            }
            None => &[],
        };
        let numbered = items.iter().enumerate();
        let list: Vec<Self> =
            numbered.map(|(i, n)| self.child(Some(n), Some(&n.origin), &format!("{key}[{i}]"))).collect();
        self.recorder.insert(key, RecordedValue::List(list.iter().map(Self::recorder).collect()));
        list
    }

    /// For `receivers:` and similar sections: every id with its section. Messages name keys relative to that section.
    pub fn components(self) -> Vec<(Located<ComponentId>, Self)> {
        self.sections_by_id()
    }

    /// For `service::pipelines`: every id with its section.
    pub fn pipelines(self) -> Vec<(Located<PipelineId>, Self)> {
        self.sections_by_id()
    }

    fn sections_by_id<I: FromStr<Err = IdError> + Ord + Clone + ToString>(self) -> Vec<(Located<I>, Self)> {
        let mut seen: BTreeMap<I, &SourceLocation> = BTreeMap::new();
        let mut all = Vec::new();
        let name = self.path.rsplit("::").next().unwrap_or("");
        for entry in self.map.into_iter().flatten() {
            let path = self.key_path(&entry.key);
            let id: I = match entry.key.parse() {
                Ok(id) => id,
                Err(error) => {
                    self.diagnostics
                        .error(&entry.key_origin, &path, format!("'{name}' {error}"))
                        .kind(DiagnosticKind::BadId);
                    continue;
                }
            };
            if let Some(first) = seen.get(&id) {
                let message = format!("duplicate name {:?} after unmarshaling {}", &*entry.key, id.to_string());
                self.diagnostics
                    .error(&entry.key_origin, &path, message)
                    .kind(DiagnosticKind::DuplicateId)
                    .related(first, "the same id");
                continue;
            }
            seen.insert(id.clone(), &entry.key_origin);
            steps::add(1);
            let mut section = Self::empty(Some(&entry.key_origin), path.clone(), path.len(), &self.diagnostics);
            let node = &entry.node;
            match convert::map(node) {
                _ if node.broken => {}
                Ok(map) => section.map = map,
                Err(refusal) => {
                    let help = refusal.help;
                    let refusal =
                        ConversionError { help, ..ConversionError::expected("map[string]interface {}", node) };
                    report_refusal(&self.diagnostics, node, &path, &format!("[{}]", entry.key), refusal);
                }
            }
            self.recorder.insert(&id.to_string(), RecordedValue::Section(section.recorder()));
            all.push((Located { value: id, origin: entry.key_origin.clone() }, section));
        }
        all
    }

    // ---- messages of a component ----------------------------------------------------------------------------------

    /// An error about the value of a key, or about the section if the key is absent. Left out if it follows from a
    /// mistake that is reported: the value was refused, or the key is misspelt.
    pub fn error(&self, key: &str, message: impl Into<String>) -> DiagnosticDraft<'_> {
        self.report(Severity::Error, self.origin_of(key), &self.key_path(key), &[key], message.into())
    }

    /// An error about the section that concerns these keys. Left out if it follows from a mistake in one of them.
    pub fn error_for_keys(&self, keys: &[&str], message: impl Into<String>) -> DiagnosticDraft<'_> {
        self.report(Severity::Error, self.origin, &self.path, keys, message.into())
    }

    /// As [`Section::error`], for a mistake that the Go collector finds when it starts the component, and not when it
    /// reads the configuration: a warning if nothing uses the component.
    pub fn start_error(&self, key: &str, message: impl Into<String>) -> DiagnosticDraft<'_> {
        let severity = if self.unused { Severity::Warning } else { Severity::Error };
        self.report(severity, self.origin_of(key), &self.key_path(key), &[key], message.into())
    }

    /// As [`Section::start_error`], for a mistake at a byte of a text that is the value of the key. The diagnostic has the
    /// place of this byte in the file, and its line and column in the text.
    pub fn start_error_in_text(
        &self,
        key: &str,
        text: &str,
        at: usize,
        message: impl Into<String>,
    ) -> DiagnosticDraft<'_> {
        let severity = if self.unused { Severity::Warning } else { Severity::Error };
        let node = self.get_node(key).or_else(|| self.descendant(key));
        let place = node.and_then(|node| location_in_text(node, text, at));
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let shown = text.lines().nth(line).unwrap_or("").trim();
        let origin = place.as_ref().or_else(|| self.origin_of(key));
        self.report(severity, origin, &self.key_path(key), &[key], message.into())
            .note(format!("at {}:{column} of `{shown}`", line + 1))
    }

    fn report(
        &self,
        severity: Severity,
        at: Option<&SourceLocation>,
        path: &str,
        keys: &[&str],
        message: String,
    ) -> DiagnosticDraft<'_> {
        if keys.iter().any(|key| self.invalid_keys.contains(key)) {
            return self.diagnostics.discarded_draft();
        }
        let entries = || self.map.into_iter().flatten().map(|entry| &entry.key);
        let unknown = || entries().filter(|key| !self.read_keys.contains(&***key));
        let absent = keys.iter().filter(|key| self.map.is_none_or(|map| map.get(first_part(key)).is_none()));
        // The list's own budget is for suggestions that are shown.
        let mut steps = 100_000;
        let misspelt = absent.filter_map(|key| nearest_within_budget(key, unknown(), &mut steps)).next().cloned();
        match misspelt {
            Some(key) => self.diagnostics.deferred_draft(severity, at, path, message, &self.deferred, key),
            None if severity == Severity::Error => self.diagnostics.error(at, path, message),
            None => self.diagnostics.warn(at, path, message),
        }
    }

    /// A warning about the value of a key, or about the section if the key is absent.
    pub fn warn(&self, key: &str, message: impl Into<String>) -> DiagnosticDraft<'_> {
        self.diagnostics.warn(self.origin_of(key), &self.key_path(key), message)
    }

    /// Warns that a key is deprecated, if it is written. Does not mark it as read.
    pub fn warn_deprecated(&self, key: &str, what_to_write: &str) -> bool {
        let Some(entry) = self.map.and_then(|m| m.get(key)) else { return false };
        self.diagnostics
            .warn(&entry.key_origin, &self.key_path(key), format!("'{key}' is deprecated"))
            .kind(DiagnosticKind::Deprecated)
            .help(format!("write {what_to_write}"));
        true
    }

    /// Reads a key of the Go collector that is not implemented here, and refuses it unless it turns nothing on: null,
    /// false, an empty list or map, `enabled: false`.
    pub fn refuse_unsupported(&mut self, key: &str, sentence: &str) {
        let Some(node) = self.take(key) else { return };
        let is_disabled = match &node.value {
            NodeValue::Null | NodeValue::Bool(false) => true,
            NodeValue::List(items) => items.is_empty(),
            NodeValue::Map(map) => {
                map.is_empty() || map.get("enabled").is_some_and(|e| e.node.value == NodeValue::Bool(false))
            }
            _ => false,
        };
        if !is_disabled {
            let at = self.map.and_then(|m| m.get(key)).map(|e| &e.key_origin);
            self.diagnostics
                .error(at, &self.key_path(key), format!("'{key}' is not supported: {sentence}"))
                .kind(DiagnosticKind::Unsupported);
        }
    }

    /// Reports every key that was not read, at its own place and with the nearest known name.
    pub fn finish(self) -> EffectiveValue {
        for entry in self.map.into_iter().flatten() {
            steps::add(1);
            if self.read_keys.contains(&*entry.key) {
                continue;
            }
            let known = self.read_keys.iter().map(String::as_str);
            let help = match self.diagnostics.nearest_name(&entry.key, known.clone()) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if (1..=12).contains(&self.read_keys.len()) => {
                    Some(format!("known keys are {}", known.collect::<Vec<_>>().join(", ")))
                }
                None => None,
            };
            let message = format!("'{}' has invalid keys: {}", self.go_name(), entry.key);
            self.diagnostics
                .error(&entry.key_origin, &self.key_path(&entry.key), message)
                .kind(DiagnosticKind::UnknownKey)
                .maybe_help(help);
        }
        self.recorder.snapshot()
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, item) in self.deferred.take() {
            if self.read_keys.contains(&*key) {
                self.diagnostics.push(item);
            }
        }
    }
}

fn pipeline_id(node: &ConfigNode) -> Result<PipelineId, ConversionError> {
    let text = convert::string(node)?;
    text.parse::<PipelineId>().map_err(|e| ConversionError {
        kind: DiagnosticKind::BadId,
        message: e.to_string(),
        help: None,
    })
}

fn report_refusal(d: &Diagnostics, node: &ConfigNode, path: &str, name: &str, refusal: ConversionError) {
    d.error(&node.origin, path, format!("'{name}' {}", refusal.message)).kind(refusal.kind).maybe_help(refusal.help);
}
