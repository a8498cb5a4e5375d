//! What the items of a signal are routed by.
//!
//! Reads `routing_key`; the keys of items are found in `split`.

use otelcore_pdata::Signal;

/// What decides about the backend of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The trace id of a span or log record. Log records without one go anywhere.
    TraceId,
    /// `service.name` of the resource of metrics. Metrics without it are refused.
    Service,
    /// The attributes of the resource of metrics.
    Resource,
    /// The name of the metric.
    MetricName,
    /// The identity of the series.
    StreamId,
    /// The values of these attributes.
    Attributes(Vec<Vec<u8>>),
}

impl Rule {
    /// The rule that a configuration has for a signal.
    ///
    /// # Errors
    /// The signal can't be routed by this key: the message of the Go collector.
    pub(super) fn of(signal: Signal, routing_key: &str, attributes: &[String]) -> Result<Self, String> {
        let listed = || Self::Attributes(attributes.iter().map(|name| name.clone().into_bytes()).collect());
        match (signal, routing_key) {
            (Signal::Logs, _) | (Signal::Traces, "" | "traceID") => Ok(Self::TraceId),
            (Signal::Traces, "service") => Ok(Self::Attributes(vec![b"service.name".to_vec()])),
            (Signal::Metrics, "" | "service") => Ok(Self::Service),
            (Signal::Metrics, "resource") => Ok(Self::Resource),
            (Signal::Metrics, "metric") => Ok(Self::MetricName),
            (Signal::Metrics, "streamID") => Ok(Self::StreamId),
            (Signal::Traces | Signal::Metrics, "attributes") => Ok(listed()),
            (Signal::Traces, other) => {
                Err(format!("cannot configure loadbalancing traces exporter: unsupported routing_key: {other}"))
            }
            (Signal::Metrics, other) => {
                Err(format!("cannot configure loadbalancing metrics exporter: unsupported routing_key: {other:?}"))
            }
        }
    }
}
