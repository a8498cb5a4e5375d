//! The streams of a registry: look-up, creation, update and removal, with the translation of their names.

use otelcore_pipeline::LogLevel;
use otelcore_prometheus_translation::metric_name;

use crate::config::PageConfig;
use crate::dropped_points::DropReason;
use crate::key_sets::hash_with_seed;
use crate::registry::{CurrentMetric, NO_ID, SeriesRegistry};
use crate::step_budget::StepBudget;
use crate::stream::Stream;

impl SeriesRegistry {
    /// The stream of the identity prefix, if known. `previous` is the stream of the previous metric in the same scope.
    pub(crate) fn find_stream(
        &mut self,
        current: &mut CurrentMetric<'_>,
        identity_prefix: &[u8],
        previous: Option<usize>,
    ) {
        let same = |id: usize| self.streams.get(id).is_some_and(|s| *s.identity_prefix == *identity_prefix);
        let expected = previous.and_then(|id| self.streams.get(id)).map_or(NO_ID, |s| s.expected_next);
        current.stream = if same(expected) {
            Some(expected)
        } else {
            let found = self.stream_index.find(hash_with_seed(&self.hasher, 0, identity_prefix), same);
            if let (Some(found), Some(before)) = (found, previous.and_then(|id| self.streams.get_mut(id))) {
                before.expected_next = found;
            }
            found
        };
        if let Some(id) = current.stream {
            self.update_stream(id, current);
        }
    }

    pub(crate) fn add_stream(
        &mut self,
        current: &CurrentMetric<'_>,
        identity_prefix: &[u8],
        budget: &mut StepBudget,
    ) -> usize {
        budget.charge(2500 + 8 * (current.name.len() + current.help.len()) as u64);
        let hash = hash_with_seed(&self.hasher, 0, identity_prefix);
        let id = self.streams.insert(Stream {
            hash,
            identity_prefix: identity_prefix.into(),
            metric_kind: current.metric_kind,
            unit: current.unit.into(),
            help: current.help.into(),
            family: None,
            series_count: 0,
            expected_first: NO_ID,
            expected_next: NO_ID,
        });
        self.kept.grow(self.streams.get(id).map_or(0, Stream::charged_bytes));
        self.stream_index.insert(hash, id);
        budget.charge(20 * self.stream_index.take_moved());
        self.assign_family(id, current);
        id
    }

    /// Uses unit, kind and description of the newest metric. A series of the stream is updated when it takes a point.
    fn update_stream(&mut self, id: usize, current: &CurrentMetric<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let name_changed = stream.metric_kind != current.metric_kind || *stream.unit != *current.unit;
        let help_changed = *stream.help != *current.help;
        if !name_changed && !help_changed {
            return;
        }
        let cost = stream.charged_bytes();
        if help_changed {
            stream.help = current.help.into();
        }
        if name_changed {
            stream.metric_kind = current.metric_kind;
            stream.unit = current.unit.into();
        }
        self.kept.grow(stream.charged_bytes());
        self.kept.shrink(cost);
        if name_changed {
            let before = stream.family;
            self.assign_family(id, current);
            if let Some(before) = before {
                self.families.remove_stream(before);
            }
        }
    }

    /// Translates the name of a stream.
    fn assign_family(&mut self, id: usize, current: &CurrentMetric<'_>) {
        let PageConfig { strategy, namespace, .. } = &self.config;
        let family = match metric_name(*strategy, namespace, current.name, current.unit, current.metric_kind) {
            Ok(name) => Some(self.families.add_stream(
                &name,
                current.metric_kind.prometheus_type(),
                current.help,
                current.now,
                &mut self.kept,
            )),
            Err(why) => {
                self.dropped.log_once(DropReason::Name, LogLevel::Error, current.name, || {
                    let name = String::from_utf8_lossy(current.name);
                    format!("failed to convert metric {name}: normalization for metric {name:?} {why}")
                });
                None
            }
        };
        if let Some(stream) = self.streams.get_mut(id) {
            stream.family = family;
        }
    }

    /// Counts a series of a stream.
    pub(crate) fn add_to_stream(&mut self, id: usize) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.series_count += 1;
        }
    }

    /// Removes a series from its stream, and the stream with the last one.
    pub(crate) fn remove_from_stream(&mut self, id: usize) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.series_count = stream.series_count.saturating_sub(1);
        if stream.series_count == 0
            && let Some(stream) = self.streams.remove(id)
        {
            self.kept.shrink(stream.charged_bytes());
            self.stream_index.remove(stream.hash, id);
            if let Some(family) = stream.family {
                self.families.remove_stream(family);
            }
        }
    }
}
