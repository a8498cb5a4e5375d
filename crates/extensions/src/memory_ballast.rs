//! `memory_ballast`: in old Go collectors a block of memory for the garbage collector; here it has no effect.

use otelcore_config::{ComponentId, Section};
use otelcore_pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Extension, Factory, StartError,
};

/// Makes extensions that do nothing, with a warning about it.
#[derive(Debug)]
pub struct MemoryBallastFactory;

#[derive(Debug)]
struct MemoryBallast;

impl Extension for MemoryBallast {}

impl ComponentConfig for MemoryBallast {
    fn create(&self, _: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Extension(Box::new(Self)))
    }
}

impl Factory for MemoryBallastFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Extension,
            type_name: "memory_ballast",
            aliases: &[],
            signals: &[],
            stability: "Deprecated",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        s.diagnostics()
            .warn(s.origin(), s.path(), "'memory_ballast' has no effect: there is no garbage collector to weigh it")
            .kind(otelcore_config::DiagnosticKind::Deprecated)
            .help("leave it out");
        let _ = s.int::<u64>("size_mib", 0);
        let _ = s.int::<u64>("size_in_percentage", 0);
        s.finish();
        Some(Box::new(MemoryBallast))
    }
}
