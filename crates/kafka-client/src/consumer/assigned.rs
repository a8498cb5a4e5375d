//! What the coordinator of a group has said last, by the consumer protocol. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::messages::TopicId;

/// What the coordinator has said last.
#[derive(Default)]
pub(super) struct AssignedByCoordinator {
    /// The partitions that this member is to have.
    pub(super) target: BTreeMap<TopicId, BTreeSet<i32>>,
    /// The next heartbeat says everything: something has changed, or it is not known whether the last one has arrived.
    pub(super) must_report: bool,
    pub(super) interval: Duration,
}

impl AssignedByCoordinator {
    /// The member has been removed.
    pub(super) fn clear(&mut self) {
        self.target.clear();
        self.must_report = true;
    }
}
