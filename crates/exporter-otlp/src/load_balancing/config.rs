//! The configuration of `load_balancing`, its rules, and what the queue in front of the ring gets of it.

use std::time::Duration;

use otelcore_config::declare::Optional;
use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_net::config::GrpcClientConfig;
use otelcore_pipeline::{ExporterQueueConfig, QueueConfig, RetryConfig};

use crate::grpc::OtlpGrpcExporterConfig;

/// The words that `routing_key` can be.
const ROUTING_KEYS: [&str; 7] = ["", "service", "traceID", "metric", "resource", "streamID", "attributes"];

config_struct! {
    /// A fixed list of backends.
    pub struct StaticResolverConfig {
        /// The backends: `host:port`, or a host, whose port is then 4317.
        pub hostnames: Vec<String>,
    }
}

config_struct! {
    /// The addresses of a name.
    pub struct DnsResolverConfig {
        /// The name that is looked up.
        pub hostname: String,
        /// The port of the backends; without it, 4317.
        pub port: String,
        /// The time between two look-ups; zero for 5 seconds.
        #[config(at_least(GoDuration::ZERO, "'interval' must be non-negative"))]
        pub interval: Duration = Duration::ZERO,
        /// How long a look-up may take; zero for a second.
        #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
        pub timeout: Duration = Duration::ZERO,
    }
}

config_struct! {
    /// The endpoints of a service of Kubernetes.
    pub struct K8sResolverConfig {
        /// The service: `name`, `name.namespace` or its full name. Without a namespace that of the collector.
        pub service: String,
        /// The ports of the backends: each address is a backend for each port. Without one, 4317.
        pub ports: Vec<i32>,
        /// How long a watch lasts.
        #[config(ignored = "a watch lasts five to ten minutes and is then continued")]
        pub timeout: Duration = Duration::ZERO,
        /// The host names of the pods of a stateful set are the backends, in place of their addresses.
        pub return_hostnames: bool,
    }
}

config_struct! {
    /// Where the backends come from: one of these.
    #[config(unsupported("aws_cloud_map", "the resolver `aws_cloud_map` is not supported: use `dns` or `k8s`"))]
    pub struct ResolverConfig {
        /// A fixed list.
        #[config(key = "static")]
        pub list: Optional<StaticResolverConfig>,
        /// The addresses of a name.
        pub dns: Optional<DnsResolverConfig>,
        /// The endpoints of a service of Kubernetes.
        pub k8s: Optional<K8sResolverConfig>,
    }
}

config_struct! {
    /// How the backends are reached.
    pub struct ProtocolConfig {
        /// OTLP over gRPC. Without an `endpoint`: that is the backend.
        pub otlp: OtlpGrpcExporterConfig = otlp_defaults(),
    }
}

fn otlp_defaults() -> OtlpGrpcExporterConfig {
    let defaults = OtlpGrpcExporterConfig::default();
    let client = GrpcClientConfig { endpoint: "placeholder:4317".to_owned(), ..defaults.client };
    OtlpGrpcExporterConfig { client, ..defaults }
}

config_struct! {
    /// Sends spans, metrics and log records to one of several backends, by their trace, service or other properties.
    #[config(check = Self::check)]
    pub struct LoadBalancingConfig {
        /// How the backends are reached, and by default the queue and the retries in front of them.
        pub protocol: ProtocolConfig,
        /// Where the backends come from.
        pub resolver: ResolverConfig,
        /// What decides about the backend: for spans `traceID` (the default), `service` or `attributes`; for metrics `service`
        /// (the default), `resource`, `metric`, `streamID` or `attributes`. Log records go by their trace.
        pub routing_key: String,
        /// The attributes of `routing_key: attributes`. For spans also `span.name` and `span.kind`.
        pub routing_attributes: Vec<String>,
        /// The time limit of one request, if it is shorter than that of `protocol::otlp`; zero for that one.
        #[config(at_least(GoDuration::ZERO, "'timeout' must be non-negative"))]
        pub timeout: Duration = Duration::ZERO,
        /// What happens with a payload that can't be sent now. Unless it is enabled, that of `protocol::otlp`.
        pub retry_on_failure: RetryConfig = RetryConfig::disabled(),
        /// The queue in front of all backends. Without it that of `protocol::otlp`, which then is in front of all of them too.
        pub sending_queue: Optional<QueueConfig> = Optional::on_null(QueueConfig::default()),
    }
}

impl LoadBalancingConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let (key, attributes) = (self.routing_key.as_str(), &self.routing_attributes);
        if key == "attributes" && attributes.is_empty() {
            s.error("routing_attributes", "routing_attributes must be specified when routing_key is \"attributes\"");
        } else if key != "attributes" && !attributes.is_empty() {
            let message =
                format!("routing_attributes can only be used when routing_key is \"attributes\"; got {key:?}");
            s.error("routing_attributes", message)
                .help("remove routing_attributes or set routing_key to \"attributes\"");
        }
        if !ROUTING_KEYS.contains(&key) {
            s.start_error("routing_key", format!("unsupported routing_key: {key}"))
                .help("write traceID, service, attributes, metric, resource or streamID");
        }
        if let Err((key, message)) = self.check_resolver() {
            s.start_error(key, message);
        }
        self.warn_of_unused_queue(s);
    }

    /// The key and the message of a mistake in `resolver`.
    pub(super) fn check_resolver(&self) -> Result<(), (&'static str, String)> {
        let ResolverConfig { list, dns, k8s } = &self.resolver;
        match [list.is_on(), dns.is_on(), k8s.is_on()].into_iter().filter(|is_on| *is_on).count() {
            0 => return Err(("resolver", "no resolvers specified for the exporter".to_owned())),
            1 => {}
            _ => return Err(("resolver", "only one resolver should be specified".to_owned())),
        }
        if list.get().is_some_and(|list| list.hostnames.is_empty()) {
            let message = "no endpoints specified for the static resolver";
            return Err(("resolver::static::hostnames", message.to_owned()));
        }
        if dns.get().is_some_and(|dns| dns.hostname.is_empty()) {
            return Err(("resolver::dns::hostname", "no hostname specified to resolve the backends".to_owned()));
        }
        if let Some(k8s) = k8s.get() {
            service_name(&k8s.service).map_err(|message| ("resolver::k8s::service", message))?;
        }
        Ok(())
    }

    fn warn_of_unused_queue(&self, s: &Section<'_>) {
        let Some(own) = self.protocol.otlp.exporter_queue.queue.get() else { return };
        let effective =
            QueueConfig { num_consumers: own.num_consumers, batch: own.batch.clone(), ..QueueConfig::default() };
        if self.sending_queue.is_on() && *own != effective {
            let message = "'sending_queue' of `protocol::otlp` has no effect beside that of `load_balancing`, apart from \
                           `num_consumers` and `batch`: there is one queue, in front of all backends";
            s.warn("protocol::otlp::sending_queue", message)
                .help("write its keys in `sending_queue` of `load_balancing`");
        }
    }

    /// Requests that a backend gets at the same time at most.
    pub(super) fn requests_per_backend(&self) -> usize {
        let queue = self.protocol.otlp.exporter_queue.queue.get().or_else(|| self.sending_queue.get());
        queue.map_or(usize::MAX, |queue| usize::try_from(queue.num_consumers).unwrap_or(1))
    }

    /// The queue in front of the ring. It has no limit of consumers: how many requests are made at once is limited for each
    /// backend, so that one that is slow does not hold up the others.
    pub(super) fn exporter_queue(&self) -> ExporterQueueConfig {
        let of_otlp = &self.protocol.otlp.exporter_queue;
        let mut queue = if self.sending_queue.is_on() { self.sending_queue.clone() } else { of_otlp.queue.clone() };
        if let Some(queue) = queue.get_mut() {
            queue.num_consumers = i64::MAX;
            if let (false, Some(own)) = (queue.batch.is_on(), of_otlp.queue.get()) {
                queue.batch = own.batch.clone();
            }
        }
        let mut retry = of_otlp.retry.clone();
        if self.retry_on_failure.enabled {
            let limits = [&of_otlp.retry, &self.retry_on_failure].map(|retry| retry.max_elapsed_time);
            let is_limited = !retry.enabled || limits.iter().all(|limit| !limit.is_zero());
            let longer = if retry.enabled { limits[0].max(limits[1]) } else { limits[1] };
            let is_written = retry.max_elapsed_time_is_written || self.retry_on_failure.max_elapsed_time_is_written;
            retry = self.retry_on_failure.clone();
            retry.max_elapsed_time = if is_limited { longer } else { Duration::ZERO };
            retry.max_elapsed_time_is_written = is_written;
        }
        let timeouts = [self.timeout, of_otlp.timeout].into_iter().filter(|timeout| !timeout.is_zero());
        ExporterQueueConfig { timeout: timeouts.min().unwrap_or_default(), retry, queue }
    }
}

/// Name and namespace of a service; the namespace is empty if it is not written.
pub(super) fn service_name(service: &str) -> Result<(&str, &str), String> {
    let mut parts = service.split('.');
    let (name, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if name.is_empty() {
        return Err("no service specified to resolve the backends".to_owned());
    }
    let invalid = |why: String| Err(format!("invalid Kubernetes service FQDN: {why} in {service:?}"));
    match (parts.next(), parts.next()) {
        (Some(_), _) if namespace.is_empty() => invalid("namespace segment missing".to_owned()),
        (Some(kind), _) if kind != "svc" => invalid("expected third DNS label to be 'svc'".to_owned()),
        (Some(_), None) => invalid("missing cluster domain".to_owned()),
        _ => Ok((name, namespace)),
    }
}
