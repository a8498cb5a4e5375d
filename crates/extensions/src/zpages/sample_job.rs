//! Makes a sample of a payload: the items for which a condition holds, as OTLP/JSON or as text.
//!
//! Owns the condition and the selection. Runs on a helper thread, so that neither a long payload nor a slow condition delays the
//! loop. The output is bounded.

use otelcore_ottl::contexts::{
    self, ContextType, ContextView, DataPointContext, LogContext, MetricContext, ResourceContext, ScopeContext,
    SpanContext,
};
use otelcore_ottl::{
    Candidate, Compiler, Condition, Evaluation, FixedEnvironment, Functions, InferenceError, PathPrefix, Sources,
    State, functions, infer_context,
};
use otelcore_pdata::edit::{
    Descend, EditPass, Editor, Keep, LogMut, MetricMut, OutputLimit, PointMut, ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pdata::{PieceLimit, Rope, Signal, Splitter, StepBudget, json};
use otelcore_pipeline::Payload;

use super::sample_text;

/// The most bytes of telemetry in one sample, before it becomes text.
const MAX_SAMPLE_BYTES: usize = 256 << 10;

/// The form of samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SampleForm {
    /// A request of OTLP/JSON a line.
    Json,
    /// Lines for people.
    Text,
}

/// Which items are shown: those for which a condition holds, or all.
#[derive(Debug, Default)]
pub(super) struct SampleFilter(Option<(Level, Condition)>);

/// What a condition is evaluated on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Resource,
    Scope,
    Span,
    Metric,
    DataPoint,
    Log,
}

impl Level {
    fn of_signal(signal: Signal) -> &'static [Self] {
        match signal {
            Signal::Traces => &[Self::Resource, Self::Scope, Self::Span],
            Signal::Metrics => &[Self::Resource, Self::Scope, Self::Metric, Self::DataPoint],
            Signal::Logs => &[Self::Resource, Self::Scope, Self::Log],
        }
    }

    fn context(self) -> ContextType {
        match self {
            Self::Resource => contexts::RESOURCE,
            Self::Scope => contexts::SCOPE,
            Self::Span => contexts::SPAN,
            Self::Metric => contexts::METRIC,
            Self::DataPoint => contexts::DATA_POINT,
            Self::Log => contexts::LOG,
        }
    }

    fn functions(self) -> Functions {
        let standard = Functions::standard_converters();
        match self {
            Self::Span => standard.with(functions::SPAN_CONDITIONS),
            Self::Metric => standard.with(functions::METRIC_CONDITIONS),
            _ => standard,
        }
    }
}

impl SampleFilter {
    /// Reads a condition whose paths begin with the name of a context, such as `span.name == "GET /"`; an empty one holds for all.
    pub(super) fn parse(signal: Signal, text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let levels = Level::of_signal(signal);
        let all: Vec<_> = levels.iter().map(|level| (*level, level.functions())).collect();
        let candidates: Vec<_> =
            all.iter().map(|(level, functions)| Candidate { context: level.context(), functions }).collect();
        let message = |error: InferenceError| match error {
            InferenceError::Invalid(_, error) => error.to_string(),
            InferenceError::NoContext(message) => message,
        };
        let found =
            infer_context(&candidates, Sources { conditions: &[text], ..Sources::default() }).map_err(message)?;
        let (level, functions) = all
            .iter()
            .find(|(level, _)| level.context().name == found.name)
            .ok_or_else(|| format!("unknown context {}", found.name))?;
        let compiler = Compiler { context: level.context(), functions, prefix: PathPrefix::Required };
        let condition = compiler.condition(text).map_err(|error| error.to_string())?;
        Ok(Self(Some((*level, condition))))
    }
}

/// A sample of a payload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) text: Vec<u8>,
    /// Spans, data points or log records in it.
    pub(super) items: u32,
}

/// Makes a sample of at most `limit` items.
pub(super) fn sample(
    payload: &Payload,
    filter: &SampleFilter,
    limit: u32,
    form: SampleForm,
    environment: &FixedEnvironment,
) -> Sample {
    let Some(body) = select(payload, filter, limit, environment).filter(|body| body.items() > 0) else {
        return Sample::default();
    };
    let items = body.items();
    let mut text = Vec::new();
    match form {
        SampleForm::Json => {
            json::encode(payload.signal, &body, &mut text);
            text.push(b'\n');
        }
        SampleForm::Text => {
            let name = payload.signal.item_name().replace('_', " ");
            text.extend_from_slice(format!("# {items} {name}\n").as_bytes());
            sample_text::write(payload.signal, &body, &mut text);
        }
    }
    Sample { text, items }
}

/// The items for which the condition holds, at most `limit` of them.
fn select(payload: &Payload, filter: &SampleFilter, limit: u32, environment: &FixedEnvironment) -> Option<Rope> {
    let mut editor = Selection { filter, state: State::default(), environment, left: limit };
    let mut pass = EditPass::new(payload.signal, payload.body.clone(), OutputLimit::default());
    loop {
        match pass.step(&mut editor, &mut StepBudget::for_one_step()) {
            Ok(true) => break,
            Ok(false) => {}
            Err(_) => return None,
        }
    }
    let (selected, _) = pass.finish();
    if selected.len() <= MAX_SAMPLE_BYTES {
        return Some(selected);
    }
    let mut splitter = Splitter::new(payload.signal);
    splitter.push(selected);
    loop {
        let piece = splitter.next_piece(PieceLimit::bytes(MAX_SAMPLE_BYTES), &mut StepBudget::for_one_step());
        if piece.is_some() || splitter.is_empty() {
            // An item that is longer by itself is not shown.
            return piece.filter(|piece| piece.len() <= MAX_SAMPLE_BYTES);
        }
    }
}

/// The editor that drops what is not shown.
struct Selection<'a> {
    filter: &'a SampleFilter,
    state: State,
    environment: &'a FixedEnvironment,
    /// Items that may still be kept.
    left: u32,
}

impl Selection<'_> {
    /// Whether an item of this level may be shown. A condition that can't be evaluated does not hold.
    fn holds(&self, level: Level, context: &dyn ContextView) -> bool {
        match &self.filter.0 {
            Some((wanted, condition)) if *wanted == level => {
                let evaluation = Evaluation::new(context, &self.state, self.environment);
                condition.evaluate(&evaluation).unwrap_or(false)
            }
            _ => true,
        }
    }

    fn take(&mut self, holds: bool) -> bool {
        let is_kept = holds && self.left > 0;
        self.left -= u32::from(is_kept);
        is_kept
    }
}

fn descend(is_kept: bool) -> Descend {
    if is_kept { Descend::Children } else { Descend::Drop }
}

fn keep(is_kept: bool) -> Keep {
    if is_kept { Keep::Keep } else { Keep::Drop }
}

impl Editor for Selection<'_> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        descend(self.left > 0 && self.holds(Level::Resource, &ResourceContext { resource, request: None }))
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        descend(self.left > 0 && self.holds(Level::Scope, &ScopeContext { scope, request: None }))
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let holds = self.left > 0 && self.holds(Level::Span, &SpanContext { span, request: None });
        if self.take(holds) { Descend::Skip } else { Descend::Drop }
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        descend(self.left > 0 && self.holds(Level::Metric, &MetricContext::new(metric, None)))
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        let holds = self.left > 0 && self.holds(Level::DataPoint, &DataPointContext::new(point, None));
        keep(self.take(holds))
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        let holds = self.left > 0 && self.holds(Level::Log, &LogContext { log, request: None });
        keep(self.take(holds))
    }
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::build::Body;
    use otelcore_pipeline::Held;

    use super::*;

    fn spans(count: u8, padding: usize) -> Payload {
        let mut body = Body::new();
        {
            let mut entry = body.resource_spans();
            entry.resource().attributes().string(b"service.name", b"shop");
            let mut scope = entry.scope_spans();
            for i in 0..count {
                let mut span = scope.span();
                span.trace_id(&[1; 16]).span_id(&[i + 1; 8]).name(format!("span {}", i % 2).as_bytes());
                span.attributes().string(b"padding", &vec![b'x'; padding]);
            }
        }
        Payload { signal: Signal::Traces, body: body.finish(), metadata: None, held: Held::default() }
    }

    fn sample_of(payload: &Payload, condition: &str, limit: u32, form: SampleForm) -> (u32, String) {
        let filter = SampleFilter::parse(payload.signal, condition).unwrap();
        let Sample { text, items } = sample(payload, &filter, limit, form, &FixedEnvironment::new(0, 0));
        (items, String::from_utf8(text).unwrap())
    }

    #[test]
    fn items_for_which_the_condition_holds_are_shown_up_to_the_limit() {
        let payload = spans(10, 1);
        for (condition, limit, expected) in [
            ("", 100, 10),
            ("", 3, 3),
            ("span.name == \"span 1\"", 100, 5),
            ("span.name == \"span 1\"", 2, 2),
            ("resource.attributes[\"service.name\"] == \"other\"", 100, 0),
            ("resource.attributes[\"service.name\"] == \"shop\"", 100, 10),
        ] {
            let (items, text) = sample_of(&payload, condition, limit, SampleForm::Text);
            assert_eq!(items, expected, "{condition}\n{text}");
            assert_eq!(text.is_empty(), expected == 0, "{text}");
            assert!(!condition.contains("span 1") || !text.contains("span 0"), "{text}");
        }
        let (items, text) = sample_of(&payload, "", 2, SampleForm::Json);
        assert!(items == 2 && text.starts_with("{\"resourceSpans\":[") && text.ends_with("]}\n"), "{text}");
    }

    #[test]
    fn sample_of_a_long_payload_is_bounded() {
        let (items, text) = sample_of(&spans(200, 10_000), "", 1000, SampleForm::Json);
        assert!(items > 10 && items < 40 && text.len() < 2 * MAX_SAMPLE_BYTES, "{items} {}", text.len());
        let (items, text) = sample_of(&spans(1, 2 * MAX_SAMPLE_BYTES), "", 1000, SampleForm::Json);
        assert_eq!((items, text.len()), (0, 0), "an item that is longer by itself");
    }

    #[test]
    fn condition_that_is_not_valid_or_of_another_signal_is_an_error() {
        assert!(SampleFilter::parse(Signal::Traces, "span.name ==").is_err());
        assert!(SampleFilter::parse(Signal::Logs, "span.name == \"a\"").is_err());
        assert!(SampleFilter::parse(Signal::Metrics, "metric.name == \"a\"").is_ok());
    }
}
