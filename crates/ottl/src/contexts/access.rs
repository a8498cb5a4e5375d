//! What the items have in common: attributes under keys, ids, times, and the resource and scope around them.

use std::borrow::Cow;

use otelcore_pdata::MAX_NESTING;
use otelcore_pdata::edit::{AttributesMut, ResourceMut, ScopeMut};
use otelcore_pdata::schema::{resource, scope};
use otelcore_pdata::text;
use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages, Resource, Scope, View};

use super::{MapMut, ResourceField, ScopeField};
use crate::error::EvalError;
use crate::index::Key;
use crate::index::{map_at_mut, map_key, set_in_map, to_map, value_at};
use crate::value::{Map, MapEntries, Time, TreeMap, Value};

/// What [`super::ContextMut::edit_map`] calls.
pub(super) type ChangeMap<'f> = dyn FnMut(&mut MapMut<'_>) -> Result<(), EvalError> + 'f;

/// The value is of another type than the field has.
#[cold]
pub(super) fn expects(expected: &'static str, value: &Value<'_>) -> EvalError {
    EvalError::Expects { expected, found: value.go_type() }
}

pub(super) fn int(value: &Value<'_>) -> Result<i64, EvalError> {
    if let Value::Int(v) = value { Ok(*v) } else { Err(expects("int64", value)) }
}

pub(super) fn double(value: &Value<'_>) -> Result<f64, EvalError> {
    if let Value::Double(v) = value { Ok(*v) } else { Err(expects("float64", value)) }
}

pub(super) fn boolean(value: &Value<'_>) -> Result<bool, EvalError> {
    if let Value::Bool(v) = value { Ok(*v) } else { Err(expects("bool", value)) }
}

pub(super) fn string<'v>(value: &'v Value<'_>) -> Result<&'v [u8], EvalError> {
    if let Value::String(v) = value { Ok(v) } else { Err(expects("string", value)) }
}

/// The nanoseconds of a point in time.
pub(super) fn time(value: &Value<'_>) -> Result<u64, EvalError> {
    if let Value::Time(v) = value { Ok(v.unix_nanos().cast_unsigned()) } else { Err(expects("time.Time", value)) }
}

/// The nanoseconds of an integer.
pub(super) fn unix_nanos(value: &Value<'_>) -> Result<u64, EvalError> {
    int(value).map(i64::cast_unsigned)
}

/// The low 32 bits of an integer, as Go converts it.
pub(super) fn uint32(value: &Value<'_>) -> Result<u32, EvalError> {
    int(value).map(|v| v as u32)
}

/// The low 32 bits of an integer, as Go converts it.
pub(super) fn int32(value: &Value<'_>) -> Result<i32, EvalError> {
    int(value).map(|v| v as i32)
}

pub(super) fn nanos_value<'c>(unix_nanos: u64) -> Value<'c> {
    Value::Int(unix_nanos.cast_signed())
}

pub(super) fn time_value<'c>(unix_nanos: u64) -> Value<'c> {
    Value::Time(Time::from_unix_nanos(unix_nanos.cast_signed()))
}

pub(super) fn text_value(text: &[u8]) -> Value<'_> {
    Value::String(Cow::Borrowed(text))
}

// ---- ids ------------------------------------------------------------------------------------------------------------

/// The bytes of an id; zeros for none.
fn id_bytes<const N: usize>(id: &[u8]) -> [u8; N] {
    id.try_into().unwrap_or([0; N])
}

pub(super) fn trace_id_value<'c>(id: &[u8]) -> Value<'c> {
    Value::TraceId(id_bytes(id))
}

pub(super) fn span_id_value<'c>(id: &[u8]) -> Value<'c> {
    Value::SpanId(id_bytes(id))
}

/// An id of `N` bytes in hexadecimal.
pub(super) fn hex_value<'c, const N: usize>(id: &[u8]) -> Value<'c> {
    let mut hex = Vec::with_capacity(2 * N);
    text::put_hex(&mut hex, &id_bytes::<N>(id));
    Value::String(Cow::Owned(hex))
}

/// An id, or `None` for one of zeros.
fn non_zero<const N: usize>(id: [u8; N]) -> Option<[u8; N]> {
    Some(id).filter(|id| id.iter().any(|byte| *byte != 0))
}

pub(super) fn trace_id(value: &Value<'_>) -> Result<Option<[u8; 16]>, EvalError> {
    if let Value::TraceId(id) = value { Ok(non_zero(*id)) } else { Err(expects("pcommon.TraceID", value)) }
}

pub(super) fn span_id(value: &Value<'_>) -> Result<Option<[u8; 8]>, EvalError> {
    if let Value::SpanId(id) = value { Ok(non_zero(*id)) } else { Err(expects("pcommon.SpanID", value)) }
}

pub(super) fn trace_id_of_hex(value: &Value<'_>) -> Result<Option<[u8; 16]>, EvalError> {
    parse_hex(string(value)?, "trace ids must be 32 hex characters").map(non_zero)
}

pub(super) fn span_id_of_hex(value: &Value<'_>) -> Result<Option<[u8; 8]>, EvalError> {
    parse_hex(string(value)?, "span ids must be 16 hex characters").map(non_zero)
}

fn parse_hex<const N: usize>(text: &[u8], wrong_length: &'static str) -> Result<[u8; N], EvalError> {
    if text.len() / 2 != N {
        return Err(EvalError::new(wrong_length));
    }
    let digit = |byte: u8| match (byte as char).to_digit(16) {
        Some(digit) => Ok(digit as u8),
        None => {
            let shown = if matches!(byte, b' '..=b'~') { format!(" '{}'", byte as char) } else { String::new() };
            Err(EvalError::new(format!("encoding/hex: invalid byte: U+{:04X}{shown}", u32::from(byte))))
        }
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let mut id = [0; N];
    for (byte, [high, low]) in id.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    match rest {
        [] => Ok(id),
        [last, ..] => {
            digit(*last)?;
            Err(EvalError::new("encoding/hex: odd length hex string"))
        }
    }
}

// ---- attributes -----------------------------------------------------------------------------------------------------

/// The attributes of a message, or what keys lead to in them. `find` returns the value of one attribute, `raw` the
/// message.
#[inline]
pub(super) fn get_attributes<'c>(
    keys: &[Key<'_>],
    number: u32,
    find: impl FnOnce(&[u8]) -> Option<AnyValue<'c>>,
    raw: impl FnOnce() -> &'c [u8],
) -> Result<Value<'c>, EvalError> {
    let Some((first, rest)) = keys.split_first() else { return Ok(Value::Map(Map::raw(raw(), number))) };
    let key = map_key(first).map_err(in_map("get"))?;
    match find(key) {
        None => Ok(Value::Nil),
        Some(value) if rest.is_empty() => Ok(Value::from_any(value)),
        Some(value) => value_at(Value::from_any(value), rest),
    }
}

fn in_map(action: &'static str) -> impl FnOnce(EvalError) -> EvalError {
    move |error| EvalError::new(format!("cannot {action} map value: {error}"))
}

/// Sets all attributes, or what keys lead to in them.
#[inline]
pub(super) fn set_attributes(
    mut attributes: AttributesMut<'_>,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    match keys {
        [] => replace_attributes(attributes, value),
        [key] => {
            let key = map_key(key).map_err(in_map("set"))?;
            let mut scratch = Vec::new();
            match value.to_any(&mut scratch) {
                Ok(value) => {
                    attributes.upsert(key, value);
                    Ok(())
                }
                Err(error) => {
                    // The Go collector adds the attribute before it looks at the value.
                    attributes.insert(key, AnyValue::Empty);
                    Err(error)
                }
            }
        }
        [first, ..] => {
            let key = map_key(first).map_err(in_map("set"))?;
            edit_entry(&mut attributes, key, true, |map| set_in_map(map, keys, value))
        }
    }
}

fn replace_attributes(mut attributes: AttributesMut<'_>, value: &Value<'_>) -> Result<(), EvalError> {
    if let Value::Map(Map { entries: MapEntries::Raw(raw, number), .. }) = value {
        let entries = RepeatedMessages::<KeyValue<'_>>::new(raw, *number);
        attributes.replace_all(entries.map(|entry| (entry.key, entry.value)));
    } else {
        MapMut::Attributes(attributes).replace_all(to_map(value)?);
    }
    Ok(())
}

/// Changes the attributes, or a map that keys lead to in them.
pub(super) fn edit_attributes(
    mut attributes: AttributesMut<'_>,
    keys: &[Key<'_>],
    change: &mut ChangeMap<'_>,
) -> Result<(), EvalError> {
    let Some(first) = keys.first() else { return change(&mut MapMut::Attributes(attributes)) };
    let key = map_key(first).map_err(in_map("get"))?;
    edit_entry(&mut attributes, key, false, |map| change(&mut MapMut::Tree(map_at_mut(map, keys)?)))
}

/// Decodes one attribute into a map with this entry alone, changes that, and writes the entry back: also after an
/// error, as the Go collector changes values in place. Without the attribute the map is empty; it is then written only
/// if `add` is set.
fn edit_entry(
    attributes: &mut AttributesMut<'_>,
    key: &[u8],
    add: bool,
    change: impl FnOnce(&mut TreeMap) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let found = attributes.get(key).map(|value| (key.to_vec(), otelcore_pdata::Value::decode(value)));
    let is_there = found.is_some();
    let mut map: TreeMap = found.into_iter().collect();
    let result = change(&mut map);
    let Some((_, value)) = map.first().filter(|_| is_there || add) else { return result };
    if value.depth() > MAX_NESTING {
        return Err(EvalError::new("the value is nested more than 100 deep"));
    }
    let mut raw = Vec::new();
    value.encode(&mut raw);
    attributes.upsert(key, AnyValue::parse(&raw));
    result
}

// ---- resources and scopes -------------------------------------------------------------------------------------------

/// A resource as it is now, to be read from an item below it.
pub(super) trait ResourceAbove {
    fn resource_view(&self) -> Resource<'_>;
    /// For its fields that are not repeated.
    fn resource_fields(&self) -> Resource<'_>;
    fn resource_attribute(&self, key: &[u8]) -> Option<AnyValue<'_>>;
    fn resource_schema_url(&self) -> &[u8];
}

/// A scope as it is now, to be read from an item below it.
pub(super) trait ScopeAbove {
    fn scope_view(&self) -> Scope<'_>;
    /// For its fields that are not repeated.
    fn scope_fields(&self) -> Scope<'_>;
    fn scope_attribute(&self, key: &[u8]) -> Option<AnyValue<'_>>;
    fn scope_schema_url(&self) -> &[u8];
}

pub(super) fn get_resource<'c>(
    item: &'c impl ResourceAbove,
    field: ResourceField,
    keys: &[Key<'_>],
) -> Result<Value<'c>, EvalError> {
    Ok(match field {
        ResourceField::Attributes => {
            let find = |key: &[u8]| item.resource_attribute(key);
            return get_attributes(keys, resource::ATTRIBUTES, find, || item.resource_view().raw);
        }
        ResourceField::DroppedAttributesCount => Value::Int(i64::from(item.resource_fields().dropped_attributes_count)),
        ResourceField::SchemaUrl => text_value(item.resource_schema_url()),
    })
}

pub(super) fn set_resource(
    resource: &mut ResourceMut<'_>,
    field: ResourceField,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    match field {
        ResourceField::Attributes => return set_attributes(resource.attributes(), keys, value),
        ResourceField::DroppedAttributesCount => resource.set_dropped_attributes_count(uint32(value)?),
        ResourceField::SchemaUrl => resource.set_schema_url(string(value)?),
    }
    Ok(())
}

pub(super) fn get_scope<'c>(
    item: &'c impl ScopeAbove,
    field: ScopeField,
    keys: &[Key<'_>],
) -> Result<Value<'c>, EvalError> {
    Ok(match field {
        ScopeField::Name => text_value(item.scope_fields().name),
        ScopeField::Version => text_value(item.scope_fields().version),
        ScopeField::Attributes => {
            let find = |key: &[u8]| item.scope_attribute(key);
            return get_attributes(keys, scope::ATTRIBUTES, find, || item.scope_view().raw);
        }
        ScopeField::DroppedAttributesCount => Value::Int(i64::from(item.scope_fields().dropped_attributes_count)),
        ScopeField::SchemaUrl => text_value(item.scope_schema_url()),
    })
}

pub(super) fn set_scope(
    scope: &mut ScopeMut<'_>,
    field: ScopeField,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    match field {
        ScopeField::Name => scope.set_name(string(value)?),
        ScopeField::Version => scope.set_version(string(value)?),
        ScopeField::Attributes => return set_attributes(scope.attributes(), keys, value),
        ScopeField::DroppedAttributesCount => scope.set_dropped_attributes_count(uint32(value)?),
        ScopeField::SchemaUrl => scope.set_schema_url(string(value)?),
    }
    Ok(())
}

/// The map of a field that has none, or the value of one that the context does not have.
#[cold]
pub(super) fn no_map(value: &Value<'_>) -> EvalError {
    value.type_error("pcommon.Map")
}

impl ResourceAbove for ResourceMut<'_> {
    fn resource_view(&self) -> Resource<'_> {
        self.view()
    }

    fn resource_fields(&self) -> Resource<'_> {
        self.view()
    }

    fn resource_attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.attribute(key)
    }

    fn resource_schema_url(&self) -> &[u8] {
        self.schema_url()
    }
}

impl ScopeAbove for ScopeMut<'_> {
    fn scope_view(&self) -> Scope<'_> {
        self.view()
    }

    fn scope_fields(&self) -> Scope<'_> {
        self.view()
    }

    fn scope_attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
        self.attribute(key)
    }

    fn scope_schema_url(&self) -> &[u8] {
        self.schema_url()
    }
}

macro_rules! resource_above {
    ($type:ident) => {
        impl ResourceAbove for otelcore_pdata::edit::$type<'_> {
            fn resource_view(&self) -> otelcore_pdata::views::Resource<'_> {
                self.resource()
            }

            fn resource_fields(&self) -> otelcore_pdata::views::Resource<'_> {
                self.resource_fields()
            }

            fn resource_attribute(&self, key: &[u8]) -> Option<otelcore_pdata::views::AnyValue<'_>> {
                self.resource_attribute(key)
            }

            fn resource_schema_url(&self) -> &[u8] {
                self.resource_schema_url()
            }
        }
    };
}

macro_rules! scope_above {
    ($type:ident) => {
        resource_above!($type);

        impl ScopeAbove for otelcore_pdata::edit::$type<'_> {
            fn scope_view(&self) -> otelcore_pdata::views::Scope<'_> {
                self.scope()
            }

            fn scope_fields(&self) -> otelcore_pdata::views::Scope<'_> {
                self.scope_fields()
            }

            fn scope_attribute(&self, key: &[u8]) -> Option<otelcore_pdata::views::AnyValue<'_>> {
                self.scope_attribute(key)
            }

            fn scope_schema_url(&self) -> &[u8] {
                self.scope_schema_url()
            }
        }
    };
}

resource_above!(ScopeMut);
scope_above!(SpanMut);
scope_above!(EventMut);
scope_above!(MetricMut);
scope_above!(PointMut);
scope_above!(LogMut);
