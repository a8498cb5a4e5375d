//! Type, help and unit of metrics: in version 2 with each series, in version 1 as messages of their own.
//!
//! Schema of version 1: MetricMetadata{1 type, 2 metric_family_name, 4 help, 5 unit}.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use otelcore_pdata::views::{AnyValue, Metric, MetricData};
use otelcore_pdata::wire_format::{put_bytes_field, put_varint_field};

use crate::symbols::Symbols;

/// The types of a metric; both versions have the same numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MetricType {
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetricType {
    /// The type of a metric. Its metadata names those that OpenTelemetry does not have.
    pub(crate) fn of(metric: &Metric<'_>) -> Self {
        let written = |word: &[u8]| {
            let of_type = metric.metadata().find(|kv| kv.key == b"prometheus.type");
            of_type.is_some_and(|kv| matches!(kv.value, AnyValue::String(text) if text == word))
        };
        match metric.data {
            MetricData::Gauge(_) if written(b"unknown") => Self::Unknown,
            MetricData::Gauge(_) => Self::Gauge,
            MetricData::Sum(sum) if sum.is_monotonic => Self::Counter,
            MetricData::Sum(_) if written(b"info") => Self::Info,
            MetricData::Sum(_) if written(b"stateset") => Self::StateSet,
            MetricData::Sum(_) => Self::Gauge,
            MetricData::Histogram(_) | MetricData::ExponentialHistogram(_) => Self::Histogram,
            MetricData::Summary(_) => Self::Summary,
            MetricData::Empty => Self::Unknown,
        }
    }
}

/// The metadata of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesMetadata<'a> {
    pub(crate) metric_type: MetricType,
    pub(crate) help: &'a [u8],
    pub(crate) unit: &'a [u8],
}

impl SeriesMetadata<'_> {
    /// Appends the message of version 2.
    pub(crate) fn write(&self, out: &mut Vec<u8>, symbols: &mut Symbols) {
        let numbers =
            [(1, self.metric_type as u32), (3, symbols.number_of(self.help)), (4, symbols.number_of(self.unit))];
        for (field, number) in numbers {
            if number != 0 {
                put_varint_field(out, field, number.into());
            }
        }
    }
}

/// The metadata of a request of version 1: each different message once.
#[derive(Debug, Default)]
pub(crate) struct MetadataMessages {
    fields: Vec<u8>,
    index: HashTable<(usize, usize)>,
    hasher: RandomState,
    message: Vec<u8>,
}

impl MetadataMessages {
    /// Adds the metadata of a metric, called `name` in Prometheus.
    pub(crate) fn add(&mut self, name: &[u8], metadata: &SeriesMetadata<'_>) {
        self.message.clear();
        if metadata.metric_type != MetricType::Unknown {
            put_varint_field(&mut self.message, 1, metadata.metric_type as u64);
        }
        for (number, text) in [(2, name), (4, metadata.help), (5, metadata.unit)] {
            if !text.is_empty() {
                put_bytes_field(&mut self.message, number, text);
            }
        }
        let Self { fields, index, hasher, message } = self;
        let hash = hasher.hash_one(&*message);
        if index.find(hash, |range| fields.get(range.0..range.1) == Some(message.as_slice())).is_some() {
            return;
        }
        put_bytes_field(fields, 3, message);
        let range = (fields.len() - message.len(), fields.len());
        index.insert_unique(hash, range, |range| hasher.hash_one(fields.get(range.0..range.1).unwrap_or_default()));
    }

    /// The fields of the request.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.fields
    }
}
