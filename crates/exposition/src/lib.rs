//! The Prometheus page formats, for the exporter and for the collector's own metrics.
//!
//! All functions append to a `Vec<u8>` that the caller keeps, so that a page is written without an allocation for each
//! sample: the labels of a series are rendered once into a *block* (`a="x","b.c"="y"`, no braces) and copied afterwards.
//! [`NegotiatedFormat::negotiate`] and [`PageEncoding::negotiate`] return the format and coding for a scraper.
//! [`SeriesHead`] writes the two text formats, [`protobuf`] the messages of the third.
//!
//! [`parse`] reads the three formats of a scraper: text 0.0.4, OpenMetrics 1.0 and delimited protobuf.
//!
//! Nothing here interprets metrics, keeps series, or implements HTTP.
#![forbid(unsafe_code)]

mod accept;
mod block;
mod dialect;
mod exemplar;
mod label_text;
mod name;
mod number;
pub mod parse;
pub mod protobuf;
mod text;

pub use accept::{NameEscaping, NegotiatedFormat, PageEncoding, PageFormat, SupportedFormats};
pub use block::{BlockLabels, PageLabel, compare_blocks, escape_block, escape_labels, sorted_escaped_block, unescape};
pub use dialect::TextDialect;
pub use exemplar::TraceExemplar;
pub use label_text::{has_escapes, write_label, write_label_name, write_quoted_text};
pub use name::{NameEscaper, escape_label_name, escape_name, is_legacy_label_name, is_legacy_name};
pub use number::write_float;
pub use text::{MetricType, PageName, SampleLine, SampleValue, SeriesHead, write_family_header};

/// The last line of an OpenMetrics page.
pub const OPEN_METRICS_END: &[u8] = b"# EOF\n";

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
