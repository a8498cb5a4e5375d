//! Tests of the dumps against golden texts, of the sections and their messages, and of an exporter with payloads.

mod config;
mod dumps;
mod exporter;
mod telemetry;
