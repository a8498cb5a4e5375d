//! The functions that an expression can call.

use crate::environment::{Environment, Steps};
use crate::value::{Value, View, not_a_string};

pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    // Both are linear for UTF-8, which texts usually are.
    match (std::str::from_utf8(text), std::str::from_utf8(part)) {
        (Ok(text), Ok(part)) => text.find(part),
        _ => text.windows(part.len()).position(|window| window == part),
    }
}

fn text<'v>(arguments: &[View<'v>], index: usize) -> Result<&'v [u8], String> {
    match arguments.get(index).copied().unwrap_or(View::Nil) {
        View::String(text) => Ok(text),
        other => Err(not_a_string(other)),
    }
}

/// Calls a function of values.
pub(crate) fn call(
    steps: &mut Steps,
    environment: &dyn Environment,
    name: &str,
    arguments: &[View<'_>],
) -> Result<Value, String> {
    let first = arguments.first().copied().unwrap_or(View::Nil);
    let lossy = |index| text(arguments, index).map(|text| String::from_utf8_lossy(text));
    Ok(match name {
        "len" => Value::Int(length(first)?),
        "type" => Value::string(type_name(first)),
        "abs" | "ceil" | "floor" | "round" | "int" | "float" => return number(name, first),
        "string" => {
            let mut out = Vec::new();
            first.print(&mut out);
            Value::String(out)
        }
        "trim" if arguments.len() == 1 => Value::string(lossy(0)?.trim()),
        "trim" => {
            let cut = lossy(1)?;
            Value::string(lossy(0)?.trim_matches(|c| cut.contains(c)))
        }
        "trimPrefix" => Value::string(strip(text(arguments, 0)?, |t| t.strip_prefix(text(arguments, 1).ok()?))),
        "trimSuffix" => Value::string(strip(text(arguments, 0)?, |t| t.strip_suffix(text(arguments, 1).ok()?))),
        "upper" => Value::string(lossy(0)?.to_uppercase()),
        "lower" => Value::string(lossy(0)?.to_lowercase()),
        "split" | "replace" | "join" => return of_parts(steps, name, arguments),
        "indexOf" => Value::Int(index(lossy(0)?.find(&*lossy(1)?))),
        "lastIndexOf" => Value::Int(index(lossy(0)?.rfind(&*lossy(1)?))),
        "hasPrefix" => Value::Bool(text(arguments, 0)?.starts_with(text(arguments, 1)?)),
        "hasSuffix" => Value::Bool(text(arguments, 0)?.ends_with(text(arguments, 1)?)),
        "first" | "last" => {
            let View::Array(list) = first else { return Ok(Value::Nil) };
            let found = if name == "first" { list.first() } else { list.last() };
            found.cloned().unwrap_or_default()
        }
        "get" => match (first, arguments.get(1)) {
            (View::Map(map), Some(View::String(key))) => map.get(*key).cloned().unwrap_or_default(),
            (View::Array(list), Some(View::Int(at))) => {
                usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned().unwrap_or_default()
            }
            _ => Value::Nil,
        },
        "keys" | "values" => {
            let View::Map(map) = first else {
                return Err(format!("cannot get {name} from {}", first.go_type()));
            };
            steps.spend(map.len())?;
            Value::Array(if name == "keys" {
                map.keys().map(|key| Value::String(key.to_vec())).collect()
            } else {
                map.values().cloned().collect()
            })
        }
        "env" => Value::string(environment.env_var(&lossy(0)?)),
        "max" | "min" => extreme(name, arguments)?,
        _ => return Err(format!("`{name}` is not supported")),
    })
}

fn strip<'t>(text: &'t [u8], strip: impl FnOnce(&'t [u8]) -> Option<&'t [u8]>) -> &'t [u8] {
    strip(text).unwrap_or(text)
}

fn index(found: Option<usize>) -> i64 {
    found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn length(v: View<'_>) -> Result<i64, String> {
    Ok(count(match v {
        View::String(text) => text.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len()).sum(),
        View::Bytes(bytes) => bytes.len(),
        View::Array(list) => list.len(),
        View::Map(map) => map.len(),
        other => return Err(format!("invalid argument for len (type {})", other.go_type())),
    }))
}

fn type_name(v: View<'_>) -> &'static str {
    match v {
        View::Nil => "nil",
        View::Bool(_) => "bool",
        View::Int(_) => "int",
        View::Double(_) => "float",
        View::String(_) => "string",
        View::Bytes(_) | View::Array(_) => "array",
        View::Map(_) => "map",
        View::Time(_) => "time.Time",
    }
}

fn number(name: &str, v: View<'_>) -> Result<Value, String> {
    let invalid = |shown: &str| format!("invalid operation: {name}({shown})");
    Ok(match (name, v) {
        ("int", View::Int(v)) | ("abs", View::Int(v @ 0..)) => Value::Int(v),
        ("abs", View::Int(v)) => Value::Int(v.checked_neg().ok_or("integer overflow")?),
        ("abs", View::Double(v)) => Value::Double(v.abs()),
        ("int", View::Double(v)) => Value::Int(otelcore_go_number::truncate(v)),
        ("int", View::String(text)) => {
            let found = otelcore_go_number::parse_int(text);
            Value::Int(found.ok_or_else(|| invalid(&String::from_utf8_lossy(text)))?)
        }
        ("float", View::String(text)) => {
            let found = otelcore_go_number::parse_float(text);
            Value::Double(found.ok_or_else(|| invalid(&String::from_utf8_lossy(text)))?)
        }
        ("ceil", View::Double(v)) => Value::Double(v.ceil()),
        ("floor", View::Double(v)) => Value::Double(v.floor()),
        ("round", View::Double(v)) => Value::Double(v.round()),
        ("float", View::Double(v)) => Value::Double(v),
        ("ceil" | "floor" | "round" | "float", View::Int(v)) => Value::Double(crate::value::to_double(v)),
        (_, other) => return Err(invalid(other.go_type())),
    })
}

fn of_parts(steps: &mut Steps, name: &str, arguments: &[View<'_>]) -> Result<Value, String> {
    if name == "join" {
        let View::Array(list) = arguments.first().copied().unwrap_or(View::Nil) else {
            return Err("invalid argument for join".to_owned());
        };
        steps.spend(list.len())?;
        let separator = if arguments.len() > 1 { text(arguments, 1)? } else { b"" };
        let mut out = Vec::new();
        for (index, part) in list.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(separator);
            }
            out.extend_from_slice(part.as_string().ok_or_else(|| not_a_string(part.view()))?);
        }
        return Ok(Value::String(out));
    }
    let whole = String::from_utf8_lossy(text(arguments, 0)?);
    let separator = String::from_utf8_lossy(text(arguments, 1)?);
    steps.spend(whole.len() / 16)?;
    let limit = match arguments.get(if name == "split" { 2 } else { 3 }) {
        Some(View::Int(limit)) => usize::try_from(*limit).ok(),
        Some(other) => return Err(format!("invalid operation: int({})", other.go_type())),
        None => None,
    };
    if name == "replace" {
        let with = String::from_utf8_lossy(text(arguments, 2)?);
        return Ok(Value::string(match limit {
            Some(limit) => whole.replacen(&*separator, &with, limit),
            None => whole.replace(&*separator, &with),
        }));
    }
    if separator.is_empty() {
        return Ok(Value::Array(whole.chars().map(|c| Value::string(c.encode_utf8(&mut [0; 4]))).collect()));
    }
    Ok(match limit {
        Some(0) => Value::Nil,
        Some(limit) => Value::Array(whole.splitn(limit, &*separator).map(Value::string).collect()),
        None => Value::Array(whole.split(&*separator).map(Value::string).collect()),
    })
}

fn extreme(name: &str, arguments: &[View<'_>]) -> Result<Value, String> {
    let mut found: Option<Value> = None;
    let mut consider = |v: View<'_>| {
        let to_number = |v: View<'_>| match v {
            View::Int(v) => Some(crate::value::to_double(v)),
            View::Double(v) => Some(v),
            _ => None,
        };
        let Some(new) = to_number(v) else { return Err(format!("invalid argument for {name} (type {})", v.go_type())) };
        let is_better = found.as_ref().and_then(|old| to_number(old.view())).is_none_or(|old| match name {
            "max" => new > old,
            _ => new < old,
        });
        if is_better {
            found = Some(v.to_value());
        }
        Ok(())
    };
    for argument in arguments {
        match argument {
            View::Array(list) => list.iter().try_for_each(|value| consider(value.view()))?,
            other => consider(*other)?,
        }
    }
    Ok(found.unwrap_or_default())
}
