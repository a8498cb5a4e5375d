//! The component types of a collector. Which of them are built in is decided by the features of this crate.

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

/// The types that are built in, each behind a feature of this crate.
macro_rules! built_in_types {
    ($($feature:literal: $factory:expr;)+) => {
        impl Default for Registry {
            fn default() -> Self {
                let mut registry = Self::empty();
                registry.add(crate::nop::NopReceiverFactory);
                registry.add(crate::nop::NopExporterFactory);
                $(
                    #[cfg(feature = $feature)]
                    registry.add($factory);
                )+
                registry
            }
        }

        /// The features of component types that are off in this build.
        const DISABLED_FEATURES: &[&str] = &[$(#[cfg(not(feature = $feature))] $feature),+];
    };
}

built_in_types! {
    "connector-count": otelcore_connectors::CountFactory;
    "connector-failover": otelcore_connectors::FailoverFactory;
    "connector-forward": otelcore_connectors::ForwardFactory;
    "connector-round-robin": otelcore_connectors::RoundRobinFactory;
    "connector-routing": otelcore_connectors::RoutingFactory;
    "connector-service-graph": otelcore_connectors::ServiceGraphFactory;
    "connector-span-metrics": otelcore_connector_span_metrics::SpanMetricsFactory;
    "connector-sum": otelcore_connectors::SumFactory;
    "exporter-debug": otelcore_exporter_debug::DebugFactory;
    "exporter-debug": otelcore_exporter_debug::LoggingFactory;
    "exporter-file": otelcore_exporter_file::FileExporterFactory;
    "exporter-jaeger": otelcore_exporter_jaeger::JaegerFactory;
    "exporter-kafka": otelcore_exporter_kafka::KafkaExporterFactory;
    "exporter-load-balancing": otelcore_exporter_otlp::LoadBalancingFactory;
    "exporter-loki": otelcore_exporter_loki::LokiExporterFactory;
    "exporter-otlp": otelcore_exporter_otlp::OtlpGrpcFactory;
    "exporter-otlp": otelcore_exporter_otlp::OtlpHttpFactory;
    "exporter-prometheus": otelcore_exporter_prometheus::PrometheusFactory;
    "exporter-prometheus-remote-write": otelcore_exporter_prometheus_remote_write::PrometheusRemoteWriteFactory;
    "exporter-zipkin": otelcore_exporter_zipkin::ZipkinExporterFactory;
    "extension-basicauth": otelcore_extensions::BasicAuthFactory;
    "extension-bearertokenauth": otelcore_extensions::BearerTokenAuthFactory;
    "extension-file-storage": otelcore_extensions::FileStorageFactory;
    "extension-headers-setter": otelcore_extensions::HeadersSetterFactory;
    "extension-health-check": otelcore_extensions::HealthCheckFactory;
    "extension-k8s-leader-elector": otelcore_extensions::K8sLeaderElectorFactory;
    "extension-memory-ballast": otelcore_extensions::MemoryBallastFactory;
    "extension-pprof": otelcore_extensions::PprofFactory;
    "extension-zpages": otelcore_extensions::ZPagesFactory;
    "processor-attributes": otelcore_processors::AttributesFactory;
    "processor-batch": otelcore_processor_batch::BatchFactory;
    "processor-cumulativetodelta": otelcore_processors::CumulativeToDeltaFactory;
    "processor-deltatocumulative": otelcore_processors::DeltaToCumulativeFactory;
    "processor-filter": otelcore_processors::FilterFactory;
    "processor-groupbyattrs": otelcore_processors::GroupByAttrsFactory;
    "processor-groupbytrace": otelcore_processors::GroupByTraceFactory;
    "processor-memory-limiter": otelcore_processor_memory_limiter::MemoryLimiterFactory;
    "processor-metrics-transform": otelcore_processors::MetricsTransformFactory;
    "processor-probabilistic-sampler": otelcore_processors::ProbabilisticSamplerFactory;
    "processor-redaction": otelcore_processors::RedactionFactory;
    "processor-resource": otelcore_processors::ResourceFactory;
    "processor-span": otelcore_processors::SpanFactory;
    "processor-k8s-attributes": otelcore_processor_k8s_attributes::K8sAttributesFactory;
    "processor-resource-detection": otelcore_processor_resource_detection::ResourceDetectionFactory;
    "processor-tail-sampling": otelcore_processor_tail_sampling::TailSamplingFactory;
    "processor-transform": otelcore_processors::TransformFactory;
    "receiver-file-log": otelcore_receiver_file_log::FileLogFactory;
    "receiver-host-metrics": otelcore_receiver_host_metrics::HostMetricsFactory;
    "receiver-jaeger": otelcore_receivers::JaegerReceiverFactory;
    "receiver-k8s-cluster": otelcore_receiver_kubernetes::K8sClusterFactory;
    "receiver-k8s-events": otelcore_receiver_kubernetes::K8sEventsFactory;
    "receiver-k8s-objects": otelcore_receiver_kubernetes::K8sObjectsFactory;
    "receiver-kafka": otelcore_receiver_kafka::KafkaReceiverFactory;
    "receiver-kafka-metrics": otelcore_receiver_kafka_metrics::KafkaMetricsFactory;
    "receiver-kubelet-stats": otelcore_receiver_kubelet_stats::KubeletStatsFactory;
    "receiver-otlp": otelcore_receiver_otlp::OtlpFactory;
    "receiver-prometheus": otelcore_receiver_prometheus::PrometheusReceiverFactory;
    "receiver-zipkin": otelcore_receivers::ZipkinReceiverFactory;
}

/// The feature that would build in the type of this name, where it is off.
pub(crate) fn disabled_feature(kind: ComponentKind, type_name: &str) -> Option<&'static str> {
    // Old ids are written without underscores, features with hyphens.
    let joined = |name: &str| name.replace(['_', '-'], "");
    let name = match (kind, joined(type_name).as_str()) {
        // Features with several types.
        (ComponentKind::Exporter, "logging") => "debug".to_owned(),
        (ComponentKind::Exporter, "otlpgrpc" | "otlphttp") => "otlp".to_owned(),
        (_, name) => name.to_owned(),
    };
    let is_own = |feature: &&&str| {
        let of_kind = feature.strip_prefix(kind.name()).and_then(|rest| rest.strip_prefix('-'));
        of_kind.is_some_and(|of_kind| joined(of_kind) == name)
    };
    DISABLED_FEATURES.iter().find(is_own).copied()
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

    /// The names of all types of all kinds, sorted, each once.
    #[cfg(feature = "commands")]
    pub(crate) fn type_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.factories.iter().map(|f| f.info().type_name.to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
