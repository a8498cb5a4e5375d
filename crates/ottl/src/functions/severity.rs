//! `ParseSeverity`: the name of the first level whose criteria a value fulfils.

use super::common::{error, required, take, type_verb};
use crate::error::{BuildError, EvalError};
use crate::evaluate::{Evaluation, Expression};
use crate::function::{Arguments, Callable, Converter, Function, ParameterKind as Kind};
use crate::value::Value;

pub(super) const PARSE_SEVERITY: Function = Function {
    name: "ParseSeverity",
    parameters: &[required("Target", Kind::Any), required("Mapping", Kind::Map)],
    build,
};

/// Levels with their criteria. A mapping that is not valid is an error of each call, as in Go.
type Mapping = Result<Vec<(Vec<u8>, Vec<Criterion>)>, String>;

#[derive(Default)]
struct Criterion {
    equals: Vec<Vec<u8>>,
    range: Option<std::ops::RangeInclusive<i64>>,
}

fn build(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let mapping = match arguments.literal_of(1) {
        Some(mapping) => read_mapping(mapping),
        None => Err("severity mapping must be a literal PMap".to_owned()),
    };
    let target = arguments.expression(0)?;
    // What is left is not evaluated.
    arguments.expression(1)?;
    Ok(Callable::converter(ParseSeverity { target, mapping }))
}

fn read_mapping(mapping: &Value<'_>) -> Mapping {
    let Value::Map(mapping) = mapping else { return Err("severity mapping must be a literal PMap".to_owned()) };
    let mut levels = Vec::new();
    for (level, criteria) in mapping.iter() {
        let Value::List(criteria) = &criteria else {
            return Err("severity mapping criteria must be []any".to_owned());
        };
        let criterion = |value: Value<'_>| match &value {
            Value::Map(_) => {
                Criterion::read(&value).map_err(|reason| format!("invalid severity mapping criteria: {reason}"))
            }
            _ => Err("severity mapping criteria items must be map[string]any".to_owned()),
        };
        levels.push((level.to_vec(), criteria.iter().map(criterion).collect::<Result<_, _>>()?));
    }
    Ok(levels)
}

impl Criterion {
    fn read(value: &Value<'_>) -> Result<Self, String> {
        let Value::Map(map) = value else { return Ok(Self::default()) };
        let mut criterion = Self::default();
        if let Some(equals) = map.get(b"equals") {
            let Value::List(values) = &equals else { return Err("equals must be a list".to_owned()) };
            for value in values.iter() {
                let Value::String(text) = &value else { return Err("equals values must be strings".to_owned()) };
                criterion.equals.push(text.to_vec());
            }
        }
        criterion.range = match map.get(b"range") {
            None => None,
            Some(Value::Map(range)) => {
                let bound = |name: &str| match range.get(name.as_bytes()) {
                    Some(Value::Int(v)) => Ok(v),
                    Some(_) => Err(format!("{name} must be an int64")),
                    None => Err(format!("range must have a {name} value")),
                };
                // Both are there before either is of the right type.
                for name in ["min", "max"] {
                    if range.get(name.as_bytes()).is_none() {
                        return Err(format!("range must have a {name} value"));
                    }
                }
                Some(bound("min")?..=bound("max")?)
            }
            Some(Value::String(text)) => Some(match &text[..] {
                b"2xx" => 200..=299,
                b"3xx" => 300..=399,
                b"4xx" => 400..=499,
                b"5xx" => 500..=599,
                other => return Err(format!("unknown range placeholder: {}", String::from_utf8_lossy(other))),
            }),
            Some(_) => return Err("range must be a map or a known placeholder string".to_owned()),
        };
        Ok(criterion)
    }

    fn is_met(&self, value: &Value<'_>) -> Result<bool, EvalError> {
        match value {
            Value::String(text) => Ok(self.equals.iter().any(|equal| **equal == **text)),
            Value::Int(v) => Ok(self.range.as_ref().is_some_and(|range| range.contains(v))),
            other => Err(error(format!("unsupported value type: {}", type_verb(other)))),
        }
    }
}

struct ParseSeverity {
    target: Expression,
    mapping: Mapping,
}

impl Converter for ParseSeverity {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let mapping = self.mapping.as_ref().map_err(|reason| error(reason.clone()))?;
        let value = self.target.get(evaluation);
        let value = value.map_err(|reason| error(format!("could not get log level: {reason}")))?;
        for (level, criteria) in mapping {
            for criterion in criteria {
                let is_met = criterion.is_met(&value).map_err(|reason| {
                    let shown = super::format::show(&value);
                    error(format!("could not map log level: could not evaluate log level of value '{shown}': {reason}"))
                })?;
                if is_met {
                    return Ok(Value::str(level));
                }
            }
        }
        let shown = super::format::show(&take(&mut [value], 0));
        Err(error(format!("could not map log level: no matching log level found for value '{shown}'")))
    }
}
