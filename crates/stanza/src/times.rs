//! The time of an entry, from one of its fields.

use std::collections::BTreeMap;

use otelcore_expr::View;
use otelcore_go_text::time::{Location, Strptime, Time, Zone, read_by_go_layout, validate_go_layout, with_year};

use crate::context::RunContext;
use crate::entry::Entry;
use crate::field::Field;

/// The time parser.
#[derive(Clone, Debug)]
pub(crate) struct TimeParser {
    parse_from: Field,
    layout: Layout,
    /// `None` is the zone of the machine.
    location: Option<Location>,
    /// By abbreviations in the text.
    locations: BTreeMap<String, Location>,
}

#[derive(Clone, Debug)]
enum Layout {
    Go(String),
    Strptime(Box<Strptime>),
    Epoch(EpochLayout),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum EpochLayout {
    /// Integers, with the nanoseconds of one.
    Whole(i64),
    /// Seconds, a dot, and a number with the nanoseconds of one.
    Fraction(&'static str, i64),
}

/// The keys of a time parser.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeKeys<'k> {
    pub(crate) parse_from: Option<Field>,
    pub(crate) layout: &'k str,
    pub(crate) layout_type: &'k str,
    pub(crate) location: &'k str,
    pub(crate) time_zone_locations: &'k [(String, String)],
}

impl TimeParser {
    /// Compiles the keys. The error has its key.
    pub(crate) fn new(keys: TimeKeys<'_>) -> Result<Self, (&'static str, String)> {
        let Some(parse_from) = keys.parse_from else {
            return Err(("parse_from", "missing required parameter 'parse_from'".to_owned()));
        };
        if keys.layout.is_empty() {
            return Err(("layout", "missing required configuration parameter `layout`".to_owned()));
        }
        let (layout, zone_directive) = match keys.layout_type {
            "gotime" => {
                validate_go_layout(keys.layout).map_err(|e| ("layout", format!("invalid gotime layout: {e}")))?;
                (Layout::Go(keys.layout.to_owned()), "MST")
            }
            "" | "strptime" => {
                let format = Strptime::new(keys.layout);
                let format = format.map_err(|e| ("layout", format!("invalid strptime layout: {e}")))?;
                (Layout::Strptime(Box::new(format)), "%Z")
            }
            "epoch" => {
                let epoch = match keys.layout {
                    "s" => EpochLayout::Whole(1_000_000_000),
                    "ms" => EpochLayout::Whole(1_000_000),
                    "us" => EpochLayout::Whole(1_000),
                    "ns" => EpochLayout::Whole(1),
                    "s.ms" => EpochLayout::Fraction("s.ms", 1_000_000),
                    "s.us" => EpochLayout::Fraction("s.us", 1_000),
                    "s.ns" => EpochLayout::Fraction("s.ns", 1),
                    _ => return Err(("layout", "invalid `layout` for `epoch` type".to_owned())),
                };
                let parser =
                    Self { parse_from, layout: Layout::Epoch(epoch), location: None, locations: BTreeMap::new() };
                return Ok(parser);
            }
            other => return Err(("layout_type", format!("unsupported layout_type {other}"))),
        };
        let load = |name: &str| {
            Location::load(name).ok_or_else(|| format!("failed to load location {name}: unknown time zone {name}"))
        };
        let location = match keys.location {
            "" if keys.layout.ends_with('Z') => Some(Location::utc()),
            "" | "Local" => None,
            name => Some(load(name).map_err(|e| ("location", format!("invalid 'location': {e}")))?),
        };
        let mut locations = BTreeMap::new();
        for (abbreviation, name) in keys.time_zone_locations {
            let found = load(name).map_err(|e| {
                ("time_zone_locations", format!("invalid time_zone_locations entry \"{abbreviation}\": {e}"))
            })?;
            locations.insert(abbreviation.clone(), found);
        }
        if !locations.is_empty() && !keys.layout.contains(zone_directive) {
            let message = "'time_zone_locations' requires the layout to contain a timezone abbreviation directive (%Z for strptime / MST for gotime)";
            return Err(("time_zone_locations", message.to_owned()));
        }
        Ok(Self { parse_from, layout, location, locations })
    }

    /// Sets the time of an entry.
    pub(crate) fn parse(&self, entry: &mut Entry, context: &RunContext<'_>) -> Result<(), String> {
        let Some(value) = self.parse_from.get(entry) else {
            return Err(format!("log entry does not have the expected parse_from field: {}", self.parse_from));
        };
        let time = match &self.layout {
            Layout::Go(layout) => {
                let text = text(value)?;
                read_by_go_layout(layout, text, self.location_of(text, context), &context.now())
                    .map_err(|error| error.to_string())?
            }
            Layout::Strptime(format) => {
                let text = text(value)?;
                format
                    .read(text, self.location_of(text, context), None, &context.now())
                    .map_err(|error| error.to_string())?
            }
            Layout::Epoch(layout) => with_year(epoch_time(*layout, value)?, &context.now()),
        };
        entry.timestamp = Some(time);
        Ok(())
    }

    /// The zone of a time: that of the first abbreviation that is in the text, or that of the configuration.
    fn location_of<'c>(&'c self, text: &[u8], context: &'c RunContext<'_>) -> &'c Location {
        if !self.locations.is_empty() {
            let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
            for word in text.split(|b| !is_word(b)) {
                let is_abbreviation = (2..=5).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase);
                let found = std::str::from_utf8(word).ok().filter(|_| is_abbreviation);
                if let Some(location) = found.and_then(|word| self.locations.get(word)) {
                    return location;
                }
            }
        }
        self.location.as_ref().unwrap_or(context.local)
    }
}

fn text<'v>(value: View<'v>) -> Result<&'v [u8], String> {
    match value {
        View::String(text) | View::Bytes(text) => Ok(text),
        other => Err(format!("type {} cannot be parsed as a time", other.go_type())),
    }
}

fn epoch_time(layout: EpochLayout, value: View<'_>) -> Result<Time, String> {
    let stamp = match (value, layout) {
        (View::String(text) | View::Bytes(text), _) => String::from_utf8_lossy(text).into_owned(),
        (View::Int(number), EpochLayout::Whole(_)) => number.to_string(),
        (View::Int(number), EpochLayout::Fraction(..)) => format!("{number}.0"),
        (View::Double(number), EpochLayout::Whole(_)) => otelcore_go_number::truncate(number).to_string(),
        (View::Double(number), EpochLayout::Fraction(name, _)) => match name {
            "s.ms" => format!("{number:10.3}"),
            "s.us" => format!("{number:10.6}"),
            _ => format!("{number:10.9}"),
        },
        (other, _) => return Err(format!("type {} cannot be parsed as a time", other.go_type())),
    };
    let integer = |text: &str| otelcore_go_number::parse_int(text.as_bytes());
    let (seconds, nanos) = match layout {
        EpochLayout::Whole(unit) => {
            let found = integer(&stamp).map(|number| {
                let per_second = 1_000_000_000 / unit;
                (number / per_second, (number % per_second) * unit)
            });
            found.ok_or_else(|| format!("invalid value '{stamp}' for layout"))?
        }
        EpochLayout::Fraction(name, unit) => {
            let invalid = || format!("invalid value '{stamp}' for layout '{name}'");
            let (seconds, fraction) = stamp.split_once('.').ok_or_else(invalid)?;
            let (seconds, fraction) = integer(seconds).zip(integer(fraction)).ok_or_else(invalid)?;
            (seconds, fraction.wrapping_mul(unit))
        }
    };
    Ok(Time { seconds, nanos: 0, zone: Zone::Utc }.add(nanos))
}
