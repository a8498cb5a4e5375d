//! Whether a receiver runs: always, or while its collector leads.

use std::rc::Rc;
use std::sync::Arc;

use otelcore_config::ComponentId;
use otelcore_kubernetes_client::Leadership;
use otelcore_pipeline::{BuildContext, Cx, Notifier, StartError};

/// The condition. An empty id means always.
pub(crate) struct LeaderCondition {
    leadership: Option<Rc<Leadership>>,
    /// Kept for as long as changes are of interest.
    notifier: Option<Arc<dyn Notifier>>,
}

impl LeaderCondition {
    pub(crate) fn new(elector: &str, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let id = elector.parse::<ComponentId>().ok();
        let leadership = id.map(|id| context.capabilities.get::<Leadership>(&id)).transpose()?;
        Ok(Self { leadership, notifier: None })
    }

    /// Causes an event under `key` at each change.
    pub(crate) fn subscribe(&mut self, cx: &mut Cx<'_>, key: u64) {
        if let Some(leadership) = &self.leadership {
            let notifier = cx.notifier(key);
            leadership.subscribe(&notifier);
            self.notifier = Some(notifier);
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.leadership.as_ref().is_none_or(|leadership| leadership.is_leader())
    }

    /// Whether there is an election at all.
    pub(crate) fn has_election(&self) -> bool {
        self.leadership.is_some()
    }
}
