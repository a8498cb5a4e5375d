//! A log on disk: what was acknowledged is there after a crash, in order, byte for byte.
//!
//! [`Log`] is owned by the loop's thread and does no IO. It gives out jobs ([`Log::poll_job`]) for
//! [`otelcore_pipeline::Cx::run_file_job`], at most one of each [`JobKind`] at a time, and takes their results
//! ([`Log::handle_job_ends`]). What happened is read by [`Log::poll_event`]. A component does this after each call of
//! the log and after each [`otelcore_pipeline::Event::Ready`] of one of its keys:
//!
//! ```text
//! log.handle_job_ends();
//! while let Some((kind, job)) = log.poll_job() {
//!     // One key for each kind. A job that could not be passed on is given out again later.
//!     let _ = cx.run_file_job(first_key + kind.number(), job);
//! }
//! while let Some(event) = log.poll_event() { .. }
//! ```
//!
//! # On disk
//! - `log`: the identity of the log, a random number that is part of each checksum.
//! - `lock`: locked while a process has the log open.
//! - `NNNNNNNNNNNNNNNN.seg`: segments of records, in hexadecimal order (`format`). A segment is written front to back
//!   by one process, never appended to after a restart or after a failed write, and removed when all its records are
//!   marked delivered and the marks are durable.
//! - `delivered.log`: which sequences were delivered (`marks`). It may be behind: that costs repetitions, never loss.
//! - `reserve`: zeros. They are given up when the disk is full, so that marks can be written and segments be removed.
//! - `quarantine/`: bytes that are not a record any more, each file named by segment and offset.
//! - `dead/`: records that were given up with a reason, in segments of the same format.
//!
//! # Memory
//! What waits to be written ([`LogConfig::max_pending_bytes`]), one result of a read, an entry for each segment and an
//! interval for each gap between delivered sequences. Nothing depends on how much is on disk otherwise.
#![forbid(unsafe_code)]

mod config;
mod dead;
mod event;
mod faults;
mod format;
mod inspect;
mod interval_set;
mod layout;
mod log;
mod marks;
mod scan;
mod slot;
mod values;

pub use config::LogConfig;
pub use event::{LogEvent, OpenError, ReadResult, Recovered, Refused, Stats, Trouble};
pub use format::{FORMAT_VERSION, Record, RecordMeta};
pub use inspect::{Damage, DeadReader, DeadRecord, DeadStep, LogReader, ReaderStep, SegmentSummary, lock_log};
pub use layout::{BBOLT_NOTE, find_bbolt_file};
pub use log::{JobKind, Log};
pub use values::ValueFile;

#[cfg(test)]
mod tests;
