//! Doubles as text. All forms write `NaN`, `+Inf`, `-Inf` and `-0`.

use std::ops::Range;

/// Integers below this are exact in a double, and their decimal digits are the shortest form.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// When a form uses an exponent, and how it writes one.
struct Form {
    /// The decimal exponents that are written without `e`. A number `d.ddd * 10^exponent` has one digit before its point.
    without_exponent: Range<i32>,
    /// A shorter exponent gets leading zeros.
    min_exponent_digits: usize,
}

const GENERAL: Form = Form { without_exponent: -4..6, min_exponent_digits: 2 };
const DECIMAL: Form = Form { without_exponent: i32::MIN..i32::MAX, min_exponent_digits: 2 };
const JSON: Form = Form { without_exponent: -6..21, min_exponent_digits: 1 };

/// Appends `v` as `strconv.FormatFloat(v, 'g', -1, 64)` and the verb `%v` of `fmt` write it: `0.1`, `123456`, `1e+06`,
/// `5e-324`.
pub fn put_general(out: &mut Vec<u8>, v: f64) {
    put_float(out, v, &GENERAL);
}

/// Appends `v` without an exponent, as `strconv.FormatFloat(v, 'f', -1, 64)` writes it: at most 327 bytes.
pub fn put_decimal(out: &mut Vec<u8>, v: f64) {
    put_float(out, v, &DECIMAL);
}

/// Appends `v` as `encoding/json` and ECMAScript write it: with an exponent below 1e-6 (`1e-7`) and from 1e21 on. JSON has
/// no NaN and no infinity: a caller decides what is written for these.
pub fn put_json(out: &mut Vec<u8>, v: f64) {
    put_float(out, v, &JSON);
}

fn put_float(out: &mut Vec<u8>, v: f64, form: &Form) {
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if v.is_infinite() {
        return out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if v.is_sign_negative() {
        out.push(b'-');
    }
    let v = v.abs();
    if v < MAX_EXACT_INTEGER && v.trunc() == v {
        let mut buffer = itoa::Buffer::new();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let digits = buffer.format(v as u64).as_bytes();
        // At most 16 digits.
        let exponent = digits.len() as i32 - 1;
        if form.without_exponent.contains(&exponent) {
            out.extend_from_slice(digits);
        } else {
            put_with_exponent(out, trim_trailing_zeros(digits), exponent, form);
        }
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let decimal = Decimal::parse(buffer.format_finite(v).as_bytes());
    let (digits, point) = (decimal.digits(), decimal.point);
    let exponent = point - 1;
    if !form.without_exponent.contains(&exponent) {
        put_with_exponent(out, digits, exponent, form);
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

/// `d.ddde+xx`.
fn put_with_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: i32, form: &Form) {
    if let Some((first, rest)) = digits.split_first() {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let mut buffer = itoa::Buffer::new();
    let exponent = buffer.format(exponent.unsigned_abs()).as_bytes();
    out.extend(std::iter::repeat_n(b'0', form.min_exponent_digits.saturating_sub(exponent.len())));
    out.extend_from_slice(exponent);
}

/// A positive decimal: `0.digits * 10^point`, digits without zeros at either end.
struct Decimal {
    digits: [u8; 24],
    len: usize,
    point: i32,
}

impl Decimal {
    /// Reads what `ryu` writes.
    fn parse(text: &[u8]) -> Self {
        let mut decimal = Self { digits: [0; 24], len: 0, point: 0 };
        let (mut seen_point, mut in_exponent, mut is_negative, mut exponent) = (false, false, false, 0_i32);
        for &b in text {
            match b {
                b'0'..=b'9' if in_exponent => exponent = exponent * 10 + i32::from(b - b'0'),
                // A leading zero is not a significant digit; behind the point it moves the point.
                b'0' if decimal.len == 0 => decimal.point -= i32::from(seen_point),
                b'0'..=b'9' => {
                    decimal.point += i32::from(!seen_point);
                    if let Some(slot) = decimal.digits.get_mut(decimal.len) {
                        *slot = b;
                        decimal.len += 1;
                    }
                }
                b'.' => seen_point = true,
                b'e' => in_exponent = true,
                b'-' => is_negative = true,
                _ => {}
            }
        }
        decimal.len = trim_trailing_zeros(decimal.digits()).len();
        decimal.point += if is_negative { -exponent } else { exponent };
        decimal
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(put: fn(&mut Vec<u8>, f64), v: f64) -> String {
        let mut out = Vec::new();
        put(&mut out, v);
        String::from_utf8(out).unwrap()
    }

    /// Each value as `FormatFloat` with `g` and `f`, and as JSON.
    #[test]
    fn float_is_written_in_each_form_as_go_writes_it() {
        let same = |v, s| (v, [s, s, s]);
        let table = [
            same(f64::NAN, "NaN"),
            same(f64::INFINITY, "+Inf"),
            same(f64::NEG_INFINITY, "-Inf"),
            same(0.0, "0"),
            same(-0.0, "-0"),
            same(1.0, "1"),
            same(-1.0, "-1"),
            same(3.0, "3"),
            same(12.5, "12.5"),
            same(-2.25, "-2.25"),
            same(0.1, "0.1"),
            same(0.1 + 0.2, "0.30000000000000004"),
            same(0.005, "0.005"),
            same(100_000.0, "100000"),
            same(999_999.0, "999999"),
            same(999_999.999_9, "999999.9999"),
            same(0.0001, "0.0001"),
            same(-0.000_123, "-0.000123"),
            (1_000_000.0, ["1e+06", "1000000", "1000000"]),
            (1_000_000.5, ["1.0000005e+06", "1000000.5", "1000000.5"]),
            (-1_234_567.0, ["-1.234567e+06", "-1234567", "-1234567"]),
            (9_007_199_254_740_991.0, ["9.007199254740991e+15", "9007199254740991", "9007199254740991"]),
            (9_007_199_254_740_992.0, ["9.007199254740992e+15", "9007199254740992", "9007199254740992"]),
            (1e20, ["1e+20", "100000000000000000000", "100000000000000000000"]),
            (1e21, ["1e+21", "1000000000000000000000", "1e+21"]),
            (1.234e22, ["1.234e+22", "12340000000000000000000", "1.234e+22"]),
            (9.9e-5, ["9.9e-05", "0.000099", "0.000099"]),
            (1.5e-6, ["1.5e-06", "0.0000015", "0.0000015"]),
            (1e-6, ["1e-06", "0.000001", "0.000001"]),
            (1.25e-7, ["1.25e-07", "0.000000125", "1.25e-7"]),
            (1e-10, ["1e-10", "0.0000000001", "1e-10"]),
        ];
        for (v, expected) in table {
            let written = [put_general, put_decimal, put_json].map(|put| text(put, v));
            assert_eq!(written, expected, "{v:e}");
        }
        for put in [put_general, put_json] {
            assert_eq!(text(put, 5e-324), "5e-324");
            assert_eq!(text(put, f64::MAX), "1.7976931348623157e+308");
            assert_eq!(text(put, 1.5e300), "1.5e+300");
        }
        assert_eq!(text(put_decimal, -5e-324).len(), 327);
    }

    proptest! {
        #[test]
        fn any_double_written_and_parsed_is_unchanged(bits in any::<u64>()) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            for put in [put_general, put_decimal, put_json] {
                let text = text(put, v);
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
                prop_assert_eq!(crate::parse_float(text.as_bytes()).unwrap().to_bits(), bits);
            }
        }

        #[test]
        fn decimal_with_few_digits_written_and_parsed_is_unchanged(whole in any::<i64>(), scale in 0..12_i32) {
            #[expect(clippy::cast_precision_loss, reason = "any number will do")]
            let v = whole as f64 / 10_f64.powi(scale);
            let written = text(put_general, v);
            prop_assert_eq!(written.parse::<f64>().unwrap(), v);
            // If two shortest texts are equally near, the standard library rounds up, Go and ryu round to even: the
            // number of digits is the same.
            let digits = |s: &str| -> usize {
                let mantissa = s.split('e').next().unwrap_or("").replace(['.', '-'], "");
                mantissa.trim_matches('0').len()
            };
            prop_assert_eq!(digits(&written), digits(&format!("{v:e}")));
        }
    }
}
