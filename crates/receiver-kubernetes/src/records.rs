//! Objects that were read, and how a batch of them becomes a payload of log records.
//!
//! Owns the batch and its limits. What a record has is an implementation of [`RecordFormat`].

use std::sync::Arc;

use otelcore_go_text::json;
use otelcore_kubernetes_client::ApiResource;
use otelcore_pdata::build::Body;
use otelcore_pdata::{MAX_NESTING, Value};

/// Levels of a record's body around an object.
const BODY_LEVELS: u8 = 2;

/// An object that was read, as JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReadObject {
    /// The position of its source.
    pub(crate) source: usize,
    /// `ADDED` and so on; `None` for an object of a pull.
    pub(crate) event_type: Option<&'static str>,
    /// It is of a list, whose items may lack their kind.
    pub(crate) is_listed: bool,
    /// It is left out if it has this version or an older one; zero for none.
    pub(crate) sent_version: u64,
    pub(crate) json: Vec<u8>,
}

/// An object as values, and where it comes from.
pub(crate) struct DecodedObject {
    pub(crate) source: usize,
    pub(crate) event_type: Option<&'static str>,
    pub(crate) object: Value,
}

/// How objects become records.
pub(crate) trait RecordFormat: Send + Sync {
    /// Writes the records of a batch. `now` is in nanoseconds since the epoch.
    fn write(&self, objects: Vec<DecodedObject>, now: u64, body: &mut Body);
}

/// What a batch is turned into.
pub(crate) struct WrittenBatch {
    pub(crate) body: Body,
    /// How many objects were left out, and why the first one was.
    pub(crate) left_out: Option<(u64, String)>,
}

/// Turns a batch into records. `resources` are those of the sources.
pub(crate) fn write_batch(
    batch: Vec<ReadObject>,
    resources: &[ApiResource],
    format: &Arc<dyn RecordFormat>,
    now: u64,
) -> WrittenBatch {
    let mut left_out: Option<(u64, String)> = None;
    let mut decoded = Vec::with_capacity(batch.len());
    for object in batch {
        match decode(&object, resources.get(object.source)) {
            Ok(None) => {}
            Ok(Some(value)) => {
                decoded.push(DecodedObject { source: object.source, event_type: object.event_type, object: value });
            }
            Err(error) => left_out.get_or_insert((0, error)).0 += 1,
        }
    }
    let mut body = Body::new();
    format.write(decoded, now, &mut body);
    WrittenBatch { body, left_out }
}

fn decode(object: &ReadObject, resource: Option<&ApiResource>) -> Result<Option<Value>, String> {
    let mut value = json::parse_first_with_integers(&object.json)?;
    if value.depth() > MAX_NESTING.saturating_sub(BODY_LEVELS) {
        return Err(format!("it is nested more than {} deep", MAX_NESTING - BODY_LEVELS));
    }
    if object.sent_version > 0 {
        let version = string(path(&value, &["metadata", "resourceVersion"])).parse::<u64>();
        if version.is_ok_and(|version| version <= object.sent_version) {
            return Ok(None);
        }
    }
    let Value::Map(members) = &mut value else { return Err("it is no JSON object".to_owned()) };
    if object.is_listed
        && let Some(resource) = resource
    {
        let has = |name: &[u8]| members.iter().any(|(key, value)| key == name && !string(Some(value)).is_empty());
        if !has(b"kind") || !has(b"apiVersion") {
            members.retain(|(key, _)| key != b"kind" && key != b"apiVersion");
            members.push((b"kind".to_vec(), Value::String(resource.kind.clone().into_bytes())));
            members.push((b"apiVersion".to_vec(), Value::String(resource.api_version().into_bytes())));
        }
    }
    Ok(Some(value))
}

/// A member of members.
pub(crate) fn path<'v>(value: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().try_fold(value, |value, name| match value {
        Value::Map(members) => members.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value),
        _ => None,
    })
}

/// The text of a value; empty for another type.
pub(crate) fn string(value: Option<&Value>) -> &str {
    match value {
        Some(Value::String(text)) => std::str::from_utf8(text).unwrap_or_default(),
        _ => "",
    }
}
