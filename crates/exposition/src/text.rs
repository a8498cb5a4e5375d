//! The text formats: 0.0.4 of Prometheus, and OpenMetrics 1.0.
//!
//! A page consists of families in the order of their names; a family consists of HELP, TYPE and samples. The labels of
//! a series are passed as a *block*: `a="x",b="y"`, sorted, names other than legacy ones in quotes, values escaped, no
//! braces; `le` and `quantile` follow it. Nothing here sorts or validates; the code that keeps the series must do that.
//! Labels are read from a block and escaped for a scraper in `block`.

use memchr::memchr2;

use crate::label_text::write_escaped;
use crate::{TextDialect, TraceExemplar, write_float, write_label, write_quoted_text};

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

/// A metric's name as a page writes it: alone, or, if it is not a legacy name, in quotes within the braces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageName<'a> {
    /// Escaped for the quotes.
    text: &'a [u8],
    is_quoted: bool,
}

impl<'a> PageName<'a> {
    /// A legacy name.
    #[must_use]
    pub const fn legacy(name: &'a [u8]) -> Self {
        Self { text: name, is_quoted: false }
    }

    /// A name of which [`write_quoted_text`] has written the text.
    #[must_use]
    pub const fn quoted(text: &'a [u8]) -> Self {
        Self { text, is_quoted: true }
    }

    /// Bytes of its text.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it has no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn write(self, out: &mut Vec<u8>) {
        let quote: &[u8] = if self.is_quoted { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        out.extend_from_slice(self.text);
        out.extend_from_slice(quote);
    }
}

/// Appends HELP and TYPE. With an empty help text, the line ends with a space, as in Go. In OpenMetrics a counter's family
/// is named without `_total`, and is of type `unknown` if its name does not end so.
pub fn write_family_header(
    out: &mut Vec<u8>,
    dialect: TextDialect,
    mut name: PageName<'_>,
    help: &[u8],
    metric_type: MetricType,
) {
    let mut type_name = metric_type.name();
    if dialect == TextDialect::OpenMetrics {
        match (metric_type, name.text.strip_suffix(b"_total")) {
            (MetricType::Counter, Some(stem)) => name.text = stem,
            (MetricType::Counter, None) | (MetricType::Untyped, _) => type_name = "unknown",
            _ => {}
        }
    }
    out.extend_from_slice(b"# HELP ");
    name.write(out);
    out.push(b' ');
    match dialect {
        TextDialect::Prometheus => write_escaped(out, help, |text| memchr2(b'\\', b'\n', text)),
        TextDialect::OpenMetrics => write_quoted_text(out, help),
    }
    out.extend_from_slice(b"\n# TYPE ");
    name.write(out);
    out.push(b' ');
    out.extend_from_slice(type_name.as_bytes());
    out.push(b'\n');
}

/// The value of a sample. A count is an integer in OpenMetrics.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A number of observations.
    Count(u64),
}

/// One line: a sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleLine<'a> {
    /// The name of the family.
    pub name: PageName<'a>,
    /// What follows the name: `_bucket`, `_sum`, `_count`, or nothing.
    pub suffix: &'static str,
    /// The labels.
    pub block: &'a [u8],
    /// `le` or `quantile`, with its value.
    pub number_label: Option<(&'static str, f64)>,
    /// The value.
    pub value: SampleValue,
    /// Milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Only in OpenMetrics.
    pub exemplar: Option<&'a TraceExemplar>,
}

impl SampleLine<'_> {
    /// Appends the line. The braces are only written if there are labels. Does not allocate while `out` has capacity and
    /// there is no exemplar.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, dialect: TextDialect) {
        self.write_start(out);
        out.extend_from_slice(self.block);
        self.write_end(out, dialect);
    }

    /// Appends what precedes the block.
    #[inline]
    pub fn write_start(&self, out: &mut Vec<u8>) {
        let has_labels = !self.block.is_empty() || self.number_label.is_some();
        if self.name.is_quoted {
            out.extend_from_slice(b"{\"");
        }
        out.extend_from_slice(self.name.text);
        out.extend_from_slice(self.suffix.as_bytes());
        match (self.name.is_quoted, has_labels) {
            (true, true) => out.extend_from_slice(b"\","),
            (true, false) => out.push(b'"'),
            (false, true) => out.push(b'{'),
            (false, false) => {}
        }
    }

    /// Appends what follows the block.
    #[inline]
    pub fn write_end(&self, out: &mut Vec<u8>, dialect: TextDialect) {
        if let Some((label, number)) = self.number_label {
            if !self.block.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(b"=\"");
            write_float(out, number, dialect);
            out.push(b'"');
        }
        if self.name.is_quoted || !self.block.is_empty() || self.number_label.is_some() {
            out.push(b'}');
        }
        out.push(b' ');
        match (self.value, dialect) {
            (SampleValue::Count(count), TextDialect::OpenMetrics) => {
                out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
            }
            (SampleValue::Count(count), TextDialect::Prometheus) => write_float(out, count as f64, dialect),
            (SampleValue::Float(value), _) => write_float(out, value, dialect),
        }
        if let Some(at) = self.timestamp_ms {
            out.push(b' ');
            match dialect {
                TextDialect::Prometheus => out.extend_from_slice(itoa::Buffer::new().format(at).as_bytes()),
                TextDialect::OpenMetrics => write_float(out, at as f64 / 1000.0, dialect),
            }
        }
        if let Some(exemplar) = self.exemplar
            && dialect == TextDialect::OpenMetrics
        {
            write_exemplar(out, exemplar);
        }
        out.push(b'\n');
    }
}

/// Appends an exemplar, if it has labels: ` # {trace_id="…"} 0.75 1.7e+09`.
fn write_exemplar(out: &mut Vec<u8>, exemplar: &TraceExemplar) {
    let mut block = Vec::new();
    exemplar.labels().for_each(|(name, id)| write_label(&mut block, name.as_bytes(), &id));
    if block.is_empty() {
        return;
    }
    out.extend_from_slice(b" # {");
    out.extend_from_slice(&block);
    out.extend_from_slice(b"} ");
    write_float(out, exemplar.value, TextDialect::OpenMetrics);
    out.push(b' ');
    write_float(out, exemplar.time_unix_nano as f64 / 1e9, TextDialect::OpenMetrics);
}

/// The labels, times and names that the lines of one series share.
#[derive(Clone, Copy, Debug)]
pub struct SeriesHead<'a> {
    /// The name of the family.
    pub name: PageName<'a>,
    /// The labels.
    pub block: &'a [u8],
    /// Milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
}

impl<'a> SeriesHead<'a> {
    /// A line of the series.
    #[must_use]
    pub fn line(&self, suffix: &'static str, value: SampleValue) -> SampleLine<'a> {
        let Self { name, block, timestamp_ms } = *self;
        SampleLine { name, suffix, block, number_label: None, value, timestamp_ms, exemplar: None }
    }

    /// Appends the one line of a counter or gauge.
    #[inline]
    pub fn write_number(&self, out: &mut Vec<u8>, dialect: TextDialect, value: f64, exemplar: Option<&TraceExemplar>) {
        SampleLine { exemplar, ..self.line("", SampleValue::Float(value)) }.write(out, dialect);
    }

    /// Appends a histogram: `buckets` are upper bounds in ascending order with *cumulative* counts. A bucket of `+Inf`
    /// with the value of `count` follows unless there is one.
    pub fn write_histogram<'e>(
        &self,
        out: &mut Vec<u8>,
        dialect: TextDialect,
        buckets: impl Iterator<Item = (f64, u64, Option<&'e TraceExemplar>)>,
        (sum, count): (f64, u64),
    ) {
        let mut last = f64::NEG_INFINITY;
        let line = |bound, count| SampleLine {
            number_label: Some(("le", bound)),
            ..self.line("_bucket", SampleValue::Count(count))
        };
        for (bound, cumulative, exemplar) in buckets {
            SampleLine { exemplar, ..line(bound, cumulative) }.write(out, dialect);
            last = bound;
        }
        if last != f64::INFINITY {
            line(f64::INFINITY, count).write(out, dialect);
        }
        self.write_sum_and_count(out, dialect, sum, count);
    }

    /// Appends a summary: quantiles in ascending order, then sum and count.
    pub fn write_summary(
        &self,
        out: &mut Vec<u8>,
        dialect: TextDialect,
        quantiles: impl Iterator<Item = (f64, f64)>,
        (sum, count): (f64, u64),
    ) {
        for (quantile, value) in quantiles {
            let number_label = Some(("quantile", quantile));
            SampleLine { number_label, ..self.line("", SampleValue::Float(value)) }.write(out, dialect);
        }
        self.write_sum_and_count(out, dialect, sum, count);
    }

    fn write_sum_and_count(&self, out: &mut Vec<u8>, dialect: TextDialect, sum: f64, count: u64) {
        self.line("_sum", SampleValue::Float(sum)).write(out, dialect);
        self.line("_count", SampleValue::Count(count)).write(out, dialect);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextDialect::{OpenMetrics, Prometheus};

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

    fn head<'a>(name: &'a str, block: &'a [u8], timestamp_ms: Option<i64>) -> SeriesHead<'a> {
        SeriesHead { name: PageName::legacy(name.as_bytes()), block, timestamp_ms }
    }

    fn number(head: &SeriesHead<'_>, dialect: TextDialect, value: f64) -> String {
        written(|o| head.write_number(o, dialect, value, None))
    }

    fn header(dialect: TextDialect, name: PageName<'_>, help: &str, metric_type: MetricType) -> String {
        written(|o| write_family_header(o, dialect, name, help.as_bytes(), metric_type))
    }

    #[test]
    fn help_and_label_value_are_escaped_by_their_own_rules() {
        let name = PageName::legacy(b"g");
        let got = header(Prometheus, name, "a\\b\n\"c\"", MetricType::Gauge);
        assert_eq!(got, "# HELP g a\\\\b\\n\"c\"\n# TYPE g gauge\n");
        let got = header(OpenMetrics, name, "a\\b\n\"c\"", MetricType::Gauge);
        assert_eq!(got, "# HELP g a\\\\b\\n\\\"c\\\"\n# TYPE g gauge\n");
        assert_eq!(header(Prometheus, name, "", MetricType::Untyped), "# HELP g \n# TYPE g untyped\n");
        assert_eq!(header(OpenMetrics, name, "", MetricType::Untyped), "# HELP g \n# TYPE g unknown\n");
        let got = written(|o| write_quoted_text(o, "a\\b\nc\"d\te".as_bytes()));
        assert_eq!(got, "a\\\\b\\nc\\\"d\te");
    }

    #[test]
    fn counter_of_open_metrics_is_named_without_total() {
        let counter = |name| header(OpenMetrics, name, "h", MetricType::Counter);
        assert_eq!(counter(PageName::legacy(b"c_total")), "# HELP c h\n# TYPE c counter\n");
        assert_eq!(counter(PageName::legacy(b"c")), "# HELP c h\n# TYPE c unknown\n");
        assert_eq!(counter(PageName::quoted(b"c.x_total")), "# HELP \"c.x\" h\n# TYPE \"c.x\" counter\n");
    }

    #[test]
    fn sample_has_braces_only_with_labels_and_timestamp_only_if_given() {
        assert_eq!(number(&head("a", b"", None), Prometheus, 1.0), "a 1\n");
        assert_eq!(number(&head("a", b"", Some(1_700_000_000_123)), Prometheus, 1.0), "a 1 1700000000123\n");
        assert_eq!(number(&head("a", b"", Some(1_700_000_000_123)), OpenMetrics, 1.0), "a 1.0 1.700000000123e+09\n");
        let (b, _) = block_of(&[("x", "1"), ("y", "")]);
        assert_eq!(number(&head("a", &b, None), Prometheus, -0.5), "a{x=\"1\",y=\"\"} -0.5\n");
    }

    #[test]
    fn name_that_is_not_a_legacy_one_is_quoted_within_the_braces() {
        let (b, _) = block_of(&[("x.y", "1"), ("é\"", "a\\")]);
        let mut head = SeriesHead { name: PageName::quoted(b"a.b"), block: &b, timestamp_ms: None };
        assert_eq!(number(&head, Prometheus, 2.0), "{\"a.b\",\"x.y\"=\"1\",\"é\\\"\"=\"a\\\\\"} 2\n");
        head.block = b"";
        assert_eq!(number(&head, Prometheus, 2.0), "{\"a.b\"} 2\n");
        let got = written(|o| head.write_summary(o, OpenMetrics, [(0.5, 1.0)].into_iter(), (3.0, 4)));
        assert_eq!(got, "{\"a.b\",quantile=\"0.5\"} 1.0\n{\"a.b_sum\"} 3.0\n{\"a.b_count\"} 4\n");
    }

    #[test]
    fn histogram_has_one_infinity_bucket() {
        let (b, _) = block_of(&[("route", "/x")]);
        let buckets = [(0.005, 1, None), (0.1, 3, None), (1.0, 6, None), (1e6, 10, None)];
        let histogram = |head: &SeriesHead<'_>, buckets: &[(f64, u64, Option<&TraceExemplar>)], totals, dialect| {
            written(|o| head.write_histogram(o, dialect, buckets.iter().copied(), totals))
        };
        let got = histogram(&head("h", &b, None), &buckets, (12.5, 1_000_000), Prometheus);
        let expected = "h_bucket{route=\"/x\",le=\"0.005\"} 1\nh_bucket{route=\"/x\",le=\"0.1\"} 3\n\
            h_bucket{route=\"/x\",le=\"1\"} 6\nh_bucket{route=\"/x\",le=\"1e+06\"} 10\n\
            h_bucket{route=\"/x\",le=\"+Inf\"} 1e+06\nh_sum{route=\"/x\"} 12.5\nh_count{route=\"/x\"} 1e+06\n";
        assert_eq!(got, expected);
        let with_infinity = [(1.0, 2, None), (f64::INFINITY, 7, None)];
        let got = histogram(&head("h", b"", None), &with_infinity, (0.0, 9), Prometheus);
        assert_eq!(got, "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 7\nh_sum 0\nh_count 9\n");
        let exemplar = TraceExemplar {
            span_id: [0, 0, 0, 0, 0, 0, 0, 1],
            value: 2.0,
            time_unix_nano: 1_500_000_000,
            ..TraceExemplar::default()
        };
        let with_exemplars = [
            (2.0, 1_000_000, Some(&exemplar)),
            (3.0, 1_000_000, Some(&TraceExemplar { value: 1.0, ..TraceExemplar::default() })),
        ];
        let got = histogram(&head("h", b"", None), &with_exemplars, (0.0, 9), OpenMetrics);
        let expected = "h_bucket{le=\"2.0\"} 1000000 # {span_id=\"0000000000000001\"} 2.0 1.5\n\
            h_bucket{le=\"3.0\"} 1000000\nh_bucket{le=\"+Inf\"} 9\nh_sum 0.0\nh_count 9\n";
        assert_eq!(got, expected);
    }

    #[test]
    fn summary_ends_with_sum_and_count() {
        let quantiles = [(0.5, 2.0), (0.99, f64::NAN)];
        let got = written(|o| head("s", b"", Some(5)).write_summary(o, Prometheus, quantiles.into_iter(), (3.0, 4)));
        assert_eq!(got, "s{quantile=\"0.5\"} 2 5\ns{quantile=\"0.99\"} NaN 5\ns_sum 3 5\ns_count 4 5\n");
    }

    #[test]
    fn sample_is_written_without_allocation() {
        let (b, _) = block_of(&[("http_method", "GET")]);
        let mut out = Vec::with_capacity(4096);
        let address = out.as_ptr();
        for v in 0..50 {
            head("http_requests_total", &b, Some(17)).write_number(&mut out, Prometheus, f64::from(v) * 1.1, None);
        }
        assert_eq!((out.as_ptr(), out.capacity()), (address, 4096));
    }
}
