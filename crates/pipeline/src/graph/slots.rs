//! The places of components in a graph, and how they are found: by owner number, and by what they were made from.
//!
//! Owner numbers are never used again, so that sockets, timers and acks of a component that has ended reach no other one.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use otelcore_config::ComponentId;

use crate::{
    Ack, AttemptId, ComponentKind, Connector, ConnectorOutput, Cx, Downstream, Event, Exporter, Extension, Logger,
    MonotonicTime, OfferedCapabilities, Outcome, Outcomes, Payload, PipelineInput, Processor, Receiver, StartError,
};

/// What an instance of a component was made from: another one with an equal value would do the same. A change of a graph
/// keeps the instances whose value is the same in the new configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComponentIdentity {
    /// Its kind.
    pub kind: ComponentKind,
    /// Its id as the user wrote it.
    pub id: ComponentId,
    /// Where it is: the pipeline of a processor, the signals of a connector; otherwise empty.
    pub place: String,
    /// Its configuration and everything else that it was made from, as a text.
    pub content: String,
}

impl fmt::Debug for ComponentIdentity {
    /// Without the content, which may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.kind.name(), self.id, self.place)
    }
}

/// A running instance.
#[derive(Clone, Debug)]
pub(super) struct KnownInstance {
    pub(super) owner: u32,
    /// The extensions that it uses. It can't be kept without them.
    pub(super) uses: BTreeSet<ComponentId>,
}

/// Whether a component belongs to the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PartState {
    Live,
    /// In a graph that a running one is to be changed into: the running instance takes this place.
    Kept,
    /// It does not belong to the configuration any more, and ends by this time.
    Retired {
        until: MonotonicTime,
        /// It has been closed or drained.
        has_begun: bool,
    },
    /// It has ended.
    Gone,
}

impl PartState {
    pub(super) fn is_retired(self) -> bool {
        matches!(self, Self::Retired { .. })
    }

    /// Whether it is retired and its time is over.
    pub(super) fn is_expired(self, now: MonotonicTime) -> bool {
        matches!(self, Self::Retired { until, .. } if until <= now)
    }

    /// Whether it is retired and not closed or drained yet; from now on it counts as that.
    pub(super) fn begin(&mut self) -> bool {
        match self {
            Self::Retired { has_begun, .. } => !std::mem::replace(has_begun, true),
            _ => false,
        }
    }
}

pub(super) struct ReceiverSlot {
    pub(super) id: ComponentId,
    pub(super) owner: u32,
    pub(super) receiver: Box<dyn Receiver>,
    pub(super) state: PartState,
}

pub(super) struct ExtensionSlot {
    pub(super) owner: u32,
    pub(super) extension: Box<dyn Extension>,
    pub(super) offered: Rc<OfferedCapabilities>,
    pub(super) log: Logger,
    /// Part of the service itself: its start is not logged, and its errors are reported without a prefix.
    pub(super) is_internal: bool,
    pub(super) state: PartState,
}

/// A place of a component that has its own index in the graph.
pub(super) trait Slot {
    fn owner(&self) -> u32;
    fn state_mut(&mut self) -> &mut PartState;
}

impl Slot for ReceiverSlot {
    fn owner(&self) -> u32 {
        self.owner
    }

    fn state_mut(&mut self) -> &mut PartState {
        &mut self.state
    }
}

impl Slot for ExtensionSlot {
    fn owner(&self) -> u32 {
        self.owner
    }

    fn state_mut(&mut self) -> &mut PartState {
        &mut self.state
    }
}

/// The component that an owner number refers to.
#[derive(Clone, Copy, Debug)]
pub(super) enum ComponentIndex {
    Graph,
    Receiver(usize),
    Processor(usize, usize),
    Exporter(usize),
    Connector(usize),
    Extension(usize),
    /// The queue on disk of an exporter for one signal.
    StoredQueue(usize, usize),
}

/// Components by owner number.
#[derive(Debug, Default)]
pub(super) struct ComponentTable {
    /// Sorted by owner number.
    entries: Vec<(u32, ComponentIndex)>,
}

impl ComponentTable {
    pub(super) fn new(mut entries: Vec<(u32, ComponentIndex)>) -> Self {
        entries.sort_unstable_by_key(|(owner, _)| *owner);
        Self { entries }
    }

    /// Adds a component whose number is higher than all others.
    pub(super) fn push(&mut self, owner: u32, component: ComponentIndex) {
        self.entries.push((owner, component));
    }

    pub(super) fn get(&self, owner: u32) -> Option<ComponentIndex> {
        // As long as nothing has changed, the numbers are those of the places.
        if let Some((found, component)) = self.entries.get(owner as usize)
            && *found == owner
        {
            return Some(*component);
        }
        let place = self.entries.binary_search_by_key(&owner, |(owner, _)| *owner).ok()?;
        self.entries.get(place).map(|(_, component)| *component)
    }

    /// How many components there are. Queues belong to their exporters.
    pub(super) fn count(&self) -> usize {
        let is_part =
            |component: &ComponentIndex| matches!(component, ComponentIndex::Graph | ComponentIndex::StoredQueue(..));
        self.entries.iter().filter(|(_, component)| !is_part(component)).count()
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(owner, _)| *owner)
    }
}

/// Is in the place of a component that is not there: one that a change takes over from the running graph, or one that has
/// ended. It gets no data.
pub(super) struct Absent;

impl Receiver for Absent {
    fn open(&mut self, _: &mut Cx<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {}

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

impl Processor for Absent {
    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        downstream.send(payload, ack);
    }
}

impl Connector for Absent {
    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        output.send(payload, ack);
    }
}

impl Exporter for Absent {
    fn send(&mut self, _: &mut Cx<'_>, attempt: AttemptId, _: &Payload, _: MonotonicTime, outcomes: &mut Outcomes) {
        outcomes.push(attempt, Outcome::retry("the exporter has ended"));
    }
}

impl Extension for Absent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_is_found_by_its_number_with_and_without_gaps() {
        let mut table = ComponentTable::default();
        (0..3).for_each(|owner| table.push(owner, ComponentIndex::Receiver(owner as usize)));
        assert!(matches!(table.get(2), Some(ComponentIndex::Receiver(2))));
        let table = ComponentTable::new(vec![
            (9, ComponentIndex::Exporter(9)),
            (0, ComponentIndex::Graph),
            (4, ComponentIndex::Exporter(4)),
        ]);
        assert!(matches!(table.get(4), Some(ComponentIndex::Exporter(4))));
        assert!(matches!(table.get(9), Some(ComponentIndex::Exporter(9))));
        assert!(table.get(1).is_none() && table.get(10).is_none());
    }
}
