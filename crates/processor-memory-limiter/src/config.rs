//! The `memory_limiter` section.

use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

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

config_struct! {
    /// Refuses data while too much memory is in use. All instances of one id share their state.
    #[config(check = Self::check)]
    pub struct MemoryLimiterConfig {
        /// The interval at which resident memory is checked.
        #[config(above(GoDuration::ZERO, "'check_interval' must be greater than zero", "write `check_interval: 1s`"))]
        pub check_interval: Duration,
        /// Hard limit; zero for a limit in percent.
        #[config(unit = "MiB")]
        pub limit_mib: u32 = 0,
        /// Distance of the soft limit below the hard one; zero for a fifth of the hard limit.
        #[config(unit = "MiB")]
        pub spike_limit_mib: u32 = 0,
        /// Hard limit, of the memory of the cgroup or the machine.
        #[config(unit = "%")]
        pub limit_percentage: u32 = 0,
        /// Distance of the soft limit below the hard one; zero for a fifth of the hard limit.
        #[config(unit = "%")]
        pub spike_limit_percentage: u32 = 0,
        /// The shortest time between two garbage collections above the soft limit.
        #[config(no_effect = "there is no garbage collector to run")]
        pub min_gc_interval_when_soft_limited: Duration = Duration::from_secs(10),
        /// The shortest time between two garbage collections above the hard limit.
        #[config(no_effect = "there is no garbage collector to run")]
        pub min_gc_interval_when_hard_limited: Duration,
        /// The longest time between two garbage collections above the soft limit.
        #[config(no_effect = "there is no garbage collector to run")]
        #[config(at_least(GoDuration::ZERO, "'max_gc_interval_when_soft_limited' must be non-negative"))]
        pub max_gc_interval_when_soft_limited: Duration = Duration::from_secs(30),
        /// The longest time between two garbage collections above the hard limit.
        #[config(no_effect = "there is no garbage collector to run")]
        #[config(at_least(GoDuration::ZERO, "'max_gc_interval_when_hard_limited' must be non-negative"))]
        pub max_gc_interval_when_hard_limited: Duration = Duration::from_secs(30),
        /// Go's garbage collector.
        #[config(no_effect = "there is no garbage collector to run")]
        pub garbage_collector: GarbageCollectorConfig,
        /// The size of a ballast.
        #[config(deprecated = "nothing: a ballast only ever helped Go's garbage collector")]
        #[config(unit = "MiB")]
        pub ballast_size_mib: u32,
        /// The state that all instances share.
        #[config(skip)]
        pub(crate) checker: Arc<SharedState> = SharedState::new(),
    }
}

config_struct! {
    /// `garbage_collector`.
    pub struct GarbageCollectorConfig {
        /// Whether it is run.
        pub enabled: bool = true,
    }
}

impl MemoryLimiterConfig {
    /// The limits.
    #[must_use]
    pub fn limit(&self) -> MemoryLimit {
        if self.limit_mib > 0 {
            MemoryLimit::Mib { hard: self.limit_mib, spike: self.spike_limit_mib }
        } else {
            MemoryLimit::Percentage { hard: self.limit_percentage, spike: self.spike_limit_percentage }
        }
    }

    /// The interval at which resident memory is checked, of a length that costs little.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.check_interval.max(MIN_CHECK_INTERVAL)
    }

    fn check(&mut self, s: &mut Section<'_>) {
        let [hard, spike] = [self.limit_mib, self.spike_limit_mib];
        let [percent, spike_percent] = [self.limit_percentage, self.spike_limit_percentage];
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
        self.check_collection(s);
    }

    /// Checks the settings of Go's garbage collector as the Go collector does.
    fn check_collection(&self, s: &Section<'_>) {
        let [min_soft, min_hard] = [self.min_gc_interval_when_soft_limited, self.min_gc_interval_when_hard_limited];
        let [max_soft, max_hard] = [self.max_gc_interval_when_soft_limited, self.max_gc_interval_when_hard_limited];
        if min_soft < min_hard {
            s.error(
                "min_gc_interval_when_soft_limited",
                "'min_gc_interval_when_soft_limited' should be larger than 'min_gc_interval_when_hard_limited'",
            );
        }
        for (kind, max, min) in [("soft", max_soft, min_soft), ("hard", max_hard, min_hard)] {
            if !max.is_zero() && max < min {
                let [key, least] = ["max", "min"].map(|end| format!("{end}_gc_interval_when_{kind}_limited"));
                s.error(&key, format!("'{key}' must be greater than or equal to '{least}' (or 0 to disable)"));
            }
        }
        if !max_soft.is_zero() && !max_hard.is_zero() && max_soft < max_hard {
            let text = "'max_gc_interval_when_soft_limited' should be larger than or equal to 'max_gc_interval_when_hard_limited' (when both are set)";
            s.error("max_gc_interval_when_soft_limited", text);
        }
    }
}

/// The `memory_limiter` processor.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimiterFactory;

impl ComponentType for MemoryLimiterFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "memory_limiter",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = MemoryLimiterConfig;

    fn create(&self, config: &MemoryLimiterConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let name = context.id.to_string();
        let limiter = MemoryLimiterProcessor::new(
            config.clone(),
            config.checker.clone(),
            context.budget.clone(),
            &name,
            context.signals,
            context.telemetry,
            context.log.clone(),
        );
        Ok(Component::Processor(Box::new(limiter)))
    }
}
