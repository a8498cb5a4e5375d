//! What expressions evaluate to.
//!
//! A [`Value`] borrows from the payload, from the compiled statement or from an argument wherever it can. Maps and
//! lists keep one of several forms: bytes of the payload, a decoded tree, or, for lists, values side by side. Each
//! knows the Go type that it has in the Go collector, because comparison and messages depend on it.

use std::borrow::Cow;

use otelcore_pdata::MAX_NESTING;
use otelcore_pdata::Value as Tree;
use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages, View};

use crate::error::EvalError;

pub use otelcore_go_text::entries::TreeMap;
pub use otelcore_go_text::time::{Time, Zone};

/// The result of an expression.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    /// No value: Go's `nil`.
    #[default]
    Nil,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A string, usually UTF-8.
    String(Cow<'a, [u8]>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A trace id, which equals only trace ids.
    TraceId([u8; 16]),
    /// A span id, which equals only span ids.
    SpanId([u8; 8]),
    /// A profile id, which equals only profile ids.
    ProfileId([u8; 16]),
    /// A point in time.
    Time(Time),
    /// Nanoseconds.
    Duration(i64),
    /// A map.
    Map(Map<'a>),
    /// A list.
    List(List<'a>),
    /// Messages of OTLP that are passed on as a whole: the value of a path such as `events`. For the repeated kinds,
    /// these are whole fields, tags included, in any order and with other fields between them.
    Messages(MessageKind, Cow<'a, [u8]>),
}

/// Which messages a [`Value::Messages`] contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// The events of a span.
    Events,
    /// The links of a span.
    Links,
    /// The status of a span.
    Status,
    /// Data points of a metric of the given field number in `Metric` (5 gauge, 7 sum, 9 histogram, 10 exponential
    /// histogram, 11 summary).
    DataPoints(u32),
    /// Exemplars of a data point, as fields of the number that they have in a number point (5).
    Exemplars,
    /// The buckets of an exponential histogram.
    Buckets,
    /// The quantile values of a summary.
    QuantileValues,
}

impl MessageKind {
    /// The name of the type in Go's messages.
    #[must_use]
    pub fn go_type(self) -> &'static str {
        match self {
            Self::Events => "ptrace.SpanEventSlice",
            Self::Links => "ptrace.SpanLinkSlice",
            Self::Status => "ptrace.Status",
            Self::DataPoints(5 | 7) => "pmetric.NumberDataPointSlice",
            Self::DataPoints(9) => "pmetric.HistogramDataPointSlice",
            Self::DataPoints(10) => "pmetric.ExponentialHistogramDataPointSlice",
            Self::DataPoints(_) => "pmetric.SummaryDataPointSlice",
            Self::Exemplars => "pmetric.ExemplarSlice",
            Self::Buckets => "pmetric.ExponentialHistogramDataPointBuckets",
            Self::QuantileValues => "pmetric.SummaryDataPointValueAtQuantileSlice",
        }
    }
}

/// A map.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    /// Its Go type.
    pub kind: MapKind,
    /// Its entries.
    pub entries: MapEntries<'a>,
}

/// The Go type of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapKind {
    /// `pcommon.Map`.
    Pdata,
    /// `map[string]any`.
    Native,
}

/// The form of a map.
#[derive(Clone, Debug)]
pub enum MapEntries<'a> {
    /// Bytes that have `KeyValue`s in the field of this number: 1 for a `KeyValueList`, 9 for a span with its
    /// attributes.
    Raw(&'a [u8], u32),
    /// A decoded map.
    Tree(Cow<'a, [(Vec<u8>, Tree)]>),
}

impl<'a> Map<'a> {
    /// The map in bytes of the payload; see [`MapEntries::Raw`].
    #[must_use]
    pub fn raw(raw: &'a [u8], number: u32) -> Self {
        Self { kind: MapKind::Pdata, entries: MapEntries::Raw(raw, number) }
    }

    /// A decoded map, borrowed.
    #[must_use]
    pub fn borrowed(entries: &'a [(Vec<u8>, Tree)]) -> Self {
        Self { kind: MapKind::Pdata, entries: MapEntries::Tree(Cow::Borrowed(entries)) }
    }

    /// A decoded map, owned.
    #[must_use]
    pub fn owned(entries: TreeMap) -> Self {
        Self { kind: MapKind::Pdata, entries: MapEntries::Tree(Cow::Owned(entries)) }
    }

    /// A map that is a `map[string]any` in Go.
    #[must_use]
    pub fn native(entries: TreeMap) -> Self {
        Self { kind: MapKind::Native, entries: MapEntries::Tree(Cow::Owned(entries)) }
    }

    /// The number of entries. Takes a walk over the map.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.entries {
            MapEntries::Raw(raw, number) => RepeatedMessages::<KeyValue<'_>>::new(raw, *number).count(),
            MapEntries::Tree(tree) => tree.len(),
        }
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.entries {
            MapEntries::Raw(raw, number) => RepeatedMessages::<KeyValue<'_>>::new(raw, *number).next().is_none(),
            MapEntries::Tree(tree) => tree.is_empty(),
        }
    }

    /// The first value under `key`. Takes a walk over the map.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        match &self.entries {
            MapEntries::Raw(raw, number) => RepeatedMessages::<KeyValue<'_>>::new(raw, *number)
                .find(|entry| entry.key == key)
                .map(|entry| Value::from_any(entry.value)),
            MapEntries::Tree(tree) => {
                tree.iter().find(|(found, _)| found == key).map(|(_, value)| Value::from_tree(value))
            }
        }
    }

    /// The same, which outlives the map if the map is borrowed.
    #[must_use]
    pub fn into_value(self, key: &[u8]) -> Option<Value<'a>> {
        match self.entries {
            MapEntries::Raw(raw, number) => Map::raw_value(raw, number, key),
            MapEntries::Tree(Cow::Borrowed(tree)) => {
                tree.iter().find(|(found, _)| found == key).map(|(_, value)| Value::from_tree(value))
            }
            MapEntries::Tree(Cow::Owned(tree)) => {
                tree.into_iter().find(|(found, _)| found == key).map(|(_, value)| Value::from_owned_tree(value))
            }
        }
    }

    fn raw_value(raw: &'a [u8], number: u32, key: &[u8]) -> Option<Value<'a>> {
        RepeatedMessages::<KeyValue<'a>>::new(raw, number)
            .find(|entry| entry.key == key)
            .map(|entry| Value::from_any(entry.value))
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        let (raw, tree) = match &self.entries {
            MapEntries::Raw(raw, number) => (Some(RepeatedMessages::<KeyValue<'_>>::new(raw, *number)), None),
            MapEntries::Tree(tree) => (None, Some(tree.iter())),
        };
        let raw = raw.into_iter().flatten().map(|entry| (entry.key, Value::from_any(entry.value)));
        let tree = tree.into_iter().flatten().map(|(key, value)| (&key[..], Value::from_tree(value)));
        raw.chain(tree)
    }

    /// The map decoded to full depth.
    #[must_use]
    pub fn to_tree(&self) -> TreeMap {
        match &self.entries {
            MapEntries::Raw(raw, number) => RepeatedMessages::<KeyValue<'_>>::new(raw, *number)
                .map(|entry| (entry.key.to_vec(), Tree::decode(entry.value)))
                .collect(),
            MapEntries::Tree(tree) => tree.to_vec(),
        }
    }

    /// The same without a copy of what is owned.
    #[must_use]
    pub fn into_tree(self) -> TreeMap {
        match self.entries {
            MapEntries::Tree(tree) => tree.into_owned(),
            MapEntries::Raw(..) => self.to_tree(),
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub struct List<'a> {
    /// Its Go type.
    pub kind: ListKind,
    /// Its elements.
    pub elements: ListElements<'a>,
}

/// The Go type of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListKind {
    /// `pcommon.Slice`.
    Pdata,
    /// `[]any`: a list literal.
    Any,
    /// `[]string`.
    Strings,
    /// `[]float64`.
    Doubles,
    /// `[]uint64`.
    Uints,
}

impl ListKind {
    /// The name of the type in Go's messages.
    #[must_use]
    pub fn go_type(self) -> &'static str {
        match self {
            Self::Pdata => "pcommon.Slice",
            Self::Any => "[]interface {}",
            Self::Strings => "[]string",
            Self::Doubles => "[]float64",
            Self::Uints => "[]uint64",
        }
    }
}

/// The form of a list.
#[derive(Clone, Debug)]
pub enum ListElements<'a> {
    /// The bytes of an `ArrayValue`.
    Raw(&'a [u8]),
    /// Decoded values.
    Tree(Cow<'a, [Tree]>),
    /// Values of any kind.
    Values(Vec<Value<'a>>),
    /// The same, borrowed from a compiled literal.
    Literal(&'a [Value<'a>]),
}

impl<'a> List<'a> {
    /// The list in the bytes of an `ArrayValue`.
    #[must_use]
    pub fn raw(raw: &'a [u8]) -> Self {
        Self { kind: ListKind::Pdata, elements: ListElements::Raw(raw) }
    }

    /// Decoded values, borrowed.
    #[must_use]
    pub fn borrowed(elements: &'a [Tree]) -> Self {
        Self { kind: ListKind::Pdata, elements: ListElements::Tree(Cow::Borrowed(elements)) }
    }

    /// Decoded values, owned: a `pcommon.Slice`.
    #[must_use]
    pub fn owned(elements: Vec<Tree>) -> Self {
        Self { kind: ListKind::Pdata, elements: ListElements::Tree(Cow::Owned(elements)) }
    }

    /// Values of any kind: a `[]any`, or what `kind` says.
    #[must_use]
    pub fn values(kind: ListKind, elements: Vec<Value<'a>>) -> Self {
        Self { kind, elements: ListElements::Values(elements) }
    }

    /// The number of elements. Takes a walk over a list in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.elements {
            ListElements::Raw(raw) => AnyValue::array_elements(raw).count(),
            ListElements::Tree(tree) => tree.len(),
            ListElements::Values(values) => values.len(),
            ListElements::Literal(values) => values.len(),
        }
    }

    /// Whether it has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.elements {
            ListElements::Raw(raw) => AnyValue::array_elements(raw).next().is_none(),
            ListElements::Tree(tree) => tree.is_empty(),
            ListElements::Values(values) => values.is_empty(),
            ListElements::Literal(values) => values.is_empty(),
        }
    }

    /// The element at a position, which outlives the list if the list is borrowed.
    #[must_use]
    pub fn into_element(self, index: usize) -> Option<Value<'a>> {
        match self.elements {
            ListElements::Raw(raw) => AnyValue::array_elements(raw).nth(index).map(Value::from_any),
            ListElements::Tree(Cow::Borrowed(tree)) => tree.get(index).map(Value::from_tree),
            ListElements::Tree(Cow::Owned(tree)) => tree.into_iter().nth(index).map(Value::from_owned_tree),
            ListElements::Values(values) => values.into_iter().nth(index),
            ListElements::Literal(values) => values.get(index).map(Value::reborrow),
        }
    }

    /// The elements in their order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        let (raw, tree, values) = match &self.elements {
            ListElements::Raw(raw) => (Some(AnyValue::array_elements(raw)), None, None),
            ListElements::Tree(tree) => (None, Some(tree.iter()), None),
            ListElements::Values(values) => (None, None, Some(values.iter())),
            ListElements::Literal(values) => (None, None, Some(values.iter())),
        };
        let raw = raw.into_iter().flatten().map(Value::from_any);
        let tree = tree.into_iter().flatten().map(Value::from_tree);
        raw.chain(tree).chain(values.into_iter().flatten().map(Value::reborrow))
    }

    /// The elements, moved out.
    #[must_use]
    pub fn into_values(self) -> Vec<Value<'a>> {
        match self.elements {
            ListElements::Raw(raw) => AnyValue::array_elements(raw).map(Value::from_any).collect(),
            ListElements::Tree(Cow::Borrowed(tree)) => tree.iter().map(Value::from_tree).collect(),
            ListElements::Tree(Cow::Owned(tree)) => tree.into_iter().map(Value::from_owned_tree).collect(),
            ListElements::Values(values) => values,
            ListElements::Literal(values) => values.iter().map(Value::reborrow).collect(),
        }
    }
}

impl<'a> Value<'a> {
    /// A borrowed string.
    #[must_use]
    pub fn str(v: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self::String(Cow::Borrowed(v.as_ref()))
    }

    /// An owned string.
    #[must_use]
    pub fn string(v: impl Into<Vec<u8>>) -> Self {
        Self::String(Cow::Owned(v.into()))
    }

    /// The value of an attribute or a body; an empty value is `nil`.
    #[inline]
    #[must_use]
    pub fn from_any(view: AnyValue<'a>) -> Self {
        match view {
            AnyValue::Empty => Self::Nil,
            AnyValue::String(v) => Self::String(Cow::Borrowed(v)),
            AnyValue::Bool(v) => Self::Bool(v),
            AnyValue::Int(v) => Self::Int(v),
            AnyValue::Double(v) => Self::Double(v),
            AnyValue::Bytes(v) => Self::Bytes(Cow::Borrowed(v)),
            AnyValue::Array(raw) => Self::List(List::raw(raw)),
            AnyValue::Map(raw) => Self::Map(Map::raw(raw, 1)),
        }
    }

    /// A decoded value, borrowed.
    #[must_use]
    pub fn from_tree(tree: &'a Tree) -> Self {
        match tree {
            Tree::Empty => Self::Nil,
            Tree::String(v) => Self::String(Cow::Borrowed(v)),
            Tree::Bool(v) => Self::Bool(*v),
            Tree::Int(v) => Self::Int(*v),
            Tree::Double(v) => Self::Double(*v),
            Tree::Bytes(v) => Self::Bytes(Cow::Borrowed(v)),
            Tree::Array(values) => Self::List(List::borrowed(values)),
            Tree::Map(entries) => Self::Map(Map::borrowed(entries)),
        }
    }

    /// A decoded value, owned.
    #[must_use]
    pub fn from_owned_tree(tree: Tree) -> Self {
        match tree {
            Tree::Empty => Self::Nil,
            Tree::String(v) => Self::String(Cow::Owned(v)),
            Tree::Bool(v) => Self::Bool(v),
            Tree::Int(v) => Self::Int(v),
            Tree::Double(v) => Self::Double(v),
            Tree::Bytes(v) => Self::Bytes(Cow::Owned(v)),
            Tree::Array(values) => Self::List(List::owned(values)),
            Tree::Map(entries) => Self::Map(Map::owned(entries)),
        }
    }

    /// The same value, which borrows from this one.
    #[must_use]
    pub fn reborrow(&self) -> Value<'_> {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(v) => Value::Bool(*v),
            Self::Int(v) => Value::Int(*v),
            Self::Double(v) => Value::Double(*v),
            Self::String(v) => Value::String(Cow::Borrowed(v)),
            Self::Bytes(v) => Value::Bytes(Cow::Borrowed(v)),
            Self::TraceId(id) => Value::TraceId(*id),
            Self::SpanId(id) => Value::SpanId(*id),
            Self::ProfileId(id) => Value::ProfileId(*id),
            Self::Time(time) => Value::Time(time.clone()),
            Self::Duration(v) => Value::Duration(*v),
            Self::Map(map) => Value::Map(Map {
                kind: map.kind,
                entries: match &map.entries {
                    MapEntries::Raw(raw, number) => MapEntries::Raw(raw, *number),
                    MapEntries::Tree(tree) => MapEntries::Tree(Cow::Borrowed(tree)),
                },
            }),
            Self::List(list) => Value::List(List {
                kind: list.kind,
                elements: match &list.elements {
                    ListElements::Raw(raw) => ListElements::Raw(raw),
                    ListElements::Tree(tree) => ListElements::Tree(Cow::Borrowed(tree)),
                    ListElements::Values(values) => ListElements::Literal(values),
                    ListElements::Literal(values) => ListElements::Literal(values),
                },
            }),
            Self::Messages(kind, raw) => Value::Messages(*kind, Cow::Borrowed(raw)),
        }
    }

    /// The value with everything that it borrows copied into `scratch`, so that the payload can be changed while the
    /// value is held. What was in `scratch` is lost; its capacity is used again.
    #[must_use]
    pub fn detach(self, scratch: &mut Vec<u8>) -> Value<'_> {
        scratch.clear();
        match self {
            Self::String(v) => Value::String(detach_bytes(v, scratch)),
            Self::Bytes(v) => Value::Bytes(detach_bytes(v, scratch)),
            Self::Map(Map { kind, entries }) => {
                let entries = match entries {
                    MapEntries::Raw(raw, number) => {
                        scratch.extend_from_slice(raw);
                        MapEntries::Raw(scratch, number)
                    }
                    MapEntries::Tree(tree) => MapEntries::Tree(Cow::Owned(tree.into_owned())),
                };
                Value::Map(Map { kind, entries })
            }
            Self::List(List { kind, elements }) => {
                let elements = match elements {
                    ListElements::Raw(raw) => {
                        scratch.extend_from_slice(raw);
                        ListElements::Raw(scratch)
                    }
                    ListElements::Tree(tree) => ListElements::Tree(Cow::Owned(tree.into_owned())),
                    ListElements::Values(values) => {
                        ListElements::Values(values.into_iter().map(Value::into_owned).collect())
                    }
                    ListElements::Literal(values) => {
                        ListElements::Values(values.iter().map(|value| value.reborrow().into_owned()).collect())
                    }
                };
                Value::List(List { kind, elements })
            }
            Self::Messages(kind, raw) => Value::Messages(kind, detach_bytes(raw, scratch)),
            other => other.into_owned(),
        }
    }

    /// The value with nothing borrowed.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Double(v) => Value::Double(v),
            Self::String(v) => Value::String(Cow::Owned(v.into_owned())),
            Self::Bytes(v) => Value::Bytes(Cow::Owned(v.into_owned())),
            Self::TraceId(id) => Value::TraceId(id),
            Self::SpanId(id) => Value::SpanId(id),
            Self::ProfileId(id) => Value::ProfileId(id),
            Self::Time(time) => Value::Time(time),
            Self::Duration(v) => Value::Duration(v),
            Self::Map(map) => {
                let kind = map.kind;
                Value::Map(Map { kind, entries: MapEntries::Tree(Cow::Owned(map.into_tree())) })
            }
            Self::List(List { kind, elements }) => {
                let elements = match elements {
                    ListElements::Raw(raw) => {
                        ListElements::Tree(Cow::Owned(AnyValue::array_elements(raw).map(Tree::decode).collect()))
                    }
                    ListElements::Tree(tree) => ListElements::Tree(Cow::Owned(tree.into_owned())),
                    ListElements::Values(values) => {
                        ListElements::Values(values.into_iter().map(Value::into_owned).collect())
                    }
                    ListElements::Literal(values) => {
                        ListElements::Values(values.iter().map(|value| value.reborrow().into_owned()).collect())
                    }
                };
                Value::List(List { kind, elements })
            }
            Self::Messages(kind, raw) => Value::Messages(kind, Cow::Owned(raw.into_owned())),
        }
    }

    /// Whether it is `nil`.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// The name of the value's type in Go's messages (`%T`).
    #[must_use]
    pub fn go_type(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int64",
            Self::Double(_) => "float64",
            Self::String(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::TraceId(_) => "pcommon.TraceID",
            Self::SpanId(_) => "pcommon.SpanID",
            Self::ProfileId(_) => "pprofile.ProfileID",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Map(Map { kind: MapKind::Pdata, .. }) => "pcommon.Map",
            Self::Map(Map { kind: MapKind::Native, .. }) => "map[string]interface {}",
            Self::List(list) => list.kind.go_type(),
            Self::Messages(kind, _) => kind.go_type(),
        }
    }

    /// The error that this value is not of the expected type.
    #[must_use]
    pub fn type_error(&self, expected: &'static str) -> EvalError {
        EvalError::Type { expected, found: self.go_type() }
    }

    /// The value as that of an attribute or a body. What has no direct form is written to `scratch`; `nil` is an empty
    /// value.
    ///
    /// # Errors
    /// It has no such form (a time, an id), or it is nested more than [`MAX_NESTING`] deep.
    pub fn to_any<'s>(&'s self, scratch: &'s mut Vec<u8>) -> Result<AnyValue<'s>, EvalError> {
        Ok(match self {
            Self::Nil => AnyValue::Empty,
            Self::Bool(v) => AnyValue::Bool(*v),
            Self::Int(v) => AnyValue::Int(*v),
            Self::Double(v) => AnyValue::Double(*v),
            Self::String(v) => AnyValue::String(v),
            Self::Bytes(v) => AnyValue::Bytes(v),
            Self::Map(Map { entries: MapEntries::Raw(raw, 1), .. }) => check_depth(AnyValue::Map(raw))?,
            Self::List(List { elements: ListElements::Raw(raw), .. }) => check_depth(AnyValue::Array(raw))?,
            Self::Map(_) | Self::List(_) => {
                let tree = self.to_tree()?;
                scratch.clear();
                tree.encode(scratch);
                AnyValue::parse(scratch)
            }
            _ => return Err(self.unsupported_in_set()),
        })
    }

    /// The value decoded, as that of an attribute or a body.
    ///
    /// # Errors
    /// As [`Value::to_any`].
    pub fn to_tree(&self) -> Result<Tree, EvalError> {
        match self.convert() {
            (_, Some(error)) => Err(error),
            (tree, None) if tree.depth() > MAX_NESTING => Err(TOO_DEEP),
            (tree, None) => Ok(tree),
        }
    }

    /// The value decoded, with what could be converted if there is an error.
    fn convert(&self) -> (Tree, Option<EvalError>) {
        let tree = match self {
            Self::Nil => Tree::Empty,
            Self::Bool(v) => Tree::Bool(*v),
            Self::Int(v) => Tree::Int(*v),
            Self::Double(v) => Tree::Double(*v),
            Self::String(v) => Tree::String(v.to_vec()),
            Self::Bytes(v) => Tree::Bytes(v.to_vec()),
            Self::Map(map) => Tree::Map(map.to_tree()),
            Self::List(List { elements: ListElements::Raw(raw), .. }) => {
                Tree::Array(AnyValue::array_elements(raw).map(Tree::decode).collect())
            }
            Self::List(List { elements: ListElements::Tree(tree), .. }) => Tree::Array(tree.to_vec()),
            Self::List(List { elements: ListElements::Values(values), .. }) => return convert_list(values),
            Self::List(List { elements: ListElements::Literal(values), .. }) => return convert_list(values),
            _ => return (Tree::Empty, Some(self.unsupported_in_set())),
        };
        (tree, None)
    }

    fn unsupported_in_set(&self) -> EvalError {
        EvalError::new(format!("unsupported type {} for set operation", self.go_type()))
    }
}

/// As in Go, an element that can't be converted is left empty, and is an error only if it is the last one.
fn convert_list(values: &[Value<'_>]) -> (Tree, Option<EvalError>) {
    let mut last = None;
    let mut convert = |value: &Value<'_>| {
        let (tree, error) = value.convert();
        last = error;
        tree
    };
    let trees = values.iter().map(&mut convert).collect();
    (Tree::Array(trees), last)
}

const TOO_DEEP: EvalError = EvalError::Message(Cow::Borrowed("the value is nested more than 100 deep"));

fn detach_bytes<'s>(bytes: Cow<'_, [u8]>, scratch: &'s mut Vec<u8>) -> Cow<'s, [u8]> {
    match bytes {
        Cow::Borrowed(v) => {
            scratch.extend_from_slice(v);
            Cow::Borrowed(scratch)
        }
        Cow::Owned(v) => Cow::Owned(v),
    }
}

/// An error if a value of the payload is nested more than [`MAX_NESTING`] deep where it is written to.
fn check_depth(value: AnyValue<'_>) -> Result<AnyValue<'_>, EvalError> {
    fn fits(value: AnyValue<'_>, levels: u8) -> bool {
        let Some(levels) = levels.checked_sub(1) else { return false };
        match value {
            AnyValue::Array(raw) => AnyValue::array_elements(raw).all(|value| fits(value, levels)),
            AnyValue::Map(raw) => RepeatedMessages::<KeyValue<'_>>::new(raw, 1).all(|entry| fits(entry.value, levels)),
            _ => true,
        }
    }
    if fits(value, MAX_NESTING) { Ok(value) } else { Err(TOO_DEEP) }
}
