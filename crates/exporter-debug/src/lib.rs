//! The `debug` exporter, and `logging`, its old name.
//!
//! For each payload it writes a summary line with counts and, if configured, a dump: a line for each span, point or
//! record (`normal`), or every field (`detailed`), in the wording of the Go collector. Both are written to the
//! collector's own log, or directly to `stdout`, `stderr` or a file. Nothing is stored, and nothing is ever refused: a
//! payload that could not be shown counts as delivered.
#![forbid(unsafe_code)]

mod config;
mod detailed;
mod exporter;
mod factory;
mod normal;
mod sampler;
mod text;

pub use config::{DebugConfig, LoggingConfig, Verbosity};
pub use factory::{DebugFactory, LoggingFactory};

/// The dumps of a whole body, for comparison with those of the Go collector.
#[doc(hidden)]
pub mod dumps {
    use otelcore_pdata::{Rope, Signal};

    use crate::text::TextBuffer;

    /// What `verbosity: normal` shows for a checked body.
    #[must_use]
    pub fn normal_dump(signal: Signal, body: &Rope) -> Vec<u8> {
        let mut text = TextBuffer::default();
        crate::normal::write_dump(&mut text, signal, body);
        text.take_dump()
    }

    /// What `verbosity: detailed` shows for a checked body.
    #[must_use]
    pub fn detailed_dump(signal: Signal, body: &Rope) -> Vec<u8> {
        let mut text = TextBuffer::default();
        crate::detailed::write_dump(&mut text, signal, body);
        text.take_dump()
    }
}

#[cfg(test)]
mod tests;
