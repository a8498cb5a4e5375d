//! Durations as Go's `time` package reads and writes them.

use super::parse::quote;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // The micro sign and the Greek letter.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const LIMIT: u64 = 1 << 63;

/// Reads a duration such as `1h15m30.918s`, as `time.ParseDuration` does, in nanoseconds.
///
/// # Errors
/// The sentence of Go.
pub fn parse_duration(text: &[u8]) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (is_negative, mut rest) = match text.split_first() {
        Some((sign @ (b'-' | b'+'), rest)) => (*sign == b'-', rest),
        _ => (false, text),
    };
    if rest == b"0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0_u64;
    while let Some(first) = rest.first() {
        if !matches!(first, b'.' | b'0'..=b'9') {
            return Err(invalid());
        }
        let (whole, has_whole) = leading_int(&mut rest).ok_or_else(invalid)?;
        let (mut fraction, mut scale, mut has_fraction) = (0, 1.0, false);
        if let Some(after) = rest.strip_prefix(b".") {
            rest = after;
            (fraction, scale, has_fraction) = leading_fraction(&mut rest);
        }
        if !has_whole && !has_fraction {
            return Err(invalid());
        }
        let unit_len = rest.iter().take_while(|b| !matches!(b, b'.' | b'0'..=b'9')).count();
        let (unit, after) = rest.split_at_checked(unit_len).unwrap_or((rest, &[]));
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        rest = after;
        let Some((_, unit)) = UNITS.iter().find(|(name, _)| name.as_bytes() == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
        };
        let mut value = whole.checked_mul(*unit).filter(|v| *v <= LIMIT).ok_or_else(invalid)?;
        if fraction > 0 {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let added = (fraction as f64 * (*unit as f64 / scale)) as u64;
            value = value.checked_add(added).filter(|v| *v <= LIMIT).ok_or_else(invalid)?;
        }
        sum = sum.checked_add(value).filter(|v| *v <= LIMIT).ok_or_else(invalid)?;
    }
    if is_negative {
        return Ok(0_i64.wrapping_sub_unsigned(sum));
    }
    i64::try_from(sum).map_err(|_| invalid())
}

fn leading_int(rest: &mut &[u8]) -> Option<(u64, bool)> {
    let mut value = 0_u64;
    let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, after) = rest.split_at_checked(len)?;
    for digit in digits {
        if value > LIMIT / 10 {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
        if value > LIMIT {
            return None;
        }
    }
    *rest = after;
    Some((value, len > 0))
}

/// The digits of a fraction, and by what they are divided. Digits beyond 64 bits are ignored.
fn leading_fraction(rest: &mut &[u8]) -> (u64, f64, bool) {
    let (mut value, mut scale, mut is_full) = (0_u64, 1.0, false);
    let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
    for digit in digits {
        is_full |= value > (LIMIT - 1) / 10;
        if is_full {
            continue;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > LIMIT {
            is_full = true;
            continue;
        }
        value = next;
        scale *= 10.0;
    }
    *rest = after;
    (value, scale, len > 0)
}

/// Writes a duration as Go's `Duration.String` does: `1h15m30.918s`.
#[must_use]
pub fn format_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let value = nanos.unsigned_abs();
    if value < 1_000_000_000 {
        let (unit, name) = match value {
            0..1_000 => return format!("{sign}{value}ns"),
            1_000..1_000_000 => (1_000, "\u{b5}s"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{}{name}", value / unit, fraction(value % unit, unit));
    }
    let seconds = value / 1_000_000_000;
    let fraction = fraction(value % 1_000_000_000, 1_000_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}{fraction}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}{fraction}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// `.918` of 918 of 1000, without zeros at the end.
fn fraction(value: u64, of: u64) -> String {
    if value == 0 {
        return String::new();
    }
    let width = of.ilog10() as usize;
    let digits = format!(".{value:0width$}");
    digits.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers are those of Go.
    #[test]
    fn duration_is_read_and_written() {
        for (text, expected) in [
            ("1h15m30.918s", Ok("1h15m30.918s")),
            ("-1.5h", Ok("-1h30m0s")),
            ("0", Ok("0s")),
            ("+0", Ok("0s")),
            (".5ms", Ok("500\u{b5}s")),
            ("1us2ns", Ok("1.002\u{b5}s")),
            ("9223372036854775807ns", Ok("2562047h47m16.854775807s")),
            ("-9223372036854775808ns", Ok("-2562047h47m16.854775808s")),
            ("9223372036854775808ns", Err("time: invalid duration \"9223372036854775808ns\"")),
            ("", Err("time: invalid duration \"\"")),
            ("3", Err("time: missing unit in duration \"3\"")),
            ("3x", Err("time: unknown unit \"x\" in duration \"3x\"")),
            ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("x3s", Err("time: invalid duration \"x3s\"")),
        ] {
            let found = parse_duration(text.as_bytes()).map(format_duration);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
