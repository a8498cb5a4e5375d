//! Which pipelines pass the outcomes of deliveries on to those that sent the data, and take custody of nothing.
//!
//! They are those that lead to a queue on disk, and those behind a receiver that awaits delivery. Reads the plan only.

use std::collections::BTreeSet;

use otelcore_config::ComponentId;

use super::Collector;

/// Which pipelines of a plan lead to one of these exporters, directly or through connectors. Linear in the plan.
pub(super) fn pipelines_to_storage(collector: &Collector, stored: &BTreeSet<&ComponentId>) -> Vec<bool> {
    let plan = &collector.plan;
    let has_stored = |exporters: &[ComponentId]| exporters.iter().any(|id| stored.contains(id));
    let mut leads: Vec<bool> = plan.pipelines.iter().map(|pipeline| has_stored(&pipeline.exporters)).collect();
    let mut feeding: Vec<Vec<usize>> = vec![Vec::new(); plan.pipelines.len()];
    for (index, instance) in plan.connector_instances.iter().enumerate() {
        instance.targets.iter().for_each(|target| feeding[*target].push(index));
    }
    let mut is_followed = vec![false; plan.connector_instances.len()];
    let mut found: Vec<usize> = (0..leads.len()).filter(|pipeline| leads[*pipeline]).collect();
    while let Some(pipeline) = found.pop() {
        for connector in std::mem::take(&mut feeding[pipeline]) {
            if std::mem::replace(&mut is_followed[connector], true) {
                continue;
            }
            for source in &plan.connector_instances[connector].sources {
                if !std::mem::replace(&mut leads[*source], true) {
                    found.push(*source);
                }
            }
        }
    }
    leads
}

/// Which pipelines get data from a receiver that awaits its delivery, directly or through connectors. Linear in the plan.
pub(super) fn awaited_pipelines(collector: &Collector) -> Vec<bool> {
    let plan = &collector.plan;
    let awaits = |id: &ComponentId| plan.receivers.get(id).is_some_and(|receiver| receiver.awaits_delivery());
    let mut awaited: Vec<bool> = plan.pipelines.iter().map(|pipeline| pipeline.receivers.iter().any(awaits)).collect();
    let mut fed: Vec<Vec<usize>> = vec![Vec::new(); plan.pipelines.len()];
    for (index, instance) in plan.connector_instances.iter().enumerate() {
        instance.sources.iter().for_each(|source| fed[*source].push(index));
    }
    let mut is_followed = vec![false; plan.connector_instances.len()];
    let mut found: Vec<usize> = (0..awaited.len()).filter(|pipeline| awaited[*pipeline]).collect();
    while let Some(pipeline) = found.pop() {
        for connector in std::mem::take(&mut fed[pipeline]) {
            if std::mem::replace(&mut is_followed[connector], true) {
                continue;
            }
            for target in &plan.connector_instances[connector].targets {
                if !std::mem::replace(&mut awaited[*target], true) {
                    found.push(*target);
                }
            }
        }
    }
    awaited
}
