//! The types that a field can have.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Config, Shape};
use crate::convert::Integer;
use crate::{
    ComponentId, ConfigNode, EffectiveValue, GoDuration, HeaderEntry, Located, PipelineId, Section, nearest_name,
};

/// A type that a field of a [`config_struct!`](crate::config_struct) can have.
pub trait ConfigValue: Clone {
    /// Reads the key, with this value if it is absent. Mistakes are added to the diagnostics of the section, and the
    /// result is then the default.
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self;

    /// What the value can be.
    fn shape(default: &Self) -> Shape;

    /// The value as `print-config` shows it. That of a section is not used: its fields have values of their own.
    fn effective(&self) -> EffectiveValue;
}

/// A type for which `Option` means that null and absence are `None`.
pub trait ConfigScalar: Clone {
    /// Reads the key.
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self>;

    /// What the value can be.
    fn scalar_shape() -> Shape;

    /// The value as `print-config` shows it.
    fn scalar_effective(&self) -> EffectiveValue;
}

/// The type of an element of a list.
pub trait ConfigItem: Clone {
    /// Reads the whole list.
    fn read_list(s: &mut Section<'_>, key: &str, default: &[Self]) -> Vec<Self>;

    /// What the list can be.
    fn list_shape() -> Shape;

    /// The list as `print-config` shows it.
    fn list_effective(list: &[Self]) -> EffectiveValue;
}

impl<T: ConfigScalar> ConfigValue for Option<T> {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        T::read_optional(s, key)
    }

    fn shape(_: &Self) -> Shape {
        T::scalar_shape()
    }

    fn effective(&self) -> EffectiveValue {
        self.as_ref().map_or(EffectiveValue::Null, T::scalar_effective)
    }
}

impl<T: ConfigItem> ConfigValue for Vec<T> {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        T::read_list(s, key, default)
    }

    fn shape(_: &Self) -> Shape {
        T::list_shape()
    }

    fn effective(&self) -> EffectiveValue {
        T::list_effective(self)
    }
}

/// Implements the traits for a type with getters in [`Section`].
macro_rules! scalars {
    ($($t:ty: $get:ident, $optional:ident, $shape:expr, |$value:ident| $effective:expr;)*) => {$(
        impl ConfigValue for $t {
            fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
                s.$get(key, *default)
            }

            fn shape(_: &Self) -> Shape {
                $shape
            }

            fn effective(&self) -> EffectiveValue {
                let $value = self;
                $effective
            }
        }

        impl ConfigScalar for $t {
            fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
                s.$optional(key)
            }

            fn scalar_shape() -> Shape {
                $shape
            }

            fn scalar_effective(&self) -> EffectiveValue {
                ConfigValue::effective(self)
            }
        }
    )*};
}

/// The same for integers, which can be in lists as well.
macro_rules! integers {
    ($($t:ty),*) => {$(
        scalars! {
            $t: int, opt_int, Shape::Int { min: <$t>::MIN.to_i128(), max: <$t>::MAX.to_i128() },
                |value| EffectiveValue::Int(value.to_i128());
        }

        impl ConfigItem for $t {
            fn read_list(s: &mut Section<'_>, key: &str, default: &[Self]) -> Vec<Self> {
                s.int_list(key, default)
            }

            fn list_shape() -> Shape {
                Shape::List(Box::new(<Self as ConfigScalar>::scalar_shape()))
            }

            fn list_effective(list: &[Self]) -> EffectiveValue {
                EffectiveValue::List(list.iter().map(ConfigValue::effective).collect())
            }
        }
    )*};
}

integers! { u8, u16, u32, u64, usize, i32, i64, isize }

scalars! {
    bool: bool, opt_bool, Shape::Bool, |value| EffectiveValue::Bool(*value);
    GoDuration: duration, opt_duration, Shape::Duration, |value| EffectiveValue::Duration(*value);
}

impl ConfigValue for String {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        s.str(key, default)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Str
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.clone())
    }
}

impl ConfigScalar for String {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        s.opt_str(key)
    }

    fn scalar_shape() -> Shape {
        Shape::Str
    }

    fn scalar_effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.clone())
    }
}

impl ConfigValue for f64 {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        s.float(key, *default)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Float
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Float(*self)
    }
}

/// `None` without the key, which differs from an empty list.
impl ConfigScalar for Vec<String> {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        s.raw_node(key).is_some_and(|node| node.value != crate::NodeValue::Null).then(|| s.str_list(key, &[]))
    }

    fn scalar_shape() -> Shape {
        Shape::Words
    }

    fn scalar_effective(&self) -> EffectiveValue {
        ConfigValue::effective(self)
    }
}

fn dur(value: Duration) -> GoDuration {
    GoDuration(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
}

/// A negative duration is read as zero: where that is a mistake, the field has a bound.
impl ConfigValue for Duration {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        Self::from_nanos(s.duration(key, dur(*default)).nanos_or_zero())
    }

    fn shape(_: &Self) -> Shape {
        Shape::Duration
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Duration(dur(*self))
    }
}

impl ConfigScalar for Duration {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        s.opt_duration(key).map(|value| Self::from_nanos(value.nanos_or_zero()))
    }

    fn scalar_shape() -> Shape {
        Shape::Duration
    }

    fn scalar_effective(&self) -> EffectiveValue {
        ConfigValue::effective(self)
    }
}

/// A text that is redacted in `Debug` and where a configuration is printed, such as a password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OpaqueString(pub String);

impl fmt::Debug for OpaqueString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl ConfigValue for OpaqueString {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        Self(s.opaque(key, &default.0))
    }

    fn shape(_: &Self) -> Shape {
        Shape::Secret
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Opaque(self.0.clone())
    }
}

/// Any value: null and absence are `None`.
impl ConfigScalar for ConfigNode {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        s.raw_node(key).filter(|node| node.value != crate::NodeValue::Null).cloned()
    }

    fn scalar_shape() -> Shape {
        Shape::Any
    }

    fn scalar_effective(&self) -> EffectiveValue {
        EffectiveValue::from(self)
    }
}

// ---- lists and maps -------------------------------------------------------------------------------------------------

impl ConfigItem for String {
    fn read_list(s: &mut Section<'_>, key: &str, default: &[Self]) -> Vec<Self> {
        let default: Vec<&str> = default.iter().map(Self::as_str).collect();
        s.str_list(key, &default)
    }

    fn list_shape() -> Shape {
        Shape::Words
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().cloned().map(EffectiveValue::Str).collect())
    }
}

impl ConfigItem for f64 {
    fn read_list(s: &mut Section<'_>, key: &str, default: &[Self]) -> Vec<Self> {
        s.float_list(key, default)
    }

    fn list_shape() -> Shape {
        Shape::List(Box::new(Shape::Float))
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().copied().map(EffectiveValue::Float).collect())
    }
}

impl ConfigItem for GoDuration {
    fn read_list(s: &mut Section<'_>, key: &str, default: &[Self]) -> Vec<Self> {
        s.duration_list(key, default)
    }

    fn list_shape() -> Shape {
        Shape::List(Box::new(Shape::Duration))
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().copied().map(EffectiveValue::Duration).collect())
    }
}

/// A map of texts, in the order of the file.
impl ConfigItem for (String, String) {
    fn read_list(s: &mut Section<'_>, key: &str, _: &[Self]) -> Vec<Self> {
        s.str_map(key)
    }

    fn list_shape() -> Shape {
        Shape::Map(Box::new(Shape::Str))
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::map(list.iter().map(|(key, value)| (key.clone(), EffectiveValue::Str(value.clone()))))
    }
}

impl ConfigItem for HeaderEntry {
    fn read_list(s: &mut Section<'_>, key: &str, _: &[Self]) -> Vec<Self> {
        s.headers(key)
    }

    fn list_shape() -> Shape {
        Shape::Headers
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        let pairs = list.iter().map(|header| (header.name.clone(), EffectiveValue::Opaque(header.value.clone())));
        EffectiveValue::map(pairs)
    }
}

impl ConfigItem for Located<ComponentId> {
    fn read_list(s: &mut Section<'_>, key: &str, _: &[Self]) -> Vec<Self> {
        s.component_ids(key)
    }

    fn list_shape() -> Shape {
        Shape::List(Box::new(Shape::Str))
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().map(|id| EffectiveValue::Str(id.to_string())).collect())
    }
}

impl ConfigItem for PipelineId {
    fn read_list(s: &mut Section<'_>, key: &str, _: &[Self]) -> Vec<Self> {
        s.pipeline_ids(key)
    }

    fn list_shape() -> Shape {
        Shape::List(Box::new(Shape::Str))
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().map(|id| EffectiveValue::Str(id.to_string())).collect())
    }
}

impl ConfigItem for Vec<PipelineId> {
    fn read_list(s: &mut Section<'_>, key: &str, _: &[Self]) -> Vec<Self> {
        s.pipeline_id_lists(key)
    }

    fn list_shape() -> Shape {
        Shape::List(Box::new(Shape::List(Box::new(Shape::Str))))
    }

    fn list_effective(list: &[Self]) -> EffectiveValue {
        EffectiveValue::List(list.iter().map(|ids| PipelineId::list_effective(ids)).collect())
    }
}

/// A map with free keys whose values are sections.
impl<T: Config> ConfigValue for BTreeMap<String, T> {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let mut map = s.section(key);
        let mut all = Self::new();
        for name in map.child_keys() {
            let section = map.section(&name.value);
            all.insert(name.value, T::read_section(section, &T::default()));
        }
        map.finish();
        all
    }

    fn shape(_: &Self) -> Shape {
        Shape::Map(Box::new(Shape::section(T::fields(&T::default()))))
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Map(BTreeMap::new())
    }
}

// ---- words ----------------------------------------------------------------------------------------------------------

/// Reads one of these words; each entry has the words for one value, of which the first one is its name. For null the
/// result is the value with the empty word or, without one, the first value. With `unknown` the error for another word
/// has this message and hint, in which `{key}` and `{word}` are replaced. Returns the index of the entry.
pub fn read_word(
    s: &mut Section<'_>,
    key: &str,
    words: &[&[&'static str]],
    default: usize,
    unknown: Option<(&str, &str)>,
) -> usize {
    let name = |index: usize| words.get(index).and_then(|names| names.first()).copied().unwrap_or("");
    let Some((message, hint)) = unknown else {
        let mut all: Vec<&'static str> = words.iter().flat_map(|names| names.iter().copied()).collect();
        // The first word is the value of null.
        all.sort_by_key(|word| !word.is_empty());
        let word = s.one_of_strings(key, &all, name(default));
        return words.iter().position(|names| names.contains(&word)).unwrap_or(default);
    };
    let word = s.str(key, name(default));
    if let Some(found) = words.iter().position(|names| names.contains(&word.as_str())) {
        return found;
    }
    let fill = |text: &str| text.replace("{key}", key).replace("{word}", &word);
    let near =
        nearest_name(&word, words.iter().flat_map(|names| names.iter().copied()).filter(|name| !name.is_empty()));
    let help = if hint.is_empty() { near.map(|near| format!("did you mean `{near}`?")) } else { Some(fill(hint)) };
    s.error(key, fill(message)).maybe_help(help);
    default
}
