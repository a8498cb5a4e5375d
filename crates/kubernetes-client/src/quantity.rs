//! Quantities of Kubernetes: `500m`, `2Gi`, `1e9`.
//!
//! Reads them by the rules of `k8s.io/apimachinery/pkg/api/resource`: what is refused there is refused here, and the values
//! are rounded in the same direction. Numbers of more than 38 digits are refused too: Go computes with any number.

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

/// A quantity: `unscaled * 10^exponent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quantity {
    unscaled: i128,
    exponent: i32,
}

/// The smallest unit: a smaller part is rounded up.
const NANO: i32 = -9;
/// What a quantity with a binary suffix has at most.
const MAX_BINARY: i128 = i64::MAX as i128;

/// What the suffix of a quantity means.
enum Suffix {
    Decimal(i32),
    /// A power of two.
    Binary(u32),
}

impl Suffix {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "" => Self::Decimal(0),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            other => {
                let exponent = other.strip_prefix(['e', 'E'])?;
                let is_number = exponent.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit());
                Self::Decimal(exponent.parse().ok().filter(|_| is_number)?)
            }
        })
    }
}

/// `value * 10^exponent`, as far as it can be computed.
fn scaled(value: i128, exponent: u32) -> Option<i128> {
    value.checked_mul(10_i128.checked_pow(exponent)?)
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// It is not one, or has too many digits. The text says why, in Go's words where Go refuses it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORMAT: &str =
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        const SUFFIX: &str = "unable to parse quantity's suffix";
        const TOO_LONG: &str = "the quantity has too many digits";
        let text = text.trim();
        if text.is_empty() {
            return Err(FORMAT);
        }
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let digits_end = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (whole, rest) = rest.split_at(digits_end(rest));
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits_end(rest)),
            None => ("", rest),
        };
        if !has_suffix_form(suffix) {
            return Err(FORMAT);
        }
        let suffix = Suffix::parse(suffix).ok_or(SUFFIX)?;
        let digits = format!("{}{fraction}", whole.trim_start_matches('0'));
        let unscaled: i128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| TOO_LONG)? };
        let fraction = i32::try_from(fraction.len()).map_err(|_| TOO_LONG)?;
        let (unscaled, exponent) = match suffix {
            Suffix::Decimal(exponent) => round_to_nano(unscaled, exponent.saturating_sub(fraction)),
            Suffix::Binary(power) => {
                let unscaled = unscaled.checked_mul(1 << power).ok_or(TOO_LONG)?;
                let (unscaled, exponent) = round_to_nano(unscaled, -fraction);
                let max = scaled(MAX_BINARY, exponent.unsigned_abs()).unwrap_or(i128::MAX);
                (unscaled.min(max), exponent)
            }
        };
        Ok(Self { unscaled: if is_negative { -unscaled } else { unscaled }, exponent })
    }

    /// The value, as nearly as 64 bits of a floating point number express it: cores of a CPU, bytes.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        let base = self.unscaled as f64;
        if self.exponent == 0 { base } else { base * 10_f64.powi(self.exponent) }
    }

    /// The value as an integer, rounded away from zero: bytes. The nearest end of the range for a value outside of it.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// A thousand times the value as an integer, rounded in the same way: thousandths of a core.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(3)
    }

    /// The value times `10^power`.
    fn scaled_value(self, power: i32) -> i64 {
        let exponent = self.exponent.saturating_add(power);
        let limit = if self.unscaled < 0 { i64::MIN } else { i64::MAX };
        let value = match u32::try_from(exponent) {
            Ok(exponent) if self.unscaled != 0 => scaled(self.unscaled, exponent),
            Ok(_) => Some(0),
            Err(_) => match 10_i128.checked_pow(exponent.unsigned_abs()) {
                Some(divisor) => {
                    let rest = self.unscaled % divisor;
                    Some(self.unscaled / divisor + rest.signum())
                }
                None => Some(self.unscaled.signum()),
            },
        };
        value.and_then(|value| i64::try_from(value).ok()).unwrap_or(limit)
    }
}

/// What is below the smallest unit is rounded up.
fn round_to_nano(unscaled: i128, exponent: i32) -> (i128, i32) {
    if exponent >= NANO {
        return (unscaled, exponent);
    }
    let divisor = 10_i128.checked_pow(exponent.abs_diff(NANO));
    let rounded = divisor
        .map_or_else(|| i128::from(unscaled > 0), |divisor| unscaled / divisor + i128::from(unscaled % divisor != 0));
    (rounded, NANO)
}

/// Letters, then at most one sign, then digits.
fn has_suffix_form(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

impl<'de> Deserialize<'de> for Quantity {
    /// From a string, a number or null, which is zero.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if raw == "null" {
            return Ok(Self::default());
        }
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw);
        Self::parse(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_that_of_the_suffix_and_is_rounded_away_from_zero() {
        // Text, value, thousandths, as a fraction.
        for (text, value, milli, fraction) in [
            ("0", 0, 0, 0.0),
            ("100m", 1, 100, 0.1),
            ("0.1", 1, 100, 0.1),
            ("1.5", 2, 1500, 1.5),
            ("128Mi", 134_217_728, 134_217_728_000, 134_217_728.0),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000, 1_610_612_736.0),
            ("64M", 64_000_000, 64_000_000_000, 64e6),
            ("1e3", 1000, 1_000_000, 1000.0),
            ("12E-3", 1, 12, 0.012),
            ("1E", 1_000_000_000_000_000_000, i64::MAX, 1e18),
            ("-1.5", -2, -1500, -1.5),
            ("+2k", 2000, 2_000_000, 2000.0),
            ("1n", 1, 1, 1e-9),
            ("0.0000000001", 1, 1, 1e-9),
            ("1.", 1, 1000, 1.0),
            (".5", 1, 500, 0.5),
            (" 3 ", 3, 3000, 3.0),
            ("9223372036854775807", i64::MAX, i64::MAX, 9.223_372_036_854_776e18),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
            assert!((quantity.as_f64() - fraction).abs() <= fraction.abs() * 1e-15, "{text}: {}", quantity.as_f64());
        }
    }

    #[test]
    fn text_that_is_not_a_quantity_is_refused() {
        for text in ["", "x", "1KiB", "1 Gi", "1.2.3", "--1", "1e", "1i", "1kk", "e", "1e1e1", "1e+-2"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert!(Quantity::parse(&"9".repeat(60)).is_err());
    }

    #[test]
    fn json_of_a_quantity_is_a_string_a_number_or_null() {
        let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|quantity| quantity.value()).ok();
        assert_eq!(read("\"2Ki\""), Some(2048));
        assert_eq!(read("2"), Some(2));
        assert_eq!(read("1e3"), Some(1000));
        assert_eq!(read("null"), Some(0));
        assert_eq!(read("\"\""), None);
        assert_eq!(read("true"), None);
    }
}
