//! The series of one request: each label set once, with its samples, histograms and exemplars.
//!
//! Schema of version 1: WriteRequest{1 timeseries, 3 metadata}; TimeSeries{1 labels, 2 samples, 3 exemplars, 4
//! histograms}; Label{1 name, 2 value}; Sample{1 value, 2 timestamp}. Of version 2: Request{4 symbols, 5 timeseries};
//! TimeSeries{1 labels_refs, 2 samples, 3 histograms, 4 exemplars, 5 metadata}; Sample{1 value, 2 timestamp, 3
//! start_timestamp}; Metadata{1 type, 3 help_ref, 4 unit_ref}.
//!
//! Labels, histograms and exemplars are encoded when they are added, into buffers of the table, so that no series and no
//! sample has an allocation of its own. Never reads OTLP.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use otelcore_pdata::wire_format::{put_bytes_field, put_tag_and_len, put_varint, put_varint_field, varint_len};

use crate::metadata::SeriesMetadata;
use crate::symbols::Symbols;

/// The bits of the value that says that a series has ended.
pub(crate) const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// No next element.
const NONE: usize = usize::MAX;

/// A label; names are translated.
pub(crate) type Label<'a> = (&'a [u8], &'a [u8]);

/// One sample. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    pub(crate) timestamp: i64,
    /// When counting began; zero if it is not known. Only version 2 has it.
    pub(crate) start: i64,
}

/// The first and the last element of a list.
#[derive(Clone, Copy, Debug)]
struct List {
    first: usize,
    last: usize,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE };

    fn push<T>(&mut self, elements: &mut Vec<(T, usize)>, value: T) {
        let new = elements.len();
        elements.push((value, NONE));
        match elements.get_mut(self.last) {
            Some((_, next)) => *next = new,
            None => self.first = new,
        }
        self.last = new;
    }

    fn iter<T>(self, elements: &[(T, usize)]) -> impl Iterator<Item = &T> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let (value, after) = elements.get(next)?;
            next = *after;
            Some(value)
        })
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn len(self) -> usize {
        self.end - self.start
    }
}

#[derive(Debug)]
struct Series {
    hash: u64,
    /// The labels as fields of version 1.
    labels: Span,
    /// What is written for them: the same in version 1, numbers of symbols in version 2.
    written_labels: Span,
    metadata: Span,
    is_native_histogram: bool,
    is_sorted: bool,
    samples: List,
    last_timestamp: i64,
    histograms: List,
    exemplars: List,
    /// Bytes of the samples, histograms and exemplars with their tags.
    content_len: usize,
}

/// An encoded message that orders by time.
#[derive(Clone, Copy, Debug)]
struct Encoded {
    bytes: Span,
    timestamp: i64,
}

/// The numbers of the fields of `TimeSeries`.
struct Numbers {
    request: u32,
    histograms: u32,
    exemplars: u32,
}

const VERSION_1: Numbers = Numbers { request: 1, histograms: 4, exemplars: 3 };
const VERSION_2: Numbers = Numbers { request: 5, histograms: 3, exemplars: 4 };

/// How much a table contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) series: usize,
    pub(crate) samples: usize,
    pub(crate) histograms: usize,
}

/// The series of one request.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    /// In version 2.
    symbols: Option<Symbols>,
    hasher: RandomState,
    index: HashTable<usize>,
    series: Vec<Series>,
    samples: Vec<(Sample, usize)>,
    histograms: Vec<(Encoded, usize)>,
    exemplars: Vec<(Encoded, usize)>,
    /// Labels, histograms and exemplars.
    bytes: Vec<u8>,
    /// The labels that are looked for.
    block: Vec<u8>,
    /// Bytes of all series, their labels included, without the table of symbols.
    encoded_len: usize,
}

impl SeriesTable {
    pub(crate) fn new(is_version_2: bool) -> Self {
        Self {
            symbols: is_version_2.then(Symbols::default),
            hasher: RandomState::default(),
            index: HashTable::new(),
            series: Vec::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            bytes: Vec::new(),
            block: Vec::new(),
            encoded_len: 0,
        }
    }

    /// The bytes of the request so far, about.
    pub(crate) fn encoded_len(&self) -> usize {
        self.encoded_len + self.symbols.as_ref().map_or(0, Symbols::encoded_len)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { series: self.series.len(), samples: self.samples.len(), histograms: self.histograms.len() }
    }

    /// The symbols, in version 2.
    pub(crate) fn symbols(&mut self) -> Option<&mut Symbols> {
        self.symbols.as_mut()
    }

    /// The series with these labels, which are sorted by name and all different. Its number is valid for this table.
    pub(crate) fn series(
        &mut self,
        labels: &[Label<'_>],
        metadata: &SeriesMetadata<'_>,
        is_native_histogram: bool,
    ) -> usize {
        self.block.clear();
        for (name, value) in labels {
            let len = 2 + varint_len(name.len() as u64) + name.len() + varint_len(value.len() as u64) + value.len();
            put_tag_and_len(&mut self.block, 1, len);
            put_bytes_field(&mut self.block, 1, name);
            put_bytes_field(&mut self.block, 2, value);
        }
        let hash = self.hasher.hash_one(&self.block);
        let Self { index, series, bytes, block, symbols, .. } = &mut *self;
        // A series of version 2 has either samples or histograms.
        let is_same = |found: &usize| {
            series.get(*found).is_some_and(|found| {
                found.labels.of(bytes) == block.as_slice()
                    && (symbols.is_none() || found.is_native_histogram == is_native_histogram)
            })
        };
        if let Some(found) = index.find(hash, is_same) {
            return *found;
        }
        self.add_series(hash, labels, metadata, is_native_histogram)
    }

    fn add_series(
        &mut self,
        hash: u64,
        labels: &[Label<'_>],
        metadata: &SeriesMetadata<'_>,
        is_native_histogram: bool,
    ) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&self.block);
        let labels_span = Span { start, end: self.bytes.len() };
        let mut series = Series {
            hash,
            labels: labels_span,
            written_labels: labels_span,
            metadata: Span { start, end: start },
            is_native_histogram,
            is_sorted: true,
            samples: List::EMPTY,
            last_timestamp: i64::MIN,
            histograms: List::EMPTY,
            exemplars: List::EMPTY,
            content_len: 0,
        };
        if let Some(symbols) = &mut self.symbols {
            let start = self.bytes.len();
            for (name, value) in labels {
                put_varint(&mut self.bytes, symbols.number_of(name).into());
                put_varint(&mut self.bytes, symbols.number_of(value).into());
            }
            series.written_labels = Span { start, end: self.bytes.len() };
            let start = self.bytes.len();
            metadata.write(&mut self.bytes, symbols);
            series.metadata = Span { start, end: self.bytes.len() };
            self.encoded_len += 4 + series.metadata.len();
        }
        self.encoded_len += 6 + series.written_labels.len();
        let number = self.series.len();
        self.series.push(series);
        let all = &self.series;
        self.index.insert_unique(hash, number, |number| all.get(*number).map_or(0, |series| series.hash));
        number
    }

    /// Adds a sample to a series.
    pub(crate) fn add_sample(&mut self, series: usize, sample: Sample) {
        let Some(series) = self.series.get_mut(series) else { return };
        let len = 2 + sample_len(&sample, self.symbols.is_some());
        series.content_len += len;
        self.encoded_len += len;
        series.is_sorted &= sample.timestamp >= series.last_timestamp;
        series.last_timestamp = sample.timestamp;
        series.samples.push(&mut self.samples, sample);
    }

    /// Adds a histogram, an encoded message, to a series.
    pub(crate) fn add_histogram(&mut self, series: usize, message: &[u8], timestamp: i64) {
        let Some(series) = self.series.get_mut(series) else { return };
        let encoded = put_message(&mut self.bytes, message, timestamp, series, &mut self.encoded_len);
        series.is_sorted &= timestamp >= series.last_timestamp;
        series.last_timestamp = timestamp;
        series.histograms.push(&mut self.histograms, encoded);
    }

    /// Adds an exemplar, an encoded message, to a series.
    pub(crate) fn add_exemplar(&mut self, series: usize, message: &[u8], timestamp: i64) {
        let Some(series) = self.series.get_mut(series) else { return };
        let encoded = put_message(&mut self.bytes, message, timestamp, series, &mut self.encoded_len);
        series.exemplars.push(&mut self.exemplars, encoded);
    }

    /// The body of the request. `metadata` are the fields of the metadata, in version 1.
    pub(crate) fn finish(self, metadata: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len() + metadata.len());
        let numbers = if self.symbols.is_some() { VERSION_2 } else { VERSION_1 };
        if let Some(symbols) = &self.symbols {
            symbols.write(&mut out);
        }
        let mut sorted = (Vec::new(), Vec::new());
        for series in &self.series {
            self.write_series(&mut out, series, &numbers, &mut sorted);
        }
        out.extend_from_slice(metadata);
        out
    }

    fn write_series(
        &self,
        out: &mut Vec<u8>,
        series: &Series,
        numbers: &Numbers,
        (samples, histograms): &mut (Vec<Sample>, Vec<Encoded>),
    ) {
        let has_start = self.symbols.is_some();
        let labels = series.written_labels.of(&self.bytes);
        let metadata = series.metadata.of(&self.bytes);
        let mut len = labels.len() + series.content_len;
        if has_start {
            len += 1 + varint_len(labels.len() as u64) + 1 + varint_len(metadata.len() as u64) + metadata.len();
        }
        put_tag_and_len(out, numbers.request, len);
        if has_start {
            put_tag_and_len(out, 1, labels.len());
        }
        out.extend_from_slice(labels);
        let put = |out: &mut Vec<u8>, sample: &Sample| put_sample(out, sample, has_start);
        let put_all = |out: &mut Vec<u8>, list: List, elements: &[(Encoded, usize)], number: u32| {
            list.iter(elements).for_each(|encoded| put_bytes_field(out, number, encoded.bytes.of(&self.bytes)));
        };
        if series.is_sorted {
            series.samples.iter(&self.samples).for_each(|sample| put(out, sample));
        } else {
            samples.clear();
            samples.extend(series.samples.iter(&self.samples));
            samples.sort_by_key(|sample| sample.timestamp);
            samples.iter().for_each(|sample| put(out, sample));
        }
        if !has_start {
            put_all(out, series.exemplars, &self.exemplars, numbers.exemplars);
        }
        if series.is_sorted {
            put_all(out, series.histograms, &self.histograms, numbers.histograms);
        } else {
            histograms.clear();
            histograms.extend(series.histograms.iter(&self.histograms));
            histograms.sort_by_key(|histogram| histogram.timestamp);
            histograms.iter().for_each(|h| put_bytes_field(out, numbers.histograms, h.bytes.of(&self.bytes)));
        }
        if has_start {
            put_all(out, series.exemplars, &self.exemplars, numbers.exemplars);
            put_bytes_field(out, 5, metadata);
        }
    }
}

/// Copies a message behind the others, and counts its length with tag and length field.
fn put_message(
    bytes: &mut Vec<u8>,
    message: &[u8],
    timestamp: i64,
    series: &mut Series,
    encoded_len: &mut usize,
) -> Encoded {
    let start = bytes.len();
    bytes.extend_from_slice(message);
    let len = 1 + varint_len(message.len() as u64) + message.len();
    series.content_len += len;
    *encoded_len += len;
    Encoded { bytes: Span { start, end: bytes.len() }, timestamp }
}

/// Whether a double is written. Like Go, zero is left out, also a negative one.
fn is_written(value: f64) -> bool {
    value != 0.0 || value.is_nan()
}

fn integer_len(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value.cast_unsigned()) }
}

/// Bytes of a sample, without its tag and its length, which are two.
fn sample_len(sample: &Sample, has_start: bool) -> usize {
    let start = if has_start { integer_len(sample.start) } else { 0 };
    usize::from(is_written(sample.value)) * 9 + integer_len(sample.timestamp) + start
}

fn put_sample(out: &mut Vec<u8>, sample: &Sample, has_start: bool) {
    put_tag_and_len(out, 2, sample_len(sample, has_start));
    put_double_field(out, 1, sample.value);
    put_integer_field(out, 2, sample.timestamp);
    if has_start {
        put_integer_field(out, 3, sample.start);
    }
}

/// Appends a double; nothing for zero.
pub(crate) fn put_double_field(out: &mut Vec<u8>, number: u32, value: f64) {
    if is_written(value) {
        otelcore_pdata::wire_format::put_fixed64_field(out, number, value.to_bits());
    }
}

/// Appends an `int64`; nothing for zero.
pub(crate) fn put_integer_field(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_varint_field(out, number, value.cast_unsigned());
    }
}
