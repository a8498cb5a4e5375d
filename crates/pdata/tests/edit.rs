//! Compares changes of telemetry with decoding, changing and encoding it by prost: on generated messages with every
//! field, in any order, with unknown fields between, for every change that an editor can make.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

#[path = "edit/cases.rs"]
mod cases;
#[path = "oracle/generate.rs"]
mod generate;
#[path = "edit/model.rs"]
mod model;
#[path = "oracle/rewrite.rs"]
mod rewrite;
#[path = "edit/script.rs"]
mod script;

use bytes::Bytes;
use generate::Choices;
use model::Body;
use otelcore_pdata::edit::{
    Descend, EditPass, Edited, Editor, EventMut, Keep, LinkMut, LogMut, MetricMut, OutputLimit, PointMut, ResourceMut,
    ScopeMut, SpanMut, edit,
};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Rope, RopePart, Signal, StepBudget, check};
use proptest::prelude::*;
use script::Script;

fn rope_of(signal: Signal, parts: &[Vec<u8>]) -> Rope {
    let mut rope = Rope::default();
    for part in parts {
        let items = check(signal, part).unwrap().items;
        rope.push(RopePart { bytes: Bytes::copy_from_slice(part), items });
    }
    rope
}

fn signals() -> impl Strategy<Value = Signal> {
    prop::sample::select(Signal::ALL.to_vec())
}

fn entropy() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1500)
}

fn in_steps(signal: Signal, rope: &Rope, editor: &mut dyn Editor, units: u64) -> (Rope, Edited) {
    let mut pass = EditPass::new(signal, rope.clone(), OutputLimit { factor: 100, extra: 1 << 20 });
    let mut steps = 0;
    while !pass.step(editor, &mut StepBudget::new(units)).unwrap() {
        steps += 1;
        assert!(steps < 100 * (rope.len() + 10), "each step gets further");
    }
    pass.finish()
}

/// Fails with the first line that differs, and the lines before it.
fn assert_same(found: &str, expected: &str) {
    let at = found.lines().zip(expected.lines()).take_while(|(found, expected)| found == expected).count();
    if found != expected {
        let part = |text: &str| text.lines().skip(at.saturating_sub(30)).take(40).collect::<Vec<_>>().join("\n");
        panic!("line {at}, found:\n{}\nexpected:\n{}", part(found), part(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn generated_messages_and_changes_equal_those_of_prost(
        signal in signals(),
        message in entropy(),
        order in entropy(),
        seed in any::<u64>(),
        units in 1_u64..5000,
    ) {
        let model = Body::generate(signal, &mut Choices(&message));
        let bytes = rewrite::rewrite(signal, &model.encode(), &mut Choices(&order));
        let mut model = Body::decode(signal, &bytes);
        let rope = rope_of(signal, &[bytes]);
        let mut script = Script::new(seed);
        let (edited, what) = in_steps(signal, &rope, &mut script, u64::MAX);
        let mut expected = Script::new(seed);
        model.change(&mut expected);
        prop_assert_eq!(script.calls(), expected.calls());
        let out = edited.to_bytes();
        assert_same(&Body::decode(signal, &out).text(), &model.text());
        // The pass counts what the check counts.
        let found = check(signal, &out).unwrap();
        prop_assert_eq!(found.items, edited.items());
        if signal != Signal::Metrics {
            prop_assert_eq!(u64::from(rope.items() - edited.items()), what.dropped);
        }
        let (stepped, _) = in_steps(signal, &rope, &mut Script::new(seed), units);
        prop_assert_eq!(stepped.to_bytes(), out);
    }

    #[test]
    fn attributes_inserted_and_removed_leave_every_byte(
        signal in signals(),
        message in entropy(),
        order in entropy(),
    ) {
        let message = Body::generate(signal, &mut Choices(&message));
        let bytes = rewrite::rewrite(signal, &message.encode(), &mut Choices(&order));
        let before = rope_of(signal, &[bytes.clone(), bytes]);
        let mut rope = before.clone();
        let inserted = edit(signal, &mut rope, &mut Everywhere { remove: false }).unwrap();
        let removed = edit(signal, &mut rope, &mut Everywhere { remove: true }).unwrap();
        prop_assert_eq!(inserted.changed_parts, removed.changed_parts);
        prop_assert_eq!(inserted.dropped + removed.dropped, 0);
        prop_assert_eq!(rope.items(), before.items());
        prop_assert_eq!(rope.to_bytes(), before.to_bytes());
    }

    #[test]
    fn editor_that_changes_nothing_shares_the_buffer(
        signal in signals(),
        message in entropy(),
        order in entropy(),
        units in 1_u64..2000,
    ) {
        let message = Body::generate(signal, &mut Choices(&message));
        let bytes = rewrite::rewrite(signal, &message.encode(), &mut Choices(&order));
        let rope = rope_of(signal, &[bytes]);
        let (after, _) = in_steps(signal, &rope, &mut Idle, units);
        prop_assert_eq!(after.items(), rope.items());
        let pointers = |rope: &Rope| rope.parts().iter().map(|part| part.bytes.as_ptr()).collect::<Vec<_>>();
        prop_assert_eq!(pointers(&after), pointers(&rope));
    }
}

/// Reads everything, and writes what is there already.
struct Idle;

impl Editor for Idle {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        let count = resource.view().dropped_attributes_count;
        resource.set_dropped_attributes_count(count);
        resource.attributes().remove(b"no such key");
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        let name = scope.view().name.to_vec();
        scope.set_name(&name);
        Descend::Children
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        let name = metric.view().name.to_vec();
        metric.set_name(&name);
        metric.metadata().retain(|_| true);
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let name = span.view().name.to_vec();
        span.set_name(&name);
        span.attributes().for_each(|_| {});
        assert!(!span.attributes().update(b"no such key", AnyValue::Empty));
        Descend::Children
    }
}

/// Inserts an attribute in everything that is there, or removes it.
struct Everywhere {
    remove: bool,
}

const KEY: &[u8] = b"a key that is nowhere else";

impl Everywhere {
    fn change(&self, mut attributes: otelcore_pdata::edit::AttributesMut<'_>) {
        if self.remove {
            assert!(attributes.remove(KEY));
            assert!(!attributes.contains(KEY));
        } else {
            assert!(attributes.insert(KEY, AnyValue::String(&[b'x'; 120])));
            assert!(matches!(attributes.get(KEY), Some(AnyValue::String(_))));
        }
    }
}

impl Editor for Everywhere {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        if !resource.view().raw.is_empty() {
            self.change(resource.attributes());
        }
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        if !scope.view().raw.is_empty() {
            self.change(scope.attributes());
        }
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        self.change(span.attributes());
        Descend::Children
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        self.change(event.attributes());
        Keep::Keep
    }

    fn link(&mut self, link: &mut LinkMut<'_>) -> Keep {
        self.change(link.attributes());
        Keep::Keep
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        self.change(point.attributes());
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        self.change(log.attributes());
        Keep::Keep
    }
}
