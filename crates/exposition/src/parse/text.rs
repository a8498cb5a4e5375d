//! The two text formats, line by line.
//!
//! What Prometheus reads is read the same, except: a line feed within quotes is an error in both formats (the formats
//! want it escaped), as are a NUL byte outside quotes and an empty name; timestamps of text 0.0.4 may be negative, and
//! exemplars' labels are unescaped. The parser does not check that a family's metadata precede its samples.

use super::buffer::Buffer;
use super::error::{ParseError, ParseErrorKind, Position};
use super::event::{Entry, EntryKind, ExemplarSpan, FamilyType, LabelSpan, TextSpan};
use super::{ParserLimits, text_number};

#[derive(Debug)]
pub(super) struct TextParser {
    is_open_metrics: bool,
    /// The number of the line that is parsed next, from 1.
    line: u64,
    /// `# EOF` was read.
    seen_eof: bool,
}

/// What is wrong with a line, and before which of its bytes.
#[derive(Debug)]
struct LineError {
    at: usize,
    kind: ParseErrorKind,
}

enum Line {
    Entry(EntryKind),
    /// A blank line or a comment.
    Nothing,
    Eof,
}

impl TextParser {
    pub(super) fn new(is_open_metrics: bool) -> Self {
        Self { is_open_metrics, line: 1, seen_eof: false }
    }

    /// The next line that is not blank or a comment.
    pub(super) fn parse_entry(
        &mut self,
        buffer: &mut Buffer,
        entry: &mut Entry,
        limits: &ParserLimits,
    ) -> Result<EntryKind, ParseError> {
        loop {
            let unread = buffer.unread().len();
            if self.seen_eof {
                return if unread == 0 {
                    Ok(EntryKind::Incomplete)
                } else {
                    Err(self.error(0, ParseErrorKind::DataAfterEof))
                };
            }
            let (len, line_feed) = match buffer.line_len() {
                Some(len) => (len, 1),
                None if unread > limits.max_entry_bytes => (unread, 0),
                None if !buffer.is_ended() => return Ok(EntryKind::Incomplete),
                None if unread > 0 => (unread, 0),
                None if self.is_open_metrics => return Err(self.error(0, ParseErrorKind::MissingEof)),
                None => return Ok(EntryKind::Incomplete),
            };
            if len > limits.max_entry_bytes {
                let limit = limits.max_entry_bytes;
                return Err(self.error(limit, ParseErrorKind::TooLong { limit }));
            }
            let line = buffer.unread().get(..len).unwrap_or_default();
            let parsed = self.parse_line(line, entry).map_err(|e| self.error(e.at, e.kind))?;
            if self.is_open_metrics && line_feed == 0 && !matches!(parsed, Line::Eof) {
                return Err(self.error(len, ParseErrorKind::MissingEof));
            }
            buffer.consume(len + line_feed);
            self.line += line_feed as u64;
            match parsed {
                Line::Entry(kind) => return Ok(kind),
                Line::Nothing => {}
                Line::Eof => self.seen_eof = true,
            }
        }
    }

    fn error(&self, at: usize, kind: ParseErrorKind) -> ParseError {
        ParseError { position: Position::Line { line: self.line, column: at as u64 + 1 }, kind }
    }

    fn parse_line(&self, line: &[u8], entry: &mut Entry) -> Result<Line, LineError> {
        if !self.is_open_metrics && is_skipped(line) {
            return Ok(Line::Nothing);
        }
        let text = std::str::from_utf8(line)
            .map_err(|e| LineError { at: e.valid_up_to(), kind: ParseErrorKind::InvalidUtf8 })?;
        let mut cursor = Cursor { line: text, at: 0, is_open_metrics: self.is_open_metrics };
        entry.clear();
        cursor.skip_blanks();
        if cursor.peek() == Some(b'#') {
            return cursor.metadata(entry);
        }
        cursor.sample(entry)?;
        Ok(Line::Entry(EntryKind::Sample))
    }
}

/// Whether a line of text 0.0.4 is blank or a comment. All comments but HELP and TYPE with their names are.
fn is_skipped(line: &[u8]) -> bool {
    let line = trim_blanks(line);
    let Some(comment) = line.strip_prefix(b"#") else { return line.is_empty() };
    let keyword = trim_blanks(comment);
    let is_keyword =
        |word: &[u8]| keyword.strip_prefix(word).is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'\t')));
    keyword.len() == comment.len() || !(is_keyword(b"HELP") || is_keyword(b"TYPE"))
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

fn trim_blanks(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}

fn is_name_byte(b: u8, is_first: bool, with_colon: bool) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || (with_colon && b == b':') || (!is_first && b.is_ascii_digit())
}

/// A position in a line.
struct Cursor<'a> {
    line: &'a str,
    at: usize,
    is_open_metrics: bool,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &'static str) -> LineError {
        LineError { at: self.at, kind: ParseErrorKind::Unexpected { expected, found: self.rest().chars().next() } }
    }

    fn take(&mut self, b: u8) -> bool {
        let found = self.peek() == Some(b);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &'static str, expected: &'static str) -> Result<(), LineError> {
        if !self.rest().starts_with(text) {
            return Err(self.unexpected(expected));
        }
        self.at += text.len();
        Ok(())
    }

    /// Text 0.0.4 allows blanks between all parts of a line, OpenMetrics none.
    fn skip_blanks(&mut self) {
        if !self.is_open_metrics {
            while self.peek().is_some_and(is_blank) {
                self.at += 1;
            }
        }
    }

    /// The blanks before a number: any number of them (text 0.0.4), exactly one space (OpenMetrics).
    fn separator(&mut self) -> Result<(), LineError> {
        if self.is_open_metrics {
            return self.expect(" ", "a space");
        }
        self.skip_blanks();
        Ok(())
    }

    /// Text until a blank or the end of the line.
    fn token(&mut self) -> &'a str {
        let (rest, with_tab) = (self.rest(), !self.is_open_metrics);
        let len = rest.bytes().position(|b| b == b' ' || (with_tab && b == b'\t')).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// A name without quotes; `None` if there is none.
    fn plain_name(&mut self, with_colon: bool) -> Option<&'a str> {
        let rest = self.rest();
        let len =
            rest.bytes().enumerate().position(|(i, b)| !is_name_byte(b, i == 0, with_colon)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).filter(|name| !name.is_empty())
    }

    /// A text in quotes, appended unescaped; the cursor is at its opening quote.
    fn quoted(&mut self, entry: &mut Entry) -> Result<TextSpan, LineError> {
        self.at += 1;
        let from = entry.text.len();
        loop {
            let rest = self.rest();
            let Some(len) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) else {
                self.at = self.line.len();
                return Err(self.unexpected("a closing quote"));
            };
            entry.text.push_str(rest.get(..len).unwrap_or_default());
            self.at += len;
            if self.take(b'"') {
                return Ok((from, entry.text.len()));
            }
            self.at += 1;
            match self.peek() {
                Some(b'n') => entry.text.push('\n'),
                Some(b @ (b'"' | b'\\')) => entry.text.push(char::from(b)),
                Some(_) => {
                    // An unknown escape is unchanged.
                    entry.text.push('\\');
                    continue;
                }
                None => return Err(self.unexpected("an escaped character")),
            }
            self.at += 1;
        }
    }

    /// HELP, TYPE, UNIT or `# EOF`. Comments of text 0.0.4 do not come here.
    fn metadata(mut self, entry: &mut Entry) -> Result<Line, LineError> {
        self.expect("#", "a comment")?;
        self.separator()?;
        if self.is_open_metrics && self.rest() == "EOF" {
            return Ok(Line::Eof);
        }
        let keyword_at = self.at;
        let kind = match self.token() {
            "HELP" => EntryKind::Help,
            "TYPE" => EntryKind::Type,
            "UNIT" if self.is_open_metrics => EntryKind::Unit,
            _ => {
                self.at = keyword_at;
                return Err(self.unexpected("HELP, TYPE, UNIT or EOF"));
            }
        };
        self.separator()?;
        let name_at = self.at;
        entry.name = if self.peek() == Some(b'"') {
            self.quoted(entry)?
        } else {
            let name = self.plain_name(true).ok_or_else(|| self.unexpected("a metric name"))?;
            entry.push_text(name)
        };
        if entry.name.0 == entry.name.1 {
            return Err(LineError { at: name_at, kind: ParseErrorKind::MissingName });
        }
        match self.peek() {
            Some(b' ') => self.at += 1,
            Some(b'\t') if !self.is_open_metrics => self.at += 1,
            None if !self.is_open_metrics => {}
            _ => return Err(self.unexpected("a space")),
        }
        let detail = self.rest();
        match kind {
            EntryKind::Type => {
                entry.family_type = family_type(detail, self.is_open_metrics)
                    .ok_or_else(|| LineError { at: self.at, kind: ParseErrorKind::InvalidType(shown(detail)) })?;
            }
            EntryKind::Unit => {
                let name = entry.text.get(entry.name.0..entry.name.1).unwrap_or_default();
                let is_suffix = name.strip_suffix(detail).is_some_and(|stem| stem.ends_with('_'));
                if !detail.is_empty() && !is_suffix {
                    return Err(LineError { at: self.at, kind: ParseErrorKind::UnitNotInName(shown(detail)) });
                }
                entry.detail = entry.push_text(detail);
            }
            _ => entry.detail = push_help(entry, detail, self.is_open_metrics),
        }
        Ok(Line::Entry(kind))
    }

    fn sample(mut self, entry: &mut Entry) -> Result<(), LineError> {
        if let Some(name) = self.plain_name(true) {
            entry.name = entry.push_text(name);
            self.skip_blanks();
        } else if self.peek() != Some(b'{') {
            return Err(self.unexpected("a metric name"));
        }
        if self.take(b'{') {
            self.labels(entry, false)?;
            self.skip_blanks();
        }
        if entry.name.0 == entry.name.1 {
            return Err(LineError { at: self.at, kind: ParseErrorKind::MissingName });
        }
        self.separator()?;
        entry.value = self.number("a value")?;
        if self.is_open_metrics {
            return self.open_metrics_suffix(entry);
        }
        self.skip_blanks();
        if self.peek().is_some() {
            let at = self.at;
            let text = self.token();
            let parsed = if text.starts_with('+') { None } else { text.parse().ok() };
            entry.timestamp_ms =
                Some(parsed.ok_or_else(|| LineError { at, kind: ParseErrorKind::InvalidTimestamp(shown(text)) })?);
            self.skip_blanks();
        }
        if self.peek().is_some() {
            return Err(self.unexpected("the end of the line"));
        }
        Ok(())
    }

    /// Timestamp and exemplar, both optional.
    fn open_metrics_suffix(&mut self, entry: &mut Entry) -> Result<(), LineError> {
        if self.peek().is_some() && !self.rest().starts_with(" # {") {
            entry.timestamp_ms = Some(self.seconds()?);
        }
        if self.peek().is_some() {
            self.expect(" # {", "an exemplar or the end of the line")?;
            self.labels(entry, true)?;
            self.separator()?;
            let value = self.number("the value of the exemplar")?;
            let timestamp_ms = if self.peek().is_some() { Some(self.seconds()?) } else { None };
            entry.exemplars.push(ExemplarSpan { labels: (0, entry.exemplar_labels.len()), value, timestamp_ms });
        }
        if self.peek().is_some() {
            return Err(self.unexpected("the end of the line"));
        }
        Ok(())
    }

    fn number(&mut self, expected: &'static str) -> Result<f64, LineError> {
        let at = self.at;
        let text = self.token();
        if text.is_empty() {
            return Err(self.unexpected(expected));
        }
        text_number(text).ok_or_else(|| LineError { at, kind: ParseErrorKind::InvalidNumber(shown(text)) })
    }

    fn seconds(&mut self) -> Result<i64, LineError> {
        self.separator()?;
        let at = self.at;
        let text = self.token();
        // The conversion ends at the limits of i64.
        text_number(text)
            .filter(|v| v.is_finite())
            .map(|v| (v * 1000.0) as i64)
            .ok_or_else(|| LineError { at, kind: ParseErrorKind::InvalidTimestamp(shown(text)) })
    }

    /// The labels after an opening brace, to the closing one. Those of a sample may include the quoted name of the metric.
    fn labels(&mut self, entry: &mut Entry, of_exemplar: bool) -> Result<(), LineError> {
        loop {
            self.skip_blanks();
            if self.take(b'}') {
                return Ok(());
            }
            let at = self.at;
            let is_quoted = self.peek() == Some(b'"');
            let name = if is_quoted {
                self.quoted(entry)?
            } else {
                let name = self.plain_name(false).ok_or_else(|| self.unexpected("a label name"))?;
                entry.push_text(name)
            };
            self.skip_blanks();
            if is_quoted && !of_exemplar && matches!(self.peek(), Some(b',' | b'}')) {
                if entry.name.0 != entry.name.1 {
                    return Err(LineError { at, kind: ParseErrorKind::RepeatedName });
                }
                if name.0 == name.1 {
                    return Err(LineError { at, kind: ParseErrorKind::MissingName });
                }
                entry.name = name;
            } else {
                if name.0 == name.1 {
                    return Err(LineError {
                        at,
                        kind: ParseErrorKind::Unexpected { expected: "a label name", found: Some('"') },
                    });
                }
                if !self.take(b'=') {
                    return Err(self.unexpected("an equals sign"));
                }
                self.skip_blanks();
                if self.peek() != Some(b'"') {
                    return Err(self.unexpected("a label value in quotes"));
                }
                let value = self.quoted(entry)?;
                let labels = if of_exemplar { &mut entry.exemplar_labels } else { &mut entry.labels };
                labels.push(LabelSpan { name, value });
                self.skip_blanks();
            }
            // Prometheus does not insist on commas in text 0.0.4.
            if !self.take(b',') && self.is_open_metrics && self.peek() != Some(b'}') {
                return Err(self.unexpected("a comma or a closing brace"));
            }
        }
    }
}

fn family_type(text: &str, is_open_metrics: bool) -> Option<FamilyType> {
    Some(match text {
        "counter" => FamilyType::Counter,
        "gauge" => FamilyType::Gauge,
        "histogram" => FamilyType::Histogram,
        "summary" => FamilyType::Summary,
        "untyped" if !is_open_metrics => FamilyType::Unknown,
        "unknown" if is_open_metrics => FamilyType::Unknown,
        "gaugehistogram" if is_open_metrics => FamilyType::GaugeHistogram,
        "info" if is_open_metrics => FamilyType::Info,
        "stateset" if is_open_metrics => FamilyType::StateSet,
        _ => return None,
    })
}

/// Appends a help text unescaped. A text of nothing but blanks is empty in text 0.0.4.
fn push_help(entry: &mut Entry, mut help: &str, is_open_metrics: bool) -> TextSpan {
    if !is_open_metrics && help.bytes().all(is_blank) {
        help = "";
    }
    let from = entry.text.len();
    while let Some((plain, escaped)) = help.split_once('\\') {
        entry.text.push_str(plain);
        let unescaped = match escaped.as_bytes().first() {
            Some(b'n') => Some('\n'),
            Some(b'\\') => Some('\\'),
            Some(b'"') if is_open_metrics => Some('"'),
            _ => None,
        };
        entry.text.push(unescaped.unwrap_or('\\'));
        help = if unescaped.is_some() { escaped.get(1..).unwrap_or_default() } else { escaped };
    }
    entry.text.push_str(help);
    (from, entry.text.len())
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
