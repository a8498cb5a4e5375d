//! Connectors: whether pipelines use them on both sides, the instances that follow from it, and which pipelines they join.
//!
//! Cycles are found when the graph is built.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_config::{ComponentId, ConfigNode, Diagnostics};
use otelcore_pdata::Signal;
use otelcore_pipeline::ComponentKind;

use super::{ParsedComponents, PipelinePlan, Plan};
use crate::registry::Registry;

/// One instance of a connector: for one id and pair of signals. Pipelines are given by their index in the plan.
#[derive(Clone, Debug)]
pub(crate) struct ConnectorPlan {
    pub(crate) id: ComponentId,
    /// The signal that it accepts, and the one that it makes of it.
    pub(crate) signals: (Signal, Signal),
    /// The pipelines that end in it.
    pub(crate) sources: Vec<usize>,
    /// The pipelines that it feeds.
    pub(crate) targets: Vec<usize>,
}

/// Reports connectors that have the id of a receiver or exporter. Only the first one, as in the Go collector.
pub(super) fn report_ambiguous_ids(
    root: &ConfigNode,
    connectors: &ParsedComponents,
    receivers: &ParsedComponents,
    exporters: &ParsedComponents,
    d: &Diagnostics,
) {
    for id in connectors.keys() {
        let kinds = [(exporters, ComponentKind::Exporter), (receivers, ComponentKind::Receiver)];
        let Some((_, kind)) = kinds.into_iter().find(|(ids, _)| ids.contains_key(id)) else { continue };
        let path = format!("connectors::{id}");
        let kind = kind.name();
        let message = format!(
            "{path}: ambiguous ID: Found both \"{id}\" {kind} and \"{id}\" connector. Change one of the components' IDs to eliminate ambiguity (e.g. rename \"{id}\" connector to \"{id}/connector\")"
        );
        d.error(Some(root.nearest_origin(&path)), &path, message);
        return;
    }
}

/// The pipelines in which one connector is named, by their signal.
#[derive(Default)]
struct Uses {
    as_exporter: BTreeMap<Signal, Vec<usize>>,
    as_receiver: BTreeMap<Signal, Vec<usize>>,
}

/// The instances of all connectors that pipelines name. A connector that is used on one side only, or whose type does not
/// join the signals, is a mistake; the messages are those of the Go collector.
pub(super) fn plan_instances(
    root: &ConfigNode,
    pipelines: &[PipelinePlan],
    registry: &Registry,
    d: &Diagnostics,
) -> Vec<ConnectorPlan> {
    let mut uses: BTreeMap<&ComponentId, Uses> = BTreeMap::new();
    for (index, pipeline) in pipelines.iter().enumerate() {
        for id in &pipeline.target_connectors {
            uses.entry(id).or_default().as_exporter.entry(pipeline.signal).or_default().push(index);
        }
        for id in &pipeline.source_connectors {
            uses.entry(id).or_default().as_receiver.entry(pipeline.signal).or_default().push(index);
        }
    }
    let mut instances = Vec::new();
    for (id, uses) in uses {
        // A type that is not known is reported where it is configured.
        let Some(factory) = registry.get(ComponentKind::Connector, id.ty.as_ref()) else { continue };
        let (mut joined_sources, mut joined_targets) = (BTreeSet::new(), BTreeSet::new());
        for signals @ (from, to) in factory.signal_pairs() {
            if let (Some(sources), Some(targets)) = (uses.as_exporter.get(from), uses.as_receiver.get(to)) {
                joined_sources.insert(*from);
                joined_targets.insert(*to);
                let (sources, targets) = (sources.clone(), targets.clone());
                instances.push(ConnectorPlan { id: id.clone(), signals: *signals, sources, targets });
            }
        }
        let sides = [
            (&uses.as_exporter, joined_sources, "exporter", "receiver"),
            (&uses.as_receiver, joined_targets, "receiver", "exporter"),
        ];
        for (used, joined, side, other) in sides {
            for (_, unjoined) in used.iter().filter(|(signal, _)| !joined.contains(signal)) {
                let names: Vec<String> =
                    unjoined.iter().filter_map(|i| pipelines.get(*i)).map(|pipeline| pipeline.id.to_string()).collect();
                let message = format!(
                    "failed to build pipelines: connector \"{id}\" used as {side} in [{}] pipeline but not used in any supported {other} pipeline",
                    names.join(" ")
                );
                let path = format!("connectors::{id}");
                d.error(Some(root.nearest_origin(&path)), &path, message);
            }
        }
    }
    instances
}

/// The pipelines that are reached, and those that can be reached from them: `ends` are the pipelines from which a connector
/// is followed, and those to which. Linear in the connectors.
fn follow_connectors(
    connectors: &[ConnectorPlan],
    mut is_reached: Vec<bool>,
    ends: impl Fn(&ConnectorPlan) -> (&[usize], &[usize]),
) -> Vec<bool> {
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); is_reached.len()];
    for (index, connector) in connectors.iter().enumerate() {
        ends(connector).0.iter().for_each(|pipeline| leaving[*pipeline].push(index));
    }
    let mut is_followed = vec![false; connectors.len()];
    let mut found: Vec<usize> = (0..is_reached.len()).filter(|pipeline| is_reached[*pipeline]).collect();
    while let Some(pipeline) = found.pop() {
        for connector in std::mem::take(&mut leaving[pipeline]) {
            if std::mem::replace(&mut is_followed[connector], true) {
                continue;
            }
            for next in ends(&connectors[connector]).1 {
                if !std::mem::replace(&mut is_reached[*next], true) {
                    found.push(*next);
                }
            }
        }
    }
    is_reached
}

impl Plan {
    /// For each pipeline, whether it gets data from one of these receivers, directly or through connectors.
    pub(crate) fn pipelines_behind(&self, is_receiver: impl Fn(&ComponentId) -> bool) -> Vec<bool> {
        let behind = self.pipelines.iter().map(|pipeline| pipeline.receivers.iter().any(&is_receiver)).collect();
        follow_connectors(&self.connector_instances, behind, |connector| (&connector.sources, &connector.targets))
    }

    /// For each pipeline, whether it leads to one of these exporters, directly or through connectors.
    pub(crate) fn pipelines_before(&self, is_exporter: impl Fn(&ComponentId) -> bool) -> Vec<bool> {
        let before = self.pipelines.iter().map(|pipeline| pipeline.exporters.iter().any(&is_exporter)).collect();
        follow_connectors(&self.connector_instances, before, |connector| (&connector.targets, &connector.sources))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(sources: &[usize], targets: &[usize]) -> ConnectorPlan {
        let id = "forward".parse().unwrap();
        ConnectorPlan {
            id,
            signals: (Signal::Traces, Signal::Traces),
            sources: sources.to_vec(),
            targets: targets.to_vec(),
        }
    }

    #[test]
    fn connectors_are_followed_to_all_pipelines_that_they_feed() {
        let connectors = [connector(&[0, 1], &[2]), connector(&[2], &[3, 4]), connector(&[5], &[6])];
        let reached = follow_connectors(&connectors, vec![false, true, false, false, false, false, false], |c| {
            (&c.sources, &c.targets)
        });
        assert_eq!(reached, [false, true, true, true, true, false, false]);
    }

    #[test]
    fn connectors_are_followed_back_to_all_pipelines_that_lead_to_one() {
        let connectors = [connector(&[0, 1], &[2]), connector(&[2], &[3, 4]), connector(&[5], &[6])];
        let reached = follow_connectors(&connectors, vec![false, false, false, false, true, false, false], |c| {
            (&c.targets, &c.sources)
        });
        assert_eq!(reached, [true, true, true, false, true, false, false]);
    }

    #[test]
    fn connectors_in_a_circle_are_followed_once() {
        let connectors = [connector(&[0], &[1]), connector(&[1], &[0])];
        let reached = follow_connectors(&connectors, vec![true, false], |c| (&c.sources, &c.targets));
        assert_eq!(reached, [true, true]);
    }
}
