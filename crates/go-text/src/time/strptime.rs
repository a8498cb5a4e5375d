//! Times by formats of strptime, such as `%Y-%m-%d %H:%M:%S`, by way of Go's layouts.

use std::fmt;

use super::calendar::{DateTime, seconds_since_epoch};
use super::layout;
use super::locale::Locale;
use super::location::Location;
use super::parse::{ParseError, parse};
use super::{Time, Zone};

/// A directive, and what stands for it in a layout. The directive and the layout's text are the same for writing
/// and, except for the ones below, for reading.
const DIRECTIVES: [(char, &str); 39] = [
    ('Y', "2006"),
    ('y', "06"),
    ('m', "01"),
    ('o', "_1"),
    ('q', "1"),
    ('b', "Jan"),
    ('h', "Jan"),
    ('B', "January"),
    ('d', "02"),
    ('e', "_2"),
    ('g', "2"),
    ('a', "Mon"),
    ('A', "Monday"),
    ('H', "15"),
    ('l', "3"),
    ('I', "03"),
    ('p', "PM"),
    ('P', "pm"),
    ('M', "04"),
    ('S', "05"),
    ('L', "999"),
    ('f', "999999"),
    ('s', "999999999"),
    ('Z', "MST"),
    ('z', "Z0700"),
    ('w', "-070000"),
    ('i', "-07"),
    ('j', "-07:00"),
    ('k', "-07:00:00"),
    ('D', "01/02/2006"),
    ('x', "01/02/2006"),
    ('F', "2006-01-02"),
    ('T', "15:04:05"),
    ('X', "15:04:05"),
    ('r', "03:04:05 pm"),
    ('R', "15:04"),
    ('n', "\n"),
    ('t', "\t"),
    ('%', "%"),
];

/// `%c`, of two words.
const DATE_AND_TIME: &str = "Mon Jan 02 15:04:05 2006";

/// Directives that read more than they write: their alternatives, in elements. An element that does not match because
/// of spaces in front of a number is tried with those spaces.
const READING: [(char, &[&[&str]]); 17] = [
    ('m', &[&["1"]]),
    ('o', &[&["1"]]),
    ('q', &[&["1"]]),
    ('d', &[&["2"]]),
    ('e', &[&["2"]]),
    ('g', &[&["2"]]),
    ('I', &[&["3"]]),
    ('M', &[&["4"]]),
    ('S', &[&["5"]]),
    ('D', &[&["1", "/", "2", "/", "2006"], &["1", "/", "2", "/", "06"]]),
    ('x', &[&["1", "/", "2", "/", "2006"], &["1", "/", "2", "/", "06"]]),
    ('F', &[&["2006", "-", "1", "-", "2"]]),
    ('T', &[&["15", ":", "4", ":", "5"]]),
    ('X', &[&["15", ":", "4", ":", "5"]]),
    ('r', &[&["3", ":", "4", ":", "5", " ", "pm"]]),
    ('R', &[&["15", ":", "4"]]),
    ('c', &[&["Mon", " ", "Jan", " ", "2", " ", "15", ":", "4", ":", "5", " ", "2006"]]),
];

fn written(directive: char) -> Option<&'static str> {
    if directive == 'c' {
        return Some(DATE_AND_TIME);
    }
    DIRECTIVES.iter().find(|(found, _)| *found == directive).map(|(_, text)| *text)
}

/// Why a text is not a time of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeError {
    /// It does not match.
    Parse(String),
    /// It has the abbreviation of a zone that is not known.
    UnknownZone(String),
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(message) => f.write_str(message),
            Self::UnknownZone(name) => write!(f, "failed to load location {name}: unknown time zone {name}"),
        }
    }
}

/// One part of a format: text as it is, or a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Directive(char),
}

/// A format, checked.
#[derive(Clone, Debug)]
pub struct Strptime {
    format: String,
    parts: Vec<Part>,
    /// The layout that writes times of this format.
    layout: String,
}

impl Strptime {
    /// Checks a format.
    ///
    /// # Errors
    /// The sentence of the Go collector: an unknown directive, a digit, or a fraction without a separator.
    pub fn new(format: &str) -> Result<Self, String> {
        if format.contains(|c: char| c.is_ascii_digit()) {
            return Err("format string should not contain decimals".to_owned());
        }
        let mut chars = format.chars().peekable();
        let (mut parts, mut text, mut unknown) = (Vec::new(), String::new(), Vec::new());
        let mut layout = String::new();
        while let Some(c) = chars.next() {
            // A directive is any character but the end of a line.
            let directive = if c == '%' { chars.next_if(|c| *c != '\n') } else { None };
            let Some(directive) = directive else {
                text.push(c);
                layout.push(c);
                continue;
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            match written(directive) {
                Some(written) => layout.push_str(written),
                None => unknown.push(format!("unsupported ctimefmt.toNative() directive: %{directive}")),
            }
            parts.push(Part::Directive(directive));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if let Some(fraction) = fraction_without_separator(format) {
            return Err(format!(
                "invalid fractional seconds directive: '{fraction}'. must be preceded with '.' or ','"
            ));
        }
        if !unknown.is_empty() {
            return Err(format!("invalid strptime format: [{}]", unknown.join(" ")));
        }
        if parts.len() > MAX_PARTS {
            return Err(format!("invalid strptime format: it has more than {MAX_PARTS} parts"));
        }
        Ok(Self { format: format.to_owned(), parts, layout })
    }

    /// Appends a time in this format.
    pub fn write(&self, time: &Time, out: &mut Vec<u8>) {
        layout::format(&self.layout, time, out);
    }

    /// Reads a time. One without a zone is one of `location`; one without a year is the last one, or of the next seven
    /// days.
    ///
    /// # Errors
    /// The text does not match the format.
    pub fn read(
        &self,
        value: &[u8],
        location: &Location,
        locale: Option<&Locale>,
        now: &Time,
    ) -> Result<Time, TimeError> {
        let layout = String::with_capacity(self.layout.len() + 8);
        let mut reading = Reading { format: self, value, location, locale, layout, attempts_left: MAX_ATTEMPTS };
        reading.read_from(0).map(|time| with_year(time, now)).map_err(|error| match error {
            ReadError::Parse(mut error) => {
                error.layout.clone_from(&self.format);
                TimeError::Parse(error.to_string())
            }
            ReadError::UnknownZone(name) => TimeError::UnknownZone(name),
        })
    }
}

/// Layouts that are tried for one text. The Go collector has no limit, and for some texts with spaces no end.
const MAX_ATTEMPTS: u32 = 64;

/// Directives in a format, each of which is a level of calls.
const MAX_PARTS: usize = 100;

/// One text that is being read.
struct Reading<'r> {
    format: &'r Strptime,
    value: &'r [u8],
    location: &'r Location,
    locale: Option<&'r Locale>,
    /// The layout that is being tried, as far as it is known.
    layout: String,
    attempts_left: u32,
}

impl Reading<'_> {
    /// Tries the parts from `index` on behind the layout. Each level is one directive of the format.
    fn read_from(&mut self, index: usize) -> Result<Time, ReadError> {
        let len = self.layout.len();
        let mut index = index;
        while let Some(Part::Text(text)) = self.format.parts.get(index) {
            self.layout.push_str(text);
            index += 1;
        }
        let result = match self.format.parts.get(index) {
            Some(Part::Directive(directive)) => self.read_directive(*directive, index),
            _ => {
                self.attempts_left = self.attempts_left.saturating_sub(1);
                match self.locale {
                    None => read_by_layout(&self.layout, self.value, self.location),
                    Some(locale) => {
                        let translated = locale.translate(&self.layout, self.value);
                        let translated =
                            translated.map_err(|failed| ReadError::Parse(Box::new(failed.into_parse_error())))?;
                        read_by_layout(&self.layout, &translated, self.location)
                    }
                }
            }
        };
        self.layout.truncate(len);
        result
    }

    fn read_directive(&mut self, directive: char, index: usize) -> Result<Time, ReadError> {
        let written = [written(directive).unwrap_or_default()];
        let only_written: [&[&str]; 1] = [&written];
        let reading = READING.iter().find(|(found, _)| *found == directive);
        let alternatives: &[&[&str]] = match directive {
            'z' => &[&["Z0700"], &["Z07:00"], &["Z07"]],
            _ => reading.map_or(&only_written[..], |(_, alternatives)| *alternatives),
        };
        let mut result = Err(ReadError::Parse(Box::default()));
        for elements in alternatives {
            let (found, is_about_elements) = self.read_elements(directive, elements, index);
            result = found;
            if !is_about_elements || self.attempts_left == 0 {
                break;
            }
        }
        result
    }

    /// Tries elements, and again with the spaces that are found in front of a number. Also returns whether one of the
    /// elements did not match.
    fn read_elements(&mut self, directive: char, elements: &[&str], index: usize) -> (Result<Time, ReadError>, bool) {
        let mut elements: Vec<String> = elements.iter().map(|element| (*element).to_owned()).collect();
        let len = self.layout.len();
        loop {
            elements.iter().for_each(|element| self.layout.push_str(element));
            let result = self.read_from(index + 1);
            self.layout.truncate(len);
            let mut error = match result {
                Err(ReadError::Parse(error)) => error,
                result => return (result, false),
            };
            let failing = elements.iter().position(|element| *element == error.layout_element);
            let Some(failing) = failing else { return (Err(ReadError::Parse(error)), false) };
            error.layout_element = format!("%{directive}");
            let is_number =
                elements.get(failing).is_some_and(|e| e.starts_with(|c: char| c.is_ascii_digit() || c == 'Z'));
            let is_space = |b: &&u8| matches!(b, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ');
            let spaces: String = error.value_element.iter().take_while(is_space).map(|b| char::from(*b)).collect();
            if !is_number || spaces.is_empty() || self.attempts_left == 0 {
                return (Err(ReadError::Parse(error)), true);
            }
            elements.insert(failing, spaces);
        }
    }
}

enum ReadError {
    Parse(Box<ParseError>),
    UnknownZone(String),
}

/// The first fraction directive that is not behind a dot or a comma, with the character in front of it.
fn fraction_without_separator(format: &str) -> Option<String> {
    let chars: Vec<char> = format.chars().collect();
    let found = chars
        .windows(3)
        .find(|window| matches!(window, [before, '%', 'L' | 'f' | 's'] if !matches!(before, '.' | ',')))?;
    Some(found.iter().collect())
}

/// Reads by a layout. A zone that is known only by its abbreviation is looked up in the database.
fn read_by_layout(layout: &str, value: &[u8], location: &Location) -> Result<Time, ReadError> {
    let time = parse(layout, value, location).map_err(ReadError::Parse)?;
    let (offset, name) = match &time.zone {
        Zone::Utc => return Ok(time),
        Zone::Fixed { offset, name } => (*offset, name),
    };
    let name_in_location = match location.zone_at(time.seconds) {
        Zone::Utc => "UTC".into(),
        Zone::Fixed { name, .. } => name,
    };
    if offset != 0 || **name == *"UTC" || *name == name_in_location {
        return Ok(time);
    }
    let Some(location) = Location::load(name) else { return Err(ReadError::UnknownZone(name.to_string())) };
    Ok(parse(layout, value, &location).unwrap_or(time))
}

/// Reads a time by a layout of Go. One without a zone is one of `location`; one without a year is the last one, or of the
/// next seven days. A zone that is known only by its abbreviation is looked up in the database.
///
/// # Errors
/// The text does not match the layout.
pub fn read_by_go_layout(layout: &str, value: &[u8], location: &Location, now: &Time) -> Result<Time, TimeError> {
    match read_by_layout(layout, value, location) {
        Ok(time) => Ok(with_year(time, now)),
        Err(ReadError::Parse(error)) => Err(TimeError::Parse(error.to_string())),
        Err(ReadError::UnknownZone(name)) => Err(TimeError::UnknownZone(name)),
    }
}

/// Checks a layout of Go: fractions of a second stand behind a dot or a comma.
///
/// # Errors
/// The sentence of the Go collector.
pub fn validate_go_layout(layout: &str) -> Result<(), String> {
    let mut before = None;
    let mut chars = layout.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next_is_nine = chars.peek().is_some_and(|(_, next)| *next == '9');
        if !matches!(c, '.' | ',' | '9') && next_is_nine {
            before = Some(at);
        } else if c == '9' && at == 0 && next_is_nine {
            continue;
        }
        if let Some(start) = before.take() {
            let rest = layout.get(start..).unwrap_or_default();
            let head = c.len_utf8();
            let nines = rest.get(head..).map_or(0, |rest| rest.bytes().take_while(|b| *b == b'9').count());
            let found = rest.get(..head + nines).unwrap_or_default();
            return Err(format!("invalid fractional seconds directive: '{found}'. must be preceded with '.' or ','"));
        }
    }
    Ok(())
}

/// Gives a time without a year the year of now, or the one before if it were more than seven days ahead.
#[must_use]
pub fn with_year(time: Time, now: &Time) -> Time {
    let offset = match &time.zone {
        Zone::Utc => 0,
        Zone::Fixed { offset, .. } => i64::from(*offset),
    };
    let date = DateTime::at(time.seconds + offset);
    if date.year > 0 {
        return time;
    }
    let at = |year| {
        let clock = i64::from((date.hour * 60 + date.minute) * 60 + date.second);
        let seconds = seconds_since_epoch(year, date.month, i64::from(date.day), clock) - offset;
        Time { seconds, nanos: time.nanos, zone: time.zone.clone() }
    };
    let now_offset = match &now.zone {
        Zone::Utc => 0,
        Zone::Fixed { offset, .. } => i64::from(*offset),
    };
    let this_year = DateTime::at(now.seconds + now_offset).year;
    let found = at(this_year);
    let latest = (now.seconds + 7 * super::calendar::SECONDS_PER_DAY, now.nanos);
    if found.instant() > latest { at(this_year - 1) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, format: &str, location: &str) -> String {
        let format = Strptime::new(format).expect("valid");
        let now = Time::from_unix_nanos(1_780_000_000_000_000_000);
        match format.read(value.as_bytes(), &Location::load(location).expect("known"), None, &now) {
            Ok(time) => {
                let mut out = format!("{}.{:09} ", time.seconds, time.nanos).into_bytes();
                layout::format("2006-01-02T15:04:05.999999999Z07:00 MST", &time, &mut out);
                String::from_utf8(out).expect("text")
            }
            Err(error) => error.to_string(),
        }
    }

    /// The answers are those of Go.
    #[test]
    fn time_is_read_by_its_format() {
        for (value, format, location, expected) in [
            ("2020-1-1", "%Y-%m-%d", "", "1577836800.000000000 2020-01-01T00:00:00Z UTC"),
            ("2020-13-01", "%Y-%m-%d", "", "parsing time \"2020-13-01\": month out of range"),
            ("x", "%Y", "", "parsing time \"x\" as \"%Y\": cannot parse \"x\" as \"%Y\""),
            ("2020-01-01 03:04:05 XYZ", "%Y-%m-%d %T %Z", "", "failed to load location XYZ: unknown time zone XYZ"),
            (
                "2020-01-01 03:04:05 CET",
                "%Y-%m-%d %T %Z",
                "Europe/Paris",
                "1577844245.000000000 2020-01-01T03:04:05+01:00 CET",
            ),
            ("2020-01-01 03:04:05 WET", "%Y-%m-%d %T %Z", "", "1577847845.000000000 2020-01-01T03:04:05Z WET"),
        ] {
            assert_eq!(read(value, format, location), expected, "{value} {format}");
        }
        // Where the Go collector panics.
        assert_eq!(
            read("2020-01-01 extra", "%Y-%m-%d", ""),
            "parsing time \"2020-01-01 extra\": extra text: \" extra\""
        );
    }

    #[test]
    fn time_without_year_is_one_of_the_last_twelve_months_or_of_the_next_days() {
        // Now is 2026-05-28.
        assert!(read("06 03", "%m %d", "").contains(" 2026-06-03T"));
        assert!(read("06 05", "%m %d", "").contains(" 2025-06-05T"));
    }
}
