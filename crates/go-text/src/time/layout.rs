//! Layouts of Go's `time` package, such as `2006-01-02T15:04:05Z07:00`, and how times are written by them.

use super::calendar::DateTime;
use super::{Time, Zone};

/// What one element of a layout stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    Offset(OffsetForm),
    /// Fractional seconds with the given number of digits.
    Fraction {
        digits: usize,
        separator: u8,
        is_trimmed: bool,
    },
}

/// How an offset from UTC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetForm {
    /// `Z` stands for UTC.
    pub(super) has_z: bool,
    pub(super) has_minutes: bool,
    pub(super) has_seconds: bool,
    pub(super) has_colons: bool,
}

/// The text before the next element, the element, its own text and what follows.
pub(super) struct NextElement<'l> {
    pub(super) prefix: &'l str,
    pub(super) element: Option<(Element, &'l str)>,
    pub(super) rest: &'l str,
}

/// Finds the next element of a layout.
pub(super) fn next_element(layout: &str) -> NextElement<'_> {
    let bytes = layout.as_bytes();
    for (at, b) in bytes.iter().enumerate() {
        let Some(here) = layout.get(at..) else { continue };
        let Some((element, skipped, len)) = element_at(*b, here) else { continue };
        let (Some(prefix), Some(text), Some(rest)) =
            (layout.get(..at + skipped), here.get(skipped..len), here.get(len..))
        else {
            continue;
        };
        return NextElement { prefix, element: Some((element, text)), rest };
    }
    NextElement { prefix: layout, element: None, rest: "" }
}

/// The element at the beginning of `here`, the characters before it that are text, and where it ends.
fn element_at(first: u8, here: &str) -> Option<(Element, usize, usize)> {
    use Element as E;
    let word = |text: &str| here.starts_with(text);
    let ends_word = |len: usize| !here.as_bytes().get(len).is_some_and(u8::is_ascii_lowercase);
    let found = |element, len| Some((element, 0, len));
    match first {
        b'J' if word("January") => found(E::LongMonth, 7),
        b'J' if word("Jan") && ends_word(3) => found(E::Month, 3),
        b'M' if word("Monday") => found(E::LongWeekday, 6),
        b'M' if word("Mon") && ends_word(3) => found(E::Weekday, 3),
        b'M' if word("MST") => found(E::ZoneName, 3),
        b'0' => match here.as_bytes().get(1)? {
            b'1' => found(E::ZeroMonth, 2),
            b'2' => found(E::ZeroDay, 2),
            b'3' => found(E::ZeroHour12, 2),
            b'4' => found(E::ZeroMinute, 2),
            b'5' => found(E::ZeroSecond, 2),
            b'6' => found(E::Year, 2),
            b'0' if word("002") => found(E::ZeroYearDay, 3),
            _ => None,
        },
        b'1' if word("15") => found(E::Hour, 2),
        b'1' => found(E::NumMonth, 1),
        b'2' if word("2006") => found(E::LongYear, 4),
        b'2' => found(E::Day, 1),
        // An underscore and the year.
        b'_' if word("_2006") => Some((E::LongYear, 1, 5)),
        b'_' if word("_2") => found(E::UnderDay, 2),
        b'_' if word("__2") => found(E::UnderYearDay, 3),
        b'3' => found(E::Hour12, 1),
        b'4' => found(E::Minute, 1),
        b'5' => found(E::Second, 1),
        b'P' if word("PM") => found(E::UpperPm, 2),
        b'p' if word("pm") => found(E::LowerPm, 2),
        b'-' | b'Z' => offset_at(here).map(|(form, len)| (E::Offset(form), 0, len)),
        b'.' | b',' => fraction_at(first, here),
        _ => None,
    }
}

fn offset_at(here: &str) -> Option<(OffsetForm, usize)> {
    let has_z = here.starts_with('Z');
    let after = here.get(1..)?;
    let form = |has_minutes, has_seconds, has_colons| OffsetForm { has_z, has_minutes, has_seconds, has_colons };
    let forms = [
        ("070000", form(true, true, false)),
        ("07:00:00", form(true, true, true)),
        ("0700", form(true, false, false)),
        ("07:00", form(true, false, true)),
        ("07", form(false, false, false)),
    ];
    forms.into_iter().find(|(text, _)| after.starts_with(text)).map(|(text, form)| (form, text.len() + 1))
}

fn fraction_at(separator: u8, here: &str) -> Option<(Element, usize, usize)> {
    let bytes = here.as_bytes().get(1..)?;
    let digit = *bytes.first().filter(|b| matches!(b, b'0' | b'9'))?;
    let digits = bytes.iter().take_while(|b| **b == digit).count();
    if bytes.get(digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((Element::Fraction { digits, separator, is_trimmed: digit == b'9' }, 0, digits + 1))
}

/// Appends a time as `layout` has it.
pub fn format(layout: &str, time: &Time, out: &mut Vec<u8>) {
    let (offset, name) = match &time.zone {
        Zone::Utc => (0, "UTC"),
        Zone::Fixed { offset, name } => (*offset, &**name),
    };
    let date = DateTime::at(time.seconds.saturating_add(i64::from(offset)));
    let mut rest = layout;
    while !rest.is_empty() {
        let next = next_element(rest);
        out.extend_from_slice(next.prefix.as_bytes());
        let Some((element, _)) = next.element else { break };
        rest = next.rest;
        put_element(element, &date, time.nanos, (offset, name), out);
    }
}

fn put_element(element: Element, date: &DateTime, nanos: u32, zone: (i32, &str), out: &mut Vec<u8>) {
    use Element as E;
    let hour12 = if date.hour.is_multiple_of(12) { 12 } else { date.hour % 12 };
    let short = |name: &'static str| name.get(..3).unwrap_or_default();
    let mut number = |value: u32, width: usize| put_number(i64::from(value), width, out);
    match element {
        E::Year => put_number(date.year.abs() % 100, 2, out),
        E::LongYear => put_number(date.year, 4, out),
        E::Month => out.extend_from_slice(short(date.month_name()).as_bytes()),
        E::LongMonth => out.extend_from_slice(date.month_name().as_bytes()),
        E::NumMonth => number(date.month, 0),
        E::ZeroMonth => number(date.month, 2),
        E::Weekday => out.extend_from_slice(short(date.weekday_name()).as_bytes()),
        E::LongWeekday => out.extend_from_slice(date.weekday_name().as_bytes()),
        E::Day => number(date.day, 0),
        E::UnderDay => put_padded(date.day, 2, out),
        E::ZeroDay => number(date.day, 2),
        E::UnderYearDay => put_padded(date.year_day, 3, out),
        E::ZeroYearDay => number(date.year_day, 3),
        E::Hour => number(date.hour, 2),
        E::Hour12 => number(hour12, 0),
        E::ZeroHour12 => number(hour12, 2),
        E::Minute => number(date.minute, 0),
        E::ZeroMinute => number(date.minute, 2),
        E::Second => number(date.second, 0),
        E::ZeroSecond => number(date.second, 2),
        E::UpperPm => out.extend_from_slice(if date.hour >= 12 { b"PM" } else { b"AM" }),
        E::LowerPm => out.extend_from_slice(if date.hour >= 12 { b"pm" } else { b"am" }),
        E::Offset(form) if form.has_z && zone.0 == 0 => out.push(b'Z'),
        E::Offset(form) => put_offset(zone.0, form, out),
        E::ZoneName if !zone.1.is_empty() => out.extend_from_slice(zone.1.as_bytes()),
        E::ZoneName => {
            let form = OffsetForm { has_z: false, has_minutes: true, has_seconds: false, has_colons: false };
            put_offset(zone.0, form, out);
        }
        E::Fraction { digits, separator, is_trimmed } => put_fraction(nanos, digits, separator, is_trimmed, out),
    }
}

fn put_offset(offset: i32, form: OffsetForm, out: &mut Vec<u8>) {
    // In minutes, of which only the sign counts below a minute.
    let minutes = offset / 60;
    out.push(if minutes < 0 { b'-' } else { b'+' });
    let seconds = if minutes < 0 { -offset } else { offset };
    put_number(i64::from(minutes.abs() / 60), 2, out);
    if form.has_colons {
        out.push(b':');
    }
    if form.has_minutes {
        put_number(i64::from(minutes.abs() % 60), 2, out);
    }
    if form.has_seconds {
        if form.has_colons {
            out.push(b':');
        }
        put_number(i64::from(seconds % 60), 2, out);
    }
}

fn put_fraction(nanos: u32, digits: usize, separator: u8, is_trimmed: bool, out: &mut Vec<u8>) {
    if is_trimmed && (digits == 0 || nanos == 0) {
        return;
    }
    let start = out.len();
    out.push(separator);
    put_number(i64::from(nanos), 9, out);
    out.truncate(start + 1 + digits.min(9));
    if is_trimmed {
        while out.len() > start && out.last() == Some(&b'0') {
            out.pop();
        }
        if out.len() == start + 1 {
            out.pop();
        }
    }
}

fn put_padded(value: u32, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    put_number(i64::from(value), 0, out);
    let missing = width.saturating_sub(out.len() - start);
    out.splice(start..start, std::iter::repeat_n(b' ', missing));
}

/// Appends a number with zeros in front; the sign does not count in the width.
fn put_number(value: i64, width: usize, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs());
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits.as_bytes());
}
