//! Divides a body in two by the hash of the series that its points belong to, so that all points of a series stay
//! together.
//!
//! The hash covers the translated name of the metric and all labels. The series of one point (those of a histogram, for
//! example) stay together as well.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;
use otelcore_pdata::edit::{Editor, Keep, PointMut, edit};
use otelcore_pdata::views::{
    KeyValue, Metric, MetricData, RepeatedMessages, Resource, ResourceMetrics, resource_entries,
};
use otelcore_pdata::{Rope, Signal};

use crate::format::RemoteWriteFormat;
use crate::labels::LabelBuilder;
use crate::names::translated_name;

/// A part of a body.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    /// The part.
    pub(crate) body: Rope,
    /// Hashes of resources whose `target_info` is in another part, sorted.
    pub(crate) targets_elsewhere: Vec<u64>,
}

/// Keeps the points in whose hash a bit has a value.
struct BitFilter<'a> {
    /// The hashes of all points, in their order.
    hashes: std::slice::Iter<'a, u64>,
    bit: u32,
    value: u64,
}

impl Editor for BitFilter<'_> {
    fn point(&mut self, _: &mut PointMut<'_>) -> Keep {
        let hash = self.hashes.next().copied().unwrap_or(0);
        if hash >> self.bit & 1 == self.value { Keep::Keep } else { Keep::Drop }
    }
}

/// Hashes the series of points.
struct SeriesHasher<'a> {
    format: &'a RemoteWriteFormat,
    labels: LabelBuilder<'a>,
    state: FixedState,
    hashes: Vec<u64>,
}

impl<'a> SeriesHasher<'a> {
    /// Adds the hashes of the points of a metric.
    fn add_metric(&mut self, metric: &Metric<'a>) {
        let name = translated_name(self.format, metric).unwrap_or_default();
        let name = self.state.hash_one(&name);
        match metric.data {
            MetricData::Empty => {}
            MetricData::Gauge(gauge) => gauge.points().for_each(|point| self.add(name, point.attributes())),
            MetricData::Sum(sum) => sum.points().for_each(|point| self.add(name, point.attributes())),
            MetricData::Histogram(histogram) => {
                histogram.points().for_each(|point| self.add(name, point.attributes()));
            }
            MetricData::ExponentialHistogram(histogram) => {
                histogram.exponential_points().for_each(|point| self.add(name, point.attributes()));
            }
            MetricData::Summary(summary) => summary.points().for_each(|point| self.add(name, point.attributes())),
        }
    }

    fn add(&mut self, name: u64, attributes: RepeatedMessages<'a, KeyValue<'a>>) {
        let labels = self.labels.labels_of_point(attributes).unwrap_or_default();
        self.hashes.push(self.state.hash_one((name, &labels[..])));
    }
}

/// The hashes of the series of all points, in their order. Points of one series have equal ones.
fn hash_points(format: &RemoteWriteFormat, body: &Rope) -> Vec<u64> {
    let mut hasher = SeriesHasher {
        format,
        labels: LabelBuilder::new(format),
        state: FixedState::with_seed(1),
        hashes: Vec::with_capacity(body.items() as usize),
    };
    for entry in resource_entries::<ResourceMetrics<'_>>(body) {
        hasher.labels.start_resource(&entry.resource);
        for scope in entry.scope_metrics() {
            hasher.labels.start_scope(&scope.scope);
            scope.metrics().for_each(|metric| hasher.add_metric(&metric));
        }
    }
    hasher.hashes
}

/// The hash of a resource, to find those that are in another part.
pub(crate) fn hash_resource(resource: &Resource<'_>) -> u64 {
    FixedState::with_seed(2).hash_one(resource.raw)
}

impl Shard {
    /// A whole body.
    pub(crate) fn whole(body: Rope) -> Self {
        Self { body, targets_elsewhere: Vec::new() }
    }

    /// Divides it in two. `None` if all points are of one series.
    pub(crate) fn divide(&self, format: &RemoteWriteFormat) -> Option<[Self; 2]> {
        let hashes = hash_points(format, &self.body);
        let ones = hashes.iter().fold(0, |ones, hash| ones | hash);
        let zeros = hashes.iter().fold(0, |zeros, hash| zeros | !hash);
        let different: u64 = ones & zeros;
        if different == 0 {
            return None;
        }
        let bit = different.trailing_zeros();
        let half = |value| {
            let mut body = self.body.clone();
            let mut filter = BitFilter { hashes: hashes.iter(), bit, value };
            edit(Signal::Metrics, &mut body, &mut filter).ok().map(|_| body)
        };
        let (first, second) = (half(0)?, half(1)?);
        let targets_elsewhere = self.targets_elsewhere.clone();
        let mut of_second = targets_elsewhere.clone();
        if format.target_info {
            of_second
                .extend(resource_entries::<ResourceMetrics<'_>>(&first).map(|entry| hash_resource(&entry.resource)));
            of_second.sort_unstable();
            of_second.dedup();
        }
        Some([Self { body: first, targets_elsewhere }, Self { body: second, targets_elsewhere: of_second }])
    }
}
