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
mod normal;
mod sampler;
mod text;

pub use config::{Debug, DebugFactory, LoggingFactory, Verbosity};

/// The dumps of a whole body, for comparison with those of the Go collector.
#[doc(hidden)]
pub mod oracle {
    use otelcore_pdata::{Rope, Signal};

    use crate::text::Text;

    /// What `verbosity: normal` shows for a checked body.
    #[must_use]
    pub fn normal(signal: Signal, body: &Rope) -> Vec<u8> {
        let mut text = Text::default();
        crate::normal::write(&mut text, signal, body);
        text.take()
    }

    /// What `verbosity: detailed` shows for a checked body.
    #[must_use]
    pub fn detailed(signal: Signal, body: &Rope) -> Vec<u8> {
        let mut text = Text::default();
        crate::detailed::write(&mut text, signal, body);
        text.take()
    }
}

#[cfg(test)]
mod tests;
