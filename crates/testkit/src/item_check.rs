//! The sum of a single component's items, checked after each call of a test.
//!
//! Owns the counts and what was sent under acks of the component's own. Calls no component.

use std::collections::BTreeMap;

use otelcore_pdata::Signal;
use otelcore_pipeline::{ItemFlow, MetricsLevel, Outcome, Telemetry, sum_law};

/// See the module.
#[derive(Debug)]
pub(crate) struct ItemCheck {
    telemetry: Telemetry,
    /// The counts of all signals together.
    pub(crate) flow: ItemFlow,
    /// Items that were sent under acks of its own.
    sent: BTreeMap<u64, u64>,
}

impl ItemCheck {
    /// Of a component of `kind`, such as `processor`.
    pub(crate) fn new(kind: &str) -> Self {
        let telemetry = Telemetry::new(MetricsLevel::Basic);
        let flow = ItemFlow::new(&telemetry, kind, "tested", Signal::Traces);
        Self { telemetry, flow, sent: BTreeMap::new() }
    }

    /// The end of a call, which `sent` these items under acks of the component's own.
    pub(crate) fn end_call(&mut self, sent: impl Iterator<Item = (u64, u64)>, held: u64) {
        for (ack_id, items) in sent {
            *self.sent.entry(ack_id).or_default() += items;
        }
        self.flow.set_held(held);
        if !self.flow.is_balanced() {
            assert_eq!(sum_law(&self.telemetry), Ok(()));
        }
    }

    /// The outcome of what was sent under an ack of the component's own.
    pub(crate) fn settle(&mut self, ack_id: u64, outcome: &Outcome) {
        let sent = self.sent.remove(&ack_id).unwrap_or(0);
        self.flow.record_outgoing(if *outcome == Outcome::Delivered { sent } else { 0 });
    }
}
