//! What requests contain, in a form that does not depend on order and layout.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::proto::{BucketSpan, Histogram, Sample, version1, version2};

/// Names and values, sorted.
pub type Labels = Vec<(String, String)>;

/// Doubles are compared by their bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: u64,
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NativeHistogram {
    pub timestamp: i64,
    pub count: Option<u64>,
    pub sum: u64,
    pub schema: i32,
    pub zero: (u64, Option<u64>),
    pub negative: BTreeMap<i64, i64>,
    pub positive: BTreeMap<i64, i64>,
}

/// The content of one series.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Series {
    /// Times and values, sorted.
    pub samples: Vec<(i64, u64)>,
    /// The starts of the samples that have one.
    pub starts: Vec<i64>,
    pub exemplars: Vec<Exemplar>,
    pub histograms: Vec<NativeHistogram>,
    /// Type, help and unit.
    pub metadata: Option<(i32, String, String)>,
}

/// The content of all requests for a payload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// Series by their labels, and by whether they are native histograms.
    pub series: BTreeMap<(Labels, bool), Series>,
    pub metadata: BTreeSet<version1::MetricMetadata>,
    /// Series that occur twice.
    pub repeated: usize,
    /// Series whose histograms are not sorted by time.
    pub unsorted: usize,
}

fn sorted(mut labels: Labels) -> Labels {
    // A label without a value is no label.
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    labels
}

fn buckets(spans: &[BucketSpan], deltas: &[i64]) -> BTreeMap<i64, i64> {
    let (mut found, mut deltas) = (BTreeMap::new(), deltas.iter());
    let (mut index, mut count) = (0_i64, 0_i64);
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            count = count.wrapping_add(*deltas.next().unwrap());
            if count != 0 {
                found.insert(index, count);
            }
            index += 1;
        }
    }
    assert!(deltas.next().is_none());
    found
}

fn native(histogram: &Histogram) -> NativeHistogram {
    NativeHistogram {
        timestamp: histogram.timestamp,
        count: histogram.count,
        sum: histogram.sum.to_bits(),
        schema: histogram.schema,
        zero: (histogram.zero_threshold.to_bits(), histogram.zero_count),
        negative: buckets(&histogram.negative_spans, &histogram.negative_deltas),
        positive: buckets(&histogram.positive_spans, &histogram.positive_deltas),
    }
}

impl Content {
    /// The content of request bodies.
    pub fn new(bodies: &[&[u8]], is_version_2: bool) -> Self {
        let mut content = Self::default();
        for body in bodies {
            if is_version_2 {
                content.add_version_2(&version2::Request::decode(*body).unwrap());
            } else {
                content.add_version_1(version1::WriteRequest::decode(*body).unwrap());
            }
        }
        for series in content.series.values_mut() {
            series.samples.sort_unstable();
            series.exemplars.sort();
            series.histograms.sort();
        }
        content
    }

    fn add_version_1(&mut self, request: version1::WriteRequest) {
        let labels = |labels: Vec<version1::Label>| sorted(labels.into_iter().map(|l| (l.name, l.value)).collect());
        self.metadata.extend(request.metadata);
        for series in request.timeseries {
            assert!(series.labels.is_sorted_by_key(|label| &label.name));
            let exemplars = series.exemplars.into_iter().map(|exemplar| Exemplar {
                labels: labels(exemplar.labels),
                value: exemplar.value.to_bits(),
                timestamp: exemplar.timestamp,
            });
            self.add(labels(series.labels), &series.samples, exemplars.collect(), &series.histograms, None);
        }
    }

    fn add_version_2(&mut self, request: &version2::Request) {
        let symbol = |number: u32| request.symbols[number as usize].clone();
        let labels = |refs: &[u32]| {
            assert!(refs.len().is_multiple_of(2));
            sorted(refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect())
        };
        assert_eq!(request.symbols.first().map(String::as_str), Some(""));
        for series in &request.timeseries {
            let exemplars = series.exemplars.iter().map(|exemplar| Exemplar {
                labels: labels(&exemplar.labels_refs),
                value: exemplar.value.to_bits(),
                timestamp: exemplar.timestamp,
            });
            let metadata = series.metadata.clone().unwrap_or_default();
            let metadata = (metadata.kind, symbol(metadata.help_ref), symbol(metadata.unit_ref));
            let exemplars = exemplars.collect();
            self.add(labels(&series.labels_refs), &series.samples, exemplars, &series.histograms, Some(metadata));
        }
    }

    fn add(
        &mut self,
        labels: Labels,
        samples: &[Sample],
        exemplars: Vec<Exemplar>,
        histograms: &[Histogram],
        metadata: Option<(i32, String, String)>,
    ) {
        assert!(samples.is_sorted_by_key(|sample| sample.timestamp));
        self.unsorted += usize::from(!histograms.is_sorted_by_key(|histogram| histogram.timestamp));
        // Go writes samples and histograms into one series.
        for is_native in [false, true] {
            let is_empty = if is_native { histograms.is_empty() } else { samples.is_empty() };
            if is_empty {
                continue;
            }
            let mut series = Series { metadata: metadata.clone(), ..Series::default() };
            if is_native {
                series.histograms = histograms.iter().map(native).collect();
            } else {
                series.samples = samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect();
                series.starts = samples.iter().map(|s| s.start_timestamp).filter(|start| *start != 0).collect();
            }
            series.exemplars.clone_from(&exemplars);
            self.repeated += usize::from(self.series.insert((labels.clone(), is_native), series).is_some());
        }
    }
}
