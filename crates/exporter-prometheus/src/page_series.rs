//! A series on a page: its name and labels by the page's escaping, and its lines if there are many.

use std::borrow::Cow;
use std::rc::Rc;

use otelcore_exposition::protobuf::{FamilyMessage, MetricValue};
use otelcore_exposition::{
    BlockLabels, NameEscaper, NameEscaping, PageFormat, PageLabel, PageName, SampleLine, SampleValue, SeriesHead,
    TextDialect, TraceExemplar, escape_labels, escape_name, is_legacy_name, write_quoted_text,
};

use crate::series_state::{SeriesState, StoredValue, to_f64};

/// The dialect of a page, if it is text.
pub(crate) fn text_dialect(format: PageFormat) -> Option<TextDialect> {
    match format {
        PageFormat::Text => Some(TextDialect::Prometheus),
        PageFormat::OpenMetrics0 | PageFormat::OpenMetrics1 => Some(TextDialect::OpenMetrics),
        PageFormat::Protobuf => None,
    }
}

/// A metric's name as a page has it.
#[derive(Clone, Debug)]
pub(crate) struct EscapedName {
    text: Rc<[u8]>,
    is_quoted: bool,
}

impl EscapedName {
    /// The name on a page of this format.
    pub(crate) fn new(name: &Rc<[u8]>, format: PageFormat, escaper: NameEscaper) -> Self {
        let text = match escape_name(name, escaper) {
            Cow::Borrowed(_) => name.clone(),
            Cow::Owned(escaped) => escaped.into(),
        };
        if format == PageFormat::Protobuf || is_legacy_name(&text) {
            return Self { text, is_quoted: false };
        }
        let mut quoted = Vec::with_capacity(text.len());
        write_quoted_text(&mut quoted, &text);
        Self { text: quoted.into(), is_quoted: true }
    }

    pub(crate) fn view(&self) -> PageName<'_> {
        if self.is_quoted { PageName::quoted(&self.text) } else { PageName::legacy(&self.text) }
    }

    /// The name of a protobuf page.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

/// Whether a page with this escaping has labels without escaping.
pub(crate) fn has_plain_labels(has_quoted_names: bool, escaper: NameEscaper) -> bool {
    escaper.escaping == NameEscaping::AllowUtf8 || (!has_quoted_names && escaper.keeps_legacy_names())
}

/// Adds a series to a message.
pub(crate) fn push_metric(
    message: &mut FamilyMessage,
    (block, has_quoted_names): (&[u8], bool),
    escaper: NameEscaper,
    state: &SeriesState,
    is_counter: bool,
    timestamp_ms: Option<i64>,
) {
    let labels: Vec<PageLabel<'_>> = if has_plain_labels(has_quoted_names, escaper) {
        BlockLabels::new(block).map(|(name, value)| (name, Cow::Borrowed(value))).collect()
    } else {
        escape_labels(block, escaper)
    };
    let labels = labels.iter().map(|(name, value)| (&**name, &**value));
    let mut push = |value: &MetricValue<'_>| message.push(labels.clone(), value, state.created(), timestamp_ms);
    match &state.value {
        StoredValue::Number(v) if is_counter => push(&MetricValue::Counter(to_f64(*v), state.exemplars().last())),
        StoredValue::Number(v) => push(&MetricValue::Gauge(to_f64(*v))),
        StoredValue::Summary(s) => push(&MetricValue::Summary(s.sum, s.count, &s.quantiles)),
        StoredValue::Histogram(h) => {
            push(&MetricValue::Histogram(h.sum, h.count, &state.buckets_with_exemplars(h)));
        }
        StoredValue::Native(native) => {
            native.with_native(state.exemplars(), |native| push(&MetricValue::Native(native)));
        }
    }
}

/// Appends the lines of a series.
pub(crate) fn write_lines(head: &SeriesHead<'_>, out: &mut Vec<u8>, dialect: TextDialect, state: &SeriesState) {
    match &state.value {
        StoredValue::Number(v) => head.write_number(out, dialect, to_f64(*v), state.exemplars().last()),
        StoredValue::Histogram(h) if dialect == TextDialect::Prometheus || state.exemplars().is_empty() => {
            let buckets = h.buckets().map(|(bound, count)| (bound, count, None));
            head.write_histogram(out, dialect, buckets, (h.sum, h.count));
        }
        StoredValue::Histogram(h) => {
            let buckets = state.buckets_with_exemplars(h);
            let buckets = buckets.iter().map(|(bound, count, exemplar)| (*bound, *count, exemplar.as_ref()));
            head.write_histogram(out, dialect, buckets, (h.sum, h.count));
        }
        StoredValue::Summary(s) => head.write_summary(out, dialect, s.quantiles.iter().copied(), (s.sum, s.count)),
        // Text formats have no native histograms.
        StoredValue::Native(native) => {
            head.write_histogram(out, dialect, std::iter::empty(), (native.sum(), native.count));
        }
    }
}

/// The largest number of bytes that the lines of a series may take.
pub(crate) fn max_len_of_lines(name: usize, block: usize, state: &SeriesState) -> usize {
    // A number, a bound and a timestamp take less than a hundred bytes, an exemplar less than two hundred.
    let rest = if state.exemplars().is_empty() { 100 } else { 300 };
    state.value.max_lines() * (name + block + rest)
}

/// The lines of one series that has many or long lines. A copy, so that all of them are from the same state.
#[derive(Debug)]
pub(crate) struct SeriesLines {
    name: EscapedName,
    block: Rc<[u8]>,
    dialect: TextDialect,
    lines: Vec<CopiedLine>,
    next_line: usize,
    timestamp_ms: Option<i64>,
}

/// A line: what precedes the labels, the labels, and the rest.
pub(crate) struct LineParts {
    pub(crate) start: Vec<u8>,
    pub(crate) block: Rc<[u8]>,
    pub(crate) end: Vec<u8>,
}

/// What is different in a line.
#[derive(Debug)]
struct CopiedLine {
    suffix: &'static str,
    number_label: Option<(&'static str, f64)>,
    value: SampleValue,
    exemplar: Option<Box<TraceExemplar>>,
}

impl CopiedLine {
    fn new(suffix: &'static str, value: SampleValue) -> Self {
        Self { suffix, number_label: None, value, exemplar: None }
    }
}

impl SeriesLines {
    pub(crate) fn new(
        name: &EscapedName,
        block: Rc<[u8]>,
        dialect: TextDialect,
        state: &SeriesState,
        timestamp_ms: Option<i64>,
    ) -> Self {
        let bucket = |bound, count, exemplar: Option<TraceExemplar>| CopiedLine {
            number_label: Some(("le", bound)),
            exemplar: exemplar.map(Box::new),
            ..CopiedLine::new("_bucket", SampleValue::Count(count))
        };
        let mut lines: Vec<CopiedLine> = Vec::with_capacity(state.value.max_lines());
        let totals = match &state.value {
            StoredValue::Number(v) => {
                let exemplar = state.exemplars().last().copied().map(Box::new);
                lines.push(CopiedLine { exemplar, ..CopiedLine::new("", SampleValue::Float(to_f64(*v))) });
                None
            }
            StoredValue::Histogram(h) => {
                let buckets = state.buckets_with_exemplars(h);
                let has_infinity = buckets.last().is_some_and(|(bound, ..)| *bound == f64::INFINITY);
                lines.extend(buckets.into_iter().map(|(bound, count, exemplar)| bucket(bound, count, exemplar)));
                if !has_infinity {
                    lines.push(bucket(f64::INFINITY, h.count, None));
                }
                Some((h.sum, h.count))
            }
            StoredValue::Native(native) => {
                lines.push(bucket(f64::INFINITY, native.count, None));
                Some((native.sum(), native.count))
            }
            StoredValue::Summary(s) => {
                lines.extend(s.quantiles.iter().map(|(quantile, value)| CopiedLine {
                    number_label: Some(("quantile", *quantile)),
                    ..CopiedLine::new("", SampleValue::Float(*value))
                }));
                Some((s.sum, s.count))
            }
        };
        if let Some((sum, count)) = totals {
            lines.push(CopiedLine::new("_sum", SampleValue::Float(sum)));
            lines.push(CopiedLine::new("_count", SampleValue::Count(count)));
        }
        Self { name: name.clone(), block, dialect, lines, next_line: 0, timestamp_ms }
    }

    /// A line of `target_info`.
    pub(crate) fn of_target(name: &EscapedName, block: Rc<[u8]>, dialect: TextDialect) -> Self {
        let lines = vec![CopiedLine::new("", SampleValue::Float(1.0))];
        Self { name: name.clone(), block, dialect, lines, next_line: 0, timestamp_ms: None }
    }

    /// Bytes charged for the copy.
    pub(crate) fn charged_bytes(&self) -> u64 {
        (size_of::<CopiedLine>() * self.lines.capacity() + self.block.len()) as u64
    }

    /// The next line.
    pub(crate) fn next_line(&mut self) -> Option<LineParts> {
        let copied = self.lines.get(self.next_line)?;
        self.next_line += 1;
        let line = SampleLine {
            name: self.name.view(),
            suffix: copied.suffix,
            block: &self.block,
            number_label: copied.number_label,
            value: copied.value,
            timestamp_ms: self.timestamp_ms,
            exemplar: copied.exemplar.as_deref(),
        };
        let (mut start, mut end) = (Vec::new(), Vec::new());
        line.write_start(&mut start);
        line.write_end(&mut end, self.dialect);
        Some(LineParts { start, block: self.block.clone(), end })
    }
}
