//! The `tail_sampling` section.

use std::time::Duration;

use otelcore_config::{GoDuration, config_enum, config_struct};

config_enum! {
    /// When decisions are made.
    #[config(
        unknown = "invalid sampling_strategy \"{word}\", expected one of \"trace-complete\" or \"span-ingest\"",
        hint = "write trace-complete or span-ingest"
    )]
    pub enum SamplingStrategy {
        /// `decision_wait` after the first span, about all spans.
        TraceComplete = "trace-complete",
        /// With each payload, about its spans; a trace that no policy samples until `decision_wait` is over is dropped.
        SpanIngest = "span-ingest",
    }
}

config_struct! {
    /// `latency`: by the time from the earliest start to the latest end.
    pub struct LatencyConfig {
        /// At least this long; with an upper threshold: longer.
        #[config(unit = "ms")]
        pub threshold_ms: i64,
        /// At most this long; zero for no limit.
        #[config(unit = "ms")]
        pub upper_threshold_ms: i64,
    }
}

config_struct! {
    /// `numeric_attribute`: an attribute of a resource or span, a whole number in a range.
    pub struct NumericAttributeConfig {
        /// The attribute's key.
        pub key: String,
        /// The smallest value; zero for no limit.
        pub min_value: i64,
        /// The largest value; zero for no limit.
        pub max_value: i64,
        /// Samples traces in which no value is in the range.
        pub invert_match: bool,
    }
}

config_struct! {
    /// `probabilistic`: a share of all traces, by a hash of their ids.
    pub struct ProbabilisticConfig {
        /// Mixed into the hash, so that layers of collectors can sample independently.
        pub hash_salt: String,
        /// The share.
        #[config(unit = "%")]
        pub sampling_percentage: f64,
    }
}

config_struct! {
    /// `status_code`: a span with one of these statuses.
    pub struct StatusCodeConfig {
        /// `OK`, `ERROR`, `UNSET`.
        pub status_codes: Vec<String>,
    }
}

config_struct! {
    /// `string_attribute`: an attribute of a resource or span with one of these values.
    pub struct StringAttributeConfig {
        /// The attribute's key.
        pub key: String,
        /// The values, or regular expressions.
        pub values: Vec<String>,
        /// Whether `values` are regular expressions.
        pub enabled_regex_matching: bool,
        /// How many results of regular expressions are kept.
        #[config(ignored = "matches take linear time and are not kept")]
        pub cache_max_size: i64,
        /// Samples traces in which no value matches.
        pub invert_match: bool,
    }
}

config_struct! {
    /// `rate_limiting`: up to a number of spans a second.
    pub struct RateLimitingConfig {
        /// The spans a second.
        pub spans_per_second: i64,
        /// The spans at once; zero for twice `spans_per_second`.
        pub burst_capacity: i64,
    }
}

config_struct! {
    /// `bytes_limiting`: up to a number of bytes a second.
    pub struct BytesLimitingConfig {
        /// The bytes a second.
        pub bytes_per_second: i64,
        /// The bytes at once; zero for twice `bytes_per_second`.
        pub burst_capacity: i64,
    }
}

config_struct! {
    /// `span_count`: by the number of spans.
    pub struct SpanCountConfig {
        /// The smallest number.
        pub min_spans: i32,
        /// The largest number; zero for no limit.
        pub max_spans: i32,
    }
}

config_struct! {
    /// `trace_state`: a span whose trace state has one of these values.
    pub struct TraceStateConfig {
        /// The key in the trace state.
        pub key: String,
        /// The values.
        pub values: Vec<String>,
    }
}

config_struct! {
    /// `boolean_attribute`: an attribute of a resource or span with this value.
    pub struct BooleanAttributeConfig {
        /// The attribute's key.
        pub key: String,
        /// The value.
        pub value: bool,
        /// Samples traces in which no value is this one.
        pub invert_match: bool,
    }
}

config_struct! {
    /// `ottl_condition`: a span or an event for which a condition holds.
    pub struct OttlConditionConfig {
        /// What happens when a condition can't be evaluated: `ignore`, `silent` or `propagate`.
        pub error_mode: String,
        /// Conditions about spans.
        pub span: Vec<String>,
        /// Conditions about events.
        pub spanevent: Vec<String>,
    }
}

config_struct! {
    /// The keys of every policy.
    pub struct SharedPolicyConfig {
        /// A name for metrics.
        pub name: String,
        /// The type: `always_sample`, `latency`, `numeric_attribute`, `probabilistic`, `status_code`,
        /// `string_attribute`, `rate_limiting`, `bytes_limiting`, `span_count`, `trace_state`, `boolean_attribute`,
        /// `ottl_condition` or `trace_flags`; where they are possible also `and`, `not`, `drop` and `composite`.
        #[config(key = "type")]
        pub policy_type: String,
        /// By duration.
        pub latency: LatencyConfig,
        /// By a whole number.
        pub numeric_attribute: NumericAttributeConfig,
        /// A share of all traces.
        pub probabilistic: ProbabilisticConfig,
        /// By status.
        pub status_code: StatusCodeConfig,
        /// By text.
        pub string_attribute: StringAttributeConfig,
        /// Up to a number of spans a second.
        pub rate_limiting: RateLimitingConfig,
        /// Up to a number of bytes a second.
        pub bytes_limiting: BytesLimitingConfig,
        /// By the number of spans.
        pub span_count: SpanCountConfig,
        /// By trace state.
        pub trace_state: TraceStateConfig,
        /// By a boolean.
        pub boolean_attribute: BooleanAttributeConfig,
        /// By conditions.
        pub ottl_condition: OttlConditionConfig,
    }
}

config_struct! {
    /// The policy that `not` inverts.
    pub struct NotSubPolicyConfig {
        /// The policy.
        #[config(flatten)]
        pub shared: SharedPolicyConfig,
    }
}

config_struct! {
    /// `not`: samples what another policy does not.
    pub struct NotConfig {
        /// The other policy.
        pub not_sub_policy: NotSubPolicyConfig,
    }
}

config_struct! {
    /// A policy of `and` and `drop`.
    pub struct AndSubPolicyConfig {
        /// The policy.
        #[config(flatten)]
        pub shared: SharedPolicyConfig,
        /// With the type `not`.
        pub not: NotConfig,
    }
}

config_struct! {
    /// `and`: samples what all policies sample.
    pub struct AndConfig {
        /// The policies.
        pub and_sub_policy: Vec<AndSubPolicyConfig>,
    }
}

config_struct! {
    /// `drop`: drops what all policies would sample, whatever others say.
    pub struct DropConfig {
        /// The policies.
        pub drop_sub_policy: Vec<AndSubPolicyConfig>,
    }
}

config_struct! {
    /// A policy of `composite`.
    pub struct CompositeSubPolicyConfig {
        /// The policy.
        #[config(flatten)]
        pub shared: SharedPolicyConfig,
        /// With the type `and`.
        pub and: AndConfig,
    }
}

config_struct! {
    /// The share of a policy of `composite`.
    pub struct RateAllocationConfig {
        /// The name of the policy.
        pub policy: String,
        /// Its share of the spans; zero for an equal one.
        #[config(unit = "%")]
        pub percent: i64,
    }
}

config_struct! {
    /// `composite`: policies in their order, each with a share of the spans a second.
    pub struct CompositeConfig {
        /// The spans a second of all policies.
        pub max_total_spans_per_second: i64,
        /// The order of the policies.
        #[config(ignored = "policies are asked in the order of `composite_sub_policy`, as by the Go collector")]
        pub policy_order: Vec<String>,
        /// The policies.
        pub composite_sub_policy: Vec<CompositeSubPolicyConfig>,
        /// The shares. A policy without one samples nothing.
        pub rate_allocation: Vec<RateAllocationConfig>,
    }
}

config_struct! {
    /// A policy.
    pub struct PolicyConfig {
        /// The policy.
        #[config(flatten)]
        pub shared: SharedPolicyConfig,
        /// With the type `composite`.
        pub composite: CompositeConfig,
        /// With the type `and`.
        pub and: AndConfig,
        /// With the type `not`.
        pub not: NotConfig,
        /// With the type `drop`.
        pub drop: DropConfig,
    }
}

config_struct! {
    /// `decision_cache`: decisions that are remembered longer than the traces.
    pub struct DecisionCacheConfig {
        /// Traces that were sampled; zero for none.
        pub sampled_cache_size: usize,
        /// Traces that were not sampled; zero for none.
        pub non_sampled_cache_size: usize,
    }
}

config_struct! {
    /// Samples whole traces.
    #[config(check = Self::check)]
    #[config(unsupported("tail_storage", "extensions that store traces are not supported yet"))]
    pub struct TailSamplingConfig {
        /// How long spans are collected before a trace is decided.
        #[config(at_least(GoDuration::ZERO, "`decision_wait` must be non-negative"))]
        pub decision_wait: Duration = Duration::from_secs(30),
        /// How long at most after its root span; zero for no difference.
        #[config(at_least(GoDuration::ZERO, "`decision_wait_after_root_received` must be non-negative"))]
        pub decision_wait_after_root_received: Duration,
        /// The largest number of traces in memory, decided ones included. At the bound the oldest is decided early.
        #[config(at_least(1, "`num_traces` must be positive"))]
        pub num_traces: usize = 50_000,
        /// Refuses payloads with new traces at the bounds, retryably, in place of deciding early.
        pub block_on_overflow: bool,
        /// How many new traces come in a second.
        #[config(ignored = "tables grow as they are needed")]
        pub expected_new_traces_per_sec: usize,
        /// The largest number of bytes of spans in memory, which the Go collector does not limit; zero for half of the
        /// memory limiter's limit, or 512 MiB without one.
        #[config(unit = "bytes")]
        pub max_bytes: u64,
        /// The policies. A trace that one of them samples is passed on.
        pub policies: Vec<PolicyConfig>,
        /// Decisions that are remembered.
        pub decision_cache: DecisionCacheConfig,
        /// Asks no further policy once one samples.
        pub sample_on_first_match: bool,
        /// When decisions are made.
        pub sampling_strategy: SamplingStrategy,
        /// Drops what is not decided at a shutdown, in place of deciding it then.
        pub drop_pending_traces_on_shutdown: bool,
        /// A trace with more bytes than this is dropped; zero for no limit.
        #[config(unit = "bytes")]
        pub maximum_trace_size_bytes: u64,
        /// The sender of a payload gets its outcome when all of its traces are decided, and what is sampled of them is delivered or in a
        /// queue, and not when they are in memory. For the receiver `kafka`, whose offsets then wait for that: in each `decision_wait` it
        /// reads no more than 20,000 messages or 64 MiB, and a rebalance waits as long.
        pub await_delivery: bool,
    }
}
