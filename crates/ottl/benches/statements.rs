//! Statements on 100 spans of ten attributes. 12 µs for 100 spans are 0.12 CPU seconds per million.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a bench")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use otelcore_ottl::contexts::{SPAN, SpanContext};
use otelcore_ottl::{Compiler, Execution, FixedEnvironment, Functions, PathPrefix, State, Statement};
use otelcore_pdata::edit::{Descend, Editor, SpanMut, edit};
use otelcore_pdata::{Rope, Signal, build};

const SPANS: u64 = 100;

fn body() -> Rope {
    let mut body = build::Body::new();
    {
        let mut resource = body.resource_spans();
        resource.resource().attributes().string(b"service.name", b"shop").string(b"host.name", b"node-1");
        let mut scope = resource.scope_spans();
        for i in 0..SPANS {
            let mut span = scope.span();
            span.trace_id(&[7; 16]).span_id(&[8; 8]).parent_span_id(&[9; 8]).name(b"GET /api/carts/{id}").kind(2);
            span.start_time_unix_nano(1_700_000_000_000_000_000).end_time_unix_nano(1_700_000_000_012_000_000);
            let mut attributes = span.attributes();
            attributes.string(b"http.request.method", b"GET").string(b"url.scheme", b"https");
            attributes.string(b"server.address", b"shop.example.com").int(b"server.port", 443);
            attributes.string(b"http.route", b"/api/carts/{id}").int(b"http.response.status_code", 200);
            attributes.string(b"url.path", format!("/api/carts/{i}").as_bytes());
            attributes.string(b"user_agent.original", b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/121.0");
            attributes.string(b"network.protocol.version", b"1.1").double(b"ratio", 0.25);
        }
    }
    body.finish()
}

struct Spans<'s> {
    statement: &'s Statement,
    state: State,
    environment: FixedEnvironment,
}

impl Editor for Spans<'_> {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let mut context = SpanContext { span, request: None };
        let mut execution = Execution::new(&mut context, &mut self.state, &self.environment);
        self.statement.execute(&mut execution).unwrap();
        Descend::Skip
    }
}

fn statements(criterion: &mut Criterion) {
    let body = body();
    let functions = Functions::standard();
    let compiler = Compiler { context: SPAN, functions: &functions, prefix: PathPrefix::Implied };
    let mut group = criterion.benchmark_group("statement on 100 spans");
    group.throughput(Throughput::Elements(SPANS));
    for (name, statement) in [
        ("set", "set(attributes[\"deployment.environment\"], \"production\")"),
        (
            "set with three conditions",
            "set(attributes[\"deployment.environment\"], \"production\") where kind == SPAN_KIND_SERVER and \
             attributes[\"http.response.status_code\"] >= 200 and resource.attributes[\"service.name\"] == \"shop\"",
        ),
        ("nothing matches", "set(attributes[\"k\"], \"v\") where attributes[\"no.such.key\"] == \"x\""),
        ("replace_pattern", "replace_pattern(attributes[\"url.path\"], \"/[0-9]+\", \"/{id}\")"),
    ] {
        let statement = compiler.statement(statement).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut rope = body.clone();
                let environment = FixedEnvironment::new(0, 0);
                let mut editor = Spans { statement: &statement, state: State::default(), environment };
                edit(Signal::Traces, &mut rope, &mut editor).unwrap();
                black_box(rope)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, statements);
criterion_main!(benches);
