//! Mistakes in the configuration of policies.

/// A mistake in the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyError {
    /// The Go collector's sentence.
    pub(crate) message: String,
    /// What to write.
    pub(crate) hint: Option<String>,
}

impl PolicyError {
    pub(crate) fn new(message: String) -> Self {
        Self { message, hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
