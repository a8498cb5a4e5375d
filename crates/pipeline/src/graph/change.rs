//! Changes a running graph into another one by their difference.
//!
//! Components that both have keep their instance, with its state, its sockets and its owner number. New ones start first; if one
//! can't, nothing has changed. Then the pipelines are connected anew, and what the new configuration does not have is retired
//! (`retirement`): it stays in the graph behind the live parts, connected to where its data can go, until it is empty.
//!
//! Live parts pass data to live parts only, retired ones to retired or live ones. So nothing new enters a retired part, apart from
//! the requests that a retired receiver finishes.

use std::collections::{BTreeMap, BTreeSet};

use super::data_path::{OrderedPart, Pipeline, ProcessorSlot};
use super::slots::{ComponentIndex, ComponentTable, PartState, Slot};
use super::{GRAPH_OWNER, Graph, Phase};
use crate::{ComponentKind, Cx, MonotonicTime, StartError, World};

/// How many components a change has kept, started and retired.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GraphChange {
    /// They go on with their state.
    pub kept: usize,
    /// They are new, or made again.
    pub started: usize,
    /// They end when they are empty.
    pub retired: usize,
}

/// Why a graph could not be changed. It goes on as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{error}")]
pub struct ChangeError {
    /// Why.
    pub error: StartError,
    /// A component that ends has the port of a new one at another address (`0.0.0.0` and `127.0.0.1`): the new one could start
    /// after the end of the other.
    pub needs_end_of_previous: bool,
}

/// Where the data of a pipeline of the running graph goes after a change.
enum Destination {
    /// To the pipeline of the same id. By the place in the old pipeline, the place there.
    Live(usize, Vec<usize>),
    /// The pipeline is retired as a whole, at this index.
    Retired(usize),
    /// It has ended.
    Gone,
}

impl Destination {
    fn place(&self, position: usize) -> Option<(usize, usize)> {
        match self {
            Self::Live(pipeline, positions) => Some((*pipeline, positions.get(position).copied().unwrap_or_default())),
            Self::Retired(pipeline) => Some((*pipeline, position)),
            Self::Gone => None,
        }
    }
}

impl Graph {
    /// Changes this running graph into `next`, which was built with [`crate::GraphBuilder::following`] from it. Components that
    /// `next` does not keep close or drain, and end by `deadline`.
    ///
    /// # Errors
    /// The first new component that can't start. The graph goes on as before.
    pub fn change(
        &mut self,
        world: &mut dyn World,
        mut next: Self,
        deadline: MonotonicTime,
    ) -> Result<GraphChange, ChangeError> {
        let refused = |text: &str| -> Result<GraphChange, ChangeError> {
            Err(ChangeError { error: StartError::Config(text.to_owned()), needs_end_of_previous: false })
        };
        if self.phase != Phase::Running {
            return refused("the collector is stopping");
        }
        if next.follows != Some(self.generation) {
            return refused("the configuration was changed meanwhile");
        }
        self.generation = self.generation.wrapping_add(1);
        // Also where it fails: events of its components may still come.
        self.next_owner = next.next_owner;
        let kept = next.owners_where(|state| state == PartState::Kept);
        let ending: BTreeSet<u32> = self.components.owners().filter(|owner| !kept.contains(owner)).collect();
        world.begin_handover(&ending);
        if let Err(error) = next.start_parts(world) {
            drop(next);
            return Err(ChangeError { error, needs_end_of_previous: world.end_handover(false) });
        }
        let new_extensions: BTreeSet<u32> =
            next.extensions.iter().filter(|slot| slot.state == PartState::Live).map(|slot| slot.owner).collect();
        let started = next.components.count();
        let unused_extensions = self.unused_extensions(&next);
        self.adopt(next, deadline);
        world.end_handover(true);
        let retired = self.begin_retirement(world, deadline, &unused_extensions);
        for slot in self.extensions.iter_mut().filter(|slot| new_extensions.contains(&slot.owner)) {
            slot.extension.set_ready(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses), true);
        }
        self.run_turn(world);
        Ok(GraphChange { kept: kept.len(), started, retired })
    }

    /// The owner numbers of the components in such a state.
    fn owners_where(&self, has_state: impl Fn(PartState) -> bool) -> BTreeSet<u32> {
        let path = &self.data_path;
        let receivers = self.receivers.iter().map(|slot| (slot.owner, slot.state));
        let extensions = self.extensions.iter().map(|slot| (slot.owner, slot.state));
        let exporters = path.exporters.iter().map(|slot| (slot.owner, slot.state));
        let connectors = path.connectors.iter().map(|slot| (slot.owner, slot.state));
        let processors = path.pipelines.iter().flat_map(|p| &p.processors).map(|slot| (slot.owner, slot.state));
        let all = receivers.chain(extensions).chain(exporters).chain(connectors).chain(processors);
        all.filter(|(_, state)| has_state(*state)).map(|(owner, _)| owner).collect()
    }

    /// The extensions that end with this change and that no component uses which has to end after it.
    fn unused_extensions(&self, next: &Self) -> BTreeSet<u32> {
        let ending = || self.identities.iter().filter(|(identity, _)| !next.identities.contains_key(*identity));
        let used: BTreeSet<_> = ending().flat_map(|(_, known)| &known.uses).collect();
        let of_used = ending()
            .filter(|(identity, _)| identity.kind == ComponentKind::Extension && used.contains(&identity.id))
            .map(|(_, known)| known.owner);
        let used: BTreeSet<u32> = of_used.collect();
        let live = self.extensions.iter().filter(|slot| slot.state == PartState::Live);
        live.map(|slot| slot.owner).filter(|owner| !used.contains(owner)).collect()
    }

    /// Moves the kept instances of this graph into their places in `next`, puts the others behind its live parts, and becomes it.
    fn adopt(&mut self, mut next: Self, deadline: MonotonicTime) {
        self.move_kept(&mut next);
        let receivers = merge(std::mem::take(&mut self.receivers), &mut next.receivers, deadline);
        merge(std::mem::take(&mut self.extensions), &mut next.extensions, deadline);
        let (path, next_path) = (&mut self.data_path, &mut next.data_path);
        let exporters = merge(std::mem::take(&mut path.exporters), &mut next_path.exporters, deadline);
        let live_connectors = next_path.connectors.len();
        let connectors = merge(std::mem::take(&mut path.connectors), &mut next_path.connectors, deadline);
        let mut old_pipelines = std::mem::take(&mut path.pipelines);
        let destinations = destinations(&old_pipelines, &next_path.pipelines);
        for slot in next_path.connectors.iter_mut().skip(live_connectors) {
            let targets = slot.targets.iter().filter_map(|target| destinations.get(*target)?.place(0));
            slot.targets = targets.map(|(pipeline, _)| pipeline).collect();
        }
        let remap = |from: &[usize], map: &[Option<usize>]| -> Vec<usize> {
            from.iter().filter_map(|index| map.get(*index).copied().flatten()).collect()
        };
        let is_retired = |index: &usize| next.receivers.get(*index).is_some_and(|slot| slot.state.is_retired());
        let (mut whole, mut taken_out) = (Vec::new(), Vec::new());
        for (pipeline, destination) in old_pipelines.iter_mut().zip(&destinations) {
            let mut retired_receivers = remap(&pipeline.receivers, &receivers);
            retired_receivers.retain(is_retired);
            match destination {
                Destination::Gone => {}
                Destination::Live(index, positions) => {
                    if let Some(live) = next_path.pipelines.get_mut(*index) {
                        live.receivers.extend(retired_receivers);
                    }
                    taken_out.extend(take_out_processors(pipeline, *index, positions, deadline));
                }
                Destination::Retired(_) => {
                    if pipeline.state == PartState::Live {
                        pipeline.state = PartState::Retired { until: deadline, has_begun: false };
                        pipeline.processors.iter_mut().for_each(|slot| slot.state = pipeline.state);
                    }
                    whole.push(Pipeline {
                        id: pipeline.id.clone(),
                        signal: pipeline.signal,
                        receivers: retired_receivers,
                        processors: std::mem::take(&mut pipeline.processors),
                        exporters: remap(&pipeline.exporters, &exporters),
                        connectors: remap(&pipeline.connectors, &connectors),
                        continues_in: pipeline.continues_in.and_then(|(to, at)| destinations.get(to)?.place(at)),
                        state: pipeline.state,
                        is_stored: false,
                    });
                }
            }
        }
        path.receiver_flows.adopt(std::mem::take(&mut next_path.receiver_flows));
        path.receiver_traces.adopt(std::mem::take(&mut next_path.receiver_traces));
        next_path.pipelines.extend(whole);
        next_path.pipelines.extend(taken_out);
        self.receivers = next.receivers;
        self.extensions = next.extensions;
        self.identities = next.identities;
        path.pipelines = std::mem::take(&mut next_path.pipelines);
        path.exporters = std::mem::take(&mut next_path.exporters);
        path.connectors = std::mem::take(&mut next_path.connectors);
        self.connect_parts();
        for owner in self.owners_where(PartState::is_retired) {
            self.statuses.remove(owner);
        }
        self.statuses.take_over(&next.statuses);
    }

    /// Exchanges the running instances that `next` keeps with what is in their places there.
    fn move_kept(&mut self, next: &mut Self) {
        let path = &mut self.data_path;
        for slot in next.receivers.iter_mut().filter(|slot| slot.state == PartState::Kept) {
            if let Some(ComponentIndex::Receiver(index)) = self.components.get(slot.owner) {
                std::mem::swap(slot, &mut self.receivers[index]);
            }
        }
        for slot in next.extensions.iter_mut().filter(|slot| slot.state == PartState::Kept) {
            if let Some(ComponentIndex::Extension(index)) = self.components.get(slot.owner) {
                std::mem::swap(slot, &mut self.extensions[index]);
            }
        }
        for slot in next.data_path.exporters.iter_mut().filter(|slot| slot.state == PartState::Kept) {
            if let Some(ComponentIndex::Exporter(index)) = self.components.get(slot.owner) {
                std::mem::swap(slot, &mut path.exporters[index]);
            }
        }
        for slot in next.data_path.connectors.iter_mut().filter(|slot| slot.state == PartState::Kept) {
            if let Some(ComponentIndex::Connector(index)) = self.components.get(slot.owner) {
                std::mem::swap(slot, &mut path.connectors[index]);
                // The same pipelines by their ids, at other indexes.
                std::mem::swap(&mut slot.targets, &mut path.connectors[index].targets);
            }
        }
        let processors = next.data_path.pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.processors);
        for slot in processors.filter(|slot| slot.state == PartState::Kept) {
            if let Some(ComponentIndex::Processor(pipeline, index)) = self.components.get(slot.owner) {
                std::mem::swap(slot, &mut path.pipelines[pipeline].processors[index]);
            }
        }
    }

    /// Orders the parts, and finds the places of all components.
    pub(super) fn connect_parts(&mut self) {
        let path = &mut self.data_path;
        if path.order_parts().is_err() {
            // Not reached: live parts have been ordered, and nothing feeds a retired one that it feeds.
            let pipelines = (0..path.pipelines.len()).map(OrderedPart::Pipeline);
            path.order = pipelines.chain((0..path.connectors.len()).map(OrderedPart::Connector)).collect();
        }
        path.mark_stored_parts();
        let mut components = vec![(GRAPH_OWNER, ComponentIndex::Graph)];
        let has_ended = |state: PartState| state == PartState::Gone;
        let receivers = self.receivers.iter().enumerate().filter(|(_, slot)| !has_ended(slot.state));
        components.extend(receivers.map(|(i, slot)| (slot.owner, ComponentIndex::Receiver(i))));
        let extensions = self.extensions.iter().enumerate().filter(|(_, slot)| !has_ended(slot.state));
        components.extend(extensions.map(|(i, slot)| (slot.owner, ComponentIndex::Extension(i))));
        for (i, slot) in path.exporters.iter().enumerate().filter(|(_, slot)| !has_ended(slot.state)) {
            components.push((slot.owner, ComponentIndex::Exporter(i)));
            let stored = slot.stored.iter().enumerate();
            let stored = stored.filter_map(|(signal, stored)| Some((stored.as_ref()?.owner, signal)));
            components.extend(stored.map(|(owner, signal)| (owner, ComponentIndex::StoredQueue(i, signal))));
        }
        let connectors = path.connectors.iter().enumerate().filter(|(_, slot)| !has_ended(slot.state));
        components.extend(connectors.map(|(i, slot)| (slot.owner, ComponentIndex::Connector(i))));
        for (i, pipeline) in path.pipelines.iter().enumerate().filter(|(_, pipeline)| !has_ended(pipeline.state)) {
            let processors = pipeline.processors.iter().enumerate();
            components.extend(processors.map(|(at, slot)| (slot.owner, ComponentIndex::Processor(i, at))));
        }
        self.components = ComponentTable::new(components);
    }
}

/// Puts the slots that are not kept behind those of the next graph. Returns the new index of each old one.
fn merge<S: Slot>(old: Vec<S>, next: &mut Vec<S>, deadline: MonotonicTime) -> Vec<Option<usize>> {
    let places: BTreeMap<u32, usize> = next.iter().enumerate().map(|(index, slot)| (slot.owner(), index)).collect();
    let place = |mut slot: S| {
        let state = *slot.state_mut();
        match state {
            PartState::Kept => return places.get(&slot.owner()).copied(),
            PartState::Gone => return None,
            PartState::Live => *slot.state_mut() = PartState::Retired { until: deadline, has_begun: false },
            PartState::Retired { .. } => {}
        }
        next.push(slot);
        Some(next.len() - 1)
    };
    old.into_iter().map(place).collect()
}

/// Where the data of each old pipeline goes. Those that are retired as a whole come directly behind the live ones, in their order.
fn destinations(old: &[Pipeline], next: &[Pipeline]) -> Vec<Destination> {
    let by_id: BTreeMap<_, usize> = next.iter().enumerate().map(|(index, pipeline)| (&pipeline.id, index)).collect();
    let mut next_retired = next.len();
    let destination = |pipeline: &Pipeline| {
        if pipeline.state == PartState::Gone {
            return Destination::Gone;
        }
        let live = by_id.get(&pipeline.id).filter(|_| pipeline.state == PartState::Live);
        let Some((index, live)) = live.and_then(|index| Some((*index, next.get(*index)?))) else {
            next_retired += 1;
            return Destination::Retired(next_retired - 1);
        };
        let places: BTreeMap<u32, usize> =
            live.processors.iter().enumerate().map(|(place, slot)| (slot.owner, place)).collect();
        // What leaves a processor that is taken out goes to the next one that is kept.
        let mut positions = vec![live.processors.len(); pipeline.processors.len() + 1];
        let mut following = live.processors.len();
        for (position, slot) in pipeline.processors.iter().enumerate().rev() {
            if slot.state == PartState::Kept {
                following = places.get(&slot.owner).copied().unwrap_or(following);
            }
            positions[position] = following;
        }
        Destination::Live(index, positions)
    };
    old.iter().map(destination).collect()
}

/// Takes the processors that are not kept out of a pipeline: each sequence of them is a pipeline that continues in the live one.
fn take_out_processors(
    pipeline: &mut Pipeline,
    live: usize,
    positions: &[usize],
    deadline: MonotonicTime,
) -> Vec<Pipeline> {
    let state = PartState::Retired { until: deadline, has_begun: false };
    let (mut sequences, mut sequence): (Vec<Pipeline>, Vec<ProcessorSlot>) = (Vec::new(), Vec::new());
    let new_pipeline = |processors: Vec<ProcessorSlot>, end: usize| Pipeline {
        id: pipeline.id.clone(),
        signal: pipeline.signal,
        receivers: Vec::new(),
        processors,
        exporters: Vec::new(),
        connectors: Vec::new(),
        continues_in: Some((live, positions.get(end).copied().unwrap_or_default())),
        state,
        is_stored: false,
    };
    let processors = std::mem::take(&mut pipeline.processors);
    let count = processors.len();
    for (position, mut slot) in processors.into_iter().enumerate() {
        if slot.state == PartState::Kept {
            if !sequence.is_empty() {
                sequences.push(new_pipeline(std::mem::take(&mut sequence), position));
            }
        } else {
            slot.state = state;
            sequence.push(slot);
        }
    }
    if !sequence.is_empty() {
        sequences.push(new_pipeline(sequence, count));
    }
    sequences
}
