//! What each discovery is for [`crate::Discovery`].

use otelcore_pipeline::{Cx, Event};

use crate::updates::Sink;

/// A discovery.
pub(crate) trait Provider {
    /// Begins. An error is why it can't.
    fn start(&mut self, cx: &mut Cx<'_>, sink: &mut Sink<'_>) -> Result<(), String>;

    /// Handles an event under a key from its base on.
    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, sink: &mut Sink<'_>);

    fn close(&mut self, cx: &mut Cx<'_>);

    /// What fails now, if something does.
    fn error(&self) -> Option<&str>;

    /// How often something has failed.
    fn failures(&self) -> u64;
}
