//! The `routing` connector: passes what a table's conditions hold for to the pipelines that the table names.
//!
//! Takes custody of nothing: the parts of a payload are pieces, of which all must be accepted; where a route names several
//! pipelines, each gets a copy, and one that accepts it is enough.

mod config;
mod error_mode;
mod functions;
mod request;
mod router;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use otelcore_config::PipelineId;
use otelcore_ottl::ErrorMode;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput, Counter, Cx,
    Event, LogField, Logger, MetricsLevel, Outcome, Payload, StartError,
};

pub use config::{RouteConfig, RoutingConfig};
pub use error_mode::ErrorModeConfig;
use router::{Failures, Routed, Router};
use table::Table;

use crate::ordered_work::{Finished, OrderedWork};

/// Makes `routing` connectors.
#[derive(Clone, Copy, Debug)]
pub struct RoutingFactory;

impl ComponentType for RoutingFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "routing",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = crate::SAME_SIGNAL_PAIRS;
    type Config = RoutingConfig;

    fn create(&self, config: &RoutingConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let table = Arc::new(compile_table(config, context)?);
        let error_mode = config.error_mode.0;
        let reports = RouteReports::new(&table, error_mode, context);
        let work_table = table.clone();
        let work = OrderedWork::new(move |cx| Router::new(work_table.clone(), error_mode, cx.random()));
        Ok(Component::Connector(Box::new(Routing { work, passing: Passing { table, reports } })))
    }
}

/// The routes of a configuration for the pipelines that the connector feeds.
fn compile_table(config: &RoutingConfig, context: &BuildContext<'_>) -> Result<Table, StartError> {
    let mut table = Table::default();
    let numbers = |ids: &[PipelineId]| -> Result<Vec<usize>, StartError> {
        ids.iter()
            .map(|id| {
                let found = context.output_pipelines.iter().position(|fed| fed == id);
                found.ok_or_else(|| StartError::Config(format!("pipeline not found: missing consumer: \"{id}\"")))
            })
            .collect()
    };
    if !config.default_pipelines.is_empty() {
        table.default_group = Some(table.group(numbers(&config.default_pipelines)?));
    }
    let mut identities = BTreeSet::new();
    for config in &config.table {
        let mut route = config.compile().map_err(|error| StartError::Config(error.message))?;
        let pipelines = numbers(&config.pipelines)?;
        if !identities.insert(config.identity()) {
            let names: Vec<String> = config.pipelines.iter().map(ToString::to_string).collect();
            let fields =
                [("pipelines", LogField::Str(&names.join(", "))), ("route", LogField::Str(&config.identity()))];
            context.log.warn("a route that is in the table before is ignored", &fields);
            continue;
        }
        if let Some(matched) = route.matching.context()
            && let Some(signal) = context.signals.iter().find(|signal| !matched.is_of(**signal))
        {
            let fields = [("route", LogField::Str(route.matching.text())), ("signal", LogField::Str(signal.name()))];
            context.log.warn("a route never matches, because the signal has nothing of its context", &fields);
        }
        route.group = table.group(pipelines);
        table.routes.push(route);
    }
    Ok(table)
}

/// Conditions that fail: counted by route, and logged once each with an example.
struct RouteReports {
    log: Logger,
    error_mode: ErrorMode,
    /// The text, the count, and whether a failure has been logged.
    routes: Vec<(String, Counter, bool)>,
}

impl RouteReports {
    fn new(table: &Table, error_mode: ErrorMode, context: &BuildContext<'_>) -> Self {
        let route = |text: &str| {
            let labels = vec![("connector", context.id.to_string()), ("statement", text.to_owned())];
            let help = "Items on which a statement or condition could not be evaluated.";
            let count = context.telemetry.counter(MetricsLevel::Basic, "otelcol_connector_ottl_errors", help, labels);
            (text.to_owned(), count, false)
        };
        let routes = table.routes.iter().map(|r| route(r.matching.text())).collect();
        Self { log: context.log.clone(), error_mode, routes }
    }

    fn report(&mut self, failures: &Failures) {
        for (index, count, error) in &failures.routes {
            let Some((text, counter, is_logged)) = self.routes.get_mut(*index) else { continue };
            counter.add(*count);
            if self.error_mode == ErrorMode::Ignore && !std::mem::replace(is_logged, true) {
                let fields = [("statement", LogField::Str(text)), ("error", LogField::Str(error))];
                self.log.warn("failed to evaluate a statement; further failures of it are only counted", &fields);
            }
        }
    }
}

struct Routing {
    work: OrderedWork<Router>,
    passing: Passing,
}

/// What passes the parts of a payload on.
struct Passing {
    table: Arc<Table>,
    reports: RouteReports,
}

impl Passing {
    fn pass_on(&mut self, finished: Finished<Router>, output: &mut ConnectorOutput) {
        let Finished { payload, ack, items, output: routed } = finished;
        let Routed { groups, failures, output: written, refusal, copied, unmatched } = routed;
        self.reports.report(&failures);
        if let Some(refusal) = refusal {
            return output.refuse(ack, items, refusal);
        }
        output.record_created("copied", copied);
        output.record_dropped("unmatched", unmatched);
        let part = |body| {
            let mut held = payload.held.clone();
            held.merge(written.clone());
            Payload { signal: payload.signal, body, metadata: payload.metadata.clone(), held }
        };
        let mut groups = groups.into_iter();
        let Some(first) = groups.next() else { return ack.settle(Outcome::Delivered) };
        let pieces = ack.into_pieces();
        for group in std::iter::once(first).chain(groups) {
            let Some(pipelines) = self.table.groups.get(group.group) else { continue };
            send_copies(pipelines, part(group.body), pieces.piece(), output);
        }
    }
}

/// Passes a payload to each of these pipelines: one that accepts it is enough.
fn send_copies(pipelines: &[usize], payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
    let Some((last, others)) = pipelines.split_last() else {
        output.record_dropped("unmatched", u64::from(payload.items()));
        return ack.settle(Outcome::Delivered);
    };
    output.record_created("copied", u64::from(payload.items()).saturating_mul(others.len() as u64));
    for pipeline in others {
        output.send_to(*pipeline, payload.clone(), ack.branch());
    }
    output.send_to(*last, payload, ack);
}

impl Connector for Routing {
    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        if let Some(finished) = self.work.offer(cx, payload, ack, output) {
            self.passing.pass_on(finished, output);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, output: &mut ConnectorOutput) {
        let Self { work, passing } = self;
        if let Some(finished) = work.handle_event(local, output) {
            passing.pass_on(finished, output);
        }
        work.go_on(cx, &mut |finished| passing.pass_on(finished, output));
    }

    fn held_items(&self) -> u64 {
        self.work.held_items()
    }
}
