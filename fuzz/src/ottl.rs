//! Statements, conditions and value expressions, compiled and evaluated on a body.

use bytes::Bytes;
use otelcore_ottl::contexts::{
    ContextMut, ContextType, DATA_POINT, DataPointContext, LOG, LogContext, METRIC, MetricContext, RESOURCE,
    ResourceContext, SCOPE, SPAN, SPAN_EVENT, ScopeContext, SpanContext, SpanEventContext,
};
use otelcore_ottl::{
    CompileError, Compiler, Condition, Environment, Evaluation, Execution, FixedEnvironment, Functions, PathPrefix,
    State, Statement, ValueExpression,
};
use otelcore_pdata::edit::{
    Descend, EditPass, Editor, EventMut, Keep, LogMut, MetricMut, OutputLimit, PointMut, ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pdata::{Rope, Signal, StepBudget, check};

/// What is evaluated on each item of the context.
enum Compiled {
    Statement(Statement),
    Condition(Condition),
    ValueExpression(ValueExpression),
}

struct Items {
    context: &'static str,
    compiled: Compiled,
    state: State,
    environment: FixedEnvironment,
}

impl Items {
    fn run(&mut self, context: &mut dyn ContextMut) {
        let environment: &dyn Environment = &self.environment;
        match &self.compiled {
            Compiled::Statement(statement) => {
                if let Err(error) = statement.execute(&mut Execution::new(context, &mut self.state, environment)) {
                    assert!(!error.to_string().is_empty());
                }
            }
            Compiled::Condition(condition) => {
                let result = condition.evaluate(&Evaluation::new(context, &self.state, environment));
                let again = condition.evaluate(&Evaluation::new(context, &self.state, environment));
                assert_eq!(result.is_ok(), again.is_ok());
            }
            Compiled::ValueExpression(expression) => {
                if let Ok(value) = expression.evaluate(&Evaluation::new(context, &self.state, environment)) {
                    let _ = value.to_tree();
                }
            }
        }
    }
}

impl Editor for Items {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        if self.context == "resource" {
            self.run(&mut ResourceContext { resource, request: None });
        }
        Descend::Children
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        if self.context == "scope" {
            self.run(&mut ScopeContext { scope, request: None });
        }
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        if self.context == "span" {
            self.run(&mut SpanContext { span, request: None });
        }
        Descend::Children
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        if self.context == "spanevent" {
            self.run(&mut SpanEventContext { event, index: 0, request: None });
        }
        Keep::Keep
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        if self.context == "metric" {
            self.run(&mut MetricContext::new(metric, None));
        }
        Descend::Children
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        if self.context == "datapoint" {
            self.run(&mut DataPointContext::new(point, None));
        }
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if self.context == "log" {
            self.run(&mut LogContext { log, request: None });
        }
        Keep::Keep
    }
}

fn compiled(kind: u8, compiler: &Compiler<'_>, text: &str) -> Result<Compiled, CompileError> {
    match kind % 3 {
        0 => compiler.statement(text).map(Compiled::Statement),
        1 => compiler.condition(text).map(Compiled::Condition),
        _ => compiler.value_expression(text).map(Compiled::ValueExpression),
    }
}

const CONTEXTS: [(ContextType, Signal); 7] = [
    (SPAN, Signal::Traces),
    (LOG, Signal::Logs),
    (DATA_POINT, Signal::Metrics),
    (METRIC, Signal::Metrics),
    (SPAN_EVENT, Signal::Traces),
    (RESOURCE, Signal::Traces),
    (SCOPE, Signal::Logs),
];

/// The first byte chooses the context, the second what the text is; the text ends with a zero byte, and the rest is the
/// body.
pub fn run(data: &[u8]) {
    let [context, kind, rest @ ..] = data else { return };
    let (text, body) = rest.iter().position(|b| *b == 0).map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (context, signal) = CONTEXTS[usize::from(*context) % CONTEXTS.len()];
    let functions = Functions::standard();
    let compiler = Compiler { context, functions: &functions, prefix: PathPrefix::Implied };
    let compiled = match compiled(*kind, &compiler, text) {
        Ok(compiled) => compiled,
        Err(error) => {
            assert!(text.get(error.place.clone()).is_some(), "the place {:?} is in the text", error.place);
            assert!(!error.message.is_empty());
            return;
        }
    };
    let Ok(found) = check(signal, body) else { return };
    let rope = Rope::new(Bytes::copy_from_slice(body), found.items);
    let environment = FixedEnvironment::new(1_700_000_000_000_000_000, 1);
    let mut items = Items { context: context.name, compiled, state: State::default(), environment };
    let mut pass = EditPass::new(signal, rope, OutputLimit { factor: 4, extra: 1 << 16 });
    let mut budget = StepBudget::unlimited();
    loop {
        match pass.step(&mut items, &mut budget) {
            Ok(true) => break,
            Ok(false) => {}
            // The output is larger than its limit.
            Err(_) => return,
        }
    }
    let (changed, _) = pass.finish();
    let verdict = check(signal, &changed.to_bytes());
    assert!(verdict.is_ok(), "what is changed stays OTLP: {verdict:?}");
}
