//! `set_semconv_span_name`: the name that the semantic conventions give a span.

use std::borrow::Cow;

use otelcore_ottl::contexts::{ContextView, Field, SpanField};
use otelcore_ottl::evaluate::Key;
use otelcore_ottl::{
    Arguments, BuildError, Callable, Editor, EvalError, Execution, Function, Parameter, ParameterKind, Value,
};
use otelcore_pdata::text;

/// Sets the name of a span.
pub(super) const SET_SEMCONV_SPAN_NAME: Function = Function {
    name: "set_semconv_span_name",
    parameters: &[
        Parameter::new("SemconvVersion", ParameterKind::LiteralString),
        Parameter::optional("OriginalSpanNameAttribute", ParameterKind::LiteralString),
    ],
    build,
};

fn build(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let version = arguments.literal_string(0)?.unwrap_or_default();
    let Some(parsed) = parse_version(&version) else {
        return Err(BuildError::new(format!("failed to parse semconv version {version:?}: invalid semantic version")));
    };
    if !((1, 37, 0)..=(1, 40, 0)).contains(&parsed) {
        return Err(BuildError::new(format!(
            "unsupported semconv version {version:?}: must be between 1.37.0 and 1.40.0"
        )));
    }
    let attribute = arguments.literal_string(1)?;
    if attribute.as_ref().is_some_and(String::is_empty) {
        return Err(BuildError::new("originalSpanNameAttribute cannot be an empty string"));
    }
    Ok(Callable::editor(SetName { attribute }))
}

/// A version of one to three numbers. One with a suffix comes before the version without it.
fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = text.split_once('+').map_or(text, |(version, _)| version);
    let (numbers, is_early) = text.split_once('-').map_or((text, false), |(version, _)| (version, true));
    let mut parts = numbers.split('.');
    let mut next = |first: bool| match parts.next() {
        None if !first => Some(0),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    let (major, minor, patch) = (next(true)?, next(false)?, next(false)?);
    if parts.next().is_some() {
        return None;
    }
    match (is_early, patch, minor) {
        (false, ..) => Some((major, minor, patch)),
        (true, 0, 0) => Some((major.saturating_sub(1), u64::MAX, u64::MAX)),
        (true, 0, _) => Some((major, minor - 1, u64::MAX)),
        (true, ..) => Some((major, minor, patch - 1)),
    }
}

struct SetName {
    attribute: Option<String>,
}

impl Editor for SetName {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let context = execution.context_mut();
        let Some(name) = span_name(&*context)? else { return Ok(()) };
        let old = match context.get(Field::Span(SpanField::Name), &[])? {
            Value::String(old) => old.into_owned(),
            _ => Vec::new(),
        };
        if old == name {
            return Ok(());
        }
        context.set(Field::Span(SpanField::Name), &[], &Value::string(name))?;
        if let Some(attribute) = &self.attribute {
            let key = Key::String(Cow::Borrowed(attribute.as_bytes()));
            context.set(Field::Span(SpanField::Attributes), &[key], &Value::string(old))?;
        }
        Ok(())
    }
}

/// Reads attributes as text.
struct Attributes<'c>(&'c dyn ContextView);

impl Attributes<'_> {
    /// The text of the first of these attributes that there is.
    fn text(&self, keys: &[&str]) -> Result<Option<Vec<u8>>, EvalError> {
        for key in keys {
            let key = Key::String(Cow::Borrowed(key.as_bytes()));
            let keys = [key];
            let value = self.0.get(Field::Span(SpanField::Attributes), &keys)?;
            if !value.is_nil() {
                let (mut scratch, mut shown) = (Vec::new(), Vec::new());
                text::put_value(&mut shown, value.to_any(&mut scratch)?);
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }

    fn is_true(&self, key: &str) -> Result<bool, EvalError> {
        let keys = [Key::String(Cow::Borrowed(key.as_bytes()))];
        Ok(matches!(self.0.get(Field::Span(SpanField::Attributes), &keys)?, Value::Bool(true)))
    }
}

/// The name of a span by its kind and attributes; `None` if no convention applies.
fn span_name(context: &(dyn ContextView + '_)) -> Result<Option<Vec<u8>>, EvalError> {
    const INTERNAL_TO_CONSUMER: [i64; 4] = [2, 3, 4, 5];
    let Value::Int(kind) = context.get(Field::Span(SpanField::Kind), &[])? else { return Ok(None) };
    if !INTERNAL_TO_CONSUMER.contains(&kind) {
        return Ok(None);
    }
    let attributes = Attributes(context);
    let (is_server, is_client) = (kind == 2, kind == 3);
    if is_server || is_client {
        let subject = if is_server { "http.route" } else { "url.template" };
        if let Some(name) = http_name(&attributes, subject)? {
            return Ok(Some(name));
        }
        if let Some(name) = rpc_name(&attributes)? {
            return Ok(Some(name));
        }
    }
    if is_client && let Some(name) = database_name(&attributes)? {
        return Ok(Some(name));
    }
    messaging_name(&attributes)
}

/// A name that is not empty.
fn non_empty(name: Vec<u8>) -> Option<Vec<u8>> {
    Some(name).filter(|name| !name.is_empty())
}

fn joined(parts: [&[u8]; 3]) -> Vec<u8> {
    parts.concat()
}

fn http_name(attributes: &Attributes<'_>, subject: &str) -> Result<Option<Vec<u8>>, EvalError> {
    let Some(method) = attributes.text(&["http.request.method", "http.method"])? else { return Ok(None) };
    Ok(non_empty(match attributes.text(&[subject])? {
        Some(subject) => joined([&method, b" ", &subject]),
        None => method,
    }))
}

fn rpc_name(attributes: &Attributes<'_>) -> Result<Option<Vec<u8>>, EvalError> {
    let Some(system) = attributes.text(&["rpc.system.name", "rpc.system"])? else { return Ok(None) };
    let method = attributes.text(&["rpc.method", "rpc.grpc.method"])?;
    let service = attributes.text(&["rpc.service", "rpc.grpc.service"])?;
    Ok(non_empty(match (service, method) {
        (Some(service), Some(method)) => joined([&service, b"/", &method]),
        (None, Some(method)) => method,
        (Some(service), None) => joined([&service, b"/*", b""]),
        (None, None) => system,
    }))
}

fn database_name(attributes: &Attributes<'_>) -> Result<Option<Vec<u8>>, EvalError> {
    let Some(system) = attributes.text(&["db.system.name", "db.system"])? else { return Ok(None) };
    if let Some(summary) = attributes.text(&["db.query.summary"])? {
        return Ok(non_empty(summary));
    }
    let operation = attributes.text(&["db.operation.name", "db.operation"])?.unwrap_or_default();
    let target = database_target(attributes)?;
    Ok(non_empty(match (operation.is_empty(), target.is_empty()) {
        (false, false) => joined([&operation, b" ", &target]),
        (false, true) => operation,
        (true, false) => target,
        (true, true) => system,
    }))
}

fn database_target(attributes: &Attributes<'_>) -> Result<Vec<u8>, EvalError> {
    let namespace = attributes.text(&["db.namespace", "db.name"])?.unwrap_or_default();
    for key in ["db.collection.name", "db.stored_procedure.name"] {
        if let Some(name) = attributes.text(&[key])? {
            return Ok(if namespace.is_empty() { name } else { joined([&namespace, b".", &name]) });
        }
    }
    if namespace.is_empty() { server(attributes) } else { Ok(namespace) }
}

/// Address and port of the server.
fn server(attributes: &Attributes<'_>) -> Result<Vec<u8>, EvalError> {
    let Some(address) = attributes.text(&["server.address"])? else { return Ok(Vec::new()) };
    Ok(match attributes.text(&["server.port"])? {
        Some(port) => joined([&address, b":", &port]),
        None => address,
    })
}

fn messaging_name(attributes: &Attributes<'_>) -> Result<Option<Vec<u8>>, EvalError> {
    let Some(system) = attributes.text(&["messaging.system"])? else { return Ok(None) };
    let operation = attributes.text(&["messaging.operation.name", "messaging.operation"])?;
    let destination = messaging_destination(attributes)?;
    Ok(non_empty(match (operation, destination.is_empty()) {
        (Some(operation), false) => joined([&operation, b" ", &destination]),
        (None, false) => destination,
        (Some(operation), true) => operation,
        (None, true) => system,
    }))
}

fn messaging_destination(attributes: &Attributes<'_>) -> Result<Vec<u8>, EvalError> {
    if attributes.is_true("messaging.destination.temporary")? {
        return Ok(b"(temporary)".to_vec());
    }
    if attributes.is_true("messaging.destination.anonymous")? {
        return Ok(b"(anonymous)".to_vec());
    }
    let template = attributes.text(&["messaging.destination.template"])?;
    if let Some(template) = template {
        return Ok(template);
    }
    match attributes.text(&["messaging.destination.name", "messaging.destination"])? {
        Some(name) => Ok(name),
        None => server(attributes),
    }
}
