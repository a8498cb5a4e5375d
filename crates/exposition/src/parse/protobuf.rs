//! Delimited `io.prometheus.client.MetricFamily` messages: a varint of the length, then the message, until the page ends.
//!
//! A family is buffered until it is complete and its fields are found while it arrives; then its metadata and its metrics
//! are returned one by one, and the buckets of a histogram as well. Families without metrics are skipped, as in Prometheus.
//! Unlike there, a metric without the value that the family's type demands is an error; Prometheus reads it as 0. Unknown
//! fields are ignored. Field order does not matter.

use std::ops::Range;

use super::ParserLimits;
use super::buffer::Buffer;
use super::error::{ParseError, ParseErrorKind, Position};
use super::event::{Entry, EntryKind, FamilyType, HistogramCount, LabelSpan, TextSpan};
use super::messages::{Wire, bucket_span, deltas, exemplar, floats, label, limit_len, side, text_at, timestamp};
use super::wire::{Fields, canonical, header, varint, zigzag};
use crate::{TextDialect, write_float};

/// Which form of a histogram that has both is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HistogramChoice {
    /// The native one, and a classic one where there is no other.
    Native,
    /// Both.
    Both,
    /// The classic one, also where there are only native buckets.
    Classic,
}

#[derive(Debug)]
pub(super) struct ProtobufParser {
    choice: HistogramChoice,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before the length of a family.
    Length,
    /// Not all fields of the family have arrived.
    Receiving(Family),
    /// The family is complete.
    Returning(Family, Next),
}

/// What is returned next.
#[derive(Debug)]
enum Next {
    Help,
    Unit,
    Type,
    /// The next metric is at this position of the family.
    Metric(usize),
    /// The next part of a metric; the metrics after it begin at this position.
    Part(Part, usize),
}

/// A sample of a histogram or summary. The entry has the labels of the metric.
#[derive(Debug)]
struct Part {
    /// The histogram or summary in the family.
    message: Range<usize>,
    /// The position of the next field of the message.
    at: usize,
    stage: Stage,
    is_summary: bool,
    /// A bucket of `+Inf` was returned.
    seen_inf: bool,
    sum: f64,
    count: f64,
    names: Names,
    /// The length of the text, and the number of labels, that all samples share.
    shared: (usize, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Buckets,
    Sum,
    Count,
}

#[derive(Debug, Default)]
struct Family {
    len: usize,
    /// The fields before this position are known.
    at: usize,
    name: Range<usize>,
    help: Range<usize>,
    unit: Range<usize>,
    family_type: u64,
    has_metrics: bool,
    /// The fields that are not metrics.
    other_fields: usize,
    names: Names,
}

/// A family of a known writer has at most four fields that are not metrics. More of them than this are refused, since they
/// are passed over in one step.
const MAX_OTHER_FIELDS: usize = 1024;

impl ProtobufParser {
    pub(super) fn new(choice: HistogramChoice) -> Self {
        Self { choice, state: State::Length }
    }

    pub(super) fn parse_entry(
        &mut self,
        buffer: &mut Buffer,
        entry: &mut Entry,
        limits: &ParserLimits,
    ) -> Result<EntryKind, ParseError> {
        loop {
            match std::mem::replace(&mut self.state, State::Length) {
                State::Length => match varint(buffer.unread()).map_err(|what| malformed(buffer, 0, what))? {
                    Some((len, len_len)) => {
                        let limit = limits.max_family_bytes;
                        let len = usize::try_from(len)
                            .ok()
                            .filter(|len| *len <= limit)
                            .ok_or_else(|| error(buffer, 0, ParseErrorKind::TooLong { limit }))?;
                        buffer.consume(len_len);
                        self.state = State::Receiving(Family { len, ..Family::default() });
                    }
                    None if buffer.is_ended() && !buffer.unread().is_empty() => {
                        return Err(error(buffer, 0, ParseErrorKind::Truncated));
                    }
                    None => return Ok(EntryKind::Incomplete),
                },
                State::Receiving(mut family) => {
                    family.receive(buffer, limits)?;
                    if family.at < family.len {
                        if buffer.is_ended() {
                            return Err(error(buffer, buffer.unread().len(), ParseErrorKind::Truncated));
                        }
                        self.state = State::Receiving(family);
                        return Ok(EntryKind::Incomplete);
                    }
                    if family.has_metrics {
                        self.state = State::Returning(family, Next::Help);
                    } else {
                        buffer.consume(family.len);
                    }
                }
                State::Returning(mut family, next) => {
                    let data = buffer.unread().get(..family.len).unwrap_or_default();
                    let at = if let Next::Metric(at) | Next::Part(_, at) = next { at } else { 0 };
                    let returned = family.next_entry(data, next, entry, limits, self.choice);
                    match returned.map_err(|what| malformed(buffer, at, what))? {
                        Some((kind, next)) => {
                            self.state = State::Returning(family, next);
                            if kind != EntryKind::Incomplete {
                                return Ok(kind);
                            }
                        }
                        None => buffer.consume(family.len),
                    }
                }
            }
        }
    }
}

fn error(buffer: &Buffer, at: usize, kind: ParseErrorKind) -> ParseError {
    ParseError { position: Position::Byte(buffer.offset() + at as u64), kind }
}

fn malformed(buffer: &Buffer, at: usize, what: &'static str) -> ParseError {
    error(buffer, at, ParseErrorKind::Malformed(what))
}

impl Family {
    /// Finds the fields that have arrived. The buffer begins with the family.
    fn receive(&mut self, buffer: &Buffer, limits: &ParserLimits) -> Result<(), ParseError> {
        let unread = buffer.unread();
        let data = unread.get(..self.len).unwrap_or(unread);
        while self.at < self.len {
            let at = self.at;
            let Some(header) =
                header(data.get(at..).unwrap_or_default()).map_err(|what| malformed(buffer, at, what))?
            else {
                if data.len() == self.len {
                    return Err(malformed(buffer, at, "a field exceeds its message"));
                }
                return Ok(());
            };
            let from = at + header.header_len;
            if header.payload_len > self.len.saturating_sub(from) {
                return Err(malformed(buffer, at, "a field exceeds its message"));
            }
            let limit = limits.max_entry_bytes;
            if header.payload_len > limit {
                return Err(error(buffer, at, ParseErrorKind::TooLong { limit }));
            }
            let payload = from..from + header.payload_len;
            if payload.end > data.len() {
                return Ok(());
            }
            let field = Fields::new(data, at).next_field().map_err(|what| malformed(buffer, at, what))?;
            let Some(field) = field else { return Ok(()) };
            let taken = match field.number {
                1 => field.value.text().map(|_| self.name = payload.clone()),
                2 => field.value.text().map(|_| self.help = payload.clone()),
                3 => field.value.varint().map(|v| self.family_type = v),
                4 => field.value.bytes().map(|_| self.has_metrics = true),
                5 => field.value.text().map(|_| self.unit = payload.clone()),
                _ => Ok(()),
            };
            taken.map_err(|what| malformed(buffer, at, what))?;
            self.other_fields += usize::from(field.number != 4);
            if self.other_fields > MAX_OTHER_FIELDS {
                return Err(malformed(buffer, at, "a metric family has too many fields that are not metrics"));
            }
            self.at = payload.end;
        }
        if self.name.is_empty() && self.has_metrics {
            return Err(malformed(buffer, 0, "a metric family has no name"));
        }
        if self.family_type().is_none() && self.has_metrics {
            return Err(malformed(buffer, 0, "a metric family has an unknown type"));
        }
        Ok(())
    }

    fn family_type(&self) -> Option<FamilyType> {
        Some(match self.family_type {
            0 => FamilyType::Counter,
            1 => FamilyType::Gauge,
            2 => FamilyType::Summary,
            3 => FamilyType::Unknown,
            4 => FamilyType::Histogram,
            5 => FamilyType::GaugeHistogram,
            _ => return None,
        })
    }

    /// The next entry and what follows it; `Incomplete` if this step had none, `None` after the last.
    fn next_entry(
        &mut self,
        data: &[u8],
        next: Next,
        entry: &mut Entry,
        limits: &ParserLimits,
        choice: HistogramChoice,
    ) -> Wire<Option<(EntryKind, Next)>> {
        if matches!(next, Next::Help) {
            entry.clear();
            self.names = Names::write(text_at(data, &self.name)?, entry);
        }
        if !matches!(next, Next::Part(..)) {
            entry.clear_keeping_text(self.names.count.1);
            entry.name = self.names.family;
        }
        Ok(Some(match next {
            Next::Help => {
                entry.detail = entry.push_text(text_at(data, &self.help)?);
                (EntryKind::Help, if self.unit.is_empty() { Next::Type } else { Next::Unit })
            }
            Next::Unit => {
                entry.detail = entry.push_text(text_at(data, &self.unit)?);
                (EntryKind::Unit, Next::Type)
            }
            Next::Type => {
                entry.family_type = self.family_type().unwrap_or_default();
                (EntryKind::Type, Next::Metric(0))
            }
            Next::Metric(at) => {
                let mut fields = Fields::new(data, at);
                let metric = loop {
                    let Some(field) = fields.next_field()? else { return Ok(None) };
                    if field.number == 4 {
                        break field.value.bytes()?;
                    }
                };
                self.metric(metric, fields.at, entry, limits, choice)?
            }
            Next::Part(part, after) => match part.sample(data, entry)? {
                (true, Some(part)) => (EntryKind::Sample, Next::Part(part, after)),
                (true, None) => (EntryKind::Sample, Next::Metric(after)),
                (false, Some(part)) => (EntryKind::Incomplete, Next::Part(part, after)),
                (false, None) => (EntryKind::Incomplete, Next::Metric(after)),
            },
        }))
    }

    /// Reads labels, timestamp and value of a metric that ends at `end` in the family.
    fn metric(
        &self,
        metric: &[u8],
        end: usize,
        entry: &mut Entry,
        limits: &ParserLimits,
        choice: HistogramChoice,
    ) -> Wire<(EntryKind, Next)> {
        let family_type = self.family_type().unwrap_or_default();
        let wanted = match family_type {
            FamilyType::Gauge => 2,
            FamilyType::Counter => 3,
            FamilyType::Summary => 4,
            FamilyType::Histogram | FamilyType::GaugeHistogram => 7,
            _ => 5,
        };
        let mut value = None;
        let mut fields = Fields::new(metric, 0);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => {
                    let label = label(field.value.bytes()?, entry)?;
                    entry.labels.push(label);
                }
                // Prometheus takes 0 for no timestamp too: proto3 does not write it.
                6 => entry.timestamp_ms = Some(field.value.varint()? as i64).filter(|ms| *ms != 0),
                n if n == wanted => {
                    let message = field.value.bytes()?;
                    let to = end - metric.len() + fields.at;
                    value = Some((message, to - message.len()..to));
                }
                _ => {}
            }
        }
        let (message, range) = value.ok_or("a metric has no value of its family's type")?;
        if wanted == 4 || wanted == 7 {
            return self.distribution((message, range), wanted == 4, end, entry, limits, choice);
        }
        entry.value = 0.0;
        let mut fields = Fields::new(message, 0);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => entry.value = field.value.double()?,
                2 if wanted == 3 => exemplar(field.value.bytes()?, entry)?,
                3 if wanted == 3 => entry.created_ms = Some(timestamp(field.value.bytes()?)?),
                _ => {}
            }
        }
        Ok((EntryKind::Sample, Next::Metric(end)))
    }

    /// A summary or a histogram: what is not in its buckets.
    fn distribution(
        &self,
        (message, range): (&[u8], Range<usize>),
        is_summary: bool,
        end: usize,
        entry: &mut Entry,
        limits: &ParserLimits,
        choice: HistogramChoice,
    ) -> Wire<(EntryKind, Next)> {
        let (mut count, mut count_float, mut sum, mut zero_count, mut zero_count_float) = (0, 0.0, 0.0, 0, 0.0);
        let native = &mut entry.native;
        (native.schema, native.zero_threshold) = (0, 0.0);
        native.positive.clear();
        native.negative.clear();
        let mut has_buckets = false;
        let mut fields = Fields::new(message, 0);
        while let Some(field) = fields.next_field()? {
            let (native, value) = (&mut entry.native, field.value);
            match field.number {
                1 => count = value.varint()?,
                2 => sum = value.double()?,
                3 => has_buckets = true,
                4 if is_summary => entry.created_ms = Some(timestamp(value.bytes()?)?),
                _ if is_summary => {}
                4 => count_float = value.double()?,
                5 => native.schema = zigzag(value.varint()?) as i32,
                6 => native.zero_threshold = value.double()?,
                7 => zero_count = value.varint()?,
                8 => zero_count_float = value.double()?,
                9 | 12 => bucket_span(value, side(native, field.number == 12), limits)?,
                10 | 13 => deltas(value, side(native, field.number == 13), limits)?,
                11 | 14 => floats(value, side(native, field.number == 14), limits)?,
                15 => entry.created_ms = Some(timestamp(value.bytes()?)?),
                16 => {
                    limit_len(entry.exemplars.len(), limits)?;
                    exemplar(value.bytes()?, entry)?;
                }
                _ => {}
            }
        }
        let native = &mut entry.native;
        let is_float = count_float > 0.0 || zero_count_float > 0.0;
        let (integer_count, float_count) = (count, if count_float == 0.0 { count as f64 } else { count_float });
        let is_native = !is_summary
            && choice != HistogramChoice::Classic
            && (!native.positive.spans.is_empty()
                || !native.negative.spans.is_empty()
                || native.zero_threshold > 0.0
                || zero_count > 0);
        let part = Part {
            at: 0,
            message: range,
            stage: Stage::Buckets,
            is_summary,
            seen_inf: false,
            sum,
            count: float_count,
            names: self.names,
            shared: (entry.text.len(), entry.labels.len()),
        };
        if !is_native {
            return Ok((EntryKind::Incomplete, Next::Part(part, end)));
        }
        native.sum = sum;
        (native.count, native.zero_count) = if is_float {
            (HistogramCount::Float(count_float), HistogramCount::Float(zero_count_float))
        } else {
            (HistogramCount::Integer(integer_count), HistogramCount::Integer(zero_count))
        };
        for side in [&native.positive, &native.negative] {
            let buckets = if is_float { side.floats.len() } else { side.deltas.len() };
            if side.spans.iter().map(|s| u64::from(s.length)).sum::<u64>() != buckets as u64 {
                return Err("the spans of a native histogram do not match its buckets");
            }
        }
        let next =
            if choice == HistogramChoice::Both && has_buckets { Next::Part(part, end) } else { Next::Metric(end) };
        Ok((EntryKind::NativeHistogram, next))
    }
}

impl Part {
    /// The next sample: whether there is one, and what is left of the metric.
    fn sample(mut self, data: &[u8], entry: &mut Entry) -> Wire<(bool, Option<Self>)> {
        entry.text.truncate(self.shared.0);
        entry.labels.truncate(self.shared.1);
        entry.clear_exemplars();
        match self.stage {
            Stage::Buckets => {
                let mut fields = Fields::new(data.get(self.message.clone()).unwrap_or_default(), self.at);
                let Some(field) = fields.next_field()? else {
                    self.stage = Stage::Sum;
                    if self.is_summary || self.seen_inf {
                        return Ok((false, Some(self)));
                    }
                    self.bucket(f64::INFINITY, self.count, entry);
                    return Ok((true, Some(self)));
                };
                self.at = fields.at;
                if field.number != 3 {
                    return Ok((false, Some(self)));
                }
                let (mut bound, mut value, mut value_float) = (0.0, 0.0, 0.0);
                let mut fields = Fields::new(field.value.bytes()?, 0);
                while let Some(field) = fields.next_field()? {
                    match (field.number, self.is_summary) {
                        (1, true) | (2, false) => bound = field.value.double()?,
                        (2, true) => value = field.value.double()?,
                        (1, false) => value = field.value.varint()? as f64,
                        (4, false) => value_float = field.value.double()?,
                        (3, false) => {
                            entry.clear_exemplars();
                            exemplar(field.value.bytes()?, entry)?;
                        }
                        _ => {}
                    }
                }
                self.seen_inf |= bound == f64::INFINITY;
                self.bucket(bound, if value_float == 0.0 { value } else { value_float }, entry);
                Ok((true, Some(self)))
            }
            Stage::Sum => {
                (entry.name, entry.value) = (self.names.sum, self.sum);
                self.stage = Stage::Count;
                Ok((true, Some(self)))
            }
            Stage::Count => {
                (entry.name, entry.value) = (self.names.count, canonical(self.count));
                Ok((true, None))
            }
        }
    }

    fn bucket(&self, bound: f64, value: f64, entry: &mut Entry) {
        entry.value = canonical(value);
        entry.name = if self.is_summary { self.names.family } else { self.names.bucket };
        let name = entry.push_text(if self.is_summary { "quantile" } else { "le" });
        let mut number = Vec::new();
        write_float(&mut number, bound, TextDialect::Prometheus);
        let value = entry.push_text(std::str::from_utf8(&number).unwrap_or_default());
        entry.labels.push(LabelSpan { name, value });
    }
}

/// The names of a family's samples. They begin the text of each entry of the family, so that no sample copies its name.
#[derive(Clone, Copy, Default, Debug)]
struct Names {
    family: TextSpan,
    bucket: TextSpan,
    sum: TextSpan,
    count: TextSpan,
}

impl Names {
    fn write(name: &str, entry: &mut Entry) -> Self {
        let mut push = |suffix: &str| {
            let (from, _) = entry.push_text(name);
            (from, entry.push_text(suffix).1)
        };
        Self { family: push(""), bucket: push("_bucket"), sum: push("_sum"), count: push("_count") }
    }
}
