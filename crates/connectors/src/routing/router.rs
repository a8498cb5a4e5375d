//! Divides a payload by a table: one body for each group of pipelines.
//!
//! A route is a pass over what the routes before it have left: its condition is evaluated on each resource, span, metric,
//! point or log record. A route that matches a part needs a second pass, which leaves out the other part; what a route does
//! not match is not copied. Reads no clock, and passes nothing on.

use std::sync::Arc;

use otelcore_ottl::contexts::{ContextMut, DataPointContext, LogContext, MetricContext, ResourceContext, SpanContext};
use otelcore_ottl::evaluate::State;
use otelcore_ottl::{ErrorMode, EvalError, Execution, FixedEnvironment};
use otelcore_pdata::edit::{
    Descend, EditPass, Editor, Keep, LogMut, MetricMut, OutputLimit, PointMut, ResourceMut, ScopeMut, SpanMut,
};
use otelcore_pdata::{Rope, Signal, StepBudget};
use otelcore_pipeline::{Held, MonotonicTime, Outcome, Payload, WallTime};

use super::table::{Action, Match, RouteContext, Table};
use crate::conditions::{RequestHeaders, cost_of_calls};
use crate::ordered_work::Work;

/// The body of a group of pipelines.
#[derive(Debug)]
pub(super) struct GroupBody {
    /// In [`Table::groups`].
    pub(super) group: usize,
    pub(super) body: Rope,
}

/// Conditions that could not be evaluated on items of one payload.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The route, how often, and the first error. Each route once.
    pub(super) routes: Vec<(usize, u64, String)>,
}

impl Failures {
    #[cold]
    fn add(&mut self, route: usize, error: &EvalError) {
        match self.routes.last_mut() {
            Some((last, count, _)) if *last == route => *count += 1,
            _ => self.routes.push((route, 1, error.to_string())),
        }
    }
}

/// What became of a payload.
#[derive(Debug)]
pub(super) struct Routed {
    /// Those that get something, in the order in which the table names them first.
    pub(super) groups: Vec<GroupBody>,
    pub(super) failures: Failures,
    /// The charge for bytes that were written.
    pub(super) output: Held,
    /// The outcome of a payload that can't be divided.
    pub(super) refusal: Option<Outcome>,
    /// Items that a route has copied, and that no route has matched.
    pub(super) copied: u64,
    pub(super) unmatched: u64,
}

/// Divides payloads.
pub(super) struct Router {
    table: Arc<Table>,
    error_mode: ErrorMode,
    state: State,
    environment: FixedEnvironment,
    cost_per_byte: u64,
}

impl Router {
    /// `seed` is for functions of conditions.
    pub(super) fn new(table: Arc<Table>, error_mode: ErrorMode, seed: u64) -> Self {
        let cost_per_byte = table.routes.iter().map(|route| 12 + cost_of_calls(route.matching.text())).sum();
        let environment = FixedEnvironment::new(0, seed);
        Self { table, error_mode, state: State::default(), environment, cost_per_byte }
    }

    fn divide(&mut self, payload: &mut Payload, routed: &mut Routed) -> Result<(), Outcome> {
        let table = self.table.clone();
        let mut rest = std::mem::take(&mut payload.body);
        let mut written = 0;
        for (index, route) in table.routes.iter().enumerate() {
            if rest.items() == 0 {
                break;
            }
            let matched = match &route.matching {
                Match::Request(condition) if !condition.holds(payload.metadata.as_deref()) => continue,
                Match::Request(_) if route.action == Action::Copy => rest.clone(),
                Match::Request(_) => std::mem::take(&mut rest),
                Match::Condition(context, _) | Match::Statement(context, _) => {
                    if !context.is_of(payload.signal) {
                        continue;
                    }
                    let mut pass = RoutePass {
                        router: self,
                        signal: payload.signal,
                        route: index,
                        context: *context,
                        request: RequestHeaders(payload.metadata.clone()),
                        routed,
                        written: &mut written,
                    };
                    pass.run(&mut rest)?
                }
            };
            if route.action == Action::Copy {
                routed.copied += u64::from(matched.items());
            }
            routed.add(route.group, matched);
        }
        match table.default_group {
            Some(group) => routed.add(group, rest),
            None => routed.unmatched = u64::from(rest.items()),
        }
        Ok(())
    }
}

impl Routed {
    fn add(&mut self, group: usize, body: Rope) {
        if body.items() == 0 {
            return;
        }
        match self.groups.iter_mut().find(|there| there.group == group) {
            Some(there) => there.body.append(body),
            None => self.groups.push(GroupBody { group, body }),
        }
    }
}

impl Work for Router {
    type Output = Routed;

    fn cost_per_byte(&self) -> u64 {
        self.cost_per_byte
    }

    fn set_time(&mut self, _: MonotonicTime, wall_time: WallTime) {
        self.environment.unix_nanos = wall_time.0.cast_signed();
    }

    fn run(&mut self, payload: &mut Payload) -> Routed {
        let output = payload.held.hold_derived(0);
        let mut routed = Routed {
            groups: Vec::new(),
            failures: Failures::default(),
            output,
            refusal: None,
            copied: 0,
            unmatched: 0,
        };
        if let Err(refusal) = self.divide(payload, &mut routed) {
            routed.groups.clear();
            routed.refusal = Some(refusal);
        }
        routed
    }
}

/// One route over what is left of a payload.
struct RoutePass<'a> {
    router: &'a mut Router,
    signal: Signal,
    route: usize,
    context: RouteContext,
    request: RequestHeaders,
    routed: &'a mut Routed,
    /// Bytes written by all passes.
    written: &'a mut u64,
}

impl RoutePass<'_> {
    /// Takes out of `rest` what the route matches and moves; returns what matches.
    fn run(&mut self, rest: &mut Rope) -> Result<Rope, Outcome> {
        let table = self.router.table.clone();
        let Some(route) = table.routes.get(self.route) else { return Ok(Rope::default()) };
        let before = rest.clone();
        // What a statement changes is changed in what is moved as well, so that it can't be left out at once.
        let changes = route.matching.changes();
        let drops = route.action == Action::Move && !changes;
        let mut evaluation = Evaluate {
            matching: &route.matching,
            context: self.context,
            drops,
            state: &mut self.router.state,
            environment: &self.router.environment,
            error_mode: self.router.error_mode,
            request: &self.request,
            route: self.route,
            failures: &mut self.routed.failures,
            matches: Vec::new(),
            failure: None,
        };
        let after = edit(self.signal, std::mem::take(rest), &mut evaluation, &mut self.routed.output, self.written)?;
        if let Some(failure) = evaluation.failure.take() {
            return Err(Outcome::permanent(failure));
        }
        let matches = evaluation.matches;
        let count = matches.iter().filter(|matched| **matched).count();
        if count == 0 {
            *rest = after;
            return Ok(Rope::default());
        }
        let source = if changes { after.clone() } else { before.clone() };
        *rest = match route.action {
            Action::Copy => source.clone(),
            Action::Move if drops => after,
            Action::Move if count == matches.len() => Rope::default(),
            Action::Move => self.select(source.clone(), &matches, false)?,
        };
        if count == matches.len() { Ok(source) } else { self.select(source, &matches, true) }
    }

    /// What matches, or what does not.
    fn select(&mut self, source: Rope, matches: &[bool], kept: bool) -> Result<Rope, Outcome> {
        let mut selection = Select { context: self.context, matches: matches.iter(), kept };
        edit(self.signal, source, &mut selection, &mut self.routed.output, self.written)
    }
}

/// Runs a pass to its end. What it writes is charged while it grows.
fn edit(
    signal: Signal,
    body: Rope,
    editor: &mut dyn Editor,
    output: &mut Held,
    written: &mut u64,
) -> Result<Rope, Outcome> {
    let mut pass = EditPass::new(signal, body, OutputLimit::default());
    loop {
        let is_done = pass
            .step(editor, &mut StepBudget::for_one_step())
            .map_err(|error| Outcome::permanent(error.to_string()))?;
        let total = written.saturating_add(pass.written() as u64);
        output.try_grow(total).map_err(|no_room| Outcome::retry(no_room.to_string()))?;
        if is_done {
            *written = total;
            return Ok(pass.finish().0);
        }
    }
}

/// Evaluates a route on each item of its context.
struct Evaluate<'a> {
    matching: &'a Match,
    context: RouteContext,
    /// Whether what matches is left out.
    drops: bool,
    state: &'a mut State,
    environment: &'a FixedEnvironment,
    error_mode: ErrorMode,
    request: &'a RequestHeaders,
    route: usize,
    failures: &'a mut Failures,
    /// The results, in the order of the items.
    matches: Vec<bool>,
    /// Why the payload is refused. Nothing is evaluated after it.
    failure: Option<String>,
}

impl Evaluate<'_> {
    /// Whether the item stays in the output.
    fn evaluate(&mut self, context: &mut dyn ContextMut) -> bool {
        if self.failure.is_some() {
            return true;
        }
        let result = match self.matching {
            Match::Request(_) => Ok(false),
            Match::Condition(_, condition) => {
                let execution = Execution::new(context, self.state, self.environment);
                condition.evaluate(&execution.view())
            }
            Match::Statement(_, statement) => {
                self.state.clear_cache();
                statement.execute(&mut Execution::new(context, self.state, self.environment))
            }
        };
        let matched = match result {
            Ok(matched) => matched,
            Err(error) => {
                self.failures.add(self.route, &error);
                if self.error_mode == ErrorMode::Propagate {
                    self.failure = Some(format!("failed to route by `{}`: {error}", self.matching.text()));
                }
                false
            }
        };
        self.matches.push(matched);
        !(matched && self.drops)
    }
}

fn descend(is_kept: bool) -> Descend {
    if is_kept { Descend::Skip } else { Descend::Drop }
}

fn keep(is_kept: bool) -> Keep {
    if is_kept { Keep::Keep } else { Keep::Drop }
}

impl Editor for Evaluate<'_> {
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        if self.context != RouteContext::Resource {
            return Descend::Children;
        }
        let request = self.request;
        descend(self.evaluate(&mut ResourceContext { resource, request: Some(request) }))
    }

    fn scope(&mut self, _: &mut ScopeMut<'_>) -> Descend {
        Descend::Children
    }

    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let request = self.request;
        descend(self.evaluate(&mut SpanContext { span, request: Some(request) }))
    }

    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        if self.context == RouteContext::DataPoint {
            return Descend::Children;
        }
        let request = self.request;
        descend(self.evaluate(&mut MetricContext::new(metric, Some(request))))
    }

    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        let request = self.request;
        keep(self.evaluate(&mut DataPointContext::new(point, Some(request))))
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        let request = self.request;
        keep(self.evaluate(&mut LogContext { log, request: Some(request) }))
    }
}

/// Keeps the items whose result is `kept`.
struct Select<'a> {
    context: RouteContext,
    matches: std::slice::Iter<'a, bool>,
    kept: bool,
}

impl Select<'_> {
    fn is_next_kept(&mut self) -> bool {
        self.matches.next() == Some(&self.kept)
    }
}

impl Editor for Select<'_> {
    fn resource(&mut self, _: &mut ResourceMut<'_>) -> Descend {
        if self.context == RouteContext::Resource { descend(self.is_next_kept()) } else { Descend::Children }
    }

    fn span(&mut self, _: &mut SpanMut<'_>) -> Descend {
        descend(self.is_next_kept())
    }

    fn metric(&mut self, _: &mut MetricMut<'_>) -> Descend {
        if self.context == RouteContext::Metric { descend(self.is_next_kept()) } else { Descend::Children }
    }

    fn point(&mut self, _: &mut PointMut<'_>) -> Keep {
        keep(self.is_next_kept())
    }

    fn log(&mut self, _: &mut LogMut<'_>) -> Keep {
        keep(self.is_next_kept())
    }
}
