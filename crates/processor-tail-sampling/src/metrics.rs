//! The processor's own metrics, under the Go collector's names.

use otelcore_pipeline::{Counter, Gauge, Histogram, MetricsLevel, Telemetry};

use crate::policy::{Answers, Policies};
use crate::traces::Decision;

/// Bounds of ages in seconds and of times in milliseconds, those of the Go collector.
const AGE_BOUNDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];

/// The labels `sampled` and `decision` of each [`Decision`], in its order.
const DECISION_LABELS: [(&str, &str); 3] = [("true", "sampled"), ("false", "not_sampled"), ("false", "dropped")];

/// A counter for each decision.
#[derive(Debug)]
struct DecisionCounters([Counter; 3]);

impl DecisionCounters {
    fn new(make: impl Fn(Vec<(&'static str, String)>) -> Counter) -> Self {
        Self(
            DECISION_LABELS.map(|(sampled, decision)| {
                make(vec![("sampled", sampled.to_owned()), ("decision", decision.to_owned())])
            }),
        )
    }

    fn add(&self, decision: Decision) {
        if let Some(counter) = self.0.get(decision as usize) {
            counter.add(1);
        }
    }
}

#[derive(Debug)]
struct PolicyMetrics {
    traces: DecisionCounters,
    executions: Counter,
}

#[derive(Debug)]
pub(crate) struct TailSamplingMetrics {
    by_policy: Vec<PolicyMetrics>,
    traces: DecisionCounters,
    pub(crate) new_traces: Counter,
    pub(crate) released_sampled: Counter,
    pub(crate) released_not_sampled: Counter,
    pub(crate) errors: Counter,
    pub(crate) too_early: Counter,
    pub(crate) too_large: Counter,
    pub(crate) on_memory: Gauge,
    pub(crate) late_span_age: Histogram,
    pub(crate) removal_age: Histogram,
}

impl TailSamplingMetrics {
    /// `name` is the part of the component's id behind the slash, which is a part of the policies' labels.
    pub(crate) fn new(telemetry: &Telemetry, name: &str, policies: &Policies) -> Self {
        let counter = |metric, help, labels| telemetry.counter(MetricsLevel::Normal, metric, help, labels);
        let by_policy = policies.names().map(|policy| {
            let policy = if name.is_empty() { policy.to_owned() } else { format!("{name}.{policy}") };
            PolicyMetrics {
                traces: DecisionCounters::new(|mut labels| {
                    labels.insert(0, ("policy", policy.clone()));
                    counter(
                        "otelcol_processor_tail_sampling_count_traces_sampled",
                        "Count of traces that were sampled or not per sampling policy",
                        labels,
                    )
                }),
                executions: counter(
                    "otelcol_processor_tail_sampling_sampling_policy_execution_count",
                    "Total number of executions of a specific sampling policy",
                    vec![("policy", policy.clone())],
                ),
            }
        });
        let released = |sampled: &str| {
            counter(
                "otelcol_processor_tail_sampling_early_releases_from_cache_decision",
                "Number of spans that were able to be immediately released due to a decision cache hit.",
                vec![("sampled", sampled.to_owned())],
            )
        };
        let ages = |metric, help| telemetry.histogram(MetricsLevel::Normal, metric, help, vec![], AGE_BOUNDS);
        Self {
            by_policy: by_policy.collect(),
            traces: DecisionCounters::new(|labels| {
                counter(
                    "otelcol_processor_tail_sampling_global_count_traces_sampled",
                    "Global count of traces that were sampled or not by at least one policy",
                    labels,
                )
            }),
            new_traces: counter(
                "otelcol_processor_tail_sampling_new_trace_id_received",
                "Counts the arrival of new traces",
                vec![],
            ),
            released_sampled: released("true"),
            released_not_sampled: released("false"),
            errors: counter(
                "otelcol_processor_tail_sampling_sampling_policy_evaluation_error",
                "Count of sampling policy evaluation errors",
                vec![],
            ),
            too_early: counter(
                "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early",
                "Count of traces that needed to be decided before the configured wait time",
                vec![],
            ),
            too_large: counter(
                "otelcol_processor_tail_sampling_traces_dropped_too_large",
                "Count of traces that were dropped because they were too large",
                vec![],
            ),
            on_memory: telemetry.gauge(
                MetricsLevel::Normal,
                "otelcol_processor_tail_sampling_sampling_traces_on_memory",
                "Tracks the number of traces current on memory",
                vec![],
            ),
            late_span_age: ages(
                "otelcol_processor_tail_sampling_sampling_late_span_age",
                "Time (in seconds) from the sampling decision was taken and the arrival of a late span",
            ),
            removal_age: ages(
                "otelcol_processor_tail_sampling_sampling_trace_removal_age",
                "Time (in seconds) from arrival of a new trace until its removal from memory",
            ),
        }
    }

    /// Counts what the policies said.
    pub(crate) fn count_answers(&self, answers: &Answers) {
        for (metrics, answer) in self.by_policy.iter().zip(&answers.by_policy) {
            if let Some(decision) = answer {
                metrics.executions.add(1);
                metrics.traces.add(*decision);
            }
        }
        for (index, _) in &answers.errors {
            self.errors.add(1);
            if let Some(metrics) = self.by_policy.get(*index) {
                metrics.executions.add(1);
            }
        }
    }

    pub(crate) fn count_decision(&self, decision: Decision) {
        self.traces.add(decision);
    }
}
