//! The one table of subcommands and flags: the parser, `--help`, the completions and the manual page read it.
//!
//! Owns names, forms of values and texts. Reads no command line and prints nothing.

mod commands;

pub(super) use commands::{COMMANDS, GLOBAL_FLAGS};

/// What follows a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FlagValue {
    /// Nothing; `--flag=false` switches it off where it is on.
    None,
    /// Nothing, or `=WORD` of these.
    Optional(&'static [&'static str]),
    /// A value, which the help calls by this name.
    Text(&'static str),
    /// The path of a file.
    File(&'static str),
    /// One of these words.
    Words(&'static [&'static str]),
}

impl FlagValue {
    /// Whether the argument after the flag is its value.
    pub(super) fn is_separate(self) -> bool {
        matches!(self, Self::Text(_) | Self::File(_) | Self::Words(_))
    }

    /// The words that are possible.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Optional(words) | Self::Words(words) => words,
            Self::None | Self::Text(_) | Self::File(_) => &[],
        }
    }

    /// The value as the help shows it, with what separates it from the flag.
    pub(super) fn placeholder(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Optional(words) => format!("[={}]", words.join("|")),
            Self::Text(name) | Self::File(name) => format!(" {name}"),
            Self::Words(words) => format!(" {}", words.join("|")),
        }
    }
}

/// A flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FlagInfo {
    /// Without dashes.
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    pub(super) value: FlagValue,
    pub(super) help: &'static str,
}

/// What the arguments of a subcommand are, for completions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arguments {
    None,
    Words(&'static [&'static str]),
    /// Words, then a folder.
    WordsThenFolder(&'static [&'static str]),
    /// A code of an error or a warning.
    Codes,
    /// The names of the subcommands.
    Commands,
    /// The types of components of the registry.
    Components,
    /// Nothing that can be proposed.
    Text,
}

/// A subcommand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CommandInfo {
    pub(super) name: &'static str,
    /// The arguments as the usage line shows them.
    pub(super) usage: &'static str,
    /// One line.
    pub(super) about: &'static str,
    /// Further paragraphs for `help NAME` and the manual page.
    pub(super) details: &'static str,
    pub(super) arguments: Arguments,
    /// The most arguments.
    pub(super) max_arguments: usize,
    /// Its own flags.
    pub(super) flags: &'static [FlagInfo],
    /// Whether it reads a configuration, so that the flags of a run belong to it too.
    pub(super) reads_config: bool,
}

impl CommandInfo {
    /// The command of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name)
    }

    /// One of its own flags.
    pub(super) fn flag(&self, name: &str) -> Option<&'static FlagInfo> {
        self.flags.iter().find(|flag| flag.name == name)
    }
}

/// Every flag of this name: the one of a run, and those of subcommands.
pub(super) fn flags_named(name: &str) -> impl Iterator<Item = &'static FlagInfo> {
    let all = GLOBAL_FLAGS.iter().chain(COMMANDS.iter().flat_map(|command| command.flags));
    all.filter(move |flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_one_name_have_one_form_of_value() {
        for flag in GLOBAL_FLAGS.iter().chain(COMMANDS.iter().flat_map(|command| command.flags)) {
            let forms: Vec<bool> = flags_named(flag.name).map(|other| other.value.is_separate()).collect();
            assert!(forms.windows(2).all(|pair| pair[0] == pair[1]), "{}", flag.name);
        }
    }

    #[test]
    fn table_is_sorted_and_every_entry_has_a_text() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        for command in COMMANDS {
            assert!(!command.about.is_empty() && !command.about.ends_with('.'), "{}", command.name);
            assert!(command.flags.iter().all(|flag| !flag.help.is_empty()), "{}", command.name);
        }
    }
}
