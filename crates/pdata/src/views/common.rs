//! `common.proto` and `resource.proto`.

use super::{Fields, Merge, Repeated, Take, View, Wire, view};
use crate::wire::plain_attribute;

view! {
    /// Who produced the telemetry.
    Resource<'a> {
        /// How many attributes the sender dropped.
        2 dropped_attributes_count: u32,
        repeated /// What is known of it.
        1 attributes: KeyValue<'a>,
        repeated /// References to entities.
        3 entity_refs: EntityRef<'a>,
    }
}

view! {
    /// A reference to an entity among the resource's attributes.
    EntityRef<'a> {
        /// Schema of the entity.
        1 schema_url: &'a [u8],
        /// Its type.
        2 kind: &'a [u8],
    }
}

view! {
    /// The instrumentation scope: a library's name and version.
    Scope<'a> {
        /// Name of the library.
        1 name: &'a [u8],
        /// Its version.
        2 version: &'a [u8],
        /// How many attributes the sender dropped.
        4 dropped_attributes_count: u32,
        repeated /// What else is known of it.
        3 attributes: KeyValue<'a>,
    }
}

/// An attribute.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyValue<'a> {
    /// The message's own bytes.
    pub raw: &'a [u8],
    /// Its key, usually UTF-8.
    pub key: &'a [u8],
    /// Its value.
    pub value: AnyValue<'a>,
}

impl<'a> View<'a> for KeyValue<'a> {
    // By hand, because nearly every attribute has one shape, which can be read without a loop.
    #[inline]
    fn parse(raw: &'a [u8]) -> Self {
        if let Some((key_end, string)) = plain_attribute(raw)
            && let (Some(key), Some(string)) = (raw.get(2..key_end), string.get(1..))
        {
            return Self { raw, key, value: AnyValue::String(string) };
        }
        let mut view = Self { raw, ..Self::default() };
        for (number, wire) in Fields::new(raw) {
            match (number, wire) {
                (1, Wire::Len(key)) => view.key = key,
                (2, Wire::Len(value)) => view.value = AnyValue::parse(value),
                _ => {}
            }
        }
        view
    }
}

/// The value of an attribute or the body of a log record.
#[derive(Clone, Copy, Debug, Default)]
pub enum AnyValue<'a> {
    /// No value at all.
    #[default]
    Empty,
    /// A string, usually UTF-8.
    String(&'a [u8]),
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// An `ArrayValue`; walk it with [`AnyValue::array`].
    Array(&'a [u8]),
    /// A `KeyValueList`; walk it with [`AnyValue::map`].
    Map(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// The elements of an `ArrayValue`.
    #[must_use]
    pub fn array(raw: &'a [u8]) -> Repeated<'a, Self> {
        Repeated::new(raw, 1)
    }

    /// The entries of a `KeyValueList`.
    #[must_use]
    pub fn map(raw: &'a [u8]) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(raw, 1)
    }
}

impl<'a> View<'a> for AnyValue<'a> {
    #[inline]
    fn parse(raw: &'a [u8]) -> Self {
        let mut value = Self::Empty;
        for (number, wire) in Fields::new(raw) {
            value.merge(number, wire);
        }
        value
    }
}

impl<'a> Take<'a> for AnyValue<'a> {
    #[inline]
    fn take(wire: Wire<'a>) -> Option<Self> {
        if let Wire::Len(raw) = wire { Some(Self::parse(raw)) } else { None }
    }
}

impl<'a> Merge<'a> for AnyValue<'a> {
    #[inline]
    fn merge(&mut self, number: u32, wire: Wire<'a>) {
        *self = match (number, wire) {
            (1, Wire::Len(v)) => Self::String(v),
            (2, Wire::Varint(v)) => Self::Bool(v != 0),
            (3, Wire::Varint(v)) => Self::Int(v.cast_signed()),
            (4, Wire::Fixed64(v)) => Self::Double(f64::from_bits(v)),
            (5, Wire::Len(v)) => Self::Array(v),
            (6, Wire::Len(v)) => Self::Map(v),
            (7, Wire::Len(v)) => Self::Bytes(v),
            _ => return,
        };
    }
}
