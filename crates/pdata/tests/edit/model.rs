//! The changes of `script.rs`, made to prost's structs.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use otelcore_pdata::{Signal, Value};
use prost::Message;

use super::generate::{self, Choices};
use super::script::{Choice, Level, Script, built_metric, id, key, number, text, value};

/// A message of any signal.
#[derive(Clone, Debug)]
pub enum Body {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
    Logs(ExportLogsServiceRequest),
}

impl Body {
    pub fn generate(signal: Signal, c: &mut Choices<'_>) -> Self {
        match signal {
            Signal::Traces => Self::Traces(generate::traces(c)),
            Signal::Metrics => Self::Metrics(generate::metrics(c)),
            Signal::Logs => Self::Logs(generate::logs(c)),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Traces(m) => m.encode_to_vec(),
            Self::Metrics(m) => m.encode_to_vec(),
            Self::Logs(m) => m.encode_to_vec(),
        }
    }

    pub fn decode(signal: Signal, body: &[u8]) -> Self {
        match signal {
            Signal::Traces => Self::Traces(ExportTraceServiceRequest::decode(body).unwrap()),
            Signal::Metrics => Self::Metrics(ExportMetricsServiceRequest::decode(body).unwrap()),
            Signal::Logs => Self::Logs(ExportLogsServiceRequest::decode(body).unwrap()),
        }
    }

    /// The message as text; an empty resource, scope or status is the same as none.
    pub fn text(&self) -> String {
        let mut body = self.clone();
        fn tidy<T: Default + PartialEq>(message: &mut Option<T>) {
            if *message == Some(T::default()) {
                *message = None;
            }
        }
        match &mut body {
            Self::Traces(m) => {
                for r in &mut m.resource_spans {
                    tidy(&mut r.resource);
                    for s in &mut r.scope_spans {
                        tidy(&mut s.scope);
                        s.spans.iter_mut().for_each(|span| tidy(&mut span.status));
                    }
                }
            }
            Self::Metrics(m) => {
                for r in &mut m.resource_metrics {
                    tidy(&mut r.resource);
                    r.scope_metrics.iter_mut().for_each(|s| tidy(&mut s.scope));
                }
            }
            Self::Logs(m) => {
                for r in &mut m.resource_logs {
                    tidy(&mut r.resource);
                    r.scope_logs.iter_mut().for_each(|s| tidy(&mut s.scope));
                }
            }
        }
        format!("{body:#?}")
    }

    pub fn change(&mut self, script: &mut Script) {
        match self {
            Self::Traces(m) => traces(m, script),
            Self::Metrics(m) => metrics(m, script),
            Self::Logs(m) => logs(m, script),
        }
    }
}

enum Answer {
    Children,
    Skip,
    Drop,
}

fn descend(c: &mut Choice) -> Answer {
    match c.below(10) {
        0 => Answer::Drop,
        1 => Answer::Skip,
        _ => Answer::Children,
    }
}

fn keep(c: &mut Choice) -> bool {
    !c.one_in(4)
}

/// The resource or scope around items, with its schema URL.
struct Around<'a> {
    resource: &'a mut Option<Resource>,
    resource_url: &'a mut String,
    scope: &'a mut Option<InstrumentationScope>,
    scope_url: &'a mut String,
}

impl Around<'_> {
    fn change_resource(&mut self, c: &mut Choice) {
        change_resource(self.resource, self.resource_url, c);
    }

    fn change_scope(&mut self, c: &mut Choice) {
        change_scope(self.scope, self.scope_url, c);
    }

    fn around(&self) -> i64 {
        let (resource, scope) = (self.resource.clone().unwrap_or_default(), self.scope.clone().unwrap_or_default());
        let n = resource.attributes.len() * 1_000_000 + scope.attributes.len() * 1000 + scope.name.len();
        n as i64 * 31 + i64::from(resource.dropped_attributes_count) + i64::from(scope.dropped_attributes_count)
    }
}

/// Keeps what `one` returns true for; false if nothing is left because something was dropped.
fn retain<T>(list: &mut Vec<T>, one: impl FnMut(&mut T) -> bool) -> bool {
    let before = list.len();
    list.retain_mut(one);
    list.len() == before || !list.is_empty()
}

/// The two outer levels, which are alike for all signals.
macro_rules! outer {
    ($entries:expr, $scopes:ident, $items:ident, $script:expr, $visit:expr) => {
        let _ = retain($entries, |entry| {
            let c = &mut $script.next(Level::Resource);
            change_resource(&mut entry.resource, &mut entry.schema_url, c);
            match descend(c) {
                Answer::Drop => return false,
                Answer::Skip => return true,
                Answer::Children => {}
            }
            retain(&mut entry.$scopes, |scope| {
                let c = &mut $script.next(Level::Scope);
                let mut around = Around {
                    resource: &mut entry.resource,
                    resource_url: &mut entry.schema_url,
                    scope: &mut scope.scope,
                    scope_url: &mut scope.schema_url,
                };
                around.change_scope(c);
                if c.one_in(6) {
                    around.change_resource(c);
                }
                match descend(c) {
                    Answer::Drop => false,
                    Answer::Skip => true,
                    Answer::Children => $visit(&mut scope.$items, &mut around, $script),
                }
            })
        });
    };
}

fn traces(m: &mut ExportTraceServiceRequest, script: &mut Script) {
    outer!(
        &mut m.resource_spans,
        scope_spans,
        spans,
        script,
        |spans: &mut Vec<Span>, around: &mut Around<'_>, script: &mut Script| {
            retain(spans, |one| span(one, around, script))
        }
    );
}

fn logs(m: &mut ExportLogsServiceRequest, script: &mut Script) {
    outer!(
        &mut m.resource_logs,
        scope_logs,
        log_records,
        script,
        |records: &mut Vec<LogRecord>, around: &mut Around<'_>, script: &mut Script| {
            retain(records, |one| log(one, around, script))
        }
    );
}

fn metrics(m: &mut ExportMetricsServiceRequest, script: &mut Script) {
    outer!(
        &mut m.resource_metrics,
        scope_metrics,
        metrics,
        script,
        |list: &mut Vec<Metric>, around: &mut Around<'_>, script: &mut Script| {
            let mut gone = false;
            let old = std::mem::take(list);
            for mut one in old {
                let (kept, mut new) = metric(&mut one, around, script);
                gone |= !kept;
                if kept {
                    list.push(one);
                }
                list.append(&mut new);
            }
            !gone || !list.is_empty()
        }
    );
}

pub fn to_value(v: Option<&AnyValue>) -> Value {
    match v.and_then(|v| v.value.as_ref()) {
        None | Some(Any::StringValueStrindex(_)) => Value::Empty,
        Some(Any::StringValue(v)) => Value::String(v.clone().into_bytes()),
        Some(Any::BoolValue(v)) => Value::Bool(*v),
        Some(Any::IntValue(v)) => Value::Int(*v),
        Some(Any::DoubleValue(v)) => Value::Double(*v),
        Some(Any::BytesValue(v)) => Value::Bytes(v.clone()),
        Some(Any::ArrayValue(v)) => Value::Array(v.values.iter().map(|v| to_value(Some(v))).collect()),
        Some(Any::KvlistValue(v)) => {
            Value::Map(v.values.iter().map(|kv| (kv.key.clone().into_bytes(), to_value(kv.value.as_ref()))).collect())
        }
    }
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn from_value(v: &Value) -> AnyValue {
    let value = match v {
        Value::Empty => None,
        Value::String(v) => Some(Any::StringValue(string(v))),
        Value::Bool(v) => Some(Any::BoolValue(*v)),
        Value::Int(v) => Some(Any::IntValue(*v)),
        Value::Double(v) => Some(Any::DoubleValue(*v)),
        Value::Bytes(v) => Some(Any::BytesValue(v.clone())),
        Value::Array(v) => Some(Any::ArrayValue(ArrayValue { values: v.iter().map(from_value).collect() })),
        Value::Map(v) => Some(Any::KvlistValue(KeyValueList {
            values: v.iter().map(|(key, v)| pair(&string(key), from_value(v))).collect(),
        })),
    };
    AnyValue { value }
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 }
}

fn change_attributes(list: &mut Vec<KeyValue>, c: &mut Choice) {
    for _ in 0..c.below(4) {
        let (key, new) = (key(c), value(c));
        let found = list.iter().position(|kv| kv.key == key);
        match c.below(9) {
            0 => {
                if found.is_none() {
                    list.push(pair(key, from_value(&new)));
                }
            }
            1 => {
                if let Some(at) = found {
                    list[at].value = Some(from_value(&new));
                }
            }
            2 => upsert(list, key, from_value(&new)),
            3 => list.retain(|kv| kv.key != key),
            4 => list.retain(|kv| kv.key.len() % 2 == 0),
            5 => list.clear(),
            6 => {
                *list = vec![pair(key, from_value(&new)), pair("second", AnyValue { value: Some(Any::IntValue(2)) })];
            }
            7 => list.retain_mut(|kv| {
                match kv.key.len() % 4 {
                    0 => return false,
                    1 => kv.value = Some(AnyValue { value: Some(Any::BoolValue(true)) }),
                    2 => *kv = pair("renamed", kv.value.take().unwrap_or_default()),
                    _ => {}
                }
                true
            }),
            _ => {
                if let Some(at) = found {
                    let mut value = to_value(list[at].value.as_ref());
                    match &mut value {
                        Value::Array(values) => values.push(new),
                        Value::Map(entries) => entries.insert(0, (b"nested".to_vec(), new)),
                        other => *other = Value::Array(vec![other.clone(), new]),
                    }
                    list[at].value = Some(from_value(&value));
                }
            }
        }
    }
}

fn upsert(list: &mut Vec<KeyValue>, key: &str, value: AnyValue) {
    match list.iter_mut().find(|kv| kv.key == key) {
        Some(kv) => kv.value = Some(value),
        None => list.push(pair(key, value)),
    }
}

fn int(v: i64) -> AnyValue {
    AnyValue { value: Some(Any::IntValue(v)) }
}

/// Changes a message that may be absent; it stays absent if it is not changed.
fn with<T: Default + PartialEq>(message: &mut Option<T>, change: impl FnOnce(&mut T)) {
    let mut one = message.take();
    let was = one.is_some();
    let mut inner = one.take().unwrap_or_default();
    change(&mut inner);
    *message = if was || inner != T::default() { Some(inner) } else { None };
}

fn change_resource(resource: &mut Option<Resource>, url: &mut String, c: &mut Choice) {
    with(resource, |resource| match c.below(4) {
        0 => change_attributes(&mut resource.attributes, c),
        1 => resource.dropped_attributes_count = number(c) as u32,
        2 => *url = text(c),
        _ => {}
    });
}

fn change_scope(scope: &mut Option<InstrumentationScope>, url: &mut String, c: &mut Choice) {
    with(scope, |scope| match c.below(6) {
        0 => change_attributes(&mut scope.attributes, c),
        1 => scope.dropped_attributes_count = number(c) as u32,
        2 => *url = text(c),
        3 => scope.name = text(c),
        4 => scope.version = text(c),
        _ => {}
    });
}

fn bytes<const N: usize>(id: Option<[u8; N]>) -> Vec<u8> {
    id.map_or(Vec::new(), |id| id.to_vec())
}

fn change_span(span: &mut Span, c: &mut Choice) {
    match c.below(16) {
        0 => span.trace_id = bytes(id::<16>(c)),
        1 => span.span_id = bytes(id::<8>(c)),
        2 => span.trace_state = text(c),
        3 => span.parent_span_id = bytes(id::<8>(c)),
        4 => span.name = text(c),
        5 => span.kind = (number(c) as u32).cast_signed(),
        6 => span.start_time_unix_nano = number(c),
        7 => span.end_time_unix_nano = number(c),
        8 => span.dropped_attributes_count = number(c) as u32,
        9 => span.dropped_events_count = number(c) as u32,
        10 => span.dropped_links_count = number(c) as u32,
        11 => span.flags = number(c) as u32,
        12 => with(&mut span.status, |status: &mut Status| status.code = (number(c) as u32).cast_signed()),
        13 => with(&mut span.status, |status: &mut Status| status.message = text(c)),
        _ => change_attributes(&mut span.attributes, c),
    }
}

fn span(span: &mut Span, around: &mut Around<'_>, script: &mut Script) -> bool {
    let c = &mut script.next(Level::Span);
    for _ in 0..c.below(4) {
        change_span(span, c);
    }
    if c.one_in(6) {
        upsert(&mut span.attributes, "around", int(around.around()));
    }
    if c.one_in(8) {
        around.change_resource(c);
    }
    if c.one_in(8) {
        around.change_scope(c);
    }
    if c.one_in(10) {
        span.events.clear();
    }
    if c.one_in(10) {
        span.links.clear();
    }
    if c.one_in(10) {
        span.events.push(Event { name: "new".to_owned(), ..Event::default() });
    }
    if c.one_in(10) {
        span.links.push(Link { trace_state: "new".to_owned(), ..Link::default() });
    }
    match descend(c) {
        Answer::Drop => return false,
        Answer::Skip => return true,
        Answer::Children => {}
    }
    let mut events = std::mem::take(&mut span.events);
    events.retain_mut(|one| event(one, span, script));
    span.events = events;
    span.links.retain_mut(|one| link(one, script));
    true
}

fn event(event: &mut Event, span: &mut Span, script: &mut Script) -> bool {
    let c = &mut script.next(Level::Event);
    match c.below(5) {
        0 => event.name = text(c),
        1 => event.time_unix_nano = number(c),
        2 => event.dropped_attributes_count = number(c) as u32,
        3 => change_attributes(&mut event.attributes, c),
        _ => {}
    }
    if c.one_in(6) {
        upsert(&mut event.attributes, "span", int(span.name.len() as i64 + i64::from(span.kind)));
    }
    if c.one_in(8) {
        change_span(span, c);
    }
    keep(c)
}

fn link(link: &mut Link, script: &mut Script) -> bool {
    let c = &mut script.next(Level::Link);
    match c.below(7) {
        0 => link.trace_id = bytes(id::<16>(c)),
        1 => link.span_id = bytes(id::<8>(c)),
        2 => link.trace_state = text(c),
        3 => link.dropped_attributes_count = number(c) as u32,
        4 => link.flags = number(c) as u32,
        5 => change_attributes(&mut link.attributes, c),
        _ => {}
    }
    keep(c)
}

fn log(log: &mut LogRecord, around: &mut Around<'_>, script: &mut Script) -> bool {
    let c = &mut script.next(Level::Log);
    for _ in 0..c.below(3) {
        match c.below(14) {
            0 => log.time_unix_nano = number(c),
            1 => log.observed_time_unix_nano = number(c),
            2 => log.severity_number = (number(c) as u32).cast_signed(),
            3 => log.severity_text = text(c),
            4 => log.dropped_attributes_count = number(c) as u32,
            5 => log.flags = number(c) as u32,
            6 => log.trace_id = bytes(id::<16>(c)),
            7 => log.span_id = bytes(id::<8>(c)),
            8 => log.event_name = text(c),
            9 => log.body = Some(from_value(&value(c))),
            10 => log.body = None,
            11 => {
                let new = value(c);
                log.body = Some(from_value(&Value::Array(vec![to_value(log.body.as_ref()), new])));
            }
            _ => change_attributes(&mut log.attributes, c),
        }
    }
    if c.one_in(6) {
        upsert(&mut log.attributes, "around", int(around.around()));
    }
    if c.one_in(8) {
        around.change_scope(c);
    }
    keep(c)
}

fn change_metric(metric: &mut Metric, c: &mut Choice) {
    match c.below(7) {
        0 => metric.name = text(c),
        1 => metric.description = text(c),
        2 => metric.unit = text(c),
        3 => {
            let temporality = c.below(3) as i32;
            match &mut metric.data {
                Some(Data::Sum(d)) => d.aggregation_temporality = temporality,
                Some(Data::Histogram(d)) => d.aggregation_temporality = temporality,
                Some(Data::ExponentialHistogram(d)) => d.aggregation_temporality = temporality,
                _ => {}
            }
        }
        4 => {
            let is_monotonic = c.one_in(2);
            if let Some(Data::Sum(d)) = &mut metric.data {
                d.is_monotonic = is_monotonic;
            }
        }
        5 => change_attributes(&mut metric.metadata, c),
        _ => {}
    }
}

/// Whether the metric stays, and what follows it.
fn metric(metric: &mut Metric, around: &mut Around<'_>, script: &mut Script) -> (bool, Vec<Metric>) {
    let built = Metric::decode(built_metric().as_slice()).unwrap();
    let c = &mut script.next(Level::Metric);
    for _ in 0..c.below(3) {
        change_metric(metric, c);
    }
    if c.one_in(8) {
        around.change_scope(c);
    }
    let appended = if c.one_in(8) { vec![built.clone()] } else { Vec::new() };
    if c.one_in(10) {
        let mut new = vec![built; c.below(3) as usize];
        new.extend(appended);
        return (false, new);
    }
    match descend(c) {
        Answer::Drop => return (false, appended),
        Answer::Skip => return (true, appended),
        Answer::Children => {}
    }
    let mut data = metric.data.take();
    macro_rules! points {
        ($variant:ident, $points:expr) => {{
            let mut points = std::mem::take($points);
            let kept = retain(&mut points, |one| {
                // The points see the metric, and can change its data.
                metric.data = data.clone();
                let kept = point(one, metric, around, script);
                data = metric.data.take();
                kept
            });
            if let Some(Data::$variant(d)) = &mut data {
                d.data_points = points;
            }
            kept
        }};
    }
    let kept = match &mut data {
        None => true,
        Some(Data::Gauge(d)) => {
            let list = &mut std::mem::take(&mut d.data_points);
            points!(Gauge, list)
        }
        Some(Data::Sum(d)) => {
            let list = &mut std::mem::take(&mut d.data_points);
            points!(Sum, list)
        }
        Some(Data::Histogram(d)) => {
            let list = &mut std::mem::take(&mut d.data_points);
            points!(Histogram, list)
        }
        Some(Data::ExponentialHistogram(d)) => {
            let list = &mut std::mem::take(&mut d.data_points);
            points!(ExponentialHistogram, list)
        }
        Some(Data::Summary(d)) => {
            let list = &mut std::mem::take(&mut d.data_points);
            points!(Summary, list)
        }
    };
    metric.data = data;
    (kept, appended)
}

fn point<P: Point>(point: &mut P, metric: &mut Metric, around: &mut Around<'_>, script: &mut Script) -> bool {
    let c = &mut script.next(Level::Point);
    let (a, b) = (number(c), number(c) as u32);
    let double = c.below(100) as f64 / 8.0;
    let optional = if c.one_in(3) { None } else { Some(double) };
    match c.below(20) {
        19 => change_attributes(point.attributes(), c),
        which @ (10 | 11 | 15 | 16 | 17) => point.set_list(which, a, b, double, c.below(4) as usize),
        which => point.set(which, a, b, double, optional),
    }
    if c.one_in(6) {
        upsert(point.attributes(), "metric", int(metric.name.len() as i64));
    }
    if c.one_in(8) {
        change_metric(metric, c);
    }
    if c.one_in(8) {
        around.change_resource(c);
    }
    keep(c)
}

trait Point {
    fn attributes(&mut self) -> &mut Vec<KeyValue>;
    fn set(&mut self, which: u64, a: u64, b: u32, double: f64, optional: Option<f64>);
    fn set_list(&mut self, which: u64, a: u64, b: u32, double: f64, n: usize) {
        let _ = (which, a, b, double, n);
    }
}

impl Point for NumberDataPoint {
    fn attributes(&mut self) -> &mut Vec<KeyValue> {
        &mut self.attributes
    }

    fn set(&mut self, which: u64, a: u64, b: u32, double: f64, _: Option<f64>) {
        match which {
            0 => self.start_time_unix_nano = a,
            1 => self.time_unix_nano = a,
            2 => self.flags = b,
            3 => self.value = Some(Number::AsDouble(double)),
            4 => self.value = Some(Number::AsInt(a.cast_signed())),
            5 => self.value = None,
            18 => self.exemplars.clear(),
            _ => {}
        }
    }
}

impl Point for HistogramDataPoint {
    fn attributes(&mut self) -> &mut Vec<KeyValue> {
        &mut self.attributes
    }

    fn set(&mut self, which: u64, a: u64, b: u32, _: f64, optional: Option<f64>) {
        match which {
            0 => self.start_time_unix_nano = a,
            1 => self.time_unix_nano = a,
            2 => self.flags = b,
            6 => self.count = a,
            7 => self.sum = optional,
            8 => self.min = optional,
            9 => self.max = optional,
            18 => self.exemplars.clear(),
            _ => {}
        }
    }

    fn set_list(&mut self, which: u64, a: u64, _: u32, double: f64, n: usize) {
        match which {
            10 => self.bucket_counts = vec![a; n],
            11 => self.explicit_bounds = vec![double; n],
            _ => {}
        }
    }
}

impl Point for ExponentialHistogramDataPoint {
    fn attributes(&mut self) -> &mut Vec<KeyValue> {
        &mut self.attributes
    }

    fn set(&mut self, which: u64, a: u64, b: u32, double: f64, optional: Option<f64>) {
        match which {
            0 => self.start_time_unix_nano = a,
            1 => self.time_unix_nano = a,
            2 => self.flags = b,
            6 => self.count = a,
            7 => self.sum = optional,
            8 => self.min = optional,
            9 => self.max = optional,
            12 => self.scale = b.cast_signed(),
            13 => self.zero_count = a,
            14 => self.zero_threshold = double,
            18 => self.exemplars.clear(),
            _ => {}
        }
    }

    fn set_list(&mut self, which: u64, a: u64, b: u32, _: f64, n: usize) {
        let buckets = Some(Buckets { offset: b.cast_signed(), bucket_counts: vec![a; n] });
        match which {
            15 => self.positive = buckets,
            16 => self.negative = buckets,
            _ => {}
        }
    }
}

impl Point for SummaryDataPoint {
    fn attributes(&mut self) -> &mut Vec<KeyValue> {
        &mut self.attributes
    }

    fn set(&mut self, which: u64, a: u64, b: u32, _: f64, optional: Option<f64>) {
        match which {
            0 => self.start_time_unix_nano = a,
            1 => self.time_unix_nano = a,
            2 => self.flags = b,
            6 => self.count = a,
            7 => self.sum = optional.unwrap_or(0.0),
            _ => {}
        }
    }

    fn set_list(&mut self, which: u64, _: u64, _: u32, double: f64, n: usize) {
        if which == 17 {
            self.quantile_values = vec![ValueAtQuantile { quantile: double, value: 1.0 }; n];
        }
    }
}
