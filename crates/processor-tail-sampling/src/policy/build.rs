//! Policies from their configuration.

use std::collections::BTreeSet;

use otelcore_go_regexp::GoRegexp;

use super::conditions::Conditions;
use super::error::PolicyError;
use super::probability;
use super::token_bucket::TokenBucket;
use super::{AttributeMatch, CompositePart, NamedPolicy, Policy, ValueMatch};
use crate::config::{
    AndSubPolicyConfig, CompositeConfig, NotConfig, NumericAttributeConfig, PolicyConfig, SharedPolicyConfig,
    StatusCodeConfig, StringAttributeConfig, TailSamplingConfig, TraceStateConfig,
};

/// The salt of `probabilistic` when none is configured.
const DEFAULT_HASH_SALT: &str = "default-hash-seed";

/// The longest member of a trace state.
const MAX_MEMBER: usize = 256;

/// The types that are possible everywhere.
const SHARED_TYPES: &str = "always_sample, latency, numeric_attribute, probabilistic, status_code, string_attribute, \
    rate_limiting, bytes_limiting, span_count, trace_state, boolean_attribute, ottl_condition or trace_flags";

pub(super) fn policies(config: &TailSamplingConfig) -> Result<Vec<NamedPolicy>, PolicyError> {
    let mut names = BTreeSet::new();
    let mut policies = Vec::new();
    for policy in &config.policies {
        let name = &policy.shared.name;
        if name.is_empty() {
            return Err(
                PolicyError::new("policy name cannot be empty".to_owned()).with_hint("write `name:` for each policy")
            );
        }
        if !names.insert(name.clone()) {
            return Err(PolicyError::new(format!("duplicate policy name {name:?}"))
                .with_hint("give each policy a name of its own"));
        }
        let built = top_level(policy).map_err(|error| PolicyError {
            message: format!("failed to create policy evaluator for {name:?}: {}", error.message),
            ..error
        })?;
        policies.push(NamedPolicy { name: name.clone(), is_drop: matches!(built, Policy::Drop(_)), policy: built });
    }
    Ok(policies)
}

fn top_level(config: &PolicyConfig) -> Result<Policy, PolicyError> {
    match config.shared.policy_type.as_str() {
        "composite" => composite(&config.composite),
        "and" => Ok(Policy::And(sub_policies(&config.and.and_sub_policy)?)),
        "not" => not(&config.not),
        "drop" => Ok(Policy::Drop(sub_policies(&config.drop.drop_sub_policy)?)),
        _ => shared(&config.shared),
    }
}

fn sub_policies(configs: &[AndSubPolicyConfig]) -> Result<Vec<Policy>, PolicyError> {
    let sub_policy = |config: &AndSubPolicyConfig| match config.shared.policy_type.as_str() {
        "not" => not(&config.not),
        _ => shared(&config.shared),
    };
    configs.iter().map(sub_policy).collect()
}

fn not(config: &NotConfig) -> Result<Policy, PolicyError> {
    Ok(Policy::Not(Box::new(shared(&config.not_sub_policy.shared)?)))
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "Go computes shares as doubles")]
fn composite(config: &CompositeConfig) -> Result<Policy, PolicyError> {
    let total = config.max_total_spans_per_second;
    let equal_share = total as f64 / config.composite_sub_policy.len() as f64;
    let mut parts = Vec::new();
    for sub_policy in &config.composite_sub_policy {
        let policy = match sub_policy.shared.policy_type.as_str() {
            "and" => Policy::And(sub_policies(&sub_policy.and.and_sub_policy)?),
            _ => shared(&sub_policy.shared)?,
        };
        // The last allocation of a name counts.
        let allocation = config.rate_allocation.iter().rev().find(|rate| rate.policy == sub_policy.shared.name);
        let max_spans_per_second = match allocation {
            None => 0,
            Some(rate) if rate.percent > 0 => (rate.percent as f64 / 100.0 * total as f64) as i64,
            Some(_) => equal_share as i64,
        };
        parts.push(CompositePart { policy, max_spans_per_second, sampled_in_second: 0 });
    }
    Ok(Policy::Composite { parts, max_spans_per_second: total, second: 0 })
}

fn shared(config: &SharedPolicyConfig) -> Result<Policy, PolicyError> {
    Ok(match config.policy_type.as_str() {
        "always_sample" => Policy::AlwaysSample,
        "latency" => Policy::Latency { min_ms: config.latency.threshold_ms, max_ms: config.latency.upper_threshold_ms },
        "numeric_attribute" => numeric_attribute(&config.numeric_attribute)?,
        "probabilistic" => {
            let probabilistic = &config.probabilistic;
            let salt = match probabilistic.hash_salt.as_str() {
                "" => DEFAULT_HASH_SALT,
                salt => salt,
            };
            let threshold = probability::threshold(probabilistic.sampling_percentage);
            Policy::Probabilistic { salt: salt.as_bytes().to_vec(), threshold }
        }
        "status_code" => status_code(&config.status_code)?,
        "string_attribute" => string_attribute(&config.string_attribute)?,
        "rate_limiting" => {
            let rate = &config.rate_limiting;
            Policy::SpansPerSecond(TokenBucket::new(rate.spans_per_second, rate.burst_capacity))
        }
        "bytes_limiting" => {
            let rate = &config.bytes_limiting;
            Policy::BytesPerSecond(TokenBucket::new(rate.bytes_per_second, rate.burst_capacity))
        }
        "span_count" => {
            let number = |spans: i32| u64::try_from(spans).unwrap_or(0);
            Policy::SpanCount { min: number(config.span_count.min_spans), max: number(config.span_count.max_spans) }
        }
        "trace_state" => trace_state(&config.trace_state),
        "boolean_attribute" => {
            let attribute = &config.boolean_attribute;
            Policy::Attribute(AttributeMatch {
                key: attribute.key.as_bytes().to_vec(),
                matches: ValueMatch::Boolean(attribute.value),
                is_inverted: attribute.invert_match,
            })
        }
        "ottl_condition" => Policy::Conditions(Box::new(Conditions::new(&config.ottl_condition)?)),
        "trace_flags" => Policy::TraceFlags,
        other => {
            let hint = match other {
                "and" | "not" | "drop" | "composite" => {
                    format!("`{other}` is not possible inside this policy; write {SHARED_TYPES}")
                }
                _ => format!("write {SHARED_TYPES}"),
            };
            return Err(PolicyError::new(format!("unknown sampling policy type {other}")).with_hint(hint));
        }
    })
}

fn numeric_attribute(config: &NumericAttributeConfig) -> Result<Policy, PolicyError> {
    if config.min_value == 0 && config.max_value == 0 {
        let hint = "write `min_value` or `max_value`; zero is no limit";
        return Err(PolicyError::new("At least one of minValue or maxValue must be set".to_owned()).with_hint(hint));
    }
    let limit = |value: i64, none: i64| if value == 0 { none } else { value };
    Ok(Policy::Attribute(AttributeMatch {
        key: config.key.as_bytes().to_vec(),
        matches: ValueMatch::Number { min: limit(config.min_value, i64::MIN), max: limit(config.max_value, i64::MAX) },
        is_inverted: config.invert_match,
    }))
}

fn status_code(config: &StatusCodeConfig) -> Result<Policy, PolicyError> {
    if config.status_codes.is_empty() {
        let error = PolicyError::new("expected at least one status code to filter on".to_owned());
        return Err(error.with_hint("write `status_codes: [ERROR]`"));
    }
    let mut codes = [false; 3];
    for name in &config.status_codes {
        let code = match name.as_str() {
            "UNSET" => 0,
            "OK" => 1,
            "ERROR" => 2,
            other => {
                let message = format!("unknown status code {other:?}, supported: OK, ERROR, UNSET");
                return Err(PolicyError::new(message));
            }
        };
        codes[code] = true;
    }
    Ok(Policy::StatusCode(codes))
}

fn string_attribute(config: &StringAttributeConfig) -> Result<Policy, PolicyError> {
    let matches = if config.enabled_regex_matching {
        let compile = |pattern: &String| {
            GoRegexp::compile(pattern).map_err(|error| {
                PolicyError::new(format!("invalid regex `{pattern}`: {error}")).with_hint(error.hint())
            })
        };
        ValueMatch::Patterns(config.values.iter().map(compile).collect::<Result<_, _>>()?)
    } else {
        let values = config.values.iter().filter(|value| !value.is_empty());
        ValueMatch::Texts(values.map(|value| value.as_bytes().to_vec()).collect())
    };
    Ok(Policy::Attribute(AttributeMatch {
        key: config.key.as_bytes().to_vec(),
        matches,
        is_inverted: config.invert_match,
    }))
}

fn trace_state(config: &TraceStateConfig) -> Policy {
    let is_possible = |value: &&String| !value.is_empty() && config.key.len() + value.len() < MAX_MEMBER;
    let values = config.values.iter().filter(is_possible).map(|value| value.as_bytes().to_vec()).collect();
    Policy::TraceState { key: config.key.as_bytes().to_vec(), values }
}
