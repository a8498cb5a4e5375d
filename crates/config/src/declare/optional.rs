//! A section that can be off.

use super::{Config, ConfigValue, Shape};
use crate::{EffectiveValue, OptionalFlavor, Section};

/// A section that can be off, as Go's `configoptional.Optional`. It is off with `enabled: false`; what absence and null
/// mean depends on the default.
#[derive(Clone, Debug)]
pub struct Optional<T> {
    value: T,
    flavor: OptionalFlavor,
}

impl<T> Optional<T> {
    /// On with these values. As a default: the section is on unless `enabled: false` is written.
    pub const fn on(value: T) -> Self {
        Self { value, flavor: OptionalFlavor::Some }
    }

    /// Off. As a default: null and a map turn the section on, with these values for keys that are not written.
    pub const fn on_null(value: T) -> Self {
        Self { value, flavor: OptionalFlavor::Default }
    }

    /// Off. As a default: a map turns the section on, with these values for keys that are not written; null does not.
    pub const fn off(value: T) -> Self {
        Self { value, flavor: OptionalFlavor::None }
    }

    /// The section, if it is on.
    pub fn get(&self) -> Option<&T> {
        (self.flavor == OptionalFlavor::Some).then_some(&self.value)
    }

    /// The section, if it is on.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        (self.flavor == OptionalFlavor::Some).then_some(&mut self.value)
    }

    /// The section, if it is on.
    pub fn into_option(self) -> Option<T> {
        (self.flavor == OptionalFlavor::Some).then_some(self.value)
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.flavor == OptionalFlavor::Some
    }
}

/// Equal if both are off, or both are on with the same values.
impl<T: PartialEq> PartialEq for Optional<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for Optional<T> {}

/// A section that is on.
impl<T> From<T> for Optional<T> {
    fn from(value: T) -> Self {
        Self::on(value)
    }
}

impl<T: Default> Default for Optional<T> {
    fn default() -> Self {
        Self::off(T::default())
    }
}

impl<T: Config> ConfigValue for Optional<T> {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        match s.optional_section(key, default.flavor) {
            Some(section) => Self::on(T::read_section(section, &default.value)),
            None => Self::off(default.value.clone()),
        }
    }

    fn shape(default: &Self) -> Shape {
        Shape::Optional { fields: T::fields(&default.value), flavor: default.flavor }
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Null
    }
}
