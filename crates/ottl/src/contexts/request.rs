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

    /// What the receiver's authenticator knows of the client: names and values.
    fn auth_attributes(&self) -> &[(String, String)] {
        &[]
    }
}

/// Reads a field. Without a request there are no headers.
pub(super) fn get_request<'c>(
    request: Option<&'c dyn RequestMetadata>,
    field: RequestField,
    keys: &[Key<'_>],
) -> Result<Value<'c>, EvalError> {
    if field == RequestField::ClientAuthAttributes {
        return get_auth_attributes(request.map(|request| request.auth_attributes()).unwrap_or_default(), keys);
    }
    let Some((first, rest)) = keys.split_first() else {
        let entry = |(name, values): (&str, &[String])| (name.as_bytes().to_vec(), Tree::Array(trees(values)));
        let entries: TreeMap =
            request.map(|request| request.entries().into_iter().map(entry).collect()).unwrap_or_default();
        return Ok(Value::Map(Map::owned(entries)));
    };
    let name = map_key(first).map_err(|error| match field {
        RequestField::ClientMetadata => EvalError::new(format!("cannot get map value: {error}")),
        RequestField::GrpcMetadata | RequestField::ClientAuthAttributes => error,
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

/// All attributes of the client, or one of them.
fn get_auth_attributes<'c>(attributes: &'c [(String, String)], keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
    let Some((first, rest)) = keys.split_first() else {
        let entry =
            |(name, value): &(String, String)| (name.clone().into_bytes(), Tree::String(value.clone().into_bytes()));
        return Ok(Value::Map(Map::owned(attributes.iter().map(entry).collect())));
    };
    let name = map_key(first)?;
    let value = attributes.iter().find(|(found, _)| found.as_bytes() == name).map(|(_, value)| value);
    if !rest.is_empty() && !attributes.is_empty() {
        let (name, kind) = (String::from_utf8_lossy(name), if value.is_some() { "Str" } else { "Empty" });
        return Err(EvalError::new(format!("attribute {name:?} value is not indexable: {kind}")));
    }
    Ok(value.map_or(Value::Nil, Value::str))
}

fn trees(values: &[String]) -> Vec<Tree> {
    values.iter().map(|value| Tree::String(value.clone().into_bytes())).collect()
}

/// The error of writing a field.
#[cold]
pub(super) fn read_only(field: RequestField) -> EvalError {
    let path = match field {
        RequestField::ClientMetadata => "otelcol.client.metadata",
        RequestField::ClientAuthAttributes => "otelcol.client.auth.attributes",
        RequestField::GrpcMetadata => "otelcol.grpc.metadata",
    };
    EvalError::new(format!("\"{path}\" is read-only and cannot be modified"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client(Vec<(String, String)>);

    impl RequestMetadata for Client {
        fn values(&self, _: &str) -> &[String] {
            &[]
        }

        fn entries(&self) -> Vec<(&str, &[String])> {
            Vec::new()
        }

        fn auth_attributes(&self) -> &[(String, String)] {
            &self.0
        }
    }

    fn read(client: &Client, keys: &[&str]) -> String {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| Key::String(Cow::Borrowed(key.as_bytes()))).collect();
        match get_request(Some(client), RequestField::ClientAuthAttributes, &keys) {
            Ok(Value::Map(map)) => format!("{} entries", map.len()),
            Ok(Value::String(text)) => String::from_utf8_lossy(&text).into_owned(),
            Ok(value) => format!("{value:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn attributes_of_the_client_are_read_by_name() {
        let client = Client(vec![("username".to_owned(), "bob".to_owned())]);
        assert_eq!(read(&client, &[]), "1 entries");
        assert_eq!(read(&client, &["username"]), "bob");
        assert_eq!(read(&client, &["Username"]), "Nil");
        assert_eq!(read(&client, &["username", "x"]), "attribute \"username\" value is not indexable: Str");
        let unknown = Client(Vec::new());
        assert_eq!(read(&unknown, &[]), "0 entries");
        assert_eq!(read(&unknown, &["username", "x"]), "Nil");
        assert_eq!(
            read_only(RequestField::ClientAuthAttributes).to_string(),
            "\"otelcol.client.auth.attributes\" is read-only and cannot be modified"
        );
    }
}
