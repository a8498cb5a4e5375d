//! Conversion of a value to what a parameter takes.

use std::borrow::Cow;

use otelcore_go_number::{parse_float, parse_int, truncate};
use otelcore_pdata::{Value as Tree, text};

use super::math::as_double;
use super::parameter_kind::ParameterKind;
use crate::error::EvalError;
use crate::go_time::calendar::{DateTime, SECONDS_PER_DAY};
use crate::go_time::layout;
use crate::value::{List, ListKind, Map, MapKind, Time, Value, Zone};

/// The value as a parameter of `kind` takes it.
///
/// # Errors
/// It is of another type, or can't be converted.
pub(crate) fn convert(kind: ParameterKind, value: Value<'_>) -> Result<Value<'_>, EvalError> {
    use ParameterKind as Kind;
    match (kind, value) {
        (Kind::Any, value)
        | (Kind::String | Kind::StringLike, value @ Value::String(_))
        | (Kind::Int | Kind::IntLike, value @ Value::Int(_))
        | (Kind::Float | Kind::FloatLike, value @ Value::Double(_))
        | (Kind::Bool | Kind::BoolLike, value @ Value::Bool(_))
        | (Kind::BytesLike, value @ Value::Bytes(_))
        | (Kind::Time, value @ Value::Time(_))
        | (Kind::Duration, value @ Value::Duration(_))
        | (Kind::StringLike | Kind::IntLike | Kind::FloatLike | Kind::BoolLike | Kind::BytesLike, value @ Value::Nil) => {
            Ok(value)
        }
        (Kind::Map, Value::Map(map)) => Ok(Value::Map(Map { kind: MapKind::Pdata, ..map })),
        (Kind::List, Value::List(list)) => to_pdata_list(list),
        (Kind::StringLike, value) => to_string(value),
        (Kind::IntLike, value) => to_int(value),
        (Kind::FloatLike, value) => to_float(value),
        (Kind::BoolLike, value) => to_bool(value),
        (Kind::BytesLike, value) => to_bytes(value),
        (kind, value) => Err(value.type_error(expected(kind))),
    }
}

/// The name of the type in Go's messages.
fn expected(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::String => "string",
        ParameterKind::Int => "int64",
        ParameterKind::Float => "float64",
        ParameterKind::Bool => "bool",
        ParameterKind::Map => "pcommon.Map",
        ParameterKind::List => "pcommon.Slice",
        ParameterKind::Time => "time",
        ParameterKind::Duration => "duration",
        _ => "another type",
    }
}

/// The value of an entry of a map literal. Go converts what it knows; lists of other types than `[]any`, and what is
/// of pdata more than one level down, are none of it.
///
/// # Errors
/// It can't be converted.
pub(crate) fn map_literal_value(value: &Value<'_>) -> Result<Tree, EvalError> {
    fn is_plain(value: &Value<'_>) -> bool {
        match value {
            Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::String(_) | Value::Bytes(_) => true,
            Value::Map(map) => map.kind == MapKind::Native,
            Value::List(list) => list.kind == ListKind::Any && list.iter().all(|element| is_plain(&element)),
            _ => false,
        }
    }
    let is_valid = match value {
        Value::Map(_) => true,
        Value::List(list) if list.kind == ListKind::Any => {
            list.iter().all(|element| matches!(element, Value::Map(_)) || is_plain(&element))
        }
        value => is_plain(value),
    };
    if is_valid { value.to_tree() } else { Err(EvalError::new(format!("<Invalid value type {}>", value.go_type()))) }
}

fn to_pdata_list(list: List<'_>) -> Result<Value<'_>, EvalError> {
    if list.kind == ListKind::Pdata {
        return Ok(Value::List(list));
    }
    match Value::List(list).to_tree()? {
        Tree::Array(elements) => Ok(Value::List(List::owned(elements))),
        _ => Ok(Value::List(List::owned(Vec::new()))),
    }
}

fn to_string(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    let mut out = Vec::new();
    match &value {
        Value::Bytes(bytes) => text::put_hex(&mut out, bytes),
        other => put_go_json(&mut out, other)?,
    }
    Ok(Value::string(out))
}

/// Appends a value as Go's JSON encoder writes it for the getters: no spaces, keys sorted, `<`, `>` and `&` escaped.
///
/// # Errors
/// A number is not finite, or the value has no JSON.
pub(crate) fn put_go_json(out: &mut Vec<u8>, value: &Value<'_>) -> Result<(), EvalError> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Bool(v) => out.extend_from_slice(if *v { b"true" } else { b"false" }),
        Value::Int(v) | Value::Duration(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Value::Double(v) if v.is_finite() => put_double(out, *v),
        Value::Double(_) => return Err(value.unsupported()),
        Value::String(v) => put_string(out, v),
        Value::Bytes(v) if v.is_empty() => out.extend_from_slice(b"null"),
        Value::Bytes(v) => {
            out.push(b'"');
            text::put_base64(out, v);
            out.push(b'"');
        }
        // An array of bytes, which is no string for Go's encoder.
        Value::TraceId(id) | Value::ProfileId(id) => put_numbers(out, id),
        Value::SpanId(id) => put_numbers(out, id),
        Value::Map(map) => {
            let mut entries: Vec<(&[u8], Value<'_>)> = map.iter().collect();
            // A stable sort: of equal keys, the last one counts.
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push(b'{');
            let mut is_first = true;
            for (i, (key, value)) in entries.iter().enumerate() {
                if entries.get(i + 1).is_some_and(|next| next.0 == *key) {
                    continue;
                }
                if !is_first {
                    out.push(b',');
                }
                is_first = false;
                put_string(out, key);
                out.push(b':');
                put_go_json(out, value)?;
            }
            out.push(b'}');
        }
        Value::List(list) => {
            out.push(b'[');
            for (i, element) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_go_json(out, &element)?;
            }
            out.push(b']');
        }
        Value::Time(time) => put_time(out, time)?,
        Value::Messages(..) => return Err(value.unsupported()),
    }
    Ok(())
}

/// RFC 3339, which has years of four digits and offsets below a day.
fn put_time(out: &mut Vec<u8>, time: &Time) -> Result<(), EvalError> {
    let offset = match &time.zone {
        Zone::Utc => 0,
        Zone::Fixed { offset, .. } => i64::from(*offset),
    };
    let year = DateTime::at(time.seconds.saturating_add(offset)).year;
    if !(0..10_000).contains(&year) || offset.abs() >= SECONDS_PER_DAY {
        return Err(EvalError::Unsupported { found: "time.Time" });
    }
    out.push(b'"');
    layout::format("2006-01-02T15:04:05.999999999Z07:00", time, out);
    out.push(b'"');
    Ok(())
}

fn put_numbers(out: &mut Vec<u8>, bytes: &[u8]) {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    out.extend_from_slice(format!("[{}]", numbers.join(",")).as_bytes());
}

/// A double with the shortest digits; an exponent has at least two digits, unlike in ECMAScript.
fn put_double(out: &mut Vec<u8>, v: f64) {
    let start = out.len();
    text::put_double(out, v);
    let written = out.get(start..).unwrap_or_default();
    if let Some(at) = written.iter().position(|b| *b == b'e')
        && written.len() == at + 3
    {
        let last = out.pop().unwrap_or_default();
        out.extend_from_slice(&[b'0', last]);
    }
}

/// A string with the characters escaped that have a meaning in HTML.
fn put_string(out: &mut Vec<u8>, v: &[u8]) {
    text::put_json_string_with(out, v, |c| match c {
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        _ => None,
    });
}

fn to_int(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    Ok(match &value {
        Value::String(v) => parse_int(v).map_or(Value::Nil, Value::Int),
        Value::Double(v) => Value::Int(truncate(*v)),
        Value::Bool(v) => Value::Int(i64::from(*v)),
        other => return Err(other.unsupported()),
    })
}

fn to_float(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    Ok(Value::Double(match &value {
        Value::Int(v) => as_double(*v),
        Value::String(v) => parse_float(v).ok_or_else(|| {
            let text = String::from_utf8_lossy(v);
            EvalError::new(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
        })?,
        Value::Bool(v) => f64::from(u8::from(*v)),
        other => return Err(other.unsupported()),
    }))
}

fn to_bool(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    Ok(Value::Bool(match &value {
        Value::Int(v) => *v != 0,
        Value::Double(v) => *v != 0.0,
        Value::String(v) => match &v[..] {
            b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => true,
            b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => false,
            _ => {
                let text = String::from_utf8_lossy(v);
                return Err(EvalError::new(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")));
            }
        },
        other => return Err(other.unsupported()),
    }))
}

fn to_bytes(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    Ok(Value::Bytes(match value {
        Value::String(v) => v,
        Value::Int(v) => Cow::Owned(v.to_be_bytes().to_vec()),
        Value::Double(v) => Cow::Owned(v.to_be_bytes().to_vec()),
        Value::Bool(v) => Cow::Owned(vec![u8::from(v)]),
        other => return Err(other.unsupported()),
    }))
}

impl Value<'_> {
    pub(crate) fn unsupported(&self) -> EvalError {
        EvalError::Unsupported { found: self.go_type() }
    }
}
