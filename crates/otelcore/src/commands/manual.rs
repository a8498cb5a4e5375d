//! The manual page, made from the table of subcommands and flags, in the macros of man(7).

use std::fmt::Write as _;

use super::help::{about_running, flag_form, usage};
use super::table::{COMMANDS, FlagInfo, GLOBAL_FLAGS};

/// A text in which nothing is read as a request or an escape of troff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

fn put_flags(out: &mut String, flags: &[FlagInfo]) {
    for flag in flags {
        let _ = writeln!(out, ".TP\n.B {}\n{}", escaped(&flag_form(flag)), escaped(flag.help));
    }
}

/// The text of `otelcore.1`.
pub(super) fn page() -> String {
    let mut out = String::from(
        ".TH OTELCORE 1 \"\" \"otelcore\" \"User Commands\"\n.SH NAME\notelcore \\- a small OpenTelemetry Collector\n.SH SYNOPSIS\n\
         .B otelcore\n[flags]\n.br\n.B otelcore\n.I command\n[flags] [arguments]\n.SH DESCRIPTION\n",
    );
    let _ = writeln!(out, "{}\n.SH OPTIONS", escaped(&about_running("otelcore")));
    put_flags(&mut out, GLOBAL_FLAGS);
    out.push_str(".SH COMMANDS\n");
    for command in COMMANDS {
        let _ = writeln!(out, ".SS {}\n{}.", escaped(&usage("otelcore", command)), escaped(command.about));
        if !command.details.is_empty() {
            let _ = writeln!(out, ".PP\n{}", escaped(command.details));
        }
        if command.reads_config {
            out.push_str(".PP\nTakes the options of a run for the configuration as well.\n");
        }
        put_flags(&mut out, command.flags);
    }
    let _ = write!(
        out,
        ".SH EXIT STATUS\n0 after a clean stop or a success, 1 after an error.\n.SH SIGNALS\n.TP\n.B SIGHUP\n{}\n.TP\n.B SIGTERM, SIGINT\n{}\n",
        escaped("Reads the configuration again and changes the running collector by the difference."),
        escaped("Takes nothing new, delivers what is held within --shutdown-timeout, and ends.")
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test reads and writes the committed page")]
    fn committed_page_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/otelcore.1");
        if std::env::var("OTELCORE_REFERENCE").is_ok_and(|value| value == "write") {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "OTELCORE_REFERENCE=write cargo test -p otelcore --lib commands::manual");
    }

    #[test]
    fn page_has_every_command_and_flag_and_no_line_that_is_a_request_by_accident() {
        let text = page();
        for command in COMMANDS {
            assert!(text.contains(&escaped(command.about)), "{}", command.name);
            assert!(command.flags.iter().all(|flag| text.contains(&escaped(&flag_form(flag)))), "{}", command.name);
        }
        let requests = ["TH", "SH", "SS", "TP", "PP", "B", "I", "br"];
        let of_line = |line: &str| line.strip_prefix('.').map(|rest| rest.split(' ').next().unwrap_or("").to_owned());
        assert!(text.lines().filter_map(of_line).all(|request| requests.contains(&request.as_str())), "{text}");
    }
}
