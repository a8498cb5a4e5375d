//! The editor that drops what conditions hold for.

use std::sync::Arc;

use otelcore_ottl::contexts::{
    ContextView, DataPointContext, LogContext, MetricContext, ResourceContext, ScopeContext, SpanContext,
    SpanEventContext,
};
use otelcore_ottl::evaluate::State;
use otelcore_ottl::{ConditionSequence, Evaluation, FixedEnvironment};
use otelcore_pdata::Signal;
use otelcore_pdata::edit::{
    Descend, Edited, Editor, EventMut, Keep, LogMut, MetricKind, MetricMut, OutputLimit, PointMut, ResourceMut,
    ScopeMut, SpanMut,
};
use otelcore_pdata::views::MetricData;
use otelcore_pipeline::{Counter, Outcome, Payload, WallTime};

use super::config::{LevelConditions, Rules};
use super::older::OlderFilter;
use crate::edit_processor::PayloadEditor;
use crate::matching::EntryMatch;
use crate::statements::{FailureCounts, FailureReports, RequestHeaders, cost_of_text, first_reports};

/// What was dropped, by signal.
#[derive(Clone, Debug)]
pub(super) struct FilterMetrics {
    pub(super) spans: Counter,
    pub(super) points: Counter,
    pub(super) logs: Counter,
}

/// The rules by signal; `None` for signals of which no pipeline uses the processor.
pub(super) type SignalRules = [Option<Arc<Rules>>; 3];

pub(super) struct FilterEditor {
    rules: SignalRules,
    /// By signal: see [`PayloadEditor::cost_per_byte`].
    costs: [u64; 3],
    /// By signal: how many conditions there are before those of it.
    first_reports: [usize; 3],
    /// That of the payload.
    signal: Signal,
    /// The pass, and how many conditions there are before those of it.
    pass: usize,
    first_report: usize,
    evaluator: Evaluator,
    request: RequestHeaders,
    entry: EntryMatch,
    buffer: Vec<u8>,
    event_index: i64,
    reports: FailureReports,
    metrics: FilterMetrics,
}

/// What conditions are evaluated with.
struct Evaluator {
    state: State,
    environment: FixedEnvironment,
    counts: FailureCounts,
    /// Why the payload is refused.
    failure: Option<String>,
}

impl Evaluator {
    /// Whether one of the conditions holds. After an error that refuses the payload nothing holds.
    fn holds(&mut self, conditions: &ConditionSequence, first_report: usize, context: &dyn ContextView) -> bool {
        let Self { state, environment, counts, failure, .. } = self;
        let evaluation = Evaluation::new(context, state, environment);
        match conditions.evaluate(&evaluation, &mut |index, error| counts.add(first_report + index, error)) {
            Ok(holds) => holds,
            Err(error) => {
                counts.add(first_report + error.index, &error.error);
                failure.get_or_insert(error.message);
                false
            }
        }
    }
}

/// Whether a level's conditions hold for an item, of which `$context` makes a context.
macro_rules! holds {
    ($self:ident, $level:ident, |$request:ident| $context:expr) => {{
        let rules = rules_of(&$self.rules, $self.signal);
        let pass = rules.and_then(|rules| rules.passes.get($self.pass));
        match pass.and_then(|pass| pass.$level.as_ref().map(|conditions| (pass, conditions))) {
            None => false,
            Some((pass, conditions)) => {
                let first = $self.first_report + reports_before(pass, conditions);
                let $request = &$self.request;
                $self.evaluator.holds(conditions, first, &$context)
            }
        }
    }};
}

/// The number of conditions of a pass before those of a level.
fn reports_before(pass: &LevelConditions, conditions: &ConditionSequence) -> usize {
    let before = pass.sequences().take_while(|sequence| !std::ptr::eq(*sequence, conditions));
    before.map(|sequence| sequence.conditions().len()).sum()
}

fn rules_of(rules: &SignalRules, signal: Signal) -> Option<&Arc<Rules>> {
    signal.entry_of(rules).as_ref()
}

/// Units of work that a byte costs at most.
fn cost_of(rules: &Rules) -> u64 {
    let older = match &rules.older {
        None => 0,
        Some(OlderFilter::Items(matcher)) => matcher.cost_per_byte(),
        Some(OlderFilter::Metrics { include, exclude }) => {
            include.iter().chain(exclude).map(|filter| filter.cost_per_byte).sum()
        }
    };
    rules.texts().map(|(text, _)| cost_of_text(text)).sum::<u64>() + older
}

impl FilterEditor {
    pub(super) fn new(
        rules: SignalRules,
        reports: FailureReports,
        metrics: FilterMetrics,
        environment: FixedEnvironment,
    ) -> Self {
        let reports_of = |rules: &Option<Arc<Rules>>| rules.iter().map(|rules| rules.texts().count()).sum();
        Self {
            costs: rules.each_ref().map(|rules| rules.as_deref().map_or(0, cost_of)),
            first_reports: first_reports(rules.each_ref().map(reports_of)),
            rules,
            signal: Signal::Traces,
            pass: 0,
            first_report: 0,
            evaluator: Evaluator {
                state: State::default(),
                environment,
                counts: FailureCounts::default(),
                failure: None,
            },
            request: RequestHeaders::default(),
            entry: EntryMatch::default(),
            buffer: Vec::new(),
            event_index: 0,
            reports,
            metrics,
        }
    }

    fn pass(&self) -> Option<&LevelConditions> {
        rules_of(&self.rules, self.signal)?.passes.get(self.pass)
    }

    fn older(&self) -> Option<&OlderFilter> {
        rules_of(&self.rules, self.signal)?.older.as_ref()
    }

    fn is_over(&self) -> bool {
        self.evaluator.failure.is_some()
    }

    fn older_resource(&mut self, resource: &ResourceMut<'_>) -> Descend {
        let rules = rules_of(&self.rules, self.signal);
        match rules.and_then(|rules| rules.older.as_ref()) {
            None => Descend::Skip,
            Some(OlderFilter::Items(matcher)) => kept(self.entry.resource(matcher, resource)),
            Some(OlderFilter::Metrics { include, exclude }) => {
                let buffer = &mut self.buffer;
                let is_included = include.as_ref().and_then(|filter| filter.matches_resource(resource, buffer));
                let is_excluded = exclude.as_ref().and_then(|filter| filter.matches_resource(resource, buffer));
                let is_kept = is_included.unwrap_or(true) && !is_excluded.unwrap_or(false);
                if is_kept { Descend::Children } else { Descend::Drop }
            }
        }
    }
}

/// What a processor that changes what matches leaves as it is, is dropped here.
fn kept(answer: Descend) -> Descend {
    if answer == Descend::Skip { Descend::Drop } else { answer }
}

fn dropped(holds: bool, children: bool) -> Descend {
    match (holds, children) {
        (true, _) => Descend::Drop,
        (false, true) => Descend::Children,
        (false, false) => Descend::Skip,
    }
}

fn keep(holds: bool) -> Keep {
    if holds { Keep::Drop } else { Keep::Keep }
}

impl Editor for FilterEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        if self.is_over() {
            return Descend::Skip;
        }
        let Some(pass) = self.pass() else { return self.older_resource(resource) };
        let has_children = pass.sequences().count() > usize::from(pass.resource.is_some());
        let holds = holds!(self, resource, |request| ResourceContext { resource, request: Some(request) });
        dropped(holds, has_children)
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        if self.is_over() {
            return Descend::Skip;
        }
        let Some(pass) = self.pass() else {
            let rules = rules_of(&self.rules, self.signal);
            return match rules.and_then(|rules| rules.older.as_ref()) {
                Some(OlderFilter::Items(matcher)) => kept(self.entry.scope(matcher, scope)),
                _ => Descend::Children,
            };
        };
        let has_children = [&pass.span, &pass.span_event, &pass.metric, &pass.data_point, &pass.log];
        let has_children = has_children.iter().any(|level| level.is_some());
        let holds = holds!(self, scope, |request| ScopeContext { scope, request: Some(request) });
        dropped(holds, has_children)
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        self.event_index = 0;
        if self.is_over() {
            return Descend::Skip;
        }
        let Some(pass) = self.pass() else {
            let rules = rules_of(&self.rules, self.signal);
            return match rules.and_then(|rules| rules.older.as_ref()) {
                Some(OlderFilter::Items(matcher)) => dropped(!self.entry.span(matcher, span), false),
                _ => Descend::Skip,
            };
        };
        let has_children = pass.span_event.is_some();
        let holds = holds!(self, span, |request| SpanContext { span, request: Some(request) });
        dropped(holds, has_children)
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        let index = self.event_index;
        self.event_index += 1;
        if self.is_over() {
            return Keep::Keep;
        }
        keep(holds!(self, span_event, |request| SpanEventContext { event, index, request: Some(request) }))
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        if self.is_over() {
            return Descend::Skip;
        }
        let Some(pass) = self.pass() else {
            let Some(OlderFilter::Metrics { include, exclude }) = self.older() else { return Descend::Skip };
            let view = metric.view();
            let is_included = include.as_ref().and_then(|filter| filter.matches_metric(&view)).unwrap_or(true);
            let is_excluded = exclude.as_ref().and_then(|filter| filter.matches_metric(&view)).unwrap_or(false);
            return dropped(!is_included || is_excluded, false);
        };
        let has_children = pass.data_point.is_some();
        // A metric whose points are filtered goes if it has none, also if it had none before.
        if has_children && metric.kind() != MetricKind::Empty && is_without_points(metric) {
            return Descend::Drop;
        }
        let holds = holds!(self, metric, |request| MetricContext::new(metric, Some(request)));
        dropped(holds, has_children)
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        if self.is_over() {
            return Keep::Keep;
        }
        keep(holds!(self, data_point, |request| DataPointContext::new(point, Some(request))))
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if self.is_over() {
            return Keep::Keep;
        }
        if self.pass().is_none() {
            let rules = rules_of(&self.rules, self.signal);
            return match rules.and_then(|rules| rules.older.as_ref()) {
                Some(OlderFilter::Items(matcher)) => keep(!self.entry.log(matcher, log)),
                _ => Keep::Keep,
            };
        }
        keep(holds!(self, log, |request| LogContext { log, request: Some(request) }))
    }
}

fn is_without_points(metric: &MetricMut<'_>) -> bool {
    match metric.view().data {
        MetricData::Empty => true,
        MetricData::Gauge(data) => data.points().next().is_none(),
        MetricData::Sum(data) => data.points().next().is_none(),
        MetricData::Histogram(data) | MetricData::ExponentialHistogram(data) => data.points().next().is_none(),
        MetricData::Summary(data) => data.points().next().is_none(),
    }
}

impl PayloadEditor for FilterEditor {
    const DROP_REASON: &'static str = "filtered";

    fn begin(&mut self, payload: &Payload) {
        self.signal = payload.signal;
        self.pass = 0;
        self.first_report = *payload.signal.entry_of(&self.first_reports);
        self.request = RequestHeaders(payload.metadata.clone());
        self.evaluator.failure = None;
    }

    fn set_time(&mut self, now: WallTime) {
        self.evaluator.environment.unix_nanos = now.0.cast_signed();
    }

    fn output_limit(&self, _: &Payload) -> OutputLimit {
        OutputLimit::default()
    }

    fn cost_per_byte(&self) -> u64 {
        *self.signal.entry_of(&self.costs)
    }

    fn begin_next_pass(&mut self) -> bool {
        let conditions = |pass: &LevelConditions| pass.sequences().map(|found| found.conditions().len()).sum::<usize>();
        self.first_report += self.pass().map_or(0, conditions);
        self.pass += 1;
        self.pass().is_some()
    }

    fn take_failure(&mut self) -> Option<Outcome> {
        self.evaluator.failure.take().map(Outcome::permanent)
    }

    fn end(&mut self, edited: Option<&Edited>) {
        self.request = RequestHeaders::default();
        let counter = match self.signal {
            Signal::Traces => &self.metrics.spans,
            Signal::Metrics => &self.metrics.points,
            Signal::Logs => &self.metrics.logs,
        };
        counter.add(edited.map_or(0, |edited| edited.dropped));
        self.reports.report(&mut self.evaluator.counts);
    }
}
