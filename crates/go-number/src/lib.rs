//! Numbers as Go's `strconv`, `fmt` and `encoding/json` write and read them.
//!
//! A double is written with the shortest digits that read back as the same double. The forms differ in when an exponent
//! is used and with how many digits: [`put_general`] (`strconv` with `g`, and `fmt`), [`put_decimal`] (`f`) and [`put_json`]. [`parse_int`], [`parse_float`] and [`truncate`] are the reading and the conversion.
//!
//! Nothing here knows telemetry, or formats whose numbers differ from these (a caller handles what differs).
#![forbid(unsafe_code)]

mod format;
mod parse;

pub use format::{put_decimal, put_general, put_json};
pub use parse::{parse_float, parse_int};

/// `math.NaN()`: its bits are visible in a message and in a hash.
pub const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// A double as an integer, as Go's conversion on x86-64: what does not fit is the smallest integer.
#[must_use]
pub fn truncate(v: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "that is the conversion")]
    if (-LIMIT..LIMIT).contains(&v) { v as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_beyond_the_integers_is_the_smallest_integer() {
        for (v, expected) in [(1.9, 1), (-1.9, -1), (1e19, i64::MIN), (f64::NAN, i64::MIN), (-1e19, i64::MIN)] {
            assert_eq!(truncate(v), expected);
        }
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
