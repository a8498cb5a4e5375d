//! Errors become the exceptions of `python/otelcore/_errors.py`.

use otelcore::EmbedError;
use otelcore::State;
use otelcore::inproc::Refused;
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

/// The exceptions, by their names in Python.
#[derive(Clone, Copy)]
pub(crate) enum Class {
    Otelcore,
    Config,
    Start,
    State,
    Closed,
    Forked,
    InvalidData,
    Overloaded,
    Deadline,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Otelcore => "OtelcoreError",
            Self::Config => "ConfigError",
            Self::Start => "StartError",
            Self::State => "StateError",
            Self::Closed => "ClosedError",
            Self::Forked => "ForkedError",
            Self::InvalidData => "InvalidDataError",
            Self::Overloaded => "OverloadedError",
            Self::Deadline => "DeadlineError",
        }
    }
}

pub(crate) fn new(class: Class, message: &str) -> PyErr {
    Python::attach(|py| with(py, class, (message,)))
}

fn with<'py>(py: Python<'py>, class: Class, args: impl PyCallArgs<'py>) -> PyErr {
    let made = || py.import("otelcore._errors")?.getattr(class.name())?.call1(args);
    made().map_or_else(|e| e, PyErr::from_value)
}

/// The exception for an error of a collector.
pub(crate) fn of_embedded(py: Python<'_>, error: &EmbedError) -> PyErr {
    let text = error.to_string();
    let class = match error {
        EmbedError::Config(_) => Class::Config,
        EmbedError::Start(_) => Class::Start,
        EmbedError::Listen(_, errno) => return with(py, Class::Start, (text, *errno)),
        EmbedError::Io(e) => return with(py, Class::Start, (text, e.raw_os_error())),
        EmbedError::State(State::Stopping | State::Stopped | State::Failed) => Class::Closed,
        EmbedError::State(_) | EmbedError::Reentrant => Class::State,
        EmbedError::Forked => Class::Forked,
        EmbedError::Timeout(left) => return with(py, Class::Deadline, (text, left.items.clone())),
        _ => Class::Otelcore,
    };
    with(py, class, (text,))
}

/// The exception for an error of an input.
pub(crate) fn of_refused(py: Python<'_>, refused: &Refused) -> PyErr {
    let text = refused.to_string();
    let class = match refused {
        Refused::NotStarted => Class::State,
        Refused::Closed => Class::Closed,
        Refused::Signal(_) => Class::Config,
        Refused::Forked => Class::Forked,
        Refused::Invalid(_) => Class::InvalidData,
        Refused::Overloaded(pause) => return with(py, Class::Overloaded, (text, pause.as_secs_f64())),
        _ => Class::Otelcore,
    };
    with(py, class, (text,))
}
