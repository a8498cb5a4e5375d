//! Where a page is wrong, and in which way.

use std::fmt;

/// A page that cannot be read. Events before it are valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// What is wrong there.
    pub kind: ParseErrorKind,
}

/// A position in a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// Of a text page. Both count from 1; columns are bytes.
    Line {
        /// The line.
        line: u64,
        /// The byte of the line.
        column: u64,
    },
    /// Of a protobuf page: bytes from its beginning, from 0.
    Byte(u64),
}

/// What is wrong with a page.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Something else was expected.
    Unexpected {
        /// The expected part, with its article.
        expected: &'static str,
        /// The character in its place; `None` at the end of the line.
        found: Option<char>,
    },
    /// The text is not UTF-8.
    InvalidUtf8,
    /// Not a number, or beyond the range of a double.
    InvalidNumber(String),
    /// Not a timestamp: an integer of milliseconds, or in OpenMetrics a finite number of seconds.
    InvalidTimestamp(String),
    /// The type is not one of the format.
    InvalidType(String),
    /// OpenMetrics: the name of the family must end in an underscore and the unit.
    UnitNotInName(String),
    /// The sample has no name.
    MissingName,
    /// The sample has a name before the braces and one in them, or two in them.
    RepeatedName,
    /// The entry (a line, a metric or a family) exceeds the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// OpenMetrics: the page ends without `# EOF`.
    MissingEof,
    /// OpenMetrics: something follows `# EOF`.
    DataAfterEof,
    /// The page ends in the middle of a message.
    Truncated,
    /// A message is malformed; the text says which part.
    Malformed(&'static str),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Position::Line { line, column } => write!(f, "line {line}, column {column}: {}", self.kind),
            Position::Byte(at) => write!(f, "byte {at}: {}", self.kind),
        }
    }
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, found: Some(found) } => write!(f, "expected {expected}, found {found:?}"),
            Self::Unexpected { expected, found: None } => write!(f, "expected {expected}, found the end of the line"),
            Self::InvalidUtf8 => f.write_str("not UTF-8"),
            Self::InvalidNumber(text) => write!(f, "invalid number {text:?}"),
            Self::InvalidTimestamp(text) => write!(f, "invalid timestamp {text:?}"),
            Self::InvalidType(text) => write!(f, "invalid metric type {text:?}"),
            Self::UnitNotInName(unit) => write!(f, "unit {unit:?} is not a suffix of the metric's name"),
            Self::MissingName => f.write_str("the sample has no metric name"),
            Self::RepeatedName => f.write_str("the metric name is already set"),
            Self::TooLong { limit } => write!(f, "longer than {limit} bytes"),
            Self::MissingEof => f.write_str("data does not end with # EOF"),
            Self::DataAfterEof => f.write_str("unexpected data after # EOF"),
            Self::Truncated => f.write_str("the page ends in the middle of a message"),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ParseError {}
