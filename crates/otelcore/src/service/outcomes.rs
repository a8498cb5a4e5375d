//! Which pipelines pass the outcomes of deliveries on to those that sent the data, and take custody of nothing.
//!
//! They are those that lead to a queue on disk, and those behind a receiver that awaits delivery. Reads the plan only.

use std::collections::BTreeSet;

use otelcore_config::ComponentId;

use super::Collector;
use crate::plan::ConnectorPlan;

/// Which pipelines of a plan lead to one of these exporters, directly or through connectors. Linear in the plan.
pub(super) fn pipelines_to_storage(collector: &Collector, stored: &BTreeSet<&ComponentId>) -> Vec<bool> {
    let plan = &collector.plan;
    let has_stored = |exporters: &[ComponentId]| exporters.iter().any(|id| stored.contains(id));
    let lead = plan.pipelines.iter().map(|pipeline| has_stored(&pipeline.exporters)).collect();
    follow_connectors(&plan.connector_instances, lead, |connector| (&connector.targets, &connector.sources))
}

/// Which pipelines get data from a receiver that awaits its delivery, directly or through connectors. Linear in the plan.
pub(super) fn awaited_pipelines(collector: &Collector) -> Vec<bool> {
    let plan = &collector.plan;
    let awaits = |id: &ComponentId| plan.receivers.get(id).is_some_and(|receiver| receiver.awaits_delivery());
    let awaited = plan.pipelines.iter().map(|pipeline| pipeline.receivers.iter().any(awaits)).collect();
    follow_connectors(&plan.connector_instances, awaited, |connector| (&connector.sources, &connector.targets))
}

/// The pipelines that are reached, and those that can be reached from them: `ends` are the pipelines from which a connector
/// is followed, and those to which.
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
