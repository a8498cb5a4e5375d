//! The metrics of `load_balancing`, under the names of the Go collector.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use otelcore_pipeline::{Counter, Gauge, Histogram, MetricsLevel, Telemetry};

const LATENCY_BOUNDS: &[f64] = &[5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// Endpoints that have series of their own. Addresses of pods come and go, and series stay.
const MAX_ENDPOINTS: usize = 1000;

/// How backends are found.
pub(super) struct ResolverMetrics {
    succeeded: Counter,
    failed: Counter,
    backends: Gauge,
    updates: Counter,
}

impl ResolverMetrics {
    /// `resolver` is `static`, `dns` or `k8s`.
    pub(super) fn new(telemetry: &Telemetry, resolver: &str) -> Self {
        let level = MetricsLevel::Normal;
        let labels = || vec![("resolver", resolver.to_owned())];
        let resolutions = |success: bool| {
            let labels = vec![("resolver", resolver.to_owned()), ("success", success.to_string())];
            let help = "Number of times the resolver has triggered new resolutions. [Development]";
            telemetry.counter(level, "otelcol_loadbalancer_num_resolutions", help, labels)
        };
        Self {
            succeeded: resolutions(true),
            failed: resolutions(false),
            backends: telemetry.gauge(
                level,
                "otelcol_loadbalancer_num_backends",
                "Current number of backends in use. [Development]",
                labels(),
            ),
            updates: telemetry.counter(
                level,
                "otelcol_loadbalancer_num_backend_updates",
                "Number of times the list of backends was updated. [Development]",
                labels(),
            ),
        }
    }

    pub(super) fn record_resolution(&self, success: bool) {
        if success { &self.succeeded } else { &self.failed }.add(1);
    }

    pub(super) fn record_update(&self, backends: usize) {
        self.backends.set(backends as u64);
        self.updates.add(1);
    }
}

/// What backends make of requests.
pub(super) struct BackendMetrics {
    latency: Histogram,
    succeeded: Counter,
    failed: Counter,
}

impl BackendMetrics {
    fn new(telemetry: &Telemetry, label: (&'static str, &str)) -> Self {
        let level = MetricsLevel::Normal;
        let labels = || vec![(label.0, label.1.to_owned())];
        let outcomes = |success: bool| {
            let labels = vec![(label.0, label.1.to_owned()), ("success", success.to_string())];
            let help = "Number of successes and failures for each endpoint. [Development]";
            telemetry.counter(level, "otelcol_loadbalancer_backend_outcome", help, labels)
        };
        let help = "Response latency in ms for the backends. [Development]";
        Self {
            latency: telemetry.histogram(level, "otelcol_loadbalancer_backend_latency", help, labels(), LATENCY_BOUNDS),
            succeeded: outcomes(true),
            failed: outcomes(false),
        }
    }

    pub(super) fn record(&self, duration: Duration, success: bool) {
        self.latency.observe(duration.as_millis() as f64);
        if success { &self.succeeded } else { &self.failed }.add(1);
    }
}

/// The metrics of all backends that there have been.
pub(super) struct EndpointMetrics {
    telemetry: Telemetry,
    known: BTreeMap<String, Rc<BackendMetrics>>,
    others: Option<Rc<BackendMetrics>>,
}

impl EndpointMetrics {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, known: BTreeMap::new(), others: None }
    }

    /// Those of an endpoint; beyond [`MAX_ENDPOINTS`] those of all others.
    pub(super) fn of(&mut self, endpoint: &str) -> Rc<BackendMetrics> {
        if let Some(metrics) = self.known.get(endpoint) {
            return metrics.clone();
        }
        if self.known.len() >= MAX_ENDPOINTS {
            let new = || Rc::new(BackendMetrics::new(&self.telemetry, ("otel_metric_overflow", "true")));
            return self.others.get_or_insert_with(new).clone();
        }
        let metrics = Rc::new(BackendMetrics::new(&self.telemetry, ("endpoint", endpoint)));
        self.known.insert(endpoint.to_owned(), metrics.clone());
        metrics
    }
}
