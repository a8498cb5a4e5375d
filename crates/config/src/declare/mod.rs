//! Configuration types that are declared once: one declaration gives the struct, its defaults, the reader with its
//! diagnostics, and a description from which the JSON Schema and the reference of the manual are made.
//!
//! This module depends on no component. It reads through [`Section`], whose messages it does not change, and never prints.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use otelcore_config::{Diagnostics, GoDuration, Section, from_yaml};
//! use otelcore_config::declare::{Config, OpaqueString, Optional};
//! use otelcore_config::{config_enum, config_struct};
//!
//! config_enum! {
//!     /// The unit of `queue_size`.
//!     pub enum Sizer {
//!         /// Payloads.
//!         Requests = "requests",
//!         /// Spans, data points, log records.
//!         Items = "items",
//!     }
//! }
//!
//! config_struct! {
//!     /// `sending_queue`.
//!     #[config(check = Self::check)]
//!     #[config(unsupported("storage", "a persistent queue is not supported yet"))]
//!     pub struct QueueConfig {
//!         /// Payloads in flight at once.
//!         #[config(at_least(1, "`num_consumers` must be positive"))]
//!         pub num_consumers: i64 = 10,
//!         /// Capacity, in units of `sizer`.
//!         pub queue_size: u64 = 1000,
//!         /// Unit of `queue_size`.
//!         pub sizer: Sizer = Sizer::Requests,
//!         /// Before version 0.1: the number of consumers.
//!         #[config(deprecated = "`num_consumers:`")]
//!         pub workers: Option<i64>,
//!     }
//! }
//!
//! impl QueueConfig {
//!     /// Rules that concern several keys. Runs after all keys are read.
//!     fn check(&mut self, s: &mut Section<'_>) {
//!         self.num_consumers = self.workers.take().unwrap_or(self.num_consumers);
//!         if self.sizer == Sizer::Items && self.queue_size < 100 {
//!             s.error("queue_size", "a queue of items must hold at least 100");
//!         }
//!     }
//! }
//!
//! config_struct! {
//!     /// Keys of every client.
//!     pub struct ClientConfig {
//!         /// `host:port` of the peer.
//!         pub endpoint: String,
//!         /// The password.
//!         pub password: OpaqueString,
//!     }
//! }
//!
//! config_struct! {
//!     /// Sends telemetry to the example service.
//!     pub struct ExampleConfig {
//!         /// The peer. Its keys are beside the others, not in a section of their own.
//!         #[config(flatten)]
//!         pub client: ClientConfig = ClientConfig { endpoint: "localhost:1".to_owned(), ..ClientConfig::default() },
//!         /// Time limit of one request; zero disables it.
//!         #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
//!         pub timeout: Duration = Duration::from_secs(5),
//!         /// An optional section that is on by default.
//!         pub sending_queue: Optional<QueueConfig> = Optional::on(QueueConfig::default()),
//!         /// Not a key: keeps its default, and `check` may change it.
//!         #[config(skip)]
//!         pub requests: u64,
//!     }
//! }
//!
//! let d = Diagnostics::new();
//! let yaml = from_yaml("timeout: -1s\nsending_queue: {queue_size: 50, sizer: items, workers: 3}\n", &d).unwrap();
//! let section = Section::new(Some(&yaml), "exporters::example", &d);
//! let config = ExampleConfig::read_section(section, &ExampleConfig::default());
//! assert_eq!(config.client.endpoint, "localhost:1");
//! assert_eq!(config.sending_queue.get().map(|queue| queue.num_consumers), Some(3));
//! let messages: Vec<_> = d.items().into_iter().map(|item| item.message).collect();
//! assert_eq!(
//!     messages,
//!     [
//!         "'timeout' must be non-negative",
//!         "a queue of items must hold at least 100",
//!         "'workers' is deprecated",
//!     ]
//! );
//! let keys: Vec<_> = ExampleConfig::fields(&ExampleConfig::default()).iter().map(|field| field.key).collect();
//! assert_eq!(keys, ["endpoint", "password", "timeout", "sending_queue"]);
//! ```
//!
//! # Attributes
//! Of a struct, after its documentation:
//! - `#[config(check = Self::check)]`: a `fn(&mut Self, &mut Section<'_>)` that runs when the keys are read.
//! - `#[config(unsupported("key", "sentence"))]`: a key of the Go collector that is refused unless it turns nothing on.
//!
//! Of a field, after its documentation:
//! - `#[config(flatten)]`: the keys of this [`Config`] are beside the other keys.
//! - `#[config(skip)]`: not a key.
//! - `#[config(key = "type")]`: the key, where it is not the name of the field.
//! - `#[config(unit = "MiB")]`: the unit of a number.
//! - `#[config(at_least(0, "message"))]`, `above`, `at_most`: bounds, with the message of the error; a third argument
//!   is its hint. The bounds are numbers or [`GoDuration`](crate::GoDuration)s.
//! - `#[config(was("old_key", "`new_key:`"))]`: the old name of the key, which is read with a warning that says what to
//!   write. Only used where the new key is absent.
//! - `#[config(deprecated = "`new:` with ..")]`: the key is read only if it is written, with a warning.
//! - `#[config(only_if_written = true)]`: an absent key is left out of what `print-config` shows.
//! - `#[config(outdated = "`new:`")]`: the same, but the warning is that of the check.
//! - `#[config(no_effect = "reason")]`: the key is read and checked, and a warning says why it has no effect.
//! - `#[config(ignored = "reason")]`: the same without a warning, for the reference only.
//!
//! # Types of fields
//! `bool`, integers, `f64`, `String`, [`OpaqueString`], [`GoDuration`](crate::GoDuration) and `Duration`; `Option` of
//! these and of declared structs, for which null and absence are `None`; `Vec` of strings, numbers, durations, [`HeaderEntry`](crate::HeaderEntry)s,
//! component ids and declared structs; `Vec<(String, String)>` for a map of strings, `BTreeMap<String, X>` for a map of
//! sections; declared enums; a declared struct for a section in which null is the default; [`Optional`] for a section
//! that can be off. `Option<Node>` is any value. Other types implement [`ConfigValue`] by hand.

mod field;
mod macros;
mod optional;
mod reference;
mod schema;
#[cfg(test)]
mod tests;
mod value;

pub use field::{Bound, Field, Status};
pub use optional::Optional;
pub use reference::{markdown, plain_text};
pub use schema::{described, expandable, object, schema};
pub use value::{ConfigItem, ConfigScalar, ConfigValue, OpaqueString, read_word};

use crate::Section;

crate::config_struct! {
    /// The configuration of a component without keys.
    pub struct NoKeys {}
}

/// What is known of a declared type.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// Its documentation.
    pub doc: String,
    /// Its keys.
    pub fields: Vec<Field>,
}

/// A struct of keys, made by [`config_struct!`](crate::config_struct).
pub trait Config: ConfigValue + Default {
    /// The documentation of the struct.
    const DOC: &'static str;

    /// Describes the type with its own defaults.
    fn description() -> Description {
        Description { doc: reference::plain(Self::DOC), fields: Self::fields(&Self::default()) }
    }

    /// Reads the keys of a section, and checks them. Keys that are not written have the values of `defaults`. Does not
    /// call [`Section::finish`], so that the same section may have other keys.
    fn read_keys(s: &mut Section<'_>, defaults: &Self) -> Self;

    /// Describes the keys, with these defaults.
    fn fields(defaults: &Self) -> Vec<Field>;

    /// Reads a whole section: keys that are not declared are mistakes.
    fn read_section(mut s: Section<'_>, defaults: &Self) -> Self {
        let config = Self::read_keys(&mut s, defaults);
        s.finish();
        config
    }
}

/// What a value can be, for the JSON Schema and the reference.
#[derive(Clone, PartialEq, Debug)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// An integer within the range of its type.
    Int {
        /// Smallest value of the type.
        min: i128,
        /// Largest value of the type.
        max: i128,
    },
    /// Any number.
    Float,
    /// Any text.
    Str,
    /// A text that is redacted where a configuration is printed.
    Secret,
    /// A text such as `1h5m`, or an integer of nanoseconds.
    Duration,
    /// One of these words.
    OneOf(Vec<&'static str>),
    /// A list of texts; one text is split at its commas.
    Words,
    /// A list.
    List(Box<Self>),
    /// A list of texts, or of other values.
    TextsOrList(Box<Self>),
    /// A map with free keys.
    Map(Box<Self>),
    /// A map of names and values, or a list of `name` and `value`.
    Headers,
    /// A section. `others` is what keys that are not in `fields` may have; `None` where they are mistakes.
    Section {
        /// The known keys.
        fields: Vec<Field>,
        /// Values of further keys.
        others: Option<Box<Self>>,
    },
    /// A section that can be off, with its state when it is absent.
    Optional {
        /// The keys.
        fields: Vec<Field>,
        /// The state when the key is absent or null.
        flavor: crate::OptionalFlavor,
    },
    /// Anything.
    Any,
}

impl Shape {
    /// A section whose keys are all known.
    #[must_use]
    pub fn section(fields: Vec<Field>) -> Self {
        Self::Section { fields, others: None }
    }

    /// The keys of a section, directly below or of each element of a list or map.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Section { fields, .. } | Self::Optional { fields, .. } => fields,
            Self::List(inner) | Self::TextsOrList(inner) | Self::Map(inner) => inner.fields(),
            _ => &[],
        }
    }
}
