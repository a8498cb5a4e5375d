//! The parsers of pages: cases from the formats' specifications, pages that Prometheus's parser has read, and properties.

mod cases;
mod dump;
mod properties;
mod protobuf;
mod recorded;
