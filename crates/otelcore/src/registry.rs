//! The component types of a collector.

use std::sync::Arc;

use otelcore_pipeline::{ComponentKind, Factory};

/// The factories of a collector. [`Registry::default`] has all that are built in; an embedding program adds its own.
#[derive(Clone)]
pub struct Registry {
    factories: Vec<Arc<dyn Factory>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.factories.iter().map(|x| x.info())).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self::empty();
        registry.add(otelcore_receiver_otlp::OtlpFactory);
        registry.add(crate::nop::NopReceiverFactory);
        registry.add(otelcore_processor_batch::BatchFactory);
        registry.add(otelcore_processor_memory_limiter::MemoryLimiterFactory);
        registry.add(otelcore_processors::AttributesFactory);
        registry.add(otelcore_processors::ResourceFactory);
        registry.add(otelcore_connectors::ForwardFactory);
        registry.add(otelcore_exporter_debug::DebugFactory);
        registry.add(otelcore_exporter_debug::LoggingFactory);
        registry.add(otelcore_exporter_otlp::OtlpGrpcFactory);
        registry.add(otelcore_exporter_otlp::OtlpHttpFactory);
        registry.add(otelcore_exporter_file::FileExporterFactory);
        registry.add(otelcore_exporter_jaeger::JaegerFactory);
        registry.add(otelcore_exporter_zipkin::ZipkinExporterFactory);
        registry.add(otelcore_exporter_prometheus::PrometheusFactory);
        registry.add(crate::nop::NopExporterFactory);
        registry.add(otelcore_extensions::BasicAuthFactory);
        registry.add(otelcore_extensions::BearerTokenAuthFactory);
        registry.add(otelcore_extensions::HealthCheckFactory);
        registry.add(otelcore_extensions::MemoryBallastFactory);
        registry
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
        let added = factory.info();
        self.factories.retain(|f| (f.info().kind, f.info().type_name) != (added.kind, added.type_name));
        self.factories.push(Arc::new(factory));
    }

    /// The factory of a type, by its name or its alias.
    #[must_use]
    pub fn get(&self, kind: ComponentKind, type_name: &str) -> Option<&Arc<dyn Factory>> {
        let of_kind = || self.factories.iter().filter(|f| f.info().kind == kind);
        of_kind()
            .find(|f| f.info().type_name == type_name)
            .or_else(|| of_kind().find(|f| f.info().aliases.contains(&type_name)))
    }

    /// Every factory of a kind, sorted by name.
    #[must_use]
    pub fn all_of_kind(&self, kind: ComponentKind) -> Vec<&Arc<dyn Factory>> {
        let mut factories: Vec<_> = self.factories.iter().filter(|f| f.info().kind == kind).collect();
        factories.sort_by_key(|f| f.info().type_name);
        factories
    }
}
