//! The `service_graph` connector: metrics of the requests between services, from pairs of spans.
//!
//! A payload is delivered when its spans have been read. Spans wait for the other span of their request in a store that is
//! bounded in number; edges and series are charged to the budget. Metrics are cumulative, and are passed on from time to
//! time in parts of [`SERIES_PER_PAYLOAD`] series, one a turn, and once more at the end.

mod config;
mod edges;
mod graph;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, Budget, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Connector, ConnectorOutput,
    Counter, Cx, Event, HeldItems, LogField, Logger, MetricsLevel, Outcome, Payload, StartError, WallTime,
};

use crate::ordered_work::{Finished, JOB_KEY, NEXT_TURN_KEY, OrderedWork};
use config::interval;
pub use config::{ServiceGraphConfig, StoreConfig};
use graph::{GraphCounts, ServiceGraph};

/// Makes `service_graph` connectors.
#[derive(Clone, Copy, Debug)]
pub struct ServiceGraphFactory;

impl ComponentType for ServiceGraphFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Connector,
        type_name: "service_graph",
        aliases: &["servicegraph"],
        signals: &[Signal::Traces],
        stability: "Alpha",
    };
    const SIGNAL_PAIRS: &'static [(Signal, Signal)] = &[(Signal::Traces, Signal::Metrics)];
    type Config = ServiceGraphConfig;

    fn create(&self, config: &ServiceGraphConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let flush_interval = config.metrics_flush_interval.nanos_or_zero();
        if flush_interval == 0 {
            context.log.warn(
                "MetricsFlushInterval is set to 0, metrics will be flushed on every received batch of traces",
                &[],
            );
        }
        let budget = context.budget.clone();
        let work_config = Arc::new(config.clone());
        let work_budget = budget.clone();
        let work = OrderedWork::new(move |cx| ServiceGraph::new(&work_config, &work_budget, cx.now(), cx.wall_time()));
        let counter = |name, help| {
            let labels = vec![("connector", context.id.to_string())];
            context.telemetry.counter(MetricsLevel::Basic, name, help, labels)
        };
        Ok(Component::Connector(Box::new(GraphConnector {
            work,
            tasks: Tasks::default(),
            intervals: [
                (flush_interval > 0).then(|| Duration::from_nanos(flush_interval)),
                Some(interval(config.store_expiration_loop, Duration::from_secs(2))),
                Some(interval(config.cache_loop, Duration::from_mins(1))),
            ],
            offset: config.metrics_timestamp_offset.0,
            budget,
            points_in_flight: 0,
            counters: Counters {
                dropped_spans: counter(
                    "otelcol_connector_servicegraph_dropped_spans",
                    "Number of spans dropped when trying to add edges",
                ),
                expired_edges: counter(
                    "otelcol_connector_servicegraph_expired_edges",
                    "Number of edges that expired before finding its matching span",
                ),
                total_edges: counter("otelcol_connector_servicegraph_total_edges", "Total number of unique edges"),
                dropped_requests: counter(
                    "otelcol_connector_servicegraph_dropped_requests",
                    "Requests that were not counted because there was no room for another series.",
                ),
                log: context.log.clone(),
                is_reported: false,
            },
            is_draining: false,
            is_turn_requested: false,
        })))
    }
}

/// The local keys of the timers, in the order of [`GraphConnector::intervals`], and of the next turn.
const FLUSH_TIMER: u64 = 10;
const EXPIRY_TIMER: u64 = 11;
const CLEANING_TIMER: u64 = 12;
const TASKS_KEY: u64 = 13;

/// Series in one payload of metrics.
const SERIES_PER_PAYLOAD: usize = 500;

/// Edges that expire, or series that are checked, in one turn.
const CHECKED_PER_TURN: usize = 2000;

/// How far a pass over the series is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pass {
    Begin,
    After(Vec<u8>),
}

impl Pass {
    fn cursor(&self) -> Option<&[u8]> {
        match self {
            Self::Begin => None,
            Self::After(key) => Some(key),
        }
    }
}

/// What is to be done when no helper thread has the graph.
#[derive(Debug, Default)]
struct Tasks {
    flush: Option<Pass>,
    /// Another flush was asked for while one was going on.
    flushes_again: bool,
    expires: bool,
    cleans: Option<Pass>,
}

struct Counters {
    dropped_spans: Counter,
    expired_edges: Counter,
    total_edges: Counter,
    dropped_requests: Counter,
    log: Logger,
    is_reported: bool,
}

impl Counters {
    fn add(&mut self, counts: GraphCounts) {
        self.dropped_spans.add(counts.dropped_spans);
        self.expired_edges.add(counts.expired_edges);
        self.total_edges.add(counts.new_edges);
        self.dropped_requests.add(counts.dropped_requests);
        if counts.dropped_requests > 0 && !std::mem::replace(&mut self.is_reported, true) {
            let requests = LogField::Uint(counts.dropped_requests);
            self.log.warn("no room for another series; its requests are only counted", &[("requests", requests)]);
        }
    }
}

struct GraphConnector {
    work: OrderedWork<ServiceGraph>,
    tasks: Tasks,
    /// Of flushes, of the expiry of edges and of the removal of series. `None`: with each payload.
    intervals: [Option<Duration>; 3],
    /// Nanoseconds that metrics are older.
    offset: i64,
    budget: Arc<Budget>,
    /// Data points that are passed on and not settled.
    points_in_flight: u64,
    counters: Counters,
    /// A shutdown has begun: what still comes is passed on at once.
    is_draining: bool,
    is_turn_requested: bool,
}

impl GraphConnector {
    fn set_timer(&self, cx: &mut Cx<'_>, key: u64) {
        let index = usize::try_from(key - FLUSH_TIMER).unwrap_or(usize::MAX);
        if let Some(Some(interval)) = self.intervals.get(index) {
            cx.set_timer(key, cx.now() + *interval);
        }
    }

    fn request_flush(&mut self) {
        if self.tasks.flush.is_some() {
            self.tasks.flushes_again = true;
        } else {
            self.tasks.flush = Some(Pass::Begin);
        }
    }

    fn finish(&mut self, finished: Finished<ServiceGraph>, output: &mut ConnectorOutput) {
        let Finished { payload, ack, items, output: counts } = finished;
        self.counters.add(counts);
        output.record_dropped("aggregated", u64::from(items));
        // Its charge ends before its sender is answered.
        drop(payload);
        ack.settle(Outcome::Delivered);
        // Without an interval, metrics are passed on with each payload.
        if self.is_draining || matches!(self.intervals, [None, ..]) {
            self.request_flush();
        }
    }

    /// Does a part of each task, if the graph is here, and requests another turn for the rest.
    fn run_tasks(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        let (now, time) = (cx.now(), cx.wall_time().0.saturating_add_signed(self.offset.saturating_neg()));
        let Some(graph) = self.work.work(cx) else { return };
        if self.tasks.expires {
            let mut counts = GraphCounts::default();
            self.tasks.expires = graph.expire(now, CHECKED_PER_TURN, &mut counts);
            self.counters.add(counts);
        }
        if let Some(pass) = self.tasks.cleans.take() {
            let rest = graph.series.remove_stale(now, pass.cursor(), CHECKED_PER_TURN);
            self.tasks.cleans = rest.map(Pass::After);
        }
        if let Some(pass) = self.tasks.flush.take() {
            let (body, rest) = graph.series.metrics(WallTime(time), pass.cursor(), SERIES_PER_PAYLOAD);
            self.tasks.flush = rest.map(Pass::After);
            if self.tasks.flush.is_none() && std::mem::take(&mut self.tasks.flushes_again) {
                self.tasks.flush = Some(Pass::Begin);
            }
            if body.items() > 0 {
                let held = self.budget.hold(body.len() as u64);
                let payload = Payload { signal: Signal::Metrics, body, metadata: None, held };
                // The number of the ack is that of its points: nothing else of the payload is kept.
                let points = u64::from(payload.items());
                self.points_in_flight += points;
                output.record_created("aggregated", points);
                output.send(payload, output.new_ack(points));
            }
        }
        let Tasks { flush, expires, cleans, .. } = &self.tasks;
        let has_more = flush.is_some() || cleans.is_some() || *expires;
        if has_more && !std::mem::replace(&mut self.is_turn_requested, true) {
            cx.request_ready(TASKS_KEY);
        }
    }
}

impl Connector for GraphConnector {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        // Series begin now.
        self.work.work(cx);
        [FLUSH_TIMER, EXPIRY_TIMER, CLEANING_TIMER].into_iter().for_each(|key| self.set_timer(cx, key));
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, output: &mut ConnectorOutput) {
        if let Some(finished) = self.work.offer(cx, payload, ack, output) {
            self.finish(finished, output);
        }
        if self.tasks.flush == Some(Pass::Begin) {
            self.run_tasks(cx, output);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, output: &mut ConnectorOutput) {
        match local {
            JOB_KEY | NEXT_TURN_KEY => {
                if let Some(finished) = self.work.handle_event(local, output) {
                    self.finish(finished, output);
                }
                // Before the next job has the graph, so that a steady load does not stop the tasks.
                self.run_tasks(cx, output);
                let mut all = Vec::new();
                self.work.go_on(cx, &mut |finished| all.push(finished));
                all.into_iter().for_each(|finished| self.finish(finished, output));
            }
            FLUSH_TIMER => self.request_flush(),
            EXPIRY_TIMER => self.tasks.expires = true,
            CLEANING_TIMER => {
                self.tasks.cleans.get_or_insert(Pass::Begin);
            }
            _ => self.is_turn_requested = false,
        }
        if (FLUSH_TIMER..=CLEANING_TIMER).contains(&local) {
            self.set_timer(cx, local);
        }
        self.run_tasks(cx, output);
    }

    fn settled(&mut self, _: &mut Cx<'_>, points: u64, outcome: Outcome, output: &mut ConnectorOutput) {
        self.points_in_flight = self.points_in_flight.saturating_sub(points);
        let error = match &outcome {
            Outcome::Delivered => return,
            Outcome::Retry { why, .. } | Outcome::Permanent(why) => why.to_string(),
            Outcome::Lost(_) => "lost".to_owned(),
        };
        output.record_output_dropped("refused_downstream", points);
        // The next metrics have what these ones had.
        self.counters.log.error("failed to flush metrics", &[("error", LogField::Str(&error))]);
    }

    fn flush(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.request_flush();
        self.run_tasks(cx, output);
    }

    fn drain(&mut self, cx: &mut Cx<'_>, output: &mut ConnectorOutput) {
        self.is_draining = true;
        self.request_flush();
        self.run_tasks(cx, output);
    }

    /// While metrics are being passed on, the graph must not end.
    fn held_items(&self) -> u64 {
        self.work.held_items() + u64::from(self.tasks.flush.is_some())
    }

    fn items(&self) -> HeldItems {
        HeldItems { input: self.work.held_items(), output: self.points_in_flight }
    }
}
