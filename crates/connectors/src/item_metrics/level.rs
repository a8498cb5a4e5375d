//! What is counted: spans, events, metrics, data points, log records.

use std::sync::LazyLock;

use otelcore_ottl::Functions;
use otelcore_ottl::contexts::{self, ContextType};
use otelcore_ottl::functions::{METRIC_CONDITIONS, SPAN_CONDITIONS};
use otelcore_pdata::Signal;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    Span,
    SpanEvent,
    Metric,
    DataPoint,
    Log,
}

impl Level {
    pub(crate) const ALL: [Self; 5] = [Self::Span, Self::SpanEvent, Self::Metric, Self::DataPoint, Self::Log];

    /// Its section in the configuration.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Span => "spans",
            Self::SpanEvent => "spanevents",
            Self::Metric => "metrics",
            Self::DataPoint => "datapoints",
            Self::Log => "logs",
        }
    }

    pub(crate) fn signal(self) -> Signal {
        match self {
            Self::Span | Self::SpanEvent => Signal::Traces,
            Self::Metric | Self::DataPoint => Signal::Metrics,
            Self::Log => Signal::Logs,
        }
    }

    pub(crate) fn context_type(self) -> ContextType {
        match self {
            Self::Span => contexts::SPAN,
            Self::SpanEvent => contexts::SPAN_EVENT,
            Self::Metric => contexts::METRIC,
            Self::DataPoint => contexts::DATA_POINT,
            Self::Log => contexts::LOG,
        }
    }

    /// What conditions may call.
    pub(crate) fn functions(self) -> &'static Functions {
        static STANDARD: LazyLock<Functions> = LazyLock::new(Functions::standard_converters);
        static OF_SPANS: LazyLock<Functions> = LazyLock::new(|| STANDARD.clone().with(SPAN_CONDITIONS));
        static OF_METRICS: LazyLock<Functions> = LazyLock::new(|| STANDARD.clone().with(METRIC_CONDITIONS));
        match self {
            Self::Span => &OF_SPANS,
            Self::Metric => &OF_METRICS,
            Self::SpanEvent | Self::DataPoint | Self::Log => &STANDARD,
        }
    }
}
