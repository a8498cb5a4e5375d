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

use crate::diag::{Diagnostics, Draft, Kind};
use crate::duration::Dur;
use crate::id::{ComponentId, IdError, PipelineId};
use crate::node::{Located, Map, Node, Origin, Value};
use crate::print::Effective;
use crate::suggest::{nearest, within};
use crate::take::{self, Integer, Refusal};
use crate::{Diagnostic, Severity, steps};

/// The state of an optional section when its key is absent, as in Go's `configoptional`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Off; null leaves it off, a map turns it on.
    None,
    /// Off; null and a map turn it on.
    Default,
    /// On.
    Some,
}

/// The effective values below one section; clones share them, so one can be kept when the section is passed on.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Rc<RefCell<BTreeMap<String, Slot>>>);

#[derive(Clone, Debug)]
enum Slot {
    Leaf(Effective),
    Open(Recorder),
    List(Vec<Recorder>),
}

impl Recorder {
    /// The values as they are now.
    pub fn snapshot(&self) -> Effective {
        let slots = self.0.borrow();
        let value = |slot: &Slot| match slot {
            Slot::Leaf(value) => value.clone(),
            Slot::Open(inner) => inner.snapshot(),
            Slot::List(items) => Effective::List(items.iter().map(Self::snapshot).collect()),
        };
        Effective::Map(slots.iter().map(|(key, slot)| (key.clone(), value(slot))).collect())
    }

    fn put(&self, key: &str, slot: Slot) {
        self.0.borrow_mut().insert(key.to_owned(), slot);
    }
}

/// A map of the configuration, from which a component reads its values.
#[must_use = "finish() reports the keys that nobody asked for"]
#[derive(Debug)]
pub struct Section<'a> {
    map: Option<&'a Map>,
    at: Option<&'a Origin>,
    path: String,
    /// How many bytes of `path` are before the component's own keys.
    root: usize,
    asked: BTreeSet<String>,
    record: Recorder,
    refused: Rc<Refused>,
    /// Mistakes about absent keys, each with a key of a similar name that has not been read. If that key turns out to
    /// be unknown, it is a misspelling of the absent one, and the mistake is left out.
    waiting: RefCell<Vec<(Arc<str>, Diagnostic)>>,
    /// Nothing uses the component: a mistake that the Go collector finds only when it starts the component is a
    /// warning.
    unused: bool,
    d: Diagnostics,
}

/// The keys of a section whose values have mistakes that are reported already.
#[derive(Debug, Default)]
struct Refused {
    /// `endpoint`, `headers::name`: the mistake is in the value itself.
    values: RefCell<BTreeSet<String>>,
    /// `headers`: the mistake is in the value or somewhere below it.
    around: RefCell<BTreeSet<String>>,
    /// The section that contains this one, and the key of this one in it.
    parent: Option<(Rc<Self>, String)>,
}

impl Refused {
    fn add(&self, key: &str) {
        self.values.borrow_mut().insert(key.to_owned());
        self.add_around(key);
    }

    fn add_around(&self, key: &str) {
        self.around.borrow_mut().insert(first_part(key).to_owned());
        if let Some((parent, key)) = &self.parent {
            parent.add_around(key);
        }
    }

    fn has(&self, key: &str) -> bool {
        let (first, values) = (first_part(key), self.values.borrow());
        values.contains(first) || values.contains(key) || (first == key && self.around.borrow().contains(key))
    }

    fn is_empty(&self) -> bool {
        self.around.borrow().is_empty()
    }
}

/// `headers` of `headers[0]::value`.
fn first_part(key: &str) -> &str {
    let key = key.split("::").next().unwrap_or(key);
    key.split('[').next().unwrap_or(key)
}

/// A header of [`Section::headers`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
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
    pub fn new(node: Option<&'a Node>, path: &str, d: &Diagnostics) -> Self {
        let mut section = Self::empty(node.map(|n| &n.origin), path.to_owned(), path.len(), d);
        section.fill(node, path.rsplit("::").next().unwrap_or(path));
        section
    }

    fn empty(at: Option<&'a Origin>, path: String, root: usize, d: &Diagnostics) -> Self {
        Self {
            map: None,
            at,
            path,
            root,
            asked: BTreeSet::new(),
            record: Recorder::default(),
            refused: Rc::default(),
            waiting: RefCell::default(),
            unused: false,
            d: d.clone(),
        }
    }

    fn fill(&mut self, node: Option<&'a Node>, name: &str) {
        match node.filter(|n| !n.broken).map(|n| (n, take::map(n))) {
            Some((_, Ok(map))) => self.map = map,
            Some((node, Err(refusal))) => {
                if let Some((parent, key)) = &self.refused.parent {
                    parent.add(key);
                }
                refuse(&self.d, node, &self.path, name, refusal);
            }
            None => {}
        }
    }

    fn child(&self, node: Option<&'a Node>, at: Option<&'a Origin>, key: &str) -> Self {
        let mut section = Self::empty(at.or(self.at), self.join(key), self.root, &self.d);
        section.refused =
            Rc::new(Refused { parent: Some((self.refused.clone(), key.to_owned())), ..Refused::default() });
        section.unused = self.unused;
        section.fill(node, key);
        section
    }

    // ---- place and keys -------------------------------------------------------------------------------------------

    /// `receivers::otlp::protocols::grpc`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where this section was written; if it is absent, where the section that would contain it was written.
    pub const fn origin(&self) -> Option<&'a Origin> {
        self.at
    }

    /// The list that this section reports to.
    pub const fn diagnostics(&self) -> &Diagnostics {
        &self.d
    }

    /// Whether the key is written, also as null. Does not mark it as read.
    pub fn has(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    /// Whether no key is written at all.
    pub fn is_empty(&self) -> bool {
        self.map.is_none_or(Map::is_empty)
    }

    /// The keys that are written, in the order of the file. Does not mark them as read.
    pub fn child_keys(&self) -> Vec<Located<String>> {
        let entries = self.map.into_iter().flat_map(Map::iter);
        entries.map(|e| Located { value: e.key.to_string(), origin: e.key_origin.clone() }).collect()
    }

    /// The effective values of this section, which are added as keys are read, here and in the sections below.
    pub fn recorder(&self) -> Recorder {
        self.record.clone()
    }

    /// The effective values so far.
    pub fn effective(&self) -> Effective {
        self.record.snapshot()
    }

    /// The effective value of a key that has been read, other than that of a section.
    pub(crate) fn recorded(&self, key: &str) -> Option<Effective> {
        match self.record.0.borrow().get(key) {
            Some(Slot::Leaf(value)) => Some(value.clone()),
            _ => None,
        }
    }

    /// Sets what `print-config` shows for a key.
    pub fn record(&mut self, key: &str, value: Effective) {
        self.record.put(key, Slot::Leaf(value));
    }

    /// Where the value of the key is written; for an absent key, where the section is written. A key such as
    /// `headers::name` or `headers[0]::value` names a value further down.
    pub fn origin_of(&self, key: &str) -> Option<&'a Origin> {
        self.peek(key).or_else(|| self.below(key)).map(|n| &n.origin).or(self.at)
    }

    fn below(&self, key: &str) -> Option<&'a Node> {
        let mut parts = key.split("::");
        let of = |map: &'a Map, part: &str| -> Option<&'a Node> {
            if let Some(entry) = map.get(part) {
                return Some(&entry.node);
            }
            let (list, index) = part.strip_suffix(']')?.rsplit_once('[')?;
            map.get(list)?.node.items().get(index.parse::<usize>().ok()?)
        };
        let first = of(self.map?, parts.next()?)?;
        parts.try_fold(first, |node, part| of(node.as_map()?, part))
    }

    /// Records that no pipeline uses the component, and that the service does not start it: see
    /// [`Section::start_error`].
    pub const fn set_unused(&mut self) {
        self.unused = true;
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}::{key}", self.path) }
    }

    /// The name that Go prints for this section: dotted below the component, else the whole path.
    fn shown(&self) -> String {
        let below = self.path.get(self.root..).unwrap_or("").trim_start_matches("::");
        match (below.is_empty(), self.path.is_empty()) {
            (false, _) => below.replace("::", "."),
            (true, false) => self.path.clone(),
            (true, true) => "otelcol.configSettings".to_owned(),
        }
    }

    fn peek(&self, key: &str) -> Option<&'a Node> {
        self.map?.get(key).map(|e| &e.node)
    }

    /// Marks the key as known. `None` if it is absent or reported already.
    fn take(&mut self, key: &str) -> Option<&'a Node> {
        self.asked.insert(key.to_owned());
        let node = self.peek(key)?;
        if node.broken {
            self.refused.add(key);
        }
        (!node.broken).then_some(node)
    }

    fn refused(&self, node: &Node, key: &str, refusal: Refusal) {
        self.refused.add(key);
        refuse(&self.d, node, &self.join(key), key, refusal);
    }

    fn convert<T>(&mut self, key: &str, convert: impl Fn(&Node) -> Result<T, Refusal>) -> Option<T> {
        let node = self.take(key)?;
        convert(node).map_err(|refusal| self.refused(node, key, refusal)).ok()
    }

    fn scalar<T: Clone>(
        &mut self,
        key: &str,
        default: T,
        convert: impl Fn(&Node) -> Result<T, Refusal>,
        effective: impl Fn(T) -> Effective,
    ) -> T {
        let value = self.convert(key, convert).unwrap_or(default);
        self.record(key, effective(value.clone()));
        value
    }

    /// For Go's pointers and scalar optionals: null is `None`.
    fn optional_scalar<T: Clone>(
        &mut self,
        key: &str,
        convert: impl Fn(&Node) -> Result<T, Refusal>,
        effective: impl Fn(T) -> Effective,
    ) -> Option<T> {
        let null = |n: &Node| n.value == Value::Null && n.raw.as_ref().is_none_or(|r| r.is_empty());
        let value = if self.take(key).is_some_and(null) { None } else { self.convert(key, convert) };
        self.record(key, value.clone().map_or(Effective::Null, effective));
        value
    }

    // ---- scalars --------------------------------------------------------------------------------------------------

    /// A string. Numbers and bools are refused, unless the whole value is a `${..}`: then its raw text is taken.
    pub fn str(&mut self, key: &str, default: &str) -> String {
        self.scalar(key, default.to_owned(), take::string, Effective::Str)
    }

    /// A string that may be unset.
    pub fn opt_str(&mut self, key: &str) -> Option<String> {
        self.optional_scalar(key, take::string, Effective::Str)
    }

    /// A string that `print-config` redacts.
    pub fn opaque(&mut self, key: &str, default: &str) -> String {
        self.scalar(key, default.to_owned(), take::secret, Effective::Opaque)
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &str, default: bool) -> bool {
        self.scalar(key, default, take::boolean, Effective::Bool)
    }

    /// A bool that may be unset.
    pub fn opt_bool(&mut self, key: &str) -> Option<bool> {
        self.optional_scalar(key, take::boolean, Effective::Bool)
    }

    /// An integer; floats are truncated, a value out of range is refused.
    pub fn int<T: Integer>(&mut self, key: &str, default: T) -> T {
        self.scalar(key, default, take::integer::<T>, |v| Effective::Int(v.to_i128()))
    }

    /// An integer that may be unset.
    pub fn opt_int<T: Integer>(&mut self, key: &str) -> Option<T> {
        self.optional_scalar(key, take::integer::<T>, |v| Effective::Int(v.to_i128()))
    }

    /// A number.
    pub fn float(&mut self, key: &str, default: f64) -> f64 {
        self.scalar(key, default, take::float, Effective::Float)
    }

    /// A duration: Go syntax, or an integer of nanoseconds.
    pub fn duration(&mut self, key: &str, default: Dur) -> Dur {
        self.scalar(key, default, |n| take::nanos(n).map(Dur), Effective::Dur)
    }

    /// A duration that may be unset.
    pub fn opt_duration(&mut self, key: &str) -> Option<Dur> {
        self.optional_scalar(key, |n| take::nanos(n).map(Dur), Effective::Dur)
    }

    /// One of the allowed words. Null is the first of them, which must therefore be the zero value of the enum.
    pub fn one_of<'k>(&mut self, key: &str, allowed: &[&'k str], default: &'k str) -> &'k str {
        let mut chosen = default;
        if let Some(node) = self.take(key) {
            match take::string(node) {
                Ok(text) if text.is_empty() => chosen = allowed.first().copied().unwrap_or(default),
                Ok(text) => match allowed.iter().find(|a| **a == text) {
                    Some(found) => chosen = found,
                    None => {
                        let message = format!("unsupported value {text:?} (valid values: [{}])", allowed.join(" "));
                        let help = nearest(&text, allowed.iter().copied()).map(|n| format!("did you mean `{n}`?"));
                        self.refused(node, key, Refusal { kind: Kind::BadValue, message, help });
                    }
                },
                Err(refusal) => self.refused(node, key, refusal),
            }
        }
        self.record(key, Effective::Str(chosen.to_owned()));
        chosen
    }

    // ---- lists and maps -------------------------------------------------------------------------------------------

    fn elements<T>(&self, key: &str, items: &[Node], convert: impl Fn(&Node) -> Result<T, Refusal>) -> Vec<Located<T>> {
        let mut taken = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if item.broken {
                self.refused.add(&format!("{key}[{index}]"));
                continue;
            }
            match convert(item) {
                Ok(value) => taken.push(Located { value, origin: item.origin.clone() }),
                Err(refusal) => self.refused(item, &format!("{key}[{index}]"), refusal),
            }
        }
        taken
    }

    /// A list of strings; one string is split at its commas. Null keeps the default, `[]` is empty.
    pub fn str_list(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let value = self.take(key).and_then(|node| match &node.value {
            Value::Str(text) if text.is_empty() => Some(Vec::new()),
            Value::Str(text) => Some(text.split(',').map(str::to_owned).collect()),
            _ => match take::list(node) {
                Ok(items) => items.map(|i| self.elements(key, i, take::string).into_iter().map(|l| l.value).collect()),
                Err(refusal) => {
                    self.refused(node, key, refusal);
                    None
                }
            },
        });
        let value: Vec<String> = value.unwrap_or_else(|| default.iter().map(|s| (*s).to_owned()).collect());
        self.record(key, Effective::List(value.iter().cloned().map(Effective::Str).collect()));
        value
    }

    /// A list of integers.
    pub fn int_list<T: Integer>(&mut self, key: &str, default: &[T]) -> Vec<T> {
        let items = self.convert(key, |n| take::list(n).map(|i| i.map(<[Node]>::to_vec))).flatten();
        let taken = items.map(|i| self.elements(key, &i, take::integer::<T>).into_iter().map(|l| l.value).collect());
        let value: Vec<T> = taken.unwrap_or_else(|| default.to_vec());
        self.record(key, Effective::List(value.iter().map(|v| Effective::Int(v.to_i128())).collect()));
        value
    }

    /// A list of numbers, such as bucket bounds.
    pub fn float_list(&mut self, key: &str, default: &[f64]) -> Vec<f64> {
        let items = self.convert(key, |n| take::list(n).map(|i| i.map(<[Node]>::to_vec))).flatten();
        let taken = items.map(|i| self.elements(key, &i, take::float).into_iter().map(|l| l.value).collect());
        let value: Vec<f64> = taken.unwrap_or_else(|| default.to_vec());
        self.record(key, Effective::List(value.iter().copied().map(Effective::Float).collect()));
        value
    }

    fn pairs(&self, key: &str, map: &Map) -> Vec<(String, String)> {
        let mut pairs = Vec::with_capacity(map.len());
        for entry in map.iter() {
            if entry.node.broken {
                self.refused.add(&format!("{key}::{}", entry.key));
                continue;
            }
            match take::string(&entry.node) {
                Ok(value) => pairs.push((entry.key.to_string(), value)),
                Err(refusal) => {
                    self.refused.add(&format!("{key}::{}", entry.key));
                    let path = format!("{}::{}", self.join(key), entry.key);
                    refuse(&self.d, &entry.node, &path, &format!("{key}[{}]", entry.key), refusal);
                }
            }
        }
        pairs
    }

    /// A map of strings, in the order of the file.
    pub fn str_map(&mut self, key: &str) -> Vec<(String, String)> {
        let map = self.convert(key, |n| take::map(n).map(|m| m.cloned())).flatten();
        let pairs = map.map(|m| self.pairs(key, &m)).unwrap_or_default();
        let shown = pairs.iter().map(|(k, v)| (k.clone(), Effective::Str(v.clone()))).collect();
        self.record(key, Effective::Map(shown));
        pairs
    }

    /// Headers: a map, or a list of `{name, value}` without duplicate names. `print-config` redacts the values.
    pub fn headers(&mut self, key: &str) -> Vec<Header> {
        let mut headers = match self.take(key) {
            Some(node) if matches!(node.value, Value::List(_)) => self.header_list(key, node),
            Some(node) => match take::map(node) {
                Ok(map) => {
                    let pairs = map.map(|m| self.pairs(key, m)).unwrap_or_default();
                    let header = |(name, value): (String, String)| {
                        let key = format!("{key}::{name}");
                        Header { name, value, key }
                    };
                    pairs.into_iter().map(header).collect()
                }
                Err(refusal) => {
                    self.refused(node, key, refusal);
                    Vec::new()
                }
            },
            None => Vec::new(),
        };
        for Header { value, .. } in &mut headers {
            value.truncate(value.trim_end_matches(['\r', '\n']).len());
        }
        let pair = |Header { name, value, .. }: &Header| {
            let fields = [("name", Effective::Str(name.clone())), ("value", Effective::Opaque(value.clone()))];
            Effective::Map(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
        };
        self.record(key, Effective::List(headers.iter().map(pair).collect()));
        headers
    }

    fn header_list(&self, key: &str, node: &'a Node) -> Vec<Header> {
        let mut headers: Vec<Header> = Vec::new();
        let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        for (index, item) in node.items().iter().enumerate() {
            let at = format!("{key}[{index}]");
            let before = self.d.count(Severity::Error);
            let mut section = self.child(Some(item), Some(&item.origin), &at);
            let (name, value) = (section.str("name", ""), section.str("value", ""));
            let whole = !item.broken && section.refused.is_empty();
            section.finish();
            if !whole || self.d.count(Severity::Error) > before {
                self.refused.add(&at);
                continue;
            }
            if !seen.insert(name.clone()) {
                repeated.insert(name.clone());
            }
            headers.push(Header { name, value, key: format!("{at}::value") });
        }
        if !repeated.is_empty() {
            let names = repeated.into_iter().collect::<Vec<_>>().join(" ");
            let message = format!("duplicate keys in map-style list: [{names}]");
            self.d.error(&node.origin, &self.join(key), message).kind(Kind::DuplicateKey);
        }
        headers
    }

    /// A list of component ids, each with its place. A single string is refused, as in the Go collector.
    pub fn ids(&mut self, key: &str) -> Vec<Located<ComponentId>> {
        let items = self.convert(key, |n| take::list(n).map(|i| i.map(<[Node]>::to_vec))).flatten().unwrap_or_default();
        let ids = self.elements(key, &items, |node| {
            let text = take::string(node)?;
            text.parse::<ComponentId>().map_err(|e| Refusal { kind: Kind::BadId, message: e.to_string(), help: None })
        });
        self.record(key, Effective::List(ids.iter().map(|id| Effective::Str(id.to_string())).collect()));
        ids
    }

    // ---- nodes and sections ---------------------------------------------------------------------------------------

    /// The raw node. `print-config` shows it as it is: use [`Section::record`] if it may hold secrets.
    pub fn node(&mut self, key: &str) -> Option<&'a Node> {
        let node = self.take(key);
        self.record(key, node.map_or(Effective::Null, Effective::from));
        node
    }

    /// A section below this one; it is empty if the key is absent or null.
    pub fn section(&mut self, key: &str) -> Self {
        let node = self.take(key);
        let at = self.map.and_then(|m| m.get(key)).map(|e| &e.key_origin);
        let section = self.child(node, at, key);
        self.record.put(key, Slot::Open(section.recorder()));
        section
    }

    /// An optional section: `None` if it is off. A map is on unless it contains `enabled: false`.
    pub fn optional(&mut self, key: &str, flavour: Flavour) -> Option<Self> {
        let node = self.take(key);
        let on = match node.map(|n| &n.value) {
            None => flavour == Flavour::Some,
            Some(Value::Null) => flavour != Flavour::None,
            Some(_) => true,
        };
        if !on {
            self.record(key, Effective::Null);
            return None;
        }
        let mut section = self.section(key);
        section.asked.insert("enabled".to_owned());
        if let Some(switch) = section.peek("enabled").filter(|n| !n.broken) {
            match &switch.value {
                Value::Bool(true) => {}
                Value::Bool(false) => {
                    self.record(key, Effective::Null);
                    return None;
                }
                other => {
                    let got = match other {
                        Value::Str(text) => text.to_string(),
                        Value::Int(v) => v.to_string(),
                        Value::Null => "<nil>".to_owned(),
                        _ => "...".to_owned(),
                    };
                    let ty = if *other == Value::Null { "<nil>" } else { other.go_type() };
                    let message =
                        format!("unexpected type {ty} for 'enabled': got '{got}' value expected 'true' or 'false'");
                    self.d.error(&switch.origin, &section.join("enabled"), message).kind(Kind::WrongType);
                }
            }
        }
        Some(section)
    }

    /// A list of sections.
    pub fn sections(&mut self, key: &str) -> Vec<Self> {
        let node = self.take(key);
        let items = match node.map(|n| (n, take::list(n))) {
            Some((_, Ok(items))) => items.unwrap_or_default(),
            Some((node, Err(refusal))) => {
                self.refused(node, key, refusal);
                &[]
            }
            None => &[],
        };
        let numbered = items.iter().enumerate();
        let list: Vec<Self> =
            numbered.map(|(i, n)| self.child(Some(n), Some(&n.origin), &format!("{key}[{i}]"))).collect();
        self.record.put(key, Slot::List(list.iter().map(Self::recorder).collect()));
        list
    }

    /// For `receivers:` and similar sections: every id with its section. Messages name keys relative to that section.
    pub fn components(self) -> Vec<(Located<ComponentId>, Self)> {
        self.by_id()
    }

    /// For `service::pipelines`: every id with its section.
    pub fn pipelines(self) -> Vec<(Located<PipelineId>, Self)> {
        self.by_id()
    }

    fn by_id<I: FromStr<Err = IdError> + Ord + Clone + ToString>(self) -> Vec<(Located<I>, Self)> {
        let mut seen: BTreeMap<I, &Origin> = BTreeMap::new();
        let mut all = Vec::new();
        let name = self.path.rsplit("::").next().unwrap_or("");
        for entry in self.map.into_iter().flatten() {
            let path = self.join(&entry.key);
            let id: I = match entry.key.parse() {
                Ok(id) => id,
                Err(error) => {
                    self.d.error(&entry.key_origin, &path, format!("'{name}' {error}")).kind(Kind::BadId);
                    continue;
                }
            };
            if let Some(first) = seen.get(&id) {
                let message = format!("duplicate name {:?} after unmarshaling {}", &*entry.key, id.to_string());
                self.d.error(&entry.key_origin, &path, message).kind(Kind::DuplicateId).related(first, "the same id");
                continue;
            }
            seen.insert(id.clone(), &entry.key_origin);
            steps::add(1);
            let mut section = Self::empty(Some(&entry.key_origin), path.clone(), path.len(), &self.d);
            let node = &entry.node;
            match take::map(node) {
                _ if node.broken => {}
                Ok(map) => section.map = map,
                Err(refusal) => {
                    let help = refusal.help;
                    let shown = Refusal { help, ..Refusal::expected("map[string]interface {}", node) };
                    refuse(&self.d, node, &path, &format!("[{}]", entry.key), shown);
                }
            }
            self.record.put(&id.to_string(), Slot::Open(section.recorder()));
            all.push((Located { value: id, origin: entry.key_origin.clone() }, section));
        }
        all
    }

    // ---- messages of a component ----------------------------------------------------------------------------------

    /// An error about the value of a key, or about the section if the key is absent. Left out if it follows from a
    /// mistake that is reported: the value was refused, or the key is misspelt.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Draft<'_> {
        self.said(Severity::Error, self.origin_of(key), &self.join(key), &[key], message.into())
    }

    /// An error about the section that concerns these keys. Left out if it follows from a mistake in one of them.
    pub fn error_of(&self, keys: &[&str], message: impl Into<String>) -> Draft<'_> {
        self.said(Severity::Error, self.at, &self.path, keys, message.into())
    }

    /// As [`Section::error`], for a mistake that the Go collector finds when it starts the component, and not when it
    /// reads the configuration: a warning if nothing uses the component.
    pub fn start_error(&self, key: &str, message: impl Into<String>) -> Draft<'_> {
        let severity = if self.unused { Severity::Warning } else { Severity::Error };
        self.said(severity, self.origin_of(key), &self.join(key), &[key], message.into())
    }

    /// Records that a mistake in the value of a key is reported: later errors about the key are left out.
    pub fn set_told(&self, key: &str) {
        self.refused.add(key);
    }

    fn said(&self, severity: Severity, at: Option<&Origin>, path: &str, keys: &[&str], message: String) -> Draft<'_> {
        if keys.iter().any(|key| self.refused.has(key)) {
            return self.d.silent();
        }
        let entries = || self.map.into_iter().flatten().map(|entry| &entry.key);
        let unknown = || entries().filter(|key| !self.asked.contains(&***key));
        let absent = keys.iter().filter(|key| self.map.is_none_or(|map| map.get(first_part(key)).is_none()));
        // The list's own budget is for suggestions that are shown.
        let mut steps = 100_000;
        let misspelt = absent.filter_map(|key| within(key, unknown(), &mut steps)).next().cloned();
        match misspelt {
            Some(key) => self.d.later(severity, at, path, message, &self.waiting, key),
            None if severity == Severity::Error => self.d.error(at, path, message),
            None => self.d.warn(at, path, message),
        }
    }

    /// A warning about the value of a key, or about the section if the key is absent.
    pub fn warn(&self, key: &str, message: impl Into<String>) -> Draft<'_> {
        self.d.warn(self.origin_of(key), &self.join(key), message)
    }

    /// Warns that a key is deprecated, if it is written. Does not mark it as read.
    pub fn deprecated(&self, key: &str, what_to_write: &str) -> bool {
        let Some(entry) = self.map.and_then(|m| m.get(key)) else { return false };
        self.d
            .warn(&entry.key_origin, &self.join(key), format!("'{key}' is deprecated"))
            .kind(Kind::Deprecated)
            .hint(format!("write {what_to_write}"));
        true
    }

    /// Reads a key of the Go collector that is not implemented here, and refuses it unless it turns nothing on: null,
    /// false, an empty list or map, `enabled: false`.
    pub fn unsupported(&mut self, key: &str, sentence: &str) {
        let Some(node) = self.take(key) else { return };
        let nothing = match &node.value {
            Value::Null | Value::Bool(false) => true,
            Value::List(items) => items.is_empty(),
            Value::Map(map) => map.is_empty() || map.get("enabled").is_some_and(|e| e.node.value == Value::Bool(false)),
            _ => false,
        };
        if !nothing {
            let at = self.map.and_then(|m| m.get(key)).map(|e| &e.key_origin);
            self.d.error(at, &self.join(key), format!("'{key}' is not supported: {sentence}")).kind(Kind::Unsupported);
        }
    }

    /// Reports every key that was not read, at its own place and with the nearest known name.
    pub fn finish(self) -> Effective {
        for entry in self.map.into_iter().flatten() {
            steps::add(1);
            if self.asked.contains(&*entry.key) {
                continue;
            }
            let known = self.asked.iter().map(String::as_str);
            let help = match self.d.nearest(&entry.key, known.clone()) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if (1..=12).contains(&self.asked.len()) => {
                    Some(format!("known keys are {}", known.collect::<Vec<_>>().join(", ")))
                }
                None => None,
            };
            let message = format!("'{}' has invalid keys: {}", self.shown(), entry.key);
            self.d.error(&entry.key_origin, &self.join(&entry.key), message).kind(Kind::UnknownKey).maybe_hint(help);
        }
        self.record.snapshot()
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, item) in self.waiting.take() {
            if self.asked.contains(&*key) {
                self.d.push(item);
            }
        }
    }
}

fn refuse(d: &Diagnostics, node: &Node, path: &str, name: &str, refusal: Refusal) {
    d.error(&node.origin, path, format!("'{name}' {}", refusal.message)).kind(refusal.kind).maybe_hint(refusal.help);
}
