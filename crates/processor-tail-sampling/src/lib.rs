//! The `tail_sampling` processor: decides about whole traces.
//!
//! The spans of a payload are copied into a buffer for each trace, and the payload is settled: what is held here is lost
//! in a crash. `decision_wait` after its first span a trace is decided by the policies, passed on or dropped; later
//! spans follow the decision as long as it is remembered. Memory is bounded by `num_traces` and `max_bytes`: at a bound
//! the oldest traces are decided early. Work is divided over turns; a large trace is decided on a helper thread.
#![forbid(unsafe_code)]

mod config;
mod decision_cache;
mod factory;
mod metrics;
mod policy;
mod processor;
mod span_groups;
mod traces;

pub use config::{
    AndConfig, AndSubPolicyConfig, BooleanAttributeConfig, BytesLimitingConfig, CompositeConfig,
    CompositeSubPolicyConfig, DecisionCacheConfig, DropConfig, LatencyConfig, NotConfig, NotSubPolicyConfig,
    NumericAttributeConfig, OttlConditionConfig, PolicyConfig, ProbabilisticConfig, RateAllocationConfig,
    RateLimitingConfig, SamplingStrategy, SharedPolicyConfig, SpanCountConfig, StatusCodeConfig, StringAttributeConfig,
    TailSamplingConfig, TraceStateConfig,
};
pub use factory::TailSamplingFactory;

#[cfg(test)]
mod tests;
