//! The `batch` section.

use std::time::Duration;

use otelcore_config::{ComponentId, GoDuration, Section};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Factory, StartError};

use crate::BatchProcessor;

/// Configuration of a `batch` processor; [`Default`] gives the Go collector's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchConfig {
    /// Age at which a batch is sent; zero sends at once. Default 200 ms.
    pub timeout: Duration,
    /// Items at which a batch is sent; zero sends at once. Default 8192.
    pub send_batch_size: u32,
    /// Items that a batch has at most; zero disables the limit, which is the default.
    pub send_batch_max_size: u32,
    /// One stream of batches for each combination of values of these headers, in lower case, sorted.
    pub metadata_keys: Vec<String>,
    /// Combinations at most; zero disables the limit. Default 1000.
    pub metadata_cardinality_limit: u32,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(200),
            send_batch_size: 8192,
            send_batch_max_size: 0,
            metadata_keys: Vec::new(),
            metadata_cardinality_limit: 1000,
        }
    }
}

impl ComponentConfig for BatchConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let name = context.id.to_string();
        let processor =
            BatchProcessor::new(self.clone(), &name, context.telemetry, context.budget, context.log.clone());
        Ok(Component::Processor(Box::new(processor)))
    }
}

/// Makes `batch` processors.
#[derive(Debug)]
pub struct BatchFactory;

impl Factory for BatchFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Processor,
            type_name: "batch",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Beta",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let timeout = s.duration("timeout", GoDuration::from_millis(200));
        if timeout.is_negative() {
            s.error("timeout", "timeout must be greater or equal to 0");
        }
        let send_batch_size = s.int("send_batch_size", 8192_u32);
        let send_batch_max_size = s.int("send_batch_max_size", 0_u32);
        if send_batch_max_size > 0 && send_batch_max_size < send_batch_size {
            s.error("send_batch_max_size", "send_batch_max_size must be greater or equal to send_batch_size");
        }
        let mut metadata_keys: Vec<String> = Vec::new();
        for key in s.str_list("metadata_keys", &[]) {
            let key = key.to_ascii_lowercase();
            if metadata_keys.contains(&key) {
                s.error("metadata_keys", format!("duplicate entry in metadata_keys: \"{key}\" (case-insensitive)"));
            } else {
                metadata_keys.push(key);
            }
        }
        metadata_keys.sort();
        let metadata_cardinality_limit = s.int("metadata_cardinality_limit", 1000_u32);
        s.finish();
        let timeout = Duration::from_nanos(timeout.nanos_or_zero());
        Some(Box::new(BatchConfig {
            timeout,
            send_batch_size,
            send_batch_max_size,
            metadata_keys,
            metadata_cardinality_limit,
        }))
    }
}
