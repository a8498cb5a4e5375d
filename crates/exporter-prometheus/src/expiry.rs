//! Removes series whose last point is too old, in steps: a search visits the parts of the slab one after another.

use otelcore_pipeline::MonotonicTime;

use crate::registry::{SeriesRegistry, Sweep};
use crate::step_budget::StepBudget;

impl SeriesRegistry {
    /// Removes the series whose last point is older than `metric_expiration`, and updates the families of names, until
    /// everything that is due at `now` is done or the work of the step is done. True when everything is done.
    pub fn expire_step(&mut self, now: MonotonicTime, budget: &mut StepBudget) -> bool {
        while now.0.saturating_sub(self.oldest.0) > self.expiration {
            let sweep = self.sweep.get_or_insert(Sweep { part: 0, oldest: MonotonicTime::NEVER });
            if sweep.part == self.series.parts() {
                // Every point that arrived since is newer than those that were visited.
                self.oldest = sweep.oldest.min(now);
                self.sweep = None;
                if self.series.len() == 0 {
                    self.oldest = MonotonicTime::NEVER;
                }
                continue;
            }
            if budget.is_spent() {
                return false;
            }
            let mut expired = Vec::new();
            let mut visited = 0;
            for (slot, series) in self.series.part(sweep.part) {
                visited += 1;
                if now.0.saturating_sub(series.arrived_at.0) > self.expiration {
                    expired.push(slot);
                } else {
                    sweep.oldest = sweep.oldest.min(series.arrived_at);
                }
            }
            budget.charge(20 * visited + 1000);
            // Series for which the step has no work left are found again by the next step.
            let expired_count = expired.len();
            let mut removed = 0;
            for slot in expired {
                if budget.is_spent() {
                    break;
                }
                self.remove(slot, budget);
                removed += 1;
            }
            if removed == expired_count
                && let Some(sweep) = &mut self.sweep
            {
                sweep.part += 1;
            }
        }
        let targets = self.resources.has_targets().then(|| self.target_name.clone());
        let times = (now, self.expiration);
        self.families.process_changes(times, targets.as_deref(), &mut self.dropped, &mut self.kept, budget)
    }

    /// Removes everything that is due at `now`.
    pub fn expire(&mut self, now: MonotonicTime) {
        while !self.expire_step(now, &mut StepBudget::for_one_step()) {}
    }
}
