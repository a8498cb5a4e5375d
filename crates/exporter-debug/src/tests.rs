//! Tests of the dumps against golden texts, of the sections and their messages, and of an exporter with payloads.

mod dumps;
mod sections;
mod stories;
mod telemetry;
