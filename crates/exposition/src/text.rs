//! The text format 0.0.4.
//!
//! A page consists of families in the order of their names; a family consists of HELP, TYPE and samples. The labels of
//! a series are passed as a *block*: `a="x",b="y"`, names escaped for the text format and sorted, values escaped, no
//! braces; `le` and `quantile` follow it. Nothing here sorts or validates; the code that keeps the series must do that.

use std::cmp::Ordering;

use memchr::{memchr, memchr2, memchr3};

use crate::write_float;

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MetricType {
    /// A value that only increases.
    Counter,
    /// A value that may increase and decrease.
    Gauge,
    /// Bucket counts by upper bound, with sum and count.
    Histogram,
    /// Quantiles, with sum and count.
    Summary,
    /// The type is unknown.
    Untyped,
}

impl MetricType {
    /// The name in a TYPE line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }

    /// The name in client_golang's protobuf, for messages.
    #[must_use]
    pub fn protobuf_name(self) -> &'static str {
        match self {
            Self::Counter => "COUNTER",
            Self::Gauge => "GAUGE",
            Self::Histogram => "HISTOGRAM",
            Self::Summary => "SUMMARY",
            Self::Untyped => "UNTYPED",
        }
    }
}

/// Appends HELP and TYPE. With an empty help text, the line ends with a space, as in Go.
pub fn write_family_header(out: &mut Vec<u8>, name: &[u8], help: &[u8], metric_type: MetricType) {
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name);
    out.push(b' ');
    write_escaped(out, help, |text| memchr2(b'\\', b'\n', text));
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name);
    out.push(b' ');
    out.extend_from_slice(metric_type.name().as_bytes());
    out.push(b'\n');
}

/// Appends a label to a block. The name must be valid in the text format.
pub fn write_label(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !block.is_empty() {
        block.push(b',');
    }
    block.extend_from_slice(name);
    block.extend_from_slice(b"=\"");
    write_label_value(block, value);
    block.push(b'"');
}

/// Appends a label value: backslash, newline and quote are escaped, everything else is unchanged.
pub fn write_label_value(out: &mut Vec<u8>, value: &[u8]) {
    write_escaped(out, value, |text| memchr3(b'\\', b'\n', b'"', text));
}

fn write_escaped(out: &mut Vec<u8>, mut text: &[u8], find_special: impl Fn(&[u8]) -> Option<usize>) {
    while let Some((plain, b, rest)) =
        find_special(text).and_then(|at| Some((text.get(..at)?, *text.get(at)?, text.get(at + 1..)?)))
    {
        out.extend_from_slice(plain);
        out.push(b'\\');
        out.push(if b == b'\n' { b'n' } else { b });
        text = rest;
    }
    out.extend_from_slice(text);
}

/// Appends one sample line: `name{block} value timestamp`. The timestamp is in milliseconds. The braces are only
/// written if there are labels. Does not allocate while `out` has capacity.
#[inline]
pub fn write_sample(out: &mut Vec<u8>, name: &[u8], block: &[u8], value: f64, timestamp_ms: Option<i64>) {
    out.extend_from_slice(name);
    if !block.is_empty() {
        out.push(b'{');
        out.extend_from_slice(block);
        out.push(b'}');
    }
    write_value_and_timestamp(out, value, timestamp_ms);
}

/// Appends one sample line of a histogram or summary: `name` + `suffix`; its last label, such as `le`, has a number as
/// its value.
pub fn write_sample_with_number_label(
    out: &mut Vec<u8>,
    (name, suffix): (&[u8], &str),
    block: &[u8],
    (label, bound): (&str, f64),
    value: f64,
    timestamp_ms: Option<i64>,
) {
    out.extend_from_slice(name);
    out.extend_from_slice(suffix.as_bytes());
    out.push(b'{');
    if !block.is_empty() {
        out.extend_from_slice(block);
        out.push(b',');
    }
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"=\"");
    write_float(out, bound);
    out.extend_from_slice(b"\"}");
    write_value_and_timestamp(out, value, timestamp_ms);
}

fn write_value_and_timestamp(out: &mut Vec<u8>, value: f64, timestamp_ms: Option<i64>) {
    out.push(b' ');
    write_float(out, value);
    if let Some(at) = timestamp_ms {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(at).as_bytes());
    }
    out.push(b'\n');
}

fn write_sum_and_count(out: &mut Vec<u8>, name: &[u8], block: &[u8], sum: f64, count: u64, timestamp_ms: Option<i64>) {
    for (suffix, value) in [("_sum", sum), ("_count", count as f64)] {
        out.extend_from_slice(name);
        write_sample(out, suffix.as_bytes(), block, value, timestamp_ms);
    }
}

/// Appends a histogram: `buckets` are upper bounds in ascending order with *cumulative* counts. A bucket of `+Inf` with
/// the value of `count` follows unless there is one.
pub fn write_histogram(
    out: &mut Vec<u8>,
    name: &[u8],
    block: &[u8],
    buckets: impl Iterator<Item = (f64, u64)>,
    (sum, count): (f64, u64),
    timestamp_ms: Option<i64>,
) {
    let mut last = f64::NEG_INFINITY;
    for (bound, cumulative) in buckets {
        write_sample_with_number_label(out, (name, "_bucket"), block, ("le", bound), cumulative as f64, timestamp_ms);
        last = bound;
    }
    if last != f64::INFINITY {
        write_sample_with_number_label(
            out,
            (name, "_bucket"),
            block,
            ("le", f64::INFINITY),
            count as f64,
            timestamp_ms,
        );
    }
    write_sum_and_count(out, name, block, sum, count, timestamp_ms);
}

/// Appends a summary: quantiles in ascending order, then sum and count.
pub fn write_summary(
    out: &mut Vec<u8>,
    name: &[u8],
    block: &[u8],
    quantiles: impl Iterator<Item = (f64, f64)>,
    (sum, count): (f64, u64),
    timestamp_ms: Option<i64>,
) {
    for (quantile, value) in quantiles {
        write_sample_with_number_label(out, (name, ""), block, ("quantile", quantile), value, timestamp_ms);
    }
    write_sum_and_count(out, name, block, sum, count, timestamp_ms);
}

/// The order of series in a family, by their blocks: fewer labels first, then value by value as bytes. Label names are
/// ignored, as in client_golang; blocks that differ only in names are ordered by their bytes.
#[must_use]
pub fn compare_blocks((a, a_labels): (&[u8], usize), (b, b_labels): (&[u8], usize)) -> Ordering {
    let by_values = || {
        let (mut a, mut b) = (LabelValues(a), LabelValues(b));
        loop {
            match (a.next(), b.next()) {
                (Some(x), Some(y)) => match compare_values(x, y) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
            }
        }
    };
    a_labels.cmp(&b_labels).then_with(by_values).then_with(|| a.cmp(b))
}

/// Compares escaped values by their unescaped bytes. Equal beginnings are skipped with a fast comparison of blocks, so
/// that long labels that differ late cost little.
fn compare_values(x: &[u8], y: &[u8]) -> Ordering {
    let equal_until = |from: usize, stride: usize| {
        let (x, y) = (x.get(from..).unwrap_or_default(), y.get(from..).unwrap_or_default());
        from + x.chunks_exact(stride).zip(y.chunks_exact(stride)).take_while(|(a, b)| a == b).count() * stride
    };
    let equal_len = equal_until(equal_until(0, 4096), 64);
    // An escape may begin in the equal part: then the number of backslashes at its end is odd.
    let before = x.get(..equal_len).unwrap_or_default();
    let slashes = before.iter().rev().take_while(|b| **b == b'\\').count();
    let at = equal_len - slashes % 2;
    unescaped(x.get(at..).unwrap_or_default()).cmp(unescaped(y.get(at..).unwrap_or_default()))
}

/// The values of a block, still escaped.
struct LabelValues<'a>(&'a [u8]);

impl<'a> Iterator for LabelValues<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = memchr(b'"', self.0)? + 1;
        let rest = self.0.get(start..)?;
        let mut end = 0;
        loop {
            end += memchr2(b'"', b'\\', rest.get(end..)?)?;
            if rest.get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        self.0 = rest.get(end + 1..)?;
        rest.get(..end)
    }
}

fn unescaped(value: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = value.iter().copied();
    std::iter::from_fn(move || match bytes.next()? {
        b'\\' => Some(match bytes.next()? {
            b'n' => b'\n',
            other => other,
        }),
        plain => Some(plain),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn block_of(labels: &[(&str, &str)]) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        labels.iter().for_each(|(n, v)| write_label(&mut out, n.as_bytes(), v.as_bytes()));
        (out, labels.len())
    }

    #[test]
    fn help_and_label_value_are_escaped_by_their_own_rules() {
        let got = written(|o| write_family_header(o, b"g", b"a\\b\n\"c\"", MetricType::Gauge));
        assert_eq!(got, "# HELP g a\\\\b\\n\"c\"\n# TYPE g gauge\n");
        assert_eq!(
            written(|o| write_family_header(o, b"g", b"", MetricType::Untyped)),
            "# HELP g \n# TYPE g untyped\n"
        );
        let got = written(|o| write_label_value(o, "a\\b\nc\"d\te".as_bytes()));
        assert_eq!(got, "a\\\\b\\nc\\\"d\te");
    }

    #[test]
    fn sample_has_braces_only_with_labels_and_timestamp_only_if_given() {
        assert_eq!(written(|o| write_sample(o, b"a", b"", 1.0, None)), "a 1\n");
        assert_eq!(written(|o| write_sample(o, b"a", b"", 1.0, Some(1_700_000_000_123))), "a 1 1700000000123\n");
        let (b, _) = block_of(&[("x", "1"), ("y", "")]);
        assert_eq!(written(|o| write_sample(o, b"a", &b, -0.5, None)), "a{x=\"1\",y=\"\"} -0.5\n");
    }

    #[test]
    fn histogram_has_one_infinity_bucket() {
        let (b, _) = block_of(&[("route", "/x")]);
        let buckets = [(0.005, 1), (0.1, 3), (1.0, 6), (1e6, 10)];
        let got = written(|o| write_histogram(o, b"h", &b, buckets.into_iter(), (12.5, 1_000_000), None));
        let expected = "h_bucket{route=\"/x\",le=\"0.005\"} 1\nh_bucket{route=\"/x\",le=\"0.1\"} 3\n\
            h_bucket{route=\"/x\",le=\"1\"} 6\nh_bucket{route=\"/x\",le=\"1e+06\"} 10\n\
            h_bucket{route=\"/x\",le=\"+Inf\"} 1e+06\nh_sum{route=\"/x\"} 12.5\nh_count{route=\"/x\"} 1e+06\n";
        assert_eq!(got, expected);
        let with_infinity = [(1.0, 2), (f64::INFINITY, 7)];
        let got = written(|o| write_histogram(o, b"h", b"", with_infinity.into_iter(), (0.0, 9), None));
        assert_eq!(got, "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 7\nh_sum 0\nh_count 9\n");
    }

    #[test]
    fn summary_ends_with_sum_and_count() {
        let got =
            written(|o| write_summary(o, b"s", b"", [(0.5, 2.0), (0.99, f64::NAN)].into_iter(), (3.0, 4), Some(5)));
        assert_eq!(got, "s{quantile=\"0.5\"} 2 5\ns{quantile=\"0.99\"} NaN 5\ns_sum 3 5\ns_count 4 5\n");
    }

    #[test]
    fn sample_is_written_without_allocation() {
        let (b, _) = block_of(&[("http_method", "GET")]);
        let mut out = Vec::with_capacity(4096);
        let address = out.as_ptr();
        for v in 0..50 {
            write_sample(&mut out, b"http_requests_total", &b, f64::from(v) * 1.1, Some(17));
        }
        assert_eq!((out.as_ptr(), out.capacity()), (address, 4096));
    }

    #[test]
    fn series_are_ordered_by_label_count_then_by_values() {
        let order = |a: &[(&str, &str)], b: &[(&str, &str)]| {
            let ((a, an), (b, bn)) = (block_of(a), block_of(b));
            compare_blocks((&a, an), (&b, bn))
        };
        assert_eq!(order(&[("z", "9")], &[("a", "1"), ("b", "1")]), Ordering::Less);
        assert_eq!(order(&[("z", "1")], &[("a", "2")]), Ordering::Less);
        assert_eq!(order(&[("a", "x\"y")], &[("a", "x#y")]), Ordering::Less);
        assert_eq!(order(&[("a", "\n")], &[("a", "!")]), Ordering::Less);
        assert_eq!(order(&[("a", "x"), ("b", "")], &[("a", "x"), ("b", "0")]), Ordering::Less);
        assert_eq!(order(&[("a", "1")], &[("a", "1")]), Ordering::Equal);
        assert_eq!(order(&[("a", "1")], &[("b", "1")]), Ordering::Less);
    }

    #[test]
    fn long_values_with_escapes_anywhere_are_ordered_as_unescaped() {
        for pad in 50..140 {
            let pad = "x".repeat(pad);
            for (a, b) in [("\\a", "\\b"), ("\n", "\\"), ("\"", "\n"), ("", "\n"), ("\\\\\n", "\\\\a"), ("q", "q")] {
                let (a, b) = (format!("{pad}{a}"), format!("{pad}{b}"));
                let ((x, n), (y, _)) = (block_of(&[("l", &a)]), block_of(&[("l", &b)]));
                assert_eq!(compare_blocks((&x, n), (&y, n)), a.cmp(&b), "{a:?} {b:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn escaped_values_are_ordered_as_unescaped(
            a in proptest::collection::vec("[a\"\\\\\n,=é]{0,4}", 1..4),
            b in proptest::collection::vec("[a\"\\\\\n,=é]{0,4}", 1..4),
        ) {
            let make = |values: &[String]| {
                let mut out = Vec::new();
                values.iter().for_each(|v| write_label(&mut out, b"l", v.as_bytes()));
                out
            };
            let (x, y) = (make(&a), make(&b));
            prop_assert_eq!(compare_blocks((&x, a.len()), (&y, b.len())), a.len().cmp(&b.len()).then(a.cmp(&b)));
        }
    }
}
