//! Numbers in files of `/proc`, with the errors of the Go collector, and ratios as it rounds them.

/// Reads a number without a sign.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_uint(text: &str) -> Result<u64, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    parse("ParseUint", text, is_number)
}

/// Reads a number with or without a sign.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    parse("ParseInt", text, is_number)
}

fn parse<T: std::str::FromStr>(function: &str, text: &str, is_number: bool) -> Result<T, String> {
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let parsed = if is_number { text.parse().ok() } else { None };
    parsed.ok_or_else(|| format!("strconv.{function}: parsing {text:?}: {why}"))
}

/// Reads a number with a fraction.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

/// A quotient, rounded to as many digits after the point as the larger number has: the numbers say nothing beyond that.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> f64 {
    let (numerator, denominator) = (numerator as f64, denominator as f64);
    let ratio = numerator / denominator;
    if denominator == 0.0 {
        return ratio;
    }
    let digits = numerator.max(denominator).log10().floor() + 1.0;
    let scale = 10_f64.powi((digits as i32).max(1));
    (ratio * scale).round() / scale
}

/// Milliseconds as seconds, without digits that come from the binary form.
pub(crate) fn seconds_of_millis(millis: u64) -> f64 {
    let seconds = millis as f64 / 1000.0;
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_valid_have_the_errors_of_go() {
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        let expected = |text: &str, why: &str| Err(format!("strconv.ParseUint: parsing \"{text}\": {why}"));
        assert_eq!(parse_uint("+1"), expected("+1", "invalid syntax"));
        assert_eq!(parse_uint("-1"), expected("-1", "invalid syntax"));
        assert_eq!(parse_uint(""), expected("", "invalid syntax"));
        assert_eq!(parse_uint("18446744073709551616"), expected("18446744073709551616", "value out of range"));
        assert_eq!([parse_int("-12"), parse_int("+3")], [Ok(-12), Ok(3)]);
    }

    #[test]
    fn ratio_is_rounded_to_the_digits_of_the_larger_number() {
        assert_eq!(ratio(1, 3), 0.3);
        assert_eq!(ratio(1000, 3000), 0.3333);
        assert_eq!(ratio(5, 0), f64::INFINITY);
        assert!(ratio(0, 0).is_nan());
        assert_eq!(seconds_of_millis(12345), 12.345);
    }
}
