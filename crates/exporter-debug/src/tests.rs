//! The dumps against golden texts, the sections and their messages, and payloads on their way through an exporter.

mod dumps;
mod sections;
mod stories;
mod telemetry;
