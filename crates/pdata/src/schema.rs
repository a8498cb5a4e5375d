//! The messages of OTLP as tables, the only definition of their fields: number, both names, type, and how often a field
//! occurs.
//!
//! The check, splits, JSON, the repair of text and the setters of edits and writers use them. Field numbers:
//! opentelemetry-proto v1. `key_strindex` and `string_value_strindex`, which were added to `common.proto` for profiles,
//! are included because Go's codec reads and writes them.

mod tables;

pub use tables::*;

use crate::Signal;

/// The type of a value, in JSON and in the wire format.
#[derive(Clone, Copy, Debug)]
pub enum FieldType {
    /// Text.
    String,
    /// Bytes; base64 in JSON.
    Bytes,
    /// 16 bytes or none, hexadecimal in JSON.
    TraceId,
    /// 8 bytes or none, hexadecimal in JSON.
    SpanId,
    /// `bool`.
    Bool,
    /// `int32`, a varint.
    Int32,
    /// `sint32`, a varint in zigzag coding.
    Sint32,
    /// `uint32`, a varint.
    Uint32,
    /// `fixed32`.
    Fixed32,
    /// `int64`, a varint.
    Int64,
    /// `sfixed64`.
    Sfixed64,
    /// `uint64`, a varint.
    Uint64,
    /// `fixed64`.
    Fixed64,
    /// `double`.
    Double,
    /// An enum: the names of the values 0, 1, 2 and so on.
    Enum(&'static [&'static str]),
    /// A message.
    Message(&'static MessageSchema),
    /// An attribute, [`KEY_VALUE`].
    KeyValue,
    /// A value inside a value, which counts as one level of nesting.
    Nested(&'static MessageSchema),
    /// A message that contains items, directly or not.
    Wrapper(&'static MessageSchema),
    /// A message that counts as an item.
    Item(&'static MessageSchema),
    /// An entry of a request.
    Entry(&'static MessageSchema),
}

impl FieldType {
    /// The schema of a message of any kind.
    #[inline]
    #[must_use]
    pub const fn message(self) -> Option<&'static MessageSchema> {
        match self {
            Self::Message(schema)
            | Self::Nested(schema)
            | Self::Wrapper(schema)
            | Self::Item(schema)
            | Self::Entry(schema) => Some(schema),
            Self::KeyValue => Some(&KEY_VALUE),
            _ => None,
        }
    }
}

/// How often a field can be in its message, and when it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldRule {
    /// Once; omitted if it is zero, unless it is a message.
    Plain,
    /// Once; zero is not absence.
    Optional,
    /// One of the alternatives of its message, of which the last one is valid; zero is not absence. No message has two
    /// sets of alternatives.
    Oneof,
    /// Repeated: each element is appended; numbers are packed.
    Repeated,
}

/// A field of a message.
#[derive(Debug)]
pub struct FieldSchema {
    /// Its number.
    pub number: u32,
    /// `name":`, what follows the opening quote of a key in JSON.
    pub(crate) key_tail: &'static str,
    /// The name in JSON.
    pub name: &'static str,
    /// The name in the protobuf definition.
    pub proto_name: &'static str,
    /// The type of its value, or of one of them.
    pub kind: FieldType,
    /// How often it occurs.
    pub rule: FieldRule,
}

/// The largest number of fields of any message, and one more than the highest field number, [`LEGACY_SCOPES`] excepted.
pub(crate) const MAX_FIELDS: usize = 17;

/// The field number of scopes before OTLP 0.15, when they were called instrumentation libraries.
pub const LEGACY_SCOPES: u32 = 1000;

/// A message.
#[derive(Debug)]
pub struct MessageSchema {
    /// Its name in the protobuf definition.
    pub name: &'static str,
    /// Its fields, in the order in which the Go collector writes them.
    pub fields: &'static [FieldSchema],
    /// Index into `fields` by number; [`NO_FIELD`] where there is no such field.
    indices: [u8; MAX_FIELDS],
    checks: [FieldCheck; MAX_FIELDS],
    short_forms: [ShortForm; 256],
}

const NO_FIELD: u8 = u8::MAX;

impl MessageSchema {
    const fn new(name: &'static str, fields: &'static [FieldSchema]) -> Self {
        let mut indices = [NO_FIELD; MAX_FIELDS];
        let mut checks = [FieldCheck::Unknown; MAX_FIELDS];
        let mut short_forms = [ShortForm::None; 256];
        let mut i = 0;
        while i < fields.len() {
            let number = fields[i].number as usize;
            if number < MAX_FIELDS {
                indices[number] = i as u8;
                checks[number] = FieldCheck::new(&fields[i]);
                if number < 16 {
                    let (wire_type, form) = ShortForm::new(checks[number]);
                    short_forms[number << 3 | wire_type] = form;
                }
            }
            i += 1;
        }
        Self { name, fields, indices, checks, short_forms }
    }

    /// The index of the field with this number. [`LEGACY_SCOPES`] has none: such fields are renumbered before.
    #[inline]
    pub(crate) fn index_of_number(&self, number: u32) -> Option<usize> {
        self.indices.get(number as usize).copied().filter(|i| *i != NO_FIELD).map(usize::from)
    }

    /// The index of the field with this name, in JSON or in the protobuf definition.
    pub(crate) fn index_of_name(&self, name: &[u8]) -> Option<usize> {
        self.fields.iter().position(|f| f.name.as_bytes() == name || f.proto_name.as_bytes() == name)
    }

    /// The field with this number.
    #[inline]
    #[must_use]
    pub fn field(&self, number: u32) -> Option<&'static FieldSchema> {
        self.fields.get(self.index_of_number(number)?)
    }

    /// The field with this name in the protobuf definition.
    #[must_use]
    pub fn field_by_name(&self, proto_name: &str) -> Option<&'static FieldSchema> {
        self.fields.iter().find(|field| field.proto_name == proto_name)
    }

    /// The child in this field: an item, or a message that contains items; `None` for all other fields.
    #[inline]
    pub(crate) fn child(&self, number: u32) -> Option<ChildSchema> {
        match self.check_of(number) {
            FieldCheck::Item(_) => Some(ChildSchema::Item),
            FieldCheck::Wrapper(schema) | FieldCheck::Entry(schema) => Some(ChildSchema::Wrapper(schema)),
            _ => None,
        }
    }

    /// How a field is checked.
    #[inline]
    pub(crate) fn check_of(&self, number: u32) -> FieldCheck {
        self.checks.get(number as usize).copied().unwrap_or(FieldCheck::Unknown)
    }

    /// The short form of a field by its first byte.
    #[inline]
    pub(crate) fn short_form(&self, tag: u8) -> ShortForm {
        self.short_forms[usize::from(tag)]
    }
}

/// What is in a field that leads to items.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChildSchema {
    /// An item.
    Item,
    /// A message that contains items, directly or not.
    Wrapper(&'static MessageSchema),
}

/// What the check verifies of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldCheck {
    /// Not defined here: any wire type except groups.
    Unknown,
    Varint,
    Fixed64,
    Fixed32,
    /// Text or bytes.
    Bytes,
    TraceId,
    SpanId,
    /// `repeated fixed64` or `double`, packed or not.
    RepeatedFixed64,
    /// `repeated uint64`, packed or not.
    RepeatedVarint,
    Message(&'static MessageSchema),
    Nested(&'static MessageSchema),
    Wrapper(&'static MessageSchema),
    Item(&'static MessageSchema),
    Entry(&'static MessageSchema),
    /// An attribute.
    KeyValue,
}

impl FieldCheck {
    const fn new(field: &FieldSchema) -> Self {
        let is_repeated = matches!(field.rule, FieldRule::Repeated);
        match field.kind {
            FieldType::String | FieldType::Bytes => Self::Bytes,
            FieldType::TraceId => Self::TraceId,
            FieldType::SpanId => Self::SpanId,
            FieldType::Uint64 if is_repeated => Self::RepeatedVarint,
            FieldType::Bool
            | FieldType::Int32
            | FieldType::Sint32
            | FieldType::Uint32
            | FieldType::Int64
            | FieldType::Uint64
            | FieldType::Enum(_) => Self::Varint,
            FieldType::Fixed32 => Self::Fixed32,
            FieldType::Fixed64 | FieldType::Double if is_repeated => Self::RepeatedFixed64,
            FieldType::Sfixed64 | FieldType::Fixed64 | FieldType::Double => Self::Fixed64,
            FieldType::Message(schema) => Self::Message(schema),
            FieldType::KeyValue => Self::KeyValue,
            FieldType::Nested(schema) => Self::Nested(schema),
            FieldType::Wrapper(schema) => Self::Wrapper(schema),
            FieldType::Item(schema) => Self::Item(schema),
            FieldType::Entry(schema) => Self::Entry(schema),
        }
    }
}

/// What a field is whose tag has one byte, as nearly all have: how long it is then follows from its second byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ShortForm {
    /// Another wire type than that of the field, or a field that is not defined.
    None,
    Varint,
    Fixed64,
    Fixed32,
    /// Text or bytes.
    Bytes,
    TraceId,
    SpanId,
    /// An attribute.
    KeyValue,
    /// A message that is none of those.
    Message,
    /// An item.
    Item,
}

impl ShortForm {
    /// The wire type, and the form for fields of it.
    const fn new(check: FieldCheck) -> (usize, Self) {
        match check {
            FieldCheck::Varint | FieldCheck::RepeatedVarint => (0, Self::Varint),
            FieldCheck::Fixed64 | FieldCheck::RepeatedFixed64 => (1, Self::Fixed64),
            FieldCheck::Fixed32 => (5, Self::Fixed32),
            FieldCheck::Bytes => (2, Self::Bytes),
            FieldCheck::TraceId => (2, Self::TraceId),
            FieldCheck::SpanId => (2, Self::SpanId),
            FieldCheck::KeyValue => (2, Self::KeyValue),
            FieldCheck::Message(_) => (2, Self::Message),
            FieldCheck::Item(_) => (2, Self::Item),
            FieldCheck::Unknown | FieldCheck::Nested(_) | FieldCheck::Wrapper(_) | FieldCheck::Entry(_) => {
                (2, Self::None)
            }
        }
    }

    /// The length of a scalar, text or id in its shortest encoding, tag included; nothing for any other. Each length is
    /// a constant in its branch, so that the processor can go on with the next field before it has read this one.
    #[inline(always)]
    pub(crate) fn scalar_len(self, second: u8) -> Option<usize> {
        match self {
            Self::Varint if second < 0x80 => Some(2),
            Self::Fixed64 => Some(9),
            Self::Fixed32 => Some(5),
            Self::Bytes if second < 0x80 => Some(2 + usize::from(second)),
            Self::TraceId if second == 16 => Some(18),
            Self::SpanId if second == 8 => Some(10),
            _ => None,
        }
    }
}

/// The schema of a signal's export request.
#[must_use]
pub fn request(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

/// The schema of a signal's export response.
#[must_use]
pub fn response(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &TRACES_RESPONSE,
        Signal::Metrics => &METRICS_RESPONSE,
        Signal::Logs => &LOGS_RESPONSE,
    }
}
