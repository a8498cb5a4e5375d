//! The functions that may be called, by name.

use std::collections::BTreeMap;

use crate::function::Function;
use crate::functions::STANDARD;

/// Functions by name.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    by_name: BTreeMap<&'static str, Function>,
}

impl Functions {
    /// The standard editors and converters.
    #[must_use]
    pub fn standard() -> Self {
        Self::default().with(STANDARD)
    }

    /// The standard converters, without editors: what conditions may call.
    #[must_use]
    pub fn standard_converters() -> Self {
        let mut functions = Self::standard();
        functions.by_name.retain(|name, _| name.starts_with(|c: char| c.is_ascii_uppercase()));
        functions
    }

    /// These functions and others. One of the same name takes the place of the one before.
    #[must_use]
    pub fn with(mut self, functions: &[Function]) -> Self {
        self.by_name.extend(functions.iter().map(|function| (function.name, *function)));
        self
    }

    /// The function of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Function> {
        self.by_name.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }
}
