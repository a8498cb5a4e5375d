//! The codes of errors and warnings: every message of the log has one, every entry of the table is used, and
//! `docs/reference/codes.md` is the table.
//!
//! `OTELCORE_REFERENCE=write cargo test -p otelcore --test codes` writes the page.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "files of the repository")]

use std::path::{Path, PathBuf};

use otelcore::Registry;
use otelcore::commands::{Terminal, run_command_line};
use otelcore::config::codes::{CODES, of_log_message};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources of all crates without tests and without the table itself: path and text.
fn sources() -> Vec<(String, String)> {
    fn visit(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" && name != "codes" {
                    visit(&path, found);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
                found.push((path.display().to_string(), text[..end].to_owned()));
            }
        }
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path().join("src");
        if folder.is_dir() {
            visit(&folder, &mut found);
        }
    }
    found
}

/// The first argument of a call, if it is a text, without its escapes.
fn literal(arguments: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = arguments.trim_start().strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

/// The arguments of each call of `warn` and `error` of a logger.
fn log_calls(source: &str) -> Vec<&str> {
    let calls = source.match_indices(".warn(").chain(source.match_indices(".error("));
    let is_logger = |before: &str| {
        let name = before.trim_end().trim_end_matches("()");
        let start = name.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        matches!(&name[start..], "log" | "logger")
    };
    calls.filter(|(at, _)| is_logger(&source[..*at])).map(|(at, call)| &source[at + call.len()..]).collect()
}

#[test]
fn warnings_and_errors_of_the_log_have_a_code() {
    let mut missing = Vec::new();
    for (path, source) in sources() {
        for arguments in log_calls(&source) {
            match literal(arguments) {
                Some(message) if of_log_message(&message).is_none() => missing.push(format!("{path}: {message:?}")),
                Some(_) => {}
                None => {
                    // A message that is not a text of the source: its fields name the code.
                    let call = &arguments[..arguments.find(';').unwrap_or(arguments.len())];
                    let at = source.len() - arguments.len();
                    let before = &source[at.saturating_sub(400)..at];
                    let names_code = [call, before].iter().any(|text| text.contains("CODE_FIELD"));
                    if !names_code {
                        missing.push(format!("{path}: {}", call.lines().next().unwrap_or_default()));
                    }
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "without a code; add the message to crates/config/src/codes/table.rs, or the field CODE_FIELD: {missing:#?}"
    );
}

#[test]
fn entries_of_the_table_are_used() {
    let all: String = sources().into_iter().map(|(_, text)| text.replace("\\\"", "\"")).collect();
    for code in CODES {
        for message in code.messages {
            assert!(all.contains(&format!("\"{message}\"")), "{}: {message:?} is in no source", code.id);
        }
    }
    for constant in ["codes::OMITTED", "Str(METRIC_NOT_SHOWN)"] {
        assert!(all.contains(constant), "{constant}");
    }
    let without_message =
        |code: &&otelcore::config::codes::Code| code.messages.is_empty() && !code.id.starts_with("OC1");
    let ids: Vec<_> = CODES.iter().filter(without_message).map(|code| code.id).collect();
    assert_eq!(ids, [otelcore::config::codes::METRIC_NOT_SHOWN], "a code that no message and no constant has");
}

#[test]
fn page_of_the_codes_is_the_table() {
    let mut page = String::from(
        "# Codes of errors and warnings\n\nGenerated from `crates/config/src/codes`; do not edit. A code is in brackets \
         after a diagnostic of a configuration, and in the field `code` of a record of the log. \
         `otelcore explain CODE` prints its entry.\n",
    );
    for code in CODES {
        page.push('\n');
        page.push_str(&code.markdown());
    }
    let path = root().join("docs/reference/codes.md");
    if std::env::var("OTELCORE_REFERENCE").is_ok_and(|v| v == "write") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "OTELCORE_REFERENCE=write cargo test -p otelcore --test codes");
}

#[test]
fn explain_prints_an_entry_all_codes_or_an_error() {
    let run = |args: &[&str]| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal { out: &mut out, err: &mut err, is_terminal: false, env: &|_| None };
        let args = ["otelcore", "explain"].iter().chain(args).map(Into::into);
        let code = run_command_line(args, Registry::default(), &mut terminal);
        (code, String::from_utf8(out).unwrap() + &String::from_utf8(err).unwrap())
    };
    let (code, text) = run(&["oc107"]);
    assert!(code == 0 && text.starts_with("OC107: an unknown key\n\n") && text.contains("What to do: "), "{text}");
    let (code, text) = run(&[]);
    assert_eq!((code, text.lines().count()), (0, CODES.len()));
    let expected = "Error: unknown code \"OC999\": `explain` without a code lists all\n";
    assert_eq!(run(&["OC999"]), (1, expected.to_owned()));
}
