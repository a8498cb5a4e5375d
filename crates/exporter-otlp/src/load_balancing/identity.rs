//! The identities of resources and series that are routing keys of metrics: hashes as the Go collector makes them.
//!
//! A map is written as bytes in the order of its keys, and these are hashed twice with XXH64; what an identity consists of
//! is hashed with FNV-1a. Never reads more than it is given.

use otelcore_pdata::views::{AnyValue, KeyValue, Metric, MetricData, Scope, Temporality};
use twox_hash::XxHash64;

// Marks in the bytes of a map.
const EXTRA: u8 = 0xf3;
const KEY: u8 = 0xf4;
const EMPTY: u8 = 0xf5;
const BYTES: u8 = 0xf6;
const STRING: u8 = 0xf7;
const TRUE: u8 = 0xf8;
const FALSE: u8 = 0xf9;
const INT: u8 = 0xfa;
const DOUBLE: u8 = 0xfb;
const MAP_BEGIN: u8 = 0xfc;
const MAP_END: u8 = 0xfd;
const LIST_BEGIN: u8 = 0xfe;
const LIST_END: u8 = 0xff;

/// The hash of a map of attributes. Without attributes it is zero.
pub(super) fn hash_of_map<'a>(attributes: impl Iterator<Item = KeyValue<'a>>) -> [u8; 16] {
    let mut bytes = Vec::new();
    write_map(&mut bytes, attributes);
    if bytes.is_empty() {
        return [0; 16];
    }
    let first = XxHash64::oneshot(0, &bytes);
    bytes.push(EXTRA);
    let second = XxHash64::oneshot(0, &bytes);
    (u128::from(second) << 64 | u128::from(first)).to_le_bytes()
}

fn write_map<'a>(bytes: &mut Vec<u8>, entries: impl Iterator<Item = KeyValue<'a>>) {
    let mut entries: Vec<KeyValue<'a>> = entries.collect();
    // A stable sort: of entries with the same key the first one is that of the key.
    entries.sort_by_key(|entry| entry.key);
    for same_key in entries.chunk_by(|a, b| a.key == b.key) {
        let Some(first) = same_key.first() else { continue };
        for _ in same_key {
            bytes.push(KEY);
            bytes.extend_from_slice(first.key);
            write_value(bytes, first.value);
        }
    }
}

fn write_value(bytes: &mut Vec<u8>, value: AnyValue<'_>) {
    match value {
        AnyValue::Empty => bytes.push(EMPTY),
        AnyValue::String(text) => {
            bytes.push(STRING);
            bytes.extend_from_slice(text);
        }
        AnyValue::Bool(value) => bytes.push(if value { TRUE } else { FALSE }),
        AnyValue::Int(number) => {
            bytes.push(INT);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        AnyValue::Double(number) => {
            bytes.push(DOUBLE);
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        AnyValue::Array(raw) => {
            bytes.push(LIST_BEGIN);
            AnyValue::array_elements(raw).for_each(|element| write_value(bytes, element));
            bytes.push(LIST_END);
        }
        AnyValue::Map(raw) => {
            bytes.push(MAP_BEGIN);
            write_map(bytes, AnyValue::map_entries(raw));
            bytes.push(MAP_END);
        }
        AnyValue::Bytes(value) => {
            bytes.push(BYTES);
            bytes.extend_from_slice(value);
        }
    }
}

/// An identity: FNV-1a of what it consists of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity(u64);

impl Identity {
    /// That of a resource with these attributes.
    pub(super) fn of_resource<'a>(attributes: impl Iterator<Item = KeyValue<'a>>) -> Self {
        Self(0xcbf2_9ce4_8422_2325).with(&hash_of_map(attributes))
    }

    /// That of a scope in this resource.
    pub(super) fn of_scope(self, scope: &Scope<'_>) -> Self {
        self.with(scope.name).with(scope.version).with(&hash_of_map(scope.attributes()))
    }

    /// That of a metric in this scope.
    pub(super) fn of_metric(self, metric: &Metric<'_>) -> Self {
        let temporality_of = |temporality| match temporality {
            Temporality::Unspecified => 0,
            Temporality::Delta => 1,
            Temporality::Cumulative => 2,
        };
        let properties = match metric.data {
            MetricData::Empty => [0, 0, 0],
            MetricData::Gauge(_) => [1, 0, 0],
            MetricData::Sum(sum) => [2, u8::from(sum.is_monotonic), temporality_of(sum.temporality)],
            MetricData::Histogram(histogram) => [3, 1, temporality_of(histogram.temporality)],
            MetricData::ExponentialHistogram(histogram) => [4, 1, temporality_of(histogram.temporality)],
            MetricData::Summary(_) => [5, 0, 0],
        };
        self.with(metric.name).with(metric.unit).with(&properties)
    }

    /// That of a series of this metric.
    pub(super) fn of_series<'a>(self, attributes: impl Iterator<Item = KeyValue<'a>>) -> Self {
        self.with(&hash_of_map(attributes))
    }

    /// The routing key: the kind, and the number in hexadecimal digits.
    pub(super) fn key(self, kind: &str) -> String {
        format!("{kind}/{:x}", self.0)
    }

    fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }
}
