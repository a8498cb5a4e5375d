//! Attribute values as text, as the Go collector's `Value.AsString` writes them.
//!
//! Strings are unchanged, numbers are in ECMAScript form, bytes in base64, arrays and maps as JSON. Bytes that are not
//! UTF-8 are unchanged outside JSON.

use crate::views::AnyValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends the text of `value`.
pub fn put_value(out: &mut Vec<u8>, value: AnyValue<'_>) {
    match value {
        AnyValue::Empty => {}
        AnyValue::String(v) => out.extend_from_slice(v),
        AnyValue::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        AnyValue::Int(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        AnyValue::Double(v) => put_double(out, v),
        AnyValue::Bytes(v) => put_base64(out, v),
        AnyValue::Array(_) | AnyValue::Map(_) => {
            let start = out.len();
            if put_json(out, value).is_err() {
                // Go's encoder rejects NaN and infinities, and the whole text is then empty.
                out.truncate(start);
            }
        }
    }
}

/// JSON has no NaN and no infinity.
#[derive(Debug, PartialEq, Eq)]
pub struct NonFiniteNumber;

/// Appends `value` as JSON: no spaces, map keys sorted, only the last of equal keys.
///
/// # Errors
/// [`NonFiniteNumber`] for NaN and infinities anywhere inside; `out` then contains a part of the text.
pub fn put_json(out: &mut Vec<u8>, value: AnyValue<'_>) -> Result<(), NonFiniteNumber> {
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::String(v) => put_json_string(out, v),
        AnyValue::Bool(_) | AnyValue::Int(_) => put_value(out, value),
        AnyValue::Double(v) if v.is_finite() => put_double(out, v),
        AnyValue::Double(_) => return Err(NonFiniteNumber),
        // A nil slice, which is what an empty one becomes in Go, is null.
        AnyValue::Bytes([]) => out.extend_from_slice(b"null"),
        AnyValue::Bytes(v) => {
            out.push(b'"');
            put_base64(out, v);
            out.push(b'"');
        }
        AnyValue::Array(raw) => {
            out.push(b'[');
            for (i, element) in AnyValue::array_elements(raw).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                put_json(out, element)?;
            }
            out.push(b']');
        }
        AnyValue::Map(raw) => {
            let mut entries: Vec<_> = AnyValue::map_entries(raw).map(|kv| (kv.key, kv.value)).collect();
            // A stable sort, so that equal keys keep their order and the last of them can be found.
            entries.sort_by(|a, b| a.0.cmp(b.0));
            out.push(b'{');
            let mut first = true;
            for (i, (key, value)) in entries.iter().enumerate() {
                if entries.get(i + 1).is_some_and(|next| next.0 == *key) {
                    continue;
                }
                if !first {
                    out.push(b',');
                }
                first = false;
                put_json_string(out, key);
                out.push(b':');
                put_json(out, *value)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends `v` as a JSON string, without escaping for HTML. Bytes that are not UTF-8 become `\ufffd`.
pub fn put_json_string(out: &mut Vec<u8>, v: &[u8]) {
    put_json_string_with(out, v, |c| match c {
        '\u{8}' => Some("\\b"),
        '\u{c}' => Some("\\f"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    });
}

/// The same with other escapes: those that every form of JSON has (quote, backslash, newline, carriage return, tab), then
/// those that `escape` gives, then `\u00` for what is left of the control characters.
pub fn put_json_string_with(out: &mut Vec<u8>, v: &[u8], escape: impl Fn(char) -> Option<&'static str>) {
    out.push(b'"');
    for chunk in v.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c => match escape(c) {
                    Some(escaped) => out.extend_from_slice(escaped.as_bytes()),
                    None if c < ' ' => {
                        out.extend_from_slice(b"\\u00");
                        put_hex(out, &[c as u8]);
                    }
                    None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                },
            }
        }
        // Go replaces byte by byte.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

/// A point in time as a date and a time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtcDateTime {
    /// Year of the common era.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999 999 999.
    pub nanos: u32,
}

impl UtcDateTime {
    /// The date and time of `unix_nanos` nanoseconds since the Unix epoch.
    #[must_use]
    pub fn from_unix_nanos(unix_nanos: i64) -> Self {
        let seconds = unix_nanos.div_euclid(1_000_000_000);
        // The remainders below fit their fields.
        let nanos = unix_nanos.rem_euclid(1_000_000_000) as u32;
        let second_of_day = seconds.rem_euclid(86_400);
        // Days from 1 March of year 0, so that a leap day is the last of its year; then eras of 400 years.
        let days = seconds.div_euclid(86_400) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * march_month + 2) / 5 + 1) as u8;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 } as u8;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) =
            ((second_of_day / 3600) as u8, (second_of_day / 60 % 60) as u8, (second_of_day % 60) as u8);
        Self { year, month, day, hour, minute, second, nanos }
    }
}

/// Appends a point in time as RFC 3339 in UTC, its fraction without trailing zeros, as Go's JSON does.
pub fn put_rfc3339(out: &mut Vec<u8>, unix_nanos: u64) {
    let t = UtcDateTime::from_unix_nanos(i64::try_from(unix_nanos).unwrap_or(i64::MAX));
    let text = format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", t.year, t.month, t.day, t.hour, t.minute, t.second);
    out.extend_from_slice(text.as_bytes());
    if t.nanos > 0 {
        let fraction = format!(".{:09}", t.nanos);
        out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
    }
    out.push(b'Z');
}

/// Appends lower-case hexadecimal digits, two for each byte.
pub fn put_hex(out: &mut Vec<u8>, v: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for b in v {
        out.push(DIGITS[usize::from(b >> 4)]);
        out.push(DIGITS[usize::from(b & 15)]);
    }
}

/// Appends padded standard base64.
pub fn put_base64(out: &mut Vec<u8>, v: &[u8]) {
    let start = out.len();
    out.resize(start + v.len().div_ceil(3) * 4, b'=');
    // The room is exact, so that this does not fail.
    let written = out.get_mut(start..).map_or(Ok(0), |room| STANDARD.encode_slice(v, room));
    out.truncate(start + written.unwrap_or(0));
}

/// Appends a double as ECMAScript writes it: the shortest digits, with an exponent below 1e-6 and from 1e21 on.
pub fn put_double(out: &mut Vec<u8>, v: f64) {
    if v.is_infinite() {
        out.extend_from_slice(if v > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        otelcore_go_number::put_json(out, v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(v: f64) -> String {
        let mut out = Vec::new();
        put_double(&mut out, v);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_written_as_ecmascript_writes_them() {
        for (v, text) in [
            (-0.0, "-0"),
            (1.25e-7, "1.25e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(v), text);
        }
    }

    #[test]
    fn json_strings_escape_what_go_escapes() {
        let mut out = Vec::new();
        put_json_string(&mut out, "a\"\\\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}<>&é\u{2028}\u{2029}".as_bytes());
        let expected = "\"a\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001f\u{7f}<>&é\\u2028\\u2029\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        put_json_string(&mut out, b"\xff\xc3(");
        assert_eq!(out, b"\"\\ufffd\\ufffd(\"");
    }

    #[test]
    fn unix_nanoseconds_are_written_as_rfc3339_dates() {
        let text = |nanos| {
            let mut out = Vec::new();
            put_rfc3339(&mut out, nanos);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(text(1_735_689_599_100_000_000), "2024-12-31T23:59:59.1Z");
        let before = UtcDateTime::from_unix_nanos(-1);
        assert_eq!(
            (before.year, before.month, before.day, before.second, before.nanos),
            (1969, 12, 31, 59, 999_999_999)
        );
    }

    #[test]
    fn base64_is_written_with_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            let mut out = Vec::new();
            put_base64(&mut out, bytes.as_bytes());
            assert_eq!(out, text.as_bytes());
        }
    }
}
