//! Numbers as Go's `strconv` writes them with format `g` and the shortest precision.
//!
//! The digits are the shortest that read back as the same double; from 1e6 and below 1e-4 they are in exponent form.

/// Integers up to this are exact in a double, and their decimal digits are the shortest form.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Appends a sample, bound or quantile: `NaN`, `+Inf`, `-Inf`, `0.1`, `123456`, `1e+06`, `5e-324`.
pub fn write_float(out: &mut Vec<u8>, v: f64) {
    if v == 0.0 {
        // Negative zero is written as `0` too.
        return out.push(b'0');
    }
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if v.is_infinite() {
        return out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if v < 0.0 {
        out.push(b'-');
    }
    let v = v.abs();
    if v < MAX_EXACT_INTEGER && v.trunc() == v {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(v as u64).as_bytes();
        if digits.len() <= 6 {
            out.extend_from_slice(digits);
        } else {
            write_exponent(out, trim_trailing_zeros(digits), digits.len() as i32 - 1);
        }
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, len, point) = parse_decimal(buffer.format_finite(v).as_bytes());
    let digits = digits.get(..len).unwrap_or(&[]);
    let exponent = point - 1;
    if !(-4..6).contains(&exponent) {
        write_exponent(out, digits, exponent);
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        out.extend_from_slice(digits);
    } else if let Some((whole, rest)) = digits.split_at_checked(point.unsigned_abs() as usize) {
        out.extend_from_slice(whole);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    } else {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize - digits.len()));
    }
}

fn trim_trailing_zeros(digits: &[u8]) -> &[u8] {
    let end = digits.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    digits.get(..end).unwrap_or(digits)
}

/// `d.ddde+xx`, at least two digits of exponent.
fn write_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if let Some((first, rest)) = digits.split_first() {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let exponent = exponent.unsigned_abs();
    if exponent < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

/// The significant digits of a positive decimal in ryu's output, and the position of its point. The value is
/// `0.digits * 10^point`.
fn parse_decimal(text: &[u8]) -> ([u8; 24], usize, i32) {
    let (mut digits, mut len, mut point, mut exponent) = ([0_u8; 24], 0, 0, 0_i32);
    let (mut seen_point, mut in_exponent, mut negative) = (false, false, false);
    for &b in text {
        match b {
            b'0'..=b'9' if in_exponent => exponent = exponent * 10 + i32::from(b - b'0'),
            b'0'..=b'9' => {
                if !seen_point {
                    point += 1;
                }
                if b == b'0' && len == 0 {
                    // A leading zero moves the point and is not a significant digit.
                    point -= 1;
                } else if let Some(slot) = digits.get_mut(len) {
                    *slot = b;
                    len += 1;
                }
            }
            b'.' => seen_point = true,
            b'e' => in_exponent = true,
            b'-' => negative = true,
            _ => {}
        }
    }
    let len = trim_trailing_zeros(digits.get(..len).unwrap_or(&[])).len();
    (digits, len, point + if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(v: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, v);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn float_is_written_as_in_go() {
        let table = [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (3.0, "3"),
            (12.5, "12.5"),
            (0.1, "0.1"),
            (0.005, "0.005"),
            (100_000.0, "100000"),
            (999_999.0, "999999"),
            (999_999.999_9, "999999.9999"),
            (123_456.789, "123456.789"),
            (0.0001, "0.0001"),
            (-0.000_123, "-0.000123"),
            (1_000_000.0, "1e+06"),
            (1_000_000.5, "1.0000005e+06"),
            (1_234_567.0, "1.234567e+06"),
            (-1_234_567.0, "-1.234567e+06"),
            (10_203_000.0, "1.0203e+07"),
            (123_456_789_012.0, "1.23456789012e+11"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            (9_007_199_254_740_991.0, "9.007199254740991e+15"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (9.9e-5, "9.9e-05"),
            (1e-7, "1e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1.7e9 + 0.000_123, "1.700000000000123e+09"),
        ];
        for (v, expected) in table {
            assert_eq!(written(v), expected);
        }
    }

    proptest! {
        #[test]
        fn any_double_written_and_parsed_is_unchanged(bits in any::<u64>()) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            prop_assert_eq!(written(v).parse::<f64>().unwrap(), v);
        }

        #[test]
        fn decimal_with_few_digits_written_and_parsed_is_unchanged(whole in any::<i64>(), scale in 0..12_i32) {
            let v = whole as f64 / 10_f64.powi(scale);
            prop_assert_eq!(written(v).parse::<f64>().unwrap(), v);
            // If two shortest texts are equally near, the standard library rounds up, Go and ryu round to even: the
            // number of digits is the same.
            let digits = |s: &str| -> usize {
                let mantissa = s.split('e').next().unwrap_or("").replace(['.', '-'], "");
                mantissa.trim_matches('0').len()
            };
            prop_assert_eq!(digits(&written(v)), digits(&format!("{v:e}")));
        }
    }
}
