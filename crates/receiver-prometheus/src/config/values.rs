//! Types of values that only this receiver has.

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section};

/// A number of bytes: `10MB`, `512KiB`. Units are powers of 1024, with or without the `i`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByteSize(pub u64);

/// Units, and the power of 1024 of each.
const UNITS: [(&str, u32); 13] = [
    ("B", 0),
    ("KB", 1),
    ("KiB", 1),
    ("MB", 2),
    ("MiB", 2),
    ("GB", 3),
    ("GiB", 3),
    ("TB", 4),
    ("TiB", 4),
    ("PB", 5),
    ("PiB", 5),
    ("EB", 6),
    ("EiB", 6),
];

/// Reads a number of bytes: parts of a number and a unit each.
fn parse(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, power) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * 1024f64.powi(i32::try_from(*power).ok()?);
        rest = behind;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bound")]
    let bytes = (!text.is_empty() && total < i64::MAX as f64).then_some(total as u64);
    bytes
}

impl ConfigValue for ByteSize {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let text = s.str(key, "");
        if text.is_empty() {
            return *default;
        }
        parse(&text).map(Self).unwrap_or_else(|| {
            s.error(key, format!("units: invalid {text:?}")).help("write a number and a unit, such as 10MB");
            *default
        })
    }

    fn shape(_: &Self) -> Shape {
        Shape::Str
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(format!("{}B", self.0))
    }
}

/// Parameters of a query: a list of values by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueryParameters(pub Vec<(String, Vec<String>)>);

impl ConfigValue for QueryParameters {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let mut section = s.section(key);
        let names = section.child_keys();
        let parameters = names.into_iter().map(|name| {
            let values = section.str_list(&name.value, &[]);
            (name.value, values)
        });
        let parameters = Self(parameters.collect());
        section.finish();
        parameters
    }

    fn shape(_: &Self) -> Shape {
        Shape::Map(Box::new(Shape::Words))
    }

    fn effective(&self) -> EffectiveValue {
        let list = |values: &[String]| EffectiveValue::List(values.iter().cloned().map(EffectiveValue::Str).collect());
        EffectiveValue::map(self.0.iter().map(|(name, values)| (name.clone(), list(values))))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_powers_of_1024() {
        let table = [
            ("0", Some(0)),
            ("1B", Some(1)),
            ("1KB", Some(1024)),
            ("1KiB", Some(1024)),
            ("1.5MB", Some(1_572_864)),
            ("1MB1KB", Some(1_049_600)),
            ("", None),
            ("1", None),
            ("MB", None),
            ("1kb", None),
            ("9999999EB", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
