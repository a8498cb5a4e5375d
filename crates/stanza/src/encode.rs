//! Entries as OTLP.

use std::collections::BTreeMap;

use otelcore_pdata::Rope;
use otelcore_pdata::build::{ArrayWriter, AttributesWriter, Body, LogRecordWriter};

use crate::entry::{Entry, Origins};
use crate::severity::NAMES;
use otelcore_expr::{Map, Value, View};

/// The records of a request.
#[derive(Debug)]
pub struct EncodedLogs {
    /// The request.
    pub body: Rope,
    /// What is released when the request has been delivered.
    pub origins: Origins,
}

/// Makes one request of entries, in their order for each resource and scope. `None` without entries.
#[must_use]
pub fn encode(entries: Vec<Entry>) -> Option<EncodedLogs> {
    if entries.is_empty() {
        return None;
    }
    let mut groups = Groups::default();
    let mut carrier = Entry::default();
    let mut entries = entries;
    for (index, entry) in entries.iter_mut().enumerate() {
        carrier.take_origins(std::mem::take(&mut entry.origins));
        groups.add(index, entry);
    }
    let mut body = Body::with_capacity(entries.len() * 128);
    for (resource, scopes) in &groups.resources {
        let mut logs = body.resource_logs();
        {
            let mut written = logs.resource();
            let mut attributes = written.attributes();
            put_map(&mut attributes, entries.get(*resource).map(|entry| &entry.resource));
        }
        for (scope, records) in scopes {
            let mut scope_logs = logs.scope_logs();
            scope_logs.scope().name(scope);
            for entry in records.iter().filter_map(|index| entries.get(*index)) {
                write_record(entry, &mut scope_logs.log_record());
            }
        }
    }
    Some(EncodedLogs { body: body.finish(), origins: carrier.origins })
}

/// The name of a scope, and the positions of its entries.
type ScopeRecords = (Vec<u8>, Vec<usize>);

/// Which entries have the same resource and scope.
#[derive(Default)]
struct Groups {
    /// The first entry of each resource, and its scopes with their entries.
    resources: Vec<(usize, Vec<ScopeRecords>)>,
    /// Positions in `resources`, by the text of the resource.
    by_text: BTreeMap<Vec<u8>, usize>,
    /// The resource of the entry before, and its position: most entries have the same one.
    last: Option<(Map, usize)>,
}

impl Groups {
    fn add(&mut self, index: usize, entry: &Entry) {
        let position = match &self.last {
            Some((last, position)) if *last == entry.resource => *position,
            _ => {
                let mut text = Vec::new();
                View::Map(&entry.resource).print(&mut text);
                let next = self.resources.len();
                let position = *self.by_text.entry(text).or_insert(next);
                if position == next {
                    self.resources.push((index, Vec::new()));
                }
                self.last = Some((entry.resource.clone(), position));
                position
            }
        };
        let Some((_, scopes)) = self.resources.get_mut(position) else { return };
        // Names of scopes are few.
        match scopes.iter_mut().find(|(name, _)| *name == entry.scope_name) {
            Some((_, records)) => records.push(index),
            None => scopes.push((entry.scope_name.clone(), vec![index])),
        }
    }
}

fn write_record(entry: &Entry, record: &mut LogRecordWriter<'_>) {
    if let Some(time) = &entry.timestamp {
        record.time_unix_nano(time.unix_nanos().cast_unsigned());
    }
    record.observed_time_unix_nano(entry.observed_nanos);
    record.severity_number(i32::from(entry.severity));
    if entry.severity_text.is_empty() {
        record.severity_text(NAMES.get(usize::from(entry.severity)).unwrap_or(&"").as_bytes());
    } else {
        record.severity_text(&entry.severity_text);
    }
    match &entry.body {
        Value::Nil => {}
        Value::Map(map) => {
            record.body_map(|writer| put_map(writer, Some(map)));
        }
        Value::Array(values) => {
            record.body_array(|writer| values.iter().for_each(|value| put_element(writer, value)));
        }
        Value::Time(_) => {
            let text = printed(&entry.body);
            record.body(otelcore_pdata::views::AnyValue::String(&text));
        }
        other => {
            record.body(scalar(other));
        }
    }
    put_map(&mut record.attributes(), Some(&entry.attributes));
    if let Some(id) = &entry.trace_id {
        record.trace_id(&fixed::<16>(id));
    }
    if let Some(id) = &entry.span_id {
        record.span_id(&fixed::<8>(id));
    }
    if let Some(flags) = entry.trace_flags.as_ref().and_then(|flags| flags.first()) {
        record.flags(u32::from(*flags));
    }
}

/// An id of the right length: cut, or filled with zeros.
fn fixed<const N: usize>(id: &[u8]) -> [u8; N] {
    let mut fixed = [0; N];
    fixed.iter_mut().zip(id).for_each(|(to, from)| *to = *from);
    fixed
}

fn printed(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    value.print(&mut text);
    text
}

fn scalar(value: &Value) -> otelcore_pdata::views::AnyValue<'_> {
    use otelcore_pdata::views::AnyValue;
    match value {
        Value::Bool(v) => AnyValue::Bool(*v),
        Value::Int(v) => AnyValue::Int(*v),
        Value::Double(v) => AnyValue::Double(*v),
        Value::String(v) => AnyValue::String(v),
        Value::Bytes(v) => AnyValue::Bytes(v),
        Value::Nil | Value::Array(_) | Value::Map(_) | Value::Time(_) => AnyValue::Empty,
    }
}

fn put_map(writer: &mut AttributesWriter<'_>, map: Option<&Map>) {
    for (key, value) in map.into_iter().flatten() {
        match value {
            Value::Map(map) => {
                writer.map(key, |writer| put_map(writer, Some(map)));
            }
            Value::Array(values) => {
                writer.array(key, |writer| values.iter().for_each(|value| put_element(writer, value)));
            }
            Value::Time(_) => {
                writer.string(key, &printed(value));
            }
            other => {
                writer.push(key, scalar(other));
            }
        }
    }
}

fn put_element(writer: &mut ArrayWriter<'_>, value: &Value) {
    match value {
        Value::Map(map) => writer.map(|writer| put_map(writer, Some(map))),
        Value::Array(values) => writer.array(|writer| values.iter().for_each(|value| put_element(writer, value))),
        Value::Time(_) => writer.push(otelcore_pdata::views::AnyValue::String(&printed(value))),
        other => writer.push(scalar(other)),
    }
}
