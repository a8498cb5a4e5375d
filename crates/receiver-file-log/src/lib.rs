//! The `file_log` receiver.
//!
//! [`FileConsumer`] is the machine: a step of it finds files and reads lines with a file system that it is given, and returns
//! requests. The receiver runs the steps as jobs on files and sends what they return; nothing is read on the loop.
#![forbid(unsafe_code)]

mod checkpoint;
mod checks;
mod config;
mod consumer;
mod file_set;
mod file_state;
mod finder;
mod glob;
mod gzip;
mod header;
mod matcher;
mod owners;
mod reader;
mod receiver;
mod splitter;
#[cfg(test)]
mod tests;

pub use config::{
    FileLogConfig, HeaderConfig, MultilineConfig, OrderingCriteriaConfig, RetryOnFailureConfig, SortConfig,
};
pub use consumer::{FileConsumer, Notice, StepOutput, StepTime};
pub use receiver::FileLogFactory;
