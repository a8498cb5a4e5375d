//! The policies: made from the configuration, asked about one trace at a time.

mod build;
mod conditions;
mod error;
mod probability;
mod token_bucket;
mod trace_state;

pub(crate) use error::PolicyError;

use std::collections::BTreeSet;

use otelcore_go_regexp::GoRegexp;
use otelcore_pdata::Rope;
use otelcore_pdata::views::{AnyValue, KeyValue, ResourceSpans, Span, resource_entries};
use otelcore_pipeline::{MonotonicTime, WallTime};

use self::conditions::Conditions;
use self::token_bucket::TokenBucket;
use crate::config::{SamplingStrategy, TailSamplingConfig};
use crate::traces::{Decision, TraceId};

/// What policies are asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceView<'a> {
    pub(crate) id: &'a TraceId,
    /// The spans, as the body of a request.
    pub(crate) body: &'a Rope,
    pub(crate) spans: u64,
    pub(crate) now: MonotonicTime,
    pub(crate) wall_time: WallTime,
}

impl<'a> TraceView<'a> {
    fn resources(&self) -> impl Iterator<Item = ResourceSpans<'a>> {
        resource_entries(self.body)
    }

    fn spans(&self) -> impl Iterator<Item = Span<'a>> {
        self.resources().flat_map(|resource| resource.scope_spans()).flat_map(|scope| scope.spans())
    }
}

/// What is read of an attribute: `matches` is asked about values under `key`.
#[derive(Debug)]
pub(crate) struct AttributeMatch {
    key: Vec<u8>,
    matches: ValueMatch,
    is_inverted: bool,
}

#[derive(Debug)]
enum ValueMatch {
    /// A value that is no whole number counts as zero, as in Go.
    Number {
        min: i64,
        max: i64,
    },
    /// A value that is no boolean counts as false, as in Go.
    Boolean(bool),
    Texts(BTreeSet<Vec<u8>>),
    Patterns(Vec<GoRegexp>),
}

impl ValueMatch {
    /// A value of a resource that is no string counts as an empty one, one of a span as none, as in Go.
    fn matches(&self, value: AnyValue<'_>, is_resource: bool) -> bool {
        match (self, value) {
            (Self::Number { min, max }, AnyValue::Int(v)) => (*min..=*max).contains(&v),
            (Self::Number { min, max }, _) => (*min..=*max).contains(&0),
            (Self::Boolean(expected), AnyValue::Bool(v)) => v == *expected,
            (Self::Boolean(expected), _) => !*expected,
            (Self::Texts(_) | Self::Patterns(_), value) => {
                let text: &[u8] = if let AnyValue::String(text) = value { text } else { b"" };
                (is_resource || !text.is_empty()) && self.matches_text(text)
            }
        }
    }

    fn matches_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Texts(texts) => texts.contains(text),
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.is_match(text)),
            Self::Number { .. } | Self::Boolean(_) => false,
        }
    }
}

impl AttributeMatch {
    fn has_match<'v>(&self, mut attributes: impl Iterator<Item = KeyValue<'v>>, is_resource: bool) -> bool {
        let value = attributes.find(|kv| kv.key == self.key).map(|kv| kv.value);
        value.is_some_and(|value| self.matches.matches(value, is_resource))
    }

    /// Whether an attribute of a resource or span matches; inverted: whether none does.
    fn samples(&self, trace: &TraceView<'_>) -> bool {
        let found = trace.resources().any(|resource| {
            self.has_match(resource.resource.attributes(), true)
                || resource
                    .scope_spans()
                    .any(|scope| scope.spans().any(|span| self.has_match(span.attributes(), false)))
        });
        found != self.is_inverted
    }
}

/// A policy of `composite`.
#[derive(Debug)]
pub(crate) struct CompositePart {
    policy: Policy,
    max_spans_per_second: i64,
    sampled_in_second: i64,
}

/// How a trace is decided.
#[derive(Debug)]
pub(crate) enum Policy {
    AlwaysSample,
    Latency {
        min_ms: i64,
        max_ms: i64,
    },
    Attribute(AttributeMatch),
    /// Samples hashes up to the threshold.
    Probabilistic {
        salt: Vec<u8>,
        threshold: u64,
    },
    /// Codes by their numbers.
    StatusCode([bool; 3]),
    SpansPerSecond(TokenBucket),
    BytesPerSecond(TokenBucket),
    SpanCount {
        min: u64,
        max: u64,
    },
    TraceState {
        key: Vec<u8>,
        values: BTreeSet<Vec<u8>>,
    },
    Conditions(Box<Conditions>),
    TraceFlags,
    And(Vec<Self>),
    Not(Box<Self>),
    Drop(Vec<Self>),
    Composite {
        parts: Vec<CompositePart>,
        max_spans_per_second: i64,
        second: u64,
    },
}

impl Policy {
    /// Decides.
    ///
    /// # Errors
    /// A condition can't be evaluated.
    fn evaluate(&mut self, trace: &TraceView<'_>) -> Result<Decision, String> {
        let samples = match self {
            Self::AlwaysSample => true,
            Self::Latency { min_ms, max_ms } => has_latency(trace, *min_ms, *max_ms),
            Self::Attribute(attribute) => attribute.samples(trace),
            Self::Probabilistic { salt, threshold } => probability::hash(salt, trace.id) <= *threshold,
            Self::StatusCode(codes) => trace.spans().any(|span| {
                let code = usize::try_from(span.status.code).ok();
                code.and_then(|code| codes.get(code)).copied().unwrap_or(false)
            }),
            Self::SpansPerSecond(bucket) => bucket.take(trace.now, trace.spans),
            Self::BytesPerSecond(bucket) => bucket.take(trace.now, trace.body.len() as u64),
            Self::SpanCount { min, max } => trace.spans >= *min && (*max == 0 || trace.spans <= *max),
            Self::TraceState { key, values } => trace.spans().any(|span| {
                let value = trace_state::find(span.trace_state, key);
                value.is_some_and(|value| values.contains(value))
            }),
            Self::Conditions(conditions) => conditions.hold(trace)?,
            // The low byte of the flags are the W3C trace flags, their low bit means sampled.
            Self::TraceFlags => trace.spans().any(|span| span.flags & 1 != 0),
            Self::And(policies) => all_sample(policies, trace)?,
            Self::Drop(policies) => {
                return Ok(if all_sample(policies, trace)? { Decision::Dropped } else { Decision::NotSampled });
            }
            Self::Not(policy) => policy.evaluate(trace)? != Decision::Sampled,
            Self::Composite { parts, max_spans_per_second, second } => {
                return composite(parts, *max_spans_per_second, second, trace);
            }
        };
        Ok(if samples { Decision::Sampled } else { Decision::NotSampled })
    }

    /// Whether its decision about a trace may change with more spans, or depends on other traces.
    fn is_stateful(&self) -> bool {
        match self {
            Self::Latency { max_ms, .. } => *max_ms > 0,
            Self::SpanCount { max, .. } => *max > 0,
            Self::SpansPerSecond(_) | Self::BytesPerSecond(_) => true,
            Self::And(policies) | Self::Drop(policies) => policies.iter().any(Self::is_stateful),
            Self::Not(policy) => policy.is_stateful(),
            Self::Composite { parts, .. } => parts.iter().any(|part| part.policy.is_stateful()),
            Self::AlwaysSample
            | Self::Attribute(_)
            | Self::Probabilistic { .. }
            | Self::StatusCode(_)
            | Self::TraceState { .. }
            | Self::Conditions(_)
            | Self::TraceFlags => false,
        }
    }
}

fn all_sample(policies: &mut [Policy], trace: &TraceView<'_>) -> Result<bool, String> {
    for policy in policies {
        if policy.evaluate(trace)? == Decision::NotSampled {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the spans up to one of them, in their order, last long enough. With an upper bound a trace that becomes too
/// long later is sampled as well, as in Go.
fn has_latency(trace: &TraceView<'_>, min_ms: i64, max_ms: i64) -> bool {
    let (mut start, mut end) = (0, 0);
    trace.spans().any(|span| {
        if start == 0 || span.start_time_unix_nano < start {
            start = span.start_time_unix_nano;
        }
        if end == 0 || span.end_time_unix_nano > end {
            end = span.end_time_unix_nano;
        }
        let millis = end.cast_signed().saturating_sub(start.cast_signed()) / 1_000_000;
        if max_ms == 0 { millis >= min_ms } else { min_ms < millis && millis <= max_ms }
    })
}

/// The first policy that samples decides, within its share of the second.
fn composite(
    parts: &mut [CompositePart],
    max_spans_per_second: i64,
    second: &mut u64,
    trace: &TraceView<'_>,
) -> Result<Decision, String> {
    let this_second = trace.wall_time.0 / 1_000_000_000;
    if std::mem::replace(second, this_second) != this_second {
        parts.iter_mut().for_each(|part| part.sampled_in_second = 0);
    }
    for part in parts {
        if part.policy.evaluate(trace)? != Decision::Sampled {
            continue;
        }
        let spans = part.sampled_in_second.saturating_add(i64::try_from(trace.spans).unwrap_or(i64::MAX));
        if spans > part.max_spans_per_second || spans > max_spans_per_second {
            return Ok(Decision::NotSampled);
        }
        part.sampled_in_second = spans;
        return Ok(Decision::Sampled);
    }
    Ok(Decision::NotSampled)
}

/// A policy with its name.
#[derive(Debug)]
pub(crate) struct NamedPolicy {
    pub(crate) name: String,
    policy: Policy,
    is_drop: bool,
}

/// The policies of a processor: those that drop come first.
#[derive(Debug)]
pub(crate) struct Policies {
    policies: Vec<NamedPolicy>,
    stops_at_first_match: bool,
}

/// What the policies said about a trace.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By policy; `None` if it was not asked, or could not decide.
    pub(crate) by_policy: Vec<Option<Decision>>,
    /// The policies that could not decide, and why.
    pub(crate) errors: Vec<(usize, String)>,
}

impl Policies {
    /// The policies of a configuration.
    ///
    /// # Errors
    /// The first mistake.
    pub(crate) fn new(config: &TailSamplingConfig) -> Result<Self, PolicyError> {
        let mut policies = build::policies(config)?;
        if config.sampling_strategy == SamplingStrategy::SpanIngest
            && let Some(stateful) = policies.iter().find(|policy| policy.policy.is_stateful())
        {
            let name = &stateful.name;
            return Err(PolicyError::new(format!(
                "sampling_strategy \"span-ingest\" requires all policies to be stateless, but policy {name:?} is stateful"
            )));
        }
        policies.sort_by_key(|policy| !policy.is_drop);
        Ok(Self { policies, stops_at_first_match: config.sample_on_first_match })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }

    /// How many times the bytes of a trace are read at most.
    pub(crate) fn passes(&self) -> u64 {
        self.policies.len() as u64
    }

    /// Decides about a complete trace: dropped if a policy drops it, else sampled if one samples it.
    pub(crate) fn decide(&mut self, trace: &TraceView<'_>) -> (Decision, Answers) {
        let mut answers = Answers { by_policy: vec![None; self.policies.len()], errors: Vec::new() };
        let mut decision = Decision::NotSampled;
        for (index, named) in self.policies.iter_mut().enumerate() {
            match named.policy.evaluate(trace) {
                Err(error) => answers.errors.push((index, error)),
                Ok(answer) => {
                    if let Some(slot) = answers.by_policy.get_mut(index) {
                        *slot = Some(answer);
                    }
                    match answer {
                        Decision::Dropped => return (Decision::Dropped, answers),
                        Decision::Sampled if self.stops_at_first_match => return (Decision::Sampled, answers),
                        Decision::Sampled => decision = Decision::Sampled,
                        Decision::NotSampled => {}
                    }
                }
            }
        }
        (decision, answers)
    }

    /// Decides about spans as they arrive; `None` if more spans may change the answer.
    pub(crate) fn decide_at_arrival(&mut self, trace: &TraceView<'_>) -> (Option<Decision>, Answers) {
        let mut answers = Answers { by_policy: vec![None; self.policies.len()], errors: Vec::new() };
        // A policy that drops may still match later spans, so that nothing can be sampled before.
        let mut may_be_dropped = false;
        for (index, named) in self.policies.iter_mut().enumerate() {
            if !named.is_drop && may_be_dropped {
                break;
            }
            match named.policy.evaluate(trace) {
                Err(error) => answers.errors.push((index, error)),
                Ok(answer) => {
                    if let Some(slot) = answers.by_policy.get_mut(index) {
                        *slot = Some(answer);
                    }
                    match answer {
                        Decision::Dropped => return (Some(Decision::Dropped), answers),
                        Decision::Sampled if !named.is_drop => return (Some(Decision::Sampled), answers),
                        Decision::Sampled | Decision::NotSampled => may_be_dropped |= named.is_drop,
                    }
                }
            }
        }
        (None, answers)
    }
}
