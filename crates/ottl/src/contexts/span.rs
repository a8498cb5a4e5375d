//! Spans and their events.

use std::borrow::Cow;

use otelcore_pdata::edit::{EventMut, SpanMut};
use otelcore_pdata::schema::{event, span};
use otelcore_pdata::views::{Event, Link, RepeatedMessages, Span, Status, View};

use super::access::{
    self, ChangeMap, edit_attributes, expects, get_attributes, get_resource, get_scope, hex_value, int, int32,
    nanos_value, no_map, set_attributes, set_resource, set_scope, span_id_value, string, text_value, time, time_value,
    trace_id_value, uint32, unix_nanos,
};
use super::request::{get_request, read_only};
use super::{ContextMut, ContextView, Field, RequestMetadata, SpanEventField, SpanField, trace_state};
use crate::error::EvalError;
use crate::index::Key;
use crate::value::{MessageKind, Value};

/// A span under edit.
pub struct SpanContext<'a, 'b> {
    /// The span.
    pub span: &'a mut SpanMut<'b>,
    /// The request with which it came.
    pub request: Option<&'a dyn RequestMetadata>,
}

/// An event of a span under edit.
pub struct SpanEventContext<'a, 'b> {
    /// The event.
    pub event: &'a mut EventMut<'b>,
    /// Its position among the events of its span.
    pub index: i64,
    /// The request with which it came.
    pub request: Option<&'a dyn RequestMetadata>,
}

/// Names of kinds, as Go prints them and as the protocol names them.
const KINDS: [(&str, &str); 6] = [
    ("Unspecified", "SPAN_KIND_UNSPECIFIED"),
    ("Internal", "SPAN_KIND_INTERNAL"),
    ("Server", "SPAN_KIND_SERVER"),
    ("Client", "SPAN_KIND_CLIENT"),
    ("Producer", "SPAN_KIND_PRODUCER"),
    ("Consumer", "SPAN_KIND_CONSUMER"),
];

fn kind_names(kind: i32) -> (&'static str, &'static str) {
    usize::try_from(kind).ok().and_then(|kind| KINDS.get(kind)).copied().unwrap_or_default()
}

/// The kind of a name.
fn kind_of(name: &[u8], is_deprecated: bool) -> Result<i32, EvalError> {
    let is_name = |(go, protocol): &(&str, &str)| (if is_deprecated { *protocol } else { *go }).as_bytes() == name;
    match KINDS.iter().position(is_name).and_then(|kind| i32::try_from(kind).ok()) {
        Some(kind) => Ok(kind),
        None => {
            let form = if is_deprecated { "deprecated string" } else { "string" };
            let name = String::from_utf8_lossy(name);
            Err(EvalError::new(format!("unknown span kind {form}, {name}")))
        }
    }
}

/// The key of a list member in `trace_state`.
fn member_key<'k>(keys: &'k [Key<'_>]) -> Result<&'k [u8], EvalError> {
    match keys {
        [Key::String(key)] => Ok(key),
        [_] => Err(EvalError::new("trace_state indexing type must be a string")),
        _ => Err(EvalError::new("must provide exactly 1 key when accessing trace_state")),
    }
}

fn get_trace_state<'c>(text: &'c [u8], keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    if keys.is_empty() {
        return Ok(text_value(text));
    }
    let Some(members) = trace_state::parse(text) else { return Ok(Value::Nil) };
    let key = member_key(keys)?;
    let value = members.into_iter().find(|(found, _)| *found == key).map(|(_, value)| value);
    Ok(text_value(value.unwrap_or_default()))
}

fn set_trace_state(span: &mut SpanMut<'_>, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
    let value = string(value)?;
    if keys.is_empty() {
        span.set_trace_state(value);
        return Ok(());
    }
    let text = span.view().trace_state.to_vec();
    if let Some(members) = trace_state::parse(&text) {
        let key = member_key(keys)?;
        // A member that is not valid is not written.
        if let Some(text) = trace_state::insert(&members, key, value) {
            span.set_trace_state(&text);
        }
    }
    Ok(())
}

/// Reads a field. `find` returns the value of an attribute.
#[inline]
pub(super) fn get_span<'c>(
    view: impl FnOnce() -> Span<'c>,
    find: impl FnOnce(&[u8]) -> Option<otelcore_pdata::views::AnyValue<'c>>,
    field: SpanField,
    keys: &[Key<'_>],
) -> Result<Value<'c>, EvalError> {
    Ok(match field {
        SpanField::Attributes => return get_attributes(keys, span::ATTRIBUTES, find, || view().raw),
        SpanField::TraceId => trace_id_value(view().trace_id),
        SpanField::TraceIdString => hex_value::<16>(view().trace_id),
        SpanField::SpanId => span_id_value(view().span_id),
        SpanField::SpanIdString => hex_value::<8>(view().span_id),
        SpanField::TraceState => return get_trace_state(view().trace_state, keys),
        SpanField::ParentSpanId => span_id_value(view().parent_span_id),
        SpanField::ParentSpanIdString => hex_value::<8>(view().parent_span_id),
        SpanField::Name => text_value(view().name),
        SpanField::Kind => Value::Int(i64::from(view().kind)),
        SpanField::KindString => text_value(kind_names(view().kind).0.as_bytes()),
        SpanField::KindDeprecatedString => text_value(kind_names(view().kind).1.as_bytes()),
        SpanField::StartTimeUnixNano => nanos_value(view().start_time_unix_nano),
        SpanField::EndTimeUnixNano => nanos_value(view().end_time_unix_nano),
        SpanField::StartTime => time_value(view().start_time_unix_nano),
        SpanField::EndTime => time_value(view().end_time_unix_nano),
        SpanField::DroppedAttributesCount => Value::Int(i64::from(view().dropped_attributes_count)),
        SpanField::Events => Value::Messages(MessageKind::Events, Cow::Borrowed(view().raw)),
        SpanField::DroppedEventsCount => Value::Int(i64::from(view().dropped_events_count)),
        SpanField::Links => Value::Messages(MessageKind::Links, Cow::Borrowed(view().raw)),
        SpanField::DroppedLinksCount => Value::Int(i64::from(view().dropped_links_count)),
        SpanField::Status => Value::Messages(MessageKind::Status, Cow::Borrowed(view().status.raw)),
        SpanField::StatusCode => Value::Int(i64::from(view().status.code)),
        SpanField::StatusMessage => text_value(view().status.message),
        SpanField::Flags => Value::Int(i64::from(view().flags)),
    })
}

/// The messages of a value of this kind.
fn messages<'v>(value: &'v Value<'_>, kind: MessageKind) -> Result<&'v [u8], EvalError> {
    match value {
        Value::Messages(found, raw) if *found == kind => Ok(raw),
        _ => Err(expects(kind.go_type(), value)),
    }
}

pub(super) fn set_span(
    span: &mut SpanMut<'_>,
    field: SpanField,
    keys: &[Key<'_>],
    value: &Value<'_>,
) -> Result<(), EvalError> {
    match field {
        SpanField::Attributes => return set_attributes(span.attributes(), keys, value),
        SpanField::TraceId => span.set_trace_id(access::trace_id(value)?.as_ref()),
        SpanField::TraceIdString => span.set_trace_id(access::trace_id_of_hex(value)?.as_ref()),
        SpanField::SpanId => span.set_span_id(access::span_id(value)?.as_ref()),
        SpanField::SpanIdString => span.set_span_id(access::span_id_of_hex(value)?.as_ref()),
        SpanField::TraceState => return set_trace_state(span, keys, value),
        SpanField::ParentSpanId => span.set_parent_span_id(access::span_id(value)?.as_ref()),
        SpanField::ParentSpanIdString => span.set_parent_span_id(access::span_id_of_hex(value)?.as_ref()),
        SpanField::Name => span.set_name(string(value)?),
        SpanField::Kind => span.set_kind(int32(value)?),
        SpanField::KindString => span.set_kind(kind_of(string(value)?, false)?),
        SpanField::KindDeprecatedString => span.set_kind(kind_of(string(value)?, true)?),
        SpanField::StartTimeUnixNano => span.set_start_time_unix_nano(unix_nanos(value)?),
        SpanField::EndTimeUnixNano => span.set_end_time_unix_nano(unix_nanos(value)?),
        SpanField::StartTime => span.set_start_time_unix_nano(time(value)?),
        SpanField::EndTime => span.set_end_time_unix_nano(time(value)?),
        SpanField::DroppedAttributesCount => span.set_dropped_attributes_count(uint32(value)?),
        SpanField::Events => {
            let raw = messages(value, MessageKind::Events)?;
            span.clear_events();
            RepeatedMessages::<Event<'_>>::new(raw, span::EVENTS).for_each(|event| span.push_event(event.raw));
        }
        SpanField::DroppedEventsCount => span.set_dropped_events_count(uint32(value)?),
        SpanField::Links => {
            let raw = messages(value, MessageKind::Links)?;
            span.clear_links();
            RepeatedMessages::<Link<'_>>::new(raw, span::LINKS).for_each(|link| span.push_link(link.raw));
        }
        SpanField::DroppedLinksCount => span.set_dropped_links_count(uint32(value)?),
        SpanField::Status => {
            let status = Status::parse(messages(value, MessageKind::Status)?);
            span.set_status_code(status.code);
            span.set_status_message(status.message);
        }
        SpanField::StatusCode => span.set_status_code(int32(value)?),
        SpanField::StatusMessage => span.set_status_message(string(value)?),
        SpanField::Flags => {
            let flags = int(value)?;
            let flags = u32::try_from(flags);
            span.set_flags(flags.map_err(|_| out_of_range(value))?);
        }
    }
    Ok(())
}

#[cold]
fn out_of_range(value: &Value<'_>) -> EvalError {
    let shown = if let Value::Int(v) = value { *v } else { 0 };
    EvalError::new(format!("value {shown} is out of range for uint32"))
}

impl ContextView for SpanContext<'_, '_> {
    #[inline]
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        let span = &*self.span;
        match field {
            // Conditions on it are common.
            Field::Span(SpanField::Kind) => Ok(Value::Int(i64::from(span.kind()))),
            Field::Span(field) => get_span(|| span.view(), |key| span.attribute(key), field, keys),
            Field::Resource(field) => get_resource(span, field, keys),
            Field::Scope(field) => get_scope(span, field, keys),
            Field::Request(field) => get_request(self.request, field, keys),
            _ => Ok(Value::Nil),
        }
    }
}

impl ContextMut for SpanContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        match field {
            Field::Span(field) => set_span(self.span, field, keys, value),
            Field::Resource(field) => set_resource(&mut self.span.resource_mut(), field, keys, value),
            Field::Scope(field) => set_scope(&mut self.span.scope_mut(), field, keys, value),
            Field::Request(field) => Err(read_only(field)),
            _ => Ok(()),
        }
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        use super::{ResourceField, ScopeField};
        match field {
            Field::Span(SpanField::Attributes) => edit_attributes(self.span.attributes(), keys, change),
            Field::Resource(ResourceField::Attributes) => {
                edit_attributes(self.span.resource_mut().attributes(), keys, change)
            }
            Field::Scope(ScopeField::Attributes) => edit_attributes(self.span.scope_mut().attributes(), keys, change),
            Field::Request(field) => Err(read_only(field)),
            other => Err(no_map(&self.get(other, keys)?)),
        }
    }
}

impl ContextView for SpanEventContext<'_, '_> {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        let found = &*self.event;
        let field = match field {
            Field::SpanEvent(field) => field,
            Field::Span(field) => {
                let is_repeated = matches!(field, SpanField::Attributes | SpanField::Events | SpanField::Links);
                let span = || if is_repeated { found.span() } else { found.span_fields() };
                return get_span(span, |key| found.span_attribute(key), field, keys);
            }
            Field::Resource(field) => return get_resource(found, field, keys),
            Field::Scope(field) => return get_scope(found, field, keys),
            Field::Request(field) => return get_request(self.request, field, keys),
            _ => return Ok(Value::Nil),
        };
        Ok(match field {
            SpanEventField::TimeUnixNano => nanos_value(found.view().time_unix_nano),
            SpanEventField::Time => time_value(found.view().time_unix_nano),
            SpanEventField::Name => text_value(found.view().name),
            SpanEventField::Attributes => {
                return get_attributes(keys, event::ATTRIBUTES, |key| found.attribute(key), || found.view().raw);
            }
            SpanEventField::DroppedAttributesCount => Value::Int(i64::from(found.view().dropped_attributes_count)),
            SpanEventField::EventIndex => Value::Int(self.index),
        })
    }
}

impl ContextMut for SpanEventContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        let event = &mut *self.event;
        let field = match field {
            Field::SpanEvent(field) => field,
            Field::Span(field) => return set_span(&mut event.span_mut(), field, keys, value),
            Field::Resource(field) => return set_resource(&mut event.resource_mut(), field, keys, value),
            Field::Scope(field) => return set_scope(&mut event.scope_mut(), field, keys, value),
            Field::Request(field) => return Err(read_only(field)),
            _ => return Ok(()),
        };
        match field {
            SpanEventField::TimeUnixNano => event.set_time_unix_nano(unix_nanos(value)?),
            SpanEventField::Time => event.set_time_unix_nano(time(value)?),
            SpanEventField::Name => event.set_name(string(value)?),
            SpanEventField::Attributes => return set_attributes(event.attributes(), keys, value),
            SpanEventField::DroppedAttributesCount => event.set_dropped_attributes_count(uint32(value)?),
            SpanEventField::EventIndex => return Err(EvalError::new("the 'event_index' path cannot be modified")),
        }
        Ok(())
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        use super::{ResourceField, ScopeField};
        let event = &mut *self.event;
        match field {
            Field::SpanEvent(SpanEventField::Attributes) => edit_attributes(event.attributes(), keys, change),
            Field::Span(SpanField::Attributes) => edit_attributes(event.span_mut().attributes(), keys, change),
            Field::Resource(ResourceField::Attributes) => {
                edit_attributes(event.resource_mut().attributes(), keys, change)
            }
            Field::Scope(ScopeField::Attributes) => edit_attributes(event.scope_mut().attributes(), keys, change),
            Field::Request(field) => Err(read_only(field)),
            other => Err(no_map(&self.get(other, keys)?)),
        }
    }
}
