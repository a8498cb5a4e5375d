//! The codes of diagnostics, warnings and errors: one table with what each means and what to do.
//!
//! A code never changes its meaning, and the number of a code that is removed is not used again. A diagnostic has the
//! code of its [`crate::DiagnosticKind`]; a record of the log has the code of its message, or the one that its fields name.
//! The page `docs/reference/codes.md` and the command `explain` print this table. It decides nothing.

mod table;

pub use table::CODES;

/// A kind of diagnostic, warning or error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code {
    /// `OC` and three digits: 1xx the configuration, 2xx the process, 3xx data that is not delivered, 4xx limits, 5xx
    /// credentials and certificates, 6xx single components, 7xx mistakes that errors point to.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means, and what the collector does then.
    pub meaning: &'static str,
    /// Usual causes.
    pub causes: &'static [&'static str],
    /// What to write or do.
    pub remedy: &'static str,
    /// The messages of the log that have this code.
    pub messages: &'static [&'static str],
}

/// A key, flag or component is deprecated.
pub const DEPRECATED: &str = "OC116";
/// A rule of a component is broken, or a key has no effect.
pub const INVALID: &str = "OC117";
/// There are more diagnostics than are shown.
pub const OMITTED: &str = "OC119";
/// Metrics that the `prometheus` exporter can't show.
pub const METRIC_NOT_SHOWN: &str = "OC603";

/// The entry of a code, in any case.
#[must_use]
pub fn find(id: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.id.eq_ignore_ascii_case(id))
}

/// The code of a message of the log. Compares it with a few dozen texts: for warnings and errors, which are rare.
#[must_use]
pub fn of_log_message(message: &str) -> Option<&'static str> {
    CODES.iter().find(|code| code.messages.contains(&message)).map(|code| code.id)
}

impl Code {
    /// The entry as Markdown: a heading of the second level, and its text.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("## {}: {}\n\n{}\n", self.id, self.title, self.meaning);
        if !self.causes.is_empty() {
            out.push_str("\nUsual causes:\n\n");
            self.causes.iter().for_each(|cause| out.extend(["- ", *cause, "\n"]));
        }
        out.extend(["\nWhat to do: ", self.remedy, "\n"]);
        if !self.messages.is_empty() {
            out.push_str("\nMessages in the log:\n\n");
            self.messages.iter().for_each(|message| out.extend(["- \"", *message, "\"\n"]));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::DiagnosticKind;

    #[test]
    fn codes_and_messages_are_unique_sorted_and_complete() {
        assert!(CODES.windows(2).all(|pair| pair[0].id < pair[1].id));
        let mut messages = BTreeSet::new();
        for code in CODES {
            assert!(code.id.len() == 5 && code.id.starts_with("OC"), "{}", code.id);
            assert!(code.id[2..].bytes().all(|b| b.is_ascii_digit()), "{}", code.id);
            let texts = [code.title, code.meaning, code.remedy];
            assert!(texts.iter().all(|text| !text.is_empty()), "{}", code.id);
            assert!(code.meaning.ends_with('.') && code.remedy.ends_with('.'), "{}", code.id);
            assert!(code.messages.iter().all(|message| messages.insert(*message)), "{}", code.id);
            assert!(code.markdown().starts_with(&format!("## {}: ", code.id)));
        }
        for id in [DEPRECATED, INVALID, OMITTED, METRIC_NOT_SHOWN] {
            assert!(find(id).is_some(), "{id}");
        }
    }

    #[test]
    fn code_is_found_by_id_in_any_case_and_by_message() {
        assert_eq!(find("oc107").map(|code| code.id), Some("OC107"));
        assert_eq!(find("OC999"), None);
        assert_eq!(of_log_message("Exporting failed. Dropping data."), Some("OC302"));
        assert_eq!(of_log_message("Exporting failed."), None);
    }

    #[test]
    fn diagnostic_kind_has_a_code_of_its_own() {
        let ids: BTreeSet<_> = DiagnosticKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(ids.len(), DiagnosticKind::ALL.len());
        assert!(ids.iter().all(|id| id.starts_with("OC1") && find(id).is_some()));
        let of_configuration = CODES.iter().filter(|code| code.id.starts_with("OC1") && code.id != OMITTED).count();
        assert_eq!(of_configuration, ids.len(), "each entry of the configuration is used");
    }
}
