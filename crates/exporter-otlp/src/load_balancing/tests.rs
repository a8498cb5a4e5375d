//! Tests of the exporter as a whole, and its comparison with the Go collector.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod differential;
mod exporter;
