//! What statements allocate for an item.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use otelcore_ottl::contexts::{SPAN, SpanContext};
use otelcore_ottl::{Compiler, Execution, FixedEnvironment, Functions, PathPrefix, State, Statement};
use otelcore_pdata::edit::{Descend, Editor, SpanMut, edit};
use otelcore_pdata::{Rope, Signal, build};
use otelcore_test_support::CountingAllocator;

#[global_allocator]
static ALLOCATIONS: CountingAllocator = CountingAllocator::new();

fn body(spans: usize) -> Rope {
    let mut body = build::Body::new();
    {
        let mut resource = body.resource_spans();
        resource.resource().attributes().string(b"service.name", b"shop");
        let mut scope = resource.scope_spans();
        for i in 0..spans {
            let mut span = scope.span();
            span.trace_id(&[7; 16]).span_id(&[8; 8]).name(if i % 2 == 0 { b"GET /" } else { b"POST /" }).kind(2);
            span.attributes().string(b"http.method", b"GET").int(b"http.status_code", 200).string(b"k", b"long enough");
        }
    }
    body.finish()
}

struct Spans<'s> {
    statement: &'s Statement,
    state: State,
    environment: FixedEnvironment,
    executed: usize,
}

impl Editor for Spans<'_> {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let mut context = SpanContext { span, request: None };
        let mut execution = Execution::new(&mut context, &mut self.state, &self.environment);
        self.executed += usize::from(self.statement.execute(&mut execution).unwrap());
        Descend::Skip
    }
}

/// Allocations of a pass over a body of `spans` spans.
fn allocations(statement: &Statement, spans: usize, executed: usize) -> u64 {
    let mut rope = body(spans);
    let mut editor =
        Spans { statement, state: State::default(), environment: FixedEnvironment::new(0, 0), executed: 0 };
    let before = ALLOCATIONS.count();
    edit(Signal::Traces, &mut rope, &mut editor).unwrap();
    let allocations = ALLOCATIONS.count() - before;
    assert_eq!(editor.executed, executed, "{}", statement.text());
    allocations
}

#[test]
fn statements_on_spans_allocate_nothing_for_each_span() {
    let functions = Functions::standard();
    let compiler = Compiler { context: SPAN, functions: &functions, prefix: PathPrefix::Implied };
    for (statement, every) in [
        ("set(attributes[\"k\"], \"v\") where name == \"GET /\"", 2),
        ("set(attributes[\"new\"], \"v\")", 1),
        ("set(attributes[\"k\"], attributes[\"http.method\"]) where attributes[\"http.status_code\"] >= 200", 1),
        ("set(attributes[\"k\"], resource.attributes[\"service.name\"])", 1),
        ("set(name, attributes[\"http.method\"])", 1),
        ("set(attributes[\"n\"], attributes[\"http.status_code\"] * 2 + 1) where kind == SPAN_KIND_SERVER", 1),
        (
            "set(attributes[\"k\"], \"v\") where attributes[\"http.method\"] == \"GET\" and not (name == \"POST /\" or \
             attributes[\"missing\"] != nil)",
            2,
        ),
    ] {
        let compiled = compiler.statement(statement).unwrap();
        // Buffers grow with the length of the output; four times the spans may double them twice more.
        let (few, many) = (allocations(&compiled, 100, 100 / every), allocations(&compiled, 400, 400 / every));
        assert!(many <= few + 4, "{statement}: {few} allocations for 100 spans, {many} for 400");
    }
}
