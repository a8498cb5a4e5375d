//! The Prometheus page formats, for the exporter and for the collector's own metrics.
//!
//! All functions append to a `Vec<u8>` that the caller keeps, so that a page is written without an allocation for each
//! sample: the labels of a series are rendered once into a *block* (`a="x",b="y"`, no braces) and copied afterwards.
//! [`NegotiatedFormat::negotiate`] and [`PageEncoding::negotiate`] return the format and coding for a scraper. Of the
//! writers, only the text format 0.0.4 is implemented; the others take part in negotiation once [`SupportedFormats`] lists them.
//!
//! [`parse`] reads the three formats of a scraper: text 0.0.4, OpenMetrics 1.0 and delimited protobuf.
//!
//! Nothing here interprets metrics, keeps series, or implements HTTP.
#![forbid(unsafe_code)]

mod accept;
mod name;
mod number;
pub mod parse;
mod text;

pub use accept::{NameEscaping, NegotiatedFormat, PageEncoding, PageFormat, SupportedFormats};
pub use name::{is_legacy_name, write_underscored};
pub use number::write_float;
pub use text::{
    MetricType, compare_blocks, write_family_header, write_histogram, write_label, write_label_value, write_sample,
    write_sample_with_number_label, write_summary,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
