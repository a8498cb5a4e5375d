//! The editor that runs groups of statements, each in a pass of its own.

use std::mem;
use std::sync::Arc;

use otelcore_ottl::contexts::{
    ContextMut, DataPointContext, LogContext, MetricContext, OwnedMetric, ResourceContext, ScopeContext, SpanContext,
    SpanEventContext,
};
use otelcore_ottl::evaluate::State;
use otelcore_ottl::{Execution, FixedEnvironment};
use otelcore_pdata::edit::{
    Descend, Edited, Editor, EventMut, Keep, LogMut, MetricMut, OutputLimit, PointMut, ResourceMut, ScopeMut, SpanMut,
    edit,
};
use otelcore_pdata::views::{ResourceMetrics, resource_entries};
use otelcore_pdata::wire_format::put_bytes_field;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Outcome, Payload, WallTime};

use crate::edit_processor::PayloadEditor;
use crate::ottl_functions::ADDING_METRICS;
use crate::statements::{
    ContextKind, FailureCounts, FailureReports, RequestHeaders, StatementGroup, cost_of_text, first_reports,
};

/// Units for a byte where a statement adds metrics: what it costs does not depend on the length of the payload alone,
/// so that the payload is always edited on a helper thread.
const COST_OF_ADDING_METRICS: u64 = 1 << 32;

/// The groups by signal.
pub(super) type Groups = [Arc<[StatementGroup]>; 3];

pub(super) struct TransformEditor {
    groups: Groups,
    /// By signal: see [`PayloadEditor::cost_per_byte`].
    costs: [u64; 3],
    /// By signal: how many statements and conditions there are before those of it.
    first_reports: [usize; 3],
    signal: Signal,
    /// The group of this pass.
    group: usize,
    /// How many statements and conditions of other groups are before those of this group.
    first_report: usize,
    runner: Runner,
    request: RequestHeaders,
    reports: FailureReports,
    /// The position of the next event in its span.
    event_index: i64,
    /// Metrics that statements have added, to be transformed as well, and how many bytes may be added to the payload.
    added: Vec<OwnedMetric>,
    room: usize,
    /// The metrics that are visited were added.
    is_nested: bool,
}

/// What statements run with.
struct Runner {
    state: State,
    environment: FixedEnvironment,
    counts: FailureCounts,
    /// Why the payload is refused.
    failure: Option<String>,
}

impl Runner {
    /// Runs a group on one item.
    fn run(&mut self, group: &StatementGroup, first_report: usize, context: &mut dyn ContextMut) {
        self.state.clear_cache();
        let counts = &mut self.counts;
        let mut execution = Execution::new(context, &mut self.state, &self.environment);
        let mut result = Ok(true);
        if let Some(conditions) = &group.conditions {
            let first = first_report + group.statements.statements().len();
            result = conditions.evaluate(&execution.view(), &mut |index, error| counts.add(first + index, error));
        }
        let result = match result {
            Ok(true) => group
                .statements
                .execute(&mut execution, &mut |index, error| counts.add(first_report + index, error))
                .map_err(|failure| (first_report + failure.index, failure)),
            Ok(false) => Ok(()),
            Err(failure) => Err((first_report + group.statements.statements().len() + failure.index, failure)),
        };
        if let Err((index, failure)) = result {
            self.counts.add(index, &failure.error);
            self.failure.get_or_insert(failure.message);
        }
    }
}

impl TransformEditor {
    pub(super) fn new(groups: Groups, reports: FailureReports, environment: FixedEnvironment) -> Self {
        let reports_of = |groups: &Arc<[StatementGroup]>| groups.iter().map(StatementGroup::reports).sum();
        Self {
            costs: groups.each_ref().map(|groups| cost_of(groups)),
            first_reports: first_reports(groups.each_ref().map(reports_of)),
            groups,
            signal: Signal::Traces,
            group: 0,
            first_report: 0,
            runner: Runner { state: State::default(), environment, counts: FailureCounts::default(), failure: None },
            request: RequestHeaders::default(),
            reports,
            event_index: 0,
            added: Vec::new(),
            room: 0,
            is_nested: false,
        }
    }

    fn groups(&self) -> &Arc<[StatementGroup]> {
        self.signal.entry_of(&self.groups)
    }

    /// The context of this pass; `None` if nothing is left to do in the payload.
    fn kind(&self) -> Option<ContextKind> {
        if self.runner.failure.is_some() {
            return None;
        }
        self.groups().get(self.group).map(|group| group.kind)
    }

    /// Runs the group of this pass on an item that `with` makes a context of.
    fn run(&mut self, with: impl FnOnce(&mut Runner, &RequestHeaders, &StatementGroup, usize)) {
        if let Some(group) = self.signal.entry_of(&self.groups).get(self.group) {
            with(&mut self.runner, &self.request, group, self.first_report);
        }
    }

    /// Adds metrics after `metric`, transformed by this pass. Statements may add further ones to them.
    fn add_metrics(&mut self, metric: &mut MetricMut<'_>, mut added: Vec<OwnedMetric>) {
        if self.is_nested {
            // Those that have added it go on with them.
            return self.added.append(&mut added);
        }
        while !added.is_empty() && self.runner.failure.is_none() {
            let parents = Parents::of(metric);
            let mut rope = parents.body_with(&added);
            self.is_nested = true;
            let result = edit(Signal::Metrics, &mut rope, self);
            self.is_nested = false;
            let body = rope.to_bytes();
            let mut size = 0;
            let rope = Rope::new(body, 0);
            if let Some(entry) = resource_entries::<ResourceMetrics<'_>>(&rope).next() {
                parents.write_changes(metric, &entry);
                for scope in entry.scope_metrics() {
                    for made in scope.metrics() {
                        size += made.raw.len() + 8;
                        if size <= self.room {
                            metric.append(made.raw);
                        }
                    }
                }
            }
            if result.is_err() || size > self.room {
                self.runner.failure = Some(
                    "statements add metrics without end: a metric that is added is transformed as well, so exclude it \
                     with a condition"
                        .to_owned(),
                );
            }
            self.room = self.room.saturating_sub(size);
            added = mem::take(&mut self.added);
        }
    }
}

/// The messages around a metric.
struct Parents {
    resource: Vec<u8>,
    resource_schema_url: Vec<u8>,
    scope: Vec<u8>,
    scope_schema_url: Vec<u8>,
}

impl Parents {
    fn of(metric: &MetricMut<'_>) -> Self {
        Self {
            resource: metric.resource().raw.to_vec(),
            resource_schema_url: metric.resource_schema_url().to_vec(),
            scope: metric.scope().raw.to_vec(),
            scope_schema_url: metric.scope_schema_url().to_vec(),
        }
    }

    /// A body that has these metrics and nothing else.
    fn body_with(&self, metrics: &[OwnedMetric]) -> Rope {
        let mut scope_metrics = Vec::new();
        put_bytes_field(&mut scope_metrics, 1, &self.scope);
        let mut raw = Vec::new();
        for metric in metrics {
            raw.clear();
            metric.encode(&mut raw);
            put_bytes_field(&mut scope_metrics, 2, &raw);
        }
        put_bytes_field(&mut scope_metrics, 3, &self.scope_schema_url);
        let mut entry = Vec::new();
        put_bytes_field(&mut entry, 1, &self.resource);
        put_bytes_field(&mut entry, 2, &scope_metrics);
        put_bytes_field(&mut entry, 3, &self.resource_schema_url);
        let mut body = Vec::new();
        put_bytes_field(&mut body, 1, &entry);
        Rope::new(body.into(), 0)
    }

    /// Writes what statements have changed in the messages around the metrics.
    fn write_changes(&self, metric: &mut MetricMut<'_>, entry: &ResourceMetrics<'_>) {
        if entry.resource.raw != self.resource {
            let mut resource = metric.resource_mut();
            let attributes = entry.resource.attributes().map(|found| (found.key, found.value));
            resource.attributes().replace_all(attributes);
            resource.set_dropped_attributes_count(entry.resource.dropped_attributes_count);
        }
        if entry.schema_url != self.resource_schema_url {
            metric.resource_mut().set_schema_url(entry.schema_url);
        }
        let Some(scope_metrics) = entry.scope_metrics().next() else { return };
        let found = scope_metrics.scope;
        if found.raw != self.scope {
            let mut scope = metric.scope_mut();
            scope.attributes().replace_all(found.attributes().map(|found| (found.key, found.value)));
            scope.set_name(found.name);
            scope.set_version(found.version);
            scope.set_dropped_attributes_count(found.dropped_attributes_count);
        }
        if scope_metrics.schema_url != self.scope_schema_url {
            metric.scope_mut().set_schema_url(scope_metrics.schema_url);
        }
    }
}

impl Editor for TransformEditor {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        match self.kind() {
            None => Descend::Skip,
            Some(ContextKind::Resource) if self.is_nested => Descend::Skip,
            Some(ContextKind::Resource) => {
                self.run(|runner, request, group, first| {
                    runner.run(group, first, &mut ResourceContext { resource, request: Some(request) });
                });
                Descend::Skip
            }
            Some(_) => Descend::Children,
        }
    }

    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        match self.kind() {
            None => Descend::Skip,
            Some(ContextKind::Scope) => {
                self.run(|runner, request, group, first| {
                    runner.run(group, first, &mut ScopeContext { scope, request: Some(request) });
                });
                Descend::Skip
            }
            Some(_) => Descend::Children,
        }
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        self.event_index = 0;
        match self.kind() {
            Some(ContextKind::Span) => {
                self.run(|runner, request, group, first| {
                    runner.run(group, first, &mut SpanContext { span, request: Some(request) });
                });
                Descend::Skip
            }
            Some(ContextKind::SpanEvent) => Descend::Children,
            _ => Descend::Skip,
        }
    }

    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        let index = self.event_index;
        self.event_index += 1;
        if self.kind().is_some() {
            self.run(|runner, request, group, first| {
                runner.run(group, first, &mut SpanEventContext { event, index, request: Some(request) });
            });
        }
        Keep::Keep
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        match self.kind() {
            Some(ContextKind::Metric) => {}
            Some(ContextKind::DataPoint) => return Descend::Children,
            _ => return Descend::Skip,
        }
        let mut made = (None, Vec::new());
        self.run(|runner, request, group, first| {
            let mut context = MetricContext::new(metric, Some(request));
            runner.run(group, first, &mut context);
            made = context.finish();
        });
        let (owned, added) = made;
        if let Some(owned) = owned {
            let mut raw = Vec::new();
            owned.encode(&mut raw);
            metric.replace([&raw[..]]);
        }
        if !added.is_empty() {
            self.add_metrics(metric, added);
        }
        Descend::Skip
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        if self.kind().is_none() {
            return Keep::Keep;
        }
        let mut added = Vec::new();
        self.run(|runner, request, group, first| {
            let mut context = DataPointContext::new(point, Some(request));
            runner.run(group, first, &mut context);
            added = context.finish();
        });
        if !added.is_empty() {
            self.add_metrics(&mut point.metric_mut(), added);
        }
        Keep::Keep
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if self.kind().is_some() {
            self.run(|runner, request, group, first| {
                runner.run(group, first, &mut LogContext { log, request: Some(request) });
            });
        }
        Keep::Keep
    }
}

impl PayloadEditor for TransformEditor {
    fn begin(&mut self, payload: &Payload) {
        self.signal = payload.signal;
        self.group = 0;
        self.first_report = *self.signal.entry_of(&self.first_reports);
        self.request = RequestHeaders(payload.metadata.clone());
        self.runner.failure = None;
        self.added.clear();
        self.room = self.output_limit(payload).of(payload.body.len());
    }

    fn set_time(&mut self, now: WallTime) {
        self.runner.environment.unix_nanos = now.0.cast_signed();
    }

    fn output_limit(&self, _: &Payload) -> OutputLimit {
        OutputLimit::default()
    }

    fn cost_per_byte(&self) -> u64 {
        *self.signal.entry_of(&self.costs)
    }

    fn begin_next_pass(&mut self) -> bool {
        self.first_report += self.groups().get(self.group).map_or(0, StatementGroup::reports);
        self.group += 1;
        self.group < self.groups().len()
    }

    fn take_failure(&mut self) -> Option<Outcome> {
        self.runner.failure.take().map(Outcome::permanent)
    }

    fn end(&mut self, _: Option<&Edited>) {
        self.request = RequestHeaders::default();
        self.reports.report(&mut self.runner.counts);
    }
}

/// Units of work that a byte costs at most, for the groups of a signal.
fn cost_of(groups: &[StatementGroup]) -> u64 {
    let adds_metrics = |text: &str| ADDING_METRICS.iter().any(|name| text.trim_start().starts_with(name));
    let cost = |text: &str| if adds_metrics(text) { COST_OF_ADDING_METRICS } else { cost_of_text(text) };
    groups.iter().flat_map(StatementGroup::texts).map(|(text, _)| cost(text)).sum()
}
