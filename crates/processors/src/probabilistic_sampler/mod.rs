//! The `probabilistic_sampler` processor: passes on a share of spans and log records.
//!
//! The decision depends on the item alone (its trace id, its tracestate, its attributes), so that several collectors
//! decide alike. Keeps no state.

mod config;
mod sampling;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use config::ProbabilisticSamplerConfig;
use config::{Sampler, SamplerMode};
use otelcore_pdata::edit::{Descend, Edited, Editor, Keep, LogMut, OutputLimit, SpanMut};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Signal, text};
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Counter, MetricsLevel, Payload, StartError,
    Telemetry,
};
use sampling::{ALL_PROBABILITIES, ALWAYS, NEVER, SamplingState, TraceState};

use crate::edit_processor::{EditProcessor, PayloadEditor};
use otelcore_go_number as go_number;

/// Makes `probabilistic_sampler` processors.
#[derive(Clone, Copy, Debug)]
pub struct ProbabilisticSamplerFactory;

impl ComponentType for ProbabilisticSamplerFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "probabilistic_sampler",
        aliases: &[],
        signals: &[Signal::Traces, Signal::Logs],
        stability: "Beta",
    };
    type Config = ProbabilisticSamplerConfig;

    fn create(&self, config: &ProbabilisticSamplerConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let sampler = Arc::new(Sampler::compile(config));
        let telemetry = context.telemetry.clone();
        let new_editor = move |_, _| SamplerEditor {
            metrics: Metrics::new(&telemetry, &sampler),
            sampler: sampler.clone(),
            signal: Signal::Traces,
            counts: [[0; 2]; Policy::COUNT],
            buffer: Vec::new(),
        };
        Ok(Component::Processor(Box::new(EditProcessor::new(new_editor))))
    }
}

/// Where the randomness comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    MissingRandomness,
    TraceIdHash,
    TraceIdW3c,
    SamplingRandomness,
    SamplingPriority,
    /// An attribute of a log record.
    Attribute,
}

impl Policy {
    const COUNT: usize = 6;

    const NAMES: [&str; Self::COUNT] =
        ["missing_randomness", "trace_id_hash", "trace_id_w3c", "sampling_randomness", "sampling_priority", ""];
}

/// By policy, and whether the item is sampled.
type Counts = [[u64; 2]; Policy::COUNT];

struct Metrics {
    telemetry: Telemetry,
    /// The name of the policy of an attribute.
    attribute: String,
    /// By signal. Made when something is counted, as in the Go collector.
    counters: [[[Option<Counter>; 2]; Policy::COUNT]; 3],
}

impl Metrics {
    fn new(telemetry: &Telemetry, sampler: &Sampler) -> Self {
        let attribute = String::from_utf8_lossy(&sampler.from_attribute).into_owned();
        Self { telemetry: telemetry.clone(), attribute, counters: Default::default() }
    }

    fn add(&mut self, signal: Signal, counts: &mut Counts) {
        let (name, help) = match signal {
            Signal::Logs => (
                "otelcol_processor_probabilistic_sampler_count_logs_sampled",
                "Count of logs that were sampled or not [Development]",
            ),
            Signal::Traces | Signal::Metrics => (
                "otelcol_processor_probabilistic_sampler_count_traces_sampled",
                "Count of traces that were sampled or not [Development]",
            ),
        };
        let Some(counters) = self.counters.get_mut(signal as usize) else { return };
        for ((policy, counters), counts) in Policy::NAMES.iter().zip(counters).zip(counts) {
            for ((sampled, counter), count) in ["false", "true"].iter().zip(counters).zip(counts) {
                if *count > 0 {
                    let policy = if policy.is_empty() { &self.attribute } else { *policy };
                    let labels = || vec![("policy", policy.to_owned()), ("sampled", (*sampled).to_owned())];
                    counter
                        .get_or_insert_with(|| self.telemetry.counter(MetricsLevel::Normal, name, help, labels()))
                        .add(std::mem::take(count));
                }
            }
        }
    }
}

struct SamplerEditor {
    sampler: Arc<Sampler>,
    metrics: Metrics,
    /// That of the payload.
    signal: Signal,
    counts: Counts,
    buffer: Vec<u8>,
}

/// What an item says about its sampling.
struct Arrival<S> {
    randomness: Option<u64>,
    policy: Policy,
    /// What is written to the item if it is sampled; `None`: it stays as it is.
    state: Option<S>,
    /// The item contradicts itself or the mode of the sampler.
    is_error: bool,
}

impl Sampler {
    /// The threshold, before priorities.
    fn threshold(&self, arrived: Option<u64>) -> u64 {
        match self.mode {
            SamplerMode::Never => NEVER,
            SamplerMode::Hashing { threshold } => threshold,
            SamplerMode::Equalizing { threshold } => arrived.map_or(threshold, |arrived| arrived.max(threshold)),
            SamplerMode::Proportional { ratio } => {
                let arrived = arrived.map_or(1.0, sampling::probability_of);
                sampling::threshold_of(arrived * ratio, self.precision).unwrap_or(NEVER)
            }
        }
    }

    /// The threshold for an item. A threshold of the item that would not have sampled it is removed.
    fn decide<S>(&self, arrival: &mut Arrival<S>, state_of: impl Fn(&mut S) -> &mut SamplingState) -> u64 {
        if !arrival.is_error {
            match arrival.randomness {
                None => arrival.is_error = true,
                Some(randomness) => {
                    let state = arrival.state.as_mut().map(&state_of);
                    if let Some(state) = state
                        && state.threshold.as_ref().is_some_and(|(threshold, _)| *threshold > randomness)
                    {
                        state.threshold = None;
                        arrival.is_error = true;
                    }
                }
            }
        }
        if arrival.is_error {
            return if self.fail_closed { NEVER } else { ALWAYS };
        }
        let state = arrival.state.as_mut().map(state_of);
        self.threshold(state.and_then(|state| state.threshold.as_ref().map(|(threshold, _)| *threshold)))
    }
}

/// `sampling.priority` of a span: zero forbids it, and more demands it.
fn span_priority(value: Option<AnyValue<'_>>) -> Option<u64> {
    let priority = match value? {
        #[expect(clippy::cast_precision_loss, reason = "only its sign counts")]
        AnyValue::Int(v) => v as f64,
        AnyValue::Double(v) => v,
        AnyValue::String(v) => go_number::parse_float(v)?,
        _ => return None,
    };
    if priority == 0.0 { Some(NEVER) } else { (priority > 0.0).then_some(ALWAYS) }
}

impl SamplerEditor {
    fn count(&mut self, policy: Policy, is_sampled: bool) {
        if let Some(count) =
            self.counts.get_mut(policy as usize).and_then(|counts| counts.get_mut(usize::from(is_sampled)))
        {
            *count += 1;
        }
    }

    fn span_arrival(&self, span: &SpanMut<'_>) -> Arrival<TraceState> {
        let view = span.view();
        let (mut state, is_valid) = TraceState::parse(view.trace_state);
        let id = view.trace_id;
        let has_id = id.iter().any(|b| *b != 0);
        match self.sampler.mode {
            SamplerMode::Never => Arrival {
                randomness: Some(ALL_PROBABILITIES),
                policy: Policy::SamplingPriority,
                state: Some(state),
                is_error: !is_valid,
            },
            SamplerMode::Hashing { .. } => {
                let randomness = has_id.then(|| sampling::randomness_of_hash(id, self.sampler.hash_seed));
                let policy = if has_id { Policy::TraceIdHash } else { Policy::MissingRandomness };
                if !is_valid || state.sampling != SamplingState::default() {
                    return Arrival { randomness, policy, state: None, is_error: true };
                }
                state.sampling.set_randomness(randomness.unwrap_or(ALL_PROBABILITIES));
                Arrival { randomness, policy, state: Some(state), is_error: false }
            }
            SamplerMode::Equalizing { .. } | SamplerMode::Proportional { .. } => {
                let (randomness, policy) = consistent_randomness(is_valid, &state.sampling, id);
                Arrival { randomness, policy, state: is_valid.then_some(state), is_error: !is_valid }
            }
        }
    }

    fn log_arrival(&mut self, log: &LogMut<'_>) -> Arrival<SamplingState> {
        let mut is_valid = true;
        let mut read = |key: &[u8], parse: fn(&[u8]) -> Option<u64>| match log.attribute(key) {
            Some(AnyValue::String(text)) if !text.is_empty() => {
                let parsed = parse(text).map(|v| (v, text.to_vec()));
                is_valid &= parsed.is_some();
                parsed
            }
            _ => None,
        };
        let mut state = SamplingState {
            threshold: read(THRESHOLD_KEY, sampling::parse_threshold),
            randomness: read(RANDOMNESS_KEY, sampling::parse_randomness),
        };
        let view = log.view();
        let id = view.trace_id;
        match self.sampler.mode {
            SamplerMode::Never => Arrival {
                randomness: Some(ALL_PROBABILITIES),
                policy: Policy::SamplingPriority,
                state: Some(state),
                is_error: !is_valid,
            },
            SamplerMode::Hashing { .. } => {
                let seed = self.sampler.hash_seed;
                let mut found = None;
                if self.sampler.uses_trace_id && id.iter().any(|b| *b != 0) {
                    found = Some((sampling::randomness_of_hash(id, seed), Policy::TraceIdHash));
                } else if !self.sampler.from_attribute.is_empty()
                    && let Some(value) = log.attribute(&self.sampler.from_attribute)
                {
                    let bytes = match value {
                        AnyValue::Bytes(bytes) => bytes,
                        value => {
                            self.buffer.clear();
                            text::put_value(&mut self.buffer, value);
                            &self.buffer
                        }
                    };
                    if !bytes.is_empty() {
                        found = Some((sampling::randomness_of_hash(bytes, seed), Policy::Attribute));
                    }
                }
                let (randomness, policy) = (found.map(|it| it.0), found.map_or(Policy::MissingRandomness, |it| it.1));
                if !is_valid || state != SamplingState::default() {
                    return Arrival { randomness, policy, state: None, is_error: true };
                }
                if let Some(randomness) = randomness {
                    state.set_randomness(randomness);
                }
                Arrival { randomness, policy, state: Some(state), is_error: false }
            }
            SamplerMode::Equalizing { .. } | SamplerMode::Proportional { .. } => {
                let (randomness, policy) = consistent_randomness(is_valid, &state, id);
                Arrival { randomness, policy, state: is_valid.then_some(state), is_error: !is_valid }
            }
        }
    }

    /// The threshold that an attribute of a log record asks for.
    fn log_priority(&self, log: &LogMut<'_>) -> Option<u64> {
        if self.sampler.sampling_priority.is_empty() {
            return None;
        }
        let percentage = match log.attribute(&self.sampler.sampling_priority)? {
            AnyValue::Double(v) => v,
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            AnyValue::Int(v) => v as f64,
            _ => return None,
        };
        sampling::threshold_of(percentage / 100.0, self.sampler.precision)
    }
}

const THRESHOLD_KEY: &[u8] = b"sampling.threshold";
const RANDOMNESS_KEY: &[u8] = b"sampling.randomness";

/// The randomness that the modes have that are defined by OpenTelemetry.
fn consistent_randomness(is_valid: bool, state: &SamplingState, trace_id: &[u8]) -> (Option<u64>, Policy) {
    if !is_valid {
        return (None, Policy::MissingRandomness);
    }
    if let Some((randomness, _)) = state.randomness {
        return (Some(randomness), Policy::SamplingRandomness);
    }
    if trace_id.iter().any(|b| *b != 0) {
        return (Some(sampling::randomness_of_trace_id(trace_id)), Policy::TraceIdW3c);
    }
    (None, Policy::MissingRandomness)
}

impl PayloadEditor for SamplerEditor {
    const DROP_REASON: &'static str = "not_sampled";

    fn begin(&mut self, payload: &Payload) {
        self.signal = payload.signal;
    }

    fn output_limit(&self, payload: &Payload) -> OutputLimit {
        let limit = OutputLimit::default();
        OutputLimit { extra: limit.extra + (payload.items() as usize).saturating_mul(128), ..limit }
    }

    fn cost_per_byte(&self) -> u64 {
        6
    }

    fn end(&mut self, _: Option<&Edited>) {
        self.metrics.add(self.signal, &mut self.counts);
    }
}

impl Editor for SamplerEditor {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let mut arrival = self.span_arrival(span);
        let mut threshold = self.sampler.decide(&mut arrival, |state: &mut TraceState| &mut state.sampling);
        let mut policy = arrival.policy;
        if let Some(priority) = span_priority(span.attribute(b"sampling.priority")) {
            (threshold, policy) = (priority, Policy::SamplingPriority);
        }
        let is_sampled = threshold <= arrival.randomness.unwrap_or(ALL_PROBABILITIES);
        self.count(policy, is_sampled);
        if !is_sampled {
            return Descend::Drop;
        }
        if let Some(mut state) = arrival.state {
            state.sampling.raise_threshold(threshold);
            let text = state.encode();
            if text != span.view().trace_state {
                span.set_trace_state(&text);
            }
        }
        Descend::Skip
    }

    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        let mut arrival = self.log_arrival(log);
        let before = arrival.state.as_ref().map(|state| state.threshold.is_some());
        let mut threshold = self.sampler.decide(&mut arrival, |state: &mut SamplingState| state);
        let mut policy = arrival.policy;
        if let Some(priority) = self.log_priority(log) {
            (threshold, policy) = (priority, Policy::SamplingPriority);
        }
        let is_sampled = threshold <= arrival.randomness.unwrap_or(ALL_PROBABILITIES);
        self.count(policy, is_sampled);
        if !is_sampled {
            return Keep::Drop;
        }
        if let Some(mut state) = arrival.state {
            if before == Some(true) && state.threshold.is_none() {
                log.attributes().remove(THRESHOLD_KEY);
            }
            state.raise_threshold(threshold);
            let mut attributes = log.attributes();
            for (key, value) in [(RANDOMNESS_KEY, &state.randomness), (THRESHOLD_KEY, &state.threshold)] {
                if let Some((_, text)) = value {
                    attributes.upsert(key, AnyValue::String(text));
                }
            }
        }
        Keep::Keep
    }
}
