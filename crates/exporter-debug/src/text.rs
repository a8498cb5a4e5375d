//! A text buffer that writes the formats of Go: `%d`, `%f` and `%v`, `time.Time`, ids, attribute values.
//!
//! It accepts bytes unchanged, UTF-8 or not, and stops growing at [`MAX_DUMP_BYTES`]: a body of a few megabytes can
//! hold millions of points or buckets, each of which is a hundred times as long as text.

use std::fmt;
use std::io::Write as _;

use otelcore_pdata::text::{UtcDateTime, put_double, put_hex, put_value};
use otelcore_pdata::views::{AnyValue, Buckets};

/// Bytes after which a dump is cut off. A batch of 8192 ordinary spans takes four fifths of it; writing that takes the
/// loop some milliseconds.
pub(crate) const MAX_DUMP_BYTES: usize = 16 << 20;

/// How many bytes of capacity the buffer may keep between dumps.
const MAX_KEPT_CAPACITY: usize = 1 << 20;

/// A dump that is being written. Methods that append return the buffer, so that the calls for one line can be chained.
#[derive(Debug)]
pub(crate) struct TextBuffer {
    out: Vec<u8>,
    limit: usize,
    is_cut_off: bool,
}

impl Default for TextBuffer {
    fn default() -> Self {
        Self::with_limit(MAX_DUMP_BYTES)
    }
}

impl TextBuffer {
    pub(crate) fn with_limit(limit: usize) -> Self {
        Self { out: Vec::new(), limit, is_cut_off: false }
    }

    /// Takes the dump: whole lines, with a note as the last line if the dump was cut off. The buffer is empty
    /// afterwards.
    pub(crate) fn take_dump(&mut self) -> Vec<u8> {
        if self.is_cut_off {
            let end = self.out.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            self.out.truncate(end);
            let limit = self.limit;
            self.push_fmt(format_args!("(cut off: the dump is longer than {limit} bytes)\n"));
            self.is_cut_off = false;
        }
        std::mem::take(&mut self.out)
    }

    /// Returns a buffer whose dump has been written, to reuse its memory.
    pub(crate) fn reuse(&mut self, mut out: Vec<u8>) {
        out.clear();
        out.shrink_to(MAX_KEPT_CAPACITY);
        self.out = out;
    }

    /// The output, unless the limit is reached. One value may exceed the limit, by no more than its own length.
    fn output_below_limit(&mut self) -> Option<&mut Vec<u8>> {
        self.is_cut_off |= self.out.len() >= self.limit;
        (!self.is_cut_off).then_some(&mut self.out)
    }

    fn push_fmt(&mut self, args: fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = self.out.write_fmt(args);
    }

    /// Bytes, unchanged.
    pub(crate) fn push(&mut self, v: impl AsRef<[u8]>) -> &mut Self {
        if let Some(out) = self.output_below_limit() {
            out.extend_from_slice(v.as_ref());
        }
        self
    }

    /// Ends a line.
    pub(crate) fn end_line(&mut self) {
        self.push("\n");
    }

    /// An integer, or another value that Rust and Go format in the same way.
    pub(crate) fn push_display(&mut self, v: impl fmt::Display) -> &mut Self {
        if self.output_below_limit().is_some() {
            self.push_fmt(format_args!("{v}"));
        }
        self
    }

    /// Lower-case hexadecimal; nothing for an id of zeros.
    pub(crate) fn push_id(&mut self, v: &[u8]) -> &mut Self {
        if v.iter().any(|b| *b != 0)
            && let Some(out) = self.output_below_limit()
        {
            put_hex(out, v);
        }
        self
    }

    /// The text of a value, as in Go's `Value.AsString`.
    pub(crate) fn push_value(&mut self, v: AnyValue<'_>) -> &mut Self {
        if let Some(out) = self.output_below_limit() {
            put_value(out, v);
        }
        self
    }

    /// `%f`: six digits after the point, never an exponent.
    pub(crate) fn push_fixed(&mut self, v: f64) -> &mut Self {
        match non_finite_name(v) {
            Some(word) => self.push(word),
            None => self.push_display(format_args!("{v:.6}")),
        }
    }

    /// `%v`: the shortest digits, with an exponent below 1e-4 and from 1e6.
    pub(crate) fn push_general(&mut self, v: f64) -> &mut Self {
        if let Some(word) = non_finite_name(v) {
            return self.push(word);
        }
        let Some(out) = self.output_below_limit() else { return self };
        let start = out.len();
        put_double(out, v);
        if v != 0.0 && !(1e-4..1e6).contains(&v.abs()) {
            // The ECMAScript format has the same digits, but uses an exponent only below 1e-6 and from 1e21.
            let decimal = out.split_off(start);
            put_scientific(out, &decimal);
        }
        self
    }

    /// A time in UTC as in Go's `time.Time.String`, its fraction without trailing zeros. Go reads the number as signed,
    /// so the upper half of the range is before 1970.
    pub(crate) fn push_time(&mut self, unix_nanos: u64) -> &mut Self {
        if self.output_below_limit().is_none() {
            return self;
        }
        let t = UtcDateTime::from_unix_nanos(unix_nanos.cast_signed());
        self.push_fmt(format_args!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
            t.year, t.month, t.day, t.hour, t.minute, t.second
        ));
        if t.nanos > 0 {
            self.push_fmt(format_args!(".{:09}", t.nanos));
            while self.out.last() == Some(&b'0') {
                self.out.pop();
            }
        }
        self.push(" +0000 UTC")
    }
}

fn non_finite_name(v: f64) -> Option<&'static str> {
    if v.is_nan() {
        Some("NaN")
    } else if v.is_infinite() {
        Some(if v > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// Rewrites a decimal number, with or without exponent, as `d.ddde+XX`: a sign and at least two digits of exponent.
fn put_scientific(out: &mut Vec<u8>, number: &[u8]) {
    let magnitude = number.strip_prefix(b"-").unwrap_or(number);
    if magnitude.len() < number.len() {
        out.push(b'-');
    }
    let mut parts = magnitude.split(|b| *b == b'e');
    let (mantissa, exponent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"0"));
    let exponent = std::str::from_utf8(exponent).ok().and_then(|e| e.parse::<i64>().ok()).unwrap_or(0);
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let digits: Vec<u8> = mantissa.iter().copied().filter(|b| *b != b'.').collect();
    // Zeros at either end are not significant digits; each leading zero moves the point.
    let leading_zeros = digits.iter().take_while(|b| **b == b'0').count();
    let end = digits.iter().rposition(|b| *b != b'0').map_or(0, |last| last + 1);
    for (i, digit) in digits.iter().enumerate().take(end).skip(leading_zeros) {
        if i == leading_zeros + 1 {
            out.push(b'.');
        }
        out.push(*digit);
    }
    // A double has at most a few hundred digits and zeros.
    let exponent = exponent + point as i64 - leading_zeros as i64 - 1;
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
}

/// The bounds of exponential buckets at one scale: the bucket `index` reaches from `base^index` to `base^(index+1)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BucketBounds {
    /// Natural logarithm of the base.
    factor: f64,
}

impl BucketBounds {
    /// Base `2^(2^-scale)`.
    pub(crate) fn from_scale(scale: i32) -> Self {
        // ln 2 * 2^-scale in two exact steps, since 2^-scale alone can overflow where the product does not.
        let exponent = i64::from(scale).saturating_neg().clamp(-2040, 2040);
        let half = exponent / 2;
        Self { factor: std::f64::consts::LN_2 * power_of_two(half) * power_of_two(exponent - half) }
    }

    /// The lower bound of a bucket, which is the upper bound of the one before.
    pub(crate) fn lower_bound(self, index: f64) -> f64 {
        let exponent = index * self.factor;
        // 2^1024 is not a double. Its rounded logarithm is a little too small, and `exp` would return the largest
        // double.
        if exponent >= 1024.0 * std::f64::consts::LN_2 { f64::INFINITY } else { exponent.exp() }
    }
}

/// The counts of consecutive buckets, each with its index. Collected, because the negative ones are shown in reverse
/// order.
pub(crate) fn indexed_buckets(buckets: &Buckets<'_>) -> Vec<(f64, u64)> {
    let indexes = std::iter::successors(Some(f64::from(buckets.offset.0)), |index| Some(index + 1.0));
    indexes.zip(buckets.bucket_counts()).collect()
}

/// `2^n` for an `n` between -1022 and 1023.
fn power_of_two(n: i64) -> f64 {
    f64::from_bits(((1023 + n) << 52).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_text(write: impl FnOnce(&mut TextBuffer) -> &mut TextBuffer) -> String {
        let mut text = TextBuffer::default();
        write(&mut text);
        String::from_utf8(text.take_dump()).unwrap()
    }

    #[test]
    fn double_with_general_format_is_written_as_go_percent_v() {
        for (v, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (5.0, "5"),
            (-1.5, "-1.5"),
            (123_456.0, "123456"),
            (0.0001, "0.0001"),
            (0.000_099, "9.9e-05"),
            (1e-7, "1e-07"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (12_345_678.5, "1.23456785e+07"),
            (-1_500_000_000.0, "-1.5e+09"),
            (0.000_012_5, "1.25e-05"),
            // Two shortest forms are equally near: the even one.
            (683613.0 / 65536.0, "10.431106567382812"),
            (1_078_858_106_828_419.0 + 0.25, "1.0788581068284192e+15"),
            (1e21, "1e+21"),
            (5e-324, "5e-324"),
            (-1.25e100, "-1.25e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written_text(|t| t.push_general(v)), expected);
        }
    }

    #[test]
    fn double_with_fixed_format_is_written_as_go_percent_f() {
        for (v, expected) in [
            (0.0, "0.000000"),
            (-0.0, "-0.000000"),
            (1.0, "1.000000"),
            (-2.5, "-2.500000"),
            (BucketBounds::from_scale(1).lower_bound(1.0), "1.414214"),
            // Halfway between two last digits: to the even one.
            (1.0 / 128.0, "0.007812"),
            (3.0 / 128.0, "0.023438"),
            (1e22, "10000000000000000000000.000000"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written_text(|t| t.push_fixed(v)), expected);
        }
    }

    #[test]
    fn time_is_written_as_in_go_in_utc() {
        for (nanos, expected) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (1_581_452_773_000_000_123, "2020-02-11 20:26:13.000000123 +0000 UTC"),
            (1_581_452_773_120_000_000, "2020-02-11 20:26:13.12 +0000 UTC"),
            (u64::MAX, "1969-12-31 23:59:59.999999999 +0000 UTC"),
            (1 << 63, "1677-09-21 00:12:43.145224192 +0000 UTC"),
        ] {
            assert_eq!(written_text(|t| t.push_time(nanos)), expected);
        }
    }

    #[test]
    fn scale_outside_the_usual_range_has_bounds() {
        assert_eq!(BucketBounds::from_scale(0).lower_bound(1.0), 2.0);
        assert_eq!(BucketBounds::from_scale(-1).lower_bound(1.0), 4.0);
        assert_eq!(BucketBounds::from_scale(0).lower_bound(1024.0), f64::INFINITY);
        assert_eq!(BucketBounds::from_scale(1024).lower_bound(1.0), 1.0);
        assert_eq!(BucketBounds::from_scale(-1024).lower_bound(0.0), 1.0, "2^1024 overflows, ln 2 times that does not");
        assert_eq!(BucketBounds::from_scale(i32::MAX).lower_bound(1.0), 1.0);
        assert_eq!(BucketBounds::from_scale(i32::MIN).lower_bound(1.0), f64::INFINITY);
    }

    #[test]
    fn dump_above_the_limit_ends_after_a_whole_line_with_a_note() {
        let mut text = TextBuffer::with_limit(10);
        for word in ["first\n", "second\n", "third\n", "fourth\n"] {
            text.push(word);
        }
        assert_eq!(&text.take_dump(), b"first\nsecond\n(cut off: the dump is longer than 10 bytes)\n");
        text.push("next").end_line();
        assert_eq!(&text.take_dump(), b"next\n");
    }
}
