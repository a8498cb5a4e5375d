//! Errors become the exceptions of `python/otelcore/_errors.py`.

use otelcore::CollectorState;
use otelcore::EmbedError;
use otelcore::inproc::SubmitError;
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

/// The exceptions, by their names in Python.
#[derive(Clone, Copy)]
pub(crate) enum ExceptionClass {
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

impl ExceptionClass {
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

pub(crate) fn new_exception(class: ExceptionClass, message: &str) -> PyErr {
    Python::attach(|py| exception_with_args(py, class, (message,)))
}

fn exception_with_args<'py>(py: Python<'py>, class: ExceptionClass, args: impl PyCallArgs<'py>) -> PyErr {
    let create = || py.import("otelcore._errors")?.getattr(class.name())?.call1(args);
    create().map_or_else(|e| e, PyErr::from_value)
}

/// The exception for an error of a collector.
pub(crate) fn from_embed_error(py: Python<'_>, error: &EmbedError) -> PyErr {
    let text = error.to_string();
    let class = match error {
        EmbedError::Config(_) => ExceptionClass::Config,
        EmbedError::Start(e) => match e.os_error() {
            Some(number) => return exception_with_args(py, ExceptionClass::Start, (text, number)),
            None => ExceptionClass::Start,
        },
        EmbedError::Io(e) => return exception_with_args(py, ExceptionClass::Start, (text, e.raw_os_error())),
        EmbedError::State(CollectorState::Stopping | CollectorState::Stopped | CollectorState::Failed) => {
            ExceptionClass::Closed
        }
        EmbedError::State(_) | EmbedError::Reentrant | EmbedError::NeedsRestart(_) => ExceptionClass::State,
        EmbedError::Forked => ExceptionClass::Forked,
        EmbedError::Timeout(left) => {
            return exception_with_args(py, ExceptionClass::Deadline, (text, left.items.clone()));
        }
        _ => ExceptionClass::Otelcore,
    };
    exception_with_args(py, class, (text,))
}

/// The exception for an error of an input.
pub(crate) fn from_submit_error(py: Python<'_>, error: &SubmitError) -> PyErr {
    let text = error.to_string();
    let class = match error {
        SubmitError::NotStarted => ExceptionClass::State,
        SubmitError::Closed => ExceptionClass::Closed,
        SubmitError::Signal(_) => ExceptionClass::Config,
        SubmitError::Forked => ExceptionClass::Forked,
        SubmitError::Invalid(_) | SubmitError::Refused(_) => ExceptionClass::InvalidData,
        SubmitError::LoopThread => ExceptionClass::State,
        SubmitError::NoResult => {
            return exception_with_args(py, ExceptionClass::Deadline, (text, Vec::<(String, u64)>::new()));
        }
        SubmitError::Overloaded(pause) => {
            return exception_with_args(py, ExceptionClass::Overloaded, (text, pause.as_secs_f64()));
        }
        _ => ExceptionClass::Otelcore,
    };
    exception_with_args(py, class, (text,))
}
