//! The native half of the Python package `otelcore`.
//!
//! It holds handles and translates bytes, durations and errors. The interface that a Python program uses is in
//! `python/otelcore`. Three rules keep a Python process safe with it:
//!
//! - No code here ever calls Python from the collector's thread. Batches and log records are pulled by Python's
//!   threads, because a native thread that asks for the GIL while the interpreter exits never returns.
//! - Every call that may wait releases the GIL, in slices, so that Ctrl-C and the interpreter's exit are noticed.
//! - A forked child leaks what it has inherited ([`process::ProcessOwned`]): dropping it would damage the parent's
//!   state.
#![forbid(unsafe_code)]

mod data;
mod encode;
mod engine;
mod errors;
mod log;
mod process;
mod processor;
mod status;

use std::ffi::OsString;
use std::io::IsTerminal;

use pyo3::prelude::*;

/// Runs the command line `args`, the program's name first, and returns the exit code.
#[pyfunction]
fn command(py: Python<'_>, args: Vec<OsString>) -> u8 {
    process::without_gil(py, || {
        let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
        let mut terminal = otelcore::commands::Terminal {
            is_terminal: out.is_terminal(),
            out: &mut out,
            err: &mut err,
            env: &|name| std::env::var(name).ok(),
        };
        otelcore::commands::run_command_line(args, otelcore::Registry::default(), &mut terminal)
    })
}

/// The native module that `python/otelcore` is built on; its interface is private.
#[pymodule(gil_used = false)]
mod _otelcore {
    #[pymodule_export]
    use super::command;
    #[pymodule_export]
    use super::data::{Batch, Input, Output};
    #[pymodule_export]
    use super::encode::{Request, encode};
    #[pymodule_export]
    use super::engine::{Driven, Engine};
    #[pymodule_export]
    use super::log::LogQueue;
    #[pymodule_export]
    use super::process::{exiting, forked};
    #[pymodule_export]
    use super::processor::{Item, Payload, Processor};
    #[pymodule_export]
    use super::status::StatusQueue;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
