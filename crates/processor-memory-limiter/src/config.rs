//! The `memory_limiter` section.

use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Factory, StartError};

use crate::{MIN_CHECK_INTERVAL, MemoryLimiterProcessor, SharedState};

/// How much memory the collector may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryLimit {
    /// `limit_mib` and `spike_limit_mib`; a spike of zero is a fifth of the limit.
    Mib {
        /// Hard limit.
        hard: u32,
        /// Distance of the soft limit below it.
        spike: u32,
    },
    /// The same in percent of the cgroup's or the machine's memory.
    Percentage {
        /// Hard limit.
        hard: u32,
        /// Distance of the soft limit below it.
        spike: u32,
    },
}

/// Configuration of a `memory_limiter`. All instances made from one value share their state.
#[derive(Clone, Debug)]
pub struct MemoryLimiterConfig {
    /// The interval at which resident memory is checked.
    pub check_interval: Duration,
    /// The limits.
    pub limit: MemoryLimit,
    checker: Arc<SharedState>,
}

impl MemoryLimiterConfig {
    /// The configuration with these limits.
    #[must_use]
    pub fn new(check_interval: Duration, limit: MemoryLimit) -> Self {
        Self { check_interval: check_interval.max(MIN_CHECK_INTERVAL), limit, checker: SharedState::new() }
    }
}

impl ComponentConfig for MemoryLimiterConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let name = context.id.to_string();
        let limiter = MemoryLimiterProcessor::new(
            self.clone(),
            self.checker.clone(),
            context.budget.clone(),
            &name,
            context.signals,
            context.telemetry,
            context.log.clone(),
        );
        Ok(Component::Processor(Box::new(limiter)))
    }
}

/// Makes `memory_limiter` processors.
#[derive(Debug)]
pub struct MemoryLimiterFactory;

impl Factory for MemoryLimiterFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Processor,
            type_name: "memory_limiter",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Beta",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let check_interval = s.duration("check_interval", GoDuration::ZERO);
        let [hard, spike, percent, spike_percent] =
            ["limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage"].map(|key| s.int(key, 0_u32));
        if check_interval <= GoDuration::ZERO {
            s.error("check_interval", "'check_interval' must be greater than zero").help("write `check_interval: 1s`");
        }
        parse_gc_settings(&mut s);
        if s.warn_deprecated("ballast_size_mib", "nothing: a ballast only ever helped Go's garbage collector") {
            let _ = s.int("ballast_size_mib", 0_u32);
        }
        if hard == 0 && percent == 0 {
            s.error_for_keys(
                &["limit_mib", "limit_percentage"],
                "'limit_mib' or 'limit_percentage' must be greater than zero",
            )
            .help("write `limit_percentage: 80` and `spike_limit_percentage: 25`");
        }
        if percent > 100 || spike_percent > 100 {
            let key = if percent > 100 { "limit_percentage" } else { "spike_limit_percentage" };
            let text = "'limit_percentage' and 'spike_limit_percentage' must be greater than zero and less than or equal to hundred";
            s.error(key, text);
        }
        if hard > 0 && hard <= spike {
            s.error("spike_limit_mib", "'spike_limit_mib' must be smaller than 'limit_mib'");
        }
        if percent > 0 && percent <= spike_percent {
            s.error("spike_limit_percentage", "'spike_limit_percentage' must be smaller than 'limit_percentage'");
        }
        s.finish();
        let limit = if hard > 0 {
            MemoryLimit::Mib { hard, spike }
        } else {
            MemoryLimit::Percentage { hard: percent, spike: spike_percent }
        };
        Some(Box::new(MemoryLimiterConfig::new(Duration::from_nanos(check_interval.nanos_or_zero()), limit)))
    }
}

/// The settings of Go's garbage collector: checked as in the Go collector, and without effect, with a warning.
fn parse_gc_settings(s: &mut Section<'_>) {
    let keys = [
        ("min_gc_interval_when_soft_limited", 10),
        ("min_gc_interval_when_hard_limited", 0),
        ("max_gc_interval_when_soft_limited", 30),
        ("max_gc_interval_when_hard_limited", 30),
    ];
    let [min_soft, min_hard, max_soft, max_hard] = keys.map(|(key, seconds)| {
        let written = s.contains_key(key);
        let value = s.duration(key, GoDuration::from_secs(seconds));
        if written {
            s.warn(key, format!("'{key}' has no effect: there is no garbage collector to run"));
        }
        value
    });
    if s.contains_key("garbage_collector") {
        s.warn("garbage_collector", "'garbage_collector' has no effect: there is no garbage collector to run");
    }
    let mut gc_section = s.section("garbage_collector");
    let _ = gc_section.bool("enabled", true);
    gc_section.finish();
    if min_soft < min_hard {
        s.error(
            keys[0].0,
            "'min_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_hard_limited'",
        );
    }
    for (key, max, min) in [(keys[2].0, max_soft, min_soft), (keys[3].0, max_hard, min_hard)] {
        if max.is_negative() {
            s.error(key, format!("'{key}' must be non-negative"));
        } else if !max.is_zero() && max < min {
            let min_key = key.replacen("max", "min", 1);
            s.error(key, format!("'{key}' must be greater than or equal to '{min_key}' (or 0 to disable)"));
        }
    }
    if !max_soft.is_zero() && !max_hard.is_zero() && max_soft < max_hard {
        let text = "'max_gc_interval_when_soft_limited' should be larger than or equal to 'max_gc_interval_when_hard_limited' (when both are set)";
        s.error(keys[2].0, text);
    }
}
