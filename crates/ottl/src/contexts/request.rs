//! The request with which the telemetry came: paths of `otelcol`, which can only be read.

use std::borrow::Cow;

use otelcore_pdata::Value as Tree;

use super::RequestField;
use crate::error::EvalError;
use crate::index::Key;
use crate::index::{list_index, map_key};
use crate::value::{List, Map, TreeMap, Value};

/// The headers of a request that its receiver keeps.
pub trait RequestMetadata {
    /// The values of a header, its name in lower case.
    fn values(&self, name: &str) -> &[String];

    /// All names with their values.
    fn entries(&self) -> Vec<(&str, &[String])>;
}

/// Reads a field. Without a request there are no headers.
pub(super) fn get_request<'c>(
    request: Option<&'c dyn RequestMetadata>,
    field: RequestField,
    keys: &[Key<'_>],
) -> Result<Value<'c>, EvalError> {
    let (RequestField::ClientMetadata | RequestField::GrpcMetadata) = field;
    let Some((first, rest)) = keys.split_first() else {
        let entry = |(name, values): (&str, &[String])| (name.as_bytes().to_vec(), Tree::Array(trees(values)));
        let entries: TreeMap =
            request.map(|request| request.entries().into_iter().map(entry).collect()).unwrap_or_default();
        return Ok(Value::Map(Map::owned(entries)));
    };
    let name = map_key(first).map_err(|error| match field {
        RequestField::ClientMetadata => EvalError::new(format!("cannot get map value: {error}")),
        RequestField::GrpcMetadata => error,
    })?;
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let values = request.map(|request| request.values(&name)).unwrap_or_default();
    match rest {
        _ if values.is_empty() => Ok(Value::Nil),
        [] => Ok(Value::List(List::owned(trees(values)))),
        [index] => {
            let index = list_index(index, values.len())?;
            Ok(values.get(index).map_or(Value::Nil, |value| Value::String(Cow::Borrowed(value.as_bytes()))))
        }
        _ => Err(EvalError::new("cannot index into string slice more than once")),
    }
}

fn trees(values: &[String]) -> Vec<Tree> {
    values.iter().map(|value| Tree::String(value.clone().into_bytes())).collect()
}

/// The error of writing a field.
#[cold]
pub(super) fn read_only(field: RequestField) -> EvalError {
    let path = match field {
        RequestField::ClientMetadata => "otelcol.client.metadata",
        RequestField::GrpcMetadata => "otelcol.grpc.metadata",
    };
    EvalError::new(format!("\"{path}\" is read-only and cannot be modified"))
}
