//! Log records.

use std::borrow::Cow;

use otelcore_pdata::edit::LogMut;
use otelcore_pdata::schema::log_record;
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Value as Tree, text};

use super::access::{
    self, ChangeMap, edit_attributes, get_attributes, get_resource, get_scope, hex_value, int32, nanos_value, no_map,
    set_attributes, set_resource, set_scope, span_id_value, string, text_value, time, time_value, trace_id_value,
    uint32, unix_nanos,
};
use super::request::{get_request, read_only};
use super::{ContextMut, ContextView, Field, LogField, MapMut, RequestMetadata, ResourceField, ScopeField};
use crate::error::EvalError;
use crate::index::Key;
use crate::index::{map_at_mut, map_value_at, set_at, set_in_map, value_at};
use crate::value::{Map, Value};

/// A log record under edit.
pub struct LogContext<'a, 'b> {
    /// The record.
    pub log: &'a mut LogMut<'b>,
    /// The request with which it came.
    pub request: Option<&'a dyn RequestMetadata>,
}

/// The error of a key into a body that has no keys.
#[cold]
fn not_indexable(kind: &str) -> EvalError {
    EvalError::new(format!("log bodies of type {kind} cannot be indexed"))
}

fn kind_name(body: AnyValue<'_>) -> &'static str {
    match body {
        AnyValue::Empty => "Empty",
        AnyValue::String(_) => "Str",
        AnyValue::Bool(_) => "Bool",
        AnyValue::Int(_) => "Int",
        AnyValue::Double(_) => "Double",
        AnyValue::Bytes(_) => "Bytes",
        AnyValue::Array(_) => "Slice",
        AnyValue::Map(_) => "Map",
    }
}

fn get_body<'c>(body: AnyValue<'c>, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    match body {
        _ if keys.is_empty() => Ok(Value::from_any(body)),
        AnyValue::Map(raw) => map_value_at(Map::raw(raw, 1), keys),
        AnyValue::Array(_) => value_at(Value::from_any(body), keys),
        other => Err(not_indexable(kind_name(other))),
    }
}

fn set_body(log: &mut LogMut<'_>, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
    if keys.is_empty() {
        let mut scratch = Vec::new();
        log.set_body(value.to_any(&mut scratch)?);
        return Ok(());
    }
    let body = log.view().body;
    if !matches!(body, AnyValue::Map(_) | AnyValue::Array(_)) {
        return Err(not_indexable(kind_name(body)));
    }
    change_body(log, |body| match body {
        Tree::Map(entries) => set_in_map(entries, keys, value),
        body => set_at(body, keys, value),
    })
}

/// Changes the body in place; what was changed before an error stays, as in the Go collector.
fn change_body(log: &mut LogMut<'_>, change: impl FnOnce(&mut Tree) -> Result<(), EvalError>) -> Result<(), EvalError> {
    let mut result = Ok(());
    if !log.update_body(|body| result = change(body)) {
        return Err(EvalError::new("the value is nested more than 100 deep"));
    }
    result
}

fn edit_body(log: &mut LogMut<'_>, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
    let body = log.view().body;
    if !matches!(body, AnyValue::Map(_)) {
        return Err(no_map(&get_body(body, keys)?));
    }
    change_body(log, |body| match body {
        Tree::Map(entries) => change(&mut MapMut::Tree(map_at_mut(entries, keys)?)),
        _ => Ok(()),
    })
}

impl ContextView for LogContext<'_, '_> {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        let log = &*self.log;
        let field = match field {
            Field::Log(field) => field,
            Field::Resource(field) => return get_resource(log, field, keys),
            Field::Scope(field) => return get_scope(log, field, keys),
            Field::Request(field) => return get_request(self.request, field, keys),
            _ => return Ok(Value::Nil),
        };
        Ok(match field {
            LogField::Attributes => {
                return get_attributes(keys, log_record::ATTRIBUTES, |key| log.attribute(key), || log.view().raw);
            }
            LogField::TimeUnixNano => nanos_value(log.view().time_unix_nano),
            LogField::ObservedTimeUnixNano => nanos_value(log.view().observed_time_unix_nano),
            LogField::Time => time_value(log.view().time_unix_nano),
            LogField::ObservedTime => time_value(log.view().observed_time_unix_nano),
            LogField::SeverityNumber => Value::Int(i64::from(log.view().severity_number)),
            LogField::SeverityText => text_value(log.view().severity_text),
            LogField::Body => return get_body(log.view().body, keys),
            LogField::BodyString => match log.view().body {
                AnyValue::String(body) => text_value(body),
                body => {
                    let mut shown = Vec::new();
                    text::put_value(&mut shown, body);
                    Value::String(Cow::Owned(shown))
                }
            },
            LogField::DroppedAttributesCount => Value::Int(i64::from(log.view().dropped_attributes_count)),
            LogField::Flags => Value::Int(i64::from(log.view().flags)),
            LogField::TraceId => trace_id_value(log.view().trace_id),
            LogField::TraceIdString => hex_value::<16>(log.view().trace_id),
            LogField::SpanId => span_id_value(log.view().span_id),
            LogField::SpanIdString => hex_value::<8>(log.view().span_id),
            LogField::EventName => text_value(log.view().event_name),
        })
    }
}

impl ContextMut for LogContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        let log = &mut *self.log;
        let field = match field {
            Field::Log(field) => field,
            Field::Resource(field) => return set_resource(&mut log.resource_mut(), field, keys, value),
            Field::Scope(field) => return set_scope(&mut log.scope_mut(), field, keys, value),
            Field::Request(field) => return Err(read_only(field)),
            _ => return Ok(()),
        };
        match field {
            LogField::Attributes => return set_attributes(log.attributes(), keys, value),
            LogField::TimeUnixNano => log.set_time_unix_nano(unix_nanos(value)?),
            LogField::ObservedTimeUnixNano => log.set_observed_time_unix_nano(unix_nanos(value)?),
            LogField::Time => log.set_time_unix_nano(time(value)?),
            LogField::ObservedTime => log.set_observed_time_unix_nano(time(value)?),
            LogField::SeverityNumber => log.set_severity_number(int32(value)?),
            LogField::SeverityText => log.set_severity_text(string(value)?),
            LogField::Body => return set_body(log, keys, value),
            LogField::BodyString => log.set_body(AnyValue::String(string(value)?)),
            LogField::DroppedAttributesCount => log.set_dropped_attributes_count(uint32(value)?),
            LogField::Flags => log.set_flags(uint32(value)?),
            LogField::TraceId => log.set_trace_id(access::trace_id(value)?.as_ref()),
            LogField::TraceIdString => log.set_trace_id(access::trace_id_of_hex(value)?.as_ref()),
            LogField::SpanId => log.set_span_id(access::span_id(value)?.as_ref()),
            LogField::SpanIdString => log.set_span_id(access::span_id_of_hex(value)?.as_ref()),
            LogField::EventName => log.set_event_name(string(value)?),
        }
        Ok(())
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        let log = &mut *self.log;
        match field {
            Field::Log(LogField::Attributes) => edit_attributes(log.attributes(), keys, change),
            Field::Log(LogField::Body) => edit_body(log, keys, change),
            Field::Resource(ResourceField::Attributes) => {
                edit_attributes(log.resource_mut().attributes(), keys, change)
            }
            Field::Scope(ScopeField::Attributes) => edit_attributes(log.scope_mut().attributes(), keys, change),
            Field::Request(field) => Err(read_only(field)),
            other => Err(no_map(&self.get(other, keys)?)),
        }
    }
}
