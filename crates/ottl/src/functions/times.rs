//! Converters of times and durations.

use super::common::{error, int, optional, optional_int, required, text};
use crate::error::{BuildError, EvalError};
use crate::evaluate::{Evaluation, Expression};
use crate::function::{Arguments, Callable, Converter, Function, ParameterKind as Kind};
use crate::go_time::calendar::DateTime;
use crate::go_time::{Location, Strptime, locale, parse_duration};
use crate::value::{Time, Value, Zone};

fn time(arguments: &[Value<'_>]) -> Time {
    match arguments.first() {
        Some(Value::Time(time)) => time.clone(),
        _ => Time::from_unix_nanos(0),
    }
}

/// The date and the clock of a time, in its zone.
fn local(time: &Time) -> DateTime {
    let offset = match &time.zone {
        Zone::Utc => 0,
        Zone::Fixed { offset, .. } => i64::from(*offset),
    };
    DateTime::at(time.seconds.saturating_add(offset))
}

/// A function of a time that results in an integer.
macro_rules! of_time {
    ($constant:ident, $name:literal, $function:expr) => {
        pub(super) const $constant: Function = Function {
            name: $name,
            parameters: &[required("Time", Kind::Time)],
            build: |_| {
                Ok(Callable::pure(|arguments| {
                    let function: fn(&Time) -> i64 = $function;
                    Ok(Value::Int(function(&time(arguments))))
                }))
            },
        };
    };
}

of_time!(YEAR, "Year", |time| local(time).year);
of_time!(MONTH, "Month", |time| local(time).month.into());
of_time!(DAY, "Day", |time| local(time).day.into());
of_time!(WEEKDAY, "Weekday", |time| local(time).weekday.into());
of_time!(HOUR, "Hour", |time| local(time).hour.into());
of_time!(MINUTE, "Minute", |time| local(time).minute.into());
of_time!(SECOND, "Second", |time| local(time).second.into());
of_time!(NANOSECOND, "Nanosecond", |time| time.nanos.into());
of_time!(UNIX_SECONDS, "UnixSeconds", |time| time.seconds);
of_time!(UNIX_MILLI, "UnixMilli", |time| {
    time.seconds.wrapping_mul(1_000).wrapping_add(i64::from(time.nanos / 1_000_000))
});
of_time!(UNIX_MICRO, "UnixMicro", |time| {
    time.seconds.wrapping_mul(1_000_000).wrapping_add(i64::from(time.nanos / 1_000))
});
of_time!(UNIX_NANO, "UnixNano", Time::unix_nanos);

/// A function of a duration.
macro_rules! of_duration {
    ($constant:ident, $name:literal, $function:expr) => {
        pub(super) const $constant: Function = Function {
            name: $name,
            parameters: &[required("Duration", Kind::Duration)],
            build: |_| {
                Ok(Callable::pure(|arguments| {
                    let function: fn(i64) -> Value<'static> = $function;
                    Ok(function(int(arguments, 0)))
                }))
            },
        };
    };
}

of_duration!(HOURS, "Hours", |nanos| in_units(nanos, 3_600_000_000_000));
of_duration!(MINUTES, "Minutes", |nanos| in_units(nanos, 60_000_000_000));
of_duration!(SECONDS, "Seconds", |nanos| in_units(nanos, 1_000_000_000));
of_duration!(MILLISECONDS, "Milliseconds", |nanos| Value::Int(nanos / 1_000_000));
of_duration!(MICROSECONDS, "Microseconds", |nanos| Value::Int(nanos / 1_000));
of_duration!(NANOSECONDS, "Nanoseconds", Value::Int);

/// Whole units and the fraction are added as doubles, as Go does.
#[expect(clippy::cast_precision_loss, reason = "that is the conversion")]
fn in_units(nanos: i64, unit: i64) -> Value<'static> {
    Value::Double((nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64)
}

pub(super) const DURATION: Function = Function {
    name: "Duration",
    parameters: &[required("Duration", Kind::String)],
    build: |_| Ok(Callable::pure(|arguments| parse_duration(text(arguments, 0)).map(Value::Duration).map_err(error))),
};

pub(super) const UNIX: Function = Function {
    name: "Unix",
    parameters: &[required("Seconds", Kind::Int), optional("Nanoseconds", Kind::Int)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let nanos = optional_int(arguments, 1).unwrap_or(0);
            let seconds = Time { seconds: int(arguments, 0), nanos: 0, zone: Zone::Utc };
            Ok(Value::Time(seconds.add(nanos)))
        }))
    },
};

pub(super) const TRUNCATE_TIME: Function = Function {
    name: "TruncateTime",
    parameters: &[required("Time", Kind::Time), required("Duration", Kind::Duration)],
    build: |_| {
        Ok(Callable::pure(|arguments| {
            let (time, duration) = (time(arguments), int(arguments, 1));
            if duration <= 0 {
                return Ok(Value::Time(time));
            }
            // Counted from the first of January of the year 1.
            const SECONDS_TO_EPOCH: i128 = 62_135_596_800;
            let seconds = i128::from(time.seconds) + SECONDS_TO_EPOCH;
            let rest = (seconds * 1_000_000_000 + i128::from(time.nanos)).rem_euclid(i128::from(duration));
            Ok(Value::Time(time.add(i64::try_from(-rest).unwrap_or(0))))
        }))
    },
};

pub(super) const NOW: Function = Function { name: "Now", parameters: &[], build: |_| Ok(Callable::converter(Now)) };

struct Now;

impl Converter for Now {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        Ok(Value::Time(Time::from_unix_nanos(evaluation.environment().unix_nanos())))
    }
}

pub(super) const TIME: Function = Function {
    name: "Time",
    parameters: &[
        required("Time", Kind::String),
        required("Format", Kind::LiteralString),
        optional("Location", Kind::LiteralString),
        optional("Locale", Kind::LiteralString),
    ],
    build: build_time,
};

fn build_time(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let format = arguments.literal_string(1)?.unwrap_or_default();
    if format.is_empty() {
        return Err(BuildError::new("format cannot be nil"));
    }
    let location = arguments.literal_string(2)?.unwrap_or_default();
    let Some(location) = Location::load(&location) else {
        return Err(BuildError::new(format!("failed to load location {location}: {}", unknown_location(&location))));
    };
    let locale = match arguments.literal_string(3)? {
        Some(tag) => Some(locale::Locale::load(&tag).map_err(BuildError::new)?),
        None => None,
    };
    let format = Strptime::new(&format).map_err(BuildError::new)?;
    Ok(Callable::converter(ReadTime { text: arguments.expression(0)?, format, location, locale }))
}

/// Why Go does not load a location.
fn unknown_location(name: &str) -> String {
    let is_path = name.starts_with(['/', '\\']) || name.split(['/', '\\']).any(|part| part == "..");
    if is_path { "time: invalid location name".to_owned() } else { format!("unknown time zone {name}") }
}

struct ReadTime {
    text: Expression,
    format: Strptime,
    location: Location,
    locale: Option<locale::Locale>,
}

impl Converter for ReadTime {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let text = self.text.string(evaluation)?;
        if text.is_empty() {
            return Err(error("time cannot be nil"));
        }
        let now = Time::from_unix_nanos(evaluation.environment().unix_nanos());
        let time = self.format.read(&text, &self.location, self.locale.as_ref(), &now);
        time.map(Value::Time).map_err(|failed| error(failed.to_string()))
    }
}

pub(super) const FORMAT_TIME: Function = Function {
    name: "FormatTime",
    parameters: &[required("Time", Kind::Time), required("Format", Kind::LiteralString)],
    build: |arguments| {
        let format = arguments.literal_string(1)?.unwrap_or_default();
        if format.is_empty() {
            return Err(BuildError::new("format cannot be nil"));
        }
        let format = Strptime::new(&format).map_err(BuildError::new)?;
        Ok(Callable::pure(move |arguments| {
            let mut out = Vec::new();
            format.write(&time(arguments), &mut out);
            Ok(Value::string(out))
        }))
    },
};

pub(super) const UUID: Function =
    Function { name: "UUID", parameters: &[], build: |_| Ok(Callable::converter(Uuid { is_ordered: false })) };

pub(super) const UUID_V7: Function =
    Function { name: "UUIDv7", parameters: &[], build: |_| Ok(Callable::converter(Uuid { is_ordered: true })) };

/// A random UUID, or one that begins with the time.
struct Uuid {
    is_ordered: bool,
}

impl Converter for Uuid {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let environment = evaluation.environment();
        let mut high = environment.random();
        let low = environment.random() >> 2 | 1 << 63;
        let version = if self.is_ordered {
            // Milliseconds, and their fraction in twelve bits.
            let nanos = environment.unix_nanos().cast_unsigned();
            high = ((nanos / 1_000_000) << 16) | ((nanos % 1_000_000) >> 8);
            7
        } else {
            4
        };
        let bits = u128::from(high & !0xf000 | version << 12) << 64 | u128::from(low);
        let digits = format!("{bits:032x}");
        let part = |range| digits.get(range).unwrap_or_default();
        let text = format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
        Ok(Value::string(text))
    }
}
