//! What a page says, entry by entry: the same model for the three formats.
//!
//! [`Entry`] is the parsers' workspace, whose memory is used again for each entry; events borrow from it. Nothing here
//! reads a page.

use crate::MetricType;

/// The type of a family. Text 0.0.4 has the first four and `Unknown`; protobuf has `GaugeHistogram` as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FamilyType {
    /// A value that only increases.
    Counter,
    /// A value that may increase and decrease.
    Gauge,
    /// Bucket counts by upper bound, with sum and count.
    Histogram,
    /// Quantiles, with sum and count.
    Summary,
    /// A histogram whose counts may decrease.
    GaugeHistogram,
    /// Facts as labels; the value is 1.
    Info,
    /// Booleans; each series is one of them.
    StateSet,
    /// `untyped` or `unknown`.
    #[default]
    Unknown,
}

impl FamilyType {
    /// The word of a `# TYPE` line in OpenMetrics: `counter`, `gaugehistogram`, `unknown`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

impl From<MetricType> for FamilyType {
    fn from(written: MetricType) -> Self {
        match written {
            MetricType::Counter => Self::Counter,
            MetricType::Gauge => Self::Gauge,
            MetricType::Histogram => Self::Histogram,
            MetricType::Summary => Self::Summary,
            MetricType::Untyped => Self::Unknown,
        }
    }
}

/// One entry of a page. Texts are unescaped.
///
/// Metadata apply to the samples that follow, by name: in text pages each of the three may be absent, and their order is
/// the page's. In protobuf pages `Help`, `Unit` (if there is one) and `Type` precede the samples of their family.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// The description of a family.
    Help {
        /// The family's name.
        name: &'a str,
        /// The description.
        text: &'a str,
    },
    /// The type of a family.
    Type {
        /// The family's name.
        name: &'a str,
        /// The type.
        family_type: FamilyType,
    },
    /// The unit of a family.
    Unit {
        /// The family's name.
        name: &'a str,
        /// The unit.
        unit: &'a str,
    },
    /// A value.
    Sample(Sample<'a>),
    /// A native histogram (protobuf only).
    NativeHistogram(NativeHistogram<'a>),
}

/// One value of a series. Histograms and summaries of protobuf pages become the samples that a text page would have:
/// `_bucket` with `le`, the name alone with `quantile`, `_sum`, `_count`; those of gauge histograms have the same suffixes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample<'a> {
    /// The name, with the suffix of the sample.
    pub name: &'a str,
    /// The labels, in the order of the page. Names may repeat.
    pub labels: Labels<'a>,
    /// The value. Every NaN is the same one.
    pub value: f64,
    /// Milliseconds since 1970. Those of OpenMetrics are cut to milliseconds.
    pub timestamp_ms: Option<i64>,
    /// When the series began, in milliseconds since 1970 (protobuf only: a text page has `_created` samples).
    pub created_ms: Option<i64>,
    /// An example of what was counted.
    pub exemplar: Option<Exemplar<'a>>,
}

/// A measurement that a value was derived from, with labels such as a trace's id.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exemplar<'a> {
    /// The labels, in the order of the page.
    pub labels: Labels<'a>,
    /// The measured value.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

/// A histogram with exponential buckets, as in `io.prometheus.client.Histogram`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NativeHistogram<'a> {
    /// The family's name.
    pub name: &'a str,
    /// The labels, in the order of the page.
    pub labels: Labels<'a>,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// When the series began, in milliseconds since 1970.
    pub created_ms: Option<i64>,
    /// The resolution: a bucket's bound is the previous one times `2^(2^-schema)`.
    pub schema: i32,
    /// The number of observations.
    pub count: HistogramCount,
    /// Their sum.
    pub sum: f64,
    /// The largest absolute value in the zero bucket.
    pub zero_threshold: f64,
    /// The observations in the zero bucket.
    pub zero_count: HistogramCount,
    /// The buckets of positive values.
    pub positive: NativeBuckets<'a>,
    /// The buckets of negative values.
    pub negative: NativeBuckets<'a>,
    /// Examples of what was counted.
    pub exemplars: Exemplars<'a>,
}

/// A number of observations.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum HistogramCount {
    /// Of a histogram that counts.
    Integer(u64),
    /// Of a histogram that was computed.
    Float(f64),
}

impl Default for HistogramCount {
    fn default() -> Self {
        Self::Integer(0)
    }
}

/// Consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BucketSpan {
    /// The index of the first bucket (first span), or the number of buckets left out before it.
    pub offset: i32,
    /// The number of buckets.
    pub length: u32,
}

/// The buckets of one sign. The lengths of `spans` sum up to the number of counts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NativeBuckets<'a> {
    /// Which buckets there are.
    pub spans: &'a [BucketSpan],
    /// Their counts.
    pub counts: BucketCounts<'a>,
}

/// The counts of buckets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum BucketCounts<'a> {
    /// Of a histogram that counts: each is the *difference* from the one before, the first from zero.
    Deltas(&'a [i64]),
    /// Of a histogram that was computed: the counts.
    Floats(&'a [f64]),
}

/// Names and values.
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    text: &'a str,
    spans: &'a [LabelSpan],
}

impl<'a> Labels<'a> {
    /// The number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Names and values, in the order of the page.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + use<'a> {
        let text = self.text;
        self.spans.iter().map(move |span| (part(text, span.name), part(text, span.value)))
    }

    /// The value of the first label of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

impl PartialEq for Labels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl std::fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Several exemplars.
#[derive(Clone, Copy)]
pub struct Exemplars<'a> {
    entry: &'a Entry,
}

impl<'a> Exemplars<'a> {
    /// The exemplars, in the order of the page.
    pub fn iter(&self) -> impl Iterator<Item = Exemplar<'a>> + use<'a> {
        let entry = self.entry;
        entry.exemplars.iter().map(move |e| entry.exemplar(e))
    }
}

impl PartialEq for Exemplars<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl std::fmt::Debug for Exemplars<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A part of the text of an entry: its first byte and its end.
pub(super) type TextSpan = (usize, usize);

fn part(text: &str, (from, to): TextSpan) -> &str {
    text.get(from..to).unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LabelSpan {
    pub(super) name: TextSpan,
    pub(super) value: TextSpan,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ExemplarSpan {
    /// The first of its labels in `exemplar_labels`, and their end.
    pub(super) labels: (usize, usize),
    pub(super) value: f64,
    pub(super) timestamp_ms: Option<i64>,
}

/// What was parsed last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EntryKind {
    Help,
    Type,
    Unit,
    Sample,
    NativeHistogram,
    /// Nothing: the data is incomplete, or the page has ended.
    Incomplete,
}

/// The parts of one entry. `text` has everything that is text, one after the other.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) name: TextSpan,
    /// The help text or unit.
    pub(super) detail: TextSpan,
    pub(super) family_type: FamilyType,
    pub(super) labels: Vec<LabelSpan>,
    pub(super) exemplars: Vec<ExemplarSpan>,
    pub(super) exemplar_labels: Vec<LabelSpan>,
    pub(super) value: f64,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) created_ms: Option<i64>,
    pub(super) native: NativeParts,
}

#[derive(Debug, Default)]
pub(super) struct NativeParts {
    pub(super) schema: i32,
    pub(super) count: HistogramCount,
    pub(super) sum: f64,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: HistogramCount,
    pub(super) positive: NativeSide,
    pub(super) negative: NativeSide,
}

#[derive(Debug, Default)]
pub(super) struct NativeSide {
    pub(super) spans: Vec<BucketSpan>,
    pub(super) deltas: Vec<i64>,
    pub(super) floats: Vec<f64>,
}

impl NativeSide {
    fn view(&self, is_float: bool) -> NativeBuckets<'_> {
        let counts = if is_float { BucketCounts::Floats(&self.floats) } else { BucketCounts::Deltas(&self.deltas) };
        NativeBuckets { spans: &self.spans, counts }
    }

    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.deltas.clear();
        self.floats.clear();
    }
}

impl Entry {
    pub(super) fn clear(&mut self) {
        self.clear_keeping_text(0);
    }

    /// Clears everything but the first `len` bytes of the text, which must end with a whole character.
    pub(super) fn clear_keeping_text(&mut self, len: usize) {
        self.text.truncate(len);
        self.name = (0, 0);
        self.detail = (0, 0);
        self.labels.clear();
        self.clear_exemplars();
        self.timestamp_ms = None;
        self.created_ms = None;
    }

    pub(super) fn clear_exemplars(&mut self) {
        self.exemplars.clear();
        self.exemplar_labels.clear();
    }

    pub(super) fn push_text(&mut self, text: &str) -> TextSpan {
        let from = self.text.len();
        self.text.push_str(text);
        (from, self.text.len())
    }

    fn exemplar(&self, span: &ExemplarSpan) -> Exemplar<'_> {
        let spans = self.exemplar_labels.get(span.labels.0..span.labels.1).unwrap_or_default();
        Exemplar { labels: Labels { text: &self.text, spans }, value: span.value, timestamp_ms: span.timestamp_ms }
    }

    pub(super) fn event(&self, kind: EntryKind) -> Option<Event<'_>> {
        let name = part(&self.text, self.name);
        let detail = part(&self.text, self.detail);
        let labels = Labels { text: &self.text, spans: &self.labels };
        Some(match kind {
            EntryKind::Help => Event::Help { name, text: detail },
            EntryKind::Type => Event::Type { name, family_type: self.family_type },
            EntryKind::Unit => Event::Unit { name, unit: detail },
            EntryKind::Sample => Event::Sample(Sample {
                name,
                labels,
                value: self.value,
                timestamp_ms: self.timestamp_ms,
                created_ms: self.created_ms,
                exemplar: self.exemplars.first().map(|e| self.exemplar(e)),
            }),
            EntryKind::NativeHistogram => {
                let native = &self.native;
                let is_float = matches!(native.count, HistogramCount::Float(_));
                Event::NativeHistogram(NativeHistogram {
                    name,
                    labels,
                    timestamp_ms: self.timestamp_ms,
                    created_ms: self.created_ms,
                    schema: native.schema,
                    count: native.count,
                    sum: native.sum,
                    zero_threshold: native.zero_threshold,
                    zero_count: native.zero_count,
                    positive: native.positive.view(is_float),
                    negative: native.negative.view(is_float),
                    exemplars: Exemplars { entry: self },
                })
            }
            EntryKind::Incomplete => return None,
        })
    }
}
