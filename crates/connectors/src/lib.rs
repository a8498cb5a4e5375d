//! Light connectors, each behind a feature of its name: `forward`.
//!
//! A connector gets payloads from the pipelines that end in it and passes payloads to those that begin with it. Nothing here
//! performs IO; a connector with machinery of its own is a crate of its own.
#![forbid(unsafe_code)]

#[cfg(feature = "forward")]
mod forward;

#[cfg(feature = "forward")]
pub use forward::{ForwardConfig, ForwardFactory};
