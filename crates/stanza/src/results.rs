//! Where operators put their results, and what happens to entries that they can't process.

use crate::context::Failure;
use crate::entry::Entry;

/// What is done with an entry that can't be processed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnError {
    Send,
    SendQuiet,
    Drop,
    DropQuiet,
}

impl OnError {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "send" => Self::Send,
            "send_quiet" => Self::SendQuiet,
            "drop" => Self::Drop,
            "drop_quiet" => Self::DropQuiet,
            _ => return None,
        })
    }

    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::Send | Self::SendQuiet)
    }

    pub(crate) fn is_quiet(self) -> bool {
        matches!(self, Self::SendQuiet | Self::DropQuiet)
    }
}

/// Where an operator puts its results.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Entries for the outputs of the operator.
    pub(crate) entries: Vec<Entry>,
    /// Entries of a router, by route.
    pub(crate) routed: Vec<(usize, Vec<Entry>)>,
    pub(crate) failures: Vec<Failure>,
}

impl Results {
    /// Counts a failure; those of one operator are one element.
    pub(crate) fn fail(&mut self, operator: &OperatorName<'_>, action: &'static str, error: String) {
        let same = |failure: &&mut Failure| failure.operator_id == operator.id && failure.action == action;
        match self.failures.iter_mut().find(same) {
            Some(failure) => failure.count += 1,
            None => self.failures.push(Failure {
                operator_id: operator.id.to_owned(),
                operator_type: operator.type_name,
                action,
                error,
                count: 1,
            }),
        }
    }
}

/// Who fails.
pub(crate) struct OperatorName<'o> {
    pub(crate) id: &'o str,
    pub(crate) type_name: &'static str,
    pub(crate) on_error: OnError,
}

impl OperatorName<'_> {
    /// An entry could not be processed: it is sent or dropped.
    pub(crate) fn handle_error(&self, entry: Entry, error: String, results: &mut Results) {
        if !self.on_error.is_quiet() {
            results.fail(self, if self.on_error.sends() { "send" } else { "drop" }, error);
        }
        if self.on_error.sends() {
            results.entries.push(entry);
        }
    }
}
