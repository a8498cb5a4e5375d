//! What the node has: its CPUs and its memory, from the watch of its object.

use otelcore_kubernetes_client::{ChangeKind, ObjectConsumer, Quantity, WatchId, parse_object};
use otelcore_pipeline::Cx;
use serde::Deserialize;

use crate::summary::{answer, or_default};
use crate::writer::NodeCapacity;

answer! {
    Node {
        status: NodeStatus,
    }

    NodeStatus {
        capacity: Capacity,
    }

    Capacity {
        cpu: Option<Quantity>,
        memory: Option<Quantity>,
    }
}

/// The node as it was last. What an object lacks stays as it was, as in the Go receiver.
#[derive(Debug, Default)]
pub(crate) struct WatchedNode {
    pub(crate) capacity: NodeCapacity,
}

impl ObjectConsumer for WatchedNode {
    fn begin_list(&mut self, _: WatchId) {}

    fn apply(&mut self, _: &mut Cx<'_>, _: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        if change == ChangeKind::Deleted {
            return Ok(());
        }
        let Capacity { cpu, memory } = parse_object::<Node>(object)?.status.capacity;
        if let Some(cpu) = cpu {
            self.capacity.cpu = cpu.milli_value() as f64 / 1000.0;
        }
        if let Some(memory) = memory {
            self.capacity.memory = memory.value() as f64;
        }
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, _: WatchId) {}
}
