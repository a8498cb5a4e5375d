//! Changes chosen from a seed, made through the editor. `model.rs` makes the same changes to prost's structs.

use otelcore_pdata::edit::{
    AttributesMut, Descend, Editor, EventMut, Keep, LinkMut, LogMut, MetricKind, MetricMut, Point, PointMut,
    ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pdata::views::{AnyValue, NumberValue, Resource, Scope};
use otelcore_pdata::{Value, wire_format};

/// The levels at which changes are chosen, each from its own sequence, so that they do not depend on the order in which
/// events and links of a span are visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Resource,
    Scope,
    Span,
    Event,
    Link,
    Metric,
    Point,
    Log,
}

pub struct Script {
    seed: u64,
    calls: [u64; 8],
}

/// A choice: a number that is random, and the same for the editor and the model.
#[derive(Clone, Copy)]
pub struct Choice(u64);

impl Choice {
    /// The next number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.0 = z ^ (z >> 27) ^ 0x9e37_79b9;
        (self.0 >> 11) % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self { seed, calls: [0; 8] }
    }

    pub fn calls(&self) -> [u64; 8] {
        self.calls
    }

    pub fn next(&mut self, level: Level) -> Choice {
        let calls = &mut self.calls[level as usize];
        *calls += 1;
        let mut choice = Choice(
            self.seed.wrapping_add((level as u64) << 56).wrapping_add(calls.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        );
        choice.below(1);
        choice
    }
}

pub const KEYS: [&str; 5] = ["", "a", "http.route", "größe", "new.key"];

/// A value: a different one for each number.
pub fn value(c: &mut Choice) -> Value {
    match c.below(8) {
        0 => Value::Empty,
        1 => Value::String(vec![b'v'; c.below(200) as usize]),
        2 => Value::Bool(c.one_in(2)),
        3 => Value::Int((c.below(u64::MAX)).cast_signed()),
        4 => Value::Double(c.below(100) as f64 / 8.0),
        5 => Value::Bytes(vec![0xff; c.below(9) as usize]),
        6 => Value::Array((0..c.below(4)).map(|_| value(c)).collect()),
        _ => Value::Map((0..c.below(4)).map(|_| (key(c).as_bytes().to_vec(), value(c))).collect()),
    }
}

pub fn key(c: &mut Choice) -> &'static str {
    KEYS[c.below(KEYS.len() as u64) as usize]
}

/// The view of a value, through its encoding.
fn with_view(value: &Value, use_it: impl FnOnce(AnyValue<'_>)) {
    let mut raw = Vec::new();
    value.encode(&mut raw);
    use_it(otelcore_pdata::views::View::parse(&raw));
}

pub fn change_attributes(mut attributes: AttributesMut<'_>, c: &mut Choice) {
    for _ in 0..c.below(4) {
        let (key, new) = (key(c).as_bytes(), value(c));
        match c.below(9) {
            0 => with_view(&new, |v| {
                let found = attributes.contains(key);
                assert_eq!(attributes.insert(key, v), !found);
            }),
            1 => with_view(&new, |v| {
                let found = attributes.contains(key);
                assert_eq!(attributes.update(key, v), found);
            }),
            2 => with_view(&new, |v| attributes.upsert(key, v)),
            3 => {
                let found = attributes.contains(key);
                assert_eq!(attributes.remove(key), found);
            }
            4 => attributes.retain(|kv| kv.key.len() % 2 == 0),
            5 => attributes.clear(),
            6 => with_view(&new, |v| attributes.replace_all([(key, v), (b"second", AnyValue::Int(2))])),
            7 => attributes.for_each(|attribute| match attribute.view().key.len() % 4 {
                0 => attribute.remove(),
                1 => attribute.set_value(AnyValue::Bool(true)),
                2 => attribute.set(b"renamed", attribute.view().value),
                _ => {}
            }),
            _ => {
                attributes.update_nested(key, |value| match value {
                    Value::Array(values) => values.push(new.clone()),
                    Value::Map(entries) => entries.insert(0, (b"nested".to_vec(), new.clone())),
                    other => *other = Value::Array(vec![other.clone(), new.clone()]),
                });
            }
        }
        if let Some(read) = attributes.get(key) {
            let first = attributes.iter().find(|kv| kv.key == key).unwrap();
            assert_eq!(format!("{read:?}"), format!("{:?}", first.value));
        }
    }
}

/// What an item sees of the messages around it, as a number.
pub fn around(resource: &Resource<'_>, scope: &Scope<'_>) -> i64 {
    let n = resource.attributes().count() * 1_000_000 + scope.attributes().count() * 1000 + scope.name.len();
    n as i64 * 31 + i64::from(resource.dropped_attributes_count) + i64::from(scope.dropped_attributes_count)
}

pub fn text(c: &mut Choice) -> String {
    "t".repeat(c.below(140) as usize)
}

pub fn number(c: &mut Choice) -> u64 {
    if c.one_in(3) { 0 } else { c.below(u64::MAX) >> c.below(63) }
}

pub fn id<const N: usize>(c: &mut Choice) -> Option<[u8; N]> {
    if c.one_in(4) { None } else { Some([c.below(256) as u8; N]) }
}

/// A resource changed by itself or from below.
fn change_resource(resource: &mut ResourceMut<'_>, c: &mut Choice) {
    match c.below(4) {
        0 => change_attributes(resource.attributes(), c),
        1 => resource.set_dropped_attributes_count(number(c) as u32),
        2 => resource.set_schema_url(text(c).as_bytes()),
        _ => {}
    }
}

fn change_scope(scope: &mut ScopeMut<'_>, c: &mut Choice) {
    match c.below(6) {
        0 => change_attributes(scope.attributes(), c),
        1 => scope.set_dropped_attributes_count(number(c) as u32),
        2 => scope.set_schema_url(text(c).as_bytes()),
        3 => scope.set_name(text(c).as_bytes()),
        4 => scope.set_version(text(c).as_bytes()),
        _ => {}
    }
}

fn descend(c: &mut Choice) -> Descend {
    match c.below(10) {
        0 => Descend::Drop,
        1 => Descend::Skip,
        _ => Descend::Children,
    }
}

fn keep(c: &mut Choice) -> Keep {
    if c.one_in(4) { Keep::Drop } else { Keep::Keep }
}

/// A field of a span; also used from its events.
fn change_span(span: &mut SpanMut<'_>, c: &mut Choice) {
    match c.below(16) {
        0 => span.set_trace_id(id(c).as_ref()),
        1 => span.set_span_id(id(c).as_ref()),
        2 => span.set_trace_state(text(c).as_bytes()),
        3 => span.set_parent_span_id(id(c).as_ref()),
        4 => span.set_name(text(c).as_bytes()),
        5 => span.set_kind((number(c) as u32).cast_signed()),
        6 => span.set_start_time_unix_nano(number(c)),
        7 => span.set_end_time_unix_nano(number(c)),
        8 => span.set_dropped_attributes_count(number(c) as u32),
        9 => span.set_dropped_events_count(number(c) as u32),
        10 => span.set_dropped_links_count(number(c) as u32),
        11 => span.set_flags(number(c) as u32),
        12 => span.set_status_code((number(c) as u32).cast_signed()),
        13 => span.set_status_message(text(c).as_bytes()),
        _ => change_attributes(span.attributes(), c),
    }
}

fn change_metric(metric: &mut MetricMut<'_>, c: &mut Choice) {
    match c.below(7) {
        0 => metric.set_name(text(c).as_bytes()),
        1 => metric.set_description(text(c).as_bytes()),
        2 => metric.set_unit(text(c).as_bytes()),
        3 => metric.set_temporality(c.below(3) as i32),
        4 => metric.set_is_monotonic(c.one_in(2)),
        5 => change_attributes(metric.metadata(), c),
        _ => {}
    }
}

/// A metric with two points, as bytes.
pub fn built_metric() -> Vec<u8> {
    let mut gauge = Vec::new();
    wire_format::put_bytes_field(&mut gauge, 1, b"");
    wire_format::put_bytes_field(&mut gauge, 1, b"");
    let mut metric = Vec::new();
    wire_format::put_bytes_field(&mut metric, 1, b"built");
    wire_format::put_bytes_field(&mut metric, 5, &gauge);
    metric
}

impl Editor for Script {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        let c = &mut self.next(Level::Resource);
        change_resource(resource, c);
        descend(c)
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        let c = &mut self.next(Level::Scope);
        change_scope(scope, c);
        if c.one_in(6) {
            change_resource(&mut scope.resource_mut(), c);
        }
        descend(c)
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let c = &mut self.next(Level::Span);
        for _ in 0..c.below(4) {
            change_span(span, c);
        }
        if c.one_in(6) {
            let around = around(&span.resource(), &span.scope());
            span.attributes().upsert(b"around", AnyValue::Int(around));
        }
        if c.one_in(8) {
            change_resource(&mut span.resource_mut(), c);
        }
        if c.one_in(8) {
            change_scope(&mut span.scope_mut(), c);
        }
        if c.one_in(10) {
            span.clear_events();
        }
        if c.one_in(10) {
            span.clear_links();
        }
        if c.one_in(10) {
            span.push_event(b"\x12\x03new");
        }
        if c.one_in(10) {
            span.push_link(b"\x1a\x03new");
        }
        descend(c)
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        let c = &mut self.next(Level::Event);
        match c.below(5) {
            0 => event.set_name(text(c).as_bytes()),
            1 => event.set_time_unix_nano(number(c)),
            2 => event.set_dropped_attributes_count(number(c) as u32),
            3 => change_attributes(event.attributes(), c),
            _ => {}
        }
        if c.one_in(6) {
            let (name, kind) = (event.span().name.len(), event.span().kind);
            event.attributes().upsert(b"span", AnyValue::Int(name as i64 + i64::from(kind)));
        }
        if c.one_in(8) {
            change_span(&mut event.span_mut(), c);
        }
        keep(c)
    }

    fn link(&mut self, link: &mut LinkMut<'_>) -> Keep {
        let c = &mut self.next(Level::Link);
        match c.below(7) {
            0 => link.set_trace_id(id(c).as_ref()),
            1 => link.set_span_id(id(c).as_ref()),
            2 => link.set_trace_state(text(c).as_bytes()),
            3 => link.set_dropped_attributes_count(number(c) as u32),
            4 => link.set_flags(number(c) as u32),
            5 => change_attributes(link.attributes(), c),
            _ => {}
        }
        keep(c)
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        let c = &mut self.next(Level::Metric);
        for _ in 0..c.below(3) {
            change_metric(metric, c);
        }
        if c.one_in(8) {
            change_scope(&mut metric.scope_mut(), c);
        }
        if c.one_in(8) {
            metric.append(&built_metric());
        }
        if c.one_in(10) {
            let built = built_metric();
            metric.replace(vec![built.as_slice(); c.below(3) as usize]);
            // What a replacement answers does not matter, unless it is a drop.
            return if c.one_in(2) { Descend::Skip } else { Descend::Children };
        }
        descend(c)
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        let c = &mut self.next(Level::Point);
        change_point(point, c);
        if c.one_in(6) {
            let name = point.metric().name.len();
            point.attributes().upsert(b"metric", AnyValue::Int(name as i64));
        }
        if c.one_in(8) {
            change_metric(&mut point.metric_mut(), c);
        }
        if c.one_in(8) {
            change_resource(&mut point.resource_mut(), c);
        }
        keep(c)
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        let c = &mut self.next(Level::Log);
        for _ in 0..c.below(3) {
            match c.below(14) {
                0 => log.set_time_unix_nano(number(c)),
                1 => log.set_observed_time_unix_nano(number(c)),
                2 => log.set_severity_number((number(c) as u32).cast_signed()),
                3 => log.set_severity_text(text(c).as_bytes()),
                4 => log.set_dropped_attributes_count(number(c) as u32),
                5 => log.set_flags(number(c) as u32),
                6 => log.set_trace_id(id(c).as_ref()),
                7 => log.set_span_id(id(c).as_ref()),
                8 => log.set_event_name(text(c).as_bytes()),
                9 => with_view(&value(c), |v| log.set_body(v)),
                10 => log.clear_body(),
                11 => {
                    let new = value(c);
                    log.update_body(|body| *body = Value::Array(vec![body.clone(), new]));
                }
                _ => change_attributes(log.attributes(), c),
            }
        }
        if c.one_in(6) {
            let around = around(&log.resource(), &log.scope());
            log.attributes().upsert(b"around", AnyValue::Int(around));
        }
        if c.one_in(8) {
            change_scope(&mut log.scope_mut(), c);
        }
        keep(c)
    }
}

fn change_point(point: &mut PointMut<'_>, c: &mut Choice) {
    let (a, b) = (number(c), number(c) as u32);
    let double = c.below(100) as f64 / 8.0;
    let optional = if c.one_in(3) { None } else { Some(double) };
    match c.below(20) {
        0 => point.set_start_time_unix_nano(a),
        1 => point.set_time_unix_nano(a),
        2 => point.set_flags(b),
        3 => point.set_value(NumberValue::Double(double)),
        4 => point.set_value(NumberValue::Int(a.cast_signed())),
        5 => point.set_value(NumberValue::Empty),
        6 => point.set_count(a),
        7 => point.set_sum(optional),
        8 => point.set_min(optional),
        9 => point.set_max(optional),
        10 => point.set_bucket_counts(&vec![a; c.below(4) as usize]),
        11 => point.set_explicit_bounds(&vec![double; c.below(4) as usize]),
        12 => point.set_scale(b.cast_signed()),
        13 => point.set_zero_count(a),
        14 => point.set_zero_threshold(double),
        15 => point.set_positive(b.cast_signed(), &vec![a; c.below(4) as usize]),
        16 => point.set_negative(b.cast_signed(), &vec![a; c.below(4) as usize]),
        17 => point.set_quantile_values(&vec![(double, 1.0); c.below(4) as usize]),
        18 => point.clear_exemplars(),
        _ => change_attributes(point.attributes(), c),
    }
    let is_as_seen = match point.view() {
        Point::Number(_) => matches!(point.kind(), MetricKind::Gauge | MetricKind::Sum),
        Point::Histogram(_) => point.kind() == MetricKind::Histogram,
        Point::ExponentialHistogram(_) => point.kind() == MetricKind::ExponentialHistogram,
        Point::Summary(_) => point.kind() == MetricKind::Summary,
    };
    assert!(is_as_seen);
}
