//! The native half of the Python package `otelcore`.
//!
//! It holds handles and translates: bytes, durations, errors. What a Python program sees is put together in
//! `python/otelcore`. Three rules keep a Python process safe with it:
//!
//! - Nothing here ever calls Python from the collector's thread. Batches and log records are pulled by Python's threads,
//!   since a native thread that wants the interpreter while that ends never comes back.
//! - Whatever may wait gives the GIL away, in slices, so that Ctrl-C and the interpreter's end are noticed.
//! - A forked child leaks what it has inherited ([`process::Own`]): taking it down would hurt the parent.
#![forbid(unsafe_code)]

mod ends;
mod engine;
mod errors;
mod log;
mod process;

use std::ffi::OsString;
use std::io::IsTerminal;

use pyo3::prelude::*;

/// Runs the command line `args`, the program's name first, and gives the exit code.
#[pyfunction]
fn command(py: Python<'_>, args: Vec<OsString>) -> u8 {
    process::outside(py, || {
        let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
        let mut terminal = otelcore::commands::Terminal {
            interactive: out.is_terminal(),
            out: &mut out,
            err: &mut err,
            env: &|name| std::env::var(name).ok(),
        };
        otelcore::commands::main(args, otelcore::Registry::default(), &mut terminal)
    })
}

/// What `python/otelcore` stands on; its interface is private.
#[pymodule(gil_used = false)]
mod _otelcore {
    #[pymodule_export]
    use super::command;
    #[pymodule_export]
    use super::ends::{Batch, Input, Output};
    #[pymodule_export]
    use super::engine::{Driven, Engine};
    #[pymodule_export]
    use super::log::LogQueue;
    #[pymodule_export]
    use super::process::{exiting, forked};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
