//! The macros that declare configuration types.

/// Declares a struct of keys: the struct with `Clone`, `Debug`, `Default`, [`Config`](crate::declare::Config) and the
/// implementations for its use as a field or as an element of a list. See [`declare`](crate::declare).
#[macro_export]
macro_rules! config_struct {
    // ---- options of the struct
    (@check $config:ident $s:ident [check = $check:expr]) => {
        ($check)(&mut $config, $s);
    };
    (@check $config:ident $s:ident [$($other:tt)*]) => {};
    (@refuse $s:ident [unsupported($key:literal, $sentence:expr)]) => {
        $s.refuse_unsupported($key, $sentence);
    };
    (@refuse $s:ident [$($other:tt)*]) => {};
    (@refused $fields:ident [unsupported($key:literal, $sentence:expr)]) => {
        $fields.push($crate::declare::Field::unsupported($key, $sentence));
    };
    (@refused $fields:ident [$($other:tt)*]) => {};

    // ---- options of a field
    (@option $field:ident [$name:ident = $value:expr]) => {
        $field.$name($value);
    };
    (@option $field:ident [$name:ident($first:expr, $message:expr, $hint:expr)]) => {
        $field.$name($first, ($message, $hint));
    };
    (@option $field:ident [$name:ident($($argument:expr),*)]) => {
        $field.$name($($argument),*);
    };
    (@read $s:ident $defaults:ident $name:ident $ty:ty, [[flatten] $($option:tt)*]) => {
        <$ty as $crate::declare::Config>::read_keys($s, &$defaults.$name)
    };
    (@read $s:ident $defaults:ident $name:ident $ty:ty, [[skip] $($option:tt)*]) => {
        ::core::clone::Clone::clone(&$defaults.$name)
    };
    (@read $s:ident $defaults:ident $name:ident $ty:ty, [$($option:tt)*]) => {{
        #[allow(unused_mut, reason = "changed where there is an option")]
        let mut key = $crate::declare::Field::new(stringify!($name));
        $($crate::config_struct!(@option key $option);)*
        key.read($s, &$defaults.$name)
    }};
    (@describe $fields:ident $defaults:ident $name:ident $ty:ty, [$($doc:literal)*] [[flatten] $($option:tt)*]) => {
        $fields.extend(<$ty as $crate::declare::Config>::fields(&$defaults.$name));
    };
    (@describe $fields:ident $defaults:ident $name:ident $ty:ty, [$($doc:literal)*] [[skip] $($option:tt)*]) => {};
    (@describe $fields:ident $defaults:ident $name:ident $ty:ty, [$($doc:literal)*] [$($option:tt)*]) => {
        let key = $crate::declare::Field::add(&mut $fields, stringify!($name));
        $($crate::config_struct!(@option key $option);)*
        key.doc(&[$($doc),*]);
        key.with(&$defaults.$name);
    };
    (@default) => {
        ::core::default::Default::default()
    };
    (@default $default:expr) => {
        $default
    };

    // ---- the declaration
    (
        $(#[doc = $doc:literal])*
        $(#[config($($option:tt)*)])*
        $(#[derive($($derive:path),* $(,)?)])?
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                $(#[config($($field_option:tt)*)])*
                $field_vis:vis $field:ident: $ty:ty $(= $default:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        $(#[derive($($derive),*)])?
        $vis struct $name {
            $(
                $(#[doc = $field_doc])*
                $field_vis $field: $ty,
            )*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::config_struct!(@default $($default)?),)* }
            }
        }

        impl $crate::declare::Config for $name {
            const DOC: &'static str = concat!($($doc, "\n",)* "");

            fn read_keys(s: &mut $crate::Section<'_>, defaults: &Self) -> Self {
                // Not used where there are no keys.
                let _ = (&*s, defaults);
                $(let $field: $ty = $crate::config_struct!(@read s defaults $field $ty, [$([$($field_option)*])*]);)*
                $($crate::config_struct!(@refuse s [$($option)*]);)*
                #[allow(unused_mut, reason = "changed where there is a check")]
                let mut config = Self { $($field,)* };
                $($crate::config_struct!(@check config s [$($option)*]);)*
                config
            }

            fn fields(defaults: &Self) -> ::std::vec::Vec<$crate::declare::Field> {
                let _ = defaults;
                #[allow(unused_mut, reason = "changed where there is a key")]
                let mut fields = ::std::vec::Vec::<$crate::declare::Field>::new();
                $(
                    $crate::config_struct!(
                        @describe fields defaults $field $ty, [$($field_doc)*] [$([$($field_option)*])*]
                    );
                )*
                $($crate::config_struct!(@refused fields [$($option)*]);)*
                fields
            }
        }

        impl $crate::declare::ConfigValue for $name {
            fn read(s: &mut $crate::Section<'_>, key: &str, default: &Self) -> Self {
                let section = s.section(key);
                <Self as $crate::declare::Config>::read_section(section, default)
            }

            fn shape(default: &Self) -> $crate::declare::Shape {
                $crate::declare::Shape::section(<Self as $crate::declare::Config>::fields(default))
            }

            fn effective(&self) -> $crate::EffectiveValue {
                $crate::EffectiveValue::Map(::std::collections::BTreeMap::new())
            }
        }

        impl $crate::declare::ConfigScalar for $name {
            fn read_optional(s: &mut $crate::Section<'_>, key: &str) -> ::core::option::Option<Self> {
                let section = s.written_section(key)?;
                let defaults = <Self as ::core::default::Default>::default();
                ::core::option::Option::Some(<Self as $crate::declare::Config>::read_section(section, &defaults))
            }

            fn scalar_shape() -> $crate::declare::Shape {
                let defaults = <Self as ::core::default::Default>::default();
                <Self as $crate::declare::ConfigValue>::shape(&defaults)
            }

            fn scalar_effective(&self) -> $crate::EffectiveValue {
                $crate::EffectiveValue::Null
            }
        }

        impl $crate::declare::ConfigItem for $name {
            fn read_list(s: &mut $crate::Section<'_>, key: &str, _: &[Self]) -> ::std::vec::Vec<Self> {
                let defaults = <Self as ::core::default::Default>::default();
                let sections = s.sections(key).into_iter();
                sections.map(|s| <Self as $crate::declare::Config>::read_section(s, &defaults)).collect()
            }

            fn list_shape() -> $crate::declare::Shape {
                let defaults = <Self as ::core::default::Default>::default();
                let shape = <Self as $crate::declare::ConfigValue>::shape(&defaults);
                $crate::declare::Shape::List(::std::boxed::Box::new(shape))
            }

            fn list_effective(_: &[Self]) -> $crate::EffectiveValue {
                $crate::EffectiveValue::List(::std::vec::Vec::new())
            }
        }
    };
}

/// Declares an enum whose values are words: the enum with `Clone`, `Copy`, `PartialEq`, `Eq`, `Debug`, `Default` (the
/// first value), `ALL`, `name` and [`ConfigValue`](crate::declare::ConfigValue). A value may have several words
/// (`None = "none" | ""`), of which the first one is its name. Null is the value with the empty word, else the first.
///
/// `#[config(unknown = "'{key}' unknown level: {word}", hint = "write a or b")]` replaces the error for other words; an
/// empty hint suggests the nearest word.
#[macro_export]
macro_rules! config_enum {
    (@unknown) => {
        ::core::option::Option::None
    };
    (@unknown $message:expr, $hint:expr) => {
        ::core::option::Option::Some(($message, $hint))
    };
    (
        $(#[doc = $doc:literal])*
        $(#[config(unknown = $message:expr, hint = $hint:expr)])?
        $(#[derive($($derive:path),* $(,)?)])?
        $vis:vis enum $name:ident {
            $(#[doc = $first_doc:literal])*
            $first:ident = $first_word:literal $(| $first_alias:literal)*
            $(,
                $(#[doc = $value_doc:literal])*
                $value:ident = $word:literal $(| $alias:literal)*
            )* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        $(#[derive($($derive),*)])?
        $vis enum $name {
            $(#[doc = $first_doc])*
            #[default]
            $first,
            $(
                $(#[doc = $value_doc])*
                $value,
            )*
        }

        impl $name {
            /// Every value.
            $vis const ALL: &'static [Self] = &[Self::$first, $(Self::$value),*];

            /// The words of every value, the name first.
            const WORDS: &'static [&'static [&'static str]] =
                &[&[$first_word $(, $first_alias)*], $(&[$word $(, $alias)*]),*];

            /// Its name in a configuration.
            #[must_use]
            $vis const fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$value => $word,)*
                }
            }
        }

        impl $crate::declare::ConfigValue for $name {
            fn read(s: &mut $crate::Section<'_>, key: &str, default: &Self) -> Self {
                let index = Self::ALL.iter().position(|value| value == default).unwrap_or(0);
                let unknown = $crate::config_enum!(@unknown $($message, $hint)?);
                let found = $crate::declare::read_word(s, key, Self::WORDS, index, unknown);
                Self::ALL.get(found).copied().unwrap_or(*default)
            }

            fn shape(_: &Self) -> $crate::declare::Shape {
                let words = Self::WORDS.iter().flat_map(|names| names.iter().copied());
                $crate::declare::Shape::OneOf(words.filter(|word| !word.is_empty()).collect())
            }

            fn effective(&self) -> $crate::EffectiveValue {
                $crate::EffectiveValue::Str(self.name().to_owned())
            }
        }
    };
}
