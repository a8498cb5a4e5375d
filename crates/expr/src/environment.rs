//! What an evaluation is given.

use crate::value::View;

/// The most nodes that one evaluation visits, and elements that it copies or compares.
const MAX_STEPS: u32 = 100_000;

/// The work that an evaluation may still do.
#[derive(Debug)]
pub(crate) struct Steps(u32);

impl Default for Steps {
    fn default() -> Self {
        Self(MAX_STEPS)
    }
}

impl Steps {
    /// Counts work.
    pub(crate) fn spend(&mut self, count: usize) -> Result<(), String> {
        let left = u32::try_from(count).ok().and_then(|count| self.0.checked_sub(count));
        self.0 = left.ok_or("the expression takes too many steps")?;
        Ok(())
    }
}

/// The variables of an expression.
pub trait Environment {
    /// A variable; `None` is nil.
    fn variable(&self, name: &str) -> Option<View<'_>>;

    /// A variable of the process's environment, for the function `env`; empty where there is none.
    fn env_var(&self, name: &str) -> String {
        let _ = name;
        String::new()
    }
}
