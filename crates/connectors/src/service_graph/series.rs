//! Series: the requests of each pair of services, and the metrics that are made of them.
//!
//! Charged by [`Kept`]: when there is no room, a new series is refused, and known ones are still updated.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use otelcore_pdata::build::{AttributesWriter, Body, MetricWriter, ScopeMetricsWriter};
use otelcore_pdata::{ExponentialRecorder, Rope};
use otelcore_pipeline::{Kept, MonotonicTime, WallTime};

use super::edges::Edge;

/// How histograms are made.
#[derive(Clone, Debug)]
pub(super) enum Buckets {
    /// With these upper bounds, in seconds.
    Explicit(Vec<f64>),
    /// With at most so many buckets.
    Exponential(usize),
}

/// The latencies of one side.
#[derive(Clone, Debug)]
enum Latencies {
    Explicit { counts: Vec<u64>, count: u64, sum: f64 },
    Exponential(ExponentialRecorder),
}

impl Latencies {
    fn new(buckets: &Buckets) -> Self {
        match buckets {
            Buckets::Explicit(bounds) => Self::Explicit { counts: vec![0; bounds.len() + 1], count: 0, sum: 0.0 },
            Buckets::Exponential(max_size) => Self::Exponential(ExponentialRecorder::new(*max_size)),
        }
    }

    fn record(&mut self, buckets: &Buckets, seconds: f64) {
        match (self, buckets) {
            (Self::Explicit { counts, count, sum }, Buckets::Explicit(bounds)) => {
                if let Some(bucket) = counts.get_mut(bounds.partition_point(|bound| *bound < seconds)) {
                    *bucket += 1;
                }
                *count += 1;
                *sum += seconds;
            }
            (Self::Exponential(histogram), _) => histogram.record(seconds, 1),
            (Self::Explicit { .. }, Buckets::Exponential(_)) => {}
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Explicit { counts, .. } => counts.len() * 8,
            Self::Exponential(histogram) => histogram.heap_bytes(),
        }
    }
}

/// The requests of a pair of services with the same dimensions.
struct Series {
    client: Vec<u8>,
    server: Vec<u8>,
    connection_type: &'static str,
    failed: bool,
    /// By dimension: that of the client, and that of the server.
    dimensions: Vec<[Option<Vec<u8>>; 2]>,
    virtual_node: &'static str,
    last_updated: MonotonicTime,
    requests: u64,
    client_latencies: Latencies,
    server_latencies: Latencies,
    bytes: u64,
}

/// Series without requests for this time are removed.
const STALE_AFTER: Duration = Duration::from_mins(15);

/// All series.
pub(super) struct AllSeries {
    series: BTreeMap<Vec<u8>, Series>,
    buckets: Buckets,
    /// `client_` and `server_` in front of each dimension.
    dimension_keys: Vec<[String; 2]>,
    has_virtual_label: bool,
    kept: Kept,
    start: WallTime,
}

/// The key of an edge's series. Texts have their length in front, so that different ones have different keys.
fn key_of(edge: &Edge) -> Vec<u8> {
    let mut key = Vec::new();
    let mut push = |text: &[u8]| {
        key.extend_from_slice(&(text.len() as u64).to_be_bytes());
        key.extend_from_slice(text);
    };
    push(&edge.client);
    push(&edge.server);
    push(edge.connection_type.name().as_bytes());
    push(&[u8::from(edge.failed)]);
    for value in edge.dimensions.iter().flatten() {
        match value {
            Some(value) => push(value),
            None => push(b"\0none\xff"),
        }
    }
    key
}

impl AllSeries {
    pub(super) fn new(
        buckets: Buckets,
        dimensions: &[String],
        has_virtual_label: bool,
        kept: Kept,
        start: WallTime,
    ) -> Self {
        let keys = |name: &String| [format!("client_{name}"), format!("server_{name}")];
        let dimension_keys = dimensions.iter().map(keys).collect();
        Self { series: BTreeMap::new(), buckets, dimension_keys, has_virtual_label, kept, start }
    }

    /// Counts a request. `false`: its series is new, and there is no room for another one.
    pub(super) fn record(&mut self, now: MonotonicTime, edge: Edge) -> bool {
        let key = key_of(&edge);
        let Edge { client_seconds, server_seconds, virtual_node, .. } = edge;
        if !self.series.contains_key(&key) {
            if !self.kept.has_room() {
                return false;
            }
            let series = Series {
                client: edge.client,
                server: edge.server,
                connection_type: edge.connection_type.name(),
                failed: edge.failed,
                dimensions: edge.dimensions,
                virtual_node,
                last_updated: now,
                requests: 0,
                client_latencies: Latencies::new(&self.buckets),
                server_latencies: Latencies::new(&self.buckets),
                bytes: 0,
            };
            self.series.insert(key.clone(), series);
        }
        let Some(series) = self.series.get_mut(&key) else { return false };
        series.last_updated = now;
        series.virtual_node = virtual_node;
        series.requests += 1;
        series.client_latencies.record(&self.buckets, client_seconds);
        series.server_latencies.record(&self.buckets, server_seconds);
        let bytes = 2 * key.len() + series.client_latencies.bytes() + series.server_latencies.bytes() + 400;
        if bytes as u64 > series.bytes {
            self.kept.grow(bytes as u64 - series.bytes);
            series.bytes = bytes as u64;
        }
        true
    }

    /// Removes stale series among the next `count` after `cursor`. Returns where to go on; `None` at the end.
    pub(super) fn remove_stale(&mut self, now: MonotonicTime, cursor: Option<&[u8]>, count: usize) -> Option<Vec<u8>> {
        let checked: Vec<(Vec<u8>, bool)> = self
            .after(cursor)
            .take(count)
            .map(|(key, series)| (key.clone(), series.last_updated + STALE_AFTER < now))
            .collect();
        let last = (checked.len() == count).then(|| checked.last().map(|(key, _)| key.clone())).flatten();
        for (key, _) in checked.into_iter().filter(|(_, is_stale)| *is_stale) {
            if let Some(series) = self.series.remove(&key) {
                self.kept.shrink(series.bytes);
            }
        }
        last
    }

    fn after(&self, cursor: Option<&[u8]>) -> impl Iterator<Item = (&Vec<u8>, &Series)> {
        let bound = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.series.range::<[u8], _>((bound, Bound::Unbounded))
    }

    /// The metrics of the next `count` series after `cursor`, and where to go on.
    pub(super) fn metrics(&self, time: WallTime, cursor: Option<&[u8]>, count: usize) -> (Rope, Option<Vec<u8>>) {
        let chosen: Vec<(&Vec<u8>, &Series)> = self.after(cursor).take(count).collect();
        let last = (chosen.len() == count).then(|| chosen.last().map(|(key, _)| (*key).clone())).flatten();
        let mut body = Body::new();
        if !chosen.is_empty() {
            let mut entry = body.resource_metrics();
            let mut scope = entry.scope_metrics();
            scope.scope().name(b"traces_service_graph");
            let all = || chosen.iter().map(|(_, series)| *series);
            self.write_count(scope.metric(), b"traces_service_graph_request_total", time, all());
            if all().any(|series| series.failed) {
                let failed = all().filter(|series| series.failed);
                self.write_count(scope.metric(), b"traces_service_graph_request_failed_total", time, failed);
            }
            self.write_latencies(&mut scope, b"traces_service_graph_request_server", time, &chosen, |series| {
                &series.server_latencies
            });
            self.write_latencies(&mut scope, b"traces_service_graph_request_client", time, &chosen, |series| {
                &series.client_latencies
            });
        }
        (body.finish(), last)
    }

    fn write_count<'s>(
        &self,
        mut metric: MetricWriter<'_>,
        name: &[u8],
        time: WallTime,
        all: impl Iterator<Item = &'s Series>,
    ) {
        metric.name(name);
        let mut sum = metric.sum();
        sum.aggregation_temporality(CUMULATIVE);
        sum.is_monotonic(true);
        for series in all {
            let mut point = sum.point();
            point.start_time_unix_nano(self.start.0);
            point.time_unix_nano(time.0);
            point.int(series.requests.cast_signed());
            self.write_attributes(&mut point.attributes(), series);
        }
    }

    fn write_latencies(
        &self,
        scope: &mut ScopeMetricsWriter<'_>,
        name: &[u8],
        time: WallTime,
        all: &[(&Vec<u8>, &Series)],
        of: impl Fn(&Series) -> &Latencies,
    ) {
        let mut metric = scope.metric();
        metric.name(name);
        metric.unit(b"s");
        match &self.buckets {
            Buckets::Explicit(bounds) => {
                let mut histogram = metric.histogram();
                histogram.aggregation_temporality(CUMULATIVE);
                for (_, series) in all {
                    let Latencies::Explicit { counts, count, sum } = of(series) else { continue };
                    let mut point = histogram.point();
                    point.start_time_unix_nano(self.start.0);
                    point.time_unix_nano(time.0);
                    point.count(*count);
                    point.sum(*sum);
                    point.bucket_counts(counts);
                    point.explicit_bounds(bounds);
                    self.write_attributes(&mut point.attributes(), series);
                }
            }
            Buckets::Exponential(_) => {
                let mut data = metric.exponential_histogram();
                data.aggregation_temporality(CUMULATIVE);
                for (_, series) in all {
                    let Latencies::Exponential(histogram) = of(series) else { continue };
                    let mut point = data.point();
                    point.start_time_unix_nano(self.start.0);
                    point.time_unix_nano(time.0);
                    histogram.write(&mut point);
                    self.write_attributes(&mut point.attributes(), series);
                }
            }
        }
    }

    fn write_attributes(&self, attributes: &mut AttributesWriter<'_>, series: &Series) {
        attributes.string(b"client", &series.client);
        attributes.string(b"server", &series.server);
        attributes.string(b"connection_type", series.connection_type.as_bytes());
        attributes.bool(b"failed", series.failed);
        for (keys, values) in self.dimension_keys.iter().zip(&series.dimensions) {
            for (key, value) in keys.iter().zip(values) {
                if let Some(value) = value {
                    attributes.string(key.as_bytes(), value);
                }
            }
        }
        if self.has_virtual_label {
            attributes.string(b"virtual_node", series.virtual_node.as_bytes());
        }
    }
}

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;
