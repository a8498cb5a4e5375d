//! Every path of every context: what is read of an item, and what becomes of it when it is written.

use std::borrow::Cow;

use otelcore_pdata::edit::{
    Descend, Editor, EventMut, Keep, LogMut, MetricMut, PointMut, ResourceMut, ScopeMut, SpanMut, edit,
};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Rope, Signal, build};

use super::*;
use crate::value::{List, ListKind, Map, Time};

/// Calls a closure with each item of one kind as a context.
struct Items<F> {
    context: &'static str,
    call: F,
}

impl<F: FnMut(&mut dyn ContextMut)> Items<F> {
    fn is(&self, context: &str) -> bool {
        self.context == context
    }
}

impl<F: FnMut(&mut dyn ContextMut)> Editor for Items<F> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        if self.is("resource") {
            (self.call)(&mut ResourceContext { resource, request: None });
        }
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        if self.is("scope") {
            (self.call)(&mut ScopeContext { scope, request: None });
        }
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        if self.is("span") {
            (self.call)(&mut SpanContext { span, request: None });
        }
        if self.is("spanevent") { Descend::Children } else { Descend::Skip }
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        (self.call)(&mut SpanEventContext { event, index: 0, request: None });
        Keep::Keep
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        if self.is("metric") {
            let mut context = MetricContext::new(metric, None);
            (self.call)(&mut context);
            if let (Some(owned), _) = context.finish() {
                let mut raw = Vec::new();
                owned.encode(&mut raw);
                metric.replace([&raw[..]]);
            }
            return Descend::Skip;
        }
        Descend::Children
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        if self.is("datapoint") {
            (self.call)(&mut DataPointContext::new(point, None));
        }
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if self.is("log") {
            (self.call)(&mut LogContext { log, request: None });
        }
        Keep::Keep
    }
}

fn signal_of(context: &str) -> Signal {
    match context {
        "metric" | "datapoint" => Signal::Metrics,
        "log" => Signal::Logs,
        _ => Signal::Traces,
    }
}

/// The body after `call` has been called with each item.
fn edited(context: &'static str, rope: &Rope, call: impl FnMut(&mut dyn ContextMut)) -> (Rope, bool) {
    let mut rope = rope.clone();
    let what = edit(signal_of(context), &mut rope, &mut Items { context, call }).unwrap();
    (rope, what.changed_parts > 0)
}

const TIME: u64 = 1_700_000_000_123_456_789;

fn attributes(mut writer: build::AttributesWriter<'_>) {
    writer.string(b"text", b"x").int(b"int", 7);
    writer.map(b"map", |map| {
        map.string(b"inner", b"y").array(b"list", |list| list.push(AnyValue::Int(1)));
    });
}

fn traces() -> Rope {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_spans();
        entry.schema_url(b"resource url");
        attributes(entry.resource().dropped_attributes_count(1).attributes());
        let mut scope_spans = entry.scope_spans();
        scope_spans.schema_url(b"scope url");
        attributes(scope_spans.scope().name(b"lib").version(b"1").dropped_attributes_count(2).attributes());
        let mut span = scope_spans.span();
        span.trace_id(&[1; 16]).span_id(&[2; 8]).parent_span_id(&[3; 8]).trace_state(b"a=1,b=2").name(b"name").kind(3);
        span.start_time_unix_nano(TIME).end_time_unix_nano(TIME + 1).flags(1);
        span.dropped_attributes_count(3).dropped_events_count(4).dropped_links_count(5);
        span.status().code(2).message(b"bad");
        attributes(span.attributes());
        attributes(span.event().name(b"event").time_unix_nano(TIME).dropped_attributes_count(6).attributes());
        span.link().trace_id(&[4; 16]).span_id(&[5; 8]);
    }
    body.finish()
}

fn logs() -> Rope {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_logs();
        attributes(entry.resource().attributes());
        let mut scope_logs = entry.scope_logs();
        let mut log = scope_logs.log_record();
        log.time_unix_nano(TIME).observed_time_unix_nano(TIME + 1).severity_number(9).severity_text(b"INFO").flags(1);
        log.trace_id(&[1; 16]).span_id(&[2; 8]).event_name(b"event").dropped_attributes_count(7);
        log.body(AnyValue::String(b"text"));
        attributes(log.attributes());
    }
    body.finish()
}

fn metrics() -> Rope {
    let mut body = build::Body::new();
    {
        let mut entry = body.resource_metrics();
        attributes(entry.resource().attributes());
        let mut scope_metrics = entry.scope_metrics();
        for kind in 0..5 {
            let mut metric = scope_metrics.metric();
            metric.name(b"metric").description(b"description").unit(b"s");
            match kind {
                0 => attributes(metric.gauge().point().time_unix_nano(TIME).double(0.5).attributes()),
                1 => {
                    let mut sum = metric.sum();
                    sum.aggregation_temporality(2).is_monotonic(true);
                    sum.point().int(7).exemplar().double(1.5);
                }
                2 => {
                    let mut histogram = metric.histogram();
                    let mut point = histogram.aggregation_temporality(1).point();
                    point.count(3).sum(1.5).bucket_counts(&[1, 2]).explicit_bounds(&[0.5]).exemplar().int(1);
                }
                3 => {
                    let mut histogram = metric.exponential_histogram();
                    let mut point = histogram.aggregation_temporality(2).point();
                    point.count(3).sum(1.5).scale(-1).zero_count(1).positive().offset(-3).bucket_counts(&[1, 2]);
                }
                _ => {
                    let mut summary = metric.summary();
                    summary.point().count(3).sum(1.5).flags(1).quantile_value().quantile(0.5).value(2.0);
                }
            }
            attributes(metric.metadata());
        }
    }
    body.finish()
}

fn body_of(context: &str) -> Rope {
    match signal_of(context) {
        Signal::Traces => traces(),
        Signal::Metrics => metrics(),
        Signal::Logs => logs(),
    }
}

/// The contexts, each with the contexts whose paths it has.
const CONTEXTS: &[(&str, &[&str])] = &[
    ("resource", &["resource"]),
    ("scope", &["scope", "resource"]),
    ("span", &["span", "scope", "resource"]),
    ("spanevent", &["spanevent", "span", "scope", "resource"]),
    ("metric", &["metric", "scope", "resource"]),
    ("datapoint", &["datapoint", "metric", "scope", "resource"]),
    ("log", &["log", "scope", "resource"]),
];

/// What is read of every field of every item.
fn everything(context: &'static str, rope: &Rope, fields: &[Field]) -> Vec<String> {
    let mut found = Vec::new();
    edited(context, rope, |item| {
        found.extend(fields.iter().map(|field| match item.get(*field, &[]).unwrap().into_owned() {
            // In which order other fields of their message are does not matter.
            Value::Map(map) => format!("{field:?} {:?}", map.to_tree()),
            Value::Messages(kind, _) => format!("{field:?} {kind:?}"),
            value => format!("{field:?} {value:?}"),
        }));
    });
    found
}

#[test]
fn item_in_which_every_field_is_written_with_its_own_value_is_the_same() {
    for (context, path_contexts) in CONTEXTS {
        let rope = body_of(context);
        let fields: Vec<Field> = path_contexts.iter().flat_map(|context| paths::fields(context)).collect();
        let (written, _) = edited(context, &rope, |item| {
            for field in &fields {
                let value = item.get(*field, &[]).unwrap().into_owned();
                // The value that a point has not, and what can't be written.
                let is_other_value = matches!(
                    (field, &value),
                    (Field::DataPoint(DataPointField::ValueDouble), Value::Double(0.0))
                        | (Field::DataPoint(DataPointField::ValueInt), Value::Int(0))
                );
                if !is_other_value && !value.is_nil() && *field != Field::SpanEvent(SpanEventField::EventIndex) {
                    item.set(*field, &[], &value).unwrap();
                }
            }
        });
        assert_eq!(everything(context, &written, &fields), everything(context, &rope, &fields), "{context}");
        let items = otelcore_pdata::check(signal_of(context), &written.to_bytes()).map(|found| found.items);
        assert_eq!(items, Ok(rope.items()));
    }
}

/// Reads a field of the first item.
fn read(context: &'static str, rope: &Rope, field: Field, keys: &[Key<'_>]) -> String {
    let mut found = None;
    edited(context, rope, |item| {
        found.get_or_insert_with(|| format!("{:?}", item.get(field, keys).map(Value::into_owned)));
    });
    found.unwrap_or_default()
}

fn string(text: &str) -> Value<'static> {
    Value::string(text)
}

/// Writes a value, and returns what is read then or the error.
fn written(context: &'static str, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> String {
    let mut error = None;
    let (rope, _) = edited(context, &body_of(context), |item| {
        if let Err(found) = item.set(field, keys, value) {
            error.get_or_insert_with(|| found.to_string());
        }
    });
    error.unwrap_or_else(|| read(context, &rope, field, keys))
}

fn shown(value: &Value<'static>) -> String {
    format!("{:?}", Ok::<_, EvalError>(value.clone()))
}

#[test]
fn scalar_fields_are_written_and_read_back() {
    let time = Time::from_unix_nanos(5);
    let cases: Vec<(&str, Field, Value<'static>)> = vec![
        ("resource", Field::Resource(ResourceField::DroppedAttributesCount), Value::Int(9)),
        ("resource", Field::Resource(ResourceField::SchemaUrl), string("url")),
        ("scope", Field::Scope(ScopeField::Name), string("n")),
        ("scope", Field::Scope(ScopeField::Version), string("v")),
        ("scope", Field::Scope(ScopeField::SchemaUrl), string("url")),
        ("span", Field::Scope(ScopeField::DroppedAttributesCount), Value::Int(9)),
        ("span", Field::Span(SpanField::TraceId), Value::TraceId([9; 16])),
        ("span", Field::Span(SpanField::TraceId), Value::TraceId([0; 16])),
        ("span", Field::Span(SpanField::TraceIdString), string("0102030405060708090a0b0c0d0e0f10")),
        ("span", Field::Span(SpanField::SpanId), Value::SpanId([9; 8])),
        ("span", Field::Span(SpanField::ParentSpanIdString), string("0102030405060708")),
        ("span", Field::Span(SpanField::TraceState), string("anything")),
        ("span", Field::Span(SpanField::Name), string("other")),
        ("span", Field::Span(SpanField::Kind), Value::Int(1)),
        ("span", Field::Span(SpanField::KindString), string("Producer")),
        ("span", Field::Span(SpanField::KindDeprecatedString), string("SPAN_KIND_CONSUMER")),
        ("span", Field::Span(SpanField::StartTime), Value::Time(time.clone())),
        ("span", Field::Span(SpanField::EndTimeUnixNano), Value::Int(-1)),
        ("span", Field::Span(SpanField::StatusCode), Value::Int(1)),
        ("span", Field::Span(SpanField::StatusMessage), string("good")),
        ("span", Field::Span(SpanField::Flags), Value::Int(0xffff_ffff)),
        ("span", Field::Span(SpanField::DroppedLinksCount), Value::Int(0)),
        ("spanevent", Field::SpanEvent(SpanEventField::Name), string("other")),
        ("spanevent", Field::SpanEvent(SpanEventField::Time), Value::Time(time.clone())),
        ("spanevent", Field::Span(SpanField::Name), string("other")),
        ("log", Field::Log(LogField::ObservedTime), Value::Time(time)),
        ("log", Field::Log(LogField::SeverityNumber), Value::Int(17)),
        ("log", Field::Log(LogField::SeverityText), string("ERROR")),
        ("log", Field::Log(LogField::Body), Value::Int(5)),
        ("log", Field::Log(LogField::BodyString), string("other")),
        ("log", Field::Log(LogField::EventName), string("other")),
        ("log", Field::Log(LogField::SpanIdString), string("0102030405060708")),
        ("metric", Field::Metric(MetricField::Name), string("other")),
        ("metric", Field::Metric(MetricField::Unit), string("By")),
        ("datapoint", Field::Metric(MetricField::Description), string("other")),
        ("datapoint", Field::DataPoint(DataPointField::TimeUnixNano), Value::Int(8)),
        ("datapoint", Field::DataPoint(DataPointField::Flags), Value::Int(1)),
    ];
    for (context, field, value) in cases {
        assert_eq!(written(context, field, &[], &value), shown(&value), "{context} {field:?}");
    }
}

#[test]
fn value_of_another_type_is_refused_with_the_sentence_of_go() {
    let cases: &[(&'static str, Field, Value<'static>, &str)] = &[
        ("span", Field::Span(SpanField::Name), Value::Int(1), "expects string but got int64"),
        ("span", Field::Span(SpanField::TraceId), string("x"), "expects pcommon.TraceID but got string"),
        ("span", Field::Span(SpanField::TraceIdString), string("x"), "trace ids must be 32 hex characters"),
        (
            "span",
            Field::Span(SpanField::SpanIdString),
            string("000000000000000g"),
            "encoding/hex: invalid byte: U+0067 'g'",
        ),
        (
            "span",
            Field::Span(SpanField::SpanIdString),
            string("00000000000000000"),
            "encoding/hex: odd length hex string",
        ),
        ("span", Field::Span(SpanField::KindString), string("x"), "unknown span kind string, x"),
        ("span", Field::Span(SpanField::Flags), Value::Int(-1), "value -1 is out of range for uint32"),
        ("span", Field::Span(SpanField::Events), Value::Int(1), "expects ptrace.SpanEventSlice but got int64"),
        ("span", Field::Span(SpanField::StartTime), Value::Int(1), "expects time.Time but got int64"),
        (
            "span",
            Field::Span(SpanField::Attributes),
            Value::Int(1),
            "unsupported type provided for setting a pcommon.Map: int64",
        ),
        (
            "spanevent",
            Field::SpanEvent(SpanEventField::EventIndex),
            Value::Int(1),
            "the 'event_index' path cannot be modified",
        ),
        (
            "span",
            Field::Request(RequestField::ClientMetadata),
            Value::Int(1),
            "\"otelcol.client.metadata\" is read-only and cannot be modified",
        ),
        (
            "datapoint",
            Field::DataPoint(DataPointField::Scale),
            Value::Int(1),
            "expects pmetric.ExponentialHistogramDataPoint but got pmetric.NumberDataPoint",
        ),
        (
            "datapoint",
            Field::DataPoint(DataPointField::Count),
            Value::Int(1),
            "unsupported data point type: pmetric.NumberDataPoint",
        ),
    ];
    for (context, field, value, message) in cases {
        assert_eq!(written(context, *field, &[], value), *message, "{context} {field:?}");
    }
}

fn key(text: &'static str) -> Key<'static> {
    Key::String(Cow::Borrowed(text.as_bytes()))
}

#[test]
fn keys_lead_into_attributes_bodies_and_trace_states() {
    let attributes = Field::Span(SpanField::Attributes);
    let rope = traces();
    assert_eq!(read("span", &rope, attributes, &[key("text")]), shown(&string("x")));
    assert_eq!(read("span", &rope, attributes, &[key("map"), key("list"), Key::Int(0)]), shown(&Value::Int(1)));
    assert_eq!(read("span", &rope, attributes, &[key("none")]), shown(&Value::Nil));
    assert_eq!(written("span", attributes, &[key("map"), key("new")], &Value::Int(3)), shown(&Value::Int(3)));
    assert_eq!(
        written("span", attributes, &[key("new"), key("a"), Key::Int(1)], &Value::Int(3)),
        shown(&Value::Int(3))
    );
    assert_eq!(
        written("span", attributes, &[key("text"), key("a")], &Value::Int(3)),
        "type Str does not support string indexing"
    );
    assert_eq!(written("log", Field::Log(LogField::Attributes), &[key("int")], &string("y")), shown(&string("y")));
    let resource = Field::Resource(ResourceField::Attributes);
    assert_eq!(written("spanevent", resource, &[key("new")], &string("y")), shown(&string("y")));

    let state = Field::Span(SpanField::TraceState);
    assert_eq!(read("span", &rope, state, &[key("b")]), shown(&string("2")));
    assert_eq!(written("span", state, &[key("b")], &string("3")), shown(&string("3")));

    let body = Field::Log(LogField::Body);
    assert_eq!(written("log", body, &[key("a")], &Value::Int(1)), "log bodies of type Str cannot be indexed");
    let map = Value::Map(Map::owned(vec![(b"a".to_vec(), otelcore_pdata::Value::Int(1))]));
    let (rope, _) = edited("log", &logs(), |log| {
        log.set(body, &[], &map).unwrap();
        log.set(body, &[key("b"), key("c")], &Value::Bool(true)).unwrap();
        log.edit_map(body, &[], &mut |map| {
            map.remove(b"a");
            Ok(())
        })
        .unwrap();
    });
    assert_eq!(read("log", &rope, Field::Log(LogField::BodyString), &[]), shown(&string("{\"b\":{\"c\":true}}")));
}

#[test]
fn attributes_are_replaced_by_those_of_another_map() {
    let (rope, _) = edited("span", &traces(), |span| {
        let resource = span.get(Field::Resource(ResourceField::Attributes), &[]).unwrap().into_owned();
        let map = Value::Map(Map::owned(vec![(b"only".to_vec(), otelcore_pdata::Value::Int(1))]));
        span.set(Field::Resource(ResourceField::Attributes), &[], &map).unwrap();
        span.set(Field::Span(SpanField::Attributes), &[], &resource).unwrap();
    });
    assert_eq!(
        read("resource", &rope, Field::Resource(ResourceField::Attributes), &[key("only")]),
        shown(&Value::Int(1))
    );
    assert_eq!(read("span", &rope, Field::Span(SpanField::Attributes), &[key("int")]), shown(&Value::Int(7)));
}

#[test]
fn fields_of_points_are_those_of_their_kind() {
    let all = |field: DataPointField| {
        let mut found = Vec::new();
        edited("datapoint", &metrics(), |point| {
            found.push(point.get(Field::DataPoint(field), &[]).unwrap().into_owned());
        });
        found.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>()
    };
    let show = |values: [Value<'static>; 5]| values.map(|value| format!("{value:?}")).to_vec();
    let nil = || Value::Nil;
    assert_eq!(all(DataPointField::ValueDouble), show([Value::Double(0.5), Value::Double(0.0), nil(), nil(), nil()]));
    assert_eq!(all(DataPointField::ValueInt), show([Value::Int(0), Value::Int(7), nil(), nil(), nil()]));
    assert_eq!(all(DataPointField::Count), show([nil(), nil(), Value::Int(3), Value::Int(3), Value::Int(3)]));
    assert_eq!(all(DataPointField::Scale), show([nil(), nil(), nil(), Value::Int(-1), nil()]));
    assert_eq!(all(DataPointField::PositiveOffset), show([nil(), nil(), nil(), Value::Int(-3), nil()]));
    let bounds = Value::List(List::values(ListKind::Doubles, vec![Value::Double(0.5)]));
    assert_eq!(all(DataPointField::ExplicitBounds), show([nil(), nil(), bounds, nil(), nil()]));
}

#[test]
fn metric_whose_structure_changes_is_read_and_written_as_changed() {
    let (rope, _) = edited("metric", &metrics(), |metric| {
        let access = metric.metric_access().unwrap();
        assert_eq!(access.kind(), access.copy().kind);
        if access.kind() == MetricKind::Sum {
            let kind = MetricKind::Gauge;
            access.replace(OwnedMetric { kind, ..access.copy() }).unwrap();
            assert_eq!((access.kind(), access.copy().kind), (kind, kind));
        }
        metric.set(Field::Metric(MetricField::Name), &[], &string("changed")).unwrap();
        metric.set(Field::Metric(MetricField::Metadata), &[key("text")], &string("new")).unwrap();
    });
    let mut types = Vec::new();
    edited("metric", &rope, |metric| {
        assert_eq!(
            format!("{:?}", metric.get(Field::Metric(MetricField::Name), &[]).unwrap().into_owned()),
            format!("{:?}", string("changed"))
        );
        let metadata = metric.get(Field::Metric(MetricField::Metadata), &[key("text")]).unwrap().into_owned();
        assert_eq!(format!("{metadata:?}"), format!("{:?}", string("new")));
        if let Value::Int(v) = metric.get(Field::Metric(MetricField::Type), &[]).unwrap() {
            types.push(v);
        }
    });
    assert_eq!(types, [1, 1, 3, 4, 5]);
    assert_eq!(otelcore_pdata::check(Signal::Metrics, &rope.to_bytes()).map(|found| found.items), Ok(5));
}
