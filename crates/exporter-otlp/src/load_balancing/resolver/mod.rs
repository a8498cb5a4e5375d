//! Where the backends come from.
//!
//! A resolver says which endpoints there are, sorted, whenever they have changed. Never connects to one.

mod dns;
mod kubernetes;

use otelcore_pipeline::{Cx, Event, Logger, StartError, Telemetry};

use self::dns::DnsResolver;
use self::kubernetes::KubernetesResolver;
use super::config::ResolverConfig;
use super::metrics::ResolverMetrics;

/// The local keys of the exporter itself that belong to the resolver: below this one.
pub(super) const FIRST_FREE_KEY: u64 = 8;
/// The part of the component that the resolver's client is. Backends have lower numbers.
pub(super) const CLIENT_PART: u32 = (1 << 30) - 1;

/// A resolver of one of the kinds.
pub(super) enum Resolver {
    Static(Vec<String>, ResolverMetrics),
    Dns(DnsResolver),
    Kubernetes(Box<KubernetesResolver>),
}

impl Resolver {
    /// A resolver that begins when it is started. `None` if the configuration has none.
    pub(super) fn new(config: &ResolverConfig, telemetry: &Telemetry, log: &Logger) -> Option<Self> {
        let metrics = |kind| ResolverMetrics::new(telemetry, kind);
        if let Some(list) = config.list.get() {
            let mut hostnames = list.hostnames.clone();
            hostnames.sort();
            return Some(Self::Static(hostnames, metrics("static")));
        }
        if let Some(dns) = config.dns.get() {
            return Some(Self::Dns(DnsResolver::new(dns, metrics("dns"), log.clone())));
        }
        let k8s = config.k8s.get()?;
        Some(Self::Kubernetes(Box::new(KubernetesResolver::new(k8s, metrics("k8s"), log.clone()))))
    }

    /// Begins. Returns the endpoints if they are known already.
    ///
    /// # Errors
    /// The reason why they can't be found.
    pub(super) fn start(&mut self, cx: &mut Cx<'_>) -> Result<Option<Vec<String>>, StartError> {
        match self {
            Self::Static(hostnames, metrics) => {
                metrics.record_resolution(true);
                metrics.record_update(hostnames.len());
                Ok(Some(hostnames.clone()))
            }
            Self::Dns(resolver) => {
                resolver.start(cx);
                Ok(None)
            }
            Self::Kubernetes(resolver) => resolver.start(cx).map(|()| None),
        }
    }

    /// Handles an event under one of its keys: those below [`FIRST_FREE_KEY`], and those of [`CLIENT_PART`]. Returns the
    /// endpoints if they have changed.
    pub(super) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        part: u32,
        local: u64,
        event: &Event<'_>,
    ) -> Option<Vec<String>> {
        match self {
            Self::Static(..) => None,
            Self::Dns(resolver) => resolver.handle_event(cx, local, event),
            Self::Kubernetes(resolver) if part == CLIENT_PART => resolver.handle_event(cx, local, event),
            Self::Kubernetes(_) => None,
        }
    }

    /// Whether it has found out something, be it that there is nothing.
    pub(super) fn has_answer(&self) -> bool {
        match self {
            Self::Static(..) => true,
            Self::Dns(resolver) => resolver.has_answer(),
            Self::Kubernetes(resolver) => resolver.has_answer(),
        }
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Static(..) => {}
            Self::Dns(resolver) => resolver.close(cx),
            Self::Kubernetes(resolver) => resolver.close(cx),
        }
    }
}
