//! The component types of a collector.

use std::sync::Arc;

use otelcore_pipeline::{Factory, Kind};

/// The factories of a collector. [`Registry::default`] has all that are built in; an embedding program adds its own.
#[derive(Clone)]
pub struct Registry {
    factories: Vec<Arc<dyn Factory>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.factories.iter().map(|x| x.about())).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        let mut new = Self::empty();
        new.add(otelcore_receiver_otlp::OtlpFactory);
        new.add(crate::nop::NopReceiverFactory);
        new.add(otelcore_processor_batch::BatchFactory);
        new.add(otelcore_processor_memory_limiter::MemoryLimiterFactory);
        new.add(otelcore_exporter_debug::DebugFactory);
        new.add(otelcore_exporter_debug::LoggingFactory);
        new.add(otelcore_exporter_otlp::OtlpGrpcFactory);
        new.add(otelcore_exporter_otlp::OtlpHttpFactory);
        new.add(otelcore_exporter_jaeger::JaegerFactory);
        new.add(otelcore_exporter_prometheus::PrometheusFactory);
        new.add(crate::nop::NopExporterFactory);
        new.add(otelcore_extensions::BasicAuthFactory);
        new.add(otelcore_extensions::BearerTokenAuthFactory);
        new.add(otelcore_extensions::HealthCheckFactory);
        new.add(otelcore_extensions::MemoryBallastFactory);
        new
    }
}

impl Registry {
    /// A registry without any type.
    #[must_use]
    pub fn empty() -> Self {
        Self { factories: Vec::new() }
    }

    /// Adds a type. It replaces an earlier one of the same kind and name.
    pub fn add(&mut self, factory: impl Factory + 'static) {
        let new = factory.about();
        self.factories.retain(|f| (f.about().kind, f.about().type_name) != (new.kind, new.type_name));
        self.factories.push(Arc::new(factory));
    }

    /// The factory of a type, by its name or its alias.
    #[must_use]
    pub fn get(&self, kind: Kind, type_name: &str) -> Option<&Arc<dyn Factory>> {
        let of_kind = || self.factories.iter().filter(|f| f.about().kind == kind);
        of_kind()
            .find(|f| f.about().type_name == type_name)
            .or_else(|| of_kind().find(|f| f.about().aliases.contains(&type_name)))
    }

    /// Every factory of a kind, sorted by name.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Vec<&Arc<dyn Factory>> {
        let mut found: Vec<_> = self.factories.iter().filter(|f| f.about().kind == kind).collect();
        found.sort_by_key(|f| f.about().type_name);
        found
    }
}
