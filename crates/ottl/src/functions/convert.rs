//! Conversions between types, and questions for types.

use std::borrow::Cow;

use otelcore_pdata::views::{KeyValue, RepeatedMessages};

use super::common::{error, int, quote, required, take, text, type_verb};
use crate::error::EvalError;
use crate::evaluate::{Evaluation, Expression};
use crate::function::{Callable, Converter, Function, ParameterKind as Kind};
use crate::value::{ListKind, MessageKind, Value};

/// The argument as it was converted for its parameter.
macro_rules! conversion {
    ($constant:ident, $name:literal, $kind:expr) => {
        pub(super) const $constant: Function = Function {
            name: $name,
            parameters: &[required("Target", $kind)],
            build: |_| Ok(Callable::pure(|arguments| Ok(take(arguments, 0)))),
        };
    };
}

conversion!(BOOL, "Bool", Kind::BoolLike);
conversion!(DOUBLE, "Double", Kind::FloatLike);
conversion!(INT, "Int", Kind::IntLike);
conversion!(STRING, "String", Kind::StringLike);

/// Whether the value is of a type. A literal of another type is an error of the statement, as in Go.
macro_rules! question {
    ($constant:ident, $name:literal, $kind:expr, $pattern:pat) => {
        pub(super) const $constant: Function = Function {
            name: $name,
            parameters: &[required("Target", $kind)],
            build: |arguments| {
                let is_of_type: fn(&Value<'_>) -> bool = |value| matches!(value, $pattern);
                Ok(Callable::converter(Question { target: arguments.expression(0)?, is_of_type }))
            },
        };
    };
}

question!(IS_BOOL, "IsBool", Kind::Bool, Value::Bool(_));
question!(IS_DOUBLE, "IsDouble", Kind::Float, Value::Double(_));
question!(IS_INT, "IsInt", Kind::Int, Value::Int(_));
question!(IS_STRING, "IsString", Kind::String, Value::String(_));
question!(IS_MAP, "IsMap", Kind::Map, Value::Map(_));

struct Question {
    target: Expression,
    is_of_type: fn(&Value<'_>) -> bool,
}

impl Converter for Question {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        Ok(Value::Bool((self.is_of_type)(&self.target.get(evaluation)?)))
    }
}

pub(super) const IS_LIST: Function = Function {
    name: "IsList",
    parameters: &[required("Target", Kind::Any)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            Ok(Value::Bool(match arguments.first() {
                Some(Value::List(list)) => list.kind != ListKind::Uints,
                Some(Value::Messages(kind, _)) => repeated_field(*kind).is_some(),
                _ => false,
            }))
        }))
    },
};

/// The field whose occurrences are the messages, if there can be several.
fn repeated_field(kind: MessageKind) -> Option<u32> {
    match kind {
        MessageKind::Events => Some(11),
        MessageKind::Links => Some(13),
        MessageKind::DataPoints(_) => Some(1),
        MessageKind::Exemplars => Some(5),
        MessageKind::QuantileValues => Some(6),
        MessageKind::Status | MessageKind::Buckets => None,
    }
}

pub(super) const PARSE_INT: Function = Function {
    name: "ParseInt",
    parameters: &[required("Target", Kind::String), required("Base", Kind::Int)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let target = text(arguments, 0);
            if target.is_empty() {
                return Err(error("invalid target value for ParseInt function, target cannot be empty"));
            }
            let base = int(arguments, 1);
            if base < 0 {
                return Err(error(format!(
                    "invalid base value: {base} for ParseInt function, base cannot be negative"
                )));
            }
            parse_int(target, base).map(Value::Int).map_err(error)
        }))
    },
};

/// Reads an integer as Go's `strconv.ParseInt` with 64 bits.
fn parse_int(text: &[u8], base: i64) -> Result<i64, String> {
    let failed = |reason: &str| format!("strconv.ParseInt: parsing {}: {reason}", quote(text));
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return Err(failed("invalid syntax"));
    }
    let (radix, digits) = match base {
        2..=36 => (u32::try_from(base).unwrap_or(10), Cow::Borrowed(digits)),
        0 => digits_of_any_base(digits).ok_or_else(|| failed("invalid syntax"))?,
        _ => return Err(failed(&format!("invalid base {base}"))),
    };
    let mut value = Some(0_u64);
    for b in &*digits {
        let digit = char::from(*b).to_digit(radix).ok_or_else(|| failed("invalid syntax"))?;
        value = value
            .and_then(|value| value.checked_mul(u64::from(radix)))
            .and_then(|value| value.checked_add(u64::from(digit)));
        // As Go, it stops at the digit that is too much.
        if value.is_none() {
            return Err(failed("value out of range"));
        }
    }
    let value = value.unwrap_or(0);
    let result = if is_negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() };
    result.ok_or_else(|| failed("value out of range"))
}

/// The base by its prefix, and the digits without underscores.
fn digits_of_any_base(digits: &[u8]) -> Option<(u32, Cow<'_, [u8]>)> {
    let (radix, rest) = match digits {
        [b'0', b'b' | b'B', _, ..] => (2, digits.get(2..)?),
        [b'0', b'o' | b'O', _, ..] => (8, digits.get(2..)?),
        [b'0', b'x' | b'X', _, ..] => (16, digits.get(2..)?),
        [b'0', rest @ ..] => (8, rest),
        _ => (10, digits),
    };
    if !rest.contains(&b'_') {
        return Some((radix, Cow::Borrowed(rest)));
    }
    // Underscores stand between digits, or behind the prefix.
    let has_prefix = rest.len() < digits.len();
    let mut is_after_digit = has_prefix;
    for b in rest {
        if *b == b'_' && !is_after_digit {
            return None;
        }
        is_after_digit = *b != b'_';
    }
    is_after_digit.then(|| (radix, Cow::Owned(rest.iter().copied().filter(|b| *b != b'_').collect())))
}

pub(super) const LEN: Function = Function {
    name: "Len",
    parameters: &[required("Target", Kind::Any)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let value = take(arguments, 0);
            let len = match &value {
                Value::String(text) | Value::Bytes(text) => Some(text.len()),
                Value::Map(map) => Some(map.len()),
                Value::List(list) => Some(list.len()),
                Value::Messages(kind, raw) => {
                    repeated_field(*kind).map(|number| RepeatedMessages::<KeyValue<'_>>::new(raw, number).count())
                }
                _ => None,
            };
            let len = len.and_then(|len| i64::try_from(len).ok());
            len.map(Value::Int).ok_or_else(|| {
                error(format!(
                    "Len: unsupported target type {}. target arg must be of type string, []any, map[string]any, pcommon.Map, \
                     pcommon.Slice, pcommon.Value (of type String, Map, Slice) or a supported slice type from the plog, \
                     pmetric or ptrace packages",
                    type_verb(&value)
                ))
            })
        }))
    },
};

pub(super) const LOG: Function = Function {
    name: "Log",
    parameters: &[required("Target", Kind::FloatLike)],
    build: |_| {
        Ok(Callable::pure(|arguments| match arguments.first() {
            // A value that is not a number is not below zero.
            Some(Value::Double(v)) if *v <= 0.0 => Err(error(format!(
                "invalid input: expected number greater than zero but got {}",
                super::format::format_double(*v)
            ))),
            Some(Value::Double(v)) => Ok(Value::Double(natural_logarithm(*v))),
            _ => Err(error("invalid input: <nil>")),
        }))
    },
};

/// Go's `math.Log`, which the logarithm of the platform differs from in the last bit.
fn natural_logarithm(x: f64) -> f64 {
    const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    const COEFFICIENTS: [u64; 7] = [
        0x3fe5_5555_5555_5593,
        0x3fd9_9999_9997_fa04,
        0x3fd2_4924_9422_9359,
        0x3fcc_71c5_1d8e_78af,
        0x3fc7_4664_96cb_03de,
        0x3fc3_9a09_d078_c69f,
        0x3fc2_f112_df3e_5244,
    ];
    if !x.is_finite() || x <= 0.0 {
        return x.ln();
    }
    // x = fraction * 2^exponent, the fraction from the root of one half on.
    let (mut scaled, mut exponent) = (x, 0_i32);
    if scaled < f64::MIN_POSITIVE {
        scaled *= f64::from_bits((52 + 1023) << 52);
        exponent -= 52;
    }
    let bits = scaled.to_bits();
    exponent += i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1022;
    let mut fraction = f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52);
    if fraction < std::f64::consts::SQRT_2 / 2.0 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let (f, k) = (fraction - 1.0, f64::from(exponent));
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let [l1, l2, l3, l4, l5, l6, l7] = COEFFICIENTS.map(f64::from_bits);
    let t1 = s2 * (l1 + s4 * (l3 + s4 * (l5 + s4 * l7)));
    let t2 = s4 * (l2 + s4 * (l4 + s4 * l6));
    let r = t1 + t2;
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + r) + k * LN2_LOW)) - f)
}

pub(super) const IS_VALID_LUHN: Function = Function {
    name: "IsValidLuhn",
    parameters: &[required("Target", Kind::StringLike)],
    build: |_| {
        Ok(Callable::pure(|arguments| match arguments.first() {
            Some(Value::String(text)) => is_valid_luhn(text).map(Value::Bool),
            _ => Err(error("invalid input: <nil>")),
        }))
    },
};

fn is_valid_luhn(text: &[u8]) -> Result<bool, EvalError> {
    let digits: Vec<u8> = text.iter().copied().filter(|b| *b != b' ').collect();
    let digit = |b: &u8| {
        char::from(*b).to_digit(10).ok_or_else(|| {
            // In Go, the byte is a character.
            let shown = quote(char::from(*b).encode_utf8(&mut [0; 4]).as_bytes());
            error(format!("strconv.Atoi: parsing {shown}: invalid syntax"))
        })
    };
    let Some((check, rest)) = digits.split_last() else { return Ok(false) };
    let check = digit(check)?;
    let mut sum = 0_u64;
    for (index, b) in rest.iter().rev().enumerate() {
        let digit = digit(b)?;
        let weighted = if index % 2 == 0 { digit * 2 } else { digit };
        sum += u64::from(if weighted > 9 { weighted - 9 } else { weighted });
    }
    Ok((10 - sum % 10) % 10 == u64::from(check))
}

/// An id from its bytes or from hexadecimal digits.
macro_rules! id {
    ($constant:ident, $name:literal, $variant:ident) => {
        pub(super) const $constant: Function = Function {
            name: $name,
            parameters: &[required("Target", Kind::BytesLike)],
            build: |arguments| {
                if let Some(literal) = arguments.literal_of(0) {
                    let bytes = match literal {
                        Value::Bytes(bytes) => &bytes[..],
                        _ => &[],
                    };
                    let id = id($name, bytes).map_err(|error| crate::error::BuildError::new(error.to_string()))?;
                    return Ok(Callable::pure(move |_| Ok(Value::$variant(id))));
                }
                Ok(Callable::pure(|arguments| id($name, text(arguments, 0)).map(Value::$variant)))
            },
        };
    };
}

id!(TRACE_ID, "TraceID", TraceId);
id!(SPAN_ID, "SpanID", SpanId);
id!(PROFILE_ID, "ProfileID", ProfileId);

fn id<const N: usize>(function: &str, bytes: &[u8]) -> Result<[u8; N], EvalError> {
    if let Ok(id) = bytes.try_into() {
        return Ok(id);
    }
    if bytes.len() != 2 * N {
        return Err(error(format!(
            "{function}: could not decode ID: invalid length: expected {N} or {} bytes, got {}",
            2 * N,
            bytes.len()
        )));
    }
    let mut id = [0; N];
    for (to, digits) in id.iter_mut().zip(bytes.as_chunks::<2>().0) {
        let digit = |b: u8| {
            char::from(b).to_digit(16).ok_or_else(|| {
                error(format!(
                    "{function}: could not decode ID: invalid hex: encoding/hex: invalid byte: {}",
                    unicode_verb(b)
                ))
            })
        };
        let [high, low] = *digits;
        *to = u8::try_from(digit(high)? << 4 | digit(low)?).unwrap_or_default();
    }
    Ok(id)
}

/// A byte as `%#U` writes the character of its number.
fn unicode_verb(b: u8) -> String {
    let c = char::from(b);
    if super::common::is_printable(c) { format!("U+{b:04X} '{c}'") } else { format!("U+{b:04X}") }
}
