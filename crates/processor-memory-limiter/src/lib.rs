//! The `memory_limiter` processor.
//!
//! Data is refused when a limit is reached. Two values are compared: for each payload, the bytes that the collector
//! holds and keeps ([`Budget`]) with the soft limit, and, at each `check_interval`, the process's resident memory with
//! the hard limit. An allocator does not return all free memory to the system, so resident memory can stay above the
//! limit when little is held: a quarter of the soft limit may be held all the same, which reuses that memory. Inside a host program it is not read, since most of it is the host's: there the limits apply to what the
//! collector holds and keeps, `limit_percentage` as a part of the cgroup's or the machine's memory.
//!
//! Kept state of components (for example the series of an exporter) reduces the room for data in flight, but never to
//! zero: from [`Budget::kept_limit`] on, or while resident memory is above the hard limit, components make no new
//! state, and data that only updates existing state is still accepted.
#![forbid(unsafe_code)]

mod config;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use config::{Limit, MemoryLimiter, MemoryLimiterFactory};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, Budget, Counter, Cx, Detail, Episode, EpisodeReport, Error, Event, Field, Logger, Out, Outcome, Payload,
    Processor, StartError, Telemetry,
};

const MIB: u64 = 1 << 20;

/// The state that all instances of one id share.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// The number of bytes from which on data is refused; `u64::MAX` until the limits are known.
    soft: AtomicU64,
    /// Whether resident memory was above the hard limit at the last check.
    process_over: AtomicBool,
    /// Requests refused since the last check.
    refusals: AtomicU64,
    /// Whether an instance has taken over the checks.
    taken: AtomicBool,
}

impl Checker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { soft: AtomicU64::new(u64::MAX), ..Self::default() })
    }

    /// Whether a payload must be refused while `held` bytes are held, `own` of them its own, and `kept` are kept. Its
    /// own bytes count for the soft limit, but they do not cause high resident memory: the causes are what was held
    /// before it came, and what is kept. Refusing data does not reduce kept state, nor the free memory of the
    /// allocator, so a quarter of the soft limit stays free for data, however much is kept and however high resident
    /// memory is.
    fn refuses(&self, (held, kept): (u64, u64), own: u64) -> bool {
        let soft = self.soft.load(Ordering::Relaxed);
        if held >= soft.saturating_sub(kept).max(soft / 4) {
            return true;
        }
        let others = held.saturating_sub(own);
        self.process_over.load(Ordering::Relaxed) && others >= soft / 4
    }

    /// Stores whether a sample of resident memory was above the hard limit.
    fn sampled(&self, over: bool, budget: &Budget) {
        if self.process_over.swap(over, Ordering::Relaxed) != over {
            budget.press(over);
        }
    }
}

#[derive(Debug)]
struct Metrics {
    accepted: [Counter; 3],
    refused: [Counter; 3],
    incoming: [Counter; 3],
    outgoing: [Counter; 3],
}

impl Metrics {
    fn new(telemetry: &Telemetry, processor: &str, signals: &[Signal]) -> Self {
        let own = || vec![("processor", processor.to_owned())];
        let of = |names: [&'static str; 3], help: &'static str, typed: bool| {
            Signal::ALL.map(|signal| {
                if !signals.contains(&signal) {
                    return Counter::default();
                }
                let mut labels = own();
                if typed {
                    labels.push(("otel_signal", signal.name().to_owned()));
                }
                telemetry.counter(Detail::Basic, names[signal as usize], help, labels)
            })
        };
        Self {
            accepted: of(
                [
                    "otelcol_processor_memory_limiter_accepted_spans",
                    "otelcol_processor_memory_limiter_accepted_metric_points",
                    "otelcol_processor_memory_limiter_accepted_log_records",
                ],
                "Number of items successfully pushed into the next component in the pipeline. [Alpha]",
                false,
            ),
            refused: of(
                [
                    "otelcol_processor_memory_limiter_refused_spans",
                    "otelcol_processor_memory_limiter_refused_metric_points",
                    "otelcol_processor_memory_limiter_refused_log_records",
                ],
                "Number of items that were rejected by the next component in the pipeline. [Alpha]",
                false,
            ),
            incoming: of(
                ["otelcol_processor_incoming_items"; 3],
                "Number of items passed to the processor. [Alpha]",
                true,
            ),
            outgoing: of(
                ["otelcol_processor_outgoing_items"; 3],
                "Number of items emitted from the processor. [Alpha]",
                true,
            ),
        }
    }
}

/// One instance, of one pipeline.
#[derive(Debug)]
pub(crate) struct Limiter {
    settings: MemoryLimiter,
    checker: Arc<Checker>,
    budget: Arc<Budget>,
    metrics: Metrics,
    log: Logger,
    hard: u64,
    /// Whether this instance runs the checks for all instances of its id.
    checks: bool,
    /// The state of the reports that data is refused.
    episode: Episode,
}

impl Limiter {
    pub(crate) fn new(
        settings: MemoryLimiter,
        checker: Arc<Checker>,
        budget: Arc<Budget>,
        processor: &str,
        signals: &[Signal],
        telemetry: &Telemetry,
        log: Logger,
    ) -> Self {
        let metrics = Metrics::new(telemetry, processor, signals);
        Self { settings, checker, budget, metrics, log, hard: u64::MAX, checks: false, episode: Episode::default() }
    }

    fn refused(&self) -> Outcome {
        self.checker.refusals.fetch_add(1, Ordering::Relaxed);
        let message = Cow::Borrowed("data refused due to high memory usage");
        // The state can change at the next check, so the client is asked to retry then.
        Outcome::Retry { after: Some(self.settings.check_interval), why: Error { code: None, message } }
    }

    fn refuses(&self, own: u64) -> bool {
        self.checker.refuses((self.budget.held(), self.budget.kept()), own)
    }

    fn check(&mut self, cx: &mut Cx<'_>) {
        let resident = cx.memory().resident;
        self.checker.sampled(resident >= self.hard, &self.budget);
        let (held, kept) = (self.budget.held(), self.budget.kept());
        // Requests that were refused between two checks count, even if there is room again.
        let refusals = self.checker.refusals.swap(0, Ordering::Relaxed);
        let refuses = refusals > 0 || self.checker.refuses((held, kept), 0);
        let Some(report) = self.episode.observe(cx.now(), refuses, refusals) else { return };
        let (EpisodeReport::Begins { count } | EpisodeReport::Ends { count, .. }) = report;
        let mut fields = vec![
            ("cur_mem_mib", Field::Uint(held.saturating_add(kept) / MIB)),
            ("kept_mib", Field::Uint(kept / MIB)),
            ("refused_requests", Field::Uint(count)),
        ];
        // Zero is unknown.
        if resident > 0 {
            fields.push(("resident_mib", Field::Uint(resident / MIB)));
        }
        match report {
            EpisodeReport::Begins { .. } => {
                self.log.warn("Memory usage is above soft limit. Refusing data.", &fields);
            }
            EpisodeReport::Ends { lasted, .. } => {
                fields.push(("seconds", Field::Float(lasted.as_secs_f64())));
                self.log.info("Memory usage back within limits. Resuming normal operation.", &fields);
            }
        }
    }

    fn arm(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + self.settings.check_interval;
        cx.arm(0, at);
    }
}

/// The hard limit and the distance of the soft limit below it, in bytes, with Go's integer arithmetic.
fn limits(limit: &Limit, total: u64) -> (u64, u64) {
    let or_fifth = |hard: u64, spike: u64| if spike == 0 { hard / 5 } else { spike };
    match *limit {
        Limit::Mib { hard, spike } => {
            let hard = u64::from(hard) * MIB;
            (hard, or_fifth(hard, u64::from(spike) * MIB))
        }
        Limit::Percentage { hard, spike } => {
            let part = |percent: u32| total / 100 * u64::from(percent) + total % 100 * u64::from(percent) / 100;
            (part(hard), or_fifth(part(hard), part(spike)))
        }
    }
}

impl Processor for Limiter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let total = match self.settings.limit {
            Limit::Mib { .. } => 0,
            Limit::Percentage { .. } => cx.memory().total.ok_or_else(|| {
                StartError("failed to get total memory, use fixed memory settings (limit_mib): no cgroup and no /proc/meminfo says how much there is".to_owned())
            })?,
        };
        let (hard, spike) = limits(&self.settings.limit, total);
        self.hard = hard;
        let soft = hard.saturating_sub(spike);
        self.checker.soft.store(soft, Ordering::Relaxed);
        self.budget.set_limit(soft);
        self.budget.set_hard_limit(hard);
        self.checks = !self.checker.taken.swap(true, Ordering::Relaxed);
        if self.checks {
            if let Limit::Percentage { hard, spike } = self.settings.limit {
                let fields = [
                    ("total_memory_mib", Field::Uint(total / MIB)),
                    ("limit_percentage", Field::Uint(u64::from(hard))),
                    ("spike_limit_percentage", Field::Uint(u64::from(spike))),
                ];
                self.log.info("Using percentage memory limiter", &fields);
            }
            let fields = [
                ("limit_mib", Field::Uint(hard / MIB)),
                ("spike_limit_mib", Field::Uint(spike / MIB)),
                ("check_interval", Field::Float(self.settings.check_interval.as_secs_f64())),
            ];
            self.log.info("Memory limiter configured", &fields);
            self.check(cx);
            self.arm(cx);
        }
        Ok(())
    }

    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, out: &mut Out) {
        let (signal, items) = (payload.signal as usize, u64::from(payload.items()));
        self.metrics.incoming[signal].add(items);
        if self.refuses(payload.body.len() as u64) {
            self.metrics.refused[signal].add(items);
            ack.settle(self.refused());
        } else {
            self.metrics.accepted[signal].add(items);
            self.metrics.outgoing[signal].add(items);
            out.send(payload, ack);
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut Out) {
        if matches!(event, Event::Timer) && self.checks {
            self.check(cx);
            self.arm(cx);
        }
    }

    fn refusal(&self) -> Option<Outcome> {
        self.refuses(0).then(|| self.refused())
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        if self.checks {
            self.checker.sampled(false, &self.budget);
            self.checker.taken.store(false, Ordering::Relaxed);
        }
    }
}

/// The shortest interval: more frequent checks would cost more than they are worth.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
