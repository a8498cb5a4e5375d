//! Time as Go's `time` package has it: layouts, formats of strptime, locations, durations.
//!
//! Reads no clock and no file: now is an argument, and the time zone database is part of the binary.

pub(crate) mod calendar;
mod duration;
pub(crate) mod layout;
pub(crate) mod locale;
mod location;
mod parse;
mod strptime;

pub(crate) use duration::{format_duration, parse_duration};
pub(crate) use location::Location;
pub(crate) use strptime::Strptime;
