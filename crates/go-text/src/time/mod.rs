//! Time as Go's `time` package has it: layouts, formats of strptime, locations, durations.
//!
//! Reads no clock and no file: now is an argument, and the time zone database is part of the binary.

pub mod calendar;
mod duration;
pub mod layout;
pub mod locale;
mod location;
mod parse;
mod strptime;

pub use duration::{format_duration, parse_duration};
pub use location::Location;
pub use parse::ParseError;
pub use strptime::{Strptime, TimeError, read_by_go_layout, validate_go_layout, with_year};

use std::sync::Arc;

/// A point in time, as Go's `time.Time`: it can be outside of what 64 bits of nanoseconds express.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Time {
    /// Seconds since 1970-01-01 00:00 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds in the second; below 1,000,000,000.
    pub nanos: u32,
    /// Where it is shown. Comparison ignores it.
    pub zone: Zone,
}

/// The zone in which a [`Time`] is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// A fixed offset.
    Fixed {
        /// Seconds east of UTC.
        offset: i32,
        /// Its abbreviation, such as `CET`; may be empty.
        name: Arc<str>,
    },
}

const NANOS: i64 = 1_000_000_000;

impl Time {
    /// The time of `nanos` nanoseconds since the epoch, in UTC.
    #[must_use]
    pub fn from_unix_nanos(nanos: i64) -> Self {
        let within = nanos.rem_euclid(NANOS);
        Self { seconds: nanos.div_euclid(NANOS), nanos: u32::try_from(within).unwrap_or(0), zone: Zone::Utc }
    }

    /// Nanoseconds since the epoch. Wraps outside of what 64 bits express, as Go's `UnixNano`.
    #[must_use]
    pub fn unix_nanos(&self) -> i64 {
        self.seconds.wrapping_mul(NANOS).wrapping_add(i64::from(self.nanos))
    }

    /// Seconds and nanoseconds, by which times are ordered.
    #[must_use]
    pub fn instant(&self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }

    /// The time `nanos` nanoseconds later, in the same zone.
    #[must_use]
    pub fn add(&self, nanos: i64) -> Self {
        let sum = i64::from(self.nanos) + nanos.rem_euclid(NANOS);
        Self {
            seconds: self.seconds.wrapping_add(nanos.div_euclid(NANOS)).wrapping_add(sum / NANOS),
            nanos: u32::try_from(sum % NANOS).unwrap_or(0),
            zone: self.zone.clone(),
        }
    }

    /// Nanoseconds from `earlier` to `self`. As Go's `Sub`, it is the nearest value that 64 bits express.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> i64 {
        let seconds = i128::from(self.seconds) - i128::from(earlier.seconds);
        let nanos = seconds * i128::from(NANOS) + i128::from(self.nanos) - i128::from(earlier.nanos);
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }
}
