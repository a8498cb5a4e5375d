//! What becomes of the items that enter a component: counted for each component and signal, so that nothing is missing.
//!
//! ```text
//!  incoming + created = outgoing + held + refused + dropped
//! ```
//! The graph counts what goes in and out, and reads what is held. A component reports what it creates, refuses and drops,
//! each where it happens. So the two sides are counted apart from each other, and [`sum_law`](crate::sum_law()) compares
//! them. Counts payloads, not items one by one, and reads no telemetry.

use otelcore_pdata::Signal;

use crate::{Counter, Gauge, Labels, MetricsLevel, Telemetry};

/// The name of a family, and its help.
type Family = (&'static str, &'static str);

/// The families of one kind of component. Receivers and exporters have others for what goes out and what is refused.
struct FlowNames {
    kind: &'static str,
    incoming: Family,
    created: Family,
    outgoing: Option<Family>,
    held: Family,
    refused: Option<Family>,
    dropped: Family,
}

static FLOW_NAMES: [FlowNames; 4] = [
    FlowNames {
        kind: "receiver",
        incoming: ("otelcol_receiver_incoming_items", "Number of items that the receiver has passed to its pipelines."),
        created: ("otelcol_receiver_created_items", "Number of items that the receiver has made."),
        outgoing: None,
        held: (
            "otelcol_receiver_held_items",
            "Number of items of the receiver whose outcome the pipelines have not reported.",
        ),
        refused: None,
        dropped: ("otelcol_receiver_dropped_items", "Number of items that the receiver has dropped, by reason."),
    },
    FlowNames {
        kind: "processor",
        incoming: ("otelcol_processor_incoming_items", "Number of items passed to the processor. [Alpha]"),
        created: ("otelcol_processor_created_items", "Number of items that the processor has made, by reason."),
        outgoing: Some(("otelcol_processor_outgoing_items", "Number of items emitted from the processor. [Alpha]")),
        held: ("otelcol_processor_held_items", "Number of items that the processor holds."),
        refused: Some((
            "otelcol_processor_refused_items",
            "Number of items that the processor has refused: their sender got an error.",
        )),
        dropped: ("otelcol_processor_dropped_items", "Number of items that the processor has dropped, by reason."),
    },
    FlowNames {
        kind: "connector",
        incoming: ("otelcol_connector_incoming_items", "Number of items passed to the connector."),
        created: ("otelcol_connector_created_items", "Number of items that the connector has made, by reason."),
        outgoing: Some(("otelcol_connector_outgoing_items", "Number of items emitted from the connector.")),
        held: ("otelcol_connector_held_items", "Number of items that the connector holds."),
        refused: Some((
            "otelcol_connector_refused_items",
            "Number of items that the connector has refused: their sender got an error.",
        )),
        dropped: ("otelcol_connector_dropped_items", "Number of items that ended in the connector, by reason."),
    },
    FlowNames {
        kind: "exporter",
        incoming: ("otelcol_exporter_incoming_items", "Number of items passed to the exporter, or to its queue."),
        created: (
            "otelcol_exporter_created_items",
            "Number of items that the queue on disk had at the start, or sends again, by reason.",
        ),
        outgoing: None,
        held: ("otelcol_exporter_held_items", "Number of items that the exporter and its queues hold."),
        refused: None,
        dropped: (
            "otelcol_exporter_dropped_items",
            "Number of items that the exporter has dropped in another way than by a failed attempt, by reason.",
        ),
    },
];

/// Items that a component has created, refused or dropped, as it reports them in one call.
#[derive(Debug, Default)]
pub(crate) struct ItemChanges {
    pub(crate) refused: u64,
    pub(crate) created: Vec<(&'static str, u64)>,
    pub(crate) dropped: Vec<(&'static str, u64)>,
}

impl ItemChanges {
    fn add(list: &mut Vec<(&'static str, u64)>, reason: &'static str, items: u64) {
        if items == 0 {
            return;
        }
        match list.iter_mut().find(|(there, _)| *there == reason) {
            Some((_, count)) => *count = count.saturating_add(items),
            None => list.push((reason, items)),
        }
    }

    pub(crate) fn add_created(&mut self, reason: &'static str, items: u64) {
        Self::add(&mut self.created, reason, items);
    }

    pub(crate) fn add_dropped(&mut self, reason: &'static str, items: u64) {
        Self::add(&mut self.dropped, reason, items);
    }
}

/// The counts of one component for one signal. Instances with the same kind, id and signal share their series.
#[derive(Debug)]
pub struct ItemFlow {
    names: &'static FlowNames,
    telemetry: Telemetry,
    labels: Labels,
    incoming: Counter,
    outgoing: Counter,
    refused: Counter,
    held: Gauge,
    /// The part of `held` that is of this instance.
    held_now: u64,
    /// The process ends, and nothing is counted any more.
    is_ended: bool,
    /// By reason; each is registered when it is first used.
    created: Vec<(&'static str, Counter)>,
    dropped: Vec<(&'static str, Counter)>,
}

impl std::fmt::Debug for FlowNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

impl ItemFlow {
    /// The counts of a component of `kind` (`receiver`, `processor`, `connector`, `exporter`) with this id.
    #[must_use]
    pub fn new(telemetry: &Telemetry, kind: &str, id: &str, signal: Signal) -> Self {
        let [receiver, ..] = &FLOW_NAMES;
        let names = FLOW_NAMES.iter().find(|names| names.kind == kind).unwrap_or(receiver);
        let labels = vec![(names.kind, id.to_owned()), ("otel_signal", signal.name().to_owned())];
        let counter = |(name, help): Family| telemetry.counter(MetricsLevel::Basic, name, help, labels.clone());
        let (name, help) = names.held;
        Self {
            incoming: counter(names.incoming),
            outgoing: names.outgoing.map(counter).unwrap_or_default(),
            refused: names.refused.map(counter).unwrap_or_default(),
            held: telemetry.gauge(MetricsLevel::Basic, name, help, labels.clone()),
            held_now: 0,
            is_ended: false,
            created: Vec::new(),
            dropped: Vec::new(),
            telemetry: telemetry.clone(),
            labels,
            names,
        }
    }

    /// Items that the component is given.
    pub fn record_incoming(&self, items: u64) {
        self.incoming.add(if self.is_ended { 0 } else { items });
    }

    /// Items that the component has passed on, and for which it is not responsible any more.
    pub fn record_outgoing(&self, items: u64) {
        self.outgoing.add(if self.is_ended { 0 } else { items });
    }

    /// Items that the component has made, and why.
    pub fn record_created(&mut self, reason: &'static str, items: u64) {
        let (telemetry, labels, family) = (&self.telemetry, &self.labels, self.names.created);
        add_by_reason(&mut self.created, (telemetry, labels, family), reason, items);
    }

    /// Items that have ended in the component, and why.
    pub fn record_dropped(&mut self, reason: &'static str, items: u64) {
        let (telemetry, labels, family) = (&self.telemetry, &self.labels, self.names.dropped);
        add_by_reason(&mut self.dropped, (telemetry, labels, family), reason, items);
    }

    /// Sets how many items the component holds.
    pub fn set_held(&mut self, items: u64) {
        if items != self.held_now && !self.is_ended {
            self.held.replace_part(self.held_now, items);
            self.held_now = items;
        }
    }

    /// How many items the component holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held_now
    }

    /// Whether what it has counted adds up. For a receiver or an exporter other series belong to the sum, and
    /// [`sum_law`](crate::sum_law()) has all of them.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let sum = |counters: &[(&str, Counter)]| counters.iter().map(|(_, counter)| counter.get()).sum::<u64>();
        let taken = self.incoming.get() + sum(&self.created);
        taken == self.outgoing.get() + self.refused.get() + self.held_now + sum(&self.dropped)
    }

    /// Adds what the component has reported.
    pub(crate) fn apply(&mut self, changes: &ItemChanges) {
        self.apply_ended(changes);
        self.apply_created(changes);
    }

    /// Adds what the component has refused and dropped, without what it has created.
    pub(crate) fn apply_ended(&mut self, changes: &ItemChanges) {
        if self.is_ended {
            return;
        }
        self.refused.add(changes.refused);
        for (reason, items) in &changes.dropped {
            self.record_dropped(reason, *items);
        }
    }

    /// Adds what the component has created.
    pub(crate) fn apply_created(&mut self, changes: &ItemChanges) {
        if self.is_ended {
            return;
        }
        for (reason, items) in &changes.created {
            self.record_created(reason, *items);
        }
    }

    /// The process ends: what is held is dropped.
    pub(crate) fn abort(&mut self) {
        let held = self.held_now;
        self.set_held(0);
        self.record_dropped("shutdown", held);
        self.is_ended = true;
    }
}

#[cold]
fn register_reason((telemetry, labels, (name, help)): (&Telemetry, &Labels, Family), reason: &'static str) -> Counter {
    let mut labels = labels.clone();
    labels.push(("reason", reason.to_owned()));
    telemetry.counter(MetricsLevel::Basic, name, help, labels)
}

fn add_by_reason(
    counters: &mut Vec<(&'static str, Counter)>,
    family: (&Telemetry, &Labels, Family),
    reason: &'static str,
    items: u64,
) {
    if items == 0 {
        return;
    }
    if let Some((_, counter)) = counters.iter().find(|(there, _)| *there == reason) {
        return counter.add(items);
    }
    let counter = register_reason(family, reason);
    counter.add(items);
    counters.push((reason, counter));
}
