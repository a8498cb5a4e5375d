//! The `batch` section.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_pdata::Signal;
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, StartError};

use crate::BatchProcessor;

config_struct! {
    /// Groups telemetry, so that it is sent in fewer and larger requests.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct BatchConfig {
        /// Age at which a batch is sent; zero sends at once.
        #[config(at_least(GoDuration::ZERO, "timeout must be greater or equal to 0"))]
        pub timeout: Duration = Duration::from_millis(200),
        /// Spans, data points or log records at which a batch is sent; zero sends at once.
        pub send_batch_size: u32 = 8192,
        /// Spans, data points or log records that a batch has at most; zero disables the limit.
        pub send_batch_max_size: u32 = 0,
        /// One stream of batches for each combination of values of these metadata keys. In lower case and sorted once
        /// they are read.
        pub metadata_keys: Vec<String>,
        /// Combinations at most; zero disables the limit.
        pub metadata_cardinality_limit: u32 = 1000,
    }
}

impl BatchConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let max = self.send_batch_max_size;
        if max > 0 && max < self.send_batch_size {
            s.error("send_batch_max_size", "send_batch_max_size must be greater or equal to send_batch_size");
        }
        let keys = &mut self.metadata_keys;
        keys.iter_mut().for_each(|key| key.make_ascii_lowercase());
        keys.sort();
        for pair in keys.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                s.error("metadata_keys", format!("duplicate entry in metadata_keys: \"{first}\" (case-insensitive)"));
            }
        }
        keys.dedup();
    }
}

/// The `batch` processor.
#[derive(Clone, Copy, Debug)]
pub struct BatchFactory;

impl ComponentType for BatchFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Processor,
        type_name: "batch",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Beta",
    };
    type Config = BatchConfig;

    fn create(&self, config: &BatchConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let name = context.id.to_string();
        let processor =
            BatchProcessor::new(config.clone(), &name, context.telemetry, context.budget, context.log.clone())
                .forwarding_outcomes(context.forwards_outcomes);
        Ok(Component::Processor(Box::new(processor)))
    }
}
