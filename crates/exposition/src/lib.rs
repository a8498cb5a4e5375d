//! The Prometheus page formats, for the exporter and for the collector's own metrics.
//!
//! All functions append to a `Vec<u8>` that the caller keeps, so that a page is written without an allocation for each
//! sample: the labels of a series are rendered once into a *block* (`a="x",b="y"`, no braces) and copied afterwards.
//! [`Accept::choose`] and [`Encoding::choose`] return the format and coding for a scraper. Only the text format 0.0.4
//! is implemented; the others take part in negotiation once an [`Offer`] lists them.
//!
//! Nothing here interprets metrics, keeps series, or implements HTTP.
#![forbid(unsafe_code)]

mod accept;
mod name;
mod number;
mod text;

pub use accept::{Accept, Encoding, Escaping, Format, Offer};
pub use name::{LabelNameError, is_legacy, label_name, put_underscored};
pub use number::put_float;
pub use text::{
    Kind, compare_blocks, put_family, put_histogram, put_label, put_label_value, put_sample, put_sample_with,
    put_summary,
};
