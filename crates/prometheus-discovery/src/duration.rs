//! Durations as Prometheus writes them: `1m30s`, `5d`. They differ from Go's in their units and in their order.

use std::fmt;
use std::time::Duration;

use otelcore_config::declare::{ConfigScalar, ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section};

/// A duration of Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PrometheusDuration(pub Duration);

/// Units with their milliseconds, the largest first, in which order they must be written.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration in nanoseconds, about 290 years.
const MAX_NANOS: u64 = i64::MAX as u64;

/// Reads a duration.
///
/// # Errors
/// The text is not one, with Prometheus's message.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("not a valid duration string: {text:?}");
    let out_of_range = || "duration out of range".to_owned();
    match text {
        "0" => return Ok(Duration::ZERO),
        "" => return Err("empty duration string".to_owned()),
        _ => {}
    }
    let (mut rest, mut nanos, mut next_unit) = (text, 0u64, 0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, behind) = rest.split_at(end);
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        if unit.is_empty() {
            return Err(invalid());
        }
        let found = UNITS.iter().enumerate().find(|(_, (name, _))| *name == unit);
        let Some((index, (_, millis))) = found else {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        };
        if index < next_unit {
            return Err(invalid());
        }
        next_unit = index + 1;
        let part = number.checked_mul(*millis).and_then(|millis| millis.checked_mul(1_000_000));
        nanos =
            part.and_then(|part| nanos.checked_add(part)).filter(|all| *all <= MAX_NANOS).ok_or_else(out_of_range)?;
        rest = behind;
    }
    Ok(Duration::from_nanos(nanos))
}

impl fmt::Display for PrometheusDuration {
    /// As Prometheus writes it, in whole milliseconds: years and weeks only where nothing is left over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (index, (unit, millis)) in UNITS.iter().enumerate() {
            let must_be_exact = index < 2;
            if left < *millis || (must_be_exact && !left.is_multiple_of(*millis)) {
                continue;
            }
            write!(f, "{}{unit}", left / millis)?;
            left %= millis;
        }
        Ok(())
    }
}

impl ConfigValue for PrometheusDuration {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        Self::read_optional(s, key).unwrap_or(*default)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Str
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.to_string())
    }
}

impl ConfigScalar for PrometheusDuration {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        let text = s.opt_str(key)?;
        match parse_duration(&text) {
            Ok(duration) => Some(Self(duration)),
            Err(error) => {
                s.error(key, error).help("write a number and a unit: ms, s, m, h, d, w or y");
                None
            }
        }
    }

    fn scalar_shape() -> Shape {
        Shape::Str
    }

    fn scalar_effective(&self) -> EffectiveValue {
        ConfigValue::effective(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_read_and_written_as_prometheus_does() {
        for (text, written) in [
            ("0", "0s"),
            ("60s", "1m"),
            ("1m30s", "1m30s"),
            ("90d", "90d"),
            ("14d", "2w"),
            ("1y2w", "379d"),
            ("365d", "1y"),
            ("1h0m5ms", "1h5ms"),
            ("1500ms", "1s500ms"),
        ] {
            assert_eq!(PrometheusDuration(parse_duration(text).unwrap()).to_string(), written, "{text}");
        }
        assert_eq!(PrometheusDuration(Duration::from_micros(3)).to_string(), "0s");
    }

    #[test]
    fn text_that_is_no_duration_is_refused_with_its_message() {
        for (text, message) in [
            ("", "empty duration string"),
            ("1", "not a valid duration string: \"1\""),
            ("s", "not a valid duration string: \"s\""),
            ("1s1m", "not a valid duration string: \"1s1m\""),
            ("1x", "unknown unit \"x\" in duration \"1x\""),
            ("-1s", "not a valid duration string: \"-1s\""),
            ("1.5s", "unknown unit \".\" in duration \"1.5s\""),
            ("300y", "duration out of range"),
            ("99999999999999999999s", "not a valid duration string: \"99999999999999999999s\""),
        ] {
            assert_eq!(parse_duration(text), Err(message.to_owned()));
        }
    }
}
