//! The texts of `--help`, from the table of subcommands and flags.

use std::fmt::Write as _;

use super::table::{COMMANDS, CommandInfo, FlagInfo, GLOBAL_FLAGS};

/// The longest line.
const WIDTH: usize = 118;
/// Where the texts of flags begin.
const FLAG_COLUMN: usize = 33;
/// Where the texts of subcommands begin.
const COMMAND_COLUMN: usize = 16;

/// What the program does without a command.
pub(super) fn about_running(program: &str) -> String {
    format!(
        "Started as otelcol, otelcol-contrib, otelcol-k8s or otelcol-otlp, it reads /etc/NAME/config.yaml if that file is there. \
         Otherwise, without --config, {program} takes OTLP on 127.0.0.1:4317 (gRPC) and 127.0.0.1:4318 (HTTP), shows a summary of \
         what comes, puts metrics on http://127.0.0.1:9464/metrics, and has a live page about itself at http://127.0.0.1:55679."
    )
}

/// The text of `--help`.
pub(super) fn of_program(program: &str) -> String {
    let mut out = format!(
        "A small OpenTelemetry Collector.\n\nUsage:\n  {program} [flags]\n  {program} [command]\n\n{}\n\nAvailable Commands:\n",
        wrapped(&about_running(program), 0)
    );
    for command in COMMANDS {
        put_entry(&mut out, &format!("  {}", command.name), command.about, COMMAND_COLUMN);
    }
    out.push_str("\nFlags:\n");
    put_flags(&mut out, GLOBAL_FLAGS);
    let _ = writeln!(out, "\nUse \"{program} [command] --help\" for the flags of a command.");
    out
}

/// The text of `help COMMAND`.
pub(super) fn of_command(program: &str, command: &CommandInfo) -> String {
    let mut out = format!("{}.\n\nUsage:\n  {}\n", command.about, usage(program, command));
    if !command.details.is_empty() {
        let _ = write!(out, "\n{}\n", wrapped(command.details, 0));
    }
    if !command.flags.is_empty() {
        out.push_str("\nFlags:\n");
        put_flags(&mut out, command.flags);
    }
    if command.reads_config {
        out.push_str("\nFlags of the configuration:\n");
        put_flags(&mut out, GLOBAL_FLAGS);
    }
    out
}

/// `otelcore queue [flags] ls|verify DIR`.
pub(super) fn usage(program: &str, command: &CommandInfo) -> String {
    let flags = if command.flags.is_empty() && !command.reads_config { "" } else { " [flags]" };
    let arguments = if command.usage.is_empty() { String::new() } else { format!(" {}", command.usage) };
    format!("{program} {}{flags}{arguments}", command.name)
}

/// `-h, --help`, `--set KEY=VALUE`.
pub(super) fn flag_form(flag: &FlagInfo) -> String {
    let short = flag.short.map_or_else(String::new, |short| format!("-{short}, "));
    format!("{short}--{}{}", flag.name, flag.value.placeholder())
}

fn put_flags(out: &mut String, flags: &[FlagInfo]) {
    for flag in flags {
        let indent = if flag.short.is_some() { "  " } else { "      " };
        put_entry(out, &format!("{indent}{}", flag_form(flag)), flag.help, FLAG_COLUMN);
    }
}

/// A name and its text, which begins at `column`; on the next line where the name is too long.
fn put_entry(out: &mut String, name: &str, text: &str, column: usize) {
    let text = wrapped(text, column);
    if name.len() + 1 < column {
        let _ = writeln!(out, "{name:column$}{text}");
    } else {
        let _ = writeln!(out, "{name}\n{:column$}{text}", "");
    }
}

/// The text with lines of at most [`WIDTH`], all but the first one indented.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut out, mut length) = (String::new(), indent);
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        if length > indent && length + 1 + word_length > WIDTH {
            let _ = write!(out, "\n{:indent$}", "");
            length = indent;
        } else if length > indent {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += word_length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_every_command_and_flag_and_no_long_line() {
        let text = of_program("otelcore");
        for command in COMMANDS {
            assert!(text.contains(&format!("\n  {} ", command.name)), "{text}");
            let own = of_command("otelcore", command);
            assert!(command.flags.iter().all(|flag| own.contains(&flag_form(flag))), "{own}");
            assert!(own.lines().all(|line| line.chars().count() <= WIDTH), "{own}");
        }
        assert!(GLOBAL_FLAGS.iter().all(|flag| text.contains(&flag_form(flag))), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn words_are_wrapped_at_the_width_and_indented() {
        let text = wrapped(&"word ".repeat(60), 4);
        assert!(text.lines().count() > 2 && text.lines().skip(1).all(|line| line.starts_with("    word")), "{text}");
    }
}
