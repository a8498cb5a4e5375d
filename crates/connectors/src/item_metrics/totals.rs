//! The numbers of one resource: by metric and by the values of its attributes.
//!
//! Values are numbered, so that a long one of the resource is compared once and not for each item.

use std::collections::BTreeMap;

use otelcore_pdata::Value;
use otelcore_pdata::build::{AttributesWriter, MetricWriter, ScopeMetricsWriter};
use otelcore_pdata::views::{AnyValue, View};

use super::config::MetricDefinition;

/// Bytes of an entry of the tables, about.
const ENTRY_BYTES: u64 = 96;

/// The number of `AGGREGATION_TEMPORALITY_DELTA`.
const DELTA: i32 = 1;

/// What is made of the items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// Their number, with the interval in which they were.
    Count,
    /// The sum of one of their attributes, with the present time.
    Sum,
}

#[derive(Clone, Copy, Default, Debug)]
struct Total {
    count: u64,
    sum: f64,
}

/// The numbers of one level.
#[derive(Debug, Default)]
pub(super) struct LevelTotals {
    /// By metric, then by the numbers of the values of its attributes.
    totals: Vec<BTreeMap<Box<[u32]>, Total>>,
    /// The first and the last time, in nanoseconds since the epoch; zero without any.
    start: u64,
    end: u64,
}

/// The numbers of one resource.
#[derive(Debug, Default)]
pub(super) struct EntryTotals {
    /// The numbers of encoded values.
    numbers: BTreeMap<Box<[u8]>, u32>,
    values: Vec<Box<[u8]>>,
    pub(super) levels: [LevelTotals; 2],
    /// What all of it takes, about.
    pub(super) bytes: u64,
}

impl EntryTotals {
    /// The number of a value.
    pub(super) fn number_of(&mut self, value: AnyValue<'_>, scratch: &mut Vec<u8>) -> u32 {
        scratch.clear();
        value.encode(scratch);
        self.number_of_encoded(scratch)
    }

    /// The number of an encoded value.
    pub(super) fn number_of_encoded(&mut self, value: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.numbers.insert(value.into(), number);
        self.values.push(value.into());
        self.bytes += ENTRY_BYTES + 2 * value.len() as u64;
        number
    }

    /// The number of a configured value.
    pub(super) fn number_of_tree(&mut self, value: &Value, scratch: &mut Vec<u8>) -> u32 {
        scratch.clear();
        value.encode(scratch);
        self.number_of_encoded(scratch)
    }

    /// Adds an item to a metric of a level.
    pub(super) fn add(&mut self, level: usize, metric: usize, key: &[u32], amount: f64) {
        let Some(level) = self.levels.get_mut(level) else { return };
        if level.totals.len() <= metric {
            level.totals.resize_with(metric + 1, BTreeMap::new);
        }
        let Some(totals) = level.totals.get_mut(metric) else { return };
        let total = match totals.get_mut(key) {
            Some(total) => total,
            None => {
                self.bytes += ENTRY_BYTES + 4 * key.len() as u64;
                totals.entry(key.into()).or_default()
            }
        };
        total.count = total.count.wrapping_add(1);
        total.sum += amount;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels.iter().flat_map(|level| &level.totals).all(BTreeMap::is_empty)
    }

    /// Bytes that the points take at most.
    pub(super) fn written_bytes(&self, definitions: [&[MetricDefinition]; 2]) -> u64 {
        let value = |number: &u32| self.values.get(*number as usize).map_or(0, |value| value.len() as u64 + 16);
        let mut bytes = 0;
        for (level, definitions) in self.levels.iter().zip(definitions) {
            for (totals, metric) in level.totals.iter().zip(definitions) {
                let keys: u64 = metric.attributes.iter().map(|attribute| attribute.key.len() as u64).sum();
                bytes += (metric.name.len() + metric.description.len()) as u64 + 32;
                bytes += totals.keys().map(|key| 64 + keys + key.iter().map(value).sum::<u64>()).sum::<u64>();
            }
        }
        bytes
    }

    /// Writes the metrics of a level.
    pub(super) fn write(
        &self,
        out: &mut ScopeMetricsWriter<'_>,
        level: usize,
        definitions: &[MetricDefinition],
        measure: Measure,
        now: u64,
    ) {
        let Some(level) = self.levels.get(level) else { return };
        for (totals, definition) in level.totals.iter().zip(definitions) {
            if !totals.is_empty() {
                let mut metric = out.metric();
                metric.name(definition.name.as_bytes()).description(definition.description.as_bytes());
                self.write_points(&mut metric, level, definition, totals, measure, now);
            }
        }
    }

    fn write_points(
        &self,
        metric: &mut MetricWriter<'_>,
        level: &LevelTotals,
        definition: &MetricDefinition,
        totals: &BTreeMap<Box<[u32]>, Total>,
        measure: Measure,
        now: u64,
    ) {
        let mut sum = metric.sum();
        sum.aggregation_temporality(DELTA).is_monotonic(true);
        for (key, total) in totals {
            let mut point = sum.point();
            match measure {
                Measure::Count => {
                    let (start, end) = if level.start == 0 { (now, now) } else { (level.start, level.end) };
                    point.start_time_unix_nano(start).time_unix_nano(end).int(total.count.cast_signed());
                }
                Measure::Sum => {
                    point.time_unix_nano(now).double(total.sum);
                }
            }
            self.write_attributes(&mut point.attributes(), definition, key);
        }
    }

    fn write_attributes(&self, out: &mut AttributesWriter<'_>, definition: &MetricDefinition, key: &[u32]) {
        for (attribute, number) in definition.attributes.iter().zip(key) {
            let value = self.values.get(*number as usize).map(|raw| AnyValue::parse(raw)).unwrap_or_default();
            out.push(&attribute.key, value);
        }
    }
}

impl LevelTotals {
    /// Extends the interval by a time; zero is none.
    pub(super) fn add_time(&mut self, time: u64) {
        if time == 0 {
            return;
        }
        self.start = if self.start == 0 { time } else { self.start.min(time) };
        self.end = self.end.max(time);
    }
}
