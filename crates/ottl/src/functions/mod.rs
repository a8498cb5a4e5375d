//! Editors and converters.
//!
//! Each declares a [`crate::Function`]; [`STANDARD`] lists them. Nothing here reads paths by itself.

mod set;

use crate::function::Function;

/// The functions that every context has.
pub const STANDARD: &[Function] = &[set::FUNCTION];
