//! Builds the decoded structs from the views. An optional value is present if its field is present.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1 as resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use otelcore_pdata::Rope;
use otelcore_pdata::views::{self, NumberValue, Temporality, resource_entries};
use otelcore_pdata::wire_format::{MessageFields, WireValue};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn has_field(raw: &[u8], wanted: u32) -> bool {
    MessageFields::new(raw).any(|(number, _)| number == wanted)
}

fn repeated_strings(raw: &[u8], wanted: u32) -> Vec<String> {
    let texts = MessageFields::new(raw).filter_map(|(number, wire)| match wire {
        WireValue::Len(v) if number == wanted => Some(text(v)),
        _ => None,
    });
    texts.collect()
}

fn any_value(value: views::AnyValue<'_>) -> common::AnyValue {
    let value = match value {
        views::AnyValue::Empty => None,
        views::AnyValue::String(v) => Some(Value::StringValue(text(v))),
        views::AnyValue::Bool(v) => Some(Value::BoolValue(v)),
        views::AnyValue::Int(v) => Some(Value::IntValue(v)),
        views::AnyValue::Double(v) => Some(Value::DoubleValue(v)),
        views::AnyValue::Bytes(v) => Some(Value::BytesValue(v.to_vec())),
        views::AnyValue::Array(raw) => Some(Value::ArrayValue(common::ArrayValue {
            values: views::AnyValue::array_elements(raw).map(any_value).collect(),
        })),
        views::AnyValue::Map(raw) => {
            Some(Value::KvlistValue(common::KeyValueList { values: attributes(views::AnyValue::map_entries(raw)) }))
        }
    };
    common::AnyValue { value }
}

fn attributes<'a>(of: impl Iterator<Item = views::KeyValue<'a>>) -> Vec<common::KeyValue> {
    let one = |kv: views::KeyValue<'_>| common::KeyValue {
        key: text(kv.key),
        value: has_field(kv.raw, 2).then(|| any_value(kv.value)),
        key_strindex: 0,
    };
    of.map(one).collect()
}

fn resource(of: &views::Resource<'_>) -> resource::Resource {
    resource::Resource {
        attributes: attributes(of.attributes()),
        dropped_attributes_count: of.dropped_attributes_count,
        entity_refs: of
            .entity_refs()
            .map(|e| common::EntityRef {
                schema_url: text(e.schema_url),
                r#type: text(e.kind),
                // The view has no accessors for these fields.
                id_keys: repeated_strings(e.raw, 3),
                description_keys: repeated_strings(e.raw, 4),
            })
            .collect(),
    }
}

fn scope(of: &views::Scope<'_>) -> common::InstrumentationScope {
    common::InstrumentationScope {
        name: text(of.name),
        version: text(of.version),
        attributes: attributes(of.attributes()),
        dropped_attributes_count: of.dropped_attributes_count,
    }
}

pub fn traces(body: &Rope) -> ExportTraceServiceRequest {
    let scope_spans = |s: views::ScopeSpans<'_>| trace::ScopeSpans {
        scope: has_field(s.raw, 1).then(|| scope(&s.scope)),
        spans: s.spans().map(|s| span(&s)).collect(),
        schema_url: text(s.schema_url),
    };
    let resource_spans = |r: views::ResourceSpans<'_>| trace::ResourceSpans {
        resource: has_field(r.raw, 1).then(|| resource(&r.resource)),
        scope_spans: r.scope_spans().map(scope_spans).collect(),
        schema_url: text(r.schema_url),
    };
    ExportTraceServiceRequest { resource_spans: resource_entries(body).map(resource_spans).collect() }
}

fn span(of: &views::Span<'_>) -> trace::Span {
    let event = |e: views::Event<'_>| trace::span::Event {
        time_unix_nano: e.time_unix_nano,
        name: text(e.name),
        attributes: attributes(e.attributes()),
        dropped_attributes_count: e.dropped_attributes_count,
    };
    let link = |l: views::Link<'_>| trace::span::Link {
        trace_id: l.trace_id.to_vec(),
        span_id: l.span_id.to_vec(),
        trace_state: text(l.trace_state),
        attributes: attributes(l.attributes()),
        dropped_attributes_count: l.dropped_attributes_count,
        flags: l.flags,
    };
    trace::Span {
        trace_id: of.trace_id.to_vec(),
        span_id: of.span_id.to_vec(),
        trace_state: text(of.trace_state),
        parent_span_id: of.parent_span_id.to_vec(),
        flags: of.flags,
        name: text(of.name),
        kind: of.kind,
        start_time_unix_nano: of.start_time_unix_nano,
        end_time_unix_nano: of.end_time_unix_nano,
        attributes: attributes(of.attributes()),
        dropped_attributes_count: of.dropped_attributes_count,
        events: of.events().map(event).collect(),
        dropped_events_count: of.dropped_events_count,
        links: of.links().map(link).collect(),
        dropped_links_count: of.dropped_links_count,
        status: has_field(of.raw, 15).then(|| trace::Status { message: text(of.status.message), code: of.status.code }),
    }
}

pub fn metrics(body: &Rope) -> ExportMetricsServiceRequest {
    let scope_metrics = |s: views::ScopeMetrics<'_>| metrics::ScopeMetrics {
        scope: has_field(s.raw, 1).then(|| scope(&s.scope)),
        metrics: s.metrics().map(|m| metric(&m)).collect(),
        schema_url: text(s.schema_url),
    };
    let resource_metrics = |r: views::ResourceMetrics<'_>| metrics::ResourceMetrics {
        resource: has_field(r.raw, 1).then(|| resource(&r.resource)),
        scope_metrics: r.scope_metrics().map(scope_metrics).collect(),
        schema_url: text(r.schema_url),
    };
    ExportMetricsServiceRequest { resource_metrics: resource_entries(body).map(resource_metrics).collect() }
}

fn temporality(of: Temporality) -> i32 {
    match of {
        Temporality::Unspecified => 0,
        Temporality::Delta => 1,
        Temporality::Cumulative => 2,
    }
}

fn metric(of: &views::Metric<'_>) -> metrics::Metric {
    let data = match of.data {
        views::MetricData::Empty => None,
        views::MetricData::Gauge(g) => {
            Some(Data::Gauge(metrics::Gauge { data_points: g.points().map(|p| number_point(&p)).collect() }))
        }
        views::MetricData::Sum(s) => Some(Data::Sum(metrics::Sum {
            data_points: s.points().map(|p| number_point(&p)).collect(),
            aggregation_temporality: temporality(s.temporality),
            is_monotonic: s.is_monotonic,
        })),
        views::MetricData::Histogram(h) => Some(Data::Histogram(metrics::Histogram {
            data_points: h.points().map(|p| histogram_point(&p)).collect(),
            aggregation_temporality: temporality(h.temporality),
        })),
        views::MetricData::ExponentialHistogram(h) => Some(Data::ExponentialHistogram(metrics::ExponentialHistogram {
            data_points: h.exponential_points().map(|p| exponential_point(&p)).collect(),
            aggregation_temporality: temporality(h.temporality),
        })),
        views::MetricData::Summary(s) => {
            Some(Data::Summary(metrics::Summary { data_points: s.points().map(|p| summary_point(&p)).collect() }))
        }
    };
    metrics::Metric {
        name: text(of.name),
        description: text(of.description),
        unit: text(of.unit),
        metadata: attributes(of.metadata()),
        data,
    }
}

fn number_point(of: &views::NumberPoint<'_>) -> metrics::NumberDataPoint {
    metrics::NumberDataPoint {
        attributes: attributes(of.attributes()),
        start_time_unix_nano: of.start_time_unix_nano,
        time_unix_nano: of.time_unix_nano,
        exemplars: of.exemplars().map(|e| exemplar(&e)).collect(),
        flags: of.flags,
        value: match of.value.0 {
            NumberValue::Empty => None,
            NumberValue::Double(v) => Some(metrics::number_data_point::Value::AsDouble(v)),
            NumberValue::Int(v) => Some(metrics::number_data_point::Value::AsInt(v)),
        },
    }
}

fn exemplar(of: &views::Exemplar<'_>) -> metrics::Exemplar {
    metrics::Exemplar {
        filtered_attributes: attributes(of.filtered_attributes()),
        time_unix_nano: of.time_unix_nano,
        span_id: of.span_id.to_vec(),
        trace_id: of.trace_id.to_vec(),
        value: match of.value.0 {
            NumberValue::Empty => None,
            NumberValue::Double(v) => Some(metrics::exemplar::Value::AsDouble(v)),
            NumberValue::Int(v) => Some(metrics::exemplar::Value::AsInt(v)),
        },
    }
}

fn histogram_point(of: &views::HistogramPoint<'_>) -> metrics::HistogramDataPoint {
    metrics::HistogramDataPoint {
        attributes: attributes(of.attributes()),
        start_time_unix_nano: of.start_time_unix_nano,
        time_unix_nano: of.time_unix_nano,
        count: of.count,
        sum: of.sum,
        bucket_counts: of.bucket_counts().collect(),
        explicit_bounds: of.explicit_bounds().collect(),
        exemplars: of.exemplars().map(|e| exemplar(&e)).collect(),
        flags: of.flags,
        min: of.min,
        max: of.max,
    }
}

fn exponential_point(of: &views::ExponentialHistogramPoint<'_>) -> metrics::ExponentialHistogramDataPoint {
    let buckets = |b: views::Buckets<'_>| metrics::exponential_histogram_data_point::Buckets {
        offset: b.offset.0,
        bucket_counts: b.bucket_counts().collect(),
    };
    metrics::ExponentialHistogramDataPoint {
        attributes: attributes(of.attributes()),
        start_time_unix_nano: of.start_time_unix_nano,
        time_unix_nano: of.time_unix_nano,
        count: of.count,
        sum: of.sum,
        scale: of.scale.0,
        zero_count: of.zero_count,
        positive: has_field(of.raw, 8).then(|| buckets(of.positive)),
        negative: has_field(of.raw, 9).then(|| buckets(of.negative)),
        flags: of.flags,
        exemplars: of.exemplars().map(|e| exemplar(&e)).collect(),
        min: of.min,
        max: of.max,
        zero_threshold: of.zero_threshold,
    }
}

fn summary_point(of: &views::SummaryPoint<'_>) -> metrics::SummaryDataPoint {
    let quantile = |q: views::ValueAtQuantile<'_>| metrics::summary_data_point::ValueAtQuantile {
        quantile: q.quantile,
        value: q.value,
    };
    metrics::SummaryDataPoint {
        attributes: attributes(of.attributes()),
        start_time_unix_nano: of.start_time_unix_nano,
        time_unix_nano: of.time_unix_nano,
        count: of.count,
        sum: of.sum,
        quantile_values: of.quantile_values().map(quantile).collect(),
        flags: of.flags,
    }
}

pub fn logs(body: &Rope) -> ExportLogsServiceRequest {
    let scope_logs = |s: views::ScopeLogs<'_>| logs::ScopeLogs {
        scope: has_field(s.raw, 1).then(|| scope(&s.scope)),
        log_records: s.log_records().map(|r| record(&r)).collect(),
        schema_url: text(s.schema_url),
    };
    let resource_logs = |r: views::ResourceLogs<'_>| logs::ResourceLogs {
        resource: has_field(r.raw, 1).then(|| resource(&r.resource)),
        scope_logs: r.scope_logs().map(scope_logs).collect(),
        schema_url: text(r.schema_url),
    };
    ExportLogsServiceRequest { resource_logs: resource_entries(body).map(resource_logs).collect() }
}

fn record(of: &views::LogRecord<'_>) -> logs::LogRecord {
    logs::LogRecord {
        time_unix_nano: of.time_unix_nano,
        observed_time_unix_nano: of.observed_time_unix_nano,
        severity_number: of.severity_number,
        severity_text: text(of.severity_text),
        body: has_field(of.raw, 5).then(|| any_value(of.body)),
        attributes: attributes(of.attributes()),
        dropped_attributes_count: of.dropped_attributes_count,
        flags: of.flags,
        trace_id: of.trace_id.to_vec(),
        span_id: of.span_id.to_vec(),
        event_name: text(of.event_name),
    }
}
