//! Where entries begin and end in the bytes of a file.
//!
//! Pure: it is given bytes and returns lengths.

use otelcore_go_regexp::GoRegexp;
use otelcore_go_text::encodings::Encoding;

use crate::config::{FileLogConfig, MultilineConfig};

/// The longest line of a header.
const MAX_HEADER_LINE: usize = 64 << 10;

/// The next entry in some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Split {
    /// An entry: how many bytes it takes, and which of them are its text.
    Entry { advance: usize, start: usize, end: usize },
    /// More bytes are needed.
    More,
}

fn entry(advance: usize, start: usize, end: usize) -> Split {
    Split::Entry { advance, start, end }
}

/// How bytes of a character set map to ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Units {
    /// Characters of ASCII are one byte.
    Bytes,
    /// Two bytes, the lower one first.
    LittleEndian,
    /// Two bytes, the higher one first.
    BigEndian,
}

/// Splits a file into entries.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    rule: Rule,
    encoding: Encoding,
    units: Units,
    max_log_size: usize,
    truncates: bool,
    keeps_leading: bool,
    keeps_trailing: bool,
}

#[derive(Clone, Debug)]
enum Rule {
    Lines,
    Start {
        pattern: Box<GoRegexp>,
        omits: bool,
    },
    End {
        pattern: Box<GoRegexp>,
        omits: bool,
    },
    /// Everything, in parts of the largest size.
    Nothing,
}

impl Splitter {
    /// # Errors
    /// A pattern or the encoding is not valid.
    pub(crate) fn new(config: &FileLogConfig) -> Result<Self, String> {
        let encoding = Encoding::of(config.encoding.as_bytes())?;
        let MultilineConfig { line_start_pattern: start, line_end_pattern: end, omit_pattern } = &config.multiline;
        let compile = |pattern: &str| {
            GoRegexp::compile(&format!("(?m){pattern}")).map(Box::new).map_err(|error| error.to_string())
        };
        let is_nop = config.encoding.eq_ignore_ascii_case("nop");
        let rule = if is_nop {
            Rule::Nothing
        } else if !start.is_empty() {
            Rule::Start { pattern: compile(start)?, omits: *omit_pattern }
        } else if !end.is_empty() {
            Rule::End { pattern: compile(end)?, omits: *omit_pattern }
        } else {
            Rule::Lines
        };
        Ok(Self {
            rule,
            units: units(&encoding),
            encoding,
            max_log_size: config.max_log_size.as_usize().max(1),
            truncates: config.max_log_size_behavior == "truncate",
            keeps_leading: config.preserve_leading_whitespaces || is_nop,
            keeps_trailing: config.preserve_trailing_whitespaces || is_nop,
        })
    }

    /// Splits lines, for the header of a file, in which the largest size of entries does not apply.
    pub(crate) fn lines_of(&self) -> Self {
        Self {
            rule: Rule::Lines,
            keeps_leading: true,
            keeps_trailing: true,
            truncates: false,
            max_log_size: self.max_log_size.max(MAX_HEADER_LINE),
            ..self.clone()
        }
    }

    /// The text of an entry's bytes.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Vec<u8> {
        self.encoding.decode(bytes)
    }

    /// The longest entry.
    pub(crate) fn max_log_size(&self) -> usize {
        self.max_log_size
    }

    /// The next entry. `skips_rest`: the rest of an entry that was cut comes first, and is left out; it is set where an entry
    /// is cut. Returns an entry without text for what is left out.
    pub(crate) fn next(&self, data: &[u8], is_at_end: bool, skips_rest: &mut bool) -> Split {
        if data.is_empty() {
            return Split::More;
        }
        let found = self.find(data, is_at_end);
        if *skips_rest {
            return match found {
                Split::Entry { advance, .. } => {
                    *skips_rest = false;
                    entry(advance, 0, 0)
                }
                Split::More if data.len() >= self.max_log_size => entry(data.len(), 0, 0),
                Split::More => Split::More,
            };
        }
        match found {
            Split::More if data.len() >= self.max_log_size => {
                *skips_rest = self.truncates;
                self.trimmed(data, entry(self.max_log_size, 0, self.max_log_size))
            }
            Split::More => Split::More,
            Split::Entry { advance, start, end } if end - start > self.max_log_size => {
                let advance = if self.truncates { advance } else { start + self.max_log_size };
                self.trimmed(data, entry(advance, start, start + self.max_log_size))
            }
            found => self.trimmed(data, found),
        }
    }

    /// The rest of a file as an entry.
    pub(crate) fn rest(&self, data: &[u8]) -> Split {
        self.trimmed(data, entry(data.len(), 0, data.len()))
    }

    fn trimmed(&self, data: &[u8], found: Split) -> Split {
        let Split::Entry { advance, mut start, mut end } = found else { return found };
        let is_space = |at: usize| data.get(at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        while !self.keeps_trailing && end > start && is_space(end - 1) {
            end -= 1;
        }
        while !self.keeps_leading && start < end && is_space(start) {
            start += 1;
        }
        entry(advance, start, end)
    }

    fn find(&self, data: &[u8], is_at_end: bool) -> Split {
        match &self.rule {
            Rule::Lines => self.line(data),
            Rule::Nothing if data.len() >= self.max_log_size => entry(self.max_log_size, 0, self.max_log_size),
            Rule::Nothing if is_at_end => entry(data.len(), 0, data.len()),
            Rule::Nothing => Split::More,
            Rule::Start { pattern, omits } => self.by_start(data, pattern, *omits),
            Rule::End { pattern, omits } => self.by_end(data, pattern, *omits, is_at_end),
        }
    }

    fn line(&self, data: &[u8]) -> Split {
        let width = if self.units == Units::Bytes { 1 } else { 2 };
        let Some(at) = self.newline(data) else { return Split::More };
        let end = match at.checked_sub(width) {
            Some(before) if self.is_unit(data, before, b'\r') => before,
            _ => at,
        };
        entry(at + width, 0, end)
    }

    /// Whether there is a character of ASCII at an offset.
    fn is_unit(&self, data: &[u8], at: usize, c: u8) -> bool {
        match self.units {
            Units::Bytes => data.get(at) == Some(&c),
            Units::LittleEndian => data.get(at..at + 2) == Some(&[c, 0]),
            Units::BigEndian => data.get(at..at + 2) == Some(&[0, c]),
        }
    }

    fn newline(&self, data: &[u8]) -> Option<usize> {
        match self.units {
            Units::Bytes => memchr::memchr(b'\n', data),
            _ => memchr::memchr_iter(b'\n', data)
                .map(|at| if self.units == Units::BigEndian { at.saturating_sub(1) } else { at })
                .find(|at| at % 2 == 0 && self.is_unit(data, *at, b'\n')),
        }
    }

    /// The first matches of a pattern, in bytes of the file; at most three.
    fn matches(&self, data: &[u8], pattern: &GoRegexp, most: usize) -> Vec<(usize, usize)> {
        let decoded;
        let text = match self.encoding {
            Encoding::Utf8 | Encoding::Raw => data,
            _ => {
                decoded = self.encoding.decode(data);
                &decoded[..]
            }
        };
        let mut found = Vec::with_capacity(most);
        let _ = pattern.find_all(text, |groups| {
            if let Some(Some(whole)) = groups.first() {
                found.push((whole.start, whole.end));
            }
            if found.len() >= most { Err(()) } else { Ok(()) }
        });
        if std::ptr::eq(text, data) {
            return found;
        }
        let original = |at: usize| self.original_length(text.get(..at).unwrap_or_default(), data);
        found.into_iter().map(|(start, end)| (original(start), original(end))).collect()
    }

    /// How many bytes of `data` decode to a text.
    fn original_length(&self, text: &[u8], data: &[u8]) -> usize {
        let text = String::from_utf8_lossy(text);
        match (&self.encoding, self.units) {
            (_, Units::LittleEndian | Units::BigEndian) => text.encode_utf16().count() * 2,
            (Encoding::MultiByte(encoding), _) => {
                // A replacement character stands for one byte that fits nowhere.
                let parts = text.split('\u{fffd}');
                let length = parts.map(|part| encoding.encode(part).0.len() + 1).sum::<usize>() - 1;
                length.min(data.len())
            }
            _ => text.chars().count(),
        }
    }

    fn by_start(&self, data: &[u8], pattern: &GoRegexp, omits: bool) -> Split {
        let found = self.matches(data, pattern, 3);
        let Some((start, end)) = found.first().copied() else { return Split::More };
        if start > 0 {
            // What is before the first begin is an entry, so that nothing is lost.
            return entry(start, 0, start);
        }
        if end >= data.len() {
            return Split::More;
        }
        let next = found.iter().skip(1).map(|(start, _)| *start).find(|start| *start > end);
        match next {
            None => Split::More,
            Some(next) => entry(next, if omits { end } else { 0 }, next),
        }
    }

    fn by_end(&self, data: &[u8], pattern: &GoRegexp, omits: bool, is_at_end: bool) -> Split {
        let Some((start, end)) = self.matches(data, pattern, 1).first().copied() else { return Split::More };
        // The match could go on in bytes that are not read yet.
        if end + 1 == data.len() && !is_at_end {
            return Split::More;
        }
        if end == 0 {
            return Split::More;
        }
        entry(end, 0, if omits { start } else { end })
    }
}

fn units(encoding: &Encoding) -> Units {
    match encoding {
        Encoding::Utf16 { is_big_endian: true, .. } => Units::BigEndian,
        Encoding::Utf16 { .. } => Units::LittleEndian,
        _ => Units::Bytes,
    }
}
