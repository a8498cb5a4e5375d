//! Reads times by layouts, as Go's `time.ParseInLocation` does.

use super::calendar::{MONTHS, WEEKDAYS, days_in, is_leap, seconds_since_epoch};
use super::layout::{Element, OffsetForm, next_element};
use super::location::Location;
use super::{Time, Zone};

/// Why a text is not a time of a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParseError {
    /// The layout, or the strptime format from which it was made.
    pub layout: String,
    value: Vec<u8>,
    /// The element of the layout that does not match.
    pub layout_element: String,
    /// The rest of the text, from where it does not match.
    pub value_element: Vec<u8>,
    reason: Reason,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Reason {
    /// The text does not match the element.
    #[default]
    Mismatch,
    /// Another reason, in the words that stand behind the text.
    OfValue(String),
    /// The text does not have the names of a language.
    Locale,
    /// Any other, a whole sentence.
    Sentence(String),
}

impl ParseError {
    /// A text without one of the names that its layout has.
    #[must_use]
    pub fn of_locale(value: Vec<u8>, layout_element: String) -> Self {
        Self { value, layout_element, reason: Reason::Locale, ..Self::default() }
    }

    /// Any other error.
    #[must_use]
    pub fn with_sentence(message: String) -> Self {
        Self { reason: Reason::Sentence(message), ..Self::default() }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            Reason::Mismatch => {
                let (layout, element) = (quote(self.layout.as_bytes()), quote(self.layout_element.as_bytes()));
                let (value, value_element) = (quote(&self.value), quote(&self.value_element));
                write!(f, "parsing time {value} as {layout}: cannot parse {value_element} as {element}")
            }
            Reason::OfValue(message) => write!(f, "parsing time {}{message}", quote(&self.value)),
            Reason::Locale => {
                let value = String::from_utf8_lossy(&self.value);
                write!(f, "value \"{value}\" does not match the layout element \"{}\"", self.layout_element)
            }
            Reason::Sentence(message) => f.write_str(message),
        }
    }
}

/// The text in quotes, as the `time` package writes it: bytes that are not printable ASCII in hexadecimal.
#[must_use]
pub(super) fn quote(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for b in text {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*b));
            }
            b' '..=0x7f => out.push(char::from(*b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

/// What was read so far.
#[derive(Default)]
struct Found {
    year: i64,
    month: Option<u32>,
    day: Option<u32>,
    year_day: Option<u32>,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    is_utc: bool,
    offset: Option<i32>,
    zone_name: Option<String>,
    is_am: bool,
    is_pm: bool,
}

/// An element that does not match, or whose number is out of range.
enum Mismatch {
    Bad,
    OutOfRange(&'static str),
}

type Step = Result<(), Mismatch>;

/// Reads `value` by `layout`. A time without a zone is one of `location`.
pub(super) fn parse(layout: &str, value: &[u8], location: &Location) -> Result<Time, Box<ParseError>> {
    let error = |layout_element: &str, value_element: &[u8], reason: Reason| {
        Box::new(ParseError {
            layout: layout.to_owned(),
            value: value.to_vec(),
            layout_element: layout_element.to_owned(),
            value_element: value_element.to_vec(),
            reason,
        })
    };
    let mut found = Found::default();
    let (mut rest_layout, mut rest) = (layout, value);
    loop {
        let next = next_element(rest_layout);
        if let Err(at) = skip(&mut rest, next.prefix.as_bytes()) {
            return Err(error(next.prefix, at, Reason::Mismatch));
        }
        let Some((element, text)) = next.element else {
            if !rest.is_empty() {
                let reason = Reason::OfValue(format!(": extra text: {}", quote(rest)));
                return Err(error("", rest, reason));
            }
            break;
        };
        rest_layout = next.rest;
        let before = rest;
        match found.read(element, &mut rest, rest_layout) {
            Ok(()) => {}
            Err(Mismatch::Bad) => return Err(error(text, before, Reason::Mismatch)),
            Err(Mismatch::OutOfRange(what)) => {
                return Err(error(text, rest, Reason::OfValue(format!(": {what} out of range"))));
            }
        }
    }
    found.finish(location).map_err(|message| error("", rest, Reason::OfValue(message.to_owned())))
}

/// Removes the text of a layout from the front. Spaces match any number of spaces.
fn skip<'v>(value: &mut &'v [u8], mut prefix: &[u8]) -> Result<(), &'v [u8]> {
    while let Some((first, after)) = prefix.split_first() {
        if *first == b' ' {
            if value.first().is_some_and(|b| *b != b' ') {
                return Err(value);
            }
            prefix = without_spaces(prefix);
            *value = without_spaces(value);
            continue;
        }
        match value.split_first() {
            Some((b, rest)) if b == first => *value = rest,
            _ => return Err(value),
        }
        prefix = after;
    }
    Ok(())
}

fn without_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|b| **b == b' ').count();
    text.get(spaces..).unwrap_or_default()
}

/// Takes `len` bytes from the front.
fn take<'v>(value: &mut &'v [u8], len: usize) -> Result<&'v [u8], Mismatch> {
    let (taken, rest) = value.split_at_checked(len).ok_or(Mismatch::Bad)?;
    *value = rest;
    Ok(taken)
}

/// One or two digits, or exactly two.
fn number(value: &mut &[u8], is_fixed: bool) -> Result<u32, Mismatch> {
    let digit = |at: usize| value.get(at).filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0'));
    let (number, len) = match (digit(0), digit(1)) {
        (Some(tens), Some(ones)) => (tens * 10 + ones, 2),
        (Some(ones), None) if !is_fixed => (ones, 1),
        _ => return Err(Mismatch::Bad),
    };
    take(value, len)?;
    Ok(number)
}

fn decimal(text: &[u8]) -> Result<i64, Mismatch> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Mismatch::Bad)
}

/// The index of the name that is at the front, in any case.
fn name(names: &[&str], len: Option<usize>, value: &mut &[u8]) -> Result<u32, Mismatch> {
    for (index, name) in (0..).zip(names) {
        let name = name.as_bytes().get(..len.unwrap_or(name.len())).unwrap_or_default();
        if value.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            take(value, name.len())?;
            return Ok(index);
        }
    }
    Err(Mismatch::Bad)
}

/// Nanoseconds of `.123`.
fn nanoseconds(text: &[u8]) -> Result<u32, Mismatch> {
    let digits = text.split_first().filter(|(dot, _)| matches!(dot, b'.' | b',')).ok_or(Mismatch::Bad)?.1;
    let digits = digits.get(..9).unwrap_or(digits);
    let sign_and_digits = digits.strip_prefix(b"-").unwrap_or(digits);
    if sign_and_digits.len() != digits.len() && decimal(digits)? < 0 {
        return Err(Mismatch::OutOfRange("fractional second"));
    }
    let mut nanos = u32::try_from(decimal(digits)?).map_err(|_| Mismatch::Bad)?;
    for _ in digits.len()..9 {
        nanos *= 10;
    }
    Ok(nanos)
}

impl Found {
    fn read(&mut self, element: Element, value: &mut &[u8], rest_layout: &str) -> Step {
        use Element as E;
        let within =
            |number: u32, end: u32, what| if number < end { Ok(number) } else { Err(Mismatch::OutOfRange(what)) };
        match element {
            E::Year => {
                let year = decimal(take(value, 2)?)?;
                self.year = year + if year >= 69 { 1900 } else { 2000 };
            }
            E::LongYear => {
                if !value.first().is_some_and(u8::is_ascii_digit) {
                    return Err(Mismatch::Bad);
                }
                self.year = decimal(take(value, 4)?)?;
            }
            E::Month => self.month = Some(name(&MONTHS, Some(3), value)? + 1),
            E::LongMonth => self.month = Some(name(&MONTHS, None, value)? + 1),
            E::NumMonth | E::ZeroMonth => {
                let month = number(value, element == E::ZeroMonth)?;
                if !(1..=12).contains(&month) {
                    return Err(Mismatch::OutOfRange("month"));
                }
                self.month = Some(month);
            }
            E::Weekday => drop(name(&WEEKDAYS, Some(3), value)?),
            E::LongWeekday => drop(name(&WEEKDAYS, None, value)?),
            E::Day | E::UnderDay | E::ZeroDay => {
                if element == E::UnderDay {
                    *value = value.strip_prefix(b" ").unwrap_or(value);
                }
                self.day = Some(number(value, element == E::ZeroDay)?);
            }
            E::UnderYearDay | E::ZeroYearDay => self.read_year_day(element == E::ZeroYearDay, value)?,
            E::Hour => self.hour = within(number(value, false)?, 24, "hour")?,
            E::Hour12 | E::ZeroHour12 => self.hour = within(number(value, element == E::ZeroHour12)?, 13, "hour")?,
            E::Minute | E::ZeroMinute => {
                self.minute = within(number(value, element == E::ZeroMinute)?, 60, "minute")?;
            }
            E::Second | E::ZeroSecond => {
                self.second = within(number(value, element == E::ZeroSecond)?, 60, "second")?;
                self.read_unannounced_fraction(value, rest_layout)?;
            }
            E::UpperPm | E::LowerPm => {
                let is_upper = element == E::UpperPm;
                match (take(value, 2)?, is_upper) {
                    (b"PM", true) | (b"pm", false) => self.is_pm = true,
                    (b"AM", true) | (b"am", false) => self.is_am = true,
                    _ => return Err(Mismatch::Bad),
                }
            }
            E::Offset(form) if form.has_z && value.first() == Some(&b'Z') => {
                take(value, 1)?;
                self.is_utc = true;
            }
            E::Offset(form) => self.read_offset(form, value)?,
            E::ZoneName if value.starts_with(b"UTC") => {
                take(value, 3)?;
                self.is_utc = true;
            }
            E::ZoneName => {
                let len = zone_name_len(value).ok_or(Mismatch::Bad)?;
                self.zone_name = Some(String::from_utf8_lossy(take(value, len)?).into_owned());
            }
            E::Fraction { digits, is_trimmed: false, .. } => {
                // The number is checked before the text is shortened.
                let text = value.get(..=digits).ok_or(Mismatch::Bad)?;
                self.nanos = nanoseconds(text)?;
                take(value, digits + 1)?;
            }
            E::Fraction { .. } => {
                let digits = fraction_digits(value);
                if digits > 0 {
                    self.nanos = nanoseconds(take(value, digits + 1)?)?;
                }
            }
        }
        Ok(())
    }

    fn read_year_day(&mut self, is_fixed: bool, value: &mut &[u8]) -> Step {
        if !is_fixed {
            for _ in 0..2 {
                *value = value.strip_prefix(b" ").unwrap_or(value);
            }
        }
        let digits = value.iter().take(3).take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || is_fixed && digits != 3 {
            return Err(Mismatch::Bad);
        }
        self.year_day = u32::try_from(decimal(take(value, digits)?)?).ok();
        Ok(())
    }

    /// A fraction of a second that the layout does not have is read with the seconds.
    fn read_unannounced_fraction(&mut self, value: &mut &[u8], rest_layout: &str) -> Step {
        let digits = fraction_digits(value);
        let is_announced = matches!(next_element(rest_layout).element, Some((Element::Fraction { .. }, _)));
        if digits > 0 && !is_announced {
            self.nanos = nanoseconds(take(value, digits + 1)?)?;
        }
        Ok(())
    }

    fn read_offset(&mut self, form: OffsetForm, value: &mut &[u8]) -> Step {
        let len = match (form.has_minutes, form.has_seconds, form.has_colons) {
            (false, ..) => 3,
            (true, false, false) => 5,
            (true, false, true) => 6,
            (true, true, false) => 7,
            (true, true, true) => 9,
        };
        let before = *value;
        let text = before.get(..len).ok_or(Mismatch::Bad)?;
        let (sign, mut digits) = text.split_first().ok_or(Mismatch::Bad)?;
        let mut parts = [0_u32; 3];
        let count = if !form.has_minutes { 1 } else { 2 + usize::from(form.has_seconds) };
        // The position is behind the offset when a number is out of range, and before it when it is none.
        let mut is_number = true;
        for (index, part) in parts.iter_mut().enumerate().take(count) {
            if form.has_colons && index > 0 {
                digits = digits.strip_prefix(b":").ok_or(Mismatch::Bad)?;
            }
            let mut two = digits.get(..2).ok_or(Mismatch::Bad)?;
            digits = digits.get(2..).unwrap_or_default();
            if is_number {
                match number(&mut two, true) {
                    Ok(found) => *part = found,
                    Err(_) => is_number = false,
                }
            }
        }
        take(value, len)?;
        let [hours, minutes, seconds] = parts;
        let ranges = [
            (hours > 24, "time zone offset hour"),
            (minutes > 60, "time zone offset minute"),
            (seconds > 60, "time zone offset second"),
        ];
        if let Some((_, what)) = ranges.into_iter().rev().find(|(is_out, _)| *is_out) {
            return Err(Mismatch::OutOfRange(what));
        }
        let offset = i32::try_from((hours * 60 + minutes) * 60 + seconds).map_err(|_| Mismatch::Bad)?;
        self.offset = Some(match sign {
            b'+' if is_number => offset,
            b'-' if is_number => -offset,
            _ => return Err(Mismatch::Bad),
        });
        Ok(())
    }

    fn finish(mut self, location: &Location) -> Result<Time, &'static str> {
        if self.is_pm && self.hour < 12 {
            self.hour += 12;
        } else if self.is_am && self.hour == 12 {
            self.hour = 0;
        }
        let (month, day) = self.date()?;
        if day < 1 || day > days_in(month, self.year) {
            return Err(": day out of range");
        }
        let clock = i64::from((self.hour * 60 + self.minute) * 60 + self.second);
        let clock_seconds = seconds_since_epoch(self.year, month, i64::from(day), clock);
        let nanos = self.nanos;
        if self.is_utc {
            return Ok(Time { seconds: clock_seconds, nanos, zone: Zone::Utc });
        }
        // An offset of minus one second is none, as in Go.
        if let Some(offset) = self.offset.filter(|offset| *offset != -1) {
            let seconds = clock_seconds - i64::from(offset);
            let local = location.zone_at(seconds);
            let (local_offset, local_name) = match &local {
                Zone::Utc => (0, "UTC"),
                Zone::Fixed { offset, name } => (*offset, &**name),
            };
            let is_local = local_offset == offset && self.zone_name.as_deref().is_none_or(|name| name == local_name);
            let fixed = || Zone::Fixed { offset, name: self.zone_name.as_deref().unwrap_or_default().into() };
            return Ok(Time { seconds, nanos, zone: if is_local { local } else { fixed() } });
        }
        let Some(name) = self.zone_name else {
            return Ok(location.time(location.seconds_of_clock(clock_seconds), nanos));
        };
        if let Some(offset) = location.offset_of(&name, clock_seconds) {
            return Ok(location.time(clock_seconds - i64::from(offset), nanos));
        }
        let hours = name.strip_prefix("GMT").filter(|hours| !hours.is_empty());
        let offset = hours.and_then(|hours| hours.parse::<i32>().ok()).unwrap_or(0) * 3600;
        let seconds = clock_seconds - i64::from(offset);
        Ok(Time { seconds, nanos, zone: Zone::Fixed { offset, name: name.into() } })
    }

    /// The month and the day, from the day of the year if there is one.
    fn date(&self) -> Result<(u32, u32), &'static str> {
        let Some(mut year_day) = self.year_day else {
            return Ok((self.month.unwrap_or(1), self.day.unwrap_or(1)));
        };
        let is_leap = is_leap(self.year);
        let mut date = None;
        if is_leap && year_day == 60 {
            date = Some((2, 29));
        } else if is_leap && year_day > 60 {
            year_day -= 1;
        }
        if !(1..=365).contains(&year_day) {
            return Err(": day-of-year out of range");
        }
        let (month, day) = date.unwrap_or_else(|| {
            let mut month = 1;
            // A year that is not a leap year.
            while year_day > days_in(month, 1) {
                year_day -= days_in(month, 1);
                month += 1;
            }
            (month, year_day)
        });
        if self.month.is_some_and(|found| found != month) {
            return Err(": day-of-year does not match month");
        }
        if self.day.is_some_and(|found| found != day) {
            return Err(": day-of-year does not match day");
        }
        Ok((month, day))
    }
}

/// The digits of a fraction at the front.
fn fraction_digits(value: &[u8]) -> usize {
    match value.split_first() {
        Some((b'.' | b',', digits)) => digits.iter().take_while(|b| b.is_ascii_digit()).count(),
        _ => 0,
    }
}

/// The length of the abbreviation of a zone at the front.
fn zone_name_len(value: &[u8]) -> Option<usize> {
    if value.len() < 3 {
        return None;
    }
    if value.starts_with(b"ChST") || value.starts_with(b"MeST") {
        return Some(4);
    }
    if let Some(after) = value.strip_prefix(b"GMT") {
        return Some(3 + signed_hours_len(after));
    }
    if matches!(value.first(), Some(b'+' | b'-')) {
        return Some(signed_hours_len(value)).filter(|len| *len > 0);
    }
    let upper = value.iter().take(6).take_while(|b| b.is_ascii_uppercase()).count();
    match upper {
        5 if value.get(4) == Some(&b'T') => Some(5),
        4 if value.get(3) == Some(&b'T') || value.starts_with(b"WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

/// The length of `+3` or `-12`; zero if there are no hours.
fn signed_hours_len(value: &[u8]) -> usize {
    let Some((b'+' | b'-', digits)) = value.split_first() else { return 0 };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let hours = digits.get(..count).map(decimal);
    match hours {
        Some(Ok(hours)) if count > 0 && hours <= 23 => count + 1,
        _ => 0,
    }
}
