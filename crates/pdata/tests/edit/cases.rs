//! Single cases: odd forms of messages, lengths that change their width, limits.

use otelcore_pdata::edit::{
    AttributesMut, Descend, EditError, EditPass, Editor, Keep, LogMut, MAX_WORK, MAX_WORK_PER_BYTE, MetricMut,
    OutputLimit, ResourceMut, SpanMut, edit,
};
use otelcore_pdata::views::{AnyValue, LogRecord, ResourceLogs, ResourceSpans, resource_entries};
use otelcore_pdata::wire_format::{put_bytes_field, put_varint_field};
use otelcore_pdata::{Rope, Signal, StepBudget, check};

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_field(&mut out, number, content);
    out
}

fn attribute(number: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    field(number, &[field(1, key), field(2, &field(1, value))].concat())
}

/// A body of one entry with these fields.
fn body(signal: Signal, entry: &[&[u8]]) -> Rope {
    let body = field(1, &entry.concat());
    let items = check(signal, &body).unwrap().items;
    Rope::new(body.into(), items)
}

/// Calls a closure for each span.
struct Spans<F>(F);

impl<F: FnMut(&mut SpanMut<'_>) -> Descend> Editor for Spans<F> {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        (self.0)(span)
    }
}

/// Calls a closure for each log record.
struct Logs<F>(F);

impl<F: FnMut(&mut LogMut<'_>) -> Keep> Editor for Logs<F> {
    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        (self.0)(log)
    }
}

fn with_attributes(attributes: &[u8], change: impl FnOnce(AttributesMut<'_>)) -> Vec<u8> {
    let mut rope = body(Signal::Logs, &[&field(2, &field(2, attributes))]);
    let mut change = Some(change);
    edit(
        Signal::Logs,
        &mut rope,
        &mut Logs(|log: &mut LogMut<'_>| {
            if let Some(change) = change.take() {
                change(log.attributes());
            }
            Keep::Keep
        }),
    )
    .unwrap();
    let entry = resource_entries::<ResourceLogs<'_>>(&rope).next().unwrap();
    let record: LogRecord<'_> = entry.scope_logs().next().unwrap().log_records().next().unwrap();
    record.raw.to_vec()
}

#[test]
fn resource_after_its_scopes_is_seen_by_spans_and_changed_from_them() {
    let scopes = field(2, &[field(2, b""), field(2, b"")].concat());
    let resource = field(1, &attribute(1, b"service.name", b"shop"));
    for entry in [[scopes.as_slice(), &resource], [&resource, &scopes]] {
        let mut rope = body(Signal::Traces, &entry);
        let mut seen = 0;
        edit(
            Signal::Traces,
            &mut rope,
            &mut Spans(|span: &mut SpanMut<'_>| {
                let name = if seen == 0 { &b"shop"[..] } else { b"a longer name" };
                assert!(
                    matches!(span.resource_mut().attribute(b"service.name"), Some(AnyValue::String(v)) if v == name)
                );
                span.resource_mut().attributes().upsert(b"service.name", AnyValue::String(b"a longer name"));
                seen += 1;
                Descend::Skip
            }),
        )
        .unwrap();
        assert_eq!((seen, check(Signal::Traces, &rope.to_bytes()).unwrap().items), (2, 2));
        let changed = field(1, &attribute(1, b"service.name", b"a longer name"));
        let expected = entry.map(|part| if part == resource { changed.as_slice() } else { part });
        assert_eq!(rope.to_bytes(), body(Signal::Traces, &expected).to_bytes());
    }
}

#[test]
fn resource_in_pieces_is_joined_when_it_changes() {
    struct Insert;
    impl Editor for Insert {
        fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
            assert_eq!(resource.view().attributes().count(), 2);
            assert_eq!(resource.view().dropped_attributes_count, 3);
            resource.attributes().insert(b"c", AnyValue::Bool(true));
            Descend::Skip
        }
    }
    let mut dropped = Vec::new();
    put_varint_field(&mut dropped, 2, 3);
    let pieces = [
        field(1, &attribute(1, b"a", b"1")),
        field(2, &field(2, b"")),
        field(1, &[attribute(1, b"b", b"2"), dropped].concat()),
    ];
    let mut rope = body(Signal::Logs, &[&pieces[0], &pieces[1], &pieces[2]]);
    edit(Signal::Logs, &mut rope, &mut Insert).unwrap();
    let entry = resource_entries::<ResourceLogs<'_>>(&rope).next().unwrap();
    let keys = entry.resource.attributes().map(|kv| kv.key).collect::<Vec<_>>();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    assert_eq!(entry.resource.dropped_attributes_count, 3);
    assert_eq!(entry.scope_logs().count(), 1);
}

#[test]
fn lengths_at_every_width_are_right_when_content_grows_and_shrinks() {
    for len in [100, 120, 127, 128, 16_300, 16_383, 16_384, 262_000, 262_144, 2_097_151, 2_200_000] {
        for (more, less) in [(1, 0), (40, 0), (0, 1), (0, 40)] {
            let mut rope = body(Signal::Traces, &[&field(2, &field(2, &field(5, &vec![b'n'; len])))]);
            let name = vec![b'm'; len + more - less];
            let mut rename = Spans(|span: &mut SpanMut<'_>| {
                span.set_name(&name);
                Descend::Skip
            });
            edit(Signal::Traces, &mut rope, &mut rename).unwrap();
            let out = rope.to_bytes();
            assert_eq!(check(Signal::Traces, &out).unwrap().items, 1);
            let entry = resource_entries::<ResourceSpans<'_>>(&rope).next().unwrap();
            assert_eq!(entry.scope_spans().next().unwrap().spans().next().unwrap().name, name);
            if len < 200_000 {
                assert_eq!(out, body(Signal::Traces, &[&field(2, &field(2, &field(5, &name)))]).to_bytes());
            }
        }
    }
}

#[test]
fn scope_and_resource_left_empty_are_dropped_and_others_stay() {
    let one = field(1, &field(2, &field(2, &field(5, b"drop"))));
    let two = field(1, &[field(2, &field(2, &field(5, b"drop"))), field(2, &field(2, &field(5, b"keep")))].concat());
    let mut rope = Rope::default();
    for part in [&one, &two, &one] {
        rope.append(Rope::new(part.clone().into(), check(Signal::Traces, part).unwrap().items));
    }
    let mut filter =
        Spans(|span: &mut SpanMut<'_>| if span.view().name == b"drop" { Descend::Drop } else { Descend::Skip });
    let what = edit(Signal::Traces, &mut rope, &mut filter).unwrap();
    assert_eq!((what.dropped, what.changed_parts, what.shared_parts), (3, 3, 0));
    assert_eq!((rope.parts().len(), rope.items()), (1, 1));
    assert_eq!(rope.to_bytes(), field(1, &field(2, &field(2, &field(5, b"keep")))));
}

#[test]
fn scope_that_was_empty_before_stays() {
    let mut rope = body(Signal::Traces, &[&field(2, b""), &field(2, &field(2, b""))]);
    edit(Signal::Traces, &mut rope, &mut Spans(|_: &mut SpanMut<'_>| Descend::Drop)).unwrap();
    assert_eq!(rope.to_bytes(), field(1, &field(2, b"")));
}

#[test]
fn output_above_the_limit_is_an_error_and_leaves_the_rope() {
    let record = field(2, &field(2, b""));
    let mut rope = body(Signal::Logs, &[&record, &record]);
    let before = rope.to_bytes();
    let long = vec![b'x'; 600_000];
    let mut fill = Logs(|log: &mut LogMut<'_>| {
        log.set_body(AnyValue::String(&long));
        Keep::Keep
    });
    let limit = (1 << 20) + 4 * before.len();
    assert_eq!(edit(Signal::Logs, &mut rope, &mut fill), Err(EditError::OutputTooLarge { limit }));
    assert_eq!(rope.to_bytes().as_ptr(), before.as_ptr());
    // A single item that is too long is never made.
    let mut grow = Logs(|log: &mut LogMut<'_>| {
        for _ in 0..100 {
            log.attributes().push(b"key", AnyValue::String(&long));
            assert!(log.view().raw.len() <= limit);
        }
        Keep::Keep
    });
    assert_eq!(edit(Signal::Logs, &mut rope, &mut grow), Err(EditError::OutputTooLarge { limit }));
    let mut pass = EditPass::new(Signal::Logs, rope, OutputLimit { factor: 4, extra: 2_000_000 });
    assert_eq!(pass.step(&mut fill, &mut StepBudget::unlimited()), Ok(true));
    assert_eq!(pass.finish().0.items(), 2);
}

#[test]
fn editor_that_reads_without_bound_ends_with_an_error_and_leaves_the_rope() {
    // Each of many spans reads their common resource, which is as long as all of them.
    let attribute = [field(1, b"key"), field(2, &field(1, &vec![b'x'; 1_000_000]))].concat();
    let entry = [field(1, &field(1, &attribute)), field(2, &field(2, b"").repeat(20_000))].concat();
    let mut rope = body(Signal::Traces, &[&entry]);
    let before = rope.to_bytes();
    let mut read = Spans(|span: &mut SpanMut<'_>| {
        assert!(span.resource_attribute(b"key").is_some());
        Descend::Skip
    });
    let limit = MAX_WORK + MAX_WORK_PER_BYTE * before.len() as u64;
    assert_eq!(edit(Signal::Traces, &mut rope, &mut read), Err(EditError::TooMuchWork { limit }));
    assert_eq!(rope.to_bytes().as_ptr(), before.as_ptr());
}

#[test]
fn key_in_an_odd_form_is_found_and_its_other_fields_stay() {
    // The last key counts; the value comes first; a field that is unknown is kept.
    let odd = field(6, &[field(2, &field(1, b"old")), field(1, b"x"), field(9, b"unknown"), field(1, b"key")].concat());
    let found = with_attributes(&odd, |mut attributes| {
        assert!(!attributes.contains(b"x"));
        assert!(attributes.update(b"key", AnyValue::Int(1)));
        assert!(matches!(attributes.get(b"key"), Some(AnyValue::Int(1))));
    });
    let expected = field(6, &[field(1, b"x"), field(9, b"unknown"), field(1, b"key"), field(2, b"\x18\x01")].concat());
    assert_eq!(found, expected);
}

#[test]
fn key_that_occurs_twice_is_read_and_written_at_its_first_place_and_removed_at_both() {
    let twice = [attribute(6, b"k", b"1"), attribute(6, b"other", b"2"), attribute(6, b"k", b"3")].concat();
    let found = with_attributes(&twice, |mut attributes| {
        assert!(!attributes.insert(b"k", AnyValue::Empty));
        attributes.upsert(b"k", AnyValue::String(b"new"));
        assert!(matches!(attributes.get(b"k"), Some(AnyValue::String(b"new"))));
    });
    assert_eq!(found, [attribute(6, b"k", b"new"), attribute(6, b"other", b"2"), attribute(6, b"k", b"3")].concat());
    let found = with_attributes(&twice, |mut attributes| assert!(attributes.remove(b"k")));
    assert_eq!(found, attribute(6, b"other", b"2"));
}

#[test]
fn value_nested_too_deep_is_not_written() {
    let old = attribute(6, b"k", b"1");
    let found = with_attributes(&old, |mut attributes| {
        let written = attributes.update_nested(b"k", |value| {
            for _ in 0..200 {
                *value = otelcore_pdata::Value::Array(vec![std::mem::take(value)]);
            }
        });
        assert!(!written);
    });
    assert_eq!(found, old);
}

#[test]
fn million_spans_are_done_in_steps_of_the_budget() {
    let spans = field(2, b"").repeat(1_000_000);
    let rope = body(Signal::Traces, &[&field(2, &spans)]);
    let mut pass = EditPass::new(Signal::Traces, rope, OutputLimit { factor: 20, extra: 0 });
    let mut editor = Spans(|span: &mut SpanMut<'_>| {
        span.set_kind(1);
        Descend::Children
    });
    let mut steps = 0;
    loop {
        let mut work = StepBudget::for_one_step();
        let done = pass.step(&mut editor, &mut work).unwrap();
        steps += 1;
        assert!(work.spent() < StepBudget::UNITS_PER_STEP + 100_000 + 8_000_000, "{}", work.spent());
        if done {
            break;
        }
    }
    assert!(steps > 20, "{steps}");
    let (rope, what) = pass.finish();
    assert_eq!((rope.items(), what.dropped), (1_000_000, 0));
    assert_eq!(check(Signal::Traces, &rope.to_bytes()).unwrap().items, 1_000_000);
}

/// Calls a closure for each metric.
struct Metrics<F>(F);

impl<F: FnMut(&mut MetricMut<'_>) -> Descend> Editor for Metrics<F> {
    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        (self.0)(metric)
    }
}

#[test]
fn metrics_added_above_the_limit_are_an_error_before_they_are_made() {
    let mut rope = body(Signal::Metrics, &[&field(2, &field(2, &field(1, b"name")))]);
    let limit = (1 << 20) + 4 * rope.len();
    let metric = field(1, &vec![b'x'; 1000]);
    let added = |appends: bool| {
        Metrics(move |found: &mut MetricMut<'_>| {
            if appends {
                (0..10_000).for_each(|_| found.append(&metric));
            } else {
                found.replace(std::iter::repeat_n(&metric[..], 10_000));
            }
            Descend::Skip
        })
    };
    assert_eq!(edit(Signal::Metrics, &mut rope, &mut added.clone()(true)), Err(EditError::OutputTooLarge { limit }));
    assert_eq!(edit(Signal::Metrics, &mut rope, &mut added(false)), Err(EditError::OutputTooLarge { limit }));
}

#[test]
fn attributes_and_schema_urls_around_an_item_are_read_without_changing_them() {
    let resource = field(1, &attribute(1, b"r", b"1"));
    let scope = field(1, &attribute(3, b"s", b"2"));
    let scope = field(2, &[&scope[..], &field(2, b""), &field(3, b"scope url")].concat());
    let mut rope = body(Signal::Traces, &[&resource, &scope, &field(3, b"resource url")]);
    let mut calls = 0;
    let mut read = Spans(|span: &mut SpanMut<'_>| {
        assert!(matches!(span.resource_attribute(b"r"), Some(AnyValue::String(b"1"))));
        assert!(matches!(span.scope_attribute(b"s"), Some(AnyValue::String(b"2"))));
        assert!(span.scope_attribute(b"r").is_none());
        assert_eq!(span.resource_schema_url(), b"resource url");
        assert_eq!(span.scope_schema_url(), b"scope url");
        calls += 1;
        Descend::Skip
    });
    assert_eq!(edit(Signal::Traces, &mut rope, &mut read).unwrap().shared_parts, 1);
    assert_eq!(calls, 1);
}
