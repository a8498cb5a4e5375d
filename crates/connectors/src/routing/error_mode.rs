//! `error_mode` in a configuration.

use std::str::FromStr;

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section};
use otelcore_ottl::ErrorMode;

/// What is done when a condition can't be evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ErrorModeConfig(pub ErrorMode);

impl ErrorModeConfig {
    fn name(self) -> &'static str {
        match self.0 {
            ErrorMode::Propagate => "propagate",
            ErrorMode::Ignore => "ignore",
            ErrorMode::Silent => "silent",
        }
    }
}

impl ConfigValue for ErrorModeConfig {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let word = s.str(key, default.name());
        match ErrorMode::from_str(&word) {
            Ok(mode) => Self(mode),
            Err(error) => {
                s.error(key, error.to_string()).help("write ignore, silent or propagate");
                *default
            }
        }
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(vec!["ignore", "silent", "propagate"])
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}
