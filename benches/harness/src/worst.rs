//! Worst-case requests: telemetry of extreme shapes within a number of bytes, and a search for the slowest shape.
//!
//! A shape has the counts and lengths of all parts of a request. The same shape and size give the same bytes. The
//! search changes one parameter of a shape at a time and keeps the change if the measured cost grows. This module
//! neither sends nor measures: the stall meter measures time with it, the test of steps counts steps.

use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint_field};
use otelcore_pdata::{Rope, Signal, check, json};

/// SplitMix64, for the search.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// The type of a metric's points, by the field of `Metric` that holds them.
const METRIC_TYPES: [u32; 5] = [5, 7, 9, 10, 11];
pub(crate) const GAUGE: usize = 0;
const HISTOGRAM: usize = 2;
const EXPONENTIAL: usize = 3;
const SUMMARY: usize = 4;

/// Counts and lengths of one request. Numbers of children are upper bounds: a body ends when it has its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) signal: Signal,
    /// Index into the metric types.
    pub(crate) metric_type: usize,
    pub(crate) scopes: usize,
    /// Metrics of a scope.
    pub(crate) metrics: usize,
    /// Items of a scope or metric.
    pub(crate) items: usize,
    /// Attributes of each resource, and the bytes of each of their values.
    pub(crate) resource: (usize, usize),
    /// Attributes of each item, bytes of their keys and of their values.
    pub(crate) attributes: (usize, usize, usize),
    /// How deep each attribute's value is nested.
    pub(crate) depth: usize,
    /// Buckets of a histogram, quantiles of a summary, events and links of a span.
    pub(crate) parts: usize,
    /// Names, keys and values differ from item to item.
    pub(crate) different: bool,
    /// Each span is of a trace of its own; without, all are of the same one.
    pub(crate) traces: bool,
}

const ALL: usize = usize::MAX;

const PLAIN: Shape = Shape {
    name: "tiny items",
    signal: Signal::Traces,
    metric_type: GAUGE,
    scopes: 1,
    metrics: 1,
    items: ALL,
    resource: (0, 0),
    attributes: (0, 0, 0),
    depth: 0,
    parts: 0,
    different: false,
    traces: false,
};

/// The shapes that a search begins with.
pub(crate) fn shapes(signal: Signal) -> Vec<Shape> {
    let plain = Shape { signal, ..PLAIN };
    let mut shapes = vec![
        plain,
        Shape { name: "many resources", items: 1, ..plain },
        Shape { name: "many scopes", scopes: ALL, items: 1, ..plain },
        Shape { name: "few huge", attributes: (1, 8, 1 << 19), ..plain },
        Shape { name: "deep", attributes: (4, 3, 8), depth: 90, ..plain },
        Shape { name: "all alike", attributes: (8, 12, 20), ..plain },
        Shape { name: "all different", attributes: (8, 12, 20), different: true, ..plain },
        Shape { name: "many keys", attributes: (10_000, 6, 1), different: true, ..plain },
        Shape { name: "huge wrapper", resource: (1, 1 << 19), different: true, ..plain },
        Shape { name: "many resource attributes", resource: (ALL, 4), different: true, ..plain },
        Shape { name: "resources with one item", items: 1, resource: (4, 8), different: true, ..plain },
    ];
    match signal {
        Signal::Traces => shapes.extend([
            Shape { name: "many events", parts: 10_000, ..plain },
            Shape { name: "many traces", traces: true, attributes: (2, 8, 8), ..plain },
        ]),
        Signal::Logs => {}
        Signal::Metrics => {
            let labels = Shape { attributes: (1, 4, 6), different: true, ..plain };
            shapes.extend([
                Shape { name: "many metrics", metrics: ALL, items: 1, ..plain },
                Shape { name: "many new metrics", metrics: ALL, items: 1, different: true, ..plain },
                Shape { name: "many series", ..labels },
                Shape { name: "metrics with labels", metrics: ALL, items: 1, ..labels },
                Shape { name: "many bounds", metric_type: HISTOGRAM, parts: 3000, ..labels },
                Shape {
                    name: "bounds, long labels",
                    metric_type: HISTOGRAM,
                    parts: 300,
                    attributes: (1, 4, 5000),
                    ..labels
                },
                Shape { name: "long labels", attributes: (2, 30_000, 30_000), ..labels },
                Shape { name: "many buckets", metric_type: EXPONENTIAL, parts: 10_000, ..labels },
                Shape { name: "many quantiles", metric_type: SUMMARY, parts: 10_000, ..labels },
            ]);
        }
    }
    shapes
}

impl Shape {
    /// A copy with one parameter changed, chosen by `random`.
    pub(crate) fn changed(mut self, random: &mut Random) -> Self {
        let new = |random: &mut Random, old: usize, most: usize| match random.below(4) {
            0 => 0,
            1 => (old.min(most) / 2).min(most),
            2 => old.clamp(1, most / 2 + 1) * 2,
            _ => most,
        };
        match random.below(10) {
            0 => self.scopes = new(random, self.scopes, 1 << 20).max(1),
            1 => self.metrics = new(random, self.metrics, 1 << 20).max(1),
            2 => self.items = new(random, self.items, 1 << 22).max(1),
            3 => self.resource.0 = new(random, self.resource.0, 10_000),
            4 => self.resource.1 = new(random, self.resource.1, 1 << 19),
            5 => self.attributes.0 = new(random, self.attributes.0, 10_000),
            6 => self.attributes.1 = new(random, self.attributes.1, 30_000),
            7 => self.attributes.2 = new(random, self.attributes.2, 30_000),
            8 => self.parts = new(random, self.parts, 10_000),
            _ if random.below(2) == 0 => self.different = !self.different,
            _ if self.signal == Signal::Metrics => self.metric_type = random.below(METRIC_TYPES.len()),
            _ => self.depth = [0, 1, 10, 90][random.below(4)],
        }
        self.name = "found by search";
        self
    }

    /// A body of about `bytes` bytes and never more; empty if not even one item fits.
    pub(crate) fn body(&self, bytes: usize) -> Vec<u8> {
        let mut writer = Writer { shape: *self, serial: 0 };
        let mut body = Vec::with_capacity(bytes);
        loop {
            // The frame of an entry is at most 12 bytes.
            let Some(room) = (bytes - body.len()).checked_sub(12) else { return body };
            let entry = writer.entry(room);
            if entry.is_empty() && writer.shape.items > 0 {
                return body;
            }
            put_bytes_field(&mut body, 1, &entry);
        }
    }

    /// The same as OTLP/JSON, from a body of `bytes` bytes, or of fewer if its text would be longer than `most`.
    pub(crate) fn json(&self, mut bytes: usize, most: usize) -> Vec<u8> {
        loop {
            let body = self.body(bytes);
            let items = check(self.signal, &body).map_or(0, |summary| summary.items);
            let mut text = Vec::new();
            json::encode(self.signal, &Rope::new(body.into(), items), &mut text);
            if text.len() <= most {
                return text;
            }
            bytes = (bytes as f64 * most as f64 / text.len() as f64 * 0.98) as usize;
        }
    }
}

/// Writes a shape; the serial number makes names different.
struct Writer {
    shape: Shape,
    serial: u64,
}

fn text(serial: u64, length: usize, different: bool) -> Vec<u8> {
    let mut text = vec![b'a'; length];
    if different {
        // The last digits, so that a comparison reads the whole text before it finds a difference.
        let mut rest = serial;
        for byte in text.iter_mut().rev().take(11) {
            *byte = b'a' + (rest % 26) as u8;
            rest /= 26;
        }
    }
    text
}

impl Writer {
    fn attribute(&mut self, out: &mut Vec<u8>, number: u32, key: usize, value: usize, depth: usize) {
        self.serial += 1;
        let mut any = Vec::new();
        put_bytes_field(&mut any, 1, &text(self.serial, value, self.shape.different));
        for _ in 0..depth {
            // AnyValue{array_value{values}}
            let mut array = Vec::with_capacity(any.len() + 8);
            put_bytes_field(&mut array, 1, &any);
            any.clear();
            put_bytes_field(&mut any, 5, &array);
        }
        let mut pair = Vec::with_capacity(any.len() + key + 16);
        put_bytes_field(&mut pair, 1, &text(self.serial, key, self.shape.different));
        put_bytes_field(&mut pair, 2, &any);
        put_bytes_field(out, number, &pair);
    }

    /// A resource entry with as many children as fit; empty if none does.
    fn entry(&mut self, bytes: usize) -> Vec<u8> {
        let mut entry = Vec::new();
        let (count, value) = self.shape.resource;
        if count > 0 {
            let mut resource = Vec::new();
            for _ in 0..count {
                // A resource takes half of the body at most.
                if resource.len() + value + 40 > bytes / 2 {
                    break;
                }
                self.attribute(&mut resource, 1, 8, value, 0);
            }
            put_bytes_field(&mut entry, 1, &resource);
        }
        let children = self.children(bytes.saturating_sub(entry.len()), self.shape.scopes, 2, Self::scope);
        if children.is_empty() {
            return children;
        }
        entry.extend(children);
        entry
    }

    /// Up to `count` children under `number`, as many as fit in `bytes`.
    fn children(
        &mut self,
        bytes: usize,
        count: usize,
        number: u32,
        mut child: impl FnMut(&mut Self, usize) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..count {
            let Some(room) = (bytes - out.len()).checked_sub(12) else { break };
            let Some(content) = child(self, room) else { break };
            put_tag_and_len(&mut out, number, content.len());
            out.extend(content);
        }
        out
    }

    fn scope(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let scope = match self.shape.signal {
            Signal::Metrics => self.children(bytes, self.shape.metrics, 2, Self::metric),
            Signal::Traces | Signal::Logs => self.children(bytes, self.shape.items, 2, Self::item),
        };
        Some(scope).filter(|scope| !scope.is_empty())
    }

    fn metric(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.serial += 1;
        let mut metric = Vec::new();
        put_bytes_field(&mut metric, 1, &text(self.serial, 6, self.shape.different));
        let kind = METRIC_TYPES[self.shape.metric_type];
        let mut data = self.children(bytes.checked_sub(metric.len() + 24)?, self.shape.items, 1, Self::point);
        if data.is_empty() {
            return None;
        }
        if kind != 5 && kind != 11 {
            put_varint_field(&mut data, 2, 2);
        }
        if kind == 7 {
            put_varint_field(&mut data, 3, 1);
        }
        put_bytes_field(&mut metric, kind, &data);
        Some(metric)
    }

    fn attributes(&mut self, out: &mut Vec<u8>, number: u32, bytes: usize) {
        let (count, key, value) = self.shape.attributes;
        for _ in 0..count {
            if out.len() + key + value + self.shape.depth * 8 + 24 > bytes {
                return;
            }
            self.attribute(out, number, key, value, self.shape.depth);
        }
    }

    fn item(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let mut item = Vec::new();
        if self.shape.signal == Signal::Logs {
            self.attributes(&mut item, 6, bytes);
        } else {
            if self.shape.traces {
                self.serial += 1;
                put_bytes_field(&mut item, 1, &u128::from(self.serial).to_be_bytes());
            }
            self.attributes(&mut item, 9, bytes);
            for part in 0..self.shape.parts {
                if item.len() + 4 > bytes {
                    break;
                }
                // An empty event, or an empty link.
                put_bytes_field(&mut item, if part % 2 == 0 { 11 } else { 13 }, &[]);
            }
        }
        Some(item).filter(|item| item.len() <= bytes)
    }

    fn point(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let mut point = Vec::new();
        let kind = self.shape.metric_type;
        // The time, without which a point may be left out.
        put_fixed64_field(&mut point, 3, 1_767_225_600_000_000_000);
        let parts = self.shape.parts.min(bytes.saturating_sub(64) / 40);
        match kind {
            HISTOGRAM => {
                let counts: Vec<u8> = (0..=parts).flat_map(|_| 1_u64.to_le_bytes()).collect();
                let bounds: Vec<u8> = (0..parts).flat_map(|i| (i as f64).to_le_bytes()).collect();
                put_fixed64_field(&mut point, 4, parts as u64 + 1);
                put_bytes_field(&mut point, 6, &counts);
                put_bytes_field(&mut point, 7, &bounds);
            }
            EXPONENTIAL => {
                let mut buckets = Vec::new();
                put_bytes_field(&mut buckets, 2, &vec![1; parts]);
                put_fixed64_field(&mut point, 4, parts as u64);
                put_bytes_field(&mut point, 8, &buckets);
            }
            SUMMARY => {
                for i in 0..parts {
                    let mut quantile = Vec::new();
                    put_fixed64_field(&mut quantile, 1, (i as f64 / parts as f64).to_bits());
                    put_fixed64_field(&mut quantile, 2, 1.0_f64.to_bits());
                    put_bytes_field(&mut point, 6, &quantile);
                }
            }
            _ => put_fixed64_field(&mut point, 6, 1),
        }
        let labels = match kind {
            HISTOGRAM => 9,
            EXPONENTIAL => 1,
            _ => 7,
        };
        self.attributes(&mut point, labels, bytes);
        Some(point).filter(|point| point.len() <= bytes)
    }
}
