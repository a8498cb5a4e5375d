//! Parsers of the pages that a scraper reads: text 0.0.4, OpenMetrics 1.0 and delimited protobuf.
//!
//! One machine, [`PageParser`], takes a page in pieces of any size and returns [`Event`]s that borrow from it. Its memory
//! is bounded by [`ParserLimits`] and by what was passed and not yet polled; each byte is read a constant number of times.
//!
//! The parser does not interpret metrics: it does not group samples into histograms, does not match `_created` samples
//! with their series, and does not check that label names are unique. It has no clock and does not read from the network.

mod buffer;
mod error;
mod event;
mod messages;
mod protobuf;
mod text;
mod wire;

pub use error::{ParseError, ParseErrorKind, Position};
pub use event::{
    BucketCounts, BucketSpan, Event, Exemplar, Exemplars, FamilyType, HistogramCount, Labels, NativeBuckets,
    NativeHistogram, Sample,
};

use buffer::Buffer;
use event::{Entry, EntryKind};
use protobuf::{HistogramChoice, ProtobufParser};
use text::TextParser;

use crate::PageFormat;

/// What a page may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParserLimits {
    /// The longest line of a text page, or metric of a protobuf page, in bytes.
    pub max_entry_bytes: usize,
    /// The longest metric family of a protobuf page, in bytes. A family is buffered whole, since its unit follows its
    /// metrics.
    pub max_family_bytes: usize,
    /// The most spans, buckets or exemplars, each, of a native histogram.
    pub max_native_buckets: usize,
}

impl Default for ParserLimits {
    fn default() -> Self {
        Self { max_entry_bytes: 1 << 20, max_family_bytes: 16 << 20, max_native_buckets: 1 << 16 }
    }
}

/// Parses one page.
///
/// Pass each piece with [`handle_data`](Self::handle_data), then call [`poll_event`](Self::poll_event) until it returns
/// `None`. At the end of the page call [`handle_end`](Self::handle_end) and poll once more until `None`. One call of
/// `poll_event` costs at most one entry and the blank lines, comments or protobuf fields that were passed before it.
#[derive(Debug)]
pub struct PageParser {
    buffer: Buffer,
    format: FormatParser,
    entry: Entry,
    limits: ParserLimits,
    failed: bool,
}

#[derive(Debug)]
enum FormatParser {
    Text(TextParser),
    Protobuf(Box<ProtobufParser>),
}

impl PageParser {
    /// A parser of a page in `format`. Both versions of OpenMetrics are read by the rules of 1.0.
    #[must_use]
    pub fn new(format: PageFormat, limits: ParserLimits) -> Self {
        let format = match format {
            PageFormat::Text => FormatParser::Text(TextParser::new(false)),
            PageFormat::OpenMetrics0 | PageFormat::OpenMetrics1 => FormatParser::Text(TextParser::new(true)),
            PageFormat::Protobuf => FormatParser::Protobuf(Box::new(ProtobufParser::new(HistogramChoice::Native))),
        };
        Self { buffer: Buffer::default(), format, entry: Entry::default(), limits, failed: false }
    }

    /// Also returns the classic buckets of native histograms. By default they are left out, as in Prometheus; sum and
    /// count are then fields of the native histogram only. Without effect on text pages, which have no native histograms.
    #[must_use]
    pub fn with_classic_histograms(mut self) -> Self {
        if let FormatParser::Protobuf(parser) = &mut self.format {
            **parser = ProtobufParser::new(HistogramChoice::Both);
        }
        self
    }

    /// Reads only the classic buckets of histograms, as if nothing of native ones were on the page: one without classic
    /// buckets has only the last one, sum and count. Without effect on text pages.
    #[must_use]
    pub fn without_native_histograms(mut self) -> Self {
        if let FormatParser::Protobuf(parser) = &mut self.format {
            **parser = ProtobufParser::new(HistogramChoice::Classic);
        }
        self
    }

    /// Takes the next piece of the page. Ignored after an error.
    pub fn handle_data(&mut self, data: &[u8]) {
        if !self.failed {
            self.buffer.push(data);
        }
    }

    /// The page is complete: what is incomplete is an error from now on.
    pub fn handle_end(&mut self) {
        self.buffer.end();
    }

    /// The bytes that are buffered: at most what was passed since the last poll that returned `None`, and the limit of
    /// an entry (text) or of a family (protobuf).
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.unread().len()
    }

    /// The next event; `None` if more data is necessary, or after the end of the page, or after an error.
    pub fn poll_event(&mut self) -> Option<Result<Event<'_>, ParseError>> {
        if self.failed {
            return None;
        }
        let parsed = match &mut self.format {
            FormatParser::Text(parser) => parser.parse_entry(&mut self.buffer, &mut self.entry, &self.limits),
            FormatParser::Protobuf(parser) => parser.parse_entry(&mut self.buffer, &mut self.entry, &self.limits),
        };
        match parsed {
            Ok(EntryKind::Incomplete) => None,
            Ok(kind) => self.entry.event(kind).map(Ok),
            Err(e) => {
                self.failed = true;
                self.buffer = Buffer::default();
                Some(Err(e))
            }
        }
    }
}

/// A number of a text page: as Go's `strconv.ParseFloat` reads it, without hexadecimal numbers and underscores. `None` if
/// it is none, or beyond the range of a double. Every NaN is the same one.
fn text_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let begins_with = |letter: u8| unsigned.as_bytes().first().is_some_and(|b| b.eq_ignore_ascii_case(&letter));
    let v: f64 = text.parse().ok()?;
    if v.is_nan() {
        return (unsigned.len() == text.len()).then_some(f64::NAN);
    }
    (v.is_finite() || begins_with(b'i')).then_some(v)
}
