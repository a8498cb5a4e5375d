//! The Prometheus page formats, for the exporter and for the collector's own metrics.
//!
//! Everything appends to a `Vec<u8>` that the caller keeps, so that a page is made without an allocation for each
//! sample: the labels of a series are rendered once into a *block* (`a="x",b="y"`, no braces) and copied from then on.
//! [`Accept::choose`] and [`Encoding::choose`] say which format and coding a scraper gets. Of the formats the text
//! format 0.0.4 is written today; the others are understood in negotiation once an [`Offer`] lists them.
//!
//! Nothing here knows what a metric means, keeps a series, or speaks HTTP.
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
