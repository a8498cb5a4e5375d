//! Sizes in bytes: a number, or a number with a unit.

use otelcore_config::declare::{ConfigScalar, ConfigValue, Shape};
use otelcore_config::{ConfigNode, EffectiveValue, NodeValue, Section};

/// A size in bytes, such as `1048576`, `1MiB` or `500kb`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct ByteSize(pub i64);

const UNITS: [(&str, f64); 10] = [
    ("kb", 1e3),
    ("kib", 1024.0),
    ("mb", 1e6),
    ("mib", 1_048_576.0),
    ("gb", 1e9),
    ("gib", 1_073_741_824.0),
    ("tb", 1e12),
    ("tib", 1_099_511_627_776.0),
    ("pb", 1e15),
    ("pib", 1_125_899_906_842_624.0),
];

impl ByteSize {
    /// The size as a length in memory; zero for a negative one.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Reads a size.
    ///
    /// # Errors
    /// The sentence of the Go collector.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid byte size '{text}'");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits).ok_or_else(invalid)?;
        let unit = unit.trim_start().to_ascii_lowercase();
        let is_number = number.starts_with(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1;
        let number = Some(number).filter(|_| is_number).and_then(|number| number.parse::<f64>().ok());
        let factor = if unit.is_empty() {
            Some(1.0)
        } else {
            UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
        };
        let (Some(number), Some(factor)) = (number, factor) else { return Err(invalid()) };
        #[expect(clippy::cast_possible_truncation, reason = "rounds to zero, and is the nearest value out of range")]
        Ok(Self((number * factor) as i64))
    }

    fn of_node(node: &ConfigNode) -> Result<Self, String> {
        match &node.value {
            NodeValue::Int(value) => {
                let value = i64::try_from(*value).map_err(|_| format!("invalid byte size '{value}'"))?;
                Ok(Self(value))
            }
            #[expect(clippy::cast_possible_truncation, reason = "as Go converts it")]
            NodeValue::Float(value) => Ok(Self(*value as i64)),
            NodeValue::Str(text) => Self::parse(text),
            other => Err(format!("expected a size in bytes, not {}", other.go_kind())),
        }
    }
}

impl ConfigScalar for ByteSize {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        let node = s.raw_node(key).filter(|node| node.value != NodeValue::Null)?;
        match Self::of_node(node) {
            Ok(size) => Some(size),
            Err(message) => {
                s.error(key, message).help("write a number of bytes, or a number with a unit such as `1MiB`");
                None
            }
        }
    }

    fn scalar_shape() -> Shape {
        Shape::Any
    }

    fn scalar_effective(&self) -> EffectiveValue {
        EffectiveValue::Int(i128::from(self.0))
    }
}

impl ConfigValue for ByteSize {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let size = Self::read_optional(s, key).unwrap_or(*default);
        s.record(key, ConfigValue::effective(&size));
        size
    }

    fn shape(_: &Self) -> Shape {
        Shape::Any
    }

    fn effective(&self) -> EffectiveValue {
        self.scalar_effective()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_read_with_and_without_unit() {
        for (text, expected) in
            [("10", 10), ("1MiB", 1 << 20), ("1.5 kb", 1500), ("2kib", 2048), ("10.", 10), ("1 GB", 1_000_000_000)]
        {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(expected)), "{text}");
        }
        for text in ["", "x", "1 apple", "-1", "1.2.3", "MiB"] {
            assert_eq!(ByteSize::parse(text), Err(format!("invalid byte size '{text}'")));
        }
    }
}
