//! Text as numbers, by the rules of `strconv`.

/// Reads a decimal `int64`, as `strconv.ParseInt(text, 10, 64)` does.
#[must_use]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a `float64`, as `strconv.ParseFloat(text, 64)` does: decimal or hexadecimal, with underscores between digits,
/// `inf`, `infinity` or `nan` in any case. A number above the largest is refused.
#[must_use]
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let sign = |value: f64| if is_negative { -value } else { value };
    if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") {
        return Some(sign(f64::INFINITY));
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(crate::NAN);
    }
    let plain;
    let digits = if digits.contains('_') {
        plain = without_underscores(digits)?;
        &plain
    } else {
        digits
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hexadecimal {
        Some(digits) => parse_hexadecimal(digits)?,
        // The words that Rust reads are handled above.
        None if digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            && !digits.starts_with(['+', '-']) =>
        {
            digits.parse().ok()?
        }
        None => return None,
    };
    value.is_finite().then(|| sign(value))
}

/// Removes underscores, each of which must be between two digits; the prefix `0x` counts as a digit.
fn without_underscores(digits: &str) -> Option<String> {
    let is_hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
    let is_digit = |b: u8| if is_hexadecimal { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    let bytes = digits.as_bytes();
    let at = |index: Option<usize>| index.and_then(|index| bytes.get(index)).copied();
    for (index, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'_') {
        let before = index.checked_sub(1);
        let after_prefix = is_hexadecimal && index == 2;
        if !(after_prefix || at(before).is_some_and(is_digit)) || !at(Some(index + 1)).is_some_and(is_digit) {
            return None;
        }
    }
    Some(digits.replace('_', ""))
}

/// Reads `1.8p-3` of `0x1.8p-3`, rounded to the nearest, ties to even.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if exponent_digits.is_empty() || !exponent_digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exponent = exponent_digits.parse().unwrap_or_else(|_| i64::from(i32::MAX)).min(i64::from(i32::MAX));
    let mut exponent = if text.contains("p-") || text.contains("P-") { -exponent } else { exponent };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // 60 bits of the mantissa, and whether a bit below them is set.
    let (mut bits, mut is_inexact) = (0_u64, false);
    for (is_fraction, c) in whole.chars().map(|c| (false, c)).chain(fraction.chars().map(|c| (true, c))) {
        let digit = u64::from(c.to_digit(16)?);
        if bits >> 56 == 0 {
            bits = bits << 4 | digit;
            exponent -= if is_fraction { 4 } else { 0 };
        } else {
            is_inexact |= digit != 0;
            exponent += if is_fraction { 0 } else { 4 };
        }
    }
    if bits == 0 {
        return Some(0.0);
    }
    // The position of the highest bit decides how many bits a double has for this number.
    let highest = exponent + i64::from(63 - bits.leading_zeros());
    let lowest_kept = (highest - 52).max(-1074);
    let dropped = lowest_kept - exponent;
    if dropped > 63 {
        return Some(0.0);
    }
    let mut kept = bits;
    if dropped > 0 {
        let half = 1_u64 << (dropped - 1);
        let below = bits & (half - 1) != 0 || is_inexact;
        kept = bits >> dropped;
        if bits & half != 0 && (below || kept & 1 == 1) {
            kept += 1;
        }
    }
    let scale = if dropped > 0 { lowest_kept } else { exponent };
    // Exact: at most 53 bits, and no step below the smallest number.
    #[expect(clippy::cast_precision_loss, reason = "at most 53 bits are left")]
    let value = kept as f64;
    Some(scale_by_power_of_two(value, scale))
}

fn scale_by_power_of_two(mut value: f64, mut exponent: i64) -> f64 {
    while exponent > 0 && value.is_finite() {
        let step = exponent.min(1023);
        value *= f64::from_bits((step + 1023).cast_unsigned() << 52);
        exponent -= step;
    }
    while exponent < 0 && value != 0.0 {
        let step = (-exponent).min(1022);
        value *= f64::from_bits((1023 - step).cast_unsigned() << 52);
        exponent += step;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_a_float_by_the_rules_of_go() {
        for (text, expected) in [
            ("1_23.5", Some(123.5)),
            ("0x_1_2.3p1", Some(36.375)),
            ("0x1p-2", Some(0.25)),
            ("0x.8p1", Some(1.0)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1.fffffffffffff7p0", Some(f64::from_bits(0x3fff_ffff_ffff_ffff))),
            ("0x1p-1074", Some(f64::from_bits(1))),
            ("0x1p-1075", Some(0.0)),
            ("0x1.8p-1075", Some(f64::from_bits(1))),
            ("0x1p1023", Some(2_f64.powi(1023))),
            ("0x1p1024", None),
            ("0x0p99999999999999999999", Some(0.0)),
            ("-.5", Some(-0.5)),
            ("5.", Some(5.0)),
            ("+1e3", Some(1000.0)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("iNf", Some(f64::INFINITY)),
            ("1e400", None),
            ("0x1", None),
            ("0x1p", None),
            ("0xp1", None),
            ("", None),
            ("+", None),
            ("-", None),
            (".", None),
            ("1e", None),
            ("+-1", None),
            ("1__2", None),
            ("_1", None),
            ("1_", None),
            ("1_.5", None),
            ("-nan", None),
            (" 1", None),
            ("1f", None),
        ] {
            assert_eq!(parse_float(text.as_bytes()), expected, "{text}");
        }
        assert!(parse_float(b"NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn text_is_read_as_an_integer_by_the_rules_of_go() {
        for (text, expected) in [
            ("-5", Some(-5)),
            ("+5", Some(5)),
            ("007", Some(7)),
            ("1_0", None),
            ("", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(parse_int(text.as_bytes()), expected, "{text}");
        }
    }
}
