//! Completions for bash, zsh and fish, made from the table of subcommands and flags.
//!
//! Owns the scripts' form. They are complete in themselves: a shell never starts the program to complete a word.

use std::fmt::Write as _;

use otelcore_config::codes;

use super::table::{Arguments, COMMANDS, CommandInfo, FlagInfo, FlagValue, GLOBAL_FLAGS};
use crate::registry::Registry;

/// The script for a shell; `None` for a shell that is not known.
pub(super) fn script(shell: &str, program: &str, registry: &Registry) -> Option<String> {
    match shell {
        "bash" => Some(bash(program, registry)),
        "zsh" => Some(zsh(program, registry)),
        "fish" => Some(fish(program, registry)),
        _ => None,
    }
}

/// The flags that a command takes.
fn flags_of(command: &CommandInfo) -> impl Iterator<Item = &'static FlagInfo> {
    let global = GLOBAL_FLAGS.iter().filter(|flag| command.reads_config || flag.name == "help");
    command.flags.iter().chain(global)
}

/// The words that an argument may be.
fn words_of(arguments: Arguments, registry: &Registry) -> Vec<String> {
    match arguments {
        Arguments::None | Arguments::Text => Vec::new(),
        Arguments::Words(words) | Arguments::WordsThenFolder(words) => words.iter().map(|w| (*w).to_owned()).collect(),
        Arguments::Codes => codes::CODES.iter().map(|code| code.id.to_owned()).collect(),
        Arguments::Commands => COMMANDS.iter().map(|command| command.name.to_owned()).collect(),
        Arguments::Components => registry.type_names(),
    }
}

/// A name that a shell function may have.
fn function_name(program: &str) -> String {
    program.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

fn names_of_flags<'a>(flags: impl Iterator<Item = &'a FlagInfo>) -> String {
    flags.map(|flag| format!("--{}", flag.name)).collect::<Vec<_>>().join(" ")
}

fn bash(program: &str, registry: &Registry) -> String {
    let function = function_name(program);
    let mut out = format!(
        "# bash completions of {program}\n_{function}() {{\n    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} \
         command= word i\n    COMPREPLY=()\n    if [[ $previous == '=' && COMP_CWORD -ge 2 ]]; then previous=${{COMP_WORDS[COMP_CWORD-2]}}; fi\n    \
         if [[ $current == '=' ]]; then current=; fi\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        word=${{COMP_WORDS[i]}}\n        case $word in\n"
    );
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let _ = writeln!(out, "            {}) command=$word; break ;;\n        esac\n    done", names.join("|"));
    out.push_str("    case $command:$previous in\n");
    let all = std::iter::once(("", GLOBAL_FLAGS)).chain(COMMANDS.iter().map(|command| (command.name, command.flags)));
    for (command, flags) in all {
        for flag in flags {
            let reply = match flag.value {
                FlagValue::File(_) => "-f".to_owned(),
                FlagValue::Text(_) => "-W ''".to_owned(),
                FlagValue::Words(words) => format!("-W '{}'", words.join(" ")),
                FlagValue::Optional(_) | FlagValue::None => continue,
            };
            let pattern = if command.is_empty() { "*".to_owned() } else { command.to_owned() };
            let _ = writeln!(
                out,
                "        {pattern}:--{}) COMPREPLY=($(compgen {reply} -- \"$current\")); return ;;",
                flag.name
            );
        }
    }
    out.push_str("    esac\n    case $command in\n");
    let _ = writeln!(out, "        '') word='{} {}' ;;", names.join(" "), names_of_flags(GLOBAL_FLAGS.iter()));
    for command in COMMANDS {
        let words = words_of(command.arguments, registry).join(" ");
        let _ = writeln!(out, "        {}) word='{} {words}' ;;", command.name, names_of_flags(flags_of(command)));
    }
    out.push_str("    esac\n    COMPREPLY=($(compgen -W \"$word\" -- \"$current\"))\n");
    out.push_str(
        "    if [[ $command == queue && $current != -* ]]; then COMPREPLY+=($(compgen -d -- \"$current\")); fi\n}\n",
    );
    let _ = writeln!(out, "complete -F _{function} {program}");
    out
}

/// A text in single quotes of zsh's and fish's `_arguments` and `complete`.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// A text in a specification of `_arguments`, where brackets and colons are special.
fn zsh_text(text: &str) -> String {
    quoted(&text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:"))
}

fn zsh_flag(flag: &FlagInfo) -> String {
    let (name, help) = (flag.name, zsh_text(flag.help));
    match flag.value {
        FlagValue::None => format!("'--{name}[{help}]'"),
        FlagValue::Optional(words) => format!("'--{name}=-[{help}]::value:({})'", words.join(" ")),
        FlagValue::Words(words) => format!("'*--{name}=[{help}]:value:({})'", words.join(" ")),
        FlagValue::File(value) => format!("'*--{name}=[{help}]:{}:_files'", zsh_text(value)),
        FlagValue::Text(value) => format!("'*--{name}=[{help}]:{}:'", zsh_text(value)),
    }
}

fn zsh(program: &str, registry: &Registry) -> String {
    let function = function_name(program);
    let mut out = format!(
        "#compdef {program}\n# zsh completions of {program}\n_{function}() {{\n    local context state line\n    typeset -A opt_args\n    \
         local -a commands\n    commands=(\n"
    );
    for command in COMMANDS {
        let _ = writeln!(out, "        '{}:{}'", command.name, quoted(&command.about.replace(':', "\\:")));
    }
    out.push_str("    )\n    _arguments -C \\\n");
    for flag in GLOBAL_FLAGS {
        let _ = writeln!(out, "        {} \\", zsh_flag(flag));
    }
    out.push_str("        '1:command:->command' '*::argument:->argument'\n    case $state in\n");
    out.push_str("        command) _describe command commands ;;\n        argument)\n            case $line[1] in\n");
    for command in COMMANDS {
        let _ = writeln!(out, "                {})\n                    _arguments \\", command.name);
        for flag in flags_of(command) {
            let _ = writeln!(out, "                        {} \\", zsh_flag(flag));
        }
        let words = words_of(command.arguments, registry).join(" ");
        let rest = match command.arguments {
            Arguments::WordsThenFolder(_) => format!("'1:action:({words})' '2:folder:_files -/'"),
            _ if words.is_empty() => "'*: :'".to_owned(),
            _ => format!("'*:argument:({words})'"),
        };
        let _ = writeln!(out, "                        {rest} ;;");
    }
    // As a file of `$fpath` it is run for the first completion, which this defines and then makes; read by `source` it is
    // registered.
    let _ = writeln!(
        out,
        "            esac ;;\n    esac\n}}\nif [ \"$funcstack[1]\" = _{function} ]; then\n    _{function} \"$@\"\nelse\n    \
         compdef _{function} {program}\nfi"
    );
    out
}

fn fish_flag(out: &mut String, program: &str, condition: &str, flag: &FlagInfo) {
    let short = flag.short.map_or_else(String::new, |short| format!(" -s {short}"));
    let value = match flag.value {
        FlagValue::None => String::new(),
        FlagValue::Optional(words) => format!(" -a '{}'", words.join(" ")),
        FlagValue::Words(words) => format!(" -x -a '{}'", words.join(" ")),
        FlagValue::File(_) => " -r -F".to_owned(),
        FlagValue::Text(_) => " -x".to_owned(),
    };
    let help = flag.help.replace('\\', "\\\\").replace('\'', "\\'");
    let _ = writeln!(out, "complete -c {program} -n '{condition}' -l {}{short}{value} -d '{help}'", flag.name);
}

fn fish(program: &str, registry: &Registry) -> String {
    let mut out = format!("# fish completions of {program}\ncomplete -c {program} -f\n");
    for command in COMMANDS {
        let about = command.about.replace('\'', "\\'");
        let _ = writeln!(out, "complete -c {program} -n __fish_use_subcommand -a {} -d '{about}'", command.name);
    }
    for flag in GLOBAL_FLAGS {
        fish_flag(&mut out, program, "__fish_use_subcommand", flag);
    }
    for command in COMMANDS {
        let condition = format!("__fish_seen_subcommand_from {}", command.name);
        for flag in flags_of(command) {
            fish_flag(&mut out, program, &condition, flag);
        }
        let words = words_of(command.arguments, registry);
        if !words.is_empty() {
            let _ = writeln!(out, "complete -c {program} -n '{condition}' -a '{}'", words.join(" "));
        }
        if matches!(command.arguments, Arguments::WordsThenFolder(_)) {
            let _ = writeln!(out, "complete -c {program} -n '{condition}' -a '(__fish_complete_directories)'");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_every_command_and_flag() {
        for shell in ["bash", "zsh", "fish"] {
            let text = script(shell, "otelcore", &Registry::default()).unwrap();
            for command in COMMANDS {
                assert!(text.contains(command.name), "{shell}: {}", command.name);
                for flag in flags_of(command) {
                    let form = if shell == "fish" { format!("-l {}", flag.name) } else { format!("--{}", flag.name) };
                    assert!(text.contains(&form), "{shell}: {} {}", command.name, flag.name);
                }
            }
            assert!(text.contains("memory_limiter"), "{shell}: types of components");
        }
        assert!(script("tcsh", "otelcore", &Registry::default()).is_none());
    }
}
