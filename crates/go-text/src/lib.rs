//! Texts as Go's standard library reads and writes them, for components whose results are compared with those of the Go
//! collector.
//!
//! - [`time`]: layouts of Go, formats of strptime, time zones, durations.
//! - [`csv`], [`url`], [`json`]: what the packages of these names read.
//! - [`encodings`]: encodings of text by their IANA names.
//! - [`quote`]: `strconv.Quote` and `strconv.Unquote`.
//!
//! Performs no IO and reads no clock. Every function takes time linear in its text, or n log n.
#![forbid(unsafe_code)]

pub mod csv;
pub mod encodings;
pub mod entries;
pub mod json;
pub mod quote;
pub mod time;
pub mod url;
