//! Names of components (`otlp/2`) and pipelines (`traces/a`), with the rules and the error messages of the Go
//! collector.
//!
//! Contains the list of signals, but no list of components.

use std::fmt;
use std::str::FromStr;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or white space only.
    #[error("id must not be empty")]
    Empty,
    /// `/name`
    #[error("in {0:?} id: the part before / should not be empty")]
    MissingType(String),
    /// `type/`
    #[error("in {0:?} id: the part after / should not be empty")]
    MissingName(String),
    /// A type is a letter and up to 62 letters, digits and underscores.
    #[error("in {id:?} id: invalid character(s) in type {ty:?}")]
    BadType {
        /// The whole id.
        id: String,
        /// Its part before the slash.
        ty: String,
    },
    /// A name holds no separators, control characters or symbols.
    #[error("in {0:?} id: invalid character(s) in name {0:?}")]
    BadName(String),
    /// A name is longer than 1024 bytes.
    #[error("in {0:?} id: name {0:?} is longer than 1024 characters ({len} characters)", len = .0.len())]
    NameTooLong(String),
    /// Not one of the four signals.
    #[error("in {id:?} id: unknown pipeline signal: {signal:?}")]
    UnknownSignal {
        /// The whole id.
        id: String,
        /// Its part before the slash.
        signal: String,
    },
}

/// Both parts, trimmed; the name is empty if there is none.
fn split_id(id: &str) -> Result<(&str, &str), IdError> {
    let (ty, name) = match id.split_once('/') {
        Some((ty, name)) => (ty.trim(), Some(name.trim())),
        None => (id.trim(), None),
    };
    match (ty, name) {
        ("", None) => Err(IdError::Empty),
        ("", Some(_)) => Err(IdError::MissingType(id.to_owned())),
        (_, Some("")) => Err(IdError::MissingName(id.to_owned())),
        (_, Some(name)) if name.len() > 1024 => Err(IdError::NameTooLong(name.to_owned())),
        (_, Some(name)) if !name.chars().all(is_allowed_in_name) => Err(IdError::BadName(name.to_owned())),
        (ty, name) => Ok((ty, name.unwrap_or(""))),
    }
}

fn is_allowed_in_name(c: char) -> bool {
    use unicode_properties::GeneralCategory::Unassigned;
    match c.general_category_group() {
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Symbol => false,
        // Go's \pC does not include unassigned code points.
        GeneralCategoryGroup::Other => c.general_category() == Unassigned,
        _ => true,
    }
}

/// `type[/name]` of a receiver, processor, exporter, connector or extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    /// What it is, such as `otlp`.
    pub ty: String,
    /// Which one of several; may be empty.
    pub name: String,
}

impl FromStr for ComponentId {
    type Err = IdError;
    fn from_str(id: &str) -> Result<Self, IdError> {
        let (ty, name) = split_id(id)?;
        let letter_first = ty.starts_with(|c: char| c.is_ascii_alphabetic());
        let rest_ok = ty.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !letter_first || !rest_ok || ty.len() > 63 {
            return Err(IdError::BadType { id: id.to_owned(), ty: ty.to_owned() });
        }
        Ok(Self { ty: ty.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ty)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, "/{}", self.name) }
    }
}

/// What a pipeline carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalName {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
    /// Profiles, if the gate `service.profilesSupport` is on.
    Profiles,
}

impl SignalName {
    /// As written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Profiles => "profiles",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Traces, Self::Metrics, Self::Logs, Self::Profiles];
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `signal[/name]` of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId {
    /// What it carries.
    pub signal: SignalName,
    /// Which one of several; may be empty.
    pub name: String,
}

impl FromStr for PipelineId {
    type Err = IdError;
    fn from_str(id: &str) -> Result<Self, IdError> {
        let (signal, name) = split_id(id)?;
        let found = SignalName::ALL.into_iter().find(|s| s.as_str() == signal);
        let signal = found.ok_or_else(|| IdError::UnknownSignal { id: id.to_owned(), signal: signal.to_owned() })?;
        Ok(Self { signal, name: name.to_owned() })
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.signal.as_str())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, "/{}", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ids_are_trimmed_and_print_as_written() {
        for (text, want) in
            [("otlp", "otlp"), (" otlp / 1 ", "otlp/1"), ("otlp/a/b-c.d", "otlp/a/b-c.d"), ("a_9/é中", "a_9/é中")]
        {
            assert_eq!(text.parse::<ComponentId>().unwrap().to_string(), want);
        }
        assert_eq!("metrics/x".parse::<PipelineId>().unwrap().to_string(), "metrics/x");
    }

    #[test]
    fn bad_ids_are_refused_with_the_messages_of_the_go_collector() {
        let long = "n".repeat(1025);
        let table = [
            ("", "id must not be empty".to_owned()),
            ("  ", "id must not be empty".to_owned()),
            ("otlp/", "in \"otlp/\" id: the part after / should not be empty".to_owned()),
            ("/x", "in \"/x\" id: the part before / should not be empty".to_owned()),
            ("a-b", "in \"a-b\" id: invalid character(s) in type \"a-b\"".to_owned()),
            ("1a/x", "in \"1a/x\" id: invalid character(s) in type \"1a\"".to_owned()),
            ("otlp/a b", "in \"a b\" id: invalid character(s) in name \"a b\"".to_owned()),
            ("otlp/a$", "in \"a$\" id: invalid character(s) in name \"a$\"".to_owned()),
            ("otlp/a+<", "in \"a+<\" id: invalid character(s) in name \"a+<\"".to_owned()),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<ComponentId>().unwrap_err().to_string(), want);
        }
        let error = format!("otlp/{long}").parse::<ComponentId>().unwrap_err().to_string();
        assert!(error.ends_with("is longer than 1024 characters (1025 characters)"), "{error}");
        assert!("t".repeat(63).parse::<ComponentId>().is_ok());
        assert!("t".repeat(64).parse::<ComponentId>().is_err());
        let error = "tracez".parse::<PipelineId>().unwrap_err().to_string();
        assert_eq!(error, "in \"tracez\" id: unknown pipeline signal: \"tracez\"");
    }
}
