//! `memory_ballast`: in old Go collectors a block of memory for the garbage collector; here it has no effect.

use otelcore_config::{Section, config_struct};
use otelcore_pipeline::{BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Extension, StartError};

config_struct! {
    /// Has no effect: in old Go collectors it was a block of memory for the garbage collector.
    #[config(check = Self::check)]
    pub struct MemoryBallastConfig {
        /// Its size.
        #[config(unit = "MiB")]
        #[config(ignored = "there is no garbage collector to weigh it")]
        pub size_mib: u64,
        /// Its size, of the memory of the cgroup or the machine.
        #[config(unit = "%")]
        #[config(ignored = "there is no garbage collector to weigh it")]
        pub size_in_percentage: u64,
    }
}

impl MemoryBallastConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        s.diagnostics()
            .warn(s.origin(), s.path(), "'memory_ballast' has no effect: there is no garbage collector to weigh it")
            .kind(otelcore_config::DiagnosticKind::Deprecated)
            .help("leave it out");
    }
}

/// The `memory_ballast` extension.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBallastFactory;

struct MemoryBallast;

impl Extension for MemoryBallast {}

impl ComponentType for MemoryBallastFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "memory_ballast",
        aliases: &[],
        signals: &[],
        stability: "Deprecated",
    };
    type Config = MemoryBallastConfig;

    fn create(&self, _: &MemoryBallastConfig, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Extension(Box::new(MemoryBallast)))
    }
}
