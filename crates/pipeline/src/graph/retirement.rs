//! The end of components that a changed configuration does not have any more.
//!
//! Receivers close, processors and connectors are drained, exporters send what their queues in memory hold. Each part ends when it
//! is empty and nothing can come to it any more, or when its time is over: then what it holds is reported and lost, unless it is on
//! disk. Retired parts are behind the live ones; when all have ended, they are removed. Live parts are not touched here.

use std::collections::BTreeSet;

use super::data_path::{OrderedPart, ProcessorSlot};
use super::flows::ExporterFlow;
use super::slots::{Absent, PartState};
use super::{GRAPH_OWNER, Graph, RETIREMENT_TIMER, UndeliveredItems};
use crate::exporter_queue::ExporterQueue;
use crate::{Cx, MonotonicTime, World};

impl Graph {
    /// Closes and drains what has just been retired; `unused_extensions` end at once. Returns how many components these are.
    pub(super) fn begin_retirement(
        &mut self,
        world: &mut dyn World,
        deadline: MonotonicTime,
        unused_extensions: &BTreeSet<u32>,
    ) -> usize {
        let now = world.now();
        // As in a shutdown: a client that stops sending must not use up the time in which held data could be delivered.
        let receivers_deadline = now + deadline.since(now) / 2;
        let mut retired = 0;
        for slot in &mut self.receivers {
            if slot.state.begin() {
                retired += 1;
                slot.receiver.close(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses), receivers_deadline);
            }
        }
        for part in self.data_path.order.clone() {
            match part {
                OrderedPart::Pipeline(index) => {
                    if self.data_path.pipelines[index].state.begin() {
                        retired += self.data_path.pipelines[index].processors.len();
                        self.data_path.flush_pipeline(world, &self.statuses, index, true);
                    }
                }
                OrderedPart::Connector(index) => {
                    if self.data_path.connectors[index].state.begin() {
                        retired += 1;
                        self.data_path.flush_connector(world, &self.statuses, index, true);
                    }
                }
            }
        }
        for slot in &mut self.data_path.exporters {
            if slot.state.begin() {
                retired += 1;
                for stored in slot.stored.iter_mut().flatten() {
                    stored.queue.drain(&mut Cx::new(world, stored.owner).with_statuses(&self.statuses));
                }
                slot.queues.iter_mut().flatten().for_each(|queue| queue.retire(now, deadline));
            }
        }
        for slot in &mut self.extensions {
            if slot.state.begin() {
                retired += 1;
                let mut cx = Cx::new(world, slot.owner).with_statuses(&self.statuses);
                slot.extension.set_ready(&mut cx, false);
                slot.extension.close(&mut cx, deadline);
                let has_ended = slot.extension.is_closed();
                if has_ended && (slot.is_internal || unused_extensions.contains(&slot.owner)) {
                    (slot.extension, slot.state) = (Box::new(Absent), PartState::Gone);
                }
            }
        }
        self.has_retired = retired > 0 || self.has_retired;
        if retired > 0 {
            Cx::new(world, GRAPH_OWNER).set_timer(RETIREMENT_TIMER, deadline);
        }
        retired
    }

    /// Ends the retired parts that are empty, or whose time is over. True if one has ended.
    pub(super) fn advance_retirement(&mut self, world: &mut dyn World) -> bool {
        let now = world.now();
        let mut undelivered = UndeliveredItems::default();
        let has_ended = self.end_receivers(now, &mut undelivered)
            | self.end_pipelines(now, &mut undelivered)
            | self.end_connectors(now, &mut undelivered)
            | self.end_exporters(world, &mut undelivered);
        undelivered.report_change(&self.log);
        if !self.has_retired_parts(now) {
            self.remove_ended();
        }
        has_ended
    }

    fn end_receivers(&mut self, now: MonotonicTime, undelivered: &mut UndeliveredItems) -> bool {
        let mut ended = BTreeSet::new();
        for (index, slot) in self.receivers.iter_mut().enumerate().filter(|(_, slot)| slot.state.is_retired()) {
            if slot.receiver.is_closed() || slot.state.is_expired(now) {
                undelivered.add(format!("receiver {}", slot.id), slot.receiver.held_items());
                self.data_path.receiver_flows.end(slot.owner);
                self.data_path.receiver_traces.remove_receiver(slot.owner);
                (slot.receiver, slot.state) = (Box::new(Absent), PartState::Gone);
                ended.insert(index);
            }
        }
        if !ended.is_empty() {
            for pipeline in &mut self.data_path.pipelines {
                pipeline.receivers.retain(|receiver| !ended.contains(receiver));
            }
        }
        !ended.is_empty()
    }

    fn end_pipelines(&mut self, now: MonotonicTime, undelivered: &mut UndeliveredItems) -> bool {
        let path = &mut self.data_path;
        let continued = path.pipelines.iter().filter(|pipeline| pipeline.state.is_retired());
        let continued = continued.filter_map(|pipeline| Some(pipeline.continues_in?.0));
        let targets = path.connectors.iter().filter(|slot| slot.state.is_retired()).flat_map(|slot| &slot.targets);
        let fed: BTreeSet<usize> = continued.chain(targets.copied()).collect();
        let mut has_ended = false;
        for (index, pipeline) in path.pipelines.iter_mut().enumerate().filter(|(_, p)| p.state.is_retired()) {
            let is_fed = !pipeline.receivers.is_empty() || fed.contains(&index);
            let settlements = &path.settlements;
            let is_empty =
                |slot: &ProcessorSlot| slot.processor.held_items() == 0 && !settlements.has_own_acks(slot.owner);
            if pipeline.state.is_expired(now) || !is_fed && pipeline.processors.iter().all(is_empty) {
                pipeline.add_undelivered(undelivered);
                for slot in &mut pipeline.processors {
                    slot.flow.abort();
                    slot.processor = Box::new(Absent);
                }
                pipeline.state = PartState::Gone;
                has_ended = true;
            }
        }
        has_ended
    }

    fn end_connectors(&mut self, now: MonotonicTime, undelivered: &mut UndeliveredItems) -> bool {
        let path = &mut self.data_path;
        let retired = path.pipelines.iter().filter(|pipeline| pipeline.state.is_retired());
        let fed: BTreeSet<usize> = retired.flat_map(|pipeline| &pipeline.connectors).copied().collect();
        let mut has_ended = false;
        for (index, slot) in path.connectors.iter_mut().enumerate().filter(|(_, slot)| slot.state.is_retired()) {
            let is_empty = slot.connector.held_items() == 0 && !path.settlements.has_own_acks(slot.owner);
            if slot.state.is_expired(now) || is_empty && !fed.contains(&index) {
                undelivered.add(format!("connector {}", slot.id), slot.connector.held_items());
                slot.flow.abort();
                slot.connector.abort();
                (slot.connector, slot.state) = (Box::new(Absent), PartState::Gone);
                has_ended = true;
            }
        }
        has_ended
    }

    fn end_exporters(&mut self, world: &mut dyn World, undelivered: &mut UndeliveredItems) -> bool {
        let now = world.now();
        let path = &mut self.data_path;
        let retired = path.pipelines.iter().filter(|pipeline| pipeline.state.is_retired());
        let fed: BTreeSet<usize> = retired.flat_map(|pipeline| &pipeline.exporters).copied().collect();
        let mut has_ended = false;
        for (index, slot) in path.exporters.iter_mut().enumerate().filter(|(_, slot)| slot.state.is_retired()) {
            let is_expired = slot.state.is_expired(now);
            if !is_expired && (slot.holds_items() || fed.contains(&index)) {
                continue;
            }
            for stored in slot.stored.iter_mut().flatten() {
                stored.queue.close(&mut Cx::new(world, stored.owner).with_statuses(&self.statuses));
            }
            if !is_expired && !slot.stored.iter().flatten().all(|stored| stored.queue.is_closed()) {
                continue;
            }
            slot.add_undelivered(undelivered);
            for (flow, stored) in slot.flows.iter_mut().zip(&slot.stored) {
                if let (Some(flow), Some(stored)) = (flow, stored) {
                    flow.abort(stored.queue.waiting_items());
                }
            }
            slot.queues.iter_mut().flatten().for_each(|queue| {
                queue.abort();
            });
            slot.stored.iter_mut().flatten().for_each(|stored| stored.queue.abort());
            slot.count();
            slot.flows.iter_mut().flatten().for_each(ExporterFlow::end);
            slot.flows = [None, None, None];
            slot.exporter.close(&mut Cx::new(world, slot.owner).with_statuses(&self.statuses));
            slot.exporter = Box::new(Absent);
            (slot.queues, slot.stored) = ([const { None::<ExporterQueue> }; 3], [const { None }; 3]);
            slot.state = PartState::Gone;
            has_ended = true;
        }
        has_ended
    }

    /// Whether there are retired parts other than extensions that are closed, which end with the last of them.
    fn has_retired_parts(&self, now: MonotonicTime) -> bool {
        let path = &self.data_path;
        self.receivers.iter().any(|slot| slot.state.is_retired())
            || path.pipelines.iter().any(|pipeline| pipeline.state.is_retired())
            || path.connectors.iter().any(|slot| slot.state.is_retired())
            || path.exporters.iter().any(|slot| slot.state.is_retired())
            || self
                .extensions
                .iter()
                .any(|slot| slot.state.is_retired() && !slot.state.is_expired(now) && !slot.extension.is_closed())
    }

    /// Removes the parts that have ended, which are behind all live ones.
    fn remove_ended(&mut self) {
        let path = &mut self.data_path;
        self.receivers.retain(|slot| slot.state == PartState::Live);
        self.extensions.retain(|slot| slot.state == PartState::Live);
        path.exporters.retain(|slot| slot.state == PartState::Live);
        path.connectors.retain(|slot| slot.state == PartState::Live);
        path.pipelines.retain(|pipeline| pipeline.state == PartState::Live);
        self.connect_parts();
        self.has_retired = false;
        self.log.debug("Components of the previous configuration have ended.", &[]);
    }
}
