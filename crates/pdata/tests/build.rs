//! Compares what the writers make with prost: a generated message is written field by field, and decoded again.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

#[path = "oracle/generate.rs"]
mod generate;
#[path = "edit/model.rs"]
#[allow(dead_code, reason = "shared with the test of edits")]
mod model;
#[path = "edit/script.rs"]
#[allow(dead_code, reason = "shared with the test of edits")]
mod script;

use generate::Choices;
use model::{Body, to_value};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::build::{self, ArrayWriter, AttributesWriter};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{MAX_NESTING, Rope, Signal, Value, check};
use proptest::prelude::*;

fn attributes(mut writer: AttributesWriter<'_>, list: &[KeyValue]) {
    for kv in list {
        writer.value(kv.key.as_bytes(), &to_value(kv.value.as_ref()));
    }
}

fn resource(mut writer: build::ResourceWriter<'_>, resource: &Resource) {
    attributes(writer.attributes(), &resource.attributes);
    writer.dropped_attributes_count(resource.dropped_attributes_count);
    for e in &resource.entity_refs {
        let mut w = writer.entity_ref();
        w.schema_url(e.schema_url.as_bytes()).entity_type(e.r#type.as_bytes());
        for key in &e.id_keys {
            w.id_key(key.as_bytes());
        }
        for key in &e.description_keys {
            w.description_key(key.as_bytes());
        }
    }
}

fn scope(mut writer: build::ScopeWriter<'_>, scope: &InstrumentationScope) {
    writer.name(scope.name.as_bytes()).version(scope.version.as_bytes());
    attributes(writer.attributes(), &scope.attributes);
    writer.dropped_attributes_count(scope.dropped_attributes_count);
}

/// The levels around items, which are alike for all signals.
macro_rules! outer {
    ($body:expr, $entries:expr, $entry:ident, $scopes:ident, $items:ident, $item:expr) => {
        for e in $entries {
            let mut entry = $body.$entry();
            if let Some(r) = &e.resource {
                resource(entry.resource(), r);
            }
            for s in &e.$scopes {
                let mut inner = entry.$scopes();
                if let Some(s) = &s.scope {
                    scope(inner.scope(), s);
                }
                for item in &s.$items {
                    $item(&mut inner, item);
                }
                inner.schema_url(s.schema_url.as_bytes());
            }
            entry.schema_url(e.schema_url.as_bytes());
        }
    };
}

fn write(message: &Body) -> Rope {
    let mut body = build::Body::new();
    match message {
        Body::Traces(m) => outer!(body, &m.resource_spans, resource_spans, scope_spans, spans, span),
        Body::Logs(m) => outer!(body, &m.resource_logs, resource_logs, scope_logs, log_records, record),
        Body::Metrics(m) => outer!(body, &m.resource_metrics, resource_metrics, scope_metrics, metrics, metric),
    }
    assert_eq!(body.omitted(), 0);
    body.finish()
}

fn id16(id: &[u8]) -> Option<&[u8; 16]> {
    id.first_chunk()
}

fn id8(id: &[u8]) -> Option<&[u8; 8]> {
    id.first_chunk()
}

fn span(scope: &mut build::ScopeSpansWriter<'_>, m: &Span) {
    let mut w = scope.span();
    id16(&m.trace_id).map(|id| w.trace_id(id));
    id8(&m.span_id).map(|id| w.span_id(id));
    id8(&m.parent_span_id).map(|id| w.parent_span_id(id));
    w.trace_state(m.trace_state.as_bytes()).name(m.name.as_bytes()).kind(m.kind).flags(m.flags);
    w.start_time_unix_nano(m.start_time_unix_nano).end_time_unix_nano(m.end_time_unix_nano);
    attributes(w.attributes(), &m.attributes);
    w.dropped_attributes_count(m.dropped_attributes_count);
    for e in &m.events {
        let mut w = w.event();
        w.time_unix_nano(e.time_unix_nano).name(e.name.as_bytes());
        attributes(w.attributes(), &e.attributes);
        w.dropped_attributes_count(e.dropped_attributes_count);
    }
    w.dropped_events_count(m.dropped_events_count);
    for l in &m.links {
        let mut w = w.link();
        id16(&l.trace_id).map(|id| w.trace_id(id));
        id8(&l.span_id).map(|id| w.span_id(id));
        w.trace_state(l.trace_state.as_bytes()).flags(l.flags);
        attributes(w.attributes(), &l.attributes);
        w.dropped_attributes_count(l.dropped_attributes_count);
    }
    w.dropped_links_count(m.dropped_links_count);
    if let Some(s) = &m.status {
        w.status().message(s.message.as_bytes()).code(s.code);
    }
}

fn record(scope: &mut build::ScopeLogsWriter<'_>, m: &LogRecord) {
    let mut w = scope.log_record();
    w.time_unix_nano(m.time_unix_nano).observed_time_unix_nano(m.observed_time_unix_nano);
    w.severity_number(m.severity_number).severity_text(m.severity_text.as_bytes());
    if let Some(body) = &m.body {
        w.body_value(&to_value(Some(body)));
    }
    attributes(w.attributes(), &m.attributes);
    w.dropped_attributes_count(m.dropped_attributes_count).flags(m.flags).event_name(m.event_name.as_bytes());
    id16(&m.trace_id).map(|id| w.trace_id(id));
    id8(&m.span_id).map(|id| w.span_id(id));
}

fn metric(scope: &mut build::ScopeMetricsWriter<'_>, m: &Metric) {
    let mut w = scope.metric();
    w.name(m.name.as_bytes()).description(m.description.as_bytes()).unit(m.unit.as_bytes());
    attributes(w.metadata(), &m.metadata);
    match &m.data {
        None => {}
        Some(Data::Gauge(d)) => {
            let mut w = w.gauge();
            d.data_points.iter().for_each(|p| number(w.point(), p));
        }
        Some(Data::Sum(d)) => {
            let mut w = w.sum();
            d.data_points.iter().for_each(|p| number(w.point(), p));
            w.aggregation_temporality(d.aggregation_temporality).is_monotonic(d.is_monotonic);
        }
        Some(Data::Histogram(d)) => {
            let mut w = w.histogram();
            d.data_points.iter().for_each(|p| histogram(w.point(), p));
            w.aggregation_temporality(d.aggregation_temporality);
        }
        Some(Data::ExponentialHistogram(d)) => {
            let mut w = w.exponential_histogram();
            w.aggregation_temporality(d.aggregation_temporality);
            d.data_points.iter().for_each(|p| exponential(w.point(), p));
        }
        Some(Data::Summary(d)) => {
            let mut w = w.summary();
            d.data_points.iter().for_each(|p| summary(w.point(), p));
        }
    }
}

fn exemplar(mut w: build::ExemplarWriter<'_>, m: &Exemplar) {
    attributes(w.filtered_attributes(), &m.filtered_attributes);
    w.time_unix_nano(m.time_unix_nano);
    id16(&m.trace_id).map(|id| w.trace_id(id));
    id8(&m.span_id).map(|id| w.span_id(id));
    match m.value {
        None => {}
        Some(ExemplarValue::AsDouble(v)) => {
            w.double(v);
        }
        Some(ExemplarValue::AsInt(v)) => {
            w.int(v);
        }
    }
}

fn number(mut w: build::NumberPointWriter<'_>, m: &NumberDataPoint) {
    attributes(w.attributes(), &m.attributes);
    w.start_time_unix_nano(m.start_time_unix_nano).time_unix_nano(m.time_unix_nano).flags(m.flags);
    m.exemplars.iter().for_each(|e| exemplar(w.exemplar(), e));
    match m.value {
        None => {}
        Some(Number::AsDouble(v)) => {
            w.double(v);
        }
        Some(Number::AsInt(v)) => {
            w.int(v);
        }
    }
}

fn histogram(mut w: build::HistogramPointWriter<'_>, m: &HistogramDataPoint) {
    attributes(w.attributes(), &m.attributes);
    w.start_time_unix_nano(m.start_time_unix_nano).time_unix_nano(m.time_unix_nano).flags(m.flags).count(m.count);
    w.bucket_counts(&m.bucket_counts).explicit_bounds(&m.explicit_bounds);
    m.exemplars.iter().for_each(|e| exemplar(w.exemplar(), e));
    m.sum.map(|v| w.sum(v));
    m.min.map(|v| w.min(v));
    m.max.map(|v| w.max(v));
}

fn exponential(mut w: build::ExponentialHistogramPointWriter<'_>, m: &ExponentialHistogramDataPoint) {
    attributes(w.attributes(), &m.attributes);
    w.start_time_unix_nano(m.start_time_unix_nano).time_unix_nano(m.time_unix_nano).flags(m.flags).count(m.count);
    w.scale(m.scale).zero_count(m.zero_count).zero_threshold(m.zero_threshold);
    if let Some(b) = &m.positive {
        w.positive().offset(b.offset).bucket_counts(&b.bucket_counts);
    }
    if let Some(b) = &m.negative {
        w.negative().offset(b.offset).bucket_counts(&b.bucket_counts);
    }
    m.exemplars.iter().for_each(|e| exemplar(w.exemplar(), e));
    m.sum.map(|v| w.sum(v));
    m.min.map(|v| w.min(v));
    m.max.map(|v| w.max(v));
}

fn summary(mut w: build::SummaryPointWriter<'_>, m: &SummaryDataPoint) {
    attributes(w.attributes(), &m.attributes);
    w.start_time_unix_nano(m.start_time_unix_nano).time_unix_nano(m.time_unix_nano).flags(m.flags).count(m.count);
    w.sum(m.sum);
    for q in &m.quantile_values {
        w.quantile_value().quantile(q.quantile).value(q.value);
    }
}

/// A form that the writers can make: keys without a value have an empty one.
fn canonical(mut message: Body) -> Body {
    fn list(list: &mut [KeyValue]) {
        for kv in list {
            kv.value = Some(model::from_value(&to_value(kv.value.as_ref())));
        }
    }
    fn resource(r: &mut Option<Resource>) {
        if let Some(r) = r {
            list(&mut r.attributes);
        }
    }
    fn exemplars(all: &mut [Exemplar]) {
        all.iter_mut().for_each(|e| list(&mut e.filtered_attributes));
    }
    macro_rules! outer {
        ($entries:expr, $scopes:ident) => {
            for e in $entries.iter_mut() {
                resource(&mut e.resource);
                e.$scopes.iter_mut().filter_map(|s| s.scope.as_mut()).for_each(|s| list(&mut s.attributes));
            }
        };
    }
    match &mut message {
        Body::Traces(m) => {
            outer!(m.resource_spans, scope_spans);
            for span in m.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans).flat_map(|s| &mut s.spans) {
                list(&mut span.attributes);
                span.events.iter_mut().for_each(|e| list(&mut e.attributes));
                span.links.iter_mut().for_each(|l| list(&mut l.attributes));
            }
        }
        Body::Logs(m) => {
            outer!(m.resource_logs, scope_logs);
            for log in m.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs).flat_map(|s| &mut s.log_records) {
                list(&mut log.attributes);
                log.body = log.body.as_ref().map(|body| model::from_value(&to_value(Some(body))));
            }
        }
        Body::Metrics(m) => {
            outer!(m.resource_metrics, scope_metrics);
            for m in m.resource_metrics.iter_mut().flat_map(|r| &mut r.scope_metrics).flat_map(|s| &mut s.metrics) {
                list(&mut m.metadata);
                macro_rules! points {
                    ($points:expr) => {
                        $points.iter_mut().for_each(|p| {
                            list(&mut p.attributes);
                            exemplars(&mut p.exemplars);
                        })
                    };
                }
                match &mut m.data {
                    None => {}
                    Some(Data::Gauge(d)) => points!(d.data_points),
                    Some(Data::Sum(d)) => points!(d.data_points),
                    Some(Data::Histogram(d)) => points!(d.data_points),
                    Some(Data::ExponentialHistogram(d)) => points!(d.data_points),
                    Some(Data::Summary(d)) => d.data_points.iter_mut().for_each(|p| list(&mut p.attributes)),
                }
            }
        }
    }
    message
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn generated_messages_written_are_decoded_by_prost_as_they_were(
        signal in prop::sample::select(Signal::ALL.to_vec()),
        message in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let message = canonical(Body::decode(signal, &Body::generate(signal, &mut Choices(&message)).encode()));
        let rope = write(&message);
        let found = check(signal, &rope.to_bytes()).unwrap();
        prop_assert_eq!(found.items, rope.items());
        prop_assert_eq!(Body::decode(signal, &rope.to_bytes()).text(), message.text());
    }
}

#[test]
fn minus_zero_without_presence_is_written() {
    let mut body = build::Body::new();
    build::QuantileWriter::content(&mut body).quantile(-0.0).value(0.0);
    assert_eq!(body.bytes(), b"\x09\0\0\0\0\0\0\0\x80");
}

#[test]
fn long_and_short_content_has_lengths_that_prost_writes_up_to_a_size() {
    for len in [0, 1, 100, 127, 128, 16_383, 16_384, 200_000, 300_000, 2_097_152] {
        let name = vec![b'n'; len];
        let mut body = build::Body::new();
        body.resource_spans().scope_spans().span().name(&name);
        let rope = body.finish();
        let decoded = Body::decode(Signal::Traces, &rope.to_bytes());
        let Body::Traces(m) = &decoded else { panic!("not traces") };
        assert_eq!(m.resource_spans[0].scope_spans[0].spans[0].name.len(), len);
        if len < 200_000 {
            assert_eq!(rope.to_bytes(), decoded.encode());
        }
    }
}

#[test]
fn values_nested_to_the_limit_pass_the_check_and_deeper_ones_are_left_out_and_counted() {
    fn deep(array: &mut ArrayWriter<'_>, levels: usize) {
        match levels {
            0 => array.push(AnyValue::Int(1)),
            _ => array.array(|inner| deep(inner, levels - 1)),
        }
    }
    for levels in [1, 50, 97, 98, 99, 100, 150] {
        let mut body = build::Body::new();
        body.resource_logs().scope_logs().log_record().attributes().array(b"k", |array| deep(array, levels));
        // The attribute's value, the lists in it, and the number.
        assert_eq!(body.omitted() > 0, levels + 2 > usize::from(MAX_NESTING), "{levels}");
        assert_eq!(check(Signal::Logs, body.bytes()).map(|found| found.items), Ok(1));
    }
}

#[test]
fn content_of_a_message_is_embedded_by_an_edit() {
    struct Add(Vec<u8>);
    impl otelcore_pdata::edit::Editor for Add {
        fn span(&mut self, span: &mut otelcore_pdata::edit::SpanMut<'_>) -> otelcore_pdata::edit::Descend {
            span.push_event(&self.0);
            otelcore_pdata::edit::Descend::Skip
        }
    }
    let mut event = build::Body::new();
    build::EventWriter::content(&mut event).name(b"added").attributes().value(b"k", &Value::Array(vec![Value::Int(7)]));
    let mut body = build::Body::new();
    drop(body.resource_spans().scope_spans().span());
    let mut rope = body.finish();
    otelcore_pdata::edit::edit(Signal::Traces, &mut rope, &mut Add(event.bytes().to_vec())).unwrap();
    let Body::Traces(m) = Body::decode(Signal::Traces, &rope.to_bytes()) else { panic!("not traces") };
    assert_eq!(m.resource_spans[0].scope_spans[0].spans[0].events[0].attributes[0].key, "k");
}
