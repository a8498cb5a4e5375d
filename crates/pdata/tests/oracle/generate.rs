//! Messages with every field of OTLP, made from random bytes: proptest makes and shrinks the bytes. Struct literals
//! name every field, so that a field which a later version adds is a compile error until it is added here.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// Choices read from random bytes; zeros, the smallest ones, when no bytes are left.
pub struct Choices<'a>(pub &'a [u8]);

#[allow(dead_code, reason = "each test file uses a part of it")]
impl Choices<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Numbers of all lengths.
    pub fn u64(&mut self) -> u64 {
        match self.below(5) {
            0 => 0,
            1 => u64::from(self.byte()),
            2 => 1_700_000_000_000_000_000 + u64::from(self.byte()),
            3 => u64::MAX - u64::from(self.byte()),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    pub fn u32(&mut self) -> u32 {
        self.u64() as u32
    }

    pub fn i32(&mut self) -> i32 {
        self.u32().cast_signed()
    }

    pub fn f64(&mut self) -> f64 {
        match self.below(6) {
            0 => 0.0,
            1 => f64::NAN,
            2 => f64::NEG_INFINITY,
            3 => -0.0,
            4 => f64::from(self.byte()) / 8.0,
            _ => f64::from_bits(self.u64()),
        }
    }

    pub fn text(&mut self) -> String {
        const WORDS: [&str; 6] = ["", "a", "http.route", "größe", "世界\u{0}", "\u{10ffff}"];
        let mut text = WORDS[self.below(WORDS.len())].to_owned();
        if self.below(16) == 15 {
            text.push_str(&"x".repeat(usize::from(self.byte()) * 70));
        }
        text
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        let n = self.below(20);
        (0..n).map(|_| self.byte()).collect()
    }

    pub fn id(&mut self, len: usize) -> Vec<u8> {
        if self.bool() { (0..len).map(|_| self.byte()).collect() } else { Vec::new() }
    }

    /// An id of a small set, so that equal ones occur: one of `ways` times empty, zeros, different in the first or in the last byte
    /// each, and otherwise always the same.
    pub fn common_id(&mut self, len: usize, ways: usize) -> Vec<u8> {
        let mut id = vec![0; len];
        match self.below(ways) {
            0 => return Vec::new(),
            1 => {}
            2 => id[0] = 1,
            3 => id[len - 1] = 1,
            _ => id = (1..=len as u8).collect(),
        }
        id
    }

    /// One of the texts.
    pub fn choose<'a>(&mut self, options: &[&'a str]) -> &'a str {
        options[self.below(options.len())]
    }

    /// Usually few elements.
    pub fn vec<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = if self.0.is_empty() { 0 } else { self.below(4) };
        (0..n).map(|_| one(self)).collect()
    }

    pub fn option<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.bool().then(|| one(self))
    }
}

/// A value; the two fields that only profiles have, indices into their string table, are left empty everywhere.
pub fn value(c: &mut Choices<'_>) -> AnyValue {
    let value = match c.below(8) {
        0 => None,
        1 => Some(Value::StringValue(c.text())),
        2 => Some(Value::BoolValue(c.bool())),
        3 => Some(Value::IntValue(c.u64().cast_signed())),
        4 => Some(Value::DoubleValue(c.f64())),
        5 => Some(Value::ArrayValue(ArrayValue { values: c.vec(value) })),
        6 => Some(Value::KvlistValue(KeyValueList { values: c.vec(key_value) })),
        _ => Some(Value::BytesValue(c.bytes())),
    };
    AnyValue { value }
}

pub fn key_value(c: &mut Choices<'_>) -> KeyValue {
    KeyValue { key: c.text(), value: c.option(value), key_strindex: 0 }
}

fn resource(c: &mut Choices<'_>) -> Resource {
    Resource { attributes: c.vec(key_value), dropped_attributes_count: c.u32(), entity_refs: c.vec(entity_ref) }
}

fn entity_ref(c: &mut Choices<'_>) -> EntityRef {
    EntityRef {
        schema_url: c.text(),
        r#type: c.text(),
        id_keys: c.vec(Choices::text),
        description_keys: c.vec(Choices::text),
    }
}

fn scope(c: &mut Choices<'_>) -> InstrumentationScope {
    InstrumentationScope {
        name: c.text(),
        version: c.text(),
        attributes: c.vec(key_value),
        dropped_attributes_count: c.u32(),
    }
}

pub fn traces(c: &mut Choices<'_>) -> ExportTraceServiceRequest {
    let spans = |c: &mut Choices<'_>| ScopeSpans { scope: c.option(scope), spans: c.vec(span), schema_url: c.text() };
    let resource = |c: &mut Choices<'_>| ResourceSpans {
        resource: c.option(resource),
        scope_spans: c.vec(spans),
        schema_url: c.text(),
    };
    ExportTraceServiceRequest { resource_spans: c.vec(resource) }
}

fn span(c: &mut Choices<'_>) -> Span {
    Span {
        trace_id: c.id(16),
        span_id: c.id(8),
        trace_state: c.text(),
        parent_span_id: c.id(8),
        flags: c.u32(),
        name: c.text(),
        kind: c.i32(),
        start_time_unix_nano: c.u64(),
        end_time_unix_nano: c.u64(),
        attributes: c.vec(key_value),
        dropped_attributes_count: c.u32(),
        events: c.vec(|c| Event {
            time_unix_nano: c.u64(),
            name: c.text(),
            attributes: c.vec(key_value),
            dropped_attributes_count: c.u32(),
        }),
        dropped_events_count: c.u32(),
        links: c.vec(|c| Link {
            trace_id: c.id(16),
            span_id: c.id(8),
            trace_state: c.text(),
            attributes: c.vec(key_value),
            dropped_attributes_count: c.u32(),
            flags: c.u32(),
        }),
        dropped_links_count: c.u32(),
        status: c.option(|c| Status { message: c.text(), code: c.i32() }),
    }
}

pub fn metrics(c: &mut Choices<'_>) -> ExportMetricsServiceRequest {
    let metrics =
        |c: &mut Choices<'_>| ScopeMetrics { scope: c.option(scope), metrics: c.vec(metric), schema_url: c.text() };
    let resource = |c: &mut Choices<'_>| ResourceMetrics {
        resource: c.option(resource),
        scope_metrics: c.vec(metrics),
        schema_url: c.text(),
    };
    ExportMetricsServiceRequest { resource_metrics: c.vec(resource) }
}

fn metric(c: &mut Choices<'_>) -> Metric {
    let temporality = c.below(3) as i32;
    let data = match c.below(6) {
        0 => None,
        1 => Some(Data::Gauge(Gauge { data_points: c.vec(number_point) })),
        2 => Some(Data::Sum(Sum {
            data_points: c.vec(number_point),
            aggregation_temporality: temporality,
            is_monotonic: c.bool(),
        })),
        3 => Some(Data::Histogram(Histogram {
            data_points: c.vec(histogram_point),
            aggregation_temporality: temporality,
        })),
        4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: c.vec(exponential_point),
            aggregation_temporality: temporality,
        })),
        _ => Some(Data::Summary(Summary { data_points: c.vec(summary_point) })),
    };
    Metric { name: c.text(), description: c.text(), unit: c.text(), metadata: c.vec(key_value), data }
}

fn number_point(c: &mut Choices<'_>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: c.vec(key_value),
        start_time_unix_nano: c.u64(),
        time_unix_nano: c.u64(),
        exemplars: c.vec(exemplar),
        flags: c.u32(),
        value: c.option(|c| match c.bool() {
            true => number_data_point::Value::AsDouble(c.f64()),
            false => number_data_point::Value::AsInt(c.u64().cast_signed()),
        }),
    }
}

fn exemplar(c: &mut Choices<'_>) -> Exemplar {
    Exemplar {
        filtered_attributes: c.vec(key_value),
        time_unix_nano: c.u64(),
        span_id: c.id(8),
        trace_id: c.id(16),
        value: c.option(|c| match c.bool() {
            true => exemplar::Value::AsDouble(c.f64()),
            false => exemplar::Value::AsInt(c.u64().cast_signed()),
        }),
    }
}

fn histogram_point(c: &mut Choices<'_>) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: c.vec(key_value),
        start_time_unix_nano: c.u64(),
        time_unix_nano: c.u64(),
        count: c.u64(),
        sum: c.option(Choices::f64),
        bucket_counts: c.vec(Choices::u64),
        explicit_bounds: c.vec(Choices::f64),
        exemplars: c.vec(exemplar),
        flags: c.u32(),
        min: c.option(Choices::f64),
        max: c.option(Choices::f64),
    }
}

fn exponential_point(c: &mut Choices<'_>) -> ExponentialHistogramDataPoint {
    let buckets = |c: &mut Choices<'_>| Buckets { offset: c.i32(), bucket_counts: c.vec(Choices::u64) };
    ExponentialHistogramDataPoint {
        attributes: c.vec(key_value),
        start_time_unix_nano: c.u64(),
        time_unix_nano: c.u64(),
        count: c.u64(),
        sum: c.option(Choices::f64),
        scale: c.i32(),
        zero_count: c.u64(),
        positive: c.option(buckets),
        negative: c.option(buckets),
        flags: c.u32(),
        exemplars: c.vec(exemplar),
        min: c.option(Choices::f64),
        max: c.option(Choices::f64),
        zero_threshold: c.f64(),
    }
}

fn summary_point(c: &mut Choices<'_>) -> SummaryDataPoint {
    SummaryDataPoint {
        attributes: c.vec(key_value),
        start_time_unix_nano: c.u64(),
        time_unix_nano: c.u64(),
        count: c.u64(),
        sum: c.f64(),
        quantile_values: c.vec(|c| ValueAtQuantile { quantile: c.f64(), value: c.f64() }),
        flags: c.u32(),
    }
}

pub fn logs(c: &mut Choices<'_>) -> ExportLogsServiceRequest {
    let logs =
        |c: &mut Choices<'_>| ScopeLogs { scope: c.option(scope), log_records: c.vec(record), schema_url: c.text() };
    let resource = |c: &mut Choices<'_>| ResourceLogs {
        resource: c.option(resource),
        scope_logs: c.vec(logs),
        schema_url: c.text(),
    };
    ExportLogsServiceRequest { resource_logs: c.vec(resource) }
}

fn record(c: &mut Choices<'_>) -> LogRecord {
    LogRecord {
        time_unix_nano: c.u64(),
        observed_time_unix_nano: c.u64(),
        severity_number: c.i32(),
        severity_text: c.text(),
        body: c.option(value),
        attributes: c.vec(key_value),
        dropped_attributes_count: c.u32(),
        flags: c.u32(),
        trace_id: c.id(16),
        span_id: c.id(8),
        event_name: c.text(),
    }
}
