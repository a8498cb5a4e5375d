//! What a YAML scalar means, decided as Go's yaml.v3 decides it (a mix of YAML 1.1 and 1.2).
//!
//! `0123` is octal, `yes` is a string, `1e400` is a string because it has no float64. Dates stay strings: no field of a
//! collector configuration is a date, and a string field would only refuse Go's time value.

use crate::node::{ConfigNode, NodeValue, SourceLocation};

/// Resolves an unquoted, untagged scalar.
pub(crate) fn resolve(text: &str) -> NodeValue {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return NodeValue::Null,
        "true" | "True" | "TRUE" => return NodeValue::Bool(true),
        "false" | "False" | "FALSE" => return NodeValue::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return NodeValue::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return NodeValue::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return NodeValue::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => float(text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    };
    number.unwrap_or_else(|| NodeValue::Str(text.into()))
}

/// Resolves a scalar under an explicit tag of the YAML core schema (`!!int`, given as `int`).
pub(crate) fn resolve_tagged(tag: &str, text: &str) -> Result<NodeValue, String> {
    if tag == "str" {
        return Ok(NodeValue::Str(text.into()));
    }
    let value = resolve(text);
    match (tag, value) {
        ("int", v @ NodeValue::Int(_)) | ("float", v @ NodeValue::Float(_)) | ("bool", v @ NodeValue::Bool(_)) => Ok(v),
        ("null", NodeValue::Null) => Ok(NodeValue::Null),
        // Exact up to 2^53, as Go's own conversion is.
        #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
        ("float", NodeValue::Int(v)) => Ok(NodeValue::Float(v as f64)),
        (_, v) => {
            let found = match v {
                NodeValue::Null => "!!null",
                NodeValue::Bool(_) => "!!bool",
                NodeValue::Int(_) => "!!int",
                NodeValue::Float(_) => "!!float",
                _ => "!!str",
            };
            Err(format!("cannot decode {found} `{text}` as a !!{tag}"))
        }
    }
}

/// Go's `ParseInt(s, 0, 64)`, then `ParseUint(s, 0, 64)`; the caller has removed the underscores.
fn integer(text: &str) -> Option<NodeValue> {
    let (sign, body) = match text.as_bytes().first()? {
        b'-' => ('-', text.get(1..)?),
        b'+' => ('+', text.get(1..)?),
        _ => (' ', text),
    };
    let lower = body.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match lower.as_deref() {
        Some("0x") => (16, body.get(2..)?),
        Some("0o") => (8, body.get(2..)?),
        Some("0b") => (2, body.get(2..)?),
        Some(_) if body.starts_with('0') => (8, body.get(1..)?),
        _ => (10, body),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if sign == '-' { -magnitude } else { magnitude };
    let fits = i64::try_from(value).is_ok() || sign == ' ';
    fits.then_some(NodeValue::Int(value))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?` that has a finite float64.
fn float(text: &str) -> Option<NodeValue> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e)),
        None => (body, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_ok = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !mantissa_ok || !exponent_ok {
        return None;
    }
    text.parse::<f64>().ok().filter(|v| v.is_finite()).map(NodeValue::Float)
}

impl ConfigNode {
    /// A scalar as written in its source, such as `0123` for 83. `None` if the source is secret, if the scalar is in
    /// quotes or on several lines, or if the text at its place is not that scalar alone.
    pub fn source_scalar(&self) -> Option<&str> {
        let SourceLocation { line, column, width, text, .. } = &self.origin;
        let width = usize::try_from(*width).ok().filter(|w| *w <= 256 && !text.secret)?;
        let rest = text.rest_of_line(*line, *column, width * 4)?;
        let end = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
        let written = rest.get(..end)?.trim();
        (resolve(written) == self.value).then_some(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_resolve_as_in_yaml_v3() {
        let table: &[(&str, i128)] = &[
            ("0", 0),
            ("0123", 83),
            ("0777_7", 4095),
            ("0o17", 15),
            ("-0o17", -15),
            ("+0o17", 15),
            ("0xdeadbeef", 3_735_928_559),
            ("-0x10", -16),
            ("0b101", 5),
            ("1_000", 1000),
            ("1__0", 10),
            ("+5", 5),
            ("18446744073709551615", 18_446_744_073_709_551_615),
            ("-9223372036854775808", -9_223_372_036_854_775_808),
        ];
        for (text, want) in table {
            assert_eq!(resolve(text), NodeValue::Int(*want), "{text}");
        }
    }

    #[test]
    fn floats_resolve_as_in_yaml_v3() {
        let table: &[(&str, f64)] = &[
            ("1e+07", 1e7),
            ("1E5", 1e5),
            ("1.e5", 1e5),
            ("12e03", 12000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1.5_0", 1.5),
            ("089", 89.0),
            ("-09", -9.0),
            ("99999999999999999999", 1e20),
            (".inf", f64::INFINITY),
            ("-.INF", f64::NEG_INFINITY),
        ];
        for (text, want) in table {
            assert_eq!(resolve(text), NodeValue::Float(*want), "{text}");
        }
        assert!(matches!(resolve(".nan"), NodeValue::Float(v) if v.is_nan()));
    }

    #[test]
    fn text_similar_to_a_number_or_bool_resolves_to_a_string() {
        let strings = [
            "yes",
            "no",
            "on",
            "off",
            "tRUE",
            "y",
            "0x",
            "+",
            "-",
            "_1",
            "1e",
            "1e400",
            "0b2",
            "0o8",
            "0x1p4",
            "1:30",
            "NaN",
            ".",
            "._1",
            "--5",
            "0.0.0.0:4317",
            "2001-01-01",
            "12é",
        ];
        for text in strings {
            assert_eq!(resolve(text), NodeValue::Str(text.into()), "{text}");
        }
    }

    #[test]
    fn explicit_tag_converts_the_scalar_or_is_refused() {
        assert_eq!(resolve_tagged("str", "12"), Ok(NodeValue::Str("12".into())));
        assert_eq!(resolve_tagged("float", "3"), Ok(NodeValue::Float(3.0)));
        assert_eq!(resolve_tagged("bool", "yes"), Err("cannot decode !!str `yes` as a !!bool".into()));
    }
}
