//! Why a component can't start, and who is at fault.

use std::fmt::{self, Display};
use std::io;

/// Why a component could not be made or started. The message says what failed, and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is at fault: it has to be changed.
    #[error("{0}")]
    Config(String),
    /// The system refused something, for example an address that is in use or a file that is absent.
    #[error("{message}")]
    System {
        /// What was refused, and why.
        message: String,
        /// The system's number of the error, for example that of `EADDRINUSE`.
        os_error: Option<i32>,
    },
}

impl StartError {
    /// What is at fault, with another message, made of this one.
    #[must_use]
    pub fn map_message(self, message: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Config(text) => Self::Config(message(&text)),
            Self::System { message: text, os_error } => Self::System { message: message(&text), os_error },
        }
    }

    /// The same error, after `context` and a colon.
    #[must_use]
    pub fn in_context(self, context: impl Display) -> Self {
        self.map_message(|message| format!("{context}: {message}"))
    }

    /// The system's number of the error, if it was one of the system.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::Config(_) => None,
            Self::System { os_error, .. } => *os_error,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System { message: error.to_string(), os_error: os_error(&error) }
    }
}

/// An error of the system with the text of Go's error, and its number.
#[derive(Debug)]
struct SystemError {
    text: String,
    os_error: Option<i32>,
}

impl Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SystemError {}

/// `error` with another text. [`os_error`] still returns its number.
#[must_use]
pub fn error_with_text(error: &io::Error, text: String) -> io::Error {
    io::Error::new(error.kind(), SystemError { text, os_error: os_error(error) })
}

/// The system's number of an error, of one with another text too.
#[must_use]
pub fn os_error(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| error.get_ref()?.downcast_ref::<SystemError>()?.os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_the_system_survives_another_text_and_a_context() {
        let in_use =
            error_with_text(&io::Error::from_raw_os_error(98), "listen tcp :1: bind: address in use".to_owned());
        let error = StartError::from(in_use).in_context("failed to start");
        assert_eq!(error.to_string(), "failed to start: listen tcp :1: bind: address in use");
        assert_eq!(error.os_error(), Some(98));
        assert_eq!(StartError::Config("wrong".to_owned()).in_context("x").os_error(), None);
    }
}
