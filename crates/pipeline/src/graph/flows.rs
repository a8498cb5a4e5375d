//! The counts of items that the graph keeps for receivers, connectors and exporters; those of a processor are one
//! [`ItemFlow`].
//!
//! Owns the counts. Sends and stores nothing.

use std::collections::BTreeMap;

use otelcore_config::ComponentId;
use otelcore_pdata::Signal;

use crate::ack::SentItems;
use crate::exporter_queue::ExporterQueue;
use crate::{ConnectorOutput, HeldItems, ItemFlow, Outcome, StoredItemCounts, StoredQueue, Telemetry};

/// The id of a receiver, and its counts by signal.
#[derive(Debug)]
struct ReceiverFlow {
    id: ComponentId,
    flows: [Option<ItemFlow>; 3],
}

/// The counts of receivers, by owner number.
#[derive(Debug, Default)]
pub(super) struct ReceiverFlows(BTreeMap<u32, ReceiverFlow>);

impl ReceiverFlows {
    /// A pipeline takes this signal from a receiver.
    pub(super) fn add_signal(&mut self, telemetry: &Telemetry, receiver: u32, id: &ComponentId, signal: Signal) {
        let new = || ReceiverFlow { id: id.clone(), flows: [None, None, None] };
        let flows = &mut self.0.entry(receiver).or_insert_with(new).flows;
        flows[signal as usize].get_or_insert_with(|| ItemFlow::new(telemetry, "receiver", &id.to_string(), signal));
    }

    /// Adds those of the graph that this one is changed into. Receivers that are kept keep theirs.
    pub(super) fn adopt(&mut self, next: Self) {
        for (receiver, next) in next.0 {
            let new = || ReceiverFlow { id: next.id, flows: [None, None, None] };
            let own = &mut self.0.entry(receiver).or_insert_with(new).flows;
            for (own, next) in own.iter_mut().zip(next.flows) {
                if own.is_none() {
                    *own = next;
                }
            }
        }
    }

    /// A receiver has ended: what is held is dropped.
    pub(super) fn end(&mut self, receiver: u32) {
        let ended = self.0.remove(&receiver);
        ended.into_iter().flat_map(|receiver| receiver.flows).flatten().for_each(|mut flow| flow.abort());
    }

    /// The id of a receiver.
    pub(super) fn id(&self, receiver: u32) -> Option<&ComponentId> {
        self.0.get(&receiver).map(|receiver| &receiver.id)
    }

    fn of(&mut self, receiver: u32, signal: Signal) -> Option<&mut ItemFlow> {
        self.0.get_mut(&receiver)?.flows.get_mut(signal as usize)?.as_mut()
    }

    /// A receiver has sent items, some of them for the first time.
    pub(super) fn record_sent(&mut self, receiver: u32, sent: SentItems, is_new: bool) {
        if let Some(flow) = self.of(receiver, sent.signal) {
            flow.record_incoming(if is_new { sent.items } else { 0 });
            flow.set_held(flow.held().saturating_add(sent.items));
        }
    }

    /// The outcome of a receiver's items is known.
    pub(super) fn record_settled(&mut self, receiver: u32, sent: SentItems) {
        if let Some(flow) = self.of(receiver, sent.signal) {
            flow.set_held(flow.held().saturating_sub(sent.items));
        }
    }

    /// The process ends: what is held is dropped.
    pub(super) fn abort(&mut self) {
        self.0.values_mut().flat_map(|receiver| &mut receiver.flows).flatten().for_each(ItemFlow::abort);
    }
}

/// The counts of a connector: of the signal that it accepts, and of the one that it makes if that is another one.
#[derive(Debug)]
pub(super) struct ConnectorFlow {
    taken: ItemFlow,
    made: Option<ItemFlow>,
}

impl ConnectorFlow {
    pub(super) fn new(telemetry: &Telemetry, id: &str, (taken, made): (Signal, Signal)) -> Self {
        let flow = |signal| ItemFlow::new(telemetry, "connector", id, signal);
        Self { taken: flow(taken), made: (made != taken).then(|| flow(made)) }
    }

    /// Items that a pipeline has passed to the connector.
    pub(super) fn record_incoming(&self, items: u32) {
        self.taken.record_incoming(u64::from(items));
    }

    /// Counts what a call has passed on and reported, and what the connector holds after it.
    pub(super) fn count(&mut self, output: &ConnectorOutput, held: HeldItems) {
        output.count_into(&mut self.taken, self.made.as_mut());
        match &mut self.made {
            Some(made) => {
                self.taken.set_held(held.input);
                made.set_held(held.output);
            }
            None => self.taken.set_held(held.input.saturating_add(held.output)),
        }
    }

    /// What the connector has passed on under an ack of its own is delivered.
    pub(super) fn record_delivered(&self, items: u64) {
        self.made.as_ref().unwrap_or(&self.taken).record_outgoing(items);
    }

    /// The process ends: what is held is dropped.
    pub(super) fn abort(&mut self) {
        self.taken.abort();
        self.made.iter_mut().for_each(ItemFlow::abort);
    }
}

/// What the queue on disk has given to the queue in memory.
#[derive(Debug, Default)]
struct StoredCounts {
    /// Items of records whose outcome is not known.
    given_out: u64,
    /// Items of records that were delivered or set aside.
    settled: u64,
    /// Items that were sent, or failed for good, of records that are sent again.
    sent_again: u64,
    /// What the queue on disk has reported up to now.
    reported: StoredItemCounts,
}

/// The counts of an exporter for one signal, with a queue in memory or one on disk in front of it.
#[derive(Debug)]
pub(super) struct ExporterFlow {
    flow: ItemFlow,
    stored: StoredCounts,
}

impl ExporterFlow {
    pub(super) fn new(telemetry: &Telemetry, exporter: &str, signal: Signal) -> Self {
        Self { flow: ItemFlow::new(telemetry, "exporter", exporter, signal), stored: StoredCounts::default() }
    }

    /// Items that a pipeline has passed to the exporter.
    pub(super) fn record_incoming(&self, items: u32) {
        self.flow.record_incoming(u64::from(items));
    }

    /// A record of the queue on disk goes to the queue in memory.
    pub(super) fn record_given_out(&mut self, items: u32) {
        self.stored.given_out = self.stored.given_out.saturating_add(u64::from(items));
    }

    /// The outcome of a record that was given out.
    pub(super) fn record_outcome(&mut self, items: u64, outcome: &Outcome) {
        self.stored.given_out = self.stored.given_out.saturating_sub(items);
        if matches!(outcome, Outcome::Delivered | Outcome::Permanent(_)) {
            self.stored.settled = self.stored.settled.saturating_add(items);
        }
    }

    /// Measures what is held.
    pub(super) fn update(&mut self, queue: &ExporterQueue, stored: Option<&dyn StoredQueue>) {
        let Some(disk) = stored else { return self.flow.set_held(queue.held_items()) };
        let counts = disk.item_counts();
        let before = std::mem::replace(&mut self.stored.reported, counts);
        self.flow.record_created("recovered", counts.recovered.saturating_sub(before.recovered));
        self.flow.record_dropped("damaged", counts.damaged.saturating_sub(before.damaged));
        self.flow.record_dropped("set_aside", counts.set_aside.saturating_sub(before.set_aside));
        // A record leaves the disk as a whole, its items are sent one group after the other. What is sent of records that
        // are still there is not held any more; if such a record comes back as a whole, its items are sent twice.
        let sent = queue.ended_items();
        let mut ahead = sent.saturating_sub(self.stored.settled.saturating_add(self.stored.sent_again));
        if self.stored.given_out == 0 && ahead > 0 {
            self.flow.record_created("sent_again", ahead);
            self.stored.sent_again = self.stored.sent_again.saturating_add(ahead);
            ahead = 0;
        }
        self.flow.set_held(disk.undelivered_items().saturating_sub(ahead));
    }

    /// The process ends: items whose senders wait for a queue on disk are dropped.
    pub(super) fn abort(&mut self, waiting: u64) {
        self.flow.record_dropped("shutdown", waiting);
    }

    /// The exporter ends while the process goes on: what it leaves on disk is of the next exporter with this queue.
    pub(super) fn end(&mut self) {
        let held = self.flow.held();
        self.flow.set_held(0);
        self.flow.record_dropped("left_on_disk", held);
    }
}
