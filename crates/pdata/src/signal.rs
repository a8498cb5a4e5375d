//! The kinds of telemetry that a pipeline carries.

use std::fmt;

/// One OTLP signal. Profiles are not supported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Signal {
    /// `ExportTraceServiceRequest`; its items are spans.
    Traces,
    /// `ExportMetricsServiceRequest`; its items are data points.
    Metrics,
    /// `ExportLogsServiceRequest`; its items are log records.
    Logs,
}

impl Signal {
    /// Every signal, in the order in which tables are indexed by `signal as usize`.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The entry of this signal in a table with one for each, in the order of [`Self::ALL`].
    #[must_use]
    pub fn entry_of<T>(self, table: &[T; 3]) -> &T {
        let [traces, metrics, logs] = table;
        match self {
            Self::Traces => traces,
            Self::Metrics => metrics,
            Self::Logs => logs,
        }
    }

    /// The name in pipeline ids: `traces`, `metrics`, `logs`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The name of the items in the Go collector's own metrics: `spans`, `metric_points`, `log_records`.
    #[must_use]
    pub fn item_name(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "metric_points",
            Self::Logs => "log_records",
        }
    }

    /// The signal with this name, the first part of a pipeline id.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
