//! Lists of names and patterns: what is reported and what is not.

use std::collections::BTreeSet;

use otelcore_config::config_struct;
use otelcore_go_regexp::GoRegexp;

config_struct! {
    /// Options of `match_type: regexp`.
    pub struct RegexpConfig {
        /// Whether results are cached.
        #[config(no_effect = "a match takes time linear in the text, and needs no cache")]
        pub cacheenabled: bool,
        /// The number of results that are cached; zero is no limit.
        #[config(no_effect = "there is no cache")]
        pub cachemaxnumentries: i64,
    }
}

/// Declares a list of names with a match type.
macro_rules! match_config {
    ($(#[doc = $doc:literal])* $name:ident $list:ident $list_doc:literal) => {
        config_struct! {
            $(#[doc = $doc])*
            pub struct $name {
                /// How names are compared: `strict` (equal) or `regexp` (a regular expression matches a part of them).
                pub match_type: String,
                /// Options of `regexp`.
                pub regexp: RegexpConfig,
                #[doc = $list_doc]
                pub $list: Vec<String>,
            }
        }

        impl $name {
            /// The list below `key`; its mistakes begin with `context`.
            pub(crate) fn list(&self, key: &'static str, context: &'static str) -> NameList<'_> {
                let list_key = stringify!($list);
                NameList { key, list_key, context, match_type: &self.match_type, names: &self.$list }
            }
        }
    };
}

match_config! {
    /// Devices.
    DeviceMatchConfig devices "Names of devices, or patterns."
}

match_config! {
    /// Types of file systems.
    FsTypeMatchConfig fs_types "Types of file systems such as `ext4`, or patterns."
}

match_config! {
    /// Mount points.
    MountPointMatchConfig mount_points "Paths, or patterns."
}

match_config! {
    /// Network interfaces.
    InterfaceMatchConfig interfaces "Names of interfaces, or patterns."
}

match_config! {
    /// Processes.
    ProcessMatchConfig names "Names of processes, or patterns."
}

/// A list as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameList<'a> {
    key: &'static str,
    list_key: &'static str,
    context: &'static str,
    match_type: &'a str,
    names: &'a [String],
}

/// A list that can't be used: the key, the message, a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterError {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

#[derive(Debug)]
enum NameSet {
    Strict(BTreeSet<String>),
    Regexp(GoRegexp),
}

impl NameSet {
    /// `None` for an empty list.
    fn compile(list: NameList<'_>) -> Result<Option<Self>, FilterError> {
        if list.names.is_empty() {
            return Ok(None);
        }
        let error = |key: String, message: String, hint: Option<String>| FilterError {
            key,
            message: format!("{}: {message}", list.context),
            hint,
        };
        match list.match_type {
            "strict" => Ok(Some(Self::Strict(list.names.iter().cloned().collect()))),
            "regexp" => match GoRegexp::compile_any(list.names) {
                Ok(regexp) => Ok(Some(Self::Regexp(regexp))),
                Err((index, e)) => {
                    Err(error(format!("{}::{}[{index}]", list.key, list.list_key), e.to_string(), Some(e.hint())))
                }
            },
            other => Err(error(
                format!("{}::match_type", list.key),
                format!("unrecognized match_type: '{other}', valid types are: [regexp strict]"),
                None,
            )),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Strict(names) => names.contains(name),
            Self::Regexp(regexp) => regexp.is_match(name.as_bytes()),
        }
    }
}

/// Which names are reported.
#[derive(Debug, Default)]
pub(crate) struct NameFilter {
    include: Option<NameSet>,
    exclude: Option<NameSet>,
}

impl NameFilter {
    /// # Errors
    /// The first mistake.
    pub(crate) fn new(include: NameList<'_>, exclude: NameList<'_>) -> Result<Self, FilterError> {
        Ok(Self { include: NameSet::compile(include)?, exclude: NameSet::compile(exclude)? })
    }

    /// Whether a name is reported.
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|names| names.matches(name))
            && !self.exclude.as_ref().is_some_and(|names| names.matches(name))
    }
}
