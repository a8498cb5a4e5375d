//! The `memory_limiter` processor.
//!
//! Data is refused when a limit is reached. Two values are compared: for each payload, the bytes that the collector
//! holds and keeps ([`Budget`]) with the soft limit, and, at each `check_interval`, the process's resident memory with
//! the hard limit. An allocator does not return all free memory to the system, so resident memory can stay above the
//! limit when little is held: a quarter of the soft limit may be held all the same, which reuses that memory. Inside a
//! host program it is not read, since most of it is the host's: there the limits apply to what the collector holds and
//! keeps, `limit_percentage` as a part of the cgroup's or the machine's memory.
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

pub use config::{GarbageCollectorConfig, MemoryLimit, MemoryLimiterConfig, MemoryLimiterFactory};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Ack, Budget, BudgetLimit, ConditionReport, ConditionReporter, Counter, Cx, Downstream, Error, Event, LogField,
    Logger, MetricsLevel, Outcome, Payload, Processor, StartError, Telemetry,
};

const MIB: u64 = 1 << 20;

/// The state that all instances of one id share.
#[derive(Debug, Default)]
pub(crate) struct SharedState {
    /// The number of bytes from which on data is refused; `u64::MAX` until the limits are known.
    soft_limit: AtomicU64,
    /// Whether resident memory was above the hard limit at the last check.
    is_resident_over: AtomicBool,
    /// Requests refused since the last check.
    refusals: AtomicU64,
    /// Whether an instance has taken over the checks.
    has_checking_instance: AtomicBool,
}

impl SharedState {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { soft_limit: AtomicU64::new(u64::MAX), ..Self::default() })
    }

    /// Whether a payload must be refused while `held` bytes are held, `own_bytes` of them its own, and `kept` are kept.
    /// Its own bytes count for the soft limit, but they do not cause high resident memory: the causes are what was held
    /// before it came, and what is kept. Refusing data does not reduce kept state, nor the free memory of the
    /// allocator, so a quarter of the soft limit stays free for data, however much is kept and however high resident
    /// memory is.
    fn refuses(&self, (held, kept): (u64, u64), own_bytes: u64) -> bool {
        let soft = self.soft_limit.load(Ordering::Relaxed);
        if held >= soft.saturating_sub(kept).max(soft / 4) {
            return true;
        }
        let other_bytes = held.saturating_sub(own_bytes);
        self.is_resident_over.load(Ordering::Relaxed) && other_bytes >= soft / 4
    }

    /// Stores whether a sample of resident memory was above the hard limit.
    fn set_resident_over(&self, is_over: bool, budget: &Budget) {
        if self.is_resident_over.swap(is_over, Ordering::Relaxed) != is_over {
            budget.count_over_hard_limit(is_over);
        }
    }
}

#[derive(Debug)]
struct LimiterMetrics {
    accepted: [Counter; 3],
    refused: [Counter; 3],
}

impl LimiterMetrics {
    fn new(telemetry: &Telemetry, processor: &str, signals: &[Signal]) -> Self {
        let processor_labels = || vec![("processor", processor.to_owned())];
        let counters = |names: [&'static str; 3], help: &'static str| {
            Signal::ALL.map(|signal| {
                if !signals.contains(&signal) {
                    return Counter::default();
                }
                telemetry.counter(MetricsLevel::Basic, names[signal as usize], help, processor_labels())
            })
        };
        Self {
            accepted: counters(
                [
                    "otelcol_processor_memory_limiter_accepted_spans",
                    "otelcol_processor_memory_limiter_accepted_metric_points",
                    "otelcol_processor_memory_limiter_accepted_log_records",
                ],
                "Number of items successfully pushed into the next component in the pipeline. [Alpha]",
            ),
            refused: counters(
                [
                    "otelcol_processor_memory_limiter_refused_spans",
                    "otelcol_processor_memory_limiter_refused_metric_points",
                    "otelcol_processor_memory_limiter_refused_log_records",
                ],
                "Number of items that were rejected by the next component in the pipeline. [Alpha]",
            ),
        }
    }
}

/// One instance, of one pipeline.
#[derive(Debug)]
pub(crate) struct MemoryLimiterProcessor {
    config: MemoryLimiterConfig,
    shared: Arc<SharedState>,
    budget: Arc<Budget>,
    metrics: LimiterMetrics,
    log: Logger,
    hard_limit: u64,
    /// The limits of the budget, once it is started.
    limit: Option<BudgetLimit>,
    /// Whether this instance runs the checks for all instances of its id.
    runs_checks: bool,
    /// The state of the reports that data is refused.
    refusal_condition: ConditionReporter,
}

impl MemoryLimiterProcessor {
    pub(crate) fn new(
        config: MemoryLimiterConfig,
        shared: Arc<SharedState>,
        budget: Arc<Budget>,
        processor: &str,
        signals: &[Signal],
        telemetry: &Telemetry,
        log: Logger,
    ) -> Self {
        let metrics = LimiterMetrics::new(telemetry, processor, signals);
        Self {
            config,
            shared,
            budget,
            metrics,
            log,
            hard_limit: u64::MAX,
            limit: None,
            runs_checks: false,
            refusal_condition: ConditionReporter::default(),
        }
    }

    fn new_refusal(&self) -> Outcome {
        self.shared.refusals.fetch_add(1, Ordering::Relaxed);
        let message = Cow::Borrowed("data refused due to high memory usage");
        // The state can change at the next check, so the client is asked to retry then.
        Outcome::Retry { after: Some(self.config.interval()), why: Error { code: None, message } }
    }

    fn refuses(&self, own_bytes: u64) -> bool {
        self.shared.refuses((self.budget.held(), self.budget.kept()), own_bytes)
    }

    fn check(&mut self, cx: &mut Cx<'_>) {
        let resident = cx.sample_memory().resident;
        self.shared.set_resident_over(resident >= self.hard_limit, &self.budget);
        let (held, kept) = (self.budget.held(), self.budget.kept());
        // Requests that were refused between two checks count, even if there is room again.
        let refusals = self.shared.refusals.swap(0, Ordering::Relaxed);
        let refuses = refusals > 0 || self.shared.refuses((held, kept), 0);
        let Some(report) = self.refusal_condition.observe(cx.now(), refuses, refusals) else { return };
        let (ConditionReport::Began { count } | ConditionReport::Ended { count, .. }) = report;
        let mut fields = vec![
            ("cur_mem_mib", LogField::Uint(held.saturating_add(kept) / MIB)),
            ("kept_mib", LogField::Uint(kept / MIB)),
            ("refused_requests", LogField::Uint(count)),
        ];
        // Zero is unknown.
        if resident > 0 {
            fields.push(("resident_mib", LogField::Uint(resident / MIB)));
        }
        match report {
            ConditionReport::Began { .. } => {
                self.log.warn("Memory usage is above soft limit. Refusing data.", &fields);
            }
            ConditionReport::Ended { duration: lasted, .. } => {
                fields.push(("seconds", LogField::Float(lasted.as_secs_f64())));
                self.log.info("Memory usage back within limits. Resuming normal operation.", &fields);
            }
        }
    }

    /// Makes this instance run the checks, if no other one of its id does. True if it has just begun to.
    fn takes_over_checks(&mut self) -> bool {
        let takes_over = !self.runs_checks && !self.shared.has_checking_instance.swap(true, Ordering::Relaxed);
        self.runs_checks |= takes_over;
        takes_over
    }

    fn set_check_timer(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + self.config.interval();
        cx.set_timer(0, at);
    }
}

/// The hard limit and the distance of the soft limit below it, in bytes, with Go's integer arithmetic.
fn limits_in_bytes(limit: &MemoryLimit, total: u64) -> (u64, u64) {
    let spike_or_default = |hard: u64, spike: u64| if spike == 0 { hard / 5 } else { spike };
    match *limit {
        MemoryLimit::Mib { hard, spike } => {
            let hard = u64::from(hard) * MIB;
            (hard, spike_or_default(hard, u64::from(spike) * MIB))
        }
        MemoryLimit::Percentage { hard, spike } => {
            let percent_of_total =
                |percent: u32| total / 100 * u64::from(percent) + total % 100 * u64::from(percent) / 100;
            (percent_of_total(hard), spike_or_default(percent_of_total(hard), percent_of_total(spike)))
        }
    }
}

impl Processor for MemoryLimiterProcessor {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let total = match self.config.limit() {
            MemoryLimit::Mib { .. } => 0,
            MemoryLimit::Percentage { .. } => cx.sample_memory().total.ok_or_else(|| {
                StartError::Config("failed to get total memory, use fixed memory settings (limit_mib): no cgroup and no /proc/meminfo says how much there is".to_owned())
            })?,
        };
        let (hard, spike) = limits_in_bytes(&self.config.limit(), total);
        self.hard_limit = hard;
        let soft = hard.saturating_sub(spike);
        self.shared.soft_limit.store(soft, Ordering::Relaxed);
        self.limit = Some(self.budget.limit_while(soft, hard));
        if self.takes_over_checks() {
            if let MemoryLimit::Percentage { hard, spike } = self.config.limit() {
                let fields = [
                    ("total_memory_mib", LogField::Uint(total / MIB)),
                    ("limit_percentage", LogField::Uint(u64::from(hard))),
                    ("spike_limit_percentage", LogField::Uint(u64::from(spike))),
                ];
                self.log.info("Using percentage memory limiter", &fields);
            }
            let fields = [
                ("limit_mib", LogField::Uint(hard / MIB)),
                ("spike_limit_mib", LogField::Uint(spike / MIB)),
                ("check_interval", LogField::Float(self.config.interval().as_secs_f64())),
            ];
            self.log.info("Memory limiter configured", &fields);
            self.check(cx);
            self.set_check_timer(cx);
        }
        Ok(())
    }

    fn process(&mut self, cx: &mut Cx<'_>, payload: Payload, ack: Ack, out: &mut Downstream) {
        // The instance that ran the checks may have ended with its pipeline.
        if !self.shared.has_checking_instance.load(Ordering::Relaxed) && self.takes_over_checks() {
            self.check(cx);
            self.set_check_timer(cx);
        }
        let (signal, items) = (payload.signal as usize, u64::from(payload.items()));
        if self.refuses(payload.body.len() as u64) {
            self.metrics.refused[signal].add(items);
            out.refuse(ack, payload.items(), self.new_refusal());
        } else {
            self.metrics.accepted[signal].add(items);
            out.send(payload, ack);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut Downstream) {
        if matches!(event, Event::Timer) && self.runs_checks {
            self.check(cx);
            self.set_check_timer(cx);
        }
    }

    fn refusal(&self) -> Option<Outcome> {
        self.refuses(0).then(|| self.new_refusal())
    }
}

impl Drop for MemoryLimiterProcessor {
    fn drop(&mut self) {
        if self.runs_checks {
            self.shared.set_resident_over(false, &self.budget);
            self.shared.has_checking_instance.store(false, Ordering::Relaxed);
        }
    }
}

/// The shortest interval: more frequent checks would cost more than they are worth.
pub(crate) const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
